/* sim_test.c - what a crash keeps, drops and tears; failures to order; the sweep of os_write_whole. */
#include "os/sim.h"

#include <stdio.h>

#include "os/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void ok(Status st)
{
        char text[300];
        if (st)
                fail_msg("%s", status_text(st, text, sizeof text));
}

static void fails(Status st, StatusCode code)
{
        assert_int_equal(status_code(st), code);
        status_ignore(st);
}

static SimOs *new_sim(uint64_t seed, OsDir **ret_dir)
{
        SimOs *sim;
        ok(sim_new(seed, &sim));
        ok(os_dir_open(sim_os(sim), "/data", OS_DIR_CREATE, ret_dir));
        return sim;
}

static void crash(SimOs *sim, SimCrash how, OsDir **dir)
{
        sim_crash(sim, how);
        os_dir_close(*dir);
        ok(os_dir_open(sim_os(sim), "/data", OS_DIR_EXISTING, dir));
}

static OsFile *create(OsDir *dir, const char *name)
{
        OsFile *file;
        ok(os_file_open(dir, name, OS_READ | OS_WRITE | OS_CREATE, &file));
        return file;
}

/* The content as text; "-" if there is no such file. */
static const char *content(OsDir *dir, const char *name)
{
        static char text[300];
        Buf buf;
        buf_init(&buf, sizeof text - 1);
        Status st = os_read_whole(dir, name, sizeof text - 1, &buf);
        if (st)
                assert_int_equal(status_code(st), ERR_NOT_FOUND);
        snprintf(text, sizeof text, "%.*s", (int)buf.size, buf.data ? (char *)buf.data : "");
        if (st)
                strcpy(text, "-");
        status_ignore(st);
        buf_done(&buf);
        return text;
}

static void test_drop(void **state)
{
        OsDir *dir;
        SimOs *sim = new_sim(1, &dir);
        OsFile *a = create(dir, "a"), *b = create(dir, "b"), *c = create(dir, "c");
        ok(os_file_write_at(a, 0, "synced", 6));
        ok(os_file_sync(a));
        ok(os_file_write_at(b, 0, "lost", 4));
        ok(os_dir_sync(dir)); /* the three names */
        ok(os_file_write_at(a, 6, " and not", 8));
        ok(os_file_truncate(a, 3));
        ok(os_file_write_at(c, 0, "c", 1));
        ok(os_file_sync(c));
        OsFile *d = create(dir, "d");
        ok(os_file_write_at(d, 0, "content without a name", 22));
        ok(os_file_sync(d));
        os_file_close(d);
        ok(os_dir_remove(dir, "c"));
        crash(sim, SIM_DROP, &dir);
        assert_string_equal(content(dir, "a"), "synced");
        assert_string_equal(content(dir, "b"), "");  /* the name was durable, the content was not */
        assert_string_equal(content(dir, "c"), "c"); /* the removal was not */
        assert_string_equal(content(dir, "d"), "-");
        uint64_t size;
        size_t got;
        char byte;
        fails(os_file_write_at(a, 0, "x", 1), ERR_CLOSED);
        fails(os_file_read_at(a, 0, &byte, 1, &got), ERR_CLOSED);
        fails(os_file_sync(b), ERR_CLOSED);
        fails(os_file_size(b, &size), ERR_CLOSED);
        fails(os_file_truncate(b, 0), ERR_CLOSED);
        os_file_close(a);
        os_file_close(b);
        os_file_close(c);
        /* renames */
        ok(os_write_whole(dir, "a", "second", 6));
        ok(os_dir_rename(dir, "a", "z"));
        crash(sim, SIM_DROP, &dir);
        assert_string_equal(content(dir, "a"), "second");
        assert_string_equal(content(dir, "z"), "-");
        ok(os_dir_rename(dir, "a", "z"));
        ok(os_dir_sync(dir));
        crash(sim, SIM_DROP, &dir);
        assert_string_equal(content(dir, "a"), "-");
        assert_string_equal(content(dir, "z"), "second");
        os_dir_close(dir);
        sim_free(sim);
}

