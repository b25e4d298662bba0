/* catchup_test.c - feeds and the log: restarts, power cuts, what the log has no more, few readers, files that cannot be
 * read; and a model: whatever happens to feeds, each gives every change once and in order. */
#include "feed/feed_model.h"

#include "base/log.h"

static void set_text(Hub *h, int id, int version, size_t size)
{
        char *fill = arena_alloc(&h->w.arena, size + 1);
        memset(fill, 'x', size);
        fill[size] = 0;
        set_row(h, id, arena_printf(&h->w.arena, "{\"id\":%d,\"v\":%d,\"fill\":\"%s\"}", id, version, fill));
}

static const StoreOptions keeps_all = {.log_keep_bytes = UINT64_C(1) << 40};

static void test_restart(void **state)
{
        Hub h;
        begin_world(&h, &keeps_all);
        Feed *feed = open_feed(&h, NULL);
        set_row(&h, 1, "{\"id\":1}");
        hub_settle(&h);
        expect_events(&h, feed, "1:-/{\"id\":1}|");
        FeedPlace place = h.feeds->place(feed);
        set_row(&h, 2, "{\"id\":2}");
        h.feeds->close(feed);
        restart(&h, &keeps_all);
        set_row(&h, 3, "{\"id\":3}");
        hub_settle(&h);
        ok(try_since(&h, place, &feed));
        expect_events(&h, feed, "2:-/{\"id\":2}|3:-/{\"id\":3}|");
        FeedPlace later = h.feeds->place(feed);
        assert_true(later.incarnation != place.incarnation && later.incarnation != 0);
        h.feeds->close(feed);
        done_world(&h);
}

/* What was delivered and not yet synced may be gone after a power cut: its places are, too. */
static void test_power(void **state)
{
        Hub h;
        Feed *feed;
        begin_world(&h, &keeps_all);
        feed = open_feed(&h, NULL);
        set_row(&h, 1, "{\"id\":1}");
        ok(store_step(h.w.store));
        hub_settle(&h);
        expect_events(&h, feed, "1:-/{\"id\":1}|");
        FeedPlace kept = h.feeds->place(feed);
        set_row(&h, 2, "{\"id\":2}");
        hub_settle(&h);
        expect_events(&h, feed, "2:-/{\"id\":2}|");
        FeedPlace lost = h.feeds->place(feed);
        h.feeds->close(feed);
        sim_crash(h.w.sim, SIM_DROP);
        end_world(&h);
        open_world(&h, &keeps_all);
        h.table = find(&h.w, "test", "t");
        set_row(&h, 3, "{\"id\":3}");
        set_row(&h, 4, "{\"id\":4}");
        hub_settle(&h);
        Status st = try_since(&h, lost, &feed);
        assert_int_equal(status_code(st), ERR_NOT_FOUND);
        status_ignore(st);
        ok(try_since(&h, kept, &feed));
        expect_events(&h, feed, "3:-/{\"id\":3}|4:-/{\"id\":4}|");
        h.feeds->close(feed);
        done_world(&h);
}

/* A view shows what is not written yet; the process dies before it is. */
static void test_view_lost(void **state)
{
        Hub h;
        Feed *feed;
        TableView *view;
        begin_world(&h, &keeps_all);
        ok(store_step(h.w.store));
        feed = open_feed(&h, NULL);
        set_row(&h, 1, "{\"id\":1}");
        ok(h.feeds->view(feed, &view));
        h.w.source->view_close(view);
        FeedPlace place = h.feeds->place(feed);
        assert_true(place.position > tail_written_position(h.w.store));
        h.feeds->close(feed);
        sim_crash(h.w.sim, SIM_KEEP);
        end_world(&h);
        open_world(&h, &keeps_all);
        h.table = find(&h.w, "test", "t");
        set_row(&h, 2, "{\"id\":2}");
        set_row(&h, 3, "{\"id\":3}");
        Status st = try_since(&h, place, &feed);
        assert_int_equal(status_code(st), ERR_NOT_FOUND);
        status_ignore(st);
        done_world(&h);
}

static const StoreOptions keeps_little = {.log_keep_bytes = 1, .log_segment_bytes = 8000};

