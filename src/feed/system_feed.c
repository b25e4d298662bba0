/* system_feed.c - feeds on the tables of `rethinkdb`: readings, and the differences between them.
 *
 *      group_read: view -> Reading -> compared with the newest -> another one: it is the newest; all feeds are
 * signalled next:       feed->at -- differences, shown by the class -> feed->steps -> one by one
 *
 * A group's readings are made one after the other (read_mu), so that what is published is never older than what was.
 * Everything that decides whether a feed has something to give is under the hub's lock; rows are read and compared, and
 * functions evaluated, without it. */
#include "feed/system_feed.h"

#include <stdatomic.h>

#include "base/mem.h"
#include "feed/match_int.h"
#include "value/key.h"

#define PAUSE_NS INT64_C(10000000) /* between two readings of a table, however much is changed */
#define SHARE    4                 /* ... and at least so many times what the last one took */

/* --- readings --- */

typedef struct ReadRow {
        Bytes key; /* encoded: readings are in its order */
        Value id, row;
} ReadRow;

typedef struct Reading {
        atomic_uint refs;
        int64_t wall_us;
        Arena arena;
        ReadRow *rows;
        size_t count;
} Reading;

static Reading *reading_ref(Reading *reading)
{
        atomic_fetch_add_explicit(&reading->refs, 1, memory_order_relaxed);
        return reading;
}

static void reading_unref(Reading *reading)
{
        if (!reading || atomic_fetch_sub_explicit(&reading->refs, 1, memory_order_acq_rel) != 1)
                return;
        arena_done(&reading->arena);
        mem_free(reading);
}

typedef struct Filling {
        const TableSource *source;
        TableScan *scan;
        Bytes primary_key;
        Reading *reading;
        size_t capacity;
} Filling;

static Status fill_reading(void *ctx)
{
        Filling *f = ctx;
        Reading *reading = f->reading;
        Arena *arena = &reading->arena;
        reading->rows = arena_array(arena, ReadRow, f->capacity);
        for (;;) {
                Value row;
                TRY(f->source->scan_next(f->scan, arena, &row));
                if (value_is(row, V_NONE) || reading->count == f->capacity)
                        return ST_OK;
                ReadRow *out = &reading->rows[reading->count];
                out->row = value_copy(row, arena);
                out->id = value_get(out->row, f->primary_key);
                out->key = key_encode(out->id, arena);
                reading->count++;
        }
}

/* The rows of the view. */
static Status reading_of(const TableSource *source, TableRef *table, TableView *view, int64_t wall_us,
                         Reading **ret_reading)
{
        uint64_t count;
        Filling f = {.source = source, .primary_key = source->table_info(table)->primary_key};
        TRY(source->view_count(view, NULL, &count));
        f.capacity = (size_t)count;
        f.reading = mem_zalloc(sizeof *f.reading);
        if (!f.reading)
                return status_nomem();
        atomic_init(&f.reading->refs, 1);
        arena_init(&f.reading->arena, 0);
        f.reading->wall_us = wall_us;
        Status st = source->scan_open(view, NULL, false, &f.scan);
        if (!st)
                st = match_guarded(&f.reading->arena, fill_reading, &f);
        source->scan_close(f.scan);
        if (st)
                reading_unref(f.reading);
        else
                *ret_reading = f.reading;
        return st;
}

static bool readings_equal(const Reading *a, const Reading *b)
{
        if (a->count != b->count)
                return false;
        for (size_t i = 0; i < a->count; i++)
                if (!bytes_equal(a->rows[i].key, b->rows[i].key) || !value_equal(a->rows[i].row, b->rows[i].row))
                        return false;
        return true;
}

/* --- groups and feeds --- */

