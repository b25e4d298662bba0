/* func.c - functions: closures over frames, and the shortcuts that stand for functions. */
#include <inttypes.h>

#include "query/exec_compile.h"
#include "query/outside_int.h"
#include "query/profile.h"
#include "reql/print.h"
#include "value/json.h"

const Term *func_term(const Func *func)
{
        return func->kind == FUNC_TERM ? func->term->body : func->term;
}

bool func_is_deterministic(const Func *func)
{
        return (func->kind != FUNC_TERM || !(func->term->tree_flags & TF_UNPROVABLE)) && func->kind != FUNC_JS;
}

int func_arity(const Func *func)
{
        if (func->kind == FUNC_TERM)
                return (int)func->term->param_count;
        if (func->kind == FUNC_JS)
                return -1;
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
        if (func->kind == FUNC_JS)
                return js_call(env, func, args, count, ret);
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
        return call_shortcut(env, func, TERM_GET_FIELD, args[0], ret);
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

/* How often a query calls functions before it is worth while to compile them. */
#define CALLS_BEFORE_COMPILING 16

/* Runs the compiled form, if there is one. *ret_done false: it is eval()'s turn. Where nobody reads the message of a
 * NON_EXISTENCE error, that is made here, too. */
static Status call_compiled(Env *env, const Func *func, const Value *args, size_t count, bool as_truth, Value *ret,
                            bool *ret_done)
{
        *ret_done = false;
        if (++env->calls <= CALLS_BEFORE_COMPILING || !env->planning || env->trace || env->literal_next)
                return ST_OK;
        env->calls = CALLS_BEFORE_COMPILING;
        const ExecProgram *program = exec_find(env, func->term, as_truth);
        if (!program || (program->params && program->params != count))
                return ST_OK;
        ExecRow row = {.args = args, .arg_count = count, .frame = func->frame, .arena = env->arena};
        ExecAnswer answer = exec_run(program, &row, ret);
        *ret_done = answer == EXEC_OK || (answer == EXEC_MISSING && env->drops_missing);
        if (answer == EXEC_MISSING && env->drops_missing)
                return fail(env, func_term(func), ERR_NON_EXISTENCE, "A value is missing.");
        return ST_OK;
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
        env->literal_next = literal;
        bool done;
        TRY(call_compiled(env, func, args, count, false, ret, &done));
        env->literal_next = false;
        if (done)
                return ST_OK;
        TRY(check_count(env, func, count));
        EnvMark mark = env_mark(env);
        Frame frame = {.outer = func->frame, .values = args, .count = count}, *outer = env->frame;
        env->frame = &frame;
        env->literal_next = literal;
        TraceTask *task = trace_begin(env, TRACE_ROWS, func->term);
        Status st = eval(env, func->term->body, &val);
        if (!st)
                st = val_as_datum(env, &val, ret);
        trace_end(env, task);
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
        bool pattern = func->kind == FUNC_CONSTANT ||
                       (func->kind == FUNC_TERM &&
                        (func->term->body->type == TERM_MAKE_OBJ || func->term->body->type == TERM_DATUM));
        bool done = false;
        if (!pattern && func->kind == FUNC_TERM)
                TRY(call_compiled(env, func, &row, 1, true, &answer, &done));
        if (!done)
                TRY(func_call_datum(env, func, &row, 1, &answer));
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

/* --- as text --- */

/* What a function uses of the functions around it. */
typedef struct Capture {
        int32_t id;
        Value value;
} Capture;
typedef struct Captures {
        Capture *items; /* sorted by id; room for `capacity` */
        size_t count, capacity;
        Value implicit; /* r.row, V_NONE: not used */
} Captures;

static void add_capture(Env *env, Captures *captures, int32_t id, Value value)
{
        size_t at = 0;
        while (at < captures->count && captures->items[at].id < id)
                at++;
        if (at < captures->count && captures->items[at].id == id)
                return;
        if (captures->count == captures->capacity) {
                captures->capacity = captures->capacity ? 2 * captures->capacity : 8;
                Capture *items = arena_array(env->arena, Capture, captures->capacity);
                if (captures->count)
                        memcpy(items, captures->items, captures->count * sizeof *items);
                captures->items = items;
        }
        memmove(captures->items + at + 1, captures->items + at, (captures->count - at) * sizeof *captures->items);
        captures->items[at] = (Capture){id, value};
        captures->count++;
}

/* `depth`: how many functions are around `term`, `func` being the outermost of them. */
static void find_captures(Env *env, const Func *func, const Term *term, uint32_t depth, Captures *captures)
{
        bool implicit = term->type == TERM_IMPLICIT_VAR;
        if ((term->type == TERM_VAR || implicit) && term->var_depth >= depth) {
                const Frame *frame = func->frame;
                const Term *home = term->parent;
                for (uint32_t up = term->var_depth - depth; up > 0; up--)
                        frame = frame->outer;
                for (uint32_t up = term->var_depth; home && (home->type != TERM_FUNC || up-- > 0);)
                        home = home->parent;
                Value value = term->var_index < frame->count ? frame->values[term->var_index] : value_null();
                if (implicit)
                        captures->implicit = value;
                else if (home)
                        add_capture(env, captures, (int32_t)home->param_ids[term->var_index], value);
        }
        for (size_t i = 0; i < term->arg_count; i++)
                find_captures(env, func, term->args[i], depth, captures);
        for (size_t i = 0; i < term->opt_count; i++)
                find_captures(env, func, term->opts[i].term, depth, captures);
        if (term->type == TERM_FUNC)
                find_captures(env, func, term->body, depth + 1, captures);
}

static Status print_captures(const Term *func, const Captures *captures, Buf *out)
{
        unsigned implicits = 0;
        for (const Term *outer = func->parent; outer; outer = outer->parent)
                implicits += outer->type == TERM_FUNC && outer->param_count == 1;
        if (implicits == 1 && !value_is(captures->implicit, V_NONE)) {
                TRY(buf_append_str(out, "implicit: "));
                TRY(json_write_pretty(captures->implicit, out));
        } else {
                TRY(buf_append_str(out, implicits == 0   ? "(no implicit)"
                                        : implicits == 1 ? "implicit: (not stored)"
                                                         : "(multiple implicits)"));
        }
        for (size_t i = 0; i < captures->count; i++) {
                TRY(buf_printf(out, ", %" PRId32 ": ", captures->items[i].id));
                TRY(json_write_pretty(captures->items[i].value, out));
        }
        return ST_OK;
}

static Status print_source(const Func *func, const Captures *captures, Buf *out)
{
        if (func->kind == FUNC_JS)
                return buf_printf(out, "javascript timeout=%" PRIu64 "ms, source=%.*s", func->timeout_ms,
                                  (int)func->value.size, func->value.text);
        TRY(buf_append_str(out, "function (captures = ["));
        TRY(print_captures(func->term, captures, out));
        TRY(buf_append_str(out, "]) (args = ["));
        for (size_t i = 0; i < func->term->param_count; i++) {
                TRY(buf_append_str(out, i ? ", " : ""));
                TRY(print_variable(func->term->param_ids[i], out));
        }
        TRY(buf_append_str(out, "]) "));
        return print_javascript(func->term->body, out);
}

Status func_source(Env *env, const Func *func, Bytes *ret_text)
{
        Captures captures = {0};
        if (func->kind != FUNC_TERM && func->kind != FUNC_JS) { /* only FUNC and JAVASCRIPT give functions as values */
                *ret_text = BYTES_STR("");
                return ST_OK;
        }
        if (func->kind == FUNC_TERM)
                find_captures(env, func, func->term->body, 1, &captures);
        Buf buf; /* on the heap, so nothing may jump while it lives */
        buf_init(&buf, UINT32_MAX);
        Status st = print_source(func, &captures, &buf);
        uint8_t *text = st ? NULL : arena_try_alloc(env->arena, buf.size + 1);
        if (text) {
                memcpy(text, buf.data, buf.size);
                *ret_text = BYTES(text, buf.size);
        } else if (!st) {
                st = status_nomem();
        }
        buf_done(&buf);
        return st;
}
