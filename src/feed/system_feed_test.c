/* Feeds on the tables of `rethinkdb`, by hand and with threads. */
#include "feed/hub_int.h"
#include "table/table_test.h"

#include "base/check.h"

typedef struct Feeds {
        World w;
        FeedHub *hub;
        const FeedSource *source;
} Feeds;

static void feeds_init(Feeds *f, bool by_hand)
{
        world_init(&f->w, 11);
        f->w.by_hand = by_hand;
        f->w.background = !by_hand;
        world_open(&f->w);
        FeedHubOptions options = {.by_hand = by_hand};
        ok(feed_hub_open(f->w.store, f->w.catalog, &f->w.host, sim_os(f->w.sim), &options, &f->hub));
        f->source = feed_hub_source(f->hub);
}

static void feeds_done(Feeds *f)
{
        f->hub = feed_hub_close(f->hub);
        world_done(&f->w);
}

static Feed *open_feed(Feeds *f, const FeedSpec *spec, const char *user)
{
        Feed *feed;
        ok(f->source->open(f->source->ctx, spec, &(FeedOptions){.user = user}, &feed));
        return feed;
}

static Feed *open_table(Feeds *f, const char *name)
{
        FeedSpec spec = {.table = find(&f->w, "rethinkdb", name)};
        Feed *feed = open_feed(f, &spec, NULL);
        f->w.source->table_unref(spec.table);
        return feed;
}

static const char *side(Feeds *f, Value v)
{
        return value_is(v, V_NONE) ? "-" : text_of_value(&f->w, v);
}

/* "old>new", "| " behind each last one of a step. */
static const char *all_events(Feeds *f, Feed *feed)
{
        const char *text = "";
        for (;;) {
                FeedEvent event;
                bool found;
                ok(f->source->next(feed, &f->w.arena, &event, &found));
                if (!found)
                        return text;
                text = arena_printf(&f->w.arena, "%s%s>%s%s", text,
                                    event.kind == FEED_ERROR ? event.error : side(f, event.old_value),
                                    side(f, event.new_value), event.last_of_commit ? "|" : " ");
                assert_int_equal(event.place.incarnation, 0);
        }
}

static void set_row(Feeds *f, const char *table, const char *key, const char *row)
{
        TableRef *ref = find(&f->w, "rethinkdb", table);
        RowOutcome outcome = put(&f->w, ref, json(&f->w, key), row ? json(&f->w, row) : value_null());
        if (outcome.error)
                fail_msg("%s", status_message(outcome.error));
        f->w.source->table_unref(ref);
        sim_advance_ns(f->w.sim, 20000000); /* past the pause between two readings */
}

static void test_rows(void **state)
{
        Feeds f;
        feeds_init(&f, true);
        set_row(&f, "_debug_scratch", "1", "{\"id\":1}");
        Feed *feed = open_table(&f, "_debug_scratch");
        assert_string_equal(all_events(&f, feed), "");
        set_row(&f, "_debug_scratch", "1", "{\"id\":1,\"a\":1}");
        assert_string_equal(all_events(&f, feed), "{\"id\":1}>{\"a\":1,\"id\":1}|");
        set_row(&f, "_debug_scratch", "1", NULL);
        set_row(&f, "_debug_scratch", "2", "{\"id\":2}");
        set_row(&f, "_debug_scratch", "0", "{\"id\":0}");
        set_row(&f, "_debug_scratch", "3", "{\"id\":3}");
        set_row(&f, "_debug_scratch", "3", NULL); /* came and went between two looks */
        assert_string_equal(all_events(&f, feed), "->{\"id\":0} {\"a\":1,\"id\":1}>- ->{\"id\":2}|");
        assert_string_equal(all_events(&f, feed), "");
        f.source->close(feed);
        feeds_done(&f);
}

