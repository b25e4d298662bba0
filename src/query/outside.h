/* outside.h - what r.js and r.http need: a JavaScript engine and an HTTP client, both in other processes.
 * worker/ fills it in; QueryWorld.outside NULL, or a NULL function in it: the term says that it is not available.
 *
 * Both functions block until there is an answer, the time is over or the query is cancelled (noticed within 20 ms).
 * They allocate on no arena, so nothing here is ever longjmped past. Threads: any. */
#ifndef QUERY_OUTSIDE_H
#define QUERY_OUTSIDE_H

#include <stdatomic.h>

#include "base/bytes.h"

typedef enum OutsideEnd {
        OUTSIDE_ANSWERED,
        OUTSIDE_TIMED_OUT, /* the process was killed */
        OUTSIDE_CRASHED,   /* it died, or said something that is no answer */
} OutsideEnd;

typedef struct OutsideWait {
        uint64_t timeout_ms; /* of the work itself; waiting for a free process does not count */
        const atomic_bool *cancelled;
} OutsideWait;

typedef struct JsCall {
        uint64_t session; /* calls of one session share the script's globals if they come to one process */
        Bytes source;
        bool is_call; /* call the function that `source` evaluates to; else evaluate `source` */
        Bytes args;   /* of a call: a JSON array */
} JsCall;
typedef enum JsResult {
        JS_VALUE,    /* text: JSON */
        JS_FUNCTION, /* the source evaluates to a function; no text */
        JS_ERROR,    /* text: the message */
} JsResult;

typedef enum HttpAuth { HTTP_AUTH_NONE, HTTP_AUTH_BASIC, HTTP_AUTH_DIGEST } HttpAuth;
typedef struct HttpCall {
        const char *method; /* "GET" ... */
        Bytes url;          /* parameters included */
        const Bytes *headers;
        size_t header_count;
        Bytes data; /* the body; data NULL: none */
        HttpAuth auth;
        Bytes user, password;
        uint64_t attempts;
        uint32_t redirects;
        bool verify;   /* certificates */
        Bytes cookies; /* of the answer before */
} HttpCall;
typedef struct HttpAnswer { /* the parts are spans of the buffer given */
        bool failed;        /* no answer came: `error` says why, and nothing else is set */
        uint32_t status;
        Bytes error;
        Bytes headers;      /* of the last response, as received: status line, lines ended by CRLF */
        Bytes content_type; /* empty: there was none */
        Bytes cookies;
        Bytes body;
} HttpAnswer;

typedef struct OutsideOps {
        void *ctx;
        /* Errors: ERR_CANCELLED, ERR_INTERNAL (no process can be started: the message says why), ERR_LIMIT (a question
         * too large), ERR_NOMEM. Otherwise *ret_end, and with OUTSIDE_ANSWERED the rest. `text` is appended to. */
        Status (*js)(void *ctx, const JsCall *call, const OutsideWait *wait, OutsideEnd *ret_end, JsResult *ret_result,
                     Buf *text);
        Status (*http)(void *ctx, const HttpCall *call, const OutsideWait *wait, OutsideEnd *ret_end, Buf *buffer,
                       HttpAnswer *ret_answer);
} OutsideOps;

#endif
