/* changes_state.c - which feeds have to remember something, and what they share. */
#include <stdlib.h>

#include "base/mem.h"
#include "query/changes_state_int.h"

/* --- memory --- */

Status state_heap_alloc(StateHeap *heap, size_t bytes, void **ret)
{
        Env *env = heap->env;
        size_t max = env->world->memory_max_bytes;
        if (max && (bytes > max || env->kept_bytes > max - bytes))
                return fail(env, env->current, ERR_RESOURCE, MEMORY_MESSAGE, max);
        void *p = mem_alloc(bytes);
        if (!p)
                return status_nomem();
        env->kept_bytes += bytes;
        *ret = p;
        return ST_OK;
}

void state_heap_free(StateHeap *heap, void *p, size_t bytes)
{
        if (!p)
                return;
        heap->env->kept_bytes -= bytes;
        mem_free(p);
}

Status state_heap_grow(StateHeap *heap, void *array, size_t size, size_t count, size_t *capacity)
{
        void **items = array, *grown;
        if (count < *capacity)
                return ST_OK;
        size_t more = *capacity ? 2 * *capacity : 4;
        TRY(state_heap_alloc(heap, more * size, &grown));
        if (count)
                memcpy(grown, *items, count * size);
        state_heap_free(heap, *items, *capacity * size);
        *items = grown;
        *capacity = more;
        return ST_OK;
}

static bool lies_elsewhere(Value v)
{
        return value_is(v, V_STRING) || value_is(v, V_BINARY) || value_is(v, V_ARRAY) || value_is(v, V_TIME) ||
               value_is_object(v);
}

/* The value with its bytes at *at, which moves on behind them. */
static Value place_value(Value v, uint8_t **at)
{
        if (!lies_elsewhere(v))
                return v;
        uint8_t *bytes = *at;
        *at += value_encoded_size(v);
        value_encode(v, bytes);
        return value_decode(bytes);
}

static size_t placed_bytes(Value v)
{
        return lies_elsewhere(v) ? value_encoded_size(v) : 0;
}

Status state_item_new(StateHeap *heap, const Value *values, size_t count, StateItem **ret)
{
        StateItem *item;
        size_t bytes = sizeof *item + count * sizeof *values;
        for (size_t i = 0; i < count; i++)
                bytes += placed_bytes(values[i]);
        TRY(state_heap_alloc(heap, bytes, (void **)&item));
        item->refs = 1;
        item->count = (uint32_t)count;
        item->bytes = bytes;
        uint8_t *at = (uint8_t *)&item->values[count];
        for (size_t i = 0; i < count; i++)
                item->values[i] = place_value(values[i], &at);
        *ret = item;
        return ST_OK;
}

void state_item_unref(StateHeap *heap, StateItem *item)
{
        if (item && --item->refs == 0)
                state_heap_free(heap, item, item->bytes);
}

/* --- rows in order --- */

int state_order_compare(const StateOrder *order, const Value *a, const Value *b)
{
        for (size_t i = 0; i < order->count; i++) {
                bool has_a = !value_is(a[i], V_NONE), has_b = !value_is(b[i], V_NONE);
                int result = has_a && has_b ? value_compare(a[i], b[i]) : has_a - has_b;
                if (result)
                        return order->descending[i] ? -result : result;
        }
        return 0;
}

size_t kept_set_find(const KeptSet *set, const StateOrder *order, const Value *values, bool *ret_found)
{
        size_t from = 0, to = set->count;
        *ret_found = false;
        while (from < to) {
                size_t middle = from + (to - from) / 2;
                int result = state_order_compare(order, set->items[middle]->values, values);
                *ret_found |= result == 0;
                if (result < 0)
                        from = middle + 1;
                else
                        to = middle;
        }
        return from;
}

Status kept_set_add(KeptSet *set, StateHeap *heap, const StateOrder *order, const Value *values, size_t max,
                    bool *ret_taken)
{
        StateItem *item;
        bool found;
        if (ret_taken)
                *ret_taken = false;
        if (!set->complete &&
            (set->count == 0 || state_order_compare(order, values, set->items[set->count - 1]->values) > 0))
                return ST_OK;
        size_t at = kept_set_find(set, order, values, &found);
        if (at >= max) {
                set->complete = false;
                return ST_OK;
        }
        TRY(state_heap_grow(heap, &set->items, sizeof *set->items, set->count, &set->capacity));
        TRY(state_item_new(heap, values, order->count, &item));
        memmove(&set->items[at + 1], &set->items[at], (set->count - at) * sizeof *set->items);
        set->items[at] = item;
        set->count++;
        if (set->count > max) {
                state_item_unref(heap, set->items[--set->count]);
                set->complete = false;
        }
        if (ret_taken)
                *ret_taken = true;
        return ST_OK;
}

