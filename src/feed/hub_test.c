/* hub_test.c - feeds of tables: what they give and in which order, attached and detached, places, views, waiting,
 * limits, ends. */
#include "feed/feed_test.h"

#include "table/index_int.h"

static FeedHubStats stats_of(Hub *h)
{
        FeedHubStats stats;
        feed_hub_stats(h->hub, &stats);
        return stats;
}

static void expect_nothing_left(Hub *h)
{
        FeedHubStats s = stats_of(h);
        assert_int_equal(s.feeds, 0);
        assert_int_equal(s.attached, 0);
        assert_int_equal(s.classes, 0);
        assert_int_equal(s.tables, 0);
        assert_int_equal(s.queued_events, 0);
        assert_int_equal(s.queued_bytes, 0);
        assert_int_equal(s.readers, 0);
        assert_int_equal(h->hub->timer_count - (h->hub->sweep.place != 0), 0);
}

/* Several rows in one commit; text NULL: deleted. */
static void set_rows(Hub *h, size_t count, const int *ids, const char *const *texts)
{
        Value keys[16], rows[16];
        RowOutcome outcomes[16];
        WriteOptions options = {.quick = true};
        uint64_t position = 0;
        memset(outcomes, 0, sizeof outcomes);
        for (size_t i = 0; i < count; i++) {
                keys[i] = value_number(ids[i]);
                rows[i] = texts[i] ? json(&h->w, texts[i]) : value_null();
        }
        ok(h->w.source->write(h->table, keys, count, test_set, rows, &options, &h->w.arena, outcomes, &position));
}

/* filter({a: value}) */
static Feed *open_filter(Hub *h, double value, const FeedOptions *options)
{
        static const Bytes field = {(const uint8_t *)"a", 1};
        Feed *feed;
        Value v = value_number(value);
        FeedCondition condition = {.kind = FEED_FIELD_IN, .path = {&field, 1}, .values = &v, .value_count = 1};
        FeedSpec spec = {.table = h->table, .conditions = &condition, .condition_count = 1, .exact = true};
        ok(h->feeds->open(h->feeds->ctx, &spec, options, &feed));
        return feed;
}

static Feed *open_since(Hub *h, FeedPlace place)
{
        return open_feed(h, &(FeedOptions){.since = &place});
}

static void test_changes(void **state)
{
        Hub h;
        hub_init_world(&h, false);
        set_row(&h, 1, "{\"id\":1,\"a\":1}");
        Feed *feed = open_feed(&h, NULL);
        hub_settle(&h);
        expect_events(&h, feed, "");
        set_row(&h, 1, "{\"id\":1,\"a\":2}");
        set_row(&h, 2, "{\"id\":2}");
        set_row(&h, 1, NULL);
        expect_events(&h, feed, "");
        hub_settle(&h);
        expect_events(&h, feed, "1:{\"a\":1,\"id\":1}/{\"a\":2,\"id\":1}|2:-/{\"id\":2}|1:{\"a\":2,\"id\":1}/-|");
        expect_events(&h, feed, "");
        h.feeds->close(feed);
        hub_settle(&h);
        assert_null(h.hub->present.reader); /* nobody is there: nothing is followed */
        expect_nothing_left(&h);
        hub_done(&h);
}

static void test_classes(void **state)
{
        Hub h;
        Feed *feeds[40];
        hub_init_world(&h, false);
        for (int i = 0; i < 40; i++)
                feeds[i] = open_filter(&h, i / 2, NULL);
        assert_int_equal(stats_of(&h).classes, 20);
        set_row(&h, 1, "{\"id\":1,\"a\":3}");
        set_row(&h, 1, "{\"id\":1,\"a\":4}");
        set_row(&h, 2, "{\"id\":2,\"a\":99}");
        hub_settle(&h);
        FeedHubStats s = stats_of(&h);
        assert_int_equal(s.events, 3);
        assert_int_equal(s.delivered, 6);
        for (int i = 0; i < 40; i++)
                expect_events(&h, feeds[i],
                              i / 2 == 3   ? "1:-/{\"a\":3,\"id\":1}|1:{\"a\":3,\"id\":1}/-|"
                              : i / 2 == 4 ? "1:-/{\"a\":4,\"id\":1}|"
                                           : "");
        for (int i = 0; i < 40; i++)
                h.feeds->close(feeds[(i * 7) % 40]);
        expect_nothing_left(&h);
        hub_done(&h);
}

