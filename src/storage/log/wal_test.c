/* wal_test.c - the log alone: order, group commit, rotation, cutting, torn tails against damage, failures. */

#include "base/check.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/mem.h"
#include "os/sim.h"
#include "os/thread.h"
#include "storage/log/wal_int.h"

typedef struct Log {
        SimOs *sim;
        OsDir *dir;
        Wal *wal;
        WalOptions options;
        uint64_t replayed, expected; /* frames seen; the next position that replay must show */
} Log;

static size_t body_of(uint64_t position, uint8_t out[4096])
{
        size_t size = position * 53 % 700;
        for (size_t i = 0; i < size; i++)
                out[i] = (uint8_t)(position * 31 + i);
        return size;
}

static Status replay(void *ctx, const WalFrame *frame)
{
        Log *log = ctx;
        uint8_t body[4096];
        size_t size = body_of(frame->position, body);
        assert_int_equal(frame->position, log->expected);
        assert_int_equal(frame->body.size, size);
        if (size)
                assert_memory_equal(frame->body.data, body, size);
        log->expected++;
        log->replayed++;
        return ST_OK;
}

static Status log_open(Log *log, uint64_t after)
{
        log->expected = after + 1;
        log->replayed = 0;
        TRY(wal_open(log->dir, &log->options, after, &log->wal));
        Status st = wal_replay(log->wal, after, replay, log);
        if (!st)
                st = wal_start(log->wal);
        if (st)
                status_ignore(wal_close(log->wal));
        return st;
}

static void log_new(Log *log, uint64_t segment_bytes)
{
        *log = (Log){.options = {.segment_bytes = segment_bytes, .tail_max_bytes = 32 << 10, .soft_sync_ms = 1000}};
        OK(sim_new(1, &log->sim));
        OK(os_dir_open(sim_os(log->sim), "log", OS_DIR_CREATE, &log->dir));
}

static void log_done(Log *log)
{
        os_dir_close(log->dir);
        sim_free(log->sim);
}

static void append(Log *log, uint64_t n)
{
        uint8_t body[4096];
        while (n-- > 0) {
                uint64_t position, next = wal_last(log->wal) + 1;
                OK(wal_append(log->wal, BYTES(body, body_of(next, body)), &position));
                assert_int_equal(position, next);
        }
}

static void crash(Log *log, SimCrash how)
{
        status_ignore(wal_close(log->wal));
        os_dir_close(log->dir);
        sim_crash(log->sim, how);
        OK(os_dir_open(sim_os(log->sim), "log", OS_DIR_EXISTING, &log->dir));
}

static void test_append_and_replay(void **state)
{
        Log log;
        log_new(&log, 9000);
        OK(log_open(&log, 0));
        assert_int_equal(wal_last(log.wal), 0);
        for (int i = 0; i < 20; i++) {
                append(&log, 7);
                if (i % 3 == 0)
                        OK(wal_sync(log.wal, wal_last(log.wal)));
        }
        OK(wal_sync(log.wal, 140));
        assert_int_equal(wal_durable(log.wal), 140);
        WalStats stats;
        wal_stats(log.wal, &stats);
        assert_true(stats.segment_count > 5);
        assert_int_equal(stats.tail_bytes, 0);
        append(&log, 5); /* not synced: closing does it */
        OK(wal_close(log.wal));
        OK(log_open(&log, 0));
        assert_int_equal(log.replayed, 145);
        assert_int_equal(wal_last(log.wal), 145);
        assert_int_equal(wal_durable(log.wal), 145);
        OK(wal_close(log.wal));
        OK(log_open(&log, 100));
        assert_int_equal(log.replayed, 45);
        append(&log, 1);
        crash(&log, SIM_KEEP);
        OK(log_open(&log, 0));
        assert_int_equal(log.replayed, 146);
        OK(wal_close(log.wal));
        log_done(&log);
}

