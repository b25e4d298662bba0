/* control.c - the control socket: one thread accepts, one for each connection answers. See control.h.
 *
 *   slot    FREE --accept--> TAKEN --its thread ends--> ENDED --the accepting thread joins it--> FREE
 *   stop    a byte in the wake pipe, which nobody reads: every poll() ends at once from then on */
#define _GNU_SOURCE /* O_PATH */
#include "server/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "os/thread.h"

#define SEND_TIMEOUT_S 10 /* a peer that does not read for so long is gone */
#define READ_BYTES     4096
#define REST_MS        100 /* after accept failed, so that it does not spin */

typedef enum SlotState { SLOT_FREE, SLOT_TAKEN, SLOT_ENDED } SlotState;
typedef struct Peer {
        Control *control;
        int fd;
        Thread thread;
        atomic_int state; /* SlotState; the peer's thread sets ENDED, the accepting one everything else */
} Peer;

struct Control {
        ControlWorld world;
        OsDir *dir;
        int listen_fd, wake_fds[2]; /* -1: none */
        bool bound;
        Thread thread;
        bool thread_started;
        atomic_bool stopping;
        Peer peers[CONTROL_MAX_PEERS];
};

/* --- addresses --- */

/* A socket's address has room for about 107 characters. A longer path goes through a descriptor of the directory,
 * which the caller closes after bind or connect; -1: none was needed. */
static Status make_address(const char *dir, struct sockaddr_un *address, int *ret_dir_fd)
{
        *address = (struct sockaddr_un){.sun_family = AF_UNIX};
        *ret_dir_fd = -1;
        int n = snprintf(address->sun_path, sizeof(address->sun_path), "%s/%s", dir, CONTROL_NAME);
        if (n > 0 && (size_t)n < sizeof(address->sun_path))
                return ST_OK;
#if defined(__linux__)
        int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return status_errno(errno, "cannot open directory %s", dir);
        snprintf(address->sun_path, sizeof(address->sun_path), "/proc/self/fd/%d/%s", fd, CONTROL_NAME);
        *ret_dir_fd = fd;
        return ST_OK;
#else
        return status_new(ERR_UNSUPPORTED, "the path %s is too long for a socket", dir);
#endif
}

static int new_socket(void)
{
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (fd >= 0)
                (void)!fcntl(fd, F_SETFD, FD_CLOEXEC);
        return fd;
}

static void close_fd(int *fd)
{
        if (*fd >= 0)
                close(*fd);
        *fd = -1;
}

Status control_connect(const char *data_dir, int *ret_fd)
{
        struct sockaddr_un address;
        int dir_fd, rc;
        TRY(make_address(data_dir, &address, &dir_fd));
        int fd = new_socket();
        do
                rc = fd < 0 ? -1 : connect(fd, (struct sockaddr *)&address, sizeof(address));
        while (rc < 0 && errno == EINTR);
        int err = errno;
        close_fd(&dir_fd);
        if (rc == 0) {
                *ret_fd = fd;
                return ST_OK;
        }
        close_fd(&fd);
        if (err == ENOENT || err == ECONNREFUSED || err == ENOTDIR)
                return status_new(ERR_NOT_FOUND, "no server runs on %s", data_dir);
        return status_errno(err, "cannot connect to %s/%s", data_dir, CONTROL_NAME);
}

/* --- a connection --- */

static Status peer_write(void *ctx, Bytes line)
{
        Peer *peer = ctx;
        while (line.size) {
                ssize_t n = send(peer->fd, line.data, line.size, MSG_NOSIGNAL);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return status_new(ERR_CLOSED, "the control connection is gone");
                line.data += n;
                line.size -= (size_t)n;
        }
        return ST_OK;
}

/* One who only stopped sending (`... | nc -U control`) still wants the answer. */
static bool peer_gone(void *ctx)
{
        Peer *peer = ctx;
        struct pollfd fd = {.fd = peer->fd};
        if (atomic_load(&peer->control->stopping))
                return true;
        return poll(&fd, 1, 0) > 0 && (fd.revents & (POLLHUP | POLLERR | POLLNVAL));
}

/* False: nothing more will come. */
static bool wait_readable(Peer *peer)
{
        struct pollfd fds[2] = {{.fd = peer->fd, .events = POLLIN},
                                {.fd = peer->control->wake_fds[0], .events = POLLIN}};
        int rc;
        do
                rc = poll(fds, 2, CONTROL_IDLE_MS);
        while (rc < 0 && errno == EINTR && !atomic_load(&peer->control->stopping));
        return rc > 0 && !fds[1].revents;
}

static Status serve_peer(Peer *peer, ControlSession *session)
{
        uint8_t data[READ_BYTES];
        bool close = false;
        while (!close && wait_readable(peer)) {
                ssize_t n = recv(peer->fd, data, sizeof(data), 0);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return ST_OK;
                TRY(control_session_feed(session, data, (size_t)n, &close));
        }
        return ST_OK;
}

static void peer_thread(void *arg)
{
        Peer *peer = arg;
        ControlOut out = {.ctx = peer, .write = peer_write, .gone = peer_gone};
        ControlSession *session = NULL;
        Status st = control_session_new(&peer->control->world, &out, &session);
        if (!st)
                st = serve_peer(peer, session);
        control_session_free(session);
        status_ignore(st); /* the peer is gone: there is nobody to tell */
        close_fd(&peer->fd);
        atomic_store(&peer->state, SLOT_ENDED);
}