static void test_lost(void **state)
{
        Hub h;
        begin_world(&h, &keeps_little);
        h.hub->options.queue_max_bytes = 2000;
        Feed *feed = open_feed(&h, NULL);
        FeedPlace old = h.feeds->place(feed);
        for (int i = 0; i < 60; i++) {
                set_text(&h, i % 7, i, 300);
                hub_settle(&h);
                if (i % 10 == 9)
                        ok(store_checkpoint(h.w.store));
        }
        assert_true(tail_reach(h.w.store) > old.position);
        assert_false(is_attached(feed));
        expect_events(&h, feed, "LOST|");
        assert_true(is_attached(feed));
        TableView *view;
        ok(h.feeds->view(feed, &view));
        h.w.source->view_close(view);
        set_row(&h, 99, "{\"id\":99}");
        hub_settle(&h);
        expect_events(&h, feed, "99:-/{\"id\":99}|");
        Feed *again;
        Status st = try_since(&h, old, &again);
        assert_int_equal(status_code(st), ERR_NOT_FOUND);
        status_ignore(st);
        /* The hub's own reader, too. */
        for (int i = 0; i < 60; i++) {
                set_text(&h, i % 7, i, 300);
                if (i % 10 == 9)
                        ok(store_checkpoint(h.w.store));
        }
        hub_settle(&h);
        hub_settle(&h);
        expect_events(&h, feed, "LOST|");
        set_row(&h, 98, "{\"id\":98}");
        hub_settle(&h);
        expect_events(&h, feed, "98:-/{\"id\":98}|");
        h.feeds->close(feed);
        done_world(&h);
}

/* What nobody could read any more told that the table was dropped. */
static void test_lost_drop(void **state)
{
        for (int detached = 0; detached < 2; detached++) {
                Hub h;
                Value result;
                uint64_t position = 0;
                begin_world(&h, &keeps_little);
                Feed *feed = open_feed(&h, NULL);
                make_table(&h.w, "test", "other");
                ok(h.w.source->table_drop(h.w.catalog, BYTES_STR("test"), BYTES_STR("t"), &h.w.arena, &result,
                                          &position));
                const uint64_t drop = tail_present(h.w.store);
                TableRef *dropped = h.table;
                h.table = find(&h.w, "test", "other");
                for (int i = 0; i < 60; i++) {
                        set_text(&h, i % 7, i, 300);
                        if (i % 10 == 9)
                                ok(store_checkpoint(h.w.store));
                }
                assert_true(tail_reach(h.w.store) > drop);
                if (detached) {
                        mutex_lock(&h.hub->mu);
                        feed_detach(row_of(feed));
                        mutex_unlock(&h.hub->mu);
                }
                hub_settle(&h);
                hub_settle(&h);
                expect_events(&h, feed, "ENDED Changefeed aborted (unavailable).|");
                h.feeds->close(feed);
                h.w.source->table_unref(dropped);
                done_world(&h);
        }
}

/* Few may read the log at once; all come to their turn, also if others stop in the middle. */
static void count_ready(void *ctx)
{
        ++*(int *)ctx;
}

