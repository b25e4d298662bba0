/* group_spill.h - groups that do not fit: records by key on disk, made into one group after the other.
 *
 *      group_spill_new -> group_spill_write (tables of groups, again and again) -> group_spill_merge
 *      -> group_spill_next ..., or group_spill_ungroup
 *
 * What a record of a group is (a row, an accumulator), and what becomes of them, says a GroupFold. */
#ifndef QUERY_GROUP_SPILL_H
#define QUERY_GROUP_SPILL_H

#include "query/group_int.h"
#include "query/spill_int.h"

typedef struct GroupFold {
        void *ctx;
        size_t values_max; /* a record has at most so many, the key not counted */
        /* Adds the records of one group to the run that is being written: each its key and values. */
        Status (*write)(void *ctx, Spill *spill, const GroupEntry *entry);
        /* Of one group: `begin`, then each record's values, in the order in which they were written, then its value
         * (V_NONE: it is no group). env->arena is the group's own, and the values live as long as that. */
        void (*begin)(void *ctx);
        Status (*add)(void *ctx, Env *env, const Value *values, size_t count);
        Status (*finish)(void *ctx, Env *env, Value *ret_value);
} GroupFold;

Status group_spill_new(Env *env, const Term *term, const GroupFold *fold, GroupSpill **ret_spill) MUST_USE;
/* Writes all groups of the table as one run, and sorts the table meanwhile. */
Status group_spill_write(GroupSpill *spill, GroupTable *table) MUST_USE;
Status group_spill_merge(GroupSpill *spill) MUST_USE;
/* A term to be applied to the value of each group. */
void group_spill_remember(GroupSpill *spill, Env *env, const Term *term, TermFn fn);
/* The next group in order of keys, copied into `out`; *ret_key V_NONE at the end. */
Status group_spill_next(GroupSpill *spill, Env *env, Arena *out, Value *ret_key, Value *ret_value) MUST_USE;
/* All of them into memory. */
Status group_spill_make(GroupSpill *spill, Env *env, Groups *groups) MUST_USE;
/* UNGROUP: an array, or a stream if there are too many for one or too large ones. */
Status group_spill_ungroup(GroupSpill *spill, Env *env, const Term *term, Val *ret) MUST_USE;

/* Plain groups: rows, which become an array. */
GroupFold group_fold_rows(Env *env, const Term *term);

#endif
