/* batch_test.c - batches: what a saved state of an older version shows; writing many at once; threads beside
 * checkpoints. The random model of space_test.c has batches too. */
#include "base/check.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/mem.h"
#include "os/sim.h"
#include "os/thread.h"
#include "storage/slab/space_int.h"

typedef struct World {
        SimOs *sim;
        OsDir *dir;
        Space *space;
        Buf saved;
} World;

static void world_init(World *world)
{
        *world = (World){0};
        OK(sim_new(1, &world->sim));
        OK(os_dir_open(sim_os(world->sim), "data", OS_DIR_CREATE, &world->dir));
        OK(space_open(world->dir, "pages", NULL, &world->space));
        buf_init(&world->saved, 1 << 20);
}

static void world_done(World *world)
{
        space_close(world->space);
        os_dir_close(world->dir);
        sim_free(world->sim);
        buf_done(&world->saved);
}

typedef struct List {
        const Extent *extents;
        size_t count, at;
} List;

static Status list_next(void *ctx, Extent *ret_extent, bool *ret_more)
{
        List *list = ctx;
        *ret_more = list->at < list->count;
        if (*ret_more)
                *ret_extent = list->extents[list->at++];
        return ST_OK;
}

/* Saves a state of `version`, and loads it as after a crash: it has exactly these extents. */
static void check_saved(World *world, uint64_t version, const Extent *extents, size_t count)
{
        SpaceStats before, after;
        OsDir *dir;
        Space *loaded;
        List list = {extents, count, 0};
        buf_clear(&world->saved);
        space_stats(world->space, &before);
        OK(space_save_at(world->space, version, &world->saved));
        space_stats(world->space, &after);
        assert_memory_equal(&before, &after, sizeof(before));
        OK(os_dir_open(sim_os(world->sim), "data", OS_DIR_CREATE, &dir));
        OK(space_open(dir, "pages", NULL, &loaded));
        OK(space_load(loaded, BYTES(world->saved.data, world->saved.size)));
        OK(space_check(loaded, list_next, &list));
        space_close(loaded);
        os_dir_close(dir);
}

static void test_versions(void **state)
{
        World world;
        SpaceBatch *early, *late, *running;
        SpaceStats stats;
        Extent e[8];
        for (size_t bytes = 100; bytes <= 100000; bytes *= 1000) { /* slots; large extents */
                world_init(&world);
                OK(space_alloc(world.space, bytes, &e[0]));
                OK(space_batch_new(world.space, &early));
                OK(space_batch_new(world.space, &late));
                OK(space_batch_new(world.space, &running));
                OK(space_batch_alloc(early, bytes, &e[1]));
                OK(space_batch_alloc(late, bytes, &e[2]));
                OK(space_batch_alloc(running, bytes, &e[3]));
                OK(space_batch_alloc(early, bytes, &e[4]));
                check_saved(&world, 10, e, 1);
                space_batch_commit(late, 20); /* not in their order */
                space_batch_commit(early, 10);
                check_saved(&world, 9, e, 1);
                check_saved(&world, 10, (Extent[]){e[0], e[1], e[4]}, 3);
                check_saved(&world, 20, (Extent[]){e[0], e[1], e[2], e[4]}, 4);
                /* What one of 20 is replaced by something newer, or goes at once: never part of 10. */
                OK(space_free(world.space, e[2], 20));
                check_saved(&world, 10, (Extent[]){e[0], e[1], e[4]}, 3);
                check_saved(&world, 20, (Extent[]){e[0], e[1], e[2], e[4]}, 4);
                OK(space_free(world.space, e[1], 15));
                check_saved(&world, 10, (Extent[]){e[0], e[1], e[4]}, 3);
                check_saved(&world, 16, (Extent[]){e[0], e[4]}, 2);
                /* The check passes over what is running. */
                List list = {(Extent[]){e[0], e[4]}, 2, 0};
                OK(space_check(world.space, list_next, &list));
                OK(space_reclaim(world.space, 20));
                space_batch_commit(running, 30);
                check_saved(&world, 29, (Extent[]){e[0], e[4]}, 2);
                check_saved(&world, 30, (Extent[]){e[0], e[3], e[4]}, 3);
                OK(space_reclaim(world.space, 30));
                check_saved(&world, 30, (Extent[]){e[0], e[3], e[4]}, 3);
                space_stats(world.space, &stats);
                assert_int_equal(stats.extent_count, 3);
                world_done(&world);
        }
}

