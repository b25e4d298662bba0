/* text_parse_test.c - mistakes in texts and where they are; places of terms; depth; names. The wire form of right texts
 * is compared with the official driver's in tests/text, and random ones in fuzz/text_check.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "reql/print_text.h"
#include "reql/text_names.h"
#include "reql/wire.h"
#include "value/json.h"

static Arena arena;

/* [1,[10001,["text"]],options] */
static Status compile(Bytes text, const char *options, WireQuery *query, const Term **at)
{
        Buf frame;
        buf_init(&frame, 64 << 20);
        assert_null(buf_printf(&frame, "[1,[%d,[", WIRE_TEXT_TERM));
        assert_null(json_write_string(text, &frame));
        assert_null(buf_printf(&frame, "]]%s]", options));
        uint8_t *padded = arena_zalloc(&arena, frame.size + JSON_PADDING);
        memcpy(padded, frame.data, frame.size);
        *query = (WireQuery){0};
        Status st = wire_parse(BYTES(padded, frame.size), &arena, query, at);
        buf_done(&frame);
        return st;
}

typedef struct Case {
        const char *text, *message;
        unsigned place[4]; /* line, column, end line, end column */
} Case;

static void test_mistakes(void **state)
{
        static const Case cases[] = {
                {"r.table(\"t\").fliter({a: 1})", "There is no term `fliter`. Did you mean `.filter`?", {1, 14, 1, 20}},
                {"r.table(\"t\").get(1).age",
                 "There is no term `age`. A field is taken with parentheses: (\"age\"). Or did you mean `.ge`?",
                 {1, 21, 1, 24}},
                {"r.table(\"t\").filter(x -> x.a > 3)", "An arrow is written =>: `x => ...`", {1, 21, 1, 22}},
                {"r.table(\"t\").filtr({a: 1})", "There is no term `filtr`. Did you mean `.filter`?", {1, 14, 1, 19}},
                {"r.tabel(\"t\")", "There is no term `r.tabel`. Did you mean `r.table`?", {1, 3, 1, 8}},
                {"r.tables(\"t\")", "There is no term `r.tables`. Did you mean `r.table`?", {1, 3, 1, 9}},
                {"r.table(\"t\").where({a: 1})",
                 "There is no term `where`. Did you mean .filter(...)?",
                 {1, 14, 1, 19}},
                {"r.table(\"t\").quux()",
                 "There is no term `quux`. A field is taken with parentheses: (\"quux\").",
                 {1, 14, 1, 18}},
                {"r.quux()", "There is no term `r.quux`.", {1, 3, 1, 7}},
                {"r.table(\"t\").count",
                 "`count` lacks its parentheses: sequence.count(value or function)",
                 {1, 14, 1, 19}},
                {"r.table(\"t\").filter",
                 "`filter` lacks its parentheses: sequence.filter(object or function, {default})",
                 {1, 14, 1, 20}},
                {"r.table",
                 "`table` lacks its parentheses: db.table(name, {readMode, identifierFormat})",
                 {1, 3, 1, 8}},
                {"r", "`r` is no value by itself: a term follows it, as in r.table(\"name\").", {1, 1, 1, 2}},
                {"r.", "The text ends where the name of a term is expected.", {1, 3, 1, 3}},
                {"r.table(\"t\").", "The text ends where the name of a term is expected.", {1, 14, 1, 14}},
                {"r.table(\"t\")..count()", "Expected the name of a term but found `.`.", {1, 14, 1, 15}},
                {"r.table(\"t\").limit()", "`limit` takes 1 argument but has 0: sequence.limit(count)", {1, 14, 1, 19}},
                {"r.table(\"t\").limit(1, 2)",
                 "`limit` takes 1 argument but has 2: sequence.limit(count)",
                 {1, 14, 1, 19}},
                {"r.table(\"t\").filter()",
                 "`filter` takes 1 argument but has 0: sequence.filter(object or function, {default})",
                 {1, 14, 1, 20}},
                {"r.table(\"t\").filter({a: 1}, {default: true}, 5)",
                 "`filter` takes 1 argument but has 3: sequence.filter(object or function, {default})",
                 {1, 14, 1, 20}},
                {"r.table(\"t\").orderBy(\"a\", {indx: \"b\"})",
                 "`orderBy` has no option `indx`. Did you mean `index`?",
                 {1, 28, 1, 32}},
                {"r.table(\"t\").limit(1, {a: 1})",
                 "`limit` takes 1 argument but has 2: sequence.limit(count)",
                 {1, 14, 1, 19}},
                {"r.table(\"t\").filter(a = 5)",
                 "`filter` has no option `a`: sequence.filter(object or function, {default})",
                 {1, 21, 1, 22}},
                {"r.table(\"t\").limit(n=5)", "`limit` has no options. To compare, write ==", {1, 21, 1, 22}},
                {"r.table(\"t\").insert({}, {conflict: \"x\", Conflict: \"y\"})",
                 "`conflict` is here for the second time.",
                 {1, 41, 1, 49}},
                {"r.table(\"t\").filter(row => row(\"a\") = 5)",
                 "Expected `)` for the `(` of line 1, column 20 but found `=`. Equality is written ==",
                 {1, 37, 1, 38}},
                {"r.table(\"t\").filter(row => rwo(\"a\"))",
                 "There is no variable `rwo`. Did you mean `row`?",
                 {1, 28, 1, 31}},
                {"r.table(\"t\").filter(r.row(\"a\" > 5)",
                 "The text ends where `)` for the `(` of line 1, column 20 is expected.",
                 {1, 35, 1, 35}},
                {"r.table(\"t\").filter(row => row(\"a\") > 5",
                 "The text ends where `)` for the `(` of line 1, column 20 is expected.",
                 {1, 40, 1, 40}},
                {"r.table(\"t\").filter(row => row(\"a\"]",
                 "Expected `)` for the `(` of line 1, column 31 but found `]`.",
                 {1, 35, 1, 36}},
                {"[1, 2", "The text ends where `]` for the `[` of line 1, column 1 is expected.", {1, 6, 1, 6}},
                {"{a: 1", "The text ends where `}` for the `{` of line 1, column 1 is expected.", {1, 6, 1, 6}},
                {"{a}", "The key `a` has no value: {a: ...}.", {1, 2, 1, 3}},
                {"{a: 1, a: 2}", "`a` is here for the second time.", {1, 8, 1, 9}},
                {"{a 1}", "Expected `:` and a value but found `1`.", {1, 4, 1, 5}},
                {"{[a]: 1}", "A computed key is written r.object(key, value).", {1, 2, 1, 3}},
                {"{...a}", "There is no spread; objects are put together with .merge().", {1, 2, 1, 5}},
                {"[...a]",
                 "Expected a value but found `...`. Items of an array become arguments with r.args(array).",
                 {1, 2, 1, 5}},
                {"r.table(\"t\").getAll(...[1])",
                 "Items of an array become arguments with r.args(array).",
                 {1, 21, 1, 24}},
                {"r.table(\"t\").getAll(*[1])",
                 "Items of an array become arguments with r.args(array).",
                 {1, 21, 1, 22}},
                {"(1, 2)", "Expected `)` for the `(` of line 1, column 1 but found `,`.", {1, 3, 1, 4}},
                {"1 2",
                 "Expected the end, or a dot and a term but found `2`. Is a comma or an operator missing?",
                 {1, 3, 1, 4}},
                {"\"a\" \"b\"",
                 "Expected the end, or a dot and a term but found `\"b\"`. Is a comma or an operator missing?",
                 {1, 5, 1, 8}},
                {"r.table(\"t\") r.table(\"u\")",
                 "Expected the end, or a dot and a term but found `r`. Is a comma or an operator missing?",
                 {1, 14, 1, 15}},
                {"r.table(\"t\"); r.table(\"u\")",
                 "There is one query in a text; this begins another.",
                 {1, 15, 1, 16}},
                {"1 < 2 < 3", "Comparisons are not chained: write a < b && b < c, or r.lt(a, b, c).", {1, 7, 1, 8}},
                {"1 == 2 == 3", "Comparisons are not chained: write a < b && b < c, or r.lt(a, b, c).", {1, 8, 1, 10}},
                {"1 & 2",
                 "Expected the end, or a dot and a term but found `&`. Conditions are joined with && and ||; bits with "
                 ".bitAnd(), .bitOr(), .bitXor(), .bitNot().",
                 {1, 3, 1, 4}},
                {"~1",
                 "Expected a value but found `~`. Conditions are joined with && and ||; bits with .bitAnd(), .bitOr(), "
                 ".bitXor(), .bitNot().",
                 {1, 1, 1, 2}},
                {"x => x.a && x.b & 1",
                 "Expected the end, or a dot and a term but found `&`. Conditions are joined with && and ||; bits with "
                 ".bitAnd(), .bitOr(), .bitXor(), .bitNot().",
                 {1, 17, 1, 18}},
                {"select * from users where a = 5",
                 "This looks like SQL. ReQL is written r.table(\"users\").filter({a: 1}).pluck(\"b\")",
                 {1, 1, 1, 7}},
                {"INSERT INTO t VALUES (1)",
                 "This looks like SQL. ReQL is written r.table(\"t\").insert({a: 1})",
                 {1, 1, 1, 7}},
                {"delete from \"t\"",
                 "This looks like SQL. ReQL is written r.table(\"name\").filter({a: 1}).delete()",
                 {1, 1, 1, 7}},
                {"update t set a = 1",
                 "This looks like SQL. ReQL is written r.table(\"t\").filter({a: 1}).update({b: 2})",
                 {1, 1, 1, 7}},
                {"db.users.find({a: 1})",
                 "A database is r.db(\"name\"), and a table of it r.db(\"name\").table(\"name\").",
                 {1, 1, 1, 3}},
                {"table(\"t\")",
                 "There is no variable `table`. Did you mean `r.table`? Terms begin with r.",
                 {1, 1, 1, 6}},
                {"filter({a: 1})",
                 "There is no variable `filter`. Strings are written in quotes; a query begins with r.",
                 {1, 1, 1, 7}},
                {"undefined", "There is no undefined in the language: null is the nearest.", {1, 1, 1, 10}},
                {"conn",
                 "There is no variable `conn`. Strings are written in quotes; a query begins with r.",
                 {1, 1, 1, 5}},
                {"x => {}",
                 "A function's braces hold one return: { return value; }. An object is written ({...}).",
                 {1, 7, 1, 8}},
                {"x => { const y = 1; return y; }",
                 "A function's braces hold one return: { return value; }. An object is written ({...}).",
                 {1, 8, 1, 13}},
                {"function (x) x", "Expected `{ return value; }` but found `x`.", {1, 14, 1, 15}},
                {"function { return 1; }", "Expected `(` and parameters but found `{`.", {1, 10, 1, 11}},
                {"lambda x", "The text ends where `,` or `:` is expected.", {1, 9, 1, 9}},
                {"(x, 1) => x",
                 "There is no variable `x`. Strings are written in quotes; a query begins with r.",
                 {1, 2, 1, 3}},
                {"(x = 1) => x",
                 "There is no variable `x`. Strings are written in quotes; a query begins with r.",
                 {1, 2, 1, 3}},
                {"x => x()", "The name of a field is missing: value(\"name\"). (Terms follow a dot.)", {1, 7, 1, 8}},
                {"x => x(\"a\", \"b\")",
                 "One field at a time: value(\"a\")(\"b\"), or .pluck(\"a\", \"b\").",
                 {1, 11, 1, 12}},
                {"x => x.foo(1)",
                 "There is no term `foo`. A field is taken with parentheses: (\"foo\").",
                 {1, 8, 1, 11}},
                {"(x => x)(\"a\")",
                 "Nothing can follow a function. It is called with r.do(value, function).",
                 {1, 9, 1, 10}},
                {"x => x.getFeild(\"a\")", "There is no term `getFeild`. Did you mean `.getField`?", {1, 8, 1, 16}},
                {"r.row", "r.row is not defined in this context.", {1, 1, 1, 6}},
                {"r.expr()", "`expr` takes 1 argument but has 0: r.expr(value)", {1, 3, 1, 7}},
                {"r.expr(1, 2)", "`expr` takes 1 argument but has 2: r.expr(value)", {1, 3, 1, 7}},
                {"r.db(\"x\").now()", "`now` does not follow a value: r.now()", {1, 11, 1, 14}},
                {"r.now().minval()", "`minval` does not follow a value: r.minval", {1, 9, 1, 15}},
                {"r.now", "`now` lacks its parentheses: r.now()", {1, 3, 1, 6}},
                {"'abc", "This string has no end.", {1, 1, 1, 5}},
                {"\"\\u12\"", "This escape has no meaning. A backslash itself is written \\\\.", {1, 2, 1, 4}},
                {"\"\\ud800\"", "This escape has no meaning. A backslash itself is written \\\\.", {1, 2, 1, 4}},
                {"\"\\u{110000}\"", "This escape has no meaning. A backslash itself is written \\\\.", {1, 2, 1, 4}},
                {"`a${b}`", "There are no templates in strings. Strings are joined with +.", {1, 3, 1, 5}},
                {"/* x", "This comment has no end.", {1, 1, 1, 5}},
                {"0x", "This is no number.", {1, 1, 1, 3}},
                {"012", "This is no number.", {1, 1, 1, 4}},
                {"12abc", "This is no number.", {1, 1, 1, 6}},
                {"1n", "This is no number.", {1, 1, 1, 3}},
                {"1e999", "This number is too large.", {1, 1, 1, 6}},
                {"\xe2\x80\x9c"
                 "a\xe2\x80\x9d"
                 "",
                 "This quotation mark is not one of the language. Strings are written in \" or '.",
                 {1, 1, 1, 2}},
                {"r.table(\"t\").map(x => x \xe2\x80\x93"
                 " 1)",
                 "This dash is no minus sign.",
                 {1, 25, 1, 26}},
                {"@", "This character means nothing here.", {1, 1, 1, 2}},
                {"r.table(\"t\").run(conn).then(x)", "Expected the end but found `.`.", {1, 23, 1, 24}},
                {"r.table(\"t\").run(conn, x => x)",
                 "Expected `)` for the `(` of line 1, column 17 but found `=>`. What stands before an arrow are names: "
                 "x => ..., (a, b) => ...",
                 {1, 26, 1, 28}},
                {"r.table(\"t\").run(5)", "Expected options: {arrayLimit: 1000} but found `5`.", {1, 18, 1, 19}},
                {"r.expr(r.table(\"t\").run())",
                 "Expected `)` for the `(` of line 1, column 7 but found `.`.",
                 {1, 20, 1, 21}},
                {"Buffer.from(1)", "Buffer.from takes a string and its encoding, or an array of bytes.", {1, 1, 1, 15}},
                {"Buffer.from(\"!\", \"base64\")", "This is not base64.", {1, 1, 1, 27}},
                {"Buffer.from(\"0\", \"hex\")", "This is not hexadecimal.", {1, 1, 1, 24}},
                {"Buffer.from(\"a\", \"latin1\")", "The encoding is \"utf8\", \"hex\" or \"base64\".", {1, 1, 1, 27}},
                {"new Date()", "The time of the query is r.now().", {1, 5, 1, 9}},
                {"new Date(\"yesterday\")",
                 "This is no date: Invalid date string `yesterday` (got `y` but expected a digit).",
                 {1, 5, 1, 22}},
                {"new Date({})",
                 "Expected a date in quotes: this is worked out before the query runs.",
                 {1, 10, 1, 12}},
                {"new Foo()", "Only Buffer and Date are made with new.", {1, 1, 1, 4}},
                {"await r.table(\"t\")", "There is nothing to wait for: write the query alone.", {1, 1, 1, 6}},
                {"r.table(\"t\").map(r.row(\"a\").map(r.row))",
                 "Cannot use r.row in nested queries.  Use functions instead.",
                 {1, 33, 1, 38}},
                {"r.table(\"t\").map(r.table(\"u\").insert({}))",
                 "Cannot nest writes or meta ops in stream operations.  Use FOR_EACH instead.",
                 {1, 31, 1, 41}},
                {"r.desc(\"a\")", "DESC may only be used as an argument to ORDER_BY or UNION.", {1, 1, 1, 12}},
                {"r.table(\"t\").match(/a/)",
                 "Expected a value but found `/`. Regular expressions are strings: .match(\"^a\").",
                 {1, 20, 1, 21}},
                {"a ? b",
                 "There is no variable `a`. Strings are written in quotes; a query begins with r.",
                 {1, 1, 1, 2}},
                {"1 ? 2", "The text ends where `:` and the other value is expected.", {1, 6, 1, 6}},
                {"1 ?", "The text ends where a value is expected.", {1, 4, 1, 4}},
                {"x => x[1", "The text ends where `]` for the `[` of line 1, column 7 is expected.", {1, 9, 1, 9}},
                {"x => x[]", "Expected a value but found `]`.", {1, 8, 1, 9}},
                {"x => x[1:2:3]", "Expected `]` for the `[` of line 1, column 7 but found `:`.", {1, 11, 1, 12}},
                {"if (1) 2",
                 "A choice is written r.branch(test, value, otherwise) or test ? value : otherwise.",
                 {1, 1, 1, 3}},
                {"return 1",
                 "A query is written without `return`; it stands in a function's braces only.",
                 {1, 1, 1, 7}},
                {"#only a comment",
                 "There is no query. One is, for example, r.table(\"name\").count()",
                 {1, 16, 1, 16}},
                {"r.table()",
                 "`table` takes 1 or 2 arguments but has 0: db.table(name, {readMode, identifierFormat})",
                 {1, 3, 1, 8}},
                {"r.db(\"x\").table()",
                 "`table` takes 1 argument but has 0: db.table(name, {readMode, identifierFormat})",
                 {1, 11, 1, 16}},
                {"r.grant(\"x\")",
                 "`grant` takes 2 or 3 arguments but has 1: table.grant(user, {read, write, config})",
                 {1, 3, 1, 8}},
                {"r.db(\"d\").grant(\"u\")",
                 "`grant` takes 2 arguments but has 1: table.grant(user, {read, write, config})",
                 {1, 11, 1, 16}},
                {"r.branch(1)",
                 "`branch` takes 3 or more arguments but has 1: r.branch(test, value, ..., otherwise)",
                 {1, 3, 1, 9}},
                {"r.do()", "`do` takes 1 or more arguments but has 0: value.do(..., function)", {1, 3, 1, 5}},
                {"r.random(1, 2, 3)",
                 "`random` takes 0 to 2 arguments but has 3: r.random(low, high, {float})",
                 {1, 3, 1, 9}},
                {"r.table('t')\n  .filter({a: 1})\n  .cuont()",
                 "There is no term `cuont`. Did you mean `.count`?",
                 {3, 4, 3, 9}},
                {"r.table('t')\n  .insert({a: 'x\ny'})",
                 "This string has no end. A string over several lines is written in backquotes.",
                 {2, 15, 2, 17}},
                {"r.expr([\n  1,\n  2\n",
                 "The text ends where `]` for the `[` of line 1, column 8 is expected.",
                 {4, 1, 4, 1}},
                {"", "There is no query. One is, for example, r.table(\"name\").count()", {1, 1, 1, 1}},
                {"  \n ", "There is no query. One is, for example, r.table(\"name\").count()", {2, 2, 2, 2}},
                {"x => {x}",
                 "A function's braces hold one return: { return value; }. An object is written ({...}).",
                 {1, 7, 1, 8}},
                {"r.expr('\xc3\xa9"
                 "').cuont()",
                 "There is no term `cuont`. Did you mean `.count`?",
                 {1, 13, 1, 18}},
                {"r.table('t').filter(row => row.name('x'))",
                 "There is no term `name`. A field is taken with parentheses: (\"name\").",
                 {1, 32, 1, 36}},
        };
        for (size_t i = 0; i < ELEMENTS(cases); i++) {
                const Case *c = &cases[i];
                WireQuery query;
                const Term *at = NULL;
                TextSpan span;
                char message[400];
                Status st = compile(BYTES_STR(c->text), "", &query, &at);
                if (!st)
                        fail_msg("%s: compiles", c->text);
                assert_int_equal(status_code(st), ERR_COMPILE);
                /* what the parser finds says where in the message, too */
                (void)snprintf(message, sizeof message, "%s", c->message);
                if (!query.text->root)
                        (void)snprintf(message, sizeof message, "Line %u, column %u: %s", c->place[0], c->place[1],
                                       c->message);
                if (strcmp(status_message(st), message) != 0)
                        fail_msg("%s:\n  %s\n  not %s", c->text, status_message(st), message);
                assert_true(text_find(query.text, at, &span));
                TextPlace place = text_place(BYTES_STR(c->text), span);
                if (place.line != c->place[0] || place.column != c->place[1] || place.end_line != c->place[2] ||
                    place.end_column != c->place[3])
                        fail_msg("%s: at %u:%u to %u:%u", c->text, place.line, place.column, place.end_line,
                                 place.end_column);
                status_free(st);
        }
}

