/* closure.c - functions that outlive their query: saving, loading, calling.
 *
 * A call needs an environment to evaluate in. Making one costs more than most index functions do, so each closure keeps
 * a few that are ready (`spare`): taken and put back with one atomic exchange each, no lock. Index functions that only
 * walk into the row, or make an array of such walks, need none: they are seen when the closure is loaded (Shortcut). */
#include "query/closure.h"

#include <assert.h>
#include <setjmp.h>
#include <stdatomic.h>

#include "base/mem.h"
#include "query/env_int.h"
#include "reql/print.h"
#include "value/json.h"

/* What a function may not hold if it is to be saved: it would not give the same another time, or is no business of a
 * function of one row. */
#define NEVER (TF_NONDETERMINISTIC | TF_WRITES | TF_BLOCKING | TF_READS_TABLE)

#define SPARES      8
#define MAX_POLLS   4000u       /* env_poll comes every 256th term and with each batch of rows: about a million steps */
#define KEEP_BYTES  (256 << 10) /* an environment that has grown beyond this is not kept */
#define START_DEPTH (EVAL_MAX_DEPTH / 2) /* the caller stands deep in its own query: leave room on the C stack */

/* --- the short way --- */

/* A constant, or fields to go through from the row: row("a")("b"). */
typedef struct Walk {
        Value constant; /* V_NONE: a walk */
        Bytes *fields;
        size_t field_count;
} Walk;

typedef struct Shortcut {
        Walk *walks; /* NULL: there is no short way */
        size_t walk_count;
        bool is_array;    /* of the walks; else the one walk's value */
        IndexPath *paths; /* the walks, if none is a constant or the row itself; else NULL */
} Shortcut;

typedef struct Run Run;

struct Closure {
        atomic_uint refs;
        Arena arena; /* text and tree */
        Func func;
        Shortcut shortcut;
        _Atomic(Run *) spares[SPARES];
};

struct Run { /* one call's environment; always between two calls when it is a spare */
        Env env;
        QueryWorld world;
        Arena query_arena, eval_arena;
        atomic_bool cancelled; /* never */
        bool over_budget;
        jmp_buf oom_jump;
};

/* --- saving --- */

typedef struct Saver {
        Buf *out;
        const Term *funcs[VALUE_MAX_DEPTH]; /* functions around the term, the saved one first */
        size_t func_count;
        const Frame *frame;                  /* what the saved function captured */
        bool renumber;                       /* variables get numbers of their own, */
        uint32_t first_ids[VALUE_MAX_DEPTH]; /* those of each function from this one on */
        uint32_t next_id;
} Saver;

static Status save_term(Saver *saver, const Term *term);

static Status save_constant(Saver *saver, Value v)
{
        if (value_is(v, V_MINVAL) || value_is(v, V_MAXVAL))
                return buf_printf(saver->out, "[%d]", value_is(v, V_MINVAL) ? TERM_MINVAL : TERM_MAXVAL);
        bool raw = value_is(v, V_ARRAY) || value_is_object(v) || value_is(v, V_BINARY);
        if (raw)
                TRY(buf_printf(saver->out, "[%d,", TERM_DATUM));
        TRY(json_write(v, saver->out));
        return raw ? buf_append_byte(saver->out, ']') : ST_OK;
}

static Status save_var(Saver *saver, const Term *var)
{
        size_t depth = var->var_depth;
        if (depth < saver->func_count) {
                size_t at = saver->func_count - 1 - depth;
                const Term *func = saver->funcs[at];
                if (saver->renumber)
                        return buf_printf(saver->out, "[%d,[%u]]", TERM_VAR, saver->first_ids[at] + var->var_index);
                if (var->type == TERM_IMPLICIT_VAR)
                        return buf_printf(saver->out, "[%d]", TERM_IMPLICIT_VAR);
                return buf_printf(saver->out, "[%d,[%d]]", TERM_VAR, (int)(int32_t)func->param_ids[var->var_index]);
        }
        const Frame *frame = saver->frame;
        for (depth -= saver->func_count; depth > 0; depth--)
                frame = frame->outer;
        if (var->var_index >= frame->count)
                return status_new(ERR_LOGIC, "The function was called without the argument that it refers to.");
        return save_constant(saver, frame->values[var->var_index]);
}

