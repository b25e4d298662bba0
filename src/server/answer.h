/* answer.h - response frames of the ReQL protocol, and the one table from StatusCode to its error classes.
 *
 *      | token u64 | size u32 | {"t":T,"e":E,"r":[...],"b":[...],"p":[...],"n":[...]} |      little-endian
 *
 * Keys come in this order and only where RethinkDB sends them: e with t=18, b with errors, n with streams. Errors of
 * text ReQL have one more, behind b: "at":{"line":1,"column":5,"end_line":1,"end_column":9}. Threads: any. */
#ifndef SERVER_ANSWER_H
#define SERVER_ANSWER_H

#include "query/changes.h"
#include "query/query.h"

#define FRAME_HEAD_BYTES 12

enum {
        T_ATOM = 1,
        T_SEQUENCE = 2,
        T_PARTIAL = 3,
        T_WAIT_COMPLETE = 4,
        T_SERVER_INFO = 5,
        T_CLIENT_ERROR = 16,
        T_COMPILE_ERROR = 17,
        T_RUNTIME_ERROR = 18,
};

typedef struct ErrorClass {
        int t, e; /* e: 0 unless t is T_RUNTIME_ERROR */
} ErrorClass;
ErrorClass error_class(StatusCode code);

/* Runs the query to its next batch and appends the answer, also if that is an error. *ret_error: what query_next said
 * (ERR_NONE: fine; ERR_CANCELLED: nothing was appended). Fails only if not even the error could be appended
 * (ERR_NOMEM): `out` is then unchanged. *ret_empty: the batch has no row. */
MUST_USE Status answer_batch(Query *query, uint64_t token, Buf *out, QueryAnswer *ret_answer, StatusCode *ret_error,
                             bool *ret_empty);
/* The same of a parked feed. */
MUST_USE Status answer_feed(FeedCursor *feed, uint64_t token, Buf *out, QueryAnswer *ret_answer, StatusCode *ret_error,
                            bool *ret_empty);
/* Appends an error. `query` gives the backtrace; NULL: []. `error` stays the caller's. */
MUST_USE Status answer_error(Buf *out, uint64_t token, Status error, const Query *query);
/* The same for an error made here, with an empty backtrace. */
MUST_USE Status answer_error_text(Buf *out, uint64_t token, StatusCode code, const char *format, ...) PRINTF_LIKE(4, 5);
/* Appends a frame with this body. */
MUST_USE Status answer_body(Buf *out, uint64_t token, const char *body);

#endif
