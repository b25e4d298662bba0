/* engine_sweep_test.c - every engine with files: for every n the nth file call fails, during commits and checkpoints;
 * what is opened then is an acknowledged checkpoint or a later one, whole. */

#include "storage/engine_test.h"

enum { ENTRIES = 300 };

/* Tree 1 is emptied by the first commit of a round and filled by all three. */
static Status sweep_entries(World *world, EngineWrite *write, uint64_t round, unsigned c)
{
        if (c == 0)
                TRY(world->ops->write_clear(write, 1));
        for (uint64_t i = 0; i < ENTRIES; i++) {
                uint8_t key[8];
                TRY(world->ops->write_put(write, 1, number_key(i * 3 + c, key), BYTES(&round, 8)));
        }
        return ST_OK;
}

/* One step of the sweep: commits and checkpoints; *last is the newest checkpoint that was acknowledged. */
static Status sweep_rounds(World *world, EngineSnapshot **reader, uint64_t *ret_acknowledged, uint64_t *ret_tried)
{
        for (uint64_t round = 1; round <= 4; round++) {
                EngineWrite *write;
                if (!*reader)
                        TRY(world->ops->pin(world->tables[1], reader));
                for (unsigned c = 0; c < 3; c++) {
                        TRY(world->ops->write_begin(world->tables[1], &write));
                        Status st = ST_OK;
                        for (uint64_t i = 0; i < 60 && !st; i++) {
                                uint8_t key[8];
                                size_t size = i % 20 == 1 ? 6000 : 60;
                                st = world->ops->write_put(write, 0, number_key(i * (c + 1), key),
                                                           value_fill(value_bytes, round * 2 + 1, size));
                        }
                        if (!st)
                                st = sweep_entries(world, write, round, c);
                        if (!st)
                                st = world->ops->write_prepare ? world->ops->write_prepare(write) : ST_OK;
                        if (st) {
                                world->ops->write_abort(write);
                                return st;
                        }
                        world->ops->write_commit(write, ++world->position);
                        world->changed[1] = true;
                        world->ops->table_tidy(world->tables[1]);
                }
                *ret_tried = round;
                /* Somebody reads what was cleared while an even round's checkpoint is made. */
                Status st = checkpoint(world);
                if (round % 2 == 0 || st)
                        world->ops->unpin(take(*reader));
                TRY(st);
                *ret_acknowledged = round;
        }
        return ST_OK;
}

static Status sweep_work(World *world, uint64_t *ret_acknowledged, uint64_t *ret_tried)
{
        EngineSnapshot *reader = NULL;
        Status st = sweep_rounds(world, &reader, ret_acknowledged, ret_tried);
        if (reader)
                world->ops->unpin(reader);
        return st;
}

/* The entries are the round's too, and all of it. */
static void check_entries(World *world, EngineSnapshot *snapshot, uint64_t round)
{
        uint64_t count;
        OK(world->ops->count(snapshot, 1, all, &count));
        assert_int_equal(count, round ? 3 * ENTRIES : 0);
        for (uint64_t i = 0; i < count; i++) {
                Bytes key, value;
                bool found;
                arena_reset(&world->hold);
                OK(world->ops->nth(snapshot, 1, i, &world->hold, &key, &value, &found));
                assert_int_equal(load_u64(value.data), round);
        }
}

/* Every row of the table was written by the same round, and none is missing. */
static uint64_t sweep_round(World *world)
{
        EngineSnapshot *snapshot;
        uint64_t round = 0;
        if (!world->tables[1])
                return 0;
        OK(world->ops->pin(world->tables[1], &snapshot));
        for (uint64_t c = 1; c <= 3; c++) {
                for (uint64_t i = 0; i < 60; i++) {
                        uint8_t bytes[8];
                        Bytes value;
                        bool found;
                        arena_reset(&world->hold);
                        OK(world->ops->get(snapshot, 0, number_key(i * c, bytes), &world->hold, &value, &found));
                        if (!found) {
                                assert_true(c == 1 && i == 0);
                                check_entries(world, snapshot, 0);
                                world->ops->unpin(snapshot);
                                return 0;
                        }
                        if (i == 0 && c == 1)
                                round = load_u64(value.data) / 2;
                        assert_int_equal(load_u64(value.data), round * 2 + 1);
                }
        }
        check_entries(world, snapshot, round);
        world->ops->unpin(snapshot);
        return round;
}

static void sweep(const EngineOps *ops, SimFailure failure, SimCrash crash)
{
        for (long n = 1, fired = 1; fired; n++) {
                World world;
                uint64_t acknowledged = 0, tried = 0;
                world_init(&world, ops, (EngineOptions){0});
                create(&world, 1);
                sim_fail_nth(world.sim, n, failure);
                Status st = sweep_work(&world, &acknowledged, &tried);
                fired = sim_fired(world.sim);
                assert_true(!st || fired); /* giving space back may fail without a word */
                status_ignore(st);
                if (failure == SIM_FAIL_NO_SPACE && fired) { /* there is room again: it goes on */
                        sim_heal(world.sim);
                        OK(checkpoint(&world));
                }
                world_detach(&world);
                sim_crash(world.sim, crash);
                files_check(&world);
                world_reattach(&world);
                if (failure != SIM_FAIL_NO_SPACE) {
                        uint64_t round = sweep_round(&world);
                        assert_true(round >= acknowledged && round <= tried);
                }
                if (!world.tables[1])
                        create(&world, 1);
                OK(sweep_work(&world, &acknowledged, &tried));
                world_detach(&world);
                sim_crash(world.sim, SIM_DROP);
                files_check(&world);
                world_reattach(&world);
                assert_int_equal(sweep_round(&world), 4);
                world_done(&world);
        }
}

static void test_sweep(void **state)
{
        const EngineOps *ops = *state;
        if (!ops->persistent)
                return;
        sweep(ops, SIM_FAIL_POWER, SIM_DROP);
        sweep(ops, SIM_FAIL_POWER, SIM_TEAR);
        sweep(ops, SIM_FAIL_POWER, SIM_KEEP);
        sweep(ops, SIM_FAIL_ONCE, SIM_TEAR);
        sweep(ops, SIM_FAIL_FOREVER, SIM_DROP);
        sweep(ops, SIM_FAIL_NO_SPACE, SIM_DROP);
}

int main(void)
{
        static const EngineTest tests[] = {{"sweep", test_sweep}};
        return run_for_every_engine("engine sweep", tests, ELEMENTS(tests));
}
