/* ttl_test.c - rows that expire: the setting in its words, what goes and what stays as a clock is turned by hand,
 * backlogs in batches, restarts, drops and other settings in between, a model, and the same without memory, power and
 * peace. */
#include "table/ttl.h"
#include "table/table_index_test.h"

#define SECOND INT64_C(1000000)
#define START  (1000000 * SECOND) /* the clock at the beginning of each test */

static World w;

static int setup(void **state)
{
        world_init(&w, 7);
        w.by_hand = true;
        sim_set_wall_us(w.sim, START);
        world_open(&w);
        return 0;
}

static int teardown(void **state)
{
        world_done(&w);
        return 0;
}

static void reopen(TableRef **t)
{
        char name[64];
        snprintf(name, sizeof name, "%s", (const char *)(*t)->info.name.data);
        w.source->table_unref(*t);
        world_close(&w);
        world_open(&w);
        *t = find(&w, "test", name);
}

static void clock_at(int64_t seconds_after_start)
{
        sim_set_wall_us(w.sim, START + seconds_after_start * SECOND);
}

static Status try_make(World *world, const char *name, const char *options)
{
        Value result;
        uint64_t position = 0;
        return world->source->table_create(world->catalog, BYTES_STR("test"), BYTES_STR(name), json(world, options),
                                           &world->arena, &result, &position);
}

static TableRef *expiring(const char *name, const char *ttl)
{
        ok(try_make(&w, name, arena_printf(&w.arena, "{\"ttl\":%s}", ttl)));
        return find(&w, "test", name);
}

/* A write to the table's row of table_config. ttl NULL: the field is left out. */
static Status try_configure(World *world, TableRef *t, const char *ttl)
{
        Value row;
        RowOutcome outcome = {0};
        uint64_t position = 0;
        WriteOptions options = {.quick = true};
        TRY(world->source->config(world->catalog, t->info.db, t->info.name, &world->arena, &row));
        ObjectBuilder to;
        object_init(&to, &world->arena, value_count(row) + 1);
        for (size_t i = 0; i < value_count(row); i++) {
                Bytes key;
                Value v = value_field_at(row, i, &key);
                if (!bytes_equal(key, BYTES_STR("ttl")))
                        object_add(&to, key, v);
        }
        if (ttl)
                object_add_str(&to, "ttl", json(world, ttl));
        Value key = value_get_str(row, "id"), new_row = object_take(&to);
        TableRef *config = find(world, "rethinkdb", "table_config");
        Status st =
                world->source->write(config, &key, 1, test_set, &new_row, &options, &world->arena, &outcome, &position);
        world->source->table_unref(config);
        if (!st)
                return outcome.error;
        status_ignore(outcome.error);
        return st;
}

static void configure(TableRef **t, const char *ttl)
{
        ok(try_configure(&w, *t, ttl));
        char name[64];
        snprintf(name, sizeof name, "%s", (const char *)(*t)->info.name.data);
        w.source->table_unref(*t);
        *t = find(&w, "test", name);
}

static const char *ttl_of(TableRef *t)
{
        Value row;
        ok(w.source->config(w.catalog, t->info.db, t->info.name, &w.arena, &row));
        Value ttl = value_get_str(row, "ttl");
        return value_is(ttl, V_NONE) ? NULL : text_of_value(&w, ttl);
}

static void put_row(TableRef *t, unsigned id, Value when)
{
        Field fields[] = {{BYTES_STR("at"), when}, {BYTES_STR("id"), value_number(id)}};
        bool has = !value_is(when, V_NONE);
        RowOutcome outcome = put(&w, t, value_number(id), value_object_sorted(fields + !has, 1 + has));
        assert_null(outcome.error);
}

static Value in_seconds(int64_t after_start)
{
        return value_number((double)(START / SECOND + after_start));
}

static Status try_expire(World *world, unsigned *ret_steps)
{
        bool more = true;
        *ret_steps = 0;
        while (more) {
                TRY(ttl_step(world->catalog, &more));
                ++*ret_steps;
        }
        return ST_OK;
}

static void expire(void)
{
        unsigned steps;
        ok(try_expire(&w, &steps));
}

static bool has_row(TableRef *t, unsigned id)
{
        return !value_is(get(&w, t, value_number(id)), V_NULL);
}

/* --- the setting --- */

