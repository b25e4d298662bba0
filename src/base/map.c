/* map.c - open addressing with linear probing, and removal that shifts back instead of leaving tombstones: lookups
 * after many removals are as short as after none.
 *
 * Map and NumMap differ in what a slot holds and how a key is compared; both keep map I1: between the home slot of an
 * entry and the entry there is no empty slot. */
#include "base/map.h"

#include <assert.h>

#include "base/mem.h"

enum { MIN_SLOTS = 8 };

static uint64_t process_seed = 0x9e3779b97f4a7c15u;

void map_set_seed(uint64_t seed)
{
        process_seed = seed;
}

/* Slots for one more entry than `count`, staying at or under 3/4 full. */
static bool is_full(size_t count, size_t slots)
{
        return count + 1 > slots / 4 * 3;
}

/* A map that shrank to an eighth gives memory back; the gap to 3/4 keeps it from growing again at once. */
static bool is_sparse(size_t count, size_t slots)
{
        return slots > MIN_SLOTS && count < slots / 8;
}

/* May the entry whose home is `home` move from slot `at` to the hole? Yes unless its home lies (cyclically) in
 * (hole, at]. */
static bool may_fill(size_t home, size_t hole, size_t at, size_t mask)
{
        return ((at - home) & mask) >= ((at - hole) & mask);
}

/* --- byte-string keys --- */
typedef struct Key {
        size_t size;
        uint8_t data[];
} Key;
typedef struct Slot {
        uint64_t hash;
        Key *key;
        void *value; /* NULL: the slot is empty */
} Slot;

struct Map {
        Slot *slots;
        size_t slot_count; /* a power of two */
        size_t count;
        uint64_t seed;
};

Status map_new(Map **ret_map)
{
        Map *map = mem_zalloc(sizeof *map);
        if (!map)
                return status_nomem();
        map->seed = process_seed;
        map->slot_count = MIN_SLOTS;
        map->slots = mem_zalloc(MIN_SLOTS * sizeof *map->slots);
        if (!map->slots) {
                mem_free(map);
                return status_nomem();
        }
        *ret_map = map;
        return ST_OK;
}

Map *map_free(Map *map)
{
        if (!map)
                return NULL;
        for (size_t i = 0; i < map->slot_count; i++)
                if (map->slots[i].value)
                        mem_free(map->slots[i].key);
        mem_free(map->slots);
        mem_free(map);
        return NULL;
}

size_t map_count(const Map *map)
{
        return map->count;
}

/* The slot of `key`, or the empty one where it would go. */
static Slot *find(const Map *map, Bytes key, uint64_t hash)
{
        size_t mask = map->slot_count - 1;
        for (size_t i = hash & mask;; i = (i + 1) & mask) {
                Slot *slot = &map->slots[i];
                if (!slot->value || (slot->hash == hash && bytes_equal(key, BYTES(slot->key->data, slot->key->size))))
                        return slot;
        }
}

void *map_get(const Map *map, Bytes key)
{
        return find(map, key, bytes_hash_seeded(key.data, key.size, map->seed))->value;
}

static bool rehash(Map *map, size_t slot_count)
{
        Slot *slots = mem_zalloc(slot_count * sizeof *slots);
        if (!slots)
                return false;
        for (size_t i = 0; i < map->slot_count; i++) {
                if (!map->slots[i].value)
                        continue;
                size_t at = map->slots[i].hash & (slot_count - 1);
                while (slots[at].value)
                        at = (at + 1) & (slot_count - 1);
                slots[at] = map->slots[i];
        }
        mem_free(map->slots);
        map->slots = slots;
        map->slot_count = slot_count;
        return true;
}

Status map_put(Map *map, Bytes key, void *value, void **ret_old)
{
        assert(value);
        uint64_t hash = bytes_hash_seeded(key.data, key.size, map->seed);
        Slot *slot = find(map, key, hash);
        if (slot->value) {
                if (ret_old)
                        *ret_old = slot->value;
                slot->value = value;
                return ST_OK;
        }
        Key *copy = key.size > SIZE_MAX - sizeof *copy ? NULL : mem_alloc(sizeof *copy + key.size);
        if (!copy)
                return status_nomem();
        copy->size = key.size;
        if (key.size)
                memcpy(copy->data, key.data, key.size);
        if (is_full(map->count, map->slot_count)) {
                if (!rehash(map, map->slot_count * 2)) {
                        mem_free(copy);
                        return status_nomem();
                }
                slot = find(map, key, hash);
        }
        *slot = (Slot){.hash = hash, .key = copy, .value = value};
        map->count++;
        if (ret_old)
                *ret_old = NULL;
        return ST_OK;
}

