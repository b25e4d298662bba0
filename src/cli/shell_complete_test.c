/* shell_complete_test.c - what could stand at the cursor; what of the history is kept. */
#include "base/check.h"

#include <stdio.h>

#include "cli/shell_complete.h"
#include "cli/shell_edit.h"
#include "cli/shell_int.h"
#include "reql/text_parse.h"

static const char *const kinds[] = {
        [COMPLETE_NONE] = "none",         [COMPLETE_START] = "start",         [COMPLETE_ROOT] = "root",
        [COMPLETE_METHODS] = "methods",   [COMPLETE_DATABASES] = "databases", [COMPLETE_TABLES] = "tables",
        [COMPLETE_INDEXES] = "indexes",   [COMPLETE_FIELDS] = "fields",       [COMPLETE_OPTIONS] = "options",
        [COMPLETE_COMMANDS] = "commands", [COMPLETE_TERMS] = "terms",         [COMPLETE_GLOBALS] = "globals",
        [COMPLETE_FORMATS] = "formats",   [COMPLETE_FILES] = "files",
};

/* "kind word" and then what else is known: quotes, db.table, /path, @term, +fields */
static void at(const char *before, const char *expected)
{
        char text[512];
        Completion c = complete_at(BYTES_STR(before));
        int n = snprintf(text, sizeof text, "%s %.*s", kinds[c.kind], (int)c.word.size, (const char *)c.word.data);
        if (c.kind != COMPLETE_NONE && c.quote)
                n += snprintf(text + n, sizeof text - (size_t)n, " %c", c.quote);
        if (c.quotes)
                n += snprintf(text + n, sizeof text - (size_t)n, " quotes");
        if (c.db.data)
                n += snprintf(text + n, sizeof text - (size_t)n, " %.*s.", (int)c.db.size, (const char *)c.db.data);
        if (c.table.data)
                n += snprintf(text + n, sizeof text - (size_t)n, " %.*s", (int)c.table.size,
                              (const char *)c.table.data);
        for (size_t i = 0; i < c.path_count; i++)
                n += snprintf(text + n, sizeof text - (size_t)n, "/%.*s", (int)c.path[i].size,
                              (const char *)c.path[i].data);
        if (c.term)
                n += snprintf(text + n, sizeof text - (size_t)n, " @%s", c.term->name);
        if (c.and_fields)
                snprintf(text + n, sizeof text - (size_t)n, " +fields");
        assert_string_equal(text, expected);
}

static void test_terms(void **state)
{
        (void)state;
        at("", "start ");
        at("r", "start r");
        at("r.", "root ");
        at("r.tab", "root tab");
        at("r.table(\"t\").fil", "methods fil");
        at("r.table(\"t\")\n  .fil", "methods fil");
        at("x.r.", "methods ");
        at("r.table(\"t\") ", "none ");
        at("r.table(\"t\").map(row => row.add(r.no", "root no");
        at("r.expr(\"not . here", "none not . here");
        at("r.expr(1); r.", "root ");
        at("/* unfinished r.", "none ");
        at("r.expr(12", "none ");
}

static void test_names(void **state)
{
        (void)state;
        at("r.db(\"sh", "databases sh \"");
        at("r.db('", "databases  '");
        at("r.db(", "databases  quotes");
        at("r.table(\"us", "tables us \"");
        at("r.db(\"a\").table(\"us", "tables us \" a.");
        at("r.db(\"a\").tableDrop(\"us", "tables us \" a.");
        at("r.table(\"t\", \"us", "none us");
        at("r.table(\"t\").getAll(1, {index: \"i", "indexes i \" t");
        at("r.table(\"t\").getAll(1, {index: ", "indexes  quotes t");
        at("r.db(\"a\").table(\"t\").indexDrop(\"", "indexes  \" a. t");
        at("r.table(\"t\").eqJoin(\"x\", r.db(\"b\").table(\"u\"), {index: \"", "indexes  \" b. u");
        at("r.indexDrop(\"", "none ");
}

static void test_fields(void **state)
{
        (void)state;
        at("r.table(\"t\").pluck(\"a", "fields a \" t");
        at("r.table(\"t\").pluck(\"a\", \"b", "fields b \" t");
        at("r.table(\"t\").pluck([\"a\", \"b", "fields b \" t");
        at("r.table(\"t\").orderBy(r.desc('n", "fields n ' t");
        at("r.table(\"t\").filter(row => row(\"a", "fields a \" t");
        at("r.table(\"t\").filter(r.row(\"a", "fields a \" t");
        at("r.table(\"t\").map(x => x(\"a\")(\"b\")(\"c", "fields c \" t/a/b");
        at("r.table(\"t\").map(x => x(\"a\")(\"b\").add(x(\"c", "fields c \" t");
        at("r.table(\"t\").map(x => x(\"a\") + x(\"b", "fields b \" t");
        at("r.table(\"t\").get(1)(\"a\").getField(\"b", "fields b \" t/a");
        at("r.table(\"t\").filter({\"a", "fields a \" t");
        at("r.table(\"t\").sum(", "fields  quotes t");
        at("r.table(\"t\").match(\"a", "none a");
        at("row(\"a", "none a");
        at("r.table(\"t\").count(); row(\"a", "none a");
}