static void test_setting(void **state)
{
        static const struct {
                const char *ttl, *message;
        } wrong[] = {
                {"5", "Option `ttl`: Expected {field: STRING, seconds: NUMBER} or null; got 5"},
                {"{}", "Option `ttl`: Expected {field: STRING, seconds: NUMBER} or null; got {}"},
                {"{\"field\":\"a\",\"seconds\":-1}", "Option `ttl`: `seconds` must not be negative; got -1"},
        };
        static const char *const others[] = {"{\"field\":\"\",\"seconds\":1}", "{\"field\":1,\"seconds\":1}",
                                             "{\"field\":\"a\",\"seconds\":\"1\"}", "{\"field\":\"a\"}",
                                             "{\"field\":\"a\",\"seconds\":1,\"more\":1}"};
        for (size_t i = 0; i < ELEMENTS(wrong); i++)
                refused(try_make(&w, "wrong", arena_printf(&w.arena, "{\"ttl\":%s}", wrong[i].ttl)), ERR_LOGIC,
                        wrong[i].message);
        for (size_t i = 0; i < ELEMENTS(others); i++)
                refused(try_make(&w, "wrong", arena_printf(&w.arena, "{\"ttl\":%s}", others[i])), ERR_LOGIC, NULL);
        TableRef *t = expiring("t", "{\"field\":\"at\",\"seconds\":1.5}");
        TableRef *plain = expiring("plain", "null");
        assert_string_equal(ttl_of(t), "{\"field\":\"at\",\"seconds\":1.5}");
        assert_null(ttl_of(plain));
        refused(try_configure(&w, plain, "{\"field\":\"at\",\"seconds\":-2}"), ERR_OP_FAILED,
                "The change you're trying to make to `rethinkdb.table_config` has the wrong format. In `ttl`: "
                "`seconds` must not be negative; got -2");
        refused(try_configure(&w, plain, "[]"), ERR_OP_FAILED,
                "The change you're trying to make to `rethinkdb.table_config` has the wrong format. In `ttl`: Expected "
                "{field: STRING, seconds: NUMBER} or null; got []");
        configure(&plain, "{\"field\":\"b\",\"seconds\":0}");
        assert_string_equal(ttl_of(plain), "{\"field\":\"b\",\"seconds\":0}");
        configure(&plain, "null");
        assert_null(ttl_of(plain));
        configure(&plain, "{\"field\":\"b\",\"seconds\":7}");
        configure(&plain, NULL);
        assert_null(ttl_of(plain));
        w.source->table_unref(plain);
        /* Other settings leave it alone, and so does a restart. */
        Value result;
        uint64_t position = 0;
        ok(w.source->reconfigure(w.catalog, BYTES_STR("test"), BYTES_STR("t"), json(&w, "{\"shards\":2}"), &w.arena,
                                 &result, &position));
        assert_string_equal(ttl_of(t), "{\"field\":\"at\",\"seconds\":1.5}");
        reopen(&t);
        assert_string_equal(ttl_of(t), "{\"field\":\"at\",\"seconds\":1.5}");
        /* Its index is nobody's business. */
        const IndexInfo *infos;
        assert_int_equal(w.source->index_list(t, &infos), 0);
        assert_string_equal(status_text_of(&w, t, NULL), "[]");
        w.source->table_unref(t);
}

/* --- what goes and what stays --- */

static void test_what_expires(void **state)
{
        TableRef *t = expiring("t", "{\"field\":\"at\",\"seconds\":10}");
        create(&w, t, "at", FUNC(ROW("at")), false, false);
        ok(try_build_all(&w));
        put_row(t, 1, in_seconds(0));
        put_row(t, 2, value_time(&w.arena, (double)(START / SECOND) + 1, BYTES_STR("+05:00")));
        put_row(t, 3, value_none());
        put_row(t, 4, value_str("2000-01-01"));
        put_row(t, 5, value_null());
        put_row(t, 6, in_seconds(100));
        put_row(t, 7, in_seconds(-1000000));
        expire();
        assert_int_equal(count(&w, t), 6); /* 7 was late when it came */
        sim_set_wall_us(w.sim, START + 10 * SECOND - 1);
        expire();
        assert_int_equal(count(&w, t), 6);
        clock_at(10);
        expire();
        assert_false(has_row(t, 1));
        assert_true(has_row(t, 2));
        clock_at(11);
        expire();
        assert_false(has_row(t, 2));
        clock_at(-500); /* the clock jumps back: nothing happens until it is there again */
        put_row(t, 8, in_seconds(-500));
        expire();
        assert_true(has_row(t, 8));
        clock_at(50);
        put_row(t, 8, in_seconds(45)); /* it was due, and is not any more */
        expire();
        assert_true(has_row(t, 8));
        assert_string_equal(scanned(&w, t, "at", NULL, false), "[8,6,4]");
        check_agreement(&w, t);
        clock_at(100000);
        expire();
        for (unsigned id = 1; id <= 8; id++)
                assert_int_equal(has_row(t, id), id >= 3 && id <= 5);
        check_agreement(&w, t);
        uint64_t rows, batches;
        table_source_expired(w.catalog, &rows, &batches);
        assert_int_equal(rows, 5);
        w.source->table_unref(t);
}

