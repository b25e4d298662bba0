/* space_test.c - the space of a page file against a model of it: no overlap, sums, contents, crashes, failures. */

#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "os/sim.h"
#include "storage/slab/space_int.h"

static void expect_error(Status st, StatusCode code, const char *words)
{
        char text[512];
        assert_int_equal(status_code(st), code);
        if (!strstr(status_text(st, text, sizeof(text)), words))
                fail_msg("\"%s\" is not in: %s", words, text);
        status_free(st);
}

static uint64_t seed = 1;
static uint64_t rnd(uint64_t below)
{
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        return (seed * 0x2545f4914f6cdd1dull >> 11) % below;
}

/* --- the model: what is live, what waits, what each 16 bytes of the file belong to --- */

#define MAX_ITEMS       1200
#define GRANULE         16
#define GRANULES        ((32u << 20) / GRANULE)
#define SLAB_SIZES_HASH 0x2031ea23fa089aa8ull

typedef struct Item {
        Extent extent;
        size_t bytes;
        uint64_t tag;
        uint64_t freed; /* version; 0: live */
        uint64_t born;  /* version of the batch it was committed with; 0: none */
        int batch;      /* one that is running, plus one; 0: none */
        bool synced;
} Item;
typedef struct Model {
        Item items[MAX_ITEMS];
        size_t count;
        uint64_t version;
        uint64_t sequence; /* of checkpoints */
        Extent saved;      /* the saved space of the last checkpoint; 0: none */
} Model;
#define BATCHES 3
typedef struct World {
        SpaceBatch *batches[BATCHES];
        SimOs *sim;
        OsDir *dir;
        Space *space;
        Model now, durable, attempted; /* attempted.sequence > durable.sequence: may be durable too */
        uint8_t *owned;                /* a byte for each granule */
        bool no_memory;                /* allocations may fail */
        bool with_batches;
} World;

typedef struct Super {
        uint64_t checksum, sequence, version, saved, saved_bytes;
} Super;

static void own(World *world, Extent extent, bool on)
{
        size_t first = extent_offset(extent) / GRANULE, count = extent_bytes(extent) / GRANULE;
        assert_true(extent_offset(extent) >= 2 * SPACE_HEADER_BYTES);
        assert_true(first + count <= GRANULES);
        for (size_t i = first; i < first + count; i++) {
                assert_int_equal(world->owned[i], !on); /* no overlap, ever */
                world->owned[i] = on;
        }
}

static uint8_t *content(uint64_t tag, size_t bytes)
{
        static uint8_t data[1 << 20];
        for (size_t i = 0; i < bytes; i += 8) {
                uint64_t word = (tag + i) * 0x9e3779b97f4a7c15ull;
                memcpy(data + i, &word, 8);
        }
        return data;
}

static void check_contents(World *world)
{
        static uint8_t data[1 << 20];
        for (size_t i = 0; i < world->now.count; i++) {
                const Item *item = &world->now.items[i];
                if (item->freed)
                        continue;
                OK(space_read(world->space, item->extent, data, item->bytes));
                assert_memory_equal(data, content(item->tag, item->bytes), item->bytes);
        }
}

typedef struct Live {
        const Model *model;
        size_t at;
        Extent extra;
} Live;

static Status next_live(void *ctx, Extent *ret_extent, bool *ret_more)
{
        Live *live = ctx;
        while (live->at < live->model->count &&
               (live->model->items[live->at].freed || live->model->items[live->at].batch))
                live->at++;
        *ret_more = true;
        if (live->at < live->model->count)
                *ret_extent = live->model->items[live->at++].extent;
        else if (live->extra) {
                *ret_extent = live->extra;
                live->extra = 0;
        } else
                *ret_more = false;
        return ST_OK;
}

static Live live_of(const Model *model)
{
        return (Live){.model = model, .extra = model->saved};
}

static void check_sums(World *world)
{
        SpaceStats stats;
        SpaceClassStats classes[SPACE_CLASS_COUNT];
        uint64_t live = 0, waiting = 0, count = 0;
        for (size_t i = 0; i < world->now.count; i++) {
                const Item *item = &world->now.items[i];
                *(item->freed ? &waiting : &live) += extent_bytes(item->extent);
                count += !item->freed;
        }
        if (world->now.saved) {
                live += extent_bytes(world->now.saved);
                count++;
        }
        for (int i = 0; i < BATCHES; i++)
                if (world->batches[i]) {
                        live += world->batches[i]->dead_bytes;
                        count += world->batches[i]->dead_count;
                }
        space_stats(world->space, &stats);
        assert_int_equal(stats.live_bytes, live);
        assert_int_equal(stats.waiting_bytes, waiting);
        assert_int_equal(stats.extent_count, count);
        assert_int_equal(stats.file_bytes,
                         stats.live_bytes + stats.free_bytes + stats.waiting_bytes + stats.metadata_bytes);
        space_class_stats(world->space, classes);
        for (unsigned i = 0; i < SPACE_CLASS_COUNT; i++) {
                live -= classes[i].live_bytes;
                waiting -= classes[i].waiting_bytes;
        }
        assert_int_equal(live, 0);
        assert_int_equal(waiting, 0);
}

