/* wal.h - the commit log: frames appended in memory, written and synced by its threads for all who wait (group commit).
 * A frame is one commit: atomic, checksummed, numbered by its position. Format, recovery: README.md in this folder.
 *
 *      wal_open  wal_replay  wal_start      wal_append .. wal_sync .. wal_cut      wal_close
 *
 * Failure: what is not yet synced stays in memory. When a write or sync fails the segment is given up and the
 * unsynced frames are written anew to a fresh one (a failed fsync must not be
 * retried on the same file). Until that succeeds the log is failed: appends are refused, waiters get the error, and a
 * retry is made every second. Threads: any, but for open, replay, start and close; one wal_cut at a time. */
#ifndef STORAGE_LOG_WAL_H
#define STORAGE_LOG_WAL_H

#include "base/bytes.h"
#include "base/histogram.h"
#include "os/os.h"
#include "storage/moment.h"

typedef struct Wal Wal;
typedef struct WalOptions {
        uint64_t segment_bytes; /* a segment is closed when it has this many */
        size_t tail_max_bytes;  /* appended and not yet synced */
        size_t recent_bytes;    /* while there are readers so much stays in memory for them when it is synced */
        uint64_t soft_sync_ms;  /* nothing stays unsynced for longer */
        bool background;        /* false: no thread; wal_step() does the work (tests) */
        OsDir *archive;         /* gets each file before wal_cut() removes it; borrowed; NULL: none */
        StoreMoment recover_to; /* see store.h */
        uint64_t generation;    /* files made from now on have a higher one; see wal_generation */
        int64_t wall_us;        /* frames are not older than this */
} WalOptions;
typedef struct WalFrame {
        uint64_t position;
        uint64_t stream; /* 0 now; a shard later */
        uint32_t term;   /* 0 now; a Raft term later */
        int64_t wall_us; /* when it was appended; does not descend */
        Bytes body;
} WalFrame;

/* Opens the log in `dir` (borrowed; must outlive the Wal) and finds out up to where it reaches: changes nothing on
 * disk. Everything behind `after_position` must be there: ERR_CORRUPT if log files are missing. */
MUST_USE Status wal_open(OsDir *dir, const WalOptions *options, uint64_t after_position, Wal **ret_wal);
/* Calls `replay` for each frame behind `after_position` (not less than the one given to wal_open), in order. A torn
 * tail ends the log; a damaged frame before it is ERR_CORRUPT, with file and offset. May be repeated, and `replay` may
 * call wal_sync() for a position that it has seen. With recover_to it stops there, and wal_last() is that position;
 * ERR_NOT_FOUND: the log does not reach it. */
MUST_USE Status wal_replay(Wal *wal, uint64_t after_position, Status (*replay)(void *ctx, const WalFrame *frame),
                           void *ctx);
/* Ready for appends. */
MUST_USE Status wal_start(Wal *wal);
/* After a replay that recover_to stopped, before wal_start: removes all that is behind wal_last(), newest first, so
 * that what is left after a crash is the beginning of the log. The caller has all up to wal_last() in files. */
MUST_USE Status wal_forget(Wal *wal);
MUST_USE Status wal_close(Wal *wal); /* writes and syncs the tail; NULL is fine */
/* Copies the body into the tail and gives it the next position. Blocks while the tail is full. The caller's order of
 * calls is the order of positions. ERR_IO or ERR_NO_SPACE while the log is failed, ERR_LIMIT for a body above 1 GiB,
 * ERR_NOMEM: then no position was taken. */
MUST_USE Status wal_append(Wal *wal, Bytes body, uint64_t *ret_position);
uint64_t wal_last(Wal *wal);        /* the newest position given out */
int64_t wal_last_wall_us(Wal *wal); /* of that commit; 0: none is known */
uint64_t wal_durable(Wal *wal);     /* every position up to it is synced */
void wal_sync_soon(Wal *wal, uint64_t position);
MUST_USE Status wal_sync(Wal *wal, uint64_t position);
/* The present failure as a Status of the caller's, or ST_OK. */
MUST_USE Status wal_error(Wal *wal);
/* `changed` is called from the log's threads after each sync or failure (background = false: from wal_step), without
 * the log's lock. One only; set before the first append. */
void wal_on_change(Wal *wal, void (*changed)(void *ctx), void *ctx);
/* Removes segments that hold only positions <= `position`, but for what wal_keep() says; with an archive each is
 * durable there before. What could not be archived or removed stays, and is tried again the next time. */
