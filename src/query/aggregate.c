/* aggregate.c - terms that make one value of many: count, sum, avg, min, max, reduce, fold, distinct, contains. */
#include <math.h>
#include <stdlib.h>

#include "base/exact_sum.h"
#include "query/distinct_spill.h"
#include "query/exec_scan.h"
#include "query/group_spill.h"

/* --- a value that is replaced again and again, often by one made of it: its bytes alternate between two buffers --- */

typedef struct Kept {
        Value value;
        uint8_t *buffers[2];
        size_t capacities[2];
        unsigned current;
} Kept;

static void keep(Kept *kept, Arena *arena, Value v)
{
        unsigned next = !kept->current;
        size_t size = value_encoded_size(v);
        if (size > kept->capacities[next]) {
                kept->capacities[next] = MAX(size, 2 * kept->capacities[next]);
                kept->buffers[next] = arena_alloc(arena, kept->capacities[next]);
        }
        value_encode(v, kept->buffers[next]);
        kept->value = value_decode(kept->buffers[next]);
        kept->current = next;
}

/* --- accumulators --- */

typedef struct Agg { /* what is to be computed */
        const Term *term;
        unsigned type; /* TermType */
        const Func *func;
        Arena *arena; /* for what accumulators keep */
        bool ordered; /* sums are added one by one, as they come: of arrays. Others do not depend on the order. */
} Agg;

struct Acc {
        uint64_t count;
        double sum;      /* `ordered` */
        ExactSum *exact; /* NULL: nothing yet */
        bool has;
        Kept row, key; /* min, max; reduce: row */
};

static ExactSum *acc_exact(const Agg *agg, Acc *acc)
{
        if (!acc->exact)
                acc->exact = arena_new(agg->arena, ExactSum);
        return acc->exact;
}

static void acc_add_number(const Agg *agg, Acc *acc, double number)
{
        if (agg->ordered) {
                acc->sum += number;
        } else if (!exact_sum_add(acc_exact(agg, acc), number)) {
                exact_sum_widen(acc->exact, arena_alloc(agg->arena, EXACT_SUM_WIDE_BYTES));
                (void)!exact_sum_add(acc->exact, number);
        }
}

static double acc_sum(const Acc *acc)
{
        return acc->exact ? exact_sum_value(acc->exact) : acc->sum;
}

static Status add_compared(const Agg *agg, Env *env, Acc *acc, Value row)
{
        Value key = row;
        if (agg->func)
                TRY(func_call_datum(env, agg->func, &row, 1, &key));
        if (acc->has) {
                int order = value_compare(key, acc->key.value);
                if (agg->type == TERM_MIN ? order >= 0 : order <= 0)
                        return ST_OK;
        }
        acc->has = true;
        keep(&acc->key, agg->arena, key);
        keep(&acc->row, agg->arena, row);
        return ST_OK;
}

static Status add_number(const Agg *agg, Env *env, Acc *acc, Value row)
{
        Value number = row;
        if (agg->func)
                TRY(func_call_datum(env, agg->func, &row, 1, &number));
        TRY(expect_type(env, agg->term, number, V_NUMBER));
        acc_add_number(agg, acc, number.number);
        acc->count++;
        return ST_OK;
}

static Status acc_add(const Agg *agg, Env *env, Acc *acc, Value row)
{
        Status st = ST_OK;
        bool counts = true, drops = env->drops_missing;
        switch (agg->type) {
        case TERM_COUNT:
                if (agg->func)
                        TRY(func_filter(env, agg->func, row, false, &counts));
                acc->count += counts;
                return ST_OK;
        case TERM_SUM:
        case TERM_AVG:
                env->drops_missing = true;
                st = add_number(agg, env, acc, row);
                break;
        default:
                env->drops_missing = true;
                st = add_compared(agg, env, acc, row);
                break;
        }
        env->drops_missing = drops;
        (void)status_missing(&st); /* a row without the field, or with null in it, does not take part */
        return st;
}