/* From any place, also within a commit, a feed gives what comes behind. */
static void test_since(void **state)
{
        Hub h;
        FeedPlace places[16];
        FeedEvent e;
        char *rest[16];
        size_t count = 0;
        hub_init_world(&h, false);
        Feed *feed = open_feed(&h, NULL);
        places[count++] = h.feeds->place(feed);
        set_rows(&h, 3, (int[]){1, 2, 3}, (const char *[]){"{\"id\":1}", "{\"id\":2}", "{\"id\":3}"});
        set_row(&h, 2, NULL);
        set_rows(&h, 3, (int[]){1, 1, 3}, (const char *[]){"{\"id\":1,\"a\":1}", "{\"id\":1,\"a\":2}", NULL});
        hub_settle(&h);
        for (; next_event(&h, feed, &e); count++) {
                FeedPlace now = h.feeds->place(feed);
                assert_memory_equal(&now.incarnation, &e.place.incarnation, 8);
                assert_true(now.position == e.place.position && now.index == e.place.index);
                places[count] = e.place;
                rest[count - 1] = mem_strdup(event_text(&h, &e));
        }
        assert_int_equal(count, 8);
        assert_int_equal(places[1].index, 1);
        assert_int_equal(places[3].index, FEED_WHOLE_COMMIT);
        for (size_t i = 0; i < count; i++) {
                const char *expected = "";
                Feed *again = open_since(&h, places[i]);
                for (size_t k = i; k + 1 < count; k++)
                        expected = arena_printf(&h.w.arena, "%s%s", expected, rest[k]);
                assert_int_equal(is_attached(again), i + 1 == count);
                if (!is_attached(again)) { /* the hub is ahead: not before it has read what lies between */
                        bool attached;
                        ok(feed_attach(row_of(again), &attached));
                        assert_false(attached);
                }
                expect_events(&h, again, expected);
                assert_true(is_attached(again));
                h.feeds->close(again);
        }
        /* What cannot be. */
        FeedPlace bad[] = {
                {places[1].incarnation + 1, places[1].position, places[1].index},
                {0, places[1].position, 0},
                {places[1].incarnation, places[count - 1].position + 1, FEED_WHOLE_COMMIT},
                {places[1].incarnation, 0, FEED_WHOLE_COMMIT},
        };
        for (size_t i = 0; i < ELEMENTS(bad); i++) {
                FeedSpec spec = spec_of(&h);
                Feed *none;
                Status st = h.feeds->open(h.feeds->ctx, &spec, &(FeedOptions){.since = &bad[i]}, &none);
                assert_int_equal(status_code(st), ERR_NOT_FOUND);
                status_ignore(st);
        }
        for (size_t i = 0; i + 1 < count; i++)
                mem_free(rest[i]);
        h.feeds->close(feed);
        expect_nothing_left(&h);
        hub_done(&h);
}

/* The last feed goes and another comes before the hub's thread has looked: its reader is behind then. */
static void test_reopened(void **state)
{
        Hub h;
        hub_init_world(&h, false);
        Feed *feed = open_feed(&h, NULL);
        hub_settle(&h);
        h.feeds->close(feed);
        for (int i = 0; i < 5; i++)
                set_row(&h, i, arena_printf(&h.w.arena, "{\"id\":%d}", i));
        ok(tail_step(h.w.store));
        feed = open_feed(&h, NULL);
        uint64_t collected = h.hub->present.collected;
        for (bool more = true; more;) {
                ok(feed_hub_step(h.hub, &more));
                assert_true(h.hub->present.collected >= collected);
        }
        assert_int_equal(stats_of(&h).commits, 2); /* that made the catalog and the table */
        set_row(&h, 9, "{\"id\":9}");
        hub_settle(&h);
        expect_events(&h, feed, "9:-/{\"id\":9}|");
        h.feeds->close(feed);
        hub_done(&h);
}

static void test_view(void **state)
{
        Hub h;
        TableView *view;
        uint64_t n;
        hub_init_world(&h, false);
        Feed *feed = open_feed(&h, NULL);
        set_row(&h, 1, "{\"id\":1}");
        hub_settle(&h);
        set_row(&h, 2, "{\"id\":2}"); /* not written yet */
        ok(h.feeds->view(feed, &view));
        ok(h.w.source->view_count(view, NULL, &n));
        assert_int_equal(n, 2);
        h.w.source->view_close(view);
        assert_int_equal(h.feeds->place(feed).position, tail_present(h.w.store));
        set_row(&h, 3, "{\"id\":3}");
        hub_settle(&h);
        expect_events(&h, feed, "3:-/{\"id\":3}|");
        h.feeds->close(feed);
        hub_done(&h);
}

static void test_slow(void **state)
{
        Hub h;
        hub_init_world(&h, false);
        h.hub->options.queue_max_bytes = 1000;
        Feed *feed = open_feed(&h, NULL), *fast = open_feed(&h, NULL);
        const char *expected = "", *fetched = "";
        for (int i = 0; i < 50; i++) {
                set_row(&h, i, arena_printf(&h.w.arena, "{\"id\":%d}", i));
                expected = arena_printf(&h.w.arena, "%s%d:-/{\"id\":%d}|", expected, i, i);
                hub_settle(&h);
                fetched = arena_printf(&h.w.arena, "%s%s", fetched, events(&h, fast));
                assert_true(stats_of(&h).queued_bytes < 2000);
        }
        assert_true(is_attached(fast));
        assert_false(is_attached(feed));
        assert_int_equal(stats_of(&h).detached_slow, 1);
        assert_string_equal(fetched, expected);
        assert_true(h.feeds->is_long(feed));
        expect_events(&h, feed, expected);
        assert_true(is_attached(feed));
        assert_int_equal(stats_of(&h).caught_up, 50);
        h.feeds->close(feed);
        h.feeds->close(fast);
        expect_nothing_left(&h);
        hub_done(&h);
}

