/* changes_state_int.h - what the feeds that remember something share: memory that can be given back, rows in order,
 * values counted in a table, the terms above what is computed. */
#ifndef QUERY_CHANGES_STATE_INT_H
#define QUERY_CHANGES_STATE_INT_H

#include "query/changes_int.h"
#include "query/group_int.h"

#define NOT_REPEATABLE_MESSAGE "Cannot call `changes` after a non-deterministic function."

/* --- memory: a feed may live for months, so nothing of it grows in an arena --- */
typedef struct StateHeap {
        Env *env; /* counts it (Env.kept_bytes); never called after state_heap_free of everything */
} StateHeap;
/* ERR_RESOURCE if the query would hold more than it may; ERR_NOMEM. */
Status state_heap_alloc(StateHeap *heap, size_t bytes, void **ret) MUST_USE;
void state_heap_free(StateHeap *heap, void *p, size_t bytes); /* NULL is fine */
/* Room for one more in *array (`count` of `size` bytes each, room for *capacity), which may move. */
Status state_heap_grow(StateHeap *heap, void *array, size_t size, size_t count, size_t *capacity) MUST_USE;

/* Values in one block, counted. */
typedef struct StateItem {
        uint32_t refs;
        uint32_t count;
        size_t bytes;
        Value values[];
} StateItem;
Status state_item_new(StateHeap *heap, const Value *values, size_t count, StateItem **ret) MUST_USE;
static inline StateItem *state_item_ref(StateItem *item)
{
        item->refs++;
        return item;
}
void state_item_unref(StateHeap *heap, StateItem *item); /* NULL is fine */

/* --- rows in order --- */
/* By all their values, one after the other; V_NONE before everything else. */
typedef struct StateOrder {
        size_t count;
        const bool *descending; /* of each */
} StateOrder;
int state_order_compare(const StateOrder *order, const Value *a, const Value *b);

/* The first of the rows there are: all of them, or (not `complete`) as many as there are here. Which items are of no
 * interest is decided by who calls: once something was dropped, nothing behind the last one can be known. */
typedef struct KeptSet {
        StateItem **items; /* in order */
        size_t count, capacity;
        bool complete;
} KeptSet;
/* Where `values` is, or would be. */
size_t kept_set_find(const KeptSet *set, const StateOrder *order, const Value *values, bool *ret_found);
/* Takes a row in unless it is behind the known ones; drops the last one beyond `max`. *ret_taken (may be NULL). */
Status kept_set_add(KeptSet *set, StateHeap *heap, const StateOrder *order, const Value *values, size_t max,
                    bool *ret_taken) MUST_USE;
void kept_set_remove(KeptSet *set, StateHeap *heap, const StateOrder *order, const Value *values);
void kept_set_clear(KeptSet *set, StateHeap *heap); /* empty and complete */
void kept_set_free(KeptSet *set, StateHeap *heap);

/* How many to keep when so many were used up: twice as many, unless they take too much of the query's memory. */
size_t state_larger_reserve(const Env *env, size_t reserve);

/* --- a table of values --- */
typedef struct MapEntry { /* at the beginning of what is kept of a value; zeroed behind it */
        struct MapEntry *next;
        uint64_t hash;
        Value key;
        size_t bytes;
} MapEntry;
typedef struct StateMap {
        MapEntry **slots; /* a power of two of them */
        size_t slot_count, count;
        size_t entry_bytes; /* of what is kept */
} StateMap;
MapEntry *state_map_find(const StateMap *map, Value key); /* NULL: none */
Status state_map_get(StateMap *map, StateHeap *heap, Value key,
                     MapEntry **ret) MUST_USE; /* makes one if there is none */
void state_map_remove(StateMap *map, StateHeap *heap, MapEntry *entry);
void state_map_free(StateMap *map, StateHeap *heap, void (*free_entry)(void *ctx, MapEntry *entry), void *ctx);
/* All entries in the order of their keys, in `arena`. */
MapEntry **state_map_sorted(const StateMap *map, Arena *arena);