typedef struct SystemFeed SystemFeed;
typedef struct Group Group;
struct Group {
        Group *next;
        SystemFeeds *all;
        TableRef *table; /* counted */
        char *user;      /* NULL: who sees everything */
        int64_t look_ns; /* INT64_MAX: changes are told */
        Mutex read_mu;   /* one reading at a time */
        /* --- under the hub's lock --- */
        unsigned refs; /* feeds, and a thread that reads */
        SystemFeed *feeds;
        Reading *now;  /* the newest; NULL: there was none yet */
        bool failed;   /* the last attempt */
        uint64_t seen; /* `changes` when the last reading began */
        int64_t read_ns, pause_until_ns;
};

typedef struct Step { /* an event to be given */
        struct Step *next;
        FeedEvent event;
} Step;

struct SystemFeed {
        Feed feed;
        Group *group;
        FeedClass *class;
        SystemFeed *next, **link; /* of the group's; under the hub's lock */
        FeedWaiter waiter;        /* under the hub's lock */
        /* --- the owner's --- */
        Reading *at;   /* what it has given, when `steps` is empty */
        Reading *from; /* ... was before these steps; they point into both. NULL without steps */
        Arena arena;   /* of the steps */
        Step *steps, **steps_end;
};

struct SystemFeeds {
        FeedHub *hub;
        TableCatalog *catalog;
        const TableSource *source;
        const HostOps *host;
        bool by_hand;
        atomic_uint_fast64_t changes; /* told by the catalog */
        /* --- under the hub's lock --- */
        Group *groups;
        size_t count;
        /* --- the thread --- */
        Mutex wake_mu; /* a leaf */
        Cond wake;
        bool woken, closing, started; /* GUARDED_BY(wake_mu) */
        Thread thread;
};

static void wake_thread(SystemFeeds *all)
{
        mutex_lock(&all->wake_mu);
        all->woken = true;
        cond_signal(&all->wake);
        mutex_unlock(&all->wake_mu);
}

static void catalog_changed(void *ctx)
{
        SystemFeeds *all = ctx;
        atomic_fetch_add(&all->changes, 1);
        wake_thread(all);
}

/* When its rows are to be read again. */
static int64_t group_due_ns(const Group *group)
{
        if (group->failed || group->seen != atomic_load(&group->all->changes))
                return group->pause_until_ns;
        return group->look_ns == INT64_MAX ? INT64_MAX : MAX(group->read_ns + group->look_ns, group->pause_until_ns);
}

/* Ends a reading: `reading` (taken over) becomes the newest one unless it is equal. The result is counted. */
static Reading *publish(Group *group, Reading *reading)
{
        FeedHub *hub = group->all->hub;
        /* `now` changes under read_mu only, which is held. */
        bool same = group->now && readings_equal(group->now, reading);
        Reading *old = reading;
        feed_hub_lock(hub);
        group->failed = false;
        if (!same) {
                old = group->now;
                group->now = reading;
                for (SystemFeed *feed = group->feeds; feed; feed = feed->next)
                        feed_waiter_signal(hub, &feed->waiter);
        }
        Reading *now = reading_ref(group->now);
        feed_hub_unlock(hub);
        reading_unref(old);
        return now;
}

/* Reads the rows now. `ret_reading` (counted) and `ret_view`, whose rows it has, may be NULL. */
static Status group_read(Group *group, Reading **ret_reading, TableView **ret_view)
{
        SystemFeeds *all = group->all;
        const TableSource *source = all->source;
        const HostOps *host = all->host;
        TableView *view = NULL;
        Reading *reading = NULL;
        mutex_lock(&group->read_mu);
        int64_t began_ns = feed_hub_now_ns(all->hub);
        /* A change that is told while the rows are read may be in them or not: it is looked for again. */
        uint64_t seen = atomic_load(&all->changes);
        Status st = source->view_open_for(group->table, group->user, &view);
        if (!st)
                st = reading_of(source, group->table, view, host->now_us(host->ctx), &reading);
        if (!st)
                reading = publish(group, reading);
        int64_t ended_ns = feed_hub_now_ns(all->hub);
        feed_hub_lock(all->hub);
        group->seen = seen;
        group->read_ns = began_ns;
        group->pause_until_ns = ended_ns + MAX(PAUSE_NS, SHARE * (ended_ns - began_ns));
        group->failed = st != ST_OK;
        feed_hub_unlock(all->hub);
        mutex_unlock(&group->read_mu);
        if (st || !ret_view)
                source->view_close(view);
        else
                *ret_view = view;
        if (!st && ret_reading)
                *ret_reading = reading;
        else
                reading_unref(reading);
        return st;
}

