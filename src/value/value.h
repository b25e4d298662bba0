/* value.h - a ReQL datum: a 16-byte immutable handle, and the binary document it may point into.
 *
 * Scalars are inline. Strings, binaries, arrays and objects point elsewhere; nothing here owns memory: a Value is valid
 * as long as what it points into (an arena, a message buffer, a pinned row). value_copy() moves it to another arena.
 *
 * Arrays and objects have two representations behind the same accessors:
 *   encoded  one span of bytes in the document format (README.md pictures it): what is stored; a field is found by
 *            binary search over an offset table, nothing else is decoded
 *   boxed    an arena array of handles: what the JSON parser and the operators make; building one copies no children
 * Object fields are always sorted by key bytes and unique: that is ReQL's order and the order of JSON output.
 *
 * TIME and GEOMETRY are objects with `$reql_type$` for every object operation, as in RethinkDB; their type tells them
 * apart. Threads: immutable, any. */
#ifndef VALUE_VALUE_H
#define VALUE_VALUE_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/status.h"

/* In ReQL's order between types. */
typedef enum ValueType {
        V_NONE = 0, /* no value; never inside another */
        V_MINVAL,
        V_ARRAY,
        V_BOOL,
        V_NULL,
        V_NUMBER,
        V_OBJECT,
        V_BINARY,   /* PTYPE<BINARY> */
        V_GEOMETRY, /* PTYPE<GEOMETRY>; an object */
        V_TIME,     /* PTYPE<TIME>; an object {$reql_type$, epoch_time, timezone} */
        V_STRING,
        V_MAXVAL,
} ValueType;

typedef enum ValueRep { REP_INLINE, REP_ENCODED, REP_BOXED } ValueRep;

typedef struct Value Value;
typedef struct Field Field;
struct Value {
        uint8_t type;   /* ValueType */
        uint8_t rep;    /* ValueRep; arrays and objects only */
        uint16_t depth; /* 0 for scalars, 1 + the deepest child for arrays and objects; saturates. See value_too_deep()
                         */
        uint32_t size;  /* bytes of a string or binary, elements of an array, fields of an object */
        union {
                bool boolean;
                double number;
                const char *text;       /* string: UTF-8, not NUL-terminated; binary: raw bytes */
                const uint8_t *encoded; /* REP_ENCODED: its tag byte */
                const Value *items;     /* REP_BOXED array */
                const Field *fields;    /* REP_BOXED object, sorted by key */
        };
};
struct Field {
        Bytes key;
        Value value;
};
_Static_assert(sizeof(Value) == 16, "handles are passed by value");

#define VALUE_MAX_DEPTH   500    /* nesting of arrays and objects; deeper input is refused (README.md) */
#define VALUE_ARRAY_LIMIT 100000 /* default of the array_limit option */

/* --- making --- */
static inline Value value_none(void)
{
        return (Value){.type = V_NONE};
}
static inline Value value_null(void)
{
        return (Value){.type = V_NULL};
}
static inline Value value_bool(bool b)
{
        return (Value){.type = V_BOOL, .boolean = b};
}
static inline Value value_number(double d)
{
        return (Value){.type = V_NUMBER, .number = d};
} /* d is finite */
static inline Value value_string(Bytes s)
{
        return (Value){.type = V_STRING, .size = (uint32_t)s.size, .text = (const char *)s.data};
}
static inline Value value_str(const char *s)
{
        return value_string(BYTES_STR(s));
} /* borrowed */
static inline Value value_binary(Bytes b)
{
        return (Value){.type = V_BINARY, .size = (uint32_t)b.size, .text = (const char *)b.data};
}
static inline Value value_minval(void)
{
        return (Value){.type = V_MINVAL};
}
static inline Value value_maxval(void)
{
        return (Value){.type = V_MAXVAL};
}
static inline uint16_t value_depth_around(uint16_t deepest_child)
{
        return deepest_child == UINT16_MAX ? UINT16_MAX : (uint16_t)(deepest_child + 1);
}
static inline Value value_array(const Value *items, size_t count)
{
        uint16_t deepest = 0;
        for (size_t i = 0; i < count; i++)
                deepest = MAX(deepest, items[i].depth);
        return (Value){.type = V_ARRAY,
                       .rep = REP_BOXED,
                       .depth = value_depth_around(deepest),
                       .size = (uint32_t)count,
                       .items = items};
}
/* Fields must be sorted and unique already. Never classifies pseudo-types: see ObjectBuilder for that. */
static inline Value value_object_sorted(const Field *fields, size_t count)
{
        uint16_t deepest = 0;
        for (size_t i = 0; i < count; i++)
                deepest = MAX(deepest, fields[i].value.depth);
        return (Value){.type = V_OBJECT,
                       .rep = REP_BOXED,
                       .depth = value_depth_around(deepest),
                       .size = (uint32_t)count,
                       .fields = fields};
}
/* PTYPE<TIME>; `timezone` like "+01:00". */
Value value_time(Arena *arena, double epoch_s, Bytes timezone);

