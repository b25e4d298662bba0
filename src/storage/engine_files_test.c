/* engine_files_test.c - every engine's files: tables around checkpoints, a full file; and readers, a writer,
 * checkpoints, evictions and drops at once (for ThreadSanitizer too). */

#include "storage/engine_test.h"

/* --- files: checkpoints and what is there after them --- */

/* Tables come and go around a checkpoint; what is opened is what the checkpoint had. */
static void test_tables(void **state)
{
        const EngineOps *ops = *state;
        World world;
        if (!ops->persistent)
                return;
        world_init(&world, ops, (EngineOptions){0});
        assert_int_equal(world.host->stored_position(world.engine), 0);
        for (unsigned t = 0; t < 4; t++) {
                create(&world, t);
                put_rows(&world, t, 0, 100 * t, 50, t);
        }
        OK(checkpoint(&world));
        uint64_t at = world.position;
        assert_int_equal(world.host->stored_position(world.engine), at);
        put_rows(&world, 1, 1000, 1010, 1, 9); /* after it: not there */
        create(&world, 5);
        drop(&world, 2);
        world_detach(&world);
        sim_crash(world.sim, SIM_DROP);
        world_reattach(&world);
        assert_int_equal(world.position, at);
        for (unsigned t = 0; t < 4; t++) {
                EngineStats stats;
                assert_non_null(world.tables[t]);
                ops->table_stats(world.tables[t], &stats);
                assert_int_equal(stats.row_count, 100 * t);
        }
        assert_null(world.tables[5]);
        drop(&world, 2);
        drop(&world, 0);
        put_rows(&world, 3, 5000, 5001, 1, 1);
        OK(checkpoint(&world));
        at = world.position;
        world_detach(&world);
        sim_crash(world.sim, SIM_DROP);
        world_reattach(&world);
        assert_true(world.position == at && !world.tables[0] && world.tables[1] && !world.tables[2] && world.tables[3]);
        FAILS(ERR_NOT_FOUND, world.host->table_open(world.engine, 2, &world.tables[2]));
        world.tables[2] = NULL;
        /* A table of an id that was used before, after a checkpoint without it. */
        create(&world, 2);
        put_rows(&world, 2, 0, 5, 1, 1);
        OK(checkpoint(&world));
        world_detach(&world);
        world_reattach(&world);
        EngineStats stats;
        ops->table_stats(world.tables[2], &stats);
        assert_int_equal(stats.row_count, 5);
        world_done(&world);
}

/* The file is full: writing is refused, reading goes on; when rows are deleted there is room again. */
static void test_file_limit(void **state)
{
        const EngineOps *ops = *state;
        World world;
        EngineWrite *write;
        uint64_t committed;
        uint8_t key[8];
        bool found;
        if (!ops->persistent)
                return;
        world_init(&world, ops, (EngineOptions){.file_max_bytes = 4 << 20, .cache_max_bytes = 1 << 20});
        create(&world, 1);
        put_until_refused(&world, ERR_NO_SPACE, 300, &committed);
        assert_true(committed > 1000);
        check_count(&world, committed);
        /* There is no room to write much at once either: delete in pieces, as far as dirty nodes may go. */
        world_detach(&world);
        sim_crash(world.sim, SIM_DROP);
        world.options.file_max_bytes = 0;
        world_reattach(&world);
        EngineStats stats;
        ops->table_stats(world.tables[1], &stats);
        assert_true(stats.row_count >= 1000);
        for (uint64_t i = 0; i < committed; i += 100) {
                OK(ops->write_begin(world.tables[1], &write));
                for (uint64_t n = i; n < i + 100; n++)
                        OK(ops->write_delete(write, 0, number_key(n, key), &found));
                commit(&world, 1, write);
                relieve(&world);
        }
        OK(checkpoint(&world));
        put_rows(&world, 1, 0, 1, 1, 1);
        OK(checkpoint(&world));
        world.host->engine_stats(world.engine, &stats);
        /* Nearly all is free. What the checkpoints write themselves may lie in the last slab, and stay there: how much
         * of the file's end is given back is a matter of luck (space_test.c has what is not). */
        assert_true(stats.file_bytes <= 4 << 20);
        assert_true(stats.live_bytes + stats.waiting_bytes < 64 << 10);
        put_rows(&world, 1, 0, 1000, 100, 1);
        OK(checkpoint(&world));
        check_count(&world, 1000);
        world_done(&world);
}

