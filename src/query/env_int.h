/* env_int.h - what query.c and the core files share beyond query_int.h. */
#ifndef QUERY_ENV_INT_H
#define QUERY_ENV_INT_H

#include "query/query_int.h"
#include "value/time.h"

#define MEMORY_MESSAGE                                                                                                 \
        "The query needs more than the %zu bytes of memory that a query may use. Ask for less at a time (pluck, "      \
        "filter, limit), or start the server with a larger `--query-memory`."

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
        FUNC_JS,        /* value: the source of a JavaScript function; outside.c */
} FuncKind;
struct Func {
        FuncKind kind;
        const Term *term; /* FUNC_TERM: the FUNC; else where it stands */
        Frame *frame;
        Value value;
        uint64_t timeout_ms; /* FUNC_JS */
};

/* What INFO shows of a function: what it captured, its parameters, its body as JavaScript. In the arena. */
Status func_source(Env *env, const Func *func, Bytes *ret_text) MUST_USE;
/* The name in r.db("constant"), NULL if `term` is anything else: looked at without evaluating, since finding the table
 * tells whether the database is there. */
const Term *constant_db(const Term *term);
/* The table as one whose rows name things by uuid (identifier_format). */
Status env_table_uuids(Env *env, TableVal *table, TableVal **ret) MUST_USE;
void env_done(Env *env); /* closes everything */
size_t env_memory(const Env *env);
Bytes message_cut(Env *env, Bytes text);
bool env_has_views(const Env *env, uint64_t mark); /* pinned since the mark: env_close_views */
/* What query_new was given. */
const QueryWorld *query_world(const Query *query);

/* Terms that are evaluated and compiled (exec_compile.h): what both have to mean the same by. */
/* a < b and the like, by the term's type, for an order as value_compare gives it. */
static inline bool compare_in_order(unsigned type, int order)
{
        switch (type) {
        case TERM_LT: return order < 0;
        case TERM_LE: return order <= 0;
        case TERM_GT: return order > 0;
        case TERM_GE: return order >= 0;
        default: return order == 0;
        }
}
/* What YEAR .. SECONDS take out of a time. (time_terms.c) */
TimePart time_part_of(unsigned type);

TermFn term_function(unsigned type); /* eval.c: what evaluates such terms */

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

/* sequence.c: a LIMIT of `*ret_source`, and how many rows it still lets through. */
bool stream_is_limit(const Stream *stream, Stream **ret_source, uint64_t *ret_left);

/* group.c */
Status groups_apply(Env *env, const Term *term, TermFn fn, Val *arg0, Val *ret) MUST_USE;
Value groups_datum(Env *env, const Groups *groups);    /* the $reql_type$ GROUPED_DATA object; made groups only */
Status groups_make(Env *env, Groups *groups) MUST_USE; /* runs a lazy one */
bool groups_lazy(const Groups *groups);
Status groups_array(Env *env, Groups *groups, Value *ret) MUST_USE; /* ungroup: [{group, reduction}] */

/* func(group's value, values[1..]) for each group. */
Status groups_call(Env *env, const Term *term, Groups *groups, const Func *func, Value *values, size_t count,
                   Val *ret) MUST_USE;

/* What is put over a stream, for who would rather do it himself (exec_scan.c). */
typedef enum RowStepKind { ROW_FILTER, ROW_MAP, ROW_GET_FIELD } RowStepKind;
typedef struct RowStep {
        RowStepKind kind;
        const Func *func;       /* FILTER, MAP */
        const Term *on_missing; /* FILTER: option `default`, or NULL */
        Bytes key;              /* GET_FIELD: rows without it are left out */
} RowStep;
bool row_step_of_sequence(RowFn fn, const void *ctx, RowStep *ret); /* sequence.c: filter, map */
bool row_step_of_object(RowFn fn, const void *ctx, RowStep *ret);   /* object.c: get_field, bracket */
/* stream.c: is it a table's, of which nothing has been read? A step over another stream? Steps over a table's? */
bool stream_is_scan(const Stream *stream, const TableVal **ret_table);
bool stream_is_step(const Stream *stream, const Stream **ret_source, RowStep *ret_step);
bool stream_has_scan(const Stream *stream);

/* index_scan.c */
static inline bool table_is_primary(const TableVal *table)
{
        return !table->has_index || bytes_equal(table->index, table->info->primary_key);
}
const IndexInfo *table_find_index(Env *env, const TableVal *table, Bytes name); /* NULL: there is none */
/* From now on `slice` goes by that index; whether it can, table_check_index tells. */
void table_use_index(Env *env, TableVal *slice, Bytes name);
/* "Index `x` was not found on table `db.t`.", or it is a geospatial one. Without a place: see index_scan.c. */
Status table_check_index(Env *env, const TableVal *table) MUST_USE;
Status fail_no_index(Env *env, const Term *at, const TableVal *table, Bytes name) MUST_USE;
/* "Secondary keys must be ..." */
Status check_secondary_key(Env *env, const Term *at, Value key) MUST_USE;
/* A slice's rows in its order, and how many there are. Errors of the primary key stand at `at`. */
Status table_scan_open(Env *env, const Term *at, const TableVal *table, TableScan **ret_scan) MUST_USE;
Status table_count_rows(Env *env, const Term *at, const TableVal *table, uint64_t *ret_count) MUST_USE;
/* Of a slice by a secondary index: [row, index value] for each of its entries; the different index values in order. */
Stream *stream_of_index_pairs(Env *env, const Term *term, const TableVal *table);
Stream *stream_of_index_values(Env *env, const Term *term, const TableVal *table);

/* sort.c: an array, or a stream if it is longer than arrays may be; `table`: its rows are rows of it (NULL: of none) */
Status sorted_result(Env *env, const Term *term, TableVal *table, Value rows, Val *ret) MUST_USE;
/* If `term` takes no more than the first rows of its first argument, as many as a constant says, and that is an
 * ORDER_BY (or a part of what it gives), then no more than those are sorted. Called before the argument is evaluated.
 */
void sort_first_rows(Env *env, const Term *term);

/* union.c */
Status term_union(Env *env, const Term *term, Val *ret) MUST_USE;

/* table_terms.c */
/* A GET term without reading: its table and key. For terms that write the row. */
Status get_unread(Env *env, const Term *term, Val *ret) MUST_USE;
/* A get_all of which nothing has been read? Its slice says by which index. */
bool stream_is_get_all(const Stream *stream, const TableVal **ret_table, const Value **ret_keys, size_t *ret_count);
/* Option `index`: its name, data NULL if it is absent. */
Status opt_index(Env *env, const Term *term, Bytes *ret_index) MUST_USE;
const Term *slice_origin(const Term *term);
/* A slice of `slice` that goes by `index`. That must be the one which it is already bound to or ordered by: "Cannot
 * `what` index `x` after `after` index `y`." */
Status slice_with_index(Env *env, const Val *slice, Bytes index, const char *what, const char *after,
                        TableVal **ret) MUST_USE;

#endif
