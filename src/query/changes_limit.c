/* changes_limit.c - feeds of the first n rows, or of those from the kth to the nth: order_by.limit (and slice, skip),
 * min and max by an index.
 *
 *      rows in order:   | shown: the first n | reserve ........ |   further ones, of which nothing is known
 *
 * A row that leaves makes room for one of the reserve. Only when the reserve is used up are the rows read again, and
 * then twice as many are kept as the time before: what loses its first rows all the time is read ever more rarely.
 *
 * What is told is the difference between what was shown and what there is after the commit. A row that comes and one
 * that goes are one change. Offsets are those of a client who takes out the old one and puts in the new one, change by
 * change. */
#include <stdlib.h>

#include "query/changes_state_int.h"

/* The values of an item: keys of the order, then [place of the index value], primary key, number among what the row
 * gave, and last the value that is shown. */
typedef struct LimitState {
        StateBase base;
        size_t first, limit; /* rows number first .. limit - 1 are shown */
        /* the order */
        bool by_index; /* the first key is the index's value (or the primary key), and rows are read in its order */
        int direction; /* of that */
        Func **funcs;  /* further keys */
        size_t func_count;
        bool by_place; /* rows of equal keys come as `spec` goes through its index, or its list of keys */
        StateOrder order;
        Pending *inner; /* terms between the ordering and the limit, where the feed does not do them */
        Pending *steps; /* above it */

        KeptSet kept;
        size_t reserve; /* so many are kept */
        StateItem **shown;
        size_t shown_count, shown_capacity;
} LimitState;

static void forget_shown(LimitState *self)
{
        while (self->shown_count)
                state_item_unref(&self->base.heap, self->shown[--self->shown_count]);
}

static void limit_free(FeedState *state)
{
        LimitState *self = (LimitState *)state;
        StateHeap *heap = &self->base.heap;
        kept_set_free(&self->kept, heap);
        forget_shown(self);
        state_heap_free(heap, take(self->shown), self->shown_capacity * sizeof *self->shown);
        self->shown_capacity = 0;
        state_clear_error(&self->base);
}

/* --- items --- */

static size_t place_of(const FeedSpec *spec, Value v)
{
        size_t i = 0;
        while (i < spec->key_count && !value_equal(spec->keys[i], v))
                i++;
        return i;
}

static Status item_keys(const LimitState *self, Env *env, Value key, Value index, Value row, Value *values)
{
        const FeedSpec *spec = &self->base.state.specs[0];
        size_t at = 0;
        bool drops = env->drops_missing;
        if (self->by_index)
                values[at++] = value_is(index, V_NONE) ? key : index;
        for (size_t i = 0; i < self->func_count; i++, at++) {
                env->drops_missing = true;
                Status st = func_call_datum(env, self->funcs[i], &row, 1, &values[at]);
                env->drops_missing = drops;
                if (status_missing(&st))
                        values[at] = value_none();
                TRY(st);
        }
        if (self->by_place) {
                Value v = value_is(index, V_NONE) ? key : index;
                values[at++] = spec->key_count ? value_number((double)place_of(spec, v)) : v;
        }
        values[at] = key;
        return ST_OK;
}

/* One side of an event, or a row of a view: each(values) for each item that it is. */
static Status each_item(LimitState *self, Env *env, Value key, Value index, Value row,
                        Status (*each)(LimitState *self, const Value *values, bool *ret_stop), bool *ret_stop)
{
        ValueVec shown;
        Value *values = arena_array(env->arena, Value, self->order.count);
        TRY(item_keys(self, env, key, index, row, values));
        TRY(state_steps_apply(env, self->inner, row, &shown));
        for (size_t i = 0; i < shown.count && !*ret_stop; i++) {
                values[self->order.count - 2] = value_number((double)i);
                values[self->order.count - 1] = shown.items[i];
                TRY(each(self, values, ret_stop));
        }
        return ST_OK;
}

static Status add_item(LimitState *self, const Value *values, bool *ret_stop)
{
        (void)ret_stop;
        return kept_set_add(&self->kept, &self->base.heap, &self->order, values, self->reserve, NULL);
}