static Group *group_free(Group *group)
{
        if (!group)
                return NULL;
        group->all->source->table_unref(group->table);
        reading_unref(group->now);
        mutex_done(&group->read_mu);
        mem_free(group->user);
        mem_free(group);
        return NULL;
}

static Status group_new(SystemFeeds *all, TableRef *table, const char *user, Group **ret_group)
{
        unsigned look_ms = 0;
        Group *group = mem_zalloc(sizeof *group);
        if (!group)
                return status_nomem();
        (void)table_source_is_system(table, &look_ms);
        group->all = all;
        group->table = all->source->table_ref(table);
        group->look_ns = look_ms ? (int64_t)look_ms * 1000000 : INT64_MAX;
        group->refs = 1;
        mutex_init(&group->read_mu);
        if (user && !(group->user = mem_strdup(user))) {
                group_free(group);
                return status_nomem();
        }
        *ret_group = group;
        return ST_OK;
}

/* Under the hub's lock; NULL: there is none. Counted. */
static Group *group_find(SystemFeeds *all, const TableRef *table, const char *user)
{
        for (Group *group = all->groups; group; group = group->next)
                if (group->table == table && (user && group->user ? !strcmp(user, group->user) : user == group->user)) {
                        group->refs++;
                        return group;
                }
        return NULL;
}

static Status group_take(SystemFeeds *all, TableRef *table, const char *user, Group **ret_group)
{
        Group *fresh;
        feed_hub_lock(all->hub);
        Group *group = group_find(all, table, user);
        feed_hub_unlock(all->hub);
        if (!group) {
                TRY(group_new(all, table, user, &fresh));
                feed_hub_lock(all->hub);
                group = group_find(all, table, user); /* somebody may have been faster */
                if (!group) {
                        fresh->next = all->groups;
                        group = all->groups = take(fresh);
                }
                feed_hub_unlock(all->hub);
                group_free(fresh);
        }
        *ret_group = group;
        return ST_OK;
}

static void group_leave(Group *group)
{
        SystemFeeds *all = group->all;
        feed_hub_lock(all->hub);
        bool last = --group->refs == 0;
        for (Group **g = &all->groups; last && *g; g = &(*g)->next)
                if (*g == group) {
                        *g = group->next;
                        break;
                }
        feed_hub_unlock(all->hub);
        if (last)
                group_free(group);
}

/* --- from one reading to another --- */

static void forget_steps(SystemFeed *feed)
{
        arena_done(&feed->arena);
        arena_init(&feed->arena, 0);
        reading_unref(feed->from);
        feed->from = NULL;
        feed->steps = NULL;
        feed->steps_end = &feed->steps;
}

static Status show_row(SystemFeed *feed, const ReadRow *old_row, const ReadRow *new_row, int64_t wall_us)
{
        MatchShown *shown;
        size_t count;
        const ReadRow *any = new_row ? new_row : old_row;
        int64_t began_ns = feed_hub_now_ns(feed->group->all->hub);
        TRY(feed_class_show(feed->class, any->id, old_row ? old_row->row : value_none(),
                            new_row ? new_row->row : value_none(), &feed->arena, &shown, &count));
        if (!feed_class_is_plain(feed->class))
                feed_class_took(feed->class, feed_hub_now_ns(feed->group->all->hub) - began_ns);
        for (size_t i = 0; i < count; i++) {
                Step *step = arena_try_alloc(&feed->arena, sizeof *step);
                if (!step)
                        return status_nomem();
                *step = (Step){.event = {.kind = shown[i].error ? FEED_ERROR : FEED_CHANGE,
                                         .key = any->id,
                                         .old_value = shown[i].old_value,
                                         .new_value = shown[i].new_value,
                                         .old_index = shown[i].old_index,
                                         .new_index = shown[i].new_index,
                                         .wall_us = wall_us,
                                         .error = shown[i].error,
                                         .error_code = shown[i].error_code}};
                *feed->steps_end = step;
                feed->steps_end = &step->next;
        }
        return ST_OK;
}

