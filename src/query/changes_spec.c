/* changes_spec.c - from the terms below `changes` to FeedSpecs.
 *
 * The terms are walked from the outside in to what rows come from, and evaluated on the way back as ever: nothing is
 * read by that, and arguments that are wrong are errors in their places.
 *
 *      table.filter(f).pluck("a")        base: the table          steps: filter(f), pluck("a")
 *      table.get_all(1, 2).union(get_all(3)).map(f)     two chains, both with the step map(f)
 *
 * What feeds ask of a row are the steps over [row]: one function. What the filters before any other step say about
 * fields of the row are conditions, and if those say it all, there is no function. */
#include <utf8proc.h>

#include "query/changes_int.h"
#include "query/closure.h"
#include "query/plan_int.h"
#include "value/key.h"

#define FUNCTION_BYTES_MAX ((size_t)1 << 20)

typedef enum BaseKind {
        BASE_NONE, /* nothing that can be followed: `val` tells what it is */
        BASE_ROWS, /* a table or a part of one */
        BASE_POINT,
} BaseKind;

typedef struct Chain {
        BaseKind kind;
        Val val; /* of the term above all steps so far; a point: of its GET */
        const TableVal *table;
        bool is_get_all;
        const Value *keys;
        size_t key_count;
        ClosureStep *steps;
        size_t step_count, step_capacity;
        bool rows_changed; /* by a step: what follows says nothing about rows of the table any more */
        bool exact;        /* the conditions say all that the steps do */
        PlanPredicate predicate;
} Chain;

typedef struct Chains {
        Chain *items;
        size_t count, capacity;
} Chains;

static Status walk(Env *env, const Term *term, Chains *chains);

/* --- what rows come from --- */

static Chain *add_chain(Env *env, Chains *chains)
{
        if (chains->count == chains->capacity) {
                size_t capacity = chains->capacity ? 2 * chains->capacity : 4;
                Chain *items = arena_array(env->arena, Chain, capacity);
                if (chains->count)
                        memcpy(items, chains->items, chains->count * sizeof *items);
                chains->items = items;
                chains->capacity = capacity;
        }
        Chain *chain = &chains->items[chains->count++];
        *chain = (Chain){.exact = true, .predicate.timeless = true};
        return chain;
}

static void base_of_val(Env *env, const Val *val, Chain *chain)
{
        chain->val = *val;
        switch (val->kind) {
        case VAL_TABLE:
        case VAL_TABLE_SLICE:
                chain->kind = BASE_ROWS;
                chain->table = val->table;
                break;
        case VAL_STREAM:
                chain->is_get_all = stream_is_get_all(val->stream, &chain->table, &chain->keys, &chain->key_count);
                chain->kind = chain->is_get_all || stream_is_scan(val->stream, &chain->table) ? BASE_ROWS : BASE_NONE;
                break;
        case VAL_ROW: {
                Value *key = arena_new(env->arena, Value);
                *key = val->key;
                chain->kind = BASE_POINT;
                chain->table = val->table;
                chain->keys = key;
                chain->key_count = 1;
                break;
        }
        default: break;
        }
}

static Status walk_base(Env *env, const Term *term, Chains *chains)
{
        Val val;
        TRY(eval(env, term, &val));
        base_of_val(env, &val, add_chain(env, chains));
        return ST_OK;
}

/* The row is not read: it may not be there yet. */
static Status walk_get(Env *env, const Term *term, Chains *chains)
{
        Val val;
        TRY(get_unread(env, term, &val));
        base_of_val(env, &val, add_chain(env, chains));
        return ST_OK;
}

static Status fail_eager(Env *env, const Term *at)
{
        return fail(env, at, ERR_LOGIC, "Cannot call `changes` on an eager stream.");
}

/* --- terms that choose --- */