/* --- places of terms --- */

static void check_place(const char *text, const Term *(*step)(const Term *), const char *there)
{
        WireQuery query;
        const Term *at = NULL;
        TextSpan span;
        assert_null(compile(BYTES_STR(text), "", &query, &at));
        assert_true(text_find(query.text, step(query.root), &span));
        Bytes found = BYTES(text + span.start, span.end - span.start);
        if (!bytes_equal(found, BYTES_STR(there)))
                fail_msg("%s: %.*s is not %s", text, (int)found.size, (const char *)found.data, there);
}
static const Term *root_of(const Term *root)
{
        return root;
}
static const Term *first_of(const Term *root)
{
        return root->args[0];
}
static const Term *second_of(const Term *root)
{
        return root->args[1];
}
static const Term *body_of(const Term *root)
{
        return root->args[1]->body;
}
static const Term *in_body_of(const Term *root)
{
        return root->args[1]->body->args[1];
}
static const Term *option_of(const Term *root)
{
        return root->opts[0].term;
}
static const Term *field_of(const Term *root)
{
        return root->args[1]->opts[0].term;
}
static const Term *function_of_call(const Term *root)
{
        return root->args[0]->body;
}

static void test_places(void **state)
{
        check_place("r.table(\"t\").filter({a: 1}).count()", root_of, "count()");
        check_place("r.table(\"t\").filter({a: 1}).count()", first_of, "filter({a: 1})");
        check_place("r.table(\"t\").filter({a: 1})", second_of, "{a: 1}");
        check_place("r.table(\"t\").filter(x => x(\"a\").gt(5))", second_of, "x => x(\"a\").gt(5)");
        check_place("r.table(\"t\").filter(x => x(\"a\").gt(5))", body_of, "gt(5)");
        check_place("r.table(\"t\").filter(x => x(\"a\") > 50)", body_of, "x(\"a\") > 50");
        check_place("r.table(\"t\").filter(x => x(\"a\") > 50)", in_body_of, "50");
        check_place("r.table(\"t\").filter(r.row(\"a\").gt(5))", body_of, "gt(5)"); /* the function is not written */
        check_place("r.table(\"t\").orderBy({index: r.desc(\"a\")})", option_of, "r.desc(\"a\")");
        check_place("r.table(\"t\").order_by(index = r.desc(\"a\"))", option_of, "r.desc(\"a\")");
        check_place("r.table(\"t\").insert({b: r.now(), a: 2})", field_of, "2");
        check_place("r.expr(1).do(x => x.add(2))", function_of_call, "add(2)");
        check_place("r.table(\"t\").map(x => x.a.b)", body_of, "b");
        check_place("r.expr([1, 2])[1]", root_of, "[1]");
        check_place("r.expr(5).add(1) + 2", root_of, "r.expr(5).add(1) + 2");
}