static Status show_differences(SystemFeed *feed, const Reading *from, const Reading *to)
{
        size_t i = 0, j = 0;
        while (i < from->count || j < to->count) {
                int order = i == from->count ? 1
                            : j == to->count ? -1
                                             : bytes_compare(from->rows[i].key, to->rows[j].key);
                const ReadRow *old_row = order <= 0 ? &from->rows[i++] : NULL;
                const ReadRow *new_row = order >= 0 ? &to->rows[j++] : NULL;
                if (!old_row || !new_row || !value_equal(old_row->row, new_row->row))
                        TRY(show_row(feed, old_row, new_row, to->wall_us));
        }
        return ST_OK;
}

/* Makes the steps to the group's newest reading. There are none left of another. */
static Status advance(SystemFeed *feed)
{
        FeedHub *hub = feed->group->all->hub;
        feed_hub_lock(hub);
        Reading *to = feed->group->now != feed->at ? reading_ref(feed->group->now) : NULL;
        feed_hub_unlock(hub);
        if (!to)
                return ST_OK;
        feed->from = feed->at;
        feed->at = to;
        Status st = show_differences(feed, feed->from, to);
        if (st) { /* it stands where it stood */
                reading_unref(to);
                feed->at = take(feed->from);
        }
        if (!feed->from || !feed->steps)
                forget_steps(feed);
        return st;
}

static bool group_is_due(Group *group)
{
        FeedHub *hub = group->all->hub;
        feed_hub_lock(hub);
        bool due = group_due_ns(group) <= feed_hub_now_ns(hub);
        feed_hub_unlock(hub);
        return due;
}

/* --- the functions of a Feed --- */

static void feed_close(Feed *base)
{
        SystemFeed *feed = (SystemFeed *)base;
        SystemFeeds *all = feed->group->all;
        feed_hub_lock(all->hub);
        feed_waiter_cancel(all->hub, &feed->waiter);
        if (feed->link) {
                *feed->link = feed->next;
                if (feed->next)
                        feed->next->link = feed->link;
                all->count--;
        }
        feed_hub_unlock(all->hub);
        forget_steps(feed);
        reading_unref(feed->at);
        feed_class_unref(feed->class);
        group_leave(feed->group);
        mem_free(feed);
}

static Status feed_view(Feed *base, TableView **ret_view)
{
        SystemFeed *feed = (SystemFeed *)base;
        Reading *reading;
        TRY(group_read(feed->group, &reading, ret_view));
        forget_steps(feed);
        reading_unref(feed->at);
        feed->at = reading;
        return ST_OK;
}

static Status feed_next(Feed *base, Arena *hold, FeedEvent *ret_event, bool *ret_found)
{
        SystemFeed *feed = (SystemFeed *)base;
        if (!feed->steps)
                TRY(advance(feed));
        if (!feed->steps && group_is_due(feed->group)) { /* nobody has waited for a while */
                TRY(group_read(feed->group, NULL, NULL));
                TRY(advance(feed));
        }
        Step *step = feed->steps;
        *ret_found = step != NULL;
        if (!step)
                return ST_OK;
        FeedEvent event = step->event;
        event.last_of_commit = !step->next;
        event.key = value_copy(event.key, hold);
        event.old_value = value_copy(event.old_value, hold);
        event.new_value = value_copy(event.new_value, hold);
        event.old_index = value_copy(event.old_index, hold);
        event.new_index = value_copy(event.new_index, hold);
        if (event.error)
                event.error = arena_dup(hold, event.error, strlen(event.error));
        feed->steps = step->next;
        if (!feed->steps)
                forget_steps(feed);
        *ret_event = event;
        return ST_OK;
}

