/* array.c - making and changing arrays, arrays as sets, offsets_of. */
#include <inttypes.h>

#include "query/query_int.h"

static Status term_make_array(Env *env, const Term *term, Val *ret)
{
        bool literal = env->literal_ok;
        Args args;
        ArrayBuilder out;
        TRY(args_begin(env, term, &args));
        array_init(&out, env->arena, args.count);
        for (size_t i = 0; i < args.count; i++) {
                Val val;
                Value item;
                /* RethinkDB lets r.literal stand in the first place only. */
                TRY(literal && i == 0 ? args_val_literal(&args, i, &val) : args_val(&args, i, &val));
                TRY(val_as_datum(env, &val, &item));
                array_add(&out, item);
                TRY(check_array_size(env, term, out.count));
        }
        Value array = array_take(&out);
        TRY(check_depth(env, term, array));
        *ret = val_datum(term, array);
        return ST_OK;
}

/* The first two arguments as datums, both evaluated before either is checked, as in RethinkDB. */
static Status two_datums(Env *env, const Term *term, Value *ret_first, Value *ret_second)
{
        Args args;
        TRY(args_begin(env, term, &args));
        TRY(args_datum(&args, 0, ret_first));
        return args_datum(&args, 1, ret_second);
}

static void add_all(ArrayBuilder *out, Value array)
{
        for (size_t i = 0; i < value_count(array); i++)
                array_add(out, value_at(array, i));
}

static Status take_array(Env *env, const Term *term, ArrayBuilder *out, Val *ret)
{
        TRY(check_array_size(env, term, out->count));
        Value array = array_take(out);
        TRY(check_depth(env, term, array));
        *ret = val_datum(term, array);
        return ST_OK;
}

static Status term_append(Env *env, const Term *term, Val *ret)
{
        Value array, item;
        ArrayBuilder out;
        TRY(two_datums(env, term, &array, &item));
        TRY(expect_type(env, term, array, V_ARRAY));
        array_init(&out, env->arena, value_count(array) + 1);
        if (term->type == TERM_PREPEND)
                array_add(&out, item);
        add_all(&out, array);
        if (term->type == TERM_APPEND)
                array_add(&out, item);
        return take_array(env, term, &out, ret);
}

/* --- changing at an index --- */

/* -1 is the last of `size` places; below -size there is none. Above is for the caller to judge. */
static Status place_of(Env *env, const Term *term, Value index, size_t size, size_t *ret)
{
        int64_t n;
        TRY(expect_int(env, term, index, &n));
        if (n >= 0) {
                *ret = (size_t)n;
                return ST_OK;
        }
        if ((uint64_t)-n > size)
                return fail(env, term, ERR_NON_EXISTENCE, "Index out of bounds: %" PRId64, n);
        *ret = (size_t)((int64_t)size + n);
        return ST_OK;
}

static Status no_such_place(Env *env, const Term *term, size_t place, size_t size)
{
        return fail(env, term, ERR_NON_EXISTENCE, "Index `%zu` out of bounds for array of size: `%zu`.", place, size);
}

/* The array and the place of the *_at terms. `spaces`: places are between the elements (one more), else they are the
 * elements. */
static Status at_begin(Args *args, Env *env, const Term *term, bool spaces, Value *ret_array, size_t *ret_place)
{
        Value index;
        TRY(args_begin(env, term, args));
        TRY(args_datum(args, 0, ret_array));
        TRY(expect_type(env, term, *ret_array, V_ARRAY));
        TRY(check_array_size(env, term, value_count(*ret_array)));
        TRY(args_datum(args, 1, &index));
        return place_of(env, term, index, value_count(*ret_array) + spaces, ret_place);
}

/* A copy of `array` with `cut` elements from `place` on replaced by `items`. */
static Status splice(Env *env, const Term *term, Value array, size_t place, size_t cut, Value items, Val *ret)
{
        size_t count = value_count(array);
        ArrayBuilder out;
        array_init(&out, env->arena, count - cut + value_count(items));
        for (size_t i = 0; i < place; i++)
                array_add(&out, value_at(array, i));
        add_all(&out, items);
        for (size_t i = place + cut; i < count; i++)
                array_add(&out, value_at(array, i));
        return take_array(env, term, &out, ret);
}

static Status term_insert_at(Env *env, const Term *term, Val *ret)
{
        bool many = term->type == TERM_SPLICE_AT;
        Args args;
        Value array, item;
        size_t place;
        TRY(at_begin(&args, env, term, true, &array, &place));
        TRY(args_datum(&args, 2, &item));
        if (place > value_count(array))
                return no_such_place(env, term, place, value_count(array));
        if (many)
                TRY(expect_type(env, term, item, V_ARRAY));
        return splice(env, term, array, place, 0, many ? item : value_array(&item, 1), ret);
}