static void test_each_feed_has_its_place(void **state)
{
        Feeds f;
        feeds_init(&f, true);
        Feed *slow = open_table(&f, "_debug_scratch");
        set_row(&f, "_debug_scratch", "1", "{\"id\":1}");
        Feed *quick = open_table(&f, "_debug_scratch");
        assert_string_equal(all_events(&f, quick), "");
        set_row(&f, "_debug_scratch", "2", "{\"id\":2}");
        assert_string_equal(all_events(&f, quick), "->{\"id\":2}|");
        set_row(&f, "_debug_scratch", "1", NULL);
        assert_string_equal(all_events(&f, quick), "{\"id\":1}>-|");
        assert_string_equal(all_events(&f, slow), "->{\"id\":2}|");
        f.source->close(quick);
        set_row(&f, "_debug_scratch", "2", NULL);
        assert_string_equal(all_events(&f, slow), "{\"id\":2}>-|");
        f.source->close(slow);
        feeds_done(&f);
}

/* What a view shows is not given, what was there before and not given is not either; all behind it is. */
static void test_view(void **state)
{
        Feeds f;
        feeds_init(&f, true);
        set_row(&f, "_debug_scratch", "1", "{\"id\":1}");
        Feed *feed = open_table(&f, "_debug_scratch");
        set_row(&f, "_debug_scratch", "2", "{\"id\":2}");
        set_row(&f, "_debug_scratch", "3", "{\"id\":3}");
        FeedEvent event;
        bool found;
        ok(f.source->next(feed, &f.w.arena, &event, &found)); /* one of two: the other is dropped */
        assert_true(found && !event.last_of_commit);
        TableView *view;
        ok(f.source->view(feed, &view));
        uint64_t n;
        ok(f.w.source->view_count(view, NULL, &n));
        assert_int_equal(n, 3);
        set_row(&f, "_debug_scratch", "1", NULL);
        Value row;
        ok(f.w.source->view_get(view, value_number(1), &f.w.arena, &row));
        assert_string_equal(side(&f, row), "{\"id\":1}");
        f.w.source->view_close(view);
        assert_string_equal(all_events(&f, feed), "{\"id\":1}>-|");
        f.source->close(feed);
        feeds_done(&f);
}

static void test_specs(void **state)
{
        Feeds f;
        feeds_init(&f, true);
        TableRef *scratch = find(&f.w, "rethinkdb", "_debug_scratch");
        Value one = value_number(1), red = value_str("red");
        Bytes color = BYTES_STR("color");
        FeedCondition is_red = {.kind = FEED_FIELD_IN, .path = {&color, 1}, .values = &red, .value_count = 1};
        KeyBounds bounds = {value_number(2), value_number(4), BOUND_CLOSED, BOUND_OPEN};
        Feed *point = open_feed(&f, &(FeedSpec){.table = scratch, .keys = &one, .key_count = 1}, NULL);
        Feed *range = open_feed(&f, &(FeedSpec){.table = scratch, .bounds = &bounds}, NULL);
        FeedSpec filter = {.table = scratch, .conditions = &is_red, .condition_count = 1, .exact = true};
        Feed *filtered = open_feed(&f, &filter, NULL);
        for (int i = 1; i <= 4; i++)
                set_row(&f, "_debug_scratch", arena_printf(&f.w.arena, "%d", i),
                        arena_printf(&f.w.arena, "{\"color\":\"%s\",\"id\":%d}", i % 2 ? "red" : "blue", i));
        assert_string_equal(all_events(&f, point), "->{\"color\":\"red\",\"id\":1}|");
        assert_string_equal(all_events(&f, range), "->{\"color\":\"blue\",\"id\":2} ->{\"color\":\"red\",\"id\":3}|");
        assert_string_equal(all_events(&f, filtered), "->{\"color\":\"red\",\"id\":1} ->{\"color\":\"red\",\"id\":3}|");
        set_row(&f, "_debug_scratch", "3", "{\"color\":\"blue\",\"id\":3}");
        assert_string_equal(all_events(&f, filtered), "{\"color\":\"red\",\"id\":3}>-|");
        assert_string_equal(all_events(&f, point), "");
        f.source->close(point);
        f.source->close(range);
        f.source->close(filtered);
        /* What a system table has not. */
        FeedPlace place = {.incarnation = 1, .position = 1};
        Feed *none;
        refused(f.source->open(f.source->ctx, &(FeedSpec){.table = scratch}, &(FeedOptions){.since = &place}, &none),
                ERR_OP_FAILED, "The system table `_debug_scratch` has no log: a changefeed on it cannot be continued.");
        FeedSpec by_index = {.table = scratch, .index = BYTES_STR("i")};
        refused(f.source->open(f.source->ctx, &by_index, &(FeedOptions){0}, &none), ERR_OP_FAILED,
                "Index `i` was not found on table `rethinkdb._debug_scratch`.");
        f.w.source->table_unref(scratch);
        feeds_done(&f);
}

