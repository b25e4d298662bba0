/* memory_test.c - the inside of the memory engine: its nodes, and what memory it holds. What it has in common with
 * other engines is tested by storage/engine_test.c. */

#include "base/check.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/memory/memory_int.h"

static const EngineOps *const ops = &engine_memory;
static const EngineRange all = {{NULL, 0}, {NULL, 0}};

static uint64_t seed = 1;
static uint64_t rnd(uint64_t below)
{
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        return (seed * 0x2545f4914f6cdd1dull >> 11) % below;
}

/* --- keys of several shapes --- */

typedef enum Shape { SHAPE_NUMBERS, SHAPE_PREFIXED, SHAPE_BYTES, SHAPE_ASCENDING, SHAPE_DESCENDING, SHAPE_COUNT } Shape;

static Bytes make_key(Shape shape, uint64_t space, uint8_t out[80])
{
        static uint64_t counter;
        uint64_t n = rnd(space);
        switch (shape) {
        case SHAPE_NUMBERS:
                n = __builtin_bswap64(n * 0x9e3779b97f4a7c15ull);
                memcpy(out, &n, 8);
                return BYTES(out, 8);
        case SHAPE_PREFIXED:
                return BYTES(out, (size_t)snprintf((char *)out, 80, "a-long-common-prefix:%s:%llu",
                                                   n % 3 ? "customers" : "customs", (unsigned long long)n));
        case SHAPE_BYTES: {
                size_t size = rnd(12);
                for (size_t i = 0; i < size; i++)
                        out[i] = (uint8_t)(rnd(3) * 127);
                return BYTES(out, size);
        }
        case SHAPE_ASCENDING:
                return BYTES(out, (size_t)snprintf((char *)out, 80, "key%012llu",
                                                   (unsigned long long)(rnd(4) ? counter++ : n)));
        default:
                return BYTES(out, (size_t)snprintf((char *)out, 80, "key%012llu",
                                                   (unsigned long long)(1000000 - (rnd(4) ? counter++ : n))));
        }
}

static void check_tree(EngineTable *table)
{
        const Root *root = atomic_load(&table->root);
        for (uint32_t i = 0; i < root->tree_count; i++)
                tree_check(&root->trees[i]);
}

/* After every commit and abort the nodes are in order, full enough and counted right, whatever is pinned meanwhile. */
static void run_shape(Shape shape, unsigned commits, unsigned most_ops)
{
        enum { SNAPSHOTS = 6 };
        Engine *engine;
        EngineTable *table;
        EngineOptions options = {0};
        EngineSnapshot *snapshots[SNAPSHOTS] = {0};
        static const uint8_t value[500];
        uint8_t key[80];
        OK(ops->open(&options, &engine));
        OK(ops->table_create(engine, 7, &table));
        for (unsigned c = 0; c < commits; c++) {
                EngineWrite *write;
                bool found;
                OK(ops->write_begin(table, &write));
                for (unsigned n = 1 + (unsigned)rnd(most_ops); n > 0; n--) {
                        Bytes k = make_key(shape, 3000, key);
                        uint32_t tree = rnd(10) == 0 ? 1 + (uint32_t)rnd(3) : 0;
                        if (rnd(10) < (c % 40 >= 30 ? 9u : 3u))
                                OK(ops->write_delete(write, tree, k, &found));
                        else
                                OK(ops->write_put(write, tree, k, BYTES(value, rnd(rnd(20) ? 40 : sizeof(value)))));
                }
                if (rnd(5) == 0) {
                        ops->write_abort(write);
                } else {
                        ops->write_commit(write, c + 1);
                        ops->table_tidy(table);
                }
                check_tree(table);
                size_t i = rnd(SNAPSHOTS);
                if (snapshots[i])
                        ops->unpin(snapshots[i]);
                OK(ops->pin(table, &snapshots[i]));
        }
        ops->table_drop(table);
        for (size_t i = 0; i < SNAPSHOTS; i++)
                if (snapshots[i])
                        ops->unpin(snapshots[i]);
        assert_true(engine->tables == NULL); /* the last unpin freed it */
        ops->close(engine);
}

static void test_structure(void **state)
{
        for (int shape = 0; shape < SHAPE_COUNT; shape++) {
                run_shape((Shape)shape, 200, 60);
                run_shape((Shape)shape, 50, 600);
        }
}

/* --- memory --- */