/* One batch. Reduce keeps its value only at the end of the batch: in between it lives with the rows. */
static Status acc_add_rows(const Agg *agg, Env *env, Acc *acc, const Value *rows, size_t count)
{
        if (agg->type != TERM_REDUCE) {
                for (size_t i = 0; i < count; i++) {
                        ArenaMark mark = arena_mark(env->arena);
                        TRY(acc_add(agg, env, acc, rows[i]));
                        arena_rewind(env->arena, mark);
                }
                return ST_OK;
        }
        if (count == 0)
                return ST_OK;
        Value pair[2] = {acc->has ? acc->row.value : rows[0]};
        for (size_t i = !acc->has; i < count; i++) {
                pair[1] = rows[i];
                TRY(func_call_datum(env, agg->func, pair, 2, &pair[0]));
        }
        acc->has = true;
        keep(&acc->row, agg->arena, pair[0]);
        return ST_OK;
}

static Status finish_number(const Agg *agg, Env *env, double number, Value *ret)
{
        if (!isfinite(number))
                return fail(env, agg->term, ERR_LOGIC, "Non-finite number: %s",
                            isnan(number) ? "nan"
                            : number > 0  ? "inf"
                                          : "-inf");
        *ret = value_number(number);
        return ST_OK;
}

static Status acc_finish(const Agg *agg, Env *env, const Acc *acc, Value *ret)
{
        const char *name = agg->type == TERM_MIN ? "min" : "max";
        switch (agg->type) {
        case TERM_COUNT: *ret = value_number((double)acc->count); return ST_OK;
        case TERM_SUM: return finish_number(agg, env, acc_sum(acc), ret);
        case TERM_AVG:
                if (acc->count)
                        return finish_number(agg, env, acc_sum(acc) / (double)acc->count, ret);
                return fail(env, agg->term, ERR_NON_EXISTENCE,
                            "Cannot take the average of an empty stream.  (If you passed `avg` a field name, it may be "
                            "that no "
                            "elements of the stream had that field.)");
        case TERM_REDUCE:
                if (!acc->has)
                        return fail(env, func_term(agg->func), ERR_NON_EXISTENCE,
                                    "Cannot reduce over an empty stream.");
                break;
        default:
                if (!acc->has)
                        return fail(env, agg->term, ERR_NON_EXISTENCE,
                                    "Cannot take the %s of an empty stream.  (If you passed `%s` a field name, it may "
                                    "be that no "
                                    "elements of the stream had that field.)",
                                    name, name);
        }
        *ret = acc->row.value;
        return ST_OK;
}

/* --- running them --- */

static Status count_func(Args *args, Func **ret)
{
        Val val;
        Value value;
        TRY(args_val(args, 1, &val));
        if (val.kind == VAL_FUNC) {
                *ret = val.func;
                return ST_OK;
        }
        TRY(val_as_datum(args->env, &val, &value));
        *ret = func_equals(args->env, args->term, value);
        return ST_OK;
}

static Status agg_begin(Args *args, Agg *ret)
{
        Func *func = NULL;
        *ret = (Agg){.term = args->term, .type = args->term->type, .arena = args->env->arena};
        if (args->count > 1) {
                if (ret->type == TERM_COUNT)
                        TRY(count_func(args, &func));
                else
                        TRY(args_func(args, 1, ret->type == TERM_REDUCE ? SHORTCUT_NONE : SHORTCUT_GET_FIELD, &func));
        }
        ret->func = func;
        return ST_OK;
}

/* --- as a scan of the whole table (exec_scan.h) --- */

static void acc_of_scan(const ExecGroup *from, Acc *acc)
{
        *acc = (Acc){.count = from->count, .exact = from->exact, .has = from->has};
        acc->row.value = from->row;
}

static Status scan_stream(const Agg *agg, Env *env, const Stream *stream, Acc *acc, bool *ret_done)
{
        const ExecRequest request = {.type = agg->type, .func = agg->func};
        ExecGroup *total;
        size_t count;
        TRY(exec_scan(env, stream, &request, &total, &count, ret_done));
        if (*ret_done)
                acc_of_scan(total, acc);
        return ST_OK;
}

