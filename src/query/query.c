/* query.c - one query from text to batches. */
#include <assert.h>
#include <setjmp.h>

#include "base/mem.h"
#include "query/changes_int.h"
#include "query/plan_explain.h"
#include "query/profile.h"
#include "query/transaction.h"
#include "reql/print.h"
#include "value/json.h"

typedef enum QueryState {
        QUERY_EMPTY,    /* query_prepare comes next */
        QUERY_READY,    /* prepared, nothing run */
        QUERY_OPEN,     /* a stream with more to give */
        QUERY_FINISHED, /* answered or failed */
} QueryState;

/* Who waits for a query's feeds. */
typedef struct FeedWatch {
        atomic_bool waits;
        void (*ready)(void *ctx);
        void *ctx;
} FeedWatch;

struct Query {
        const QueryWorld *origin;
        QueryWorld world;
        QueryState state;
        WireQuery wire;
        const Term *error_at; /* of the last error */
        Env env;
        Stream *stream;
        Arena arena;      /* text, tree, tables */
        Arena eval_arena; /* values and streams of the top */
        Arena batch_arena;
        atomic_bool cancelled;
        atomic_ullong spilled_bytes;
        bool guarded; /* oom_jump is set */
        bool over_budget;
        jmp_buf oom_jump;
        int64_t timeout_ns; /* the server's, or less by the option; 0: none */
        QueryConnection *connection;
        struct Trace *trace; /* of the last batch; NULL: not asked for */
        FeedWatch watch;
        uint64_t feed_views; /* of a feed: views and what is open from here on are of its batches */
        EnvMark feed_mark;
        char notes[8]; /* "1,5" */
        char user[];
};

static void on_oom(void *ctx, bool over_budget)
{
        Query *query = ctx;
        assert(query->guarded);
        query->over_budget = over_budget;
        longjmp(query->oom_jump, 1);
}

Status query_new(const QueryWorld *world, const char *user, Query **ret_query)
{
        size_t user_size = strlen(user) + 1;
        Query *query = mem_zalloc(sizeof *query + user_size);
        if (!query)
                return status_nomem();
        query->origin = world;
        query->world = *world;
        memcpy(query->user, user, user_size);
        Arena *const arenas[] = {&query->arena, &query->eval_arena, &query->batch_arena};
        for (size_t i = 0; i < ELEMENTS(arenas); i++) {
                arena_init(arenas[i], world->memory_max_bytes);
                arena_on_oom(arenas[i], on_oom, query);
                arenas[i]->stop = &query->cancelled;
        }
        atomic_init(&query->cancelled, false);
        atomic_init(&query->watch.waits, false);
        *ret_query = query;
        return ST_OK;
}

const QueryWorld *query_world(const Query *query)
{
        return query->origin;
}

const char *query_user(const Query *query)
{
        return query->user;
}

void query_set_connection(Query *query, QueryConnection *connection)
{
        query->connection = connection;
}

Query *query_free(Query *query)
{
        if (!query)
                return NULL;
        env_done(&query->env);
        arena_done(&query->arena);
        arena_done(&query->eval_arena);
        arena_done(&query->batch_arena);
        mem_free(query);
        return NULL;
}

void query_reset(Query *query)
{
        env_done(&query->env);
        arena_reset(&query->arena);
        arena_reset(&query->eval_arena);
        arena_reset(&query->batch_arena);
        query->state = QUERY_EMPTY;
        query->error_at = NULL;
        query->stream = NULL;
        query->trace = NULL;
        query->notes[0] = 0;
        query->wire = (WireQuery){0};
        atomic_store(&query->cancelled, false);
        atomic_store(&query->spilled_bytes, 0);
}

Status query_text_buffer(Query *query, size_t size, uint8_t **ret_buffer)
{
        if (size > SIZE_MAX - JSON_PADDING)
                return status_new(ERR_LIMIT, "A query of %zu bytes is too large.", size);
        uint8_t *buffer = arena_try_alloc(&query->arena, size + JSON_PADDING);
        if (!buffer)
                return status_nomem();
        memset(buffer + size, 0, JSON_PADDING);
        *ret_buffer = buffer;
        return ST_OK;
}

/* --- the boundary: memory runs out below, an error comes out above --- */

