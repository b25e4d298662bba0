/* engine.h - what a storage engine is: ordered, counted trees of byte strings with snapshots, behind a struct of
 * functions.
 *
 * An engine holds tables; a table holds numbered trees (0 is the primary, the others are indexes) that always change
 * together: a commit publishes one new root for all of them. Engines know nothing of the log: storage/store.c applies a
 * write to the engine, appends it to the log and then publishes it, and replays the log into engines at start.
 *
 * A *persistent* engine keeps its tables in files of its own, as of its last checkpoint; the log holds what came after.
 * The rows of one that is not persistent are kept by the store in snapshot files.
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
#include "base/histogram.h"
#include "base/memo.h"
#include "base/status.h"
#include "os/os.h"

#define ENGINE_ABI           4
#define ENGINE_MAX_KEY_BYTES 1024

typedef struct Engine Engine;
typedef struct EngineTable EngineTable;
typedef struct EngineSnapshot EngineSnapshot;
typedef struct EngineWrite EngineWrite;
typedef struct EngineCursor EngineCursor;
typedef struct EngineBackup EngineBackup;
typedef struct EngineOps EngineOps;
typedef struct EngineObject {
        const EngineOps *ops;
} EngineObject;

/* Keys k with low <= k < high; data NULL means unbounded. */
typedef struct EngineRange {
        Bytes low, high;
} EngineRange;

/* Sizes in bytes. What an engine does not have is 0. */
typedef struct EngineStats {
        uint64_t row_count;      /* primary trees */
        uint64_t row_bytes;      /* keys and values, all trees; `slab`: values as stored, which is packed */
        uint64_t memory_bytes;   /* taken from the heap, garbage not yet freed included */
        uint64_t snapshot_count; /* pinned now */
        /* --- of an engine as a whole --- */
        uint64_t cache_bytes, cache_max_bytes; /* nodes, values and memos in memory */
        uint64_t memo_bytes;                   /* of these, memos */
        uint64_t dirty_bytes, dirty_max_bytes; /* of these, not yet in the file */
        uint64_t hit_count, read_count;        /* looked for in the cache and found; read from the file */
        uint64_t evicted_count;
        uint64_t file_bytes; /* = the sum of the next four */
        uint64_t live_bytes, waiting_bytes, free_bytes, metadata_bytes;
        uint64_t checkpoint_position, checkpoint_count;
        uint64_t checkpoint_ns_last, checkpoint_bytes_last; /* how long the last one took, what it wrote */
        Histogram sync_ns;                                  /* of the engine's own files */
} EngineStats;
typedef struct EngineSpaceClass {
        uint32_t extent_bytes; /* 0: large ones, of any size */
        uint64_t slab_count, live_count, waiting_count, free_count, live_bytes, waiting_bytes;
} EngineSpaceClass;

/* A leaf that a cursor stands in. */
typedef struct EngineBlock {
        uint32_t total;        /* its rows */
        uint32_t first, count; /* those within the cursor's range; count 0: at the end */
} EngineBlock;

typedef struct EngineOptions {
        Os *os;
        OsDir *dir;              /* the data directory, for persistent engines; borrowed, outlives the engine */
        size_t memory_max_bytes; /* engines without files: 0 = none; beyond it a put fails with ERR_LIMIT */
        size_t cache_max_bytes;  /* engines with files: a hard budget; 0 = none */
        uint64_t file_max_bytes; /* 0 = none; beyond it ERR_NO_SPACE */
} EngineOptions;

/* A table's root, to be made durable. */
typedef struct EngineRoot {
        EngineTable *table;
        EngineSnapshot *snapshot;
} EngineRoot;

/* What a check tells as it goes. Every function may be NULL; an error of one ends the check. */
typedef struct EngineCheck {
        void *ctx;
        Status (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes);
        /* Something is wrong; the text names file, offset and what. The check goes on where it can. */
        Status (*problem)(void *ctx, const char *text);
        Status (*table)(void *ctx, uint64_t table_id, const char *engine, uint64_t row_count);
        Status (*row)(void *ctx, uint64_t table_id, uint32_t tree, Bytes key, Bytes value); /* ascending */
        /* First of all: the position of the checkpoint that is walked (stored_position). Not called if there is none
         * that can be read. */
        Status (*checkpoint)(void *ctx, uint64_t position);
        /* Behind a problem that makes rows of this table unreadable or wrong; `table` is called for it all the same,
         * with what could be counted. */
        Status (*damaged)(void *ctx, uint64_t table_id);
} EngineCheck;

struct EngineOps {
        uint32_t abi;     /* ENGINE_ABI */
        const char *name; /* "memory" */
        /* NULL, or the engine in whose Engine (files, cache, checkpoints) this one's tables live too: then only
         * the functions of tables, snapshots, writes and cursors are called of this struct, and `table_create`
         * with the host's Engine. */
        const EngineOps *host;
        bool persistent;

        Status (*open)(const EngineOptions *options, Engine **ret_engine);
        void (*close)(Engine *engine); /* all tables dropped or closed, all snapshots unpinned before */

        Status (*table_create)(Engine *engine, uint64_t table_id, EngineTable **ret_table);
        /* Its drop was committed at `position`: checkpoints of that position and later ones are without it. NULL is
         * fine for an engine that is not persistent. The last call before table_drop. */
        void (*table_dropped)(EngineTable *table, uint64_t position);
        /* No new snapshots or writes after this; memory (and space in files) goes when the last snapshot is unpinned.
         * Without table_dropped before: the table was never committed, or the engine is about to be closed and the
         * table stays in its files. */
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
        /* Keys that cut the range into `parts` of about equal size: up to parts - 1, ascending. */
        Status (*split)(EngineSnapshot *snapshot, uint32_t tree, EngineRange range, size_t parts, Arena *hold,
                        Bytes *ret_keys, size_t *ret_count);

