/* table_rows_test.c - reading and writing rows: outcomes, messages, ranges, concurrent writers, crashes, being thrown
 * out. */
#include "table/table_test.h"

#include <stdlib.h>

static void setup(World *w, TableRef **ret_table)
{
        world_init(w, 11);
        world_open(w);
        make_table(w, "test", "t");
        *ret_table = find(w, "test", "t");
}

static void teardown(World *w, TableRef *table)
{
        w->source->table_unref(table);
        world_done(w);
}

/* --- one row --- */

static void check_row(World *w, RowOutcome outcome, RowEffect effect, const char *old_row, const char *new_row)
{
        assert_int_equal(outcome.effect, effect);
        assert_null(outcome.error);
        assert_string_equal(text_of_value(w, outcome.old_row), old_row);
        assert_string_equal(text_of_value(w, outcome.new_row), new_row);
}

static void check_error(World *w, RowOutcome outcome, const char *message, const char *row)
{
        assert_int_equal(outcome.effect, ROW_FAILED);
        assert_string_equal(status_message(outcome.error), message);
        assert_string_equal(text_of_value(w, outcome.old_row), row);
        assert_string_equal(text_of_value(w, outcome.new_row), row);
        status_ignore(outcome.error);
}

static void test_effects(void **state)
{
        World w;
        TableRef *t;
        setup(&w, &t);
        Value one = value_number(1);
        check_row(&w, put(&w, t, one, value_null()), ROW_SKIPPED, "null", "null");
        check_row(&w, put(&w, t, one, json(&w, "{\"id\":1}")), ROW_INSERTED, "null", "{\"id\":1}");
        check_row(&w, put(&w, t, one, json(&w, "{\"id\":1}")), ROW_UNCHANGED, "{\"id\":1}", "{\"id\":1}");
        check_row(&w, put(&w, t, one, json(&w, "{\"id\":1,\"a\":[1,{\"b\":null}]}")), ROW_REPLACED, "{\"id\":1}",
                  "{\"a\":[1,{\"b\":null}],\"id\":1}");
        check_row(&w, put(&w, t, one, value_null()), ROW_DELETED, "{\"a\":[1,{\"b\":null}],\"id\":1}", "null");
        assert_int_equal(count(&w, t), 0);
        teardown(&w, t);
}

static void test_what_a_row_must_be(void **state)
{
        World w;
        TableRef *t;
        setup(&w, &t);
        Value one = value_number(1);
        put(&w, t, one, json(&w, "{\"id\":1}"));
        check_error(&w, put(&w, t, one, json(&w, "2")), "Inserted value must be an OBJECT (got NUMBER):\n2",
                    "{\"id\":1}");
        check_error(&w, put(&w, t, one, json(&w, "{\"a\":1}")),
                    "Inserted object must have primary key `id`:\n{\n\t\"a\":\t1\n}", "{\"id\":1}");
        check_error(&w, put(&w, t, one, json(&w, "{\"id\":2,\"a\":1}")),
                    "Primary key `id` cannot be changed (`{\n\t\"id\":\t1\n}` -> `{\n\t\"a\":\t1,\n\t\"id\":\t2\n}`).",
                    "{\"id\":1}");
        check_error(&w, put(&w, t, value_number(3), json(&w, "{\"id\":4}")),
                    "Primary key `id` cannot be changed (null -> {\n\t\"id\":\t4\n})", "null");
        Field fields[] = {{BYTES_STR("a"), value_minval()}, {BYTES_STR("id"), one}};
        check_error(&w, put(&w, t, one, value_object_sorted(fields, 2)),
                    "`r.minval` and `r.maxval` cannot be written to disk.", "{\"id\":1}");
        Value deep = value_array(&fields[0].value, 1);
        fields[0].value = deep;
        Value inner = value_maxval();
        fields[0].value = value_array(&inner, 1);
        check_error(&w, put(&w, t, one, value_object_sorted(fields, 2)),
                    "`r.minval` and `r.maxval` cannot be written to disk.", "{\"id\":1}");
        Value *many = arena_array(&w.arena, Value, VALUE_ARRAY_LIMIT + 1);
        for (size_t i = 0; i <= VALUE_ARRAY_LIMIT; i++)
                many[i] = value_null();
        fields[0].value = value_array(many, VALUE_ARRAY_LIMIT + 1);
        check_error(&w, put(&w, t, one, value_object_sorted(fields, 2)),
                    "Array too large for disk writes (limit 100,000 elements).", "{\"id\":1}");
        RowOutcome outcome = put(&w, t, value_null(), json(&w, "{\"id\":null}"));
        assert_true(outcome.bad_key);
        check_error(&w, outcome,
                    "Primary keys must be either a number, string, bool, pseudotype or array (got type NULL):\nnull",
                    "null");
        assert_string_equal(text_of_value(&w, get(&w, t, one)), "{\"id\":1}");
        teardown(&w, t);
}

