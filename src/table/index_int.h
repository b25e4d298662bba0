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
        bool unique;      /* no two rows have the same value */
        Bytes field;      /* data not NULL: the index of the times in this field, by which rows expire (ttl.c) */
        Bytes function;   /* saved; behind the struct */
        Closure *closure; /* NULL in one of times */
        /* --- while it is being built: any thread reads, the builder writes --- */
        int64_t started_us;
        uint64_t failures; /* the builder's alone */
        atomic_uint_fast64_t done_rows, total_rows;
} Index;
/* Loads the function: ERR_CORRUPT if it is none. */
Status index_new(uint32_t tree, const IndexSpec *spec, int64_t started_us, Index **ret_index) MUST_USE;
Status index_new_times(uint32_t tree, Bytes field, int64_t started_us, Index **ret_index) MUST_USE;
Index *index_ref(Index *index);
Index *index_unref(Index *index); /* NULL is fine; returns NULL */
double index_progress(Index *index);

/* When rows expire: `seconds` after the time in a field of theirs. */
typedef struct SchemaTtl {
        Index *index; /* of these times; NULL: rows do not expire */
        double seconds;
        bool ready; /* before that it is being built, and nothing expires */
} SchemaTtl;

struct Schema {
        atomic_uint refs;
        uint64_t version;  /* no two schemas of a run of the program have the same */
        uint64_t since;    /* position of the commit that brought it; 0: the start */
        size_t count;      /* indexes that users know */
        size_t tree_count; /* with the one of times behind them, if there is one */
        Index **indexes;   /* in order of name */
        IndexInfo *infos;  /* beside them; names and errors lie behind the struct */
        bool unique;       /* one of them is */
        SchemaTtl ttl;
        Bytes hook; /* the write hook's saved form; data NULL: none */
        Closure *hook_closure;
};
/* A schema as it is to be; everything is borrowed. */
typedef struct SchemaItem {
        Bytes name;
        Index *index;
        bool ready;
        Bytes error; /* data NULL: none */
} SchemaItem;
typedef struct SchemaSpec {
        SchemaItem *items; /* in any order: they are sorted */
        size_t count;
        Bytes hook; /* data NULL: none */
        Closure *hook_closure;
        SchemaTtl ttl;
} SchemaSpec;
Status schema_new(uint64_t version, const SchemaSpec *spec, Schema **ret_schema) MUST_USE;
/* What schema_new would take to make the same once more, `items` room for one more; items to be freed. */
Status schema_spec(const Schema *schema, SchemaSpec *ret_spec) MUST_USE;
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
/* The fields of a table's document, and back from that. */
typedef struct SchemaFields {
        Value indexes, ttl, write_hook;
} SchemaFields;
Status schema_encode(const Schema *schema, Arena *arena, SchemaFields *ret_fields) MUST_USE;
Status schema_decode(uint64_t version, Value doc, Schema **ret_schema) MUST_USE;
/* A tree that no index has. ERR_OP_FAILED: there are as many as there can be. */
Status schema_free_tree(const SchemaSpec *spec, uint32_t *ret_tree) MUST_USE;

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
        const Index *index; /* lives as long as the schema that was planned for */
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
/* Whether the row under `key` may get what `ops` give it: no other row, as the commit has them by now, has one of these
 * values in a unique index. *ret_duplicate: ST_OK, or the error that the row's writer is told (the caller's to free).
 * The table's writer lock is held. To be called before index_apply, and where several rows are to change at once as if
 * at one moment, after all of them were put and index_apply_removals was called for each: then two rows may swap
 * values. The status: ERR_NOMEM, ERR_IO and the like. `arena` may jump. */
Status index_check_unique(Commit *commit, const TableRef *table, const Schema *schema, Bytes key, const IndexOps *ops,
                          Arena *arena, Status *ret_duplicate) MUST_USE;
/* Another row than `key`'s that has the entry's value in the index, and that value in its own words; *ret_row V_NONE:
 * there is none. The same conditions. */
Status index_find_other(Commit *commit, const TableRef *table, const Index *index, Bytes key, const IndexEntry *entry,
                        Arena *arena, Value *ret_row, Value *ret_value) MUST_USE;
/* JSON for people: the beginning of a long one. */
Bytes index_value_text(Value value, Arena *arena);
/* The table's writer lock is held. */
Status index_apply(Commit *commit, StoreTable *store, const IndexOps *ops) MUST_USE;
/* A part of it: the entries that go. They may go twice. */
Status index_apply_removals(Commit *commit, StoreTable *store, const IndexOps *ops) MUST_USE;
/* The entries of one row in one index. */
Status index_entries_of(const Index *index, Bytes key, Value row, Arena *arena, IndexEntries *ret) MUST_USE;
/* The time in the row's field of an index of times, in seconds since 1970; false: it has none, and does not expire. */
bool index_row_time(const Index *index, Value row, double *ret_seconds);

/* --- index_read.c --- */
/* Its place in the schema. RethinkDB's errors: there is none, it is not ready, it is (not) geospatial. */
Status index_find(const TableRef *table, const Schema *schema, Bytes name, bool geo, size_t *ret_at) MUST_USE;
typedef struct IndexScan IndexScan;
/* `info` and `index` live as long as `schema`, which the scan keeps. */
Status index_scan_new(const TableRef *table, Snapshot *snapshot, Schema *schema, Bytes name, const KeyBounds *bounds,
                      bool descending, IndexScan **ret_scan) MUST_USE;
Status index_scan_new_geo(const TableRef *table, Snapshot *snapshot, Schema *schema, Bytes name, const GeoRange *ranges,
                          size_t count, IndexScan **ret_scan) MUST_USE;
/* The rest (query/source.h); `bounds` NULL: all. */
Status index_scan_new_rest(const TableRef *table, Snapshot *snapshot, Schema *schema, Bytes name, IndexRest which,
                           const KeyBounds *bounds, IndexScan **ret_scan) MUST_USE;
Status index_scan_next(IndexScan *scan, Arena *hold, Value *ret_row) MUST_USE;
Status index_scan_skip(IndexScan *scan, uint64_t n, uint64_t *ret_skipped) MUST_USE;
Status index_scan_value(IndexScan *scan, Arena *hold, Value *ret_value) MUST_USE;
Status index_scan_count(IndexScan *scan, uint64_t *ret_count) MUST_USE; /* of all; before the first next */
void index_scan_free(IndexScan *scan);                                  /* NULL is fine */

/* --- index_verify.c: do the entries of a table's indexes agree with its rows? --- */
typedef struct IndexVerify IndexVerify;
Status index_verify_new(Value table_document, IndexVerify **ret_verify) MUST_USE;
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
/* The commit that ends a build, either way; `ddl_mu` is not held. After the second the index has no entries any more,
 * and is there only to tell its error until it is dropped. */
Status index_make_ready(TableRef *table, const Index *index) MUST_USE;
Status index_make_failed(TableRef *table, const Index *index, Bytes error) MUST_USE;

#endif
