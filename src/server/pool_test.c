#include "base/check.h"

#include <stdatomic.h>

#include "base/mem.h"
#include "os/thread.h"
#include "server/pool.h"

#define MANY 1000

/* --- everything once, on several threads --- */

typedef struct Sum {
        atomic_uint calls[MANY];
        atomic_uint running, most_running;
} Sum;

static void add_one(void *arg, size_t i)
{
        Sum *sum = arg;
        unsigned now = atomic_fetch_add(&sum->running, 1) + 1, most = atomic_load(&sum->most_running);
        while (now > most && !atomic_compare_exchange_weak(&sum->most_running, &most, now))
                ;
        atomic_fetch_add(&sum->calls[i], 1);
        atomic_fetch_sub(&sum->running, 1);
}

static void check_once(Sum *sum, size_t count, unsigned most)
{
        for (size_t i = 0; i < MANY; i++)
                assert_int_equal(atomic_load(&sum->calls[i]), i < count);
        assert_in_range(atomic_load(&sum->most_running), count ? 1 : 0, most);
}

static void test_each_once(void **state)
{
        Pool *pool;
        OK(pool_new(4, &pool));
        for (unsigned most = 0; most < 6; most++)
                for (size_t count = 0; count < 40; count++) {
                        Sum sum = {0};
                        pool_parallel(pool, count, most, add_one, &sum);
                        check_once(&sum, count, MAX(most, 1u));
                }
        Sum sum = {0};
        pool_parallel(pool, MANY, 3, add_one, &sum);
        check_once(&sum, MANY, 3);
        pool_free(pool);
}

/* --- somebody helps: two tasks that wait until both run --- */

typedef struct Meeting {
        Mutex mu;
        Cond both;
        unsigned here;
} Meeting;

static void meet(void *arg, size_t i)
{
        Meeting *meeting = arg;
        mutex_lock(&meeting->mu);
        if (++meeting->here == 2)
                cond_broadcast(&meeting->both);
        while (meeting->here < 2)
                cond_wait(&meeting->both, &meeting->mu);
        mutex_unlock(&meeting->mu);
}

static void meeting_init(Meeting *meeting)
{
        meeting->here = 0;
        mutex_init(&meeting->mu);
        cond_init(&meeting->both);
}

static void meeting_done(Meeting *meeting)
{
        cond_done(&meeting->both);
        mutex_done(&meeting->mu);
}

static void test_idle_threads_help(void **state)
{
        Pool *pool;
        Meeting meeting;
        OK(pool_new(3, &pool));
        meeting_init(&meeting);
        pool_parallel(pool, 2, 2, meet, &meeting);
        assert_int_equal(meeting.here, 2);
        meeting_done(&meeting);
        pool_free(pool);
}

/* --- all threads are busy, some of them with calls of their own --- */

typedef struct Busy {
        PoolTask task;
        Pool *pool;
        Sum sum;
        Meeting *gate;
        atomic_uint *ended;
} Busy;

static void call_from_task(PoolTask *task)
{
        Busy *busy = (Busy *)task;
        pool_parallel(busy->pool, MANY, 4, add_one, &busy->sum);
        atomic_fetch_add(busy->ended, 1);
}

static void test_calls_from_all_threads(void **state)
{
        enum { TASKS = 12 };
        Pool *pool;
        Sum own = {0};
        atomic_uint ended = 0;
        Busy *busy = mem_zalloc(TASKS * sizeof(*busy));
        OK(pool_new(3, &pool));
        for (int i = 0; i < TASKS; i++) {
                busy[i].task.run = call_from_task;
                busy[i].pool = pool;
                busy[i].ended = &ended;
                pool_submit(pool, &busy[i].task);
        }
        pool_parallel(pool, MANY, 4, add_one, &own);
        check_once(&own, MANY, 4);
        pool_free(pool);
        assert_int_equal(ended, TASKS);
        for (int i = 0; i < TASKS; i++)
                check_once(&busy[i].sum, MANY, 4);
        mem_free(busy);
}

static void wait_at_gate(PoolTask *task)
{
        Busy *busy = (Busy *)task;
        meet(busy->gate, 0);
        atomic_fetch_add(busy->ended, 1);
}

/* The only thread waits for us: nobody can help, and nobody is waited for. */
static void test_nobody_helps(void **state)
{
        Pool *pool;
        Sum sum = {0};
        Meeting gate;
        atomic_uint ended = 0;
        meeting_init(&gate);
        OK(pool_new(1, &pool));
        Busy *busy = mem_zalloc(sizeof(*busy));
        *busy = (Busy){.task.run = wait_at_gate, .gate = &gate, .ended = &ended};
        pool_submit(pool, &busy->task);
        pool_parallel(pool, MANY, 4, add_one, &sum);
        check_once(&sum, MANY, 1);
        meet(&gate, 0);
        pool_free(pool);
        assert_int_equal(ended, 1);
        meeting_done(&gate);
        mem_free(busy);
}

/* --- a helper goes when there is something in the queue --- */

typedef struct Leave {
        PoolTask queued;
        Pool *pool;
        Meeting together; /* caller and helper are both at it */
        Meeting ran;      /* what was queued */
        atomic_bool submitted;
        atomic_size_t helped;
} Leave;

static _Thread_local bool is_caller;

/* By the pool's only thread, and so after it left the call. */
static void queued_runs(PoolTask *task)
{
        Leave *leave = (Leave *)task;
        assert_true(atomic_load(&leave->helped) < MANY - 1);
        meet(&leave->ran, 0);
}

static void leave_task(void *arg, size_t i)
{
        Leave *leave = arg;
        if (i < 2)
                meet(&leave->together, 0);
        if (!is_caller) {
                while (!atomic_load(&leave->submitted))
                        ;
                atomic_fetch_add(&leave->helped, 1);
        } else if (!atomic_load(&leave->submitted)) {
                pool_submit(leave->pool, &leave->queued);
                atomic_store(&leave->submitted, true);
                meet(&leave->ran, 0);
        }
}

static void test_helpers_leave_for_the_queue(void **state)
{
        Leave leave = {.queued.run = queued_runs};
        meeting_init(&leave.together);
        meeting_init(&leave.ran);
        OK(pool_new(1, &leave.pool));
        is_caller = true;
        pool_parallel(leave.pool, MANY, 2, leave_task, &leave);
        assert_int_equal(leave.ran.here, 2);
        pool_free(leave.pool);
        meeting_done(&leave.together);
        meeting_done(&leave.ran);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_each_once),
                cmocka_unit_test(test_idle_threads_help),
                cmocka_unit_test(test_calls_from_all_threads),
                cmocka_unit_test(test_nobody_helps),
                cmocka_unit_test(test_helpers_leave_for_the_queue),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