/* Collects values; the array lives in the arena. */
typedef struct ArrayBuilder {
        Arena *arena;
        Value *items;
        size_t count, capacity;
} ArrayBuilder;
void array_init(ArrayBuilder *builder, Arena *arena, size_t expected);
void array_add(ArrayBuilder *builder, Value item);
Value array_take(ArrayBuilder *builder);

/* Collects fields in any order; the last value of a key wins unless told otherwise. Keys are borrowed. */
typedef struct ObjectBuilder {
        Arena *arena;
        Field *fields;
        size_t count, capacity;
} ObjectBuilder;
void object_init(ObjectBuilder *builder, Arena *arena, size_t expected);
void object_add(ObjectBuilder *builder, Bytes key, Value value);
void object_add_str(ObjectBuilder *builder, const char *key, Value value);
/* Sorts and removes earlier duplicates. A plain V_OBJECT, whatever its fields (for pseudo-types: value_classify). */
Value object_take(ObjectBuilder *builder);
/* The same, but a duplicate is reported: *ret_duplicate gets the key (data NULL if none). */
Value object_take_unique(ObjectBuilder *builder, Bytes *ret_duplicate);

/* `fields` sorted in place by key, the later of equal keys winning; returns the new count. `*ret_duplicate` (may be
 * NULL) gets a key that was there twice, data NULL if none. */
size_t fields_sort(Field *fields, size_t count, Arena *arena, Bytes *ret_duplicate);

/* An object that has `$reql_type$` becomes the pseudo-type it claims: V_TIME, V_BINARY (decoded into arena),
 * V_GEOMETRY, MINVAL/MAXVAL do not come this way. Others are returned unchanged. Errors (ERR_LOGIC) are RethinkDB's:
 * "Unknown $reql_type$ ...", "Invalid time object constructed ...", "Invalid binary pseudotype ..." */
MUST_USE Status value_classify(Value object, Arena *arena, Value *ret_value);

/* --- looking --- */
static inline ValueType value_type(Value v)
{
        return (ValueType)v.type;
}
static inline bool value_is(Value v, ValueType type)
{
        return v.type == type;
}
/* Everything that walks a value recurses, so whoever builds containers around containers (query's terms) refuses the
 * result when this is true; the functions below assert that it is not. */
static inline bool value_too_deep(Value v)
{
        return v.depth > VALUE_MAX_DEPTH;
}
static inline bool value_is_object(Value v)
{
        return v.type == V_OBJECT || v.type == V_TIME || v.type == V_GEOMETRY;
}
static inline Bytes value_bytes(Value v)
{
        return BYTES(v.text, v.size);
} /* string or binary */
static inline size_t value_count(Value v)
{
        return v.size;
} /* array or object */
bool value_bytes_are(Value v, const char *text); /* v is a string equal to text */
Value value_at(Value array, size_t index);       /* index < count */
/* Field `index` in key order. */
Value value_field_at(Value object, size_t index, Bytes *ret_key);
/* V_NONE if absent. */
Value value_get(Value object, Bytes key);
Value value_get_str(Value object, const char *key);
bool value_truthy(Value v); /* false for false and null only */
/* "NULL", "BOOL", "NUMBER", "STRING", "ARRAY", "OBJECT", "PTYPE<TIME>", "PTYPE<BINARY>", "PTYPE<GEOMETRY>", "MINVAL",
 * "MAXVAL" */
const char *value_type_name(Value v);
/* The number as an integer if it is one within +-2^53. */
bool value_integer(Value v, int64_t *ret_integer);

/* --- order --- */
/* ReQL's total order: <0, 0, >0. Times compare by instant; binaries and strings by bytes; 0 and -0 are equal. */
int value_compare(Value a, Value b);
static inline bool value_equal(Value a, Value b)
{
        return value_compare(a, b) == 0;
}
uint64_t value_hash(Value v); /* equal values hash equal */

/* --- storing --- */
/* Bytes of the encoded form. */
size_t value_encoded_size(Value v);
/* Writes exactly value_encoded_size(v) bytes. */
void value_encode(Value v, uint8_t *out);
/* A handle on encoded bytes, which must stay; no copy, no check beyond the header (storage checksums did that). */
Value value_decode(const uint8_t *encoded);
/* Full check of untrusted bytes: true if `encoded` is exactly one well-formed value of `size` bytes. */
bool value_validate(const uint8_t *encoded, size_t size);
/* A deep copy that depends on nothing but `arena`: containers become encoded, in one allocation. */
Value value_copy(Value v, Arena *arena);

#endif
