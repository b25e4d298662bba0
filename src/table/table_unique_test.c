/* table_unique_test.c - unique indexes: what is refused and in which words, values that are cut, builds that meet two
 * rows with one value, everything beside a model, and the same when threads race, memory fails and the power goes. */
#include "table/table_index_test.h"

#include "value/key.h"

static World w;

static int setup(void **state)
{
        world_init(&w, 7);
        w.by_hand = true;
        world_open(&w);
        return 0;
}

static int teardown(void **state)
{
        world_done(&w);
        return 0;
}

static TableRef *fresh(const char *name)
{
        make_table(&w, "test", name);
        return find(&w, "test", name);
}

static void renew(TableRef **table)
{
        char name[64];
        snprintf(name, sizeof name, "%s", (const char *)(*table)->info.name.data);
        w.source->table_unref(*table);
        *table = find(&w, "test", name);
}

/* NULL, or the error's message. */
static const char *put_text(TableRef *table, const char *text)
{
        Value row = json(&w, text);
        RowOutcome outcome = put(&w, table, value_get_str(row, "id"), row);
        if (!outcome.error)
                return NULL;
        assert_int_equal(outcome.effect, ROW_FAILED);
        assert_int_equal(status_code(outcome.error), ERR_OP_FAILED);
        const char *message = arena_printf(&w.arena, "%s", status_message(outcome.error));
        status_ignore(outcome.error);
        return message;
}

#define accepted(table, text)         assert_null(put_text(table, text))
#define denied(table, text, message_) assert_string_equal(put_text(table, text), message_)

static TableRef *unique_table(const char *name, const char *function, bool multi)
{
        TableRef *t = fresh(name);
        ok(try_create_unique(&w, t, "u", function, multi));
        ok(try_build_all(&w));
        renew(&t);
        return t;
}

static void test_simple(void **state)
{
        TableRef *t = unique_table("simple", SIMPLE, false);
        accepted(t, "{\"id\":1,\"a\":\"x\"}");
        denied(t, "{\"id\":2,\"a\":\"x\"}",
               "Duplicate value in unique index `u`: \"x\" is that of the row with primary key 1.");
        /* What is not in the index is not restricted. */
        for (unsigned id = 10; id < 20; id++)
                accepted(t, arena_printf(&w.arena, "{\"id\":%u%s}", id, id % 2 ? ",\"a\":null" : ""));
        accepted(t, "{\"id\":2,\"a\":\"y\"}");
        accepted(t, "{\"id\":1,\"a\":\"x\",\"b\":1}"); /* its own value */
        denied(t, "{\"id\":1,\"a\":\"y\",\"b\":1}",
               "Duplicate value in unique index `u`: \"y\" is that of the row with primary key 2.");
        assert_string_equal(text_of_value(&w, get(&w, t, value_number(1))), "{\"a\":\"x\",\"b\":1,\"id\":1}");
        accepted(t, "{\"id\":1,\"a\":\"z\"}");
        accepted(t, "{\"id\":3,\"a\":\"x\"}"); /* it is free again */
        put(&w, t, value_number(3), value_null());
        accepted(t, "{\"id\":4,\"a\":\"x\"}");
        /* Numbers are equal as ReQL has it. */
        accepted(t, "{\"id\":5,\"a\":0}");
        denied(t, "{\"id\":6,\"a\":-0.0}",
               "Duplicate value in unique index `u`: 0 is that of the row with primary key 5.");
        const char *status = status_text_of(&w, t, "u");
        assert_non_null(strstr(status, "\"unique\":true"));
        assert_non_null(strstr(status, ", {unique: true})\""));
        w.source->table_unref(t);
}

static RowOutcome *put_many(TableRef *t, const char *rows_text, bool quick)
{
        Value rows = json(&w, rows_text);
        size_t count = value_count(rows);
        Value *keys = arena_array(&w.arena, Value, count), *to = arena_array(&w.arena, Value, count);
        RowOutcome *outcomes = arena_zalloc(&w.arena, count * sizeof *outcomes);
        WriteOptions options = {.quick = quick, .want_rows = true};
        uint64_t position = 0;
        for (size_t i = 0; i < count; i++) {
                to[i] = value_at(rows, i);
                keys[i] = value_get_str(to[i], "id");
        }
        ok(w.source->write(t, keys, count, test_set, to, &options, &w.arena, outcomes, &position));
        return outcomes;
}

