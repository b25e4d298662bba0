/* The pool with real processes: this program started again as `worker`. thread_start: TSan runs it too. */
#include "base/check.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/thread.h"
#include "worker/frame.h"
#include "worker/pool.h"
#include "worker/sandbox.h"
#include "worker/worker.h"

static atomic_bool never;

static WorkerPool *make(unsigned js_max, unsigned idle_ms)
{
        WorkerPool *pool;
        WorkerPoolOptions options = {.os = os_posix(), .js_max = js_max, .idle_ms = idle_ms, .test_hooks = true};
        OK(worker_pool_new(&options, &pool));
        return pool;
}

static OutsideEnd js(WorkerPool *pool, const char *source, const char *args, uint64_t ms, const atomic_bool *cancelled,
                     char *text, size_t size)
{
        const OutsideOps *ops = worker_pool_ops(pool);
        JsCall call = {.session = 1, .is_call = args != NULL, .source = BYTES_STR(source)};
        OutsideWait wait = {.timeout_ms = ms, .cancelled = cancelled};
        OutsideEnd end;
        JsResult result;
        Buf buf;
        if (args)
                call.args = BYTES_STR(args);
        buf_init(&buf, FRAME_MAX_BYTES);
        OK(ops->js(ops->ctx, &call, &wait, &end, &result, &buf));
        snprintf(text, size, "%.*s", end == OUTSIDE_ANSWERED ? (int)buf.size : 0, (const char *)buf.data);
        buf_done(&buf);
        return end;
}

#define JS(pool, source, args, ms) js(pool, source, args, ms, &never, text, sizeof text)

static void test_answers(void **state)
{
        char text[256];
        WorkerPool *pool = make(2, 0);
        assert_int_equal(worker_pool_count(pool), 0);
        assert_int_equal(JS(pool, "40 + 2", NULL, 20000), OUTSIDE_ANSWERED);
        assert_string_equal(text, "42");
        assert_int_equal(JS(pool, "(function(x) { return x + 1; })", "[1]", 20000), OUTSIDE_ANSWERED);
        assert_string_equal(text, "2");
        assert_int_equal(worker_pool_count(pool), 1);
        worker_pool_free(pool);
}

static void test_time(void **state)
{
        char text[256];
        WorkerPool *pool = make(1, 0);
        assert_int_equal(JS(pool, "1", NULL, 20000), OUTSIDE_ANSWERED);
        int64_t start_ns = os_mono_ns(os_posix());
        assert_int_equal(JS(pool, "for (;;) {}", NULL, 100), OUTSIDE_TIMED_OUT);
        assert_true(os_mono_ns(os_posix()) - start_ns < INT64_C(2000000000));
        assert_int_equal(JS(pool, "2", NULL, 20000), OUTSIDE_ANSWERED); /* by a fresh one */
        assert_string_equal(text, "2");
        worker_pool_free(pool);
}

static void test_memory(void **state)
{
        char text[256];
        WorkerPool *pool = make(1, 0);
        assert_int_equal(JS(pool, "var s = 'x'; for (;;) s += s", NULL, 60000), OUTSIDE_ANSWERED);
        assert_string_equal(text, "InternalError: out of memory");
        assert_int_equal(JS(pool, "2", NULL, 20000), OUTSIDE_ANSWERED);
        worker_pool_free(pool);
}

/* Each way out is the end of the process; nothing has happened outside. */
static void test_escapes(void **state)
{
        static const char *const ways[] = {"open", "write", "socket", "unix", "exec", "fork"};
        char text[256];
        WorkerPool *pool = make(1, 0);
        for (size_t i = 0; i < ELEMENTS(ways); i++)
                assert_int_equal(JS(pool, "escape", ways[i], 20000), OUTSIDE_CRASHED);
        assert_int_not_equal(access("/tmp/escaped", F_OK), 0);
        assert_int_equal(JS(pool, "1", NULL, 20000), OUTSIDE_ANSWERED);
        worker_pool_free(pool);
}

/* The same for r.http's: what is not deadly is refused. */
static void test_http_answers(void **state)
{
        WorkerPool *pool = make(1, 0);
        const OutsideOps *ops = worker_pool_ops(pool);
        OutsideWait wait = {.timeout_ms = 60000, .cancelled = &never};
        HttpCall call = {.method = "GET", .url = BYTES_STR("http://127.0.0.1:1/"), .attempts = 2};
        HttpAnswer answer;
        OutsideEnd end;
        Buf buf;
        buf_init(&buf, FRAME_MAX_BYTES);
        OK(ops->http(ops->ctx, &call, &wait, &end, &buf, &answer));
        assert_int_equal(end, OUTSIDE_ANSWERED);
        assert_true(answer.failed && bytes_equal(answer.error, BYTES_STR("could not connect to server")));
        buf_clear(&buf);
        call.url = BYTES_STR("file:///etc/passwd");
        OK(ops->http(ops->ctx, &call, &wait, &end, &buf, &answer));
        assert_true(end == OUTSIDE_ANSWERED && answer.failed);
        buf_done(&buf);
        worker_pool_free(pool);
}

static int64_t pid_of_worker(void)
{
        char path[64], line[16] = "";
        int64_t found = 0;
        /* children of any thread of ours: the keeper's */
        FILE *pipe = popen("for t in /proc/$PPID/task/*/children; do cat $t; done", "r");
        assert_non_null(pipe);
        while (fscanf(pipe, "%15s", line) == 1) {
                char cmdline[128] = "";
                snprintf(path, sizeof path, "/proc/%s/cmdline", line);
                FILE *file = fopen(path, "r");
                if (!file)
                        continue;
                size_t n = fread(cmdline, 1, sizeof cmdline - 1, file);
                fclose(file);
                if (n > 9 && memcmp(cmdline, "photondb", 9) == 0)
                        found = atoll(line);
        }
        pclose(pipe);
        return found;
}