static bool feed_is_long(Feed *base)
{
        SystemFeed *feed = (SystemFeed *)base;
        FeedHub *hub = feed->group->all->hub;
        if (feed->steps)
                return false;
        feed_hub_lock(hub);
        bool at_newest = feed->group->now == feed->at;
        feed_hub_unlock(hub);
        return !at_newest || group_is_due(feed->group);
}

static void feed_watch(Feed *base, void (*ready)(void *ctx), void *ctx, int64_t deadline_ns, uint64_t position)
{
        (void)position; /* there are none */
        SystemFeed *feed = (SystemFeed *)base;
        Group *group = feed->group;
        SystemFeeds *all = group->all;
        feed_hub_lock(all->hub);
        if (!ready) {
                feed_waiter_cancel(all->hub, &feed->waiter);
        } else {
                feed_waiter_watch(all->hub, &feed->waiter, ready, ctx, deadline_ns);
                if (feed->steps || group->now != feed->at)
                        feed_waiter_signal(all->hub, &feed->waiter);
        }
        feed_hub_unlock(all->hub);
        if (ready)
                wake_thread(all); /* it may have slept because nobody waited */
}

static FeedPlace feed_place(Feed *base)
{
        (void)base;
        return (FeedPlace){.incarnation = 0};
}

static size_t feed_memory_bytes(const Feed *base)
{
        const SystemFeed *feed = (const SystemFeed *)base;
        return sizeof *feed + feed->arena.total_bytes;
}

static void feed_set_batch(Feed *base, void (*batch_ready)(void *batch_ctx), void *batch_ctx)
{
        SystemFeed *feed = (SystemFeed *)base;
        feed_hub_lock(feed->group->all->hub);
        feed->waiter.batch_ready = batch_ready;
        feed->waiter.batch_ctx = batch_ctx;
        feed_hub_unlock(feed->group->all->hub);
}

static const FeedOps system_feed_ops = {
        .close = feed_close,
        .view = feed_view,
        .next = feed_next,
        .is_long = feed_is_long,
        .watch = feed_watch,
        .place = feed_place,
        .memory_bytes = feed_memory_bytes,
        .set_batch = feed_set_batch,
};

/* --- the thread --- */

/* A group that somebody waits for and that is due (counted), or NULL and when the next one will be. */
static Group *next_group(SystemFeeds *all, int64_t *ret_due_ns)
{
        Group *found = NULL;
        int64_t due_ns = INT64_MAX;
        feed_hub_lock(all->hub);
        int64_t now_ns = feed_hub_now_ns(all->hub);
        for (Group *group = all->groups; group && !found; group = group->next) {
                const SystemFeed *feed = group->feeds;
                while (feed && !feed->waiter.ready)
                        feed = feed->next;
                if (!feed)
                        continue;
                int64_t group_ns = group_due_ns(group);
                due_ns = MIN(due_ns, group_ns);
                if (group_ns <= now_ns) {
                        found = group;
                        group->refs++;
                }
        }
        feed_hub_unlock(all->hub);
        *ret_due_ns = due_ns;
        return found;
}

/* What fails is told by the feeds themselves: they are woken, and their `next` tries again. */
static void tell_failure(Group *group)
{
        feed_hub_lock(group->all->hub);
        for (SystemFeed *feed = group->feeds; feed; feed = feed->next)
                feed_waiter_signal(group->all->hub, &feed->waiter);
        feed_hub_unlock(group->all->hub);
}

int64_t system_feeds_step(SystemFeeds *feeds)
{
        int64_t due_ns;
        Group *group;
        while ((group = next_group(feeds, &due_ns))) {
                Status st = group_read(group, NULL, NULL);
                if (st)
                        tell_failure(group);
                status_ignore(st);
                group_leave(group);
        }
        return due_ns;
}