static Status remove_item(LimitState *self, const Value *values, bool *ret_stop)
{
        (void)ret_stop;
        kept_set_remove(&self->kept, &self->base.heap, &self->order, values);
        return ST_OK;
}

/* Of a view: rows come in the index's order, so that one behind the reserve may be the last to be looked at. */
static Status read_item(LimitState *self, const Value *values, bool *ret_stop)
{
        bool taken;
        TRY(kept_set_add(&self->kept, &self->base.heap, &self->order, values, self->reserve, &taken));
        if (taken || !self->by_index || self->kept.count == 0)
                return ST_OK;
        int order = value_compare(values[0], self->kept.items[self->kept.count - 1]->values[0]);
        *ret_stop = self->func_count == 0 || (self->direction < 0 ? order < 0 : order > 0);
        return ST_OK;
}

/* --- computing --- */

static Status limit_compute(FeedState *state, Env *env, TableView *const *views)
{
        LimitState *self = (LimitState *)state;
        StateHeap *heap = &self->base.heap;
        ChangesRows *rows;
        bool again = self->kept.count < self->limit && !self->kept.complete;
        if (again)
                self->reserve = state_larger_reserve(env, self->reserve);
        kept_set_clear(&self->kept, heap);
        state_clear_error(&self->base);
        TRY(changes_rows_open(env, &state->specs[0], views[0], state->rewinds[0], self->by_index ? self->direction : 0,
                              &rows));
        Scratch *scratch = scratch_get(env);
        Arena *outer = env->arena;
        Status st = ST_OK;
        for (bool found = true, stop = false; !st && !stop;) {
                ChangesRow row;
                st = changes_rows_next(rows, &scratch->arena, &row, &found);
                if (st || !found)
                        break;
                env->arena = &scratch->arena;
                if (!row.error)
                        st = state_row_failed(&self->base,
                                              each_item(self, env, row.key, row.index, row.value, read_item, &stop));
                else if (!self->by_index || self->func_count || self->kept.count < self->limit)
                        st = state_row_failed_text(&self->base, row.error);
                else
                        self->kept.complete = false; /* the query does not come so far: nor does the reserve */
                stop |= self->base.error || (row.error && self->by_index);
                env->arena = outer;
                arena_reset(&scratch->arena);
        }
        env->arena = outer;
        scratch_put(scratch);
        changes_rows_close(rows);
        return st;
}

static Status look_only(LimitState *self, const Value *values, bool *ret_stop)
{
        (void)self;
        (void)values;
        (void)ret_stop;
        return ST_OK;
}

static Status limit_apply(FeedState *state, Env *env, size_t feed, const FeedEvent *event, bool *ret_recompute)
{
        LimitState *self = (LimitState *)state;
        Arena *outer = env->arena;
        bool stop = false, failed = self->base.error != NULL;
        Status st = ST_OK;
        (void)feed;
        /* The query by an index does not come as far as the row that fails once there are enough before it. */
        if (event->kind == FEED_ERROR || (failed && self->by_index)) {
                *ret_recompute = true;
                return ST_OK;
        }
        Scratch *scratch = scratch_get(env);
        env->arena = &scratch->arena;
        if (!value_is(event->old_value, V_NONE))
                st = each_item(self, env, event->key, event->old_index, event->old_value,
                               failed ? look_only : remove_item, &stop);
        if (!st && !value_is(event->new_value, V_NONE))
                st = each_item(self, env, event->key, event->new_index, event->new_value, failed ? look_only : add_item,
                               &stop);
        env->arena = outer;
        scratch_put(scratch);
        return state_recompute_on_error(st, ret_recompute);
}

/* --- telling --- */

typedef struct Difference { /* of what was shown and what is to be: in order */
        StateItem **gone, **come;
        size_t gone_count, come_count;
        size_t *partner; /* of each that has gone: the number of what has come in its place + 1; 0: nothing */
} Difference;

static const Value *item_key(const LimitState *self, const StateItem *item)
{
        return &item->values[self->order.count - 3];
}

