/* profile.h - what a query spent its time on, for the option `profile`, in RethinkDB's shape:
 *
 *      {description, duration(ms), sub_tasks: [...]}        a term that was evaluated, or a read
 *      {description, mean_duration(ms), n_samples}          what happened many times: rows, batches
 *
 * Off (env->trace NULL) it costs a test per term. At most TRACE_MAX_TASKS are told of, what comes later is part of what
 * is around it. */
#ifndef QUERY_PROFILE_H
#define QUERY_PROFILE_H

#include "query/query_int.h"

#define TRACE_MAX_TASKS 1000

typedef struct TraceTask TraceTask;
typedef enum TraceKind { TRACE_TERM, TRACE_READ, TRACE_ROWS, TRACE_BATCHES, TRACE_SPILL, TRACE_NOTE } TraceKind;

/* In env->query_arena; sets env->trace. */
void trace_start(Env *env);
/* Forgets all tasks: the next batch begins. */
void trace_restart(Env *env);
/* Begins a task of the running one; NULL if there is no trace or no room. Rows and batches are added up. */
TraceTask *trace_begin_slow(Env *env, TraceKind kind, const Term *term);
void trace_end_slow(Env *env, TraceTask *task);
/* The running task stands for `rows` of them and not for one. NULL is fine. */
void trace_count(TraceTask *task, uint64_t rows);
static inline TraceTask *trace_begin(Env *env, TraceKind kind, const Term *term)
{
        return unlikely(env->trace != NULL) ? trace_begin_slow(env, kind, term) : NULL;
}
static inline void trace_end(Env *env, TraceTask *task)
{
        if (unlikely(task != NULL))
                trace_end_slow(env, task);
}
/* The running task gave so many rows. NULL is fine. */
void trace_rows(TraceTask *task, uint64_t rows);
/* A task that took no time: what the planner chose. Does nothing without a trace. */
void trace_note(Env *env, const Term *term, Bytes text);
/* What all tasks of a term took; false if there was none. *ret_streamed: they gave rows, so many. */
bool trace_of_term(const struct Trace *trace, const Term *term, bool *ret_streamed, uint64_t *ret_rows,
                   int64_t *ret_ns);
/* Appends the tasks as a JSON array. */
Status trace_write(const struct Trace *trace, Buf *out) MUST_USE;

#endif
