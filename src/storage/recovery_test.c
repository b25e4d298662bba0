/* recovery_test.c - the sweep: for every n, the nth file call fails or the power goes during a mixed workload; then the
 * directory is opened again, and must hold exactly the first k commits, k not below what was acknowledged. It runs for
 * each engine, and for one store with tables of several, whose files are then of different moments after a crash. Also
 * damage: every flipped bit is found, by the opening or by the reader that meets it, or means nothing.
 *
 * What takes long goes in strides here: RECOVERY_SEED chooses where they begin (1), RECOVERY_STRIDE how long they are
 * (1: every call). */

#include "base/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "os/sim.h"
#include "storage/store.h"

enum { STEPS = 44, KEYS = 24, TABLES = 4, LARGE = 9000 };

/* Which engine each table has; the last one is table 2's when its number is used again. */
typedef struct Engines {
        const char *name, *of[TABLES + 2];
        long stride;
} Engines;
static const Engines worlds[] = {
        {"memory", {NULL, "memory", "memory", "memory", "memory", "memory"}, 3},
        {"btree", {NULL, "btree", "btree", "btree", "btree", "btree"}, 13},
        {"slab", {NULL, "slab", "slab", "slab", "slab", "slab"}, 17},
        {"mixed", {NULL, "btree", "memory", "slab", "memory", "btree"}, 9},
};

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
        const char *text = getenv(name);
        return text ? strtoull(text, NULL, 10) : otherwise;
}
static uint64_t random_state;
static uint64_t rnd(uint64_t below)
{
        random_state = random_state * 6364136223846793005u + 1442695040888963407u;
        return (random_state >> 33) % below;
}
/* What is being done: said when the test fails. */
static char place_text[128];
static void place(const char *format, ...) PRINTF_LIKE(1, 2);
static void place(const char *format, ...)
{
        va_list args;
        va_start(args, format);
        vsnprintf(place_text, sizeof(place_text), format, args);
        va_end(args);
}
static int say_place(void **state)
{
        if (place_text[0])
                print_message("last place: %s\n", place_text);
        return 0;
}
/* Where a sweep begins, and how it goes on. */
static long stride_of(const Engines *engines)
{
        return (long)from_environment("RECOVERY_STRIDE", (uint64_t)engines->stride);
}

/* --- the workload: step i makes one commit; what it does depends on i alone --- */

typedef struct World {
        const Engines *engines;
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
        uint8_t more[TABLES + 1]; /* entries of tree MORE */
} Model;

/* An index has an entry for every row (key -> step), and MORE one for each step; both are emptied now and then. */
enum { INDEX = 1, MORE = 200 };
static bool is_clear(int step)
{
        return step % 9 == 4;
}

static bool is_hard(int step)
{
        return step % 3 == 0;
}
static bool is_checkpoint(int step)
{
        return step == 12 || step == 29;
}

