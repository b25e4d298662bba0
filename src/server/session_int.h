/* session_int.h - what session.c (input) and job.c (queries and answers) share. */
#ifndef SERVER_SESSION_INT_H
#define SERVER_SESSION_INT_H

#include <stdatomic.h>

#include "base/map.h"
#include "network/conn.h"
#include "server/answer.h"
#include "server/session.h"

#define JOB_FREE_MAX       32                 /* recycled jobs of a loop */
#define JOB_AHEAD_MAX      16                 /* batches of a loop that nobody has asked for yet */
#define JOB_OUT_KEEP_BYTES ((size_t)16 << 10) /* a recycled job keeps an output buffer up to this */

typedef enum JobKind {
        JOB_QUERY,
        JOB_WAIT,     /* NOREPLY_WAIT: only a place in the order */
        JOB_PASSWORD, /* checks a V0_4 authorization key */
} JobKind;
typedef enum JobState {
        JOB_IDLE,    /* an open stream between two batches, or being prepared */
        JOB_RUNNING, /* with another thread, or waiting for the peer to read (session->deferred) */
        JOB_PARKED,  /* its answer waits for the log */
        JOB_READY,   /* read ahead: the next batch waits for its CONTINUE */
} JobState;

struct Job {
        JobKind kind;
        JobState state;
        SessionGroup *group;
        Session *session; /* counted by session->job_count while submitted */
        uint64_t token;
        bool noreply, registered, ordered;
        JobEntry entry;            /* in SessionWorld.jobs while registered */
        bool away;                 /* with another thread */
        bool stopped;              /* STOP has come: the end of the running batch is the end */
        bool shutdown;             /* cancelled because the server ends */
        unsigned continues, stops; /* requests that came while it was running */
        bool continued;            /* a CONTINUE has come */
        bool ahead;                /* what runs, or is ready, has not been asked for: no request is in flight for it */
        /* --- whoever runs it --- */
        bool eager; /* runs also while the peer does not read */
        Query *query;
        Buf out;
        QueryAnswer answer;
        StatusCode error;
        uint64_t position;
        bool deferred; /* not run: the peer does not read */
        bool broken;   /* not even an error could be written */
        bool password_right;
        /* --- lists --- */
        Job *next;                      /* free, or deferred */
        Job *prev_job, *next_job;       /* of the session */
        Job *prev_order, *next_order;   /* noreply queries and waits, in the order they came */
        Job *prev_parked, *next_parked; /* by position */
        PoolTask pool_task;
        NetTask net_task;
};

struct SessionGroup {
        const SessionWorld *world;
        const GroupOps *ops;
        void *ctx;
        Job *free;
        unsigned free_count;
        Job *parked_first, *parked_last;
        size_t session_count, away_count; /* jobs with another thread */
        unsigned ahead_count;
        /* --- any thread reads, the loop writes --- */
        atomic_uint_fast64_t query_count;                /* STARTs so far */
        atomic_uint_fast64_t client_count, active_count; /* logged in; with a query on another thread */
};
/* The loop is the only writer, so that counting needs no locked instruction. */
static inline void group_count(atomic_uint_fast64_t *counter, int64_t by)
{
        atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + (uint64_t)by,
                              memory_order_relaxed);
}

struct Session {
        SessionGroup *group;
        const SessionOps *ops;
        void *conn;
        Handshake *handshake;       /* NULL once logged in */
        char *user;                 /* who logged in */
        char peer[80];              /* once logged in */
        QueryConnection connection; /* what its queries share */
        unsigned in_flight, max_in_flight;
        unsigned away_count;            /* jobs with another thread: the session lives as long */
        bool gone;                      /* the connection is */
        bool closing;                   /* no more input: finish() or abort() was called */
        bool stopping;                  /* no more input: session_stop */
        bool checking;                  /* a password is being checked */
        atomic_bool blocked;            /* the peer does not read: start nothing that answers */
        uint8_t head[FRAME_HEAD_BYTES]; /* of a frame that has come in part */
        uint8_t head_size;
        Job *partial; /* whose text is coming in */
        uint8_t *partial_data;
        uint32_t partial_size, partial_filled;
        uint64_t skip;  /* bytes of a refused frame still to come */
        NumMap *tokens; /* running and open queries: Job by token; NULL until there is one */
        Job *jobs;      /* all of them */
        size_t stream_count;
        Job *order_first, *order_last;
        Job *deferred;
};

/* --- job.c --- */
MUST_USE Status job_acquire(Session *session, JobKind kind, uint64_t token, Job **ret_job);
void job_release(Job *job);             /* ends the query; the job is not used any more */
MUST_USE Status job_register(Job *job); /* known by its token from now on */
void job_submit(Job *job);
void job_run_here(Job *job); /* a quick START: to its answer, on this thread */
void job_park_remove(Job *job);
void job_order_add(Job *job);
void job_stop(Job *job); /* STOP */
void job_continue(Job *job);
Job *session_find(const Session *session, uint64_t token);

/* --- session.c --- */
void session_check_output(Session *session); /* after appending: too much pending? */
void session_broken(Session *session);       /* out of memory for an answer: close */
void session_maybe_stopped(Session *session);
void session_free_if_unused(Session *session);
void session_password_checked(Session *session, bool right);
void session_give_answer(Session *session, Status st); /* st: of appending an answer */

#endif
