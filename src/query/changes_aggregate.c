/* changes_aggregate.c - feeds of count, sum, avg, min and max, of all rows or of each group.
 *
 *      event -> rows of it by group (the same code as the query's: groups_next) -> each is added, or taken away
 *
 * Counts are numbers and sums exact (exact_sum.h), so what is taken away leaves no trace: the result has the bits of
 * the query's. Of min and max the first few rows are kept in order (KeptSet); when all of those are gone while there
 * are others, everything is computed anew, and more are kept from then on.
 *
 * A group is there as long as a row takes part in it. Only groups that an event touched are looked at afterwards. */
#include <math.h>
#include <stdlib.h>

#include "base/exact_sum.h"
#include "query/changes_rewind.h"
#include "query/changes_state_int.h"

typedef struct AggGroup {
        TallyEntry tally; /* of rows that take part */
        union {
                ExactSum sum;
                KeptSet kept;
        };
        StateItem *row; /* min, max: what was told */
        double number;  /* the others */
} AggGroup;

/* Gives the rows of one side of an event, to what groups them. */
typedef struct ProbeStream {
        Stream stream;
        Value row;
} ProbeStream;

typedef struct AggState {
        StateBase base;
        unsigned type; /* TermType */
        Func *func;
        Groups *groups; /* NULL: all rows are one */
        ProbeStream probe;
        AggGroup *all; /* without groups */
        Tally tally;   /* of groups */
        bool infinite; /* the error is that a sum is */
        /* min, max: key, [place of the index value], primary key, number among what the row gave, the row */
        bool by_place;
        StateOrder order;
        size_t reserve;
} AggState;

#define FIRST_RESERVE 4

static bool is_extreme(const AggState *self)
{
        return self->type == TERM_MIN || self->type == TERM_MAX;
}

/* --- groups --- */

static void empty_group(AggState *self, AggGroup *group)
{
        StateHeap *heap = &self->base.heap;
        if (is_extreme(self))
                kept_set_free(&group->kept, heap);
        else
                state_heap_free(heap, group->sum.wide, EXACT_SUM_WIDE_BYTES);
        memset(&group->sum, 0, sizeof group->sum);
        if (is_extreme(self))
                group->kept.complete = true;
        group->tally.count = 0;
}

static void free_group(void *ctx, MapEntry *entry)
{
        AggState *self = ctx;
        AggGroup *group = (AggGroup *)entry;
        empty_group(self, group);
        state_item_unref(&self->base.heap, group->row);
}

static void agg_free(FeedState *state)
{
        AggState *self = (AggState *)state;
        state_map_free(&self->tally.map, &self->base.heap, free_group, self);
        self->all = NULL;
        self->tally.touched = NULL;
        state_clear_error(&self->base);
}

static Status group_of(AggState *self, Value key, AggGroup **ret)
{
        MapEntry *entry;
        size_t before = self->tally.map.count;
        TRY(state_map_get(&self->tally.map, &self->base.heap, key, &entry));
        *ret = (AggGroup *)entry;
        if (self->tally.map.count > before && is_extreme(self))
                (*ret)->kept.complete = true;
        return ST_OK;
}

/* --- rows --- */

static Status add_number(AggState *self, AggGroup *group, double number)
{
        void *wide;
        if (exact_sum_add(&group->sum, number))
                return ST_OK;
        TRY(state_heap_alloc(&self->base.heap, EXACT_SUM_WIDE_BYTES, &wide));
        exact_sum_widen(&group->sum, wide);
        (void)!exact_sum_add(&group->sum, number);
        return ST_OK;
}

typedef struct Side { /* of an event, or a row of a view */
        Value key, place, row;
        bool taken; /* away */
        bool look;  /* only whether it fails */
} Side;

static Status number_of(AggState *self, Env *env, Value row, double *ret)
{
        Value number = row;
        if (self->func)
                TRY(func_call_datum(env, self->func, &row, 1, &number));
        TRY(expect_type(env, self->base.term, number, V_NUMBER));
        *ret = number.number;
        return ST_OK;
}

