/* changes_token.c - a feed's place as text.
 *
 *      | version 1 | count | hash | checksum | count times: incarnation | position | index |     base64url, no padding
 *        1 byte      1       8      4                       varint        varint     varint
 *
 * The hash says of which feed it is, the checksum (XXH3 of all the rest) that nobody cut or changed it. index: 0 stands
 * for UINT32_MAX (all of the commit), else it is one more. */
#include "base/base64.h"
#include "query/changes_int.h"

#define VERSION      1
#define HEAD_BYTES   14
#define PLACE_BYTES  (10 + 10 + 5) /* at most */
#define CHECK_OFFSET 10

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
        char *text = arena_alloc(arena, base64_size(BASE64_URL, size));
        char *end = base64_write(BASE64_URL, BYTES(bytes, size), text);
        return BYTES(text, (size_t)(end - text));
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
        size_t size;
        const char *why = NULL;
        if (!base64_read(BASE64_URL, token, sizeof bytes, bytes, &size) || size < HEAD_BYTES)
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