static Status oom_error(const Query *query)
{
        if (atomic_load(&query->cancelled))
                return status_new(ERR_CANCELLED, "The query was cancelled.");
        if (!query->over_budget)
                return status_nomem();
        return status_new(ERR_RESOURCE, MEMORY_MESSAGE, query->world.memory_max_bytes);
}

/* The last call of a query: everything it holds goes back. */
static Status finish(Query *query, Status st)
{
        query->state = QUERY_FINISHED;
        query->stream = NULL;
        query->error_at = st ? query->env.error_at : NULL;
        query->guarded = false;
        env_done(&query->env);
        return st;
}

static void init_env(Query *query)
{
        const HostOps *host = query->world.host;
        query->env = (Env){
                .arena = &query->eval_arena,
                .query_arena = &query->arena,
                .query = query,
                .world = &query->world,
                .source = query->world.source,
                .cancelled = &query->cancelled,
                .spilled_bytes = &query->spilled_bytes,
                .array_limit = VALUE_ARRAY_LIMIT,
                .now_us = host->now_us(host->ctx),
                .user = query->user,
                .connection = query->connection,
                .planning = !query->world.no_planner,
                .permits_all = !query->world.source->permit || strcmp(query->user, "admin") == 0,
                .globals = query->wire.opts,
                .global_count = query->wire.opt_count,
        };
}

Status query_prepare(Query *query, Bytes text)
{
        assert(query->state == QUERY_EMPTY);
        const Term *error_at = NULL;
        init_env(query);
        if (setjmp(query->oom_jump)) {
                query->env.error_at = NULL;
                return finish(query, oom_error(query));
        }
        query->guarded = true;
        Status st = wire_parse(text, &query->arena, &query->wire, &error_at);
        query->guarded = false;
        query->env.error_at = error_at;
        if (st)
                return finish(query, st);
        query->env.globals = query->wire.opts;
        query->env.global_count = query->wire.opt_count;
        query->state = QUERY_READY;
        return ST_OK;
}

const WireQuery *query_wire(const Query *query)
{
        return &query->wire;
}

/* --- global options --- */

static const Term nowhere = {.type = TERM_DATUM, .frame = -1};

/* Seconds; it only makes the server's time-out shorter. */
static Status read_timeout(Env *env, int64_t *timeout_ns)
{
        Val val;
        bool present;
        double seconds;
        TRY(opt_val(env, &nowhere, "query_timeout", &val, &present));
        if (!present)
                return ST_OK;
        TRY(val_as_number(env, &val, &seconds));
        if (!(seconds > 0))
                return fail(env, NULL, ERR_LOGIC, "Illegal query timeout `%g`.  (Must be > 0.)", seconds);
        int64_t ns = seconds < 9e9 ? (int64_t)(seconds * 1e9) + 1 : INT64_MAX;
        if (*timeout_ns == 0 || ns < *timeout_ns)
                *timeout_ns = ns;
        return ST_OK;
}

typedef enum ExplainMode { EXPLAIN_NO, EXPLAIN_PLAN, EXPLAIN_RUN } ExplainMode;

static Status read_explain(Env *env, ExplainMode *ret_explain)
{
        Val val;
        bool present, yes;
        TRY(opt_val(env, &nowhere, "explain", &val, &present));
        if (!present)
                return ST_OK;
        if (val_is_datum(&val) && value_is(val.datum, V_STRING)) {
                if (!value_bytes_are(val.datum, "analyze"))
                        return fail(env, NULL, ERR_LOGIC, "Option `explain` is true, false or \"analyze\".");
                *ret_explain = EXPLAIN_RUN;
                return ST_OK;
        }
        TRY(val_as_bool(env, &val, &yes));
        *ret_explain = yes ? EXPLAIN_PLAN : EXPLAIN_NO;
        return ST_OK;
}

