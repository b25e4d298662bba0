/* text_lex.c - see text_lex.h. Every function looks at each byte a constant number of times. */
#include "reql/text_lex.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>

static int byte_at(Bytes text, uint32_t at)
{
        return at < text.size ? text.data[at] : -1;
}

static bool starts(Bytes text, uint32_t at, const char *with)
{
        size_t size = strlen(with);
        return text.size - at >= size && memcmp(text.data + at, with, size) == 0;
}

/* --- spaces and comments --- */

/* Bytes of the space at `at`, 0 if there is none: also what word processors and web pages put in place of one. */
static uint32_t space_size(Bytes text, uint32_t at)
{
        static const char *const others[] = {"\xc2\xa0",     "\xef\xbb\xbf", "\xe2\x80\x8b",
                                             "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaf"};
        int byte = byte_at(text, at);
        if (byte == ' ' || (byte >= '\t' && byte <= '\r'))
                return 1;
        if (byte < 0x80)
                return 0;
        for (size_t i = 0; i < ELEMENTS(others); i++)
                if (starts(text, at, others[i]))
                        return (uint32_t)strlen(others[i]);
        return 0;
}

/* Behind the end of the comment at `at`; `at` itself if none is there or it has no end. */
static uint32_t skip_comment(Bytes text, uint32_t at)
{
        int byte = byte_at(text, at), next = byte_at(text, at + 1);
        if (byte == '#' || (byte == '/' && next == '/')) {
                const uint8_t *end = memchr(text.data + at, '\n', text.size - at);
                return end ? (uint32_t)(end - text.data) : (uint32_t)text.size;
        }
        if (byte == '/' && next == '*')
                for (uint32_t end = at + 2; end + 1 < text.size; end++)
                        if (text.data[end] == '*' && text.data[end + 1] == '/')
                                return end + 2;
        return at;
}

static uint32_t skip_spaces(Bytes text, uint32_t at)
{
        for (;;) {
                uint32_t before = at;
                at += space_size(text, at);
                at = skip_comment(text, at);
                if (at == before)
                        return at;
        }
}

/* --- names and numbers --- */

static bool is_name_start(Bytes text, uint32_t at)
{
        int byte = byte_at(text, at);
        if (byte >= 0x80) /* letters of all the world, but no spaces and no quotation marks */
                return !space_size(text, at) && !starts(text, at, "\xe2\x80") && !starts(text, at, "\xc2\xab") &&
                       !starts(text, at, "\xc2\xbb");
        return isalpha(byte) || byte == '_' || byte == '$';
}

static bool is_name_part(Bytes text, uint32_t at)
{
        int byte = byte_at(text, at);
        return (byte >= '0' && byte <= '9') || (byte >= 0x80 && byte < 0xc0) || (byte >= 0 && is_name_start(text, at));
}

static uint32_t name_end(Bytes text, uint32_t at)
{
        while (is_name_part(text, at))
                at++;
        return at;
}

static bool is_digit_of(int byte, int base)
{
        return byte >= 0 && (base == 16 ? isxdigit(byte) : byte >= '0' && byte < '0' + base);
}

/* Digits with single underscores between them. */
static uint32_t digits_end(Bytes text, uint32_t at, int base)
{
        while (is_digit_of(byte_at(text, at), base) ||
               (byte_at(text, at) == '_' && is_digit_of(byte_at(text, at + 1), base) &&
                is_digit_of(byte_at(text, at - 1), base)))
                at++;
        return at;
}

static int base_of(Bytes text, uint32_t at)
{
        if (byte_at(text, at) != '0')
                return 10;
        switch (byte_at(text, at + 1)) {
        case 'x':
        case 'X': return 16;
        case 'o':
        case 'O': return 8;
        case 'b':
        case 'B': return 2;
        default: return 10;
        }
}

