/* json_write.c - JSON out, as RethinkDB's RapidJSON writer prints it: numbers, escapes, base64 and the pretty form. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "base/base64.h"
#include "bridge/double_bridge.h"
#include "bridge/json_bridge.h"
#include "value/json.h"
#include "value/value_int.h"

#define NUMBER_BYTES 32 /* more than any number takes */

/* --- numbers --- */

static const char digit_pairs[] =
        "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546474849"
        "5051525354555657585960616263646566676869707172737475767778798081828384858687888990919293949596979899";

static char *put_integer(int64_t i, char *out)
{
        char digits[20], *p = digits + sizeof(digits);
        uint64_t u = i < 0 ? -(uint64_t)i : (uint64_t)i;
        while (u >= 100) {
                p -= 2;
                memcpy(p, digit_pairs + u % 100 * 2, 2);
                u /= 100;
        }
        if (u >= 10) {
                p -= 2;
                memcpy(p, digit_pairs + u * 2, 2);
        } else {
                *--p = (char)('0' + u);
        }
        if (i < 0)
                *out++ = '-';
        size_t size = (size_t)(digits + sizeof(digits) - p);
        memcpy(out, p, size);
        return out + size;
}

/* d = mantissa / 2^shift, and m / unit rounds to d. Grisu2 does not find a short form that lies so close to the border
 * of what rounds to d that its 64 bits cannot tell the sides apart; 1% of the way is far more than it needs. The
 * products have up to 113 bits, but their difference is small, so its lowest 64 bits are exact. */
static inline bool far_from_border(double d, int64_t m, int64_t unit)
{
        uint64_t bits;
        memcpy(&bits, &d, sizeof(bits));
        unsigned shift = 1075 - (unsigned)(bits >> 52);
        uint64_t mantissa = (bits & ((UINT64_C(1) << 52) - 1)) | UINT64_C(1) << 52;
        int64_t apart =
                (int64_t)(mantissa * (uint64_t)unit - ((uint64_t)m << shift)); /* half an ulp of d is unit / 2 */
        if (mantissa == UINT64_C(1) << 52)                                     /* the border below is nearer */
                return apart == 0;
        return llabs(apart) * 200 < unit * 99;
}

/* Prices, measurements, times with milliseconds: if m / 10^k is d for a whole m of at most 15 digits, then m with the
 * point in that place is d's shortest form, as no two decimals of up to 15 digits are the same double. NULL if d is not
 * such, or if Grisu2 prints it in another way. */
static char *put_short_fraction(double d, char *out)
{
        static const double powers[] = {1, 10, 100, 1000, 10000};
        if (!(d < 1e11 && d >= 1e-3))
                return NULL;
        for (int k = 1; k <= 4; k++) {
                double m = rint(d * powers[k]);
                if (m / powers[k] != d)
                        continue;
                int64_t scaled = (int64_t)m, unit = (int64_t)powers[k], fraction = scaled % unit;
                if (!far_from_border(d, scaled, unit))
                        return NULL;
                out = put_integer(scaled / unit, out);
                *out = '.';
                for (int i = k; i > 0; i--, fraction /= 10)
                        out[i] = (char)('0' + fraction % 10);
                return out + k + 1;
        }
        return NULL;
}

/* Grisu2's digits, laid out by RapidJSON's rules: always with a point or an exponent; 21 digits before it at most. */
static char *put_double(double d, char *out)
{
        char digits[DOUBLE_DIGITS_MAX];
        int point, count;
        if (signbit(d)) {
                *out++ = '-';
                d = -d;
        }
        if (d == 0) {
                memcpy(out, "0.0", 3);
                return out + 3;
        }
        char *end = put_short_fraction(d, out);
        if (end)
                return end;
        count = double_digits(d, digits, &point);
        if (point >= count && point <= 21) {
                memcpy(out, digits, (size_t)count);
                memset(out + count, '0', (size_t)(point - count));
                memcpy(out + point, ".0", 2);
                return out + point + 2;
        }
        if (point > 0 && point <= 21) {
                memcpy(out, digits, (size_t)point);
                out[point] = '.';
                memcpy(out + point + 1, digits + point, (size_t)(count - point));
                return out + count + 1;
        }
        if (point > -6 && point <= 0) {
                memcpy(out, "0.", 2);
                memset(out + 2, '0', (size_t)-point);
                memcpy(out + 2 - point, digits, (size_t)count);
                return out + 2 - point + count;
        }
        *out++ = digits[0];
        if (count > 1) {
                *out++ = '.';
                memcpy(out, digits + 1, (size_t)count - 1);
                out += count - 1;
        }
        *out++ = 'e';
        return put_integer(point - 1, out);
}