static Status choose_branch(Env *env, const Term *term, const Term **ret_term)
{
        for (size_t i = 0; i + 1 < term->arg_count; i += 2) {
                Val condition;
                bool yes;
                *ret_term = term->args[i + 1];
                TRY(eval(env, term->args[i], &condition));
                TRY(val_as_bool(env, &condition, &yes));
                if (yes)
                        return ST_OK;
        }
        *ret_term = term->args[term->arg_count - 1];
        return ST_OK;
}

/* do(arguments, function) */
static Status enter_call(Env *env, const Term *term, const Term **ret_term)
{
        size_t count = term->arg_count - 1;
        Value *values = arena_array(env->arena, Value, count);
        for (size_t i = 0; i < count; i++)
                TRY(eval_datum(env, term->args[i + 1], &values[i]));
        Frame *frame = arena_alloc(env->arena, sizeof *frame);
        *frame = (Frame){.outer = env->frame, .values = values, .count = count};
        env->frame = frame;
        *ret_term = term->args[0]->body;
        return ST_OK;
}

Status changes_choose(Env *env, const Term **term)
{
        for (;;) {
                const Term *at = *term;
                const Term *func = at->arg_count ? at->args[0] : NULL;
                if (at->type == TERM_BRANCH && !at->has_args_splice && at->arg_count % 2 == 1)
                        TRY(choose_branch(env, at, term));
                else if (at->type == TERM_FUNCALL && !at->has_args_splice && func->type == TERM_FUNC &&
                         func->param_count == at->arg_count - 1)
                        TRY(enter_call(env, at, term));
                else
                        return ST_OK;
        }
}

static Status walk_default(Env *env, const Term *term, Chains *chains)
{
        size_t first = chains->count;
        Status st = walk(env, term->args[0], chains);
        bool missing = status_missing(&st);
        TRY(st);
        for (size_t i = first; !missing && i < chains->count; i++)
                missing |= chains->items[i].kind != BASE_ROWS;
        if (!missing)
                return ST_OK;
        chains->count = first;
        return walk_base(env, term, chains);
}

static Status walk_union(Env *env, const Term *term, Chains *chains)
{
        for (size_t i = 0; i < term->arg_count; i++) {
                size_t first = chains->count;
                TRY(walk(env, term->args[i], chains));
                for (size_t j = first; j < chains->count; j++) {
                        Val val;
                        if (chains->items[j].kind == BASE_ROWS)
                                continue;
                        TRY(eval(env, term, &val)); /* a row is no sequence: it says so */
                        return fail_eager(env, term->args[i]);
                }
        }
        return ST_OK;
}

/* --- steps --- */

static Status fail_at_changes(Env *env, const char *message)
{
        return fail(env, env->current, ERR_LOGIC, "%s", message);
}

#define UNPROVABLE (TF_NONDETERMINISTIC | TF_WRITES | TF_BLOCKING | TF_READS_TABLE)

static Status fail_nondeterministic(Env *env, const Term *at)
{
        return fail(env, at, ERR_LOGIC, "Cannot call `changes` after a non-deterministic function.");
}

/* Of a step itself, without what is below it. */
static unsigned step_flags(const Term *term)
{
        unsigned flags = 0;
        for (size_t i = 1; i < term->arg_count; i++)
                flags |= term->args[i]->tree_flags;
        for (size_t i = 0; i < term->opt_count; i++)
                flags |= term->opts[i].term->tree_flags;
        return flags;
}

/* A predicate that is no function was evaluated before rows are looked at, once. */
static const Term *with_constant(Env *env, const Term *term, const Func *func)
{
        if (func->kind != FUNC_CONSTANT || !(term->args[1]->tree_flags & UNPROVABLE) || term->has_args_splice)
                return term;
        Term *made = arena_dup(env->arena, term, sizeof *term);
        made->args = arena_dup(env->arena, term->args, term->arg_count * sizeof *term->args);
        made->args[1] = term_make(env->arena, TERM_DATUM, term->args[1], 0);
        made->args[1]->datum = func->value;
        return made;
}

