/* verify_test.c - what table_verify accepts is exactly what this folder writes: a catalog and rows made through the
 * TableSource are fine, and each way of being wrong is told with the name of the table and the row. */
#include "table/table_test.h"

#include "table/verify.h"
#include "value/key.h"

typedef struct Said {
        char text[4096];
        int count;
} Said;

static Status hear(void *ctx, const char *text)
{
        Said *said = ctx;
        size_t used = strlen(said->text);
        snprintf(said->text + used, sizeof said->text - used, "%s\n", text);
        said->count++;
        return ST_OK;
}

typedef struct Feed {
        World *world;
        TableVerify *verify;
        Said said;
} Feed;

static Status feed_rows(void *ctx, uint64_t id, const char *engine)
{
        Feed *feed = ctx;
        StoreTable *table = store_table_ref(feed->world->store, id);
        Snapshot *snapshot;
        Cursor *cursor;
        Arena hold;
        Bytes key, value;
        bool found = true;
        arena_init(&hold, 0);
        TRY(store_pin(table, &snapshot));
        TRY(cursor_open(snapshot, (EngineRange){0}, false, &cursor));
        while (found) {
                arena_reset(&hold);
                TRY(cursor_next(cursor, &hold, &key, &value, &found));
                const char *wrong = found ? table_verify_row(feed->verify, id, key, value, false) : NULL;
                if (wrong)
                        TRY(hear(&feed->said, wrong));
        }
        cursor_close(cursor);
        store_unpin(snapshot);
        store_table_unref(table);
        arena_done(&hold);
        return ST_OK;
}

static Status feed_table(void *ctx, uint64_t id, const char *engine)
{
        return table_verify_table(((Feed *)ctx)->verify, id, engine);
}

/* All of the world's rows and tables. */
static void feed_all(World *w, Feed *feed)
{
        *feed = (Feed){.world = w};
        ok(table_verify_new(&feed->verify));
        ok(store_each_table(w->store, feed_rows, feed));
        ok(store_each_table(w->store, feed_table, feed));
}

static void world_filled(World *w)
{
        Value result;
        uint64_t position;
        world_init(w, 5);
        world_open(w);
        ok(w->source->db_create(w->catalog, BYTES_STR("shop"), &w->arena, &result, &position));
        make_table(w, "shop", "orders");
        make_table(w, "test", "gone");
        ok(w->source->table_create(w->catalog, BYTES_STR("shop"), BYTES_STR("people"),
                                   json(w, "{\"primary_key\":\"name\"}"), &w->arena, &result, &position));
        TableRef *orders = find(w, "shop", "orders"), *people = find(w, "shop", "people");
        put(w, orders, value_number(7), json(w, "{\"id\":7,\"a\":[1,2,{\"b\":null}]}"));
        put(w, orders, value_str("seven"), json(w, "{\"id\":\"seven\"}"));
        put(w, people, value_str("Ann"), json(w, "{\"name\":\"Ann\",\"id\":1}"));
        w->source->table_unref(orders);
        w->source->table_unref(people);
        ok(w->source->table_drop(w->catalog, BYTES_STR("test"), BYTES_STR("gone"), &w->arena, &result, &position));
}

static void test_whole(void **state)
{
        World w;
        Feed feed;
        const char *name;
        uint64_t id;
        world_filled(&w);
        feed_all(&w, &feed);
        ok(table_verify_finish(feed.verify, hear, &feed.said));
        assert_string_equal(feed.said.text, "");
        uint64_t orders = table_verify_find(feed.verify, BYTES_STR("shop.orders"));
        assert_true(orders >= FIRST_TABLE_ID);
        assert_int_equal(table_verify_find(feed.verify, BYTES_STR("test.gone")), 0);
        assert_string_equal(table_verify_name(feed.verify, orders, &w.arena), "shop.orders");
        assert_string_equal(table_verify_name(feed.verify, 1, &w.arena), "the catalog");
        assert_string_equal(table_verify_name(feed.verify, 999, &w.arena), "table 999");
        size_t n = 0;
        while (table_verify_listed(feed.verify, n, &w.arena, &id, &name))
                n++;
        assert_int_equal(n, 2);
        table_verify_free(feed.verify);
        world_done(&w);
}

static Bytes encoded(World *w, Value v)
{
        size_t size = value_encoded_size(v);
        uint8_t *out = arena_alloc(&w->arena, size);
        value_encode(v, out);
        return BYTES(out, size);
}

static Bytes key_of(World *w, Value v)
{
        Bytes key;
        ok(key_encode_primary(v, &w->arena, &key));
        return key;
}

