/* fake_feed.h - for tests: changefeeds over the tables of fake_source.h, whose commits are made by fake_commit().
 *
 * A feed reads the list of all commits, from its place on. Of specs it understands primary keys, conditions on a value
 * or a range, and functions. */
#ifndef QUERY_FAKE_FEED_H
#define QUERY_FAKE_FEED_H

#include "query/changes_flow.h"
#include "query/closure.h"
#include "query/fake_source.h"

enum { FAKE_CHANGES = 4096, FAKE_SNAPSHOTS = 256, FAKE_FEEDS = 4096 };

typedef struct FakeChange {
        TableRef *table;
        Value key, old_row, new_row; /* V_NONE: there is none */
        uint64_t position;
} FakeChange;

struct Feed {
        FeedSpec spec; /* tests keep what it points to */
        FeedSpec *copy;
        size_t next;     /* in the list */
        uint32_t index;  /* of the event after this in its commit */
        uint64_t passed; /* the last commit that it has been past */
        uint64_t sees;   /* it knows of no commit behind this; UINT64_MAX: of all */
        size_t queue_max;
        bool lost, idle, detached;
        uint64_t skipped;
        void (*ready)(void *ctx);
        void *ctx;
        int64_t deadline_ns;
        uint64_t wanted;
        bool ended_told;
};

typedef struct FakeFeeds {
        FakeChange changes[FAKE_CHANGES];
        size_t count;
        uint64_t position;
        uint64_t reach; /* feeds cannot begin behind an earlier position */
        uint64_t incarnation;
        TableRef snapshots[FAKE_SNAPSHOTS];
        size_t snapshot_count;
        Feed *open[FAKE_FEEDS];
        size_t open_count;
        int64_t clock_ns;
        TableRef *dropped;
        const char
                *between_views; /* of "t": committed, with a row {id: 5} in "u", after the next view; NULL: nothing */
        int opened, readies;
} FakeFeeds;
static FakeFeeds fake_feeds;

static int64_t fake_feed_clock(void *ctx)
{
        return fake_feeds.clock_ns;
}
static inline HostOps fake_feed_host(void)
{
        HostOps host = fake_host;
        host.mono_ns = fake_feed_clock;
        return host;
}

/* --- what is committed --- */

static inline void fake_feed_wake(Feed *feed)
{
        void (*ready)(void *ctx) = feed->ready;
        feed->ready = NULL;
        if (ready) {
                fake_feeds.readies++;
                ready(feed->ctx);
        }
}
static inline void fake_feeds_wake(void)
{
        for (size_t i = 0; i < fake_feeds.open_count; i++)
                fake_feed_wake(fake_feeds.open[i]);
}
static inline TableRef *fake_table(const char *name)
{
        for (size_t i = 0; i < fake.table_count; i++)
                if (bytes_equal(fake.tables[i].info.name, BYTES_STR(name)))
                        return &fake.tables[i];
        return NULL;
}
/* Rows as a JSON array: each replaces the one with its id; {"id": .., "gone": true} deletes it. All in one commit. */
static inline void fake_commit_part(const char *name, const char *rows)
{
        TableRef *table = fake_table(name);
        Value parsed;
        status_ignore(json_parse_copy(BYTES_STR(rows), JSON_PSEUDO, &fake.arena, &parsed));
        for (size_t i = 0; i < value_count(parsed); i++) {
                Value row = value_at(parsed, i), key = value_get_str(row, "id"), old = value_none();
                bool gone = !value_is(value_get_str(row, "gone"), V_NONE);
                Value *kept = arena_array(&fake.arena, Value, value_count(table->rows) + 1);
                size_t count = 0;
                for (size_t j = 0; j < value_count(table->rows); j++) {
                        Value other = value_at(table->rows, j);
                        if (value_equal(value_get_str(other, "id"), key))
                                old = other;
                        else
                                kept[count++] = other;
                }
                if (!gone)
                        kept[count++] = row;
                qsort(kept, count, sizeof *kept, fake_compare);
                table->rows = value_array(kept, count);
                if (fake_feeds.count == FAKE_CHANGES)
                        abort();
                fake_feeds.changes[fake_feeds.count++] =
                        (FakeChange){table, key, old, gone ? value_none() : row, fake_feeds.position};
        }
}
static inline void fake_commit(const char *name, const char *rows)
{
        fake_feeds.position++;
        fake_commit_part(name, rows);
        fake_feeds_wake();
}
/* Whoever waits until then is called. */
static inline void fake_feeds_pass(double seconds)
{
        fake_feeds.clock_ns += (int64_t)(seconds * 1e9);
        for (size_t i = 0; i < fake_feeds.open_count; i++)
                if (fake_feeds.open[i]->deadline_ns <= fake_feeds.clock_ns)
                        fake_feed_wake(fake_feeds.open[i]);
}

