/* job.c - queries in flight: running, parked until durable, delivered, open streams. See session.h and README.md.
 *
 *   acquire -> START quick: run here ------------------------------> deliver -> release
 *              START long --> RUNNING --job_done--> [PARKED] ------> deliver -> IDLE (more to come) or release
 *              CONTINUE: IDLE -> RUNNING        STOP: IDLE -> release; RUNNING: cancelled, released when it comes back
 *              after a batch that a CONTINUE asked for: read ahead, RUNNING --job_done--> READY --CONTINUE--> deliver
 *              a changefeed: job_feed.c
 *
 * server I1: an answer is in the output only if everything the query wrote hard is durable (job_settle).
 * server I2: a job that is with another thread is touched here only by job_cancel and the fields above "whoever runs
 * it". */
#include "server/session_int.h"

#include <assert.h>
#include <inttypes.h>

#include "base/mem.h"

static const char end_of_stream[] = "{\"t\":2,\"r\":[],\"n\":[]}";

/* --- lists --- */
void job_list_add(JobList *list, Job *after, Job *job)
{
        assert(!job->list);
        job->list = list;
        job->prev_listed = after;
        job->next_listed = after ? after->next_listed : list->first;
        if (after)
                after->next_listed = job;
        else
                list->first = job;
        if (job->next_listed)
                job->next_listed->prev_listed = job;
        else
                list->last = job;
}

void job_list_remove(Job *job)
{
        if (!job->list)
                return;
        if (job->prev_listed)
                job->prev_listed->next_listed = job->next_listed;
        else
                job->list->first = job->next_listed;
        if (job->next_listed)
                job->next_listed->prev_listed = job->prev_listed;
        else
                job->list->last = job->prev_listed;
        job->list = NULL;
}

/* --- making and recycling --- */
static Status take_query(Job *job, const char *user)
{
        SessionGroup *group = job->group;
        if (!job->query && group->spare_count)
                job->query = group->spare[--group->spare_count];
        if (likely(job->query && strcmp(query_user(job->query), user) == 0)) /* a query knows its user */
                return ST_OK;
        job->query = query_free(job->query);
        return query_new(group->world->query, user, &job->query);
}

Status job_acquire(Session *session, JobKind kind, uint64_t token, Job **ret_job)
{
        SessionGroup *group = session->group;
        Job *job = group->free;
        if (likely(job != NULL)) {
                group->free = job->next;
                group->free_count--;
        } else {
                job = mem_zalloc(sizeof(*job));
                if (!job)
                        return status_nomem();
                job->group = group;
                buf_init(&job->out, CONN_OUT_MAX_BYTES);
        }
        if (kind == JOB_QUERY) {
                Status st = take_query(job, session->user);
                if (st) {
                        job_free(job);
                        return st;
                }
                query_set_connection(job->query, &session->connection);
        }
        job->kind = kind;
        job->state = JOB_IDLE;
        job->session = session;
        job->token = token;
        job->noreply = job->registered = job->ordered = job->stopped = job->shutdown = false;
        job->deferred = job->broken = job->continued = job->ahead = job->feed = job->feed_away = false;
        job->continues = job->stops = 0;
        job->error = ERR_NONE;
        job->position = 0;
        job->arrived = 0;
        atomic_store_explicit(&job->posted, 0, memory_order_relaxed);
        job->prev_job = NULL;
        job->next_job = session->jobs;
        if (session->jobs)
                session->jobs->prev_job = job;
        session->jobs = job;
        *ret_job = job;
        return ST_OK;
}

static void order_remove(Job *job);

/* Its batch has been asked for, or is not wanted. */
static void ahead_over(Job *job)
{
        job->group->ahead_count -= job->ahead;
        job->ahead = false;
}

void job_free(Job *job)
{
        SessionGroup *group = job->group;
        if (group->free_count >= JOB_FREE_MAX) {
                query_free(job->query);
                buf_done(&job->out);
                mem_free(job);
                return;
        }
        if (job->out.capacity > JOB_OUT_KEEP_BYTES)
                buf_done(&job->out);
        buf_clear(&job->out);
        job->next = group->free;
        group->free = job;
        group->free_count++;
}

