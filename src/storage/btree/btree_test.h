/* btree_test.h - for the tests of this folder: an engine on a simulated disk, and a model that knows what every table
 * held at every position, so that whatever checkpoint a crash leaves can be compared row by row. */
#ifndef STORAGE_BTREE_BTREE_TEST_H
#define STORAGE_BTREE_BTREE_TEST_H

#include "base/check.h"
#include "os/sim.h"
#include "storage/btree/btree_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define MODEL_TABLES    6u
#define MODEL_KEYS      48u
#define MODEL_POSITIONS 512u
#define MODEL_TREES     2u
#define MODEL_PINS      4u

/* Per row what its value is made from; 0: no row. */
typedef struct ModelTable {
        bool exists, slab;
        uint32_t rows[MODEL_TREES][MODEL_KEYS];
} ModelTable;
typedef struct Model {
        ModelTable tables[MODEL_TABLES];
} Model;

typedef struct WorldPin {
        EngineSnapshot *snapshot;
        uint64_t position;
        unsigned table;
} WorldPin;
typedef struct World {
        SimOs *sim;
        OsDir *dir;
        Engine *engine;
        EngineTable *tables[MODEL_TABLES]; /* id = index + 1 */
        WorldPin pins[MODEL_PINS];
        bool dirty[MODEL_TABLES];    /* changed since the last good checkpoint */
        Model *history;              /* [position]; 0 is empty */
        uint64_t position;           /* of the last commit */
        uint64_t stored;             /* the last checkpoint that was reported as durable, */
        bool tried[MODEL_POSITIONS]; /* and those that failed after it */
        size_t cache_bytes;
        uint64_t file_max_bytes;
        uint64_t random;
} World;

static UNUSED uint32_t world_random(World *world, uint32_t below)
{
        world->random ^= world->random << 13;
        world->random ^= world->random >> 7;
        world->random ^= world->random << 17;
        return (uint32_t)((world->random >> 16) % below);
}

static UNUSED void world_init(World *world, uint64_t seed, size_t cache_bytes)
{
        *world = (World){.cache_bytes = cache_bytes, .random = seed * 0x9e3779b97f4a7c15ull + 1};
        OK(sim_new(seed, &world->sim));
        world->history = calloc(MODEL_POSITIONS, sizeof(Model));
        OK(os_dir_open(sim_os(world->sim), "/d", OS_DIR_CREATE, &world->dir));
}

static UNUSED EngineOptions world_options(const World *world)
{
        return (EngineOptions){.os = sim_os(world->sim),
                               .dir = world->dir,
                               .cache_max_bytes = world->cache_bytes,
                               .file_max_bytes = world->file_max_bytes};
}

static UNUSED Status world_stored(void *ctx, uint64_t table_id, const EngineOps *ops, uint64_t position)
{
        World *world = ctx;
        EngineTable *table = NULL;
        assert_in_range(table_id, 1, MODEL_TABLES);
        Status st = engine_btree.table_open(world->engine, table_id, &table);
        if (!st)
                assert_ptr_equal(table->ops, ops);
        world->tables[table_id - 1] = table;
        return st;
}

static UNUSED void world_close(World *world)
{
        for (unsigned i = 0; i < MODEL_PINS; i++) {
                if (world->pins[i].snapshot)
                        engine_btree.unpin(world->pins[i].snapshot);
                world->pins[i] = (WorldPin){0};
        }
        for (unsigned i = 0; i < MODEL_TABLES; i++)
                if (world->tables[i])
                        world->tables[i]->ops->table_drop(take(world->tables[i]));
        if (world->engine)
                engine_btree.close(take(world->engine));
        memset(world->dirty, 0, sizeof(world->dirty));
}

/* The engine and its tables as stored; world->position follows. */
static UNUSED Status world_open(World *world)
{
        EngineOptions options = world_options(world);
        TRY(engine_btree.open(&options, &world->engine));
        world->stored = world->position = engine_btree.stored_position(world->engine);
        memset(world->tried, 0, sizeof(world->tried));
        Status st = engine_btree.stored_each(world->engine, world_stored, world);
        if (st)
                world_close(world);
        return st;
}

