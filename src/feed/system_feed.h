/* system_feed.h - feeds on the tables of database `rethinkdb`, which have no log: their rows are read from time to time
 * and compared with those that a feed has given last.
 *
 *      Reading    the rows of a table as a user sees them, at a moment; counted, immutable
 *      Group      all feeds of one (table, user), and their newest reading
 *      feed       goes from its reading to the group's newest when it is asked for events: what lies between is one
 * step
 *
 * So a feed that nobody asks keeps one old reading and no queue, and a row that changed twice meanwhile comes once.
 * Readings are made when something was changed (table_source_watch_system), and of tables whose rows change by
 * themselves as often as they say, by a thread that sleeps while nobody waits for any feed, and by whoever asks for
 * events after a while.
 *
 * Threads: system_feed_open from any, also at once; feeds as query/feed.h says. */
#ifndef FEED_SYSTEM_FEED_H
#define FEED_SYSTEM_FEED_H

#include "feed/feed_int.h"
#include "table/table.h"

typedef struct SystemFeeds SystemFeeds;

/* Part of `hub`, which wakes those who wait. It watches the system tables of `catalog`; borrowed, as `host`. `by_hand`:
 * no thread is started, system_feeds_step does its work (tests). */
MUST_USE Status system_feeds_new(FeedHub *hub, TableCatalog *catalog, const HostOps *host, bool by_hand,
                                 SystemFeeds **ret_feeds);
SystemFeeds *system_feeds_free(SystemFeeds *feeds); /* no feed is open; NULL is fine; returns NULL */
size_t system_feeds_count(SystemFeeds *feeds);      /* open ones */
/* A feed of a system table, which the caller has asked for (table_source_is_system). Such a table has no positions:
 * `since` is an error. */
MUST_USE Status system_feed_open(SystemFeeds *feeds, const FeedSpec *spec, const FeedOptions *options, Feed **ret_feed);
/* What is due now; gives when it is to be called again at the latest (INT64_MAX: after another watch or change). */
int64_t system_feeds_step(SystemFeeds *feeds);

#endif
