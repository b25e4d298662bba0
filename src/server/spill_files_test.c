/* spill_files_test.c - temporary files on a simulated disk: gone when closed, bounded, and whatever fails says so. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/mem.h"
#include "os/sim.h"
#include "server/spill_files.h"

static Status count_name(void *ctx, const char *name)
{
        ++*(int *)ctx;
        return ST_OK;
}

static int names_in(Os *os, const char *path)
{
        _cleanup_(os_dir_closep) OsDir *dir = NULL;
        int count = 0;
        OK(os_dir_open(os, path, OS_DIR_EXISTING, &dir));
        OK(os_dir_list(dir, count_name, &count));
        return count;
}

static SimOs *new_sim(void)
{
        SimOs *sim;
        _cleanup_(os_dir_closep) OsDir *dir = NULL;
        OK(sim_new(1, &sim));
        OK(os_dir_open(sim_os(sim), "data", OS_DIR_CREATE, &dir));
        return sim;
}

static void test_write_read_close(void **state)
{
        SimOs *sim = new_sim();
        SpillFiles *files;
        SpillFile *a, *b;
        SpillFilesStats stats;
        char got[8] = "";
        OK(spill_files_open(sim_os(sim), "data", 1000, &files));
        const SpillOps *ops = spill_files_ops(files);
        OK(ops->create(ops->ctx, &a));
        OK(ops->create(ops->ctx, &b));
        assert_int_equal(names_in(sim_os(sim), "data/tmp"), 0); /* nobody else can open them */
        OK(ops->append(a, "abc", 3));
        OK(ops->append(b, "12345", 5));
        OK(ops->append(a, "def", 3));
        OK(ops->read_at(a, 1, got, 4));
        assert_string_equal(got, "bcde");
        OK(ops->read_at(b, 0, got, 5));
        assert_string_equal(got, "12345");
        Status st = ops->read_at(a, 4, got, 3);
        assert_int_equal(status_code(st), ERR_OP_FAILED);
        assert_string_equal(status_message(st), "Cannot read a temporary file of the query in `data/tmp`: it ends at "
                                                "byte 6 and not behind 7");
        status_ignore(st);
        spill_files_stats(files, &stats);
        assert_int_equal(stats.files, 2);
        assert_int_equal(stats.bytes, 11);
        ops->close(a);
        spill_files_stats(files, &stats);
        assert_int_equal(stats.files, 1);
        assert_int_equal(stats.bytes, 5);
        assert_int_equal(stats.bytes_total, 11);
        assert_int_equal(stats.files_total, 2);
        ops->close(b);
        spill_files_close(files);
        sim_free(sim);
}

static void expect_message(Status st, StatusCode code, const char *part)
{
        assert_int_equal(status_code(st), code);
        if (!strstr(status_message(st), part))
                fail_msg("%s", status_message(st));
        status_ignore(st);
}

static void test_limits(void **state)
{
        SimOs *sim = new_sim();
        SpillFiles *files;
        SpillFile *a, *b;
        SpillFilesStats stats;
        uint8_t block[400] = {1};
        OK(spill_files_open(sim_os(sim), "data", 1000, &files));
        const SpillOps *ops = spill_files_ops(files);
        OK(ops->create(ops->ctx, &a));
        OK(ops->create(ops->ctx, &b));
        OK(ops->append(a, block, 400));
        OK(ops->append(b, block, 400));
        expect_message(ops->append(a, block, 400), ERR_RESOURCE,
                       "the 1000 bytes that they may have (`--spill-max`) in `data/tmp`");
        ops->close(b);
        OK(ops->append(a, block, 400)); /* there is room again */
        ops->close(a);
        /* a full disk; what was written is given back */
        sim_disk_limit(sim, 600);
        OK(ops->create(ops->ctx, &a));
        OK(ops->append(a, block, 400));
        expect_message(ops->append(a, block, 400), ERR_RESOURCE, "The disk is full");
        ops->close(a);
        spill_files_stats(files, &stats);
        assert_int_equal(stats.bytes, 0);
        OK(ops->create(ops->ctx, &a));
        OK(ops->append(a, block, 400));
        ops->close(a);
        spill_files_close(files);
        /* a half of what is free, unless told otherwise */
        sim_disk_limit(sim, 600);
        OK(spill_files_open(sim_os(sim), "data", 0, &files));
        spill_files_stats(files, &stats);
        assert_int_equal(stats.max_bytes, 300);
        spill_files_close(files);
        sim_free(sim);
}

static void use(Os *os, bool *ret_clean)
{
        SpillFiles *files;
        SpillFile *file = NULL;
        char got[4];
        *ret_clean = false;
        Status st = spill_files_open(os, "data", 1000, &files);
        if (!st) {
                const SpillOps *ops = spill_files_ops(files);
                SpillFilesStats stats;
                st = ops->create(ops->ctx, &file);
                if (!st) {
                        st = ops->append(file, "abcd", 4);
                        if (!st)
                                st = ops->read_at(file, 0, got, 4);
                        ops->close(file);
                }
                spill_files_stats(files, &stats);
                assert_int_equal(stats.files, 0);
                assert_int_equal(stats.bytes, 0);
                spill_files_close(files);
        }
        *ret_clean = st == ST_OK;
        status_ignore(st);
}

/* The nth call fails, or the power goes: the next start finds an empty directory in the end. */
static void test_failing_calls(void **state)
{
        static const SimFailure ways[] = {SIM_FAIL_ONCE, SIM_FAIL_NO_SPACE, SIM_FAIL_POWER};
        for (size_t way = 0; way < ELEMENTS(ways); way++) {
                for (long n = 1, fired = 1; fired; n++) {
                        SimOs *sim = new_sim();
                        bool clean;
                        sim_fail_nth(sim, n, ways[way]);
                        use(sim_os(sim), &clean);
                        fired = sim_fired(sim);
                        assert_true(clean || fired);
                        sim_heal(sim);
                        sim_crash(sim, SIM_KEEP);
                        use(sim_os(sim), &clean);
                        assert_true(clean);
                        assert_int_equal(names_in(sim_os(sim), "data/tmp"), 0);
                        sim_free(sim);
                }
        }
}

static void test_failing_memory(void **state)
{
        for (long n = 1, fired = 1; fired; n++) {
                SimOs *sim = new_sim();
                bool clean;
                mem_fail_nth(n);
                use(sim_os(sim), &clean);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                assert_true(clean || fired);
                sim_free(sim);
        }
}

/* What a crash left between making a file and taking its name away. */
static void test_left_files(void **state)
{
        SimOs *sim = new_sim();
        Os *os = sim_os(sim);
        OsDir *data, *tmp;
        OK(os_dir_open(os, "data", OS_DIR_EXISTING, &data));
        OK(os_dir_open_sub(data, "tmp", OS_DIR_CREATE, &tmp));
        for (int i = 0; i < 5; i++) {
                char name[32];
                OsFile *file;
                snprintf(name, sizeof name, "spill-%d", i);
                OK(os_file_open(tmp, name, OS_WRITE | OS_CREATE, &file));
                os_file_close(file);
        }
        os_dir_close(tmp);
        os_dir_close(data);
        bool clean;
        use(os, &clean);
        assert_true(clean);
        assert_int_equal(names_in(os, "data/tmp"), 0);
        sim_free(sim);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_write_read_close), cmocka_unit_test(test_limits),
                cmocka_unit_test(test_failing_calls),    cmocka_unit_test(test_failing_memory),
                cmocka_unit_test(test_left_files),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