/* --- batches --- */

typedef struct Adder {
        const char *field;
        int fail_at; /* row whose change fails; -1: none */
        size_t calls;
} Adder;

/* row[field] += 1 */
static Status add_one(void *ctx, size_t index, Value old_row, Arena *arena, Value *ret)
{
        Adder *a = ctx;
        a->calls++;
        if ((int)index == a->fail_at)
                return status_new(ERR_USER, "no");
        if (value_is(old_row, V_NULL)) {
                *ret = old_row;
                return ST_OK;
        }
        Value n = value_get_str(old_row, a->field);
        ObjectBuilder object;
        object_init(&object, arena, 2);
        object_add_str(&object, "id", value_get_str(old_row, "id"));
        object_add_str(&object, a->field, value_number(value_is(n, V_NUMBER) ? n.number + 1 : 1));
        *ret = object_take(&object);
        return ST_OK;
}

static void insert_many(World *w, TableRef *t, size_t n)
{
        Value *keys = arena_array(&w->arena, Value, n), *rows = arena_array(&w->arena, Value, n);
        RowOutcome *outcomes = arena_array(&w->arena, RowOutcome, n);
        for (size_t i = 0; i < n; i++) {
                Field *field = arena_array(&w->arena, Field, 1);
                keys[i] = value_number((double)i);
                *field = (Field){BYTES_STR("id"), keys[i]};
                rows[i] = value_object_sorted(field, 1);
        }
        WriteOptions options = {.quick = true};
        uint64_t position = 0;
        ok(w->source->write(t, keys, n, test_set, rows, &options, &w->arena, outcomes, &position));
        for (size_t i = 0; i < n; i++) {
                assert_int_equal(outcomes[i].effect, ROW_INSERTED);
                assert_int_equal(value_type(outcomes[i].old_row), V_NONE);
        }
}

static void check_batch(bool quick)
{
        World w;
        TableRef *t;
        enum { N = 1000 };
        Value keys[N];
        RowOutcome outcomes[N];
        setup(&w, &t);
        insert_many(&w, t, N);
        assert_int_equal(count(&w, t), N);
        for (size_t i = 0; i < N; i++)
                keys[i] = value_number((double)(N - 1 - i));                    /* not in key order */
        keys[17] = value_null();                                                /* not a key */
        keys[20] = keys[21] = keys[22] = keys[23] = keys[24] = value_number(7); /* one row, five times in a batch */
        Adder adder = {.field = "n", .fail_at = 500};
        WriteOptions options = {.want_rows = true, .quick = quick};
        uint64_t position = 0;
        ok(w.source->write(t, keys, N, add_one, &adder, &options, &w.arena, outcomes, &position));
        assert_true(position > 0);
        for (size_t i = 0; i < N; i++) {
                bool failed = i == 17 || i == 500;
                assert_int_equal(outcomes[i].effect, failed ? ROW_FAILED : ROW_REPLACED);
                assert_int_equal(outcomes[i].bad_key, i == 17);
                if (!failed)
                        assert_true(value_equal(value_get_str(outcomes[i].new_row, "id"), keys[i]));
                outcomes[i].error = status_free(outcomes[i].error);
        }
        assert_string_equal(text_of_value(&w, outcomes[22].old_row), "{\"id\":7,\"n\":2}");
        assert_string_equal(text_of_value(&w, outcomes[24].new_row), "{\"id\":7,\"n\":5}");
        /* keys[992] is 7 as well */
        assert_string_equal(text_of_value(&w, get(&w, t, value_number(7))), "{\"id\":7,\"n\":6}");
        assert_string_equal(text_of_value(&w, get(&w, t, value_number(499))), "{\"id\":499}"); /* keys[500] */
        teardown(&w, t);
}

