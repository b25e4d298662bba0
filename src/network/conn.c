/* conn.c - see conn.h.
 *
 *      OPEN --conn_finish--> FINISHING --all sent--> LINGERING --peer closed, or time over--> CLOSED
 *        `------------- peer gone, conn_abort, write error ---------------------------------^
 *
 * conn I1: `ended` is called from the loop after the handles are closed, never inside a call of the protocol. */
#include "network/loop_int.h"

#include <assert.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"

#define KEEPALIVE_S 60

typedef enum ConnState { OPEN, FINISHING, LINGERING, CLOSED } ConnState;

struct Conn {
        NetLoop *loop;
        const ConnOps *ops;
        void *protocol;
        ConnState state;
        bool reading, dirty, want_drained;
        unsigned handles; /* not closed yet */
        Buf out;          /* not offered to the kernel yet */
        Buf writing;      /* what `write` is busy with */
        uint8_t *held;    /* input that the protocol has not taken */
        size_t held_at, held_size;
        Conn *prev, *next, *dirty_next;
        uv_tcp_t tcp;
        uv_timer_t timer;
        uv_write_t write;
};

/* --- buffers that come and go --- */
static void buf_borrow(NetLoop *loop, Buf *buf)
{
        if (loop->spare_count)
                *buf = loop->spare[--loop->spare_count];
        else
                buf_init(buf, CONN_OUT_MAX_BYTES);
}

static void buf_give_back(NetLoop *loop, Buf *buf)
{
        if (buf->data && buf->capacity <= LOOP_SPARE_BUF_BYTES && loop->spare_count < LOOP_SPARE_BUFS) {
                buf_clear(buf);
                loop->spare[loop->spare_count++] = *buf;
        } else {
                buf_done(buf);
        }
        *buf = (Buf){0};
}

Buf *conn_out(Conn *conn)
{
        if (!conn->out.data && conn->out.max_bytes == 0)
                buf_borrow(conn->loop, &conn->out);
        return &conn->out;
}

size_t conn_out_pending(const Conn *conn)
{
        return conn->out.size + conn->tcp.write_queue_size;
}

static void mark_dirty(Conn *conn)
{
        if (conn->dirty || conn->state == CLOSED)
                return;
        conn->dirty = true;
        conn->dirty_next = conn->loop->dirty;
        conn->loop->dirty = conn;
}

void conn_send_later(Conn *conn)
{
        mark_dirty(conn);
}

void conn_resume(Conn *conn)
{
        mark_dirty(conn);
}

void conn_want_drained(Conn *conn)
{
        conn->want_drained = true;
        mark_dirty(conn);
}

/* --- closing --- */
static void conn_free(Conn *conn)
{
        NetLoop *loop = conn->loop;
        if (conn->dirty)
                for (Conn **at = &loop->dirty; *at; at = &(*at)->dirty_next)
                        if (*at == conn) {
                                *at = conn->dirty_next;
                                break;
                        }
        if (conn->prev)
                conn->prev->next = conn->next;
        else
                loop->conns = conn->next;
        if (conn->next)
                conn->next->prev = conn->prev;
        loop->conn_count--;
        if (conn->protocol)
                conn->ops->ended(conn->protocol);
        buf_give_back(loop, &conn->out);
        buf_give_back(loop, &conn->writing);
        mem_free(conn->held);
        mem_free(conn);
}

static void on_closed(uv_handle_t *handle)
{
        Conn *conn = handle->data;
        if (--conn->handles == 0)
                conn_free(conn);
}

void conn_abort(Conn *conn)
{
        if (conn->state == CLOSED)
                return;
        conn->state = CLOSED;
        uv_close((uv_handle_t *)&conn->tcp, on_closed);
        uv_close((uv_handle_t *)&conn->timer, on_closed);
}

bool conn_is_ending(const Conn *conn)
{
        return conn->state != OPEN;
}

static void on_timer(uv_timer_t *timer)
{
        Conn *conn = timer->data;
        if (conn->state == OPEN)
                conn->ops->timed_out(conn->protocol);
        else
                conn_abort(conn);
        mark_dirty(conn);
}

void conn_set_timeout(Conn *conn, uint64_t ms)
{
        if (conn->state != OPEN)
                return;
        if (ms)
                uv_timer_start(&conn->timer, on_timer, ms, 0);
        else
                uv_timer_stop(&conn->timer);
}

