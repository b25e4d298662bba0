/* query_int.h - inside the query layer: the environment, runtime values, streams and the term functions.
 *
 * Evaluation walks the checked tree: eval(env, term) calls the term's function, which evaluates its arguments through
 * Args.
 *
 * Memory. env->arena is where evaluation allocates now. Three lifetimes, chosen by the caller who swaps env->arena:
 *   the query's arena     AST, tables, what must live until the query ends; never rewound
 *   an evaluation's       values, functions and streams made at the top; a batch's rows on their way out
 *   an operator's own     what concat_map, union, fold ... keep between batches; taken with scratch_get or stream_arena
 * A value is valid until its arena is rewound. A stream never keeps a value from an earlier stream_next() unless it
 * copied it (value_copy) or had its source allocate in an arena of its own. Per-row temporaries: ArenaMark around the
 * row, EnvMark too if a stream may have been made. arena_alloc does not return on exhaustion: it longjmps to
 * query_next(), so term functions hold no heap objects or locks across an allocation or evaluation except those
 * registered with env_defer().
 *
 * Errors. A term function returns fail(env, term, code, ...): that records the backtrace's term and makes the Status.
 */
#ifndef QUERY_QUERY_INT_H
#define QUERY_QUERY_INT_H

#include <stdatomic.h>

#include "query/query.h"

typedef struct Env Env;
typedef struct Val Val;
typedef struct Stream Stream;
typedef struct Frame Frame;
typedef struct Func Func;

/* --- environment: one per query --- */
typedef struct Deferred Deferred; /* something to close at the end: env_defer */
typedef struct OpenTable OpenTable;
typedef struct RetiredView RetiredView;
typedef struct Scratch Scratch;
typedef struct OpenFlow OpenFlow;

typedef enum TransactionUse { /* transaction.h */
                              TRANSACTION_NONE,
                              TRANSACTION_OWN,  /* the query is one */
                              TRANSACTION_HELD, /* it belongs to one that its client holds */
} TransactionUse;

typedef enum BatchKind {
        BATCH_TERMINAL, /* somebody inside consumes it all: no time limit */
        BATCH_FIRST,    /* on its way to the client, the smaller first one */
        BATCH_NORMAL,
} BatchKind;

