/* hub_int.h - inside feed/: the hub, feeds of ordinary tables, and what both share.
 *
 *      hub.c      tables, the thread that follows the log at its end, the FeedSource
 *      follower.c what is done with each commit: whom it concerns, what they show of it, into their queues
 *      convoy.c   the thread that takes many feeds through the past together
 *      wake.c     timers, waiters, calling whoever waits
 *      item.c     events in memory, shared by the feeds of a class
 *      feed.c     a feed: open, view, next, attached and detached
 *      work.c     what a commit means for a class whose function takes long
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
#define FEED_WORK_NS          100000000  /* for functions, in one call of `next` */
#define FEED_ROUND_COMMITS    64         /* matched before ready ones are called */
#define FEED_SLICE            1024       /* candidates that are collected in one go */
#define FEED_RETRY_NS         100000000  /* the log could not be read: again */
#define FEED_RETRIES          20
#define FEED_READER_IDLE_NS   INT64_C(5000000000) /* a reader of the log that nobody used for so long is closed */
#define FEED_READER_WANTED_NS INT64_C(200000000)  /* ... if others wait for one */

/* --- item.c: what queues are made of: counted, immutable (but for FEED_ITEM_WORK) --- */
typedef enum FeedItemKind {
        FEED_ITEM_CHANGE,
        FEED_ITEM_ERROR, /* data is the message */
        FEED_ITEM_ROW,   /* in no queue, but in a FEED_ITEM_WORK: a row's key, old and new value; not yet an event */
        FEED_ITEM_WORK,  /* stands for a commit's events that are to be found by whoever needs them first: work.c */
} FeedItemKind;
typedef struct FeedItem {
        atomic_uint refs;
        uint32_t bytes; /* of `data`; FEED_ITEM_WORK: that it counts for in a queue */
        uint32_t index; /* among the class's events of the commit */
        bool last;      /* of them */
        uint8_t kind;
        StatusCode error_code;
        uint64_t position;
        int64_t wall_us;
        uint32_t sizes[5]; /* key, old_value, new_value, old_index, new_index; 0: V_NONE */
        FeedHub *hub;      /* whose queued_bytes it is part of */
        uint8_t data[];    /* encoded values, one behind the other; a FeedWork */
} FeedItem;
/* `data` is the caller's to fill. */
MUST_USE Status feed_item_alloc(FeedHub *hub, FeedItemKind kind, size_t bytes, FeedItem **ret_item);
MUST_USE Status feed_item_new(FeedHub *hub, Value key, const MatchShown *shown, FeedItem **ret_item);
/* A class's events of one commit, which nobody else knows yet. */
void feed_items_number(FeedItem *const *items, size_t count, uint64_t position, int64_t wall_us);
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
        FeedItem *item;              /* the hub's: the same as a FEED_ITEM_ROW, once somebody needs it */
} RowChanged;
MUST_USE Status feed_item_of_row(FeedHub *hub, const RowChanged *changed, FeedItem **ret_item);
RowChanged feed_item_row(const FeedItem *item); /* values point into the item */
/* Values point into the record's body and into `hold`. ERR_CORRUPT: the log does not say what was before. */
MUST_USE Status feed_row_changed(const Record *record, Bytes primary_key, Arena *hold, RowChanged *ret_changed);

/* Who reads the log for the feeds that are attached to it. */
enum {
        FOLLOW_PRESENT, /* the hub's thread, at its end */
        FOLLOW_PAST,    /* the convoy's: convoy.c */
        FOLLOWERS
};

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
        size_t attached_count[FOLLOWERS];
        FeedIndex *indexes;
        uint64_t dropped_position; /* 0: it is there */
        bool changed;              /* its document in the catalog: shards, indexes are to be looked at */
} FeedTable;