static char *put_number(double d, char *out)
{
        const double limit = 9007199254740992.0;
        assert(isfinite(d));
        if (d >= -limit && d <= limit) {
                int64_t i = (int64_t)d;
                if ((double)i == d && !(i == 0 && signbit(d)))
                        return put_integer(i, out);
        }
        return put_double(d, out);
}

size_t json_number_text(double d, char *out)
{
        return (size_t)(put_number(d, out) - out);
}

/* --- strings --- */

/* What follows the backslash; 'u' for \u00XX, 0 for bytes that stand for themselves. */
static const char escapes[256] = {
        ['"'] = '"', ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't',
        [0] = 'u',   [1] = 'u',     [2] = 'u',    [3] = 'u',    [4] = 'u',    [5] = 'u',    [6] = 'u',
        [7] = 'u',   [11] = 'u',    [14] = 'u',   [15] = 'u',   [16] = 'u',   [17] = 'u',   [18] = 'u',
        [19] = 'u',  [20] = 'u',    [21] = 'u',   [22] = 'u',   [23] = 'u',   [24] = 'u',   [25] = 'u',
        [26] = 'u',  [27] = 'u',    [28] = 'u',   [29] = 'u',   [30] = 'u',   [31] = 'u',
};

static uint8_t *put_escape(uint8_t c, uint8_t *out)
{
        *out++ = '\\';
        *out++ = (uint8_t)escapes[c];
        if (escapes[c] == 'u') {
                memcpy(out, "00", 2);
                out[2] = (uint8_t) "0123456789ABCDEF"[c >> 4];
                out[3] = (uint8_t) "0123456789ABCDEF"[c & 15];
                out += 4;
        }
        return out;
}

Status json_write_string(Bytes s, Buf *out)
{
        /* Room for the string if nothing needs an escape; each escape then asks for five bytes more. */
        TRY(buf_reserve(out, s.size + 2));
        uint8_t *to = out->data + out->size;
        const uint8_t *p = s.data, *end = s.data + s.size;
        *to++ = '"';
        while (p < end) {
#if defined(__SSE2__)
                if (end - p >= 16) {
                        __m128i chunk = _mm_loadu_si128((const __m128i *)p);
                        __m128i odd = _mm_or_si128(_mm_cmpeq_epi8(chunk, _mm_set1_epi8('"')),
                                                   _mm_cmpeq_epi8(chunk, _mm_set1_epi8('\\')));
                        odd = _mm_or_si128(odd, _mm_cmpeq_epi8(_mm_min_epu8(chunk, _mm_set1_epi8(0x1f)), chunk));
                        int mask = _mm_movemask_epi8(odd);
                        _mm_storeu_si128((__m128i *)to, chunk);
                        if (!mask) {
                                p += 16;
                                to += 16;
                                continue;
                        }
                        int clean = __builtin_ctz((unsigned)mask);
                        p += clean;
                        to += clean;
                }
#endif
                if (likely(!escapes[*p])) {
                        *to++ = *p++;
                        continue;
                }
                out->size = (size_t)(to - out->data);
                TRY(buf_reserve(out, 6 + (size_t)(end - p)));
                to = put_escape(*p++, out->data + out->size);
        }
        *to++ = '"';
        out->size = (size_t)(to - out->data);
        return ST_OK;
}

