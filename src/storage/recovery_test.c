/* recovery_test.c - the sweep: for every n, the nth file call fails or the power goes during a mixed workload; then the
 * directory is opened again, and must hold exactly the first k commits, k not below what was acknowledged. Also damage:
 * every flipped bit of the log and the snapshot is found, or is at the end of the log. */

#include "base/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "os/sim.h"
#include "storage/store.h"

enum { STEPS = 40, KEYS = 24, TABLES = 4, LARGE = 9000 };

/* --- the workload: step i makes one commit; what it does depends on i alone --- */

typedef struct World {
        SimOs *sim;
        Store *store;
        uint8_t step_at[STEPS + 2]; /* by position: which step's commit took it */
        uint64_t last;              /* the newest position given out */
        uint64_t acknowledged;      /* the newest position that store_sync said is durable */
} World;

/* The contents after some steps: per table and key the step that wrote it, 0 = absent. */
typedef struct Model {
        bool exists[TABLES + 1];
        uint8_t rows[TABLES + 1][KEYS];
} Model;

static bool is_hard(int step)
{
        return step % 3 == 0;
}
static bool is_checkpoint(int step)
{
        return step == 12 || step == 29;
}

static uint64_t table_of_step(int step)
{
        return step == 1 ? 1 : step == 2 ? 2 : step == 10 ? 3 : step == 31 ? 4 : 0;
}

static size_t value_size(int step)
{
        return step % 13 == 5 ? LARGE : (size_t)(step * 37 % 300);
}

static void value_fill(uint8_t *out, int step, size_t size)
{
        for (size_t i = 0; i < size; i++)
                out[i] = (uint8_t)(step + i * 7);
}

static void model_step(Model *model, int step)
{
        uint64_t created = table_of_step(step);
        if (created) {
                model->exists[created] = true;
        }
        if (step == 22) {
                model->exists[2] = false;
                memset(model->rows[2], 0, KEYS);
        }
        for (int t = 1; t <= TABLES; t++) {
                if (!model->exists[t] || (step + t) % 3 == 0)
                        continue;
                model->rows[t][step * 5 % KEYS] = (uint8_t)step;
                model->rows[t][(step * 7 + t) % KEYS] = (uint8_t)step;
                model->rows[t][(step + t) * 11 % KEYS] = 0;
        }
}

static void key_of(int key, char out[16])
{
        snprintf(out, 16, "key-%04d", key);
}

static Status put(Commit *commit, StoreTable *table, int key, int step)
{
        static uint8_t value[LARGE];
        char name[16];
        key_of(key, name);
        value_fill(value, step, value_size(step));
        return commit_put(commit, table, BYTES_STR(name), BYTES(value, value_size(step)));
}

static Status step_changes(World *world, Commit *commit, int step, const Model *before)
{
        for (uint64_t t = 1; t <= TABLES; t++) {
                StoreTable *table;
                char name[16];
                bool found;
                Status st = ST_OK;
                if (table_of_step(step) == t) {
                        TRY(commit_create_table(commit, t, "memory", &table));
                } else {
                        if (!before->exists[t])
                                continue;
                        table = store_table_ref(world->store, t);
                        assert_non_null(table);
                        st = commit_lock(commit, table);
                }
                if (!st && step == 22 && t == 2) {
                        st = commit_drop_table(commit, table);
                } else if (!st && (step + (int)t) % 3 != 0) {
                        st = put(commit, table, step * 5 % KEYS, step);
                        if (!st)
                                st = put(commit, table, (step * 7 + (int)t) % KEYS, step);
                        key_of((step + (int)t) * 11 % KEYS, name);
                        if (!st)
                                st = commit_delete(commit, table, BYTES_STR(name), &found);
                }
                store_table_unref(table);
                TRY(st);
        }
        return ST_OK;
}

static Status run_step(World *world, int step, Model *model)
{
        Commit *commit;
        uint64_t position;
        TRY(commit_begin(world->store, &commit));
        Status st = step_changes(world, commit, step, model);
        if (st) {
                commit_abort(commit);
                return st;
        }
        uint64_t last = world->last;
        TRY(commit_finish(commit, &position));
        model_step(model, step);
        if (position == last)
                return ST_OK; /* nothing was changed */
        assert_int_equal(position, last + 1);
        world->last = position;
        world->step_at[position] = (uint8_t)step;
        if (is_hard(step)) {
                TRY(store_sync(world->store, position));
                assert_true(store_durable(world->store) >= position);
                world->acknowledged = position;
        }
        return ST_OK;
}

static Status world_open(World *world)
{
        StoreOptions options = {
                .os = sim_os(world->sim), .path = "data", .log_segment_bytes = 6000, .log_tail_max_bytes = 64 << 10};
        return store_open(&options, &world->store);
}

