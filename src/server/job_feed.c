/* job_feed.c - changefeeds of a session: their CONTINUE waits, and no thread and no query with it.
 *
 *   first batch -> feed_settle: parked if it can be (query/changes.h) -> IDLE
 *
 *            CONTINUE              nothing there
 *   IDLE ------------> feed_fetch --------------> WAITING ---- the source's ready(): posted ---.
 *     ^                    |  ^                      |                                         v
 *     '------ rows --------'  '---- its turn, a place in the pool, the peer reads ---------- DUE
 *
 *   STOP, the connection's end, the server's, and killing by the table `jobs` find it in whichever state it is.
 *
 * A parked feed whose next batch is in memory is answered on the loop; everything else goes through the pool, few at a
 * time. Nothing is made for a peer that does not read: its feed waits unwatched, and its source puts what comes
 * meanwhile nowhere (feed.h).
 *
 * server I7: a released job's memory stays until everything that was posted for it has come (Job.posted, Job.arrived):
 * a source may call ready() from its thread at the very moment when the loop gives the feed up. */
#include "server/session_int.h"

#include <assert.h>
#include <stddef.h>

#include "base/mem.h"

#define JOB_OF(field, p) ((Job *)((char *)(p)-offsetof(Job, field)))

/* --- parking --- */
void feed_settle(Job *job)
{
        SessionGroup *group = job->group;
        if (job->kind != JOB_QUERY || job->deferred)
                return;
        job->feed = job->is_feed;
        if (!job->parked)
                return;
        job->cursor = take(job->parked);
        if (job->registered && group->world->jobs)
                jobs_park(group->world->jobs, &job->entry, job->cursor);
        query_reset(job->query);
        if (group->spare_count < ELEMENTS(group->spare))
                group->spare[group->spare_count++] = job->query;
        else
                query_free(job->query);
        job->query = NULL;
}

/* --- waiting --- */
/* One of the tasks that others posted for this job. True: it was released meanwhile. */
static bool arrived(Job *job)
{
        job->arrived++;
        if (job->session)
                return false;
        if (atomic_load(&job->posted) == job->arrived) {
                job->group->lingering_count--;
                job_free(job);
        }
        return true;
}

static void on_ready(NetTask *task)
{
        Job *job = JOB_OF(net_task, task);
        if (arrived(job))
                return;
        Session *session = job->session;
        if (job->state == JOB_WAITING)
                feed_due(job);
        session->ops->wake(session->conn);
}

/* From any thread, also from inside `watch`. */
static void ready(void *ctx)
{
        Job *job = ctx;
        const SessionGroup *group = job->group;
        atomic_fetch_add(&job->posted, 1);
        group->ops->post(group->ctx, &job->net_task); /* the job may be gone from here on */
}

static void watch(Job *job, void (*ready)(void *ctx))
{
        /* No batch_ready: what is posted to a loop wakes it once, however much it is. */
        if (job->cursor)
                feed_cursor_watch(job->cursor, ready, job, NULL, NULL);
        else
                query_watch(job->query, ready, job, NULL, NULL);
}

void feed_unwatch(Job *job)
{
        watch(job, NULL);
}

static void wait_for_more(Job *job)
{
        job->session->in_flight--; /* counted again when it runs */
        job->state = JOB_WAITING;
        job->net_task.run = on_ready;
        watch(job, ready);
}

/* --- fetching --- */
static bool has_nothing(const Job *job)
{
        return job->empty && job->error == ERR_NONE && job->answer == ANSWER_PARTIAL && !job->broken;
}

/* Nobody may wait any more: its CONTINUE is answered now. */
static bool must_end(Job *job)
{
        job->shutdown |= job->session->stopping;
        return job->stopped || job->shutdown || (job->registered && atomic_load(&job->entry.killed));
}

static void run_here(Job *job)
{
        Session *session = job->session;
        Buf *out = session->ops->out(session->conn);
        size_t start = out->size;
        job_run_batch(job, out);
        bool nothing = has_nothing(job);
        if (nothing)
                out->size = start;
        if (nothing && !must_end(job)) {
                wait_for_more(job);
                return;
        }
        if (nothing)
                job->error = ERR_CANCELLED;
        job_deliver(job, job->error != ERR_CANCELLED);
}