static void find_difference(const LimitState *self, StateItem *const *items, size_t count, Arena *arena,
                            Difference *ret)
{
        size_t i = 0, j = 0;
        *ret = (Difference){.gone = arena_array(arena, StateItem *, self->shown_count),
                            .come = arena_array(arena, StateItem *, count)};
        while (i < self->shown_count || j < count) {
                StateItem *before = i < self->shown_count ? self->shown[i] : NULL;
                StateItem *after = j < count ? items[j] : NULL;
                int order = !before           ? 1
                            : !after          ? -1
                            : before == after ? 0
                                              : state_order_compare(&self->order, before->values, after->values);
                if (order < 0)
                        ret->gone[ret->gone_count++] = before;
                else if (order > 0)
                        ret->come[ret->come_count++] = after;
                i += order <= 0;
                j += order >= 0;
        }
}

typedef struct Numbered {
        Value key;
        size_t number;
} Numbered;

static int compare_numbered(const void *a, const void *b)
{
        const Numbered *left = a, *right = b;
        int order = value_compare(left->key, right->key);
        return order ? order : left->number < right->number ? -1 : left->number > right->number;
}

static Numbered *number_by_key(const LimitState *self, StateItem *const *items, size_t count, Arena *arena)
{
        Numbered *numbered = arena_array(arena, Numbered, count);
        for (size_t i = 0; i < count; i++)
                numbered[i] = (Numbered){.key = *item_key(self, items[i]), .number = i};
        if (count)
                qsort(numbered, count, sizeof *numbered, compare_numbered);
        return numbered;
}

/* What was a row's before goes with what is that row's now; what is left goes in order. */
static void pair_up(const LimitState *self, Arena *arena, Difference *difference)
{
        size_t gone_count = difference->gone_count, come_count = difference->come_count, i = 0, j = 0;
        Numbered *gone = number_by_key(self, difference->gone, gone_count, arena);
        Numbered *come = number_by_key(self, difference->come, come_count, arena);
        bool *taken = arena_zalloc(arena, come_count + 1);
        difference->partner = arena_zalloc(arena, (gone_count + 1) * sizeof *difference->partner);
        while (i < gone_count && j < come_count) {
                int order = value_compare(gone[i].key, come[j].key);
                if (order == 0) {
                        difference->partner[gone[i].number] = come[j].number + 1;
                        taken[come[j].number] = true;
                }
                i += order <= 0;
                j += order >= 0;
        }
        for (i = 0, j = 0; i < gone_count; i++) {
                if (difference->partner[i])
                        continue;
                while (j < come_count && taken[j])
                        j++;
                if (j == come_count)
                        return;
                difference->partner[i] = j + 1;
                taken[j] = true;
        }
}

typedef struct Shown { /* what a client has who follows the changes */
        StateItem **items;
        size_t count;
} Shown;

static size_t shown_place(const LimitState *self, const Shown *shown, const StateItem *item)
{
        const KeptSet set = {.items = shown->items, .count = shown->count};
        bool found;
        return kept_set_find(&set, &self->order, item->values, &found);
}

static Status tell(const LimitState *self, const StateTold *told, Shown *shown, StateItem *gone, StateItem *come)
{
        Value old_offset = value_none(), new_offset = value_none(), old_value = value_none(), new_value = value_none();
        size_t last = self->order.count - 1;
        if (gone) {
                size_t at = shown_place(self, shown, gone);
                shown->count--;
                memmove(&shown->items[at], &shown->items[at + 1], (shown->count - at) * sizeof *shown->items);
                old_offset = value_number((double)at);
                old_value = gone->values[last];
        }
        if (come) {
                size_t at = shown_place(self, shown, come);
                memmove(&shown->items[at + 1], &shown->items[at], (shown->count - at) * sizeof *shown->items);
                shown->items[at] = come;
                shown->count++;
                new_offset = value_number((double)at);
                new_value = come->values[last];
        }
        return state_told_pair(told, self->steps, old_value, new_value, old_offset, new_offset);
}

