/* exec_vector.c - operations over vectors: see exec_vector.h. */
#include "query/exec_vector.h"

#include <float.h>
#include <math.h>

typedef struct Run {
        const ExecProgram *program;
        const ExecRows *rows;
        uint32_t n;
        Arena *arena;
} Run;

static bool run(const Run *r, const ExecNode *node, Vec *ret);

static Vec vec_numbers(const double *numbers)
{
        return (Vec){.kind = VEC_NUMBERS, .numbers = numbers};
}
static Vec vec_of_truths(const uint8_t *truths)
{
        return (Vec){.kind = VEC_TRUTHS, .truths = truths};
}

/* --- columns --- */

static Vec vec_of_column(const Column *column, uint32_t first)
{
        if (column->uniform == V_NUMBER)
                return vec_numbers(column_numbers(column) + first);
        if (column->uniform == V_BOOL)
                return vec_of_truths(column_bools(column) + first);
        return (Vec){.kind = VEC_COLUMN, .first = first, .column = column};
}

static bool is_words(const Vec *vec)
{
        return vec->kind == VEC_COLUMN && vec->column->uniform == V_STRING;
}

/* Is what each word gives to be had for each row. */
static const uint8_t *truths_of_words(const Run *r, const Vec *vec, const uint8_t *of_word)
{
        const uint16_t *codes = column_codes(vec->column) + vec->first;
        uint8_t *truths = arena_array(r->arena, uint8_t, r->n);
        for (uint32_t i = 0; i < r->n; i++)
                truths[i] = of_word[codes[i]];
        return truths;
}

/* --- comparison --- */

#define EACH(expr)                                                                                                     \
        for (uint32_t i = 0; i < n; i++)                                                                               \
                out[i] = (expr);                                                                                       \
        break

static void compare_numbers(unsigned type, const double *a, const double *b, uint32_t n, uint8_t *out)
{
        switch (type) {
        case TERM_LT: EACH(a[i] < b[i]);
        case TERM_LE: EACH(a[i] <= b[i]);
        case TERM_GT: EACH(a[i] > b[i]);
        case TERM_GE: EACH(a[i] >= b[i]);
        default: EACH(a[i] == b[i]);
        }
}

static void compare_number(unsigned type, const double *a, double b, uint32_t n, uint8_t *out)
{
        switch (type) {
        case TERM_LT: EACH(a[i] < b);
        case TERM_LE: EACH(a[i] <= b);
        case TERM_GT: EACH(a[i] > b);
        case TERM_GE: EACH(a[i] >= b);
        default: EACH(a[i] == b);
        }
}

static unsigned mirrored(unsigned type)
{
        switch (type) {
        case TERM_LT: return TERM_GT;
        case TERM_LE: return TERM_GE;
        case TERM_GT: return TERM_LT;
        case TERM_GE: return TERM_LE;
        default: return type;
        }
}

static const uint8_t *compare_words(const Run *r, unsigned type, const Vec *words, Value with)
{
        const Column *column = words->column;
        uint8_t *of_word = arena_array(r->arena, uint8_t, column->words);
        for (uint32_t i = 0; i < column->words; i++)
                of_word[i] = compare_in_order(type, value_compare(column_word(column, i), with));
        return truths_of_words(r, words, of_word);
}

/* `type` is not NE: that is the opposite of EQ. */
static const uint8_t *compare_pair(const Run *r, unsigned type, const Vec *a, const Vec *b)
{
        if (a->kind == VEC_CONST && b->kind != VEC_CONST)
                return compare_pair(r, mirrored(type), b, a);
        if (is_words(a) && b->kind == VEC_CONST)
                return compare_words(r, type, a, b->value);
        uint8_t *out = arena_array(r->arena, uint8_t, r->n);
        if (a->kind == VEC_NUMBERS && b->kind == VEC_NUMBERS) {
                compare_numbers(type, a->numbers, b->numbers, r->n, out);
                return out;
        }
        if (a->kind == VEC_NUMBERS && b->kind == VEC_CONST && value_is(b->value, V_NUMBER)) {
                compare_number(type, a->numbers, b->value.number, r->n, out);
                return out;
        }
        if (vec_odd(a) || vec_odd(b))
                return NULL;
        for (uint32_t i = 0; i < r->n; i++) {
                Value left = vec_value(a, i), right = vec_value(b, i);
                if (value_is(left, V_NONE) || value_is(right, V_NONE))
                        out[i] = TRUTH_MISSING;
                else
                        out[i] = compare_in_order(type, value_compare(left, right));
        }
        return out;
}

