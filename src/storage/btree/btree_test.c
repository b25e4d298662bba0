/* btree_test.c - the engines `btree` and `slab` as such: tables, checkpoints, reopening, drops, backups, figures.
 * Faults and crashes: btree_fault_test.c. */
#include "storage/btree/btree_test.h"

#include "storage/btree/dump.h"

#define CACHE_BYTES ((size_t)8 << 20)

static void test_empty(void **state)
{
        World world;
        EngineStats stats;
        world_init(&world, 1, CACHE_BYTES);
        Checked checked = world_check(&world); /* there is no file */
        assert_int_equal(checked.table_count, 0);
        OK(world_open(&world));
        assert_int_equal(engine_btree.stored_position(world.engine), 0);
        engine_btree.engine_stats(world.engine, &stats);
        assert_int_equal(stats.row_count, 0);
        assert_int_equal(engine_btree.pressure(world.engine), 0);
        OK(engine_btree.checkpoint(world.engine, 0, NULL, 0));
        world_close(&world);
        world_check(&world);
        OK(world_open(&world));
        OK(engine_btree.checkpoint(world.engine, 7, NULL, 0));
        assert_int_equal(engine_btree.stored_position(world.engine), 7);
        world_close(&world);
        checked = world_check(&world);
        assert_int_equal(checked.position, 7);
        OK(world_open(&world));
        assert_int_equal(engine_btree.stored_position(world.engine), 7);
        FAILS(ERR_NOT_FOUND, engine_btree.table_open(world.engine, 1, &world.tables[0]));
        world_done(&world);
}

/* Random steps, compared at every turn; reopened now and then. */
static void run_random(uint64_t seed, size_t cache_bytes)
{
        World world;
        world_init(&world, seed, cache_bytes);
        OK(world_open(&world));
        while (world.position + 2 < MODEL_POSITIONS) {
                OK(world_step(&world));
                if (world_random(&world, 8) == 0)
                        world_compare(&world, world.position);
                for (unsigned i = 0; i < MODEL_PINS; i++)
                        if (world.pins[i].snapshot && world_random(&world, 8) == 0)
                                compare_snapshot(world.pins[i].snapshot, world.pins[i].table,
                                                 &world.history[world.pins[i].position].tables[world.pins[i].table]);
                if (world_random(&world, 40) == 0) {
                        uint64_t stored = world.stored;
                        world_close(&world);
                        Checked checked = world_check(&world);
                        assert_int_equal(checked.position, stored);
                        OK(world_open(&world));
                        assert_int_equal(world.position, stored);
                        world_compare(&world, stored);
                }
        }
        OK(world_checkpoint(&world));
        world_close(&world);
        world_check(&world);
        world_done(&world);
}

static void test_random(void **state)
{
        for (uint64_t seed = 1; seed <= 6; seed++)
                run_random(seed, seed % 2 ? CACHE_BYTES : 300000);
}

/* --- slab --- */

static void check_documents(EngineTable *table, unsigned count)
{
        EngineSnapshot *snapshot;
        Arena hold;
        char text[1024];
        arena_init(&hold, 0);
        OK(table->ops->pin(table, &snapshot));
        for (unsigned i = 0; i < count; i++) {
                uint8_t key[4];
                Bytes value;
                bool found;
                arena_reset(&hold);
                store_u32(key, __builtin_bswap32(i));
                OK(table->ops->get(snapshot, 0, BYTES(key, 4), &hold, &value, &found));
                assert_true(found && bytes_equal(value, document(i, text)));
        }
        table->ops->unpin(snapshot);
        arena_done(&hold);
}

static uint64_t live_bytes(World *world)
{
        EngineStats stats;
        engine_btree.engine_stats(world->engine, &stats);
        return stats.live_bytes;
}

