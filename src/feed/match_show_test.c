/* match_show_test.c - what classes show of changes, said out loud; and against the table's own reads: replaying what is
 * shown over what a read gave is what the next read gives. */
#include "feed/match_test.h"

#include <stdlib.h>

/* "old>new" for each, with "@old>new" of the index if there is one; "!message" for an error. */
static const char *shown_at(Fixture *f, FeedClass *class, Value key, Value old_row, Value new_row)
{
        Buf out;
        MatchShown *shown;
        size_t count;
        buf_init(&out, 1 << 20);
        OK(feed_class_show(class, key, old_row, new_row, &f->rows, &shown, &count));
        for (size_t i = 0; i < count; i++) {
                if (i)
                        OK(buf_append_str(&out, " "));
                if (shown[i].error) {
                        OK(buf_printf(&out, "!%s", shown[i].error));
                        continue;
                }
                Value parts[] = {shown[i].old_value, shown[i].new_value, shown[i].old_index, shown[i].new_index};
                bool indexed = !value_is(parts[2], V_NONE) || !value_is(parts[3], V_NONE);
                for (size_t k = 0; k < (indexed ? 4u : 2u); k++)
                        OK(buf_printf(&out, "%s%s",
                                      k == 0   ? ""
                                      : k == 2 ? "@"
                                               : ">",
                                      value_is(parts[k], V_NONE) ? "-" : text_of_value(&f->w, parts[k])));
        }
        OK(buf_append_byte(&out, 0));
        const char *text = arena_dup(&f->rows, out.data, out.size);
        buf_done(&out);
        return text;
}

static const char *shown(Fixture *f, FeedClass *class, const char *old_row, const char *new_row)
{
        Value old = old_row ? json(&f->w, old_row) : value_none(), new = new_row ? json(&f->w, new_row) : value_none();
        return shown_at(f, class, value_get_str(old_row ? old : new, "id"), old, new);
}

static void rows_enter_change_and_leave(void **state)
{
        Fixture f;
        fixture_init(&f);
        FeedClass *all = class_of(&f, (FeedSpec){0});
        assert_string_equal(shown(&f, all, NULL, "{\"id\":1}"), "->{\"id\":1}");
        assert_string_equal(shown(&f, all, "{\"id\":1}", "{\"id\":1,\"a\":1}"), "{\"id\":1}>{\"a\":1,\"id\":1}");
        assert_string_equal(shown(&f, all, "{\"id\":1}", NULL), "{\"id\":1}>-");
        assert_string_equal(shown(&f, all, "{\"id\":1}", "{\"id\":1}"), "");
        feed_class_unref(all);

        FeedClass *room = class_field_is(&f, "a", value_number(7));
        assert_string_equal(shown(&f, room, "{\"id\":1,\"a\":7}", "{\"id\":1,\"a\":8}"), "{\"a\":7,\"id\":1}>-");
        assert_string_equal(shown(&f, room, "{\"id\":1}", "{\"id\":1,\"a\":7}"), "->{\"a\":7,\"id\":1}");
        assert_string_equal(shown(&f, room, "{\"id\":1,\"a\":7}", "{\"id\":1,\"a\":7,\"b\":1}"),
                            "{\"a\":7,\"id\":1}>{\"a\":7,\"b\":1,\"id\":1}");
        assert_string_equal(shown(&f, room, "{\"id\":1,\"a\":6}", "{\"id\":1,\"a\":8}"), "");
        assert_string_equal(shown(&f, room, NULL, "{\"id\":1,\"a\":[7]}"), "");
        feed_class_unref(room);
        fixture_done(&f);
}

