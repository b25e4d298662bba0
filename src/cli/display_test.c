/* display_test.c - cells, widths and tables; every format; what a display holds. */
#include "base/check.h"

#include <stdio.h>

#include "base/mem.h"
#include "cli/cell.h"
#include "cli/display.h"
#include "value/json.h"

/* --- cells --- */

static void check_text(const char *text, size_t size, const char *shown, size_t width)
{
        Buf out;
        buf_init(&out, 1000);
        OK(cell_append_text(BYTES(text, size), &out));
        assert_int_equal(out.size, strlen(shown));
        if (out.size)
                assert_memory_equal(out.data, shown, out.size);
        assert_int_equal(cell_width(BYTES(out.data, out.size)), width);
        buf_done(&out);
}

#define TEXT(text, shown, width) check_text(text, sizeof(text) - 1, shown, width)

static void test_text(void **state)
{
        (void)state;
        TEXT("", "", 0);
        TEXT("plain", "plain", 5);
        TEXT("Zo\xc3\xab", "Zo\xc3\xab", 3);
        TEXT("\xe6\x9d\x8e\xe6\x98\x8e", "\xe6\x9d\x8e\xe6\x98\x8e", 4); /* two wide signs */
        TEXT("e\xcc\x81", "e\xcc\x81", 1);                               /* a mark on the sign before */
        TEXT("a\nb\tc\rd", "a\\nb\\tc\\rd", 10);
        TEXT("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m", 18);
        TEXT("\x00\x7f", "\\x00\\x7f", 8);
        TEXT("\xc2\x9b"
             "31m",
             "\\x9b31m", 7);                /* the same in one byte of Latin-1 */
        TEXT("\xe2\x80\xae", "\\u202e", 6); /* turns the direction */
        TEXT("a\xff\xc3", "a\\xff\\xc3", 9);
        size_t width;
        assert_int_equal(cell_fit(BYTES_STR("\xe6\x9d\x8e\xe6\x98\x8e"), 3, &width), 3);
        assert_int_equal(width, 2);
}

static Value parse(const char *json, Arena *arena)
{
        Value v;
        OK(json_parse_copy(BYTES_STR(json), JSON_PSEUDO, arena, &v));
        return v;
}

static void check_value(const char *json, const char *shown)
{
        Arena arena;
        Buf out;
        arena_init(&arena, 0);
        buf_init(&out, 1000);
        OK(cell_append_value(value_at(parse(json, &arena), 0), 0, &out));
        OK(buf_append_byte(&out, 0));
        assert_string_equal(out.data, shown);
        buf_done(&out);
        arena_done(&arena);
}

static void test_values(void **state)
{
        (void)state;
        check_value("[null]", "null");
        check_value("[true]", "true");
        check_value("[0.1]", "0.1");
        check_value("[\"a\\n\"]", "a\\n");
        check_value("[{\"b\":[1,\"x\\n\"],\"a\":null}]", "{\"a\":null,\"b\":[1,\"x\\n\"]}");
        check_value("[{\"$reql_type$\":\"TIME\",\"epoch_time\":1.5,\"timezone\":\"+01:00\"}]",
                    "1970-01-01T01:00:01.500+01:00");
        check_value("[{\"$reql_type$\":\"BINARY\",\"data\":\"AP8=\"}]", "<2 bytes>");
        check_value("[[{\"$reql_type$\":\"BINARY\",\"data\":\"AA==\"}]]", "[<1 byte>]");
}

static void check_pretty(const char *json, size_t columns, const char *shown)
{
        Arena arena;
        Buf out;
        arena_init(&arena, 0);
        buf_init(&out, 4000);
        OK(cell_append_pretty(parse(json, &arena), 0, columns, false, &out));
        OK(buf_append_byte(&out, 0));
        assert_string_equal(out.data, shown);
        buf_done(&out);
        arena_done(&arena);
}