/* Each row is by itself: a later one sees what those before it have done. */
static void test_batches(void **state)
{
        for (unsigned quick = 0; quick < 2; quick++) {
                TableRef *t = unique_table(quick ? "quick" : "slow", SIMPLE, false);
                RowOutcome *o = put_many(t, "[{\"id\":1,\"a\":1},{\"id\":2,\"a\":1},{\"id\":3,\"a\":3}]", quick);
                assert_int_equal(o[0].effect, ROW_INSERTED);
                assert_int_equal(o[1].effect, ROW_FAILED);
                assert_true(value_is(o[1].old_row, V_NULL) && value_is(o[1].new_row, V_NULL));
                assert_int_equal(o[2].effect, ROW_INSERTED);
                status_ignore(o[1].error);
                /* Two rows do not swap their values ... */
                o = put_many(t, "[{\"id\":1,\"a\":3},{\"id\":3,\"a\":1}]", quick);
                for (unsigned i = 0; i < 2; i++) {
                        assert_int_equal(o[i].effect, ROW_FAILED);
                        assert_true(value_equal(o[i].old_row, o[i].new_row));
                        status_ignore(o[i].error);
                }
                /* ... but pass one on. */
                o = put_many(t, "[{\"id\":1,\"a\":5},{\"id\":3,\"a\":1}]", quick);
                assert_int_equal(o[0].effect, ROW_REPLACED);
                assert_int_equal(o[1].effect, ROW_REPLACED);
                assert_string_equal(scanned(&w, t, "u", NULL, false), "[3,1]");
                w.source->table_unref(t);
        }
}

static void test_multi_and_compound(void **state)
{
        TableRef *t = unique_table("multi", MULTI, true);
        accepted(t, "{\"id\":1,\"m\":[\"a\",\"b\",\"a\"]}"); /* twice in one row */
        accepted(t, "{\"id\":1,\"m\":[\"b\",\"a\"]}");
        denied(t, "{\"id\":2,\"m\":[\"c\",\"b\"]}",
               "Duplicate value in unique index `u`: \"b\" is that of the row with primary key 1.");
        accepted(t, "{\"id\":2,\"m\":[\"c\",null,[\"a\"]]}");
        /* One value very often in one row. */
        char *many = arena_alloc(&w.arena, 40000), *end = many + sprintf(many, "{\"id\":9,\"m\":[7");
        for (unsigned i = 0; i < 5000; i++)
                end += sprintf(end, ",7");
        sprintf(end, "]}");
        accepted(t, many);
        ok(try_create_unique(&w, t, "v", MULTI, true));
        renew(&t);
        sprintf(end, ",8]}");
        accepted(t, many); /* into an index that is being built all of it is put */
        sprintf(end, ",8,9]}");
        accepted(t, many);
        ok(try_build_all(&w));
        denied(t, "{\"id\":10,\"m\":[7]}",
               "Duplicate value in unique index `u`: 7 is that of the row with primary key 9.");
        denied(t, "{\"id\":3,\"m\":\"c\"}",
               "Duplicate value in unique index `u`: \"c\" is that of the row with primary key 2.");
        w.source->table_unref(t);
        t = unique_table("compound", COMPOUND, false);
        accepted(t, "{\"id\":\"x\",\"a\":1,\"b\":2}");
        accepted(t, "{\"id\":\"y\",\"a\":2,\"b\":1}");
        accepted(t, "{\"id\":\"z\",\"a\":1}");
        accepted(t, "{\"id\":\"q\",\"a\":1}");
        denied(t, "{\"id\":\"z\",\"a\":1,\"b\":2}",
               "Duplicate value in unique index `u`: [1,2] is that of the row with primary key \"x\".");
        w.source->table_unref(t);
}

