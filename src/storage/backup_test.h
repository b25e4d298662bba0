/* backup_test.h - what backup_test.c and backup_sweep_test.c share: a scripted run over all engines, what it has
 * written by any position, and whether a directory holds just that. */
#ifndef STORAGE_BACKUP_TEST_H
#define STORAGE_BACKUP_TEST_H

#include "base/check.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/mem.h"
#include "os/sim.h"
#include "os/thread.h"
#include "storage/store.h"

enum { STEPS = 48, KEYS = 16, TABLES = 3, LARGE = 5000 };
#define STEP_US INT64_C(1000000)

/* --- a scripted run: commit i is of position i; what it does depends on i alone --- */

static const char *const engines[TABLES] = {"memory", "btree", "slab"};

typedef struct World {
        SimOs *sim;
        Store *store;
        bool archive;
        int64_t start_us;
} World;

typedef struct Model {
        uint8_t rows[TABLES][KEYS]; /* the step that wrote it; 0: absent */
} Model;

static inline size_t value_size(int step)
{
        return step % 11 == 3 ? LARGE : (size_t)(step * 37 % 200);
}

static inline void value_fill(uint8_t *out, int step, size_t size)
{
        for (size_t i = 0; i < size; i++)
                out[i] = (uint8_t)(step + i * 7);
}

static inline void model_step(Model *model, int step)
{
        if (step == 1) /* makes the tables */
                return;
        for (int t = 0; t < TABLES; t++) {
                if ((step + t) % 4 == 0)
                        continue;
                model->rows[t][step * 5 % KEYS] = (uint8_t)step;
                model->rows[t][(step + t) * 11 % KEYS] = 0;
        }
}

static inline Model model_at(uint64_t position)
{
        Model model = {0};
        for (int step = 1; step <= (int)position; step++)
                model_step(&model, step);
        return model;
}

static inline Status step_table(Commit *commit, StoreTable *table, int step, int t)
{
        static _Thread_local uint8_t value[LARGE];
        char key[16];
        bool found;
        TRY(commit_lock(commit, table));
        if ((step + t) % 4 == 0)
                return ST_OK;
        snprintf(key, sizeof(key), "key-%04d", step * 5 % KEYS);
        value_fill(value, step, value_size(step));
        TRY(commit_put(commit, table, BYTES_STR(key), BYTES(value, value_size(step))));
        snprintf(key, sizeof(key), "key-%04d", (step + t) * 11 % KEYS);
        return commit_delete(commit, table, BYTES_STR(key), &found);
}

static inline Status step_changes(Store *store, Commit *commit, int step)
{
        for (int t = 0; t < TABLES; t++) {
                StoreTable *table = NULL;
                Status st = ST_OK;
                if (step == 1)
                        st = commit_create_table(commit, (uint64_t)t + 1, engines[t], &table);
                else if (!(table = store_table_ref(store, (uint64_t)t + 1)))
                        fail_msg("table %d is not there", t + 1);
                else
                        st = step_table(commit, table, step, t);
                store_table_unref(table);
                TRY(st);
        }
        return ST_OK;
}

static inline void run_step(World *world, int step)
{
        Commit *commit;
        uint64_t position;
        sim_set_wall_us(world->sim, world->start_us + step * STEP_US);
        OK(commit_begin(world->store, &commit));
        OK(step_changes(world->store, commit, step));
        OK(commit_finish(commit, &position));
        assert_int_equal(position, step);
}

static inline Status world_open(World *world)
{
        StoreOptions options = {.os = sim_os(world->sim),
                                .path = "data",
                                .log_segment_bytes = 7000,
                                .log_tail_max_bytes = 64 << 10,
                                .cache_max_bytes = 8 << 20,
                                .log_archive = world->archive ? "archive" : NULL};
        return store_open(&options, &world->store);
}

static inline void world_init(World *world, uint64_t seed, bool archive)
{
        *world = (World){.archive = archive, .start_us = INT64_C(1795269900) * 1000000};
        OK(sim_new(seed, &world->sim));
        sim_set_wall_us(world->sim, world->start_us);
        OK(world_open(world));
}

static inline void run_steps(World *world, int from, int to)
{
        for (int step = from; step <= to; step++) {
                run_step(world, step);
                if (step % 5 == 0)
                        OK(store_step(world->store));
        }
        OK(store_step(world->store));
}

/* --- judging --- */

static inline void expect_row(Snapshot *snapshot, int key, int step)
{
        static uint8_t expected[LARGE];
        char name[16];
        Arena hold;
        Bytes value;
        bool found;
        arena_init(&hold, 0);
        snprintf(name, sizeof(name), "key-%04d", key);
        OK(snapshot_get(snapshot, BYTES_STR(name), &hold, &value, &found));
        assert_int_equal(found, step != 0);
        if (found) {
                assert_int_equal(value.size, value_size(step));
                value_fill(expected, step, value.size);
                assert_memory_equal(value.data, expected, value.size);
        }
        arena_done(&hold);
}

