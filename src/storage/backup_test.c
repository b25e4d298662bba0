/* backup_test.c - backups taken while everything goes on, restores to every moment of a scripted run, damage, refusals.
 * Failing calls: backup_sweep_test.c. */

#include "storage/backup_test.h"

/* --- what a backup is --- */

static void test_backup_and_restore(void **state)
{
        World world;
        world_init(&world, 1, false);
        StoreBackupResult result = backup(&world, "empty"); /* of an empty store, too */
        assert_int_equal(result.position, 0);
        run_steps(&world, 1, 20);
        result = backup(&world, "backup");
        assert_int_equal(result.position, 20);
        assert_int_equal(result.wall_us, world.start_us + 20 * STEP_US);
        assert_true(result.byte_count > 0);
        run_steps(&world, 21, 40);
        expect_clean(&world, "backup");
        expect_clean(&world, "empty");

        StoreBackupResult restored;
        OK(restore_to(&world, "backup", NULL, 0, (StoreMoment){0}, &restored));
        assert_int_equal(restored.position, 20);
        assert_int_equal(restored.wall_us, result.wall_us);
        expect_data(&world, "new", 20);
        remove_dir(&world, "new");
        /* Once more: the backup is only read. With the backup's own moment no log is needed. */
        OK(restore_to(&world, "backup", NULL, 0, (StoreMoment){.position = 20}, &restored));
        expect_data(&world, "new", 20);
        remove_dir(&world, "new");
        OK(restore_to(&world, "empty", NULL, 0, (StoreMoment){0}, &restored));
        expect_data(&world, "new", 0);
        expect_tables(world.store, 40);
        world_done(&world);
}

static void test_refusals(void **state)
{
        World world;
        Store *store;
        OsDir *dir;
        StoreBackupResult result;
        StoreMoment none = {0};
        world_init(&world, 2, false);
        run_steps(&world, 1, 10);
        backup(&world, "backup");
        refused(store_backup(world.store, "backup", NULL, &result), ERR_EXISTS, "has a backup");
        refused(store_backup(world.store, "data", NULL, &result), ERR_EXISTS, "not empty");
        refused(store_backup(world.store, "no/such", NULL, &result), ERR_NOT_FOUND, "no");
        refused(restore_to(&world, "data", NULL, 0, none, &result), ERR_NOT_FOUND, "data is not a backup");
        refused(restore_to(&world, "nothing", NULL, 0, none, &result), ERR_NOT_FOUND, "nothing");
        refused(restore_to(&world, "backup", NULL, 0, (StoreMoment){.position = 9}, &result), ERR_NOT_FOUND,
                "the backup is of commit 10 (2026-11-21T14:05:10.000000Z), which is after commit 9");
        refused(restore_to(&world, "backup", NULL, 0, (StoreMoment){.wall_us = world.start_us}, &result), ERR_NOT_FOUND,
                "which is after 2026-11-21T14:05:00.000000Z");
        refused(restore_to(&world, "backup", NULL, 0, (StoreMoment){.position = 11}, &result), ERR_NOT_FOUND,
                "the backup ends with commit 10");
        assert_false(dir_exists(&world, "new"));

        /* A backup is no data directory, and neither is an unfinished restore; both stay as they are. */
        StoreOptions options = {.os = sim_os(world.sim), .path = "backup"};
        refused(store_open(&options, &store), ERR_INVALID, "backup is a backup");
        OK(restore_to(&world, "backup", NULL, 0, none, &result));
        OK(os_dir_open(sim_os(world.sim), "new", OS_DIR_EXISTING, &dir));
        OK(os_write_whole(dir, "RESTORE", "", 0));
        options.path = "new";
        refused(store_open(&options, &store), ERR_INVALID, "did not end");
        refused(restore_to(&world, "backup", NULL, 0, none, &result), ERR_EXISTS, "new");
        os_dir_close(dir);
        remove_dir(&world, "new");

        /* An empty directory will do, the root of a volume too; it stays when the restore fails. */
        OK(os_dir_open(sim_os(world.sim), "new", OS_DIR_CREATE, &dir));
        OsDir *lost;
        OK(os_dir_open_sub(dir, "lost+found", OS_DIR_CREATE, &lost));
        os_dir_close(lost);
        refused(restore_to(&world, "backup", (const char *const[]){"nothing"}, 1, none, &result), ERR_NOT_FOUND,
                "nothing");
        assert_true(dir_exists(&world, "new"));
        OK(restore_to(&world, "backup", NULL, 0, none, &result));
        os_dir_close(dir);
        expect_data(&world, "new", 10);

        /* Not enough room is seen before anything is copied. */
        sim_disk_limit(world.sim, 1000);
        remove_dir(&world, "new");
        refused(restore_to(&world, "backup", NULL, 0, none, &result), ERR_NO_SPACE, "MB free, and the backup has 1 MB");
        assert_false(dir_exists(&world, "new"));
        refused(store_backup(world.store, "other", NULL, &result), ERR_NO_SPACE, "free");
        sim_disk_limit(world.sim, 0);
        assert_false(dir_exists(&world, "other"));
        world_done(&world);
}

