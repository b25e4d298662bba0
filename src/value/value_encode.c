/* value_encode.c - the binary document format: sizes, writing, reading, checking. README.md pictures it. */
#include <assert.h>

#include "bridge/json_bridge.h"
#include "value/value.h"
#include "value/value_int.h"

/* --- sizes --- */

static size_t text_size(size_t bytes)
{
        return (bytes <= UINT8_MAX ? 2 : 5) + bytes;
}

static size_t encoded_container_size(const uint8_t *p)
{
        return p[0] & TAG_WIDE ? load_u32(p + 4) : load_u16(p + 2);
}

/* Stops counting once above `enough`: the answer is then some number above it. */
static size_t size_at(Value v, unsigned level, size_t enough)
{
        switch (value_type(v)) {
        case V_NONE: assert(!"no value is never inside another"); return 0;
        case V_MINVAL:
        case V_MAXVAL:
        case V_NULL:
        case V_BOOL: return 1;
        case V_NUMBER: {
                static const uint8_t sizes[] = {[TAG_INT8] = 2, [TAG_INT16] = 3, [TAG_INT32] = 5, [TAG_DOUBLE] = 9};
                return sizes[number_tag(v.number)];
        }
        case V_STRING:
        case V_BINARY: return text_size(v.size);
        case V_TIME: return TIME_BYTES;
        case V_ARRAY:
        case V_OBJECT:
        case V_GEOMETRY: break;
        }
        if (v.rep == REP_ENCODED)
                return encoded_container_size(v.encoded);
        size_t body = 0;
        for (size_t i = 0; i < v.size && body <= enough; i++) {
                if (v.type == V_ARRAY) {
                        body += size_at(v.items[i], level + 1, enough);
                } else {
                        size_t key = v.fields[i].key.size;
                        body += varint_size((uint32_t)key) + key + size_at(v.fields[i].value, level + 1, enough);
                }
        }
        size_t narrow = NARROW_HEADER + 2 * (size_t)v.size + body;
        if (narrow <= NARROW_MAX && level < WIDE_BELOW_LEVEL)
                return narrow;
        return WIDE_HEADER + 4 * (size_t)v.size + body;
}

size_t value_encoded_size(Value v)
{
        assert(!value_too_deep(v));
        return size_at(v, 0, SIZE_MAX / 2);
}

/* --- writing --- */

static uint8_t *write_text(Value v, uint8_t tag8, uint8_t *out)
{
        if (v.size <= UINT8_MAX) {
                *out++ = tag8;
                *out++ = (uint8_t)v.size;
        } else {
                *out++ = tag8 + 1;
                store_u32(out, v.size);
                out += 4;
        }
        if (v.size)
                memcpy(out, v.text, v.size);
        return out + v.size;
}

static uint8_t *write_number(double d, uint8_t *out)
{
        int tag = number_tag(d);
        *out++ = (uint8_t)tag;
        switch (tag) {
        case TAG_INT8: *out = (uint8_t)(int8_t)d; return out + 1;
        case TAG_INT16: store_u16(out, (uint16_t)(int16_t)d); return out + 2;
        case TAG_INT32: store_u32(out, (uint32_t)(int32_t)d); return out + 4;
        default: memcpy(out, &d, sizeof(d)); return out + sizeof(d);
        }
}

static uint8_t *write_value(Value v, unsigned level, bool around_is_wide, uint8_t *out);

static uint8_t *write_container(Value v, unsigned level, bool around_is_wide, uint8_t *start)
{
        /* What is inside a narrow container is narrow itself; only inside a wide one the size has to be looked at, and
         * only as far as NARROW_MAX. */
        bool wide = level >= WIDE_BELOW_LEVEL || (around_is_wide && size_at(v, level, NARROW_MAX) > NARROW_MAX);
        uint8_t kind = v.type == V_ARRAY ? TAG_ARRAY : v.type == V_OBJECT ? TAG_OBJECT : TAG_GEOMETRY;
        uint8_t *offsets = start + (wide ? WIDE_HEADER : NARROW_HEADER);
        uint8_t *out = offsets + (wide ? 4 : 2) * (size_t)v.size;
        for (size_t i = 0; i < v.size; i++) {
                size_t offset = (size_t)(out - start);
                if (wide)
                        store_u32(offsets + 4 * i, (uint32_t)offset);
                else
                        store_u16(offsets + 2 * i, (uint16_t)offset);
                if (v.type == V_ARRAY) {
                        out = write_value(v.items[i], level + 1, wide, out);
                        continue;
                }
                const Field *field = &v.fields[i];
                assert(i == 0 || bytes_compare(field[-1].key, field->key) < 0); /* V2 */
                uint32_t size = (uint32_t)field->key.size;
                for (; size >= 0x80; size >>= 7)
                        *out++ = (uint8_t)(size | 0x80);
                *out++ = (uint8_t)size;
                if (field->key.size)
                        memcpy(out, field->key.data, field->key.size);
                out = write_value(field->value, level + 1, wide, out + field->key.size);
        }
        size_t size = (size_t)(out - start);
        start[0] = (uint8_t)(kind | (wide ? TAG_WIDE : 0) | (v.depth > 255 ? TAG_DEEP : 0));
        start[1] = (uint8_t)v.depth;
        if (wide) {
                store_u16(start + 2, 0);
                store_u32(start + 4, (uint32_t)size);
                store_u32(start + 8, v.size);
        } else {
                assert(size <= NARROW_MAX);
                store_u16(start + 2, (uint16_t)size);
                store_u16(start + 4, (uint16_t)v.size);
        }
        return out;
}

