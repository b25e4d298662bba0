/* sequence.c - terms that make sequences of sequences: map, concat_map, filter, limit, skip, slice, nth, sample, range.
 */
#include <stdlib.h>

#include "query/env_int.h"
#include "query/plan.h"

/* --- map --- */

static Status map_row(void *ctx, Env *env, Value row, ValueVec *out)
{
        const Func *func = ctx;
        Value mapped;
        TRY(func_call_datum(env, func, &row, 1, &mapped));
        vec_add(out, env->arena, mapped);
        return ST_OK;
}

/* Several sequences side by side, as long as the shortest. */
typedef struct MapStream {
        Stream stream;
        const Func *func;
        size_t count;
        struct MapSource {
                Stream *stream;
                Arena *arena; /* of `rows` */
                ValueVec rows;
                size_t index;
                bool end;
        } * sources;
} MapStream;

/* Makes sure that every source has a row; false if one is at its end, or (feed_waits) has none now. */
static Status fill_sources(MapStream *self, Env *env, bool *ret_has)
{
        BatchKind kind = env->batch_kind;
        Status st = ST_OK;
        *ret_has = true;
        if (likely(!env->flows)) /* a changefeed is not all read here */
                env->batch_kind = BATCH_TERMINAL;
        for (size_t i = 0; !st && *ret_has && i < self->count; i++) {
                struct MapSource *source = &self->sources[i];
                while (!st && source->index >= source->rows.count && !source->end && !env->feed_waits) {
                        source->index = 0;
                        source->rows = (ValueVec){0};
                        arena_reset(source->arena);
                        st = stream_next(source->stream, env, source->arena, STREAM_CHUNK, &source->rows, &source->end);
                        for (size_t j = 0; !st && env->flows && j < source->rows.count;
                             j++) /* they may wait for long */
                                source->rows.items[j] = value_copy(source->rows.items[j], source->arena);
                }
                *ret_has = source->index < source->rows.count;
        }
        env->batch_kind = kind;
        return st;
}

static Status map_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        MapStream *self = (MapStream *)stream;
        Batcher batcher = batcher_start(env, SOURCE_EAGER, want);
        size_t before = batch->count;
        bool has = true, full = false;
        while (!full) {
                TRY(fill_sources(self, env, &has));
                if (!has)
                        break;
                Value *values = arena_array(out, Value, self->count), mapped;
                for (size_t i = 0; i < self->count; i++) {
                        struct MapSource *source = &self->sources[i];
                        /* The sources move on at their own pace: what the result is made of has to stay. */
                        values[i] = value_copy(source->rows.items[source->index++], out);
                }
                TRY(func_call_datum(env, self->func, values, self->count, &mapped));
                vec_add(batch, out, mapped);
                full = batcher_add(&batcher, env, mapped);
        }
        if (has)
                TRY(fill_sources(self, env, &has)); /* to tell the last batch from a full one */
        *ret_end = !has && !env->feed_waits;
        if (batch->count > before)
                env->feed_waits = false;
        return ST_OK;
}

static const StreamOps map_ops = {.next = map_next};

static Status map_many(Args *args, Stream **streams, size_t count, Func *func, Val *ret)
{
        Env *env = args->env;
        MapStream *self = arena_new(env->arena, MapStream);
        self->stream = (Stream){
                .ops = &map_ops, .term = args->term, .ordered = true, .is_array = true, .infinite = args->term};
        self->func = func;
        self->count = count;
        self->sources = arena_zalloc(env->arena, count * sizeof *self->sources);
        for (size_t i = 0; i < count; i++) {
                self->sources[i].stream = streams[i];
                self->sources[i].arena = stream_arena(env);
                self->stream.is_array &= streams[i]->is_array;
                if (!streams[i]->infinite)
                        self->stream.infinite = NULL;
        }
        return val_of_stream(env, args->term, &self->stream, ret);
}