static Status scan_groups(const Agg *agg, Env *env, const Groups *groups, bool any_count, GroupTable *table,
                          bool *ret_done)
{
        const ExecRequest request = {.type = agg->type,
                                     .func = agg->func,
                                     .keys = groups->funcs,
                                     .key_count = groups->func_count,
                                     .pending = groups->pending,
                                     .any_count = any_count};
        ExecGroup *found;
        size_t count;
        *ret_done = false;
        if (groups->multi || groups->indexed)
                return ST_OK;
        TRY(exec_scan(env, groups->source, &request, &found, &count, ret_done));
        for (size_t i = 0; *ret_done && i < count; i++) {
                bool is_new;
                GroupEntry *entry = group_table_find(table, found[i].key, &is_new);
                entry->acc = arena_new(table->arena, Acc);
                acc_of_scan(&found[i], entry->acc);
        }
        return ST_OK;
}

static int compare_items(const void *a, const void *b)
{
        return value_compare(*(const Value *)a, *(const Value *)b);
}

static Status scan_distinct(Env *env, const Term *term, const Stream *stream, Val *ret, bool *ret_done)
{
        const ExecRequest request = {.type = TERM_DISTINCT};
        ExecGroup *found;
        size_t count;
        TRY(exec_scan(env, stream, &request, &found, &count, ret_done));
        if (!*ret_done)
                return ST_OK;
        Value *items = arena_array(env->arena, Value, count);
        for (size_t i = 0; i < count; i++)
                items[i] = found[i].key;
        if (count)
                qsort(items, count, sizeof *items, compare_items);
        return sorted_result(env, term, NULL, value_array(items, count), ret);
}

static Status agg_stream(Agg *agg, Env *env, Stream *stream, Value *ret)
{
        Acc acc = {0};
        bool known = false;
        TRY(stream_check_finite(stream, env));
        agg->ordered = stream->is_array;
        if (agg->type == TERM_COUNT && !agg->func && stream->ops->count && !stream->done) {
                TRY(stream->ops->count(stream, env, &acc.count, &known));
                if (known)
                        return acc_finish(agg, env, &acc, ret);
        }
        TRY(scan_stream(agg, env, stream, &acc, &known));
        if (known)
                return acc_finish(agg, env, &acc, ret);
        _cleanup_(scratch_putp) Scratch *scratch = scratch_get(env);
        Arena *outer = env->arena;
        BatchKind kind = env->batch_kind;
        for (bool end = false; !end;) {
                ValueVec rows = {0};
                env->batch_kind = BATCH_TERMINAL;
                Status st = stream_next(stream, env, &scratch->arena, STREAM_CHUNK, &rows, &end);
                env->batch_kind = kind;
                TRY(st);
                env->arena = &scratch->arena;
                st = acc_add_rows(agg, env, &acc, rows.items, rows.count);
                env->arena = outer;
                TRY(st);
                arena_reset(&scratch->arena);
        }
        return acc_finish(agg, env, &acc, ret);
}

static Acc *group_acc(GroupTable *table, Value key)
{
        bool is_new;
        GroupEntry *entry = group_table_find(table, key, &is_new);
        if (is_new)
                entry->acc = arena_new(table->arena, Acc);
        return entry->acc;
}

/* A batch, gathered by group: what pending terms leave of each. */
static Status add_grouped(const Agg *agg, Env *env, Groups *groups, Arena *scratch, GroupTable *table, bool *ret_end)
{
        GroupBatch batch;
        Arena *outer = env->arena;
        Status st = ST_OK;
        TRY(groups_next(groups, env, scratch, &batch, ret_end));
        env->arena = scratch;
        for (size_t i = 0; !st && i < batch.table.count; i++) {
                const GroupEntry *from = &batch.table.entries[i];
                if (from->rows.count)
                        st = acc_add_rows(agg, env, group_acc(table, from->key), from->rows.items, from->rows.count);
        }
        env->arena = outer;
        return st;
}

