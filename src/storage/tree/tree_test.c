/* tree_test.c - disk trees against a sorted array: contents, counts, snapshots, flush and reopen, bulk loads, eviction
 * beside readers, failing calls. */
#include "storage/tree/tree_test.h"

static void check_range(PSnapshot *snapshot, uint32_t id, const Model *model, PRange range, bool descending)
{
        bool equal, found;
        size_t low = range.low.data ? model_place(model, range.low, &equal) : 0;
        size_t high = range.high.data ? model_place(model, range.high, &equal) : model->count;
        uint64_t count, skipped;
        Arena hold;
        PCursor *cursor;
        arena_init(&hold, 0);
        high = MAX(low, high);
        OK(ptree_count(snapshot, id, range, &count));
        assert_int_equal(count, high - low);
        OK(ptree_cursor_open(snapshot, id, range, descending, &cursor));
        for (size_t i = low;; i++) {
                Bytes key, value;
                arena_reset(&hold);
                if (rnd(16) == 0) {
                        uint64_t n = rnd(50);
                        ptree_cursor_skip(cursor, n, &skipped);
                        assert_int_equal(skipped, MIN(n, high - i));
                        i += skipped;
                } else if (rnd(32) == 0 && model->count) {
                        size_t to = rnd(model->count);
                        OK(ptree_cursor_seek(cursor, model->rows[to]->key));
                        size_t target = descending ? high - 1 - to + low : to;
                        if (descending ? to < high : true)
                                i = MAX(i, MIN(target, high));
                }
                OK(ptree_cursor_next(cursor, &hold, &key, &value, &found));
                assert_int_equal(found, i < high);
                if (!found)
                        break;
                check_row(model->rows[descending ? high - 1 - (i - low) : i], key, value);
        }
        ptree_cursor_close(cursor);
        arena_done(&hold);
}

static void check_model(PSnapshot *snapshot, uint32_t id, const Model *model, bool whole)
{
        Arena hold;
        Bytes key, value;
        bool found, equal;
        uint64_t rank, rows;
        arena_init(&hold, 0);
        for (int i = 0; i < 20 && model->count; i++) {
                size_t at = rnd(model->count);
                arena_reset(&hold);
                OK(ptree_get(snapshot, id, model->rows[at]->key, &hold, &value, &found));
                assert_true(found);
                check_row(model->rows[at], model->rows[at]->key, value);
                OK(ptree_nth(snapshot, id, at, &hold, &key, &value, &found));
                assert_true(found);
                check_row(model->rows[at], key, value);
                uint8_t other[PTREE_MAX_KEY_BYTES];
                size_t size = 1 + rnd(20);
                size = MIN(model->rows[at]->key.size, size);
                memcpy(other, model->rows[at]->key.data, size);
                if (size && rnd(2))
                        other[size - 1]++;
                size_t place = model_place(model, BYTES(other, size), &equal);
                OK(ptree_rank(snapshot, id, BYTES(other, size), &rank));
                assert_int_equal(rank, place);
                OK(ptree_get(snapshot, id, BYTES(other, size), NULL, NULL, &found));
                assert_int_equal(found, equal);
        }
        OK(ptree_nth(snapshot, id, model->count, &hold, &key, NULL, &found));
        assert_false(found);
        PRange range = all;
        if (!whole && model->count) {
                range.low = model->rows[rnd(model->count)]->key;
                range.high = model->rows[rnd(model->count)]->key;
        }
        check_range(snapshot, id, model, range, rnd(2));
        if (whole)
                OK(ptree_check(snapshot, NULL, NULL, &rows));
        Bytes keys[8];
        size_t n;
        OK(ptree_split(snapshot, id, all, 8, &hold, keys, &n));
        for (size_t i = 0; i < n; i++) {
                size_t place = model_place(model, keys[i], &equal);
                assert_true(equal);
                if (model->count >= 8)
                        assert_int_equal(place, model->count * (i + 1) / 8);
        }
        arena_done(&hold);
}

