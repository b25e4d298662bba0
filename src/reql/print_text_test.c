/* print_text_test.c - trees as text: spelling, names of variables, what needs a form of its own, lines. That every tree
 * is read back the same is shown by fuzz/text_check.h with random ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "reql/print_text.h"
#include "reql/wire.h"
#include "value/json.h"
#include "value/value_gen.h"

static Arena arena;

static const Term *tree(const char *term)
{
        WireQuery query;
        const Term *at = NULL;
        const char *text = arena_printf(&arena, "[1,%s]", term);
        size_t size = strlen(text);
        uint8_t *padded = arena_zalloc(&arena, size + JSON_PADDING);
        memcpy(padded, text, size);
        assert_null(wire_parse(BYTES(padded, size), &arena, &query, &at));
        return query.root;
}

static const char *printed(const Term *term, size_t width)
{
        Buf out;
        buf_init(&out, 1 << 20);
        assert_null(print_text(term, width, &out));
        const char *text = arena_dup(&arena, out.data, out.size);
        buf_done(&out);
        return text;
}

static void test_one_line(void **state)
{
        static const struct {
                const char *wire, *text;
        } cases[] = {
                {"[15,[\"t\"]]", "r.table(\"t\")"},
                {"[15,[[14,[\"d\"]],\"t\"],{\"read_mode\":\"outdated\"}]",
                 "r.db(\"d\").table(\"t\", {readMode: \"outdated\"})"},
                {"[15,[\"t\"],{\"read_mode\":\"outdated\"}]", "r.table(\"t\", {readMode: \"outdated\"})"},
                {"[39,[[15,[\"t\"]],{\"a\":5}]]", "r.table(\"t\").filter({a: 5})"},
                {"[170,[[170,[[15,[\"t\"]],\"a\"]],0]]", "r.table(\"t\")(\"a\")(0)"},
                /* functions and variables */
                {"[38,[[15,[\"t\"]],[69,[[2,[7]],[24,[[170,[[10,[7]],\"a\"]],1]]]]]]",
                 "r.table(\"t\").map(row => row(\"a\").add(1))"},
                {"[37,[[15,[\"t\"]],[69,[[2,[7,9]],[24,[[10,[9]],[10,[7]]]]]]]]",
                 "r.table(\"t\").reduce((x, y) => y.add(x))"},
                {"[38,[[15,[\"t\"]],[69,[[2,[1]],[38,[[10,[1]],[69,[[2,[2]],[2,[[10,[2]],[10,[1]]]]]]]]]]]]",
                 "r.table(\"t\").map(row => row.map(x => [x, row]))"},
                {"[38,[[15,[\"t\"]],[69,[[2,[1]],[170,[[13,[]],\"a\"]]]]]]", "r.table(\"t\").map(row => row(\"a\"))"},
                {"[69,[[2,[]],1]]", "() => 1"},
                {"[69,[[2,[1]],{\"a\":[10,[1]]}]]", "row => ({a: row})"},
                {"[64,[[69,[[2,[1,2]],[10,[2]]]],1,2]]", "r.expr(1).do(2, (x, y) => y)"},
                {"[64,[[69,[[2,[]],1]]]]", "r.do(() => 1)"},
                /* what stands before a dot */
                {"[24,[1,2]]", "r.expr(1).add(2)"},
                {"[24,[[2,[1]],2]]", "r.expr([1]).add(2)"},
                {"[94,[{\"a\":1}]]", "r.expr({a: 1}).keys()"},
                {"[94,[{\"a\":[103,[]]}]]", "r.expr({a: r.now()}).keys()"},
                {"[65,[true,1,2]]", "r.branch(true, 1, 2)"},
                {"[39,[[154,[[2,[1,2]]]]]]", "r.filter(r.args([1, 2]))"},
                {"[182,[[15,[\"t\"]],[180,[]],[181,[]]]]", "r.table(\"t\").between(r.minval, r.maxval)"},
                /* options, and objects that are none */
                {"[78,[[15,[\"t\"]],\"a\",{\"b\":1}]]", "r.table(\"t\").getAll(\"a\", r.expr({b: 1}))"},
                {"[78,[[15,[\"t\"]],{\"b\":1}]]", "r.table(\"t\").getAll({b: 1})"},
                {"[41,[[15,[\"t\"]],{\"b\":1}]]", "r.table(\"t\").orderBy(r.expr({b: 1}))"},
                {"[41,[[15,[\"t\"]],{\"b\":1}],{\"index\":\"a\"}]", "r.table(\"t\").orderBy({b: 1}, {index: \"a\"})"},
                {"[145,[[15,[\"t\"]],\"a\"],{\"index\":\"a\"}]", "r.table(\"t\").sum(\"a\", index=\"a\")"},
                {"[39,[[154,[[2,[1,2]]]]],{\"default\":true}]", "r.filter(r.args([1, 2]), default=true)"},
                {"[31,[{},\"a\"],{\"_NO_RECURSE_\":1}]", "r.expr({}).getField(\"a\", _NO_RECURSE_=1)"},
                /* constants */
                {"-0.0", "-0.0"},
                {"1e308", "1e308"},
                {"0.1", "0.1"},
                {"\"\\u0000\\n\\\"\\\\\\u00e9\\ud83d\\ude00\"", "\"\\u0000\\n\\\"\\\\\xc3\xa9\xf0\x9f\x98\x80\""},
                {"{\"\":1,\"a b\":2,\"c\":3,\"1\":4,\"$reql\":5,\"\\u00e9\":6}",
                 "{\"\": 1, $reql: 5, \"1\": 4, \"a b\": 2, c: 3, \"\xc3\xa9\": 6}"},
                {"{\"$reql_type$\":\"BINARY\",\"data\":\"AAH/\"}", "r.binary(Buffer.from(\"AAH/\", \"base64\"))"},
                {"{\"$reql_type$\":\"BINARY\",\"data\":\"AA==\"}", "r.binary(Buffer.from(\"AA==\", \"base64\"))"},
                {"[155,[\"abc\"]]", "r.binary(\"abc\")"},
                {"{\"$reql_type$\":\"TIME\",\"epoch_time\":1.5,\"timezone\":\"+01:00\"}",
                 "{$reql_type$: \"TIME\", epoch_time: 1.5, timezone: \"+01:00\"}"},
                {"[2,[]]", "[]"},
                {"null", "null"},
                {"[107,[]]", "r.monday"},
                {"[169,[]]", "r.uuid()"},
                {"[99,[\"x\"],{\"default_timezone\":\"Z\"}]", "r.ISO8601(\"x\", {defaultTimezone: \"Z\"})"},
                {"[36,[[15,[\"t\"]],1,null]]", "r.table(\"t\").betweenDeprecated(1, null)"},
        };
        for (size_t i = 0; i < ELEMENTS(cases); i++)
                assert_string_equal(printed(tree(cases[i].wire), 0), cases[i].text);
}

