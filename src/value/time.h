/* time.h - PTYPE<TIME>: parsing, printing and taking apart. Times are seconds since 1970 (double) and a zone "+HH:MM".
 * Errors are ERR_LOGIC with RethinkDB's messages. Years 1400..10000. */
#ifndef VALUE_TIME_H
#define VALUE_TIME_H

#include "value/value.h"

double time_epoch(Value time); /* seconds */
Bytes time_zone(Value time);
/* ISO 8601 in the forms RethinkDB takes: calendar and ordinal dates, basic and extended; week dates are refused in its
 * words. `default_zone` may be data NULL: then a text without zone is an error. */
MUST_USE Status time_from_iso8601(Bytes text, Bytes default_zone, Arena *arena, Value *ret_time);
MUST_USE Status time_to_iso8601(Value time, Arena *arena, Bytes *ret_text);
MUST_USE Status time_from_parts(double year, double month, double day, double hours, double minutes, double seconds,
                                Bytes zone, Arena *arena, Value *ret_time);
/* Checks and normalises a zone as RethinkDB does ("Timezone `...` does not start with `-` or `+`." ...). */
MUST_USE Status time_check_zone(Bytes zone, Arena *arena, Bytes *ret_zone);
MUST_USE Status time_in_zone(Value time, Bytes zone, Arena *arena, Value *ret_time);

typedef enum TimePart {
        TIME_YEAR,
        TIME_MONTH,
        TIME_DAY,
        TIME_DAY_OF_WEEK,
        TIME_DAY_OF_YEAR,
        TIME_HOURS,
        TIME_MINUTES,
        TIME_SECONDS,
} TimePart;
/* In the time's own zone. */
MUST_USE Status time_part(Value time, TimePart part, double *ret_number);
/* Midnight of the day, as a time; seconds since midnight. */
MUST_USE Status time_date(Value time, Arena *arena, Value *ret_time);
MUST_USE Status time_of_day(Value time, double *ret_seconds);
/* t + seconds, in t's zone; ERR_LOGIC when out of range. Results are rounded to milliseconds, as RethinkDB does. */
MUST_USE Status time_add(Value time, double seconds, Arena *arena, Value *ret_time);
MUST_USE Status time_validate(Value object); /* the `$reql_type$: TIME` object's fields */

#endif