static UNUSED void world_done(World *world)
{
        world_close(world);
        os_dir_close(world->dir);
        sim_free(world->sim);
        free(world->history);
}

/* Also the lock and the handles of the directory are gone. */
static UNUSED void world_crash(World *world, SimCrash how)
{
        world_close(world);
        os_dir_close(world->dir);
        sim_crash(world->sim, how);
        OK(os_dir_open(sim_os(world->sim), "/d", OS_DIR_CREATE, &world->dir));
}

/* --- rows --- */

#define VALUE_MAX_BYTES 9000u
static UNUSED Bytes row_key(unsigned table, unsigned key, char out[32])
{
        snprintf(out, 32, "%s%u/%05u", table % 2 ? "k" : "a longer prefix ", table, key * 7);
        return BYTES(out, strlen(out));
}

static UNUSED Bytes row_value(unsigned table, unsigned key, uint32_t stamp, uint8_t out[VALUE_MAX_BYTES])
{
        uint32_t x = stamp * 2654435761u ^ key << 8 ^ table;
        size_t size = stamp % 16 == 0 ? 1700 + x % 6000 : stamp % 16 == 1 ? 500 + x % 600 : x % 120;
        /* Half of it repeats, so that it packs. */
        for (size_t i = 0; i < size; i++)
                out[i] = (uint8_t)(i % 2 ? "photon"[i / 2 % 6] : (int)(x = x * 1664525u + 1013904223u) >> 24);
        return BYTES(out, size);
}

static UNUSED void compare_snapshot(EngineSnapshot *snapshot, unsigned table, const ModelTable *model)
{
        uint8_t expected[VALUE_MAX_BYTES];
        char name[32];
        Arena hold;
        arena_init(&hold, 0);
        for (unsigned tree = 0; tree < MODEL_TREES; tree++) {
                EngineCursor *cursor;
                Bytes key, value;
                bool found;
                uint64_t count = 0, counted;
                OK(engine_btree.cursor_open(snapshot, tree, (EngineRange){0}, false, &cursor));
                for (unsigned k = 0; k < MODEL_KEYS; k++) {
                        if (!model->rows[tree][k])
                                continue;
                        arena_reset(&hold);
                        OK(engine_btree.cursor_next(cursor, &hold, &key, &value, &found));
                        assert_true(found);
                        assert_true(bytes_equal(key, row_key(table, k, name)));
                        assert_true(bytes_equal(value, row_value(table, k, model->rows[tree][k], expected)));
                        count++;
                }
                OK(engine_btree.cursor_next(cursor, &hold, &key, &value, &found));
                assert_false(found);
                engine_btree.cursor_close(cursor);
                OK(engine_btree.count(snapshot, tree, (EngineRange){0}, &counted));
                assert_int_equal(counted, count);
        }
        arena_done(&hold);
}

/* Every table holds exactly what the model says for `position`. */
static UNUSED void world_compare(World *world, uint64_t position)
{
        for (unsigned i = 0; i < MODEL_TABLES; i++) {
                const ModelTable *model = &world->history[position].tables[i];
                EngineSnapshot *snapshot;
                assert_int_equal(world->tables[i] != NULL, model->exists);
                if (!model->exists)
                        continue;
                assert_ptr_equal(world->tables[i]->ops, model->slab ? &engine_slab : &engine_btree);
                OK(engine_btree.pin(world->tables[i], &snapshot));
                compare_snapshot(snapshot, i, model);
                engine_btree.unpin(snapshot);
        }
}

/* --- steps; nothing has changed if one fails --- */

