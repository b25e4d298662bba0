/* backup_sweep_test.c - backup and restore with every file call and allocation failing, and the power going. */

#include "storage/backup_test.h"

/* --- failures --- */

/* Whatever is there of `path` is either recognisably not whole, or the right thing. */
static void expect_backup_or_not(World *world, bool must_be_whole)
{
        StoreBackupResult result;
        Status st = restore_to(world, "backup", NULL, 0, (StoreMoment){0}, &result);
        if (st) {
                assert_false(must_be_whole);
                assert_true(status_code(st) == ERR_CORRUPT || status_code(st) == ERR_NOT_FOUND);
                status_ignore(st);
                assert_false(dir_exists(world, "new"));
        } else {
                assert_int_equal(result.position, 20);
                expect_data(world, "new", 20);
        }
}

static void sweep_backup(SimFailure failure, bool crashes, SimCrash crash)
{
        long n = 1;
        for (long fired = 1; fired; n++) {
                World world;
                StoreBackupResult result;
                world_init(&world, (uint64_t)n, false);
                run_steps(&world, 1, 20);
                sim_fail_nth(world.sim, n, failure);
                Status st = store_backup(world.store, "backup", NULL, &result);
                bool whole = st == ST_OK;
                fired = sim_fired(world.sim);
                assert_true(whole || fired);
                status_ignore(st);
                if (crashes)
                        status_ignore(store_close(world.store));
                sim_fail_nth(world.sim, 0, SIM_FAIL_ONCE);
                sim_heal(world.sim);
                if (crashes) {
                        sim_crash(world.sim, crash);
                        OK(world_open(&world));
                        /* Soft commits may be lost with the power; a backup has what it has. */
                        StoreStats stats;
                        store_stats(world.store, &stats);
                        expect_tables(world.store, stats.last_position);
                        assert_true(!whole || stats.last_position == 20);
                        expect_backup_or_not(&world, whole);
                } else {
                        expect_tables(world.store, 20);
                        expect_backup_or_not(&world, whole);
                        /* Nothing is held: the next one works, after a restart if a sync of the store's own files is
                         * what failed. */
                        st = store_backup(world.store, "again", NULL, &result);
                        if (st) {
                                refused(st, ERR_IO, "sync");
                                OK(store_close(world.store));
                                OK(world_open(&world));
                                OK(store_backup(world.store, "again", NULL, &result));
                        }
                        expect_clean(&world, "again");
                }
                world_done(&world);
        }
        assert_true(n > 20);
}

static void test_sweep_backup_once(void **state)
{
        sweep_backup(SIM_FAIL_ONCE, false, SIM_DROP);
}
static void test_sweep_backup_no_space(void **state)
{
        sweep_backup(SIM_FAIL_NO_SPACE, false, SIM_DROP);
}
static void test_sweep_backup_power_drop(void **state)
{
        sweep_backup(SIM_FAIL_POWER, true, SIM_DROP);
}
static void test_sweep_backup_power_tear(void **state)
{
        sweep_backup(SIM_FAIL_POWER, true, SIM_TEAR);
}

static void sweep_restore(SimFailure failure, bool crashes, SimCrash crash)
{
        const char *const logs[] = {"data"};
        long n = 1;
        for (long fired = 1; fired; n++) {
                World world;
                StoreBackupResult result;
                Store *store;
                StoreOptions options = {.path = "new"};
                world_init(&world, (uint64_t)n, false);
                options.os = sim_os(world.sim);
                run_steps(&world, 1, 20);
                backup(&world, "backup");
                run_steps(&world, 21, 30);
                world_kill(&world);
                sim_fail_nth(world.sim, n, failure);
                Status st = restore_to(&world, "backup", logs, 1, (StoreMoment){.position = 25}, &result);
                bool whole = st == ST_OK;
                fired = sim_fired(world.sim);
                assert_true(whole || fired);
                status_ignore(st);
                sim_fail_nth(world.sim, 0, SIM_FAIL_ONCE);
                sim_heal(world.sim);
                if (crashes)
                        sim_crash(world.sim, crash);
                if (whole || (crashes && dir_exists(&world, "new"))) {
                        st = store_open(&options, &store);
                        if (!st) {
                                /* The moment, or nothing at all: a fresh store in an empty directory. */
                                StoreStats stats;
                                store_stats(store, &stats);
                                assert_true(stats.last_position == 25 || (!whole && stats.last_position == 0));
                                expect_tables(store, stats.last_position);
                                OK(store_close(store));
                        } else {
                                assert_false(whole);
                                refused(st, ERR_INVALID, "did not end");
                        }
                        remove_dir(&world, "new");
                } else if (dir_exists(&world, "new")) {
                        /* Removing what was made is what failed: then it says that it is not whole. */
                        FAILS(ERR_INVALID, store_open(&options, &store));
                        remove_dir(&world, "new");
                }
                OK(restore_to(&world, "backup", logs, 1, (StoreMoment){.position = 25}, &result));
                expect_data(&world, "new", 25);
                sim_free(world.sim);
        }
        assert_true(n > 40);
}

static void test_sweep_restore_once(void **state)
{
        sweep_restore(SIM_FAIL_ONCE, false, SIM_DROP);
}
static void test_sweep_restore_no_space(void **state)
{
        sweep_restore(SIM_FAIL_NO_SPACE, false, SIM_DROP);
}
static void test_sweep_restore_power_drop(void **state)
{
        sweep_restore(SIM_FAIL_POWER, true, SIM_DROP);
}
static void test_sweep_restore_power_tear(void **state)
{
        sweep_restore(SIM_FAIL_POWER, true, SIM_TEAR);
}

static void test_sweep_allocations(void **state)
{
        const char *const logs[] = {"data"};
        World world;
        StoreBackupResult result;
        world_init(&world, 8, false);
        run_steps(&world, 1, 20);
        for (long n = 1, fired = 1; fired; n++) {
                mem_fail_nth(n);
                Status st = store_backup(world.store, "backup", NULL, &result);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                assert_true(st == ST_OK || (fired && status_code(st) == ERR_NOMEM));
                bool made = st == ST_OK;
                status_ignore(st);
                if (dir_exists(&world, "backup")) {
                        expect_backup_or_not(&world, made);
                        if (made)
                                remove_dir(&world, "new");
                        remove_dir(&world, "backup");
                }
        }
        backup(&world, "backup");
        run_steps(&world, 21, 30);
        for (long n = 1, fired = 1; fired; n++) {
                mem_fail_nth(n);
                Status st = restore_to(&world, "backup", logs, 1, (StoreMoment){.position = 25}, &result);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                assert_true(st == ST_OK || fired);
                bool made = st == ST_OK;
                status_ignore(st);
                if (made)
                        expect_data(&world, "new", 25);
                if (dir_exists(&world, "new"))
                        remove_dir(&world, "new");
        }
        world_done(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_sweep_backup_once),        cmocka_unit_test(test_sweep_backup_no_space),
                cmocka_unit_test(test_sweep_backup_power_drop),  cmocka_unit_test(test_sweep_backup_power_tear),
                cmocka_unit_test(test_sweep_restore_once),       cmocka_unit_test(test_sweep_restore_no_space),
                cmocka_unit_test(test_sweep_restore_power_drop), cmocka_unit_test(test_sweep_restore_power_tear),
                cmocka_unit_test(test_sweep_allocations),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