static void check_all(World *world)
{
        Live live = live_of(&world->now);
        check_sums(world);
        OK(space_check(world->space, next_live, &live));
}

/* --- the world: operations that change space and model together, or fail and change neither --- */

static void world_new(World *world, uint64_t with_seed)
{
        *world = (World){.now.version = 1};
        seed = with_seed * 77 + 5;
        world->owned = calloc(GRANULES, 1);
        assert_non_null(world->owned);
        OK(sim_new(with_seed, &world->sim));
        OK(os_dir_open(sim_os(world->sim), "data", OS_DIR_CREATE, &world->dir));
        OK(space_open(world->dir, "pages", NULL, &world->space));
        world->durable = world->attempted = world->now;
}

static void batches_end(World *world);
static void world_done(World *world)
{
        batches_end(world);
        space_close(world->space);
        os_dir_close(world->dir);
        sim_free(world->sim);
        free(world->owned);
}

static size_t random_size(void)
{
        switch (rnd(8)) {
        case 0: return 65537 + rnd(200000);
        case 1: return 1 + rnd(65536);
        case 2: return 4096;
        default: return 1 + rnd(3000);
        }
}

static Status world_alloc(World *world, size_t bytes)
{
        Item item = {.bytes = bytes, .tag = rnd(1ull << 40)};
        if (world->now.count == MAX_ITEMS)
                return ST_OK;
        TRY(space_alloc(world->space, bytes, &item.extent));
        assert_true(space_extent_bytes(world->space, item.extent) >= bytes);
        own(world, item.extent, true);
        Status st = space_write(world->space, item.extent, content(item.tag, bytes), bytes);
        if (st) {
                OK(space_discard(world->space, item.extent));
                own(world, item.extent, false);
                return st;
        }
        world->now.items[world->now.count++] = item;
        return ST_OK;
}

static void item_drop(World *world, size_t i)
{
        own(world, world->now.items[i].extent, false);
        world->now.items[i] = world->now.items[--world->now.count];
}

static Status world_free(World *world, size_t i)
{
        Item *item = &world->now.items[i];
        if (item->freed || item->batch)
                return ST_OK;
        TRY(space_free(world->space, item->extent, world->now.version));
        item->freed = world->now.version;
        if (!world->no_memory)
                expect_error(space_free(world->space, item->extent, world->now.version), ERR_CORRUPT, "freed already");
        return ST_OK;
}

static Status world_discard(World *world, size_t i)
{
        const Item *item = &world->now.items[i];
        if (item->freed || item->synced || item->born || item->batch)
                return ST_OK;
        TRY(space_discard(world->space, world->now.items[i].extent));
        item_drop(world, i);
        return ST_OK;
}

/* --- batches: what they have is the model's as anything else, but not part of a checkpoint --- */

static Status batch_alloc(World *world, int b, size_t bytes)
{
        Item item = {.bytes = bytes, .tag = rnd(1ull << 40), .batch = b + 1};
        if (world->now.count == MAX_ITEMS)
                return ST_OK;
        TRY(space_batch_alloc(world->batches[b], bytes, &item.extent));
        own(world, item.extent, true);
        world->now.items[world->now.count++] = item;
        return space_write(world->space, item.extent, content(item.tag, bytes), bytes);
}

static Status batch_discard(World *world, size_t i)
{
        const Item *item = &world->now.items[i];
        TRY(space_batch_discard(world->batches[item->batch - 1], item->extent));
        item_drop(world, i);
        return ST_OK;
}

static void batch_commit(World *world, int b, uint64_t version)
{
        space_batch_commit(world->batches[b], version);
        world->batches[b] = NULL;
        for (size_t i = 0; i < world->now.count; i++)
                if (world->now.items[i].batch == b + 1) {
                        world->now.items[i].batch = 0;
                        world->now.items[i].born = version;
                }
}

static void batch_abort(World *world, int b)
{
        space_batch_abort(world->batches[b]);
        world->batches[b] = NULL;
        for (size_t i = world->now.count; i-- > 0;)
                if (world->now.items[i].batch == b + 1)
                        item_drop(world, i);
}

static Status batch_step(World *world, uint64_t version)
{
        int b = (int)rnd(BATCHES);
        if (!world->batches[b])
                return space_batch_new(world->space, &world->batches[b]);
        switch (rnd(10)) {
        case 0: batch_commit(world, b, version); return ST_OK;
        case 1:
                if (rnd(3) == 0)
                        batch_abort(world, b);
                return ST_OK;
        case 2:
        case 3:
                for (size_t i = 0; i < world->now.count; i++)
                        if (world->now.items[i].batch == b + 1 && rnd(3) == 0)
                                return batch_discard(world, i);
                return ST_OK;
        default:
                for (int i = 0; i < 3 && world->now.count < 900; i++)
                        TRY(batch_alloc(world, b, random_size()));
                return ST_OK;
        }
}

