/* table_int.h - inside table/: the catalog's memory, table references, and the seam between ordinary and system tables.
 *
 * Who may touch what:
 *   ddl_mu      one change of names and settings at a time, from reading the old state to publishing the new one
 *   names       the two maps below; read with the calling thread's slot locked, changed with all slots locked
 *   TableRef    immutable but for its count: a change of settings publishes a new TableRef over the same store table */
#ifndef TABLE_TABLE_INT_H
#define TABLE_TABLE_INT_H

#include <stdatomic.h>

#include "base/map.h"
#include "base/mem.h"
#include "os/thread.h"
#include "table/table.h"

#define CATALOG_TABLE_ID TABLE_CATALOG_ID
#define FIRST_TABLE_ID   16 /* ids below are ours */
#define CATALOG_FORMAT   3
#define DEFAULT_ENGINE   "btree"
#define NAMES_SLOTS      16
#define MAX_SHARDS       32

#define SYSTEM_DB       "rethinkdb"
#define SYSTEM_DB_ID    "b99b9572-8e53-5fef-9a2b-5e6aba3edf1c"
#define UUID_TEXT_BYTES 36

typedef struct Database {
        char id[UUID_TEXT_BYTES + 1];
        char *name;
} Database;

typedef struct SystemTable SystemTable; /* system_int.h: one table of database `rethinkdb` */
typedef struct ServerConfig ServerConfig;
typedef struct Schema Schema;           /* index_int.h: indexes and write hook of a table at a moment; counted */
typedef struct TableState TableState;   /* the same: of a table, now; counted */
typedef struct Builder Builder;         /* index_build.c */
typedef struct Expirer Expirer;         /* ttl.c */
typedef struct TableCounts TableCounts; /* rows read and written, for `stats`; counted */

struct TableRef {
        atomic_uint refs;
        TableCatalog *catalog;
        TableInfo info;     /* its texts lie behind the struct */
        Database *database; /* ordinary tables; under ddl_mu only, while the table is in the map */
        char db_id[UUID_TEXT_BYTES + 1];
        StoreTable *store; /* NULL for a system table */
        uint64_t store_id;
        const char *engine; /* static; ordinary tables */
        unsigned shard_count;
        bool ack_single;           /* write_acks: "single" */
        TableState *state;         /* shared by all TableRefs of the same store table; ordinary tables */
        Schema *schema;            /* as of this TableRef */
        TableCounts *counts;       /* shared by all TableRefs of the same store table; ordinary tables */
        const SystemTable *system; /* NULL: an ordinary table */
        bool uuids;                /* a system table whose rows name things by uuid */
        TableRef *with_uuids;      /* the other one; owned by the catalog */
};

/* One lock per group of threads: finding a table touches only one's own cache line. */
typedef struct NamesSlot {
        Mutex mu;
        char padding[128 - sizeof(Mutex) % 128];
} NamesSlot;

typedef struct ScratchRow {
        uint8_t *key, *row;
        size_t key_bytes, row_bytes;
} ScratchRow;

struct TableCatalog {
        Store *store;
        const HostOps *host;
        TableSource source;
        StoreTable *documents; /* table 1 */
        const char *engine;    /* static; of new tables that do not say */

        Mutex ddl_mu;                       /* order: before every store lock and before the slots */
        uint64_t next_store_id;             /* GUARDED_BY(ddl_mu) */
        atomic_uint_fast64_t schema_serial; /* versions of schemas given out */
        Builder *builder;
        TransactionLimits limits;          /* set before there are transactions */
        struct Transactions *transactions; /* those that clients hold */
        bool by_hand;                      /* no threads are started (tests) */
        Expirer *expirer;

        NamesSlot slots[NAMES_SLOTS];
        Map *tables;    /* "db.table" -> TableRef; names have no dots */
        Map *databases; /* name -> Database */
        Map *users;     /* name -> User (users.h) */

        TableRef *system[16];
        size_t system_count;
        Mutex scratch_mu;
        ScratchRow *scratch; /* sorted by key; GUARDED_BY(scratch_mu) */
        size_t scratch_count, scratch_capacity;
        uint64_t scratch_version;

        Mutex watch_mu;             /* a leaf but for `changed` */
        void (*changed)(void *ctx); /* GUARDED_BY(watch_mu): table_source_watch_system */
        void *changed_ctx;

