/* plan_predicate.c - what a filter's predicate says about fields of the row.
 *
 * A predicate is taken apart into the parts of its ANDs, in the order in which they are evaluated. Of a part that
 * compares a path (row("a")("b")) with what does not depend on the row, conditions are kept. Of every part it is noted
 * whether it can raise an error, because a row that is left out on account of a later part would have raised it. */
#include "query/plan_int.h"

static void add_condition(Env *env, PlanPredicate *predicate, PlanCondition condition)
{
        if (predicate->condition_count == predicate->condition_capacity) {
                size_t capacity = predicate->condition_capacity ? 2 * predicate->condition_capacity : 8;
                PlanCondition *conditions = arena_array(env->arena, PlanCondition, capacity);
                if (predicate->condition_count)
                        memcpy(conditions, predicate->conditions, predicate->condition_count * sizeof *conditions);
                predicate->conditions = conditions;
                predicate->condition_capacity = capacity;
        }
        predicate->conditions[predicate->condition_count++] = condition;
}

/* Its conditions are those added since there were `first`. */
static void add_conjunct(Env *env, PlanPredicate *predicate, PlanSafety safety, IndexPath path, size_t first,
                         bool exact)
{
        if (predicate->conjunct_count == predicate->conjunct_capacity) {
                size_t capacity = predicate->conjunct_capacity ? 2 * predicate->conjunct_capacity : 8;
                PlanConjunct *conjuncts = arena_array(env->arena, PlanConjunct, capacity);
                if (predicate->conjunct_count)
                        memcpy(conjuncts, predicate->conjuncts, predicate->conjunct_count * sizeof *conjuncts);
                predicate->conjuncts = conjuncts;
                predicate->conjunct_capacity = capacity;
        }
        predicate->conjuncts[predicate->conjunct_count++] = (PlanConjunct){.safety = safety,
                                                                           .path = path,
                                                                           .first = first,
                                                                           .count = predicate->condition_count - first,
                                                                           .exact = exact};
}

static const IndexPath no_path;

/* --- terms --- */

static bool is_variable(const Term *term)
{
        return term->type == TERM_VAR || term->type == TERM_IMPLICIT_VAR;
}

/* The row, in the predicate itself: not in a function inside it. */
static bool is_row(const Term *term)
{
        return is_variable(term) && term->var_depth == 0 && term->var_index == 0;
}

/* `depth`: how many functions are around the term inside the predicate. */
static bool uses_row(const Term *term, uint32_t depth)
{
        if (is_variable(term))
                return term->var_depth == depth;
        for (size_t i = 0; i < term->arg_count; i++)
                if (uses_row(term->args[i], depth))
                        return true;
        for (size_t i = 0; i < term->opt_count; i++)
                if (uses_row(term->opts[i].term, depth))
                        return true;
        return term->type == TERM_FUNC && uses_row(term->body, depth + 1);
}

/* Such a term may not even be looked at. */
#define NEVER (TF_NONDETERMINISTIC | TF_WRITES | TF_BLOCKING | TF_READS_TABLE)

/* The value of a term that is the same for all rows. False: it is not, or evaluating it fails, which is then the rows'
 * business. */
static bool constant(Env *env, const PlanPredicate *predicate, const Func *func, const Term *term, Value *ret)
{
        if ((term->tree_flags & NEVER) || term->type == TERM_ARGS || uses_row(term, 0))
                return false;
        if (predicate->timeless && (term->tree_flags & TF_MOMENT))
                return false;
        Frame frame = {.outer = func->frame}, *outer = env->frame;
        const Term *error_at = env->error_at;
        bool empty_error = env->empty_error;
        EnvMark mark = env_mark(env);
        env->frame = &frame;
        Status st = eval_datum(env, term, ret);
        env->frame = outer;
        env_unwind(env, mark);
        if (!st)
                return true;
        status_ignore(st);
        env->error_at = error_at;
        env->empty_error = empty_error;
        return false;
}

static bool is_plain(const Term *term)
{
        return !term->has_args_splice && !term->opt_count;
}

static bool is_text(const Term *term)
{
        return term->type == TERM_DATUM && value_is(term->datum, V_STRING);
}

