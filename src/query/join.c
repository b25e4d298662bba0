/* join.c - inner_join, outer_join, eq_join: for each row on the left, the rows on the right that go with it.
 *
 * What joins give is copied into the batch: the left rows and the right side's stream live in arenas of the join, which
 * are reset as it goes on, so that a join of two large tables holds one batch of each and not their product.
 *
 * inner_join and outer_join read the right side once for each left row. It is evaluated for the first, and for the
 * second, of whom it is kept (spill_rows.h) for all that follow, if it must come out the same each time. A table that
 * does not fit is read again instead of being put aside: it is on disk already. */
#include "query/env_int.h"
#include "query/key_lookup.h"
#include "query/spill_rows.h"

typedef enum RightState {
        RIGHT_ONCE,    /* nothing read yet */
        RIGHT_AGAIN,   /* read once: if it is read again it is kept */
        RIGHT_KEEPING, /* being read, and kept */
        RIGHT_KEPT,
        RIGHT_ANEW, /* evaluated for each left row */
} RightState;

typedef struct JoinStream {
        Stream stream;
        Args args; /* the right side is evaluated by them, unless it is an array */
        Frame *frame;
        Stream *left;
        const Func *func; /* predicate(left, right), or left -> key; NULL: evaluated when first called */
        Arena *left_arena, *right_arena, *func_arena;
        ValueVec left_rows;
        size_t left_index; /* of the present row in left_rows */
        bool left_end;
        Stream *right;  /* of the present left row; NULL: not begun */
        size_t matched; /* how many rows go with the present left row */
        RightState state;
        KeptRows *kept;
        uint64_t kept_writes;   /* env->writes when keeping began: it is out of date after another one */
        Val right_array;        /* the right side if it is an array */
        Value *rights;          /* eq_join by primary key: of the left rows from 0, as key_lookup gives them */
        size_t rights_count;    /* 0: not looked up together */
        uint64_t rights_writes; /* env->writes then: what was read before a write is out of date */
        TableVal *right_table;  /* eq_join; by an index its bounds are the present left row's key */
        const TableSource *source;
        TableScan *scan; /* of the right rows with that key; NULL: the next left row comes */
        Deferred *deferred;
} JoinStream;

static Status add_joined(JoinStream *self, Env *env, Value left, Value right, ValueVec *batch)
{
        Field *fields = arena_array(env->arena, Field, 2);
        size_t count = 1;
        fields[0] = (Field){BYTES_STR("left"), value_copy(left, env->arena)};
        if (!value_is(right, V_NONE))
                fields[count++] = (Field){BYTES_STR("right"), value_copy(right, env->arena)};
        Value row = value_object_sorted(fields, count);
        TRY(check_depth(env, self->stream.term, row));
        vec_add(batch, env->arena, row);
        return ST_OK;
}

/* The next left row into left_rows[left_index]; false at the end, or (feed_waits) for now. */
static Status next_left(JoinStream *self, Env *env, bool *ret_has)
{
        while (self->left_index >= self->left_rows.count && !self->left_end) {
                self->left_index = self->rights_count = 0;
                self->left_rows = (ValueVec){0};
                arena_reset(self->left_arena);
                TRY(stream_next(self->left, env, self->left_arena, STREAM_CHUNK, &self->left_rows, &self->left_end));
                if (unlikely(env->feed_waits))
                        break;
        }
        *ret_has = self->left_index < self->left_rows.count;
        return ST_OK;
}

/* Does it come out the same however often it is evaluated, while nobody writes? (A query sees a table at one moment;
 * but behind a changefeed at the moment of each change.) */
static bool comes_out_same(const Term *term)
{
        const unsigned changing = TF_NONDETERMINISTIC | TF_WRITES | TF_BLOCKING;
        const TermInfo *info = term_info(term->type);
        if (!(term->tree_flags & changing))
                return true;
        bool changes = !info || info->flags & changing || (term->type == TERM_UUID && term->arg_count == 0);
        if (changes && term->type != TERM_TABLE && term->type != TERM_DB)
                return false;
        for (size_t i = 0; i < term->arg_count; i++)
                if (!comes_out_same(term->args[i]))
                        return false;
        for (size_t i = 0; i < term->opt_count; i++)
                if (!comes_out_same(term->opts[i].term))
                        return false;
        return !term->body || comes_out_same(term->body);
}

