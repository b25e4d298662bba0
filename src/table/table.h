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

#endif
