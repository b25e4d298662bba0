/* time.c - PTYPE<TIME>: ISO 8601 in and out, parts, zones. Calendar arithmetic is our own: no zone database, no libc.
 */
#include "value/time.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>

#include "value/json.h"
#include "value/value_int.h"

#define DAY_MS   86400000
#define YEAR_MIN 1400
#define YEAR_MAX 10000

/* --- calendar --- */

typedef struct Civil {
        int64_t year;
        int month, day; /* from 1 */
} Civil;

static bool is_leap(int64_t year)
{
        return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int64_t floor_div(int64_t a, int64_t b)
{
        return a / b - (a % b < 0);
}

/* Days since 1970-01-01. Years are counted from March, so that the leap day is a year's last; 400 of them are an era.
 */
static int64_t days_from_civil(Civil c)
{
        int64_t year = c.month <= 2 ? c.year - 1 : c.year, era = floor_div(year, 400), of_era = year - era * 400;
        int64_t month = (c.month + 9) % 12, of_year = (153 * month + 2) / 5 + c.day - 1;
        return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static Civil civil_from_days(int64_t days)
{
        days += 719468;
        int64_t era = floor_div(days, 146097), of_era = days - era * 146097;
        int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
        int64_t of_year = of_era - (365 * year + year / 4 - year / 100), month = (5 * of_year + 2) / 153;
        Civil c = {.day = (int)(of_year - (153 * month + 2) / 5 + 1),
                   .month = (int)(month < 10 ? month + 3 : month - 9)};
        c.year = year + era * 400 + (c.month <= 2);
        return c;
}

static Status bad_year(void)
{
        return status_new(ERR_LOGIC, "Error in time logic: Year is out of valid range: %d..%d.", YEAR_MIN, YEAR_MAX);
}

/* The checks and words of the library behind RethinkDB. */
static Status civil_check(double year, double month, double day, Civil *ret_civil)
{
        static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
        if (!(year >= YEAR_MIN && year <= YEAR_MAX))
                return bad_year();
        if (!(month >= 1 && month < 13))
                return status_new(ERR_LOGIC, "Error in time logic: Month number is out of range 1..12.");
        if (!(day >= 1 && day < 32))
                return status_new(ERR_LOGIC, "Error in time logic: Day of month value is out of range 1..31.");
        Civil c = {.year = (int64_t)year, .month = (int)month, .day = (int)day};
        if (c.day > lengths[c.month - 1] + (c.month == 2 && is_leap(c.year)))
                return status_new(ERR_LOGIC, "Error in time logic: Day of month is not valid for year.");
        *ret_civil = c;
        return ST_OK;
}

/* --- handles --- */

double time_epoch(Value time)
{
        assert(time.type == V_TIME);
        return time_load(time.encoded);
}

Bytes time_zone(Value time)
{
        assert(time.type == V_TIME);
        return time_load_zone(time.encoded);
}

static double round_ms(double seconds)
{
        double ms = round(seconds * 1000);
        return isfinite(ms) ? ms / 1000 : seconds;
}

Value value_time(Arena *arena, double epoch_s, Bytes timezone)
{
        uint8_t *encoded = arena_alloc(arena, TIME_BYTES);
        double rounded = round_ms(epoch_s);
        assert(isfinite(epoch_s) && timezone.size == TIME_ZONE_BYTES);
        encoded[0] = TAG_TIME;
        memcpy(encoded + 1, &rounded, sizeof(rounded));
        memcpy(encoded + 9, timezone.data, TIME_ZONE_BYTES);
        return value_decode(encoded);
}

static Status make_time(double epoch_s, Bytes zone, Arena *arena, Value *ret_time)
{
        if (!isfinite(epoch_s))
                return status_new(ERR_LOGIC, "Non-finite number: %.20g", epoch_s);
        *ret_time = value_time(arena, epoch_s, zone);
        return ST_OK;
}

static int64_t zone_offset_ms(Bytes zone)
{
        const uint8_t *z = zone.data;
        int64_t minutes = (z[1] - '0') * 600 + (z[2] - '0') * 60 + (z[4] - '0') * 10 + (z[5] - '0');
        return (z[0] == '-' ? -minutes : minutes) * 60000;
}

/* A time taken apart in its own zone. */
typedef struct Local {
        Civil date;
        int64_t days; /* since 1970, of the local date */
        int64_t of_day_ms;
} Local;

static Status local_parts(Value time, Local *ret_local)
{
        double epoch = time_epoch(time);
        if (!(fabs(epoch) < 1e12)) /* year 33658 */
                return bad_year();
        int64_t ms = (int64_t)round(epoch * 1000) + zone_offset_ms(time_zone(time));
        Local local = {.days = floor_div(ms, DAY_MS)};
        local.of_day_ms = ms - local.days * DAY_MS;
        local.date = civil_from_days(local.days);
        if (local.date.year < YEAR_MIN || local.date.year > YEAR_MAX)
                return bad_year();
        *ret_local = local;
        return ST_OK;
}

/* --- reading ISO 8601 --- */

/* One part of the text (date, time or zone): messages quote the part they are about. */
typedef struct Scan {
        Bytes text;
        size_t at;
} Scan;

static bool scan_ended(const Scan *s)
{
        return s->at == s->text.size;
}

static Status scan_digits(Scan *s, int count, int *ret_number)
{
        int number = 0;
        *ret_number = 0;
        for (int i = 0; i < count; i++) {
                if (scan_ended(s))
                        return status_new(ERR_LOGIC, "Truncated date string `%.*s`.", (int)s->text.size,
                                          (const char *)s->text.data);
                uint8_t c = s->text.data[s->at++];
                if (c < '0' || c > '9')
                        return status_new(ERR_LOGIC, "Invalid date string `%.*s` (got `%.*s` but expected a digit).",
                                          (int)s->text.size, (const char *)s->text.data,
                                          (int)bytes_char_size(s->text, s->at - 1),
                                          (const char *)s->text.data + s->at - 1);
                number = number * 10 + (c - '0');
        }
        *ret_number = number;
        return ST_OK;
}

static bool scan_char(Scan *s, char c)
{
        if (scan_ended(s) || s->text.data[s->at] != (uint8_t)c)
                return false;
        s->at++;
        return true;
}

static Status scan_end(const Scan *s, const char *what)
{
        if (scan_ended(s))
                return ST_OK;
        return status_new(ERR_LOGIC, "Garbage characters `%.*s` at end of %s string `%.*s`.",
                          (int)(s->text.size - s->at), (const char *)s->text.data + s->at, what, (int)s->text.size,
                          (const char *)s->text.data);
}

typedef struct IsoDate {
        enum { ISO_CALENDAR, ISO_ORDINAL, ISO_WEEK } form;
        int year, month, day; /* ISO_ORDINAL: `day` of the year */
} IsoDate;

static Status scan_date(Bytes text, IsoDate *ret_date)
{
        Scan s = {.text = text};
        IsoDate date = {.form = ISO_CALENDAR, .month = 1, .day = 1};
        TRY(scan_digits(&s, 4, &date.year));
        if (!scan_ended(&s)) {
                /* YYYY-MM and YYYYMMDD are dates, YYYYMM is none. */
                bool hyphen = scan_char(&s, '-');
                if (scan_char(&s, 'W')) {
                        int week, day;
                        date.form = ISO_WEEK;
                        TRY(scan_digits(&s, 2, &week));
                        if (!scan_ended(&s)) {
                                scan_char(&s, '-');
                                TRY(scan_digits(&s, 1, &day));
                        }
                } else if (text.size - s.at == 3) {
                        date.form = ISO_ORDINAL;
                        TRY(scan_digits(&s, 3, &date.day));
                } else {
                        TRY(scan_digits(&s, 2, &date.month));
                        if (!hyphen || !scan_ended(&s)) {
                                if (scan_char(&s, '-') != hyphen)
                                        return status_new(ERR_LOGIC, "Date string `%.*s` must have 0 or 2 hyphens.",
                                                          (int)text.size, (const char *)text.data);
                                TRY(scan_digits(&s, 2, &date.day));
                        }
                }
        }
        TRY(scan_end(&s, "date"));
        *ret_date = date;
        return ST_OK;
}

static Status scan_time(Bytes text, int64_t *ret_ms)
{
        Scan s = {.text = text};
        int hours, minutes = 0, seconds = 0, ms = 0;
        TRY(scan_digits(&s, 2, &hours));
        if (!scan_ended(&s)) {
                bool colon = scan_char(&s, ':');
                TRY(scan_digits(&s, 2, &minutes));
                if (!scan_ended(&s)) {
                        if (scan_char(&s, ':') != colon)
                                return status_new(ERR_LOGIC, "Time string `%.*s` must have 0 or 2 colons.",
                                                  (int)text.size, (const char *)text.data);
                        TRY(scan_digits(&s, 2, &seconds));
                        if (scan_char(&s, '.')) {
                                for (int scale = 100; !scan_ended(&s); scale /= 10) {
                                        int digit;
                                        TRY(scan_digits(&s, 1, &digit));
                                        ms += digit * scale; /* digits beyond the third count nothing */
                                }
                        }
                }
        }
        TRY(scan_end(&s, "time"));
        *ret_ms = ((hours * 60 + minutes) * (int64_t)60 + seconds) * 1000 + ms;
        return ST_OK;
}

Status time_check_zone(Bytes zone, Arena *arena, Bytes *ret_zone)
{
        Scan s = {.text = zone};
        int hours, minutes = 0;
        if (bytes_equal(zone, BYTES_STR("Z"))) {
                *ret_zone = BYTES_STR("+00:00");
                return ST_OK;
        }
        bool minus = scan_char(&s, '-');
        if (!minus && !scan_char(&s, '+'))
                return status_new(ERR_LOGIC, "Timezone `%.*s` does not start with `-` or `+`.", (int)zone.size,
                                  (const char *)zone.data);
        TRY(scan_digits(&s, 2, &hours));
        /* RethinkDB does not check the hours of the short form "+HH". It does here: a stored zone is always a possible
         * one. */
        if (!scan_ended(&s)) {
                scan_char(&s, ':');
                TRY(scan_digits(&s, 2, &minutes));
                TRY(scan_end(&s, "timezone"));
        }
        if (hours > 24)
                return status_new(ERR_LOGIC, "Hours out of range in `%.*s`.", (int)zone.size, (const char *)zone.data);
        if (minutes > 59)
                return status_new(ERR_LOGIC, "Minutes out of range in `%.*s`.", (int)zone.size,
                                  (const char *)zone.data);
        /* ISO 8601 has no minus zero. RethinkDB lets "-0000" pass, and then refuses the "-00:00" it made of it. */
        if (minus && hours == 0 && minutes == 0)
                return status_new(ERR_LOGIC, "`%.*s` is not a valid time offset.", (int)zone.size,
                                  (const char *)zone.data);
        *ret_zone = BYTES(arena_printf(arena, "%c%02d:%02d", minus ? '-' : '+', hours, minutes), TIME_ZONE_BYTES);
        return ST_OK;
}

static size_t find_from(Bytes text, char c, size_t from)
{
        const void *found = from < text.size ? memchr(text.data + from, c, text.size - from) : NULL;
        return found ? (size_t)((const uint8_t *)found - text.data) : text.size;
}

Status time_from_iso8601(Bytes text, Bytes default_zone, Arena *arena, Value *ret_time)
{
        IsoDate date = {.form = ISO_CALENDAR}; /* gcc does not see that a failed scan_date() returns */
        int64_t of_day_ms = 0;
        Bytes zone = BYTES_NONE;
        size_t t = find_from(text, 'T', 0);
        TRY(scan_date(BYTES(text.data, t), &date));
        if (t < text.size) {
                size_t sign = find_from(text, '-', t + 1);
                if (sign == text.size)
                        sign = find_from(text, '+', t + 1);
                if (sign == text.size)
                        sign = find_from(text, 'Z', t + 1);
                TRY(scan_time(BYTES(text.data + t + 1, sign - t - 1), &of_day_ms));
                if (sign < text.size)
                        TRY(time_check_zone(BYTES(text.data + sign, text.size - sign), arena, &zone));
        }
        if (date.form == ISO_WEEK)
                return status_new(ERR_LOGIC,
                                  "Due to limitations in the boost time library we use for parsing, we cannot support "
                                  "ISO week dates right now.  Sorry about that!  Please use years, calendar dates, or "
                                  "ordinal dates instead.");
        Civil civil;
        int64_t days;
        if (date.form == ISO_ORDINAL) {
                TRY(civil_check(date.year, 1, 1, &civil));
                if (date.day < 1 || date.day > 366)
                        return status_new(ERR_LOGIC, "Error in time logic: Day of year value is out of range 1..366.");
                days = days_from_civil(civil) + date.day - 1;
        } else {
                TRY(civil_check(date.year, date.month, date.day, &civil));
                days = days_from_civil(civil);
        }
        if (!zone.data) {
                if (!default_zone.data || default_zone.size == 0)
                        return status_new(ERR_LOGIC,
                                          "ISO 8601 string has no time zone, and no default time zone was provided.");
                Status st = time_check_zone(default_zone, arena, &zone);
                if (st) {
                        status_ignore(st);
                        return status_new(ERR_LOGIC, "Invalid ISO 8601 timezone: `%.*s`.", (int)default_zone.size,
                                          (const char *)default_zone.data);
                }
        }
        return make_time((double)(days * DAY_MS + of_day_ms - zone_offset_ms(zone)) / 1000, zone, arena, ret_time);
}

/* --- writing and taking apart --- */

Status time_to_iso8601(Value time, Arena *arena, Bytes *ret_text)
{
        Local local;
        TRY(local_parts(time, &local));
        if (local.date.year > 9999)
                return status_new(ERR_LOGIC, "Year `%d` out of valid ISO 8601 range [0, 9999].", (int)local.date.year);
        int ms = (int)local.of_day_ms, seconds = ms / 1000;
        char fraction[8] = "";
        if (ms % 1000)
                snprintf(fraction, sizeof(fraction), ".%03d", ms % 1000);
        Bytes zone = time_zone(time);
        *ret_text = BYTES_STR(arena_printf(arena, "%04d-%02d-%02dT%02d:%02d:%02d%s%.*s", (int)local.date.year,
                                           local.date.month, local.date.day, seconds / 3600, seconds / 60 % 60,
                                           seconds % 60, fraction, (int)zone.size, (const char *)zone.data));
        return ST_OK;
}

Status time_from_parts(double year, double month, double day, double hours, double minutes, double seconds, Bytes zone,
                       Arena *arena, Value *ret_time)
{
        Civil civil;
        Bytes checked;
        TRY(civil_check(year, month, day, &civil));
        TRY(time_check_zone(zone, arena, &checked));
        double local = (double)days_from_civil(civil) * 86400 + hours * 3600 + minutes * 60;
        return make_time(local - (double)zone_offset_ms(checked) / 1000 + seconds, checked, arena, ret_time);
}

Status time_in_zone(Value time, Bytes zone, Arena *arena, Value *ret_time)
{
        Bytes checked;
        TRY(time_check_zone(zone, arena, &checked));
        *ret_time = value_time(arena, time_epoch(time), checked);
        return ST_OK;
}

Status time_part(Value time, TimePart part, double *ret_number)
{
        Local local;
        TRY(local_parts(time, &local));
        int64_t seconds = local.of_day_ms / 1000;
        switch (part) {
        case TIME_YEAR: *ret_number = (double)local.date.year; break;
        case TIME_MONTH: *ret_number = local.date.month; break;
        case TIME_DAY: *ret_number = local.date.day; break;
        /* 1970-01-01 was a Thursday; Monday is 1. */
        case TIME_DAY_OF_WEEK: *ret_number = (double)(local.days + 3 - floor_div(local.days + 3, 7) * 7 + 1); break;
        case TIME_DAY_OF_YEAR:
                *ret_number = (double)(local.days -
                                       days_from_civil((Civil){.year = local.date.year, .month = 1, .day = 1}) + 1);
                break;
        case TIME_HOURS: *ret_number = (double)(seconds / 3600); break;
        case TIME_MINUTES: *ret_number = (double)(seconds / 60 % 60); break;
        case TIME_SECONDS: *ret_number = (double)(seconds % 60) + (double)(local.of_day_ms % 1000) / 1000; break;
        }
        return ST_OK;
}

Status time_date(Value time, Arena *arena, Value *ret_time)
{
        Local local;
        TRY(local_parts(time, &local));
        double epoch = (double)(local.days * DAY_MS - zone_offset_ms(time_zone(time))) / 1000;
        return make_time(epoch, time_zone(time), arena, ret_time);
}

Status time_of_day(Value time, double *ret_seconds)
{
        Local local;
        TRY(local_parts(time, &local));
        *ret_seconds = (double)local.of_day_ms / 1000;
        return ST_OK;
}

Status time_add(Value time, double seconds, Arena *arena, Value *ret_time)
{
        return make_time(time_epoch(time) + seconds, time_zone(time), arena, ret_time);
}

/* --- `$reql_type$: TIME` --- */

static Status bad_time(Value object, Arena *arena, const char *why)
{
        return status_new(ERR_LOGIC, "Invalid time object constructed (%s):\n%s", why,
                          (const char *)json_truncated_text(object, arena).data);
}

/* Fields are looked at in key order; the first that is wrong is the one to blame. */
Status time_classify(Value object, Arena *arena, Value *ret_value)
{
        double epoch = 0;
        Bytes zone = BYTES_NONE;
        bool has_epoch = false;
        for (size_t i = 0; i < object.size; i++) {
                Bytes key;
                Value value = value_field_at(object, i, &key);
                if (bytes_equal(key, time_keys[0]))
                        continue;
                if (bytes_equal(key, time_keys[1])) {
                        if (value.type != V_NUMBER)
                                return bad_time(
                                        object, arena,
                                        arena_printf(arena, "field `epoch_time` must be a number (got `%s` of type %s)",
                                                     (const char *)json_truncated_text(value, arena).data,
                                                     value_type_name(value)));
                        epoch = value.number;
                        has_epoch = true;
                } else if (bytes_equal(key, time_keys[2])) {
                        if (value.type != V_STRING)
                                return bad_time(object, arena,
                                                arena_printf(arena,
                                                             "field `timezone` must be a string (got `%s` of type %s)",
                                                             (const char *)json_truncated_text(value, arena).data,
                                                             value_type_name(value)));
                        Status st = time_check_zone(value_bytes(value), arena, &zone);
                        if (st) {
                                status_ignore(st);
                                return bad_time(object, arena,
                                                arena_printf(arena, "invalid timezone string `%s`",
                                                             (const char *)json_truncated_text(value, arena).data));
                        }
                } else {
                        return bad_time(object, arena,
                                        arena_printf(arena, "unrecognized field `%.*s`", (int)key.size,
                                                     (const char *)key.data));
                }
        }
        if (!has_epoch)
                return bad_time(object, arena, "no field `epoch_time`");
        if (!zone.data)
                return bad_time(object, arena, "no field `timezone`");
        return make_time(epoch, zone, arena, ret_value);
}

Status time_validate(Value object)
{
        Arena arena;
        Value time;
        if (object.type == V_TIME)
                return ST_OK;
        arena_init(&arena, 0);
        Status st = time_classify(object, &arena, &time);
        arena_done(&arena);
        return st;
}
