/* store_int.h - the inside of a store, shared by
 *      store.c       open, close, tables, reading, durability
 *      commit.c      writing
 *      throttle.c    writers wait for the checkpoint when an engine's cache fills
 *      recovery.c    from the files back to tables
 *      checkpoint.c  everything of one moment into files, and cutting the log
 *      backup.c      a copy of that */
#ifndef STORAGE_STORE_INT_H
#define STORAGE_STORE_INT_H

#include <stdatomic.h>

#include "base/map.h"
#include "os/thread.h"
#include "storage/log/wal.h"
#include "storage/read_point.h"
#include "storage/record.h"
#include "storage/snapshot_file.h"
#include "storage/store.h"

#define WATCH_MAX         64
#define STORE_ENGINES_MAX 8

typedef struct StoreEngine StoreEngine;

struct StoreTable {
        Store *store;
        uint64_t id;
        const EngineOps *ops;
        StoreEngine *host;
        EngineTable *engine_table; /* NULL: damaged, from the start */
        atomic_uint refs;          /* one is the catalog's while the table is in it */
        atomic_bool visible;       /* its creation is committed */
        atomic_bool dropped;
        atomic_bool damaged; /* error_code and error_text say why; set before anybody else sees the table */
        StatusCode error_code;
        char *error_text;
        Mutex mu;                    /* order 10 in docs/locks.md: the writer's; ascending by id */
        StoreTable *next, *previous; /* GUARDED_BY(store->commit_mu): see StoreEngine.tables */
        bool listed;                 /* GUARDED_BY(store->commit_mu) */
        uint64_t root_position;      /* GUARDED_BY(store->commit_mu): of the commit that made its root; 0: the start */
        KeptRoot *kept;              /* GUARDED_BY(store->commit_mu): older roots for read points, newest first */
        uint64_t position;           /* recovery: records up to here are in it. Damaged: the log behind it is kept */
        /* --- recovery only --- */
        uint64_t created_position, replay_position;
        EngineWrite *replay;
        StoreTable *replay_next; /* of those with a write */
};

/* One Engine and all engines whose tables live in it. */
struct StoreEngine {
        const EngineOps *ops;
        Engine *engine;
        /* GUARDED_BY(commit_mu). What a checkpoint has to pin: of a persistent engine the tables that changed since the
         * last one, of another all that are visible. */
        StoreTable *tables;
        size_t table_count;
        uint64_t position; /* GUARDED_BY(checkpoint_mu): of its newest checkpoint */
};

typedef struct CommitTable {
        StoreTable *table;
        EngineWrite *write; /* NULL: of a damaged table, which can only be dropped */
        bool created, dropped, changed;
} CommitTable;

#define COMMIT_INLINE_TABLES 4
struct Commit {
        Store *store;
        Commit *next_free;
        CommitTable *tables; /* inline_tables, or from the heap */
        size_t table_count, table_capacity;
        CommitTable inline_tables[COMMIT_INLINE_TABLES];
        Buf body;      /* records for the log */
        bool broken;   /* a change failed half-way: only abort is left */
        bool of_draft; /* its one table's write is a draft's: no lock is held, nothing is logged */
};

struct StoreWatch {
        Store *store;
        void (*changed)(void *ctx); /* GUARDED_BY(store->watch_mu); NULL: free */
        void *ctx;
        bool of_written; /* GUARDED_BY(store->watch_mu): a TailWatch */
};

struct Store {
        StoreOptions options;
        Os *os;
        OsDir *dir, *log_dir, *archive_dir;
        Wal *wal;
        StoreEngine engines[STORE_ENGINES_MAX]; /* those without a host, as engine_at() has them */
        size_t engine_count;
        uint64_t replay_ns;

        Mutex commit_mu;            /* order 20: append and publish are one step (store I2) */
        ReadPoint *newest_point;    /* GUARDED_BY(commit_mu): read_point.c; each knows the one before it */
        Mutex catalog_mu;           /* order 30 */
        NumMap *tables;             /* GUARDED_BY(catalog_mu): id -> StoreTable, also those not yet committed */
        Mutex free_mu;              /* order 70 */
        Commit *free_commits;       /* GUARDED_BY(free_mu) */
        unsigned free_commit_count; /* GUARDED_BY(free_mu) */
        atomic_uint_fast64_t commit_count;
        atomic_uint_fast64_t logged_bytes; /* bodies of all commits */
        atomic_uint damaged_count;

        Mutex watch_mu; /* order 90 */
        StoreWatch watches[WATCH_MAX];

        Mutex checkpoint_mu;        /* order 5: one checkpoint at a time */
        uint64_t snapshot_position; /* GUARDED_BY(checkpoint_mu): of the newest snapshot file */
        bool kept_said;             /* GUARDED_BY(checkpoint_mu): that the log is kept for a damaged table */
        atomic_uint_fast64_t checkpoint_position; /* every engine has at least this in files */
        atomic_uint_fast64_t checkpoint_count;
        atomic_int_fast64_t checkpoint_ended_ns;

