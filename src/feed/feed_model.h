/* feed_model.h - for tests: rows at random, and what feeds of them have to give. */
#ifndef FEED_FEED_MODEL_H
#define FEED_FEED_MODEL_H

#include "feed/feed_test.h"

enum { MODEL_IDS = 12 };

static uint64_t rnd_state = 5;
static inline uint64_t rnd(uint64_t n)
{
        rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u;
        return (rnd_state >> 33) % n;
}

typedef struct Follow { /* what a feed has to give: rows of which `a` is its number, or all (-1) */
        Feed *feed;
        FeedPlace place; /* while it is closed */
        int a;
        bool by_function;      /* which takes long, until it was called often: the time of tests stands still */
        char *rows[MODEL_IDS]; /* as the feed's events say; NULL: none */
        uint64_t last_position;
} Follow;

/* filter(a == row.a), filter(id >= 0) */
static inline const char *function_of(Hub *h, int a)
{
        const char *test = a < 0 ? "[22,[[170,[[10,[1]],\"id\"]],0]]"
                                 : arena_printf(&h->w.arena, "[17,[[170,[[10,[1]],\"a\"]],%d]]", a);
        return arena_printf(&h->w.arena, "[69,[[2,[1]],[65,[%s,[2,[[10,[1]]]],[2,[]]]]]]", test);
}

static inline Status open_follow(Hub *h, Follow *f, bool since)
{
        static const Bytes field = {(const uint8_t *)"a", 1};
        Value v = value_number(f->a);
        FeedCondition condition = {.kind = FEED_FIELD_IN, .path = {&field, 1}, .values = &v, .value_count = 1};
        FeedSpec spec = {.table = h->table, .conditions = &condition, .condition_count = f->a >= 0, .exact = true};
        FeedOptions options = {.since = since ? &f->place : NULL};
        if (f->by_function)
                spec = (FeedSpec){.table = h->table, .function = BYTES_STR(function_of(h, f->a))};
        TRY(h->feeds->open(h->feeds->ctx, &spec, &options, &f->feed));
        feed_class_took(row_of(f->feed)->class, 1000000000);
        return ST_OK;
}

static inline bool is_meant(const Follow *f, Value row)
{
        Value a = value_get_str(row, "a");
        return f->a < 0 || (value_is(a, V_NUMBER) && (int)a.number == f->a);
}

/* What the feed says was there is what its events before have left. */
static inline void apply(Hub *h, Follow *f, const FeedEvent *e)
{
        int id = (int)e->key.number;
        assert_int_equal(e->kind, FEED_CHANGE);
        assert_true(e->place.position >= f->last_position);
        f->last_position = e->place.position;
        const char *old = value_is(e->old_value, V_NONE) ? NULL : text_of_value(&h->w, e->old_value);
        if (f->rows[id])
                assert_string_equal(old ? old : "nothing", f->rows[id]);
        else
                assert_null(old);
        mem_free(f->rows[id]);
        f->rows[id] = value_is(e->new_value, V_NONE) ? NULL : mem_strdup(text_of_value(&h->w, e->new_value));
}

static inline void fetch(Hub *h, Follow *f, uint64_t max)
{
        FeedEvent e;
        for (uint64_t i = 0; i < max && next_event(h, f->feed, &e); i++)
                apply(h, f, &e);
}

/* Everything read: the rows are those of the table. */
static inline void expect_rows(Hub *h, Follow *f)
{
        fetch(h, f, UINT64_MAX);
        for (int id = 0; id < MODEL_IDS; id++) {
                Value row = get(&h->w, h->table, value_number(id));
                bool there = value_is_object(row) && is_meant(f, row);
                assert_int_equal(f->rows[id] != NULL, there);
                if (there)
                        assert_string_equal(f->rows[id], text_of_value(&h->w, row));
        }
}

static inline void change_some(Hub *h)
{
        Value keys[6], rows[6];
        RowOutcome outcomes[6];
        WriteOptions options = {.quick = true};
        uint64_t position = 0, n = 1 + rnd(6);
        memset(outcomes, 0, sizeof outcomes);
        for (uint64_t i = 0; i < n; i++) {
                int id = (int)rnd(MODEL_IDS);
                keys[i] = value_number(id);
                rows[i] = rnd(4) == 0 ? value_null()
                                      : json(&h->w, arena_printf(&h->w.arena, "{\"id\":%d,\"a\":%d,\"v\":%d}", id,
                                                                 (int)rnd(4), (int)rnd(1000)));
        }
        ok(h->w.source->write(h->table, keys, n, test_set, rows, &options, &h->w.arena, outcomes, &position));
}

/* From the view on: the rows as they are in it. */
static inline void begin_with_view(Hub *h, Follow *f)
{
        TableView *view;
        ok(h->feeds->view(f->feed, &view));
        for (int id = 0; id < MODEL_IDS; id++) {
                Value row;
                ok(h->w.source->view_get(view, value_number(id), &h->w.arena, &row));
                mem_free(take(f->rows[id]));
                if (value_is_object(row) && is_meant(f, row))
                        f->rows[id] = mem_strdup(text_of_value(&h->w, row));
        }
        h->w.source->view_close(view);
}

#endif
