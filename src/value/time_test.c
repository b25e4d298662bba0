/* time_test.c - ISO 8601, zones, the calendar. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "value/time.h"
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

static Value iso(const char *text)
{
        Value v;
        Status st = time_from_iso8601(BYTES_STR(text), BYTES_NONE, &arena, &v);
        if (st)
                fail_msg("%s: %s", text, status_message(st));
        return v;
}

static void check_refused(const char *text, const char *zone, const char *message)
{
        Value v;
        Status st = time_from_iso8601(BYTES_STR(text), zone ? BYTES_STR(zone) : BYTES_NONE, &arena, &v);
        assert_non_null(st);
        assert_int_equal(status_code(st), ERR_LOGIC);
        assert_string_equal(status_message(st), message);
        status_ignore(st);
}

static void check_iso(Value time, const char *wanted)
{
        Bytes text;
        assert_null(time_to_iso8601(time, &arena, &text));
        assert_string_equal((const char *)text.data, wanted);
}

static double part(Value time, TimePart p)
{
        double number;
        assert_null(time_part(time, p, &number));
        return number;
}

static void test_forms(void **state)
{
        static const char *const dates[] = {"2013", "2013-01", "2013-01-01", "20130101", "2013-001", "2013001"};
        static const char *const times[] = {"13", "13:00", "1300", "13:00:00", "13:00:00.000000", "130000.000000"};
        static const char *const zones[] = {"Z", "+00", "+0000", "+00:00"};
        for (size_t d = 0; d < ELEMENTS(dates); d++)
                for (size_t t = 0; t < ELEMENTS(times); t++)
                        for (size_t z = 0; z < ELEMENTS(zones); z++) {
                                Value v = iso(arena_printf(&arena, "%sT%s%s", dates[d], times[t], zones[z]));
                                assert_true(time_epoch(v) == 1357045200);
                                check_iso(v, "2013-01-01T13:00:00+00:00");
                        }
        Value v;
        assert_null(time_from_iso8601(BYTES_STR("2013-07-30T20:56:05"), BYTES_STR("-07"), &arena, &v));
        check_iso(v, "2013-07-30T20:56:05-07:00");
        assert_true(time_epoch(v) == 1375242965);
        assert_true(time_epoch(iso("1970-01-01T00:00:01.4449Z")) == 1.444);
        check_iso(iso("1969-12-31T23:59:58.5Z"), "1969-12-31T23:59:58.500+00:00");
}

static void test_refusals(void **state)
{
        check_refused("201301", "Z", "Truncated date string `201301`.");
        check_refused("2013-0101", "Z", "Date string `2013-0101` must have 0 or 2 hyphens.");
        check_refused("2a13", "Z", "Invalid date string `2a13` (got `a` but expected a digit).");
        check_refused("2\u00e913", "Z", "Invalid date string `2\u00e913` (got `\u00e9` but expected a digit).");
        check_refused("2013+01", "Z", "Invalid date string `2013+01` (got `+` but expected a digit).");
        check_refused("2013-01-01.1", "Z", "Garbage characters `.1` at end of date string `2013-01-01.1`.");
        check_refused("2013-01-01Ta3", "Z", "Invalid date string `a3` (got `a` but expected a digit).");
        check_refused("2013-01-01T13:0000", "Z", "Time string `13:0000` must have 0 or 2 colons.");
        check_refused("2013-01-01T13:000", "Z", "Time string `13:000` must have 0 or 2 colons.");
        check_refused("2013-01-01T130000.00000000a", "Z",
                      "Invalid date string `130000.00000000a` (got `a` but expected a digit).");
        check_refused("2013-01-01T13:00X", NULL, "Time string `13:00X` must have 0 or 2 colons.");
        check_refused("2013-01-01T13:00:00+7", NULL, "Truncated date string `+7`.");
        check_refused("2013-01-01T13:00:00-00:00", NULL, "`-00:00` is not a valid time offset.");
        check_refused("2013-01-01T13:00:00-0000", NULL, "`-0000` is not a valid time offset.");
        check_refused("2013-01-01T13:00:00-00", NULL, "`-00` is not a valid time offset.");
        check_refused("2013-01-01T13:00:00-07:60", NULL, "Minutes out of range in `-07:60`.");
        check_refused("2013-01-01T13:00:00-25:00", NULL, "Hours out of range in `-25:00`.");
        check_refused("2013-01-01T13:00:00-07:001", NULL,
                      "Garbage characters `1` at end of timezone string `-07:001`.");
        check_refused("2013-07-30T20:56:05", NULL,
                      "ISO 8601 string has no time zone, and no default time zone was provided.");
        check_refused("2013-07-30T20:56:05", "PST", "Invalid ISO 8601 timezone: `PST`.");
        check_refused("2013-02-29", "Z", "Error in time logic: Day of month is not valid for year.");
        check_refused("2013-13-01", "Z", "Error in time logic: Month number is out of range 1..12.");
        check_refused("2013-01-32", "Z", "Error in time logic: Day of month value is out of range 1..31.");
        check_refused("1399-01-01", "Z", "Error in time logic: Year is out of valid range: 1400..10000.");
        check_refused("2006-W10", "Z",
                      "Due to limitations in the boost time library we use for parsing, we cannot support ISO week "
                      "dates right now.  "
                      "Sorry about that!  Please use years, calendar dates, or ordinal dates instead.");
}

static void test_parts(void **state)
{
        Value t = value_time(&arena, 1375147296.6812, BYTES_STR("+00:00"));
        Value date;
        double seconds;
        assert_true(time_epoch(t) == 1375147296.681);
        assert_true(part(t, TIME_YEAR) == 2013 && part(t, TIME_MONTH) == 7 && part(t, TIME_DAY) == 30);
        assert_true(part(t, TIME_DAY_OF_WEEK) == 2 && part(t, TIME_DAY_OF_YEAR) == 211);
        assert_true(part(t, TIME_HOURS) == 1 && part(t, TIME_MINUTES) == 21 && part(t, TIME_SECONDS) == 36.681);
        assert_null(time_date(t, &arena, &date));
        assert_true(time_epoch(date) == 1375142400);
        assert_null(time_of_day(t, &seconds));
        assert_true(seconds == 4896.681);
        Value west;
        assert_null(time_in_zone(t, BYTES_STR("-02:30"), &arena, &west));
        assert_true(value_equal(t, west));
        assert_true(part(west, TIME_DAY) == 29 && part(west, TIME_HOURS) == 22 && part(west, TIME_MINUTES) == 51);
        assert_null(time_date(west, &arena, &date));
        check_iso(date, "2013-07-29T00:00:00-02:30");
        assert_null(time_add(t, 1000, &arena, &t));
        assert_true(time_epoch(t) == 1375148296.681);
        Value before = value_time(&arena, -1.5, BYTES_STR("+00:00"));
        assert_true(part(before, TIME_SECONDS) == 58.5 && part(before, TIME_YEAR) == 1969);
}

static void test_from_parts(void **state)
{
        Value v;
        assert_null(time_from_parts(2013, 7, 29, 23, 30, 0.1, BYTES_STR("-07:00"), &arena, &v));
        assert_true(time_epoch(v) == 1375165800.1);
        assert_true(bytes_equal(time_zone(v), BYTES_STR("-07:00")));
        assert_null(time_from_parts(2014, 9, 11, 0, 0, 0, BYTES_STR("Z"), &arena, &v));
        assert_true(time_epoch(v) == 1410393600);
        Status st = time_from_parts(2014, 9, 31, 0, 0, 0, BYTES_STR("Z"), &arena, &v);
        assert_string_equal(status_message(st), "Error in time logic: Day of month is not valid for year.");
        status_ignore(st);
        st = time_from_parts(NAN, 9, 31, 0, 0, 0, BYTES_STR("Z"), &arena, &v);
        assert_non_null(st);
        status_ignore(st);
}

static void check_year_error(Value t, const char *message)
{
        double number;
        Status st = time_part(t, TIME_YEAR, &number);
        assert_string_equal(status_message(st), message);
        status_ignore(st);
}

static void test_years(void **state)
{
        Bytes utc = BYTES_STR("+00:00"), text;
        static const char range[] = "Error in time logic: Year is out of valid range: 1400..10000.";
        assert_true(part(value_time(&arena, 253430000000, utc), TIME_YEAR) == 10000);
        Status st = time_to_iso8601(value_time(&arena, 253430000000, utc), &arena, &text);
        assert_string_equal(status_message(st), "Year `10000` out of valid ISO 8601 range [0, 9999].");
        status_ignore(st);
        check_year_error(value_time(&arena, 253440000000 + 86400 * 366, utc), range);
        check_year_error(value_time(&arena, 1e300, utc), range);
        check_year_error(value_time(&arena, -1e17, utc), range);
        assert_true(part(value_time(&arena, -17980000000, utc), TIME_YEAR) == 1400);
        check_year_error(value_time(&arena, -17990000000, utc), range);
        Value v;
        st = time_add(value_time(&arena, 1e308, utc), 1e308, &arena, &v);
        assert_non_null(st);
        status_ignore(st);
        st = time_add(value_time(&arena, 1.7e308, utc), 1.7e308, &arena, &v);
        assert_string_equal(status_message(st), "Non-finite number: inf");
        status_ignore(st);
}

/* Every day of 8600 years, there and back. */
static void test_calendar(void **state)
{
        static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
        double epoch = -17987443200; /* 1400-01-01 */
        int weekday = 3;             /* a Wednesday, in the Gregorian calendar */
        for (int year = 1400; year < 10000; year++) {
                bool leap = year % 4 == 0 && (year % 100 || year % 400 == 0);
                int of_year = 0;
                for (int month = 1; month <= 12; month++)
                        for (int day = 1; day <= lengths[month - 1] + (leap && month == 2); day++) {
                                of_year++;
                                if (day == 1 || month == 2 || of_year > 364) {
                                        Value v;
                                        assert_null(
                                                time_from_parts(year, month, day, 0, 0, 0, BYTES_STR("Z"), &arena, &v));
                                        assert_true(time_epoch(v) == epoch);
                                        assert_true(part(v, TIME_DAY_OF_YEAR) == of_year &&
                                                    part(v, TIME_DAY_OF_WEEK) == weekday);
                                        assert_true(part(v, TIME_MONTH) == month && part(v, TIME_DAY) == day);
                                }
                                weekday = weekday % 7 + 1;
                                epoch += 86400;
                        }
                arena_reset(&arena);
        }
}

static void test_round_trip(void **state)
{
        Gen g = {.state = 5, .arena = &arena};
        for (int i = 0; i < 20000; i++) {
                Bytes text;
                Value t = value_time(&arena, (double)(int64_t)gen_below(&g, 250000000000000) / 1000 - 17000000000,
                                     BYTES_STR("+05:30"));
                assert_null(time_to_iso8601(t, &arena, &text));
                Value back = iso((const char *)text.data);
                assert_true(time_epoch(back) == time_epoch(t));
                arena_reset(&arena);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_forms),      cmocka_unit_test(test_refusals), cmocka_unit_test(test_parts),
                cmocka_unit_test(test_from_parts), cmocka_unit_test(test_years),    cmocka_unit_test(test_calendar),
                cmocka_unit_test(test_round_trip),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
