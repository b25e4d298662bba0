/* token_fuzz.c - the text that a client gives as `since` into the reader of tokens.
 *
 * The first byte says of how many feeds the token should be, the rest is the token. The checksum keeps nearly all bytes
 * out; so where they are no token they are also read as the places of one, which is written, read, and read damaged. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "query/changes_int.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                                                \
        do {                                                                                                           \
                if (!(condition))                                                                                      \
                        abort();                                                                                       \
        } while (0)

static bool same(const FeedPlace *a, const FeedPlace *b, size_t count)
{
        for (size_t i = 0; i < count; i++)
                if (a[i].incarnation != b[i].incarnation || a[i].position != b[i].position || a[i].index != b[i].index)
                        return false;
        return true;
}

static void check_written(Arena *arena, uint64_t hash, const FeedPlace *places, size_t count, size_t damage)
{
        FeedPlace read[255];
        Bytes token = changes_token_write(arena, hash, places, count);
        MUST(!changes_token_read(token, hash, read, count));
        MUST(same(places, read, count));
        uint8_t *copy = arena_dup(arena, token.data, token.size);
        copy[damage % token.size] ^= (uint8_t)(1 + damage % 255);
        Status st = changes_token_read(BYTES(copy, token.size), hash, read, count);
        MUST(status_code(st) == ERR_INVALID);
        status_ignore(st);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        FeedPlace places[255] = {0};
        Arena arena;
        if (size < 9)
                return 0;
        size_t count = data[0] ? data[0] : 1;
        uint64_t hash = load_u64(data + 1);
        arena_init(&arena, 0);
        Status st = changes_token_read(BYTES(data + 9, size - 9), hash, places, count);
        if (!st) { /* a place has one token */
                Bytes again = changes_token_write(&arena, hash, places, count);
                MUST(bytes_equal(again, BYTES(data + 9, size - 9)));
        } else {
                MUST(status_code(st) == ERR_INVALID);
                status_ignore(st);
                size_t left = size - 9, most = MIN(left, sizeof places);
                if (most)
                        memcpy(places, data + 9, most);
                check_written(&arena, hash, places, count, left);
        }
        arena_done(&arena);
        return 0;
}