struct Env {
        Arena *arena;       /* allocate here now */
        Arena *query_arena; /* lives as long as the query */
        const Query *query; /* NULL: a closure's */
        const QueryWorld *world;
        const TableSource *source;
        Frame *frame;         /* variables of the innermost running function */
        const Term *error_at; /* set by fail(): whose backtrace the present error has */
        const Term *current;  /* the term whose function is running */
        atomic_bool *cancelled;
        unsigned depth;     /* nested eval() and stream_next() calls, bounded by EVAL_MAX_DEPTH */
        uint32_t polls;     /* calls of env_poll, for looking at the memory of all arenas now and then */
        uint32_t max_polls; /* 0: as many as it takes; for functions that are run inside others' writes */
        uint32_t tick;      /* for cheap polling of `cancelled` */
        bool literal_ok;    /* r.literal may stand here: see eval_literal() */
        bool literal_next;  /* set by eval_literal() for the eval() that follows */
        bool drops_missing; /* who called drops a NON_EXISTENCE error unread: fail_no_attribute() prints no object */
        bool empty_error;   /* the present error is r.error() without a message (only default and filter care) */
        size_t array_limit;
        int64_t now_us;   /* r.now(): one moment for the whole query */
        Bytes default_db; /* env_default_db(); data NULL: not looked at yet */
        const char *user;
        bool planning;                 /* plan.h: option `plan`, `--no-planner`; false in closures */
        bool permits_all;              /* `admin`, or a source that knows no permissions: env_permit */
        Durability default_durability; /* global optarg durability */
        uint64_t durable_position;     /* raised by hard writes */
        Transaction *transaction;      /* that everything is read and written in; NULL: none */
        TransactionUse transaction_use;
        TransactionOptions transaction_options;
        Bytes transaction_id;                /* TRANSACTION_HELD; data NULL: the connection's */
        QueryConnection *connection;         /* NULL: the query comes from none */
        Deferred *deferred, *free_deferred;  /* newest first */
        uint64_t deferred_serial;            /* how many there ever were */
        const void *owner;                   /* whose the next deferred ones are: env_close_owned */
        OpenTable *tables;                   /* every table used, with its pinned view */
        RetiredView *retired, *free_retired; /* views of tables written to since */
        size_t retired_count;
        uint64_t view_serial;  /* how many views were ever pinned */
        Scratch *scratches;    /* all arenas of scratch_get, in use or not */
        const OptArg *globals; /* global optargs, as terms */
        size_t global_count;
        const Term *injected_term; /* args_begin: argument 0 of this term is `injected` */
        Val *injected;
        /* batching options of the query (RethinkDB's names) */
        size_t min_batch_rows, max_batch_rows, max_batch_bytes, first_batch_scaledown;
        double max_batch_seconds;
        /* the batch being made */
        BatchKind batch_kind;
        int64_t batch_deadline_ns; /* mono_ns; INT64_MAX: none */
        uint64_t random_state[4];  /* sample, random: seeded on first use (env_random) */
        bool random_seeded;
        const char *stack_end;        /* evaluation goes no deeper down the C stack; NULL: nobody looks */
        int64_t deadline_ns;          /* mono_ns: the query ends with an error; 0: none */
        struct Trace *trace;          /* profile.h; NULL: off */
        struct Explain *explain;      /* plan_explain.h: what the planner looked at; NULL: nobody asks */
        atomic_ullong *spilled_bytes; /* into temporary files; NULL: nobody counts */
        const Term *top_term;         /* sort.c: the ORDER_BY of which only the first `top_rows` are wanted */
        uint64_t top_rows;
        const Term *ungrouped_term;   /* group.c: the aggregation of groups which is ungrouped at once */
        uint64_t writes;              /* how many writes there were: what was read before may be out of date */
        struct RegexCache *regexes;   /* string.c: the query's compiled expressions */
        struct OutsideState *outside; /* outside.c: NULL until the query goes outside */
        struct ExecCache *programs;   /* exec_compile.c: the query's compiled functions; NULL until there is one */
        size_t kept_bytes;            /* of feeds that remember something: changes_state.c */
        uint32_t calls;               /* of functions: what is called often is compiled */
        OpenFlow *flows;              /* changes_stream.c: the query's changefeeds; NULL: it is none */
        bool feed_waits;  /* the batch is empty because a changefeed has nothing now: pull no more, nobody waits here */
        bool feed_pauses; /* changefeeds give nothing: is there anything left of what they gave before? */
};
#define EVAL_MAX_DEPTH 1000

/* How much of the C stack is left: a term's frame is small, so a look at each is enough. */
static inline bool env_stack_low(const Env *env)
{
        return (const char *)__builtin_frame_address(0) < env->stack_end;
}

/* Records `at` for the backtrace and makes the error. */
Status fail(Env *env, const Term *at, StatusCode code, const char *format, ...) PRINTF_LIKE(4, 5) MUST_USE
        __attribute__((returns_nonnull));
/* Gives `st` (from a lower layer, without a place) the place `at`; st may be NULL. */
Status fail_at(Env *env, const Term *at, Status st) MUST_USE;
/* ERR_CANCELLED if the query is to end; call it in every loop that can be long. */
Status env_poll(Env *env) MUST_USE;
/* Runs close(what) when the query ends (also on longjmp), newest first. env_undefer runs it now. */
Deferred *env_defer(Env *env, void (*close)(void *what), void *what);
void env_undefer(Env *env, Deferred *deferred);
/* The same for what outlives streams and rows: no env_unwind runs it. */
void env_defer_to_end(Env *env, void (*close)(void *what), void *what);
/* Closes what was deferred since the mark: around a row whose result holds no stream. */
typedef struct EnvMark {
        uint64_t serial;
} EnvMark;
static inline EnvMark env_mark(Env *env)
{
        return (EnvMark){env->deferred_serial};
}
void env_unwind_slow(Env *env, EnvMark mark);
static inline void env_unwind(Env *env, EnvMark mark)
{
        if (unlikely(env->deferred_serial != mark.serial))
                env_unwind_slow(env, mark);
}
bool env_is_unwound(const Env *env, EnvMark mark); /* nothing is open that was deferred since */
/* Closes what was deferred while env->owner was `owner`: for streams kept inside a stream, whose lives overlap others'.
 */
