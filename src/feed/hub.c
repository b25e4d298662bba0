/* hub.c - the thread that follows the log and gives each commit to the feeds that it concerns.
 *
 *      a commit   collect    under the lock: which classes may it concern? FeedHub.collected = its position
 *                 evaluate   without: what do they show of it? Events are made, once for a class
 *                 deliver    under the lock: into the queues of each class's feeds. FeedHub.delivered = its position
 *
 * A feed that comes between the first step and the last has read this commit itself, or does not want it: it attaches
 * behind `collected` only, and deliver passes over feeds that are further than the commit. */
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

/* Room for one more of an array. */
static Status reserve(void *items, size_t size, size_t count, size_t *capacity)
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
        hub->collected = MAX(hub->collected, position);
        atomic_store(&hub->delivered, hub->collected);
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

/* --- collect --- */

static Status add_candidate(void *ctx, FeedClass *class)
{
        FeedHub *hub = ctx;
        TRY(reserve(&hub->candidates, sizeof(Candidate), hub->candidate_count, &hub->candidate_capacity));
        hub->candidates[hub->candidate_count++] = (Candidate){.class = feed_class_ref(class),
                                                              .change = (uint32_t)hub->change_count,
                                                              .plain = feed_class_is_plain(class),
                                                              .slow = feed_class_is_slow(class)};
        return ST_OK;
}

/* It cannot be said whom the commit concerns: they find out themselves. */
static void detach_table(FeedTable *table, uint64_t position)
{
        for (RowFeed *feed = table->feeds; feed; feed = feed->table_next)
                if (feed->state == FEED_STATE_ATTACHED && feed->position < position)
                        feed_detach(feed);
}

static Status collect_row(FeedHub *hub, FeedTable *table, const Record *record)
{
        TRY(reserve(&hub->changes, sizeof(RowChanged), hub->change_count, &hub->change_capacity));
        RowChanged *changed = &hub->changes[hub->change_count];
        TRY(feed_row_changed(record, table->primary_key, &hub->arena, changed));
        size_t before = hub->candidate_count;
        TRY(match_find(table->match, changed->key, changed->old_row, changed->new_row, &hub->arena, add_candidate,
                       hub));
        hub->change_count += hub->candidate_count > before;
        return ST_OK;
}

static void table_dropped(FeedTable *table, uint64_t position)
{
        table->dropped_position = position;
        for (RowFeed *feed = table->feeds; feed; feed = feed->table_next)
                if (feed->state == FEED_STATE_ATTACHED)
                        feed_waiter_signal(feed->hub, &feed->waiter);
}

static void catalog_changed(FeedHub *hub, Bytes key)
{
        size_t cursor = 0;
        uint64_t id;
        void *found;
        while (nummap_next(hub->tables, &cursor, &id, &found)) {
                FeedTable *table = found;
                if (table_document_is(table->table, key))
                        table->changed = hub->catalog_changed = true;
        }
}

/* One slice of a commit, from *offset on; under the lock. */
static Status collect(FeedHub *hub, const TailCommit *commit, size_t *offset, bool *ret_end)
{
        FeedTable *table = NULL;
        uint64_t table_id = 0;
        Record record;
        bool found = true;
        while (hub->candidate_count < FEED_SLICE) {
                TRY(record_next(commit->body, offset, &record, &found));
                *ret_end = !found;
                if (!found)
                        return ST_OK;
                if (record.table_id == TABLE_CATALOG_ID)
                        catalog_changed(hub, record.key);
                if (record.tree != 0)
                        continue;
                if (record.table_id != table_id) {
                        table_id = record.table_id;
                        table = nummap_get(hub->tables, table_id);
                }
                if (!table)
                        continue;
                if (record.kind == RECORD_DROP)
                        table_dropped(table, commit->position);
                if (!table->attached_count || (record.kind != RECORD_PUT && record.kind != RECORD_DELETE))
                        continue;
                Status st = collect_row(hub, table, &record);
                if (st) {
                        log_status(LOG_WARN, "feeds",
                                   status_context(st, "finding whom commit %" PRIu64 " concerns", commit->position));
                        detach_table(table, commit->position);
                }
        }
        *ret_end = false;
        return ST_OK;
}

