/* exec_vector.h - a compiled function run for many rows of a block at once, over columns (exec_column.h).
 *
 * All operations are computed for all rows, also those that a lazy evaluation would not come to: that is the same as
 * long as nothing can fail. So whatever could (a division by zero, a number where a string should be) makes the whole
 * vector refuse, and the block is done row by row. What is only missing is a value like others here. */
#ifndef QUERY_EXEC_VECTOR_H
#define QUERY_EXEC_VECTOR_H

#include "query/exec_column.h"

#define EXEC_VECTOR_MAX 1024 /* rows at once */

typedef enum VecKind {
        VEC_CONST,   /* value, for all rows */
        VEC_NUMBERS, /* numbers[i] */
        VEC_TRUTHS,  /* truths[i]: 0, 1 or TRUTH_MISSING */
        VEC_COLUMN,  /* cell first + i of the column */
        VEC_VALUES,  /* values[i]; V_NONE: missing */
} VecKind;
#define TRUTH_MISSING 2

typedef struct Vec {
        VecKind kind;
        uint32_t first; /* VEC_COLUMN */
        Value value;
        union {
                const double *numbers;
                const uint8_t *truths;
                const Column *column;
                const Value *values;
        };
} Vec;

typedef struct ExecRows {
        const Column *const *columns; /* of the program's inputs; NULL where argument 0 is `source` */
        const Vec *source;            /* argument 0, if that is not the table's row */
        uint32_t first, count;        /* rows of the block: first .. first + count - 1; count <= EXEC_VECTOR_MAX */
        const Frame *frame;
        Arena *arena;
} ExecRows;

/* False: not so; run it row by row. */
bool exec_vector(const ExecProgram *program, const ExecRows *rows, Vec *ret) MUST_USE;
/* For each row 0, 1 or TRUTH_MISSING, as filters see values; NULL: not so. */
const uint8_t *vec_truths(const Vec *vec, const ExecRows *rows);
/* The value of row i; V_NONE: missing; EXEC_BAD or EXEC_LOAD. */
static inline Value vec_value(const Vec *vec, uint32_t i)
{
        switch (vec->kind) {
        case VEC_CONST: return vec->value;
        case VEC_NUMBERS: return value_number(vec->numbers[i]);
        case VEC_TRUTHS: return vec->truths[i] == TRUTH_MISSING ? value_none() : value_bool(vec->truths[i]);
        case VEC_COLUMN: return column_value(vec->column, vec->first + i);
        default: return vec->values[i];
        }
}
/* May a cell be EXEC_LOAD or EXEC_BAD? */
static inline bool vec_odd(const Vec *vec)
{
        return vec->kind == VEC_COLUMN && vec->column->odd;
}

#endif