/* --- limits --- */

static Bytes repeated(const char *before, const char *middle, const char *after, size_t times)
{
        size_t a = strlen(before), b = strlen(middle), c = strlen(after);
        char *text = arena_alloc(&arena, (a + c) * times + b);
        for (size_t i = 0; i < times; i++) {
                memcpy(text + i * a, before, a);
                memcpy(text + times * a + b + i * c, after, c);
        }
        memcpy(text + times * a, middle, b);
        return BYTES(text, (a + c) * times + b);
}

/* What is printed can be parsed, however deep. */
static void check_printed(const Term *root)
{
        Buf out;
        WireQuery query;
        const Term *at = NULL;
        buf_init(&out, 1 << 20);
        assert_null(print_text(root, 0, &out));
        assert_null(compile(BYTES(out.data, out.size), "", &query, &at));
        buf_done(&out);
}

static void test_depth(void **state)
{
        static const struct {
                const char *before, *middle, *after;
                size_t most; /* times that still compile */
        } cases[] = {
                {"[", "", "]", 250},
                {"{a: ", "1", "}", 500},
                {"", "r.expr(1)", ".add(1)", 250},
                {"r.expr(1).add(", "1", ")", 250},
                {"x => ", "1", "", 249},
                {"(", "1", ")", 599},
                {"!", "true", "", 250},
                {"", "r.row", "", 0},
                {"- ", "1", "", 599},
                {"not ", "1", "", 250},
                {"lambda: ", "1", "", 249},
                {"1 ? 2 : ", "3", "", 250},
                {"r.expr(", "1", ")", 599},
                {"", "x => x", ".a", 248},
                {"x => ({a: ", "1", "})", 166},
                {"r.table(\"t\").getAll(1, r.expr({a: ", "1", "}))", 166},
                {"r.do([", "x => x", "])", 124},
        };
        for (size_t i = 0; i < ELEMENTS(cases); i++)
                for (size_t over = 0; over < 2 && cases[i].most; over++) {
                        WireQuery query;
                        const Term *at = NULL;
                        Bytes text = repeated(cases[i].before, cases[i].middle, cases[i].after, cases[i].most + over);
                        Status st = compile(text, "", &query, &at);
                        if ((st != ST_OK) != (over == 1))
                                fail_msg("%s %zu times: %s", cases[i].before, cases[i].most + over, status_message(st));
                        if (st)
                                assert_non_null(strstr(status_message(st), "nested too deep"));
                        else
                                check_printed(query.root);
                        status_free(st);
                        arena_reset(&arena);
                }
        /* and far too deep */
        static const char *const deep[] = {"(",       "[",    "{a:", "x=>", "!",       "-",
                                           "r.expr(", "not ", "f(",  "1?",  "lambda:", "function(){return "};
        for (size_t i = 0; i < ELEMENTS(deep); i++) {
                WireQuery query;
                const Term *at = NULL;
                Status st = compile(repeated(deep[i], "", "", 20000), "", &query, &at);
                assert_int_equal(status_code(st), ERR_COMPILE);
                status_free(st);
                arena_reset(&arena);
        }
}