static void functions_choose_and_transform(void **state)
{
        Fixture f;
        fixture_init(&f);
        FeedClass *class = class_of(&f, (FeedSpec){.function = BYTES_STR(BRANCH("[21,[" ROW("a") ",5]]"))}); /* a > 5 */
        assert_string_equal(shown(&f, class, "{\"id\":1,\"a\":7}", "{\"id\":1,\"a\":5}"), "{\"a\":7,\"id\":1}>-");
        assert_string_equal(shown(&f, class, "{\"id\":1}", "{\"id\":1,\"a\":5}"), ""); /* no such field: not shown */
        feed_class_unref(class);

        class = class_of(&f, (FeedSpec){.function = BYTES_STR(PLUCKED("a"))});
        assert_string_equal(shown(&f, class, "{\"id\":1,\"a\":7}", "{\"id\":1,\"a\":7,\"b\":1}"), "");
        assert_string_equal(shown(&f, class, "{\"id\":1,\"a\":7}", "{\"id\":1,\"a\":8}"), "{\"a\":7}>{\"a\":8}");
        assert_string_equal(shown(&f, class, "{\"id\":1,\"a\":7}", NULL), "{\"a\":7}>-");
        feed_class_unref(class);

        /* errors: told when the row comes, and then the row is none of the feed's */
        class = class_of(&f, (FeedSpec){.function = BYTES_STR(BRANCH("[21,[[27,[1," ROW("a") "]],0]]"))}); /* 1/a > 0 */
        assert_string_equal(shown(&f, class, "{\"id\":1,\"a\":1}", "{\"id\":1,\"a\":0}"),
                            "{\"a\":1,\"id\":1}>- !Cannot divide by zero.");
        assert_string_equal(shown(&f, class, "{\"id\":1,\"a\":0}", "{\"id\":1,\"a\":0,\"b\":1}"),
                            "!Cannot divide by zero.");
        assert_string_equal(shown(&f, class, "{\"id\":1,\"a\":0}", "{\"id\":1,\"a\":1}"), "->{\"a\":1,\"id\":1}");
        assert_string_equal(shown(&f, class, "{\"id\":1,\"a\":0}", NULL), "");
        feed_class_unref(class);
        /* ... and, to who asks for it, when it goes or fails no more */
        class = class_of(
                &f, (FeedSpec){.function = BYTES_STR(BRANCH("[21,[[27,[1," ROW("a") "]],0]]")), .tell_mended = true});
        assert_string_equal(shown(&f, class, "{\"id\":1,\"a\":0}", "{\"id\":1,\"a\":1}"),
                            "->{\"a\":1,\"id\":1} !Cannot divide by zero.");
        assert_string_equal(shown(&f, class, "{\"id\":1,\"a\":0}", NULL), "!Cannot divide by zero.");
        assert_string_equal(shown(&f, class, "{\"id\":1,\"a\":1}", NULL), "{\"a\":1,\"id\":1}>-");
        feed_class_unref(class);

        class = class_of(&f, (FeedSpec){.function = BYTES_STR(FUNC("[2,[1,2]]"))});
        assert_string_equal(shown(&f, class, NULL, "{\"id\":1}"),
                            "!A changefeed's function gave neither one row nor none.");
        feed_class_unref(class);
        class = class_of(&f, (FeedSpec){.function = BYTES_STR("nonsense")});
        assert_true(*shown(&f, class, NULL, "{\"id\":1}") == '!');
        feed_class_unref(class);

        /* r.now() is the query's moment */
        const char *newer = BRANCH("[21,[" ROW("t") ",[103,[]]]]");
        const char *at_5 = "{\"id\":1,\"t\":{\"$reql_type$\":\"TIME\",\"epoch_time\":5,\"timezone\":\"+00:00\"}}";
        class = class_of(&f, (FeedSpec){.function = BYTES_STR(newer)});
        assert_string_equal(shown(&f, class, NULL, at_5), "!r.now() has no moment in this changefeed.");
        feed_class_unref(class);
        Value row;
        OK(json_parse_copy(BYTES_STR(at_5), JSON_PSEUDO, &f.rows, &row));
        for (int64_t second = 4; second <= 6; second++) {
                class = class_of(&f, (FeedSpec){.function = BYTES_STR(newer), .now_us = second * 1000000});
                assert_int_equal(*shown_at(&f, class, value_number(1), value_none(), row) != 0, second < 5);
                feed_class_unref(class);
        }
        fixture_done(&f);
}