/* --- keys of several shapes --- */

typedef enum Shape {
        SHAPE_NUMBERS,
        SHAPE_PREFIXED,
        SHAPE_BYTES,
        SHAPE_ASCENDING,
        SHAPE_DESCENDING,
        SHAPE_LONG,
        SHAPE_COUNT
} Shape;

static Bytes make_key(Shape shape, uint64_t space, uint8_t out[PTREE_MAX_KEY_BYTES])
{
        static uint64_t counter;
        uint64_t n = rnd(space);
        switch (shape) {
        case SHAPE_NUMBERS: store_u64(out, __builtin_bswap64(n * 0x9e3779b97f4a7c15ull)); return BYTES(out, 8);
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
        case SHAPE_DESCENDING:
                return BYTES(out, (size_t)snprintf((char *)out, 80, "key%012llu",
                                                   (unsigned long long)(1000000 - (rnd(4) ? counter++ : n))));
        default: {
                /* Long runs of equal bytes: prefixes of all sizes, that shrink when a short key arrives. */
                size_t size = rnd(8) ? 900 + rnd(100) : rnd(1001);
                memset(out, 'x', size);
                for (int i = 0; i < 3 && size; i++)
                        out[rnd(4) ? size - 1 - rnd(MIN(size, (size_t)20)) : rnd(size)] = (uint8_t)('a' + n % 23);
                return BYTES(out, size);
        }
        }
}

static size_t make_value_size(void)
{
        uint64_t kind = rnd(200);
        return kind == 0 ? rnd((1 << 20) + 1) : kind < 10 ? rnd(20000) : kind < 40 ? rnd(2000) : rnd(120);
}

static void run_model(Shape shape, unsigned commits, unsigned most_ops, size_t budget)
{
        enum { SNAPSHOTS = 5 };
        World world;
        Model model = {0}, seen[SNAPSHOTS] = {0};
        PSnapshot *snapshots[SNAPSHOTS] = {0};
        Arena rows;
        uint8_t key_bytes[PTREE_MAX_KEY_BYTES];
        arena_init(&rows, 0);
        world_init(&world, budget);
        for (unsigned commit = 1; commit <= commits; commit++) {
                bool shrink = commit / 16 % 3 == 2, abort = rnd(8) == 0, found, equal;
                Model before = model_copy(&model);
                PWrite *write;
                OK(ptree_write_begin(world.tree, &write));
                for (unsigned n = 1 + (unsigned)rnd(most_ops); n > 0; n--) {
                        Bytes key = make_key(shape, 3000, key_bytes);
                        if (shrink && model.count && rnd(4))
                                key = model.rows[rnd(model.count)]->key;
                        uint64_t kind = rnd(100);
                        if (kind < 3) {
                                PRange range = {key, BYTES_NONE};
                                size_t low = model_place(&model, key, &equal);
                                size_t high = low + rnd(shrink ? 300 : 40);
                                high = MIN(high, model.count);
                                if (high < model.count)
                                        range.high = model.rows[high]->key;
                                uint64_t deleted;
                                OK(ptree_write_delete_range(write, 1, range, &deleted));
                                assert_int_equal(deleted, high - low);
                                model_cut(&model, low, high);
                        } else if (kind < (shrink ? 80 : 25)) {
                                size_t at = model_place(&model, key, &equal);
                                OK(ptree_write_delete(write, 1, key, &found));
                                assert_int_equal(found, equal);
                                if (equal)
                                        model_cut(&model, at, at + 1);
                        } else {
                                uint64_t value_seed = rnd(1ull << 40);
                                size_t size = make_value_size();
                                OK(ptree_write_put(write, 1, key, value_fill(value_bytes, value_seed, size)));
                                model_put(&model, &rows, key, value_seed, size);
                                if (rnd(16) == 0) {
                                        Bytes value;
                                        arena_reset(&world.hold);
                                        OK(ptree_write_get(write, 1, key, &world.hold, &value, &found));
                                        assert_true(found && bytes_equal(value, BYTES(value_bytes, size)));
                                }
                        }
                }
                if (abort) {
                        ptree_write_abort(write);
                        free(model.rows);
                        model = before;
                } else {
                        OK(ptree_write_prepare(write));
                        ptree_write_commit(write, ++world.position);
                        free(before.rows);
                }
                ptree_tidy(world.tree);
                PSnapshot *now;
                OK(ptree_pin(world.tree, &now));
                check_model(now, 1, &model, commit % 8 == 0);
                ptree_unpin(now);
                unsigned i = (unsigned)rnd(SNAPSHOTS);
                if (snapshots[i]) {
                        check_model(snapshots[i], 1, &seen[i], rnd(4) == 0);
                        ptree_unpin(snapshots[i]);
                        free(seen[i].rows);
                        snapshots[i] = NULL;
                } else if (rnd(2)) {
                        OK(ptree_pin(world.tree, &snapshots[i]));
                        seen[i] = model_copy(&model);
                }
                if (rnd(6) == 0)
                        world_flush(&world);
                if (rnd(40) == 0 || commit == commits) {
                        for (i = 0; i < SNAPSHOTS; i++)
                                if (snapshots[i]) {
                                        check_model(snapshots[i], 1, &seen[i], true);
                                        ptree_unpin(snapshots[i]);
                                        free(seen[i].rows);
                                        snapshots[i] = NULL;
                                }
                        check_space(&world);
                        world_reopen(&world, budget);
                        check_space(&world);
                }
                PTreeStats stats;
                uint64_t bytes = 0;
                ptree_stats(world.tree, &stats);
                for (size_t k = 0; k < model.count; k++)
                        bytes += model.rows[k]->key.size + model.rows[k]->value_size;
                assert_int_equal(stats.row_bytes, bytes);
        }
        free(model.rows);
        arena_done(&rows);
        world_done(&world);
}

