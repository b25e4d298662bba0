/* entry.c - rows' index values as keys, and bounds as ranges of keys. README.md pictures the form. */
#include "index/entry.h"

#include <stdlib.h>

#include "value/geometry.h"
#include "value/key.h"

#define CUT_FLAG   0x8000
#define CELL_BYTES 8

_Static_assert(INDEX_VALUE_MAX < CUT_FLAG, "a size and the flag share two bytes");

/* --- making entries --- */

typedef struct Maker {
        IndexShape shape;
        Bytes primary_key;
        Arena *arena;
        IndexEntries entries;
        size_t capacity;
} Maker;

static void add_entry(Maker *maker, Bytes value, uint32_t tag)
{
        IndexEntries *entries = &maker->entries;
        bool cut = value.size > INDEX_VALUE_MAX;
        size_t kept = cut ? INDEX_VALUE_MAX : value.size, tag_bytes = maker->shape.multi ? INDEX_TAG_BYTES : 0;
        size_t hash_bytes = cut ? INDEX_HASH_BYTES : 0;
        size_t size = kept + hash_bytes + maker->primary_key.size + tag_bytes;
        if (entries->count == maker->capacity) {
                size_t capacity = maker->capacity ? 2 * maker->capacity : 1;
                IndexEntry *items = arena_array(maker->arena, IndexEntry, capacity);
                if (entries->count)
                        memcpy(items, entries->items, entries->count * sizeof *items);
                entries->items = items;
                maker->capacity = capacity;
        }
        uint8_t *key = arena_alloc(maker->arena, size);
        memcpy(key, value.data, kept);
        if (cut)
                store_u64(key + kept, bytes_hash(value.data, value.size));
        memcpy(key + kept + hash_bytes, maker->primary_key.data, maker->primary_key.size);
        if (tag_bytes) {
                uint32_t big_endian = __builtin_bswap32(tag);
                memcpy(key + size - tag_bytes, &big_endian, tag_bytes);
        }
        IndexEntry *entry = &entries->items[entries->count++];
        entry->key = BYTES(key, size);
        entry->whole = cut ? value : BYTES_NONE;
        store_u16(entry->value, (uint16_t)(kept | (cut ? CUT_FLAG : 0)));
}

/* *ret_usable false: it looks like a shape and is none. */
static Status add_cells(Maker *maker, Value value, uint32_t tag, bool *ret_usable)
{
        uint64_t cells[GEO_CELLS_MAX];
        size_t count = 0;
        GeoShape *shape = NULL;
        *ret_usable = true;
        if (!value_is(value, V_GEOMETRY))
                return ST_OK;
        Status st = geometry_shape(value, maker->arena, &shape);
        if (!st) /* nothing is taken from the arena while there is a shape: it may jump */
                st = geo_cover(shape, GEO_INDEX_CELLS, cells, &count);
        geo_shape_free(shape);
        if (status_code(st) == ERR_NOMEM)
                return st;
        *ret_usable = !st;
        status_ignore(st);
        for (size_t i = 0; !st && i < count; i++) {
                uint64_t big_endian = __builtin_bswap64(cells[i]);
                add_entry(maker, BYTES(&big_endian, CELL_BYTES), tag);
        }
        return ST_OK;
}

static Status add_value(Maker *maker, Value value, uint32_t tag, bool *ret_usable)
{
        if (maker->shape.geo)
                return add_cells(maker, value, tag, ret_usable);
        *ret_usable = true;
        if (key_is_secondary(value))
                add_entry(maker, key_encode(value, maker->arena), tag);
        return ST_OK;
}

static int compare_entries(const void *a, const void *b)
{
        return bytes_compare(((const IndexEntry *)a)->key, ((const IndexEntry *)b)->key);
}

Status index_entries(IndexShape shape, Value value, Bytes primary_key, Arena *arena, IndexEntries *ret)
{
        Maker maker = {.shape = shape, .primary_key = primary_key, .arena = arena};
        bool usable = true, many = shape.multi && value_is(value, V_ARRAY);
        size_t count = many ? value_count(value) : 1;
        /* An element that cannot be a key is passed over; one shape that is none takes the whole row out of the index,
         * as in RethinkDB. */
        for (size_t i = 0; usable && i < count; i++)
                TRY(add_value(&maker, many ? value_at(value, i) : value, (uint32_t)i, &usable));
        if (!usable)
                maker.entries.count = 0;
        if (maker.entries.count > 1)
                qsort(maker.entries.items, maker.entries.count, sizeof *maker.entries.items, compare_entries);
        *ret = maker.entries;
        return ST_OK;
}

/* --- reading them --- */

