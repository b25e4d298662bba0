/* closure_test.c - saved functions: what they give, what is refused, that nothing is lost when memory runs out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "query/closure.h"
#include "value/json.h"

#define ROW(field)  "[170,[[10,[1]],\"" field "\"]]"
#define FUNC(body)  "[69,[[2,[1]]," body "]]"
#define FUNC3(body) "[69,[[2,[1,2,3]]," body "]]"
#define DOCUMENT    "{\"id\":1,\"a\":5,\"b\":{\"c\":\"x\"},\"l\":[{\"k\":1},{\"k\":2}],\"n\":null}"
#define FOR_EVER    "[43,[[38,[[173,[100000000000]],[69,[[2,[9]],[10,[9]]]]]]]]"

typedef struct World {
        Arena arena;
        Value row;
} World;

static void world_open(World *w)
{
        arena_init(&w->arena, 0);
        OK(json_parse_copy(BYTES_STR(DOCUMENT), JSON_PSEUDO, &w->arena, &w->row));
}

static void world_close(World *w)
{
        arena_done(&w->arena);
}

static const char *text_of(World *w, Value v)
{
        return value_is(v, V_NONE) ? "none" : (const char *)json_text(v, &w->arena).data;
}

typedef struct Case {
        const char *function, *value, *printed;
} Case;

static void test_values(void **state)
{
        static const Case cases[] = {
                {FUNC(ROW("a")), "5", "function(var1) { return var1(\"a\"); }"},
                {FUNC("[31,[[170,[[13],\"b\"]],\"c\"]]"), "\"x\"",
                 "function(var1) { return r.row(\"b\").getField(\"c\"); }"},
                {FUNC(ROW("none")), "none", NULL},
                {FUNC("[170,[" ROW("n") ",\"x\"]]"), "none", NULL},
                {FUNC("[2,[" ROW("a") "," ROW("id") ",7]]"), "[5,1,7]",
                 "function(var1) { return r.expr([var1(\"a\"), var1(\"id\"), 7]); }"},
                {FUNC("[2,[" ROW("a") "," ROW("none") "]]"), "none", NULL},
                {FUNC("[170,[" ROW("l") ",\"k\"]]"), "[1,2]", NULL}, /* a field of an array: the long way */
                {FUNC("[2,[" ROW("a") ",[170,[" ROW("l") ",\"k\"]]]]"), "[5,[1,2]]", NULL},
                {FUNC("[24,[[24,[" ROW("a") ",1]],2]]"), "8",
                 "function(var1) { return r.add(r.add(var1(\"a\"), 1), 2); }"},
                {FUNC("[43,[[24,[" ROW("l") ",[2,[1,2]]]]]]"), "4",
                 "function(var1) { return r.add(var1(\"l\"), [1, 2]).count(); }"},
                {FUNC("[43,[[38,[" ROW("l") ","
                                            "[69,[[2,[2]],[170,[[10,[2]],\"k\"]]]]]]]]"),
                 "2", "function(var1) { return var1(\"l\").map(function(var2) { return var2(\"k\"); }).count(); }"},
                {FUNC("{\"a\":" ROW("a") ",\"b\":{\"c\":1}}"), "{\"a\":5,\"b\":{\"c\":1}}",
                 "function(var1) { return r.object(\"a\", var1(\"a\"), \"b\", {\"c\": 1}); }"},
                {FUNC("[65,[[17,[" ROW("a") ",5]],\"yes\",null]]"), "\"yes\"",
                 "function(var1) { return r.branch(r.eq(var1(\"a\"), 5), \"yes\", null); }"},
                {FUNC("[97,[\"abc\",\"b\"]]"), NULL, "function(var1) { return r.expr(\"abc\").match(\"b\"); }"},
                {FUNC("[141,[[170,[" ROW("b") ",\"c\"]]]]"), "\"X\"",
                 "function(var1) { return var1(\"b\")(\"c\").upcase(); }"},
                {FUNC("[182,[[10,[1]],[180],[181]],{\"left_bound\":\"open\"}]"), "none",
                 "function(var1) { return var1.between(r.minval, r.maxval, {\"leftBound\": \"open\"}); }"},
                {FUNC("[64,[[69,[[2,[2]],[10,[2]]]]," ROW("a") "]]"), "5",
                 "function(var1) { return var1(\"a\").do(function(var2) { return var2; }); }"},
                {FUNC("[12,[\"no\"]]"), "none", "function(var1) { return r.error(\"no\"); }"},
                {FUNC("1.5"), "1.5", "function(var1) { return r.expr(1.500000); }"},
                {"[69,[[2,[]],7]]", "7", "function() { return r.expr(7); }"},
                {"[69,[[2,[-19]],[31,[[10,[-19]],\"a\"]]]]", "5",
                 "function(_var19) { return _var19.getField(\"a\"); }"},
                {"[69,[[2,[1,2]],[10,[1]]]]", "none", "function(var1, var2) { return var1; }"},
                {FUNC(FOR_EVER), "none", NULL}, /* given up after a while */
                {FUNC("[43,[[51,[[173,[3]],\"array\"]]]]"), "3", NULL},
                {FUNC("[155,[" ROW("a") "]]"), "none", NULL},
                {FUNC("{\"$reql_type$\":\"BINARY\",\"data\":\"YWJj\"}"),
                 "{\"$reql_type$\":\"BINARY\",\"data\":\"YWJj\"}",
                 "function(var1) { return r.expr(Buffer(YWJj, 'base64')); }"},
        };
        World w;
        world_open(&w);
        int failed = 0;
        for (size_t i = 0; i < ELEMENTS(cases); i++) {
                const Case *c = &cases[i];
                Closure *closure;
                Value value;
                Buf out;
                buf_init(&out, 1 << 20);
                OK(closure_load(BYTES_STR(c->function), &closure));
                for (int again = 0; again < 3; again++) {
                        OK(closure_index_value(closure, w.row, &w.arena, &value));
                        if (c->value && strcmp(text_of(&w, value), c->value) != 0 && ++failed)
                                print_error("%s gives %s, not %s\n", c->function, text_of(&w, value), c->value);
                }
                OK(closure_print(closure, &out));
                OK(buf_append_byte(&out, 0));
                if (c->printed && strcmp((char *)out.data, c->printed) != 0 && ++failed)
                        print_error("%s prints %s\n not %s\n", c->function, (char *)out.data, c->printed);
                buf_done(&out);
                closure_unref(closure);
        }
        assert_int_equal(failed, 0);
        world_close(&w);
}

