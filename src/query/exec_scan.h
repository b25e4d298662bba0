/* exec_scan.h - whole-table aggregations: filters, maps and an aggregation over the rows of a table (or a range of its
 * primary keys), run over columns and on several processors.
 *
 * Recognised from the streams that were built, when somebody consumes them; nothing of them is changed. The scan gives
 * up without a trace if anything unusual turns up (exec_compile.h), and the general path runs from the beginning: so
 * errors are always its errors. What a scan answers is what the general path would, to the last bit: sums are
 * exact, and what is reduced is so in the table's order, whoever computed it. */
#ifndef QUERY_EXEC_SCAN_H
#define QUERY_EXEC_SCAN_H

#include "base/exact_sum.h"
#include "query/group_int.h"

typedef struct ExecRequest {
        unsigned type;     /* TERM_COUNT, SUM, AVG, MIN, MAX, REDUCE; TERM_DISTINCT: the different rows as keys */
        const Func *func;  /* the aggregation's, or NULL */
        Func *const *keys; /* group's functions */
        size_t key_count;
        const Pending *pending; /* terms between group and the aggregation */
        bool any_count;         /* of groups: env->array_limit does not count */
} ExecRequest;

typedef struct ExecGroup {
        Value key;       /* with keys, or of DISTINCT */
        uint64_t count;  /* COUNT: rows; SUM, AVG: numbers */
        ExactSum *exact; /* SUM, AVG; NULL: nothing */
        double sum;      /* REDUCE to a number */
        bool has;        /* MIN, MAX, REDUCE: there was a row */
        Value row;
} ExecGroup;

/* *ret_done false: do it the general way. Otherwise the groups, in the order in which they came up (without keys: one),
 * in env->arena. Groups none of whose rows took part are among them. Fails only if the query is cancelled or over its
 * time. */
Status exec_scan(Env *env, const Stream *stream, const ExecRequest *request, ExecGroup **ret_groups, size_t *ret_count,
                 bool *ret_done) MUST_USE;

#endif
