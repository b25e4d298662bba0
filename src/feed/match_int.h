/* match_int.h - inside the matcher: what a FeedClass is made of.
 *
 *      match_class.c    from a FeedSpec to a FeedClass in one piece of memory; equal, hash
 *      match_show.c     what a class shows of a change
 *      match_closure.c  functions, loaded when they are first needed
 *      match_value.c    values of a row: at a path, in an index
 *      match_hash.c     classes by the hash of a value
 *      match_range.c    classes by ranges of values
 *      match.c          the classes of a table, filed in these */
#ifndef FEED_MATCH_INT_H
#define FEED_MATCH_INT_H

#include <setjmp.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "feed/match.h"
#include "feed/match_hash.h"
#include "feed/match_range.h"
#include "index/entry.h"
#include "query/closure.h"
#include "table/table.h"

/* --- classes --- */
typedef struct MatchCondition {
        FeedConditionKind kind;
        uint32_t value_count;
        IndexPath path;
        const Value *values;     /* IN, CONTAINS: ascending, each once */
        const KeyBounds *bounds; /* BETWEEN; NULL: any value */
} MatchCondition;

struct FeedClass { /* what it points to lies behind it, but for the index */
        atomic_uint refs;
        atomic_uint cost_ns; /* of evaluating it, lately: feed_class_took */
        uint32_t bytes;
        uint32_t key_count, condition_count;
        bool exact, has_index, tell_moves, tell_mended;
        uint64_t hash;
        int64_t now_us;
        TableIndex *index; /* NULL: the primary key */
        const KeyBounds *bounds;
        const Value *keys;          /* ascending; equal ones side by side. NULL: by bounds */
        MatchCondition *conditions; /* in an order of their own, each once */
        Bytes function;
        /* --- the owner's of the MatchTable --- */
        void *users[MATCH_USERS];
        struct MatchFiling *filing; /* NULL: it is filed nowhere */
};
static inline void feed_class_unrefp(FeedClass **class)
{
        *class = feed_class_unref(*class);
}
/* The same meaning, of one table: they show the same of every change. */
bool feed_class_equal(const FeedClass *a, const FeedClass *b);

/* What filing it takes beside it. */
size_t match_filing_bytes(const FeedClass *class);

/* --- match_value.c --- */
/* Runs what allocates in `arena`, whose jump becomes ERR_NOMEM. What `run` holds it keeps in its ctx: the caller gives
 * it back. */
MUST_USE Status match_guarded(Arena *arena, Status (*run)(void *ctx), void *ctx);

typedef enum MatchWalk {
        MATCH_VALUE,
        MATCH_ABSENT, /* the row has no such field */
        MATCH_ASK,    /* a field of something that is no object: only evaluation can tell what that means */
} MatchWalk;
MatchWalk match_walk(IndexPath path, Value row, Value *ret_value);
bool match_bounds_hold(const KeyBounds *bounds, Value v); /* NULL: any */
/* How many of `values`, which ascend, are equal to v. */
size_t match_count_equal(const Value *values, size_t count, Value v);

/* The values that a row has in an index, as its entries would be: in `arena`, which may jump, or the row. A multi
 * index may have the same twice. */
typedef struct MatchPlaces {
        const Value *values;
        size_t count;
        Value one; /* where `values` points if there is one */
} MatchPlaces;
MUST_USE Status match_places(TableIndex *index, Value row, Arena *arena, MatchPlaces *ret);

/* --- match_closure.c --- */
/* A function that one thread has for itself. It is loaded if nobody has left it. */
typedef struct MatchFunction MatchFunction;
MUST_USE Status match_function_take(Bytes saved, MatchFunction **ret_function);
Closure *match_function_closure(const MatchFunction *function);
void match_function_leave(MatchFunction *function); /* for whoever needs it next; NULL is fine */
void match_function_drop(MatchFunction *function);  /* NULL is fine */
/* Frees all that were left: for tests that count memory. */
void match_functions_forget(void);

#endif