static Status add_extreme(AggState *self, Env *env, AggGroup *group, const Side *side, Value row, size_t number)
{
        Value values[5], sort_key = row;
        size_t at = 0;
        if (self->func)
                TRY(func_call_datum(env, self->func, &row, 1, &sort_key));
        if (side->look)
                return ST_OK;
        values[at++] = sort_key;
        if (self->by_place)
                values[at++] = side->place;
        values[at++] = side->key;
        values[at++] = value_number((double)number);
        values[at++] = row;
        group->tally.count += side->taken ? (uint64_t)-1 : 1;
        tally_touch(&self->tally, &group->tally);
        if (!side->taken)
                return kept_set_add(&group->kept, &self->base.heap, &self->order, values, self->reserve, NULL);
        kept_set_remove(&group->kept, &self->base.heap, &self->order, values);
        return ST_OK;
}

static Status add_row(AggState *self, Env *env, AggGroup *group, const Side *side, Value row, size_t number)
{
        bool counts = true, drops = env->drops_missing;
        double value = 0;
        Status st;
        if (self->type == TERM_COUNT && self->func)
                TRY(func_filter(env, self->func, row, false, &counts));
        env->drops_missing = true;
        if (is_extreme(self))
                st = add_extreme(self, env, group, side, row, number);
        else
                st = self->type == TERM_COUNT ? ST_OK : number_of(self, env, row, &value);
        env->drops_missing = drops;
        if (status_missing(&st)) /* a row without the field, or with null in it, does not take part */
                return ST_OK;
        TRY(st);
        if (is_extreme(self) || !counts || side->look)
                return ST_OK;
        group->tally.count += side->taken ? (uint64_t)-1 : 1;
        tally_touch(&self->tally, &group->tally);
        return self->type == TERM_COUNT ? ST_OK : add_number(self, group, side->taken ? -value : value);
}

static Status add_side(AggState *self, Env *env, const Side *side, Value index)
{
        AggGroup *group = self->all;
        if (!self->groups)
                return add_row(self, env, group, side, side->row, 0);
        GroupBatch batch;
        bool end;
        Value pair[2] = {side->row, index};
        self->probe.row = self->groups->indexed ? value_array(pair, 2) : side->row;
        self->probe.stream.done = false;
        TRY(groups_next(self->groups, env, env->arena, &batch, &end));
        for (size_t i = 0; i < batch.table.count; i++) {
                const GroupEntry *entry = &batch.table.entries[i];
                if (entry->rows.count && !side->look)
                        TRY(group_of(self, entry->key, &group));
                for (size_t j = 0; j < entry->rows.count; j++)
                        TRY(add_row(self, env, group, side, entry->rows.items[j], j));
        }
        return ST_OK;
}

static Status probe_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        (void)env;
        (void)want;
        vec_add(batch, out, ((ProbeStream *)stream)->row);
        *ret_end = true;
        return ST_OK;
}

static const StreamOps probe_ops = {.next = probe_next};

/* Where rows of equal keys stand among each other, if it is not in the order of their primary keys. */
static Value place_of(const AggState *self, Value key, Value index)
{
        const FeedSpec *spec = &self->base.state.specs[0];
        Value v = value_is(index, V_NONE) ? key : index;
        if (!self->by_place || !spec->key_count)
                return v;
        size_t i = 0;
        while (i < spec->key_count && !value_equal(spec->keys[i], v))
                i++;
        return value_number((double)i);
}

/* --- computing --- */

static Status begin_compute(AggState *self, Env *env)
{
        bool again = false;
        state_clear_error(&self->base);
        self->infinite = false;
        for (size_t i = 0; i < self->tally.map.slot_count; i++) {
                for (MapEntry *entry = self->tally.map.slots[i]; entry; entry = entry->next) {
                        AggGroup *group = (AggGroup *)entry;
                        again |= is_extreme(self) && group->tally.count && !group->kept.count;
                        empty_group(self, group);
                        tally_touch(&self->tally, &group->tally);
                }
        }
        if (again)
                self->reserve = state_larger_reserve(env, self->reserve);
        if (!self->groups && !self->all)
                return group_of(self, value_null(), &self->all);
        return ST_OK;
}