/* --- evaluate --- */

/* The class's feeds read this commit themselves. Takes the reference. */
static void leave_behind(FeedHub *hub, FeedClass *class)
{
        Status st = reserve(&hub->behind, sizeof(FeedClass *), hub->behind_count, &hub->behind_capacity);
        if (!st) {
                hub->behind[hub->behind_count++] = class;
                return;
        }
        status_ignore(st);
        mutex_lock(&hub->mu); /* no memory to do it later: now */
        for (RowFeed *feed = match_user(class), *next; feed; feed = next) {
                next = feed->class_next;
                if (feed->position < hub->collected)
                        feed_detach(feed);
        }
        mutex_unlock(&hub->mu);
        feed_class_unref(class);
}

static Status add_shown(FeedHub *hub, FeedClass *class, const RowChanged *changed)
{
        MatchShown *shown;
        size_t count;
        TRY(feed_class_show(class, changed->key, changed->old_row, changed->new_row, &hub->arena, &shown, &count));
        for (size_t i = 0; i < count; i++) {
                TRY(reserve(&hub->findings, sizeof(Finding), hub->finding_count, &hub->finding_capacity));
                Finding *finding = &hub->findings[hub->finding_count];
                TRY(feed_item_new(hub, changed->key, &shown[i], &finding->item));
                finding->class = feed_class_ref(class);
                finding->number = hub->finding_count++;
                hub->found_bytes += feed_item_bytes(finding->item);
        }
        return ST_OK;
}

static void evaluate_one(FeedHub *hub, Candidate *candidate)
{
        FeedClass *class = take(candidate->class);
        bool too_much = hub->found_bytes > hub->options.memory_max_bytes / 4 || candidate->slow ||
                        (!candidate->plain && hub->functions_ns > FEED_FUNCTIONS_NS);
        if (too_much) {
                leave_behind(hub, class);
                return;
        }
        int64_t began_ns = candidate->plain ? 0 : feed_hub_now_ns(hub);
        Status st = add_shown(hub, class, &hub->changes[candidate->change]);
        if (!candidate->plain) {
                int64_t ns = feed_hub_now_ns(hub) - began_ns;
                hub->functions_ns += ns;
                feed_class_took(class, ns);
        }
        if (st) {
                status_ignore(st);
                leave_behind(hub, class);
                return;
        }
        feed_class_unref(class);
}

/* Those that are quick first: functions have a time together for a commit. */
static void evaluate(FeedHub *hub)
{
        for (size_t i = 0; i < hub->candidate_count; i++)
                if (hub->candidates[i].plain)
                        evaluate_one(hub, &hub->candidates[i]);
        for (size_t i = 0; i < hub->candidate_count; i++)
                if (hub->candidates[i].class)
                        evaluate_one(hub, &hub->candidates[i]);
        hub->candidate_count = hub->change_count = 0;
        arena_reset(&hub->arena);
}

/* --- deliver --- */

/* Of one class together, in their order. */
static int compare_findings(const void *a, const void *b)
{
        const Finding *x = a, *y = b;
        if (x->class != y->class)
                return x->class < y->class ? -1 : 1;
        return x->number < y->number ? -1 : x->number > y->number;
}

static void detach_behind(FeedHub *hub, uint64_t position)
{
        for (size_t i = 0; i < hub->behind_count; i++)
                for (RowFeed *feed = match_user(hub->behind[i]), *next; feed; feed = next) {
                        next = feed->class_next;
                        if (feed->position >= position)
                                continue;
                        hub->detached_costly++;
                        feed_detach(feed);
                }
}

