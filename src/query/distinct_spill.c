/* distinct_spill.c - see distinct_spill.h. Values go into a hash set until the budget is used up; then those in it are
 * sorted and written as a run, and it begins anew, empty. A value may be in several runs: merging them drops all but
 * one. */
#include "query/distinct_spill.h"

#include <stdlib.h>

#include "query/spill_int.h"

#define FIRST_SLOTS 64

typedef struct SetEntry SetEntry;
struct SetEntry {
        SetEntry *next; /* of all */
        uint64_t hash;
        Value value;
};

typedef struct DistinctSet {
        Env *env;
        const Term *term;
        Arena *arena; /* of entries; rewound to the mark when they are on disk */
        ArenaMark mark;
        size_t arena_bytes, budget;
        Scratch *slots_scratch; /* of the slots alone: old ones are no garbage */
        SetEntry *entries;
        SetEntry **slots; /* open addressing; at least a half is free */
        size_t count, slot_count;
        Spill *spill;
} DistinctSet;

static SetEntry **find_slot(const DistinctSet *set, Value value, uint64_t hash)
{
        for (size_t at = hash & (set->slot_count - 1);; at = (at + 1) & (set->slot_count - 1)) {
                SetEntry *entry = set->slots[at];
                if (!entry || (entry->hash == hash && value_equal(entry->value, value)))
                        return &set->slots[at];
        }
}

static void need_slots(DistinctSet *set)
{
        if (2 * (set->count + 1) <= set->slot_count)
                return;
        set->slot_count = set->slot_count ? 2 * set->slot_count : FIRST_SLOTS;
        arena_reset(&set->slots_scratch->arena);
        set->slots = arena_zalloc(&set->slots_scratch->arena, set->slot_count * sizeof(SetEntry *));
        for (SetEntry *entry = set->entries; entry; entry = entry->next) {
                size_t at = entry->hash & (set->slot_count - 1);
                while (set->slots[at])
                        at = (at + 1) & (set->slot_count - 1);
                set->slots[at] = entry;
        }
}

static int compare_values(const void *a, const void *b)
{
        return value_compare(*(const Value *)a, *(const Value *)b);
}

/* In `arena`, in order. */
static Value *sorted_values(const DistinctSet *set, Arena *arena)
{
        Value *values = arena_array(arena, Value, set->count);
        size_t count = 0;
        for (const SetEntry *entry = set->entries; entry; entry = entry->next)
                values[count++] = entry->value;
        if (count)
                qsort(values, count, sizeof *values, compare_values);
        return values;
}

static Status write_set(DistinctSet *set)
{
        if (!set->spill)
                TRY(spill_new(set->env, set->term, 1, &set->spill));
        Value *values = sorted_values(set, set->arena);
        TRY(spill_begin_run(set->spill));
        for (size_t i = 0; i < set->count; i++)
                TRY(spill_add(set->spill, &values[i], 1));
        TRY(spill_end_run(set->spill));
        arena_rewind(set->arena, set->mark);
        arena_reset(&set->slots_scratch->arena);
        set->entries = NULL;
        set->slots = NULL;
        set->count = set->slot_count = 0;
        return ST_OK;
}

static size_t set_bytes(const DistinctSet *set)
{
        return set->arena->total_bytes - MIN(set->arena->total_bytes, set->arena_bytes) +
               set->slot_count * sizeof(SetEntry *);
}

static Status add_value(void *ctx, Env *env, Value row, bool *ret_stop)
{
        DistinctSet *set = ctx;
        (void)env;
        (void)ret_stop;
        need_slots(set);
        uint64_t hash = value_hash(row);
        SetEntry **slot = find_slot(set, row, hash);
        if (*slot)
                return ST_OK;
        SetEntry *entry = arena_alloc(set->arena, sizeof *entry);
        *entry = (SetEntry){.next = set->entries, .hash = hash, .value = value_copy(row, set->arena)};
        *slot = set->entries = entry;
        set->count++;
        return set->count % 16 == 0 && set_bytes(set) > set->budget ? write_set(set) : ST_OK;
}

/* --- giving what is on disk --- */

