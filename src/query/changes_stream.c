/* changes_stream.c - the Stream that `changes` gives, and what a query with such a stream does otherwise than others.
 */
#include <stdio.h>

#include "query/changes_flow.h"

/* In the query's arena, so that it outlives rows and streams; the Flow inside may have gone to a FeedCursor. */
struct OpenFlow {
        OpenFlow *next;
        Env *env;
        Flow *flow; /* NULL: taken */
};

typedef struct ChangesStream {
        Stream stream;
        OpenFlow *open;
} ChangesStream;

static void forget(Env *env, const OpenFlow *open)
{
        OpenFlow **at = &env->flows;
        while (*at && *at != open)
                at = &(*at)->next;
        if (*at)
                *at = open->next;
}

static void close_flow(void *what)
{
        OpenFlow *open = what;
        forget(open->env, open);
        flow_close(take(open->flow));
}

/* --- batches --- */

static Status changes_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        Flow *flow = ((ChangesStream *)stream)->open->flow;
        size_t before = batch->count;
        if (env->batch_kind == BATCH_TERMINAL)
                return fail(env, stream->term, ERR_LOGIC, FEED_TERMINAL_MESSAGE);
        if (env->feed_pauses) {
                env->feed_waits = true;
                return ST_OK;
        }
        flow_begin(flow, env);
        SourceKind kind = flow_source_kind(flow);
        Batcher batcher = batcher_start(env, kind, want);
        if (kind == SOURCE_EAGER) /* RethinkDB waits for no row here */
                batcher.limits.deadline_ns = INT64_MAX;
        for (;;) {
                FlowItem item;
                FlowAnswer answer;
                Value document;
                TRY(fail_at(env, NULL, flow_next(flow, env, out, &item, &answer)));
                if (answer == FLOW_NOTHING || (answer == FLOW_CUT && batch->count > before))
                        break;
                if (answer == FLOW_CUT)
                        continue;
                TRY(fail_at(env, NULL, flow_document(&item, flow_style(flow), out, &document)));
                vec_add(batch, out, document);
                /* A table's first batch of rows is not the less for "initializing". */
                if ((kind == SOURCE_EAGER || item.kind != FLOW_STATE) && batcher_add(&batcher, env, document))
                        break;
        }
        env->feed_waits = batch->count == before;
        return ST_OK;
}

static const StreamOps changes_ops = {.next = changes_next};

Status changes_stream_new(Env *env, const Term *term, const ChangesOptions *options, const FeedSpec *specs,
                          size_t spec_count, int note, FeedState *state, Stream **ret_stream)
{
        OpenFlow *open = arena_new(env->query_arena, OpenFlow);
        ChangesStream *self = arena_new(env->arena, ChangesStream);
        open->env = env;
        env_defer(env, close_flow, open);
        TRY(flow_open(env, term, options, specs, spec_count, note, state, &open->flow));
        open->next = env->flows;
        env->flows = open;
        self->open = open;
        self->stream = (Stream){.ops = &changes_ops, .term = term, .ordered = true};
        *ret_stream = &self->stream;
        return ST_OK;
}

/* --- what the query layer asks --- */

Status changes_permit_again(Env *env)
{
        for (OpenFlow *open = env->flows; open; open = open->next)
                TRY(flow_permit(open->flow, env));
        return ST_OK;
}

size_t changes_memory(const Env *env)
{
        size_t bytes = 0;
        for (const OpenFlow *open = env->flows; open; open = open->next)
                bytes += flow_memory_bytes(open->flow);
        return bytes;
}

const Term *changes_under(const Term *root, size_t *ret_count)
{
        const Term *term = root;
        for (*ret_count = 0; term->type != TERM_CHANGES; term = term->args[0], ++*ret_count) {
                switch (term->type) {
                case TERM_MAP:
                case TERM_BRACKET:
                        if (term->arg_count != 2 || term->has_args_splice)
                                return NULL;
                        break;
                case TERM_FILTER:
                case TERM_CONCAT_MAP:
                case TERM_GET_FIELD:
                case TERM_PLUCK:
                case TERM_WITHOUT:
                case TERM_MERGE:
                case TERM_HAS_FIELDS:
                case TERM_WITH_FIELDS:
                        if (term->arg_count < 2 || term->has_args_splice)
                                return NULL;
                        break;
                default: return NULL;
                }
        }
        return term;
}

/* The kinds of several feeds are one kind if they are equal. As RethinkDB does, LIMIT and the like hide that there are
 * states. */
void changes_notes(const Env *env, const Term *root, char *out, size_t size)
{
        int note = 0;
        bool states = false;
        size_t count;
        for (const OpenFlow *open = env->flows; open; open = open->next) {
                note = note == 0 || note == flow_note(open->flow) ? flow_note(open->flow) : NOTE_UNIONED_FEED;
                states |= flow_tells_states(open->flow);
        }
        states = states && changes_under(root, &count);
        out[0] = 0;
        if (note && states)
                (void)snprintf(out, size, "%d,%d", note, NOTE_INCLUDES_STATES);
        else if (note)
                (void)snprintf(out, size, "%d", note);
}

void changes_watch(Env *env, void (*ready)(void *ctx), void *ctx, void (*batch_ready)(void *batch_ctx), void *batch_ctx)
{
        for (OpenFlow *open = env->flows; open; open = open->next)
                flow_watch(open->flow, ready, ctx, batch_ready, batch_ctx);
}

Flow *changes_only(const Env *env)
{
        return env->flows && !env->flows->next ? env->flows->flow : NULL;
}

void changes_take(Env *env, const Flow *flow)
{
        for (OpenFlow *open = env->flows; open; open = open->next) {
                if (open->flow == flow) {
                        open->flow = NULL;
                        forget(env, open);
                        return;
                }
        }
}