/* --- a feed of rows ---
 *
 *      open (present) --> ATTACHED <----------- feed_attach: it has come to the hub's position
 *      open (since)   --> DETACHED ----------->        |   ^
 *                          |  ^----------------------- feed_detach: slow, costly, no memory
 *                          '--> ATTACHED to the convoy ----' feed_arrive: the convoy has
 *      either, at the end: OVER (feed_next gave FEED_ENDED)
 */
typedef enum FeedEnd {
        FEED_END_NONE,
        FEED_END_SHARDS, /* the table has another number of them */
        FEED_END_INDEX,  /* its index was dropped, renamed or replaced */
} FeedEnd;
typedef struct RowFeedList {
        RowFeed *first, *last;
        size_t count;
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
        RowFeed *class_next, *class_previous; /* attached: of its class and follower, whose match_user is the first */
        RowFeed *convoy_next, *convoy_previous;
        RowFeed *table_next, *table_previous;
        /* Attached, with something in the queue: FeedHub.slow; with nothing, waiting for a position: FeedHub.awaiting.
         * Detached, waiting to read the log: FeedHub.wanting, lone. Its place not moving: FeedHub.quiet. */
        RowFeed *list_next, *list_previous;
        struct RowFeedList *list; /* which one it is in */
        /* Given up to here (attached with an empty queue: and everything up to Follower.delivered). */
        uint64_t position;
        uint64_t queued;  /* what there is of the commits up to here is given, or in the queue; 0: see `position` */
        uint32_t given;   /* of the commit at `position`: FEED_WHOLE_COMMIT, or so many events */
        uint32_t journey; /* the convoy's, on which it could not take it along */
        uint8_t follower;
        bool alone; /* too slow, or a commit too large, for the convoy: it reads the log by itself until it has come to
                       the present */
        uint8_t state;
        uint8_t shards; /* of the table, when it was opened */
        uint8_t ended;  /* FeedEnd: why it ends, when its queue is empty */
        /* The queue: a ring. */
        uint32_t head, count, capacity, queue_bytes;
        uint32_t work_count; /* FEED_ITEM_WORK in the queue */
        FeedItem **items;
        uint32_t queue_max;
        uint32_t heartbeat_ms;
        uint64_t skipped; /* to be told */
        uint64_t awaited; /* position that its owner waits for; 0: none */
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
/* To the convoy, and from there to the present. */
MUST_USE Status feed_travel(RowFeed *feed);
void feed_arrive(RowFeed *feed);
/* Without the lock. The log does not reach back to it: it goes on from the present, if its table is there. */
MUST_USE Status feed_lose(RowFeed *feed, FeedEvent *ret_event);
/* Its table or index is gone. */
void feed_end(RowFeed *feed, FeedEvent *ret_event);
void feed_list_put(RowFeedList *list, RowFeed *feed); /* at the end */
void feed_list_put_first(RowFeedList *list, RowFeed *feed);
void feed_list_remove(RowFeed *feed); /* in none: fine */
/* Those that wait for something to happen, if it has: a bounded number. True: there are more. */
bool feed_hub_stir(FeedHub *hub);
/* Detaches those that have not fetched for longest until all queues together are within the budget. */
void feed_hub_trim(FeedHub *hub);

/* --- work.c: functions that take long ---
 *
 * They are not for the hub's thread. What it has of a commit for such a class is queued as one FEED_ITEM_WORK, which
 * the class's feeds share: the one whose owner comes first has it `busy` and finds the events, the others wait as for
 * any event, and then find them in its place. Whoever does not come to the end (time, memory) leaves the rest to the
 * next.
 */
typedef struct FeedWork {
        FeedClass *class; /* counted */
        bool done;        /* under the lock: its events are all there, and nobody changes it any more */
        bool busy;        /* under the lock: somebody is at it */
        /* --- who has it busy --- */
        FeedItem **events; /* counted */
        size_t event_count, event_capacity;
        size_t part_count, part_at;
        FeedItem *parts[]; /* of the commit, in order: events, and rows; counted. NULL: those before part_at */
} FeedWork;
_Static_assert(offsetof(FeedItem, data) % _Alignof(FeedWork) == 0, "a FeedWork lies in an item");
static inline FeedWork *feed_item_work(FeedItem *item)
{
        return (FeedWork *)(void *)item->data;
}
/* Of one class and one commit: events and rows, of which it takes references. */
MUST_USE Status feed_work_new(FeedHub *hub, FeedClass *class, const TailCommit *commit, FeedItem *const *parts,
                              size_t count, FeedItem **ret_item);
/* Without the lock, by who has it busy: goes on with it for a bounded time. *ret_done: to the end. After an error
 * (ERR_NOMEM ...) somebody may go on with it as if nothing had been. */
MUST_USE Status feed_work_run(FeedItem *item, bool *ret_done);
size_t feed_work_free(FeedItem *item); /* what it holds; returns the size of `data` */

/* --- catchup.c --- */
/* The owner's, without the lock: at most one event, after a bounded amount of work. *ret_found false: it is attached,
 * or there is more to read. */
MUST_USE Status catchup_next(RowFeed *feed, Arena *hold, FeedEvent *ret_event, bool *ret_found);
void catchup_free(RowFeed *feed);           /* the owner's, without the lock */
bool catchup_may_read(const RowFeed *feed); /* it has a reader, or can have one of its own */
void catchup_wake(FeedHub *hub);
void catchup_want(RowFeed *feed); /* its owner waits for that */
void catchup_sweep(FeedTimer *timer);

/* --- convoy.c ---
 *
 * When many feeds are behind, one reader takes all of them along, from the place of the one that is furthest back. They
 * are attached to it as others to the present, so a commit costs what it concerns, however many travel; who is further
 * than the commit is passed over. At the end they arrive.
 */
/* One round of its thread; *ret_next_ns: when to look again, INT64_MAX: when somebody waits. */
void convoy_round(FeedHub *hub, int64_t *ret_next_ns, bool *ret_more);
/* Under the lock. */
bool convoy_is_for(const RowFeed *feed); /* it is not to have a reader of its own */
void convoy_wanted(FeedHub *hub);        /* a feed waits to read the log */
void convoy_thread(void *hub);

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
        uint32_t change;   /* in Follower.changes */
        bool plain, slow;
} Candidate;
typedef struct Finding {  /* a class and an event for it, or a row that may be one */
        FeedClass *class; /* counted */
        FeedItem *item;   /* counted */
        size_t number;    /* in order of finding */
} Finding;