static bool is_plain_table(const Term *term)
{
        while (term->type == TERM_BETWEEN || term->type == TERM_GET_ALL)
                term = term->args[0];
        return term->type == TERM_TABLE;
}

/* Before the right side is read (again); true if it is read from what was kept. */
static bool read_kept(JoinStream *self, Env *env)
{
        switch (self->state) {
        case RIGHT_ONCE:
                if (self->right_array.kind != VAL_NONE || env->flows || !comes_out_same(self->args.terms[1]))
                        self->state = RIGHT_ANEW;
                else
                        self->state = RIGHT_AGAIN;
                return false;
        case RIGHT_AGAIN:
                if (!self->kept)
                        self->kept = kept_rows_new(env, self->stream.term, !is_plain_table(self->args.terms[1]));
                break;
        case RIGHT_KEPT:
                if (self->kept_writes == env->writes)
                        return true;
                break;
        default: return false;
        }
        kept_rows_clear(self->kept);
        self->kept_writes = env->writes;
        self->state = RIGHT_KEEPING;
        return false;
}

/* The right side was read to its end. */
static Status finish_keeping(JoinStream *self, Env *env)
{
        bool usable;
        if (self->state != RIGHT_KEEPING)
                return ST_OK;
        TRY(kept_rows_finish(self->kept, &usable));
        self->state = !usable ? RIGHT_ANEW : self->kept_writes == env->writes ? RIGHT_KEPT : RIGHT_AGAIN;
        return ST_OK;
}

static Status begin_right(JoinStream *self, Env *env)
{
        Val val = self->right_array;
        Arena *outer = env->arena;
        Frame *frame = env->frame;
        const Term *current = env->current;
        const void *owner = env->owner;
        self->matched = 0;
        if (read_kept(self, env)) {
                env->arena = self->right_arena;
                Status st = kept_rows_stream(self->kept, &self->right);
                env->arena = outer;
                return st;
        }
        env->owner = self;
        env->arena = self->right_arena;
        env->frame = self->frame;
        env->current = self->stream.term;
        Status st = val.kind == VAL_NONE ? args_val(&self->args, 1, &val) : ST_OK;
        if (!st)
                st = val_as_stream(env, &val, &self->right);
        env->arena = outer;
        env->frame = frame;
        env->current = current;
        env->owner = owner;
        if (!st && self->right->infinite && self->stream.term->type == TERM_OUTER_JOIN)
                st = stream_check_finite(self->right, env);
        if (!st && self->right->infinite)
                self->state = RIGHT_ANEW;
        return st;
}

static void end_right(JoinStream *self, Env *env)
{
        env_close_owned(env, self);
        arena_reset(self->right_arena);
        self->right = NULL;
        self->left_index++;
}

/* What is written in place of a predicate is found to be none when it is called: after both sides had rows. */
static Status need_predicate(JoinStream *self, Env *env)
{
        Arena *outer = env->arena;
        Frame *frame = env->frame;
        const Term *current = env->current;
        Func *func;
        if (self->func)
                return ST_OK;
        env->arena = self->func_arena;
        env->frame = self->frame;
        env->current = self->stream.term;
        Status st = args_func(&self->args, 2, SHORTCUT_CONSTANT, &func);
        env->arena = outer;
        env->frame = frame;
        env->current = current;
        TRY(st);
        self->func = func;
        return ST_OK;
}