/* The same without gathering, where a row is of one group and goes in as it is. */
static Status add_rows(const Agg *agg, Env *env, Groups *groups, Arena *scratch, GroupTable *table, bool *ret_end)
{
        ValueVec rows = {0};
        Arena *outer = env->arena;
        BatchKind kind = env->batch_kind;
        env->batch_kind = BATCH_TERMINAL;
        Status st = stream_next(groups->source, env, scratch, STREAM_CHUNK, &rows, ret_end);
        env->batch_kind = kind;
        env->arena = scratch;
        for (size_t i = 0; !st && i < rows.count; i++) {
                ArenaMark mark = arena_mark(scratch);
                Value key, row = rows.items[i];
                st = group_key(groups, env, &row, &key);
                if (!st)
                        st = acc_add(agg, env, group_acc(table, key), row);
                arena_rewind(scratch, mark);
        }
        env->arena = outer;
        return st;
}

/* --- more groups than fit: accumulators as records (group_spill.h): count, sum, row, key --- */

enum { ACC_VALUES = 4 };

typedef struct AccFold {
        Agg agg;
        Acc acc; /* of the group that is being made; its buffers are used again */
} AccFold;

static Status write_acc(void *ctx, Spill *spill, const GroupEntry *entry)
{
        const Acc *acc = entry->acc;
        uint8_t exact[EXACT_SUM_BYTES_MAX];
        Value sum = value_number(acc->sum);
        if (acc->exact)
                sum = value_binary(BYTES(exact, exact_sum_write(acc->exact, exact)));
        bool has_key = acc->has && ((const AccFold *)ctx)->agg.type != TERM_REDUCE;
        const Value values[1 + ACC_VALUES] = {entry->key, value_number((double)acc->count), sum,
                                              acc->has ? acc->row.value : value_none(),
                                              has_key ? acc->key.value : value_none()};
        return spill_add(spill, values, ELEMENTS(values));
}

static void begin_acc(void *ctx)
{
        Acc *acc = &((AccFold *)ctx)->acc;
        acc->count = 0;
        acc->sum = 0;
        if (acc->exact) {
                int64_t *wide = acc->exact->wide;
                *acc->exact = (ExactSum){0};
                if (wide)
                        exact_sum_widen(acc->exact, wide);
        }
        acc->has = false;
}

static void merge_exact(const Agg *agg, Acc *acc, Bytes written)
{
        if (exact_sum_add_written(acc_exact(agg, acc), written.data, written.size))
                return;
        exact_sum_widen(acc->exact, arena_alloc(agg->arena, EXACT_SUM_WIDE_BYTES));
        (void)!exact_sum_add_written(acc->exact, written.data, written.size);
}

/* What earlier rows gave and what later rows gave: as if the later rows had come one by one, but for sums' rounding (of
 * arrays) and for reduce, which says nothing about that (as between RethinkDB's shards). */
static Status merge_acc(void *ctx, Env *env, const Value *values, size_t count)
{
        AccFold *self = ctx;
        Acc *acc = &self->acc;
        Value row = values[2], key = values[3];
        (void)count;
        acc->count += (uint64_t)values[0].number;
        if (value_is(values[1], V_BINARY))
                merge_exact(&self->agg, acc, value_bytes(values[1]));
        else
                acc->sum += values[1].number;
        if (value_is(row, V_NONE))
                return ST_OK;
        if (acc->has && self->agg.type == TERM_REDUCE) {
                Value pair[2] = {acc->row.value, row};
                TRY(func_call_datum(env, self->agg.func, pair, 2, &row));
        } else if (acc->has) {
                int order = value_compare(key, acc->key.value);
                if (self->agg.type == TERM_MIN ? order >= 0 : order <= 0)
                        return ST_OK;
        }
        acc->has = true;
        keep(&acc->row, self->agg.arena, row);
        if (!value_is(key, V_NONE))
                keep(&acc->key, self->agg.arena, key);
        return ST_OK;
}

static bool acc_is_group(const Acc *acc)
{
        return acc->has || acc->count > 0; /* a group none of whose rows took part is no group */
}

static Status finish_merged(void *ctx, Env *env, Value *ret_value)
{
        const AccFold *self = ctx;
        *ret_value = value_none();
        return acc_is_group(&self->acc) ? acc_finish(&self->agg, env, &self->acc, ret_value) : ST_OK;
}

