/* tree.h - counted, copy-on-write B+trees on disk pages, larger than memory.
 *
 * A PTree is what one table needs: numbered trees (0, 1, ...) that change together. A write edits unpublished nodes and
 * publishes one new root for all of them; a snapshot pins a root and sees that moment for as long as it likes, without
 * locks. Nodes live in a PCache with a byte budget: clean nodes are evicted and read again, dirty ones (made by writes
 * and not yet in the file) are written by ptree_flush. A flushed root is found again by its PTreeAddress.
 *
 *      pcache_open(space)  ptree_open(cache, address or none)
 *      ptree_write_begin .. put, delete, bulk .. ptree_write_commit(position)     one writer at a time
 *      ptree_pin .. get, count, nth, cursors .. ptree_unpin                       any number of readers
 *      ptree_pin, ptree_flush -> address .. space_sync, superblock, sync .. space_reclaim(position - 1)
 *
 * Space: a node, large value or root that a commit at position p replaced is given to space_free(extent, p - 1) when no
 * snapshot can read it any more. After a checkpoint of roots with positions <= P is durable, space_reclaim(P - 1) is
 * right. Positions given to ptree_write_commit ascend; none is given twice to one tree.
 *
 * What is read is copied into the caller's arena (`hold`, never NULL where bytes are asked for) with arena_try_alloc:
 * ERR_NOMEM, never its oom handler. Every read may fail with ERR_IO, ERR_NOMEM, or with ERR_CORRUPT, which names file
 * and offset; the tree is as it was, and the next read may succeed.
 * Threads: everything of a snapshot from any thread, a cursor from one at a time; a PTree has one writer at a time. A
 * flush may run beside readers and the writer; one flush of a PTree at a time. */
#ifndef STORAGE_TREE_TREE_H
#define STORAGE_TREE_TREE_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/memo.h"
#include "storage/slab/space.h"

#define PTREE_MAX_KEY_BYTES 1024
#define PTREE_MAX_TREES     65536

typedef struct PCache PCache;
typedef struct PTree PTree;
typedef struct PSnapshot PSnapshot;
typedef struct PWrite PWrite;
typedef struct PCursor PCursor;
typedef struct PBulk PBulk;

/* --- the cache: one for a Space, shared by its trees --- */
typedef struct PCacheOptions {
        Space *space;        /* borrowed; outlives the cache */
        const char *name;    /* of the file, for messages; borrowed */
        size_t budget_bytes; /* nodes in memory; 0 = none. Exceeded only by dirty nodes and by what readers hold now */
        size_t dirty_max_bytes; /* a put beyond it fails with ERR_LIMIT: a flush has to run; 0 = none */
        /* May be NULL: by ptree_flush, with the bytes it has just written; an error of it ends the flush. */
        Status (*flushed)(void *ctx, size_t bytes);
        void *flushed_ctx;
} PCacheOptions;
typedef struct PCacheStats {
        uint64_t used_bytes;  /* memory taken: what is kept, what waits to be freed, free slots */
        uint64_t dirty_bytes; /* of these, not in the file */
        uint64_t memo_bytes;  /* of these, memos */
        uint64_t frame_count, hit_count, read_count, evicted_count; /* hits: found in memory, but not by pointer */
        uint64_t value_hit_count, value_read_count; /* of values in extents of their own: kept in memory; read */
} PCacheStats;
MUST_USE Status pcache_open(const PCacheOptions *options, PCache **ret_cache);
PCache *pcache_close(PCache *cache); /* all its trees closed before; NULL is fine; returns NULL */
void pcache_stats(PCache *cache, PCacheStats *ret_stats);
size_t pcache_dirty_bytes(const PCache *cache); /* takes no lock */
unsigned pcache_snapshot_count(PCache *cache);  /* of all trees */

/* --- a table --- */
typedef struct PTreeAddress {
        Extent extent; /* 0: a tree that was never flushed, or an empty one */
        uint32_t bytes;
} PTreeAddress;
typedef struct PTreeStats {
        uint64_t row_count, row_bytes; /* row_count: tree 0; row_bytes: keys and values of all trees */
        uint64_t snapshot_count, garbage_count;
} PTreeStats;
/* How values that lie in extents of their own are stored. Both may be called from any thread, at once. */
typedef struct PValueCodec {
        /* Appends the stored form to `out` (the writer's). */
        Status (*encode)(void *ctx, Bytes value, Buf *out);
        /* Back, into `hold`; ERR_CORRUPT for what encode cannot have made. `stored` had the right checksum. */
        Status (*decode)(void *ctx, Bytes stored, Arena *hold, Bytes *ret_value);
} PValueCodec;
typedef struct PTreeOptions {
        const void *face; /* the first word of every PSnapshot, PWrite and PCursor of this tree: for the owner, who can
                             hand these out as objects of its own */
        size_t inline_max_bytes;  /* larger values lie in extents of their own; 0: 1536, the most */
        const PValueCodec *codec; /* NULL: as they are */
        void *codec_ctx;
        bool unlimited; /* puts are not refused at dirty_max_bytes: what a checkpoint itself writes */
} PTreeOptions;
/* A tree as `address` has it, or an empty one. `options` may be NULL, and are copied. ERR_CORRUPT, ERR_VERSION (a newer
 * format). */
