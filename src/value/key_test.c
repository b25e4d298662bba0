/* key_test.c - key order is value order; RethinkDB's refusals. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "value/json.h"
#include "value/key.h"
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

static int sign(int n)
{
        return (n > 0) - (n < 0);
}

static void test_keys_sort_as_values(void **state)
{
        Value v[64];
        Bytes keys[64];
        for (uint64_t seed = 0; seed < 60; seed++) {
                Gen g = {.state = seed * 131, .arena = &arena};
                for (size_t i = 0; i < ELEMENTS(v); i++) {
                        v[i] = gen_value(&g, 3);
                        if (seed & 1)
                                v[i] = value_copy(v[i], &arena);
                        keys[i] = key_encode(v[i], &arena);
                }
                for (size_t i = 0; i < ELEMENTS(v); i++)
                        for (size_t k = 0; k < ELEMENTS(v); k++) {
                                assert_int_equal(sign(bytes_compare(keys[i], keys[k])),
                                                 sign(value_compare(v[i], v[k])));
                                /* No key begins another: they can be put one behind the other. */
                                if (keys[i].size < keys[k].size)
                                        assert_true(memcmp(keys[i].data, keys[k].data, keys[i].size) != 0);
                        }
                arena_reset(&arena);
        }
}

static void test_after_prefix(void **state)
{
        Bytes after = key_after_prefix(BYTES("a\xff\xff", 3), &arena);
        assert_true(bytes_equal(after, BYTES("b", 1)));
        assert_null(key_after_prefix(BYTES("\xff\xff", 2), &arena).data);
        assert_null(key_after_prefix(BYTES_NONE, &arena).data);
}

static void check_refused(Value v, StatusCode code, const char *message)
{
        Bytes key;
        Status st = key_encode_primary(v, &arena, &key);
        assert_non_null(st);
        assert_string_equal(status_message(st), message);
        assert_int_equal(status_code(st), code);
        status_ignore(st);
}

static void check_accepted(Value v)
{
        Bytes key;
        assert_null(key_encode_primary(v, &arena, &key));
        assert_true(bytes_equal(key, key_encode(v, &arena)));
}

static Value repeated(char c, size_t count)
{
        char *text = arena_zalloc(&arena, count + 1);
        memset(text, c, count);
        return value_string(BYTES(text, count));
}

static void test_primary_keys(void **state)
{
        check_accepted(value_number(-1.2345678901234567e-300));
        check_accepted(value_bool(true));
        check_accepted(parse("[]"));
        check_accepted(parse("[1,\"a\",[true]]"));
        check_accepted(parse("{\"$reql_type$\":\"TIME\",\"epoch_time\":1.5,\"timezone\":\"Z\"}"));
        check_accepted(value_minval());
        check_accepted(repeated('a', 127));
        check_refused(value_null(), ERR_NON_EXISTENCE,
                      "Primary keys must be either a number, string, bool, pseudotype or array (got type NULL):\nnull");
        check_refused(parse("{\"a\":1}"), ERR_LOGIC,
                      "Primary keys must be either a number, string, bool, pseudotype or array (got type "
                      "OBJECT):\n{\n\t\"a\":\t1\n}");
        Value text = repeated('a', 128);
        check_refused(
                text, ERR_LOGIC,
                arena_printf(&arena, "Primary key too long (max 127 characters): \"%.*s\"", (int)text.size, text.text));
        check_refused(
                value_string(BYTES("ab\0\"\n\\\xc3\xa9", 8)), ERR_LOGIC,
                "String \"ab\\x00\\\"\\n\\\\\\xC3\\xA9\" (truncated) contains NULL byte at offset 2 in index key.");
        check_refused(parse("[\"a\\u0000\"]"), ERR_LOGIC,
                      "String \"a\\x00\" (truncated) contains NULL byte at offset 1 in index key.");
        check_refused(parse("[1,null]"), ERR_NON_EXISTENCE,
                      "Array keys can only contain numbers, strings, bools,  pseudotypes, or arrays (got null of type "
                      "NULL).");
        check_refused(parse("[{}]"), ERR_LOGIC,
                      "Array keys can only contain numbers, strings, bools,  pseudotypes, or arrays (got {} of type "
                      "OBJECT).");
        check_refused(parse("{\"$reql_type$\":\"GEOMETRY\",\"type\":\"Point\",\"coordinates\":[1,2]}"), ERR_LOGIC,
                      "Cannot use a geometry value as a key value in a primary or non-geospatial secondary index.");
        check_refused(parse("{\"$reql_type$\":\"LITERAL\"}"), ERR_LOGIC,
                      "Cannot use pseudotype PTYPE<LITERAL> as a primary or secondary key value .");
}

/* "A", and of each element "N", 16 digits, "#", the number, NUL: 20 bytes for a one-digit number. */
static void test_length_of_arrays(void **state)
{
        check_accepted(parse("[1,2,3,4,5,6]"));
        check_refused(parse("[1,2,3,4,5,6,7]"), ERR_LOGIC,
                      "Primary key too long (max 127 characters): [\n\t1,\n\t2,\n\t3,\n\t4,\n\t5,\n\t6,\n\t7\n]");
        /* 0.1 is "0.10000000000000000555" there. */
        check_accepted(parse("[0.1,0.1,0.1]"));
        check_refused(parse("[0.1,0.1,0.1,1]"), ERR_LOGIC,
                      "Primary key too long (max 127 characters): [\n\t0.1,\n\t0.1,\n\t0.1,\n\t1\n]");
        char bytes[128] = {0};
        check_accepted(value_binary(BYTES(bytes, 60)));
        Value binary = value_binary(BYTES(bytes, 61)),
              plain = value_binary(BYTES(memset(arena_alloc(&arena, 120), 'x', 120), 120));
        check_refused(binary, ERR_LOGIC,
                      arena_printf(&arena, "Primary key too long (max 127 characters): %s",
                                   json_pretty_text(binary, &arena).data));
        check_accepted(plain);
}

/* RethinkDB looks at no more of an array than the 250 bytes that its keys hold. */
static void test_secondary_keys(void **state)
{
        assert_true(key_is_secondary(parse("[1,\"a\\u0000\",[true]]")));
        assert_true(key_is_secondary(value_number(1)));
        assert_false(key_is_secondary(value_null()));
        assert_false(key_is_secondary(value_minval()));
        assert_false(key_is_secondary(parse("{}")));
        assert_false(key_is_secondary(parse("[1,null]")));
        Value items[] = {repeated('a', 246), value_null()}; /* "A", "S", the text, NUL: 249 bytes */
        assert_false(key_is_secondary(value_array(items, 2)));
        items[0] = repeated('a', 247);
        assert_true(key_is_secondary(value_array(items, 2)));
        items[0] = repeated(1, 124); /* each is two bytes there */
        assert_true(key_is_secondary(value_array(items, 2)));
        items[0] = repeated(1, 123);
        assert_false(key_is_secondary(value_array(items, 2)));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_keys_sort_as_values), cmocka_unit_test(test_after_prefix),
                cmocka_unit_test(test_primary_keys),        cmocka_unit_test(test_length_of_arrays),
                cmocka_unit_test(test_secondary_keys),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
