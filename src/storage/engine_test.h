/* engine_test.h - for the tests that run against every engine: a simulated disk with an engine and its tables, the
 * model to compare with, and the list of tests for each engine. */
#ifndef STORAGE_ENGINE_TEST_H
#define STORAGE_ENGINE_TEST_H

#include "base/check.h"

#include <assert.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "os/sim.h"
#include "os/thread.h"
#include "storage/engine.h"

/* Of the memos that tests make, alive. */
static atomic_size_t leaf_sum_count, leaf_sum_bytes;

static const EngineRange all = {{NULL, 0}, {NULL, 0}};

static uint64_t seed = 1;
static inline uint64_t rnd(uint64_t below)
{
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        return (seed * 0x2545f4914f6cdd1dull >> 11) % below;
}

/* --- a world: a simulated disk, an engine, its tables --- */

enum { TABLES = 8 };

typedef struct World {
        const EngineOps *ops, *host; /* host: whose Engine it is; ops itself if it has none */
        SimOs *sim;
        OsDir *dir;
        Engine *engine;
        EngineOptions options;
        EngineTable *tables[TABLES]; /* by id */
        bool changed[TABLES];        /* since the last checkpoint */
        uint64_t position;
        Arena hold;
} World;

static inline Status world_attach(World *world)
{
        OK(os_dir_open(sim_os(world->sim), "data", OS_DIR_CREATE, &world->dir));
        world->options.os = sim_os(world->sim);
        world->options.dir = world->dir;
        Status st = world->host->open(&world->options, &world->engine);
        if (st) {
                world->dir = os_dir_close(world->dir);
                world->engine = NULL;
        }
        return st;
}

static inline void world_init(World *world, const EngineOps *ops, EngineOptions options)
{
        *world = (World){.ops = ops, .host = ops->host ? ops->host : ops, .options = options};
        arena_init(&world->hold, 0);
        OK(sim_new(seed, &world->sim));
        OK(world_attach(world));
}

static inline void commit(World *world, unsigned t, EngineWrite *write)
{
        if (world->ops->write_prepare)
                OK(world->ops->write_prepare(write));
        world->ops->write_commit(write, ++world->position);
        world->changed[t] = true;
        if (world->ops->table_tidy)
                world->ops->table_tidy(world->tables[t]);
}

static inline void create(World *world, unsigned t)
{
        EngineWrite *write;
        OK(world->ops->table_create(world->engine, t, &world->tables[t]));
        OK(world->ops->write_begin(world->tables[t], &write));
        commit(world, t, write);
}

static inline void drop(World *world, unsigned t)
{
        world->position++;
        if (world->ops->table_dropped)
                world->ops->table_dropped(world->tables[t], world->position);
        world->ops->table_drop(world->tables[t]);
        world->tables[t] = NULL;
        world->changed[t] = false;
}

static inline Status checkpoint(World *world)
{
        EngineRoot roots[TABLES];
        size_t n = 0;
        Status st = ST_OK;
        if (!world->ops->persistent)
                return ST_OK;
        for (unsigned t = 0; t < TABLES && !st; t++) {
                if (!world->tables[t] || !world->changed[t])
                        continue;
                st = world->ops->pin(world->tables[t], &roots[n].snapshot);
                if (!st)
                        roots[n++].table = world->tables[t];
        }
        if (!st)
                st = world->host->checkpoint(world->engine, world->position, roots, n);
        for (size_t i = 0; i < n; i++)
                world->ops->unpin(roots[i].snapshot);
        if (!st)
                memset(world->changed, 0, sizeof world->changed);
        return st;
}

/* Forgets the engine; what its files have stays. */
static inline void world_detach(World *world)
{
        for (unsigned t = 0; t < TABLES; t++)
                if (world->tables[t])
                        world->ops->table_drop(take(world->tables[t]));
        world->host->close(take(world->engine));
        world->dir = os_dir_close(world->dir);
}

static inline Status open_stored(void *ctx, uint64_t table_id, const EngineOps *ops, uint64_t position)
{
        World *world = ctx;
        assert_true(table_id < TABLES && ops == world->ops);
        assert_true(position <= world->host->stored_position(world->engine));
        assert_null(world->tables[table_id]);
        return world->host->table_open(world->engine, table_id, &world->tables[table_id]);
}