/* No write hook is asked: one that refuses deletions keeps nothing. */
static void test_write_hook(void **state)
{
        Value result;
        uint64_t position = 0;
        TableRef *t = expiring("t", "{\"field\":\"at\",\"seconds\":0}");
        put_row(t, 1, in_seconds(5));
        ok(w.source->write_hook_set(t, BYTES_STR("[69,[[2,[1,2,3]],[12,[\"no\"]]]]"), &w.arena, &result, &position));
        RowOutcome outcome = put(&w, t, value_number(1), value_null());
        assert_non_null(outcome.error);
        status_ignore(outcome.error);
        clock_at(5);
        expire();
        assert_int_equal(count(&w, t), 0);
        w.source->table_unref(t);
}

/* --- settings that change --- */

static void test_changes(void **state)
{
        unsigned steps;
        make_table(&w, "test", "t");
        TableRef *t = find(&w, "test", "t");
        for (unsigned i = 0; i < 1000; i++)
                put_row(t, i, in_seconds((int64_t)i));
        clock_at(100);
        expire();
        assert_int_equal(count(&w, t), 1000);
        configure(&t, "{\"field\":\"at\",\"seconds\":0}");
        expire();
        assert_int_equal(count(&w, t), 1000); /* the index is being built */
        bool more;
        ok(build_step(w.catalog, &more));
        put_row(t, 1, in_seconds(5000));
        reopen(&t);
        ok(try_build_all(&w));
        expire();
        assert_int_equal(count(&w, t), 1000 - 100);
        assert_true(has_row(t, 1));
        /* Other seconds, the same index. */
        configure(&t, "{\"field\":\"at\",\"seconds\":50}");
        ok(build_step(w.catalog, &more));
        assert_false(more);
        clock_at(200);
        expire();
        assert_int_equal(count(&w, t), 1000 - 150);
        configure(&t, "{\"field\":\"at\",\"seconds\":20}");
        expire();
        assert_int_equal(count(&w, t), 1000 - 180);
        /* Another field: what the index had is gone. */
        configure(&t, "{\"field\":\"id\",\"seconds\":0}");
        ok(try_build_all(&w));
        expire();
        assert_int_equal(count(&w, t), 0);
        /* None, in the middle of a round. */
        configure(&t, "{\"field\":\"at\",\"seconds\":0}");
        ok(try_build_all(&w));
        for (unsigned i = 0; i < 600; i++)
                put_row(t, i, in_seconds(0));
        ok(ttl_step(w.catalog, &more));
        ok(ttl_step(w.catalog, &more));
        assert_true(more);
        assert_int_equal(count(&w, t), 600 - 256);
        configure(&t, "null");
        ok(try_expire(&w, &steps));
        assert_int_equal(count(&w, t), 600 - 256);
        check_agreement(&w, t);
        w.source->table_unref(t);
}

static void test_dropped(void **state)
{
        bool more;
        Value result;
        uint64_t position = 0;
        TableRef *t = expiring("t", "{\"field\":\"at\",\"seconds\":0}");
        TableRef *other = expiring("other", "{\"field\":\"at\",\"seconds\":0}");
        for (unsigned i = 0; i < 600; i++) {
                put_row(t, i, in_seconds(-1));
                put_row(other, i, in_seconds(-1));
        }
        for (unsigned i = 0; i < 3; i++) /* a look, and a batch of each */
                ok(ttl_step(w.catalog, &more));
        assert_int_equal(count(&w, t), 600 - 256);
        assert_int_equal(count(&w, other), 600 - 256);
        ok(w.source->table_drop(w.catalog, BYTES_STR("test"), BYTES_STR("t"), &w.arena, &result, &position));
        expire();
        assert_int_equal(count(&w, other), 0);
        w.source->table_unref(t);
        w.source->table_unref(other);
}

