/* val.c - runtime values: their names and conversions, with RethinkDB's messages. */
#include <inttypes.h>
#include <math.h>

#include "query/env_int.h"
#include "value/json.h"
#include "value/key.h"

/* --- names --- */

const char *val_type_name(const Val *val)
{
        switch (val->kind) {
        case VAL_DATUM: return value_type_name(val->datum);
        case VAL_ROW: return "SELECTION<OBJECT>";
        case VAL_STREAM: return val->stream->table ? "SELECTION<STREAM>" : "STREAM";
        case VAL_ARRAY_SELECTION: return "SELECTION<ARRAY>";
        case VAL_TABLE: return "TABLE";
        case VAL_TABLE_SLICE: return "TABLE_SLICE";
        case VAL_DB: return "DB";
        case VAL_FUNC: return "FUNCTION";
        case VAL_GROUPED: return groups_lazy(val->groups) ? "GROUPED_STREAM" : "GROUPED_DATA";
        case VAL_NONE: break;
        }
        return "NONE";
}

const char *val_kind_name(const Val *val)
{
        switch (val->kind) {
        case VAL_DATUM: return "DATUM";
        case VAL_ROW: return "SINGLE_SELECTION";
        case VAL_STREAM: return val->stream->table ? "SELECTION" : "SEQUENCE";
        case VAL_ARRAY_SELECTION: return "SELECTION";
        case VAL_TABLE: return "TABLE";
        case VAL_TABLE_SLICE: return "TABLE_SLICE";
        case VAL_DB: return "DATABASE";
        case VAL_FUNC: return "FUNCTION";
        case VAL_GROUPED: return groups_lazy(val->groups) ? "SEQUENCE" : "GROUPED_DATA";
        case VAL_NONE: break;
        }
        return "NONE";
}

static const TableVal *val_table(const Val *val)
{
        switch (val->kind) {
        case VAL_STREAM: return val->stream->table;
        case VAL_ROW:
        case VAL_ARRAY_SELECTION:
        case VAL_TABLE:
        case VAL_TABLE_SLICE: return val->table;
        default: return NULL;
        }
}

Bytes val_print(Env *env, const Val *val, bool cut)
{
        const TableVal *table = val_table(val);
        const char *text;
        Bytes bytes;
        if (val_is_datum(val)) {
                bytes = message_datum_whole(env, val->datum);
                return cut ? message_cut(env, bytes) : bytes;
        }
        if (val->kind == VAL_DB)
                text = arena_printf(env->arena, "db(\"%.*s\")", (int)val->db.size, (const char *)val->db.data);
        else if (val->kind == VAL_TABLE)
                text = arena_printf(env->arena, "table(\"%.*s\")", (int)table->info->name.size,
                                    (const char *)table->info->name.data);
        else if (table)
                text = arena_printf(env->arena, "SELECTION ON table(%.*s)", (int)table->info->name.size,
                                    (const char *)table->info->name.data);
        else
                text = arena_printf(env->arena, "VALUE %s", val_kind_name(val));
        bytes = BYTES_STR(text);
        return cut ? message_cut(env, bytes) : bytes;
}

/* A wrong type is a missing value if it is null: `default` catches it. */
static StatusCode type_code(Value v)
{
        return value_is(v, V_NULL) ? ERR_NON_EXISTENCE : ERR_LOGIC;
}

static Status fail_kind(Env *env, const Val *val, const char *expected)
{
        Bytes shown = val_print(env, val, false);
        StatusCode code = val_is_datum(val) ? type_code(val->datum) : ERR_LOGIC;
        return fail(env, val->term, code, "Expected type %s but found %s:\n%.*s", expected, val_kind_name(val),
                    (int)shown.size, (const char *)shown.data);
}

/* --- checks of datums --- */

static const char *type_text(ValueType type)
{
        return value_type_name((Value){.type = (uint8_t)type, .rep = REP_BOXED}); /* an empty one */
}

Status expect_type(Env *env, const Term *at, Value v, ValueType type)
{
        if (likely(v.type == type) || (type == V_OBJECT && value_is_object(v)))
                return ST_OK;
        return fail(env, at, type_code(v), "Expected type %s but found %s.", type_text(type), value_type_name(v));
}