void env_close_owned(Env *env, const void *owner);
/* The database of global option `db` (or "test"): evaluated when a term needs it and not before, since drivers also
 * send options that would be refused. */
Status env_default_db(Env *env, Bytes *ret_db) MUST_USE;
/* The query's view of a table: one pinned view per table and query, renewed after the query itself wrote to the table.
 */
Status env_view(Env *env, TableRef *table, TableView **ret_view) MUST_USE;
void env_wrote(Env *env, TableRef *table); /* the next env_view pins anew */
void env_retire_views(Env *env);           /* so for all tables */
/* Closes the views pinned since the mark (an earlier env->view_serial): between two rows of for_each, when nothing that
 * was read in the first is in use any more. Without it a loop of reads and writes would keep a snapshot per row. */
void env_close_views(Env *env, uint64_t mark);
/* Finds a table by name; it stays until the query ends. Errors are the source's, without a place. */
typedef struct TableVal TableVal;
Status env_table(Env *env, Bytes db, Bytes name, TableVal **ret) MUST_USE;
void env_forget_table(Env *env, const TableVal *table); /* env_table finds it anew: the query changed its settings */
/* What the query's user may do: asked here and nowhere else. Free for `admin`. An error is ERR_PERMISSION, without a
 * place. env_view asks for reading; whoever writes or configures asks before the source is told to. `db` or `table`
 * data NULL: on the level above; names that do not exist are no error here. */
Status env_permit_slow(Env *env, unsigned what, Bytes db, Bytes table) MUST_USE;
Status env_permit_table_slow(Env *env, TableRef *table, unsigned what) MUST_USE;
static inline MUST_USE Status env_permit(Env *env, unsigned what, Bytes db, Bytes table)
{
        return likely(env->permits_all) ? ST_OK : env_permit_slow(env, what, db, table);
}
static inline MUST_USE Status env_permit_table(Env *env, TableRef *table, unsigned what)
{
        return likely(env->permits_all) ? ST_OK : env_permit_table_slow(env, table, what);
}
/* Before a further batch: may all that is open still be read? */
Status env_permit_again(Env *env) MUST_USE;
/* Uniform random bits. */
Status env_random(Env *env, uint64_t *ret) MUST_USE;
/* An arena of its own, with the query's budget; put back by scratch_put, or at the end of the query. */
struct Scratch {
        Arena arena;
        bool in_use;
        Scratch *next;
        Env *env;
        uint64_t serial; /* env->deferred_serial when it was taken */
};
Scratch *scratch_get(Env *env);
void scratch_put(Scratch *scratch); /* NULL is fine */
static inline void scratch_putp(Scratch **scratch)
{
        scratch_put(*scratch);
        *scratch = NULL;
}
/* A scratch that is put back when the query ends or the stream made around it is unwound (env_defer). */
Arena *stream_arena(Env *env);

