/* read_point.h - a moment that all tables can be read at, also those that nobody has asked for yet.
 *
 * Opening one takes no table's root: it notes the log position, in O(1). As long as it is open, a commit that replaces
 * a root which belongs to that moment keeps it beside the table (one pin for each table and point, however often the
 * table changes then). So a table that is asked for later is found as it was, exactly, and tables that are never asked
 * for cost nothing unless they change. While no point is open, a commit pays one comparison for all this.
 *
 * Threads: any; a ReadPoint is asked and closed by one thread at a time. */
#ifndef STORAGE_READ_POINT_H
#define STORAGE_READ_POINT_H

#include "storage/store.h"

typedef struct ReadPoint ReadPoint;
typedef struct KeptRoot KeptRoot; /* a table's root: a snapshot that is counted */

/* The present moment. ERR_NOMEM. */
MUST_USE Status read_point_open(Store *store, ReadPoint **ret_point);
void read_point_close(ReadPoint *point); /* NULL is fine */
/* It sees all commits up to this one, and none behind. */
uint64_t read_point_position(const ReadPoint *point);
/* The table as it was then; the caller's reference, which may outlive the point. ERR_NOT_FOUND: it was dropped since.
 * ERR_CONFLICT: it was created since, or there was no memory to keep its root. */
MUST_USE Status read_point_root(ReadPoint *point, StoreTable *table, KeptRoot **ret_root);

/* The table's present root without a point: it has all commits up to *ret_position, and none behind. ERR_NOT_FOUND: it
 * was dropped. */
MUST_USE Status store_pin_present(StoreTable *table, Snapshot **ret_snapshot, uint64_t *ret_position);

Snapshot *kept_root_snapshot(const KeptRoot *root); /* lives as long as the root; not to be unpinned */
KeptRoot *kept_root_unref(KeptRoot *root);          /* NULL is fine; returns NULL */

#endif
