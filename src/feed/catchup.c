/* catchup.c - a detached feed reads the log itself, when it is asked for events, until it has come to the hub's
 * position.
 *
 * A few may have a reader at once (FeedHubOptions.reader_max): opening one means to look through a file of the log for
 * the place. Others wait in FeedHub.lone, and when many are behind they go together: convoy.c. A reader whose feed
 * nobody asks any more is closed after a while; the feed begins again at its place then.
 *
 * Whoever is in `next` has the Catchup `busy`: nobody else touches it then. */
#include "feed/hub_int.h"

#include <assert.h>

#define CATCHUP_BYTES  ((size_t)256 << 10) /* of the log, in one call */
#define CATCHUP_ROWS   1000                /* of this table, the same */
#define CATCHUP_CLOSES 16                  /* readers that are closed in one go */

struct Catchup {
        /* --- under the hub's lock --- */
        RowFeed *feed;
        Catchup *next, *previous; /* in order of their last use */
        int64_t used_ns;
        bool busy;
        TailReader *reader;
        /* --- whoever has it busy --- */
        TailCommit commit;
        uint64_t present; /* commits up to here are published */
        bool in_commit;
        size_t offset;        /* of the next record */
        uint32_t index, skip; /* events found in this commit; of which so many were given before */
        Arena arena;          /* of one record */
        Value key;
        MatchShown *shown;
        size_t shown_count, shown_at;
        FeedItem *pending; /* found and not given: is it the last of the commit? */
};

static void list_last(FeedHub *hub, Catchup *c)
{
        c->next = NULL;
        c->previous = hub->reader_last;
        if (hub->reader_last)
                hub->reader_last->next = c;
        else
                hub->reader_first = c;
        hub->reader_last = c;
}

static void unlist(FeedHub *hub, Catchup *c)
{
        if (c->previous)
                c->previous->next = c->next;
        else
                hub->reader_first = c->next;
        if (c->next)
                c->next->previous = c->previous;
        else
                hub->reader_last = c->previous;
}

/* Room for other readers: those who wait for it longest. Should they not come, the sweep wakes the next. */
void catchup_wake(FeedHub *hub)
{
        for (size_t n = hub->reader_count; n < hub->options.reader_max; n++) {
                RowFeed *feed = hub->lone.first;
                if (!feed && hub->wanting.first && !convoy_is_for(hub->wanting.first)) /* those that are left are few */
                        feed = hub->wanting.first;
                if (!feed)
                        return;
                feed_list_remove(feed);
                feed_waiter_signal(hub, &feed->waiter);
        }
}

void catchup_want(RowFeed *feed)
{
        FeedHub *hub = feed->hub;
        feed->journey = 0;
        if (convoy_is_for(feed)) {
                feed_list_put(&hub->wanting, feed);
                convoy_wanted(hub);
        } else {
                feed_list_put(&hub->lone, feed);
        }
        if (!hub->sweep.place) /* without memory: the next one's */
                status_ignore(feed_timer_set(hub, &hub->sweep, feed_hub_now_ns(hub) + FEED_READER_WANTED_NS));
}

bool catchup_may_read(const RowFeed *feed)
{
        const FeedHub *hub = feed->hub;
        return feed->catchup || (hub->reader_count < hub->options.reader_max && !convoy_is_for(feed));
}

/* From its feed, which begins again at its place if it reads on. Under the lock; the caller frees it without. */
static Catchup *take_catchup(FeedHub *hub, RowFeed *feed)
{
        Catchup *c = take(feed->catchup);
        if (c) {
                unlist(hub, c);
                hub->reader_count--;
                catchup_wake(hub);
        }
        return c;
}

static void free_catchup(Catchup *c)
{
        if (!c)
                return;
        tail_close(c->reader);
        feed_item_unref(c->pending);
        arena_done(&c->arena);
        mem_free(c);
}

void catchup_free(RowFeed *feed)
{
        FeedHub *hub = feed->hub;
        mutex_lock(&hub->mu);
        Catchup *c = take_catchup(hub, feed);
        mutex_unlock(&hub->mu);
        free_catchup(c);
}

