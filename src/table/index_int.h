/* index_int.h - inside table/: a table's indexes and write hook, and how writers, readers and the builder agree on
 * them.
 *
 * A Schema is what a table has at a moment: immutable, counted. The TableState of a table, shared by all its TableRefs,
 * names the present one. A change holds the table's writer lock and then the state's from before its commit, which
 * gives back the first, to after it; all that time the version is none. So
 *   a writer   that finds its schema's version under the writer lock knows which indexes its rows belong into. If it
 *              does not, it gives the lock back, waits for the change to end, and plans anew
 *   a reader   that saw the same version before and after it pinned a snapshot knows which indexes that has
 *   the builder is a writer: it never writes into a tree that has become another index's. */
#ifndef TABLE_INDEX_INT_H
#define TABLE_INDEX_INT_H

#include "index/entry.h"
#include "query/closure.h"
#include "table/table_int.h"

/* An index from its creation to its end, whatever its name: two are the same if their pointers are. Counted. */
typedef struct Index {
        atomic_uint refs;
        uint32_t tree; /* of the table in the store */
        IndexShape shape;
        Bytes function; /* saved; behind the struct */
        Closure *closure;
        /* --- while it is being built: any thread reads, the builder writes --- */
        int64_t started_us;
        uint64_t failures; /* the builder's alone */
        atomic_uint_fast64_t done_rows, total_rows;
} Index;
/* Loads the function: ERR_CORRUPT if it is none. */
Status index_new(uint32_t tree, IndexShape shape, Bytes function, int64_t started_us, Index **ret_index) MUST_USE;
Index *index_ref(Index *index);
Index *index_unref(Index *index); /* NULL is fine; returns NULL */
double index_progress(Index *index);

struct Schema {
        atomic_uint refs;
        uint64_t version; /* no two schemas of a run of the program have the same */
        size_t count;
        Index **indexes;  /* in order of name */
        IndexInfo *infos; /* beside them; names lie behind the struct */
        Bytes hook;       /* the write hook's saved form; data NULL: none */
        Closure *hook_closure;
};
/* A schema as it is to be; everything is borrowed. */
typedef struct SchemaItem {
        Bytes name;
        Index *index;
        bool ready;
} SchemaItem;
/* `items` in any order. `hook` data NULL: none. */
Status schema_new(uint64_t version, SchemaItem *items, size_t count, Bytes hook, Closure *hook_closure,
                  Schema **ret_schema) MUST_USE;
uint64_t schema_version(TableCatalog *catalog); /* the next one */
Schema *schema_ref(Schema *schema);
Schema *schema_unref(Schema *schema); /* NULL is fine; returns NULL */
static inline void schema_unrefp(Schema **schema)
{
        *schema = schema_unref(*schema);
}
/* Its place in the schema, or schema->count. */
size_t schema_find(const Schema *schema, Bytes name);
bool schema_has(const Schema *schema, const Index *index);
/* The fields of a table's document, and back. */
Status schema_encode(const Schema *schema, Arena *arena, Value *ret_indexes, Value *ret_hook) MUST_USE;
Status schema_decode(uint64_t version, Value indexes, Value hook, Schema **ret_schema) MUST_USE;

struct TableState {
        atomic_uint refs;
        atomic_uint_fast64_t version; /* of `schema`; 0: it is being changed */
        Mutex mu;                     /* order 15 in docs/locks.md */
        Schema *schema;               /* GUARDED_BY(mu) */
};
Status table_state_new(Schema *schema, TableState **ret_state) MUST_USE; /* takes a reference of its own */
TableState *table_state_ref(TableState *state);
TableState *table_state_unref(TableState *state); /* NULL is fine; returns NULL */
/* A new reference. Waits for a change to end, so the table's writer lock must not be held. */
Schema *table_state_schema(TableState *state);
/* Around the commit of a change; begun with the table's writer lock held. `schema` NULL: it stays as it was. */
void table_state_begin(TableState *state) ACQUIRE(state->mu);
void table_state_end(TableState *state, Schema *schema) RELEASE(state->mu);
static inline bool table_state_is(TableState *state, const Schema *schema)
{
        return atomic_load_explicit(&state->version, memory_order_acquire) == schema->version;
}

