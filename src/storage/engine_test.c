/* engine_test.c - what storage/engine.h promises, for every engine this binary has: contents against a sorted array,
 * snapshots, cursors, counts, limits, failing allocations. Engines with files are checkpointed, closed and opened again
 * along the way. What is inside an engine is tested beside it. */

#include "storage/engine_test.h"

/* --- random operations on keys of several shapes --- */

typedef enum Shape {
        SHAPE_NUMBERS,
        SHAPE_PREFIXED,
        SHAPE_BYTES,
        SHAPE_ASCENDING,
        SHAPE_DESCENDING,
        SHAPE_LONG,
        SHAPE_COUNT
} Shape;

static uint64_t key_counter;

static Bytes make_key(Shape shape, uint64_t space, uint8_t out[ENGINE_MAX_KEY_BYTES])
{
        uint64_t n = rnd(space);
        switch (shape) {
        case SHAPE_NUMBERS: store_u64(out, __builtin_bswap64(n * 0x9e3779b97f4a7c15ull)); return BYTES(out, 8);
        case SHAPE_PREFIXED:
                return BYTES(out, (size_t)snprintf((char *)out, 80, "a-long-common-prefix:%s:%" PRIu64,
                                                   n % 3 ? "customers" : "customs", n));
        case SHAPE_BYTES: {
                size_t size = rnd(12);
                for (size_t i = 0; i < size; i++)
                        out[i] = (uint8_t)(rnd(3) * 127);
                return BYTES(out, size);
        }
        case SHAPE_LONG: { /* up to the largest, different near the end */
                size_t size = n % 7 == 0 ? ENGINE_MAX_KEY_BYTES - n % 3 : n % 200;
                memset(out, (int)(n % 2), size);
                if (size >= 8)
                        store_u64(out + size - 8, __builtin_bswap64(n));
                return BYTES(out, size);
        }
        default: {
                uint64_t number = rnd(4) ? key_counter++ : n;
                return BYTES(out, (size_t)snprintf((char *)out, 80, "key%012" PRIu64,
                                                   shape == SHAPE_ASCENDING ? number : 1000000 - number));
        }
        }
}

static size_t make_value_size(unsigned large)
{
        uint64_t kind = rnd(large);
        return kind == 0 ? 1000 + rnd(30000) : kind == 1 ? 1500 + rnd(80) : rnd(kind < 20 ? 500 : 40);
}

static void random_write(World *world, EngineWrite *write, Model *model, Arena *rows, Shape shape, bool shrinking)
{
        uint8_t key_bytes[ENGINE_MAX_KEY_BYTES];
        Bytes key = make_key(shape, 3000, key_bytes), got;
        bool found, equal;
        if (shrinking && model->count && rnd(10))
                key = model->rows[rnd(model->count)]->key;
        if (rnd(10) < (shrinking ? 9u : 3u)) {
                OK(world->ops->write_delete(write, 0, key, &found));
                assert_int_equal(found, model_delete(model, key));
        } else {
                uint64_t value_seed = rnd(UINT64_MAX);
                size_t size = make_value_size(world->ops->persistent ? 300 : 1000);
                OK(world->ops->write_put(write, 0, key, value_fill(value_bytes, value_seed, size)));
                model_put(model, rows, key, value_seed, size);
        }
        arena_reset(&world->hold);
        OK(world->ops->write_get(write, 0, key, &world->hold, &got, &found));
        size_t at = model_place(model, key, &equal);
        assert_int_equal(found, equal);
        if (found)
                check_row(model->rows[at], key, got);
}