/* --- runtime values --- */
typedef enum ValKind {
        VAL_NONE = 0,
        VAL_DATUM,           /* datum */
        VAL_ROW,             /* SINGLE_SELECTION: a row (or null) of a table: datum + table + key */
        VAL_STREAM,          /* STREAM; with stream->table set it is SELECTION<STREAM> */
        VAL_ARRAY_SELECTION, /* SELECTION<ARRAY>: datum array of rows + table */
        VAL_TABLE,           /* TABLE */
        VAL_TABLE_SLICE,     /* TABLE_SLICE: table + bounds and/or index order */
        VAL_DB,
        VAL_FUNC,
        VAL_GROUPED, /* GROUPED_STREAM (lazy) or GROUPED_DATA */
} ValKind;
struct TableVal {      /* what TABLE, TABLE_SLICE and selections stand on */
        TableRef *ref; /* kept by the env until the query ends */
        const TableInfo *info;
        bool has_bounds;
        bool has_index;             /* an order or bounds named `index`, or the primary key without naming it */
        Bytes index;                /* may be the primary key's name */
        const IndexInfo *secondary; /* NULL: the primary key, or there is no index of that name */
        KeyBounds bounds;
        int order; /* 0 none, 1 ascending, -1 descending by the index */
};
typedef struct Groups Groups; /* group.c */
struct Val {
        ValKind kind;
        const Term *term; /* who made it: the place of type errors */
        union {
                struct {
                        Value datum;     /* VAL_DATUM, VAL_ROW, VAL_ARRAY_SELECTION */
                        TableVal *table; /* VAL_ROW, VAL_ARRAY_SELECTION, VAL_TABLE, VAL_TABLE_SLICE */
                        Value key;       /* VAL_ROW: its primary key */
                };
                Stream *stream;
                Func *func;
                Bytes db;
                Groups *groups;
        };
};
static inline Val val_datum(const Term *term, Value v)
{
        return (Val){.kind = VAL_DATUM, .term = term, .datum = v};
}
/* For streams that are no arrays: val_of_stream() is what most terms want. */
static inline Val val_stream(const Term *term, Stream *s)
{
        return (Val){.kind = VAL_STREAM, .term = term, .stream = s};
}
/* "Some streams are arrays in disguise": a stream with is_array is run now and becomes a datum (or a SELECTION<ARRAY>).
 */
Status val_of_stream(Env *env, const Term *term, Stream *stream, Val *ret) MUST_USE;
/* As r.typeOf() says: "STREAM", "SELECTION<STREAM>", "TABLE", "DB", "FUNCTION", "GROUPED_DATA" ..., or the datum's
 * type. */
const char *val_type_name(const Val *val);
/* As type errors say: "DATUM", "SEQUENCE", "SELECTION", "SINGLE_SELECTION", "TABLE_SLICE", "DATABASE" ... */
const char *val_kind_name(const Val *val);
/* As type errors print it after the colon: `table("x")`, pretty JSON ... Cut (with "...") if asked. */
Bytes val_print(Env *env, const Val *val, bool cut);

/* Conversions with RethinkDB's errors, placed at val->term. "Expected type DATUM but found TABLE:\ntable("x")". A
 * stream is no datum: use val_to_array. */
Status val_as_datum(Env *env, const Val *val, Value *ret) MUST_USE;
Status val_as_number(Env *env, const Val *val, double *ret) MUST_USE;
Status val_as_int(Env *env, const Val *val, int64_t *ret) MUST_USE;   /* "Number not an integer: 1.5" ... */
Status val_as_int32(Env *env, const Val *val, int32_t *ret) MUST_USE; /* "Integer too large: 2147483648" */
Status val_as_string(Env *env, const Val *val, Bytes *ret) MUST_USE;
Status val_as_bool(Env *env, const Val *val, bool *ret) MUST_USE; /* truthiness, as RethinkDB's as_bool */
Status val_as_object(Env *env, const Val *val, Value *ret) MUST_USE;
Status val_as_array(Env *env, const Val *val, Value *ret) MUST_USE;
Status val_as_func(Env *env, const Val *val, Func **ret) MUST_USE; /* only real functions */
/* Anything that is a sequence; "Cannot convert STRING to SEQUENCE" is placed at env->current. */
Status val_as_stream(Env *env, const Val *val, Stream **ret) MUST_USE;
Status val_as_table(Env *env, const Val *val, TableVal **ret) MUST_USE;
Status val_as_table_slice(Env *env, const Val *val, TableVal **ret) MUST_USE;
/* TABLE, TABLE_SLICE, SELECTION<...>: its table and rows; "Expected type SELECTION but found DATUM:\n..." */
Status val_as_selection(Env *env, const Val *val, TableVal **ret_table, Stream **ret_stream) MUST_USE;
/* "Expected type SINGLE_SELECTION but found DATUM:\n..." */
Status val_as_row(Env *env, const Val *val) MUST_USE;
Status val_as_db(Env *env, const Val *val, Bytes *ret) MUST_USE;
bool val_is_sequence(const Val *val);  /* a stream, table, selection or array datum */
bool val_is_selection(const Val *val); /* TABLE, TABLE_SLICE, SELECTION<STREAM> or SELECTION<ARRAY> */
static inline bool val_is_datum(const Val *val)
{
        return val->kind == VAL_DATUM || val->kind == VAL_ROW;
}
/* Datums as they are, sequences as arrays (array_limit), groups as an array of {group, reduction}. */
Status val_to_array(Env *env, const Val *val, Value *ret) MUST_USE;
/* A row of `table` as SINGLE_SELECTION. */
Val val_row(const Term *term, TableVal *table, Value row);
/* Type check of a datum: fails at `at` with "Expected type X but found Y." (NON_EXISTENCE if it is null). */
Status expect_type(Env *env, const Term *at, Value v, ValueType type) MUST_USE;
/* The value as an integer; fails at `at`. */
Status expect_int(Env *env, const Term *at, Value v, int64_t *ret) MUST_USE;
/* ERR_RESOURCE "Array over size limit ..." at `at` if count is above env->array_limit. */
Status check_array_size(Env *env, const Term *at, size_t count) MUST_USE;
/* ERR_RESOURCE at `at` if v is nested deeper than values may be. For whoever builds containers around values. */
Status check_depth(Env *env, const Term *at, Value v) MUST_USE;

