/* changes_stream_test.c - what clients of changefeeds are told, and when: over feeds whose commits are made by hand. */
#include "query/changes_test.h"

#define T "r.table(\"t\")"

static void on_ready(void *ctx)
{
        ++*(int *)ctx;
}

static void test_changes(void **state)
{
        Client c;
        client_open(&c, T ".changes()", "");
        expect_next(&c, "");
        assert_string_equal(client_notes(&c), "1");
        expect_next(&c, "");
        fake_commit("t", "[{\"id\":4,\"a\":4}]");
        fake_commit("t", "[{\"id\":4,\"a\":5},{\"id\":1,\"gone\":1}]");
        expect_next(&c, "{\"new_val\":{\"a\":4,\"id\":4},\"old_val\":null},"
                        "{\"new_val\":{\"a\":5,\"id\":4},\"old_val\":{\"a\":4,\"id\":4}},"
                        "{\"new_val\":null,\"old_val\":{\"a\":1,\"id\":1}}");
        expect_next(&c, "");
        assert_non_null(c.cursor);
        client_close(&c);
}

static void test_types(void **state)
{
        Client c;
        client_open(&c, T ".get(1).changes({includeTypes: true, includeInitial: true, includeStates: true})", "");
        expect_next(&c,
                    "{\"state\":\"initializing\",\"type\":\"state\"},"
                    "{\"new_val\":{\"a\":1,\"id\":1},\"type\":\"initial\"},{\"state\":\"ready\",\"type\":\"state\"}");
        assert_string_equal(client_notes(&c), "2,5");
        fake_commit("t", "[{\"id\":1,\"gone\":1},{\"id\":2,\"a\":9}]");
        fake_commit("t", "[{\"id\":1,\"a\":2}]");
        fake_commit("t", "[{\"id\":1,\"a\":3}]");
        expect_next(&c, "{\"new_val\":null,\"old_val\":{\"a\":1,\"id\":1},\"type\":\"remove\"},"
                        "{\"new_val\":{\"a\":2,\"id\":1},\"old_val\":null,\"type\":\"add\"},"
                        "{\"new_val\":{\"a\":3,\"id\":1},\"old_val\":{\"a\":2,\"id\":1},\"type\":\"change\"}");
        assert_non_null(c.cursor);
        client_close(&c);
}

/* As recorded: batches of three, the first of one. */
static void test_point_batches(void **state)
{
        Client c;
        client_open(&c, T ".get(9).changes({includeInitial: true, includeStates: true, squash: true}).limit(3)",
                    "\"max_batch_rows\":3");
        expect_next(&c, "{\"state\":\"initializing\"}");
        assert_string_equal(client_notes(&c), "2");
        expect_next(&c, "{\"new_val\":null},{\"state\":\"ready\"} end");
        client_close(&c);
        client_open(&c, T ".get(9).changes({includeInitial: true})", "\"max_batch_rows\":3");
        expect_next(&c, "{\"new_val\":null}");
        client_close(&c);
        client_open(&c, T ".changes({squash: true, includeStates: true}).limit(1)", "\"max_batch_rows\":3");
        expect_next(&c, "{\"state\":\"ready\"} end");
        client_close(&c);
        client_open(&c, T ".changes()", "\"max_batch_rows\":3");
        expect_next(&c, "");
        for (int i = 0; i < 4; i++)
                fake_commit("t", i % 2 ? "[{\"id\":7}]" : "[{\"id\":7,\"gone\":1},{\"id\":8}]");
        expect_next(&c, "{\"new_val\":{\"id\":8},\"old_val\":null},{\"new_val\":{\"id\":7},\"old_val\":null},"
                        "{\"new_val\":null,\"old_val\":{\"id\":7}}");
        expect_next(&c, "{\"new_val\":{\"id\":7},\"old_val\":null}");
        client_close(&c);
}

static void test_initial(void **state)
{
        Client c;
        client_open(&c, T ".changes({includeInitial: true, includeStates: true})", "");
        expect_next(&c,
                    "{\"state\":\"initializing\"},{\"new_val\":{\"a\":1,\"id\":1}},{\"new_val\":{\"a\":2,\"id\":2}},"
                    "{\"new_val\":{\"a\":3,\"id\":3}}");
        assert_null(c.cursor);
        fake_commit("t", "[{\"id\":4}]");
        expect_next(&c, "{\"state\":\"ready\"},{\"new_val\":{\"id\":4},\"old_val\":null}");
        assert_non_null(c.cursor);
        client_close(&c);
        /* in batches, while rows change */
        client_open(&c, T ".changes({includeInitial: true})", "\"max_batch_rows\":1,\"max_batch_bytes\":10");
        const char *first = client_next(&c);
        assert_non_null(strstr(first, "\"a\":1"));
        fake_commit("t", "[{\"id\":1,\"gone\":1},{\"id\":3,\"gone\":1}]");
        char all[1000] = "";
        for (int i = 0; i < 10; i++)
                strcat(all, client_next(&c));
        assert_non_null(strstr(all, "{\"new_val\":null,\"old_val\":{\"a\":1,\"id\":1}}"));
        assert_non_null(strstr(all, "{\"new_val\":null,\"old_val\":{\"a\":3,\"id\":3}}"));
        client_close(&c);
        client_open(&c, "r.table(\"u\").changes({includeInitial: true, includeStates: true})", "");
        expect_next(&c, "{\"state\":\"initializing\"}");
        expect_next(&c, "{\"state\":\"ready\"}");
        client_close(&c);
        client_open(&c, "r.table(\"u\").changes({includeInitial: true})", "");
        expect_next(&c, "");
        client_close(&c);
}