static void test_old_directory_handle(void **state)
{
        OsDir *dir, *sub, *other;
        OsFile *file;
        uint64_t bytes;
        SimOs *sim = new_sim(1, &dir);
        ok(os_dir_open_sub(dir, "sub", OS_DIR_CREATE, &sub));
        ok(os_dir_lock(sub, "lock"));
        ok(os_dir_open_sub(dir, "sub", OS_DIR_EXISTING, &other));
        fails(os_dir_lock(other, "lock"), ERR_BUSY);
        os_dir_close(other);
        sim_crash(sim, SIM_KEEP);
        fails(os_dir_sync(sub), ERR_CLOSED);
        fails(os_dir_rename(sub, "a", "b"), ERR_CLOSED);
        fails(os_dir_remove(sub, "a"), ERR_CLOSED);
        fails(os_dir_list(sub, NULL, NULL), ERR_CLOSED);
        fails(os_dir_lock(sub, "a"), ERR_CLOSED);
        fails(os_dir_free_bytes(sub, &bytes), ERR_CLOSED);
        fails(os_file_open(sub, "a", OS_READ, &file), ERR_CLOSED);
        fails(os_dir_open_sub(dir, "sub", OS_DIR_CREATE, &other), ERR_CLOSED);
        ok(os_dir_open(sim_os(sim), "/data/sub", OS_DIR_EXISTING, &other));
        ok(os_dir_lock(other, "lock")); /* the dead do not hold it */
        os_dir_close(sub);              /* nor does closing them release it */
        ok(os_dir_open(sim_os(sim), "/data/sub", OS_DIR_EXISTING, &sub));
        fails(os_dir_lock(sub, "lock"), ERR_BUSY);
        os_dir_close(other);
        ok(os_dir_lock(sub, "lock"));
        os_dir_close(sub);
        os_dir_close(dir);
        sim_free(sim);
}

/* kill -9 keeps the page cache, and it is still only a cache. */
static void test_keep(void **state)
{
        OsDir *dir;
        SimOs *sim = new_sim(1, &dir);
        OsFile *a = create(dir, "a");
        ok(os_file_write_at(a, 0, "cached", 6));
        os_file_close(a);
        crash(sim, SIM_KEEP, &dir);
        assert_string_equal(content(dir, "a"), "cached");
        crash(sim, SIM_DROP, &dir);
        assert_string_equal(content(dir, "a"), "-");
        os_dir_close(dir);
        sim_free(sim);
}

/* Over many seeds every combination of whole, part and nothing appears for two writes, and nothing else does; names are
 * independent of content and of each other. */
static void test_tear(void **state)
{
        int whole = 0, none = 0, part = 0, second_only = 0, named = 0, renamed = 0;
        for (uint64_t seed = 0; seed < 300; seed++) {
                OsDir *dir;
                SimOs *sim = new_sim(seed, &dir);
                OsFile *a = create(dir, "a");
                ok(os_file_write_at(a, 0, "........", 8));
                ok(os_file_sync(a));
                ok(os_write_whole(dir, "old", "old", 3)); /* syncs the name of a too */
                ok(os_file_write_at(a, 0, "1111", 4));
                ok(os_file_write_at(a, 4, "2222", 4));
                os_file_close(a);
                os_file_close(create(dir, "new"));
                ok(os_dir_rename(dir, "old", "moved"));
                crash(sim, SIM_TEAR, &dir);
                const char *text = content(dir, "a");
                assert_int_equal(strlen(text), 8);
                size_t ones = strspn(text, "1"), twos = strspn(text + 4, "2");
                assert_int_equal(strspn(text + ones, "."), 4 - ones + (twos ? 0 : 4));
                assert_int_equal(strspn(text + 4 + twos, "."), 4 - twos);
                whole += ones == 4 && twos == 4;
                none += ones == 0 && twos == 0;
                part += ones > 0 && ones < 4;
                second_only += ones == 0 && twos == 4;
                bool old_there = strcmp(content(dir, "old"), "old") == 0;
                bool moved_there = strcmp(content(dir, "moved"), "old") == 0;
                assert_true(old_there != moved_there); /* a rename is atomic */
                renamed += moved_there;
                named += strcmp(content(dir, "new"), "") == 0;
                char before[20];
                snprintf(before, sizeof before, "%s", content(dir, "a"));
                crash(sim, SIM_DROP, &dir); /* what survived is durable */
                assert_string_equal(content(dir, "a"), before);
                os_dir_close(dir);
                sim_free(sim);
        }
        assert_true(whole > 10 && none > 10 && part > 10 && second_only > 10);
        assert_true(named > 50 && named < 250 && renamed > 50 && renamed < 250);
}