        _Atomic(ServerConfig *) server; /* its row of server_config; changed under ddl_mu, old ones stay: see there */
        atomic_int heartbeat_timeout_s; /* cluster_config; changed under ddl_mu */
        Mutex stats_mu;                 /* before the slots: samples of all counts, for figures per second */
        struct {
                int64_t at_ns;
                uint64_t queries;
        } query_samples[2]; /* GUARDED_BY(stats_mu) */
};

/* --- catalog.c --- */
/* table_source_open; `by_hand`: indexes are built by build_step alone (tests). */
Status catalog_open(Store *store, const HostOps *host, const char *engine, bool by_hand,
                    TableCatalog **ret_catalog) MUST_USE;
Status catalog_load(TableCatalog *catalog) MUST_USE;
void catalog_forget(TableCatalog *catalog);
Status catalog_table_find(void *ctx, Bytes db, Bytes table, TableRef **ret_table) MUST_USE;
Status catalog_db_check(void *ctx, Bytes db) MUST_USE;
Status catalog_db_id(void *ctx, Bytes db, Arena *arena, Value *ret_id) MUST_USE;
Status catalog_db_list(void *ctx, Arena *arena, Value *ret_names) MUST_USE;
Status catalog_table_list(void *ctx, Bytes db, Arena *arena, Value *ret_names) MUST_USE;
TableRef *catalog_table_ref(TableRef *table);
void catalog_table_unref(TableRef *table);
/* Calls with all names still: `each_table` for every ordinary table in order of name. The caller holds ddl_mu or
 * accepts that names change between calls: references are taken first. */
Status catalog_each_table(TableCatalog *catalog, Status (*each)(void *ctx, TableRef *table), void *ctx) MUST_USE;
Status catalog_each_db(TableCatalog *catalog, Status (*each)(void *ctx, Bytes id, Bytes name), void *ctx) MUST_USE;
void names_lock(TableCatalog *catalog, unsigned *ret_slot);
void names_unlock(TableCatalog *catalog, unsigned slot);
void names_lock_all(TableCatalog *catalog);
void names_unlock_all(TableCatalog *catalog);
Database *names_db(TableCatalog *catalog, Bytes name);               /* under a slot or ddl_mu */
TableRef *names_table(TableCatalog *catalog, Bytes db, Bytes table); /* the same; no reference taken */
/* A table as it is to be: its settings come from `settings`, names and id copied. `store` is taken over. */
typedef struct TableSettings {
        Bytes db, name, primary_key, id;
        Database *database;
        uint64_t store_id;
        const char *engine; /* static */
        unsigned shard_count;
        bool hard, ack_single;
        TableState *state;   /* of the table's other TableRefs; NULL: a new one */
        Schema *schema;      /* NULL: without indexes */
        TableCounts *counts; /* NULL: new ones */
} TableSettings;
Status table_ref_new(TableCatalog *catalog, const TableSettings *settings, StoreTable *store,
                     TableRef **ret_table) MUST_USE;
TableSettings table_settings(const TableRef *table);
const char *engine_named(Bytes name); /* the static name; NULL if there is no such engine */
Status names_put_table(TableCatalog *catalog, TableRef *table) MUST_USE; /* all slots locked; takes the reference */
void names_remove_table(TableCatalog *catalog, Bytes db, Bytes name); /* all slots locked; drops the map's reference */
Database *database_free(Database *database);
Status uuid_new(TableCatalog *catalog, char *out) MUST_USE; /* writes UUID_TEXT_BYTES + 1 */

/* --- ddl.c --- */
Status ddl_create_catalog(TableCatalog *catalog) MUST_USE;
Status ddl_db_create(void *ctx, Bytes name, Arena *arena, Value *ret_result, uint64_t *ret_position) MUST_USE;
Status ddl_db_drop(void *ctx, Bytes name, Arena *arena, Value *ret_result, uint64_t *ret_position) MUST_USE;
Status ddl_db_rename(TableCatalog *catalog, Bytes id, Bytes new_name, uint64_t *ret_position) MUST_USE;
Status ddl_table_create(void *ctx, Bytes db, Bytes name, Value options, Arena *arena, Value *ret_result,
                        uint64_t *ret_position) MUST_USE;
Status ddl_table_drop(void *ctx, Bytes db, Bytes name, Arena *arena, Value *ret_result,
                      uint64_t *ret_position) MUST_USE;
