/* os_test.c - one suite for both bodies of os.h: the real disk (in a temporary directory) and the simulated one. */
#include "os/os.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "os/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

typedef struct World {
        Os *os;
        SimOs *sim;
        char root[64];
        OsDir *dir;
} World;

static int begin_posix(void **state)
{
        World *world = calloc(1, sizeof *world);
        world->os = os_posix();
        strcpy(world->root, "/tmp/photon-os-test-XXXXXX");
        if (!mkdtemp(world->root) || os_dir_open(world->os, world->root, OS_DIR_EXISTING, &world->dir))
                return -1;
        *state = world;
        return 0;
}

static int begin_sim(void **state)
{
        World *world = calloc(1, sizeof *world);
        if (sim_new(1, &world->sim))
                return -1;
        world->os = sim_os(world->sim);
        strcpy(world->root, "/data");
        *state = world;
        return os_dir_open(world->os, world->root, OS_DIR_CREATE, &world->dir) ? -1 : 0;
}

static Status remove_name(void *ctx, const char *name)
{
        OsDir *sub = NULL;
        Status st = os_dir_open_sub(ctx, name, OS_DIR_READ, &sub);
        if (!st) {
                status_ignore(os_dir_list(sub, remove_name, sub));
                os_dir_close(sub);
        }
        status_ignore(st); /* a file */
        status_ignore(os_dir_remove(ctx, name));
        return ST_OK;
}

static int end(void **state)
{
        World *world = *state;
        if (!world->sim) {
                status_ignore(os_dir_list(world->dir, remove_name, world->dir));
                rmdir(world->root);
        }
        os_dir_close(world->dir);
        sim_free(world->sim);
        free(world);
        return 0;
}

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

static void check_whole(OsDir *dir, const char *name, const char *expected)
{
        Buf buf;
        buf_init(&buf, 1 << 20);
        ok(os_read_whole(dir, name, 1 << 20, &buf));
        assert_int_equal(buf.size, strlen(expected));
        assert_memory_equal(buf.data ? (char *)buf.data : "", expected, buf.size);
        buf_done(&buf);
}

static void test_files(void **state)
{
        World *world = *state;
        OsFile *file;
        uint64_t size;
        size_t got;
        char data[32];
        fails(os_file_open(world->dir, "a", OS_READ, &file), ERR_NOT_FOUND);
        fails(os_file_open(world->dir, "a", OS_WRITE, &file), ERR_NOT_FOUND);
        fails(os_file_open(world->dir, "a", OS_READ | OS_CREATE, &file), ERR_INVALID);
        fails(os_file_open(world->dir, "a", 0, &file), ERR_INVALID);
        ok(os_file_open(world->dir, "a", OS_READ | OS_WRITE | OS_CREATE | OS_EXCLUSIVE, &file));
        ok(os_file_size(file, &size));
        assert_int_equal(size, 0);
        ok(os_file_write_at(file, 4, "world", 5)); /* leaves a hole of zeros */
        ok(os_file_write_at(file, 0, NULL, 0));
        ok(os_file_read_at(file, 0, data, sizeof data, &got));
        assert_int_equal(got, 9);
        assert_memory_equal(data, "\0\0\0\0world", 9);
        ok(os_file_read_at(file, 100, data, sizeof data, &got));
        assert_int_equal(got, 0);
        ok(os_file_read_at(file, 5, data, 3, &got));
        assert_int_equal(got, 3);
        assert_memory_equal(data, "orl", 3);
        ok(os_file_truncate(file, 6));
        ok(os_file_truncate(file, 8));
        ok(os_file_read_at(file, 0, data, sizeof data, &got));
        assert_int_equal(got, 8);
        assert_memory_equal(data, "\0\0\0\0wo\0\0", 8);
        ok(os_file_sync(file));
        fails(os_file_write_at(file, UINT64_MAX, "x", 1), ERR_INVALID);
        fails(os_file_read_at(file, INT64_MAX, data, 1, &got), ERR_INVALID);
        fails(os_file_truncate(file, UINT64_MAX), ERR_INVALID);
        os_file_close(file);
        fails(os_file_open(world->dir, "a", OS_WRITE | OS_CREATE | OS_EXCLUSIVE, &file), ERR_EXISTS);
        ok(os_file_open(world->dir, "a", OS_READ, &file));
        fails(os_file_write_at(file, 0, "x", 1), ERR_IO);
        os_file_close(file);
        ok(os_file_open(world->dir, "a", OS_WRITE | OS_TRUNCATE, &file));
        fails(os_file_read_at(file, 0, data, 1, &got), ERR_IO);
        ok(os_file_size(file, &size));
        assert_int_equal(size, 0);
        os_file_close(file);
        assert_null(os_file_close(NULL));
        assert_null(os_dir_close(NULL));
}