/* A text that begins as `same` others do. */
static const char *long_row(unsigned id, size_t same, const char *end)
{
        char *text = arena_alloc(&w.arena, same + 1);
        memset(text, 'x', same);
        text[same] = 0;
        return arena_printf(&w.arena, "{\"id\":%u,\"a\":\"%s%s\"}", id, text, end);
}

static void test_long_values(void **state)
{
        TableRef *t = unique_table("long", SIMPLE, false);
        for (unsigned i = 0; i < 50; i++)
                accepted(t, long_row(i, 190 + i, i % 2 ? "a" : "b"));
        for (unsigned i = 0; i < 50; i++)
                assert_non_null(put_text(t, long_row(100 + i, 190 + i, i % 2 ? "a" : "b")));
        for (unsigned i = 0; i < 50; i++)
                accepted(t, long_row(200 + i, 190 + i, i % 2 ? "b" : "a"));
        assert_int_equal(count(&w, t), 100);
        for (unsigned i = 0; i < 100; i++)
                accepted(t, long_row(300 + i, 1000, arena_printf(&w.arena, "%u", i)));
        assert_non_null(put_text(t, long_row(500, 1000, "7")));
        check_agreement(&w, t);
        w.source->table_unref(t);
}

/* Two long values with one hash: an entry of a stranger is put where the value would be. */
static void test_equal_hashes(void **state)
{
        TableRef *t = unique_table("hashes", SIMPLE, false);
        Schema *schema = table_state_schema(t->state);
        Index *index = schema->indexes[0];
        Value row = json(&w, long_row(2, 500, "a"));
        IndexEntries mine;
        accepted(t, long_row(1, 500, "b"));
        ok(index_entries_of(index, key_encode(value_number(1), &w.arena), row, &w.arena, &mine));
        Commit *commit;
        uint64_t position;
        ok(commit_begin(w.store, &commit));
        ok(commit_lock(commit, t->store));
        ok(commit_tree_put(commit, t->store, index->tree, mine.items[0].key,
                           BYTES(mine.items[0].value, INDEX_ENTRY_BYTES)));
        ok(commit_finish(commit, &position));
        accepted(t, long_row(2, 500, "a")); /* row 1, which the entry leads to, has another value */
        assert_non_null(put_text(t, long_row(3, 500, "a")));
        schema_unref(schema);
        w.source->table_unref(t);
}

/* --- builds --- */

#define WHY_X "It is to be unique, but the rows with primary keys 1 and 2 have the same value: \"x\""

static void test_build_meets_two(void **state)
{
        Value result;
        uint64_t position = 0;
        TableRef *t = fresh("two");
        accepted(t, "{\"id\":1,\"a\":\"x\"}");
        accepted(t, "{\"id\":2,\"a\":\"x\"}");
        ok(try_create_unique(&w, t, "u", SIMPLE, false));
        create(&w, t, "other", SIMPLE, false, false);
        ok(try_build_all(&w));
        for (unsigned again = 0; again < 2; again++) {
                TableView *view;
                TableScan *scan;
                renew(&t);
                const char *status = status_text_of(&w, t, "u");
                assert_non_null(strstr(status, "\"error\":\"It is to be unique, but the rows with primary keys 1 and 2 "
                                               "have the same value: \\\"x\\\"\""));
                assert_non_null(strstr(status, "\"ready\":false"));
                assert_null(strstr(status, "progress"));
                assert_non_null(strstr(status_text_of(&w, t, "other"), "\"ready\":true"));
                ok(w.source->view_open(t, &view));
                refused(w.source->index_scan_open(view, BYTES_STR("u"), NULL, false, &scan), ERR_OP_FAILED,
                        "Index `u` on table `test.two` could not be built: " WHY_X);
                w.source->view_close(view);
                accepted(t, "{\"id\":3,\"a\":\"x\"}"); /* it restricts nobody */
                put(&w, t, value_number(3), value_null());
                check_agreement(&w, t);
                w.source->table_unref(t);
                world_close(&w);
                world_open(&w);
                ok(try_build_all(&w));
                t = find(&w, "test", "two");
        }
        ok(w.source->index_rename(t, BYTES_STR("u"), BYTES_STR("v"), false, &w.arena, &result, &position));
        ok(w.source->index_drop(t, BYTES_STR("v"), &w.arena, &result, &position));
        accepted(t, "{\"id\":2,\"a\":\"y\"}");
        ok(try_create_unique(&w, t, "u", SIMPLE, false));
        ok(try_build_all(&w));
        renew(&t);
        assert_string_equal(scanned(&w, t, "u", NULL, false), "[1,2]");
        check_agreement(&w, t);
        w.source->table_unref(t);
}

