/* engine_trees_test.c - trees beside each other in a table, for every engine: random operations in several against
 * models, with trees that are cleared inside and outside of commits, snapshots that keep them, reopening; how quickly a
 * large one is cleared, and that its memory and its space come back. */

#include "storage/engine_test.h"

enum { TREES = 4, KEYS = 300, SNAPSHOTS = 5 };
static const uint32_t ids[TREES] = {0, 1, 7, 255};

/* A row is the seed of its value; 0: none. */
typedef struct Rows {
        uint64_t of[TREES][KEYS];
} Rows;

static size_t size_of(uint64_t row)
{
        return row % 97 == 5 ? 1500 + row % 3000 : row % 90;
}

static void tree_check_rows(World *world, EngineSnapshot *snapshot, const Rows *rows)
{
        const EngineOps *ops = world->ops;
        uint32_t next = 0;
        for (unsigned t = 0; t < TREES; t++) {
                EngineCursor *cursor;
                Bytes key, value;
                bool found;
                uint64_t count = 0, said;
                for (unsigned i = 0; i < KEYS; i++)
                        count += rows->of[t][i] != 0;
                OK(ops->count(snapshot, ids[t], all, &said));
                assert_int_equal(said, count);
                if (count) {
                        assert_true(ops->next_tree(snapshot, next, &next));
                        assert_int_equal(next++, ids[t]);
                }
                OK(ops->cursor_open(snapshot, ids[t], all, false, &cursor));
                for (uint32_t i = 0; i < KEYS; i++) {
                        uint8_t expected[4];
                        uint64_t row = rows->of[t][i];
                        if (!row)
                                continue;
                        arena_reset(&world->hold);
                        OK(ops->cursor_next(cursor, &world->hold, &key, &value, &found));
                        assert_true(found);
                        store_u32(expected, __builtin_bswap32(i));
                        assert_true(bytes_equal(key, BYTES(expected, 4)));
                        assert_true(bytes_equal(value, value_fill(expected_bytes, row, size_of(row))));
                }
                OK(ops->cursor_next(cursor, &world->hold, &key, &value, &found));
                assert_false(found);
                ops->cursor_close(cursor);
        }
        assert_false(ops->next_tree(snapshot, next, &next));
}

/* The first row from a key on, as the write sees it. */
static Status tree_check_first(World *world, EngineWrite *write, const Rows *rows)
{
        unsigned t = (unsigned)rnd(TREES);
        uint32_t from = (uint32_t)rnd(KEYS), to = (uint32_t)rnd(KEYS + 30), i = from;
        uint8_t low[4], high[4], expected[4];
        Bytes key, value;
        bool found;
        store_u32(low, __builtin_bswap32(from));
        store_u32(high, __builtin_bswap32(to));
        while (i < KEYS && !rows->of[t][i])
                i++;
        bool bounded = rnd(4) != 0;
        arena_reset(&world->hold);
        TRY(world->ops->write_first(write, ids[t], (EngineRange){BYTES(low, 4), bounded ? BYTES(high, 4) : BYTES_NONE},
                                    &world->hold, &key, &value, &found));
        assert_int_equal(found, i < KEYS && (!bounded || i < to));
        if (found) {
                store_u32(expected, __builtin_bswap32(i));
                assert_true(bytes_equal(key, BYTES(expected, 4)));
                assert_true(bytes_equal(value, value_fill(expected_bytes, rows->of[t][i], size_of(rows->of[t][i]))));
        }
        return ST_OK;
}

static Status tree_change(World *world, EngineWrite *write, Rows *rows)
{
        const EngineOps *ops = world->ops;
        uint8_t key[4];
        uint32_t i = (uint32_t)rnd(KEYS);
        unsigned t = (unsigned)rnd(TREES), kind = (unsigned)rnd(100);
        bool found;
        store_u32(key, __builtin_bswap32(i));
        if (rnd(3) == 0)
                TRY(tree_check_first(world, write, rows));
        if (kind < 3 && t > 0) {
                TRY(ops->write_clear(write, ids[t]));
                memset(rows->of[t], 0, sizeof rows->of[t]);
        } else if (kind < 30) {
                TRY(ops->write_delete(write, ids[t], BYTES(key, 4), &found));
                assert_int_equal(found, rows->of[t][i] != 0);
                rows->of[t][i] = 0;
        } else {
                uint64_t row = 1 + rnd(1u << 30);
                TRY(ops->write_put(write, ids[t], BYTES(key, 4), value_fill(value_bytes, row, size_of(row))));
                rows->of[t][i] = row;
        }
        return ST_OK;
}