/* Twice the text, twice the memory. */
static void test_in_proportion(void **state)
{
        static const char *const parts[] = {"{a: 1, b: [1, 2, 3]}, ",
                                            "r.now(), ",
                                            "(a, b, c, d) => 1, ",
                                            "\"a\\nb\", ",
                                            "x => x.y(1), ",
                                            "/* */ 1, ",
                                            "r.table(\"t\", {readMode: \"single\"}), "};
        for (size_t i = 0; i < ELEMENTS(parts); i++) {
                size_t bytes[2];
                for (size_t j = 0; j < 2; j++) {
                        WireQuery query;
                        const Term *at = NULL;
                        Bytes items = repeated(parts[i], "", "", 2000 << j);
                        char *text = arena_printf(&arena, "[%.*s]", (int)items.size, (const char *)items.data);
                        size_t before = arena.total_bytes;
                        Status st = compile(BYTES_STR(text), "", &query, &at);
                        assert_true(!st || i == 4); /* y is no term */
                        status_free(st);
                        bytes[j] = arena.total_bytes - before;
                        arena_done(&arena);
                        arena_init(&arena, 0);
                }
                assert_true(bytes[1] <= 3 * bytes[0] + (1 << 17));
        }
}

/* --- around the text --- */

static void test_options(void **state)
{
        WireQuery query;
        const Term *at = NULL;
        /* those in the text come first */
        assert_null(compile(BYTES_STR("r.table(\"t\").run(conn, {arrayLimit: 5, noreply: true})"),
                            ",{\"array_limit\":7,\"profile\":true}", &query, &at));
        assert_int_equal(query.opt_count, 3);
        assert_true(bytes_equal(query.opts[0].name, BYTES_STR("array_limit")));
        assert_true(query.opts[0].term->datum.number == 5);
        assert_true(query.noreply);
        assert_null(compile(BYTES_STR("r.table(\"t\").run({db: \"d\"})"), "", &query, &at));
        assert_int_equal(query.opts[0].term->type, TERM_DB);
        /* whether an answer is wanted is known of a query that does not parse */
        Status st = compile(BYTES_STR("r.tabel()"), ",{\"noreply\":true}", &query, &at);
        assert_int_equal(status_code(st), ERR_COMPILE);
        assert_true(query.noreply);
        status_free(st);
        /* an error in an option is at no place of the text */
        st = compile(BYTES_STR("r.now()"), ",{\"nonsense\":1}", &query, &at);
        assert_int_equal(status_code(st), ERR_COMPILE);
        assert_null(query.text);
        status_free(st);
}

