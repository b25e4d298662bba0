/* superblock.h - the two header blocks of a page file: which checkpoint is the newest. Bytes only; no file.
 *
 * Both blocks say the same, and each says it twice: four copies. A checkpoint writes one block, syncs, writes the
 * other, syncs, and only then may what the checkpoint before used be overwritten. So
 *      - a crash at any moment leaves a block that is whole, of the newest checkpoint or the one before;
 *      - a flipped bit costs a copy and not a checkpoint;
 *      - if the newest checkpoint cannot be found, the one before is still whole: nobody opens roots whose nodes have
 *        been overwritten. */
#ifndef STORAGE_BTREE_SUPERBLOCK_H
#define STORAGE_BTREE_SUPERBLOCK_H

#include "storage/tree/tree.h"

#define SUPERBLOCK_MAGIC   0x42535050u /* "PPSB" */
#define SUPERBLOCK_VERSION 1u
#define SUPERBLOCK_COPIES  4u    /* two to a block */
#define SUPERBLOCK_STRIDE  2048u /* of the copies in a block */

/* A checkpoint. */
typedef struct Superblock {
        uint64_t sequence; /* one more with each checkpoint, even with one that failed at the end; 0: none */
        uint64_t position;
        int64_t wall_us;
        PTreeAddress directory;
        Extent image; /* the saved space */
        uint64_t image_bytes;
        Extent dead; /* dead_count extents, a u64 each: live in the image, and used by nothing of this checkpoint */
        uint64_t dead_count;
        uint64_t table_count, dropped_count; /* rows of the directory */
        uint32_t flags;
} Superblock;
/* Something damaged was purged, so extents may be live that nobody uses: make the space anew at the next opening. */
#define SUPERBLOCK_REBUILD 1u

/* Fills one header block; `which` is its number. */
void superblock_encode(const Superblock *superblock, unsigned which, uint8_t out[SPACE_HEADER_BYTES]);

typedef enum CopyState {
        COPY_BLANK,   /* never written */
        COPY_VALID,   /* */
        COPY_TORN,    /* what a power loss while it was written can leave */
        COPY_DAMAGED, /* something else */
} CopyState;
/* Both blocks, looked at. */
typedef struct Superblocks {
        Superblock copies[SUPERBLOCK_COPIES]; /* where valid: block 0, block 0, block 1, block 1 */
        CopyState states[SUPERBLOCK_COPIES];
        int newest;       /* index of a copy, -1: there is none */
        uint32_t version; /* of a valid copy of another format, else SUPERBLOCK_VERSION */
        bool whole[2];    /* both copies of this block have the newest */
} Superblocks;
void superblocks_decode(const uint8_t blocks[2][SPACE_HEADER_BYTES], Superblocks *ret_superblocks);
/* Where copy i is in the file. */
static inline uint64_t superblock_offset(unsigned i)
{
        return (uint64_t)(i / 2) * SPACE_HEADER_BYTES + (uint64_t)(i % 2) * SUPERBLOCK_STRIDE;
}

#endif