static void test_batch(void **state)
{
        check_batch(true);
        check_batch(false);
}

/* Documents of half a megabyte make several commits of one batch. */
static void test_large_rows(void **state)
{
        World w;
        TableRef *t;
        enum { N = 12, BYTES_EACH = 400000 };
        Value keys[N], rows[N];
        RowOutcome outcomes[N];
        setup(&w, &t);
        char *text = arena_alloc(&w.arena, BYTES_EACH);
        memset(text, 'x', BYTES_EACH);
        for (size_t i = 0; i < N; i++) {
                Field *fields = arena_array(&w.arena, Field, 2);
                keys[i] = value_number((double)i);
                fields[0] = (Field){BYTES_STR("id"), keys[i]};
                fields[1] = (Field){BYTES_STR("x"), value_string(BYTES(text, BYTES_EACH))};
                rows[i] = value_object_sorted(fields, 2);
        }
        for (int quick = 0; quick < 2; quick++) {
                WriteOptions options = {.quick = quick};
                uint64_t position = 0;
                StoreStats before, after;
                store_stats(w.store, &before);
                ok(w.source->write(t, keys, N, test_set, rows, &options, &w.arena, outcomes, &position));
                store_stats(w.store, &after);
                assert_true(after.commit_count - before.commit_count >= 3);
                assert_int_equal(count(&w, t), N);
                for (size_t i = 0; i < N; i++) {
                        assert_int_equal(outcomes[i].effect, ROW_INSERTED);
                        put(&w, t, keys[i], value_null());
                }
        }
        teardown(&w, t);
}

/* --- durability --- */

static uint64_t position_of(World *w, TableRef *t, Durability durability, Value row)
{
        Value key = value_number(1);
        RowOutcome outcome;
        WriteOptions options = {.durability = durability, .quick = true};
        uint64_t position = 0;
        ok(w->source->write(t, &key, 1, test_set, &row, &options, &w->arena, &outcome, &position));
        return position;
}

static void test_durability(void **state)
{
        World w;
        TableRef *t;
        Value v;
        uint64_t position = 0;
        setup(&w, &t);
        assert_int_equal(position_of(&w, t, DURABILITY_SOFT, json(&w, "{\"id\":1}")), 0);
        assert_true(position_of(&w, t, DURABILITY_HARD, json(&w, "{\"id\":1,\"a\":1}")) > 0);
        assert_true(position_of(&w, t, DURABILITY_DEFAULT, json(&w, "{\"id\":1,\"a\":2}")) > 0);
        assert_int_equal(position_of(&w, t, DURABILITY_HARD, json(&w, "{\"id\":1,\"a\":2}")), 0); /* unchanged */
        ok(w.source->table_create(w.catalog, BYTES_STR("test"), BYTES_STR("soft"),
                                  json(&w, "{\"durability\":\"soft\"}"), &w.arena, &v, &position));
        TableRef *soft = find(&w, "test", "soft");
        assert_int_equal(position_of(&w, soft, DURABILITY_DEFAULT, json(&w, "{\"id\":1}")), 0);
        assert_true(position_of(&w, soft, DURABILITY_HARD, json(&w, "{\"id\":1,\"a\":1}")) > 0);
        position = 0;
        position_of(&w, soft, DURABILITY_SOFT, json(&w, "{\"id\":1,\"a\":3}"));
        ok(w.source->sync(soft, &position));
        ok(store_sync(w.store, position));
        w.source->table_unref(soft);
        w.source->table_unref(t);
        w.catalog = table_source_close(w.catalog);
        status_ignore(store_close(take(w.store)));
        sim_crash(w.sim, SIM_DROP);
        world_open(&w);
        soft = find(&w, "test", "soft");
        assert_string_equal(text_of_value(&w, get(&w, soft, value_number(1))), "{\"a\":3,\"id\":1}");
        teardown(&w, soft);
}

/* --- reading --- */

