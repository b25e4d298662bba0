/* match_test.c - a table's classes: what match_find gives against asking every class, and what it costs.
 *
 *      match_test --bench     ns for each change, and bytes, with 1 .. 100 000 classes of some kinds (a release build)
 */
#include "feed/match_test.h"

#include <time.h>

/* --- classes are shared --- */

static void equal_classes_are_one(void **state)
{
        Fixture f;
        MatchTable *table;
        fixture_init(&f);
        OK(match_table_new(&table));
        FeedClass *one = class_field_is(&f, "room", value_number(1)),
                  *same = class_field_is(&f, "room", value_number(1));
        FeedClass *other = class_field_is(&f, "room", value_number(2)), *filed, *again;
        OK(match_add(table, one, &filed));
        assert_ptr_equal(filed, one);
        assert_null(match_user(filed, 0));
        match_set_user(filed, 0, &f);
        OK(match_add(table, same, &again));
        assert_ptr_equal(again, one);
        assert_ptr_equal(match_user(again, 0), &f);
        feed_class_unref(again);
        OK(match_add(table, one, &again));
        assert_ptr_equal(again, one);
        feed_class_unref(again);
        OK(match_add(table, other, &again));
        assert_ptr_equal(again, other);
        feed_class_unref(again);
        assert_int_equal(match_count(table), 2);
        match_remove(table, one);
        assert_int_equal(match_count(table), 1);
        OK(match_add(table, same, &again));
        assert_ptr_equal(again, same);
        assert_null(match_user(again, 0));
        feed_class_unref(again);
        feed_class_unref(filed);
        feed_class_unref(one);
        feed_class_unref(same);
        feed_class_unref(other);
        assert_null(match_table_free(table));
        assert_null(match_table_free(NULL));
        fixture_done(&f);
}

/* --- finding --- */

typedef struct Seen {
        FeedClass **classes;
        size_t count, capacity;
        size_t stop_at; /* 0: never */
} Seen;

static Status see(void *ctx, FeedClass *class)
{
        Seen *seen = ctx;
        assert_true(seen->count < seen->capacity);
        seen->classes[seen->count++] = class;
        return seen->count == seen->stop_at ? status_new(ERR_BUSY, "enough") : ST_OK;
}

static size_t found(MatchTable *table, Value old_row, Value new_row, Arena *scratch)
{
        FeedClass *classes[64];
        Seen seen = {.classes = classes, .capacity = ELEMENTS(classes)};
        Value row = value_is(new_row, V_NONE) ? old_row : new_row;
        OK(match_find(table, value_get_str(row, "id"), old_row, new_row, scratch, see, &seen));
        return seen.count;
}

static void file(MatchTable *table, FeedClass *class)
{
        FeedClass *filed;
        OK(match_add(table, class, &filed));
        assert_ptr_equal(filed, class);
        feed_class_unref(filed);
        feed_class_unref(class); /* the table has its own */
}

