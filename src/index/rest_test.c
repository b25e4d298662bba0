/* rest_test.c - which rows are in the rest of an index, and where: against what the entries say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "index/entry.h"
#include "value/json.h"
#include "value/key.h"

static const char *const texts[] = {
        "1",
        "\"a\"",
        "true",
        "null",
        "{}",
        "{\"a\":1}",
        "[]",
        "[1]",
        "[1,null]",
        "[{\"b\":1}]",
        "{\"$reql_type$\":\"TIME\",\"epoch_time\":1,\"timezone\":\"+00:00\"}",
        "{\"$reql_type$\":\"GEOMETRY\",\"type\":\"Point\",\"coordinates\":[1,2]}",
};
#define COUNT (sizeof texts / sizeof *texts)

static Value parse(const char *text, Arena *arena)
{
        Value value;
        assert_null(json_parse_copy(BYTES_STR(text), JSON_PSEUDO, arena, &value));
        return value;
}

static const IndexShape simple, multi = {.multi = true}, geo = {.geo = true};

/* A value has entries or a place in the rest: never neither but for nothing to be found, and only a multi index both.
 */
static void test_who(void **state)
{
        Arena arena;
        (void)state;
        arena_init(&arena, 0);
        for (size_t i = 0; i < COUNT; i++) {
                Value value = parse(texts[i], &arena);
                IndexEntries entries;
                IndexEntry rest;
                IndexEntryParts parts;
                assert_null(index_entries(simple, value, BYTES_STR("k"), &arena, &entries));
                bool in_rest = index_rest_entry(simple, value, false, BYTES_STR("k"), &arena, &rest);
                assert_int_equal(in_rest, entries.count == 0);
                if (in_rest) {
                        assert_true(index_is_rest(&rest, simple));
                        assert_true(index_entry_read(simple, rest.key, BYTES(rest.value, sizeof rest.value), &parts));
                        assert_true(bytes_equal(parts.primary_key, BYTES_STR("k")) && !parts.cut);
                } else {
                        assert_false(index_is_rest(&entries.items[0], simple));
                }
                in_rest = index_rest_entry(multi, value, false, BYTES_STR("k"), &arena, &rest);
                assert_int_equal(in_rest, !value_is(value, V_ARRAY) && !value_is(value, V_NULL));
                if (in_rest) {
                        assert_true(index_entry_read(multi, rest.key, BYTES(rest.value, sizeof rest.value), &parts));
                        assert_true(bytes_equal(parts.primary_key, BYTES_STR("k")) && parts.tag == 0);
                }
                assert_false(index_rest_entry(geo, value, false, BYTES_STR("k"), &arena, &rest));
        }
        IndexEntry rest;
        assert_false(index_rest_entry(simple, value_none(), false, BYTES_STR("k"), &arena, &rest));
        assert_true(index_rest_entry(simple, value_none(), true, BYTES_STR("k"), &arena, &rest));
        assert_int_equal(rest.key.data[0], INDEX_FAILED);
        assert_false(index_rest_entry(geo, value_none(), true, BYTES_STR("k"), &arena, &rest));
        arena_done(&arena);
}

static bool within(EngineRange range, Bytes key)
{
        return (!range.low.data || bytes_compare(range.low, key) <= 0) &&
               (!range.high.data || bytes_compare(key, range.high) < 0);
}

/* Whoever's value is within bounds is in their range; nobody else is in a range of whole values. */
static void test_ranges(void **state)
{
        Arena arena;
        (void)state;
        arena_init(&arena, 0);
        char *letters = arena_alloc(&arena, 300);
        memset(letters, 'x', 299);
        letters[299] = 0;
        Value values[COUNT + 2];
        for (size_t i = 0; i < COUNT; i++)
                values[i] = parse(texts[i], &arena);
        for (size_t i = 0; i < 2; i++)
                values[COUNT + i] = parse(arena_printf(&arena, "[\"%s%zu\",null]", letters, i), &arena);
        for (size_t i = 0; i < COUNT + 2; i++) {
                IndexEntry rest;
                if (!index_rest_entry(simple, values[i], false, BYTES_STR("k"), &arena, &rest))
                        continue;
                assert_true(
                        within(index_rest_span(false, (IndexBound){.none = true}, (IndexBound){.none = true}, &arena),
                               rest.key));
                assert_false(
                        within(index_rest_span(true, (IndexBound){.none = true}, (IndexBound){.none = true}, &arena),
                               rest.key));
                IndexSpan all = index_span((IndexBound){.none = true}, (IndexBound){.none = true}, &arena);
                assert_false(within(all.sure, rest.key));
                for (size_t low = 0; low < COUNT + 2; low++) {
                        for (size_t high = 0; high < COUNT + 2; high++) {
                                EngineRange range = index_rest_span(false, (IndexBound){.value = values[low]},
                                                                    (IndexBound){.value = values[high]}, &arena);
                                bool inside = value_compare(values[low], values[i]) <= 0 &&
                                              value_compare(values[i], values[high]) <= 0;
                                bool whole = low < COUNT && high < COUNT && i < COUNT;
                                if (inside || whole)
                                        assert_int_equal(within(range, rest.key), inside);
                        }
                }
        }
        arena_done(&arena);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_who), cmocka_unit_test(test_ranges)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
