/* hub_int.h - inside feed/: the hub, feeds of ordinary tables, and what both share.
 *
 *      hub.c      the thread: follows the log, matches commits, gives them to feeds
 *      wake.c     timers, waiters, calling whoever waits
 *      item.c     events in memory, shared by the feeds of a class
 *      feed.c     a feed: open, view, next, attached and detached
 *      catchup.c  a detached feed reads the log
 *
 * Everything here is under FeedHub.mu but what says otherwise. */
#ifndef FEED_HUB_INT_H
#define FEED_HUB_INT_H

#include <stdatomic.h>

#include "base/map.h"
#include "base/mem.h"
#include "feed/feed_int.h"
#include "feed/match.h"
#include "feed/system_feed.h"
#include "storage/record.h"

#define FEED_WHOLE_COMMIT     UINT32_MAX /* FeedPlace.index: all of it */
#define FEED_CALLS_MAX        512        /* whoever is ready, in one go */
#define FEED_FUNCTIONS_NS     10000000   /* for the functions of one commit; what is left is not for the hub's thread */
#define FEED_ROUND_COMMITS    64         /* matched before ready ones are called */
#define FEED_SLICE            1024       /* candidates that are collected in one go */
#define FEED_RETRY_NS         100000000  /* the log could not be read: again */
#define FEED_RETRIES          20
#define FEED_READER_IDLE_NS   INT64_C(5000000000) /* a reader of the log that nobody used for so long is closed */
#define FEED_READER_WANTED_NS INT64_C(200000000)  /* ... if others wait for one */

/* --- item.c: one event, immutable, counted --- */
typedef struct FeedItem {
        atomic_uint refs;
        uint32_t bytes; /* of `data` */
        uint32_t index; /* among the class's events of the commit */
        bool last;      /* of them */
        bool failed;    /* FEED_ERROR: data is the message */
        StatusCode error_code;
        uint64_t position;
        int64_t wall_us;
        uint32_t sizes[5]; /* key, old_value, new_value, old_index, new_index; 0: V_NONE */
        FeedHub *hub;      /* whose queued_bytes it is part of */
        uint8_t data[];    /* encoded values, one behind the other */
} FeedItem;
MUST_USE Status feed_item_new(FeedHub *hub, Value key, const MatchShown *shown, FeedItem **ret_item);
FeedItem *feed_item_ref(FeedItem *item);
FeedItem *feed_item_unref(FeedItem *item); /* NULL is fine; returns NULL. No lock is needed */
static inline size_t feed_item_bytes(const FeedItem *item)
{
        return sizeof(FeedItem) + item->bytes;
}
/* `data` is a copy of the item's, where the event's values are to live. */
void feed_item_event(const FeedItem *item, const uint8_t *data, FeedEvent *ret_event);

/* A row's change, as the log says it. */
typedef struct RowChanged {
        Value key, old_row, new_row; /* V_NONE: there was, is none */
} RowChanged;
/* Values point into the record's body and into `hold`. ERR_CORRUPT: the log does not say what was before. */
MUST_USE Status feed_row_changed(const Record *record, Bytes primary_key, Arena *hold, RowChanged *ret_changed);

/* --- tables that have feeds --- */
typedef struct RowFeed RowFeed;
typedef struct FeedIndex FeedIndex;
struct FeedIndex { /* by which feeds of a table go */
        FeedIndex *next;
        TableIndex *index;
        Bytes name;  /* behind the struct */
        size_t refs; /* feeds, and who looks whether it is still there */
};
typedef struct FeedTable {
        uint64_t id; /* the store's */
        TableRef *table;
        Bytes primary_key; /* the TableRef's */
        MatchTable *match;
        RowFeed *feeds;
        size_t refs; /* the same */
        size_t attached_count;
        FeedIndex *indexes;
        uint64_t dropped_position; /* 0: it is there */
        bool changed;              /* its document in the catalog: shards, indexes are to be looked at */
} FeedTable;

