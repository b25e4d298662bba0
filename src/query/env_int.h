/* env_int.h - what query.c and the core files share beyond query_int.h. */
#ifndef QUERY_ENV_INT_H
#define QUERY_ENV_INT_H

#include "query/query_int.h"

struct Frame { /* the arguments of one call */
        Frame *outer;
        const Value *values;
        size_t count;
};

typedef enum FuncKind {
        FUNC_TERM,      /* a FUNC term and the frame it was made in */
        FUNC_CONSTANT,  /* value */
        FUNC_GET_FIELD, /* row[value] */
        FUNC_PLUCK,     /* row.pluck(value) */
        FUNC_EQUALS,    /* row == value */
} FuncKind;
struct Func {
        FuncKind kind;
        const Term *term; /* FUNC_TERM: the FUNC; else where it stands */
        Frame *frame;
        Value value;
};

/* The name in r.db("constant"), NULL if `term` is anything else: looked at without evaluating, since finding the table
 * tells whether the database is there. */
const Term *constant_db(const Term *term);
/* The table as one whose rows name things by uuid (identifier_format). */
Status env_table_uuids(Env *env, TableVal *table, TableVal **ret) MUST_USE;
void env_done(Env *env); /* closes everything */
size_t env_memory(const Env *env);
Bytes message_cut(Env *env, Bytes text);

/* batch.c */
typedef enum SourceKind { SOURCE_EAGER, SOURCE_RANGE, SOURCE_TABLE } SourceKind;
typedef struct BatchLimits {
        size_t min_rows, max_rows, max_bytes;
        int64_t deadline_ns;
} BatchLimits;
Status batch_options(Env *env) MUST_USE; /* reads the query's options */
void batch_start(Env *env, BatchKind kind);
BatchLimits batch_limits(const Env *env, SourceKind kind, size_t want);
typedef struct Batcher {
        BatchLimits limits;
        size_t rows, bytes;
        uint32_t tick;
} Batcher;
static inline Batcher batcher_start(const Env *env, SourceKind kind, size_t want)
{
        return (Batcher){.limits = batch_limits(env, kind, want)};
}
/* Notes a row; true if the batch is full. */
bool batcher_add(Batcher *batcher, const Env *env, Value row);

/* group.c */
Status groups_apply(Env *env, const Term *term, TermFn fn, Val *arg0, Val *ret) MUST_USE;
Value groups_datum(Env *env, const Groups *groups);    /* the $reql_type$ GROUPED_DATA object; made groups only */
Status groups_make(Env *env, Groups *groups) MUST_USE; /* runs a lazy one */
bool groups_lazy(const Groups *groups);
Status groups_array(Env *env, Groups *groups, Value *ret) MUST_USE; /* ungroup: [{group, reduction}] */

/* func(group's value, values[1..]) for each group. */
Status groups_call(Env *env, const Term *term, Groups *groups, const Func *func, Value *values, size_t count,
                   Val *ret) MUST_USE;

/* sort.c: an array, or a stream if it is longer than arrays may be; `table`: its rows are rows of it (NULL: of none) */
Status sorted_result(Env *env, const Term *term, TableVal *table, Value rows, Val *ret) MUST_USE;

/* union.c */
Status term_union(Env *env, const Term *term, Val *ret) MUST_USE;

/* table_terms.c */
/* A GET term without reading: its table and key. For terms that write the row. */
Status get_unread(Env *env, const Term *term, Val *ret) MUST_USE;
Status check_index(Env *env, const Term *term, const TableVal *table, Bytes index) MUST_USE;
/* Option `index`: checked, *ret_present. */
Status opt_index(Env *env, const Term *term, const TableVal *table, bool *ret_present) MUST_USE;
const Term *slice_origin(const Term *term);
/* An index must be the one that the slice is already bound to or ordered by: "Cannot `what` index `x` after `after`
 * index `y`." */
Status check_slice_index(Env *env, const Term *term, const Val *slice, Bytes index, const char *what,
                         const char *after) MUST_USE;

#endif