/* --- a row as a feed shows it --- */

static inline bool fake_feed_holds(const FeedCondition *c, Value row)
{
        for (size_t i = 0; i < c->path.count; i++)
                row = value_is_object(row) ? value_get(row, c->path.fields[i]) : value_none();
        bool holds = false;
        if (c->kind == FEED_FIELD_BETWEEN) {
                int low = c->bounds.low_type == BOUND_NONE ? 1 : value_compare(row, c->bounds.low);
                int high = c->bounds.high_type == BOUND_NONE ? -1 : value_compare(row, c->bounds.high);
                holds = !value_is(row, V_NONE) && (low > 0 || (low == 0 && c->bounds.low_type == BOUND_CLOSED)) &&
                        (high < 0 || (high == 0 && c->bounds.high_type == BOUND_CLOSED));
        }
        for (size_t i = 0; c->kind == FEED_FIELD_IN && i < c->value_count; i++)
                holds |= value_equal(row, c->values[i]);
        return holds;
}
/* An array of what is shown; V_NONE: *ret_error. */
static inline Value fake_feed_show(Feed *feed, Value key, Value row, Arena *arena, Status *ret_error)
{
        const FeedSpec *spec = &feed->spec;
        bool of_interest = !value_is(row, V_NONE);
        *ret_error = ST_OK;
        for (size_t i = 0; of_interest && spec->key_count && i <= spec->key_count; i++) {
                if (i == spec->key_count)
                        of_interest = false;
                else if (value_equal(spec->keys[i], key))
                        break;
        }
        for (size_t i = 0; of_interest && i < spec->condition_count; i++)
                of_interest = fake_feed_holds(&spec->conditions[i], row);
        if (!of_interest)
                return value_array(NULL, 0);
        if (!spec->function.data) {
                Value *one = arena_array(arena, Value, 1);
                one[0] = row;
                return value_array(one, 1);
        }
        Closure *closure;
        Value shown = value_none();
        *ret_error = closure_load(spec->function, &closure);
        if (*ret_error)
                return value_none();
        *ret_error = closure_call_at(closure, spec->now_us, &row, 1, arena, &shown);
        closure_unref(closure);
        if (status_code(*ret_error) == ERR_NON_EXISTENCE) {
                *ret_error = status_free(*ret_error);
                return value_array(NULL, 0);
        }
        return *ret_error ? value_none() : shown;
}

/* --- the source --- */