static Status check_step(Env *env, const Term *term)
{
        for (size_t i = 1; i < term->arg_count; i++) {
                bool is_func = term->args[i]->type == TERM_FUNC || term->type == TERM_MAP || term->type == TERM_FILTER;
                if (term->args[i]->tree_flags & UNPROVABLE)
                        return fail_nondeterministic(env, is_func ? term->args[i] : term);
        }
        for (size_t i = 0; i < term->opt_count; i++)
                if (term->opts[i].term->tree_flags & UNPROVABLE)
                        return fail_nondeterministic(env, term->opts[i].term);
        return ST_OK;
}

static bool last_is_exact(const PlanPredicate *predicate, size_t first)
{
        bool exact = predicate->conjunct_count > first;
        for (size_t i = first; i < predicate->conjunct_count; i++)
                exact &= predicate->conjuncts[i].exact;
        return exact;
}

static Status add_step(Env *env, Chain *chain, const Term *term)
{
        const Stream *source;
        RowStep row_step = {0};
        bool known = stream_is_step(chain->val.stream, &source, &row_step);
        if (known && row_step.kind == ROW_FILTER) {
                if (row_step.func->kind == FUNC_JS)
                        return fail_nondeterministic(env, term->args[1]);
                /* r.now() in a constant is another value when the feed is resumed with a token. */
                bool moment = row_step.func->kind == FUNC_CONSTANT && (step_flags(term) & TF_MOMENT);
                size_t first = chain->predicate.conjunct_count;
                if (!chain->rows_changed && !moment)
                        plan_gather(env, &chain->predicate, row_step.func, row_step.on_missing);
                chain->exact &= last_is_exact(&chain->predicate, first);
                term = with_constant(env, term, row_step.func);
        }
        chain->rows_changed |= !(known && row_step.kind == ROW_FILTER) && term->type != TERM_HAS_FIELDS;
        chain->exact &= !chain->rows_changed && known;
        TRY(check_step(env, term));
        if (chain->step_count == chain->step_capacity) {
                size_t capacity = chain->step_capacity ? 2 * chain->step_capacity : 4;
                ClosureStep *steps = arena_array(env->arena, ClosureStep, capacity);
                if (chain->step_count)
                        memcpy(steps, chain->steps, chain->step_count * sizeof *steps);
                chain->steps = steps;
                chain->step_capacity = capacity;
        }
        chain->steps[chain->step_count++] = (ClosureStep){term, env->frame};
        return ST_OK;
}

/* The term over what is below it: as eval(), but its first argument was evaluated before. */
static Status eval_over(Env *env, const Term *term, Val *below, Val *ret)
{
        bool planning = env->planning;
        env->planning = false; /* nothing is read, so that nothing is to be chosen */
        env->injected = below;
        env->injected_term = term;
        Status st = eval(env, term, ret);
        env->injected_term = NULL;
        env->planning = planning;
        return st;
}

/* Terms that look at one row after the other. */
static bool is_step(const Term *term)
{
        switch (term->type) {
        case TERM_MAP: return term->arg_count == 2 && !term->has_args_splice;
        case TERM_FILTER:
        case TERM_DIFFERENCE:
        case TERM_PLUCK:
        case TERM_WITHOUT:
        case TERM_MERGE:
        case TERM_HAS_FIELDS:
        case TERM_WITH_FIELDS:
        case TERM_GET_FIELD:
        case TERM_BRACKET:
        case TERM_INTERSECTS:
        case TERM_INCLUDES: return term->arg_count > 0 && term->args[0]->type != TERM_ARGS;
        default: return false;
        }
}

static Status walk_step(Env *env, const Term *term, Chains *chains)
{
        size_t first = chains->count;
        TRY(walk(env, term->args[0], chains));
        for (size_t i = first; i < chains->count; i++) {
                Chain *chain = &chains->items[i];
                Val below = chain->val;
                if (chain->kind == BASE_POINT) /* a value now: what it is computed from is not followed */
                        TRY(eval(env, term->args[0], &below));
                TRY(eval_over(env, term, &below, &chain->val));
                if (chain->kind == BASE_ROWS && chain->val.kind == VAL_STREAM) {
                        TRY(add_step(env, chain, term));
                } else {
                        Chain other = {.exact = true, .predicate.timeless = true};
                        base_of_val(env, &chain->val, &other);
                        *chain = other;
                }
        }
        return ST_OK;
}