/* --- readers, a writer, checkpoints, evictions and drops at once --- */

typedef struct Race {
        World world;
        Mutex commit_mu;     /* publishing, and pinning all tables at one position; the store's is of this name too */
        Mutex checkpoint_mu; /* held by a checkpoint: what it uses is not dropped meanwhile; before commit_mu */
        atomic_bool stop;
        atomic_uint_fast64_t reads, checkpoints;
} Race;

enum { RACE_ROWS = 2000, RACE_GROUP = 40, RACE_VALUE = 200 };

static void race_check_at(Status st, const char *what)
{
        char text[500];
        if (st) {
                fprintf(stderr, "%s: %s\n", what, status_text(st, text, sizeof text));
                abort();
        }
}

#define race_check(expr) race_check_at((expr), #expr)

/* Every commit sets all rows of a group to one number and keeps the count: a reader must never see anything else. */
static void race_reader(void *arg)
{
        Race *race = arg;
        const EngineOps *ops = race->world.ops;
        uint64_t last = 0;
        Arena hold;
        arena_init(&hold, 0);
        while (!atomic_load(&race->stop)) {
                EngineSnapshot *snapshot;
                uint64_t count, first = 0;
                bool found;
                Bytes key, value;
                arena_reset(&hold);
                race_check(ops->pin(race->world.tables[1], &snapshot));
                assert(ops->version(snapshot) >= last);
                last = ops->version(snapshot);
                race_check(ops->count(snapshot, 0, all, &count));
                assert(count == RACE_ROWS);
                uint64_t group = last % (RACE_ROWS / RACE_GROUP);
                for (uint64_t i = group * RACE_GROUP; i < (group + 1) * RACE_GROUP; i++) {
                        uint64_t k = __builtin_bswap64(i);
                        race_check(ops->get(snapshot, 0, BYTES(&k, 8), &hold, &value, &found));
                        assert(found);
                        if (i == group * RACE_GROUP)
                                first = load_u64(value.data);
                        assert(load_u64(value.data) == first);
                }
                if (last % 16 == 0) {
                        EngineCursor *cursor;
                        race_check(ops->cursor_open(snapshot, 0, all, last % 32 == 0, &cursor));
                        for (count = 0;; count++) {
                                arena_reset(&hold);
                                race_check(ops->cursor_next(cursor, &hold, &key, &value, &found));
                                if (!found)
                                        break;
                        }
                        assert(count == RACE_ROWS);
                        ops->cursor_close(cursor);
                }
                ops->unpin(snapshot);
                atomic_fetch_add(&race->reads, 1);
        }
        arena_done(&hold);
}

static void race_checkpoints(void *arg)
{
        Race *race = arg;
        World *world = &race->world;
        while (!atomic_load(&race->stop)) {
                EngineRoot roots[TABLES];
                size_t n = 0;
                mutex_lock(&race->checkpoint_mu);
                mutex_lock(&race->commit_mu);
                uint64_t position = world->position;
                for (unsigned t = 0; t < TABLES; t++) {
                        if (world->tables[t] && world->changed[t]) {
                                race_check(world->ops->pin(world->tables[t], &roots[n].snapshot));
                                roots[n++].table = world->tables[t];
                                world->changed[t] = false;
                        }
                }
                mutex_unlock(&race->commit_mu);
                race_check(world->host->checkpoint(world->engine, position, roots, n));
                for (size_t i = 0; i < n; i++)
                        world->ops->unpin(roots[i].snapshot);
                mutex_unlock(&race->checkpoint_mu);
                atomic_fetch_add(&race->checkpoints, 1);
        }
}

static void race_wait(Race *race)
{
        mutex_lock(&race->checkpoint_mu);
        mutex_unlock(&race->checkpoint_mu);
}

static void race_publish(Race *race, unsigned t, EngineWrite *write)
{
        World *world = &race->world;
        if (world->ops->write_prepare)
                race_check(world->ops->write_prepare(write));
        mutex_lock(&race->commit_mu);
        world->ops->write_commit(write, ++world->position);
        world->changed[t] = true;
        mutex_unlock(&race->commit_mu);
        world->ops->table_tidy(world->tables[t]);
}