static TextToken number_token(Bytes text, uint32_t start)
{
        int base = base_of(text, start);
        uint32_t at = start;
        bool bad = false;
        if (base != 10) {
                at = digits_end(text, start + 2, base);
                bad = at == start + 2;
        } else {
                bad = byte_at(text, at) == '0' && is_digit_of(byte_at(text, at + 1), 10);
                at = digits_end(text, at, 10);
                /* 1.5, .5 and 1. but not the dot of 1.add(2) */
                if (byte_at(text, at) == '.' && !is_name_start(text, at + 1) && byte_at(text, at + 1) != '.')
                        at = digits_end(text, at + 1, 10);
                int sign = byte_at(text, at + 1);
                if (byte_at(text, at) == 'e' || byte_at(text, at) == 'E') {
                        uint32_t digits = at + 1 + (sign == '+' || sign == '-');
                        uint32_t end = digits_end(text, digits, 10);
                        if (end > digits)
                                at = end;
                }
        }
        uint32_t end = name_end(text, at);
        return (TextToken){.kind = bad || end > at ? TOKEN_BAD : TOKEN_NUMBER, .start = start, .end = end};
}

bool text_number(Bytes text, TextToken token, Arena *arena, double *ret_number)
{
        int base = base_of(text, token.start);
        double number = 0;
        if (base == 2 || base == 8) {
                for (uint32_t i = token.start + 2; i < token.end; i++)
                        if (text.data[i] != '_')
                                number = number * base + (text.data[i] - '0');
        } else {
                ArenaMark mark = arena_mark(arena);
                char *digits = arena_alloc(arena, token.end - token.start + 1);
                size_t size = 0;
                for (uint32_t i = token.start; i < token.end; i++)
                        if (text.data[i] != '_')
                                digits[size++] = (char)text.data[i];
                digits[size] = '\0';
                number = strtod(digits, NULL);
                arena_rewind(arena, mark);
        }
        *ret_number = number;
        return isfinite(number);
}

/* --- strings --- */

static TextToken string_token(Bytes text, uint32_t start)
{
        uint8_t quote = text.data[start];
        for (uint32_t at = start + 1; at < text.size; at++) {
                uint8_t byte = text.data[at];
                if (byte == quote)
                        return (TextToken){.kind = TOKEN_STRING, .start = start, .end = at + 1};
                if (byte == '\\')
                        at++; /* whatever it is, it does not end the string */
                else if (byte == '\n' && quote != '`')
                        return (TextToken){.kind = TOKEN_BAD, .start = start, .end = at};
                else if (byte == '$' && quote == '`' && byte_at(text, at + 1) == '{')
                        return (TextToken){.kind = TOKEN_BAD, .start = at, .end = at + 2};
        }
        return (TextToken){.kind = TOKEN_BAD, .start = start, .end = (uint32_t)text.size};
}

/* `digits` hexadecimal digits at `at`. */
static bool hex_number(Bytes text, uint32_t at, uint32_t digits, uint32_t *ret_number)
{
        uint32_t number = 0;
        for (uint32_t i = 0; i < digits; i++) {
                int byte = byte_at(text, at + i);
                if (byte < 0 || !isxdigit(byte))
                        return false;
                number = number << 4 | (uint32_t)(isdigit(byte) ? byte - '0' : tolower(byte) - 'a' + 10);
        }
        *ret_number = number;
        return true;
}

static size_t put_utf8(uint32_t code, uint8_t *out)
{
        if (code < 0x80) {
                out[0] = (uint8_t)code;
                return 1;
        }
        size_t size = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
        for (size_t i = size - 1; i > 0; i--, code >>= 6)
                out[i] = (uint8_t)(0x80 | (code & 0x3f));
        out[0] = (uint8_t)((0xf00u >> size) | code);
        return size;
}

