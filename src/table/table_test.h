/* table_test.h - a catalog over a store on a simulated disk, for the tests of this folder. */
#ifndef TABLE_TABLE_TEST_H
#define TABLE_TABLE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "os/sim.h"
#include "storage/tail_test.h"
#include "table/table_int.h"
#include "value/json.h"

typedef struct World {
        SimOs *sim;
        Store *store;
        HostOps host;
        TableCatalog *catalog;
        const TableSource *source;
        Arena arena;
        bool background; /* the store's threads run */
        bool by_hand;    /* indexes are built by build_step alone */
} World;

static inline int64_t test_now_us(void *ctx)
{
        return os_wall_us(sim_os(((World *)ctx)->sim));
}

static inline int64_t test_mono_ns(void *ctx)
{
        return os_mono_ns(sim_os(((World *)ctx)->sim));
}

static inline Status test_random(void *ctx, void *out, size_t size)
{
        return os_random(sim_os(((World *)ctx)->sim), out, size);
}

#define ok(expr)                                                                                                       \
        do {                                                                                                           \
                Status ok_ = (expr);                                                                                   \
                if (ok_) {                                                                                             \
                        char text_[512];                                                                               \
                        fail_msg("%s: %s", #expr, status_text(ok_, text_, sizeof text_));                              \
                }                                                                                                      \
        } while (0)

/* The call fails with this code and message (NULL: any). */
#define refused(expr, with_code, message)                                                                              \
        do {                                                                                                           \
                Status r_ = (expr);                                                                                    \
                assert_non_null(r_);                                                                                   \
                if (message)                                                                                           \
                        assert_string_equal(status_message(r_), message);                                              \
                assert_int_equal(status_code(r_), with_code);                                                          \
                status_ignore(r_);                                                                                     \
        } while (0)

static inline Status world_try_open(World *w)
{
        StoreOptions options = {
                .os = sim_os(w->sim), .path = "data", .background = w->background, .log_keep_bytes = UINT64_C(1) << 40};
        TRY(store_open(&options, &w->store));
        Status st = catalog_open(w->store, &w->host, NULL, w->by_hand, &w->catalog);
        if (st) {
                status_ignore(store_close(take(w->store)));
                return st;
        }
        w->source = table_source(w->catalog);
        return ST_OK;
}

static inline void world_open(World *w)
{
        ok(world_try_open(w));
}

/* Whatever a test did to rows, the log says what they were before. */
static inline void world_follow(World *w, uint64_t catalog_id)
{
        TailFollower follower = {.unsaid_table = catalog_id};
        if (tail_reach(w->store) > 0)
                return;
        status_ignore(w->background ? store_sync(w->store, UINT64_MAX) : store_step(w->store));
        tail_follower_open(&follower, w->store, 0);
        status_ignore(follow(&follower)); /* an error is the test's: its disk fails */
        assert_int_equal(follower.unsaid, 0);
        tail_follower_done(&follower);
}

static inline void world_close(World *w)
{
        uint64_t catalog_id = store_table_id(w->catalog->documents);
        w->catalog = table_source_close(w->catalog);
        world_follow(w, catalog_id);
        Store *store = take(w->store);
        status_ignore(store_close(store));
}

static inline void world_init(World *w, uint64_t seed)
{
        *w = (World){0};
        ok(sim_new(seed, &w->sim));
        w->host = (HostOps){.now_us = test_now_us,
                            .mono_ns = test_mono_ns,
                            .random = test_random,
                            .ctx = w,
                            .server_name = "here",
                            .server_id = "11111111-2222-4333-8444-555555555555"};
        arena_init(&w->arena, 0);
}

static inline void world_done(World *w)
{
        if (w->store)
                world_close(w);
        arena_done(&w->arena);
        sim_free(w->sim);
}

static inline Value json(World *w, const char *text)
{
        Value v;
        ok(json_parse_copy(BYTES_STR(text), JSON_PLAIN, &w->arena, &v));
        return v;
}

static inline const char *text_of_value(World *w, Value v)
{
        Bytes text = json_text(v, &w->arena);
        return arena_dup(&w->arena, text.data, text.size);
}

static inline TableRef *find(World *w, const char *db, const char *table)
{
        TableRef *ref;
        ok(w->source->table_find(w->catalog, BYTES_STR(db), BYTES_STR(table), &ref));
        return ref;
}

static inline void make_table(World *w, const char *db, const char *name)
{
        Value result;
        uint64_t position = 0;
        ok(w->source->table_create(w->catalog, BYTES_STR(db), BYTES_STR(name), value_none(), &w->arena, &result,
                                   &position));
        assert_true(position > 0);
}

/* Sets a row to the JSON given, or deletes it (NULL). */
static inline Status test_set(void *ctx, size_t index, Value old_row, Arena *arena, Value *ret)
{
        *ret = ((const Value *)ctx)[index];
        return ST_OK;
}

static inline RowOutcome put(World *w, TableRef *table, Value key, Value row)
{
        RowOutcome outcome;
        WriteOptions options = {.want_rows = true, .quick = true};
        uint64_t position = 0;
        ok(w->source->write(table, &key, 1, test_set, &row, &options, &w->arena, &outcome, &position));
        return outcome;
}

static inline Value get(World *w, TableRef *table, Value key)
{
        TableView *view;
        Value row;
        ok(w->source->view_open(table, &view));
        ok(w->source->view_get(view, key, &w->arena, &row));
        row = value_copy(row, &w->arena);
        w->source->view_close(view);
        return row;
}

static inline uint64_t count(World *w, TableRef *table)
{
        TableView *view;
        uint64_t n;
        ok(w->source->view_open(table, &view));
        ok(w->source->view_count(view, NULL, &n));
        w->source->view_close(view);
        return n;
}

#endif
