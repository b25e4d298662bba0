/* http.c - see http.h. One request is one fresh curl handle: nothing of one query's cookies, passwords or connections
 * is there for the next. */
#include "worker/http.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>

#include "base/mem.h"

#define USER_AGENT "PhotonDB/" PHOTONDB_VERSION

struct Http {
        const char *proxy;
        bool public_only;
        Buf headers, body, cookies;
        char error[256], content_type[256];
        /* --- of the present request --- */
        const HttpCall *call;
        size_t sent;
        bool too_large, refused_address;
};

Status http_new(const HttpOptions *options, Http **ret_http)
{
        if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
                return status_new(ERR_UNSUPPORTED, "the HTTP library does not start");
        Http *http = mem_zalloc(sizeof *http);
        if (!http)
                return status_nomem();
        http->proxy = options->proxy;
        http->public_only = options->public_only;
        buf_init(&http->headers, HTTP_HEADER_MAX_BYTES);
        buf_init(&http->body, HTTP_BODY_MAX_BYTES);
        buf_init(&http->cookies, HTTP_HEADER_MAX_BYTES);
        struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
        if (getaddrinfo("localhost", NULL, &hints, &found) == 0)
                freeaddrinfo(found);
        *ret_http = http;
        return ST_OK;
}

Http *http_free(Http *http)
{
        if (!http)
                return NULL;
        buf_done(&http->headers);
        buf_done(&http->body);
        buf_done(&http->cookies);
        mem_free(http);
        curl_global_cleanup();
        return NULL;
}

/* --- curl's callbacks --- */

static size_t on_body(char *data, size_t size, size_t count, void *ctx)
{
        Http *http = ctx;
        Status st = buf_append(&http->body, data, size * count);
        if (!st)
                return size * count;
        http->too_large = status_code(st) == ERR_LIMIT;
        status_ignore(st);
        return 0;
}

/* A new status line begins another response: of a redirect, an authentication, an attempt. The last one counts. */
static size_t on_header(char *data, size_t size, size_t count, void *ctx)
{
        Http *http = ctx;
        size_t bytes = size * count;
        if (bytes >= 5 && memcmp(data, "HTTP/", 5) == 0) {
                buf_clear(&http->headers);
                buf_clear(&http->body);
        }
        Status st = buf_append(&http->headers, data, bytes);
        if (!st)
                return bytes;
        http->too_large = status_code(st) == ERR_LIMIT;
        status_ignore(st);
        return 0;
}

static size_t on_send(char *out, size_t size, size_t count, void *ctx)
{
        Http *http = ctx;
        size_t bytes = MIN(size * count, http->call->data.size - http->sent);
        if (bytes)
                memcpy(out, http->call->data.data + http->sent, bytes);
        http->sent += bytes;
        return bytes;
}

/* Redirects and authentication send the body again. */
static int on_seek(void *ctx, curl_off_t offset, int origin)
{
        Http *http = ctx;
        if (origin != SEEK_SET || offset < 0 || (size_t)offset > http->call->data.size)
                return CURL_SEEKFUNC_FAIL;
        http->sent = (size_t)offset;
        return CURL_SEEKFUNC_OK;
}

/* Within 10/8, 172.16/12, 192.168/16, 100.64/10, 169.254/16, 127/8, 0/8 and above 224/4: not the public internet. */
static bool is_public_v4(uint32_t ip)
{
        static const struct {
                uint32_t net;
                unsigned bits;
        } closed[] = {
                {0x0a000000, 8}, {0xac100000, 12}, {0xc0a80000, 16}, {0x64400000, 10}, {0xa9fe0000, 16},
                {0x7f000000, 8}, {0x00000000, 8},  {0xc0000000, 24}, {0xc6120000, 15}, {0xe0000000, 3},
        };
        for (size_t i = 0; i < ELEMENTS(closed); i++)
                if ((ip ^ closed[i].net) >> (32 - closed[i].bits) == 0)
                        return false;
        return true;
}

static bool is_public(const struct curl_sockaddr *address)
{
        if (address->family == AF_INET) {
                struct sockaddr_in v4;
                memcpy(&v4, &address->addr, sizeof v4);
                return is_public_v4(ntohl(v4.sin_addr.s_addr));
        }
        struct sockaddr_in6 v6;
        memcpy(&v6, &address->addr, sizeof v6);
        const uint8_t *ip = v6.sin6_addr.s6_addr;
        if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr))
                return is_public_v4((uint32_t)ip[12] << 24 | ip[13] << 16 | ip[14] << 8 | ip[15]);
        return (ip[0] & 0xe0) == 0x20; /* global unicast, 2000::/3 */
}