static void random_reads(World *world, EngineSnapshot *snapshot, const Model *seen, Shape shape)
{
        const EngineOps *ops = world->ops;
        uint8_t low_bytes[ENGINE_MAX_KEY_BYTES], high_bytes[ENGINE_MAX_KEY_BYTES];
        Bytes low = make_key(shape, 3000, low_bytes), high = make_key(shape, 3000, high_bytes), key, value;
        bool found, equal;
        check_range(world, snapshot, seen, (EngineRange){low, high}, rnd(2));
        if (rnd(4) == 0) {
                check_range(world, snapshot, seen, (EngineRange){low, {NULL, 0}}, rnd(2));
                check_range(world, snapshot, seen, (EngineRange){{NULL, 0}, high}, rnd(2));
        }
        size_t at = model_place(seen, low, &equal);
        arena_reset(&world->hold);
        OK(ops->get(snapshot, 0, low, &world->hold, &value, &found));
        assert_int_equal(found, equal);
        if (found)
                check_row(seen->rows[at], low, value);
        uint64_t n = rnd(seen->count + 2);
        OK(ops->nth(snapshot, 0, n, &world->hold, &key, &value, &found));
        assert_int_equal(found, n < seen->count);
        if (found)
                check_row(seen->rows[n], key, value);
}

static void run_model(const EngineOps *ops, Shape shape, unsigned commits, unsigned most_ops, size_t cache_max_bytes)
{
        enum { SNAPSHOTS = 6, TABLE = 7 };
        World world;
        Model model = {0}, before = {0}, stored = {0}, seen[SNAPSHOTS] = {0};
        EngineSnapshot *snapshots[SNAPSHOTS] = {0};
        Arena rows;
        arena_init(&rows, 0);
        key_counter = 0;
        world_init(&world, ops, (EngineOptions){.cache_max_bytes = cache_max_bytes});
        create(&world, TABLE);
        for (unsigned c = 0; c < commits; c++) {
                EngineWrite *write;
                bool abort = rnd(5) == 0;
                if (abort)
                        model_copy(&before, &model);
                OK(ops->write_begin(world.tables[TABLE], &write));
                for (unsigned n = 1 + (unsigned)rnd(most_ops); n > 0; n--)
                        random_write(&world, write, &model, &rows, shape, c % 40 >= 30);
                if (abort) {
                        ops->write_abort(write);
                        model_copy(&model, &before);
                } else {
                        commit(&world, TABLE, write);
                }
                relieve(&world);
                size_t i = rnd(SNAPSHOTS);
                if (rnd(3) == 0) {
                        if (snapshots[i]) {
                                check_range(&world, snapshots[i], &seen[i], all, rnd(2));
                                ops->unpin(snapshots[i]);
                        }
                        OK(ops->pin(world.tables[TABLE], &snapshots[i]));
                        assert_int_equal(ops->version(snapshots[i]) <= world.position, 1);
                        model_copy(&seen[i], &model);
                }
                i = rnd(SNAPSHOTS);
                if (snapshots[i])
                        random_reads(&world, snapshots[i], &seen[i], shape);
                if (ops->persistent && rnd(12) == 0) {
                        OK(checkpoint(&world));
                        model_copy(&stored, &model);
                        if (rnd(3) == 0) { /* opened again, after a crash: as of the last checkpoint */
                                EngineStats stats;
                                for (i = 0; i < SNAPSHOTS; i++)
                                        if (snapshots[i])
                                                ops->unpin(take(snapshots[i]));
                                OK(ops->write_begin(world.tables[TABLE], &write));
                                for (unsigned n = 0; n < 20; n++)
                                        random_write(&world, write, &model, &rows, shape, false);
                                commit(&world, TABLE, write);
                                world_detach(&world);
                                sim_crash(world.sim, SIM_TEAR);
                                world_reattach(&world);
                                model_copy(&model, &stored);
                                check_table(&world, TABLE, &model);
                                world.host->engine_stats(world.engine, &stats);
                                assert_int_equal(stats.file_bytes, stats.live_bytes + stats.waiting_bytes +
                                                                           stats.free_bytes + stats.metadata_bytes);
                        }
                }
        }
        check_table(&world, TABLE, &model);
        /* Dropped while snapshots are open: they go on. */
        drop(&world, TABLE);
        OK(checkpoint(&world));
        for (size_t i = 0; i < SNAPSHOTS; i++) {
                if (snapshots[i]) {
                        check_range(&world, snapshots[i], &seen[i], all, false);
                        ops->unpin(snapshots[i]);
                }
                free(seen[i].rows);
        }
        EngineStats stats;
        world.host->engine_stats(world.engine, &stats);
        assert_int_equal(stats.snapshot_count, 0);
        assert_int_equal(stats.row_count, 0);
        free(model.rows);
        free(before.rows);
        free(stored.rows);
        arena_done(&rows);
        world_done(&world);
}

