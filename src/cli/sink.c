/* sink.c - see sink.h. */
#define _GNU_SOURCE /* pipe2, environ */
#include "cli/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/interrupt.h"

enum { SINK_BUFFER_BYTES = 64 * 1024, SINK_MAX_BYTES = 1 << 30, SCREEN_MARGIN_LINES = 2 };

void sink_init(Sink *sink, int fd)
{
        *sink = (Sink){.fd = fd, .terminal = isatty(fd) == 1, .pager_fd = -1};
        buf_init(&sink->out, SINK_MAX_BYTES);
        sink_measure(sink);
}

void sink_init_memory(Sink *sink, const Sink *like)
{
        *sink = (Sink){.fd = -1,
                       .terminal = like->terminal,
                       .memory = true,
                       .columns = like->columns,
                       .lines = like->lines,
                       .pager_fd = -1};
        buf_init(&sink->out, SINK_MAX_BYTES);
}

void sink_measure(Sink *sink)
{
        struct winsize size;
        if (sink->memory)
                return;
        bool known = sink->terminal && ioctl(sink->fd, TIOCGWINSZ, &size) == 0;
        sink->columns = known && size.ws_col > 0 ? size.ws_col : 80;
        sink->lines = known && size.ws_row > 0 ? size.ws_row : 24;
}

/* --- writing --- */

static Status fail_unread(void)
{
        return status_new(ERR_CLOSED, "nobody reads the output any more");
}

/* In pieces that a pipe ready to be written takes whole (pipe(7)), so that it is in poll that we wait for a slow
 * reader: there no interrupt is missed, as it would be by a write that had passed on some bytes before it blocked. */
static Status write_all(int fd, const uint8_t *data, size_t size)
{
        while (size > 0) {
                struct pollfd waited[] = {{.fd = fd, .events = POLLOUT}, {.fd = interrupt_fd(), .events = POLLIN}};
                if (poll(waited, ELEMENTS(waited), -1) < 0 && errno != EINTR)
                        return status_errno(errno, "cannot wait for the output");
                if (waited[0].revents == 0) {
                        if (interrupt_came())
                                return status_new(ERR_CANCELLED, "interrupted");
                        continue;
                }
                ssize_t n = write(fd, data, size < PIPE_BUF ? size : PIPE_BUF);
                if (n >= 0) {
                        data += n;
                        size -= (size_t)n;
                        continue;
                }
                if (errno == EPIPE)
                        return fail_unread();
                if (errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK)
                        return status_errno(errno, "cannot write the output");
                if (errno == EINTR && interrupt_came())
                        return status_new(ERR_CANCELLED, "interrupted");
        }
        return ST_OK;
}

static Status write_out(Sink *sink)
{
        if (sink->memory)
                return ST_OK;
        Status st = write_all(sink->pager_pid ? sink->pager_fd : sink->fd, sink->out.data, sink->out.size);
        buf_clear(&sink->out);
        return st;
}

Status sink_check_reader(const Sink *sink)
{
        struct pollfd looked = {.fd = sink->pager_pid ? sink->pager_fd : sink->fd};
        if (sink->memory || poll(&looked, 1, 0) <= 0 || !(looked.revents & POLLERR))
                return ST_OK;
        return fail_unread();
}

Status sink_flush(Sink *sink)
{
        return sink->holding ? ST_OK : write_out(sink);
}

/* --- pager --- */

bool sink_pager_exists(const char *command)
{
        char path[4096];
        size_t length = strcspn(command, " \t");
        if (length == 0)
                return false;
        if (memchr(command, '/', length)) {
                snprintf(path, sizeof path, "%.*s", (int)length, command);
                return access(path, X_OK) == 0;
        }
        for (const char *dir = getenv("PATH"); dir && *dir;) {
                size_t dir_length = strcspn(dir, ":");
                snprintf(path, sizeof path, "%.*s/%.*s", (int)dir_length, dir, (int)length, command);
                if (access(path, X_OK) == 0)
                        return true;
                dir += dir_length;
                dir += *dir == ':';
        }
        return false;
}