typedef struct DistinctStream {
        Stream stream;
        Spill *spill;
        Arena *arena; /* of `last` */
        uint8_t *last;
        size_t last_capacity;
        Value last_value; /* V_NONE: none yet */
} DistinctStream;

/* SpillCompare */
static Status compare_records(void *ctx, Env *env, SpillRecord *a, SpillRecord *b, int *ret_order)
{
        (void)ctx;
        (void)env;
        *ret_order = value_compare(a->values[0], b->values[0]);
        return ST_OK;
}

/* The next value that differs from the one before; V_NONE at the end. Valid until the next call. */
static Status next_value(DistinctStream *self, Value *ret_value)
{
        SpillRecord *record;
        do {
                TRY(spill_next(self->spill, &record));
                if (!record) {
                        *ret_value = value_none();
                        return ST_OK;
                }
        } while (!value_is(self->last_value, V_NONE) && value_equal(record->values[0], self->last_value));
        size_t size = value_encoded_size(record->values[0]);
        if (size > self->last_capacity) {
                self->last_capacity = MAX(size, 2 * self->last_capacity);
                self->last = arena_alloc(self->arena, self->last_capacity);
        }
        value_encode(record->values[0], self->last);
        self->last_value = value_decode(self->last);
        *ret_value = self->last_value;
        return ST_OK;
}

static Status restart(DistinctStream *self)
{
        self->last_value = value_none();
        return spill_restart(self->spill);
}

static Status distinct_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        DistinctStream *self = (DistinctStream *)stream;
        Batcher batcher = batcher_start(env, SOURCE_EAGER, want);
        for (;;) {
                Value value;
                TRY(next_value(self, &value));
                if (value_is(value, V_NONE))
                        break;
                value = value_copy(value, out);
                vec_add(batch, out, value);
                if (batcher_add(&batcher, env, value))
                        return ST_OK;
        }
        *ret_end = true;
        spill_free(take(self->spill));
        return ST_OK;
}

static const StreamOps distinct_ops = {.next = distinct_next};

/* Different ones; stops counting above array_limit. */
static Status count_values(DistinctStream *self, Env *env, size_t *ret_count)
{
        for (*ret_count = 0; *ret_count <= env->array_limit; ++*ret_count) {
                Value value;
                TRY(next_value(self, &value));
                if (value_is(value, V_NONE))
                        break;
        }
        return restart(self);
}

static Status give_merged(DistinctSet *set, Val *ret)
{
        Env *env = set->env;
        size_t count;
        if (set->count)
                TRY(write_set(set));
        TRY(spill_merge(set->spill, compare_records, NULL, UINT64_MAX));
        DistinctStream *self = arena_new(env->arena, DistinctStream);
        self->stream = (Stream){.ops = &distinct_ops, .term = set->term, .ordered = true};
        self->spill = set->spill;
        self->arena = stream_arena(env);
        TRY(count_values(self, env, &count));
        if (count > env->array_limit || !spill_fits_memory(env, spill_bytes(set->spill))) {
                *ret = val_stream(set->term, &self->stream);
                return ST_OK;
        }
        Value *values = arena_array(env->arena, Value, count);
        for (size_t i = 0; i < count; i++) {
                TRY(next_value(self, &values[i]));
                values[i] = value_copy(values[i], env->arena);
        }
        spill_free(set->spill);
        return sorted_result(env, set->term, NULL, value_array(values, count), ret);
}

Status distinct_values(Env *env, const Term *term, Stream *source, Val *ret)
{
        _cleanup_(scratch_putp) Scratch *slots = scratch_get(env);
        DistinctSet set = {.env = env,
                           .term = term,
                           .arena = env->arena,
                           .mark = arena_mark(env->arena),
                           .arena_bytes = env->arena->total_bytes,
                           .budget = source->is_array ? SIZE_MAX : spill_budget(env),
                           .slots_scratch = slots};
        TRY(stream_each(source, env, add_value, &set));
        if (set.spill)
                return give_merged(&set, ret);
        return sorted_result(env, term, NULL, value_array(sorted_values(&set, env->arena), set.count), ret);
}
