/* table_catalog_test.c - names and settings: what is answered, what survives, what a crash leaves. */
#include "table/table_test.h"

#include <stdlib.h>

static const char *list(World *w, const char *db)
{
        Value names;
        ok(w->source->table_list(w->catalog, BYTES_STR(db), &w->arena, &names));
        return text_of_value(w, names);
}

static const char *dbs(World *w)
{
        Value names;
        ok(w->source->db_list(w->catalog, &w->arena, &names));
        return text_of_value(w, names);
}

static Status create(World *w, const char *db, const char *name, const char *options, Value *ret)
{
        uint64_t position = 0;
        Value o = options ? json(w, options) : value_none();
        return w->source->table_create(w->catalog, BYTES_STR(db), BYTES_STR(name), o, &w->arena, ret, &position);
}

static Status drop(World *w, const char *db, const char *name, Value *ret)
{
        uint64_t position = 0;
        return w->source->table_drop(w->catalog, BYTES_STR(db), BYTES_STR(name), &w->arena, ret, &position);
}

static Status make_db(World *w, const char *name, Value *ret)
{
        uint64_t position = 0;
        return w->source->db_create(w->catalog, BYTES_STR(name), &w->arena, ret, &position);
}

static Status drop_db(World *w, const char *name, Value *ret)
{
        uint64_t position = 0;
        return w->source->db_drop(w->catalog, BYTES_STR(name), &w->arena, ret, &position);
}

/* The id in an answer's only change, taken out so that the rest can be compared. */
static const char *without_id(World *w, Value answer)
{
        char *text = (char *)text_of_value(w, answer);
        char *id = strstr(text, "\"id\":\"");
        assert_non_null(id);
        memmove(id + 6, id + 6 + UUID_TEXT_BYTES, strlen(id + 6 + UUID_TEXT_BYTES) + 1);
        return text;
}

static void test_fresh_store_has_test(void **state)
{
        World w;
        world_init(&w, 1);
        world_open(&w);
        assert_string_equal(dbs(&w), "[\"rethinkdb\",\"test\"]");
        assert_string_equal(list(&w, "test"), "[]");
        assert_string_equal(list(&w, "rethinkdb"),
                            "[\"cluster_config\",\"current_issues\",\"db_config\",\"jobs\",\"logs\",\"permissions\","
                            "\"server_config\",\"server_status\",\"stats\",\"table_config\",\"table_status\","
                            "\"users\"]");
        world_done(&w);
}

static void test_answers(void **state)
{
        World w;
        Value v;
        world_init(&w, 2);
        world_open(&w);
        ok(make_db(&w, "a", &v));
        assert_string_equal(
                without_id(&w, v),
                "{\"config_changes\":[{\"new_val\":{\"id\":\"\",\"name\":\"a\"},\"old_val\":null}],\"dbs_created\":1}");
        ok(create(&w, "a", "t", "{\"primary_key\":\"k\",\"durability\":\"soft\",\"shards\":2}", &v));
        assert_string_equal(without_id(&w, v), "{\"config_changes\":[{\"new_val\":{\"db\":\"a\",\"durability\":"
                                               "\"soft\",\"id\":\"\",\"indexes\":[],\"name\":\"t\","
                                               "\"primary_key\":\"k\",\"shards\":[{\"nonvoting_replicas\":[],\"primary_"
                                               "replica\":\"here\",\"replicas\":[\"here\"]},"
                                               "{\"nonvoting_replicas\":[],\"primary_replica\":\"here\",\"replicas\":["
                                               "\"here\"]}],\"write_acks\":\"majority\","
                                               "\"write_hook\":null},\"old_val\":null}],\"tables_created\":1}");
        ok(create(&w, "a", "u", NULL, &v));
        ok(drop(&w, "a", "u", &v));
        assert_string_equal(
                without_id(&w, v),
                "{\"config_changes\":[{\"new_val\":null,\"old_val\":{\"db\":\"a\",\"durability\":\"hard\",\"id\":\"\","
                "\"indexes\":[],"
                "\"name\":\"u\",\"primary_key\":\"id\",\"shards\":[{\"nonvoting_replicas\":[],\"primary_replica\":"
                "\"here\","
                "\"replicas\":[\"here\"]}],\"write_acks\":\"majority\",\"write_hook\":null}}],\"tables_dropped\":1}");
        ok(drop_db(&w, "a", &v));
        assert_string_equal(
                without_id(&w, v),
                "{\"config_changes\":[{\"new_val\":null,\"old_val\":{\"id\":\"\",\"name\":\"a\"}}],\"dbs_dropped\":1,"
                "\"tables_dropped\":1}");
        world_done(&w);
}