/* What the terms below `changes` show of a row, and what is made of the documents above it. */
static void test_terms(void **state)
{
        Client c;
        client_open(&c, T ".filter(r.row(\"a\") > 1).pluck(\"a\").changes({includeInitial: true})", "");
        expect_next(&c, "{\"new_val\":{\"a\":2}},{\"new_val\":{\"a\":3}}");
        fake_commit("t", "[{\"id\":1,\"a\":7}]");
        fake_commit("t", "[{\"id\":2,\"a\":0},{\"id\":3,\"b\":1}]");
        expect_next(&c, "{\"new_val\":{\"a\":7},\"old_val\":null},{\"new_val\":null,\"old_val\":{\"a\":2}},"
                        "{\"new_val\":null,\"old_val\":{\"a\":3}}");
        client_close(&c);

        client_open(&c, T ".changes().filter(r.row(\"new_val\")(\"a\") > 10)(\"new_val\")(\"a\")", "");
        expect_next(&c, "");
        assert_non_null(c.cursor);
        fake_commit("t", "[{\"id\":1,\"a\":11},{\"id\":2,\"a\":3}]");
        fake_commit("t", "[{\"id\":3,\"gone\":1},{\"id\":2,\"a\":12}]");
        expect_next(&c, "11,12");
        fake_commit("t", "[{\"id\":2,\"a\":1}]"); /* dropped: nothing is there */
        expect_next(&c, "");
        client_close(&c);

        client_open(&c, T ".changes().map(c => c(\"new_val\")(\"a\") + 1).limit(2)", "");
        expect_next(&c, "");
        assert_non_null(c.cursor);
        fake_commit("t", "[{\"id\":5,\"a\":1}]");
        expect_next(&c, "2");
        fake_commit("t", "[{\"id\":6,\"a\":2},{\"id\":7,\"a\":3}]");
        expect_next(&c, "3 end");
        client_close(&c);

        client_open(&c, T ".changes().map(c => c(\"new_val\")(\"b\"))", "");
        expect_next(&c, "");
        fake_commit("t", "[{\"id\":8,\"a\":1}]");
        expect_next(&c, "No attribute `b` in object:\n{\n\t\"a\":\t1,\n\t\"id\":\t8\n}");
        client_close(&c);
}

static void test_behind(void **state)
{
        Client c;
        /* what reads tables sees them as they are then, and keeps its query */
        client_open(&c, T ".changes().map(c => r.table(\"u\").count())", "");
        expect_next(&c, "");
        fake_commit("t", "[{\"id\":4}]");
        expect_next(&c, "0");
        fake_commit("u", "[{\"id\":4}]");
        fake_commit("t", "[{\"id\":5}]");
        expect_next(&c, "1");
        assert_null(c.cursor);
        client_close(&c);
        client_open(&c, T ".changes().concatMap(c => [c(\"new_val\")(\"id\"), 0])", "");
        expect_next(&c, "");
        fake_commit("t", "[{\"id\":6}]");
        fake_commit("t", "[{\"id\":7}]");
        expect_next(&c, "6,0,7,0");
        expect_next(&c, "");
        client_close(&c);
        client_open(&c, T ".changes().eqJoin(c => c(\"new_val\")(\"id\"), r.table(\"u\"))(\"right\")", "");
        expect_next(&c, "");
        fake_commit("t", "[{\"id\":4,\"a\":1}]");
        expect_next(&c, "{\"id\":4}");
        expect_next(&c, "");
        fake_commit("u", "[{\"id\":4,\"x\":1}]");
        fake_commit("t", "[{\"id\":4,\"a\":2}]");
        expect_next(&c, "{\"id\":4,\"x\":1}");
        client_close(&c);
        client_open(&c, T ".changes().union(r.table(\"u\").changes())", "");
        expect_next(&c, "");
        fake_commit("t", "[{\"id\":4,\"a\":3}]");
        expect_next(&c, "{\"new_val\":{\"a\":3,\"id\":4},\"old_val\":{\"a\":2,\"id\":4}}");
        fake_commit("u", "[{\"id\":5}]");
        expect_next(&c, "{\"new_val\":{\"id\":5},\"old_val\":null}");
        expect_next(&c, "");
        client_close(&c);
}

static void test_slices(void **state)
{
        Client c;
        client_open(&c, T ".changes().skip(2)(\"new_val\")(\"id\").limit(3)", "");
        expect_next(&c, "");
        fake_commit("t", "[{\"id\":4}]");
        expect_next(&c, "");
        fake_commit("t", "[{\"id\":5}]");
        fake_commit("t", "[{\"id\":6}]");
        expect_next(&c, "6");
        fake_commit("t", "[{\"id\":7},{\"id\":8},{\"id\":9}]");
        expect_next(&c, "7,8 end");
        client_close(&c);
}

