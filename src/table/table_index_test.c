#include "table/table_index_test.h"

#include <stdlib.h>

#include "table/verify.h"
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

static void put_json(TableRef *table, const char *text)
{
        Value row = json(&w, text);
        RowOutcome outcome = put(&w, table, value_get_str(row, "id"), row);
        assert_null(outcome.error);
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

static void test_simple(void **state)
{
        TableRef *t = fresh("t");
        put_json(t, "{\"id\":1,\"a\":10}");
        put_json(t, "{\"id\":2,\"a\":5}");
        put_json(t, "{\"id\":3}");
        put_json(t, "{\"id\":4,\"a\":null}");
        put_json(t, "{\"id\":5,\"a\":\"x\"}");
        create(&w, t, "a", SIMPLE, false, false);
        renew(&t);
        put_json(t, "{\"id\":6,\"a\":7}"); /* while it is being built */
        put_json(t, "{\"id\":1,\"a\":10,\"z\":1}");
        TableView *view;
        TableScan *scan;
        ok(w.source->view_open(t, &view));
        refused(w.source->index_scan_open(view, BYTES_STR("a"), NULL, false, &scan), ERR_OP_FAILED,
                "Index `a` on table `test.t` was accessed before its construction was finished.");
        refused(w.source->index_scan_open(view, BYTES_STR("b"), NULL, false, &scan), ERR_OP_FAILED,
                "Index `b` was not found on table `test.t`.");
        w.source->view_close(view);
        assert_non_null(strstr(status_text_of(&w, t, "a"), "\"progress\":0,\"query\":\"indexCreate('a', function("));
        assert_non_null(strstr(status_text_of(&w, t, "a"), "\"ready\":false"));
        ok(try_build_all(&w));
        renew(&t);
        assert_string_equal(scanned(&w, t, "a", NULL, false), "[2,6,1,5]");
        assert_string_equal(scanned(&w, t, "a", NULL, true), "[5,1,6,2]");
        KeyBounds b = bounds_between(value_number(5), BOUND_OPEN, value_number(10), BOUND_CLOSED);
        assert_string_equal(scanned(&w, t, "a", &b, false), "[6,1]");
        b = bounds_between(value_number(5), BOUND_CLOSED, value_number(10), BOUND_OPEN);
        assert_string_equal(scanned(&w, t, "a", &b, false), "[2,6]");
        b = bounds_between(value_minval(), BOUND_CLOSED, value_maxval(), BOUND_CLOSED);
        assert_string_equal(scanned(&w, t, "a", &b, false), "[2,6,1,5]");
        b = bounds_between(value_number(10), BOUND_CLOSED, value_number(5), BOUND_CLOSED);
        assert_string_equal(scanned(&w, t, "a", &b, false), "[]");
        assert_null(strstr(status_text_of(&w, t, NULL), "progress"));
        put_json(t, "{\"id\":2,\"a\":50}");
        put(&w, t, value_number(6), value_null());
        assert_string_equal(scanned(&w, t, "a", NULL, false), "[1,2,5]");
        w.source->table_unref(t);
}

static void test_names(void **state)
{
        TableRef *t = fresh("names");
        Value result, name = value_str("zz");
        uint64_t position = 0;
        const IndexInfo *infos;
        create(&w, t, "b", SIMPLE, false, false);
        create(&w, t, "a", MULTI, true, false);
        refused(try_create(&w, t, "a", SIMPLE, false, false), ERR_OP_FAILED,
                "Index `a` already exists on table `test.names`.");
        refused(try_create(&w, t, "id", SIMPLE, false, false), ERR_LOGIC,
                "Index name conflict: `id` is the name of the primary key.");
        refused(try_create(&w, t, "c", "[1]", false, false), ERR_CORRUPT, NULL);
        refused(w.source->index_drop(t, BYTES_STR("zz"), &w.arena, &result, &position), ERR_OP_FAILED,
                "Index `zz` does not exist on table `test.names`.");
        refused(w.source->index_status(t, &name, 1, &w.arena, &result), ERR_OP_FAILED,
                "Index `zz` was not found on table `test.names`.");
        refused(w.source->index_rename(t, BYTES_STR("a"), BYTES_STR("b"), false, &w.arena, &result, &position),
                ERR_OP_FAILED, "Index `a` does not exist or index `b` already exists on table `test.names`.");
        ok(w.source->index_rename(t, BYTES_STR("a"), BYTES_STR("a"), false, &w.arena, &result, &position));
        assert_string_equal(text_of_value(&w, result), "{\"renamed\":0}");
        ok(w.source->index_rename(t, BYTES_STR("a"), BYTES_STR("b"), true, &w.arena, &result, &position));
        assert_string_equal(text_of_value(&w, result), "{\"renamed\":1}");
        renew(&t);
        assert_int_equal(w.source->index_list(t, &infos), 1);
        assert_true(bytes_equal(infos[0].name, BYTES_STR("b")) && infos[0].multi && !infos[0].ready);
        ok(try_build_all(&w)); /* the one that was written over, and its tree, are nobody's business any more */
        w.source->table_unref(t);
        world_close(&w);
        world_open(&w);
        t = find(&w, "test", "names");
        assert_int_equal(w.source->index_list(t, &infos), 1);
        assert_true(infos[0].ready && infos[0].multi);
        ok(w.source->config(w.catalog, BYTES_STR("test"), BYTES_STR("names"), &w.arena, &result));
        assert_string_equal(text_of_value(&w, value_get_str(result, "indexes")), "[\"b\"]");
        ok(w.source->index_drop(t, BYTES_STR("b"), &w.arena, &result, &position));
        assert_string_equal(text_of_value(&w, result), "{\"dropped\":1}");
        assert_string_equal(status_text_of(&w, t, NULL), "[]");
        w.source->table_unref(t);
        t = find(&w, "rethinkdb", "table_config");
        refused(try_create(&w, t, "c", SIMPLE, false, false), ERR_OP_FAILED,
                "Database `rethinkdb` is special; you can't create secondary indexes on the tables in it.");
        assert_string_equal(status_text_of(&w, t, NULL), "[]");
        w.source->table_unref(t);
}

static void test_multi(void **state)
{
        TableRef *t = fresh("multi");
        create(&w, t, "m", MULTI, true, false);
        put_json(t, "{\"id\":1,\"m\":[3,1,null,1]}");
        put_json(t, "{\"id\":2,\"m\":2}");
        put_json(t, "{\"id\":3,\"m\":[[1],\"x\",{}]}");
        put_json(t, "{\"id\":4,\"m\":[]}");
        ok(try_build_all(&w));
        renew(&t);
        assert_string_equal(scanned(&w, t, "m", NULL, false), "[3,1,1,2,1,3]");
        KeyBounds b = bounds_between(value_number(1), BOUND_CLOSED, value_number(1), BOUND_CLOSED);
        assert_string_equal(scanned(&w, t, "m", &b, false), "[1,1]");
        put_json(t, "{\"id\":1,\"m\":[1]}");
        assert_string_equal(scanned(&w, t, "m", &b, false), "[1]");
        w.source->table_unref(t);
}

#define POINT(lon, lat) "{\"$reql_type$\":\"GEOMETRY\",\"type\":\"Point\",\"coordinates\":[" #lon "," #lat "]}"

static Value typed(const char *text)
{
        Value v;
        ok(json_parse_copy(BYTES_STR(text), JSON_PSEUDO, &w.arena, &v));
        return v;
}

static const char *geo_scanned(TableRef *table, const char *index, double lon, double lat)
{
        uint64_t cells[GEO_CELLS_MAX];
        GeoRange ranges[GEO_RANGES_MAX];
        size_t count;
        GeoShape *shape;
        GeoVerdict verdict;
        TableView *view;
        TableScan *scan;
        ArrayBuilder found;
        ok(geo_shape_new(GEO_POINT, &shape));
        ok(geo_shape_add(shape, (GeoPoint){lon, lat}));
        ok(geo_shape_finish(shape, &verdict));
        ok(geo_cover(shape, GEO_SEARCH_CELLS, cells, &count));
        geo_shape_free(shape);
        count = geo_search(cells, count, ranges);
        ok(w.source->view_open(table, &view));
        ok(w.source->geo_scan_open(view, BYTES_STR(index), ranges, count, &scan));
        array_init(&found, &w.arena, 4);
        for (;;) {
                Value row, value;
                ok(w.source->scan_next(scan, &w.arena, &row));
                if (value_is(row, V_NONE))
                        break;
                ok(w.source->scan_index_value(scan, &w.arena, &value));
                assert_true(value_is(value, V_GEOMETRY));
                array_add(&found, value_copy(value_get_str(row, "id"), &w.arena));
        }
        w.source->scan_close(scan);
        w.source->view_close(view);
        return text_of_value(&w, array_take(&found));
}

static void test_geo(void **state)
{
        TableRef *t = fresh("geo");
        create(&w, t, "g", GEO, false, true);
        create(&w, t, "m", GEO, true, true);
        ok(try_build_all(&w));
        renew(&t);
        static const char *const rows[] = {
                "{\"id\":1,\"g\":" POINT(10, 10) "}", "{\"id\":2,\"g\":[" POINT(20, 20) "," POINT(20, 20) ",7]}",
                "{\"id\":3,\"g\":7}",
                "{\"id\":4,\"g\":[" POINT(20, 20) ",{\"$reql_type$\":\"GEOMETRY\",\"type\":\"Point\",\"coordinates\":"
                                                  "[500,0]}]}", /* one that is no place takes the row out */
        };
        for (size_t i = 0; i < ELEMENTS(rows); i++) {
                Value row = typed(rows[i]);
                assert_null(put(&w, t, value_get_str(row, "id"), row).error);
        }
        assert_string_equal(geo_scanned(t, "g", 10, 10), "[1]");
        assert_string_equal(geo_scanned(t, "m", 10, 10), "[1]");
        assert_string_equal(geo_scanned(t, "m", 20, 20), "[2,2]");
        assert_string_equal(geo_scanned(t, "g", 20, 20), "[]");
        TableView *view;
        TableScan *scan;
        ok(w.source->view_open(t, &view));
        refused(w.source->index_scan_open(view, BYTES_STR("g"), NULL, false, &scan), ERR_LOGIC,
                "Index `g` is a geospatial index.  Only get_nearest and get_intersecting can use a geospatial index.");
        w.source->view_close(view);
        w.source->table_unref(t);
}

static Status set_hook(TableRef *t, const char *function, const char *answer)
{
        Value result;
        uint64_t position = 0;
        TRY(w.source->write_hook_set(t, function ? BYTES_STR(function) : BYTES_NONE, &w.arena, &result, &position));
        assert_string_equal(text_of_value(&w, result), answer);
        return ST_OK;
}

/* (context, old, new) => body */
#define HOOK(body)  "[69,[[2,[1,2,3]]," body "]]"
#define HOOK_MERGE  HOOK("[35,[[10,[3]],{\"key\":[170,[[10,[1]],\"primary_key\"]]}]]")
#define HOOK_BRANCH HOOK("[65,[[17,[[10,[3]],null]],{\"id\":1},[10,[3]]]]")

static void test_write_hook(void **state)
{
        TableRef *t = fresh("hooked");
        Value hook;
        RowOutcome outcome;
        ok(w.source->write_hook_get(t, &w.arena, &hook));
        assert_true(value_is(hook, V_NONE));
        ok(set_hook(t, HOOK_MERGE, "{\"created\":1}"));
        outcome = put(&w, t, value_number(1), json(&w, "{\"id\":1}")); /* the old TableRef does for writers */
        assert_null(outcome.error);
        assert_string_equal(text_of_value(&w, outcome.new_row), "{\"id\":1,\"key\":1}");
        ok(set_hook(t, HOOK("{\"id\":1}"), "{\"replaced\":1}"));
        outcome = put(&w, t, value_number(1), value_null());
        assert_string_equal(status_message(outcome.error),
                            "A write hook function must not turn a deletion into a replace/insert.");
        status_ignore(outcome.error);
        ok(set_hook(t, HOOK("null"), "{\"replaced\":1}"));
        outcome = put(&w, t, value_number(2), json(&w, "{\"id\":2}"));
        assert_int_equal(status_code(outcome.error), ERR_OP_FAILED);
        assert_string_equal(status_message(outcome.error),
                            "A write hook function must not turn a replace/insert into a deletion.");
        status_ignore(outcome.error);
        ok(set_hook(t, HOOK("[170,[[10,[2]],\"id\"]]"), "{\"replaced\":1}"));
        outcome = put(&w, t, value_number(2), json(&w, "{\"id\":2}"));
        assert_non_null(strstr(status_message(outcome.error), "Error in write hook: "));
        status_ignore(outcome.error);
        renew(&t);
        ok(w.source->write_hook_get(t, &w.arena, &hook));
        assert_non_null(strstr(text_of_value(&w, hook), "\"query\":\"setWriteHook(function("));
        w.source->table_unref(t);
        world_close(&w);
        world_open(&w);
        t = find(&w, "test", "hooked");
        ok(w.source->write_hook_get(t, &w.arena, &hook));
        assert_true(value_is_object(hook));
        ok(set_hook(t, NULL, "{\"deleted\":1}"));
        outcome = put(&w, t, value_number(2), json(&w, "{\"id\":2}"));
        assert_null(outcome.error);
        w.source->table_unref(t);
}

/* --- against a model --- */

enum { KEYS = 60, MODEL_INDEXES = 5 };

static const struct {
        const char *name, *function;
        bool multi, geo;
} kinds[MODEL_INDEXES] = {
        {"simple", SIMPLE, false, false}, {"compound", COMPOUND, false, false}, {"multi", MULTI, true, false},
        {"geo", GEO, false, true},        {"multi_geo", GEO, true, true},
};

static uint64_t random_state;

static unsigned pick(unsigned n)
{
        random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        return (unsigned)(random_state >> 33) % n;
}

static Value random_value(Arena *arena)
{
        static const unsigned sizes[] = {0, 1, 3, 197, 198, 199, 200, 201, 202, 230, 300};
        switch (pick(9)) {
        case 0: return value_null();
        case 1: return value_bool(pick(2));
        case 2:
        case 3: return value_number(pick(10));
        case 4: {
                Value *items = arena_array(arena, Value, 3);
                for (size_t i = 0; i < 3; i++)
                        items[i] = value_number(pick(3));
                return value_array(items, pick(4));
        }
        case 5: return value_object_sorted(NULL, 0);
        default: { /* texts that agree for long */
                size_t size = sizes[pick(ELEMENTS(sizes))];
                char *text = arena_alloc(arena, size + 1);
                memset(text, 'x', size);
                for (int i = 0; size > 0 && i < 2; i++)
                        text[size - 1 - pick((unsigned)MIN(size, (size_t)40))] = "wxyz\xff"[pick(4)];
                return value_string(BYTES(text, size));
        }
        }
}

static Value random_row(unsigned id, Arena *arena)
{
        ObjectBuilder row;
        ArrayBuilder many;
        object_init(&row, arena, 6);
        object_add_str(&row, "id", value_number(id));
        if (pick(6))
                object_add_str(&row, "a", random_value(arena));
        if (pick(6))
                object_add_str(&row, "b", random_value(arena));
        array_init(&many, arena, 4);
        for (unsigned n = pick(5); n > 0; n--)
                array_add(&many, random_value(arena));
        object_add_str(&row, "m", pick(4) ? array_take(&many) : random_value(arena));
        const char *text = arena_printf(
                arena, "{\"$reql_type$\":\"GEOMETRY\",\"type\":\"Point\",\"coordinates\":[%u,%u]}", pick(4), pick(4));
        Value point;
        ok(json_parse_copy(BYTES_STR(text), JSON_PSEUDO, arena, &point));
        Value *points = arena_array(arena, Value, 2);
        points[0] = points[1] = point;
        object_add_str(&row, "g", pick(3) ? point : value_array(points, 2));
        return object_take(&row);
}

/* The value that the index's function makes of the row; V_NONE: an error. */
static Value model_value(size_t kind, Value row, Arena *arena)
{
        if (kind != 1)
                return value_get_str(row, kind == 0 ? "a" : kind == 2 ? "m" : "g");
        Value *pair = arena_array(arena, Value, 2);
        pair[0] = value_get_str(row, "a");
        pair[1] = value_get_str(row, "b");
        return value_is(pair[0], V_NONE) || value_is(pair[1], V_NONE) ? value_none() : value_array(pair, 2);
}

typedef struct ModelEntry {
        Value value;
        unsigned id;
        size_t at;
} ModelEntry;

static int compare_model(const void *a, const void *b)
{
        const ModelEntry *x = a, *y = b;
        int order = value_compare(x->value, y->value);
        if (order)
                return order;
        if (x->id != y->id)
                return x->id < y->id ? -1 : 1;
        return x->at < y->at ? -1 : 1;
}

static bool within(const KeyBounds *b, Value v)
{
        int low = b->low_type == BOUND_NONE ? 1 : value_compare(v, b->low);
        int high = b->high_type == BOUND_NONE ? -1 : value_compare(v, b->high);
        return (low > 0 || (low == 0 && b->low_type == BOUND_CLOSED)) &&
               (high < 0 || (high == 0 && b->high_type == BOUND_CLOSED));
}

static size_t model_scan(size_t kind, const Value *rows, const KeyBounds *b, Arena *arena, ModelEntry *out)
{
        size_t n = 0;
        for (unsigned id = 0; id < KEYS; id++) {
                Value v = value_is_object(rows[id]) ? model_value(kind, rows[id], arena) : value_none();
                bool many = kinds[kind].multi && value_is(v, V_ARRAY);
                for (size_t i = 0; i < (many ? value_count(v) : 1); i++) {
                        Value item = many ? value_at(v, i) : v;
                        if (!value_is(item, V_NONE) && key_is_secondary(item) && within(b, item))
                                out[n++] = (ModelEntry){item, id, i};
                }
        }
        qsort(out, n, sizeof *out, compare_model);
        return n;
}

static KeyBounds random_bounds(Arena *arena)
{
        KeyBounds b = {.low = random_value(arena), .high = random_value(arena)};
        b.low_type = (BoundType)pick(3);
        b.high_type = (BoundType)pick(3);
        if (!pick(6))
                b.low = value_minval();
        if (!pick(6))
                b.high = value_maxval();
        if (!pick(4)) {
                b.high = b.low;
                b.low_type = b.high_type = BOUND_CLOSED;
        }
        return b;
}

/* One scan of an index beside the model: rows, values, skipping, and the count. */
static void compare_scan(TableView *view, size_t kind, const char *name, const Value *rows, bool descending,
                         Arena *arena)
{
        ModelEntry *entries = arena_array(arena, ModelEntry, KEYS * 8);
        KeyBounds b = random_bounds(arena);
        size_t n = model_scan(kind, rows, &b, arena, entries), at = 0;
        uint64_t found;
        TableScan *scan;
        ok(w.source->index_count(view, BYTES_STR(name), &b, &found));
        assert_int_equal(found, n);
        ok(w.source->index_scan_open(view, BYTES_STR(name), &b, descending, &scan));
        for (;;) {
                Value row, value;
                if (!pick(5)) {
                        uint64_t skip = pick(7), skipped;
                        ok(w.source->scan_skip(scan, skip, &skipped));
                        assert_int_equal(skipped, MIN(skip, (uint64_t)(n - at)));
                        at += skipped;
                }
                ok(w.source->scan_next(scan, arena, &row));
                if (at == n) {
                        assert_true(value_is(row, V_NONE));
                        break;
                }
                const ModelEntry *e = &entries[descending ? n - 1 - at : at];
                at++;
                assert_true(value_is_object(row));
                assert_true(value_equal(row, rows[e->id]));
                ok(w.source->scan_index_value(scan, arena, &value));
                assert_true(value_equal(value, e->value));
        }
        w.source->scan_close(scan);
}

static void feed_verify(TableVerify *verify, uint64_t id, size_t tree_count)
{
        StoreTable *store = store_table_ref(w.store, id);
        Snapshot *snapshot;
        ok(store_pin(store, &snapshot));
        for (uint32_t tree = 0; tree < tree_count; tree++)
                tell_tree(verify, snapshot, id, tree);
        store_unpin(snapshot);
        store_table_unref(store);
}

static Status count_problem(void *ctx, const char *text)
{
        if (getenv("SHOW_PROBLEMS"))
                fprintf(stderr, "%s\n", text);
        ++*(unsigned *)ctx;
        return ST_OK;
}

static Status feed_table(void *ctx, TableRef *table)
{
        feed_verify(ctx, table->store_id, 16);
        return table_verify_table(ctx, table->store_id, table->engine);
}

static unsigned problems(void)
{
        TableVerify *verify;
        unsigned count = 0;
        ok(table_verify_new(&verify));
        feed_verify(verify, CATALOG_TABLE_ID, 1);
        ok(catalog_each_table(w.catalog, feed_table, verify));
        ok(table_verify_finish(verify, count_problem, &count));
        table_verify_free(verify);
        return count;
}

static Status set_many(void *ctx, size_t index, Value old_row, Arena *arena, Value *ret)
{
        *ret = ((const Value *)ctx)[index];
        return ST_OK;
}

static void write_some(TableRef *t, Value *rows, Arena *model_arena)
{
        Value keys[20], to[20];
        RowOutcome outcomes[20];
        unsigned n = 1 + pick(19), ids[20];
        uint64_t position = 0;
        for (unsigned i = 0; i < n; i++) {
                ids[i] = pick(KEYS);
                keys[i] = value_number(ids[i]);
                to[i] = pick(4) ? random_row(ids[i], model_arena) : value_null();
                rows[ids[i]] = to[i];
        }
        WriteOptions options = {.quick = pick(2)};
        ok(w.source->write(t, keys, n, set_many, to, &options, &w.arena, outcomes, &position));
        for (unsigned i = 0; i < n; i++)
                assert_null(outcomes[i].error);
}

static void change_indexes(TableRef **t, bool *there)
{
        size_t kind = pick(MODEL_INDEXES);
        Value result;
        uint64_t position = 0;
        renew(t);
        if (!there[kind]) {
                create(&w, *t, kinds[kind].name, kinds[kind].function, kinds[kind].multi, kinds[kind].geo);
                there[kind] = true;
        } else if (pick(2)) {
                ok(w.source->index_drop(*t, BYTES_STR(kinds[kind].name), &w.arena, &result, &position));
                there[kind] = false;
        } else { /* there and back, over one that is nobody's */
                if (pick(2))
                        create(&w, *t, "other", SIMPLE, false, false);
                ok(w.source->index_rename(*t, BYTES_STR(kinds[kind].name), BYTES_STR("other"), true, &w.arena, &result,
                                          &position));
                ok(w.source->index_rename(*t, BYTES_STR("other"), BYTES_STR(kinds[kind].name), false, &w.arena, &result,
                                          &position));
        }
        if (pick(2)) /* else writers go on with what they knew */
                renew(t);
}

static void run_model(unsigned seed)
{
        Value rows[KEYS] = {0};
        bool there[MODEL_INDEXES] = {false};
        char name[32];
        Arena model;
        snprintf(name, sizeof name, "model%u", seed);
        arena_init(&model, 0);
        random_state = seed;
        make_table(&w, "test", name);
        TableRef *t = find(&w, "test", name);
        for (unsigned step = 0; step < 150; step++) {
                bool more;
                unsigned what = pick(10);
                if (what < 5) {
                        write_some(t, rows, &model);
                } else if (what < 6) {
                        change_indexes(&t, there);
                } else if (what < 8) {
                        ok(build_step(w.catalog, &more));
                } else if (what == 8 && !pick(6)) {
                        w.source->table_unref(t);
                        world_close(&w);
                        world_open(&w);
                        t = find(&w, "test", name);
                } else {
                        TableView *view;
                        const IndexInfo *infos;
                        renew(&t);
                        size_t count = w.source->index_list(t, &infos);
                        ok(w.source->view_open(t, &view));
                        for (size_t i = 0; i < count; i++)
                                for (size_t kind = 0; kind < 3; kind++)
                                        if (infos[i].ready && bytes_equal(infos[i].name, BYTES_STR(kinds[kind].name)))
                                                compare_scan(view, kind, kinds[kind].name, rows, pick(2), &model);
                        w.source->view_close(view);
                }
                arena_reset(&w.arena);
        }
        ok(try_build_all(&w));
        assert_int_equal(problems(), 0);
        w.source->table_unref(t);
        arena_done(&model);
}

static void test_against_a_model(void **state)
{
        for (unsigned seed = 1; seed <= 40; seed++)
                run_model(seed);
}

/* --- verification finds what is wrong --- */

static void test_verification(void **state)
{
        TableRef *t = fresh("verified");
        create(&w, t, "a", SIMPLE, false, false);
        renew(&t);
        put_json(t, "{\"id\":1,\"a\":1}");
        put_json(t, "{\"id\":2,\"a\":2}");
        ok(try_build_all(&w));
        assert_int_equal(problems(), 0);
        Commit *commit;
        uint64_t position;
        bool found;
        Bytes key = key_encode(value_number(1), &w.arena);
        ok(commit_begin(w.store, &commit));
        ok(commit_lock(commit, t->store));
        Bytes old;
        ok(commit_get(commit, t->store, key, &w.arena, &old, &found));
        ok(commit_delete_row(commit, t->store, key, old));
        ok(commit_finish(commit, &position));
        assert_int_equal(problems(), 1);
        w.source->table_unref(t);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_simple, setup, teardown),
                cmocka_unit_test_setup_teardown(test_names, setup, teardown),
                cmocka_unit_test_setup_teardown(test_multi, setup, teardown),
                cmocka_unit_test_setup_teardown(test_geo, setup, teardown),
                cmocka_unit_test_setup_teardown(test_write_hook, setup, teardown),
                cmocka_unit_test_setup_teardown(test_against_a_model, setup, teardown),
                cmocka_unit_test_setup_teardown(test_verification, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
