/* value_pseudo.c - objects that claim to be more: `$reql_type$` TIME, BINARY, GEOMETRY, LITERAL. */
#include "value/value.h"
#include "base/base64.h"
#include "value/json.h"
#include "value/time.h"
#include "value/value_int.h"

#define REQL_TYPE       "$reql_type$"
#define TRUNCATED_BYTES 300 /* RethinkDB cuts the documents that it shows in these messages */

const Bytes time_keys[3] = {
        {(const uint8_t *)REQL_TYPE, sizeof(REQL_TYPE) - 1},
        {(const uint8_t *)"epoch_time", 10},
        {(const uint8_t *)"timezone", 8},
};

Value time_field(const uint8_t *encoded, size_t index)
{
        switch (index) {
        case 0: return value_str("TIME");
        case 1: return value_number(time_load(encoded));
        default: return value_string(time_load_zone(encoded));
        }
}

/* The pretty form, cut as RethinkDB's trunc_print cuts it. */
Bytes json_truncated_text(Value v, Arena *arena)
{
        Bytes text = json_pretty_text(v, arena);
        if (text.size <= TRUNCATED_BYTES)
                return text;
        char *cut = arena_dup(arena, text.data, TRUNCATED_BYTES);
        memcpy(cut + TRUNCATED_BYTES - 3, "...", 3);
        return BYTES(cut, TRUNCATED_BYTES);
}

/* --- base64 --- */

static bool base64_space(uint8_t c)
{
        return c == '\r' || c == '\n' || c == ' ' || c == '\t';
}

/* As RethinkDB reads it: with spaces between, and any end. */
static Status read_base64(Bytes text, Arena *arena, Bytes *ret_data)
{
        uint8_t *out = arena_alloc(arena, text.size / 4 * 3 + 3);
        size_t size = 0, at = 0;
        uint32_t bits = 0;
        unsigned count = 0;
        for (; at < text.size && text.data[at] != '='; at++) {
                if (base64_space(text.data[at]))
                        continue;
                int digit = base64_digit(BASE64_PLAIN, text.data[at]);
                if (digit < 0)
                        return status_new(ERR_LOGIC, "Invalid base64 character found: '%.*s'.",
                                          (int)bytes_char_size(text, at), (const char *)text.data + at);
                bits = bits << 6 | (uint32_t)digit;
                if (++count == 4) {
                        out[size++] = (uint8_t)(bits >> 16);
                        out[size++] = (uint8_t)(bits >> 8);
                        out[size++] = (uint8_t)bits;
                        count = 0;
                }
        }
        if (count == 1)
                return status_new(ERR_LOGIC,
                                  "Invalid base64 length: 1 character remaining, cannot decode a full byte.");
        if (count >= 2)
                out[size++] = (uint8_t)(bits >> (count == 2 ? 4 : 10));
        if (count == 3)
                out[size++] = (uint8_t)(bits >> 2);
        for (; at < text.size; at++)
                if (text.data[at] != '=' && !base64_space(text.data[at]))
                        return status_new(ERR_LOGIC, "Invalid base64 format, data found after padding character '='.");
        *ret_data = BYTES(out, size);
        return ST_OK;
}

/* --- classes --- */

static Status expect_type(Value v, ValueType type, const char *name)
{
        if (v.type == type)
                return ST_OK;
        return status_new(v.type == V_NULL ? ERR_NON_EXISTENCE : ERR_LOGIC, "Expected type %s but found %s.", name,
                          value_type_name(v));
}

static Status binary_classify(Value object, Arena *arena, Value *ret_value)
{
        bool has_data = false;
        Bytes data = BYTES_NONE;
        for (size_t i = 0; i < object.size; i++) {
                Bytes key;
                Value value = value_field_at(object, i, &key);
                if (bytes_equal(key, time_keys[0]))
                        continue;
                if (!bytes_equal(key, BYTES_STR("data")))
                        return status_new(ERR_LOGIC, "Invalid binary pseudotype: illegal `%.*s` key.", (int)key.size,
                                          (const char *)key.data);
                TRY(expect_type(value, V_STRING, "STRING"));
                TRY(read_base64(value_bytes(value), arena, &data));
                has_data = true;
        }
        if (!has_data)
                return status_new(ERR_LOGIC, "Invalid binary pseudotype: lacking `data` key.");
        *ret_value = value_binary(data);
        return ST_OK;
}

/* Only its shape: whether it is a possible polygon is checked where geometry is made or used. */
static Status geometry_classify(Value object, Arena *arena, Value *ret_value)
{
        bool has_type = false, has_coordinates = false;
        for (size_t i = 0; i < object.size; i++) {
                Bytes key;
                Value value = value_field_at(object, i, &key);
                if (bytes_equal(key, BYTES_STR("coordinates"))) {
                        TRY(expect_type(value, V_ARRAY, "ARRAY"));
                        has_coordinates = true;
                } else if (bytes_equal(key, BYTES_STR("type"))) {
                        TRY(expect_type(value, V_STRING, "STRING"));
                        has_type = true;
                } else if (!bytes_equal(key, BYTES_STR("crs")) && !bytes_equal(key, time_keys[0])) {
                        return status_new(ERR_LOGIC, "Unrecognized field `%.*s` found in geometry object.",
                                          (int)key.size, (const char *)key.data);
                }
        }
        if (!has_type)
                return status_new(ERR_NON_EXISTENCE, "Field `type` not found in geometry object.");
        if (!has_coordinates)
                return status_new(ERR_NON_EXISTENCE, "Field `coordinates` not found in geometry object.");
        /* Boxed, as the tag of an encoded object says that it is a plain one. */
        Field *fields = arena_array(arena, Field, object.size);
        for (size_t i = 0; i < object.size; i++)
                fields[i].value = value_field_at(object, i, &fields[i].key);
        *ret_value = value_object_sorted(fields, object.size);
        ret_value->type = V_GEOMETRY;
        return ST_OK;
}

static Status literal_check(Value object)
{
        for (size_t i = 0; i < object.size; i++) {
                Bytes key;
                (void)value_field_at(object, i, &key);
                if (!bytes_equal(key, time_keys[0]) && !bytes_equal(key, BYTES_STR("value")))
                        return status_new(ERR_LOGIC, "Invalid literal term with illegal key `%.*s`.", (int)key.size,
                                          (const char *)key.data);
        }
        return ST_OK;
}

Status value_classify(Value object, Arena *arena, Value *ret_value)
{
        if (object.type != V_OBJECT) {
                *ret_value = object;
                return ST_OK;
        }
        Value claimed = value_get(object, time_keys[0]);
        if (likely(claimed.type == V_NONE)) {
                *ret_value = object;
                return ST_OK;
        }
        if (claimed.type != V_STRING)
                return status_new(ERR_LOGIC, "Error: Field `" REQL_TYPE "` must be a string (got `%s` of type %s):\n%s",
                                  (const char *)json_truncated_text(claimed, arena).data, value_type_name(claimed),
                                  (const char *)json_truncated_text(object, arena).data);
        if (value_bytes_are(claimed, "TIME"))
                return time_classify(object, arena, ret_value);
        if (value_bytes_are(claimed, "BINARY"))
                return binary_classify(object, arena, ret_value);
        if (value_bytes_are(claimed, "GEOMETRY"))
                return geometry_classify(object, arena, ret_value);
        if (value_bytes_are(claimed, "LITERAL")) {
                TRY(literal_check(object));
                *ret_value = object;
                return ST_OK;
        }
        return status_new(ERR_LOGIC, "Unknown " REQL_TYPE " `PTYPE<%.*s>`.", (int)claimed.size, claimed.text);
}