static Status read_options(Env *env, bool *ret_profile, ExplainMode *ret_explain, int64_t *timeout_ns)
{
        Val val;
        bool present;
        int64_t limit;
        size_t queue_size;
        *ret_profile = false;
        *ret_explain = EXPLAIN_NO;
        TRY(batch_options(env));
        if (!env->global_count)
                return ST_OK;
        TRY(changes_queue_size(env, &nowhere, &queue_size)); /* checked in each query, as in RethinkDB */
        TRY(opt_val(env, &nowhere, "array_limit", &val, &present));
        if (present) {
                TRY(val_as_int(env, &val, &limit));
                if (limit < 1)
                        return fail(env, NULL, ERR_LOGIC, "Illegal array size limit `%lld`.  (Must be >= 1.)",
                                    (long long)limit);
                env->array_limit = (size_t)limit;
        }
        TRY(read_timeout(env, timeout_ns));
        TRY(opt_val(env, &nowhere, "profile", &val, &present));
        if (present)
                TRY(val_as_bool(env, &val, ret_profile));
        TRY(opt_val(env, &nowhere, "plan", &val, &present));
        if (present)
                TRY(val_as_bool(env, &val, &env->planning));
        TRY(read_explain(env, ret_explain));
        TRY(opt_val(env, &nowhere, "durability", &val, &present));
        if (present) {
                Bytes text;
                TRY(val_as_string(env, &val, &text));
                if (bytes_equal(text, BYTES_STR("soft")))
                        env->default_durability = DURABILITY_SOFT;
                else if (bytes_equal(text, BYTES_STR("hard")))
                        env->default_durability = DURABILITY_HARD;
        }
        return ST_OK;
}

/* --- running --- */

#define DEFAULT_STACK_BYTES ((size_t)4 << 20)

static Status write_atom(Env *env, Value v, Buf *rows)
{
        TRY(check_depth(env, NULL, v));
        return fail_at(env, NULL, json_write(v, rows));
}

/* Terms behind `changes` that read tables see them as they are when the changes are shown, and not for ever as when the
 * first was: once nothing is left of what the feeds gave, and nothing is open, nothing is left of the views. */
static Status renew_views(Query *query, ValueVec *batch, bool *ret_end)
{
        Env *env = &query->env;
        if (!env_has_views(env, query->feed_views))
                return ST_OK;
        Status st = ST_OK;
        env->feed_waits = false;
        env->feed_pauses = true;
        while (!st && batch->count == 0 && !*ret_end && !env->feed_waits)
                st = stream_next(query->stream, env, &query->batch_arena, SIZE_MAX, batch, ret_end);
        env->feed_pauses = false;
        if (!st && batch->count == 0 && env->feed_waits && env_is_unwound(env, query->feed_mark))
                env_close_views(env, query->feed_views);
        return st;
}

static Status run_batch(Query *query, Buf *rows, QueryAnswer *ret_answer)
{
        Env *env = &query->env;
        ValueVec batch = {0};
        bool end = false;
        arena_reset(&query->batch_arena);
        if (unlikely(env->flows != NULL))
                TRY(renew_views(query, &batch, &end));
        env->feed_waits = env->feed_pauses = false;
        while (batch.count == 0 && !end && !env->feed_waits)
                TRY(stream_next(query->stream, env, &query->batch_arena, SIZE_MAX, &batch, &end));
        for (size_t i = 0; i < batch.count; i++) {
                if (i)
                        TRY(buf_append_byte(rows, ','));
                TRY(fail_at(env, NULL, json_write(batch.items[i], rows)));
        }
        *ret_answer = end ? ANSWER_SEQUENCE : ANSWER_PARTIAL;
        return ST_OK;
}

static void set_deadline(Query *query)
{
        const HostOps *host = query->world.host;
        int64_t now = query->timeout_ns ? host->mono_ns(host->ctx) : 0;
        query->env.deadline_ns = query->timeout_ns == 0                ? 0
                                 : query->timeout_ns > INT64_MAX - now ? INT64_MAX
                                                                       : now + query->timeout_ns;
}

