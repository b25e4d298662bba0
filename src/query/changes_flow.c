/* changes_flow.c - from the events of one feed, of several (a union), or of a FeedState's, to what the client is told.
 *
 *      STARTING --> ROWS --> READY --> LIVE
 *          |  nothing initial  ^         |
 *          +-------------------+         | FEED_LOST with tokens: "restarted", and everything anew
 *          ^-----------------------------+
 *
 * A FeedState that goes on from a token is computed twice: of the rows that there were then (changes_rewind.h), and of
 * those there are; the difference is what it tells first.
 *
 * What was squashed together, or what a FeedState makes of a commit, waits in a Pending and is told as a whole: only
 * the last document of it has a token, for there is no place between them to go on from. */
#include "query/changes_flow.h"

#include "base/mem.h"
#include "query/changes_feeds.h"
#include "query/changes_rewind.h"
#include "reql/print.h"

#define HEARTBEAT_NS      ((int64_t)10 * 1000000000)
#define PENDING_MAX_BYTES ((size_t)1 << 20) /* of changes that wait for the end of a time of squashing */

typedef enum FlowPhase { FLOW_STARTING, FLOW_ROWS, FLOW_READY, FLOW_LIVE } FlowPhase;

/* Reading initial rows. The views stay until the batch with the last of the rows is written. */
typedef struct Reading {
        ChangesRows *rows; /* of feed `at`; NULL: not open */
        size_t at;
        bool any, is_over;
        TableView *views[]; /* one for each feed; NULL: not open */
} Reading;

struct Flow {
        const QueryWorld *world;
        uint8_t phase, note;
        bool include_states, include_types, include_offsets, include_tokens, squash;
        bool wants_rows; /* they come next */
        bool restarted;  /* tell so first, and do not leave out the other states */
        bool told_restart;
        bool as_one;         /* states and initial rows go with what follows in one batch (point feeds and the like) */
        bool first_batch;    /* squashing waits for nothing */
        bool computed;       /* the state has something to compare with */
        bool dirty;          /* it was given events since it was asked */
        bool partial;        /* the last of them was not the last of its commit: the others are still being read */
        bool recompute;      /* and needs views */
        bool giving;         /* what is pending is due, down to its last */
        bool rewinding;      /* the state's rewinds are read, or it is computed of them */
        bool behind;         /* the state is as of the token: what came since is not in it */
        uint8_t rewind_at;   /* the rewind that is being read */
        uint32_t queue_size; /* as asked for; UINT32_MAX: it was not */
        int64_t squash_ns, window_end_ns; /* 0: none is running */
        uint64_t hash;
        const FeedSpec *specs;
        FeedSpec *own_specs; /* after flow_park: these are `specs` */
        FeedState *state;
        Reading *reading;
        Pending *pending;
        FeedEvent *held; /* what came behind changes that are pending, and is none; NULL: nothing did */
        Status ended;    /* what next() says from now on */
        FeedSet *feeds;
};

/* --- opening, closing --- */

static bool is_at_once(const Flow *flow)
{
        return flow->note == NOTE_ATOM_FEED || flow->state ||
               bytes_equal(flow->world->source->table_info(feed_set_table(flow->feeds, 0))->db, BYTES_STR("rethinkdb"));
}

static Status hash_flow(const Flow *flow, const Term *term, uint64_t *ret_hash)
{
        Buf about;
        buf_init(&about, UINT32_MAX);
        /* A state's specs do not say what it computes; the query does. */
        Status st = flow->state && term->arg_count ? print_javascript(term->args[0], &about) : ST_OK;
        if (!st)
                st = buf_append_byte(&about, flow->note);
        if (!st)
                *ret_hash = feed_specs_hash(flow->world->source, flow->specs, feed_set_count(flow->feeds),
                                            BYTES(about.data, about.size));
        buf_done(&about);
        return st;
}

static Status open_feeds(Flow *flow, Env *env, const ChangesOptions *options, const FeedPlace *since)
{
        const FeedOptions how = {
                .user = env->user,
                .queue_max = flow->state ? 0 : options->queue_size,
                .heartbeat_ns = options->include_tokens && options->include_states ? HEARTBEAT_NS : 0,
        };
        return feed_set_open(flow->feeds, flow->specs, &how, since);
}