/* Only those whom it concerns are found, whatever they are filed by. */
static void looks_at_few(void **state)
{
        Fixture f;
        MatchTable *table;
        fixture_init(&f);
        OK(match_table_new(&table));
        Bytes fields[] = {BYTES_STR("active"), BYTES_STR("room")}, tags = BYTES_STR("tags");
        for (int i = 0; i < 200; i++) {
                Value yes = value_bool(true), number = value_number(i), pair[] = {number, value_number(i + 1)};
                FeedCondition both[] = {
                        {.kind = FEED_FIELD_IN, .path = {&fields[0], 1}, .values = &yes, .value_count = 1},
                        {.kind = FEED_FIELD_IN, .path = {&fields[1], 1}, .values = &number, .value_count = 1},
                };
                FeedCondition contains = {
                        .kind = FEED_FIELD_CONTAINS, .path = {&tags, 1}, .values = &number, .value_count = 1};
                FeedCondition between = {.kind = FEED_FIELD_BETWEEN,
                                         .path = {&fields[1], 1},
                                         .bounds = bounds_between(value_number(1000 + i), BOUND_CLOSED,
                                                                  value_number(1001 + i), BOUND_OPEN)};
                KeyBounds bounds = bounds_between(pair[0], BOUND_CLOSED, pair[1], BOUND_OPEN);
                file(table, class_of(&f, (FeedSpec){.conditions = both, .condition_count = 2, .exact = true}));
                file(table, class_of(&f, (FeedSpec){.conditions = &contains, .condition_count = 1, .exact = true}));
                file(table, class_of(&f, (FeedSpec){.conditions = &between, .condition_count = 1, .exact = true}));
                file(table, class_of(&f, (FeedSpec){.keys = pair, .key_count = 2}));
                file(table, class_of(&f, (FeedSpec){.bounds = &bounds}));
                file(table, class_of(&f, (FeedSpec){.keys = pair, .key_count = 1, .index = BYTES_STR("m")}));
                file(table, class_of(&f, (FeedSpec){.bounds = &bounds, .index = BYTES_STR("a")}));
        }
        assert_int_equal(match_count(table), 1400);
        Value none = value_none(), row = json(&f.w, "{\"id\":-1,\"active\":true,\"room\":7}");
        assert_true(found(table, none, row, &f.rows) <= 2); /* the first may be filed by `active` */
        row = json(&f.w, "{\"id\":-1,\"tags\":[5,6,1000]}");
        assert_int_equal(found(table, none, row, &f.rows), 2);
        assert_int_equal(found(table, none, json(&f.w, "{\"id\":-1,\"room\":1007.5}"), &f.rows), 1);
        assert_int_equal(found(table, row, json(&f.w, "{\"id\":-1,\"tags\":[5]}"), &f.rows), 2);
        assert_int_equal(found(table, none, json(&f.w, "{\"id\":9}"), &f.rows), 3);
        assert_int_equal(found(table, none, json(&f.w, "{\"id\":-1,\"m\":[3,3,4]}"), &f.rows), 2);
        assert_int_equal(found(table, none, json(&f.w, "{\"id\":-1,\"a\":3}"), &f.rows), 1);
        assert_int_equal(found(table, none, json(&f.w, "{\"id\":-1}"), &f.rows), 0);

        FeedClass *classes[8];
        Seen seen = {.classes = classes, .capacity = 8, .stop_at = 2};
        FAILS(ERR_BUSY, match_find(table, value_number(9), none, json(&f.w, "{\"id\":9}"), &f.rows, see, &seen));
        assert_int_equal(seen.count, 2);
        match_table_free(table);
        fixture_done(&f);
}

/* --- against asking everybody --- */

enum { POOL = 600, FIELDS = 6 };
static const char *const field_names[FIELDS] = {"a", "b", "m", "n", "o", "p"};

static Value small_value(Gen *gen, unsigned depth)
{
        switch (gen_below(gen, depth ? 10 : 6)) {
        case 0: return value_null();
        case 1: return value_bool(gen_below(gen, 2));
        case 2: return value_string(gen_text(gen, 2, true));
        case 3:
        case 4:
        case 5: return value_number((double)gen_below(gen, 12));
        case 6:
        case 7: {
                ArrayBuilder array;
                array_init(&array, gen->arena, 0);
                for (uint64_t i = gen_below(gen, 4); i > 0; i--)
                        array_add(&array, small_value(gen, depth - 1));
                return array_take(&array);
        }
        default: {
                ObjectBuilder object;
                object_init(&object, gen->arena, 0);
                for (uint64_t i = gen_below(gen, 3); i > 0; i--)
                        object_add_str(&object, field_names[gen_below(gen, FIELDS)], small_value(gen, depth - 1));
                return object_take(&object);
        }
        }
}

static Value small_row(Gen *gen, unsigned id)
{
        ObjectBuilder row;
        object_init(&row, gen->arena, 0);
        object_add_str(&row, "id", value_number(id));
        for (size_t i = 0; i < FIELDS; i++)
                if (gen_below(gen, 3))
                        object_add_str(&row, field_names[i], small_value(gen, 2));
        return object_take(&row);
}