/* --- waiting --- */

typedef struct Waiting {
        int ready, batches;
} Waiting;

static void count_ready(void *ctx)
{
        ((Waiting *)ctx)->ready++;
}

static void count_batch(void *ctx)
{
        ((Waiting *)ctx)->batches++;
}

static int64_t steps(Feeds *f)
{
        bool more = true;
        int64_t due_ns = system_feeds_step(f->hub->system);
        for (int i = 0; more && i < 100; i++)
                ok(feed_hub_step(f->hub, &more));
        return due_ns;
}

static void test_watch(void **state)
{
        Feeds f;
        feeds_init(&f, true);
        Waiting a = {0}, b = {0};
        Feed *one = open_table(&f, "db_config"), *two = open_table(&f, "table_config");
        assert_true(steps(&f) == INT64_MAX); /* nobody waits */
        f.source->watch(one, count_ready, &a, INT64_MAX, 0);
        f.source->watch(two, count_ready, &b, INT64_MAX, 0);
        f.source->set_batch(one, count_batch, &a);
        assert_true(steps(&f) == INT64_MAX); /* changes of these tables are told */
        assert_int_equal(a.ready + b.ready, 0);
        make_table(&f.w, "test", "t");
        sim_advance_ns(f.w.sim, 20000000);
        assert_true(f.source->is_long(one)); /* something has changed, perhaps here */
        (void)steps(&f);
        assert_int_equal(a.ready, 0);
        assert_int_equal(b.ready, 1);
        assert_false(f.source->is_long(one));
        assert_true(f.source->is_long(two));
        (void)steps(&f);
        assert_int_equal(b.ready, 1);
        assert_true(strstr(all_events(&f, two), "\"name\":\"t\""));
        /* There is something already; and a deadline. */
        Value created;
        uint64_t position = 0;
        ok(f.w.source->db_create(f.w.catalog, BYTES_STR("other"), &f.w.arena, &created, &position));
        sim_advance_ns(f.w.sim, 20000000);
        (void)steps(&f);
        assert_int_equal(a.ready, 1);
        assert_int_equal(a.batches, 1);
        f.source->watch(one, count_ready, &a, INT64_MAX, 0);
        (void)steps(&f);
        assert_int_equal(a.ready, 2);
        assert_true(*all_events(&f, one));
        f.source->watch(one, count_ready, &a, os_mono_ns(sim_os(f.w.sim)) + 1000, 0);
        sim_advance_ns(f.w.sim, 2000);
        (void)steps(&f);
        assert_int_equal(a.ready, 3);
        /* No more. */
        f.source->watch(two, count_ready, &b, INT64_MAX, 0);
        f.source->watch(two, NULL, NULL, 0, 0);
        f.source->watch(one, count_ready, &a, INT64_MAX, 0);
        f.source->close(one);
        make_table(&f.w, "test", "u");
        (void)steps(&f);
        assert_int_equal(a.ready, 3);
        assert_int_equal(b.ready, 1);
        f.source->close(two);
        feeds_done(&f);
}