static void close_rewinds(Flow *flow)
{
        for (size_t i = 0; flow->state && i < flow->state->feed_count; i++)
                flow->state->rewinds[i] = rewind_close(flow->state->rewinds[i]);
        flow->rewinding = false;
}

/* A state that goes on: its feeds from the present on, and what happened since then. */
static Status open_rewinds(Flow *flow, Env *env, const Term *term, const ChangesOptions *options,
                           const FeedPlace *since)
{
        /* What r.now() was to those who were told is not known. */
        if (term->args[0]->tree_flags & TF_MOMENT)
                return status_new(ERR_NOT_FOUND, "It was another moment.");
        flow->rewinding = true;
        for (size_t i = 0; i < flow->state->feed_count; i++)
                TRY(rewind_open(env, &flow->specs[i], env->user, &since[i], &flow->state->rewinds[i]));
        return open_feeds(flow, env, options, NULL);
}

/* Behind the token, where the log still reaches back to it; else anew. */
static Status begin(Flow *flow, Env *env, const Term *term, const ChangesOptions *options)
{
        FeedPlace since[FEED_SET_MAX];
        if (options->since.data) {
                Status st = changes_token_read(options->since, flow->hash, since, feed_set_count(flow->feeds));
                if (st) {
                        const char *message = take_message(env, st);
                        const Term *at = term_opt(term, "since");
                        return fail(env, at ? at : term, ERR_LOGIC, "%s", message);
                }
                st = flow->state ? open_rewinds(flow, env, term, options, since)
                                 : open_feeds(flow, env, options, since);
                if (status_code(st) != ERR_NOT_FOUND)
                        return fail_at(env, NULL, st);
                status_ignore(st);
                close_rewinds(flow);
                feed_set_close(flow->feeds);
                flow->restarted = flow->wants_rows = true;
        } else {
                flow->wants_rows = options->include_initial;
        }
        return fail_at(env, NULL, open_feeds(flow, env, options, NULL));
}

/* What is never written to a log cannot be continued from a place in it. */
static Status check_log(const Flow *flow, Env *env, const Term *term, const ChangesOptions *options)
{
        for (size_t i = 0; i < feed_set_count(flow->feeds) && (options->include_tokens || options->since.data); i++) {
                const TableInfo *info = flow->world->source->table_info(feed_set_table(flow->feeds, i));
                if (bytes_equal(info->db, BYTES_STR("rethinkdb")))
                        return fail(env, term, ERR_LOGIC,
                                    "The system table `%.*s` has no log: a changefeed on it cannot be continued.",
                                    (int)info->name.size, (const char *)info->name.data);
        }
        return ST_OK;
}

static Status open_flow(Flow *flow, Env *env, const Term *term, const ChangesOptions *options)
{
        TRY(flow_permit(flow, env));
        flow->as_one = is_at_once(flow);
        TRY(check_log(flow, env, term, options));
        if (options->include_tokens || options->since.data)
                TRY(hash_flow(flow, term, &flow->hash));
        return begin(flow, env, term, options);
}

Status flow_open(Env *env, const Term *term, const ChangesOptions *options, const FeedSpec *specs, size_t count,
                 int note, FeedState *state, Flow **ret_flow)
{
        Status st = ST_OK;
        Flow *flow = NULL;
        if (!env->world->feeds)
                st = fail(env, term, ERR_UNSUPPORTED, "There are no changefeeds here.");
        else if (count == 0 || count > FEED_SET_MAX)
                st = fail(env, term, ERR_RESOURCE, "A changefeed is of 1 to %d sequences (got %zu).", FEED_SET_MAX,
                          count);
        if (!st && !(flow = mem_zalloc(sizeof *flow)))
                st = status_nomem();
        if (!st)
                st = feed_set_new(query_world(env->query), specs, count, &flow->feeds);
        if (st) {
                mem_free(flow);
                if (state)
                        state->ops->free(state);
                return st;
        }
        flow->world = query_world(env->query);
        flow->note = (uint8_t)note;
        flow->include_states = options->include_states;
        flow->include_types = options->include_types;
        flow->include_offsets = options->include_offsets && (!state || state->offsets);
        flow->include_tokens = options->include_tokens;
        flow->squash = options->squash;
        flow->squash_ns = options->squash_seconds < 9e9 ? (int64_t)(options->squash_seconds * 1e9) : INT64_MAX / 2;
        flow->queue_size = options->queue_size ? (uint32_t)MIN(options->queue_size, (size_t)UINT32_MAX) : UINT32_MAX;
        flow->specs = specs;
        flow->state = state;
        st = open_flow(flow, env, term, options);
        if (st)
                flow = flow_close(flow);
        *ret_flow = flow;
        return st;
}

