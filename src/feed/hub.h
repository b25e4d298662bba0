/* hub.h - changefeeds over the store's log: the FeedSource of a server (query/feed.h).
 *
 * One thread follows the log and gives each commit to the feeds that it concerns. A feed whose client does not fetch
 * costs a place in the log, not memory. Ideas, states, invariants: README.md.
 *
 *      store_open -> table_source_open -> feed_hub_open -> ... queries -> feed_hub_close -> table_source_close
 */
#ifndef FEED_HUB_H
#define FEED_HUB_H

#include "os/os.h"
#include "query/feed.h"
#include "storage/tail.h"
#include "table/table.h"

typedef struct FeedHub FeedHub;
typedef struct FeedHubOptions {
        size_t memory_max_bytes; /* of all queues together; 0 = 64 MiB */
        size_t queue_max_bytes;  /* of one feed; 0 = 1 MiB */
        size_t reader_max;       /* of the log, open for feeds that catch up; 0 = 32 */
        bool by_hand;            /* no thread: feed_hub_step alone does what it would do (tests) */
} FeedHubOptions;
typedef struct FeedHubStats {
        size_t feeds;           /* of ordinary tables, open */
        size_t system_feeds;    /* of tables of `rethinkdb`, open */
        size_t attached;        /* of these: get what the hub's threads find; the others read the log themselves */
        size_t classes, tables; /* different ones of those that are attached */
        size_t queued_events, queued_bytes, memory_max_bytes;
        size_t readers;                     /* of the log, of feeds that catch up each by itself */
        size_t travelling;                  /* feeds that are taken through the log together, since they are many */
        uint64_t journeys, journey_commits; /* times that some were; commits read for them */
        uint64_t commits, events; /* that the thread has read; that it has found for classes, since the start */
        uint64_t delivered;       /* events put into queues */
        uint64_t caught_up;       /* events that feeds read from the log themselves */
        uint64_t detached_slow;   /* times that a feed was detached: its queue, or all together, had grown too large */
        uint64_t detached_large;  /* ... a commit had more for it than there is memory */
        uint64_t worked;          /* rows that feeds have evaluated for all of their class: its function takes long */
        uint64_t lost, skipped;   /* times that the log did not reach back; events dropped for changefeed_queue_size */
        uint64_t lag_positions;   /* commits that are written and not delivered yet */
        int64_t lag_us;           /* between the making of the last commit that was delivered, and that */
        bool failing;             /* the log cannot be read at present */
} FeedHubStats;

/* `store`, `catalog` and `host` are borrowed and outlive the hub. Does not start following the log before there is a
 * feed. */
MUST_USE Status feed_hub_open(Store *store, TableCatalog *catalog, const HostOps *host, Os *os,
                              const FeedHubOptions *options, FeedHub **ret_hub);
/* No feed may be open. NULL is fine; returns NULL. */
FeedHub *feed_hub_close(FeedHub *hub);
const FeedSource *feed_hub_source(const FeedHub *hub); /* lives as long as the hub */
void feed_hub_stats(FeedHub *hub, FeedHubStats *ret_stats);
/* by_hand: one round of the thread, timers included. *ret_more: there is more to do now. */
MUST_USE Status feed_hub_step(FeedHub *hub, bool *ret_more);

#endif