/* Tables whose rows change by themselves are looked at from time to time, while somebody waits. */
static void test_stats(void **state)
{
        Feeds f;
        feeds_init(&f, true);
        make_table(&f.w, "test", "t");
        Waiting a = {0};
        Feed *feed = open_table(&f, "stats");
        TableRef *table = find(&f.w, "test", "t");
        (void)put(&f.w, table, value_number(1), json(&f.w, "{\"id\":1}"));
        sim_advance_ns(f.w.sim, 20000000);
        f.source->watch(feed, count_ready, &a, INT64_MAX, 0);
        int64_t due_ns = steps(&f), now_ns = os_mono_ns(sim_os(f.w.sim));
        assert_true(due_ns > now_ns && due_ns <= now_ns + 1000000000);
        assert_int_equal(a.ready, 0);
        sim_advance_ns(f.w.sim, due_ns - now_ns);
        (void)steps(&f);
        assert_int_equal(a.ready, 1);
        assert_true(strstr(all_events(&f, feed), "\"written_docs_total\":1"));
        /* Nobody waits, but asks again after a while. */
        (void)put(&f.w, table, value_number(2), json(&f.w, "{\"id\":2}"));
        assert_false(f.source->is_long(feed));
        assert_string_equal(all_events(&f, feed), "");
        sim_advance_ns(f.w.sim, 1000000000);
        assert_true(f.source->is_long(feed));
        assert_true(strstr(all_events(&f, feed), "\"written_docs_total\":2"));
        f.w.source->table_unref(table);
        f.source->close(feed);
        feeds_done(&f);
}

/* Many changes: no more readings than the pause allows. */
static void test_pause(void **state)
{
        Feeds f;
        feeds_init(&f, true);
        Waiting a = {0};
        Feed *feed = open_table(&f, "table_config");
        sim_advance_ns(f.w.sim, 20000000);
        for (int i = 0; i < 20; i++) {
                make_table(&f.w, "test", arena_printf(&f.w.arena, "t%d", i));
                f.source->watch(feed, count_ready, &a, INT64_MAX, 0);
                sim_advance_ns(f.w.sim, 1000000);
                (void)steps(&f);
                (void)all_events(&f, feed);
        }
        assert_true(a.ready >= 1 && a.ready <= 3);
        sim_advance_ns(f.w.sim, 20000000);
        f.source->watch(feed, count_ready, &a, INT64_MAX, 0);
        (void)steps(&f);
        assert_true(strstr(all_events(&f, feed), "\"name\":\"t19\""));
        f.source->close(feed);
        feeds_done(&f);
}

/* --- memory runs out --- */

static Status whole_life(Feeds *f, TableRef *table)
{
        Feed *feed = NULL;
        TableView *view = NULL;
        Field field = {BYTES_STR("id"), value_number(1)};
        Value row = value_object_sorted(&field, 1), key = field.value;
        uint64_t position = 0;
        RowOutcome outcome = {0};
        bool found = true;
        Waiting a = {0};
        Status st =
                f->source->open(f->source->ctx, &(FeedSpec){.table = table}, &(FeedOptions){.user = "admin"}, &feed);
        if (!st)
                st = f->source->view(feed, &view);
        if (!st) {
                f->w.source->view_close(view);
                st = f->w.source->write(table, &key, 1, test_set, &row, &(WriteOptions){.quick = true}, &f->w.arena,
                                        &outcome, &position);
                status_ignore(outcome.error);
        }
        sim_advance_ns(f->w.sim, 20000000);
        if (!st)
                f->source->watch(feed, count_ready, &a, INT64_MAX, 0);
        (void)system_feeds_step(f->hub->system);
        while (!st && found) {
                FeedEvent event;
                st = f->source->next(feed, &f->w.arena, &event, &found);
        }
        f->source->close(feed);
        return st;
}

static void test_no_memory(void **state)
{
        Feeds f;
        feeds_init(&f, true);
        arena_on_oom(&f.w.arena, NULL, NULL);
        TableRef *table = find(&f.w, "rethinkdb", "_debug_scratch");
        (void)arena_alloc(&f.w.arena, 1 << 19); /* a chunk, so that the test itself needs no memory */
        int failures = 0;
        for (int n = 1; n < 1000; n++) {
                mem_fail_nth(n);
                Status st = whole_life(&f, table);
                int fired = mem_fail_fired();
                mem_fail_nth(0);
                failures += st != ST_OK;
                if (st)
                        assert_int_equal(status_code(st), ERR_NOMEM);
                status_ignore(st);
                assert_int_equal(system_feeds_count(f.hub->system), 0);
                set_row(&f, "_debug_scratch", "1", NULL);
                if (!fired)
                        break;
        }
        assert_true(failures > 5);
        f.w.source->table_unref(table);
        feeds_done(&f);
}