static void close_reading(Flow *flow)
{
        for (size_t i = 0; flow->reading && i < feed_set_count(flow->feeds); i++)
                if (flow->reading->views[i])
                        flow->world->source->view_close(flow->reading->views[i]);
        mem_free(take(flow->reading));
}

Flow *flow_close(Flow *flow)
{
        if (!flow)
                return NULL;
        close_reading(flow); /* its ChangesRows were closed with the Env, or before */
        close_rewinds(flow);
        feed_set_free(flow->feeds);
        if (flow->state)
                flow->state->ops->free(flow->state);
        pending_free(flow->pending);
        status_ignore(flow->ended);
        mem_free(flow->held);
        mem_free(flow->own_specs);
        mem_free(flow);
        return NULL;
}

/* --- what is asked of it --- */

Status flow_permit(const Flow *flow, Env *env)
{
        for (size_t i = 0; i < feed_set_count(flow->feeds); i++)
                TRY(env_permit_table(env, feed_set_table(flow->feeds, i), PERMIT_READ));
        return ST_OK;
}

SourceKind flow_source_kind(const Flow *flow)
{
        return flow->phase < FLOW_READY && flow->wants_rows && !flow->as_one ? SOURCE_TABLE : SOURCE_EAGER;
}

bool flow_is_long(const Flow *flow)
{
        return flow->wants_rows || flow->state || feed_set_is_long(flow->feeds);
}

bool flow_can_park(const Flow *flow)
{
        return !flow->state && !flow->wants_rows;
}

Status flow_park(Flow *flow)
{
        close_reading(flow);
        if (!flow->include_tokens) { /* it never begins anew */
                flow->specs = NULL;
                return ST_OK;
        }
        TRY(feed_specs_copy(flow->specs, feed_set_count(flow->feeds), &flow->own_specs));
        for (size_t i = 0; i < feed_set_count(flow->feeds); i++)
                flow->own_specs[i].table = feed_set_table(flow->feeds, i);
        flow->specs = flow->own_specs;
        return ST_OK;
}

int flow_note(const Flow *flow)
{
        return flow->note;
}

bool flow_tells_states(const Flow *flow)
{
        return flow->include_states;
}

FlowStyle flow_style(const Flow *flow)
{
        return (FlowStyle){flow->include_types, flow->include_offsets};
}

size_t flow_memory_bytes(const Flow *flow)
{
        return sizeof *flow + feed_set_bytes(flow->feeds) + (flow->pending ? pending_bytes(flow->pending) : 0);
}

/* --- waiting --- */

void flow_watch(Flow *flow, void (*ready)(void *ctx), void *ctx, void (*batch_ready)(void *batch_ctx), void *batch_ctx)
{
        for (size_t i = 0; flow->rewinding && i < flow->state->feed_count; i++)
                rewind_watch(flow->state->rewinds[i], NULL, NULL);
        if (flow->rewinding && ready) {
                feed_set_watch(flow->feeds, NULL, NULL, INT64_MAX, NULL, NULL);
                rewind_watch(flow->state->rewinds[flow->rewind_at], ready, ctx);
                return;
        }
        /* Only a time of squashing that holds something ends by itself. */
        bool holds = flow->pending || (flow->dirty && !flow->partial);
        int64_t deadline_ns = holds && flow->window_end_ns ? flow->window_end_ns : INT64_MAX;
        feed_set_watch(flow->feeds, ready, ctx, deadline_ns, batch_ready, batch_ctx);
}

