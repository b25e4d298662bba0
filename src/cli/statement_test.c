/* statement_test.c - where statements end. */
#include "base/check.h"

#include "cli/statement.h"

static void check(StatementScan scan, const char *text, const char *statement, bool ended, uint8_t open)
{
        Bytes trimmed = statement_trim(BYTES(text, scan.size));
        assert_int_equal(trimmed.size, strlen(statement));
        if (trimmed.size)
                assert_memory_equal(trimmed.data, statement, trimmed.size);
        assert_int_equal(scan.ended, ended);
        assert_int_equal(scan.open, open);
        assert_int_equal(scan.unfinished, open != 0);
        assert_int_equal(scan.blank, trimmed.size == 0);
}

static void one(const char *text, const char *statement, bool ended, uint8_t open)
{
        check(statement_scan(BYTES_STR(text)), text, statement, ended, open);
}

static void first_line(const char *text, const char *statement, bool ended, uint8_t open)
{
        check(statement_scan_lines(BYTES_STR(text)), text, statement, ended, open);
}

static void test_semicolons(void **state)
{
        (void)state;
        one("", "", false, 0);
        one(" \n// nothing ; here\n/* nor ; here */", "", false, 0);
        one(";a", "", true, 0);
        one("r.x();r.y()", "r.x()", true, 0);
        one("r.x(\";\", ';', `;`, /* ; */ 1 // ;\n); 2", "r.x(\";\", ';', `;`, /* ; */ 1 // ;\n)", true, 0);
        one("x => { return x; }; 1", "x => { return x; }", true, 0);
        one("a\nb\n.c", "a\nb\n.c", false, 0); /* newlines say nothing here */
        assert_int_equal(statement_scan(BYTES_STR("ab ;c")).next, 4);
}

static void test_what_is_open(void **state)
{
        (void)state;
        one("r.x(", "r.x(", false, '(');
        one("r.x([{a: 1}, ", "r.x([{a: 1},", false, '[');
        one("r.x({a:", "r.x({a:", false, '{');
        one("r.x(`two\nlines", "r.x(`two\nlines", false, '`');
        one("r.x() /* no end", "r.x() /* no end", false, '/');
        one("r.x().", "r.x().", false, '.');
        one("1 +", "1 +", false, '.');
        one("row =>", "row =>", false, '.');
        one("r.x({a: 1}) // (", "r.x({a: 1})", false, 0);
        /* what no further line can mend is whole: the server says what is wrong */
        one("r.x(\"no end", "r.x(\"no end", false, 0);
        one("r.x)", "r.x)", false, 0);
        /* many brackets are no trouble */
        char deep[2000];
        memset(deep, '[', sizeof deep - 1);
        deep[sizeof deep - 1] = 0;
        one(deep, deep, false, '[');
}

static void test_lines(void **state)
{
        (void)state;
        first_line("a\nb", "a", false, 0);
        first_line("a", "a", false, 0);
        first_line("a // c\nb", "a", false, 0);
        first_line("\n\n a; b\n", "a", true, 0);
        first_line("r.x(\n1)\nb", "r.x(\n1)", false, 0);
        first_line("r.x()\n  .y()\n\n // c\n .z()\nb", "r.x()\n  .y()\n\n // c\n .z()", false, 0);
        first_line("1 +\n2\n3", "1 +\n2", false, 0);
        first_line("r.x().\n", "r.x().", false, '.');
        first_line("r.x(\"no end\n1", "r.x(\"no end", false, 0);
        first_line("r.x)\n1", "r.x)", false, 0);
        /* a cursor behind the newline: more may come that begins with a dot */
        assert_int_equal(statement_scan_lines(BYTES_STR("a\n")).next, 2);
        assert_int_equal(statement_scan_lines(BYTES_STR("a\nb")).next, 1);
}

static void test_places(void **state)
{
        size_t line, column;
        (void)state;
        Bytes text = BYTES_STR("a\n\xc3\xa9 b\n");
        statement_place(text, 0, &line, &column);
        assert_int_equal(line * 100 + column, 101);
        statement_place(text, 5, &line, &column);
        assert_int_equal(line * 100 + column, 203);
        statement_place(text, 7, &line, &column);
        assert_int_equal(line * 100 + column, 301);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_semicolons),
                cmocka_unit_test(test_what_is_open),
                cmocka_unit_test(test_lines),
                cmocka_unit_test(test_places),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