void job_release(Job *job)
{
        Session *session = job->session;
        SessionGroup *group = job->group;
        ahead_over(job);
        job_list_remove(job);
        if (job->ordered)
                order_remove(job);
        if (job->state == JOB_WAITING)
                feed_unwatch(job);
        if (job->registered) {
                if (group->world->jobs)
                        jobs_remove(group->world->jobs, &job->entry);
                nummap_remove(session->tokens, job->token);
                session->stream_count--;
        }
        if (job->prev_job)
                job->prev_job->next_job = job->next_job;
        else
                session->jobs = job->next_job;
        if (job->next_job)
                job->next_job->prev_job = job->prev_job;
        job->session = NULL;
        job->cursor = feed_cursor_free(job->cursor);
        job->parked = feed_cursor_free(job->parked);
        if (job->query)
                query_reset(job->query);
        if (unlikely(atomic_load(&job->posted) != job->arrived))
                group->lingering_count++; /* nothing new will be posted; the last to come frees it */
        else
                job_free(job);
}

Job *session_find(const Session *session, uint64_t token)
{
        return session->stream_count ? nummap_get(session->tokens, token) : NULL;
}

Status job_register(Job *job)
{
        Session *session = job->session;
        if (session->stream_count >= SESSION_STREAMS_MAX)
                return status_new(ERR_RESOURCE, "This connection has %d open cursors, which is the maximum.",
                                  SESSION_STREAMS_MAX);
        if (!session->tokens)
                TRY(nummap_new(&session->tokens));
        TRY(nummap_put(session->tokens, job->token, job, NULL));
        job->registered = true;
        session->stream_count++;
        if (job->group->world->jobs) {
                job->entry.query = job->query;
                job->entry.feed = NULL;
                job->entry.user = session->user;
                job->entry.peer = session->peer;
                job->entry.on_kill = job_entry_killed;
                jobs_add(job->group->world->jobs, &job->entry);
        }
        return ST_OK;
}

/* --- the order of noreply queries and those who wait for them --- */
void job_order_add(Job *job)
{
        Session *session = job->session;
        job->ordered = true;
        job->next_order = NULL;
        job->prev_order = session->order_last;
        if (session->order_last)
                session->order_last->next_order = job;
        else
                session->order_first = job;
        session->order_last = job;
}

static void order_unlink(Job *job)
{
        Session *session = job->session;
        if (job->prev_order)
                job->prev_order->next_order = job->next_order;
        else
                session->order_first = job->next_order;
        if (job->next_order)
                job->next_order->prev_order = job->prev_order;
        else
                session->order_last = job->prev_order;
        job->ordered = false;
}

/* Waits that have come to the front have nothing before them any more: answer them. */
static void order_remove(Job *job)
{
        Session *session = job->session;
        order_unlink(job);
        while (session->order_first && session->order_first->kind == JOB_WAIT && !session->gone) {
                Job *wait = session->order_first;
                order_unlink(wait);
                session->in_flight--;
                session_give_answer(session,
                                    answer_body(session->ops->out(session->conn), wait->token, "{\"t\":4,\"r\":[]}"));
                job_release(wait);
        }
}

/* --- running --- */
void job_run_batch(Job *job, Buf *out)
{
        size_t start = out->size;
        Status st;
        job->is_feed = job->cursor != NULL;
        if (job->cursor) {
                st = answer_feed(job->cursor, job->token, out, &job->answer, &job->error, &job->empty);
        } else {
                st = answer_batch(job->query, job->token, out, &job->answer, &job->error, &job->empty);
                job->position = query_durable_position(job->query);
                if (!st && job->error == ERR_NONE && job->answer == ANSWER_PARTIAL && !job->noreply)
                        job->is_feed = query_is_feed(job->query);
                if (job->is_feed) /* without memory it keeps its query, and tries again after its next batch */
                        status_ignore(query_park(job->query, &job->parked));
        }
        job->broken = st != ST_OK;
        status_free(st);
        if (job->noreply)
                out->size = start;
}

void job_run(Job *job)
{
        if (job->kind == JOB_PASSWORD) {
                bool right = false;
                status_ignore(handshake_check(job->session->handshake, &right));
                job->password_right = right;
                return;
        }
        job->deferred =
                atomic_load_explicit(&job->session->blocked, memory_order_relaxed) && !job->noreply && !job->eager;
        if (!job->deferred)
                job_run_batch(job, &job->out);
}

void job_submit(Job *job)
{
        job->state = JOB_RUNNING;
        job->eager = job->ahead;
        job->away = true;
        if (job->session->away_count++ == 0)
                group_count(&job->group->active_count, 1);
        job->group->away_count++;
        job->group->ops->submit(job->group->ctx, job);
}

void job_cancel(Job *job)
{
        if (job->cursor)
                feed_cursor_cancel(job->cursor);
        else
                query_cancel(job->query);
}

