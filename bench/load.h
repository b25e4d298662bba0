/* load.h - what the load generators share: latencies, and connections of which many are in one thread's epoll.
 * Whatever fails ends the program. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/mem.h"
#include "network/client.h"

#define LATENCY_BUCKETS 4096

static inline _Noreturn void die(Status st)
{
        char text[600];
        fprintf(stderr, "%s: %s\n", program_invocation_short_name, status_text(st, text, sizeof text));
        if (status_hint_text(st))
                fprintf(stderr, "  %s\n", status_hint_text(st));
        exit(1);
}
static inline void must(Status st)
{
        if (st)
                die(st);
}

static inline uint64_t now_ns(void)
{
        return (uint64_t)os_mono_ns(os_posix());
}

#define RANDOM_SEED 88172645463325252ull
static inline uint64_t random_next(uint64_t *state)
{
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        return *state;
}

/* --- latencies, in buckets of constant relative width (about 0.5 %), so that any run fits in a few kilobytes --- */
typedef struct Latencies {
        uint64_t counts[LATENCY_BUCKETS], total, max_ns;
} Latencies;
static inline void latencies_add(Latencies *h, uint64_t ns)
{
        double at = ns < 100 ? 0 : log2((double)ns / 100.0) * 138.0;
        h->counts[MIN((size_t)at, LATENCY_BUCKETS - 1)]++;
        h->total++;
        h->max_ns = MAX(h->max_ns, ns);
}
static inline double latencies_us(const Latencies *h, double share)
{
        uint64_t seen = 0, want = (uint64_t)ceil((double)h->total * share);
        for (size_t i = 0; i < LATENCY_BUCKETS; i++)
                if ((seen += h->counts[i]) >= want && seen)
                        return MIN(100.0 * exp2(((double)i + 0.5) / 138.0), (double)h->max_ns) / 1000.0;
        return 0;
}

/* --- a connection without blocking; the first field of whatever the program knows of it --- */
typedef struct Wire {
        Client *client;
        int fd, epoll; /* its event's data.ptr is the Wire */
        Buf out, in;
        size_t sent;
        bool wants_write;
} Wire;
typedef void (*WireFrame)(Wire *wire, uint64_t token, const char *body, size_t size);

static inline void wire_open(Wire *wire, const ClientOptions *options, int epoll)
{
        buf_init(&wire->out, 1u << 30);
        buf_init(&wire->in, 1u << 30);
        must(client_connect(os_posix(), options, &wire->client));
        wire->fd = client_fd(wire->client);
        wire->epoll = epoll;
        fcntl(wire->fd, F_SETFL, fcntl(wire->fd, F_GETFL) | O_NONBLOCK);
        struct epoll_event ev = {.events = EPOLLIN, .data.ptr = wire};
        epoll_ctl(epoll, EPOLL_CTL_ADD, wire->fd, &ev);
}

static inline void wire_close(Wire *wire)
{
        client_close(wire->client);
        buf_done(&wire->out);
        buf_done(&wire->in);
}

/* Sends what the peer takes of `out`. */
static inline void wire_flush(Wire *wire)
{
        while (wire->sent < wire->out.size) {
                ssize_t n = send(wire->fd, wire->out.data + wire->sent, wire->out.size - wire->sent, MSG_NOSIGNAL);
                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        break;
                if (n <= 0)
                        die(status_errno(errno, "sending to the server"));
                wire->sent += (size_t)n;
        }
        bool wants = wire->sent < wire->out.size;
        if (!wants) {
                buf_clear(&wire->out);
                wire->sent = 0;
        }
        if (wants != wire->wants_write) {
                struct epoll_event ev = {.events = EPOLLIN | (wants ? EPOLLOUT : 0), .data.ptr = wire};
                epoll_ctl(wire->epoll, EPOLL_CTL_MOD, wire->fd, &ev);
                wire->wants_write = wants;
        }
}

/* Calls `each` for every whole frame that has come. */
static inline void wire_receive(Wire *wire, WireFrame each)
{
        must(buf_reserve(&wire->in, 65536));
        ssize_t n = recv(wire->fd, wire->in.data + wire->in.size, wire->in.capacity - wire->in.size, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (n <= 0)
                die(status_new(ERR_CLOSED, "the server closed the connection"));
        wire->in.size += (size_t)n;
        size_t at = 0;
        while (wire->in.size - at >= 12) {
                uint32_t size = load_u32(wire->in.data + at + 8);
                if (wire->in.size - at - 12 < size)
                        break;
                each(wire, load_u64(wire->in.data + at), (const char *)wire->in.data + at + 12, size);
                at += 12 + size;
        }
        buf_consume(&wire->in, at);
}

/* Waits at most `ms`, takes what has come and sends what is to be sent. */
static inline void wire_serve(int epoll, int ms, WireFrame each)
{
        struct epoll_event events[64];
        int n = epoll_wait(epoll, events, ELEMENTS(events), ms);
        for (int i = 0; i < n; i++) {
                Wire *wire = events[i].data.ptr;
                if (events[i].events & ~(uint32_t)EPOLLOUT)
                        wire_receive(wire, each);
                wire_flush(wire);
        }
}

#endif
