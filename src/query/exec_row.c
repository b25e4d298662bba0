/* exec_row.c - a compiled function run for one row: what each operation of exec_compile.h means. */
#include <math.h>

#include "query/exec_compile.h"
#include "query/pathspec.h"
#include "value/time.h"

#define MUST(expr)                                                                                                     \
        do {                                                                                                           \
                ExecAnswer answer_ = (expr);                                                                           \
                if (unlikely(answer_ != EXEC_OK))                                                                      \
                        return answer_;                                                                                \
        } while (0)

/* A wrong type is a missing value if it is null, as in val.c. */
static ExecAnswer wrong_type(Value v)
{
        return value_is(v, V_NULL) ? EXEC_MISSING : EXEC_BAIL;
}

static ExecAnswer need(Value v, ValueType type)
{
        return likely(v.type == type) ? EXEC_OK : wrong_type(v);
}

static ExecAnswer number_if_finite(double number, Value *ret)
{
        if (unlikely(!isfinite(number)))
                return EXEC_BAIL;
        *ret = value_number(number);
        return EXEC_OK;
}

static ExecAnswer made_or_bail(Status st)
{
        if (likely(!st))
                return EXEC_OK;
        status_ignore(st);
        return EXEC_BAIL;
}

/* --- fields --- */

/* One step: what get_field does with a single value. Arrays would be mapped: that is left to the general evaluator. */
static ExecAnswer get_field(Value object, Bytes key, Value *ret)
{
        if (unlikely(!value_is(object, V_OBJECT)))
                return wrong_type(object);
        *ret = value_get(object, key);
        return value_is(*ret, V_NONE) ? EXEC_MISSING : EXEC_OK;
}

Value exec_path_get(Value row, ExecPath path)
{
        for (size_t i = 0; i < path.count; i++) {
                ExecAnswer answer = get_field(row, path.keys[i], &row);
                if (answer != EXEC_OK)
                        return (Value){.type = answer == EXEC_MISSING ? V_NONE : EXEC_BAD};
        }
        return row;
}

Value exec_outer(const Frame *frame, const ExecNode *node)
{
        for (unsigned depth = node->depth; frame && depth > 1; depth--)
                frame = frame->outer;
        return frame && node->index < frame->count ? frame->values[node->index] : value_none();
}

static ExecAnswer input(const ExecNode *node, const ExecRow *row, const ExecProgram *program, Value *ret)
{
        if (row->fields)
                *ret = row->fields[node->index];
        else if (row->arg_count)
                *ret = exec_path_get(row->args[0], program->inputs[node->index]);
        else
                return EXEC_BAIL;
        if (likely(ret->type != V_NONE && ret->type != EXEC_BAD))
                return EXEC_OK;
        return ret->type == V_NONE ? EXEC_MISSING : EXEC_BAIL;
}

static ExecAnswer exists(const ExecNode *node, const ExecRow *row, const ExecProgram *program, Value *ret)
{
        Value v;
        if (!row->fields) {
                if (row->arg_count == 0)
                        return EXEC_BAIL;
                if (!value_is(row->args[0], V_OBJECT))
                        return wrong_type(row->args[0]);
        }
        ExecAnswer answer = input(node, row, program, &v);
        *ret = value_bool(answer == EXEC_OK && !value_is(v, V_NULL));
        return EXEC_OK;
}

static ExecAnswer nth(Value array, int64_t place, Value *ret)
{
        if (!value_is(array, V_ARRAY))
                return wrong_type(array);
        int64_t count = (int64_t)value_count(array);
        if (place < -count || place >= count)
                return EXEC_MISSING;
        *ret = value_at(array, (size_t)(place < 0 ? count + place : place));
        return EXEC_OK;
}

/* --- arithmetic --- */

static ExecAnswer concat(Value left, Value right, Arena *arena, Value *ret)
{
        size_t size = (size_t)left.size + right.size;
        if (size > INT32_MAX)
                return EXEC_BAIL;
        char *text = arena_alloc(arena, size);
        if (left.size)
                memcpy(text, left.text, left.size);
        if (right.size)
                memcpy(text + left.size, right.text, right.size);
        *ret = value_string(BYTES(text, size));
        return EXEC_OK;
}

static ExecAnswer add(Value left, Value right, Arena *arena, Value *ret)
{
        if (likely(value_is(left, V_NUMBER) && value_is(right, V_NUMBER)))
                return number_if_finite(left.number + right.number, ret);
        if (value_is(left, V_TIME) || value_is(right, V_TIME)) {
                Value time = value_is(left, V_TIME) ? left : right, seconds = value_is(left, V_TIME) ? right : left;
                MUST(need(seconds, V_NUMBER));
                return made_or_bail(time_add(time, seconds.number, arena, ret));
        }
        if (value_is(left, V_STRING)) {
                MUST(need(right, V_STRING));
                return concat(left, right, arena, ret);
        }
        MUST(need(left, V_NUMBER)); /* arrays, too, are for others */
        return need(right, V_NUMBER);
}

