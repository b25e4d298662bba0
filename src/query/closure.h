/* closure.h - a function that outlives its query: index functions and write hooks.
 *
 * Saved, it is text: the wire form of a FUNC term in which everything captured stands as a constant. Loaded, it is
 * immutable and may be called by any number of threads at once. */
#ifndef QUERY_CLOSURE_H
#define QUERY_CLOSURE_H

#include "base/bytes.h"
#include "query/source.h"

typedef struct Env Env;
typedef struct Frame Frame;
typedef struct Func Func;
typedef struct Term Term;
typedef struct Closure Closure; /* counted */

/* Appends the saved form of `func`. A function that is not deterministic is refused by the caller before
 * (func_is_deterministic), whose message depends on the term. */
MUST_USE Status closure_save(Env *env, const Func *func, Buf *out);
/* The same of row => step(... step([row])), for sequences of rows: terms whose first argument is what the step before
 * gives. Variables are numbered anew, so that two of equal meaning are mostly equal. */
typedef struct ClosureStep {
        const Term *term;
        const Frame *frame; /* where its variables are */
} ClosureStep;
MUST_USE Status closure_save_steps(const ClosureStep *steps, size_t count, Buf *out);
/* Reads a saved form; ERR_CORRUPT if it is none (also one that a client made up): what is loaded reads no tables,
 * changes nothing and is deterministic but for r.now() (closure_uses_now). */
MUST_USE Status closure_load(Bytes saved, Closure **ret_closure);
Closure *closure_ref(Closure *closure);
Closure *closure_unref(Closure *closure); /* NULL is fine; returns NULL */
static inline void closure_unrefp(Closure **closure)
{
        *closure = closure_unref(*closure);
}
/* The same for a function that is only used by this process: it may compute with places on earth, which come out a
 * little differently elsewhere. */
MUST_USE Status closure_load_inexact(Bytes saved, Closure **ret_closure);
size_t closure_param_count(const Closure *closure);
bool closure_uses_now(const Closure *closure); /* no function of an index may */
/* Calls it with r.now() = `now_us`. Evaluation has an arena of its own (at most CLOSURE_MEMORY_BYTES); only the
 * result's copy is made in `arena`, and only that can longjmp, with nothing held. Errors are the function's ReQL
 * errors, ERR_RESOURCE and ERR_NOMEM. For V_NONE see below. */
#define CLOSURE_MEMORY_BYTES ((size_t)64 << 20)
MUST_USE Status closure_call_at(Closure *closure, int64_t now_us, const Value *args, size_t count, Arena *arena,
                                Value *ret_value);
static inline MUST_USE Status closure_call(Closure *closure, const Value *args, size_t count, Arena *arena,
                                           Value *ret_value)
{
        return closure_call_at(closure, 0, args, count, arena, ret_value);
}
/* The same for an index: an error of the row (any ReQL error) is V_NONE: the row has no place in the index. Only
 * ERR_NOMEM and the like are errors. Takes the short way for functions like row => row("a")("b"). The value is in
 * `arena` or a part of `row`. */
MUST_USE Status closure_index_value(Closure *closure, Value row, Arena *arena, Value *ret_value);
/* The same; *ret_failed: there is no value because of an error, and that was not a missing field's. */
MUST_USE Status closure_index_try(Closure *closure, Value row, Arena *arena, Value *ret_value, bool *ret_failed);
/* The fields that a function like row => row("a")("b"), or (*ret_compound) an array of such, goes through: how many
 * paths, 0 for any other function. They live as long as the closure. */
size_t closure_paths(const Closure *closure, const IndexPath **ret_paths, bool *ret_compound);
/* As RethinkDB prints functions in index_status and get_write_hook: "function(_var1) { return _var1(\"a\"); }" */
MUST_USE Status closure_print(const Closure *closure, Buf *out);

/* What index_status and get_write_hook show of a function, and what index_create and set_write_hook take instead of
 * one: CLOSURE_PREFIX, a byte of flags, the saved form. */
#define CLOSURE_PREFIX      "$reql_index_function$"
#define CLOSURE_HOOK_PREFIX "$reql_write_hook_function$"               /* no flags */
MUST_USE Status closure_binary_write(const IndexSpec *spec, Buf *out); /* the name is no part of it */
/* False: it is none of ours. `ret_spec` gets no name; its function points into `binary` and is not
 * looked at (closure_load). */
bool closure_binary_read(Bytes binary, IndexSpec *ret_spec);

/* The same of RethinkDB 2.4's form, which its dumps hold: appends the saved form to `out`. ERR_CORRUPT if it is
 * anything else. (closure_import.c) */
MUST_USE Status closure_import(Bytes binary, Arena *arena, Buf *out, bool *ret_multi, bool *ret_geo);

#endif
