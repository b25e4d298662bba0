/* store_int.h - the inside of a store, shared by
 *      store.c       open, close, tables, reading, durability
 *      commit.c      writing
 *      recovery.c    from the files back to tables
 *      checkpoint.c  snapshot files, and cutting the log */
#ifndef STORAGE_STORE_INT_H
#define STORAGE_STORE_INT_H

#include <stdatomic.h>

#include "base/map.h"
#include "os/thread.h"
#include "storage/log/wal.h"
#include "storage/store.h"

#define WATCH_MAX 64

struct StoreTable {
        Store *store;
        uint64_t id;
        const EngineOps *ops;
        EngineTable *engine_table;
        atomic_uint refs;    /* one is the catalog's while the table is in it */
        atomic_bool visible; /* its creation is committed */
        atomic_bool dropped;
        Mutex mu; /* order 10 in docs/locks.md: the writer's; ascending by id */
        /* --- recovery only --- */
        EngineWrite *replay;
        uint64_t replay_position;
};

typedef struct CommitTable {
        StoreTable *table;
        EngineWrite *write;
        bool created, dropped;
} CommitTable;

#define COMMIT_INLINE_TABLES 4
struct Commit {
        Store *store;
        Commit *next_free;
        CommitTable *tables; /* inline_tables, or from the heap */
        size_t table_count, table_capacity;
        CommitTable inline_tables[COMMIT_INLINE_TABLES];
        Buf body;    /* records for the log */
        bool broken; /* a change failed half-way: only abort is left */
};

struct StoreWatch {
        Store *store;
        void (*changed)(void *ctx); /* GUARDED_BY(store->watch_mu); NULL: free */
        void *ctx;
};

struct Store {
        StoreOptions options;
        Os *os;
        OsDir *dir, *log_dir;
        Wal *wal;
        Engine *memory; /* one engine instance; by name when there are more */
        uint64_t replay_ns;

        Mutex commit_mu;            /* order 20: append and publish are one step (store I2) */
        Mutex catalog_mu;           /* order 30 */
        NumMap *tables;             /* GUARDED_BY(catalog_mu): id -> StoreTable, also those not yet committed */
        Mutex free_mu;              /* order 70 */
        Commit *free_commits;       /* GUARDED_BY(free_mu) */
        unsigned free_commit_count; /* GUARDED_BY(free_mu) */
        atomic_uint_fast64_t commit_count;

        Mutex watch_mu; /* order 90 */
        StoreWatch watches[WATCH_MAX];

        Mutex checkpoint_mu; /* order 5: one checkpoint at a time */
        atomic_uint_fast64_t snapshot_position;
        Mutex wake_mu; /* order 95 */
        Cond wake;
        bool wanted, closing;        /* GUARDED_BY(wake_mu) */
        StatusCode checkpoint_error; /* GUARDED_BY(wake_mu); ERR_NONE: the last one worked */
        char checkpoint_text[512];   /* GUARDED_BY(wake_mu) */
        Thread thread;
        bool thread_started;
};

/* A record of a frame's body; several follow each other without padding.
 *   0      1   2          4            8          16
 *   | kind | 0 | key_size | value_size | table_id | key ... | value ...
 *   create: the key is the engine's name. delete, drop: no value. drop: no key. */
#define RECORD_BYTES 16
typedef enum RecordKind { RECORD_PUT = 1, RECORD_DELETE = 2, RECORD_CREATE = 3, RECORD_DROP = 4 } RecordKind;

static inline void store_table_unrefp(StoreTable **table)
{
        *table = store_table_unref(*table);
}
/* An empty table outside of the catalog; the caller's reference. */
Status table_new(Store *store, uint64_t id, const char *engine, StoreTable **ret_table);
/* All committed tables in order of id, each referenced; the array is the caller's to mem_free. */
Status tables_list(Store *store, StoreTable ***ret_tables, size_t *ret_count);
/* Drops all tables and forgets them. */
void tables_clear(Store *store);

/* Loads the newest snapshot and opens the log; sets store->wal, last positions and tables. */
Status recovery_run(Store *store);

void checkpoint_thread(void *arg);
void checkpoint_want(Store *store); /* from the log thread: checks the budget, wakes the thread */
Status checkpoint_remove_older(Store *store, uint64_t position);

void commits_free(Store *store);

#endif
