/* sort.c - order_by: of rows as they come (sorting.h), and by an index. */
#include "query/sorting.h"

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

/* --- what is too long for an array, or too large for memory --- */

typedef struct SortedStream {
        Stream stream;
        Sorting *sorting;
} SortedStream;

static Status sorted_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        SortedStream *self = (SortedStream *)stream;
        Batcher batcher = batcher_start(env, SOURCE_EAGER, want);
        while (sorting_count(self->sorting) > 0) {
                Value row;
                TRY(sorting_next(self->sorting, out, &row));
                vec_add(batch, out, row);
                if (batcher_add(&batcher, env, row))
                        break;
        }
        *ret_end = sorting_count(self->sorting) == 0;
        if (*ret_end)
                sorting_close(self->sorting);
        return ST_OK;
}

static Status sorted_skip(Stream *stream, Env *env, uint64_t n, uint64_t *ret_skipped)
{
        (void)env;
        return sorting_skip(((SortedStream *)stream)->sorting, n, ret_skipped);
}

static Status sorted_count(Stream *stream, Env *env, uint64_t *ret_count, bool *ret_known)
{
        (void)env;
        *ret_count = sorting_count(((SortedStream *)stream)->sorting);
        *ret_known = true;
        return ST_OK;
}

static const StreamOps sorted_ops = {.next = sorted_next, .skip = sorted_skip, .count = sorted_count};

/* What an array may hold becomes one, if memory has room for it. */
static Status give_sorted(Env *env, const Term *term, TableVal *table, Sorting *sorting, Val *ret)
{
        size_t count = (size_t)sorting_count(sorting);
        Value *rows = sorting_rows(sorting);
        if (!rows && (count > env->array_limit || !sorting_fits_memory(sorting))) {
                SortedStream *self = arena_new(env->arena, SortedStream);
                self->stream = (Stream){.ops = &sorted_ops, .term = term, .table = table, .ordered = true};
                self->sorting = sorting;
                *ret = val_stream(term, &self->stream);
                return ST_OK;
        }
        if (!rows) {
                rows = arena_array(env->arena, Value, count);
                for (size_t i = 0; i < count; i++)
                        TRY(sorting_next(sorting, env->arena, &rows[i]));
        }
        sorting_close(sorting);
        return sorted_result(env, term, table, value_array(rows, count), ret);
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
        Arena *run_arena, *row_arena, *ahead_arena;
        Sorting *sorting; /* of the run that is given now; NULL: none */
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
        arena_reset(self->row_arena);
        TRY(fail_at(env, NULL, self->source->scan_next(self->scan, self->row_arena, ret_row)));
        if (value_is(*ret_row, V_NONE)) {
                env_undefer(env, self->deferred);
                return ST_OK;
        }
        return fail_at(env, NULL, self->source->scan_index_value(self->scan, self->row_arena, ret_value));
}

/* The rows with the present run's index value, and the first of the one after. */
static Status collect_run(RunsStream *self, Env *env)
{
        Value row = self->ahead, value = self->ahead_value;
        self->ahead = value_none();
        TRY(sorting_add(self->sorting, row, false));
        for (uint32_t i = 1; self->scan; i++) {
                if ((i & 255) == 0)
                        TRY(env_poll(env));
                TRY(read_row(self, env, &row, &value));
                if (value_is(row, V_NONE))
                        break;
                if (!value_equal(value, self->run_value)) {
                        arena_reset(self->ahead_arena);
                        self->ahead = value_copy(row, self->ahead_arena);
                        self->ahead_value = value_copy(value, self->ahead_arena);
                        break;
                }
                TRY(sorting_add(self->sorting, row, false));
        }
        return ST_OK;
}

/* Sorts all rows of the next index value; without one there is no `sorting` after it. */
static Status read_run(RunsStream *self, Env *env)
{
        if (self->sorting)
                sorting_close(take(self->sorting));
        arena_reset(self->run_arena);
        if (!self->begun) {
                TRY(table_scan_open(env, self->stream.term, self->table, &self->scan));
                self->deferred = env_defer(env, close_scan, self);
                self->begun = true;
                TRY(read_row(self, env, &self->ahead, &self->ahead_value));
        }
        if (value_is(self->ahead, V_NONE))
                return ST_OK;
        self->run_value = value_copy(self->ahead_value, self->run_arena);
        Arena *outer = env->arena;
        env->arena = self->run_arena;
        self->sorting =
                sorting_new(env, self->stream.term, self->specs, self->spec_count, self->run_arena, SORT_ALL, true);
        env->arena = self->row_arena;
        Status st = collect_run(self, env);
        env->arena = outer;
        TRY(st);
        return sorting_finish(self->sorting);
}

