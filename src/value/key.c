/* key.c - values as bytes whose memcmp order is ReQL's. README.md pictures the form. */
#include "value/key.h"

#include <assert.h>
#include <stdio.h>

#include "value/json.h"
#include "value/value_int.h"

/* First byte of each type. END is below all of them and ends strings, arrays and objects, so that no key is the
 * beginning of another and a shorter array or string sorts first. */
enum {
        KEY_END = 0x00,
        KEY_MORE = 0x01, /* another field of an object follows */
        KEY_MINVAL = 0x10,
        KEY_ARRAY = 0x20,
        KEY_FALSE = 0x30,
        KEY_TRUE = 0x31,
        KEY_NULL = 0x40,
        KEY_NUMBER = 0x50,
        KEY_OBJECT = 0x60,
        KEY_BINARY = 0x70,
        KEY_GEOMETRY = 0x80,
        KEY_TIME = 0x90,
        KEY_STRING = 0xa0,
        KEY_MAXVAL = 0xf0,
};

static size_t text_size(Bytes text)
{
        size_t size = text.size + 1;
        for (size_t i = 0; i < text.size; i++)
                size += text.data[i] <= 1;
        return size;
}

/* 00 becomes 01 01 and 01 becomes 01 02: both stay above END and in order. */
static uint8_t *write_text(Bytes text, uint8_t *out)
{
        for (size_t i = 0; i < text.size; i++) {
                uint8_t c = text.data[i];
                if (unlikely(c <= 1)) {
                        *out++ = 1;
                        c++;
                }
                *out++ = c;
        }
        *out++ = KEY_END;
        return out;
}

/* Positive numbers: sign bit set; negative ones: all bits flipped; big-endian. -0 is 0. */
static uint8_t *write_number(double d, uint8_t *out)
{
        uint64_t bits;
        d += 0.0;
        memcpy(&bits, &d, sizeof(bits));
        bits = bits >> 63 ? ~bits : bits | (uint64_t)1 << 63;
        bits = __builtin_bswap64(bits);
        memcpy(out, &bits, sizeof(bits));
        return out + sizeof(bits);
}

static size_t key_size(Value v)
{
        size_t size = 2;
        switch (value_type(v)) {
        case V_NONE: assert(!"no value has no key"); return 0;
        case V_MINVAL:
        case V_MAXVAL:
        case V_BOOL:
        case V_NULL: return 1;
        case V_NUMBER:
        case V_TIME: return 9;
        case V_STRING:
        case V_BINARY: return 1 + text_size(value_bytes(v));
        case V_ARRAY:
                for (size_t i = 0; i < v.size; i++)
                        size += key_size(value_at(v, i));
                return size;
        case V_OBJECT:
        case V_GEOMETRY:
                for (size_t i = 0; i < v.size; i++) {
                        Bytes key;
                        size += key_size(value_field_at(v, i, &key));
                        size += 1 + text_size(key);
                }
                return size;
        }
        return 0;
}

static uint8_t *write_key(Value v, uint8_t *out)
{
        static const uint8_t first[] = {
                [V_MINVAL] = KEY_MINVAL, [V_ARRAY] = KEY_ARRAY,   [V_NULL] = KEY_NULL,         [V_NUMBER] = KEY_NUMBER,
                [V_OBJECT] = KEY_OBJECT, [V_BINARY] = KEY_BINARY, [V_GEOMETRY] = KEY_GEOMETRY, [V_TIME] = KEY_TIME,
                [V_STRING] = KEY_STRING, [V_MAXVAL] = KEY_MAXVAL,
        };
        *out++ = v.type == V_BOOL ? (v.boolean ? KEY_TRUE : KEY_FALSE) : first[v.type];
        switch (value_type(v)) {
        case V_NUMBER: return write_number(v.number, out);
        case V_TIME: return write_number(time_load(v.encoded), out);
        case V_STRING:
        case V_BINARY: return write_text(value_bytes(v), out);
        case V_ARRAY:
                for (size_t i = 0; i < v.size; i++)
                        out = write_key(value_at(v, i), out);
                *out++ = KEY_END;
                return out;
        case V_OBJECT:
        case V_GEOMETRY:
                for (size_t i = 0; i < v.size; i++) {
                        Bytes key;
                        Value value = value_field_at(v, i, &key);
                        *out++ = KEY_MORE;
                        out = write_key(value, write_text(key, out));
                }
                *out++ = KEY_END;
                return out;
        default: return out;
        }
}

