/* match_range.h - owners by ranges of values: which ranges hold a value? An interval tree: a treap ordered by lower
 * bounds in which every node knows the greatest upper bound below it. The nodes are part of what they stand for, so
 * nothing is allocated. Threads: one at a time. */
#ifndef FEED_MATCH_RANGE_H
#define FEED_MATCH_RANGE_H

#include "query/source.h"

typedef struct MatchRange MatchRange;
struct MatchRange {
        const KeyBounds *bounds;
        void *owner;
        MatchRange *left, *right;
        const KeyBounds *greatest; /* whose upper bound is the greatest from here downward */
        uint64_t priority;         /* above those below it */
};

typedef struct MatchRanges { /* zeroed: empty */
        MatchRange *root;
        uint64_t random;
} MatchRanges;

/* Files `range`, of which bounds and owner are set; the bounds stay as they are until it is removed. */
void match_ranges_add(MatchRanges *ranges, MatchRange *range);
void match_ranges_remove(MatchRanges *ranges, MatchRange *range);
/* Calls `each` for those that hold `v`. */
void match_ranges_find(const MatchRanges *ranges, Value v, void (*each)(void *ctx, void *owner), void *ctx);
void match_ranges_each(const MatchRanges *ranges, void (*each)(void *ctx, void *owner), void *ctx);

#endif