static Status tell_difference(LimitState *self, const StateTold *told, StateItem *const *items, size_t count,
                              Arena *arena)
{
        Difference difference;
        find_difference(self, items, count, arena, &difference);
        if (!difference.gone_count && !difference.come_count)
                return ST_OK;
        pair_up(self, arena, &difference);
        Shown shown = {.items = arena_array(arena, StateItem *, self->shown_count + count), .count = self->shown_count};
        if (shown.count)
                memcpy(shown.items, self->shown, shown.count * sizeof *shown.items);
        bool *told_come = arena_zalloc(arena, difference.come_count + 1);
        /* Pairs and what goes come first, so that there are never more than the limit. */
        for (size_t i = 0; i < difference.gone_count; i++) {
                size_t partner = difference.partner[i];
                if (partner)
                        told_come[partner - 1] = true;
                TRY(tell(self, told, &shown, difference.gone[i], partner ? difference.come[partner - 1] : NULL));
        }
        for (size_t i = 0; i < difference.come_count; i++)
                if (!told_come[i])
                        TRY(tell(self, told, &shown, NULL, difference.come[i]));
        return ST_OK;
}

static Status tell_initial(LimitState *self, const StateTold *told, StateItem *const *items, size_t count)
{
        for (size_t i = 0; i < count; i++)
                TRY(state_told_pair(told, self->steps, value_none(), items[i]->values[self->order.count - 1],
                                    value_none(), value_number((double)i)));
        return ST_OK;
}

static Status remember_shown(LimitState *self, StateItem *const *kept, size_t count)
{
        StateHeap *heap = &self->base.heap;
        void *items = self->shown;
        size_t capacity = self->shown_capacity;
        if (count > capacity) {
                capacity = MIN(self->limit - self->first, MAX(2 * capacity, count));
                TRY(state_heap_alloc(heap, capacity * sizeof *self->shown, &items));
        }
        for (size_t i = 0; i < count; i++)
                state_item_ref(kept[i]);
        for (size_t i = 0; i < self->shown_count; i++)
                state_item_unref(heap, self->shown[i]);
        if (items != self->shown)
                state_heap_free(heap, self->shown, self->shown_capacity * sizeof *self->shown);
        self->shown = items;
        self->shown_capacity = capacity;
        self->shown_count = count;
        if (count)
                memcpy(self->shown, kept, count * sizeof *self->shown);
        return ST_OK;
}

static Status limit_changes(FeedState *state, Env *env, Arena *out, bool initial, void *list,
                            Status (*add)(void *list, const Change *change), bool *ret_recompute)
{
        LimitState *self = (LimitState *)state;
        const StateTold told = {.env = env, .out = out, .initial = initial, .list = list, .add = add};
        bool failed;
        *ret_recompute = false;
        if (initial)
                forget_shown(self);
        TRY(state_told_error(&told, &self->base, &failed));
        if (failed)
                return ST_OK;
        size_t last = MIN(self->limit, self->kept.count), first = MIN(self->first, last), count = last - first;
        *ret_recompute = last < self->limit && !self->kept.complete;
        if (*ret_recompute)
                return ST_OK;
        StateItem *const *items = count ? self->kept.items + first : NULL;
        Scratch *scratch = scratch_get(env);
        Arena *outer = env->arena;
        env->arena = &scratch->arena;
        Status st = initial ? tell_initial(self, &told, items, count)
                            : tell_difference(self, &told, items, count, &scratch->arena);
        if (!st)
                st = remember_shown(self, items, count);
        env->arena = outer;
        scratch_put(scratch);
        return st;
}

static const FeedStateOps limit_ops = {
        .compute = limit_compute, .apply = limit_apply, .changes = limit_changes, .free = limit_free};

/* --- recognising --- */

static bool is_window(const Term *term)
{
        return (term->type == TERM_LIMIT || term->type == TERM_SKIP || term->type == TERM_SLICE) &&
               !term->has_args_splice;
}

