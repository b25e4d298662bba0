/* object.c - making objects and taking them apart: fields, pluck, without, merge, has_fields, literal.
 *
 * Most of these terms take an object, or a sequence of objects and then work on each row (poly.h): poly_eval() is that
 * choice. */
#include "query/env_int.h"
#include "query/key_set.h"
#include "query/poly.h"

#define REQL_TYPE BYTES_STR("$reql_type$")

static bool is_literal(Value v)
{
        return value_is(v, V_OBJECT) && value_bytes_are(value_get(v, REQL_TYPE), "LITERAL");
}

/* TIME and GEOMETRY are objects, but not to be taken for data. */
static bool is_pseudo(Value object)
{
        return !value_is(object, V_OBJECT);
}

static Status stray_literal(Env *env, const Term *at)
{
        return fail(env, at, ERR_LOGIC,
                    "Stray literal keyword found: literal is only legal inside of the object passed to merge or update "
                    "and cannot "
                    "nest inside other literals.");
}

Status object_finish(Env *env, const Term *at, Value object, Value *ret)
{
        TRY(check_depth(env, at, object));
        if (likely(value_is(value_get(object, REQL_TYPE), V_NONE))) {
                *ret = object;
                return ST_OK;
        }
        if (is_literal(object))
                return stray_literal(env, at);
        return fail_at(env, at, value_classify(object, env->arena, ret));
}

/* --- making --- */

/* Fields are evaluated in the order of their names, as RethinkDB does; so one sort serves both. */
static Status term_make_obj(Env *env, const Term *term, Val *ret)
{
        bool literal = env->literal_ok;
        Field *fields = arena_array(env->arena, Field, term->opt_count);
        for (size_t i = 0; i < term->opt_count; i++)
                fields[i] = (Field){term->opts[i].name, value_number((double)i)};
        size_t count = fields_sort(fields, term->opt_count, env->arena, NULL);
        for (size_t i = 0; i < count; i++) {
                const Term *from = term->opts[(size_t)fields[i].value.number].term;
                Val val;
                TRY(literal ? eval_literal(env, from, &val) : eval(env, from, &val));
                TRY(val_as_datum(env, &val, &fields[i].value));
        }
        Value object;
        TRY(object_finish(env, term, value_object_sorted(fields, count), &object));
        *ret = val_datum(term, object);
        return ST_OK;
}

/* r.object(key, value, ...) */
static Status term_object(Env *env, const Term *term, Val *ret)
{
        Args args;
        TRY(args_begin(env, term, &args));
        if (args.count % 2)
                return fail(env, term, ERR_LOGIC, "OBJECT expects an even number of arguments (but found %zu).",
                            args.count);
        KeySet set;
        key_set_init(&set, env->arena, args.count / 2);
        for (size_t i = 0; i < args.count; i += 2) {
                Bytes key;
                Value v;
                TRY(args_string(&args, i, &key));
                TRY(args_datum(&args, i + 1, &v));
                const Field *there = key_set_add(&set, key, v);
                if (there)
                        return fail(env, term, ERR_LOGIC, "Duplicate key %s in object.  (got %s and %s as values)",
                                    (const char *)message_datum_whole(env, value_string(key)).data,
                                    (const char *)message_datum(env, there->value).data,
                                    (const char *)message_datum(env, v).data);
        }
        Value object;
        TRY(object_finish(env, term, object_take(&set.builder), &object));
        *ret = val_datum(term, object);
        return ST_OK;
}

static Status term_literal(Env *env, const Term *term, Val *ret)
{
        bool legal = env->literal_ok;
        Args args;
        TRY(args_begin(env, term, &args));
        if (!legal)
                return stray_literal(env, term);
        Field *fields = arena_array(env->arena, Field, 2);
        size_t count = 1;
        fields[0] = (Field){REQL_TYPE, value_str("LITERAL")};
        if (args.count) {
                TRY(args_datum(&args, 0, &fields[1].value));
                fields[1].key = BYTES_STR("value");
                count = 2;
        }
        Value object = value_object_sorted(fields, count);
        TRY(check_depth(env, term, object));
        *ret = val_datum(term, object);
        return ST_OK;
}

/* --- merge --- */

