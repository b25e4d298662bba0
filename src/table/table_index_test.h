/* table_index_test.h - making and reading indexes, for the tests of this folder. */
#ifndef TABLE_TABLE_INDEX_TEST_H
#define TABLE_TABLE_INDEX_TEST_H

#include "table/index_int.h"
#include "table/table_test.h"
#include "table/verify.h"

#define FUNC(body) "[69,[[2,[1]]," body "]]"
#define ROW(field) "[170,[[10,[1]],\"" field "\"]]"
#define SIMPLE     FUNC(ROW("a"))
#define COMPOUND   FUNC("[2,[" ROW("a") "," ROW("b") "]]")
#define MULTI      FUNC(ROW("m"))
#define GEO        FUNC(ROW("g"))

static inline Status try_create_as(World *w, TableRef *table, const IndexSpec *spec)
{
        Value result;
        uint64_t position = 0;
        TRY(w->source->index_create(table, spec, &w->arena, &result, &position));
        assert_true(value_get_str(result, "created").number == 1);
        assert_true(position > 0);
        return ST_OK;
}

static inline Status try_create(World *w, TableRef *table, const char *name, const char *function, bool multi, bool geo)
{
        IndexSpec spec = {.name = BYTES_STR(name), .function = BYTES_STR(function), .multi = multi, .geo = geo};
        return try_create_as(w, table, &spec);
}

static inline Status try_create_unique(World *w, TableRef *table, const char *name, const char *function, bool multi)
{
        IndexSpec spec = {.name = BYTES_STR(name), .function = BYTES_STR(function), .multi = multi, .unique = true};
        return try_create_as(w, table, &spec);
}

static inline void create(World *w, TableRef *table, const char *name, const char *function, bool multi, bool geo)
{
        ok(try_create(w, table, name, function, multi, geo));
}

static inline Status try_build_all(World *w)
{
        bool more = true;
        while (more)
                TRY(build_step(w->catalog, &more));
        return ST_OK;
}

static inline KeyBounds bounds_between(Value low, BoundType low_type, Value high, BoundType high_type)
{
        return (KeyBounds){.low = low, .high = high, .low_type = low_type, .high_type = high_type};
}

/* The primary keys of a scan, as JSON. */
static inline const char *scanned(World *w, TableRef *table, const char *index, const KeyBounds *bounds,
                                  bool descending)
{
        TableView *view;
        TableScan *scan;
        ArrayBuilder keys;
        ok(w->source->view_open(table, &view));
        ok(w->source->index_scan_open(view, BYTES_STR(index), bounds, descending, &scan));
        array_init(&keys, &w->arena, 16);
        for (;;) {
                Value row;
                ok(w->source->scan_next(scan, &w->arena, &row));
                if (value_is(row, V_NONE))
                        break;
                array_add(&keys, value_copy(value_get_str(row, "id"), &w->arena));
        }
        w->source->scan_close(scan);
        w->source->view_close(view);
        return text_of_value(w, array_take(&keys));
}

static inline const char *status_text_of(World *w, TableRef *table, const char *name)
{
        Value names = name ? value_str(name) : value_none(), status;
        ok(w->source->index_status(table, &names, name ? 1 : 0, &w->arena, &status));
        return text_of_value(w, status);
}

/* --- do indexes agree with rows? --- */

static inline Status no_problem(void *ctx, const char *text)
{
        fail_msg("%s", text);
        return ST_OK;
}

static inline void tell_tree(TableVerify *verify, Snapshot *snapshot, uint64_t id, uint32_t tree)
{
        Cursor *cursor;
        Arena hold;
        bool found = true;
        arena_init(&hold, 0);
        ok(cursor_tree_open(snapshot, tree, (EngineRange){0}, false, &cursor));
        while (found) {
                Bytes key, value;
                ok(cursor_next(cursor, &hold, &key, &value, &found));
                if (found && tree == 0)
                        assert_null(table_verify_row(verify, id, key, value, false));
                else if (found)
                        table_verify_entry(verify, id, tree, key, value, false);
                arena_reset(&hold);
        }
        cursor_close(cursor);
        arena_done(&hold);
}

/* Of all ordinary tables that there are. */
static inline void check_agreement_of(World *w, TableRef *const *tables, size_t count)
{
        TableVerify *verify;
        Snapshot *snapshot;
        ok(table_verify_new(&verify));
        ok(store_pin(w->catalog->documents, &snapshot));
        tell_tree(verify, snapshot, CATALOG_TABLE_ID, 0);
        store_unpin(snapshot);
        for (size_t i = 0; i < count; i++) {
                ok(store_pin(tables[i]->store, &snapshot));
                for (uint32_t tree = 0; tree < 8; tree++)
                        tell_tree(verify, snapshot, tables[i]->store_id, tree);
                store_unpin(snapshot);
                ok(table_verify_table(verify, tables[i]->store_id, tables[i]->engine));
        }
        ok(table_verify_finish(verify, no_problem, NULL));
        table_verify_free(verify);
}

static inline void check_agreement(World *w, TableRef *table)
{
        check_agreement_of(w, &table, 1);
}

static inline void wait_until_ready(World *w)
{
        for (bool ready = false; !ready;) {
                TableRef *table = find(w, "test", "t");
                const IndexInfo *infos;
                size_t count = w->source->index_list(table, &infos);
                ready = true;
                for (size_t i = 0; i < count; i++)
                        ready &= infos[i].ready || infos[i].error.data;
                w->source->table_unref(table);
        }
}

#endif
