/* math.c - arithmetic, logic, comparison, rounding, bits, r.random(). */
#include <float.h>
#include <inttypes.h>
#include <math.h>

#include "query/env_int.h"
#include "value/time.h"

#define RANDOM_FLOAT_HALF (DBL_MAX / 2)

/* --- numbers --- */

static Status number_result(Env *env, const Term *term, double number, Val *ret)
{
        if (!isfinite(number))
                return fail(env, term, ERR_LOGIC, "Non-finite number: %.20g", number);
        *ret = val_datum(term, value_number(number));
        return ST_OK;
}

/* Sums of many strings or arrays grow one buffer by doubling: linear, not quadratic. */
typedef struct Sum {
        Value value;
        size_t capacity; /* of the buffer that `value` is in; 0: not ours */
} Sum;

static Status add_string(Env *env, const Term *term, Sum *sum, Value more)
{
        size_t size = (size_t)sum->value.size + more.size;
        if (size > INT32_MAX)
                return fail(env, term, ERR_RESOURCE, "String of %zu bytes is too long.", size);
        char *text = (char *)(uintptr_t)sum->value.text;
        if (size > sum->capacity) {
                sum->capacity = sum->capacity ? MAX(size, 2 * sum->capacity) : size;
                text = arena_alloc(env->arena, sum->capacity);
                memcpy(text, sum->value.text, sum->value.size);
        }
        memcpy(text + sum->value.size, more.text, more.size);
        sum->value = value_string(BYTES(text, size));
        return ST_OK;
}

static Status add_array(Env *env, const Term *term, Sum *sum, Value more)
{
        size_t left = value_count(sum->value), count = left + value_count(more);
        TRY(check_array_size(env, term, count));
        Value *items = (Value *)(uintptr_t)sum->value.items;
        if (count > sum->capacity) {
                sum->capacity = sum->capacity ? MAX(count, 2 * sum->capacity) : count;
                items = arena_array(env->arena, Value, sum->capacity);
                for (size_t i = 0; i < left; i++)
                        items[i] = value_at(sum->value, i);
        }
        for (size_t i = left; i < count; i++)
                items[i] = value_at(more, i - left);
        uint16_t depth = MAX(sum->value.depth, more.depth);
        sum->value = value_array(items, 0);
        sum->value.size = (uint32_t)count;
        sum->value.depth = depth;
        return ST_OK;
}

static Status add(Env *env, const Term *term, Sum *sum, Value more)
{
        Value left = sum->value;
        if (value_is(left, V_TIME) || value_is(more, V_TIME)) {
                Value time = value_is(left, V_TIME) ? left : more;
                Value seconds = value_is(left, V_TIME) ? more : left;
                TRY(expect_type(env, term, seconds, V_NUMBER));
                return fail_at(env, term, time_add(time, seconds.number, env->arena, &sum->value));
        }
        switch (value_type(left)) {
        case V_STRING: TRY(expect_type(env, term, more, V_STRING)); return add_string(env, term, sum, more);
        case V_ARRAY: TRY(expect_type(env, term, more, V_ARRAY)); return add_array(env, term, sum, more);
        default:
                TRY(expect_type(env, term, left, V_NUMBER));
                TRY(expect_type(env, term, more, V_NUMBER));
                Val number;
                TRY(number_result(env, term, left.number + more.number, &number));
                sum->value = number.datum;
                return ST_OK;
        }
}

static Status term_add(Env *env, const Term *term, Val *ret)
{
        Args args;
        Sum sum = {0};
        TRY(args_begin(env, term, &args));
        TRY(args_datum(&args, 0, &sum.value));
        for (size_t i = 1; i < args.count; i++) {
                Value more;
                TRY(args_datum(&args, i, &more));
                TRY(add(env, term, &sum, more));
        }
        *ret = val_datum(term, sum.value);
        return ST_OK;
}