static void test_readers(void **state)
{
        enum { FEEDS = 40 };
        Hub h;
        Feed *feeds[FEEDS];
        int ready[FEEDS] = {0};
        size_t got[FEEDS] = {0};
        FeedHubStats stats;
        begin_world(&h, &keeps_all);
        h.hub->options.reader_max = 3;
        Feed *feed = open_feed(&h, NULL);
        FeedPlace place = h.feeds->place(feed);
        for (int i = 0; i < 30; i++)
                set_row(&h, i, arena_printf(&h.w.arena, "{\"id\":%d}", i));
        hub_settle(&h);
        for (int i = 0; i < FEEDS; i++)
                ok(try_since(&h, place, &feeds[i]));
        for (int i = 0; i < FEEDS; i++)
                h.feeds->watch(feeds[i], count_ready, &ready[i], INT64_MAX, 0);
        /* Each fetches one event and waits again; the first three stop after one. */
        for (int round = 0; round < 5000; round++) {
                bool moved = false;
                for (int i = 0; i < FEEDS; i++) {
                        FeedEvent e;
                        bool found;
                        if (!ready[i] || (i < 3 && got[i]))
                                continue;
                        moved = true;
                        ready[i] = 0;
                        ok(h.feeds->next(feeds[i], &h.w.arena, &e, &found));
                        got[i] += found;
                        h.feeds->watch(feeds[i], count_ready, &ready[i], INT64_MAX, 0);
                        feed_hub_stats(h.hub, &stats);
                        assert_true(stats.readers <= 3);
                }
                if (!moved)
                        sim_advance_ns(h.w.sim, FEED_READER_WANTED_NS);
                hub_settle(&h);
                arena_reset(&h.w.arena);
        }
        for (int i = 3; i < FEEDS; i++) {
                assert_int_equal(got[i], 30);
                assert_true(is_attached(feeds[i]));
        }
        for (int i = 0; i < 3; i++) {
                FeedEvent e;
                while (next_event(&h, feeds[i], &e))
                        got[i]++;
                assert_int_equal(got[i], 30);
        }
        for (int i = 0; i < FEEDS; i++)
                h.feeds->close(feeds[i]);
        h.feeds->close(feed);
        feed_hub_stats(h.hub, &stats);
        assert_int_equal(stats.feeds + stats.readers + stats.queued_bytes, 0);
        done_world(&h);
}

/* A file that cannot be read: an error, and it goes on where it was. */
static void test_io_error(void **state)
{
        Hub h;
        FeedEvent e;
        begin_world(&h, &(StoreOptions){.log_keep_bytes = 1 << 30,
                                        .log_segment_bytes = 8000,
                                        .log_recent_bytes = 1,
                                        .log_tail_max_bytes = 64 << 10});
        Feed *feed = open_feed(&h, NULL);
        FeedPlace place = h.feeds->place(feed);
        h.feeds->close(feed);
        for (int i = 0; i < 60; i++) {
                set_text(&h, i % 7, i, 300);
                ok(store_step(h.w.store));
        }
        int n = 1;
        for (int fired = 1; fired; n++) {
                Feed *reading;
                size_t count = 0, errors = 0;
                ok(try_since(&h, place, &reading));
                sim_fail_nth(h.w.sim, n, SIM_FAIL_ONCE);
                for (;;) {
                        bool found;
                        Status st = h.feeds->next(reading, &h.w.arena, &e, &found);
                        if (st) {
                                assert_int_equal(status_code(st), ERR_IO);
                                status_ignore(st);
                                errors++;
                        } else if (found) {
                                assert_int_equal((int)value_get_str(e.new_value, "v").number, (int)count++);
                        } else if (is_attached(reading)) {
                                break;
                        }
                }
                assert_int_equal(count, 60);
                fired = sim_fired(h.w.sim);
                assert_int_equal(errors, fired);
                sim_heal(h.w.sim);
                h.feeds->close(reading);
                arena_reset(&h.w.arena);
        }
        assert_true(n > 10);
        done_world(&h);
}

/* A file that is damaged: feeds that have to read it end with an error that says so, others go on. */
static void test_damaged(void **state)
{
        Hub h;
        Feed *none;
        bool found, more;
        FeedEvent e;
        FeedHubStats stats;
        const StoreOptions options = {.log_keep_bytes = 1 << 30,
                                      .log_segment_bytes = 8000,
                                      .log_recent_bytes = 1,
                                      .log_tail_max_bytes = 64 << 10};
        log_configure(LOG_OFF, LOG_TEXT, 2);
        begin_world(&h, &options);
        Feed *feed = open_feed(&h, NULL);
        FeedPlace place = h.feeds->place(feed);
        ok(feed_hub_step(h.hub, &more));
        for (int i = 0; i < 40; i++) {
                set_text(&h, i % 7, i, 300);
                ok(store_step(h.w.store));
        }
        damage_log(&h);
        for (int i = 0; i < 2 * FEED_RETRIES; i++) {
                ok(feed_hub_step(h.hub, &more));
                feed_hub_stats(h.hub, &stats);
                sim_advance_ns(h.w.sim, FEED_RETRY_NS);
        }
        assert_false(stats.failing); /* it goes on from the present */
        Status st = ST_OK;
        while (!st)
                st = h.feeds->next(feed, &h.w.arena, &e, &found);
        assert_int_equal(status_code(st), ERR_CORRUPT);
        status_ignore(st);
        h.feeds->close(feed);
        feed = open_feed(&h, NULL);
        set_row(&h, 99, "{\"id\":99}");
        ok(store_step(h.w.store));
        hub_settle(&h);
        expect_events(&h, feed, "99:-/{\"id\":99}|");
        h.feeds->close(feed);
        ok(try_since(&h, place, &none));
        for (st = ST_OK; !st;)
                st = h.feeds->next(none, &h.w.arena, &e, &found);
        assert_int_equal(status_code(st), ERR_CORRUPT);
        status_ignore(st);
        h.feeds->close(none);
        done_world(&h);
}

