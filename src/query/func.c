/* func.c - functions: closures over frames, and the shortcuts that stand for functions. */
#include "query/env_int.h"

const Term *func_term(const Func *func)
{
        return func->kind == FUNC_TERM ? func->term->body : func->term;
}

bool func_is_deterministic(const Func *func)
{
        return func->kind != FUNC_TERM || !(func->term->tree_flags & TF_UNPROVABLE);
}

int func_arity(const Func *func)
{
        if (func->kind == FUNC_TERM)
                return (int)func->term->param_count;
        return func->kind == FUNC_CONSTANT ? 0 : 1;
}

static Func *make_func(Env *env, FuncKind kind, const Term *term, Value value)
{
        Func *func = arena_alloc(env->arena, sizeof *func);
        *func = (Func){.kind = kind, .term = term, .frame = env->frame, .value = value};
        return func;
}

Func *func_equals(Env *env, const Term *at, Value value)
{
        return make_func(env, FUNC_EQUALS, at, value);
}

Status val_to_func(Env *env, const Val *val, FuncShortcut shortcut, Func **ret)
{
        static const FuncKind kinds[] = {[SHORTCUT_CONSTANT] = FUNC_CONSTANT,
                                         [SHORTCUT_GET_FIELD] = FUNC_GET_FIELD,
                                         [SHORTCUT_PLUCK] = FUNC_PLUCK};
        if (val->kind == VAL_FUNC || shortcut == SHORTCUT_NONE || !val_is_datum(val))
                return val_as_func(env, val, ret);
        *ret = make_func(env, kinds[shortcut], val->term, val->datum);
        return ST_OK;
}

/* --- calling --- */

/* A shortcut as the term it stands for: `type`(row, value). */
static Status call_shortcut(Env *env, const Func *func, TermType type, Value row, Val *ret)
{
        Term *term = term_make(env->arena, type, func->term, 2);
        term->args[0] = term_make(env->arena, TERM_DATUM, func->term, 0);
        term->args[0]->datum = row;
        term->args[1] = term_make(env->arena, TERM_DATUM, func->term, 0);
        term->args[1]->datum = func->value;
        return eval(env, term, ret);
}

static Status call_other(Env *env, const Func *func, const Value *args, size_t count, Val *ret)
{
        if (func->kind == FUNC_CONSTANT) {
                *ret = val_datum(func->term, func->value);
                return ST_OK;
        }
        if (count != 1)
                return fail(env, func->term, ERR_LOGIC,
                            "Expected function with %zu argument%s but found function with 1 argument.", count,
                            count == 1 ? "" : "s");
        switch (func->kind) {
        case FUNC_EQUALS: *ret = val_datum(func->term, value_bool(value_equal(args[0], func->value))); return ST_OK;
        case FUNC_PLUCK: return call_shortcut(env, func, TERM_PLUCK, args[0], ret);
        default: break;
        }
        if (value_is(args[0], V_OBJECT) && value_is(func->value, V_STRING)) {
                Value field = value_get(args[0], value_bytes(func->value));
                if (value_is(field, V_NONE))
                        return fail_no_attribute(env, func->term, value_bytes(func->value), args[0]);
                *ret = val_datum(func->term, field);
                return ST_OK;
        }
        return call_shortcut(env, func, TERM_BRACKET, args[0], ret);
}

/* Functions without parameters take any number: Ruby's blocks. */
static Status check_count(Env *env, const Func *func, size_t count)
{
        size_t params = func->term->param_count;
        if (likely(params == count || params == 0))
                return ST_OK;
        return fail(env, func->term->body, ERR_LOGIC,
                    "Expected function with %zu argument%s but found function with %zu argument%s.", count,
                    count == 1 ? "" : "s", params, params == 1 ? "" : "s");
}

Status func_call(Env *env, const Func *func, const Value *args, size_t count, Val *ret)
{
        bool literal = env->literal_next;
        env->literal_next = false;
        if (func->kind != FUNC_TERM)
                return call_other(env, func, args, count, ret);
        TRY(check_count(env, func, count));
        /* The result may be a stream that looks at the arguments later. */
        Frame *frame = arena_alloc(env->arena, sizeof *frame), *outer = env->frame;
        Value *values = arena_array(env->arena, Value, count);
        if (count)
                memcpy(values, args, count * sizeof *values);
        *frame = (Frame){.outer = func->frame, .values = values, .count = count};
        env->frame = frame;
        env->literal_next = literal;
        Status st = eval(env, func->term->body, ret);
        env->frame = outer;
        return st;
}

Status func_call_datum(Env *env, const Func *func, const Value *args, size_t count, Value *ret)
{
        Val val;
        bool literal = env->literal_next;
        env->literal_next = false;
        if (func->kind != FUNC_TERM) {
                TRY(call_other(env, func, args, count, &val));
                return val_as_datum(env, &val, ret);
        }
        TRY(check_count(env, func, count));
        EnvMark mark = env_mark(env);
        Frame frame = {.outer = func->frame, .values = args, .count = count}, *outer = env->frame;
        env->frame = &frame;
        env->literal_next = literal;
        Status st = eval(env, func->term->body, &val);
        if (!st)
                st = val_as_datum(env, &val, ret);
        env->frame = outer;
        env_unwind(env, mark);
        return st;
}

/* --- as a filter's predicate --- */

/* An object as predicate: its fields must be there and equal, objects in it field by field. */
static Status match_object(Env *env, const Func *func, Value pattern, Value row, bool *ret)
{
        const Term *at = func_term(func);
        Value type = value_get_str(pattern, "$reql_type$");
        if (value_is(type, V_STRING) && value_bytes_are(type, "LITERAL")) {
                *ret = value_equal(value_get_str(pattern, "value"), row);
                return ST_OK;
        }
        *ret = false;
        for (size_t i = 0; i < value_count(pattern); i++) {
                Bytes key;
                Value want = value_field_at(pattern, i, &key);
                TRY(expect_type(env, at, row, V_OBJECT));
                Value have = value_get(row, key);
                if (value_is(have, V_NONE))
                        return fail(env, at, ERR_NON_EXISTENCE, "No attribute `%.*s` in object.", (int)key.size,
                                    (const char *)key.data);
                if (value_is_object(want) && value_is_object(have)) {
                        bool same;
                        TRY(match_object(env, func, want, have, &same));
                        if (!same)
                                return ST_OK;
                } else if (!value_equal(want, have)) {
                        return ST_OK;
                }
        }
        *ret = true;
        return ST_OK;
}

Status func_matches(Env *env, const Func *func, Value row, bool *ret)
{
        Value answer;
        TRY(func_call_datum(env, func, &row, 1, &answer));
        bool pattern = func->kind == FUNC_CONSTANT ||
                       (func->kind == FUNC_TERM &&
                        (func->term->body->type == TERM_MAKE_OBJ || func->term->body->type == TERM_DATUM));
        if (pattern && value_is_object(answer))
                return match_object(env, func, answer, row, ret);
        *ret = value_truthy(answer);
        return ST_OK;
}

Status func_filter(Env *env, const Func *func, Value row, bool default_on_missing, bool *ret)
{
        bool drops = env->drops_missing;
        env->drops_missing = true;
        Status st = func_matches(env, func, row, ret);
        env->drops_missing = drops;
        if (status_missing(&st))
                *ret = default_on_missing;
        return st;
}