/* What a lazy `and` says: the first that is not true decides. */
static void and_into(uint8_t *all, const uint8_t *more, uint32_t n)
{
        for (uint32_t i = 0; i < n; i++)
                all[i] = all[i] == 1 ? more[i] : all[i];
}

static bool run_compare(const Run *r, const ExecNode *node, Vec *ret)
{
        Vec left, right;
        bool negated = node->type == TERM_NE;
        if (!run(r, node->args[0], &left) || vec_odd(&left))
                return false;
        uint8_t *all = arena_array(r->arena, uint8_t, r->n);
        if (node->count == 1)
                for (uint32_t i = 0; i < r->n; i++)
                        all[i] = value_is(vec_value(&left, i), V_NONE) ? TRUTH_MISSING : 1;
        for (size_t arg = 1; arg < node->count; arg++) {
                if (!run(r, node->args[arg], &right))
                        return false;
                const uint8_t *pair = compare_pair(r, negated ? TERM_EQ : node->type, &left, &right);
                if (!pair)
                        return false;
                if (arg == 1)
                        memcpy(all, pair, r->n);
                else
                        and_into(all, pair, r->n);
                left = right;
        }
        for (uint32_t i = 0; negated && i < r->n; i++)
                all[i] = all[i] == TRUTH_MISSING ? TRUTH_MISSING : !all[i];
        *ret = vec_of_truths(all);
        return true;
}

/* --- logic --- */

/* Bools as they are; NULL if something else is among them. */
static const uint8_t *bools(const Run *r, const Vec *vec)
{
        if (vec->kind == VEC_TRUTHS)
                return vec->truths;
        if (vec->kind == VEC_NUMBERS || is_words(vec) || vec_odd(vec))
                return NULL;
        uint8_t *out = arena_array(r->arena, uint8_t, r->n);
        for (uint32_t i = 0; i < r->n; i++) {
                Value v = vec_value(vec, i);
                if (!value_is(v, V_BOOL) && !value_is(v, V_NONE))
                        return NULL;
                out[i] = value_is(v, V_NONE) ? TRUTH_MISSING : v.boolean;
        }
        return out;
}

const uint8_t *vec_truths(const Vec *vec, const ExecRows *rows)
{
        if (vec->kind == VEC_TRUTHS)
                return vec->truths;
        if (vec_odd(vec))
                return NULL;
        uint8_t *out = arena_array(rows->arena, uint8_t, rows->count);
        for (uint32_t i = 0; i < rows->count; i++) {
                Value v = vec_value(vec, i);
                out[i] = value_is(v, V_NONE) ? TRUTH_MISSING : value_truthy(v);
        }
        return out;
}

static bool run_logic(const Run *r, const ExecNode *node, Vec *ret)
{
        bool is_or = node->op == EXEC_OR;
        uint8_t *all = arena_array(r->arena, uint8_t, r->n);
        memset(all, !is_or, r->n);
        for (size_t arg = 0; arg < node->count; arg++) {
                Vec vec;
                const uint8_t *more = run(r, node->args[arg], &vec) ? bools(r, &vec) : NULL;
                if (!more)
                        return false;
                if (is_or)
                        for (uint32_t i = 0; i < r->n; i++)
                                all[i] = all[i] == 0 ? more[i] : all[i];
                else
                        and_into(all, more, r->n);
        }
        *ret = vec_of_truths(all);
        return true;
}

static bool run_not(const Run *r, const ExecNode *node, Vec *ret)
{
        Vec vec;
        const uint8_t *truths = run(r, node->args[0], &vec) ? vec_truths(&vec, r->rows) : NULL;
        if (!truths)
                return false;
        uint8_t *out = arena_array(r->arena, uint8_t, r->n);
        for (uint32_t i = 0; i < r->n; i++)
                out[i] = truths[i] == TRUTH_MISSING ? TRUTH_MISSING : !truths[i];
        *ret = vec_of_truths(out);
        return true;
}