static Status run_root(Query *query, Buf *rows, QueryAnswer *ret_answer)
{
        Env *env = &query->env;
        Val val;
        *ret_answer = ANSWER_ATOM;
        bool profile;
        ExplainMode explain;
        TRY(read_options(env, &profile, &explain, &query->timeout_ns));
        TRY(transaction_options(env, query->wire.root));
        set_deadline(query);
        if (profile || explain == EXPLAIN_RUN)
                trace_start(env);
        if (profile)
                query->trace = env->trace;
        if (profile || explain != EXPLAIN_NO)
                explain_start(env);
        batch_start(env, BATCH_TERMINAL);
        if (unlikely(env->transaction_use != TRANSACTION_NONE))
                TRY(transaction_start(env, query->wire.root));
        if (explain != EXPLAIN_NO) {
                TRY(explain_query(env, query->wire.root, explain == EXPLAIN_RUN, &val.datum));
                return write_atom(env, val.datum, rows);
        }
        TRY(eval(env, query->wire.root, &val));
        if (val_is_datum(&val) || val.kind == VAL_ARRAY_SELECTION)
                return write_atom(env, val.datum, rows);
        if (val.kind == VAL_GROUPED) {
                TRY(groups_make(env, val.groups));
                return write_atom(env, groups_datum(env, val.groups), rows);
        }
        if (!val_is_sequence(&val))
                return fail(env, NULL, ERR_LOGIC,
                            "Query result must be of type DATUM, GROUPED_DATA, or STREAM (got %s).",
                            val_kind_name(&val));
        TRY(val_as_stream(env, &val, &query->stream));
        changes_notes(env, query->wire.root, query->notes, sizeof query->notes);
        if (env->flows) { /* what the query itself has read stays: its functions may refer to it */
                env_retire_views(env);
                query->feed_views = env->view_serial;
                query->feed_mark = env_mark(env);
        }
        batch_start(env, BATCH_FIRST);
        return run_batch(query, rows, ret_answer);
}

/* Nothing of a query that was a transaction is left, and nothing was sent: it is run anew, in the time it has. */
static void begin_again(Query *query)
{
        const HostOps *host = query->world.host;
        int64_t deadline_ns = query->env.deadline_ns;
        const char *stack_end = query->env.stack_end;
        env_done(&query->env);
        arena_reset(&query->eval_arena);
        arena_reset(&query->batch_arena);
        query->stream = NULL;
        query->trace = NULL;
        init_env(query);
        query->env.stack_end = stack_end;
        if (deadline_ns)
                query->timeout_ns = MAX(deadline_ns - host->mono_ns(host->ctx), (int64_t)1);
        set_deadline(query);
}

static Status run_start(Query *query, Buf *rows, QueryAnswer *ret_answer)
{
        Env *env = &query->env;
        const size_t before = rows->size;
        for (unsigned again = 0;; again++) {
                Status st = run_root(query, rows, ret_answer);
                if (likely(env->transaction_use != TRANSACTION_OWN))
                        return st;
                if (!st)
                        st = transaction_finish(env);
                if (status_code(st) != ERR_CONFLICT || again == TRANSACTION_AGAIN)
                        return st;
                status_ignore(st);
                rows->size = before;
                begin_again(query);
                TRY(env_poll(env));
        }
}

static Status run(Query *query, Buf *rows, QueryAnswer *ret_answer)
{
        TRY(env_poll(&query->env));
        if (query->state == QUERY_OPEN) {
                TRY(transaction_resume(&query->env));
                if (query->trace)
                        trace_restart(&query->env);
                TRY(fail_at(&query->env, query->stream->term, env_permit_again(&query->env)));
                batch_start(&query->env, BATCH_NORMAL);
                return run_batch(query, rows, ret_answer);
        }
        return run_start(query, rows, ret_answer);
}

Status query_next(Query *query, Buf *rows, QueryAnswer *ret_answer)
{
        const size_t before = rows->size;
        const size_t stack = query->world.stack_max_bytes ? query->world.stack_max_bytes : DEFAULT_STACK_BYTES;
        if (query->state != QUERY_READY && query->state != QUERY_OPEN)
                return status_new(ERR_CLOSED, "The query is over.");
        if (query->wire.type != QUERY_START)
                return finish(query, status_new(ERR_INVALID, "Only a START query can be run."));
        if (setjmp(query->oom_jump)) {
                rows->size = before;
                query->env.error_at = NULL;
                return finish(query, oom_error(query));
        }
        query->guarded = true;
        query->env.stack_end = (const char *)__builtin_frame_address(0) - stack;
        if (query->state == QUERY_READY)
                query->timeout_ns = query->world.timeout_ns;
        set_deadline(query);
        Status st = run(query, rows, ret_answer);
        query->guarded = false;
        if (st) {
                /* Where an arena's running out is caught on the way, being cancelled looks like that. */
                if (status_code(st) == ERR_NOMEM && atomic_load(&query->cancelled)) {
                        status_ignore(st);
                        st = oom_error(query);
                }
                rows->size = before;
                return finish(query, st);
        }
        transaction_pause(&query->env);
        if (*ret_answer == ANSWER_PARTIAL)
                query->state = QUERY_OPEN;
        else
                (void)finish(query, ST_OK);
        return ST_OK;
}

