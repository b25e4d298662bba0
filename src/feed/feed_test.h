/* feed_test.h - a hub over a catalog on a simulated machine, stepped by hand, and feeds whose events are written down
 * as text; for the tests of this folder. */
#ifndef FEED_FEED_TEST_H
#define FEED_FEED_TEST_H

#include "table/table_test.h"

#include "feed/hub_int.h"

typedef struct Hub {
        World w;
        FeedHub *hub;
        const FeedSource *feeds;
        FeedHubOptions options;
        TableRef *table;
} Hub;

static inline void hub_open(Hub *h)
{
        h->options.by_hand = !h->w.background;
        ok(feed_hub_open(h->w.store, h->w.catalog, &h->w.host, sim_os(h->w.sim), &h->options, &h->hub));
        h->feeds = feed_hub_source(h->hub);
}

static inline void hub_init_world(Hub *h, bool background)
{
        *h = (Hub){0};
        world_init(&h->w, 7);
        h->w.background = background;
        world_open(&h->w);
        make_table(&h->w, "test", "t");
        h->table = find(&h->w, "test", "t");
        hub_open(h);
}

static inline void hub_close(Hub *h)
{
        h->hub = feed_hub_close(h->hub);
}

static inline void hub_done(Hub *h)
{
        hub_close(h);
        h->w.source->table_unref(take(h->table));
        world_done(&h->w);
}

/* --- the same over a store with other options --- */
static inline void open_world(Hub *h, const StoreOptions *with)
{
        StoreOptions options = *with;
        options.os = sim_os(h->w.sim);
        options.path = "data";
        ok(store_open(&options, &h->w.store));
        ok(catalog_open(h->w.store, &h->w.host, NULL, true, &h->w.catalog));
        h->w.source = table_source(h->w.catalog);
        hub_open(h);
}

static inline void begin_world(Hub *h, const StoreOptions *with)
{
        *h = (Hub){0};
        world_init(&h->w, 7);
        open_world(h, with);
        make_table(&h->w, "test", "t");
        h->table = find(&h->w, "test", "t");
}

/* Everything but the disk. */
static inline void end_world(Hub *h)
{
        h->hub = feed_hub_close(h->hub);
        h->w.source->table_unref(take(h->table));
        h->w.catalog = table_source_close(h->w.catalog);
        status_ignore(store_close(take(h->w.store)));
}

static inline void done_world(Hub *h)
{
        end_world(h);
        arena_done(&h->w.arena);
        sim_free(h->w.sim);
}

static inline void restart(Hub *h, const StoreOptions *with)
{
        end_world(h);
        open_world(h, with);
        h->table = find(&h->w, "test", "t");
}

static inline FeedSpec spec_of(Hub *h)
{
        return (FeedSpec){.table = h->table};
}

static inline Status try_since(Hub *h, FeedPlace place, Feed **ret_feed)
{
        FeedSpec spec = spec_of(h);
        return h->feeds->open(h->feeds->ctx, &spec, &(FeedOptions){.since = &place}, ret_feed);
}

/* All that is committed is written, read and delivered. */
static inline void hub_settle(Hub *h)
{
        bool more = true;
        ok(tail_step(h->w.store));
        while (more)
                ok(feed_hub_step(h->hub, &more));
}

/* --- a log that cannot be read --- */
typedef struct LogFiles {
        char names[64][80];
        size_t count;
} LogFiles;
static inline Status add_log_file(void *ctx, const char *name)
{
        LogFiles *files = ctx;
        assert_true(files->count < ELEMENTS(files->names));
        snprintf(files->names[files->count++], sizeof files->names[0], "data/log/%s", name);
        return ST_OK;
}
/* A bit behind the header of each file, but of the newest one. */
static inline void damage_log(Hub *h)
{
        LogFiles files = {0};
        OsDir *dir;
        ok(os_dir_open(sim_os(h->w.sim), "data/log", OS_DIR_READ, &dir));
        ok(os_dir_list(dir, add_log_file, &files));
        os_dir_close(dir);
        assert_true(files.count > 3);
        for (size_t i = 0; i + 1 < files.count; i++)
                status_ignore(sim_flip_bit(h->w.sim, files.names[i], 6000, 3));
}

static inline void set_row(Hub *h, int id, const char *text)
{
        Value row = text ? json(&h->w, text) : value_null();
        RowOutcome outcome = put(&h->w, h->table, value_number(id), row);
        assert_true(outcome.effect != ROW_FAILED);
}

static inline Feed *open_feed(Hub *h, const FeedOptions *options)
{
        Feed *feed;
        FeedSpec spec = spec_of(h);
        ok(h->feeds->open(h->feeds->ctx, &spec, options, &feed));
        return feed;
}

static inline const char *side(Hub *h, Value v)
{
        return value_is(v, V_NONE) ? "-" : text_of_value(&h->w, v);
}

/* "1:-/{...}" a change, "|" behind the last of a commit, "LOST", "SKIPPED 3", "IDLE", "ENDED message". */
static inline const char *event_text(Hub *h, const FeedEvent *e)
{
        Arena *arena = &h->w.arena;
        switch (e->kind) {
        case FEED_CHANGE:
                return arena_printf(arena, "%s:%s/%s%s", side(h, e->key), side(h, e->old_value), side(h, e->new_value),
                                    e->last_of_commit ? "|" : ",");
        case FEED_ERROR: return arena_printf(arena, "ERROR %s|", e->error);
        case FEED_SKIPPED: return arena_printf(arena, "SKIPPED %d|", (int)e->skipped);
        case FEED_LOST: return "LOST|";
        case FEED_IDLE: return "IDLE|";
        case FEED_ENDED: return arena_printf(arena, "ENDED %s|", e->error);
        }
        return "?";
}

static inline void test_ignore(void *ctx) {}

/* One event; false: there is none. A detached feed reads on until it is attached. */
static inline bool next_event(Hub *h, Feed *feed, FeedEvent *ret_event)
{
        bool found = false;
        for (;;) {
                ok(h->feeds->next(feed, &h->w.arena, ret_event, &found));
                if (found || !h->feeds->is_long(feed))
                        return found;
                if (!feed_has_events((RowFeed *)feed)) { /* others read the log: its turn comes */
                        h->feeds->watch(feed, test_ignore, NULL, INT64_MAX, 0);
                        sim_advance_ns(h->w.sim, FEED_READER_WANTED_NS);
                        hub_settle(h);
                }
        }
}

/* All events that there are. */
static inline const char *events(Hub *h, Feed *feed)
{
        const char *text = "";
        FeedEvent e;
        while (next_event(h, feed, &e))
                text = arena_printf(&h->w.arena, "%s%s", text, event_text(h, &e));
        return text;
}

#define expect_events(h, feed, expected) assert_string_equal(events(h, feed), expected)

static inline RowFeed *row_of(Feed *feed)
{
        return (RowFeed *)feed;
}

static inline bool is_attached(Feed *feed)
{
        return row_of(feed)->state == FEED_STATE_ATTACHED;
}

#endif
