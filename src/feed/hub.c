/* hub.c - the hub: tables that have feeds, the thread that follows the log at its end, the FeedSource. */
#include "feed/hub_int.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"

#define DEFAULT_MEMORY  ((size_t)64 << 20)
#define DEFAULT_QUEUE   ((size_t)1 << 20)
#define DEFAULT_READERS 32

void feed_hub_wake(FeedHub *hub)
{
        mutex_lock(&hub->wake_mu);
        hub->woken = true;
        cond_signal(&hub->wake);
        mutex_unlock(&hub->wake_mu);
}

uint64_t feed_hub_incarnation(FeedHub *hub, uint64_t position)
{
        return position > hub->incarnation_after ? hub->incarnation : store_incarnation(hub->store, position);
}

Status feed_reserve(void *items, size_t size, size_t count, size_t *capacity)
{
        void **array = items;
        if (count < *capacity)
                return ST_OK;
        size_t more = *capacity ? 2 * *capacity : 16;
        void *grown = mem_realloc(*array, more * size);
        if (!grown)
                return status_nomem();
        *array = grown;
        *capacity = more;
        return ST_OK;
}

/* --- tables and indexes that have feeds --- */

static void index_release(FeedTable *table, FeedIndex *index)
{
        FeedIndex **link = &table->indexes;
        if (--index->refs > 0)
                return;
        while (*link != index)
                link = &(*link)->next;
        *link = index->next;
        table_index_unref(index->index);
        mem_free(index);
}

/* The one that is to be freed, when the lock is given back: its last user is gone. NULL: it stays. */
static FeedTable *table_release(FeedHub *hub, FeedTable *table)
{
        if (--table->refs > 0)
                return NULL;
        assert(!table->feeds && !table->indexes);
        nummap_remove(hub->tables, table->id);
        return table;
}

void feed_table_free(FeedHub *hub, FeedTable *table)
{
        if (!table)
                return;
        match_table_free(table->match);
        hub->tables_source->table_unref(table->table);
        mem_free(table);
}

static Status table_new(FeedHub *hub, TableRef *ref, FeedTable **ret_table)
{
        FeedTable *table = mem_zalloc(sizeof(*table));
        if (!table)
                return status_nomem();
        Status st = match_table_new(&table->match);
        if (!st)
                st = nummap_put(hub->tables, store_table_id(table_store(ref)), table, NULL);
        if (st) {
                match_table_free(table->match);
                mem_free(table);
                return st;
        }
        table->id = store_table_id(table_store(ref));
        table->table = hub->tables_source->table_ref(ref);
        table->primary_key = hub->tables_source->table_info(table->table)->primary_key;
        *ret_table = table;
        return ST_OK;
}

/* Takes over `found` (NULL: by no index). */
static Status use_index(FeedTable *table, Bytes name, TableIndex *found, FeedIndex **ret_index)
{
        FeedIndex *index = NULL;
        if (!found)
                return ST_OK;
        for (index = table->indexes; index; index = index->next)
                if (index->index == found && bytes_equal(index->name, name))
                        break;
        if (index) {
                table_index_unref(found);
        } else {
                index = mem_alloc(sizeof(*index) + name.size);
                if (!index) {
                        table_index_unref(found);
                        return status_nomem();
                }
                memcpy(index + 1, name.data, name.size);
                *index = (FeedIndex){.next = table->indexes, .index = found, .name = BYTES(index + 1, name.size)};
                table->indexes = index;
        }
        index->refs++;
        *ret_index = index;
        return ST_OK;
}

static void follow_from(FeedHub *hub, uint64_t position)
{
        hub->following = true;
        hub->present.collected = MAX(hub->present.collected, position);
        follower_set_delivered(&hub->present, hub->present.collected);
        feed_hub_wake(hub);
}

/* *ret_dead: to be freed without the lock. */
static Status enter(RowFeed *feed, TableRef *ref, Bytes index_name, TableIndex *index, uint64_t present,
                    FeedTable **ret_dead)
{
        FeedHub *hub = feed->hub;
        FeedTable *table = nummap_get(hub->tables, store_table_id(table_store(ref)));
        Status st = table ? ST_OK : table_new(hub, ref, &table);
        if (st) {
                table_index_unref(index);
                return st;
        }
        table->refs++;
        st = use_index(table, index_name, index, &feed->index);
        if (st) {
                *ret_dead = table_release(hub, table);
                return st;
        }
        feed->table = table;
        if (hub->feed_count++ == 0) /* what is written: a feed that reads the log itself gets no further than that */
                follow_from(hub, MIN(present, tail_written_position(hub->store)));
        return ST_OK;
}

