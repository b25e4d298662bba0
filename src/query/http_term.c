/* http_term.c - r.http: its options, one request, pages as a stream.
 *
 * Options are read in RethinkDB's order, since the first mistake is the one that is reported. What goes wrong outside
 * is NON_EXISTENCE, so that r.default() catches it. */
#include <inttypes.h>

#include "query/http_answer.h"
#include "value/json.h"

#define DEFAULT_TIMEOUT_MS 30000
#define MAX_TIMEOUT_MS     UINT64_C(2592000000) /* 30 days */
#define DEFAULT_ATTEMPTS   5
#define DEFAULT_REDIRECTS  1

typedef struct Request {
        Bytes url; /* as given: `params` come behind it */
        Value params;
        HttpFormat format;
        uint64_t timeout_ms;
        HttpCall call; /* all but the whole url */
} Request;

typedef struct Headers { /* lines, growing */
        Arena *arena;
        Bytes *lines;
        size_t count, capacity;
} Headers;

static void headers_add(Headers *headers, Bytes line)
{
        if (headers->count == headers->capacity) {
                headers->capacity = 2 * headers->capacity + 8;
                Bytes *bigger = arena_array(headers->arena, Bytes, headers->capacity);
                if (headers->count)
                        memcpy(bigger, headers->lines, headers->count * sizeof *bigger);
                headers->lines = bigger;
        }
        headers->lines[headers->count++] = line;
}

/* --- text forms --- */

/* As RethinkDB puts numbers, strings and null into a request; false for others. */
static bool param_text(Env *env, Value v, Bytes *ret_text)
{
        switch (value_type(v)) {
        case V_NULL: *ret_text = BYTES("", 0); return true;
        case V_STRING: *ret_text = value_bytes(v); return true;
        case V_NUMBER: {
                char *text = arena_alloc(env->arena, 32);
                *ret_text = BYTES(text, json_number_text(v.number, text));
                return true;
        }
        default: return false;
        }
}

static char *put_encoded(char *out, Bytes text)
{
        static const char hex[] = "0123456789ABCDEF";
        for (size_t i = 0; i < text.size; i++) {
                uint8_t c = text.data[i];
                if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                    c == '.' || c == '_' || c == '~') {
                        *out++ = (char)c;
                        continue;
                }
                *out++ = '%';
                *out++ = hex[c >> 4];
                *out++ = hex[c & 15];
        }
        return out;
}

/* key=value&key=value; the values have been checked. */
static Bytes encode_fields(Env *env, Value fields)
{
        Bytes key, text;
        size_t most = 1;
        for (size_t i = 0; i < value_count(fields); i++) {
                Value v = value_field_at(fields, i, &key);
                most += 3 * (key.size + (value_is(v, V_STRING) ? v.size : 32)) + 2;
        }
        char *start = arena_alloc(env->arena, most), *out = start;
        for (size_t i = 0; i < value_count(fields); i++) {
                Value v = value_field_at(fields, i, &key);
                if (!param_text(env, v, &text))
                        continue;
                if (i)
                        *out++ = '&';
                out = put_encoded(out, key);
                *out++ = '=';
                out = put_encoded(out, text);
        }
        return BYTES(start, (size_t)(out - start));
}

static const uint8_t *last_of(Bytes text, char c)
{
        for (size_t i = text.size; i > 0; i--)
                if (text.data[i - 1] == (uint8_t)c)
                        return text.data + i - 1;
        return NULL;
}

/*      example.org           example.org/?a=1
 *      example.org/x?b=2     example.org/x?b=2&a=1
 *      example.org/x?b=2/y   example.org/x?b=2/y?a=1 */
static Bytes whole_url(Env *env, const Request *request)
{
        if (!value_is(request->params, V_OBJECT) || value_count(request->params) == 0)
                return request->url;
        Bytes params = encode_fields(env, request->params);
        const uint8_t *question = last_of(request->url, '?'), *slash = last_of(request->url, '/');
        const char *join = "";
        if (!question)
                join = slash ? "?" : "/?";
        else if (slash && slash > question)
                join = "?";
        else if (slash)
                join = "&";
        size_t join_size = strlen(join), size = request->url.size + join_size + params.size;
        char *url = arena_alloc(env->arena, size + 1);
        memcpy(url, request->url.data, request->url.size);
        memcpy(url + request->url.size, join, join_size);
        memcpy(url + request->url.size + join_size, params.data, params.size);
        return BYTES(url, size);
}