static bool path_of(Env *env, const Term *term, IndexPath *ret)
{
        size_t count = 0;
        const Term *at = term;
        for (; at->type == TERM_BRACKET || at->type == TERM_GET_FIELD; at = at->args[0], count++)
                if (!is_plain(at) || at->arg_count != 2 || !is_text(at->args[1]))
                        return false;
        if (count == 0 || !is_row(at))
                return false;
        Bytes *fields = arena_array(env->arena, Bytes, count);
        ret->fields = fields;
        ret->count = count;
        for (at = term; count > 0; at = at->args[0])
                fields[--count] = value_bytes(at->args[1]->datum);
        return true;
}

/* Whether it raises no error for any row, but perhaps one for a missing field. Rows are objects. */
static bool is_safe(Env *env, const PlanPredicate *predicate, const Func *func, const Term *term)
{
        Value value;
        if (is_row(term) || constant(env, predicate, func, term, &value))
                return true;
        if (!is_plain(term))
                return false;
        switch (term->type) {
        case TERM_BRACKET:
        case TERM_GET_FIELD: return term->arg_count == 2 && is_row(term->args[0]) && is_text(term->args[1]);
        case TERM_HAS_FIELDS:
                if (!is_row(term->args[0]))
                        return false;
                for (size_t i = 1; i < term->arg_count; i++)
                        if (!is_text(term->args[i]))
                                return false;
                return true;
        case TERM_EQ:
        case TERM_NE:
        case TERM_LT:
        case TERM_LE:
        case TERM_GT:
        case TERM_GE:
        case TERM_AND:
        case TERM_OR:
        case TERM_NOT:
        case TERM_TYPE_OF:
        case TERM_DEFAULT: break;
        default: return false;
        }
        for (size_t i = 0; i < term->arg_count; i++)
                if (!is_safe(env, predicate, func, term->args[i]))
                        return false;
        return true;
}

/* --- comparisons --- */

/* path op value, or value op path. */
static PlanOp op_of(unsigned type, bool path_first)
{
        switch (type) {
        case TERM_LT: return path_first ? PLAN_LT : PLAN_GT;
        case TERM_LE: return path_first ? PLAN_LE : PLAN_GE;
        case TERM_GT: return path_first ? PLAN_GT : PLAN_LT;
        case TERM_GE: return path_first ? PLAN_GE : PLAN_LE;
        default: return PLAN_EQ;
        }
}

typedef struct Operand {
        bool is_path;
        IndexPath path;
        Value value;
} Operand;

/* A comparison of one path with constants, on any of its sides: lt(1, row("a"), 9). */
static bool gather_comparison(Env *env, PlanPredicate *predicate, const Func *func, const Term *term)
{
        size_t first = predicate->condition_count;
        const IndexPath *path = NULL;
        bool exact = term->type != TERM_NE;
        if (!is_plain(term))
                return false;
        Operand *operands = arena_array(env->arena, Operand, term->arg_count);
        for (size_t i = 0; i < term->arg_count; i++) {
                Operand *operand = &operands[i];
                operand->is_path = path_of(env, term->args[i], &operand->path);
                if (!operand->is_path && !constant(env, predicate, func, term->args[i], &operand->value))
                        return false;
                if (!operand->is_path)
                        continue;
                if (path && !index_paths_equal(*path, operand->path))
                        return false;
                path = &operand->path;
        }
        if (!path)
                return false;
        for (size_t i = 1; term->type != TERM_NE && i < term->arg_count; i++) {
                const Operand *left = &operands[i - 1], *right = &operands[i];
                exact &= left->is_path != right->is_path;
                if (left->is_path == right->is_path)
                        continue;
                add_condition(env, predicate,
                              (PlanCondition){.op = op_of(term->type, left->is_path),
                                              .path = *path,
                                              .value = left->is_path ? right->value : left->value,
                                              .maps = true});
        }
        add_conjunct(env, predicate, path->count == 1 ? PLAN_SAFE : PLAN_SAFE_WALK, *path, first, exact);
        return true;
}

static bool is_condition_on(const PlanPredicate *predicate, size_t first, Value value)
{
        for (size_t i = first; i < predicate->condition_count; i++)
                if (value_equal(predicate->conditions[i].value, value))
                        return true;
        return false;
}

