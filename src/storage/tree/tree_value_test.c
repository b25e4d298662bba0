/* tree_value_test.c - values in extents of their own: against an array, with snapshots, aborts, crashes between
 * checkpoints, failing calls; what is kept in memory; trees that are freed. Keys are small numbers. */
#include "base/check.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "os/sim.h"
#include "os/thread.h"
#include "storage/slab/codec.h"
#include "storage/tree/tree_int.h"

static const PRange all = {{NULL, 0}, {NULL, 0}};

static uint64_t seed = 1;
static uint64_t rnd(uint64_t below)
{
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        return (seed * 0x2545f4914f6cdd1dull >> 11) % below;
}

/* --- the model: a row is the seed of its value; 0: none --- */

#define KEYS      400u
#define MAX_VALUE (3u << 20)

typedef struct Model {
        uint64_t rows[KEYS];
} Model;

static size_t value_size(uint64_t row)
{
        uint64_t kind = row % 1000, size = row / 1000;
        if (kind == 0)
                return size % MAX_VALUE;
        return kind < 30 ? size % 100000 : kind < 200 ? size % 5000 : size % 300;
}

/* Half noise, half not, so that it packs. */
static Bytes value_fill(uint8_t *out, uint64_t row)
{
        size_t size = value_size(row);
        uint64_t word = row;
        for (size_t i = 0; i < size; i += 8) {
                word = i % 16 ? word : word * 0x9e3779b97f4a7c15ull + 1;
                store_u64(out + i, word);
        }
        return BYTES(out, size);
}

static uint8_t expected_bytes[MAX_VALUE + 8], value_bytes[MAX_VALUE + 8];

static Bytes key_of(uint32_t n, uint8_t out[4])
{
        store_u32(out, __builtin_bswap32(n));
        return BYTES(out, 4);
}

/* --- a world: a simulated disk, a space, a cache, a tree with small inline values --- */

typedef struct World {
        SimOs *sim;
        OsDir *dir;
        Space *space;
        PCache *cache;
        PTree *tree;
        CodecPool *pool;
        Codec *codec;
        PTreeAddress address;
        uint64_t position;
        Arena hold;
        Model model;
} World;

static const PValueCodec packed = {codec_encode, codec_decode};

static void world_attach(World *world, size_t budget)
{
        PCacheOptions options = {.space = world->space, .name = "pages", .budget_bytes = budget};
        PTreeOptions tree = {.inline_max_bytes = 16, .codec = world->codec ? &packed : NULL, .codec_ctx = world->codec};
        OK(pcache_open(&options, &world->cache));
        OK(ptree_open(world->cache, world->address, &tree, &world->tree));
}