/* All queues together: those go that have not fetched for longest. */
static void test_budget(void **state)
{
        Hub h;
        Feed *feeds[10];
        hub_init_world(&h, false);
        h.hub->options.memory_max_bytes = 3000;
        for (int i = 0; i < 10; i++)
                feeds[i] = open_filter(&h, i, NULL);
        Feed *dropping = open_filter(&h, 0, &(FeedOptions){.queue_max = 1000});
        for (int i = 0; i < 200; i++) {
                FeedEvent e;
                set_row(&h, i, arena_printf(&h.w.arena, "{\"id\":%d,\"a\":%d}", i, i % 10));
                hub_settle(&h);
                assert_true(stats_of(&h).queued_bytes <= 3000);
                if (i % 10 == 9)
                        assert_true(next_event(&h, feeds[9], &e));
        }
        assert_true(is_attached(feeds[9]));
        assert_true(stats_of(&h).detached_slow > 5);
        FeedEvent e;
        assert_true(next_event(&h, dropping, &e));
        assert_int_equal(e.kind, FEED_SKIPPED);
        for (int i = 0; i < 9; i++) {
                int n = 0;
                while (next_event(&h, feeds[i], &e)) {
                        assert_int_equal((int)e.key.number, n * 10 + i);
                        n++;
                }
                assert_int_equal(n, 20);
        }
        for (int i = 0; i < 10; i++)
                h.feeds->close(feeds[i]);
        h.feeds->close(dropping);
        expect_nothing_left(&h);
        hub_done(&h);
}

static void test_queue_max(void **state)
{
        Hub h;
        hub_init_world(&h, false);
        Feed *feed = open_feed(&h, &(FeedOptions){.queue_max = 3});
        for (int i = 1; i <= 5; i++) {
                set_row(&h, i, arena_printf(&h.w.arena, "{\"id\":%d}", i));
                hub_settle(&h);
        }
        expect_events(&h, feed, "SKIPPED 4|5:-/{\"id\":5}|");
        for (int i = 1; i <= 3; i++)
                set_row(&h, i, NULL);
        hub_settle(&h);
        expect_events(&h, feed, "1:{\"id\":1}/-|2:{\"id\":2}/-|3:{\"id\":3}/-|");
        h.feeds->close(feed);
        expect_nothing_left(&h);
        hub_done(&h);
}

static void test_drop(void **state)
{
        Hub h;
        Value result;
        uint64_t position = 0;
        hub_init_world(&h, false);
        h.hub->options.queue_max_bytes = 150;
        Feed *feed = open_feed(&h, NULL), *slow = open_feed(&h, NULL);
        set_row(&h, 1, "{\"id\":1}");
        set_row(&h, 2, "{\"id\":2}");
        set_row(&h, 3, "{\"id\":3}");
        hub_settle(&h);
        expect_events(&h, feed, "1:-/{\"id\":1}|2:-/{\"id\":2}|3:-/{\"id\":3}|");
        assert_false(is_attached(slow));
        ok(h.w.source->table_drop(h.w.catalog, BYTES_STR("test"), BYTES_STR("t"), &h.w.arena, &result, &position));
        hub_settle(&h);
        expect_events(&h, feed, "ENDED Changefeed aborted (unavailable).|");
        expect_events(&h, feed, "");
        expect_events(&h, slow,
                      "1:-/{\"id\":1}|2:-/{\"id\":2}|3:-/{\"id\":3}|ENDED Changefeed aborted (unavailable).|");
        FeedSpec spec = spec_of(&h);
        Feed *none;
        refused(h.feeds->open(h.feeds->ctx, &spec, NULL, &none), ERR_OP_FAILED, "Table `test.t` does not exist.");
        h.feeds->close(feed);
        h.feeds->close(slow);
        expect_nothing_left(&h);
        hub_done(&h);
}

/* --- waiting --- */

typedef struct Waiting {
        Hub *h;
        Feed *feed;
        int ready, batches;
        Feed *closes; /* by the first call */
} Waiting;

static void on_ready(void *ctx)
{
        Waiting *w = ctx;
        w->ready++;
        if (w->closes)
                w->h->feeds->close(take(w->closes));
}

static void on_batch(void *ctx)
{
        ((Waiting *)ctx)->batches++;
}