static void test_refusals(void **state)
{
        World w;
        Value v;
        TableRef *table;
        world_init(&w, 3);
        world_open(&w);
        ok(create(&w, "test", "t", NULL, &v));
        refused(make_db(&w, "test", &v), ERR_OP_FAILED, "Database `test` already exists.");
        refused(make_db(&w, "rethinkdb", &v), ERR_OP_FAILED, "Database `rethinkdb` already exists.");
        refused(make_db(&w, "a.b", &v), ERR_LOGIC, "Database name `a.b` invalid (Use A-Z, a-z, 0-9, _ and - only).");
        refused(drop_db(&w, "none", &v), ERR_OP_FAILED, "Database `none` does not exist.");
        refused(drop_db(&w, "rethinkdb", &v), ERR_OP_FAILED, "Database `rethinkdb` is special; you can't delete it.");
        refused(create(&w, "test", "t", NULL, &v), ERR_OP_FAILED, "Table `test.t` already exists.");
        refused(create(&w, "none", "t", NULL, &v), ERR_OP_FAILED, "Database `none` does not exist.");
        refused(create(&w, "test", "%", NULL, &v), ERR_LOGIC,
                "Table name `%` invalid (Use A-Z, a-z, 0-9, _ and - only).");
        refused(create(&w, "rethinkdb", "t", NULL, &v), ERR_OP_FAILED,
                "Database `rethinkdb` is special; you can't create new tables in it.");
        refused(create(&w, "test", "u", "{\"shards\":33}", &v), ERR_OP_FAILED, "Maximum number of shards is 32.");
        refused(drop(&w, "test", "none", &v), ERR_OP_FAILED, "Table `test.none` does not exist.");
        refused(drop(&w, "rethinkdb", "users", &v), ERR_OP_FAILED,
                "Database `rethinkdb` is special; you can't drop tables in it.");
        refused(w.source->table_find(w.catalog, BYTES_STR("test"), BYTES_STR("none"), &table), ERR_OP_FAILED,
                "Table `test.none` does not exist.");
        refused(w.source->table_find(w.catalog, BYTES_STR("none"), BYTES_STR("t"), &table), ERR_OP_FAILED,
                "Database `none` does not exist.");
        refused(w.source->table_list(w.catalog, BYTES_STR("none"), &w.arena, &v), ERR_OP_FAILED,
                "Database `none` does not exist.");
        refused(w.source->db_check(w.catalog, BYTES_STR("none")), ERR_OP_FAILED, "Database `none` does not exist.");
        world_done(&w);
}

static void test_long_names(void **state)
{
        World w;
        Value v;
        char name[600];
        world_init(&w, 4);
        world_open(&w);
        memset(name, 'x', sizeof name);
        name[sizeof name - 1] = 0;
        ok(make_db(&w, name, &v));
        ok(create(&w, name, name, NULL, &v));
        w.source->table_unref(find(&w, name, name));
        ok(drop_db(&w, name, &v));
        assert_string_equal(dbs(&w), "[\"rethinkdb\",\"test\"]");
        world_done(&w);
}

