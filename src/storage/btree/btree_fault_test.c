/* btree_fault_test.c - the engines when the world fails: every nth file call and allocation, power loss at every call,
 * flipped bits. What opens afterwards is the newest durable checkpoint or one that was being made, with exactly the
 * rows of its position, and without a lost extent. */
#include "storage/btree/btree_test.h"

#define CACHE_BYTES  ((size_t)8 << 20)
#define SCRIPT_STEPS 60

static const char *const how_names[] = {"once", "forever", "no space", "power"};
static const char *const crash_names[] = {"drop", "tear", "keep"};

/* Steps until one fails (`until_failure`), or all. */
static Status run_script(World *world, unsigned steps, bool until_failure)
{
        for (unsigned i = 0; i < steps; i++) {
                Status st = world_step(world);
                if (st && until_failure)
                        return st;
                status_ignore(st);
        }
        return ST_OK;
}

/* Opens what a failure left, compares, goes on, and finds everything in order. */
static void recover(World *world)
{
        uint64_t stored = world->stored;
        bool tried[MODEL_POSITIONS];
        memcpy(tried, world->tried, sizeof(tried));
        Checked checked = world_check(world);
        OK(world_open(world));
        assert_int_equal(checked.position, world->position);
        assert_true(world->position == stored || tried[world->position]);
        world_compare(world, world->position);
        OK(run_script(world, 10, true));
        OK(world_checkpoint(world));
        world_compare(world, world->position);
        world_close(world);
        world_check(world);
}

/* --- every nth file call --- */

static bool run_failing(uint64_t seed, long n, SimFailure how)
{
        World world;
        world_init(&world, seed, CACHE_BYTES);
        OK(world_open(&world));
        sim_fail_nth(world.sim, n, how);
        run_script(&world, SCRIPT_STEPS, false);
        bool fired = sim_fired(world.sim);
        sim_heal(world.sim);
        world_compare(&world, world.position); /* reading goes on, and nothing but whole commits is there */
        if (pagefile_failed(world.engine->file)) {
                EngineWrite *write;
                FAILS(ERR_IO, world_checkpoint(&world));
                for (unsigned i = 0; i < MODEL_TABLES; i++)
                        if (world.tables[i])
                                FAILS(ERR_IO, world.tables[i]->ops->write_begin(world.tables[i], &write));
                world_crash(&world, SIM_KEEP);
        } else {
                OK(world_checkpoint(&world));
                world_compare(&world, world.position);
                world_close(&world);
        }
        recover(&world);
        world_done(&world);
        return fired;
}

static void test_failing_calls(void **state)
{
        for (SimFailure how = SIM_FAIL_ONCE; how <= SIM_FAIL_NO_SPACE; how++) {
                long n = 1;
                for (; run_failing(11 + how, n, how); n += 1)
                        ;
                print_message("           %s: %ld calls\n", how_names[how], n - 1);
        }
}

/* The same while opening. */
static void test_failing_open(void **state)
{
        World world;
        world_init(&world, 5, CACHE_BYTES);
        OK(world_open(&world));
        OK(run_script(&world, 100, true));
        OK(world_checkpoint(&world));
        for (long n = 1;; n++) {
                uint64_t stored = world.stored;
                world_close(&world);
                sim_fail_nth(world.sim, n, SIM_FAIL_ONCE);
                Status st = world_open(&world);
                bool fired = sim_fired(world.sim);
                sim_heal(world.sim);
                assert_true(fired || !st);
                if (st) {
                        status_ignore(st);
                        OK(world_open(&world));
                }
                assert_int_equal(world.position, stored);
                world_compare(&world, world.position);
                if (!fired)
                        break;
        }
        world_done(&world);
}

/* --- power loss --- */