static Status world_reclaim(World *world, uint64_t version)
{
        Status st = space_reclaim(world->space, version);
        for (size_t i = world->now.count; i-- > 0;)
                if (world->now.items[i].freed && world->now.items[i].freed <= version)
                        item_drop(world, i);
        return st;
}

/* As a checkpoint of the tree: what is freed while it is being made still belongs to it. */
static Status world_checkpoint(World *world)
{
        uint64_t version = ++world->now.version;
        Super super = {.sequence = world->attempted.sequence + 1, .version = version};
        Extent saved;
        Buf buf;
        if (world->now.saved) {
                Item item = {.extent = world->now.saved, .freed = version - 1};
                if (world->now.count == MAX_ITEMS)
                        return ST_OK;
                TRY(space_free(world->space, world->now.saved, version - 1));
                world->now.items[world->now.count++] = item;
                world->now.saved = 0;
        }
        for (int i = 0; i < 3 && world->now.count; i++)
                TRY(world_free(world, rnd(world->now.count)));
        /* Commits go on: later ones are not part of it, whether they are freed again meanwhile or not. */
        for (int i = 0; i < 4 && world->with_batches; i++) {
                TRY(batch_step(world, version + 1 + rnd(2)));
                for (size_t k = 0; k < world->now.count; k++) {
                        Item *item = &world->now.items[k];
                        if (item->born <= version || item->freed || rnd(4))
                                continue;
                        TRY(space_free(world->space, item->extent, item->born));
                        item->freed = item->born;
                }
        }
        buf_init(&buf, 1 << 20);
        Status st = space_save_extent(world->space, version, &buf, &saved);
        if (st) {
                buf_done(&buf);
                return st;
        }
        own(world, saved, true);
        super.saved = saved;
        super.saved_bytes = buf.size;
        super.checksum = bytes_hash(&super.sequence, sizeof(super) - 8);
        world->attempted = world->now;
        world->attempted.sequence = super.sequence;
        world->attempted.saved = saved;
        for (size_t i = world->attempted.count; i-- > 0;) {
                Item *item = &world->attempted.items[i];
                if ((item->freed && item->freed < version) || item->batch || item->born > version)
                        *item = world->attempted.items[--world->attempted.count];
                else
                        *item = (Item){.extent = item->extent, .bytes = item->bytes, .tag = item->tag, .synced = true};
        }
        st = space_write(world->space, saved, buf.data, buf.size);
        bool synced = false;
        if (!st) {
                st = space_sync(world->space);
                synced = !st;
        }
        if (!st)
                st = space_header_write(world->space, super.sequence & 1, &super, sizeof(super));
        if (!st)
                st = space_sync(world->space);
        buf_done(&buf);
        if (synced)
                for (size_t i = 0; i < world->now.count; i++)
                        world->now.items[i].synced = true;
        world->now.version = MAX(world->now.version, version + 2); /* of commits meanwhile */
        if (st) {
                /* Its superblock may be durable or not: what it uses must stay, until a later one is. */
                world->now.saved = saved;
                return st;
        }
        world->now.saved = saved;
        world->durable = world->attempted;
        return world_reclaim(world, version - 1);
}

/* Opens and loads the newest checkpoint; the model becomes what that holds. */
static Status world_open(World *world)
{
        Super best = {0}, super;
        Buf buf;
        TRY(os_dir_open(sim_os(world->sim), "data", OS_DIR_CREATE, &world->dir));
        TRY(space_open(world->dir, "pages", NULL, &world->space));
        for (unsigned i = 0; i < 2; i++) {
                TRY(space_header_read(world->space, i, &super, sizeof(super)));
                if (super.checksum == bytes_hash(&super.sequence, sizeof(super) - 8) && super.sequence > best.sequence)
                        best = super;
        }
        if (best.sequence != world->attempted.sequence)
                assert_int_equal(best.sequence, world->durable.sequence);
        if (best.sequence) {
                buf_init(&buf, 1 << 20);
                Status st = buf_reserve(&buf, best.saved_bytes);
                if (!st)
                        st = space_read(world->space, best.saved, buf.data, best.saved_bytes);
                if (!st)
                        st = space_load(world->space, BYTES(buf.data, best.saved_bytes));
                buf_done(&buf);
                TRY(st);
        }
        world->now = best.sequence == world->attempted.sequence ? world->attempted : world->durable;
        world->now.version = MAX(world->now.version, world->attempted.version);
        world->durable = world->attempted = world->now;
        memset(world->owned, 0, GRANULES);
        for (size_t i = 0; i < world->now.count; i++)
                own(world, world->now.items[i].extent, true);
        if (world->now.saved)
                own(world, world->now.saved, true);
        return ST_OK;
}

/* The batches of a process that ends, however it does. */
static void batches_end(World *world)
{
        for (int i = 0; i < BATCHES; i++) {
                space_batch_abort(world->batches[i]);
                world->batches[i] = NULL;
        }
}