/* The value without its LITERALs: each stands for its value, or for nothing (*ret is V_NONE; the field or element
 * goes). */
static bool drop_literals(Env *env, Value v, Value *ret)
{
        bool dropped = false;
        if (is_literal(v)) {
                Value inner = value_get_str(v, "value");
                if (!value_is(inner, V_NONE))
                        (void)drop_literals(env, inner, &inner);
                *ret = inner;
                return true;
        }
        *ret = v;
        if (value_is(v, V_ARRAY)) {
                ArrayBuilder out;
                ArenaMark mark = arena_mark(env->arena);
                array_init(&out, env->arena, value_count(v));
                for (size_t i = 0; i < value_count(v); i++) {
                        Value item;
                        dropped |= drop_literals(env, value_at(v, i), &item);
                        if (!value_is(item, V_NONE))
                                array_add(&out, item);
                }
                if (dropped)
                        *ret = array_take(&out);
                else
                        arena_rewind(env->arena, mark);
        } else if (value_is(v, V_OBJECT)) {
                ArenaMark mark = arena_mark(env->arena);
                Field *fields = arena_array(env->arena, Field, value_count(v));
                size_t count = 0;
                for (size_t i = 0; i < value_count(v); i++) {
                        Field field;
                        dropped |= drop_literals(env, value_field_at(v, i, &field.key), &field.value);
                        if (!value_is(field.value, V_NONE))
                                fields[count++] = field;
                }
                if (dropped)
                        *ret = value_object_sorted(fields, count);
                else
                        arena_rewind(env->arena, mark);
        }
        return dropped;
}

/* Both objects' fields are sorted: one walk over both. What replaces a value that is no object keeps its LITERALs, as
 * in RethinkDB. */
Status object_merge(Env *env, const Term *at, Value left, Value right, Value *ret)
{
        if (!value_is_object(left) || !value_is_object(right)) {
                *ret = right;
                return ST_OK;
        }
        size_t left_count = value_count(left), right_count = value_count(right), l = 0, r = 0, count = 0;
        Field *fields = arena_array(env->arena, Field, left_count + right_count);
        Field from_left = {0}, from_right = {0};
        while (l < left_count || r < right_count) {
                if (l < left_count)
                        from_left.value = value_field_at(left, l, &from_left.key);
                if (r < right_count)
                        from_right.value = value_field_at(right, r, &from_right.key);
                int order = l == left_count ? 1 : r == right_count ? -1 : bytes_compare(from_left.key, from_right.key);
                if (order < 0) {
                        fields[count++] = from_left;
                        l++;
                        continue;
                }
                Field merged = {from_right.key, from_right.value};
                if (order == 0 && value_is_object(from_right.value) && !is_literal(from_right.value))
                        TRY(object_merge(env, at, from_left.value, from_right.value, &merged.value));
                else
                        (void)drop_literals(env, from_right.value, &merged.value);
                if (!value_is(merged.value, V_NONE))
                        fields[count++] = merged;
                l += order == 0;
                r++;
        }
        return object_finish(env, at, value_object_sorted(fields, count), ret);
}

/* --- terms on an object or on each row of a sequence (poly.h) --- */

static Status poly_not_object(Env *env, const Term *at, const PolyClass *class, const Val *val)
{
        bool missing = val_is_datum(val) && value_is(val->datum, V_NULL);
        return fail(env, at, missing ? ERR_NON_EXISTENCE : ERR_LOGIC,
                    "Cannot perform %s on a non-object non-sequence `%s`.", class->name,
                    (const char *)val_print(env, val, true).data);
}

static Status poly_check_object(Env *env, const Term *at, const PolyClass *class, Value object)
{
        if (unlikely(is_pseudo(object)) && !(class->takes_geometry && value_is(object, V_GEOMETRY)))
                return fail(env, at, ERR_LOGIC, "Cannot call `%s` on objects of type `%s`.", class->name,
                            value_type_name(object));
        return ST_OK;
}

static Status poly_apply(Poly *poly, Env *env, Value object, Value *ret)
{
        if (!poly->prepared)
                TRY(poly->class->prepare(poly, env));
        return poly->class->apply(poly, env, object, ret);
}