static Status term_change_at(Env *env, const Term *term, Val *ret)
{
        Args args;
        Value array, item;
        size_t place;
        TRY(at_begin(&args, env, term, false, &array, &place));
        TRY(args_datum(&args, 2, &item));
        if (place >= value_count(array))
                return no_such_place(env, term, place, value_count(array));
        return splice(env, term, array, place, 1, value_array(&item, 1), ret);
}

static Status term_delete_at(Env *env, const Term *term, Val *ret)
{
        Args args;
        Value array, index;
        size_t place, end;
        TRY(at_begin(&args, env, term, false, &array, &place));
        size_t count = value_count(array);
        if (args.count == 2) {
                if (place >= count)
                        return no_such_place(env, term, place, count);
                end = place + 1;
        } else {
                TRY(args_datum(&args, 2, &index));
                TRY(place_of(env, term, index, count, &end));
                if (place > count || end > count)
                        return no_such_place(env, term, place > count ? place : end, count);
                if (place > end)
                        return fail(env, term, ERR_LOGIC, "Start index `%zu` is greater than end index `%zu`.", place,
                                    end);
        }
        return splice(env, term, array, place, end - place, value_array(NULL, 0), ret);
}

/* --- sets --- */

/* Open addressing over value_hash; born for at most `expected` values. */
typedef struct ValueSet {
        Value *slots; /* V_NONE: free */
        size_t mask;
} ValueSet;

static void set_init(ValueSet *set, Arena *arena, size_t expected)
{
        size_t size = 8;
        while (size < 2 * expected)
                size *= 2;
        set->slots = arena_zalloc(arena, size * sizeof(Value));
        set->mask = size - 1;
}
_Static_assert(V_NONE == 0, "zeroed slots are free");

static Value *set_slot(const ValueSet *set, Value v)
{
        size_t at = value_hash(v) & set->mask;
        while (!value_is(set->slots[at], V_NONE) && !value_equal(set->slots[at], v))
                at = (at + 1) & set->mask;
        return &set->slots[at];
}

static bool set_has(const ValueSet *set, Value v)
{
        return !value_is(*set_slot(set, v), V_NONE);
}

/* False if it was there already. */
static bool set_add(ValueSet *set, Value v)
{
        Value *slot = set_slot(set, v);
        bool fresh = value_is(*slot, V_NONE);
        *slot = v;
        return fresh;
}

static void add_new(ArrayBuilder *out, ValueSet *set, Value array)
{
        for (size_t i = 0; i < value_count(array); i++) {
                Value item = value_at(array, i);
                if (set_add(set, item))
                        array_add(out, item);
        }
}

static Status term_set_insert(Env *env, const Term *term, Val *ret)
{
        Value array, item;
        ArrayBuilder out;
        ValueSet set;
        TRY(two_datums(env, term, &array, &item));
        TRY(expect_type(env, term, array, V_ARRAY));
        array_init(&out, env->arena, value_count(array) + 1);
        set_init(&set, env->arena, value_count(array) + 1);
        add_new(&out, &set, array);
        if (set_add(&set, item))
                array_add(&out, item);
        return take_array(env, term, &out, ret);
}

static Status term_set_union(Env *env, const Term *term, Val *ret)
{
        Value left, right;
        ArrayBuilder out;
        ValueSet set;
        TRY(two_datums(env, term, &left, &right));
        TRY(expect_type(env, term, left, V_ARRAY));
        TRY(expect_type(env, term, right, V_ARRAY));
        size_t count = value_count(left) + value_count(right);
        array_init(&out, env->arena, count);
        set_init(&set, env->arena, count);
        add_new(&out, &set, left);
        add_new(&out, &set, right);
        return take_array(env, term, &out, ret);
}

/* In the order of the right one. */
static Status term_set_intersection(Env *env, const Term *term, Val *ret)
{
        Value left, right;
        ArrayBuilder out;
        ValueSet set, done;
        TRY(two_datums(env, term, &left, &right));
        TRY(expect_type(env, term, left, V_ARRAY));
        TRY(expect_type(env, term, right, V_ARRAY));
        array_init(&out, env->arena, 0);
        set_init(&set, env->arena, value_count(left));
        set_init(&done, env->arena, value_count(right));
        for (size_t i = 0; i < value_count(left); i++)
                (void)set_add(&set, value_at(left, i));
        for (size_t i = 0; i < value_count(right); i++) {
                Value item = value_at(right, i);
                if (set_has(&set, item) && set_add(&done, item))
                        array_add(&out, item);
        }
        return take_array(env, term, &out, ret);
}

static Status term_set_difference(Env *env, const Term *term, Val *ret)
{
        Value left, right;
        ArrayBuilder out;
        ValueSet set;
        TRY(two_datums(env, term, &left, &right));
        TRY(expect_type(env, term, right, V_ARRAY));
        TRY(expect_type(env, term, left, V_ARRAY));
        array_init(&out, env->arena, 0);
        set_init(&set, env->arena, value_count(left) + value_count(right));
        for (size_t i = 0; i < value_count(right); i++)
                (void)set_add(&set, value_at(right, i));
        add_new(&out, &set, left);
        return take_array(env, term, &out, ret);
}