/* The last row with another value in one field. */
static Value small_step(Gen *gen, Value row)
{
        ObjectBuilder next;
        object_init(&next, gen->arena, 0);
        for (size_t i = 0; i < value_count(row); i++) {
                Bytes key;
                Value v = value_field_at(row, i, &key);
                object_add(&next, key, v);
        }
        object_add_str(&next, field_names[gen_below(gen, FIELDS)], small_value(gen, 2));
        return object_take(&next);
}

static KeyBounds small_bounds(Gen *gen)
{
        Value low = small_value(gen, 1), high = small_value(gen, 1);
        if (value_compare(low, high) > 0 && gen_below(gen, 8)) {
                Value swap = low;
                low = high;
                high = swap;
        }
        return bounds_between(low, (BoundType)gen_below(gen, 3), high, (BoundType)gen_below(gen, 3));
}

static FeedClass *small_class(Fixture *f, Gen *gen)
{
        static const char *const indexes[] = {"id", "a", "ab", "m", "sum"};
        static const char *const functions[] = {
                (PLUCKED("a")),
                (PLUCKED("b")),
                (BRANCH("[21,[" ROW("a") ",5]]")),
                (BRANCH("[17,[" ROW("b") ",[170,[" ROW("o") ",\"a\"]]]]")),
                (BRANCH("[21,[[27,[1," ROW("n") "]],0]]")),
        };
        Value values[6][3];
        Bytes paths[3][2];
        FeedCondition conditions[3];
        KeyBounds bounds = small_bounds(gen);
        FeedSpec spec = {.conditions = conditions,
                         .condition_count = gen_below(gen, 4),
                         .exact = gen_below(gen, 2),
                         .tell_moves = gen_below(gen, 4) == 0};
        for (size_t i = 0; i < spec.condition_count; i++) {
                for (size_t k = 0; k < 3; k++)
                        values[i][k] = small_value(gen, 1);
                for (size_t k = 0; k < 2; k++)
                        paths[i][k] = BYTES(field_names[gen_below(gen, FIELDS)], 1);
                conditions[i] = (FeedCondition){.kind = (FeedConditionKind)gen_below(gen, 3),
                                                .path = {paths[i], 1 + (gen_below(gen, 4) == 0)},
                                                .values = values[i],
                                                .value_count = 1 + gen_below(gen, 3),
                                                .bounds = small_bounds(gen)};
        }
        const char *index = indexes[gen_below(gen, ELEMENTS(indexes))];
        const char *function = functions[gen_below(gen, ELEMENTS(functions))];
        if (gen_below(gen, 3) == 0)
                spec.index = BYTES_STR(index);
        if (gen_below(gen, 4) == 0) {
                for (size_t k = 0; k < 3; k++)
                        values[5][k] = spec.index.data ? small_value(gen, 1) : value_number((double)gen_below(gen, 40));
                spec.keys = values[5];
                spec.key_count = 1 + gen_below(gen, 3);
        } else if (gen_below(gen, 2)) {
                spec.bounds = &bounds;
        }
        if (gen_below(gen, 3) == 0)
                spec.function = BYTES_STR(function);
        return class_of(f, spec);
}

typedef struct Pool {
        Fixture f;
        MatchTable *table;
        FeedClass *classes[POOL]; /* NULL: none; each filed once, though specs may be equal */
        FeedClass *found[POOL];
        Arena arena;
        size_t shown, asked, changes;
} Pool;

static void replace_class(Pool *pool, Gen *gen, size_t at)
{
        FeedClass *filed, *class;
        if (pool->classes[at]) {
                match_remove(pool->table, pool->classes[at]);
                pool->classes[at] = feed_class_unref(pool->classes[at]);
        }
        if (gen_below(gen, 6) == 0)
                return;
        class = small_class(&pool->f, gen);
        OK(match_add(pool->table, class, &filed));
        if (filed == class)
                pool->classes[at] = class;
        else
                feed_class_unref(class); /* another has the same spec */
        feed_class_unref(filed);
}

