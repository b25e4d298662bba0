/* convoy_test.c - many feeds that are behind: one reader takes all of them along, nothing is lost, comes twice or out
 * of order, and those who have come to the end are as any other. */
#include "feed/feed_model.h"

#include "base/log.h"

static const StoreOptions keeps_all = {
        .log_keep_bytes = UINT64_C(1) << 40, .log_segment_bytes = 30000, .log_recent_bytes = 20000};

enum { MANY = 200 };

typedef struct Client {
        Follow follow;
        bool ready, slow; /* slow: fetches a little at a time */
} Client;
static Client clients[MANY];

static void on_ready(void *ctx)
{
        ((Client *)ctx)->ready = true;
}

static void wait_again(Hub *h, Client *c)
{
        c->ready = false;
        h->feeds->watch(c->follow.feed, on_ready, c, INT64_MAX, 0);
}

static void open_client(Hub *h, Client *c, bool since)
{
        ok(open_follow(h, &c->follow, since));
        wait_again(h, c);
}

/* Who is ready fetches. False: nobody was. */
static bool fetch_ready(Hub *h, size_t max)
{
        bool moved = false;
        for (Client *c = clients; c < clients + MANY; c++) {
                FeedEvent e;
                bool found = true;
                if (!c->ready)
                        continue;
                moved = true;
                for (size_t n = 0; found && n < (c->slow ? 1 : max); n++) {
                        ok(h->feeds->next(c->follow.feed, &h->w.arena, &e, &found));
                        if (found)
                                apply(h, &c->follow, &e);
                }
                wait_again(h, c);
        }
        arena_reset(&h->w.arena);
        return moved;
}

static void settle_all(Hub *h)
{
        for (int still = 0; still < 20; still++) {
                hub_settle(h);
                if (fetch_ready(h, 1000))
                        still = 0;
                else
                        sim_advance_ns(h->w.sim, FEED_READER_WANTED_NS);
        }
}

static void expect_all(Hub *h)
{
        settle_all(h);
        for (Client *c = clients; c < clients + MANY; c++) {
                assert_true(is_attached(c->follow.feed));
                assert_int_equal(row_of(c->follow.feed)->follower, FOLLOW_PRESENT);
                for (int id = 0; id < MODEL_IDS; id++) {
                        Value row = get(&h->w, h->table, value_number(id));
                        bool there = value_is_object(row) && is_meant(&c->follow, row);
                        assert_int_equal(c->follow.rows[id] != NULL, there);
                        if (there)
                                assert_string_equal(c->follow.rows[id], text_of_value(&h->w, row));
                }
                arena_reset(&h->w.arena);
        }
}

static void close_all(Hub *h)
{
        FeedHubStats stats;
        for (Client *c = clients; c < clients + MANY; c++) {
                h->feeds->close(c->follow.feed);
                for (int id = 0; id < MODEL_IDS; id++)
                        mem_free(c->follow.rows[id]);
                *c = (Client){0};
        }
        feed_hub_stats(h->hub, &stats);
        assert_int_equal(stats.feeds + stats.attached + stats.classes + stats.queued_bytes + stats.travelling, 0);
}

static void begin_clients(Hub *h, unsigned readers, size_t memory)
{
        memset(clients, 0, sizeof clients);
        begin_world(h, &keeps_all);
        h->hub->options.reader_max = readers;
        if (memory)
                h->hub->options.memory_max_bytes = memory;
        h->options = h->hub->options;
        for (int i = 0; i < MANY; i++) {
                clients[i].follow.a = i % 5 - 1;
                clients[i].follow.by_function = i % 3 == 0;
                open_client(h, &clients[i], false);
        }
}

/* All come back at once, each to its own place; one journey takes all, and reads the log once. */
static void test_together(void **state)
{
        Hub h;
        FeedHubStats before, after;
        begin_clients(&h, 2, 0);
        for (int i = 0; i < 300; i++) {
                change_some(&h);
                if (i < MANY) {
                        Follow *f = &clients[i].follow;
                        settle_all(&h);
                        f->place = h.feeds->place(f->feed);
                        h.feeds->close(f->feed);
                        f->feed = NULL;
                        clients[i].ready = false;
                }
        }
        hub_settle(&h);
        Feed *kept = open_feed(&h, NULL);
        hub_settle(&h);
        feed_hub_stats(h.hub, &before);
        for (int i = 0; i < MANY; i++)
                open_client(&h, &clients[i], true);
        expect_all(&h);
        feed_hub_stats(h.hub, &after);
        assert_int_equal(after.journeys, before.journeys + 1);
        assert_true(after.journey_commits - before.journey_commits <= 400);
        assert_true(after.caught_up - before.caught_up < 2000); /* the first ones, and the last, by themselves */
        for (int i = 0; i < 100; i++)
                change_some(&h);
        expect_all(&h);
        h.feeds->close(kept);
        close_all(&h);
        done_world(&h);
}