static UNUSED Status world_write(World *world, unsigned i, EngineTable *table, ModelTable *model)
{
        uint8_t value[VALUE_MAX_BYTES];
        char name[32];
        EngineWrite *write;
        TRY(table->ops->write_begin(table, &write));
        Status st = ST_OK;
        unsigned n = world_random(world, 8) == 0 ? 40 : 1 + world_random(world, 4);
        for (unsigned k = 0; k < n && !st; k++) {
                unsigned tree = world_random(world, 4) == 0, key = world_random(world, MODEL_KEYS);
                uint32_t stamp = world_random(world, 1u << 20) + 1;
                bool found = false;
                if (world_random(world, 4) == 0) {
                        st = table->ops->write_delete(write, tree, row_key(i, key, name), &found);
                        if (!st)
                                assert_int_equal(found, model->rows[tree][key] != 0);
                        model->rows[tree][key] = 0;
                } else {
                        st = table->ops->write_put(write, tree, row_key(i, key, name), row_value(i, key, stamp, value));
                        model->rows[tree][key] = stamp;
                }
        }
        if (!st && world_random(world, 12) == 0)
                st = status_new(ERR_CANCELLED, "aborted");
        if (!st && table->ops->write_prepare)
                st = table->ops->write_prepare(write);
        if (st) {
                table->ops->write_abort(write);
                return status_code(st) == ERR_CANCELLED ? status_free(st) : st;
        }
        table->ops->write_commit(write, world->position + 1);
        world->position++;
        table->ops->table_tidy(table);
        return ST_OK;
}

/* The next commit: rows of one table, or a table that comes or goes. */
static UNUSED Status world_commit(World *world)
{
        unsigned i = world_random(world, MODEL_TABLES);
        uint64_t before = world->position;
        Model model = world->history[before];
        ModelTable *row = &model.tables[i];
        Status st = ST_OK;
        assert_true(before + 1 < MODEL_POSITIONS);
        if (!row->exists) {
                EngineTable *table;
                const EngineOps *ops = world_random(world, 2) ? &engine_slab : &engine_btree;
                TRY(ops->table_create(world->engine, i + 1, &table));
                *row = (ModelTable){.exists = true, .slab = ops == &engine_slab};
                st = world_write(world, i, table, row);
                if (world->position == before)
                        ops->table_drop(table);
                else
                        world->tables[i] = table;
        } else if (world_random(world, 16) == 0) {
                EngineTable *table = take(world->tables[i]);
                *row = (ModelTable){0};
                table->ops->table_dropped(table, ++world->position);
                table->ops->table_drop(table);
                world->dirty[i] = false;
        } else {
                st = world_write(world, i, world->tables[i], row);
        }
        if (world->position > before) {
                world->history[world->position] = model;
                world->dirty[i] = model.tables[i].exists;
        }
        return st;
}

static UNUSED Status world_checkpoint(World *world)
{
        EngineRoot roots[MODEL_TABLES];
        size_t count = 0;
        Status st = ST_OK;
        for (unsigned i = 0; i < MODEL_TABLES && !st; i++) {
                if (!world->dirty[i])
                        continue;
                roots[count].table = world->tables[i];
                st = engine_btree.pin(world->tables[i], &roots[count].snapshot);
                count += !st;
        }
        if (!st) {
                st = engine_btree.checkpoint(world->engine, world->position, roots, count);
        }
        if (!st) {
                world->stored = world->position;
                memset(world->tried, 0, sizeof(world->tried));
                memset(world->dirty, 0, sizeof(world->dirty));
        }
        if (st)
                world->tried[world->position] = true;
        for (size_t i = 0; i < count; i++)
                engine_btree.unpin(roots[i].snapshot);
        return st;
}

/* Pins a table, or compares and unpins what was pinned before. */
static UNUSED Status world_pin_some(World *world)
{
        WorldPin *pin = &world->pins[world_random(world, MODEL_PINS)];
        unsigned i = world_random(world, MODEL_TABLES);
        if (pin->snapshot) {
                engine_btree.unpin(take(pin->snapshot));
                return ST_OK;
        }
        if (!world->tables[i])
                return ST_OK;
        pin->position = world->position;
        pin->table = i;
        return engine_btree.pin(world->tables[i], &pin->snapshot);
}

