/* scalar_test.h - tables of queries and what they answer, for the tests of the scalar terms. No table exists in their
 * world. */
#ifndef QUERY_SCALAR_TEST_H
#define QUERY_SCALAR_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/mem.h"
#include "query/query.h"
#include "value/json.h"

typedef struct Case {
        const char *query;  /* the term, in wire form */
        const char *answer; /* JSON, or the error's message */
        StatusCode code;    /* ERR_NONE: an answer */
        const char *place;  /* the error's backtrace */
} Case;
#define GIVES(query, answer)                                                                                           \
        {                                                                                                              \
                query, answer, ERR_NONE, NULL                                                                          \
        }
#define FAILS(query, code, message, place)                                                                             \
        {                                                                                                              \
                query, message, code, place                                                                            \
        }
#define LOGIC(query, message, place)   FAILS(query, ERR_LOGIC, message, place)
#define MISSING(query, message, place) FAILS(query, ERR_NON_EXISTENCE, message, place)

static int64_t test_now_us(void *ctx)
{
        return 1375147296681000;
}
static int64_t test_mono_ns(void *ctx)
{
        return 0;
}
/* A counter: different each time, the same in each run. */
static Status test_random(void *ctx, void *out, size_t size)
{
        static uint8_t next = 1;
        for (size_t i = 0; i < size; i++)
                ((uint8_t *)out)[i] = next++;
        return ST_OK;
}
static const HostOps test_host = {
        .now_us = test_now_us,
        .mono_ns = test_mono_ns,
        .random = test_random,
        .server_name = "test",
        .server_id = "none",
};
static Status test_db_check(void *ctx, Bytes db)
{
        return ST_OK;
}
static const TableSource test_source = {.db_check = test_db_check};
static QueryWorld test_world = {.source = &test_source, .host = &test_host, .memory_max_bytes = 256 << 20};

/* Runs `[1, term, {options}]`; the answer (rows or message) into `answer`, the backtrace into `place`. */
static StatusCode run_query(const char *term, const char *options, Buf *answer, Buf *place)
{
        Query *query;
        uint8_t *buffer;
        Status st;
        buf_init(answer, 64 << 20);
        buf_init(place, 1 << 20);
        assert_null(query_new(&test_world, "admin", &query));
        Buf text;
        buf_init(&text, 64 << 20);
        assert_null(buf_printf(&text, "[1,%s,{%s}]", term, options));
        assert_null(query_text_buffer(query, text.size, &buffer));
        memcpy(buffer, text.data, text.size);
        st = query_prepare(query, BYTES(buffer, text.size));
        buf_done(&text);
        QueryAnswer kind = ANSWER_PARTIAL;
        while (!st && kind == ANSWER_PARTIAL) {
                if (answer->size)
                        assert_null(buf_append_byte(answer, ','));
                st = query_next(query, answer, &kind);
        }
        StatusCode code = status_code(st);
        if (st) {
                buf_clear(answer);
                assert_null(buf_append_str(answer, status_message(st)));
                assert_null(query_backtrace(query, place));
                status_ignore(st);
        }
        assert_null(buf_append_byte(answer, 0));
        assert_null(buf_append_byte(place, 0));
        query_free(query);
        return code;
}

static void check_cases(const Case *cases, size_t count)
{
        int failed = 0;
        for (size_t i = 0; i < count; i++) {
                const Case *c = &cases[i];
                Buf answer, place;
                StatusCode code = run_query(c->query, "", &answer, &place);
                if (code != c->code || strcmp((char *)answer.data, c->answer) != 0 ||
                    (c->place && strcmp((char *)place.data, c->place) != 0)) {
                        failed++;
                        print_error("%s\n  gives %d %s %s\n  not   %d %s %s\n", c->query, code, (char *)answer.data,
                                    (char *)place.data, c->code, c->answer, c->place ? c->place : "");
                }
                buf_done(&answer);
                buf_done(&place);
        }
        assert_int_equal(failed, 0);
}
#define CHECK(cases) check_cases(cases, ELEMENTS(cases))

/* The nth allocation fails, for every n: the query must end, with an answer or an error, and leak nothing. */
static UNUSED void check_without_memory(const char *term)
{
        for (long n = 1, fired = 1; fired; n++) {
                Query *query = NULL;
                uint8_t *buffer;
                Buf answer;
                buf_init(&answer, 64 << 20);
                char text[4096];
                int size = snprintf(text, sizeof(text), "[1,%s,{}]", term);
                mem_fail_nth(n);
                Status st = query_new(&test_world, "admin", &query);
                if (!st)
                        st = query_text_buffer(query, (size_t)size, &buffer);
                if (!st) {
                        memcpy(buffer, text, (size_t)size);
                        st = query_prepare(query, BYTES(buffer, (size_t)size));
                }
                QueryAnswer kind = ANSWER_PARTIAL;
                while (!st && kind == ANSWER_PARTIAL)
                        st = query_next(query, &answer, &kind);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                status_ignore(st);
                query_free(query);
                buf_done(&answer);
        }
}

#endif
