/* value_encode_test.c - the stored form: round trips, widths, and a validator that accepts exactly it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "base/mem.h"
#include "value/value.h"
#include "value/value_gen.h"
#include "value/value_int.h"

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

static uint8_t *encode(Value v, size_t *ret_size)
{
        *ret_size = value_encoded_size(v);
        uint8_t *bytes = mem_alloc(*ret_size); /* exact, so that ASan sees a byte too many */
        assert_non_null(bytes);
        value_encode(v, bytes);
        return bytes;
}

/* Looks at everything by every accessor. */
static void check_same(Value a, Value b)
{
        assert_int_equal(a.type, b.type);
        assert_int_equal(a.depth, b.depth);
        if (a.type == V_NUMBER)
                assert_memory_equal(&a.number, &b.number, sizeof(double)); /* -0 stays -0 */
        if (a.type == V_ARRAY) {
                assert_int_equal(value_count(a), value_count(b));
                for (size_t i = 0; i < value_count(a); i++)
                        check_same(value_at(a, i), value_at(b, i));
        } else if (value_is_object(a)) {
                assert_int_equal(value_count(a), value_count(b));
                for (size_t i = 0; i < value_count(a); i++) {
                        Bytes key_a, key_b;
                        Value in_a = value_field_at(a, i, &key_a), in_b = value_field_at(b, i, &key_b);
                        assert_true(bytes_equal(key_a, key_b));
                        check_same(in_a, in_b);
                        check_same(value_get(b, key_a), in_b);
                }
        } else {
                assert_true(value_equal(a, b));
        }
}

static void test_random_round_trips(void **state)
{
        for (uint64_t seed = 0; seed < 2000; seed++) {
                Gen g = {.state = seed, .arena = &arena};
                Value v = gen_value(&g, 4);
                size_t size;
                uint8_t *bytes = encode(v, &size);
                assert_true(value_validate(bytes, size));
                Value back = value_decode(bytes);
                check_same(v, back);
                assert_int_equal(value_encoded_size(back), size);
                /* Encoded inside boxed. */
                Value pair[2] = {back, v};
                Value copy = value_copy(value_array(pair, 2), &arena);
                check_same(value_at(copy, 0), value_at(copy, 1));
                mem_free(bytes);
                arena_reset(&arena);
        }
}

static void test_numbers_take_little(void **state)
{
        const struct {
                double d;
                size_t size;
        } rows[] = {{0, 2},     {127, 2},           {-128, 2},         {128, 3}, {-32768, 3},
                    {32768, 5}, {-2147483648.0, 5}, {2147483648.0, 9}, {0.5, 9}, {-0.0, 9}};
        for (size_t i = 0; i < ELEMENTS(rows); i++) {
                size_t size;
                uint8_t *bytes = encode(value_number(rows[i].d), &size);
                assert_int_equal(size, rows[i].size);
                check_same(value_number(rows[i].d), value_decode(bytes));
                mem_free(bytes);
        }
}

/* Bodies around 64 KiB: the offsets get wider there, in the container itself and in what is around it. */
static void test_widths(void **state)
{
        for (size_t length = 65535 - 40; length < 65535 + 10; length++) {
                char *text = arena_zalloc(&arena, length);
                Value inner[1] = {value_string(BYTES(text, length))};
                Value middle[2] = {value_array(inner, 1), value_number(1)};
                Field field[1] = {{.key = BYTES_STR("k"), .value = value_array(middle, 2)}};
                Value v = value_object_sorted(field, 1);
                size_t size;
                uint8_t *bytes = encode(v, &size);
                assert_true(value_validate(bytes, size));
                check_same(v, value_decode(bytes));
                mem_free(bytes);
                arena_reset(&arena);
        }
        size_t count = 70000, size;
        Value *items = arena_array(&arena, Value, count);
        for (size_t i = 0; i < count; i++)
                items[i] = value_number((double)i);
        uint8_t *bytes = encode(value_array(items, count), &size);
        Value back = value_decode(bytes);
        assert_true(value_validate(bytes, size));
        for (size_t i = 0; i < count; i++)
                assert_true(value_at(back, i).number == (double)i);
        mem_free(bytes);
}

