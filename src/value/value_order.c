/* value_order.c - ReQL's total order, and a hash that agrees with it. key.c writes the same order as bytes. */
#include <assert.h>

#include "value/value.h"
#include "value/value_int.h"

static int compare_numbers(double a, double b)
{
        return (a > b) - (a < b);
}

static int compare_arrays(Value a, Value b)
{
        size_t n = MIN(a.size, b.size);
        for (size_t i = 0; i < n; i++) {
                int order = value_compare(value_at(a, i), value_at(b, i));
                if (order)
                        return order;
        }
        return (a.size > b.size) - (a.size < b.size);
}

/* Field by field in key order: the first key that differs decides, then the first value. */
static int compare_objects(Value a, Value b)
{
        size_t n = MIN(a.size, b.size);
        for (size_t i = 0; i < n; i++) {
                Bytes key_a, key_b;
                Value value_a = value_field_at(a, i, &key_a), value_b = value_field_at(b, i, &key_b);
                int order = bytes_compare(key_a, key_b);
                if (!order)
                        order = value_compare(value_a, value_b);
                if (order)
                        return order;
        }
        return (a.size > b.size) - (a.size < b.size);
}

int value_compare(Value a, Value b)
{
        if (a.type != b.type)
                return a.type < b.type ? -1 : 1;
        assert(!value_too_deep(a) && !value_too_deep(b));
        switch (value_type(a)) {
        case V_NONE:
        case V_MINVAL:
        case V_MAXVAL:
        case V_NULL: return 0;
        case V_BOOL: return a.boolean - b.boolean;
        case V_NUMBER: return compare_numbers(a.number, b.number);
        case V_STRING:
        case V_BINARY: return bytes_compare(value_bytes(a), value_bytes(b));
        case V_TIME: return compare_numbers(time_load(a.encoded), time_load(b.encoded));
        case V_ARRAY: return a.items == b.items && a.size == b.size ? 0 : compare_arrays(a, b);
        case V_OBJECT:
        case V_GEOMETRY: return a.fields == b.fields && a.size == b.size ? 0 : compare_objects(a, b);
        }
        return 0;
}

/* Numbers like 1, 2, 3 differ in their highest bits only, hash tables look at the lowest. */
static uint64_t mix(uint64_t hash, uint64_t more)
{
        hash = (hash ^ more) * 0x9e3779b97f4a7c15u;
        hash = (hash ^ hash >> 32) * 0xd6e8feb86659fd93u;
        return hash ^ hash >> 32;
}

static uint64_t hash_number(double d)
{
        uint64_t bits;
        d += 0.0; /* -0 and 0 are equal */
        memcpy(&bits, &d, sizeof(bits));
        return bits;
}

uint64_t value_hash(Value v)
{
        uint64_t hash = mix(0x9ddfea08eb382d69u, v.type);
        assert(!value_too_deep(v));
        switch (value_type(v)) {
        case V_NONE:
        case V_MINVAL:
        case V_MAXVAL:
        case V_NULL: return hash;
        case V_BOOL: return mix(hash, v.boolean);
        case V_NUMBER: return mix(hash, hash_number(v.number));
        case V_STRING:
        case V_BINARY: return mix(hash, bytes_hash(v.text, v.size));
        case V_TIME: return mix(hash, hash_number(time_load(v.encoded)));
        case V_ARRAY:
                for (size_t i = 0; i < v.size; i++)
                        hash = mix(hash, value_hash(value_at(v, i)));
                return mix(hash, v.size);
        case V_OBJECT:
        case V_GEOMETRY:
                for (size_t i = 0; i < v.size; i++) {
                        Bytes key;
                        uint64_t inner = value_hash(value_field_at(v, i, &key));
                        hash = mix(mix(hash, bytes_hash(key.data, key.size)), inner);
                }
                return mix(hash, v.size);
        }
        return hash;
}
