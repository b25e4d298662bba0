/* moment_test.c - times there and back. */
#include "base/check.h"

#include "storage/moment.h"

static void expect(const char *text, int64_t wall_us)
{
        int64_t got = -1;
        if (!moment_time_parse(text, &got))
                fail_msg("%s is refused", text);
        assert_int_equal(got, wall_us);
}

static void test_parse(void **state)
{
        expect("1970-01-01T00:00:00Z", 0);
        expect("2026-11-21T14:05:00Z", INT64_C(1795269900) * 1000000);
        expect("2026-11-21 14:05:00", INT64_C(1795269900) * 1000000);
        expect("2026-11-21 14:05", INT64_C(1795269900) * 1000000);
        expect("2026-11-21t15:05:00.25+01:00", INT64_C(1795269900) * 1000000 + 250000);
        expect("2026-11-21T13:35:00.1234567-00:30", INT64_C(1795269900) * 1000000 + 123456);
        expect("2000-02-29T00:00:00Z", INT64_C(951782400) * 1000000);
        expect("2016-12-31T23:59:60Z", INT64_C(1483228800) * 1000000);
        static const char *const refused[] = {
                "",
                "12345",
                "2026-11-21",
                "2026-11-21T",
                "2026-13-01T00:00:00Z",
                "2026-02-30T00:00:00Z",
                "2100-02-29T00:00:00Z",
                "2026-11-21T24:00:00Z",
                "2026-11-21T14:05:00.Z",
                "2026-11-21T14:05:00 Z",
                "2026-11-21T14:05:00+1:00",
                "2026-11-21T14:05:00Zulu",
                "1969-12-31T23:59:59Z",
                "tomorrow",
        };
        int64_t got;
        for (size_t i = 0; i < ELEMENTS(refused); i++)
                if (moment_time_parse(refused[i], &got))
                        fail_msg("%s is taken", refused[i]);
}

static void test_there_and_back(void **state)
{
        char text[MOMENT_TIME_BYTES];
        assert_string_equal(moment_time_text(INT64_C(1795269900123456), text), "2026-11-21T14:05:00.123456Z");
        assert_string_equal(moment_time_text(0, text), "1970-01-01T00:00:00.000000Z");
        assert_string_equal(moment_time_text(-1, text), "1969-12-31T23:59:59.999999Z");
        for (int64_t us = 1; us < INT64_C(250000000000000000); us = us * 3 / 2 + 86399999999) {
                int64_t again = 0;
                assert_true(moment_time_parse(moment_time_text(us, text), &again));
                assert_int_equal(again, us);
        }
        /* Whatever the number is, the text fits. */
        moment_time_text(INT64_MAX, text);
        moment_time_text(INT64_MIN, text);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_parse),
                cmocka_unit_test(test_there_and_back),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