static void run_trees(const EngineOps *ops, uint64_t with_seed, size_t cache_max_bytes, bool failing)
{
        World world;
        Rows now = {0}, seen[SNAPSHOTS];
        EngineSnapshot *snapshots[SNAPSHOTS] = {0};
        seed = with_seed;
        world_init(&world, ops, (EngineOptions){.cache_max_bytes = cache_max_bytes});
        create(&world, 1);
        for (unsigned c = 0; c < 300; c++) {
                EngineWrite *write;
                Rows after = now;
                OK(ops->write_begin(world.tables[1], &write));
                Status st = ST_OK;
                if (failing)
                        mem_fail_nth(1 + (long)rnd(60));
                for (uint64_t n = rnd(40); n > 0 && !st; n--)
                        st = tree_change(&world, write, &after);
                if (!st && ops->write_prepare)
                        st = ops->write_prepare(write);
                mem_fail_nth(0);
                assert_true(!st || failing);
                if (st || rnd(5) == 0) {
                        ops->write_abort(write);
                } else {
                        ops->write_commit(write, ++world.position);
                        world.changed[1] = true;
                        now = after;
                        ops->table_tidy(world.tables[1]);
                }
                status_ignore(st);
                relieve(&world);
                unsigned s = (unsigned)rnd(SNAPSHOTS);
                if (snapshots[s]) {
                        tree_check_rows(&world, snapshots[s], &seen[s]);
                        ops->unpin(snapshots[s]);
                        snapshots[s] = NULL;
                } else if (rnd(2)) {
                        OK(ops->pin(world.tables[1], &snapshots[s]));
                        seen[s] = now;
                }
                if (rnd(12) == 0)
                        OK(checkpoint(&world));
                if (c % 60 == 59) {
                        for (s = 0; s < SNAPSHOTS; s++) {
                                if (snapshots[s])
                                        ops->unpin(snapshots[s]);
                                snapshots[s] = NULL;
                        }
                        if (ops->persistent) {
                                OK(checkpoint(&world));
                                world_detach(&world);
                                files_check(&world);
                                world_reattach(&world);
                        } else if (ops->maintain) {
                                OK(ops->maintain(world.engine));
                        }
                        OK(ops->pin(world.tables[1], &snapshots[0]));
                        tree_check_rows(&world, snapshots[0], &now);
                        ops->unpin(snapshots[0]);
                        snapshots[0] = NULL;
                }
        }
        world_done(&world);
}

static void test_model(void **state)
{
        for (uint64_t s = 1; s <= 12; s++)
                run_trees(*state, s * 77, s % 3 == 0 ? 200 << 10 : 0, false);
}

static void test_failing_allocations(void **state)
{
        for (uint64_t s = 1; s <= 8; s++)
                run_trees(*state, s * 99, 0, true);
}

/* --- a large tree --- */

static void fill_tree(World *world, uint32_t tree, uint64_t count)
{
        for (uint64_t i = 0; i < count;) {
                EngineWrite *write;
                uint8_t key[8];
                OK(world->ops->write_begin(world->tables[1], &write));
                for (unsigned n = 0; n < 500; n++, i++)
                        OK(world->ops->write_put(write, tree, number_key(i, key), BYTES(&i, 8)));
                commit(world, 1, write);
                relieve(world);
        }
}

