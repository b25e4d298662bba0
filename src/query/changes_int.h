/* changes_int.h - inside `changes`: from the term to feeds, and from their events to documents.
 *
 *      changes.c         the term: which feed it is of, options, errors
 *      changes_spec.c    from the terms below `changes` to FeedSpecs
 *      changes_stream.c  the Stream that `changes` gives: initial rows, events, states, squash, tokens
 *      changes_cursor.c  the same without a Query: changes.h
 *      changes_rows.c    the rows of a FeedSpec in a view
 *      changes_state.c, changes_limit.c, changes_aggregate.c ...  feeds that remember something: FeedState
 */
#ifndef QUERY_CHANGES_INT_H
#define QUERY_CHANGES_INT_H

#include "query/changes.h"
#include "query/env_int.h"
#include "query/feed.h"

/* Notes of answers (RethinkDB's response notes). */
enum { NOTE_SEQUENCE_FEED = 1, NOTE_ATOM_FEED, NOTE_ORDER_BY_LIMIT_FEED, NOTE_UNIONED_FEED, NOTE_INCLUDES_STATES };

typedef struct ChangesOptions {
        bool include_initial, include_states, include_types, include_offsets, include_tokens;
        bool squash;
        double squash_seconds; /* 0: what has come together anyway */
        size_t queue_size;     /* 0: not asked for */
        Bytes since;           /* the token; data NULL: none */
} ChangesOptions;

/* Option `changefeed_queue_size`, of the term or of the whole query; 0: there is none. (changes.c) */
Status changes_queue_size(Env *env, const Term *term, size_t *ret_size) MUST_USE;

/* What a feed gives to the client, one by one: written by changes_stream.c as RethinkDB's documents. */
typedef struct Change {
        Value old_value, new_value;   /* V_NONE: absent (shown as null, or left out of an initial result) */
        Value old_offset, new_offset; /* include_offsets; V_NONE: none */
        bool initial;                 /* of the initial result: no old_val */
        Value key;                    /* for squash: changes of equal keys become one; V_NONE: never */
        const char *error; /* not NULL: nothing but this, shown as {"error": ...}: since this commit the query itself
                              would fail so. The next Change of the state goes on from what was shown last. */
} Change;

/* --- feeds that remember something: order_by.limit, min, max, count, sum, avg, group, distinct, eq_join ---
 * A FeedState stands on the events of one Feed (of rows: the part of the query below what it computes; eq_join: of two,
 * left and right) and says what the client sees. What it computes is, after each whole commit, what the query would
 * give at that moment; where it cannot go on from what it remembers it asks for a view (FeedSource.view), computes
 * anew, and gives the difference: several commits are one step then. */
#define FEED_STATE_FEEDS_MAX 2
typedef struct FeedState FeedState;
typedef struct Rewind Rewind; /* changes_rewind.h */
typedef struct FeedStateOps {
        /* From the rows of the views alone (one for each of its feeds), or of an earlier moment (`rewinds`); replaces
         * what was before. Called at the beginning, after FEED_LOST, and after `apply` said so. The views stay open
         * only during the call. */
        Status (*compute)(FeedState *state, Env *env, TableView *const *views) MUST_USE;
        /* One event (FEED_CHANGE, FEED_ERROR) of feed number `feed`. *ret_recompute: compute() is to be called with new
         * views before `changes` is; what this event said is in them. */
        Status (*apply)(FeedState *state, Env *env, size_t feed, const FeedEvent *event, bool *ret_recompute) MUST_USE;
        /* Gives what is different since the last call (`initial`: all there is, as Change.initial), as after the last
         * whole commit; values in `out`. Called first with `initial` right after the first compute(), also if nobody
         * wants to see it (add NULL): from then on it is what was shown. *ret_recompute: it cannot say before compute()
         * was called with new views; nothing was given. */
        Status (*changes)(FeedState *state, Env *env, Arena *out, bool initial, void *list,
                          Status (*add)(void *list, const Change *change), bool *ret_recompute) MUST_USE;
        void (*free)(FeedState *state);
} FeedStateOps;
struct FeedState {
        const FeedStateOps *ops;
        int note;     /* NOTE_... */
        bool offsets; /* Change.old_offset and new_offset are of a meaning */
        bool failed;  /* as of the last call of changes() the query fails */
        size_t feed_count;
        FeedSpec specs[FEED_STATE_FEEDS_MAX]; /* what they are of; made by feed_state_of */
        /* Set and closed by whoever calls: compute() is of the rows before these; NULL: of those of the views. */
        Rewind *rewinds[FEED_STATE_FEEDS_MAX];
};
/* Looks whether `term` (what `changes` is called on) is something that only a FeedState can follow, and makes it;
 * *ret_state NULL: it is none. Lives until ops->free; what it remembers is in memory of its own, counted in the
 * query's. Errors are those of the term. (changes_state.c) */