static void world_crash(World *world, SimCrash how)
{
        batches_end(world);
        world->space = space_close(world->space);
        world->dir = os_dir_close(world->dir);
        sim_crash(world->sim, how);
        OK(world_open(world));
        check_all(world);
        check_contents(world);
}

static Status world_step(World *world)
{
        switch (rnd(16)) {
        case 0: return world->now.count % 8 ? ST_OK : world_checkpoint(world);
        case 1:
        case 2:
        case 3:
        case 4:
        case 5: return world->now.count ? world_free(world, rnd(world->now.count)) : ST_OK;
        case 6: return world->now.count ? world_discard(world, rnd(world->now.count)) : ST_OK;
        case 7: world->now.version++; return ST_OK;
        case 8:
        case 9:
        case 10: return world->with_batches ? batch_step(world, world->now.version) : ST_OK;
        default: return world->now.count > 500 && rnd(2) ? ST_OK : world_alloc(world, random_size());
        }
}

/* --- tests --- */

static void test_classes(void **state)
{
        uint64_t hash = 0;
        for (unsigned i = 0; i < SLAB_CLASSES; i++) {
                uint32_t bytes = class_bytes(i);
                assert_int_equal(bytes % 16, 0);
                assert_int_equal(class_of(bytes), i);
                assert_int_equal(class_of(bytes + 1), i + 1);
                if (i > 0)
                        assert_true(bytes * 4 <= class_bytes(i - 1) * 5);
                for (unsigned step = 0; step < SLAB_STEPS; step++) {
                        uint32_t pages = slab_pages_of(i, step), slots = pages * PAGE_BYTES / bytes;
                        assert_true(slots > 0 && slots <= UINT16_MAX);
                        assert_true((uint64_t)slots * bytes * 100 >= (uint64_t)pages * PAGE_BYTES * 96);
                        hash = hash * 31 + pages;
                }
        }
        assert_int_equal(class_bytes(0), 64);
        assert_int_equal(class_bytes(SLAB_CLASSES - 1), SLAB_MAX_EXTENT);
        assert_int_equal(class_of(1), 0);
        /* The sizes of slabs and the bits of an Extent are on disk: if this fails, the format changes. */
        assert_int_equal(hash, SLAB_SIZES_HASH);
        assert_int_equal(extent_make(24, 1, 5, 100), 0x0000006400000558ull);
        assert_int_equal(extent_offset(extent_make(24, 1, 5, 100)), 105 * 4096);
        assert_false(extent_valid(0));
        assert_false(extent_valid(extent_make(CLASS_LARGE, 0, 1, 1)));
        assert_false(extent_valid(extent_make(CLASS_LARGE, 0, 0, 2)));
        assert_false(extent_valid(extent_make(CLASS_LARGE + 1, 0, 0, 2)));
        assert_false(extent_valid(extent_make(0, 0, 256, 2)));
        assert_true(extent_valid(extent_make(0, 0, 255, 2)));
}

static void test_basics(void **state)
{
        World world;
        SpaceStats stats;
        Extent a, b;
        char out[16] = "";
        world_new(&world, 1);
        space_stats(world.space, &stats);
        assert_int_equal(stats.file_bytes, 8192);
        assert_int_equal(stats.metadata_bytes, 8192);
        OK(space_alloc(world.space, 100, &a));
        assert_int_equal(space_extent_bytes(world.space, a), 112);
        assert_int_equal(space_extent_offset(world.space, a), 8192);
        space_stats(world.space, &stats);
        assert_true(stats.file_bytes <= 8192 + 16384); /* a table that is almost empty costs little */
        OK(space_alloc(world.space, 0, &b));
        assert_int_equal(space_extent_bytes(world.space, b), 64);
        OK(space_write(world.space, a, "hello", 5));
        OK(space_read(world.space, a, out, 5));
        assert_string_equal(out, "hello");
        OK(space_header_write(world.space, 1, "super", 5));
        OK(space_header_read(world.space, 1, out, 6));
        assert_string_equal(out, "super");
        OK(space_header_read(world.space, 0, out, 1));
        assert_int_equal(out[0], 0);
        OK(space_read(world.space, a, out, 5));
        assert_memory_equal(out, "hello", 5);
        expect_error(space_header_write(world.space, 2, "x", 1), ERR_INVALID, "header 2");
        expect_error(space_header_read(world.space, 0, out, 4097), ERR_INVALID, "header 0");
        expect_error(space_write(world.space, a, content(1, 113), 113), ERR_INVALID, "do not fit");
        expect_error(space_read(world.space, a, content(1, 113), 113), ERR_INVALID, "113");
        expect_error(space_read(world.space, 0, out, 1), ERR_CORRUPT, "impossible extent");
        expect_error(space_read(world.space, extent_make(CLASS_LARGE, 0, 1, 9999), out, 1), ERR_CORRUPT,
                     "page file data/pages: extent 270f00000129 at offset 40955904: the file ends");
        expect_error(space_free(world.space, 0, 1), ERR_CORRUPT, "impossible");
        expect_error(space_free(world.space, a + (1ull << 8), 1), ERR_CORRUPT, "not allocated");
        expect_error(space_free(world.space, a ^ 64, 1), ERR_CORRUPT, "something else");
        expect_error(space_alloc(world.space, (size_t)1 << 37, &b), ERR_LIMIT, "the largest");
        assert_int_equal(space_extent_bytes(world.space, 0), 0);
        assert_null(space_close(NULL));
        world_done(&world);
}

