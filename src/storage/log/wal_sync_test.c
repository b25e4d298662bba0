/* wal_sync_test.c - the log's two threads: writes beside a sync in flight, and all that may happen meanwhile: failures,
 * rotation, a cut, the end, the end of the power. The simulated machine holds syncs, so that no test waits for time. */

#include "base/check.h"

#include <stdatomic.h>

#include "base/mem.h"
#include "os/sim.h"
#include "os/thread.h"
#include "storage/log/wal_int.h"

typedef struct Log {
        SimOs *sim;
        OsDir *dir;
        Wal *wal;
        WalOptions options;
        uint64_t expected; /* the next position that a replay must show */
        Mutex mu;
        Cond news; /* something was written or synced, or failed */
} Log;

static size_t body_of(uint64_t position, uint8_t out[1024])
{
        size_t size = 20 + position * 53 % 700;
        for (size_t i = 0; i < size; i++)
                out[i] = (uint8_t)(position * 31 + i);
        return size;
}

static void expect_body(const WalFrame *frame)
{
        uint8_t body[1024];
        size_t size = body_of(frame->position, body);
        assert_int_equal(frame->body.size, size);
        assert_memory_equal(frame->body.data, body, size);
}

static Status replay(void *ctx, const WalFrame *frame)
{
        Log *log = ctx;
        assert_int_equal(frame->position, log->expected);
        expect_body(frame);
        log->expected++;
        return ST_OK;
}

static void tell(void *ctx)
{
        Log *log = ctx;
        mutex_lock(&log->mu);
        cond_broadcast(&log->news);
        mutex_unlock(&log->mu);
}

static void log_open(Log *log)
{
        log->expected = 1;
        OK(wal_open(log->dir, &log->options, 0, &log->wal));
        OK(wal_replay(log->wal, 0, replay, log));
        wal_on_written(log->wal, tell, log);
        wal_on_change(log->wal, tell, log);
        OK(wal_start(log->wal));
        wal_eager(log->wal, true); /* somebody follows */
}

static void log_new(Log *log, uint64_t segment_bytes)
{
        *log = (Log){.options = {.segment_bytes = segment_bytes,
                                 .tail_max_bytes = 64 << 10,
                                 .recent_bytes = 16 << 10,
                                 .soft_sync_ms = 1000000,
                                 .background = true}};
        mutex_init(&log->mu);
        cond_init(&log->news);
        OK(sim_new(1, &log->sim));
        OK(os_dir_open(sim_os(log->sim), "log", OS_DIR_CREATE, &log->dir));
        log_open(log);
}

static void log_done(Log *log)
{
        os_dir_close(log->dir);
        sim_free(log->sim);
        cond_done(&log->news);
        mutex_done(&log->mu);
}

/* The log is closed already: what a new process finds. */
static void log_again(Log *log, SimCrash how)
{
        os_dir_close(log->dir);
        sim_crash(log->sim, how);
        OK(os_dir_open(sim_os(log->sim), "log", OS_DIR_EXISTING, &log->dir));
        log_open(log);
}

static Status append(Log *log, uint64_t n)
{
        for (; n > 0; n--) {
                uint8_t body[1024];
                uint64_t position, next = wal_last(log->wal) + 1;
                TRY(wal_append(log->wal, BYTES(body, body_of(next, body)), &position));
                assert_int_equal(position, next);
        }
        return ST_OK;
}

/* Or the log has failed. */
static void await_written(Log *log, uint64_t position)
{
        mutex_lock(&log->mu);
        while (wal_written(log->wal) < position) {
                Status st = wal_error(log->wal);
                bool failed = st != ST_OK;
                status_ignore(st);
                if (failed)
                        break;
                cond_wait(&log->news, &log->mu);
        }
        mutex_unlock(&log->mu);
}

static void await_error(Log *log, bool error)
{
        mutex_lock(&log->mu);
        for (bool is = !error; is != error;) {
                Status st = wal_error(log->wal);
                is = st != ST_OK;
                status_ignore(st);
                if (is != error)
                        cond_wait(&log->news, &log->mu);
        }
        mutex_unlock(&log->mu);
}

