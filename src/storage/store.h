/* store.h - tables that survive: the commit log and the engines in step.
 *
 * A commit goes: locks of its tables -> changes applied to unpublished roots -> one frame appended to the log -> roots
 * published -> locks released. It is visible then, durable when store_durable() has reached its position. Positions
 * grow by one with each commit. A durable position never repeats, so it can be the token of feeds and restores; that of
 * a soft commit that was lost with the power is given out again.
 *
 * Files in the data directory (formats: storage/README.md, storage/log/README.md):
 *      LOCK  VERSION  log/<first position>-<generation>.log  snapshot-<position>  and those of persistent engines
 *
 * Threads: everything from any thread unless said otherwise. Lock order: docs/locks.md. */
#ifndef STORAGE_STORE_H
#define STORAGE_STORE_H

#include "storage/engine.h"
#include "storage/moment.h"

#define STORE_FORMAT_VERSION 4

typedef struct Store Store;
typedef struct StoreTable StoreTable; /* counted */
typedef struct Snapshot Snapshot;     /* a pinned root of one table */
typedef struct Cursor Cursor;
typedef struct Commit Commit;

typedef struct StoreOptions {
        Os *os;
        const char *path;           /* data directory; created if absent */
        size_t memory_max_bytes;    /* for the `memory` engine; 0 = none */
        size_t cache_max_bytes;     /* for engines with files; 0 = none */
        uint64_t file_max_bytes;    /* of such an engine; 0 = none */
        uint64_t log_segment_bytes; /* 0 = 64 MiB */
        uint64_t log_budget_bytes;  /* log bytes that start a checkpoint; 0 = 256 MiB */
        const char *log_archive;    /* a directory that gets each log file before it is removed; NULL: none */
        /* Not 0: stop the recovery there, whatever the log has behind, and forget the rest of the log for good: a
         * checkpoint is made at once and the log begins anew behind it. ERR_NOT_FOUND: the log does not reach it. */
        StoreMoment recover_to;
        bool restoring; /* by store_restore alone: opens a directory that is marked as not yet whole (file RESTORE) */
        /* A cut of the log keeps files for readers (tail.h) until they have so many bytes together (0: it keeps none),
         * and of these only what is not older than log_keep_ms (0: of any age) or what an open reader has still to
         * read. */
        uint64_t log_keep_bytes, log_keep_ms;
        size_t log_recent_bytes;   /* of the log stay in memory for readers, while there are any; 0 = 8 MiB */
        size_t log_tail_max_bytes; /* appended and not yet synced; a commit waits beyond it; 0 = 64 MiB */
        uint64_t soft_sync_ms;     /* soft commits are synced at the latest after this; 0 = 1000 */
        /* After each attempt of the snapshot thread, from that thread; `st` is borrowed. NULL is fine. */
        void (*checkpoint_done)(void *ctx, Status st);
        void *checkpoint_ctx;
        bool background; /* false: no snapshot thread and no timers (tests step by hand) */
} StoreOptions;

typedef struct StoreStats {
        uint64_t last_position, durable_position;
        uint64_t log_bytes, log_segment_count, sync_count, commit_count;
        uint64_t log_kept_bytes;   /* of log_bytes, in files that are kept for readers alone */
        uint64_t log_reach;        /* readers can begin behind this position */
        uint64_t log_reader_count; /* open now */
        uint64_t log_recent_bytes; /* in memory for them */
        uint64_t written_position; /* see tail.h */
        Histogram sync_ns;         /* of the log */
        uint64_t replayed_frames, replayed_bytes, replay_ns;
        uint64_t checkpoint_position; /* every engine's is at least this */
        uint64_t checkpoint_count;
        int64_t checkpoint_age_us; /* since the last one ended well, or since the start */
        uint64_t table_count, damaged_table_count;
        uint64_t throttled_count, throttled_ns; /* commits that waited for dirty nodes to be written, and how long */
        EngineStats engines;                    /* of all engines, added up */
} StoreStats;

/* Opens or creates, and replays the log. Nothing on disk changes when it fails with: ERR_BUSY (another process holds
 * the directory), ERR_ACCESS, ERR_VERSION (written by a newer format), ERR_CORRUPT (names file and offset; a torn tail
 * is not corruption). */