static void test_model(void **state)
{
        for (uint64_t s = 1; s <= 6; s++) {
                World world;
                world_new(&world, s);
                world.with_batches = s > 2;
                for (int i = 0; i < 2500; i++) {
                        OK(world_step(&world));
                        check_sums(&world);
                        if (i % 32 == 0)
                                check_all(&world);
                        if (i % 400 == 399)
                                world_crash(&world, (SimCrash)rnd(3));
                }
                check_contents(&world);
                for (int b = 0; b < BATCHES; b++)
                        if (world.batches[b])
                                batch_commit(&world, b, world.now.version);
                /* All freed: the file is as small as an empty one. */
                for (size_t i = 0; i < world.now.count; i++)
                        OK(world_free(&world, i));
                OK(space_discard(world.space, world.now.saved));
                own(&world, world.now.saved, false);
                world.now.saved = 0;
                OK(world_reclaim(&world, UINT64_MAX));
                assert_int_equal(world.now.count, 0);
                check_all(&world);
                SpaceStats stats;
                space_stats(world.space, &stats);
                assert_int_equal(stats.file_bytes, 8192);
                assert_int_equal(stats.slab_count, 0);
                world_done(&world);
        }
}

/* A short script; every file call of it fails in turn, in every way. */
static Status script(World *world)
{
        for (int round = 0; round < 3; round++) {
                for (int i = 0; i < 12; i++)
                        TRY(world_alloc(world, i % 4 == 3 ? 70000 + (size_t)i * 5000 : 100u << i % 7));
                if (world->batches[round])
                        batch_abort(world, round);
                TRY(space_batch_new(world->space, &world->batches[round]));
                for (int i = 0; i < 4; i++)
                        TRY(batch_alloc(world, round, i == 3 ? 80000 : 200u << i % 3));
                TRY(world_checkpoint(world));
                for (size_t i = 0; i < world->now.count; i += 2)
                        TRY(world_free(world, i));
                size_t last = world->now.count - 1;
                while (!world->now.items[last].batch)
                        last--;
                TRY(batch_discard(world, last));
                if (round < 2)
                        batch_commit(world, round, world->now.version);
                world->now.version++;
                TRY(world_checkpoint(world));
        }
        return ST_OK;
}

static void unsynced_drop(World *world)
{
        for (int b = 0; b < BATCHES; b++)
                if (world->batches[b])
                        batch_abort(world, b);
        for (size_t i = world->now.count; i-- > 0;) {
                const Item *item = &world->now.items[i];
                if (!item->synced && !item->freed)
                        OK(item->born ? world_free(world, i) : world_discard(world, i));
        }
}

static void test_disk_failures(void **state)
{
        static const SimFailure failures[] = {SIM_FAIL_ONCE, SIM_FAIL_FOREVER, SIM_FAIL_NO_SPACE, SIM_FAIL_POWER};
        for (size_t f = 0; f < ELEMENTS(failures); f++) {
                for (long n = 1, fired = 1; fired; n++) {
                        World world;
                        world_new(&world, (uint64_t)n);
                        OK(world_checkpoint(&world));
                        sim_fail_nth(world.sim, n, failures[f]);
                        Status st = script(&world);
                        fired = sim_fired(world.sim);
                        assert_true(!st || fired);
                        status_free(st);
                        check_sums(&world);
                        if (failures[f] != SIM_FAIL_POWER && n % 2) {
                                /* The device works again: go on in the same process. */
                                sim_heal(world.sim);
                                check_all(&world);
                                OK(space_resume(world.space));
                                unsynced_drop(&world);
                                OK(script(&world));
                                check_all(&world);
                                check_contents(&world);
                        }
                        world_crash(&world, failures[f] == SIM_FAIL_POWER ? SIM_TEAR : (SimCrash)(n % 3));
                        OK(script(&world));
                        check_all(&world);
                        world_crash(&world, SIM_DROP);
                        world_done(&world);
                }
        }
}

/* The calls of opening and loading fail in turn. */
static void test_open_failures(void **state)
{
        World world;
        world_new(&world, 3);
        OK(script(&world));
        batches_end(&world);
        for (long n = 1, fired = 1; fired; n++) {
                world.space = space_close(world.space);
                world.dir = os_dir_close(world.dir);
                sim_fail_nth(world.sim, n, SIM_FAIL_ONCE);
                Status st = world_open(&world);
                fired = sim_fired(world.sim);
                assert_int_equal(!!st, !!fired);
                status_free(st);
                sim_heal(world.sim);
        }
        check_all(&world);
        world_done(&world);
}