static void test_model(void **state)
{
        const EngineOps *ops = *state;
        unsigned share = ops->persistent ? 2 : 1; /* the simulated disk takes its time */
        for (int shape = 0; shape < SHAPE_COUNT; shape++) {
                run_model(ops, (Shape)shape, 240 / share, 60, 0);
                run_model(ops, (Shape)shape, 60 / share, 600, 0);
        }
}

/* Data larger than the cache: everything is evicted and read again all the time. */
static void test_model_small_cache(void **state)
{
        const EngineOps *ops = *state;
        if (!ops->persistent)
                return;
        for (int shape = 0; shape < SHAPE_COUNT; shape++)
                run_model(ops, (Shape)shape, 100, 200, 256 << 10);
}

/* --- trees beside each other --- */

static void test_trees(void **state)
{
        const EngineOps *ops = *state;
        World world;
        EngineWrite *write;
        EngineSnapshot *snapshot;
        bool found;
        Bytes value;
        uint64_t count;
        world_init(&world, ops, (EngineOptions){0});
        create(&world, 1);
        OK(ops->write_begin(world.tables[1], &write));
        for (uint32_t tree = 9; tree > 0; tree--)
                for (uint32_t i = 0; i < tree * 10; i++)
                        OK(ops->write_put(write, tree, BYTES(&i, 4), BYTES(&tree, 4)));
        OK(ops->write_delete(write, 77, BYTES_STR("x"), &found));
        assert_false(found);
        commit(&world, 1, write);
        for (int again = 0; again < 2; again++) {
                OK(ops->pin(world.tables[1], &snapshot));
                assert_int_equal(ops->version(snapshot), 2);
                for (uint32_t tree = 1; tree < 10; tree++) {
                        uint32_t key = 3;
                        OK(ops->count(snapshot, tree, all, &count));
                        assert_int_equal(count, tree * 10);
                        OK(ops->get(snapshot, tree, BYTES(&key, 4), &world.hold, &value, &found));
                        assert_true(found);
                        assert_memory_equal(value.data, &tree, 4);
                }
                OK(ops->count(snapshot, 0, all, &count));
                assert_int_equal(count, 0);
                ops->unpin(snapshot);
                OK(ops->write_begin(world.tables[1], &write)); /* in the middle, after an abort */
                OK(ops->write_put(write, 0, BYTES_STR("a"), BYTES_STR("b")));
                ops->write_abort(write);
                if (ops->persistent && !again) {
                        OK(checkpoint(&world));
                        world_detach(&world);
                        world_reattach(&world);
                }
        }
        world_done(&world);
}

/* --- snapshots --- */

/* A snapshot held for long shows its moment, however much is written, checkpointed and dropped meanwhile. */
static void test_long_snapshot(void **state)
{
        enum { ROWS = 2000 };
        const EngineOps *ops = *state;
        World world;
        EngineSnapshot *snapshot, *brief;
        EngineWrite *write;
        uint64_t count;
        bool found;
        world_init(&world, ops, (EngineOptions){.cache_max_bytes = ops->persistent ? 1 << 20 : 0});
        create(&world, 1);
        put_rows(&world, 1, 0, ROWS, 50, 0);
        OK(checkpoint(&world));
        OK(ops->pin(world.tables[1], &snapshot));
        for (uint64_t round = 1; round < 12; round++) {
                put_rows(&world, 1, 0, ROWS, 20, round);
                OK(ops->pin(world.tables[1], &brief));
                ops->unpin(brief);
                if (round % 3 == 0)
                        OK(checkpoint(&world));
        }
        OK(ops->write_begin(world.tables[1], &write));
        for (uint64_t i = 0; i < ROWS; i++) {
                uint8_t key[8];
                OK(ops->write_delete(write, 0, number_key(i, key), &found));
                assert_true(found);
        }
        commit(&world, 1, write);
        OK(checkpoint(&world));
        drop(&world, 1);
        OK(checkpoint(&world));
        OK(ops->count(snapshot, 0, all, &count));
        assert_int_equal(count, ROWS);
        EngineCursor *cursor;
        Bytes key, value;
        OK(ops->cursor_open(snapshot, 0, all, false, &cursor));
        for (unsigned i = 0; i < ROWS; i++) {
                OK(ops->cursor_next(cursor, &world.hold, &key, &value, &found));
                assert_true(found && load_u64(value.data) == 0);
        }
        ops->cursor_close(cursor);
        ops->unpin(snapshot);
        if (ops->persistent) { /* once nobody reads it, its space is free */
                EngineStats stats;
                create(&world, 2);
                OK(checkpoint(&world));
                OK(checkpoint(&world));
                world.host->engine_stats(world.engine, &stats);
                assert_true(stats.live_bytes + stats.waiting_bytes < 32 << 10);
        }
        world_done(&world);
}