static void test_terminals(void **state)
{
        static const char *const texts[] = {T ".changes().count()", T ".changes().limit(2).coerceTo(\"array\")",
                                            T ".changes().orderBy(\"id\")", T ".changes().reduce((a, b) => a)",
                                            T ".changes().distinct()"};
        for (size_t i = 0; i < ELEMENTS(texts); i++) {
                Client c;
                client_open(&c, texts[i], "");
                expect_next(&c, FEED_TERMINAL_MESSAGE);
                client_close(&c);
        }
}

static void test_union(void **state)
{
        Client c;
        client_open(&c, T ".union(r.table(\"u\")).changes({includeInitial: true})", "");
        expect_next(
                &c,
                "{\"new_val\":{\"a\":1,\"id\":1}},{\"new_val\":{\"a\":2,\"id\":2}},{\"new_val\":{\"a\":3,\"id\":3}}");
        fake_commit("u", "[{\"id\":1}]");
        fake_commit("t", "[{\"id\":1,\"a\":5}]");
        fake_feeds.position++;
        fake_commit_part("u", "[{\"id\":2},{\"id\":3}]");
        fake_commit_part("t", "[{\"id\":2,\"gone\":1}]");
        fake_commit("u", "[{\"id\":1,\"gone\":1}]");
        expect_next(&c, "{\"new_val\":{\"id\":1},\"old_val\":null},"
                        "{\"new_val\":{\"a\":5,\"id\":1},\"old_val\":{\"a\":1,\"id\":1}},"
                        "{\"new_val\":null,\"old_val\":{\"a\":2,\"id\":2}},"
                        "{\"new_val\":{\"id\":2},\"old_val\":null},{\"new_val\":{\"id\":3},\"old_val\":null},"
                        "{\"new_val\":null,\"old_val\":{\"id\":1}}");
        expect_next(&c, "");
        client_close(&c);
}

/* A commit comes between the views of two feeds: the first is opened anew. */
static void test_union_views(void **state)
{
        Client c;
        fake_feeds.between_views = "[{\"id\":1,\"gone\":1}]";
        client_open(&c, "r.table(\"u\").union(" T ").changes({includeInitial: true})", "");
        const char *first = client_next(&c);
        assert_null(strstr(first, "\"a\":1"));
        assert_non_null(strstr(first, "{\"new_val\":{\"id\":5}}"));
        expect_next(&c, "");
        client_close(&c);
}

/* Feeds of "u" know of nothing that comes from now on. */
static void open_lagging(Client *c)
{
        client_open(c, T ".union(r.table(\"u\")).changes()", "");
        expect_next(c, "");
        expect_next(c, "");
        fake_feeds_see("u", fake_feeds.position);
}

/* One of two feeds lags behind: what the other has is held back, so that all come in the order of commits. */
static void test_union_lags(void **state)
{
        Client c;
        int ready = 0;
        open_lagging(&c);
        fake_commit("u", "[{\"id\":1}]");
        fake_commit("t", "[{\"id\":1,\"gone\":1}]");
        expect_next(&c, "");
        feed_cursor_watch(c.cursor, on_ready, &ready, NULL, NULL);
        query_watch(c.query, on_ready, &ready, NULL, NULL);
        assert_int_equal(ready, 0);
        fake_feeds_see("u", UINT64_MAX);
        assert_int_equal(ready, 2);
        expect_next(&c, "{\"new_val\":{\"id\":1},\"old_val\":null},{\"new_val\":null,\"old_val\":{\"a\":1,\"id\":1}}");
        client_close(&c);
}

/* The one that lags has nothing to give: that it has come further is enough. Nobody looks from time to time. */
static void test_union_passes_over(void **state)
{
        Client c;
        int ready = 0;
        open_lagging(&c);
        fake_commit("t", "[{\"id\":1,\"gone\":1}]");
        fake_commit("t", "[{\"id\":2,\"gone\":1}]");
        expect_next(&c, "");
        feed_cursor_watch(c.cursor, on_ready, &ready, NULL, NULL);
        query_watch(c.query, on_ready, &ready, NULL, NULL);
        fake_feeds_pass(1000);
        assert_int_equal(ready, 0);
        fake_feeds_see("u", fake_feeds.position - 1);
        assert_int_equal(ready, 2);
        expect_next(&c, "{\"new_val\":null,\"old_val\":{\"a\":1,\"id\":1}}");
        expect_next(&c, "");
        feed_cursor_watch(c.cursor, on_ready, &ready, NULL, NULL);
        query_watch(c.query, on_ready, &ready, NULL, NULL);
        assert_int_equal(ready, 2);
        fake_feeds_see("u", UINT64_MAX);
        assert_int_equal(ready, 4);
        feed_cursor_watch(c.cursor, on_ready, &ready, NULL, NULL); /* it has come there before it is watched */
        assert_int_equal(ready, 5);
        expect_next(&c, "{\"new_val\":null,\"old_val\":{\"a\":2,\"id\":2}}");
        client_close(&c);
}

