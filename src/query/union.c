/* union.c - union: its sources by turns, one after the other, or merged by an order that each of them has. */
#include "query/env_int.h"

typedef struct UnionStream {
        Stream stream;
        size_t count, next;
        Stream **sources;
        bool in_turn; /* one after the other, else batches of all by turns */
} UnionStream;

static Status union_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        UnionStream *self = (UnionStream *)stream;
        size_t waiting = 0; /* how many changefeeds in a row had nothing */
        while (self->count) {
                bool end;
                size_t before = batch->count;
                self->next %= self->count;
                TRY(stream_next(self->sources[self->next], env, out, want, batch, &end));
                if (end) {
                        memmove(&self->sources[self->next], &self->sources[self->next + 1],
                                (--self->count - self->next) * sizeof *self->sources);
                } else if (!self->in_turn) {
                        self->next++;
                }
                if (batch->count > before) {
                        env->feed_waits = false;
                        break;
                }
                waiting = env->feed_waits ? waiting + 1 : 0;
                if (waiting && (waiting >= self->count || self->in_turn))
                        break;
                env->feed_waits = false;
        }
        *ret_end = self->count == 0;
        return ST_OK;
}

static Status union_count(Stream *stream, Env *env, uint64_t *ret_count, bool *ret_known)
{
        UnionStream *self = (UnionStream *)stream;
        *ret_count = 0;
        *ret_known = true;
        for (size_t i = 0; *ret_known && i < self->count; i++) {
                Stream *source = self->sources[i];
                uint64_t count = 0;
                *ret_known = source->done || source->ops->count;
                if (*ret_known && !source->done)
                        TRY(source->ops->count(source, env, &count, ret_known));
                *ret_count += count;
        }
        return ST_OK;
}

static const StreamOps union_ops = {.next = union_next, .count = union_count};

/* `interleave` with an order: each source is sorted by it already, and so is the union. */
typedef struct MergeSource {
        Stream *stream;
        Arena *arena;
        ValueVec rows;
        size_t index;
        bool end;
        bool has_keys, has_before;
        Value *keys;   /* of rows[index] */
        Value *before; /* of the row before it: the source has to be in order */
        Arena *before_arena;
} MergeSource;

typedef struct MergeStream {
        Stream stream;
        size_t count;
        MergeSource *sources;
        struct MergeSpec {
                Func *func;
                bool descending;
        } * specs;
        size_t spec_count;
} MergeStream;

static int compare_keys(const MergeStream *self, const Value *a, const Value *b)
{
        for (size_t i = 0; i < self->spec_count; i++) {
                int order = value_compare(a[i], b[i]);
                if (order)
                        return self->specs[i].descending ? -order : order;
        }
        return 0;
}

static Status merge_fill(MergeStream *self, Env *env, MergeSource *source, bool *ret_has)
{
        BatchKind kind = env->batch_kind;
        env->batch_kind = BATCH_TERMINAL;
        Status st = ST_OK;
        while (!st && source->index >= source->rows.count && !source->end) {
                source->index = 0;
                source->rows = (ValueVec){0};
                arena_reset(source->arena);
                st = stream_next(source->stream, env, source->arena, STREAM_CHUNK, &source->rows, &source->end);
        }
        env->batch_kind = kind;
        TRY(st);
        *ret_has = source->index < source->rows.count;
        if (!*ret_has || source->has_keys)
                return ST_OK;
        Arena *outer = env->arena;
        env->arena = source->arena;
        for (size_t i = 0; !st && i < self->spec_count; i++)
                st = func_call_datum(env, self->specs[i].func, &source->rows.items[source->index], 1, &source->keys[i]);
        env->arena = outer;
        TRY(st);
        if (source->has_before && compare_keys(self, source->keys, source->before) < 0)
                return fail(env, self->stream.term, ERR_LOGIC,
                            "The streams given as arguments are not ordered by given ordering.");
        source->has_keys = true;
        return ST_OK;
}

/* The row has gone out: its keys stay for the check of the next. */
static void merge_pass(MergeStream *self, MergeSource *source)
{
        arena_reset(source->before_arena);
        for (size_t i = 0; i < self->spec_count; i++)
                source->before[i] = value_copy(source->keys[i], source->before_arena);
        source->has_before = true;
        source->has_keys = false;
        source->index++;
}

