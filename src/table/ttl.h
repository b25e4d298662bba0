/* ttl.h - rows that expire: a table's setting `ttl`, and the thread that deletes what is due.
 *
 * A table whose rows expire keeps an index of the times in one of their fields (index_int.h, SchemaTtl), built and kept
 * as any other index is, which users do not see. So the rows that are due are the beginning of that tree, whatever
 * `seconds` is, and changing `seconds` touches no row. */
#ifndef TABLE_TTL_H
#define TABLE_TTL_H

#include "table/index_int.h"

/* {field: string, seconds: number}, or null. NULL, or what is wrong with it, for people ("Expected ...; got "); then
 * *ret_got is what was found instead. */
const char *ttl_read(Value v, TtlSpec *ret_spec, Value *ret_got);
/* The setting as users see it; V_NONE: there is none. */
Value ttl_value(const Schema *schema, Arena *arena);

/* `now` with another setting; *ret_schema NULL: it has this one already. *ret_clear_tree: to be emptied with the commit
 * (0: none). `empty`: the table has no rows, so nothing needs to be built. */
Status ttl_schema(TableCatalog *catalog, const Schema *now, const TtlSpec *spec, bool empty, Schema **ret_schema,
                  uint32_t *ret_clear_tree) MUST_USE;

/* One batch of rows that are due, or a look at which tables have some. *ret_more: there may be more to do now. By hand
 * in a catalog without threads. */
Status ttl_step(TableCatalog *catalog, bool *ret_more) MUST_USE;
/* Rows of some table may expire from now on. */
void ttl_wake(TableCatalog *catalog);
Status ttl_start(TableCatalog *catalog) MUST_USE; /* the same at the beginning, if there is such a table */
Expirer *expirer_new(TableCatalog *catalog, bool by_hand);
Expirer *expirer_free(Expirer *expirer); /* NULL is fine; returns NULL */

#endif