static void conditions_are_asked_first(void **state)
{
        Fixture f;
        fixture_init(&f);
        Bytes path[] = {BYTES_STR("a"), BYTES_STR("b")};
        Value one = value_number(1);
        FeedCondition condition = {.kind = FEED_FIELD_IN, .path = {path, 2}, .values = &one, .value_count = 1};
        FeedSpec spec = {.conditions = &condition,
                         .condition_count = 1,
                         .function = BYTES_STR(FUNC("[12,[\"asked\"]]"))}; /* error("asked") */
        FeedClass *class = class_of(&f, spec);
        assert_string_equal(shown(&f, class, NULL, "{\"id\":1,\"a\":{\"b\":2}}"), "");
        assert_string_equal(shown(&f, class, NULL, "{\"id\":1,\"a\":null}"), "");
        assert_string_equal(shown(&f, class, NULL, "{\"id\":1,\"a\":{\"b\":1}}"), "!asked");
        /* a field of an array, or of a number: only the function knows what becomes of that */
        assert_string_equal(shown(&f, class, NULL, "{\"id\":1,\"a\":[{\"b\":1}]}"), "!asked");
        assert_string_equal(shown(&f, class, NULL, "{\"id\":1,\"a\":5}"), "!asked");
        feed_class_unref(class);
        spec.exact = true;
        class = class_of(&f, spec);
        assert_string_equal(shown(&f, class, NULL, "{\"id\":1,\"a\":{\"b\":1}}"), "->{\"a\":{\"b\":1},\"id\":1}");
        assert_string_equal(shown(&f, class, NULL, "{\"id\":1,\"a\":5}"), "!asked");
        feed_class_unref(class);
        spec.function = BYTES_NONE;
        class = class_of(&f, spec);
        assert_string_equal(shown(&f, class, NULL, "{\"id\":1,\"a\":5}"), "");
        feed_class_unref(class);

        condition = (FeedCondition){.kind = FEED_FIELD_CONTAINS, .path = {path, 1}, .values = &one, .value_count = 1};
        class = class_of(&f, (FeedSpec){.conditions = &condition, .condition_count = 1, .exact = true});
        assert_string_equal(shown(&f, class, "{\"id\":1,\"a\":[2,1]}", "{\"id\":1,\"a\":[2]}"),
                            "{\"a\":[2,1],\"id\":1}>-");
        assert_string_equal(shown(&f, class, NULL, "{\"id\":1,\"a\":1}"), "");
        feed_class_unref(class);

        condition = (FeedCondition){
                .kind = FEED_FIELD_BETWEEN,
                .path = {path, 1},
                .bounds = bounds_between(value_str("ab"), BOUND_CLOSED, value_str("ac"), BOUND_OPEN)}; /* ab... */
        class = class_of(&f, (FeedSpec){.conditions = &condition, .condition_count = 1, .exact = true});
        assert_string_equal(shown(&f, class, "{\"id\":1,\"a\":\"abba\"}", "{\"id\":1,\"a\":\"ac\"}"),
                            "{\"a\":\"abba\",\"id\":1}>-");
        feed_class_unref(class);
        fixture_done(&f);
}