static void thread_main(void *arg)
{
        SystemFeeds *all = arg;
        mutex_lock(&all->wake_mu);
        while (!all->closing) {
                all->woken = false;
                mutex_unlock(&all->wake_mu);
                int64_t due_ns = system_feeds_step(all);
                int64_t now_ns = feed_hub_now_ns(all->hub);
                mutex_lock(&all->wake_mu);
                while (!all->woken && !all->closing && due_ns > now_ns) {
                        if (due_ns == INT64_MAX)
                                cond_wait(&all->wake, &all->wake_mu);
                        else if (!cond_wait_for(&all->wake, &all->wake_mu, (uint64_t)(due_ns - now_ns)))
                                break;
                }
        }
        mutex_unlock(&all->wake_mu);
}

static Status start_thread(SystemFeeds *all)
{
        Status st = ST_OK;
        mutex_lock(&all->wake_mu);
        if (!all->started && !all->by_hand) {
                st = thread_start(&all->thread, "system feeds", thread_main, all);
                all->started = !st;
        }
        mutex_unlock(&all->wake_mu);
        return st;
}

/* --- all of them --- */

Status system_feeds_new(FeedHub *hub, TableCatalog *catalog, const HostOps *host, bool by_hand, SystemFeeds **ret_feeds)
{
        SystemFeeds *all = mem_zalloc(sizeof *all);
        if (!all)
                return status_nomem();
        all->hub = hub;
        all->catalog = catalog;
        all->source = table_source(catalog);
        all->host = host;
        all->by_hand = by_hand;
        mutex_init(&all->wake_mu);
        cond_init(&all->wake);
        table_source_watch_system(catalog, catalog_changed, all);
        *ret_feeds = all;
        return ST_OK;
}

SystemFeeds *system_feeds_free(SystemFeeds *feeds)
{
        if (!feeds)
                return NULL;
        table_source_watch_system(feeds->catalog, NULL, NULL);
        mutex_lock(&feeds->wake_mu);
        feeds->closing = true;
        cond_signal(&feeds->wake);
        mutex_unlock(&feeds->wake_mu);
        if (feeds->started)
                thread_join(&feeds->thread);
        cond_done(&feeds->wake);
        mutex_done(&feeds->wake_mu);
        mem_free(feeds);
        return NULL;
}

size_t system_feeds_count(SystemFeeds *feeds)
{
        feed_hub_lock(feeds->hub);
        size_t count = feeds->count;
        feed_hub_unlock(feeds->hub);
        return count;
}

static Status begin(SystemFeed *feed, const FeedSpec *spec)
{
        Group *group = feed->group;
        SystemFeeds *all = group->all;
        TRY(feed_class_new(spec, all->source, &feed->class));
        TRY(start_thread(all));
        TRY(group_read(group, &feed->at, NULL));
        feed_hub_lock(all->hub);
        feed->next = group->feeds;
        feed->link = &group->feeds;
        if (feed->next)
                feed->next->link = &feed->next;
        group->feeds = feed;
        all->count++;
        feed_hub_unlock(all->hub);
        return ST_OK;
}

Status system_feed_open(SystemFeeds *feeds, const FeedSpec *spec, const FeedOptions *options, Feed **ret_feed)
{
        const TableInfo *info = feeds->source->table_info(spec->table);
        if (options->since)
                return status_new(ERR_OP_FAILED,
                                  "The system table `%.*s` has no log: a changefeed on it cannot be continued.",
                                  (int)info->name.size, (const char *)info->name.data);
        SystemFeed *feed = mem_zalloc(sizeof *feed);
        if (!feed)
                return status_nomem();
        feed->feed.ops = &system_feed_ops;
        arena_init(&feed->arena, 0);
        feed->steps_end = &feed->steps;
        Status st = group_take(feeds, spec->table, options->user, &feed->group);
        if (st) {
                mem_free(feed);
                return st;
        }
        st = begin(feed, spec);
        if (st) {
                feed_close(&feed->feed);
                return st;
        }
        *ret_feed = &feed->feed;
        return ST_OK;
}