/* A backlog goes in batches of bounded size, and a restart goes on with it. */
static void test_backlog(void **state)
{
        enum { MANY = 3000 };
        TableRef *t = expiring("t", "{\"field\":\"at\",\"seconds\":1}");
        for (unsigned i = 0; i < MANY; i++)
                put_row(t, i, in_seconds((int64_t)i % 7));
        clock_at(100);
        uint64_t before = MANY;
        for (unsigned steps = 0; before > 0; steps++) {
                bool more;
                ok(ttl_step(w.catalog, &more));
                uint64_t now = count(&w, t);
                assert_true(now <= before && before - now <= 256);
                assert_true(more || now == 0);
                before = now;
                if (steps == 5)
                        reopen(&t);
                assert_true(steps < 20);
        }
        /* Large rows make small batches. */
        char *text = arena_alloc(&w.arena, 300000);
        memset(text, 'x', 300000);
        for (unsigned i = 0; i < 20; i++) {
                Field fields[] = {{BYTES_STR("at"), in_seconds(0)},
                                  {BYTES_STR("id"), value_number(i)},
                                  {BYTES_STR("text"), value_string(BYTES(text, 300000))}};
                assert_null(put(&w, t, value_number(i), value_object_sorted(fields, 3)).error);
        }
        for (uint64_t left = 20; left > 0;) {
                bool more;
                ok(ttl_step(w.catalog, &more));
                uint64_t now = count(&w, t);
                assert_true(left - now <= 4);
                left = now;
        }
        w.source->table_unref(t);
}

/* --- against a model --- */

enum { KEYS = 50 };

static uint64_t random_state;

static unsigned pick(unsigned n)
{
        random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        return (unsigned)(random_state >> 33) % n;
}

typedef struct ModelRow {
        bool there, timed;
        int64_t at;
} ModelRow;

static void run_model(unsigned seed)
{
        static const int seconds[] = {0, 3, 20};
        ModelRow rows[KEYS] = {0};
        int64_t now = 0;
        int set = -1; /* which of `seconds`; -1: nothing expires */
        random_state = seed;
        make_table(&w, "test", "t");
        TableRef *t = find(&w, "test", "t");
        for (unsigned step = 0; step < 200; step++) {
                unsigned what = pick(20), id = pick(KEYS);
                bool more;
                if (what < 9) {
                        ModelRow row = {.there = true, .timed = pick(5) != 0, .at = now + (int64_t)pick(30) - 15};
                        put_row(t, id, row.timed ? in_seconds(row.at) : value_none());
                        rows[id] = row;
                } else if (what < 10) {
                        put(&w, t, value_number(id), value_null());
                        rows[id] = (ModelRow){0};
                } else if (what < 11) {
                        set = (int)pick(4) - 1;
                        configure(&t,
                                  set < 0 ? "null"
                                          : arena_printf(&w.arena, "{\"field\":\"at\",\"seconds\":%d}", seconds[set]));
                } else if (what < 13) {
                        ok(build_step(w.catalog, &more));
                } else if (what < 15) {
                        now += (int64_t)pick(12) - 2;
                        clock_at(now);
                } else if (what < 16 && pick(4) == 0) {
                        reopen(&t);
                } else {
                        if (pick(2))
                                ok(try_build_all(&w));
                        expire();
                }
                /* What is gone was due; what is due is gone when the index is ready and a round is over. */
                bool all = what >= 16 && set >= 0 && t->schema->ttl.ready;
                for (unsigned i = 0; i < KEYS; i++) {
                        bool there = has_row(t, i);
                        bool due = set >= 0 && rows[i].timed && rows[i].at + seconds[set] <= now;
                        assert_true(there == rows[i].there || (!there && due));
                        assert_false(there && due && all);
                        if (!there)
                                rows[i] = (ModelRow){0};
                }
                arena_reset(&w.arena);
        }
        ok(try_build_all(&w));
        check_agreement(&w, t);
        w.source->table_unref(t);
}

