/* feed_fault_test.c - no memory, at each allocation: whatever fails, no feed loses or repeats a change, and nothing is
 * left behind. */
#include "feed/feed_test.h"

#include "base/log.h"

enum { ROWS = 20, FEEDS = 6, PLAIN = 4 }; /* those behind PLAIN: of a function that takes long */

typedef struct Got {
        Feed *feed;
        int next; /* the row that has to come */
} Got;

/* The nth allocation of the mth stretch of work fails; what is between stretches is the test's own. */
static long fail_stretch, fail_nth, stretch;
static bool fired;

static void armed(bool on)
{
        if (on && ++stretch == fail_stretch) {
                mem_fail_nth(fail_nth);
        } else if (!on && stretch == fail_stretch) {
                fired = fired || mem_fail_fired();
                mem_fail_nth(0);
        }
}

static void expect_nomem(Status st)
{
        if (st)
                assert_int_equal(status_code(st), ERR_NOMEM);
        status_ignore(st);
}

/* filter(id + 1 > 0): all rows. */
static const char all_rows[] = "[69,[[2,[1]],[65,[[21,[[24,[[170,[[10,[1]],\"id\"]],1]],0]],[2,[[10,[1]]]],[2,[]]]]]]";

static void open_one(Hub *h, Got *got, const FeedPlace *since, size_t queue_max, bool plain)
{
        FeedSpec spec = spec_of(h);
        spec.function = plain ? BYTES_NONE : BYTES_STR(all_rows);
        FeedOptions options = {.since = since, .queue_max = queue_max, .heartbeat_ns = 1000000000};
        for (;;) {
                armed(true);
                Status st = h->feeds->open(h->feeds->ctx, &spec, &options, &got->feed);
                armed(false);
                if (!st)
                        return;
                expect_nomem(st);
        }
}

static void settle(Hub *h)
{
        bool more = true;
        ok(tail_step(h->w.store));
        while (more) {
                armed(true);
                Status st = feed_hub_step(h->hub, &more);
                armed(false);
                assert_null(st);
        }
}

static void fetch(Hub *h, Got *got)
{
        for (;;) {
                FeedEvent e;
                bool found;
                armed(true);
                Status st = h->feeds->next(got->feed, &h->w.arena, &e, &found);
                armed(false);
                if (!st && !found && !h->feeds->is_long(got->feed))
                        return;
                if (st || !found || e.kind == FEED_IDLE) {
                        expect_nomem(st);
                        continue;
                }
                assert_int_equal(e.kind, FEED_CHANGE);
                assert_int_equal((int)e.key.number, got->next);
                got->next++;
        }
}

static void watch(Hub *h, Got *got)
{
        armed(true);
        h->feeds->watch(got->feed, test_ignore, NULL, os_mono_ns(sim_os(h->w.sim)) + 1000000, 0);
        armed(false);
}

/* The time of tests stands still: evaluating makes a class quick again. */
static void make_slow(const Got *got)
{
        feed_class_took(row_of(got->feed)->class, 1000000000);
        assert_true(feed_class_is_slow(row_of(got->feed)->class));
}

static void history(Hub *h)
{
        Got got[FEEDS] = {0};
        TableView *view;
        FeedHubStats stats;
        for (int i = 0; i < 3; i++)
                open_one(h, &got[i], NULL, i == 2 ? 1000 : 0, true);
        for (int i = PLAIN; i < FEEDS; i++)
                open_one(h, &got[i], NULL, 0, false);
        FeedPlace place = h->feeds->place(got[0].feed);
        for (int row = 0; row < ROWS; row++) {
                set_row(h, row, arena_printf(&h->w.arena, "{\"id\":%d}", row));
                make_slow(&got[PLAIN]);
                watch(h, &got[row % 3]);
                settle(h);
                fetch(h, &got[0]);
                if (row % 3 == 0)
                        fetch(h, &got[PLAIN]);
                if (row == 6) {
                        open_one(h, &got[3], &place, 0, true);
                        fetch(h, &got[3]);
                }
                sim_advance_ns(h->w.sim, 2000000);
                settle(h); /* after a failure the log is tried again later */
        }
        sim_advance_ns(h->w.sim, 2 * FEED_RETRY_NS);
        settle(h);
        for (int i = 0; i < FEEDS; i++) {
                fetch(h, &got[i]);
                assert_int_equal(got[i].next, ROWS);
        }
        armed(true);
        Status st = h->feeds->view(got[1].feed, &view);
        armed(false);
        if (!st)
                h->w.source->view_close(view);
        expect_nomem(st);
        for (int i = 0; i < FEEDS; i++)
                h->feeds->close(got[i].feed);
        feed_hub_stats(h->hub, &stats);
        assert_int_equal(stats.feeds + stats.attached + stats.classes + stats.tables + stats.queued_events, 0);
        assert_int_equal(stats.queued_bytes + stats.readers, 0);
}

static void test_no_memory(void **state)
{
        log_configure(LOG_OFF, LOG_TEXT, 2);
        long fires = 0;
        fail_stretch = fail_nth = 1;
        do {
                Hub h;
                fired = false;
                stretch = 0;
                hub_init_world(&h, false);
                h.hub->options.queue_max_bytes = 1000;
                history(&h);
                hub_done(&h);
                fires += fired;
                if (fired) {
                        fail_nth++;
                } else {
                        fail_stretch++;
                        fail_nth = 1;
                }
        } while (fail_stretch <= stretch);
        assert_true(fires > 50);
}

static void test_open_close(void **state)
{
        Hub h;
        hub_init_world(&h, false);
        hub_close(&h);
        for (long n = 1;; n++) {
                h.options.by_hand = true;
                mem_fail_nth(n);
                Status st = feed_hub_open(h.w.store, h.w.catalog, &h.w.host, sim_os(h.w.sim), &h.options, &h.hub);
                bool failed = mem_fail_fired();
                mem_fail_nth(0);
                assert_int_equal(st != NULL, failed);
                if (!failed)
                        break;
                expect_nomem(st);
        }
        hub_done(&h);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_no_memory),
                cmocka_unit_test(test_open_close),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