static void put_off(Job *job, JobList *list)
{
        job->state = JOB_DUE;
        job_list_add(list, list->last, job);
}

void feed_fetch(Job *job)
{
        Session *session = job->session;
        SessionGroup *group = job->group;
        bool here = job->cursor && !feed_cursor_is_long(job->cursor);
        if (atomic_load_explicit(&session->blocked, memory_order_relaxed)) {
                put_off(job, &session->deferred);
        } else if (!here && group->feeds_away >= FEED_AWAY_MAX) {
                put_off(job, &group->long_due);
        } else {
                session->in_flight++;
                job->state = JOB_RUNNING;
                if (here) {
                        run_here(job);
                        return;
                }
                job->feed_away = true;
                group->feeds_away++;
                job_submit(job);
        }
}

void feed_gave_place(Job *job)
{
        SessionGroup *group = job->group;
        if (!job->feed_away)
                return;
        job->feed_away = false;
        group->feeds_away--;
        /* The first one does not take the place if its peer does not read. */
        while (group->long_due.first && group->feeds_away < FEED_AWAY_MAX) {
                Job *next = group->long_due.first;
                Session *session = next->session;
                job_list_remove(next);
                feed_fetch(next);
                session->ops->wake(session->conn);
        }
}

bool feed_waits_on(Job *job)
{
        bool unrun = job->deferred;
        job->deferred = false;
        if (!unrun && !has_nothing(job))
                return false;
        buf_clear(&job->out);
        if (must_end(job)) {
                job->error = ERR_CANCELLED;
                return false;
        }
        if (unrun) {
                job->session->in_flight--;
                feed_due(job);
        } else {
                wait_for_more(job);
        }
        return true;
}

/* --- turns: other connections of the loop, too, want to be looked at --- */
static void take_turn(NetTask *task);

static void want_turn(SessionGroup *group)
{
        if (group->turn_posted)
                return;
        group->turn_posted = true;
        group->turn_task.run = take_turn;
        group->ops->post(group->ctx, &group->turn_task);
}

static void take_turn(NetTask *task)
{
        SessionGroup *group = (SessionGroup *)((char *)task - offsetof(SessionGroup, turn_task));
        group->turn_posted = false;
        for (group->turn_count = 0; group->due.first && group->turn_count < FEED_TURN_MAX; group->turn_count++) {
                Job *job = group->due.first;
                Session *session = job->session;
                job_list_remove(job);
                feed_fetch(job);
                session->ops->wake(session->conn);
        }
        if (group->due.first)
                want_turn(group);
}

void session_group_turn_over(SessionGroup *group)
{
        group->turn_count = 0;
}

void feed_due(Job *job)
{
        SessionGroup *group = job->group;
        job->state = JOB_DUE;
        if (!group->due.first && group->turn_count < FEED_TURN_MAX) {
                group->turn_count++;
                feed_fetch(job);
        } else {
                put_off(job, &group->due);
                want_turn(group);
        }
}

/* --- ends --- */
void feed_end_wait(Job *job)
{
        if (job->state == JOB_WAITING)
                feed_unwatch(job);
        job_list_remove(job);
        job->session->in_flight++;
        job->state = JOB_RUNNING;
        job->error = ERR_CANCELLED;
        job_deliver(job, false);
}

static void on_killed(NetTask *task)
{
        Job *job = JOB_OF(kill_task, task);
        if (arrived(job) || (job->state != JOB_WAITING && job->state != JOB_DUE))
                return;
        Session *session = job->session;
        feed_end_wait(job);
        session->ops->wake(session->conn);
}

void job_entry_killed(JobEntry *entry)
{
        Job *job = JOB_OF(entry, entry);
        const SessionGroup *group = job->group;
        atomic_fetch_add(&job->posted, 1);
        job->kill_task.run = on_killed;
        group->ops->post(group->ctx, &job->kill_task);
}