static void test_reopen(void **state)
{
        World w;
        Value v;
        world_init(&w, 5);
        world_open(&w);
        ok(make_db(&w, "a", &v));
        ok(create(&w, "a", "t", "{\"primary_key\":\"k\",\"durability\":\"soft\",\"shards\":3}", &v));
        ok(create(&w, "a", "gone", NULL, &v));
        ok(drop(&w, "a", "gone", &v));
        TableRef *table = find(&w, "a", "t");
        char id[UUID_TEXT_BYTES + 1];
        memcpy(id, table->info.id.data, sizeof id);
        assert_int_equal(put(&w, table, value_number(1), json(&w, "{\"k\":1,\"x\":2}")).effect, ROW_INSERTED);
        w.source->table_unref(table);
        world_close(&w);
        world_open(&w);
        assert_string_equal(dbs(&w), "[\"a\",\"rethinkdb\",\"test\"]");
        assert_string_equal(list(&w, "a"), "[\"t\"]");
        table = find(&w, "a", "t");
        assert_memory_equal(id, table->info.id.data, UUID_TEXT_BYTES);
        assert_false(table->info.hard_durability);
        assert_int_equal(table->shard_count, 3);
        assert_true(bytes_equal(table->info.primary_key, BYTES_STR("k")));
        assert_string_equal(text_of_value(&w, get(&w, table, value_number(1))), "{\"k\":1,\"x\":2}");
        w.source->table_unref(table);
        /* Numbers of dropped tables are not used again. */
        ok(create(&w, "a", "next", NULL, &v));
        table = find(&w, "a", "next");
        assert_int_equal(table->store_id, FIRST_TABLE_ID + 2);
        assert_int_equal(count(&w, table), 0);
        w.source->table_unref(table);
        world_done(&w);
}

/* A dropped table stays readable for whoever has it open, and refuses what comes after. */
static void test_dropped_while_used(void **state)
{
        World w;
        Value v;
        world_init(&w, 6);
        world_open(&w);
        ok(create(&w, "test", "t", NULL, &v));
        TableRef *table = find(&w, "test", "t");
        put(&w, table, value_number(1), json(&w, "{\"id\":1}"));
        TableView *view;
        ok(w.source->view_open(table, &view));
        ok(drop(&w, "test", "t", &v));
        ok(w.source->view_get(view, value_number(1), &w.arena, &v));
        assert_string_equal(text_of_value(&w, v), "{\"id\":1}");
        w.source->view_close(view);
        refused(w.source->view_open(table, &view), ERR_OP_FAILED, "Table `test.t` does not exist.");
        Value key = value_number(2), row = json(&w, "{\"id\":2}");
        RowOutcome outcome = {0};
        WriteOptions options = {.quick = true};
        uint64_t position = 0;
        refused(w.source->write(table, &key, 1, test_set, &row, &options, &w.arena, &outcome, &position), ERR_OP_FAILED,
                "Table `test.t` does not exist.");
        options.quick = false;
        refused(w.source->write(table, &key, 1, test_set, &row, &options, &w.arena, &outcome, &position), ERR_OP_FAILED,
                "Table `test.t` does not exist.");
        ok(create(&w, "test", "t", NULL, &v)); /* the name is free again */
        TableRef *other = find(&w, "test", "t");
        assert_int_equal(count(&w, other), 0);
        w.source->table_unref(other);
        w.source->table_unref(table);
        world_done(&w);
}

/* --- settings through the system tables --- */

typedef struct Patch {
        World *w;
        const char *field;
        Value value;
} Patch;

static Status patch(void *ctx, size_t index, Value old_row, Arena *arena, Value *ret)
{
        Patch *p = ctx;
        ObjectBuilder object;
        object_init(&object, arena, value_count(old_row) + 1);
        for (size_t i = 0; i < value_count(old_row); i++) {
                Bytes key;
                Value value = value_field_at(old_row, i, &key);
                object_add(&object, key, value);
        }
        object_add_str(&object, p->field, p->value);
        *ret = object_take(&object);
        return ST_OK;
}

static RowOutcome configure(World *w, const char *system_table, Value id, const char *field, Value value)
{
        Patch p = {w, field, value};
        TableRef *table = find(w, "rethinkdb", system_table);
        RowOutcome outcome = {0};
        WriteOptions options = {.want_rows = true};
        uint64_t position = 0;
        ok(w->source->write(table, &id, 1, patch, &p, &options, &w->arena, &outcome, &position));
        w->source->table_unref(table);
        return outcome;
}

static Value id_of(World *w, const char *db, const char *table)
{
        Value row;
        ok(w->source->config(w->catalog, BYTES_STR(db), table ? BYTES_STR(table) : BYTES_NONE, &w->arena, &row));
        return value_get_str(row, "id");
}

#define check_refused_row(outcome, message)                                                                            \
        do {                                                                                                           \
                RowOutcome o_ = (outcome);                                                                             \
                assert_int_equal(o_.effect, ROW_FAILED);                                                               \
                assert_string_equal(status_message(o_.error), message);                                                \
                status_ignore(o_.error);                                                                               \
        } while (0)