MUST_USE Status ptree_open(PCache *cache, PTreeAddress address, const PTreeOptions *options, PTree **ret_tree);
/* Forgets it; what is in the file stays. No snapshots, no write. NULL is fine; returns NULL. */
PTree *ptree_close(PTree *tree);
void ptree_stats(PTree *tree, PTreeStats *ret_stats);
/* Two of them, without looking at all snapshots. */
void ptree_sizes(PTree *tree, uint64_t *ret_row_count, uint64_t *ret_row_bytes);

/* --- reading --- */
/* Keys k with low <= k < high; data NULL means unbounded. */
typedef struct PRange {
        Bytes low, high;
} PRange;
/* ERR_LIMIT at 262 144 open snapshots. */
MUST_USE Status ptree_pin(PTree *tree, PSnapshot **ret_snapshot);
void ptree_unpin(PSnapshot *snapshot); /* NULL is fine */
uint64_t ptree_position(const PSnapshot *snapshot);
/* ret_value and hold may both be NULL. */
MUST_USE Status ptree_get(PSnapshot *snapshot, uint32_t id, Bytes key, Arena *hold, Bytes *ret_value, bool *ret_found);
MUST_USE Status ptree_count(PSnapshot *snapshot, uint32_t id, PRange range, uint64_t *ret_count);
/* Rows with a smaller key. */
MUST_USE Status ptree_rank(PSnapshot *snapshot, uint32_t id, Bytes key, uint64_t *ret_rank);
/* The row at place `n`; ret_value may be NULL. */
MUST_USE Status ptree_nth(PSnapshot *snapshot, uint32_t id, uint64_t n, Arena *hold, Bytes *ret_key, Bytes *ret_value,
                          bool *ret_found);
/* The tree with the smallest number >= `id` that has rows; false if there is none. */
bool ptree_next_tree(const PSnapshot *snapshot, uint32_t id, uint32_t *ret_id);
/* The keys that cut the range into `parts` of equal size (a row more or less): up to parts - 1, ascending, in
 * ret_keys[]. */
MUST_USE Status ptree_split(PSnapshot *snapshot, uint32_t id, PRange range, size_t parts, Arena *hold, Bytes *ret_keys,
                            size_t *ret_count);
/* Before the first row of the range in its direction. Closed before its snapshot is unpinned. */
MUST_USE Status ptree_cursor_open(PSnapshot *snapshot, uint32_t id, PRange range, bool descending,
                                  PCursor **ret_cursor);
/* ret_value may be NULL. After an error the cursor is where it was. */
MUST_USE Status ptree_cursor_next(PCursor *cursor, Arena *hold, Bytes *ret_key, Bytes *ret_value, bool *ret_found);
/* Passes over up to `n` rows in O(1). */
void ptree_cursor_skip(PCursor *cursor, uint64_t n, uint64_t *ret_skipped);
/* Goes on at the first row with a key >= `key` (descending: <= `key`) that is not behind the cursor. O(log n). */
MUST_USE Status ptree_cursor_seek(PCursor *cursor, Bytes key);
void ptree_cursor_close(PCursor *cursor); /* NULL is fine */

/* --- reading by leaves: an ascending cursor, instead of ptree_cursor_next --- */
/* The next leaf: it has `total` rows, of which first .. first + count - 1 are within the range; count 0: at the end. It
 * stays in memory until the next call or the cursor's end. After an error the cursor is where it was, in no leaf. */
MUST_USE Status ptree_cursor_block(PCursor *cursor, uint32_t *ret_total, uint32_t *ret_first, uint32_t *ret_count);
/* The value of row i < total: where it lies in the leaf, or read into `hold`. */
MUST_USE Status ptree_block_row(PCursor *cursor, uint32_t i, Arena *hold, Bytes *ret_value);
/* What is remembered of the leaf under this key, or NULL. */
const Memo *ptree_block_memo(PCursor *cursor, uint64_t key);
/* Takes the memo over. Returns what is remembered from now on: it, another of that key that was there before, or NULL:
 * there is no room, and it is freed. */
const Memo *ptree_block_remember(PCursor *cursor, Memo *memo);

/* --- writing: after an error the write can only be aborted --- */
MUST_USE Status ptree_write_begin(PTree *tree, PWrite **ret_write);
void *ptree_write_ctx(const PWrite *write); /* PTreeOptions.codec_ctx */
/* Sees what this write has done so far. */
MUST_USE Status ptree_write_get(PWrite *write, uint32_t id, Bytes key, Arena *hold, Bytes *ret_value, bool *ret_found);
/* The same of the first row within the range. */
MUST_USE Status ptree_write_first(PWrite *write, uint32_t id, PRange range, Arena *hold, Bytes *ret_key,
                                  Bytes *ret_value, bool *ret_found);