static void test_model(void **state)
{
        for (Shape shape = 0; shape < SHAPE_COUNT; shape++) {
                run_model(shape, 100, 60, 0);
                run_model(shape, 60, 200, 256 << 10);
        }
}

/* --- bulk load --- */

static void test_bulk(void **state)
{
        static const unsigned counts[] = {0, 1, 2, 50, 1000, 20000};
        for (size_t c = 0; c < ELEMENTS(counts); c++)
                for (int wide = 0; wide < 2; wide++) {
                        World world;
                        Model model = {0};
                        Arena rows;
                        PWrite *write;
                        PBulk *bulk;
                        PSnapshot *snapshot;
                        unsigned count = wide ? counts[c] / 8 : counts[c];
                        arena_init(&rows, 0);
                        world_init(&world, 512 << 10);
                        for (int pass = 0; pass < 2; pass++) {
                                OK(ptree_write_begin(world.tree, &write));
                                OK(ptree_bulk_begin(write, 0, &bulk));
                                for (unsigned i = 0; i < count; i++) {
                                        char key[PTREE_MAX_KEY_BYTES];
                                        size_t size = wide ? 1000 : 12;
                                        memset(key, 'p', size);
                                        if (wide)
                                                key[rnd(2) ? 5 : 500] = 'q';
                                        snprintf(key + (wide ? 980 : 0), 20, "%011u", i);
                                        if (wide)
                                                memcpy(key, key + 980, 4), memcpy(key, "pppp", rnd(4));
                                        snprintf(key, 12, "%011u", i * 3);
                                        key[11] = 'z';
                                        size_t value = rnd(500) == 0 ? 5000 : wide ? 1000 + rnd(500) : rnd(60);
                                        OK(ptree_bulk_add(bulk, BYTES(key, size), value_fill(value_bytes, i, value)));
                                        if (pass)
                                                model_put(&model, &rows, BYTES(key, size), i, value);
                                }
                                if (pass == 0) {
                                        if (rnd(2))
                                                ptree_bulk_abort(bulk);
                                        else
                                                OK(ptree_bulk_finish(bulk));
                                        ptree_write_abort(write);
                                        check_space(&world);
                                        continue;
                                }
                                if (count) {
                                        Status st = ptree_bulk_add(bulk, BYTES("0", 1), BYTES_NONE);
                                        assert_int_equal(status_code(st), ERR_INVALID);
                                        status_free(st);
                                }
                                OK(ptree_bulk_finish(bulk));
                                OK(ptree_write_prepare(write));
                                ptree_write_commit(write, ++world.position);
                        }
                        PCacheStats stats;
                        pcache_stats(world.cache, &stats);
                        assert_int_equal(stats.dirty_bytes, 0);
                        assert_true(stats.used_bytes <= (512 << 10) + 64 * PAGE_MAX_BYTES);
                        check_space(&world);
                        OK(ptree_pin(world.tree, &snapshot));
                        check_model(snapshot, 0, &model, true);
                        ptree_unpin(snapshot);
                        /* It can be edited like any other. */
                        for (unsigned round = 0; round < 20; round++) {
                                OK(ptree_write_begin(world.tree, &write));
                                for (unsigned i = 0; i < 20 && model.count; i++) {
                                        bool found;
                                        size_t at = rnd(model.count);
                                        OK(ptree_write_delete(write, 0, model.rows[at]->key, &found));
                                        assert_true(found);
                                        model_cut(&model, at, at + 1);
                                }
                                OK(ptree_write_prepare(write));
                                ptree_write_commit(write, ++world.position);
                                ptree_tidy(world.tree);
                        }
                        world_reopen(&world, 512 << 10);
                        check_space(&world);
                        OK(ptree_pin(world.tree, &snapshot));
                        check_model(snapshot, 0, &model, true);
                        ptree_unpin(snapshot);
                        free(model.rows);
                        arena_done(&rows);
                        world_done(&world);
                }
}

