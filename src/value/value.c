/* value.c - making handles and looking into them. The stored form is value_encode.c's, the order value_order.c's. */
#include "value/value.h"

#include <assert.h>

#include "value/value_int.h"

/* --- making --- */

void array_init(ArrayBuilder *builder, Arena *arena, size_t expected)
{
        *builder = (ArrayBuilder){.arena = arena};
        if (expected) {
                builder->items = arena_array(arena, Value, expected);
                builder->capacity = expected;
        }
}

void array_add(ArrayBuilder *builder, Value item)
{
        assert(item.type != V_NONE);
        if (builder->count == builder->capacity) {
                size_t capacity = MAX(builder->capacity * 2, (size_t)8);
                Value *items = arena_array(builder->arena, Value, capacity);
                if (builder->count)
                        memcpy(items, builder->items, builder->count * sizeof(Value));
                builder->items = items;
                builder->capacity = capacity;
        }
        builder->items[builder->count++] = item;
}

Value array_take(ArrayBuilder *builder)
{
        Value array = value_array(builder->items, builder->count);
        *builder = (ArrayBuilder){.arena = builder->arena};
        return array;
}

void object_init(ObjectBuilder *builder, Arena *arena, size_t expected)
{
        *builder = (ObjectBuilder){.arena = arena};
        if (expected) {
                builder->fields = arena_array(arena, Field, expected);
                builder->capacity = expected;
        }
}

void object_add(ObjectBuilder *builder, Bytes key, Value value)
{
        assert(value.type != V_NONE);
        if (builder->count == builder->capacity) {
                size_t capacity = MAX(builder->capacity * 2, (size_t)8);
                Field *fields = arena_array(builder->arena, Field, capacity);
                if (builder->count)
                        memcpy(fields, builder->fields, builder->count * sizeof(Field));
                builder->fields = fields;
                builder->capacity = capacity;
        }
        builder->fields[builder->count++] = (Field){.key = key, .value = value};
}

void object_add_str(ObjectBuilder *builder, const char *key, Value value)
{
        object_add(builder, BYTES_STR(key), value);
}

/* Stable: of equal keys the later stays behind. */
static void merge_sort(Field *fields, Field *scratch, size_t count)
{
        if (count <= 16) {
                for (size_t i = 1; i < count; i++) {
                        Field moving = fields[i];
                        size_t at = i;
                        for (; at > 0 && bytes_compare(fields[at - 1].key, moving.key) > 0; at--)
                                fields[at] = fields[at - 1];
                        fields[at] = moving;
                }
                return;
        }
        size_t half = count / 2;
        merge_sort(fields, scratch, half);
        merge_sort(fields + half, scratch, count - half);
        memcpy(scratch, fields, half * sizeof(Field));
        size_t left = 0, right = half, out = 0;
        while (left < half && right < count) {
                if (bytes_compare(scratch[left].key, fields[right].key) <= 0)
                        fields[out++] = scratch[left++];
                else
                        fields[out++] = fields[right++];
        }
        while (left < half)
                fields[out++] = scratch[left++];
}

size_t fields_sort(Field *fields, size_t count, Arena *arena, Bytes *ret_duplicate)
{
        bool sorted = true;
        if (ret_duplicate)
                *ret_duplicate = BYTES_NONE;
        for (size_t i = 1; i < count && sorted; i++)
                sorted = bytes_compare(fields[i - 1].key, fields[i].key) < 0;
        if (sorted)
                return count;
        Field *scratch = count > 16 ? arena_array(arena, Field, count / 2 + 1) : NULL;
        merge_sort(fields, scratch, count);
        size_t kept = 0;
        for (size_t i = 0; i < count; i++) {
                if (kept && bytes_equal(fields[kept - 1].key, fields[i].key)) {
                        if (ret_duplicate && !ret_duplicate->data)
                                *ret_duplicate = fields[i].key;
                        kept--;
                }
                fields[kept++] = fields[i];
        }
        return kept;
}