/* --- options --- */

/* The field of `auth`, a string. */
static Status auth_field(Env *env, const Term *at, Value auth, const char *name, Bytes *ret)
{
        Value item = value_get_str(auth, name);
        if (value_is(item, V_NONE))
                return fail(env, at, ERR_LOGIC, "`auth.%s` not found in the auth object.", name);
        if (!value_is(item, V_STRING))
                return fail(env, at, ERR_LOGIC, "Expected `auth.%s` to be a STRING, but found %s.", name,
                            value_type_name(item));
        *ret = value_bytes(item);
        return ST_OK;
}

static Status read_auth(Env *env, const Term *term, HttpCall *call)
{
        Val val;
        Value auth;
        bool present;
        TRY(opt_val(env, term, "auth", &val, &present));
        if (!present)
                return ST_OK;
        TRY(val_as_datum(env, &val, &auth));
        if (!value_is_object(auth))
                return fail(env, val.term, ERR_LOGIC, "Expected `auth` to be an OBJECT, but found %s.",
                            value_type_name(auth));
        Bytes type = BYTES_STR("basic");
        if (!value_is(value_get_str(auth, "type"), V_NONE))
                TRY(auth_field(env, val.term, auth, "type", &type));
        TRY(auth_field(env, val.term, auth, "user", &call->user));
        TRY(auth_field(env, val.term, auth, "pass", &call->password));
        if (bytes_equal(type, BYTES_STR("basic")))
                call->auth = HTTP_AUTH_BASIC;
        else if (bytes_equal(type, BYTES_STR("digest")))
                call->auth = HTTP_AUTH_DIGEST;
        else
                return fail(env, val.term, ERR_LOGIC,
                            "`auth.type` is not recognized ('basic', and 'digest' are allowed).");
        return ST_OK;
}

static Status read_method(Env *env, const Term *term, HttpCall *call)
{
        static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"};
        Val val;
        Bytes text;
        bool present;
        call->method = "GET";
        TRY(opt_val(env, term, "method", &val, &present));
        if (!present)
                return ST_OK;
        TRY(val_as_string(env, &val, &text));
        for (size_t i = 0; i < ELEMENTS(methods); i++) {
                if (bytes_equal(text, BYTES_STR(methods[i]))) {
                        call->method = methods[i];
                        return ST_OK;
                }
        }
        return fail(env, val.term, ERR_LOGIC,
                    "`method` (%.*s) is not recognized (GET, HEAD, POST, PUT, PATCH and DELETE are allowed).",
                    (int)text.size, (const char *)text.data);
}

/* What a form holds: numbers, strings, null. */
static Status check_form(Env *env, const Term *at, Value form)
{
        for (size_t i = 0; i < value_count(form); i++) {
                Bytes key, text;
                Value v = value_field_at(form, i, &key);
                if (!param_text(env, v, &text))
                        return fail(env, at, ERR_LOGIC,
                                    "Expected `data.%.*s` to be a NUMBER, STRING or NULL, but found %s.", (int)key.size,
                                    (const char *)key.data, value_type_name(v));
        }
        return ST_OK;
}

static Status read_data(Env *env, const Term *term, HttpCall *call, Headers *headers)
{
        Val val;
        Value data;
        bool present;
        TRY(opt_val(env, term, "data", &val, &present));
        if (!present)
                return ST_OK;
        TRY(val_as_datum(env, &val, &data));
        bool post = strcmp(call->method, "POST") == 0;
        if (strcmp(call->method, "GET") == 0 || strcmp(call->method, "HEAD") == 0)
                return fail(env, term, ERR_LOGIC,
                            "`data` should only be specified on a PUT, POST, PATCH, or DELETE request.  If you want "
                            "URL parameters, use `params` instead.");
        if (value_is(data, V_STRING)) {
                call->data = value_bytes(data);
        } else if (!post) {
                headers_add(headers, BYTES_STR("Content-Type: application/json")); /* option `header` comes later */
                TRY(json_of(env, val.term, data, &call->data));
        } else if (value_is_object(data)) {
                TRY(check_form(env, val.term, data));
                call->data = encode_fields(env, data);
        } else {
                return fail(env, val.term, ERR_LOGIC, "Expected `data` to be a STRING or OBJECT, but found %s.",
                            value_type_name(data));
        }
        return ST_OK;
}