/* A file never gets two names and never keeps a name it lost for good, whichever renames are lost. */
static void test_tear_renames(void **state)
{
        for (uint64_t seed = 0; seed < 200; seed++) {
                OsDir *dir;
                SimOs *sim = new_sim(seed, &dir);
                ok(os_write_whole(dir, "a", "A", 1));
                ok(os_dir_rename(dir, "a", "b"));
                ok(os_dir_rename(dir, "b", "c"));
                ok(os_dir_rename(dir, "c", "d"));
                crash(sim, SIM_TEAR, &dir);
                int found = 0;
                for (char name[2] = "a"; name[0] <= 'd'; name[0]++)
                        found += strcmp(content(dir, name), "A") == 0;
                assert_int_equal(found, 1);
                os_dir_close(dir);
                sim_free(sim);
        }
}

static void test_failures(void **state)
{
        OsDir *dir;
        SimOs *sim = new_sim(5, &dir);
        OsFile *a = create(dir, "a");
        char data[100];
        size_t got;
        memset(data, 'x', sizeof data);
        sim_fail_nth(sim, 2, SIM_FAIL_ONCE);
        ok(os_file_write_at(a, 0, "0123456789", 10));
        fails(os_file_write_at(a, 10, data, 100), ERR_IO);
        assert_true(sim_fired(sim));
        assert_int_equal(sim_calls(sim), 2);
        uint64_t size;
        ok(os_file_size(a, &size));
        assert_true(size >= 10 && size <= 110); /* any prefix */
        ok(os_file_write_at(a, 10, data, 100));

        sim_fail_nth(sim, 2, SIM_FAIL_FOREVER);
        ok(os_file_read_at(a, 0, data, 1, &got));
        fails(os_file_read_at(a, 0, data, 1, &got), ERR_IO);
        ok(os_file_read_at(a, 0, data, 1, &got)); /* later only what changes something */
        fails(os_dir_rename(dir, "a", "b"), ERR_IO);
        fails(os_file_truncate(a, 0), ERR_IO);
        sim_heal(sim);
        ok(os_dir_rename(dir, "a", "b"));

        sim_fail_nth(sim, 1, SIM_FAIL_NO_SPACE);
        ok(os_file_sync(a));
        assert_false(sim_fired(sim));
        fails(os_file_write_at(a, 0, "x", 1), ERR_NO_SPACE);
        assert_true(sim_fired(sim));
        OsFile *other;
        fails(os_file_open(dir, "new", OS_WRITE | OS_CREATE, &other), ERR_NO_SPACE);
        assert_string_equal(content(dir, "new"), "-");
        ok(os_dir_remove(dir, "b")); /* removing helps, so it must work */
        sim_heal(sim);
        ok(os_file_write_at(a, 0, "x", 1));

        /* A sync that failed is not made good by another; the data may be gone though it can still be read. */
        sim_fail_nth(sim, 1, SIM_FAIL_ONCE);
        fails(os_file_sync(a), ERR_IO);
        fails(os_file_sync(a), ERR_IO);
        os_file_close(a);

        OsFile *c = create(dir, "c");
        sim_fail_nth(sim, 1, SIM_FAIL_POWER);
        fails(os_file_write_at(c, 0, "x", 1), ERR_CLOSED);
        fails(os_file_read_at(c, 0, data, 1, &got), ERR_CLOSED);
        fails(os_dir_sync(dir), ERR_CLOSED);
        sim_heal(sim); /* does not bring the power back */
        fails(os_file_size(c, &size), ERR_CLOSED);
        os_file_close(c);
        crash(sim, SIM_DROP, &dir);
        assert_true(sim_fired(sim));
        os_file_close(create(dir, "d"));
        os_dir_close(dir);
        sim_free(sim);
}

