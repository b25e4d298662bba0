/* follower.c - what a follower of the log does with each commit.
 *
 *      a commit   collect    under the lock: which classes may it concern? Follower.collected = its position
 *                 evaluate   without: what do they show of it? Events are made, once for a class
 *                 deliver    under the lock: into the queues of each class's feeds. Follower.delivered = its position
 *
 * A feed that comes between the first step and the last has read this commit itself, or does not want it: it attaches
 * behind `collected` only, and deliver passes over feeds that are further than the commit. */
#include "feed/hub_int.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/log.h"

_Static_assert(MATCH_USERS >= FOLLOWERS, "a class has a list of feeds for each");

/* --- collect --- */

static Status add_candidate(void *ctx, FeedClass *class)
{
        Follower *follower = ctx;
        if (!match_user(class, follower->number)) /* its feeds are the other's */
                return ST_OK;
        TRY(feed_reserve(&follower->candidates, sizeof(Candidate), follower->candidate_count,
                         &follower->candidate_capacity));
        follower->candidates[follower->candidate_count++] = (Candidate){.class = feed_class_ref(class),
                                                                        .change = (uint32_t)follower->change_count,
                                                                        .plain = feed_class_is_plain(class),
                                                                        .slow = feed_class_is_slow(class)};
        return ST_OK;
}

/* It reads this commit itself, and on from there: the next convoy would come no further. */
static void leave_feed(const Follower *follower, RowFeed *feed)
{
        feed->alone = follower->number == FOLLOW_PAST;
        feed_detach(feed);
}

/* It cannot be said whom the commit concerns: they find out themselves. */
static void detach_table(const Follower *follower, FeedTable *table, uint64_t position)
{
        for (RowFeed *feed = table->feeds; feed; feed = feed->table_next)
                if (feed->state == FEED_STATE_ATTACHED && feed->follower == follower->number &&
                    feed->position < position)
                        leave_feed(follower, feed);
}

static Status collect_row(Follower *follower, FeedTable *table, const Record *record)
{
        TRY(feed_reserve(&follower->changes, sizeof(RowChanged), follower->change_count, &follower->change_capacity));
        RowChanged *changed = &follower->changes[follower->change_count];
        TRY(feed_row_changed(record, table->primary_key, &follower->arena, changed));
        size_t before = follower->candidate_count;
        Status st = match_find(table->match, changed->key, changed->old_row, changed->new_row, &follower->arena,
                               add_candidate, follower);
        follower->change_count += follower->candidate_count > before; /* also of what was found before an error */
        return st;
}

/* Those who have come to the drop end. */
static void signal_dropped(const Follower *follower, const FeedTable *table)
{
        for (RowFeed *feed = table->feeds; feed; feed = feed->table_next)
                if (feed->state == FEED_STATE_ATTACHED && feed->follower == follower->number)
                        feed_waiter_signal(feed->hub, &feed->waiter);
}

static void signal_all_dropped(Follower *follower)
{
        size_t cursor = 0;
        uint64_t id;
        void *found;
        follower->dropped = false;
        while (nummap_next(follower->hub->tables, &cursor, &id, &found))
                if (((FeedTable *)found)->dropped_position)
                        signal_dropped(follower, found);
}

void follower_set_delivered(Follower *follower, uint64_t position)
{
        FeedHub *hub = follower->hub;
        atomic_store(&follower->delivered, position);
        if (follower->dropped)
                signal_all_dropped(follower);
        if (position < follower->awaited)
                return;
        follower->awaited = UINT64_MAX;
        for (RowFeed *feed = hub->awaiting.first, *next; feed; feed = next) {
                next = feed->list_next;
                if (feed->follower != follower->number)
                        continue;
                if (feed->awaited > position) {
                        follower->awaited = MIN(follower->awaited, feed->awaited);
                        continue;
                }
                feed_list_remove(feed);
                feed_waiter_signal(hub, &feed->waiter);
        }
}

