/* reql.c - see reql.h.
 *
 * Durability without a thread per writer: parked answers wait in the group; before the loop waits for events it asks
 * the store once for the highest position wanted, so that one sync serves all writers of one turn. The store's watch
 * counts log_events and wakes the loops that said they wait. A loop says so before it compares the count, the watch
 * counts before it looks who waits: whichever comes second sees the other (both are sequentially consistent). */
#include "server/reql.h"

#include "base/mem.h"

#define LOGIN_MS 10000 /* from accept to the end of the handshake */

struct ReqlLoop {
        /* --- loop thread --- */
        NetLoop *loop;
        ReqlWorld *world;
        SessionGroup *group;
        uint64_t wanted, asked; /* log positions */
        unsigned seen_events;
        uv_async_t log_event;
        bool open;
        /* --- any thread --- */
        atomic_bool waiting;
};

/* --- what a group needs of its loop --- */
static void run_done(NetTask *task)
{
        job_done(job_of_net_task(task));
}

static void run_work(PoolTask *task)
{
        Job *job = job_of_pool_task(task);
        ReqlLoop *reql = job_ctx(job);
        job_run(job);
        job_net_task(job)->run = run_done;
        net_loop_post(reql->loop, job_net_task(job));
}

static void ops_submit(void *ctx, Job *job)
{
        ReqlLoop *reql = ctx;
        job_pool_task(job)->run = run_work;
        pool_submit(reql->world->pool, job_pool_task(job));
}

static uint64_t ops_durable(void *ctx)
{
        ReqlLoop *reql = ctx;
        return store_durable(reql->world->store);
}

static Status ops_log_error(void *ctx)
{
        ReqlLoop *reql = ctx;
        return store_log_error(reql->world->store);
}

static void ops_want_durable(void *ctx, uint64_t position)
{
        ReqlLoop *reql = ctx;
        reql->wanted = MAX(reql->wanted, position);
}

static void ops_post(void *ctx, NetTask *task)
{
        ReqlLoop *reql = ctx;
        net_loop_post(reql->loop, task);
}

static const GroupOps group_ops = {
        .submit = ops_submit,
        .durable = ops_durable,
        .log_error = ops_log_error,
        .want_durable = ops_want_durable,
        .post = ops_post,
};

static void look_at_log(ReqlLoop *reql, unsigned events)
{
        reql->seen_events = events;
        session_group_durable(reql->group);
}

static void on_log_event(uv_async_t *async)
{
        ReqlLoop *reql = async->data;
        look_at_log(reql, atomic_load(&reql->world->log_events));
}

static void before_wait(void *shared)
{
        ReqlLoop *reql = shared;
        if (!reql->open)
                return;
        session_group_turn_over(reql->group);
        if (reql->wanted > reql->asked) {
                reql->asked = reql->wanted;
                store_sync_soon(reql->world->store, reql->asked);
        }
        bool waits = session_group_waits(reql->group);
        if (waits != atomic_load_explicit(&reql->waiting, memory_order_relaxed))
                atomic_store(&reql->waiting, waits);
        if (!waits)
                return;
        unsigned events = atomic_load(&reql->world->log_events);
        if (events != reql->seen_events)
                look_at_log(reql, events);
}

void reql_loop_log_event(ReqlLoop *reql)
{
        if (atomic_load(&reql->waiting))
                uv_async_send(&reql->log_event);
}

/* --- what a session needs of its connection --- */
static Buf *conn_ops_out(void *conn)
{
        return conn_out(conn);
}
static size_t conn_ops_out_pending(void *conn)
{
        return conn_out_pending(conn);
}
static void conn_ops_wake(void *conn)
{
        conn_resume(conn);
}
static void conn_ops_want_drained(void *conn)
{
        conn_want_drained(conn);
}
static void conn_ops_finish(void *conn, uint64_t linger_ms)
{
        conn_finish(conn, linger_ms);
}
static void conn_ops_abort(void *conn)
{
        conn_abort(conn);
}
static void conn_ops_logged_in(void *conn)
{
        conn_set_timeout(conn, 0);
}
static const char *conn_ops_peer(void *conn, char *out, size_t size)
{
        return conn_peer(conn, out, size);
}

static const SessionOps session_ops = {
        .out = conn_ops_out,
        .out_pending = conn_ops_out_pending,
        .wake = conn_ops_wake,
        .want_drained = conn_ops_want_drained,
        .finish = conn_ops_finish,
        .abort = conn_ops_abort,
        .logged_in = conn_ops_logged_in,
        .peer = conn_ops_peer,
};

/* --- what a connection needs of its protocol --- */
static Status reql_opened(void *ctx, Conn *conn, void **ret_protocol)
{
        ReqlLoop *reql = net_loop_shared(conn_loop(conn));
        Session *session;
        TRY(session_new(reql->group, &session_ops, conn, &session));
        conn_set_timeout(conn, LOGIN_MS);
        *ret_protocol = session;
        return ST_OK;
}