static inline void world_reattach(World *world)
{
        OK(world_attach(world));
        OK(world->host->stored_each(world->engine, open_stored, world));
        world->position = world->host->stored_position(world->engine);
        memset(world->changed, 0, sizeof world->changed);
}

static inline void world_done(World *world)
{
        if (world->engine)
                world_detach(world);
        sim_free(world->sim);
        arena_done(&world->hold);
        assert_int_equal(atomic_load(&leaf_sum_count), 0); /* nothing is remembered of what is gone */
}

/* What the checkpoint thread does: writes out dirty nodes before puts are refused. */
static inline void relieve(World *world)
{
        if (world->host->pressure && world->host->pressure(world->engine) >= 50)
                OK(checkpoint(world));
}

/* What the files say of themselves, when nobody has them open. */
static inline Status on_problem(void *ctx, const char *text)
{
        print_message("%s\n", text);
        *(int *)ctx += 1;
        return ST_OK;
}

static inline void files_check(World *world)
{
        int problems = 0;
        EngineOptions options = {.os = sim_os(world->sim)};
        EngineCheck check = {.ctx = &problems, .problem = on_problem};
        if (!world->ops->persistent)
                return;
        OK(os_dir_open(sim_os(world->sim), "data", OS_DIR_READ, &options.dir));
        OK(world->host->check(&options, &check));
        assert_int_equal(problems, 0);
        os_dir_close(options.dir);
}

/* --- the model: a sorted array of pointers to rows that never change; a copy of it is a snapshot --- */

typedef struct ModelRow {
        Bytes key;
        uint64_t value_seed;
        size_t value_size;
} ModelRow;
typedef struct Model {
        const ModelRow **rows;
        size_t count, capacity;
} Model;

