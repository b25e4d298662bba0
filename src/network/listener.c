/* listener.c - see listener.h. POSIX sockets: a listening socket is watched with uv_poll and accepted from by hand,
 * because libuv's own accept binds a connection to the loop that accepted it. */
#define _GNU_SOURCE /* accept4 */
#include "network/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

#define MAX_SOCKETS   8
#define BACKLOG       1024
#define REST_MS       100 /* pause after running out of descriptors */
#define WARN_EVERY_MS 10000
#define ACCEPT_BATCH  64 /* so that a flood of connects does not starve the loop */

typedef struct Socket {
        NetListener *listener;
        int fd;
        bool open, watched;
        struct sockaddr_storage address;
        uv_poll_t poll;
} Socket;

struct NetListener {
        Socket sockets[MAX_SOCKETS];
        size_t socket_count;
        int port;
        /* --- thread of loops[0] --- */
        NetLoop *const *loops;
        size_t loop_count, next_loop;
        const ConnOps *ops;
        void *ctx;
        uv_timer_t rest;
        bool resting;
        uint64_t warned_ms; /* 0: never */
        unsigned handles;
        uv_sem_t closed;
        bool started;
        Status start_error;
};

/* --- opening --- */
static int address_port(const struct sockaddr_storage *address)
{
        return ntohs(address->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)address)->sin6_port
                                                    : ((const struct sockaddr_in *)address)->sin_port);
}

static void set_address_port(struct sockaddr_storage *address, int port)
{
        if (address->ss_family == AF_INET6)
                ((struct sockaddr_in6 *)address)->sin6_port = htons((uint16_t)port);
        else
                ((struct sockaddr_in *)address)->sin_port = htons((uint16_t)port);
}

static const char *address_text(const struct sockaddr_storage *address, char *out, size_t size)
{
        char name[64] = "?";
        if (address->ss_family == AF_INET6)
                uv_ip6_name((const struct sockaddr_in6 *)address, name, sizeof(name));
        else
                uv_ip4_name((const struct sockaddr_in *)address, name, sizeof(name));
        snprintf(out, size, address->ss_family == AF_INET6 ? "[%s]:%d" : "%s:%d", name, address_port(address));
        return out;
}

static Status socket_failed(int err, const struct sockaddr_storage *address, const char *what, const char *option)
{
        char text[80];
        address_text(address, text, sizeof(text));
        int port = address_port(address);
        switch (err) {
        case EADDRINUSE:
                return status_hint(status_new(ERR_BUSY, "Port %d is already in use (%s, %s)", port, what, text),
                                   "Another server may be running; stop it or choose another port with %s.", option);
        case EACCES:
        case EPERM:
                return status_hint(status_new(ERR_ACCESS, "Listening on %s (%s) is not permitted", text, what),
                                   "Ports below 1024 need privileges; choose another port with %s.", option);
        case EADDRNOTAVAIL:
                return status_hint(
                        status_new(ERR_INVALID, "The address %s (%s) does not belong to this machine", text, what),
                        "Use --bind with an address of this machine, or `all`.");
        default: return status_errno(err, "cannot listen on %s (%s)", text, what);
        }
}

static int open_socket(struct sockaddr_storage *address, int *ret_fd)
{
        socklen_t length = address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
        int one = 1, err;
        int fd = socket(address->ss_family, SOCK_STREAM, 0);
        if (fd < 0)
                return errno;
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        if (address->ss_family == AF_INET6) /* 0.0.0.0 gets a socket of its own */
                setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
        socklen_t got = sizeof(*address);
        if (bind(fd, (struct sockaddr *)address, length) != 0 || listen(fd, BACKLOG) != 0 ||
            getsockname(fd, (struct sockaddr *)address, &got) != 0) {
                err = errno;
                close(fd);
                return err;
        }
        *ret_fd = fd;
        return 0;
}

static Status resolve(const char *bind, struct addrinfo **ret_first)
{
        struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
        int err = getaddrinfo(bind, NULL, &hints, ret_first);
        if (err)
                return status_hint(
                        status_new(ERR_INVALID, "`%s` is not an address of this machine: %s", bind, gai_strerror(err)),
                        "Use --bind with an address such as 127.0.0.1, or `all`.");
        return ST_OK;
}