/* Runs all steps whatever fails; a failed step did nothing. */
static void run_workload(World *world)
{
        Model model = {0};
        for (int step = 1; step <= STEPS; step++) {
                status_ignore(run_step(world, step, &model));
                if (is_checkpoint(step))
                        status_ignore(store_checkpoint(world->store));
                if (step % 7 == 0)
                        status_ignore(store_step(world->store));
        }
}

static void expect_row(Snapshot *snapshot, int key, int step)
{
        static uint8_t expected[LARGE];
        char name[16];
        Bytes value;
        bool found;
        key_of(key, name);
        OK(snapshot_get(snapshot, BYTES_STR(name), NULL, &value, &found));
        assert_int_equal(found, step != 0);
        if (!found)
                return;
        assert_int_equal(value.size, value_size(step));
        value_fill(expected, step, value.size);
        assert_memory_equal(value.data, expected, value.size);
}

static Status count_table(void *ctx, uint64_t id, const char *engine)
{
        assert_string_equal(engine, "memory");
        assert_true(id >= 1 && id <= TABLES);
        ++*(int *)ctx;
        return ST_OK;
}

/* The store holds the commits 1 .. k, whole, for a k that is neither too small nor too large. */
static void check_store(World *world)
{
        StoreStats stats;
        Model model = {0};
        int tables = 0, expected = 0;
        store_stats(world->store, &stats);
        assert_true(stats.last_position >= world->acknowledged);
        assert_true(stats.last_position <= world->last);
        assert_int_equal(stats.durable_position, stats.last_position);
        for (uint64_t p = 1; p <= stats.last_position; p++)
                model_step(&model, world->step_at[p]);
        OK(store_each_table(world->store, count_table, &tables));
        for (uint64_t t = 1; t <= TABLES; t++) {
                StoreTable *table = store_table_ref(world->store, t);
                assert_int_equal(table != NULL, model.exists[t]);
                if (!table)
                        continue;
                Snapshot *snapshot;
                uint64_t count, rows = 0;
                OK(store_pin(table, &snapshot));
                for (int key = 0; key < KEYS; key++) {
                        expect_row(snapshot, key, model.rows[t][key]);
                        rows += model.rows[t][key] != 0;
                }
                OK(snapshot_count(snapshot, (EngineRange){0}, &count));
                assert_int_equal(count, rows);
                store_unpin(snapshot);
                store_table_unref(table);
                expected++;
        }
        assert_int_equal(tables, expected);
        world->last = stats.last_position; /* what is gone now was never acknowledged */
}

/* Opens again, checks, writes on, and opens once more. */
static void check_after(World *world)
{
        OK(world_open(world));
        check_store(world);
        Commit *commit;
        StoreTable *table = store_table_ref(world->store, 1);
        if (table) {
                uint64_t position, before = world->last;
                OK(commit_begin(world->store, &commit));
                OK(commit_lock(commit, table));
                OK(commit_put(commit, table, BYTES_STR("extra"), BYTES_STR("row")));
                OK(commit_finish(commit, &position));
                assert_int_equal(position, before + 1);
                OK(store_sync(world->store, position));
                store_table_unref(table);
        }
        OK(store_close(world->store));
        sim_crash(world->sim, SIM_DROP);
        OK(world_open(world));
        StoreStats stats;
        store_stats(world->store, &stats);
        assert_int_equal(stats.last_position, world->last + (table != NULL));
        OK(store_close(world->store));
}

typedef struct Case {
        SimFailure failure;
        bool heal_first; /* the machine recovers before it is closed */
        SimCrash crash;
        bool crashes;
} Case;

static void sweep(const Case *c)
{
        long fired = 1, n = 1;
        for (; fired; n++) {
                World world = {0};
                OK(sim_new((uint64_t)n, &world.sim));
                sim_fail_nth(world.sim, n, c->failure);
                Status st = world_open(&world);
                if (!st)
                        run_workload(&world);
                fired = sim_fired(world.sim);
                if (st) {
                        status_ignore(st);
                        sim_fail_nth(world.sim, 0, SIM_FAIL_ONCE);
                        sim_heal(world.sim);
                } else if (c->heal_first) {
                        sim_heal(world.sim);
                        sim_fail_nth(world.sim, 0, SIM_FAIL_ONCE);
                        OK(store_step(world.store)); /* what was refused for a while is written now */
                        OK(store_close(world.store));
                        world.acknowledged = world.last;
                } else {
                        status_ignore(store_close(world.store));
                        sim_fail_nth(world.sim, 0, SIM_FAIL_ONCE);
                        sim_heal(world.sim);
                }
                if (c->crashes)
                        sim_crash(world.sim, c->crash);
                check_after(&world);
                sim_free(world.sim);
        }
        assert_true(n > 60);
}