static Status save_func(Saver *saver, const Term *func)
{
        if (saver->func_count == ELEMENTS(saver->funcs))
                return status_new(ERR_RESOURCE, "Functions are nested too deeply.");
        uint32_t first_id = saver->next_id;
        saver->first_ids[saver->func_count] = first_id;
        saver->funcs[saver->func_count++] = func;
        saver->next_id += func->param_count;
        TRY(buf_printf(saver->out, "[%d,[[%d,[", TERM_FUNC, TERM_MAKE_ARRAY));
        for (uint32_t i = 0; i < func->param_count; i++)
                TRY(buf_printf(saver->out, "%s%d", i ? "," : "",
                               (int)(int32_t)(saver->renumber ? first_id + i : func->param_ids[i])));
        TRY(buf_append_str(saver->out, "]],"));
        TRY(save_term(saver, func->body));
        saver->func_count--;
        return buf_append_str(saver->out, "]]");
}

static Status save_options(Saver *saver, const Term *term)
{
        TRY(buf_append_byte(saver->out, '{'));
        for (size_t i = 0; i < term->opt_count; i++) {
                if (i)
                        TRY(buf_append_byte(saver->out, ','));
                TRY(json_write_string(term->opts[i].name, saver->out));
                TRY(buf_append_byte(saver->out, ':'));
                TRY(save_term(saver, term->opts[i].term));
        }
        return buf_append_byte(saver->out, '}');
}

static Status save_head(Saver *saver, const Term *term)
{
        return buf_printf(saver->out, "[%d,[", term->type);
}

/* Its arguments from the `first` on, and its options. */
static Status save_tail(Saver *saver, const Term *term, size_t first)
{
        for (size_t i = first; i < term->arg_count; i++) {
                if (i)
                        TRY(buf_append_byte(saver->out, ','));
                TRY(save_term(saver, term->args[i]));
        }
        TRY(buf_append_byte(saver->out, ']'));
        if (term->opt_count) {
                TRY(buf_append_byte(saver->out, ','));
                TRY(save_options(saver, term));
        }
        return buf_append_byte(saver->out, ']');
}

static Status save_term(Saver *saver, const Term *term)
{
        switch (term->type) {
        case TERM_DATUM: return save_constant(saver, term->datum);
        case TERM_VAR:
        case TERM_IMPLICIT_VAR: return save_var(saver, term);
        case TERM_FUNC: return save_func(saver, term);
        case TERM_MAKE_OBJ: return save_options(saver, term);
        }
        TRY(save_head(saver, term));
        return save_tail(saver, term, 0);
}

Status closure_save(Env *env, const Func *func, Buf *out)
{
        (void)env;
        assert(func->kind == FUNC_TERM);
        Saver saver = {.out = out, .frame = func->frame};
        size_t before = out->size;
        Status st = save_term(&saver, func->term);
        if (st)
                out->size = before;
        return st;
}

/* [FUNC,[[2,[0]], [step,[ .. [step,[ [2,[row]] ,arguments],{options}] .. ]]] */
Status closure_save_steps(const ClosureStep *steps, size_t count, Buf *out)
{
        Saver saver = {.out = out, .renumber = true, .next_id = 1};
        TRY(buf_printf(out, "[%d,[[%d,[0]],", TERM_FUNC, TERM_MAKE_ARRAY));
        for (size_t i = count; i-- > 0;)
                TRY(save_head(&saver, steps[i].term));
        TRY(buf_printf(out, "[%d,[[%d,[0]]]]", TERM_MAKE_ARRAY, TERM_VAR));
        for (size_t i = 0; i < count; i++) {
                saver.frame = steps[i].frame;
                TRY(save_tail(&saver, steps[i].term, 1));
        }
        return buf_append_str(out, "]]");
}

/* --- loading --- */

static bool find_walk(Closure *closure, const Term *term, Walk *ret)
{
        size_t count = 0;
        const Term *at = term;
        *ret = (Walk){.constant = value_none()};
        if (term->type == TERM_DATUM) {
                ret->constant = term->datum;
                return true;
        }
        for (; at->type == TERM_BRACKET || at->type == TERM_GET_FIELD; at = at->args[0], count++)
                if (at->arg_count != 2 || at->has_args_splice || at->opt_count || at->args[1]->type != TERM_DATUM ||
                    !value_is(at->args[1]->datum, V_STRING))
                        return false;
        if ((at->type != TERM_VAR && at->type != TERM_IMPLICIT_VAR) || at->var_depth != 0 || at->var_index != 0)
                return false;
        ret->fields = arena_array(&closure->arena, Bytes, count);
        ret->field_count = count;
        for (at = term; count > 0; at = at->args[0])
                ret->fields[--count] = value_bytes(at->args[1]->datum);
        return true;
}

