/* outside_int.h - what the terms that go outside share (outside.c, http_term.c). */
#ifndef QUERY_OUTSIDE_INT_H
#define QUERY_OUTSIDE_INT_H

#include "query/env_int.h"
#include "query/outside.h"

/* One per query, made when it first goes outside, closed at its end. The buffers are on the heap and are used by one
 * call at a time: what is needed of an answer is in the arena before anything else is evaluated. */
typedef struct OutsideState {
        Env *env;
        uint64_t session; /* no other query of this process has it */
        Buf question, answer;
} OutsideState;
#define OUTSIDE_MAX_BYTES ((size_t)160 << 20)

OutsideState *outside_state(Env *env);
/* Empties the buffers, and gives back what a large call took. */
void outside_rest(OutsideState *state);

/* JSON from a worker process as a value in env->arena, its arrays within the query's limit. ERR_INVALID if it is none;
 * other errors are placed at `at`. */
Status outside_json(Env *env, const Term *at, Bytes json, Value *ret) MUST_USE;
/* Text of any bytes as a string; what is not UTF-8 becomes U+FFFD. In env->arena. */
Status outside_text(Env *env, Bytes text, Value *ret) MUST_USE;

/* Calls a JavaScript function: FUNC_JS. */
Status js_call(Env *env, const Func *func, const Value *args, size_t count, Val *ret) MUST_USE;

#endif
