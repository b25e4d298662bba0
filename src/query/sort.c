/* sort.c - order_by. Keys are computed when a comparison needs them, each once: RethinkDB evaluates the second key only
 * for rows whose first are equal, and nothing at all for a single row, and errors in keys depend on that. */
#include <stdlib.h>

#include "query/env_int.h"

typedef struct SortSpec {
        Func *func;
        bool descending;
} SortSpec;

typedef struct SortRow {
        Value row;
        Value *keys;       /* V_NONE: the row has no such field */
        uint32_t computed; /* of keys */
} SortRow;

typedef struct Sorter {
        Env *env;
        const SortSpec *specs;
        size_t spec_count;
        Status error; /* the first; comparisons after it are all equal */
        uint32_t tick;
} Sorter;

static bool sort_key(Sorter *sorter, SortRow *row, size_t i)
{
        if (row->computed > i)
                return true;
        if (!row->keys)
                row->keys = arena_array(sorter->env->arena, Value, sorter->spec_count);
        bool drops = sorter->env->drops_missing;
        sorter->env->drops_missing = true;
        Status st = func_call_datum(sorter->env, sorter->specs[i].func, &row->row, 1, &row->keys[i]);
        sorter->env->drops_missing = drops;
        if (status_missing(&st))
                row->keys[i] = value_none();
        if (st) {
                sorter->error = st;
                return false;
        }
        row->computed = (uint32_t)i + 1;
        return true;
}

/* A row without the field comes first in ascending order (V_NONE is the least of all types). */
static int compare_rows(Sorter *sorter, SortRow *a, SortRow *b)
{
        if (sorter->error)
                return 0;
        if (unlikely((++sorter->tick & 63) == 0)) { /* keys may be large: sixty-four of them are time enough */
                sorter->error = env_poll(sorter->env);
                if (sorter->error)
                        return 0;
        }
        for (size_t i = 0; i < sorter->spec_count; i++) {
                if (!sort_key(sorter, a, i) || !sort_key(sorter, b, i))
                        return 0;
                bool has_a = !value_is(a->keys[i], V_NONE), has_b = !value_is(b->keys[i], V_NONE);
                int order = has_a && has_b ? value_compare(a->keys[i], b->keys[i]) : has_a - has_b;
                if (order)
                        return sorter->specs[i].descending ? -order : order;
        }
        return 0;
}

/* Merge sort: stable, and it survives a comparison that fails half-way. */
static void merge_sort(Sorter *sorter, SortRow **rows, SortRow **spare, size_t count)
{
        if (count < 2 || sorter->error)
                return;
        size_t half = count / 2;
        merge_sort(sorter, rows, spare, half);
        merge_sort(sorter, rows + half, spare, count - half);
        if (sorter->error || compare_rows(sorter, rows[half - 1], rows[half]) <= 0)
                return; /* in order already */
        memcpy(spare, rows, half * sizeof *spare);
        size_t left = 0, right = half, at = 0;
        while (left < half && right < count)
                rows[at++] = compare_rows(sorter, rows[right], spare[left]) < 0 ? rows[right++] : spare[left++];
        memcpy(rows + at, spare + left, (half - left) * sizeof *rows);
}

static Status sort_rows(Env *env, const SortSpec *specs, size_t spec_count, Value *rows, size_t count)
{
        Sorter sorter = {.env = env, .specs = specs, .spec_count = spec_count};
        SortRow *all = arena_array(env->arena, SortRow, count);
        SortRow **order = arena_array(env->arena, SortRow *, count);
        SortRow **spare = arena_array(env->arena, SortRow *, count / 2 + 1);
        for (size_t i = 0; i < count; i++) {
                all[i] = (SortRow){.row = rows[i]};
                order[i] = &all[i];
        }
        merge_sort(&sorter, order, spare, count);
        TRY(sorter.error);
        for (size_t i = 0; i < count; i++)
                rows[i] = order[i]->row;
        return ST_OK;
}