/* Commits 1 .. 4 with a sync of them in flight, which began when nothing but 1 was durable. */
static void begin_sync(Log *log)
{
        OK(append(log, 1));
        OK(wal_sync(log->wal, 1)); /* the file is made */
        sim_hold_syncs(log->sim, true);
        OK(append(log, 3));
        wal_sync_soon(log->wal, 4);
        sim_await_sync(log->sim);
        assert_int_equal(wal_written(log->wal), 4);
        assert_int_equal(wal_durable(log->wal), 1);
}

static void read_up_to(WalReader *reader, uint64_t position)
{
        while (wal_reader_position(reader) < position) {
                WalFrame frame;
                bool found;
                OK(wal_reader_next(reader, &frame, &found));
                assert_true(found);
                expect_body(&frame);
        }
}

/* What is written during a sync is seen at once, and is durable only with the next one. */
static void test_writes_go_on(void **state)
{
        Log log;
        WalReader *reader;
        WalStats stats;
        log_new(&log, 1 << 20);
        OK(wal_reader_open(log.wal, 0, &reader));
        begin_sync(&log);
        OK(append(&log, 5));
        await_written(&log, 9);
        read_up_to(reader, 9);
        assert_int_equal(wal_durable(log.wal), 1);
        wal_sync_soon(log.wal, 9);
        OK(append(&log, 1));
        await_written(&log, 10);
        sim_let_sync(log.sim);
        sim_await_sync(log.sim); /* the next one, as somebody waits */
        assert_int_equal(wal_durable(log.wal), 4);
        OK(append(&log, 1));
        await_written(&log, 11);
        sim_let_sync(log.sim);
        OK(wal_sync(log.wal, 9));
        assert_int_equal(wal_durable(log.wal), 10);
        sim_hold_syncs(log.sim, false);
        OK(wal_sync(log.wal, 11));
        wal_stats(log.wal, &stats);
        assert_int_equal(stats.tail_bytes, 0);
        read_up_to(reader, 11);
        wal_reader_close(reader);
        OK(wal_close(log.wal));
        log_again(&log, SIM_DROP);
        assert_int_equal(log.expected, 12);
        OK(wal_close(log.wal));
        log_done(&log);
}

/* More than the tail takes: appends wait for the sync, and go on behind it. */
static void appender(void *ctx)
{
        OK(append(ctx, 300));
}

static void test_tail_full(void **state)
{
        Log log;
        Thread thread;
        WalStats stats;
        log_new(&log, 1 << 20);
        begin_sync(&log);
        OK(thread_start(&thread, "appender", appender, &log));
        do
                wal_stats(log.wal, &stats);
        while (stats.tail_bytes < (60 << 10));
        assert_int_equal(wal_durable(log.wal), 1);
        sim_hold_syncs(log.sim, false);
        thread_join(&thread);
        OK(wal_sync(log.wal, 304));
        OK(wal_close(log.wal));
        log_again(&log, SIM_DROP);
        assert_int_equal(log.expected, 305);
        OK(wal_close(log.wal));
        log_done(&log);
}

/* The sync fails when more is written behind it: all of it is written anew, by the thread or by the end of the log. */
static void test_failed_sync(void **state)
{
        for (int at_end = 0; at_end < 2; at_end++) {
                Log log;
                WalReader *reader;
                uint64_t position;
                log_new(&log, 1 << 20);
                OK(wal_reader_open(log.wal, 0, &reader));
                begin_sync(&log);
                OK(append(&log, 5));
                await_written(&log, 9);
                read_up_to(reader, 7);
                wal_sync_soon(log.wal, 9);
                sim_fail_nth(log.sim, 1, SIM_FAIL_ONCE);
                sim_hold_syncs(log.sim, false);
                await_error(&log, true);
                FAILS(ERR_IO, wal_sync(log.wal, 4));
                FAILS(ERR_IO, wal_append(log.wal, BYTES_STR("x"), &position));
                assert_int_equal(wal_durable(log.wal), 1);
                assert_int_equal(wal_written(log.wal), 9); /* does not descend */
                read_up_to(reader, 9);
                if (!at_end) {
                        await_error(&log, false);
                        assert_int_equal(wal_durable(log.wal), 9);
                        OK(append(&log, 1));
                        OK(wal_sync(log.wal, 10));
                        read_up_to(reader, 10);
                }
                wal_reader_close(reader);
                OK(wal_close(log.wal));
                log_again(&log, SIM_DROP);
                assert_int_equal(log.expected, at_end ? 10 : 11);
                OK(wal_close(log.wal));
                log_done(&log);
        }
}

