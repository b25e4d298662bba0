/* feed.c - a feed of the rows of an ordinary table: its queue while it is attached, and how it comes and goes. States:
 * hub_int.h. */
#include "feed/hub_int.h"

#include <assert.h>
#include <inttypes.h>

static RowFeed *row_feed(const Feed *feed)
{
        return (RowFeed *)(uintptr_t)feed;
}

/* --- the queue: a ring --- */

static FeedItem **queue_at(RowFeed *feed, uint32_t i)
{
        return &feed->items[(feed->head + i) % feed->capacity];
}

static Status queue_reserve(RowFeed *feed, size_t more)
{
        FeedHub *hub = feed->hub;
        if (feed->count + more <= feed->capacity)
                return ST_OK;
        size_t capacity = feed->capacity ? 2 * (size_t)feed->capacity : 4;
        while (capacity < feed->count + more)
                capacity *= 2;
        FeedItem **items = mem_alloc(capacity * sizeof(FeedItem *));
        if (!items)
                return status_nomem();
        for (uint32_t i = 0; i < feed->count; i++)
                items[i] = *queue_at(feed, i);
        mem_free(feed->items);
        hub->ring_bytes += (capacity - feed->capacity) * sizeof(FeedItem *);
        feed->items = items;
        feed->head = 0;
        feed->capacity = (uint32_t)capacity;
        return ST_OK;
}

void feed_list_put(RowFeedList *list, RowFeed *feed)
{
        assert(!feed->list);
        feed->list = list;
        feed->list_next = NULL;
        feed->list_previous = list->last;
        if (list->last)
                list->last->list_next = feed;
        else
                list->first = feed;
        list->last = feed;
        list->count++;
}

void feed_list_put_first(RowFeedList *list, RowFeed *feed)
{
        assert(!feed->list);
        feed->list = list;
        feed->list_previous = NULL;
        feed->list_next = list->first;
        if (list->first)
                list->first->list_previous = feed;
        else
                list->last = feed;
        list->first = feed;
        list->count++;
}

void feed_list_remove(RowFeed *feed)
{
        RowFeedList *list = take(feed->list);
        if (!list)
                return;
        if (feed->list_previous)
                feed->list_previous->list_next = feed->list_next;
        else
                list->first = feed->list_next;
        if (feed->list_next)
                feed->list_next->list_previous = feed->list_previous;
        else
                list->last = feed->list_previous;
        list->count--;
}

/* An empty queue has no memory: most feeds have nothing most of the time. */
static void queue_emptied(RowFeed *feed)
{
        feed_list_remove(feed);
        feed->hub->ring_bytes -= feed->capacity * sizeof(FeedItem *);
        mem_free(take(feed->items));
        feed->head = feed->capacity = feed->queue_bytes = 0;
}

/* The first of the queue is the caller's now. */
static FeedItem *queue_take(RowFeed *feed)
{
        FeedItem *item = *queue_at(feed, 0);
        feed->head = (feed->head + 1) % feed->capacity;
        feed->queue_bytes -= (uint32_t)feed_item_bytes(item);
        feed->work_count -= item->kind == FEED_ITEM_WORK;
        feed->hub->queued_events--;
        if (--feed->count == 0)
                queue_emptied(feed);
        return item;
}

static void queue_clear(RowFeed *feed)
{
        while (feed->count)
                feed_item_unref(queue_take(feed));
}

static void set_place(RowFeed *feed, uint64_t position, uint32_t given)
{
        feed->position = position;
        feed->given = given;
}

/* Behind everything that was given, and what came between it and the first that waits. */
static FeedPlace place_of(RowFeed *feed)
{
        FeedPlace place = {.position = feed->position, .index = feed->given};
        if (feed->state != FEED_STATE_ATTACHED)
                return place;
        if (!feed->count) {
                uint64_t delivered = atomic_load(&feed_follower(feed)->delivered);
                if (delivered > place.position)
                        place = (FeedPlace){.position = delivered, .index = FEED_WHOLE_COMMIT};
                return place;
        }
        const FeedItem *item = *queue_at(feed, 0);
        if (item->index == 0)
                place = (FeedPlace){.position = MAX(place.position, item->position - 1), .index = FEED_WHOLE_COMMIT};
        else
                place = (FeedPlace){.position = item->position, .index = item->index};
        return place;
}

