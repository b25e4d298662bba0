/* memory_test.c - the memory engine against a sorted array: contents, counts, snapshots, memory, failing allocations.
 */

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

/* --- the model: a sorted array of rows, copied whole for a snapshot --- */

typedef struct ModelRow {
        uint8_t key[80];
        size_t key_size;
        uint64_t value;
        size_t value_size;
} ModelRow;
typedef struct Model {
        ModelRow *rows;
        size_t count, capacity;
} Model;

static size_t model_place(const Model *model, Bytes key, bool *ret_equal)
{
        size_t low = 0, high = model->count;
        *ret_equal = false;
        while (low < high) {
                size_t middle = (low + high) / 2;
                int c = bytes_compare(BYTES(model->rows[middle].key, model->rows[middle].key_size), key);
                if (c == 0) {
                        *ret_equal = true;
                        return middle;
                }
                if (c < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static void model_put(Model *model, Bytes key, uint64_t value, size_t value_size)
{
        bool equal;
        size_t at = model_place(model, key, &equal);
        if (!equal) {
                if (model->count == model->capacity) {
                        model->capacity = model->capacity * 2 + 16;
                        model->rows = realloc(model->rows, model->capacity * sizeof(ModelRow));
                }
                memmove(&model->rows[at + 1], &model->rows[at], (model->count - at) * sizeof(ModelRow));
                model->count++;
                if (key.size)
                        memcpy(model->rows[at].key, key.data, key.size);
                model->rows[at].key_size = key.size;
        }
        model->rows[at].value = value;
        model->rows[at].value_size = value_size;
}

static bool model_delete(Model *model, Bytes key)
{
        bool equal;
        size_t at = model_place(model, key, &equal);
        if (equal) {
                model->count--;
                memmove(&model->rows[at], &model->rows[at + 1], (model->count - at) * sizeof(ModelRow));
        }
        return equal;
}

static Model model_copy(const Model *model)
{
        Model copy = {malloc(model->count * sizeof(ModelRow) + 1), model->count, model->count};
        if (model->count)
                memcpy(copy.rows, model->rows, model->count * sizeof(ModelRow));
        return copy;
}

static void value_fill(uint8_t *out, uint64_t value, size_t size)
{
        for (size_t i = 0; i < size; i++)
                out[i] = (uint8_t)(value >> (i % 8 * 8));
}

static void check_row(const ModelRow *row, Bytes key, Bytes value)
{
        uint8_t expected[512];
        assert_int_equal(bytes_compare(key, BYTES(row->key, row->key_size)), 0);
        value_fill(expected, row->value, row->value_size);
        assert_int_equal(value.size, row->value_size);
        assert_memory_equal(value.data, expected, value.size);
}

static void check_range(EngineSnapshot *snapshot, const Model *model, EngineRange range, bool descending)
{
        bool equal, found;
        size_t low = range.low.data ? model_place(model, range.low, &equal) : 0;
        size_t high = range.high.data ? model_place(model, range.high, &equal) : model->count;
        uint64_t count, skipped;
        high = MAX(low, high);
        OK(ops->count(snapshot, 0, range, &count));
        assert_int_equal(count, high - low);
        EngineCursor *cursor;
        OK(ops->cursor_open(snapshot, 0, range, descending, &cursor));
        for (size_t i = low;;) {
                Bytes key, value;
                if (rnd(8) == 0) {
                        uint64_t n = rnd(100);
                        OK(ops->cursor_skip(cursor, n, &skipped));
                        assert_int_equal(skipped, MIN(n, high - i));
                        i += skipped;
                }
                OK(ops->cursor_next(cursor, NULL, &key, &value, &found));
                assert_int_equal(found, i < high);
                if (!found)
                        break;
                check_row(&model->rows[descending ? high - 1 - (i - low) : i], key, value);
                i++;
        }
        OK(ops->cursor_skip(cursor, 5, &skipped));
        assert_int_equal(skipped, 0);
        ops->cursor_close(cursor);
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

static void run_model(Shape shape, unsigned commits, unsigned most_ops)
{
        enum { SNAPSHOTS = 6 };
        Engine *engine;
        EngineTable *table;
        EngineOptions options = {0};
        Model model = {0}, seen[SNAPSHOTS] = {0};
        EngineSnapshot *snapshots[SNAPSHOTS] = {0};
        uint8_t key_bytes[80], other_bytes[80], value_bytes[512];
        Arena hold;
        arena_init(&hold, 0);
        OK(ops->open(os_posix(), &options, &engine));
        OK(ops->table_create(engine, 7, &table));
        for (unsigned c = 0; c < commits; c++) {
                EngineWrite *write;
                Model before = rnd(5) == 0 ? model_copy(&model) : (Model){0};
                bool abort = before.rows != NULL;
                bool shrinking = c % 40 >= 30;
                OK(ops->write_begin(table, &write));
                for (unsigned n = 1 + (unsigned)rnd(most_ops); n > 0; n--) {
                        Bytes key = make_key(shape, 3000, key_bytes), got;
                        bool found, equal;
                        if (shrinking && model.count && rnd(10)) {
                                const ModelRow *row = &model.rows[rnd(model.count)];
                                memcpy(key_bytes, row->key, row->key_size);
                                key = BYTES(key_bytes, row->key_size);
                        }
                        if (rnd(10) < (shrinking ? 9u : 3u)) {
                                OK(ops->write_delete(write, 0, key, &found));
                                assert_int_equal(found, model_delete(&model, key));
                        } else {
                                uint64_t value = rnd(UINT64_MAX);
                                size_t size = rnd(rnd(20) ? 40 : 500);
                                value_fill(value_bytes, value, size);
                                OK(ops->write_put(write, 0, key, BYTES(value_bytes, size)));
                                model_put(&model, key, value, size);
                        }
                        arena_reset(&hold);
                        OK(ops->write_get(write, 0, key, &hold, &got, &found));
                        size_t at = model_place(&model, key, &equal);
                        assert_int_equal(found, equal);
                        if (found)
                                check_row(&model.rows[at], key, got);
                }
                if (abort) {
                        ops->write_abort(write);
                        free(model.rows);
                        model = before;
                } else {
                        ops->write_commit(write, c + 1);
                        ops->table_tidy(table);
                }
                if (c % 8 == 0)
                        check_tree(table);
                if (rnd(3) == 0) {
                        size_t i = rnd(SNAPSHOTS);
                        if (snapshots[i]) {
                                check_range(snapshots[i], &seen[i], all, rnd(2));
                                ops->unpin(snapshots[i]);
                                free(seen[i].rows);
                        }
                        OK(ops->pin(table, &snapshots[i]));
                        seen[i] = model_copy(&model);
                }
                size_t i = rnd(SNAPSHOTS);
                if (snapshots[i]) {
                        Bytes low = make_key(shape, 3000, key_bytes), high = make_key(shape, 3000, other_bytes), key,
                              value;
                        bool found, equal;
                        check_range(snapshots[i], &seen[i], (EngineRange){low, high}, rnd(2));
                        check_range(snapshots[i], &seen[i], (EngineRange){low, {NULL, 0}}, rnd(2));
                        check_range(snapshots[i], &seen[i], (EngineRange){{NULL, 0}, high}, rnd(2));
                        size_t at = model_place(&seen[i], low, &equal);
                        OK(ops->get(snapshots[i], 0, low, NULL, &value, &found));
                        assert_int_equal(found, equal);
                        if (found)
                                check_row(&seen[i].rows[at], low, value);
                        uint64_t n = rnd(seen[i].count + 2);
                        OK(ops->nth(snapshots[i], 0, n, NULL, &key, &value, &found));
                        assert_int_equal(found, n < seen[i].count);
                        if (found)
                                check_row(&seen[i].rows[n], key, value);
                }
        }
        EngineStats stats;
        ops->table_stats(table, &stats);
        assert_int_equal(stats.row_count, model.count);
        uint64_t bytes = 0;
        for (size_t i = 0; i < model.count; i++)
                bytes += model.rows[i].key_size + model.rows[i].value_size;
        assert_int_equal(stats.row_bytes, bytes);
        /* Dropped while snapshots are open: they go on. */
        ops->table_drop(table);
        for (size_t i = 0; i < SNAPSHOTS; i++) {
                if (snapshots[i]) {
                        check_range(snapshots[i], &seen[i], all, false);
                        ops->unpin(snapshots[i]);
                        free(seen[i].rows);
                }
        }
        ops->engine_stats(engine, &stats);
        assert_int_equal(stats.snapshot_count, 0);
        assert_true(engine->tables == NULL); /* the last unpin freed it */
        free(model.rows);
        ops->close(engine);
        arena_done(&hold);
}

static void test_model(void **state)
{
        for (int shape = 0; shape < SHAPE_COUNT; shape++) {
                run_model((Shape)shape, 400, 60);
                run_model((Shape)shape, 100, 600);
        }
}

/* --- trees beside each other --- */

static void test_trees(void **state)
{
        Engine *engine;
        EngineTable *table;
        EngineOptions options = {0};
        EngineWrite *write;
        EngineSnapshot *snapshot;
        bool found;
        Bytes value;
        uint64_t count;
        OK(ops->open(os_posix(), &options, &engine));
        OK(ops->table_create(engine, 1, &table));
        OK(ops->write_begin(table, &write));
        for (uint32_t tree = 9; tree > 0; tree--)
                for (uint32_t i = 0; i < tree * 10; i++)
                        OK(ops->write_put(write, tree, BYTES(&i, 4), BYTES(&tree, 4)));
        OK(ops->write_delete(write, 77, BYTES_STR("x"), &found));
        assert_false(found);
        ops->write_commit(write, 5);
        OK(ops->pin(table, &snapshot));
        assert_int_equal(ops->version(snapshot), 5);
        for (uint32_t tree = 1; tree < 10; tree++) {
                uint32_t key = 3;
                OK(ops->count(snapshot, tree, all, &count));
                assert_int_equal(count, tree * 10);
                OK(ops->get(snapshot, tree, BYTES(&key, 4), NULL, &value, &found));
                assert_true(found);
                assert_memory_equal(value.data, &tree, 4);
        }
        OK(ops->count(snapshot, 0, all, &count));
        assert_int_equal(count, 0);
        ops->unpin(snapshot);
        OK(ops->write_begin(table, &write)); /* in the middle, after an abort */
        OK(ops->write_put(write, 0, BYTES_STR("a"), BYTES_STR("b")));
        ops->write_abort(write);
        check_tree(table);
        ops->close(engine);
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
        OK(ops->open(os_posix(), &options, &engine));
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
        OK(ops->open(os_posix(), &options, &engine));
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
        OK(ops->open(os_posix(), &options, &engine));
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
                OK(ops->open(os_posix(), &options, &engine));
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

/* --- readers beside a writer --- */

typedef struct Race {
        Engine *engine;
        EngineTable *table;
        atomic_bool stop;
        atomic_uint_fast64_t reads;
} Race;

enum { RACE_ROWS = 2000 };

/* Every commit sets all rows of a group to one number and keeps the count: a reader must never see anything else. */
static void race_reader(void *arg)
{
        Race *race = arg;
        uint64_t last = 0;
        while (!atomic_load(&race->stop)) {
                EngineSnapshot *snapshot;
                uint64_t count, first = 0;
                bool found;
                Bytes key, value;
                Status st = ops->pin(race->table, &snapshot);
                assert(!st);
                assert(ops->version(snapshot) >= last);
                last = ops->version(snapshot);
                st = ops->count(snapshot, 0, all, &count);
                assert(!st && count == RACE_ROWS);
                uint64_t group = last % 50;
                for (uint64_t i = group * 40; i < group * 40 + 40; i++) {
                        uint64_t k = __builtin_bswap64(i);
                        st = ops->get(snapshot, 0, BYTES(&k, 8), NULL, &value, &found);
                        assert(!st && found);
                        if (i == group * 40)
                                first = load_u64(value.data);
                        assert(load_u64(value.data) == first);
                }
                if (last % 16 == 0) {
                        EngineCursor *cursor;
                        st = ops->cursor_open(snapshot, 0, all, last % 32 == 0, &cursor);
                        assert(!st);
                        for (count = 0; !(st = ops->cursor_next(cursor, NULL, &key, &value, &found)) && found; count++)
                                ;
                        assert(!st && count == RACE_ROWS);
                        ops->cursor_close(cursor);
                }
                ops->unpin(snapshot);
                atomic_fetch_add(&race->reads, 1);
        }
}

static void test_readers_and_writer(void **state)
{
        enum { READERS = 3 };
        EngineOptions options = {0};
        Race race = {0};
        Thread threads[READERS];
        EngineWrite *write;
        OK(ops->open(os_posix(), &options, &race.engine));
        OK(ops->table_create(race.engine, 1, &race.table));
        OK(ops->write_begin(race.table, &write));
        uint64_t zero = 0;
        for (uint64_t i = 0; i < RACE_ROWS; i++) {
                uint64_t key = __builtin_bswap64(i);
                OK(ops->write_put(write, 0, BYTES(&key, 8), BYTES(&zero, 8)));
        }
        ops->write_commit(write, 1);
        for (unsigned i = 0; i < READERS; i++)
                OK(thread_start(&threads[i], "reader", race_reader, &race));
        EngineSnapshot *held = NULL;
        for (uint64_t c = 2; c < 4000 || atomic_load(&race.reads) < 200; c++) {
                OK(ops->write_begin(race.table, &write));
                uint64_t group = rnd(50);
                for (uint64_t i = group * 40; i < group * 40 + 40; i++) {
                        uint64_t key = __builtin_bswap64(i);
                        bool found;
                        if (i % 3 == 0) {
                                OK(ops->write_delete(write, 0, BYTES(&key, 8), &found));
                                assert_true(found);
                        }
                        OK(ops->write_put(write, 0, BYTES(&key, 8), BYTES(&c, 8)));
                }
                if (c % 10 == 0)
                        ops->write_abort(write);
                else
                        ops->write_commit(write, c);
                ops->table_tidy(race.table);
                if (c % 500 == 0) {
                        ops->unpin(held);
                        OK(ops->pin(race.table, &held));
                }
        }
        atomic_store(&race.stop, true);
        for (unsigned i = 0; i < READERS; i++)
                thread_join(&threads[i]);
        ops->unpin(held);
        check_tree(race.table);
        ops->table_drop(race.table);
        ops->close(race.engine);
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
        OK(ops->open(os_posix(), &options, &engine));
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
                cmocka_unit_test(test_model),
                cmocka_unit_test(test_trees),
                cmocka_unit_test(test_long_snapshot),
                cmocka_unit_test(test_ascending_fills_leaves),
                cmocka_unit_test(test_memory_limit),
                cmocka_unit_test(test_failing_allocations),
                cmocka_unit_test(test_readers_and_writer),
                cmocka_unit_test(test_many_snapshots),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