static Status spill_accs(Env *env, const Agg *agg, Groups *result, GroupTable *table, ArenaMark mark)
{
        if (!result->spilled) {
                AccFold *self = arena_new(env->query_arena, AccFold);
                self->agg = *agg;
                self->agg.arena = stream_arena(env);
                const GroupFold fold = {.ctx = self,
                                        .values_max = ACC_VALUES,
                                        .write = write_acc,
                                        .begin = begin_acc,
                                        .add = merge_acc,
                                        .finish = finish_merged};
                TRY(group_spill_new(env, agg->term, &fold, &result->spilled));
        }
        TRY(group_spill_write(result->spilled, table));
        arena_rewind(env->arena, mark);
        group_table_init(table, env->arena);
        return ST_OK;
}

Status groups_aggregate(Env *env, const Term *term, Groups *groups, Val *ret, bool *ret_done)
{
        switch (term->type) {
        case TERM_COUNT:
        case TERM_SUM:
        case TERM_AVG:
        case TERM_MIN:
        case TERM_MAX:
        case TERM_REDUCE: break;
        default: *ret_done = false; return ST_OK;
        }
        *ret_done = !term->opt_count;
        if (!*ret_done)
                return ST_OK;

        Args args;
        Agg agg;
        GroupTable table;
        /* Groups that become rows at once may be as many as there are; others are one value. */
        bool ungrouped = env->ungrouped_term == term;
        Groups *result = arena_new(env->arena, Groups);
        TRY(stream_check_finite(groups->source, env));
        TRY(args_begin(env, term, &args));
        TRY(agg_begin(&args, &agg));
        agg.ordered = groups->source->is_array;
        size_t bytes = env->arena->total_bytes, budget = ungrouped ? spill_budget(env) : SIZE_MAX;
        ArenaMark mark = arena_mark(env->arena);
        group_table_init(&table, env->arena);
        bool gather = groups->pending || groups->multi || term->type == TERM_REDUCE;
        bool done;
        TRY(scan_groups(&agg, env, groups, ungrouped, &table, &done));
        _cleanup_(scratch_putp) Scratch *scratch = scratch_get(env);
        for (bool end = done; !end;) {
                TRY((gather ? add_grouped : add_rows)(&agg, env, groups, &scratch->arena, &table, &end));
                arena_reset(&scratch->arena);
                if (!ungrouped && table.count > env->array_limit)
                        return fail(env, term, ERR_RESOURCE, "Too many groups (> %zu).", env->array_limit);
                bool full = env->arena->total_bytes > bytes && env->arena->total_bytes - bytes > budget;
                if (full || (end && result->spilled))
                        TRY(spill_accs(env, &agg, result, &table, mark));
        }
        *ret = (Val){.kind = VAL_GROUPED, .term = term, .groups = result};
        if (result->spilled)
                return group_spill_merge(result->spilled);
        size_t count = 0;
        for (size_t i = 0; i < table.count; i++) {
                const Acc *acc = table.entries[i].acc;
                if (!acc_is_group(acc))
                        continue;
                table.entries[count] = table.entries[i];
                TRY(acc_finish(&agg, env, acc, &table.entries[count].value));
                count++;
        }
        table.count = count;
        group_table_finish(&table, result);
        return ST_OK;
}

/* --- count, sum, avg, reduce --- */

/* Strings, binaries and objects have a size, too. */
static bool datum_size(Value v, double *ret_size)
{
        if (value_is(v, V_BINARY) || value_is_object(v)) {
                *ret_size = (double)v.size;
                return true;
        }
        if (!value_is(v, V_STRING))
                return false;
        size_t codepoints = 0;
        for (size_t i = 0; i < v.size; i++)
                codepoints += ((uint8_t)v.text[i] & 0xC0) != 0x80;
        *ret_size = (double)codepoints;
        return true;
}

static Status term_count(Env *env, const Term *term, Val *ret)
{
        Args args;
        Agg agg;
        Val val;
        Stream *stream;
        Value count;
        double size;
        TRY(args_begin(env, term, &args));
        TRY(args_val(&args, 0, &val));
        if (args.count == 1 && val_is_datum(&val) && datum_size(val.datum, &size)) {
                *ret = val_datum(term, value_number(size));
                return ST_OK;
        }
        TRY(agg_begin(&args, &agg));
        TRY(val_as_stream(env, &val, &stream));
        TRY(agg_stream(&agg, env, stream, &count));
        *ret = val_datum(term, count);
        return ST_OK;
}