/* One pull from the right side for the present left row. */
static Status match_right(JoinStream *self, Env *env, ValueVec *batch)
{
        _cleanup_(scratch_putp) Scratch *scratch = scratch_get(env);
        Arena *outer = env->arena;
        Value left = self->left_rows.items[self->left_index];
        ValueVec rows = {0};
        bool end;
        BatchKind kind = env->batch_kind;
        const void *owner = env->owner;
        env->batch_kind = BATCH_TERMINAL;
        env->owner = self;
        Status st = stream_next(self->right, env, &scratch->arena, STREAM_CHUNK, &rows, &end);
        env->batch_kind = kind;
        env->owner = owner;
        TRY(st);
        for (size_t i = 0; self->state == RIGHT_KEEPING && i < rows.count; i++)
                TRY(kept_rows_add(self->kept, rows.items[i]));
        if (rows.count)
                TRY(need_predicate(self, env));
        for (size_t i = 0; i < rows.count; i++) {
                Value pair[2] = {left, rows.items[i]};
                Val answer;
                bool yes = false;
                EnvMark mark = env_mark(env);
                env->arena = &scratch->arena;
                st = func_call(env, self->func, pair, 2, &answer);
                if (!st)
                        st = val_as_bool(env, &answer, &yes);
                env->arena = outer;
                env_unwind(env, mark);
                TRY(st);
                if (yes) {
                        self->matched++;
                        if (self->stream.term->type == TERM_OUTER_JOIN) /* RethinkDB makes an array of them */
                                TRY(check_array_size(env, self->stream.term, self->matched));
                        TRY(add_joined(self, env, left, rows.items[i], batch));
                }
        }
        if (end) {
                if (!self->matched && self->stream.term->type == TERM_OUTER_JOIN)
                        TRY(add_joined(self, env, left, value_none(), batch));
                TRY(finish_keeping(self, env));
                end_right(self, env);
        }
        return ST_OK;
}

static Status join_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        JoinStream *self = (JoinStream *)stream;
        Batcher batcher = batcher_start(env, SOURCE_EAGER, want);
        for (;;) {
                bool has;
                size_t before = batch->count;
                TRY(env_poll(env));
                TRY(next_left(self, env, &has));
                if (!has)
                        break;
                if (!self->right)
                        TRY(begin_right(self, env));
                TRY(match_right(self, env, batch));
                bool full = false;
                for (size_t i = before; i < batch->count; i++)
                        full |= batcher_add(&batcher, env, batch->items[i]);
                if (full)
                        return ST_OK;
        }
        (void)out;
        *ret_end = !env->feed_waits;
        return ST_OK;
}

static const StreamOps join_ops = {.next = join_next};

static JoinStream *make_join(Env *env, const Args *args, Stream *left, const Func *func, const StreamOps *ops)
{
        JoinStream *self = arena_new(env->arena, JoinStream);
        self->stream = (Stream){.ops = ops,
                                .term = args->term,
                                .ordered = left->ordered,
                                .is_array = left->is_array,
                                .infinite = left->infinite};
        self->args = *args;
        self->frame = env->frame;
        self->left = left;
        self->func = func;
        self->left_arena = stream_arena(env);
        self->right_arena = stream_arena(env);
        return self;
}

static Status term_join(Env *env, const Term *term, Val *ret)
{
        Args args;
        Stream *left;
        Func *func = NULL;
        TRY(args_begin(env, term, &args));
        TRY(args_stream(&args, 0, &left));
        if (args.terms[2]->type == TERM_FUNC)
                TRY(args_func(&args, 2, SHORTCUT_NONE, &func));
        JoinStream *self = make_join(env, &args, left, func, &join_ops);
        self->func_arena = func ? NULL : stream_arena(env);
        if (args.terms[1]->type == TERM_DATUM)
                TRY(args_val(&args, 1, &self->right_array));
        return val_of_stream(env, term, &self->stream, ret);
}

/* --- eq_join --- */

/* The key of a left row; V_NONE if it has none: then it has no partner. */
static Status left_key(JoinStream *self, Env *env, Value left, Value *ret_key)
{
        *ret_key = value_none();
        if (value_is(left, V_NULL))
                return ST_OK;
        Status st = func_call_datum(env, self->func, &left, 1, ret_key);
        if (status_missing(&st) || (!st && value_is(*ret_key, V_NULL)))
                *ret_key = value_none();
        return st;
}