static Status term_map(Env *env, const Term *term, Val *ret)
{
        Args args;
        Func *func;
        TRY(args_begin(env, term, &args));
        size_t count = args.count - 1;
        Stream **streams = arena_array(env->arena, Stream *, count);
        for (size_t i = 0; i < count; i++)
                TRY(args_stream(&args, i, &streams[i]));
        TRY(args_func(&args, count, SHORTCUT_NONE, &func));
        int arity = func_arity(func);
        if (arity > 0 && (size_t)arity != count)
                return fail(env, term, ERR_LOGIC,
                            "The function passed to `map` expects %d argument%s, but %zu sequence%s found.", arity,
                            arity == 1 ? "" : "s", count, count == 1 ? " was" : "s were");
        if (count > 1)
                return map_many(&args, streams, count, func, ret);
        return val_of_stream(env, term, stream_transform(env, term, streams[0], map_row, func, false), ret);
}

/* --- concat_map --- */

/* Most functions give arrays: their elements go out as they are, made in the batch's arena. Once one gives a stream,
 * rows are pulled from it batch by batch and copied, since it lives in an arena of its own that is reset when it ends.
 */
typedef struct ConcatStream {
        Stream stream;
        Stream *source;
        const Func *func;
        Arena *source_arena, *inner_arena;
        ValueVec rows;
        size_t index;
        bool source_end;
        bool gives_streams;
        Stream *inner; /* of rows[index]; NULL: not begun */
} ConcatStream;

static Status concat_fill(ConcatStream *self, Env *env, size_t want)
{
        while (self->index >= self->rows.count && !self->source_end) {
                self->index = 0;
                self->rows = (ValueVec){0};
                arena_reset(self->source_arena);
                TRY(stream_next(self->source, env, self->source_arena, want, &self->rows, &self->source_end));
                if (unlikely(env->feed_waits))
                        break;
        }
        return ST_OK;
}

static Status concat_pull(ConcatStream *self, Env *env, Arena *out, ValueVec *batch)
{
        _cleanup_(scratch_putp) Scratch *scratch = scratch_get(env);
        ValueVec rows = {0};
        BatchKind kind = env->batch_kind;
        const void *owner = env->owner;
        bool end;
        env->batch_kind = BATCH_TERMINAL;
        env->owner = self;
        Status st = stream_next(self->inner, env, &scratch->arena, STREAM_CHUNK, &rows, &end);
        env->batch_kind = kind;
        env->owner = owner;
        TRY(st);
        for (size_t i = 0; i < rows.count; i++)
                vec_add(batch, out, value_copy(rows.items[i], out));
        if (end) {
                env_close_owned(env, self);
                arena_reset(self->inner_arena);
                self->inner = NULL;
                self->index++;
        }
        return ST_OK;
}

static Status concat_begin(ConcatStream *self, Env *env, Arena *out, ValueVec *batch)
{
        Val val;
        const void *owner = env->owner;
        Value row = value_copy(self->rows.items[self->index], self->gives_streams ? self->inner_arena : out);
        env->arena = self->gives_streams ? self->inner_arena : out;
        env->owner = self;
        Status st = func_call(env, self->func, &row, 1, &val);
        env->arena = out;
        env->owner = owner;
        TRY(st);
        if (val_is_datum(&val) && value_is(val.datum, V_ARRAY)) {
                Value array = self->gives_streams ? value_copy(val.datum, out) : val.datum;
                for (size_t i = 0; i < value_count(array); i++)
                        vec_add(batch, out, value_at(array, i));
                env_close_owned(env, self);
                if (self->gives_streams)
                        arena_reset(self->inner_arena);
                self->index++;
                return ST_OK;
        }
        if (!self->gives_streams && val_is_sequence(&val)) {
                env_close_owned(env, self);
                self->gives_streams = true; /* it was made in the wrong arena: make it anew */
                return ST_OK;
        }
        const Term *current = env->current;
        env->arena = self->inner_arena;
        env->current = self->func->term;
        st = val_as_stream(env, &val, &self->inner);
        if (!st)
                st = stream_check_finite(self->inner, env);
        env->arena = out;
        env->current = current;
        return st;
}