/* --- terms that can stand below `changes`, but not so --- */

static Status walk_limit(Env *env, const Term *term, Chains *chains)
{
        size_t first = chains->count;
        Val limited;
        TRY(walk(env, term->args[0], chains));
        for (size_t i = first; i < chains->count; i++) {
                if (chains->items[i].kind != BASE_ROWS) {
                        chains->count = first;
                        return walk_base(env, term, chains);
                }
        }
        if (chains->count - first > 1)
                return fail_at_changes(env, "Cannot call `changes` on a slice of a union.");
        TRY(eval_over(env, term, &chains->items[first].val, &limited)); /* what is wrong with it comes first */
        if (chains->items[first].table->order == 0)
                return fail_at_changes(env, "Cannot get changes on the first elements of an unordered stream.");
        return fail_eager(env, term); /* who follows the first rows in an order has asked before: feed_state_of */
}

/* Below them there must be something that could be followed, or that is the error. */
static Status walk_refused(Env *env, const Term *term, const char *message, Chains *chains)
{
        size_t first = chains->count;
        TRY(walk(env, term->args[0], chains));
        for (size_t i = first; i < chains->count; i++) {
                Val refused;
                if (chains->items[i].kind != BASE_ROWS)
                        continue;
                TRY(eval_over(env, term, &chains->items[i].val, &refused)); /* what is wrong with it comes first */
                return fail_at_changes(env, message);
        }
        chains->count = first;
        return walk_base(env, term, chains);
}

/* Sorting is only begun if it is of no use anyway. */
static Status walk_order(Env *env, const Term *term, Chains *chains)
{
        if (term_opt(term, "index"))
                return walk_base(env, term, chains);
        return fail_eager(env, term);
}

/* By turns or one after the other: it is all one to a feed. */
static bool is_unordered_union(const Term *term)
{
        const Term *interleave = term_opt(term, "interleave");
        return !interleave || (interleave->type == TERM_DATUM && value_is(interleave->datum, V_BOOL));
}

static Status walk_chosen(Env *env, const Term *term, Chains *chains)
{
        if (is_step(term))
                return walk_step(env, term, chains);
        bool plain = !term->has_args_splice && term->arg_count > 0;
        switch (term->type) {
        case TERM_GET: return walk_get(env, term, chains);
        case TERM_UNION:
                if (plain && is_unordered_union(term))
                        return walk_union(env, term, chains);
                break;
        case TERM_DEFAULT:
                if (plain)
                        return walk_default(env, term, chains);
                break;
        case TERM_LIMIT: return walk_limit(env, term, chains);
        case TERM_ORDER_BY: return walk_order(env, term, chains);
        case TERM_CONCAT_MAP: return walk_refused(env, term, "Cannot call `changes` after `concat_map`.", chains);
        case TERM_GROUP: return walk_refused(env, term, "Cannot call `changes` after `group`.", chains);
        case TERM_ZIP: return walk_refused(env, term, "Cannot call `changes` after `zip`.", chains);
        case TERM_GET_INTERSECTING:
                return walk_refused(env, term, "Cannot call `changes` on an intersection read.", chains);
        default: break;
        }
        return walk_base(env, term, chains);
}

static Status walk(Env *env, const Term *term, Chains *chains)
{
        if (unlikely(env->depth >= EVAL_MAX_DEPTH || env_stack_low(env)))
                return fail(env, term, ERR_RESOURCE, "Recursion limit of %d exceeded.", EVAL_MAX_DEPTH);
        Frame *frame = env->frame;
        env->depth++;
        Status st = changes_choose(env, &term);
        if (!st)
                st = walk_chosen(env, term, chains);
        env->depth--;
        env->frame = frame;
        return st;
}

