/* value_int.h - the document format's bytes, shared by the files of this folder and its tests. Pictured in README.md.
 */
#ifndef VALUE_VALUE_INT_H
#define VALUE_VALUE_INT_H

#include <math.h>

#include "value/value.h"

enum {
        TAG_NULL = 0x01,
        TAG_FALSE = 0x02,
        TAG_TRUE = 0x03,
        TAG_INT8 = 0x04,
        TAG_INT16 = 0x05,
        TAG_INT32 = 0x06,
        TAG_DOUBLE = 0x07,
        TAG_STRING8 = 0x08,  /* u8 length, bytes */
        TAG_STRING32 = 0x09, /* u32 length, bytes */
        TAG_BINARY8 = 0x0a,
        TAG_BINARY32 = 0x0b,
        TAG_MINVAL = 0x0c, /* never stored in a table; copies of operators' values may hold it */
        TAG_MAXVAL = 0x0d,
        TAG_TIME = 0x0e, /* f64 seconds, 6 bytes of zone */
        /* 0 1 0 0 k k w d: kind, wide offsets, depth of 256 and more */
        TAG_CONTAINER = 0x40,
        TAG_KIND_MASK = 0x0c,
        TAG_ARRAY = 0x40,
        TAG_OBJECT = 0x44,
        TAG_GEOMETRY = 0x48,
        TAG_WIDE = 0x02,
        TAG_DEEP = 0x01,
};
#define TAG_IS_CONTAINER(tag) (((tag)&0xf0) == TAG_CONTAINER && ((tag)&TAG_KIND_MASK) != 0x0c)

#define TIME_BYTES       15
#define TIME_ZONE_BYTES  6
#define NARROW_HEADER    6  /* tag, depth, u16 size, u16 count */
#define WIDE_HEADER      12 /* tag, depth, u16 zero, u32 size, u32 count */
#define NARROW_MAX       65535
/* Below this nesting containers are wide whatever their size, so that choosing widths stays linear (README.md, V4). */
#define WIDE_BELOW_LEVEL 32

_Static_assert(VALUE_MAX_DEPTH <= 511, "a container's depth has 9 bits");
_Static_assert(sizeof(Field) == 32, "JsonMember is laid out the same");

typedef struct Container {
        const uint8_t *start; /* the tag */
        const uint8_t *offsets;
        const uint8_t *body; /* first entry */
        uint32_t size, count;
        uint16_t depth;
        bool wide;
} Container;

static inline Container container_open(const uint8_t *p)
{
        Container c = {.start = p, .wide = (p[0] & TAG_WIDE) != 0, .depth = (uint16_t)(p[1] | (p[0] & TAG_DEEP) << 8)};
        if (!c.wide) {
                c.size = load_u16(p + 2);
                c.count = load_u16(p + 4);
                c.offsets = p + NARROW_HEADER;
                c.body = c.offsets + 2 * (size_t)c.count;
        } else {
                c.size = load_u32(p + 4);
                c.count = load_u32(p + 8);
                c.offsets = p + WIDE_HEADER;
                c.body = c.offsets + 4 * (size_t)c.count;
        }
        return c;
}
static inline const uint8_t *container_entry(const Container *c, size_t index)
{
        return c->start + (c->wide ? load_u32(c->offsets + 4 * index) : load_u16(c->offsets + 2 * index));
}
/* Lengths of keys: 7 bits a byte, lowest first. */
static inline const uint8_t *varint_read(const uint8_t *p, uint32_t *ret_number)
{
        uint32_t number = *p & 0x7f;
        for (int shift = 7; *p++ & 0x80; shift += 7)
                number |= (uint32_t)(*p & 0x7f) << shift;
        *ret_number = number;
        return p;
}
static inline size_t varint_size(uint32_t number)
{
        size_t size = 1;
        while (number >>= 7)
                size++;
        return size;
}
static inline Bytes entry_key(const uint8_t *entry)
{
        uint32_t size;
        entry = varint_read(entry, &size);
        return BYTES(entry, size);
}

/* Fields of a TIME, which is stored without its keys. */
extern const Bytes time_keys[3];
Value time_field(const uint8_t *encoded, size_t index);
static inline double time_load(const uint8_t *encoded)
{
        double d;
        memcpy(&d, encoded + 1, sizeof(d));
        return d;
}
static inline Bytes time_load_zone(const uint8_t *encoded)
{
        return BYTES(encoded + 9, TIME_ZONE_BYTES);
}

/* The smallest tag for a number; TAG_DOUBLE for all that is no integer of 32 bits (and for -0). */
static inline int number_tag(double d)
{
        if (!(d >= INT32_MIN && d <= INT32_MAX))
                return TAG_DOUBLE;
        int32_t i = (int32_t)d;
        if (i != d || (i == 0 && signbit(d)))
                return TAG_DOUBLE;
        return i == (int8_t)i ? TAG_INT8 : i == (int16_t)i ? TAG_INT16 : TAG_INT32;
}

/* Pseudo-types (value_pseudo.c). */
MUST_USE Status time_classify(Value object, Arena *arena, Value *ret_value);

#endif