/* --- evaluation --- */
Status eval(Env *env, const Term *term, Val *ret) MUST_USE;
Status eval_datum(Env *env, const Term *term, Value *ret) MUST_USE;
/* r.literal is legal in the term (and in the objects it makes): arguments of merge and update. */
Status eval_literal(Env *env, const Term *term, Val *ret) MUST_USE;

/* The arguments of a term, r.args spliced in. Evaluates lazily: an argument is evaluated when asked for, each time it
 * is asked for (argument 0 only once if eval() had to look at it for groups). */
typedef struct Args {
        Env *env;
        const Term *term;
        size_t count;       /* after splicing */
        const Term **terms; /* for spliced values: constant terms */
        bool has_arg0;
        Val arg0;
} Args;
Status args_begin(Env *env, const Term *term, Args *ret) MUST_USE; /* checks arity again after splicing */
/* Evaluates argument 0 now, to be found by args_val later: RethinkDB evaluates it before any option. */
Status args_first(Args *args) MUST_USE;
Status args_val(Args *args, size_t i, Val *ret) MUST_USE;
Status args_val_literal(Args *args, size_t i, Val *ret) MUST_USE; /* with eval_literal */
Status args_datum(Args *args, size_t i, Value *ret) MUST_USE;
Status args_number(Args *args, size_t i, double *ret) MUST_USE;
Status args_int(Args *args, size_t i, int64_t *ret) MUST_USE;
Status args_int32(Args *args, size_t i, int32_t *ret) MUST_USE;
Status args_string(Args *args, size_t i, Bytes *ret) MUST_USE;
Status args_stream(Args *args, size_t i, Stream **ret) MUST_USE;
/* An argument as function: a FUNC term, or a constant: how it is coerced is `shortcut`'s choice. */
typedef enum FuncShortcut { SHORTCUT_NONE, SHORTCUT_CONSTANT, SHORTCUT_GET_FIELD, SHORTCUT_PLUCK } FuncShortcut;
Status args_func(Args *args, size_t i, FuncShortcut shortcut, Func **ret) MUST_USE;
Status val_to_func(Env *env, const Val *val, FuncShortcut shortcut, Func **ret) MUST_USE;
/* The term's option, or the query's global option of that name. */
Status opt_val(Env *env, const Term *term, const char *name, Val *ret, bool *ret_present) MUST_USE;
Status opt_datum(Env *env, const Term *term, const char *name, Value *ret) MUST_USE; /* V_NONE if absent */
/* "left_bound"/"right_bound": "Expected `open` or `closed` for optarg `left_bound` (got `x`)." */
Status opt_bound_open(Env *env, const Term *term, const char *name, bool open_by_default, bool *ret_open) MUST_USE;