/* --- accepting --- */

static void reap(Control *control)
{
        for (size_t i = 0; i < CONTROL_MAX_PEERS; i++) {
                Peer *peer = &control->peers[i];
                if (atomic_load(&peer->state) == SLOT_ENDED) {
                        thread_join(&peer->thread);
                        atomic_store(&peer->state, SLOT_FREE);
                }
        }
}

static void refuse(int fd, const char *why)
{
        char line[256];
        int n = snprintf(line, sizeof(line), "{\"error\":{\"code\":\"busy\",\"text\":\"%s\"}}\n", why);
        (void)!send(fd, line, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
        close(fd);
}

static void take_peer(Control *control, int fd)
{
        struct timeval timeout = {.tv_sec = SEND_TIMEOUT_S};
        Peer *peer = NULL;
        (void)!fcntl(fd, F_SETFD, FD_CLOEXEC);
        (void)!fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
        (void)!setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
        reap(control);
        for (size_t i = 0; i < CONTROL_MAX_PEERS && !peer; i++)
                if (atomic_load(&control->peers[i].state) == SLOT_FREE)
                        peer = &control->peers[i];
        if (!peer) {
                refuse(fd, "the control socket has as many connections as it takes");
                return;
        }
        peer->control = control;
        peer->fd = fd;
        atomic_store(&peer->state, SLOT_TAKEN);
        Status st = thread_start(&peer->thread, "control-peer", peer_thread, peer);
        if (st) {
                status_ignore(st);
                atomic_store(&peer->state, SLOT_FREE);
                refuse(fd, "no thread can be started");
        }
}

static void accept_thread(void *arg)
{
        Control *control = arg;
        struct pollfd fds[2] = {{.fd = control->listen_fd, .events = POLLIN},
                                {.fd = control->wake_fds[0], .events = POLLIN}};
        while (!atomic_load(&control->stopping)) {
                if (poll(fds, 2, -1) < 0 || !fds[0].revents)
                        continue;
                int fd = accept(control->listen_fd, NULL, NULL);
                if (fd >= 0)
                        take_peer(control, fd);
                else if (errno != EINTR && errno != EAGAIN && errno != ECONNABORTED)
                        (void)!poll(&fds[1], 1, REST_MS); /* out of descriptors */
        }
}

/* --- start and stop --- */

/* Nobody can connect before listen(), and by then the mode is right. */
static Status open_socket(Control *control, const char *data_dir)
{
        struct sockaddr_un address;
        int dir_fd;
        Status st = os_dir_remove(control->dir, CONTROL_NAME);
        if (status_code(st) == ERR_NOT_FOUND)
                st = status_free(st);
        TRY(st);
        TRY(make_address(data_dir, &address, &dir_fd));
        control->listen_fd = new_socket();
        int rc = control->listen_fd < 0 ? -1 : bind(control->listen_fd, (struct sockaddr *)&address, sizeof(address));
        control->bound = rc == 0;
        if (rc == 0)
                rc = chmod(address.sun_path, 0600);
        if (rc == 0)
                rc = fcntl(control->listen_fd, F_SETFL, O_NONBLOCK);
        if (rc == 0)
                rc = listen(control->listen_fd, CONTROL_MAX_PEERS);
        if (rc != 0)
                st = status_errno(errno, "cannot make the control socket %s/%s", data_dir, CONTROL_NAME);
        close_fd(&dir_fd);
        return st;
}

static Status start(Control *control, const char *data_dir)
{
        TRY(os_dir_open(control->world.os, data_dir, OS_DIR_EXISTING, &control->dir));
        TRY(open_socket(control, data_dir));
        if (pipe(control->wake_fds) != 0)
                return status_errno(errno, "cannot make a pipe");
        for (size_t i = 0; i < 2; i++)
                (void)!fcntl(control->wake_fds[i], F_SETFD, FD_CLOEXEC);
        TRY(thread_start(&control->thread, "control", accept_thread, control));
        control->thread_started = true;
        return ST_OK;
}

Status control_start(const ControlWorld *world, const char *data_dir, Control **ret_control)
{
        Control *control = mem_zalloc(sizeof(*control));
        if (!control)
                return status_nomem();
        control->world = *world;
        control->listen_fd = control->wake_fds[0] = control->wake_fds[1] = -1;
        Status st = start(control, data_dir);
        if (st) {
                control_stop(control);
                return st;
        }
        *ret_control = control;
        return ST_OK;
}

Control *control_stop(Control *control)
{
        if (!control)
                return NULL;
        atomic_store(&control->stopping, true);
        if (control->bound) /* first, so that nobody waits for an answer that will not come */
                status_ignore(os_dir_remove(control->dir, CONTROL_NAME));
        if (control->thread_started) {
                (void)!write(control->wake_fds[1], "", 1);
                thread_join(&control->thread);
        }
        for (size_t i = 0; i < CONTROL_MAX_PEERS; i++)
                if (atomic_load(&control->peers[i].state) != SLOT_FREE)
                        thread_join(&control->peers[i].thread);
        close_fd(&control->listen_fd);
        close_fd(&control->wake_fds[0]);
        close_fd(&control->wake_fds[1]);
        os_dir_close(control->dir);
        mem_free(control);
        return NULL;
}