Status feed_hub_enter(RowFeed *feed, const FeedSpec *spec, uint64_t *ret_present)
{
        FeedHub *hub = feed->hub;
        TableIndex *index = NULL;
        FeedTable *dead = NULL;
        if (spec->index.data)
                TRY(table_index_find(spec->table, spec->index, &index));
        *ret_present = tail_present(hub->store);
        mutex_lock(&hub->mu);
        Status st = enter(feed, spec->table, spec->index, index, *ret_present, &dead);
        mutex_unlock(&hub->mu);
        feed_table_free(hub, dead);
        return st;
}

FeedTable *feed_hub_leave(RowFeed *feed)
{
        FeedHub *hub = feed->hub;
        if (feed->index)
                index_release(feed->table, feed->index);
        if (--hub->feed_count == 0) {
                hub->following = false;
                feed_hub_wake(hub);
        }
        return table_release(hub, feed->table);
}

/* --- following the log --- */

static void on_written(void *ctx)
{
        feed_hub_wake(ctx);
}

static void stop_following(FeedHub *hub)
{
        tail_close(take(hub->present.reader));
        tail_unwatch(take(hub->watch));
}

/* What was not read cannot be: the feeds find out themselves what of it they have lost. That their table or index went
 * may be in it. */
static void begin_anew(FeedHub *hub)
{
        uint64_t written = tail_written_position(hub->store);
        size_t cursor = 0;
        uint64_t id;
        void *found;
        mutex_lock(&hub->mu);
        follower_detach_all(&hub->present, written + 1);
        while (nummap_next(hub->tables, &cursor, &id, &found)) {
                FeedTable *table = found;
                if (store_table_dropped(table_store(table->table)))
                        follower_table_dropped(&hub->present, table, written);
                table->changed = hub->catalog_changed = true;
        }
        hub->present.collected = MAX(hub->present.collected, written);
        follower_set_delivered(&hub->present, hub->present.collected);
        mutex_unlock(&hub->mu);
        stop_following(hub);
}

static void failed(FeedHub *hub, Status st)
{
        if (status_code(st) == ERR_NOT_FOUND || hub->failures++ >= FEED_RETRIES) {
                log_status(LOG_WARN, "feeds",
                           status_context(st, "the log cannot be followed; changefeeds go on from "
                                              "the present, and each reads what it can"));
                hub->failures = 0;
                begin_anew(hub);
                return;
        }
        if (!atomic_exchange(&hub->failing, true))
                log_status(LOG_WARN, "feeds", status_context(st, "the log cannot be read; it is tried again"));
        else
                status_ignore(st);
        hub->retry_ns = feed_hub_now_ns(hub) + FEED_RETRY_NS;
}

static Status start_following(FeedHub *hub, uint64_t after)
{
        if (!hub->watch)
                TRY(tail_watch(hub->store, on_written, hub, &hub->watch));
        if (!hub->present.reader)
                TRY(tail_open(hub->store, after, &hub->present.reader));
        return ST_OK;
}

static Status follow(FeedHub *hub, bool *ret_more)
{
        mutex_lock(&hub->mu);
        bool following = hub->following;
        uint64_t after = atomic_load(&hub->present.delivered);
        mutex_unlock(&hub->mu);
        *ret_more = false;
        if (!following) {
                stop_following(hub);
                return ST_OK;
        }
        TRY(start_following(hub, after));
        TRY(follower_read(&hub->present, ret_more));
        hub->failures = 0;
        if (atomic_exchange(&hub->failing, false))
                log_notice("feeds", "the log can be read again");
        return ST_OK;
}

/* --- tables that change while feeds are of them --- */

typedef struct Watched {
        FeedTable *table;
        FeedIndex *index; /* NULL: the table itself */
} Watched;
typedef struct WatchedList {
        Watched *items;
        size_t count, capacity;
} WatchedList;

/* With a reference each. */
static Status watch_one(WatchedList *list, FeedTable *table, FeedIndex *index)
{
        TRY(feed_reserve(&list->items, sizeof(Watched), list->count, &list->capacity));
        list->items[list->count++] = (Watched){table, index};
        table->refs++;
        if (index)
                index->refs++;
        return ST_OK;
}

static Status list_watched(FeedHub *hub, WatchedList *list)
{
        size_t cursor = 0;
        uint64_t id;
        void *found;
        Status st = ST_OK;
        mutex_lock(&hub->mu);
        while (!st && nummap_next(hub->tables, &cursor, &id, &found)) {
                FeedTable *table = found;
                if (!table->changed)
                        continue;
                st = watch_one(list, table, NULL);
                for (FeedIndex *index = table->indexes; index && !st; index = index->next)
                        st = watch_one(list, table, index);
                table->changed = st != ST_OK;
        }
        mutex_unlock(&hub->mu);
        return st;
}

