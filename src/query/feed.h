/* feed.h - what `changes` needs of the world below: a subscription to the rows of one table. Declared here and filled
 * in by feed/ (as TableSource is by table/).
 *
 *      open -> [view: the initial rows] -> { next .. next: nothing -> watch -> ready() } -> close
 *
 * A feed gives every commit's changes of its table once, in the order of commits, those of one commit together. Feeds
 * know rows only: what is above them (limits, aggregates, unions, squash, documents for clients) is the query layer's
 * (changes_int.h).
 *
 * Threads: a Feed belongs to one thread at a time; everything but `ready` is called by its owner. */
#ifndef QUERY_FEED_H
#define QUERY_FEED_H

#include "query/source.h"

typedef struct Feed Feed;

/* --- what a feed is of --- */
/* What must hold of a row's field or the row is of no interest: found in predicates, so that a table's thousands of
 * feeds are found by their values instead of being asked one by one. */
typedef enum FeedConditionKind {
        FEED_FIELD_IN,       /* the field equals one of `values` */
        FEED_FIELD_BETWEEN,  /* it is within `bounds` (also of a prefix: ["abc", "abd")) */
        FEED_FIELD_CONTAINS, /* it is an array that contains one of `values` */
} FeedConditionKind;
typedef struct FeedCondition {
        FeedConditionKind kind;
        IndexPath path;
        const Value *values;
        size_t value_count;
        KeyBounds bounds;
} FeedCondition;

/* Equal specs are told by equal contents, and share everything that is made of them. All of it is copied by open. */
typedef struct FeedSpec {
        TableRef *table;
        /* Rows of which the index's value (the primary key if data NULL) is one of `keys` (count 0: is within `bounds`,
         * NULL: any). A row comes once for each of its values that is meant, so a row of a multi index, or get_all with
         * the same key twice, may come more than once. Geo indexes: not by this. */
        Bytes index;
        const KeyBounds *bounds;
        const Value *keys;
        size_t key_count;
        /* All of these are necessary. `exact`: together they are also sufficient, and `function` is not asked. */
        const FeedCondition *conditions;
        size_t condition_count;
        bool exact;
        /* closure.h's saved form of one function row => [what the feed shows of it] or []: filters, maps ...; data
         * NULL: row => [row]. An error of NON_EXISTENCE is []; any other makes the event FEED_ERROR.
         * With `exact` it may be given all the same: it is asked for rows where a condition's path leads through
         * something that is no object, of which conditions know nothing (without it they are of no interest). */
        Bytes function;
        /* What r.now() means in `function`: the moment of the query, as everywhere in a query. 0: it says no r.now();
         * one that does fails. Tokens do not know it (feed_specs_hash): they are good for the same query later. */
        int64_t now_us;
        /* Also tells (as FEED_CHANGE of equal values) that a row moved in the index, while what is shown of it is the
         * same: old_index and new_index differ. For whoever sorts by it. */
        bool tell_moves;
        /* Also tells (as FEED_ERROR) that a row for which the function failed is gone, or does not fail any more. For
         * whoever remembers that it failed. */
        bool tell_mended;
} FeedSpec;

/* A place between two changes of a feed: behind the first `index` events of the commit at `position`, and all of those
 * before. index UINT32_MAX: all of that commit. incarnation: tail.h; 0 if the table has no positions (system tables).
 */
typedef struct FeedPlace {
        uint64_t incarnation, position;
        uint32_t index;
} FeedPlace;

typedef struct FeedOptions {
        const FeedPlace *since; /* NULL: the present */
        const char *user;       /* whose rows of system tables; copied */
        size_t queue_max;     /* not 0: what is not fetched in time beyond so many events is dropped, counted, and told
                                 (FEED_SKIPPED), as RethinkDB does; 0: nothing is, it is read from the log later */
        int64_t heartbeat_ns; /* FEED_IDLE when the place moved on and nothing else was given for so long; 0: never */
} FeedOptions;

/* --- what it gives --- */
typedef enum FeedEventKind {
        FEED_CHANGE,  /* a row's; never with both sides absent, nor with equal ones (but for tell_moves) */
        FEED_ERROR,   /* `error`: the function failed for this row (tell_mended: or did); the feed goes on */
        FEED_SKIPPED, /* `skipped` events were dropped: queue_max */
        FEED_LOST,    /* the log does not reach back to where this feed was: begin again with `view` */
        FEED_IDLE,    /* only a place */
        FEED_ENDED, /* `error` (ERR_OP_FAILED "Changefeed aborted (unavailable)." ...): the table is gone. The last. */
} FeedEventKind;
typedef struct FeedEvent {
        FeedEventKind kind;
        bool last_of_commit;        /* of this feed's */
        Value key;                  /* the row's primary key */
        Value old_value, new_value; /* V_NONE: was, is not among the feed's rows */
        Value old_index, new_index; /* spec.index given: the value in the index of each side; else V_NONE */
        FeedPlace place;            /* behind this event */
        int64_t wall_us;            /* of the commit */
        uint64_t skipped;
        const char *error; /* in `hold` */
        StatusCode error_code;
} FeedEvent;

typedef struct FeedSource {
        void *ctx;
        /* Begins at the present, or behind options->since. ERR_NOT_FOUND: the log does not reach that place (any more),
         * or knows nothing of it: the caller begins anew. Errors of the table's are ReQL errors. */
        Status (*open)(void *ctx, const FeedSpec *spec, const FeedOptions *options, Feed **ret_feed);
        void (*close)(Feed *feed); /* NULL is fine. After it returns `ready` is not called again */
        /* A view of the table now. The feed goes on right behind it: what the view shows is not given as an event, what
         * was not given before and is in it never will be. For the initial rows, after FEED_LOST, and for whoever
         * computes something anew. Closed by the caller (TableSource.view_close). */
        Status (*view)(Feed *feed, TableView **ret_view);
        /* The next event; *ret_found false: there is none now. Values live in `hold`. Never waits for a client or a
         * commit; may read files. */
        Status (*next)(Feed *feed, Arena *hold, FeedEvent *ret_event, bool *ret_found);
        /* What `next` costs: false: it is all in memory and a few microseconds (an event loop's thread may call it). */
        bool (*is_long)(Feed *feed);
        /* ready(ctx) is called once, from a thread of the source's or from inside this call, as soon as `next` would
         * give something, mono_ns() reaches `deadline_ns` (INT64_MAX: never), or `place` is behind all of the commit at
         * `position` (0: that is of no interest). It must not block nor call this source. NULL: no more. */
        void (*watch)(Feed *feed, void (*ready)(void *ctx), void *ctx, int64_t deadline_ns, uint64_t position);
        FeedPlace (*place)(Feed *feed); /* behind everything that was given or passed over */
        size_t (*memory_bytes)(const Feed *feed);
        /* After a `watch` of many feeds at once became ready: ready() is called for each, then this for each different
         * `batch_ctx` that was given to batch(): so a loop is woken once for a thousand feeds. Optional (NULL). */
        void (*set_batch)(Feed *feed, void (*batch_ready)(void *batch_ctx), void *batch_ctx);
} FeedSource;

#endif
