/* tree_test.h - what the tests of trees share: a model, a world of simulated disk, space, cache and tree, and the proof
 * that the space holds what the tree reaches. */
#ifndef STORAGE_TREE_TREE_TEST_H
#define STORAGE_TREE_TREE_TEST_H

#include "base/check.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "os/sim.h"
#include "storage/tree/tree_int.h"

/* Not every test uses everything. */
#pragma GCC diagnostic ignored "-Wunused-function"

static const PRange all = {{NULL, 0}, {NULL, 0}};

static uint64_t seed = 1;
static uint64_t rnd(uint64_t below)
{
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        return (seed * 0x2545f4914f6cdd1dull >> 11) % below;
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

static size_t model_place(const Model *model, Bytes key, bool *ret_equal)
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

static void model_put(Model *model, Arena *rows, Bytes key, uint64_t value_seed, size_t value_size)
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

static void model_cut(Model *model, size_t low, size_t high)
{
        memmove(&model->rows[low], &model->rows[high], (model->count - high) * sizeof(ModelRow *));
        model->count -= high - low;
}

static Model model_copy(const Model *model)
{
        Model copy = {malloc(model->count * sizeof(ModelRow *) + 1), model->count, model->count};
        if (model->count)
                memcpy(copy.rows, model->rows, model->count * sizeof(ModelRow *));
        return copy;
}

static uint8_t value_bytes[(1 << 20) + 8], expected_bytes[(1 << 20) + 8];
static Bytes value_fill(uint8_t *out, uint64_t value_seed, size_t size)
{
        for (size_t i = 0; i < size; i += 8)
                store_u64(out + i, value_seed + i * 0x9e3779b97f4a7c15ull);
        return BYTES(out, size);
}

static void check_row(const ModelRow *row, Bytes key, Bytes value)
{
        assert_int_equal(bytes_compare(key, row->key), 0);
        assert_true(bytes_equal(value, value_fill(expected_bytes, row->value_seed, row->value_size)));
}

/* --- a world: a simulated disk with a space, a cache, a tree --- */

typedef struct World {
        SimOs *sim;
        OsDir *dir;
        Space *space;
        PCache *cache;
        PTree *tree;
        PTreeAddress address;
        uint64_t position;
        Arena hold;
} World;

static void world_attach(World *world, size_t budget)
{
        PCacheOptions options = {.space = world->space, .name = "pages", .budget_bytes = budget};
        OK(pcache_open(&options, &world->cache));
        OK(ptree_open(world->cache, world->address, NULL, &world->tree));
}

static void world_init(World *world, size_t budget)
{
        *world = (World){0};
        arena_init(&world->hold, 0);
        OK(sim_new(7, &world->sim));
        OK(os_dir_open(sim_os(world->sim), "/d", OS_DIR_CREATE, &world->dir));
        OK(space_open(world->dir, "pages", NULL, &world->space));
        world_attach(world, budget);
}

static void world_detach(World *world)
{
        world->tree = ptree_close(world->tree);
        world->cache = pcache_close(world->cache);
}

static void world_done(World *world)
{
        world_detach(world);
        world->space = space_close(world->space);
        world->dir = os_dir_close(world->dir);
        sim_free(world->sim);
        arena_done(&world->hold);
}

static void world_flush(World *world)
{
        PSnapshot *snapshot;
        OK(ptree_pin(world->tree, &snapshot));
        uint64_t position = ptree_position(snapshot);
        OK(ptree_flush(snapshot, &world->address));
        ptree_unpin(snapshot);
        OK(space_sync(world->space));
        if (position)
                OK(space_reclaim(world->space, position - 1));
}

/* Flushes, closes everything, and opens it again from the address and the space's saved state. */
static void world_reopen(World *world, size_t budget)
{
        Buf saved;
        buf_init(&saved, 1 << 24);
        world_flush(world);
        garbage_sweep(world->tree, true);
        world_detach(world);
        OK(space_save(world->space, &saved));
        world->space = space_close(world->space);
        OK(space_open(world->dir, "pages", NULL, &world->space));
        OK(space_load(world->space, BYTES(saved.data, saved.size)));
        buf_done(&saved);
        world_attach(world, budget);
}

typedef struct Extents {
        Extent *items;
        size_t count, capacity, at;
} Extents;
static Status extents_add(void *ctx, Extent extent)
{
        Extents *extents = ctx;
        if (extents->count == extents->capacity) {
                extents->capacity = extents->capacity * 2 + 64;
                extents->items = realloc(extents->items, extents->capacity * sizeof(Extent));
        }
        extents->items[extents->count++] = extent;
        return ST_OK;
}
static Status extents_next(void *ctx, Extent *ret_extent, bool *ret_more)
{
        Extents *extents = ctx;
        *ret_more = extents->at < extents->count;
        if (*ret_more)
                *ret_extent = extents->items[extents->at++];
        return ST_OK;
}

/* Everything: the checker, and (no snapshots are open) that the space holds what the tree reaches and nothing more. */
static void check_space(World *world)
{
        PSnapshot *snapshot;
        Extents extents = {0};
        uint64_t rows;
        garbage_sweep(world->tree, true);
        assert_int_equal(world->tree->fresh.count, 0);
        OK(ptree_pin(world->tree, &snapshot));
        OK(ptree_check(snapshot, extents_add, &extents, &rows));
        ptree_unpin(snapshot);
        /* Nodes that are written and dead only since the last flush were freed: waiting, not live. */
        if (world->tree->record.extent)
                extents_add(&extents, world->tree->record.extent);
        OK(space_check(world->space, extents_next, &extents));
        free(extents.items);
}

static Bytes shared_key(uint32_t i, uint8_t out[16])
{
        return BYTES(out, (size_t)snprintf((char *)out, 16, "row%08u", i));
}

#endif