static Status read_format(Env *env, const Term *term, HttpFormat *ret)
{
        static const char *const names[] = {[HTTP_AUTO] = "auto",
                                            [HTTP_JSON] = "json",
                                            [HTTP_JSONP] = "jsonp",
                                            [HTTP_TEXT] = "text",
                                            [HTTP_BINARY] = "binary"};
        Val val;
        Bytes text;
        bool present;
        *ret = HTTP_AUTO;
        TRY(opt_val(env, term, "result_format", &val, &present));
        if (!present)
                return ST_OK;
        TRY(val_as_string(env, &val, &text));
        for (size_t i = 0; i < ELEMENTS(names); i++) {
                if (bytes_equal(text, BYTES_STR(names[i]))) {
                        *ret = (HttpFormat)i;
                        return ST_OK;
                }
        }
        return fail(env, val.term, ERR_LOGIC,
                    "`result_format` (%.*s) is not recognized, ('auto', 'json', 'jsonp', 'text', and 'binary' are "
                    "allowed).",
                    (int)text.size, (const char *)text.data);
}

static Status check_params(Env *env, const Term *at, Value params)
{
        if (!value_is_object(params)) {
                Bytes shown = message_datum_whole(env, params);
                return fail(env, at, ERR_LOGIC, "Expected `params` to be an OBJECT, but found %s:\n%.*s",
                            value_type_name(params), (int)shown.size, (const char *)shown.data);
        }
        for (size_t i = 0; i < value_count(params); i++) {
                Bytes key, text;
                Value v = value_field_at(params, i, &key);
                if (param_text(env, v, &text))
                        continue;
                Bytes shown = message_datum_whole(env, v);
                return fail(env, at, ERR_LOGIC,
                            "Expected `params.%.*s` to be a NUMBER, STRING or NULL, but found %s:\n%.*s", (int)key.size,
                            (const char *)key.data, value_type_name(v), (int)shown.size, (const char *)shown.data);
        }
        return ST_OK;
}

static Status read_params(Env *env, const Term *term, Value *ret)
{
        Val val;
        bool present;
        *ret = value_object_sorted(NULL, 0);
        TRY(opt_val(env, term, "params", &val, &present));
        if (!present)
                return ST_OK;
        TRY(val_as_datum(env, &val, ret));
        return check_params(env, val.term, *ret);
}

static Status add_header(Env *env, const Term *at, Headers *headers, Bytes line)
{
        if (line.size && (memchr(line.data, '\r', line.size) || memchr(line.data, '\n', line.size)))
                return fail(env, at, ERR_LOGIC, "A `header` item contains newline characters.");
        if (line.size)
                headers_add(headers, line);
        return ST_OK;
}

static Status read_header(Env *env, const Term *term, Headers *headers)
{
        Val val;
        Value header;
        bool present;
        TRY(opt_val(env, term, "header", &val, &present));
        if (!present)
                return ST_OK;
        TRY(val_as_datum(env, &val, &header));
        if (!value_is_object(header) && !value_is(header, V_ARRAY))
                return fail(env, val.term, ERR_LOGIC, "Expected `header` to be an ARRAY or OBJECT, but found %s.",
                            value_type_name(header));
        for (size_t i = 0; i < value_count(header); i++) {
                Bytes key = BYTES_NONE, line = BYTES_NONE;
                Value v = value_is(header, V_ARRAY) ? value_at(header, i) : value_field_at(header, i, &key);
                if (value_is(header, V_ARRAY)) {
                        if (!value_is(v, V_STRING))
                                return fail(env, val.term, ERR_LOGIC,
                                            "Expected `header[%zu]` to be a STRING, but found %s.", i,
                                            value_type_name(v));
                        line = value_bytes(v);
                } else if (value_is(v, V_STRING)) {
                        char *text = arena_alloc(env->arena, key.size + 2 + v.size);
                        memcpy(text, key.data, key.size);
                        memcpy(text + key.size, ": ", 2);
                        memcpy(text + key.size + 2, v.text, v.size);
                        line = BYTES(text, key.size + 2 + v.size);
                } else if (!value_is(v, V_NULL)) {
                        return fail(env, val.term, ERR_LOGIC,
                                    "Expected `header.%.*s` to be a STRING or NULL, but found %s.", (int)key.size,
                                    (const char *)key.data, value_type_name(v));
                }
                TRY(add_header(env, val.term, headers, line));
        }
        return ST_OK;
}

