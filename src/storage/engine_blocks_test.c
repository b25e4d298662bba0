/* engine_blocks_test.c - reading by leaves, and what is remembered of them: its life beside writers, checkpoints and
 * eviction. That the rows are the right ones is proven in engine_test.c, with every range that it reads. */

#include "storage/engine_test.h"

enum { TREE_ROWS = 4000, VALUE_BYTES = 120 };

static void put_row(World *world, EngineWrite *write, uint64_t i, uint64_t number)
{
        uint64_t key = __builtin_bswap64(i);
        OK(world->ops->write_put(write, 0, BYTES(&key, 8), value_fill(value_bytes, number, VALUE_BYTES)));
}

static void put_all(World *world, uint64_t number)
{
        EngineWrite *write;
        for (uint64_t i = 0; i < TREE_ROWS;) {
                OK(world->ops->write_begin(world->tables[1], &write));
                for (uint64_t end = i + 200; i < end; i++)
                        put_row(world, write, i, number);
                commit(world, 1, write);
                relieve(world);
        }
}

/* What a scan of everything found. */
typedef struct Seen {
        uint64_t leaves, rows, known, sum;
} Seen;

static Status scan_part(World *world, EngineSnapshot *snapshot, EngineRange range, uint64_t key, size_t bytes,
                        Arena *hold, Seen *seen)
{
        const EngineOps *ops = world->ops;
        EngineCursor *cursor;
        EngineBlock block;
        TRY(ops->cursor_open(snapshot, 0, range, false, &cursor));
        Status st;
        while (!(st = ops->cursor_block(cursor, &block)) && block.count) {
                uint64_t sum;
                bool known;
                st = leaf_sum(ops, cursor, block, hold, key, bytes, &sum, &known);
                if (st)
                        break;
                seen->leaves++;
                seen->rows += block.count;
                seen->known += known;
                seen->sum += sum;
                arena_reset(hold);
        }
        ops->cursor_close(cursor);
        return st;
}

static Seen scan(World *world, EngineSnapshot *snapshot, uint64_t key, size_t bytes)
{
        Seen seen = {0};
        OK(scan_part(world, snapshot, all, key, bytes, &world->hold, &seen));
        return seen;
}

static Seen scan_now(World *world, uint64_t key, size_t bytes)
{
        EngineSnapshot *snapshot;
        OK(world->ops->pin(world->tables[1], &snapshot));
        Seen seen = scan(world, snapshot, key, bytes);
        world->ops->unpin(snapshot);
        assert_int_equal(seen.rows, TREE_ROWS);
        return seen;
}

static uint64_t memo_bytes(World *world)
{
        EngineStats stats;
        world->host->engine_stats(world->engine, &stats);
        return stats.memo_bytes;
}

/* --- a memo's life --- */

static void test_life(void **state)
{
        const EngineOps *ops = *state;
        World world;
        EngineSnapshot *old;
        EngineWrite *write;
        world_init(&world, ops, (EngineOptions){0});
        create(&world, 1);
        put_all(&world, 1);
        Seen first = scan_now(&world, 7, sizeof(LeafSum));
        assert_int_equal(first.known, 0);
        if (!ops->persistent) { /* no engine without files keeps any */
                assert_int_equal(atomic_load(&leaf_sum_count), 0);
                world_done(&world);
                return;
        }
        uint64_t leaves = first.leaves;
        assert_true(leaves > 5);
        assert_int_equal(memo_bytes(&world), leaves * sizeof(LeafSum));
        assert_int_equal(scan_now(&world, 7, sizeof(LeafSum)).known, leaves); /* of dirty nodes */
        assert_int_equal(scan_now(&world, 8, 1000).known, 0);
        assert_int_equal(memo_bytes(&world), leaves * (sizeof(LeafSum) + 1000));
        OK(checkpoint(&world));
        assert_int_equal(scan_now(&world, 7, sizeof(LeafSum)).known, leaves); /* a flush changes nothing */
        assert_int_equal(scan_now(&world, 8, 1000).known, leaves);
        /* One row is another: what its leaf had goes with the last snapshot that reads it. */
        OK(ops->pin(world.tables[1], &old));
        OK(ops->write_begin(world.tables[1], &write));
        put_row(&world, write, TREE_ROWS / 2, 2);
        assert_int_equal(scan_now(&world, 7, sizeof(LeafSum)).known, leaves); /* not yet published */
        commit(&world, 1, write);
        Seen changed = scan_now(&world, 7, sizeof(LeafSum));
        assert_int_equal(changed.known, changed.leaves - 1);
        assert_true(changed.sum != first.sum);
        Seen before = scan(&world, old, 7, sizeof(LeafSum));
        assert_int_equal(before.known, leaves);
        assert_int_equal(before.sum, first.sum);
        ops->unpin(old);
        OK(checkpoint(&world));
        ops->table_tidy(world.tables[1]);
        assert_int_equal(memo_bytes(&world), changed.leaves * sizeof(LeafSum) + (changed.leaves - 1) * 1000);
        /* An aborted write leaves nothing behind. */
        OK(ops->write_begin(world.tables[1], &write));
        put_row(&world, write, 1, 3);
        ops->write_abort(write);
        assert_int_equal(scan_now(&world, 7, sizeof(LeafSum)).known, changed.leaves);
        /* A dropped table has nothing. */
        drop(&world, 1);
        OK(checkpoint(&world));
        assert_int_equal(memo_bytes(&world), 0);
        world_done(&world);
}

