/* json_explain.c - the slow second reading of a text that simdjson refused, for the message alone. */
#include <assert.h>
#include <math.h>

#include "bridge/double_bridge.h"
#include "value/json_int.h"

typedef struct Reader {
        const uint8_t *p, *end;
        const char *message;
} Reader;

static bool complain(Reader *r, const char *message)
{
        r->message = message;
        return false;
}

static int peek(const Reader *r)
{
        return r->p < r->end ? *r->p : -1;
}

static void skip_space(Reader *r)
{
        while (r->p < r->end && (*r->p == ' ' || *r->p == '\t' || *r->p == '\n' || *r->p == '\r'))
                r->p++;
}

static bool read_word(Reader *r, const char *word)
{
        size_t size = strlen(word);
        if ((size_t)(r->end - r->p) < size || memcmp(r->p, word, size) != 0)
                return complain(r, "Invalid value.");
        r->p += size;
        return true;
}

static bool is_digit(int c)
{
        return c >= '0' && c <= '9';
}

static bool read_number(Reader *r)
{
        const uint8_t *start = r->p;
        double number;
        if (peek(r) == '-')
                r->p++;
        if (!is_digit(peek(r)))
                return complain(r, "Invalid value.");
        if (*r->p == '0')
                r->p++;
        else
                while (is_digit(peek(r)))
                        r->p++;
        if (peek(r) == '.') {
                r->p++;
                if (!is_digit(peek(r)))
                        return complain(r, "Miss fraction part in number.");
                while (is_digit(peek(r)))
                        r->p++;
        }
        if (peek(r) == 'e' || peek(r) == 'E') {
                r->p++;
                if (peek(r) == '+' || peek(r) == '-')
                        r->p++;
                if (!is_digit(peek(r)))
                        return complain(r, "Miss exponent in number.");
                while (is_digit(peek(r)))
                        r->p++;
        }
        if (!double_parse((const char *)start, (size_t)(r->p - start), &number) || isinf(number))
                return complain(r, "Number too big to be stored in double.");
        return true;
}

static bool read_hex4(Reader *r, unsigned *ret_code)
{
        unsigned code = 0;
        for (int i = 0; i < 4; i++) {
                int c = peek(r);
                if (is_digit(c))
                        code = code << 4 | (unsigned)(c - '0');
                else if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
                        code = code << 4 | (unsigned)((c | 0x20) - 'a' + 10);
                else
                        return complain(r, "Incorrect hex digit after \\u escape in string.");
                r->p++;
        }
        *ret_code = code;
        return true;
}

static bool read_escape(Reader *r)
{
        unsigned code, low;
        int c = peek(r);
        if (c < 0 || !strchr("\"\\/bfnrtu", c) || c == 0)
                return complain(r, "Invalid escape character in string.");
        r->p++;
        if (c != 'u')
                return true;
        if (!read_hex4(r, &code))
                return false;
        if (code < 0xD800 || code > 0xDFFF)
                return true;
        if (code >= 0xDC00 || r->end - r->p < 2 || r->p[0] != '\\' || r->p[1] != 'u')
                return complain(r, "The surrogate pair in string is invalid.");
        r->p += 2;
        if (!read_hex4(r, &low))
                return false;
        return (low >= 0xDC00 && low <= 0xDFFF) || complain(r, "The surrogate pair in string is invalid.");
}

/* `p` is behind the opening quote. */
static bool read_string(Reader *r)
{
        for (;;) {
                int c = peek(r);
                if (c <= 0)
                        return complain(r, "Missing a closing quotation mark in string.");
                r->p++;
                if (c == '"')
                        return true;
                if (c == '\\') {
                        if (!read_escape(r))
                                return false;
                } else if (c < 0x20) {
                        return complain(r, "Invalid escape character in string.");
                }
        }
}

static bool read_scalar(Reader *r)
{
        switch (peek(r)) {
        case 'n': return read_word(r, "null");
        case 't': return read_word(r, "true");
        case 'f': return read_word(r, "false");
        case '"': r->p++; return read_string(r);
        default: return read_number(r);
        }
}

static bool read_name(Reader *r)
{
        skip_space(r);
        if (peek(r) != '"')
                return complain(r, "Missing a name for object member.");
        r->p++;
        if (!read_string(r))
                return false;
        skip_space(r);
        if (peek(r) != ':')
                return complain(r, "Missing a colon after a name of object member.");
        r->p++;
        return true;
}