Status json_write_message(Bytes s, Buf *out)
{
        if (likely(json_bridge_utf8_valid(s)))
                return json_write_string(s, out);
        _cleanup_(buf_done) Buf text;
        buf_init(&text, SIZE_MAX);
        for (size_t at = 0; at < s.size;) {
                Bytes character = BYTES(s.data + at, bytes_char_size(s, at));
                bool valid = json_bridge_utf8_valid(character);
                TRY(valid ? buf_append(&text, character.data, character.size) : buf_append_str(&text, "\xef\xbf\xbd"));
                at += valid ? character.size : 1;
        }
        return json_write_string(BYTES(text.data, text.size), out);
}

/* --- documents --- */

static Status put_raw(Buf *out, const char *text, size_t size)
{
        TRY(buf_reserve(out, size));
        memcpy(out->data + out->size, text, size);
        out->size += size;
        return ST_OK;
}
#define PUT_LITERAL(out, text) put_raw((out), (text), sizeof(text) - 1)

static Status put_byte(Buf *out, char c)
{
        TRY(buf_reserve(out, 1));
        out->data[out->size++] = (uint8_t)c;
        return ST_OK;
}

static Status write_number(double d, Buf *out)
{
        TRY(buf_reserve(out, NUMBER_BYTES));
        out->size = (size_t)(put_number(d, (char *)out->data + out->size) - (char *)out->data);
        return ST_OK;
}

static Status write_integer(int64_t i, Buf *out)
{
        TRY(buf_reserve(out, NUMBER_BYTES));
        out->size = (size_t)(put_integer(i, (char *)out->data + out->size) - (char *)out->data);
        return ST_OK;
}

/* As RethinkDB prints it, CRLF after each 76 digits. They are written where they belong; only the CRLFs need their
 * escapes. */
static Status write_base64(Bytes data, Buf *out)
{
        size_t size = base64_size(BASE64_PLAIN, data.size), breaks = size / 76;
        TRY(buf_reserve(out, size + 4 * breaks + 2));
        char *start = (char *)out->data + out->size, *to = start;
        *to++ = '"';
        for (size_t at = 0; at < data.size; at += 57) { /* 57 bytes are 76 digits */
                Bytes line = BYTES(data.data + at, MIN(data.size - at, (size_t)57));
                if (at) {
                        memcpy(to, "\\r\\n", 4);
                        to += 4;
                }
                to = base64_write(BASE64_PLAIN, line, to);
        }
        *to++ = '"';
        out->size += (size_t)(to - start);
        return ST_OK;
}

static Status write_binary(Bytes data, Buf *out)
{
        TRY(PUT_LITERAL(out, "{\"$reql_type$\":\"BINARY\",\"data\":"));
        TRY(write_base64(data, out));
        return put_byte(out, '}');
}

static Status write_time(const uint8_t *encoded, Buf *out)
{
        TRY(PUT_LITERAL(out, "{\"$reql_type$\":\"TIME\",\"epoch_time\":"));
        TRY(write_number(time_load(encoded), out));
        TRY(PUT_LITERAL(out, ",\"timezone\":"));
        TRY(json_write_string(time_load_zone(encoded), out));
        return put_byte(out, '}');
}

static Status no_json(bool minval)
{
        return status_new(ERR_LOGIC, "Cannot convert `r.%s` to JSON.", minval ? "minval" : "maxval");
}

/* --- small containers: room for the worst case is made once, and then nothing is asked any more ---
 *
 * No stored value has a text of more than TEXT_FACTOR times its bytes: a byte of a string may become \\u00XX; null
 * takes a byte and two of offset in its container, an int8 two and two, and the comma, the colon and the quotes are
 * within that too; a time's 15 bytes become 88 at most. Binaries have no such bound and go the slow way, with all
 * around them. */
#define SMALL_BYTES 8192
#define TEXT_FACTOR 6u
#define STEP_BYTES  16 /* a step of put_string may write as many behind its end */

