/* changes_join.c - feeds of eq_join: two feeds, of the left rows and of the right table.
 *
 *      key -> | left rows with that key | right rows under that key |      each with each
 *
 * Left rows are remembered, all that have a key. Of a small right table all rows are; of a large one those under the
 * keys that left rows have: a left row with a key that nobody asked about yet makes everything be computed anew. What
 * is told is which pairs have gone and which have come since the last time: a pair of the same two rows is one change.
 */
#include <stdlib.h>

#include "query/changes_state_int.h"
#include "value/key.h"

typedef struct JoinKey {
        MapEntry entry;
        KeptSet left, right; /* items: primary key, row */
} JoinKey;

typedef struct JoinPair {
        StateItem *left, *right;
} JoinPair;
typedef struct JoinPairs {
        JoinPair *items;
        size_t count, capacity;
} JoinPairs;

typedef struct JoinState {
        StateBase base;
        Func *func; /* left row -> key */
        Pending *steps;
        StateMap map;
        bool all_right;       /* every right row is remembered */
        bool no_all_right;    /* they took too much memory once */
        JoinPairs gone, come; /* since the last time something was told */
} JoinState;

#define ALL_RIGHT_ROWS  100000
#define ALL_RIGHT_SHARE 4 /* of the query's memory, beyond which right rows without a left one are not remembered */

enum { LEFT, RIGHT };
static const bool ascending[2];
static const StateOrder by_row = {.count = 2, .descending = ascending};

/* --- memory --- */

static void clear_pairs(JoinPairs *pairs, StateHeap *heap)
{
        for (size_t i = 0; i < pairs->count; i++) {
                state_item_unref(heap, pairs->items[i].left);
                state_item_unref(heap, pairs->items[i].right);
        }
        state_heap_free(heap, pairs->items, pairs->capacity * sizeof *pairs->items);
        *pairs = (JoinPairs){0};
}

static Status add_pair(JoinPairs *pairs, StateHeap *heap, StateItem *left, StateItem *right)
{
        TRY(state_heap_grow(heap, &pairs->items, sizeof *pairs->items, pairs->count, &pairs->capacity));
        pairs->items[pairs->count++] = (JoinPair){.left = state_item_ref(left), .right = state_item_ref(right)};
        return ST_OK;
}

static void free_key(void *ctx, MapEntry *entry)
{
        StateHeap *heap = ctx;
        kept_set_free(&((JoinKey *)entry)->left, heap);
        kept_set_free(&((JoinKey *)entry)->right, heap);
}

static void clear_map(JoinState *self)
{
        state_map_free(&self->map, &self->base.heap, free_key, &self->base.heap);
}

static void join_free(FeedState *state)
{
        JoinState *self = (JoinState *)state;
        clear_map(self);
        clear_pairs(&self->gone, &self->base.heap);
        clear_pairs(&self->come, &self->base.heap);
        state_clear_error(&self->base);
}

/* --- rows come and go --- */

/* V_NONE: the row has no partner. */
static Status left_key(JoinState *self, Env *env, Value row, Value *ret_key)
{
        Bytes encoded;
        const Term *term = self->base.term;
        *ret_key = value_none();
        if (value_is(row, V_NULL))
                return ST_OK;
        Status st = func_call_datum(env, self->func, &row, 1, ret_key);
        if (status_missing(&st) || (!st && value_is(*ret_key, V_NULL)))
                *ret_key = value_none();
        TRY(st);
        if (value_is(*ret_key, V_NONE))
                return ST_OK;
        if (self->base.state.specs[RIGHT].index.data)
                return check_secondary_key(env, term, *ret_key);
        return fail_at(env, term, key_encode_primary(*ret_key, env->arena, &encoded));
}

static Status key_of(JoinState *self, Value v, JoinKey **ret)
{
        MapEntry *entry;
        size_t before = self->map.count;
        TRY(state_map_get(&self->map, &self->base.heap, v, &entry));
        *ret = (JoinKey *)entry;
        if (self->map.count > before)
                (*ret)->left.complete = (*ret)->right.complete = true;
        return ST_OK;
}