static size_t used(EngineTable *table)
{
        EngineStats stats;
        ops->table_stats(table, &stats);
        return stats.memory_bytes;
}

static void put_rows(EngineTable *table, uint64_t from, uint64_t to, uint64_t per_commit, uint64_t value)
{
        for (uint64_t i = from; i < to;) {
                EngineWrite *write;
                OK(ops->write_begin(table, &write));
                for (uint64_t n = 0; n < per_commit && i < to; n++, i++) {
                        uint64_t key = __builtin_bswap64(i * 0x9e3779b97f4a7c15ull);
                        OK(ops->write_put(write, 0, BYTES(&key, 8), BYTES(&value, 8)));
                }
                ops->write_commit(write, 1);
                ops->table_tidy(table);
        }
}

/* A snapshot held for long keeps what it can read, however much is written meanwhile; then memory shrinks again. */
static void test_long_snapshot(void **state)
{
        Engine *engine;
        EngineTable *table;
        EngineOptions options = {0};
        EngineSnapshot *snapshot, *brief;
        EngineWrite *write;
        uint64_t count;
        bool found;
        OK(ops->open(&options, &engine));
        OK(ops->table_create(engine, 1, &table));
        put_rows(table, 0, 5000, 50, 0);
        size_t before = used(table);
        OK(ops->pin(table, &snapshot));
        for (uint64_t round = 1; round < 20; round++) {
                put_rows(table, 0, 5000, 10, round);
                OK(ops->pin(table, &brief));
                ops->unpin(brief);
        }
        assert_true(used(table) < 3 * before + (2u << 20));
        OK(ops->count(snapshot, 0, all, &count));
        assert_int_equal(count, 5000);
        EngineCursor *cursor;
        Bytes key, value;
        OK(ops->cursor_open(snapshot, 0, all, false, &cursor));
        for (unsigned i = 0; i < 5000; i++) {
                OK(ops->cursor_next(cursor, NULL, &key, &value, &found));
                assert_true(found && load_u64(value.data) == 0);
        }
        ops->cursor_close(cursor);
        ops->unpin(snapshot);
        assert_true(used(table) < before + before / 2 + (1u << 20));
        OK(ops->write_begin(table, &write));
        for (uint64_t i = 0; i < 5000; i++) {
                uint64_t k = __builtin_bswap64(i * 0x9e3779b97f4a7c15ull);
                OK(ops->write_delete(write, 0, BYTES(&k, 8), &found));
                assert_true(found);
        }
        ops->write_commit(write, 2);
        ops->table_tidy(table);
        epoch_reclaim(table, true);
        assert_true(used(table) < 200000);
        assert_true(atomic_load(&table->root)->trees[0].top == NULL);
        ops->close(engine);
}

static void test_ascending_fills_leaves(void **state)
{
        Engine *engine;
        EngineTable *table;
        EngineOptions options = {0};
        EngineWrite *write;
        OK(ops->open(&options, &engine));
        OK(ops->table_create(engine, 1, &table));
        OK(ops->write_begin(table, &write));
        for (uint64_t i = 0; i < 64 * 200; i++) {
                uint64_t key = __builtin_bswap64(i);
                OK(ops->write_put(write, 0, BYTES(&key, 8), BYTES_NONE));
        }
        ops->write_commit(write, 1);
        check_tree(table);
        size_t rows = 64 * 200 * (sizeof(Row) + 8 + 8), nodes = used(table) - rows;
        assert_true(nodes < 230 * (sizeof(Node) + 8) + 8 * sizeof(Inner) + 40000);
        ops->close(engine);
}