static void test_pretty(void **state)
{
        (void)state;
        check_pretty("{}", 80, "{}");
        check_pretty("{\"a\":1,\"b\":[2,3]}", 80, "{\"a\": 1, \"b\": [2, 3]}");
        check_pretty("{\"a\":1,\"b\":[2,3],\"c\":{}}", 20, "{\n  \"a\": 1,\n  \"b\": [2, 3],\n  \"c\": {}\n}");
        check_pretty("[[1,2,3,4,5,6]]", 10, "[\n  [\n    1,\n    2,\n    3,\n    4,\n    5,\n    6\n  ]\n]");
        check_pretty("{\"t\":{\"$reql_type$\":\"TIME\",\"epoch_time\":0,\"timezone\":\"+00:00\"}}", 80,
                     "{\"t\": r.ISO8601(\"1970-01-01T00:00:00+00:00\")}");
}

/* --- displays --- */

typedef struct World {
        Sink sink;
        Display *display;
} World;

static void begin(World *world, DisplayStyle style)
{
        Sink like = {.columns = 80, .lines = 24};
        sink_init_memory(&world->sink, &like);
        OK(display_new(&style, &world->sink, &world->display));
}

static void shows(World *world, const char *expected)
{
        OK(display_end(world->display));
        OK(buf_append_byte(&world->sink.out, 0));
        assert_string_equal(world->sink.out.data, expected);
        world->display = display_free(world->display);
        sink_done(&world->sink);
}

static void row(World *world, const char *json)
{
        OK(display_row(world->display, BYTES_STR(json)));
}

static void test_table(void **state)
{
        World world;
        (void)state;
        begin(&world, (DisplayStyle){.footer = true});
        row(&world, "{\"a\":\"\xe6\x9d\x8e\",\"id\":1,\"n\":null}");
        row(&world, "{\"id\":20,\"b\":[1]}");
        shows(&world, " id | a  | n    | b\n----+----+------+-----\n  1 | \xe6\x9d\x8e | null |\n"
                      " 20 |    |      | [1]\n(2 rows)\n");
        begin(&world, (DisplayStyle){0});
        row(&world, "1");
        row(&world, "\"x\"");
        shows(&world, " value\n-------\n 1\n x\n");
        begin(&world, (DisplayStyle){.footer = true});
        shows(&world, "(0 rows)\n");
}

static void test_order(void **state)
{
        static const char *const order[] = {"z", "none", "m", NULL};
        World world;
        (void)state;
        begin(&world, (DisplayStyle){.order = order});
        row(&world, "{\"a\":1,\"id\":2,\"m\":3,\"z\":4}");
        shows(&world, " z | m | a | id\n---+---+---+----\n 4 | 3 | 1 |  2\n");
}

/* Rows behind the sample: into the columns there are, cut, the rest named. */
static void test_late_rows(void **state)
{
        World world;
        (void)state;
        begin(&world, (DisplayStyle){.columns = 20});
        row(&world, "{\"id\":1,\"a\":\"x\"}");
        OK(display_settle(world.display));
        assert_null(display_hidden_fields(world.display));
        row(&world, "{\"id\":1000,\"a\":\"long\",\"late\\u001b\":1}");
        row(&world, "\"a plain value that is too long\"");
        assert_string_equal(display_hidden_fields(world.display), "late\\x1b");
        shows(&world, " id | a\n----+---\n  1 | x\n 1\xe2\x80\xa6 | \xe2\x80\xa6\n a plain value tha\xe2\x80\xa6\n");
}

static void test_narrow(void **state)
{
        World world;
        (void)state;
        /* the widest give room */
        begin(&world, (DisplayStyle){.columns = 30});
        row(&world, "{\"id\":1,\"text\":\"0123456789012345678901234567890123456789\",\"u\":2}");
        shows(&world, " id | text                 | u\n----+----------------------+--\n"
                      "  1 | 0123456789012345678\xe2\x80\xa6 | 2\n");
        /* then the last columns go */
        begin(&world, (DisplayStyle){.columns = 14});
        row(&world, "{\"id\":1,\"aaaaaaaa\":1,\"bbbbbbbb\":2,\"cccccccc\":3}");
        OK(display_settle(world.display));
        assert_string_equal(display_hidden_fields(world.display), "bbbbbbbb, cccccccc");
        shows(&world, " id | aaaaaaaa\n----+---------\n  1 |        1\n");
}