/* --- squash --- */

static void test_squash(void **state)
{
        Client c;
        client_open(&c, T ".changes({squash: true})", "");
        expect_next(&c, "");
        fake_commit("t", "[{\"id\":4,\"a\":1},{\"id\":1,\"gone\":1}]");
        fake_commit("t", "[{\"id\":5,\"a\":1}]");
        fake_commit("t", "[{\"id\":4,\"a\":2},{\"id\":2,\"a\":7}]");
        fake_commit("t", "[{\"id\":5,\"gone\":1},{\"id\":2,\"a\":2},{\"id\":1,\"a\":6}]");
        expect_next(&c, "{\"new_val\":{\"a\":2,\"id\":4},\"old_val\":null},"
                        "{\"new_val\":{\"a\":6,\"id\":1},\"old_val\":{\"a\":1,\"id\":1}}");
        fake_commit("t", "[{\"id\":4,\"a\":1}]");
        fake_commit("t", "[{\"id\":4,\"a\":2}]"); /* nothing changed */
        expect_next(&c, "");
        fake_commit("t", "[{\"id\":4,\"a\":1}]");
        expect_next(&c, "{\"new_val\":{\"a\":1,\"id\":4},\"old_val\":{\"a\":2,\"id\":4}}");
        client_close(&c);
        /* more keys than fit into one batch: the rest comes at once, joined as it was then */
        client_open(&c, T ".changes({squash: true})", "\"max_batch_rows\":2");
        expect_next(&c, "");
        for (int round = 0; round < 3; round++)
                for (int i = 10; i < 13; i++) {
                        char row[64];
                        snprintf(row, sizeof row, "[{\"id\":%d,\"n\":%d}]", i, round);
                        fake_commit("t", row);
                }
        expect_next(&c, "{\"new_val\":{\"id\":10,\"n\":2},\"old_val\":null},{\"new_val\":{\"id\":11,\"n\":2},\"old_"
                        "val\":null}");
        fake_commit("t", "[{\"id\":12,\"n\":3}]");
        expect_next(&c, "{\"new_val\":{\"id\":12,\"n\":2},\"old_val\":null}");
        expect_next(&c, "{\"new_val\":{\"id\":12,\"n\":3},\"old_val\":{\"id\":12,\"n\":2}}");
        client_close(&c);
}

static void test_squash_time(void **state)
{
        Client c;
        int ready = 0;
        client_open(&c, T ".changes({squash: 2})", "");
        fake_commit("t", "[{\"id\":4}]"); /* before it began */
        expect_next(&c, "");              /* the first answer waits for nothing */
        expect_next(&c, "");              /* here two seconds begin */
        feed_cursor_watch(c.cursor, on_ready, &ready, NULL, NULL);
        query_watch(c.query, on_ready, &ready, NULL, NULL);
        assert_int_equal(ready, 0);
        fake_commit("t", "[{\"id\":5,\"n\":1}]");
        assert_int_equal(ready, 2);
        expect_next(&c, "");
        feed_cursor_watch(c.cursor, on_ready, &ready, NULL, NULL);
        query_watch(c.query, on_ready, &ready, NULL, NULL);
        assert_int_equal(ready, 2);
        fake_feeds_pass(1.5);
        assert_int_equal(ready, 2);
        fake_commit("t", "[{\"id\":5,\"n\":2}]");
        expect_next(&c, "");
        feed_cursor_watch(c.cursor, on_ready, &ready, NULL, NULL);
        query_watch(c.query, on_ready, &ready, NULL, NULL);
        ready = 0;
        fake_feeds_pass(0.6);
        assert_int_equal(ready, 2);
        expect_next(&c, "{\"new_val\":{\"id\":5,\"n\":2},\"old_val\":null}");
        expect_next(&c, "");
        fake_feeds_pass(10); /* the time is over: the first change goes out at once */
        fake_commit("t", "[{\"id\":5,\"n\":3}]");
        expect_next(&c, "{\"new_val\":{\"id\":5,\"n\":3},\"old_val\":{\"id\":5,\"n\":2}}");
        client_close(&c);
}

/* Half of what a queue may hold has come together: it does not wait any longer. */
static void test_squash_full(void **state)
{
        Client c;
        client_open(&c, T ".changes({squash: 1000000, changefeedQueueSize: 4})", "\"max_batch_rows\":2");
        expect_next(&c, "");
        expect_next(&c, "");
        fake_commit("t", "[{\"id\":10},{\"id\":11}]");
        expect_next(&c, "");
        fake_commit("t", "[{\"id\":12}]");
        expect_next(&c, "{\"new_val\":{\"id\":10},\"old_val\":null},{\"new_val\":{\"id\":11},\"old_val\":null}");
        expect_next(&c, "{\"new_val\":{\"id\":12},\"old_val\":null}");
        fake_commit("t", "[{\"id\":13}]");
        expect_next(&c, "");
        client_close(&c);
}

