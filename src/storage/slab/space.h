/* space.h - the space of one page file: extents of bytes handed out by size class, freed when no checkpoint or reader
 * can need them any more.
 *
 * An extent is written once (copy-on-write above), then only read, then freed. Its content is the caller's, checksum
 * included.
 *
 *      space_alloc() --> written --> part of a checkpoint --> space_free(version) --> free at
 *          ^  |                                                                       space_reclaim(>= version)
 *          |  \-- space_discard(): never part of anything --\                            |
 *          \------------------------------------------------+----------------------------/
 *
 * Threads: all functions from any thread; one short lock inside, which is never held over a file call (docs/locks.md).
 * space_read() takes no lock. */
#ifndef STORAGE_SLAB_SPACE_H
#define STORAGE_SLAB_SPACE_H

#include "base/bytes.h"
#include "os/os.h"

typedef struct Space Space;
/* Place and size class in one number, as stored on disk (README); 0 is none. */
typedef uint64_t Extent;
/* A bit that no extent of at most this many bytes has set: a user may mark his with it, for himself. */
#define SPACE_EXTENT_SPARE    ((Extent)1 << 31)
#define SPACE_SPARE_MAX_BYTES 65536

typedef struct SpaceOptions {
        uint64_t max_bytes; /* of the file; 0 = none: beyond it ERR_NO_SPACE */
} SpaceOptions;
typedef struct SpaceStats {
        uint64_t file_bytes, live_bytes, free_bytes, waiting_bytes, metadata_bytes; /* file = the sum of the others */
        uint64_t extent_count, slab_count;                                          /* extents: live ones */
} SpaceStats;

/* Opens the file `name` of `dir`, created if absent, its name durable. `dir` is borrowed and must outlive the Space.
 * The space knows nothing live until space_load() or space_rebuild(): an allocation before may overwrite anything but
 * the headers. `options` may be NULL. */
MUST_USE Status space_open(OsDir *dir, const char *name, const SpaceOptions *options, Space **ret_space);
/* The same for looking only: nothing is created, written, cut or synced. ERR_NOT_FOUND. Of the functions below only
 * those for reading, space_load(), space_discard(), statistics and space_check() are for such a Space. */
MUST_USE Status space_open_read(OsDir *dir, const char *name, Space **ret_space);
Space *space_close(Space *space); /* does not sync; NULL is fine; returns NULL */
static inline void space_closep(Space **space)
{
        *space = space_close(*space);
}

/* An extent of at least `bytes`; the file grows when nothing is free. ERR_NO_SPACE, ERR_NOMEM, ERR_LIMIT (> 64 GiB),
 * and what enlarging a file can fail with; then nothing has changed. */
MUST_USE Status space_alloc(Space *space, size_t bytes, Extent *ret_extent);
size_t space_extent_bytes(const Space *space, Extent extent);    /* capacity; 0 if the number is no extent's */
uint64_t space_extent_offset(const Space *space, Extent extent); /* in the file, for messages */
/* From the extent's start; the rest of it stays undefined. ERR_INVALID: more than the capacity. ERR_NO_SPACE: the
 * device is full; the extent stays allocated. */
MUST_USE Status space_write(Space *space, Extent extent, const void *data, size_t bytes);
/* ERR_CORRUPT: no such extent can be in the file. */
MUST_USE Status space_read(Space *space, Extent extent, void *out, size_t bytes);
/* Everything written before is durable. After a failure, what was written since the last good one may be lost although
 * it can be read; syncing goes on failing until space_resume(). */
MUST_USE Status space_sync(Space *space);
/* Promises that everything written since the last good sync will be written again, into new extents: syncing is
 * possible again. */
MUST_USE Status space_resume(Space *space);

/* One of many extents to be written. */
typedef struct SpacePiece {
        Extent extent;
        const void *data;
        size_t bytes;
} SpacePiece;
/* Writes all of them, as space_write(), with as few file calls as can be: they are sorted by place (`pieces` is), and
 * neighbours are joined. After an error any of them may have been written. ERR_INVALID, ERR_NO_SPACE, ERR_NOMEM. */
MUST_USE Status space_write_pieces(Space *space, SpacePiece *pieces, size_t count);

/* Extents that a commit in the making writes by itself, not a checkpoint: in a saved state of an older version they are
 * free, so that a crash before the next checkpoint loses no space. Also when they were freed again meanwhile.
 * A batch is used by one thread at a time; space_load() and space_rebuild() not beside one. Its extents are given back
 * by space_batch_discard() before the commit, by space_free() after it, never by space_discard(). */
