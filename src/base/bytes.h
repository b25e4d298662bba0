/* bytes.h - a borrowed span of bytes, and Buf, a growable buffer that is born with a maximum.
 * A Bytes owns nothing: whoever hands it out says how long it lives. */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef struct Bytes {
        const uint8_t *data;
        size_t size;
} Bytes;
#define BYTES(p, n)  ((Bytes){(const uint8_t *)(p), (n)})
#define BYTES_STR(s) ((Bytes){(const uint8_t *)(s), strlen(s)})
#define BYTES_NONE   ((Bytes){NULL, 0})
static inline int bytes_compare(Bytes a, Bytes b)
{
        size_t n = MIN(a.size, b.size);
        int c = n ? memcmp(a.data, b.data, n) : 0;
        return c ? c : (a.size > b.size) - (a.size < b.size);
}
static inline bool bytes_equal(Bytes a, Bytes b)
{
        return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

/* Bytes of the UTF-8 character that starts at `at` (1 if none does): messages quote whole characters. */
static inline size_t bytes_char_size(Bytes text, size_t at)
{
        size_t n = 1;
        while (n < 4 && at + n < text.size && (text.data[at + n] & 0xc0) == 0x80)
                n++;
        return n;
}

/* Growable, contiguous; data[size] may be anything. Freed by buf_done. Threads: one at a time. The maximum is strict: a
 * zeroed Buf holds nothing. After an error the buffer is as it was before. */
typedef struct Buf {
        uint8_t *data;
        size_t size, capacity;
        size_t max_bytes;
} Buf;
void buf_init(Buf *buf, size_t max_bytes);
void buf_done(Buf *buf);
static inline void buf_clear(Buf *buf)
{
        buf->size = 0;
}
/* Makes room for `more` further bytes: ERR_LIMIT above the maximum, ERR_NOMEM. */
MUST_USE Status buf_grow(Buf *buf, size_t more);
static inline MUST_USE Status buf_reserve(Buf *buf, size_t more)
{
        return likely(more <= buf->capacity - buf->size) ? ST_OK : buf_grow(buf, more);
}
/* `data` must not point into the buffer. */
static inline MUST_USE Status buf_append(Buf *buf, const void *data, size_t size)
{
        TRY(buf_reserve(buf, size));
        if (size)
                memcpy(buf->data + buf->size, data, size);
        buf->size += size;
        return ST_OK;
}
static inline MUST_USE Status buf_append_str(Buf *buf, const char *s)
{
        return buf_append(buf, s, strlen(s));
}
static inline MUST_USE Status buf_append_byte(Buf *buf, uint8_t byte)
{
        TRY(buf_reserve(buf, 1));
        buf->data[buf->size++] = byte;
        return ST_OK;
}
MUST_USE Status buf_printf(Buf *buf, const char *format, ...) PRINTF_LIKE(2, 3);
MUST_USE Status buf_vprintf(Buf *buf, const char *format, va_list args);
/* Removes `size` bytes from the front: moves the rest, so do it once per batch and not once per message. */
void buf_consume(Buf *buf, size_t size);

/* Little-endian loads and stores at any alignment. */
static inline uint16_t load_u16(const void *p)
{
        uint16_t v;
        memcpy(&v, p, 2);
        return v;
}
static inline uint32_t load_u32(const void *p)
{
        uint32_t v;
        memcpy(&v, p, 4);
        return v;
}
static inline uint64_t load_u64(const void *p)
{
        uint64_t v;
        memcpy(&v, p, 8);
        return v;
}
static inline void store_u16(void *p, uint16_t v)
{
        memcpy(p, &v, 2);
}
static inline void store_u32(void *p, uint32_t v)
{
        memcpy(p, &v, 4);
}
static inline void store_u64(void *p, uint64_t v)
{
        memcpy(p, &v, 8);
}
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "formats are little-endian; add byte swaps here for other machines");

/* XXH3, 64 bits: the checksum of every frame and page. */
uint64_t bytes_hash(const void *data, size_t size);
uint64_t bytes_hash_seeded(const void *data, size_t size, uint64_t seed);

#endif