/* --- threads --- */

enum { WRITERS = 2, WRITES = 200 };

typedef struct Racing {
        Feeds f;
        Mutex mu;
        Cond cond;
        bool ready; /* GUARDED_BY(mu) */
} Racing;

static void signal_ready(void *ctx)
{
        Racing *r = ctx;
        mutex_lock(&r->mu);
        r->ready = true;
        cond_signal(&r->cond);
        mutex_unlock(&r->mu);
}

typedef struct Writer {
        Racing *r;
        Thread thread;
        int number;
} Writer;

static void write_rows(void *arg)
{
        Writer *writer = arg;
        World *w = &writer->r->f.w;
        TableRef *table;
        ok(w->source->table_find(w->catalog, BYTES_STR("rethinkdb"), BYTES_STR("_debug_scratch"), &table));
        Arena arena;
        arena_init(&arena, 0);
        for (int i = 0; i < WRITES; i++) {
                Field fields[] = {{BYTES_STR("id"), value_number(writer->number)}, {BYTES_STR("n"), value_number(i)}};
                Value key = fields[0].value, row = value_object_sorted(fields, 2);
                RowOutcome outcome;
                uint64_t position = 0;
                ok(w->source->write(table, &key, 1, test_set, &row, &(WriteOptions){.quick = true}, &arena, &outcome,
                                    &position));
                assert_null(outcome.error);
                arena_reset(&arena);
        }
        w->source->table_unref(table);
        arena_done(&arena);
}

/* Each feed comes to the last row of each writer, step by step forward, and is woken for it. */
static void test_threads(void **state)
{
        Racing r = {0};
        feeds_init(&r.f, false);
        mutex_init(&r.mu);
        cond_init(&r.cond);
        Feed *feed = open_table(&r.f, "_debug_scratch");
        Writer writers[WRITERS];
        for (int i = 0; i < WRITERS; i++) {
                writers[i] = (Writer){.r = &r, .number = i};
                ok(thread_start(&writers[i].thread, "writer", write_rows, &writers[i]));
        }
        double last[WRITERS] = {-1, -1};
        while (last[0] < WRITES - 1 || last[1] < WRITES - 1) {
                FeedEvent event;
                bool found;
                sim_advance_ns(r.f.w.sim, 11000000);
                ok(r.f.source->next(feed, &r.f.w.arena, &event, &found));
                if (found) {
                        int i = (int)event.key.number;
                        double n = value_get_str(event.new_value, "n").number;
                        assert_true(n > last[i]);
                        if (last[i] < 0)
                                assert_true(value_is(event.old_value, V_NONE));
                        else
                                assert_true(value_get_str(event.old_value, "n").number == last[i]);
                        last[i] = n;
                        continue;
                }
                mutex_lock(&r.mu);
                r.ready = false;
                mutex_unlock(&r.mu);
                r.f.source->watch(feed, signal_ready, &r, INT64_MAX, 0);
                sim_advance_ns(r.f.w.sim, 11000000);
                mutex_lock(&r.mu);
                while (!r.ready && cond_wait_for(&r.cond, &r.mu, 5000000))
                        ;
                mutex_unlock(&r.mu);
                r.f.source->watch(feed, NULL, NULL, 0, 0);
        }
        for (int i = 0; i < WRITERS; i++)
                thread_join(&writers[i].thread);
        r.f.source->close(feed);
        feeds_done(&r.f);
        cond_done(&r.cond);
        mutex_done(&r.mu);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_rows),    cmocka_unit_test(test_each_feed_has_its_place),
                cmocka_unit_test(test_view),    cmocka_unit_test(test_specs),
                cmocka_unit_test(test_watch),   cmocka_unit_test(test_stats),
                cmocka_unit_test(test_pause),   cmocka_unit_test(test_no_memory),
                cmocka_unit_test(test_threads),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
