/* convoy.c - many feeds that are behind go through the log together: hub_int.h.
 *
 *      wait --> starting: all that wait are taken along --> on its way, from the place of the last --> all have arrived
 *                                  those that come later, and are not further back ----^
 *
 * As long as a few are behind each reads the log by itself, as fast as its client fetches. Each of a hundred thousand
 * that come back after a restart would look at the same commits, and they would never be done while writers go on. */
#include "feed/hub_int.h"

#include "base/log.h"

#define CONVOY_SLICE       1024                /* feeds that are taken along, or arrive, in one go */
#define CONVOY_PAUSE_NS    INT64_C(5000000)    /* while queues are half full, for CONVOY_PATIENCE_NS at most */
#define CONVOY_PATIENCE_NS INT64_C(1000000000) /* then who does not fetch reads the log by itself, later */

bool convoy_is_for(const RowFeed *feed)
{
        const FeedHub *hub = feed->hub;
        bool can =
                feed->given == FEED_WHOLE_COMMIT && !feed->alone && !feed->ended &&
                !feed->queue_max; /* it asked for the loss of what does not fit: not for that of all that was before */
        return can && hub->feed_count - hub->attached_count > hub->options.reader_max;
}

void convoy_wanted(FeedHub *hub)
{
        hub->convoy.wanted = true;
        mutex_lock(&hub->wake_mu);
        hub->convoy_woken = true;
        cond_signal(&hub->convoy_wake);
        mutex_unlock(&hub->wake_mu);
}

/* --- taking along --- */

/* Those that were not looked at on this journey: the last ones. *ret_all: now all were. ERR_NOMEM. */
static Status take_along(FeedHub *hub, uint64_t reach, bool *ret_all)
{
        Convoy *convoy = &hub->convoy;
        RowFeed *feed = hub->wanting.last, *previous;
        uint64_t least = convoy->starting ? reach : hub->past.collected;
        size_t looked = 0;
        for (; feed && feed->journey != convoy->journeys && looked < CONVOY_SLICE; feed = previous, looked++) {
                previous = feed->list_previous;
                feed->alone = feed->alone || feed->position < reach; /* what it has lost it finds out itself */
                if (!convoy_is_for(feed)) {
                        feed_list_remove(feed);
                        feed_list_put(&hub->lone, feed);
                } else if (feed->position >= least) {
                        TRY(feed_travel(feed));
                        convoy->start = MIN(convoy->start, feed->position);
                } else { /* the next time; among those that were looked at */
                        feed->journey = convoy->journeys;
                        feed_list_remove(feed);
                        feed_list_put_first(&hub->wanting, feed);
                }
        }
        *ret_all = !feed || feed->journey == convoy->journeys;
        convoy->wanted = !*ret_all;
        return ST_OK;
}

/* Under the lock. *ret_sets_out: it has feeds, and a place. */
static Status gather(FeedHub *hub, uint64_t reach, bool *ret_all, bool *ret_sets_out) REQUIRES(hub->mu)
{
        Convoy *convoy = &hub->convoy;
        *ret_all = true;
        *ret_sets_out = convoy->on;
        if (!convoy->on) {
                if (!convoy->wanted || feed_hub_now_ns(hub) < convoy->retry_ns)
                        return ST_OK;
                convoy->on = convoy->starting = true;
                hub->past.collected = 0;
                atomic_store(&hub->past.delivered, 0); /* who travels stands where it stood, until it sets out */
                convoy->start = UINT64_MAX;
                convoy->journeys++;
        }
        if (convoy->wanted) {
                TRY(take_along(hub, reach, ret_all));
                catchup_wake(hub); /* those that it is not for */
        }
        if (convoy->starting && *ret_all && convoy->count) {
                convoy->starting = false;
                hub->past.collected = convoy->start;
                follower_set_delivered(&hub->past, convoy->start);
        }
        *ret_sets_out = !convoy->starting;
        return ST_OK;
}

/* --- on its way --- */