        Mutex wake_mu;                          /* order 95 */
        Cond wake;                              /* the checkpoint thread waits */
        Cond eased;                             /* throttled writers wait */
        bool wanted, pressed, closing;          /* GUARDED_BY(wake_mu): a checkpoint is asked for; as a cache fills */
        bool running;                           /* GUARDED_BY(wake_mu): one is being made */
        bool refused;                           /* GUARDED_BY(wake_mu): a writer could not go on since the last one */
        bool failed;                            /* GUARDED_BY(wake_mu): the last one */
        StatusCode checkpoint_error;            /* GUARDED_BY(wake_mu); ERR_NONE: nothing to say about the last one */
        char checkpoint_text[512];              /* GUARDED_BY(wake_mu) */
        uint64_t throttled_count, throttled_ns; /* GUARDED_BY(wake_mu) */
        /* The pace of writers while a cache is nearly full; GUARDED_BY(wake_mu). */
        uint64_t begun_bytes;   /* logged_bytes when the last checkpoint began */
        uint64_t pace_ns;       /* what a checkpoint takes for 1024 logged bytes; 0: none was made that tells */
        uint64_t paced_bytes;   /* of logged_bytes: waited for */
        int64_t paced_until_ns; /* when they will have been waited for */
        atomic_bool asleep;     /* the thread waits without a time limit */
        atomic_bool asked;      /* `pressed` was set and the thread has not looked yet */
        Thread thread;
        bool thread_started;
        atomic_bool backing_up; /* one backup at a time */
};

static inline void store_table_unrefp(StoreTable **table)
{
        *table = store_table_unref(*table);
}
/* --- store.c --- */
/* An empty table outside of the catalog; the caller's reference. */
Status table_new(Store *store, uint64_t id, const char *engine, StoreTable **ret_table);
/* One from the files of `host`. A damaged one is a table too: see store_table_error(). */
Status table_stored(Store *store, StoreEngine *host, uint64_t id, const EngineOps *ops, uint64_t position,
                    StoreTable **ret_table);
/* From now on only a drop works. The error is taken; the table is nobody else's yet. */
void table_damage(StoreTable *table, Status error);
/* It changed (or, in an engine that is not persistent, it is there): the next checkpoint has to look at it. */
void table_list(Store *store, StoreTable *table) REQUIRES(store->commit_mu);
void table_unlist(Store *store, StoreTable *table) REQUIRES(store->commit_mu);
/* All committed tables in order of id, each referenced; the array is the caller's to mem_free. */
Status tables_list(Store *store, StoreTable ***ret_tables, size_t *ret_count);
/* Forgets all tables; those of persistent engines stay in their files, which are about to be closed. */
void tables_clear(Store *store);
/* The host of an engine's tables. */
StoreEngine *store_engine(Store *store, const EngineOps *ops);

/* A free place among the watches. */
Status store_watch_add(Store *store, const StoreWatch *watch, StoreWatch **ret_watch);

/* --- tail.c --- */
/* From the log thread: more of the log is written. */
void tail_written(void *store);

/* --- recovery.c: from snapshot file, engines' files and log; sets store->wal, positions and tables --- */
Status recovery_run(Store *store);

/* --- checkpoint.c --- */
void checkpoint_thread(void *arg);
/* From the threads of the log: checks the budget, wakes the thread. */
void checkpoint_want(Store *store);
/* An engine's cache fills with what is not in files. */
void checkpoint_press(Store *store);
typedef enum CheckpointKind {
        CHECKPOINT_ALL,     /* snapshot file and all engines; the log is cut */
        CHECKPOINT_ENGINES, /* persistent engines only, to make room in their caches */
} CheckpointKind;
Status checkpoint_run(Store *store, CheckpointKind kind) REQUIRES(store->checkpoint_mu);
/* While the log is replayed: persistent engines alone, at a position up to which everything is published. */
Status checkpoint_replayed(Store *store, uint64_t position) REQUIRES(store->checkpoint_mu);
/* One attempt; its error is noted too. */
Status checkpoint_try(Store *store, CheckpointKind kind);
/* All, unless writing the rows of engines without files is dearer than replaying the log. */
CheckpointKind checkpoint_kind(Store *store);
Status checkpoint_remove_older(Store *store, uint64_t position);

/* All tables of one moment, to be copied beside readers and writers: a fresh checkpoint that stays whole until
 * checkpoint_end_backup(). Its files are the snapshot, and what backup_copy of each engine makes. */
typedef struct CheckpointBackup {
        uint64_t position;
        int64_t wall_us;  /* of that commit; 0: there was none */
        OsFile *snapshot; /* open for reading: it stays readable when a later checkpoint removes its name */
        uint64_t snapshot_bytes;
        char snapshot_name[SNAPSHOT_NAME_BYTES];
        struct {
                const EngineOps *ops;
                EngineBackup *backup;
        } engines[STORE_ENGINES_MAX];
        size_t engine_count; /* persistent ones */
} CheckpointBackup;
Status checkpoint_begin_backup(Store *store, CheckpointBackup *ret_backup);
void checkpoint_end_backup(CheckpointBackup *backup); /* zeros are fine */

/* --- throttle.c --- */
#define PRESSURE_START 65 /* a checkpoint begins */
/* By a writer that holds no lock: waits while the engine's cache is nearly full. When that cannot be helped: the
 * checkpoint's error. */
Status throttle_wait(Store *store, const StoreEngine *host);
/* In the middle of a commit, which found the cache full: waits until there is much room. */
Status throttle_room(Store *store, const StoreEngine *host);
bool throttle_full(const StoreEngine *host);
/* A checkpoint that began when `bytes` were logged took so long. */
void throttle_learn(Store *store, uint64_t bytes, uint64_t ns) REQUIRES(store->wake_mu);

/* --- commit.c --- */
void commits_free(Store *store);
/* A commit into a draft: `write` alone, without lock and log. Takes the write over if it succeeds. */
Status commit_begin_draft(StoreTable *table, EngineWrite *write, Commit **ret_commit);

/* --- read_point.c --- */
/* Before a commit is appended: the roots that it replaces are kept for the read points that may ask for them; and when
 * it could not be appended after all. */
void read_points_keep(Store *store, const Commit *commit) REQUIRES(store->commit_mu);
void read_points_unkeep(Store *store) REQUIRES(store->commit_mu);

#endif