void flow_begin(Flow *flow, const Env *env)
{
        const HostOps *host = env->world->host;
        if (flow->reading && flow->reading->is_over)
                close_reading(flow);
        flow->first_batch = env->batch_kind == BATCH_FIRST;
        if (flow->squash_ns && !flow->first_batch && !flow->window_end_ns && !flow->pending)
                flow->window_end_ns = host->mono_ns(host->ctx) + flow->squash_ns;
}

/* --- views --- */

static Status begin_reading(Flow *flow)
{
        close_reading(flow);
        flow->reading = mem_zalloc(sizeof *flow->reading + feed_set_count(flow->feeds) * sizeof(TableView *));
        return flow->reading ? feed_set_views(flow->feeds, flow->reading->views) : status_nomem();
}

static Status skip_to_present(Flow *flow)
{
        TableView *views[FEED_SET_MAX] = {NULL};
        Status st = feed_set_views(flow->feeds, views);
        for (size_t i = 0; i < feed_set_count(flow->feeds); i++)
                if (views[i])
                        flow->world->source->view_close(views[i]);
        return st;
}

/* --- items --- */

static Bytes make_token(const Flow *flow, Arena *out)
{
        FeedPlace places[FEED_SET_MAX];
        if (!flow->include_tokens)
                return BYTES_NONE;
        feed_set_told(flow->feeds, places);
        return changes_token_write(out, flow->hash, places, feed_set_count(flow->feeds));
}

static void give_state(const char *text, FlowItem *ret_item, FlowAnswer *ret_answer)
{
        *ret_item = (FlowItem){.kind = FLOW_STATE, .text = text};
        *ret_answer = FLOW_ITEM;
}

static void give_error(const char *text, FlowItem *ret_item, FlowAnswer *ret_answer)
{
        *ret_item = (FlowItem){.kind = FLOW_ERROR, .text = text};
        *ret_answer = FLOW_ITEM;
}

/* Nothing on either side is no news, but for the initial value of what is a single one. */
static bool is_news(const Flow *flow, const Change *change)
{
        return change->error || !change_absent(change->new_value) || !change_absent(change->old_value) ||
               (change->initial && flow->note == NOTE_ATOM_FEED);
}

/* False: there is nothing to tell. */
static bool give_change(const Flow *flow, const Change *change, FlowItem *ret_item, FlowAnswer *ret_answer)
{
        if (!is_news(flow, change))
                return false;
        *ret_answer = FLOW_ITEM;
        *ret_item = (FlowItem){.kind = change->error ? FLOW_ERROR : FLOW_CHANGE, .change = *change};
        if (change->error)
                ret_item->text = change->error;
        return true;
}

static Arena *need_pending(Flow *flow, const Env *env, Status *ret_status)
{
        *ret_status = flow->pending ? ST_OK : pending_new(&flow->pending);
        return *ret_status ? NULL : pending_arena(flow->pending, env->query_arena);
}

/* Values are copied: the Pending may be gone before the batch. */
static bool give_pending(Flow *flow, Arena *out, FlowItem *ret_item, FlowAnswer *ret_answer)
{
        Change change;
        while (flow->pending && pending_take(flow->pending, &change)) {
                bool last = pending_is_empty(flow->pending);
                Value *const values[] = {&change.old_value, &change.new_value, &change.old_offset, &change.new_offset};
                for (size_t i = 0; i < ELEMENTS(values); i++)
                        if (!value_is(*values[i], V_NONE))
                                *values[i] = value_copy(*values[i], out);
                if (change.error)
                        change.error = arena_dup(out, change.error, strlen(change.error));
                if (last) {
                        flow->pending = pending_free(flow->pending);
                        if (!flow->held) /* that was seen, and comes behind it */
                                feed_set_tell(flow->feeds);
                }
                if (!give_change(flow, &change, ret_item, ret_answer))
                        continue;
                /* No token says that some of what was joined is told and the rest not: the last one is behind it all.
                 */
                if (!change.initial && last)
                        ret_item->token = make_token(flow, out);
                return true;
        }
        flow->pending = pending_free(flow->pending);
        return false;
}