static void test_call(void **state)
{
        World w;
        Closure *closure;
        Value value;
        world_open(&w);
        Value args[] = {value_number(1), w.row, value_str("third")};
        OK(closure_load(BYTES_STR(FUNC3("[35,[[10,[2]],{\"t\":[10,[3]],\"now\":[102,[[103]]]}]]")), &closure));
        assert_int_equal(closure_param_count(closure), 3);
        assert_true(closure_uses_now(closure));
        OK(closure_call_at(closure, 5000000, args, 3, &w.arena, &value));
        assert_string_equal(text_of(&w, value_get_str(value, "t")), "\"third\"");
        assert_string_equal(text_of(&w, value_get_str(value, "now")), "5");
        closure_unref(closure);
        /* errors are the caller's, with RethinkDB's words */
        OK(closure_load(BYTES_STR(FUNC("[24,[1,\"a\"]]")), &closure));
        Status st = closure_call(closure, &w.row, 1, &w.arena, &value);
        assert_int_equal(status_code(st), ERR_LOGIC);
        assert_string_equal(status_message(st), "Expected type NUMBER but found STRING.");
        status_ignore(st);
        assert_false(closure_uses_now(closure));
        closure_unref(closure_ref(closure));
        closure_unref(closure);
        OK(closure_load(BYTES_STR(FUNC("[51,[[38,[[173,[99000]],[69,[[2,[2]],[51,[[173,[90000]],\"array\"]]]]]],"
                                       "\"array\"]]")),
                        &closure));
        for (int i = 0; i < 2; i++) { /* it takes too much memory: it ends, and can be called again */
                st = closure_call(closure, &w.row, 1, &w.arena, &value);
                assert_int_equal(status_code(st), ERR_RESOURCE);
                status_ignore(st);
        }
        closure_unref(closure);
        assert_null(closure_unref(NULL));
        world_close(&w);
}