/* A row's pairs with all rows of the other side. */
static Status pair_with_all(JoinState *self, JoinPairs *pairs, StateItem *item, int side, const KeptSet *others)
{
        for (size_t i = 0; i < others->count; i++) {
                StateItem *other = others->items[i];
                TRY(add_pair(pairs, &self->base.heap, side == LEFT ? item : other, side == LEFT ? other : item));
        }
        return ST_OK;
}

static Status add_row(JoinState *self, JoinKey *key, int side, Value id, Value row)
{
        KeptSet *set = side == LEFT ? &key->left : &key->right;
        const Value values[2] = {id, row};
        bool found;
        TRY(kept_set_add(set, &self->base.heap, &by_row, values, SIZE_MAX, NULL));
        StateItem *item = set->items[kept_set_find(set, &by_row, values, &found)];
        return pair_with_all(self, &self->come, item, side, side == LEFT ? &key->right : &key->left);
}

static Status take_row(JoinState *self, JoinKey *key, int side, Value id, Value row)
{
        KeptSet *set = side == LEFT ? &key->left : &key->right;
        const Value values[2] = {id, row};
        bool found;
        size_t at = kept_set_find(set, &by_row, values, &found);
        if (!found)
                return ST_OK;
        TRY(pair_with_all(self, &self->gone, set->items[at], side, side == LEFT ? &key->right : &key->left));
        kept_set_remove(set, &self->base.heap, &by_row, values);
        if (!key->left.count && (!key->right.count || !self->all_right)) {
                free_key(&self->base.heap, &key->entry);
                state_map_remove(&self->map, &self->base.heap, &key->entry);
        }
        return ST_OK;
}

/* --- computing --- */

/* All rows of a side's spec in its view, one by one, in a scratch arena. */
static Status each_row(JoinState *self, Env *env, int side, const FeedSpec *spec, TableView *view,
                       TableView *right_view,
                       Status (*each)(JoinState *self, Env *env, const ChangesRow *row, TableView *right_view,
                                      bool *ret_stop))
{
        ChangesRows *rows;
        TRY(changes_rows_open(env, spec, view, self->base.state.rewinds[side], 0, &rows));
        Scratch *scratch = scratch_get(env);
        Arena *outer = env->arena;
        Status st = ST_OK;
        for (bool found = true, stop = false; !st && !stop && !self->base.error;) {
                ChangesRow row;
                st = changes_rows_next(rows, &scratch->arena, &row, &found);
                if (st || !found)
                        break;
                env->arena = &scratch->arena;
                st = row.error ? state_row_failed_text(&self->base, row.error)
                               : state_row_failed(&self->base, each(self, env, &row, right_view, &stop));
                env->arena = outer;
                arena_reset(&scratch->arena);
        }
        scratch_put(scratch);
        changes_rows_close(rows);
        return st;
}

static Status read_right(JoinState *self, Env *env, const ChangesRow *row, TableView *right_view, bool *ret_stop)
{
        JoinKey *key;
        size_t max = env->world->memory_max_bytes;
        (void)right_view;
        TRY(key_of(self, value_is(row->index, V_NONE) ? row->key : row->index, &key));
        *ret_stop = self->all_right && max && env->kept_bytes > max / ALL_RIGHT_SHARE;
        self->no_all_right |= *ret_stop;
        return add_row(self, key, RIGHT, row->key, row->value);
}

static Status read_left(JoinState *self, Env *env, const ChangesRow *row, TableView *right_view, bool *ret_stop)
{
        Value v;
        JoinKey *key;
        (void)ret_stop;
        TRY(left_key(self, env, row->value, &v));
        if (value_is(v, V_NONE))
                return ST_OK;
        size_t before = self->map.count;
        TRY(key_of(self, v, &key));
        if (self->map.count > before && !self->all_right) {
                FeedSpec spec = self->base.state.specs[RIGHT];
                spec.keys = &key->entry.key;
                spec.key_count = 1;
                TRY(each_row(self, env, RIGHT, &spec, right_view, NULL, read_right));
        }
        return add_row(self, key, LEFT, row->key, row->value);
}

