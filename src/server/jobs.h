/* jobs.h - what runs now: every query that left its loop's thread or has an open cursor, for the table `jobs`.
 *
 * Queries that are answered at once on their loop are never here, so that they pay nothing. An entry lies in its Job,
 * which adds it when it gets a token in its session and removes it before its query is reset.
 * Threads: any. */
#ifndef SERVER_JOBS_H
#define SERVER_JOBS_H

#include <stdatomic.h>

#include "os/os.h"
#include "query/changes.h"
#include "query/query.h"

typedef struct Jobs Jobs;
typedef struct JobEntry { /* zeroed; the registry's while it is added */
        struct JobEntry *prev, *next;
        uint64_t serial;
        int64_t started_ns;
        Query *query;     /* borrowed, like the texts: until removed */
        FeedCursor *feed; /* of a parked feed, instead of the query */
        const char *user;
        const char *peer;   /* "127.0.0.1:49152" */
        atomic_bool killed; /* through the table: its next answer says so */
        /* It is killed now, for the first time. Under the registry's lock, by any thread: must not block. NULL: nobody
         * needs to know. */
        void (*on_kill)(struct JobEntry *entry);
} JobEntry;

MUST_USE Status jobs_new(Os *os, Jobs **ret_jobs);
/* No entry is left. NULL is fine; returns NULL. */
Jobs *jobs_free(Jobs *jobs);
/* query, user and peer are set. */
void jobs_add(Jobs *jobs, JobEntry *entry);
void jobs_remove(Jobs *jobs, JobEntry *entry);
/* Its query is a parked feed from now on, and may be reset. */
void jobs_park(Jobs *jobs, JobEntry *entry, FeedCursor *feed);
/* HostReports.each_job and kill_job. The registry is locked while `each` is called: it adds and removes nothing.
 * Between some hundreds of them others have their turn, so that listing a hundred thousand feeds stops no loop. */
MUST_USE Status jobs_each(Jobs *jobs, Status (*each)(void *ctx, const HostJob *job), void *ctx);
bool jobs_kill(Jobs *jobs, Bytes id);

#endif
