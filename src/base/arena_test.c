/* arena_test.c - blocks do not overlap, budgets hold, marks nest; a long random walk against a model. */
#include "base/arena.h"

#include <stdlib.h>

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_basics(void **state)
{
        Arena arena;
        arena_init(&arena, 0);
        char *a = arena_alloc(&arena, 1), *b = arena_alloc(&arena, 1);
        assert_int_equal((uintptr_t)a % 8, 0);
        assert_int_equal((uintptr_t)b % 8, 0);
        assert_true(b - a >= 8);
        assert_non_null(arena_alloc(&arena, 0));
        assert_non_null(arena_try_alloc(&arena, 0));
        int *numbers = arena_array(&arena, int, 100);
        for (int i = 0; i < 100; i++)
                numbers[i] = i;
        struct {
                int x, y;
        } *zeroed = arena_zalloc(&arena, sizeof *zeroed);
        assert_int_equal(zeroed->x | zeroed->y, 0);
        assert_string_equal(arena_dup(&arena, "hello", 4), "hell");
        assert_string_equal(arena_dup(&arena, NULL, 0), "");
        assert_string_equal(arena_printf(&arena, "%d-%s", 5, "x"), "5-x");
        char *padded = arena_printf(&arena, "%01000d", 1);
        assert_int_equal(strlen(padded), 1000);
        assert_null(arena_try_alloc(&arena, SIZE_MAX));
        assert_null(arena_try_alloc(&arena, SIZE_MAX - 3));
        arena_done(&arena);
        arena_done(&arena);
        Arena zero = {0};
        arena_done(&zero);
        arena_reset(&zero);
        assert_non_null(arena_alloc(&zero, 3));
        arena_done(&zero);
}

/* A loop of messages does not touch the heap after the first; a huge one is not kept. */
static void test_reset(void **state)
{
        Arena arena;
        arena_init(&arena, 0);
        for (int i = 0; i < 5; i++)
                arena_alloc(&arena, 3000);
        arena_reset(&arena);
        assert_true(arena.total_bytes <= 64 << 10);
        for (int i = 0; i < 1000; i++) {
                mem_fail_nth(i > 0 ? 1 : 0);
                for (int k = 0; k < 5; k++)
                        assert_non_null(arena_try_alloc(&arena, 3000));
                arena_reset(&arena);
        }
        mem_fail_nth(0);
        arena_alloc(&arena, 10 << 20);
        for (int i = 0; i < 10000; i++)
                arena_alloc(&arena, 1000);
        assert_true(arena.total_bytes > 20000000);
        arena_reset(&arena);
        assert_true(arena.total_bytes <= 64 << 10 && arena.total_bytes > 0);
        arena_done(&arena);
}

static jmp_buf boundary;
static bool was_over_budget;
static void out_of_memory(void *ctx, bool over_budget)
{
        was_over_budget = over_budget;
        longjmp(*(jmp_buf *)ctx, 1);
}

static void test_budget(void **state)
{
        Arena arena;
        arena_init(&arena, 100000);
        arena_on_oom(&arena, out_of_memory, &boundary);
        volatile size_t got = 0;
        if (setjmp(boundary) == 0) {
                for (;;) {
                        memset(arena_alloc(&arena, 100), 1, 100);
                        got += 100;
                }
        }
        assert_true(was_over_budget);
        assert_true(got > 80000); /* the last chunk shrinks to what is left */
        assert_true(arena.total_bytes <= 100000);
        assert_null(arena_try_alloc(&arena, 4000));
        arena_reset(&arena);
        if (setjmp(boundary) == 0) {
                arena_alloc(&arena, 200000);
                fail();
        }
        assert_non_null(arena_alloc(&arena, 30000));
        arena_reset(&arena);
        assert_non_null(arena_alloc(&arena, 99000)); /* the spare goes when it is in the way */
        if (setjmp(boundary) == 0) {
                (void)arena_array(&arena, uint64_t, (size_t)1 << 61);
                fail();
        }
        arena_done(&arena);

        arena_init(&arena, 0);
        arena_on_oom(&arena, out_of_memory, &boundary);
        mem_fail_nth(1);
        if (setjmp(boundary) == 0) {
                arena_alloc(&arena, 1);
                fail();
        }
        assert_false(was_over_budget);
        mem_fail_nth(0);
        arena_done(&arena);
}