/* --- a feed of rows ---
 *
 *      open (present) --> ATTACHED <----------- feed_attach: it has come to the hub's position
 *      open (since)   --> DETACHED ----------->        |
 *                            ^------------------------ feed_detach: slow, costly, no memory
 *      either, at the end: OVER (feed_next gave FEED_ENDED)
 */
typedef enum FeedEnd {
        FEED_END_NONE,
        FEED_END_SHARDS, /* the table has another number of them */
        FEED_END_INDEX,  /* its index was dropped, renamed or replaced */
} FeedEnd;
typedef struct RowFeedList {
        RowFeed *first, *last;
} RowFeedList;
typedef enum FeedState { FEED_STATE_ATTACHED, FEED_STATE_DETACHED, FEED_STATE_OVER } FeedState;
typedef struct Catchup Catchup;
struct RowFeed {
        Feed feed;
        FeedHub *hub;
        FeedTable *table;
        FeedIndex *index; /* NULL: not by one */
        FeedClass *class; /* attached: as it is filed */
        FeedWaiter waiter;
        RowFeed *class_next, *class_previous; /* attached: of its class, whose match_user is the first */
        RowFeed *table_next, *table_previous;
        /* Attached, with something in the queue: FeedHub.slow. Detached, waiting to read the log: FeedHub.wanting. */
        RowFeed *list_next, *list_previous;
        struct RowFeedList *list; /* which one it is in */
        /* Given up to here (attached with an empty queue: and everything up to FeedHub.delivered). */
        uint64_t position;
        uint32_t given; /* of the commit at `position`: FEED_WHOLE_COMMIT, or so many events */
        uint8_t state;
        uint8_t shards; /* of the table, when it was opened */
        uint8_t ended;  /* FeedEnd: why it ends, when its queue is empty */
        /* The queue: a ring. */
        uint32_t head, count, capacity, queue_bytes;
        FeedItem **items;
        uint32_t queue_max;
        uint32_t heartbeat_ms;
        uint64_t skipped; /* to be told */
        uint64_t told;    /* position that the last event told */
        int64_t given_ns; /* when that was */
        Catchup *catchup; /* NULL: not reading */
};

/* --- feed.c --- */
MUST_USE Status row_feed_open(FeedHub *hub, const FeedSpec *spec, const FeedOptions *options, Feed **ret_feed);
bool feed_has_events(const RowFeed *feed); /* attached, as `next` would see it; heartbeats not counted */
/* The items of one class and one commit. What it cannot have (memory, budget) it reads from the log later. */
void feed_deliver(RowFeed *feed, FeedItem *const *items, size_t count);
/* From now on it reads the log, behind what was given. */
void feed_detach(RowFeed *feed);
/* Without the lock. If it has come to the hub's position. ERR_NOMEM. */
MUST_USE Status feed_attach(RowFeed *feed, bool *ret_attached);
/* Without the lock. The log does not reach back to it: it goes on from the present, if its table is there. */
MUST_USE Status feed_lose(RowFeed *feed, FeedEvent *ret_event);
/* Its table or index is gone. */
void feed_end(RowFeed *feed, FeedEvent *ret_event);
void feed_list_put(RowFeedList *list, RowFeed *feed); /* at the end */
void feed_list_remove(RowFeed *feed);                 /* in none: fine */
/* Detaches those that have not fetched for longest until all queues together are within the budget. */
void feed_hub_trim(FeedHub *hub);

/* --- catchup.c --- */
/* The owner's, without the lock: at most one event, after a bounded amount of work. *ret_found false: it is attached,
 * or there is more to read. */
MUST_USE Status catchup_next(RowFeed *feed, Arena *hold, FeedEvent *ret_event, bool *ret_found);
void catchup_free(RowFeed *feed);           /* the owner's, without the lock */
bool catchup_may_read(const RowFeed *feed); /* it has a reader, or can have one */
void catchup_sweep(FeedTimer *timer);