static Status merge_best(MergeStream *self, Env *env, MergeSource **ret_best)
{
        *ret_best = NULL;
        for (size_t i = 0; i < self->count; i++) {
                MergeSource *source = &self->sources[i];
                bool has;
                TRY(merge_fill(self, env, source, &has));
                if (has && (!*ret_best || compare_keys(self, source->keys, (*ret_best)->keys) < 0))
                        *ret_best = source;
        }
        return ST_OK;
}

static Status merge_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        MergeStream *self = (MergeStream *)stream;
        Batcher batcher = batcher_start(env, SOURCE_EAGER, want);
        MergeSource *best;
        for (bool full = false; !full;) {
                TRY(merge_best(self, env, &best));
                if (!best) {
                        *ret_end = true;
                        return ST_OK;
                }
                Value row = value_copy(best->rows.items[best->index], out);
                merge_pass(self, best);
                vec_add(batch, out, row);
                full = batcher_add(&batcher, env, row);
        }
        TRY(merge_best(self, env, &best));
        *ret_end = best == NULL;
        return ST_OK;
}

static const StreamOps merge_ops = {.next = merge_next};

static Status merge_spec(Env *env, const Term *term, struct MergeSpec *spec)
{
        Val val;
        spec->descending = term->type == TERM_DESC;
        TRY(eval(env, term, &val));
        return val_to_func(env, &val, SHORTCUT_GET_FIELD, &spec->func);
}

static Status union_ordered(Env *env, const Term *term, const Term *order, Stream **sources, size_t count, Val *ret)
{
        MergeStream *self = arena_new(env->arena, MergeStream);
        bool many = order->type == TERM_MAKE_ARRAY;
        self->stream = (Stream){.ops = &merge_ops, .term = term, .ordered = true, .is_array = true};
        if (order->type == TERM_DATUM && value_is(order->datum, V_ARRAY)) {
                self->spec_count = value_count(order->datum);
                self->specs = arena_zalloc(env->arena, MAX(self->spec_count, (size_t)1) * sizeof *self->specs);
                for (size_t i = 0; i < self->spec_count; i++) {
                        Val field = val_datum(order, value_at(order->datum, i));
                        TRY(val_to_func(env, &field, SHORTCUT_GET_FIELD, &self->specs[i].func));
                }
        } else {
                self->spec_count = many ? order->arg_count : 1;
                self->specs = arena_zalloc(env->arena, MAX(self->spec_count, (size_t)1) * sizeof *self->specs);
                for (size_t i = 0; i < self->spec_count; i++)
                        TRY(merge_spec(env, many ? order->args[i] : order, &self->specs[i]));
        }
        self->count = count;
        self->sources = arena_zalloc(env->arena, MAX(count, (size_t)1) * sizeof *self->sources);
        for (size_t i = 0; i < count; i++) {
                self->sources[i].stream = sources[i];
                self->sources[i].arena = stream_arena(env);
                self->sources[i].before_arena = stream_arena(env);
                self->sources[i].keys = arena_array(env->arena, Value, self->spec_count);
                self->sources[i].before = arena_array(env->arena, Value, self->spec_count);
                self->stream.is_array &= sources[i]->is_array;
                if (sources[i]->infinite)
                        self->stream.infinite = term;
        }
        return val_of_stream(env, term, &self->stream, ret);
}

Status term_union(Env *env, const Term *term, Val *ret)
{
        Args args;
        const Term *interleave = term_opt(term, "interleave");
        TRY(args_begin(env, term, &args));
        Stream **sources = arena_array(env->arena, Stream *, args.count);
        bool is_array = true, infinite = false, ordered = true;
        for (size_t i = 0; i < args.count; i++) {
                TRY(args_stream(&args, i, &sources[i]));
                is_array &= sources[i]->is_array;
                infinite |= sources[i]->infinite != NULL;
                ordered &= sources[i]->ordered;
        }
        bool in_turn = is_array;
        if (interleave) {
                if (interleave->type != TERM_DATUM || !value_is(interleave->datum, V_BOOL))
                        return union_ordered(env, term, interleave, sources, args.count, ret);
                in_turn |= !interleave->datum.boolean;
        }
        UnionStream *self = arena_new(env->arena, UnionStream);
        self->stream = (Stream){.ops = &union_ops,
                                .term = term,
                                .ordered = ordered && in_turn,
                                .is_array = is_array,
                                .infinite = infinite ? term : NULL};
        self->count = args.count;
        self->sources = sources;
        self->in_turn = in_turn;
        return val_of_stream(env, term, &self->stream, ret);
}
