/* plan_explain.h - what a query would do, or did, for the global option `explain` (docs/plans.md).
 *
 * While env->explain is set the planner notes what it looked at, by the term of each scan; env->trace measures. Without
 * it noting costs a test. */
#ifndef QUERY_PLAN_EXPLAIN_H
#define QUERY_PLAN_EXPLAIN_H

#include "query/plan_int.h"

typedef struct Explain Explain;

/* Of `changes` on `term`: for each feed {table, conditions, exact, text}; does it remember something (FeedState)?
 * (changes_explain.c) */
Status changes_explain(Env *env, const Term *term, Value *ret_feeds, bool *ret_remembers) MUST_USE;

/* In env->query_arena; sets env->explain. */
void explain_start(Env *env);
/* Evaluates `root`, all of it (`run`) or only what reads nothing yet, and tells about it: {plan: [operator], text}. */
Status explain_query(Env *env, const Term *root, bool run, Value *ret) MUST_USE;

/* As text in env->query_arena: compact, with words for the ends of everything. */
const char *explain_value_text(Env *env, Value v);
const char *explain_bounds_text(Env *env, const KeyBounds *bounds);

/* --- for the planner --- */
/* A choice for the scan of `term` begins: `rows` are in it. */
void explain_scan_slow(Env *env, const Term *term, const TableVal *table, uint64_t rows);
void explain_candidate_slow(Env *env, const Term *term, const PlanCandidate *candidate, bool better);
/* NULL: it is read as the query says. */
void explain_chosen_slow(Env *env, const Term *term, const PlanCandidate *candidate, uint64_t rows);

/* --- for exec_scan.c --- */
/* Whether rows that it passes over are no loss: `explain` measures what is really done. */
bool explain_measures(const Env *env);
/* All from `term` down to the table was done in one pass over columns. */
void explain_compiled(Env *env, const Term *term);

static inline void explain_scan(Env *env, const Term *term, const TableVal *table, uint64_t rows)
{
        if (unlikely(env->explain != NULL))
                explain_scan_slow(env, term, table, rows);
}
static inline void explain_candidate(Env *env, const Term *term, const PlanCandidate *candidate, bool better)
{
        if (unlikely(env->explain != NULL))
                explain_candidate_slow(env, term, candidate, better);
}
static inline void explain_chosen(Env *env, const Term *term, const PlanCandidate *candidate, uint64_t rows)
{
        if (unlikely(env->explain != NULL))
                explain_chosen_slow(env, term, candidate, rows);
}

#endif