static void leave_all(Hub *h)
{
        settle_all(h);
        for (int i = 0; i < MANY; i++) {
                clients[i].follow.place = h->feeds->place(clients[i].follow.feed);
                h->feeds->close(clients[i].follow.feed);
        }
}

/* The convoy comes further than the hub's thread is: what that gives next they have already. */
static void test_ahead(void **state)
{
        Hub h;
        begin_clients(&h, 2, 0);
        leave_all(&h);
        Feed *kept = open_feed(&h, NULL);
        for (int i = 0; i < 40; i++)
                change_some(&h);
        hub_settle(&h);
        for (int i = 0; i < MANY; i++)
                open_client(&h, &clients[i], true);
        for (int i = 0; i < 20; i++)
                change_some(&h);
        ok(tail_step(h.w.store));
        for (bool more = true; more;) {
                int64_t next_ns;
                convoy_round(h.hub, &next_ns, &more);
        }
        assert_true(atomic_load(&h.hub->past.delivered) > h.hub->present.collected);
        assert_int_equal(h.hub->convoy.count, 0);
        expect_all(&h);
        h.feeds->close(kept);
        close_all(&h);
        done_world(&h);
}

/* Come, go, come back, look at the present, fetch slowly or not at all; restarts. */
static void test_any(void **state)
{
        const size_t memories[] = {0, 20000, 3000};
        uint64_t journeys = 0;
        for (size_t m = 0; m < ELEMENTS(memories); m++) {
                Hub h;
                FeedHubStats stats;
                begin_clients(&h, 1 + m, memories[m]);
                for (int step = 0; step < 3000; step++) {
                        Client *c = &clients[rnd(MANY)];
                        Follow *f = &c->follow;
                        switch (rnd(14)) {
                        case 0: hub_settle(&h); break;
                        case 1:
                        case 2: (void)fetch_ready(&h, 1 + rnd(20)); break;
                        case 3:
                        case 4:
                        case 5:
                                f->place = h.feeds->place(f->feed);
                                h.feeds->close(f->feed);
                                open_client(&h, c, true);
                                break;
                        case 6:
                                if (rnd(5) == 0) {
                                        begin_with_view(&h, f);
                                        wait_again(&h, c);
                                }
                                break;
                        case 7: c->slow = rnd(10) == 0; break;
                        case 8: {
                                bool more;
                                ok(tail_step(h.w.store));
                                ok(feed_hub_step(h.hub, &more));
                                break;
                        }
                        case 9: sim_advance_ns(h.w.sim, INT64_C(1000000) << rnd(12)); break;
                        default: change_some(&h); break;
                        }
                        arena_reset(&h.w.arena);
                        if (step % 1000 == 999) {
                                for (int i = 0; i < MANY; i++) {
                                        clients[i].follow.place = h.feeds->place(clients[i].follow.feed);
                                        h.feeds->close(clients[i].follow.feed);
                                }
                                feed_hub_stats(h.hub, &stats);
                                journeys += stats.journeys;
                                ok(store_checkpoint(h.w.store));
                                restart(&h, &keeps_all);
                                for (int i = 0; i < MANY; i++)
                                        open_client(&h, &clients[i], true);
                        }
                }
                for (int i = 0; i < MANY; i++)
                        clients[i].slow = false;
                expect_all(&h);
                close_all(&h);
                done_world(&h);
        }
        assert_true(journeys > 20);
}