static Status add_name(void *ctx, const char *name)
{
        TRY(buf_append_str(ctx, name));
        return buf_append_byte(ctx, ' ');
}

static Status stop_at_once(void *ctx, const char *name)
{
        return status_new(ERR_CANCELLED, "%s", name);
}

static void test_names(void **state)
{
        World *world = *state;
        static const char *const bad[] = {"", ".", "..", "a/b", "/"};
        OsFile *file;
        OsDir *sub;
        char longest[300];
        memset(longest, 'n', sizeof longest);
        longest[256] = '\0';
        fails(os_file_open(world->dir, longest, OS_READ, &file), ERR_INVALID);
        for (size_t i = 0; i < ELEMENTS(bad); i++) {
                fails(os_file_open(world->dir, bad[i], OS_READ, &file), ERR_INVALID);
                fails(os_dir_open_sub(world->dir, bad[i], OS_DIR_CREATE, &sub), ERR_INVALID);
                fails(os_dir_remove(world->dir, bad[i]), ERR_INVALID);
                fails(os_dir_rename(world->dir, "a", bad[i]), ERR_INVALID);
        }
        fails(os_dir_open(world->os, "", OS_DIR_CREATE, &sub), ERR_INVALID);
        ok(os_write_whole(world->dir, "a", "1", 1));
        ok(os_write_whole(world->dir, "b", "22", 2));
        ok(os_dir_rename(world->dir, "a", "c"));
        fails(os_dir_rename(world->dir, "a", "c"), ERR_NOT_FOUND);
        ok(os_dir_rename(world->dir, "c", "b")); /* replaces */
        ok(os_dir_rename(world->dir, "b", "b"));
        check_whole(world->dir, "b", "1");
        Buf names;
        buf_init(&names, 1000);
        ok(os_dir_list(world->dir, add_name, &names));
        assert_int_equal(names.size, 2);
        assert_memory_equal(names.data, "b ", 2);
        buf_done(&names);
        fails(os_dir_list(world->dir, stop_at_once, NULL), ERR_CANCELLED);
        /* an open file outlives its name */
        char data[4];
        size_t got;
        ok(os_file_open(world->dir, "b", OS_READ, &file));
        ok(os_dir_remove(world->dir, "b"));
        fails(os_dir_remove(world->dir, "b"), ERR_NOT_FOUND);
        ok(os_file_read_at(file, 0, data, 4, &got));
        assert_int_equal(got, 1);
        os_file_close(file);
        ok(os_dir_sync(world->dir));
        uint64_t bytes = 0;
        ok(os_dir_free_bytes(world->dir, &bytes));
        assert_true(bytes > 0);
}

static void test_directories(void **state)
{
        World *world = *state;
        OsDir *sub, *again;
        OsFile *file;
        char path[200];
        fails(os_dir_open_sub(world->dir, "sub", OS_DIR_EXISTING, &sub), ERR_NOT_FOUND);
        ok(os_dir_open_sub(world->dir, "sub", OS_DIR_CREATE, &sub));
        assert_ptr_equal(os_dir_os(sub), world->os);
        snprintf(path, sizeof path, "%s/sub", world->root);
        assert_string_equal(os_dir_path(sub), path);
        ok(os_write_whole(sub, "f", "in sub", 6));
        snprintf(path, sizeof path, "%s//sub/./", world->root);
        ok(os_dir_open(world->os, path, OS_DIR_EXISTING, &again));
        check_whole(again, "f", "in sub");
        os_dir_close(again);
        ok(os_dir_open(world->os, path, OS_DIR_CREATE, &again)); /* there already */
        os_dir_close(again);
        ok(os_dir_open(world->os, path, OS_DIR_READ, &again));
        os_dir_close(again);
        snprintf(path, sizeof path, "%s/none/deeper", world->root);
        fails(os_dir_open(world->os, path, OS_DIR_CREATE, &again), ERR_NOT_FOUND); /* only the last component */
        snprintf(path, sizeof path, "%s/fresh/", world->root);
        fails(os_dir_open(world->os, path, OS_DIR_EXISTING, &again), ERR_NOT_FOUND);
        ok(os_dir_open(world->os, path, OS_DIR_CREATE, &again));
        assert_int_not_equal(os_dir_path(again)[strlen(os_dir_path(again)) - 1], '/');
        os_dir_close(again);
        fails(os_file_open(world->dir, "sub", OS_READ, &file), ERR_INVALID);
        fails(os_file_open(world->dir, "sub", OS_WRITE, &file), ERR_INVALID);
        ok(os_write_whole(world->dir, "file", "", 0));
        check_whole(world->dir, "file", "");
        fails(os_dir_open_sub(world->dir, "file", OS_DIR_CREATE, &again), ERR_IO);
        fails(os_dir_remove(world->dir, "sub"), ERR_IO); /* not empty */
        ok(os_dir_remove(sub, "f"));
        os_dir_close(sub);
        ok(os_dir_remove(world->dir, "sub"));
}

