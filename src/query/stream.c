/* stream.c - streams: pulling, skipping and collecting them; the sources (arrays, tables) and row-by-row transforms. */
#include "query/exec_filter.h"
#include "query/profile.h"

void vec_add(ValueVec *vec, Arena *arena, Value v)
{
        if (unlikely(vec->count == vec->capacity)) {
                size_t capacity = vec->capacity ? 2 * vec->capacity : 16;
                Value *items = arena_array(arena, Value, capacity);
                if (vec->count)
                        memcpy(items, vec->items, vec->count * sizeof *items);
                vec->items = items;
                vec->capacity = capacity;
        }
        vec->items[vec->count++] = v;
}

static bool reads_table(const Stream *stream)
{
        return stream->table && (stream->term->type == TERM_TABLE || stream->term->type == TERM_GET_ALL ||
                                 stream->term->type == TERM_BETWEEN);
}

Status stream_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        *ret_end = stream->done;
        if (stream->done)
                return ST_OK;
        if (unlikely(env->depth >= EVAL_MAX_DEPTH || env_stack_low(env)))
                return fail(env, stream->term, ERR_RESOURCE, "Recursion limit of %d exceeded.", EVAL_MAX_DEPTH);
        TRY(env_poll(env));
        Arena *outer_arena = env->arena;
        const Term *outer_current = env->current;
        env->arena = out;
        env->current = stream->term;
        env->depth++;
        TraceTask *task = trace_begin(env, reads_table(stream) ? TRACE_READ : TRACE_BATCHES, stream->term);
        size_t before = batch->count;
        Status st = stream->ops->next(stream, env, out, want, batch, &stream->done);
        trace_rows(task, batch->count - before);
        trace_end(env, task);
        env->depth--;
        env->arena = outer_arena;
        env->current = outer_current;
        *ret_end = stream->done;
        return st;
}

Status stream_check_finite(Stream *stream, Env *env)
{
        if (!stream->infinite)
                return ST_OK;
        return fail(env, stream->infinite, ERR_LOGIC,
                    "Cannot use an infinite stream with an aggregation function (`reduce`, `count`, etc.) or coerce it "
                    "to an "
                    "array.");
}

/* Inside a consumer everything is pulled without the client's limits. */
static Status next_inside(Stream *stream, Env *env, Arena *out, ValueVec *batch, bool *ret_end)
{
        BatchKind outer = env->batch_kind;
        env->batch_kind = BATCH_TERMINAL;
        Status st = stream_next(stream, env, out, STREAM_CHUNK, batch, ret_end);
        env->batch_kind = outer;
        return st;
}

Status stream_skip(Stream *stream, Env *env, uint64_t n, uint64_t *ret_skipped)
{
        *ret_skipped = 0;
        if (stream->done || n == 0)
                return ST_OK;
        if (stream->ops->skip)
                return stream->ops->skip(stream, env, n, ret_skipped);
        _cleanup_(scratch_putp) Scratch *scratch = scratch_get(env);
        BatchKind outer = env->batch_kind;
        env->batch_kind = BATCH_TERMINAL;
        Status st = ST_OK;
        for (bool end = false; !st && !end && *ret_skipped < n;) {
                ValueVec batch = {0};
                st = stream_next(stream, env, &scratch->arena, MIN(n - *ret_skipped, (uint64_t)STREAM_CHUNK), &batch,
                                 &end);
                *ret_skipped += batch.count;
                arena_reset(&scratch->arena);
        }
        env->batch_kind = outer;
        return st;
}

Status stream_to_array(Stream *stream, Env *env, Arena *out, Value *ret)
{
        ValueVec rows = {0};
        const Term *at = env->current ? env->current : stream->term;
        const Term *at_size = stream->is_array ? at : NULL; /* RethinkDB says of a stream only that it is too long */
        TRY(stream_check_finite(stream, env));
        for (bool end = false; !end;) {
                TRY(next_inside(stream, env, out, &rows, &end));
                TRY(check_array_size(env, at_size, rows.count));
        }
        *ret = value_array(rows.items, rows.count);
        return check_depth(env, at, *ret);
}

Status stream_each(Stream *stream, Env *env, Status (*each)(void *ctx, Env *env, Value row, bool *ret_stop), void *ctx)
{
        _cleanup_(scratch_putp) Scratch *scratch = scratch_get(env);
        Arena *outer = env->arena;
        for (bool end = false, stop = false; !end && !stop;) {
                ValueVec batch = {0};
                TRY(next_inside(stream, env, &scratch->arena, &batch, &end));
                env->arena = &scratch->arena;
                Status st = ST_OK;
                for (size_t i = 0; !st && !stop && i < batch.count; i++)
                        st = each(ctx, env, batch.items[i], &stop);
                env->arena = outer;
                TRY(st);
                arena_reset(&scratch->arena);
        }
        return ST_OK;
}

