/* term.h - the checked syntax tree of a ReQL query, and the table of all terms.
 *
 * A Term is built from the wire form (reql/wire.h; text ReQL later), checked for arity, option names and variables, and
 * never changes afterwards. It lives in the query's arena together with the values it holds.
 * Threads: immutable after building, any. */
#ifndef REQL_TERM_H
#define REQL_TERM_H

#include "value/value.h"

/* Every term of RethinkDB 2.4.4 by its protocol number: X(number, NAME, ...) in terms.def gives its name in messages,
 * arity, option names and properties. TERM_DATUM = 1 ... */
typedef enum TermType {
        TERM_NONE = 0,
#define TERM(number, NAME, ...) TERM_##NAME = number,
#include "reql/terms.def"
#undef TERM
        TERM_TYPE_END = 256,
} TermType;

typedef enum TermFlags {
        TF_WRITES = 1,           /* changes data or metadata */
        TF_NONDETERMINISTIC = 2, /* may not stand in an atomic update, index function or write hook */
        TF_BLOCKING = 4,         /* may take long: never on an event-loop thread */
        TF_READS_TABLE = 8,
        TF_IMPLEMENTED = 16,    /* others answer "not implemented" by name */
        TF_GROUPS = 32,         /* may give GROUPED_DATA */
        TF_FORBIDS_WRITES = 64, /* no writes in its arguments but the first */
        TF_INEXACT = 128,       /* floating point that might come out differently elsewhere (geometry) */
        TF_MOMENT = 256,        /* r.now(): one value in all of a query, another in the next */
} TermFlags;
/* What no function may hold that has to be deterministic. TF_INEXACT alone gives the same for each row of a query. */
#define TF_UNPROVABLE (TF_NONDETERMINISTIC | TF_INEXACT)

typedef struct TermInfo {
        const char *name;           /* "ORDER_BY" as in messages */
        int min_args, max_args;     /* max -1: any number */
        const char *const *optargs; /* NULL-terminated names; NULL if none */
        unsigned flags;             /* TermFlags */
} TermInfo;
/* NULL for a number that is no term. */
const TermInfo *term_info(unsigned type);
static inline bool term_arity_fits(const TermInfo *info, size_t count)
{
        return (int64_t)count >= info->min_args && (info->max_args < 0 || (int64_t)count <= info->max_args);
}
/* "2 arguments", "between 0 and 2 arguments", "1 or more arguments" */
const char *term_arity_text(const TermInfo *info, Arena *arena);

typedef struct Term Term;
typedef struct OptArg {
        Bytes name;
        Term *term;
} OptArg;

struct Term {
        uint16_t type; /* TermType */
        uint16_t opt_count;
        uint32_t arg_count;
        /* where it stands, for backtraces: the path from the root is read by following `parent` */
        const Term *parent;
        Bytes frame_name; /* option name; data NULL: an argument */
        int32_t frame;    /* argument number; -1 with data NULL: adds nothing to the path (made by a rewrite, root) */
        unsigned tree_flags; /* TermFlags of this term and everything below, ORed */
        Term **args;
        OptArg *opts;         /* in the order sent */
        bool has_args_splice; /* an argument is r.args(...) */
        Value datum;          /* TERM_DATUM: a constant (constant objects and arrays are folded into one) */
        size_t longest_array; /* TERM_DATUM: of the arrays folded into it, for the query's array_limit */
        /* TERM_FUNC */
        uint32_t param_count;
        const uint32_t *param_ids; /* variable numbers as sent */
        Term *body;
        bool uses_outer; /* refers to variables of enclosing functions or r.row of one */
        /* TERM_VAR, TERM_IMPLICIT_VAR: functions to go out through, and parameter number */
        uint32_t var_depth, var_index;
};

/* The option's term, NULL if absent. */
const Term *term_opt(const Term *term, const char *name);
/* Appends the backtrace of `term` as JSON: [0,"left_bound",1]. NULL: []. */
MUST_USE Status term_backtrace(const Term *term, Buf *out);
/* Makes a term that the user did not write (a rewrite), standing where `origin` stands. */
Term *term_make(Arena *arena, TermType type, const Term *origin, size_t arg_count);

#endif
