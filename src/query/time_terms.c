/* time_terms.c - making times, taking them apart, and the constants monday .. december. */
#include <inttypes.h>
#include <math.h>

#include "query/env_int.h"
#include "value/time.h"

/* An argument that must be a time; complains at the argument. */
static Status args_time(Args *args, size_t i, Value *ret)
{
        Env *env = args->env;
        Val val;
        Value v;
        TRY(args_val(args, i, &val));
        TRY(val_as_datum(env, &val, &v));
        if (!value_is(v, V_TIME))
                return fail(env, val.term, ERR_LOGIC, "Not a TIME pseudotype: `%s`.",
                            (const char *)message_datum(env, v).data);
        *ret = v;
        return ST_OK;
}

/* Times are kept to the millisecond. */
static Status time_of_epoch(Env *env, const Term *term, double seconds, Val *ret)
{
        seconds = round(seconds * 1000) / 1000;
        if (!isfinite(seconds))
                return fail(env, term, ERR_LOGIC, "Non-finite number: %.20g", seconds);
        *ret = val_datum(term, value_time(env->arena, seconds, BYTES_STR("+00:00")));
        return ST_OK;
}

static Status term_now(Env *env, const Term *term, Val *ret)
{
        Args args;
        TRY(args_begin(env, term, &args));
        return time_of_epoch(env, term, (double)env->now_us / 1e6, ret);
}

static Status term_iso8601(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val text, zone;
        bool has_zone;
        Bytes text_bytes, zone_bytes = BYTES_NONE;
        TRY(args_begin(env, term, &args));
        TRY(args_val(&args, 0, &text));
        TRY(opt_val(env, term, "default_timezone", &zone, &has_zone));
        if (has_zone)
                TRY(val_as_string(env, &zone, &zone_bytes));
        TRY(val_as_string(env, &text, &text_bytes));
        Value time;
        TRY(fail_at(env, text.term, time_from_iso8601(text_bytes, zone_bytes, env->arena, &time)));
        *ret = val_datum(term, time);
        return ST_OK;
}

static Status term_to_iso8601(Env *env, const Term *term, Val *ret)
{
        Args args;
        Value time;
        Bytes text;
        TRY(args_begin(env, term, &args));
        TRY(args_time(&args, 0, &time));
        TRY(fail_at(env, term, time_to_iso8601(time, env->arena, &text)));
        *ret = val_datum(term, value_string(text));
        return ST_OK;
}

static Status term_epoch_time(Env *env, const Term *term, Val *ret)
{
        Args args;
        double seconds;
        TRY(args_begin(env, term, &args));
        TRY(args_number(&args, 0, &seconds));
        return time_of_epoch(env, term, seconds, ret);
}

static Status term_to_epoch_time(Env *env, const Term *term, Val *ret)
{
        Args args;
        Value time;
        TRY(args_begin(env, term, &args));
        TRY(args_time(&args, 0, &time));
        *ret = val_datum(term, value_number(time_epoch(time)));
        return ST_OK;
}

static Status term_in_timezone(Env *env, const Term *term, Val *ret)
{
        Args args;
        Value time, zone;
        TRY(args_begin(env, term, &args));
        TRY(args_time(&args, 0, &time));
        TRY(args_datum(&args, 1, &zone));
        TRY(expect_type(env, term, zone, V_STRING));
        TRY(fail_at(env, term, time_in_zone(time, value_bytes(zone), env->arena, &time)));
        *ret = val_datum(term, time);
        return ST_OK;
}

static Status term_timezone(Env *env, const Term *term, Val *ret)
{
        Args args;
        Value time;
        TRY(args_begin(env, term, &args));
        TRY(args_time(&args, 0, &time));
        *ret = val_datum(term, value_string(time_zone(time)));
        return ST_OK;
}

/* The bounds' options matter, and are looked at, only when the time is on the bound. */
static Status term_during(Env *env, const Term *term, Val *ret)
{
        Args args;
        Value time, low, high;
        TRY(args_begin(env, term, &args));
        TRY(args_time(&args, 0, &time));
        TRY(args_time(&args, 1, &low));
        TRY(args_time(&args, 2, &high));
        int above = value_compare(time, low), below = value_compare(high, time);
        bool inside = above >= 0, open;
        if (inside && above == 0) {
                TRY(opt_bound_open(env, term, "left_bound", false, &open));
                inside = !open;
        }
        if (inside && below == 0) {
                TRY(opt_bound_open(env, term, "right_bound", true, &open));
                inside = !open;
        }
        *ret = val_datum(term, value_bool(inside && below >= 0));
        return ST_OK;
}

static Status term_date(Env *env, const Term *term, Val *ret)
{
        Args args;
        Value time;
        TRY(args_begin(env, term, &args));
        TRY(args_time(&args, 0, &time));
        TRY(fail_at(env, term, time_date(time, env->arena, &time)));
        *ret = val_datum(term, time);
        return ST_OK;
}