static void test_cut(void **state)
{
        Log log;
        log_new(&log, 9000);
        OK(log_open(&log, 0));
        for (int i = 0; i < 20; i++) {
                append(&log, 7);
                OK(wal_sync(log.wal, wal_last(log.wal)));
        }
        uint64_t all = wal_bytes(log.wal);
        OK(wal_cut(log.wal, 70));
        uint64_t half = wal_bytes(log.wal);
        assert_true(half < all * 2 / 3 && half > all / 3);
        OK(wal_close(log.wal));
        OK(log_open(&log, 70));
        assert_int_equal(log.replayed, 70);
        assert_true(wal_bytes(log.wal) >= half && wal_bytes(log.wal) - half < 100); /* the seal */
        OK(wal_close(log.wal));
        Status st = log_open(&log, 0); /* what was cut is missed */
        assert_int_equal(status_code(st), ERR_CORRUPT);
        status_free(st);
        OK(log_open(&log, 70));
        wal_rotate(log.wal);
        OK(wal_cut(log.wal, 140)); /* all of it */
        assert_int_equal(wal_bytes(log.wal), 0);
        append(&log, 3);
        OK(wal_close(log.wal));
        OK(log_open(&log, 140));
        assert_int_equal(log.replayed, 3);
        append(&log, 1);
        OK(wal_cut(log.wal, 144)); /* not while it is not durable */
        OK(wal_sync(log.wal, 144));
        OK(wal_close(log.wal));
        OK(log_open(&log, 200)); /* a snapshot may be ahead of the log */
        assert_int_equal(wal_last(log.wal), 200);
        append(&log, 1);
        OK(wal_close(log.wal));
        OK(log_open(&log, 200));
        assert_int_equal(log.replayed, 1);
        OK(wal_close(log.wal));
        log_done(&log);
}

static Status flip_each(void *ctx, const char *name)
{
        char *path = ctx;
        if (!*path || strcmp(name, path + strlen("log/")) > 0)
                snprintf(path, 128, "log/%s", name);
        return ST_OK;
}

static void newest_file(Log *log, char path[128])
{
        path[0] = 0;
        OK(os_dir_list(log->dir, flip_each, path));
}

/* A bad frame with a frame behind it that was appended when the bad one was durable is damage; without one it is a torn
 * tail. */
static void test_damage_or_torn(void **state)
{
        Log log;
        char path[128], text[512];
        log_new(&log, 1 << 20);
        OK(log_open(&log, 0));
        append(&log, 5);
        OK(wal_sync(log.wal, 5));
        append(&log, 5);
        OK(wal_sync(log.wal, 10));
        crash(&log, SIM_DROP); /* wal_close seals, but that is not synced */
        newest_file(&log, path);
        OK(sim_flip_bit(log.sim, path, sizeof(WalSegmentHeader) + 60, 3));
        Status st = log_open(&log, 0);
        assert_int_equal(status_code(st), ERR_CORRUPT);
        status_text(st, text, sizeof(text));
        assert_non_null(strstr(text, path));
        assert_non_null(strstr(text, "offset 4096"));
        status_free(st);
        OK(sim_flip_bit(log.sim, path, sizeof(WalSegmentHeader) + 60, 3));
        /* The last frame: nothing shows that it was durable. */
        uint64_t offset = sizeof(WalSegmentHeader);
        uint8_t body[4096];
        for (uint64_t p = 1; p < 10; p++)
                offset += wal_frame_bytes(body_of(p, body));
        OK(sim_flip_bit(log.sim, path, offset + 20, 0));
        OK(log_open(&log, 0));
        assert_int_equal(log.replayed, 9);
        assert_int_equal(wal_durable(log.wal), 9);
        append(&log, 3);
        OK(wal_close(log.wal));
        /* Position 10 exists twice now, and the old one is whole again: the later segment wins. */
        OK(sim_flip_bit(log.sim, path, offset + 20, 0));
        OK(log_open(&log, 0));
        assert_int_equal(log.replayed, 12);
        OK(wal_close(log.wal));
        /* Closed cleanly, the last frame is proved by the seal. */
        newest_file(&log, path);
        OsFile *file;
        uint64_t size;
        OK(os_file_open(log.dir, path + strlen("log/"), OS_READ | OS_WRITE, &file));
        OK(os_file_size(file, &size));
        OK(sim_flip_bit(log.sim, path, size - 70, 0));
        st = log_open(&log, 0);
        assert_int_equal(status_code(st), ERR_CORRUPT);
        status_free(st);
        OK(sim_flip_bit(log.sim, path, size - 70, 0));
        /* Zeros behind the end, as a file system may leave them. */
        uint8_t zeros[5000] = {0};
        OK(os_file_write_at(file, size, zeros, sizeof(zeros)));
        OK(log_open(&log, 0));
        assert_int_equal(log.replayed, 12);
        OK(wal_close(log.wal));
        os_file_close(file);
        log_done(&log);
}