/* --- the same memo twice, and one that others hold --- */

static void test_twice(void **state)
{
        const EngineOps *ops = *state;
        World world;
        EngineSnapshot *snapshot;
        EngineCursor *a, *b;
        EngineBlock block;
        world_init(&world, ops, (EngineOptions){0});
        create(&world, 1);
        put_all(&world, 1);
        OK(ops->pin(world.tables[1], &snapshot));
        OK(ops->cursor_open(snapshot, 0, all, false, &a));
        OK(ops->cursor_open(snapshot, 0, all, false, &b));
        OK(ops->cursor_block(a, &block));
        OK(ops->cursor_block(b, &block));
        const Memo *kept[2];
        for (int i = 0; i < 2; i++) {
                LeafSum *own = mem_zalloc(sizeof(*own));
                *own = (LeafSum){{.key = 5, .bytes = sizeof(*own), .free = leaf_sum_free}, 0, 0};
                atomic_fetch_add(&leaf_sum_count, 1);
                atomic_fetch_add(&leaf_sum_bytes, sizeof(*own));
                kept[i] = ops->block_remember(i ? b : a, &own->memo);
        }
        assert_ptr_equal(kept[0], kept[1]);
        assert_int_equal(kept[0] != NULL, ops->persistent);
        assert_ptr_equal(ops->block_memo(a, 5), kept[0]);
        assert_null(ops->block_memo(a, 6));
        ops->cursor_close(a);
        ops->cursor_close(b);
        ops->unpin(snapshot);
        world_done(&world);
}

/* --- parts: every row in one of them, leaves that two of them share in both --- */

static void test_parts(void **state)
{
        const EngineOps *ops = *state;
        World world;
        EngineSnapshot *snapshot;
        world_init(&world, ops, (EngineOptions){.cache_max_bytes = ops->persistent ? 300 << 10 : 0});
        create(&world, 1);
        put_all(&world, 1);
        OK(checkpoint(&world));
        OK(ops->pin(world.tables[1], &snapshot));
        uint64_t leaves = scan(&world, snapshot, 1, sizeof(LeafSum)).leaves;
        for (size_t parts = 1; parts < 20; parts++) {
                Bytes cuts[20];
                size_t n;
                Seen seen = {0};
                Arena keep;
                arena_init(&keep, 0);
                OK(ops->split(snapshot, 0, all, parts, &keep, cuts, &n));
                for (size_t i = 0; i <= n; i++) {
                        EngineRange part = {i ? cuts[i - 1] : all.low, i < n ? cuts[i] : all.high};
                        OK(scan_part(&world, snapshot, part, 1, sizeof(LeafSum), &world.hold, &seen));
                }
                assert_int_equal(seen.rows, TREE_ROWS);
                assert_in_range(seen.leaves, leaves, leaves + n);
                arena_done(&keep);
        }
        ops->unpin(snapshot);
        world_done(&world);
}

/* --- room --- */

static void check_budget(World *world)
{
        EngineStats stats;
        world->host->engine_stats(world->engine, &stats);
        assert_int_equal(stats.memo_bytes, atomic_load(&leaf_sum_bytes));
        assert_true(stats.memo_bytes <= stats.cache_max_bytes / 2);
        /* Nodes that wait for the end of a read, and a part of the budget that values may go beyond. */
        assert_true(stats.cache_bytes <= stats.cache_max_bytes + stats.cache_max_bytes / 8);
}