static Status concat_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        ConcatStream *self = (ConcatStream *)stream;
        Batcher batcher = batcher_start(env, SOURCE_EAGER, MAX(want, (size_t)STREAM_CHUNK));
        for (bool full = false; !full;) {
                size_t before = batch->count;
                TRY(env_poll(env));
                TRY(concat_fill(self, env, want));
                if (self->index >= self->rows.count)
                        break;
                TRY(self->inner ? concat_pull(self, env, out, batch) : concat_begin(self, env, out, batch));
                for (size_t i = before; i < batch->count; i++)
                        full |= batcher_add(&batcher, env, batch->items[i]);
        }
        TRY(concat_fill(self, env, want));
        *ret_end = self->index >= self->rows.count && self->source_end;
        return ST_OK;
}

static const StreamOps concat_ops = {.next = concat_next};

static Status term_concat_map(Env *env, const Term *term, Val *ret)
{
        Args args;
        Stream *source;
        Func *func;
        TRY(args_begin(env, term, &args));
        TRY(args_stream(&args, 0, &source));
        TRY(args_func(&args, 1, SHORTCUT_NONE, &func));
        ConcatStream *self = arena_new(env->arena, ConcatStream);
        self->stream = (Stream){.ops = &concat_ops,
                                .term = term,
                                .ordered = source->ordered,
                                .is_array = source->is_array,
                                .infinite = source->infinite};
        self->source = source;
        self->func = func;
        self->source_arena = stream_arena(env);
        self->inner_arena = stream_arena(env);
        return val_of_stream(env, term, &self->stream, ret);
}

/* --- filter --- */

typedef struct Filter {
        const Func *func;
        const Term *on_missing; /* option `default`; NULL: false */
        Frame *frame;
        Plan *plan; /* shared by the filters over one scan; NULL: there is nothing to choose */
} Filter;

/* The row lacks what the predicate looks at. r.error() as default means: then that is an error. */
static Status filter_missing(const Filter *filter, Env *env, Status cause, bool *ret_keep)
{
        _cleanup_(status_freep) Status original = cause;
        const Term *original_at = env->error_at;
        Frame *frame = env->frame;
        Val val;
        *ret_keep = false;
        if (!filter->on_missing)
                return ST_OK;
        env->frame = filter->frame;
        Status st = eval(env, filter->on_missing, &val);
        env->frame = frame;
        if (!st)
                return val_as_bool(env, &val, ret_keep);
        if (!env->empty_error)
                return st;
        status_ignore(st);
        env->empty_error = false;
        env->error_at = original_at;
        return take(original);
}

static Status filter_row(void *ctx, Env *env, Value row, ValueVec *out)
{
        const Filter *filter = ctx;
        bool keep;
        ArenaMark mark = arena_mark(env->arena);
        bool drops = env->drops_missing;
        env->drops_missing = !filter->on_missing || filter->on_missing->type == TERM_DATUM;
        Status st = func_matches(env, filter->func, row, &keep);
        env->drops_missing = drops;
        if (status_code(st) == ERR_NON_EXISTENCE)
                st = filter_missing(filter, env, st, &keep);
        TRY(st);
        arena_rewind(env->arena, mark);
        if (keep)
                vec_add(out, env->arena, row);
        return ST_OK;
}

/* A filter over filters is chosen for together with them: what they read is exchanged at the bottom. */
static Stream *plan_source(Env *env, Filter *filter, Stream *source)
{
        Stream *scan, **bottom = &source;
        Filter *below = stream_transform_of(source, filter_row, &bottom);
        filter->plan = plan_filter(env, below ? below->plan : NULL, source, filter->func, filter->on_missing, &scan);
        while (scan && stream_transform_of(*bottom, filter_row, &bottom))
                continue;
        if (scan)
                *bottom = scan;
        return source;
}

bool row_step_of_sequence(RowFn fn, const void *ctx, RowStep *ret)
{
        if (fn == filter_row) {
                const Filter *filter = ctx;
                *ret = (RowStep){.kind = ROW_FILTER, .func = filter->func, .on_missing = filter->on_missing};
                return true;
        }
        *ret = (RowStep){.kind = ROW_MAP, .func = ctx};
        return fn == map_row;
}

