/* work.c - what a commit means for a class whose function takes long, found by one of its feeds for all: hub_int.h. */
#include "feed/hub_int.h"

#include <assert.h>

static size_t data_bytes(size_t part_count)
{
        return sizeof(FeedWork) + part_count * sizeof(FeedItem *);
}

Status feed_work_new(FeedHub *hub, FeedClass *class, const TailCommit *commit, FeedItem *const *parts, size_t count,
                     FeedItem **ret_item)
{
        FeedItem *item;
        size_t bytes = 0;
        for (size_t i = 0; i < count; i++)
                bytes += feed_item_bytes(parts[i]);
        if (bytes > UINT32_MAX)
                return status_new(ERR_LIMIT, "a commit has %zu bytes for functions that take long", bytes);
        TRY(feed_item_alloc(hub, FEED_ITEM_WORK, data_bytes(count), &item));
        FeedWork *work = feed_item_work(item);
        *work = (FeedWork){.class = feed_class_ref(class), .part_count = count};
        for (size_t i = 0; i < count; i++)
                work->parts[i] = feed_item_ref(parts[i]);
        item->bytes = (uint32_t)bytes;
        item->position = commit->position;
        item->wall_us = commit->wall_us;
        item->last = true;
        *ret_item = item;
        return ST_OK;
}

static void drop_events(FeedWork *work, size_t count)
{
        while (work->event_count > count)
                feed_item_unref(work->events[--work->event_count]);
}

size_t feed_work_free(FeedItem *item)
{
        FeedWork *work = feed_item_work(item);
        for (size_t i = work->part_at; i < work->part_count; i++)
                feed_item_unref(work->parts[i]);
        drop_events(work, 0);
        mem_free(work->events);
        feed_class_unref(work->class);
        return data_bytes(work->part_count);
}

/* Takes the reference. */
static Status add_event(FeedWork *work, FeedItem *event)
{
        Status st = feed_reserve(&work->events, sizeof(FeedItem *), work->event_count, &work->event_capacity);
        if (st)
                feed_item_unref(event);
        else
                work->events[work->event_count++] = event;
        return st;
}

static Status evaluate(FeedHub *hub, FeedWork *work, const FeedItem *part, Arena *arena)
{
        RowChanged row = feed_item_row(part);
        MatchShown *shown;
        size_t count;
        int64_t began_ns = feed_hub_now_ns(hub);
        TRY(feed_class_show(work->class, row.key, row.old_row, row.new_row, arena, &shown, &count));
        feed_class_took(work->class, feed_hub_now_ns(hub) - began_ns);
        for (size_t i = 0; i < count; i++) {
                FeedItem *event;
                TRY(feed_item_new(hub, row.key, &shown[i], &event));
                TRY(add_event(work, event));
        }
        atomic_fetch_add_explicit(&hub->worked, 1, memory_order_relaxed);
        return ST_OK;
}

/* All of a part's events, or none. */
static Status next_part(FeedHub *hub, FeedWork *work, Arena *arena)
{
        FeedItem *part = work->parts[work->part_at];
        size_t before = work->event_count;
        Status st =
                part->kind == FEED_ITEM_ROW ? evaluate(hub, work, part, arena) : add_event(work, feed_item_ref(part));
        if (st) {
                drop_events(work, before);
                return st;
        }
        work->part_at++;
        feed_item_unref(part);
        return ST_OK;
}

Status feed_work_run(FeedItem *item, bool *ret_done)
{
        FeedHub *hub = item->hub;
        FeedWork *work = feed_item_work(item);
        int64_t until_ns = feed_hub_now_ns(hub) + FEED_WORK_NS;
        Status st = ST_OK;
        Arena arena;
        assert(work->busy && !work->done);
        arena_init(&arena, 0);
        while (!st && work->part_at < work->part_count && feed_hub_now_ns(hub) < until_ns) {
                st = next_part(hub, work, &arena);
                arena_reset(&arena);
        }
        arena_done(&arena);
        *ret_done = work->part_at == work->part_count;
        if (*ret_done)
                feed_items_number(work->events, work->event_count, item->position, item->wall_us);
        return st;
}
