/* json_fuzz.c - any bytes as JSON: the parser and the explainer agree on what is JSON, and what was read can be stored,
 * checked and printed, and reads back the same. */
#include <stdlib.h>

#include "base/mem.h"
#include "value/json.h"
#include "value/json_int.h"

#define CHECK(what)                                                                                                    \
        do {                                                                                                           \
                if (!(what))                                                                                           \
                        abort();                                                                                       \
        } while (0)

static void check_round_trip(Value v, Arena *arena)
{
        Value back;
        size_t size = value_encoded_size(v);
        uint8_t *encoded = mem_alloc(size);
        CHECK(encoded);
        value_encode(v, encoded);
        CHECK(value_validate(encoded, size));
        CHECK(value_equal(v, value_decode(encoded)));
        Bytes text = json_text(v, arena), stored = json_text(value_decode(encoded), arena);
        CHECK(bytes_equal(text, stored));
        Status st = json_parse_copy(text, JSON_PSEUDO, arena, &back);
        CHECK(!st);
        CHECK(bytes_equal(text, json_text(back, arena)));
        CHECK(json_truncated_text(v, arena).size <= 300);
        mem_free(encoded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        Arena arena;
        Value v;
        const char *message = NULL;
        arena_init(&arena, 0);
        uint8_t *text = mem_alloc(size + JSON_PADDING);
        CHECK(text);
        if (size)
                memcpy(text, data, size);
        memset(text + size, 0xdd, JSON_PADDING);
        Status st = json_parse(BYTES(text, size), JSON_PLAIN, &arena, &v);
        JsonVerdict verdict = json_explain(BYTES(text, size), &message);
        StatusCode code = status_code(st);
        /* A duplicate or a bad string is found in JSON only; depth and broken syntax may meet in one text. */
        if (code == ERR_NONE || code == ERR_EXISTS || code == ERR_COMPILE)
                CHECK(verdict == JSON_FINE);
        if (code == ERR_INVALID)
                CHECK(verdict == JSON_BROKEN);
        st = status_free(st);
        st = json_parse(BYTES(text, size), JSON_PSEUDO, &arena, &v);
        if (!st)
                check_round_trip(v, &arena);
        status_ignore(st);
        mem_free(text);
        arena_done(&arena);
        return 0;
}