/* All rows of a table, or of a range, need not be read to be counted. */
static Status count_at_once(AggState *self, Env *env, TableView *view, bool *ret_done)
{
        const FeedSpec *spec = &self->base.state.specs[0];
        uint64_t count;
        *ret_done = self->type == TERM_COUNT && !self->func && !self->groups && !spec->function.data &&
                    !spec->condition_count && !spec->key_count;
        if (!*ret_done)
                return ST_OK;
        if (spec->index.data)
                TRY(env->source->index_count(view, spec->index, spec->bounds, &count));
        else
                TRY(env->source->view_count(view, spec->bounds, &count));
        if (self->base.state.rewinds[0])
                count += (uint64_t)rewind_surplus(self->base.state.rewinds[0]);
        self->all->tally.count = count;
        tally_touch(&self->tally, &self->all->tally);
        return ST_OK;
}

static Status agg_compute(FeedState *state, Env *env, TableView *const *views)
{
        AggState *self = (AggState *)state;
        ChangesRows *rows;
        bool done;
        TRY(begin_compute(self, env));
        TRY(count_at_once(self, env, views[0], &done));
        if (done)
                return ST_OK;
        TRY(changes_rows_open(env, &state->specs[0], views[0], state->rewinds[0], 0, &rows));
        Scratch *scratch = scratch_get(env);
        Arena *outer = env->arena;
        Status st = ST_OK;
        while (!st && !self->base.error) {
                ChangesRow row;
                bool found;
                st = changes_rows_next(rows, &scratch->arena, &row, &found);
                if (st || !found)
                        break;
                const Side side = {.key = row.key, .place = place_of(self, row.key, row.index), .row = row.value};
                env->arena = &scratch->arena;
                if (row.error)
                        st = state_row_failed_text(&self->base, row.error);
                else
                        st = state_row_failed(&self->base, add_side(self, env, &side, row.index));
                env->arena = outer;
                arena_reset(&scratch->arena);
        }
        scratch_put(scratch);
        changes_rows_close(rows);
        return st;
}

static Status agg_apply(FeedState *state, Env *env, size_t feed, const FeedEvent *event, bool *ret_recompute)
{
        AggState *self = (AggState *)state;
        Arena *outer = env->arena;
        Side side = {.key = event->key, .look = self->base.error != NULL};
        Status st = ST_OK;
        (void)feed;
        if (event->kind == FEED_ERROR ||
            self->infinite) { /* what was added to an infinite sum may have made it finite */
                *ret_recompute = true;
                return ST_OK;
        }
        Scratch *scratch = scratch_get(env);
        env->arena = &scratch->arena;
        if (!value_is(event->old_value, V_NONE)) {
                side.taken = true;
                side.row = event->old_value;
                side.place = place_of(self, event->key, event->old_index);
                st = add_side(self, env, &side, event->old_index);
        }
        if (!st && !value_is(event->new_value, V_NONE)) {
                side.taken = false;
                side.row = event->new_value;
                side.place = place_of(self, event->key, event->new_index);
                st = add_side(self, env, &side, event->new_index);
        }
        env->arena = outer;
        scratch_put(scratch);
        return state_recompute_on_error(st, ret_recompute);
}

/* --- telling --- */

/* What the query would give of it now: V_NONE: nothing, there is no such group (or no such value). */
static Value group_value(const AggState *self, const AggGroup *group)
{
        bool needs_rows = self->groups || self->type == TERM_AVG;
        if (needs_rows && !group->tally.count)
                return value_none();
        switch (self->type) {
        case TERM_COUNT: return value_number((double)group->tally.count);
        case TERM_SUM: return value_number(exact_sum_value(&group->sum));
        case TERM_AVG: return value_number(exact_sum_value(&group->sum) / (double)group->tally.count);
        default: return group->kept.count ? group->kept.items[0]->values[self->order.count - 1] : value_none();
        }
}

static Value told_value(const AggState *self, const AggGroup *group)
{
        if (!group->tally.told)
                return value_none();
        return is_extreme(self) ? group->row->values[self->order.count - 1] : value_number(group->number);
}

static void remember_told(AggState *self, AggGroup *group, Value now)
{
        group->tally.told = !value_is(now, V_NONE);
        if (is_extreme(self)) {
                state_item_unref(&self->base.heap, take(group->row));
                group->row = group->tally.told ? state_item_ref(group->kept.items[0]) : NULL;
        } else if (group->tally.told) {
                group->number = now.number;
        }
}

