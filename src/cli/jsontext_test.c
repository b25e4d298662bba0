/* jsontext_test.c - ends of values, terms, CSV cells there and back. */
#include "cli/jsontext.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "cli/csv.h"
#include "value/json.h"

static void check_term(const char *json, const char *expected)
{
        Buf out;
        buf_init(&out, 4096);
        assert_null(jsontext_append_term(BYTES_STR(json), &out));
        assert_int_equal(out.size, strlen(expected));
        assert_memory_equal(out.data, expected, out.size);
        buf_done(&out);
}

static void test_terms(void **state)
{
        (void)state;
        check_term("{\"a\":1e400}", "{\"a\":1e400}");
        check_term("{\"a\":[1,[2],\"]\\\"[\"]}", "{\"a\":[2,[1,[2,[2]],\"]\\\"[\"]]}");
        check_term("[]", "[2,[]]");
}

static Status count_elements(void *ctx, Bytes element)
{
        Buf *out = ctx;
        TRY(buf_append(out, element.data, element.size));
        return buf_append_byte(out, '|');
}

static void test_walking(void **state)
{
        (void)state;
        Bytes body = BYTES_STR("{\"t\":3,\"r\":[{\"r\":[1]},\"a,]\", 3 ,[]],\"n\":[]}");
        Bytes rows = jsontext_field(body, "r");
        Buf out;
        buf_init(&out, 4096);
        assert_null(jsontext_each_element(rows, count_elements, &out));
        assert_int_equal(out.size, strlen("{\"r\":[1]}|\"a,]\"|3|[]|"));
        assert_memory_equal(out.data, "{\"r\":[1]}|\"a,]\"|3|[]|", out.size);
        assert_true(bytes_equal(jsontext_field(body, "t"), BYTES_STR("3")));
        assert_null(jsontext_field(body, "x").data);
        assert_null(jsontext_field(BYTES_STR("[]"), "x").data);
        assert_null(jsontext_field(BYTES_STR("{\"a\":[1"), "b").data);
        buf_done(&out);
}

/* What is written as a cell comes back as the same value. */
static void test_cells(void **state)
{
        (void)state;
        static const char *const values[] = {
                "\"\"",    "\"1\"",   "\"true\"",  "\"null\"", "\"a,b\"", "\"q\\\"q\"", "\"two\\nlines\"",
                "\" s \"", "\"007\"", "\"é\"",     "1",        "-0.5",    "1e21",       "true",
                "null",    "[1,2]",   "{\"a\":[]}"};
        Arena arena;
        Buf line, json;
        arena_init(&arena, 0);
        buf_init(&line, 4096);
        buf_init(&json, 4096);
        Bytes name = BYTES_STR("x");
        CsvColumns columns = {.names = &name, .count = 1};
        for (size_t i = 0; i < ELEMENTS(values); i++) {
                Value v, back;
                buf_clear(&line);
                buf_clear(&json);
                assert_null(json_parse_copy(BYTES_STR(values[i]), JSON_PLAIN, &arena, &v));
                assert_null(csv_append_cell(v, BYTES_STR(values[i]), ',', &line));
                assert_null(csv_to_json(BYTES(line.data, line.size), ',', &columns, true, true, &arena, &json));
                assert_null(json_parse_copy(BYTES(json.data, json.size), JSON_PLAIN, &arena, &back));
                assert_true(value_equal(v, value_get_str(back, "x")));
        }
        buf_done(&line);
        buf_done(&json);
        arena_done(&arena);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_terms), cmocka_unit_test(test_walking),
                                           cmocka_unit_test(test_cells)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
