/* exec_filter.h - filters over a whole table as a stream of rows: blocks are asked over columns (exec_vector.h), and
 * only rows that pass are copied out of them. Batches are made of the same rows of the table as without it. At the
 * first block that cannot be asked as a whole it gives up, and the streams go on from the batch in which that was: so
 * errors are theirs, in their order. */
#ifndef QUERY_EXEC_FILTER_H
#define QUERY_EXEC_FILTER_H

#include "query/env_int.h"

typedef struct ExecFilter ExecFilter;

/* `stream`: a transform of which nothing has been read. NULL: it is not filters over a table, or not worth while. What
 * it holds is closed with the query, or unwound as streams are. */
ExecFilter *exec_filter_open(Env *env, const Stream *stream);
/* As StreamOps.next. *ret_gives_up: the batch is as it was; the streams go on behind the table's first *ret_passed
 * rows, and nobody asks again. */
Status exec_filter_next(ExecFilter *filter, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end,
                        bool *ret_gives_up, uint64_t *ret_passed) MUST_USE;

#endif
