/* engine.h - what a storage engine is: ordered, counted trees of byte strings with snapshots, behind a struct of
 * functions.
 *
 * An engine holds tables; a table holds numbered trees (0 is the primary, the others are indexes) that always change
 * together: a commit publishes one new root for all of them. Engines know nothing of the log: storage/store.c applies a
 * write to the engine, appends it to the log and then publishes it, and replays the log into engines at start.
 *
 * Lifetime of what is read: a Bytes from get or a cursor lives until the snapshot is unpinned or `hold` is reset,
 * whichever comes first: an engine either points into memory that the snapshot pins or copies into `hold`. Threads:
 * snapshots are pinned, read and unpinned from any thread without waiting for a writer; a table has one writer at a
 * time (the caller sees to that). write_commit cannot fail.
 * Every Engine, EngineTable, EngineSnapshot, EngineWrite and EngineCursor begins with a field `const EngineOps *ops`
 * (EngineObject), so that whoever holds one can call its engine without a box of its own around it.
 * The struct is append-only: a new function goes at the end and engine_abi grows. */
#ifndef STORAGE_ENGINE_H
#define STORAGE_ENGINE_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/status.h"
#include "os/os.h"

#define ENGINE_ABI           1
#define ENGINE_MAX_KEY_BYTES 1024

typedef struct Engine Engine;
typedef struct EngineTable EngineTable;
typedef struct EngineSnapshot EngineSnapshot;
typedef struct EngineWrite EngineWrite;
typedef struct EngineCursor EngineCursor;
typedef struct EngineOps EngineOps;
typedef struct EngineObject {
        const EngineOps *ops;
} EngineObject;

/* Keys k with low <= k < high; data NULL means unbounded. */
typedef struct EngineRange {
        Bytes low, high;
} EngineRange;

typedef struct EngineStats {
        uint64_t row_count;      /* primary tree */
        uint64_t row_bytes;      /* keys and values, all trees */
        uint64_t memory_bytes;   /* taken from the heap, garbage not yet freed included */
        uint64_t snapshot_count; /* pinned now */
} EngineStats;

typedef struct EngineOptions {
        size_t memory_max_bytes; /* 0 = none; beyond it a put fails with ERR_LIMIT and the write can only be aborted */
} EngineOptions;

struct EngineOps {
        uint32_t abi;     /* ENGINE_ABI */
        const char *name; /* "memory" */

        Status (*open)(Os *os, const EngineOptions *options, Engine **ret_engine);
        void (*close)(Engine *engine); /* all tables dropped or forgotten, all snapshots unpinned before */

        Status (*table_create)(Engine *engine, uint64_t table_id, EngineTable **ret_table);
        /* No new snapshots or writes after this; memory goes when the last snapshot is unpinned. */
        void (*table_drop)(EngineTable *table);
        void (*table_stats)(EngineTable *table, EngineStats *ret_stats);
        void (*engine_stats)(Engine *engine, EngineStats *ret_stats);

        /* --- reading --- */
        Status (*pin)(EngineTable *table, EngineSnapshot **ret_snapshot);
        void (*unpin)(EngineSnapshot *snapshot);
        /* The position given to the write_commit that made this root; equal versions mean equal contents. */
        uint64_t (*version)(EngineSnapshot *snapshot);
        Status (*get)(EngineSnapshot *snapshot, uint32_t tree, Bytes key, Arena *hold, Bytes *ret_value,
                      bool *ret_found);
        Status (*count)(EngineSnapshot *snapshot, uint32_t tree, EngineRange range, uint64_t *ret_count);
        /* The row at place `n` (0 is the first) of the whole tree. */
        Status (*nth)(EngineSnapshot *snapshot, uint32_t tree, uint64_t n, Arena *hold, Bytes *ret_key,
                      Bytes *ret_value, bool *ret_found);
        /* A cursor before the first row of the range in its direction. The range's bytes are copied. It is closed
         * before the snapshot is unpinned. */
        Status (*cursor_open)(EngineSnapshot *snapshot, uint32_t tree, EngineRange range, bool descending,
                              EngineCursor **ret_cursor);
        Status (*cursor_next)(EngineCursor *cursor, Arena *hold, Bytes *ret_key, Bytes *ret_value, bool *ret_found);
        /* Passes over up to `n` rows in O(log rows); *ret_skipped is less only at the end. */
        Status (*cursor_skip)(EngineCursor *cursor, uint64_t n, uint64_t *ret_skipped);
        void (*cursor_close)(EngineCursor *cursor);

        /* --- writing --- */
        Status (*write_begin)(EngineTable *table, EngineWrite **ret_write);
        /* Sees what this write has done so far. The value is copied into `hold` (ERR_NOMEM when that cannot grow), so
         * that it outlives the write; ret_value and hold may both be NULL to ask only whether the row is there. */
        Status (*write_get)(EngineWrite *write, uint32_t tree, Bytes key, Arena *hold, Bytes *ret_value,
                            bool *ret_found);
        /* Key and value are copied. After an error the write can only be aborted. */
        Status (*write_put)(EngineWrite *write, uint32_t tree, Bytes key, Bytes value);
        Status (*write_delete)(EngineWrite *write, uint32_t tree, Bytes key, bool *ret_found);
        void (*write_commit)(EngineWrite *write, uint64_t position); /* publishes the new root; frees the write */
        void (*write_abort)(EngineWrite *write);                     /* NULL is fine */

        /* By a table's writer, after write_commit and outside of any shorter lock: may give memory back. */
        void (*table_tidy)(EngineTable *table);
};

extern const EngineOps engine_memory;
/* NULL if there is no engine of that name. */
const EngineOps *engine_find(const char *name);

#endif
