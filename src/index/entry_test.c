#include "base/check.h"

#include "index/entry.h"
#include "base/mem.h"
#include "value/json.h"
#include "value/key.h"

static Arena arena;

static int setup(void **state)
{
        arena_init(&arena, 0);
        return 0;
}

static int teardown(void **state)
{
        arena_done(&arena);
        return 0;
}

static Value parse(const char *text)
{
        Value v;
        OK(json_parse_copy(BYTES_STR(text), JSON_PSEUDO, &arena, &v));
        return v;
}

static IndexEntries entries_of(IndexShape shape, Value value, unsigned id)
{
        IndexEntries entries;
        OK(index_entries(shape, value, key_encode(value_number(id), &arena), &arena, &entries));
        return entries;
}

static const IndexShape simple = {0}, multi = {.multi = true}, geo = {.geo = true};

static Bytes stored(const IndexEntry *entry)
{
        return BYTES(entry->value, sizeof entry->value);
}

static void test_whole_values(void **state)
{
        static const char *const ascending[] = {"[]", "[1]", "[1,2]", "[2]",   "false",        "true",   "-1",
                                                "0",  "10",  "\"\"",  "\"a\"", "\"a\\u0000\"", "\"ab\"", "\"b\""};
        Bytes last = BYTES_NONE;
        for (size_t i = 0; i < ELEMENTS(ascending); i++)
                for (unsigned id = 1; id < 3; id++) {
                        IndexEntries entries = entries_of(simple, parse(ascending[i]), id);
                        IndexEntryParts parts;
                        assert_int_equal(entries.count, 1);
                        assert_true(bytes_compare(entries.items[0].key, last) > 0);
                        last = entries.items[0].key;
                        assert_true(index_entry_read(simple, last, stored(&entries.items[0]), &parts));
                        assert_false(parts.cut);
                        assert_true(bytes_equal(parts.value, key_encode(parse(ascending[i]), &arena)));
                        assert_true(bytes_equal(parts.primary_key, key_encode(value_number(id), &arena)));
                }
}

static void test_no_entries(void **state)
{
        static const char *const texts[] = {"null", "{}", "[null]", "[{}]", "[[1,[null]]]"};
        for (size_t i = 0; i < ELEMENTS(texts); i++)
                assert_int_equal(entries_of(simple, parse(texts[i]), 1).count, 0);
        assert_int_equal(entries_of(simple, value_none(), 1).count, 0);
        assert_int_equal(entries_of(simple, value_minval(), 1).count, 0);
        assert_int_equal(entries_of(geo, parse("1"), 1).count, 0);
}

static void test_multi(void **state)
{
        IndexEntries entries = entries_of(multi, parse("[2,1,null,1]"), 7);
        static const uint32_t tags[] = {1, 3, 0};
        assert_int_equal(entries.count, 3);
        for (size_t i = 0; i < 3; i++) {
                IndexEntryParts parts;
                assert_true(index_entry_read(multi, entries.items[i].key, stored(&entries.items[i]), &parts));
                assert_int_equal(parts.tag, tags[i]);
                assert_true(bytes_equal(parts.primary_key, key_encode(value_number(7), &arena)));
                assert_int_equal(parts.row.size, parts.primary_key.size + INDEX_TAG_BYTES);
        }
        assert_int_equal(entries_of(multi, parse("5"), 7).count, 1);
        assert_int_equal(entries_of(multi, parse("[]"), 7).count, 0);
        assert_true(value_equal(index_value_at(multi, parse("[4,5]"), 1), value_number(5)));
        assert_true(value_is(index_value_at(multi, parse("[4,5]"), 2), V_NONE));
}

static Value text_of(size_t size, char last)
{
        char *text = arena_alloc(&arena, size);
        memset(text, 'x', size);
        text[size - 1] = last;
        return value_string(BYTES(text, size));
}

static bool in_range(EngineRange range, Bytes key)
{
        return (!range.low.data || bytes_compare(key, range.low) >= 0) &&
               (!range.high.data || bytes_compare(key, range.high) < 0);
}

/* Entries of equal values, and no others (that two of these have one hash would be chance), are where one of them says.
 */
static void test_same_values(void **state)
{
        Value values[] = {parse("1"),        parse("2"),         parse("\"x\""),    parse("\"xx\""),
                          parse("[\"x\"]"),  parse("[\"x\",1]"), text_of(198, 'x'), text_of(199, 'x'),
                          text_of(200, 'x'), text_of(201, 'a'),  text_of(201, 'b'), text_of(400, 'a'),
                          text_of(400, 'b'), text_of(401, 'b'),  parse("true"),     parse("[]")};
        for (size_t shape = 0; shape < 2; shape++)
                for (size_t i = 0; i < ELEMENTS(values); i++)
                        for (size_t k = 0; k < ELEMENTS(values); k++) {
                                /* an array is several values in a multi index */
                                Value one = values[i], many = value_array(&values[k], 1);
                                IndexEntries a =
                                        entries_of(shape ? multi : simple, shape ? value_array(&one, 1) : one, 1);
                                IndexEntries b = entries_of(shape ? multi : simple, shape ? many : values[k], 99);
                                uint8_t after[INDEX_SAME_MAX];
                                assert_int_equal(a.count, 1);
                                assert_true(in_range(index_same(&a.items[0], after), b.items[0].key) == (i == k));
                                bool cut = a.items[0].whole.data;
                                assert_true(cut == (key_encode(one, &arena).size > INDEX_VALUE_MAX));
                                assert_true(!cut || bytes_equal(a.items[0].whole, key_encode(one, &arena)));
                        }
}

