/* group_int.h - groups, for group.c and aggregate.c. */
#ifndef QUERY_GROUP_INT_H
#define QUERY_GROUP_INT_H

#include "query/env_int.h"

typedef struct Acc Acc;
typedef struct GroupEntry {
        Value key;
        uint64_t hash;
        Value value;   /* made groups */
        ValueVec rows; /* while being made */
        Acc *acc;      /* while being aggregated */
} GroupEntry;

typedef struct GroupTable {
        Arena *arena; /* keys are copied into it */
        GroupEntry *entries;
        size_t count, capacity;
        uint32_t *slots; /* index + 1 into entries; a power of two of them */
        size_t slot_count;
} GroupTable;

typedef struct Pending Pending;
struct Pending { /* a term to be applied to the rows of each group, where its variables are */
        Pending *next;
        const Term *term;
        TermFn fn;
        Frame *frame;
};

typedef struct GroupSpill GroupSpill;
struct Groups {
        const Term *term;
        bool made;
        GroupSpill *spilled; /* neither lazy nor made: rows or accumulators are on disk (group_spill.h) */
        /* lazy */
        Stream *source;
        Func **funcs;
        size_t func_count;
        bool multi;
        bool indexed; /* the source gives [row, index value]: the value is the last of the row's keys */
        Pending *pending;
        /* made, sorted by key */
        GroupEntry *entries;
        size_t count;
};

/* The rows of one batch of the source, by group, after the pending terms. */
typedef struct GroupBatch {
        GroupTable table;
} GroupBatch;
Status groups_next(Groups *groups, Env *env, Arena *out, GroupBatch *batch, bool *ret_end) MUST_USE;

/* The group of one row of the source, where there is exactly one (not `multi`). *row becomes the row alone if an index
 * value comes with it. */
Status group_key(const Groups *groups, Env *env, Value *row, Value *ret_key) MUST_USE;

void group_table_init(GroupTable *table, Arena *arena);
GroupEntry *group_table_find(GroupTable *table, Value key, bool *ret_new);
void group_table_sort(GroupTable *table); /* by key; it finds nothing any more */
void group_table_finish(GroupTable *table, Groups *groups);

/* Adds a term to a list of those to be applied, where env->frame is now. */
void groups_remember(Env *env, Pending **list, const Term *term, TermFn fn);
/* Does it work on each row alone? (group.c) */
bool term_is_row_by_row(const Term *term);
/* What the terms of a list make of rows. */
Status pending_apply(Env *env, const Pending *first, ValueVec *rows) MUST_USE;
/* Applies a term to one group: its first argument is the group's value. */
Status groups_apply_one(Env *env, const Term *term, TermFn fn, Value value, Val *ret) MUST_USE;
/* {group, reduction} */
Value groups_ungrouped(Arena *arena, Value key, Value value);

/* aggregate.c: if the term is an aggregation, runs it over the lazy groups in one pass. */
Status groups_aggregate(Env *env, const Term *term, Groups *groups, Val *ret, bool *ret_done) MUST_USE;

Status term_group(Env *env, const Term *term, Val *ret) MUST_USE;
Status term_ungroup(Env *env, const Term *term, Val *ret) MUST_USE;

#endif
