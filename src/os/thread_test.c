/* thread_test.c */
#include "os/thread.h"

#include "os/thread_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

typedef struct Shared {
        Mutex mu;
        Cond cond;
        int count; /* GUARDED_BY(mu) */
        int turn;  /* GUARDED_BY(mu) */
} Shared;

static void count_up(void *arg)
{
        Shared *shared = arg;
        for (int i = 0; i < 1000; i++) {
                mutex_lock(&shared->mu);
                shared->count++;
                mutex_unlock(&shared->mu);
        }
        mutex_lock(&shared->mu);
        shared->turn++;
        cond_broadcast(&shared->cond);
        mutex_unlock(&shared->mu);
}

static void test_threads(void **state)
{
        Shared shared = {.count = 0};
        Thread threads[4];
        mutex_init(&shared.mu);
        cond_init(&shared.cond);
        for (int i = 0; i < 4; i++)
                assert_null(thread_start(&threads[i], "a name longer than fifteen", count_up, &shared));
        assert_string_equal(threads[0].name, "a name longer t");
        mutex_lock(&shared.mu);
        while (shared.turn < 4)
                cond_wait(&shared.cond, &shared.mu);
        assert_int_equal(shared.count, 4000);
        assert_false(cond_wait_for(&shared.cond, &shared.mu, 1000)); /* nobody signals */
        mutex_unlock(&shared.mu);
        for (int i = 0; i < 4; i++)
                thread_join(&threads[i]);
        cond_signal(&shared.cond);
        cond_done(&shared.cond);
        mutex_done(&shared.mu);
}

static void test_quotas(void **state)
{
        assert_int_equal(cores_of_cpu_max("max 100000\n"), 0);
        assert_int_equal(cores_of_cpu_max("200000 100000\n"), 2);
        assert_int_equal(cores_of_cpu_max("150000 100000"), 2);
        assert_int_equal(cores_of_cpu_max("5000 100000"), 1);
        assert_int_equal(cores_of_cpu_max("100000 0"), 0);
        assert_int_equal(cores_of_cpu_max("-1 100000"), 0);
        assert_int_equal(cores_of_cpu_max("9223372036854775807 1"), 0);
        assert_int_equal(cores_of_cpu_max(""), 0);
        assert_int_equal(cores_of_quota("-1\n", "100000\n"), 0);
        assert_int_equal(cores_of_quota("400000\n", "100000\n"), 4);
        assert_int_equal(cores_of_quota("", ""), 0);
}

static void test_groups(void **state)
{
        char path[32];
        static const char v2[] = "0::/user.slice/a\n", v1[] = "5:memory:/m\n4:cpu,cpuacct:/c d\n3:cpuset:/s\n0::/two";
        assert_true(cgroup_path(v2, 0, path, sizeof path));
        assert_string_equal(path, "/user.slice/a");
        assert_false(cgroup_path(v2, 1, path, sizeof path));
        assert_true(cgroup_path(v1, 1, path, sizeof path));
        assert_string_equal(path, "/c d");
        assert_true(cgroup_path(v1, 0, path, sizeof path));
        assert_string_equal(path, "/two");
        assert_false(cgroup_path(v2, 0, path, 5));
        assert_false(cgroup_path("", 0, path, sizeof path));
        assert_false(cgroup_path("0:\n\n:::", 1, path, sizeof path));
}

static void test_core_count(void **state)
{
        assert_in_range(thread_core_count(), 1, 100000);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads), cmocka_unit_test(test_quotas),
                                           cmocka_unit_test(test_groups), cmocka_unit_test(test_core_count)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
