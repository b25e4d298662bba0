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

/* The extent is not used by anything newer than `version`. ERR_NOMEM, ERR_CORRUPT (not allocated, or freed twice); then
 * nothing has changed. */
MUST_USE Status space_free(Space *space, Extent extent, uint64_t version);
/* Frees at once what is in no checkpoint and has no reader: the work of a checkpoint that failed. Needs no memory. */
MUST_USE Status space_discard(Space *space, Extent extent);
/* Everything freed at versions <= `version` may be handed out again; what is free at the end of the file is given back.
 * An error is about giving back only. */
MUST_USE Status space_reclaim(Space *space, uint64_t version);

/* The allocation state as bytes (appended), to be stored with a checkpoint, and back. Extents freed but not reclaimed
 * are part of it as free: right when the checkpoint uses none of them. */
MUST_USE Status space_save(Space *space, Buf *out);
/* The same for a checkpoint of `version`, which uses what was freed at versions >= `version` while it was being made.
 * (What others allocated meanwhile is in it as live, and is lost space after a crash: space_check() finds it,
 * space_rebuild() recovers it.) */
MUST_USE Status space_save_at(Space *space, uint64_t version, Buf *out);
/* space_save_at() into an extent of this space, which is itself part of what is saved: allocated, not yet written. The
 * bytes are appended to `out` as well. */
MUST_USE Status space_save_extent(Space *space, uint64_t version, Buf *out, Extent *ret_extent);
/* Into a space in which nothing is allocated (ERR_INVALID). `saved` is not trusted: ERR_CORRUPT, ERR_VERSION, and the
 * space is as before. */
MUST_USE Status space_load(Space *space, Bytes saved);

/* The first two blocks of the file belong to the caller (superblocks), SPACE_HEADER_BYTES each; they share no page with
 * anything. A header never written reads as zeros. */
#define SPACE_HEADER_BYTES 4096
MUST_USE Status space_header_write(Space *space, unsigned which, const void *data, size_t bytes);
MUST_USE Status space_header_read(Space *space, unsigned which, void *out, size_t bytes);

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
 * is not looked at. */
MUST_USE Status space_check(Space *space, SpaceNext next, void *ctx);
/* The state from nothing but the extents in use: when saved bytes are damaged, or space was lost. Into a space in which
 * nothing is allocated (ERR_INVALID). ERR_CORRUPT: overlapping, used twice, outside of the file; then the space is as
 * before. */
MUST_USE Status space_rebuild(Space *space, SpaceNext next, void *ctx);

#endif