static void test_newer_format(void **state)
{
        Log log;
        char path[128];
        WalSegmentHeader header;
        size_t got;
        OsFile *file;
        log_new(&log, 1 << 20);
        OK(log_open(&log, 0));
        append(&log, 1);
        OK(wal_close(log.wal));
        newest_file(&log, path);
        OK(os_file_open(log.dir, path + strlen("log/"), OS_READ | OS_WRITE, &file));
        OK(os_file_read_at(file, 0, &header, sizeof(header), &got));
        header.version = WAL_VERSION + 1;
        header.checksum = bytes_hash((uint8_t *)&header + 8, sizeof(header) - 8);
        OK(os_file_write_at(file, 0, &header, sizeof(header)));
        os_file_close(file);
        Status st = log_open(&log, 0);
        assert_int_equal(status_code(st), ERR_VERSION);
        status_free(st);
        log_done(&log);
}

static unsigned change_count;
static void count_change(void *ctx)
{
        change_count++;
}

static void test_failure_and_recovery(void **state)
{
        Log log;
        uint64_t position;
        log_new(&log, 1 << 20);
        OK(log_open(&log, 0));
        wal_on_change(log.wal, count_change, NULL);
        change_count = 0;
        append(&log, 3);
        OK(wal_sync(log.wal, 3));
        assert_int_equal(change_count, 1);
        append(&log, 3);
        sim_fail_nth(log.sim, 1, SIM_FAIL_NO_SPACE);
        Status st = wal_sync(log.wal, 6);
        assert_int_equal(status_code(st), ERR_NO_SPACE);
        assert_non_null(strstr(status_message(st), "the log cannot be written"));
        assert_non_null(strstr(status_message(st), "writes are refused until it can"));
        status_free(st);
        assert_int_equal(change_count, 2);
        assert_int_equal(wal_durable(log.wal), 3);
        st = wal_append(log.wal, BYTES_STR("x"), &position);
        assert_int_equal(status_code(st), ERR_NO_SPACE);
        status_free(st);
        st = wal_error(log.wal);
        assert_int_equal(status_code(st), ERR_NO_SPACE);
        status_free(st);
        st = wal_step(log.wal); /* still full */
        assert_int_equal(status_code(st), ERR_NO_SPACE);
        status_free(st);
        sim_heal(log.sim);
        OK(wal_step(log.wal));
        OK(wal_error(log.wal));
        assert_int_equal(wal_durable(log.wal), 6);
        append(&log, 4);
        crash(&log, SIM_KEEP);
        OK(log_open(&log, 0));
        assert_int_equal(log.replayed, 10);
        OK(wal_close(log.wal));
        st = ST_OK;
        log_done(&log);
}

/* --- archive, going back in time, looking from outside --- */

typedef struct Scan {
        uint64_t next, frames, problems, files;
        int64_t wall_us;
} Scan;

static Status scan_file(void *ctx, const char *name, uint64_t bytes)
{
        uint64_t first, generation;
        assert_true(wal_file_parse(name, &first, &generation));
        assert_true(bytes >= sizeof(WalSegmentHeader));
        ((Scan *)ctx)->files++;
        return ST_OK;
}

static Status scan_frame(void *ctx, const WalFrame *frame, const char *name, uint64_t offset)
{
        Scan *scan = ctx;
        uint8_t body[4096];
        assert_int_equal(frame->position, scan->next);
        assert_int_equal(frame->body.size, body_of(frame->position, body));
        assert_true(frame->wall_us >= scan->wall_us);
        assert_true(offset >= sizeof(WalSegmentHeader));
        scan->wall_us = frame->wall_us;
        scan->next++;
        scan->frames++;
        return ST_OK;
}