void follower_table_dropped(Follower *follower, FeedTable *table, uint64_t position)
{
        if (!table->dropped_position)
                table->dropped_position = position;
        follower->dropped = true;
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
static Status collect(Follower *follower, const TailCommit *commit, size_t *offset, bool *ret_end)
{
        FeedTable *table = NULL;
        uint64_t table_id = 0;
        Record record;
        bool found = true;
        while (follower->candidate_count < FEED_SLICE) {
                TRY(record_next(commit->body, offset, &record, &found));
                *ret_end = !found;
                if (!found)
                        return ST_OK;
                if (record.table_id == TABLE_CATALOG_ID && follower->number == FOLLOW_PRESENT)
                        catalog_changed(follower->hub, record.key);
                if (record.tree != 0)
                        continue;
                if (record.table_id != table_id) {
                        table_id = record.table_id;
                        table = nummap_get(follower->hub->tables, table_id);
                }
                if (!table)
                        continue;
                if (record.kind == RECORD_DROP)
                        follower_table_dropped(follower, table, commit->position);
                if (!table->attached_count[follower->number] ||
                    (record.kind != RECORD_PUT && record.kind != RECORD_DELETE))
                        continue;
                Status st = collect_row(follower, table, &record);
                if (st) {
                        log_status(LOG_WARN, "feeds",
                                   status_context(st, "finding whom commit %" PRIu64 " concerns", commit->position));
                        detach_table(follower, table, commit->position);
                }
        }
        *ret_end = false;
        return ST_OK;
}

/* --- evaluate --- */

/* The class's feeds read this commit themselves. Takes the reference. */
static void leave_behind(Follower *follower, FeedClass *class)
{
        Status st = feed_reserve(&follower->behind, sizeof(FeedClass *), follower->behind_count,
                                 &follower->behind_capacity);
        if (!st) {
                follower->behind[follower->behind_count++] = class;
                return;
        }
        status_ignore(st);
        mutex_lock(&follower->hub->mu); /* no memory to do it later: now */
        for (RowFeed *feed = match_user(class, follower->number), *next; feed; feed = next) {
                next = feed->class_next;
                if (feed->position >= follower->collected)
                        continue;
                leave_feed(follower, feed);
        }
        mutex_unlock(&follower->hub->mu);
        feed_class_unref(class);
}

/* Takes the item's reference. */
static Status add_finding(Follower *follower, FeedClass *class, FeedItem *item)
{
        Status st = feed_reserve(&follower->findings, sizeof(Finding), follower->finding_count,
                                 &follower->finding_capacity);
        if (st) {
                feed_item_unref(item);
                return st;
        }
        follower->findings[follower->finding_count] = (Finding){feed_class_ref(class), item, follower->finding_count};
        follower->finding_count++;
        return ST_OK;
}

static Status add_shown(Follower *follower, FeedClass *class, const RowChanged *changed)
{
        MatchShown *shown;
        size_t count;
        TRY(feed_class_show(class, changed->key, changed->old_row, changed->new_row, &follower->arena, &shown, &count));
        for (size_t i = 0; i < count; i++) {
                FeedItem *item;
                TRY(feed_item_new(follower->hub, changed->key, &shown[i], &item));
                follower->found_bytes += feed_item_bytes(item);
                TRY(add_finding(follower, class, item));
        }
        return ST_OK;
}

/* The class's feeds find out what it shows. */
static Status add_row(Follower *follower, FeedClass *class, RowChanged *changed)
{
        if (!changed->item) {
                TRY(feed_item_of_row(follower->hub, changed, &changed->item));
                follower->found_bytes += feed_item_bytes(changed->item);
        }
        return add_finding(follower, class, feed_item_ref(changed->item));
}

static Status evaluate_function(Follower *follower, FeedClass *class, const RowChanged *changed)
{
        int64_t began_ns = feed_hub_now_ns(follower->hub);
        Status st = add_shown(follower, class, changed);
        int64_t ns = feed_hub_now_ns(follower->hub) - began_ns;
        follower->functions_ns += ns;
        feed_class_took(class, ns);
        return st;
}

static void evaluate_one(Follower *follower, Candidate *candidate)
{
        FeedClass *class = take(candidate->class);
        RowChanged *changed = &follower->changes[candidate->change];
        if (follower->found_bytes > follower->hub->options.memory_max_bytes / 4) {
                leave_behind(follower, class);
                return;
        }
        Status st = candidate->plain ? add_shown(follower, class, changed)
                    : candidate->slow || follower->functions_ns > FEED_FUNCTIONS_NS
                            ? add_row(follower, class, changed)
                            : evaluate_function(follower, class, changed);
        if (st) {
                status_ignore(st);
                leave_behind(follower, class);
                return;
        }
        feed_class_unref(class);
}

/* Those that are quick first: functions have a time together for a commit. */
static void evaluate(Follower *follower)
{
        for (size_t i = 0; i < follower->candidate_count; i++)
                if (follower->candidates[i].plain)
                        evaluate_one(follower, &follower->candidates[i]);
        for (size_t i = 0; i < follower->candidate_count; i++)
                if (follower->candidates[i].class)
                        evaluate_one(follower, &follower->candidates[i]);
        for (size_t i = 0; i < follower->change_count; i++)
                feed_item_unref(follower->changes[i].item);
        follower->candidate_count = follower->change_count = 0;
        arena_reset(&follower->arena);
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

static void detach_behind(Follower *follower, uint64_t position)
{
        for (size_t i = 0; i < follower->behind_count; i++)
                for (RowFeed *feed = match_user(follower->behind[i], follower->number), *next; feed; feed = next) {
                        next = feed->class_next;
                        if (feed->position >= position)
                                continue;
                        follower->hub->detached_large++;
                        leave_feed(follower, feed);
                }
}

/* What there is of one class, findings[0 .. count - 1], as items to be queued: *ret_items, of which the first is work
 * and counted, if *ret_work. */
static Status items_of(Follower *follower, const TailCommit *commit, const Finding *findings, size_t count,
                       FeedItem **items, bool *ret_work)
{
        *ret_work = false;
        for (size_t i = 0; i < count; i++) {
                items[i] = findings[i].item;
                *ret_work |= items[i]->kind == FEED_ITEM_ROW;
        }
        if (*ret_work) {
                FeedItem *work;
                TRY(feed_work_new(follower->hub, findings[0].class, commit, items, count, &work));
                items[0] = work;
                return ST_OK;
        }
        feed_items_number(items, count, commit->position, commit->wall_us);
        follower->hub->matched_events += count;
        return ST_OK;
}

static void deliver_findings(Follower *follower, const TailCommit *commit, const Finding *findings, size_t count)
        REQUIRES(follower->hub->mu)
{
        FeedItem *few[8], **items = count <= ELEMENTS(few) ? few : mem_alloc(count * sizeof(FeedItem *));
        bool work = false;
        Status st = items ? items_of(follower, commit, findings, count, items, &work) : status_nomem();
        for (RowFeed *feed = match_user(findings[0].class, follower->number), *next; feed; feed = next) {
                next = feed->class_next;
                if (!st)
                        feed_deliver(feed, items, work ? 1 : count);
                else if (feed->position < commit->position)
                        leave_feed(follower, feed);
        }
        if (work && !st)
                feed_item_unref(items[0]);
        status_ignore(st);
        if (items != few)
                mem_free(items);
}

static void deliver(Follower *follower, const TailCommit *commit) REQUIRES(follower->hub->mu)
{
        const Finding *findings = follower->findings;
        size_t count = follower->finding_count;
        detach_behind(follower, commit->position);
        if (count > 1)
                qsort(follower->findings, count, sizeof(Finding), compare_findings);
        for (size_t i = 0, end; i < count; i = end) {
                for (end = i + 1; end < count && findings[end].class == findings[i].class;)
                        end++;
                deliver_findings(follower, commit, findings + i, end - i);
        }
        follower->commits++;
        follower_set_delivered(follower, commit->position);
        feed_hub_trim(follower->hub);
}

static void forget_findings(Follower *follower)
{
        for (size_t i = 0; i < follower->finding_count; i++) {
                feed_item_unref(follower->findings[i].item);
                feed_class_unref(follower->findings[i].class);
        }
        for (size_t i = 0; i < follower->behind_count; i++)
                feed_class_unref(follower->behind[i]);
        follower->finding_count = follower->behind_count = 0;
        follower->found_bytes = 0;
        follower->functions_ns = 0;
}

void follower_detach_all(Follower *follower, uint64_t position)
{
        size_t cursor = 0;
        uint64_t id;
        void *table;
        while (nummap_next(follower->hub->tables, &cursor, &id, &table))
                detach_table(follower, table, position);
}

/* A slice of the commit; *ret_done: all of it is collected, or it was before. */
static Status collect_slice(Follower *follower, const TailCommit *commit, size_t *offset, bool *ret_done,
                            bool *ret_nobody)
{
        Status st = ST_OK;
        mutex_lock(&follower->hub->mu);
        bool old = *offset == 0 && commit->position <= follower->collected;
        *ret_done = *ret_nobody = old;
        if (!old) {
                follower->collected = commit->position;
                st = collect(follower, commit, offset, ret_done);
                *ret_nobody = !st && *ret_done && !follower->candidate_count && !follower->finding_count &&
                              !follower->behind_count;
                if (*ret_nobody) { /* as it is mostly */
                        follower->commits++;
                        follower_set_delivered(follower, commit->position);
                }
        }
        mutex_unlock(&follower->hub->mu);
        return st;
}

static void take_commit(Follower *follower, const TailCommit *commit)
{
        bool done = false, nobody = false;
        Status st = ST_OK;
        for (size_t offset = 0; !done && !st;) {
                st = collect_slice(follower, commit, &offset, &done, &nobody);
                if (nobody)
                        return;
                evaluate(follower);
        }
        mutex_lock(&follower->hub->mu);
        if (st) /* whoever reads it is told why it cannot be read */
                follower_detach_all(follower, commit->position);
        deliver(follower, commit);
        follower->lag_us = os_wall_us(follower->hub->os) - commit->wall_us;
        mutex_unlock(&follower->hub->mu);
        if (st)
                log_status(LOG_WARN, "feeds", st);
        forget_findings(follower);
}

Status follower_read(Follower *follower, bool *ret_more)
{
        TailCommit commit;
        uint64_t present = 0;
        for (size_t n = 0; n < FEED_ROUND_COMMITS; n++) {
                TRY(tail_next(follower->reader, &commit, ret_more));
                if (!*ret_more)
                        break;
                /* It may be written before it is published: who is told of it shall see it. */
                if (commit.position > present)
                        present = tail_present(follower->hub->store);
                take_commit(follower, &commit);
        }
        return ST_OK;
}

void follower_init(Follower *follower, FeedHub *hub, unsigned number)
{
        follower->hub = hub;
        follower->number = (uint8_t)number;
        follower->awaited = UINT64_MAX;
        arena_init(&follower->arena, 0);
}

void follower_done(Follower *follower)
{
        tail_close(follower->reader);
        arena_done(&follower->arena);
        mem_free(follower->changes);
        mem_free(follower->candidates);
        mem_free(follower->findings);
        mem_free(follower->behind);
}
