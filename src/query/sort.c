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
        if ((++sorter->tick & 1023) == 0) {
                sorter->error = env_poll(sorter->env);
                if (sorter->error)
                        return;
        }
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

/* --- by the primary key, then by functions: rows with equal keys are one each, so the functions decide nothing --- */

static Status order_by_index(Env *env, const Term *term, const Val *source, Val *ret)
{
        bool present;
        Val option;
        Bytes name;
        if (source->kind != VAL_TABLE && source->kind != VAL_TABLE_SLICE)
                return fail(env, term, ERR_LOGIC,
                            "Indexed order_by can only be performed on a TABLE or TABLE_SLICE. Make sure order_by "
                            "comes before any "
                            "transformations (such as map) or filters.");
        TRY(opt_val(env, term, "index", &option, &present));
        TRY(val_as_string(env, &option, &name));
        if (source->table->order)
                return fail(env, slice_origin(source->term), ERR_LOGIC,
                            "Cannot perform multiple indexed ORDER_BYs on the same table.");
        TRY(check_slice_index(env, term, source, name, "order by", "calling BETWEEN on"));
        const Term *index = term_opt(term, "index");
        TableVal *slice = arena_alloc(env->arena, sizeof *slice);
        *slice = *source->table;
        slice->has_index = true;
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
                Stream *stream = stream_of_table(env, term, ret->table);
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