static void test_memory_limit(void **state)
{
        Engine *engine;
        EngineTable *table;
        EngineOptions options = {.memory_max_bytes = 1 << 20};
        EngineWrite *write;
        Status st = ST_OK;
        uint64_t i = 0;
        bool found;
        OK(ops->open(&options, &engine));
        OK(ops->table_create(engine, 1, &table));
        while (!st) {
                OK(ops->write_begin(table, &write));
                for (unsigned n = 0; n < 10 && !st; n++, i++)
                        st = ops->write_put(write, 0, BYTES(&i, 8), BYTES("0123456789abcdef", 16));
                if (st)
                        ops->write_abort(write);
                else
                        ops->write_commit(write, i);
        }
        assert_int_equal(status_code(st), ERR_LIMIT);
        assert_non_null(strstr(status_message(st), "1 MiB"));
        status_free(st);
        assert_true(i > 5000);
        check_tree(table);
        /* Deleting makes room, also at the limit. */
        OK(ops->write_begin(table, &write));
        for (uint64_t k = 0; k < 2000; k++)
                OK(ops->write_delete(write, 0, BYTES(&k, 8), &found));
        ops->write_commit(write, i);
        ops->table_tidy(table);
        epoch_reclaim(table, true);
        OK(ops->write_begin(table, &write));
        OK(ops->write_put(write, 0, BYTES("new", 3), BYTES("row", 3)));
        ops->write_commit(write, i + 1);
        st = ST_OK;
        OK(ops->write_begin(table, &write));
        uint8_t large_key[ENGINE_MAX_KEY_BYTES + 1] = {0};
        st = ops->write_put(write, 0, BYTES(large_key, sizeof(large_key)), BYTES_NONE);
        assert_int_equal(status_code(st), ERR_LIMIT);
        status_free(st);
        ops->write_abort(write);
        ops->close(engine);
}

/* Whatever allocation fails, the commit can be aborted, and nothing is lost or leaked. */
static void test_failing_allocations(void **state)
{
        bool any = true;
        for (long n = 1; any; n++) {
                Engine *engine;
                EngineTable *table;
                EngineOptions options = {0};
                EngineWrite *write = NULL;
                EngineSnapshot *snapshot;
                OK(ops->open(&options, &engine));
                OK(ops->table_create(engine, 1, &table));
                put_rows(table, 0, 1000, 100, 1);
                OK(ops->pin(table, &snapshot));
                mem_fail_nth(n);
                Status st = ops->write_begin(table, &write);
                bool found;
                for (uint64_t i = 0; i < 300 && !st; i++) {
                        uint64_t key = __builtin_bswap64((i * 3 + 500) * 0x9e3779b97f4a7c15ull);
                        if (i % 4 == 0)
                                st = ops->write_delete(write, 0, BYTES(&key, 8), &found);
                        else
                                st = ops->write_put(write, i % 7 == 0, BYTES(&key, 8), BYTES(&i, 8));
                }
                if (!st) {
                        ops->write_commit(write, 9);
                        ops->table_tidy(table);
                } else {
                        assert_int_equal(status_code(st), ERR_NOMEM);
                        ops->write_abort(write ? write : NULL);
                        status_free(st);
                }
                any = mem_fail_fired();
                mem_fail_nth(0);
                check_tree(table);
                uint64_t count;
                OK(ops->count(snapshot, 0, all, &count));
                assert_int_equal(count, 1000);
                ops->unpin(snapshot);
                if (any)
                        put_rows(table, 0, 1000, 100, 2);
                check_tree(table);
                ops->close(engine);
        }
}

static void test_many_snapshots(void **state)
{
        enum { MANY = 1000 };
        Engine *engine;
        EngineTable *tables[2];
        EngineOptions options = {0};
        static EngineSnapshot *snapshots[MANY];
        EngineStats stats;
        uint64_t count;
        OK(ops->open(&options, &engine));
        OK(ops->table_create(engine, 1, &tables[0]));
        OK(ops->table_create(engine, 2, &tables[1]));
        for (uint64_t i = 0; i < MANY; i++) {
                put_rows(tables[i % 2], i, i + 1, 1, i);
                OK(ops->pin(tables[i % 2], &snapshots[i]));
        }
        ops->table_stats(tables[0], &stats);
        assert_int_equal(stats.snapshot_count, MANY / 2);
        put_rows(tables[0], 0, 3000, 1, 1);
        put_rows(tables[1], 0, 3000, 1, 1);
        ops->table_drop(tables[1]);
        for (uint64_t k = 0; k < MANY; k++) {
                uint64_t i = k * 7919 % MANY;
                OK(ops->count(snapshots[i], 0, all, &count));
                assert_int_equal(count, i / 2 + 1);
                ops->unpin(snapshots[i]);
        }
        epoch_reclaim(tables[0], true);
        assert_int_equal(tables[0]->holder_count, 0);
        assert_int_equal(tables[0]->fresh.count, 0);
        check_tree(tables[0]);
        ops->close(engine);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_structure),
                cmocka_unit_test(test_long_snapshot),
                cmocka_unit_test(test_ascending_fills_leaves),
                cmocka_unit_test(test_memory_limit),
                cmocka_unit_test(test_failing_allocations),
                cmocka_unit_test(test_many_snapshots),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