Status expect_int(Env *env, const Term *at, Value v, int64_t *ret)
{
        TRY(expect_type(env, at, v, V_NUMBER));
        if (value_integer(v, ret))
                return ST_OK;
        const double limit = 9007199254740992.0; /* 2^53 */
        const char *why = v.number > limit ? " (>2^53)" : v.number < -limit ? " (<-2^53)" : "";
        return fail(env, at, ERR_LOGIC, "Number not an integer%s: %.20g", why, v.number);
}

Status check_array_size(Env *env, const Term *at, size_t count)
{
        if (likely(count <= env->array_limit))
                return ST_OK;
        return fail(env, at, ERR_RESOURCE,
                    "Array over size limit `%zu`.  To raise the number of allowed elements, modify the `array_limit` "
                    "option to "
                    "`.run` (not available in the Data Explorer), or use an index.",
                    env->array_limit);
}

Status check_depth(Env *env, const Term *at, Value v)
{
        if (likely(!value_too_deep(v)))
                return ST_OK;
        return fail(env, at, ERR_RESOURCE, "Nesting is deeper than %d levels.", VALUE_MAX_DEPTH);
}

/* --- conversions --- */

Status val_as_datum(Env *env, const Val *val, Value *ret)
{
        if (unlikely(!val_is_datum(val)))
                return fail_kind(env, val, "DATUM");
        *ret = val->datum;
        return ST_OK;
}

Status val_as_number(Env *env, const Val *val, double *ret)
{
        Value v;
        TRY(val_as_datum(env, val, &v));
        TRY(expect_type(env, val->term, v, V_NUMBER));
        *ret = v.number;
        return ST_OK;
}

Status val_as_int(Env *env, const Val *val, int64_t *ret)
{
        Value v;
        TRY(val_as_datum(env, val, &v));
        return expect_int(env, val->term, v, ret);
}

Status val_as_int32(Env *env, const Val *val, int32_t *ret)
{
        int64_t n;
        TRY(val_as_int(env, val, &n));
        if (n != (int32_t)n)
                return fail(env, val->term, ERR_LOGIC, "Integer too large: %" PRId64, n);
        *ret = (int32_t)n;
        return ST_OK;
}

Status val_as_string(Env *env, const Val *val, Bytes *ret)
{
        Value v;
        TRY(val_as_datum(env, val, &v));
        TRY(expect_type(env, val->term, v, V_STRING));
        *ret = value_bytes(v);
        return ST_OK;
}

Status val_as_bool(Env *env, const Val *val, bool *ret)
{
        Value v;
        TRY(val_as_datum(env, val, &v));
        *ret = value_truthy(v);
        return ST_OK;
}

Status val_as_object(Env *env, const Val *val, Value *ret)
{
        TRY(val_as_datum(env, val, ret));
        return expect_type(env, val->term, *ret, V_OBJECT);
}

Status val_as_array(Env *env, const Val *val, Value *ret)
{
        TRY(val_as_datum(env, val, ret));
        return expect_type(env, val->term, *ret, V_ARRAY);
}

Status val_as_func(Env *env, const Val *val, Func **ret)
{
        if (val->kind != VAL_FUNC)
                return fail_kind(env, val, "FUNCTION");
        *ret = val->func;
        return ST_OK;
}

Status val_as_db(Env *env, const Val *val, Bytes *ret)
{
        if (val->kind != VAL_DB)
                return fail_kind(env, val, "DATABASE");
        *ret = val->db;
        return ST_OK;
}

Status val_as_table(Env *env, const Val *val, TableVal **ret)
{
        if (val->kind != VAL_TABLE)
                return fail_kind(env, val, "TABLE");
        *ret = val->table;
        return ST_OK;
}

Status val_as_table_slice(Env *env, const Val *val, TableVal **ret)
{
        if (val->kind != VAL_TABLE && val->kind != VAL_TABLE_SLICE)
                return fail_kind(env, val, "TABLE_SLICE");
        *ret = val->table;
        return ST_OK;
}

Status val_as_row(Env *env, const Val *val)
{
        return val->kind == VAL_ROW ? ST_OK : fail_kind(env, val, "SINGLE_SELECTION");
}

static Status check_bound(Env *env, Value bound)
{
        Bytes key;
        Status st = ST_OK;
        if (value_is(bound, V_OBJECT) || value_is(bound, V_NULL) || value_is(bound, V_ARRAY))
                st = key_encode_primary(bound, env->arena, &key);
        return fail_at(env, env->current, st);
}

