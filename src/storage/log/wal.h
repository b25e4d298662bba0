/* wal.h - the commit log: frames appended in memory, written and synced by one thread for all who wait (group commit).
 * A frame is one commit: atomic, checksummed, numbered by its position. Format, recovery: README.md in this folder.
 *
 * Failure: what is not yet synced stays in memory. When a write or sync fails the segment is given up and the
 * unsynced frames are written anew to a fresh one (a failed fsync must not be
 * retried on the same file). Until that succeeds the log is failed: appends are refused, waiters get the error, and a
 * retry is made every second. Threads: any, but for open and close. */
#ifndef STORAGE_LOG_WAL_H
#define STORAGE_LOG_WAL_H

#include "base/bytes.h"
#include "os/os.h"

typedef struct Wal Wal;
typedef struct WalOptions {
        uint64_t segment_bytes; /* a segment is closed when it has this many */
        size_t tail_max_bytes;  /* appended and not yet synced */
        uint64_t soft_sync_ms;  /* nothing stays unsynced for longer */
        bool background;        /* false: no thread; wal_step() does the work (tests) */
} WalOptions;
typedef struct WalFrame {
        uint64_t position;
        uint64_t stream; /* 0 now; a shard later */
        uint32_t term;   /* 0 now; a Raft term later */
        Bytes body;
} WalFrame;

/* Opens the log in `dir` (borrowed; must outlive the Wal) and calls `replay` for each frame after `after_position`, in
 * order. A torn tail ends the log; a damaged frame before it is ERR_CORRUPT, with file and offset. */
MUST_USE Status wal_open(OsDir *dir, const WalOptions *options, uint64_t after_position,
                         Status (*replay)(void *ctx, const WalFrame *frame), void *ctx, Wal **ret_wal);
MUST_USE Status wal_close(Wal *wal); /* writes and syncs the tail; NULL is fine */
/* Copies the body into the tail and gives it the next position. Blocks while the tail is full. The caller's order of
 * calls is the order of positions. ERR_IO or ERR_NO_SPACE while the log is failed, ERR_LIMIT for a body above 1 GiB,
 * ERR_NOMEM: then no position was taken. */
MUST_USE Status wal_append(Wal *wal, Bytes body, uint64_t *ret_position);
uint64_t wal_last(Wal *wal);    /* the newest position given out */
uint64_t wal_durable(Wal *wal); /* every position up to it is synced */
void wal_sync_soon(Wal *wal, uint64_t position);
MUST_USE Status wal_sync(Wal *wal, uint64_t position);
/* The present failure as a Status of the caller's, or ST_OK. */
MUST_USE Status wal_error(Wal *wal);
/* `changed` is called from the log thread after each sync or failure (background = false: from wal_step), without the
 * log's lock. One only; set before the first append. */
void wal_on_change(Wal *wal, void (*changed)(void *ctx), void *ctx);
/* Removes segments that hold only positions <= `position`. */
MUST_USE Status wal_cut(Wal *wal, uint64_t position);
/* The next frame begins a new segment, so that a later wal_cut() up to here can remove all there is now. */
void wal_rotate(Wal *wal);
uint64_t wal_bytes(Wal *wal); /* of all segment files */

typedef struct WalStats {
        uint64_t segment_count, sync_count, sync_ns_total, sync_ns_max, replayed_frames, tail_bytes;
} WalStats;
void wal_stats(Wal *wal, WalStats *ret_stats);
/* background = false: one round of write and sync; while the log is failed: one attempt to write it anew. */
MUST_USE Status wal_step(Wal *wal);

#endif