/* --- numbers --- */

/* NULL if there is anything but numbers. */
static const double *numbers(const Run *r, const Vec *vec)
{
        if (vec->kind == VEC_NUMBERS)
                return vec->numbers;
        if (vec->kind != VEC_CONST || !value_is(vec->value, V_NUMBER))
                return NULL;
        double *out = arena_array(r->arena, double, r->n);
        for (uint32_t i = 0; i < r->n; i++)
                out[i] = vec->value.number;
        return out;
}

static bool all_finite(const double *a, uint32_t n)
{
        unsigned bad = 0;
        for (uint32_t i = 0; i < n; i++)
                bad |= !(fabs(a[i]) <= DBL_MAX);
        return !bad;
}

static void arithmetic(unsigned type, const double *a, const double *b, uint32_t n, double *out)
{
        switch (type) {
        case TERM_ADD: EACH(a[i] + b[i]);
        case TERM_SUB: EACH(a[i] - b[i]);
        case TERM_MUL: EACH(a[i] * b[i]);
        default: EACH(a[i] / b[i]);
        }
}

static bool run_arithmetic(const Run *r, const ExecNode *node, Vec *ret)
{
        if (!run(r, node->args[0], ret))
                return false;
        for (size_t arg = 1; arg < node->count; arg++) {
                Vec more;
                const double *a = numbers(r, ret), *b = a && run(r, node->args[arg], &more) ? numbers(r, &more) : NULL;
                if (!b)
                        return false;
                double *out = arena_array(r->arena, double, r->n);
                arithmetic(node->type, a, b, r->n, out); /* x / 0 is not finite */
                if (!all_finite(out, r->n))
                        return false;
                *ret = vec_numbers(out);
        }
        return true;
}

static bool run_modulo(const Run *r, const ExecNode *node, Vec *ret)
{
        Vec left, right;
        const double *a = run(r, node->args[0], &left) ? numbers(r, &left) : NULL;
        const double *b = a && run(r, node->args[1], &right) ? numbers(r, &right) : NULL;
        if (!b)
                return false;
        double *out = arena_array(r->arena, double, r->n);
        for (uint32_t i = 0; i < r->n; i++) {
                int64_t x, y;
                if (!value_integer(value_number(a[i]), &x) || !value_integer(value_number(b[i]), &y) || y == 0)
                        return false;
                out[i] = (double)(x % y);
        }
        *ret = vec_numbers(out);
        return true;
}

static bool run_round(const Run *r, const ExecNode *node, Vec *ret)
{
        Vec vec;
        const double *a = run(r, node->args[0], &vec) ? numbers(r, &vec) : NULL;
        if (!a)
                return false;
        double *out = arena_array(r->arena, double, r->n);
        for (uint32_t i = 0; i < r->n; i++)
                out[i] = node->type == TERM_FLOOR ? floor(a[i]) : node->type == TERM_CEIL ? ceil(a[i]) : round(a[i]);
        *ret = vec_numbers(out);
        return true;
}

/* --- choosing --- */

/* Values of any kind; numbers again if all of them are. */
static Vec vec_of_values(const Run *r, const Value *values)
{
        for (uint32_t i = 0; i < r->n; i++)
                if (!value_is(values[i], V_NUMBER))
                        return (Vec){.kind = VEC_VALUES, .values = values};
        double *out = arena_array(r->arena, double, r->n);
        for (uint32_t i = 0; i < r->n; i++)
                out[i] = values[i].number;
        return vec_numbers(out);
}

static bool run_branch(const Run *r, const ExecNode *node, Vec *ret)
{
        Value *out = arena_array(r->arena, Value, r->n);
        uint8_t *decided = arena_zalloc(r->arena, r->n);
        for (size_t arg = 0; arg < node->count; arg += 2) {
                Vec condition, value;
                const uint8_t *truths = NULL;
                bool last = arg + 1 == node->count;
                if (!last) {
                        truths = run(r, node->args[arg], &condition) ? vec_truths(&condition, r->rows) : NULL;
                        if (!truths)
                                return false;
                }
                if (!run(r, node->args[last ? arg : arg + 1], &value) || vec_odd(&value))
                        return false;
                for (uint32_t i = 0; i < r->n; i++) {
                        if (decided[i] || (!last && truths[i] == 0))
                                continue;
                        decided[i] = 1;
                        out[i] = !last && truths[i] == TRUTH_MISSING ? value_none() : vec_value(&value, i);
                }
        }
        *ret = vec_of_values(r, out);
        return true;
}