/* --- functions --- */
/* The result may be a stream that refers to the arguments: they live as long as env->arena. */
Status func_call(Env *env, const Func *func, const Value *args, size_t count, Val *ret) MUST_USE;
Status func_call_datum(Env *env, const Func *func, const Value *args, size_t count, Value *ret) MUST_USE;
/* As a filter's predicate: object shortcuts match field by field; a NON_EXISTENCE error gives *ret = default_on_error.
 */
Status func_filter(Env *env, const Func *func, Value row, bool default_on_missing, bool *ret) MUST_USE;
/* The same without catching anything. */
Status func_matches(Env *env, const Func *func, Value row, bool *ret) MUST_USE;
const Term *func_term(const Func *func); /* where it stands */
bool func_is_deterministic(const Func *func);
/* Number of parameters; -1 if it takes any number (shortcuts). */
int func_arity(const Func *func);
/* x -> x == value */
Func *func_equals(Env *env, const Term *at, Value value);
/* Runs after an error: is it a NON_EXISTENCE (then it is freed and *st cleared)? */
bool status_missing(Status *st);

/* --- streams --- */
typedef struct ValueVec { /* a batch; grows in the arena it was given rows from */
        Value *items;
        size_t count, capacity;
} ValueVec;
void vec_add(ValueVec *vec, Arena *arena, Value v);
typedef struct StreamOps {
        /* Appends up to about `want` rows to `batch`, allocated in `out` (env->arena is set to it meanwhile); *ret_end
         * when there are no more. May append none without being at the end. */
        Status (*next)(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end);
        /* Optional: passes over rows without making them; *ret_skipped less than n only at the end. */
        Status (*skip)(Stream *stream, Env *env, uint64_t n, uint64_t *ret_skipped);
        /* Optional: how many rows are left, without making them; *ret_known false if it cannot say. */
        Status (*count)(Stream *stream, Env *env, uint64_t *ret_count, bool *ret_known);
} StreamOps;
struct Stream {
        const StreamOps *ops;
        const Term *term;
        TableVal *table;      /* rows are rows of this table: a selection; else NULL */
        bool ordered;         /* the order means something (table scans without index do not) */
        bool is_array;        /* came from an array datum: results of transforms are arrays again */
        const Term *infinite; /* it has no end, and who is to blame: range() without bounds; else NULL */
        bool done;
};
/* `want` is at least 1. Never called again after *ret_end. */
Status stream_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end) MUST_USE;
#define STREAM_CHUNK 256 /* a good `want` for consumers inside */
/* Skips up to n rows. */
Status stream_skip(Stream *stream, Env *env, uint64_t n, uint64_t *ret_skipped) MUST_USE;
/* All rows as an array in `out`; ERR_RESOURCE "Array over size limit `100000`. ..." beyond env->array_limit, at
 * env->current. */
Status stream_to_array(Stream *stream, Env *env, Arena *out, Value *ret) MUST_USE;
/* One row after the other with a scratch arena that is rewound after each batch. *ret_stop from `each` ends it. */
Status stream_each(Stream *stream, Env *env, Status (*each)(void *ctx, Env *env, Value row, bool *ret_stop),
                   void *ctx) MUST_USE;
#define FEED_TERMINAL_MESSAGE                                                                                          \
        "Cannot call a terminal (`reduce`, `count`, etc.) on an infinite stream (such as a changefeed)."
/* Fails if the stream has no end: before consuming all of it. */
Status stream_check_finite(Stream *stream, Env *env) MUST_USE;
Stream *stream_of_array(Env *env, const Term *term, Value array);
Stream *stream_of_table(Env *env, const Term *term, TableVal *table);
/* What a stream_of_table goes over that nobody has read of yet; NULL for any other stream. */
TableVal *stream_whole_scan(Stream *stream);
/* A stream that gives, for each row of `source`, what fn adds to `out` (with vec_add(out, env->arena, v)): map, filter,
 * pluck ... Keeps is_array and infinite; a selection only if `keeps_rows` (fn adds the row itself or nothing). */