Status sorted_result(Env *env, const Term *term, TableVal *table, Value rows, Val *ret)
{
        TRY(check_depth(env, term, rows));
        if (value_count(rows) > env->array_limit) {
                Stream *stream = stream_of_array(env, term, rows);
                stream->is_array = false;
                stream->table = table;
                *ret = val_stream(term, stream);
                return ST_OK;
        }
        *ret = val_datum(term, rows);
        if (table) {
                ret->kind = VAL_ARRAY_SELECTION;
                ret->table = table;
        }
        return ST_OK;
}

/* --- by an index, then by functions: rows with one index value are sorted, run by run --- */

typedef struct RunsStream {
        Stream stream;
        TableVal *table;
        const TableSource *source;
        const SortSpec *specs;
        size_t spec_count;
        TableScan *scan; /* NULL: not begun, or at its end */
        Deferred *deferred;
        bool begun;
        Arena *run_arena, *ahead_arena;
        ValueVec run;
        size_t given; /* rows of the run */
        Value run_value;
        Value ahead, ahead_value; /* the first row of the next run; V_NONE: none is known */
} RunsStream;

static void close_scan(void *what)
{
        RunsStream *self = what;
        self->source->scan_close(self->scan);
        self->scan = NULL;
}

static Status read_row(RunsStream *self, Env *env, Value *ret_row, Value *ret_value)
{
        TRY(fail_at(env, NULL, self->source->scan_next(self->scan, self->run_arena, ret_row)));
        if (value_is(*ret_row, V_NONE)) {
                env_undefer(env, self->deferred);
                return ST_OK;
        }
        return fail_at(env, NULL, self->source->scan_index_value(self->scan, self->run_arena, ret_value));
}

/* Reads all rows of the next index value, and the first of the one after. */
static Status read_run(RunsStream *self, Env *env)
{
        Value row = self->ahead, value = self->ahead_value;
        arena_reset(self->run_arena);
        self->run = (ValueVec){0};
        self->given = 0;
        if (!self->begun) {
                TRY(table_scan_open(env, self->stream.term, self->table, &self->scan));
                self->deferred = env_defer(env, close_scan, self);
                self->begun = true;
                TRY(read_row(self, env, &row, &value));
        } else if (!value_is(row, V_NONE)) {
                row = value_copy(row, self->run_arena);
                value = value_copy(value, self->run_arena);
                arena_reset(self->ahead_arena);
                self->ahead = value_none();
        }
        if (value_is(row, V_NONE))
                return ST_OK;
        self->run_value = value;
        vec_add(&self->run, self->run_arena, row);
        for (uint32_t i = 1; self->scan; i++) {
                if ((i & 255) == 0)
                        TRY(env_poll(env));
                TRY(read_row(self, env, &row, &value));
                if (value_is(row, V_NONE))
                        break;
                if (!value_equal(value, self->run_value)) {
                        self->ahead = value_copy(row, self->ahead_arena);
                        self->ahead_value = value_copy(value, self->ahead_arena);
                        break;
                }
                vec_add(&self->run, self->run_arena, row);
        }
        Arena *outer = env->arena;
        env->arena = self->run_arena;
        Status st = sort_rows(env, self->specs, self->spec_count, self->run.items, self->run.count);
        env->arena = outer;
        return st;
}

static Status runs_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        RunsStream *self = (RunsStream *)stream;
        Batcher batcher = batcher_start(env, SOURCE_TABLE, want);
        for (;;) {
                if (self->given == self->run.count) {
                        TRY(read_run(self, env));
                        if (self->run.count == 0)
                                break;
                }
                Value row = value_copy(self->run.items[self->given++], out);
                vec_add(batch, out, row);
                if (batcher_add(&batcher, env, row))
                        return ST_OK;
        }
        *ret_end = true;
        return ST_OK;
}

static const StreamOps runs_ops = {.next = runs_next};

static Stream *stream_of_runs(Env *env, const Term *term, TableVal *table, const SortSpec *specs, size_t spec_count)
{
        RunsStream *self = arena_new(env->arena, RunsStream);
        self->stream = (Stream){.ops = &runs_ops, .term = term, .table = table, .ordered = true};
        self->table = table;
        self->source = env->source;
        self->specs = specs;
        self->spec_count = spec_count;
        self->run_arena = stream_arena(env);
        self->ahead_arena = stream_arena(env);
        self->ahead = value_none();
        return &self->stream;
}