static void test_watch(void **state)
{
        Hub h;
        hub_init_world(&h, false);
        Feed *feed = open_feed(&h, NULL);
        Waiting w = {.h = &h, .feed = feed};
        int64_t now_ns = os_mono_ns(sim_os(h.w.sim));
        h.feeds->set_batch(feed, on_batch, &w);
        h.feeds->watch(feed, on_ready, &w, INT64_MAX, 0);
        hub_settle(&h);
        assert_int_equal(w.ready, 0);
        set_row(&h, 1, "{\"id\":1}");
        set_row(&h, 2, "{\"id\":2}");
        hub_settle(&h);
        assert_int_equal(w.ready, 1);
        assert_int_equal(w.batches, 1);
        h.feeds->watch(feed, on_ready, &w, INT64_MAX, 0); /* something is there */
        assert_int_equal(w.ready, 2);
        assert_int_equal(w.batches, 1);
        (void)events(&h, feed);
        /* A deadline. */
        h.feeds->watch(feed, on_ready, &w, now_ns + 5000000, 0);
        hub_settle(&h);
        assert_int_equal(w.ready, 2);
        sim_advance_ns(h.w.sim, 6000000);
        hub_settle(&h);
        assert_int_equal(w.ready, 3);
        h.feeds->watch(feed, on_ready, &w, now_ns, 0);
        assert_int_equal(w.ready, 4);
        /* No more. */
        h.feeds->watch(feed, on_ready, &w, INT64_MAX, 0);
        h.feeds->watch(feed, NULL, NULL, 0, 0);
        set_row(&h, 3, "{\"id\":3}");
        hub_settle(&h);
        assert_int_equal(w.ready, 4);
        (void)events(&h, feed);
        /* Deadlines that are not needed any more. */
        Feed *others[20];
        for (int i = 0; i < 20; i++) {
                others[i] = open_feed(&h, NULL);
                h.feeds->watch(others[i], on_ready, &w, now_ns + 1000000000 + (i * 7 % 20) * 1000, 0);
        }
        assert_int_equal(h.hub->timer_count, 20);
        for (int i = 0; i < 19; i++) {
                if (i % 2)
                        h.feeds->watch(others[i], NULL, NULL, 0, 0);
                h.feeds->close(others[i]);
        }
        assert_int_equal(h.hub->timer_count, 1);
        set_row(&h, 4, "{\"id\":4}");
        hub_settle(&h);
        assert_int_equal(w.ready, 5);
        assert_int_equal(h.hub->timer_count, 0);
        h.feeds->close(others[19]);
        h.feeds->close(feed);
        expect_nothing_left(&h);
        hub_done(&h);
}

/* Who reads the log itself may be further than the hub; others are told when they have come as far, though no commit
 * was of interest to them. */
static void test_watch_position(void **state)
{
        enum { FEEDS = 6 };
        Hub h;
        hub_init_world(&h, false);
        Feed *feeds[FEEDS];
        Waiting w[FEEDS];
        for (int i = 0; i < FEEDS; i++) {
                feeds[i] = open_filter(&h, i < 4 ? 9 : 1, NULL);
                w[i] = (Waiting){.h = &h, .feed = feeds[i]};
        }
        const FeedPlace since = h.feeds->place(feeds[0]);
        set_row(&h, 1, "{\"id\":1}");
        hub_settle(&h);
        Feed *reader = open_since(&h, since);
        set_row(&h, 2, "{\"id\":2,\"a\":1}");
        ok(tail_step(h.w.store));
        expect_events(&h, reader, "1:-/{\"id\":1}|2:-/{\"a\":1,\"id\":2}|");
        const uint64_t there = h.feeds->place(reader).position;
        assert_int_equal(h.feeds->place(feeds[0]).position, there - 1);
        h.feeds->watch(feeds[0], on_ready, &w[0], INT64_MAX, there);
        h.feeds->watch(feeds[1], on_ready, &w[1], INT64_MAX, there + 1);
        h.feeds->watch(feeds[2], on_ready, &w[2], INT64_MAX, there);
        h.feeds->watch(feeds[2], NULL, NULL, 0, 0);
        h.feeds->watch(feeds[3], on_ready, &w[3], INT64_MAX, there - 1); /* it is there */
        assert_int_equal(w[3].ready, 1);
        h.feeds->watch(feeds[3], on_ready, &w[3], INT64_MAX, there);
        h.feeds->close(feeds[3]);
        h.feeds->watch(feeds[4], on_ready, &w[4], INT64_MAX, there); /* the commit is of interest to it */
        h.feeds->watch(feeds[5], on_ready, &w[5], INT64_MAX, there);
        feed_hub_lock(h.hub);
        feed_detach(row_of(feeds[5]));
        feed_hub_unlock(h.hub);
        assert_int_equal(w[0].ready, 0);
        hub_settle(&h);
        static const int readies[FEEDS] = {1, 0, 0, 1, 1, 1};
        for (int i = 0; i < FEEDS; i++)
                assert_int_equal(w[i].ready, readies[i]);
        assert_int_equal(h.feeds->place(feeds[0]).position, there);
        expect_events(&h, feeds[4], "2:-/{\"a\":1,\"id\":2}|");
        expect_events(&h, feeds[5], "2:-/{\"a\":1,\"id\":2}|");
        set_row(&h, 3, "{\"id\":3}");
        hub_settle(&h);
        assert_int_equal(w[0].ready, 1);
        assert_int_equal(w[1].ready, 1);
        h.feeds->close(reader);
        for (int i = 0; i < FEEDS; i++)
                if (i != 3)
                        h.feeds->close(feeds[i]);
        expect_nothing_left(&h);
        hub_done(&h);
}

/* Whoever is called may close another one that is to be called. */
static void test_close_inside(void **state)
{
        Hub h;
        Waiting w[3] = {0};
        hub_init_world(&h, false);
        for (int i = 0; i < 3; i++) {
                w[i] = (Waiting){.h = &h, .feed = open_feed(&h, NULL)};
                h.feeds->set_batch(w[i].feed, on_batch, &w[i]);
        }
        w[0].closes = w[1].closes = NULL;
        for (int i = 0; i < 3; i++)
                h.feeds->watch(w[i].feed, on_ready, &w[i], INT64_MAX, 0);
        w[2].closes = w[1].feed; /* the class has the newest first */
        w[0].closes = NULL;
        set_row(&h, 1, "{\"id\":1}");
        hub_settle(&h);
        assert_int_equal(w[0].ready, 1);
        assert_int_equal(w[2].ready, 1);
        assert_int_equal(w[1].ready + w[1].batches, 0);
        h.feeds->close(w[0].feed);
        h.feeds->close(w[2].feed);
        expect_nothing_left(&h);
        hub_done(&h);
}