static bool has_come_to(RowFeed *feed, uint64_t position)
{
        FeedPlace place = place_of(feed);
        return place.position > position || (place.position == position && place.index == FEED_WHOLE_COMMIT);
}

/* --- attached and detached --- */

static bool travels(const RowFeed *feed)
{
        return feed->state == FEED_STATE_ATTACHED && feed->follower == FOLLOW_PAST;
}

static void enter_class(RowFeed *feed, unsigned follower)
{
        feed->follower = (uint8_t)follower;
        feed->class_previous = NULL;
        feed->class_next = match_user(feed->class, follower);
        if (feed->class_next)
                feed->class_next->class_previous = feed;
        match_set_user(feed->class, follower, feed);
        feed->table->attached_count[follower]++;
}

static void leave_class(RowFeed *feed)
{
        if (feed->class_previous)
                feed->class_previous->class_next = feed->class_next;
        else
                match_set_user(feed->class, feed->follower, feed->class_next);
        if (feed->class_next)
                feed->class_next->class_previous = feed->class_previous;
        feed->class_next = feed->class_previous = NULL;
        feed->table->attached_count[feed->follower]--;
}

static void enter_convoy(RowFeed *feed)
{
        Convoy *convoy = &feed->hub->convoy;
        feed->convoy_previous = NULL;
        feed->convoy_next = convoy->first;
        if (convoy->first)
                convoy->first->convoy_previous = feed;
        convoy->first = feed;
        convoy->count++;
}

static void leave_convoy(RowFeed *feed)
{
        Convoy *convoy = &feed->hub->convoy;
        if (feed->convoy_previous)
                feed->convoy_previous->convoy_next = feed->convoy_next;
        else
                convoy->first = feed->convoy_next;
        if (feed->convoy_next)
                feed->convoy_next->convoy_previous = feed->convoy_previous;
        convoy->count--;
}

static Status attach_to(RowFeed *feed, unsigned follower)
{
        FeedHub *hub = feed->hub;
        FeedTable *table = feed->table;
        FeedClass *filed;
        size_t before = match_count(table->match);
        assert(feed->state != FEED_STATE_ATTACHED);
        TRY(match_add(table->match, feed->class, &filed));
        feed_list_remove(feed);
        hub->class_count += match_count(table->match) - before;
        feed_class_unref(feed->class);
        feed->class = filed;
        enter_class(feed, follower);
        if (follower == FOLLOW_PAST)
                enter_convoy(feed);
        else
                feed->alone = false;
        feed->state = FEED_STATE_ATTACHED;
        feed->queued = 0;
        hub->attached_count++;
        return ST_OK;
}

static void leave_follower(RowFeed *feed)
{
        FeedHub *hub = feed->hub;
        leave_class(feed);
        if (feed->follower == FOLLOW_PAST)
                leave_convoy(feed);
        if (!match_user(feed->class, FOLLOW_PRESENT) && !match_user(feed->class, FOLLOW_PAST)) {
                match_remove(feed->table->match, feed->class);
                hub->class_count--;
        }
        hub->attached_count--;
}

static void list_awaiting(RowFeed *feed)
{
        Follower *follower = feed_follower(feed);
        follower->awaited = MIN(follower->awaited, feed->awaited);
        feed_list_put(&feed->hub->awaiting, feed);
}

static void await_place(RowFeed *feed)
{
        if (!feed->awaited || feed->count || !feed->waiter.ready)
                return;
        if (has_come_to(feed, feed->awaited))
                feed_waiter_signal(feed->hub, &feed->waiter);
        else
                list_awaiting(feed);
}

Status feed_travel(RowFeed *feed)
{
        TRY(attach_to(feed, FOLLOW_PAST));
        await_place(feed);
        return ST_OK;
}