static void test_memory_failures(void **state)
{
        for (long n = 1, fired = 1; fired; n++) {
                World world;
                world_new(&world, 9);
                world.no_memory = true;
                mem_fail_nth(n);
                Status st = script(&world);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                assert_true(!st || (fired && status_code(st) == ERR_NOMEM));
                status_free(st);
                check_all(&world);
                check_contents(&world);
                OK(script(&world));
                check_all(&world);
                batches_end(&world);
                world.space = space_close(world.space);
                world.dir = os_dir_close(world.dir);
                world_done(&world);
        }
        for (long n = 1, fired = 1; fired; n++) { /* opening, loading, checking */
                World world;
                Live live;
                world_new(&world, 9);
                OK(script(&world));
                batches_end(&world);
                world.space = space_close(world.space);
                world.dir = os_dir_close(world.dir);
                mem_fail_nth(n);
                Status st = world_open(&world);
                if (!st) {
                        live = live_of(&world.now);
                        st = space_check(world.space, next_live, &live);
                }
                fired = mem_fail_fired();
                mem_fail_nth(0);
                assert_true(!st || (fired && status_code(st) == ERR_NOMEM));
                status_free(st);
                world_done(&world);
        }
}

static void test_saved_damage(void **state)
{
        World world;
        Buf saved, again;
        Space *other;
        world_new(&world, 4);
        for (int i = 0; i < 40; i++)
                OK(world_alloc(&world, i % 5 ? 5000 : 90000));
        for (size_t i = 0; i < 40; i += 3)
                OK(world_free(&world, i));
        buf_init(&saved, 1 << 20);
        buf_init(&again, 1 << 20);
        OK(space_save(world.space, &saved));
        OK(space_open(world.dir, "pages", NULL, &other));
        for (size_t size = 0; size < saved.size; size++) {
                Status st = space_load(other, BYTES(saved.data, size));
                assert_int_equal(status_code(st), ERR_CORRUPT);
                status_free(st);
        }
        for (size_t at = 0; at < saved.size; at++) {
                saved.data[at] ^= 0x10;
                expect_error(space_load(other, BYTES(saved.data, saved.size)), ERR_CORRUPT, "saved space: ");
                saved.data[at] ^= 0x10;
        }
        /* With a right checksum: refused, or a layout that holds together. */
        for (size_t at = 64; at < saved.size * 8; at++) {
                Space *lucky;
                uint64_t checksum = load_u64(saved.data);
                saved.data[at / 8] ^= (uint8_t)(1 << at % 8);
                store_u64(saved.data, bytes_hash(saved.data + 8, saved.size - 8));
                OK(space_open(world.dir, "pages", NULL, &lucky));
                Status st = space_load(lucky, BYTES(saved.data, saved.size));
                if (!st) {
                        Live none = {.model = &(Model){.count = 0}};
                        expect_error(space_check(lucky, next_live, &none), ERR_CORRUPT, "leaked");
                        again.size = 0;
                        OK(space_save(lucky, &again));
                        assert_int_equal(again.size, saved.size);
                } else {
                        assert_true(status_code(st) == ERR_CORRUPT || status_code(st) == ERR_VERSION);
                }
                status_free(st);
                space_close(lucky);
                saved.data[at / 8] ^= (uint8_t)(1 << at % 8);
                store_u64(saved.data, checksum);
        }
        store_u32(saved.data + 12, 2);
        store_u64(saved.data, bytes_hash(saved.data + 8, saved.size - 8));
        expect_error(space_load(other, BYTES(saved.data, saved.size)), ERR_VERSION, "format 2");
        store_u32(saved.data + 12, 1);
        store_u64(saved.data, bytes_hash(saved.data + 8, saved.size - 8));
        OK(space_load(other, BYTES(saved.data, saved.size)));
        again.size = 0;
        OK(space_save(other, &again));
        assert_true(bytes_equal(BYTES(saved.data, saved.size), BYTES(again.data, again.size)));
        Live live = live_of(&world.now);
        OK(space_check(other, next_live, &live));
        expect_error(space_load(other, BYTES(saved.data, saved.size)), ERR_INVALID, "in use");
        space_close(other);
        /* The file lost its end. */
        OsFile *file;
        OK(os_file_open(world.dir, "pages", OS_READ | OS_WRITE, &file));
        OK(os_file_truncate(file, 100000));
        os_file_close(file);
        OK(space_open(world.dir, "pages", NULL, &other));
        expect_error(space_load(other, BYTES(saved.data, saved.size)), ERR_CORRUPT, "behind the end of the file");
        space_close(other);
        buf_done(&saved);
        buf_done(&again);
        world_done(&world);
}