static ExecAnswer subtract(Value left, Value right, Arena *arena, Value *ret)
{
        if (value_is(left, V_TIME) && value_is(right, V_TIME))
                return number_if_finite(round((time_epoch(left) - time_epoch(right)) * 1000) / 1000, ret);
        if (value_is(left, V_TIME)) {
                MUST(need(right, V_NUMBER));
                return made_or_bail(time_add(left, -right.number, arena, ret));
        }
        MUST(need(left, V_NUMBER));
        MUST(need(right, V_NUMBER));
        return number_if_finite(left.number - right.number, ret);
}

static ExecAnswer arithmetic(unsigned type, Value left, Value right, Arena *arena, Value *ret)
{
        if (type == TERM_ADD)
                return add(left, right, arena, ret);
        if (type == TERM_SUB)
                return subtract(left, right, arena, ret);
        if (value_is(left, V_ARRAY) || value_is(right, V_ARRAY))
                return EXEC_BAIL;
        MUST(need(left, V_NUMBER));
        MUST(need(right, V_NUMBER));
        if (type == TERM_MUL)
                return number_if_finite(left.number * right.number, ret);
        return right.number == 0 ? EXEC_BAIL : number_if_finite(left.number / right.number, ret);
}

static ExecAnswer integer(Value v, int64_t *ret)
{
        MUST(need(v, V_NUMBER));
        return value_integer(v, ret) ? EXEC_OK : EXEC_BAIL;
}

/* --- objects --- */

/* As match_object in func.c. */
static ExecAnswer matches_pattern(Value pattern, Value have, bool *ret)
{
        *ret = false;
        if (!value_is_object(pattern) || !value_is_object(have)) {
                *ret = value_equal(pattern, have);
                return EXEC_OK;
        }
        Value type = value_get_str(pattern, "$reql_type$");
        if (value_is(type, V_STRING) && value_bytes_are(type, "LITERAL")) {
                *ret = value_equal(value_get_str(pattern, "value"), have);
                return EXEC_OK;
        }
        for (size_t i = 0; i < value_count(pattern); i++) {
                Bytes key;
                bool same;
                Value want = value_field_at(pattern, i, &key), field = value_get(have, key);
                if (value_is(field, V_NONE))
                        return EXEC_MISSING;
                MUST(matches_pattern(want, field, &same));
                if (!same)
                        return EXEC_OK;
        }
        *ret = true;
        return EXEC_OK;
}

bool exec_has_type_field(Value v)
{
        if (value_is(v, V_ARRAY)) {
                for (size_t i = 0; i < value_count(v); i++)
                        if (exec_has_type_field(value_at(v, i)))
                                return true;
        } else if (value_is(v, V_OBJECT)) {
                for (size_t i = 0; i < value_count(v); i++) {
                        Bytes key;
                        if (exec_has_type_field(value_field_at(v, i, &key)) ||
                            bytes_equal(key, BYTES_STR("$reql_type$")))
                                return true;
                }
        }
        return false;
}

/* As object_merge, without all that LITERALs and pseudo-types can do. */
static ExecAnswer merge(Value left, Value right, Arena *arena, Value *ret)
{
        size_t left_count = value_count(left), right_count = value_count(right), l = 0, r = 0, count = 0;
        Field *fields = arena_array(arena, Field, left_count + right_count);
        Field a = {0}, b = {0};
        while (l < left_count || r < right_count) {
                if (l < left_count)
                        a.value = value_field_at(left, l, &a.key);
                if (r < right_count)
                        b.value = value_field_at(right, r, &b.key);
                int order = l == left_count ? 1 : r == right_count ? -1 : bytes_compare(a.key, b.key);
                Field *field = &fields[count++];
                *field = order < 0 ? a : b;
                if (order == 0 && value_is_object(b.value) && value_is_object(a.value)) {
                        if (!value_is(a.value, V_OBJECT) || !value_is(b.value, V_OBJECT))
                                return EXEC_BAIL;
                        MUST(merge(a.value, b.value, arena, &field->value));
                }
                l += order <= 0;
                r += order >= 0;
        }
        *ret = value_object_sorted(fields, count);
        return value_too_deep(*ret) ? EXEC_BAIL : EXEC_OK;
}

/* An object that pluck, without and the like are asked of. */
static ExecAnswer on_object(const ExecNode *node, Value object, Arena *arena, Value *ret)
{
        PathSpec spec = {node->value};
        if (!value_is(object, V_OBJECT))
                return wrong_type(object);
        switch (node->op) {
        case EXEC_HAS: *ret = value_bool(pathspec_has(spec, object)); return EXEC_OK;
        case EXEC_PLUCK: *ret = pathspec_pluck(spec, object, arena); return EXEC_OK;
        default: *ret = pathspec_without(spec, object, arena); return EXEC_OK;
        }
}