static void test_bad_rows(void **state)
{
        World w;
        Feed feed;
        world_filled(&w);
        feed_all(&w, &feed);
        uint64_t orders = table_verify_find(feed.verify, BYTES_STR("shop.orders"));
        uint64_t people = table_verify_find(feed.verify, BYTES_STR("shop.people"));
        Bytes good = encoded(&w, json(&w, "{\"id\":\"x\",\"n\":[1]}"));
        assert_null(table_verify_row(feed.verify, orders, key_of(&w, value_str("x")), good, true));
        assert_string_equal(
                table_verify_row(feed.verify, orders, key_of(&w, value_str("y")), good, true),
                "shop.orders, row \"y\": its document's primary key `id` is another than the one it lies under");
        assert_string_equal(table_verify_row(feed.verify, people, key_of(&w, value_number(-2.5)), good, false),
                            "shop.people, row -2.5: its document has no primary key `name`");
        assert_string_equal(table_verify_row(feed.verify, orders, key_of(&w, value_bool(true)),
                                             encoded(&w, value_number(1)), false),
                            "shop.orders, row with key 31: it is not an object but of type NUMBER");
        assert_string_equal(
                table_verify_row(feed.verify, orders, key_of(&w, value_str("x")),
                                 encoded(&w, json(&w, "{\"id\":null}")), false),
                "shop.orders, row \"x\": its document's primary key cannot be one: Primary keys must be either "
                "a number, string, bool, pseudotype or array (got type NULL):");
        Field minval[] = {{BYTES_STR("id"), value_str("x")}, {BYTES_STR("m"), value_minval()}};
        assert_string_equal(table_verify_row(feed.verify, orders, key_of(&w, value_str("x")),
                                             encoded(&w, value_object_sorted(minval, 2)), false),
                            "shop.orders, row \"x\": `r.minval` and `r.maxval` cannot be written to disk.");
        /* Every cut of a document, and a table that nobody knows. */
        for (size_t n = 0; n < good.size; n++)
                assert_string_equal(
                        table_verify_row(feed.verify, orders, key_of(&w, value_str("x")), BYTES(good.data, n), false),
                        "shop.orders, row \"x\": it is not a document");
        assert_null(table_verify_row(feed.verify, 999, BYTES_STR("?"), good, false));
        assert_string_equal(table_verify_row(feed.verify, 999, BYTES_STR("?"), BYTES_STR("?"), false),
                            "table 999, row with key 3f: it is not a document");
        assert_null(table_verify_row(feed.verify, orders, key_of(&w, value_str("x")), BYTES_NONE, true));
        table_verify_free(feed.verify);
        world_done(&w);
}

static const char *catalog_row(World *w, Feed *feed, const char *key, const char *document)
{
        return table_verify_row(feed->verify, CATALOG_TABLE_ID, BYTES_STR(key),
                                document ? encoded(w, json(w, document)) : BYTES_NONE, true);
}

#define DB "00000000-0000-4000-8000-00000000000a"
#define T1 "00000000-0000-4000-8000-000000000001"
#define T2 "00000000-0000-4000-8000-000000000002"
#define REST                                                                                                           \
        "\"durability\":\"hard\",\"write_acks\":\"single\",\"engine\":\"memory\",\"primary_key\":\"id\",\"shards\":1"

static void test_bad_catalog(void **state)
{
        World w;
        Feed feed = {.world = &w};
        world_init(&w, 5);
        ok(table_verify_new(&feed.verify));
        /* Nothing at all is fine; a table without a catalog is not. */
        ok(table_verify_finish(feed.verify, hear, &feed.said));
        assert_int_equal(feed.said.count, 0);
        ok(table_verify_table(feed.verify, 33, "memory"));
        ok(table_verify_finish(feed.verify, hear, &feed.said));
        assert_string_equal(feed.said.text, "there are tables but no catalog that names them\n");

        assert_string_equal(catalog_row(&w, &feed, "x", "{}"), "the catalog's document `x` is not one of a catalog");
        assert_string_equal(catalog_row(&w, &feed, "ubob", "{\"id\":\"eve\"}"),
                            "the catalog's document `ubob` is not one of a user");
        assert_null(catalog_row(&w, &feed, "ubob", NULL));
        assert_string_equal(catalog_row(&w, &feed, "m", "[]"), "the catalog's document `m` is not an object");
        assert_string_equal(catalog_row(&w, &feed, "m", "{\"format\":99,\"next_store_id\":40}"),
                            "the catalog's document `m` is of a newer version of this program");
        assert_string_equal(catalog_row(&w, &feed, "m", "{\"format\":1}"),
                            "the catalog's document `m` lacks a number that belongs there");
        assert_null(catalog_row(&w, &feed, "m", "{\"format\":1,\"next_store_id\":20}"));
        assert_string_equal(catalog_row(&w, &feed, "d" DB, "{\"id\":\"" T1 "\",\"name\":\"a\"}"),
                            "the catalog's document `d" DB "` has another id than its key");
        assert_null(catalog_row(&w, &feed, "d" DB, "{\"id\":\"" DB "\",\"name\":\"a\"}"));
        assert_string_equal(catalog_row(&w, &feed, "t" T1, "{\"id\":\"" T1 "\",\"name\":\"t\"}"),
                            "the catalog's document `t" T1 "` lacks a text that belongs there");
        assert_null(catalog_row(&w, &feed, "t" T1,
                                "{\"id\":\"" T1 "\",\"name\":\"t\",\"db\":\"" DB "\",\"store_id\":16," REST "}"));
        assert_string_equal(catalog_row(&w, &feed, "t" T2,
                                        "{\"id\":\"" T2 "\",\"name\":\"u\",\"db\":\"" DB "\",\"store_id\":16," REST
                                        "}"),
                            "the catalog's document `t" T2 "` names a table that is another's");
        assert_null(catalog_row(&w, &feed, "t" T2,
                                "{\"id\":\"" T2 "\",\"name\":\"t\",\"db\":\"" DB "\",\"store_id\":20," REST "}"));
        feed.said = (Said){0};
        ok(table_verify_table(feed.verify, 16, "btree"));
        ok(table_verify_finish(feed.verify, hear, &feed.said));
        assert_string_equal(feed.said.text,
                            "table a.t (table 16) has another storage engine than the catalog says\n"
                            "the catalog has two tables of the name a.t\n"
                            "the catalog's table a.t has a number that has not been given out yet (20)\n"
                            "the catalog's table a.t (table 20) is not in the files\n"
                            "table 33 is in the files, but not in the catalog\n");
        /* A dropped database leaves its tables alone in the world. */
        assert_null(catalog_row(&w, &feed, "t" T2, NULL));
        assert_null(catalog_row(&w, &feed, "d" DB, NULL));
        feed.said = (Said){0};
        ok(table_verify_finish(feed.verify, hear, &feed.said));
        assert_non_null(strstr(feed.said.text, "table a.t is of a database that does not exist\n"));
        /* What cannot be read is not complained of. */
        feed.said = (Said){0};
        table_verify_damaged(feed.verify, CATALOG_TABLE_ID);
        ok(table_verify_finish(feed.verify, hear, &feed.said));
        assert_int_equal(feed.said.count, 1);
        table_verify_free(feed.verify);
        world_done(&w);
}