static void test_objects(void **state)
{
        (void)state;
        at("r.table(\"t\").filter({na", "options na t +fields");
        at("r.table(\"t\").filter({a: 1, ", "options  t +fields");
        at("r.table(\"t\").filter({a: 1}, {def", "options def t @filter +fields");
        at("r.table(\"t\").insert({a: 1}, {", "options  t @insert +fields");
        at("r.tableCreate(\"t\", {pri", "options pri @tableCreate");
        at("r.expr({", "none ");
        at("r.table(\"t\").filter({a: r.no", "root no");
}

static void test_commands(void **state)
{
        (void)state;
        at("\\", "commands \\");
        at("  \\ti", "commands \\ti");
        at("\\d us", "tables us");
        at("\\d shop.us", "tables us shop.");
        at("\\d users x", "none users x");
        at("\\c sh", "databases sh");
        at("\\h get", "terms get");
        at("\\set arr", "globals arr");
        at("\\format ", "formats ");
        at("\\i a b/", "files a b/");
        at("\\explain r.tab", "root tab");
        at("\\explain analyze r.table(\"t", "tables t \"");
        at("\\watch 2 r.tab", "root tab");
        at("\\q x", "none x");
}

/* Every beginning of a text with everything in it, and the same with each byte put in: nothing is read that is not
 * there. */
static void test_anything(void **state)
{
        static const char text[] =
                "r.db(\"a\\\"b\").table('t', {x: `y`}).map(x => x(\"a\")([1, {'b': [\"c\"]}], /* */ // \n "
                "r.row(\"d\")[0]...)}])); \\d r.1.5e3 \xe2\x80\x9c \xff \"\\";
        (void)state;
        for (size_t size = 0; size < sizeof text; size++) {
                complete_at(BYTES(text, size));
                for (size_t from = 0; from < size; from++)
                        complete_at(BYTES(text + from, size - from));
        }
        char brackets[1000];
        for (size_t i = 0; i < sizeof brackets; i++)
                brackets[i] = "([{"[i % 3];
        complete_at(BYTES(brackets, sizeof brackets));
        memset(brackets, ')', sizeof brackets);
        complete_at(BYTES(brackets, sizeof brackets));
}

/* --- help --- */

static void test_examples_parse(void **state)
{
        Arena arena;
        (void)state;
        arena_init(&arena, 0);
        for (size_t n = 0; shell_example(n); n++) {
                TextQuery query;
                OK(text_parse(BYTES_STR(shell_example(n)), &arena, &query));
        }
        arena_done(&arena);
}

/* --- history --- */

static void test_what_is_kept(void **state)
{
        (void)state;
        assert_true(history_may_keep(BYTES_STR("r.table(\"authors\").get(1)")));
        assert_true(history_may_keep(BYTES_STR("r.db(\"a\").grant(\"ann\", {read: true})")));
        assert_false(history_may_keep(BYTES_STR("")));
        assert_false(history_may_keep(BYTES_STR(" r.now()")));
        assert_false(history_may_keep(BYTES_STR("r.table(\"users\").insert({id: \"a\", Password: \"x\"})")));
        assert_false(history_may_keep(BYTES_STR("r.http(\"h\", {auth: {user: \"a\", pass: \"b\"}})")));
}

static void test_lines_of_the_file(void **state)
{
        static const char statement[] = "a\\n\n\\b\n";
        Buf line, back;
        (void)state;
        buf_init(&line, 100);
        buf_init(&back, 100);
        OK(history_escape(BYTES_STR(statement), &line));
        assert_null(memchr(line.data, '\n', line.size));
        OK(history_unescape(BYTES(line.data, line.size), &back));
        assert_int_equal(back.size, strlen(statement));
        assert_memory_equal(back.data, statement, back.size);
        buf_clear(&back);
        OK(history_unescape(BYTES_STR("a\\"), &back));
        assert_int_equal(back.size, 2);
        buf_done(&line);
        buf_done(&back);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_terms),
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_fields),
                cmocka_unit_test(test_objects),
                cmocka_unit_test(test_commands),
                cmocka_unit_test(test_anything),
                cmocka_unit_test(test_examples_parse),
                cmocka_unit_test(test_what_is_kept),
                cmocka_unit_test(test_lines_of_the_file),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
