/* session.c - see session.h: input of a client, from handshake to frames. What becomes of queries is in job.c. */
#include "server/session_int.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"

#define STOP_LINGER_MS 200 /* a client that was told that the server ends */

/* --- groups --- */
Status session_group_new(const SessionWorld *world, const GroupOps *ops, void *ctx, SessionGroup **ret_group)
{
        SessionGroup *group = mem_zalloc(sizeof(*group));
        if (!group)
                return status_nomem();
        group->world = world;
        group->ops = ops;
        group->ctx = ctx;
        *ret_group = group;
        return ST_OK;
}

SessionGroup *session_group_free(SessionGroup *group)
{
        if (!group)
                return NULL;
        assert(session_group_busy(group) == 0 && !group->parked.first);
        while (group->free) {
                Job *job = group->free;
                group->free = job->next;
                query_free(job->query);
                buf_done(&job->out);
                mem_free(job);
        }
        for (unsigned i = 0; i < group->spare_count; i++)
                query_free(group->spare[i]);
        mem_free(group);
        return NULL;
}

bool session_group_waits(const SessionGroup *group)
{
        return group->parked.first != NULL;
}

void session_group_stats(const SessionGroup *group, HostStats *stats)
{
        SessionGroup *counted = (SessionGroup *)group; /* C11 loads through no pointer to const */
        stats->queries_total += atomic_load_explicit(&counted->query_count, memory_order_relaxed);
        stats->client_connections += atomic_load_explicit(&counted->client_count, memory_order_relaxed);
        stats->clients_active += atomic_load_explicit(&counted->active_count, memory_order_relaxed);
}

size_t session_group_busy(const SessionGroup *group)
{
        return group->session_count + group->away_count + group->lingering_count;
}

/* --- life --- */
Status session_new(SessionGroup *group, const SessionOps *ops, void *conn, Session **ret_session)
{
        Session *session = mem_zalloc(sizeof(*session));
        if (!session)
                return status_nomem();
        Status st = handshake_new(group->world->os, group->world->users, &session->handshake);
        if (st) {
                mem_free(session);
                return st;
        }
        session->group = group;
        session->ops = ops;
        session->conn = conn;
        session->max_in_flight = 1;
        group->session_count++;
        *ret_session = session;
        return ST_OK;
}

void session_free_if_unused(Session *session)
{
        if (!session->gone || session->away_count)
                return;
        if (!session->handshake)
                group_count(&session->group->client_count, -1);
        const TableSource *source = session->group->world->query->source;
        if (source && source->connection_end) /* none of its queries runs any more */
                source->connection_end(source->ctx, &session->connection);
        session->group->session_count--;
        assert(!session->jobs);
        nummap_free(session->tokens);
        handshake_free(session->handshake);
        mem_free(session->user);
        mem_free(session);
}

void session_end(Session *session)
{
        session->gone = session->closing = true;
        for (Job *job = session->jobs, *next; job; job = next) {
                next = job->next_job;
                if (!job->away)
                        job_release(job);
                else if (job->kind == JOB_QUERY)
                        job_cancel(job); /* freed when it comes back */
        }
        session->partial = NULL;
        session_free_if_unused(session);
}

bool session_is_logged_in(const Session *session)
{
        return session->handshake == NULL;
}

size_t session_stream_count(const Session *session)
{
        return session->stream_count;
}

/* --- output --- */
void session_broken(Session *session)
{
        if (session->closing)
                return;
        session->closing = true;
        session->ops->abort(session->conn);
}

void session_give_answer(Session *session, Status st)
{
        if (unlikely(st != ST_OK)) {
                status_free(st); /* no memory even for an error */
                session_broken(session);
        }
}

void session_check_output(Session *session)
{
        if (likely(session->ops->out_pending(session->conn) <= CONN_OUT_HIGH_BYTES))
                return;
        if (!atomic_exchange_explicit(&session->blocked, true, memory_order_relaxed))
                session->ops->want_drained(session->conn);
}