static void test_dictionary(void **state)
{
        enum { BATCH = 5000 };
        World world;
        EngineTable *table;
        world_init(&world, 3, CACHE_BYTES);
        OK(world_open(&world));
        OK(engine_slab.table_create(world.engine, 1, &table));
        OK(put_documents(&world, table, 0, BATCH, true));
        OK(engine_btree.maintain(world.engine)); /* nothing to learn from yet, or not all */
        OK(put_documents(&world, table, BATCH, BATCH, true));
        OK(checkpoint_of(&world, table));
        uint64_t plain = live_bytes(&world);
        OK(engine_btree.maintain(world.engine));
        /* An abort takes the dictionary back; the next write brings it. */
        OK(put_documents(&world, table, 2 * BATCH, BATCH, false));
        OK(put_documents(&world, table, 2 * BATCH, BATCH, true));
        OK(put_documents(&world, table, 3 * BATCH, BATCH, true));
        OK(checkpoint_of(&world, table));
        uint64_t packed = live_bytes(&world) - plain;
        assert_true(packed < plain * 3 / 4);
        check_documents(table, 4 * BATCH);
        EngineStats stats;
        engine_slab.table_stats(table, &stats);
        assert_int_equal(stats.row_count, 4 * BATCH);
        world.tables[0] = table;
        world_close(&world);
        Checked checked = world_check(&world);
        assert_int_equal(checked.row_count, 4 * BATCH); /* none of the engine's own */
        OK(world_open(&world));
        check_documents(world.tables[0], 4 * BATCH);
        /* The dictionary is used from the first write on. */
        plain = live_bytes(&world);
        OK(put_documents(&world, world.tables[0], 4 * BATCH, BATCH, true));
        OK(checkpoint_of(&world, world.tables[0]));
        assert_true(live_bytes(&world) - plain < packed * 2 / 3);
        check_documents(world.tables[0], 5 * BATCH);
        world_done(&world);
}

/* --- drops --- */

static void test_drop(void **state)
{
        World world;
        EngineTable *table;
        EngineSnapshot *snapshot;
        world_init(&world, 4, CACHE_BYTES);
        OK(world_open(&world));
        OK(engine_btree.checkpoint(world.engine, ++world.position, NULL, 0));
        uint64_t empty = live_bytes(&world);
        OK(engine_btree.table_create(world.engine, 1, &table));
        OK(put_documents(&world, table, 0, 3000, true));
        OK(checkpoint_of(&world, table));
        assert_true(live_bytes(&world) > empty + 60000);
        OK(engine_btree.pin(table, &snapshot));
        engine_btree.table_dropped(table, ++world.position);
        engine_btree.table_drop(table);
        OK(engine_btree.checkpoint(world.engine, world.position, NULL, 0));
        FAILS(ERR_NOT_FOUND, engine_btree.table_open(world.engine, 1, &table));
        assert_true(live_bytes(&world) > empty + 60000); /* still being read */
        uint64_t count;
        OK(engine_btree.count(snapshot, 0, (EngineRange){0}, &count));
        assert_int_equal(count, 3000);
        engine_btree.unpin(snapshot);
        /* The process dies: the row that is left says "dropped", and the next one frees it. */
        world_crash(&world, SIM_KEEP);
        Checked checked = world_check(&world);
        assert_int_equal(checked.table_count, 0);
        OK(world_open(&world));
        assert_true(live_bytes(&world) > empty + 60000);
        OK(engine_btree.checkpoint(world.engine, ++world.position, NULL, 0));
        assert_true(live_bytes(&world) <= empty + 4096);
        world_close(&world);
        world_check(&world);
        /* Never in a checkpoint: no trace. */
        OK(world_open(&world));
        OK(engine_btree.table_create(world.engine, 2, &table));
        OK(put_documents(&world, table, 0, 300, true));
        engine_btree.table_dropped(table, ++world.position);
        engine_btree.table_drop(table);
        OK(engine_btree.checkpoint(world.engine, world.position, NULL, 0));
        assert_true(live_bytes(&world) <= empty + 4096);
        world_done(&world);
}

