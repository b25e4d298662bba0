/* conn.h - one accepted TCP connection, and what a protocol must be to run on it.
 *
 *      accepted -> opened() -> received()* -> conn_finish() -> output sent, rest of the input discarded -> ended()
 *                                  `--------> peer gone, conn_abort() ------------------------------------^
 *
 * Reading goes into a buffer that all connections of the loop share, output into one borrowed from the loop while there
 * is any: an idle connection holds no buffer. What a protocol does not take (it is busy, or its peer does not read) is
 * held and reading stops, so that neither side can make the other's memory grow.
 *
 * Threads: the loop's thread only. */
#ifndef NETWORK_CONN_H
#define NETWORK_CONN_H

#include "base/bytes.h"
#include "network/loop.h"

#define CONN_OUT_HIGH_BYTES                                                                                            \
        ((size_t)1 << 20) /* output waiting for the peer above which a protocol should take nothing new */
#define CONN_OUT_LOW_BYTES ((size_t)1 << 18) /* ... and below which it is offered input again */
#define CONN_OUT_MAX_BYTES ((size_t)1 << 30) /* hard maximum of the output buffer: one answer is at most this */
#define CONN_LINGER_MS     30000 /* for a peer that was answered with an error and may be in the middle of sending */
#define CONN_READ_BYTES    ((size_t)64 << 10)

typedef struct Conn Conn;
typedef struct ConnOps {
        /* A connection was accepted. On error it is closed and nothing else is called. `ctx` is the listener's. */
        Status (*opened)(void *ctx, Conn *conn, void **ret_protocol);
        /* Input: returns how many bytes were taken. Fewer than `size`: the rest is offered again after conn_resume() or
         * when the output has drained; until then nothing is read. The output appended meanwhile is sent in one write
         * when this returns. */
        size_t (*received)(void *protocol, const uint8_t *data, size_t size);
        /* Where the next input belongs, so that a large message is not copied: returns the space, 0 for none. May be
         * NULL. */
        size_t (*space)(void *protocol, uint8_t **ret_data);
        /* `size` bytes of that space were filled. */
        void (*filled)(void *protocol, size_t size);
        /* The output that conn_want_drained() was called about is down to CONN_OUT_LOW_BYTES. May be NULL. */
        void (*drained)(void *protocol);
        /* The time set by conn_set_timeout() has passed. */
        void (*timed_out)(void *protocol);
        /* The connection is gone: `conn` must not be used any more. Called once for each successful opened(). */
        void (*ended)(void *protocol);
} ConnOps;

/* The output: append to it, then conn_send_later() unless inside received() or filled(). */
Buf *conn_out(Conn *conn);
/* Bytes that the peer has not taken yet. */
size_t conn_out_pending(const Conn *conn);
/* The output is sent before the loop waits again. */
void conn_send_later(Conn *conn);
/* Input that was not taken is offered again before the loop waits again. */
void conn_resume(Conn *conn);
/* drained() is to be called, once. */
void conn_want_drained(Conn *conn);
/* Sends what is in the output, then closes. Input is ignored from now on (read and dropped for up to `linger_ms`:
 * closing with unread input would make the kernel destroy the answer). */
void conn_finish(Conn *conn, uint64_t linger_ms);
/* Closes at once. */
void conn_abort(Conn *conn);
bool conn_is_ending(const Conn *conn); /* finished or aborted */
/* timed_out() after `ms` milliseconds, once; 0: no more. */
void conn_set_timeout(Conn *conn, uint64_t ms);
NetLoop *conn_loop(Conn *conn);
/* "127.0.0.1:49152" into out; returns out. */
const char *conn_peer(Conn *conn, char *out, size_t size);

/* Calls `each` for every connection of the loop with these ops; it may finish or abort them. */
void net_loop_each_conn(NetLoop *loop, const ConnOps *ops, void (*each)(void *protocol, Conn *conn, void *arg),
                        void *arg);
/* Makes a connection of an accepted socket; the loop owns it. The socket is closed on error. */
void conn_adopt(NetLoop *loop, int fd, const ConnOps *ops, void *ctx);

#endif