/* The errors of a row stand at the term, because RethinkDB rewrites it to a map over a function that stands there. */
static Status poly_row(Poly *poly, Env *env, Value row, Value *ret)
{
        if (value_is_object(row)) {
                TRY(poly_check_object(env, poly->term, poly->class, row));
                poly->object_at = poly->term;
                Frame *frame = env->frame;
                env->frame = poly->frame;
                Status st = poly_apply(poly, env, row, ret);
                env->frame = frame;
                return st;
        }
        if (value_is(row, V_ARRAY))
                return fail(env, poly->term, ERR_LOGIC, "Cannot perform %s on a sequence of sequences.",
                            poly->class->name);
        Val val = val_datum(poly->term, row);
        return poly_not_object(env, poly->term, poly->class, &val);
}

static Status poly_add_row(void *ctx, Env *env, Value row, ValueVec *out)
{
        Poly *poly = ctx;
        Value result = value_none();
        const Term *error_at = env->error_at;
        if (poly->each_row)
                poly->prepared = false;
        Status st = poly_row(poly, env, row, &result);
        if (st) {
                if (poly->class->kind == POLY_MAP || !status_missing(&st))
                        return st;
                env->error_at = error_at;
                return ST_OK;
        }
        if (poly->class->kind == POLY_FILTER)
                result = value_truthy(result) ? row : value_none();
        if (!value_is(result, V_NONE))
                vec_add(out, env->arena, result);
        return ST_OK;
}

/* Functions and constants are the same for each row; r.random() and its like are not. */
static bool poly_args_vary(const Term *term)
{
        for (size_t i = 1; i < term->arg_count; i++)
                if (term->args[i]->type != TERM_FUNC && term->args[i]->tree_flags & TF_NONDETERMINISTIC)
                        return true;
        return false;
}

static Status poly_sequence(Env *env, Poly *stack_poly, const Val *sequence, Val *ret)
{
        Stream *rows;
        TRY(val_as_stream(env, sequence, &rows));
        Poly *poly = arena_alloc(env->arena, sizeof(Poly));
        *poly = *stack_poly;
        poly->frame = env->frame;
        poly->each_row = !poly->prepared && poly_args_vary(poly->term);
        /* Arguments that fail must fail only if there is a row: then it is the first row that shows the error. */
        if (!poly->prepared && !poly->each_row) {
                const Term *error_at = env->error_at;
                Status st = poly->class->prepare(poly, env);
                if (status_code(st) == ERR_CANCELLED || status_code(st) == ERR_NOMEM)
                        return st;
                poly->prepared = !st;
                poly->each_row = st != ST_OK;
                if (st)
                        env->error_at = error_at;
                status_ignore(st);
        }
        Stream *stream = stream_transform(env, poly->term, rows, poly_add_row, poly, poly->class->kind == POLY_FILTER);
        return val_of_stream(env, poly->term, stream, ret);
}

static Status poly_on(Env *env, Poly *poly, const Val *val, Val *ret)
{
        const PolyClass *class = poly->class;
        bool datum = val_is_datum(val);
        if (datum && value_is_object(val->datum)) {
                Value result = value_none();
                TRY(poly_check_object(env, val->term, class, val->datum));
                poly->object_at = val->term;
                TRY(poly_apply(poly, env, val->datum, &result));
                if (value_is(result, V_NONE))
                        return fail_no_attribute(env, poly->term, poly->key, val->datum);
                *ret = val_datum(poly->term, result);
                return ST_OK;
        }
        if (datum ? value_is(val->datum, V_ARRAY) : val_is_sequence(val))
                return poly_sequence(env, poly, val, ret);
        return poly_not_object(env, val->term, class, val);
}

Status poly_eval(Env *env, const Term *term, const PolyClass *class, Val *ret)
{
        Poly poly = {.class = class, .term = term};
        Val val;
        /* r.args() may bring literals: it is evaluated here, the other arguments later. */
        env->literal_next = term->type == TERM_MERGE;
        Status st = args_begin(env, term, &poly.args);
        env->literal_next = false;
        TRY(st);
        TRY(args_val(&poly.args, 0, &val));
        return poly_on(env, &poly, &val, ret);
}