/* Looks the partners of a whole batch of left rows up. A key that cannot be computed, or read, is left to when its
 * row's turn comes, which may be never. */
static Status look_up(JoinStream *self, Env *env, TableView *view, size_t want)
{
        size_t count = MIN(self->left_rows.count, want), known = 0;
        Arena *outer = env->arena;
        const Term *error_at = env->error_at;
        bool empty_error = env->empty_error;
        if (count < 2 || !env->planning || !func_is_deterministic(self->func))
                return ST_OK;
        arena_reset(self->right_arena);
        Value *keys = arena_array(self->right_arena, Value, count);
        self->rights = arena_array(self->right_arena, Value, count);
        env->arena = self->right_arena;
        for (Status st = ST_OK; !st && known < count; known += !st) {
                st = left_key(self, env, self->left_rows.items[known], &keys[known]);
                if (!st)
                        continue;
                status_ignore(st);
                env->error_at = error_at;
                env->empty_error = empty_error;
                break;
        }
        env->arena = outer;
        TRY(fail_at(env, self->stream.term, key_lookup(env, view, keys, known, self->right_arena, self->rights)));
        self->rights_count = known;
        self->rights_writes = env->writes;
        return ST_OK;
}

/* The present left row's partner; V_NULL: it has none. */
static Status partner(JoinStream *self, Env *env, TableView *view, Arena *out, Value *ret_right)
{
        size_t i = self->left_index;
        Value key;
        if (i < self->rights_count && self->rights_writes == env->writes && !value_is(self->rights[i], V_NONE)) {
                *ret_right = self->rights[i];
                return ST_OK;
        }
        *ret_right = value_null();
        TRY(left_key(self, env, self->left_rows.items[i], &key));
        if (value_is(key, V_NONE))
                return ST_OK;
        return fail_at(env, self->stream.term, env->source->view_get(view, key, out, ret_right));
}

static Status eq_join_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        JoinStream *self = (JoinStream *)stream;
        Batcher batcher = batcher_start(env, SOURCE_EAGER, want);
        TableView *view;
        TRY(fail_at(env, stream->term, env_view(env, self->right_table->ref, &view)));
        for (bool has = true, full = false; !full; self->left_index++) {
                Value right;
                TRY(next_left(self, env, &has));
                if (!has) {
                        *ret_end = !env->feed_waits;
                        return ST_OK;
                }
                if (self->left_index == 0 && self->rights_count == 0)
                        TRY(look_up(self, env, view, want));
                ArenaMark mark = arena_mark(out);
                Value left = self->left_rows.items[self->left_index];
                TRY(partner(self, env, view, out, &right));
                if (value_is(right, V_NULL)) {
                        arena_rewind(out, mark);
                        continue;
                }
                TRY(add_joined(self, env, left, right, batch));
                full = batcher_add(&batcher, env, batch->items[batch->count - 1]);
        }
        return ST_OK;
}

static const StreamOps eq_join_ops = {.next = eq_join_next};

static void close_scan(void *what)
{
        JoinStream *self = what;
        self->source->scan_close(self->scan);
        self->scan = NULL;
}

/* Opens the scan of the right rows that go with the next left row that has a key; at the end there is none. */
static Status begin_entries(JoinStream *self, Env *env)
{
        TableVal *right = self->right_table;
        for (bool has;; self->left_index++) {
                Value key;
                TRY(env_poll(env));
                TRY(next_left(self, env, &has));
                if (!has)
                        return ST_OK;
                ArenaMark mark = arena_mark(env->arena);
                TRY(left_key(self, env, self->left_rows.items[self->left_index], &key));
                if (value_is(key, V_NONE)) {
                        arena_rewind(env->arena, mark);
                        continue;
                }
                TRY(check_secondary_key(env, self->stream.term, key));
                arena_reset(self->right_arena);
                key = value_copy(key, self->right_arena);
                arena_rewind(env->arena, mark);
                right->has_bounds = true;
                right->bounds =
                        (KeyBounds){.low = key, .high = key, .low_type = BOUND_CLOSED, .high_type = BOUND_CLOSED};
                TRY(table_scan_open(env, self->stream.term, right, &self->scan));
                self->deferred = env_defer(env, close_scan, self);
                return ST_OK;
        }
}