static void keys_and_indexes(void **state)
{
        Fixture f;
        fixture_init(&f);
        Value keys[] = {value_number(1), value_number(2), value_number(1)};
        FeedClass *class = class_of(&f, (FeedSpec){.keys = keys, .key_count = 3});
        assert_string_equal(shown(&f, class, NULL, "{\"id\":1}"), "->{\"id\":1} ->{\"id\":1}");
        assert_string_equal(shown(&f, class, "{\"id\":2}", NULL), "{\"id\":2}>-");
        assert_string_equal(shown(&f, class, "{\"id\":3}", NULL), "");
        feed_class_unref(class);
        class = class_of(&f, (FeedSpec){.keys = keys, .key_count = 1, .index = BYTES_STR("id")});
        assert_string_equal(shown(&f, class, NULL, "{\"id\":1}"), "->{\"id\":1}@->1");
        feed_class_unref(class);

        KeyBounds bounds = bounds_between(value_number(2), BOUND_CLOSED, value_maxval(), BOUND_OPEN);
        class = class_of(&f, (FeedSpec){.bounds = &bounds, .index = BYTES_STR("a")});
        assert_string_equal(shown(&f, class, "{\"id\":1,\"a\":1}", "{\"id\":1,\"a\":2}"), "->{\"a\":2,\"id\":1}@->2");
        assert_string_equal(shown(&f, class, "{\"id\":1,\"a\":3}", "{\"id\":1,\"a\":2}"),
                            "{\"a\":3,\"id\":1}>{\"a\":2,\"id\":1}@3>2");
        assert_string_equal(shown(&f, class, "{\"id\":1,\"a\":3}", "{\"id\":1,\"a\":null}"),
                            "{\"a\":3,\"id\":1}>-@3>-");
        feed_class_unref(class);

        /* what a transform hides, and a move that is told all the same */
        FeedSpec spec = {.bounds = &bounds, .index = BYTES_STR("a"), .function = BYTES_STR(PLUCKED("id"))};
        class = class_of(&f, spec);
        assert_string_equal(shown(&f, class, "{\"id\":1,\"a\":3}", "{\"id\":1,\"a\":2}"), "");
        feed_class_unref(class);
        spec.tell_moves = true;
        class = class_of(&f, spec);
        assert_string_equal(shown(&f, class, "{\"id\":1,\"a\":3}", "{\"id\":1,\"a\":2}"), "{\"id\":1}>{\"id\":1}@3>2");
        assert_string_equal(shown(&f, class, "{\"id\":1,\"a\":3}", "{\"id\":1,\"a\":3,\"b\":1}"), "");
        feed_class_unref(class);

        /* multi: once for each value, the same paired with the same */
        class = class_of(&f, (FeedSpec){.index = BYTES_STR("m")});
        assert_string_equal(shown(&f, class, NULL, "{\"id\":1,\"m\":[2,1,null,2]}"),
                            "->{\"id\":1,\"m\":[2,1,null,2]}@->1 ->{\"id\":1,\"m\":[2,1,null,2]}@->2 "
                            "->{\"id\":1,\"m\":[2,1,null,2]}@->2");
        assert_string_equal(shown(&f, class, "{\"id\":1,\"m\":[1,2]}", "{\"id\":1,\"m\":[2,3,4]}"),
                            "{\"id\":1,\"m\":[1,2]}>{\"id\":1,\"m\":[2,3,4]}@2>2 "
                            "{\"id\":1,\"m\":[1,2]}>{\"id\":1,\"m\":[2,3,4]}@1>3 ->{\"id\":1,\"m\":[2,3,4]}@->4");
        assert_string_equal(shown(&f, class, NULL, "{\"id\":1,\"m\":5}"), "->{\"id\":1,\"m\":5}@->5");
        assert_string_equal(shown(&f, class, NULL, "{\"id\":1,\"m\":{}}"), "");
        feed_class_unref(class);
        class = class_of(&f, (FeedSpec){.index = BYTES_STR("m"), .function = BYTES_STR(PLUCKED("id"))});
        assert_string_equal(shown(&f, class, "{\"id\":1,\"m\":[1,2]}", "{\"id\":1,\"m\":[3]}"), "{\"id\":1}>-@2>-");
        feed_class_unref(class);

        /* any function */
        class = class_of(&f, (FeedSpec){.index = BYTES_STR("sum"), .keys = keys, .key_count = 1});
        assert_string_equal(shown(&f, class, "{\"id\":1,\"a\":0}", "{\"id\":1,\"a\":\"x\"}"),
                            "{\"a\":0,\"id\":1}>-@1>-");
        feed_class_unref(class);
        fixture_done(&f);
}

/* --- against the table's reads --- */

/* Texts that agree for long, around where keys are cut, and what can be no key. */
static Value some_value(Gen *gen)
{
        static const unsigned sizes[] = {0, 1, 3, 197, 198, 199, 200, 201, 230};
        switch (gen_below(gen, 8)) {
        case 0: return value_null();
        case 1: return gen_value(gen, 2);
        case 2:
        case 3: return value_number((double)gen_below(gen, 5));
        case 4: {
                ArrayBuilder array;
                array_init(&array, gen->arena, 0);
                for (uint64_t i = gen_below(gen, 4); i > 0; i--)
                        array_add(&array, value_number((double)gen_below(gen, 4)));
                return array_take(&array);
        }
        default: {
                size_t size = sizes[gen_below(gen, ELEMENTS(sizes))];
                char *text = arena_alloc(gen->arena, size + 1);
                memset(text, 'x', size);
                if (size)
                        text[size - 1 - gen_below(gen, MIN(size, (size_t)4))] = "wxyz"[gen_below(gen, 4)];
                return value_string(BYTES(text, size));
        }
        }
}

static Value some_row(Gen *gen, unsigned id)
{
        ObjectBuilder row;
        ArrayBuilder many;
        object_init(&row, gen->arena, 4);
        object_add_str(&row, "id", value_number(id));
        if (gen_below(gen, 8))
                object_add_str(&row, "a", some_value(gen));
        if (gen_below(gen, 8))
                object_add_str(&row, "b", some_value(gen));
        array_init(&many, gen->arena, 0);
        for (uint64_t i = gen_below(gen, 4); i > 0; i--)
                array_add(&many, some_value(gen));
        object_add_str(&row, "m", gen_below(gen, 5) ? array_take(&many) : some_value(gen));
        return object_take(&row);
}

typedef struct Read {
        Value rows[200], places[200];
        size_t count;
} Read;

