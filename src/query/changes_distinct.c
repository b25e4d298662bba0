/* changes_distinct.c - feeds of distinct: which values there are; one comes with its first row, and goes with its last.
 */
#include "query/changes_state_int.h"

typedef struct DistinctState {
        StateBase base;
        bool by_index; /* the values are those of the index, not the rows */
        bool by_key;   /* they are the primary keys */
        Pending *steps;
        Tally values;
} DistinctState;

static void distinct_free(FeedState *state)
{
        DistinctState *self = (DistinctState *)state;
        state_map_free(&self->values.map, &self->base.heap, NULL, NULL);
        self->values.touched = NULL;
        state_clear_error(&self->base);
}

static Status count_value(DistinctState *self, Value key, Value index, Value row, bool taken)
{
        MapEntry *entry;
        Value v = self->by_index ? index : self->by_key ? key : row;
        TRY(state_map_get(&self->values.map, &self->base.heap, v, &entry));
        TallyEntry *value = (TallyEntry *)entry;
        value->count += taken ? (uint64_t)-1 : 1;
        tally_touch(&self->values, value);
        return ST_OK;
}

static Status distinct_compute(FeedState *state, Env *env, TableView *const *views)
{
        DistinctState *self = (DistinctState *)state;
        ChangesRows *rows;
        state_clear_error(&self->base);
        for (size_t i = 0; i < self->values.map.slot_count; i++) {
                for (MapEntry *entry = self->values.map.slots[i]; entry; entry = entry->next) {
                        ((TallyEntry *)entry)->count = 0;
                        tally_touch(&self->values, (TallyEntry *)entry);
                }
        }
        TRY(changes_rows_open(env, &state->specs[0], views[0], state->rewinds[0], 0, &rows));
        Scratch *scratch = scratch_get(env);
        Status st = ST_OK;
        while (!st && !self->base.error) {
                ChangesRow row;
                bool found;
                st = changes_rows_next(rows, &scratch->arena, &row, &found);
                if (st || !found)
                        break;
                st = row.error ? state_row_failed_text(&self->base, row.error)
                               : count_value(self, row.key, row.index, row.value, false);
                arena_reset(&scratch->arena);
        }
        scratch_put(scratch);
        changes_rows_close(rows);
        return st;
}

static Status distinct_apply(FeedState *state, Env *env, size_t feed, const FeedEvent *event, bool *ret_recompute)
{
        DistinctState *self = (DistinctState *)state;
        (void)env;
        (void)feed;
        if (event->kind == FEED_ERROR)
                *ret_recompute = true;
        if (event->kind == FEED_ERROR || self->base.error)
                return ST_OK;
        if (!value_is(event->old_value, V_NONE))
                TRY(count_value(self, event->key, event->old_index, event->old_value, true));
        if (!value_is(event->new_value, V_NONE))
                TRY(count_value(self, event->key, event->new_index, event->new_value, false));
        return ST_OK;
}

static Status tell_value(StateBase *base, const StateTold *told, TallyEntry *value)
{
        const DistinctState *self = (const DistinctState *)base;
        Value none = value_none(), v = value->entry.key;
        bool had = value->told, has = value->count > 0;
        if (had != has)
                TRY(state_told_pair(told, self->steps, had ? v : none, has ? v : none, none, none));
        value->told = has;
        return ST_OK;
}

static Status distinct_changes(FeedState *state, Env *env, Arena *out, bool initial, void *list,
                               Status (*add)(void *list, const Change *change), bool *ret_recompute)
{
        DistinctState *self = (DistinctState *)state;
        const StateTold told = {.env = env, .out = out, .initial = initial, .list = list, .add = add};
        bool failed;
        *ret_recompute = false;
        if (initial)
                tally_forget_told(&self->values);
        TRY(state_told_error(&told, &self->base, &failed));
        if (failed)
                return ST_OK;
        Scratch *scratch = scratch_get(env);
        Arena *outer = env->arena;
        env->arena = &scratch->arena;
        Status st = tally_tell(&self->values, &self->base, &told, tell_value, NULL);
        env->arena = outer;
        scratch_put(scratch);
        return st;
}

static const FeedStateOps distinct_ops = {
        .compute = distinct_compute, .apply = distinct_apply, .changes = distinct_changes, .free = distinct_free};

/* By an index, as term_distinct decides it: the index named, if the rows do not go by another one. */
static Status by_index(Env *env, const Term *core, Bytes index, DistinctState *self)
{
        Val val;
        TRY(eval(env, core->args[0], &val));
        if (val.kind == VAL_TABLE || val.kind == VAL_TABLE_SLICE) {
                const TableVal *table = val.table;
                bool by_key = bytes_equal(index, table->info->primary_key);
                self->by_key = by_key;
                self->by_index = !by_key;
                if (by_key)
                        return ST_OK;
                if (!table->has_index || bytes_equal(table->index, index))
                        return state_use_index(env, &self->base.state.specs[0], table, index);
        }
        return fail(env, core, ERR_LOGIC, "Can only perform an indexed distinct on a TABLE.");
}

Status distinct_state_of(Env *env, const Term *term, const Term *core, Pending *steps, FeedState **ret_state)
{
        Bytes index;
        bool is_rows;
        DistinctState *self = arena_new(env->arena, DistinctState);
        self->base = (StateBase){.state = {.ops = &distinct_ops, .note = NOTE_SEQUENCE_FEED, .feed_count = 1},
                                 .heap = {env},
                                 .term = term};
        self->steps = steps;
        self->values.map.entry_bytes = sizeof(TallyEntry);
        TRY(state_rows_of(env, &self->base, 0, core->args[0], &is_rows));
        if (!is_rows)
                return ST_OK;
        TRY(opt_index(env, core, &index));
        if (index.data)
                TRY(by_index(env, core, index, self));
        *ret_state = &self->base.state;
        return ST_OK;
}