void catchup_sweep(FeedTimer *timer)
{
        FeedHub *hub = (FeedHub *)((char *)timer - offsetof(FeedHub, sweep));
        Catchup *idle[CATCHUP_CLOSES];
        size_t count = 0;
        int64_t now_ns = feed_hub_now_ns(hub);
        mutex_lock(&hub->mu);
        int64_t idle_ns = hub->lone.first ? FEED_READER_WANTED_NS : FEED_READER_IDLE_NS;
        for (Catchup *c = hub->reader_first, *next; c && count < CATCHUP_CLOSES; c = next) {
                next = c->next;
                if (now_ns - c->used_ns < idle_ns)
                        break;
                if (!c->busy)
                        idle[count++] = take_catchup(hub, c->feed);
        }
        catchup_wake(hub); /* it may be that whoever was woken never came */
        if (hub->reader_count || hub->lone.first || hub->wanting.first)
                status_ignore(feed_timer_set(hub, &hub->sweep, now_ns + FEED_READER_WANTED_NS));
        mutex_unlock(&hub->mu);
        for (size_t i = 0; i < count; i++)
                free_catchup(idle[i]);
}

/* --- one call --- */

/* Room for another one is reserved. */
static Status open_reader(RowFeed *feed, Catchup **ret_catchup)
{
        uint64_t after = feed->given == FEED_WHOLE_COMMIT ? feed->position : feed->position - 1;
        Catchup *c = mem_zalloc(sizeof(*c));
        if (!c)
                return status_nomem();
        Status st = tail_open(feed->hub->store, after, &c->reader);
        if (st) {
                mem_free(c);
                return st;
        }
        arena_init(&c->arena, 0);
        c->feed = feed;
        *ret_catchup = c;
        return ST_OK;
}

/* *ret_catchup: busy. NULL: there are too many. */
static Status begin(RowFeed *feed, Catchup **ret_catchup)
{
        FeedHub *hub = feed->hub;
        Status st = ST_OK;
        mutex_lock(&hub->mu);
        Catchup *c = feed->catchup;
        bool opens = !c && catchup_may_read(feed);
        hub->reader_count += opens;
        if (c) {
                unlist(hub, c);
        } else if (opens) {
                mutex_unlock(&hub->mu);
                st = open_reader(feed, &c);
                mutex_lock(&hub->mu);
                feed->catchup = c;
                if (st) {
                        hub->reader_count--;
                        catchup_wake(hub);
                }
        }
        if (c) {
                list_last(hub, c);
                c->busy = true;
                c->used_ns = feed_hub_now_ns(hub);
                if (!hub->sweep.place) /* without memory: the next one's */
                        status_ignore(feed_timer_set(hub, &hub->sweep, c->used_ns + FEED_READER_WANTED_NS));
        }
        mutex_unlock(&hub->mu);
        *ret_catchup = c;
        return st;
}

/* A detached feed's place is its owner's alone. */
static void moved(RowFeed *feed, uint64_t position, uint32_t given)
{
        feed->position = position;
        feed->given = given;
}

static Status give(RowFeed *feed, FeedItem *item, Arena *hold, FeedEvent *ret_event)
{
        uint8_t *data = arena_try_alloc(hold, item->bytes);
        if (!data)
                return status_nomem();
        memcpy(data, item->data, item->bytes);
        feed_item_event(item, data, ret_event);
        moved(feed, ret_event->place.position, ret_event->place.index);
        atomic_fetch_add_explicit(&feed->hub->caught_up, 1, memory_order_relaxed);
        return ST_OK;
}

/* What the class shows of the next record of the table that it shows anything of; *ret_end: the commit has no more. */
static Status next_shown(RowFeed *feed, Catchup *c, size_t *work_rows, bool *ret_end, bool *ret_dropped)
{
        Record record;
        RowChanged changed;
        bool found;
        *ret_end = *ret_dropped = false;
        while (c->shown_at == c->shown_count && *work_rows < CATCHUP_ROWS) {
                TRY(record_next(c->commit.body, &c->offset, &record, &found));
                *ret_end = !found;
                if (!found)
                        return ST_OK;
                if (record.table_id != feed->table->id || record.tree != 0)
                        continue;
                *ret_dropped = record.kind == RECORD_DROP;
                if (*ret_dropped)
                        return ST_OK;
                if (record.kind != RECORD_PUT && record.kind != RECORD_DELETE)
                        continue;
                ++*work_rows;
                arena_reset(&c->arena);
                c->shown_at = c->shown_count = 0;
                TRY(feed_row_changed(&record, feed->table->primary_key, &c->arena, &changed));
                c->key = changed.key;
                int64_t began_ns = feed_hub_now_ns(feed->hub);
                TRY(feed_class_show(feed->class, changed.key, changed.old_row, changed.new_row, &c->arena, &c->shown,
                                    &c->shown_count));
                if (!feed_class_is_plain(feed->class))
                        feed_class_took(feed->class, feed_hub_now_ns(feed->hub) - began_ns);
        }
        return ST_OK;
}