static Status subtract(Env *env, const Term *term, Value left, Value right, Value *ret)
{
        Val number;
        if (value_is(left, V_TIME)) {
                if (value_is(right, V_TIME)) {
                        double seconds = round((time_epoch(left) - time_epoch(right)) * 1000) / 1000;
                        TRY(number_result(env, term, seconds, &number));
                        *ret = number.datum;
                        return ST_OK;
                }
                TRY(expect_type(env, term, right, V_NUMBER));
                return fail_at(env, term, time_add(left, -right.number, env->arena, ret));
        }
        TRY(expect_type(env, term, left, V_NUMBER));
        TRY(expect_type(env, term, right, V_NUMBER));
        TRY(number_result(env, term, left.number - right.number, &number));
        *ret = number.datum;
        return ST_OK;
}

static Status repeat_array(Env *env, const Term *term, Value array, Value times, Value *ret)
{
        int64_t copies;
        TRY(expect_int(env, term, times, &copies));
        if (copies < 0)
                return fail(env, term, ERR_LOGIC, "Cannot multiply an ARRAY by a negative number.");
        size_t size = value_count(array);
        if (size == 0)
                copies = 0;
        uint64_t count;
        if (__builtin_mul_overflow((uint64_t)copies, (uint64_t)size, &count))
                count = UINT64_MAX;
        TRY(check_array_size(env, term, count));
        ArrayBuilder out;
        array_init(&out, env->arena, (size_t)count);
        for (int64_t copy = 0; copy < copies; copy++)
                for (size_t i = 0; i < size; i++)
                        array_add(&out, value_at(array, i));
        *ret = array_take(&out);
        return ST_OK;
}

static Status multiply(Env *env, const Term *term, Value left, Value right, Value *ret)
{
        if (value_is(left, V_ARRAY))
                return repeat_array(env, term, left, right, ret);
        if (value_is(right, V_ARRAY))
                return repeat_array(env, term, right, left, ret);
        TRY(expect_type(env, term, left, V_NUMBER));
        TRY(expect_type(env, term, right, V_NUMBER));
        Val number;
        TRY(number_result(env, term, left.number * right.number, &number));
        *ret = number.datum;
        return ST_OK;
}

static Status divide(Env *env, const Term *term, Value left, Value right, Value *ret)
{
        TRY(expect_type(env, term, left, V_NUMBER));
        TRY(expect_type(env, term, right, V_NUMBER));
        if (right.number == 0)
                return fail(env, term, ERR_LOGIC, "Cannot divide by zero.");
        Val number;
        TRY(number_result(env, term, left.number / right.number, &number));
        *ret = number.datum;
        return ST_OK;
}

/* Left-associative over any number of arguments. */
static Status term_fold(Env *env, const Term *term, Val *ret)
{
        Status (*step)(Env *, const Term *, Value, Value, Value *);
        switch (term->type) {
        case TERM_SUB: step = subtract; break;
        case TERM_MUL: step = multiply; break;
        default: step = divide; break;
        }
        Args args;
        Value left;
        TRY(args_begin(env, term, &args));
        TRY(args_datum(&args, 0, &left));
        for (size_t i = 1; i < args.count; i++) {
                Value right;
                TRY(args_datum(&args, i, &right));
                TRY(step(env, term, left, right, &left));
        }
        *ret = val_datum(term, left);
        return ST_OK;
}

static Status term_mod(Env *env, const Term *term, Val *ret)
{
        Args args;
        int64_t left, right;
        TRY(args_begin(env, term, &args));
        TRY(args_int(&args, 0, &left));
        TRY(args_int(&args, 1, &right));
        if (right == 0)
                return fail(env, term, ERR_LOGIC, "Cannot take a number modulo 0.");
        *ret = val_datum(term, value_number((double)(left % right)));
        return ST_OK;
}

/* --- bits --- */

/* -2^53 .. 2^53 - 1: closed under the operations, and all of it exact in a double. */
static Status args_bits(Args *args, size_t i, int64_t *ret)
{
        const int64_t limit = INT64_C(1) << 53;
        TRY(args_int(args, i, ret));
        if (*ret < -limit || *ret >= limit)
                return fail(args->env, args->term, ERR_LOGIC, "Integer too large: %" PRId64, *ret);
        return ST_OK;
}

