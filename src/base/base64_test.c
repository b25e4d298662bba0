/* base64_test.c */
#include "base/base64.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void expect(Base64Kind kind, Bytes data, const char *text)
{
        char out[64];
        uint8_t back[64];
        size_t size;
        assert_int_equal(base64_size(kind, data.size), strlen(text));
        assert_ptr_equal(base64_write(kind, data, out), out + strlen(text));
        assert_memory_equal(out, text, strlen(text));
        assert_true(base64_read(kind, BYTES_STR(text), data.size, back, &size));
        assert_true(bytes_equal(BYTES(back, size), data));
        assert_true(data.size == 0 || !base64_read(kind, BYTES_STR(text), data.size - 1, back, &size));
}

/* RFC 4648, 10. */
static void test_published(void **state)
{
        static const char *const texts[] = {"", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"};
        for (size_t i = 0; i < 7; i++) {
                char plain[16];
                expect(BASE64_PLAIN, BYTES("foobar", i), texts[i]);
                strcpy(plain, texts[i]);
                plain[strcspn(plain, "=")] = 0;
                expect(BASE64_URL, BYTES("foobar", i), plain);
        }
        expect(BASE64_PLAIN, BYTES("\x14\xfb\x9c\x03\xd9\x7e", 6), "FPucA9l+");
        expect(BASE64_PLAIN, BYTES("\xfb\xff\xfe", 3), "+//+");
        expect(BASE64_URL, BYTES("\xfb\xff\xfe", 3), "-__-");
}

static void test_every_byte(void **state)
{
        for (int kind = BASE64_PLAIN; kind <= BASE64_URL; kind++)
                for (int byte = 0; byte < 256; byte++)
                        for (size_t size = 1; size <= 3; size++) {
                                const uint8_t data[3] = {(uint8_t)byte, (uint8_t)~byte, (uint8_t)(byte * 7)};
                                uint8_t back[3];
                                char text[4];
                                size_t got;
                                char *end = base64_write((Base64Kind)kind, BYTES(data, size), text);
                                assert_true(base64_read((Base64Kind)kind, BYTES(text, (size_t)(end - text)), 3, back,
                                                        &got));
                                assert_true(bytes_equal(BYTES(back, got), BYTES(data, size)));
                        }
}

/* One text for the same bytes: nothing else is read. */
static void test_refused(void **state)
{
        static const char *const plain[] = {"Z",        "Zg",    "Zg=",      "Zh==", "Zm9=",  "Zg===", "=",    "====",
                                            "Zg==Zg==", "Zm9v=", "Zm9v====", "Zm 9", "Zm9\n", "Zm-_",  "Z===", "Zm9vA"};
        static const char *const url[] = {"Z", "Zh", "Zm9", "Zg==", "Zm8=", "Zm+/", "Zm 9", "Zm9vA"};
        uint8_t out[16];
        size_t size = 99;
        for (size_t i = 0; i < ELEMENTS(plain); i++)
                assert_false(base64_read(BASE64_PLAIN, BYTES_STR(plain[i]), sizeof out, out, &size));
        for (size_t i = 0; i < ELEMENTS(url); i++)
                assert_false(base64_read(BASE64_URL, BYTES_STR(url[i]), sizeof out, out, &size));
        for (int c = 0; c < 256; c++) {
                const char text[4] = {'A', 'A', (char)c, 'A'};
                bool digit = c && strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", c);
                assert_int_equal(base64_read(BASE64_PLAIN, BYTES(text, 4), sizeof out, out, &size),
                                 digit || c == '+' || c == '/');
                assert_int_equal(base64_read(BASE64_URL, BYTES(text, 4), sizeof out, out, &size),
                                 digit || c == '-' || c == '_');
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_published),
                cmocka_unit_test(test_every_byte),
                cmocka_unit_test(test_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
