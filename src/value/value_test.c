/* value_test.c - builders, accessors, order, hash, pseudo-types. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "value/json.h"
#include "value/value.h"
#include "value/value_gen.h"

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
        assert_null(json_parse_copy(BYTES_STR(text), JSON_PSEUDO, &arena, &v));
        return v;
}

static Value encoded(Value v)
{
        return value_copy(v, &arena);
}

static void check_refused(const char *json, StatusCode code, const char *message)
{
        Value v;
        Status st = json_parse_copy(BYTES_STR(json), JSON_PSEUDO, &arena, &v);
        assert_non_null(st);
        assert_string_equal(status_message(st), message);
        assert_int_equal(status_code(st), code);
        status_ignore(st);
}

static void test_objects_are_sorted_and_unique(void **state)
{
        ObjectBuilder b;
        Bytes key, duplicate;
        object_init(&b, &arena, 0);
        object_add_str(&b, "b", value_number(1));
        object_add_str(&b, "a", value_number(2));
        object_add_str(&b, "b", value_number(3));
        object_add_str(&b, "", value_number(4));
        Value v = object_take_unique(&b, &duplicate);
        assert_true(bytes_equal(duplicate, BYTES_STR("b")));
        assert_int_equal(value_count(v), 3);
        assert_true(value_field_at(v, 0, &key).number == 4 && key.size == 0);
        assert_true(value_get_str(v, "b").number == 3); /* the last one wins */
        assert_true(value_get_str(v, "a").number == 2);
        assert_int_equal(value_get_str(v, "c").type, V_NONE);
}

static void test_large_objects(void **state)
{
        for (size_t n = 0; n < 200; n += 7) {
                ObjectBuilder b;
                char *name;
                object_init(&b, &arena, 0);
                for (size_t i = 0; i < 2 * n; i++) {
                        name = arena_printf(&arena, "key%zu", i * 7919 % (n ? n : 1));
                        object_add(&b, BYTES_STR(name), value_number((double)i));
                }
                Value v = object_take(&b), e = encoded(v);
                assert_int_equal(value_count(v), n);
                for (size_t i = 0; i < n; i++) {
                        name = arena_printf(&arena, "key%zu", i * 7919 % n);
                        assert_true(value_get_str(v, name).number == (double)(n + i));
                        assert_true(value_get_str(e, name).number == (double)(n + i));
                }
                assert_int_equal(value_get_str(e, "nokey").type, V_NONE);
        }
}

static void test_type_names(void **state)
{
        assert_string_equal(value_type_name(parse("null")), "NULL");
        assert_string_equal(value_type_name(parse("{}")), "OBJECT");
        assert_string_equal(value_type_name(parse("{\"$reql_type$\":\"LITERAL\"}")), "PTYPE<LITERAL>");
        assert_string_equal(value_type_name(parse("{\"$reql_type$\":\"BINARY\",\"data\":\"\"}")), "PTYPE<BINARY>");
        assert_string_equal(value_type_name(value_minval()), "MINVAL");
}

static void test_integers(void **state)
{
        int64_t i;
        assert_true(value_integer(value_number(-0.0), &i) && i == 0);
        assert_true(value_integer(value_number(9007199254740992.0), &i) && i == 9007199254740992);
        assert_false(value_integer(value_number(9007199254740994.0), &i));
        assert_false(value_integer(value_number(0.5), &i));
        assert_false(value_integer(value_null(), &i));
}