/* What the present's follower is to give next may have been in the queue for long. */
void feed_arrive(RowFeed *feed)
{
        assert(feed->follower == FOLLOW_PAST);
        leave_class(feed);
        leave_convoy(feed);
        feed->queued = atomic_load(&feed->hub->past.delivered);
        if (!feed->count)
                set_place(feed, MAX(feed->position, feed->queued), FEED_WHOLE_COMMIT);
        enter_class(feed, FOLLOW_PRESENT);
        if (feed->list == &feed->hub->awaiting) {
                feed_list_remove(feed);
                await_place(feed);
        }
}

void feed_detach(RowFeed *feed)
{
        assert(feed->state == FEED_STATE_ATTACHED);
        FeedPlace place = place_of(feed);
        leave_follower(feed);
        queue_clear(feed);
        feed_list_remove(feed);
        feed->state = FEED_STATE_DETACHED;
        set_place(feed, place.position, place.index);
        feed_waiter_signal(feed->hub, &feed->waiter);
}

Status feed_attach(RowFeed *feed, bool *ret_attached)
{
        FeedHub *hub = feed->hub;
        Status st = ST_OK;
        mutex_lock(&hub->mu);
        *ret_attached = feed->position >= hub->present.collected && feed->given == FEED_WHOLE_COMMIT;
        if (*ret_attached)
                st = attach_to(feed, FOLLOW_PRESENT);
        mutex_unlock(&hub->mu);
        return st;
}

static bool is_ended(const RowFeed *feed)
{
        uint64_t dropped = feed->table->dropped_position;
        return feed->ended || (dropped && atomic_load(&feed_follower(feed)->delivered) >= dropped);
}

Status feed_lose(RowFeed *feed, FeedEvent *ret_event)
{
        FeedHub *hub = feed->hub;
        uint64_t present = tail_present(hub->store);
        Status st = ST_OK;
        mutex_lock(&hub->mu);
        if (feed->ended || feed->table->dropped_position)
                feed_end(feed, ret_event);
        else
                st = attach_to(feed, FOLLOW_PRESENT);
        if (!st && feed->state == FEED_STATE_ATTACHED) {
                hub->lost++;
                set_place(feed, MAX(present, hub->present.collected), FEED_WHOLE_COMMIT);
                *ret_event = (FeedEvent){.kind = FEED_LOST, .last_of_commit = true, .place = place_of(feed)};
        }
        mutex_unlock(&hub->mu);
        return st;
}

void feed_hub_trim(FeedHub *hub)
{
        while (hub->slow.first && atomic_load_explicit(&hub->queued_bytes, memory_order_relaxed) + hub->ring_bytes >
                                          hub->options.memory_max_bytes) {
                RowFeed *feed = hub->slow.first;
                if (feed->queue_max) { /* who asked for it is told what is missing */
                        feed->skipped += feed->count;
                        hub->skipped += feed->count;
                        uint64_t last = (*queue_at(feed, feed->count - 1))->position;
                        queue_clear(feed);
                        set_place(feed, last, FEED_WHOLE_COMMIT);
                } else {
                        hub->detached_slow++;
                        feed->alone = travels(feed);
                        feed_detach(feed);
                }
        }
}

/* RethinkDB: what overflows goes, with all that was waiting. */
static void queue_overflow(RowFeed *feed, size_t more)
{
        feed->skipped += feed->count + more;
        feed->hub->skipped += feed->count + more;
        queue_clear(feed);
}