static Status runs_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        RunsStream *self = (RunsStream *)stream;
        Batcher batcher = batcher_start(env, SOURCE_TABLE, want);
        for (;;) {
                Value row;
                if (!self->sorting || sorting_count(self->sorting) == 0) {
                        TRY(read_run(self, env));
                        if (!self->sorting)
                                break;
                }
                TRY(sorting_next(self->sorting, out, &row));
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
        self->row_arena = stream_arena(env);
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

/* --- the first rows only --- */

/* More of them are sorted like all. */
#define TOP_MAX_ROWS 100000

static bool constant_count(const Term *term, size_t i, uint64_t *ret)
{
        int64_t n;
        if (term->has_args_splice || term->arg_count <= i || term->args[i]->type != TERM_DATUM ||
            !value_is(term->args[i]->datum, V_NUMBER) || !value_integer(term->args[i]->datum, &n) || n < 0 ||
            n > TOP_MAX_ROWS)
                return false;
        *ret = (uint64_t)n;
        return true;
}

/* How many of the first rows of its first argument a term looks at. */
static bool looks_at_first(const Term *term, uint64_t *ret)
{
        uint64_t n;
        switch (term->type) {
        case TERM_LIMIT: return constant_count(term, 1, ret);
        case TERM_NTH:
        case TERM_BRACKET:
                if (!constant_count(term, 1, &n))
                        return false;
                *ret = n + 1;
                return true;
        case TERM_SLICE: /* perhaps with a closed bound; a left one that is negative counts from the end */
                if (!constant_count(term, 1, &n) || !constant_count(term, 2, &n))
                        return false;
                *ret = n + 1;
                return true;
        default: return false;
        }
}

void sort_first_rows(Env *env, const Term *term)
{
        uint64_t rows, n;
        if (!looks_at_first(term, &rows))
                return;
        for (term = term->args[0];; term = term->args[0]) {
                if (term->type == TERM_ORDER_BY && !term->has_args_splice) {
                        env->top_term = term; /* true of it whenever it is evaluated */
                        env->top_rows = rows;
                        return;
                }
                if ((term->type != TERM_SKIP && term->type != TERM_LIMIT) || !constant_count(term, 1, &n))
                        return;
                rows = term->type == TERM_SKIP ? rows + n : MIN(rows, n);
        }
}

/* Later keys are not computed for rows which are not among the first: nobody may miss an error of theirs. */
static bool may_sort_top(const Stream *stream, const SortSpec *specs, size_t spec_count)
{
        bool fields_of_rows = stream->table != NULL;
        for (size_t i = 1; i < spec_count; i++)
                fields_of_rows &= specs[i].func->kind == FUNC_GET_FIELD;
        return spec_count == 1 || fields_of_rows;
}

/* --- the terms --- */

typedef struct Collect {
        Sorting *sorting;
        bool stays;
} Collect;

static Status collect_row(void *ctx, Env *env, Value row, bool *ret_stop)
{
        const Collect *collect = ctx;
        (void)env;
        (void)ret_stop;
        return sorting_add(collect->sorting, row, collect->stays);
}

static Status term_order_by(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val source, index;
        bool has_index, empty;
        uint64_t wanted = env->top_term == term ? env->top_rows : SORT_ALL;
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
        TRY(val_as_stream(env, &source, &stream));
        TRY(stream_check_finite(stream, env));
        if (!may_sort_top(stream, specs, spec_count))
                wanted = SORT_ALL;
        bool is_array = source.kind == VAL_DATUM || source.kind == VAL_ARRAY_SELECTION;
        TableVal *table = stream->table;
        Sorting *sorting = sorting_new(env, term, specs, spec_count, env->arena, wanted, !is_array);
        TRY(stream_each(stream, env, collect_row, &(Collect){sorting, is_array}));
        TRY(sorting_finish(sorting));
        return give_sorted(env, term, table, sorting, ret);
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