static Status term_filter(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val source, predicate;
        Func *func;
        Stream *stream;
        TRY(args_begin(env, term, &args));
        TRY(args_val(&args, 0, &source));
        TRY(args_val_literal(&args, 1, &predicate));
        TRY(val_to_func(env, &predicate, SHORTCUT_CONSTANT, &func));
        TRY(val_as_stream(env, &source, &stream));
        Filter *filter = arena_alloc(env->arena, sizeof *filter);
        *filter = (Filter){.func = func, .on_missing = term_opt(term, "default"), .frame = env->frame};
        if (env->planning)
                stream = plan_source(env, filter, stream);
        return val_of_stream(env, term, stream_transform(env, term, stream, filter_row, filter, true), ret);
}

/* --- limit, skip, slice --- */

typedef struct SliceStream {
        Stream stream;
        Stream *source;
        uint64_t left, right, index; /* rows left <= index < right; index: of the next row of the source */
} SliceStream;

static Status slice_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        SliceStream *self = (SliceStream *)stream;
        Batcher batcher = batcher_start(env, SOURCE_EAGER, want);
        bool end = self->left >= self->right, full = false;
        if (!end && self->index < self->left && unlikely(env->flows != NULL)) {
                ValueVec rows = {0};
                TRY(stream_next(self->source, env, out, want, &rows, &end));
                size_t passed = (size_t)MIN(self->left - self->index, (uint64_t)rows.count);
                for (size_t i = passed; i < rows.count && self->index + i < self->right; i++)
                        vec_add(batch, out, rows.items[i]);
                self->index += rows.count;
                full = true;
        } else if (!end && self->index < self->left) {
                uint64_t skipped;
                TRY(stream_skip(self->source, env, self->left - self->index, &skipped));
                self->index += skipped;
                end = self->index < self->left;
        }
        while (!end && !full) {
                uint64_t more = self->right - self->index;
                size_t before = batch->count;
                if (more == 0) {
                        end = true;
                        break;
                }
                TRY(stream_next(self->source, env, out, (size_t)MIN(more, (uint64_t)want), batch, &end));
                if (batch->count - before > more)
                        batch->count = before + (size_t)more;
                self->index += batch->count - before;
                for (size_t i = before; i < batch->count; i++)
                        full |= batcher_add(&batcher, env, batch->items[i]);
                full |= env->flows != NULL; /* what is there goes out: the next may come much later */
        }
        *ret_end = end || self->index >= self->right;
        return ST_OK;
}

static Status slice_skip(Stream *stream, Env *env, uint64_t n, uint64_t *ret_skipped)
{
        SliceStream *self = (SliceStream *)stream;
        uint64_t skipped, begin = MAX(self->index, self->left), target = MIN(begin + n, self->right);
        *ret_skipped = 0;
        if (begin + n < begin)
                target = self->right;
        if (target <= self->index)
                return ST_OK;
        TRY(stream_skip(self->source, env, target - self->index, &skipped));
        self->index += skipped;
        *ret_skipped = self->index > begin ? self->index - begin : 0;
        return ST_OK;
}

static Status slice_count(Stream *stream, Env *env, uint64_t *ret_count, bool *ret_known)
{
        SliceStream *self = (SliceStream *)stream;
        uint64_t rest = 0;
        *ret_known = false;
        if (!self->source->done) {
                if (!self->source->ops->count)
                        return ST_OK;
                TRY(self->source->ops->count(self->source, env, &rest, ret_known));
                if (!*ret_known)
                        return ST_OK;
        }
        uint64_t begin = MAX(self->index, self->left), end = MIN(self->index + rest, self->right);
        *ret_known = true;
        *ret_count = end > begin ? end - begin : 0;
        return ST_OK;
}

static const StreamOps slice_ops = {.next = slice_next, .skip = slice_skip, .count = slice_count};

static Status slice_stream(Env *env, const Term *term, Stream *source, uint64_t left, uint64_t right, Val *ret)
{
        SliceStream *self = arena_new(env->arena, SliceStream);
        self->stream = (Stream){.ops = &slice_ops,
                                .term = term,
                                .table = source->table,
                                .ordered = source->ordered,
                                .is_array = source->is_array,
                                .infinite = right == UINT64_MAX ? source->infinite : NULL};
        self->source = source;
        self->left = left;
        self->right = right;
        return val_of_stream(env, term, &self->stream, ret);
}