void feed_deliver(RowFeed *feed, FeedItem *const *items, size_t count)
{
        FeedHub *hub = feed->hub;
        uint64_t position = items[0]->position;
        size_t bytes = 0;
        if (feed->position >= position || feed->queued >= position || feed->state != FEED_STATE_ATTACHED)
                return;
        if (feed->queue_max && feed->count + count > feed->queue_max) {
                queue_overflow(feed, count);
                set_place(feed, position, FEED_WHOLE_COMMIT);
                feed_waiter_signal(hub, &feed->waiter);
                return;
        }
        for (size_t i = 0; i < count; i++)
                bytes += feed_item_bytes(items[i]);
        size_t after = feed->queue_bytes + bytes;
        bool fits =
                after <= UINT32_MAX && (feed->queue_max || feed->count == 0 || after <= hub->options.queue_max_bytes);
        Status st = fits ? queue_reserve(feed, count) : ST_OK;
        if (!fits || st) {
                status_ignore(st);
                hub->detached_slow += !fits;
                feed->alone = !fits && travels(feed);
                feed_detach(feed);
                return;
        }
        if (!feed->count) {
                feed_list_remove(feed);
                feed_list_put(&hub->slow, feed);
        }
        for (size_t i = 0; i < count; i++)
                *queue_at(feed, feed->count++) = feed_item_ref(items[i]);
        feed->queue_bytes += (uint32_t)bytes;
        hub->queued_events += count;
        if (items[0]->kind == FEED_ITEM_WORK)
                feed->work_count++;
        else
                hub->delivered_events += count;
        feed_waiter_signal(hub, &feed->waiter);
}

/* --- work: functions that take long --- */

/* What the queue begins with; NULL: it is none. */
static FeedWork *work_in_front(const RowFeed *feed)
{
        FeedItem *item = feed->count ? feed->items[feed->head] : NULL;
        return item && item->kind == FEED_ITEM_WORK ? feed_item_work(item) : NULL;
}

/* The queue begins with work that is done: now with the events that were found. */
static void open_front(RowFeed *feed)
{
        FeedHub *hub = feed->hub;
        FeedItem *item = *queue_at(feed, 0);
        const FeedWork *work = feed_item_work(item);
        uint32_t count = (uint32_t)work->event_count;
        size_t bytes = feed->queue_bytes - feed_item_bytes(item);
        for (uint32_t i = 0; i < count; i++)
                bytes += feed_item_bytes(work->events[i]);
        Status st = bytes <= UINT32_MAX ? queue_reserve(feed, count) : status_nomem();
        if (st) { /* it reads the log */
                status_ignore(st);
                feed_detach(feed);
                return;
        }
        feed->head = (feed->head + feed->capacity + 1 - count) % feed->capacity;
        feed->count += count - 1;
        for (uint32_t i = 0; i < count; i++)
                *queue_at(feed, i) = feed_item_ref(work->events[i]);
        feed->queue_bytes = (uint32_t)bytes;
        feed->work_count--;
        hub->queued_events += count;
        hub->queued_events--;
        hub->delivered_events += count;
        if (!count)
                set_place(feed, item->position, FEED_WHOLE_COMMIT);
        if (!feed->count)
                queue_emptied(feed);
        feed_item_unref(item);
}

/* If the queue begins with work that is to be done: now by this feed's owner. Counted. */
static FeedItem *begin_work(RowFeed *feed)
{
        FeedWork *work = feed->state == FEED_STATE_ATTACHED ? work_in_front(feed) : NULL;
        if (!work || work->busy)
                return NULL;
        work->busy = true;
        return feed_item_ref(*queue_at(feed, 0));
}

/* Those that wait for it go on, or one of them goes on with it. */
static void end_work(FeedHub *hub, FeedItem *item, bool done)
{
        FeedWork *work = feed_item_work(item);
        work->busy = false;
        work->done = done;
        if (done)
                hub->matched_events += work->event_count;
        for (unsigned follower = 0; follower < FOLLOWERS; follower++) {
                for (RowFeed *feed = match_user(work->class, follower), *next; feed; feed = next) {
                        next = feed->class_next;
                        if (work_in_front(feed) != work)
                                continue;
                        if (done)
                                open_front(feed);
                        if (feed_has_events(feed) || feed->awaited) /* it may be there now, or may have to be listed */
                                feed_waiter_signal(hub, &feed->waiter);
                }
        }
        feed_hub_trim(hub);
}

/* --- what FeedSource asks for --- */