/* Such a table of which is told what is different since the last time: only entries that were touched are looked at. */
typedef struct TallyEntry { /* at the beginning of what is kept of a value */
        MapEntry entry;
        struct TallyEntry *next_touched;
        uint64_t count; /* rows that have it */
        bool touched;
        bool told; /* that it is there */
} TallyEntry;
typedef struct Tally {
        StateMap map;
        TallyEntry *touched;
        bool keeps_empty; /* entries without rows stay */
} Tally;
void tally_touch(Tally *tally, TallyEntry *entry);
void tally_forget_told(Tally *tally);

/* --- terms that work row by row, above what is computed --- */
/* What `top`'s rows are made of by such terms: *ret_below is the first that is none, *ret_steps what is above it. */
Status state_steps_of(Env *env, const Term *top, const Term **ret_below, Pending **ret_steps) MUST_USE;
/* The rows that they make of one, in env->arena. */
Status state_steps_apply(Env *env, const Pending *steps, Value row, ValueVec *ret_rows) MUST_USE;
/* A function of the query that is called again for the old row: it has to give the same. */
Status state_check_repeatable(Env *env, const Func *func) MUST_USE;

/* --- what all states have --- */
typedef struct StateBase {
        FeedState state;
        StateHeap heap;
        const Term *term; /* of the feed */
        char *error;      /* the query would fail so now; NULL: it would not */
        size_t error_bytes;
        bool error_told;
} StateBase;
/* An error of one row of the query: kept (and `st` freed); others are given back. */
Status state_row_failed(StateBase *base, Status st) MUST_USE;
Status state_row_failed_text(StateBase *base, const char *message) MUST_USE;
void state_clear_error(StateBase *base);
/* For `apply`: an error of the row means that compute() has to look whether it is still there. */
Status state_recompute_on_error(Status st, bool *ret_recompute) MUST_USE;

/* For `changes`: what is told, where it goes. */
typedef struct StateTold {
        Env *env;
        Arena *out;
        bool initial;
        void *list;
        Status (*add)(void *list, const Change *change); /* NULL: nobody listens */
} StateTold;
Status state_told_add(const StateTold *told, const Change *change) MUST_USE;
/* Tells the error if there is one that was not told. *ret_failed: there is one: nothing else can be told. */
Status state_told_error(const StateTold *told, StateBase *base, bool *ret_failed) MUST_USE;
/* A row after the steps; V_NONE: absent. */
Status state_told_pair(const StateTold *told, const Pending *steps, Value old_value, Value new_value, Value old_offset,
                       Value new_offset) MUST_USE;

/* Calls `tell` for each entry that was touched (`told->initial`: for all, in the order in which the query gives them).
 * Entries without rows are removed, after `free_entry(base, entry)` (NULL is fine). */
Status tally_tell(Tally *tally, StateBase *base, const StateTold *told,
                  Status (*tell)(StateBase *base, const StateTold *told, TallyEntry *entry),
                  void (*free_entry)(void *base, MapEntry *entry)) MUST_USE;

/* --- the states: each looks whether a term is its own; *ret_state stays as it is if not --- */
Status limit_state_of(Env *env, const Term *term, const Term *core, Pending *steps, FeedState **ret_state) MUST_USE;
Status extreme_state_of(Env *env, const Term *term, Bytes index, FeedState **ret_state) MUST_USE;
Status aggregate_state_of(Env *env, const Term *term, FeedState **ret_state) MUST_USE;
Status distinct_state_of(Env *env, const Term *term, const Term *core, Pending *steps, FeedState **ret_state) MUST_USE;
Status join_state_of(Env *env, const Term *term, const Term *core, Pending *steps, FeedState **ret_state) MUST_USE;

/* The rows that `rows` gives, as the feed number `feed` of the state; *ret_is_rows false: it is a single row, or no
 * rows of a table at all, and whoever looks at the whole term next says what is wrong with it. */
Status state_rows_of(Env *env, StateBase *base, size_t feed, const Term *rows, bool *ret_is_rows) MUST_USE;
/* The spec goes by this index from now on; ERR_OP_FAILED if there is none such. */
Status state_use_index(Env *env, FeedSpec *spec, const TableVal *table, Bytes index) MUST_USE;

#endif