static inline void expect_model(Store *store, Model model, bool tables)
{
        for (int t = 0; t < TABLES; t++) {
                StoreTable *table = store_table_ref(store, (uint64_t)t + 1);
                assert_int_equal(table != NULL, tables);
                if (!table)
                        continue;
                Snapshot *snapshot;
                uint64_t count, rows = 0;
                OK(store_table_error(table));
                OK(store_pin(table, &snapshot));
                for (int key = 0; key < KEYS; key++) {
                        expect_row(snapshot, key, model.rows[t][key]);
                        rows += model.rows[t][key] != 0;
                }
                OK(snapshot_count(snapshot, (EngineRange){0}, &count));
                assert_int_equal(count, rows);
                store_unpin(snapshot);
                store_table_unref(table);
        }
}

static inline void expect_tables(Store *store, uint64_t position)
{
        expect_model(store, model_at(position), position > 0);
}

static inline Status on_problem(void *ctx, const char *text)
{
        fail_msg("store_check of %s: %s", (const char *)ctx, text);
        return ST_OK;
}

static inline Status count_problem(void *ctx, const char *text)
{
        ++*(unsigned *)ctx;
        return ST_OK;
}

static inline void expect_clean(World *world, const char *path)
{
        StoreCheck check = {.os = sim_os(world->sim), .path = path, .ctx = (void *)path, .problem = on_problem};
        StoreCheckResult result;
        OK(store_check(&check, &result));
        assert_int_equal(result.problem_count, 0);
}

/* `path` opens, is whole, holds exactly the commits up to `position`, and takes further ones. */
static inline void expect_data(World *world, const char *path, uint64_t position)
{
        StoreOptions options = {.os = sim_os(world->sim), .path = path, .cache_max_bytes = 8 << 20};
        Store *store;
        StoreStats stats;
        Commit *commit;
        uint64_t next;
        expect_clean(world, path);
        OK(store_open(&options, &store));
        store_stats(store, &stats);
        assert_int_equal(stats.last_position, position);
        expect_tables(store, position);
        OK(commit_begin(store, &commit));
        StoreTable *table;
        OK(commit_create_table(commit, 99, "btree", &table));
        OK(commit_put(commit, table, BYTES_STR("k"), BYTES_STR("v")));
        OK(commit_finish(commit, &next));
        store_table_unref(table);
        assert_int_equal(next, position + 1);
        OK(store_sync(store, next));
        OK(store_close(store));
        OK(store_open(&options, &store));
        expect_tables(store, position);
        store_stats(store, &stats);
        assert_int_equal(stats.last_position, position + 1);
        OK(store_close(store));
}

static inline Status remove_name(void *ctx, const char *name)
{
        OsDir *dir = ctx, *sub;
        Status st = os_dir_open_sub(dir, name, OS_DIR_EXISTING, &sub);
        if (!st) {
                OK(os_dir_list(sub, remove_name, sub));
                os_dir_close(sub);
        }
        status_ignore(st);
        OK(os_dir_remove(dir, name));
        return ST_OK;
}

static inline void remove_dir(World *world, const char *path)
{
        OsDir *root, *dir;
        OK(os_dir_open(sim_os(world->sim), "/", OS_DIR_EXISTING, &root));
        OK(os_dir_open_sub(root, path, OS_DIR_EXISTING, &dir));
        OK(os_dir_list(dir, remove_name, dir));
        os_dir_close(dir);
        OK(os_dir_remove(root, path));
        os_dir_close(root);
}

static inline bool dir_exists(World *world, const char *path)
{
        OsDir *dir;
        Status st = os_dir_open(sim_os(world->sim), path, OS_DIR_EXISTING, &dir);
        if (!st)
                os_dir_close(dir);
        bool there = st == ST_OK;
        assert_true(there || status_code(st) == ERR_NOT_FOUND);
        status_ignore(st);
        return there;
}

static inline StoreBackupResult backup(World *world, const char *to)
{
        StoreBackupResult result;
        OK(store_backup(world->store, to, NULL, &result));
        return result;
}

static inline Status restore_to(World *world, const char *from, const char *const *logs, size_t log_count,
                                StoreMoment as_of, StoreBackupResult *ret_result)
{
        StoreRestore request = {.os = sim_os(world->sim),
                                .backup = from,
                                .path = "new",
                                .logs = logs,
                                .log_count = log_count,
                                .as_of = as_of};
        return store_restore(&request, ret_result);
}

/* The power goes: unlike a clean close, that leaves the log behind the last checkpoint. */
static inline void world_kill(World *world)
{
        sim_fail_nth(world->sim, 1, SIM_FAIL_POWER);
        status_ignore(store_close(world->store));
        sim_crash(world->sim, SIM_DROP);
}

static inline void world_done(World *world)
{
        OK(store_close(world->store));
        sim_free(world->sim);
}

/* The call fails, and its text and hint have these words. */
static inline void refused(Status st, StatusCode code, const char *words)
{
        char text[1024];
        status_text(st, text, sizeof(text));
        if (status_code(st) != code || !strstr(text, words))
                fail_msg("code %d, not %d with \"%s\": %s", status_code(st), code, words, st ? text : "it worked");
        status_ignore(st);
}

#endif