/* Writers are compared with what is in the index by then; what they put the builder finds. */
static void test_writes_while_building(void **state)
{
        bool more;
        TableRef *t = fresh("building");
        for (unsigned i = 0; i < 1500; i++)
                accepted(t, arena_printf(&w.arena, "{\"id\":%u,\"a\":%u}", i, i));
        ok(try_create_unique(&w, t, "u", SIMPLE, false));
        renew(&t);
        for (unsigned i = 0; i < 3; i++) /* one commit of 512 entries */
                ok(build_step(w.catalog, &more));
        assert_non_null(put_text(t, "{\"id\":5000,\"a\":10}"));
        accepted(t, "{\"id\":5000,\"a\":5000}");
        assert_non_null(put_text(t, "{\"id\":1400,\"a\":5000}"));
        accepted(t, "{\"id\":10,\"a\":\"free\"}");
        accepted(t, "{\"id\":5001,\"a\":10}");
        accepted(t, "{\"id\":1400,\"a\":1400,\"b\":1}");
        put(&w, t, value_number(1300), value_null());
        accepted(t, "{\"id\":5002,\"a\":1300}");
        ok(try_build_all(&w));
        renew(&t);
        assert_non_null(strstr(status_text_of(&w, t, "u"), "\"ready\":true"));
        check_agreement(&w, t);
        /* A writer takes the value of a row that the builder has not seen yet. */
        ok(try_create_unique(&w, t, "late", SIMPLE, false));
        renew(&t);
        ok(build_step(w.catalog, &more));
        accepted(t, "{\"id\":6000,\"a\":\"late\"}");
        w.source->table_unref(t);
        Value result;
        uint64_t position = 0;
        t = find(&w, "test", "building");
        ok(w.source->index_drop(t, BYTES_STR("u"), &w.arena, &result, &position));
        accepted(t, "{\"id\":6001,\"a\":1200}"); /* as row 1200, whose turn has not come */
        ok(try_build_all(&w));
        renew(&t);
        const char *status = status_text_of(&w, t, "late");
        assert_non_null(strstr(status, "the rows with primary keys 6001 and 1200 have the same value: 1200"));
        w.source->table_unref(t);
}

static void test_restarts_and_names(void **state)
{
        Value result;
        uint64_t position = 0;
        TableRef *t = unique_table("names", SIMPLE, false);
        accepted(t, "{\"id\":1,\"a\":1,\"b\":1}");
        create(&w, t, "plain", COMPOUND, false, false);
        ok(try_build_all(&w));
        w.source->table_unref(t);
        world_close(&w);
        world_open(&w);
        t = find(&w, "test", "names");
        assert_non_null(put_text(t, "{\"id\":2,\"a\":1}"));
        ok(w.source->index_rename(t, BYTES_STR("u"), BYTES_STR("plain"), true, &w.arena, &result, &position));
        renew(&t);
        denied(t, "{\"id\":2,\"a\":1}",
               "Duplicate value in unique index `plain`: 1 is that of the row with primary key 1.");
        create(&w, t, "u", COMPOUND, false, false);
        ok(try_build_all(&w));
        ok(w.source->index_rename(t, BYTES_STR("u"), BYTES_STR("plain"), true, &w.arena, &result, &position));
        accepted(t, "{\"id\":2,\"a\":1}"); /* what was unique has been written over */
        check_agreement(&w, t);
        w.source->table_unref(t);
}

/* The value counts that the write hook leaves. */
static void test_write_hook(void **state)
{
        Value result;
        uint64_t position = 0;
        TableRef *t = unique_table("hooked", SIMPLE, false);
        ok(w.source->write_hook_set(t, BYTES_STR("[69,[[2,[1,2,3]],[35,[[10,[3]],{\"a\":\"same\"}]]]]"), &w.arena,
                                    &result, &position));
        accepted(t, "{\"id\":1,\"a\":1}");
        denied(t, "{\"id\":2,\"a\":2}",
               "Duplicate value in unique index `u`: \"same\" is that of the row with primary key 1.");
        w.source->table_unref(t);
}

