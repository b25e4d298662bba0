/* changes_cursor_test.c - parked changefeeds: what is parked and what is not, how much is left of a query, and random
 * feeds of which one client is parked and one is not. */
#include "query/changes_test.h"

#define T "r.table(\"t\")"

static void test_which(void **state)
{
        static const struct {
                const char *text;
                bool parks;
        } cases[] = {
                {T ".changes()", true},
                {T ".get(1).changes({includeInitial: true})", true},
                {T ".filter({a: 1}).changes({squash: true})", true},
                {T ".changes({squash: 1})(\"new_val\")", true},
                {T ".changes().pluck(\"new_val\").limit(10).limit(5)", true},
                {T ".changes().filter({new_val: {a: 1}}, {default: true}).without(\"old_val\")", true},
                {T ".changes().merge(c => ({b: c(\"new_val\")})).hasFields(\"b\").withFields(\"b\").map(x => x)", true},
                {T ".union(r.table(\"u\")).changes()", true},
                {T ".changes().map(c => r.table(\"u\").count())", false},
                {T ".changes().map(c => r.random())", false},
                {T ".changes().filter(c => r.now() > 0)", false},
                {T ".changes().concatMap(c => [c])", false},
                {T ".changes().skip(1)", false},
                {T ".changes().union(" T ".changes())", false},
                {T ".count().changes()", false},
                {T ".changes().map(" T ".changes(), (a, b) => a)", false},
        };
        for (size_t i = 0; i < ELEMENTS(cases); i++) {
                Client c;
                client_open(&c, cases[i].text, "");
                client_next(&c);
                if ((c.cursor != NULL) != cases[i].parks)
                        print_error("%s\n", cases[i].text);
                assert_true((c.cursor != NULL) == cases[i].parks);
                client_close(&c);
        }
        /* who asks what it cost is told so by the query */
        Client c;
        client_open(&c, T ".changes()", "\"profile\":true");
        expect_next(&c, "");
        assert_null(c.cursor);
        client_close(&c);
}

static void expect_described(const FeedCursor *cursor, size_t max, const char *expected)
{
        Buf out;
        buf_init(&out, 1000);
        OK(feed_cursor_describe(cursor, max, &out));
        OK(buf_append_byte(&out, 0));
        assert_string_equal((const char *)out.data, expected);
        buf_done(&out);
}

static void test_describe(void **state)
{
        Client c;
        Buf out;
        client_open(&c, T ".changes().filter(r.row(\"a\") == 1)(\"\xc3\xa4\")", "");
        expect_next(&c, "");
        buf_init(&out, 1000);
        OK(query_describe(c.query, 1000, &out));
        OK(buf_append_byte(&out, 0));
        expect_described(c.cursor, 1000, (const char *)out.data);
        expect_described(c.cursor, 5, "r.tab...");
        size_t half = (size_t)(strchr((const char *)out.data, '\xa4') - (const char *)out.data);
        out.data[half - 1] = 0;
        char expected[1000];
        snprintf(expected, sizeof expected, "%s...", (const char *)out.data);
        expect_described(c.cursor, half, expected);
        buf_clear(&out);
        OK(feed_cursor_backtrace(c.cursor, &out));
        assert_int_equal(out.size, 2);
        buf_done(&out);
        client_close(&c);
        char text[2000] = T ".changes()", *end = text + strlen(text);
        for (int i = 0; i < 20; i++)
                end = stpcpy(end, "(\"a rather long name\")");
        client_open(&c, text, "");
        expect_next(&c, "");
        buf_init(&out, 1000);
        OK(feed_cursor_describe(c.cursor, 1000, &out));
        assert_true(out.size < 170);
        assert_memory_equal(out.data + out.size - 3, "...", 3);
        buf_done(&out);
        client_close(&c);
}

#define MANY 2000

/* Nothing of a query stays but the cursor; all are told; nothing is left of any. */
static void test_thousands(void **state)
{
        static Client clients[MANY];
        size_t bytes = 0;
        for (int i = 0; i < MANY; i++) {
                char text[100];
                snprintf(text, sizeof text, T ".filter({room: %d}).changes()", i);
                client_open(&clients[i], text, "");
                client_next(&clients[i]);
                clients[i].query = query_free(clients[i].query);
                assert_non_null(clients[i].cursor);
                bytes += feed_cursor_memory_bytes(clients[i].cursor) - fake_feed_memory(NULL);
        }
        assert_int_equal(fake_feeds.open_count, MANY);
        print_message("a parked feed is %zu bytes beside its Feed\n", bytes / MANY);
        assert_true(bytes / MANY < 600);
        fake_commit("t", "[{\"id\":10,\"room\":7},{\"id\":11,\"room\":1999}]");
        for (int i = 0; i < MANY; i++) {
                QueryAnswer answer;
                buf_clear(&clients[i].rows);
                OK(feed_cursor_next(clients[i].cursor, &clients[i].rows, &answer));
                assert_int_equal(answer, ANSWER_PARTIAL);
                assert_true((clients[i].rows.size > 0) == (i == 7 || i == 1999));
                client_close(&clients[i]);
        }
        assert_int_equal(fake_feeds.open_count, 0);
        assert_int_equal(fake.tables[0].refs, 0);
}

/* --- random feeds --- */

static uint32_t random_state;
static uint32_t roll(uint32_t below)
{
        random_state = random_state * 1664525 + 1013904223;
        return (random_state >> 8) % below;
}