static void test_many_snapshots(void **state)
{
        enum { MANY = 600 };
        const EngineOps *ops = *state;
        static EngineSnapshot *snapshots[MANY];
        World world;
        EngineStats stats;
        uint64_t count;
        world_init(&world, ops, (EngineOptions){0});
        create(&world, 0);
        create(&world, 1);
        for (uint64_t i = 0; i < MANY; i++) {
                put_rows(&world, (unsigned)(i % 2), i, i + 1, 1, i);
                OK(ops->pin(world.tables[i % 2], &snapshots[i]));
                if (i % 100 == 50)
                        OK(checkpoint(&world));
        }
        ops->table_stats(world.tables[0], &stats);
        assert_int_equal(stats.snapshot_count, MANY / 2);
        put_rows(&world, 0, 0, 2000, 1, 1);
        put_rows(&world, 1, 0, 2000, 1, 1);
        drop(&world, 1);
        for (uint64_t k = 0; k < MANY; k++) {
                uint64_t i = k * 7919 % MANY;
                OK(ops->count(snapshots[i], 0, all, &count));
                assert_int_equal(count, i / 2 + 1);
                ops->unpin(snapshots[i]);
        }
        ops->table_stats(world.tables[0], &stats);
        assert_int_equal(stats.snapshot_count, 0);
        world_done(&world);
}

/* --- limits --- */

static void test_sizes(void **state)
{
        static const size_t keys[] = {0, 1, 7, 8, 9, 255, 256, 1023, ENGINE_MAX_KEY_BYTES};
        static const size_t values[] = {0,    1,    15,   1023, 1024,  1535,    1536,     1537,
                                        4096, 8191, 8192, 8193, 65536, 1 << 20, VALUE_MAX};
        const EngineOps *ops = *state;
        static uint8_t key[ENGINE_MAX_KEY_BYTES + 1];
        World world;
        EngineWrite *write;
        EngineSnapshot *snapshot;
        Bytes value;
        bool found;
        world_init(&world, ops, (EngineOptions){0});
        create(&world, 1);
        memset(key, 'k', sizeof key);
        for (size_t v = 0; v < ELEMENTS(values); v++) {
                for (size_t k = 0; k < ELEMENTS(keys); k++) {
                        OK(ops->write_begin(world.tables[1], &write));
                        OK(ops->write_put(write, 0, BYTES(key, keys[k]), value_fill(value_bytes, v + k, values[v])));
                        commit(&world, 1, write);
                        if (values[v] > 100000)
                                break;
                }
                if (v % 3 == 2) {
                        OK(checkpoint(&world));
                        if (ops->persistent) {
                                world_detach(&world);
                                world_reattach(&world);
                        }
                }
                OK(ops->pin(world.tables[1], &snapshot));
                for (size_t k = 0; k < ELEMENTS(keys); k++) {
                        arena_reset(&world.hold);
                        OK(ops->get(snapshot, 0, BYTES(key, keys[k]), &world.hold, &value, &found));
                        assert_true(found);
                        assert_true(bytes_equal(value, value_fill(expected_bytes, v + k, values[v])));
                        if (values[v] > 100000)
                                break;
                }
                ops->unpin(snapshot);
        }
        OK(ops->write_begin(world.tables[1], &write));
        FAILS(ERR_LIMIT, ops->write_put(write, 0, BYTES(key, sizeof key), BYTES_NONE));
        ops->write_abort(write);
        OK(ops->write_begin(world.tables[1], &write));
        OK(ops->write_put(write, 0, BYTES(key, 3), BYTES_STR("after")));
        commit(&world, 1, write);
        world_done(&world);
}