/* RethinkDB ends the feeds of a table whose shards change; those by an index that goes, it leaves waiting for ever. */
static void end_feeds(FeedHub *hub, const Watched *watched, unsigned shards, bool index_is)
{
        for (RowFeed *feed = watched->table->feeds; feed; feed = feed->table_next) {
                if (!watched->index && shards && feed->shards != shards)
                        feed->ended = FEED_END_SHARDS;
                else if (watched->index && feed->index == watched->index && !index_is)
                        feed->ended = FEED_END_INDEX;
                else
                        continue;
                feed_waiter_signal(hub, &feed->waiter);
        }
}

/* After a commit of the catalog. */
static void check_tables(FeedHub *hub)
{
        WatchedList list = {0};
        Status st = list_watched(hub, &list);
        hub->catalog_changed = st != ST_OK; /* again, when there is memory */
        status_ignore(st);
        for (size_t i = 0; i < list.count; i++) {
                FeedTable *table = list.items[i].table, *dead;
                FeedIndex *index = list.items[i].index;
                unsigned shards = index ? 0 : table_shards_now(table->table);
                bool index_is = index && table_index_is(table->table, index->name, index->index);
                mutex_lock(&hub->mu);
                end_feeds(hub, &list.items[i], shards, index_is);
                if (index)
                        index_release(table, index);
                dead = table_release(hub, table);
                mutex_unlock(&hub->mu);
                feed_table_free(hub, dead);
        }
        mem_free(list.items);
}

/* --- the thread --- */

static void round_of(FeedHub *hub, int64_t *ret_next_ns, bool *ret_more)
{
        bool called;
        *ret_more = false;
        if (feed_hub_now_ns(hub) >= hub->retry_ns) {
                hub->retry_ns = 0;
                Status st = follow(hub, ret_more);
                if (st)
                        failed(hub, st);
        }
        if (hub->catalog_changed)
                check_tables(hub);
        feed_wake_round(hub, ret_next_ns, &called);
        if (hub->retry_ns)
                *ret_next_ns = MIN(*ret_next_ns, hub->retry_ns);
}

Status feed_hub_step(FeedHub *hub, bool *ret_more)
{
        int64_t next_ns;
        assert(!hub->thread_started);
        bool travels;
        round_of(hub, &next_ns, ret_more);
        convoy_round(hub, &next_ns, &travels);
        *ret_more |= travels;
        return ST_OK;
}

bool feed_hub_wait(FeedHub *hub, Cond *wake, bool *woken, int64_t until_ns)
{
        mutex_lock(&hub->wake_mu);
        while (!*woken && !hub->closing) {
                int64_t now_ns = feed_hub_now_ns(hub);
                if (until_ns <= now_ns)
                        break;
                if (until_ns == INT64_MAX)
                        cond_wait(wake, &hub->wake_mu);
                else
                        (void)cond_wait_for(wake, &hub->wake_mu, (uint64_t)(until_ns - now_ns));
        }
        *woken = false;
        bool closing = hub->closing;
        mutex_unlock(&hub->wake_mu);
        return !closing;
}

static void hub_thread(void *arg)
{
        FeedHub *hub = arg;
        int64_t next_ns = INT64_MAX;
        while (feed_hub_wait(hub, &hub->wake, &hub->woken, next_ns)) {
                bool more = true;
                while (more)
                        round_of(hub, &next_ns, &more);
        }
}

/* --- FeedSource --- */

static Status source_open(void *ctx, const FeedSpec *spec, const FeedOptions *options, Feed **ret_feed)
{
        FeedHub *hub = ctx;
        if (table_store(spec->table))
                return row_feed_open(hub, spec, options, ret_feed);
        return system_feed_open(hub->system, spec, options, ret_feed);
}
static void source_close(Feed *feed)
{
        if (feed)
                feed->ops->close(feed);
}
static Status source_view(Feed *feed, TableView **ret_view)
{
        return feed->ops->view(feed, ret_view);
}
static Status source_next(Feed *feed, Arena *hold, FeedEvent *ret_event, bool *ret_found)
{
        return feed->ops->next(feed, hold, ret_event, ret_found);
}
static bool source_is_long(Feed *feed)
{
        return feed->ops->is_long(feed);
}
static void source_watch(Feed *feed, void (*ready)(void *ctx), void *ctx, int64_t deadline_ns, uint64_t position)
{
        feed->ops->watch(feed, ready, ctx, deadline_ns, position);
}
static FeedPlace source_place(Feed *feed)
{
        return feed->ops->place(feed);
}
static size_t source_memory_bytes(const Feed *feed)
{
        return feed->ops->memory_bytes(feed);
}
static void source_set_batch(Feed *feed, void (*batch_ready)(void *batch_ctx), void *batch_ctx)
{
        feed->ops->set_batch(feed, batch_ready, batch_ctx);
}

const FeedSource *feed_hub_source(const FeedHub *hub)
{
        return &hub->source;
}

/* --- open and close --- */