static Status term_bits(Env *env, const Term *term, Val *ret)
{
        Args args;
        int64_t bits, more;
        TRY(args_begin(env, term, &args));
        TRY(args_bits(&args, 0, &bits));
        for (size_t i = 1; i < args.count; i++) {
                TRY(args_bits(&args, i, &more));
                bits = term->type == TERM_BIT_AND ? bits & more : term->type == TERM_BIT_OR ? bits | more : bits ^ more;
        }
        *ret = val_datum(term, value_number((double)bits));
        return ST_OK;
}

static Status term_bit_not(Env *env, const Term *term, Val *ret)
{
        Args args;
        int64_t bits;
        TRY(args_begin(env, term, &args));
        TRY(args_bits(&args, 0, &bits));
        *ret = val_datum(term, value_number((double)~bits));
        return ST_OK;
}

/* To the left: a multiplication, out of range if too large for a double. */
static Status term_shift(Env *env, const Term *term, Val *ret)
{
        Args args;
        int64_t bits, by;
        TRY(args_begin(env, term, &args));
        TRY(args_bits(&args, 0, &bits));
        TRY(args_int(&args, 1, &by));
        if (by < 0)
                return fail(env, term, ERR_LOGIC, "Cannot bit-shift by a negative value");
        if (term->type == TERM_BIT_SAL)
                return number_result(env, term, ldexp((double)bits, (int)MIN(by, 4096)), ret);
        *ret = val_datum(term, value_number((double)(bits >> MIN(by, 63))));
        return ST_OK;
}

static Status term_round(Env *env, const Term *term, Val *ret)
{
        Args args;
        double number;
        TRY(args_begin(env, term, &args));
        TRY(args_number(&args, 0, &number));
        number = term->type == TERM_FLOOR ? floor(number) : term->type == TERM_CEIL ? ceil(number) : round(number);
        *ret = val_datum(term, value_number(number));
        return ST_OK;
}

/* --- comparison and logic --- */

/* True if each neighbouring pair is in order; NE is the opposite of EQ, also for more than two. Stops at the first pair
 * that is not. */
static Status term_compare(Env *env, const Term *term, Val *ret)
{
        Args args;
        Value left;
        bool holds = true;
        TRY(args_begin(env, term, &args));
        TRY(args_datum(&args, 0, &left));
        for (size_t i = 1; holds && i < args.count; i++) {
                Value right;
                TRY(args_datum(&args, i, &right));
                holds = compare_in_order(term->type, value_compare(left, right));
                left = right;
        }
        *ret = val_datum(term, value_bool(holds != (term->type == TERM_NE)));
        return ST_OK;
}

static Status term_not(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val val;
        bool truth;
        TRY(args_begin(env, term, &args));
        TRY(args_val(&args, 0, &val));
        TRY(val_as_bool(env, &val, &truth));
        *ret = val_datum(term, value_bool(!truth));
        return ST_OK;
}

/* Both answer with the value that decided, not with its truth. */
static Status term_and(Env *env, const Term *term, Val *ret)
{
        Args args;
        TRY(args_begin(env, term, &args));
        *ret = val_datum(term, value_bool(true));
        for (size_t i = 0; i < args.count; i++) {
                bool truth;
                TRY(args_val(&args, i, ret));
                TRY(val_as_bool(env, ret, &truth));
                if (!truth)
                        break;
        }
        return ST_OK;
}

static Status term_or(Env *env, const Term *term, Val *ret)
{
        Args args;
        TRY(args_begin(env, term, &args));
        *ret = val_datum(term, value_bool(false));
        for (size_t i = 0; i < args.count; i++) {
                bool truth;
                TRY(args_val(&args, i, ret));
                TRY(val_as_bool(env, ret, &truth));
                if (truth)
                        return ST_OK;
        }
        *ret = val_datum(term, value_bool(false));
        return ST_OK;
}