/* --- several trees, empty ones, limits --- */

static void test_trees(void **state)
{
        World world;
        PWrite *write;
        PSnapshot *snapshot;
        bool found;
        Bytes value;
        world_init(&world, 0);
        OK(ptree_write_begin(world.tree, &write));
        for (uint32_t id = 20; id > 0; id--)
                OK(ptree_write_put(write, id * 3, BYTES(&id, 4), BYTES(&id, 4)));
        OK(ptree_write_prepare(write));
        ptree_write_commit(write, ++world.position);
        for (int round = 0; round < 2; round++) {
                OK(ptree_pin(world.tree, &snapshot));
                for (uint32_t id = 1; id <= 20; id++) {
                        OK(ptree_get(snapshot, id * 3, BYTES(&id, 4), &world.hold, &value, &found));
                        assert_true(found && load_u32(value.data) == id);
                        OK(ptree_get(snapshot, id * 3 + 1, BYTES(&id, 4), NULL, NULL, &found));
                        assert_false(found);
                }
                ptree_unpin(snapshot);
                world_reopen(&world, 0);
        }
        uint8_t key[PTREE_MAX_KEY_BYTES + 1] = {0};
        OK(ptree_write_begin(world.tree, &write));
        OK(ptree_write_put(write, 0, BYTES(key, PTREE_MAX_KEY_BYTES), BYTES_NONE));
        Status st = ptree_write_put(write, 0, BYTES(key, sizeof(key)), BYTES_NONE);
        assert_int_equal(status_code(st), ERR_LIMIT);
        status_free(st);
        ptree_write_abort(write);
        PBulk *bulk;
        OK(ptree_write_begin(world.tree, &write));
        st = ptree_bulk_begin(write, 3, &bulk);
        assert_int_equal(status_code(st), ERR_EXISTS);
        status_free(st);
        ptree_write_abort(write);
        check_space(&world);
        world_done(&world);
}

