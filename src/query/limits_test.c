/* limits_test.c - what bounds a query: its time, its stack, being cancelled in the middle of a term; and what it tells
 * of itself: its text, its profile. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "query/fake_source.h"
#include <stdatomic.h>

#define T          "[15,[[14,[\"test\"]],\"t\"]]"
#define V(n)       "[10,[" #n "]]"
#define F(n, body) "[69,[[2,[" #n "]]," body "]]"

/* A clock that goes on by `step_ns` at each look. */
static int64_t clock_ns, step_ns;
static int64_t ticking(void *ctx)
{
        return clock_ns += step_ns;
}
static HostOps host;
static QueryWorld world;

static Query *prepared(const char *text)
{
        Query *query;
        uint8_t *buffer;
        assert_null(query_new(&world, "admin", &query));
        assert_null(query_text_buffer(query, strlen(text), &buffer));
        memcpy(buffer, text, strlen(text));
        assert_null(query_prepare(query, BYTES(buffer, strlen(text))));
        return query;
}

/* Runs one batch; the code of its error. */
static StatusCode next(Query *query, Buf *rows, char *message, size_t size)
{
        QueryAnswer answer;
        Status st = query_next(query, rows, &answer);
        StatusCode code = status_code(st);
        snprintf(message, size, "%s", st ? status_message(st) : "");
        status_ignore(st);
        return code;
}

static StatusCode run(const char *text, char *message, size_t size)
{
        Buf rows;
        buf_init(&rows, 64 << 20);
        Query *query = prepared(text);
        StatusCode code = next(query, &rows, message, size);
        query_free(query);
        buf_done(&rows);
        assert_true(fake_all_closed());
        return code;
}

static void test_timeout(void **state)
{
        static const char too_long[] = "The query took longer than it may (`--query-timeout` of the server, or option "
                                       "`query_timeout`).";
        static const char endless[] = "[1,[43,[[38,[[173,[1000000000]]," F(1, V(1)) "]]]],%s]";
        char text[256], message[256];
        step_ns = 1000000; /* a millisecond at each look */
        snprintf(text, sizeof text, endless, "{\"query_timeout\":0.05}");
        assert_int_equal(run(text, message, sizeof message), ERR_OP_INDETERMINATE);
        assert_string_equal(message, too_long);
        /* The server's, which the option only shortens. */
        world.timeout_ns = 100000000;
        for (int i = 0; i < 2; i++) {
                int64_t start = clock_ns;
                snprintf(text, sizeof text, endless, i ? "{\"query_timeout\":1e300}" : "{}");
                assert_int_equal(run(text, message, sizeof message), ERR_OP_INDETERMINATE);
                assert_in_range(clock_ns - start, 100000000, 200000000);
        }
        world.timeout_ns = 0;
        assert_int_equal(run("[1,[24,[1,2]],{\"query_timeout\":0}]", message, sizeof message), ERR_LOGIC);
        assert_string_equal(message, "Illegal query timeout `0`.  (Must be > 0.)");
        assert_int_equal(run("[1,[24,[1,2]],{\"query_timeout\":0.5}]", message, sizeof message), ERR_NONE);
        step_ns = 0;
}

/* Each batch has its own time. */
static void test_timeout_of_batches(void **state)
{
        char message[256];
        Buf rows;
        buf_init(&rows, 64 << 20);
        Query *query = prepared("[1,[173,[]],{\"query_timeout\":1,\"max_batch_rows\":5}]");
        for (int i = 0; i < 10; i++) {
                assert_int_equal(next(query, &rows, message, sizeof message), ERR_NONE);
                clock_ns += 10000000000;
        }
        query_free(query);
        buf_done(&rows);
}

static void test_stack(void **state)
{
        char message[256], text[16384] = "1";
        for (int i = 0; i < 200; i++) {
                char inner[sizeof text];
                memcpy(inner, text, sizeof text);
                assert_true(snprintf(text, sizeof text, "[24,[%s,1]]", inner) < (int)sizeof text);
        }
        char whole[sizeof text + 16];
        snprintf(whole, sizeof whole, "[1,%s]", text);
        assert_int_equal(run(whole, message, sizeof message), ERR_NONE);
        world.stack_max_bytes = 8 << 10;
        assert_int_equal(run(whole, message, sizeof message), ERR_RESOURCE);
        world.stack_max_bytes = 0;
}

