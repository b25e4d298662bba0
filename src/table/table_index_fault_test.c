/* table_index_fault_test.c - indexes when memory, power and peace are lacking. */
#include "table/table_index_test.h"

enum { ROWS = 40 };

static Value row_of(Arena *arena, unsigned id, unsigned a)
{
        Field *fields = arena_array(arena, Field, 2);
        fields[0] = (Field){BYTES_STR("a"), value_number(a)};
        fields[1] = (Field){BYTES_STR("id"), value_number(id)};
        return value_object_sorted(fields, 2);
}

/* Where an arena that is out of memory jumps to, and what a write holds then. */
static jmp_buf out_of_memory;
static WriteGuard guard;

NORETURN static void jump(void *ctx, bool over_budget)
{
        longjmp(out_of_memory, 1);
}

static Status write_rows(World *w, TableRef *table, Arena *arena, unsigned first, unsigned count, unsigned a)
{
        Value *keys = arena_array(arena, Value, count), *rows = arena_array(arena, Value, count);
        RowOutcome *outcomes = arena_zalloc(arena, count * sizeof *outcomes);
        WriteOptions options = {.quick = (first + a) % 2, .guard = w->by_hand ? &guard : NULL};
        uint64_t position = 0;
        for (unsigned i = 0; i < count; i++) {
                keys[i] = value_number(first + i);
                rows[i] = (first + i + a) % 7 ? row_of(arena, first + i, (first + i) * 31 % 11 + a) : value_null();
        }
        Status st = w->source->write(table, keys, count, test_set, rows, &options, arena, outcomes, &position);
        for (unsigned i = 0; i < count; i++)
                if (outcomes[i].error) {
                        status_ignore(st);
                        st = outcomes[i].error;
                }
        return st;
}

/* --- a history: an index over rows, writes while it is built, another index, a drop --- */

static Status try_history(World *w, TableRef *table)
{
        bool more;
        Value result;
        uint64_t position = 0;
        TRY(write_rows(w, table, &w->arena, 0, ROWS, 1));
        TRY(try_create(w, table, "a", SIMPLE, false, false));
        TRY(write_rows(w, table, &w->arena, 10, 20, 2));
        TRY(build_step(w->catalog, &more));
        TRY(store_step(w->store));
        TRY(write_rows(w, table, &w->arena, 5, 20, 3));
        TRY(store_checkpoint(w->store));
        TRY(try_create(w, table, "b", COMPOUND, true, false));
        TRY(build_step(w->catalog, &more));
        TRY(store_step(w->store));
        TRY(try_build_all(w));
        TRY(store_step(w->store));
        TRY(write_rows(w, table, &w->arena, 0, ROWS, 4));
        TRY(w->source->index_rename(table, BYTES_STR("a"), BYTES_STR("b"), true, &w->arena, &result, &position));
        TRY(write_rows(w, table, &w->arena, 0, ROWS, 5));
        TRY(w->source->index_drop(table, BYTES_STR("b"), &w->arena, &result, &position));
        TRY(store_checkpoint(w->store));
        return store_step(w->store);
}

static void world_by_hand(World *w, uint64_t seed)
{
        world_init(w, seed);
        w->by_hand = true;
        world_open(w);
        make_table(w, "test", "t");
}

static Status failing_history(World *w, TableRef *table, long n)
{
        arena_on_oom(&w->arena, jump, NULL);
        guard = (WriteGuard){0};
        if (setjmp(out_of_memory) == 0) {
                mem_fail_nth(n);
                return try_history(w, table);
        }
        if (guard.undo)
                guard.undo(&guard);
        return ST_OK;
}

/* Each allocation fails in turn: whatever is left agrees, and goes on. */
static void test_out_of_memory(void **state)
{
        for (long n = 1, fired = 1; fired; n += n < 400 ? 1 : 7) {
                World w;
                world_by_hand(&w, 3);
                TableRef *table = find(&w, "test", "t");
                Status st = failing_history(&w, table, n);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                assert_true(fired || !st);
                status_ignore(st);
                ok(store_step(w.store)); /* the log may have failed: it gets over that */
                ok(try_build_all(&w));
                w.source->table_unref(table);
                table = find(&w, "test", "t");
                check_agreement(&w, table);
                w.source->table_unref(table);
                world_done(&w);
        }
}

