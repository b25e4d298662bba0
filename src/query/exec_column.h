/* exec_column.h - columns: one path of fields of all rows of a block, taken out once and remembered beside the block.
 *
 * A scan that only looks at some fields reads columns and touches no document. A column is a BlockMemo: immutable,
 * without pointers, in one piece of memory, so that it can be made in an arena and be copied to where it is kept.
 *
 *      uniform    all rows hold numbers (f64), bools (u8) or strings (u16 codes of the column's dictionary)
 *      mixed      a type for each row and 8 bytes: the number, the bool, the code, or where in the pool it lies
 *
 * What is not worth keeping (arrays, objects, long strings) is EXEC_LOAD: look at the document. */
#ifndef QUERY_EXEC_COLUMN_H
#define QUERY_EXEC_COLUMN_H

#include "query/exec_compile.h"

/* Value.type of a cell beside EXEC_BAD: it has to be looked up in the row. */
#define EXEC_LOAD 0xfe

#define EXEC_BLOCK_MAX 65535 /* rows of a block that columns are made of */

typedef struct ColumnWord { /* of the dictionary: a string of the column */
        uint64_t hash;      /* value_hash of it */
        uint32_t at, size;  /* in the pool */
} ColumnWord;

typedef struct Column {
        BlockMemo memo;
        uint32_t total;  /* rows */
        uint8_t uniform; /* V_NUMBER, V_BOOL, V_STRING; V_NONE: mixed */
        bool odd;        /* a cell is EXEC_LOAD or EXEC_BAD */
        uint32_t words;  /* in the dictionary */
        /* where in the column's bytes: */
        uint32_t path_at, path_size; /* | u32 n | n bytes | for each key: what it is a column of */
        uint32_t types_at;           /* mixed: u8 for each row */
        uint32_t cells_at;           /* f64, u8, u16; mixed: u64 for each row */
        uint32_t words_at, pool_at;
} Column;

static inline const void *column_bytes(const Column *column, uint32_t at)
{
        return (const char *)column + at;
}
static inline const double *column_numbers(const Column *column)
{
        return column_bytes(column, column->cells_at);
}
static inline const uint8_t *column_bools(const Column *column)
{
        return column_bytes(column, column->cells_at);
}
static inline const uint16_t *column_codes(const Column *column)
{
        return column_bytes(column, column->cells_at);
}
static inline const ColumnWord *column_words(const Column *column)
{
        return column_bytes(column, column->words_at);
}
static inline Value column_word(const Column *column, uint32_t code)
{
        const ColumnWord *word = &column_words(column)[code];
        return value_string(BYTES(column_bytes(column, column->pool_at + word->at), word->size));
}
/* The cell of a row: a value, V_NONE (missing), EXEC_BAD or EXEC_LOAD. Lives as long as the column. */
Value column_value(const Column *column, size_t row);

/* What identifies the columns of a path. */
uint64_t column_key(ExecPath path);

/* The columns of `paths` of the block that `scan` stands at (block->total rows, at most EXEC_BLOCK_MAX): remembered
 * ones, or taken out of the documents now, all in one pass, and remembered. *refusals counts how often there was no
 * room to remember one: after COLUMN_REFUSALS_MAX nothing more is offered. They live until the next block, or in
 * `arena`. `hold` is for one row at a time. */
#define COLUMN_REFUSALS_MAX 4
typedef struct ColumnWant {
        ExecPath path;
        uint64_t key;
} ColumnWant;
Status columns_get(const TableSource *source, TableScan *scan, const TableBlock *block, const ColumnWant *wants,
                   size_t count, unsigned *refusals, Arena *arena, Arena *hold, const Column **ret_columns) MUST_USE;

#endif