/* --- random --- */

static Status random_float(Args *args, double *ret)
{
        Env *env = args->env;
        double low = 0, high = 1;
        if (args->count == 1) {
                TRY(args_number(args, 0, &high));
        } else if (args->count == 2) {
                TRY(args_number(args, 0, &low));
                TRY(args_number(args, 1, &high));
        }
        /* A range wider than a double is drawn at a quarter of its size. */
        double scale = 1;
        if ((low > 0) != (high > 0) && fabs(low) > RANDOM_FLOAT_HALF - fabs(high))
                scale = 4;
        low /= scale;
        high /= scale;
        uint64_t bits;
        TRY(fail_at(env, args->term, env_random(env, &bits)));
        double number = low + (double)(bits >> 11) * 0x1p-53 * (high - low);
        if (high > low ? number >= high : number <= high)
                number = low;
        *ret = number * scale;
        return ST_OK;
}

static Status random_bound(Args *args, size_t i, const char *which, int64_t *ret)
{
        double number;
        TRY(args_number(args, i, &number));
        if (!value_integer(value_number(number), ret))
                return fail(args->env, args->term, ERR_LOGIC,
                            "%s bound (%.20g) could not be safely converted to an integer.", which, number);
        return ST_OK;
}

static Status random_int(Args *args, double *ret)
{
        Env *env = args->env;
        int64_t low = 0, high;
        if (args->count == 0)
                return fail(env, args->term, ERR_LOGIC, "Generating a random integer requires one or two bounds.");
        if (args->count == 2)
                TRY(random_bound(args, 0, "Lower", &low));
        TRY(random_bound(args, args->count - 1, "Upper", &high));
        if (low >= high)
                return fail(env, args->term, ERR_LOGIC,
                            "Lower bound (%" PRId64 ") is not less than upper bound (%" PRId64 ").", low, high);
        /* Draws that do not fit a whole number of times into 2^64 are drawn again, so that all results are equally
         * likely. */
        uint64_t range = (uint64_t)high - (uint64_t)low, bits;
        uint64_t unfair = -range % range;
        do
                TRY(fail_at(env, args->term, env_random(env, &bits)));
        while (bits < unfair);
        *ret = (double)(low + (int64_t)(bits % range));
        return ST_OK;
}

static Status term_random(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val option;
        bool present, is_float;
        TRY(args_begin(env, term, &args));
        TRY(opt_val(env, term, "float", &option, &present));
        is_float = args.count == 0;
        if (present)
                TRY(val_as_bool(env, &option, &is_float));
        double number = 0;
        TRY(is_float ? random_float(&args, &number) : random_int(&args, &number));
        return number_result(env, term, number, ret);
}

static const TermEval terms[] = {
        {TERM_ADD, term_add, true},       {TERM_SUB, term_fold, true},      {TERM_MUL, term_fold, true},
        {TERM_DIV, term_fold, true},      {TERM_MOD, term_mod, true},       {TERM_FLOOR, term_round, true},
        {TERM_CEIL, term_round, true},    {TERM_ROUND, term_round, true},   {TERM_BIT_AND, term_bits, true},
        {TERM_BIT_OR, term_bits, true},   {TERM_BIT_XOR, term_bits, true},  {TERM_BIT_NOT, term_bit_not, true},
        {TERM_BIT_SAL, term_shift, true}, {TERM_BIT_SAR, term_shift, true}, {TERM_EQ, term_compare, true},
        {TERM_NE, term_compare, true},    {TERM_LT, term_compare, true},    {TERM_LE, term_compare, true},
        {TERM_GT, term_compare, true},    {TERM_GE, term_compare, true},    {TERM_NOT, term_not, true},
        {TERM_AND, term_and, true},       {TERM_OR, term_or, true},         {TERM_RANDOM, term_random, true},
};
const TermList terms_math = {terms, ELEMENTS(terms)};