static Status add_socket(NetListener *listener, struct sockaddr_storage address, const char *what, const char *option)
{
        set_address_port(&address, listener->port);
        Socket *sock = &listener->sockets[listener->socket_count];
        sock->listener = listener;
        sock->address = address;
        int err = open_socket(&sock->address, &sock->fd);
        if (err)
                return socket_failed(err, &address, what, option);
        sock->open = true;
        listener->socket_count++;
        listener->port = address_port(&sock->address); /* further addresses get the same one */
        return ST_OK;
}

static Status add_all(NetListener *listener, const char *what, const char *option)
{
        struct sockaddr_storage any4 = {.ss_family = AF_INET}, any6 = {.ss_family = AF_INET6};
        TRY(add_socket(listener, any4, what, option));
        Status st = add_socket(listener, any6, what, option);
        if (st && status_code(st) != ERR_BUSY)
                st = status_free(st); /* a machine without IPv6 */
        return st;
}

static Status add_named(NetListener *listener, const char *bind, const char *what, const char *option)
{
        struct addrinfo *first;
        TRY(resolve(bind, &first));
        Status st = ST_OK;
        for (struct addrinfo *at = first; at && !st && listener->socket_count < MAX_SOCKETS; at = at->ai_next) {
                struct sockaddr_storage address = {0};
                if (at->ai_family != AF_INET && at->ai_family != AF_INET6)
                        continue;
                memcpy(&address, at->ai_addr, at->ai_addrlen);
                st = add_socket(listener, address, what, option);
        }
        freeaddrinfo(first);
        if (!st && listener->socket_count == 0)
                st = status_new(ERR_INVALID, "`%s` has no IPv4 or IPv6 address", bind);
        return st;
}

Status net_listener_open(const char *bind, int port, const char *what, const char *option, NetListener **ret_listener)
{
        if (port < 0 || port > 65535)
                return status_new(ERR_INVALID, "%d is not a port number (%s)", port, what);
        NetListener *listener = mem_zalloc(sizeof(*listener));
        if (!listener)
                return status_nomem();
        listener->port = port;
        Status st =
                strcmp(bind, "all") == 0 ? add_all(listener, what, option) : add_named(listener, bind, what, option);
        if (st) {
                net_listener_close(listener);
                return st;
        }
        *ret_listener = listener;
        return ST_OK;
}

int net_listener_port(const NetListener *listener)
{
        return listener->port;
}

bool net_listener_is_loopback(const NetListener *listener)
{
        for (size_t i = 0; i < listener->socket_count; i++) {
                const struct sockaddr_storage *address = &listener->sockets[i].address;
                if (address->ss_family == AF_INET6) {
                        if (!IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr))
                                return false;
                } else if (ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr) >> 24 != 127) {
                        return false;
                }
        }
        return true;
}

const char *net_listener_text(const NetListener *listener, char *out, size_t size)
{
        size_t used = 0;
        out[0] = 0;
        for (size_t i = 0; i < listener->socket_count && used < size; i++) {
                char one[80];
                used += (size_t)snprintf(out + used, size - used, "%s%s", i ? ", " : "",
                                         address_text(&listener->sockets[i].address, one, sizeof(one)));
        }
        return out;
}

/* --- accepting --- */
typedef struct Accepted {
        NetTask task;
        NetLoop *loop;
        const ConnOps *ops;
        void *ctx;
        int fd;
} Accepted;

static void adopt(NetTask *task)
{
        Accepted *accepted = (Accepted *)task;
        conn_adopt(accepted->loop, accepted->fd, accepted->ops, accepted->ctx);
        mem_free(accepted);
}

static void deal(NetListener *listener, int fd)
{
        NetLoop *loop = listener->loops[listener->next_loop++ % listener->loop_count];
        if (loop == listener->loops[0]) {
                conn_adopt(loop, fd, listener->ops, listener->ctx);
                return;
        }
        Accepted *accepted = mem_alloc(sizeof(*accepted));
        if (!accepted) {
                close(fd);
                return;
        }
        *accepted = (Accepted){.task.run = adopt, .loop = loop, .ops = listener->ops, .ctx = listener->ctx, .fd = fd};
        net_loop_post(loop, &accepted->task);
}

static void watch(NetListener *listener, bool on);