Bytes key_encode(Value v, Arena *arena)
{
        assert(!value_too_deep(v));
        size_t size = key_size(v);
        uint8_t *key = arena_alloc(arena, size);
        write_key(v, key);
        return BYTES(key, size);
}

Bytes key_after_prefix(Bytes key, Arena *arena)
{
        size_t size = key.size;
        while (size > 0 && key.data[size - 1] == 0xff)
                size--;
        if (size == 0)
                return BYTES_NONE;
        uint8_t *after = arena_dup(arena, key.data, size);
        after[size - 1]++;
        return BYTES(after, size);
}

/* --- RethinkDB's limits --- */

/* The rest of this file measures a key in RethinkDB's own form (a text: "S" and the string; "N", 16 hex digits, "#" and
 * the number; "A" and the elements, a NUL behind each; ...) because that is what its limits are limits of. */
#define RDB_MAX_PRIMARY 128
#define RDB_MAX_KEY     250

/* ERR_NON_EXISTENCE if the culprit is null: that is how RethinkDB classes type errors. */
static StatusCode type_error(Value culprit)
{
        return culprit.type == V_NULL ? ERR_NON_EXISTENCE : ERR_LOGIC;
}

static size_t rdb_number_size(double d)
{
        char text[40];
        return 1 + 16 + 1 + (size_t)snprintf(text, sizeof(text), "%.20g", d + 0.0);
}

/* How many bytes of a text RethinkDB appends to a key of `size` bytes. */
static size_t rdb_cut(size_t text, size_t size)
{
        return size < RDB_MAX_KEY ? MIN(text, RDB_MAX_KEY - size) : text;
}

static Status rdb_string(Value v, Arena *arena, size_t *size)
{
        Bytes text = value_bytes(v);
        const uint8_t *nul = text.size ? memchr(text.data, 0, text.size) : NULL;
        *size += 1;
        if (likely(!nul)) {
                *size += rdb_cut(text.size, *size);
                return ST_OK;
        }
        char *quoted = arena_alloc(arena, 4 * 20 + 3), *out = quoted;
        *out++ = '"';
        for (size_t i = 0; i < MIN(text.size, (size_t)20); i++) {
                uint8_t c = text.data[i];
                const char *found = strchr("\"\"\\\\\nn\tt\rr", c);
                if (c && found) {
                        *out++ = '\\';
                        *out++ = c == '\n' ? 'n' : c == '\t' ? 't' : c == '\r' ? 'r' : (char)c;
                } else if (c >= ' ' && c <= '~') {
                        *out++ = (char)c;
                } else {
                        out += sprintf(out, "\\x%02X", c);
                }
        }
        *out++ = '"';
        return status_new(ERR_LOGIC, "String %.*s (truncated) contains NULL byte at offset %zu in index key.",
                          (int)(out - quoted), quoted, (size_t)(nul - text.data));
}

static void rdb_binary(Value v, size_t *size)
{
        *size += 8; /* "PBINARY:" */
        size_t kept = rdb_cut(v.size, *size);
        for (size_t i = 0; i < kept; i++)
                *size += 1 + (v.text[i] == 0 || v.text[i] == 1);
}

static Status rdb_unusable(Value v)
{
        if (v.type == V_GEOMETRY)
                return status_new(ERR_LOGIC,
                                  "Cannot use a geometry value as a key value in a primary or non-geospatial "
                                  "secondary index.");
        return status_new(ERR_LOGIC, "Cannot use pseudotype %s as a primary or secondary key value .",
                          value_type_name(v));
}

static bool is_pseudo_object(Value v)
{
        return v.type == V_GEOMETRY || (v.type == V_OBJECT && value_get(v, time_keys[0]).type != V_NONE);
}

static Status rdb_array(Value array, Arena *arena, size_t *size);