/* --- damage --- */

typedef struct Names {
        char names[32][128];
        uint64_t sizes[32];
        size_t count;
        OsDir *dir;
} Names;

static Status add_name(void *ctx, const char *name)
{
        Names *names = ctx;
        _cleanup_(os_file_closep) OsFile *file = NULL;
        assert_true(names->count < 32);
        snprintf(names->names[names->count], 128, "%s", name);
        TRY(os_file_open(names->dir, name, OS_READ, &file));
        return os_file_size(file, &names->sizes[names->count++]);
}

/* Every flipped bit of a backup is found: by the restore in its small files, by the check in the engines'. */
static void test_damage(void **state)
{
        World world;
        Names names = {0};
        StoreBackupResult result;
        world_init(&world, 3, false);
        run_steps(&world, 1, 30);
        backup(&world, "backup");
        OK(os_dir_open(sim_os(world.sim), "backup", OS_DIR_EXISTING, &names.dir));
        OK(os_dir_list(names.dir, add_name, &names));
        assert_int_equal(names.count, 4); /* BACKUP, VERSION, snapshot, pages */
        for (size_t f = 0; f < names.count; f++) {
                char path[160];
                snprintf(path, sizeof(path), "backup/%s", names.names[f]);
                bool pages = strcmp(names.names[f], "pages") == 0;
                uint64_t by = pages ? 499 : names.sizes[f] > 2000 ? 97 : 1;
                unsigned found = 0;
                for (uint64_t offset = 0; offset < names.sizes[f]; offset += by) {
                        OK(sim_flip_bit(world.sim, path, offset, (int)(offset % 8)));
                        if (pages) {
                                unsigned problems = 0;
                                StoreCheck check = {.os = sim_os(world.sim),
                                                    .path = "backup",
                                                    .ctx = &problems,
                                                    .problem = count_problem};
                                StoreCheckResult checked;
                                Status st = store_check(&check, &checked);
                                found += problems > 0 || st;
                                status_ignore(st);
                        } else {
                                refused(restore_to(&world, "backup", NULL, 0, (StoreMoment){0}, &result), ERR_CORRUPT,
                                        "backup");
                                found++;
                        }
                        assert_false(dir_exists(&world, "new"));
                        OK(sim_flip_bit(world.sim, path, offset, (int)(offset % 8)));
                }
                assert_true(found > 0);
                /* Missing, and cut. */
                OK(os_dir_rename(names.dir, names.names[f], "away"));
                Status st = restore_to(&world, "backup", NULL, 0, (StoreMoment){0}, &result);
                refused(st, strcmp(names.names[f], "BACKUP") == 0 ? ERR_NOT_FOUND : ERR_CORRUPT, "backup");
                OK(os_dir_rename(names.dir, "away", names.names[f]));
                assert_false(dir_exists(&world, "new"));
        }
        os_dir_close(names.dir);
        OK(restore_to(&world, "backup", NULL, 0, (StoreMoment){0}, &result));
        expect_data(&world, "new", 30);
        world_done(&world);
}

/* --- any moment --- */

