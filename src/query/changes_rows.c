/* changes_rows.c - the rows of a FeedSpec in a view, as its feed would show them.
 *
 *      primary key, bounds  -> one scan             keys          -> one get for each
 *      index, bounds        -> one index scan       index, keys   -> one index scan for each
 *
 * each row -> conditions -> function -> any number of ChangesRows -> with a Rewind: less those that were not there, and
 * those that are there no more between them */
#include <stdlib.h>

#include "query/changes_rewind.h"
#include "query/closure.h"

struct ChangesRows {
        Env *env;
        const FeedSpec *spec;
        const TableSource *source;
        TableView *view;
        const TableInfo *info;
        bool by_index;
        int order;
        const Value *keys; /* in the order in which they are read */
        size_t next_key;
        TableScan *scan; /* NULL: not open */
        bool scanned;    /* without keys: the one scan is over */
        Closure *function;
        Scratch *scratch; /* holds this */
        Deferred *deferred;
        Value index;
        /* of the row at hand: what the function gave, all of it in an arena of its own */
        Scratch *shown_scratch;
        Value key, shown_index, shown;
        size_t next_shown;
        uint32_t tick;
        /* with a Rewind */
        Rewind *rewind;
        Scratch *ahead_scratch;
        ChangesRow ahead; /* of the view: read, and not given */
        bool is_ahead, view_over;
};

static void close_rows(void *what)
{
        ChangesRows *rows = what;
        if (rows->scan)
                rows->source->scan_close(rows->scan);
        closure_unref(rows->function);
        scratch_put(rows->ahead_scratch);
        scratch_put(rows->shown_scratch);
        scratch_put(rows->scratch);
}

void changes_rows_close(ChangesRows *rows)
{
        if (rows)
                env_undefer(rows->env, rows->deferred);
}

static int compare_keys(const void *a, const void *b)
{
        return value_compare(*(const Value *)a, *(const Value *)b);
}

static const Value *keys_in_order(const FeedSpec *spec, int order, Arena *arena)
{
        if (!order || !spec->key_count)
                return spec->keys;
        Value *keys = arena_array(arena, Value, spec->key_count);
        memcpy(keys, spec->keys, spec->key_count * sizeof *keys);
        qsort(keys, spec->key_count, sizeof *keys, compare_keys);
        for (size_t i = 0, j = spec->key_count - 1; order < 0 && i < j; i++, j--) {
                Value swapped = keys[i];
                keys[i] = keys[j];
                keys[j] = swapped;
        }
        return keys;
}

static void begin_rewind(ChangesRows *rows, Rewind *rewind)
{
        const FeedSpec *spec = rows->spec;
        bool by_place = spec->key_count == 1 && (!rows->by_index || spec->tell_moves);
        rows->rewind = rewind;
        rows->ahead_scratch = scratch_get(rows->env);
        rewind_begin(rewind, by_place ? spec->keys : NULL, rows->order);
}

Status changes_rows_open(Env *env, const FeedSpec *spec, TableView *view, Rewind *rewind, int order,
                         ChangesRows **ret_rows)
{
        Scratch *scratch = scratch_get(env);
        ChangesRows *rows = arena_new(&scratch->arena, ChangesRows);
        rows->env = env;
        rows->spec = spec;
        rows->source = env->source;
        rows->view = view;
        rows->info = env->source->table_info(spec->table);
        rows->by_index = spec->index.data && !bytes_equal(spec->index, rows->info->primary_key);
        rows->order = order;
        rows->keys = keys_in_order(spec, order, &scratch->arena);
        rows->scratch = scratch;
        rows->shown_scratch = scratch_get(env);
        if (rewind)
                begin_rewind(rows, rewind);
        rows->deferred = env_defer(env, close_rows, rows);
        if (spec->function.data) {
                Status st = closure_load_inexact(spec->function, &rows->function);
                if (st) {
                        changes_rows_close(rows);
                        return st;
                }
        }
        *ret_rows = rows;
        return ST_OK;
}

/* --- conditions --- */