static const char chain[] = "[71,[[41,[[39,[[15,[[14,[\"d\"]],\"t\"]],[69,[[2,[1]],[67,[[21,[[170,[[10,[1]],\"a\"]],5]]"
                            ",[17,[[170,[[10,[1]],"
                            "\"b\"]],2]]]]]]],{\"default\":true}],\"c\"],{\"index\":\"i\"}],3]]";

static void test_lines(void **state)
{
        assert_string_equal(printed(tree(chain), 200),
                            "r.db(\"d\").table(\"t\").filter(row => row(\"a\").gt(5).and(row(\"b\").eq(2)), {default: "
                            "true}).orderBy(\"c\", {index: \"i\"}).limit(3)");
        assert_string_equal(printed(tree(chain), 80),
                            "r.db(\"d\").table(\"t\")\n"
                            "  .filter(row => row(\"a\").gt(5).and(row(\"b\").eq(2)), {default: true})\n"
                            "  .orderBy(\"c\", {index: \"i\"})\n"
                            "  .limit(3)");
        assert_string_equal(printed(tree(chain), 45), "r.db(\"d\").table(\"t\")\n"
                                                      "  .filter(\n"
                                                      "    row => row(\"a\").gt(5).and(row(\"b\").eq(2)),\n"
                                                      "    {default: true}\n"
                                                      "  )\n"
                                                      "  .orderBy(\"c\", {index: \"i\"})\n"
                                                      "  .limit(3)");
        assert_string_equal(printed(tree("[56,[[15,[\"t\"]],[2,[{\"a\":1,\"b\":[2,[1,2]]},{\"a\":2}]]]]"), 24),
                            "r.table(\"t\").insert([\n"
                            "  {a: 1, b: [1, 2]},\n"
                            "  {a: 2}\n"
                            "])");
        assert_string_equal(printed(tree("{\"a\":[103,[]],\"b\":[2,[[103,[]],\"a long string, that is\"]]}"), 30),
                            "{\n"
                            "  a: r.now(),\n"
                            "  b: [\n"
                            "    r.now(),\n"
                            "    \"a long string, that is\"\n"
                            "  ]\n"
                            "}");
}

