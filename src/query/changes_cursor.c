/* changes_cursor.c - a changefeed without its query.
 *
 * What is left of the query is the Flow, the function that its other terms are together (saved, as text), how many
 * documents LIMIT lets through, and how large batches may be. Whenever it is asked for documents it borrows a new Query
 * to evaluate in, and gives it back at the end of the batch; it keeps it only while it reads rows again. */
#include <stdatomic.h>

#include "base/mem.h"
#include "query/changes_flow.h"
#include "query/closure.h"
#include "reql/print.h"
#include "value/json.h"

#define DESCRIBE_BYTES 160 /* kept of the query's text */

/* Terms of which a parked feed knows the meaning: neither what time it is for the query, nor anything outside it. */
#define NEVER (TF_NONDETERMINISTIC | TF_WRITES | TF_BLOCKING | TF_READS_TABLE | TF_MOMENT)

struct FeedCursor {
        Flow *flow;
        const QueryWorld *world;
        Query *host;   /* NULL: none is needed between two batches */
        uint64_t left; /* documents that LIMIT lets through; UINT64_MAX: there is no LIMIT */
        size_t min_batch_rows, max_batch_rows, max_batch_bytes, array_limit;
        atomic_bool cancelled;
        bool is_over, is_cut; /* is_cut: the description is not all of it */
        uint16_t describe_bytes;
        uint32_t function_bytes; /* change => [what is shown of it]; 0: itself */
        char notes[8];
        char text[]; /* function, description, user and a NUL */
};

static const char *user_of(const FeedCursor *cursor)
{
        return cursor->text + cursor->function_bytes + cursor->describe_bytes;
}

static void feed_cursor_freep(FeedCursor **cursor)
{
        *cursor = feed_cursor_free(*cursor);
}

/* --- parking --- */

static bool is_safe(const Term *term)
{
        bool safe = term->type != TERM_CONCAT_MAP; /* it may hold documents back */
        for (size_t i = 1; i < term->arg_count; i++)
                safe &= !(term->args[i]->tree_flags & NEVER);
        for (size_t i = 0; i < term->opt_count; i++)
                safe &= !(term->opts[i].term->tree_flags & NEVER);
        if (term->type == TERM_BRACKET)
                safe &= term->args[1]->type == TERM_DATUM && value_is(term->args[1]->datum, V_STRING);
        return safe;
}

/* The function that `top` is, standing on `count` terms above its CHANGES. *ret_safe false: it cannot be saved. */
static Status save_function(const Term *top, size_t count, Buf *out, bool *ret_safe)
{
        *ret_safe = true;
        if (count == 0)
                return ST_OK;
        ClosureStep *steps = mem_alloc(count * sizeof *steps);
        if (!steps)
                return status_nomem();
        for (size_t i = count; i-- > 0; top = top->args[0]) {
                steps[i] = (ClosureStep){.term = top};
                *ret_safe &= is_safe(top);
        }
        Status st = *ret_safe ? closure_save_steps(steps, count, out) : ST_OK;
        mem_free(steps);
        return st;
}

/* Below LIMITs; *ret_left: how many documents the smallest lets through. */
static const Term *pass_limits(const Term *term, Stream *stream, uint64_t *ret_left)
{
        uint64_t left;
        *ret_left = UINT64_MAX;
        while (stream && term->type == TERM_LIMIT && stream_is_limit(stream, &stream, &left)) {
                *ret_left = MIN(*ret_left, left);
                term = term->args[0];
        }
        return term;
}

/* As much of the query's text as is kept. */
static Status describe(const Query *query, Buf *text, bool *ret_cut)
{
        const size_t before = text->size;
        TRY(print_javascript(query_wire(query)->root, text));
        *ret_cut = text->size - before > DESCRIBE_BYTES;
        if (*ret_cut) {
                text->size = before + DESCRIBE_BYTES;
                while (text->size > before && (text->data[text->size] & 0xc0) == 0x80) /* between two characters */
                        text->size--;
        }
        return ST_OK;
}