/* row("tags").contains(1, 2): different ones, since an element stands for one of them only. */
static bool gather_contains(Env *env, PlanPredicate *predicate, const Func *func, const Term *term)
{
        size_t first = predicate->condition_count;
        bool exact = term->arg_count > 1;
        IndexPath path;
        if (!is_plain(term) || !path_of(env, term->args[0], &path))
                return false;
        for (size_t i = 1; i < term->arg_count; i++) {
                Value value;
                if (!constant(env, predicate, func, term->args[i], &value)) {
                        predicate->condition_count = first;
                        return false;
                }
                exact &= !is_condition_on(predicate, first, value);
                add_condition(env, predicate,
                              (PlanCondition){.op = PLAN_CONTAINS, .path = path, .value = value, .maps = true});
        }
        add_conjunct(env, predicate, PLAN_SAFE_ELEMENTS, path, first, exact);
        return true;
}

/* --- one of several values: r.expr([1, 2]).contains(row("a")), row("a").eq(1).or(row("a").eq(2)) --- */

#define IN_MAX 1000 /* more are left to the predicate */

static bool choose_path(IndexPath *path, IndexPath found)
{
        if (path->count == 0)
                *path = found;
        return index_paths_equal(*path, found);
}

/* What the term says of one path: that it equals one of the values which are added. */
static bool gather_choice(Env *env, const PlanPredicate *predicate, const Func *func, const Term *term, IndexPath *path,
                          ValueVec *values)
{
        IndexPath found;
        Value value;
        if (!is_plain(term) || term->arg_count == 0 || values->count > IN_MAX)
                return false;
        switch (term->type) {
        case TERM_OR:
                for (size_t i = 0; i < term->arg_count; i++)
                        if (!gather_choice(env, predicate, func, term->args[i], path, values))
                                return false;
                return true;
        case TERM_EQ:
                if (term->arg_count != 2)
                        return false;
                for (size_t i = 0; i < 2; i++) {
                        if (!path_of(env, term->args[i], &found) ||
                            !constant(env, predicate, func, term->args[1 - i], &value))
                                continue;
                        vec_add(values, env->arena, value);
                        return choose_path(path, found);
                }
                return false;
        case TERM_CONTAINS:
                if (term->arg_count != 2 || !path_of(env, term->args[1], &found) ||
                    !constant(env, predicate, func, term->args[0], &value) || !value_is(value, V_ARRAY) ||
                    value_count(value) > IN_MAX)
                        return false;
                for (size_t i = 0; i < value_count(value); i++)
                        vec_add(values, env->arena, value_at(value, i));
                return choose_path(path, found);
        default: return false;
        }
}

static bool gather_choices(Env *env, PlanPredicate *predicate, const Func *func, const Term *term)
{
        size_t first = predicate->condition_count;
        IndexPath path = no_path;
        ValueVec values = {0};
        if (!gather_choice(env, predicate, func, term, &path, &values))
                return false;
        add_condition(
                env, predicate,
                (PlanCondition){
                        .op = PLAN_IN, .path = path, .value = value_array(values.items, values.count), .maps = true});
        add_conjunct(env, predicate, path.count == 1 ? PLAN_SAFE : PLAN_SAFE_WALK, path, first, true);
        return true;
}

/* --- a prefix: row("a").match("^abc"), where nothing in "abc" means anything but itself --- */

static bool is_plain_prefix(Bytes pattern)
{
        if (pattern.size < 2 || pattern.data[0] != '^')
                return false;
        for (size_t i = 1; i < pattern.size; i++)
                if (memchr("\\^$.|?*+()[]{}", pattern.data[i], 14) || pattern.data[i] == 0)
                        return false;
        return true;
}

static bool gather_match(Env *env, PlanPredicate *predicate, const Func *func, const Term *term)
{
        size_t first = predicate->condition_count;
        IndexPath path;
        Value value;
        if (!is_plain(term) || term->arg_count != 2 || !path_of(env, term->args[0], &path) ||
            !constant(env, predicate, func, term->args[1], &value) || !value_is(value, V_STRING) ||
            !is_plain_prefix(value_bytes(value)))
                return false;
        Bytes pattern = value_bytes(value);
        add_condition(env, predicate,
                      (PlanCondition){.op = PLAN_PREFIX,
                                      .path = path,
                                      .value = value_string(BYTES(pattern.data + 1, pattern.size - 1)),
                                      .maps = true});
        add_conjunct(env, predicate, PLAN_UNSAFE, path, first, true);
        return true;
}

