/* rest.c - entries of rows whose index values cannot be keys, or that have none because the index's function failed.
 *
 * RethinkDB's indexes know nothing of these rows, and no scan or count of an index shows them. The planner needs them:
 * together with the entries they are all rows that have a value, so that what is in neither has none (README.md). They
 * lie behind all entries, in the order of their values. */
#include "index/entry.h"
#include "value/key.h"

static void make(IndexShape shape, uint8_t kind, Bytes value, Bytes primary_key, Arena *arena, IndexEntry *ret)
{
        size_t kept = MIN(value.size, (size_t)INDEX_VALUE_MAX - 1), tag_bytes = shape.multi ? INDEX_TAG_BYTES : 0;
        size_t size = 1 + kept + primary_key.size + tag_bytes;
        uint8_t *key = arena_zalloc(arena, size);
        key[0] = kind;
        if (kept)
                memcpy(key + 1, value.data, kept);
        memcpy(key + 1 + kept, primary_key.data, primary_key.size);
        *ret = (IndexEntry){.key = BYTES(key, size)};
        store_u16(ret->value, (uint16_t)(1 + kept));
}

bool index_rest_entry(IndexShape shape, Value value, bool failed, Bytes primary_key, Arena *arena, IndexEntry *ret)
{
        if (shape.geo)
                return false;
        if (failed) {
                make(shape, INDEX_FAILED, BYTES_NONE, primary_key, arena, ret);
                return true;
        }
        if (value_is(value, V_NONE) || value_too_deep(value))
                return false;
        if (shape.multi ? value_is(value, V_ARRAY) || value_is(value, V_NULL) : key_is_secondary(value))
                return false;
        make(shape, INDEX_REST, key_encode(value, arena), primary_key, arena, ret);
        return true;
}

/* A bound's place among the values; those that agree with it in what is kept are taken along. */
static Bytes place(Value value, Arena *arena)
{
        Bytes encoded = key_encode(value, arena);
        size_t kept = MIN(encoded.size, (size_t)INDEX_VALUE_MAX - 1);
        uint8_t *bytes = arena_alloc(arena, 1 + kept);
        bytes[0] = INDEX_REST;
        memcpy(bytes + 1, encoded.data, kept);
        return BYTES(bytes, 1 + kept);
}

EngineRange index_rest_span(bool failed, IndexBound low, IndexBound high, Arena *arena)
{
        static const uint8_t rest = INDEX_REST, failed_from = INDEX_FAILED, end = INDEX_FAILED + 1;
        if (failed)
                return (EngineRange){.low = BYTES(&failed_from, 1), .high = BYTES(&end, 1)};
        EngineRange range = {.low = BYTES(&rest, 1), .high = BYTES(&failed_from, 1)};
        if (!low.none)
                range.low = place(low.value, arena);
        if (!high.none)
                range.high = key_after_prefix(place(high.value, arena), arena);
        return range;
}