/* After a failed sync on one handle a new handle syncs without error, and still some of the data is gone for good. */
static void test_failed_sync_loses(void **state)
{
        int lost = 0, kept = 0;
        for (uint64_t seed = 0; seed < 50; seed++) {
                OsDir *dir;
                SimOs *sim = new_sim(seed, &dir);
                OsFile *a = create(dir, "a");
                ok(os_dir_sync(dir));
                ok(os_file_write_at(a, 0, "1234", 4));
                sim_fail_nth(sim, 1, SIM_FAIL_ONCE);
                fails(os_file_sync(a), ERR_IO);
                os_file_close(a);
                assert_string_equal(content(dir, "a"), "1234");
                a = create(dir, "a");
                ok(os_file_sync(a));
                os_file_close(a);
                crash(sim, SIM_DROP, &dir);
                size_t size = strlen(content(dir, "a"));
                lost += size == 0;
                kept += size == 4;
                os_dir_close(dir);
                sim_free(sim);
        }
        assert_true(lost > 5 && kept > 5);
}

static void test_disk_limit(void **state)
{
        OsDir *dir;
        SimOs *sim = new_sim(1, &dir);
        OsFile *a = create(dir, "a");
        sim_disk_limit(sim, 100);
        char data[80] = "";
        uint64_t size, free_bytes;
        ok(os_file_write_at(a, 0, data, 80));
        ok(os_file_write_at(a, 10, data, 70)); /* overwriting needs nothing */
        fails(os_file_write_at(a, 60, data, 80), ERR_NO_SPACE);
        ok(os_file_size(a, &size));
        assert_int_equal(size, 100);
        ok(os_dir_free_bytes(dir, &free_bytes));
        assert_int_equal(free_bytes, 0);
        ok(os_dir_remove(dir, "a"));
        ok(os_dir_free_bytes(dir, &free_bytes));
        assert_int_equal(free_bytes, 0); /* still open */
        os_file_close(a);
        ok(os_dir_free_bytes(dir, &free_bytes));
        assert_int_equal(free_bytes, 100);
        os_dir_close(dir);
        sim_free(sim);
}

static void test_flip_bit(void **state)
{
        OsDir *dir;
        SimOs *sim = new_sim(1, &dir);
        ok(os_write_whole(dir, "a", "abc", 3));
        ok(sim_flip_bit(sim, "/data/a", 1, 0));
        assert_string_equal(content(dir, "a"), "acc");
        crash(sim, SIM_DROP, &dir);
        assert_string_equal(content(dir, "a"), "acc");
        fails(sim_flip_bit(sim, "/data/a", 3, 0), ERR_INVALID);
        fails(sim_flip_bit(sim, "/data/none", 0, 0), ERR_NOT_FOUND);
        fails(sim_flip_bit(sim, "/none/a", 0, 0), ERR_NOT_FOUND);
        os_dir_close(dir);
        sim_free(sim);
}

/* The same seed and the same calls give the same machine. */
static void test_repeats(void **state)
{
        char first[100] = "";
        uint8_t random[2][8];
        for (int run = 0; run < 2; run++) {
                OsDir *dir;
                SimOs *sim = new_sim(77, &dir);
                OsFile *a = create(dir, "a");
                ok(os_dir_sync(dir));
                for (int i = 0; i < 8; i++)
                        ok(os_file_write_at(a, (uint64_t)i * 4, "abcd", 4));
                ok(os_random(sim_os(sim), random[run], 8));
                os_file_close(a);
                crash(sim, SIM_TEAR, &dir);
                const char *now = content(dir, "a");
                if (run == 0)
                        snprintf(first, sizeof first, "%s", now);
                else
                        assert_string_equal(now, first);
                os_dir_close(dir);
                sim_free(sim);
        }
        assert_memory_equal(random[0], random[1], 8);
}

/* STYLE §8's loop: whatever call fails, and however the machine dies after it, the file is the old one or the new one;
 * and after success it is the new one. */