static Status read_numbers(Env *env, const Term *term, Request *request)
{
        Val val;
        bool present;
        double seconds;
        int64_t n;
        request->timeout_ms = DEFAULT_TIMEOUT_MS;
        TRY(opt_val(env, term, "timeout", &val, &present));
        if (present) {
                TRY(val_as_number(env, &val, &seconds));
                if (seconds < 0)
                        return fail(env, val.term, ERR_LOGIC, "`timeout` may not be negative.");
                request->timeout_ms =
                        seconds * 1000 >= (double)MAX_TIMEOUT_MS ? MAX_TIMEOUT_MS : (uint64_t)(seconds * 1000);
        }
        request->call.attempts = DEFAULT_ATTEMPTS;
        TRY(opt_val(env, term, "attempts", &val, &present));
        if (present) {
                TRY(val_as_int(env, &val, &n));
                request->call.attempts = (uint64_t)n; /* a negative one: as often as there is time for */
        }
        request->call.redirects = DEFAULT_REDIRECTS;
        TRY(opt_val(env, term, "redirects", &val, &present));
        if (present) {
                TRY(val_as_int(env, &val, &n));
                if (n < 0 || n > UINT32_MAX)
                        return fail(env, val.term, ERR_LOGIC, "Integer too large: %" PRId64, n);
                request->call.redirects = (uint32_t)n;
        }
        request->call.verify = true;
        TRY(opt_val(env, term, "verify", &val, &present));
        return present ? val_as_bool(env, &val, &request->call.verify) : ST_OK;
}

static Status read_request(Env *env, const Term *term, Request *request)
{
        Headers headers = {.arena = env->arena};
        TRY(read_auth(env, term, &request->call));
        TRY(read_method(env, term, &request->call));
        TRY(read_data(env, term, &request->call, &headers));
        TRY(read_format(env, term, &request->format));
        TRY(read_params(env, term, &request->params));
        TRY(read_header(env, term, &headers));
        TRY(read_numbers(env, term, request));
        request->call.headers = headers.lines;
        request->call.header_count = headers.count;
        return ST_OK;
}

/* How to find the next page: a function, or 'link-next'. */
typedef struct Pages {
        bool wanted;
        Func *func; /* NULL: link-next */
        int64_t limit;
} Pages;

static Status read_pages(Env *env, const Term *term, Pages *pages)
{
        Val page, limit;
        bool has_page, has_limit;
        Bytes name;
        *pages = (Pages){0};
        TRY(opt_val(env, term, "page", &page, &has_page));
        TRY(opt_val(env, term, "page_limit", &limit, &has_limit));
        if (!has_page)
                return ST_OK;
        if (!has_limit)
                return fail(env, page.term, ERR_LOGIC,
                            "Cannot use `page` without specifying `page_limit` (a positive number performs that many "
                            "requests, -1 is unlimited).");
        if (page.kind == VAL_FUNC || !val_is_datum(&page)) {
                TRY(val_to_func(env, &page, SHORTCUT_NONE, &pages->func));
                pages->wanted = true;
        } else if (!value_is(page.datum, V_NULL)) {
                TRY(val_as_string(env, &page, &name));
                if (!bytes_equal(name, BYTES_STR("link-next")))
                        return fail(env, page.term, ERR_LOGIC,
                                    "`page` method '%.*s' not recognized, only 'link-next' is available.",
                                    (int)name.size, (const char *)name.data);
                pages->wanted = true;
        }
        TRY(val_as_int(env, &limit, &pages->limit));
        if (pages->limit < -1)
                return fail(env, limit.term, ERR_LOGIC, "`page_limit` should be greater than or equal to -1.");
        return ST_OK;
}

/* --- one request --- */

static Status http_failed(Env *env, const Term *term, const Request *request, const char *why, Value header, Value body)
{
        Bytes head = value_is(header, V_NONE) ? BYTES("", 0) : message_datum_whole(env, header);
        Bytes rest = value_is(body, V_NONE) ? BYTES("", 0) : message_datum_whole(env, body);
        return fail(env, term, ERR_NON_EXISTENCE, "Error in HTTP %s of `%.*s`: %s.%s%.*s%s%.*s", request->call.method,
                    (int)request->url.size, (const char *)request->url.data, why, head.size ? "\nheader:\n" : "",
                    (int)head.size, (const char *)head.data, rest.size ? "\nbody:\n" : "", (int)rest.size,
                    (const char *)rest.data);
}