/* --- delivering --- */
static void append_out(Session *session, Buf *from)
{
        Buf *out = session->ops->out(session->conn);
        if (out->size == 0 && from->size > JOB_OUT_KEEP_BYTES) { /* a large answer changes hands */
                Buf swap = *out;
                *out = *from;
                *from = swap;
                return;
        }
        session_give_answer(session, buf_append(out, from->data, from->size));
        buf_clear(from);
}

/* The query is over: answers those who asked for more of it, and STOPs. */
static void job_finish(Job *job)
{
        Session *session = job->session;
        Buf *out = session->ops->out(session->conn);
        for (; job->continues; job->continues--, session->in_flight--)
                session_give_answer(session, job->stopped ? answer_body(out, job->token, end_of_stream)
                                                          : answer_error_text(out, job->token, ERR_CLIENT,
                                                                              "ERROR: duplicate token %" PRIi64,
                                                                              (int64_t)job->token));
        for (; job->stops; job->stops--, session->in_flight--)
                session_give_answer(session, answer_body(out, job->token, end_of_stream));
        job_release(job);
}

static void answer_cancelled(Job *job)
{
        Session *session = job->session;
        Buf *out = session->ops->out(session->conn);
        if (job->shutdown)
                session_give_answer(
                        session, answer_error_text(out, job->token, ERR_OP_INDETERMINATE, "Server is shutting down."));
        else if (!job->stopped && job->registered && atomic_load(&job->entry.killed))
                session_give_answer(session, answer_error_text(out, job->token, ERR_OP_INDETERMINATE,
                                                               "Query terminated by the `rethinkdb.jobs` table."));
        else /* as RethinkDB, for old drivers: the end of the stream */
                session_give_answer(session, answer_body(out, job->token, end_of_stream));
}

/* Whoever has asked for more once will do so again: so the next batch is made while he reads this one. */
static bool reads_ahead(const Job *job)
{
        return job->continued && !job->feed && job->group->ahead_count < JOB_AHEAD_MAX && !job->session->stopping &&
               query_may_read_ahead(job->query);
}

void job_deliver(Job *job, bool answered)
{
        Session *session = job->session;
        session->in_flight--;
        if (job->broken)
                session_broken(session);
        if (!job->noreply && !answered && !session->closing) {
                if (job->error == ERR_CANCELLED)
                        answer_cancelled(job);
                else
                        append_out(session, &job->out);
        }
        if (job->cursor) /* it may be long until the next one */
                buf_done(&job->out);
        bool more = job->error == ERR_NONE && job->answer == ANSWER_PARTIAL && !job->noreply && !job->stopped &&
                    !session->closing;
        if (!more) {
                job_finish(job);
        } else if (job->continues && job->feed) {
                job->continues--;
                session->in_flight--; /* while it waits it is not counted */
                feed_due(job);
        } else if (job->continues) {
                job->continues--; /* counted in flight since it came */
                job_submit(job);
        } else if (reads_ahead(job)) {
                job->ahead = true;
                job->group->ahead_count++;
                job_submit(job);
        } else {
                job->state = JOB_IDLE;
        }
        session_check_output(session);
        session_maybe_stopped(session);
}

/* --- waiting for the log --- */
static void park(Job *job)
{
        SessionGroup *group = job->group;
        Job *before = group->parked.last; /* positions mostly come in order */
        while (before && before->position > job->position)
                before = before->prev_listed;
        job->state = JOB_PARKED;
        job_list_add(&group->parked, before, job);
        group->ops->want_durable(group->ctx, job->position);
}

static void unpark(Job *job)
{
        job_list_remove(job);
        job->state = JOB_RUNNING; /* about to be delivered */
}

static bool must_wait(const Job *job)
{
        return job->position && job->position > job->group->ops->durable(job->group->ctx);
}

void session_group_durable(SessionGroup *group)
{
        uint64_t durable = group->ops->durable(group->ctx);
        while (group->parked.first && group->parked.first->position <= durable) {
                Job *job = group->parked.first;
                Session *session = job->session;
                unpark(job);
                job_deliver(job, false);
                session->ops->wake(session->conn);
        }
        if (!group->parked.first)
                return;
        Status failed = group->ops->log_error(group->ctx);
        if (!failed)
                return;
        char why[512];
        status_text(failed, why, sizeof(why));
        Status error = status_hint(status_new(ERR_OP_INDETERMINATE, "The write could not be made durable: %s", why),
                                   "It may be lost.");
        status_free(failed);
        while (group->parked.first) {
                Job *job = group->parked.first;
                Session *session = job->session;
                unpark(job);
                buf_clear(&job->out);
                job->error = status_code(error);
                Status st = answer_error(&job->out, job->token, error, NULL);
                job->broken = st != ST_OK;
                status_free(st);
                job_deliver(job, false);
                session->ops->wake(session->conn);
        }
        status_free(error);
}