static void test_shrink(void **state)
{
        World world;
        SpaceStats stats;
        world_new(&world, 5);
        for (int i = 0; i < 300; i++)
                OK(world_alloc(&world, 4096));
        space_stats(world.space, &stats);
        uint64_t full = stats.file_bytes;
        /* Two thirds go, at random: the rest moves to the front as it is rewritten, and the file follows. */
        for (int round = 0; round < 6; round++) {
                size_t count = world.now.count, alive = 0;
                for (size_t i = 0; i < count; i++)
                        if (!world.now.items[i].freed && (alive++ >= 100 || round > 0))
                                OK(world_free(&world, i));
                OK(world_reclaim(&world, world.now.version - 1));
                world.now.version++;
                for (int i = 0; i < 100 && round > 0; i++)
                        OK(world_alloc(&world, 4096));
        }
        OK(world_reclaim(&world, world.now.version));
        space_stats(world.space, &stats);
        assert_true(stats.live_bytes == 100 * 4096);
        assert_true(stats.file_bytes < full / 5 * 4);
        check_all(&world);
        check_contents(&world);
        world_done(&world);
}

/* Thousands of slots, bitmaps of many words, larger slabs as the class grows. */
static void test_many_small(void **state)
{
        World world;
        SpaceStats stats;
        enum { COUNT = 20000 };
        Extent *extents = calloc(COUNT, sizeof(*extents));
        assert_non_null(extents);
        world_new(&world, 12);
        for (int round = 0; round < 4; round++) {
                for (int i = 0; i < COUNT; i++)
                        if (!extents[i]) {
                                OK(space_alloc(world.space, 50 + (i & 1) * 50, &extents[i]));
                                own(&world, extents[i], true);
                        }
                space_stats(world.space, &stats);
                assert_int_equal(stats.extent_count, COUNT);
                assert_true(stats.live_bytes * 5 > stats.file_bytes * 4);
                for (int i = 0; i < COUNT; i++)
                        if (rnd(2)) {
                                OK(space_free(world.space, extents[i], rnd(100)));
                                own(&world, extents[i], false);
                                extents[i] = 0;
                        }
                OK(space_reclaim(world.space, 100));
        }
        Live none = {.model = &world.now};
        expect_error(space_check(world.space, next_live, &none), ERR_CORRUPT, "leaked"); /* the rest is right */
        free(extents);
        world_done(&world);
}

/* When the end of the file cannot be given back it is still there to be used. */
static void test_cut_failure(void **state)
{
        World world;
        SpaceStats before, after;
        world_new(&world, 13);
        OK(world_alloc(&world, 1000));
        OK(world_alloc(&world, 200000));
        OK(world_free(&world, 1));
        space_stats(world.space, &before);
        sim_fail_nth(world.sim, 1, SIM_FAIL_ONCE);
        Status st = world_reclaim(&world, 1);
        assert_int_equal(status_code(st), ERR_IO);
        status_free(st);
        space_stats(world.space, &after);
        assert_int_equal(after.file_bytes, before.file_bytes);
        assert_int_equal(after.waiting_bytes, 0);
        check_all(&world);
        OK(world_alloc(&world, 200000));
        space_stats(world.space, &after);
        assert_int_equal(after.file_bytes, before.file_bytes);
        OK(world_free(&world, 1));
        OK(world_reclaim(&world, 1));
        space_stats(world.space, &after);
        assert_true(after.file_bytes < 60000);
        check_all(&world);
        world_done(&world);
}

/* Large extents of mixed sizes, half of them replaced again and again: holes join, and the file does not creep. */
static void test_fragmentation(void **state)
{
        World world;
        SpaceStats stats;
        world_new(&world, 6);
        uint64_t worst = 0;
        for (int i = 0; i < 40; i++)
                OK(world_alloc(&world, 65537 + rnd(150000)));
        for (int i = 0; i < 2000; i++) {
                OK(world_discard(&world, rnd(world.now.count)));
                OK(world_alloc(&world, 65537 + rnd(150000)));
                space_stats(world.space, &stats);
                worst = MAX(worst, stats.file_bytes * 100 / stats.live_bytes);
        }
        print_message("large extents: the file was at most %d %% of what is live\n", (int)worst);
        assert_true(worst < 160);
        check_all(&world);
        while (world.now.count)
                OK(world_discard(&world, rnd(world.now.count)));
        check_all(&world);
        space_stats(world.space, &stats);
        Extent all;
        uint64_t before = stats.file_bytes;
        OK(space_alloc(world.space, stats.free_bytes, &all)); /* one hole again */
        space_stats(world.space, &stats);
        assert_int_equal(stats.file_bytes, before);
        assert_int_equal(stats.free_bytes, 0);
        world_done(&world);
}