Status query_backtrace(const Query *query, Buf *out)
{
        return term_backtrace(query->error_at, out);
}

Status query_error_place(const Query *query, Buf *out, bool *ret_has)
{
        const TextQuery *text = query->wire.text;
        const Term *top = query->error_at;
        TextSpan span;
        *ret_has = false;
        while (top && top->parent)
                top = top->parent;
        if (!text || (query->wire.root && top != query->wire.root)) /* it is in an option or a stored function */
                return ST_OK;
        if (!text_find(text, query->error_at, &span))
                return ST_OK;
        TextPlace place = text_place(text->text, span);
        *ret_has = true;
        return buf_printf(out, "{\"line\":%u,\"column\":%u,\"end_line\":%u,\"end_column\":%u}", place.line,
                          place.column, place.end_line, place.end_column);
}

Status query_notes(const Query *query, Buf *out)
{
        return buf_append_str(out, query->notes);
}

Status query_profile(const Query *query, Buf *out, bool *ret_has)
{
        *ret_has = query->trace != NULL;
        return query->trace ? trace_write(query->trace, out) : ST_OK;
}

uint64_t query_durable_position(const Query *query)
{
        return query->env.durable_position;
}

void query_cancel(Query *query)
{
        atomic_store(&query->cancelled, true);
}

Status query_describe(const Query *query, size_t max, Buf *out)
{
        size_t start = out->size;
        if (!query->wire.root)
                return ST_OK;
        Status st = print_javascript(query->wire.root, out);
        if (status_code(st) == ERR_LIMIT && out->size - start > max)
                st = status_free(st); /* all that `out` takes */
        TRY(st);
        if (out->size - start <= max)
                return ST_OK;
        out->size = start + max;
        while (out->size > start && (out->data[out->size] & 0xc0) == 0x80) /* between two characters */
                out->size--;
        return buf_append_str(out, "...");
}

size_t query_memory_bytes(const Query *query)
{
        return sizeof *query + query->arena.total_bytes + query->eval_arena.total_bytes +
               query->batch_arena.total_bytes + env_memory(&query->env) + changes_memory(&query->env);
}

uint64_t query_spilled_bytes(const Query *query)
{
        return atomic_load_explicit(&query->spilled_bytes, memory_order_relaxed);
}

/* --- changefeeds --- */

bool query_is_feed(const Query *query)
{
        return query->state == QUERY_OPEN && query->env.flows;
}

static void on_feed_ready(void *ctx)
{
        Query *query = ctx;
        if (atomic_exchange(&query->watch.waits, false)) /* of several feeds only the first */
                query->watch.ready(query->watch.ctx);
}

void query_watch(Query *query, void (*ready)(void *ctx), void *ctx, void (*batch_ready)(void *batch_ctx),
                 void *batch_ctx)
{
        FeedWatch *watch = &query->watch;
        atomic_store(&watch->waits, false);
        changes_watch(&query->env, NULL, NULL, NULL, NULL);
        if (!ready)
                return;
        watch->ready = ready;
        watch->ctx = ctx;
        atomic_store(&watch->waits, true);
        changes_watch(&query->env, on_feed_ready, query, batch_ready, batch_ctx);
}

Stream *query_stream(Query *query)
{
        return query->trace ? NULL : query->stream;
}

Env *query_env(Query *query)
{
        return &query->env;
}

/* The state is that of a query that waits for its next batch. */
Status query_run_for(Query *query, atomic_bool *cancelled, Status (*run)(void *ctx, Env *env, Arena *batch), void *ctx)
{
        Arena *const arenas[] = {&query->arena, &query->eval_arena, &query->batch_arena};
        const size_t stack = query->world.stack_max_bytes ? query->world.stack_max_bytes : DEFAULT_STACK_BYTES;
        if (query->state == QUERY_EMPTY) {
                init_env(query);
                query->state = QUERY_OPEN;
                for (size_t i = 0; i < ELEMENTS(arenas); i++)
                        arenas[i]->stop = cancelled;
                query->env.cancelled = cancelled;
        }
        if (setjmp(query->oom_jump)) {
                query->guarded = false;
                return atomic_load(cancelled) ? status_new(ERR_CANCELLED, "The query was cancelled.")
                                              : oom_error(query);
        }
        query->guarded = true;
        query->env.stack_end = (const char *)__builtin_frame_address(0) - stack;
        query->timeout_ns = query->world.timeout_ns;
        set_deadline(query);
        arena_reset(&query->batch_arena);
        Status st = run(ctx, &query->env, &query->batch_arena);
        query->guarded = false;
        return st;
}

