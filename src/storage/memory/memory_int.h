/* memory_int.h - the inside of the memory engine, shared by its .c files and its tests.
 *
 *      node.c    nodes and rows: search, insert, split, remove, merge; knows nothing of threads
 *      epoch.c   who reads what, and when garbage may go
 *      memory.c  the engine's functions: tables, snapshots, cursors, writes
 *
 * Pictures and invariants: README.md in this folder. */
#ifndef STORAGE_MEMORY_MEMORY_INT_H
#define STORAGE_MEMORY_MEMORY_INT_H

#include <stdatomic.h>

#include "base/mem.h"
#include "os/thread.h"
#include "storage/engine.h"

#define NODE_MAX   64 /* entries of a node */
#define NODE_MIN   16 /* fewer after a removal: merge or borrow */
#define NODE_MERGE 48 /* two neighbours with at most this many entries become one */
#define COMMON_MAX 48 /* bytes of common prefix that a node can leave out of its windows */
#define HEIGHT_MAX 16

/* A row of a leaf, or (value_size 0) a separator of an inner node. Never edited once it is in a tree. */
typedef struct Row {
        uint64_t birth; /* version of the write that made it; first field of every garbage kind */
        uint32_t key_size, value_size;
        uint8_t bytes[]; /* key, value */
} Row;

/* Entry i of a leaf is a row. Entry i of an inner node is a child with all keys >= rows[i] and < rows[i + 1]; rows[0]
 * of an inner node is NULL and stands for "below everything". */
typedef struct Node {
        uint64_t birth;
        uint16_t count;
        uint8_t level; /* 0 = leaf */
        uint8_t skip;  /* every key here begins with common[0 .. skip) */
        uint32_t reserved;
        uint8_t common[COMMON_MAX];
        uint64_t window[NODE_MAX]; /* bytes skip .. skip+8 of the key, big-endian, zeros behind a short key */
        Row *rows[NODE_MAX];
} Node;
typedef struct Inner {
        Node node;
        Node *children[NODE_MAX];
        uint64_t counts[NODE_MAX]; /* rows under each child */
} Inner;

typedef struct Tree {
        uint32_t id;
        Node *top;             /* NULL = empty */
        uint64_t count, bytes; /* rows; keys and values */
} Tree;

/* A tree that was cleared, whole: no snapshot reads it when it is freed. */
typedef struct Cleared {
        uint64_t birth; /* 0: older than any reader */
        Node *top;
        struct Cleared *next; /* of EngineTable.doomed */
} Cleared;

/* What a commit publishes and a snapshot pins. Immutable once published. */
typedef struct Root {
        uint64_t version;  /* of this table, one more with each commit; first field, as birth */
        uint64_t position; /* in the log */
        uint32_t tree_count, tree_capacity;
        Tree trees[]; /* ascending by id */
} Root;

typedef enum GarbageKind { GARBAGE_ROW, GARBAGE_LEAF, GARBAGE_INNER, GARBAGE_ROOT, GARBAGE_CLEARED } GarbageKind;
typedef struct Garbage {
        uintptr_t tagged; /* pointer | GarbageKind: what mem_alloc gives is aligned to 16 */
        uint64_t death;   /* the first version that does not reach it */
} Garbage;
#define GARBAGE_MASK ((uintptr_t)7)
typedef struct GarbageList {
        Garbage *items;
        size_t count, capacity;
} GarbageList;
/* Garbage that the snapshots of one version keep alive. */
typedef struct Holder {
        uint64_t version;
        GarbageList list;
} Holder;

/* State of a slot:  0 idle | 1 entering | version << 2 | 2 pinned | version << 2 | 3 pinned and holding garbage.
 *
 *      idle --slot_take--> entering --memory_pin--> pinned --memory_unpin--> idle
 *                                                      \--epoch_reclaim--> holding --memory_unpin: frees it--> idle  */
#define SLOT_IDLE        0
#define SLOT_ENTERING    1
#define SLOT_PINNED      2
#define SLOT_HOLDING     3
#define SLOT_CHUNK       64
#define SLOT_CHUNKS      4096
#define CACHE_LINE_BYTES 64

struct EngineSnapshot {
        const EngineOps *ops;
        _Atomic uint64_t state;
        EngineTable *_Atomic table;
        const Root *root;
        unsigned index;
} __attribute__((aligned(CACHE_LINE_BYTES)));

struct Engine {
        const EngineOps *ops;
        size_t memory_max_bytes;
        atomic_size_t memory_bytes;
        /* slots: added, never removed */
        struct EngineSnapshot *_Atomic chunks[SLOT_CHUNKS];
        atomic_uint slot_count;          /* slots that exist */
        atomic_uint slot_high;           /* no slot from here on was ever taken */
        Mutex mu;                        /* order 60 in docs/locks.md */
        void *chunk_memory[SLOT_CHUNKS]; /* GUARDED_BY(mu) */
        EngineTable *tables;             /* GUARDED_BY(mu); doubly linked */
};

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define NODE_CACHE_MAX 0 /* the sanitizers must see every free */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define NODE_CACHE_MAX 0
#endif
#endif
#ifndef NODE_CACHE_MAX
#define NODE_CACHE_MAX 64
#endif
typedef struct NodeCache {
        Node *nodes[NODE_CACHE_MAX + 1];
        unsigned count;
} NodeCache;