/* --- backups --- */

static Status stop_progress(void *ctx, uint64_t done, uint64_t total)
{
        return status_new(ERR_CANCELLED, "stop");
}

static void test_backup(void **state)
{
        World world, copy;
        EngineBackup *backup;
        world_init(&world, 6, CACHE_BYTES);
        OK(world_open(&world));
        while (world.position < 60)
                OK(world_step(&world));
        OK(world_checkpoint(&world));
        uint64_t position = world.position;
        OK(engine_btree.backup_begin(world.engine, &backup));
        /* Whatever happens meanwhile. */
        while (world.position < 200)
                OK(world_step(&world));
        OK(world_checkpoint(&world));
        copy = world;
        OK(os_dir_open(sim_os(world.sim), "/copy", OS_DIR_CREATE, &copy.dir));
        FAILS(ERR_CANCELLED, engine_btree.backup_copy(backup, copy.dir, stop_progress, NULL));
        Checked checked = {0};
        OK(engine_btree.backup_copy(backup, copy.dir, checked_progress, &checked));
        assert_true(checked.done == checked.total && checked.total > 0);
        engine_btree.backup_end(backup);
        copy.engine = NULL;
        memset(copy.tables, 0, sizeof(copy.tables));
        memset(copy.pins, 0, sizeof(copy.pins));
        checked = world_check(&copy);
        assert_int_equal(checked.position, position);
        OK(world_open(&copy));
        assert_int_equal(copy.position, position);
        world_compare(&copy, position);
        OK(world_commit(&copy));
        OK(world_checkpoint(&copy));
        world_close(&copy);
        world_check(&copy);
        os_dir_close(copy.dir);
        /* What was held back is handed out again. */
        uint64_t held = 0, free_bytes = 0;
        EngineStats stats;
        engine_btree.engine_stats(world.engine, &stats);
        held = stats.waiting_bytes;
        world.history[world.position + 1] = world.history[world.position];
        world.position++;
        OK(world_checkpoint(&world));
        engine_btree.engine_stats(world.engine, &stats);
        free_bytes = stats.waiting_bytes;
        assert_true(free_bytes < held / 2);
        world_close(&world);
        world_check(&world);
        world_done(&world);
}

/* --- what little costs --- */

static void test_small(void **state)
{
        enum { TABLES = 1000 };
        World world;
        EngineTable **tables = calloc(TABLES, sizeof(*tables));
        EngineRoot *roots = calloc(TABLES, sizeof(*roots));
        EngineStats stats;
        world_init(&world, 7, CACHE_BYTES);
        OK(world_open(&world));
        OK(engine_btree.table_create(world.engine, 1, &tables[0]));
        OK(checkpoint_of(&world, tables[0])); /* position 0: nothing */
        world.position++;
        OK(checkpoint_of(&world, tables[0]));
        engine_btree.engine_stats(world.engine, &stats);
        print_message("           the first table: %d bytes in the file, %d of memory\n", (int)stats.file_bytes,
                      (int)stats.memory_bytes);
        assert_true(stats.file_bytes <= 65536);
        uint64_t first_bytes = stats.file_bytes, first_memory = stats.memory_bytes;
        for (unsigned i = 1; i < TABLES; i++)
                OK((i % 2 ? &engine_slab : &engine_btree)->table_create(world.engine, i + 1, &tables[i]));
        for (unsigned i = 0; i < TABLES; i++) {
                roots[i].table = tables[i];
                OK(engine_btree.pin(tables[i], &roots[i].snapshot));
        }
        OK(engine_btree.checkpoint(world.engine, ++world.position, roots, TABLES));
        for (unsigned i = 0; i < TABLES; i++)
                engine_btree.unpin(roots[i].snapshot);
        engine_btree.engine_stats(world.engine, &stats);
        print_message("           each further one: %d bytes in the file, %d of memory\n",
                      (int)((stats.file_bytes - first_bytes) / TABLES),
                      (int)((stats.memory_bytes - first_memory) / TABLES));
        assert_true(stats.file_bytes - first_bytes <= TABLES * 1024);
        assert_true(stats.memory_bytes - first_memory <= TABLES * 2048);
        for (unsigned i = 0; i < TABLES; i++)
                engine_btree.table_drop(tables[i]);
        engine_btree.close(take(world.engine));
        int64_t start = os_mono_ns(os_posix());
        EngineOptions options = world_options(&world);
        OK(engine_btree.open(&options, &world.engine));
        for (unsigned i = 0; i < TABLES; i++)
                OK(engine_btree.table_open(world.engine, i + 1, &tables[i]));
        print_message("           opening %d: %d us\n", TABLES, (int)((os_mono_ns(os_posix()) - start) / 1000));
        for (unsigned i = 0; i < TABLES; i++)
                engine_btree.table_drop(tables[i]);
        free(tables);
        free(roots);
        world_done(&world);
}

