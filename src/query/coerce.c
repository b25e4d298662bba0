/* coerce.c - types and conversions: coerce_to, type_of, binary, minval, maxval.
 *
 * RethinkDB's coercion knows two levels: what kind of thing a value is (a table, a stream, a datum ...), some kinds
 * being convertible to others, and, for datums, which type. A conversion that changes nothing is answered with the
 * value itself. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>

#include "bridge/json_bridge.h"
#include "query/key_set.h"
#include "query/query_int.h"

typedef enum Kind {
        KIND_DB,
        KIND_TABLE,
        KIND_TABLE_SLICE,
        KIND_SELECTION,
        KIND_SEQUENCE,
        KIND_ROW,
        KIND_DATUM,
        KIND_FUNC,
        KIND_GROUPED,
} Kind;

typedef struct Type {
        const char *name;
        Kind kind;
        ValueType datum; /* V_NONE: any, or no datum */
} Type;

static const Type types[] = {
        {"DB", KIND_DB, V_NONE},
        {"TABLE", KIND_TABLE, V_NONE},
        {"TABLE_SLICE", KIND_TABLE_SLICE, V_NONE},
        {"SELECTION<STREAM>", KIND_SELECTION, V_NONE},
        {"SELECTION<ARRAY>", KIND_SELECTION, V_ARRAY},
        {"STREAM", KIND_SEQUENCE, V_NONE},
        {"SELECTION<OBJECT>", KIND_ROW, V_NONE},
        {"DATUM", KIND_DATUM, V_NONE},
        {"FUNCTION", KIND_FUNC, V_NONE},
        {"GROUPED_DATA", KIND_GROUPED, V_NONE},
        {"NULL", KIND_DATUM, V_NULL},
        {"BINARY", KIND_DATUM, V_BINARY},
        {"BOOL", KIND_DATUM, V_BOOL},
        {"NUMBER", KIND_DATUM, V_NUMBER},
        {"STRING", KIND_DATUM, V_STRING},
        {"ARRAY", KIND_DATUM, V_ARRAY},
        {"OBJECT", KIND_DATUM, V_OBJECT},
        {"MINVAL", KIND_DATUM, V_MINVAL},
        {"MAXVAL", KIND_DATUM, V_MAXVAL},
};

static const Type *type_find(Kind kind, ValueType datum)
{
        for (size_t i = 0; i < ELEMENTS(types); i++)
                if (types[i].kind == kind && types[i].datum == datum)
                        return &types[i];
        return NULL;
}

static Status type_by_name(Env *env, const Term *term, Bytes name, const Type **ret)
{
        char *upper = arena_dup(env->arena, name.data, name.size);
        for (size_t i = 0; i < name.size; i++)
                upper[i] = (char)toupper((unsigned char)upper[i]);
        for (size_t i = 0; i < ELEMENTS(types); i++)
                if (strlen(types[i].name) == name.size && memcmp(types[i].name, upper, name.size) == 0) {
                        *ret = &types[i];
                        return ST_OK;
                }
        return fail(env, term, ERR_LOGIC, "Unknown Type: %s", upper);
}

static Kind kind_of(const Val *val)
{
        switch (val->kind) {
        case VAL_DB: return KIND_DB;
        case VAL_TABLE: return KIND_TABLE;
        case VAL_TABLE_SLICE: return KIND_TABLE_SLICE;
        case VAL_ARRAY_SELECTION: return KIND_SELECTION;
        case VAL_STREAM: return val->stream->table ? KIND_SELECTION : KIND_SEQUENCE;
        case VAL_ROW: return KIND_ROW;
        case VAL_FUNC: return KIND_FUNC;
        case VAL_GROUPED: return KIND_GROUPED;
        default: return KIND_DATUM;
        }
}

static bool kind_converts(Kind from, Kind to)
{
        if (from == to)
                return true;
        switch (from) {
        case KIND_TABLE: return to == KIND_TABLE_SLICE || to == KIND_SELECTION || to == KIND_SEQUENCE;
        case KIND_TABLE_SLICE: return to == KIND_SELECTION || to == KIND_SEQUENCE;
        case KIND_SELECTION: return to == KIND_SEQUENCE;
        case KIND_ROW: return to == KIND_DATUM;
        case KIND_DATUM: return to == KIND_SEQUENCE; /* even what is no array */
        default: return false;
        }
}

/* TIME and GEOMETRY are objects here. */
static ValueType plain_type(Value v)
{
        return value_is_object(v) ? V_OBJECT : value_type(v);
}

/* --- conversions --- */

static Status object_to_array(Env *env, const Term *term, Value object, Value *ret)
{
        size_t count = value_count(object);
        TRY(check_array_size(env, term, count));
        Value *pairs = arena_array(env->arena, Value, count);
        for (size_t i = 0; i < count; i++) {
                Bytes key;
                Value *pair = arena_array(env->arena, Value, 2);
                pair[1] = value_field_at(object, i, &key);
                pair[0] = value_string(key);
                pairs[i] = value_array(pair, 2);
        }
        *ret = value_array(pairs, count);
        return check_depth(env, term, *ret);
}

/* What scanf reads as a double, to the end of the text: blanks before it, hexadecimal and exponents are fine, anything
 * after is not. */
static Status string_to_number(Env *env, const Term *term, Bytes text, Value *ret)
{
        const char *copy = arena_dup(env->arena, text.data, text.size);
        double number;
        char after;
        if (sscanf(copy, "%lf%c", &number, &after) != 1)
                return fail(env, term, ERR_LOGIC, "Could not coerce `%s` to NUMBER.", copy);
        if (!isfinite(number))
                return fail(env, term, ERR_LOGIC, "Non-finite number: %.20g", number);
        *ret = value_number(number);
        return ST_OK;
}

