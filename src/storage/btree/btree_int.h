/* btree_int.h - the inside of the engines `btree` and `slab`, shared by
 *      btree.c        opening, tables, reading, writing: what both have in common
 *      documents.c    what a table of `slab` has more: dictionaries
 *      checkpoint.c   roots of tables, drops and purges into a checkpoint of the page file
 *      backup.c check.c
 *
 * An EngineSnapshot, EngineWrite or EngineCursor is the tree's own object (PTreeOptions.face): nothing is allocated
 * around it. */
#ifndef STORAGE_BTREE_BTREE_INT_H
#define STORAGE_BTREE_BTREE_INT_H

#include <stdatomic.h>

#include "base/mem.h"
#include "os/thread.h"
#include "storage/btree/pagefile.h"
#include "storage/slab/codec.h"
#include "storage/engine.h"

/* Trees from here on are the engine's own; this one has the dictionaries of a table of `slab`. */
#define PRIVATE_TREES  0x80000000u
#define DOCUMENTS_TREE PRIVATE_TREES

typedef struct Documents Documents;

/*      created -- in a checkpoint: has a row --+
 *      opened (has a row) ---------------------+-- table_dropped, table_drop --> in engine->dropped
 *      without table_dropped: table_drop --> gone, or (pinned) engine->leaving         |
 *                 a checkpoint >= drop_position: pinned -> a row that says "dropped" <--+
 *                                         not pinned -> ptree_free, no row; gone when that is durable */
struct EngineTable {
        const EngineOps *ops;
        Engine *engine;
        uint64_t id;
        PTree *tree;          /* NULL: its space was given back, or it is damaged */
        bool damaged;         /* its root cannot be read: good for a drop only */
        Documents *documents; /* NULL: btree */
        /* --- GUARDED_BY(engine->mu) --- */
        EngineTable *next, *previous; /* of engine->tables */
        EngineTable *drop_next;       /* of dropped or leaving */
        /* --- */
        _Atomic uint64_t drop_position; /* 0: not dropped */
        atomic_bool gone;               /* table_drop was called: no more pins and writes */
        /* --- the checkpoint thread's --- */
        bool has_row;           /* as a table that lives */
        bool released;          /* dropped, and its tree given back */
        atomic_bool in_dead;    /* in engine->with_dead: not freed as long */
        EngineTable *dead_next; /* of it */
};

/* A row of the directory that an earlier process left behind: dropped, not yet freed. */
typedef struct Purge {
        PageRow row;
        bool freed;
} Purge;

struct Engine {
        const EngineOps *ops;
        Os *os;
        OsDir *dir;
        size_t cache_max_bytes;
        PageFile *file; /* NULL: a checker's */
        PCache *cache;  /* the file's */
        CodecPool *codecs;
        atomic_size_t sample_bytes; /* of all tables */
        atomic_bool training;       /* some table has enough samples */
        Mutex mu;                   /* order 60 in docs/locks.md */
        /* --- GUARDED_BY(mu) --- */
        EngineTable *tables, *dropped, *leaving;
        uint64_t checkpoint_ns_last, checkpoint_bytes_last;
        /* --- the checkpoint thread's --- */
        EngineTable *with_dead; /* tables that had dead extents, or cleared trees, at the last checkpoint */
        Purge *purges;
        size_t purge_count;
        bool purges_known;
};

/* --- btree.c --- */
const EngineOps *row_engine_ops(RowEngine engine);
RowEngine ops_row_engine(const EngineOps *ops);
/* A table on a root; not yet in engine->tables. */
MUST_USE Status table_make(Engine *engine, const EngineOps *ops, uint64_t id, PTreeAddress root,
                           EngineTable **ret_table);
/* No snapshots. */
void table_done(EngineTable *table);
void table_free(EngineTable *table); /* takes it out of engine->tables before */

/* --- checkpoint.c --- */
/* The next checkpoints look whether it has extents to be written down, or to be given back. */
void dead_watch(Engine *engine, EngineTable *table);
Status btree_checkpoint(Engine *engine, uint64_t position, const EngineRoot *roots, size_t count) MUST_USE;

/* --- documents.c --- */
/* For a table of `slab`: completes the options of its tree. */
MUST_USE Status documents_new(Engine *engine, PTreeOptions *options, Documents **ret_documents);
void documents_attach(Documents *documents, PTree *tree); /* NULL is fine */
Documents *documents_free(Documents *documents);          /* NULL is fine; returns NULL */
size_t documents_bytes(Documents *documents);
/* ptree_write_begin, and the end of that write. */
MUST_USE Status documents_begin(Documents *documents, PWrite **ret_write);
void documents_end(Documents *documents, bool committed);
MUST_USE Status btree_maintain(Engine *engine);

/* --- backup.c --- */
MUST_USE Status btree_backup_begin(Engine *engine, EngineBackup **ret_backup);
MUST_USE Status btree_backup_copy(EngineBackup *backup, OsDir *to,
                                  Status (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes), void *ctx);
void btree_backup_end(EngineBackup *backup);

/* --- check.c --- */
MUST_USE Status btree_check(const EngineOptions *options, const EngineCheck *check);

#endif