/* ERR_LIMIT: key too long, value of 4 GiB, dirty_max_bytes. Large values gather in memory, and are written when they
 * are more than 1 MiB: ERR_IO, ERR_NO_SPACE. */
MUST_USE Status ptree_write_put(PWrite *write, uint32_t id, Bytes key, Bytes value);
MUST_USE Status ptree_write_delete(PWrite *write, uint32_t id, Bytes key, bool *ret_found);
/* Empties the tree. Takes time for what this write has put into it, and for nothing else: the nodes are given back by
 * the first flush after the last snapshot that sees them is gone. */
MUST_USE Status ptree_write_clear(PWrite *write, uint32_t id);
/* A leaf at a time. */
MUST_USE Status ptree_write_delete_range(PWrite *write, uint32_t id, PRange range, uint64_t *ret_deleted);
/* Rows in ascending order into a tree that is empty: packed nodes, written to the file as they fill, so that a load
 * needs no memory. ERR_EXISTS if the tree has rows; add: ERR_INVALID if a key does not ascend. Nothing else is done
 * with this write before the bulk is finished (or aborted: the write can only be aborted then). */
MUST_USE Status ptree_bulk_begin(PWrite *write, uint32_t id, PBulk **ret_bulk);
MUST_USE Status ptree_bulk_add(PBulk *bulk, Bytes key, Bytes value);
MUST_USE Status ptree_bulk_finish(PBulk *bulk); /* frees the bulk, whatever happens */
void ptree_bulk_abort(PBulk *bulk);             /* NULL is fine */
/* Writes what is not yet in the file and has to be: values in extents of their own, those that lie side by side at
 * once. ptree_write_commit needs it to have succeeded if there were any (asserted). ERR_IO, ERR_NO_SPACE, ERR_NOMEM.
 * After it only commit or abort. */
MUST_USE Status ptree_write_prepare(PWrite *write);
/* Publishes; cannot fail; frees the write. `position` is greater than that of any commit before. */
void ptree_write_commit(PWrite *write, uint64_t position);
void ptree_write_abort(PWrite *write); /* NULL is fine */
/* By the writer, between writes: frees what no snapshot can read. Cheap when there is little. */
void ptree_tidy(PTree *tree);

/* --- the file --- */
/* Writes all dirty nodes of the snapshot to new extents, children first, and its root record. Durable only after
 * space_sync. The record of the flush before is given back as replaced at this snapshot's position. The same root again
 * has the same address, unless ptree_has_cleared(). What was cleared and can be read by nobody is given to
 * space_free(): to be used again after the next space_reclaim(), whatever its position. On error some nodes have been
 * written; they are not written again by the next flush. */
MUST_USE Status ptree_flush(PSnapshot *snapshot, PTreeAddress *ret_address);
/* Some tree was cleared, and not all of it is given back to the space, or the root record does not say so yet: a flush
 * is worth a try, also of a root that did not change. By the thread that flushes. */
bool ptree_has_cleared(PTree *tree);
/* A flush that failed has given space back that the root record of before still names: without another one of this tree
 * no checkpoint may become durable. */
bool ptree_must_flush(const PTree *tree);
/* Calls `each` with every extent that commits up to `position` replaced and that was not yet given to space_free()
 * (snapshots may read it, or nobody has looked): no checkpoint of `position` uses it, and whoever saves the state of
 * the space for one has to write it down beside, or a crash loses that space. By the thread that flushes, after the
 * flush of a snapshot of that position; beside readers and the writer, whom it keeps from freeing meanwhile. */
MUST_USE Status ptree_dead(PTree *tree, uint64_t position, Status (*each)(void *ctx, Extent extent), void *ctx);
/* The tree is to go: gives everything under its root, large values and root record included, to space_free(extent,
 * position). No snapshots, no write, no flush. Reads all inner nodes, and the leaves too if there are large values;
 * takes 8 bytes of memory for each extent. ERR_IO, ERR_CORRUPT: part of it cannot be found, and nothing has changed;
 * with `anyway` all the rest is freed and that is no error. ERR_NOMEM: may be repeated until it succeeds, with the same
 * position. It can only be closed afterwards. */
MUST_USE Status ptree_free(PTree *tree, uint64_t position, bool anyway);
/* Walks everything under the snapshot: order, counts, prefixes, slots; nodes of the file are read from the file, large
 * values too. Calls `each` (may be NULL) with every extent of it, the root record's not included. ERR_CORRUPT says
 * what and where; *ret_rows counts all trees. */
MUST_USE Status ptree_check(PSnapshot *snapshot, Status (*each)(void *ctx, Extent extent), void *ctx,
                            uint64_t *ret_rows);

/* Appends lines for people who debug: the node with its keys, children and values, or the root record, or the bytes
 * that are stored in an extent. ERR_NOT_FOUND (no number of an extent), ERR_CORRUPT (not in the file), ERR_LIMIT
 * (`out`). */
MUST_USE Status ptree_describe(PCache *cache, Extent extent, Buf *out);

#endif