static void test_marks(void **state)
{
        Arena arena;
        arena_init(&arena, 0);
        ArenaMark empty = arena_mark(&arena);
        char *keep = arena_printf(&arena, "keep");
        ArenaMark first = arena_mark(&arena);
        char *a = arena_alloc(&arena, 16);
        arena_rewind(&arena, first);
        assert_ptr_equal(a, arena_alloc(&arena, 16));
        arena_alloc(&arena, 1 << 20); /* a chunk of its own */
        ArenaMark above = arena_mark(&arena);
        char *b = arena_alloc(&arena, 24);
        for (int i = 0; i < 1000; i++)
                arena_alloc(&arena, 5000);
        arena_alloc(&arena, 1 << 20);
        arena_rewind(&arena, above);
        assert_ptr_equal(b, arena_alloc(&arena, 24));
        arena_rewind(&arena, first);
        assert_ptr_equal(a, arena_alloc(&arena, 16));
        assert_string_equal(keep, "keep");
        arena_rewind(&arena, empty);
        assert_true(arena.total_bytes > 0);
        /* A loop over a chunk boundary keeps its chunk. */
        arena_alloc(&arena, 4000);
        first = arena_mark(&arena);
        arena_alloc(&arena, 9000);
        for (int i = 0; i < 100; i++) {
                arena_rewind(&arena, first);
                mem_fail_nth(1);
                assert_non_null(arena_try_alloc(&arena, 9000));
        }
        mem_fail_nth(0);
        arena_done(&arena);
}

/* Random allocations, marks and rewinds, some failing; every live block keeps its pattern. */
static void test_walk(void **state)
{
        enum { MAX_BLOCKS = 4000, MAX_MARKS = 8 };
        static struct {
                uint8_t *p;
                size_t size;
                uint8_t fill;
        } blocks[MAX_BLOCKS];
        struct {
                ArenaMark mark;
                size_t count;
        } marks[MAX_MARKS];
        size_t count = 0, mark_count = 0;
        Arena arena;
        arena_init(&arena, 64 << 20);
        srand(1);
        for (int step = 0; step < 30000; step++) {
                int dice = rand() % 100;
                if (dice < 2) {
                        arena_reset(&arena);
                        count = mark_count = 0;
                } else if (dice < 6 && mark_count < MAX_MARKS) {
                        marks[mark_count].mark = arena_mark(&arena);
                        marks[mark_count++].count = count;
                } else if (dice < 10 && mark_count) {
                        mark_count = (size_t)rand() % mark_count;
                        arena_rewind(&arena, marks[mark_count].mark);
                        count = marks[mark_count].count;
                } else if (count < MAX_BLOCKS) {
                        static const size_t ranges[] = {40, 40, 40, 300, 5000, 400000};
                        size_t size = (size_t)rand() % ranges[rand() % 6];
                        mem_fail_nth(rand() % 10 == 0);
                        uint8_t *p = arena_try_alloc(&arena, size);
                        mem_fail_nth(0);
                        if (p) {
                                blocks[count].p = p;
                                blocks[count].size = size;
                                blocks[count].fill = (uint8_t)step;
                                memset(p, (uint8_t)step, size);
                                count++;
                        }
                }
                if (step % 64 == 0)
                        for (size_t i = 0; i < count; i++) {
                                size_t size = blocks[i].size;
                                if (size)
                                        assert_true(blocks[i].p[0] == blocks[i].fill &&
                                                    blocks[i].p[size / 2] == blocks[i].fill &&
                                                    blocks[i].p[size - 1] == blocks[i].fill);
                        }
        }
        arena_done(&arena);
        assert_int_equal(arena.total_bytes, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_basics), cmocka_unit_test(test_reset),
                                           cmocka_unit_test(test_budget), cmocka_unit_test(test_marks),
                                           cmocka_unit_test(test_walk)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
