/* entry.h - what a secondary index holds: the entries of a row, and where in the index's tree a range of values lies.
 *
 * A row's index value (what the index's function makes of the row) becomes entries: keys of the tree that begin with
 * the value and end with the row's primary key, so that the tree is in the order of (value, primary key). Values longer
 * than INDEX_VALUE_MAX are cut: rows that agree in what is kept lie together in the order of their primary keys, and
 * whoever needs more looks at their values (IndexSpan). Format: README.md. Threads: any. */
#ifndef INDEX_ENTRY_H
#define INDEX_ENTRY_H

#include "bridge/s2_bridge.h"
#include "storage/engine.h"
#include "value/value.h"

#define INDEX_VALUE_MAX   200 /* bytes of an encoded value that a key keeps */
#define INDEX_TAG_BYTES   4
#define INDEX_ENTRY_BYTES 2 /* of a stored entry's value */

typedef struct IndexShape {
        bool multi; /* an array is as many values as it has elements */
        bool geo;   /* values are shapes; an entry for each cell of a covering */
} IndexShape;

typedef struct IndexEntry {
        Bytes key;
        uint8_t value[INDEX_ENTRY_BYTES];
} IndexEntry;
typedef struct IndexEntries {
        IndexEntry *items; /* ascending by key, each key once */
        size_t count;
} IndexEntries;

/* The entries of the row under `primary_key` (encoded) whose index value is `value`; V_NONE, and what cannot be a key,
 * gives none. Everything is in `arena`. Only ERR_NOMEM. */
MUST_USE Status index_entries(IndexShape shape, Value value, Bytes primary_key, Arena *arena, IndexEntries *ret);

/* An entry as it was read. Everything points into its key. */
typedef struct IndexEntryParts {
        Bytes value; /* encoded; a geo index: the cell */
        bool cut;    /* it is only the first INDEX_VALUE_MAX bytes */
        Bytes primary_key;
        Bytes row;    /* primary key and tag: which value of which row */
        uint32_t tag; /* multi: the element's place in the array (0 if the value is no array) */
} IndexEntryParts;
/* False: it is no entry of such an index. */
bool index_entry_read(IndexShape shape, Bytes key, Bytes value, IndexEntryParts *ret);
/* Of a row's index value, the one that an entry with this tag stands for; V_NONE if there is none. */
Value index_value_at(IndexShape shape, Value value, uint32_t tag);

/* --- ranges of values --- */
typedef struct IndexBound {
        Value value;
        bool none, open;
} IndexBound;
/* Which entries have values between two bounds: all in `sure` and none outside of it, but for those that begin with
 * `low_doubt` or `high_doubt` (data NULL: there are none such): they were cut where a bound has more, so their whole
 * values must be asked (index_span_holds). The doubtful ones lie before and behind `sure`, or both are the same and
 * `sure` is empty. */
typedef struct IndexSpan {
        EngineRange sure;
        bool sure_empty;
        Bytes low_doubt, high_doubt;
        Bytes low, high; /* the bounds encoded; data NULL: none */
        bool low_open, high_open;
} IndexSpan;
/* In `arena`. Not for geo indexes. */
IndexSpan index_span(IndexBound low, IndexBound high, Arena *arena);
/* Whether an encoded value, not cut, is within the bounds. */
bool index_span_holds(const IndexSpan *span, Bytes whole);
/* The entries that begin with a prefix of INDEX_VALUE_MAX bytes. The range points into `after`. */
EngineRange index_group(Bytes prefix, uint8_t after[INDEX_VALUE_MAX]);

/* The entries of a geo index whose cells are low..high, both included. */
typedef struct IndexCells {
        uint8_t low[8], high[8];
        bool has_high;
} IndexCells;
/* The range points into `cells`. */
EngineRange index_cells(GeoRange range, IndexCells *cells);

#endif