static uint8_t *write_value(Value v, unsigned level, bool around_is_wide, uint8_t *out)
{
        switch (value_type(v)) {
        case V_NONE: assert(!"no value is never inside another"); return out;
        case V_MINVAL: *out = TAG_MINVAL; return out + 1;
        case V_MAXVAL: *out = TAG_MAXVAL; return out + 1;
        case V_NULL: *out = TAG_NULL; return out + 1;
        case V_BOOL: *out = v.boolean ? TAG_TRUE : TAG_FALSE; return out + 1;
        case V_NUMBER: return write_number(v.number, out);
        case V_STRING: return write_text(v, TAG_STRING8, out);
        case V_BINARY: return write_text(v, TAG_BINARY8, out);
        case V_TIME: memcpy(out, v.encoded, TIME_BYTES); return out + TIME_BYTES;
        case V_ARRAY:
        case V_OBJECT:
        case V_GEOMETRY: break;
        }
        if (v.rep == REP_ENCODED) {
                size_t size = encoded_container_size(v.encoded);
                memcpy(out, v.encoded, size);
                return out + size;
        }
        return write_container(v, level, around_is_wide, out);
}

void value_encode(Value v, uint8_t *out)
{
        assert(!value_too_deep(v));
        write_value(v, 0, true, out);
}

/* --- reading --- */

Value value_decode(const uint8_t *p)
{
        switch (p[0]) {
        case TAG_NULL: return value_null();
        case TAG_FALSE: return value_bool(false);
        case TAG_TRUE: return value_bool(true);
        case TAG_INT8: return value_number((int8_t)p[1]);
        case TAG_INT16: return value_number((int16_t)load_u16(p + 1));
        case TAG_INT32: return value_number((int32_t)load_u32(p + 1));
        case TAG_DOUBLE: {
                double d;
                memcpy(&d, p + 1, sizeof(d));
                return value_number(d);
        }
        case TAG_STRING8: return value_string(BYTES(p + 2, p[1]));
        case TAG_STRING32: return value_string(BYTES(p + 5, load_u32(p + 1)));
        case TAG_BINARY8: return value_binary(BYTES(p + 2, p[1]));
        case TAG_BINARY32: return value_binary(BYTES(p + 5, load_u32(p + 1)));
        case TAG_MINVAL: return value_minval();
        case TAG_MAXVAL: return value_maxval();
        case TAG_TIME:
                return (Value){
                        .type = V_TIME, .rep = REP_ENCODED, .depth = 1, .size = ELEMENTS(time_keys), .encoded = p};
        default: break;
        }
        assert(TAG_IS_CONTAINER(p[0])); /* V1: only validated or checksummed bytes come here */
        Container c = container_open(p);
        uint8_t kind = p[0] & (TAG_CONTAINER | TAG_KIND_MASK);
        return (Value){
                .type = kind == TAG_ARRAY    ? V_ARRAY
                        : kind == TAG_OBJECT ? V_OBJECT
                                             : V_GEOMETRY,
                .rep = REP_ENCODED,
                .depth = c.depth,
                .size = c.count,
                .encoded = p,
        };
}

Value value_copy(Value v, Arena *arena)
{
        switch (value_type(v)) {
        case V_STRING:
        case V_BINARY: v.text = arena_dup(arena, v.text, v.size); return v;
        case V_ARRAY:
        case V_OBJECT:
        case V_GEOMETRY:
        case V_TIME: {
                uint8_t *copy = arena_alloc(arena, value_encoded_size(v));
                value_encode(v, copy);
                return value_decode(copy);
        }
        default: return v;
        }
}

/* --- checking --- */

