/* rows_test.c - files good and bad, as rows. Each case is also read in tiny pieces, so that the window's edges fall
 * everywhere. */
#include "cli/rows.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/mem.h"

/* A stream that gives `step` bytes at a time. */
typedef struct Slow {
        const char *text;
        size_t size, at, step;
} Slow;

static ssize_t slow_read(void *ctx, void *out, size_t size)
{
        Slow *slow = ctx;
        size_t n = MIN(MIN(slow->step, slow->size - slow->at), size);
        memcpy(out, slow->text + slow->at, n);
        slow->at += n;
        return (ssize_t)n;
}

/* The rows as text: `line:json` or `line!reason`, one a line. */
static char *read_rows(RowOptions options, const char *text, size_t size, size_t step)
{
        Slow slow = {.text = text, .size = size, .step = step};
        Buf out;
        RowReader *reader = NULL;
        buf_init(&out, 1 << 20);
        options.read = slow_read;
        options.ctx = &slow;
        options.row_max_bytes = options.row_max_bytes ? options.row_max_bytes : 1 << 20;
        options.name = options.name ? options.name : "-";
        Status st = rows_open(&options, &reader);
        while (st == ST_OK) {
                Row row;
                bool found;
                st = rows_next(reader, &row, &found);
                if (st || !found)
                        break;
                if (row.line_last > row.line)
                        st = buf_printf(&out, "%" PRIu64 "-%" PRIu64, row.line, row.line_last);
                else
                        st = buf_printf(&out, "%" PRIu64, row.line);
                assert_null(st);
                if (row.bad)
                        st = buf_printf(&out, "!%s\n", status_message(row.bad));
                else
                        st = buf_printf(&out, ":%.*s\n", (int)row.json.size, (const char *)row.json.data);
                assert_null(st);
                status_ignore(row.bad);
        }
        if (st) {
                Status printed = buf_printf(&out, "error: %s\n", status_message(st));
                assert_null(printed);
        }
        status_ignore(st);
        assert_null(buf_append_byte(&out, 0));
        rows_close(reader);
        return (char *)out.data;
}

static void check(RowOptions options, const char *text, const char *expected)
{
        static const size_t steps[] = {1 << 20, 1, 3};
        for (size_t i = 0; i < ELEMENTS(steps); i++) {
                char *rows = read_rows(options, text, strlen(text), steps[i]);
                assert_string_equal(rows, expected);
                mem_free(rows);
        }
}

#define read_literal(options, text, step) read_rows((options), (text), sizeof(text) - 1, (step))
#define AUTO                              ((RowOptions){.types = true})

static void test_json(void **state)
{
        (void)state;
        check(AUTO, "", "");
        check(AUTO, "  \n ", "");
        check(AUTO, "[]", "");
        check(AUTO, "[{\"a\":1},\n {\"b\":[1,{}]}\n]\n", "1:{\"a\":1}\n2:{\"b\":[1,{}]}\n");
        check(AUTO, "\xef\xbb\xbf[{\"a\":\"x]}\\\"\"}]", "1:{\"a\":\"x]}\\\"\"}\n");
        check(AUTO, "[{\n\"a\":1\n},{\"b\":2}]", "1-3:{\n\"a\":1\n}\n3:{\"b\":2}\n");
        check(AUTO, "{\n\"a\":1\n}\n{\"b\":2}", "1-3:{\n\"a\":1\n}\n4:{\"b\":2}\n");
        check((RowOptions){.rows_at = "data.items"},
              "{\"x\":[1,\"data\"],\"data\":{\"n\":{},\"items\":\n[{\"a\":1},{\"a\":2}],\"z\":0}}",
              "2:{\"a\":1}\n2:{\"a\":2}\n");
        check((RowOptions){.rows_at = "items"}, "{\"x\":1}", "error: -: there is no array at \"items\"\n");
        check((RowOptions){.rows_at = "items"}, "{\"items\":3}", "error: -: there is no array at \"items\"\n");
}

static void test_bad_json(void **state)
{
        (void)state;
        check(AUTO, "[{\"a\":1},\n3,\n{\"a\":2}]", "1:{\"a\":1}\n2!a row must be an object, this is 3\n3:{\"a\":2}\n");
        check(AUTO, "[{\"a\":1},{\"a\":1,\"a\":2},{\"a\":3}]",
              "1:{\"a\":1}\n1!the key \"a\" is there twice\n1:{\"a\":3}\n");
        char *rows = read_literal(AUTO, "[{\"a\":},\n{\"b\":[1},\n{\"c\":\"x\n},{\"d\":4}]", 7);
        assert_non_null(strstr(rows, "1!"));
        assert_non_null(strstr(rows, "2!"));
        assert_non_null(strstr(rows, "3-4!"));
        assert_non_null(strstr(rows, "4:{\"d\":4}\n"));
        mem_free(rows);
        /* a bracket that does not close costs its row, not the rest */
        rows = read_literal(AUTO, "[\n{\"a\":1,\n{\"b\":2},\n{\"c\":3}\n]", 100);
        assert_non_null(strstr(rows, "2!"));
        assert_non_null(strstr(rows, "3:{\"b\":2}\n4:{\"c\":3}\n"));
        mem_free(rows);
        rows = read_literal(AUTO, "[{\"a\":1},\n{\"b\":", 2);
        assert_non_null(strstr(rows, "1:{\"a\":1}\n2!"));
        assert_non_null(strstr(rows, "the file ends before the array does"));
        mem_free(rows);
}