static void compare_change(Pool *pool, Value key, Value old_row, Value new_row)
{
        Seen seen = {.classes = pool->found, .capacity = POOL};
        OK(match_find(pool->table, key, old_row, new_row, &pool->arena, see, &seen));
        for (size_t i = 0; i < POOL; i++) {
                MatchShown *shown;
                size_t count, times = 0;
                if (!pool->classes[i])
                        continue;
                for (size_t k = 0; k < seen.count; k++)
                        times += seen.classes[k] == pool->classes[i];
                assert_true(times <= 1);
                OK(feed_class_show(pool->classes[i], key, old_row, new_row, &pool->arena, &shown, &count));
                assert_true(count == 0 || times == 1);
                pool->shown += count > 0;
        }
        pool->asked += seen.count;
        pool->changes++;
}

static void finds_all_that_show(void **state)
{
        enum { ROUNDS = 60, CHANGES = 25 };
        static Pool pool;
        Arena values;
        fixture_init(&pool.f);
        OK(match_table_new(&pool.table));
        arena_init(&values, 0);
        arena_init(&pool.arena, 0);
        Gen gen = {.state = 2024, .arena = &values};
        for (int round = 0; round < ROUNDS; round++) {
                for (size_t i = 0; i < (round ? 60 : POOL); i++)
                        replace_class(&pool, &gen, round ? gen_below(&gen, POOL) : i);
                arena_reset(&values);
                Value row = value_none();
                for (int change = 0; change < CHANGES; change++) {
                        unsigned id = value_is(row, V_NONE) ? (unsigned)gen_below(&gen, 40)
                                                            : (unsigned)value_get_str(row, "id").number;
                        Value next = value_is(row, V_NONE) ? small_row(&gen, id)
                                     : gen_below(&gen, 3)  ? small_step(&gen, row)
                                     : gen_below(&gen, 3)  ? small_row(&gen, id)
                                                           : value_none();
                        /* as they come from a log */
                        if (value_is_object(next))
                                next = value_copy(next, &values);
                        compare_change(&pool, value_number(id), row, next);
                        row = next;
                        arena_reset(&pool.arena);
                }
                arena_reset(&pool.f.w.arena);
        }
        /* most is shown by few, and asked are not many more */
        assert_true(pool.shown > 10000);
        assert_true(pool.asked < pool.changes * POOL / 2);
        for (size_t i = 0; i < POOL; i++)
                feed_class_unref(pool.classes[i]);
        match_table_free(pool.table);
        arena_done(&values);
        arena_done(&pool.arena);
        fixture_done(&pool.f);
}

/* Feeds with fields of their own: rows are asked for theirs, not tables for all. */
static void many_different_fields(void **state)
{
        Fixture f;
        MatchTable *table;
        fixture_init(&f);
        OK(match_table_new(&table));
        for (int i = 0; i < 2000; i++)
                file(table, class_field_is(&f, arena_printf(&f.rows, "f%d", i), value_number(i)));
        Value none = value_none();
        assert_int_equal(found(table, none, json(&f.w, "{\"id\":1,\"f7\":7,\"f8\":9,\"f1999\":1999}"), &f.rows), 2);
        match_table_free(table);
        fixture_done(&f);
}

/* --- without memory --- */