static void test_many_batches(void **state)
{
        enum { FEEDS = 1300 };
        Hub h;
        static Waiting loops[2];
        static Waiting feeds[FEEDS];
        hub_init_world(&h, false);
        memset(loops, 0, sizeof loops);
        for (int i = 0; i < FEEDS; i++) {
                feeds[i] = (Waiting){.h = &h, .feed = open_feed(&h, NULL)};
                h.feeds->set_batch(feeds[i].feed, on_batch, &loops[i % 2]);
                h.feeds->watch(feeds[i].feed, on_ready, &feeds[i], INT64_MAX, 0);
        }
        set_row(&h, 1, "{\"id\":1}");
        hub_settle(&h);
        assert_int_equal(loops[0].batches, (FEEDS + FEED_CALLS_MAX - 1) / FEED_CALLS_MAX);
        for (int i = 0; i < FEEDS; i++) {
                assert_int_equal(feeds[i].ready, 1);
                h.feeds->close(feeds[i].feed);
        }
        expect_nothing_left(&h);
        hub_done(&h);
}

/* After long silence all are called, but not all at once: what is written meanwhile does not wait for them. */
static void test_silence(void **state)
{
        enum { FEEDS = 2 * FEED_CALLS_MAX + 10 };
        static Waiting w[FEEDS];
        Hub h;
        bool more;
        hub_init_world(&h, false);
        for (int i = 0; i < FEEDS; i++) {
                const FeedOptions options = {.heartbeat_ns = 1000000000};
                w[i] = (Waiting){.h = &h, .feed = open_filter(&h, 1, &options)};
        }
        hub_settle(&h);
        for (int i = 0; i < FEEDS; i++)
                h.feeds->watch(w[i].feed, on_ready, &w[i], i ? INT64_MAX : INT64_MAX - 1, 0);
        sim_advance_ns(h.w.sim, 5000000000);
        hub_settle(&h);
        assert_int_equal(h.hub->timer_count, 1);
        set_row(&h, 1, "{\"id\":1}");
        ok(tail_step(h.w.store));
        for (int called = 0, rounds = 1; called < FEEDS; rounds++) {
                ok(feed_hub_step(h.hub, &more));
                called = 0;
                for (int i = 0; i < FEEDS; i++)
                        called += w[i].ready;
                assert_int_equal(called, MIN(rounds * FEED_CALLS_MAX, FEEDS));
        }
        for (int i = 0; i < FEEDS; i++) {
                if (i % 2) {
                        expect_events(&h, w[i].feed, "IDLE|");
                        h.feeds->watch(w[i].feed, on_ready, &w[i], INT64_MAX, 0);
                }
                h.feeds->close(w[i].feed);
        }
        expect_nothing_left(&h);
        hub_done(&h);
}

static void test_heartbeat(void **state)
{
        Hub h;
        hub_init_world(&h, false);
        make_table(&h.w, "test", "other");
        TableRef *other = find(&h.w, "test", "other");
        Feed *feed = open_feed(&h, &(FeedOptions){.heartbeat_ns = 1000000000});
        Waiting w = {.h = &h, .feed = feed};
        hub_settle(&h);
        h.feeds->watch(feed, on_ready, &w, INT64_MAX, 0);
        assert_int_equal(h.hub->timer_count, 0); /* nothing moved */
        sim_advance_ns(h.w.sim, 1500000000);
        hub_settle(&h);
        assert_int_equal(w.ready, 0);
        put(&h.w, other, value_number(1), json(&h.w, "{\"id\":1}"));
        hub_settle(&h);
        assert_int_equal(w.ready, 1);
        expect_events(&h, feed, "IDLE|");
        expect_events(&h, feed, "");
        assert_int_equal(h.feeds->place(feed).position, tail_present(h.w.store));
        put(&h.w, other, value_number(1), json(&h.w, "{\"id\":1,\"a\":1}"));
        hub_settle(&h);
        expect_events(&h, feed, "");
        int before = w.ready;
        h.feeds->watch(feed, on_ready, &w, INT64_MAX, 0);
        sim_advance_ns(h.w.sim, 1000000000);
        hub_settle(&h);
        assert_int_equal(w.ready, before + 1);
        expect_events(&h, feed, "IDLE|");
        h.feeds->close(feed);
        h.w.source->table_unref(other);
        expect_nothing_left(&h);
        hub_done(&h);
}

/* --- functions --- */

/* filter(a + 1 > 6), said by a function: it has to be asked. */
static Feed *open_function(Hub *h, const FeedOptions *options)
{
        static const char function[] =
                "[69,[[2,[1]],[65,[[21,[[24,[[170,[[10,[1]],\"a\"]],1]],6]],[2,[[10,[1]]]],[2,[]]]]]]";
        Feed *feed;
        FeedSpec spec = {.table = h->table, .function = BYTES_STR(function)};
        ok(h->feeds->open(h->feeds->ctx, &spec, options, &feed));
        return feed;
}