Value object_take_unique(ObjectBuilder *builder, Bytes *ret_duplicate)
{
        size_t count = fields_sort(builder->fields, builder->count, builder->arena, ret_duplicate);
        Value object = value_object_sorted(builder->fields, count);
        *builder = (ObjectBuilder){.arena = builder->arena};
        return object;
}

Value object_take(ObjectBuilder *builder)
{
        return object_take_unique(builder, NULL);
}

/* --- looking --- */

bool value_bytes_are(Value v, const char *text)
{
        return bytes_equal(value_bytes(v), BYTES_STR(text));
}

Value value_at(Value array, size_t index)
{
        assert(array.type == V_ARRAY && index < array.size);
        if (array.rep == REP_BOXED)
                return array.items[index];
        Container c = container_open(array.encoded);
        return value_decode(container_entry(&c, index));
}

Value value_field_at(Value object, size_t index, Bytes *ret_key)
{
        assert(value_is_object(object) && index < object.size);
        if (object.rep == REP_BOXED) {
                *ret_key = object.fields[index].key;
                return object.fields[index].value;
        }
        if (object.type == V_TIME) {
                *ret_key = time_keys[index];
                return time_field(object.encoded, index);
        }
        Container c = container_open(object.encoded);
        *ret_key = entry_key(container_entry(&c, index));
        return value_decode(ret_key->data + ret_key->size);
}

Value value_get(Value object, Bytes key)
{
        assert(value_is_object(object));
        size_t low = 0, high = object.size;
        if (object.rep == REP_BOXED) {
                while (low < high) {
                        size_t middle = (low + high) / 2;
                        int order = bytes_compare(key, object.fields[middle].key);
                        if (order == 0)
                                return object.fields[middle].value;
                        if (order < 0)
                                high = middle;
                        else
                                low = middle + 1;
                }
                return value_none();
        }
        if (object.type == V_TIME) {
                for (size_t i = 0; i < ELEMENTS(time_keys); i++)
                        if (bytes_equal(key, time_keys[i]))
                                return time_field(object.encoded, i);
                return value_none();
        }
        Container c = container_open(object.encoded);
        while (low < high) {
                size_t middle = (low + high) / 2;
                Bytes found = entry_key(container_entry(&c, middle));
                int order = bytes_compare(key, found);
                if (order == 0)
                        return value_decode(found.data + found.size);
                if (order < 0)
                        high = middle;
                else
                        low = middle + 1;
        }
        return value_none();
}

Value value_get_str(Value object, const char *key)
{
        return value_get(object, BYTES_STR(key));
}

bool value_truthy(Value v)
{
        return v.type == V_BOOL ? v.boolean : v.type != V_NULL;
}

const char *value_type_name(Value v)
{
        switch (value_type(v)) {
        case V_NONE: return "NONE";
        case V_MINVAL: return "MINVAL";
        case V_ARRAY: return "ARRAY";
        case V_BOOL: return "BOOL";
        case V_NULL: return "NULL";
        case V_NUMBER: return "NUMBER";
        case V_OBJECT: {
                /* Pseudo-types that are no types of their own: they live only between two terms, or on the wire. */
                Value claimed = value_get_str(v, "$reql_type$");
                if (claimed.type == V_STRING && value_bytes_are(claimed, "LITERAL"))
                        return "PTYPE<LITERAL>";
                if (claimed.type == V_STRING && value_bytes_are(claimed, "GROUPED_DATA"))
                        return "PTYPE<GROUPED_DATA>";
                return "OBJECT";
        }
        case V_BINARY: return "PTYPE<BINARY>";
        case V_GEOMETRY: return "PTYPE<GEOMETRY>";
        case V_TIME: return "PTYPE<TIME>";
        case V_STRING: return "STRING";
        case V_MAXVAL: return "MAXVAL";
        }
        return "NONE";
}

bool value_integer(Value v, int64_t *ret_integer)
{
        const double limit = 9007199254740992.0;
        if (v.type != V_NUMBER || !(v.number >= -limit && v.number <= limit))
                return false;
        int64_t integer = (int64_t)v.number;
        if ((double)integer != v.number)
                return false;
        *ret_integer = integer;
        return true;
}