/* --- index_write.c: rows' entries --- */
typedef struct IndexOp {
        uint32_t tree;
        bool remove;
        IndexEntry entry;
} IndexOp;
typedef struct IndexOps {
        IndexOp *items;
        size_t count;
} IndexOps;
/* What becomes of the indexes' entries when the row under `key` (encoded) is `new_row` instead of `old_row` (V_NONE or
 * V_NULL: no row). In `arena`. Only ERR_NOMEM and the like. */
Status index_plan(const Schema *schema, Bytes key, Value old_row, Value new_row, Arena *arena, IndexOps *ret) MUST_USE;
/* The table's writer lock is held. */
Status index_apply(Commit *commit, StoreTable *store, const IndexOps *ops) MUST_USE;
/* The entries of one row in one index. */
Status index_entries_of(const Index *index, Bytes key, Value row, Arena *arena, IndexEntries *ret) MUST_USE;

/* --- index_read.c --- */
typedef struct IndexScan IndexScan;
/* `info` and `index` live as long as `schema`, which the scan keeps. */
Status index_scan_new(const TableRef *table, Snapshot *snapshot, Schema *schema, Bytes name, const KeyBounds *bounds,
                      bool descending, IndexScan **ret_scan) MUST_USE;
Status index_scan_new_geo(const TableRef *table, Snapshot *snapshot, Schema *schema, Bytes name, const GeoRange *ranges,
                          size_t count, IndexScan **ret_scan) MUST_USE;
Status index_scan_next(IndexScan *scan, Arena *hold, Value *ret_row) MUST_USE;
Status index_scan_skip(IndexScan *scan, uint64_t n, uint64_t *ret_skipped) MUST_USE;
Status index_scan_value(IndexScan *scan, Arena *hold, Value *ret_value) MUST_USE;
Status index_scan_count(IndexScan *scan, uint64_t *ret_count) MUST_USE; /* of all; before the first next */
void index_scan_free(IndexScan *scan);                                  /* NULL is fine */

/* --- index_verify.c: do the entries of a table's indexes agree with its rows? --- */
typedef struct IndexVerify IndexVerify;
/* `indexes` is the field of the table's document. */
Status index_verify_new(Value indexes, IndexVerify **ret_verify) MUST_USE;
IndexVerify *index_verify_free(IndexVerify *verify); /* NULL is fine; returns NULL */
/* In any order: each row, and each entry of a tree above 0. */
Status index_verify_row(IndexVerify *verify, Bytes key, Value row, Arena *arena) MUST_USE;
void index_verify_entry(IndexVerify *verify, uint32_t tree, Bytes key, Bytes value);
/* What is wrong with the i-th index, into `out`; *ret_name its name. False behind the last. Empty: nothing is. */
bool index_verify_result(const IndexVerify *verify, size_t i, Bytes *ret_name, char *out, size_t size);

/* --- index_ddl.c --- */
void index_ddl_fill(TableSource *source);

/* --- index_build.c --- */
/* Begins every unfinished index anew: before anything else is done with the tables. */
Status build_recover(TableCatalog *catalog) MUST_USE;
/* There is something to build. */
void build_wake(TableCatalog *catalog);
/* By hand, in a catalog without a thread: one commit, or none. *ret_more: there may be more to do. */
Status build_step(TableCatalog *catalog, bool *ret_more) MUST_USE;
Builder *builder_new(TableCatalog *catalog, bool by_hand);
Builder *builder_free(Builder *builder); /* NULL is fine; returns NULL */
/* The commit that ends a build; `ddl_mu` is not held. */
Status index_make_ready(TableRef *table, Index *index) MUST_USE;

#endif