/* Only as the whole query, and of this shape. */
static void test_wire_form(void **state)
{
        static const char *const queries[] = {
                "[1,[24,[[10001,[\"1\"]],1]]]", "[1,[10001,[1]]]",        "[1,[10001,[]]]",
                "[1,[10001,[\"1\",\"2\"]]]",    "[1,[10001,[\"1\"],{}]]", "[1,[10001]]"};
        for (size_t i = 0; i < ELEMENTS(queries); i++) {
                WireQuery query;
                const Term *at = NULL;
                size_t size = strlen(queries[i]);
                uint8_t *padded = arena_zalloc(&arena, size + JSON_PADDING);
                memcpy(padded, queries[i], size);
                Status st = wire_parse(BYTES(padded, size), &arena, &query, &at);
                assert_int_equal(status_code(st), ERR_COMPILE);
                assert_string_equal(status_message(st), "Unrecognized TermType: 10001.");
                status_free(st);
        }
}

/* --- names --- */

/* Every term can be written; no two spellings are the same; every signature names its term. */
static void test_names(void **state)
{
        size_t count;
        const TextName *names = text_names(&count);
        for (unsigned type = 0; type < TERM_TYPE_END; type++) {
                bool unwritten =
                        type == TERM_MAKE_ARRAY || type == TERM_MAKE_OBJ || type == TERM_VAR || type == TERM_FUNC;
                if (term_info(type) && !unwritten && !text_name_of(type))
                        fail_msg("terms.def has no TERM_TEXT for %s", term_info(type)->name);
        }
        for (size_t i = 0; i < count; i++) {
                assert_ptr_equal(text_name_find(BYTES_STR(names[i].name)), &names[i]);
                if (names[i].type != TERM_BRACKET)
                        assert_non_null(strstr(names[i].signature, names[i].name));
                assert_true(strlen(names[i].help) > 0);
                assert_true(strlen(names[i].name) < TEXT_NAME_BYTES);
                if (names[i].options_at >= 0)
                        assert_non_null(text_option_at(names[i].type, 0));
        }
        assert_int_equal(text_name_find(BYTES_STR("order_by"))->type, TERM_ORDER_BY);
        assert_int_equal(text_name_find(BYTES_STR("ORDERBY"))->type, TERM_ORDER_BY);
        assert_int_equal(text_name_find(BYTES_STR("toJSON"))->type, TERM_TO_JSON_STRING);
        assert_null(text_name_find(BYTES_STR("")));
        assert_null(text_name_find(BYTES_STR("orderB")));
        assert_int_equal(text_name_nearest(BYTES_STR("oderBy"))->type, TERM_ORDER_BY);
        assert_null(text_name_nearest(BYTES_STR("x")));
        assert_string_equal(text_option_find(TERM_BETWEEN, BYTES_STR("leftBound")), "left_bound");
        assert_string_equal(text_option_nearest(TERM_BETWEEN, BYTES_STR("leftbund")), "left_bound");
        assert_null(text_option_find(TERM_LIMIT, BYTES_STR("index")));
        char camel[TEXT_NAME_BYTES];
        assert_string_equal(text_camel("max_batch_rows", camel), "maxBatchRows");
        assert_string_equal(text_camel("_NO_RECURSE_", camel), "_NO_RECURSE_");
}