static Status make_cursor(Query *query, const Buf *text, FeedCursor **ret_cursor)
{
        const Env *env = query_env(query);
        const size_t user_size = strlen(query_user(query)) + 1;
        FeedCursor *cursor = mem_zalloc(sizeof *cursor + text->size + user_size);
        if (!cursor)
                return status_nomem();
        memcpy(cursor->text, text->data, text->size);
        memcpy(cursor->text + text->size, query_user(query), user_size);
        cursor->world = query_world(query);
        cursor->min_batch_rows = env->min_batch_rows;
        cursor->max_batch_rows = env->max_batch_rows;
        cursor->max_batch_bytes = env->max_batch_bytes;
        cursor->array_limit = env->array_limit;
        atomic_init(&cursor->cancelled, false);
        *ret_cursor = cursor;
        return ST_OK;
}

static Status park(Query *query, Flow *flow, Buf *text, FeedCursor **ret_cursor)
{
        size_t count;
        uint64_t left;
        bool safe, cut;
        const Term *term = pass_limits(query_wire(query)->root, query_stream(query), &left);
        if (!changes_under(term, &count))
                return ST_OK;
        TRY(save_function(term, count, text, &safe));
        if (!safe)
                return ST_OK;
        const size_t function_bytes = text->size;
        TRY(describe(query, text, &cut));
        _cleanup_(feed_cursor_freep) FeedCursor *cursor = NULL;
        TRY(make_cursor(query, text, &cursor));
        cursor->function_bytes = (uint32_t)function_bytes;
        cursor->describe_bytes = (uint16_t)(text->size - function_bytes);
        cursor->is_cut = cut;
        cursor->left = left;
        changes_notes(query_env(query), query_wire(query)->root, cursor->notes, sizeof cursor->notes);
        TRY(flow_park(flow));
        changes_take(query_env(query), flow);
        cursor->flow = flow;
        *ret_cursor = take(cursor);
        return ST_OK;
}

Status query_park(Query *query, FeedCursor **ret_cursor)
{
        *ret_cursor = NULL;
        Flow *flow = query_is_feed(query) && query_stream(query) ? changes_only(query_env(query)) : NULL;
        if (!flow || !flow_can_park(flow))
                return ST_OK;
        Buf text;
        buf_init(&text, UINT32_MAX / 2);
        Status st = park(query, flow, &text, ret_cursor);
        buf_done(&text);
        return st;
}

/* --- batches --- */

typedef struct CursorBatch {
        FeedCursor *cursor;
        Buf *rows;
        size_t before;  /* size of `rows` */
        Func *function; /* NULL: not loaded */
} CursorBatch;

static Status load_function(CursorBatch *batch, Arena *arena)
{
        const FeedCursor *cursor = batch->cursor;
        char *text = arena_alloc(arena, cursor->function_bytes + JSON_PADDING);
        memcpy(text, cursor->text, cursor->function_bytes);
        memset(text + cursor->function_bytes, 0, JSON_PADDING);
        Term *term;
        TRY(wire_parse_func(BYTES(text, cursor->function_bytes), arena, &term));
        batch->function = arena_new(arena, Func);
        *batch->function = (Func){.kind = FUNC_TERM, .term = term};
        return ST_OK;
}

static Status begin_row(CursorBatch *batch)
{
        if (batch->cursor->left != UINT64_MAX)
                batch->cursor->left--;
        return batch->rows->size > batch->before ? buf_append_byte(batch->rows, ',') : ST_OK;
}

static Status write_item(CursorBatch *batch, Env *env, Arena *arena, const FlowItem *item)
{
        FeedCursor *cursor = batch->cursor;
        Value document, shown;
        if (!cursor->function_bytes) {
                TRY(begin_row(batch));
                return flow_document_write(item, flow_style(cursor->flow), batch->rows);
        }
        if (!batch->function)
                TRY(load_function(batch, arena));
        TRY(flow_document(item, flow_style(cursor->flow), arena, &document));
        env->arena = arena;
        TRY(func_call_datum(env, batch->function, &document, 1, &shown));
        for (size_t i = 0; i < value_count(shown) && cursor->left > 0; i++) {
                TRY(begin_row(batch));
                TRY(json_write(value_at(shown, i), batch->rows));
        }
        return ST_OK;
}

