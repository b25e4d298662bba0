/* match_class_test.c - equal specs are equal classes, others are not, and a class is small. */
#include "feed/match_test.h"

static void check_equal(Fixture *f, FeedSpec a, FeedSpec b, bool equal)
{
        FeedClass *x = class_of(f, a), *y = class_of(f, b);
        assert_int_equal(feed_class_equal(x, y), equal);
        assert_int_equal(x->hash == y->hash, equal);
        feed_class_unref(x);
        feed_class_unref(y);
}

static void equal_is_what_means_the_same(void **state)
{
        Fixture f;
        fixture_init(&f);
        Bytes a = BYTES_STR("a"), b = BYTES_STR("b"), ab[] = {a, b};
        Value numbers[] = {value_number(1), value_number(2), value_number(2), value_number(-0.0)};
        Value turned[] = {value_number(0.0), value_number(2), value_number(1)};
        Value times[] = {value_time(&f.rows, 5, BYTES_STR("+00:00")), value_time(&f.rows, 5, BYTES_STR("+01:00"))};
        FeedCondition conditions[] = {
                {.kind = FEED_FIELD_IN, .path = {&a, 1}, .values = numbers, .value_count = 4},
                {.kind = FEED_FIELD_CONTAINS, .path = {ab, 2}, .values = numbers, .value_count = 1},
        };
        FeedCondition others[] = {
                {.kind = FEED_FIELD_CONTAINS, .path = {ab, 2}, .values = numbers, .value_count = 1},
                {.kind = FEED_FIELD_IN, .path = {&a, 1}, .values = turned, .value_count = 3},
                {.kind = FEED_FIELD_IN, .path = {&a, 1}, .values = numbers, .value_count = 4},
        };
        FeedSpec one = {.conditions = conditions, .condition_count = 2}, other = {.conditions = others};
        other.condition_count = 3;
        check_equal(&f, one, other, true);
        other.exact = true;
        check_equal(&f, one, other, false);
        other = one;
        other.condition_count = 1;
        check_equal(&f, one, other, false);
        other = one;
        other.function = BYTES_STR(PLUCKED("a"));
        check_equal(&f, one, other, false);
        one.function = BYTES_STR(PLUCKED("b"));
        check_equal(&f, one, other, false);

        /* keys count as often as they come */
        check_equal(&f, (FeedSpec){.keys = numbers, .key_count = 2}, (FeedSpec){.keys = turned + 1, .key_count = 2},
                    true);
        check_equal(&f, (FeedSpec){.keys = numbers, .key_count = 2}, (FeedSpec){.keys = numbers, .key_count = 3},
                    false);
        check_equal(&f, (FeedSpec){.keys = &times[0], .key_count = 1}, (FeedSpec){.keys = &times[1], .key_count = 1},
                    true);
        check_equal(&f, (FeedSpec){.keys = numbers, .key_count = 1},
                    (FeedSpec){.keys = numbers, .key_count = 1, .index = a}, false);
        check_equal(&f, (FeedSpec){.keys = numbers, .key_count = 1, .index = BYTES_STR("id")},
                    (FeedSpec){.keys = numbers, .key_count = 1}, false);

        KeyBounds all = bounds_between(value_minval(), BOUND_CLOSED, value_maxval(), BOUND_OPEN);
        KeyBounds closed = bounds_between(numbers[0], BOUND_CLOSED, numbers[1], BOUND_CLOSED), open = closed;
        open.high_type = BOUND_OPEN;
        check_equal(&f, (FeedSpec){.bounds = &all}, (FeedSpec){0}, true);
        check_equal(&f, (FeedSpec){.bounds = &closed}, (FeedSpec){.bounds = &open}, false);
        check_equal(&f, (FeedSpec){.bounds = &closed, .index = a}, (FeedSpec){.bounds = &closed, .index = a}, true);
        check_equal(&f, (FeedSpec){.index = a}, (FeedSpec){.index = BYTES_STR("m")}, false);
        check_equal(&f, (FeedSpec){.index = a}, (FeedSpec){.index = a, .tell_moves = true}, false);
        check_equal(&f, (FeedSpec){0}, (FeedSpec){.tell_mended = true}, false);
        check_equal(&f, (FeedSpec){.now_us = 1}, (FeedSpec){.now_us = 1}, true);
        check_equal(&f, (FeedSpec){.now_us = 1}, (FeedSpec){.now_us = 2}, false);
        fixture_done(&f);
}