/* --- a FeedState --- */

static Status add_pending(void *list, const Change *change)
{
        pending_add(list, change);
        return ST_OK;
}

static Status compute(Flow *flow, Env *env)
{
        TableView *views[FEED_STATE_FEEDS_MAX] = {NULL};
        if (!flow->rewinding)             /* those views are open already */
                TRY(begin_reading(flow)); /* so the views go back also when memory runs out, which jumps */
        memcpy(views, flow->reading->views, feed_set_count(flow->feeds) * sizeof *views);
        Status st = flow->state->ops->compute(flow->state, env, views);
        if (!flow->rewinding)
                close_reading(flow);
        return st;
}

/* What the state has to say, into the Pending. */
static Status ask_state(Flow *flow, Env *env, bool initial, bool recompute)
{
        Status st;
        do {
                if (recompute)
                        TRY(compute(flow, env));
                Arena *arena = need_pending(flow, env, &st);
                TRY(st);
                bool wanted = !initial || flow->wants_rows;
                TRY(flow->state->ops->changes(flow->state, env, arena, initial, flow->pending,
                                              wanted ? add_pending : NULL, &recompute));
        } while (recompute);
        if (pending_is_empty(flow->pending))
                flow->pending = pending_free(flow->pending);
        return ST_OK;
}

/* --- a FeedState that goes on from a token --- */

/* To about the present first, without views, and then to where they are. */
static Status read_rewinds(Flow *flow, Env *env, bool *ret_done)
{
        for (bool last = flow->reading != NULL;; last = true) {
                for (size_t i = 0; i < flow->state->feed_count; i++) {
                        const FeedPlace until = feed_set_seen(flow->feeds, i);
                        flow->rewind_at = (uint8_t)i;
                        TRY(rewind_read(flow->state->rewinds[i], env, &until, last, ret_done));
                        if (!*ret_done)
                                return ST_OK;
                }
                if (last)
                        return ST_OK;
                TRY(begin_reading(flow));
        }
}

/* The state as of the token, or (*ret_done false) not yet. Where it cannot be had everything begins anew. */
static Status go_back(Flow *flow, Env *env, bool *ret_done)
{
        Status st = read_rewinds(flow, env, ret_done);
        if (!st && !*ret_done)
                return ST_OK;
        if (!st)
                st = ask_state(flow, env, true, true);
        if (!st && flow->state->failed)
                st = status_new(ERR_NOT_FOUND, "What was shown before it failed is not known.");
        *ret_done = true;
        flow->behind = !st;
        for (size_t i = 0; !st && i < flow->state->feed_count; i++)
                feed_set_untell(flow->feeds, i, rewind_since(flow->state->rewinds[i]));
        close_rewinds(flow);
        close_reading(flow);
        if (status_code(st) != ERR_NOT_FOUND && status_code(st) != ERR_RESOURCE)
                return st;
        status_ignore(st);
        flow->restarted = flow->wants_rows = true;
        return ST_OK;
}

#define APPLY_MAX 10000 /* events between two answers of a state that squashes */

/* Whole commits: one, or (squashing) all there are. The rest of one may be far away in the log, then there is nothing
 * now (`partial`). *ret_idle: only the place moved on. */
static Status apply_commits(Flow *flow, Env *env, Arena *out, bool *ret_idle)
{
        bool last = false;
        *ret_idle = false;
        for (size_t n = 0; (!last || (flow->squash && n < APPLY_MAX)) && !flow->ended; n++) {
                FeedEvent event;
                size_t feed = 0;
                bool found, recompute = false;
                ArenaMark mark = arena_mark(out);
                TRY(feed_set_next(flow->feeds, env, out, &feed, &event, &found));
                if (!found)
                        return ST_OK;
                *ret_idle = false;
                last = true;
                switch (event.kind) {
                case FEED_CHANGE:
                case FEED_ERROR:
                        TRY(flow->state->ops->apply(flow->state, env, feed, &event, &recompute));
                        last = feed_set_is_last_of_commit(flow->feeds, &event);
                        flow->dirty = true;
                        break;
                case FEED_SKIPPED:
                case FEED_LOST: flow->dirty = recompute = true; break;
                case FEED_IDLE:
                        *ret_idle = !flow->dirty;
                        last = !flow->partial;
                        break;
                case FEED_ENDED: flow->ended = status_new(event.error_code, "%s", event.error); break;
                }
                flow->recompute |= recompute;
                flow->partial = !last;
                arena_rewind(out, mark);
        }
        return ST_OK;
}