static void test_expanded(void **state)
{
        World world;
        (void)state;
        begin(&world, (DisplayStyle){.expanded = true});
        row(&world, "{\"text\":\"two\\nlines\",\"id\":1}");
        row(&world, "2");
        shows(&world, "-[ 1 ]----\nid   | 1\ntext | two\n       lines\n-[ 2 ]----\nvalue | 2\n");
}

static void atom(World *world, const char *json)
{
        OK(display_atom(world->display, BYTES_STR(json)));
}

static void test_atoms(void **state)
{
        World world;
        (void)state;
        begin(&world, (DisplayStyle){.footer = true});
        atom(&world, "{\"b\":1,\"id\":null}");
        shows(&world, "id | null\nb  | 1\n");
        begin(&world, (DisplayStyle){.footer = true});
        atom(&world, "[{\"a\":1},{\"a\":2}]");
        shows(&world, " a\n---\n 1\n 2\n(2 rows)\n");
        begin(&world, (DisplayStyle){.limit = 1});
        atom(&world, "[1,2]");
        shows(&world, " value\n-------\n     1\n");
        begin(&world, (DisplayStyle){0});
        atom(&world, "{\"$reql_type$\":\"GROUPED_DATA\",\"data\":[[\"x\",1],[\"y\",2]]}");
        shows(&world, " group | reduction\n-------+-----------\n x     |         1\n y     |         2\n");
        begin(&world, (DisplayStyle){.plan = true});
        atom(&world, "{\"plan\":[],\"text\":\"a\\n  b\\u001b\\n\"}");
        shows(&world, "a\n  b\\x1b\n");
        begin(&world, (DisplayStyle){.format = DISPLAY_RAW});
        atom(&world, "\"a\\nb\"");
        shows(&world, "a\nb\n");
        begin(&world, (DisplayStyle){.format = DISPLAY_JSON});
        atom(&world, "{\"a\":1e400}"); /* text passes as it is */
        shows(&world, "{\"a\":1e400}\n");
        begin(&world, (DisplayStyle){.format = DISPLAY_CSV});
        atom(&world, "{\"a\":\"x,y\"}");
        shows(&world, "a\r\n\"x,y\"\r\n");
}

static void test_text_formats(void **state)
{
        World world;
        (void)state;
        begin(&world, (DisplayStyle){.format = DISPLAY_JSON});
        row(&world, "1");
        row(&world, "{}");
        shows(&world, "[\n1,\n{}\n]\n");
        begin(&world, (DisplayStyle){.format = DISPLAY_JSON});
        shows(&world, "[]\n");
        begin(&world, (DisplayStyle){.format = DISPLAY_JSONL});
        row(&world, "1");
        row(&world, "{\"a\":\"\xc3\xab\"}");
        shows(&world, "1\n{\"a\":\"\xc3\xab\"}\n");
        begin(&world, (DisplayStyle){.format = DISPLAY_CSV});
        row(&world,
            "{\"a\":{\"$reql_type$\":\"BINARY\",\"data\":\"AP8=\"},\"t\":{\"$reql_type$\":\"TIME\",\"epoch_time\":0,"
            "\"timezone\":\"+00:00\"},\"x\":null}");
        row(&world, "{\"x\":\"1\"}");
        shows(&world, "a,t,x\r\nAP8=,1970-01-01T00:00:00+00:00,null\r\n,,\"1\"\r\n");
}

/* Changefeeds: columns for what will come, and another header when it does not fit. */
static void test_feed(void **state)
{
        World world;
        (void)state;
        begin(&world, (DisplayStyle){.columns = 40});
        display_feed(world.display);
        OK(display_settle(world.display)); /* the first batch has no rows */
        row(&world, "{\"new_val\":{\"id\":1},\"old_val\":null}");
        OK(display_settle(world.display));
        row(&world, "{\"new_val\":{\"id\":1,\"a\":[1,2,3,4]},\"old_val\":{\"id\":1}}");
        shows(&world, " new_val            | old_val\n--------------------+-------------------\n"
                      " {\"id\":1}           | null\n {\"a\":[1,2,3,4],\"i\xe2\x80\xa6 | {\"id\":1}\n");
        begin(&world, (DisplayStyle){0});
        display_feed(world.display);
        row(&world, "{\"state\":\"ready\"}");
        OK(display_settle(world.display));
        row(&world, "{\"new_val\":1,\"old_val\":null}");
        row(&world, "{\"error\":\"lost\"}");
        row(&world, "{\"new_val\":2,\"old_val\":1}");
        shows(&world, " state | new_val | old_val\n-------+---------+---------\n ready |         |\n"
                      "       | 1       | null\n"
                      " state | new_val | old_val | error\n-------+---------+---------+-------\n"
                      "       |         |         | lost\n       | 2       | 1       |\n");
        begin(&world, (DisplayStyle){.format = DISPLAY_CSV});
        display_feed(world.display);
        row(&world, "{\"state\":\"ready\"}");
        OK(display_settle(world.display));
        row(&world, "{\"new_val\":1,\"old_val\":null}");
        shows(&world, "state,new_val,old_val\r\nready,,\r\n,1,null\r\n");
}

