/* changes_flow.h - what a feed says, one item after the other: states, initial rows, changes, errors.
 *
 *      flow_open -> { flow_begin -> flow_next .. flow_next: FLOW_NOTHING -> flow_watch -> ready() } -> flow_close
 *
 * A Flow is on the heap and belongs to no query, so that it can go on without one (changes_cursor.c). What it needs of
 * an Env it is given with each call; the specs live as long as the evaluation that opened it, until flow_park.
 * Threads: one at a time, as its Feeds. */
#ifndef QUERY_CHANGES_FLOW_H
#define QUERY_CHANGES_FLOW_H

#include "query/changes_int.h"

typedef struct Flow Flow;

/* One side of a change that is not there: shown as null, and a row that is shown as null is not there. */
static inline bool change_absent(Value v)
{
        return value_is(v, V_NONE) || value_is(v, V_NULL);
}

typedef enum FlowItemKind { FLOW_CHANGE, FLOW_STATE, FLOW_ERROR } FlowItemKind;
typedef struct FlowItem {
        FlowItemKind kind;
        Change change;    /* FLOW_CHANGE */
        const char *text; /* FLOW_STATE: "ready" ...; FLOW_ERROR: the message */
        Bytes token;      /* data NULL: none */
} FlowItem;
typedef enum FlowAnswer {
        FLOW_ITEM,
        FLOW_CUT,     /* a batch that has something ends here; there may be more */
        FLOW_NOTHING, /* there is nothing now */
} FlowAnswer;

/* `term`: whose errors they are; `specs`, `state`: see changes_stream_new. A token in the options that is none, or of
 * another feed, is an error. */
Status flow_open(Env *env, const Term *term, const ChangesOptions *options, const FeedSpec *specs, size_t count,
                 int note, FeedState *state, Flow **ret_flow) MUST_USE;
Flow *flow_close(Flow *flow); /* NULL is fine; returns NULL */
/* A batch begins: where a time of squashing begins, too. */
void flow_begin(Flow *flow, const Env *env);
/* Values in `out`. After an error the flow is over. */
Status flow_next(Flow *flow, Env *env, Arena *out, FlowItem *ret_item, FlowAnswer *ret_answer) MUST_USE;
/* Where its next items come from, for a batch's limits: tables are read in larger batches than feeds. */
SourceKind flow_source_kind(const Flow *flow);
/* May its user still read all that it reads? */
Status flow_permit(const Flow *flow, Env *env) MUST_USE;
/* As FeedSource.watch: ready(ctx) is called once when flow_next may have something; NULL: no more. */
void flow_watch(Flow *flow, void (*ready)(void *ctx), void *ctx, void (*batch_ready)(void *batch_ctx), void *batch_ctx);
bool flow_is_long(const Flow *flow); /* flow_next may take more than a few microseconds */
/* Can it go on without its query? Not while it reads initial rows, nor with a FeedState. */
bool flow_can_park(const Flow *flow);
/* From now on it needs nothing of the query that opened it. */
Status flow_park(Flow *flow) MUST_USE;
int flow_note(const Flow *flow);
bool flow_tells_states(const Flow *flow);
size_t flow_memory_bytes(const Flow *flow);

/* --- documents (changes_document.c) --- */
typedef struct FlowStyle {
        bool types, offsets;
} FlowStyle;
FlowStyle flow_style(const Flow *flow);
/* The item as a document: in `arena`; and the same as JSON. ERR_RESOURCE if it is nested too deeply. */
Status flow_document(const FlowItem *item, FlowStyle style, Arena *arena, Value *ret) MUST_USE;
Status flow_document_write(const FlowItem *item, FlowStyle style, Buf *out) MUST_USE;

/* --- changes that wait to be told (changes_pending.c): a FeedState's, or squashed by key --- */
typedef struct Pending Pending;
Status pending_new(Pending **ret_pending) MUST_USE;
Pending *pending_free(Pending *pending); /* NULL is fine; returns NULL */
/* Memory that lives as long as the Pending; running out is `like`'s business from now on. */
Arena *pending_arena(Pending *pending, const Arena *like);
void pending_add(Pending *pending, const Change *change); /* its values are in pending_arena */
/* Copies it, and joins it with an earlier one of the same key that ends where this one begins. */
void pending_squash(Pending *pending, const Change *change);
bool pending_take(Pending *pending, Change *ret_change); /* the next in order; false: there are no more */
bool pending_is_empty(const Pending *pending);
size_t pending_count(const Pending *pending);
size_t pending_bytes(const Pending *pending);

/* Copies what lives with an evaluation into one block (mem_free). Tables are counted by the caller. */
Status feed_specs_copy(const FeedSpec *specs, size_t count, FeedSpec **ret_copy) MUST_USE;
/* Of what the specs mean, and of what is told of them (`about`): equal after a restart. */
uint64_t feed_specs_hash(const TableSource *source, const FeedSpec *specs, size_t count, Bytes about);

#endif
