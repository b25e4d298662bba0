/* draft_int.h - what draft.c (a draft's life, writing) and draft_read.c (its snapshots and cursors) share. */
#ifndef STORAGE_DRAFT_INT_H
#define STORAGE_DRAFT_INT_H

#include "base/map.h"
#include "storage/draft.h"
#include "storage/store_int.h"

typedef enum ChangeKind { CHANGE_NEW, CHANGE_REPLACED, CHANGE_DELETED } ChangeKind;
typedef enum TreeKind { TREE_CHANGED, TREE_ADDED, TREE_REMOVED } TreeKind;

#define TREES_OF_KIND  (STORE_TREES_MAX + 1)
#define TREES_OF_TABLE (3 * TREES_OF_KIND)
#define NEW_VERSIONS   ((uint64_t)1 << 63) /* no position is as large */

struct DraftTable {
        Draft *draft;
        StoreTable *table; /* counted */
        KeptRoot *root;
        uint32_t first_tree; /* in the changes */
        bool changed;
        /* --- with note_reads --- */
        atomic_bool ranged; /* more was read than rows by key */
        Mutex reads_mu;     /* a leaf */
        Map *reads;         /* GUARDED_BY(reads_mu): keys of rows read */
};

struct Draft {
        atomic_uint refs; /* the owner's and one for each snapshot */
        Store *store;
        ReadPoint *point; /* NULL once closed */
        uint64_t position, version;
        DraftOptions options;
        Engine *engine;       /* NULL until something changes */
        EngineTable *changes; /* the same */
        DraftTable **tables;
        size_t table_count, table_capacity;
};

typedef struct DraftSnapshot { /* an EngineSnapshot by its look */
        const EngineOps *ops;
        DraftTable *table;
        EngineSnapshot *beneath;
        EngineSnapshot *changes; /* NULL: none of this table */
        uint64_t version;
} DraftSnapshot;

/* The engine of the changes, and the operations of DraftSnapshot and its cursors. */
#define changes_ops engine_memory
extern const EngineOps draft_read_ops;

static inline const EngineOps *draft_ops_of(const void *object)
{
        return ((const EngineObject *)object)->ops;
}

static inline uint32_t draft_tree(const DraftTable *table, TreeKind kind, uint32_t tree)
{
        return table->first_tree + (uint32_t)kind * TREES_OF_KIND + tree;
}

static inline EngineSnapshot *draft_root(const DraftTable *table)
{
        return (EngineSnapshot *)kept_root_snapshot(table->root);
}

static inline Bytes changed_value(Bytes changed, ChangeKind *ret_kind)
{
        *ret_kind = (ChangeKind)changed.data[changed.size - 1];
        return BYTES(changed.data, changed.size - 1);
}

/* The smallest key above `key`, in a caller's buffer of ENGINE_MAX_KEY_BYTES + 1. */
static inline Bytes after_key(Bytes key, uint8_t *buffer)
{
        memcpy(buffer, key.data, key.size);
        buffer[key.size] = 0;
        return BYTES(buffer, key.size + 1);
}

/* In the root alone. */
Status draft_beneath_get(const DraftTable *table, uint32_t tree, Bytes key, Arena *hold, Bytes *ret_value,
                         bool *ret_found) MUST_USE;
/* For draft_check_reads: a row was read by its key; anything else was. */
Status draft_note_key(DraftTable *table, Bytes key) MUST_USE;
void draft_note_range(DraftTable *table);
void draft_unref(Draft *draft);

#endif