/*   VALUE --scalar, [] or {}--> AFTER     VALUE --[--> VALUE     VALUE --{--> name, VALUE
 *   AFTER --,--> VALUE (in an object: name, VALUE)     AFTER --] or }--> AFTER, one level up; at the root: done
 * `is_object` remembers of each open container which it is. */
JsonVerdict json_explain(Bytes text, const char **ret_message)
{
        bool is_object[VALUE_MAX_DEPTH];
        size_t depth = 0;
        Reader r = {.p = text.data, .end = text.data + text.size};
        skip_space(&r);
        if (r.p == r.end) {
                *ret_message = "The document is empty.";
                return JSON_BROKEN;
        }
        for (;;) {
                skip_space(&r);
                int c = peek(&r);
                if (c == '[' || c == '{') {
                        r.p++;
                        skip_space(&r);
                        if (depth == VALUE_MAX_DEPTH)
                                return JSON_DEEP;
                        if (peek(&r) == (c == '[' ? ']' : '}')) {
                                r.p++;
                        } else {
                                if (c == '{' && !read_name(&r))
                                        break;
                                is_object[depth++] = c == '{';
                                continue;
                        }
                } else if (!read_scalar(&r)) {
                        break;
                }
                for (;;) {
                        skip_space(&r);
                        if (depth == 0) {
                                if (r.p == r.end)
                                        return JSON_FINE;
                                complain(&r, "The document root must not be followed by other values.");
                                break;
                        }
                        c = peek(&r);
                        bool object = is_object[depth - 1];
                        if (c == ',') {
                                r.p++;
                                if (object)
                                        (void)read_name(&r);
                                break;
                        }
                        if (c != (object ? '}' : ']')) {
                                complain(&r, object ? "Missing a comma or '}' after an object member."
                                                    : "Missing a comma or ']' after an array element.");
                                break;
                        }
                        r.p++;
                        depth--;
                }
                if (r.message)
                        break;
        }
        *ret_message = r.message;
        return JSON_BROKEN;
}

/* --- UTF-8 --- */

/* NULL if `s` is UTF-8; else what is wrong, and where, in RethinkDB's words. */
static const char *utf8_fault(Bytes s, size_t *ret_position)
{
        for (size_t i = 0; i < s.size; i++) {
                uint8_t c = s.data[i];
                unsigned code, more;
                if (c < 0x80)
                        continue;
                if ((c & 0xE0) == 0xC0) {
                        more = 1;
                        code = c & 0x1F;
                } else if ((c & 0xF0) == 0xE0) {
                        more = 2;
                        code = c & 0x0F;
                } else if ((c & 0xF8) == 0xF0) {
                        more = 3;
                        code = c & 0x07;
                } else {
                        *ret_position = i;
                        return "Invalid initial byte seen";
                }
                for (unsigned k = 0; k < more; k++) {
                        *ret_position = ++i;
                        if (i == s.size)
                                return "Expected continuation byte, saw end of string";
                        if ((s.data[i] & 0xC0) != 0x80)
                                return "Expected continuation byte, saw something else";
                        code = code << 6 | (s.data[i] & 0x3F);
                }
                if (code < (more == 1 ? 0x80u : more == 2 ? 0x800u : 0x10000u))
                        return "Overlong encoding seen";
                if (code > 0x10FFFF)
                        return "Non-Unicode character encoded (beyond U+10FFFF)";
                if (code >= 0xD800 && code <= 0xDFFF)
                        return "Surrogate encoded"; /* RethinkDB lets these pass; drivers cannot read them */
        }
        return NULL;
}

Status json_explain_utf8(Bytes text)
{
        const uint8_t *end = text.data + text.size;
        for (const uint8_t *p = text.data; p < end; p++) {
                if (*p != '"')
                        continue;
                const uint8_t *start = ++p;
                while (p < end && *p != '"')
                        p += *p == '\\' ? 2 : 1;
                size_t position;
                Bytes string = BYTES(start, (size_t)(MIN(p, end) - start));
                const char *fault = utf8_fault(string, &position);
                if (fault)
                        return status_new(ERR_COMPILE,
                                          "String `%.*s` (truncated) is not a UTF-8 string; %s at position %zu.",
                                          (int)MIN(position, (size_t)20), (const char *)start, fault, position);
        }
        return status_new(ERR_INVALID, "Invalid encoding in string.");
}
