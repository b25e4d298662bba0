/* changes_token.c - a feed's place as text.
 *
 *      | version 1 | count | hash | checksum | count times: incarnation | position | index |     base64url, no padding
 *        1 byte      1       8      4                       varint        varint     varint
 *
 * The hash says of which feed it is, the checksum (XXH3 of all the rest) that nobody cut or changed it. index: 0 stands
 * for UINT32_MAX (all of the commit), else it is one more. */
#include "query/changes_int.h"

#define VERSION      1
#define HEAD_BYTES   14
#define PLACE_BYTES  (10 + 10 + 5) /* at most */
#define CHECK_OFFSET 10

static const char digits[64] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

static size_t text_size(size_t bytes)
{
        return (bytes * 4 + 2) / 3;
}

static void write_text(const uint8_t *bytes, size_t size, char *out)
{
        uint32_t bits = 0;
        unsigned held = 0;
        for (size_t i = 0; i < size; i++) {
                bits = bits << 8 | bytes[i];
                for (held += 8; held >= 6; held -= 6)
                        *out++ = digits[bits >> (held - 6) & 63];
        }
        if (held)
                *out = digits[bits << (6 - held) & 63];
}

static int digit_of(uint8_t c)
{
        if (c >= 'A' && c <= 'Z')
                return c - 'A';
        if (c >= 'a' && c <= 'z')
                return c - 'a' + 26;
        if (c >= '0' && c <= '9')
                return c - '0' + 52;
        return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* False: it is no such text, or one that write_text() would not write. */
static bool read_text(Bytes text, uint8_t *out)
{
        uint32_t bits = 0;
        unsigned held = 0;
        for (size_t i = 0; i < text.size; i++) {
                int digit = digit_of(text.data[i]);
                if (digit < 0)
                        return false;
                bits = bits << 6 | (uint32_t)digit;
                held += 6;
                if (held >= 8) {
                        held -= 8;
                        *out++ = (uint8_t)(bits >> held);
                }
        }
        return held < 6 && (bits & ((1u << held) - 1)) == 0;
}

static uint8_t *put_number(uint8_t *out, uint64_t number)
{
        for (; number >= 0x80; number >>= 7)
                *out++ = (uint8_t)(number | 0x80);
        *out++ = (uint8_t)number;
        return out;
}

/* NULL: there is no number. Only the shortest form is one, so that a place has one token. */
static const uint8_t *get_number(const uint8_t *at, const uint8_t *end, uint64_t max, uint64_t *ret)
{
        uint64_t number = 0;
        for (unsigned shift = 0; at < end && shift < 64; shift += 7) {
                uint64_t part = *at & 0x7f;
                if (shift == 63 && part > 1)
                        return NULL;
                number |= part << shift;
                if (*at++ & 0x80)
                        continue;
                if ((part == 0 && shift > 0) || number > max)
                        return NULL;
                *ret = number;
                return at;
        }
        return NULL;
}

static uint32_t checksum(const uint8_t *bytes, size_t size)
{
        uint64_t head = bytes_hash(bytes, CHECK_OFFSET);
        return (uint32_t)bytes_hash_seeded(bytes + HEAD_BYTES, size - HEAD_BYTES, head);
}

Bytes changes_token_write(Arena *arena, uint64_t hash, const FeedPlace *places, size_t count)
{
        uint8_t *bytes = arena_alloc(arena, HEAD_BYTES + count * PLACE_BYTES), *at = bytes + HEAD_BYTES;
        bytes[0] = VERSION;
        bytes[1] = (uint8_t)count;
        store_u64(bytes + 2, hash);
        for (size_t i = 0; i < count; i++) {
                at = put_number(at, places[i].incarnation);
                at = put_number(at, places[i].position);
                at = put_number(at, places[i].index == UINT32_MAX ? 0 : (uint64_t)places[i].index + 1);
        }
        size_t size = (size_t)(at - bytes);
        store_u32(bytes + CHECK_OFFSET, checksum(bytes, size));
        char *text = arena_alloc(arena, text_size(size));
        write_text(bytes, size, text);
        return BYTES(text, text_size(size));
}

static bool read_places(const uint8_t *at, const uint8_t *end, FeedPlace *ret_places, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                uint64_t index = 0;
                at = get_number(at, end, UINT64_MAX, &ret_places[i].incarnation);
                if (at)
                        at = get_number(at, end, UINT64_MAX, &ret_places[i].position);
                if (at)
                        at = get_number(at, end, UINT32_MAX, &index);
                if (!at)
                        return false;
                ret_places[i].index = index == 0 ? UINT32_MAX : (uint32_t)(index - 1);
        }
        return at == end;
}

#define MAX_COUNT 255

Status changes_token_read(Bytes token, uint64_t hash, FeedPlace *ret_places, size_t count)
{
        uint8_t bytes[HEAD_BYTES + MAX_COUNT * PLACE_BYTES];
        size_t size = token.size / 4 * 3 + (token.size % 4 ? token.size % 4 - 1 : 0);
        const char *why = NULL;
        if (size < HEAD_BYTES || size > sizeof bytes || token.size % 4 == 1 || !read_text(token, bytes))
                why = "it is none";
        else if (bytes[0] != VERSION)
                why = "it is of another version of the server";
        else if (load_u32(bytes + CHECK_OFFSET) != checksum(bytes, size))
                why = "it is damaged";
        else if (load_u64(bytes + 2) != hash || bytes[1] != count)
                why = "it is of another changefeed";
        else if (!read_places(bytes + HEAD_BYTES, bytes + size, ret_places, count))
                why = "it is damaged";
        if (!why)
                return ST_OK;
        return status_new(ERR_INVALID, "The token in `since` cannot be used: %s.", why);
}