static void read_scan(Fixture *f, TableView *view, const FeedSpec *spec, const KeyBounds *bounds, Arena *arena,
                      Read *read)
{
        TableScan *scan;
        if (spec->index.data)
                OK(f->w.source->index_scan_open(view, spec->index, bounds, false, &scan));
        else
                OK(f->w.source->scan_open(view, bounds, false, &scan));
        for (;;) {
                Value row;
                OK(f->w.source->scan_next(scan, arena, &row));
                if (value_is(row, V_NONE))
                        break;
                assert_true(read->count < ELEMENTS(read->rows));
                read->places[read->count] = value_none();
                if (spec->index.data) {
                        Value place;
                        OK(f->w.source->scan_index_value(scan, arena, &place));
                        read->places[read->count] = value_copy(place, arena);
                }
                read->rows[read->count++] = value_copy(row, arena);
        }
        f->w.source->scan_close(scan);
}

/* What the table gives for the spec: between, or get_all with each of the keys. */
static void read_spec(Fixture *f, const FeedSpec *spec, Arena *arena, Read *read)
{
        TableView *view;
        read->count = 0;
        OK(f->w.source->view_open(f->table, &view));
        for (size_t i = 0; i < spec->key_count; i++) {
                KeyBounds one = bounds_between(spec->keys[i], BOUND_CLOSED, spec->keys[i], BOUND_CLOSED);
                read_scan(f, view, spec, &one, arena, read);
        }
        if (!spec->key_count)
                read_scan(f, view, spec, spec->bounds, arena, read);
        f->w.source->view_close(view);
}

static void take_out(Read *read, Value row, Value place)
{
        for (size_t i = 0; i < read->count; i++)
                if (value_equal(read->rows[i], row) && value_equal(read->places[i], place)) {
                        read->count--;
                        read->rows[i] = read->rows[read->count];
                        read->places[i] = read->places[read->count];
                        return;
                }
        fail_msg("a row that was not there is shown as the old one");
}

static void some_spec(Gen *gen, FeedSpec *spec, Value *values, KeyBounds *bounds)
{
        static const char *const names[] = {NULL, "a", "ab", "m", "sum"};
        size_t index = gen_below(gen, ELEMENTS(names));
        *spec = (FeedSpec){.index = names[index] ? BYTES_STR(names[index]) : BYTES_NONE};
        for (size_t i = 0; i < 3; i++) {
                values[i] = index ? some_value(gen) : value_number((double)gen_below(gen, 30));
                if (index == 2) {
                        Value *pair = arena_array(gen->arena, Value, 2);
                        pair[0] = some_value(gen);
                        pair[1] = gen_below(gen, 3)   ? some_value(gen)
                                  : gen_below(gen, 2) ? value_minval()
                                                      : value_maxval();
                        values[i] = value_array(pair, 2);
                }
        }
        if (gen_below(gen, 2)) {
                spec->keys = values;
                spec->key_count = 1 + gen_below(gen, 3);
        } else if (gen_below(gen, 8)) {
                *bounds = bounds_between(values[0], (BoundType)gen_below(gen, 3), values[1],
                                         (BoundType)gen_below(gen, 3));
                spec->bounds = bounds;
        }
}

