/* status.h - the one error type: NULL is success, anything else is an error with its story.
 *
 * A Status carries a code (what kind), a message (the fact, with the values that matter), an optional hint (advice to a
 * person) and contexts ("while opening the log") added on the way up. Whoever receives a Status owns it: pass it on,
 * or status_free() it. Out-of-memory is a static object, so reporting it never allocates.
 * Threads: a Status belongs to one thread at a time. */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include "base/macros.h"

typedef struct StatusBody *Status;
#define ST_OK ((Status)NULL)

/* What kind of failure. server/ maps each code to its ReQL error type, cli/ to an exit status. */
typedef enum StatusCode {
        ERR_NONE = 0,
        /* the world failed */
        ERR_NOMEM,    /* allocation failed */
        ERR_IO,       /* a file or socket call failed */
        ERR_NO_SPACE, /* the device is full; writing may resume */
        ERR_CORRUPT,  /* stored bytes are not what was written */
        ERR_VERSION,  /* stored by a newer format */
        ERR_BUSY,     /* locked or in use by another */
        ERR_CLOSED,   /* the peer or the object is gone */
        ERR_ACCESS,   /* the operating system refuses */
        ERR_INVALID,  /* an argument or input that cannot be */
        ERR_NOT_FOUND,
        ERR_EXISTS,
        ERR_LIMIT, /* a size or budget is exceeded */
        ERR_UNSUPPORTED,
        ERR_AUTH, /* wrong user or password */
        /* a query failed: RethinkDB's classes */
        ERR_CLIENT,           /* t=16 the driver sent nonsense */
        ERR_COMPILE,          /* t=17 */
        ERR_INTERNAL,         /* t=18 e=1000000 */
        ERR_RESOURCE,         /* t=18 e=2000000 */
        ERR_LOGIC,            /* t=18 e=3000000 */
        ERR_NON_EXISTENCE,    /* t=18 e=3100000 */
        ERR_OP_FAILED,        /* t=18 e=4100000 */
        ERR_OP_INDETERMINATE, /* t=18 e=4200000 */
        ERR_USER,             /* t=18 e=5000000 */
        ERR_PERMISSION,       /* t=18 e=6000000 */
        ERR_CONFLICT,         /* t=18 e=4300000, which RethinkDB does not have: run the transaction again */
        ERR_CANCELLED,        /* STOP, disconnect or shutdown; never shown */
} StatusCode;

Status status_new(StatusCode code, const char *format, ...) PRINTF_LIKE(2, 3) MUST_USE __attribute__((returns_nonnull));
/* The static out-of-memory error. */
Status status_nomem(void) MUST_USE __attribute__((returns_nonnull));
/* From errno `err`: ERR_NO_SPACE, ERR_ACCESS, ERR_NOT_FOUND, ERR_EXISTS, ERR_BUSY, else ERR_IO; the message ends in
 * strerror. */
Status status_errno(int err, const char *format, ...) PRINTF_LIKE(2, 3) MUST_USE;
/* Adds what was being done. Takes and returns `st`; NULL stays NULL. */
Status status_context(Status st, const char *format, ...) PRINTF_LIKE(2, 3) MUST_USE;
/* Adds advice for a person; takes and returns `st`. */
Status status_hint(Status st, const char *format, ...) PRINTF_LIKE(2, 3) MUST_USE;

StatusCode status_code(Status st);       /* ERR_NONE for NULL */
const char *status_message(Status st);   /* the fact alone, without contexts; "" for NULL; lives as long as st */
const char *status_hint_text(Status st); /* NULL if there is none */
/* "context: context: message" into `out`, cut to `size`; returns `out`. */
const char *status_text(Status st, char *out, size_t size);
Status status_free(Status st); /* NULL is fine; returns NULL */
static inline void status_freep(Status *st)
{
        *st = status_free(*st);
}
static inline void status_ignore(Status st)
{
        (void)status_free(st);
}

#define TRY(expr)                                                                                                      \
        do {                                                                                                           \
                Status st_ = (expr);                                                                                   \
                if (unlikely(st_ != ST_OK))                                                                            \
                        return st_;                                                                                    \
        } while (0)
#define TRY_CTX(expr, ...)                                                                                             \
        do {                                                                                                           \
                Status st_ = (expr);                                                                                   \
                if (unlikely(st_ != ST_OK))                                                                            \
                        return status_context(st_, __VA_ARGS__);                                                       \
        } while (0)

#endif
