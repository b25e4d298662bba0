/* value_fuzz.c - any bytes as a stored document: the validator is total, and what it accepts can be read by every
 * function without leaving its bytes, and is written again as it was. */
#include <stdlib.h>

#include "base/mem.h"
#include "value/json.h"
#include "value/key.h"

#define CHECK(what)                                                                                                    \
        do {                                                                                                           \
                if (!(what))                                                                                           \
                        abort();                                                                                       \
        } while (0)

static void touch(Value v)
{
        if (v.type == V_ARRAY)
                for (size_t i = 0; i < value_count(v); i++)
                        touch(value_at(v, i));
        if (!value_is_object(v))
                return;
        for (size_t i = 0; i < value_count(v); i++) {
                Bytes key;
                Value inside = value_field_at(v, i, &key);
                CHECK(value_equal(value_get(v, key), inside));
                touch(inside);
        }
}

/* The same value in boxes, all the way down. */
static Value unpack(Value v, Arena *arena)
{
        if (v.type == V_ARRAY) {
                ArrayBuilder array;
                array_init(&array, arena, value_count(v));
                for (size_t i = 0; i < value_count(v); i++)
                        array_add(&array, unpack(value_at(v, i), arena));
                return array_take(&array);
        }
        if (v.type == V_OBJECT || v.type == V_GEOMETRY) {
                ObjectBuilder object;
                object_init(&object, arena, value_count(v));
                for (size_t i = 0; i < value_count(v); i++) {
                        Bytes key;
                        Value inside = value_field_at(v, i, &key);
                        object_add(&object, key, unpack(inside, arena));
                }
                Value made = object_take(&object);
                made.type = v.type;
                return made;
        }
        return v;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        Arena arena;
        if (!value_validate(data, size))
                return 0;
        arena_init(&arena, 0);
        Value v = value_decode(data), boxed = unpack(v, &arena);
        touch(v);
        CHECK(value_equal(v, boxed) && value_hash(v) == value_hash(boxed));
        Bytes key = key_encode(v, &arena), other = key_encode(boxed, &arena);
        CHECK(bytes_equal(key, other));
        size_t again = value_encoded_size(boxed);
        uint8_t *encoded = mem_alloc(again);
        CHECK(encoded);
        value_encode(boxed, encoded);
        CHECK(again <= size); /* smaller if a container was wide without need */
        CHECK(value_validate(encoded, again));
        CHECK(value_equal(v, value_decode(encoded)));
        Bytes text = json_text(v, &arena);
        CHECK(bytes_equal(text, json_text(boxed, &arena)));
        Status st = key_encode_primary(v, &arena, &key);
        status_ignore(st);
        mem_free(encoded);
        arena_done(&arena);
        return 0;
}