static void make_history(World *world, int backup_at)
{
        OsDir *dir;
        OK(os_dir_open(sim_os(world->sim), "archive", OS_DIR_CREATE, &dir));
        os_dir_close(dir);
        for (int step = 1; step <= STEPS; step++) {
                run_step(world, step);
                if (step % 5 == 0)
                        OK(store_step(world->store));
                if (step == backup_at)
                        assert_int_equal(backup(world, "backup").position, step);
                else if (step % 9 == 0)
                        OK(store_checkpoint(world->store));
        }
        OK(store_step(world->store));
}

static void test_every_moment(void **state)
{
        const char *const logs[] = {"archive", "data"};
        World world = {0};
        StoreBackupResult result;
        OsDir *dir;
        world_init(&world, 4, false);
        OK(store_close(world.store));
        OK(os_dir_open(sim_os(world.sim), "archive", OS_DIR_CREATE, &dir));
        os_dir_close(dir);
        world.archive = true;
        OK(world_open(&world));
        make_history(&world, 14);
        for (uint64_t p = 14; p <= STEPS; p++) {
                int64_t wall_us = world.start_us + (int64_t)p * STEP_US;
                const StoreMoment moments[] = {
                        {.position = p}, {.wall_us = wall_us}, {.wall_us = wall_us + STEP_US - 1}};
                for (size_t i = 0; i < ELEMENTS(moments); i++) {
                        if (p == STEPS && i == 2)
                                continue; /* nobody knows whether that was all up to then */
                        OK(restore_to(&world, "backup", logs, 2, moments[i], &result));
                        assert_int_equal(result.position, p);
                        assert_int_equal(result.wall_us, wall_us);
                        expect_data(&world, "new", p);
                        remove_dir(&world, "new");
                }
        }
        /* No moment: all there is; and the logs of a data directory whose server is dead. */
        OK(restore_to(&world, "backup", logs, 2, (StoreMoment){0}, &result));
        assert_int_equal(result.position, STEPS);
        expect_data(&world, "new", STEPS);
        remove_dir(&world, "new");
        /* The archive alone ends where the log was cut last. */
        OK(restore_to(&world, "backup", logs, 1, (StoreMoment){0}, &result));
        assert_int_equal(result.position, 45);
        expect_data(&world, "new", 45);
        remove_dir(&world, "new");
        refused(restore_to(&world, "backup", logs, 1, (StoreMoment){.position = 47}, &result), ERR_NOT_FOUND,
                "do not reach to commit 47, but to commit 45 (2026-11-21T14:05:45.000000Z)");
        refused(restore_to(&world, "backup", logs, 2, (StoreMoment){.position = STEPS + 1}, &result), ERR_NOT_FOUND,
                "but to commit 48");
        refused(restore_to(&world, "backup", logs, 2, (StoreMoment){.wall_us = world.start_us + STEPS * STEP_US + 1},
                           &result),
                ERR_NOT_FOUND, "but to commit 48 (2026-11-21T14:05:48.000000Z)");
        /* The data directory alone begins too late. */
        refused(restore_to(&world, "backup", logs + 1, 1, (StoreMoment){0}, &result), ERR_NOT_FOUND,
                "what is between is missing");
        assert_false(dir_exists(&world, "new"));
        world_done(&world);
}

/* What was restored goes on as a server of its own: with a backup and logs of its own, after a crash too. */
static void test_life_after(void **state)
{
        const char *const logs[] = {"archive", "data"}, *const new_logs[] = {"new"};
        World world = {0}, second;
        StoreBackupResult result;
        world_init(&world, 5, false);
        make_history(&world, 14);
        OK(store_close(world.store));
        /* No archive here: only what the log still has is behind the last checkpoint. */
        refused(restore_to(&world, "backup", logs, 1, (StoreMoment){0}, &result), ERR_NOT_FOUND, "no log files since");
        OK(restore_to(&world, "backup", NULL, 0, (StoreMoment){0}, &result));
        second = world;
        StoreOptions options = {.os = sim_os(world.sim), .path = "new", .cache_max_bytes = 8 << 20};
        OK(store_open(&options, &second.store));
        run_steps(&second, 15, 30);
        OK(store_backup(second.store, "backup2", NULL, &result));
        assert_int_equal(result.position, 30);
        run_steps(&second, 31, 40);
        world_kill(&second);
        StoreRestore request = {.os = sim_os(world.sim),
                                .backup = "backup2",
                                .path = "new2",
                                .logs = new_logs,
                                .log_count = 1,
                                .as_of = {.position = 35}};
        OK(store_restore(&request, &result));
        expect_data(&world, "new2", 35);
        OK(world_open(&world));
        world_done(&world);
}