static const char *agg_name(const Term *term)
{
        switch (term->type) {
        case TERM_SUM: return "sum";
        case TERM_AVG: return "avg";
        case TERM_MIN: return "min";
        default: return "max";
        }
}

/* min and max by an index, or the primary key: the first row in that order. */
static Status first_by_index(Env *env, const Term *term, TableVal *table, Bytes index, Val *ret)
{
        TableVal *slice = arena_dup(env->arena, table, sizeof *slice);
        ValueVec rows = {0};
        bool end;
        table_use_index(env, slice, index.data ? index : table->info->primary_key);
        slice->order = term->type == TERM_MIN ? 1 : -1;
        TRY(stream_next(stream_of_table(env, term, slice), env, env->arena, 1, &rows, &end));
        if (rows.count == 0)
                return fail(env, term, ERR_LOGIC, "`%s` found no entries in the specified index.", agg_name(term));
        *ret = val_row(term, table, rows.items[0]);
        return ST_OK;
}

static Status term_sum(Env *env, const Term *term, Val *ret)
{
        Args args;
        Agg agg;
        Val val, index;
        Stream *stream;
        Value result;
        bool has_index;
        TRY(args_begin(env, term, &args));
        TRY(args_val(&args, 0, &val));
        TRY(opt_val(env, term, "index", &index, &has_index));
        TRY(agg_begin(&args, &agg));
        bool ordered = term->type == TERM_MIN || term->type == TERM_MAX;
        if (has_index && agg.func)
                return fail(env, term, ERR_LOGIC, "Cannot provide both a function and an index to %s.", agg_name(term));
        if (has_index || (ordered && !agg.func && val.kind == VAL_TABLE)) {
                TableVal *table;
                Bytes name = BYTES_NONE;
                TRY(val_as_table(env, &val, &table));
                if (!ordered)
                        return fail(env, term, ERR_LOGIC, "Cannot call %s on an index.", agg_name(term));
                if (has_index)
                        TRY(val_as_string(env, &index, &name));
                return first_by_index(env, term, table, name, ret);
        }
        TRY(val_as_stream(env, &val, &stream));
        TRY(agg_stream(&agg, env, stream, &result));
        *ret = val_datum(term, result);
        return ST_OK;
}

static Status term_reduce(Env *env, const Term *term, Val *ret)
{
        Args args;
        Agg agg;
        Stream *stream;
        Value result;
        TRY(args_begin(env, term, &args));
        TRY(args_stream(&args, 0, &stream));
        TRY(agg_begin(&args, &agg));
        TRY(agg_stream(&agg, env, stream, &result));
        *ret = val_datum(term, result);
        return ST_OK;
}

/* --- fold --- */

typedef struct FoldStream {
        Stream stream;
        Stream *source;
        const Func *func, *emit, *final_emit;
        Arena *arena; /* keeps the accumulator */
        Kept state;
        bool source_done;
} FoldStream;

static Status emit_rows(FoldStream *self, Env *env, const Func *func, const Value *values, size_t count,
                        ValueVec *batch)
{
        Value rows;
        TRY(func_call_datum(env, func, values, count, &rows));
        TRY(expect_type(env, func_term(func), rows, V_ARRAY));
        for (size_t i = 0; i < value_count(rows); i++)
                vec_add(batch, env->arena, value_at(rows, i));
        return ST_OK;
}

static Status fold_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        FoldStream *self = (FoldStream *)stream;
        size_t before = batch->count; /* whoever makes an array collects in one batch */
        while (batch->count == before && !self->source_done) {
                ValueVec rows = {0};
                TRY(stream_next(self->source, env, out, want, &rows, &self->source_done));
                if (unlikely(env->feed_waits))
                        break;
                /* What is emitted may hold the accumulator, so a copy of it that lives as long as the batch. */
                Value state = value_copy(self->state.value, out);
                for (size_t i = 0; i < rows.count; i++) {
                        Value values[3] = {state, rows.items[i]};
                        TRY(func_call_datum(env, self->func, values, 2, &values[2]));
                        TRY(emit_rows(self, env, self->emit, values, 3, batch));
                        state = values[2];
                }
                keep(&self->state, self->arena, state);
        }
        if (self->source_done && !stream->done) {
                Value state = value_copy(self->state.value, out);
                if (self->final_emit)
                        TRY(emit_rows(self, env, self->final_emit, &state, 1, batch));
                *ret_end = true;
        }
        return ST_OK;
}