/* What a batch discards comes back while it runs, if it is much, and at its end. */
static void test_discard(void **state)
{
        World world;
        SpaceBatch *batch;
        SpaceStats stats;
        Extent kept, extent;
        size_t count;
        world_init(&world);
        OK(space_batch_new(world.space, &batch));
        OK(space_batch_alloc(batch, 1000, &kept));
        for (int i = 0; i < 1000; i++) { /* a megabyte, over and over */
                OK(space_batch_alloc(batch, 1 << 20, &extent));
                OK(space_batch_discard(batch, extent));
        }
        for (int i = 0; i < 5000; i++) {
                OK(space_batch_alloc(batch, 200, &extent));
                OK(space_batch_discard(batch, extent));
        }
        space_stats(world.space, &stats);
        assert_true(stats.file_bytes < 8 << 20);
        assert_true(space_batch_extents(batch, &count) != NULL && count < 6000);
        space_batch_commit(batch, 5);
        check_saved(&world, 5, &kept, 1);
        space_stats(world.space, &stats);
        assert_int_equal(stats.extent_count, 1);
        OK(space_batch_new(world.space, &batch));
        for (int i = 0; i < 1000; i++) {
                OK(space_batch_alloc(batch, 300, &extent));
                if (i % 3 == 0)
                        OK(space_batch_discard(batch, extent));
        }
        space_batch_abort(batch);
        space_batch_abort(NULL);
        space_stats(world.space, &stats);
        assert_int_equal(stats.extent_count, 1);
        List list = {&kept, 1, 0};
        OK(space_check(world.space, list_next, &list));
        world_done(&world);
}

/* Neighbours go to the file in one call; every one of them has its bytes, and nobody else's are touched. */
static void test_pieces(void **state)
{
        enum { COUNT = 64 };
        World world;
        Extent extents[COUNT];
        SpacePiece pieces[COUNT];
        uint8_t data[COUNT][200], read[200];
        world_init(&world);
        for (size_t i = 0; i < COUNT; i++) {
                OK(space_alloc(world.space, 200, &extents[i]));
                memset(data[i], (int)i + 1, sizeof(data[i]));
                OK(space_write(world.space, extents[i], data[i], 200));
        }
        for (size_t i = 0; i < COUNT; i++) /* in no order; 10 stays as it is */
                pieces[i] = (SpacePiece){extents[i * 37 % COUNT], data[i * 37 % COUNT], 150 + i % 50};
        for (size_t i = 0; i < COUNT; i++) {
                memset(data[i], (int)i + 101, 200);
                if (pieces[i].extent == extents[10])
                        pieces[i] = pieces[COUNT - 1];
        }
        sim_fail_nth(world.sim, 3, SIM_FAIL_ONCE);
        OK(space_write_pieces(world.space, pieces, COUNT - 1));
        assert_false(sim_fired(world.sim)); /* two runs, two calls */
        sim_heal(world.sim);
        for (size_t i = 0; i < COUNT; i++) {
                OK(space_read(world.space, extents[i], read, 150));
                assert_int_equal(read[0], i == 10 ? 11 : i + 101);
                assert_int_equal(read[149], i == 10 ? 11 : i + 101);
        }
        OK(space_write_pieces(world.space, NULL, 0));
        pieces[0].bytes = 100000;
        FAILS(ERR_INVALID, space_write_pieces(world.space, pieces, 1));
        pieces[0].bytes = 100;
        sim_fail_nth(world.sim, 1, SIM_FAIL_NO_SPACE);
        FAILS(ERR_NO_SPACE, space_write_pieces(world.space, pieces, 2));
        sim_heal(world.sim);
        mem_fail_nth(1);
        FAILS(ERR_NOMEM, space_write_pieces(world.space, pieces, COUNT - 1));
        mem_fail_nth(0);
        world_done(&world);
}