/* *ret_done false: there is no such conversion. */
static Status coerce_datum(Env *env, const Term *term, Value v, const Type *to, Value *ret, bool *ret_done)
{
        ValueType from = plain_type(v);
        *ret_done = true;
        if (to->datum == V_STRING) {
                Bytes text = from == V_BINARY ? value_bytes(v) : BYTES_NONE;
                if (from != V_BINARY)
                        TRY(json_of(env, term, v, &text));
                else if (!json_bridge_utf8_valid(text)) /* RethinkDB does it, and its answers are no JSON then */
                        return fail(env, term, ERR_LOGIC, "Cannot coerce BINARY to STRING: the data is not UTF-8.");
                *ret = value_string(text);
                return ST_OK;
        }
        if (from == V_STRING && to->datum == V_BINARY) {
                *ret = value_binary(value_bytes(v));
                return ST_OK;
        }
        if (from == V_STRING && to->datum == V_NUMBER)
                return string_to_number(env, term, value_bytes(v), ret);
        if (from == V_OBJECT && to->datum == V_ARRAY)
                return object_to_array(env, term, v, ret);
        *ret_done = false;
        return ST_OK;
}

/* Rows [key, value] become an object's fields. */
static Status sequence_to_object(Env *env, const Term *term, const Val *val, Value *ret)
{
        Stream *rows;
        TRY(val_as_stream(env, val, &rows));
        TRY(stream_check_finite(rows, env));
        KeySet set;
        key_set_init(&set, env->arena, 0);
        bool end = false;
        while (!end) {
                ValueVec batch = {0};
                TRY(env_poll(env));
                TRY(stream_next(rows, env, env->arena, STREAM_CHUNK, &batch, &end));
                for (size_t i = 0; i < batch.count; i++) {
                        Value pair = batch.items[i];
                        TRY(expect_type(env, term, pair, V_ARRAY));
                        if (value_count(pair) != 2)
                                return fail(env, term, ERR_LOGIC, "Expected array of size 2, but got size %zu.",
                                            value_count(pair));
                        Value key = value_at(pair, 0), value = value_at(pair, 1);
                        TRY(expect_type(env, term, key, V_STRING));
                        const Field *there = key_set_add(&set, value_bytes(key), value);
                        if (there)
                                return fail(env, term, ERR_LOGIC,
                                            "Duplicate key %s in coerced object.  (got %s and %s as values)",
                                            (const char *)message_datum_whole(env, key).data,
                                            (const char *)message_datum(env, there->value).data,
                                            (const char *)message_datum(env, value).data);
                }
        }
        return object_finish(env, term, object_take(&set.builder), ret);
}

static Status term_coerce_to(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val val;
        Bytes name;
        const Type *to;
        TRY(args_begin(env, term, &args));
        TRY(args_val(&args, 0, &val));
        TRY(args_string(&args, 1, &name));
        TRY(type_by_name(env, term, name, &to));
        bool datum = val_is_datum(&val);
        Kind from_kind = kind_of(&val);
        const Type *from = datum ? type_find(KIND_DATUM, plain_type(val.datum)) : type_find(from_kind, V_NONE);
        if ((to->datum == V_NONE && kind_converts(from_kind, to->kind)) || from == to) {
                *ret = val;
                return ST_OK;
        }
        Value result;
        bool done = false;
        if (to->datum == V_BOOL) {
                result = value_bool(!datum || !value_is(val.datum, V_NULL));
                done = true;
        } else if (datum && to->kind == KIND_DATUM) {
                TRY(coerce_datum(env, term, val.datum, to, &result, &done));
        }
        bool sequence = datum ? value_is(val.datum, V_ARRAY) : kind_converts(from_kind, KIND_SEQUENCE);
        if (!done && sequence && to->kind == KIND_DATUM) {
                done = true;
                if (to->datum == V_ARRAY || to->datum == V_NONE)
                        TRY(val_to_array(env, &val, &result));
                else if (to->datum == V_OBJECT)
                        TRY(sequence_to_object(env, term, &val, &result));
                else
                        done = false;
        }
        if (!done) {
                bool missing = datum && value_is(val.datum, V_NULL);
                return fail(env, val.term, missing ? ERR_NON_EXISTENCE : ERR_LOGIC, "Cannot coerce %s to %s.",
                            from->name, to->name);
        }
        *ret = val_datum(term, result);
        return ST_OK;
}

/* --- type_of, binary, the extremes --- */

static Status term_type_of(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val val;
        TRY(args_begin(env, term, &args));
        TRY(args_val(&args, 0, &val));
        *ret = val_datum(term, value_str(val_type_name(&val)));
        return ST_OK;
}

static Status term_binary(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val val;
        Value v;
        TRY(args_begin(env, term, &args));
        TRY(args_val(&args, 0, &val));
        TRY(val_as_datum(env, &val, &v));
        *ret = val;
        if (value_is(v, V_BINARY))
                return ST_OK;
        TRY(expect_type(env, term, v, V_STRING));
        *ret = val_datum(term, value_binary(value_bytes(v)));
        return ST_OK;
}

static Status term_extreme(Env *env, const Term *term, Val *ret)
{
        Args args;
        TRY(args_begin(env, term, &args));
        *ret = val_datum(term, term->type == TERM_MINVAL ? value_minval() : value_maxval());
        return ST_OK;
}

static const TermEval terms[] = {
        {TERM_COERCE_TO, term_coerce_to, true}, {TERM_TYPE_OF, term_type_of, false}, {TERM_BINARY, term_binary, true},
        {TERM_MINVAL, term_extreme, true},      {TERM_MAXVAL, term_extreme, true},
};
const TermList terms_coerce = {terms, ELEMENTS(terms)};