typedef struct SpaceBatch SpaceBatch;
MUST_USE Status space_batch_new(Space *space, SpaceBatch **ret_batch);
MUST_USE Status space_batch_alloc(SpaceBatch *batch, size_t bytes, Extent *ret_extent);
/* One of the batch's goes: soon (when such are half of the batch), at its end at the latest. ERR_NOMEM. */
MUST_USE Status space_batch_discard(SpaceBatch *batch, Extent extent);
/* All it has now, those discarded and not yet gone too; valid until the next call for the batch. */
const Extent *space_batch_extents(const SpaceBatch *batch, size_t *ret_count);
/* They belong to `version` and later; frees the batch. Before anything of `version` can be part of a checkpoint. */
void space_batch_commit(SpaceBatch *batch, uint64_t version);
void space_batch_abort(SpaceBatch *batch); /* discards them all; frees the batch; NULL is fine */

/* The extent is not used by anything newer than `version`. ERR_NOMEM, ERR_CORRUPT (not allocated, or freed twice); then
 * nothing has changed. */
MUST_USE Status space_free(Space *space, Extent extent, uint64_t version);
/* Frees at once what is in no checkpoint and has no reader: the work of a checkpoint that failed. Needs no memory. */
MUST_USE Status space_discard(Space *space, Extent extent);
/* Everything freed at versions <= `version` may be handed out again; what is free at the end of the file is given back.
 * An error is about giving back only. */
MUST_USE Status space_reclaim(Space *space, uint64_t version);

/* The allocation state as bytes (appended), to be stored with a checkpoint, and back. Extents freed but not reclaimed
 * are part of it as free: right when the checkpoint uses none of them. So are those of running batches. */
MUST_USE Status space_save(Space *space, Buf *out);
/* The same for a checkpoint of `version`, which uses what was freed at versions >= `version` while it was being made,
 * and nothing that batches have allocated for later ones. Versions ascend (or repeat) from one checkpoint to the next.
 * (What others allocated meanwhile with space_alloc() is in it as live, and is lost space after a crash: space_check()
 * finds it, space_rebuild() recovers it.) */
MUST_USE Status space_save_at(Space *space, uint64_t version, Buf *out);
/* space_save_at() into an extent of this space, which is itself part of what is saved: allocated, not yet written. The
 * bytes are appended to `out` as well. */
MUST_USE Status space_save_extent(Space *space, uint64_t version, Buf *out, Extent *ret_extent);
/* Into a space in which nothing is allocated (ERR_INVALID). `saved` is not trusted: ERR_CORRUPT, ERR_VERSION, and the
 * space is as before. */
MUST_USE Status space_load(Space *space, Bytes saved);

/* Calls `each` (may be NULL) with every stretch of the file that has something live in it, ascending, as saved bytes
 * tell; neighbours are joined. *ret_file_bytes: the least a file of these has. ERR_CORRUPT, ERR_VERSION, ERR_NOMEM, and
 * what `each` says. */
MUST_USE Status space_image_each(Bytes saved, Status (*each)(void *ctx, uint64_t offset, uint64_t bytes), void *ctx,
                                 uint64_t *ret_file_bytes);

/* The first two blocks of the file belong to the caller (superblocks), SPACE_HEADER_BYTES each; they share no page with
 * anything. A header never written reads as zeros. */
#define SPACE_HEADER_BYTES 4096
MUST_USE Status space_header_write(Space *space, unsigned which, const void *data, size_t bytes);
MUST_USE Status space_header_read(Space *space, unsigned which, void *out, size_t bytes);

/* What lies at an offset of the file, for people: "header", "free", "live", "waiting", "slack", "outside". *ret_extent:
 * of the slot or large run there, taken or not; 0 if there is none. */
const char *space_at(Space *space, uint64_t offset, Extent *ret_extent);
void space_stats(Space *space, SpaceStats *ret_stats);
typedef struct SpaceClassStats {
        uint32_t extent_bytes; /* of one; 0: the large ones, of any multiple of 4 KiB */
        uint64_t slab_count, live_count, waiting_count, free_count;
        uint64_t live_bytes, waiting_bytes;
} SpaceClassStats;
#define SPACE_CLASS_COUNT 42
void space_class_stats(Space *space, SpaceClassStats ret_classes[SPACE_CLASS_COUNT]);

/* `next` hands out one extent a call, in any order; *ret_more = false ends it (and hands out none). */
typedef Status (*SpaceNext)(void *ctx, Extent *ret_extent, bool *ret_more);
/* Walks all that should be live through `next` and compares: ERR_CORRUPT names what is wrong (leaked, used twice,
 * overlapping, freed). Also proves that the accounting adds up and fits the file. What is allocated and freed meanwhile
 * is not looked at, and what running batches have is no leak. */
MUST_USE Status space_check(Space *space, SpaceNext next, void *ctx);
/* The state from nothing but the extents in use: when saved bytes are damaged, or space was lost. Into a space in which
 * nothing is allocated (ERR_INVALID). ERR_CORRUPT: overlapping, used twice, outside of the file; then the space is as
 * before. */
MUST_USE Status space_rebuild(Space *space, SpaceNext next, void *ctx);

#endif
