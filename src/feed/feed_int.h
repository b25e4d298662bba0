/* feed_int.h - inside feed/: what every Feed begins with, and how it waits and is woken.
 *
 * There are feeds of ordinary tables (feed.c, from the log) and of system tables (system_feed.c). FeedSource's
 * functions go through the table of functions that a Feed begins with.
 *
 * Waiting: each Feed has a FeedWaiter. Whatever decides whether a feed has something is changed and looked at under the
 * hub's lock (feed_hub_lock), so no wake is lost:
 *
 *      owner   feed_waiter_watch: locked { something there? -> call ready now : arm }
 *      source  locked { make it be there; feed_waiter_signal } -> the hub's thread calls ready, without the lock
 *
 * FeedHub.mu is order 78 in docs/locks.md: under it nothing is read from files or tables, and no function is evaluated.
 */
#ifndef FEED_FEED_INT_H
#define FEED_FEED_INT_H

#include "feed/hub.h"
#include "os/thread.h"

typedef struct FeedOps {
        void (*close)(Feed *feed);
        Status (*view)(Feed *feed, TableView **ret_view) MUST_USE;
        Status (*next)(Feed *feed, Arena *hold, FeedEvent *ret_event, bool *ret_found) MUST_USE;
        bool (*is_long)(Feed *feed);
        void (*watch)(Feed *feed, void (*ready)(void *ctx), void *ctx, int64_t deadline_ns, uint64_t position);
        FeedPlace (*place)(Feed *feed);
        size_t (*memory_bytes)(const Feed *feed);
        void (*set_batch)(Feed *feed, void (*batch_ready)(void *batch_ctx), void *batch_ctx);
} FeedOps;
/* The beginning of every struct of a feed; a zeroed FeedTimer and FeedWaiter are ones that are not in use. */
struct Feed {
        const FeedOps *ops;
};

/* --- the hub's lock --- */
void feed_hub_lock(FeedHub *hub);
void feed_hub_unlock(FeedHub *hub);
int64_t feed_hub_now_ns(const FeedHub *hub);

/* --- timers: fire(timer) is called once by the hub's thread, without the lock --- */
typedef struct FeedTimer FeedTimer;
struct FeedTimer {
        int64_t due_ns;
        uint32_t place; /* in the heap, from 1; 0: not set */
        void (*fire)(FeedTimer *timer);
};
/* All under the hub's lock. ERR_NOMEM: it is as it was. */
MUST_USE Status feed_timer_set(FeedHub *hub, FeedTimer *timer, int64_t due_ns); /* set again: another time */
/* After it returns fire() is neither running nor called, unless it is called from inside of fire(). May give the lock
 * back meanwhile. */
void feed_timer_cancel(FeedHub *hub, FeedTimer *timer);

/* --- waiting --- */
typedef struct FeedWaiter FeedWaiter;
struct FeedWaiter {
        FeedTimer timer;          /* the deadline; first, so that a timer of this kind is its waiter */
        uint32_t call;            /* its place among the calls that are being made, from 1; 0: none */
        bool listed;              /* it is signalled, and will be called */
        void (*ready)(void *ctx); /* NULL: nobody waits */
        void *ctx;
        void (*batch_ready)(void *batch_ctx);
        void *batch_ctx;
        FeedWaiter *next, *previous; /* of those that are signalled */
};
/* All under the hub's lock. */
/* Arms it; one that cannot have its deadline for want of memory is signalled at once. `ready` NULL: as cancel. */
void feed_waiter_watch(FeedHub *hub, FeedWaiter *waiter, void (*ready)(void *ctx), void *ctx, int64_t deadline_ns);
/* If somebody waits: ready() is called soon, by the hub's thread. */
void feed_waiter_signal(FeedHub *hub, FeedWaiter *waiter);
/* If somebody waits: no longer than until then. */
void feed_waiter_due(FeedHub *hub, FeedWaiter *waiter, int64_t deadline_ns);
/* After it returns ready() is neither running nor called, nor is batch_ready on behalf of this one; unless it is called
 * from inside of one of those, by the hub's thread. May give the lock back meanwhile. */
void feed_waiter_cancel(FeedHub *hub, FeedWaiter *waiter);

#endif