static void test_write_whole_sweep(void **state)
{
        static const char old_text[] = "old content", new_text[] = "the new content, which is longer";
        for (int how = SIM_FAIL_ONCE; how <= SIM_FAIL_POWER; how++) {
                for (int end = SIM_DROP; end <= SIM_KEEP; end++) {
                        for (uint64_t seed = 0; seed < 200; seed++) {
                                for (int n = 1, fired = 1; fired; n++) {
                                        OsDir *dir;
                                        SimOs *sim = new_sim(seed, &dir);
                                        ok(os_write_whole(dir, "f", old_text, strlen(old_text)));
                                        sim_fail_nth(sim, n, how);
                                        Status st = os_write_whole(dir, "f", new_text, strlen(new_text));
                                        fired = sim_fired(sim);
                                        assert_true(fired || !st);
                                        crash(sim, end, &dir);
                                        const char *now = content(dir, "f");
                                        if (!st)
                                                assert_string_equal(now, new_text);
                                        else if (strcmp(now, old_text) && strcmp(now, new_text))
                                                fail_msg("failure %d of call %d, crash %d, seed %d: \"%s\"", how, n,
                                                         end, (int)seed, now);
                                        status_ignore(st);
                                        /* and the leftovers are in nobody's way */
                                        ok(os_write_whole(dir, "f", "third", 5));
                                        crash(sim, SIM_DROP, &dir);
                                        assert_string_equal(content(dir, "f"), "third");
                                        os_dir_close(dir);
                                        sim_free(sim);
                                        assert_true(n < 50);
                                }
                        }
                }
        }
}

/* Making a directory: after success it survives, whatever happens. */
static void test_create_sweep(void **state)
{
        for (int how = SIM_FAIL_ONCE; how <= SIM_FAIL_POWER; how++) {
                for (int n = 1, fired = 1; fired; n++) {
                        OsDir *dir, *sub = NULL;
                        SimOs *sim = new_sim((uint64_t)n, &dir);
                        sim_fail_nth(sim, n, how);
                        Status st = os_dir_open_sub(dir, "sub", OS_DIR_CREATE, &sub);
                        fired = sim_fired(sim);
                        os_dir_close(sub);
                        crash(sim, SIM_DROP, &dir);
                        sub = NULL;
                        if (!st)
                                ok(os_dir_open_sub(dir, "sub", OS_DIR_EXISTING, &sub));
                        status_ignore(st);
                        os_dir_close(sub);
                        os_dir_close(dir);
                        sim_free(sim);
                        assert_true(n < 20);
                }
        }
}

typedef struct Worker {
        Thread thread;
        OsDir *dir;
        char name[16];
} Worker;
static void work(void *arg)
{
        Worker *worker = arg;
        for (int i = 0; i < 50; i++)
                status_ignore(os_write_whole(worker->dir, worker->name, "x", 1));
}

static void test_threads(void **state)
{
        OsDir *dir;
        SimOs *sim = new_sim(1, &dir);
        Worker workers[3];
        for (int i = 0; i < 3; i++) {
                workers[i].dir = dir;
                snprintf(workers[i].name, sizeof workers[i].name, "f%d", i);
                ok(thread_start(&workers[i].thread, "writer", work, &workers[i]));
        }
        for (int i = 0; i < 3; i++) {
                thread_join(&workers[i].thread);
                assert_string_equal(content(dir, workers[i].name), "x");
        }
        os_dir_close(dir);
        sim_free(sim);
        assert_null(sim_free(NULL));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_drop),
                cmocka_unit_test(test_old_directory_handle),
                cmocka_unit_test(test_keep),
                cmocka_unit_test(test_tear),
                cmocka_unit_test(test_tear_renames),
                cmocka_unit_test(test_failures),
                cmocka_unit_test(test_failed_sync_loses),
                cmocka_unit_test(test_disk_limit),
                cmocka_unit_test(test_flip_bit),
                cmocka_unit_test(test_repeats),
                cmocka_unit_test(test_write_whole_sweep),
                cmocka_unit_test(test_create_sweep),
                cmocka_unit_test(test_threads),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