/* --- other things --- */

static ExecAnswer count_of(Value v, Value *ret)
{
        size_t count = 0;
        if (value_is(v, V_ARRAY) || value_is(v, V_BINARY) || value_is_object(v)) {
                count = v.size;
        } else if (value_is(v, V_STRING)) {
                for (size_t i = 0; i < v.size; i++)
                        count += ((uint8_t)v.text[i] & 0xC0) != 0x80;
        } else {
                return wrong_type(v);
        }
        *ret = value_number((double)count);
        return EXEC_OK;
}

static ExecAnswer contains(Value array, Value wanted, Value *ret)
{
        bool found = false;
        for (size_t i = 0; !found && i < value_count(array); i++)
                found = value_equal(value_at(array, i), wanted);
        *ret = value_bool(found);
        return EXEC_OK;
}

static ExecAnswer part_of_time(unsigned type, Value time, Value *ret)
{
        double number;
        if (!value_is(time, V_TIME))
                return EXEC_BAIL;
        if (type == TERM_TO_EPOCH_TIME)
                number = time_epoch(time);
        else
                MUST(made_or_bail(time_part(time, time_part_of(type), &number)));
        *ret = value_number(number);
        return EXEC_OK;
}

static ExecAnswer during(const ExecNode *node, const Value *times, Value *ret)
{
        int above = value_compare(times[0], times[1]), below = value_compare(times[2], times[0]);
        bool inside = above > 0 || (above == 0 && !(node->index & 1));
        if (inside && below == 0)
                inside = !(node->index & 2);
        *ret = value_bool(inside && below >= 0);
        return EXEC_OK;
}

static ExecAnswer matches(const ExecNode *node, Value text, Value *ret)
{
        bool found;
        MUST(need(text, V_STRING));
        Bytes bytes = text.text ? value_bytes(text) : BYTES_STR("");
        MUST(made_or_bail(regex_match(node->regex, bytes, 0, NULL, 0, &found)));
        *ret = value_bool(found);
        return EXEC_OK;
}

/* --- all of them --- */

static ExecAnswer run(const ExecNode *node, const ExecRow *row, const ExecProgram *program, Value *ret);
#define RUN(arg, ret) MUST(run((arg), row, program, (ret)))

/* Each neighbouring pair must be in order; arguments behind the first pair that is not are not looked at. */
static ExecAnswer compare(const ExecNode *node, const ExecRow *row, const ExecProgram *program, Value *ret)
{
        Value left, right;
        bool holds = true;
        RUN(node->args[0], &left);
        for (size_t i = 1; holds && i < node->count; i++) {
                RUN(node->args[i], &right);
                holds = compare_in_order(node->type, value_compare(left, right));
                left = right;
        }
        *ret = value_bool(holds != (node->type == TERM_NE));
        return EXEC_OK;
}

/* The value that decided, not its truth. */
static ExecAnswer logic(const ExecNode *node, const ExecRow *row, const ExecProgram *program, Value *ret)
{
        bool is_or = node->op == EXEC_OR;
        *ret = value_bool(!is_or);
        for (size_t i = 0; i < node->count; i++) {
                RUN(node->args[i], ret);
                if (value_truthy(*ret) == is_or)
                        return EXEC_OK;
        }
        if (is_or)
                *ret = value_bool(false);
        return EXEC_OK;
}

static ExecAnswer branch(const ExecNode *node, const ExecRow *row, const ExecProgram *program, Value *ret)
{
        for (size_t i = 0; i + 1 < node->count; i += 2) {
                RUN(node->args[i], ret);
                if (value_truthy(*ret))
                        return run(node->args[i + 1], row, program, ret);
        }
        return run(node->args[node->count - 1], row, program, ret);
}

static ExecAnswer run_arithmetic(const ExecNode *node, const ExecRow *row, const ExecProgram *program, Value *ret)
{
        Value right;
        RUN(node->args[0], ret);
        for (size_t i = 1; i < node->count; i++) {
                RUN(node->args[i], &right);
                MUST(arithmetic(node->type, *ret, right, row->arena, ret));
        }
        return EXEC_OK;
}

static ExecAnswer modulo(const ExecNode *node, const ExecRow *row, const ExecProgram *program, Value *ret)
{
        Value v;
        int64_t left, right;
        RUN(node->args[0], &v);
        MUST(integer(v, &left));
        RUN(node->args[1], &v);
        MUST(integer(v, &right));
        if (right == 0)
                return EXEC_BAIL;
        *ret = value_number((double)(left % right));
        return EXEC_OK;
}