/* --- conditions: what MATCH finds feeds by --- */

typedef struct Conditions {
        FeedCondition *items;
        size_t count;
        bool exact; /* no condition of the predicate was left out */
} Conditions;

/* The least string above all that begin with `prefix`: its last character that has a next one becomes that. False:
 * there is none. UTF-8 has the order of its characters. */
static bool behind_prefix(Env *env, Bytes prefix, Value *ret)
{
        uint8_t *text = arena_alloc(env->arena, prefix.size + 4);
        memcpy(text, prefix.data, prefix.size);
        for (size_t size = prefix.size, at; size > 0; size = at) {
                utf8proc_int32_t last;
                for (at = size - 1; at > 0 && (text[at] & 0xC0) == 0x80;)
                        at--;
                if (utf8proc_iterate(text + at, (utf8proc_ssize_t)(size - at), &last) <= 0 || last == 0x10FFFF)
                        continue;
                last = last == 0xD7FF ? 0xE000 : last + 1; /* no surrogates */
                *ret = value_string(BYTES(text, at + (size_t)utf8proc_encode_char(last, text + at)));
                return true;
        }
        return false;
}

static bool is_range(PlanOp op)
{
        return (op >= PLAN_LT && op <= PLAN_GE) || op == PLAN_PREFIX;
}

static bool same_field(const PlanCondition *a, const PlanCondition *b)
{
        return a->maps == b->maps && index_paths_equal(a->path, b->path);
}

/* row("a")("b") of an array `a` is an array, too: of fields of its elements. Conditions see no field there, so they
 * must not be about arrays. */
static bool may_be_array(const PlanCondition *condition)
{
        return condition->maps && condition->path.count > 1;
}

static void narrow(Env *env, KeyBounds *bounds, const PlanCondition *condition)
{
        PlanCondition part = *condition;
        if (condition->op != PLAN_PREFIX) {
                plan_narrow(bounds, condition);
                return;
        }
        part.op = PLAN_GE;
        plan_narrow(bounds, &part);
        part.op = PLAN_LT;
        if (behind_prefix(env, value_bytes(condition->value), &part.value))
                plan_narrow(bounds, &part);
}

static const Value *elements(Env *env, Value array)
{
        Value *values = arena_array(env->arena, Value, value_count(array));
        for (size_t i = 0; i < value_count(array); i++)
                values[i] = value_at(array, i);
        return values;
}

/* All that the conditions from the `first` on say about that one's field, as one range. */
static void add_range(Env *env, const PlanPredicate *predicate, size_t first, Conditions *out)
{
        const PlanCondition *like = &predicate->conditions[first];
        FeedCondition range = {.kind = FEED_FIELD_BETWEEN,
                               .path = like->path,
                               .bounds = {.low_type = BOUND_NONE, .high_type = BOUND_NONE}};
        for (size_t i = 0; i < predicate->condition_count; i++) {
                const PlanCondition *condition = &predicate->conditions[i];
                if (!is_range(condition->op) || !same_field(condition, like))
                        continue;
                if (i < first)
                        return; /* the range is made already */
                narrow(env, &range.bounds, condition);
        }
        /* Of all values arrays come first. */
        if (may_be_array(like) && (range.bounds.low_type == BOUND_NONE || range.bounds.low.type <= V_ARRAY)) {
                out->exact = false;
                return;
        }
        plan_tidy(&range.bounds);
        out->items[out->count++] = range;
}

static void add_values(const PlanCondition *condition, FeedConditionKind kind, const Value *values, size_t count,
                       Conditions *out)
{
        for (size_t i = 0; may_be_array(condition) && i < count; i++)
                if (kind == FEED_FIELD_CONTAINS || value_is(values[i], V_ARRAY)) {
                        out->exact = false;
                        return;
                }
        out->items[out->count++] =
                (FeedCondition){.kind = kind, .path = condition->path, .values = values, .value_count = count};
}

