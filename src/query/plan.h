/* plan.h - the choices that nobody asked for: which index a filter reads by.
 *
 * A filter over a table, or over a slice of one by its primary key, may read fewer rows than all of them: those that an
 * index finds for conditions of the predicate, and those of which the index cannot tell. The predicate is then asked as
 * ever, so a choice changes neither rows nor errors, but where RethinkDB promises no order, the order. What may be used
 * and why: README.md, "The planner". Off without env->planning. */
#ifndef QUERY_PLAN_H
#define QUERY_PLAN_H

#include "query/query_int.h"

/* What the filters over one table scan are known to want; made by the first of them. */
typedef struct Plan Plan;

/* A filter with predicate `func` and option `default` (NULL: absent) is about to be put over `source`. `plan` is that
 * of the filters already over the same scan, NULL if it is the first. Returns the plan that the filter is to remember
 * (NULL: there is nothing to choose); *ret_scan is what to read instead of the scan at the bottom, or NULL: what was
 * read before. Never fails: what goes wrong on the way will go wrong again, in its place, when rows are read. */
Plan *plan_filter(Env *env, Plan *plan, Stream *source, const Func *func, const Term *on_missing, Stream **ret_scan);

#endif