static void agrees_with_reads(void **state)
{
        enum { SPECS = 24, ROUNDS = 40, CHANGES = 25, ROWS = 30 };
        static Read reads[SPECS];
        Fixture f;
        fixture_init(&f);
        Arena arenas[2];
        arena_init(&arenas[0], 0);
        arena_init(&arenas[1], 0);
        Gen gen = {.state = 77, .json_only = true};
        size_t changes = 0;
        for (int round = 0; round < ROUNDS; round++) {
                FeedSpec specs[SPECS];
                Value values[SPECS][3];
                KeyBounds bounds[SPECS];
                FeedClass *classes[SPECS];
                Arena *arena = &arenas[round % 2];
                arena_reset(arena);
                gen.arena = arena;
                for (size_t i = 0; i < SPECS; i++) {
                        some_spec(&gen, &specs[i], values[i], &bounds[i]);
                        classes[i] = class_of(&f, specs[i]);
                        read_spec(&f, &specs[i], arena, &reads[i]);
                }
                for (int change = 0; change < CHANGES; change++) {
                        unsigned id = (unsigned)gen_below(&gen, ROWS);
                        Value row = gen_below(&gen, 4) ? some_row(&gen, id) : value_null();
                        RowOutcome outcome = put(&f.w, f.table, value_number(id), row);
                        OK(outcome.error);
                        for (size_t i = 0; i < SPECS; i++) {
                                MatchShown *shown_list;
                                size_t count;
                                Read *read = &reads[i];
                                OK(feed_class_show(classes[i], value_number(id), outcome.old_row, outcome.new_row,
                                                   arena, &shown_list, &count));
                                changes += count;
                                for (size_t k = 0; k < count; k++) {
                                        const MatchShown *one = &shown_list[k];
                                        assert_null(one->error);
                                        if (!value_is(one->old_value, V_NONE))
                                                take_out(read, one->old_value, one->old_index);
                                        if (value_is(one->new_value, V_NONE))
                                                continue;
                                        assert_true(read->count < ELEMENTS(read->rows));
                                        read->rows[read->count] = one->new_value;
                                        read->places[read->count++] = one->new_index;
                                }
                        }
                }
                for (size_t i = 0; i < SPECS; i++) {
                        static Read now;
                        read_spec(&f, &specs[i], arena, &now);
                        assert_int_equal(now.count, reads[i].count);
                        for (size_t k = 0; k < now.count; k++)
                                take_out(&reads[i], now.rows[k], now.places[k]);
                        feed_class_unref(classes[i]);
                }
                arena_reset(&f.w.arena);
        }
        assert_true(changes > 2000);
        arena_done(&arenas[0]);
        arena_done(&arenas[1]);
        fixture_done(&f);
}

/* --- without memory --- */

static void survives_without_memory(void **state)
{
        Fixture f;
        fixture_init(&f);
        Value old = json(&f.w, "{\"id\":1,\"a\":3,\"m\":[1,2,3]}"),
              new = json(&f.w, "{\"id\":1,\"a\":0,\"m\":[2,3,4]}");
        FeedClass *classes[] = {
                class_of(&f, (FeedSpec){.index = BYTES_STR("m"), .function = BYTES_STR(PLUCKED("a"))}),
                class_of(&f, (FeedSpec){.function = BYTES_STR(BRANCH("[21,[[27,[1," ROW("a") "]],0]]"))}),
        };
        for (size_t i = 0; i < ELEMENTS(classes); i++)
                for (int n = 1, fired = 1; fired; n++) {
                        Arena arena;
                        MatchShown *list;
                        size_t count;
                        arena_init(&arena, 0);
                        match_functions_forget();
                        mem_fail_nth(n);
                        Status st = feed_class_show(classes[i], value_number(1), old, new, &arena, &list, &count);
                        fired = mem_fail_fired();
                        mem_fail_nth(0);
                        /* a message that there was no memory for is not the row's error */
                        if (st)
                                assert_int_equal(status_code(st), ERR_NOMEM);
                        else if (!fired)
                                assert_int_equal(count, i ? 2 : 3);
                        else
                                fail_msg("allocation %d failed, and it did not tell", n);
                        status_ignore(st);
                        arena_done(&arena);
                }
        for (size_t i = 0; i < ELEMENTS(classes); i++)
                feed_class_unref(classes[i]);
        fixture_done(&f);
}

/* Many more functions than are kept, by turns. */
static void functions_come_and_go(void **state)
{
        enum { FUNCTIONS = 6000 };
        Fixture f;
        fixture_init(&f);
        FeedClass **classes = mem_alloc(FUNCTIONS * sizeof *classes);
        assert_non_null(classes);
        for (int i = 0; i < FUNCTIONS; i++) {
                const char *text = arena_printf(&f.rows, BRANCH("[17,[" ROW("a") ",%d]]"), i);
                classes[i] = class_of(&f, (FeedSpec){.function = BYTES_STR(text)});
        }
        for (int round = 0; round < 3; round++)
                for (int i = 0; i < FUNCTIONS; i++) {
                        int a = i + (round == 1);
                        const char *row = arena_printf(&f.rows, "{\"id\":1,\"a\":%d}", a);
                        assert_int_equal(*shown(&f, classes[i], NULL, row) != 0, a == i);
                }
        for (int i = 0; i < FUNCTIONS; i++)
                feed_class_unref(classes[i]);
        mem_free(classes);
        fixture_done(&f);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(rows_enter_change_and_leave), cmocka_unit_test(functions_choose_and_transform),
                cmocka_unit_test(conditions_are_asked_first),  cmocka_unit_test(keys_and_indexes),
                cmocka_unit_test(agrees_with_reads),           cmocka_unit_test(survives_without_memory),
                cmocka_unit_test(functions_come_and_go),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