/* When a table's rows expire (ttl.c). */
typedef struct TtlSpec {
        Bytes field;    /* data NULL: they do not */
        double seconds; /* after the time in that field; 0: it is the time at which they expire */
} TtlSpec;
/* What a row of table_config asks for. */
typedef struct TableConfig {
        Bytes id; /* of a new table: the id it gets */
        Bytes db; /* a name or, with `uuids`, an id */
        Bytes name, primary_key;
        const char *engine; /* static; NULL: as it is, or the default's */
        unsigned shard_count;
        bool hard, ack_single, uuids;
        bool keeps_ttl; /* as it is */
        TtlSpec ttl;
} TableConfig;
/* Gives the table `config->id` those settings. */
Status ddl_table_configure(TableCatalog *catalog, const TableConfig *config, uint64_t *ret_position) MUST_USE;
/* Creates it; *ret_row is its row of table_config. */
Status ddl_table_insert(TableCatalog *catalog, const TableConfig *config, Arena *arena, Value *ret_row,
                        uint64_t *ret_position) MUST_USE;
Status ddl_table_drop_id(TableCatalog *catalog, Bytes id, Arena *arena, uint64_t *ret_position) MUST_USE;
Status ddl_db_insert(TableCatalog *catalog, Bytes id, Bytes name, Arena *arena, uint64_t *ret_position) MUST_USE;
Status ddl_db_drop_id(TableCatalog *catalog, Bytes id, Arena *arena, uint64_t *ret_position) MUST_USE;
/* Settings of the server ('s') or the cluster ('c'): one document each. The caller holds ddl_mu. */
Status ddl_put_settings(TableCatalog *catalog, char kind, Value doc, uint64_t *ret_position) MUST_USE;

/* The end of every change: gives ddl_mu back, and tells the watcher of the system tables. */
void ddl_end(TableCatalog *catalog) RELEASE(catalog->ddl_mu);
/* Tells him that rows of a system table are others now; what of them has changed he looks for. No lock is held. */
void catalog_note_change(TableCatalog *catalog);
/* The shape of every change, under ddl_mu: a commit that holds the catalog's documents, and a document put into it. */
Status ddl_begin(TableCatalog *catalog, Commit **ret_commit) MUST_USE;
Status ddl_put_document(TableCatalog *catalog, Commit *commit, Bytes key, Value doc) MUST_USE;
/* A table's document. */
Status ddl_put_table(TableCatalog *catalog, Commit *commit, const TableSettings *settings) MUST_USE;
/* Enters `table` (its reference goes to the map), finishes the commit and takes `old` (NULL: none) out, or undoes all
 * of it. */
Status ddl_publish_table(TableCatalog *catalog, Commit *commit, TableRef *table, TableRef *old,
                         uint64_t *ret_position) MUST_USE;
/* Gives the table `old`, which is in the map, these settings. Another schema than it has is locked around the commit
 * (index_int.h); `clear_tree` is emptied with it (0: none). */
Status ddl_change_table(TableCatalog *catalog, TableRef *old, const TableSettings *to, uint32_t clear_tree,
                        uint64_t *ret_position) MUST_USE;
TableRef *ddl_find_table(TableCatalog *catalog, Bytes id); /* under ddl_mu; no reference taken */
/* Runs build(ctx, arena) so that exhaustion of `arena` is an error here instead of a jump past the locks and references
 * that the caller holds. */
Status build_guarded(Arena *arena, Value (*build)(void *ctx, Arena *arena), void *ctx, Value *ret_value) MUST_USE;

/* --- system.c and system_*.c: the tables of database `rethinkdb` (system_int.h is what they share) --- */
Value system_db_config_row(Arena *arena, Bytes id, Bytes name);
Value system_table_config_row(const TableRef *table, bool uuids, Arena *arena);
Value system_table_status_row(const TableRef *table, bool uuids, Arena *arena);
Status system_config(void *ctx, Bytes db, Bytes table, Arena *arena, Value *ret_config) MUST_USE;
Status system_status(void *ctx, Bytes db, Bytes table, Arena *arena, Value *ret_status) MUST_USE;
Status system_init(TableCatalog *catalog) MUST_USE;
void system_done(TableCatalog *catalog);
/* A settings document of ddl_put_settings, at start. */
Status system_load_settings(TableCatalog *catalog, char kind, Value doc) MUST_USE;
TableRef *system_find(TableCatalog *catalog, Bytes name); /* a new reference, or NULL */
Value system_table_names(TableCatalog *catalog, Arena *arena);
TableRef *system_with_uuids(TableRef *table);
/* All rows in key order, in `arena`. */
typedef struct SystemRow {
        Bytes key;
        Value row;
} SystemRow;
/* `user`: who reads, where rows are not for everybody; NULL: all. */
Status system_rows(TableRef *table, const char *user, Arena *arena, SystemRow **ret_rows, size_t *ret_count,
                   uint64_t *ret_version) MUST_USE;