/* Dirty nodes may fill the cache up to a limit; a flush gives room, and brings it back into its budget. */
static void test_dirty_limit(void **state)
{
        World world;
        PWrite *write;
        PCacheStats stats;
        Status st = ST_OK;
        uint32_t i = 0;
        world_init(&world, 256 << 10);
        world.cache->dirty_max_bytes = 1 << 20;
        for (int round = 0; round < 3; round++) {
                for (; !st; i++) {
                        OK(ptree_write_begin(world.tree, &write));
                        st = ptree_write_put(write, 0, BYTES(&i, 4), value_fill(value_bytes, i, 1000));
                        if (st)
                                ptree_write_abort(write);
                        else
                                ptree_write_commit(write, ++world.position);
                        ptree_tidy(world.tree);
                }
                assert_int_equal(status_code(st), ERR_LIMIT);
                st = status_free(st);
                i--;
                world_flush(&world);
                pcache_stats(world.cache, &stats);
                assert_int_equal(stats.dirty_bytes, 0);
                check_space(&world);
                pcache_stats(world.cache, &stats);
                assert_true(stats.used_bytes <= (256 << 10) + PAGE_MAX_BYTES);
        }
        world_done(&world);
}

/* --- eviction beside readers --- */

enum { SHARED_ROWS = 4000, SHARED_EACH = 1000 };
typedef struct Shared {
        World *world;
        atomic_bool stop;
        atomic_int wrong;
        atomic_uint scans;
} Shared;

/* Every root has all rows, and their numbers have the same sum. */
static void shared_read(void *arg)
{
        Shared *shared = arg;
        Arena hold;
        uint64_t dice = (uintptr_t)&hold;
        arena_init(&hold, 0);
        while (!atomic_load(&shared->stop)) {
                PSnapshot *snapshot;
                PCursor *cursor;
                Bytes key, value;
                bool found = true;
                uint64_t sum = 0, count = 0;
                uint8_t bytes[16];
                if (ptree_pin(shared->world->tree, &snapshot))
                        abort();
                for (int i = 0; i < 200; i++) {
                        arena_reset(&hold);
                        dice = dice * 6364136223846793005ull + 1442695040888963407ull;
                        Status st = ptree_get(snapshot, 0, shared_key((uint32_t)((dice >> 33) % SHARED_ROWS), bytes),
                                              &hold, &value, &found);
                        if (st || !found || value.size < 100)
                                atomic_fetch_add(&shared->wrong, 1);
                }
                if (ptree_cursor_open(snapshot, 0, all, dice >> 63, &cursor))
                        abort();
                for (;;) {
                        arena_reset(&hold);
                        Status st = ptree_cursor_next(cursor, &hold, &key, &value, &found);
                        if (st) {
                                atomic_fetch_add(&shared->wrong, 1);
                                status_ignore(st);
                                break;
                        }
                        if (!found)
                                break;
                        sum += load_u64(value.data);
                        count++;
                }
                ptree_cursor_close(cursor);
                ptree_unpin(snapshot);
                if (sum != (uint64_t)SHARED_ROWS * SHARED_EACH || count != SHARED_ROWS)
                        atomic_fetch_add(&shared->wrong, 1);
                atomic_fetch_add(&shared->scans, 1);
        }
        arena_done(&hold);
}

static void shared_flush(void *arg)
{
        Shared *shared = arg;
        while (!atomic_load(&shared->stop)) {
                World *world = shared->world;
                PSnapshot *snapshot;
                PTreeAddress address;
                if (ptree_pin(world->tree, &snapshot))
                        abort();
                uint64_t position = ptree_position(snapshot);
                Status st = ptree_flush(snapshot, &address);
                ptree_unpin(snapshot);
                if (st || space_sync(world->space) || space_reclaim(world->space, position - 1))
                        atomic_fetch_add(&shared->wrong, 1);
        }
}

static Bytes shared_value(uint64_t n)
{
        store_u64(value_bytes, n);
        return BYTES(value_bytes, 100 + n % 400);
}