MUST_USE Status store_open(const StoreOptions *options, Store **ret_store);
/* Syncs and closes; NULL is fine. No snapshots, cursors or commits may be open. The error is what the last sync said.
 */
MUST_USE Status store_close(Store *store);
void store_stats(Store *store, StoreStats *ret_stats);
/* Calls `each` for the classes of every persistent engine's files. */
void store_space_classes(Store *store, void (*each)(void *ctx, const char *engine, const EngineSpaceClass *class),
                         void *ctx);

/* --- tables: numbered by the caller, who keeps names and settings in a table of its own --- */
/* Calls `each` for every table, in order of id. */
MUST_USE Status store_each_table(Store *store, Status (*each)(void *ctx, uint64_t id, const char *engine), void *ctx);
StoreTable *store_table_ref(Store *store, uint64_t id); /* NULL if there is none (or it was dropped) */
StoreTable *store_table_unref(StoreTable *table);       /* NULL is fine; returns NULL */
uint64_t store_table_id(const StoreTable *table);
bool store_table_dropped(const StoreTable *table);
void store_table_stats(StoreTable *table, EngineStats *ret_stats);

/* A table whose files are damaged: everything but a drop fails with this error. The caller owns it; ST_OK: it is fine.
 */
MUST_USE Status store_table_error(StoreTable *table);

/* --- reading --- */
/* ERR_NOT_FOUND if the table was dropped, ERR_LIMIT at 262 144 open snapshots. */
MUST_USE Status store_pin(StoreTable *table, Snapshot **ret_snapshot);
void store_unpin(Snapshot *snapshot); /* NULL is fine */
uint64_t snapshot_version(Snapshot *snapshot);
/* Bytes live until the snapshot is unpinned or `hold` is reset, whichever comes first. */
MUST_USE Status snapshot_get(Snapshot *snapshot, Bytes key, Arena *hold, Bytes *ret_value, bool *ret_found);
MUST_USE Status snapshot_count(Snapshot *snapshot, EngineRange range, uint64_t *ret_count);
MUST_USE Status snapshot_nth(Snapshot *snapshot, uint64_t n, Arena *hold, Bytes *ret_key, Bytes *ret_value,
                             bool *ret_found);
MUST_USE Status cursor_open(Snapshot *snapshot, EngineRange range, bool descending, Cursor **ret_cursor);
MUST_USE Status cursor_next(Cursor *cursor, Arena *hold, Bytes *ret_key, Bytes *ret_value, bool *ret_found);
MUST_USE Status cursor_skip(Cursor *cursor, uint64_t n, uint64_t *ret_skipped);
/* Keys that cut the range into `parts` of about equal size: up to parts - 1, ascending, in ret_keys[]. */
MUST_USE Status snapshot_split(Snapshot *snapshot, EngineRange range, size_t parts, Arena *hold, Bytes *ret_keys,
                               size_t *ret_count);
void cursor_close(Cursor *cursor); /* NULL is fine; before its snapshot is unpinned */
/* An ascending cursor leaf by leaf, instead of cursor_next and cursor_skip: engine.h, ABI 4. False: by rows only. */
bool cursor_has_blocks(Cursor *cursor);
MUST_USE Status cursor_block(Cursor *cursor, EngineBlock *ret_block);
MUST_USE Status cursor_block_row(Cursor *cursor, uint32_t i, Arena *hold, Bytes *ret_value);
const Memo *cursor_block_memo(Cursor *cursor, uint64_t key);
const Memo *cursor_block_remember(Cursor *cursor, Memo *memo);

/* The same of one of the table's trees: 0 has its rows, 1 .. STORE_TREES_MAX its indexes (table/ says what is in them;
 * a tree that was never written to is empty). All trees of a snapshot are of the same moment. */
#define STORE_TREES_MAX 255
MUST_USE Status snapshot_tree_get(Snapshot *snapshot, uint32_t tree, Bytes key, Arena *hold, Bytes *ret_value,
                                  bool *ret_found);