void kept_set_remove(KeptSet *set, StateHeap *heap, const StateOrder *order, const Value *values)
{
        bool found;
        size_t at = kept_set_find(set, order, values, &found);
        if (!found)
                return; /* behind the known ones */
        state_item_unref(heap, set->items[at]);
        set->count--;
        memmove(&set->items[at], &set->items[at + 1], (set->count - at) * sizeof *set->items);
}

void kept_set_clear(KeptSet *set, StateHeap *heap)
{
        while (set->count)
                state_item_unref(heap, set->items[--set->count]);
        set->complete = true;
}

void kept_set_free(KeptSet *set, StateHeap *heap)
{
        kept_set_clear(set, heap);
        state_heap_free(heap, set->items, set->capacity * sizeof *set->items);
        *set = (KeptSet){.complete = true};
}

#define RESERVE_MAX   65536
#define RESERVE_SHARE 8 /* of the query's memory, beyond which nothing is kept in reserve that is not there yet */

size_t state_larger_reserve(const Env *env, size_t reserve)
{
        size_t max = env->world->memory_max_bytes;
        bool room = !max || env->kept_bytes < max / RESERVE_SHARE;
        return room && reserve < RESERVE_MAX ? 2 * reserve : reserve;
}

/* --- a table of values --- */

static MapEntry **map_slot(const StateMap *map, uint64_t hash)
{
        return &map->slots[hash & (map->slot_count - 1)];
}

MapEntry *state_map_find(const StateMap *map, Value key)
{
        if (!map->slot_count)
                return NULL;
        uint64_t hash = value_hash(key);
        MapEntry *entry = *map_slot(map, hash);
        while (entry && (entry->hash != hash || !value_equal(entry->key, key)))
                entry = entry->next;
        return entry;
}

static Status map_grow(StateMap *map, StateHeap *heap)
{
        StateMap grown = *map;
        grown.slot_count = map->slot_count ? 2 * map->slot_count : 8;
        TRY(state_heap_alloc(heap, grown.slot_count * sizeof *grown.slots, (void **)&grown.slots));
        memset(grown.slots, 0, grown.slot_count * sizeof *grown.slots);
        for (size_t i = 0; i < map->slot_count; i++) {
                for (MapEntry *entry = map->slots[i], *next; entry; entry = next) {
                        MapEntry **slot = map_slot(&grown, entry->hash);
                        next = entry->next;
                        entry->next = *slot;
                        *slot = entry;
                }
        }
        state_heap_free(heap, map->slots, map->slot_count * sizeof *map->slots);
        *map = grown;
        return ST_OK;
}

Status state_map_get(StateMap *map, StateHeap *heap, Value key, MapEntry **ret)
{
        MapEntry *entry = state_map_find(map, key);
        if (!entry) {
                if (map->count >= map->slot_count)
                        TRY(map_grow(map, heap));
                size_t bytes = map->entry_bytes + placed_bytes(key);
                TRY(state_heap_alloc(heap, bytes, (void **)&entry));
                memset(entry, 0, map->entry_bytes);
                uint8_t *at = (uint8_t *)entry + map->entry_bytes;
                entry->hash = value_hash(key);
                entry->key = place_value(key, &at);
                entry->bytes = bytes;
                MapEntry **slot = map_slot(map, entry->hash);
                entry->next = *slot;
                *slot = entry;
                map->count++;
        }
        *ret = entry;
        return ST_OK;
}

void state_map_remove(StateMap *map, StateHeap *heap, MapEntry *entry)
{
        MapEntry **slot = map_slot(map, entry->hash);
        while (*slot != entry)
                slot = &(*slot)->next;
        *slot = entry->next;
        map->count--;
        state_heap_free(heap, entry, entry->bytes);
}

void state_map_free(StateMap *map, StateHeap *heap, void (*free_entry)(void *ctx, MapEntry *entry), void *ctx)
{
        for (size_t i = 0; i < map->slot_count; i++) {
                for (MapEntry *entry = map->slots[i], *next; entry; entry = next) {
                        next = entry->next;
                        if (free_entry)
                                free_entry(ctx, entry);
                        state_heap_free(heap, entry, entry->bytes);
                }
        }
        state_heap_free(heap, map->slots, map->slot_count * sizeof *map->slots);
        *map = (StateMap){.entry_bytes = map->entry_bytes};
}