bool stream_is_limit(const Stream *stream, Stream **ret_source, uint64_t *ret_left)
{
        const SliceStream *self = (const SliceStream *)stream;
        if (stream->ops != &slice_ops || stream->done || self->left > 0)
                return false;
        *ret_source = self->source;
        *ret_left = self->right - self->index;
        return true;
}

static Status term_limit(Env *env, const Term *term, Val *ret)
{
        Args args;
        Stream *source;
        int32_t count;
        TRY(args_begin(env, term, &args));
        sort_first_rows(env, term);
        TRY(args_stream(&args, 0, &source));
        TRY(args_int32(&args, 1, &count));
        if (count < 0)
                return fail(env, term, ERR_LOGIC, "LIMIT takes a non-negative argument (got %d)", count);
        return slice_stream(env, term, source, 0, (uint64_t)count, ret);
}

/* A place in something of `size` elements; negative ones count from its end. */
static uint64_t slice_index(int64_t index, uint64_t size, bool step)
{
        bool before = false;
        uint64_t place = (uint64_t)index;
        if (index < 0) {
                before = (uint64_t)-index > size;
                place = before ? 0 : size - (uint64_t)-index;
        }
        return place + (step && !before);
}

typedef struct SliceBounds {
        int64_t left, right;
        bool left_open, right_open;
} SliceBounds;

static void slice_range(const SliceBounds *bounds, uint64_t size, uint64_t *ret_left, uint64_t *ret_right)
{
        *ret_right = MIN(slice_index(bounds->right, size, !bounds->right_open), size);
        *ret_left = MIN(slice_index(bounds->left, size, bounds->left_open), *ret_right);
}

static size_t codepoint_count(Bytes text)
{
        size_t count = 0;
        for (size_t i = 0; i < text.size; i++)
                count += (text.data[i] & 0xC0) != 0x80;
        return count;
}

static size_t codepoint_offset(Bytes text, uint64_t index)
{
        size_t i = 0;
        for (; i < text.size; i++)
                if ((text.data[i] & 0xC0) != 0x80 && index-- == 0)
                        break;
        return i;
}

static Status slice_datum(Env *env, const Term *term, const Val *source, const SliceBounds *bounds, Val *ret)
{
        Value v = source->datum;
        Bytes bytes = value_is(v, V_ARRAY) ? BYTES_NONE : value_bytes(v);
        uint64_t left, right;
        if (value_is(v, V_STRING)) {
                slice_range(bounds, codepoint_count(bytes), &left, &right);
                size_t from = codepoint_offset(bytes, left), to = codepoint_offset(bytes, right);
                *ret = val_datum(term, value_string(BYTES(bytes.data + from, to - from)));
                return ST_OK;
        }
        slice_range(bounds, v.size, &left, &right);
        if (value_is(v, V_BINARY)) {
                *ret = val_datum(term, value_binary(BYTES(bytes.data + left, right - left)));
                return ST_OK;
        }
        Value *items = arena_array(env->arena, Value, right - left);
        for (uint64_t i = left; i < right; i++)
                items[i - left] = value_at(v, i);
        *ret = val_datum(term, value_array(items, right - left));
        TRY(check_array_size(env, term, right - left));
        return ST_OK;
}

static Status slice_val(Env *env, const Term *term, const Val *source, const SliceBounds *bounds, Val *ret)
{
        Stream *stream;
        if (val_is_datum(source)) {
                Value v = source->datum;
                if (value_is(v, V_ARRAY) || value_is(v, V_STRING) || value_is(v, V_BINARY))
                        return slice_datum(env, term, source, bounds, ret);
                return fail(env, source->term, ERR_LOGIC, "Expected ARRAY, BINARY, or STRING, but found %s.",
                            value_type_name(v));
        }
        if (!val_is_sequence(source))
                return fail(env, source->term, ERR_LOGIC, "Cannot slice non-sequences.");
        TRY(val_as_stream(env, source, &stream));
        if (bounds->left < 0)
                return fail(env, term, ERR_LOGIC, "Cannot use a negative left index on a stream.");
        uint64_t left = (uint64_t)bounds->left + bounds->left_open,
                 right = (uint64_t)bounds->right + !bounds->right_open;
        if (bounds->right < -1)
                return fail(env, term, ERR_LOGIC, "Cannot use a right index < -1 on a stream.");
        if (bounds->right == -1) {
                if (bounds->right_open)
                        return fail(env, term, ERR_LOGIC, "Cannot slice to an open right index of -1 on a stream.");
                right = UINT64_MAX;
        }
        return slice_stream(env, term, stream, left, right, ret);
}