/* The time of tests stands still: evaluating makes a class quick again. */
static void make_slow(Feed *feed)
{
        for (int i = 0; i < 100 && !feed_class_is_slow(row_of(feed)->class); i++)
                feed_class_took(row_of(feed)->class, 1000000000);
        assert_true(feed_class_is_slow(row_of(feed)->class));
}

#define ROW(id, a) "{\"a\":" #a ",\"id\":" #id "}"

/* One that takes long is not for the hub's thread: the first of its feeds that comes evaluates it for all. */
static void test_function(void **state)
{
        enum { FEEDS = 5 };
        Hub h;
        Feed *feeds[FEEDS];
        Waiting w[FEEDS];
        hub_init_world(&h, false);
        for (int i = 0; i < FEEDS; i++) {
                feeds[i] = open_function(&h, NULL);
                w[i] = (Waiting){.h = &h, .feed = feeds[i]};
        }
        set_row(&h, 5, ROW(5, 5));
        set_row(&h, 6, ROW(6, 6));
        hub_settle(&h);
        for (int i = 0; i < FEEDS; i++)
                expect_events(&h, feeds[i], "6:-/" ROW(6, 6) "|");
        assert_int_equal(stats_of(&h).worked, 0);
        make_slow(feeds[0]);
        for (int i = 0; i < FEEDS; i++)
                h.feeds->watch(feeds[i], on_ready, &w[i], INT64_MAX, 0);
        set_rows(&h, 4, (const int[]){7, 2, 8, 9},
                 (const char *const[]){ROW(7, 7), ROW(2, 2), ROW(8, 8), "{\"id\":9,\"a\":\"x\"}"});
        set_row(&h, 3, ROW(3, 3));
        set_row(&h, 7, NULL);
        hub_settle(&h);
        assert_int_equal(stats_of(&h).worked, 0);
        for (int i = 0; i < FEEDS; i++) {
                assert_int_equal(w[i].ready, 1);
                assert_true(h.feeds->is_long(feeds[i]));
                expect_events(&h, feeds[i],
                              "7:-/" ROW(7, 7) ",8:-/" ROW(8, 8) ",ERROR Expected type STRING but found NUMBER.|7:" ROW(
                                      7, 7) "/-|");
                assert_false(h.feeds->is_long(feeds[i]));
                assert_true(is_attached(feeds[i]));
                assert_int_equal(h.feeds->place(feeds[i]).position, tail_present(h.w.store));
        }
        assert_int_equal(stats_of(&h).worked, 6);
        assert_int_equal(stats_of(&h).caught_up, 0);
        assert_int_equal(stats_of(&h).queued_events + stats_of(&h).queued_bytes, 0);
        /* What nobody has come to evaluate, and what came behind it when it was quick again. */
        make_slow(feeds[0]);
        set_row(&h, 10, ROW(10, 10));
        hub_settle(&h);
        while (feed_class_is_slow(row_of(feeds[0])->class))
                feed_class_took(row_of(feeds[0])->class, 0);
        set_row(&h, 11, ROW(11, 11));
        hub_settle(&h);
        h.feeds->close(feeds[0]);
        expect_events(&h, feeds[1], "10:-/" ROW(10, 10) "|11:-/" ROW(11, 11) "|");
        feed_hub_lock(h.hub);
        feed_detach(row_of(feeds[2]));
        feed_hub_unlock(h.hub);
        assert_int_equal(stats_of(&h).worked, 7);
        expect_events(&h, feeds[2], "10:-/" ROW(10, 10) "|11:-/" ROW(11, 11) "|");
        assert_int_equal(stats_of(&h).worked, 7);
        /* A place between them means the same to who evaluates by himself. */
        FeedEvent e;
        (void)events(&h, feeds[3]);
        make_slow(feeds[3]);
        set_rows(&h, 3, (const int[]){12, 13, 14}, (const char *const[]){ROW(12, 12), ROW(13, 0), ROW(14, 14)});
        hub_settle(&h);
        assert_true(next_event(&h, feeds[3], &e));
        assert_int_equal(e.place.index, 1);
        Feed *since = open_function(&h, &(FeedOptions){.since = &e.place});
        expect_events(&h, since, "14:-/" ROW(14, 14) "|");
        expect_events(&h, feeds[3], "14:-/" ROW(14, 14) "|");
        h.feeds->close(since);
        for (int i = 1; i < FEEDS; i++)
                h.feeds->close(feeds[i]);
        expect_nothing_left(&h);
        hub_done(&h);
}