static Status read_answer(Env *env, const Term *term, const Request *request, const HttpAnswer *answer,
                          Value *ret_header, Value *ret_body)
{
        const char *why;
        *ret_body = value_none();
        TRY(http_header(env, answer->headers, ret_header, &why));
        if (answer->status < 200 || answer->status >= 300) {
                if (answer->body.size)
                        TRY(outside_text(env, answer->body, ret_body));
                return http_failed(env, term, request, arena_printf(env->arena, "status code %u", answer->status),
                                   *ret_header, *ret_body);
        }
        if (why)
                return http_failed(env, term, request, why, value_none(), value_none());
        if (strcmp(request->call.method, "HEAD") == 0) {
                *ret_body = value_null(); /* it worked, and that is all there is */
                return ST_OK;
        }
        TRY(http_body(env, term, request->format, answer->content_type, answer->body, ret_body, &why));
        return why ? http_failed(env, term, request, why, *ret_header, *ret_body) : ST_OK;
}

/* Performs it; everything it gives is in env->arena. */
static Status perform(Env *env, const Term *term, const Request *request, Value *ret_header, Value *ret_body,
                      Bytes *ret_cookies)
{
        const OutsideOps *ops = env->world->outside;
        OutsideState *state = outside_state(env);
        OutsideWait wait = {.timeout_ms = request->timeout_ms, .cancelled = env->cancelled};
        OutsideEnd end;
        HttpAnswer answer;
        HttpCall call = request->call;
        if (!ops || !ops->http)
                return fail(env, term, ERR_OP_FAILED, "HTTP requests are not available on this server.");
        outside_rest(state);
        call.url = whole_url(env, request);
        Status st = ops->http(ops->ctx, &call, &wait, &end, &state->answer, &answer);
        if (status_code(st) == ERR_LIMIT) {
                status_ignore(st);
                return fail(env, term, ERR_RESOURCE, "The HTTP request is too large.");
        }
        TRY(fail_at(env, term, st));
        const char *why = NULL;
        if (end == OUTSIDE_TIMED_OUT)
                why = arena_printf(env->arena, "timed out after %" PRIu64 ".%03u seconds", request->timeout_ms / 1000,
                                   (unsigned)(request->timeout_ms % 1000));
        else if (end == OUTSIDE_CRASHED)
                why = "crash in a worker process";
        else if (answer.failed)
                why = arena_printf(env->arena, "%.*s", (int)answer.error.size, (const char *)answer.error.data);
        if (why)
                return http_failed(env, term, request, why, value_none(), value_none());
        TRY(fail_at(env, term, read_answer(env, term, request, &answer, ret_header, ret_body)));
        *ret_cookies = BYTES(arena_dup(env->arena, answer.cookies.data, answer.cookies.size), answer.cookies.size);
        outside_rest(state);
        return ST_OK;
}

/* --- pages --- */

typedef struct HttpStream {
        Stream stream;
        Arena *arena; /* the request, as it changes from page to page */
        Request request;
        Pages pages;
} HttpStream;

/* What `page` said: null, a url, or {url, params}. */
static Status turn_page(HttpStream *self, Env *env, Value next, bool *ret_more)
{
        const Term *term = self->stream.term;
        Value url = next, params = value_none();
        if (value_is_object(next)) {
                url = value_get_str(next, "url");
                params = value_get_str(next, "params");
                if (value_is(url, V_NONE) && value_is(params, V_NONE))
                        return fail(env, term, ERR_LOGIC,
                                    "OBJECT returned by `page` must contain `url` and/or `params` fields.");
        } else if (!value_is(next, V_NULL) && !value_is(next, V_STRING)) {
                return fail(env, term, ERR_LOGIC, "Expected `page` to return an OBJECT, but found %s.",
                            value_type_name(next));
        }
        *ret_more = true;
        if (!value_is(params, V_NONE)) {
                TRY(check_params(env, term, params));
                TRY(object_merge(env, term, self->request.params, params, &params));
                self->request.params = value_copy(params, self->arena);
        }
        if (value_is(url, V_NONE))
                return ST_OK;
        *ret_more = value_is(url, V_STRING);
        if (*ret_more) {
                Bytes text = value_bytes(url);
                self->request.url = BYTES(arena_dup(self->arena, text.data, text.size), text.size);
        } else if (!value_is(url, V_NULL)) {
                return fail(env, term, ERR_LOGIC,
                            "Expected `url` in OBJECT returned by `page` to be a STRING or NULL, but found %s.",
                            value_type_name(url));
        }
        return ST_OK;
}

