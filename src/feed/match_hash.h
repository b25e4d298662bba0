/* match_hash.h - owners by a 64-bit hash, several under one: a hash table of which the entries are part of what they
 * stand for, so that only its slots are allocated. Owners of one hash are a list; finding it does not depend on its
 * length, nor does removing from it. Threads: one at a time. */
#ifndef FEED_MATCH_HASH_H
#define FEED_MATCH_HASH_H

#include <stdint.h>

#include "base/status.h"

typedef struct MatchEntry MatchEntry;
struct MatchEntry {
        uint64_t hash;
        void *owner;
        MatchEntry *previous, *next; /* of the same hash */
        MatchEntry *chain;           /* the first of them: the first of another hash in the same slot */
};

typedef struct MatchHash { /* zeroed: empty */
        MatchEntry **slots;
        size_t slot_count; /* a power of 2, or 0 */
        size_t hash_count; /* different hashes */
} MatchHash;

void match_hash_done(MatchHash *table); /* the entries are their owners' */
/* Files `entry`, of which hash and owner are set. Only ERR_NOMEM, and then nothing has changed. */
MUST_USE Status match_hash_add(MatchHash *table, MatchEntry *entry);
void match_hash_remove(MatchHash *table, MatchEntry *entry);
/* The first of those with this hash (the others are behind it), NULL if there is none. */
MatchEntry *match_hash_find(const MatchHash *table, uint64_t hash);
void match_hash_each(const MatchHash *table, void (*each)(void *ctx, void *owner), void *ctx);

#endif