/* --- rows --- */

static Status next_row(Flow *flow, Env *env, Arena *out, FlowItem *ret_item, bool *ret_found)
{
        Reading *reading = flow->reading;
        FlowAnswer answer;
        for (*ret_found = false; reading->at < feed_set_count(flow->feeds); reading->at++) {
                if (!reading->rows)
                        TRY(changes_rows_open(env, &flow->specs[reading->at], reading->views[reading->at], NULL, 0,
                                              &reading->rows));
                for (;;) {
                        ChangesRow row;
                        TRY(changes_rows_next(reading->rows, out, &row, ret_found));
                        if (!*ret_found)
                                break;
                        reading->any = true;
                        Change change = {.new_value = row.value, .initial = true, .error = row.error};
                        if (give_change(flow, &change, ret_item, &answer))
                                return ST_OK;
                }
                changes_rows_close(take(reading->rows));
        }
        reading->is_over = true;
        return ST_OK;
}

static Status next_initial(Flow *flow, Env *env, Arena *out, FlowItem *ret_item, FlowAnswer *ret_answer)
{
        if (flow->state) {
                if (give_pending(flow, out, ret_item, ret_answer))
                        return ST_OK;
                if (!flow->computed) {
                        flow->computed = true;
                        TRY(ask_state(flow, env, true, true));
                        if (give_pending(flow, out, ret_item, ret_answer))
                                return ST_OK;
                }
        } else {
                bool found;
                if (!flow->reading)
                        TRY(begin_reading(flow));
                TRY(next_row(flow, env, out, ret_item, &found));
                if (found) {
                        *ret_answer = FLOW_ITEM;
                        return ST_OK;
                }
                if (flow->note == NOTE_ATOM_FEED && !flow->reading->any) {
                        const Change change = {.initial = true};
                        flow->phase = FLOW_READY;
                        (void)give_change(flow, &change, ret_item, ret_answer);
                        return ST_OK;
                }
        }
        flow->phase = FLOW_READY;
        *ret_answer = flow->as_one ? FLOW_NOTHING : FLOW_CUT;
        return ST_OK;
}

/* --- live --- */

static Status restart(Flow *flow, FlowItem *ret_item, FlowAnswer *ret_answer)
{
        if (flow->include_tokens) {
                flow->restarted = flow->wants_rows = true;
                flow->phase = FLOW_STARTING;
                *ret_answer = FLOW_CUT;
                return ST_OK;
        }
        TRY(skip_to_present(flow));
        give_error("Changes were lost: this changefeed was not read for so long that the log does not reach back to "
                   "its place any more. It goes on from now. Read it faster, or start the server with a larger "
                   "`--log-keep`.",
                   ret_item, ret_answer);
        return ST_OK;
}

/* Whatever is no change of a row. */
static Status give_other(Flow *flow, Arena *out, const FeedEvent *event, FlowItem *ret_item, FlowAnswer *ret_answer)
{
        switch (event->kind) {
        case FEED_CHANGE: break;
        case FEED_ERROR:
                feed_set_tell(flow->feeds);
                give_error(event->error, ret_item, ret_answer);
                ret_item->token = make_token(flow, out);
                break;
        case FEED_SKIPPED:
                feed_set_tell(flow->feeds);
                give_error(arena_printf(out, "Changefeed cache over array size limit, skipped %llu elements.",
                                        (unsigned long long)event->skipped),
                           ret_item, ret_answer);
                ret_item->token = make_token(flow, out);
                break;
        case FEED_LOST: return restart(flow, ret_item, ret_answer);
        case FEED_IDLE:
                feed_set_tell(flow->feeds);
                if (flow->include_tokens && flow->include_states) {
                        give_state("idle", ret_item, ret_answer);
                        ret_item->token = make_token(flow, out);
                }
                break;
        case FEED_ENDED:
                flow->ended = status_new(event->error_code, "%s", event->error);
                *ret_answer = FLOW_CUT;
                break;
        }
        return ST_OK;
}