/* Memory is full of what is not yet in files: puts are refused, deletes are not; a checkpoint makes room. */
static void test_memory_limit(void **state)
{
        const EngineOps *ops = *state;
        World world;
        EngineWrite *write;
        uint64_t committed;
        bool found;
        uint8_t key[8];
        world_init(&world, ops, (EngineOptions){.memory_max_bytes = 1 << 20, .cache_max_bytes = 1 << 20});
        create(&world, 1);
        put_until_refused(&world, ERR_LIMIT, 16, &committed);
        assert_true(committed > 1000);
        check_count(&world, committed);
        OK(ops->write_begin(world.tables[1], &write));
        for (uint64_t i = 0; i < committed; i += 3) {
                OK(ops->write_delete(write, 0, number_key(i, key), &found));
                assert_true(found);
        }
        commit(&world, 1, write);
        ops->table_tidy(world.tables[1]);
        check_count(&world, committed - (committed + 2) / 3);
        OK(checkpoint(&world));
        if (ops->persistent)
                assert_true(world.host->pressure(world.engine) < 50);
        put_rows(&world, 1, 2000000, 2000010, 10, 1);
        check_count(&world, committed - (committed + 2) / 3 + 10);
        world_done(&world);
}

/* Whatever allocation fails, the commit can be aborted, and nothing is lost or leaked. */
static void test_failing_allocations(void **state)
{
        const EngineOps *ops = *state;
        bool any = true;
        for (long n = 1; any; n++) {
                World world;
                EngineWrite *write = NULL;
                EngineSnapshot *snapshot;
                uint64_t count;
                world_init(&world, ops, (EngineOptions){0});
                create(&world, 1);
                put_rows(&world, 1, 0, 300, 100, 1);
                OK(checkpoint(&world));
                OK(ops->pin(world.tables[1], &snapshot));
                mem_fail_nth(n);
                Status st = ops->write_begin(world.tables[1], &write);
                bool found;
                for (uint64_t i = 0; i < 120 && !st; i++) {
                        uint8_t bytes[8];
                        Bytes key = number_key(i * 3 + 150, bytes);
                        if (i % 4 == 0)
                                st = ops->write_delete(write, 0, key, &found);
                        else
                                st = ops->write_put(write, i % 7 == 0, key,
                                                    value_fill(value_bytes, i, i % 40 == 5 ? 5000 : 8));
                }
                if (!st && ops->write_prepare)
                        st = ops->write_prepare(write);
                if (!st) {
                        ops->write_commit(write, ++world.position);
                        ops->table_tidy(world.tables[1]);
                        world.changed[1] = true;
                        st = checkpoint(&world);
                } else if (write) {
                        ops->write_abort(write);
                }
                assert_true(!st || status_code(st) == ERR_NOMEM);
                status_ignore(st);
                any = mem_fail_fired();
                mem_fail_nth(0);
                OK(ops->count(snapshot, 0, all, &count));
                assert_int_equal(count, 300);
                ops->unpin(snapshot);
                put_rows(&world, 1, 0, 300, 100, 2);
                OK(checkpoint(&world));
                if (ops->persistent) {
                        world_detach(&world);
                        world_reattach(&world);
                }
                EngineStats stats;
                ops->table_stats(world.tables[1], &stats);
                assert_true(stats.row_count >= 300);
                world_done(&world);
        }
}

int main(void)
{
        static const EngineTest tests[] = {
                {"model", test_model},
                {"model_small_cache", test_model_small_cache},
                {"trees", test_trees},
                {"long_snapshot", test_long_snapshot},
                {"many_snapshots", test_many_snapshots},
                {"sizes", test_sizes},
                {"memory_limit", test_memory_limit},
                {"failing_allocations", test_failing_allocations},
        };
        return run_for_every_engine("engines", tests, ELEMENTS(tests));
}