static void test_configure(void **state)
{
        World w;
        Value v;
        world_init(&w, 7);
        world_open(&w);
        ok(make_db(&w, "a", &v));
        ok(create(&w, "a", "t", NULL, &v));
        ok(create(&w, "a", "u", NULL, &v));
        TableRef *before = find(&w, "a", "t");
        put(&w, before, value_number(1), json(&w, "{\"id\":1}"));
        Value id = id_of(&w, "a", "t");

        assert_int_equal(configure(&w, "table_config", id, "durability", value_str("soft")).effect, ROW_REPLACED);
        assert_int_equal(configure(&w, "table_config", id, "durability", value_str("soft")).effect, ROW_UNCHANGED);
        assert_true(before->info.hard_durability); /* as long as the reference */
        check_refused_row(
                configure(&w, "table_config", id, "durability", value_str("x")),
                "The change you're trying to make to `rethinkdb.table_config` has the wrong format. In `durability`: "
                "Expected \"soft\" or \"hard\", got: \"x\"");
        check_refused_row(configure(&w, "table_config", id, "primary_key", value_str("x")),
                          "It's illegal to change a table's primary key");
        check_refused_row(
                configure(&w, "table_config", id, "more", value_str("x")),
                "The change you're trying to make to `rethinkdb.table_config` has the wrong format. Unexpected key(s): "
                "more");
        check_refused_row(configure(&w, "table_config", id, "name", value_str("u")),
                          "Can't rename table `a.t` to `a.u` because table `a.u` already exists.");
        assert_int_equal(configure(&w, "table_config", id, "name", value_str("t2")).effect, ROW_REPLACED);
        assert_string_equal(list(&w, "a"), "[\"t2\",\"u\"]");
        assert_int_equal(configure(&w, "table_config", id, "db", value_str("test")).effect, ROW_REPLACED);
        assert_string_equal(list(&w, "a"), "[\"u\"]");
        assert_string_equal(list(&w, "test"), "[\"t2\"]");
        /* An old reference still means the same rows. */
        assert_int_equal(put(&w, before, value_number(2), json(&w, "{\"id\":2}")).effect, ROW_INSERTED);
        TableRef *after = find(&w, "test", "t2");
        assert_int_equal(count(&w, after), 2);
        assert_false(after->info.hard_durability);
        w.source->table_unref(after);
        w.source->table_unref(before);

        check_refused_row(configure(&w, "db_config", id_of(&w, "a", NULL), "name", value_str("test")),
                          "Cannot rename database `a` to `test` because database `test` already exists.");
        assert_int_equal(configure(&w, "db_config", id_of(&w, "a", NULL), "name", value_str("b")).effect, ROW_REPLACED);
        assert_string_equal(dbs(&w), "[\"b\",\"rethinkdb\",\"test\"]");
        w.source->table_unref(find(&w, "b", "u"));
        world_close(&w);
        world_open(&w);
        assert_string_equal(dbs(&w), "[\"b\",\"rethinkdb\",\"test\"]");
        assert_string_equal(list(&w, "b"), "[\"u\"]");
        assert_string_equal(list(&w, "test"), "[\"t2\"]");
        world_done(&w);
}