/* Nothing is read from `limit` on, but what lies between the string's end and it may be. */
static uint8_t *put_string(const uint8_t *p, size_t size, const uint8_t *limit, uint8_t *to)
{
        *to++ = '"';
#if defined(__SSE2__)
        while (size > 0 && limit - p >= STEP_BYTES) {
                __m128i chunk = _mm_loadu_si128((const __m128i *)p);
                __m128i odd = _mm_or_si128(_mm_cmpeq_epi8(chunk, _mm_set1_epi8('"')),
                                           _mm_cmpeq_epi8(chunk, _mm_set1_epi8('\\')));
                odd = _mm_or_si128(odd, _mm_cmpeq_epi8(_mm_min_epu8(chunk, _mm_set1_epi8(0x1f)), chunk));
                unsigned mask = (unsigned)_mm_movemask_epi8(odd) | 1u << STEP_BYTES;
                size_t clean = MIN((size_t)__builtin_ctz(mask), size);
                _mm_storeu_si128((__m128i *)to, chunk);
                to += clean;
                p += clean;
                size -= clean;
                if (unlikely(clean < STEP_BYTES && size > 0)) {
                        to = put_escape(*p++, to);
                        size--;
                }
        }
#endif
        for (; size > 0; size--, p++) {
                if (likely(!escapes[*p]))
                        *to++ = *p;
                else
                        to = put_escape(*p, to);
        }
        *to++ = '"';
        return to;
}

#define PUT(to, text) ((uint8_t *)memcpy((to), (text), sizeof(text) - 1) + sizeof(text) - 1)

static uint8_t *put_time(const uint8_t *at, uint8_t *to)
{
        to = PUT(to, "{\"$reql_type$\":\"TIME\",\"epoch_time\":");
        to = (uint8_t *)put_number(time_load(at), (char *)to);
        to = PUT(to, ",\"timezone\":\"");
        to = (uint8_t *)memcpy(to, time_load_zone(at).data, TIME_ZONE_BYTES) + TIME_ZONE_BYTES;
        return PUT(to, "\"}");
}

/* Moves *p behind the value; NULL: it has something that is not for here. */
static uint8_t *put_encoded(const uint8_t **p, const uint8_t *limit, uint8_t *to)
{
        const uint8_t *at = *p;
        switch (at[0]) {
        case TAG_NULL: *p = at + 1; return PUT(to, "null");
        case TAG_FALSE: *p = at + 1; return PUT(to, "false");
        case TAG_TRUE: *p = at + 1; return PUT(to, "true");
        case TAG_INT8: *p = at + 2; return (uint8_t *)put_integer((int8_t)at[1], (char *)to);
        case TAG_INT16: *p = at + 3; return (uint8_t *)put_integer((int16_t)load_u16(at + 1), (char *)to);
        case TAG_INT32: *p = at + 5; return (uint8_t *)put_integer((int32_t)load_u32(at + 1), (char *)to);
        case TAG_DOUBLE: {
                double d;
                memcpy(&d, at + 1, sizeof(d));
                *p = at + 9;
                return (uint8_t *)put_number(d, (char *)to);
        }
        case TAG_STRING8: *p = at + 2 + at[1]; return put_string(at + 2, at[1], limit, to);
        case TAG_STRING32: *p = at + 5 + load_u32(at + 1); return put_string(at + 5, load_u32(at + 1), limit, to);
        case TAG_TIME: *p = at + TIME_BYTES; return put_time(at, to);
        default: break;
        }
        if (!TAG_IS_CONTAINER(at[0]))
                return NULL;
        Container c = container_open(at);
        bool array = (at[0] & TAG_KIND_MASK) == (TAG_ARRAY & TAG_KIND_MASK);
        *p = c.body;
        *to++ = array ? '[' : '{';
        for (size_t i = 0; i < c.count; i++) {
                if (i)
                        *to++ = ',';
                if (!array) {
                        Bytes key = entry_key(*p);
                        *p = key.data + key.size;
                        to = put_string(key.data, key.size, limit, to);
                        *to++ = ':';
                }
                to = put_encoded(p, limit, to);
                if (unlikely(!to))
                        return NULL;
        }
        *to++ = array ? ']' : '}';
        return to;
}