/* The environment with LESS set, if it is not: quit if it fits, show colours, leave the text on the screen. */
static Status start_pager(Sink *sink)
{
        int fds[2];
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        sigset_t signals, none;
        char *argv[] = {(char *)"sh", (char *)"-c", (char *)sink->pager, NULL};
        if (pipe2(fds, O_CLOEXEC) != 0)
                return status_errno(errno, "cannot make a pipe");
        setenv("LESS", "FRX", 0);
        sigemptyset(&signals);
        sigaddset(&signals, SIGPIPE);
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, fds[0], STDIN_FILENO);
        posix_spawn_file_actions_adddup2(&actions, sink->fd, STDOUT_FILENO);
        posix_spawnattr_init(&attributes);
        sigemptyset(&none);
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
        posix_spawnattr_setsigdefault(&attributes, &signals);
        posix_spawnattr_setsigmask(&attributes, &none);
        int error = posix_spawn(&sink->pager_pid, "/bin/sh", &actions, &attributes, argv, environ);
        posix_spawn_file_actions_destroy(&actions);
        posix_spawnattr_destroy(&attributes);
        close(fds[0]);
        if (error) {
                close(fds[1]);
                sink->pager_pid = 0;
                sink->pager_failed = true;
                return ST_OK; /* to the terminal, then */
        }
        sink->pager_fd = fds[1];
        return ST_OK;
}

/* Takes it as ended when nobody can say more about it. */
static void wait_pager(Sink *sink)
{
        int status = 0;
        close(sink->pager_fd);
        sink->pager_fd = -1;
        while (waitpid(sink->pager_pid, &status, 0) < 0 && errno == EINTR)
                ;
        sink->pager_failed = WIFEXITED(status) && (WEXITSTATUS(status) == 126 || WEXITSTATUS(status) == 127);
        sink->pager_pid = 0;
}

void sink_page(Sink *sink)
{
        sink->held_lines = sink->line_columns = 0;
        sink->holding = sink->pager != NULL && sink->terminal && !sink->pager_pid;
        if (sink->holding)
                sink_measure(sink);
}

/* Counts the lines that the text takes; wide signs and colours only make it too many. */
static Status hold(Sink *sink, const uint8_t *data, size_t size)
{
        for (size_t i = 0; i < size; i++) {
                bool ends = data[i] == '\n' || sink->line_columns >= sink->columns;
                sink->held_lines += ends;
                sink->line_columns = ends ? 0 : sink->line_columns + ((data[i] & 0xc0) != 0x80);
        }
        if (sink->held_lines + SCREEN_MARGIN_LINES < sink->lines)
                return ST_OK;
        sink->holding = false;
        TRY(start_pager(sink));
        return write_out(sink);
}

Status sink_release(Sink *sink)
{
        if (!sink->holding)
                return write_out(sink);
        sink->held_lines = 0;
        return write_out(sink);
}

Status sink_unpage(Sink *sink)
{
        sink->holding = false;
        return write_out(sink);
}

Status sink_settle(Sink *sink)
{
        sink->holding = false;
        Status st = write_out(sink);
        if (sink->pager_pid)
                wait_pager(sink);
        return st;
}

/* --- --- */

void sink_done(Sink *sink)
{
        if (sink->pager_pid)
                wait_pager(sink);
        buf_done(&sink->out);
        sink->fd = -1;
}

Status sink_write(Sink *sink, const void *data, size_t size)
{
        TRY(buf_append(&sink->out, data, size));
        if (sink->holding)
                return hold(sink, data, size);
        return sink->out.size >= SINK_BUFFER_BYTES ? write_out(sink) : ST_OK;
}

Status sink_str(Sink *sink, const char *text)
{
        return sink_write(sink, text, strlen(text));
}

Status sink_printf(Sink *sink, const char *format, ...)
{
        char text[1024];
        va_list args;
        va_start(args, format);
        int n = vsnprintf(text, sizeof text, format, args);
        va_end(args);
        return sink_write(sink, text, (size_t)MIN(MAX(n, 0), (int)sizeof text - 1));
}