static void test_ndjson(void **state)
{
        (void)state;
        check(AUTO, "{\"a\":1}\n\n{\"a\":2}\r\n{\"a\":3}", "1:{\"a\":1}\n3:{\"a\":2}\r\n4:{\"a\":3}\n");
        char *rows = read_literal(AUTO, "{\"a\":1}\n{\"a\":\n[1]\nx\n{\"a\":2}", 5);
        assert_non_null(strstr(rows, "1:{\"a\":1}\n2!"));
        assert_non_null(strstr(rows, "\n3!a row must be an object, this is [1]\n4!"));
        assert_non_null(strstr(rows, "\n5:{\"a\":2}\n"));
        mem_free(rows);
        /* invalid UTF-8 and a NUL */
        rows = read_literal((RowOptions){.format = ROWS_NDJSON}, "{\"a\":\"\xff\"}\n{\"a\":\"\0\"}\n{\"a\":1}", 28);
        assert_non_null(strstr(rows, "1!"));
        assert_non_null(strstr(rows, "2!"));
        assert_non_null(strstr(rows, "3:{\"a\":1}\n"));
        mem_free(rows);
}

static void test_long_rows(void **state)
{
        (void)state;
        enum { SIZE = 3 << 20 };
        char *text = malloc(SIZE + 64);
        size_t n = (size_t)sprintf(text, "{\"a\":1}\n{\"a\":\"");
        memset(text + n, 'x', SIZE);
        n += SIZE;
        n += (size_t)sprintf(text + n, "\"}\n{\"a\":2}\n");
        char *rows = read_rows((RowOptions){.format = ROWS_NDJSON}, text, n, 100000);
        assert_string_equal(rows, "1:{\"a\":1}\n2!the row is longer than 1 MiB\n3:{\"a\":2}\n");
        mem_free(rows);
        rows = read_rows((RowOptions){.format = ROWS_JSON}, text, n, 100000);
        assert_string_equal(rows, "1:{\"a\":1}\n2!the row is longer than 1 MiB\n3:{\"a\":2}\n");
        mem_free(rows);
        free(text);
}

static void test_csv(void **state)
{
        (void)state;
        check(AUTO, "id,name\n1,x\n", "2:{\"id\":1,\"name\":\"x\"}\n");
        check(AUTO, "id,name\r\n1,\"a,\"\"b\"\"\r\nc\"\r\n\r\n2,",
              "2-3:{\"id\":1,\"name\":\"a,\\\"b\\\"\\r\\nc\"}\n5:{\"id\":2}\n");
        check((RowOptions){.types = true, .format = ROWS_CSV, .separator = ';'},
              "a;b;c;d;e;f;g\ntrue;null;-1.5e3;007;\"1\";\"\";12345678901234567890\n",
              "2:{\"a\":true,\"b\":null,\"c\":-1.5e3,\"d\":\"007\",\"e\":\"1\",\"f\":\"\",\"g\":"
              "\"12345678901234567890\"}\n");
        check((RowOptions){.types = true, .strings = "b"}, "a,b\n0E8,1\n1e+2,2\n1.e5,3\n",
              "2:{\"a\":\"0E8\",\"b\":\"1\"}\n3:{\"a\":1e+2,\"b\":\"2\"}\n4:{\"a\":\"1.e5\",\"b\":\"3\"}\n");
        check((RowOptions){.types = true, .strings = "c"}, "a,b\n1,2\n",
              "error: --strings: there is no column \"c\"\n");
        check((RowOptions){.format = ROWS_CSV}, "a,b\n1,true\n", "2:{\"a\":\"1\",\"b\":\"true\"}\n");
        check((RowOptions){.format = ROWS_CSV, .types = true, .columns = "x,y"}, "1,2\n", "1:{\"x\":1,\"y\":2}\n");
        check((RowOptions){.format = ROWS_CSV, .types = true, .json_cells = true}, "a,b\n\"[1,{}]\",\"{bad\"\n",
              "2:{\"a\":[1,{}],\"b\":\"{bad\"}\n");
        check((RowOptions){.name = "x.tsv", .types = true}, "a\tb\n1\t2,3\n", "2:{\"a\":1,\"b\":\"2,3\"}\n");
        check(AUTO, "a\n\nx\n", "2:{}\n3:{\"a\":\"x\"}\n"); /* one column: an empty line is a row */
}

static void test_bad_csv(void **state)
{
        (void)state;
        check(AUTO, "a,b\n1\n1,2,3\n1,x\"y\n\"p\"q,2\n7,8\n",
              "2!the row has 1 cells, the header 2\n3!the row has 3 cells, the header 2\n"
              "4!a quote inside a cell that does not begin with one\n5!text after the closing quote of a "
              "cell\n6:{\"a\":7,\"b\":8}\n");
        check(AUTO, "a,b\n1,\"open\n2,3\n4,5\n",
              "2!a quoted cell does not end\n3:{\"a\":2,\"b\":3}\n4:{\"a\":4,\"b\":5}\n");
        check(AUTO, "a,a\n1,2\n", "error: the header line names \"a\" twice\n");
        check(AUTO, "a,,b\n", "error: column 2 of the header line has no name\n");
        check(AUTO,
              "\xff\xfe"
              "a",
              "error: - is UTF-16\n");
        check(AUTO,
              "\x1f\x8b"
              "a",
              "error: - is compressed\n");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_json),      cmocka_unit_test(test_bad_json), cmocka_unit_test(test_ndjson),
                cmocka_unit_test(test_long_rows), cmocka_unit_test(test_csv),      cmocka_unit_test(test_bad_csv),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