static Status note_problem(void *ctx, const char *text)
{
        snprintf(ctx, 200, "%s", text);
        return ST_OK;
}

/* `photondb check` finds what got past all that: here a row and its entry put by hand. */
static void test_verification(void **state)
{
        TableRef *t = unique_table("verified", SIMPLE, false);
        accepted(t, "{\"id\":1,\"a\":\"x\"}");
        Schema *schema = table_state_schema(t->state);
        Value row = value_copy(json(&w, "{\"a\":\"x\",\"id\":2}"), &w.arena);
        Bytes key = key_encode(value_number(2), &w.arena);
        IndexOps ops;
        Commit *commit;
        uint64_t position;
        ok(index_plan(schema, key, value_null(), row, &w.arena, &ops));
        ok(commit_begin(w.store, &commit));
        ok(commit_lock(commit, t->store));
        ok(commit_put_row(commit, t->store, key, BYTES(row.encoded, value_encoded_size(row)), BYTES_NONE));
        ok(index_apply(commit, t->store, &ops));
        ok(commit_finish(commit, &position));
        TableVerify *verify;
        Snapshot *snapshot;
        char problem[200] = "";
        ok(table_verify_new(&verify));
        ok(store_pin(w.catalog->documents, &snapshot));
        tell_tree(verify, snapshot, CATALOG_TABLE_ID, 0);
        store_unpin(snapshot);
        ok(store_pin(t->store, &snapshot));
        for (uint32_t tree = 0; tree < 2; tree++)
                tell_tree(verify, snapshot, t->store_id, tree);
        store_unpin(snapshot);
        ok(table_verify_table(verify, t->store_id, t->engine));
        ok(table_verify_finish(verify, note_problem, problem));
        assert_non_null(strstr(problem, "index u: it is unique, but 1 of its values are those of two rows"));
        table_verify_free(verify);
        schema_unref(schema);
        w.source->table_unref(t);
}

/* --- against a model --- */

enum { KEYS = 30, BATCH = 12 };

static uint64_t random_state;

static unsigned pick(unsigned n)
{
        random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        return (unsigned)(random_state >> 33) % n;
}

static Value random_item(Arena *arena)
{
        unsigned n = pick(14);
        if (n < 10)
                return value_number(pick(25));
        if (n == 10)
                return value_null();
        size_t size = 220 + pick(3); /* texts that are cut at the same place */
        char *text = arena_alloc(arena, size);
        memset(text, 'x', size);
        text[size - 1] = "abcdef"[pick(6)];
        return value_string(BYTES(text, size));
}

static Value random_row(unsigned id, Arena *arena)
{
        ObjectBuilder row;
        ArrayBuilder many;
        object_init(&row, arena, 3);
        object_add_str(&row, "id", value_number(id));
        if (pick(5))
                object_add_str(&row, "a", random_item(arena));
        array_init(&many, arena, 3);
        for (unsigned n = pick(3); n > 0; n--)
                array_add(&many, random_item(arena));
        object_add_str(&row, "m", array_take(&many));
        return object_take(&row);
}

static bool shares(Value a, Value b, bool multi)
{
        if (!value_is_object(a) || !value_is_object(b))
                return false;
        Value x = value_get_str(a, multi ? "m" : "a"), y = value_get_str(b, multi ? "m" : "a");
        if (!multi)
                return !value_is(x, V_NONE) && !value_is(y, V_NONE) && key_is_secondary(x) && value_equal(x, y);
        for (size_t i = 0; i < value_count(x); i++)
                for (size_t k = 0; k < value_count(y); k++)
                        if (key_is_secondary(value_at(x, i)) && value_equal(value_at(x, i), value_at(y, k)))
                                return true;
        return false;
}

static bool another_has(const Value *rows, unsigned id, Value row, bool multi)
{
        for (unsigned other = 0; other < KEYS; other++)
                if (other != id && shares(row, rows[other], multi))
                        return true;
        return false;
}