static const char *scan(World *w, TableView *view, const KeyBounds *bounds, bool descending, uint64_t skip)
{
        TableScan *scan;
        ArrayBuilder ids;
        uint64_t skipped;
        array_init(&ids, &w->arena, 0);
        ok(w->source->scan_open(view, bounds, descending, &scan));
        ok(w->source->scan_skip(scan, skip, &skipped));
        for (;;) {
                Value row;
                ok(w->source->scan_next(scan, &w->arena, &row));
                if (value_is(row, V_NONE))
                        break;
                array_add(&ids, value_copy(value_get_str(row, "id"), &w->arena));
        }
        w->source->scan_close(scan);
        return text_of_value(w, array_take(&ids));
}

static void test_ranges(void **state)
{
        World w;
        TableRef *t;
        TableView *view;
        uint64_t n;
        Value row;
        setup(&w, &t);
        static const char *const rows[] = {"{\"id\":[1]}",   "{\"id\":[1,2]}",  "{\"id\":true}",
                                           "{\"id\":-1}",    "{\"id\":0}",      "{\"id\":1.5}",
                                           "{\"id\":\"a\"}", "{\"id\":\"ab\"}", "{\"id\":\"b\"}"};
        for (size_t i = 0; i < ELEMENTS(rows); i++) {
                Value doc = json(&w, rows[i]);
                assert_int_equal(put(&w, t, value_get_str(doc, "id"), doc).effect, ROW_INSERTED);
        }
        ok(w.source->view_open(t, &view));
        assert_string_equal(scan(&w, view, NULL, false, 0), "[[1],[1,2],true,-1,0,1.5,\"a\",\"ab\",\"b\"]");
        assert_string_equal(scan(&w, view, NULL, true, 7), "[[1,2],[1]]");
        KeyBounds b = {
                .low = value_number(-1), .low_type = BOUND_CLOSED, .high = value_str("ab"), .high_type = BOUND_OPEN};
        assert_string_equal(scan(&w, view, &b, false, 0), "[-1,0,1.5,\"a\"]");
        ok(w.source->view_count(view, &b, &n));
        assert_int_equal(n, 4);
        b.low_type = BOUND_OPEN;
        b.high_type = BOUND_CLOSED;
        assert_string_equal(scan(&w, view, &b, true, 1), "[\"a\",1.5,0]");
        b.low_type = BOUND_NONE;
        b.high = value_number(0);
        assert_string_equal(scan(&w, view, &b, false, 0), "[[1],[1,2],true,-1,0]");
        b = (KeyBounds){
                .low = value_minval(), .low_type = BOUND_CLOSED, .high = value_maxval(), .high_type = BOUND_CLOSED};
        ok(w.source->view_count(view, &b, &n));
        assert_int_equal(n, ELEMENTS(rows));
        b = (KeyBounds){
                .low = value_str("z"), .low_type = BOUND_CLOSED, .high = value_number(0), .high_type = BOUND_CLOSED};
        ok(w.source->view_count(view, &b, &n));
        assert_int_equal(n, 0);
        assert_string_equal(scan(&w, view, &b, false, 0), "[]");
        ok(w.source->view_nth(view, 3, &w.arena, &row));
        assert_string_equal(text_of_value(&w, row), "{\"id\":-1}");
        ok(w.source->view_nth(view, 99, &w.arena, &row));
        assert_int_equal(value_type(row), V_NONE);
        Value no_key = value_null();
        refused(w.source->view_get(view, no_key, &w.arena, &row), ERR_NON_EXISTENCE,
                "Primary keys must be either a number, string, bool, pseudotype or array (got type NULL):\nnull");
        /* A view stays what it was; versions tell. */
        uint64_t version = w.source->view_version(view);
        put(&w, t, value_number(5), json(&w, "{\"id\":5}"));
        TableView *later;
        ok(w.source->view_open(t, &later));
        assert_int_equal(w.source->view_version(view), version);
        assert_true(w.source->view_version(later) != version);
        ok(w.source->view_count(view, NULL, &n));
        assert_int_equal(n, ELEMENTS(rows));
        w.source->view_close(later);
        w.source->view_close(view);
        teardown(&w, t);
}

/* --- concurrent writers --- */

typedef struct Counter {
        World *w;
        TableRef *table;
        Thread thread;
        int rounds;
        bool quick;
} Counter;