/* All fits but the memos, which get their half. */
static void test_half(void **state)
{
        enum { BUDGET = 4 << 20 };
        const EngineOps *ops = *state;
        World world;
        if (!ops->persistent)
                return;
        world_init(&world, ops, (EngineOptions){.cache_max_bytes = BUDGET});
        create(&world, 1);
        put_all(&world, 1);
        OK(checkpoint(&world));
        uint64_t leaves = scan_now(&world, 1, sizeof(LeafSum)).leaves;
        size_t large = 2 * BUDGET / leaves; /* a quarter of them fills the half */
        for (int i = 0; i < 10; i++) {
                scan_now(&world, 1, sizeof(LeafSum));
                scan_now(&world, 2, large);
                check_budget(&world);
        }
        /* Those that every scan asks for stay, though others find no room. */
        uint64_t known = scan_now(&world, 2, large).known;
        assert_in_range(known, leaves / 8, leaves / 4);
        for (int i = 0; i < 10; i++) {
                assert_int_equal(scan_now(&world, 2, large).known, known);
                check_budget(&world);
        }
        /* Nobody asks for them any more: others come to their places. */
        for (int i = 0; i < 30; i++)
                scan_now(&world, 3, large);
        check_budget(&world);
        assert_in_range(scan_now(&world, 3, large).known, leaves / 8, leaves / 4);
        assert_int_equal(scan_now(&world, 4, BUDGET).known, 0); /* more than the half at once */
        assert_int_equal(scan_now(&world, 4, BUDGET).known, 0);
        check_budget(&world);
        world_done(&world);
}

/* More rows than the cache has room for: memos go before nodes, and never keep others from being read. */
static void test_small_cache(void **state)
{
        const EngineOps *ops = *state;
        World world;
        if (!ops->persistent)
                return;
        world_init(&world, ops, (EngineOptions){.cache_max_bytes = 256 << 10});
        create(&world, 1);
        for (uint64_t round = 1; round < 6; round++) {
                put_all(&world, round);
                OK(checkpoint(&world));
                uint64_t sum = scan_now(&world, 1, sizeof(LeafSum)).sum;
                for (uint64_t key = 2; key < 6; key++) {
                        Seen seen = scan_now(&world, key, 3000);
                        assert_int_equal(seen.sum - seen.leaves * key, sum - seen.leaves);
                        check_budget(&world);
                }
        }
        world_done(&world);
}

/* --- no memory, no file --- */

static void test_failing_allocations(void **state)
{
        const EngineOps *ops = *state;
        for (long n = 1, fired = 1; fired; n++) {
                World world;
                EngineSnapshot *snapshot;
                Seen seen = {0}, again = {0};
                Arena hold;
                arena_init(&hold, 0);
                world_init(&world, ops, (EngineOptions){.cache_max_bytes = ops->persistent ? 256 << 10 : 0});
                create(&world, 1);
                put_all(&world, 1);
                OK(checkpoint(&world));
                OK(ops->pin(world.tables[1], &snapshot));
                mem_fail_nth(n);
                Status st = scan_part(&world, snapshot, all, 1, sizeof(LeafSum), &hold, &seen);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                assert_true(!st || (status_code(st) == ERR_NOMEM && fired));
                status_ignore(st);
                OK(scan_part(&world, snapshot, all, 1, sizeof(LeafSum), &hold, &again));
                assert_int_equal(again.rows, TREE_ROWS);
                ops->unpin(snapshot);
                arena_done(&hold);
                world_done(&world);
                if (n > 40) /* what comes later is the same for every leaf */
                        n += n / 4;
        }
}