/* --- cost --- */

#define QUICK_TERMS    500 /* in the whole tree */
#define QUICK_ROWS     500 /* documents in one insert */
#define QUICK_ELEMENTS 200 /* of a constant array that something walks over */

static bool quick_sequence(const Term *term)
{
        return term->type == TERM_DATUM &&
               (!value_is(term->datum, V_ARRAY) || value_count(term->datum) <= QUICK_ELEMENTS);
}

/* Tables of database `rethinkdb` are made row by row when they are looked at. */
static bool is_system_table(const Term *table)
{
        const Term *db = table->arg_count == 2 ? constant_db(table->args[0]) : NULL;
        return db && value_bytes_are(db->datum, "rethinkdb");
}

/* `walks`: how many terms that walk over a sequence are around this one. */
static bool is_quick(const Term *term, unsigned *left, bool inside_walk)
{
        if (term->type == TERM_DATUM)
                return true;
        if ((*left)-- == 0)
                return false;
        if (term->arg_count && term->args[0]->type == TERM_TABLE && is_system_table(term->args[0]))
                return false;
        bool walk = false;
        size_t first = 0;
        switch (term->type) {
        case TERM_GET: /* a point read: its table is not scanned */
                if (term->arg_count && term->args[0]->type == TERM_TABLE && !inside_walk)
                        first = 1;
                break;
        case TERM_GET_ALL: /* by an index a key may have any number of rows */
                if (term->arg_count && term->args[0]->type == TERM_TABLE && term->arg_count <= 64 &&
                    !term->has_args_splice && !inside_walk && !term->opt_count)
                        first = 1;
                break;
        case TERM_INSERT:
                if (inside_walk)
                        return false;
                if (term->arg_count == 2 && term->args[0]->type == TERM_TABLE &&
                    (term->args[1]->type != TERM_DATUM || !value_is(term->args[1]->datum, V_ARRAY) ||
                     value_count(term->args[1]->datum) <= QUICK_ROWS))
                        first = 1;
                break;
        case TERM_UPDATE:
        case TERM_REPLACE:
        case TERM_DELETE:
                if (inside_walk || !term->arg_count || term->args[0]->type != TERM_GET)
                        return false;
                break;
        case TERM_TABLE: return false; /* anything else with a table may read all of it */
        case TERM_FUNC: return is_quick(term->body, left, inside_walk);
        case TERM_MAP:
        case TERM_FILTER:
        case TERM_CONCAT_MAP:
        case TERM_REDUCE:
        case TERM_FOLD:
        case TERM_GROUP:
        case TERM_ORDER_BY:
        case TERM_DISTINCT:
        case TERM_SUM:
        case TERM_AVG:
        case TERM_MIN:
        case TERM_MAX:
        case TERM_CONTAINS:
        case TERM_OFFSETS_OF:
        case TERM_INNER_JOIN:
        case TERM_OUTER_JOIN:
        case TERM_EQ_JOIN:
        case TERM_COUNT:
                if (term->type == TERM_COUNT && term->arg_count == 1 && term->args[0]->type == TERM_TABLE &&
                    !inside_walk) {
                        first = 1; /* the tree knows */
                        break;
                }
                if (inside_walk || !term->arg_count || !quick_sequence(term->args[0]))
                        return false;
                walk = true;
                break;
        case TERM_RANGE:
        case TERM_FOR_EACH:
        case TERM_SPLICE_AT: return false;
        case TERM_LINE:
        case TERM_POLYGON:
                if (term->has_args_splice)
                        return false;
                break;
        case TERM_GEOJSON: /* as long as the shape is large */
        case TERM_CIRCLE:
        case TERM_FILL:
        case TERM_POLYGON_SUB:
        case TERM_DISTANCE:
        case TERM_INTERSECTS:
        case TERM_INCLUDES: return false;
        default:
                if (term_info(term->type)->flags & (TF_BLOCKING | TF_WRITES))
                        return false; /* administration */
        }
        for (size_t i = first; i < term->arg_count; i++)
                if (!is_quick(term->args[i], left, inside_walk || walk))
                        return false;
        for (size_t i = 0; i < term->opt_count; i++)
                if (!is_quick(term->opts[i].term, left, inside_walk || walk))
                        return false;
        return true;
}