/* --- threads --- */

typedef struct Worker {
        Thread thread;
        Space *space;
        unsigned index;
        atomic_uint_fast64_t *version;
        Extent extents[64];
} Worker;

#define WORKERS      4
#define WORKER_STEPS 3000

/* Every other worker allocates in batches. */
static void worker_main(void *arg)
{
        Worker *worker = arg;
        SpaceBatch *batch = NULL;
        Status st = ST_OK;
        uint64_t x = worker->index + 1;
        for (int i = 0; i < WORKER_STEPS; i++) {
                x = x * 6364136223846793005ull + 1442695040888963407ull;
                size_t slot = x >> 33 & 63;
                uint64_t mark[8] = {worker->index << 16 | slot};
                if (i % 20 == 0 && worker->index % 2) {
                        if (batch)
                                space_batch_commit(batch, atomic_load(worker->version));
                        st = space_batch_new(worker->space, &batch);
                        assert(!st);
                }
                if (worker->extents[slot] && !batch) {
                        uint64_t found;
                        st = space_read(worker->space, worker->extents[slot], &found, 8);
                        assert(!st && found == mark[0]);
                }
                if (worker->extents[slot]) {
                        /* One of the running batch's may not be freed: only in the step before a commit. */
                        if (batch && i % 20 != 19)
                                continue;
                        if (batch) {
                                space_batch_commit(batch, atomic_load(worker->version));
                                batch = NULL;
                        }
                        st = space_free(worker->space, worker->extents[slot], atomic_load(worker->version));
                        assert(!st);
                        worker->extents[slot] = 0;
                        continue;
                }
                size_t bytes = x >> 40 & 15 ? 64 + (x >> 45) % 5000 : 70000;
                if (batch)
                        st = space_batch_alloc(batch, bytes, &worker->extents[slot]);
                else
                        st = space_alloc(worker->space, bytes, &worker->extents[slot]);
                assert(!st);
                st = space_write_pieces(worker->space, &(SpacePiece){worker->extents[slot], mark, 64}, 1);
                assert(!st);
        }
        if (batch)
                space_batch_commit(batch, atomic_load(worker->version));
}

static void test_threads(void **state)
{
        static Worker workers[WORKERS];
        static Extent left[WORKERS * 64];
        World world;
        atomic_uint_fast64_t version = 1;
        SpaceStats stats;
        size_t count = 0;
        world_init(&world);
        memset(workers, 0, sizeof(workers));
        for (unsigned i = 0; i < WORKERS; i++) {
                workers[i].space = world.space;
                workers[i].index = i;
                workers[i].version = &version;
                OK(thread_start(&workers[i].thread, "space", worker_main, &workers[i]));
        }
        for (int i = 0; i < 60; i++) {
                Extent saved;
                uint64_t now = atomic_fetch_add(&version, 1) + 1;
                buf_clear(&world.saved);
                OK(space_save_extent(world.space, now, &world.saved, &saved));
                OK(space_write(world.space, saved, world.saved.data, world.saved.size));
                OK(space_sync(world.space));
                OK(space_header_write(world.space, i & 1, &saved, sizeof(saved)));
                OK(space_sync(world.space));
                OK(space_reclaim(world.space, now - 2));
                OK(space_free(world.space, saved, now));
                space_stats(world.space, &stats);
                assert_int_equal(stats.file_bytes,
                                 stats.live_bytes + stats.free_bytes + stats.waiting_bytes + stats.metadata_bytes);
        }
        for (unsigned i = 0; i < WORKERS; i++)
                thread_join(&workers[i].thread);
        for (unsigned i = 0; i < WORKERS; i++)
                for (size_t j = 0; j < 64; j++)
                        if (workers[i].extents[j])
                                left[count++] = workers[i].extents[j];
        OK(space_reclaim(world.space, UINT64_MAX));
        List list = {left, count, 0};
        OK(space_check(world.space, list_next, &list));
        world_done(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_versions),
                cmocka_unit_test(test_discard),
                cmocka_unit_test(test_pieces),
                cmocka_unit_test(test_threads),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