static void test_deep(void **state)
{
        char *text = arena_zalloc(&arena, 70000);
        for (int wide = 0; wide < 2; wide++) {
                Value v = value_string(BYTES(text, wide ? 70000 : 1));
                for (int depth = 1; depth <= VALUE_MAX_DEPTH; depth++) {
                        Value *item = arena_new(&arena, Value);
                        size_t size;
                        *item = v;
                        v = value_array(item, 1);
                        assert_int_equal(v.depth, depth);
                        assert_false(value_too_deep(v));
                        if (depth % 50 && depth < 250)
                                continue;
                        uint8_t *bytes = encode(v, &size);
                        assert_true(value_validate(bytes, size));
                        assert_int_equal(value_decode(bytes).depth, depth);
                        assert_true(value_equal(v, value_decode(bytes)));
                        mem_free(bytes);
                }
                Value last[1] = {v};
                assert_true(value_too_deep(value_array(last, 1)));
        }
        Value saturated[1] = {{.type = V_ARRAY, .rep = REP_BOXED, .depth = UINT16_MAX}};
        assert_true(value_too_deep(value_array(saturated, 1)));
}

/* Every single-byte change and every cut either is refused or gives another value that reads cleanly (under ASan). */
static void touch(Value v)
{
        if (v.type == V_ARRAY)
                for (size_t i = 0; i < value_count(v); i++)
                        touch(value_at(v, i));
        else if (value_is_object(v))
                for (size_t i = 0; i < value_count(v); i++) {
                        Bytes key;
                        touch(value_field_at(v, i, &key));
                        assert_true(value_get(v, key).type != V_NONE);
                }
        (void)value_hash(v);
}

static void test_validate_is_total(void **state)
{
        for (uint64_t seed = 0; seed < 60; seed++) {
                Gen g = {.state = seed + 1000, .arena = &arena};
                size_t size;
                uint8_t *bytes = encode(gen_value(&g, 3), &size);
                if (size > 600) {
                        mem_free(bytes);
                        continue;
                }
                for (size_t cut = 0; cut < size; cut++) {
                        uint8_t *part = mem_alloc(cut + 1);
                        memcpy(part, bytes, cut);
                        part = mem_realloc(part, cut ? cut : 1);
                        assert_false(value_validate(part, cut));
                        mem_free(part);
                }
                for (size_t at = 0; at < size; at++)
                        for (unsigned bit = 0; bit < 8; bit++) {
                                bytes[at] ^= (uint8_t)(1 << bit);
                                if (value_validate(bytes, size)) {
                                        Value v = value_decode(bytes);
                                        size_t again;
                                        touch(v);
                                        uint8_t *copy = encode(v, &again);
                                        assert_int_equal(again, size);
                                        assert_memory_equal(copy, bytes, size);
                                        mem_free(copy);
                                }
                                bytes[at] ^= (uint8_t)(1 << bit);
                        }
                mem_free(bytes);
                arena_reset(&arena);
        }
}

static void test_copy_depends_on_nothing(void **state)
{
        Arena other;
        arena_init(&other, 0);
        Gen g = {.state = 3, .arena = &other};
        Value v = gen_value(&g, 4);
        while (v.type != V_OBJECT || v.size < 3)
                v = gen_value(&g, 4);

        Value copy = value_copy(v, &arena), text = value_copy(value_string(gen_text(&g, 9, true)), &arena);

        check_same(v, copy);
        arena_done(&other);
        touch(copy); /* ASan would see a pointer into the freed arena */
        touch(text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_random_round_trips),
                cmocka_unit_test(test_numbers_take_little),
                cmocka_unit_test(test_widths),
                cmocka_unit_test(test_deep),
                cmocka_unit_test(test_validate_is_total),
                cmocka_unit_test(test_copy_depends_on_nothing),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