static void test_sweep_power_drop(void **state)
{
        sweep(&(Case){SIM_FAIL_POWER, false, SIM_DROP, true});
}
static void test_sweep_power_tear(void **state)
{
        sweep(&(Case){SIM_FAIL_POWER, false, SIM_TEAR, true});
}
static void test_sweep_power_keep(void **state)
{
        sweep(&(Case){SIM_FAIL_POWER, false, SIM_KEEP, true});
}
static void test_sweep_once_heal(void **state)
{
        sweep(&(Case){SIM_FAIL_ONCE, true, SIM_DROP, true});
}
static void test_sweep_once_crash(void **state)
{
        sweep(&(Case){SIM_FAIL_ONCE, false, SIM_TEAR, true});
}
static void test_sweep_forever_drop(void **state)
{
        sweep(&(Case){SIM_FAIL_FOREVER, false, SIM_DROP, true});
}
static void test_sweep_forever_keep(void **state)
{
        sweep(&(Case){SIM_FAIL_FOREVER, false, SIM_KEEP, true});
}
static void test_sweep_no_space_heal(void **state)
{
        sweep(&(Case){SIM_FAIL_NO_SPACE, true, SIM_DROP, true});
}
static void test_sweep_no_space_crash(void **state)
{
        sweep(&(Case){SIM_FAIL_NO_SPACE, false, SIM_TEAR, true});
}

/* The power goes again while the directory is opened, at every call of the opening. */
static void test_sweep_recovery(void **state)
{
        static const SimFailure failures[] = {SIM_FAIL_POWER, SIM_FAIL_ONCE, SIM_FAIL_NO_SPACE};
        for (size_t f = 0; f < ELEMENTS(failures); f++) {
                for (long cut = 20; cut <= 170; cut += 30) {
                        for (long n = 1, fired = 1; fired; n++) {
                                World world = {0};
                                OK(sim_new((uint64_t)(n * 1000 + cut), &world.sim));
                                OK(world_open(&world));
                                sim_fail_nth(world.sim, cut, SIM_FAIL_POWER);
                                run_workload(&world);
                                status_ignore(store_close(world.store));
                                sim_crash(world.sim, SIM_TEAR);
                                sim_fail_nth(world.sim, n, failures[f]);
                                Status st = world_open(&world);
                                fired = sim_fired(world.sim);
                                if (!st)
                                        status_ignore(store_close(world.store));
                                assert_true(status_code(st) != ERR_CORRUPT);
                                status_ignore(st);
                                sim_fail_nth(world.sim, 0, SIM_FAIL_ONCE);
                                sim_heal(world.sim);
                                sim_crash(world.sim, SIM_TEAR);
                                check_after(&world);
                                sim_free(world.sim);
                        }
                }
        }
}

/* Whatever allocation fails while the directory is opened, it opens the next time. */
static void test_sweep_allocations(void **state)
{
        for (long n = 1, fired = 1; fired; n++) {
                World world = {0};
                Model model = {0};
                OK(sim_new(9, &world.sim));
                OK(world_open(&world));
                for (int step = 1; step <= STEPS; step++) {
                        if (step == 13)
                                mem_fail_nth(n);
                        status_ignore(run_step(&world, step, &model));
                        if (is_checkpoint(step))
                                status_ignore(store_checkpoint(world.store));
                }
                status_ignore(store_step(world.store));
                fired = mem_fail_fired();
                mem_fail_nth(0);
                OK(store_step(world.store));
                OK(store_close(world.store));
                world.acknowledged = world.last;
                sim_crash(world.sim, SIM_DROP);
                check_after(&world);
                sim_free(world.sim);
        }
        for (long n = 1, fired = 1; fired; n++) {
                World world = {0};
                OK(sim_new(9, &world.sim));
                OK(world_open(&world));
                run_workload(&world);
                OK(store_close(world.store));
                mem_fail_nth(n);
                Status st = world_open(&world);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                assert_true(!fired || status_code(st) == ERR_NOMEM || !st);
                if (!st)
                        OK(store_close(world.store));
                status_ignore(st);
                check_after(&world);
                sim_free(world.sim);
        }
}

/* --- damage --- */

typedef struct Files {
        char paths[64][96];
        uint64_t sizes[64];
        size_t count;
        OsDir *dir;
} Files;

static Status add_file(void *ctx, const char *name)
{
        Files *files = ctx;
        _cleanup_(os_file_closep) OsFile *file = NULL;
        if (strcmp(name, "log") == 0 || strcmp(name, "LOCK") == 0)
                return ST_OK;
        assert_true(files->count < 64);
        snprintf(files->paths[files->count], 96, "%s/%s", os_dir_path(files->dir), name);
        TRY(os_file_open(files->dir, name, OS_READ, &file));
        TRY(os_file_size(file, &files->sizes[files->count]));
        files->count++;
        return ST_OK;
}

