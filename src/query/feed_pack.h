/* feed_pack.h - FeedSpecs that outlive their query: their parts in one piece of memory, and what they say as a number.
 *
 * The same code packs twice: first without memory, to see how much it takes, then into it. */
#ifndef QUERY_FEED_PACK_H
#define QUERY_FEED_PACK_H

#include "query/feed.h"

typedef struct FeedPacker {
        uint8_t *space; /* NULL: it only counts */
        size_t used;
} FeedPacker;
/* NULL as long as it is only counted; aligned for anything. */
void *feed_pack_room(FeedPacker *packer, size_t bytes);
Bytes feed_pack_bytes(FeedPacker *packer, Bytes from); /* data NULL stays so */
Value feed_pack_value(FeedPacker *packer, Value v);
const Value *feed_pack_values(FeedPacker *packer, const Value *from, size_t count); /* count 0: NULL */
IndexPath feed_pack_path(FeedPacker *packer, IndexPath from);
/* The values of the ends that there are. */
KeyBounds feed_pack_bounds(FeedPacker *packer, const KeyBounds *from);

/* `hash` and what comes behind it. The same after a restart. */
uint64_t feed_mix(uint64_t hash, uint64_t more);
uint64_t feed_mix_bytes(uint64_t hash, Bytes bytes);
uint64_t feed_mix_values(uint64_t hash, const Value *values, size_t count);
uint64_t feed_mix_path(uint64_t hash, IndexPath path);
uint64_t feed_mix_bounds(uint64_t hash, const KeyBounds *bounds); /* NULL: none */

#endif
