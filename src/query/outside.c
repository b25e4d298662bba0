/* outside.c - r.js: scripts and functions that run in another process (outside.h).
 *
 * A script that evaluates to a function is a FUNC_JS: its source and its time limit. Nothing of it lives here, so each
 * call sends the source again and the process that answers compiles it once per query. */
#include "query/outside_int.h"

#include <inttypes.h>

#include "bridge/json_bridge.h"
#include "value/json.h"

#define JS_DEFAULT_MS 5000
#define KEEP_BYTES    ((size_t)1 << 20)

/* --- what a query keeps for going outside --- */

static atomic_uint_fast64_t sessions;

static void state_close(void *what)
{
        OutsideState *state = what;
        buf_done(&state->question);
        buf_done(&state->answer);
        state->env->outside = NULL;
}

OutsideState *outside_state(Env *env)
{
        if (env->outside)
                return env->outside;
        OutsideState *state = arena_new(env->query_arena, OutsideState);
        state->env = env;
        state->session = atomic_fetch_add(&sessions, 1) + 1;
        buf_init(&state->question, OUTSIDE_MAX_BYTES);
        buf_init(&state->answer, OUTSIDE_MAX_BYTES);
        env_defer_to_end(env, state_close, state);
        env->outside = state;
        return state;
}

void outside_rest(OutsideState *state)
{
        Buf *const bufs[] = {&state->question, &state->answer};
        for (size_t i = 0; i < ELEMENTS(bufs); i++) {
                if (bufs[i]->capacity > KEEP_BYTES) {
                        buf_done(bufs[i]);
                        buf_init(bufs[i], OUTSIDE_MAX_BYTES);
                }
                buf_clear(bufs[i]);
        }
}

/* --- values --- */

static Status check_arrays(Env *env, const Term *at, Value v)
{
        if (value_is(v, V_ARRAY)) {
                TRY(check_array_size(env, at, value_count(v)));
                for (size_t i = 0; i < value_count(v); i++)
                        TRY(check_arrays(env, at, value_at(v, i)));
        } else if (value_is(v, V_OBJECT)) {
                for (size_t i = 0; i < value_count(v); i++) {
                        Bytes key;
                        TRY(check_arrays(env, at, value_field_at(v, i, &key)));
                }
        }
        return ST_OK;
}

Status outside_json(Env *env, const Term *at, Bytes json, Value *ret)
{
        Status st = json_parse_copy(json, JSON_PSEUDO, env->arena, ret);
        if (st && status_code(st) != ERR_INVALID)
                return fail_at(env, at, st);
        TRY(st);
        return check_arrays(env, at, *ret);
}

Status outside_text(Env *env, Bytes text, Value *ret)
{
        if (text.size > UINT32_MAX - 64)
                return status_new(ERR_RESOURCE, "A string of %zu bytes is too large.", text.size);
        if (!json_bridge_utf8_valid(text)) {
                OutsideState *state = outside_state(env);
                buf_clear(&state->question);
                TRY(json_write_message(text, &state->question));
                return json_parse_copy(BYTES(state->question.data, state->question.size), JSON_PLAIN, env->arena, ret);
        }
        *ret = value_string(BYTES(arena_dup(env->arena, text.data, text.size), text.size));
        return ST_OK;
}

/* Why RethinkDB passes this value to no script; NULL if it does. */
static const char *not_for_scripts(Value v)
{
        switch (value_type(v)) {
        case V_MINVAL: return "`r.minval` cannot be passed to `r.js`.";
        case V_MAXVAL: return "`r.maxval` cannot be passed to `r.js`.";
        case V_BINARY: return "`r.binary` data cannot be used in `r.js`.";
        case V_ARRAY:
                for (size_t i = 0; i < value_count(v); i++) {
                        const char *why = not_for_scripts(value_at(v, i));
                        if (why)
                                return why;
                }
                return NULL;
        case V_OBJECT:
                for (size_t i = 0; i < value_count(v); i++) {
                        Bytes key;
                        const char *why = not_for_scripts(value_field_at(v, i, &key));
                        if (why)
                                return why;
                }
                return NULL;
        default: return NULL;
        }
}

static Status write_args(Env *env, const Term *at, const Value *args, size_t count, Buf *out)
{
        for (size_t i = 0; i < count; i++) {
                const char *why = not_for_scripts(args[i]);
                if (why)
                        return fail(env, at, ERR_LOGIC, "%s", why);
        }
        TRY(buf_append_byte(out, '['));
        for (size_t i = 0; i < count; i++) {
                if (i)
                        TRY(buf_append_byte(out, ','));
                TRY(json_write(args[i], out));
        }
        return buf_append_byte(out, ']');
}