static Status ask_for_page(HttpStream *self, Env *env, Value argument, bool *ret_more)
{
        Value next = value_null();
        if (self->pages.func) {
                TRY(func_call_datum(env, self->pages.func, &argument, 1, &next));
        } else {
                Value link = value_get_str(value_get_str(argument, "header"), "link");
                if (value_is_object(link) && !value_is(value_get_str(link, "rel=\"next\""), V_NONE))
                        next = value_get_str(link, "rel=\"next\"");
        }
        return turn_page(self, env, next, ret_more);
}

static Status find_next_page(HttpStream *self, Env *env, Value header, Value body, bool *ret_more)
{
        *ret_more = false;
        if (self->pages.limit > 0)
                self->pages.limit--;
        if (self->pages.limit == 0)
                return ST_OK;
        ObjectBuilder builder;
        object_init(&builder, env->arena, 3);
        object_add_str(&builder, "params", self->request.params);
        object_add_str(&builder, "header", value_is(header, V_NONE) ? value_object_sorted(NULL, 0) : header);
        object_add_str(&builder, "body", body);
        Value argument = object_take(&builder);
        Bytes url = self->request.url;
        Status st = ask_for_page(self, env, argument, ret_more);
        if (!st || status_code(st) == ERR_CANCELLED || status_code(st) == ERR_NOMEM)
                return st;
        /* Such a function is hard to get right: show what it was called with. The place stays. */
        const Term *at = env->error_at;
        StatusCode code = status_code(st);
        const char *why = take_message(env, st);
        Bytes shown = message_datum_whole(env, argument);
        return fail(env, at, code, "Error in HTTP %s of `%.*s`: %s.\nError occurred during `page` called with:\n%.*s\n",
                    self->request.call.method, (int)url.size, (const char *)url.data, why, (int)shown.size,
                    (const char *)shown.data);
}

static Status http_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        HttpStream *self = (HttpStream *)stream;
        Value header, body;
        Bytes cookies;
        bool more;
        (void)want;
        if (self->pages.limit == 0) { /* page_limit: 0 */
                *ret_end = true;
                return ST_OK;
        }
        TRY(perform(env, stream->term, &self->request, &header, &body, &cookies));
        self->request.call.cookies = BYTES(arena_dup(self->arena, cookies.data, cookies.size), cookies.size);
        TRY(find_next_page(self, env, header, body, &more));
        if (value_is(body, V_ARRAY)) {
                for (size_t i = 0; i < value_count(body); i++)
                        vec_add(batch, out, value_at(body, i));
        } else {
                vec_add(batch, out, body);
        }
        *ret_end = !more;
        return ST_OK;
}

static const StreamOps http_ops = {.next = http_next};

/* --- the term --- */

static Bytes keep_bytes(Arena *arena, Bytes bytes)
{
        return bytes.data ? BYTES(arena_dup(arena, bytes.data, bytes.size), bytes.size) : bytes;
}

static Status term_http(Env *env, const Term *term, Val *ret)
{
        Args args;
        Request request = {0};
        Pages pages;
        Value header, body;
        Bytes cookies;
        TRY(fail_at(env, term, env_permit(env, PERMIT_CONNECT, BYTES_NONE, BYTES_NONE)));
        TRY(args_begin(env, term, &args));
        TRY(args_string(&args, 0, &request.url));
        TRY(read_request(env, term, &request));
        TRY(read_pages(env, term, &pages));
        if (!pages.wanted) {
                TRY(perform(env, term, &request, &header, &body, &cookies));
                *ret = val_datum(term, body);
                return ST_OK;
        }
        HttpStream *self = arena_new(env->arena, HttpStream);
        self->stream = (Stream){.ops = &http_ops, .term = term, .ordered = true};
        self->arena = stream_arena(env);
        self->request = request;
        self->pages = pages;
        /* What the options gave lives as long as the evaluation's arena does, which is as long as the stream. */
        self->request.url = keep_bytes(self->arena, request.url);
        self->request.params = value_copy(request.params, self->arena);
        *ret = val_stream(term, &self->stream);
        return ST_OK;
}

static const TermEval list[] = {
        {TERM_HTTP, term_http, false},
};
const TermList terms_http = {list, ELEMENTS(list)};