static void test_killed_from_outside(void **state)
{
        char text[256];
        WorkerPool *pool = make(1, 0);
        assert_int_equal(JS(pool, "1", NULL, 20000), OUTSIDE_ANSWERED);
        int64_t pid = pid_of_worker();
        assert_true(pid > 0);
        kill((pid_t)pid, SIGKILL);
        usleep(50000);
        assert_int_equal(JS(pool, "2", NULL, 20000), OUTSIDE_ANSWERED); /* the dead one was noticed */
        assert_string_equal(text, "2");
        worker_pool_free(pool);
}

static void test_idle_ones_end(void **state)
{
        char text[256];
        WorkerPool *pool = make(1, 30);
        assert_int_equal(JS(pool, "1", NULL, 20000), OUTSIDE_ANSWERED);
        for (int i = 0; i < 1000 && worker_pool_count(pool); i++)
                usleep(10000);
        assert_int_equal(worker_pool_count(pool), 0);
        assert_int_equal(JS(pool, "2", NULL, 20000), OUTSIDE_ANSWERED);
        worker_pool_free(pool);
}

typedef struct Caller {
        Thread thread;
        WorkerPool *pool;
        const char *source;
        const atomic_bool *cancelled;
        char text[64];
        OutsideEnd end;
        StatusCode code;
} Caller;

static void call_main(void *arg)
{
        Caller *c = arg;
        const OutsideOps *ops = worker_pool_ops(c->pool);
        JsCall call = {.session = (uintptr_t)c, .source = BYTES_STR(c->source)};
        OutsideWait wait = {.timeout_ms = 60000, .cancelled = c->cancelled};
        JsResult result;
        Buf buf;
        buf_init(&buf, FRAME_MAX_BYTES);
        Status st = ops->js(ops->ctx, &call, &wait, &c->end, &result, &buf);
        c->code = status_code(st);
        status_free(st);
        snprintf(c->text, sizeof c->text, "%.*s", c->code ? 0 : (int)buf.size, (const char *)buf.data);
        buf_done(&buf);
}

static void test_many_callers(void **state)
{
        Caller callers[12];
        WorkerPool *pool = make(2, 0);
        for (size_t i = 0; i < ELEMENTS(callers); i++) {
                callers[i] = (Caller){.pool = pool, .source = "6 * 7", .cancelled = &never};
                OK(thread_start(&callers[i].thread, "caller", call_main, &callers[i]));
        }
        for (size_t i = 0; i < ELEMENTS(callers); i++) {
                thread_join(&callers[i].thread);
                assert_int_equal(callers[i].end, OUTSIDE_ANSWERED);
                assert_string_equal(callers[i].text, "42");
        }
        assert_in_range(worker_pool_count(pool), 1, 2);
        worker_pool_free(pool);
}

/* One is running, one waits for its place: both end soon. */
static void test_cancelling(void **state)
{
        Caller callers[2];
        char text[64];
        atomic_bool cancelled = false;
        WorkerPool *pool = make(1, 0);
        assert_int_equal(JS(pool, "1", NULL, 20000), OUTSIDE_ANSWERED);
        for (size_t i = 0; i < ELEMENTS(callers); i++) {
                callers[i] = (Caller){.pool = pool, .source = "for (;;) {}", .cancelled = &cancelled};
                OK(thread_start(&callers[i].thread, "caller", call_main, &callers[i]));
        }
        usleep(100000);
        int64_t start_ns = os_mono_ns(os_posix());
        atomic_store(&cancelled, true);
        for (size_t i = 0; i < ELEMENTS(callers); i++) {
                thread_join(&callers[i].thread);
                assert_int_equal(callers[i].code, ERR_CANCELLED);
        }
        assert_true(os_mono_ns(os_posix()) - start_ns < INT64_C(500000000));
        assert_int_equal(JS(pool, "2", NULL, 20000), OUTSIDE_ANSWERED);
        worker_pool_free(pool);
}

/* A program that says nothing of ours, and one that is not there. */
static void test_cannot_start(void **state)
{
        static const char *const programs[] = {"/bin/true", "/bin/echo", "/nowhere/photondb"};
        for (size_t i = 0; i < ELEMENTS(programs); i++) {
                WorkerPool *pool;
                WorkerPoolOptions options = {.os = os_posix(), .program = programs[i]};
                OK(worker_pool_new(&options, &pool));
                Caller caller = {.pool = pool, .source = "1", .cancelled = &never};
                call_main(&caller);
                assert_int_equal(caller.code, ERR_INTERNAL);
                worker_pool_free(pool);
        }
}

static void test_not_available(void **state)
{
        WorkerPool *pool;
        WorkerPoolOptions options = {.os = os_posix(), .no_js = true, .no_http = true};
        OK(worker_pool_new(&options, &pool));
        assert_null(worker_pool_ops(pool)->js);
        assert_null(worker_pool_ops(pool)->http);
        worker_pool_free(pool);
}

int main(int argc, char **argv)
{
        if (argc > 2 && strcmp(argv[1], "worker") == 0)
                return worker_main(argc - 2, argv + 2);
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_answers),       cmocka_unit_test(test_time),
                cmocka_unit_test(test_memory),        cmocka_unit_test(test_escapes),
                cmocka_unit_test(test_http_answers),  cmocka_unit_test(test_killed_from_outside),
                cmocka_unit_test(test_idle_ones_end), cmocka_unit_test(test_many_callers),
                cmocka_unit_test(test_cancelling),    cmocka_unit_test(test_cannot_start),
                cmocka_unit_test(test_not_available),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