/* --- dump --- */

static void check_dump(World *world, PageDumpKind kind, uint64_t number, const char *text)
{
        PageDumpWhat what = {kind, number};
        Buf out;
        buf_init(&out, 1 << 20);
        OK(page_dump(sim_os(world->sim), "/d", &what, &out));
        OK(buf_append_byte(&out, 0));
        if (!strstr((const char *)out.data, text))
                fail_msg("no \"%s\" in:\n%s", text, (const char *)out.data);
        buf_done(&out);
}

static void test_dump(void **state)
{
        World world;
        EngineTable *table;
        PageDumpWhat what = {PAGE_DUMP_SUPERBLOCKS, 0};
        PageRow row;
        bool found;
        Buf out;
        world_init(&world, 8, CACHE_BYTES);
        buf_init(&out, 100);
        FAILS(ERR_NOT_FOUND, page_dump(sim_os(world.sim), "/d", &what, &out));
        OK(world_open(&world));
        OK(engine_btree.table_create(world.engine, 4, &table));
        OK(put_documents(&world, table, 0, 500, true));
        OK(checkpoint_of(&world, table));
        OK(pagefile_row(world.engine->file, 4, &row, &found));
        uint64_t offset = space_extent_offset(pagefile_space(world.engine->file), row.root.extent);
        world.tables[3] = table;
        world_close(&world);
        FAILS(ERR_LIMIT, page_dump(sim_os(world.sim), "/d", &what, &out));
        check_dump(&world, PAGE_DUMP_SUPERBLOCKS, 0, "valid, the one that counts");
        check_dump(&world, PAGE_DUMP_SPACE, 0, "extents of");
        check_dump(&world, PAGE_DUMP_DIRECTORY, 0, "table 4 (btree), position 1: root record");
        check_dump(&world, PAGE_DUMP_TABLE, 4, "tree 0 of 500 rows");
        check_dump(&world, PAGE_DUMP_EXTENT, row.root.extent, "root record: version 1");
        check_dump(&world, PAGE_DUMP_OFFSET, offset + 5, "live");
        check_dump(&world, PAGE_DUMP_OFFSET, 100, "header");
        what = (PageDumpWhat){PAGE_DUMP_TABLE, 5};
        FAILS(ERR_NOT_FOUND, page_dump(sim_os(world.sim), "/d", &what, &out));
        what = (PageDumpWhat){PAGE_DUMP_EXTENT, 77};
        FAILS(ERR_NOT_FOUND, page_dump(sim_os(world.sim), "/d", &what, &out));
        OK(sim_flip_bit(world.sim, "/d/pages", offset + 50, 3));
        check_dump(&world, PAGE_DUMP_TABLE, 4, "a damaged node or root record");
        OK(sim_flip_bit(world.sim, "/d/pages", 20, 3));
        check_dump(&world, PAGE_DUMP_SUPERBLOCKS, 0, "damaged");
        buf_done(&out);
        world_done(&world);
}