static Status term_slice(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val source;
        SliceBounds bounds = {.right = -1};
        TRY(args_begin(env, term, &args));
        sort_first_rows(env, term);
        TRY(args_val(&args, 0, &source));
        if (term->type == TERM_SLICE)
                TRY(opt_bound_open(env, term, "left_bound", false, &bounds.left_open));
        TRY(args_int(&args, 1, &bounds.left));
        if (args.count == 3) {
                TRY(opt_bound_open(env, term, "right_bound", true, &bounds.right_open));
                TRY(args_int(&args, 2, &bounds.right));
        }
        return slice_val(env, term, &source, &bounds, ret);
}

/* --- nth, is_empty --- */

static Status nth_of_array(Env *env, const Term *term, const Val *sequence, int64_t n, Val *ret)
{
        if (sequence->kind == VAL_ROW)
                TRY(expect_type(env, term, sequence->datum, V_ARRAY));
        if (!value_is(sequence->datum, V_ARRAY))
                return fail(env, term, value_is(sequence->datum, V_NULL) ? ERR_NON_EXISTENCE : ERR_LOGIC,
                            "Cannot convert %s to SEQUENCE", value_type_name(sequence->datum));
        int64_t size = (int64_t)value_count(sequence->datum);
        if (n < -size)
                return fail(env, term, ERR_NON_EXISTENCE, "Index out of bounds: %lld", (long long)n);
        if (n >= size)
                return fail(env, term, ERR_NON_EXISTENCE, "Index out of bounds: %lld", (long long)n);
        Value v = value_at(sequence->datum, (size_t)(n < 0 ? size + n : n));
        *ret = val_datum(term, v);
        return ST_OK;
}

typedef struct LastRow {
        Value row;
        Arena *arena;
} LastRow;

static Status note_last(void *ctx, Env *env, Value row, bool *ret_stop)
{
        LastRow *last = ctx;
        (void)env;
        (void)ret_stop;
        arena_reset(last->arena);
        last->row = value_copy(row, last->arena);
        return ST_OK;
}

/* How many rows a stream has of which any can be gone to without making those before it. */
static Status counted(Stream *stream, Env *env, uint64_t *ret_count, bool *ret_known)
{
        *ret_known = false;
        if (!stream->ops->count || !stream->ops->skip || stream->done)
                return ST_OK;
        return stream->ops->count(stream, env, ret_count, ret_known);
}

static Status row_at(Stream *stream, Env *env, uint64_t n, Value *ret);

static Status last_row(Stream *stream, Env *env, Value *ret)
{
        uint64_t count = 0;
        bool known;
        *ret = value_none();
        TRY(counted(stream, env, &count, &known));
        if (known)
                return count ? row_at(stream, env, count - 1, ret) : ST_OK;
        _cleanup_(scratch_putp) Scratch *scratch = scratch_get(env);
        LastRow last = {.row = value_none(), .arena = &scratch->arena};
        TRY(stream_each(stream, env, note_last, &last));
        *ret = value_is(last.row, V_NONE) ? last.row : value_copy(last.row, env->arena);
        return ST_OK;
}

static Status row_at(Stream *stream, Env *env, uint64_t n, Value *ret)
{
        uint64_t skipped;
        ValueVec rows = {0};
        BatchKind kind = env->batch_kind;
        *ret = value_none();
        TRY(stream_skip(stream, env, n, &skipped));
        if (skipped < n)
                return ST_OK;
        env->batch_kind = BATCH_TERMINAL;
        Status st = ST_OK;
        for (bool end = false; !st && !end && rows.count == 0;)
                st = stream_next(stream, env, env->arena, 1, &rows, &end);
        env->batch_kind = kind;
        if (rows.count)
                *ret = rows.items[0];
        return st;
}