typedef struct Known { /* of an index */
        bool there, ready;
} Known;

static void look_at(TableRef *t, Known known[2])
{
        const IndexInfo *infos;
        size_t count = w.source->index_list(t, &infos);
        known[0] = known[1] = (Known){0};
        for (size_t i = 0; i < count; i++) {
                Known *k = &known[bytes_equal(infos[i].name, BYTES_STR("multi"))];
                *k = (Known){.there = !infos[i].error.data, .ready = infos[i].ready};
        }
}

/* What is refused has a reason in the model; what an index that is ready should refuse is refused. */
static void write_some(TableRef *t, Value *rows, Arena *model)
{
        Value keys[BATCH], to[BATCH];
        RowOutcome outcomes[BATCH] = {0};
        Known known[2];
        unsigned n = 1 + pick(BATCH), first = pick(KEYS);
        uint64_t position = 0;
        look_at(t, known);
        for (unsigned i = 0; i < n; i++) {
                unsigned id = (first + i) % KEYS; /* distinct, so that slow writes go in order too */
                keys[i] = value_number(id);
                to[i] = pick(5) ? random_row(id, model) : value_null();
        }
        WriteOptions options = {.quick = pick(2)};
        ok(w.source->write(t, keys, n, test_set, to, &options, &w.arena, outcomes, &position));
        for (unsigned i = 0; i < n; i++) {
                unsigned id = (first + i) % KEYS;
                bool reason = false, must = false;
                for (unsigned kind = 0; kind < 2; kind++) {
                        bool shared = another_has(rows, id, to[i], kind);
                        reason |= known[kind].there && shared;
                        must |= known[kind].ready && shared;
                }
                if (value_is_object(rows[id]) && value_is_object(to[i]) && value_equal(rows[id], to[i]))
                        must = false;
                assert_true(!outcomes[i].error || reason);
                assert_true(!must || outcomes[i].error);
                if (!outcomes[i].error)
                        rows[id] = to[i];
                status_ignore(outcomes[i].error);
        }
}

static void change_indexes(TableRef **t)
{
        Known known[2];
        Value result;
        uint64_t position = 0;
        const IndexInfo *infos;
        renew(t);
        bool multi = pick(2);
        const char *name = multi ? "multi" : "simple";
        look_at(*t, known);
        size_t count = w.source->index_list(*t, &infos);
        bool exists = false;
        for (size_t i = 0; i < count; i++)
                exists |= bytes_equal(infos[i].name, BYTES_STR(name));
        if (!exists)
                ok(try_create_unique(&w, *t, name, multi ? MULTI : SIMPLE, multi));
        else if (!known[multi].there || pick(3) == 0)
                ok(w.source->index_drop(*t, BYTES_STR(name), &w.arena, &result, &position));
        renew(t);
}

static void run_model(unsigned seed)
{
        Value rows[KEYS] = {0};
        char name[32];
        Arena model;
        snprintf(name, sizeof name, "model%u", seed);
        arena_init(&model, 0);
        random_state = seed;
        TableRef *t = fresh(name);
        for (unsigned step = 0; step < 120; step++) {
                bool more;
                unsigned what = pick(20);
                if (what < 11) {
                        write_some(t, rows, &model);
                } else if (what < 14) {
                        change_indexes(&t);
                } else if (what < 19) {
                        ok(build_step(w.catalog, &more));
                        renew(&t);
                } else {
                        w.source->table_unref(t);
                        world_close(&w);
                        world_open(&w);
                        t = find(&w, "test", name);
                }
                arena_reset(&w.arena);
        }
        ok(try_build_all(&w));
        renew(&t);
        for (unsigned id = 0; id < KEYS; id++) {
                Value now = get(&w, t, value_number(id));
                assert_true(value_is_object(rows[id]) ? value_equal(now, rows[id]) : value_is(now, V_NULL));
        }
        check_agreement(&w, t); /* and nothing twice */
        w.source->table_unref(t);
        arena_done(&model);
}

static void test_against_a_model(void **state)
{
        for (unsigned seed = 1; seed <= 60; seed++) {
                setup(state);
                run_model(seed);
                teardown(state);
        }
}