static Status forget_all(JoinState *self)
{
        for (size_t i = 0; i < self->map.slot_count; i++) {
                for (MapEntry *entry = self->map.slots[i]; entry; entry = entry->next) {
                        JoinKey *key = (JoinKey *)entry;
                        for (size_t j = 0; j < key->left.count; j++)
                                TRY(pair_with_all(self, &self->gone, key->left.items[j], LEFT, &key->right));
                }
        }
        clear_map(self);
        return ST_OK;
}

/* What has gone and come again, or come and gone, is nothing. */
static int compare_pairs(const void *a, const void *b)
{
        const JoinPair *x = a, *y = b;
        int order = value_compare(x->left->values[0], y->left->values[0]);
        if (!order)
                order = value_compare(x->right->values[0], y->right->values[0]);
        if (!order && x->left != y->left)
                order = value_compare(x->left->values[1], y->left->values[1]);
        if (!order && x->right != y->right)
                order = value_compare(x->right->values[1], y->right->values[1]);
        return order;
}

static void sort_pairs(JoinPairs *pairs)
{
        if (pairs->count > 1)
                qsort(pairs->items, pairs->count, sizeof *pairs->items, compare_pairs);
}

static void drop_pair(StateHeap *heap, const JoinPair *pair)
{
        state_item_unref(heap, pair->left);
        state_item_unref(heap, pair->right);
}

static void cancel_out(JoinState *self)
{
        JoinPairs *gone = &self->gone, *come = &self->come;
        size_t i = 0, j = 0, gone_count = 0, come_count = 0;
        sort_pairs(gone);
        sort_pairs(come);
        while (i < gone->count || j < come->count) {
                int order = i == gone->count   ? 1
                            : j == come->count ? -1
                                               : compare_pairs(&gone->items[i], &come->items[j]);
                if (order < 0) {
                        gone->items[gone_count++] = gone->items[i++];
                } else if (order > 0) {
                        come->items[come_count++] = come->items[j++];
                } else {
                        drop_pair(&self->base.heap, &gone->items[i++]);
                        drop_pair(&self->base.heap, &come->items[j++]);
                }
        }
        gone->count = gone_count;
        come->count = come_count;
}

static Status join_compute(FeedState *state, Env *env, TableView *const *views)
{
        JoinState *self = (JoinState *)state;
        uint64_t rights;
        TRY(forget_all(self));
        state_clear_error(&self->base);
        TRY(env->source->view_count(views[RIGHT], NULL, &rights));
        self->all_right = rights <= ALL_RIGHT_ROWS && !self->no_all_right;
        if (self->all_right) {
                TRY(each_row(self, env, RIGHT, &state->specs[RIGHT], views[RIGHT], NULL, read_right));
                self->all_right = !self->no_all_right;
                if (!self->all_right)
                        clear_map(self);
        }
        TRY(each_row(self, env, LEFT, &state->specs[LEFT], views[LEFT], views[RIGHT], read_left));
        cancel_out(self);
        return ST_OK;
}

static Status apply_left(JoinState *self, Env *env, Value id, Value row, bool taken, bool *ret_recompute)
{
        Value v;
        JoinKey *key;
        TRY(left_key(self, env, row, &v));
        if (value_is(v, V_NONE) || self->base.error)
                return ST_OK;
        key = (JoinKey *)state_map_find(&self->map, v);
        if (taken)
                return key ? take_row(self, key, LEFT, id, row) : ST_OK;
        if (!key && !self->all_right) {
                *ret_recompute = true;
                return ST_OK;
        }
        TRY(key_of(self, v, &key));
        return add_row(self, key, LEFT, id, row);
}

