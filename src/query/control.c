/* control.c - terms that decide what is evaluated: variables, functions, branch, default, error. */
#include "query/env_int.h"

static Status term_func(Env *env, const Term *term, Val *ret)
{
        Func *func = arena_alloc(env->arena, sizeof *func);
        *func = (Func){.kind = FUNC_TERM, .term = term, .frame = env->frame};
        *ret = (Val){.kind = VAL_FUNC, .term = term, .func = func};
        return ST_OK;
}

static Status term_var(Env *env, const Term *term, Val *ret)
{
        const Frame *frame = env->frame;
        for (uint32_t depth = term->var_depth; depth > 0; depth--)
                frame = frame->outer;
        /* r.row in a function that was called with nothing: Ruby's blocks without parameters take any number. */
        if (unlikely(term->var_index >= frame->count))
                return fail(env, term, ERR_LOGIC, "The function was called without the argument that it refers to.");
        *ret = val_datum(term, frame->values[term->var_index]);
        return ST_OK;
}

static Status term_args(Env *env, const Term *term, Val *ret)
{
        bool literal = env->literal_ok;
        Args args;
        Val val;
        Value list;
        TRY(args_begin(env, term, &args));
        TRY(literal ? args_val_literal(&args, 0, &val) : args_val(&args, 0, &val));
        TRY(val_as_datum(env, &val, &list));
        TRY(expect_type(env, term, list, V_ARRAY));
        *ret = val_datum(term, list);
        return ST_OK;
}

/* func(args...): groups as first argument are taken one by one. */
static Status term_funcall(Env *env, const Term *term, Val *ret)
{
        Args args;
        Func *func;
        TRY(args_begin(env, term, &args));
        TRY(args_func(&args, 0, SHORTCUT_CONSTANT, &func));
        size_t count = args.count - 1;
        if (count == 0)
                return func_call(env, func, NULL, 0, ret);
        Val first;
        Value *values = arena_array(env->arena, Value, count);
        TRY(args_val(&args, 1, &first));
        for (size_t i = 1; i < count; i++)
                TRY(args_datum(&args, i + 1, &values[i]));
        if (first.kind == VAL_GROUPED)
                return groups_call(env, term, first.groups, func, values, count, ret);
        TRY(val_as_datum(env, &first, &values[0]));
        return func_call(env, func, values, count, ret);
}

static Status term_branch(Env *env, const Term *term, Val *ret)
{
        Args args;
        TRY(args_begin(env, term, &args));
        if (args.count % 2 == 0)
                return fail(env, term, ERR_LOGIC, "Cannot call `branch` term with an even number of arguments.");
        size_t chosen = args.count - 1;
        for (size_t i = 0; i + 1 < args.count; i += 2) {
                Val condition;
                bool yes;
                TRY(args_val(&args, i, &condition));
                TRY(val_as_bool(env, &condition, &yes));
                if (yes) {
                        chosen = i + 1;
                        break;
                }
        }
        return args_val(&args, chosen, ret); /* r.literal may not stand here, even in an update */
}

static Status term_error(Env *env, const Term *term, Val *ret)
{
        Args args;
        Bytes text;
        TRY(args_begin(env, term, &args));
        if (args.count == 0) {
                Status st = fail(env, term, ERR_LOGIC, "Empty ERROR term outside a default block.");
                env->empty_error = true;
                return st;
        }
        TRY(args_string(&args, 0, &text));
        return fail(env, term, ERR_USER, "%.*s", (int)text.size, (const char *)text.data);
}

/* The second argument, called if it is a function; r.error() without a message brings back what went wrong first. */
static Status use_default(Args *args, const Val *null, Status *cause, const Term *cause_at, Val *ret)
{
        Env *env = args->env;
        Value argument = value_null();
        if (*cause) {
                const char *message = status_message(*cause);
                argument = value_str(arena_dup(env->arena, message, strlen(message)));
        }
        Val fallback;
        Status st = args_val(args, 1, &fallback);
        if (!st && fallback.kind == VAL_FUNC)
                st = func_call(env, fallback.func, &argument, 1, ret);
        else if (!st)
                *ret = fallback;
        if (!st || !env->empty_error)
                return st;
        status_ignore(st);
        env->empty_error = false;
        if (*cause) {
                env->error_at = cause_at;
                return take(*cause);
        }
        *ret = *null;
        return ST_OK;
}

static Status term_default(Env *env, const Term *term, Val *ret)
{
        Args args;
        TRY(args_begin(env, term, &args));
        EnvMark mark = env_mark(env);
        bool drops = env->drops_missing;
        env->drops_missing = args.count > 1 && args.terms[1]->type == TERM_DATUM; /* nobody reads the message */
        _cleanup_(status_freep) Status cause = args_val(&args, 0, ret);
        env->drops_missing = drops;
        const Term *cause_at = env->error_at;
        if (!cause && !(val_is_datum(ret) && value_is(ret->datum, V_NULL)))
                return ST_OK;
        if (cause) {
                if (status_code(cause) != ERR_NON_EXISTENCE)
                        return take(cause);
                env_unwind(env, mark);
        }
        Val null = cause ? (Val){0} : *ret;
        return use_default(&args, &null, &cause, cause_at, ret);
}

static const TermEval list[] = {
        {TERM_FUNC, term_func, false},  {TERM_VAR, term_var, false},         {TERM_IMPLICIT_VAR, term_var, false},
        {TERM_ARGS, term_args, false},  {TERM_FUNCALL, term_funcall, false}, {TERM_BRANCH, term_branch, true},
        {TERM_ERROR, term_error, true}, {TERM_DEFAULT, term_default, false},
};
const TermList terms_control = {list, ELEMENTS(list)};