static bool zone_valid(const uint8_t *z)
{
        unsigned hours = (z[1] - '0') * 10u + (z[2] - '0'), minutes = (z[4] - '0') * 10u + (z[5] - '0');
        for (int i = 1; i < 6; i++)
                if (i != 3 && (z[i] < '0' || z[i] > '9'))
                        return false;
        return (z[0] == '+' || z[0] == '-') && z[3] == ':' && hours <= 24 && minutes <= 59;
}

/* The size of the value at `p`, of which `size` bytes may be read; 0 if it is malformed. */
static size_t check_value(const uint8_t *p, size_t size, unsigned max_depth, unsigned *ret_depth);

static size_t check_number(const uint8_t *p, size_t size, size_t bytes)
{
        double d;
        if (size < 1 + bytes)
                return 0;
        d = value_decode(p).number;
        /* One number has one encoding: the smallest. */
        return isfinite(d) && number_tag(d) == p[0] ? 1 + bytes : 0;
}

static size_t check_text(const uint8_t *p, size_t size, bool utf8)
{
        bool small = p[0] == TAG_STRING8 || p[0] == TAG_BINARY8;
        size_t header = small ? 2 : 5;
        if (size < header)
                return 0;
        size_t length = small ? p[1] : load_u32(p + 1);
        if (length > size - header || (!small && length <= UINT8_MAX))
                return 0;
        if (utf8 && !json_bridge_utf8_valid(BYTES(p + header, length)))
                return 0;
        return header + length;
}

static bool check_key(const uint8_t *p, size_t size, Bytes *ret_key)
{
        uint64_t length = 0;
        for (unsigned at = 0;; at++) {
                if (at == 5 || at >= size)
                        return false;
                length |= (uint64_t)(p[at] & 0x7f) << 7 * at;
                if (p[at] & 0x80)
                        continue;
                if ((at > 0 && p[at] == 0) || length > size - at - 1)
                        return false;
                *ret_key = BYTES(p + at + 1, (size_t)length);
                return json_bridge_utf8_valid(*ret_key);
        }
}

static size_t check_container(const uint8_t *p, size_t size, unsigned max_depth, unsigned *ret_depth)
{
        bool wide = p[0] & TAG_WIDE, array = (p[0] & TAG_KIND_MASK) == (TAG_ARRAY & TAG_KIND_MASK);
        size_t header = wide ? WIDE_HEADER : NARROW_HEADER, step = wide ? 4 : 2;
        if (max_depth == 0 || size < header)
                return 0;
        Container c = container_open(p);
        if (c.size > size || c.size < header || (c.size - header) / step < c.count || (wide && load_u16(p + 2) != 0))
                return 0;
        size_t at = header + step * c.count;
        unsigned deepest = 0;
        Bytes before = BYTES_NONE;
        for (size_t i = 0; i < c.count; i++) {
                if ((size_t)(container_entry(&c, i) - p) != at)
                        return 0;
                if (!array) {
                        Bytes key;
                        if (!check_key(p + at, c.size - at, &key) || (i > 0 && bytes_compare(before, key) >= 0))
                                return 0;
                        before = key;
                        at = (size_t)(key.data + key.size - p);
                }
                unsigned depth;
                size_t taken = check_value(p + at, c.size - at, max_depth - 1, &depth);
                if (taken == 0)
                        return 0;
                deepest = MAX(deepest, depth);
                at += taken;
        }
        if (at != c.size || c.depth != deepest + 1)
                return 0;
        *ret_depth = c.depth;
        return c.size;
}

static size_t check_value(const uint8_t *p, size_t size, unsigned max_depth, unsigned *ret_depth)
{
        *ret_depth = 0;
        if (size == 0)
                return 0;
        switch (p[0]) {
        case TAG_NULL:
        case TAG_FALSE:
        case TAG_TRUE:
        case TAG_MINVAL:
        case TAG_MAXVAL: return 1;
        case TAG_INT8: return check_number(p, size, 1);
        case TAG_INT16: return check_number(p, size, 2);
        case TAG_INT32: return check_number(p, size, 4);
        case TAG_DOUBLE: return check_number(p, size, 8);
        case TAG_STRING8:
        case TAG_STRING32: return check_text(p, size, true);
        case TAG_BINARY8:
        case TAG_BINARY32: return check_text(p, size, false);
        case TAG_TIME:
                *ret_depth = 1;
                return max_depth > 0 && size >= TIME_BYTES && isfinite(time_load(p)) && zone_valid(p + 9) ? TIME_BYTES
                                                                                                          : 0;
        default: return TAG_IS_CONTAINER(p[0]) ? check_container(p, size, max_depth, ret_depth) : 0;
        }
}

bool value_validate(const uint8_t *encoded, size_t size)
{
        unsigned depth;
        return size > 0 && check_value(encoded, size, VALUE_MAX_DEPTH, &depth) == size;
}