/* --- running --- */

static Status script_failed(Env *env, const Term *at, OutsideEnd end, Bytes source, uint64_t timeout_ms)
{
        if (end == OUTSIDE_TIMED_OUT)
                return fail(env, at, ERR_LOGIC, "JavaScript query `%.*s` timed out after %" PRIu64 ".%03u seconds.",
                            (int)source.size, (const char *)source.data, timeout_ms / 1000,
                            (unsigned)(timeout_ms % 1000));
        return fail(env, at, ERR_INTERNAL, "Javascript query `%.*s` caused a crash in a worker process.",
                    (int)source.size, (const char *)source.data);
}

/* Runs it; the text of the result is in state->answer. */
static Status run_script(Env *env, const Term *at, const JsCall *call, uint64_t timeout_ms, JsResult *ret_result)
{
        const OutsideOps *ops = env->world->outside;
        OutsideState *state = outside_state(env);
        OutsideWait wait = {.timeout_ms = timeout_ms, .cancelled = env->cancelled};
        OutsideEnd end;
        if (!ops || !ops->js)
                return fail(env, at, ERR_OP_FAILED, "JavaScript is not available on this server.");
        Status st = ops->js(ops->ctx, call, &wait, &end, ret_result, &state->answer);
        if (status_code(st) == ERR_LIMIT) {
                status_ignore(st);
                return fail(env, at, ERR_RESOURCE, "The arguments of the JavaScript function are too large.");
        }
        TRY(fail_at(env, at, st));
        if (end != OUTSIDE_ANSWERED)
                return script_failed(env, at, end, call->source, timeout_ms);
        if (*ret_result == JS_ERROR) {
                Value message;
                TRY(outside_text(env, BYTES(state->answer.data, state->answer.size), &message));
                return fail(env, at, ERR_LOGIC, "%.*s", (int)message.size, message.text);
        }
        return ST_OK;
}

static Status take_value(Env *env, const Term *at, const JsCall *call, Value *ret)
{
        OutsideState *state = outside_state(env);
        Status st = outside_json(env, at, BYTES(state->answer.data, state->answer.size), ret);
        if (status_code(st) != ERR_INVALID)
                return st;
        status_ignore(st);
        return script_failed(env, at, OUTSIDE_CRASHED, call->source, 0);
}

Status js_call(Env *env, const Func *func, const Value *args, size_t count, Val *ret)
{
        OutsideState *state = outside_state(env);
        JsCall call = {.session = state->session, .is_call = true, .source = value_bytes(func->value)};
        JsResult result;
        Value value;
        outside_rest(state);
        TRY(write_args(env, func->term, args, count, &state->question));
        call.args = BYTES(state->question.data, state->question.size);
        TRY(run_script(env, func->term, &call, func->timeout_ms, &result));
        if (result != JS_VALUE)
                return script_failed(env, func->term, OUTSIDE_CRASHED, call.source, 0);
        TRY(take_value(env, func->term, &call, &value));
        *ret = val_datum(func->term, value);
        return ST_OK;
}

static uint64_t timeout_of(double seconds)
{
        if (seconds > (double)UINT64_MAX / 1000)
                return UINT64_MAX;
        return seconds > 0 ? (uint64_t)(seconds * 1000) : 0;
}

static Status term_javascript(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val option;
        Bytes source;
        Value value;
        JsResult result;
        double seconds;
        bool present;
        uint64_t timeout_ms = JS_DEFAULT_MS;
        TRY(args_begin(env, term, &args));
        TRY(opt_val(env, term, "timeout", &option, &present));
        if (present) {
                TRY(val_as_number(env, &option, &seconds));
                timeout_ms = timeout_of(seconds);
        }
        TRY(args_string(&args, 0, &source));
        OutsideState *state = outside_state(env);
        outside_rest(state);
        JsCall call = {.session = state->session, .source = source};
        TRY(run_script(env, term, &call, timeout_ms, &result));
        if (result == JS_FUNCTION) {
                Func *func = arena_alloc(env->arena, sizeof *func);
                *func = (Func){.kind = FUNC_JS,
                               .term = term,
                               .frame = env->frame,
                               .value = value_string(source),
                               .timeout_ms = timeout_ms};
                *ret = (Val){.kind = VAL_FUNC, .term = term, .func = func};
                return ST_OK;
        }
        TRY(take_value(env, term, &call, &value));
        *ret = val_datum(term, value);
        return ST_OK;
}

static const TermEval list[] = {
        {TERM_JAVASCRIPT, term_javascript, false},
};
const TermList terms_outside = {list, ELEMENTS(list)};