/* Behind the drop of their table, which they have not come to, feeds are told what was before it. */
static void test_dropped(void **state)
{
        Hub h;
        Value result;
        uint64_t position = 0;
        begin_clients(&h, 2, 0);
        leave_all(&h);
        for (int i = 0; i < 50; i++)
                change_some(&h);
        hub_settle(&h);
        for (int i = 0; i < MANY; i++)
                ok(open_follow(&h, &clients[i].follow, true));
        ok(h.w.source->table_drop(h.w.catalog, BYTES_STR("test"), BYTES_STR("t"), &h.w.arena, &result, &position));
        hub_settle(&h);
        for (Client *c = clients; c < clients + MANY; c++) { /* who asks now has to wait: the end is far away */
                FeedEvent e;
                bool found;
                ok(h.feeds->next(c->follow.feed, &h.w.arena, &e, &found));
                assert_false(found);
                wait_again(&h, c);
                assert_false(c->ready);
        }
        int ended = 0;
        size_t events = 0;
        for (int still = 0; still < 20; still++) {
                hub_settle(&h);
                for (Client *c = clients; c < clients + MANY; c++) {
                        FeedEvent e;
                        bool found = true;
                        if (!c->ready)
                                continue;
                        still = 0;
                        while (found) {
                                ok(h.feeds->next(c->follow.feed, &h.w.arena, &e, &found));
                                if (found && e.kind == FEED_ENDED)
                                        ended++;
                                else if (found)
                                        apply(&h, &c->follow, &e);
                                events += found;
                        }
                        wait_again(&h, c);
                }
                sim_advance_ns(h.w.sim, FEED_READER_WANTED_NS);
        }
        assert_int_equal(ended, MANY);
        assert_true(events > MANY * 10);
        for (Client *c = clients; c < clients + MANY; c++) /* equal feeds were given the same */
                for (int id = 0; id < MODEL_IDS; id++) {
                        const char *mine = c->follow.rows[id], *other = clients[c->follow.a + 1].follow.rows[id];
                        assert_string_equal(mine ? mine : "", other ? other : "");
                }
        close_all(&h);
        done_world(&h);
}

/* A commit for which there is not memory enough: each reads it by itself, and no convoy tries again. */
static void test_too_large(void **state)
{
        Hub h;
        FeedHubStats before, after;
        Value keys[MODEL_IDS], rows[MODEL_IDS];
        RowOutcome outcomes[MODEL_IDS];
        WriteOptions options = {.quick = true};
        uint64_t position = 0;
        char text[3001];
        begin_clients(&h, 2, 20000);
        leave_all(&h);
        memset(text, 'x', sizeof text - 1);
        text[sizeof text - 1] = 0;
        memset(outcomes, 0, sizeof outcomes);
        for (int id = 0; id < MODEL_IDS; id++) {
                keys[id] = value_number(id);
                rows[id] = json(&h.w, arena_printf(&h.w.arena, "{\"id\":%d,\"a\":%d,\"v\":\"%s\"}", id, id % 4, text));
        }
        ok(h.w.source->write(h.table, keys, MODEL_IDS, test_set, rows, &options, &h.w.arena, outcomes, &position));
        for (int i = 0; i < 20; i++)
                change_some(&h);
        hub_settle(&h);
        feed_hub_stats(h.hub, &before);
        for (int i = 0; i < MANY; i++)
                open_client(&h, &clients[i], true);
        expect_all(&h);
        feed_hub_stats(h.hub, &after);
        assert_true(after.detached_large > before.detached_large);
        assert_true(after.journeys <= before.journeys + 2);
        close_all(&h);
        done_world(&h);
}

/* The log is cut off while they wait: each finds out by itself. */
static void test_cut(void **state)
{
        enum { FEEDS = 20 };
        static const StoreOptions keeps_little = {.log_keep_bytes = 1, .log_segment_bytes = 8000};
        Hub h;
        Feed *feeds[FEEDS];
        Client waiting[FEEDS] = {0};
        int lost = 0;
        begin_world(&h, &keeps_little);
        h.hub->options.reader_max = 2;
        Feed *kept = open_feed(&h, NULL);
        const FeedPlace since = h.feeds->place(kept);
        set_row(&h, 1, "{\"id\":1}");
        hub_settle(&h);
        for (int i = 0; i < FEEDS; i++) {
                feeds[i] = open_feed(&h, &(FeedOptions){.since = &since});
                h.feeds->watch(feeds[i], on_ready, &waiting[i], INT64_MAX, 0);
        }
        for (int i = 0; i < 60; i++) {
                set_row(&h, 2 + i % 5, arena_printf(&h.w.arena, "{\"id\":%d,\"v\":\"%0300d\"}", 2 + i % 5, i));
                if (i % 10 == 9)
                        ok(store_checkpoint(h.w.store));
        }
        assert_true(tail_reach(h.w.store) > since.position + 1);
        for (int still = 0; still < 20; still++) {
                hub_settle(&h);
                sim_advance_ns(h.w.sim, FEED_READER_WANTED_NS);
                for (int i = 0; i < FEEDS; i++) {
                        FeedEvent e;
                        bool found;
                        if (!waiting[i].ready)
                                continue;
                        waiting[i].ready = false;
                        still = 0;
                        ok(h.feeds->next(feeds[i], &h.w.arena, &e, &found));
                        lost += found && e.kind == FEED_LOST;
                        h.feeds->watch(feeds[i], on_ready, &waiting[i], INT64_MAX, 0);
                }
        }
        assert_int_equal(lost, FEEDS);
        for (int i = 0; i < FEEDS; i++)
                h.feeds->close(feeds[i]);
        h.feeds->close(kept);
        done_world(&h);
}