/* While one evaluates, the others wait as for any event. */
static void test_function_busy(void **state)
{
        Hub h;
        hub_init_world(&h, false);
        Feed *a = open_function(&h, NULL), *b = open_function(&h, NULL), *c = open_function(&h, NULL);
        Waiting w = {.h = &h, .feed = b}, w2 = {.h = &h, .feed = c};
        make_slow(a);
        set_row(&h, 6, ROW(6, 6));
        hub_settle(&h);
        FeedWork *work = feed_item_work(row_of(a)->items[0]);
        work->busy = true;
        assert_false(h.feeds->is_long(b));
        expect_events(&h, b, "");
        h.feeds->watch(b, on_ready, &w, INT64_MAX, 0);
        hub_settle(&h);
        assert_int_equal(w.ready, 0);
        work->busy = false;
        expect_events(&h, a, "6:-/" ROW(6, 6) "|");
        hub_settle(&h);
        assert_int_equal(w.ready, 1);
        assert_false(h.feeds->is_long(b));
        expect_events(&h, b, "6:-/" ROW(6, 6) "|");
        expect_events(&h, c, "6:-/" ROW(6, 6) "|");
        assert_int_equal(stats_of(&h).worked, 1);
        /* If it turns out to be nothing, only those are called that wait for a place. */
        make_slow(a);
        set_row(&h, 5, ROW(5, 5));
        hub_settle(&h);
        work = feed_item_work(row_of(a)->items[0]);
        work->busy = true;
        h.feeds->watch(b, on_ready, &w, INT64_MAX, 0);
        h.feeds->watch(c, on_ready, &w2, INT64_MAX, tail_present(h.w.store));
        work->busy = false;
        expect_events(&h, a, "");
        hub_settle(&h);
        assert_int_equal(w.ready, 1);
        assert_int_equal(w2.ready, 1);
        assert_int_equal(h.feeds->place(b).position, tail_present(h.w.store));
        h.feeds->close(a);
        h.feeds->close(b);
        h.feeds->close(c);
        expect_nothing_left(&h);
        hub_done(&h);
}

/* What waits to be evaluated is part of the budgets. */
static void test_function_budget(void **state)
{
        Hub h;
        hub_init_world(&h, false);
        h.hub->options.memory_max_bytes = 3000;
        Feed *a = open_function(&h, NULL), *b = open_function(&h, &(FeedOptions){.queue_max = 2});
        make_slow(a);
        for (int i = 6; i < 9; i++)
                set_row(&h, i, arena_printf(&h.w.arena, "{\"id\":%d,\"a\":%d}", i, i));
        hub_settle(&h);
        expect_events(&h, b, "SKIPPED 3|");
        make_slow(a);
        char *fill = arena_alloc(&h.w.arena, 401);
        memset(fill, 'x', 400);
        fill[400] = 0;
        for (int i = 0; i < 10; i++)
                set_row(&h, i, arena_printf(&h.w.arena, "{\"id\":%d,\"a\":%d,\"fill\":\"%s\"}", i, i, fill));
        hub_settle(&h);
        assert_true(stats_of(&h).queued_bytes <= 3000);
        assert_true(stats_of(&h).detached_slow > 0);
        assert_false(is_attached(a));
        FeedEvent e;
        for (int i = 6; i < 9; i++)
                assert_true(next_event(&h, a, &e));
        for (int i = 6; i < 10; i++) {
                assert_true(next_event(&h, a, &e));
                assert_int_equal((int)e.key.number, i);
        }
        h.feeds->close(a);
        h.feeds->close(b);
        expect_nothing_left(&h);
        hub_done(&h);
}

/* A commit with more events than memory is for: whoever it concerns reads it from the log. */
static void test_large_commit(void **state)
{
        Hub h;
        Value keys[200], rows[200];
        RowOutcome outcomes[200];
        WriteOptions options = {.quick = true};
        uint64_t position = 0;
        FeedEvent e;
        hub_init_world(&h, false);
        h.hub->options.memory_max_bytes = 40000;
        Feed *feed = open_feed(&h, NULL), *nobody = open_filter(&h, 5, NULL);
        char *fill = arena_alloc(&h.w.arena, 301);
        memset(fill, 'x', 300);
        fill[300] = 0;
        memset(outcomes, 0, sizeof outcomes);
        for (int i = 0; i < 200; i++) {
                keys[i] = value_number(i);
                rows[i] = json(&h.w, arena_printf(&h.w.arena, "{\"id\":%d,\"fill\":\"%s\"}", i, fill));
        }
        ok(h.w.source->write(h.table, keys, 200, test_set, rows, &options, &h.w.arena, outcomes, &position));
        hub_settle(&h);
        assert_false(is_attached(feed));
        assert_true(is_attached(nobody));
        for (int i = 0; i < 200; i++) {
                assert_true(next_event(&h, feed, &e));
                assert_int_equal((int)e.key.number, i);
                assert_int_equal(e.last_of_commit, i == 199);
        }
        expect_events(&h, feed, "");
        assert_true(is_attached(feed));
        h.feeds->close(feed);
        h.feeds->close(nobody);
        expect_nothing_left(&h);
        hub_done(&h);
}

/* --- tables and indexes that change --- */

static void test_reconfigure(void **state)
{
        Hub h;
        Value result;
        uint64_t position = 0;
        hub_init_world(&h, false);
        Feed *feed = open_feed(&h, NULL);
        for (int shards = 1; shards <= 2; shards++) {
                Value options = json(&h.w, arena_printf(&h.w.arena,
                                                        "{\"shards\":%d,\"replicas\":{\"default\":1},\"dry_run\":false,"
                                                        "\"primary_replica_tag\":\"default\"}",
                                                        shards));
                ok(h.w.source->reconfigure(h.w.catalog, BYTES_STR("test"), BYTES_STR("t"), options, &h.w.arena, &result,
                                           &position));
                set_row(&h, shards, arena_printf(&h.w.arena, "{\"id\":%d}", shards));
                hub_settle(&h);
                expect_events(&h, feed,
                              shards == 1 ? "1:-/{\"id\":1}|"
                                          : "2:-/{\"id\":2}|ENDED Changefeed aborted (unavailable).|");
        }
        h.w.source->table_unref(h.table);
        h.table = find(&h.w, "test", "t");
        Feed *again = open_feed(&h, NULL);
        make_table(&h.w, "test", "other");
        set_row(&h, 3, "{\"id\":3}");
        hub_settle(&h);
        expect_events(&h, again, "3:-/{\"id\":3}|");
        expect_events(&h, feed, "");
        h.feeds->close(feed);
        h.feeds->close(again);
        expect_nothing_left(&h);
        hub_done(&h);
}