Status nth_of(Env *env, const Term *term, const Val *sequence, const Val *index, Val *ret)
{
        int32_t n;
        Stream *stream;
        Value row;
        TRY(val_as_int32(env, index, &n));
        if (val_is_datum(sequence))
                return nth_of_array(env, term, sequence, n, ret);
        TRY(val_as_stream(env, sequence, &stream));
        if (n < -1)
                return fail(env, term, ERR_LOGIC, "Cannot use an index < -1 (%d) on a stream.", n);
        TRY(stream_check_finite(stream, env));
        TRY(n == -1 ? last_row(stream, env, &row) : row_at(stream, env, (uint64_t)n, &row));
        if (value_is(row, V_NONE))
                return fail(env, term, ERR_NON_EXISTENCE, "Index out of bounds: %d", n);
        *ret = stream->table ? val_row(term, stream->table, row) : val_datum(term, row);
        return ST_OK;
}

static Status term_nth(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val sequence, index;
        TRY(args_begin(env, term, &args));
        sort_first_rows(env, term);
        TRY(args_val(&args, 0, &sequence));
        TRY(args_val(&args, 1, &index));
        return nth_of(env, term, &sequence, &index, ret);
}

static Status term_is_empty(Env *env, const Term *term, Val *ret)
{
        Args args;
        Stream *stream;
        Value row;
        TRY(args_begin(env, term, &args));
        TRY(args_stream(&args, 0, &stream));
        TRY(row_at(stream, env, 0, &row));
        *ret = val_datum(term, value_bool(value_is(row, V_NONE)));
        return ST_OK;
}

/* --- range --- */

typedef struct RangeStream {
        Stream stream;
        int64_t next, stop;
} RangeStream;

#define DOUBLE_EXACT (INT64_C(1) << 53)

static Status range_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        RangeStream *self = (RangeStream *)stream;
        Batcher batcher = batcher_start(env, SOURCE_RANGE, want);
        while (stream->infinite || self->next < self->stop) {
                if (self->next > DOUBLE_EXACT)
                        return fail(env, stream->term, ERR_LOGIC, "`range` out of safe double bounds.");
                Value row = value_number((double)self->next++);
                vec_add(batch, out, row);
                if (batcher_add(&batcher, env, row))
                        break;
        }
        *ret_end = !stream->infinite && self->next >= self->stop;
        return ST_OK;
}

static Status range_skip(Stream *stream, Env *env, uint64_t n, uint64_t *ret_skipped)
{
        RangeStream *self = (RangeStream *)stream;
        uint64_t left = stream->infinite           ? (uint64_t)(DOUBLE_EXACT + 1 - MIN(self->next, DOUBLE_EXACT + 1))
                        : self->next >= self->stop ? 0
                                                   : (uint64_t)(self->stop - self->next);
        (void)env;
        *ret_skipped = MIN(n, left);
        self->next += (int64_t)*ret_skipped;
        return ST_OK;
}

static Status range_count(Stream *stream, Env *env, uint64_t *ret_count, bool *ret_known)
{
        RangeStream *self = (RangeStream *)stream;
        (void)env;
        *ret_count = self->next >= self->stop ? 0 : (uint64_t)(self->stop - self->next);
        *ret_known = !stream->infinite;
        return ST_OK;
}

static const StreamOps range_ops = {.next = range_next, .skip = range_skip, .count = range_count};

static Status term_range(Env *env, const Term *term, Val *ret)
{
        Args args;
        RangeStream *self = arena_new(env->arena, RangeStream);
        TRY(args_begin(env, term, &args));
        self->stream = (Stream){.ops = &range_ops, .term = term, .ordered = true, .infinite = args.count ? NULL : term};
        if (args.count == 1)
                TRY(args_int(&args, 0, &self->stop));
        if (args.count == 2) {
                TRY(args_int(&args, 0, &self->next));
                TRY(args_int(&args, 1, &self->stop));
        }
        *ret = val_stream(term, &self->stream);
        return ST_OK;
}

/* --- sample --- */

typedef struct Reservoir {
        ValueVec rows; /* grows: more may be asked for than there is */
        Arena *arena;
        uint64_t size, seen;
} Reservoir;