static const StreamOps fold_ops = {.next = fold_next};

static Status opt_func(Env *env, const Term *term, const char *name, const Func **ret)
{
        Val val;
        bool present;
        Func *func = NULL;
        TRY(opt_val(env, term, name, &val, &present));
        if (present)
                TRY(val_as_func(env, &val, &func));
        *ret = func;
        return ST_OK;
}

static Status term_fold(Env *env, const Term *term, Val *ret)
{
        Args args;
        Stream *source;
        Value base;
        Func *func;
        const Func *emit, *final_emit;
        TRY(args_begin(env, term, &args));
        TRY(args_stream(&args, 0, &source));
        TRY(args_datum(&args, 1, &base));
        TRY(args_func(&args, 2, SHORTCUT_NONE, &func));
        int arity = func_arity(func);
        if (arity > 0 && arity != 2)
                return fail(env, term, ERR_LOGIC,
                            "The accumulator function passed to `fold` should expect 2 arguments");
        TRY(opt_func(env, term, "emit", &emit));
        TRY(opt_func(env, term, "final_emit", &final_emit));
        if (emit) {
                FoldStream *self = arena_new(env->arena, FoldStream);
                self->stream = (Stream){.ops = &fold_ops,
                                        .term = term,
                                        .ordered = true,
                                        .is_array = source->is_array,
                                        .infinite = source->infinite ? term : NULL};
                self->source = source;
                self->func = func;
                self->emit = emit;
                self->final_emit = final_emit;
                self->arena = stream_arena(env);
                keep(&self->state, self->arena, base);
                return val_of_stream(env, term, &self->stream, ret);
        }
        TRY(stream_check_finite(source, env));
        Kept state = {0};
        keep(&state, env->arena, base);
        _cleanup_(scratch_putp) Scratch *scratch = scratch_get(env);
        Arena *outer = env->arena;
        for (bool end = false; !end;) {
                ValueVec rows = {0};
                TRY(stream_next(source, env, &scratch->arena, STREAM_CHUNK, &rows, &end));
                Value pair[2] = {state.value};
                Status st = ST_OK;
                env->arena = &scratch->arena;
                for (size_t i = 0; !st && i < rows.count; i++) {
                        pair[1] = rows.items[i];
                        st = func_call_datum(env, func, pair, 2, &pair[0]);
                }
                env->arena = outer;
                TRY(st);
                keep(&state, outer, pair[0]);
                arena_reset(&scratch->arena);
        }
        if (final_emit)
                TRY(func_call_datum(env, final_emit, &state.value, 1, &state.value));
        *ret = val_datum(term, state.value);
        return ST_OK;
}

/* --- distinct --- */

static Status take_key(void *ctx, Env *env, Value row, ValueVec *out)
{
        const TableVal *table = ctx;
        vec_add(out, env->arena, value_get(row, table->info->primary_key));
        return ST_OK;
}

/* A table by an index, or by the primary key, on which every row and every key is distinct already. */
static Status distinct_slice(Env *env, const Term *term, const Val *source, Bytes index, Val *ret)
{
        const TableVal *table = source->table;
        TableVal *slice = arena_dup(env->arena, table, sizeof *slice);
        bool by_key = bytes_equal(index, table->info->primary_key);
        if (by_key && !table_is_primary(table)) { /* the keys of the rows between two values of another index */
                Stream *rows = stream_of_table(env, term, slice);
                rows->table = NULL;
                *ret = val_stream(term, stream_transform(env, term, rows, take_key, slice, false));
                return ST_OK;
        }
        if (!slice->order)
                slice->order = 1;
        if (!slice->has_index)
                table_use_index(env, slice, index.data ? index : table->info->primary_key);
        if (!table_is_primary(slice)) {
                *ret = val_stream(term, stream_of_index_values(env, term, slice));
                return ST_OK;
        }
        Stream *rows = stream_of_table(env, term, slice);
        rows->table = NULL;
        *ret = val_stream(term, by_key ? stream_transform(env, term, rows, take_key, slice, false) : rows);
        return ST_OK;
}