static void make_index(Hub *h, const char *name, bool multi)
{
        Value result;
        uint64_t position = 0;
        bool more = true;
        static const char function[] = "[69,[[2,[1]],[170,[[10,[1]],\"a\"]]]]";
        IndexSpec spec = {.name = BYTES_STR(name), .function = BYTES_STR(function), .multi = multi};
        ok(h->w.source->index_create(h->table, &spec, &h->w.arena, &result, &position));
        while (more)
                ok(build_step(h->w.catalog, &more));
}

static Feed *open_index(Hub *h, const char *name, double low)
{
        Feed *feed;
        KeyBounds bounds = {
                .low = value_number(low), .low_type = BOUND_CLOSED, .high_type = BOUND_NONE, .high = value_none()};
        FeedSpec spec = {.table = h->table, .index = BYTES_STR(name), .bounds = &bounds};
        ok(h->feeds->open(h->feeds->ctx, &spec, NULL, &feed));
        return feed;
}

#define INDEX_GONE "ENDED Changefeed aborted (the index it goes by was dropped, renamed or replaced).|"

static void test_index(void **state)
{
        Hub h;
        Value result;
        uint64_t position = 0;
        hub_init_world(&h, false);
        hub_close(&h);
        h.w.source->table_unref(take(h.table));
        world_close(&h.w); /* once more, with indexes that are built by hand */
        h.w.by_hand = true;
        world_open(&h.w);
        h.table = find(&h.w, "test", "t");
        hub_open(&h);
        make_index(&h, "a", false);
        make_index(&h, "b", false);
        Feed *by_a = open_index(&h, "a", 3), *by_b = open_index(&h, "b", 5), *all = open_feed(&h, NULL);
        Waiting w = {.h = &h, .feed = by_a};
        set_row(&h, 1, "{\"id\":1,\"a\":3}");
        set_row(&h, 1, "{\"id\":1,\"a\":2}");
        hub_settle(&h);
        expect_events(&h, by_a, "1:-/{\"a\":3,\"id\":1}|1:{\"a\":3,\"id\":1}/-|");
        expect_events(&h, by_b, "");
        h.feeds->watch(by_a, on_ready, &w, INT64_MAX, 0);
        ok(h.w.source->index_drop(h.table, BYTES_STR("a"), &h.w.arena, &result, &position));
        hub_settle(&h);
        assert_int_equal(w.ready, 1);
        expect_events(&h, by_a, INDEX_GONE);
        expect_events(&h, by_a, "");
        expect_events(&h, by_b, "");
        ok(h.w.source->index_rename(h.table, BYTES_STR("b"), BYTES_STR("c"), false, &h.w.arena, &result, &position));
        set_row(&h, 2, "{\"id\":2,\"a\":7}");
        hub_settle(&h);
        (void)events(&h, all);
        expect_events(&h, by_b, "2:-/{\"a\":7,\"id\":2}|" INDEX_GONE);
        set_row(&h, 3, "{\"id\":3}");
        hub_settle(&h);
        expect_events(&h, all, "3:-/{\"id\":3}|");
        KeyBounds bounds = {.low_type = BOUND_NONE, .high_type = BOUND_NONE};
        FeedSpec spec = {.table = h.table, .index = BYTES_STR("a"), .bounds = &bounds};
        Feed *none;
        refused(h.feeds->open(h.feeds->ctx, &spec, NULL, &none), ERR_OP_FAILED,
                "Index `a` was not found on table `test.t`.");
        h.feeds->close(by_a);
        h.feeds->close(by_b);
        h.feeds->close(all);
        expect_nothing_left(&h);
        hub_done(&h);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_changes),
                cmocka_unit_test(test_classes),
                cmocka_unit_test(test_since),
                cmocka_unit_test(test_view),
                cmocka_unit_test(test_slow),
                cmocka_unit_test(test_budget),
                cmocka_unit_test(test_queue_max),
                cmocka_unit_test(test_drop),
                cmocka_unit_test(test_watch),
                cmocka_unit_test(test_close_inside),
                cmocka_unit_test(test_many_batches),
                cmocka_unit_test(test_heartbeat),
                cmocka_unit_test(test_index),
                cmocka_unit_test(test_reconfigure),
                cmocka_unit_test(test_reopened),
                cmocka_unit_test(test_function),
                cmocka_unit_test(test_silence),
                cmocka_unit_test(test_function_busy),
                cmocka_unit_test(test_function_budget),
                cmocka_unit_test(test_large_commit),
                cmocka_unit_test(test_watch_position),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