static Status term_time_of_day(Env *env, const Term *term, Val *ret)
{
        Args args;
        Value time;
        double seconds;
        TRY(args_begin(env, term, &args));
        TRY(args_time(&args, 0, &time));
        TRY(fail_at(env, term, time_of_day(time, &seconds)));
        *ret = val_datum(term, value_number(seconds));
        return ST_OK;
}

TimePart time_part_of(unsigned type)
{
        switch (type) {
        case TERM_YEAR: return TIME_YEAR;
        case TERM_MONTH: return TIME_MONTH;
        case TERM_DAY: return TIME_DAY;
        case TERM_DAY_OF_WEEK: return TIME_DAY_OF_WEEK;
        case TERM_DAY_OF_YEAR: return TIME_DAY_OF_YEAR;
        case TERM_HOURS: return TIME_HOURS;
        case TERM_MINUTES: return TIME_MINUTES;
        default: return TIME_SECONDS;
        }
}

static Status term_part(Env *env, const Term *term, Val *ret)
{
        Args args;
        Value time;
        double number;
        TRY(args_begin(env, term, &args));
        TRY(args_time(&args, 0, &time));
        TRY(fail_at(env, term, time_part(time, time_part_of(term->type), &number)));
        *ret = val_datum(term, value_number(number));
        return ST_OK;
}

/* time(year, month, day[, hours, minutes, seconds], timezone) */
static Status term_time(Env *env, const Term *term, Val *ret)
{
        Args args;
        int32_t year, month, day, hours = 0, minutes = 0;
        double seconds = 0;
        Bytes zone;
        TRY(args_begin(env, term, &args));
        if (args.count != 4 && args.count != 7)
                return fail(env, term, ERR_LOGIC, "Got %zu arguments to TIME (expected 4 or 7).", args.count);
        TRY(args_int32(&args, 0, &year));
        TRY(args_int32(&args, 1, &month));
        TRY(args_int32(&args, 2, &day));
        if (args.count == 7) {
                TRY(args_int32(&args, 3, &hours));
                TRY(args_int32(&args, 4, &minutes));
                TRY(args_number(&args, 5, &seconds));
        }
        TRY(args_string(&args, args.count - 1, &zone));
        Value time;
        TRY(fail_at(env, term, time_from_parts(year, month, day, hours, minutes, seconds, zone, env->arena, &time)));
        *ret = val_datum(term, time);
        return ST_OK;
}

/* monday = 1 .. sunday = 7, january = 1 .. december = 12; the terms' numbers are consecutive. */
static Status term_name(Env *env, const Term *term, Val *ret)
{
        Args args;
        TRY(args_begin(env, term, &args));
        int number = term->type >= TERM_JANUARY ? term->type - TERM_JANUARY : term->type - TERM_MONDAY;
        *ret = val_datum(term, value_number(number + 1));
        return ST_OK;
}
_Static_assert(TERM_SUNDAY == TERM_MONDAY + 6 && TERM_DECEMBER == TERM_JANUARY + 11 && TERM_JANUARY > TERM_SUNDAY,
               "term_name counts");

static const TermEval terms[] = {
        {TERM_NOW, term_now, true},
        {TERM_TIME, term_time, true},
        {TERM_ISO8601, term_iso8601, true},
        {TERM_TO_ISO8601, term_to_iso8601, true},
        {TERM_EPOCH_TIME, term_epoch_time, true},
        {TERM_TO_EPOCH_TIME, term_to_epoch_time, true},
        {TERM_IN_TIMEZONE, term_in_timezone, true},
        {TERM_TIMEZONE, term_timezone, true},
        {TERM_DURING, term_during, true},
        {TERM_DATE, term_date, true},
        {TERM_TIME_OF_DAY, term_time_of_day, true},
        {TERM_YEAR, term_part, true},
        {TERM_MONTH, term_part, true},
        {TERM_DAY, term_part, true},
        {TERM_DAY_OF_WEEK, term_part, true},
        {TERM_DAY_OF_YEAR, term_part, true},
        {TERM_HOURS, term_part, true},
        {TERM_MINUTES, term_part, true},
        {TERM_SECONDS, term_part, true},
        {TERM_MONDAY, term_name, true},
        {TERM_TUESDAY, term_name, true},
        {TERM_WEDNESDAY, term_name, true},
        {TERM_THURSDAY, term_name, true},
        {TERM_FRIDAY, term_name, true},
        {TERM_SATURDAY, term_name, true},
        {TERM_SUNDAY, term_name, true},
        {TERM_JANUARY, term_name, true},
        {TERM_FEBRUARY, term_name, true},
        {TERM_MARCH, term_name, true},
        {TERM_APRIL, term_name, true},
        {TERM_MAY, term_name, true},
        {TERM_JUNE, term_name, true},
        {TERM_JULY, term_name, true},
        {TERM_AUGUST, term_name, true},
        {TERM_SEPTEMBER, term_name, true},
        {TERM_OCTOBER, term_name, true},
        {TERM_NOVEMBER, term_name, true},
        {TERM_DECEMBER, term_name, true},
};
const TermList terms_time = {terms, ELEMENTS(terms)};