/* False if the type cannot be a key. */
static Status rdb_element(Value v, Arena *arena, size_t *size, bool *ret_usable)
{
        *ret_usable = true;
        switch (value_type(v)) {
        case V_MINVAL:
        case V_MAXVAL: *size += 1; return ST_OK;
        case V_BOOL: *size += 2; return ST_OK;
        case V_NUMBER: *size += rdb_number_size(v.number); return ST_OK;
        case V_TIME: *size += 6 + rdb_number_size(time_load(v.encoded)); return ST_OK; /* "PTIME:" */
        case V_STRING: return rdb_string(v, arena, size);
        case V_BINARY: rdb_binary(v, size); return ST_OK;
        case V_ARRAY: return rdb_array(v, arena, size);
        case V_OBJECT:
        case V_GEOMETRY:
                if (is_pseudo_object(v))
                        return rdb_unusable(v);
                break;
        case V_NULL:
        case V_NONE: break;
        }
        *ret_usable = false;
        return ST_OK;
}

static Status rdb_array(Value array, Arena *arena, size_t *size)
{
        *size += 1;
        for (size_t i = 0; i < array.size && *size < RDB_MAX_KEY; i++) {
                bool usable;
                Value item = value_at(array, i);
                TRY(rdb_element(item, arena, size, &usable));
                if (!usable)
                        return status_new(type_error(item),
                                          "Array keys can only contain numbers, strings, bools,  pseudotypes, or "
                                          "arrays (got %s of "
                                          "type %s).",
                                          (const char *)json_pretty_text(item, arena).data, value_type_name(item));
                *size += 1;
        }
        return ST_OK;
}

/* Adds up the escaped bytes of a text as a secondary key has it. */
static size_t rdb_escaped_size(Value text, size_t size)
{
        size_t kept = rdb_cut(text.size, size), escaped = kept;
        for (size_t i = 0; i < kept; i++)
                escaped += (uint8_t)text.text[i] <= 1;
        return escaped;
}

/* False if `v` cannot be a part of a secondary key; else *size grows by its size. */
static bool rdb_secondary(Value v, size_t *size)
{
        switch (value_type(v)) {
        case V_BOOL: *size += 2; return true;
        case V_NUMBER: *size += rdb_number_size(v.number); return true;
        case V_TIME: *size += 6 + rdb_number_size(time_load(v.encoded)); return true;
        case V_STRING:
                *size += 1;
                *size += rdb_escaped_size(v, *size);
                return true;
        case V_BINARY: rdb_binary(v, size); return true;
        case V_ARRAY:
                *size += 1;
                for (size_t i = 0; i < v.size && *size < RDB_MAX_KEY; i++) {
                        if (!rdb_secondary(value_at(v, i), size))
                                return false;
                        *size += 1;
                }
                return true;
        default: return false;
        }
}

/* The same without a limit of size, and so without sizes: true for nearly all values that are ever indexed. */
static bool wholly_usable(Value v)
{
        switch (value_type(v)) {
        case V_BOOL:
        case V_NUMBER:
        case V_TIME:
        case V_STRING:
        case V_BINARY: return true;
        case V_ARRAY:
                for (size_t i = 0; i < v.size; i++)
                        if (!wholly_usable(value_at(v, i)))
                                return false;
                return true;
        default: return false;
        }
}

bool key_is_secondary(Value v)
{
        size_t size = 0;
        return wholly_usable(v) || (v.type == V_ARRAY && rdb_secondary(v, &size));
}

Status key_encode_primary(Value v, Arena *arena, Bytes *ret_key)
{
        if (v.type != V_NUMBER) { /* numbers always fit */
                size_t size = 0;
                bool usable;
                TRY(rdb_element(v, arena, &size, &usable));
                if (!usable)
                        return status_new(type_error(v),
                                          "Primary keys must be either a number, string, bool, pseudotype or array "
                                          "(got type %s):\n%s",
                                          value_type_name(v), (const char *)json_truncated_text(v, arena).data);
                if (size > RDB_MAX_PRIMARY)
                        return status_new(ERR_LOGIC, "Primary key too long (max %d characters): %s",
                                          RDB_MAX_PRIMARY - 1, (const char *)json_pretty_text(v, arena).data);
        }
        *ret_key = key_encode(v, arena);
        return ST_OK;
}
