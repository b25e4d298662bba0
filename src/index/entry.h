/* entry.h - what a secondary index holds: the entries of a row, and where in the index's tree a range of values lies.
 *
 * A row's index value (what the index's function makes of the row) becomes entries: keys of the tree that begin with
 * the value and end with the row's primary key, so that the tree is in the order of (value, primary key). Values longer
 * than INDEX_VALUE_MAX are cut, and a hash of the whole value stands behind what is kept: rows that agree in what is
 * kept lie together in no particular order, those of equal values next to each other, and whoever needs more looks at
 * their values (IndexSpan, index_same). Format: README.md. Threads: any. */
#ifndef INDEX_ENTRY_H
#define INDEX_ENTRY_H

#include "bridge/s2_bridge.h"
#include "storage/engine.h"
#include "value/value.h"

#define INDEX_VALUE_MAX   200 /* bytes of an encoded value that a key keeps */
#define INDEX_HASH_BYTES  8   /* behind them, of a value that was cut */
#define INDEX_SAME_MAX    (INDEX_VALUE_MAX + INDEX_HASH_BYTES)
#define INDEX_TAG_BYTES   4
#define INDEX_ENTRY_BYTES 2 /* of a stored entry's value */

typedef struct IndexShape {
        bool multi; /* an array is as many values as it has elements */
        bool geo;   /* values are shapes; an entry for each cell of a covering */
} IndexShape;

typedef struct IndexEntry {
        Bytes key;
        uint8_t value[INDEX_ENTRY_BYTES];
        Bytes whole; /* the encoded value, if it was cut; else data NULL. Not stored */
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
/* Where all entries of this one's value are: all that lie there have it, but if it was cut perhaps strangers too, with
 * the same beginning and hash. The range points into the entry and `after`. */
EngineRange index_same(const IndexEntry *entry, uint8_t after[INDEX_SAME_MAX]);

/* --- the rest: rows with a value that no entry stands for (rest.c) --- */
/* First bytes of such keys; those of values are smaller. */
#define INDEX_REST   0xf8 /* the value cannot be a key; multi: it is neither array nor null */
#define INDEX_FAILED 0xf9 /* the function raised an error that was not a missing field's */
/* The one that the row has, if it has one. Never of a geo index. In `arena`. */
bool index_rest_entry(IndexShape shape, Value value, bool failed, Bytes primary_key, Arena *arena, IndexEntry *ret);
static inline bool index_is_rest(const IndexEntry *entry, IndexShape shape)
{
        return !shape.geo && entry->key.data[0] >= INDEX_REST;
}

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
/* Where the rest's entries with values between two bounds are, and perhaps some with values around them; `failed`:
 * where those without values are. In `arena`. */
EngineRange index_rest_span(bool failed, IndexBound low, IndexBound high, Arena *arena);
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