/* Which rows of what is below it LIMIT, SKIP or SLICE gives; *ret_known false: places that count from the end. */
static Status own_window(Env *env, const Term *term, uint64_t *ret_left, uint64_t *ret_right, bool *ret_known)
{
        Args args;
        int32_t left = 0, right;
        bool left_open = false, right_open = true;
        TRY(args_begin(env, term, &args));
        *ret_right = UINT64_MAX;
        if (term->type == TERM_LIMIT) {
                TRY(args_int32(&args, 1, &right));
                if (right < 0)
                        return fail(env, term, ERR_LOGIC, "LIMIT takes a non-negative argument (got %d)", right);
        } else {
                right = term->type == TERM_SLICE ? 0 : -1;
                TRY(args_int32(&args, 1, &left));
                if (args.count > 2)
                        TRY(args_int32(&args, 2, &right));
                TRY(opt_bound_open(env, term, "left_bound", false, &left_open));
                TRY(opt_bound_open(env, term, "right_bound", true, &right_open));
        }
        *ret_known =
                left >= 0 && (right >= 0 || term->type == TERM_SKIP) && (term->type != TERM_SLICE || args.count > 2);
        *ret_left = (uint64_t)left + left_open;
        if (term->type != TERM_SKIP)
                *ret_right = (uint64_t)right + !right_open;
        return ST_OK;
}

/* Of all such terms, one over the other: *ret_below is what is below them. */
static Status window_of(Env *env, const Term *term, const Term **ret_below, uint64_t *ret_left, uint64_t *ret_right,
                        bool *ret_known)
{
        uint64_t left, right;
        *ret_left = 0;
        *ret_right = UINT64_MAX;
        *ret_known = true;
        *ret_below = term;
        if (!is_window(term))
                return ST_OK;
        TRY(window_of(env, term->args[0], ret_below, ret_left, ret_right, ret_known));
        if (!*ret_known)
                return ST_OK;
        TRY(own_window(env, term, &left, &right, ret_known));
        if (right != UINT64_MAX)
                *ret_right = MIN(*ret_right, *ret_left + right);
        *ret_left = MIN(*ret_left + left, *ret_right);
        return ST_OK;
}

static LimitState *limit_new(Env *env, const Term *term, size_t first, size_t limit, Pending *steps)
{
        LimitState *self = arena_new(env->arena, LimitState);
        self->base = (StateBase){
                .state = {.ops = &limit_ops, .note = NOTE_ORDER_BY_LIMIT_FEED, .offsets = true, .feed_count = 1},
                .heap = {env},
                .term = term};
        self->first = first;
        self->limit = limit;
        self->reserve = 2 * limit + 16;
        self->steps = steps;
        self->kept.complete = true;
        return self;
}

/* The order of its items, when everything else is known. `directions`: of the functions. */
static void finish_order(LimitState *self, Env *env, const bool *descending)
{
        size_t keys = (size_t)self->by_index + self->func_count, count = keys + self->by_place + 3;
        bool *all = arena_zalloc(env->arena, count);
        if (self->by_index) /* rows of equal keys come in the order in which the index is read */
                all[0] = all[count - 3] = self->direction < 0;
        for (size_t i = 0; i < self->func_count; i++)
                all[self->by_index + i] = descending[i];
        self->order = (StateOrder){.count = count, .descending = all};
}

static Status sort_keys(LimitState *self, Env *env, const Term *order_by)
{
        Args args;
        TRY(args_begin(env, order_by, &args));
        if (order_by->has_args_splice)
                return fail(env, order_by, ERR_LOGIC, "r.args is not supported in an order_by or union command yet.");
        self->func_count = args.count - 1;
        self->funcs = arena_array(env->arena, Func *, self->func_count);
        bool *descending = arena_zalloc(env->arena, self->func_count + 1);
        for (size_t i = 0; i < self->func_count; i++) {
                descending[i] = args.terms[i + 1]->type == TERM_DESC;
                TRY(args_func(&args, i + 1, SHORTCUT_GET_FIELD, &self->funcs[i]));
                TRY(state_check_repeatable(env, self->funcs[i]));
        }
        finish_order(self, env, descending);
        return ST_OK;
}

static bool is_slice_term(const Term *term)
{
        switch (term->type) {
        case TERM_TABLE:
        case TERM_BETWEEN:
        case TERM_BETWEEN_DEPRECATED: return true;
        case TERM_ORDER_BY: return term_opt(term, "index") && term->arg_count == 1 && !term->has_args_splice;
        default: return false;
        }
}

