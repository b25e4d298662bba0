/* http.h - the HTTP client inside a worker process: libcurl. Threads: one. */
#ifndef WORKER_HTTP_H
#define WORKER_HTTP_H

#include "query/outside.h"

#define HTTP_BODY_MAX_BYTES   ((size_t)64 << 20) /* of an answer, decompressed */
#define HTTP_HEADER_MAX_BYTES ((size_t)1 << 20)

typedef struct Http Http;
typedef struct HttpOptions {
        const char *proxy; /* "": none */
        bool public_only;  /* no loopback, private, link-local addresses */
} HttpOptions;

/* Also loads what a locked-in process could not: the resolver's modules, certificates' places. */
MUST_USE Status http_new(const HttpOptions *options, Http **ret_http);
Http *http_free(Http *http); /* NULL is fine; returns NULL */
/* The answer's parts live until the next call. What goes wrong with the other side is answer->error, in RethinkDB's
 * words; ERR_NOMEM. */
MUST_USE Status http_run(Http *http, const HttpCall *call, HttpAnswer *ret_answer);

#endif