static Status term_distinct(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val val;
        Stream *stream;
        Bytes index;
        TRY(args_begin(env, term, &args));
        TRY(args_val(&args, 0, &val));
        TRY(opt_index(env, term, &index));
        if (val.kind == VAL_TABLE || val.kind == VAL_TABLE_SLICE) {
                Bytes key = val.table->info->primary_key, present = val.table->index;
                Bytes by = index.data ? index : key;
                if (!val.table->has_index || bytes_equal(present, by) || (index.data && bytes_equal(index, key)))
                        return distinct_slice(env, term, &val, index, ret);
        }
        if (index.data)
                return fail(env, term, ERR_LOGIC, "Can only perform an indexed distinct on a TABLE.");
        TRY(val_as_stream(env, &val, &stream));
        TRY(stream_check_finite(stream, env));
        bool done;
        TRY(scan_distinct(env, term, stream, ret, &done));
        return done ? ST_OK : distinct_values(env, term, stream, ret);
}

/* --- contains --- */

typedef struct Wanted {
        Value *values;
        Func **funcs; /* NULL where a value is wanted */
        bool *found;
        size_t count, left;
        bool any; /* there is a row: nothing contains nothing */
} Wanted;

/* A row stands for one of the wanted values and for one of the wanted predicates at most. */
static Status find_wanted(void *ctx, Env *env, Value row, bool *ret_stop)
{
        Wanted *wanted = ctx;
        bool value_found = false, func_found = false;
        wanted->any = true;
        for (size_t i = 0; i < wanted->count; i++) {
                bool found = false;
                if (wanted->found[i] || (wanted->funcs[i] ? func_found : value_found))
                        continue;
                if (wanted->funcs[i]) {
                        Value answer; /* no filter: a row without the field is an error */
                        TRY(func_call_datum(env, wanted->funcs[i], &row, 1, &answer));
                        func_found = found = value_truthy(answer);
                } else {
                        found = value_found = value_equal(wanted->values[i], row);
                }
                wanted->found[i] = found;
                wanted->left -= found;
        }
        *ret_stop = wanted->left == 0;
        return ST_OK;
}

static Status term_contains(Env *env, const Term *term, Val *ret)
{
        Args args;
        Stream *stream;
        TRY(args_begin(env, term, &args));
        TRY(args_stream(&args, 0, &stream));
        size_t count = args.count - 1;
        Wanted wanted = {.values = arena_array(env->arena, Value, count),
                         .funcs = arena_array(env->arena, Func *, count),
                         .found = arena_zalloc(env->arena, count ? count : 1),
                         .count = count,
                         .left = count};
        for (size_t i = 0; i < count; i++) {
                Val val;
                TRY(args_val(&args, i + 1, &val));
                wanted.funcs[i] = val.kind == VAL_FUNC ? val.func : NULL;
                if (!wanted.funcs[i])
                        TRY(val_as_datum(env, &val, &wanted.values[i]));
        }
        TRY(stream_check_finite(stream, env));
        TRY(stream_each(stream, env, find_wanted, &wanted));
        *ret = val_datum(term, value_bool(wanted.any && wanted.left == 0));
        return ST_OK;
}

static const TermEval list[] = {
        {TERM_COUNT, term_count, true}, {TERM_SUM, term_sum, true},           {TERM_AVG, term_sum, true},
        {TERM_MIN, term_sum, true},     {TERM_MAX, term_sum, true},           {TERM_REDUCE, term_reduce, true},
        {TERM_FOLD, term_fold, true},   {TERM_DISTINCT, term_distinct, true}, {TERM_CONTAINS, term_contains, true},
        {TERM_GROUP, term_group, true}, {TERM_UNGROUP, term_ungroup, false},
};
const TermList terms_aggregate = {list, ELEMENTS(list)};