/* After the restore to commit 20 its server does other things, and writes its log into the same archive. */
static void other_steps(World *world, int from, int to)
{
        for (int step = from; step <= to; step++) {
                Commit *commit;
                uint64_t position;
                OK(commit_begin(world->store, &commit));
                OK(step_changes(world->store, commit, step + 100));
                OK(commit_finish(commit, &position));
                assert_int_equal(position, step);
        }
        OK(store_step(world->store));
}

static void expect_other(World *world, uint64_t position)
{
        StoreOptions options = {.os = sim_os(world->sim), .path = "new", .cache_max_bytes = 8 << 20};
        Store *store;
        StoreStats stats;
        Model model = model_at(20);
        for (int step = 21; step <= (int)position; step++)
                model_step(&model, step + 100);
        expect_clean(world, "new");
        OK(store_open(&options, &store));
        store_stats(store, &stats);
        assert_int_equal(stats.last_position, position);
        expect_model(store, model, true);
        OK(store_close(store));
        remove_dir(world, "new");
}

static void test_two_histories(void **state)
{
        static const char *const logs[] = {"archive", "second"};
        World world = {.archive = true}, second;
        StoreBackupResult result;
        OsDir *dir;
        world_init(&world, 9, false);
        OK(store_close(world.store));
        OK(os_dir_open(sim_os(world.sim), "archive", OS_DIR_CREATE, &dir));
        os_dir_close(dir);
        world.archive = true;
        OK(world_open(&world));
        make_history(&world, 14);
        OK(store_backup(world.store, "late", NULL, &result));
        OK(store_close(world.store));
        StoreRestore request = {.os = sim_os(world.sim),
                                .backup = "backup",
                                .path = "second",
                                .logs = logs,
                                .log_count = 1,
                                .as_of = {.position = 20}};
        OK(store_restore(&request, &result));
        second = world;
        StoreOptions options = {.os = sim_os(world.sim),
                                .path = "second",
                                .log_segment_bytes = 7000,
                                .cache_max_bytes = 8 << 20,
                                .log_archive = "archive"};
        OK(store_open(&options, &second.store));
        other_steps(&second, 21, 30);
        OK(store_checkpoint(second.store));
        other_steps(&second, 31, 33);
        OK(store_backup(second.store, "backup2", NULL, &result));
        other_steps(&second, 34, 38);
        OK(store_checkpoint(second.store));
        other_steps(&second, 39, 40);

        /* The newest history wins, from its backup and from the one that it came from; the first is there up to where
         * they part; and a backup of a moment that the second never saw does not go with it. */
        OK(restore_to(&world, "backup2", logs, 2, (StoreMoment){0}, &result));
        expect_other(&world, 40);
        OK(restore_to(&world, "backup2", logs, 1, (StoreMoment){.position = 36}, &result));
        expect_other(&world, 36);
        OK(restore_to(&world, "backup", logs, 2, (StoreMoment){.position = 39}, &result));
        expect_other(&world, 39);
        OK(restore_to(&world, "backup", logs, 1, (StoreMoment){.position = 18}, &result));
        expect_data(&world, "new", 18);
        remove_dir(&world, "new");
        refused(restore_to(&world, "late", logs, 2, (StoreMoment){0}, &result), ERR_INVALID, "another history");
        assert_false(dir_exists(&world, "new"));
        second.sim = NULL;
        OK(store_close(second.store));
        sim_free(world.sim);
}

/* --- while others write --- */

typedef struct Writing {
        World *world;
        atomic_bool stop;
        atomic_int last;
} Writing;

static void write_on(void *arg)
{
        Writing *writing = arg;
        for (int step = 21; step < 250 && !atomic_load(&writing->stop); step++) {
                Commit *commit;
                uint64_t position;
                OK(commit_begin(writing->world->store, &commit));
                OK(step_changes(writing->world->store, commit, step));
                OK(commit_finish(commit, &position));
                atomic_store(&writing->last, step);
        }
}