typedef struct Follower {
        FeedHub *hub;
        uint8_t number;
        /* --- under the lock --- */
        uint64_t collected; /* commits up to here: who they may concern is known. A feed attaches behind it */
        atomic_uint_fast64_t delivered; /* ... and their events are in queues; written under the lock */
        uint64_t commits;
        int64_t lag_us;
        uint64_t awaited; /* no feed of it is awaited at a position before this */
        bool dropped;     /* a table, in a commit that is not delivered yet */
        /* --- its thread's --- */
        TailReader *reader;
        Arena arena; /* of one slice of a commit */
        RowChanged *changes;
        size_t change_count, change_capacity;
        Candidate *candidates;
        size_t candidate_count, candidate_capacity;
        Finding *findings;
        size_t finding_count, finding_capacity;
        FeedClass **behind; /* classes that read this commit themselves */
        size_t behind_count, behind_capacity;
        int64_t functions_ns; /* used by functions for this commit */
        size_t found_bytes;
} Follower;

typedef struct Convoy {
        /* --- under the lock --- */
        bool on;           /* it may have feeds */
        bool starting;     /* it has no position yet: it begins where the feed furthest behind is */
        bool wanted;       /* somebody waits who was not looked at */
        unsigned failures; /* journeys one after the other that ended with an error */
        RowFeed *first;
        size_t count;
        uint32_t journeys;
        int64_t retry_ns; /* none begins before */
        /* --- its thread's --- */
        uint64_t start;
        int64_t paused_ns; /* it waits since then for those who do not fetch; 0: it does not */
} Convoy;

