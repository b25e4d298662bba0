/* http.c - see http.h. */
#include "server/http.h"

#include <http_parser.h>
#include <stdio.h>

#include "base/mem.h"
#include "value/json.h"

#define URL_MAX_BYTES 2048

struct HttpSession {
        const HttpWorld *world;
        http_parser parser;
        char url[URL_MAX_BYTES];
        size_t url_size, header_bytes, body_bytes;
        bool in_request, too_large, closing;
        Buf *out;      /* during a feed */
        Status failed; /* of a callback */
};

/* --- answers --- */
static const char *reason(int code)
{
        switch (code) {
        case 200: return "OK";
        case 400: return "Bad Request";
        case 404: return "Not Found";
        case 405: return "Method Not Allowed";
        case 413: return "Payload Too Large";
        case 431: return "Request Header Fields Too Large";
        case 503: return "Service Unavailable";
        default: return "Error";
        }
}

static Status answer(HttpSession *parser, int code, Bytes body, bool keep_alive)
{
        bool head = parser->parser.method == HTTP_HEAD;
        TRY(buf_printf(parser->out,
                       "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nCache-Control: "
                       "no-store\r\n%s%s\r\n",
                       code, reason(code), body.size, code == 405 ? "Allow: GET, HEAD\r\n" : "",
                       keep_alive ? "" : "Connection: close\r\n"));
        if (!keep_alive)
                parser->closing = true;
        return head ? ST_OK : buf_append(parser->out, body.data, body.size);
}

static Status answer_error_text(HttpSession *parser, int code, const char *text, bool keep_alive)
{
        char body[256];
        snprintf(body, sizeof(body), "{\"error\":\"%s\"}\n", text);
        return answer(parser, code, BYTES_STR(body), keep_alive);
}

static Status answer_health(HttpSession *parser, bool keep_alive)
{
        Buf body;
        bool healthy = false;
        buf_init(&body, 65536);
        Status st = parser->world->health(parser->world->ctx, &body, &healthy);
        if (!st)
                st = buf_append_byte(&body, '\n');
        if (!st)
                st = answer(parser, healthy ? 200 : 503, BYTES(body.data, body.size), keep_alive);
        buf_done(&body);
        return st;
}

static Status answer_request(HttpSession *parser)
{
        bool keep_alive = http_should_keep_alive(&parser->parser) != 0;
        char *query = memchr(parser->url, '?', parser->url_size);
        size_t path_size = query ? (size_t)(query - parser->url) : parser->url_size;
        bool is_health = bytes_equal(BYTES(parser->url, path_size), BYTES_STR("/health"));
        if (!is_health)
                return answer_error_text(parser, 404, "There is nothing here. GET /health tells how the server is.",
                                         keep_alive);
        if (parser->parser.method != HTTP_GET && parser->parser.method != HTTP_HEAD)
                return answer_error_text(parser, 405, "Only GET and HEAD are understood here.", keep_alive);
        return answer_health(parser, keep_alive);
}

/* --- parsing --- */
static int on_begin(http_parser *p)
{
        HttpSession *parser = p->data;
        parser->url_size = parser->header_bytes = parser->body_bytes = 0;
        parser->in_request = true;
        return 0;
}

static int count_header(HttpSession *parser, size_t size)
{
        parser->header_bytes += size;
        parser->too_large |= parser->header_bytes > HTTP_HEADER_MAX_BYTES;
        return parser->too_large;
}

static int on_url(http_parser *p, const char *at, size_t size)
{
        HttpSession *parser = p->data;
        size_t n = MIN(size, URL_MAX_BYTES - parser->url_size); /* a longer one is nothing we have */
        memcpy(parser->url + parser->url_size, at, n);
        parser->url_size += n;
        return count_header(parser, size);
}

static int on_header(http_parser *p, const char *at, size_t size)
{
        return count_header(p->data, size + 2);
}

static int on_body(http_parser *p, const char *at, size_t size)
{
        HttpSession *parser = p->data;
        parser->body_bytes += size;
        parser->too_large |= parser->body_bytes > HTTP_BODY_MAX_BYTES;
        return parser->too_large;
}