static void test_refused(void **state)
{
        static const char *const bad[] = {
                "",
                "x",
                "[",
                "[]",
                "7",
                "{}",
                "[69]",
                "[69,[[2,[1]]]]",
                "[69,[[2,[1]],[10,[2]]]]",                  /* a variable of nobody */
                "[69,[[2,[1]],[9999,[]]]]",                 /* no term */
                "[69,[[2,[1]],[151,[]]]]",                  /* r.random() */
                "[69,[[2,[1]],[15,[\"t\"]]]]",              /* a table */
                "[69,[[2,[1]],[57,[\"db\"]]]]",             /* db_create */
                "[69,[[2,[1]],[177,[]]]]",                  /* wait() of the query's database */
                "[69,[[2,[1]],[11,[\"1\"]]]]",              /* r.js */
                "[69,[[2,[1]],[153,[\"x\"]]]]",             /* r.http */
                "[69,[[2,[1]],[160,[[10,[1]],[10,[1]]]]]]", /* r.line: not the same everywhere */
                "[24,[1,2]]",
                "[1,[69,[[2,[1]],1]]]",
        };
        for (size_t i = 0; i < ELEMENTS(bad); i++) {
                Closure *closure;
                Status st = closure_load(BYTES_STR(bad[i]), &closure);
                if (status_code(st) != ERR_CORRUPT)
                        print_error("%s\n", bad[i]);
                assert_int_equal(status_code(st), ERR_CORRUPT);
                status_ignore(st);
        }
}

static void test_binary(void **state)
{
        Buf out;
        IndexSpec read;
        buf_init(&out, 1000);
        for (unsigned flags = 0; flags < 8; flags++) {
                IndexSpec spec = {
                        .function = BYTES_STR("[f]"), .multi = flags & 1, .geo = flags & 2, .unique = flags & 4};
                buf_clear(&out);
                OK(closure_binary_write(&spec, &out));
                assert_true(closure_binary_read(BYTES(out.data, out.size), &read));
                assert_true(read.multi == spec.multi && read.geo == spec.geo && read.unique == spec.unique);
                assert_true(bytes_equal(read.function, spec.function));
        }
        out.data[sizeof CLOSURE_PREFIX - 1] = '8';
        assert_false(closure_binary_read(BYTES(out.data, out.size), &read));
        assert_false(closure_binary_read(BYTES(out.data, sizeof CLOSURE_PREFIX - 1), &read));
        assert_false(closure_binary_read(BYTES_STR("something else that is long enough"), &read));
        buf_done(&out);
}

/* The nth allocation fails, for every n. The arena of the result has a first chunk, so that it never jumps. */
static void test_no_memory(void **state)
{
        static const char *const functions[] = {FUNC(ROW("a")), FUNC("[2,[" ROW("a") ",1]]"),
                                                FUNC("[97,[[170,[" ROW("b") ",\"c\"]],\"x+\"]]"),
                                                FUNC("[51,[[38,[[173,[600]],[69,[[2,[2]],[10,[2]]]]]],\"array\"]]")};
        for (size_t i = 0; i < ELEMENTS(functions); i++) {
                for (long n = 1, fired = 1; fired; n++) {
                        World w;
                        Closure *closure = NULL;
                        Value value;
                        world_open(&w);
                        (void)arena_alloc(&w.arena, 200000);
                        arena_reset(&w.arena);
                        world_close(&w);
                        world_open(&w);
                        ArenaMark mark = arena_mark(&w.arena);
                        (void)arena_alloc(&w.arena, 50000);
                        arena_rewind(&w.arena, mark);
                        mem_fail_nth(n);
                        Status st = closure_load(BYTES_STR(functions[i]), &closure);
                        if (!st)
                                st = closure_index_value(closure, w.row, &w.arena, &value);
                        fired = mem_fail_fired();
                        mem_fail_nth(0);
                        assert_true(!st || status_code(st) == ERR_NOMEM);
                        status_ignore(st);
                        if (closure) { /* as good as new */
                                OK(closure_index_value(closure, w.row, &w.arena, &value));
                                assert_false(value_is(value, V_NONE));
                        }
                        closure_unref(closure);
                        world_close(&w);
                }
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_values), cmocka_unit_test(test_call),      cmocka_unit_test(test_refused),
                cmocka_unit_test(test_binary), cmocka_unit_test(test_no_memory),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