static Conditions conditions_of(Env *env, const PlanPredicate *predicate)
{
        Conditions out = {.items = arena_array(env->arena, FeedCondition, predicate->condition_count), .exact = true};
        for (size_t i = 0; i < predicate->condition_count; i++) {
                const PlanCondition *condition = &predicate->conditions[i];
                if (value_is(condition->value, V_MINVAL) || value_is(condition->value, V_MAXVAL))
                        out.exact = false;
                else if (is_range(condition->op))
                        add_range(env, predicate, i, &out);
                else if (condition->op == PLAN_EQ)
                        add_values(condition, FEED_FIELD_IN, &condition->value, 1, &out);
                else if (condition->op == PLAN_CONTAINS)
                        add_values(condition, FEED_FIELD_CONTAINS, &condition->value, 1, &out);
                else
                        add_values(condition, FEED_FIELD_IN, elements(env, condition->value),
                                   value_count(condition->value), &out);
        }
        return out;
}

/* --- the spec --- */

static void free_buf(void *buf)
{
        buf_done(buf);
}

/* It will be loaded when a row is to be asked: whether it can be is better known now. What refers to deep constants may
 * be nested too deeply. */
static Status check_function(Env *env, Bytes function)
{
        Closure *closure;
        Status st = closure_load_inexact(function, &closure);
        if (!st)
                closure_unref(closure);
        if (status_code(st) != ERR_CORRUPT)
                return fail_at(env, env->current, st);
        _cleanup_(status_freep) Status cause = st;
        return fail(env, env->current, ERR_RESOURCE, "What stands before `changes` cannot be a function of a row: %s",
                    status_message(cause));
}

static Status save_steps(Env *env, const Chain *chain, Bytes *ret_function)
{
        Buf *buf = arena_new(env->arena, Buf);
        buf_init(buf, FUNCTION_BYTES_MAX);
        Deferred *deferred = env_defer(env, free_buf, buf);
        Status st = closure_save_steps(chain->steps, chain->step_count, buf);
        if (!st)
                *ret_function = BYTES(arena_dup(env->arena, buf->data, buf->size), buf->size);
        env_undefer(env, deferred);
        if (!st)
                return check_function(env, *ret_function);
        if (status_code(st) != ERR_LIMIT)
                return fail_at(env, env->current, st);
        status_ignore(st);
        return fail(env, env->current, ERR_RESOURCE,
                    "What stands before `changes`, with what it refers to, has more than %zu bytes.",
                    FUNCTION_BYTES_MAX);
}

static bool uses_moment(const Chain *chain)
{
        for (size_t i = 0; i < chain->step_count; i++)
                if (step_flags(chain->steps[i].term) & TF_MOMENT)
                        return true;
        return false;
}

/* --- the spec stays, what was opened to find it does not: nothing of it may lie in a view --- */

static const Value *own_values(Env *env, const Value *values, size_t count)
{
        Value *own = arena_array(env->arena, Value, count);
        for (size_t i = 0; i < count; i++)
                own[i] = value_copy(values[i], env->arena);
        return own;
}

static KeyBounds own_bounds(Env *env, KeyBounds bounds)
{
        if (bounds.low_type != BOUND_NONE)
                bounds.low = value_copy(bounds.low, env->arena);
        if (bounds.high_type != BOUND_NONE)
                bounds.high = value_copy(bounds.high, env->arena);
        return bounds;
}

static Bytes own_bytes(Env *env, Bytes bytes)
{
        return bytes.data ? BYTES(arena_dup(env->arena, bytes.data, bytes.size), bytes.size) : bytes;
}

static void own_condition(Env *env, FeedCondition *condition)
{
        Bytes *fields = arena_array(env->arena, Bytes, condition->path.count);
        for (size_t i = 0; i < condition->path.count; i++)
                fields[i] = own_bytes(env, condition->path.fields[i]);
        condition->path.fields = fields;
        condition->values = own_values(env, condition->values, condition->value_count);
        if (condition->kind == FEED_FIELD_BETWEEN)
                condition->bounds = own_bounds(env, condition->bounds);
}

