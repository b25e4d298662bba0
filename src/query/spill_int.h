/* spill_int.h - runs of records in temporary files, and merging them: what sort, distinct, group and joins share.
 *
 *      spill_new -> { spill_begin_run, spill_add ..., spill_end_run } ... -> spill_merge -> spill_next ... ->
 * spill_free
 *
 * A record is a few values (a row and what it is sorted by, say). Each run is in order already; spill_merge reads all
 * of them side by side, if need be in several passes, records of earlier runs before equal ones of later runs. Format:
 * spill.c. A Spill is closed with the query at the latest (env_defer); its buffers count among the query's memory. */
#ifndef QUERY_SPILL_INT_H
#define QUERY_SPILL_INT_H

#include "query/env_int.h"

typedef struct Spill Spill;
typedef struct SpillRecord {
        Value *values; /* V_NONE is one, too; valid until the next spill_next, spill_restart or spill_free */
        size_t count;
        struct SpillKept *kept; /* of spill_keep */
} SpillRecord;
/* Two records at a time are looked at, each the next one of its run. */
typedef Status (*SpillCompare)(void *ctx, Env *env, SpillRecord *a, SpillRecord *b, int *ret_order);

/* How much one operator (sort, distinct ...) may hold before it puts something aside; SIZE_MAX if it cannot. */
size_t spill_budget(const Env *env);
/* May an array of so many bytes be made of what was put aside? */
bool spill_fits_memory(const Env *env, uint64_t bytes);

/* `values_max`: a record has no more. */
Status spill_new(Env *env, const Term *term, size_t values_max, Spill **ret_spill) MUST_USE;
void spill_free(Spill *spill); /* NULL is fine */
Status spill_begin_run(Spill *spill) MUST_USE;
Status spill_add(Spill *spill, const Value *values, size_t count) MUST_USE;
Status spill_end_run(Spill *spill) MUST_USE;
uint64_t spill_records(const Spill *spill); /* in all runs */
uint64_t spill_bytes(const Spill *spill);
/* Gets ready for reading. Of each run `max_records` are looked at. `compare` is not called for a single run. */
Status spill_merge(Spill *spill, SpillCompare compare, void *ctx, uint64_t max_records) MUST_USE;
/* *ret_record NULL: there are no more. */
Status spill_next(Spill *spill, SpillRecord **ret_record) MUST_USE;
Status spill_restart(Spill *spill) MUST_USE; /* the next is the first again */
/* For `compare`: a value of the record that it had not got when it was written: becomes values[count]. A copy. */
void spill_keep(Spill *spill, SpillRecord *record, Value value);

#endif