/* Who reads the log itself comes to the drop there, behind all that was before. */
static bool ends_now(const RowFeed *feed)
{
        return feed->state == FEED_STATE_ATTACHED ? is_ended(feed) : feed->ended;
}

bool feed_has_events(const RowFeed *feed)
{
        const FeedWork *work = work_in_front(feed);
        if (feed->state == FEED_STATE_OVER)
                return false;
        if (work && work->busy)
                return feed->skipped;
        return feed->count || feed->skipped || ends_now(feed) ||
               (feed->state == FEED_STATE_DETACHED && catchup_may_read(feed));
}

static int64_t heartbeat_ns(const RowFeed *feed)
{
        return (int64_t)feed->heartbeat_ms * 1000000;
}

static void told(RowFeed *feed, uint64_t position)
{
        feed->told = position;
        feed->given_ns = feed->heartbeat_ms ? feed_hub_now_ns(feed->hub) : 0;
}

void feed_end(RowFeed *feed, FeedEvent *ret_event)
{
        FeedPlace place = place_of(feed);
        if (feed->state == FEED_STATE_ATTACHED)
                leave_follower(feed);
        feed->state = FEED_STATE_OVER;
        set_place(feed, place.position, place.index);
        *ret_event = (FeedEvent){
                .kind = FEED_ENDED,
                .last_of_commit = true,
                .error = feed->ended == FEED_END_INDEX
                                 ? "Changefeed aborted (the index it goes by was dropped, renamed or replaced)."
                                 : "Changefeed aborted (unavailable).",
                .error_code = ERR_OP_FAILED,
                .place = place};
}

/* What is there without looking into the log. Under the lock. *ret_item: what the event is made of, the caller's. */
static Status next_locked(RowFeed *feed, Arena *hold, FeedEvent *ret_event, FeedItem **ret_item, uint8_t **ret_data,
                          bool *ret_found)
{
        const FeedWork *work;
        *ret_found = true;
        *ret_item = NULL;
        while ((work = work_in_front(feed)) && work->done)
                open_front(feed);
        if (feed->skipped) {
                *ret_event = (FeedEvent){.kind = FEED_SKIPPED,
                                         .last_of_commit = true,
                                         .skipped = feed->skipped,
                                         .place = place_of(feed)};
                feed->skipped = 0;
        } else if (work) {
                *ret_found = false;
                return ST_OK;
        } else if (feed->count) {
                FeedItem *item = *queue_at(feed, 0);
                *ret_data = arena_try_alloc(hold, item->bytes);
                if (!*ret_data)
                        return status_nomem();
                *ret_item = queue_take(feed);
                if (feed->count) { /* it has fetched */
                        feed_list_remove(feed);
                        feed_list_put(&feed->hub->slow, feed);
                }
                set_place(feed, item->position, item->last ? FEED_WHOLE_COMMIT : item->index + 1);
                ret_event->place = (FeedPlace){.position = feed->position, .index = feed->given};
        } else if (feed->state != FEED_STATE_OVER && ends_now(feed)) {
                feed_end(feed, ret_event);
        } else {
                *ret_found = false;
                return ST_OK;
        }
        told(feed, ret_event->place.position);
        return ST_OK;
}

/* Nothing else was given for long, and the place has moved. Under the lock. */
static bool heartbeat(RowFeed *feed, FeedEvent *ret_event)
{
        if (!feed->heartbeat_ms || feed->state == FEED_STATE_OVER)
                return false;
        FeedPlace place = place_of(feed);
        if (place.position <= feed->told || feed_hub_now_ns(feed->hub) - feed->given_ns < heartbeat_ns(feed))
                return false;
        *ret_event = (FeedEvent){.kind = FEED_IDLE, .last_of_commit = true, .place = place};
        told(feed, place.position);
        return true;
}

