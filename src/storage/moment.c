/* moment.c - times to text and back, without the C library's zones. */
#include "storage/moment.h"

#include <inttypes.h>
#include <stdio.h>

#define SECOND_US INT64_C(1000000)
#define DAY_S     INT64_C(86400)

/* Days since 1970-01-01 of a date and back, by eras of 400 years that begin on 1 March, so that the leap day is the
 * last one of its year. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
        year -= month <= 2;
        int64_t era = (year >= 0 ? year : year - 399) / 400, of_era = year - era * 400;
        int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
        return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static void date_of(int64_t days, int64_t *ret_year, int64_t *ret_month, int64_t *ret_day)
{
        days += 719468;
        int64_t era = (days >= 0 ? days : days - 146096) / 146097, of_era = days - era * 146097;
        int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
        int64_t of_year = of_era - (365 * year + year / 4 - year / 100), month = (5 * of_year + 2) / 153;
        *ret_day = of_year - (153 * month + 2) / 5 + 1;
        *ret_month = month < 10 ? month + 3 : month - 9;
        *ret_year = year + era * 400 + (*ret_month <= 2);
}

const char *moment_time_text(int64_t wall_us, char out[MOMENT_TIME_BYTES])
{
        int64_t seconds = wall_us / SECOND_US - (wall_us % SECOND_US < 0), year, month, day;
        int64_t us = wall_us % SECOND_US + (wall_us % SECOND_US < 0 ? SECOND_US : 0);
        int64_t days = seconds / DAY_S - (seconds % DAY_S < 0), of_day = seconds - days * DAY_S;
        date_of(days, &year, &month, &day);
        snprintf(out, MOMENT_TIME_BYTES,
                 "%04" PRId64 "-%02" PRId64 "-%02" PRId64 "T%02" PRId64 ":%02" PRId64 ":%02" PRId64 ".%06" PRId64 "Z",
                 year, month, day, of_day / 3600, of_day / 60 % 60, of_day % 60, us);
        return out;
}

/* Exactly `digits` of them. */
static bool take_number(const char **at, int digits, int64_t least, int64_t most, int64_t *ret_number)
{
        int64_t number = 0;
        for (int i = 0; i < digits; i++, (*at)++) {
                if (**at < '0' || **at > '9')
                        return false;
                number = number * 10 + (**at - '0');
        }
        *ret_number = number;
        return number >= least && number <= most;
}

static bool take_char(const char **at, const char *any_of)
{
        for (; *any_of; any_of++) {
                if (**at == *any_of) {
                        (*at)++;
                        return true;
                }
        }
        return false;
}

/* ".25" as microseconds; digits beyond the sixth are dropped. */
static bool take_fraction(const char **at, int64_t *ret_us)
{
        int64_t unit = SECOND_US / 10;
        const char *start = *at;
        *ret_us = 0;
        for (; **at >= '0' && **at <= '9'; (*at)++, unit /= 10)
                *ret_us += (**at - '0') * unit;
        return *at > start;
}

static bool take_zone(const char **at, int64_t *ret_minutes)
{
        int64_t hours, minutes;
        *ret_minutes = 0;
        if (!**at || take_char(at, "Zz"))
                return true;
        int64_t sign = **at == '-' ? -1 : 1;
        if (!take_char(at, "+-") || !take_number(at, 2, 0, 23, &hours) || !take_char(at, ":") ||
            !take_number(at, 2, 0, 59, &minutes))
                return false;
        *ret_minutes = sign * (hours * 60 + minutes);
        return true;
}

bool moment_time_parse(const char *text, int64_t *ret_wall_us)
{
        int64_t year, month, day, hour, minute, second = 0, us = 0, zone, again_year, again_month, again_day;
        const char *at = text;
        if (!take_number(&at, 4, 1970, 9999, &year) || !take_char(&at, "-") || !take_number(&at, 2, 1, 12, &month) ||
            !take_char(&at, "-") || !take_number(&at, 2, 1, 31, &day) || !take_char(&at, "Tt ") ||
            !take_number(&at, 2, 0, 23, &hour) || !take_char(&at, ":") || !take_number(&at, 2, 0, 59, &minute))
                return false;
        if (take_char(&at, ":") && !take_number(&at, 2, 0, 60, &second)) /* 60: a leap second is the next one here */
                return false;
        if (take_char(&at, ".") && !take_fraction(&at, &us))
                return false;
        if (!take_zone(&at, &zone) || *at)
                return false;
        int64_t days = days_of(year, month, day);
        date_of(days, &again_year, &again_month, &again_day);
        if (again_month != month) /* 30 February */
                return false;
        *ret_wall_us = ((days * 24 + hour) * 3600 + (minute - zone) * 60 + second) * SECOND_US + us;
        return true;
}