static Status scan_problem_seen(void *ctx, const char *text)
{
        Scan *scan = ctx;
        assert_non_null(strstr(text, "log"));
        scan->problems++;
        scan->next = 0;
        return ST_OK;
}

static WalScanResult scan_all(OsDir *dir, uint64_t after, Scan *scan)
{
        WalScan calls = {.ctx = scan, .file = scan_file, .frame = scan_frame, .problem = scan_problem_seen};
        WalScanResult result;
        scan->next = after + 1;
        OK(wal_scan(dir, after, &calls, &result));
        assert_int_equal(result.frame_count, scan->frames);
        assert_int_equal(result.problem_count, scan->problems);
        return result;
}

static void test_archive(void **state)
{
        Log log;
        Scan scan = {0};
        OsDir *archive;
        uint64_t first, generation;
        log_new(&log, 9000);
        OK(os_dir_open(sim_os(log.sim), "archive", OS_DIR_CREATE, &archive));
        log.options.archive = archive;
        OK(log_open(&log, 0));
        assert_false(wal_file_parse("00000000000000000001-0000000001.log.tmp", &first, &generation));
        for (int i = 0; i < 20; i++) {
                append(&log, 7);
                OK(wal_sync(log.wal, wal_last(log.wal)));
        }
        OK(wal_cut(log.wal, 70));
        WalScanResult result = scan_all(archive, 0, &scan);
        assert_int_equal(result.first_position, 1);
        assert_true(result.last_position <= 70 && result.last_position > 60);
        /* The archive is not writable for a while: nothing is lost, and nothing removed. */
        uint64_t bytes = wal_bytes(log.wal);
        sim_fail_nth(log.sim, 2, SIM_FAIL_NO_SPACE);
        FAILS(ERR_NO_SPACE, wal_cut(log.wal, 140));
        assert_int_equal(wal_bytes(log.wal), bytes);
        sim_heal(log.sim);
        sim_fail_nth(log.sim, 0, SIM_FAIL_ONCE);
        OK(wal_cut(log.wal, 140));
        assert_int_equal(wal_bytes(log.wal), 0);
        scan = (Scan){0};
        result = scan_all(archive, 0, &scan);
        assert_int_equal(result.last_position, 140);
        assert_int_equal(scan.frames, 140);
        generation = wal_generation(log.wal);
        OK(wal_close(log.wal));
        /* Numbers go on although no file is left to say so, and the archive goes on with them. */
        log.options.generation = generation;
        OK(log_open(&log, 140));
        append(&log, 3);
        OK(wal_sync(log.wal, 143));
        assert_true(wal_generation(log.wal) > generation);
        OK(wal_cut(log.wal, 143));
        OK(wal_close(log.wal));
        scan = (Scan){0};
        result = scan_all(archive, 100, &scan);
        assert_int_equal(scan.frames, 43);
        assert_int_equal(result.last_position, 143);
        os_dir_close(archive);
        log_done(&log);
}

static void to_position(Log *log, uint64_t position, int64_t wall_us)
{
        log->options.recover_to = (StoreMoment){position, wall_us};
}

/* Opens up to a moment and forgets the rest. */
static Status recover_to(Log *log, uint64_t after)
{
        log->expected = after + 1;
        log->replayed = 0;
        TRY(wal_open(log->dir, &log->options, after, &log->wal));
        Status st = wal_replay(log->wal, after, replay, log);
        if (!st)
                st = wal_forget(log->wal);
        if (!st)
                st = wal_start(log->wal);
        if (st)
                status_ignore(wal_close(take(log->wal)));
        return st;
}

static void fill_by_the_minute(Log *log)
{
        log_new(log, 7000);
        OK(log_open(log, 0));
        for (int64_t minute = 1; minute <= 10; minute++) {
                sim_set_wall_us(log->sim, minute * 60000000);
                append(log, 5);
                if (minute != 10)
                        OK(wal_sync(log->wal, wal_last(log->wal)));
        }
        sim_set_wall_us(log->sim, 1); /* the clock is put back: frames do not descend */
        append(log, 1);
        OK(wal_close(log->wal));
}