/* Every engine by name; the rows and the choice survive; the choice is shown where it is not the default's. */
static void test_storage(void **state)
{
        World w;
        Value v;
        const EngineOps *ops;
        char options[64];
        world_init(&w, 11);
        world_open(&w);
        for (size_t i = 0; (ops = engine_at(i)); i++) {
                snprintf(options, sizeof options, "{\"storage\":\"%s\"}", ops->name);
                ok(create(&w, "test", ops->name, options, &v));
                TableRef *table = find(&w, "test", ops->name);
                put(&w, table, value_number(1), json(&w, "{\"id\":1,\"x\":[true]}"));
                w.source->table_unref(table);
        }
        refused(create(&w, "test", "t", "{\"storage\":\"cloud\"}", &v), ERR_LOGIC,
                "Storage option `cloud` unrecognized (options are \"btree\", \"slab\" and \"memory\").");
        for (int pass = 0; pass < 2; pass++) {
                for (size_t i = 0; (ops = engine_at(i)); i++) {
                        TableRef *table = find(&w, "test", ops->name);
                        assert_string_equal(table->engine, ops->name);
                        assert_string_equal(text_of_value(&w, get(&w, table, value_number(1))),
                                            "{\"id\":1,\"x\":[true]}");
                        ok(w.source->config(w.catalog, BYTES_STR("test"), BYTES_STR(ops->name), &w.arena, &v));
                        Value shown = value_get_str(v, "storage");
                        if (strcmp(ops->name, DEFAULT_ENGINE) == 0)
                                assert_true(value_is(shown, V_NONE));
                        else
                                assert_true(value_bytes_are(shown, ops->name));
                        Value id = id_of(&w, "test", ops->name);
                        assert_int_equal(
                                configure(&w, "table_config", id, "durability", value_str(pass ? "hard" : "soft"))
                                        .effect,
                                ROW_REPLACED);
                        check_refused_row(configure(&w, "table_config", id, "storage", value_str("cloud")),
                                          "It's illegal to change a table's storage: create a table with the storage "
                                          "you want and insert the documents of this one.");
                        w.source->table_unref(table);
                }
                world_close(&w);
                world_open(&w);
        }
        world_done(&w);
}

static void test_system_rows(void **state)
{
        World w;
        Value v, row;
        world_init(&w, 8);
        world_open(&w);
        ok(create(&w, "test", "t", NULL, &v));
        TableRef *names = find(&w, "rethinkdb", "table_config");
        TableRef *uuids = w.source->table_with_uuids(names);
        Value id = id_of(&w, "test", "t");
        row = get(&w, names, id);
        assert_true(value_bytes_are(value_get_str(row, "db"), "test"));
        row = get(&w, uuids, id);
        assert_true(value_equal(value_get_str(row, "db"), id_of(&w, "test", NULL)));
        assert_int_equal(count(&w, names), 1);
        w.source->table_unref(uuids);
        w.source->table_unref(names);

        TableRef *status = find(&w, "rethinkdb", "table_status");
        row = get(&w, status, id);
        assert_string_equal(text_of_value(&w, value_get_str(row, "status")),
                            "{\"all_replicas_ready\":true,\"ready_for_outdated_reads\":true,\"ready_for_reads\":true,"
                            "\"ready_for_writes\":true}");
        check_refused_row(put(&w, status, id, value_null()),
                          "It's illegal to write to the `rethinkdb.table_status` table.");
        w.source->table_unref(status);

        TableRef *stats = find(&w, "rethinkdb", "stats");
        assert_int_equal(count(&w, stats), 4); /* cluster, server, the table, the table on the server */
        row = get(&w, stats, json(&w, "[\"cluster\"]"));
        assert_true(value_is(value_get_str(row, "query_engine"), V_OBJECT));
        w.source->table_unref(stats);

        TableRef *scratch = find(&w, "rethinkdb", "_debug_scratch");
        for (int i = 30; i > 0; i--) {
                ObjectBuilder object;
                object_init(&object, &w.arena, 1);
                object_add_str(&object, "id", value_number(i));
                assert_int_equal(put(&w, scratch, value_number(i), object_take(&object)).effect, ROW_INSERTED);
        }
        assert_int_equal(count(&w, scratch), 30);
        assert_int_equal(put(&w, scratch, value_number(7), value_null()).effect, ROW_DELETED);
        assert_int_equal(put(&w, scratch, value_number(8), json(&w, "{\"id\":8,\"x\":1}")).effect, ROW_REPLACED);
        assert_string_equal(text_of_value(&w, get(&w, scratch, value_number(8))), "{\"id\":8,\"x\":1}");
        TableView *view;
        TableScan *scan;
        KeyBounds bounds = {
                .low = value_number(5), .high = value_number(9), .low_type = BOUND_OPEN, .high_type = BOUND_CLOSED};
        ok(w.source->view_open(scratch, &view));
        uint64_t n;
        ok(w.source->view_count(view, &bounds, &n));
        assert_int_equal(n, 3); /* 6 8 9 */
        ok(w.source->scan_open(view, &bounds, true, &scan));
        ok(w.source->scan_skip(scan, 1, &n));
        ok(w.source->scan_next(scan, &w.arena, &row));
        assert_string_equal(text_of_value(&w, row), "{\"id\":8,\"x\":1}");
        w.source->scan_close(scan);
        ok(w.source->view_nth(view, 28, &w.arena, &row));
        assert_string_equal(text_of_value(&w, row), "{\"id\":30}");
        w.source->view_close(view);
        w.source->table_unref(scratch);
        /* Dropping through table_config. */
        TableRef *configs = find(&w, "rethinkdb", "table_config");
        assert_int_equal(put(&w, configs, id, value_null()).effect, ROW_DELETED);
        w.source->table_unref(configs);
        assert_string_equal(list(&w, "test"), "[]");
        world_done(&w);
}