static void world_init(World *world, size_t budget, bool with_codec)
{
        *world = (World){0};
        arena_init(&world->hold, 0);
        if (with_codec) {
                OK(codec_pool_new(&world->pool));
                OK(codec_new(&(CodecOptions){.pool = world->pool}, &world->codec));
        }
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
        codec_free(world->codec);
        codec_pool_free(world->pool);
        arena_done(&world->hold);
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

/* Everything, and that the space holds what the tree reaches and nothing more. No snapshots are open. */
static void check_space(World *world)
{
        PSnapshot *snapshot;
        Extents extents = {0};
        uint64_t rows;
        garbage_sweep(world->tree, true);
        OK(ptree_pin(world->tree, &snapshot));
        OK(ptree_check(snapshot, extents_add, &extents, &rows));
        ptree_unpin(snapshot);
        if (world->tree->record.extent)
                extents_add(&extents, world->tree->record.extent);
        OK(space_check(world->space, extents_next, &extents));
        free(extents.items);
}

static void check_value(uint64_t row, Bytes value)
{
        assert_true(bytes_equal(value, value_fill(expected_bytes, row)));
}

static void check_model(PSnapshot *snapshot, const Model *model, Arena *hold)
{
        PCursor *cursor;
        Bytes key, value;
        bool found;
        uint8_t bytes[4];
        for (int i = 0; i < 60; i++) {
                uint32_t n = (uint32_t)rnd(KEYS);
                arena_reset(hold);
                OK(ptree_get(snapshot, 0, key_of(n, bytes), hold, &value, &found));
                assert_int_equal(found, model->rows[n] != 0);
                if (found)
                        check_value(model->rows[n], value);
        }
        OK(ptree_cursor_open(snapshot, 0, all, false, &cursor));
        for (uint32_t n = 0; n < KEYS; n++) {
                if (!model->rows[n])
                        continue;
                arena_reset(hold);
                OK(ptree_cursor_next(cursor, hold, &key, &value, &found));
                assert_true(found && bytes_equal(key, key_of(n, bytes)));
                check_value(model->rows[n], value);
        }
        OK(ptree_cursor_next(cursor, hold, &key, &value, &found));
        assert_false(found);
        ptree_cursor_close(cursor);
}

static Status step(World *world, PWrite *write, Model *model)
{
        uint32_t n = (uint32_t)rnd(KEYS);
        uint8_t bytes[4];
        Bytes key = key_of(n, bytes), value;
        bool found;
        switch (rnd(8)) {
        case 0:
                TRY(ptree_write_delete(write, 0, key, &found));
                assert_int_equal(found, model->rows[n] != 0);
                model->rows[n] = 0;
                return ST_OK;
        case 1:
        case 2:
                arena_reset(&world->hold);
                TRY(ptree_write_get(write, 0, key, &world->hold, &value, &found));
                assert_int_equal(found, model->rows[n] != 0);
                if (found)
                        check_value(model->rows[n], value);
                return ST_OK;
        default: {
                uint64_t row = 1 + rnd(1ull << 40);
                TRY(ptree_write_put(write, 0, key, value_fill(value_bytes, row)));
                model->rows[n] = row;
                return ST_OK;
        }
        }
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

/* --- references --- */

static void test_references(void **state)
{
        World world;
        uint8_t out[REF_MAX_BYTES];
        LargeRef back;
        world_init(&world, 0, false);
        for (int i = 0; i < 20000; i++) {
                Extent extent;
                size_t bytes = 1 + rnd(i % 16 ? 3000 : 300000);
                LargeRef ref = {.birth = rnd(4) ? rnd(100000) : rnd(UINT64_MAX), .size = (uint32_t)bytes};
                OK(space_alloc(world.space, VALUE_HEAD_BYTES + bytes, &extent));
                ref.extent = extent;
                size_t size = ref_pack(world.cache, ref, out);
                assert_true(size <= REF_MAX_BYTES);
                assert_true(size <= 12 || ref.birth >= 100000);
                OK(ref_unpack(world.cache, BYTES(out, size), &back));
                assert_memory_equal(&back, &ref, sizeof(ref));
                FAILS(ERR_CORRUPT, ref_unpack(world.cache, BYTES(out, size - 1), &back));
                if (i % 8 == 0)
                        OK(space_discard(world.space, extent));
        }
        for (int i = 0; i < 100000; i++) { /* nonsense is refused or something that could be */
                size_t size = rnd(REF_MAX_BYTES + 1);
                for (size_t k = 0; k < size; k++)
                        out[k] = (uint8_t)(rnd(3) ? rnd(256) : rnd(8));
                Status st = ref_unpack(world.cache, BYTES(out, size), &back);
                if (!st) {
                        uint8_t again[REF_MAX_BYTES];
                        assert_int_equal(ref_pack(world.cache, back, again), size);
                        assert_memory_equal(again, out, size);
                        assert_true(VALUE_HEAD_BYTES + (uint64_t)back.size <=
                                    space_extent_bytes(world.space, back.extent));
                }
                status_ignore(st);
        }
        world_done(&world);
}

/* --- the model --- */

static void run_model(uint64_t with_seed, size_t budget, bool with_codec)
{
        enum { SNAPSHOTS = 3 };
        World world;
        Model seen[SNAPSHOTS];
        PSnapshot *snapshots[SNAPSHOTS] = {0};
        seed = with_seed;
        world_init(&world, budget, with_codec);
        for (int commit = 0; commit < 150; commit++) {
                PWrite *write;
                Model before = world.model;
                OK(ptree_write_begin(world.tree, &write));
                for (unsigned n = 1 + (unsigned)rnd(60); n > 0; n--)
                        OK(step(&world, write, &world.model));
                if (rnd(5) == 0) {
                        if (rnd(2))
                                OK(ptree_write_prepare(write));
                        ptree_write_abort(write);
                        world.model = before;
                } else {
                        OK(ptree_write_prepare(write));
                        ptree_write_commit(write, ++world.position);
                }
                ptree_tidy(world.tree);
                int s = (int)rnd(SNAPSHOTS);
                if (snapshots[s]) {
                        check_model(snapshots[s], &seen[s], &world.hold);
                        ptree_unpin(snapshots[s]);
                        snapshots[s] = NULL;
                } else {
                        OK(ptree_pin(world.tree, &snapshots[s]));
                        seen[s] = world.model;
                        check_model(snapshots[s], &seen[s], &world.hold);
                }
                if (rnd(10) == 0)
                        world_flush(&world);
                if (budget) {
                        PCacheStats stats;
                        pcache_stats(world.cache, &stats);
                        assert_true(stats.used_bytes <= budget + stats.dirty_bytes + (1 << 20));
                }
        }
        for (int s = 0; s < SNAPSHOTS; s++)
                ptree_unpin(snapshots[s]);
        check_space(&world);
        PCacheStats stats;
        pcache_stats(world.cache, &stats);
        assert_true(stats.value_read_count > 0 && stats.value_hit_count > 0);
        world_done(&world);
}

static void test_model(void **state)
{
        run_model(1, 0, false);
        run_model(2, 1 << 20, false);
        run_model(3, 0, true);
        run_model(4, 1 << 20, true);
}

/* --- crashes between checkpoints: no space is lost --- */

/* A checkpoint of what is committed now, while a write goes on and others are committed. */
static void test_crashes(void **state)
{
        World world;
        seed = 11;
        world_init(&world, 0, true);
        for (int round = 0; round < 40; round++) {
                PWrite *write;
                PSnapshot *snapshot;
                Buf saved;
                for (int i = 0; i < 4; i++) {
                        OK(ptree_write_begin(world.tree, &write));
                        for (int k = 0; k < 20; k++)
                                OK(step(&world, write, &world.model));
                        OK(ptree_write_prepare(write));
                        ptree_write_commit(write, ++world.position);
                        ptree_tidy(world.tree);
                }
                Model durable = world.model;
                OK(ptree_pin(world.tree, &snapshot));
                uint64_t position = ptree_position(snapshot);
                /* Later commits, some of which replace the values of the ones before. */
                for (uint64_t i = rnd(4); i > 0; i--) {
                        OK(ptree_write_begin(world.tree, &write));
                        for (int k = 0; k < 30; k++)
                                OK(step(&world, write, &world.model));
                        if (round % 4 == 1 && i == 1) {
                                PBulk *bulk;
                                uint8_t bytes[4];
                                OK(ptree_bulk_begin(write, 5 + (uint32_t)round, &bulk));
                                for (uint32_t n = 0; n < 2000; n++)
                                        OK(ptree_bulk_add(bulk, key_of(n, bytes),
                                                          value_fill(value_bytes, 1 + n * 1000000 + 500)));
                                OK(ptree_bulk_finish(bulk));
                        }
                        OK(ptree_write_prepare(write));
                        ptree_write_commit(write, ++world.position);
                        ptree_tidy(world.tree);
                }
                /* And one that is not finished: nothing written, all written, early because it is much. */
                bool open = rnd(4) > 0;
                if (open) {
                        OK(ptree_write_begin(world.tree, &write));
                        for (uint64_t k = rnd(200); k > 0; k--)
                                OK(step(&world, write, &world.model));
                        if (rnd(2))
                                OK(ptree_write_prepare(write));
                }
                PTreeAddress address;
                OK(ptree_flush(snapshot, &address));
                /* What died in the meantime waits in the tree for the snapshot; its owner writes that down beside. */
                ptree_unpin(snapshot);
                buf_init(&saved, 1 << 20);
                OK(space_save_at(world.space, position, &saved));
                OK(space_sync(world.space));
                if (open && rnd(2)) {
                        ptree_write_abort(write);
                } else if (open) {
                        OK(ptree_write_prepare(write));
                        ptree_write_commit(write, ++world.position);
                }
                if (open)
                        ptree_tidy(world.tree);

                world.tree = ptree_close(world.tree);
                world.cache = pcache_close(world.cache);
                world.space = space_close(world.space);
                world.dir = os_dir_close(world.dir);
                sim_crash(world.sim, (SimCrash)rnd(3));
                OK(os_dir_open(sim_os(world.sim), "/d", OS_DIR_CREATE, &world.dir));
                OK(space_open(world.dir, "pages", NULL, &world.space));
                OK(space_load(world.space, BYTES(saved.data, saved.size)));
                buf_done(&saved);
                world.address = address;
                world_attach(&world, 0);
                world.model = durable;
                check_space(&world);
                OK(ptree_pin(world.tree, &snapshot));
                check_model(snapshot, &durable, &world.hold);
                ptree_unpin(snapshot);
        }
        world_done(&world);
}

/* --- the file --- */

/* 200 documents of a write are few calls, and unwritten ones are none. */
static void test_calls(void **state)
{
        World world;
        PWrite *write;
        uint8_t bytes[4];
        uint32_t n = 0;
        world_init(&world, 0, false);
        for (int round = 0; round < 3; round++) {
                OK(ptree_write_begin(world.tree, &write));
                for (int i = 0; i < 200; i++)
                        OK(ptree_write_put(write, 0, key_of(n++, bytes), BYTES(value_bytes, 150 + rnd(60))));
                sim_fail_nth(world.sim, 9, SIM_FAIL_ONCE);
                OK(ptree_write_prepare(write));
                assert_false(sim_fired(world.sim));
                sim_heal(world.sim);
                sim_fail_nth(world.sim, 1, SIM_FAIL_ONCE);
                OK(ptree_write_prepare(write)); /* nothing left to do */
                ptree_write_commit(write, ++world.position);
                assert_false(sim_fired(world.sim));
                sim_heal(world.sim);
        }
        /* Replaced and deleted within the write: neither written nor kept. */
        SpaceStats before, after;
        OK(ptree_write_begin(world.tree, &write));
        for (int i = 0; i < 1000; i++)
                OK(ptree_write_put(write, 0, key_of(5, bytes), BYTES(value_bytes, 100000 + (size_t)i)));
        bool found;
        OK(ptree_write_delete(write, 0, key_of(5, bytes), &found));
        OK(ptree_write_prepare(write));
        space_stats(world.space, &before);
        assert_true(before.file_bytes < 4 << 20);
        ptree_write_commit(write, ++world.position);
        ptree_tidy(world.tree);
        world_flush(&world);
        check_space(&world);
        space_stats(world.space, &after);
        assert_true(after.live_bytes < 300000);
        world_done(&world);
}

static void get_fails(World *world, uint32_t n, const char *words)
{
        PSnapshot *snapshot;
        Bytes value;
        bool found;
        uint8_t bytes[4];
        char text[512];
        OK(ptree_pin(world->tree, &snapshot));
        Status st = ptree_get(snapshot, 0, key_of(n, bytes), &world->hold, &value, &found);
        assert_int_equal(status_code(st), ERR_CORRUPT);
        if (!strstr(status_text(st, text, sizeof(text)), words))
                fail_msg("%s", text);
        status_free(st);
        uint64_t rows;
        FAILS(ERR_CORRUPT, ptree_check(snapshot, NULL, NULL, &rows));
        ptree_unpin(snapshot);
}

/* A value of another place, or of another time at this place, is found out, as a flipped bit is. */
static void test_misplaced(void **state)
{
        World world;
        PWrite *write;
        PSnapshot *snapshot;
        Extents extents = {0};
        uint64_t rows;
        uint8_t bytes[4], stored[2][512];
        char place[64];
        world_init(&world, 0, false);
        for (uint32_t n = 0; n < 2; n++) {
                OK(ptree_write_begin(world.tree, &write));
                OK(ptree_write_put(write, 0, key_of(n, bytes), BYTES(value_bytes, 300)));
                OK(ptree_write_prepare(write));
                ptree_write_commit(write, ++world.position);
        }
        OK(ptree_pin(world.tree, &snapshot));
        OK(ptree_check(snapshot, extents_add, &extents, &rows));
        ptree_unpin(snapshot);
        assert_int_equal(extents.count, 2);
        for (int i = 0; i < 2; i++)
                OK(space_read(world.space, extents.items[i], stored[i], 308));
        snprintf(place, sizeof(place), "pages, offset %llu: a stored value is damaged",
                 (unsigned long long)space_extent_offset(world.space, extents.items[1]));
        OK(space_write(world.space, extents.items[1], stored[0], 308));
        get_fails(&world, 1, place);
        for (size_t at = 0; at < 308; at++) {
                stored[1][at] ^= 4;
                OK(space_write(world.space, extents.items[1], stored[1], 308));
                get_fails(&world, 1, place);
                stored[1][at] ^= 4;
        }
        OK(space_write(world.space, extents.items[1], stored[1], 308));
        check_space(&world);
        /* Another version's value at the same place. */
        LargeRef ref = {.extent = extents.items[1], .birth = 77, .size = 300};
        store_u64(stored[1], bytes_hash_seeded(stored[1] + 8, 300, ref.extent ^ ref.birth * 0x9e3779b97f4a7c15ull));
        OK(space_write(world.space, extents.items[1], stored[1], 308));
        get_fails(&world, 1, place);
        free(extents.items);
        world_done(&world);
}

/* --- values in memory --- */

static void get_value(World *world, uint32_t n)
{
        PSnapshot *snapshot;
        Bytes value;
        bool found;
        uint8_t bytes[4];
        arena_reset(&world->hold);
        OK(ptree_pin(world->tree, &snapshot));
        OK(ptree_get(snapshot, 0, key_of(n, bytes), &world->hold, &value, &found));
        assert_true(found && value.size == 1000 && value.data[n % 1000] == (uint8_t)n && value.data[0] == (uint8_t)n);
        ptree_unpin(snapshot);
}

static void scan_all(World *world)
{
        PSnapshot *snapshot;
        PCursor *cursor;
        Bytes key, value;
        bool found = true;
        OK(ptree_pin(world->tree, &snapshot));
        OK(ptree_cursor_open(snapshot, 0, all, false, &cursor));
        while (found) {
                arena_reset(&world->hold);
                OK(ptree_cursor_next(cursor, &world->hold, &key, &value, &found));
        }
        ptree_cursor_close(cursor);
        ptree_unpin(snapshot);
}

static void test_kept(void **state)
{
        enum { ROWS = 4000, HOT = 300, BUDGET = 2 << 20 };
        World world;
        PWrite *write;
        PCacheStats stats;
        uint8_t bytes[4];
        world_init(&world, BUDGET, true);
        OK(ptree_write_begin(world.tree, &write));
        for (uint32_t n = 0; n < ROWS; n++)
                OK(ptree_write_put(write, 0, key_of(n, bytes), BYTES(memset(value_bytes, (int)n, 1000), 1000)));
        OK(ptree_write_prepare(write));
        ptree_write_commit(write, ++world.position);
        world_flush(&world);
        for (int round = 0; round < 3; round++)
                for (uint32_t n = 0; n < HOT; n++)
                        get_value(&world, n);
        pcache_stats(world.cache, &stats);
        assert_int_equal(stats.value_read_count, HOT);
        assert_int_equal(stats.value_hit_count, 2 * HOT);
        scan_all(&world);
        uint64_t read = world.cache->value_read_count;
        for (uint32_t n = 0; n < HOT; n++)
                get_value(&world, n);
        assert_int_equal(world.cache->value_read_count, read); /* a scan throws nothing out */
        for (uint32_t n = 0; n < ROWS; n++)
                get_value(&world, n);
        for (int i = 0; i < 20000; i++)
                get_value(&world, (uint32_t)rnd(ROWS));
        pcache_stats(world.cache, &stats);
        assert_true(stats.used_bytes <= BUDGET + (BUDGET >> 4) && stats.evicted_count > 1000);

        /* Replaced: the new value is what is read, and the old one is not kept. */
        for (uint32_t n = 0; n < HOT; n++)
                get_value(&world, n);
        uint64_t used = world.cache->used_bytes;
        OK(ptree_write_begin(world.tree, &write));
        for (uint32_t n = 0; n < HOT; n++)
                OK(ptree_write_put(write, 0, key_of(n, bytes), BYTES(memset(value_bytes, (int)n, 1000), 1000)));
        OK(ptree_write_prepare(write));
        ptree_write_commit(write, ++world.position);
        garbage_sweep(world.tree, true);
        pcache_trim(world.cache);
        assert_true(world.cache->used_bytes + HOT * 1000 < used + 200000);
        for (uint32_t n = 0; n < ROWS; n++)
                get_value(&world, n);
        check_space(&world);
        world_done(&world);
}

/* What an aborted write wrote and read itself is not taken for what the next one writes in the same place. */
static void test_aborted(void **state)
{
        World world;
        PWrite *write;
        PSnapshot *snapshot;
        Bytes value;
        bool found;
        uint8_t bytes[4];
        world_init(&world, 0, false);
        OK(ptree_write_begin(world.tree, &write)); /* values are kept at all */
        OK(ptree_write_put(write, 1, key_of(0, bytes), BYTES(value_bytes, 1000)));
        OK(ptree_write_prepare(write));
        ptree_write_commit(write, ++world.position);
        OK(ptree_pin(world.tree, &snapshot));
        OK(ptree_get(snapshot, 1, key_of(0, bytes), &world.hold, &value, &found));
        ptree_unpin(snapshot);
        for (int round = 0; round < 2; round++) {
                OK(ptree_write_begin(world.tree, &write));
                for (uint32_t n = 0; n < 1200; n++) /* more than the buffer takes */
                        OK(ptree_write_put(write, 0, key_of(n, bytes), BYTES(memset(value_bytes, round, 1000), 1000)));
                OK(ptree_write_get(write, 0, key_of(0, bytes), &world.hold, &value, &found));
                assert_true(found && value.size == 1000 && value.data[500] == round);
                if (round == 0) {
                        ptree_write_abort(write);
                        continue;
                }
                OK(ptree_write_prepare(write));
                ptree_write_commit(write, ++world.position);
        }
        OK(ptree_pin(world.tree, &snapshot));
        for (uint32_t n = 0; n < 1200; n++) {
                OK(ptree_get(snapshot, 0, key_of(n, bytes), &world.hold, &value, &found));
                assert_true(found && value.data[999] == 1);
        }
        ptree_unpin(snapshot);
        check_space(&world);
        world_done(&world);
}

/* --- threads: readers of a few rows whose values are replaced all the time, in a small cache --- */

typedef struct Reader {
        Thread thread;
        World *world;
        atomic_bool *stop;
        uint64_t seed, gets;
} Reader;

static void reader_main(void *arg)
{
        Reader *reader = arg;
        Arena hold;
        arena_init(&hold, 0);
        while (!atomic_load(reader->stop)) {
                PSnapshot *snapshot;
                Bytes first = BYTES_NONE, value = BYTES_NONE;
                bool found = false;
                uint8_t bytes[4];
                arena_reset(&hold);
                Status st = ptree_pin(reader->world->tree, &snapshot);
                assert(!st);
                for (int i = 0; i < 8 && !st; i++) {
                        reader->seed = reader->seed * 6364136223846793005ull + 1;
                        st = ptree_get(snapshot, 0, key_of(reader->seed >> 40 & 63, bytes), &hold, &value, &found);
                        assert(!st && found && value.size > 16);
                        if (i == 0)
                                first = value;
                        /* All rows of a snapshot are of one commit. */
                        assert(memcmp(first.data, value.data, 8) == 0);
                        assert(value.data[value.size - 1] == value.data[8]);
                        reader->gets++;
                }
                ptree_unpin(snapshot);
        }
        arena_done(&hold);
}

static void test_threads(void **state)
{
        enum { READERS = 3 };
        World world;
        static Reader readers[READERS];
        atomic_bool stop = false;
        world_init(&world, 300 << 10, true);
        for (uint64_t commit = 0; commit < 400; commit++) {
                PWrite *write;
                uint8_t bytes[4];
                OK(ptree_write_begin(world.tree, &write));
                for (uint32_t n = 0; n < 64; n++) {
                        size_t size = 100 + rnd(n % 16 ? 3000 : 80000);
                        memset(value_bytes, (int)(commit * 7 + n), size);
                        store_u64(value_bytes, commit);
                        OK(ptree_write_put(write, 0, key_of(n, bytes), BYTES(value_bytes, size)));
                }
                OK(ptree_write_prepare(write));
                ptree_write_commit(write, ++world.position);
                ptree_tidy(world.tree);
                if (commit % 16 == 3)
                        world_flush(&world);
                for (int i = 0; i < READERS && commit == 0; i++) {
                        readers[i] = (Reader){.world = &world, .stop = &stop, .seed = (uint64_t)i + 1};
                        OK(thread_start(&readers[i].thread, "reader", reader_main, &readers[i]));
                }
        }
        atomic_store(&stop, true);
        for (int i = 0; i < READERS; i++) {
                thread_join(&readers[i].thread);
                assert_true(readers[i].gets > 0);
        }
        check_space(&world);
        world_done(&world);
}

/* --- the nth call fails --- */

static Status failing_write(World *world, PWrite *write, Model *model)
{
        seed = 5;
        for (int i = 0; i < 50; i++)
                TRY(step(world, write, model));
        for (uint32_t n = 0; n < 3; n++) { /* more than the buffer takes */
                uint8_t bytes[4];
                uint64_t row = (400000 + n) * 1000ull;
                TRY(ptree_write_put(write, 0, key_of(n, bytes), value_fill(value_bytes, row)));
                model->rows[n] = row;
        }
        for (int i = 0; i < 50; i++)
                TRY(step(world, write, model));
        return ptree_write_prepare(write);
}

static void run_failing(bool memory)
{
        for (long n = 1, fired = 1; fired; n++) {
                World world;
                PWrite *write = NULL;
                PSnapshot *snapshot;
                seed = 3;
                world_init(&world, memory ? 0 : 256 << 10, n % 2);
                OK(ptree_write_begin(world.tree, &write));
                for (int i = 0; i < 100; i++)
                        OK(step(&world, write, &world.model));
                OK(ptree_write_prepare(write));
                ptree_write_commit(write, ++world.position);
                Model after = world.model;
                if (memory)
                        mem_fail_nth(n);
                else
                        sim_fail_nth(world.sim, n, SIM_FAIL_ONCE);
                Status st = ptree_write_begin(world.tree, &write);
                if (!st) {
                        st = failing_write(&world, write, &after);
                        if (st)
                                ptree_write_abort(write);
                        else
                                ptree_write_commit(write, ++world.position);
                }
                fired = memory ? mem_fail_fired() : sim_fired(world.sim);
                mem_fail_nth(0);
                sim_heal(world.sim);
                assert_true(fired || !st);
                if (!st)
                        world.model = after;
                status_ignore(st);
                OK(ptree_pin(world.tree, &snapshot));
                check_model(snapshot, &world.model, &world.hold);
                ptree_unpin(snapshot);
                check_space(&world);
                world_flush(&world);
                check_space(&world);
                world_done(&world);
        }
}

static void test_failing_memory(void **state)
{
        run_failing(true);
}

static void test_failing_files(void **state)
{
        run_failing(false);
}

/* --- a tree that goes --- */

/* Values or none, nodes in the file and dirty ones, three trees. */
static void fill_for_free(World *world, bool values)
{
        PWrite *write;
        uint8_t bytes[4];
        for (int round = 0; round < 3; round++) {
                OK(ptree_write_begin(world->tree, &write));
                for (uint32_t id = 0; id < 3; id++)
                        for (uint32_t n = 0; n < 900; n += 1 + (uint32_t)rnd(3)) {
                                /* Trees above 0 have larger values in their leaves. */
                                size_t size = values && rnd(2) ? (id ? 1600 : 30) + rnd(200) : rnd(16);
                                OK(ptree_write_put(write, id, key_of(n, bytes), BYTES(value_bytes, size)));
                        }
                OK(ptree_write_prepare(write));
                ptree_write_commit(write, ++world->position);
                if (round < 2)
                        world_flush(world);
        }
}

static void check_nothing_left(World *world)
{
        SpaceStats stats;
        Extents none = {0};
        PCacheStats cache;
        OK(space_check(world->space, extents_next, &none));
        OK(space_reclaim(world->space, world->position));
        space_stats(world->space, &stats);
        assert_int_equal(stats.live_bytes + stats.waiting_bytes, 0);
        pcache_stats(world->cache, &cache);
        assert_int_equal(cache.dirty_bytes, 0);
        world->address = (PTreeAddress){0};
}

static void test_going(void **state)
{
        for (int kind = 0; kind < 8; kind++) {
                World world;
                bool values = kind & 1, reopened = kind & 2;
                seed = 40 + (uint64_t)kind;
                world_init(&world, kind & 4 ? 200 << 10 : 0, values);
                fill_for_free(&world, values);
                if (reopened) {
                        world_flush(&world);
                        garbage_sweep(world.tree, true);
                        world_detach(&world);
                        world_attach(&world, 200 << 10);
                }
                if (values) {
                        PSnapshot *snapshot;
                        Bytes value;
                        bool found;
                        uint8_t bytes[4];
                        OK(ptree_pin(world.tree, &snapshot));
                        for (uint32_t n = 0; n < 900; n++)
                                OK(ptree_get(snapshot, 1, key_of(n, bytes), &world.hold, &value, &found));
                        ptree_unpin(snapshot);
                }
                OK(ptree_free(world.tree, world.position, false));
                check_nothing_left(&world);
                OK(ptree_free(world.tree, world.position, false));
                PTreeStats stats;
                ptree_stats(world.tree, &stats);
                assert_int_equal(stats.row_count + stats.row_bytes, 0);
                world_done(&world);
        }
        World world; /* nothing was ever there */
        world_init(&world, 0, false);
        OK(ptree_free(world.tree, 0, false));
        world_done(&world);
}

static void test_going_failing(void **state)
{
        for (int memory = 0; memory < 2; memory++)
                for (long n = 1, fired = 1; fired; n += n < 40 ? 1 : 17) {
                        World world;
                        seed = 50;
                        world_init(&world, 100 << 10, true);
                        fill_for_free(&world, true);
                        garbage_sweep(world.tree, true);
                        if (memory)
                                mem_fail_nth(n);
                        else
                                sim_fail_nth(world.sim, n, SIM_FAIL_ONCE);
                        Status st = ptree_free(world.tree, world.position, false);
                        fired = memory ? mem_fail_fired() : sim_fired(world.sim);
                        mem_fail_nth(0);
                        sim_heal(world.sim);
                        assert_int_equal(!!st, !!fired);
                        status_free(st);
                        OK(ptree_free(world.tree, world.position, false));
                        check_nothing_left(&world);
                        world_done(&world);
                }
}

/* Nodes that cannot be read: nothing is freed; or, anyway, all that can be found. */
static void test_going_damaged(void **state)
{
        World world;
        PSnapshot *snapshot;
        Extents extents = {0};
        uint64_t rows;
        SpaceStats before, after;
        seed = 60;
        world_init(&world, 0, true);
        fill_for_free(&world, true);
        world_flush(&world);
        garbage_sweep(world.tree, true);
        OK(ptree_pin(world.tree, &snapshot));
        OK(ptree_check(snapshot, extents_add, &extents, &rows));
        ptree_unpin(snapshot);
        /* The second of the extents is a leaf: the first is the top. */
        OK(sim_flip_bit(world.sim, "/d/pages", space_extent_offset(world.space, extents.items[1]) + 60, 3));
        space_stats(world.space, &before);
        FAILS(ERR_CORRUPT, ptree_free(world.tree, world.position, false));
        space_stats(world.space, &after);
        assert_memory_equal(&before, &after, sizeof(before));
        OK(ptree_free(world.tree, world.position, true));
        space_stats(world.space, &after);
        assert_true(after.extent_count > 0 && after.extent_count < before.extent_count / 4);
        free(extents.items);
        world_done(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_references),     cmocka_unit_test(test_model),
                cmocka_unit_test(test_crashes),        cmocka_unit_test(test_calls),
                cmocka_unit_test(test_misplaced),      cmocka_unit_test(test_kept),
                cmocka_unit_test(test_aborted),        cmocka_unit_test(test_threads),
                cmocka_unit_test(test_failing_memory), cmocka_unit_test(test_failing_files),
                cmocka_unit_test(test_going),          cmocka_unit_test(test_going_failing),
                cmocka_unit_test(test_going_damaged),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