bool index_entry_read(IndexShape shape, Bytes key, Bytes value, IndexEntryParts *ret)
{
        size_t tag_bytes = shape.multi ? INDEX_TAG_BYTES : 0;
        if (value.size != INDEX_ENTRY_BYTES)
                return false;
        uint16_t head = load_u16(value.data);
        size_t kept = head & ~CUT_FLAG;
        bool cut = head & CUT_FLAG;
        size_t same = kept + (cut ? INDEX_HASH_BYTES : 0);
        if (kept > INDEX_VALUE_MAX || (cut && kept != INDEX_VALUE_MAX) || (shape.geo && kept != CELL_BYTES) ||
            key.size <= same + tag_bytes || kept == 0)
                return false;
        *ret = (IndexEntryParts){
                .value = BYTES(key.data, kept),
                .cut = cut,
                .primary_key = BYTES(key.data + same, key.size - same - tag_bytes),
                .row = BYTES(key.data + same, key.size - same),
        };
        if (tag_bytes) {
                uint32_t big_endian;
                memcpy(&big_endian, key.data + key.size - tag_bytes, tag_bytes);
                ret->tag = __builtin_bswap32(big_endian);
        }
        return true;
}

Value index_value_at(IndexShape shape, Value value, uint32_t tag)
{
        if (!shape.multi || !value_is(value, V_ARRAY))
                return value;
        return tag < value_count(value) ? value_at(value, tag) : value_none();
}

/* --- ranges --- */

/* All that begin with a whole value have that value, since no encoded value is the beginning of another. */
IndexSpan index_span(IndexBound low, IndexBound high, Arena *arena)
{
        static const uint8_t rest = INDEX_REST; /* begins behind all entries */
        IndexSpan span = {.low_open = low.open, .high_open = high.open, .sure = {.high = BYTES(&rest, 1)}};
        if (!low.none) {
                span.low = key_encode(low.value, arena);
                bool cut = span.low.size > INDEX_VALUE_MAX;
                Bytes kept = BYTES(span.low.data, cut ? INDEX_VALUE_MAX : span.low.size);
                span.sure.low = cut || low.open ? key_after_prefix(kept, arena) : kept;
                if (cut)
                        span.low_doubt = kept;
        }
        if (!high.none) {
                span.high = key_encode(high.value, arena);
                bool cut = span.high.size > INDEX_VALUE_MAX;
                Bytes kept = BYTES(span.high.data, cut ? INDEX_VALUE_MAX : span.high.size);
                span.sure.high = cut || high.open ? kept : key_after_prefix(kept, arena);
                if (cut)
                        span.high_doubt = kept;
        }
        if (low.none || high.none)
                return span;
        int order = bytes_compare(span.low, span.high);
        if (order > 0 || (order == 0 && (low.open || high.open))) {
                span.low_doubt = span.high_doubt = BYTES_NONE;
                span.sure_empty = true;
        } else {
                span.sure_empty = bytes_compare(span.sure.low, span.sure.high) >= 0;
        }
        return span;
}

bool index_span_holds(const IndexSpan *span, Bytes whole)
{
        if (span->low.data) {
                int order = bytes_compare(whole, span->low);
                if (order < 0 || (order == 0 && span->low_open))
                        return false;
        }
        if (span->high.data) {
                int order = bytes_compare(whole, span->high);
                if (order > 0 || (order == 0 && span->high_open))
                        return false;
        }
        return true;
}

static EngineRange begin_with(Bytes prefix, uint8_t *after)
{
        size_t size = prefix.size;
        while (prefix.data[size - 1] == 0xff) /* not all are: the first is a type's */
                size--;
        memcpy(after, prefix.data, size);
        after[size - 1]++;
        return (EngineRange){.low = prefix, .high = BYTES(after, size)};
}

EngineRange index_group(Bytes prefix, uint8_t after[INDEX_VALUE_MAX])
{
        return begin_with(prefix, after);
}

EngineRange index_same(const IndexEntry *entry, uint8_t after[INDEX_SAME_MAX])
{
        uint16_t head = load_u16(entry->value);
        size_t same = head & CUT_FLAG ? INDEX_SAME_MAX : head;
        return begin_with(BYTES(entry->key.data, same), after);
}

EngineRange index_cells(GeoRange range, IndexCells *cells)
{
        uint64_t low = __builtin_bswap64(range.low), high = __builtin_bswap64(range.high + 1);
        memcpy(cells->low, &low, sizeof low);
        memcpy(cells->high, &high, sizeof high);
        cells->has_high = range.high != UINT64_MAX;
        return (EngineRange){.low = BYTES(cells->low, sizeof cells->low),
                             .high = cells->has_high ? BYTES(cells->high, sizeof cells->high) : BYTES_NONE};
}