static void own_spec(Env *env, FeedSpec *spec, FeedCondition *conditions)
{
        spec->index = own_bytes(env, spec->index);
        spec->keys = own_values(env, spec->keys, spec->key_count);
        if (spec->bounds) {
                KeyBounds *bounds = arena_alloc(env->arena, sizeof *bounds);
                *bounds = own_bounds(env, *spec->bounds);
                spec->bounds = bounds;
        }
        for (size_t i = 0; i < spec->condition_count; i++)
                own_condition(env, &conditions[i]);
}

static Status spec_of_chain(Env *env, const Chain *chain, FeedSpec *ret)
{
        static const KeyBounds nothing = {
                .low = {.type = V_NULL}, .high = {.type = V_NULL}, .low_type = BOUND_CLOSED, .high_type = BOUND_OPEN};
        const TableVal *table = chain->table;
        *ret = (FeedSpec){.table = table->ref, .keys = chain->keys, .key_count = chain->key_count};
        TRY(fail_at(env, chain->val.term, env_permit_table(env, table->ref, PERMIT_READ)));
        if (chain->kind == BASE_POINT) {
                Bytes encoded;
                ret->exact = true;
                own_spec(env, ret, NULL);
                return fail_at(env, env->current, key_encode_primary(chain->keys[0], env->arena, &encoded));
        }
        TRY(table_check_index(env, table));
        if (!table_is_primary(table))
                ret->index = table->index;
        if (chain->is_get_all && chain->key_count == 0)
                ret->bounds = &nothing;
        else if (!chain->is_get_all && table->has_bounds)
                ret->bounds = &table->bounds;
        Conditions conditions = conditions_of(env, &chain->predicate);
        ret->conditions = conditions.items;
        ret->condition_count = conditions.count;
        ret->exact = chain->exact && conditions.exact;
        own_spec(env, ret, conditions.items);
        if (ret->exact)
                return ST_OK;
        if (uses_moment(chain))
                ret->now_us = env->now_us;
        return save_steps(env, chain, &ret->function);
}

/* `changes` of something that is no part of a table. */
static Status refuse(Env *env, const Val *val)
{
        TableVal *table;
        Stream *stream;
        if (val_is_datum(val) || val_is_sequence(val)) {
                TRY(val_as_stream(env, val, &stream));
                return fail_eager(env, val->term);
        }
        TRY(val_as_selection(env, val, &table, &stream));
        return fail_eager(env, val->term);
}

Status changes_specs_of(Env *env, const Term *term, FeedSpec **ret_specs, size_t *ret_count, int *ret_note)
{
        Chains chains = {0};
        EnvMark mark = env_mark(env);
        Stream *stream;
        TRY(walk(env, term, &chains));
        *ret_specs = arena_array(env->arena, FeedSpec, chains.count);
        *ret_count = chains.count;
        *ret_note = NOTE_SEQUENCE_FEED;
        for (size_t i = 0; i < chains.count; i++) {
                Chain *chain = &chains.items[i];
                if (chain->kind == BASE_NONE)
                        return refuse(env, &chain->val);
                if (chain->kind == BASE_POINT)
                        *ret_note = NOTE_ATOM_FEED;
                else
                        TRY(val_as_stream(env, &chain->val, &stream)); /* bounds that are none */
                TRY(spec_of_chain(env, chain, &(*ret_specs)[i]));
        }
        env_unwind(env, mark);
        return ST_OK;
}

Status changes_spec_of(Env *env, const Term *term, FeedSpec *ret_spec, int *ret_note)
{
        FeedSpec *specs;
        size_t count;
        TRY(changes_specs_of(env, term, &specs, &count, ret_note));
        if (count != 1)
                return fail_eager(env, term);
        *ret_spec = specs[0];
        return ST_OK;
}