/* --- get_field, bracket --- */

static Status get_prepare(Poly *poly, Env *env)
{
        TRY(args_string(&poly->args, 1, &poly->key));
        poly->prepared = true;
        return ST_OK;
}

static Status get_apply(Poly *poly, Env *env, Value object, Value *ret)
{
        *ret = value_get(object, poly->key);
        return ST_OK;
}

bool row_step_of_object(RowFn fn, const void *ctx, RowStep *ret)
{
        const Poly *poly = ctx;
        if (fn != poly_add_row || poly->class->apply != get_apply || !poly->prepared || poly->each_row)
                return false;
        *ret = (RowStep){.kind = ROW_GET_FIELD, .key = poly->key};
        return true;
}

/* A field of a plain object, which is what these terms mostly are. */
static Status field_of(Env *env, const Term *term, Value object, Bytes key, Val *ret)
{
        Value v = value_get(object, key);
        if (unlikely(value_is(v, V_NONE)))
                return fail_no_attribute(env, term, key, object);
        *ret = val_datum(term, v);
        return ST_OK;
}

static Status term_get_field(Env *env, const Term *term, Val *ret)
{
        static const PolyClass class = {"get_field", POLY_SKIP_MAP, get_prepare, get_apply};
        Args args;
        Val val;
        TRY(args_begin(env, term, &args));
        TRY(args_val(&args, 0, &val));
        if (likely(val_is_datum(&val) && value_is(val.datum, V_OBJECT))) {
                Bytes key;
                TRY(args_string(&args, 1, &key));
                return field_of(env, term, val.datum, key, ret);
        }
        Poly poly = {.class = &class, .term = term, .args = args};
        return poly_on(env, &poly, &val, ret);
}

static Status term_bracket(Env *env, const Term *term, Val *ret)
{
        static const PolyClass class = {"bracket", POLY_SKIP_MAP, get_prepare, get_apply};
        Args args;
        Val val, index;
        Value key;
        TRY(args_begin(env, term, &args));
        sort_first_rows(env, term);
        TRY(args_val(&args, 0, &val));
        TRY(args_val(&args, 1, &index));
        TRY(val_as_datum(env, &index, &key));
        if (value_is(key, V_NUMBER))
                return nth_of(env, term, &val, &index, ret);
        if (!value_is(key, V_STRING))
                return fail(env, term, value_is(key, V_NULL) ? ERR_NON_EXISTENCE : ERR_LOGIC,
                            "Expected NUMBER or STRING as second argument to `bracket` but found %s.",
                            value_type_name(key));
        if (likely(val_is_datum(&val) && value_is(val.datum, V_OBJECT)))
                return field_of(env, term, val.datum, value_bytes(key), ret);
        Poly poly = {.class = &class, .term = term, .args = args, .prepared = true, .key = value_bytes(key)};
        return poly_on(env, &poly, &val, ret);
}

/* --- pluck, without, has_fields, with_fields --- */

static Status spec_prepare(Poly *poly, Env *env)
{
        ArrayBuilder specs;
        array_init(&specs, env->arena, poly->args.count - 1);
        for (size_t i = 1; i < poly->args.count; i++) {
                Value spec;
                TRY(args_datum(&poly->args, i, &spec));
                array_add(&specs, spec);
        }
        TRY(pathspec_make(env, poly->term, array_take(&specs), &poly->spec));
        poly->prepared = true;
        return ST_OK;
}

static Status pluck_apply(Poly *poly, Env *env, Value object, Value *ret)
{
        *ret = pathspec_pluck(poly->spec, object, env->arena);
        return ST_OK;
}

static Status without_apply(Poly *poly, Env *env, Value object, Value *ret)
{
        *ret = pathspec_without(poly->spec, object, env->arena);
        return ST_OK;
}

static Status has_apply(Poly *poly, Env *env, Value object, Value *ret)
{
        *ret = value_bool(pathspec_has(poly->spec, object));
        return ST_OK;
}

static const PolyClass pluck_class = {"pluck", POLY_MAP, spec_prepare, pluck_apply};
static const PolyClass without_class = {"without", POLY_MAP, spec_prepare, without_apply};
static const PolyClass has_class = {"has_fields", POLY_FILTER, spec_prepare, has_apply};

