#include "base/exact_sum.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

typedef struct Sum {
        ExactSum sum;
        int64_t wide[EXACT_SUM_WIDE_LIMBS];
} Sum;

static void add(Sum *sum, double number)
{
        if (exact_sum_add(&sum->sum, number))
                return;
        exact_sum_widen(&sum->sum, sum->wide);
        assert_true(exact_sum_add(&sum->sum, number));
}

static void check_sum(double want, const double *numbers, size_t count)
{
        Sum narrow = {0}, wide = {0};
        exact_sum_widen(&wide.sum, wide.wide);
        for (size_t i = 0; i < count; i++) {
                add(&narrow, numbers[i]);
                add(&wide, numbers[i]);
        }
        for (int i = 0; i < 2; i++) {
                double got = exact_sum_value(i ? &wide.sum : &narrow.sum);
                if (memcmp(&got, &want, sizeof got))
                        fail_msg("%.17g instead of %.17g", got, want);
        }
}
#define CHECK_SUM(want, ...)                                                                                           \
        do {                                                                                                           \
                double numbers[] = {__VA_ARGS__};                                                                      \
                check_sum(want, numbers, sizeof numbers / sizeof *numbers);                                            \
        } while (0)

static void test_known(void **state)
{
        (void)state;
        check_sum(0, NULL, 0);
        CHECK_SUM(0, 0.0, -0.0);
        CHECK_SUM(1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1);
        CHECK_SUM(1, 1e100, 1, -1e100);
        CHECK_SUM(1, 1e308, 1e308, 1, -1e308, -1e308);
        CHECK_SUM(INFINITY, DBL_MAX, DBL_MAX);
        CHECK_SUM(-INFINITY, -DBL_MAX, -DBL_MAX);
        CHECK_SUM(DBL_MAX, DBL_MAX, DBL_MAX, -DBL_MAX);
        CHECK_SUM(5e-324, 5e-324);
        CHECK_SUM(-1e-323, -5e-324, -5e-324);
        CHECK_SUM(DBL_MIN - 5e-324, DBL_MIN, -5e-324);
        CHECK_SUM(5e-324, DBL_MAX, 5e-324, -DBL_MAX);
        /* halves go to the even one, unless anything is left below */
        CHECK_SUM(9007199254740992.0, 9007199254740992.0, 1);
        CHECK_SUM(9007199254740994.0, 9007199254740992.0, 1, 5e-324);
        CHECK_SUM(9007199254740996.0, 9007199254740994.0, 1);
        CHECK_SUM(9007199254740994.0, 9007199254740994.0, 1, -1e-300);
        CHECK_SUM(-9007199254740994.0, -9007199254740992.0, -1, -1e-200);
}

static double random_number(int kind)
{
        switch (kind) {
        case 0: return (double)(rand() % 2001 - 1000);
        case 1: return (rand() % 2000001 - 1000000) / 100.0;
        case 2: return ldexp((double)rand() / RAND_MAX - 0.5, rand() % 200 - 100);
        default: return ldexp((double)rand() / RAND_MAX - 0.5, rand() % 2090 - 1070);
        }
}

/* In any order, in pieces that are put together, with others that come and go: the same bits. */
static void test_random(void **state)
{
        (void)state;
        srand(7);
        for (int round = 0; round < 4000; round++) {
                enum { COUNT = 60 };
                double numbers[COUNT], others[COUNT];
                int kind = round % 4;
                Sum forward = {0}, mixed = {0}, pieces[3] = {0};
                for (int i = 0; i < COUNT; i++) {
                        numbers[i] = random_number(kind);
                        others[i] = random_number(rand() % 4);
                        add(&forward, numbers[i]);
                }
                for (int i = COUNT - 1; i >= 0; i--) {
                        add(&mixed, others[i]);
                        add(&mixed, numbers[i]);
                        add(&pieces[i % 3], numbers[i]);
                }
                for (int i = 0; i < COUNT; i++)
                        add(&mixed, -others[i]);
                Sum joined = {0};
                for (int i = 0; i < 3; i++) {
                        uint8_t bytes[EXACT_SUM_BYTES_MAX];
                        size_t size = exact_sum_write(&pieces[i].sum, bytes);
                        if (!exact_sum_add_written(&joined.sum, bytes, size)) {
                                exact_sum_widen(&joined.sum, joined.wide);
                                assert_true(exact_sum_add_written(&joined.sum, bytes, size));
                        }
                }
                double want = exact_sum_value(&forward.sum);
                Sum many = {0};
                for (size_t i = 0; (i += exact_sum_add_many(&many.sum, numbers + i, COUNT - i)) < COUNT;)
                        exact_sum_widen(&many.sum, many.wide);
                assert_memory_equal(&want, &(double){exact_sum_value(&many.sum)}, sizeof want);
                assert_memory_equal(&want, &(double){exact_sum_value(&mixed.sum)}, sizeof want);
                assert_memory_equal(&want, &(double){exact_sum_value(&joined.sum)}, sizeof want);
                if (kind < 2) { /* what 64 bits of mantissa hold is the sum itself */
                        long double plain = 0;
                        for (int i = 0; i < COUNT; i++)
                                plain += kind == 0 ? numbers[i] : 0;
                        if (kind == 0)
                                assert_true(want == (double)plain);
                        assert_null(forward.sum.wide); /* one kind of number fits into the window */
                }
                for (int i = 0; i < COUNT; i++)
                        add(&forward, -numbers[i]);
                assert_true(exact_sum_value(&forward.sum) == 0);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_known), cmocka_unit_test(test_random)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