/* The running write of a table; lives in the table, as there is one at a time. */
struct EngineWrite {
        const EngineOps *ops;
        EngineTable *table;
        Root *root;           /* private until commit */
        uint64_t version;     /* what this write makes has this birth */
        size_t fresh_mark;    /* garbage of earlier commits ends here */
        size_t garbage_bytes; /* of what this write replaced */
        int64_t bytes_delta;  /* heap taken less given back, not yet in the table's and engine's sums */
};

struct EngineTable {
        const EngineOps *ops;
        Engine *engine;
        uint64_t id;
        EngineTable *next, *previous; /* GUARDED_BY(engine->mu) */
        Cleared *doomed;              /* GUARDED_BY(engine->mu): nobody reads them; freed bit by bit */
        atomic_bool has_doomed;       /* a hint */
        /* --- any thread --- */
        Root *_Atomic root;
        atomic_size_t memory_bytes;
        atomic_uint_fast64_t row_count, row_bytes; /* of the published root, for statistics */
        atomic_bool gc_busy;                       /* a hint: somebody works through much garbage under gc_mu */
        Mutex gc_mu;                               /* order 50 in docs/locks.md */
        Holder *holders;                           /* GUARDED_BY(gc_mu); ascending by version */
        size_t holder_count, holder_capacity;
        uint64_t scan_version; /* GUARDED_BY(gc_mu): the newest version when pins were looked at last */
        bool dropped;          /* GUARDED_BY(gc_mu) */
        uint64_t *pins;        /* GUARDED_BY(gc_mu): scratch */
        size_t pin_capacity;
        /* --- the writer only --- */
        EngineWrite write;
        bool writing;
        GarbageList fresh; /* not yet looked at, or kept by a brief reader */
        size_t fresh_bytes;
        NodeCache leaves, inners;
};

/* --- node.c --- */
typedef struct PathStep {
        Node *node;
        unsigned index;
} PathStep;

static inline Bytes row_key(const Row *row)
{
        return BYTES(row->bytes, row->key_size);
}
static inline Bytes row_value(const Row *row)
{
        return BYTES(row->bytes + row->key_size, row->value_size);
}
static inline Inner *node_inner(const Node *node)
{
        return (Inner *)(uintptr_t)node;
}
size_t garbage_bytes(uintptr_t tagged);
uint64_t node_rows(const Node *node); /* rows under it */

const Row *tree_find(const Tree *tree, Bytes key); /* NULL if absent */
uint64_t tree_rank(const Tree *tree, Bytes key);   /* rows with a smaller key */
/* Fills path[0 .. depth) from the top to the leaf of row `n` < tree->count; returns the depth. */
unsigned tree_seek(const Tree *tree, uint64_t n, PathStep path[HEIGHT_MAX]);
/* Puts or replaces. After an error the tree can only be given to tree_discard. */
Status tree_put(EngineWrite *write, Tree *tree, Bytes key, Bytes value);
Status tree_delete(EngineWrite *write, Tree *tree, Bytes key, bool *ret_found);
void tree_discard(EngineWrite *write, Tree *tree); /* frees what the running write made */
void tree_free(EngineTable *table, Tree *tree);    /* frees all */
/* Empties it: what others can see becomes garbage, what the running write made goes. After an error the tree is as it
 * was, but the write can only be aborted. */
Status tree_clear(EngineWrite *write, Tree *tree);
/* Frees up to `most` nodes (and a few more) under *top, which nobody reads, and sets it to NULL after the last. Returns
 * the bytes. */
size_t node_free_some(EngineTable *table, Node **top, size_t *most);
/* Asserts every invariant of README.md. */
void tree_check(const Tree *tree);

Tree *root_tree(const Root *root, uint32_t id); /* NULL if absent */
uint64_t root_bytes(const Root *root);          /* keys and values of all trees */

/* --- epoch.c --- */
Status slot_take(Engine *engine, struct EngineSnapshot **ret_slot);
/* Ends a pin; frees the garbage that only it was holding. */
void slot_unpin(struct EngineSnapshot *slot);
/* The object dies with the running write's commit. */
Status garbage_push(EngineWrite *write, void *object, GarbageKind kind);
/* Gives the heap back one object; `writer` says that the caller is the table's writer. Returns the bytes. */
size_t garbage_free(EngineTable *table, uintptr_t tagged, bool writer);
/* Frees what nobody can reach any more. By the writer: its fresh garbage too. */
void epoch_reclaim(EngineTable *table, bool writer);
/* Frees some of the table's cleared trees that nobody reads; false when none are left. */
bool epoch_free_doomed(EngineTable *table, size_t most_nodes) REQUIRES(table->engine->mu);
#define DOOMED_NODES 64u /* in one go: tens of microseconds */
/* By the writer after a commit: reclaims when it is worth it. */
void epoch_tidy(EngineTable *table);
unsigned epoch_pin_count(Engine *engine, const EngineTable *table); /* table NULL: of all tables */
void memory_table_free(EngineTable *table); /* the table and all it holds; nobody reads or writes it */
void table_account(EngineTable *table, int64_t bytes);

#endif