static Status apply_right(JoinState *self, Value v, Value id, Value row, bool taken)
{
        JoinKey *key = (JoinKey *)state_map_find(&self->map, v);
        if (self->base.error || (!key && (taken || !self->all_right)))
                return ST_OK;
        if (taken)
                return take_row(self, key, RIGHT, id, row);
        TRY(key_of(self, v, &key));
        return add_row(self, key, RIGHT, id, row);
}

static Status apply_side(JoinState *self, Env *env, size_t feed, const FeedEvent *event, bool taken,
                         bool *ret_recompute)
{
        Value row = taken ? event->old_value : event->new_value, index = taken ? event->old_index : event->new_index;
        if (value_is(row, V_NONE))
                return ST_OK;
        if (feed == LEFT)
                return apply_left(self, env, event->key, row, taken, ret_recompute);
        return apply_right(self, value_is(index, V_NONE) ? event->key : index, event->key, row, taken);
}

static Status join_apply(FeedState *state, Env *env, size_t feed, const FeedEvent *event, bool *ret_recompute)
{
        JoinState *self = (JoinState *)state;
        Arena *outer = env->arena;
        if (event->kind == FEED_ERROR) {
                *ret_recompute = true;
                return ST_OK;
        }
        Scratch *scratch = scratch_get(env);
        env->arena = &scratch->arena;
        Status st = apply_side(self, env, feed, event, true, ret_recompute);
        if (!st)
                st = apply_side(self, env, feed, event, false, ret_recompute);
        env->arena = outer;
        scratch_put(scratch);
        return state_recompute_on_error(st, ret_recompute);
}

/* --- telling --- */

static Status joined(const StateTold *told, const JoinState *self, const JoinPair *pair, Value *ret)
{
        Env *env = told->env;
        *ret = value_none();
        if (!pair)
                return ST_OK;
        Field *fields = arena_array(env->arena, Field, 2);
        fields[0] = (Field){BYTES_STR("left"), pair->left->values[1]};
        fields[1] = (Field){BYTES_STR("right"), pair->right->values[1]};
        *ret = value_object_sorted(fields, 2);
        return check_depth(env, self->base.term, *ret);
}

static Status tell(JoinState *self, const StateTold *told, const JoinPair *gone, const JoinPair *come)
{
        Value before, after, none = value_none();
        ArenaMark mark = arena_mark(told->env->arena);
        TRY(joined(told, self, gone, &before));
        TRY(joined(told, self, come, &after));
        TRY(state_told_pair(told, self->steps, before, after, none, none));
        arena_rewind(told->env->arena, mark);
        return ST_OK;
}

/* The pairs of one left row: those of the same right row are one change each; then what goes and what comes is, as far
 * as there is some of both: the row has another partner. */
static Status tell_left(JoinState *self, const StateTold *told, JoinPair *gone, size_t gone_count, JoinPair *come,
                        size_t come_count)
{
        size_t i = 0, j = 0, gone_left = 0, come_left = 0;
        while (i < gone_count || j < come_count) {
                int order = i == gone_count   ? 1
                            : j == come_count ? -1
                                              : value_compare(gone[i].right->values[0], come[j].right->values[0]);
                if (order < 0) {
                        JoinPair pair = gone[i];
                        gone[i++] = gone[gone_left];
                        gone[gone_left++] = pair;
                } else if (order > 0) {
                        JoinPair pair = come[j];
                        come[j++] = come[come_left];
                        come[come_left++] = pair;
                } else {
                        TRY(tell(self, told, &gone[i++], &come[j++]));
                }
        }
        for (i = 0; i < MAX(gone_left, come_left); i++)
                TRY(tell(self, told, i < gone_left ? &gone[i] : NULL, i < come_left ? &come[i] : NULL));
        return ST_OK;
}

static size_t same_left(const JoinPairs *pairs, size_t from, Value key)
{
        size_t i = from;
        while (i < pairs->count && value_equal(pairs->items[i].left->values[0], key))
                i++;
        return i - from;
}