static void test_threads(void **state)
{
        enum { READERS = 3 };
        World world;
        Shared shared = {.world = &world};
        Thread readers[READERS], flusher;
        PWrite *write;
        Bytes value;
        bool found;
        uint8_t bytes[16];
        uint64_t most = 0;
        world_init(&world, 448 << 10);
        OK(ptree_write_begin(world.tree, &write));
        for (uint32_t i = 0; i < SHARED_ROWS; i++)
                OK(ptree_write_put(write, 0, shared_key(i, bytes), shared_value(SHARED_EACH)));
        OK(ptree_write_prepare(write));
        ptree_write_commit(write, ++world.position);
        for (int i = 0; i < READERS; i++)
                OK(thread_start(&readers[i], "reader", shared_read, &shared));
        OK(thread_start(&flusher, "flusher", shared_flush, &shared));
        for (unsigned commit = 0; commit < 400 || atomic_load(&shared.scans) < 12; commit++) {
                OK(ptree_write_begin(world.tree, &write));
                for (int i = 0; i < 6; i++) {
                        uint32_t a = (uint32_t)rnd(SHARED_ROWS), b = (uint32_t)rnd(SHARED_ROWS);
                        uint64_t n, m;
                        if (a == b)
                                continue;
                        arena_reset(&world.hold);
                        OK(ptree_write_get(write, 0, shared_key(a, bytes), &world.hold, &value, &found));
                        n = load_u64(value.data);
                        OK(ptree_write_get(write, 0, shared_key(b, bytes), &world.hold, &value, &found));
                        m = load_u64(value.data);
                        if (n == 0)
                                continue;
                        uint64_t by = rnd(n) + 1;
                        OK(ptree_write_put(write, 0, shared_key(a, bytes), shared_value(n - by)));
                        OK(ptree_write_put(write, 0, shared_key(b, bytes), shared_value(m + by)));
                }
                if (rnd(10) == 0)
                        ptree_write_abort(write);
                else
                        ptree_write_commit(write, ++world.position);
                ptree_tidy(world.tree);
                PCacheStats stats;
                pcache_stats(world.cache, &stats);
                most = MAX(most, stats.used_bytes - stats.dirty_bytes);
        }
        atomic_store(&shared.stop, true);
        for (int i = 0; i < READERS; i++)
                thread_join(&readers[i]);
        thread_join(&flusher);
        assert_int_equal(atomic_load(&shared.wrong), 0);
        PCacheStats stats;
        pcache_stats(world.cache, &stats);
        assert_true(stats.evicted_count > 100);
        world_flush(&world);
        check_space(&world);
        world_done(&world);
}

/* --- the nth call fails --- */

static Status failing_write(World *world, PWrite *write, Model *model, Arena *rows)
{
        uint8_t key_bytes[PTREE_MAX_KEY_BYTES];
        PBulk *bulk;
        seed = 99;
        for (int i = 0; i < 60; i++) {
                Bytes key = make_key(SHAPE_PREFIXED, 300, key_bytes);
                bool found, equal;
                if (i % 10 == 9) {
                        uint64_t deleted;
                        size_t low = model_place(model, key, &equal);
                        PRange range = {key, BYTES_NONE};
                        if (low + 40 < model->count)
                                range.high = model->rows[low + 40]->key;
                        TRY(ptree_write_delete_range(write, 1, range, &deleted));
                        model_cut(model, low, low + deleted);
                } else if (i % 3 == 2) {
                        size_t at = model_place(model, key, &equal);
                        TRY(ptree_write_delete(write, 1, key, &found));
                        if (equal)
                                model_cut(model, at, at + 1);
                } else {
                        size_t size = i % 7 == 0 ? 3000 : rnd(300);
                        TRY(ptree_write_put(write, 1, key, value_fill(value_bytes, (uint64_t)i, size)));
                        model_put(model, rows, key, (uint64_t)i, size);
                }
        }
        TRY(ptree_bulk_begin(write, 2, &bulk));
        for (uint32_t i = 0; i < 200; i++) {
                Status st =
                        ptree_bulk_add(bulk, shared_key(i, key_bytes), value_fill(value_bytes, i, i == 9 ? 4000 : 80));
                if (st) {
                        ptree_bulk_abort(bulk);
                        return st;
                }
        }
        return ptree_bulk_finish(bulk);
}