static void survives_without_memory(void **state)
{
        Fixture f;
        fixture_init(&f);
        Value keys[] = {value_number(1), value_number(2), value_number(3)}, none = value_none();
        Bytes path[] = {BYTES_STR("o"), BYTES_STR("p")};
        FeedCondition condition = {.kind = FEED_FIELD_IN, .path = {path, 2}, .values = keys, .value_count = 3};
        KeyBounds bounds = bounds_between(keys[0], BOUND_CLOSED, keys[1], BOUND_OPEN);
        FeedSpec specs[] = {
                {.keys = keys, .key_count = 3},
                {.keys = keys, .key_count = 3, .index = BYTES_STR("m")},
                {.bounds = &bounds, .index = BYTES_STR("ab")},
                {.conditions = &condition, .condition_count = 1, .exact = true},
                {0},
        };
        Value row = json(&f.w, "{\"id\":2,\"a\":1,\"b\":1,\"m\":[1,2],\"o\":{\"p\":3}}");
        for (int n = 1, fired = 1; fired; n++) {
                MatchTable *table = NULL;
                FeedClass *classes[ELEMENTS(specs)], *filed, *found_classes[8];
                Seen seen = {.classes = found_classes, .capacity = 8};
                Arena arena;
                size_t added = 0;
                arena_init(&arena, 0);
                for (size_t i = 0; i < ELEMENTS(specs); i++)
                        classes[i] = class_of(&f, specs[i]);
                mem_fail_nth(n);
                Status st = match_table_new(&table);
                for (size_t i = 0; !st && i < ELEMENTS(specs); i++) {
                        st = match_add(table, classes[i], &filed);
                        if (!st)
                                feed_class_unref(filed);
                        added += !st;
                }
                if (!st)
                        st = match_find(table, keys[1], none, row, &arena, see, &seen);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                assert_int_equal(status_code(st), fired ? ERR_NOMEM : ERR_NONE);
                status_ignore(st);
                if (table) {
                        /* what could not be filed left nothing: the rest can be had as if it had never been */
                        assert_int_equal(match_count(table), added);
                        for (size_t i = added; i < ELEMENTS(specs); i++) {
                                OK(match_add(table, classes[i], &filed));
                                feed_class_unref(filed);
                        }
                        seen.count = 0;
                        OK(match_find(table, keys[1], none, row, &arena, see, &seen));
                        assert_int_equal(seen.count, 4); /* [1, 1] is not in 1 .. 2 */
                }
                match_table_free(table);
                for (size_t i = 0; i < ELEMENTS(specs); i++)
                        feed_class_unref(classes[i]);
                arena_done(&arena);
        }
        fixture_done(&f);
}

/* --- what it costs --- */

enum { BENCH_ROOM, BENCH_RANGE, BENCH_POINT, BENCH_COMMON, BENCH_INDEX, BENCH_FUNCTION, BENCH_KINDS };
static const char *const bench_names[BENCH_KINDS] = {
        "filter({room: N})",
        "between(N, N + 2)",
        "get(N)",
        "filter({active: true, room: N})",
        "getAll(N, index: sum)",
        "filter(row => 1 / row(\"room\") == N)",
};

static FeedClass *bench_class(Fixture *f, int kind, int n)
{
        Bytes fields[] = {BYTES_STR("active"), BYTES_STR("room")};
        Value number = value_number(n), yes = value_bool(true);
        KeyBounds bounds = bounds_between(number, BOUND_CLOSED, value_number(n + 2), BOUND_OPEN);
        FeedCondition both[] = {
                {.kind = FEED_FIELD_IN, .path = {&fields[0], 1}, .values = &yes, .value_count = 1},
                {.kind = FEED_FIELD_IN, .path = {&fields[1], 1}, .values = &number, .value_count = 1},
        };
        switch (kind) {
        case BENCH_ROOM: return class_field_is(f, "room", number);
        case BENCH_RANGE: return class_of(f, (FeedSpec){.bounds = &bounds});
        case BENCH_POINT: return class_of(f, (FeedSpec){.keys = &number, .key_count = 1});
        case BENCH_INDEX: return class_of(f, (FeedSpec){.keys = &number, .key_count = 1, .index = BYTES_STR("sum")});
        case BENCH_FUNCTION: {
                const char *text = arena_printf(&f->rows, BRANCH("[17,[[27,[1," ROW("room") "]],%d]]"), n);
                return class_of(f, (FeedSpec){.function = BYTES_STR(text)});
        }
        default: return class_of(f, (FeedSpec){.conditions = both, .condition_count = 2, .exact = true});
        }
}