static size_t reql_received(void *protocol, const uint8_t *data, size_t size)
{
        return session_feed(protocol, data, size);
}

static size_t reql_space(void *protocol, uint8_t **ret_data)
{
        return session_space(protocol, ret_data);
}

static void reql_filled(void *protocol, size_t size)
{
        session_filled(protocol, size);
}

static void reql_drained(void *protocol)
{
        session_drained(protocol);
}

static void reql_timed_out(void *protocol)
{
        session_timed_out(protocol);
}

static void reql_ended(void *protocol)
{
        session_end(protocol);
}

const ConnOps reql_conn_ops = {
        .opened = reql_opened,
        .received = reql_received,
        .space = reql_space,
        .filled = reql_filled,
        .drained = reql_drained,
        .timed_out = reql_timed_out,
        .ended = reql_ended,
};

/* --- life --- */
Status reql_loop_new(NetLoop *loop, ReqlLoop **ret_reql)
{
        ReqlLoop *reql = mem_zalloc(sizeof(*reql));
        if (!reql)
                return status_nomem();
        reql->loop = loop;
        net_loop_set_shared(loop, reql, before_wait);
        *ret_reql = reql;
        return ST_OK;
}

typedef struct Opening {
        ReqlLoop *reql;
        ReqlWorld *world;
        Status status;
} Opening;
static void open_on_loop(void *arg)
{
        Opening *opening = arg;
        ReqlLoop *reql = opening->reql;
        reql->world = opening->world;
        opening->status = session_group_new(&reql->world->session, &group_ops, reql, &reql->group);
        if (opening->status)
                return;
        int err = uv_async_init(net_loop_uv(reql->loop), &reql->log_event, on_log_event);
        if (err) {
                opening->status = status_new(ERR_IO, "cannot make an event loop: %s", uv_strerror(err));
                reql->group = session_group_free(reql->group);
                return;
        }
        reql->log_event.data = reql;
        reql->open = true;
}

Status reql_loop_open(ReqlLoop *reql, ReqlWorld *world)
{
        Opening opening = {.reql = reql, .world = world};
        net_loop_call(reql->loop, open_on_loop, &opening);
        return opening.status;
}

static void stop_session(void *protocol, Conn *conn, void *arg)
{
        session_stop(protocol);
}
static void stop_on_loop(void *arg)
{
        ReqlLoop *reql = arg;
        net_loop_each_conn(reql->loop, &reql_conn_ops, stop_session, NULL);
}
void reql_loop_stop(ReqlLoop *reql)
{
        net_loop_call(reql->loop, stop_on_loop, reql);
}

static void cancel_session(void *protocol, Conn *conn, void *arg)
{
        session_cancel_all(protocol);
}
static void cancel_on_loop(void *arg)
{
        ReqlLoop *reql = arg;
        net_loop_each_conn(reql->loop, &reql_conn_ops, cancel_session, NULL);
}
void reql_loop_cancel(ReqlLoop *reql)
{
        net_loop_call(reql->loop, cancel_on_loop, reql);
}

static void abort_conn(void *protocol, Conn *conn, void *arg)
{
        conn_abort(conn);
}
static void abort_on_loop(void *arg)
{
        ReqlLoop *reql = arg;
        net_loop_each_conn(reql->loop, &reql_conn_ops, abort_conn, NULL);
}
void reql_loop_abort(ReqlLoop *reql)
{
        net_loop_call(reql->loop, abort_on_loop, reql);
}

typedef struct Count {
        ReqlLoop *reql;
        size_t busy;
} Count;
static void count_on_loop(void *arg)
{
        Count *count = arg;
        count->busy = count->reql->group ? session_group_busy(count->reql->group) : 0;
}
size_t reql_loop_busy(ReqlLoop *reql)
{
        Count count = {.reql = reql};
        net_loop_call(reql->loop, count_on_loop, &count);
        return count.busy;
}

void reql_loop_stats(const ReqlLoop *reql, HostStats *stats)
{
        if (reql->group)
                session_group_stats(reql->group, stats);
}

static void close_on_loop(void *arg)
{
        ReqlLoop *reql = arg;
        if (!reql->open)
                return;
        reql->open = false;
        uv_close((uv_handle_t *)&reql->log_event, NULL); /* the ReqlLoop outlives the loop */
        reql->group = session_group_free(reql->group);
}
void reql_loop_close(ReqlLoop *reql)
{
        net_loop_call(reql->loop, close_on_loop, reql);
}

ReqlLoop *reql_loop_free(ReqlLoop *reql)
{
        mem_free(reql);
        return NULL;
}
