/* http.h - HTTP/1.1 on the http port: GET /health.
 *
 *      GET /health -> 200 {"status":"ok","version":...,"uptime_seconds":...,"log":"ok",...}    503 while the log cannot
 * be written anything else -> 404 {"error":"..."}
 *
 * Threads: an HttpConn belongs to its loop; `health` of HttpWorld is called on any loop's thread. */
#ifndef SERVER_HTTP_H
#define SERVER_HTTP_H

#include "network/conn.h"

#define HTTP_HEADER_MAX_BYTES 16384
#define HTTP_BODY_MAX_BYTES   65536 /* read and dropped; nothing takes a body yet */
#define HTTP_REQUEST_MS       10000 /* from the first byte of a request to its end */
#define HTTP_IDLE_MS          60000 /* a kept-alive connection between requests */

typedef struct HttpWorld {
        /* Appends the health report as a JSON object; *ret_healthy false answers 503. */
        Status (*health)(void *ctx, Buf *out, bool *ret_healthy);
        void *ctx;
} HttpWorld;

extern const ConnOps http_conn_ops; /* the listener's ctx is a HttpWorld */

/* Without sockets, for tests and the fuzzer: bytes in, bytes appended to `out`. *ret_close: nothing more is taken,
 * close. */
typedef struct HttpSession HttpSession;
MUST_USE Status http_session_new(const HttpWorld *world, HttpSession **ret_parser);
HttpSession *http_session_free(HttpSession *parser);
MUST_USE Status http_session_feed(HttpSession *parser, const uint8_t *data, size_t size, Buf *out, bool *ret_close);
bool http_session_in_request(const HttpSession *parser);

#endif