Status system_write(TableRef *table, const Value *keys, size_t count, RowChange change, void *change_ctx,
                    const WriteOptions *options, Arena *arena, RowOutcome *outcomes, uint64_t *ret_position) MUST_USE;
const char *server_name(const TableCatalog *catalog); /* lives as long as the catalog */
bool server_has_tag(const TableCatalog *catalog, Bytes tag);

/* --- system_stats.c: counting, for `stats` --- */
#define COUNT_SLOTS 8
struct TableCounts {
        atomic_uint refs;
        struct {
                int64_t at_ns;
                uint64_t read, written;
        } samples[2]; /* the last two looks at least a second apart; under the catalog's stats_mu */
        struct {
                atomic_uint_fast64_t read, written;
                char padding[64 - 2 * sizeof(atomic_uint_fast64_t)];
        } slots[COUNT_SLOTS]; /* by thread, so that threads seldom share a cache line */
};
Status counts_new(TableCatalog *catalog, TableCounts **ret_counts) MUST_USE;
TableCounts *counts_ref(TableCounts *counts);
void counts_unref(TableCounts *counts);
extern _Thread_local unsigned counts_slot; /* 0: none yet */
unsigned counts_take_slot(void);
static inline unsigned counts_my_slot(void)
{
        return likely(counts_slot != 0) ? counts_slot - 1 : counts_take_slot();
}
/* Rows that a query got, or changed. A few nanoseconds; nothing for system tables. */
static inline void table_count_reads(const TableRef *table, uint64_t rows)
{
        if (table->counts)
                atomic_fetch_add_explicit(&table->counts->slots[counts_my_slot()].read, rows, memory_order_relaxed);
}
static inline void table_count_writes(const TableRef *table, uint64_t rows)
{
        if (table->counts)
                atomic_fetch_add_explicit(&table->counts->slots[counts_my_slot()].written, rows, memory_order_relaxed);
}

/* --- placement.c: shards and replicas, on one server --- */
/* Checks the placement in `options` (source.h, reconfigure) with RethinkDB's messages. */
Status placement_check(TableCatalog *catalog, Value options, unsigned *ret_shards) MUST_USE;
Status placement_reconfigure(void *ctx, Bytes db, Bytes table, Value options, Arena *arena, Value *ret_result,
                             uint64_t *ret_position) MUST_USE;
Status placement_rebalance(void *ctx, Bytes db, Bytes table, Arena *arena, Value *ret_result) MUST_USE;

/* --- read.c --- */
void read_fill(TableSource *source);
Status view_open_for(TableRef *table, const char *user, TableView **ret_view) MUST_USE;
/* A view of an ordinary table as `snapshot` has it, which is taken over if it succeeds, with the indexes of `schema`.
 */
Status view_open_at(TableRef *table, Snapshot *snapshot, Schema *schema, TableView **ret_view) MUST_USE;

/* --- row.c: what a row must be --- */
/* Checks `new_row` as the successor of `old_row` (V_NULL: none) under `key_bytes`, the encoded primary key. */
Status row_check(const TableInfo *info, Bytes key_bytes, Value old_row, Value new_row, Arena *arena) MUST_USE;

/* --- write.c --- */
Status table_write(TableRef *table, const Value *keys, size_t count, RowChange change, void *change_ctx,
                   const WriteOptions *options, Arena *arena, RowOutcome *outcomes, uint64_t *ret_position) MUST_USE;
Status table_sync(TableRef *table, uint64_t *ret_position) MUST_USE;
/* ReQL's face of a store error: what a query shows. */
Status table_error(const TableRef *table, Status st) MUST_USE;

#endif