/* Each is less than all that follow. */
static void test_order_of_types(void **state)
{
        Value rungs[] = {
                value_minval(),
                parse("[]"),
                parse("[[]]"),
                parse("[false]"),
                parse("[1]"),
                parse("[1,2]"),
                parse("[2]"),
                parse("[\"a\"]"),
                value_bool(false),
                value_bool(true),
                value_null(),
                value_number(-1e300),
                value_number(-1),
                value_number(0),
                value_number(5e-324),
                value_number(1e300),
                parse("{}"),
                parse("{\"a\":1}"),
                parse("{\"a\":1,\"b\":1}"),
                parse("{\"a\":2}"),
                parse("{\"b\":0}"),
                value_binary(BYTES("", 0)),
                value_binary(BYTES("\0", 1)),
                value_binary(BYTES("a", 1)),
                parse("{\"$reql_type$\":\"GEOMETRY\",\"type\":\"Point\",\"coordinates\":[0,0]}"),
                parse("{\"$reql_type$\":\"TIME\",\"epoch_time\":1,\"timezone\":\"+01:00\"}"),
                parse("{\"$reql_type$\":\"TIME\",\"epoch_time\":2,\"timezone\":\"-01:00\"}"),
                parse("\"\""),
                parse("\"a\""),
                parse("\"a\\u0000\""),
                parse("\"aa\""),
                parse("\"b\""),
                value_maxval(),
        };
        for (size_t i = 0; i < ELEMENTS(rungs); i++)
                for (size_t k = 0; k < ELEMENTS(rungs); k++) {
                        int wanted = (i > k) - (i < k);
                        int got = value_compare(rungs[i], encoded(rungs[k]));
                        assert_int_equal((got > 0) - (got < 0), wanted);
                }
}

static void test_equal_hashes(void **state)
{
        Value a = parse("{\"x\":[0,{\"$reql_type$\":\"TIME\",\"epoch_time\":1,\"timezone\":\"+01:00\"}]}");
        Value b = parse("{\"x\":[-0.0,{\"$reql_type$\":\"TIME\",\"epoch_time\":1,\"timezone\":\"Z\"}]}");
        assert_true(value_equal(a, b));
        assert_true(value_hash(a) == value_hash(b) && value_hash(a) == value_hash(encoded(b)));
        assert_true(value_hash(parse("[1,2]")) != value_hash(parse("[2,1]")));
        assert_true(value_hash(parse("{\"a\":1}")) != value_hash(parse("{\"b\":1}")));
}

static void test_order_is_total(void **state)
{
        Gen g = {.state = 7, .arena = &arena};
        Value v[60];
        for (size_t i = 0; i < ELEMENTS(v); i++)
                v[i] = gen_value(&g, 3);
        for (size_t i = 0; i < ELEMENTS(v); i++)
                for (size_t k = 0; k < ELEMENTS(v); k++) {
                        int ik = value_compare(v[i], v[k]), ki = value_compare(encoded(v[k]), v[i]);
                        assert_int_equal((ik > 0) - (ik < 0), (ki < 0) - (ki > 0));
                        if (ik == 0)
                                assert_true(value_hash(v[i]) == value_hash(v[k]));
                        for (size_t m = 0; m < ELEMENTS(v); m++)
                                if (ik <= 0 && value_compare(v[k], v[m]) <= 0)
                                        assert_true(value_compare(v[i], v[m]) <= 0);
                }
}

static void test_pseudo_types(void **state)
{
        Value t = parse("{\"$reql_type$\":\"TIME\",\"epoch_time\":1.4444445,\"timezone\":\"-07\"}");
        assert_int_equal(t.type, V_TIME);
        assert_int_equal(value_count(t), 3);
        assert_true(value_get_str(t, "epoch_time").number == 1.444);
        assert_true(value_bytes_are(value_get_str(t, "timezone"), "-07:00"));
        assert_true(value_bytes_are(value_get_str(t, "$reql_type$"), "TIME"));
        assert_int_equal(value_get_str(t, "x").type, V_NONE);
        Value g = parse("{\"$reql_type$\":\"GEOMETRY\",\"type\":\"Point\",\"coordinates\":[1,2]}");
        assert_int_equal(g.type, V_GEOMETRY);
        assert_int_equal(encoded(g).type, V_GEOMETRY);
        Value plain;
        assert_null(
                json_parse_copy(BYTES_STR("{\"$reql_type$\":\"GEOMETRY\",\"type\":\"Point\",\"coordinates\":[1,2]}"),
                                JSON_PLAIN, &arena, &plain));
        assert_int_equal(plain.type, V_OBJECT);
        assert_null(value_classify(encoded(plain), &arena, &g));
        assert_int_equal(g.type, V_GEOMETRY);
        assert_int_equal(encoded(g).type, V_GEOMETRY);
        Value b = parse("{\"$reql_type$\":\"BINARY\",\"data\":\"QU JD\\r\\nRA==\"}");
        assert_true(bytes_equal(value_bytes(b), BYTES_STR("ABCD")));
        /* A deep one inside changes the depth of what is around it. */
        Value deep = parse("[[{\"$reql_type$\":\"BINARY\",\"data\":\"\"}]]");
        assert_int_equal(deep.depth, 2);
}