static Status row_next(Feed *base, Arena *hold, FeedEvent *ret_event, bool *ret_found)
{
        RowFeed *feed = row_feed(base);
        FeedHub *hub = feed->hub;
        FeedItem *item;
        uint8_t *data = NULL;
        mutex_lock(&hub->mu);
        if (feed->list == &hub->wanting || feed->list == &hub->lone) /* it is not to be taken along now */
                feed_list_remove(feed);
        Status st = next_locked(feed, hold, ret_event, &item, &data, ret_found);
        FeedItem *work = st || *ret_found ? NULL : begin_work(feed);
        if (work) {
                bool done;
                mutex_unlock(&hub->mu);
                st = feed_work_run(work, &done);
                mutex_lock(&hub->mu);
                end_work(hub, work, done);
                feed_item_unref(work);
                if (!st)
                        st = next_locked(feed, hold, ret_event, &item, &data, ret_found);
        }
        bool reads = !st && !*ret_found && feed->state == FEED_STATE_DETACHED;
        mutex_unlock(&hub->mu);
        TRY(st);
        if (item) {
                memcpy(data, item->data, item->bytes);
                feed_item_event(item, data, ret_event);
                feed_item_unref(item);
        }
        if (reads)
                TRY(catchup_next(feed, hold, ret_event, ret_found));
        if (!*ret_found) {
                mutex_lock(&hub->mu);
                *ret_found = heartbeat(feed, ret_event);
                mutex_unlock(&hub->mu);
        } else if (reads) {
                mutex_lock(&hub->mu);
                told(feed, ret_event->place.position);
                mutex_unlock(&hub->mu);
        }
        if (*ret_found)
                ret_event->place.incarnation = feed_hub_incarnation(hub, ret_event->place.position);
        return ST_OK;
}

static bool row_is_long(Feed *base)
{
        RowFeed *feed = row_feed(base);
        mutex_lock(&feed->hub->mu);
        const FeedWork *work = work_in_front(feed);
        /* What is done, or what another one does, costs nothing; what is behind that may. */
        bool is_long = feed->state == FEED_STATE_DETACHED || feed->work_count > (work && (work->done || work->busy));
        mutex_unlock(&feed->hub->mu);
        return is_long;
}

static void row_watch(Feed *base, void (*ready)(void *ctx), void *ctx, int64_t deadline_ns, uint64_t position)
{
        RowFeed *feed = row_feed(base);
        FeedHub *hub = feed->hub;
        bool now = false, quiet = false;
        mutex_lock(&hub->mu);
        if (feed->list != &hub->slow)
                feed_list_remove(feed);
        feed->awaited = position;
        if (ready) {
                int64_t now_ns = feed_hub_now_ns(hub);
                now = feed_has_events(feed) || deadline_ns <= now_ns || (position && has_come_to(feed, position));
                if (feed->heartbeat_ms && feed->state != FEED_STATE_OVER) {
                        int64_t due_ns = feed->given_ns + heartbeat_ns(feed);
                        bool moved = place_of(feed).position > feed->told;
                        quiet = !moved && !position && !feed->count && feed->state == FEED_STATE_ATTACHED &&
                                feed->follower == FOLLOW_PRESENT;
                        now |= moved && due_ns <= now_ns;
                        if (due_ns <= now_ns)
                                due_ns = now_ns + heartbeat_ns(feed);
                        if (!quiet)
                                deadline_ns = MIN(deadline_ns, due_ns);
                }
        }
        feed_waiter_watch(hub, &feed->waiter, now ? NULL : ready, ctx, deadline_ns);
        if (ready && !now && feed->state == FEED_STATE_DETACHED) {
                catchup_want(feed);
        } else if (ready && !now && position && feed->state == FEED_STATE_ATTACHED && !feed->count) {
                list_awaiting(feed);
        } else if (ready && !now && quiet) {
                feed_list_put(&hub->quiet, feed);
        }
        mutex_unlock(&hub->mu);
        if (now)
                ready(ctx);
}

bool feed_hub_stir(FeedHub *hub)
{
        uint64_t delivered = atomic_load(&hub->present.delivered);
        for (size_t n = 0; n < FEED_CALLS_MAX && hub->quiet.first && delivered != hub->quiet_position; n++) {
                RowFeed *feed = hub->quiet.first;
                feed_list_remove(feed);
                feed_waiter_due(hub, &feed->waiter, feed->given_ns + heartbeat_ns(feed));
        }
        if (!hub->quiet.first)
                hub->quiet_position = delivered;
        return delivered != hub->quiet_position;
}

