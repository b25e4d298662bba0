/* key_set.h - an object being made whose keys must differ: finds the field of a key in constant time while it grows.
 * Lives in the arena; keys are borrowed. Threads: one. */
#ifndef QUERY_KEY_SET_H
#define QUERY_KEY_SET_H

#include "value/value.h"

typedef struct KeySet {
        ObjectBuilder builder;
        uint32_t *slots;   /* place in builder.fields + 1; 0: free */
        size_t slot_count; /* a power of two, at least twice the fields */
} KeySet;
void key_set_init(KeySet *set, Arena *arena, size_t expected);
/* Adds a field and returns NULL, or returns the field that has the key already. */
const Field *key_set_add(KeySet *set, Bytes key, Value value);

#endif