static void gather_term(Env *env, PlanPredicate *predicate, const Func *func, const Term *term)
{
        switch (term->type) {
        case TERM_AND:
                if (!is_plain(term))
                        break;
                for (size_t i = 0; i < term->arg_count; i++)
                        gather_term(env, predicate, func, term->args[i]);
                return;
        case TERM_EQ:
        case TERM_NE:
        case TERM_LT:
        case TERM_LE:
        case TERM_GT:
        case TERM_GE:
                if (gather_comparison(env, predicate, func, term))
                        return;
                break;
        case TERM_CONTAINS:
                if (gather_contains(env, predicate, func, term) || gather_choices(env, predicate, func, term))
                        return;
                break;
        case TERM_OR:
                if (gather_choices(env, predicate, func, term))
                        return;
                break;
        case TERM_MATCH:
                if (gather_match(env, predicate, func, term))
                        return;
                break;
        }
        add_conjunct(env, predicate, is_safe(env, predicate, func, term) ? PLAN_SAFE : PLAN_UNSAFE, no_path,
                     predicate->condition_count, false);
}

/* --- objects as predicates: their fields must be there and equal, objects in them field by field --- */

typedef struct Steps {
        const struct Steps *before;
        Bytes field;
        size_t count;
} Steps;

static IndexPath path_of_steps(Env *env, const Steps *steps)
{
        Bytes *fields = arena_array(env->arena, Bytes, steps->count);
        IndexPath path = {fields, steps->count};
        for (const Steps *at = steps; at; at = at->before)
                fields[at->count - 1] = at->field;
        return path;
}

/* An object that is wanted and one that is there are compared by the fields of the first, so the object itself says
 * nothing; and what LITERAL means is left to the predicate. Walking never fails: what is no object is not equal.
 * False: that is not all that the pattern wants. */
static bool gather_pattern(Env *env, PlanPredicate *predicate, Value pattern, const Steps *before)
{
        if (!value_is(value_get_str(pattern, "$reql_type$"), V_NONE))
                return false;
        bool exact = !before || value_count(pattern) > 0;
        for (size_t i = 0; i < value_count(pattern); i++) {
                Steps steps = {.before = before, .count = before ? before->count + 1 : 1};
                Value want = value_field_at(pattern, i, &steps.field);
                if (value_is_object(want) && !value_is(want, V_TIME)) {
                        exact &= gather_pattern(env, predicate, want, &steps);
                        continue;
                }
                add_condition(env, predicate,
                              (PlanCondition){.op = PLAN_EQ, .path = path_of_steps(env, &steps), .value = want});
                exact &= !value_is(want, V_TIME); /* its time zone is a field, too, and must be the same */
        }
        return exact;
}

static void gather_constant(Env *env, PlanPredicate *predicate, Value value)
{
        size_t first = predicate->condition_count;
        bool exact = value_is_object(value) && gather_pattern(env, predicate, value, NULL);
        add_conjunct(env, predicate, PLAN_SAFE, no_path, first, exact);
}

/* --- filters --- */

static bool gather_func(Env *env, PlanPredicate *predicate, const Func *func)
{
        Value value;
        if (func->kind == FUNC_CONSTANT) {
                gather_constant(env, predicate, func->value);
                return true;
        }
        if (func->kind != FUNC_TERM || func->term->param_count != 1 || (func->term->tree_flags & NEVER))
                return false;
        const Term *body = func->term->body;
        if (body->type != TERM_MAKE_OBJ && body->type != TERM_DATUM) {
                gather_term(env, predicate, func, body);
                return true;
        }
        if (!constant(env, predicate, func, body, &value))
                return false;
        gather_constant(env, predicate, value);
        return true;
}

void plan_gather(Env *env, PlanPredicate *predicate, const Func *func, const Term *on_missing)
{
        size_t first = predicate->conjunct_count, first_condition = predicate->condition_count;
        bool drops = !on_missing || (on_missing->type == TERM_DATUM && !value_truthy(on_missing->datum));
        bool never_fails = drops || on_missing->type == TERM_DATUM;
        if (!gather_func(env, predicate, func))
                add_conjunct(env, predicate, PLAN_UNSAFE, no_path, predicate->condition_count, false);
        if (drops)
                return;
        /* A row without the field is kept, or an error: no index has it. */
        predicate->condition_count = first_condition;
        for (size_t i = first; i < predicate->conjunct_count; i++) {
                predicate->conjuncts[i].count = 0;
                predicate->conjuncts[i].exact = false;
                if (!never_fails)
                        predicate->conjuncts[i].safety = PLAN_UNSAFE;
        }
}