static void make_shortcut(Closure *closure)
{
        const Term *func = closure->func.term, *body = func->body;
        Shortcut shortcut = {.is_array = body->type == TERM_MAKE_ARRAY, .walk_count = 1};
        if (func->param_count != 1)
                return;
        if (shortcut.is_array) {
                if (body->has_args_splice)
                        return;
                shortcut.walk_count = body->arg_count;
        }
        shortcut.walks = arena_array(&closure->arena, Walk, shortcut.walk_count);
        for (size_t i = 0; i < shortcut.walk_count; i++)
                if (!find_walk(closure, shortcut.is_array ? body->args[i] : body, &shortcut.walks[i]))
                        return;
        shortcut.paths = arena_array(&closure->arena, IndexPath, shortcut.walk_count);
        for (size_t i = 0; shortcut.paths && i < shortcut.walk_count; i++) {
                const Walk *walk = &shortcut.walks[i];
                shortcut.paths[i] = (IndexPath){walk->fields, walk->field_count};
                if (!value_is(walk->constant, V_NONE) || walk->field_count == 0)
                        shortcut.paths = NULL;
        }
        closure->shortcut = shortcut;
}

size_t closure_paths(const Closure *closure, const IndexPath **ret_paths, bool *ret_compound)
{
        const Shortcut *shortcut = &closure->shortcut;
        *ret_paths = shortcut->paths;
        *ret_compound = shortcut->is_array;
        return shortcut->paths ? shortcut->walk_count : 0;
}

typedef struct Loading {
        jmp_buf oom_jump;
        bool over_budget;
} Loading;

static void on_load_oom(void *ctx, bool over_budget)
{
        Loading *loading = ctx;
        loading->over_budget = over_budget;
        longjmp(loading->oom_jump, 1);
}

static Status load(Bytes saved, unsigned never, Closure *closure)
{
        Term *func;
        Loading loading;
        arena_on_oom(&closure->arena, on_load_oom, &loading);
        if (setjmp(loading.oom_jump))
                return loading.over_budget ? status_new(ERR_CORRUPT, "No function: it is too large.") : status_nomem();
        char *text = arena_alloc(&closure->arena, saved.size + JSON_PADDING);
        if (saved.size)
                memcpy(text, saved.data, saved.size);
        memset(text + saved.size, 0, JSON_PADDING);
        TRY(wire_parse_func(BYTES(text, saved.size), &closure->arena, &func));
        if (func->tree_flags & never)
                return status_new(ERR_CORRUPT, "No function of one row: it is not deterministic.");
        closure->func = (Func){.kind = FUNC_TERM, .term = func};
        make_shortcut(closure);
        arena_on_oom(&closure->arena, NULL, NULL);
        return ST_OK;
}

static Status load_new(Bytes saved, unsigned never, Closure **ret_closure)
{
        if (saved.size > CLOSURE_MEMORY_BYTES)
                return status_new(ERR_CORRUPT, "No function: it is too large.");
        _cleanup_(closure_unrefp) Closure *closure = mem_zalloc(sizeof *closure);
        if (!closure)
                return status_nomem();
        atomic_init(&closure->refs, 1);
        arena_init(&closure->arena, CLOSURE_MEMORY_BYTES);
        TRY(load(saved, never, closure));
        *ret_closure = take(closure);
        return ST_OK;
}

Status closure_load(Bytes saved, Closure **ret_closure)
{
        return load_new(saved, NEVER | TF_INEXACT, ret_closure);
}

Status closure_load_inexact(Bytes saved, Closure **ret_closure)
{
        return load_new(saved, NEVER, ret_closure);
}

Closure *closure_ref(Closure *closure)
{
        atomic_fetch_add_explicit(&closure->refs, 1, memory_order_relaxed);
        return closure;
}

static void run_free(Run *run)
{
        if (!run)
                return;
        env_done(&run->env);
        arena_done(&run->query_arena);
        arena_done(&run->eval_arena);
        mem_free(run);
}

Closure *closure_unref(Closure *closure)
{
        if (!closure || atomic_fetch_sub_explicit(&closure->refs, 1, memory_order_acq_rel) != 1)
                return NULL;
        for (size_t i = 0; i < SPARES; i++)
                run_free(atomic_load_explicit(&closure->spares[i], memory_order_acquire));
        arena_done(&closure->arena);
        mem_free(closure);
        return NULL;
}

size_t closure_param_count(const Closure *closure)
{
        return closure->func.term->param_count;
}