/* --- threads --- */

#define THREAD_KEYS 200u

typedef struct Shared {
        World *world;
        EngineTable *tables[3];
        atomic_bool stop;
        _Atomic uint64_t position; /* given out under commit_mu */
        Mutex commit_mu;
} Shared;
typedef struct Worker {
        Shared *shared;
        Thread thread;
        unsigned number;
        uint64_t done;
} Worker;

/* Moves an amount from one row to another: the sum of a table stays 0. Row: i64 and filling. */
static void write_main(void *arg)
{
        Worker *worker = arg;
        Shared *shared = worker->shared;
        EngineTable *table = shared->tables[worker->number];
        uint64_t random = worker->number * 77 + 1;
        Arena hold;
        arena_init(&hold, 0);
        while (!atomic_load(&shared->stop)) {
                EngineWrite *write;
                uint8_t key[4], value[3000] = {0};
                bool found;
                arena_reset(&hold);
                if (engine_btree.pressure(shared->world->engine) > 90)
                        continue;
                OK(table->ops->write_begin(table, &write));
                for (int sign = -1; sign <= 1; sign += 2) {
                        Bytes old = BYTES_NONE;
                        random = random * 6364136223846793005ull + 1442695040888963407ull;
                        store_u32(key, (uint32_t)(random >> 33) % THREAD_KEYS);
                        OK(table->ops->write_get(write, 0, BYTES(key, 4), &hold, &old, &found));
                        store_u64(value, (found ? load_u64(old.data) : 0) + (uint64_t)(int64_t)sign);
                        OK(table->ops->write_put(write, 0, BYTES(key, 4),
                                                 BYTES(value, random >> 60 == 0 ? 3000 : 8 + (random >> 57 & 63))));
                }
                if (table->ops->write_prepare)
                        OK(table->ops->write_prepare(write));
                mutex_lock(&shared->commit_mu);
                table->ops->write_commit(write, atomic_load(&shared->position) + 1);
                atomic_fetch_add(&shared->position, 1);
                mutex_unlock(&shared->commit_mu);
                table->ops->table_tidy(table);
                worker->done++;
        }
        arena_done(&hold);
}

static void check_sum(EngineSnapshot *snapshot)
{
        EngineCursor *cursor;
        Arena hold;
        Bytes key, value;
        bool found = true;
        int64_t sum = 0;
        arena_init(&hold, 0);
        OK(engine_btree.cursor_open(snapshot, 0, (EngineRange){0}, false, &cursor));
        while (found) {
                arena_reset(&hold);
                OK(engine_btree.cursor_next(cursor, &hold, &key, &value, &found));
                if (found)
                        sum += (int64_t)load_u64(value.data);
        }
        assert_int_equal(sum, 0);
        engine_btree.cursor_close(cursor);
        arena_done(&hold);
}

static void read_main(void *arg)
{
        Worker *worker = arg;
        while (!atomic_load(&worker->shared->stop)) {
                EngineSnapshot *snapshot;
                EngineStats stats;
                OK(engine_btree.pin(worker->shared->tables[worker->done++ % 3], &snapshot));
                check_sum(snapshot);
                engine_btree.unpin(snapshot);
                engine_btree.engine_stats(worker->shared->world->engine, &stats);
        }
}

/* Writers of two kinds of tables, readers, a cache that is too small, checkpoints, backups, training, and tables that
 * come and go. */