static Status next_commit(RowFeed *feed, Catchup *c, bool *ret_found)
{
        TRY(tail_next(c->reader, &c->commit, ret_found));
        if (*ret_found) {
                /* It may be written before it is published: who is told of it shall see it. */
                if (c->commit.position > c->present)
                        c->present = tail_present(feed->hub->store);
                c->in_commit = true;
                c->offset = 0;
                c->index = 0;
                c->skip = feed->given != FEED_WHOLE_COMMIT && c->commit.position == feed->position ? feed->given : 0;
        }
        return ST_OK;
}

/* The commit is over: what is pending is its last event. */
static Status end_commit(RowFeed *feed, Catchup *c, Arena *hold, FeedEvent *ret_event, bool *ret_found)
{
        c->in_commit = false;
        *ret_found = c->pending != NULL;
        if (!*ret_found) {
                moved(feed, c->commit.position, FEED_WHOLE_COMMIT);
                return ST_OK;
        }
        c->pending->last = true;
        TRY(give(feed, c->pending, hold, ret_event));
        c->pending = feed_item_unref(c->pending);
        return ST_OK;
}

/* One more event of the commit: the one before it is not the last. */
static Status add_shown(RowFeed *feed, Catchup *c, Arena *hold, FeedEvent *ret_event, bool *ret_found)
{
        FeedItem *item;
        const MatchShown *shown = &c->shown[c->shown_at];
        if (c->index < c->skip) {
                c->shown_at++;
                c->index++;
                return ST_OK;
        }
        TRY(feed_item_new(feed->hub, c->key, shown, &item));
        Status st = c->pending ? give(feed, c->pending, hold, ret_event) : ST_OK;
        if (st) {
                feed_item_unref(item);
                return st;
        }
        *ret_found = c->pending != NULL;
        feed_item_unref(c->pending);
        item->position = c->commit.position;
        item->wall_us = c->commit.wall_us;
        item->index = c->index++;
        c->shown_at++;
        c->pending = item;
        return ST_OK;
}

static void ended(RowFeed *feed, uint64_t position, FeedEvent *ret_event)
{
        mutex_lock(&feed->hub->mu);
        feed->table->dropped_position = position;
        feed_end(feed, ret_event);
        mutex_unlock(&feed->hub->mu);
}

/* *ret_left: it is not detached any more. */
static Status read_log(RowFeed *feed, Catchup *c, Arena *hold, FeedEvent *ret_event, bool *ret_found, bool *ret_left)
{
        size_t rows = 0, bytes = 0;
        while (!*ret_found && rows < CATCHUP_ROWS && bytes < CATCHUP_BYTES) {
                bool end, dropped, found;
                if (!c->in_commit) {
                        TRY(next_commit(feed, c, &found));
                        if (!found) {
                                TRY(feed_attach(feed, ret_left));
                                if (*ret_left)
                                        return ST_OK;
                                continue;
                        }
                        bytes += c->commit.body.size;
                }
                TRY(next_shown(feed, c, &rows, &end, &dropped));
                if (dropped) {
                        ended(feed, c->commit.position, ret_event);
                        *ret_found = *ret_left = true;
                } else if (end) {
                        TRY(end_commit(feed, c, hold, ret_event, ret_found));
                } else if (c->shown_at < c->shown_count) {
                        TRY(add_shown(feed, c, hold, ret_event, ret_found));
                }
        }
        return ST_OK;
}

Status catchup_next(RowFeed *feed, Arena *hold, FeedEvent *ret_event, bool *ret_found)
{
        FeedHub *hub = feed->hub;
        Catchup *c = NULL;
        bool left = false;
        *ret_found = false;
        Status st = begin(feed, &c);
        if (!st && c)
                st = read_log(feed, c, hold, ret_event, ret_found, &left);
        if (st || left) { /* after an error: again from its place */
                catchup_free(feed);
        } else if (c) {
                mutex_lock(&hub->mu);
                c->busy = false;
                c->used_ns = feed_hub_now_ns(hub);
                mutex_unlock(&hub->mu);
        }
        if (status_code(st) == ERR_NOT_FOUND) {
                status_ignore(st);
                TRY(feed_lose(feed, ret_event));
                *ret_found = true;
                return ST_OK;
        }
        return status_context(st, "reading the log for a changefeed");
}