/* V_NONE: there is no such field. *ret_odd: the way leads through something that is no object. */
static Value walk(Value row, IndexPath path, bool *ret_odd)
{
        for (size_t i = 0; i < path.count && !value_is(row, V_NONE); i++) {
                *ret_odd = !value_is_object(row);
                if (*ret_odd)
                        return value_none();
                row = value_get(row, path.fields[i]);
        }
        return row;
}

static bool within(Value v, const KeyBounds *bounds)
{
        int low = bounds->low_type == BOUND_NONE ? 1 : value_compare(v, bounds->low);
        int high = bounds->high_type == BOUND_NONE ? -1 : value_compare(v, bounds->high);
        return (low > 0 || (low == 0 && bounds->low_type == BOUND_CLOSED)) &&
               (high < 0 || (high == 0 && bounds->high_type == BOUND_CLOSED));
}

static bool one_of(Value v, const FeedCondition *condition)
{
        for (size_t i = 0; i < condition->value_count; i++)
                if (value_equal(v, condition->values[i]))
                        return true;
        return false;
}

static bool condition_holds(const FeedCondition *condition, Value row, bool *ret_odd)
{
        Value v = walk(row, condition->path, ret_odd);
        if (value_is(v, V_NONE))
                return false;
        switch (condition->kind) {
        case FEED_FIELD_IN: return one_of(v, condition);
        case FEED_FIELD_BETWEEN: return within(v, &condition->bounds);
        case FEED_FIELD_CONTAINS:
                for (size_t i = 0; value_is(v, V_ARRAY) && i < value_count(v); i++)
                        if (one_of(value_at(v, i), condition))
                                return true;
                return false;
        }
        return false;
}

/* --- reading --- */

static Status open_scan(ChangesRows *rows)
{
        const FeedSpec *spec = rows->spec;
        KeyBounds bounds;
        const KeyBounds *within_bounds = spec->bounds;
        if (spec->key_count) {
                Value key = rows->keys[rows->next_key++];
                bounds = (KeyBounds){.low = key, .high = key, .low_type = BOUND_CLOSED, .high_type = BOUND_CLOSED};
                within_bounds = &bounds;
        }
        if (rows->by_index)
                return rows->source->index_scan_open(rows->view, spec->index, within_bounds, rows->order < 0,
                                                     &rows->scan);
        return rows->source->scan_open(rows->view, within_bounds, rows->order < 0, &rows->scan);
}

/* The next row of the table that is meant; V_NONE at the end. */
static Status next_row(ChangesRows *rows, Arena *out, Value *ret_row)
{
        for (;;) {
                if (unlikely((++rows->tick & 63) == 0))
                        TRY(env_poll(rows->env));
                if (rows->scan) {
                        TRY(rows->source->scan_next(rows->scan, out, ret_row));
                        if (!value_is(*ret_row, V_NONE))
                                return rows->by_index ? rows->source->scan_index_value(rows->scan, out, &rows->index)
                                                      : ST_OK;
                        rows->source->scan_close(take(rows->scan));
                        rows->scanned = true;
                }
                *ret_row = value_none();
                if (rows->spec->key_count ? rows->next_key == rows->spec->key_count : rows->scanned)
                        return ST_OK;
                if (rows->spec->key_count && !rows->by_index) {
                        TRY(rows->source->view_get(rows->view, rows->keys[rows->next_key++], out, ret_row));
                        if (!value_is(*ret_row, V_NULL))
                                return ST_OK;
                        continue;
                }
                TRY(open_scan(rows));
        }
}

/* The conditions tell all there is to be known, or the function is to be asked, or (both false) the row is not shown.
 */
static void ask_conditions(const ChangesRows *rows, Value row, bool *ret_shown, bool *ret_ask)
{
        const FeedSpec *spec = rows->spec;
        bool odd = false, holds = true;
        for (size_t i = 0; i < spec->condition_count && holds; i++)
                holds = condition_holds(&spec->conditions[i], row, &odd);
        *ret_ask = rows->function && (odd ? spec->exact : holds && !spec->exact);
        *ret_shown = holds && (spec->exact || !rows->function);
}