MUST_USE Status snapshot_tree_count(Snapshot *snapshot, uint32_t tree, EngineRange range, uint64_t *ret_count);
MUST_USE Status snapshot_tree_nth(Snapshot *snapshot, uint32_t tree, uint64_t n, Arena *hold, Bytes *ret_key,
                                  Bytes *ret_value, bool *ret_found);
MUST_USE Status cursor_tree_open(Snapshot *snapshot, uint32_t tree, EngineRange range, bool descending,
                                 Cursor **ret_cursor);

/* --- writing: a commit changes any number of tables atomically --- */
MUST_USE Status commit_begin(Store *store, Commit **ret_commit);
/* Takes the writer lock of a table until the commit ends. Several: in order of id (asserted). ERR_NOT_FOUND if dropped.
 */
MUST_USE Status commit_lock(Commit *commit, StoreTable *table);
/* Current row under the lock, own changes included; the value is copied into `hold`. ret_value and hold may both be
 * NULL. */
MUST_USE Status commit_get(Commit *commit, StoreTable *table, Bytes key, Arena *hold, Bytes *ret_value,
                           bool *ret_found);
MUST_USE Status commit_put(Commit *commit, StoreTable *table, Bytes key, Bytes value);
MUST_USE Status commit_delete(Commit *commit, StoreTable *table, Bytes key, bool *ret_found);
/* The same, by whoever knows the row that is there (`old`; data NULL: none): the log says then what it was, for
 * readers of the log (tail.h). It is read before anything changes. */
MUST_USE Status commit_put_row(Commit *commit, StoreTable *table, Bytes key, Bytes value, Bytes old);
MUST_USE Status commit_delete_row(Commit *commit, StoreTable *table, Bytes key, Bytes old);
/* The same for one of the table's trees. Index entries are in the log as rows are, so that a replay needs nobody to
 * derive them. */
MUST_USE Status commit_tree_get(Commit *commit, StoreTable *table, uint32_t tree, Bytes key, Arena *hold,
                                Bytes *ret_value, bool *ret_found);
/* The first within the range. */
MUST_USE Status commit_tree_first(Commit *commit, StoreTable *table, uint32_t tree, EngineRange range, Arena *hold,
                                  Bytes *ret_key, Bytes *ret_value, bool *ret_found);
MUST_USE Status commit_tree_put(Commit *commit, StoreTable *table, uint32_t tree, Bytes key, Bytes value);
MUST_USE Status commit_tree_delete(Commit *commit, StoreTable *table, uint32_t tree, Bytes key, bool *ret_found);
/* Empties a tree (1 ..) at once, however large it is; snapshots keep what they see, and the space comes back when
 * nobody needs it. */
MUST_USE Status commit_tree_clear(Commit *commit, StoreTable *table, uint32_t tree);
/* Creates a table; it can be locked and written in the same commit (through *ret_table, the caller's reference). */
MUST_USE Status commit_create_table(Commit *commit, uint64_t id, const char *engine, StoreTable **ret_table);
/* The table must be locked. */
MUST_USE Status commit_drop_table(Commit *commit, StoreTable *table);
/* Appends and publishes; frees the commit, whatever happens. A commit without changes takes no position: *ret_position
 * is then the last one. On error nothing is visible and nothing will be after a restart; the error is ERR_IO,
 * ERR_NO_SPACE ("the log cannot be written ..., writes are refused until it can") or ERR_NOMEM. */
MUST_USE Status commit_finish(Commit *commit, uint64_t *ret_position);
void commit_abort(Commit *commit); /* NULL is fine */

/* --- durability --- */
uint64_t store_durable(Store *store); /* every position up to here is synced */
/* Asks for `position` to be made durable soon; returns at once. */
void store_sync_soon(Store *store, uint64_t position);
/* Waits until it is; the log's error if it cannot be. */
MUST_USE Status store_sync(Store *store, uint64_t position);
/* The log's present error, or ST_OK: for a caller whose position does not become durable. Caller owns it. */
MUST_USE Status store_log_error(Store *store);
/* Called from a thread of the log, one call at a time, whenever store_durable() has advanced or the log has failed:
 * must not block, and must not call the store. At most 64 watchers; returns a handle for store_unwatch. */