/* The power goes at each call of a file: what is there after the restart agrees, and a build begins anew. */
static void test_power_loss(void **state)
{
        for (long n = 1, fired = 1; fired; n++) {
                World w;
                world_by_hand(&w, (uint64_t)n);
                uint64_t position = 0;
                TableRef *table = find(&w, "test", "t");
                ok(w.source->sync(table, &position));
                ok(store_step(w.store));
                sim_fail_nth(w.sim, n, SIM_FAIL_POWER);
                Status st = try_history(&w, table);
                fired = sim_fired(w.sim);
                assert_true(fired || !st);
                status_ignore(st);
                w.source->table_unref(table);
                world_close(&w);
                sim_heal(w.sim);
                sim_crash(w.sim, n % 2 ? SIM_DROP : SIM_TEAR);
                world_open(&w);
                table = find(&w, "test", "t");
                ok(write_rows(&w, table, &w.arena, 0, ROWS, 6));
                ok(try_build_all(&w));
                check_agreement(&w, table);
                w.source->table_unref(table);
                world_done(&w);
        }
}

/* --- threads --- */

typedef struct Worker {
        World *w;
        unsigned number;
        Thread thread;
        atomic_bool *stop;
} Worker;

static void writer_main(void *arg)
{
        Worker *worker = arg;
        TableRef *table = find(worker->w, "test", "t");
        Arena arena;
        arena_init(&arena, 0);
        for (unsigned i = 0; i < 150; i++) {
                arena_reset(&arena);
                ok(write_rows(worker->w, table, &arena, (worker->number * 37 + i * 13) % 300, 20, i));
        }
        arena_done(&arena);
        worker->w->source->table_unref(table);
}

/* Rows and entries of a view are of one moment, whatever happens. */
static void reader_main(void *arg)
{
        Worker *worker = arg;
        const TableSource *source = worker->w->source;
        Arena arena;
        arena_init(&arena, 0);
        while (!atomic_load(worker->stop)) {
                TableRef *table = find(worker->w, "test", "t");
                TableView *view;
                TableScan *scan;
                uint64_t rows, entries = 0;
                arena_reset(&arena);
                ok(source->view_open(table, &view));
                ok(source->view_count(view, NULL, &rows));
                Status st = source->index_scan_open(view, BYTES_STR("a"), NULL, false, &scan);
                while (!st) {
                        Value row, value;
                        ok(source->scan_next(scan, &arena, &row));
                        if (value_is(row, V_NONE))
                                break;
                        ok(source->scan_index_value(scan, &arena, &value));
                        entries++;
                }
                if (!st) {
                        source->scan_close(scan);
                        assert_int_equal(entries, rows);
                }
                assert_true(!st || status_code(st) == ERR_OP_FAILED); /* not ready, or dropped */
                status_ignore(st);
                source->view_close(view);
                source->table_unref(table);
        }
        arena_done(&arena);
}

static void test_threads(void **state)
{
        World w;
        Worker workers[4];
        atomic_bool stop = false;
        world_init(&w, 9);
        w.background = true;
        world_open(&w);
        make_table(&w, "test", "t");
        TableRef *table = find(&w, "test", "t");
        for (unsigned i = 0; i < ELEMENTS(workers); i++) {
                workers[i] = (Worker){.w = &w, .number = i, .stop = &stop};
                ok(thread_start(&workers[i].thread, "test", i < 2 ? writer_main : reader_main, &workers[i]));
        }
        for (unsigned i = 0; i < 12; i++) {
                Value result;
                uint64_t position = 0;
                create(&w, table, "a", SIMPLE, false, false);
                create(&w, table, "b", COMPOUND, true, false);
                if (i % 2)
                        wait_until_ready(&w);
                ok(w.source->index_drop(table, BYTES_STR("b"), &w.arena, &result, &position));
                if (i % 3)
                        wait_until_ready(&w);
                ok(w.source->index_rename(table, BYTES_STR("a"), BYTES_STR("c"), true, &w.arena, &result, &position));
        }
        create(&w, table, "a", SIMPLE, false, false);
        thread_join(&workers[0].thread);
        thread_join(&workers[1].thread);
        wait_until_ready(&w);
        atomic_store(&stop, true);
        thread_join(&workers[2].thread);
        thread_join(&workers[3].thread);
        w.source->table_unref(table);
        table = find(&w, "test", "t");
        check_agreement(&w, table);
        w.source->table_unref(table);
        world_done(&w);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_out_of_memory),
                cmocka_unit_test(test_power_loss),
                cmocka_unit_test(test_threads),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