static Status order_by_index(Env *env, const Term *term, const Val *source, Val *ret)
{
        Bytes name;
        TableVal *slice;
        if (source->kind != VAL_TABLE && source->kind != VAL_TABLE_SLICE)
                return fail(env, term, ERR_LOGIC,
                            "Indexed order_by can only be performed on a TABLE or TABLE_SLICE. Make sure order_by "
                            "comes before any "
                            "transformations (such as map) or filters.");
        TRY(opt_index(env, term, &name));
        if (source->table->order)
                return fail(env, slice_origin(source->term), ERR_LOGIC,
                            "Cannot perform multiple indexed ORDER_BYs on the same table.");
        TRY(slice_with_index(env, source, name, "order by", "calling BETWEEN on", &slice));
        const Term *index = term_opt(term, "index");
        slice->order = index && index->type == TERM_DESC ? -1 : 1;
        *ret = (Val){.kind = VAL_TABLE_SLICE, .term = term, .table = slice};
        return ST_OK;
}

static Status is_empty_array(const Val *val, bool *ret)
{
        *ret = (val_is_datum(val) || val->kind == VAL_ARRAY_SELECTION) && value_is(val->datum, V_ARRAY) &&
               value_count(val->datum) == 0;
        return ST_OK;
}

static Status term_order_by(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val source, index;
        bool has_index, empty;
        TRY(args_begin(env, term, &args));
        TRY(args_first(&args));
        if (term->has_args_splice)
                return fail(env, term, ERR_LOGIC, "r.args is not supported in an order_by or union command yet.");
        size_t spec_count = args.count - 1;
        SortSpec *specs = arena_array(env->arena, SortSpec, spec_count);
        for (size_t i = 0; i < spec_count; i++) {
                specs[i].descending = args.terms[i + 1]->type == TERM_DESC;
                TRY(args_func(&args, i + 1, SHORTCUT_GET_FIELD, &specs[i].func));
        }
        TRY(args_val(&args, 0, &source));
        TRY(opt_val(env, term, "index", &index, &has_index));
        TRY(is_empty_array(&source, &empty));
        if (has_index && !empty) {
                TRY(order_by_index(env, term, &source, ret));
                if (spec_count == 0)
                        return ST_OK;
                /* Primary keys are unique: nothing is left for the functions to order. */
                Stream *stream = table_is_primary(ret->table)
                                         ? stream_of_table(env, term, ret->table)
                                         : stream_of_runs(env, term, ret->table, specs, spec_count);
                *ret = val_stream(term, stream);
                return ST_OK;
        }
        if (spec_count == 0 && !has_index)
                return fail(env, term, ERR_LOGIC, "Must specify something to order by.");
        Stream *stream;
        Value rows;
        TRY(val_as_stream(env, &source, &stream));
        TableVal *table = stream->table;
        size_t limit = env->array_limit;
        env->array_limit = SIZE_MAX; /* sorting has no limit but memory */
        Status st = stream_to_array(stream, env, env->arena, &rows);
        env->array_limit = limit;
        TRY(st);
        Value *items = arena_array(env->arena, Value, value_count(rows));
        for (size_t i = 0; i < value_count(rows); i++)
                items[i] = value_at(rows, i);
        TRY(sort_rows(env, specs, spec_count, items, value_count(rows)));
        return sorted_result(env, term, table, value_array(items, value_count(rows)), ret);
}

static Status term_direction(Env *env, const Term *term, Val *ret)
{
        Args args;
        TRY(args_begin(env, term, &args));
        return args_val(&args, 0, ret);
}

static const TermEval list[] = {
        {TERM_ORDER_BY, term_order_by, true},
        {TERM_ASC, term_direction, true},
        {TERM_DESC, term_direction, true},
};
const TermList terms_sort = {list, ELEMENTS(list)};