/* The events of one class, findings[0 .. count - 1]. */
static void deliver_findings(FeedHub *hub, const TailCommit *commit, const Finding *findings, size_t count)
        REQUIRES(hub->mu)
{
        FeedItem *few[8], **items = count <= ELEMENTS(few) ? few : mem_alloc(count * sizeof(FeedItem *));
        for (size_t i = 0; i < count && items; i++) {
                items[i] = findings[i].item;
                items[i]->position = commit->position;
                items[i]->wall_us = commit->wall_us;
                items[i]->index = (uint32_t)i;
                items[i]->last = i + 1 == count;
        }
        for (RowFeed *feed = match_user(findings[0].class), *next; feed; feed = next) {
                next = feed->class_next;
                if (items)
                        feed_deliver(feed, items, count);
                else if (feed->position < commit->position)
                        feed_detach(feed);
        }
        if (items != few)
                mem_free(items);
}

static void deliver(FeedHub *hub, const TailCommit *commit) REQUIRES(hub->mu)
{
        const Finding *findings = hub->findings;
        size_t count = hub->finding_count;
        detach_behind(hub, commit->position);
        if (count > 1)
                qsort(hub->findings, count, sizeof(Finding), compare_findings);
        for (size_t i = 0, end; i < count; i = end) {
                for (end = i + 1; end < count && findings[end].class == findings[i].class;)
                        end++;
                deliver_findings(hub, commit, findings + i, end - i);
        }
        hub->matched_events += count;
        hub->matched_commits++;
        atomic_store(&hub->delivered, commit->position);
        feed_hub_trim(hub);
}

static void forget_findings(FeedHub *hub)
{
        for (size_t i = 0; i < hub->finding_count; i++) {
                feed_item_unref(hub->findings[i].item);
                feed_class_unref(hub->findings[i].class);
        }
        for (size_t i = 0; i < hub->behind_count; i++)
                feed_class_unref(hub->behind[i]);
        hub->finding_count = hub->behind_count = 0;
        hub->found_bytes = 0;
        hub->functions_ns = 0;
}

static void detach_all(FeedHub *hub, uint64_t position)
{
        size_t cursor = 0;
        uint64_t id;
        void *table;
        while (nummap_next(hub->tables, &cursor, &id, &table))
                detach_table(table, position);
}

/* A slice of the commit; *ret_done: all of it is collected, or it was before. */
static Status collect_slice(FeedHub *hub, const TailCommit *commit, size_t *offset, bool *ret_done, bool *ret_nobody)
{
        Status st = ST_OK;
        mutex_lock(&hub->mu);
        bool old = *offset == 0 && commit->position <= hub->collected;
        *ret_done = *ret_nobody = old;
        if (!old) {
                hub->collected = commit->position;
                st = collect(hub, commit, offset, ret_done);
                *ret_nobody = !st && *ret_done && !hub->candidate_count && !hub->finding_count && !hub->behind_count;
                if (*ret_nobody) { /* as it is mostly */
                        hub->matched_commits++;
                        atomic_store(&hub->delivered, commit->position);
                }
        }
        mutex_unlock(&hub->mu);
        return st;
}

static void match_commit(FeedHub *hub, const TailCommit *commit)
{
        bool done = false, nobody = false;
        Status st = ST_OK;
        for (size_t offset = 0; !done && !st;) {
                st = collect_slice(hub, commit, &offset, &done, &nobody);
                if (nobody)
                        return;
                evaluate(hub);
        }
        mutex_lock(&hub->mu);
        if (st) /* whoever reads it is told why it cannot be read */
                detach_all(hub, commit->position);
        deliver(hub, commit);
        hub->lag_us = os_wall_us(hub->os) - commit->wall_us;
        mutex_unlock(&hub->mu);
        if (st)
                log_status(LOG_WARN, "feeds", st);
        forget_findings(hub);
}

/* --- following the log --- */

static void on_written(void *ctx)
{
        feed_hub_wake(ctx);
}