/* It goes on while a backup copies: the first report waits for it. */
static Status wait_for_writer(void *ctx, const char *what, uint64_t done_bytes, uint64_t total_bytes)
{
        Writing *writing = ctx;
        StoreBackupResult result;
        int before = atomic_load(&writing->last);
        if (strcmp(what, "checkpoint") != 0)
                while (atomic_load(&writing->last) < MIN(before + 2, 249))
                        uv_sleep(1);
        FAILS(ERR_BUSY, store_backup(writing->world->store, "other", NULL, &result));
        assert_true(done_bytes <= total_bytes);
        return ST_OK;
}

static void test_while_writing(void **state)
{
        World world;
        world_init(&world, 6, false);
        OK(store_close(world.store));
        StoreOptions options = {.os = sim_os(world.sim),
                                .path = "data",
                                .log_segment_bytes = 10000,
                                .log_budget_bytes = 30000, /* checkpoints of its own beside */
                                .cache_max_bytes = 8 << 20,
                                .background = true};
        OK(store_open(&options, &world.store));
        for (int step = 1; step <= 20; step++)
                run_step(&world, step);
        Writing writing = {.world = &world, .last = 20};
        StoreProgress progress = {.ctx = &writing, .report = wait_for_writer};
        Thread thread;
        uint64_t positions[6];
        OK(thread_start(&thread, "writer", write_on, &writing));
        for (int i = 0; i < 6; i++) {
                StoreBackupResult result;
                char name[32];
                snprintf(name, sizeof(name), "backup%d", i);
                OK(store_backup(world.store, name, &progress, &result));
                positions[i] = result.position;
                assert_true(i == 0 || positions[i] >= positions[i - 1]);
        }
        atomic_store(&writing.stop, true);
        thread_join(&thread);
        for (int i = 0; i < 6; i++) {
                StoreBackupResult result;
                char name[32];
                snprintf(name, sizeof(name), "backup%d", i);
                expect_clean(&world, name);
                OK(restore_to(&world, name, NULL, 0, (StoreMoment){0}, &result));
                assert_int_equal(result.position, positions[i]);
                expect_data(&world, "new", positions[i]);
                remove_dir(&world, "new");
        }
        world_done(&world);
}

typedef struct Cancel {
        int at, calls;
} Cancel;

static Status cancel_at(void *ctx, const char *what, uint64_t done_bytes, uint64_t total_bytes)
{
        Cancel *cancel = ctx;
        return ++cancel->calls == cancel->at ? status_new(ERR_CANCELLED, "enough") : ST_OK;
}

/* Between any two steps; nothing is left, and the next attempt works. */
static void test_cancel(void **state)
{
        World world;
        StoreBackupResult result;
        world_init(&world, 7, false);
        run_steps(&world, 1, 20);
        Cancel cancel = {.at = 1};
        StoreProgress progress = {.ctx = &cancel, .report = cancel_at};
        for (;; cancel = (Cancel){.at = cancel.at + 1}) {
                Status st = store_backup(world.store, "backup", &progress, &result);
                if (!st)
                        break;
                refused(st, ERR_CANCELLED, "enough");
                assert_false(dir_exists(&world, "backup"));
        }
        assert_true(cancel.at > 3);
        run_steps(&world, 21, 30);
        StoreRestore request = {.os = sim_os(world.sim),
                                .backup = "backup",
                                .path = "new",
                                .logs = (const char *const[]){"data"},
                                .log_count = 1,
                                .progress = progress};
        cancel = (Cancel){.at = 1};
        for (;; cancel = (Cancel){.at = cancel.at + 1}) {
                Status st = store_restore(&request, &result);
                if (!st)
                        break;
                refused(st, ERR_CANCELLED, "enough");
                assert_false(dir_exists(&world, "new"));
        }
        assert_true(cancel.at > 3);
        expect_data(&world, "new", 30);
        world_done(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_backup_and_restore),
                cmocka_unit_test(test_refusals),
                cmocka_unit_test(test_damage),
                cmocka_unit_test(test_every_moment),
                cmocka_unit_test(test_life_after),
                cmocka_unit_test(test_two_histories),
                cmocka_unit_test(test_while_writing),
                cmocka_unit_test(test_cancel),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