static void start_reading(Conn *conn);

void conn_finish(Conn *conn, uint64_t linger_ms)
{
        if (conn->state != OPEN)
                return;
        conn->state = FINISHING;
        mem_free(take(conn->held));
        uv_timer_start(&conn->timer, on_timer, linger_ms, 0);
        start_reading(conn);
        mark_dirty(conn);
}

/* --- writing --- */
static void on_written(uv_write_t *write, int err)
{
        Conn *conn = write->data;
        buf_give_back(conn->loop, &conn->writing);
        if (err && conn->state != CLOSED)
                conn_abort(conn);
        mark_dirty(conn);
}

static void on_shutdown(uv_shutdown_t *shutdown, int err)
{
        mem_free(shutdown);
}

/* The answer is out: says so to the peer, and goes on reading until it closes. */
static void start_lingering(Conn *conn)
{
        uv_shutdown_t *shutdown = mem_zalloc(sizeof(*shutdown));
        conn->state = LINGERING;
        if (!shutdown || uv_shutdown(shutdown, (uv_stream_t *)&conn->tcp, on_shutdown) != 0) {
                mem_free(shutdown);
                conn_abort(conn);
        }
}

/* Offers the output to the kernel at once; only what it does not take is kept, and waits for the socket. */
static void send_output(Conn *conn)
{
        if (conn->state == CLOSED || conn->out.size == 0 || conn->writing.data)
                return;
        uv_buf_t all = uv_buf_init((char *)conn->out.data, (unsigned)conn->out.size);
        int sent = uv_try_write((uv_stream_t *)&conn->tcp, &all, 1);
        if (sent < 0 && sent != UV_EAGAIN) {
                conn_abort(conn);
                return;
        }
        size_t done = sent > 0 ? (size_t)sent : 0;
        if (done == conn->out.size) {
                buf_give_back(conn->loop, &conn->out);
                return;
        }
        conn->writing = conn->out;
        conn->out = (Buf){0};
        uv_buf_t rest = uv_buf_init((char *)conn->writing.data + done, (unsigned)(conn->writing.size - done));
        conn->write.data = conn;
        if (uv_write(&conn->write, (uv_stream_t *)&conn->tcp, &rest, 1, on_written) != 0) {
                buf_give_back(conn->loop, &conn->writing);
                conn_abort(conn);
        }
}

/* --- reading --- */
static void stop_reading(Conn *conn)
{
        if (conn->reading)
                uv_read_stop((uv_stream_t *)&conn->tcp);
        conn->reading = false;
}

static void hold(Conn *conn, const uint8_t *data, size_t size)
{
        stop_reading(conn);
        conn->held = mem_alloc(size);
        if (!conn->held) {
                conn_abort(conn);
                return;
        }
        memcpy(conn->held, data, size);
        conn->held_at = 0;
        conn->held_size = size;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
        Conn *conn = handle->data;
        uint8_t *space;
        if (conn->state == OPEN && conn->ops->space) {
                size_t size = conn->ops->space(conn->protocol, &space);
                if (size) {
                        *buf = uv_buf_init((char *)space, (unsigned)MIN(size, (size_t)1 << 30));
                        return;
                }
        }
        *buf = uv_buf_init((char *)conn->loop->read_buffer, CONN_READ_BYTES);
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf)
{
        Conn *conn = stream->data;
        if (got < 0) {
                conn_abort(conn); /* also at the end of input: the peer does not wait for answers any more (README) */
                return;
        }
        if (got == 0 || conn->state != OPEN)
                return;
        uint8_t *data = (uint8_t *)buf->base;
        if (data != conn->loop->read_buffer) {
                conn->ops->filled(conn->protocol, (size_t)got);
        } else {
                size_t used = conn->ops->received(conn->protocol, data, (size_t)got);
                if (used < (size_t)got && conn->state == OPEN)
                        hold(conn, data + used, (size_t)got - used);
        }
        send_output(conn);
        if (conn->held || conn->state == FINISHING)
                mark_dirty(conn); /* all of the output may have left already: then nobody else would go on */
}

static void start_reading(Conn *conn)
{
        if (conn->reading || conn->state == CLOSED)
                return;
        if (uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read) != 0)
                conn_abort(conn);
        else
                conn->reading = true;
}