/* A write fails beside a sync that works: what that made durable stays, the rest is written anew. */
static void test_failed_write(void **state)
{
        Log log;
        log_new(&log, 1 << 20);
        begin_sync(&log);
        sim_fail_nth(log.sim, 1, SIM_FAIL_ONCE);
        OK(append(&log, 5));
        while (!sim_fired(log.sim))
                ;
        OK(wal_error(log.wal)); /* not before the sync has ended: it has the file */
        sim_hold_syncs(log.sim, false);
        await_error(&log, true);
        assert_int_equal(wal_durable(log.wal), 4);
        OK(wal_close(log.wal));
        log_again(&log, SIM_DROP);
        assert_int_equal(log.expected, 10);
        OK(wal_close(log.wal));
        log_done(&log);
}

static void closer(void *ctx)
{
        Log *log = ctx;
        OK(wal_close(log->wal));
}

static void test_close(void **state)
{
        for (int more = 0; more < 2; more++) {
                Log log;
                Thread thread;
                log_new(&log, 1 << 20);
                begin_sync(&log);
                OK(append(&log, more ? 5 : 0));
                OK(thread_start(&thread, "closer", closer, &log));
                sim_let_sync(log.sim);
                if (more) {
                        sim_await_sync(log.sim);
                        sim_let_sync(log.sim);
                }
                thread_join(&thread);
                sim_hold_syncs(log.sim, false);
                log_again(&log, SIM_DROP);
                assert_int_equal(log.expected, more ? 10 : 5);
                OK(wal_close(log.wal));
                log_done(&log);
        }
}

/* The power goes with a sync in flight: what was durable is there. */
static void test_power(void **state)
{
        for (int how = SIM_DROP; how <= SIM_TEAR; how++) {
                Log log;
                log_new(&log, 1 << 20);
                begin_sync(&log);
                OK(append(&log, 5));
                await_written(&log, 9);
                sim_fail_nth(log.sim, 1, SIM_FAIL_POWER);
                sim_hold_syncs(log.sim, false);
                status_ignore(wal_close(log.wal));
                log_again(&log, (SimCrash)how);
                assert_true(log.expected >= 2 && log.expected <= 10);
                assert_true(how != SIM_DROP || log.expected <= 5);
                OK(wal_close(log.wal));
                log_done(&log);
        }
}

/* A new segment begins when the sync in flight has ended and all is durable (log I1); old ones are cut meanwhile. */
static void test_rotate_and_cut(void **state)
{
        Log log;
        WalStats stats;
        log_new(&log, 1 << 20);
        for (int i = 0; i < 5; i++) {
                OK(append(&log, 5));
                OK(wal_sync(log.wal, wal_last(log.wal)));
                wal_rotate(log.wal);
        }
        uint64_t durable = wal_last(log.wal);
        wal_stats(log.wal, &stats);
        assert_int_equal(stats.segment_count, 5);
        OK(append(&log, 1)); /* in a segment of its own */
        OK(wal_sync(log.wal, durable + 1));
        sim_hold_syncs(log.sim, true);
        OK(append(&log, 1));
        wal_sync_soon(log.wal, durable + 2);
        sim_await_sync(log.sim);
        OK(wal_cut(log.wal, durable)); /* does not wait for it */
        wal_stats(log.wal, &stats);
        assert_int_equal(stats.segment_count, 1);
        wal_rotate(log.wal);
        OK(append(&log, 1));
        sim_let_sync(log.sim);
        sim_await_sync(log.sim); /* of the new segment's header */
        assert_int_equal(wal_durable(log.wal), durable + 2);
        assert_int_equal(wal_written(log.wal), durable + 2);
        sim_hold_syncs(log.sim, false);
        OK(wal_sync(log.wal, durable + 3));
        OK(wal_cut(log.wal, durable + 3));
        assert_int_equal(wal_bytes(log.wal), 0);
        OK(append(&log, 1));
        OK(wal_close(log.wal));
        log_done(&log);
}