static bool run_default(const Run *r, const ExecNode *node, Vec *ret)
{
        Vec fallback;
        if (!run(r, node->args[0], ret) || vec_odd(ret))
                return false;
        if (ret->kind == VEC_NUMBERS || is_words(ret))
                return true;
        if (!run(r, node->args[1], &fallback) || vec_odd(&fallback))
                return false;
        Value *out = arena_array(r->arena, Value, r->n);
        for (uint32_t i = 0; i < r->n; i++) {
                out[i] = vec_value(ret, i);
                if (value_is(out[i], V_NONE) || value_is(out[i], V_NULL))
                        out[i] = vec_value(&fallback, i);
        }
        *ret = vec_of_values(r, out);
        return true;
}

/* --- others --- */

static bool run_exists(const Run *r, const ExecNode *node, Vec *ret)
{
        if (!r->rows->columns || r->rows->source)
                return false;
        Vec vec = vec_of_column(r->rows->columns[node->index], r->rows->first);
        uint8_t *out = arena_array(r->arena, uint8_t, r->n);
        for (uint32_t i = 0; i < r->n; i++) {
                Value v = vec_value(&vec, i);
                out[i] = !value_is(v, V_NONE) && !value_is(v, V_NULL);
        }
        *ret = vec_of_truths(out);
        return true;
}

static bool run_matches(const Run *r, const ExecNode *node, Vec *ret)
{
        Vec vec;
        if (!run(r, node->args[0], &vec) || !is_words(&vec))
                return false;
        uint8_t *of_word = arena_array(r->arena, uint8_t, vec.column->words);
        for (uint32_t i = 0; i < vec.column->words; i++) {
                bool found;
                Status st = regex_match(node->regex, value_bytes(column_word(vec.column, i)), 0, NULL, 0, &found);
                status_ignore(st);
                if (st)
                        return false;
                of_word[i] = found;
        }
        *ret = vec_of_truths(truths_of_words(r, &vec, of_word));
        return true;
}

static bool run(const Run *r, const ExecNode *node, Vec *ret)
{
        switch ((ExecOp)node->op) {
        case EXEC_CONST: *ret = (Vec){.kind = VEC_CONST, .value = node->value}; return true;
        case EXEC_OUTER:
                *ret = (Vec){.kind = VEC_CONST, .value = exec_outer(r->rows->frame, node)};
                return !value_is(ret->value, V_NONE);
        case EXEC_ARG:
                if (node->index || !r->rows->source)
                        return false;
                *ret = *r->rows->source;
                return true;
        case EXEC_FIELD:
                if (!r->rows->columns || r->rows->source)
                        return false;
                *ret = vec_of_column(r->rows->columns[node->index], r->rows->first);
                return true;
        case EXEC_COMPARE: return run_compare(r, node, ret);
        case EXEC_AND:
        case EXEC_OR: return run_logic(r, node, ret);
        case EXEC_NOT: return run_not(r, node, ret);
        case EXEC_BRANCH: return run_branch(r, node, ret);
        case EXEC_DEFAULT: return run_default(r, node, ret);
        case EXEC_ARITH: return run_arithmetic(r, node, ret);
        case EXEC_MOD: return run_modulo(r, node, ret);
        case EXEC_ROUND: return run_round(r, node, ret);
        case EXEC_EXISTS: return run_exists(r, node, ret);
        case EXEC_MATCHES: return run_matches(r, node, ret);
        default: return false;
        }
}

bool exec_vector(const ExecProgram *program, const ExecRows *rows, Vec *ret)
{
        Run r = {.program = program, .rows = rows, .n = rows->count, .arena = rows->arena};
        return run(&r, program->root, ret);
}