/* A row that comes twice stays two. */
static void test_squash_twice(void **state)
{
        Pending *pending;
        Arena like;
        Change change;
        arena_init(&like, 0);
        OK(pending_new(&pending));
        (void)pending_arena(pending, &like);
        Value key = value_number(1), a = value_str("a"), b = value_str("b");
        for (int i = 0; i < 2; i++)
                pending_squash(pending, &(Change){.key = key, .old_value = value_null(), .new_value = a});
        pending_squash(pending, &(Change){.key = key, .old_value = a, .new_value = b});
        assert_true(pending_take(pending, &change));
        assert_true(value_equal(change.new_value, a) || value_equal(change.new_value, b));
        Value first = change.new_value;
        assert_true(pending_take(pending, &change));
        assert_false(value_equal(change.new_value, first));
        assert_false(pending_take(pending, &change));
        pending_free(pending);
}

/* --- tokens --- */

static void cut_token(const char *rows, char *token, size_t size)
{
        const char *at = rows, *last = NULL;
        while ((at = strstr(at, "\"token\":\"")))
                last = at += 9;
        assert_non_null(last);
        snprintf(token, size, "%.*s", (int)strcspn(last, "\""), last);
}

static void open_since(Client *c, const char *options, const char *token)
{
        char text[800];
        snprintf(text, sizeof text, T ".changes({includeTokens: true, since: \"%s\"%s})(\"new_val\")(\"n\")", token,
                 options);
        client_open(c, text, "");
}