static void test_against_a_model(void **state)
{
        for (unsigned seed = 1; seed <= 30; seed++) {
                setup(state);
                run_model(seed);
                teardown(state);
        }
}

/* --- when memory and power are lacking --- */

static jmp_buf out_of_memory;
static WriteGuard guard;

NORETURN static void jump(void *ctx, bool over_budget)
{
        longjmp(out_of_memory, 1);
}

static Status write_rows(World *world, TableRef *table, unsigned first, unsigned count_, int64_t from)
{
        Value *keys = arena_array(&world->arena, Value, count_), *to = arena_array(&world->arena, Value, count_);
        RowOutcome *outcomes = arena_zalloc(&world->arena, count_ * sizeof *outcomes);
        WriteOptions options = {.quick = true, .guard = &guard};
        uint64_t position = 0;
        for (unsigned i = 0; i < count_; i++) {
                Field *fields = arena_array(&world->arena, Field, 2);
                fields[0] = (Field){BYTES_STR("at"), in_seconds(from + i % 10)};
                fields[1] = (Field){BYTES_STR("id"), value_number(first + i)};
                keys[i] = value_number(first + i);
                to[i] = value_object_sorted(fields, 2);
        }
        Status st =
                world->source->write(table, keys, count_, test_set, to, &options, &world->arena, outcomes, &position);
        for (unsigned i = 0; i < count_; i++)
                if (outcomes[i].error && !st)
                        st = outcomes[i].error;
                else
                        status_ignore(outcomes[i].error);
        return st;
}

static Status try_history(World *world, TableRef *table)
{
        unsigned steps;
        bool more;
        TRY(try_configure(world, table, "{\"field\":\"at\",\"seconds\":5}"));
        TRY(try_make(world, "more", "{\"ttl\":{\"field\":\"at\",\"seconds\":0}}"));
        TRY(build_step(world->catalog, &more));
        TRY(write_rows(world, table, 20, 20, 100));
        TRY(store_step(world->store));
        TRY(try_build_all(world));
        TRY(try_expire(world, &steps));
        TRY(store_checkpoint(world->store));
        TRY(try_configure(world, table, "{\"field\":\"at\",\"seconds\":0}"));
        TRY(try_expire(world, &steps));
        TRY(try_configure(world, table, "null"));
        TRY(store_checkpoint(world->store));
        return store_step(world->store);
}

static void begin_history(World *world, uint64_t seed, TableRef **ret_table)
{
        world_init(world, seed);
        world->by_hand = true;
        sim_set_wall_us(world->sim, START);
        world_open(world);
        make_table(world, "test", "t");
        *ret_table = find(world, "test", "t");
        guard = (WriteGuard){0};
        ok(write_rows(world, *ret_table, 0, 40, -9));
        ok(store_step(world->store));
}

/* Rows 20 to 39 have times behind the clock, or had some around the one before: what is there agrees with the indexes,
 * and nothing is lost that was not due. */
static void check_history(World *world, TableRef *table)
{
        check_agreement(world, table);
        for (unsigned id = 0; id < 40; id++) {
                Value row = get(world, table, value_number(id));
                assert_true(!value_is(row, V_NULL) || -9 + (int64_t)(id % 10) <= 0);
        }
}

static Status failing_history(World *world, TableRef *table, long n)
{
        arena_on_oom(&world->arena, jump, NULL);
        if (setjmp(out_of_memory) == 0) {
                mem_fail_nth(n);
                return try_history(world, table);
        }
        if (guard.undo)
                guard.undo(&guard);
        return ST_OK;
}

static void test_out_of_memory(void **state)
{
        for (long n = 1, fired = 1; fired; n += n < 300 ? 1 : 5) {
                World world;
                TableRef *table;
                begin_history(&world, 3, &table);
                Status st = failing_history(&world, table, n);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                assert_true(fired || !st);
                status_ignore(st);
                ok(store_step(world.store));
                ok(try_build_all(&world));
                unsigned steps;
                ok(try_expire(&world, &steps));
                /* The other table would be missing from what is verified here. */
                Value result;
                uint64_t position = 0;
                status_ignore(world.source->table_drop(world.catalog, BYTES_STR("test"), BYTES_STR("more"),
                                                       &world.arena, &result, &position));
                world.source->table_unref(table);
                table = find(&world, "test", "t");
                check_history(&world, table);
                world.source->table_unref(table);
                world_done(&world);
        }
}

