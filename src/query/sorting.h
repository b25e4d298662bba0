/* sorting.h - rows in, rows in order out: in memory while they fit (spill_budget), else as sorted runs on disk
 * (spill_int.h).
 *
 *      sorting_new -> sorting_add ... -> sorting_finish -> sorting_rows, or sorting_next ...
 *
 * Stable. Keys are computed when a comparison needs them, each once: RethinkDB evaluates the second key only for rows
 * whose first are equal, and nothing at all for a single row, and errors in keys depend on that. */
#ifndef QUERY_SORTING_H
#define QUERY_SORTING_H

#include "query/env_int.h"

typedef struct SortSpec {
        Func *func;
        bool descending;
} SortSpec;

typedef struct Sorting Sorting;
#define SORT_ALL UINT64_MAX
/* `rows`: where the rows are kept. Until sorting_finish nobody else allocates in it what is to stay: it is rewound to
 * where it is now. `wanted`: only so many of the first are asked for; then memory is that of twice as many rows.
 * `may_spill` false: all stays in memory. */
Sorting *sorting_new(Env *env, const Term *term, const SortSpec *specs, size_t spec_count, Arena *rows, uint64_t wanted,
                     bool may_spill);
/* Copies the row, unless it `stays`. env->arena is one for what does not stay: it may be rewound after any row. */
Status sorting_add(Sorting *sorting, Value row, bool stays) MUST_USE;
Status sorting_finish(Sorting *sorting) MUST_USE;
uint64_t sorting_count(const Sorting *sorting); /* after sorting_finish: of the rows that are left to be given */
/* After sorting_finish, if all are in memory: the rows, in the arena; NULL if they are on disk. */
Value *sorting_rows(Sorting *sorting);
bool sorting_fits_memory(const Sorting *sorting); /* may an array be made of what is on disk? */
/* After sorting_finish: a copy in `out`; V_NONE at the end. */
Status sorting_next(Sorting *sorting, Arena *out, Value *ret_row) MUST_USE;
Status sorting_skip(Sorting *sorting, uint64_t n, uint64_t *ret_skipped) MUST_USE;
/* Gives back what it holds outside of `rows`: files, and memory beside. (The end of the query does, too.) */
void sorting_close(Sorting *sorting);

#endif
