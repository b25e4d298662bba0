/* local.c - see local.h. */
#include "cli/local.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/output.h"
#include "server/control.h"
#include "value/json.h"

enum { LINE_MAX_BYTES = 80 << 20, READ_BYTES = 65536, LOOK_MS = 200 };

struct Local {
        int fd;
        Buf in;      /* what has arrived; the first `used` bytes are the last line */
        size_t used; /* with its end */
};

Status local_open(const char *data_dir, Local **ret_local)
{
        int fd;
        TRY(control_connect(data_dir, &fd));
        Local *local = mem_zalloc(sizeof *local);
        if (!local) {
                close(fd);
                return status_nomem();
        }
        local->fd = fd;
        buf_init(&local->in, LINE_MAX_BYTES);
        *ret_local = local;
        return ST_OK;
}

Local *local_close(Local *local)
{
        if (local) {
                close(local->fd);
                buf_done(&local->in);
                mem_free(local);
        }
        return NULL;
}

static Status send_line(Local *local, Bytes line)
{
        while (line.size) {
                ssize_t n = send(local->fd, line.data, line.size, MSG_NOSIGNAL);
                if (n < 0 && errno == EINTR && !output_interrupted())
                        continue;
                if (n < 0)
                        return status_errno(errno, "cannot reach the server");
                line.data += n;
                line.size -= (size_t)n;
        }
        return ST_OK;
}

/* Waits in slices: a signal may come between the look at its flag and the poll. */
static Status read_more(Local *local)
{
        struct pollfd fd = {.fd = local->fd, .events = POLLIN};
        TRY(buf_reserve(&local->in, READ_BYTES));
        for (;;) {
                if (output_interrupted())
                        return status_new(ERR_CANCELLED, "interrupted");
                if (poll(&fd, 1, LOOK_MS) <= 0)
                        continue;
                ssize_t n = recv(local->fd, local->in.data + local->in.size, READ_BYTES, 0);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return status_errno(errno, "cannot reach the server");
                if (n == 0)
                        return status_new(ERR_CLOSED, "the server ended the connection: it was stopped, or it crashed");
                local->in.size += (size_t)n;
                return ST_OK;
        }
}

static Status read_line(Local *local, Bytes *ret_line)
{
        size_t looked = 0;
        buf_consume(&local->in, local->used);
        local->used = 0;
        for (;;) {
                const uint8_t *end =
                        local->in.size > looked ? memchr(local->in.data + looked, '\n', local->in.size - looked) : NULL;
                if (end) {
                        local->used = (size_t)(end - local->in.data) + 1;
                        *ret_line = BYTES(local->in.data, local->used - 1);
                        return ST_OK;
                }
                looked = local->in.size;
                TRY(read_more(local));
        }
}

static uint64_t number_of(Value object, const char *key)
{
        Value v = value_get_str(object, key);
        return value_is(v, V_NUMBER) && v.number > 0 ? (uint64_t)v.number : 0;
}

static const char *text_of(Value object, const char *key, Arena *arena)
{
        Value v = value_get_str(object, key);
        return value_is(v, V_STRING) ? arena_dup(arena, v.text, v.size) : "";
}

static Status error_of(Value error, Arena *arena)
{
        Value code = value_get_str(error, "code");
        const char *hint = text_of(error, "hint", arena);
        Status st = status_new(value_is(code, V_STRING) ? control_code_parse(value_bytes(code)) : ERR_IO, "%s",
                               text_of(error, "text", arena));
        return *hint ? status_hint(st, "%s", hint) : st;
}

Status local_ask(Local *local, Bytes request, const StoreProgress *progress, Arena *arena, Value *ret_done)
{
        Bytes line;
        Value reply;
        TRY(send_line(local, request));
        TRY(send_line(local, BYTES("\n", 1)));
        for (;;) {
                TRY(read_line(local, &line));
                ArenaMark mark = arena_mark(arena);
                TRY_CTX(json_parse_copy(line, JSON_PLAIN, arena, &reply), "the server's answer");
                if (!value_is_object(reply))
                        return status_new(ERR_IO, "the server's answer is no object");
                Value done = value_get_str(reply, "done"), error = value_get_str(reply, "error");
                if (value_is_object(error))
                        return error_of(error, arena);
                if (value_is_object(done)) {
                        *ret_done = done;
                        return ST_OK;
                }
                Value step = value_get_str(reply, "progress");
                if (progress && value_is_object(step))
                        TRY(progress->report(progress->ctx, text_of(step, "what", arena), number_of(step, "done"),
                                             number_of(step, "total")));
                arena_rewind(arena, mark);
        }
}

const char *local_moment_text(uint64_t position, int64_t wall_us, char out[96])
{
        char time[MOMENT_TIME_BYTES];
        int n = snprintf(out, 96, "commit %" PRIu64, position); /* no spaces: it is typed again after --as-of */
        if (wall_us)
                snprintf(out + n, 96 - (size_t)n, ", %s", moment_time_text(wall_us, time));
        return out;
}

const char *local_seconds_text(double seconds, char *out)
{
        if (seconds >= 1)
                return output_duration(seconds, out);
        snprintf(out, 32, "%.0f ms", seconds * 1000);
        return out;
}
