/* bytes.c - growing a Buf; hashing. */
#include "base/bytes.h"

#include <assert.h>
#include <stdio.h>

#include <xxhash.h>

#include "base/mem.h"

enum { FIRST_BUF_BYTES = 256 };

void buf_init(Buf *buf, size_t max_bytes)
{
        *buf = (Buf){.max_bytes = max_bytes};
}

void buf_done(Buf *buf)
{
        mem_free(buf->data);
        *buf = (Buf){.max_bytes = buf->max_bytes};
}

Status buf_grow(Buf *buf, size_t more)
{
        if (more > buf->max_bytes || buf->size > buf->max_bytes - more)
                return status_new(ERR_LIMIT, "a buffer of %zu bytes cannot take %zu more: its limit is %zu bytes",
                                  buf->size, more, buf->max_bytes);
        size_t need = buf->size + more;
        if (need <= buf->capacity)
                return ST_OK;
        /* Doubling keeps appending linear; the maximum caps the last step. */
        size_t capacity = buf->capacity > buf->max_bytes / 2 ? buf->max_bytes : buf->capacity * 2;
        capacity = MAX(capacity, MIN(buf->max_bytes, (size_t)FIRST_BUF_BYTES));
        capacity = MAX(capacity, need);
        uint8_t *data = mem_realloc(buf->data, capacity);
        if (!data)
                return status_nomem();
        buf->data = data;
        buf->capacity = capacity;
        return ST_OK;
}

Status buf_vprintf(Buf *buf, const char *format, va_list args)
{
        va_list again;
        va_copy(again, args);
        size_t space = buf->capacity - buf->size;
        int length = vsnprintf(space ? (char *)buf->data + buf->size : NULL, space, format, args);
        Status st = ST_OK;
        if (length < 0)
                st = status_new(ERR_INVALID, "cannot format \"%s\"", format);
        else if ((size_t)length >= space) {
                /* vsnprintf wants room for its NUL; when the maximum leaves none for it, format elsewhere. */
                if (buf->max_bytes - buf->size > (size_t)length) {
                        st = buf_reserve(buf, (size_t)length + 1);
                        if (!st)
                                vsnprintf((char *)buf->data + buf->size, (size_t)length + 1, format, again);
                } else {
                        st = buf_reserve(buf, (size_t)length);
                        char *text = st ? NULL : mem_alloc((size_t)length + 1);
                        if (!st && !text)
                                st = status_nomem();
                        if (!st) {
                                vsnprintf(text, (size_t)length + 1, format, again);
                                if (length)
                                        memcpy(buf->data + buf->size, text, (size_t)length);
                        }
                        mem_free(text);
                }
        }
        va_end(again);
        if (!st)
                buf->size += (size_t)length;
        return st;
}

Status buf_printf(Buf *buf, const char *format, ...)
{
        va_list args;
        va_start(args, format);
        Status st = buf_vprintf(buf, format, args);
        va_end(args);
        return st;
}

void buf_consume(Buf *buf, size_t size)
{
        assert(size <= buf->size);
        buf->size -= size;
        if (buf->size && size)
                memmove(buf->data, buf->data + size, buf->size);
}

uint64_t bytes_hash(const void *data, size_t size)
{
        return XXH3_64bits(data, size);
}

uint64_t bytes_hash_seeded(const void *data, size_t size, uint64_t seed)
{
        return XXH3_64bits_withSeed(data, size, seed);
}