typedef struct StoreWatch StoreWatch;
MUST_USE Status store_watch(Store *store, void (*changed)(void *ctx), void *ctx, StoreWatch **ret_watch);
void store_unwatch(StoreWatch *watch); /* after it returns, `changed` is not called again; NULL is fine */
/* background = false: one round of the log: write and sync what there is, or one attempt to get over a failure. */
MUST_USE Status store_step(Store *store);
/* Makes all there is durable in files and cuts the log. */
MUST_USE Status store_checkpoint(Store *store);
/* What the last checkpoint, by the thread or by call, failed with; ST_OK if it did not. The thread tries again. Caller
 * owns it. */
MUST_USE Status store_checkpoint_error(Store *store);

/* --- verification, backup: offline.c, backup.c --- */
typedef struct StoreProgress {
        void *ctx;
        /* May be NULL; an error ends the work. `what` is a word or two for people. */
        Status (*report)(void *ctx, const char *what, uint64_t done_bytes, uint64_t total_bytes);
} StoreProgress;

typedef struct StoreCheck {
        Os *os;
        const char *path; /* a data directory, or a backup */
        StoreProgress progress;
        void *ctx;
        /* Each thing that is wrong, as a line for people that names file and offset. */
        Status (*problem)(void *ctx, const char *text);
        /* May be NULL. As of the checkpoint, `after` false; then what the log changes, `after` true (value data NULL:
         * a deletion; key data NULL too: the whole tree, which is not 0, is emptied). Of trees above 0 too. The text is
         * what is wrong with the row, NULL if nothing. */
        const char *(*row)(void *ctx, uint64_t table_id, uint32_t tree, Bytes key, Bytes value, bool after);
        /* May be NULL. Behind the problem that makes rows of this table unreadable or wrong. */
        void (*damaged)(void *ctx, uint64_t table_id);
        /* May be NULL. At the end, each table that there is then, the log's changes included; in order of id. */
        Status (*table)(void *ctx, uint64_t table_id, const char *engine);
} StoreCheck;
typedef struct StoreCheckResult {
        uint64_t table_count;
        uint64_t row_count;       /* as of the checkpoint, of trees 0 */
        uint64_t log_frame_count; /* commits behind the checkpoint of some engine */
        uint64_t byte_count;      /* of all files */
        uint64_t problem_count;
        uint64_t checkpoint_position; /* the oldest of the engines' */
        uint64_t last_position;
        uint64_t torn_bytes; /* of the log, behind its last commit: a write that a crash cut off */
        bool closed_cleanly; /* the log ends in a seal, or has nothing that the checkpoint does not have */
} StoreCheckResult;
/* Walks every byte of a data directory that nobody has open, and writes nothing to it. ST_OK also when problems were
 * found; ERR_BUSY, ERR_NOT_FOUND, ERR_VERSION, and errors of reading. */
MUST_USE Status store_check(const StoreCheck *check, StoreCheckResult *ret_result);

typedef struct StoreBackupResult {
        uint64_t position, byte_count;
        uint64_t damaged_table_count; /* that are in it as they are */
        int64_t wall_us;              /* of the moment it holds */
} StoreBackupResult;
/* A consistent copy of all tables as of now into the new or empty directory `to`, which is then itself a data directory
 * (with a file BACKUP beside, that says of which moment it is). Takes a checkpoint first; readers and writers go on.
 * One at a time (ERR_BUSY). ERR_EXISTS: `to` has files. */
MUST_USE Status store_backup(Store *store, const char *to, const StoreProgress *progress,
                             StoreBackupResult *ret_result);
typedef struct StoreRestore {
        Os *os;
        const char *backup, *path; /* `path` is new or empty */
        const char *const *logs;   /* directories with archived log files, or data directories */
        size_t log_count;
        StoreMoment as_of; /* none: with logs, all that they have; without, the moment of the backup */
        StoreProgress progress;
} StoreRestore;
/* On failure what was made of `path` is removed. ERR_NOT_FOUND: the logs do not reach from the backup to that moment;
 * the text says how far they do. */
MUST_USE Status store_restore(const StoreRestore *restore, StoreBackupResult *ret_result);

#endif
