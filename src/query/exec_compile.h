/* exec_compile.h - functions that look at rows, compiled: what a FUNC's body says, as a tree of operations over values.
 *
 * The general evaluator (eval.c) knows streams, errors with places, permissions, writes. Most functions that are called
 * for each row of a table need none of that: they take fields, compare, compute. Such a body becomes an ExecProgram:
 * names are paths, constants are evaluated once, variables are places. It can be run
 *
 *      for one row       exec_run(): values in, a value out                                 (exec_row.c)
 *      for many rows     exec_vector(): columns in, a column out                            (exec_vector.c)
 *
 * A program never makes an error. It says EXEC_OK, EXEC_MISSING (exactly where the general evaluator fails with
 * NON_EXISTENCE) or EXEC_BAIL (an error, or a case that programs do not treat); whoever runs it then asks the general
 * evaluator, whose answer counts. So a program may refuse anything, but what it answers is what eval() would.
 *
 * Threads: a program is immutable and may be run by several at once, each with its own ExecRow. */
#ifndef QUERY_EXEC_COMPILE_H
#define QUERY_EXEC_COMPILE_H

#include "bridge/regex_bridge.h"
#include "query/env_int.h"

typedef enum ExecOp {
        EXEC_CONST,    /* value */
        EXEC_OUTER,    /* variable `index` of the function `depth` levels (1: the next) further out */
        EXEC_ARG,      /* argument `index` */
        EXEC_FIELD,    /* input `index`: a path of fields from argument 0 */
        EXEC_GET,      /* args[0](key) */
        EXEC_NTH,      /* args[0](number) */
        EXEC_COMPARE,  /* eq ne lt le gt ge, by `type` */
        EXEC_NOT,      /* this and the next four as control.c and math.c have them */
        EXEC_AND,      /* */
        EXEC_OR,       /* */
        EXEC_BRANCH,   /* */
        EXEC_DEFAULT,  /* */
        EXEC_ARITH,    /* add sub mul div, by `type` */
        EXEC_MOD,      /* */
        EXEC_ROUND,    /* floor ceil round, by `type` */
        EXEC_HAS,      /* has_fields(value: the path spec) */
        EXEC_EXISTS,   /* has_fields of argument 0: input `index` is there and not null */
        EXEC_PLUCK,    /* pluck(value) */
        EXEC_WITHOUT,  /* without(value) */
        EXEC_MERGE,    /* of two objects without literals */
        EXEC_OBJECT,   /* {keys[i]: args[i]}, sorted by key */
        EXEC_ARRAY,    /* [args] */
        EXEC_MATCHES,  /* match(regex), as a truth */
        EXEC_PATTERN,  /* does args[0] have the fields of the object `value`? Of filter({...}). */
        EXEC_TYPE,     /* type_of */
        EXEC_COUNT,    /* count() of an array, string ... */
        EXEC_CONTAINS, /* args[0].contains(args[1]) */
        EXEC_TIME,     /* year() .. seconds(), to_epoch_time(): by `type` */
        EXEC_DURING,   /* args[0] between args[1] and args[2]; `index`: 1 left bound open, 2 right bound open */
} ExecOp;

typedef struct ExecNode ExecNode;
struct ExecNode {
        uint8_t op; /* ExecOp */
        uint16_t type;
        uint16_t count;
        uint16_t index, depth;
        const ExecNode **args;
        union {
                Bytes key;          /* GET */
                const Bytes *keys;  /* OBJECT */
                const Regex *regex; /* MATCHES */
        };
        Value value;
};

typedef struct ExecPath { /* fields, one inside the other */
        const Bytes *keys;
        size_t count;
} ExecPath;
bool exec_path_equal(ExecPath a, ExecPath b);

typedef struct ExecProgram {
        const ExecNode *root;
        uint32_t params;  /* 0: any number */
        bool takes_row;   /* looks at argument 0 as a whole, not only at its fields */
        ExecPath *inputs; /* what EXEC_FIELD refers to */
        size_t input_count, input_capacity;
} ExecProgram;

/* Never fails: NULL means that the function is not for programs. In env->query_arena; constants are evaluated now.
 * `as_truth`: only the truth of the answer matters. */
const ExecProgram *exec_compile(Env *env, const Term *func, bool as_truth);
/* The program of a FUNC term, compiled once for each query; NULL if it has none. */
const ExecProgram *exec_find(Env *env, const Term *func, bool as_truth);
/* Of any function of one row. With `as_filter` it answers like func_matches (objects are patterns). In env->arena. */
const ExecProgram *exec_of_func(Env *env, const Func *func, bool as_filter);
/* row => row[key]; row => row */
const ExecProgram *exec_of_field(Env *env, Bytes key);
const ExecProgram *exec_of_row(Env *env);

/* --- running (exec_row.c) --- */
typedef enum ExecAnswer { EXEC_OK, EXEC_MISSING, EXEC_BAIL } ExecAnswer;
typedef struct ExecRow {
        const Value *args;
        size_t arg_count;
        const Value *fields; /* the program's inputs, V_NONE: missing, EXEC_BAD: bail; NULL: taken from args[0] */
        const Frame *frame;  /* variables of the functions around */
        Arena *arena;        /* what is made */
} ExecRow;
#define EXEC_BAD 0xff /* Value.type of an input that cannot be had without an error */

/* `ret` is written at the end, and only with EXEC_OK: it may be one of the arguments. */
ExecAnswer exec_run(const ExecProgram *program, const ExecRow *row, Value *ret) MUST_USE;
/* The field at the end of a path; V_NONE where one of them is missing, or EXEC_BAD. */
Value exec_path_get(Value row, ExecPath path);
/* Is there `$reql_type$` anywhere in it: a LITERAL, or something else that merge() treats in its own way? */
bool exec_has_type_field(Value v);
/* The value of a variable; V_NONE if there is none. */
Value exec_outer(const Frame *frame, const ExecNode *node);
#endif