static void stop_following(FeedHub *hub)
{
        tail_close(take(hub->reader));
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
        detach_all(hub, written + 1);
        while (nummap_next(hub->tables, &cursor, &id, &found)) {
                FeedTable *table = found;
                if (store_table_dropped(table_store(table->table)))
                        table_dropped(table, written);
                table->changed = hub->catalog_changed = true;
        }
        hub->collected = MAX(hub->collected, written);
        atomic_store(&hub->delivered, hub->collected);
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
        if (!hub->reader)
                TRY(tail_open(hub->store, after, &hub->reader));
        return ST_OK;
}

static Status follow(FeedHub *hub, bool *ret_more)
{
        TailCommit commit;
        uint64_t present = 0;
        mutex_lock(&hub->mu);
        bool following = hub->following;
        uint64_t after = atomic_load(&hub->delivered);
        mutex_unlock(&hub->mu);
        *ret_more = false;
        if (!following) {
                stop_following(hub);
                return ST_OK;
        }
        TRY(start_following(hub, after));
        for (size_t n = 0; n < FEED_ROUND_COMMITS; n++) {
                TRY(tail_next(hub->reader, &commit, ret_more));
                if (!*ret_more)
                        break;
                /* It may be written before it is published: who is told of it shall see it. */
                if (commit.position > present)
                        present = tail_present(hub->store);
                match_commit(hub, &commit);
        }
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
        TRY(reserve(&list->items, sizeof(Watched), list->count, &list->capacity));
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
        round_of(hub, &next_ns, ret_more);
        return ST_OK;
}

static bool wait_for_work(FeedHub *hub, int64_t until_ns)
{
        mutex_lock(&hub->wake_mu);
        while (!hub->woken && !hub->closing) {
                int64_t now_ns = feed_hub_now_ns(hub);
                if (until_ns <= now_ns)
                        break;
                if (until_ns == INT64_MAX)
                        cond_wait(&hub->wake, &hub->wake_mu);
                else
                        (void)cond_wait_for(&hub->wake, &hub->wake_mu, (uint64_t)(until_ns - now_ns));
        }
        hub->woken = false;
        bool closing = hub->closing;
        mutex_unlock(&hub->wake_mu);
        return !closing;
}

static void hub_thread(void *arg)
{
        FeedHub *hub = arg;
        int64_t next_ns = INT64_MAX;
        while (wait_for_work(hub, next_ns)) {
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
static void source_watch(Feed *feed, void (*ready)(void *ctx), void *ctx, int64_t deadline_ns)
{
        feed->ops->watch(feed, ready, ctx, deadline_ns);
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
        mutex_init(&hub->mu);
        cond_init(&hub->calls_done);
        arena_init(&hub->arena, 0);
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
        if (hub->thread_started) {
                mutex_lock(&hub->wake_mu);
                hub->closing = true;
                cond_signal(&hub->wake);
                mutex_unlock(&hub->wake_mu);
                thread_join(&hub->thread);
        }
        stop_following(hub);
        feed_wake_done(hub);
        nummap_free(hub->tables);
        arena_done(&hub->arena);
        mem_free(hub->changes);
        mem_free(hub->candidates);
        mem_free(hub->findings);
        mem_free(hub->behind);
        cond_done(&hub->calls_done);
        mutex_done(&hub->mu);
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
        uint64_t delivered = atomic_load(&hub->delivered);
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
                .commits = hub->matched_commits,
                .events = hub->matched_events,
                .delivered = hub->delivered_events,
                .caught_up = atomic_load(&hub->caught_up),
                .detached_slow = hub->detached_slow,
                .detached_costly = hub->detached_costly,
                .lost = hub->lost,
                .skipped = hub->skipped,
                .lag_positions = hub->following && written > delivered ? written - delivered : 0,
                .lag_us = hub->lag_us,
                .failing = atomic_load(&hub->failing),
        };
        mutex_unlock(&hub->mu);
}