static Status sample_row(void *ctx, Env *env, Value row, bool *ret_stop)
{
        Reservoir *reservoir = ctx;
        uint64_t random, at = reservoir->seen++;
        (void)ret_stop;
        if (at < reservoir->size) {
                vec_add(&reservoir->rows, reservoir->arena, value_copy(row, reservoir->arena));
                return check_array_size(env, env->current, reservoir->rows.count);
        }
        TRY(env_random(env, &random));
        at = random % reservoir->seen;
        if (at < reservoir->size)
                reservoir->rows.items[at] = value_copy(row, reservoir->arena);
        return ST_OK;
}

static int compare_places(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
        return (x > y) - (x < y);
}

static Status shuffle(Env *env, ValueVec *rows)
{
        for (size_t i = rows->count; i > 1; i--) {
                uint64_t random;
                TRY(env_random(env, &random));
                Value row = rows->items[random % i];
                rows->items[random % i] = rows->items[i - 1];
                rows->items[i - 1] = row;
        }
        return ST_OK;
}

/* So many different places out of `count`, each set of them as likely as any other (Floyd): place j is drawn from those
 * up to j, and is j itself if it was drawn before. Sorted. */
static Status draw_places(Env *env, uint64_t count, size_t size, uint64_t *places)
{
        for (size_t i = 0; i < size; i++) {
                uint64_t random, last = count - size + i;
                TRY(env_random(env, &random));
                places[i] = random % (last + 1);
                for (size_t k = 0; k < i && places[i] != last; k++)
                        if (places[k] == places[i])
                                places[i] = last;
        }
        qsort(places, size, sizeof *places, compare_places);
        return ST_OK;
}

#define PLACES_MAX 1000 /* drawing looks through those that were drawn */

/* Few rows of many that are counted: only they are read. *ret_done false: the sample is as large as all, or nobody can
 * count them. */
static Status sample_places(Env *env, Stream *stream, uint64_t size, ValueVec *rows, bool *ret_done)
{
        uint64_t count = 0, at = 0;
        TRY(counted(stream, env, &count, ret_done));
        *ret_done = *ret_done && size <= PLACES_MAX && size < count / 8;
        if (!*ret_done)
                return ST_OK;
        uint64_t *places = arena_array(env->arena, uint64_t, size);
        TRY(draw_places(env, count, (size_t)size, places));
        for (size_t i = 0; i < size; i++) {
                Value row;
                TRY(row_at(stream, env, places[i] - at, &row));
                if (value_is(row, V_NONE))
                        break;
                vec_add(rows, env->arena, row);
                at = places[i] + 1;
        }
        return shuffle(env, rows);
}

static Status term_sample(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val source;
        Stream *stream;
        int64_t count;
        TRY(args_begin(env, term, &args));
        TRY(args_first(&args));
        TRY(args_int(&args, 1, &count));
        if (count < 0)
                return fail(env, term, ERR_LOGIC, "Number of items to sample must be non-negative, got `%lld`.",
                            (long long)count);
        TRY(args_val(&args, 0, &source));
        TRY(val_as_stream(env, &source, &stream));
        TRY(stream_check_finite(stream, env));
        Reservoir reservoir = {.arena = env->arena, .size = (uint64_t)count};
        bool done = count == 0;
        if (!done)
                TRY(sample_places(env, stream, (uint64_t)count, &reservoir.rows, &done));
        if (!done)
                TRY(stream_each(stream, env, sample_row, &reservoir));
        return sorted_result(env, term, stream->table, value_array(reservoir.rows.items, reservoir.rows.count), ret);
}

static const TermEval list[] = {
        {TERM_MAP, term_map, true},       {TERM_CONCAT_MAP, term_concat_map, true},
        {TERM_FILTER, term_filter, true}, {TERM_LIMIT, term_limit, true},
        {TERM_SKIP, term_slice, true},    {TERM_SLICE, term_slice, true},
        {TERM_NTH, term_nth, true},       {TERM_IS_EMPTY, term_is_empty, true},
        {TERM_RANGE, term_range, true},   {TERM_SAMPLE, term_sample, true},
        {TERM_UNION, term_union, true},
};
const TermList terms_sequence = {list, ELEMENTS(list)};