static Status index_join_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        JoinStream *self = (JoinStream *)stream;
        Batcher batcher = batcher_start(env, SOURCE_EAGER, want);
        TRY(table_check_index(env, self->right_table));
        for (;;) {
                Value right;
                if (!self->scan)
                        TRY(begin_entries(self, env));
                if (!self->scan)
                        break;
                TRY(fail_at(env, NULL, self->source->scan_next(self->scan, out, &right)));
                if (value_is(right, V_NONE)) {
                        env_undefer(env, self->deferred);
                        self->left_index++;
                        continue;
                }
                TRY(add_joined(self, env, self->left_rows.items[self->left_index], right, batch));
                if (batcher_add(&batcher, env, batch->items[batch->count - 1]))
                        return ST_OK;
        }
        *ret_end = !env->feed_waits;
        return ST_OK;
}

static const StreamOps index_join_ops = {.next = index_join_next};

static Status term_eq_join(Env *env, const Term *term, Val *ret)
{
        Args args;
        Stream *left;
        Func *func;
        Val right, ordered;
        Bytes index;
        bool present, yes;
        TRY(args_begin(env, term, &args));
        TRY(args_stream(&args, 0, &left));
        TRY(args_func(&args, 1, SHORTCUT_GET_FIELD, &func));
        TRY(args_val(&args, 2, &right));
        JoinStream *self = make_join(env, &args, left, func, &eq_join_ops);
        TRY(val_as_table(env, &right, &self->right_table));
        TRY(opt_val(env, term, "ordered", &ordered, &present)); /* it always is */
        if (present)
                TRY(val_as_bool(env, &ordered, &yes));
        /* RethinkDB looks at the option's value with the term's eyes. */
        TRY(fail_at(env, term, opt_index(env, term, &index)));
        if (index.data && !bytes_equal(index, self->right_table->info->primary_key)) {
                self->stream.ops = &index_join_ops;
                self->source = env->source;
                self->right_table = arena_dup(env->arena, self->right_table, sizeof *self->right_table);
                table_use_index(env, self->right_table, index);
        }
        return val_of_stream(env, term, &self->stream, ret);
}

/* --- zip --- */

static Status zip_row(void *ctx, Env *env, Value row, ValueVec *out)
{
        const Term *term = ctx;
        TRY(expect_type(env, term, row, V_OBJECT));
        Value left = value_get_str(row, "left"), merged;
        if (value_is(left, V_NONE))
                return fail(env, term, ERR_LOGIC, "ZIP can only be called on the result of a join.");
        Value right = value_get_str(row, "right");
        if (value_is(right, V_NONE)) {
                vec_add(out, env->arena, left);
                return ST_OK;
        }
        TRY(object_merge(env, term, left, right, &merged));
        TRY(check_depth(env, term, merged));
        vec_add(out, env->arena, merged);
        return ST_OK;
}

static Status term_zip(Env *env, const Term *term, Val *ret)
{
        Args args;
        Stream *source;
        TRY(args_begin(env, term, &args));
        TRY(args_stream(&args, 0, &source));
        return val_of_stream(env, term, stream_transform(env, term, source, zip_row, (void *)term, false), ret);
}

static const TermEval list[] = {
        {TERM_INNER_JOIN, term_join, true},
        {TERM_OUTER_JOIN, term_join, true},
        {TERM_EQ_JOIN, term_eq_join, true},
        {TERM_ZIP, term_zip, true},
};
const TermList terms_join = {list, ELEMENTS(list)};