bool closure_uses_now(const Closure *closure)
{
        return closure->func.term->tree_flags & TF_MOMENT;
}

/* --- calling --- */

static void on_run_oom(void *ctx, bool over_budget)
{
        Run *run = ctx;
        run->over_budget = over_budget;
        longjmp(run->oom_jump, 1);
}

static Status run_new(Run **ret_run)
{
        Run *run = mem_zalloc(sizeof *run);
        if (!run)
                return status_nomem();
        Arena *const arenas[] = {&run->query_arena, &run->eval_arena};
        for (size_t i = 0; i < ELEMENTS(arenas); i++) {
                arena_init(arenas[i], CLOSURE_MEMORY_BYTES);
                arena_on_oom(arenas[i], on_run_oom, run);
        }
        atomic_init(&run->cancelled, false);
        run->world.memory_max_bytes = CLOSURE_MEMORY_BYTES;
        *ret_run = run;
        return ST_OK;
}

/* The regular expressions and other things that were made once stay in the environment from call to call. */
static Status run_ready(Run *run)
{
        Env *env = &run->env;
        if (!env->world) {
                *env = (Env){
                        .query_arena = &run->query_arena,
                        .world = &run->world,
                        .cancelled = &run->cancelled,
                        .user = "admin",
                        .permits_all = true,
                        .array_limit = VALUE_ARRAY_LIMIT,
                        .batch_kind = BATCH_TERMINAL,
                        .batch_deadline_ns = INT64_MAX,
                        .max_polls = MAX_POLLS,
                };
                env->arena = &run->eval_arena;
                TRY(batch_options(env));
        }
        /* An error may have left these anyhow. */
        env->arena = &run->eval_arena;
        env->batch_kind = BATCH_TERMINAL;
        env->depth = START_DEPTH;
        env->polls = 0;
        env->frame = NULL;
        env->owner = NULL;
        env->error_at = env->current = env->injected_term = NULL;
        env->literal_ok = env->literal_next = env->drops_missing = env->empty_error = false;
        return ST_OK;
}

/* Gives everything back that the last call took. */
static void run_tidy(Run *run, bool jumped)
{
        bool large = run->query_arena.total_bytes > KEEP_BYTES || env_memory(&run->env) > KEEP_BYTES;
        if (jumped || large) {
                env_done(&run->env);
                memset(&run->env, 0, sizeof run->env);
                arena_reset(&run->query_arena);
        } else {
                env_unwind(&run->env, (EnvMark){0}); /* what is kept to the end is older than any mark */
        }
        arena_reset(&run->eval_arena);
}

static Status run_take(Closure *closure, Run **ret_run)
{
        for (size_t i = 0; i < SPARES; i++) {
                if (!atomic_load_explicit(&closure->spares[i], memory_order_relaxed))
                        continue;
                *ret_run = atomic_exchange_explicit(&closure->spares[i], NULL, memory_order_acquire);
                if (*ret_run)
                        return ST_OK;
        }
        return run_new(ret_run);
}

static void run_put(Closure *closure, Run *run, bool jumped)
{
        run_tidy(run, jumped);
        for (size_t i = 0; i < SPARES; i++) {
                Run *none = NULL;
                if (atomic_compare_exchange_strong_explicit(&closure->spares[i], &none, run, memory_order_release,
                                                            memory_order_relaxed))
                        return;
        }
        run_free(run);
}

/* The result is in the run's arena, or the arguments'. */
static Status run_call(Run *run, const Func *func, int64_t now_us, const Value *args, size_t count, Value *ret,
                       bool *ret_jumped)
{
        *ret_jumped = false;
        if (setjmp(run->oom_jump)) {
                *ret_jumped = true;
                if (!run->over_budget)
                        return status_nomem();
                return status_new(ERR_RESOURCE, "The function needs more than the %zu bytes of memory that it may use.",
                                  CLOSURE_MEMORY_BYTES);
        }
        TRY(run_ready(run));
        run->env.now_us = now_us;
        TRY(func_call_datum(&run->env, func, args, count, ret));
        return check_depth(&run->env, NULL, *ret);
}

static size_t copy_bytes(Value v)
{
        if (value_is(v, V_ARRAY) || value_is_object(v))
                return value_encoded_size(v);
        return value_is(v, V_STRING) || value_is(v, V_BINARY) ? v.size : 0;
}

static Value copy_into(Value v, uint8_t *space)
{
        if (value_is(v, V_ARRAY) || value_is_object(v)) {
                value_encode(v, space);
                return value_decode(space);
        }
        if ((value_is(v, V_STRING) || value_is(v, V_BINARY)) && v.size) {
                memcpy(space, v.text, v.size);
                v.text = (const char *)space;
        }
        return v;
}