/* --- the model --- */

enum { MODEL_FEEDS = 12 };

static void test_model(void **state)
{
        Hub h;
        Follow follows[MODEL_FEEDS] = {0};
        StoreOptions options = {
                .log_keep_bytes = UINT64_C(1) << 40, .log_segment_bytes = 30000, .log_recent_bytes = 20000};
        begin_world(&h, &options);
        h.hub->options =
                (FeedHubOptions){.memory_max_bytes = 4000, .queue_max_bytes = 1500, .reader_max = 2, .by_hand = true};
        FeedHubOptions small = h.hub->options;
        FeedHubStats stats;
        h.options = small;
        for (int i = 0; i < MODEL_FEEDS; i++) {
                follows[i].a = i % 5 - 1;
                follows[i].by_function = i % 2;
                ok(open_follow(&h, &follows[i], false));
        }
        for (int step = 1; step <= 6000; step++) {
                Follow *f = &follows[rnd(MODEL_FEEDS)];
                switch (rnd(12)) {
                case 0:
                case 1:
                case 2:
                case 3: change_some(&h); break;
                case 4:
                case 5: hub_settle(&h); break;
                case 6:
                case 7:
                case 8: fetch(&h, f, rnd(10)); break;
                case 9: /* it goes, and comes again where it was */
                        f->place = h.feeds->place(f->feed);
                        h.feeds->close(f->feed);
                        ok(open_follow(&h, f, true));
                        break;
                case 10:
                        if (rnd(3) == 0)
                                begin_with_view(&h, f);
                        else
                                sim_advance_ns(h.w.sim, FEED_READER_WANTED_NS);
                        break;
                case 11: fetch(&h, f, UINT64_MAX); break;
                }
                arena_reset(&h.w.arena);
                if (step % 1500 == 0) {
                        feed_hub_stats(h.hub, &stats);
                        assert_true(stats.detached_slow > 20 && stats.caught_up > 100);
                        ok(store_checkpoint(h.w.store));
                        for (int i = 0; i < MODEL_FEEDS; i++) {
                                follows[i].place = h.feeds->place(follows[i].feed);
                                h.feeds->close(follows[i].feed);
                        }
                        restart(&h, &options);
                        for (int i = 0; i < MODEL_FEEDS; i++)
                                ok(open_follow(&h, &follows[i], true));
                }
        }
        hub_settle(&h);
        for (int i = 0; i < MODEL_FEEDS; i++) {
                expect_rows(&h, &follows[i]);
                h.feeds->close(follows[i].feed);
                for (int id = 0; id < MODEL_IDS; id++)
                        mem_free(follows[i].rows[id]);
        }
        feed_hub_stats(h.hub, &stats);
        assert_int_equal(stats.feeds + stats.classes + stats.tables + stats.queued_bytes + stats.readers, 0);
        done_world(&h);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_restart),  cmocka_unit_test(test_power),     cmocka_unit_test(test_view_lost),
                cmocka_unit_test(test_lost),     cmocka_unit_test(test_lost_drop), cmocka_unit_test(test_readers),
                cmocka_unit_test(test_io_error), cmocka_unit_test(test_damaged),   cmocka_unit_test(test_model),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