/* The body of a function by itself has the names of the whole. */
static void test_part(void **state)
{
        const Term *root =
                tree("[38,[[15,[\"t\"]],[69,[[2,[1]],[38,[[10,[1]],[69,[[2,[2]],[2,[[10,[2]],[10,[1]]]]]]]]]]]]");
        assert_string_equal(printed(root->args[1]->body, 0), "row.map(x => [x, row])");
        assert_string_equal(printed(root->args[1]->body->args[1]->body, 0), "[x, row]");
}

static void test_full(void **state)
{
        for (size_t max = 0; max < 300; max++) {
                Buf out;
                buf_init(&out, max);
                Status st = print_text(tree(chain), max % 2 ? 30 : 0, &out);
                assert_true(!st || status_code(st) == ERR_LIMIT);
                assert_true(out.size <= max);
                status_free(st);
                buf_done(&out);
                arena_reset(&arena);
        }
}

/* Every constant is read back as it was. */
static void test_values(void **state)
{
        static const size_t widths[] = {0, 60, 1};
        Gen gen = {.state = 7, .arena = &arena, .json_only = true};
        for (int i = 0; i < 3000; i++) {
                Buf text, frame, json[2];
                Buf *const bufs[] = {&text, &frame, &json[0], &json[1]};
                const Term *at = NULL;
                WireQuery query;
                Value v = gen_value(&gen, 1 + gen_below(&gen, 4));
                for (size_t j = 0; j < ELEMENTS(bufs); j++)
                        buf_init(bufs[j], 16 << 20);
                assert_null(print_text_value(v, widths[i % 3], &text));
                assert_null(buf_printf(&frame, "[1,[%d,[", WIRE_TEXT_TERM));
                assert_null(json_write_string(BYTES(text.data, text.size), &frame));
                assert_null(buf_append_str(&frame, "]]]"));
                uint8_t *padded = arena_zalloc(&arena, frame.size + JSON_PADDING);
                memcpy(padded, frame.data, frame.size);
                assert_null(wire_parse(BYTES(padded, frame.size), &arena, &query, &at));
                assert_int_equal(query.root->type, TERM_DATUM);
                assert_null(json_write(v, &json[0]));
                assert_null(json_write(query.root->datum, &json[1]));
                assert_true(bytes_equal(BYTES(json[0].data, json[0].size), BYTES(json[1].data, json[1].size)));
                for (size_t j = 0; j < ELEMENTS(bufs); j++)
                        buf_done(bufs[j]);
                arena_reset(&arena);
        }
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
        const struct CMUnitTest tests[] = {TEST(test_one_line), TEST(test_lines), TEST(test_part), TEST(test_full),
                                           TEST(test_values)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
