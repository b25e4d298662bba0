/* process.c - see process.h. */
#define _GNU_SOURCE
#include "os/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"

struct OsProcess {
        pid_t pid;
        int fd;
};

/* What the child has open: /dev/null three times and the socket. Signals are as at a program's start, since we ignore
 * SIGPIPE and event loops catch others. */
static int spawn(const char *program, const char *const *argv, int socket, pid_t *ret_pid)
{
        static char *const no_environment[] = {NULL};
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        sigset_t all, none;
        sigfillset(&all);
        sigemptyset(&none);
        int err = posix_spawn_file_actions_init(&actions);
        if (err)
                return err;
        err = posix_spawnattr_init(&attributes);
        if (err) {
                posix_spawn_file_actions_destroy(&actions);
                return err;
        }
        if (!err)
                err = posix_spawn_file_actions_adddup2(&actions, socket, OS_PROCESS_SOCKET);
        for (int fd = 0; !err && fd <= STDERR_FILENO; fd++)
                err = posix_spawn_file_actions_addopen(&actions, fd, "/dev/null", O_RDWR, 0);
        if (!err)
                err = posix_spawn_file_actions_addclosefrom_np(&actions, OS_PROCESS_SOCKET + 1);
        if (!err)
                err = posix_spawnattr_setsigmask(&attributes, &none);
        if (!err)
                err = posix_spawnattr_setsigdefault(&attributes, &all);
        if (!err)
                err = posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
        if (!err)
                err = posix_spawn(ret_pid, program, &actions, &attributes, (char *const *)argv, no_environment);
        posix_spawnattr_destroy(&attributes);
        posix_spawn_file_actions_destroy(&actions);
        return err;
}

Status os_process_start(const char *program, const char *const *argv, OsProcess **ret_process)
{
        int ends[2];
        OsProcess *process = mem_zalloc(sizeof *process);
        if (!process)
                return status_nomem();
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
                mem_free(process);
                return status_errno(errno, "cannot make a pair of sockets");
        }
        process->fd = ends[0];
        int err = spawn(program ? program : "/proc/self/exe", argv, ends[1], &process->pid);
        close(ends[1]);
        if (err || fcntl(process->fd, F_SETFL, O_NONBLOCK) != 0) {
                err = err ? err : errno;
                os_process_end(process);
                return status_errno(err, "cannot start a process");
        }
        *ret_process = process;
        return ST_OK;
}

OsProcess *os_process_end(OsProcess *process)
{
        if (!process)
                return NULL;
        close(process->fd);
        if (process->pid > 0) {
                kill(process->pid, SIGKILL);
                while (waitpid(process->pid, NULL, 0) < 0 && errno == EINTR)
                        ;
        }
        mem_free(process);
        return NULL;
}

int64_t os_process_pid(const OsProcess *process)
{
        return process->pid;
}

bool os_process_is_quiet(OsProcess *process)
{
        struct pollfd look = {.fd = process->fd, .events = POLLIN};
        return poll(&look, 1, 0) == 0;
}

static Status closed(void)
{
        return status_new(ERR_CLOSED, "the process is gone");
}

/* False if nothing happened in time. */
static bool wait_for(OsProcess *process, short events, int wait_ms)
{
        struct pollfd look = {.fd = process->fd, .events = events};
        return poll(&look, 1, wait_ms) > 0;
}

Status os_process_send(OsProcess *process, const void *data, size_t size, int wait_ms, size_t *ret_moved)
{
        *ret_moved = 0;
        for (int tries = 0; tries < 2; tries++) {
                ssize_t n = send(process->fd, data, size, MSG_NOSIGNAL);
                if (n >= 0) {
                        *ret_moved = (size_t)n;
                        return ST_OK;
                }
                if (errno != EAGAIN && errno != EINTR)
                        return closed();
                if (tries || !wait_for(process, POLLOUT, wait_ms))
                        break;
        }
        return ST_OK;
}

Status os_process_receive(OsProcess *process, void *out, size_t size, int wait_ms, size_t *ret_moved)
{
        *ret_moved = 0;
        for (int tries = 0; tries < 2; tries++) {
                ssize_t n = recv(process->fd, out, size, 0);
                if (n > 0) {
                        *ret_moved = (size_t)n;
                        return ST_OK;
                }
                if (n == 0 || (errno != EAGAIN && errno != EINTR))
                        return closed();
                if (tries || !wait_for(process, POLLIN, wait_ms))
                        break;
        }
        return ST_OK;
}

/* --- in the child --- */

bool os_process_follow_parent(int64_t parent)
{
        return prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == (pid_t)parent;
}

bool os_child_read(void *out, size_t size)
{
        for (size_t done = 0; done < size;) {
                ssize_t n = read(OS_PROCESS_SOCKET, (char *)out + done, size - done);
                if (n == 0 || (n < 0 && errno != EINTR))
                        return false;
                done += n > 0 ? (size_t)n : 0;
        }
        return true;
}

bool os_child_write(const void *data, size_t size)
{
        for (size_t done = 0; done < size;) {
                ssize_t n = write(OS_PROCESS_SOCKET, (const char *)data + done, size - done);
                if (n < 0 && errno != EINTR)
                        return false;
                done += n > 0 ? (size_t)n : 0;
        }
        return true;
}
