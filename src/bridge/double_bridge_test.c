/* double_bridge_test.c - the digits of doubles, and exact reading. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "bridge/double_bridge.h"

static void check_digits(double d, const char *wanted, int wanted_point)
{
        char digits[DOUBLE_DIGITS_MAX];
        int point, count = double_digits(d, digits, &point);
        assert_int_equal(count, (int)strlen(wanted));
        assert_memory_equal(digits, wanted, (size_t)count);
        assert_int_equal(point, wanted_point);
}

static void test_digits(void **state)
{
        check_digits(1, "1", 1);
        check_digits(-0.1, "1", 0);
        check_digits(123.456, "123456", 3);
        check_digits(5e-324, "5", -323);
        check_digits(1.7976931348623157e308, "17976931348623157", 309);
        check_digits(1e21, "1", 22);
        /* Not the closest of their length, and not the shortest: Grisu2's, which RethinkDB prints. */
        check_digits(40007862.917250897, "40007862917250897", 8);
        check_digits(1.2345678901234569e39, "12345678901234569", 40);
        check_digits(1403463464.8477, "14034634648477002", 10);
}

static void test_parse(void **state)
{
        double d;
        assert_true(double_parse("-1.5e3", 6, &d) && d == -1500);
        assert_true(double_parse("1e400", 5, &d) && isinf(d));
        assert_true(double_parse("1e-400", 6, &d) && d == 0);
        assert_true(double_parse("0.1000000000000000055511151231257827021181583404541015625", 57, &d) && d == 0.1);
        assert_true(double_parse("-0", 2, &d) && d == 0 && signbit(d));
        assert_false(double_parse("", 0, &d));
        assert_false(double_parse("1x", 2, &d));
        assert_false(double_parse("x", 1, &d));
        assert_false(double_parse(" 1", 2, &d));
}

static void test_there_and_back(void **state)
{
        uint64_t seed = 1;
        for (int i = 0; i < 100000; i++) {
                char digits[DOUBLE_DIGITS_MAX], text[64];
                double d, back;
                int point;
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                memcpy(&d, &seed, sizeof(d));
                if (!isfinite(d) || d == 0)
                        continue;
                int count = double_digits(d, digits, &point);
                int size = snprintf(text, sizeof(text), "%s0.%.*se%d", d < 0 ? "-" : "", count, digits, point);
                assert_true(double_parse(text, (size_t)size, &back) && back == d);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_digits),
                cmocka_unit_test(test_parse),
                cmocka_unit_test(test_there_and_back),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