static void test_recover_to(void **state)
{
        Log log;
        fill_by_the_minute(&log);
        to_position(&log, 52, 0);
        FAILS(ERR_NOT_FOUND, recover_to(&log, 0));
        to_position(&log, 0, 11 * 60000000ll);
        Status st = recover_to(&log, 0);
        assert_int_equal(status_code(st), ERR_NOT_FOUND);
        assert_non_null(strstr(status_message(st), "commit 51"));
        status_free(st);
        to_position(&log, 0, 10 * 60000000ll);
        OK(recover_to(&log, 0));
        assert_int_equal(wal_last(log.wal), 51);
        OK(wal_close(log.wal));
        to_position(&log, 0, 7 * 60000000ll + 5);
        OK(recover_to(&log, 10));
        assert_int_equal(log.replayed, 25);
        assert_int_equal(wal_last(log.wal), 35);
        assert_int_equal(wal_durable(log.wal), 35);
        append(&log, 2);
        assert_int_equal(wal_last_wall_us(log.wal), 7 * 60000000ll);
        OK(wal_close(log.wal));
        to_position(&log, 0, 0);
        OK(log_open(&log, 35)); /* the segment with 35 went with what was behind it */
        assert_int_equal(log.replayed, 2);
        OK(wal_close(log.wal));
        log_done(&log);

        /* The power goes at every call: it can be done again, and without doing it the log is a beginning of what it
         * was. */
        for (long n = 1, fired = 1; fired; n++) {
                fill_by_the_minute(&log);
                to_position(&log, n % 2 ? 17 : 0, 4 * 60000000ll - 1);
                uint64_t last = n % 2 ? 17 : 15;
                sim_fail_nth(log.sim, n, SIM_FAIL_POWER);
                st = recover_to(&log, 0);
                fired = sim_fired(log.sim);
                if (!st) {
                        assert_int_equal(wal_last(log.wal), last);
                        status_ignore(wal_close(log.wal));
                }
                os_dir_close(log.dir);
                sim_crash(log.sim, SIM_TEAR);
                OK(os_dir_open(sim_os(log.sim), "log", OS_DIR_EXISTING, &log.dir));
                if (n % 3 == 0 && st) {
                        to_position(&log, 0, 0);
                        OK(log_open(&log, last));
                        assert_true(wal_last(log.wal) >= last && wal_last(log.wal) <= 51);
                } else if (st) {
                        /* The caller has all up to there in files. All is gone that came later, or it is found again.
                         */
                        Status again = recover_to(&log, last);
                        if (status_code(again) == ERR_NOT_FOUND) {
                                status_ignore(again);
                                to_position(&log, 0, 0);
                                again = log_open(&log, last);
                        }
                        OK(again);
                        assert_int_equal(wal_last(log.wal), last);
                }
                if (st) {
                        append(&log, 1);
                        OK(wal_close(log.wal));
                }
                status_ignore(st);
                log_done(&log);
        }
}

static void test_scan(void **state)
{
        Log log;
        Scan scan = {0};
        char path[128];
        log_new(&log, 7000);
        OK(log_open(&log, 0));
        for (int i = 0; i < 10; i++) {
                append(&log, 6);
                OK(wal_sync(log.wal, wal_last(log.wal)));
        }
        append(&log, 1);
        WalScanResult result = scan_all(log.dir, 0, &scan); /* beside the process that writes it */
        assert_int_equal(result.first_position, 1);
        assert_int_equal(result.last_position, 60);
        assert_int_equal(result.torn_bytes, 0);
        assert_int_equal(scan.files, result.file_count);
        crash(&log, SIM_KEEP);
        scan = (Scan){0};
        result = scan_all(log.dir, 57, &scan);
        assert_int_equal(scan.frames, 4);
        assert_true(scan.files < result.file_count);
        /* Damage in the middle: said, and what is behind it is read all the same. */
        uint64_t first = 1;
        for (uint64_t generation = 3; first == 1; generation++) {
                WalSegment segment = {.generation = generation};
                for (segment.first = 2; segment.first < 61 && first == 1; segment.first++) {
                        OsFile *file;
                        wal_segment_name(&segment, path);
                        Status st = os_file_open(log.dir, path, OS_READ, &file);
                        if (!st) {
                                os_file_close(file);
                                first = segment.first;
                        } else {
                                status_ignore(st);
                        }
                }
        }
        char full[160];
        snprintf(full, sizeof(full), "log/%s", path);
        OK(sim_flip_bit(log.sim, full, sizeof(WalSegmentHeader) + 36, 1));
        scan = (Scan){0};
        WalScan calls = {.ctx = &scan, .problem = scan_problem_seen};
        OK(wal_scan(log.dir, 0, &calls, &result));
        assert_int_equal(result.problem_count, 1);
        assert_int_equal(result.last_position, 61);
        OK(sim_flip_bit(log.sim, full, sizeof(WalSegmentHeader) + 36, 1));
        OK(sim_flip_bit(log.sim, full, 30, 1)); /* a header */
        OK(wal_scan(log.dir, 0, &calls, &result));
        assert_true(result.problem_count >= 1);
        log_done(&log);
}

