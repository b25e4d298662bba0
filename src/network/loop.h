/* loop.h - event loops, one per core, each on a thread of its own. A connection lives on one loop for all its life and
 * is touched by that thread alone, so that nothing here needs a lock; others reach a loop through net_loop_post().
 *
 * Threads: what says "loop thread" is called from callbacks of that loop only. */
#ifndef NETWORK_LOOP_H
#define NETWORK_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/status.h"

typedef struct NetLoop NetLoop;

/* A message to a loop; owned by whoever embeds it, who keeps it until `run` is called (once per post). */
typedef struct NetTask NetTask;
struct NetTask {
        void (*run)(NetTask *task); /* loop thread */
        NetTask *next;              /* the loop's, while posted */
};

/* Not running yet. The caller owns *ret_loop. ERR_NOMEM, ERR_IO. */
MUST_USE Status net_loop_new(unsigned index, NetLoop **ret_loop);
MUST_USE Status net_loop_start(NetLoop *loop);
/* Runs `task` on the loop's thread, in the order of posting. Any thread; never blocks, never fails, takes no lock. */
void net_loop_post(NetLoop *loop, NetTask *task);
/* Runs what(arg) on the loop's thread and waits for it. Not from a loop's thread; the loop must be running. */
void net_loop_call(NetLoop *loop, void (*what)(void *arg), void *arg);
/* Closes every connection, waits until their protocols have ended, and ends the thread. NULL and a loop never started
 * are fine. */
NetLoop *net_loop_free(NetLoop *loop);

uv_loop_t *net_loop_uv(NetLoop *loop);
unsigned net_loop_index(const NetLoop *loop);
/* What the protocols of this loop share; set before net_loop_start. `before_wait` (may be NULL) is called each time the
 * loop is about to wait for events: the place to do once what many events asked for. */
void net_loop_set_shared(NetLoop *loop, void *shared, void (*before_wait)(void *shared));
void *net_loop_shared(const NetLoop *loop);
size_t net_loop_conn_count(const NetLoop *loop); /* loop thread */

#endif