static Status call(ChangesRows *rows, Value row, Arena *out, ChangesRow *ret_row)
{
        Status st =
                closure_call_at(rows->function, rows->spec->now_us, &row, 1, &rows->shown_scratch->arena, &rows->shown);
        if (status_missing(&st))
                rows->shown = value_array(NULL, 0);
        else if (!st)
                st = expect_type(rows->env, NULL, rows->shown, V_ARRAY);
        if (!st)
                return ST_OK;
        rows->shown = value_array(NULL, 0);
        if (!changes_is_rows_error(st) && status_code(st) != ERR_RESOURCE)
                return st;
        ret_row->error_code = status_code(st);
        Arena *outer = rows->env->arena;
        rows->env->arena = out;
        ret_row->error = take_message(rows->env, st);
        rows->env->arena = outer;
        return ST_OK;
}

/* What the function gave lies in shown_arena until the next row is read, and goes out as copies. */
static Status next_of_view(ChangesRows *rows, Arena *out, ChangesRow *ret_row, bool *ret_found)
{
        *ret_row = (ChangesRow){0};
        while (rows->next_shown == value_count(rows->shown)) {
                Value row;
                ArenaMark mark = arena_mark(out);
                TRY(next_row(rows, out, &row));
                *ret_found = !value_is(row, V_NONE);
                if (!*ret_found)
                        return ST_OK;
                bool shown, ask;
                ask_conditions(rows, row, &shown, &ask);
                if (!shown && !ask) {
                        arena_rewind(out, mark);
                        continue;
                }
                ret_row->key = value_get(row, rows->info->primary_key);
                ret_row->index = rows->by_index ? rows->index : rows->spec->index.data ? ret_row->key : value_none();
                ret_row->value = row;
                if (!ask)
                        return ST_OK;
                arena_reset(&rows->shown_scratch->arena);
                rows->next_shown = 0;
                TRY(call(rows, row, out, ret_row));
                if (ret_row->error)
                        return ST_OK;
                if (value_count(rows->shown) == 0) {
                        arena_rewind(out, mark);
                        continue;
                }
                if (value_count(rows->shown) > 1) {
                        rows->key = value_copy(ret_row->key, &rows->shown_scratch->arena);
                        rows->shown_index = value_copy(ret_row->index, &rows->shown_scratch->arena);
                }
                ret_row->value = value_copy(value_at(rows->shown, rows->next_shown++), out);
                return ST_OK;
        }
        ret_row->key = value_copy(rows->key, out);
        ret_row->index = value_copy(rows->shown_index, out);
        ret_row->value = value_copy(value_at(rows->shown, rows->next_shown++), out);
        *ret_found = true;
        return ST_OK;
}

/* --- an earlier moment --- */

static Status look_ahead(ChangesRows *rows)
{
        while (!rows->is_ahead && !rows->view_over) {
                bool found;
                arena_reset(&rows->ahead_scratch->arena);
                TRY(next_of_view(rows, &rows->ahead_scratch->arena, &rows->ahead, &found));
                rows->view_over = !found;
                rows->is_ahead = found && !rewind_skips(rows->rewind, &rows->ahead);
        }
        return ST_OK;
}

static void copy_row(ChangesRow *row, Arena *out)
{
        Value *const values[] = {&row->key, &row->value, &row->index};
        for (size_t i = 0; i < ELEMENTS(values); i++)
                if (!value_is(*values[i], V_NONE))
                        *values[i] = value_copy(*values[i], out);
        if (row->error)
                row->error = arena_dup(out, row->error, strlen(row->error));
}

Status changes_rows_next(ChangesRows *rows, Arena *out, ChangesRow *ret_row, bool *ret_found)
{
        if (!rows->rewind)
                return next_of_view(rows, out, ret_row, ret_found);
        TRY(look_ahead(rows));
        *ret_found = rewind_next(rows->rewind, rows->is_ahead ? &rows->ahead : NULL, ret_row);
        if (*ret_found && !rows->by_index && rows->spec->index.data)
                ret_row->index = ret_row->key;
        if (!*ret_found && rows->is_ahead) {
                *ret_row = rows->ahead;
                *ret_found = true;
                rows->is_ahead = false;
        }
        if (*ret_found)
                copy_row(ret_row, out);
        return ST_OK;
}