static void list_files(World *world, Files *files)
{
        files->count = 0;
        OK(os_dir_open(sim_os(world->sim), "data/log", OS_DIR_EXISTING, &files->dir));
        OK(os_dir_list(files->dir, add_file, files));
        os_dir_close(files->dir);
        OK(os_dir_open(sim_os(world->sim), "data", OS_DIR_EXISTING, &files->dir));
        OK(os_dir_list(files->dir, add_file, files));
        os_dir_close(files->dir);
}

/* After a clean close no bit may flip unnoticed, but for those that nothing reads (padding, a torn header). */
static void test_flipped_bits(void **state)
{
        World world = {0};
        Files files;
        OK(sim_new(5, &world.sim));
        OK(world_open(&world));
        run_workload(&world);
        OK(store_close(world.store));
        world.acknowledged = world.last;
        list_files(&world, &files);
        unsigned found = 0, logs = 0, snapshots = 0;
        for (size_t f = 0; f < files.count; f++) {
                uint64_t by = files.sizes[f] > 20000 ? 997 : 41;
                logs += strstr(files.paths[f], ".log") != NULL;
                snapshots += strstr(files.paths[f], "snapshot-") != NULL;
                for (uint64_t offset = f % 7; offset < files.sizes[f]; offset += by) {
                        OK(sim_flip_bit(world.sim, files.paths[f], offset, (int)(offset % 8)));
                        Status st = world_open(&world);
                        if (st) {
                                char text[512];
                                status_text(st, text, sizeof(text));
                                assert_true(status_code(st) == ERR_CORRUPT || strstr(files.paths[f], "VERSION"));
                                assert_non_null(strstr(text, files.paths[f]));
                                if (!strstr(files.paths[f], "VERSION"))
                                        assert_non_null(strstr(text, "at offset"));
                                status_free(st);
                                found++;
                        } else {
                                uint64_t last = world.last;
                                /* Padding, or the seal at the very end; nothing is lost. */
                                check_store(&world);
                                assert_int_equal(world.last, last);
                                OK(store_close(world.store));
                        }
                        OK(sim_flip_bit(world.sim, files.paths[f], offset, (int)(offset % 8)));
                }
        }
        assert_true(found > 100);
        assert_true(logs >= 2 && snapshots == 1);
        check_after(&world);
        sim_free(world.sim);
}

/* A log file that is missing in the middle, or all of the log behind a snapshot's back. */
static void test_missing_files(void **state)
{
        World world = {0};
        Files files;
        OsDir *dir;
        OK(sim_new(5, &world.sim));
        OK(world_open(&world));
        run_workload(&world);
        OK(store_close(world.store));
        list_files(&world, &files);
        OK(os_dir_open(sim_os(world.sim), "data/log", OS_DIR_EXISTING, &dir));
        unsigned refused = 0;
        uint64_t last = world.last;
        size_t newest = 0;
        for (size_t f = 0; f < files.count; f++)
                if (strstr(files.paths[f], ".log") && strcmp(files.paths[f], files.paths[newest]) > 0)
                        newest = f;
        for (size_t f = 0; f < files.count; f++) {
                if (!strstr(files.paths[f], ".log") || f == newest)
                        continue;
                const char *name = files.paths[f] + strlen("data/log/");
                OK(os_dir_rename(dir, name, "away"));
                Status st = world_open(&world);
                if (st) {
                        assert_int_equal(status_code(st), ERR_CORRUPT);
                        refused++;
                } else {
                        check_store(&world); /* the snapshot has it all */
                        assert_int_equal(world.last, last);
                        OK(store_close(world.store));
                }
                status_ignore(st);
                OK(os_dir_rename(dir, "away", name));
        }
        assert_true(refused > 0);
        os_dir_close(dir);
        OK(os_dir_open(sim_os(world.sim), "data", OS_DIR_EXISTING, &dir));
        OK(os_dir_remove(dir, "VERSION"));
        Status st = world_open(&world);
        assert_int_equal(status_code(st), ERR_CORRUPT);
        status_free(st);
        os_dir_close(dir);
        sim_free(world.sim);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_sweep_power_drop),     cmocka_unit_test(test_sweep_power_tear),
                cmocka_unit_test(test_sweep_power_keep),     cmocka_unit_test(test_sweep_once_heal),
                cmocka_unit_test(test_sweep_once_crash),     cmocka_unit_test(test_sweep_forever_drop),
                cmocka_unit_test(test_sweep_forever_keep),   cmocka_unit_test(test_sweep_no_space_heal),
                cmocka_unit_test(test_sweep_no_space_crash), cmocka_unit_test(test_sweep_recovery),
                cmocka_unit_test(test_sweep_allocations),    cmocka_unit_test(test_flipped_bits),
                cmocka_unit_test(test_missing_files),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
