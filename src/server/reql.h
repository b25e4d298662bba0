/* reql.h - the ReQL protocol on real connections: sessions on the loops, their work on the pool, their answers after
 * the log.
 *
 * One ReqlLoop for each NetLoop. Threads: reql_loop_new, _open, _close and _free from the server's thread; the rest
 * runs on the loop. */
#ifndef SERVER_REQL_H
#define SERVER_REQL_H

#include <stdatomic.h>

#include "network/conn.h"
#include "server/session.h"
#include "storage/store.h"

typedef struct ReqlLoop ReqlLoop;
typedef struct ReqlWorld { /* borrowed, lives as long as the loops */
        SessionWorld session;
        Pool *pool;
        Store *store;
        atomic_uint log_events; /* how often the store's watch has called */
} ReqlWorld;

extern const ConnOps reql_conn_ops; /* the listener's ctx is not used: sessions find their loop's */

/* Sets itself as the shared of `loop`, which is not running yet. */
MUST_USE Status reql_loop_new(NetLoop *loop, ReqlLoop **ret_reql);
/* The loop runs; the world is complete. */
MUST_USE Status reql_loop_open(ReqlLoop *reql, ReqlWorld *world);
/* From the store's watch (a thread of the log): something has become durable or the log has failed. Never blocks. */
void reql_loop_log_event(ReqlLoop *reql);
/* Every session takes no more input and ends when it has answered. */
void reql_loop_stop(ReqlLoop *reql);
/* Everything in flight is cancelled. */
void reql_loop_cancel(ReqlLoop *reql);
/* Every connection is closed now. */
void reql_loop_abort(ReqlLoop *reql);
/* Adds its sessions' figures. Any thread, between reql_loop_open and reql_loop_close. */
void reql_loop_stats(const ReqlLoop *reql, HostStats *stats);
/* Sessions and jobs that are left. */
size_t reql_loop_busy(ReqlLoop *reql);
/* busy must be 0; the loop still runs. */
void reql_loop_close(ReqlLoop *reql);
/* After the loop has been freed. NULL is fine; returns NULL. */
ReqlLoop *reql_loop_free(ReqlLoop *reql);

#endif