/* --- crashes --- */

static Status count_one(void *ctx, uint64_t id, const char *engine)
{
        *(size_t *)ctx += id >= FIRST_TABLE_ID;
        return ST_OK;
}

/* Every name leads to a table in the store, and the store has no table without a name. */
static void check_consistent(World *w)
{
        size_t stored = 0, dbs_there, tables_there;
        ok(store_each_table(w->store, count_one, &stored));
        table_source_counts(w->catalog, &dbs_there, &tables_there);
        assert_int_equal(stored, tables_there);
}

/* Tables a, b, c hold a row each; database `d` goes with all of them or not at all. */
static Status history(World *w)
{
        Value v;
        uint64_t position = 0;
        TRY(make_db(w, "d", &v));
        for (const char *name = "abc"; *name; name++) {
                TRY(w->source->table_create(w->catalog, BYTES_STR("d"), BYTES(name, 1), value_none(), &w->arena, &v,
                                            &position));
                TRY(store_sync(w->store, position));
        }
        TRY(w->source->table_drop(w->catalog, BYTES_STR("d"), BYTES_STR("b"), &w->arena, &v, &position));
        TRY(store_sync(w->store, position));
        TRY(store_checkpoint(w->store));
        TRY(drop_db(w, "d", &v));
        TRY(w->source->db_create(w->catalog, BYTES_STR("e"), &w->arena, &v, &position));
        return store_sync(w->store, position);
}

static void crash_sweep(SimFailure failure, SimCrash crash)
{
        bool fired = true;
        for (long n = 1; fired; n++) {
                World w;
                world_init(&w, (uint64_t)n);
                world_open(&w);
                sim_fail_nth(w.sim, n, failure);
                Status st = history(&w);
                fired = sim_fired(w.sim);
                assert_true(fired || !st);
                status_ignore(st);
                w.catalog = table_source_close(w.catalog);
                status_ignore(store_close(take(w.store)));
                sim_heal(w.sim);
                sim_crash(w.sim, crash);
                world_open(&w);
                check_consistent(&w);
                const char *names = dbs(&w);
                if (strstr(names, "\"d\"")) { /* not dropped: the tables are those of some moment before */
                        const char *tables = list(&w, "d");
                        assert_true(strcmp(tables, "[]") == 0 || strcmp(tables, "[\"a\"]") == 0 ||
                                    strcmp(tables, "[\"a\",\"b\"]") == 0 ||
                                    strcmp(tables, "[\"a\",\"b\",\"c\"]") == 0 || strcmp(tables, "[\"a\",\"c\"]") == 0);
                }
                if (!st && crash == SIM_KEEP)
                        assert_string_equal(names, "[\"e\",\"rethinkdb\",\"test\"]");
                world_done(&w);
        }
}

static void test_power_loss_at_every_call(void **state)
{
        crash_sweep(SIM_FAIL_POWER, SIM_DROP);
        crash_sweep(SIM_FAIL_POWER, SIM_TEAR);
}

static void test_io_error_at_every_call(void **state)
{
        crash_sweep(SIM_FAIL_ONCE, SIM_KEEP);
}

/* The first opening: an interrupted one leaves nothing that the next trips over. */
static void test_power_loss_while_creating(void **state)
{
        bool fired = true;
        for (long n = 1; fired; n++) {
                World w;
                world_init(&w, (uint64_t)n);
                sim_fail_nth(w.sim, n, SIM_FAIL_POWER);
                Status st = world_try_open(&w);
                fired = sim_fired(w.sim);
                if (!st)
                        world_close(&w);
                status_ignore(st);
                sim_heal(w.sim);
                sim_crash(w.sim, SIM_TEAR);
                world_open(&w);
                assert_string_equal(dbs(&w), "[\"rethinkdb\",\"test\"]");
                check_consistent(&w);
                world_done(&w);
        }
}