void *map_remove(Map *map, Bytes key)
{
        Slot *slot = find(map, key, bytes_hash_seeded(key.data, key.size, map->seed));
        void *value = slot->value;
        if (!value)
                return NULL;
        mem_free(slot->key);
        size_t mask = map->slot_count - 1, hole = (size_t)(slot - map->slots);
        for (size_t at = (hole + 1) & mask; map->slots[at].value; at = (at + 1) & mask) {
                if (may_fill(map->slots[at].hash & mask, hole, at, mask)) { /* keeps map I1 */
                        map->slots[hole] = map->slots[at];
                        hole = at;
                }
        }
        map->slots[hole] = (Slot){0};
        map->count--;
        if (is_sparse(map->count, map->slot_count))
                (void)rehash(map, map->slot_count / 2); /* without memory it just stays larger */
        return value;
}

bool map_next(const Map *map, size_t *cursor, Bytes *ret_key, void **ret_value)
{
        for (; *cursor < map->slot_count; ++*cursor) {
                Slot *slot = &map->slots[*cursor];
                if (!slot->value)
                        continue;
                if (ret_key)
                        *ret_key = BYTES(slot->key->data, slot->key->size);
                if (ret_value)
                        *ret_value = slot->value;
                ++*cursor;
                return true;
        }
        return false;
}

/* --- numbers --- */
typedef struct NumSlot {
        uint64_t key;
        void *value; /* NULL: the slot is empty */
} NumSlot;

struct NumMap {
        NumSlot *slots;
        size_t slot_count;
        size_t count;
        uint64_t seed;
};

/* Numbers are often counters or multiples of a page: mix all bits into the low ones. */
static size_t num_home(const NumMap *map, uint64_t key, size_t mask)
{
        uint64_t x = key ^ map->seed;
        x ^= x >> 32;
        x *= 0xd6e8feb86659fd93u;
        x ^= x >> 32;
        x *= 0xd6e8feb86659fd93u;
        x ^= x >> 32;
        return x & mask;
}

Status nummap_new(NumMap **ret_map)
{
        NumMap *map = mem_zalloc(sizeof *map);
        if (!map)
                return status_nomem();
        map->seed = process_seed;
        map->slot_count = MIN_SLOTS;
        map->slots = mem_zalloc(MIN_SLOTS * sizeof *map->slots);
        if (!map->slots) {
                mem_free(map);
                return status_nomem();
        }
        *ret_map = map;
        return ST_OK;
}

NumMap *nummap_free(NumMap *map)
{
        if (map)
                mem_free(map->slots);
        mem_free(map);
        return NULL;
}

size_t nummap_count(const NumMap *map)
{
        return map->count;
}

static NumSlot *num_find(const NumMap *map, uint64_t key)
{
        size_t mask = map->slot_count - 1;
        for (size_t i = num_home(map, key, mask);; i = (i + 1) & mask) {
                NumSlot *slot = &map->slots[i];
                if (!slot->value || slot->key == key)
                        return slot;
        }
}

void *nummap_get(const NumMap *map, uint64_t key)
{
        return num_find(map, key)->value;
}

static bool num_rehash(NumMap *map, size_t slot_count)
{
        NumMap grown = *map;
        grown.slot_count = slot_count;
        grown.slots = mem_zalloc(slot_count * sizeof *grown.slots);
        if (!grown.slots)
                return false;
        for (size_t i = 0; i < map->slot_count; i++)
                if (map->slots[i].value)
                        *num_find(&grown, map->slots[i].key) = map->slots[i];
        mem_free(map->slots);
        *map = grown;
        return true;
}

Status nummap_put(NumMap *map, uint64_t key, void *value, void **ret_old)
{
        assert(value);
        NumSlot *slot = num_find(map, key);
        if (ret_old)
                *ret_old = slot->value;
        if (!slot->value) {
                if (is_full(map->count, map->slot_count)) {
                        if (!num_rehash(map, map->slot_count * 2))
                                return status_nomem();
                        slot = num_find(map, key);
                }
                map->count++;
        }
        *slot = (NumSlot){.key = key, .value = value};
        return ST_OK;
}

void *nummap_remove(NumMap *map, uint64_t key)
{
        NumSlot *slot = num_find(map, key);
        void *value = slot->value;
        if (!value)
                return NULL;
        size_t mask = map->slot_count - 1, hole = (size_t)(slot - map->slots);
        for (size_t at = (hole + 1) & mask; map->slots[at].value; at = (at + 1) & mask) {
                if (may_fill(num_home(map, map->slots[at].key, mask), hole, at, mask)) { /* keeps map I1 */
                        map->slots[hole] = map->slots[at];
                        hole = at;
                }
        }
        map->slots[hole] = (NumSlot){0};
        map->count--;
        if (is_sparse(map->count, map->slot_count))
                (void)num_rehash(map, map->slot_count / 2);
        return value;
}

bool nummap_next(const NumMap *map, size_t *cursor, uint64_t *ret_key, void **ret_value)
{
        for (; *cursor < map->slot_count; ++*cursor) {
                NumSlot *slot = &map->slots[*cursor];
                if (!slot->value)
                        continue;
                if (ret_key)
                        *ret_key = slot->key;
                if (ret_value)
                        *ret_value = slot->value;
                ++*cursor;
                return true;
        }
        return false;
}