void session_drained(Session *session)
{
        atomic_store_explicit(&session->blocked, false, memory_order_relaxed);
        /* A feed that is answered here may block the peer again. */
        while (session->deferred.first && !atomic_load_explicit(&session->blocked, memory_order_relaxed)) {
                Job *job = session->deferred.first;
                job_list_remove(job);
                if (job->feed) {
                        feed_due(job);
                } else {
                        job->deferred = false;
                        job_submit(job);
                }
        }
        session->ops->wake(session->conn);
}

void session_maybe_stopped(Session *session)
{
        if (!session->stopping || session->closing || session->in_flight)
                return;
        session->closing = true;
        session->ops->finish(session->conn, STOP_LINGER_MS);
}

void session_stop(Session *session)
{
        for (Job *job = session->jobs, *next; job; job = next) {
                next = job->next_job;
                if (job->state == JOB_WAITING || job->state == JOB_DUE) { /* they would wait for ever */
                        job->shutdown = true;
                        feed_end_wait(job);
                }
        }
        session->stopping = true;
        session_maybe_stopped(session);
}

void session_cancel_all(Session *session)
{
        for (Job *job = session->jobs; job; job = job->next_job)
                if (job->kind == JOB_QUERY && job->away) {
                        job->shutdown = true;
                        job_cancel(job);
                }
}

/* --- the handshake --- */
static char *copy_name(Bytes name)
{
        char *copy = mem_alloc(name.size + 1);
        if (copy) {
                if (name.size)
                        memcpy(copy, name.data, name.size);
                copy[name.size] = 0;
        }
        return copy;
}

static void after_handshake_step(Session *session, HandshakeStep step)
{
        Bytes name;
        char peer[80];
        Handshake *handshake = session->handshake;
        switch (step) {
        case HANDSHAKE_MORE: return;
        case HANDSHAKE_CHECK: {
                Job *job;
                Status st = job_acquire(session, JOB_PASSWORD, 0, &job);
                if (st) {
                        session_give_answer(session, st);
                        return;
                }
                session->checking = true;
                job_submit(job);
                return;
        }
        case HANDSHAKE_DONE:
                session->user = copy_name(handshake_user(handshake));
                if (!session->user) {
                        session_broken(session);
                        return;
                }
                session->max_in_flight = handshake_max_in_flight(handshake);
                session->handshake = handshake_free(handshake);
                session->ops->peer(session->conn, session->peer, sizeof(session->peer));
                group_count(&session->group->client_count, 1);
                session->ops->logged_in(session->conn);
                return;
        case HANDSHAKE_FAILED: {
                const char *why = handshake_refusal(handshake, &name);
                session->ops->peer(session->conn, peer, sizeof(peer));
                if (why)
                        log_notice("server", "login of `%.*s` from %s refused: %s", (int)MIN(name.size, 64),
                                   (const char *)name.data, peer, why);
                else
                        log_debug("server", "connection from %s refused: not a ReQL handshake", peer);
                session->closing = true;
                session->ops->finish(session->conn, CONN_LINGER_MS);
                return;
        }
        }
}

void session_timed_out(Session *session)
{
        char peer[80];
        if (!session->handshake || session->closing)
                return;
        log_debug("server", "connection from %s closed: no login in time",
                  session->ops->peer(session->conn, peer, sizeof(peer)));
        session->closing = true;
        session->ops->abort(session->conn);
}

static size_t feed_handshake(Session *session, const uint8_t *data, size_t size)
{
        size_t used = 0;
        HandshakeStep step;
        Status st = handshake_feed(session->handshake, data, size, &used, session->ops->out(session->conn), &step);
        if (st)
                session_give_answer(session, st);
        else
                after_handshake_step(session, step);
        return used;
}

void session_password_checked(Session *session, bool right)
{
        HandshakeStep step;
        session->checking = false;
        Status st = handshake_checked(session->handshake, right, session->ops->out(session->conn), &step);
        if (st)
                session_give_answer(session, st);
        else
                after_handshake_step(session, step);
}

/* --- queries --- */
static void give_error(Session *session, uint64_t token, Status error, const Query *query)
{
        session_give_answer(session, answer_error(session->ops->out(session->conn), token, error, query));
        status_free(error);
}