static void test_whole(void **state)
{
        World *world = *state;
        Buf buf;
        buf_init(&buf, 100);
        fails(os_read_whole(world->dir, "x", 100, &buf), ERR_NOT_FOUND);
        ok(os_write_whole(world->dir, "x", "old content", 11));
        ok(os_write_whole(world->dir, "x", "new", 3));
        ok(buf_append_str(&buf, "before "));
        ok(os_read_whole(world->dir, "x", 3, &buf));
        assert_int_equal(buf.size, 10);
        assert_memory_equal(buf.data, "before new", 10);
        fails(os_read_whole(world->dir, "x", 2, &buf), ERR_LIMIT);
        assert_int_equal(buf.size, 10);
        buf_done(&buf);
        char name[300];
        memset(name, 'x', sizeof name);
        name[252] = '\0';
        fails(os_write_whole(world->dir, name, "", 0), ERR_INVALID);
        name[251] = '\0';
        ok(os_write_whole(world->dir, name, "long", 4));
        check_whole(world->dir, name, "long");
        fails(os_write_whole(world->dir, "a/b", "", 0), ERR_INVALID);
}

static void test_lock(void **state)
{
        World *world = *state;
        OsDir *other;
        ok(os_dir_open(world->os, world->root, OS_DIR_EXISTING, &other));
        ok(os_dir_lock(world->dir, "lock"));
        ok(os_dir_lock(world->dir, "second")); /* several locks of one directory */
        Status st = os_dir_lock(other, "lock");
        assert_int_equal(status_code(st), ERR_BUSY);
        if (!world->sim) {
                char expected[200];
                snprintf(expected, sizeof expected, "directory %s is in use by process %ld", world->root,
                         (long)getpid());
                assert_string_equal(status_message(st), expected);
        }
        status_ignore(st);
        os_dir_close(world->dir);
        world->dir = other;
        ok(os_dir_lock(other, "lock"));
        if (world->sim)
                return;
        /* held by a process that dies */
        os_dir_close(world->dir);
        pid_t pid = fork();
        if (pid == 0) {
                OsDir *held = NULL;
                Status child = os_dir_open(world->os, world->root, OS_DIR_EXISTING, &held);
                if (!child)
                        child = os_dir_lock(held, "lock");
                _exit(child ? 1 : 0); /* without closing */
        }
        int status;
        waitpid(pid, &status, 0);
        assert_int_equal(status, 0);
        ok(os_dir_open(world->os, world->root, OS_DIR_EXISTING, &world->dir));
        ok(os_dir_lock(world->dir, "lock"));
}

/* Whoever only reads is kept out, keeps out, and leaves no trace. */
static void test_lock_existing(void **state)
{
        World *world = *state;
        OsDir *other;
        bool locked = true;
        ok(os_dir_open(world->os, world->root, OS_DIR_READ, &other));
        ok(os_dir_lock_existing(other, "lock", &locked));
        assert_false(locked);
        fails(os_dir_remove(other, "lock"), ERR_NOT_FOUND);
        ok(os_dir_lock(world->dir, "lock"));
        fails(os_dir_lock_existing(other, "lock", &locked), ERR_BUSY);
        assert_false(locked);
        os_dir_close(world->dir);
        ok(os_dir_lock_existing(other, "lock", &locked));
        assert_true(locked);
        ok(os_dir_open(world->os, world->root, OS_DIR_EXISTING, &world->dir));
        fails(os_dir_lock(world->dir, "lock"), ERR_BUSY);
        os_dir_close(other);
        ok(os_dir_lock(world->dir, "lock"));
}