/* By an index alone: the feed does what stands between. */
static Status slice_limit(Env *env, const Term *rows, const Term *slice_term, LimitState *self, bool *ret_is_rows)
{
        Val val;
        TableVal *slice;
        *ret_is_rows = false;
        TRY(eval(env, slice_term, &val));
        if (val.kind != VAL_TABLE_SLICE || !val.table->order)
                return ST_OK;
        slice = val.table;
        TRY(state_rows_of(env, &self->base, 0, rows, ret_is_rows));
        TRY(state_use_index(env, &self->base.state.specs[0], slice, slice->index));
        self->by_index = true;
        self->direction = slice->order;
        finish_order(self, env, NULL);
        return ST_OK;
}

/* By functions, perhaps after an index. */
static Status sorted_limit(Env *env, const Term *order_by, LimitState *self, bool *ret_is_rows)
{
        FeedSpec *spec = &self->base.state.specs[0];
        const Term *index = term_opt(order_by, "index");
        TRY(state_rows_of(env, &self->base, 0, order_by->args[0], ret_is_rows));
        if (!*ret_is_rows)
                return ST_OK;
        if (index) {
                Val source;
                Bytes name;
                TableVal *slice;
                TRY(eval(env, order_by->args[0], &source));
                TRY(opt_index(env, order_by, &name));
                TRY(val_as_table_slice(env, &source, &slice));
                TRY(slice_with_index(env, &source, name, "order by", "calling BETWEEN on", &slice));
                TRY(state_use_index(env, spec, slice, name));
                self->by_index = true;
                self->direction = index->type == TERM_DESC ? -1 : 1;
        } else {
                self->by_place = spec->index.data || spec->key_count;
                spec->tell_moves = self->by_place;
        }
        return sort_keys(self, env, order_by);
}

Status limit_state_of(Env *env, const Term *term, const Term *core, Pending *steps, FeedState **ret_state)
{
        const Term *rows, *below;
        uint64_t first, limit;
        bool is_rows, known;
        for (rows = core; is_window(rows);)
                rows = rows->args[0];
        for (below = rows; below->arg_count && term_is_row_by_row(below);)
                below = below->args[0];
        bool by_functions = below->type == TERM_ORDER_BY && (below->arg_count > 1 || below->has_args_splice);
        if ((!is_slice_term(below) && !by_functions) || !(below->tree_flags & TF_READS_TABLE))
                return ST_OK;
        TRY(window_of(env, core, &rows, &first, &limit, &known));
        if (!known || limit == UINT64_MAX)
                return ST_OK;
        if (limit > env->array_limit)
                return fail(env, env->current, ERR_RESOURCE,
                            "Array size limit `%zu` exceeded.  (`.limit(X).changes()` is illegal if X is larger than "
                            "the array size limit.)",
                            env->array_limit);
        LimitState *self = limit_new(env, term, (size_t)first, (size_t)limit, steps);
        if (by_functions) {
                TRY(state_steps_of(env, rows, &below, &self->inner));
                TRY(sorted_limit(env, below, self, &is_rows));
        } else {
                TRY(slice_limit(env, rows, below, self, &is_rows));
        }
        if (is_rows)
                *ret_state = &self->base.state;
        return ST_OK;
}

/* min and max by an index, or by the primary key: the first row in that order. */
Status extreme_state_of(Env *env, const Term *term, Bytes index, FeedState **ret_state)
{
        Val val;
        TableVal *table;
        bool is_rows;
        LimitState *self = limit_new(env, term, 0, 1, NULL);
        TRY(eval(env, term->args[0], &val));
        TRY(val_as_table(env, &val, &table));
        TRY(state_rows_of(env, &self->base, 0, term->args[0], &is_rows));
        if (index.data)
                TRY(state_use_index(env, &self->base.state.specs[0], table, index));
        self->by_index = true;
        self->direction = term->type == TERM_MIN ? 1 : -1;
        finish_order(self, env, NULL);
        *ret_state = &self->base.state;
        return ST_OK;
}