/* Every connection comes here with the address it goes to, redirects and names that resolve to anything included. */
static curl_socket_t on_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *address)
{
        Http *http = ctx;
        (void)purpose;
        if (address->family != AF_INET && address->family != AF_INET6)
                return CURL_SOCKET_BAD;
        if (http->public_only && !is_public(address)) {
                http->refused_address = true;
                return CURL_SOCKET_BAD;
        }
        return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

/* --- one request --- */

#define SET(option, value)                                                                                             \
        do {                                                                                                           \
                if (curl_easy_setopt(curl, option, value) != CURLE_OK)                                                 \
                        return false;                                                                                  \
        } while (0)

static bool set_method(Http *http, CURL *curl)
{
        const HttpCall *call = http->call;
        const char *method = call->method;
        curl_off_t size = (curl_off_t)call->data.size;
        if (strcmp(method, "GET") == 0) {
                SET(CURLOPT_HTTPGET, 1L);
        } else if (strcmp(method, "HEAD") == 0) {
                SET(CURLOPT_NOBODY, 1L);
        } else if (strcmp(method, "POST") == 0) {
                SET(CURLOPT_POST, 1L);
                SET(CURLOPT_POSTFIELDSIZE_LARGE, size);
                SET(CURLOPT_POSTFIELDS, call->data.size ? (const char *)call->data.data : "");
        } else {
                SET(CURLOPT_UPLOAD, 1L);
                SET(CURLOPT_CUSTOMREQUEST, method);
                SET(CURLOPT_READFUNCTION, on_send);
                SET(CURLOPT_READDATA, http);
                SET(CURLOPT_SEEKFUNCTION, on_seek);
                SET(CURLOPT_SEEKDATA, http);
                SET(CURLOPT_INFILESIZE_LARGE, size);
        }
        return true;
}

static bool set_options(Http *http, CURL *curl, struct curl_slist *headers, const char *const texts[4])
{
        const HttpCall *call = http->call;
        SET(CURLOPT_URL, texts[0]);
        SET(CURLOPT_PROTOCOLS_STR, "http,https");
        SET(CURLOPT_REDIR_PROTOCOLS_STR, "http,https");
        SET(CURLOPT_NOSIGNAL, 1L);
        SET(CURLOPT_USERAGENT, USER_AGENT);
        SET(CURLOPT_ACCEPT_ENCODING, "deflate, gzip");
        SET(CURLOPT_PROXY, http->proxy ? http->proxy : "");
        SET(CURLOPT_WRITEFUNCTION, on_body);
        SET(CURLOPT_WRITEDATA, http);
        SET(CURLOPT_HEADERFUNCTION, on_header);
        SET(CURLOPT_HEADERDATA, http);
        SET(CURLOPT_OPENSOCKETFUNCTION, on_socket);
        SET(CURLOPT_OPENSOCKETDATA, http);
        SET(CURLOPT_FOLLOWLOCATION, call->redirects ? 1L : 0L);
        SET(CURLOPT_MAXREDIRS, (long)call->redirects);
        SET(CURLOPT_SSL_VERIFYPEER, call->verify ? 1L : 0L);
        SET(CURLOPT_SSL_VERIFYHOST, call->verify ? 2L : 0L);
        SET(CURLOPT_COOKIEFILE, ""); /* keeps them, in memory */
        if (call->auth != HTTP_AUTH_NONE) {
                SET(CURLOPT_HTTPAUTH, call->auth == HTTP_AUTH_BASIC ? CURLAUTH_BASIC : CURLAUTH_DIGEST);
                SET(CURLOPT_USERNAME, texts[1]);
                SET(CURLOPT_PASSWORD, texts[2]);
        }
        if (headers)
                SET(CURLOPT_HTTPHEADER, headers);
        for (const char *line = texts[3]; *line;) { /* a cookie a line */
                char cookie[8192];
                size_t size = strcspn(line, "\n");
                if (size < sizeof cookie) {
                        snprintf(cookie, sizeof cookie, "%.*s", (int)size, line);
                        SET(CURLOPT_COOKIELIST, cookie);
                }
                line += size + (line[size] == '\n');
        }
        return set_method(http, curl); /* last: it overrides what others set */
}
#undef SET

static bool may_try_again(CURLcode code, long status)
{
        if (code != CURLE_OK)
                return code == CURLE_SEND_ERROR || code == CURLE_RECV_ERROR || code == CURLE_COULDNT_CONNECT;
        return status == 408 || status == 500 || status == 502 || status == 503 || status == 504;
}

static const char *explain(const Http *http, CURLcode code)
{
        if (http->refused_address)
                return "the address is not public, and this server reaches public ones only";
        if (http->too_large)
                return "the response is larger than 67108864 bytes, or its header than 1048576";
        switch (code) {
        case CURLE_SEND_ERROR: return "error when sending data";
        case CURLE_RECV_ERROR: return "error when receiving data";
        case CURLE_COULDNT_CONNECT: return "could not connect to server";
        default: return curl_easy_strerror(code);
        }
}
_Static_assert(HTTP_BODY_MAX_BYTES == 67108864 && HTTP_HEADER_MAX_BYTES == 1048576, "the message above");

static bool keep_cookies(Http *http, CURL *curl)
{
        struct curl_slist *cookies = NULL;
        Status st = ST_OK;
        if (curl_easy_getinfo(curl, CURLINFO_COOKIELIST, &cookies) != CURLE_OK)
                return false;
        for (struct curl_slist *c = cookies; !st && c; c = c->next) {
                st = buf_append_str(&http->cookies, c->data);
                if (!st)
                        st = buf_append_byte(&http->cookies, '\n');
        }
        curl_slist_free_all(cookies);
        bool kept = st == ST_OK;
        status_ignore(st);
        return kept;
}

static void perform(Http *http, CURL *curl, HttpAnswer *answer)
{
        CURLcode code = CURLE_OK;
        long status = 0;
        const char *type = NULL;
        for (uint64_t i = 0; i < http->call->attempts; i++) {
                buf_clear(&http->headers);
                buf_clear(&http->body);
                http->sent = 0;
                code = curl_easy_perform(curl);
                if (code == CURLE_OK)
                        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
                if (http->refused_address || !may_try_again(code, status))
                        break;
        }
        answer->failed = http->call->attempts == 0 || code != CURLE_OK || !keep_cookies(http, curl);
        if (answer->failed) {
                const char *why =
                        http->call->attempts == 0 ? "could not perform, no attempts allowed" : explain(http, code);
                snprintf(http->error, sizeof http->error, "%s", why);
                answer->error = BYTES_STR(http->error);
                return;
        }
        if (curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type) == CURLE_OK && type)
                snprintf(http->content_type, sizeof http->content_type, "%s", type);
        answer->status = status > 0 && status <= 999 ? (uint32_t)status : 0;
        answer->content_type = BYTES_STR(http->content_type);
        answer->headers = BYTES(http->headers.data, http->headers.size);
        answer->body = BYTES(http->body.data, http->body.size);
        answer->cookies = BYTES(http->cookies.data, http->cookies.size);
}