static FeedPlace row_place(Feed *base)
{
        RowFeed *feed = row_feed(base);
        mutex_lock(&feed->hub->mu);
        FeedPlace place = place_of(feed);
        mutex_unlock(&feed->hub->mu);
        place.incarnation = feed_hub_incarnation(feed->hub, place.position);
        return place;
}

static size_t row_memory_bytes(const Feed *base)
{
        RowFeed *feed = row_feed(base);
        mutex_lock(&feed->hub->mu);
        size_t bytes =
                sizeof(*feed) + feed->capacity * sizeof(FeedItem *) + feed->queue_bytes + feed_class_bytes(feed->class);
        mutex_unlock(&feed->hub->mu);
        return bytes;
}

static void row_set_batch(Feed *base, void (*batch_ready)(void *batch_ctx), void *batch_ctx)
{
        RowFeed *feed = row_feed(base);
        mutex_lock(&feed->hub->mu);
        feed->waiter.batch_ready = batch_ready;
        feed->waiter.batch_ctx = batch_ctx;
        mutex_unlock(&feed->hub->mu);
}

/* What the view shows is not in the queue, nor will it be. */
static void begin_behind(RowFeed *feed, uint64_t position)
{
        while (feed->count && (*queue_at(feed, 0))->position <= position)
                feed_item_unref(queue_take(feed));
        set_place(feed, position, FEED_WHOLE_COMMIT);
        feed->skipped = 0;
        told(feed, position);
}

static Status row_view(Feed *base, TableView **ret_view)
{
        RowFeed *feed = row_feed(base);
        FeedHub *hub = feed->hub;
        TableView *view;
        uint64_t position;
        Status st = ST_OK;
        catchup_free(feed);
        TRY(table_view_present(feed->table->table, &view, &position));
        mutex_lock(&hub->mu);
        FeedPlace before = place_of(feed);
        if (before.position <= position) {
                bool attach = feed->state == FEED_STATE_DETACHED && position >= hub->present.collected;
                begin_behind(feed, position);
                if (attach)
                        st = attach_to(feed, FOLLOW_PRESENT);
                else if (travels(feed) && position >= hub->present.collected)
                        feed_arrive(feed);
        }
        mutex_unlock(&hub->mu);
        if (st) {
                hub->tables_source->view_close(view);
                return st;
        }
        *ret_view = view;
        return ST_OK;
}

/* --- open and close --- */

static void table_list(RowFeed *feed)
{
        FeedTable *table = feed->table;
        feed->table_next = table->feeds;
        if (table->feeds)
                table->feeds->table_previous = feed;
        table->feeds = feed;
}

static void table_unlist(RowFeed *feed)
{
        FeedTable *table = feed->table;
        if (feed->table_previous)
                feed->table_previous->table_next = feed->table_next;
        else
                table->feeds = feed->table_next;
        if (feed->table_next)
                feed->table_next->table_previous = feed->table_previous;
}

static void row_close(Feed *base)
{
        if (!base)
                return;
        RowFeed *feed = row_feed(base);
        FeedHub *hub = feed->hub;
        catchup_free(feed);
        mutex_lock(&hub->mu);
        feed_waiter_cancel(hub, &feed->waiter);
        if (feed->state == FEED_STATE_ATTACHED)
                leave_follower(feed);
        queue_clear(feed);
        feed_list_remove(feed);
        table_unlist(feed);
        FeedTable *dead = feed_hub_leave(feed);
        mutex_unlock(&hub->mu);
        feed_table_free(hub, dead);
        feed_class_unref(feed->class);
        mem_free(feed);
}

static const FeedOps row_feed_ops = {
        .close = row_close,
        .view = row_view,
        .next = row_next,
        .is_long = row_is_long,
        .watch = row_watch,
        .place = row_place,
        .memory_bytes = row_memory_bytes,
        .set_batch = row_set_batch,
};