static Status fake_feed_open(void *ctx, const FeedSpec *spec, const FeedOptions *options, Feed **ret_feed)
{
        const FeedPlace *since = options->since;
        if (since && (since->incarnation != fake_feeds.incarnation || since->position < fake_feeds.reach))
                return status_new(ERR_NOT_FOUND, "no such place");
        Feed *feed = mem_zalloc(sizeof *feed);
        if (!feed)
                return status_nomem();
        Status st = feed_specs_copy(spec, 1, &feed->copy);
        if (st) {
                mem_free(feed);
                return st;
        }
        feed->spec = *feed->copy;
        feed->queue_max = options->queue_max;
        feed->deadline_ns = INT64_MAX;
        feed->sees = UINT64_MAX;
        feed->next = fake_feeds.count;
        feed->passed = fake_feeds.position;
        if (since) {
                feed->passed = since->index == UINT32_MAX ? since->position : since->position - 1;
                for (feed->next = 0; feed->next < fake_feeds.count; feed->next++)
                        if (fake_feeds.changes[feed->next].position > feed->passed)
                                break;
                if (since->index != UINT32_MAX) /* one change is one event here */
                        feed->next += feed->index = since->index;
        }
        fake_feeds.open[fake_feeds.open_count++] = feed;
        fake_feeds.opened++;
        *ret_feed = feed;
        return ST_OK;
}
static void fake_feed_close(Feed *feed)
{
        for (size_t i = 0; feed && i < fake_feeds.open_count; i++) {
                if (fake_feeds.open[i] == feed) {
                        fake_feeds.open[i] = fake_feeds.open[--fake_feeds.open_count];
                        break;
                }
        }
        if (feed)
                mem_free(feed->copy);
        mem_free(feed);
}
static Status fake_feed_view(Feed *feed, TableView **ret_view)
{
        TableRef *snapshot = &fake_feeds.snapshots[fake_feeds.snapshot_count++ % FAKE_SNAPSHOTS];
        *snapshot = *feed->spec.table;
        TRY(fake_view_open(snapshot, ret_view));
        feed->next = fake_feeds.count;
        feed->passed = fake_feeds.position;
        feed->index = 0;
        feed->lost = false;
        if (fake_feeds.between_views) {
                fake_feeds.position++;
                fake_commit_part("t", fake_feeds.between_views);
                fake_commit_part("u", "[{\"id\":5}]");
                fake_feeds.between_views = NULL;
        }
        return ST_OK;
}
static FeedPlace fake_feed_place(Feed *feed)
{
        FeedPlace place = {fake_feeds.incarnation, feed->passed, UINT32_MAX};
        if (feed->index)
                place = (FeedPlace){fake_feeds.incarnation, feed->passed + 1, feed->index};
        return place;
}
static bool fake_feed_last(const Feed *feed, size_t at)
{
        uint64_t position = fake_feeds.changes[at].position;
        while (++at < fake_feeds.count && fake_feeds.changes[at].position == position)
                if (fake_feeds.changes[at].table == feed->spec.table)
                        return false;
        return true;
}
static Status fake_feed_next(Feed *feed, Arena *hold, FeedEvent *ret_event, bool *ret_found)
{
        *ret_found = true;
        *ret_event = (FeedEvent){.last_of_commit = true};
        if (feed->lost) {
                ret_event->kind = FEED_LOST;
                return ST_OK;
        }
        while (feed->queue_max && fake_feeds.count - feed->next > feed->queue_max) {
                feed->next++;
                feed->skipped++;
        }
        if (feed->skipped) {
                ret_event->kind = FEED_SKIPPED;
                ret_event->skipped = feed->skipped;
                ret_event->place = fake_feed_place(feed);
                feed->skipped = 0;
                return ST_OK;
        }
        while (feed->next < fake_feeds.count && fake_feeds.changes[feed->next].position <= feed->sees) {
                const FakeChange *change = &fake_feeds.changes[feed->next];
                bool last = fake_feed_last(feed, feed->next);
                feed->next++;
                if (change->table != feed->spec.table)
                        continue;
                Status errors[2] = {ST_OK, ST_OK};
                Value before = fake_feed_show(feed, change->key, change->old_row, hold, &errors[0]);
                Value after = fake_feed_show(feed, change->key, change->new_row, hold, &errors[1]);
                feed->index = last ? 0 : feed->index + 1;
                feed->passed = last ? change->position : change->position - 1;
                ret_event->last_of_commit = last;
                ret_event->key = change->key;
                ret_event->place = fake_feed_place(feed);
                for (size_t i = 0; i < 2; i++) {
                        if (!errors[i])
                                continue;
                        ret_event->kind = FEED_ERROR;
                        ret_event->error =
                                arena_dup(hold, status_message(errors[i]), strlen(status_message(errors[i])));
                        ret_event->error_code = status_code(errors[i]);
                }
                status_ignore(errors[0]);
                status_ignore(errors[1]);
                if (ret_event->kind == FEED_ERROR)
                        return ST_OK;
                ret_event->old_value = value_count(before) ? value_copy(value_at(before, 0), hold) : value_none();
                ret_event->new_value = value_count(after) ? value_copy(value_at(after, 0), hold) : value_none();
                bool none = !value_count(before) && !value_count(after);
                if (!none && (value_count(before) != value_count(after) ||
                              !value_equal(ret_event->old_value, ret_event->new_value)))
                        return ST_OK;
        }
        feed->passed = MIN(fake_feeds.position, feed->sees);
        if (fake_feeds.dropped == feed->spec.table) {
                ret_event->kind = FEED_ENDED;
                ret_event->error = "Changefeed aborted (unavailable).";
                ret_event->error_code = ERR_OP_FAILED;
                *ret_found = !feed->ended_told;
                feed->ended_told = true;
                return ST_OK;
        }
        ret_event->kind = FEED_IDLE;
        ret_event->place = fake_feed_place(feed);
        *ret_found = feed->idle;
        feed->idle = false;
        return ST_OK;
}
static bool fake_feed_is_long(Feed *feed)
{
        return feed->detached;
}
/* Something to give, or it has come to where it is awaited. */
static bool fake_feed_has_more(const Feed *feed)
{
        for (size_t i = feed->next; i < fake_feeds.count && fake_feeds.changes[i].position <= feed->sees; i++)
                if (fake_feeds.changes[i].table == feed->spec.table)
                        return true;
        return feed->wanted && feed->wanted <= MIN(fake_feeds.position, feed->sees);
}
static void fake_feed_watch(Feed *feed, void (*ready)(void *ctx), void *ctx, int64_t deadline_ns, uint64_t position)
{
        feed->ready = ready;
        feed->ctx = ctx;
        feed->deadline_ns = ready ? deadline_ns : INT64_MAX;
        feed->wanted = position;
        if (fake_feed_has_more(feed) || feed->lost || feed->idle || feed->deadline_ns <= fake_feeds.clock_ns)
                fake_feed_wake(feed);
}
/* Feeds of this table know of the commits up to there. */
static inline void fake_feeds_see(const char *name, uint64_t position)
{
        for (size_t i = 0; i < fake_feeds.open_count; i++) {
                Feed *feed = fake_feeds.open[i];
                if (feed->spec.table != fake_table(name))
                        continue;
                feed->sees = position;
                if (fake_feed_has_more(feed))
                        fake_feed_wake(feed);
        }
}
static size_t fake_feed_memory(const Feed *feed)
{
        return sizeof *feed;
}
static const FeedSource fake_feed_source = {
        .open = fake_feed_open,
        .close = fake_feed_close,
        .view = fake_feed_view,
        .next = fake_feed_next,
        .is_long = fake_feed_is_long,
        .watch = fake_feed_watch,
        .place = fake_feed_place,
        .memory_bytes = fake_feed_memory,
};
static inline void fake_feeds_init(void)
{
        fake_feeds.count = fake_feeds.snapshot_count = 0;
        fake_feeds.position = fake_feeds.incarnation = 7;
        fake_feeds.reach = 0;
        fake_feeds.clock_ns = 1;
        fake_feeds.dropped = NULL;
        fake_feeds.between_views = NULL;
        fake_feeds.open_count = 0;
}

#endif