/* --- arrays --- */

typedef struct ArrayStream {
        Stream stream;
        Value array;
        size_t index;
} ArrayStream;

static Status array_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        ArrayStream *self = (ArrayStream *)stream;
        Batcher batcher = batcher_start(env, SOURCE_EAGER, want);
        size_t count = value_count(self->array);
        while (self->index < count) {
                Value row = value_at(self->array, self->index++);
                vec_add(batch, out, row);
                if (batcher_add(&batcher, env, row))
                        break;
        }
        *ret_end = self->index >= count;
        return ST_OK;
}

static Status array_skip(Stream *stream, Env *env, uint64_t n, uint64_t *ret_skipped)
{
        ArrayStream *self = (ArrayStream *)stream;
        *ret_skipped = MIN(n, (uint64_t)(value_count(self->array) - self->index));
        self->index += *ret_skipped;
        return ST_OK;
}

static Status array_count(Stream *stream, Env *env, uint64_t *ret_count, bool *ret_known)
{
        ArrayStream *self = (ArrayStream *)stream;
        *ret_count = value_count(self->array) - self->index;
        *ret_known = true;
        return ST_OK;
}

static const StreamOps array_ops = {.next = array_next, .skip = array_skip, .count = array_count};

Stream *stream_of_array(Env *env, const Term *term, Value array)
{
        ArrayStream *self = arena_new(env->arena, ArrayStream);
        self->stream = (Stream){.ops = &array_ops, .term = term, .ordered = true, .is_array = true};
        self->array = array;
        return &self->stream;
}

/* --- tables --- */

typedef struct TableStream {
        Stream stream;
        TableVal *table;
        const TableSource *source;
        TableScan *scan; /* NULL: not begun */
        Deferred *deferred;
        uint64_t passed; /* rows given and skipped so far */
} TableStream;

static void close_scan(void *what)
{
        TableStream *self = what;
        self->source->scan_close(self->scan);
        self->scan = NULL;
}

static Status table_begin(TableStream *self, Env *env)
{
        if (self->scan)
                return ST_OK;
        TRY(table_scan_open(env, self->stream.term, self->table, &self->scan));
        self->deferred = env_defer(env, close_scan, self);
        return ST_OK;
}

static void table_end(TableStream *self, Env *env)
{
        if (self->scan)
                env_undefer(env, self->deferred);
}

static Status table_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        TableStream *self = (TableStream *)stream;
        TRY(table_begin(self, env));
        Batcher batcher = batcher_start(env, SOURCE_TABLE, want);
        for (;;) {
                Value row;
                TRY(fail_at(env, stream->term, env->source->scan_next(self->scan, out, &row)));
                if (value_is(row, V_NONE))
                        break;
                self->passed++;
                vec_add(batch, out, row);
                if (batcher_add(&batcher, env, row))
                        return ST_OK;
        }
        table_end(self, env);
        *ret_end = true;
        return ST_OK;
}

static Status table_skip(Stream *stream, Env *env, uint64_t n, uint64_t *ret_skipped)
{
        TableStream *self = (TableStream *)stream;
        TRY(table_begin(self, env));
        TRY(fail_at(env, stream->term, env->source->scan_skip(self->scan, n, ret_skipped)));
        self->passed += *ret_skipped;
        return ST_OK;
}

static Status table_count(Stream *stream, Env *env, uint64_t *ret_count, bool *ret_known)
{
        TableStream *self = (TableStream *)stream;
        uint64_t all;
        TRY(table_count_rows(env, stream->term, self->table, &all));
        *ret_count = all - MIN(all, self->passed);
        *ret_known = true;
        return ST_OK;
}

static const StreamOps table_ops = {.next = table_next, .skip = table_skip, .count = table_count};

Stream *stream_of_table(Env *env, const Term *term, TableVal *table)
{
        TableStream *self = arena_new(env->arena, TableStream);
        self->stream = (Stream){.ops = &table_ops, .term = term, .table = table, .ordered = table->order != 0};
        self->table = table;
        self->source = env->source;
        return &self->stream;
}

TableVal *stream_whole_scan(Stream *stream)
{
        TableStream *self = (TableStream *)stream;
        return stream->ops == &table_ops && !self->scan && self->passed == 0 && !stream->done ? self->table : NULL;
}