/* The nth allocation fails: an error or success, no leak, and the machine goes on. */
static void test_without_memory(void **state)
{
        World *world = *state;
        ok(os_write_whole(world->dir, "f", "old", 3));
        for (int n = 1, fired = 1; fired; n++) {
                OsDir *sub = NULL, *again = NULL;
                mem_fail_nth(n);
                Status st = os_dir_open_sub(world->dir, "sub", OS_DIR_CREATE, &sub);
                if (!st)
                        st = os_dir_open(world->os, world->root, OS_DIR_CREATE, &again);
                if (!st)
                        st = os_dir_lock(sub, "lock");
                if (!st)
                        st = os_write_whole(sub, "f", "new", 3);
                if (!st)
                        st = os_dir_list(sub, stop_at_once, NULL);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                if (fired)
                        assert_int_equal(status_code(st), ERR_NOMEM);
                else
                        assert_int_equal(status_code(st), ERR_CANCELLED);
                status_ignore(st);
                os_dir_close(again);
                os_dir_close(sub);
        }
        check_whole(world->dir, "f", "old");
}

static void test_clock_and_random(void **state)
{
        World *world = *state;
        int64_t wall = os_wall_us(world->os), mono = os_mono_ns(world->os);
        assert_true(wall > INT64_C(1577836800000000)); /* 2020 */
        if (world->sim)
                sim_advance_ns(world->sim, 5000);
        assert_true(os_wall_us(world->os) >= wall);
        assert_true(os_mono_ns(world->os) >= mono);
        uint8_t a[1000] = {0}, b[1000] = {0};
        ok(os_random(world->os, a, sizeof a));
        ok(os_random(world->os, b, sizeof b));
        assert_memory_not_equal(a, b, 16);
        assert_memory_not_equal(a + 984, b + 984, 16);
        ok(os_random(world->os, a, 0));
}

/* What only the real machine has. */
static void test_real_oddities(void **state)
{
        World *world = *state;
        char path[200];
        OsFile *file;
        OsDir *dir;
        snprintf(path, sizeof path, "%s/fifo", world->root);
        assert_int_equal(mkfifo(path, 0600), 0);
        fails(os_file_open(world->dir, "fifo", OS_READ, &file), ERR_INVALID); /* and does not hang */
        ok(os_dir_remove(world->dir, "fifo"));
        snprintf(path, sizeof path, "%s/closed", world->root);
        assert_int_equal(mkdir(path, 0500), 0);
        if (geteuid() != 0) { /* root may write everywhere */
                fails(os_dir_open(world->os, path, OS_DIR_EXISTING, &dir), ERR_ACCESS);
                fails(os_dir_open(world->os, path, OS_DIR_CREATE, &dir), ERR_ACCESS);
        }
        ok(os_dir_open(world->os, path, OS_DIR_READ, &dir));
        os_dir_close(dir);
        assert_int_equal(chdir(world->root), 0); /* relative paths, whose parent is "." */
        ok(os_dir_open(world->os, "relative", OS_DIR_CREATE, &dir));
        os_dir_close(dir);
        ok(os_dir_open(world->os, "./relative/", OS_DIR_CREATE, &dir));
        os_dir_close(dir);
        ok(os_dir_open(world->os, "/", OS_DIR_READ, &dir));
        os_dir_close(dir);
        assert_int_equal(chdir("/"), 0);
}

#define BOTH(test)                                                                                                     \
        cmocka_unit_test_setup_teardown(test, begin_posix, end), cmocka_unit_test_setup_teardown(test, begin_sim, end)
int main(void)
{
        const struct CMUnitTest tests[] = {
                BOTH(test_files),
                BOTH(test_names),
                BOTH(test_directories),
                BOTH(test_whole),
                BOTH(test_lock),
                BOTH(test_lock_existing),
                BOTH(test_without_memory),
                BOTH(test_clock_and_random),
                cmocka_unit_test_setup_teardown(test_real_oddities, begin_posix, end),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