static void test_since(void **state)
{
        Client c;
        char tokens[6][100], text[800];
        client_open(&c, T ".changes({includeTokens: true, includeTypes: true})", "");
        const char *first = client_next(&c);
        assert_non_null(strstr(first, "{\"state\":\"ready\",\"token\":\""));
        cut_token(first, tokens[0], sizeof tokens[0]);
        assert_non_null(c.cursor);
        for (int i = 1; i < 6; i++) {
                if (i % 2) {
                        snprintf(text, sizeof text, "[{\"id\":4,\"n\":%d},{\"id\":5,\"n\":%d}]", 10 * i, 10 * i + 1);
                        fake_commit("t", text);
                }
        }
        const char *rows = client_next(&c), *at = rows;
        for (int i = 1; i < 6; i++) { /* of each change but the last */
                at = strstr(at, "\"token\":\"") + 9;
                snprintf(tokens[i], sizeof tokens[i], "%.*s", (int)strcspn(at, "\""), at);
        }
        client_close(&c);
        static const char *const rest[] = {"10,11,30,31,50,51", "11,30,31,50,51", "30,31,50,51",
                                           "31,50,51",          "50,51",          "51"};
        for (int i = 0; i < 6; i++) {
                open_since(&c, ", includeInitial: true, includeStates: false", tokens[i]);
                expect_next(&c, rest[i]);
                client_close(&c);
        }
        /* each carries the place again */
        snprintf(text, sizeof text, T ".changes({includeTokens: true, since: \"%s\"})", tokens[5]);
        client_open(&c, text, "");
        rows = client_next(&c);
        assert_memory_equal(rows, "{\"state\":\"ready\",\"token\":\"", 25);
        assert_non_null(strstr(rows, "{\"new_val\":{\"id\":5,\"n\":51},\"old_val\":{\"id\":5,\"n\":31},\"token\":\""));
        client_close(&c);

        /* not there any more: everything anew, and told so even to who wants no states */
        fake_feeds.reach = fake_feeds.position;
        snprintf(text, sizeof text, T ".get(5).changes({includeTokens: true, includeStates: false, since: \"%s\"})",
                 tokens[3]);
        client_open(&c, text, "");
        expect_next(&c, "The token in `since` cannot be used: it is of another changefeed.");
        client_close(&c);
        snprintf(text, sizeof text, T ".changes({includeTokens: true, includeStates: false, since: \"%s\"})",
                 tokens[3]);
        client_open(&c, text, "");
        expect_next(
                &c,
                "{\"state\":\"restarted\"},{\"state\":\"initializing\"},{\"new_val\":{\"a\":1,\"id\":1}},"
                "{\"new_val\":{\"a\":2,\"id\":2}},{\"new_val\":{\"a\":3,\"id\":3}},{\"new_val\":{\"id\":4,\"n\":50}},"
                "{\"new_val\":{\"id\":5,\"n\":51}}");
        rows = client_next(&c);
        assert_memory_equal(rows, "{\"state\":\"ready\",\"token\":\"", 25);
        assert_non_null(c.cursor);
        client_close(&c);
        client_open(&c, T ".changes({includeTokens: true, since: \"x\"})", "");
        expect_next(&c, "The token in `since` cannot be used: it is none.");
        client_close(&c);
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

/* A token says that everything before it is told, and nothing beyond. */
static void test_squashed_tokens(void **state)
{
        Client c;
        char start[100], end[100];
        client_open(&c, T ".changes({includeTokens: true, squash: true})", "\"max_batch_rows\":2");
        cut_token(client_next(&c), start, sizeof start);
        fake_commit("t", "[{\"id\":4,\"n\":1}]");
        fake_commit("t", "[{\"id\":5,\"n\":1}]");
        fake_commit("t", "[{\"id\":6,\"n\":1}]");
        fake_commit("t", "[{\"id\":4,\"n\":2}]");
        assert_null(strstr(client_next(&c), "token")); /* of three only the last says that all are told */
        cut_token(client_next(&c), end, sizeof end);
        assert_string_not_equal(start, end);
        client_close(&c);
        open_since(&c, ", includeStates: false", end);
        expect_next(&c, "");
        client_close(&c);
        /* an error behind what was joined is not told yet where that ends */
        client_open(&c, T ".map(x => x(\"a\") / x(\"a\")).changes({includeTokens: true, squash: true})", "");
        client_next(&c);
        fake_commit("t", "[{\"id\":7,\"a\":1}]");
        fake_commit("t", "[{\"id\":8,\"a\":0}]");
        const char *rows = client_next(&c), *error = strstr(rows, "{\"error\":\"Cannot divide by zero.\",\"token\":\"");
        assert_non_null(error);
        cut_token(error, end, sizeof end);
        cut_token(arena_printf(&fake.arena, "%.*s", (int)(error - rows), rows), start, sizeof start);
        assert_string_not_equal(start, end);
        client_close(&c);
}

static void test_idle_and_lost(void **state)
{
        Client c;
        char token[100];
        client_open(&c, T ".changes({includeTokens: true})", "");
        client_next(&c);
        fake_commit("u", "[{\"id\":1}]");
        each_feed(set_idle);
        const char *rows = client_next(&c);
        assert_memory_equal(rows, "{\"state\":\"idle\",\"token\":\"", 24);
        cut_token(rows, token, sizeof token);
        fake_commit("t", "[{\"id\":1,\"gone\":1},{\"id\":2,\"gone\":1}]");
        each_feed(set_lost);
        expect_next(&c, "{\"state\":\"restarted\"},{\"state\":\"initializing\"},{\"new_val\":{\"a\":3,\"id\":3}}");
        fake_commit("t", "[{\"id\":9}]");
        rows = client_next(&c);
        assert_non_null(strstr(rows, "{\"state\":\"ready\",\"token\":\""));
        assert_non_null(strstr(rows, "{\"new_val\":{\"id\":9},\"old_val\":null,\"token\":\""));
        client_close(&c);
        /* who does not ask for tokens is told that there is a hole */
        client_open(&c, T ".changes()", "");
        expect_next(&c, "");
        fake_commit("t", "[{\"id\":9,\"n\":1}]");
        each_feed(set_lost);
        rows = client_next(&c);
        assert_memory_equal(rows, "{\"error\":\"Changes were lost: ", 28);
        fake_commit("t", "[{\"id\":9,\"n\":2}]");
        expect_next(&c, "{\"new_val\":{\"id\":9,\"n\":2},\"old_val\":{\"id\":9,\"n\":1}}");
        client_close(&c);
}

/* A commit is over where one feed has the last of its events and the other only says that it has come there. */
static void test_idle_beside(void **state)
{
        Client c;
        char token[100], later[100];
        fake_commit("u", "[{\"id\":9}]");
        client_open(&c, T ".eqJoin(\"a\", r.table(\"u\")).changes({includeTokens: true})", "");
        cut_token(client_next(&c), token, sizeof token);
        fake_commit("t", "[{\"id\":1,\"a\":9}]");
        for (size_t i = 0; i < fake_feeds.open_count; i++)
                fake_feeds.open[i]->idle = fake_feeds.open[i]->spec.table == fake_table("u");
        const char *rows = client_next(&c);
        assert_memory_equal(
                rows, "{\"new_val\":{\"left\":{\"a\":9,\"id\":1},\"right\":{\"id\":9}},\"old_val\":null,\"token", 69);
        cut_token(rows, later, sizeof later);
        assert_string_not_equal(token, later);
        client_close(&c);
}

static void test_errors(void **state)
{
        Client c;
        client_open(&c, T ".changes({changefeedQueueSize: 2})", "");
        expect_next(&c, "");
        fake_commit("t", "[{\"id\":4},{\"id\":5},{\"id\":6},{\"id\":7}]");
        const char *rows = client_next(&c);
        assert_non_null(strstr(rows, "{\"error\":\"Changefeed cache over array size limit, skipped 2 elements.\"}"));
        client_close(&c);
        client_open(&c, T ".map(x => x(\"a\") / x(\"a\")).changes({includeInitial: true, includeTypes: true})", "");
        expect_next(&c, "{\"new_val\":1,\"type\":\"initial\"},{\"new_val\":1,\"type\":\"initial\"},"
                        "{\"new_val\":1,\"type\":\"initial\"}");
        fake_commit("t", "[{\"id\":4,\"a\":0}]");
        fake_commit("t", "[{\"id\":5,\"a\":1}]");
        expect_next(&c, "{\"error\":\"Cannot divide by zero.\"},{\"new_val\":1,\"old_val\":null,\"type\":\"add\"}");
        client_close(&c);
        client_open(&c, T ".map(x => x(\"a\") / x(\"a\")).changes({includeInitial: true})", "");
        expect_next(&c, "{\"new_val\":1},{\"new_val\":1},{\"new_val\":1},{\"error\":\"Cannot divide by "
                        "zero.\"},{\"new_val\":1}");
        client_close(&c);
        client_open(&c, T ".changes()", "");
        expect_next(&c, "");
        fake_commit("t", "[{\"id\":5,\"gone\":1}]");
        fake_feeds.dropped = fake_table("t");
        expect_next(&c, "{\"new_val\":null,\"old_val\":{\"a\":1,\"id\":5}}");
        expect_next(&c, "Changefeed aborted (unavailable).");
        expect_next(&c, "The query is over.");
        client_close(&c);
}

static void test_cancel(void **state)
{
        Client c;
        client_open(&c, T ".changes()", "");
        expect_next(&c, "");
        query_cancel(c.query);
        feed_cursor_cancel(c.cursor);
        expect_next(&c, "The query was cancelled.");
        client_close(&c);
        client_open(&c, T ".changes()", "\"transaction\":true");
        const char *error = client_next(&c);
        assert_non_null(strstr(error, "transaction"));
        client_close(&c);
}

/* A minute of waiting is nothing to the time that a query may take. */
static void test_timeout(void **state)
{
        Client c;
        feed_world.timeout_ns = 1000000000;
        client_open(&c, T ".changes()", "");
        expect_next(&c, "");
        fake_feeds_pass(60);
        fake_commit("t", "[{\"id\":5}]");
        expect_next(&c, "{\"new_val\":{\"id\":5},\"old_val\":null}");
        client_close(&c);
}

/* --- feeds that remember: what they compute is tested in changes_state_test.c --- */

static void test_states(void **state)
{
        Client c;
        char text[800], token[100], later[100];
        client_open(&c, T ".count().changes({includeInitial: true, includeStates: true, includeTypes: true})", "");
        expect_next(&c, "{\"state\":\"initializing\",\"type\":\"state\"},{\"new_val\":3,\"type\":\"initial\"},"
                        "{\"state\":\"ready\",\"type\":\"state\"}");
        fake_commit("t", "[{\"id\":4},{\"id\":5}]"); /* a commit is one step */
        fake_commit("t", "[{\"id\":5,\"gone\":1},{\"id\":6}]");
        fake_commit("t", "[{\"id\":5},{\"id\":7}]");
        expect_next(&c, "{\"new_val\":5,\"old_val\":3,\"type\":\"change\"},"
                        "{\"new_val\":7,\"old_val\":5,\"type\":\"change\"}");
        expect_next(&c, "");
        fake_commit("t", "[{\"id\":1,\"gone\":1},{\"id\":4,\"gone\":1},{\"id\":5,\"gone\":1}]");
        each_feed(set_lost); /* it computes anew, and tells the difference */
        expect_next(&c, "{\"new_val\":4,\"old_val\":7,\"type\":\"change\"}");
        client_close(&c);

        client_open(&c, T ".count().changes({squash: true})", "");
        expect_next(&c, "");
        fake_commit("t", "[{\"id\":4}]");
        fake_commit("t", "[{\"id\":5}]");
        expect_next(&c, "{\"new_val\":6,\"old_val\":4}");
        fake_commit("t", "[{\"id\":5,\"gone\":1}]");
        fake_commit("t", "[{\"id\":5}]");
        expect_next(&c, "");
        client_close(&c);

        client_open(&c, T ".count().changes({squash: 3})", "");
        expect_next(&c, "");
        expect_next(&c, "");
        fake_commit("t", "[{\"id\":8}]");
        expect_next(&c, "");
        fake_feeds_pass(2);
        fake_commit("t", "[{\"id\":9}]");
        expect_next(&c, "");
        fake_feeds_pass(2);
        expect_next(&c, "{\"new_val\":8,\"old_val\":6}");
        client_close(&c);

        /* from a token on: what is different since, behind a `ready` that is where the token is */
        client_open(&c, T ".count().changes({includeTokens: true})", "");
        cut_token(client_next(&c), token, sizeof token);
        fake_commit("t", "[{\"id\":9,\"gone\":1}]");
        const char *rows = client_next(&c);
        assert_memory_equal(rows, "{\"new_val\":7,\"old_val\":8,\"token\":\"", 34);
        each_feed(set_idle);
        rows = client_next(&c);
        assert_memory_equal(rows, "{\"state\":\"idle\",\"token\":\"", 24);
        client_close(&c);
        snprintf(text, sizeof text, T ".count().changes({includeTokens: true, includeStates: false, since: \"%s\"})",
                 token);
        client_open(&c, text, "");
        rows = client_next(&c);
        assert_memory_equal(rows, "{\"new_val\":7,\"old_val\":8,\"token\":\"", 34);
        cut_token(rows, later, sizeof later);
        client_close(&c);
        snprintf(text, sizeof text, T ".count().changes({includeTokens: true, since: \"%s\"})", later);
        client_open(&c, text, ""); /* nothing is */
        rows = client_next(&c);
        assert_memory_equal(rows, "{\"state\":\"ready\",\"token\":\"", 25);
        assert_non_null(strstr(rows, later));
        expect_next(&c, "");
        fake_commit("t", "[{\"id\":9}]");
        rows = client_next(&c);
        assert_memory_equal(rows, "{\"new_val\":8,\"old_val\":7,\"token\":\"", 34);
        fake_commit("t", "[{\"id\":9,\"gone\":1}]");
        (void)client_next(&c);
        client_close(&c);
        fake_feeds.reach = fake_feeds.position;
        snprintf(text, sizeof text, T ".count().changes({includeTokens: true, includeStates: false, since: \"%s\"})",
                 token);
        client_open(&c, text, "");
        rows = client_next(&c);
        static const char again[] =
                "{\"state\":\"restarted\"},{\"state\":\"initializing\"},{\"new_val\":7},{\"state\":\"ready\"";
        assert_memory_equal(rows, again, sizeof again - 1);
        client_close(&c);
        fake_feeds.reach = 0;
        snprintf(text, sizeof text, T ".max(\"a\").changes({includeTokens: true, since: \"%s\"})", token);
        client_open(&c, text, "");
        expect_next(&c, "The token in `since` cannot be used: it is of another changefeed.");
        client_close(&c);

        client_open(&c, T ".count().changes()", "");
        expect_next(&c, "");
        fake_commit("t", "[{\"id\":8,\"gone\":1}]");
        fake_feeds.dropped = fake_table("t");
        expect_next(&c, "{\"new_val\":6,\"old_val\":7}");
        expect_next(&c, "Changefeed aborted (unavailable).");
        client_close(&c);
}

/* --- memory runs out, at every point --- */

static void run_failing(const char *text)
{
        int failed = 0;
        for (int n = 1, fired = 1; fired; n++) {
                Client c;
                Status st = ST_OK;
                Buf rows;
                QueryAnswer answer = ANSWER_PARTIAL;
                FeedCursor *cursor = NULL;
                client_open(&c, text, "");
                buf_init(&rows, 1 << 20);
                mem_fail_nth(n);
                st = query_next(c.query, &rows, &answer);
                if (!st)
                        st = query_next(c.query, &rows, &answer);
                if (!st)
                        st = query_park(c.query, &cursor);
                if (!st && cursor)
                        c.query = query_free(c.query);
                char row[64];
                fired = mem_fail_fired();
                long left = n;
                (void)left;
                snprintf(row, sizeof row, "[{\"id\":50,\"n\":%d},{\"id\":51,\"n\":%d}]", n, n);
                if (!fired) { /* the arena of the tables is not what fails */
                        mem_fail_nth(0);
                        fake_commit("t", row);
                        if (!st)
                                st = cursor ? feed_cursor_next(cursor, &rows, &answer)
                                            : query_next(c.query, &rows, &answer);
                }
                mem_fail_nth(0);
                failed += st != ST_OK;
                if (fired && st)
                        assert_true(status_code(st) == ERR_NOMEM || status_code(st) == ERR_RESOURCE);
                status_ignore(st);
                feed_cursor_free(cursor);
                buf_done(&rows);
                client_close(&c);
        }
        assert_true(failed > 3);
}

/* The same while changes are told. */
static void run_failing_later(const char *text)
{
        int failed = 0;
        for (int n = 1, fired = 1; fired; n++) {
                Client c;
                char row[64];
                QueryAnswer answer;
                client_open(&c, text, "");
                client_next(&c);
                client_next(&c);
                for (int i = 0; i < 3; i++) {
                        snprintf(row, sizeof row, "[{\"id\":60,\"n\":%d},{\"id\":61,\"n\":%d}]", 3 * n + i, n);
                        fake_commit("t", row);
                }
                mem_fail_nth(n);
                Status st = query_next(c.query, &c.rows, &answer);
                fired = mem_fail_fired();
                mem_fail_nth(n);
                Status parked = c.cursor ? feed_cursor_next(c.cursor, &c.rows, &answer) : ST_OK;
                fired |= mem_fail_fired();
                mem_fail_nth(0);
                failed += st || parked;
                status_ignore(st);
                status_ignore(parked);
                client_close(&c);
        }
        assert_true(failed > 0);
}

static void test_memory(void **state)
{
        run_failing(T ".changes({includeInitial: true, includeStates: true})");
        run_failing(
                T ".map(x => x.merge({b: 1})).changes({includeInitial: true, includeTokens: true}).pluck(\"new_val\")");
        run_failing(T ".union(r.table(\"u\")).changes({squash: true})");
        run_failing(T ".count().changes({includeInitial: true})");
        run_failing_later(T ".count().changes()");
        run_failing_later(T ".changes({includeTokens: true})");
        run_failing_later(T ".changes({squash: true})(\"new_val\")");
        run_failing_later(T ".union(r.table(\"u\")).changes()");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_changes, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_types, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_point_batches, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_initial, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_terms, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_behind, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_slices, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_terminals, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_union, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_union_views, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_union_lags, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_union_passes_over, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_squash, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_squash_time, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_squash_full, feeds_setup, feeds_teardown),
                cmocka_unit_test(test_squash_twice),
                cmocka_unit_test_setup_teardown(test_since, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_squashed_tokens, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_idle_and_lost, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_idle_beside, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_errors, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_cancel, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_timeout, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_states, feeds_setup, feeds_teardown),
                cmocka_unit_test_setup_teardown(test_memory, feeds_setup, feeds_teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