static void test_pseudo_type_errors(void **state)
{
        check_refused("{\"$reql_type$\":\"BINARY\"}", ERR_LOGIC, "Invalid binary pseudotype: lacking `data` key.");
        check_refused("{\"$reql_type$\":\"BINARY\",\"data\":\"\",\"x\":1}", ERR_LOGIC,
                      "Invalid binary pseudotype: illegal `x` key.");
        check_refused("{\"$reql_type$\":\"BINARY\",\"data\":\"ABCDEFGH==AA\"}", ERR_LOGIC,
                      "Invalid base64 format, data found after padding character '='.");
        check_refused("{\"$reql_type$\":\"BINARY\",\"data\":\"ABCDEF==$\"}", ERR_LOGIC,
                      "Invalid base64 format, data found after padding character '='.");
        check_refused("{\"$reql_type$\":\"BINARY\",\"data\":\"A^CDEFGH\"}", ERR_LOGIC,
                      "Invalid base64 character found: '^'.");
        check_refused("{\"$reql_type$\":\"BINARY\",\"data\":\"ABCDE\"}", ERR_LOGIC,
                      "Invalid base64 length: 1 character remaining, cannot decode a full byte.");
        check_refused("{\"$reql_type$\":\"BINARY\",\"data\":1}", ERR_LOGIC, "Expected type STRING but found NUMBER.");
        check_refused("[{\"$reql_type$\":\"FOO\"}]", ERR_LOGIC, "Unknown $reql_type$ `PTYPE<FOO>`.");
        check_refused(
                "{\"$reql_type$\":1}", ERR_LOGIC,
                "Error: Field `$reql_type$` must be a string (got `1` of type NUMBER):\n{\n\t\"$reql_type$\":\t1\n}");
        check_refused("{\"$reql_type$\":\"GEOMETRY\",\"type\":\"Point\"}", ERR_NON_EXISTENCE,
                      "Field `coordinates` not found in geometry object.");
        check_refused("{\"$reql_type$\":\"LITERAL\",\"x\":1}", ERR_LOGIC, "Invalid literal term with illegal key `x`.");
        check_refused("{\"$reql_type$\":\"TIME\",\"timezone\":\"Z\"}", ERR_LOGIC,
                      "Invalid time object constructed (no field "
                      "`epoch_time`):\n{\n\t\"$reql_type$\":\t\"TIME\",\n\t\"timezone\":\t\"Z\"\n}");
        check_refused("{\"$reql_type$\":\"TIME\",\"epoch_time\":1,\"timezone\":\"X\"}", ERR_LOGIC,
                      "Invalid time object constructed (invalid timezone string "
                      "`\"X\"`):\n{\n\t\"$reql_type$\":\t\"TIME\",\n\t"
                      "\"epoch_time\":\t1,\n\t\"timezone\":\t\"X\"\n}");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_objects_are_sorted_and_unique),
                cmocka_unit_test(test_large_objects),
                cmocka_unit_test(test_type_names),
                cmocka_unit_test(test_integers),
                cmocka_unit_test(test_order_of_types),
                cmocka_unit_test(test_equal_hashes),
                cmocka_unit_test(test_order_is_total),
                cmocka_unit_test(test_pseudo_types),
                cmocka_unit_test(test_pseudo_type_errors),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