/* --- with the thread, on the machine's disk --- */

typedef struct Group {
        Wal *wal;
        Mutex mu; /* the caller's order of appends */
        atomic_uint failures;
} Group;

enum { WRITERS = 8, EACH = 100 };

static void group_writer(void *arg)
{
        Group *group = arg;
        uint8_t body[4096];
        for (int i = 0; i < EACH; i++) {
                uint64_t position;
                mutex_lock(&group->mu);
                Status st = wal_append(group->wal, BYTES(body, body_of(wal_last(group->wal) + 1, body)), &position);
                mutex_unlock(&group->mu);
                if (!st && i % 4)
                        st = wal_sync(group->wal, position);
                if (st || (i % 4 && wal_durable(group->wal) < position))
                        atomic_fetch_add(&group->failures, 1);
                status_ignore(st);
        }
}

static void test_group_commit(void **state)
{
        Log log = {
                .options = {
                        .segment_bytes = 100000, .tail_max_bytes = 16 << 10, .soft_sync_ms = 30, .background = true}};
        Group group = {0};
        Thread threads[WRITERS];
        OK(sim_new(1, &log.sim));
        OK(os_dir_open(sim_os(log.sim), "log", OS_DIR_CREATE, &log.dir));
        OK(log_open(&log, 0));
        group.wal = log.wal;
        mutex_init(&group.mu);
        for (int i = 0; i < WRITERS; i++)
                OK(thread_start(&threads[i], "writer", group_writer, &group));
        for (int i = 0; i < WRITERS; i++)
                thread_join(&threads[i]);
        assert_int_equal(atomic_load(&group.failures), 0);
        WalStats stats;
        wal_stats(log.wal, &stats);
        assert_int_equal(wal_last(log.wal), WRITERS * EACH);
        assert_true(stats.sync_count <= WRITERS * EACH);
        append(&log, 1); /* a soft one: durable without anybody asking */
        Cond nobody;
        cond_init(&nobody);
        mutex_lock(&group.mu);
        for (int i = 0; i < 500 && wal_durable(log.wal) < wal_last(log.wal); i++)
                cond_wait_for(&nobody, &group.mu, 10000000);
        mutex_unlock(&group.mu);
        cond_done(&nobody);
        assert_int_equal(wal_durable(log.wal), WRITERS * EACH + 1);
        /* The device fails under the thread: waiters are told; then it recovers. */
        sim_fail_nth(log.sim, 1, SIM_FAIL_FOREVER);
        append(&log, 1);
        Status st = wal_sync(log.wal, wal_last(log.wal));
        assert_int_equal(status_code(st), ERR_IO);
        status_free(st);
        sim_fail_nth(log.sim, 0, SIM_FAIL_ONCE);
        sim_heal(log.sim);
        OK(wal_close(log.wal));
        OK(log_open(&log, 0));
        assert_int_equal(log.replayed, WRITERS * EACH + 2);
        OK(wal_close(log.wal));
        mutex_done(&group.mu);
        log_done(&log);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_append_and_replay),
                cmocka_unit_test(test_cut),
                cmocka_unit_test(test_damage_or_torn),
                cmocka_unit_test(test_newer_format),
                cmocka_unit_test(test_failure_and_recovery),
                cmocka_unit_test(test_group_commit),
                cmocka_unit_test(test_archive),
                cmocka_unit_test(test_recover_to),
                cmocka_unit_test(test_scan),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
