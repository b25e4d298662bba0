/* session_int.h - what session.c (input), job.c (queries and answers) and job_feed.c (feeds that wait) share. */
#ifndef SERVER_SESSION_INT_H
#define SERVER_SESSION_INT_H

#include <stdatomic.h>

#include "base/map.h"
#include "network/conn.h"
#include "query/changes.h"
#include "server/answer.h"
#include "server/session.h"

#define JOB_FREE_MAX       32                 /* recycled jobs of a loop, and queries */
#define JOB_AHEAD_MAX      16                 /* batches of a loop that nobody has asked for yet */
#define JOB_OUT_KEEP_BYTES ((size_t)16 << 10) /* a recycled job keeps an output buffer up to this */
#define FEED_TURN_MAX      256                /* feeds that a loop answers before it looks at its connections again */
#define FEED_AWAY_MAX      4                  /* feeds of a loop with the pool: others want it, too */

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
        JOB_WAITING, /* a feed that has nothing, and somebody asked: its source tells when */
        JOB_DUE,     /* a feed that may have something: waits for its turn, a place in the pool, or its peer to read */
} JobState;

/* A job is on one list at most. */
typedef struct JobList {
        Job *first, *last;
} JobList;

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
        bool feed;                 /* an open changefeed: what it has not got is waited for */
        bool feed_away;            /* counted in group->feeds_away */
        FeedCursor *cursor;        /* a parked feed: then there is no query */
        /* What others have posted to the loop and what of it has come: a released job is kept until it all has. */
        atomic_uint posted;
        unsigned arrived;
        /* --- whoever runs it --- */
        bool eager;          /* runs also while the peer does not read */
        Query *query;        /* NULL: a parked feed, or a wait */
        FeedCursor *parked;  /* just made of the query: `cursor` once the loop knows */
        bool is_feed, empty; /* of the last batch: more may come; it has no row */
        Buf out;
        QueryAnswer answer;
        StatusCode error;
        uint64_t position;
        bool deferred; /* not run: the peer does not read */
        bool broken;   /* not even an error could be written */
        bool password_right;
        /* --- lists --- */
        Job *next;                    /* free */
        Job *prev_job, *next_job;     /* of the session */
        Job *prev_order, *next_order; /* noreply queries and waits, in the order they came */
        JobList *list;                /* what it waits for: the log, its peer, its turn ... */
        Job *prev_listed, *next_listed;
        PoolTask pool_task;
        NetTask net_task; /* comes back from the pool; or the feed is ready */
        NetTask kill_task;
};

struct SessionGroup {
        const SessionWorld *world;
        const GroupOps *ops;
        void *ctx;
        Job *free;
        unsigned free_count;
        Query *spare[JOB_FREE_MAX]; /* of jobs that became parked feeds */
        unsigned spare_count;
        JobList parked;                   /* by position */
        size_t session_count, away_count; /* jobs with another thread */
        size_t lingering_count;           /* released jobs that something is still posted for */
        unsigned ahead_count;
        JobList due;      /* feeds that wait for their turn on this loop ... */
        JobList long_due; /* ... and for a place in the pool */
        unsigned turn_count, feeds_away;
        bool turn_posted;
        NetTask turn_task;
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
        JobList deferred; /* until the peer reads */
};

/* --- job.c --- */
MUST_USE Status job_acquire(Session *session, JobKind kind, uint64_t token, Job **ret_job);
void job_release(Job *job);             /* ends the query; the job is not used any more */
MUST_USE Status job_register(Job *job); /* known by its token from now on */
void job_submit(Job *job);
void job_run_here(Job *job); /* a quick START: to its answer, on this thread */
void job_order_add(Job *job);
void job_stop(Job *job); /* STOP */
void job_continue(Job *job);
void job_cancel(Job *job); /* soon; while another thread runs it, too */
/* Runs it to its next batch. job->broken: not even an error could be appended. */
void job_run_batch(Job *job, Buf *out);
/* Its request is over: the answer, if it wants one, is in job->out (or, `answered`, already in the output). */
void job_deliver(Job *job, bool answered);
void job_free(Job *job); /* a released one that nothing is posted for */
Job *session_find(const Session *session, uint64_t token);
void job_list_add(JobList *list, Job *after, Job *job); /* after NULL: first */
void job_list_remove(Job *job);                         /* on none: nothing */

/* --- job_feed.c --- */
/* What the last batch made of it: a feed, a parked feed. Loop thread, before the batch is delivered. */
void feed_settle(Job *job);
/* Something asks a feed, and nothing else does yet: answers with what there is, or waits. */
void feed_fetch(Job *job);
/* As feed_fetch, when it is its turn. */
void feed_due(Job *job);
/* A batch that was asked for has come back from the pool. False: it is to be delivered. */
bool feed_waits_on(Job *job);
void feed_gave_place(Job *job); /* it is back: another one may go to the pool */
void feed_end_wait(Job *job);   /* of a feed in WAITING or DUE: its CONTINUE gets the end, and it is released */
void feed_unwatch(Job *job);
void job_entry_killed(JobEntry *entry); /* JobEntry.on_kill */

/* --- session.c --- */
void session_check_output(Session *session); /* after appending: too much pending? */
void session_broken(Session *session);       /* out of memory for an answer: close */
void session_maybe_stopped(Session *session);
void session_free_if_unused(Session *session);
void session_password_checked(Session *session, bool right);
void session_give_answer(Session *session, Status st); /* st: of appending an answer */

#endif