static Status term_pluck(Env *env, const Term *term, Val *ret)
{
        return poly_eval(env, term, &pluck_class, ret);
}
static Status term_without(Env *env, const Term *term, Val *ret)
{
        return poly_eval(env, term, &without_class, ret);
}
static Status term_has_fields(Env *env, const Term *term, Val *ret)
{
        return poly_eval(env, term, &has_class, ret);
}

/* has_fields, then pluck of what is left. */
static Status term_with_fields(Env *env, const Term *term, Val *ret)
{
        Poly has = {.class = &has_class, .term = term};
        Val val, rows;
        TRY(args_begin(env, term, &has.args));
        TRY(args_val(&has.args, 0, &val));
        TRY(poly_on(env, &has, &val, &rows));
        Poly pluck = {.class = &pluck_class, .term = term, .args = has.args};
        return poly_on(env, &pluck, &rows, ret);
}

/* --- merge --- */

static Status merge_prepare(Poly *poly, Env *env)
{
        poly->arguments = arena_array(env->arena, Val, poly->args.count);
        for (size_t i = 1; i < poly->args.count; i++)
                TRY(args_val_literal(&poly->args, i, &poly->arguments[i]));
        poly->prepared = true;
        return ST_OK;
}

static Status merge_apply(Poly *poly, Env *env, Value object, Value *ret)
{
        for (size_t i = 1; i < poly->args.count; i++) {
                const Val *with = &poly->arguments[i];
                Value more;
                if (val_is_datum(with)) {
                        more = with->datum;
                } else {
                        Func *func;
                        TRY(val_as_func(env, with, &func));
                        env->literal_next = true;
                        TRY(func_call_datum(env, func, &object, 1, &more));
                }
                if (value_is_object(more) && is_pseudo(more))
                        return fail(env, with->term, ERR_LOGIC, "Cannot merge objects of type `%s`.",
                                    value_type_name(more));
                TRY(object_merge(env, poly->term, object, more, &object));
        }
        *ret = object;
        return ST_OK;
}

static Status term_merge(Env *env, const Term *term, Val *ret)
{
        static const PolyClass class = {"merge", POLY_MAP, merge_prepare, merge_apply};
        return poly_eval(env, term, &class, ret);
}

/* --- keys, values --- */

static Status plain_object(Env *env, const Term *term, const char *name, Value *ret)
{
        Args args;
        Val val;
        TRY(args_begin(env, term, &args));
        TRY(args_val(&args, 0, &val));
        TRY(val_as_datum(env, &val, ret));
        if (is_pseudo(*ret))
                return fail(env, val.term, ERR_LOGIC, "Cannot call `%s` on objects of type `%s`.", name,
                            value_type_name(*ret));
        return ST_OK;
}

static Status term_keys(Env *env, const Term *term, Val *ret)
{
        bool keys = term->type == TERM_KEYS;
        Value object;
        TRY(plain_object(env, term, keys ? "keys" : "values", &object));
        size_t count = value_count(object);
        TRY(check_array_size(env, term, count));
        Value *items = arena_array(env->arena, Value, count);
        for (size_t i = 0; i < count; i++) {
                Bytes key;
                items[i] = value_field_at(object, i, &key);
                if (keys)
                        items[i] = value_string(key);
        }
        *ret = val_datum(term, value_array(items, count));
        return ST_OK;
}

static const TermEval terms[] = {
        {TERM_MAKE_OBJ, term_make_obj, false},
        {TERM_OBJECT, term_object, true},
        {TERM_LITERAL, term_literal, false},
        {TERM_GET_FIELD, term_get_field, true},
        {TERM_BRACKET, term_bracket, true},
        {TERM_PLUCK, term_pluck, true},
        {TERM_WITHOUT, term_without, true},
        {TERM_HAS_FIELDS, term_has_fields, true},
        {TERM_WITH_FIELDS, term_with_fields, true},
        {TERM_MERGE, term_merge, true},
        {TERM_KEYS, term_keys, true},
        {TERM_VALUES, term_keys, true},
};
const TermList terms_object = {terms, ELEMENTS(terms)};
