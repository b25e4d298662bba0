/* key_set.c - see key_set.h. Open addressing over the keys' hashes, grown at one half. */
#include "query/key_set.h"

static uint32_t *slot_of(const KeySet *set, Bytes key)
{
        size_t at = bytes_hash(key.data, key.size) & (set->slot_count - 1);
        while (set->slots[at] && !bytes_equal(set->builder.fields[set->slots[at] - 1].key, key))
                at = (at + 1) & (set->slot_count - 1);
        return &set->slots[at];
}

static void make_slots(KeySet *set, size_t count)
{
        set->slot_count = count;
        set->slots = arena_zalloc(set->builder.arena, count * sizeof(uint32_t));
        for (size_t i = 0; i < set->builder.count; i++)
                *slot_of(set, set->builder.fields[i].key) = (uint32_t)(i + 1);
}

void key_set_init(KeySet *set, Arena *arena, size_t expected)
{
        object_init(&set->builder, arena, expected);
        size_t count = 16;
        while (count < 2 * expected)
                count *= 2;
        make_slots(set, count);
}

const Field *key_set_add(KeySet *set, Bytes key, Value value)
{
        uint32_t *slot = slot_of(set, key);
        if (*slot)
                return &set->builder.fields[*slot - 1];
        object_add(&set->builder, key, value);
        *slot = (uint32_t)set->builder.count;
        if (2 * set->builder.count > set->slot_count)
                make_slots(set, 2 * set->slot_count);
        return NULL;
}