static void give_error_text(Session *session, uint64_t token, const char *format)
{
        char message[80];
        snprintf(message, sizeof(message), format, (int64_t)token);
        session_give_answer(session,
                            answer_error_text(session->ops->out(session->conn), token, ERR_CLIENT, "%s", message));
}

#define DUPLICATE_TOKEN "ERROR: duplicate token %" PRIi64
#define UNKNOWN_TOKEN   "Token %" PRIi64 " not in stream cache."

static void start_query(Session *session, Job *job, bool noreply)
{
        job->noreply = noreply;
        group_count(&session->group->query_count, 1);
        if (query_cost(job->query) == QUERY_QUICK) {
                job_run_here(job);
                return;
        }
        Status st = job_register(job);
        if (st) {
                if (!noreply)
                        give_error(session, job->token, st, NULL);
                else
                        status_free(st);
                job_release(job);
                return;
        }
        if (noreply)
                job_order_add(job);
        session->in_flight++;
        job_submit(job);
}

static void server_info(Session *session, uint64_t token)
{
        char body[512];
        const SessionWorld *world = session->group->world;
        snprintf(body, sizeof(body), "{\"t\":5,\"r\":[{\"id\":\"%s\",\"name\":\"%s\",\"proxy\":false}]}",
                 world->server_id, atomic_load_explicit(&world->server_name, memory_order_acquire));
        session_give_answer(session, answer_body(session->ops->out(session->conn), token, body));
}

/* The wait is answered when every noreply query before it is over, durability included. */
static void noreply_wait(Session *session, Job *job)
{
        if (!session->order_first) {
                session_give_answer(session,
                                    answer_body(session->ops->out(session->conn), job->token, "{\"t\":4,\"r\":[]}"));
                job_release(job);
                return;
        }
        job->kind = JOB_WAIT;
        job_order_add(job);
        session->in_flight++;
}

static void on_query(Session *session, Job *job, Bytes text)
{
        uint64_t token = job->token;
        Status error = query_prepare(job->query, text);
        const WireQuery *wire = query_wire(job->query);
        Job *known = session_find(session, token);
        /* RethinkDB looks the token up after the text was understood as JSON of the right shape and before terms are
         * checked. */
        if (error && (status_code(error) == ERR_CLIENT || !known)) {
                if (!wire->noreply || status_code(error) == ERR_CLIENT)
                        give_error(session, token, error, job->query);
                else
                        status_free(error);
                job_release(job);
                return;
        }
        QueryType type = error ? QUERY_START : wire->type;
        status_free(error);
        if ((type == QUERY_START || type == QUERY_NOREPLY_WAIT) && known) {
                job_release(job);
                give_error_text(session, token, DUPLICATE_TOKEN);
                return;
        }
        if ((type == QUERY_CONTINUE || type == QUERY_STOP) && !known) {
                job_release(job);
                give_error_text(session, token, UNKNOWN_TOKEN);
                return;
        }
        switch (type) {
        case QUERY_START: start_query(session, job, wire->noreply); return;
        case QUERY_NOREPLY_WAIT: noreply_wait(session, job); return;
        case QUERY_CONTINUE:
                job_release(job);
                job_continue(known);
                return;
        case QUERY_STOP:
                job_release(job);
                job_stop(known);
                return;
        case QUERY_SERVER_INFO:
                job_release(job);
                server_info(session, token);
                return;
        }
        job_release(job); /* query_prepare lets no other type through */
        give_error_text(session, token, "Client is buggy (failed to deserialize query).");
}

/* --- frames --- */
static void frame_whole(Session *session, uint64_t token, const uint8_t *body, uint32_t size)
{
        Job *job = NULL;
        uint8_t *text;
        Status st = job_acquire(session, JOB_QUERY, token, &job);
        if (!st)
                st = query_text_buffer(job->query, size, &text);
        if (unlikely(st != ST_OK)) {
                give_error(session, token, st, NULL);
                if (job)
                        job_release(job);
                return;
        }
        /* The text lives with the query: a stream goes on reading from it long after the input buffer has been used
         * again. */
        memcpy(text, body, size);
        on_query(session, job, BYTES(text, size));
}