static void test_no_space(void **state)
{
        for (int limited = 0; limited < 2; limited++) {
                World world;
                world_new(&world, 7);
                if (limited) {
                        sim_disk_limit(world.sim, 1000000);
                } else {
                        SpaceOptions options = {.max_bytes = 1000000};
                        space_close(world.space);
                        OK(space_open(world.dir, "pages", &options, &world.space));
                }
                Status st;
                size_t failed = 0;
                for (int i = 0; i < 3000; i++) {
                        st = world_alloc(&world, i % 2 ? 3000 : 1 + rnd(90000));
                        if (st) {
                                assert_int_equal(status_code(st), ERR_NO_SPACE);
                                status_free(st);
                                failed++;
                        }
                        check_sums(&world);
                }
                check_all(&world);
                check_contents(&world);
                SpaceStats stats;
                space_stats(world.space, &stats);
                print_message("full: %d of 1000000 bytes live\n", (int)stats.live_bytes);
                assert_true(failed > 100 && stats.live_bytes > 900000 && stats.file_bytes <= 1000000);
                /* Room again: writing resumes. */
                for (size_t i = 0; i < world.now.count; i += 2)
                        OK(world_free(&world, i));
                OK(world_reclaim(&world, UINT64_MAX));
                OK(world_alloc(&world, 3000));
                check_all(&world);
                check_contents(&world);
                world_done(&world);
        }
}

static void test_check_finds(void **state)
{
        World world;
        world_new(&world, 8);
        for (int i = 0; i < 30; i++)
                OK(world_alloc(&world, i % 3 ? 2000 : 80000));
        Model *model = &world.now;
        Live live = live_of(model);
        Extent small = model->items[1].extent, large = model->items[0].extent;
        model->count--;
        expect_error(space_check(world.space, next_live, &live), ERR_CORRUPT, "leaked");
        model->count++;
        live = (Live){.model = model, .extra = small};
        expect_error(space_check(world.space, next_live, &live), ERR_CORRUPT, "used twice");
        live = (Live){.model = model, .extra = extent_make(24, 0, 1, extent_page(small))};
        expect_error(space_check(world.space, next_live, &live), ERR_CORRUPT, "something else");
        live = (Live){.model = model, .extra = extent_make(24, 0, 1, extent_page(large) + 1)};
        expect_error(space_check(world.space, next_live, &live), ERR_CORRUPT, "within something else");
        live = (Live){.model = model, .extra = extent_make(24, 0, 1, 100000)};
        expect_error(space_check(world.space, next_live, &live), ERR_CORRUPT, "never allocated");
        live = (Live){.model = model, .extra = 77};
        expect_error(space_check(world.space, next_live, &live), ERR_CORRUPT, "impossible");
        OK(space_free(world.space, small, 5));
        live = live_of(model);
        expect_error(space_check(world.space, next_live, &live), ERR_CORRUPT, "was freed");
        OK(space_free(world.space, large, 5));
        live = (Live){.model = &(Model){.count = 0}, .extra = large};
        expect_error(space_check(world.space, next_live, &live), ERR_CORRUPT, "was freed");

        /* From the extents alone: the same, in any order. */
        for (size_t i = model->count; i > 1; i--) {
                size_t j = rnd(i);
                Item item = model->items[i - 1];
                model->items[i - 1] = model->items[j];
                model->items[j] = item;
        }
        space_close(world.space);
        OK(space_open(world.dir, "pages", NULL, &world.space));
        live = (Live){.model = model, .extra = small};
        expect_error(space_rebuild(world.space, next_live, &live), ERR_CORRUPT, "used twice");
        live = (Live){.model = model, .extra = large};
        expect_error(space_rebuild(world.space, next_live, &live), ERR_CORRUPT, "used twice");
        live = (Live){.model = model, .extra = extent_make(24, 0, 1, extent_page(large) + 1)};
        expect_error(space_rebuild(world.space, next_live, &live), ERR_CORRUPT, "overlap");
        live = (Live){.model = model, .extra = extent_make(24, 0, 1, 100000)};
        expect_error(space_rebuild(world.space, next_live, &live), ERR_CORRUPT, "behind the end");
        live = live_of(model);
        OK(space_rebuild(world.space, next_live, &live));
        live = live_of(model);
        expect_error(space_rebuild(world.space, next_live, &live), ERR_INVALID, "in use");
        check_all(&world);
        check_contents(&world);
        for (int i = 0; i < 100; i++)
                OK(world_alloc(&world, random_size()));
        check_all(&world);
        world_done(&world);
}

static void test_sync_failure(void **state)
{
        World world;
        world_new(&world, 2);
        OK(world_alloc(&world, 100));
        sim_fail_nth(world.sim, 1, SIM_FAIL_ONCE);
        Status st = space_sync(world.space);
        assert_int_equal(status_code(st), ERR_IO);
        status_free(st);
        expect_error(space_sync(world.space), ERR_IO, "earlier sync failed");
        OK(space_resume(world.space));
        OK(space_sync(world.space));
        world_done(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_classes),       cmocka_unit_test(test_basics),
                cmocka_unit_test(test_model),         cmocka_unit_test(test_disk_failures),
                cmocka_unit_test(test_open_failures), cmocka_unit_test(test_memory_failures),
                cmocka_unit_test(test_saved_damage),  cmocka_unit_test(test_shrink),
                cmocka_unit_test(test_many_small),    cmocka_unit_test(test_cut_failure),
                cmocka_unit_test(test_fragmentation), cmocka_unit_test(test_no_space),
                cmocka_unit_test(test_check_finds),   cmocka_unit_test(test_sync_failure),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