/* \u0041, \u{1f600}, and the two halves of \ud83d\ude00. `at` is behind the u; false if it is none of them. */
static bool unicode_escape(Bytes text, uint32_t *at, uint32_t *ret_code)
{
        uint32_t low;
        if (byte_at(text, *at) == '{') {
                uint32_t end = *at + 1;
                while (is_digit_of(byte_at(text, end), 16))
                        end++;
                uint32_t digits = end - *at - 1;
                if (digits < 1 || digits > 6 || byte_at(text, end) != '}' ||
                    !hex_number(text, *at + 1, digits, ret_code))
                        return false;
                *at = end + 1;
        } else {
                if (!hex_number(text, *at, 4, ret_code))
                        return false;
                *at += 4;
                if (*ret_code >= 0xd800 && *ret_code < 0xdc00 && starts(text, *at, "\\u") &&
                    hex_number(text, *at + 2, 4, &low) && low >= 0xdc00 && low < 0xe000) {
                        *ret_code = 0x10000 + ((*ret_code - 0xd800) << 10) + (low - 0xdc00);
                        *at += 6;
                }
        }
        return *ret_code <= 0x10ffff && (*ret_code < 0xd800 || *ret_code >= 0xe000);
}

/* The escape at `at`, the backslash: its bytes to `out` (at most four, never more than it has in the text). */
static bool one_escape(Bytes text, uint32_t *at, uint8_t *out, size_t *ret_size)
{
        static const char plain[] = "nrtbfv0", meant[] = "\n\r\t\b\f\v";
        uint32_t code, next = *at + 2;
        int byte = byte_at(text, *at + 1);
        const char *found = byte > 0 ? strchr(plain, byte) : NULL;
        *ret_size = 1;
        if (byte == 'x') {
                if (!hex_number(text, next, 2, &code))
                        return false;
                next += 2;
                *ret_size = put_utf8(code, out);
        } else if (byte == 'u') {
                if (!unicode_escape(text, &next, &code))
                        return false;
                *ret_size = put_utf8(code, out);
        } else if (byte == '0' && is_digit_of(byte_at(text, next), 10)) {
                return false; /* octal, long ago */
        } else if (found) {
                out[0] = (uint8_t)(byte == '0' ? 0 : meant[found - plain]);
        } else if (byte == '\n') {
                *ret_size = 0; /* the string goes on in the next line */
        } else if (byte == '\r') {
                *ret_size = 0;
                next += byte_at(text, next) == '\n';
        } else {
                out[0] = (uint8_t)byte;
        }
        *at = next;
        return true;
}

bool text_string(Bytes text, TextToken token, Arena *arena, Bytes *ret_string, uint32_t *ret_at, uint32_t *ret_size)
{
        uint32_t at = token.start + 1, end = token.end - 1;
        size_t size = 0;
        if (!memchr(text.data + at, '\\', end - at)) {
                *ret_string = BYTES(text.data + at, end - at);
                return true;
        }
        uint8_t *string = arena_alloc(arena, end - at);
        while (at < end) {
                size_t added = 1;
                if (text.data[at] != '\\') {
                        string[size++] = text.data[at++];
                        continue;
                }
                uint32_t before = at;
                uint8_t bytes[4];
                if (!one_escape(text, &at, bytes, &added)) {
                        *ret_at = before;
                        *ret_size = MIN(end, MAX(at, before + 2)) - before;
                        return false;
                }
                memcpy(string + size, bytes, added);
                size += added;
        }
        *ret_string = BYTES(string, size);
        return true;
}

/* --- the rest --- */