static void random_commit(void)
{
        fake_feeds.position++;
        for (uint32_t n = 1 + roll(3); n > 0; n--) {
                char rows[100];
                const char *table = roll(4) ? "t" : "u";
                if (roll(4))
                        snprintf(rows, sizeof rows, "[{\"id\":%u,\"a\":%u,\"b\":%u}]", roll(6), roll(4), roll(2));
                else
                        snprintf(rows, sizeof rows, "[{\"id\":%u,\"gone\":1}]", roll(6));
                fake_commit_part(table, rows);
        }
        fake_feeds_wake();
}

/* What a client knows of the rows of a feed: documents as texts, each as often as it is there. */
typedef struct Known {
        char rows[200][80];
        size_t count;
        bool hole; /* changes were lost */
} Known;

static void forget_row(Known *known, const char *row)
{
        for (size_t i = 0; i < known->count; i++) {
                if (strcmp(known->rows[i], row) == 0) {
                        memmove(known->rows[i], known->rows[--known->count], sizeof known->rows[0]);
                        return;
                }
        }
        if (!known->hole)
                fail_msg("%s was never there", row);
}

static void note_row(Known *known, Value row, Arena *arena, bool there)
{
        if (value_is(row, V_NONE) || value_is(row, V_NULL))
                return;
        Bytes text = json_text(row, arena);
        if (there) {
                assert_true(known->count < ELEMENTS(known->rows));
                snprintf(known->rows[known->count++], sizeof known->rows[0], "%.*s", (int)text.size, text.data);
        } else {
                forget_row(known, (const char *)text.data);
        }
}

static void note_answer(Known *known, const char *answer)
{
        Arena arena;
        Value documents;
        arena_init(&arena, 0);
        const char *all = arena_printf(&arena, "[%s]", answer);
        OK(json_parse_copy(BYTES_STR(all), JSON_PLAIN, &arena, &documents));
        for (size_t i = 0; i < value_count(documents); i++) {
                Value document = value_at(documents, i), named = value_get_str(document, "state");
                if (value_is(named, V_STRING) && value_bytes_are(named, "restarted"))
                        *known = (Known){0};
                known->hole |= !value_is(value_get_str(document, "error"), V_NONE);
                note_row(known, value_get_str(document, "old_val"), &arena, false);
                note_row(known, value_get_str(document, "new_val"), &arena, true);
        }
        arena_done(&arena);
}

static int compare_rows(const void *a, const void *b)
{
        return strcmp(a, b);
}

/* The query by itself, now. */
static void check_known(Known *known, const char *base)
{
        Client c;
        Known now = {0};
        Arena arena;
        Value documents;
        char text[300];
        if (known->hole)
                return;
        snprintf(text, sizeof text, "%s.changes({includeInitial: true})", base);
        client_open(&c, text, "");
        arena_init(&arena, 0);
        const char *all = arena_printf(&arena, "[%s]", client_next(&c));
        OK(json_parse_copy(BYTES_STR(all), JSON_PLAIN, &arena, &documents));
        for (size_t i = 0; i < value_count(documents); i++)
                note_row(&now, value_get_str(value_at(documents, i), "new_val"), &arena, true);
        arena_done(&arena);
        client_close(&c);
        assert_int_equal(now.count, known->count);
        qsort(now.rows, now.count, sizeof now.rows[0], compare_rows);
        qsort(known->rows, known->count, sizeof known->rows[0], compare_rows);
        for (size_t i = 0; i < now.count; i++)
                assert_string_equal(now.rows[i], known->rows[i]);
}

static void each_feed(void (*set)(Feed *feed))
{
        for (size_t i = 0; i < fake_feeds.open_count; i++)
                set(fake_feeds.open[i]);
}
static void set_lost(Feed *feed)
{
        feed->lost = true;
}
static void set_idle(Feed *feed)
{
        feed->idle = true;
}

static void random_run(uint32_t seed)
{
        static const char *const bases[] = {
                T,
                T ".filter({a: 1})",
                T ".filter(r.row(\"a\") > 1)(\"b\")",
                T ".pluck(\"a\")",
                T ".map(x => x(\"a\").add(x(\"b\")))",
                T ".getAll(1, 3)",
                T ".union(r.table(\"u\"))",
                T ".filter({b: 0}).union(r.table(\"u\").pluck(\"a\"), " T ".without(\"a\"))",
        };
        Client c;
        Known known = {0};
        char text[400];
        random_state = seed;
        const char *base = bases[roll(ELEMENTS(bases))];
        bool tokens = roll(2);
        snprintf(text, sizeof text,
                 "%s.changes({includeInitial: true, squash: %s, includeTokens: %s, includeTypes: %s})", base,
                 roll(2) ? "true" : "false", tokens ? "true" : "false", roll(2) ? "true" : "false");
        for (int i = 0; i < 5; i++)
                random_commit();
        client_open(&c, text, roll(2) ? "\"max_batch_rows\":2,\"max_batch_bytes\":40" : "");
        for (int i = 0; i < 60; i++) {
                for (uint32_t n = roll(4); n > 0; n--)
                        random_commit();
                if (roll(20) == 0)
                        each_feed(roll(2) ? set_lost : set_idle);
                note_answer(&known, client_next(&c));
        }
        for (const char *answer = "?"; *answer;)
                note_answer(&known, answer = client_next(&c));
        check_known(&known, base);
        client_close(&c);
}

static void test_random(void **state)
{
        for (uint32_t seed = 1; seed <= 150; seed++) {
                feeds_teardown(NULL);
                feeds_setup(NULL);
                random_run(seed);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_which, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_describe, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_thousands, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_random, feeds_setup, feeds_teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