/* --- every call fails once, with all threads at work --- */

typedef struct Race {
        Log log;
        atomic_bool end;
        atomic_uint_fast64_t acknowledged;
        uint64_t read;
} Race;

enum { COMMITS = 60 };

static void race_syncer(void *ctx)
{
        Race *race = ctx;
        Wal *wal = race->log.wal;
        while (!atomic_load(&race->end)) {
                uint64_t last = wal_last(wal);
                Status st = wal_sync(wal, last);
                if (!st) {
                        assert_true(wal_durable(wal) >= last);
                        atomic_store(&race->acknowledged, last);
                }
                status_ignore(st);
        }
}

static void race_reader(void *ctx)
{
        Race *race = ctx;
        WalReader *reader;
        OK(wal_reader_open(race->log.wal, 0, &reader));
        while (!atomic_load(&race->end)) {
                WalFrame frame;
                bool found;
                Status st = wal_reader_next(reader, &frame, &found);
                if (!st && found)
                        expect_body(&frame);
                status_ignore(st); /* the machine's file calls fail for it, too */
        }
        race->read = wal_reader_position(reader);
        wal_reader_close(reader);
}

static bool race_run(long n, SimFailure how)
{
        static Race race;
        Thread syncer, reader;
        Status st = ST_OK;
        race = (Race){0};
        log_new(&race.log, 8000);
        sim_fail_nth(race.log.sim, n, how);
        OK(thread_start(&syncer, "syncer", race_syncer, &race));
        OK(thread_start(&reader, "reader", race_reader, &race));
        for (int i = 0; i < COMMITS && !st; i++) {
                st = append(&race.log, 1);
                if (i % 20 == 19)
                        wal_rotate(race.log.wal);
                if (i % 7 == 6 && !st)
                        await_written(&race.log, wal_last(race.log.wal) - 3);
                Status failed = wal_error(race.log.wal);
                if (failed && !st)
                        st = take(failed);
                status_ignore(failed);
        }
        status_ignore(st);
        atomic_store(&race.end, true);
        thread_join(&syncer);
        thread_join(&reader);
        uint64_t acknowledged = atomic_load(&race.acknowledged), last = wal_last(race.log.wal);
        bool fired = sim_fired(race.log.sim), power = how == SIM_FAIL_POWER && fired;
        uint64_t seen = wal_written(race.log.wal);
        if (!power)
                sim_heal(race.log.sim);
        st = wal_close(race.log.wal);
        if (power)
                status_ignore(st);
        else
                OK(st); /* written anew, if it was not */
        log_again(&race.log, power && n % 2 ? SIM_TEAR : SIM_DROP);
        assert_true(race.read <= seen && seen <= last);
        assert_true(race.log.expected > acknowledged);
        assert_true(power || race.log.expected == last + 1);
        OK(append(&race.log, 2));
        OK(wal_close(race.log.wal));
        log_done(&race.log);
        return fired;
}

static void test_failures(void **state)
{
        static const SimFailure hows[] = {SIM_FAIL_ONCE, SIM_FAIL_FOREVER, SIM_FAIL_NO_SPACE, SIM_FAIL_POWER};
        for (size_t i = 0; i < ELEMENTS(hows); i++)
                for (long n = 1; race_run(n, hows[i]) && n < 150; n++)
                        ;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_writes_go_on),   cmocka_unit_test(test_tail_full),
                cmocka_unit_test(test_failed_sync),    cmocka_unit_test(test_failed_write),
                cmocka_unit_test(test_close),          cmocka_unit_test(test_power),
                cmocka_unit_test(test_rotate_and_cut), cmocka_unit_test(test_failures),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
