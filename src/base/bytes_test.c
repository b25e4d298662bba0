/* bytes_test.c */
#include "base/bytes.h"

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_append(void **state)
{
        Buf buf;
        buf_init(&buf, 10000);
        for (int i = 0; i < 1000; i++) {
                assert_null(buf_append(&buf, "ab", 2));
                assert_null(buf_append_byte(&buf, 'c'));
        }
        assert_null(buf_append(&buf, NULL, 0));
        assert_null(buf_append_str(&buf, "end"));
        assert_int_equal(buf.size, 3003);
        assert_memory_equal(buf.data + 3000 - 3, "abcend", 6);
        buf_consume(&buf, 3000);
        assert_int_equal(buf.size, 3);
        assert_memory_equal(buf.data, "end", 3);
        buf_consume(&buf, 3);
        buf_consume(&buf, 0);
        assert_int_equal(buf.size, 0);
        buf_done(&buf);
        buf_done(&buf);
}

static void test_maximum(void **state)
{
        Buf buf;
        buf_init(&buf, 1000);
        char chunk[300] = "";
        for (int i = 0; i < 3; i++)
                assert_null(buf_append(&buf, chunk, sizeof chunk));
        Status st = buf_append(&buf, chunk, sizeof chunk);
        assert_int_equal(status_code(st), ERR_LIMIT);
        status_ignore(st);
        assert_int_equal(buf.size, 900);
        assert_null(buf_append(&buf, chunk, 100)); /* exactly full */
        st = buf_append_byte(&buf, 1);
        assert_int_equal(status_code(st), ERR_LIMIT);
        status_ignore(st);
        st = buf_reserve(&buf, SIZE_MAX);
        assert_int_equal(status_code(st), ERR_LIMIT);
        status_ignore(st);
        buf_clear(&buf);
        assert_null(buf_append(&buf, chunk, 300));
        assert_true(buf.capacity <= 1000);
        buf_done(&buf);
        Buf zero = {0};
        st = buf_append_byte(&zero, 1);
        assert_int_equal(status_code(st), ERR_LIMIT);
        status_ignore(st);
        assert_null(buf_append(&zero, "", 0));
        buf_done(&zero);
        buf_init(&buf, SIZE_MAX);
        assert_null(buf_append_str(&buf, "x"));
        st = buf_reserve(&buf, SIZE_MAX);
        assert_int_equal(status_code(st), ERR_LIMIT);
        status_ignore(st);
        buf_done(&buf);
}

static void test_printf(void **state)
{
        for (size_t max = 0; max < 600; max += 7) {
                Buf buf;
                buf_init(&buf, max);
                Status st = buf_printf(&buf, "%s%0*d", "x", 300, 7);
                if (max >= 301) {
                        assert_null(st);
                        assert_int_equal(buf.size, 301);
                        assert_int_equal(buf.data[300], '7');
                } else {
                        assert_int_equal(status_code(st), ERR_LIMIT);
                        assert_int_equal(buf.size, 0);
                        status_ignore(st);
                }
                buf_done(&buf);
        }
        Buf exact;
        buf_init(&exact, 5);
        assert_null(buf_printf(&exact, "%s", "hello")); /* no room for the NUL and none needed */
        assert_memory_equal(exact.data, "hello", 5);
        assert_null(buf_printf(&exact, "%s", ""));
        buf_done(&exact);
}

static void test_without_memory(void **state)
{
        for (int n = 1, fired = 1; fired; n++) {
                Buf buf;
                buf_init(&buf, 5000);
                mem_fail_nth(n);
                size_t expected = 0;
                for (int i = 0; i < 40; i++) {
                        Status st = i % 2 ? buf_printf(&buf, "%0100d", i) : buf_append(&buf, "0123456789", 10);
                        if (st)
                                assert_int_equal(status_code(st), ERR_NOMEM);
                        else
                                expected += i % 2 ? 100 : 10;
                        assert_int_equal(buf.size, expected);
                        status_ignore(st);
                }
                fired = mem_fail_fired();
                mem_fail_nth(0);
                buf_done(&buf);
        }
}

static void test_bytes(void **state)
{
        assert_true(bytes_compare(BYTES_STR("a"), BYTES_STR("b")) < 0);
        assert_true(bytes_compare(BYTES_STR("a"), BYTES_STR("ab")) < 0);
        assert_true(bytes_compare(BYTES_NONE, BYTES_STR("a")) < 0);
        assert_int_equal(bytes_compare(BYTES_NONE, BYTES_NONE), 0);
        assert_true(bytes_compare(BYTES("\xff", 1), BYTES_STR("a")) > 0);
        assert_true(bytes_equal(BYTES_STR("abc"), BYTES("abcd", 3)));
        assert_false(bytes_equal(BYTES_STR("abc"), BYTES_STR("abd")));
        uint8_t raw[9];
        store_u64(raw + 1, 0x0102030405060708u);
        assert_int_equal(raw[1], 8);
        assert_true(load_u64(raw + 1) == 0x0102030405060708u);
        store_u32(raw + 1, 0xfffefdfcu);
        assert_true(load_u32(raw + 1) == 0xfffefdfcu && load_u16(raw + 1) == 0xfdfc);
        /* XXH3's published values: the disk format depends on them. */
        assert_true(bytes_hash("", 0) == 0x2d06800538d394c2u);
        assert_true(bytes_hash(NULL, 0) == 0x2d06800538d394c2u);
        assert_true(bytes_hash("a", 1) == 0xe6c632b61e964e1fu);
        assert_true(bytes_hash("abc", 3) == 0x78af5f94892f3950u);
        assert_true(bytes_hash_seeded("abc", 3, 0) == bytes_hash("abc", 3));
        assert_true(bytes_hash_seeded("abc", 3, 1) != bytes_hash("abc", 3));
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_append), cmocka_unit_test(test_maximum),
                                           cmocka_unit_test(test_printf), cmocka_unit_test(test_without_memory),
                                           cmocka_unit_test(test_bytes)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