static void test_threads(void **state)
{
        enum { WRITERS = 3, READERS = 2, ROUNDS = 40 };
        World world;
        Shared shared = {.world = &world};
        Worker workers[WRITERS + READERS] = {0};
        world_init(&world, 9, 1 << 18);
        OK(world_open(&world));
        mutex_init(&shared.commit_mu);
        for (unsigned i = 0; i < WRITERS; i++)
                OK((i % 2 ? &engine_slab : &engine_btree)->table_create(world.engine, i + 1, &shared.tables[i]));
        for (unsigned i = 0; i < WRITERS + READERS; i++) {
                workers[i].shared = &shared;
                workers[i].number = i;
                OK(thread_start(&workers[i].thread, "worker", i < WRITERS ? write_main : read_main, &workers[i]));
        }
        EngineBackup *backup = NULL;
        uint64_t last = 0;
        for (unsigned round = 0; round < ROUNDS; round++) {
                EngineTable *extra;
                EngineSnapshot *held;
                EngineRoot roots[4];
                OK(engine_slab.table_create(world.engine, 100 + round, &extra));
                mutex_lock(&shared.commit_mu);
                world.position = atomic_load(&shared.position);
                OK(put_documents(&world, extra, 0, 50, true));
                atomic_store(&shared.position, world.position);
                OK(engine_slab.pin(extra, &held));
                if (round % 2) {
                        engine_slab.table_dropped(extra, world.position + 1);
                        atomic_store(&shared.position, ++world.position);
                }
                last = world.position;
                for (unsigned i = 0; i < 4; i++) {
                        roots[i].table = i < 3 ? shared.tables[i] : extra;
                        OK(engine_btree.pin(roots[i].table, &roots[i].snapshot));
                }
                mutex_unlock(&shared.commit_mu);
                if (round % 2)
                        engine_slab.table_drop(extra);
                OK(engine_btree.checkpoint(world.engine, last, roots, round % 2 ? 3 : 4));
                for (unsigned i = 0; i < 4; i++)
                        engine_btree.unpin(roots[i].snapshot);
                engine_slab.unpin(held);
                OK(engine_btree.maintain(world.engine));
                if (round % 2 == 0) { /* dropped behind the checkpoint that had it */
                        mutex_lock(&shared.commit_mu);
                        engine_slab.table_dropped(extra, atomic_fetch_add(&shared.position, 1) + 1);
                        mutex_unlock(&shared.commit_mu);
                        engine_slab.table_drop(extra);
                }
                if (round % 10 == 3)
                        OK(engine_btree.backup_begin(world.engine, &backup));
                if (round % 10 == 6) {
                        World copy = world;
                        OK(os_dir_open(sim_os(world.sim), "/copy", OS_DIR_CREATE, &copy.dir));
                        OK(engine_btree.backup_copy(backup, copy.dir, NULL, NULL));
                        engine_btree.backup_end(take(backup));
                        world_check(&copy);
                        os_dir_close(copy.dir);
                }
        }
        atomic_store(&shared.stop, true);
        uint64_t writes = 0;
        for (unsigned i = 0; i < WRITERS + READERS; i++) {
                thread_join(&workers[i].thread);
                writes += i < WRITERS ? workers[i].done : 0;
        }
        print_message("           %d writes\n", (int)writes);
        for (unsigned i = 0; i < 3; i++)
                engine_btree.table_drop(shared.tables[i]);
        engine_btree.close(take(world.engine));
        Checked checked = world_check(&world); /* commits after the last checkpoint leave nothing behind */
        assert_int_equal(checked.position, last);
        EngineOptions options = world_options(&world);
        OK(engine_btree.open(&options, &world.engine));
        for (unsigned i = 0; i < 3; i++) {
                EngineSnapshot *snapshot;
                OK(engine_btree.table_open(world.engine, i + 1, &shared.tables[i]));
                OK(engine_btree.pin(shared.tables[i], &snapshot));
                check_sum(snapshot);
                engine_btree.unpin(snapshot);
                engine_btree.table_drop(shared.tables[i]);
        }
        mutex_done(&shared.commit_mu);
        world_done(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_empty), cmocka_unit_test(test_random),  cmocka_unit_test(test_dictionary),
                cmocka_unit_test(test_drop),  cmocka_unit_test(test_backup),  cmocka_unit_test(test_small),
                cmocka_unit_test(test_dump),  cmocka_unit_test(test_threads),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