static Value shown(const AggState *self, const AggGroup *group, Value value, Arena *out)
{
        if (value_is(value, V_NONE))
                return self->groups ? value : value_null(); /* one value is always there: what is none is null */
        value = value_copy(value, out);
        return self->groups ? groups_ungrouped(out, value_copy(group->tally.entry.key, out), value) : value;
}

static Status tell_group(StateBase *base, const StateTold *told, TallyEntry *entry)
{
        AggState *self = (AggState *)base;
        AggGroup *group = (AggGroup *)entry;
        Value before = told_value(self, group), now = group_value(self, group);
        bool had = !value_is(before, V_NONE), has = !value_is(now, V_NONE);
        bool single = told->initial && !self->groups; /* told even if it is null */
        if (single || had != has || (had && !value_equal(before, now))) {
                Change change = {.initial = told->initial,
                                 .new_value = shown(self, group, now, told->out),
                                 .key = self->groups ? value_copy(group->tally.entry.key, told->out) : value_null()};
                if (!told->initial)
                        change.old_value = shown(self, group, before, told->out);
                TRY(state_told_add(told, &change));
        }
        remember_told(self, group, now);
        return ST_OK;
}

/* Sums that are no numbers, extremes that are not known. */
static Status look_at_touched(AggState *self, bool *ret_recompute)
{
        for (TallyEntry *entry = self->tally.touched; entry; entry = entry->next_touched) {
                const AggGroup *group = (const AggGroup *)entry;
                Value now = group_value(self, group);
                *ret_recompute |= is_extreme(self) && group->tally.count && !group->kept.count;
                if (!value_is(now, V_NUMBER) || is_extreme(self) || isfinite(now.number))
                        continue;
                self->infinite = true;
                TRY(state_row_failed_text(&self->base,
                                          now.number > 0 ? "Non-finite number: inf" : "Non-finite number: -inf"));
        }
        return ST_OK;
}

static Status agg_changes(FeedState *state, Env *env, Arena *out, bool initial, void *list,
                          Status (*add)(void *list, const Change *change), bool *ret_recompute)
{
        AggState *self = (AggState *)state;
        const StateTold told = {.env = env, .out = out, .initial = initial, .list = list, .add = add};
        bool failed;
        *ret_recompute = false;
        if (!self->base.error)
                TRY(look_at_touched(self, ret_recompute));
        if (*ret_recompute)
                return ST_OK;
        if (initial)
                tally_forget_told(&self->tally);
        TRY(state_told_error(&told, &self->base, &failed));
        if (failed)
                return ST_OK;
        if (!initial)
                return tally_tell(&self->tally, &self->base, &told, tell_group, free_group);
        Scratch *scratch = scratch_get(env);
        Arena *outer = env->arena;
        env->arena = &scratch->arena;
        Status st = tally_tell(&self->tally, &self->base, &told, tell_group, free_group);
        env->arena = outer;
        scratch_put(scratch);
        return st;
}

static const FeedStateOps agg_ops = {
        .compute = agg_compute, .apply = agg_apply, .changes = agg_changes, .free = agg_free};

/* --- recognising --- */

static bool is_aggregation(const Term *term)
{
        switch (term->type) {
        case TERM_COUNT:
        case TERM_SUM:
        case TERM_AVG:
        case TERM_MIN:
        case TERM_MAX: return !term->has_args_splice;
        default: return false;
        }
}

static Status function_of(Env *env, const Term *term, Func **ret)
{
        Args args;
        Val val;
        Value value;
        *ret = NULL;
        if (term->arg_count < 2)
                return ST_OK;
        TRY(args_begin(env, term, &args));
        if (term->type != TERM_COUNT) {
                TRY(args_func(&args, 1, SHORTCUT_GET_FIELD, ret));
        } else {
                TRY(args_val(&args, 1, &val));
                if (val.kind == VAL_FUNC) {
                        *ret = val.func;
                } else {
                        TRY(val_as_datum(env, &val, &value));
                        *ret = func_equals(env, term, value);
                }
        }
        return state_check_repeatable(env, *ret);
}