/* As RethinkDB, at the half of what its client thinks a queue may hold. */
static bool is_nearly_full(const Flow *flow)
{
        return pending_bytes(flow->pending) >= PENDING_MAX_BYTES || pending_count(flow->pending) > flow->queue_size / 2;
}

/* Is it time to tell what has come together? */
static bool is_due(const Flow *flow, const Env *env)
{
        const HostOps *host = env->world->host;
        return flow->first_batch || flow->held || flow->ended || !flow->window_end_ns ||
               (flow->pending && is_nearly_full(flow)) || host->mono_ns(host->ctx) >= flow->window_end_ns;
}

static Status hold(Flow *flow, const FeedEvent *event)
{
        size_t size = event->error ? strlen(event->error) + 1 : 0;
        flow->held = mem_alloc(sizeof *flow->held + size);
        if (!flow->held)
                return status_nomem();
        *flow->held = *event;
        if (size)
                flow->held->error = memcpy(flow->held + 1, event->error, size);
        return ST_OK;
}

/* Takes what is there and joins it. */
static Status squash(Flow *flow, Env *env, Arena *out)
{
        while (!flow->held && (!flow->pending || pending_bytes(flow->pending) < PENDING_MAX_BYTES)) {
                FeedEvent event;
                size_t feed;
                bool found;
                Status st;
                ArenaMark mark = arena_mark(out);
                if (flow->pending) /* its last document's token */
                        feed_set_tell(flow->feeds);
                TRY(feed_set_next(flow->feeds, env, out, &feed, &event, &found));
                if (!found)
                        break;
                if (event.kind == FEED_CHANGE) {
                        (void)need_pending(flow, env, &st);
                        TRY(st);
                        pending_squash(flow->pending, &(Change){.old_value = event.old_value,
                                                                .new_value = event.new_value,
                                                                .key = event.key});
                } else if (event.kind != FEED_IDLE || !flow->pending) { /* nothing to say while a time runs */
                        TRY(hold(flow, &event));
                }
                arena_rewind(out, mark);
        }
        return ST_OK;
}

static Status next_squashed(Flow *flow, Env *env, Arena *out, FlowItem *ret_item, FlowAnswer *ret_answer)
{
        if (!flow->giving) {
                TRY(squash(flow, env, out));
                if (!is_due(flow, env) || (!flow->pending && !flow->held))
                        return ST_OK;
        }
        bool gave = flow->giving;
        flow->giving = give_pending(flow, out, ret_item, ret_answer);
        if (flow->giving) {
                flow->window_end_ns = 0;
                return ST_OK;
        }
        if (flow->held) {
                FeedEvent *held = flow->held;
                flow->held = NULL;
                flow->window_end_ns = 0;
                Status st = give_other(flow, out, held, ret_item, ret_answer);
                if (*ret_answer == FLOW_ITEM && ret_item->kind == FLOW_ERROR)
                        ret_item->text = arena_dup(out, ret_item->text, strlen(ret_item->text));
                mem_free(held);
                return st;
        }
        feed_set_tell(flow->feeds);
        if (gave) /* what comes next is another batch */
                *ret_answer = FLOW_CUT;
        return ST_OK;
}

static Status next_of_state(Flow *flow, Env *env, Arena *out, FlowItem *ret_item, FlowAnswer *ret_answer)
{
        for (;;) {
                bool idle = false;
                if (flow->giving && give_pending(flow, out, ret_item, ret_answer))
                        return ST_OK;
                flow->giving = false;
                if (!flow->behind)
                        TRY(apply_commits(flow, env, out, &idle));
                if (idle)
                        return give_other(flow, out, &(FeedEvent){.kind = FEED_IDLE}, ret_item, ret_answer);
                if (!flow->behind && (!flow->dirty || flow->partial || !is_due(flow, env)))
                        return ST_OK;
                bool recompute = flow->recompute || flow->behind;
                flow->dirty = flow->recompute = flow->behind = false;
                TRY(ask_state(flow, env, false, recompute));
                if (!flow->pending)
                        feed_set_tell(flow->feeds);
                flow->giving = true;
                flow->window_end_ns = 0;
        }
}