static void test_power_loss(void **state)
{
        for (long n = 1, fired = 1; fired; n++) {
                World world;
                TableRef *table;
                unsigned steps;
                Value result;
                uint64_t position = 0;
                begin_history(&world, (uint64_t)n, &table);
                sim_fail_nth(world.sim, n, SIM_FAIL_POWER);
                Status st = try_history(&world, table);
                fired = sim_fired(world.sim);
                assert_true(fired || !st);
                status_ignore(st);
                world.source->table_unref(table);
                world_close(&world);
                sim_heal(world.sim);
                sim_crash(world.sim, n % 2 ? SIM_DROP : SIM_TEAR);
                world_open(&world);
                ok(try_build_all(&world));
                ok(try_expire(&world, &steps));
                status_ignore(world.source->table_drop(world.catalog, BYTES_STR("test"), BYTES_STR("more"),
                                                       &world.arena, &result, &position));
                table = find(&world, "test", "t");
                check_history(&world, table);
                world.source->table_unref(table);
                world_done(&world);
        }
}

/* --- threads --- */

typedef struct Worker {
        World *w;
        unsigned number;
        Thread thread;
} Worker;

static RowOutcome put_at(World *world, TableRef *table, Arena *arena, unsigned id, double at)
{
        Field fields[] = {{BYTES_STR("at"), value_number(at)}, {BYTES_STR("id"), value_number(id)}};
        Value key = value_number(id), row = value_object_sorted(fields, 2);
        RowOutcome outcome = {0};
        WriteOptions options = {.quick = true};
        uint64_t position = 0;
        ok(world->source->write(table, &key, 1, test_set, &row, &options, arena, &outcome, &position));
        assert_null(outcome.error);
        return outcome;
}

/* Every row is due when it is written, and then renewed: those that came in time stay. */
static void renewer_main(void *arg)
{
        Worker *worker = arg;
        TableRef *table = find(worker->w, "test", "t");
        Arena arena;
        arena_init(&arena, 0);
        for (unsigned i = 0; i < 400; i++) {
                arena_reset(&arena);
                unsigned id = worker->number * 1000 + i;
                put_at(worker->w, table, &arena, id, 0);
                if (i % 2)
                        put_at(worker->w, table, &arena, id, 1e15);
        }
        arena_done(&arena);
        worker->w->source->table_unref(table);
}

static void test_threads(void **state)
{
        World world;
        Worker workers[2];
        world_init(&world, 9);
        world.background = true;
        sim_set_wall_us(world.sim, START);
        world_open(&world);
        ok(try_make(&world, "t", "{\"ttl\":{\"field\":\"at\",\"seconds\":1}}"));
        for (unsigned i = 0; i < ELEMENTS(workers); i++) {
                workers[i] = (Worker){.w = &world, .number = i};
                ok(thread_start(&workers[i].thread, "renewer", renewer_main, &workers[i]));
        }
        TableRef *table = find(&world, "test", "t");
        for (unsigned i = 0; i < 4; i++) {
                ok(try_configure(&world, table, i % 2 ? "{\"field\":\"at\",\"seconds\":1}" : "null"));
                ttl_wake(world.catalog);
        }
        for (unsigned i = 0; i < ELEMENTS(workers); i++)
                thread_join(&workers[i].thread);
        while (count(&world, table) > 400)
                ttl_wake(world.catalog);
        for (unsigned i = 0; i < 400; i++)
                for (unsigned k = 0; k < 2; k++)
                        assert_int_equal(!value_is(get(&world, table, value_number(k * 1000 + i)), V_NULL), i % 2);
        world.source->table_unref(table);
        table = find(&world, "test", "t");
        check_agreement(&world, table);
        world.source->table_unref(table);
        world_done(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_setting, setup, teardown),
                cmocka_unit_test_setup_teardown(test_what_expires, setup, teardown),
                cmocka_unit_test_setup_teardown(test_write_hook, setup, teardown),
                cmocka_unit_test_setup_teardown(test_changes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_dropped, setup, teardown),
                cmocka_unit_test_setup_teardown(test_backlog, setup, teardown),
                cmocka_unit_test(test_against_a_model),
                cmocka_unit_test(test_out_of_memory),
                cmocka_unit_test(test_power_loss),
                cmocka_unit_test(test_threads),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