/* --- threads --- */

typedef struct Racer {
        World *w;
        unsigned number;
        Thread thread;
        unsigned won;
} Racer;

enum { RACERS = 3, VALUES = 120 };

/* Each wants all values, each with rows of its own. */
static void racer_main(void *arg)
{
        Racer *racer = arg;
        TableRef *table = find(racer->w, "test", "t");
        Arena arena;
        arena_init(&arena, 0);
        for (unsigned i = 0; i < VALUES; i += 4) {
                Value keys[4], to[4];
                RowOutcome outcomes[4] = {0};
                WriteOptions options = {.quick = (i / 4 + racer->number) % 2};
                uint64_t position = 0;
                arena_reset(&arena);
                for (unsigned k = 0; k < 4; k++) {
                        Field *fields = arena_array(&arena, Field, 2);
                        keys[k] = value_number(1000 * (racer->number + 1) + i + k);
                        fields[0] = (Field){BYTES_STR("a"), value_number(i + k)};
                        fields[1] = (Field){BYTES_STR("id"), keys[k]};
                        to[k] = value_object_sorted(fields, 2);
                }
                ok(racer->w->source->write(table, keys, 4, test_set, to, &options, &arena, outcomes, &position));
                for (unsigned k = 0; k < 4; k++) {
                        racer->won += !outcomes[k].error;
                        status_ignore(outcomes[k].error);
                }
        }
        arena_done(&arena);
        racer->w->source->table_unref(table);
}

static void race(World *world, bool before)
{
        Racer racers[RACERS];
        unsigned won = 0;
        TableRef *table = find(world, "test", "t");
        if (before) {
                ok(try_create_unique(world, table, "u", SIMPLE, false));
                wait_until_ready(world);
        }
        for (unsigned i = 0; i < RACERS; i++) {
                racers[i] = (Racer){.w = world, .number = i};
                ok(thread_start(&racers[i].thread, "racer", racer_main, &racers[i]));
        }
        if (!before)
                ok(try_create_unique(world, table, "u", SIMPLE, false));
        for (unsigned i = 0; i < RACERS; i++) {
                thread_join(&racers[i].thread);
                won += racers[i].won;
        }
        wait_until_ready(world);
        if (before)
                assert_int_equal(won, VALUES);
        world->source->table_unref(table);
        table = find(world, "test", "t");
        assert_int_equal(count(world, table), won);
        check_agreement(world, table);
        world->source->table_unref(table);
}

static void test_races(void **state)
{
        for (unsigned i = 0; i < 6; i++) {
                World world;
                world_init(&world, i);
                world.background = true;
                world_open(&world);
                make_table(&world, "test", "t");
                race(&world, i % 2 == 0);
                world_done(&world);
        }
}

/* --- when memory and power are lacking --- */

static jmp_buf out_of_memory;
static WriteGuard guard;

NORETURN static void jump(void *ctx, bool over_budget)
{
        longjmp(out_of_memory, 1);
}

/* Rows first .. first + count - 1 with values that come twice in it, or with some other row. */
static Status write_rows(World *world, TableRef *table, unsigned first, unsigned count, unsigned values)
{
        Value *keys = arena_array(&world->arena, Value, count), *to = arena_array(&world->arena, Value, count);
        RowOutcome *outcomes = arena_zalloc(&world->arena, count * sizeof *outcomes);
        WriteOptions options = {.quick = (first + values) % 2, .guard = &guard};
        uint64_t position = 0;
        for (unsigned i = 0; i < count; i++) {
                unsigned n = (first + i) * 7 % values;
                char *text = arena_alloc(&world->arena, 300);
                memset(text, 'x', 300);
                text[299] = (char)('a' + n % 20);
                Field *fields = arena_array(&world->arena, Field, 2);
                fields[0] = (Field){BYTES_STR("a"), n % 3 ? value_number(n) : value_string(BYTES(text, 300))};
                fields[1] = (Field){BYTES_STR("id"), value_number(first + i)};
                keys[i] = value_number(first + i);
                to[i] = value_object_sorted(fields, 2);
        }
        Status st =
                world->source->write(table, keys, count, test_set, to, &options, &world->arena, outcomes, &position);
        for (unsigned i = 0; i < count; i++) {
                if (outcomes[i].error && status_code(outcomes[i].error) != ERR_OP_FAILED && !st)
                        st = outcomes[i].error;
                else
                        status_ignore(outcomes[i].error);
        }
        return st;
}