/* On a terminal every format is safe to look at. */
static void test_terminal(void **state)
{
        static const DisplayFormat formats[] = {DISPLAY_TABLE, DISPLAY_PRETTY, DISPLAY_JSON,
                                                DISPLAY_JSONL, DISPLAY_CSV,    DISPLAY_RAW};
        (void)state;
        for (size_t i = 0; i < ELEMENTS(formats); i++) {
                for (int n = 0; n < 4; n++) {
                        World world;
                        Sink like = {.terminal = true, .columns = 80, .lines = 24};
                        DisplayStyle style = {.format = formats[i], .expanded = n == 1, .columns = 80};
                        sink_init_memory(&world.sink, &like);
                        OK(display_new(&style, &world.sink, &world.display));
                        if (n < 2) {
                                row(&world, "{\"\\u001b[1m\x7f\":\"\\u001b[2m\xc2\x9b\\u0007\xe2\x80\xae\\r\"}");
                                row(&world, "\"\\u001b[3m\x7f\"");
                                OK(display_settle(world.display));
                                row(&world, "{\"late\\u001b\xc2\x9b\":\"\\u001b\x7f\"}");
                        } else {
                                OK(display_atom(
                                        world.display,
                                        n == 2 ? BYTES_STR("{\"\\u001b\xc2\x9b\":[\"\\u001b\x7f\",{\"\x7f\":1}]}")
                                               : BYTES_STR("\"\\u001b\xc2\x9b\x7f\\u0000\"")));
                        }
                        OK(display_end(world.display));
                        for (size_t at = 0; at < world.sink.out.size; at++) {
                                uint8_t c = world.sink.out.data[at];
                                assert_true(c == '\n' || (c >= 0x20 && c != 0x7f));
                                assert_true(c != 0xc2); /* no C1 either */
                        }
                        display_free(world.display);
                        sink_done(&world.sink);
                }
        }
}

/* No allocation is taken for granted. */
static void test_out_of_memory(void **state)
{
        (void)state;
        for (long n = 1, fired = 1; fired; n++) {
                DisplayStyle style = {.columns = 40, .footer = true};
                Sink like = {.columns = 40, .lines = 24}, sink;
                Display *display = NULL;
                sink_init_memory(&sink, &like);
                mem_fail_nth(n);
                Status st = display_new(&style, &sink, &display);
                for (int i = 0; st == ST_OK && i < 3; i++) {
                        mem_fail_nth(0); /* values live in arenas, which end the program when memory does */
                        st = display_row(display, BYTES_STR("{\"a\":1,\"b\":\"text\"}"));
                }
                fired = mem_fail_fired();
                mem_fail_nth(0);
                if (st)
                        assert_int_equal(status_code(st), ERR_NOMEM);
                status_ignore(st);
                display_free(display);
                sink_done(&sink);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_text),          cmocka_unit_test(test_values),   cmocka_unit_test(test_pretty),
                cmocka_unit_test(test_table),         cmocka_unit_test(test_order),    cmocka_unit_test(test_late_rows),
                cmocka_unit_test(test_narrow),        cmocka_unit_test(test_expanded), cmocka_unit_test(test_atoms),
                cmocka_unit_test(test_text_formats),  cmocka_unit_test(test_feed),     cmocka_unit_test(test_terminal),
                cmocka_unit_test(test_out_of_memory),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