/* --- hub.c --- */
typedef struct FeedCall {
        FeedWaiter *waiter; /* NULL: cancelled from inside of another call */
        void (*ready)(void *ctx);
        void *ctx;
        void (*batch_ready)(void *batch_ctx);
        void *batch_ctx;
} FeedCall;
typedef struct Candidate { /* a class that a change may concern */
        FeedClass *class;  /* counted */
        uint32_t change;   /* in FeedHub.changes */
        bool plain, slow;
} Candidate;
typedef struct Finding {  /* a class and an event for it */
        FeedClass *class; /* counted */
        FeedItem *item;   /* counted */
        size_t number;    /* in order of finding */
} Finding;

struct FeedHub {
        Store *store;
        TableCatalog *catalog;
        const TableSource *tables_source;
        const HostOps *host;
        Os *os;
        FeedHubOptions options;
        FeedSource source;
        SystemFeeds *system;
        Thread thread;
        bool thread_started;

        Mutex wake_mu; /* order 96 in docs/locks.md: what the thread waits for */
        Cond wake;
        bool woken, closing; /* GUARDED_BY(wake_mu) */

        Mutex mu;       /* order 78 in docs/locks.md */
        NumMap *tables; /* the store's id -> FeedTable */
        size_t feed_count, attached_count, class_count;
        bool following;     /* there are feeds */
        uint64_t collected; /* commits up to here: who they may concern is known. A feed attaches behind it */
        atomic_uint_fast64_t delivered;          /* ... and their events are in queues; written under `mu` */
        uint64_t incarnation, incarnation_after; /* the present one, of all positions behind this */
        RowFeedList slow;                        /* have something in their queues, in order of their last fetch */
        RowFeedList wanting;                     /* wait until fewer read the log */
        FeedTimer sweep;                         /* closes readers that nobody uses */
        size_t queued_events, ring_bytes;
        atomic_size_t queued_bytes;          /* of all items */
        size_t reader_count;                 /* of feeds */
        Catchup *reader_first, *reader_last; /* in order of their last use */
        uint64_t matched_commits, matched_events, delivered_events, detached_slow, detached_costly, lost, skipped;
        atomic_uint_fast64_t caught_up;
        int64_t lag_us;
        /* wake.c */
        FeedTimer **timers; /* a heap, from 1 */
        size_t timer_count, timer_capacity;
        FeedTimer *firing;
        FeedWaiter *ready_first, *ready_last;
        FeedCall calls[FEED_CALLS_MAX];
        size_t call_count;
        uv_thread_t caller; /* the thread that makes calls */
        bool calling;
        Cond calls_done;
        unsigned cancelling; /* who waits for that */

        /* --- the hub's thread only --- */
        TailReader *reader;
        TailWatch *watch;
        int64_t retry_ns; /* not to be tried before */
        unsigned failures;
        atomic_bool failing;
        Arena arena; /* of one slice of a commit */
        RowChanged *changes;
        size_t change_count, change_capacity;
        Candidate *candidates;
        size_t candidate_count, candidate_capacity;
        Finding *findings;
        size_t finding_count, finding_capacity;
        FeedClass **behind; /* classes that read this commit themselves */
        size_t behind_count, behind_capacity;
        bool catalog_changed;
        int64_t functions_ns; /* used by functions for this commit */
        size_t found_bytes;
};

/* Without the lock. Gives it its table and index; *ret_present: the position of the present. */
MUST_USE Status feed_hub_enter(RowFeed *feed, const FeedSpec *spec, uint64_t *ret_present);
/* Gives back what enter gave. What it returns (or NULL) is to be freed without the lock. */
MUST_USE FeedTable *feed_hub_leave(RowFeed *feed);
void feed_table_free(FeedHub *hub, FeedTable *table);
/* Any thread: the hub's thread has something to do. */
void feed_hub_wake(FeedHub *hub);
uint64_t feed_hub_incarnation(FeedHub *hub, uint64_t position);
/* --- wake.c --- */
/* Fires what is due and calls who is ready; without the lock. *ret_next_ns: when the next timer is due. *ret_called:
 * there was something. */
void feed_wake_round(FeedHub *hub, int64_t *ret_next_ns, bool *ret_called);
void feed_wake_done(FeedHub *hub);

#endif