/* Both are sorted. */
static Status tell_pairs(JoinState *self, const StateTold *told)
{
        const JoinPairs *gone = &self->gone, *come = &self->come;
        size_t i = 0, j = 0;
        while (i < gone->count || j < come->count) {
                const StateItem *before = i < gone->count ? gone->items[i].left : NULL;
                const StateItem *after = j < come->count ? come->items[j].left : NULL;
                const StateItem *left =
                        !after || (before && value_compare(before->values[0], after->values[0]) < 0) ? before : after;
                size_t gone_count = same_left(gone, i, left->values[0]),
                       come_count = same_left(come, j, left->values[0]);
                TRY(tell_left(self, told, gone->items + i, gone_count, come->items + j, come_count));
                i += gone_count;
                j += come_count;
        }
        return ST_OK;
}

static Status tell_all(JoinState *self, const StateTold *told)
{
        for (size_t i = 0; i < self->map.slot_count; i++) {
                for (const MapEntry *entry = self->map.slots[i]; entry; entry = entry->next) {
                        const JoinKey *key = (const JoinKey *)entry;
                        for (size_t j = 0; j < key->left.count; j++)
                                for (size_t k = 0; k < key->right.count; k++) {
                                        const JoinPair pair = {key->left.items[j], key->right.items[k]};
                                        TRY(tell(self, told, NULL, &pair));
                                }
                }
        }
        return ST_OK;
}

static Status join_changes(FeedState *state, Env *env, Arena *out, bool initial, void *list,
                           Status (*add)(void *list, const Change *change), bool *ret_recompute)
{
        JoinState *self = (JoinState *)state;
        const StateTold told = {.env = env, .out = out, .initial = initial, .list = list, .add = add};
        bool failed;
        *ret_recompute = false;
        if (initial) {
                clear_pairs(&self->gone, &self->base.heap);
                clear_pairs(&self->come, &self->base.heap);
        }
        TRY(state_told_error(&told, &self->base, &failed));
        if (initial && failed)
                clear_map(self);
        if (failed || (!initial && !self->gone.count && !self->come.count))
                return ST_OK;
        Scratch *scratch = scratch_get(env);
        Arena *outer = env->arena;
        env->arena = &scratch->arena;
        cancel_out(self);
        Status st = initial ? tell_all(self, &told) : tell_pairs(self, &told);
        env->arena = outer;
        scratch_put(scratch);
        clear_pairs(&self->gone, &self->base.heap);
        clear_pairs(&self->come, &self->base.heap);
        return st;
}

static const FeedStateOps join_ops = {
        .compute = join_compute, .apply = join_apply, .changes = join_changes, .free = join_free};

Status join_state_of(Env *env, const Term *term, const Term *core, Pending *steps, FeedState **ret_state)
{
        Args args;
        Val right;
        TableVal *table;
        Bytes index;
        bool left_rows, right_rows;
        if (core->has_args_splice)
                return ST_OK;
        JoinState *self = arena_new(env->arena, JoinState);
        self->base = (StateBase){
                .state = {.ops = &join_ops, .note = NOTE_SEQUENCE_FEED, .feed_count = 2}, .heap = {env}, .term = core};
        (void)term;
        self->steps = steps;
        self->map.entry_bytes = sizeof(JoinKey);
        TRY(state_rows_of(env, &self->base, LEFT, core->args[0], &left_rows));
        if (!left_rows)
                return ST_OK;
        TRY(args_begin(env, core, &args));
        TRY(args_func(&args, 1, SHORTCUT_GET_FIELD, &self->func));
        TRY(state_check_repeatable(env, self->func));
        TRY(args_val(&args, 2, &right));
        TRY(val_as_table(env, &right, &table));
        TRY(state_rows_of(env, &self->base, RIGHT, core->args[2], &right_rows));
        if (!right_rows)
                return ST_OK;
        TRY(fail_at(env, core, opt_index(env, core, &index)));
        if (index.data)
                TRY(state_use_index(env, &self->base.state.specs[RIGHT], table, index));
        *ret_state = &self->base.state;
        return ST_OK;
}