/* Another table comes and goes, with a row in an extent of its own. */
static void race_other_table(Race *race)
{
        World *world = &race->world;
        EngineWrite *write;
        EngineTable *table;
        if (!world->tables[2]) {
                race_check(world->ops->table_create(world->engine, 2, &table));
                race_check(world->ops->write_begin(table, &write));
                race_check(world->ops->write_put(write, 0, BYTES_STR("large"), value_fill(value_bytes, 4, 20000)));
                mutex_lock(&race->checkpoint_mu); /* a new table is in the map when it is published, not before */
                mutex_lock(&race->commit_mu);
                world->tables[2] = table;
                mutex_unlock(&race->commit_mu);
                mutex_unlock(&race->checkpoint_mu);
                race_publish(race, 2, write);
                return;
        }
        mutex_lock(&race->commit_mu);
        table = take(world->tables[2]);
        world->changed[2] = false;
        world->position++;
        if (world->ops->table_dropped)
                world->ops->table_dropped(table, world->position);
        mutex_unlock(&race->commit_mu);
        mutex_lock(&race->checkpoint_mu);
        world->ops->table_drop(table);
        mutex_unlock(&race->checkpoint_mu);
}

static void race_value(uint64_t number, uint8_t out[RACE_VALUE])
{
        memset(out, (int)number, RACE_VALUE);
        store_u64(out, number);
}

static void test_race(void **state)
{
        enum { READERS = 3, COMMITS = 400 };
        const EngineOps *ops = *state;
        static Race race;
        Thread threads[READERS + 1];
        EngineWrite *write;
        EngineSnapshot *held = NULL;
        uint8_t value[RACE_VALUE];
        race = (Race){0};
        mutex_init(&race.commit_mu);
        mutex_init(&race.checkpoint_mu);
        world_init(&race.world, ops, (EngineOptions){.cache_max_bytes = ops->persistent ? 512 << 10 : 0});
        create(&race.world, 1);
        OK(ops->write_begin(race.world.tables[1], &write));
        race_value(0, value);
        for (uint64_t i = 0; i < RACE_ROWS; i++) {
                uint64_t key = __builtin_bswap64(i);
                OK(ops->write_put(write, 0, BYTES(&key, 8), BYTES(value, sizeof value)));
        }
        commit(&race.world, 1, write);
        for (unsigned i = 0; i < READERS; i++)
                OK(thread_start(&threads[i], "reader", race_reader, &race));
        if (ops->persistent)
                OK(thread_start(&threads[READERS], "checkpoint", race_checkpoints, &race));
        for (uint64_t c = 2; c < COMMITS || atomic_load(&race.reads) < 100; c++) {
                while (race.world.host->pressure && race.world.host->pressure(race.world.engine) > 70)
                        race_wait(&race);
                OK(ops->write_begin(race.world.tables[1], &write));
                uint64_t group = rnd(RACE_ROWS / RACE_GROUP);
                race_value(c, value);
                for (uint64_t i = group * RACE_GROUP; i < (group + 1) * RACE_GROUP; i++) {
                        uint64_t key = __builtin_bswap64(i);
                        bool found;
                        if (i % 3 == 0) {
                                OK(ops->write_delete(write, 0, BYTES(&key, 8), &found));
                                assert_true(found);
                        }
                        OK(ops->write_put(write, 0, BYTES(&key, 8), BYTES(value, sizeof value)));
                }
                if (c % 10 == 0)
                        ops->write_abort(write);
                else
                        race_publish(&race, 1, write);
                if (c % 7 == 0)
                        race_other_table(&race);
                if (c % 100 == 0) {
                        if (held)
                                ops->unpin(held);
                        OK(ops->pin(race.world.tables[1], &held));
                }
        }
        atomic_store(&race.stop, true);
        for (unsigned i = 0; i < READERS + (ops->persistent ? 1u : 0u); i++)
                thread_join(&threads[i]);
        if (held)
                ops->unpin(held);
        if (ops->persistent) { /* what the files have is whole too */
                assert_true(atomic_load(&race.checkpoints) > 3);
                OK(checkpoint(&race.world));
                world_detach(&race.world);
                world_reattach(&race.world);
                check_count(&race.world, RACE_ROWS);
        }
        world_done(&race.world);
        mutex_done(&race.commit_mu);
        mutex_done(&race.checkpoint_mu);
}

int main(void)
{
        static const EngineTest tests[] = {
                {"tables", test_tables},
                {"file_limit", test_file_limit},
                {"race", test_race},
        };
        return run_for_every_engine("engine files", tests, ELEMENTS(tests));
}