static bool run_power(uint64_t seed, long n, SimCrash how)
{
        World world;
        world_init(&world, seed, CACHE_BYTES);
        OK(world_open(&world));
        sim_fail_nth(world.sim, n, SIM_FAIL_POWER);
        Status st = run_script(&world, SCRIPT_STEPS, true);
        bool fired = sim_fired(world.sim);
        assert_true(fired || !st);
        status_ignore(st);
        world_crash(&world, how);
        recover(&world);
        world_done(&world);
        return fired;
}

static void test_power(void **state)
{
        for (SimCrash how = SIM_DROP; how <= SIM_KEEP; how++) {
                long n = 1;
                for (; run_power(21 + how, n, how); n += 1)
                        ;
                print_message("           %s: %ld calls\n", crash_names[how], n - 1);
        }
}

/* One crash after the other, at random calls, for long. */
static void test_crashes(void **state)
{
        const char *rounds_text = getenv("PHOTON_CRASHES");
        unsigned rounds = rounds_text ? (unsigned)atoi(rounds_text) : 150;
        World world;
        for (unsigned round = 0; round < rounds; round++) {
                if (round % 20 == 0) {
                        if (round)
                                world_done(&world);
                        world_init(&world, 1000 + round, round % 40 ? CACHE_BYTES : 200000);
                }
                OK(world_open(&world));
                if (world.position > MODEL_POSITIONS / 2) { /* the next ones begin anew */
                        round += 19 - round % 20;
                        continue;
                }
                world_compare(&world, world.position);
                sim_fail_nth(world.sim, 1 + world_random(&world, 400), SIM_FAIL_POWER);
                status_ignore(run_script(&world, 80, true));
                world_crash(&world, (SimCrash)world_random(&world, 3));
                Checked checked = world_check(&world);
                assert_true(checked.position == world.stored || world.tried[checked.position]);
        }
        world_done(&world);
}

/* --- memory --- */

static bool run_without_memory(uint64_t seed, long n)
{
        World world;
        world_init(&world, seed, CACHE_BYTES);
        mem_fail_nth(n);
        Status st = world_open(&world);
        if (!st)
                run_script(&world, SCRIPT_STEPS, false);
        bool fired = mem_fail_fired();
        mem_fail_nth(0);
        if (st) {
                assert_int_equal(status_code(st), ERR_NOMEM);
                status_ignore(st);
                OK(world_open(&world));
        }
        world_compare(&world, world.position);
        OK(world_checkpoint(&world));
        world_close(&world);
        recover(&world);
        world_done(&world);
        return fired;
}

static void test_without_memory(void **state)
{
        long n = 1;
        for (; run_without_memory(31, n); n += n < 300 ? 1 : 3)
                ;
        print_message("           %ld allocations\n", n - 1);
}

/* --- flipped bits --- */

/* Rows are what they should be, or the error says where the damage is. */
static Status read_table(EngineTable *table, unsigned i, const ModelTable *model)
{
        EngineSnapshot *snapshot;
        uint8_t expected[VALUE_MAX_BYTES];
        char name[32];
        Arena hold;
        arena_init(&hold, 0);
        TRY(table->ops->pin(table, &snapshot));
        Status st = ST_OK;
        for (unsigned n = 0; n < MODEL_TREES * MODEL_KEYS && !st; n++) {
                uint32_t stamp = model->rows[n / MODEL_KEYS][n % MODEL_KEYS];
                Bytes value;
                bool found;
                arena_reset(&hold);
                st = table->ops->get(snapshot, n / MODEL_KEYS, row_key(i, n % MODEL_KEYS, name), &hold, &value, &found);
                if (st)
                        break;
                assert_int_equal(found, stamp != 0);
                if (found)
                        assert_true(bytes_equal(value, row_value(i, n % MODEL_KEYS, stamp, expected)));
        }
        table->ops->unpin(snapshot);
        arena_done(&hold);
        return st;
}

static void expect_corrupt(Status st)
{
        char text[512];
        status_text(st, text, sizeof(text));
        if (status_code(st) != ERR_CORRUPT || !strstr(text, "/d/pages") || !strstr(text, "offset"))
                fail_msg("unexpected: %s", text);
        status_ignore(st);
}