static int64_t cpu_ns(void)
{
        struct timespec now;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* Its writer does not wait; what it took comes back when the snapshot that reads it is gone. */
static void test_large(void **state)
{
        enum { LARGE = 40000 };
        const EngineOps *ops = *state;
        EngineSnapshot *snapshot;
        EngineWrite *write;
        EngineStats before, held, after;
        World world;
        uint64_t count;
        world_init(&world, ops, (EngineOptions){0});
        create(&world, 1);
        fill_tree(&world, 0, 500);
        OK(checkpoint(&world));
        OK(checkpoint(&world));
        world.host->engine_stats(world.engine, &before);
        fill_tree(&world, 3, LARGE);
        OK(checkpoint(&world));
        fill_tree(&world, 3, 2000); /* some of it is not in the file */
        for (int reopened = 0; reopened < 2; reopened++) {
                OK(ops->pin(world.tables[1], &snapshot));
                int64_t started = cpu_ns();
                OK(ops->write_begin(world.tables[1], &write));
                OK(ops->write_clear(write, 3));
                commit(&world, 1, write);
                int64_t took = cpu_ns() - started;
                print_message("%s: %d rows cleared in %" PRId64 " us\n", ops->name, LARGE, took / 1000);
                assert_true(took < 20000000);
                OK(checkpoint(&world));
                OK(ops->count(snapshot, 3, all, &count));
                assert_int_equal(count, LARGE);
                world.host->engine_stats(world.engine, &held);
                if (ops->persistent && !reopened) {
                        /* A crash while somebody reads it: the next process gives its space back. */
                        ops->unpin(snapshot);
                        world_detach(&world);
                        files_check(&world);
                        world_reattach(&world);
                } else {
                        ops->unpin(snapshot);
                }
                fill_tree(&world, 0, 500);
                for (int i = 0; i < 3; i++) {
                        fill_tree(&world, 0, 500);
                        OK(checkpoint(&world));
                        if (world.host->maintain)
                                OK(world.host->maintain(world.engine));
                }
                world.host->engine_stats(world.engine, &after);
                if (ops->persistent) {
                        assert_true(held.live_bytes > 2 * before.live_bytes);
                        assert_true(after.live_bytes + after.waiting_bytes < before.live_bytes + (200 << 10));
                } else {
                        assert_true(held.memory_bytes > 4 * before.memory_bytes);
                        assert_true(after.memory_bytes < before.memory_bytes + (200 << 10));
                }
                OK(ops->pin(world.tables[1], &snapshot));
                OK(ops->count(snapshot, 3, all, &count));
                assert_int_equal(count, 0);
                ops->unpin(snapshot);
                fill_tree(&world, 3, LARGE);
                OK(checkpoint(&world));
        }
        world_detach(&world);
        files_check(&world);
        OK(world_attach(&world));
        world_done(&world);
}

/* A table that does not change any more gives the space back with others' checkpoints, when its reader is gone. */
static void test_idle(void **state)
{
        const EngineOps *ops = *state;
        EngineSnapshot *snapshot;
        EngineWrite *write;
        EngineStats held, after;
        World world;
        if (!ops->persistent)
                return;
        world_init(&world, ops, (EngineOptions){0});
        create(&world, 1);
        create(&world, 2);
        fill_tree(&world, 3, 20000);
        OK(checkpoint(&world));
        OK(ops->pin(world.tables[1], &snapshot));
        OK(ops->write_begin(world.tables[1], &write));
        OK(ops->write_clear(write, 3));
        commit(&world, 1, write);
        OK(checkpoint(&world));
        world.host->engine_stats(world.engine, &held);
        ops->unpin(snapshot);
        for (int i = 0; i < 3; i++) {
                put_rows(&world, 2, 0, 10, 10, 1);
                OK(checkpoint(&world));
        }
        world.host->engine_stats(world.engine, &after);
        assert_true(after.live_bytes + after.waiting_bytes < held.live_bytes / 2);
        world_detach(&world);
        files_check(&world);
        OK(world_attach(&world));
        world_done(&world);
}

/* The table is dropped while a cleared tree waits. */
static void test_dropped(void **state)
{
        const EngineOps *ops = *state;
        for (int pinned = 0; pinned < 2; pinned++)
                for (int flushed = 0; flushed < 2; flushed++) {
                        EngineSnapshot *snapshot = NULL;
                        EngineWrite *write;
                        World world;
                        world_init(&world, ops, (EngineOptions){0});
                        create(&world, 1);
                        create(&world, 2);
                        fill_tree(&world, 3, 3000);
                        if (flushed)
                                OK(checkpoint(&world));
                        OK(ops->pin(world.tables[1], &snapshot));
                        OK(ops->write_begin(world.tables[1], &write));
                        OK(ops->write_clear(write, 3));
                        commit(&world, 1, write);
                        OK(checkpoint(&world));
                        if (!pinned)
                                ops->unpin(take(snapshot));
                        drop(&world, 1);
                        OK(checkpoint(&world));
                        if (snapshot)
                                ops->unpin(snapshot);
                        put_rows(&world, 2, 0, 10, 10, 1);
                        OK(checkpoint(&world));
                        world_detach(&world);
                        files_check(&world);
                        OK(world_attach(&world));
                        world_done(&world);
                }
}

int main(void)
{
        static const EngineTest tests[] = {
                {"model", test_model},     {"failing_allocations", test_failing_allocations},
                {"large", test_large},     {"idle", test_idle},
                {"dropped", test_dropped},
        };
        return run_for_every_engine("trees", tests, ELEMENTS(tests));
}