static void test_distance(void **state)
{
        static const struct {
                const char *a, *b;
                unsigned distance;
        } cases[] = {{"", "", 0},
                     {"a", "", 1},
                     {"order_by", "OrderBy", 0},
                     {"filter", "fliter", 1},
                     {"abc", "xyz", 3},
                     {"kitten", "sitting", 3},
                     {"ab", "ba", 1},
                     {"abcd", "abxcd", 1}};
        for (size_t i = 0; i < ELEMENTS(cases); i++) {
                assert_int_equal(text_distance(BYTES_STR(cases[i].a), BYTES_STR(cases[i].b), 10), cases[i].distance);
                assert_int_equal(text_distance(BYTES_STR(cases[i].b), BYTES_STR(cases[i].a), 10), cases[i].distance);
        }
        assert_int_equal(text_distance(BYTES_STR("abcdefgh"), BYTES_STR("z"), 2), 3);
}

static int each_setup(void **state)
{
        arena_init(&arena, 0);
        return 0;
}
static int each_teardown(void **state)
{
        arena_done(&arena);
        return 0;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, each_setup, each_teardown)
        const struct CMUnitTest tests[] = {
                TEST(test_mistakes), TEST(test_places),    TEST(test_depth), TEST(test_in_proportion),
                TEST(test_options),  TEST(test_wire_form), TEST(test_names), TEST(test_distance),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