/* --- coming back --- */
void job_done(Job *job)
{
        Session *session = job->session;
        bool asked_feed = job->feed; /* not by its START */
        job->away = false;
        job->group->away_count--;
        if (--session->away_count == 0)
                group_count(&job->group->active_count, -1);
        feed_gave_place(job);
        feed_settle(job);
        if (session->gone) {
                job_release(job);
                session_free_if_unused(session);
                return;
        }
        if (job->ahead && !job->stopped) {
                job->state = JOB_READY;
                return;
        }
        if (job->kind == JOB_PASSWORD) {
                bool right = job->password_right;
                job_release(job);
                session_password_checked(session, right);
        } else if (asked_feed && feed_waits_on(job)) {
                /* it will be called for */
        } else if (job->deferred) {
                if (job->stopped || job->shutdown) { /* cancelled before it ran */
                        job->error = ERR_CANCELLED;
                        job_deliver(job, false);
                } else if (atomic_load_explicit(&session->blocked, memory_order_relaxed)) {
                        job_list_add(&session->deferred, session->deferred.last, job);
                } else {
                        job_submit(job);
                }
        } else if (job->ahead) { /* only the STOP wants an answer */
                job_finish(job);
                session_maybe_stopped(session);
        } else if (must_wait(job)) {
                park(job);
        } else {
                job_deliver(job, false);
        }
        session->ops->wake(session->conn);
}

void job_run_here(Job *job)
{
        Session *session = job->session;
        Buf *out = session->ops->out(session->conn);
        size_t start = out->size;
        job_run_batch(job, out);
        session->in_flight++;
        bool streams = job->error == ERR_NONE && job->answer == ANSWER_PARTIAL && !job->noreply;
        if (streams && !job->registered) {
                Status st = job_register(job);
                if (st) {
                        out->size = start;
                        job->error = status_code(st);
                        session_give_answer(session, answer_error(out, job->token, st, NULL));
                        status_free(st);
                }
        }
        feed_settle(job);
        if (unlikely(must_wait(job))) {
                /* Not acknowledged yet: the answer comes out of the output again and waits in the job. */
                if (!job->noreply) {
                        Status st = buf_append(&job->out, out->data + start, out->size - start);
                        job->broken |= st != ST_OK;
                        status_free(st);
                        out->size = start;
                } else {
                        job_order_add(job);
                }
                park(job);
                return;
        }
        job_deliver(job, job->error != ERR_CANCELLED);
}

void job_continue(Job *job)
{
        job->continued = true;
        if (job->feed && job->state == JOB_IDLE) {
                feed_fetch(job);
                return;
        }
        job->session->in_flight++;
        if (job->state == JOB_IDLE) {
                job_submit(job);
        } else if (job->ahead) {
                ahead_over(job);
                if (job->state == JOB_READY && must_wait(job))
                        park(job);
                else if (job->state == JOB_READY)
                        job_deliver(job, false);
        } else {
                job->continues++;
        }
}

void job_stop(Job *job)
{
        job->session->in_flight++;
        job->stops++;
        job->stopped = true;
        switch (job->state) {
        case JOB_IDLE:
        case JOB_READY: job_finish(job); return;
        case JOB_WAITING:
        case JOB_DUE: feed_end_wait(job); return;
        case JOB_PARKED: return; /* it has ended already; its answer comes when it is durable */
        case JOB_RUNNING: break;
        }
        job_cancel(job);
        if (job->list) { /* not run: the peer did not read */
                job_list_remove(job);
                job->error = ERR_CANCELLED;
                job_deliver(job, false);
        }
}

/* --- for the loop --- */
#define JOB_OF(field, p) ((Job *)((char *)(p)-offsetof(Job, field)))
PoolTask *job_pool_task(Job *job)
{
        return &job->pool_task;
}
Job *job_of_pool_task(PoolTask *task)
{
        return JOB_OF(pool_task, task);
}
NetTask *job_net_task(Job *job)
{
        return &job->net_task;
}
Job *job_of_net_task(NetTask *task)
{
        return JOB_OF(net_task, task);
}
void *job_ctx(const Job *job)
{
        return job->group->ctx;
}