/* A place that a feed can go on from: of a history that holds, and that the log still has. */
static Status check_place(FeedHub *hub, const FeedPlace *place)
{
        uint64_t last;
        bool known =
                place->incarnation && place->position && store_incarnation_of(hub->store, place->incarnation, &last);
        if (!known)
                return status_new(ERR_NOT_FOUND, "the log does not know incarnation %" PRIx64, place->incarnation);
        last = MIN(last, tail_present(hub->store));
        if (place->position > last)
                return status_new(ERR_NOT_FOUND, "commit %" PRIu64 " is none of incarnation %" PRIx64, place->position,
                                  place->incarnation);
        uint64_t before = place->index == FEED_WHOLE_COMMIT ? place->position : place->position - 1;
        if (before < tail_reach(hub->store))
                return status_new(ERR_NOT_FOUND, "the log does not reach back to commit %" PRIu64, before + 1);
        return ST_OK;
}

static Status open_locked(RowFeed *feed, const FeedPlace *since, uint64_t present)
{
        FeedHub *hub = feed->hub;
        if (since)
                set_place(feed, since->position, since->index);
        else
                set_place(feed, MAX(present, hub->present.collected), FEED_WHOLE_COMMIT);
        told(feed, feed->position);
        if (feed->given == FEED_WHOLE_COMMIT && feed->position >= hub->present.collected)
                return attach_to(feed, FOLLOW_PRESENT);
        return ST_OK;
}

/* What went away between the look at its name and now: whoever drops it from now on is seen in the log. */
static Status check_there(RowFeed *feed)
{
        FeedTable *table = feed->table;
        const TableInfo *info = feed->hub->tables_source->table_info(table->table);
        (void)tail_present(feed->hub->store); /* a drop that is in the log is to be seen below */
        if (store_table_dropped(table_store(table->table)))
                return status_new(ERR_OP_FAILED, "Table `%.*s.%.*s` does not exist.", (int)info->db.size,
                                  (const char *)info->db.data, (int)info->name.size, (const char *)info->name.data);
        if (feed->index && !table_index_is(table->table, feed->index->name, feed->index->index))
                return status_new(ERR_OP_FAILED, "Index `%.*s` was not found on table `%.*s.%.*s`.",
                                  (int)feed->index->name.size, (const char *)feed->index->name.data, (int)info->db.size,
                                  (const char *)info->db.data, (int)info->name.size, (const char *)info->name.data);
        return ST_OK;
}

Status row_feed_open(FeedHub *hub, const FeedSpec *spec, const FeedOptions *options, Feed **ret_feed)
{
        const FeedPlace *since = options ? options->since : NULL;
        uint64_t present;
        if (since)
                TRY(check_place(hub, since));
        RowFeed *feed = mem_zalloc(sizeof(*feed));
        if (!feed)
                return status_nomem();
        feed->feed.ops = &row_feed_ops;
        feed->hub = hub;
        feed->state = FEED_STATE_DETACHED;
        if (options) {
                feed->queue_max = (uint32_t)MIN(options->queue_max, (size_t)UINT32_MAX);
                feed->heartbeat_ms = (uint32_t)MIN(MAX(options->heartbeat_ns, 0) / 1000000, (int64_t)UINT32_MAX);
        }
        Status st = feed_hub_enter(feed, spec, &present);
        if (st) {
                mem_free(feed);
                return st;
        }
        feed->shards = (uint8_t)hub->tables_source->table_info(spec->table)->shard_count;
        /* Its index is the one that check_there asks for. */
        st = feed_class_new(spec, hub->tables_source, &feed->class);
        mutex_lock(&hub->mu);
        table_list(feed);
        if (!st)
                st = open_locked(feed, since, present);
        mutex_unlock(&hub->mu);
        if (!st)
                st = check_there(feed);
        if (st) {
                row_close(&feed->feed);
                return st;
        }
        *ret_feed = &feed->feed;
        return ST_OK;
}