static void on_rested(uv_timer_t *timer)
{
        NetListener *listener = timer->data;
        listener->resting = false;
        watch(listener, true);
}

/* Without this the socket stays readable and the loop would spin until a descriptor is free. */
static void rest(NetListener *listener, int err)
{
        if (listener->resting)
                return;
        uint64_t now_ms = uv_now(net_loop_uv(listener->loops[0]));
        if (!listener->warned_ms || now_ms - listener->warned_ms > WARN_EVERY_MS) {
                log_warn("network", "connections wait: %s", uv_strerror(uv_translate_sys_error(err)));
                listener->warned_ms = now_ms;
        }
        listener->resting = true;
        watch(listener, false);
        uv_timer_start(&listener->rest, on_rested, REST_MS, 0);
}

static int accept_one(int fd)
{
#if defined(__linux__)
        return accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
#else
        int accepted = accept(fd, NULL, NULL);
        if (accepted >= 0)
                fcntl(accepted, F_SETFD, FD_CLOEXEC);
        return accepted;
#endif
}

static void on_acceptable(uv_poll_t *poll, int status, int events)
{
        Socket *sock = poll->data;
        for (int i = 0; i < ACCEPT_BATCH; i++) {
                int fd = accept_one(sock->fd);
                if (fd >= 0) {
                        deal(sock->listener, fd);
                        continue;
                }
                if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                        rest(sock->listener, errno);
                        return;
                }
                if (errno == EAGAIN || errno == EWOULDBLOCK)
                        return;
                /* EINTR, ECONNABORTED and the network errors that accept passes on concern one connection: go on with
                 * the next */
        }
}

static void watch(NetListener *listener, bool on)
{
        for (size_t i = 0; i < listener->socket_count; i++) {
                Socket *sock = &listener->sockets[i];
                if (!sock->watched)
                        continue;
                if (on)
                        uv_poll_start(&sock->poll, UV_READABLE, on_acceptable);
                else
                        uv_poll_stop(&sock->poll);
        }
}

static void start_on_loop(void *arg)
{
        NetListener *listener = arg;
        uv_loop_t *uv = net_loop_uv(listener->loops[0]);
        uv_timer_init(uv, &listener->rest);
        listener->rest.data = listener;
        listener->handles = 1;
        for (size_t i = 0; i < listener->socket_count; i++) {
                Socket *sock = &listener->sockets[i];
                int err = uv_poll_init(uv, &sock->poll, sock->fd);
                if (err) {
                        listener->start_error =
                                status_new(ERR_IO, "cannot watch the listening socket: %s", uv_strerror(err));
                        return;
                }
                sock->poll.data = sock;
                sock->watched = true;
                listener->handles++;
        }
        watch(listener, true);
}

Status net_listener_start(NetListener *listener, NetLoop *const *loops, size_t loop_count, const ConnOps *ops,
                          void *ctx)
{
        listener->loops = loops;
        listener->loop_count = loop_count;
        listener->ops = ops;
        listener->ctx = ctx;
        if (uv_sem_init(&listener->closed, 0) != 0)
                return status_nomem();
        listener->started = true;
        net_loop_call(loops[0], start_on_loop, listener);
        return take(listener->start_error);
}

static void on_handle_closed(uv_handle_t *handle)
{
        NetListener *listener = handle->type == UV_TIMER ? handle->data : ((Socket *)handle->data)->listener;
        if (--listener->handles == 0)
                uv_sem_post(&listener->closed);
}

static void stop_on_loop(void *arg)
{
        NetListener *listener = arg;
        for (size_t i = 0; i < listener->socket_count; i++)
                if (listener->sockets[i].watched)
                        uv_close((uv_handle_t *)&listener->sockets[i].poll, on_handle_closed);
        uv_close((uv_handle_t *)&listener->rest, on_handle_closed);
}

NetListener *net_listener_close(NetListener *listener)
{
        if (!listener)
                return NULL;
        if (listener->started) {
                net_loop_call(listener->loops[0], stop_on_loop, listener);
                uv_sem_wait(&listener->closed);
                uv_sem_destroy(&listener->closed);
        }
        for (size_t i = 0; i < listener->socket_count; i++)
                if (listener->sockets[i].open)
                        close(listener->sockets[i].fd);
        mem_free(listener);
        return NULL;
}
