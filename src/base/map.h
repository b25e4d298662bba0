/* map.h - a hash map from byte strings or 64-bit numbers to pointers.
 * Open addressing, grown at 3/4. Keys of a Map are copied; values are borrowed. Threads: one at a time; reading is fine
 * from many while none writes. After an error the map is as it was before. */
#ifndef BASE_MAP_H
#define BASE_MAP_H

#include "base/bytes.h"

/* Keys may come from a peer who would like them all in one slot: the server sets a random seed once at start, before it
 * makes threads. Maps made later use it. Tests leave it alone and so repeat exactly. */
void map_set_seed(uint64_t seed);

typedef struct Map Map;
MUST_USE Status map_new(Map **ret_map);
Map *map_free(Map *map); /* NULL is fine; returns NULL */
size_t map_count(const Map *map);
void *map_get(const Map *map, Bytes key); /* NULL if absent */
/* Sets the value (not NULL) of a key; *ret_old (may be NULL) gets the previous one or NULL. */
MUST_USE Status map_put(Map *map, Bytes key, void *value, void **ret_old);
void *map_remove(Map *map, Bytes key); /* returns the value, NULL if absent */
/* Walks in no order; *ret_key lives until its entry is removed. Start with *cursor = 0; false at the end. The map must
 * not change meanwhile. */
bool map_next(const Map *map, size_t *cursor, Bytes *ret_key, void **ret_value);

/* The same for numbers (any value but NULL). */
typedef struct NumMap NumMap;
MUST_USE Status nummap_new(NumMap **ret_map);
NumMap *nummap_free(NumMap *map);
size_t nummap_count(const NumMap *map);
void *nummap_get(const NumMap *map, uint64_t key);
MUST_USE Status nummap_put(NumMap *map, uint64_t key, void *value, void **ret_old);
void *nummap_remove(NumMap *map, uint64_t key);
bool nummap_next(const NumMap *map, size_t *cursor, uint64_t *ret_key, void **ret_value);

#endif