static inline size_t model_place(const Model *model, Bytes key, bool *ret_equal)
{
        size_t low = 0, high = model->count;
        *ret_equal = false;
        while (low < high) {
                size_t middle = (low + high) / 2;
                int c = bytes_compare(model->rows[middle]->key, key);
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

static inline void model_put(Model *model, Arena *rows, Bytes key, uint64_t value_seed, size_t value_size)
{
        bool equal;
        size_t at = model_place(model, key, &equal);
        if (!equal) {
                if (model->count == model->capacity) {
                        model->capacity = model->capacity * 2 + 16;
                        model->rows = realloc(model->rows, model->capacity * sizeof(ModelRow *));
                }
                memmove(&model->rows[at + 1], &model->rows[at], (model->count - at) * sizeof(ModelRow *));
                model->count++;
        }
        ModelRow *row = arena_new(rows, ModelRow);
        *row = (ModelRow){BYTES(arena_dup(rows, key.data, key.size), key.size), value_seed, value_size};
        model->rows[at] = row;
}

static inline bool model_delete(Model *model, Bytes key)
{
        bool equal;
        size_t at = model_place(model, key, &equal);
        if (equal) {
                model->count--;
                memmove(&model->rows[at], &model->rows[at + 1], (model->count - at) * sizeof(ModelRow *));
        }
        return equal;
}

static inline void model_copy(Model *to, const Model *from)
{
        free(to->rows);
        *to = (Model){malloc(from->count * sizeof(ModelRow *) + 1), from->count, from->count};
        if (from->count)
                memcpy(to->rows, from->rows, from->count * sizeof(ModelRow *));
}

enum { VALUE_MAX = 3 << 20 };
static uint8_t value_bytes[VALUE_MAX + 8], expected_bytes[VALUE_MAX + 8];

/* Half of the values are noise, half repeat themselves: what compresses and what does not. */
static inline Bytes value_fill(uint8_t *out, uint64_t value_seed, size_t size)
{
        for (size_t i = 0; i < size; i += 8)
                store_u64(out + i, value_seed % 2 ? value_seed : (value_seed + i) * 0x9e3779b97f4a7c15ull);
        return BYTES(out, size);
}

static inline void check_row(const ModelRow *row, Bytes key, Bytes value)
{
        assert_int_equal(bytes_compare(key, row->key), 0);
        assert_true(bytes_equal(value, value_fill(expected_bytes, row->value_seed, row->value_size)));
}

/* --- blocks --- */

/* What tests remember of a leaf: a sum over its rows, so that one of other rows is found out. */
typedef struct LeafSum {
        Memo memo;
        uint32_t total;
        uint64_t sum;
} LeafSum;

static inline void leaf_sum_free(Memo *memo)
{
        atomic_fetch_sub(&leaf_sum_count, 1);
        atomic_fetch_sub(&leaf_sum_bytes, memo->bytes);
        mem_free(memo);
}

static inline uint64_t value_sum(Bytes value)
{
        return value.size * 0x9e3779b97f4a7c15ull + (value.size >= 8 ? load_u64(value.data) : 0);
}

/* The sum over the cursor's leaf, remembered under `key` if there is room for `bytes`; a remembered one has to be
 * right. *ret_known: it was remembered before. */
static inline Status leaf_sum(const EngineOps *ops, EngineCursor *cursor, EngineBlock block, Arena *hold, uint64_t key,
                              size_t bytes, uint64_t *ret_sum, bool *ret_known)
{
        uint64_t sum = key;
        for (uint32_t i = 0; i < block.total; i++) {
                Bytes value;
                TRY(ops->block_row(cursor, i, hold, &value));
                sum += (i + 1) * value_sum(value);
        }
        const LeafSum *kept = (const LeafSum *)ops->block_memo(cursor, key);
        *ret_known = kept != NULL;
        if (!kept) {
                LeafSum *own = mem_zalloc(bytes);
                if (!own)
                        return status_nomem();
                *own = (LeafSum){{.key = key, .bytes = bytes, .free = leaf_sum_free}, block.total, sum};
                atomic_fetch_add(&leaf_sum_count, 1);
                atomic_fetch_add(&leaf_sum_bytes, bytes);
                kept = (const LeafSum *)ops->block_remember(cursor, &own->memo);
        }
        if (kept) {
                assert(kept->memo.key == key);
                assert(kept->total == block.total);
                assert(kept->sum == sum);
                assert(ops->block_memo(cursor, key) == &kept->memo);
        }
        *ret_sum = sum;
        return ST_OK;
}

/* Leaf by leaf: rows [low, high) of the model are within the range, and what lies beside them is right too. */
static inline void check_blocks(World *world, EngineSnapshot *snapshot, const Model *model, EngineRange range,
                                size_t low, size_t high)
{
        const EngineOps *ops = world->ops;
        EngineCursor *cursor;
        EngineBlock block;
        uint64_t sum;
        bool known;
        OK(ops->cursor_open(snapshot, 0, range, false, &cursor));
        for (size_t i = low;; i += block.count) {
                arena_reset(&world->hold);
                OK(ops->cursor_block(cursor, &block));
                if (block.count == 0) {
                        assert_int_equal(i, high);
                        break;
                }
                assert_true(block.first + block.count <= block.total && block.first <= i);
                assert_true(i + block.count <= high && i - block.first + block.total <= model->count);
                for (uint32_t r = 0; r < block.total; r++) {
                        const ModelRow *row = model->rows[i - block.first + r];
                        Bytes value;
                        OK(ops->block_row(cursor, r, &world->hold, &value));
                        check_row(row, row->key, value);
                }
                OK(leaf_sum(ops, cursor, block, &world->hold, 1 + rnd(3), sizeof(LeafSum), &sum, &known));
        }
        ops->cursor_close(cursor);
}

static inline void check_range(World *world, EngineSnapshot *snapshot, const Model *model, EngineRange range,
                               bool descending)
{
        const EngineOps *ops = world->ops;
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
                arena_reset(&world->hold);
                if (rnd(8) == 0) {
                        uint64_t n = rnd(100);
                        OK(ops->cursor_skip(cursor, n, &skipped));
                        assert_int_equal(skipped, MIN(n, high - i));
                        i += skipped;
                }
                OK(ops->cursor_next(cursor, &world->hold, &key, &value, &found));
                assert_int_equal(found, i < high);
                if (!found)
                        break;
                check_row(model->rows[descending ? high - 1 - (i - low) : i], key, value);
                i++;
        }
        OK(ops->cursor_skip(cursor, 5, &skipped));
        assert_int_equal(skipped, 0);
        ops->cursor_close(cursor);
        check_blocks(world, snapshot, model, range, low, high);

        /* Cut into parts: of equal size, a row more or less, and none of them empty. */
        Bytes keys[7];
        size_t parts = 1 + rnd(8), n;
        arena_reset(&world->hold);
        OK(ops->split(snapshot, 0, range, parts, &world->hold, keys, &n));
        assert_int_equal(n, high == low ? 0 : MIN(parts, high - low) - 1);
        for (size_t i = 0; i <= n && high > low; i++) {
                EngineRange part = {i ? keys[i - 1] : range.low, i < n ? keys[i] : range.high};
                OK(ops->count(snapshot, 0, part, &count));
                assert_true(count >= (high - low) / parts && count <= (high - low) / parts + 1);
        }
}

static inline void check_table(World *world, unsigned t, const Model *model)
{
        EngineSnapshot *snapshot;
        EngineStats stats;
        uint64_t bytes = 0;
        OK(world->ops->pin(world->tables[t], &snapshot));
        check_range(world, snapshot, model, all, rnd(2));
        world->ops->unpin(snapshot);
        world->ops->table_stats(world->tables[t], &stats);
        assert_int_equal(stats.row_count, model->count);
        for (size_t i = 0; i < model->count; i++)
                bytes += model->rows[i]->key.size + model->rows[i]->value_size;
        if (strcmp(world->ops->name, "slab") == 0) /* counts values as it stores them: compressed where that pays */
                assert_true(stats.row_bytes <= bytes + 16 * model->count);
        else
                assert_int_equal(stats.row_bytes, bytes);
}

static inline Bytes number_key(uint64_t i, uint8_t out[8])
{
        store_u64(out, __builtin_bswap64(i * 0x9e3779b97f4a7c15ull));
        return BYTES(out, 8);
}

static inline void put_rows(World *world, unsigned t, uint64_t from, uint64_t to, uint64_t per_commit, uint64_t value)
{
        for (uint64_t i = from; i < to;) {
                EngineWrite *write;
                uint8_t key[8];
                OK(world->ops->write_begin(world->tables[t], &write));
                for (uint64_t n = 0; n < per_commit && i < to; n++, i++)
                        OK(world->ops->write_put(write, 0, number_key(i, key), BYTES(&value, 8)));
                commit(world, t, write);
                relieve(world);
        }
}

static inline void check_count(World *world, uint64_t expected)
{
        EngineSnapshot *snapshot;
        uint64_t count;
        OK(world->ops->pin(world->tables[1], &snapshot));
        OK(world->ops->count(snapshot, 0, all, &count));
        assert_int_equal(count, expected);
        world->ops->unpin(snapshot);
}

/* Until a put is refused, and how it goes on then. */
static inline uint64_t put_until_refused(World *world, StatusCode code, size_t value_size, uint64_t *ret_committed)
{
        Status st = ST_OK;
        uint64_t i = 0;
        *ret_committed = 0;
        while (!st) {
                EngineWrite *write;
                uint8_t key[8];
                OK(world->ops->write_begin(world->tables[1], &write));
                for (unsigned n = 0; n < 10 && !st; n++, i++)
                        st = world->ops->write_put(write, 0, number_key(i, key),
                                                   value_fill(value_bytes, i, value_size));
                if (!st && world->ops->write_prepare)
                        st = world->ops->write_prepare(write);
                if (st) {
                        world->ops->write_abort(write);
                } else {
                        world->ops->write_commit(write, ++world->position);
                        world->ops->table_tidy(world->tables[1]);
                        world->changed[1] = true;
                        *ret_committed = i;
                        if (code == ERR_NO_SPACE && (i % 1000 == 0 || world->host->pressure(world->engine) > 50))
                                st = checkpoint(world);
                }
                assert_true(i < 1000000);
        }
        assert_int_equal(status_code(st), code);
        status_free(st);
        return i;
}

/* --- every test for every engine --- */

typedef struct EngineTest {
        const char *name;
        CMUnitTestFunction test;
} EngineTest;

static inline int run_for_every_engine(const char *group, const EngineTest *tests, size_t count)
{
        enum { MOST = 200 };
        static struct CMUnitTest list[MOST];
        static char names[MOST][64];
        size_t n = 0;
        for (size_t e = 0; engine_at(e); e++) {
                for (size_t t = 0; t < count && n < MOST; t++, n++) {
                        snprintf(names[n], sizeof names[n], "%s: %s", engine_at(e)->name, tests[t].name);
                        list[n] = (struct CMUnitTest){names[n], tests[t].test, NULL, NULL, (void *)engine_at(e)};
                }
        }
        return _cmocka_run_group_tests(group, list, n, NULL, NULL);
}

#endif