/* An error that goes through a consumer whose scratch holds an open scan: the scan is closed before its memory goes. */
static void test_error_in_open_stream(void **state)
{
        char message[256];
        assert_int_equal(run("[1,[68,[[173,[3]]," F(1, "[56,[" T ",[38,[" T "," F(2, "[12,[\"no\"]]") "]]]]") "]]]",
                             message, sizeof message),
                         ERR_USER);
        assert_string_equal(message, "no");
}

/* The flag is seen wherever memory is taken, without waiting for the next term. */
static void test_stop_in_a_term(void **state)
{
        atomic_bool stop = false;
        Arena arena;
        arena_init(&arena, 0);
        arena.stop = &stop;
        assert_non_null(arena_alloc(&arena, 10));
        atomic_store(&stop, true);
        assert_non_null(arena_alloc(&arena, 10)); /* of the same chunk */
        assert_non_null(arena_try_alloc(&arena, 1 << 20));
        assert_true(arena_contains(&arena, arena_alloc(&arena, 10)));
        assert_false(arena_contains(&arena, &stop));
        arena_done(&arena);
        assert_ptr_equal(arena.stop, &stop);
}

static void test_describe(void **state)
{
        Buf text;
        buf_init(&text, 1 << 20);
        Query *query = prepared("[1,[16,[" T ",\"abcdefghijklmnop\"]]]");
        assert_null(query_describe(query, 1000, &text));
        assert_null(buf_append_byte(&text, 0));
        assert_non_null(strstr((char *)text.data, "abcdefghijklmnop"));
        buf_clear(&text);
        assert_null(query_describe(query, 7, &text));
        assert_int_equal(text.size, 10);
        assert_memory_equal(text.data + 7, "...", 3);
        query_free(query);
        buf_done(&text);
        buf_init(&text, 12); /* full while printing */
        query = prepared("[1,[16,[" T ",\"abcdefghijklmnop\"]]]");
        status_ignore(query_describe(query, 4, &text));
        query_free(query);
        buf_done(&text);
}

static void test_profile(void **state)
{
        Buf rows, profile;
        char message[256];
        bool has;
        buf_init(&rows, 64 << 20);
        buf_init(&profile, 1 << 20);
        Query *query = prepared("[1,[43,[[38,[" T "," F(1, "[170,[" V(1) ",\"id\"]]") "]]]],{\"profile\":true}]");
        assert_int_equal(next(query, &rows, message, sizeof message), ERR_NONE);
        assert_null(query_profile(query, &profile, &has));
        assert_true(has);
        assert_null(buf_append_byte(&profile, 0));
        const char *text = (char *)profile.data;
        assert_memory_equal(text, "[{\"description\":\"Evaluating count.\",\"duration(ms)\":", 49);
        assert_non_null(strstr(text, "\"description\":\"Evaluating map.\""));
        assert_non_null(strstr(text, "\"description\":\"Evaluating table.\""));
        assert_non_null(strstr(text, "\"description\":\"Perform read.\""));
        assert_non_null(strstr(text, "\"n_samples\":4}")); /* the rows, added up */
        assert_null(strstr(text, "bracket"));
        query_free(query);
        /* Off: nothing. Many tasks: as many as are told of. */
        query = prepared("[1,[24,[1,2]]]");
        assert_int_equal(next(query, &rows, message, sizeof message), ERR_NONE);
        assert_null(query_profile(query, &profile, &has));
        assert_false(has);
        query_free(query);
        query = prepared("[1,[40,[[173,[]]," F(1, "[173,[1]]") "]],{\"profile\":true}]");
        for (int i = 0; i < 3; i++) {
                buf_clear(&profile);
                assert_int_equal(next(query, &rows, message, sizeof message), ERR_NONE);
                assert_null(query_profile(query, &profile, &has));
                assert_true(has && profile.size < 300000);
        }
        query_free(query);
        buf_done(&rows);
        buf_done(&profile);
}

static int setup(void **state)
{
        host = fake_host;
        host.mono_ns = ticking;
        world = (QueryWorld){.source = &fake_source, .host = &host, .memory_max_bytes = 64 << 20};
        arena_init(&fake.arena, 0);
        fake_add("t", "[{\"id\":1},{\"id\":2},{\"id\":3},{\"id\":4}]");
        return 0;
}

static int teardown(void **state)
{
        arena_done(&fake.arena);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_timeout),        cmocka_unit_test(test_timeout_of_batches),
                cmocka_unit_test(test_stack),          cmocka_unit_test(test_error_in_open_stream),
                cmocka_unit_test(test_stop_in_a_term), cmocka_unit_test(test_describe),
                cmocka_unit_test(test_profile),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