/* What an entry's key says about bounds: it is in `sure`, or doubtful, or outside; against the values themselves. */
static void check_span(const Value *values, size_t count, IndexBound low, IndexBound high)
{
        IndexSpan span = index_span(low, high, &arena);
        for (size_t i = 0; i < count; i++) {
                IndexEntries entries = entries_of(simple, values[i], 1);
                Bytes key = entries.items[0].key, whole = key_encode(values[i], &arena);
                int above = low.none ? 1 : value_compare(values[i], low.value);
                int below = high.none ? -1 : value_compare(values[i], high.value);
                bool within = (above > 0 || (above == 0 && !low.open)) && (below < 0 || (below == 0 && !high.open));
                bool doubtful = false;
                uint8_t after[INDEX_VALUE_MAX];
                if (span.low_doubt.data)
                        doubtful |= in_range(index_group(span.low_doubt, after), key);
                if (span.high_doubt.data)
                        doubtful |= in_range(index_group(span.high_doubt, after), key);
                bool sure = !span.sure_empty && in_range(span.sure, key);
                assert_true(index_span_holds(&span, whole) == within);
                assert_false(sure && doubtful);
                if (!doubtful)
                        assert_true(sure == within);
        }
}

enum { SPANNED = 17 };

static void make_spanned(Value *values)
{
        static const struct {
                size_t size;
                char last;
        } texts[] = {{197, 'x'}, {198, 'x'}, {199, 'a'}, {199, 'x'}, {200, 'x'},
                     {201, 'a'}, {201, 'z'}, {400, 'b'}, {400, 'c'}};
        static const char *const others[] = {"[]", "[1,\"x\"]", "true", "-5", "3", "\"\"", "\"x\"", "\"y\""};
        size_t n = 0;
        for (size_t i = 0; i < ELEMENTS(others); i++)
                values[n++] = parse(others[i]);
        for (size_t i = 0; i < ELEMENTS(texts); i++)
                values[n++] = text_of(texts[i].size, texts[i].last);
        assert_int_equal(n, SPANNED);
}

static void test_spans(void **state)
{
        for (size_t i = 0; i < SPANNED + 2; i++)
                for (size_t k = 0; k < SPANNED + 2; k++) {
                        Value values[SPANNED + 2];
                        arena_reset(&arena);
                        make_spanned(values);
                        values[SPANNED] = value_minval();
                        values[SPANNED + 1] = value_maxval();
                        for (unsigned types = 0; types < 9; types++)
                                check_span(values, SPANNED,
                                           (IndexBound){
                                                   .value = values[i], .open = types % 3 == 1, .none = types % 3 == 2},
                                           (IndexBound){
                                                   .value = values[k], .open = types / 3 == 1, .none = types / 3 == 2});
                }
}

#define POINT(lon, lat) "{\"$reql_type$\":\"GEOMETRY\",\"type\":\"Point\",\"coordinates\":[" lon "," lat "]}"

static void test_geo(void **state)
{
        IndexEntries entries = entries_of(geo, parse(POINT("1", "2")), 1);
        IndexEntryParts parts;
        IndexCells cells;
        assert_int_equal(entries.count, 1);
        assert_true(index_entry_read(geo, entries.items[0].key, stored(&entries.items[0]), &parts));
        uint64_t cell;
        memcpy(&cell, parts.value.data, sizeof cell);
        cell = __builtin_bswap64(cell);
        assert_true(in_range(index_cells((GeoRange){cell, cell}, &cells), entries.items[0].key));
        assert_true(in_range(index_cells((GeoRange){cell, UINT64_MAX}, &cells), entries.items[0].key));
        assert_false(in_range(index_cells((GeoRange){cell + 1, UINT64_MAX}, &cells), entries.items[0].key));
        assert_false(in_range(index_cells((GeoRange){0, cell - 1}, &cells), entries.items[0].key));
        IndexShape both = {.multi = true, .geo = true};
        assert_int_equal(entries_of(both, parse("[" POINT("1", "2") ",3," POINT("1", "2") "]"), 1).count, 2);
        assert_int_equal(entries_of(both, parse("[" POINT("1", "2") "," POINT("999", "2") "]"), 1).count, 0);
}

static void test_strangers(void **state)
{
        IndexEntries entries = entries_of(simple, parse("\"abc\""), 1);
        Bytes key = entries.items[0].key;
        IndexEntryParts parts;
        uint8_t head[2];
        assert_false(index_entry_read(simple, key, BYTES_NONE, &parts));
        store_u16(head, (uint16_t)key.size);
        assert_false(index_entry_read(simple, key, BYTES(head, 2), &parts));
        store_u16(head, 0x8000 | 5);
        assert_false(index_entry_read(simple, key, BYTES(head, 2), &parts));
        store_u16(head, 0);
        assert_false(index_entry_read(simple, key, BYTES(head, 2), &parts));
        assert_false(index_entry_read(geo, key, stored(&entries.items[0]), &parts));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_whole_values), cmocka_unit_test(test_no_entries),  cmocka_unit_test(test_multi),
                cmocka_unit_test(test_spans),        cmocka_unit_test(test_same_values), cmocka_unit_test(test_geo),
                cmocka_unit_test(test_strangers),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
