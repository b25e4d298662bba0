/* http_answer.c - see http_answer.h. */
#include "query/http_answer.h"

#include <ctype.h>
#include <strings.h>

static bool is_space(uint8_t c)
{
        return c == ' ' || (c >= '\t' && c <= '\r');
}

static Bytes skip_space(Bytes text)
{
        while (text.size && is_space(text.data[0]))
                text = BYTES(text.data + 1, text.size - 1);
        return text;
}

static Bytes trim(Bytes text)
{
        text = skip_space(text);
        while (text.size && is_space(text.data[text.size - 1]))
                text.size--;
        return text;
}

/* --- header --- */

/* `<url>; param, <url>; param`: each param with its url. False if it is something else. */
static Status add_links(Env *env, Bytes line, ObjectBuilder *links, bool *ret_fits)
{
        *ret_fits = false;
        while ((line = skip_space(line)).size) {
                const uint8_t *close = line.data[0] == '<' ? memchr(line.data, '>', line.size) : NULL;
                if (!close)
                        return ST_OK;
                Bytes url = BYTES(line.data + 1, (size_t)(close - line.data) - 1);
                Bytes rest = skip_space(BYTES(close + 1, line.size - (size_t)(close + 1 - line.data)));
                if (!rest.size || rest.data[0] != ';')
                        return ST_OK;
                rest = skip_space(BYTES(rest.data + 1, rest.size - 1));
                const uint8_t *comma = memchr(rest.data, ',', rest.size);
                size_t size = comma ? (size_t)(comma - rest.data) : rest.size;
                if (size == 0)
                        return ST_OK;
                Value value, param;
                TRY(outside_text(env, url, &value));
                TRY(outside_text(env, trim(BYTES(rest.data, size)), &param));
                object_add(links, value_bytes(param), value);
                line = BYTES(rest.data + size, rest.size - size);
                if (comma)
                        line = BYTES(line.data + 1, line.size - 1);
        }
        *ret_fits = true;
        return ST_OK;
}

static Status add_line(Env *env, Bytes line, ObjectBuilder *fields, ObjectBuilder *links, const char **ret_why)
{
        const uint8_t *colon = memchr(line.data, ':', line.size);
        Value name, value;
        if (!colon)
                return ST_OK;
        TRY(outside_text(env, trim(BYTES(line.data, (size_t)(colon - line.data))), &name));
        char *lower = arena_dup(env->arena, name.text, name.size);
        for (size_t i = 0; i < name.size; i++)
                lower[i] = (char)tolower((unsigned char)lower[i]);
        Bytes text = trim(BYTES(colon + 1, line.size - (size_t)(colon + 1 - line.data)));
        if (name.size == 4 && memcmp(lower, "link", 4) == 0) {
                bool fits;
                TRY(add_links(env, text, links, &fits));
                if (!fits)
                        *ret_why = arena_printf(env->arena, "failed to parse link header line: '%.*s'", (int)text.size,
                                                (const char *)text.data);
                return ST_OK;
        }
        TRY(outside_text(env, text, &value));
        object_add(fields, BYTES(lower, name.size), value);
        return ST_OK;
}

Status http_header(Env *env, Bytes text, Value *ret_header, const char **ret_why)
{
        ObjectBuilder fields, links;
        bool first = true;
        *ret_why = NULL;
        object_init(&fields, env->arena, 16);
        object_init(&links, env->arena, 0);
        while (text.size) {
                const uint8_t *end = memchr(text.data, '\n', text.size);
                size_t size = end ? (size_t)(end - text.data) : text.size;
                if (!first) /* the status line */
                        TRY(add_line(env, BYTES(text.data, size), &fields, &links, ret_why));
                first = false;
                size += end != NULL;
                text = BYTES(text.data + size, text.size - size);
        }
        if (links.count)
                object_add_str(&fields, "link", object_take(&links));
        *ret_header = fields.count ? object_take(&fields) : value_none();
        return ST_OK;
}

/* --- body --- */

static size_t identifier_size(Bytes text)
{
        size_t n = 0;
        while (n < text.size) {
                uint8_t c = text.data[n];
                if (c != '$' && c != '_' && c < 0x80 && !isalpha(c) && (n == 0 || !isdigit(c)))
                        break;
                n++;
        }
        return n;
}

static bool cut_identifier(Bytes *text)
{
        Bytes at = skip_space(*text);
        size_t n = identifier_size(at);
        *text = skip_space(BYTES(at.data + n, at.size - n));
        return n > 0;
}

