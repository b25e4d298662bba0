/* pathspec.c - see pathspec.h. A nested spec goes into objects and into each element of an array, one level of arrays
 * deep; what it cannot go into (a number, an array of numbers) it leaves out of pluck and leaves alone in without.
 * Those are the `false` results. */
#include "query/pathspec.h"

static Status check(Env *env, const Term *at, Value spec)
{
        if (value_is(spec, V_STRING))
                return ST_OK;
        if (value_is(spec, V_ARRAY)) {
                for (size_t i = 0; i < value_count(spec); i++)
                        TRY(check(env, at, value_at(spec, i)));
                return ST_OK;
        }
        if (value_is_object(spec)) {
                for (size_t i = 0; i < value_count(spec); i++) {
                        Bytes key;
                        Value inner = value_field_at(spec, i, &key);
                        if (!value_is(inner, V_BOOL) || !inner.boolean)
                                TRY(check(env, at, inner));
                }
                return ST_OK;
        }
        return fail(env, at, ERR_LOGIC, "Invalid path argument `%s`.",
                    (const char *)message_datum_whole(env, spec).data);
}

Status pathspec_make(Env *env, const Term *at, Value spec, PathSpec *ret)
{
        TRY(check(env, at, spec));
        ret->spec = spec;
        return ST_OK;
}

/* An object whose fields no longer make the pseudo-type it says it is cannot be made. */
static bool finish(ObjectBuilder *builder, Value *ret)
{
        Value object = object_take(builder);
        Status st = value_classify(object, builder->arena, ret);
        bool made = st == ST_OK;
        status_ignore(st);
        return made;
}

/* --- pluck --- */

static bool pluck_any(Value spec, Value v, Arena *arena, Value *ret);

static bool pluck_into(Value spec, Value v, ObjectBuilder *out)
{
        if (value_is(spec, V_STRING)) {
                if (!value_is_object(v))
                        return false;
                Value field = value_get(v, value_bytes(spec));
                if (!value_is(field, V_NONE))
                        object_add(out, value_bytes(spec), field);
                return true;
        }
        if (value_is(spec, V_ARRAY)) {
                for (size_t i = 0; i < value_count(spec); i++)
                        if (!pluck_into(value_at(spec, i), v, out))
                                return false;
                return true;
        }
        for (size_t i = 0; i < value_count(spec); i++) {
                Bytes key;
                Value inner = value_field_at(spec, i, &key), field, part;
                if (!value_is_object(v))
                        return false;
                field = value_get(v, key);
                if (value_is(field, V_NONE))
                        continue;
                if (value_is(inner, V_BOOL))
                        object_add(out, key, field);
                else if (pluck_any(inner, field, out->arena, &part))
                        object_add(out, key, part);
        }
        return true;
}

static bool pluck_object(Value spec, Value v, Arena *arena, Value *ret)
{
        ObjectBuilder builder;
        object_init(&builder, arena, value_is_object(v) ? MIN(value_count(v), 8) : 0);
        return pluck_into(spec, v, &builder) && finish(&builder, ret);
}

static bool pluck_any(Value spec, Value v, Arena *arena, Value *ret)
{
        if (!value_is(v, V_ARRAY))
                return pluck_object(spec, v, arena, ret);
        Value *items = arena_array(arena, Value, value_count(v));
        for (size_t i = 0; i < value_count(v); i++)
                if (!pluck_object(spec, value_at(v, i), arena, &items[i]))
                        return false;
        *ret = value_array(items, value_count(v));
        return true;
}

Value pathspec_pluck(PathSpec spec, Value object, Arena *arena)
{
        Value result = value_object_sorted(NULL, 0);
        (void)pluck_object(spec.spec, object, arena, &result);
        return result;
}

/* --- without --- */

typedef struct Fields { /* of the object being made, sorted; a deleted one has value_none() until the end */
        Field *items;
        size_t count;
} Fields;

static Field *find_field(const Fields *fields, Bytes key)
{
        size_t low = 0, high = fields->count;
        while (low < high) {
                size_t middle = (low + high) / 2;
                int order = bytes_compare(fields->items[middle].key, key);
                if (order == 0)
                        return &fields->items[middle];
                if (order < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return NULL;
}

static void delete_field(Fields *fields, Bytes key)
{
        Field *field = find_field(fields, key);
        if (field)
                field->value = value_none();
}

static void drop_deleted(Fields *fields)
{
        size_t count = 0;
        for (size_t i = 0; i < fields->count; i++)
                if (!value_is(fields->items[i].value, V_NONE))
                        fields->items[count++] = fields->items[i];
        fields->count = count;
}

static bool without_any(Value spec, Value v, Arena *arena, Value *ret);

static void without_from(Value spec, Fields *fields, Arena *arena)
{
        if (value_is(spec, V_STRING)) {
                delete_field(fields, value_bytes(spec));
                return;
        }
        if (value_is(spec, V_ARRAY)) {
                for (size_t i = 0; i < value_count(spec); i++)
                        without_from(value_at(spec, i), fields, arena);
                return;
        }
        for (size_t i = 0; i < value_count(spec); i++) {
                Bytes key;
                Value inner = value_field_at(spec, i, &key), rest;
                if (value_is(inner, V_BOOL)) {
                        delete_field(fields, key);
                        continue;
                }
                Field *field = find_field(fields, key);
                if (field && !value_is(field->value, V_NONE) && without_any(inner, field->value, arena, &rest))
                        field->value = rest;
        }
}

static bool without_object(Value spec, Value v, Arena *arena, Value *ret)
{
        if (!value_is_object(v))
                return false;
        Fields fields = {arena_array(arena, Field, value_count(v)), value_count(v)};
        for (size_t i = 0; i < fields.count; i++)
                fields.items[i].value = value_field_at(v, i, &fields.items[i].key);
        without_from(spec, &fields, arena);
        drop_deleted(&fields);
        Status st = value_classify(value_object_sorted(fields.items, fields.count), arena, ret);
        bool made = st == ST_OK;
        status_ignore(st);
        return made;
}

static bool without_any(Value spec, Value v, Arena *arena, Value *ret)
{
        if (!value_is(v, V_ARRAY))
                return without_object(spec, v, arena, ret);
        Value *items = arena_array(arena, Value, value_count(v));
        for (size_t i = 0; i < value_count(v); i++)
                if (!without_object(spec, value_at(v, i), arena, &items[i]))
                        return false;
        *ret = value_array(items, value_count(v));
        return true;
}

Value pathspec_without(PathSpec spec, Value object, Arena *arena)
{
        Value result = object;
        (void)without_object(spec.spec, object, arena, &result);
        return result;
}

/* --- has --- */

static bool has(Value spec, Value v)
{
        if (value_is(spec, V_STRING)) {
                Value field = value_is_object(v) ? value_get(v, value_bytes(spec)) : value_none();
                return !value_is(field, V_NONE) && !value_is(field, V_NULL);
        }
        if (value_is(spec, V_ARRAY)) {
                for (size_t i = 0; i < value_count(spec); i++)
                        if (!has(value_at(spec, i), v))
                                return false;
                return true;
        }
        for (size_t i = 0; i < value_count(spec); i++) {
                Bytes key;
                Value inner = value_field_at(spec, i, &key);
                Value field = value_is_object(v) ? value_get(v, key) : value_none();
                if (value_is(field, V_NONE))
                        return false;
                if (value_is(inner, V_BOOL) ? value_is(field, V_NULL) : !has(inner, field))
                        return false;
        }
        return true;
}

bool pathspec_has(PathSpec spec, Value object)
{
        return has(spec.spec, object);
}