/* A rename and a drop in the log change what rows are held against. */
static void test_changes(void **state)
{
        World w;
        Feed feed = {.world = &w};
        world_init(&w, 5);
        ok(table_verify_new(&feed.verify));
        assert_null(catalog_row(&w, &feed, "m", "{\"format\":1,\"next_store_id\":20}"));
        assert_null(catalog_row(&w, &feed, "d" DB, "{\"id\":\"" DB "\",\"name\":\"a\"}"));
        assert_null(catalog_row(&w, &feed, "t" T1,
                                "{\"id\":\"" T1 "\",\"name\":\"t\",\"db\":\"" DB "\",\"store_id\":16," REST "}"));
        assert_null(catalog_row(&w, &feed, "d" DB, "{\"id\":\"" DB "\",\"name\":\"b\"}"));
        assert_null(catalog_row(&w, &feed, "t" T1,
                                "{\"id\":\"" T1 "\",\"name\":\"u\",\"db\":\"" DB "\",\"store_id\":16," REST "}"));
        assert_int_equal(table_verify_find(feed.verify, BYTES_STR("b.u")), 16);
        assert_int_equal(table_verify_find(feed.verify, BYTES_STR("a.t")), 0);
        assert_null(catalog_row(&w, &feed, "t" T1, NULL));
        assert_int_equal(table_verify_find(feed.verify, BYTES_STR("b.u")), 0);
        ok(table_verify_finish(feed.verify, hear, &feed.said));
        assert_int_equal(feed.said.count, 0);
        table_verify_free(feed.verify);
        world_done(&w);
}

/* The nth allocation fails: an error at the end, no leak, no false accusation. */
static void test_without_memory(void **state)
{
        static const char *const rows[][2] = {
                {"m", "{\"format\":1,\"next_store_id\":20}"},
                {"d" DB, "{\"id\":\"" DB "\",\"name\":\"a\"}"},
                {"t" T1, "{\"id\":\"" T1 "\",\"name\":\"t\",\"db\":\"" DB "\",\"store_id\":16," REST "}"}};
        World w;
        Bytes documents[3];
        world_init(&w, 5);
        for (int i = 0; i < 3; i++)
                documents[i] = encoded(&w, json(&w, rows[i][1]));
        Bytes row = encoded(&w, json(&w, "{\"id\":\"x\",\"n\":[1]}")), key = key_of(&w, value_str("x"));
        for (int n = 1, fired = 1; fired; n++) {
                TableVerify *verify = NULL;
                Said said = {0};
                mem_fail_nth(n);
                Status st = table_verify_new(&verify);
                if (!st) {
                        for (int i = 0; i < 3; i++)
                                assert_null(table_verify_row(verify, CATALOG_TABLE_ID, BYTES_STR(rows[i][0]),
                                                             documents[i], false));
                        assert_null(table_verify_row(verify, 16, key, row, false));
                        st = table_verify_table(verify, 16, "memory");
                }
                if (!st)
                        st = table_verify_finish(verify, hear, &said);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                assert_int_equal(status_code(st), fired ? ERR_NOMEM : ERR_NONE);
                assert_string_equal(said.text, "");
                status_ignore(st);
                table_verify_free(verify);
        }
        world_done(&w);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_whole),          cmocka_unit_test(test_bad_rows),
                cmocka_unit_test(test_bad_catalog),    cmocka_unit_test(test_changes),
                cmocka_unit_test(test_without_memory),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