/* ["name"] */
static bool cut_member(Bytes *text)
{
        Bytes at = skip_space(BYTES(text->data + 1, text->size - 1));
        if (!at.size || (at.data[0] != '"' && at.data[0] != '\''))
                return false;
        const uint8_t *quote = memchr(at.data + 1, at.data[0], at.size - 1);
        if (!quote)
                return false;
        at = skip_space(BYTES(quote + 1, at.size - (size_t)(quote + 1 - at.data)));
        if (!at.size || at.data[0] != ']')
                return false;
        *text = skip_space(BYTES(at.data + 1, at.size - 1));
        return true;
}

bool http_jsonp_inside(Bytes body, Bytes *ret_json)
{
        Bytes text = body;
        if (!cut_identifier(&text) || !text.size)
                return false;
        if (text.data[0] == '.') {
                text = BYTES(text.data + 1, text.size - 1);
                if (!cut_identifier(&text))
                        return false;
        } else if (text.data[0] == '[' && !cut_member(&text)) {
                return false;
        }
        if (!text.size || text.data[0] != '(')
                return false;
        text = trim(text);
        if (text.data[text.size - 1] == ';')
                text = trim(BYTES(text.data, text.size - 1));
        if (text.size < 2 || text.data[text.size - 1] != ')')
                return false;
        *ret_json = BYTES(text.data + 1, text.size - 2);
        return true;
}

/* Like outside_json(), but text that is no JSON, or no value of ours, is *ret_why. */
static Status parse_json(Env *env, const Term *at, Bytes json, Value *ret, const char **ret_why)
{
        Status st = outside_json(env, at, json, ret);
        if (!st || status_code(st) == ERR_NOMEM || status_code(st) == ERR_RESOURCE)
                return st;
        bool twice = status_code(st) == ERR_EXISTS; /* then the message is the key */
        const char *message = take_message(env, st);
        *ret_why = arena_printf(env->arena, "failed to parse JSON response: %s%s%s",
                                twice ? "Duplicate object key: " : "", message, twice ? "." : "");
        return ST_OK;
}

static Status parse_jsonp(Env *env, const Term *at, Bytes body, Value *ret, const char **ret_why)
{
        Bytes json;
        if (http_jsonp_inside(body, &json))
                return parse_json(env, at, json, ret, ret_why);
        *ret_why = "failed to parse JSONP response";
        return ST_OK;
}

static bool type_begins(Bytes content_type, const char *with)
{
        size_t size = strlen(with);
        return content_type.size >= size && strncasecmp((const char *)content_type.data, with, size) == 0;
}

static Status guess_body(Env *env, const Term *at, Bytes type, Bytes body, Value *ret, const char **ret_why)
{
        if (type_begins(type, "application/json") && !type_begins(type, "application/json-p"))
                return parse_json(env, at, body, ret, ret_why);
        if (type_begins(type, "text/javascript") || type_begins(type, "application/json-p") ||
            type_begins(type, "text/json-p")) {
                TRY(parse_json(env, at, body, ret, ret_why));
                if (!*ret_why)
                        return ST_OK;
                *ret_why = NULL;
                TRY(parse_jsonp(env, at, body, ret, ret_why));
                if (!*ret_why)
                        return ST_OK;
                *ret_why = NULL;
        }
        if (type_begins(type, "audio/") || type_begins(type, "image/") || type_begins(type, "video/") ||
            type_begins(type, "application/octet-stream")) {
                *ret = value_binary(BYTES(arena_dup(env->arena, body.data, body.size), body.size));
                return ST_OK;
        }
        return outside_text(env, body, ret);
}

Status http_body(Env *env, const Term *at, HttpFormat format, Bytes content_type, Bytes body, Value *ret_body,
                 const char **ret_why)
{
        *ret_why = NULL;
        switch (format) {
        case HTTP_AUTO: TRY(guess_body(env, at, content_type, body, ret_body, ret_why)); break;
        case HTTP_JSON: TRY(parse_json(env, at, body, ret_body, ret_why)); break;
        case HTTP_JSONP: TRY(parse_jsonp(env, at, body, ret_body, ret_why)); break;
        case HTTP_TEXT: return outside_text(env, body, ret_body);
        case HTTP_BINARY:
                *ret_body = value_binary(BYTES(arena_dup(env->arena, body.data, body.size), body.size));
                return ST_OK;
        }
        return *ret_why ? outside_text(env, body, ret_body) : ST_OK;
}
