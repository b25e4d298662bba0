/* table.h - databases and tables on this machine: the TableSource that the query layer reads and writes through.
 *
 * Names and settings are documents in table 1 of the store, changed in the same commit that creates or drops tables;
 * they are held in memory too, so that finding a table costs a hash lookup. Formats, invariants: README.md in this
 * folder. */
#ifndef TABLE_TABLE_H
#define TABLE_TABLE_H

#include "query/source.h"
#include "storage/store.h"

typedef struct TableCatalog TableCatalog;

/* Reads the catalog of `store`; an empty store gets one, with the database `test`. `store` and `host` are borrowed and
 * must outlive the catalog. `engine`: of new tables that do not name one; NULL: "btree". ERR_INVALID: there is none.
 * ERR_CORRUPT if the catalog does not fit the tables in the store, and the store's own errors. */
MUST_USE Status table_source_open(Store *store, const HostOps *host, const char *engine, TableCatalog **ret_catalog);
/* No TableRef, view or scan may be in use. NULL is fine; returns NULL. */
TableCatalog *table_source_close(TableCatalog *catalog);
static inline void table_source_closep(TableCatalog **catalog)
{
        *catalog = table_source_close(*catalog);
}
/* Lives as long as the catalog. */
const TableSource *table_source(const TableCatalog *catalog);

/* --- users: who may log in. What they may do is the TableSource's permit. --- */
#define USER_ITERATIONS     4096     /* as RethinkDB: what a password costs to guess */
#define USER_ITERATIONS_MAX 10000000 /* what a client of ours accepts */
/* What is kept of the user's password; *ret_found false if there is no such user. */
MUST_USE Status table_user_find(TableCatalog *catalog, Bytes name, ScramCredential *ret_credential, bool *ret_found);
bool table_user_has_password(TableCatalog *catalog, Bytes name);
/* Gives `admin` its first password and makes that durable; nothing happens if it has one (*ret_set false). */
MUST_USE Status table_admin_initial_password(TableCatalog *catalog, Bytes password, bool *ret_set);
/* Is a document of the catalog under a key `u...` one of a user? For verify.c. */
bool table_user_document_valid(Bytes key, Value doc);

/* --- transactions --- */
typedef struct TransactionLimits {
        int64_t idle_ms; /* one that no query uses for so long is rolled back, unless it asked for another time */
        size_t memory_max_bytes; /* of the changes of one */
        size_t open_max;         /* that clients hold */
} TransactionLimits;
/* What is 0 stays as it is: 60 s, 128 MiB, 1000. Before the source is used. */
void table_source_limit_transactions(TableCatalog *catalog, const TransactionLimits *limits);

/* Calls changed(ctx) after a change of what tables of `rethinkdb` show, by the thread that made it: names, settings,
 * users, permissions, rows of _debug_scratch, transactions begun and ended by clients. Not of what changes by itself:
 * `jobs`, `stats`, `logs`, `current_issues`. It must not block nor call the source. There is one such watcher; NULL:
 * none (after it returns, the old one is not called again). */
void table_source_watch_system(TableCatalog *catalog, void (*changed)(void *ctx), void *ctx);
/* Is it a table of `rethinkdb`? Then *ret_look_ms says how often whoever follows its rows should look at them, because
 * they change by themselves; 0: all their changes are told to the watcher. */
bool table_source_is_system(const TableRef *table, unsigned *ret_look_ms);
/* Databases, and tables in all of them, the system's own not counted. */
void table_source_counts(TableCatalog *catalog, size_t *ret_db_count, size_t *ret_table_count);
/* Rows that were deleted since the opening because their time had come, and the commits that did it. */
void table_source_expired(TableCatalog *catalog, uint64_t *ret_row_count, uint64_t *ret_commit_count);
/* Calls `each` for every index that is being built or waits for it. */
typedef struct BuildInfo {
        const TableInfo *table;
        Bytes index;
        double progress; /* 0 .. 1 */
        int64_t started_us;
} BuildInfo;
MUST_USE Status table_source_each_build(TableCatalog *catalog, Status (*each)(void *ctx, const BuildInfo *info),
                                        void *ctx);
/* Calls `each` for every ordinary table, in order of name, with its store table; ends at the first error. */
MUST_USE Status table_source_each(TableCatalog *catalog,
                                  Status (*each)(void *ctx, const TableInfo *info, const char *engine,
                                                 StoreTable *table),
                                  void *ctx);

/* --- for whoever follows a table's rows in the store's log (feed/): follow.c --- */
#define TABLE_CATALOG_ID 1 /* the store's table in which names and settings are */
/* Lives as long as the TableRef; NULL: a system table. */
StoreTable *table_store(const TableRef *table);
/* A view of the present, and which one: it has all commits up to *ret_position and none behind. Not of a system table.
 */
MUST_USE Status table_view_present(TableRef *table, TableView **ret_view, uint64_t *ret_position);
/* Is it this table's document that the catalog has under `key`? */
bool table_document_is(const TableRef *table, Bytes key);
/* How many shards the table has by now; 0: there is none. Waits for a change of names and settings to end. */
unsigned table_shards_now(const TableRef *table);
/* An index from its creation to its end, whatever its name. Counted. */
typedef struct Index TableIndex;
/* The present one of that name, which is not geospatial. RethinkDB's errors: there is none, it is not ready. */
MUST_USE Status table_index_find(TableRef *table, Bytes name, TableIndex **ret_index);
/* Is it still there, under this name? */
bool table_index_is(TableRef *table, Bytes name, const TableIndex *index);
TableIndex *table_index_ref(TableIndex *index);
TableIndex *table_index_unref(TableIndex *index); /* NULL is fine; returns NULL */
bool table_index_is_multi(const TableIndex *index);
/* What the function makes of a row; V_NONE if it fails. A multi index: the array of values, or one value that is none
 * (index/entry.h). In `arena`, which may jump, or a part of `row`. Only ERR_NOMEM and the like. */
MUST_USE Status table_index_value(TableIndex *index, Value row, Arena *arena, Value *ret_value);

#endif