static Status try_history(World *world, TableRef *table)
{
        bool more;
        Value result;
        uint64_t position = 0;
        TRY(write_rows(world, table, 0, 20, 100));
        TRY(try_create_unique(world, table, "u", SIMPLE, false));
        TRY(write_rows(world, table, 10, 20, 15));
        TRY(build_step(world->catalog, &more));
        TRY(store_step(world->store));
        TRY(write_rows(world, table, 15, 20, 40));
        TRY(try_build_all(world));
        TRY(store_checkpoint(world->store));
        TRY(write_rows(world, table, 0, 40, 30));
        TRY(world->source->index_drop(table, BYTES_STR("u"), &world->arena, &result, &position));
        TRY(write_rows(world, table, 0, 40, 13));
        TRY(try_create_unique(world, table, "twice", SIMPLE, false));
        TRY(try_build_all(world)); /* which fails for good */
        TRY(write_rows(world, table, 0, 40, 12));
        TRY(store_checkpoint(world->store));
        return store_step(world->store);
}

static Status failing_history(World *world, TableRef *table, long n)
{
        arena_on_oom(&world->arena, jump, NULL);
        guard = (WriteGuard){0};
        if (setjmp(out_of_memory) == 0) {
                mem_fail_nth(n);
                return try_history(world, table);
        }
        if (guard.undo)
                guard.undo(&guard);
        return ST_OK;
}

static void world_by_hand(World *world, uint64_t seed)
{
        world_init(world, seed);
        world->by_hand = true;
        world_open(world);
        make_table(world, "test", "t");
}

static void test_out_of_memory(void **state)
{
        for (long n = 1, fired = 1; fired; n += n < 300 ? 1 : 5) {
                World world;
                world_by_hand(&world, 3);
                TableRef *table = find(&world, "test", "t");
                Status st = failing_history(&world, table, n);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                assert_true(fired || !st);
                status_ignore(st);
                ok(store_step(world.store));
                ok(try_build_all(&world));
                world.source->table_unref(table);
                table = find(&world, "test", "t");
                check_agreement(&world, table);
                world.source->table_unref(table);
                world_done(&world);
        }
}

static void test_power_loss(void **state)
{
        for (long n = 1, fired = 1; fired; n++) {
                World world;
                world_by_hand(&world, (uint64_t)n);
                uint64_t position = 0;
                TableRef *table = find(&world, "test", "t");
                guard = (WriteGuard){0};
                ok(world.source->sync(table, &position));
                ok(store_step(world.store));
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
                table = find(&world, "test", "t");
                guard = (WriteGuard){0};
                ok(write_rows(&world, table, 0, 40, 50));
                ok(try_build_all(&world));
                world.source->table_unref(table);
                table = find(&world, "test", "t");
                check_agreement(&world, table);
                world.source->table_unref(table);
                world_done(&world);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_simple, setup, teardown),
                cmocka_unit_test_setup_teardown(test_batches, setup, teardown),
                cmocka_unit_test_setup_teardown(test_multi_and_compound, setup, teardown),
                cmocka_unit_test_setup_teardown(test_long_values, setup, teardown),
                cmocka_unit_test_setup_teardown(test_equal_hashes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_build_meets_two, setup, teardown),
                cmocka_unit_test_setup_teardown(test_writes_while_building, setup, teardown),
                cmocka_unit_test_setup_teardown(test_restarts_and_names, setup, teardown),
                cmocka_unit_test_setup_teardown(test_write_hook, setup, teardown),
                cmocka_unit_test_setup_teardown(test_verification, setup, teardown),
                cmocka_unit_test(test_against_a_model),
                cmocka_unit_test(test_races),
                cmocka_unit_test(test_out_of_memory),
                cmocka_unit_test(test_power_loss),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