static int compare_entries(const void *a, const void *b)
{
        return value_compare((*(MapEntry *const *)a)->key, (*(MapEntry *const *)b)->key);
}

MapEntry **state_map_sorted(const StateMap *map, Arena *arena)
{
        MapEntry **entries = arena_array(arena, MapEntry *, map->count);
        size_t count = 0;
        for (size_t i = 0; i < map->slot_count; i++)
                for (MapEntry *entry = map->slots[i]; entry; entry = entry->next)
                        entries[count++] = entry;
        if (count)
                qsort(entries, count, sizeof *entries, compare_entries);
        return entries;
}

/* --- terms that work row by row --- */

Status state_steps_of(Env *env, const Term *top, const Term **ret_below, Pending **ret_steps)
{
        const Term *below = top;
        size_t count = 0;
        while (below->arg_count && term_is_row_by_row(below)) {
                below = below->args[0];
                count++;
        }
        const Term **terms = arena_array(env->arena, const Term *, count);
        size_t at = count;
        for (const Term *term = top; term != below; term = term->args[0])
                terms[--at] = term;
        *ret_steps = NULL;
        for (size_t i = 0; i < count; i++) {
                const Term *term = terms[i];
                unsigned flags = 0;
                for (size_t j = 1; j < term->arg_count; j++)
                        flags |= term->args[j]->tree_flags;
                for (size_t j = 0; j < term->opt_count; j++)
                        flags |= term->opts[j].term->tree_flags;
                if (flags & (TF_NONDETERMINISTIC | TF_WRITES | TF_BLOCKING | TF_READS_TABLE))
                        return fail(env, term, ERR_LOGIC, NOT_REPEATABLE_MESSAGE);
                groups_remember(env, ret_steps, term, term_function(term->type));
        }
        *ret_below = below;
        return ST_OK;
}

Status state_steps_apply(Env *env, const Pending *steps, Value row, ValueVec *ret_rows)
{
        *ret_rows = (ValueVec){0};
        vec_add(ret_rows, env->arena, row);
        return pending_apply(env, steps, ret_rows);
}

Status state_check_repeatable(Env *env, const Func *func)
{
        if (!func)
                return ST_OK;
        const unsigned never = TF_NONDETERMINISTIC | TF_WRITES | TF_BLOCKING | TF_READS_TABLE;
        if (func->kind == FUNC_JS || (func->kind == FUNC_TERM && func->term->tree_flags & never))
                return fail(env, func_term(func), ERR_LOGIC, NOT_REPEATABLE_MESSAGE);
        return ST_OK;
}

/* --- errors of rows --- */

bool changes_is_rows_error(Status st)
{
        switch (status_code(st)) {
        case ERR_LOGIC:
        case ERR_NON_EXISTENCE:
        case ERR_USER: return true;
        default: return false;
        }
}

Status state_row_failed_text(StateBase *base, const char *message)
{
        if (base->error)
                return ST_OK;
        size_t bytes = strlen(message) + 1;
        TRY(state_heap_alloc(&base->heap, bytes, (void **)&base->error));
        memcpy(base->error, message, bytes);
        base->error_bytes = bytes;
        return ST_OK;
}

Status state_row_failed(StateBase *base, Status st)
{
        if (!st || !changes_is_rows_error(st))
                return st;
        Status kept = state_row_failed_text(base, status_message(st));
        status_ignore(st);
        return kept;
}

void state_clear_error(StateBase *base)
{
        state_heap_free(&base->heap, take(base->error), base->error_bytes);
        base->error_told = false;
}

Status state_recompute_on_error(Status st, bool *ret_recompute)
{
        if (!st || !changes_is_rows_error(st))
                return st;
        status_ignore(st);
        *ret_recompute = true;
        return ST_OK;
}

/* --- telling --- */

Status state_told_add(const StateTold *told, const Change *change)
{
        return told->add ? told->add(told->list, change) : ST_OK;
}

Status state_told_error(const StateTold *told, StateBase *base, bool *ret_failed)
{
        *ret_failed = base->state.failed = base->error != NULL;
        if (!base->error || base->error_told)
                return ST_OK;
        base->error_told = true;
        const Change change = {.error = arena_dup(told->out, base->error, base->error_bytes)};
        return state_told_add(told, &change);
}

