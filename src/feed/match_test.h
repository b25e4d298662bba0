/* match_test.h - a table with indexes, and classes of it, for the tests of the matcher. */
#ifndef FEED_MATCH_TEST_H
#define FEED_MATCH_TEST_H

#include "feed/match_int.h"
#include "table/table_index_test.h"
#include "value/value_gen.h"

#define BRANCH(condition) FUNC("[65,[" condition ",[2,[[10,[1]]]],[2,[]]]]") /* row => condition ? [row] : [] */
#define PLUCKED(field)    FUNC("[2,[[33,[[10,[1]],\"" field "\"]]]]")

typedef struct Fixture {
        World w;
        TableRef *table;
        Arena rows; /* of the test's own */
} Fixture;

static inline void fixture_init(Fixture *f)
{
        world_init(&f->w, 5);
        f->w.by_hand = true;
        world_open(&f->w);
        make_table(&f->w, "test", "t");
        f->table = find(&f->w, "test", "t");
        create(&f->w, f->table, "a", SIMPLE, false, false);
        create(&f->w, f->table, "ab", COMPOUND, false, false);
        create(&f->w, f->table, "m", MULTI, true, false);
        create(&f->w, f->table, "sum", FUNC("[24,[" ROW("a") ",1]]"), false, false);
        create(&f->w, f->table, "g", GEO, false, true);
        OK(try_build_all(&f->w));
        f->w.source->table_unref(f->table);
        f->table = find(&f->w, "test", "t");
        arena_init(&f->rows, 0);
}

static inline void fixture_done(Fixture *f)
{
        f->w.source->table_unref(f->table);
        arena_done(&f->rows);
        match_functions_forget();
        world_done(&f->w);
}

static inline FeedClass *class_of(Fixture *f, FeedSpec spec)
{
        FeedClass *class = NULL;
        spec.table = f->table;
        OK(feed_class_new(&spec, f->w.source, &class));
        return class;
}

/* filter({field: value}) */
static inline FeedClass *class_field_is(Fixture *f, const char *field, Value value)
{
        Bytes name = BYTES_STR(field);
        FeedCondition condition = {.kind = FEED_FIELD_IN, .path = {&name, 1}, .values = &value, .value_count = 1};
        return class_of(f, (FeedSpec){.conditions = &condition, .condition_count = 1, .exact = true});
}

#endif
