/* match_closure_test.c - functions that several threads take and leave at once. */
#include "feed/match_test.h"

#include "os/thread.h"

enum { THREADS = 4, FUNCTIONS = 40, ROUNDS = 300 };

typedef struct Asker {
        Thread thread;
        FeedClass **classes;
        unsigned seed;
        size_t wrong;
} Asker;

/* Class i shows rows of which `a` is i. No assertions: this is no test's own thread. */
static void ask(void *arg)
{
        Asker *asker = arg;
        Arena arena;
        arena_init(&arena, 0);
        for (unsigned round = 0; round < ROUNDS; round++) {
                size_t i = (round * 7 + asker->seed) % FUNCTIONS, a = round % 3 ? i : i + 1;
                MatchShown *shown;
                size_t count = 0;
                Field field = {BYTES_STR("a"), value_number((double)a)};
                Value row = value_object_sorted(&field, 1);
                Status st =
                        feed_class_show(asker->classes[i], value_number(1), value_none(), row, &arena, &shown, &count);
                asker->wrong += st || count != (a == i);
                status_ignore(st);
                if (round % 50 == 0)
                        match_functions_forget();
                arena_reset(&arena);
        }
        arena_done(&arena);
}

static void threads_share_them(void **state)
{
        Fixture f;
        FeedClass *classes[FUNCTIONS];
        static Asker askers[THREADS];
        fixture_init(&f);
        for (int i = 0; i < FUNCTIONS; i++) {
                const char *text = arena_printf(&f.rows, BRANCH("[17,[" ROW("a") ",%d]]"), i);
                classes[i] = class_of(&f, (FeedSpec){.function = BYTES_STR(text)});
        }
        for (unsigned i = 0; i < THREADS; i++) {
                askers[i] = (Asker){.classes = classes, .seed = i};
                OK(thread_start(&askers[i].thread, "asker", ask, &askers[i]));
        }
        for (unsigned i = 0; i < THREADS; i++) {
                thread_join(&askers[i].thread);
                assert_int_equal(askers[i].wrong, 0);
        }
        for (int i = 0; i < FUNCTIONS; i++)
                feed_class_unref(classes[i]);
        fixture_done(&f);
}

static void one_has_it_for_himself(void **state)
{
        Bytes saved = BYTES_STR(PLUCKED("a")), other = BYTES_STR(PLUCKED("b"));
        MatchFunction *first, *second, *third;
        OK(match_function_take(saved, &first));
        OK(match_function_take(saved, &second));
        assert_ptr_not_equal(first, second);
        match_function_leave(first);
        OK(match_function_take(other, &third));
        assert_ptr_not_equal(first, third);
        match_function_leave(second);
        match_function_leave(third);
        OK(match_function_take(saved, &third));
        assert_true(third == first || third == second);
        match_function_drop(third);
        match_function_leave(NULL);
        match_function_drop(NULL);
        FAILS(ERR_CORRUPT, match_function_take(BYTES_STR("[1,2"), &third));
        match_functions_forget();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(one_has_it_for_himself),
                cmocka_unit_test(threads_share_them),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