/* A header whose body has not come whole. */
static void frame_begin(Session *session, uint64_t token, uint32_t size)
{
        Job *job = NULL;
        Status st = job_acquire(session, JOB_QUERY, token, &job);
        if (!st)
                st = query_text_buffer(job->query, size, &session->partial_data);
        if (st) {
                give_error(session, token, st, NULL);
                if (job)
                        job_release(job);
                session->skip = size;
                return;
        }
        session->partial = job;
        session->partial_size = size;
        session->partial_filled = 0;
}

static void frame_body_step(Session *session, size_t size)
{
        session->partial_filled += (uint32_t)size;
        if (session->partial_filled < session->partial_size)
                return;
        Job *job = take(session->partial);
        on_query(session, job, BYTES(session->partial_data, session->partial_size));
        session_check_output(session);
}

static void frame_oversized(Session *session, uint64_t token, uint32_t size)
{
        session_give_answer(session, answer_error_text(session->ops->out(session->conn), token, ERR_CLIENT,
                                                       "Query size (%" PRIu32 ") greater than maximum (%" PRIu32 ").",
                                                       size, FRAME_MAX_BYTES));
        session->skip = size;
        if (size < FRAME_SKIP_MAX_BYTES || session->closing)
                return;
        session->closing = true;
        session->ops->finish(session->conn, CONN_LINGER_MS);
}

/* May another frame be started now? */
static bool is_busy(const Session *session)
{
        return session->in_flight >= session->max_in_flight || session->checking || session->stopping ||
               session->closing || session->ops->out_pending(session->conn) > CONN_OUT_HIGH_BYTES;
}

static size_t feed_rest(Session *session, const uint8_t *data, size_t size)
{
        if (session->skip) {
                size_t n = (size_t)MIN(session->skip, size);
                session->skip -= n;
                return n;
        }
        size_t n = MIN(size, session->partial_size - session->partial_filled);
        memcpy(session->partial_data + session->partial_filled, data, n);
        frame_body_step(session, n);
        return n;
}

static size_t feed_head(Session *session, const uint8_t *data, size_t size)
{
        size_t n = MIN(size, (size_t)FRAME_HEAD_BYTES - session->head_size);
        memcpy(session->head + session->head_size, data, n);
        session->head_size = (uint8_t)(session->head_size + n);
        return n;
}

static size_t feed_frame(Session *session, const uint8_t *data, size_t size)
{
        size_t used = 0;
        if (session->head_size || size < FRAME_HEAD_BYTES) {
                used = feed_head(session, data, size);
                if (session->head_size < FRAME_HEAD_BYTES)
                        return used;
                session->head_size = 0;
                data = session->head;
        } else {
                used = FRAME_HEAD_BYTES;
        }
        uint64_t token = load_u64(data);
        uint32_t body_size = load_u32(data + 8);
        if (unlikely(body_size > FRAME_MAX_BYTES))
                frame_oversized(session, token, body_size);
        else if (likely(data != session->head && body_size <= size - used)) {
                frame_whole(session, token, data + FRAME_HEAD_BYTES, body_size);
                used += body_size;
        } else {
                frame_begin(session, token, body_size);
                if (session->partial && body_size == 0)
                        frame_body_step(session, 0);
        }
        return used;
}

size_t session_feed(Session *session, const uint8_t *data, size_t size)
{
        size_t used = 0;
        while (used < size && !session->closing) {
                if (unlikely(session->handshake != NULL)) {
                        if (session->checking || session->stopping)
                                break;
                        used += feed_handshake(session, data + used, size - used);
                } else if (session->skip || session->partial) {
                        used += feed_rest(session, data + used, size - used);
                } else if (is_busy(session)) {
                        break;
                } else {
                        used += feed_frame(session, data + used, size - used);
                }
        }
        session_check_output(session);
        return session->closing ? size : used;
}

size_t session_space(Session *session, uint8_t **ret_data)
{
        enum { WORTH_IT = 16 << 10 };
        size_t left = session->partial_size - session->partial_filled;
        if (!session->partial || left < WORTH_IT)
                return 0;
        *ret_data = session->partial_data + session->partial_filled;
        return left;
}

void session_filled(Session *session, size_t size)
{
        frame_body_step(session, size);
}