/* Bounds that no key could have are wrong when rows are asked for, unless there can be none between them. */
static Status check_bounds(Env *env, const TableVal *table)
{
        const KeyBounds *bounds = &table->bounds;
        if (!table->has_bounds)
                return ST_OK;
        if (!table_is_primary(table)) {
                TRY(check_secondary_key(env, env->current, bounds->low));
                return check_secondary_key(env, env->current, bounds->high);
        }
        int order = value_compare(bounds->low, bounds->high);
        if (order > 0 || (order == 0 && (bounds->low_type == BOUND_OPEN || bounds->high_type == BOUND_OPEN)))
                return ST_OK;
        TRY(check_bound(env, bounds->low));
        return check_bound(env, bounds->high);
}

Status val_as_stream(Env *env, const Val *val, Stream **ret)
{
        switch (val->kind) {
        case VAL_STREAM: *ret = val->stream; return ST_OK;
        case VAL_TABLE: *ret = stream_of_table(env, val->term, val->table); return ST_OK;
        case VAL_TABLE_SLICE:
                TRY(check_bounds(env, val->table));
                *ret = stream_of_table(env, val->term, val->table);
                return ST_OK;
        case VAL_ARRAY_SELECTION:
                *ret = stream_of_array(env, val->term, val->datum);
                (*ret)->table = val->table;
                return ST_OK;
        case VAL_DATUM:
                if (!value_is(val->datum, V_ARRAY))
                        return fail(env, env->current, type_code(val->datum), "Cannot convert %s to SEQUENCE",
                                    value_type_name(val->datum));
                *ret = stream_of_array(env, val->term, val->datum);
                return ST_OK;
        case VAL_GROUPED:
                if (groups_lazy(val->groups))
                        return fail(env, val->term, ERR_LOGIC,
                                    "Cannot treat the output of `group` as a stream (did you mean to `ungroup`?).");
                return fail_kind(env, val, "SEQUENCE");
        default: return fail_kind(env, val, "SEQUENCE");
        }
}

Status val_as_selection(Env *env, const Val *val, TableVal **ret_table, Stream **ret_stream)
{
        if (!val_is_selection(val))
                return fail_kind(env, val, "SELECTION");
        TRY(val_as_stream(env, val, ret_stream));
        *ret_table = val->kind == VAL_STREAM ? val->stream->table : val->table;
        return ST_OK;
}

bool val_is_selection(const Val *val)
{
        switch (val->kind) {
        case VAL_TABLE:
        case VAL_TABLE_SLICE:
        case VAL_ARRAY_SELECTION: return true;
        case VAL_STREAM: return val->stream->table != NULL;
        default: return false;
        }
}

bool val_is_sequence(const Val *val)
{
        switch (val->kind) {
        case VAL_STREAM:
        case VAL_TABLE:
        case VAL_TABLE_SLICE:
        case VAL_ARRAY_SELECTION: return true;
        case VAL_DATUM: return value_is(val->datum, V_ARRAY);
        default: return false;
        }
}

Status val_to_array(Env *env, const Val *val, Value *ret)
{
        Stream *stream;
        if (val_is_datum(val) || val->kind == VAL_ARRAY_SELECTION) {
                *ret = val->datum;
                return ST_OK;
        }
        if (val->kind == VAL_GROUPED)
                return groups_array(env, val->groups, ret);
        TRY(val_as_stream(env, val, &stream));
        return stream_to_array(stream, env, env->arena, ret);
}

Status val_of_stream(Env *env, const Term *term, Stream *stream, Val *ret)
{
        if (!stream->is_array) {
                *ret = val_stream(term, stream);
                return ST_OK;
        }
        Value array;
        TRY(stream_to_array(stream, env, env->arena, &array));
        *ret = val_datum(term, array);
        if (stream->table) {
                ret->kind = VAL_ARRAY_SELECTION;
                ret->table = stream->table;
        }
        return ST_OK;
}

Val val_row(const Term *term, TableVal *table, Value row)
{
        return (Val){.kind = VAL_ROW,
                     .term = term,
                     .datum = row,
                     .table = table,
                     .key = value_get(row, table->info->primary_key)};
}