/* The operator that starts with `byte`, and its length. */
static TextOp operator_at(Bytes text, uint32_t at, uint32_t *ret_size)
{
        int next = byte_at(text, at + 1), third = byte_at(text, at + 2);
        *ret_size = 1;
        switch (text.data[at]) {
        case '(': return OP_OPEN;
        case ')': return OP_CLOSE;
        case '[': return OP_OPEN_BOX;
        case ']': return OP_CLOSE_BOX;
        case '{': return OP_OPEN_CURLY;
        case '}': return OP_CLOSE_CURLY;
        case ',': return OP_COMMA;
        case ':': return OP_COLON;
        case ';': return OP_SEMICOLON;
        case '?': return OP_QUESTION;
        case '+': return OP_PLUS;
        case '-': return OP_MINUS;
        case '/': return OP_SLASH;
        case '%': return OP_PERCENT;
        case '~':
        case '^': return OP_BITS;
        case '.': *ret_size = next == '.' && third == '.' ? 3 : 1; return *ret_size == 3 ? OP_DOTS : OP_DOT;
        case '*': *ret_size = next == '*' ? 2 : 1; return next == '*' ? OP_BITS : OP_STAR;
        case '&': *ret_size = next == '&' ? 2 : 1; return next == '&' ? OP_AND : OP_BITS;
        case '|': *ret_size = next == '|' ? 2 : 1; return next == '|' ? OP_OR : OP_BITS;
        case '!': *ret_size = next != '=' ? 1 : third == '=' ? 3 : 2; return next == '=' ? OP_NE : OP_NOT;
        case '=':
                *ret_size = next == '>' ? 2 : next != '=' ? 1 : third == '=' ? 3 : 2;
                return next == '>' ? OP_ARROW : next == '=' ? OP_EQ : OP_ASSIGN;
        case '<':
                *ret_size = next == '=' || next == '<' ? 2 : 1;
                return next == '=' ? OP_LE : next == '<' ? OP_BITS : OP_LT;
        case '>':
                *ret_size = next == '>' && third == '>' ? 3 : next == '=' || next == '>' ? 2 : 1;
                return next == '=' ? OP_GE : next == '>' ? OP_BITS : OP_GT;
        default: return OP_NONE;
        }
}

static TextToken other_token(Bytes text, uint32_t start)
{
        uint32_t size;
        TextOp op = operator_at(text, start, &size);
        if (op == OP_NONE)
                size = (uint32_t)bytes_char_size(text, start);
        return (TextToken){.kind = op == OP_NONE ? TOKEN_BAD : TOKEN_OTHER,
                           .op = (uint8_t)op,
                           .start = start,
                           .end = start + size};
}

TextToken text_next_token(Bytes text, uint32_t *at)
{
        TextToken token;
        uint32_t start = skip_spaces(text, *at);
        int byte = byte_at(text, start);
        if (byte < 0)
                token = (TextToken){.kind = TOKEN_END, .start = start, .end = start};
        else if (byte == '/' && byte_at(text, start + 1) == '*') /* one without an end: others are skipped */
                token = (TextToken){.kind = TOKEN_BAD, .start = start, .end = (uint32_t)text.size};
        else if (is_digit_of(byte, 10) || (byte == '.' && is_digit_of(byte_at(text, start + 1), 10)))
                token = number_token(text, start);
        else if (is_name_start(text, start))
                token = (TextToken){.kind = TOKEN_NAME, .start = start, .end = name_end(text, start)};
        else if (byte == '"' || byte == '\'' || byte == '`')
                token = string_token(text, start);
        else
                token = other_token(text, start);
        *at = token.end;
        return token;
}

bool text_bad_is_open(Bytes text, TextToken token)
{
        return token.end == text.size && (starts(text, token.start, "/*") || text.data[token.start] == '`');
}

const char *text_bad_token(Bytes text, TextToken token, const char **ret_hint)
{
        uint8_t byte = text.data[token.start];
        *ret_hint = NULL;
        if (starts(text, token.start, "/*"))
                return "This comment has no end";
        if (byte == '"' || byte == '\'' || byte == '`') {
                if (byte != '`' && token.end < text.size)
                        *ret_hint = "A string over several lines is written in backquotes.";
                return "This string has no end";
        }
        if (byte == '$') {
                *ret_hint = "Strings are joined with +.";
                return "There are no templates in strings";
        }
        if (isdigit(byte) || byte == '.')
                return "This is no number";
        int third = byte == 0xe2 && byte_at(text, token.start + 1) == 0x80 ? byte_at(text, token.start + 2) : 0;
        if (byte == 0xc2 || (third >= 0x98 && third <= 0x9f) || third == 0xb9 || third == 0xba) {
                *ret_hint = "Strings are written in \" or '.";
                return "This quotation mark is not one of the language";
        }
        if (third >= 0x90 && third <= 0x95)
                return "This dash is no minus sign";
        return "This character means nothing here";
}