/* Texts for curl end in NUL; one with a NUL inside would be cut. */
static char *text_of(Bytes bytes)
{
        char *text = mem_alloc(bytes.size + 1);
        if (!text)
                return NULL;
        if (bytes.size)
                memcpy(text, bytes.data, bytes.size);
        text[bytes.size] = 0;
        return text;
}

Status http_run(Http *http, const HttpCall *call, HttpAnswer *ret_answer)
{
        const Bytes parts[4] = {call->url, call->user, call->password, call->cookies};
        char *texts[4] = {NULL};
        struct curl_slist *headers = NULL;
        Status st = ST_OK;
        CURL *curl = curl_easy_init();
        *ret_answer = (HttpAnswer){.failed = true};
        buf_clear(&http->cookies);
        http->call = call;
        http->too_large = http->refused_address = false;
        http->error[0] = http->content_type[0] = 0;
        bool ready = curl != NULL;
        for (size_t i = 0; ready && i < ELEMENTS(parts); i++)
                ready = (texts[i] = text_of(parts[i])) != NULL;
        for (size_t i = 0; ready && i < call->header_count; i++) {
                char *line = text_of(call->headers[i]);
                struct curl_slist *more = line ? curl_slist_append(headers, line) : NULL;
                mem_free(line);
                ready = more != NULL;
                headers = more ? more : headers;
        }
        if (!ready) {
                st = status_nomem();
        } else if (!set_options(http, curl, headers, (const char *const *)texts)) {
                ret_answer->error = BYTES_STR("the options of the request do not fit together");
        } else {
                perform(http, curl, ret_answer);
        }
        curl_easy_cleanup(curl);
        curl_slist_free_all(headers);
        for (size_t i = 0; i < ELEMENTS(texts); i++)
                mem_free(texts[i]);
        return st;
}