Status closure_call_at(Closure *closure, int64_t now_us, const Value *args, size_t count, Arena *arena,
                       Value *ret_value)
{
        for (;;) {
                Run *run = NULL;
                Value value = value_none();
                bool jumped;
                uint8_t *space = NULL;
                TRY(run_take(closure, &run));
                Status st = run_call(run, &closure->func, now_us, args, count, &value, &jumped);
                size_t bytes = st ? 0 : copy_bytes(value);
                if (!st)
                        space = arena_try_alloc(arena, bytes);
                if (space)
                        *ret_value = copy_into(value, space);
                run_put(closure, run, jumped);
                if (st || space)
                        return st;
                (void)arena_alloc(arena, bytes); /* jumps, now that nothing is held; if not, there is room after all */
        }
}

/* --- calling for an index --- */

/* False: only evaluation can tell (a field of an array is a field of each of its elements ...). V_NONE: no value. */
static bool walk(const Walk *walk, Value row, Value *ret)
{
        if (!value_is(walk->constant, V_NONE)) {
                *ret = walk->constant;
                return true;
        }
        Value at = row;
        for (size_t i = 0; i < walk->field_count && !value_is(at, V_NONE); i++) {
                if (!value_is(at, V_OBJECT))
                        return false;
                at = value_get(at, walk->fields[i]);
        }
        *ret = at;
        return true;
}

static bool short_way(const Shortcut *shortcut, Value row, Arena *arena, Value *ret, bool *ret_failed)
{
        if (!shortcut->walks)
                return false;
        if (!shortcut->is_array)
                return walk(&shortcut->walks[0], row, ret);
        Value *items = arena_array(arena, Value, shortcut->walk_count);
        for (size_t i = 0; i < shortcut->walk_count; i++) {
                if (!walk(&shortcut->walks[i], row, &items[i]))
                        return false;
                if (value_is(items[i], V_NONE)) {
                        *ret = value_none();
                        return true;
                }
        }
        *ret = value_array(items, shortcut->walk_count);
        *ret_failed = value_too_deep(*ret);
        if (*ret_failed)
                *ret = value_none();
        return true;
}

static bool row_is_to_blame(Status st)
{
        switch (status_code(st)) {
        case ERR_LOGIC:
        case ERR_NON_EXISTENCE:
        case ERR_USER:
        case ERR_RESOURCE:
        case ERR_OP_FAILED:
        case ERR_INTERNAL: return true;
        default: return false;
        }
}

Status closure_index_value(Closure *closure, Value row, Arena *arena, Value *ret_value)
{
        bool failed;
        return closure_index_try(closure, row, arena, ret_value, &failed);
}

Status closure_index_try(Closure *closure, Value row, Arena *arena, Value *ret_value, bool *ret_failed)
{
        *ret_value = value_none();
        *ret_failed = false;
        if (short_way(&closure->shortcut, row, arena, ret_value, ret_failed))
                return ST_OK;
        Status st = closure_call_at(closure, 0, &row, 1, arena, ret_value);
        if (!st || !row_is_to_blame(st))
                return st;
        *ret_failed = status_code(st) != ERR_NON_EXISTENCE;
        status_ignore(st);
        *ret_value = value_none();
        return ST_OK;
}

/* --- shown to people and clients --- */

Status closure_print(const Closure *closure, Buf *out)
{
        return print_javascript(closure->func.term, out);
}

Status closure_binary_write(const IndexSpec *spec, Buf *out)
{
        TRY(buf_append_str(out, CLOSURE_PREFIX));
        TRY(buf_append_byte(out, (uint8_t)('0' + spec->multi + 2 * spec->geo + 4 * spec->unique)));
        return buf_append(out, spec->function.data, spec->function.size);
}

bool closure_binary_read(Bytes binary, IndexSpec *ret_spec)
{
        const size_t prefix = sizeof CLOSURE_PREFIX - 1;
        if (binary.size <= prefix || memcmp(binary.data, CLOSURE_PREFIX, prefix) != 0)
                return false;
        uint8_t flags = binary.data[prefix];
        if (flags < '0' || flags > '7')
                return false;
        *ret_spec = (IndexSpec){.function = BYTES(binary.data + prefix + 1, binary.size - prefix - 1),
                                .multi = flags & 1,
                                .geo = flags & 2,
                                .unique = flags & 4};
        return true;
}