static void keeps_nothing_of_the_spec(void **state)
{
        Fixture f;
        fixture_init(&f);
        Arena arena;
        arena_init(&arena, 0);
        Gen gen = {.state = 3, .arena = &arena};
        for (int round = 0; round < 300; round++) {
                Value values[4];
                Bytes fields[3];
                FeedCondition conditions[3];
                for (size_t i = 0; i < ELEMENTS(values); i++)
                        values[i] = gen_value(&gen, 3);
                for (size_t i = 0; i < ELEMENTS(fields); i++)
                        fields[i] = gen_text(&gen, 3, true);
                for (size_t i = 0; i < ELEMENTS(conditions); i++)
                        conditions[i] = (FeedCondition){
                                .kind = (FeedConditionKind)i,
                                .path = {fields, 1 + i},
                                .values = values,
                                .value_count = 1 + gen_below(&gen, 4),
                                .bounds = bounds_between(values[0], BOUND_OPEN, values[1], BOUND_CLOSED)};
                KeyBounds bounds = bounds_between(values[2], BOUND_CLOSED, values[3], BOUND_NONE);
                FeedSpec spec = {.bounds = &bounds,
                                 .keys = values,
                                 .key_count = gen_below(&gen, 5),
                                 .conditions = conditions,
                                 .condition_count = gen_below(&gen, 4),
                                 .function = gen_below(&gen, 2) ? BYTES_STR(PLUCKED("a")) : BYTES_NONE};
                FeedClass *one = class_of(&f, spec), *other = class_of(&f, spec);
                arena_reset(&arena);
                assert_true(feed_class_equal(one, other));
                feed_class_unref(one);
                feed_class_unref(other);
        }
        arena_done(&arena);
        fixture_done(&f);
}

static void is_small(void **state)
{
        Fixture f;
        fixture_init(&f);
        FeedClass *class = class_field_is(&f, "room", value_number(1234));
        assert_true(feed_class_bytes(class) <= 500);
        assert_true(feed_class_is_plain(class));
        feed_class_unref(class);
        class = class_of(&f, (FeedSpec){.function = BYTES_STR(PLUCKED("a"))});
        assert_false(feed_class_is_plain(class));
        assert_false(feed_class_is_slow(class));
        for (int i = 0; i < 20; i++)
                feed_class_took(class, 50000000);
        assert_true(feed_class_is_slow(class));
        for (int i = 0; i < 60; i++)
                feed_class_took(class, 1000);
        assert_false(feed_class_is_slow(class));
        feed_class_took(class, INT64_MAX);
        feed_class_took(class, -5);
        feed_class_unref(class);
        fixture_done(&f);
}

static void refuses_what_is_no_index(void **state)
{
        Fixture f;
        fixture_init(&f);
        FeedClass *class;
        FeedSpec spec = {.table = f.table, .index = BYTES_STR("none")};
        refused(feed_class_new(&spec, f.w.source, &class), ERR_OP_FAILED,
                "Index `none` was not found on table `test.t`.");
        spec.index = BYTES_STR("g");
        refused(feed_class_new(&spec, f.w.source, &class), ERR_LOGIC,
                "Index `g` is a geospatial index.  Only get_nearest and get_intersecting can use a geospatial index.");
        create(&f.w, f.table, "new", SIMPLE, false, false);
        spec.index = BYTES_STR("new");
        refused(feed_class_new(&spec, f.w.source, &class), ERR_OP_FAILED,
                "Index `new` on table `test.t` was accessed before its construction was finished.");
        TableRef *system = find(&f.w, "rethinkdb", "table_status");
        spec = (FeedSpec){.table = system, .index = BYTES_STR("a")};
        refused(feed_class_new(&spec, f.w.source, &class), ERR_OP_FAILED,
                "Index `a` was not found on table `rethinkdb.table_status`.");
        spec.index = BYTES_STR("id");
        ok(feed_class_new(&spec, f.w.source, &class));
        feed_class_unref(class);
        f.w.source->table_unref(system);
        OK(try_build_all(&f.w));
        fixture_done(&f);
}

static void survives_without_memory(void **state)
{
        Fixture f;
        fixture_init(&f);
        Value key = value_number(1);
        FeedSpec spec = {.table = f.table, .index = BYTES_STR("a"), .keys = &key, .key_count = 1};
        for (int n = 1, fired = 1; fired; n++) {
                FeedClass *class = NULL;
                mem_fail_nth(n);
                Status st = feed_class_new(&spec, f.w.source, &class);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                assert_int_equal(status_code(st), fired ? ERR_NOMEM : ERR_NONE);
                status_ignore(st);
                feed_class_unref(class);
        }
        fixture_done(&f);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(equal_is_what_means_the_same),
                cmocka_unit_test(keeps_nothing_of_the_spec),
                cmocka_unit_test(is_small),
                cmocka_unit_test(refuses_what_is_no_index),
                cmocka_unit_test(survives_without_memory),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