/* Wherever an allocation or a file fails: nothing is lost. */
static void test_faults(void **state)
{
        log_configure(LOG_OFF, LOG_TEXT, 2);
        for (int file = 0; file < 2; file++)
                for (long n = 1, fired = 1; fired && n < 400; n += n < 60 ? 1 : 7) {
                        Hub h;
                        bool more = true;
                        begin_clients(&h, 2, 0);
                        leave_all(&h);
                        for (int i = 0; i < 60; i++)
                                change_some(&h);
                        ok(tail_step(h.w.store));
                        for (int i = 0; i < MANY; i++)
                                open_client(&h, &clients[i], true);
                        if (file)
                                sim_fail_nth(h.w.sim, n, SIM_FAIL_ONCE);
                        else
                                mem_fail_nth(n);
                        for (int round = 0; more && round < 1000; round++)
                                ok(feed_hub_step(h.hub, &more));
                        fired = file ? sim_fired(h.w.sim) : mem_fail_fired();
                        if (file)
                                sim_heal(h.w.sim);
                        else
                                mem_fail_nth(0);
                        expect_all(&h);
                        close_all(&h);
                        done_world(&h);
                }
        log_configure(LOG_WARN, LOG_TEXT, 2);
}

/* An error before it sets out: everybody stands where it stood, and not where the journey before ended. */
static void test_before_it_sets_out(void **state)
{
        Hub h;
        Follow away[20] = {0}; /* each of a class of its own */
        begin_clients(&h, 2, 0);
        FeedPlace place = h.feeds->place(clients[0].follow.feed);
        leave_all(&h);
        Feed *kept = open_feed(&h, NULL);
        for (int i = 0; i < 50; i++)
                change_some(&h);
        hub_settle(&h);
        for (int i = 0; i < MANY; i++)
                open_client(&h, &clients[i], true);
        expect_all(&h);
        assert_true(h.hub->convoy.journeys > 0);
        for (long n = 1, fired = 1; fired; n++) {
                int64_t next_ns;
                bool more;
                for (size_t i = 0; i < ELEMENTS(away); i++) {
                        away[i].a = 100 + (int)i;
                        away[i].place = place;
                        ok(open_follow(&h, &away[i], true));
                        h.feeds->watch(away[i].feed, test_ignore, NULL, INT64_MAX, 0);
                }
                sim_advance_ns(h.w.sim, 2 * FEED_RETRY_NS);
                mem_fail_nth(n);
                convoy_round(h.hub, &next_ns, &more);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                assert_true(!h.hub->wanting.first || more || next_ns != INT64_MAX); /* it tries again by itself */
                for (size_t i = 0; i < ELEMENTS(away) && fired && !h.hub->past.collected; i++)
                        assert_int_equal(h.feeds->place(away[i].feed).position, place.position);
                for (size_t i = 0; i < ELEMENTS(away); i++)
                        h.feeds->close(away[i].feed);
                sim_advance_ns(h.w.sim, 2 * FEED_RETRY_NS);
                for (more = true; more;)
                        convoy_round(h.hub, &next_ns, &more);
                assert_int_equal(next_ns, INT64_MAX); /* nobody is there */
        }
        h.feeds->close(kept);
        close_all(&h);
        done_world(&h);
}

static void set_flag(void *ctx)
{
        *(bool *)ctx = true;
}