static UNUSED Status world_step(World *world)
{
        uint32_t choice = world_random(world, 10);
        if (choice == 0)
                return world_checkpoint(world);
        if (choice == 1)
                return world_pin_some(world);
        return world_commit(world);
}

/* --- documents that look like each other --- */

static UNUSED Bytes document(unsigned i, char out[1024])
{
        int n = snprintf(out, 1024,
                         "{\"id\":\"%08x\",\"name\":\"user "
                         "%u\",\"email\":\"user%u@example.org\",\"address\":{\"street\":\"%u Main "
                         "Street\",\"city\":\"Springfield\",\"zip\":%u},\"active\":%s,\"balance\":%u.%02u,\"tags\":["
                         "\"alpha\",\"beta\"]}",
                         i * 2654435761u, i, i * 7, i % 900, 10000 + i % 89999, i % 3 ? "true" : "false",
                         i * 31 % 10000, i % 100);
        return BYTES(out, (size_t)n);
}

static UNUSED Status put_documents(World *world, EngineTable *table, unsigned first, unsigned count, bool commit)
{
        EngineWrite *write;
        char text[1024];
        uint8_t key[4];
        TRY(table->ops->write_begin(table, &write));
        Status st = ST_OK;
        for (unsigned i = first; i < first + count && !st; i++) {
                store_u32(key, __builtin_bswap32(i));
                st = table->ops->write_put(write, 0, BYTES(key, 4), document(i, text));
        }
        if (!st)
                st = table->ops->write_prepare(write);
        if (st || !commit) {
                table->ops->write_abort(write);
                return st;
        }
        table->ops->write_commit(write, ++world->position);
        table->ops->table_tidy(table);
        return ST_OK;
}

static UNUSED Status checkpoint_of(World *world, EngineTable *table)
{
        EngineRoot root = {.table = table};
        TRY(engine_btree.pin(table, &root.snapshot));
        Status st = engine_btree.checkpoint(world->engine, world->position, &root, 1);
        engine_btree.unpin(root.snapshot);
        return st;
}

/* --- checking a directory that is closed --- */

typedef struct Checked {
        uint64_t row_count, table_count, problem_count, damaged_count, position, done, total;
        char text[512]; /* of the first problem */
} Checked;

static UNUSED Status checked_problem(void *ctx, const char *text)
{
        Checked *checked = ctx;
        if (checked->problem_count++ == 0)
                snprintf(checked->text, sizeof(checked->text), "%s", text);
        return ST_OK;
}
static UNUSED Status checked_row(void *ctx, uint64_t table_id, uint32_t tree, Bytes key, Bytes value)
{
        ((Checked *)ctx)->row_count++;
        return ST_OK;
}
static UNUSED Status checked_table(void *ctx, uint64_t table_id, const char *engine, uint64_t row_count)
{
        ((Checked *)ctx)->table_count++;
        return ST_OK;
}
static UNUSED Status checked_damaged(void *ctx, uint64_t table_id)
{
        ((Checked *)ctx)->damaged_count++;
        return ST_OK;
}
static UNUSED Status checked_checkpoint(void *ctx, uint64_t position)
{
        ((Checked *)ctx)->position = position;
        return ST_OK;
}
static UNUSED Status checked_progress(void *ctx, uint64_t done, uint64_t total)
{
        Checked *checked = ctx;
        assert_true(done >= checked->done && done <= total);
        checked->done = done;
        checked->total = total;
        return ST_OK;
}

static UNUSED Status world_check_into(World *world, Checked *ret_checked)
{
        EngineOptions options = world_options(world);
        *ret_checked = (Checked){0};
        EngineCheck check = {.ctx = ret_checked,
                             .progress = checked_progress,
                             .problem = checked_problem,
                             .table = checked_table,
                             .row = checked_row,
                             .checkpoint = checked_checkpoint,
                             .damaged = checked_damaged};
        return engine_btree.check(&options, &check);
}

static UNUSED Checked world_check(World *world)
{
        Checked checked;
        OK(world_check_into(world, &checked));
        if (checked.problem_count)
                fail_msg("%s", checked.text);
        return checked;
}

#endif