enum { DROP_STEP = 22, AGAIN_STEP = 34 };
static uint64_t table_of_step(int step)
{
        return step == 1 ? 1 : step == 2 || step == AGAIN_STEP ? 2 : step == 10 ? 3 : step == 31 ? 4 : 0;
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
        if (step == DROP_STEP) {
                model->exists[2] = false;
                memset(model->rows[2], 0, KEYS);
                model->more[2] = 0;
        }
        for (int t = 1; t <= TABLES; t++) {
                if (!model->exists[t] || (step + t) % 3 == 0)
                        continue;
                model->rows[t][step * 5 % KEYS] = (uint8_t)step;
                model->rows[t][(step * 7 + t) % KEYS] = (uint8_t)step;
                model->rows[t][(step + t) * 11 % KEYS] = 0;
                model->more[t] = (uint8_t)(is_clear(step) ? 1 : model->more[t] + 1);
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
        TRY(commit_tree_put(commit, table, INDEX, BYTES_STR(name), BYTES(&(uint8_t){(uint8_t)step}, 1)));
        return commit_put(commit, table, BYTES_STR(name), BYTES(value, value_size(step)));
}

/* As an index that is built anew. */
static Status clear_trees(Commit *commit, StoreTable *table, const uint8_t rows[KEYS])
{
        char name[16];
        bool found;
        Bytes value;
        TRY(commit_tree_clear(commit, table, INDEX));
        TRY(commit_tree_clear(commit, table, MORE));
        for (int i = 0; i < KEYS; i++) {
                key_of(i, name);
                TRY(commit_tree_get(commit, table, INDEX, BYTES_STR(name), NULL, NULL, &found));
                assert_false(found);
                TRY(commit_get(commit, table, BYTES_STR(name), NULL, NULL, &found));
                assert_int_equal(found, rows[i] != 0);
                value = BYTES(&rows[i], 1);
                if (found)
                        TRY(commit_tree_put(commit, table, INDEX, BYTES_STR(name), value));
        }
        return ST_OK;
}

static Status step_changes(World *world, Commit *commit, int step, const Model *before)
{
        for (uint64_t t = 1; t <= TABLES; t++) {
                StoreTable *table;
                char name[16];
                bool found;
                Status st = ST_OK;
                if (table_of_step(step) == t) {
                        const char *engine = world->engines->of[step == AGAIN_STEP ? TABLES + 1 : t];
                        TRY(commit_create_table(commit, t, engine, &table));
                } else {
                        if (!before->exists[t])
                                continue;
                        table = store_table_ref(world->store, t);
                        assert_non_null(table);
                        st = commit_lock(commit, table);
                }
                if (!st && step == DROP_STEP && t == 2) {
                        st = commit_drop_table(commit, table);
                } else if (!st && (step + (int)t) % 3 != 0) {
                        if (is_clear(step))
                                st = clear_trees(commit, table, before->rows[t]);
                        if (!st)
                                st = commit_tree_put(commit, table, MORE, BYTES(&step, sizeof step), BYTES_NONE);
                        if (!st)
                                st = put(commit, table, step * 5 % KEYS, step);
                        if (!st)
                                st = put(commit, table, (step * 7 + (int)t) % KEYS, step);
                        key_of((step + (int)t) * 11 % KEYS, name);
                        bool entry = false;
                        found = false;
                        if (!st)
                                st = commit_delete(commit, table, BYTES_STR(name), &found);
                        if (!st)
                                st = commit_tree_delete(commit, table, INDEX, BYTES_STR(name), &entry);
                        assert_true(st || entry == found);
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
        StoreOptions options = {.os = sim_os(world->sim),
                                .path = "data",
                                .log_segment_bytes = 10000,
                                .log_tail_max_bytes = 64 << 10,
                                .cache_max_bytes = 4 << 20};
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

/* An error is that of reading. */
static Status expect_row(Snapshot *snapshot, int key, int step, Arena *hold)
{
        static uint8_t expected[LARGE];
        char name[16];
        Bytes value;
        bool found;
        key_of(key, name);
        TRY(snapshot_get(snapshot, BYTES_STR(name), hold, &value, &found));
        assert_int_equal(found, step != 0);
        if (!found)
                return ST_OK;
        assert_int_equal(value.size, value_size(step));
        Bytes entry;
        bool listed;
        TRY(snapshot_tree_get(snapshot, INDEX, BYTES_STR(name), hold, &entry, &listed));
        assert_true(listed && entry.size == 1 && entry.data[0] == step);
        value_fill(expected, step, value.size);
        assert_memory_equal(value.data, expected, value.size);
        return ST_OK;
}

static Status expect_table(StoreTable *table, const uint8_t rows[KEYS], uint64_t more)
{
        Arena hold;
        Snapshot *snapshot;
        Cursor *cursor = NULL;
        uint64_t count, expected = 0;
        bool found = true;
        Bytes key, value;
        TRY(store_pin(table, &snapshot));
        arena_init(&hold, 0);
        Status st = ST_OK;
        for (int i = 0; i < KEYS && !st; i++) {
                st = expect_row(snapshot, i, rows[i], &hold);
                expected += rows[i] != 0;
        }
        if (!st)
                st = snapshot_count(snapshot, (EngineRange){0}, &count);
        if (!st)
                assert_int_equal(count, expected);
        if (!st)
                st = snapshot_tree_count(snapshot, INDEX, (EngineRange){0}, &count);
        if (!st)
                assert_int_equal(count, expected);
        if (!st)
                st = snapshot_tree_count(snapshot, MORE, (EngineRange){0}, &count);
        if (!st)
                assert_int_equal(count, more);
        if (!st)
                st = cursor_open(snapshot, (EngineRange){0}, rnd(2), &cursor);
        for (uint64_t n = 0; !st && found; n++) {
                st = cursor_next(cursor, &hold, &key, &value, &found);
                assert_true(st || n < expected || !found);
        }
        cursor_close(cursor);
        arena_done(&hold);
        store_unpin(snapshot);
        return st;
}

static Status count_table(void *ctx, uint64_t id, const char *engine)
{
        assert_non_null(engine_find(engine));
        assert_true(id >= 1 && id <= TABLES);
        ++*(int *)ctx;
        return ST_OK;
}

/* The store holds the commits 1 .. k, whole, for a k that is neither too small nor too large. An error is that of
 * reading. */
static Status check_rows(World *world)
{
        StoreStats stats;
        Model model = {0};
        int tables = 0, expected = 0;
        Status st = ST_OK;
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
                if (!st)
                        st = expect_table(table, model.rows[t], model.more[t]);
                store_table_unref(table);
                expected++;
        }
        assert_int_equal(tables, expected);
        world->last = stats.last_position; /* what is gone now was never acknowledged */
        return st;
}

static void check_store(World *world)
{
        OK(check_rows(world));
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

static void sweep_world(const Case *c, const Engines *engines)
{
        long stride = stride_of(engines), fired = 1, n = 1 + (long)rnd((uint64_t)stride);
        for (; fired; n += 1 + (long)rnd((uint64_t)(2 * stride - 1))) {
                World world = {.engines = engines};
                place("%s, failure %d at call %ld", engines->name, (int)c->failure, n);
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

static void sweep(const Case *c)
{
        random_state = from_environment("RECOVERY_SEED", 1) + (uint64_t)c->failure * 16 + (uint64_t)c->crash * 4;
        for (size_t i = 0; i < ELEMENTS(worlds); i++)
                sweep_world(c, &worlds[i]);
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
static void recovery_world(const Engines *engines, SimFailure failure, long cut)
{
        long stride = stride_of(engines), fired = 1;
        for (long n = 1 + (long)rnd((uint64_t)stride); fired; n += 1 + (long)rnd((uint64_t)(2 * stride - 1))) {
                World world = {.engines = engines};
                place("%s, power at call %ld, failure %d at call %ld", engines->name, cut, (int)failure, n);
                OK(sim_new((uint64_t)(n * 1000 + cut), &world.sim));
                OK(world_open(&world));
                sim_fail_nth(world.sim, cut, SIM_FAIL_POWER);
                run_workload(&world);
                status_ignore(store_close(world.store));
                sim_crash(world.sim, SIM_TEAR);
                sim_fail_nth(world.sim, n, failure);
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

static void test_sweep_recovery(void **state)
{
        static const SimFailure failures[] = {SIM_FAIL_POWER, SIM_FAIL_ONCE, SIM_FAIL_NO_SPACE};
        random_state = from_environment("RECOVERY_SEED", 1);
        for (size_t i = 0; i < ELEMENTS(worlds); i++)
                for (size_t f = 0; f < ELEMENTS(failures); f++)
                        for (long cut = 20; cut <= 170; cut += 30)
                                recovery_world(&worlds[i], failures[f], cut + (long)rnd(10));
}

/* Whatever allocation fails while commits are made, the others are there. */
static long allocations_while_writing(const Engines *engines, long n)
{
        World world = {.engines = engines};
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
        long fired = mem_fail_fired();
        mem_fail_nth(0);
        OK(store_step(world.store));
        OK(store_close(world.store));
        world.acknowledged = world.last;
        sim_crash(world.sim, SIM_DROP);
        check_after(&world);
        sim_free(world.sim);
        return fired;
}

/* Whatever allocation fails while the directory is opened, it opens the next time. */
static long allocations_while_opening(const Engines *engines, long n)
{
        World world = {.engines = engines};
        OK(sim_new(9, &world.sim));
        OK(world_open(&world));
        run_workload(&world);
        OK(store_sync(world.store, world.last));
        sim_crash(world.sim, SIM_KEEP);
        status_ignore(store_close(world.store));
        mem_fail_nth(n);
        Status st = world_open(&world);
        long fired = mem_fail_fired();
        mem_fail_nth(0);
        assert_true(!fired || status_code(st) == ERR_NOMEM || !st);
        if (!st)
                OK(store_close(world.store));
        status_ignore(st);
        check_after(&world);
        sim_free(world.sim);
        return fired;
}

static void test_sweep_allocations(void **state)
{
        random_state = from_environment("RECOVERY_SEED", 1);
        for (size_t i = 0; i < ELEMENTS(worlds); i++) {
                uint64_t step = (uint64_t)(2 * stride_of(&worlds[i]) - 1);
                for (long n = 1; allocations_while_writing(&worlds[i], n);)
                        n += 1 + (long)rnd(step);
                for (long n = 1; allocations_while_opening(&worlds[i], n);)
                        n += 1 + (long)rnd(step);
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

/* Killed with a log; all but the last commit is proved to have been durable. */
static void world_killed(World *world, const Engines *engines)
{
        Model model = {0};
        *world = (World){.engines = engines};
        OK(sim_new(5, &world->sim));
        OK(world_open(world));
        for (int step = 1; step <= STEPS; step++) {
                if (step == STEPS)
                        OK(store_sync(world->store, world->last));
                OK(run_step(world, step, &model));
                if (is_checkpoint(step))
                        OK(store_checkpoint(world->store));
        }
        OK(store_sync(world->store, world->last));
        world->acknowledged = world->last - 1;
        sim_crash(world->sim, SIM_KEEP);
        status_ignore(store_close(world->store));
}

/* Names the file, and the place in it. */
static void expect_damage(Status st, const char *path)
{
        char text[512];
        status_text(st, text, sizeof(text));
        assert_true(status_code(st) == ERR_CORRUPT || strstr(path, "VERSION"));
        if (!strstr(text, path))
                fail_msg("%s is damaged, but the error is: %s", path, text);
        if (!strstr(path, "VERSION"))
                assert_non_null(strstr(text, "offset"));
        status_free(st);
}

/* No bit may flip unnoticed, but for those that nothing reads (padding, a torn header, the last frame). What is found
 * by a reader is an error of that table. */
static void flip_world(const Engines *engines)
{
        World world;
        Files files;
        world_killed(&world, engines);
        uint64_t last = world.last;
        list_files(&world, &files);
        unsigned found = 0, logs = 0, others = 0;
        for (size_t f = 0; f < files.count; f++) {
                uint64_t by = files.sizes[f] > 20000 ? 97 : 41;
                by *= (uint64_t)stride_of(engines);
                logs += strstr(files.paths[f], ".log") != NULL;
                others += !strstr(files.paths[f], ".log") && !strstr(files.paths[f], "VERSION");
                for (uint64_t offset = rnd(by); offset < files.sizes[f]; offset += 1 + rnd(2 * by)) {
                        sim_crash(world.sim, SIM_KEEP);
                        OK(sim_flip_bit(world.sim, files.paths[f], offset, (int)(offset % 8)));
                        Status st = world_open(&world);
                        bool opened = !st;
                        if (opened) {
                                world.last = last;
                                st = check_rows(&world);
                        }
                        found += st != ST_OK;
                        if (st)
                                expect_damage(st, files.paths[f]);
                        if (!opened) {
                                OK(sim_flip_bit(world.sim, files.paths[f], offset, (int)(offset % 8)));
                                continue;
                        }
                        status_ignore(store_close(world.store));
                        sim_free(world.sim);
                        world_killed(&world, engines);
                        list_files(&world, &files); /* sizes may differ by a little */
                }
        }
        assert_true(found > 20);
        assert_true(logs >= 2 && others >= 1);
        world.last = last;
        check_after(&world);
        sim_free(world.sim);
}

static void test_flipped_bits(void **state)
{
        random_state = from_environment("RECOVERY_SEED", 1);
        for (size_t i = 0; i < ELEMENTS(worlds); i++)
                flip_world(&worlds[i]);
}

/* A log file that is missing in the middle, or all of the log behind a snapshot's back. */
static void missing_world(const Engines *engines)
{
        World world;
        Files files;
        unsigned refused = 0;
        uint64_t last;
        world_killed(&world, engines);
        last = world.last;
        list_files(&world, &files);
        size_t newest = 0;
        for (size_t f = 0; f < files.count; f++)
                if (strstr(files.paths[f], ".log") && strcmp(files.paths[f], files.paths[newest]) > 0)
                        newest = f;
        for (size_t f = 0; f < files.count; f++) {
                OsDir *dir;
                if (!strstr(files.paths[f], ".log") || f == newest)
                        continue;
                OK(os_dir_open(sim_os(world.sim), "data/log", OS_DIR_EXISTING, &dir));
                OK(os_dir_rename(dir, files.paths[f] + strlen("data/log/"), "away"));
                os_dir_close(dir);
                Status st = world_open(&world);
                if (st) {
                        assert_int_equal(status_code(st), ERR_CORRUPT);
                        refused++;
                } else {
                        check_store(&world); /* the files have it all */
                        assert_int_equal(world.last, last);
                        OK(store_close(world.store));
                }
                status_ignore(st);
                sim_free(world.sim);
                world_killed(&world, engines);
        }
        assert_true(refused > 0);
        OsDir *dir;
        OK(os_dir_open(sim_os(world.sim), "data", OS_DIR_EXISTING, &dir));
        OK(os_dir_remove(dir, "VERSION"));
        FAILS(ERR_CORRUPT, world_open(&world));
        os_dir_close(dir);
        sim_free(world.sim);
}

static void test_missing_files(void **state)
{
        for (size_t i = 0; i < ELEMENTS(worlds); i++)
                missing_world(&worlds[i]);
}

/* --- damaged tables --- */

/* Opens; true if just one table is not to be used, and all others are whole. */
static bool one_is_damaged(World *world, StoreTable **ret_table)
{
        StoreStats stats;
        Model model = {0};
        store_stats(world->store, &stats);
        *ret_table = NULL;
        for (uint64_t p = 1; p <= stats.last_position; p++)
                model_step(&model, world->step_at[p]);
        for (uint64_t t = 1; t <= TABLES; t++) {
                StoreTable *table = store_table_ref(world->store, t);
                Status st = table ? store_table_error(table) : ST_OK;
                if (st) {
                        expect_damage(st, "data/pages");
                        if (*ret_table) {
                                store_table_unref(table);
                                *ret_table = store_table_unref(*ret_table);
                                return false;
                        }
                        *ret_table = table;
                } else if (table) {
                        st = expect_table(table, model.rows[t], model.more[t]);
                        store_table_unref(table);
                        if (st) { /* an error of the reader's: not what is looked for */
                                status_ignore(st);
                                *ret_table = store_table_unref(*ret_table);
                                return false;
                        }
                }
        }
        assert_int_equal(stats.damaged_table_count, *ret_table != NULL);
        return *ret_table != NULL;
}

static void put_one(World *world, uint64_t id, bool whole)
{
        Commit *commit;
        uint64_t position;
        StoreTable *table = store_table_ref(world->store, id);
        OK(commit_begin(world->store, &commit));
        OK(commit_lock(commit, table));
        Status st = commit_put(commit, table, BYTES_STR("more"), BYTES_STR("row"));
        assert_int_equal(status_code(st), whole ? ERR_NONE : ERR_CORRUPT);
        status_ignore(st);
        if (whole)
                OK(commit_finish(commit, &position));
        else
                commit_abort(commit);
        store_table_unref(table);
}

/* The table is refused, and the others go on; the log it needs stays; dropped, it is gone for good. */
static void use_damaged(World *world, StoreTable *table)
{
        Snapshot *snapshot;
        Commit *commit;
        StoreStats stats;
        EngineStats one;
        uint64_t position, id = store_table_id(table), other = id == 1 ? 3 : 1;
        FAILS(ERR_CORRUPT, store_pin(table, &snapshot));
        store_table_stats(table, &one);
        assert_int_equal(one.row_count, 0);
        put_one(world, id, false);
        put_one(world, other, true);
        OK(store_checkpoint(world->store));
        FAILS(ERR_CORRUPT, store_checkpoint_error(world->store)); /* said once */
        put_one(world, other, true);
        OK(store_checkpoint(world->store));
        OK(store_checkpoint_error(world->store));
        store_stats(world->store, &stats);
        assert_true(stats.log_bytes > 0 && stats.damaged_table_count == 1);
        store_table_unref(table);
        OK(store_close(world->store));
        /* Still so after a clean close; and then it is dropped. */
        OK(world_open(world));
        table = store_table_ref(world->store, id);
        FAILS(ERR_CORRUPT, store_table_error(table));
        OK(commit_begin(world->store, &commit));
        OK(commit_lock(commit, table));
        OK(commit_drop_table(commit, table));
        OK(commit_finish(commit, &position));
        store_table_unref(table);
        OK(store_checkpoint(world->store));
        store_stats(world->store, &stats);
        assert_int_equal(stats.damaged_table_count, 0);
        assert_int_equal(stats.log_bytes, 0);
        OK(store_close(world->store));
        OK(world_open(world));
        assert_null(store_table_ref(world->store, id));
        OK(store_close(world->store));
}

static void damaged_world(const Engines *engines)
{
        World world;
        Files files;
        size_t pages = 0;
        unsigned dropped = 0, repaired = 0;
        world_killed(&world, engines);
        uint64_t last = world.last;
        for (uint64_t at = 0; dropped + repaired < 4; at += 16 + rnd(400)) {
                StoreTable *table;
                list_files(&world, &files);
                for (size_t f = 0; f < files.count; f++)
                        if (strcmp(files.paths[f], "data/pages") == 0)
                                pages = f;
                assert_true(pages > 0);
                uint64_t offset = 2 * 4096 + at % (files.sizes[pages] - 2 * 4096);
                OK(sim_flip_bit(world.sim, files.paths[pages], offset, 3));
                Status st = world_open(&world);
                world.last = last;
                if (!st && one_is_damaged(&world, &table)) {
                        if ((dropped + repaired) % 2) {
                                use_damaged(&world, table);
                                dropped++;
                        } else {
                                /* Readable again, say on another machine: the log has what it missed. */
                                uint64_t id = store_table_id(table);
                                put_one(&world, id == 1 ? 3 : 1, true);
                                OK(store_checkpoint(world.store));
                                store_table_unref(table);
                                OK(store_close(world.store));
                                OK(sim_flip_bit(world.sim, files.paths[pages], offset, 3));
                                OK(world_open(&world));
                                table = store_table_ref(world.store, id);
                                OK(store_table_error(table));
                                Model model = {0};
                                for (uint64_t p = 1; p <= last; p++)
                                        model_step(&model, world.step_at[p]);
                                OK(expect_table(table, model.rows[id], model.more[id]));
                                store_table_unref(table);
                                OK(store_close(world.store));
                                repaired++;
                        }
                } else if (!st) {
                        sim_fail_nth(world.sim, 1, SIM_FAIL_POWER);
                        status_ignore(store_close(world.store));
                }
                status_ignore(st);
                sim_free(world.sim);
                world_killed(&world, engines);
        }
        sim_free(world.sim);
}

static void test_damaged_tables(void **state)
{
        random_state = from_environment("RECOVERY_SEED", 1);
        damaged_world(&worlds[1]);
        damaged_world(&worlds[2]);
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
                cmocka_unit_test(test_missing_files),        cmocka_unit_test(test_damaged_tables),
        };
        cmocka_set_test_filter(getenv("RECOVERY_TEST")); /* a pattern; NULL: all */
        return cmocka_run_group_tests(tests, NULL, say_place);
}