MUST_USE Status wal_cut(Wal *wal, uint64_t position);
/* The next frame begins a new segment, so that a later wal_cut() up to here can remove all there is now. */
void wal_rotate(Wal *wal);
/* From now on wal_cut keeps the newest files of those it could remove, for readers: until they have `bytes` together
 * (0: none), and of these only what is not older than `ms` (0: of any age) or what an open reader has still to read. */
void wal_keep(Wal *wal, uint64_t bytes, uint64_t ms);
uint64_t wal_bytes(Wal *wal);      /* of all segment files */
uint64_t wal_kept_bytes(Wal *wal); /* of these, in files kept for readers alone */
/* The number of the newest file ever made. To be kept where the log is cut as a whole, and given to wal_open: so that
 * numbers never repeat, not in an archive either. */
uint64_t wal_generation(Wal *wal);

typedef struct WalStats {
        uint64_t segment_count, sync_count, replayed_frames, replayed_bytes, tail_bytes, recent_bytes, reader_count;
        Histogram sync_ns;
} WalStats;
void wal_stats(Wal *wal, WalStats *ret_stats);
/* background = false: one round of write and sync; while the log is failed: one attempt to write it anew. */
MUST_USE Status wal_step(Wal *wal);
MUST_USE Status wal_step_write(Wal *wal); /* the same without the sync */

/* --- following the log: wal_tail.c --- */
/* Every position up to it is in a file, synced or not: it survives the end of the process, if not that of the power.
 * Never descends. */
uint64_t wal_written(Wal *wal);
/* Readers can begin behind this position or any later one. */
uint64_t wal_reach(Wal *wal);
/* `written` is called from the log thread after wal_written() has advanced, without the log's lock. One only; set
 * before the first append. */
void wal_on_written(Wal *wal, void (*written)(void *ctx), void *ctx);
/* While `eager` has been called more often with true than with false, appended frames are written at once after a
 * pause, and twice a millisecond else, also while a sync is in flight. */
void wal_eager(Wal *wal, bool eager);
/* Reads frames in order, from memory if they are recent, else from the files. A reader is one thread's at a time; it
 * holds no lock between calls, and stops neither appends nor cuts. Closed before the log. */
typedef struct WalReader WalReader;
/* ERR_NOT_FOUND: the log does not reach back so far; see wal_reach(). */
MUST_USE Status wal_reader_open(Wal *wal, uint64_t after_position, WalReader **ret_reader);
/* The next frame that is written; its body lives until the next call. *ret_found is false if there is none yet.
 * ERR_NOT_FOUND: it was cut off meanwhile. After an error the reader stands where it stood. */
MUST_USE Status wal_reader_next(WalReader *reader, WalFrame *ret_frame, bool *ret_found);
uint64_t wal_reader_position(const WalReader *reader); /* of the last frame given */
void wal_reader_close(WalReader *reader);              /* NULL is fine */

/* --- runs: each opening of the log that wrote to it --- */
/* The one that wrote `position`, or will; 0: the log does not say any more. */
uint64_t wal_run_at(Wal *wal, uint64_t position);
/* What a run wrote is in the log up to *ret_last (UINT64_MAX: it is the present one); what it may have written behind
 * that was lost with the power. False: nothing is known of it. */
bool wal_run_find(Wal *wal, uint64_t id, uint64_t *ret_last);

/* --- looking at a log's files: no locks, no changes; `dir` may be an archive, or belong to a running process --- */
typedef struct WalScan {
        void *ctx;
        /* Every function may be NULL; an error of one ends the scan and is returned. */
        Status (*file)(void *ctx, const char *name, uint64_t bytes); /* its frames come next */
        Status (*frame)(void *ctx, const WalFrame *frame, const char *name, uint64_t offset);
        /* Damage, with file and offset, or missing files; the scan goes on with the next file. */
        Status (*problem)(void *ctx, const char *text);
        Status (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes);
} WalScan;
typedef struct WalScanResult {
        uint64_t file_count, byte_count;
        uint64_t first_position, last_position; /* that the files hold; 0, 0: none */
        int64_t first_wall_us, last_wall_us;
        uint64_t frame_count; /* given to `frame` */
        uint64_t torn_bytes;  /* behind the last frame: a write that was cut off */
        uint64_t problem_count;
        bool sealed; /* closed cleanly: nothing is behind last_position */
} WalScanResult;
/* All frames behind `after_position`, in order. Older files than that one needs are not read. */
MUST_USE Status wal_scan(OsDir *dir, uint64_t after_position, const WalScan *scan, WalScanResult *ret_result);
/* True if `name` is that of a log file. */
bool wal_file_parse(const char *name, uint64_t *ret_first_position, uint64_t *ret_generation);

#endif