/* --- over sequences --- */

/* DIFFERENCE is filter(row -> not(right.contains(row))): the left may be any sequence and stays what it is, the right
 * one fails only if there is a row, and rows for which it lacks something (NON_EXISTENCE) are left out, as by any
 * filter. It is evaluated once; again for each row only if it failed. */
typedef struct Difference {
        Args args;
        Frame *frame;
        ValueSet *unwanted; /* NULL: could not be evaluated */
} Difference;

static Status unwanted_values(Difference *self, Env *env, ValueSet **ret)
{
        Val val;
        Stream *rows;
        ValueVec vec = {0};
        TRY(args_val(&self->args, 1, &val));
        TRY(val_as_stream(env, &val, &rows));
        TRY(stream_check_finite(rows, env));
        for (bool end = false; !end;)
                TRY(stream_next(rows, env, env->arena, STREAM_CHUNK, &vec, &end));
        ValueSet *set = arena_new(env->arena, ValueSet);
        set_init(set, env->arena, vec.count);
        for (size_t i = 0; i < vec.count; i++)
                (void)set_add(set, vec.items[i]);
        *ret = set;
        return ST_OK;
}

static Status not_unwanted(void *ctx, Env *env, Value row, ValueVec *out)
{
        Difference *self = ctx;
        ValueSet *unwanted = self->unwanted;
        if (!unwanted) {
                const Term *outer = env->current;
                Frame *frame = env->frame;
                EnvMark mark = env_mark(env);
                env->current = self->args.term;
                env->frame = self->frame;
                Status st = unwanted_values(self, env, &unwanted);
                env->frame = frame;
                env->current = outer;
                env_unwind(env, mark);
                if (status_missing(&st))
                        return ST_OK;
                TRY(st);
        }
        if (!set_has(unwanted, row))
                vec_add(out, env->arena, row);
        return ST_OK;
}

static Status term_difference(Env *env, const Term *term, Val *ret)
{
        Val left;
        Stream *rows;
        Difference *self = arena_new(env->arena, Difference);
        self->frame = env->frame;
        TRY(args_begin(env, term, &self->args));
        TRY(args_val(&self->args, 0, &left));
        TRY(val_as_stream(env, &left, &rows));
        const Term *error_at = env->error_at;
        Status st = unwanted_values(self, env, &self->unwanted);
        if (status_code(st) == ERR_CANCELLED || status_code(st) == ERR_NOMEM)
                return st;
        if (st)
                env->error_at = error_at;
        status_ignore(st);
        return val_of_stream(env, term, stream_transform(env, term, rows, not_unwanted, self, true), ret);
}

typedef struct Offsets {
        Func *matches; /* NULL: rows equal to `wanted` */
        Value wanted;
        uint64_t at;
} Offsets;

static Status add_offset(void *ctx, Env *env, Value row, ValueVec *out)
{
        Offsets *offsets = ctx;
        uint64_t at = offsets->at++;
        bool match;
        if (offsets->matches)
                TRY(func_filter(env, offsets->matches, row, false, &match));
        else
                match = value_equal(offsets->wanted, row);
        if (match)
                vec_add(out, env->arena, value_number((double)at));
        return ST_OK;
}

static Status term_offsets_of(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val wanted;
        Stream *rows;
        Offsets *offsets = arena_new(env->arena, Offsets);
        TRY(args_begin(env, term, &args));
        TRY(args_first(&args));
        TRY(args_val(&args, 1, &wanted));
        if (wanted.kind == VAL_FUNC)
                TRY(val_as_func(env, &wanted, &offsets->matches));
        else
                TRY(val_as_datum(env, &wanted, &offsets->wanted));
        TRY(args_stream(&args, 0, &rows));
        return val_of_stream(env, term, stream_transform(env, term, rows, add_offset, offsets, false), ret);
}

static const TermEval terms[] = {
        {TERM_MAKE_ARRAY, term_make_array, true},
        {TERM_APPEND, term_append, true},
        {TERM_PREPEND, term_append, true},
        {TERM_DIFFERENCE, term_difference, true},
        {TERM_SET_INSERT, term_set_insert, true},
        {TERM_SET_UNION, term_set_union, true},
        {TERM_SET_INTERSECTION, term_set_intersection, true},
        {TERM_SET_DIFFERENCE, term_set_difference, true},
        {TERM_INSERT_AT, term_insert_at, true},
        {TERM_SPLICE_AT, term_insert_at, true},
        {TERM_CHANGE_AT, term_change_at, true},
        {TERM_DELETE_AT, term_delete_at, true},
        {TERM_OFFSETS_OF, term_offsets_of, true},
};
const TermList terms_array = {terms, ELEMENTS(terms)};