/* A leaf that cannot be read is an error, and the cursor goes on there when it can be. */
static void test_failing_reads(void **state)
{
        const EngineOps *ops = *state;
        World world;
        EngineSnapshot *snapshot;
        if (!ops->persistent)
                return;
        world_init(&world, ops, (EngineOptions){.cache_max_bytes = 128 << 10});
        create(&world, 1);
        put_all(&world, 1);
        OK(checkpoint(&world));
        OK(ops->pin(world.tables[1], &snapshot));
        uint64_t whole = scan(&world, snapshot, 1, sizeof(LeafSum)).sum, failures = 0;
        for (long n = 1; n < 40; n += 3) {
                EngineCursor *cursor;
                EngineBlock block;
                Seen seen = {0};
                OK(ops->cursor_open(snapshot, 0, all, false, &cursor));
                sim_fail_nth(world.sim, n, SIM_FAIL_ONCE);
                for (;;) {
                        uint64_t sum;
                        bool known;
                        arena_reset(&world.hold);
                        Status st = ops->cursor_block(cursor, &block);
                        if (!st && block.count == 0)
                                break;
                        while (!st &&
                               (st = leaf_sum(ops, cursor, block, &world.hold, 1, sizeof(LeafSum), &sum, &known))) {
                                assert_int_equal(status_code(st), ERR_IO); /* of a document beside the leaf */
                                status_ignore(st);
                                st = ST_OK;
                                failures++;
                        }
                        if (st) {
                                assert_int_equal(status_code(st), ERR_IO);
                                status_ignore(st);
                                failures++;
                                continue;
                        }
                        seen.rows += block.count;
                        seen.sum += sum;
                }
                sim_heal(world.sim);
                assert_int_equal(seen.rows, TREE_ROWS);
                assert_int_equal(seen.sum, whole);
                ops->cursor_close(cursor);
        }
        assert_true(failures > 0);
        ops->unpin(snapshot);
        world_done(&world);
}

/* --- threads: readers that remember, a writer, checkpoints, in a cache that is too small --- */

typedef struct Race {
        World world;
        atomic_bool stop;
        atomic_uint scans;
} Race;

static void race_check(Status st)
{
        char text[512];
        if (!st)
                return;
        fprintf(stderr, "%s\n", status_text(st, text, sizeof text));
        abort();
}

static void race_reader(void *arg)
{
        Race *race = arg;
        const EngineOps *ops = race->world.ops;
        Arena hold;
        arena_init(&hold, 0);
        for (unsigned n = 0; !atomic_load(&race->stop); n++) {
                EngineSnapshot *snapshot;
                Seen seen = {0};
                race_check(ops->pin(race->world.tables[1], &snapshot));
                race_check(scan_part(&race->world, snapshot, all, 1 + n % 3, n % 2 ? 2000 : sizeof(LeafSum), &hold,
                                     &seen));
                assert(seen.rows == TREE_ROWS);
                ops->unpin(snapshot);
                atomic_fetch_add(&race->scans, 1);
        }
        arena_done(&hold);
}

static void test_race(void **state)
{
        enum { READERS = 3 };
        const EngineOps *ops = *state;
        static Race race;
        Thread threads[READERS];
        race = (Race){0};
        world_init(&race.world, ops, (EngineOptions){.cache_max_bytes = ops->persistent ? 512 << 10 : 0});
        create(&race.world, 1);
        put_all(&race.world, 0);
        for (unsigned i = 0; i < READERS; i++)
                OK(thread_start(&threads[i], "reader", race_reader, &race));
        for (uint64_t c = 1; c < 300 || atomic_load(&race.scans) < 50; c++) {
                EngineWrite *write;
                OK(ops->write_begin(race.world.tables[1], &write));
                for (int i = 0; i < 20; i++)
                        put_row(&race.world, write, rnd(TREE_ROWS), c);
                if (c % 9 == 0)
                        ops->write_abort(write);
                else
                        commit(&race.world, 1, write);
                if (c % 5 == 0)
                        OK(checkpoint(&race.world));
                relieve(&race.world);
        }
        atomic_store(&race.stop, true);
        for (unsigned i = 0; i < READERS; i++)
                thread_join(&threads[i]);
        OK(checkpoint(&race.world));
        if (ops->persistent)
                assert_int_equal(memo_bytes(&race.world), atomic_load(&leaf_sum_bytes));
        world_done(&race.world);
}

int main(void)
{
        static const EngineTest tests[] = {
                {"life", test_life},
                {"twice", test_twice},
                {"parts", test_parts},
                {"half", test_half},
                {"small_cache", test_small_cache},
                {"failing_allocations", test_failing_allocations},
                {"failing_reads", test_failing_reads},
                {"race", test_race},
        };
        return run_for_every_engine("engine blocks", tests, ELEMENTS(tests));
}
