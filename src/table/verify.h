/* verify.h - are the rows of a data directory what this folder puts there? Told each row of the files in turn
 * (StoreCheck.row of storage/store.h), it checks what checksums cannot: that catalog and tables fit together
 * (README.md, I1), that each row is a whole document under its own primary key (I4), and that indexes have the entries
 * that rows make (I7).
 *
 * The catalog's rows come before those of the tables it describes, as its table has the lowest number; rows of a table
 * it has not described yet are checked for being documents. Threads: one. */
#ifndef TABLE_VERIFY_H
#define TABLE_VERIFY_H

#include "base/arena.h"
#include "base/bytes.h"

typedef struct TableVerify TableVerify;
MUST_USE Status table_verify_new(TableVerify **ret_verify);
TableVerify *table_verify_free(TableVerify *verify); /* NULL is fine; returns NULL */
static inline void table_verify_freep(TableVerify **verify)
{
        *verify = table_verify_free(*verify);
}

/* What is wrong with a row, with the names of table and row in it; NULL if nothing. Lives until the next call. `after`:
 * a change by the log; then value data NULL is a deletion. Lack of memory is kept for table_verify_finish. */
const char *table_verify_row(TableVerify *verify, uint64_t table_id, Bytes key, Bytes value, bool after);
/* An entry of one of the table's indexes, in tree 1 and up. What is wrong with indexes is said at the end. */
void table_verify_entry(TableVerify *verify, uint64_t table_id, uint32_t tree, Bytes key, Bytes value, bool after);
/* Rows of this table are missing, as its files are damaged. */
void table_verify_damaged(TableVerify *verify, uint64_t table_id);
/* A table that is in the files; each once, when all rows have been told. */
MUST_USE Status table_verify_table(TableVerify *verify, uint64_t table_id, const char *engine);
/* After all: does everything fit together? Each thing that does not goes to `problem`, whose error ends it. ERR_NOMEM,
 * also if it was lacking before. */
MUST_USE Status table_verify_finish(TableVerify *verify, Status (*problem)(void *ctx, const char *text), void *ctx);

/* "shop.orders", "the catalog", or "table 17" if the catalog does not know it, in `arena` (which must have a handler,
 * or memory). */
const char *table_verify_name(const TableVerify *verify, uint64_t table_id, Arena *arena);
/* The number of the table "shop.orders"; 0 if the catalog does not have it. */
uint64_t table_verify_find(const TableVerify *verify, Bytes name);
/* The i-th table of the catalog: its number and name; false behind the last. */
bool table_verify_listed(const TableVerify *verify, size_t i, Arena *arena, uint64_t *ret_id, const char **ret_name);
/* How a primary key is shown to a person: "abc", 12, or hexadecimal digits. Returns `out`. */
const char *table_verify_key_text(Bytes key, char *out, size_t size);

#endif
