/* spill_rows.h - rows that are read again and again in the order in which they came: in memory, beyond the budget on
 * disk. The right side of a join. */
#ifndef QUERY_SPILL_ROWS_H
#define QUERY_SPILL_ROWS_H

#include "query/env_int.h"

typedef struct KeptRows KeptRows;
/* Given back with the query at the latest, like a stream. `may_spill` false: what does not fit is given up. */
KeptRows *kept_rows_new(Env *env, const Term *term, bool may_spill);
/* Forgets all; rows may be added again. */
void kept_rows_clear(KeptRows *kept);
Status kept_rows_add(KeptRows *kept, Value row) MUST_USE;
/* No more come. *ret_usable false: there were too many. */
Status kept_rows_finish(KeptRows *kept, bool *ret_usable) MUST_USE;
/* From the first; in env->arena. One at a time. Its rows are valid until kept_rows_clear, or lie in the batch. */
Status kept_rows_stream(KeptRows *kept, Stream **ret_stream) MUST_USE;

#endif