/* GROUP, and what stands above it: as term_group makes it, over the probe. */
static Status grouping(Env *env, const Term *group, Pending *pending, AggState *self, Bytes *ret_index)
{
        Args args;
        Val option;
        bool present;
        Groups *groups = arena_new(env->arena, Groups);
        TRY(args_begin(env, group, &args));
        groups->term = group;
        groups->pending = pending;
        groups->source = &self->probe.stream;
        groups->funcs = arena_array(env->arena, Func *, args.count + 1);
        for (size_t i = 1; i < args.count; i++) {
                TRY(args_func(&args, i, SHORTCUT_GET_FIELD, &groups->funcs[groups->func_count]));
                TRY(state_check_repeatable(env, groups->funcs[groups->func_count++]));
        }
        TRY(opt_index(env, group, ret_index));
        if (groups->func_count == 0 && !ret_index->data)
                return fail(env, group, ERR_LOGIC, "Cannot group by nothing.");
        TRY(opt_val(env, group, "multi", &option, &present));
        if (present)
                TRY(val_as_bool(env, &option, &groups->multi));
        self->groups = groups;
        return ST_OK;
}

static Status group_by_index(Env *env, const Term *group, Bytes index, AggState *self)
{
        Val val;
        TableVal *table;
        Groups *groups = self->groups;
        TRY(eval(env, group->args[0], &val));
        TRY(val_as_table(env, &val, &table));
        TRY(state_use_index(env, &self->base.state.specs[0], table, index));
        groups->indexed = self->base.state.specs[0].index.data != NULL;
        if (groups->indexed)
                return ST_OK;
        Val key = val_datum(group, value_string(index));
        return val_to_func(env, &key, SHORTCUT_GET_FIELD, &groups->funcs[groups->func_count++]);
}

static void finish_state(AggState *self, Env *env)
{
        FeedSpec *spec = &self->base.state.specs[0];
        self->tally.map.entry_bytes = sizeof(AggGroup);
        self->tally.keeps_empty = !self->groups;
        self->reserve = FIRST_RESERVE;
        if (!is_extreme(self))
                return;
        /* Of equal keys the row that the query meets first. */
        self->by_place = spec->index.data || spec->key_count;
        spec->tell_moves |= self->by_place;
        bool *descending = arena_zalloc(env->arena, 5);
        descending[0] = self->type == TERM_MAX;
        self->order = (StateOrder){.count = 4 + (size_t)self->by_place, .descending = descending};
}

Status aggregate_state_of(Env *env, const Term *term, FeedState **ret_state)
{
        const Term *core = term->type == TERM_UNGROUP ? term->args[0] : term, *below;
        Pending *pending = NULL;
        Bytes index = BYTES_NONE;
        bool is_rows;
        if (!is_aggregation(core))
                return ST_OK;
        for (below = core->args[0]; below->arg_count && term_is_row_by_row(below);)
                below = below->args[0];
        bool grouped = below->type == TERM_GROUP && !below->has_args_splice;
        if (term->type == TERM_UNGROUP && !grouped)
                return ST_OK;
        AggState *self = arena_new(env->arena, AggState);
        self->base = (StateBase){
                .state = {.ops = &agg_ops, .note = NOTE_ATOM_FEED, .feed_count = 1}, .heap = {env}, .term = core};
        self->type = core->type;
        self->probe.stream = (Stream){.ops = &probe_ops, .term = core};
        TRY(function_of(env, core, &self->func));
        if (!grouped) {
                TRY(opt_index(env, core, &index));
                if (index.data && self->func)
                        return fail(env, core, ERR_LOGIC, "Cannot provide both a function and an index to %s.",
                                    core->type == TERM_MIN ? "min" : "max");
                if (index.data || (is_extreme(self) && !self->func && core->args[0]->type == TERM_TABLE))
                        return extreme_state_of(env, core, index, ret_state);
                TRY(state_rows_of(env, &self->base, 0, core->args[0], &is_rows));
                if (!is_rows)
                        return ST_OK;
                finish_state(self, env);
                *ret_state = &self->base.state;
                return ST_OK;
        }
        TRY(state_steps_of(env, core->args[0], &below, &pending));
        self->base.state.note = NOTE_SEQUENCE_FEED;
        TRY(grouping(env, below, pending, self, &index));
        TRY(state_rows_of(env, &self->base, 0, below->args[0], &is_rows));
        if (!is_rows)
                return ST_OK;
        if (index.data)
                TRY(group_by_index(env, below, index, self));
        finish_state(self, env);
        *ret_state = &self->base.state;
        return ST_OK;
}
