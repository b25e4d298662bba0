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

/* Databases, and tables in all of them, the system's own not counted. */
void table_source_counts(TableCatalog *catalog, size_t *ret_db_count, size_t *ret_table_count);
/* Calls `each` for every ordinary table, in order of name, with its store table; ends at the first error. */
MUST_USE Status table_source_each(TableCatalog *catalog,
                                  Status (*each)(void *ctx, const TableInfo *info, const char *engine,
                                                 StoreTable *table),
                                  void *ctx);

#endif