typedef struct BenchChange {
        Value key, old_row, new_row;
        Arena arena;
        size_t found, shown;
} BenchChange;

static Status bench_see(void *ctx, FeedClass *class)
{
        BenchChange *change = ctx;
        MatchShown *shown;
        size_t count;
        TRY(feed_class_show(class, change->key, change->old_row, change->new_row, &change->arena, &shown, &count));
        change->found++;
        change->shown += count;
        return ST_OK;
}

static Value bench_row(Arena *arena, int id, int room, int version)
{
        ObjectBuilder row;
        object_init(&row, arena, 8);
        object_add_str(&row, "id", value_number(id));
        object_add_str(&row, "room", value_number(room));
        object_add_str(&row, "a", value_number(room - 1));
        object_add_str(&row, "active", value_bool(true));
        object_add_str(&row, "version", value_number(version));
        object_add_str(&row, "author", value_str("somebody"));
        object_add_str(&row, "text", value_str("a message of some fifty characters, as they are sent"));
        return value_copy(object_take(&row), arena);
}

static void bench_kind(Fixture *f, int kind, int classes, size_t class_bytes)
{
        enum { ROWS = 1000 };
        int rounds = kind == BENCH_FUNCTION ? 1 : 400,
            changes = kind == BENCH_FUNCTION ? 200000 / (classes + 1000) : ROWS;
        MatchTable *table;
        BenchChange change = {0};
        Arena rows;
        static Value old_rows[ROWS], new_rows[ROWS];
        Gen gen = {.state = 1};
        OK(match_table_new(&table));
        arena_init(&rows, 0);
        arena_init(&change.arena, 0);
        for (int i = 0; i < classes; i++)
                file(table, bench_class(f, kind, i));
        for (int i = 0; i < ROWS; i++) {
                int n = (int)gen_below(&gen, (uint64_t)classes);
                old_rows[i] = bench_row(&rows, n, n, 1);
                new_rows[i] = bench_row(&rows, n, n, 2);
        }
        clock_t began = clock();
        for (int round = 0; round < rounds; round++)
                for (int i = 0; i < changes; i++) {
                        change.key = value_get_str(new_rows[i], "id");
                        change.old_row = old_rows[i];
                        change.new_row = new_rows[i];
                        OK(match_find(table, change.key, old_rows[i], new_rows[i], &change.arena, bench_see, &change));
                        arena_reset(&change.arena);
                }
        double ns = (double)(clock() - began) / CLOCKS_PER_SEC * 1e9 / rounds / changes;
        printf("%-36s %7d classes  %9.0f ns/change  %8.2f found  %5.2f shown  %4zu bytes/class\n", bench_names[kind],
               classes, ns, (double)change.found / rounds / changes, (double)change.shown / rounds / changes,
               class_bytes);
        match_table_free(table);
        arena_done(&rows);
        arena_done(&change.arena);
}

static int bench(void)
{
        static const int counts[] = {1, 100, 10000, 100000};
        Fixture f;
        fixture_init(&f);
        for (int kind = 0; kind < BENCH_KINDS; kind++) {
                FeedClass *class = bench_class(&f, kind, 5);
                size_t bytes = feed_class_bytes(class);
                feed_class_unref(class);
                for (size_t i = 0; i < ELEMENTS(counts); i++)
                        bench_kind(&f, kind, counts[i], bytes);
        }
        fixture_done(&f);
        return 0;
}

int main(int argc, char **argv)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(equal_classes_are_one),   cmocka_unit_test(looks_at_few),
                cmocka_unit_test(finds_all_that_show),     cmocka_unit_test(many_different_fields),
                cmocka_unit_test(survives_without_memory),
        };
        if (argc > 1 && strcmp(argv[1], "--bench") == 0)
                return bench();
        return cmocka_run_group_tests(tests, NULL, NULL);
}
