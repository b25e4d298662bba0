/* session.h - one client of the ReQL protocol: handshake, frames, queries in flight, open streams. Bytes in, bytes out:
 * it does no I/O and reads no clock, so that tests and the fuzzer drive it by hand.
 *
 * A SessionGroup is what the sessions of one event loop share: recycled jobs, and answers that wait for the log.
 *
 *      session_feed -> START: quick -----------------------------> answer in the output
 *                            long, CONTINUE -> submit -> job_run (any thread) -> job_done -> answer
 *                            hard write -----> parked by position ----> session_group_durable -> answer
 *                            CONTINUE of a feed that has nothing: waits -> GroupOps.post -> answer
 *
 * Threads: everything on the group's thread, except job_run. */
#ifndef SERVER_SESSION_H
#define SERVER_SESSION_H

#include "network/loop.h"
#include "query/query.h"
#include "server/handshake.h"
#include "server/jobs.h"
#include "server/pool.h"

#define FRAME_MAX_BYTES       134217727u /* a longer one is answered with an error and its body dropped ... */
#define FRAME_SKIP_MAX_BYTES  (1u << 30) /* ... beyond this it is taken for garbage and the connection closed */
#define SESSION_IN_FLIGHT_MAX 1024       /* queries of one connection, but feeds that wait; more are not read */
#define SESSION_STREAMS_MAX   65536      /* open streams of one connection, feeds among them */

typedef struct Session Session;
typedef struct SessionGroup SessionGroup;
typedef struct Job Job;

/* The same for all loops; borrowed, does not change. */
typedef struct SessionWorld {
        Os *os;
        const QueryWorld *query;
        const SessionUsers *users;
        const char *server_id;
        _Atomic(const char *) server_name; /* may be changed at any moment (server_config) */
        Jobs *jobs;                        /* NULL: nobody asks what runs */
} SessionWorld;

/* What a group needs of its loop. */
typedef struct GroupOps {
        /* Runs job_run(job) on another thread and then job_done(job) on the group's; never before it returns. */
        void (*submit)(void *ctx, Job *job);
        /* Every log position up to this one is durable. */
        uint64_t (*durable)(void *ctx);
        /* The log's error if it has failed. */
        Status (*log_error)(void *ctx);
        /* An answer waits for `position`: make it durable soon, and call session_group_durable() when it is, or the log
         * has failed. */
        void (*want_durable)(void *ctx, uint64_t position);
        /* Calls task->run(task) on the group's thread; never before it returns. Any thread; never blocks. */
        void (*post)(void *ctx, NetTask *task);
} GroupOps;

/* What a session needs of its connection. */
typedef struct SessionOps {
        Buf *(*out)(void *conn);           /* where to append output */
        size_t (*out_pending)(void *conn); /* bytes that the peer has not taken */
        /* Output was appended outside session_feed, or input that was not taken may be offered again. */
        void (*wake)(void *conn);
        void (*want_drained)(void *conn);               /* call session_drained() when little output is pending */
        void (*finish)(void *conn, uint64_t linger_ms); /* close once the output is sent (see conn_finish) */
        void (*abort)(void *conn);                      /* close now */
        void (*logged_in)(void *conn);                  /* the handshake is over */
        const char *(*peer)(void *conn, char *out, size_t size);
} SessionOps;

MUST_USE Status session_group_new(const SessionWorld *world, const GroupOps *ops, void *ctx, SessionGroup **ret_group);
/* No session or job may be left. NULL is fine; returns NULL. */
SessionGroup *session_group_free(SessionGroup *group);
/* Adds this group's figures. Any thread. */
void session_group_stats(const SessionGroup *group, HostStats *stats);
/* Sends what has become durable; if the log has failed, the rest as errors. */
void session_group_durable(SessionGroup *group);
/* Are there answers that wait for the log? */
bool session_group_waits(const SessionGroup *group);
/* The loop has looked at all its connections since the last call: feeds may take a turn again (see job_feed.c). */
void session_group_turn_over(SessionGroup *group);
/* Sessions, and jobs that are with another thread: both 0 before session_group_free. */
size_t session_group_busy(const SessionGroup *group);

MUST_USE Status session_new(SessionGroup *group, const SessionOps *ops, void *conn, Session **ret_session);
/* The connection is gone: cancels and frees everything; what runs on another thread is freed when it comes back. */
void session_end(Session *session);
/* Takes input; returns how much. Less than `size`: busy; the rest again after wake(). */
size_t session_feed(Session *session, const uint8_t *data, size_t size);
/* The body of a long frame can be read straight to where it belongs: the space for it, 0 if there is none. */
size_t session_space(Session *session, uint8_t **ret_data);
void session_filled(Session *session, size_t size);
void session_drained(Session *session);
void session_timed_out(Session *session); /* the handshake takes too long */
/* Takes no more input; finishes the connection when everything in flight is answered. */
void session_stop(Session *session);
/* Ends what is in flight with "Server is shutting down." */
void session_cancel_all(Session *session);
bool session_is_logged_in(const Session *session);
size_t session_stream_count(const Session *session);

/* --- jobs, for GroupOps.submit: embed nothing, these are the loop's to use while a job is submitted --- */
PoolTask *job_pool_task(Job *job);
Job *job_of_pool_task(PoolTask *task);
NetTask *job_net_task(Job *job);
Job *job_of_net_task(NetTask *task);
void *job_ctx(const Job *job); /* of the group */
void job_run(Job *job);        /* any thread */
void job_done(Job *job);

#endif