/* A log that cannot be read: each is told so. */
static void test_damaged(void **state)
{
        Hub h;
        Feed *feeds[20];
        bool ready[ELEMENTS(feeds)] = {false};
        size_t told = 0;
        const StoreOptions options = {.log_keep_bytes = 1 << 30,
                                      .log_segment_bytes = 8000,
                                      .log_recent_bytes = 1,
                                      .log_tail_max_bytes = 64 << 10};
        log_configure(LOG_OFF, LOG_TEXT, 2);
        begin_world(&h, &options);
        h.hub->options.reader_max = 2;
        Feed *feed = open_feed(&h, NULL);
        FeedPlace place = h.feeds->place(feed);
        for (int i = 0; i < 200; i++) {
                change_some(&h);
                ok(store_step(h.w.store));
                hub_settle(&h);
        }
        h.feeds->close(feed);
        damage_log(&h);
        for (size_t i = 0; i < ELEMENTS(feeds); i++) {
                ok(try_since(&h, place, &feeds[i]));
                h.feeds->watch(feeds[i], set_flag, &ready[i], INT64_MAX, 0);
        }
        for (int round = 0; round < 2000 && told < ELEMENTS(feeds); round++) {
                for (size_t i = 0; i < ELEMENTS(feeds); i++) {
                        FeedEvent e;
                        bool found = false;
                        if (!ready[i])
                                continue;
                        ready[i] = false;
                        Status st = h.feeds->next(feeds[i], &h.w.arena, &e, &found);
                        if (st) {
                                assert_int_equal(status_code(st), ERR_CORRUPT);
                                status_ignore(st);
                                h.feeds->close(take(feeds[i]));
                                told++;
                        } else {
                                h.feeds->watch(feeds[i], set_flag, &ready[i], INT64_MAX, 0);
                        }
                }
                arena_reset(&h.w.arena);
                hub_settle(&h);
                sim_advance_ns(h.w.sim, FEED_RETRY_NS / 4);
        }
        assert_int_equal(told, ELEMENTS(feeds));
        log_configure(LOG_WARN, LOG_TEXT, 2);
        done_world(&h);
}

/* The convoy comes to the drop of a table before the hub's thread does: who is at the present is told first what was
 * before it. */
static void test_drop_ahead(void **state)
{
        Hub h;
        FeedEvent e;
        Value result;
        uint64_t position = 0;
        bool found;
        begin_clients(&h, 2, 0);
        leave_all(&h);
        Feed *present = open_feed(&h, NULL);
        for (int i = 0; i < 20; i++)
                change_some(&h);
        hub_settle(&h);
        (void)events(&h, present);
        for (int i = 0; i < MANY; i++)
                open_client(&h, &clients[i], true);
        set_row(&h, 50, "{\"id\":50}");
        ok(h.w.source->table_drop(h.w.catalog, BYTES_STR("test"), BYTES_STR("t"), &h.w.arena, &result, &position));
        ok(tail_step(h.w.store));
        for (bool more = true; more;) {
                int64_t next_ns;
                convoy_round(h.hub, &next_ns, &more);
        }
        assert_true(row_of(present)->table->dropped_position > h.hub->present.collected);
        ok(h.feeds->next(present, &h.w.arena, &e, &found));
        assert_false(found);
        hub_settle(&h);
        expect_events(&h, present, "50:-/{\"id\":50}|ENDED Changefeed aborted (unavailable).|");
        h.feeds->close(present);
        close_all(&h);
        done_world(&h);
}

/* Who looks at the present on the way is there: it waits for the others no more. */
static void test_view(void **state)
{
        Hub h;
        FeedEvent e;
        int64_t next_ns;
        bool more, found;
        Client *c = &clients[5];
        begin_clients(&h, 2, 0);
        leave_all(&h);
        Feed *kept = open_feed(&h, NULL);
        for (int i = 0; i < 10 * FEED_ROUND_COMMITS; i++)
                change_some(&h);
        hub_settle(&h);
        for (int i = 0; i < MANY; i++)
                open_client(&h, &clients[i], true);
        convoy_round(h.hub, &next_ns, &more);
        assert_int_equal(row_of(c->follow.feed)->follower, FOLLOW_PAST);
        begin_with_view(&h, &c->follow);
        assert_int_equal(row_of(c->follow.feed)->follower, FOLLOW_PRESENT);
        set_row(&h, 3, "{\"id\":3,\"a\":1,\"v\":5000}");
        ok(tail_step(h.w.store));
        ok(feed_hub_step(h.hub, &more));
        assert_true(h.hub->convoy.count > 0);
        ok(h.feeds->next(c->follow.feed, &h.w.arena, &e, &found));
        assert_true(found);
        apply(&h, &c->follow, &e);
        wait_again(&h, c);
        expect_all(&h);
        h.feeds->close(kept);
        close_all(&h);
        done_world(&h);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_together),   cmocka_unit_test(test_before_it_sets_out),
                cmocka_unit_test(test_damaged),    cmocka_unit_test(test_ahead),
                cmocka_unit_test(test_drop_ahead), cmocka_unit_test(test_view),
                cmocka_unit_test(test_any),        cmocka_unit_test(test_dropped),
                cmocka_unit_test(test_too_large),  cmocka_unit_test(test_cut),
                cmocka_unit_test(test_faults),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