/* It goes on when clients have fetched. */
static bool waits(FeedHub *hub, int64_t *ret_next_ns)
{
        Convoy *convoy = &hub->convoy;
        int64_t now_ns = feed_hub_now_ns(hub);
        mutex_lock(&hub->mu);
        bool full = atomic_load(&hub->queued_bytes) + hub->ring_bytes > hub->options.memory_max_bytes / 2;
        mutex_unlock(&hub->mu);
        if (!full) {
                convoy->paused_ns = 0;
                return false;
        }
        if (!convoy->paused_ns)
                convoy->paused_ns = now_ns;
        if (now_ns - convoy->paused_ns >= CONVOY_PATIENCE_NS)
                return false;
        *ret_next_ns = now_ns + CONVOY_PAUSE_NS;
        return true;
}

static Status travel(FeedHub *hub, bool *ret_more)
{
        if (!hub->past.reader)
                TRY(tail_open(hub->store, hub->convoy.start, &hub->past.reader));
        return follower_read(&hub->past, ret_more);
}

/* If it has come to the present. */
static void arrive(FeedHub *hub)
{
        mutex_lock(&hub->mu);
        bool there = atomic_load(&hub->past.delivered) >= hub->present.collected;
        for (size_t n = 0; there && hub->convoy.first && n < CONVOY_SLICE; n++)
                feed_arrive(hub->convoy.first);
        mutex_unlock(&hub->mu);
}

/* All arrived, or have gone; or (an error) have to see for themselves. */
static void end(FeedHub *hub, Status st)
{
        Convoy *convoy = &hub->convoy;
        mutex_lock(&hub->mu);
        convoy->failures = st ? convoy->failures + 1 : 0;
        for (RowFeed *feed; (feed = convoy->first);) {
                feed->alone = convoy->failures > FEED_RETRIES; /* its own reader tells why the log cannot be read */
                feed_detach(feed);
        }
        convoy->wanted = hub->wanting.first != NULL; /* who came too late for it */
        convoy->on = convoy->starting = false;
        convoy->retry_ns = st ? feed_hub_now_ns(hub) + FEED_RETRY_NS : 0;
        catchup_wake(hub);
        mutex_unlock(&hub->mu);
        tail_close(take(hub->past.reader));
        convoy->paused_ns = 0;
        if (status_code(st) == ERR_NOT_FOUND)
                status_ignore(st);
        else if (st)
                log_status(LOG_WARN, "feeds", status_context(st, "taking changefeeds through the log"));
}

/* A round of one that is on. `st`: of those that were taken along. */
static void go_on(FeedHub *hub, Status st, bool all, bool sets_out, int64_t *ret_next_ns, bool *ret_more)
{
        Convoy *convoy = &hub->convoy;
        *ret_more = !all;
        if (!st && sets_out && !waits(hub, ret_next_ns)) {
                bool more;
                st = travel(hub, &more);
                if (!st)
                        arrive(hub);
                *ret_more = !st;
        }
        mutex_lock(&hub->mu);
        bool over = st || (all && convoy->count == 0);
        mutex_unlock(&hub->mu);
        if (over)
                end(hub, st);
}

void convoy_round(FeedHub *hub, int64_t *ret_next_ns, bool *ret_more)
{
        Convoy *convoy = &hub->convoy;
        bool all, sets_out;
        uint64_t reach = tail_reach(hub->store);
        *ret_more = false;
        *ret_next_ns = INT64_MAX;
        mutex_lock(&hub->mu);
        Status st = gather(hub, reach, &all, &sets_out);
        bool on = convoy->on;
        mutex_unlock(&hub->mu);
        if (on)
                go_on(hub, st, all, sets_out, ret_next_ns, ret_more);
        mutex_lock(&hub->mu);
        if (!convoy->on && convoy->wanted) {
                *ret_next_ns = convoy->retry_ns;
                *ret_more = feed_hub_now_ns(hub) >= convoy->retry_ns;
        }
        mutex_unlock(&hub->mu);
}

void convoy_thread(void *arg)
{
        FeedHub *hub = arg;
        int64_t next_ns = INT64_MAX;
        while (feed_hub_wait(hub, &hub->convoy_wake, &hub->convoy_woken, next_ns)) {
                bool more = true;
                while (more)
                        convoy_round(hub, &next_ns, &more);
        }
}