static Status next_of_rows(Flow *flow, Env *env, Arena *out, FlowItem *ret_item, FlowAnswer *ret_answer)
{
        while (*ret_answer == FLOW_NOTHING) {
                FeedEvent event;
                size_t feed;
                bool found;
                ArenaMark mark = arena_mark(out);
                TRY(feed_set_next(flow->feeds, env, out, &feed, &event, &found));
                if (!found)
                        return ST_OK;
                if (event.kind != FEED_CHANGE) {
                        TRY(give_other(flow, out, &event, ret_item, ret_answer));
                        continue;
                }
                Change change = {.old_value = event.old_value, .new_value = event.new_value};
                feed_set_tell(flow->feeds);
                if (give_change(flow, &change, ret_item, ret_answer))
                        ret_item->token = make_token(flow, out);
                else
                        arena_rewind(out, mark);
        }
        return ST_OK;
}

static Status next_live(Flow *flow, Env *env, Arena *out, FlowItem *ret_item, FlowAnswer *ret_answer)
{
        if (flow->ended && !flow->giving && !flow->dirty)
                return take(flow->ended);
        if (flow->state)
                TRY(next_of_state(flow, env, out, ret_item, ret_answer));
        else if (flow->squash)
                TRY(next_squashed(flow, env, out, ret_item, ret_answer));
        else
                TRY(next_of_rows(flow, env, out, ret_item, ret_answer));
        if (*ret_answer == FLOW_NOTHING && flow->ended)
                *ret_answer = FLOW_CUT;
        return ST_OK;
}

/* --- all of it --- */

/* Who begins anew is told so, asked for states or not. */
static bool tells(const Flow *flow)
{
        return flow->include_states || flow->restarted;
}

static Status next_step(Flow *flow, Env *env, Arena *out, FlowItem *ret_item, FlowAnswer *ret_answer)
{
        switch ((FlowPhase)flow->phase) {
        case FLOW_STARTING:
                if (flow->rewinding) {
                        bool done;
                        TRY(go_back(flow, env, &done));
                        if (!done)
                                return ST_OK;
                }
                if (flow->restarted && !flow->told_restart) {
                        flow->told_restart = true;
                        give_state("restarted", ret_item, ret_answer);
                        return ST_OK;
                }
                flow->told_restart = false;
                if (flow->state && !flow->wants_rows && !flow->behind)
                        TRY(ask_state(flow, env, true, true));
                flow->phase = flow->wants_rows ? FLOW_ROWS : FLOW_READY;
                if (flow->wants_rows && tells(flow))
                        give_state("initializing", ret_item, ret_answer);
                return ST_OK;
        case FLOW_ROWS: return next_initial(flow, env, out, ret_item, ret_answer);
        case FLOW_READY:
                if (!flow->behind)
                        feed_set_tell(flow->feeds);
                if (tells(flow)) {
                        give_state("ready", ret_item, ret_answer);
                        ret_item->token = make_token(flow, out);
                }
                flow->restarted = flow->wants_rows = flow->computed = false;
                flow->phase = FLOW_LIVE;
                return ST_OK;
        case FLOW_LIVE: break;
        }
        return next_live(flow, env, out, ret_item, ret_answer);
}

Status flow_next(Flow *flow, Env *env, Arena *out, FlowItem *ret_item, FlowAnswer *ret_answer)
{
        FlowPhase before;
        *ret_answer = FLOW_NOTHING;
        do {
                before = (FlowPhase)flow->phase;
                TRY(next_step(flow, env, out, ret_item, ret_answer));
        } while (*ret_answer == FLOW_NOTHING && (FlowPhase)flow->phase != before);
        return ST_OK;
}