/* As changes_next does. */
static Status fill_batch(void *ctx, Env *env, Arena *arena)
{
        CursorBatch *batch = ctx;
        FeedCursor *cursor = batch->cursor;
        Flow *flow = cursor->flow;
        env->min_batch_rows = cursor->min_batch_rows;
        env->max_batch_rows = cursor->max_batch_rows;
        env->max_batch_bytes = cursor->max_batch_bytes;
        env->array_limit = cursor->array_limit;
        env->batch_kind = BATCH_NORMAL;
        env->batch_deadline_ns = INT64_MAX;
        TRY(flow_permit(flow, env));
        flow_begin(flow, env);
        SourceKind kind = flow_source_kind(flow);
        Batcher batcher = batcher_start(env, kind, (size_t)MIN(cursor->left, (uint64_t)SIZE_MAX));
        while (cursor->left > 0) {
                FlowItem item;
                FlowAnswer answer;
                ArenaMark mark = arena_mark(arena);
                bool had_function = batch->function;
                TRY(env_poll(env));
                TRY(flow_next(flow, env, arena, &item, &answer));
                bool some = batch->rows->size > batch->before;
                if (answer == FLOW_NOTHING || (answer == FLOW_CUT && some))
                        break;
                if (answer == FLOW_CUT)
                        continue;
                size_t bytes = batch->rows->size;
                TRY(write_item(batch, env, arena, &item));
                batcher.bytes += batch->rows->size - bytes;
                if (had_function || !cursor->function_bytes) /* what is written is not needed any more */
                        arena_rewind(arena, mark);
                if ((kind == SOURCE_EAGER || item.kind != FLOW_STATE) && batcher_add(&batcher, env, value_null()))
                        break;
        }
        return ST_OK;
}

Status feed_cursor_next(FeedCursor *cursor, Buf *rows, QueryAnswer *ret_answer)
{
        const size_t before = rows->size;
        CursorBatch batch = {.cursor = cursor, .rows = rows, .before = before};
        if (cursor->is_over)
                return status_new(ERR_CLOSED, "The query is over.");
        Status st = cursor->host ? ST_OK : query_new(cursor->world, user_of(cursor), &cursor->host);
        if (!st)
                st = query_run_for(cursor->host, &cursor->cancelled, fill_batch, &batch);
        if (st)
                rows->size = before;
        cursor->is_over = st || cursor->left == 0;
        if (cursor->is_over || flow_can_park(cursor->flow))
                cursor->host = query_free(cursor->host);
        *ret_answer = cursor->is_over ? ANSWER_SEQUENCE : ANSWER_PARTIAL;
        return st;
}

void feed_cursor_watch(FeedCursor *cursor, void (*ready)(void *ctx), void *ctx, void (*batch_ready)(void *batch_ctx),
                       void *batch_ctx)
{
        flow_watch(cursor->flow, ready, ctx, batch_ready, batch_ctx);
}

bool feed_cursor_is_long(FeedCursor *cursor)
{
        return cursor->function_bytes || flow_is_long(cursor->flow);
}

/* --- what is told of it --- */

Status feed_cursor_notes(const FeedCursor *cursor, Buf *out)
{
        return buf_append_str(out, cursor->notes);
}

/* The terms of the query are gone. */
Status feed_cursor_backtrace(const FeedCursor *cursor, Buf *out)
{
        (void)cursor;
        return buf_append_str(out, "[]");
}

Status feed_cursor_describe(const FeedCursor *cursor, size_t max, Buf *out)
{
        size_t size = MIN(max, (size_t)cursor->describe_bytes);
        const char *text = cursor->text + cursor->function_bytes;
        while (size > 0 && size < cursor->describe_bytes && (text[size] & 0xc0) == 0x80)
                size--;
        TRY(buf_append(out, text, size));
        return cursor->is_cut || size < cursor->describe_bytes ? buf_append_str(out, "...") : ST_OK;
}

size_t feed_cursor_memory_bytes(const FeedCursor *cursor)
{
        return sizeof *cursor + cursor->function_bytes + cursor->describe_bytes + strlen(user_of(cursor)) + 1 +
               flow_memory_bytes(cursor->flow) + (cursor->host ? query_memory_bytes(cursor->host) : 0);
}

void feed_cursor_cancel(FeedCursor *cursor)
{
        atomic_store(&cursor->cancelled, true);
}

FeedCursor *feed_cursor_free(FeedCursor *cursor)
{
        if (!cursor)
                return NULL;
        query_free(cursor->host);
        flow_close(cursor->flow);
        mem_free(cursor);
        return NULL;
}