        /* --- writing --- */
        Status (*write_begin)(EngineTable *table, EngineWrite **ret_write);
        /* Sees what this write has done so far. The value is copied into `hold` (ERR_NOMEM when that cannot grow), so
         * that it outlives the write; ret_value and hold may both be NULL to ask only whether the row is there. */
        Status (*write_get)(EngineWrite *write, uint32_t tree, Bytes key, Arena *hold, Bytes *ret_value,
                            bool *ret_found);
        /* Key and value are copied. After an error the write can only be aborted. */
        Status (*write_put)(EngineWrite *write, uint32_t tree, Bytes key, Bytes value);
        Status (*write_delete)(EngineWrite *write, uint32_t tree, Bytes key, bool *ret_found);
        /* All that a commit needs and that can fail; after it only commit or abort. NULL: nothing to do. */
        Status (*write_prepare)(EngineWrite *write);
        void (*write_commit)(EngineWrite *write, uint64_t position); /* publishes the new root; frees the write */
        void (*write_abort)(EngineWrite *write);                     /* NULL is fine */

        /* By a table's writer, after write_commit and outside of any shorter lock: may give memory back. */
        void (*table_tidy)(EngineTable *table);

        /* --- persistent engines only: NULL in others --- */
        /* The newest durable checkpoint; 0: none. */
        uint64_t (*stored_position)(Engine *engine);
        /* Its tables, in order of id. `position`: what the table's root holds; less than stored_position only where
         * nothing happened in between, or for a table that was damaged. */
        Status (*stored_each)(Engine *engine,
                              Status (*each)(void *ctx, uint64_t table_id, const EngineOps *ops, uint64_t position),
                              void *ctx);
        /* One of them. ERR_CORRUPT: its root is damaged; others can be opened all the same, and *ret_table is set for
         * table_dropped and table_drop alone, so that it can be got rid of. */
        Status (*table_open)(Engine *engine, uint64_t table_id, EngineTable **ret_table);
        /* Makes a checkpoint of `position` durable: these roots, which are all that changed since the last one, and of
         * all other tables what the last one had. The caller has made the log durable up to `position`. Runs beside
         * readers and writers; one at a time. After ERR_NO_SPACE it may be repeated, after another error too; when a
         * failed sync made that impossible, every later one fails, writes are refused, and the error says that a
         * restart recovers from the log. */
        Status (*checkpoint)(Engine *engine, uint64_t position, const EngineRoot *roots, size_t count);
        /* How full of dirty nodes the engine is, 0 .. 100; at 100 a put fails with ERR_LIMIT. Lock-free. */
        unsigned (*pressure)(Engine *engine);
        /* Work that waits (dictionaries to train), by the checkpoint thread now and then; NULL: none. Also of engines
         * that are not persistent (memory to be given back). */
        Status (*maintain)(Engine *engine);
        /* The newest checkpoint is kept whole until backup_end, whatever happens meanwhile. Not beside a checkpoint. */
        Status (*backup_begin)(Engine *engine, EngineBackup **ret_backup);
        /* Copies it into `to`, durable; a data directory with these files and no log opens as that checkpoint.
         * Beside anything. */
        Status (*backup_copy)(EngineBackup *backup, OsDir *to,
                              Status (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes), void *ctx);
        void (*backup_end)(EngineBackup *backup); /* NULL is fine */
        /* Walks everything in the files of options->dir (OS_DIR_READ), which no process has open, and writes nothing.
         * An error is one of reading or of a callback; what is damaged goes to check->problem. */
        Status (*check)(const EngineOptions *options, const EngineCheck *check);
        /* Space by class, smallest first, the large ones last. */
        size_t (*space_classes)(Engine *engine, EngineSpaceClass *ret_classes, size_t max);

        /* --- ABI 3 --- */
        /* Empties a tree (not 0) within this write, in O(1) as far as the writer's time goes. After an error the write
         * can only be aborted. */
        Status (*write_clear)(EngineWrite *write, uint32_t tree);
        /* The first tree >= `tree` that has rows; false if there is none. */
        bool (*next_tree)(EngineSnapshot *snapshot, uint32_t tree, uint32_t *ret_tree);

        /* --- ABI 4: ascending cursors by leaves, instead of cursor_next and cursor_skip. NULL: by rows only --- */
        /* The next leaf. It stays in memory with its rows and memos until the next call, or cursor_close. After an
         * error the cursor is where it was, and stands in no leaf. */
        Status (*cursor_block)(EngineCursor *cursor, EngineBlock *ret_block);
        /* The value of row i < total, also outside of the range: where it lies, or read into `hold`. */
        Status (*block_row)(EngineCursor *cursor, uint32_t i, Arena *hold, Bytes *ret_value);
        /* What is remembered of the leaf under this key; NULL if nothing is. */
        const Memo *(*block_memo)(EngineCursor *cursor, uint64_t key);
        /* Takes the memo over. Returns the one that is remembered from now on: it, or another of the same key that was
         * there before, or NULL if there is no room (it is freed then). */
        const Memo *(*block_remember)(EngineCursor *cursor, Memo *memo);
        /* The first row within the range, what this write has done so far included; both copied into `hold`. O(log n).
         */
        Status (*write_first)(EngineWrite *write, uint32_t tree, EngineRange range, Arena *hold, Bytes *ret_key,
                              Bytes *ret_value, bool *ret_found);
};

extern const EngineOps engine_memory, engine_btree, engine_slab;
/* NULL if there is no engine of that name. */
const EngineOps *engine_find(const char *name);
/* The i-th, NULL behind the last. */
const EngineOps *engine_at(size_t i);

#endif