static Status all_ddl(World *w)
{
        Value v;
        Status st = make_db(w, "d", &v);
        if (!st)
                st = create(w, "d", "t", NULL, &v);
        if (!st)
                st = create(w, "d", "u", NULL, &v);
        if (!st)
                st = drop(w, "d", "t", &v);
        TableRef *configs = NULL;
        Value id = value_null();
        if (!st)
                st = w->source->table_find(w->catalog, BYTES_STR("rethinkdb"), BYTES_STR("db_config"), &configs);
        if (!st)
                st = w->source->config(w->catalog, BYTES_STR("d"), BYTES_NONE, &w->arena, &v);
        if (!st) {
                Patch p = {w, "name", value_str("e")};
                RowOutcome outcome = {0};
                WriteOptions options = {0};
                uint64_t position = 0;
                id = value_get_str(v, "id");
                st = w->source->write(configs, &id, 1, patch, &p, &options, &w->arena, &outcome, &position);
                if (!st)
                        st = outcome.error;
        }
        if (configs)
                w->source->table_unref(configs);
        if (!st)
                st = drop_db(w, "e", &v);
        return st;
}

/* Allocation failures anywhere leave memory and store in step. */
static void test_out_of_memory_at_every_allocation(void **state)
{
        bool fired = true;
        for (long n = 1; fired; n++) {
                World w;
                world_init(&w, 9);
                world_open(&w);
                arena_dup(&w.arena, "", 1);
                void *room = arena_alloc(&w.arena, 32 << 10); /* so that the arena itself need not grow */
                (void)room;
                mem_fail_nth(n);
                Status st = all_ddl(&w);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                if (!fired)
                        ok(st);
                status_ignore(st);
                check_consistent(&w);
                const char *before = dbs(&w);
                world_close(&w);
                world_open(&w);
                check_consistent(&w);
                assert_string_equal(dbs(&w), before);
                world_done(&w);
        }
}

/* --- threads --- */

typedef struct Finder {
        World *w;
        Thread thread;
        atomic_bool stop;
        size_t found, missed;
} Finder;

static void find_for_ever(void *arg)
{
        Finder *f = arg;
        while (!atomic_load(&f->stop)) {
                TableRef *table;
                Status st = f->w->source->table_find(f->w->catalog, BYTES_STR("test"), BYTES_STR("t"), &table);
                f->found += !st;
                f->missed += st != ST_OK;
                if (st)
                        status_ignore(st);
                else
                        f->w->source->table_unref(table);
        }
}

static void test_finding_while_changing(void **state)
{
        World w;
        Finder finders[3] = {0};
        Value v;
        world_init(&w, 10);
        world_open(&w);
        for (size_t i = 0; i < ELEMENTS(finders); i++) {
                finders[i].w = &w;
                ok(thread_start(&finders[i].thread, "finder", find_for_ever, &finders[i]));
        }
        for (int i = 0; i < 200; i++) {
                ok(create(&w, "test", "t", NULL, &v));
                ok(drop(&w, "test", "t", &v));
        }
        for (size_t i = 0; i < ELEMENTS(finders); i++) {
                atomic_store(&finders[i].stop, true);
                thread_join(&finders[i].thread);
        }
        check_consistent(&w);
        world_done(&w);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_fresh_store_has_test),
                cmocka_unit_test(test_answers),
                cmocka_unit_test(test_refusals),
                cmocka_unit_test(test_long_names),
                cmocka_unit_test(test_reopen),
                cmocka_unit_test(test_dropped_while_used),
                cmocka_unit_test(test_configure),
                cmocka_unit_test(test_storage),
                cmocka_unit_test(test_system_rows),
                cmocka_unit_test(test_power_loss_while_creating),
                cmocka_unit_test(test_power_loss_at_every_call),
                cmocka_unit_test(test_io_error_at_every_call),
                cmocka_unit_test(test_out_of_memory_at_every_allocation),
                cmocka_unit_test(test_finding_while_changing),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