static void hub_init(FeedHub *hub)
{
        mutex_init(&hub->wake_mu);
        cond_init(&hub->wake);
        cond_init(&hub->convoy_wake);
        mutex_init(&hub->mu);
        cond_init(&hub->calls_done);
        follower_init(&hub->present, hub, FOLLOW_PRESENT);
        follower_init(&hub->past, hub, FOLLOW_PAST);
        hub->sweep.fire = catchup_sweep;
        hub->source = (FeedSource){.ctx = hub,
                                   .open = source_open,
                                   .close = source_close,
                                   .view = source_view,
                                   .next = source_next,
                                   .is_long = source_is_long,
                                   .watch = source_watch,
                                   .place = source_place,
                                   .memory_bytes = source_memory_bytes,
                                   .set_batch = source_set_batch};
        FeedHubOptions *options = &hub->options;
        if (!options->memory_max_bytes)
                options->memory_max_bytes = DEFAULT_MEMORY;
        if (!options->queue_max_bytes)
                options->queue_max_bytes = DEFAULT_QUEUE;
        if (!options->reader_max)
                options->reader_max = DEFAULT_READERS;
        hub->incarnation_after = tail_present(hub->store);
        hub->incarnation = store_incarnation(hub->store, hub->incarnation_after + 1);
}

Status feed_hub_open(Store *store, TableCatalog *catalog, const HostOps *host, Os *os, const FeedHubOptions *options,
                     FeedHub **ret_hub)
{
        FeedHub *hub = mem_zalloc(sizeof(*hub));
        if (!hub)
                return status_nomem();
        hub->store = store;
        hub->catalog = catalog;
        hub->tables_source = table_source(catalog);
        hub->host = host;
        hub->os = os;
        if (options)
                hub->options = *options;
        hub_init(hub);
        Status st = nummap_new(&hub->tables);
        if (!st)
                st = system_feeds_new(hub, catalog, host, hub->options.by_hand, &hub->system);
        if (!st && !hub->options.by_hand) {
                st = thread_start(&hub->thread, "feeds", hub_thread, hub);
                hub->thread_started = !st;
        }
        if (!st && !hub->options.by_hand) {
                st = thread_start(&hub->convoy_thread, "feeds-past", convoy_thread, hub);
                hub->convoy_started = !st;
        }
        if (st) {
                feed_hub_close(hub);
                return st;
        }
        *ret_hub = hub;
        return ST_OK;
}

FeedHub *feed_hub_close(FeedHub *hub)
{
        if (!hub)
                return NULL;
        hub->system = system_feeds_free(hub->system);
        assert(hub->feed_count == 0);
        mutex_lock(&hub->wake_mu);
        hub->closing = true;
        cond_signal(&hub->wake);
        cond_signal(&hub->convoy_wake);
        mutex_unlock(&hub->wake_mu);
        if (hub->convoy_started)
                thread_join(&hub->convoy_thread);
        if (hub->thread_started)
                thread_join(&hub->thread);
        stop_following(hub);
        feed_wake_done(hub);
        nummap_free(hub->tables);
        follower_done(&hub->present);
        follower_done(&hub->past);
        cond_done(&hub->calls_done);
        mutex_done(&hub->mu);
        cond_done(&hub->convoy_wake);
        cond_done(&hub->wake);
        mutex_done(&hub->wake_mu);
        mem_free(hub);
        return NULL;
}

void feed_hub_stats(FeedHub *hub, FeedHubStats *ret_stats)
{
        uint64_t written = tail_written_position(hub->store);
        size_t system_feeds = system_feeds_count(hub->system);
        mutex_lock(&hub->mu);
        uint64_t delivered = atomic_load(&hub->present.delivered);
        *ret_stats = (FeedHubStats){
                .feeds = hub->feed_count,
                .system_feeds = system_feeds,
                .attached = hub->attached_count,
                .classes = hub->class_count,
                .tables = nummap_count(hub->tables),
                .queued_events = hub->queued_events,
                .queued_bytes = atomic_load(&hub->queued_bytes) + hub->ring_bytes,
                .memory_max_bytes = hub->options.memory_max_bytes,
                .readers = hub->reader_count,
                .travelling = hub->convoy.count,
                .journeys = hub->convoy.journeys,
                .journey_commits = hub->past.commits,
                .commits = hub->present.commits,
                .events = hub->matched_events,
                .delivered = hub->delivered_events,
                .caught_up = atomic_load(&hub->caught_up),
                .detached_slow = hub->detached_slow,
                .detached_large = hub->detached_large,
                .worked = atomic_load(&hub->worked),
                .lost = hub->lost,
                .skipped = hub->skipped,
                .lag_positions = hub->following && written > delivered ? written - delivered : 0,
                .lag_us = hub->present.lag_us,
                .failing = atomic_load(&hub->failing),
        };
        mutex_unlock(&hub->mu);
}