typedef struct Opened {
        World *world;
        unsigned damaged;
} Opened;

static Status open_one(void *ctx, uint64_t table_id, const EngineOps *ops, uint64_t position)
{
        Opened *opened = ctx;
        unsigned i = (unsigned)table_id - 1;
        EngineTable *table = NULL;
        Status st = engine_btree.table_open(opened->world->engine, table_id, &table);
        if (!st)
                st = read_table(table, i, &opened->world->history[opened->world->position].tables[i]);
        if (st) {
                expect_corrupt(st);
                opened->damaged++;
        }
        opened->world->tables[i] = table;
        return ST_OK;
}

/* Returns how much could not be read: tables, or everything (`MODEL_TABLES`). */
static unsigned open_damaged(World *world)
{
        EngineOptions options = world_options(world);
        Opened opened = {.world = world};
        Status st = engine_btree.open(&options, &world->engine);
        if (!st) {
                assert_int_equal(engine_btree.stored_position(world->engine), world->position);
                st = engine_btree.stored_each(world->engine, open_one, &opened);
        }
        if (st) {
                expect_corrupt(st);
                opened.damaged = MODEL_TABLES;
        }
        world_close(world);
        return opened.damaged;
}

static void test_flipped_bits(void **state)
{
        World world;
        OsFile *file;
        uint64_t bytes;
        unsigned found = 0, harmless = 0, unopened = 0, hurt = 0;
        world_init(&world, 41, CACHE_BYTES);
        OK(world_open(&world));
        while (world.position < 120)
                OK(world_step(&world));
        OK(world_checkpoint(&world));
        world_close(&world);
        OK(os_file_open(world.dir, PAGEFILE_NAME, OS_READ, &file));
        OK(os_file_size(file, &bytes));
        os_file_close(file);
        world_check(&world);
        for (uint64_t at = 0; at < bytes; at += at < 8192 ? 1 + at % 2048 / 40 : 1 + world_random(&world, 2000)) {
                int bit = (int)world_random(&world, 8);
                Checked checked;
                OK(sim_flip_bit(world.sim, "/d/pages", at, bit));
                OK(world_check_into(&world, &checked));
                if (checked.problem_count && (!strstr(checked.text, "/d/pages") || !strstr(checked.text, "offset")))
                        fail_msg("flipped bit %d of %d: %s", bit, (int)at, checked.text);
                unsigned damaged = open_damaged(&world);
                /* Nothing is lost that check does not see; one bit damages one table, or the directory. */
                assert_true(checked.problem_count || damaged == 0);
                assert_true(damaged <= 1 || damaged == MODEL_TABLES);
                if (at < 2 * SPACE_HEADER_BYTES) {
                        assert_true(checked.problem_count > 0); /* all of it is looked at, */
                        assert_int_equal(damaged, 0);           /* and nothing of it needed */
                }
                if (damaged == 1 && checked.damaged_count)
                        hurt++;
                unopened += damaged == MODEL_TABLES;
                *(checked.problem_count ? &found : &harmless) += 1;
                if (at < 2 * SPACE_HEADER_BYTES) { /* an opening writes a damaged superblock again */
                        OK(world_check_into(&world, &checked));
                        if (checked.problem_count == 0)
                                continue;
                }
                OK(sim_flip_bit(world.sim, "/d/pages", at, bit));
        }
        print_message("           %u found, %u harmless; %u cost a table, %u the directory\n", found, harmless, hurt,
                      unopened);
        assert_true(hurt > 20);
        world_check(&world);
        world_done(&world);
}