static ExecAnswer container(const ExecNode *node, const ExecRow *row, const ExecProgram *program, Value *ret)
{
        if (node->op == EXEC_ARRAY) {
                Value *items = arena_array(row->arena, Value, node->count);
                for (size_t i = 0; i < node->count; i++)
                        RUN(node->args[i], &items[i]);
                *ret = value_array(items, node->count);
        } else {
                Field *fields = arena_array(row->arena, Field, node->count);
                for (size_t i = 0; i < node->count; i++) {
                        fields[i].key = node->keys[i];
                        RUN(node->args[i], &fields[i].value);
                }
                *ret = value_object_sorted(fields, node->count);
        }
        return value_too_deep(*ret) ? EXEC_BAIL : EXEC_OK;
}

static ExecAnswer run(const ExecNode *node, const ExecRow *row, const ExecProgram *program, Value *ret)
{
        Value first, more[3];
        switch ((ExecOp)node->op) {
        case EXEC_CONST: *ret = node->value; return EXEC_OK;
        case EXEC_OUTER: *ret = exec_outer(row->frame, node); return value_is(*ret, V_NONE) ? EXEC_BAIL : EXEC_OK;
        case EXEC_ARG:
                if (node->index >= row->arg_count)
                        return EXEC_BAIL;
                *ret = row->args[node->index];
                return EXEC_OK;
        case EXEC_FIELD: return input(node, row, program, ret);
        case EXEC_EXISTS: return exists(node, row, program, ret);
        case EXEC_COMPARE: return compare(node, row, program, ret);
        case EXEC_AND:
        case EXEC_OR: return logic(node, row, program, ret);
        case EXEC_BRANCH: return branch(node, row, program, ret);
        case EXEC_DEFAULT: {
                ExecAnswer answer = run(node->args[0], row, program, ret);
                if (answer == EXEC_BAIL || (answer == EXEC_OK && !value_is(*ret, V_NULL)))
                        return answer;
                return run(node->args[1], row, program, ret);
        }
        case EXEC_ARITH: return run_arithmetic(node, row, program, ret);
        case EXEC_MOD: return modulo(node, row, program, ret);
        case EXEC_OBJECT:
        case EXEC_ARRAY: return container(node, row, program, ret);
        default: break;
        }
        RUN(node->args[0], &first);
        switch ((ExecOp)node->op) {
        case EXEC_GET: return get_field(first, node->key, ret);
        case EXEC_NTH: return nth(first, (int64_t)node->value.number, ret);
        case EXEC_NOT: *ret = value_bool(!value_truthy(first)); return EXEC_OK;
        case EXEC_ROUND:
                MUST(need(first, V_NUMBER));
                *ret = value_number(node->type == TERM_FLOOR  ? floor(first.number)
                                    : node->type == TERM_CEIL ? ceil(first.number)
                                                              : round(first.number));
                return EXEC_OK;
        case EXEC_HAS:
        case EXEC_PLUCK:
        case EXEC_WITHOUT: return on_object(node, first, row->arena, ret);
        case EXEC_MERGE:
                if (!value_is(first, V_OBJECT))
                        return wrong_type(first);
                RUN(node->args[1], &more[0]);
                if (!value_is(more[0], V_OBJECT) || exec_has_type_field(more[0]))
                        return EXEC_BAIL;
                return merge(first, more[0], row->arena, ret);
        case EXEC_MATCHES: return matches(node, first, ret);
        case EXEC_PATTERN: {
                bool same;
                MUST(matches_pattern(node->value, first, &same));
                *ret = value_bool(same);
                return EXEC_OK;
        }
        case EXEC_TYPE: *ret = value_str(value_type_name(first)); return EXEC_OK;
        case EXEC_COUNT: return count_of(first, ret);
        case EXEC_CONTAINS:
                if (!value_is(first, V_ARRAY))
                        return wrong_type(first);
                RUN(node->args[1], &more[0]);
                return contains(first, more[0], ret);
        case EXEC_TIME: return part_of_time(node->type, first, ret);
        case EXEC_DURING:
                more[0] = first;
                for (size_t i = 0; i < 3; i++) {
                        if (i)
                                RUN(node->args[i], &more[i]);
                        if (!value_is(more[i], V_TIME))
                                return EXEC_BAIL;
                }
                return during(node, more, ret);
        default: return EXEC_BAIL;
        }
}

ExecAnswer exec_run(const ExecProgram *program, const ExecRow *row, Value *ret)
{
        Value made; /* `ret` may be one of the arguments, which are needed to the end: so it is with reduce and fold */
        ExecAnswer answer = run(program->root, row, program, &made);
        if (answer == EXEC_OK)
                *ret = made;
        return answer;
}