Status feed_state_of(Env *env, const Term *term, FeedState **ret_state) MUST_USE;

/* --- changes_spec.c --- */
/* The term that BRANCHes and FUNCALLs (`do`) come down to. Sets env->frame to what its variables are in: the caller
 * puts back what it was, also on an error. */
Status changes_choose(Env *env, const Term **term) MUST_USE;
/* The spec of a sequence of rows, or of a single selection: table, get, get_all, between, filter, map, pluck ... Errors
 * are RethinkDB's ("Cannot call `changes` on an eager stream." ...). *ret_note: NOTE_... */
Status changes_spec_of(Env *env, const Term *term, FeedSpec *ret_spec, int *ret_note) MUST_USE;
/* (An ORDER_BY by an index is fine to it: the spec goes by that index, and in which direction is its caller's business:
 * feed_state_of calls it for what is below a LIMIT.) */

/* The same where more than one feed may be the base (UNION): all of them. At least one. */
Status changes_specs_of(Env *env, const Term *term, FeedSpec **ret_specs, size_t *ret_count, int *ret_note) MUST_USE;

/* --- changes_rows.c --- */
/* The rows of a spec in a view, one after the other, as its feed would show them: for the initial result, and for
 * whatever is computed anew. */
typedef struct ChangesRow {
        Value key, value, index; /* as of FeedEvent */
        const char *error;       /* not NULL: the function failed for this row, there is no value */
        StatusCode error_code;
} ChangesRow;
typedef struct ChangesRows ChangesRows;
/* `order`: 1 and -1: that of spec->index (or the primary key); 0: any, but the same in each view. `rewind` (NULL:
 * none): the rows of that moment; ChangesRow.index is known of those that went only with spec->tell_moves. All of them
 * stay until it is closed: by changes_rows_close, or with whatever ends the query. One at a time of each Rewind. */
Status changes_rows_open(Env *env, const FeedSpec *spec, TableView *view, Rewind *rewind, int order,
                         ChangesRows **ret_rows) MUST_USE;
/* The next one, in `out`; *ret_found false: at the end. */
Status changes_rows_next(ChangesRows *rows, Arena *out, ChangesRow *ret_row, bool *ret_found) MUST_USE;
void changes_rows_close(ChangesRows *rows); /* NULL is fine */
bool changes_is_rows_error(Status st);      /* the row is to blame, not the machine */

/* --- changes_stream.c --- */
/* The Stream of documents. `specs`: of a union's feeds, all shown alike; or (`state` not NULL) of the state's. They and
 * what they point to live as long as the evaluation. Takes `state`, also on an error. `note` is its first note;
 * NOTE_INCLUDES_STATES is the options'. */
Status changes_stream_new(Env *env, const Term *term, const ChangesOptions *options, const FeedSpec *specs,
                          size_t spec_count, int note, FeedState *state, Stream **ret_stream) MUST_USE;

/* What a query's feeds, all together, say to the rest of the query layer. */
Status changes_permit_again(Env *env) MUST_USE;
size_t changes_memory(const Env *env);
/* The inside of "n":[...], or "" if there is no feed. `root`: the whole query. */
void changes_notes(const Env *env, const Term *root, char *out, size_t size);
/* The CHANGES that `root` is, or that terms stand on which make something of each of its documents by itself
 * (*ret_count of them, LIMIT not among them); NULL: it is something else. */
const Term *changes_under(const Term *root, size_t *ret_count);
/* ready(ctx) may be called more than once. */
void changes_watch(Env *env, void (*ready)(void *ctx), void *ctx, void (*batch_ready)(void *batch_ctx),
                   void *batch_ctx);
typedef struct Flow Flow;
/* The query's only feed; NULL: it has none or several. */
Flow *changes_only(const Env *env);
void changes_take(Env *env, const Flow *flow); /* it belongs to the caller now: its stream is of no use any more */

/* --- query.c, for changes_cursor.c --- */
Stream *query_stream(Query *query); /* NULL: there is none, or it must stay with the query */
Env *query_env(Query *query);
/* Makes a new Query, that never has a text, the place where `run` evaluates: with an Env, and an arena for what it
 * gives. Running out of memory and being `cancelled` come out as errors. */
Status query_run_for(Query *query, atomic_bool *cancelled, Status (*run)(void *ctx, Env *env, Arena *batch),
                     void *ctx) MUST_USE;

/* --- changes_token.c: text for clients, checked when it comes back --- */
/* `places`, one for each of a union's feeds; `hash` of the whole feed: a token of another one is refused. */
Bytes changes_token_write(Arena *arena, uint64_t hash, const FeedPlace *places, size_t count);
/* ERR_INVALID, with a message for the client: not a token; of another feed. */
Status changes_token_read(Bytes token, uint64_t hash, FeedPlace *ret_places, size_t count) MUST_USE;

#endif