/* A damaged table can be dropped; what it leaves is found by the next opening. */
static void test_damaged_drop(void **state)
{
        World world;
        PageRow row;
        bool found;
        EngineTable *table = NULL;
        world_init(&world, 43, CACHE_BYTES);
        OK(world_open(&world));
        while (world.position < 60 || !world.tables[2])
                OK(world_step(&world));
        OK(world_checkpoint(&world));
        OK(pagefile_row(world.engine->file, 3, &row, &found));
        uint64_t offset = space_extent_offset(pagefile_space(world.engine->file), row.root.extent);
        world_close(&world);
        OK(sim_flip_bit(world.sim, "/d/pages", offset + 60, 1));
        Checked checked;
        OK(world_check_into(&world, &checked));
        assert_int_equal(checked.damaged_count, 1);
        EngineOptions options = world_options(&world);
        OK(engine_btree.open(&options, &world.engine));
        expect_corrupt(engine_btree.table_open(world.engine, 3, &table));
        assert_non_null(table);
        table->ops->table_dropped(table, world.position + 1);
        table->ops->table_drop(table);
        OK(engine_btree.checkpoint(world.engine, world.position + 1, NULL, 0));
        engine_btree.close(take(world.engine));
        world.history[world.position + 1] = world.history[world.position];
        world.history[world.position + 1].tables[2] = (ModelTable){0};
        checked = world_check(&world);
        OK(world_open(&world));
        world_compare(&world, world.position);
        OK(run_script(&world, 20, true));
        OK(world_checkpoint(&world));
        world_close(&world);
        world_check(&world);
        world_done(&world);
}

/* --- training and backups --- */

/* The nth file call or allocation of a training, the write that brings its dictionary, and a backup. */
static bool run_side_work(long n, bool memory)
{
        enum { BATCH = 3000 };
        World world, copy;
        EngineTable *table;
        EngineBackup *backup = NULL;
        world_init(&world, 51, CACHE_BYTES);
        OK(world_open(&world));
        OK(engine_slab.table_create(world.engine, 1, &table));
        OK(put_documents(&world, table, 0, 2 * BATCH, true)); /* more than a sample */
        OK(checkpoint_of(&world, table));
        copy = world;
        OK(os_dir_open(sim_os(world.sim), "/copy", OS_DIR_CREATE, &copy.dir));
        if (memory)
                mem_fail_nth(n);
        else
                sim_fail_nth(world.sim, n, SIM_FAIL_ONCE);
        Status st = engine_btree.maintain(world.engine);
        if (!st)
                st = put_documents(&world, table, 2 * BATCH, 100, true);
        if (!st)
                st = engine_btree.backup_begin(world.engine, &backup);
        if (!st)
                st = engine_btree.backup_copy(backup, copy.dir, NULL, NULL);
        bool fired = memory ? mem_fail_fired() : sim_fired(world.sim);
        bool copied = !st;
        mem_fail_nth(0);
        sim_heal(world.sim);
        assert_true(copied || fired);
        status_ignore(st);
        engine_btree.backup_end(backup);
        if (copied) {
                copy.engine = NULL;
                Checked checked = world_check(&copy);
                assert_int_equal(checked.row_count, 2 * BATCH);
        }
        os_dir_close(copy.dir);
        OK(engine_btree.maintain(world.engine));
        OK(put_documents(&world, table, 2 * BATCH, 200, true));
        OK(checkpoint_of(&world, table));
        world.tables[0] = table;
        world_close(&world);
        Checked checked = world_check(&world);
        assert_int_equal(checked.row_count, 2 * BATCH + 200);
        world_done(&world);
        return fired;
}

static void test_side_work(void **state)
{
        long n = 1, m = 1;
        for (; run_side_work(n, false); n++)
                ;
        for (; run_side_work(m, true); m += m < 40 ? 1 : 1 + m / 5)
                ;
        print_message("           %ld calls, %ld allocations\n", n - 1, m - 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_failing_open),   cmocka_unit_test(test_failing_calls),
                cmocka_unit_test(test_power),          cmocka_unit_test(test_crashes),
                cmocka_unit_test(test_without_memory), cmocka_unit_test(test_flipped_bits),
                cmocka_unit_test(test_damaged_drop),   cmocka_unit_test(test_side_work),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