static void count_up(void *arg)
{
        Counter *c = arg;
        Arena arena;
        arena_init(&arena, 0);
        for (int i = 0; i < c->rounds; i++) {
                Value keys[] = {value_number(0), value_number(1), value_number(2)};
                RowOutcome outcomes[3];
                Adder adder = {.field = "n", .fail_at = -1};
                WriteOptions options = {.durability = DURABILITY_SOFT, .quick = c->quick};
                uint64_t position = 0;
                Status st =
                        c->w->source->write(c->table, keys, 3, add_one, &adder, &options, &arena, outcomes, &position);
                if (st)
                        abort();
                for (int k = 0; k < 3; k++)
                        if (outcomes[k].effect != ROW_REPLACED)
                                abort();
                arena_reset(&arena);
        }
        arena_done(&arena);
}

static void check_increments(bool background)
{
        World w;
        TableRef *t;
        enum { THREADS = 4, ROUNDS = 300 };
        Counter counters[THREADS];
        world_init(&w, 12);
        w.background = background;
        world_open(&w);
        make_table(&w, "test", "t");
        t = find(&w, "test", "t");
        insert_many(&w, t, 3);
        for (int i = 0; i < THREADS; i++) {
                counters[i] = (Counter){.w = &w, .table = t, .rounds = ROUNDS, .quick = i == 0};
                ok(thread_start(&counters[i].thread, "counter", count_up, &counters[i]));
        }
        for (int i = 0; i < THREADS; i++)
                thread_join(&counters[i].thread);
        for (int k = 0; k < 3; k++)
                assert_int_equal((int)value_get_str(get(&w, t, value_number(k)), "n").number, THREADS * ROUNDS);
        teardown(&w, t);
}

static void test_no_increment_is_lost(void **state)
{
        check_increments(false);
        check_increments(true);
}

/* Another writer always wins against the snapshot: the fourth attempt holds the lock. */
typedef struct Rival {
        World *w;
        TableRef *table;
        size_t calls;
} Rival;

static Status lose(void *ctx, size_t index, Value old_row, Arena *arena, Value *ret)
{
        Rival *r = ctx;
        if (++r->calls <= 3) { /* without the lock: somebody else can write */
                Adder adder = {.field = "n", .fail_at = -1};
                Value key = value_number(0);
                RowOutcome outcome;
                WriteOptions options = {.quick = true};
                uint64_t position = 0;
                ok(r->w->source->write(r->table, &key, 1, add_one, &adder, &options, arena, &outcome, &position));
        }
        Adder adder = {.field = "n", .fail_at = -1};
        return add_one(&adder, index, old_row, arena, ret);
}

static void test_losing_three_times(void **state)
{
        World w;
        TableRef *t;
        setup(&w, &t);
        insert_many(&w, t, 1);
        Rival rival = {.w = &w, .table = t};
        Value key = value_number(0);
        RowOutcome outcome;
        WriteOptions options = {.want_rows = true};
        uint64_t position = 0;
        ok(w.source->write(t, &key, 1, lose, &rival, &options, &w.arena, &outcome, &position));
        assert_int_equal(rival.calls, 4);
        assert_string_equal(text_of_value(&w, outcome.old_row), "{\"id\":0,\"n\":3}");
        assert_string_equal(text_of_value(&w, get(&w, t, key)), "{\"id\":0,\"n\":4}");
        teardown(&w, t);
}

/* --- being thrown out of --- */

typedef struct Thrower {
        jmp_buf out;
        size_t at;
} Thrower;

static Status throw_at(void *ctx, size_t index, Value old_row, Arena *arena, Value *ret)
{
        Thrower *t = ctx;
        if (index == t->at)
                longjmp(t->out, 1);
        *ret = value_null();
        return ST_OK;
}

static void check_throw(bool quick)
{
        World w;
        TableRef *t;
        setup(&w, &t);
        insert_many(&w, t, 5);
        Value keys[] = {value_number(0), value_number(1), value_number(2)};
        RowOutcome outcomes[3];
        WriteGuard guard = {0};
        WriteOptions options = {.quick = quick, .guard = &guard};
        Thrower thrower = {.at = 2};
        uint64_t position = 0;
        if (setjmp(thrower.out) == 0) {
                ok(w.source->write(t, keys, 3, throw_at, &thrower, &options, &w.arena, outcomes, &position));
                fail_msg("not thrown");
        }
        assert_non_null(guard.undo);
        guard.undo(&guard);
        assert_int_equal(count(&w, t), 5); /* nothing was committed, and the lock is free: */
        assert_int_equal(put(&w, t, value_number(0), value_null()).effect, ROW_DELETED);
        teardown(&w, t);
}

