/* text_query_test.c - queries that are sent as text (term 10001): they run like any other, and errors say where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "query/fake_source.h"
#include "value/json.h"

static const QueryWorld world = {.source = &fake_source, .host = &fake_host, .memory_max_bytes = 64 << 20};

/* "rows", or "message @backtrace place". */
static void run(const char *text, const char *options, Buf *out)
{
        Query *query;
        uint8_t *buffer;
        Buf frame;
        QueryAnswer answer = ANSWER_PARTIAL;
        bool has = false;
        buf_init(&frame, 1 << 20);
        buf_clear(out);
        assert_null(buf_printf(&frame, "[1,[%d,[", WIRE_TEXT_TERM));
        assert_null(json_write_string(BYTES_STR(text), &frame));
        assert_null(buf_printf(&frame, "]],%s]", options));
        assert_null(query_new(&world, "admin", &query));
        assert_null(query_text_buffer(query, frame.size, &buffer));
        memcpy(buffer, frame.data, frame.size);
        Status st = query_prepare(query, BYTES(buffer, frame.size));
        for (int batch = 0; !st && answer == ANSWER_PARTIAL && batch < 20; batch++)
                st = query_next(query, out, &answer);
        if (st) {
                buf_clear(out);
                assert_null(buf_printf(out, "%s @", status_message(st)));
                assert_null(query_backtrace(query, out));
                size_t before = out->size;
                assert_null(buf_append_byte(out, ' '));
                assert_null(query_error_place(query, out, &has));
                out->size = has ? out->size : before;
                status_free(st);
        }
        assert_null(buf_append_byte(out, 0));
        query_free(query);
        buf_done(&frame);
        assert_true(fake_all_closed());
}

static void test_runs(void **state)
{
        static const struct {
                const char *text, *options, *gives;
        } cases[] = {
                {"r.table(\"t\").count()", "{}", "4"},
                {"r.table(\"t\").filter({g: 1}).map(x => x(\"id\"))", "{}", "2,4"},
                {"r.expr(1).coerceTo(\"array\")", "{\"array_limit\":2}",
                 "Cannot coerce NUMBER to ARRAY. @[0] {\"line\":1,\"column\":8,\"end_line\":1,\"end_column\":9}"},
                {"r.table(\"t\")\n  .map(x => x(\"v\") + 1)\n  .sum()", "{}",
                 "No attribute `v` in object:\n{\n\t\"g\":\t1,\n\t\"id\":\t4\n} @[0,1,1,0] "
                 "{\"line\":2,\"column\":14,\"end_line\":2,\"end_column\":19}"},
                {"r.table(\"u\").map(r.row(\"nothing\"))", "{}",
                 "No attribute `nothing` in object:\n{\n\t\"id\":\t1,\n\t\"t\":\t2\n} @[1,1] "
                 "{\"line\":1,\"column\":23,\"end_line\":1,\"end_column\":34}"},
                {"r.table(\"none\").count()", "{}",
                 "Table `test.none` does not exist. @[0] {\"line\":1,\"column\":1,\"end_line\":1,\"end_column\":16}"},
                {"r.table(\"t\").between(1, 2, {leftBound: \"x\" + \"y\"})", "{}",
                 "Expected `open` or `closed` for optarg `left_bound` (got `\"xy\"`). @[] "
                 "{\"line\":1,\"column\":14,\"end_line\":1,\"end_column\":51}"},
                {"r.expr(1).ad(2)", "{}",
                 "Line 1, column 11: There is no term `ad`. A field is taken with parentheses: (\"ad\"). @[] "
                 "{\"line\":1,\"column\":11,\"end_line\":1,\"end_column\":13}"},
                {"r.desc(\"a\")", "{}",
                 "DESC may only be used as an argument to ORDER_BY or UNION. @[] "
                 "{\"line\":1,\"column\":1,\"end_line\":1,\"end_column\":12}"},
                /* an option is at no place of the text */
                {"r.now()", "{\"array_limit\":\"x\"}", "Expected type NUMBER but found STRING. @[]"},
                {"r.now()", "{\"nonsense\":1}", "Unrecognized global optional argument `nonsense`. @[]"},
        };
        Buf out;
        int failed = 0;
        buf_init(&out, 1 << 20);
        for (size_t i = 0; i < ELEMENTS(cases); i++) {
                run(cases[i].text, cases[i].options, &out);
                if (strcmp((const char *)out.data, cases[i].gives) != 0) {
                        failed++;
                        print_error("%s\n  gives %s\n  not   %s\n", cases[i].text, (char *)out.data, cases[i].gives);
                }
        }
        buf_done(&out);
        assert_int_equal(failed, 0);
}

/* Any bytes of memory may be the last: it is an error like any other. */
static void test_memory(void **state)
{
        static char text[1 << 16];
        memset(text, '[', sizeof text - 1);
        for (size_t i = 0; i + 3 < sizeof text; i += 3)
                memcpy(text + i, "[],", 3);
        memcpy(text, "[  ", 3);
        text[sizeof text - 2] = ']';
        QueryWorld small = world;
        for (small.memory_max_bytes = 70000; small.memory_max_bytes < 8 << 20; small.memory_max_bytes *= 2) {
                Query *query;
                uint8_t *buffer;
                Buf frame;
                buf_init(&frame, 1 << 20);
                assert_null(buf_printf(&frame, "[1,[%d,[\"%s\"]]]", WIRE_TEXT_TERM, text));
                assert_null(query_new(&small, "admin", &query));
                Status st = query_text_buffer(query, frame.size, &buffer);
                if (!st) {
                        memcpy(buffer, frame.data, frame.size);
                        st = query_prepare(query, BYTES(buffer, frame.size));
                }
                StatusCode code = status_code(st);
                assert_true(code == ERR_NONE || code == ERR_RESOURCE || code == ERR_NOMEM);
                status_free(st);
                query_free(query);
                buf_done(&frame);
        }
}

static int setup(void **state)
{
        arena_init(&fake.arena, 0);
        fake_add("t",
                 "[{\"id\":1,\"g\":0,\"v\":10},{\"id\":2,\"g\":1,\"v\":20},{\"id\":3,\"v\":30},{\"id\":4,\"g\":1}]");
        fake_add("u", "[{\"id\":1,\"t\":2},{\"id\":2,\"t\":4},{\"id\":3}]");
        return 0;
}
static int teardown(void **state)
{
        arena_done(&fake.arena);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_runs), cmocka_unit_test(test_memory)};
        return cmocka_run_group_tests(tests, setup, teardown);
}
