/* plan_int.h - what the planner's files share: conditions found in predicates, candidates, and the scan they become. */
#ifndef QUERY_PLAN_INT_H
#define QUERY_PLAN_INT_H

#include "query/env_int.h"
#include "query/plan.h"

/* --- plan_predicate.c: what a predicate says about fields of the row --- */
typedef enum PlanOp {
        PLAN_EQ,
        PLAN_LT,
        PLAN_LE,
        PLAN_GT,
        PLAN_GE,
        PLAN_CONTAINS,
        /* For changefeeds alone: no index is read by them. */
        PLAN_IN,     /* it equals an element of `value`, an array */
        PLAN_PREFIX, /* it is a string that begins with `value` */
} PlanOp;

/* `path` op `value` must hold of a row, or the predicate is false or misses a field. */
typedef struct PlanCondition {
        PlanOp op;
        IndexPath path;
        Value value;
        bool maps; /* a field of an array on the way is the array of its elements' fields: row("a")("b") */
} PlanCondition;

/* A part of an AND. The parts before a condition must not raise an error (other than a missing field's) for rows that
 * are left out on account of it: */
typedef enum PlanSafety {
        PLAN_SAFE,          /* never does for any row */
        PLAN_SAFE_WALK,     /* only if walking `path` does */
        PLAN_SAFE_ELEMENTS, /* only if walking `path` does, or what is there is no array */
        PLAN_UNSAFE,        /* nobody knows */
} PlanSafety;
typedef struct PlanConjunct {
        PlanSafety safety;
        IndexPath path;
        size_t first, count; /* its conditions */
        bool exact;          /* where all of them hold it is true; where one does not it is false or fails */
} PlanConjunct;

typedef struct PlanPredicate {
        PlanCondition *conditions;
        size_t condition_count, condition_capacity;
        PlanConjunct *conjuncts; /* in the order in which they are evaluated */
        size_t conjunct_count, conjunct_capacity;
        bool timeless; /* wanted: no condition is made of r.now() */
} PlanPredicate;

/* Adds what a filter's predicate says. `on_missing`: its option `default`. In env->arena. */
void plan_gather(Env *env, PlanPredicate *predicate, const Func *func, const Term *on_missing);

/* --- plan_index.c: what an index can do for a predicate --- */
/* Leaves of the values within `bounds` those that the condition allows; PLAN_EQ to PLAN_GE. */
void plan_narrow(KeyBounds *bounds, const PlanCondition *condition);
/* Bounds that leave nothing over become an empty range that every reader understands. */
void plan_tidy(KeyBounds *bounds);
typedef struct PlanCandidate {
        const IndexInfo *index; /* NULL: the primary key */
        KeyBounds bounds;
        Value prefix;        /* compound: what the bounds were made of: the first elements, as an array (else V_NONE) */
        KeyBounds next;      /* and those of the element behind them */
        bool narrows;        /* the scan goes by this index anyway */
        bool rest;           /* rows whose index values cannot be keys must be looked at, too, */
        bool rest_bounds;    /* but only those within the bounds */
        bool failed;         /* so must those of which the index's function failed */
        bool once;           /* an array may hold a value twice: its row is to come once */
        uint64_t rows;       /* exactly so many entries */
        const char *refused; /* why it cannot be used; NULL: it can */
} PlanCandidate;
/* Fills `ret` but for `rows`. */
void plan_candidate(Env *env, const PlanPredicate *predicate, const TableVal *table, const IndexInfo *index,
                    TableView *view, PlanCandidate *ret);

/* --- plan_scan.c --- */
Stream *plan_scan(Env *env, const Term *term, TableVal *table, const PlanCandidate *candidate);

/* --- plan_stats.c: of an index that is ready and not geospatial, in O(log n) --- */
typedef struct PlanIndexStats {
        uint64_t entries;
        uint64_t rest;   /* rows with a value that cannot be a key */
        double distinct; /* an estimate */
        Value min, max;  /* V_NONE: it is empty */
} PlanIndexStats;
Status plan_index_stats(Env *env, TableView *view, const IndexInfo *index, Arena *hold, PlanIndexStats *ret) MUST_USE;

#endif