typedef Status (*RowFn)(void *ctx, Env *env, Value row, ValueVec *out);
Stream *stream_transform(Env *env, const Term *term, Stream *source, RowFn fn, void *ctx, bool keeps_rows);
/* The ctx and the place of the source of a stream_transform by `fn`; NULL for any other stream. */
void *stream_transform_of(Stream *stream, RowFn fn, Stream ***ret_source);

/* --- helpers of the scalar terms, for all --- */
/* A new object: pseudo-types are recognised and checked, a stray LITERAL refused. (object.c) */
Status object_finish(Env *env, const Term *at, Value object, Value *ret) MUST_USE;
/* `left` with the fields of `right`, recursively, doing what LITERALs ask for: merge and update. (object.c) */
Status object_merge(Env *env, const Term *at, Value left, Value right, Value *ret) MUST_USE;
/* Compact JSON as an arena string; fails at `at` for MINVAL and MAXVAL. (string.c) */
Status json_of(Env *env, const Term *at, Value v, Bytes *ret) MUST_USE;

/* --- the term functions: each file of terms exports one list, eval.c gathers them --- */
typedef Status (*TermFn)(Env *env, const Term *term, Val *ret);
typedef struct TermEval {
        unsigned type; /* TermType */
        TermFn fn;
        bool maps_groups; /* on GROUPED_DATA as first argument: applied to each group by eval() itself */
} TermEval;
typedef struct TermList {
        const TermEval *terms;
        size_t count;
} TermList;
extern const TermList terms_control; /* control.c   branch do default error func var args javascript(no) ... */
extern const TermList
        terms_sequence; /* sequence.c  map filter concat_map limit skip slice nth union zip sample range is_empty */
extern const TermList
        terms_aggregate; /* aggregate.c count sum avg min max reduce fold distinct contains group ungroup ... */
extern const TermList terms_sort;      /* sort.c      order_by asc desc */
extern const TermList terms_join;      /* join.c      inner/outer/eq_join */
extern const TermList terms_table;     /* table_terms.c  db table get get_all between ... */
extern const TermList terms_geo_index; /* geo_index.c  get_intersecting get_nearest */
extern const TermList terms_index;     /* index_terms.c  index_create ... index_wait, set_write_hook get_write_hook */
extern const TermList terms_math;      /* math.c      arithmetic, logic, comparison, rounding, bit_*, random */
extern const TermList terms_string;    /* string.c    match split upcase downcase to_json_string json uuid ... */
extern const TermList terms_object;    /* object.c    get_field bracket pluck without merge has_fields with_fields keys
                                          values object literal ... */
extern const TermList terms_array;     /* array.c     append prepend difference set_* insert_at ... offsets_of */
extern const TermList terms_coerce;    /* coerce.c    coerce_to type_of */
extern const TermList terms_time;      /* time_terms.c */
extern const TermList terms_geo;       /* geo.c       point .. polygon_sub, geojson, distance intersects includes */
extern const TermList terms_write;     /* write.c     insert update replace delete sync for_each */
extern const TermList terms_admin;     /* admin.c     db_create ... config status wait info */
extern const TermList terms_access;    /* access_terms.c  grant */
extern const TermList terms_outside;   /* outside.c  javascript */
extern const TermList terms_http;      /* http_term.c  http */
extern const TermList terms_changes;   /* changes.c   changes */
/* nth with RethinkDB's rules, for bracket with a number. */
Status nth_of(Env *env, const Term *term, const Val *sequence, const Val *index, Val *ret) MUST_USE;

/* The message of `st`, in env->arena; frees `st`, also where memory runs out. (string.c) */
const char *take_message(Env *env, Status st);
/* For messages: the pretty JSON of v; cut as RethinkDB does (300 characters). */
Bytes message_datum(Env *env, Value v);
/* The whole of it. */
Bytes message_datum_whole(Env *env, Value v);
/* "No attribute `x` in object:\n{...}" at `at`. */
Status fail_no_attribute(Env *env, const Term *at, Bytes key, Value object) MUST_USE;

#endif