/* --- transforms --- */

typedef struct TransformStream {
        Stream stream;
        Stream *source;
        RowFn fn;
        void *ctx;
        bool begun;
        ExecFilter *filter; /* does it all; NULL: row by row */
} TransformStream;
static Stream *bottom_of(Stream *stream);

static Status transform_batch(TransformStream *self, Env *env, const ValueVec *rows, ValueVec *kept)
{
        for (size_t i = 0; i < rows->count; i++)
                TRY(self->fn(self->ctx, env, rows->items[i], kept));
        return ST_OK;
}

static Status transform_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        TransformStream *self = (TransformStream *)stream;
        size_t before = batch->count;
        if (!self->begun)
                self->filter = exec_filter_open(env, stream);
        self->begun = true;
        if (self->filter) {
                bool gives_up;
                uint64_t passed;
                TRY(exec_filter_next(self->filter, env, out, want, batch, ret_end, &gives_up, &passed));
                if (!gives_up)
                        return ST_OK;
                self->filter = NULL;
                TRY(stream_skip(bottom_of(stream), env, passed, &passed));
        }
        for (bool end = false; !end;) {
                ArenaMark mark = arena_mark(out);
                ValueVec rows = {0}, kept = {0};
                TRY(stream_next(self->source, env, out, want, &rows, &end));
                TRY(transform_batch(self, env, &rows, &kept));
                *ret_end = end;
                if (kept.count == 0) {
                        arena_rewind(out, mark);
                        if (unlikely(env->feed_waits))
                                break;
                        continue; /* else a batch is only empty at the end */
                }
                /* What survived moves to the place of what did not, or a selective filter would hold the table. */
                if (rows.count >= 64 && kept.count <= rows.count / 8) {
                        _cleanup_(scratch_putp) Scratch *scratch = scratch_get(env);
                        Value *moved = arena_array(&scratch->arena, Value, kept.count);
                        for (size_t i = 0; i < kept.count; i++)
                                moved[i] = value_copy(kept.items[i], &scratch->arena);
                        arena_rewind(out, mark);
                        for (size_t i = 0; i < kept.count; i++)
                                vec_add(batch, out, value_copy(moved[i], out));
                } else if (batch->count == 0) {
                        *batch = kept;
                } else {
                        for (size_t i = 0; i < kept.count; i++)
                                vec_add(batch, out, kept.items[i]);
                }
                if (batch->count - before > 0)
                        break;
        }
        return ST_OK;
}

static const StreamOps transform_ops = {.next = transform_next};

static Stream *bottom_of(Stream *stream)
{
        while (stream->ops == &transform_ops)
                stream = ((TransformStream *)stream)->source;
        return stream;
}

bool stream_is_scan(const Stream *stream, const TableVal **ret_table)
{
        const TableStream *self = (const TableStream *)stream;
        if (stream->ops != &table_ops || stream->done || self->scan || self->passed)
                return false;
        *ret_table = self->table;
        return true;
}

bool stream_is_step(const Stream *stream, const Stream **ret_source, RowStep *ret_step)
{
        const TransformStream *self = (const TransformStream *)stream;
        if (stream->ops != &transform_ops || stream->done || self->begun)
                return false;
        *ret_source = self->source;
        return row_step_of_sequence(self->fn, self->ctx, ret_step) || row_step_of_object(self->fn, self->ctx, ret_step);
}

bool stream_has_scan(const Stream *stream)
{
        const TableVal *table;
        while (stream->ops == &transform_ops)
                stream = ((const TransformStream *)stream)->source;
        return stream_is_scan(stream, &table);
}

Stream *stream_transform(Env *env, const Term *term, Stream *source, RowFn fn, void *ctx, bool keeps_rows)
{
        TransformStream *self = arena_new(env->arena, TransformStream);
        self->stream = (Stream){.ops = &transform_ops,
                                .term = term,
                                .table = keeps_rows ? source->table : NULL,
                                .ordered = source->ordered,
                                .is_array = source->is_array,
                                .infinite = source->infinite};
        self->source = source;
        self->fn = fn;
        self->ctx = ctx;
        return &self->stream;
}

void *stream_transform_of(Stream *stream, RowFn fn, Stream ***ret_source)
{
        TransformStream *self = (TransformStream *)stream;
        if (stream->ops != &transform_ops || self->fn != fn)
                return NULL;
        *ret_source = &self->source;
        return self->ctx;
}