/* False: it is to be written in another way. */
static bool write_small(const uint8_t **p, const Container *c, Buf *out)
{
        const uint8_t *at = c->start;
        if (c->size > SMALL_BYTES)
                return false;
        Status st = buf_reserve(out, TEXT_FACTOR * (size_t)c->size + STEP_BYTES);
        if (unlikely(st != ST_OK)) { /* less may do */
                status_ignore(st);
                return false;
        }
        uint8_t *to = put_encoded(&at, at + c->size, out->data + out->size);
        if (!to)
                return false;
        out->size = (size_t)(to - out->data);
        *p = at;
        return true;
}

/* --- any --- */

/* Stored bytes straight to text: entries lie in key order one behind the other, so the offsets are not even looked at.
 * Moves *p behind the value. */
static Status write_encoded(const uint8_t **p, Buf *out)
{
        const uint8_t *at = *p;
        switch (at[0]) {
        case TAG_NULL: *p = at + 1; return PUT_LITERAL(out, "null");
        case TAG_FALSE: *p = at + 1; return PUT_LITERAL(out, "false");
        case TAG_TRUE: *p = at + 1; return PUT_LITERAL(out, "true");
        case TAG_INT8: *p = at + 2; return write_integer((int8_t)at[1], out);
        case TAG_INT16: *p = at + 3; return write_integer((int16_t)load_u16(at + 1), out);
        case TAG_INT32: *p = at + 5; return write_integer((int32_t)load_u32(at + 1), out);
        case TAG_DOUBLE: {
                double d;
                memcpy(&d, at + 1, sizeof(d));
                *p = at + 9;
                return write_number(d, out);
        }
        case TAG_STRING8: *p = at + 2 + at[1]; return json_write_string(BYTES(at + 2, at[1]), out);
        case TAG_STRING32:
                *p = at + 5 + load_u32(at + 1);
                return json_write_string(BYTES(at + 5, load_u32(at + 1)), out);
        case TAG_BINARY8: *p = at + 2 + at[1]; return write_binary(BYTES(at + 2, at[1]), out);
        case TAG_BINARY32: *p = at + 5 + load_u32(at + 1); return write_binary(BYTES(at + 5, load_u32(at + 1)), out);
        case TAG_TIME: *p = at + TIME_BYTES; return write_time(at, out);
        case TAG_MINVAL:
        case TAG_MAXVAL: return no_json(at[0] == TAG_MINVAL);
        default: break;
        }
        assert(TAG_IS_CONTAINER(at[0]));
        Container c = container_open(at);
        if (write_small(p, &c, out))
                return ST_OK;
        bool array = (at[0] & TAG_KIND_MASK) == (TAG_ARRAY & TAG_KIND_MASK);
        *p = c.body;
        TRY(put_byte(out, array ? '[' : '{'));
        for (size_t i = 0; i < c.count; i++) {
                if (i)
                        TRY(put_byte(out, ','));
                if (!array) {
                        Bytes key = entry_key(*p);
                        *p = key.data + key.size;
                        TRY(json_write_string(key, out));
                        TRY(put_byte(out, ':'));
                }
                TRY(write_encoded(p, out));
        }
        return put_byte(out, array ? ']' : '}');
}