static void test_thrown_out(void **state)
{
        check_throw(true);
        check_throw(false);
}

/* --- crashes --- */

/* Batches of rows: after a crash each acknowledged batch is there, and of the others no row is half a row. */
static void test_power_loss_while_writing(void **state)
{
        bool fired = true;
        for (long n = 1; fired; n++) {
                World w;
                TableRef *t;
                enum { BATCHES = 4, EACH = 3 };
                int acknowledged = 0;
                world_init(&w, (uint64_t)n);
                world_open(&w);
                make_table(&w, "test", "t");
                t = find(&w, "test", "t");
                uint64_t made = 0;
                ok(w.source->sync(t, &made));
                ok(store_sync(w.store, made));
                sim_fail_nth(w.sim, n, SIM_FAIL_POWER);
                for (int b = 0; b < BATCHES; b++) {
                        Value keys[EACH], rows[EACH];
                        RowOutcome outcomes[EACH];
                        for (int i = 0; i < EACH; i++) {
                                Field *field = arena_array(&w.arena, Field, 1);
                                keys[i] = value_number(b * EACH + i);
                                *field = (Field){BYTES_STR("id"), keys[i]};
                                rows[i] = value_object_sorted(field, 1);
                        }
                        WriteOptions options = {.quick = b % 2};
                        uint64_t position = 0;
                        Status st =
                                w.source->write(t, keys, EACH, test_set, rows, &options, &w.arena, outcomes, &position);
                        if (!st)
                                st = store_sync(w.store, position);
                        if (st) {
                                status_ignore(st);
                                break;
                        }
                        acknowledged++;
                }
                fired = sim_fired(w.sim);
                w.source->table_unref(t);
                w.catalog = table_source_close(w.catalog);
                status_ignore(store_close(take(w.store)));
                sim_heal(w.sim);
                sim_crash(w.sim, n % 2 ? SIM_DROP : SIM_TEAR);
                world_open(&w);
                t = find(&w, "test", "t");
                uint64_t rows = count(&w, t);
                assert_true(rows >= (uint64_t)acknowledged * EACH);
                assert_int_equal(rows % EACH, 0); /* a batch is one commit */
                teardown(&w, t);
        }
}

/* Whichever allocation fails: all of the batch or nothing, and the table can be written again. */
static void sweep_allocations(bool quick)
{
        bool fired = true;
        for (long n = 1; fired; n++) {
                World w;
                TableRef *t;
                Value keys[] = {value_number(1), value_number(2)}, rows[2];
                RowOutcome outcomes[2] = {0};
                WriteOptions options = {.quick = quick};
                uint64_t position = 0;
                setup(&w, &t);
                rows[0] = json(&w, "{\"id\":1}");
                rows[1] = json(&w, "{\"id\":2}");
                arena_alloc(&w.arena, 32 << 10); /* so that the arena itself need not grow */
                mem_fail_nth(n);
                Status st = w.source->write(t, keys, 2, test_set, rows, &options, &w.arena, outcomes, &position);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                assert_true(fired || !st);
                assert_int_equal(count(&w, t), st ? 0 : 2);
                status_ignore(st);
                assert_int_equal(put(&w, t, keys[0], value_null()).effect, st ? ROW_SKIPPED : ROW_DELETED);
                assert_int_equal(put(&w, t, keys[0], rows[0]).effect, ROW_INSERTED);
                teardown(&w, t);
        }
}

static void test_out_of_memory_at_every_allocation(void **state)
{
        sweep_allocations(true);
        sweep_allocations(false);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_effects),
                cmocka_unit_test(test_what_a_row_must_be),
                cmocka_unit_test(test_batch),
                cmocka_unit_test(test_large_rows),
                cmocka_unit_test(test_durability),
                cmocka_unit_test(test_ranges),
                cmocka_unit_test(test_no_increment_is_lost),
                cmocka_unit_test(test_losing_three_times),
                cmocka_unit_test(test_thrown_out),
                cmocka_unit_test(test_power_loss_while_writing),
                cmocka_unit_test(test_out_of_memory_at_every_allocation),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