/* --- a page of rows: what gives a first batch from a part of a table that is kept in the order asked for ---
 *
 * Such a batch is cut after RANGE_ROWS / SCALEDOWN rows (batch.c). By primary key they lie in a few leaves, while a row
 * found through an index may have to be read from a place of its own: so of these only a few. */
#define PAGE_ENTRIES 20

/* Arguments from the `first` on, and options. */
static bool quick_rest(const Term *term, size_t first, unsigned *left)
{
        bool quick = !term->has_args_splice;
        for (size_t i = first; i < term->arg_count && quick; i++)
                quick = is_quick(term->args[i], left, true);
        for (size_t i = 0; i < term->opt_count && quick; i++)
                quick = is_quick(term->opts[i].term, left, true);
        return quick;
}

static bool is_table(const Term *term)
{
        return term->type == TERM_TABLE && !is_system_table(term) && term->arg_count > 0 &&
               (term->arg_count == 1 || constant_db(term->args[0])) &&
               term->args[term->arg_count - 1]->type == TERM_DATUM;
}

/* Rows of a table between two keys, or of some keys, of any index. */
static bool is_selection(const Term *term, unsigned *left)
{
        bool selects = (term->type == TERM_BETWEEN && term->arg_count == 3) ||
                       (term->type == TERM_GET_ALL && term->arg_count > 1 && term->arg_count <= 64);
        return selects && is_table(term->args[0]) && quick_rest(term, 1, left);
}

static bool is_page(const Term *term, unsigned *left)
{
        bool few = false;
        if (term->type == TERM_COUNT && term->arg_count == 1) /* the tree knows */
                return is_selection(term->args[0], left);
        while (term->type == TERM_LIMIT || term->type == TERM_PLUCK || term->type == TERM_WITHOUT) {
                if (term->arg_count < 2 || !quick_rest(term, 1, left))
                        return false;
                const Term *n = term->args[1];
                few |= term->type == TERM_LIMIT && n->type == TERM_DATUM && value_is(n->datum, V_NUMBER) &&
                       n->datum.number <= PAGE_ENTRIES;
                term = term->args[0];
        }
        if (term->type == TERM_ORDER_BY) { /* by an index and nothing else */
                if (!few || term->arg_count != 1 || !term_opt(term, "index") || !quick_rest(term, 1, left))
                        return false;
                return is_table(term->args[0]) || is_selection(term->args[0], left);
        }
        return is_selection(term, left) && (few || (term->type == TERM_BETWEEN && !term_opt(term, "index")));
}

/* Nobody asks for batches of another size, or for all of them (explain: "analyze"). */
static bool usual_batches(const WireQuery *wire)
{
        static const char *const others[] = {"min_batch_rows", "max_batch_rows", "max_batch_bytes",
                                             "first_batch_scaledown_factor", "explain"};
        for (size_t i = 0; i < wire->opt_count; i++)
                for (size_t k = 0; k < ELEMENTS(others); k++)
                        if (bytes_equal(wire->opts[i].name, BYTES_STR(others[k])))
                                return false;
        return true;
}

QueryCost query_cost(const Query *query)
{
        unsigned left = QUICK_TERMS;
        if (unlikely(transaction_waits(query->wire.opts, query->wire.opt_count, query->connection)))
                return QUERY_LONG;
        if (query->state != QUERY_READY || !query->wire.root)
                return query->state == QUERY_OPEN ? QUERY_LONG : QUERY_QUICK;
        if (is_quick(query->wire.root, &left, false))
                return QUERY_QUICK;
        left = QUICK_TERMS;
        return is_page(query->wire.root, &left) && usual_batches(&query->wire) ? QUERY_QUICK : QUERY_LONG;
}

bool query_may_read_ahead(const Query *query)
{
        const unsigned others = TF_WRITES | TF_BLOCKING;
        return query->state == QUERY_OPEN && query->env.transaction_use == TRANSACTION_NONE && !query->env.flows &&
               !(query->wire.root->tree_flags & others);
}