static int on_complete(http_parser *p)
{
        HttpSession *parser = p->data;
        parser->in_request = false;
        parser->failed = answer_request(parser);
        if (parser->closing)
                http_parser_pause(p, 1);
        return parser->failed != ST_OK;
}

static const http_parser_settings settings = {
        .on_message_begin = on_begin,
        .on_url = on_url,
        .on_header_field = on_header,
        .on_header_value = on_header,
        .on_body = on_body,
        .on_message_complete = on_complete,
};

Status http_session_new(const HttpWorld *world, HttpSession **ret_parser)
{
        HttpSession *parser = mem_zalloc(sizeof(*parser));
        if (!parser)
                return status_nomem();
        parser->world = world;
        http_parser_init(&parser->parser, HTTP_REQUEST);
        parser->parser.data = parser;
        *ret_parser = parser;
        return ST_OK;
}

HttpSession *http_session_free(HttpSession *parser)
{
        mem_free(parser);
        return NULL;
}

bool http_session_in_request(const HttpSession *parser)
{
        return parser->in_request;
}

Status http_session_feed(HttpSession *parser, const uint8_t *data, size_t size, Buf *out, bool *ret_close)
{
        Status st = ST_OK;
        parser->out = out;
        if (!parser->closing) {
                http_parser_execute(&parser->parser, &settings, (const char *)data, size);
                st = take(parser->failed);
                enum http_errno err = HTTP_PARSER_ERRNO(&parser->parser);
                if (!st && !parser->closing && parser->too_large)
                        st = answer_error_text(parser, parser->body_bytes > HTTP_BODY_MAX_BYTES ? 413 : 431,
                                               "The request is too large.", false);
                else if (!st && !parser->closing && err == HPE_HEADER_OVERFLOW)
                        st = answer_error_text(parser, 431, "The header is too large.", false);
                else if (!st && !parser->closing && err != HPE_OK)
                        st = answer_error_text(parser, 400, "This is not an HTTP request.", false);
                else if (!st && !parser->closing && parser->parser.upgrade)
                        st = answer_error_text(parser, 400, "Upgrades are not understood here.", false);
        }
        parser->out = NULL;
        *ret_close = parser->closing;
        return st;
}

/* --- on a connection --- */
typedef struct HttpConn {
        Conn *conn;
        HttpSession *parser;
} HttpConn;

static Status http_opened(void *ctx, Conn *conn, void **ret_protocol)
{
        HttpConn *http = mem_zalloc(sizeof(*http));
        if (!http)
                return status_nomem();
        Status st = http_session_new(ctx, &http->parser);
        if (st) {
                mem_free(http);
                return st;
        }
        http->conn = conn;
        conn_set_timeout(conn, HTTP_REQUEST_MS);
        *ret_protocol = http;
        return ST_OK;
}

static size_t http_received(void *protocol, const uint8_t *data, size_t size)
{
        HttpConn *http = protocol;
        bool close = false, was_idle = !http_session_in_request(http->parser);
        if (conn_out_pending(http->conn) > CONN_OUT_HIGH_BYTES)
                return 0; /* requests are read as fast as their answers are */
        Status st = http_session_feed(http->parser, data, size, conn_out(http->conn), &close);
        if (st) {
                status_free(st);
                conn_abort(http->conn);
        } else if (close) {
                conn_finish(http->conn, CONN_LINGER_MS);
        } else if (!http_session_in_request(http->parser)) {
                conn_set_timeout(http->conn, HTTP_IDLE_MS);
        } else if (was_idle) {
                conn_set_timeout(http->conn, HTTP_REQUEST_MS);
        }
        return size;
}

static void http_timed_out(void *protocol)
{
        HttpConn *http = protocol;
        conn_abort(http->conn);
}

static void http_ended(void *protocol)
{
        HttpConn *http = protocol;
        http_session_free(http->parser);
        mem_free(http);
}

const ConnOps http_conn_ops = {
        .opened = http_opened,
        .received = http_received,
        .timed_out = http_timed_out,
        .ended = http_ended,
};