struct FeedHub {
        Store *store;
        TableCatalog *catalog;
        const TableSource *tables_source;
        const HostOps *host;
        Os *os;
        FeedHubOptions options;
        FeedSource source;
        SystemFeeds *system;
        Thread thread, convoy_thread;
        bool thread_started, convoy_started;

        Mutex wake_mu; /* order 96 in docs/locks.md: what the threads wait for */
        Cond wake, convoy_wake;
        bool woken, convoy_woken, closing; /* GUARDED_BY(wake_mu) */

        Mutex mu;       /* order 78 in docs/locks.md */
        NumMap *tables; /* the store's id -> FeedTable */
        size_t feed_count, attached_count, class_count;
        bool following; /* there are feeds */
        Follower present, past;
        Convoy convoy;
        uint64_t incarnation, incarnation_after; /* the present one, of all positions behind this */
        RowFeedList slow;                        /* have something in their queues, in order of their last fetch */
        RowFeedList wanting;                     /* wait for the convoy */
        RowFeedList lone;                        /* wait until fewer read the log */
        RowFeedList awaiting;                    /* wait until `delivered` comes to a position */
        RowFeedList quiet;                       /* nothing has happened since they gave their places */
        uint64_t quiet_position;                 /* `delivered`, when this list was empty last */
        FeedTimer sweep;                         /* closes readers that nobody uses */
        size_t queued_events, ring_bytes;
        atomic_size_t queued_bytes;          /* of all items */
        size_t reader_count;                 /* of feeds */
        Catchup *reader_first, *reader_last; /* in order of their last use */
        uint64_t matched_events, delivered_events, detached_slow, detached_large, lost, skipped;
        atomic_uint_fast64_t caught_up, worked;
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
        TailWatch *watch;
        int64_t retry_ns; /* not to be tried before */
        unsigned failures;
        atomic_bool failing;
        bool catalog_changed;
};

/* Without the lock. Gives it its table and index; *ret_present: the position of the present. */
MUST_USE Status feed_hub_enter(RowFeed *feed, const FeedSpec *spec, uint64_t *ret_present);
/* Gives back what enter gave. What it returns (or NULL) is to be freed without the lock. */
MUST_USE FeedTable *feed_hub_leave(RowFeed *feed);
void feed_table_free(FeedHub *hub, FeedTable *table);
/* Room for one more of an array, `items` the address of its pointer. */
MUST_USE Status feed_reserve(void *items, size_t size, size_t count, size_t *capacity);
/* Any thread: the hub's thread has something to do. */
void feed_hub_wake(FeedHub *hub);
/* A thread waits until it is woken, or a time; false: the hub is closing. */
bool feed_hub_wait(FeedHub *hub, Cond *wake, bool *woken, int64_t until_ns);
uint64_t feed_hub_incarnation(FeedHub *hub, uint64_t position);
/* --- follower.c --- */
static inline Follower *feed_follower(const RowFeed *feed)
{
        return feed->follower == FOLLOW_PRESENT ? &feed->hub->present : &feed->hub->past;
}
void follower_init(Follower *follower, FeedHub *hub, unsigned number);
void follower_done(Follower *follower);
/* Its thread's, without the lock: some commits. *ret_more: there are more. */
MUST_USE Status follower_read(Follower *follower, bool *ret_more);
/* Under the lock. */
void follower_set_delivered(Follower *follower, uint64_t position);
void follower_detach_all(Follower *follower, uint64_t position); /* who is not as far: they read the log */
void follower_table_dropped(Follower *follower, FeedTable *table, uint64_t position);
/* --- wake.c --- */
/* Fires what is due and calls who is ready; without the lock. *ret_next_ns: when the next timer is due. *ret_called:
 * there was something. */
void feed_wake_round(FeedHub *hub, int64_t *ret_next_ns, bool *ret_called);
void feed_wake_done(FeedHub *hub);

#endif
