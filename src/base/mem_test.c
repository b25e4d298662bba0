/* mem_test.c - the countdown fails exactly the nth allocation of this thread. */
#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_nth(void **state)
{
        for (int n = 1; n <= 4; n++) {
                mem_fail_nth(n);
                void *p[4] = {0};
                for (int i = 0; i < 4; i++) {
                        p[i] = i == 0   ? mem_alloc(10)
                               : i == 1 ? mem_zalloc(10)
                               : i == 2 ? mem_realloc(NULL, 10)
                                        : mem_strdup("x");
                        if (i + 1 == n)
                                assert_null(p[i]);
                        else
                                assert_non_null(p[i]);
                }
                assert_true(mem_fail_fired());
                for (int i = 0; i < 4; i++)
                        mem_free(p[i]);
        }
        mem_fail_nth(2);
        mem_free(mem_alloc(1));
        assert_false(mem_fail_fired());
        mem_fail_nth(0);
        mem_free(mem_alloc(1));
        assert_false(mem_fail_fired());
}

static void test_zero_bytes(void **state)
{
        void *p = mem_alloc(0);
        assert_non_null(p);
        p = mem_realloc(p, 0);
        assert_non_null(p);
        mem_freep(&p);
        assert_null(p);
        mem_free(NULL);
}

static void test_aligned(void **state)
{
        for (size_t alignment = 1; alignment <= 2u << 20; alignment *= 2) {
                char *p = mem_alloc_aligned(alignment, 100);
                assert_non_null(p);
                assert_int_equal((uintptr_t)p % alignment, 0);
                p[0] = p[99] = 1;
                mem_free(p);
        }
        mem_fail_nth(1);
        assert_null(mem_alloc_aligned(64, 64));
        assert_true(mem_fail_fired());
        mem_fail_nth(0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_nth), cmocka_unit_test(test_zero_bytes),
                                           cmocka_unit_test(test_aligned)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