static void run_failing(bool memory, size_t budget)
{
        bool fired = true;
        for (long n = 1; fired; n++) {
                World world;
                Model model = {0};
                Arena rows;
                PWrite *write;
                PSnapshot *snapshot;
                uint8_t key_bytes[PTREE_MAX_KEY_BYTES];
                arena_init(&rows, 0);
                world_init(&world, budget);
                seed = 5;
                OK(ptree_write_begin(world.tree, &write));
                for (int i = 0; i < 250; i++) {
                        Bytes key = make_key(SHAPE_PREFIXED, 300, key_bytes);
                        size_t size = i % 20 ? rnd(300) : 2500;
                        OK(ptree_write_put(write, 1, key, value_fill(value_bytes, (uint64_t)i, size)));
                        model_put(&model, &rows, key, (uint64_t)i, size);
                }
                OK(ptree_write_prepare(write));
                ptree_write_commit(write, ++world.position);
                world_reopen(&world, budget);
                if (n % 2 == 0) {
                        /* The old root partly dirty. */
                        OK(ptree_write_begin(world.tree, &write));
                        OK(ptree_write_put(write, 1, BYTES("a", 1), value_fill(value_bytes, 1, 10)));
                        model_put(&model, &rows, BYTES("a", 1), 1, 10);
                        OK(ptree_write_prepare(write));
                        ptree_write_commit(write, ++world.position);
                }
                Model before = model_copy(&model);
                if (memory)
                        mem_fail_nth(n);
                else
                        sim_fail_nth(world.sim, n, SIM_FAIL_ONCE);
                Status st = ptree_write_begin(world.tree, &write);
                bool committed = false;
                if (!st) {
                        st = failing_write(&world, write, &model, &rows);
                        if (!st)
                                st = ptree_write_prepare(write);
                        if (st) {
                                ptree_write_abort(write);
                        } else {
                                ptree_write_commit(write, ++world.position);
                                committed = true;
                        }
                }
                /* A flush that fails leaves the tree as it is, and the next one goes on. */
                PTreeAddress address;
                Status flushed = ptree_pin(world.tree, &snapshot);
                if (!flushed) {
                        flushed = ptree_flush(snapshot, &address);
                        ptree_unpin(snapshot);
                }
                fired = memory ? mem_fail_fired() : sim_fired(world.sim);
                mem_fail_nth(0);
                sim_heal(world.sim);
                assert_true(fired || (!st && !flushed));
                status_ignore(st);
                status_ignore(flushed);
                OK(ptree_pin(world.tree, &snapshot));
                check_model(snapshot, 1, committed ? &model : &before, true);
                ptree_unpin(snapshot);
                check_space(&world);
                world_reopen(&world, budget);
                OK(ptree_pin(world.tree, &snapshot));
                check_model(snapshot, 1, committed ? &model : &before, true);
                ptree_unpin(snapshot);
                check_space(&world);
                free(model.rows);
                free(before.rows);
                arena_done(&rows);
                world_done(&world);
        }
}

static void test_failing_memory(void **state)
{
        run_failing(true, 0);
}

static void test_failing_files(void **state)
{
        run_failing(false, 160 << 10);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_trees),         cmocka_unit_test(test_model),
                cmocka_unit_test(test_bulk),          cmocka_unit_test(test_dirty_limit),
                cmocka_unit_test(test_threads),       cmocka_unit_test(test_failing_memory),
                cmocka_unit_test(test_failing_files),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