static void offer_held(Conn *conn)
{
        size_t left = conn->held_size - conn->held_at;
        size_t used = conn->ops->received(conn->protocol, conn->held + conn->held_at, left);
        conn->held_at += used;
        if (used < left || conn->state != OPEN)
                return;
        mem_free(take(conn->held));
        start_reading(conn);
}

/* Everything that may have become possible since: sends, offers input again, closes. */
static void conn_step(Conn *conn)
{
        send_output(conn);
        /* Held input is taken bit by bit while answers leave at once; stop as soon as nothing moves. */
        while (conn->state == OPEN && conn->held && conn_out_pending(conn) <= CONN_OUT_LOW_BYTES) {
                size_t before = conn->held_at;
                offer_held(conn);
                send_output(conn);
                if (conn->held && conn->held_at == before)
                        break;
        }
        if (conn->state == OPEN && conn->want_drained && conn_out_pending(conn) <= CONN_OUT_LOW_BYTES) {
                conn->want_drained = false;
                conn->ops->drained(conn->protocol);
        }
        if (conn->state == FINISHING && conn->out.size == 0 && !conn->writing.data)
                start_lingering(conn);
}

void loop_send_dirty(NetLoop *loop)
{
        /* A step may mark other connections (and this one again); the list is taken bit by bit until it is empty. */
        while (loop->dirty) {
                Conn *conn = loop->dirty;
                loop->dirty = conn->dirty_next;
                conn->dirty = false;
                conn_step(conn);
        }
}

/* --- life --- */
void conn_adopt(NetLoop *loop, int fd, const ConnOps *ops, void *ctx)
{
        Conn *conn = loop->stopping ? NULL : mem_zalloc(sizeof(*conn));
        if (!conn) {
                close(fd);
                return;
        }
        conn->loop = loop;
        conn->ops = ops;
        uv_tcp_init(&loop->uv, &conn->tcp);
        uv_timer_init(&loop->uv, &conn->timer);
        conn->tcp.data = conn->timer.data = conn;
        conn->handles = 2;
        conn->next = loop->conns;
        if (conn->next)
                conn->next->prev = conn;
        loop->conns = conn;
        loop->conn_count++;
        if (uv_tcp_open(&conn->tcp, fd) != 0) {
                close(fd);
                conn_abort(conn);
                return;
        }
        uv_tcp_nodelay(&conn->tcp, 1);
        uv_tcp_keepalive(&conn->tcp, 1, KEEPALIVE_S);
        Status st = ops->opened(ctx, conn, &conn->protocol);
        if (st) {
                status_free(st); /* out of memory: nothing to say to a peer that has not spoken */
                conn_abort(conn);
                return;
        }
        start_reading(conn);
        mark_dirty(conn);
}

NetLoop *conn_loop(Conn *conn)
{
        return conn->loop;
}

const char *conn_peer(Conn *conn, char *out, size_t size)
{
        struct sockaddr_storage address;
        int length = sizeof(address);
        char name[64] = "?";
        int port = 0;
        if (uv_tcp_getpeername(&conn->tcp, (struct sockaddr *)&address, &length) == 0) {
                if (address.ss_family == AF_INET6) {
                        port = ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
                        name[0] = '[';
                        uv_ip6_name((struct sockaddr_in6 *)&address, name + 1, sizeof(name) - 2);
                        strcat(name, "]");
                } else if (address.ss_family == AF_INET) {
                        port = ntohs(((struct sockaddr_in *)&address)->sin_port);
                        uv_ip4_name((struct sockaddr_in *)&address, name, sizeof(name));
                }
        }
        snprintf(out, size, "%s:%d", name, port);
        return out;
}

void net_loop_each_conn(NetLoop *loop, const ConnOps *ops, void (*each)(void *protocol, Conn *conn, void *arg),
                        void *arg)
{
        for (Conn *conn = loop->conns, *next; conn; conn = next) {
                next = conn->next; /* conn I1: nobody is freed in here */
                if (conn->ops == ops && conn->protocol)
                        each(conn->protocol, conn, arg);
        }
}

void loop_abort_all(NetLoop *loop)
{
        for (Conn *conn = loop->conns; conn; conn = conn->next)
                conn_abort(conn);
}
