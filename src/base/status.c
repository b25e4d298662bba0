/* status.c - errors with their story. One heap block per error, one more per context or hint. */
#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/mem.h"

typedef struct Context Context;
struct Context {
        Context *next;
        char text[];
};

struct StatusBody {
        StatusCode code;
        char *hint;
        Context *contexts;   /* outermost first */
        const char *message; /* points just behind this struct */
};

/* Shared by all threads and never written: contexts and hints are not added to it. */
static struct StatusBody nomem = {.code = ERR_NOMEM, .message = "out of memory"};

/* Formats behind a header of `header_bytes`; NULL when out of memory. `tail` is appended. Most messages are short: they
 * are formatted once, on the stack. */
static void *format_block(size_t header_bytes, const char *format, va_list args, const char *tail)
{
        char small[256];
        va_list again;
        va_copy(again, args);
        int length = vsnprintf(small, sizeof small, format, args);
        if (length < 0) { /* a bad format or an unencodable wide string: report the format itself */
                length = snprintf(small, sizeof small, "%s", format);
                if (length >= (int)sizeof small)
                        length = sizeof small - 1;
        }
        size_t tail_size = strlen(tail);
        char *block = mem_alloc(header_bytes + (size_t)length + tail_size + 1);
        if (block) {
                char *text = block + header_bytes;
                if ((size_t)length < sizeof small)
                        memcpy(text, small, (size_t)length);
                else
                        vsnprintf(text, (size_t)length + 1, format, again);
                memcpy(text + length, tail, tail_size + 1);
        }
        va_end(again);
        return block;
}

static Status new_body(StatusCode code, const char *format, va_list args, const char *tail)
{
        struct StatusBody *body = format_block(sizeof *body, format, args, tail);
        if (!body)
                return &nomem;
        body->code = code;
        body->hint = NULL;
        body->contexts = NULL;
        body->message = (const char *)(body + 1);
        return body;
}

Status status_new(StatusCode code, const char *format, ...)
{
        va_list args;
        va_start(args, format);
        Status st = new_body(code, format, args, "");
        va_end(args);
        return st;
}

Status status_nomem(void)
{
        return &nomem;
}

static StatusCode code_of_errno(int err)
{
        switch (err) {
        case ENOSPC:
        case EDQUOT: return ERR_NO_SPACE;
        case EACCES:
        case EPERM:
        case EROFS: return ERR_ACCESS;
        case ENOENT: return ERR_NOT_FOUND;
        case EEXIST: return ERR_EXISTS;
        case EBUSY:
        case EAGAIN:
        case EADDRINUSE: return ERR_BUSY;
        case ENOMEM: return ERR_NOMEM;
        default: return ERR_IO;
        }
}

Status status_errno(int err, const char *format, ...)
{
        char reason[128], tail[136];
        if (strerror_r(err, reason, sizeof reason) != 0)
                snprintf(reason, sizeof reason, "error %d", err);
        snprintf(tail, sizeof tail, ": %s", reason);
        va_list args;
        va_start(args, format);
        Status st = new_body(code_of_errno(err), format, args, tail);
        va_end(args);
        return st;
}

Status status_context(Status st, const char *format, ...)
{
        if (!st || st == &nomem)
                return st;
        va_list args;
        va_start(args, format);
        Context *context = format_block(sizeof *context, format, args, "");
        va_end(args);
        if (context) { /* without memory the error itself matters more than its context */
                context->next = st->contexts;
                st->contexts = context;
        }
        return st;
}

Status status_hint(Status st, const char *format, ...)
{
        if (!st || st == &nomem)
                return st;
        va_list args;
        va_start(args, format);
        char *hint = format_block(0, format, args, "");
        va_end(args);
        if (hint) {
                mem_free(st->hint);
                st->hint = hint;
        }
        return st;
}

StatusCode status_code(Status st)
{
        return st ? st->code : ERR_NONE;
}

const char *status_message(Status st)
{
        return st ? st->message : "";
}

const char *status_hint_text(Status st)
{
        return st ? st->hint : NULL;
}

/* Appends what fits; `*used` counts what is there, without the NUL. */
static void append_cut(char *out, size_t size, size_t *used, const char *text)
{
        size_t n = MIN(strlen(text), size - 1 - *used);
        memcpy(out + *used, text, n);
        *used += n;
        out[*used] = '\0';
}

const char *status_text(Status st, char *out, size_t size)
{
        if (size == 0)
                return out;
        size_t used = 0;
        out[0] = '\0';
        if (!st)
                return out;
        for (Context *context = st->contexts; context; context = context->next) {
                append_cut(out, size, &used, context->text);
                append_cut(out, size, &used, ": ");
        }
        append_cut(out, size, &used, st->message);
        return out;
}

Status status_free(Status st)
{
        if (!st || st == &nomem)
                return NULL;
        for (Context *context = st->contexts, *next; context; context = next) {
                next = context->next;
                mem_free(context);
        }
        mem_free(st->hint);
        mem_free(st);
        return NULL;
}