Status state_told_pair(const StateTold *told, const Pending *steps, Value old_value, Value new_value, Value old_offset,
                       Value new_offset)
{
        Env *env = told->env;
        ValueVec before = {0}, after = {0};
        if (!told->add)
                return ST_OK;
        if (!value_is(old_value, V_NONE) && steps)
                TRY(state_steps_apply(env, steps, old_value, &before));
        else if (!value_is(old_value, V_NONE))
                vec_add(&before, env->arena, old_value);
        if (!value_is(new_value, V_NONE) && steps)
                TRY(state_steps_apply(env, steps, new_value, &after));
        else if (!value_is(new_value, V_NONE))
                vec_add(&after, env->arena, new_value);
        for (size_t i = 0; i < MAX(before.count, after.count); i++) {
                bool had = i < before.count, has = i < after.count;
                Change change = {.initial = told->initial};
                if (had)
                        change.old_value = value_copy(before.items[i], told->out);
                if (has)
                        change.new_value = value_copy(after.items[i], told->out);
                if (had)
                        change.old_offset = old_offset;
                if (has)
                        change.new_offset = new_offset;
                bool moved = had && has && !value_is(old_offset, V_NONE) && !value_is(new_offset, V_NONE) &&
                             !value_equal(old_offset, new_offset);
                if (had && has && !moved && value_equal(change.old_value, change.new_value))
                        continue;
                TRY(state_told_add(told, &change));
        }
        return ST_OK;
}

/* --- what is told of a tally --- */

void tally_touch(Tally *tally, TallyEntry *entry)
{
        if (entry->touched)
                return;
        entry->touched = true;
        entry->next_touched = tally->touched;
        tally->touched = entry;
}

void tally_forget_told(Tally *tally)
{
        for (size_t i = 0; i < tally->map.slot_count; i++)
                for (MapEntry *entry = tally->map.slots[i]; entry; entry = entry->next)
                        ((TallyEntry *)entry)->told = false;
}

Status tally_tell(Tally *tally, StateBase *base, const StateTold *told,
                  Status (*tell)(StateBase *base, const StateTold *told, TallyEntry *entry),
                  void (*free_entry)(void *base, MapEntry *entry))
{
        const StateTold nobody = {.env = told->env, .out = told->out};
        if (told->initial) {
                MapEntry **sorted = state_map_sorted(&tally->map, told->env->arena);
                for (size_t i = 0; i < tally->map.count; i++)
                        TRY(tell(base, told, (TallyEntry *)sorted[i]));
                told = &nobody; /* those that were touched have been told with the others */
        }
        while (tally->touched) {
                TallyEntry *touched = tally->touched;
                TRY(tell(base, told, touched));
                tally->touched = touched->next_touched;
                touched->touched = false;
                if (touched->count || tally->keeps_empty)
                        continue;
                if (free_entry)
                        free_entry(base, &touched->entry);
                state_map_remove(&tally->map, &base->heap, &touched->entry);
        }
        return ST_OK;
}

/* --- which it is --- */

Status state_rows_of(Env *env, StateBase *base, size_t feed, const Term *rows, bool *ret_is_rows)
{
        int note;
        *ret_is_rows = (rows->tree_flags & TF_READS_TABLE) != 0;
        if (!*ret_is_rows)
                return ST_OK;
        TRY(changes_spec_of(env, rows, &base->state.specs[feed], &note));
        base->state.specs[feed].tell_mended = true;
        *ret_is_rows = note != NOTE_ATOM_FEED;
        return ST_OK;
}

Status state_use_index(Env *env, FeedSpec *spec, const TableVal *table, Bytes index)
{
        TableVal *slice = arena_dup(env->arena, table, sizeof *table);
        table_use_index(env, slice, index);
        TRY(table_check_index(env, slice));
        if (!table_is_primary(slice)) {
                spec->index = index;
                spec->tell_moves = true;
        }
        return ST_OK;
}

Status feed_state_of(Env *env, const Term *term, FeedState **ret_state)
{
        const Term *core;
        Pending *steps;
        *ret_state = NULL;
        switch (term->type) {
        case TERM_COUNT:
        case TERM_SUM:
        case TERM_AVG:
        case TERM_MIN:
        case TERM_MAX:
        case TERM_UNGROUP: return aggregate_state_of(env, term, ret_state);
        default: break;
        }
        for (core = term; core->arg_count && term_is_row_by_row(core);)
                core = core->args[0];
        if (core->type != TERM_LIMIT && core->type != TERM_SLICE && core->type != TERM_DISTINCT &&
            core->type != TERM_EQ_JOIN)
                return ST_OK;
        TRY(state_steps_of(env, term, &core, &steps));
        switch (core->type) {
        case TERM_LIMIT:
        case TERM_SLICE: return limit_state_of(env, term, core, steps, ret_state);
        case TERM_DISTINCT: return distinct_state_of(env, term, core, steps, ret_state);
        default: return join_state_of(env, term, core, steps, ret_state);
        }
}