static Status write_value(Value v, Buf *out)
{
        switch (value_type(v)) {
        case V_NONE: assert(!"no value has no JSON form"); return ST_OK;
        case V_MINVAL:
        case V_MAXVAL: return no_json(v.type == V_MINVAL);
        case V_NULL: return PUT_LITERAL(out, "null");
        case V_BOOL: return v.boolean ? PUT_LITERAL(out, "true") : PUT_LITERAL(out, "false");
        case V_NUMBER: return write_number(v.number, out);
        case V_STRING: return json_write_string(value_bytes(v), out);
        case V_BINARY: return write_binary(value_bytes(v), out);
        case V_TIME:
        case V_ARRAY:
        case V_OBJECT:
        case V_GEOMETRY: break;
        }
        if (v.rep == REP_ENCODED) {
                const uint8_t *p = v.encoded;
                return write_encoded(&p, out);
        }
        bool array = v.type == V_ARRAY;
        TRY(put_byte(out, array ? '[' : '{'));
        for (size_t i = 0; i < v.size; i++) {
                if (i)
                        TRY(put_byte(out, ','));
                if (array) {
                        TRY(write_value(v.items[i], out));
                } else {
                        TRY(json_write_string(v.fields[i].key, out));
                        TRY(put_byte(out, ':'));
                        TRY(write_value(v.fields[i].value, out));
                }
        }
        return put_byte(out, array ? ']' : '}');
}

Status json_write(Value v, Buf *out)
{
        if (value_too_deep(v))
                return status_new(ERR_LIMIT, "Nesting is deeper than %d levels.", VALUE_MAX_DEPTH);
        return write_value(v, out);
}

/* --- pretty --- */

static Status put_line(size_t level, Buf *out)
{
        TRY(buf_reserve(out, 1 + level));
        out->data[out->size++] = '\n';
        memset(out->data + out->size, '\t', level);
        out->size += level;
        return ST_OK;
}

static Status write_pretty(Value v, size_t level, Buf *out)
{
        if (v.type == V_BINARY) {
                TRY(put_byte(out, '{'));
                TRY(put_line(level + 1, out));
                TRY(PUT_LITERAL(out, "\"$reql_type$\":\t\"BINARY\","));
                TRY(put_line(level + 1, out));
                TRY(PUT_LITERAL(out, "\"data\":\t"));
                TRY(write_base64(value_bytes(v), out));
                TRY(put_line(level, out));
                return put_byte(out, '}');
        }
        bool array = v.type == V_ARRAY;
        if (!array && !value_is_object(v))
                return write_value(v, out);
        TRY(put_byte(out, array ? '[' : '{'));
        for (size_t i = 0; i < v.size; i++) {
                if (i)
                        TRY(put_byte(out, ','));
                TRY(put_line(level + 1, out));
                if (array) {
                        TRY(write_pretty(value_at(v, i), level + 1, out));
                } else {
                        Bytes key;
                        Value value = value_field_at(v, i, &key);
                        TRY(json_write_string(key, out));
                        TRY(PUT_LITERAL(out, ":\t"));
                        TRY(write_pretty(value, level + 1, out));
                }
        }
        if (v.size)
                TRY(put_line(level, out));
        return put_byte(out, array ? ']' : '}');
}

Status json_write_pretty(Value v, Buf *out)
{
        if (value_too_deep(v))
                return status_new(ERR_LIMIT, "Nesting is deeper than %d levels.", VALUE_MAX_DEPTH);
        return write_pretty(v, 0, out);
}

static Bytes written_text(Status (*write)(Value v, Buf *out), Value v, Arena *arena)
{
        Buf buf;
        buf_init(&buf, SIZE_MAX / 2);
        Status st = write(v, &buf);
        Bytes text = st ? BYTES_STR(status_message(st)) : BYTES(buf.data, buf.size);
        size_t size = text.size;
        char *copy = arena_try_alloc(arena, size + 1);
        if (copy && size)
                memcpy(copy, text.data, size);
        status_ignore(st);
        buf_done(&buf);
        if (!copy) /* not before the heap is clean: this may jump away */
                copy = arena_zalloc(arena, size + 1);
        copy[size] = 0;
        return BYTES(copy, size);
}

Bytes json_text(Value v, Arena *arena)
{
        return written_text(json_write, v, arena);
}

Bytes json_pretty_text(Value v, Arena *arena)
{
        return written_text(json_write_pretty, v, arena);
}
