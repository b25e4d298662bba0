/* outside_test.c - r.js and r.http over a made-up outside: what is asked, what becomes of the answers. */
#include "query/http_answer.h"
#include "query/scalar_test.h"

#include "query/outside.h"

/* --- the outside: sources and urls say what it answers --- */

static bool begins(Bytes text, const char *with)
{
        return text.size >= strlen(with) && memcmp(text.data, with, strlen(with)) == 0;
}

static Status fake_js(void *ctx, const JsCall *call, const OutsideWait *wait, OutsideEnd *ret_end, JsResult *ret_result,
                      Buf *text)
{
        *ret_end = OUTSIDE_ANSWERED;
        *ret_result = JS_VALUE;
        if (begins(call->source, "crash"))
                *ret_end = OUTSIDE_CRASHED;
        else if (begins(call->source, "slow"))
                *ret_end = OUTSIDE_TIMED_OUT;
        else if (begins(call->source, "cancel"))
                return status_new(ERR_CANCELLED, "x");
        else if (begins(call->source, "big"))
                return status_new(ERR_LIMIT, "x");
        else if (begins(call->source, "throw"))
                return *ret_result = JS_ERROR, buf_append_str(text, "Error: thrown");
        else if (begins(call->source, "nonsense"))
                return buf_append_str(text, "{\"a\":");
        else if (begins(call->source, "time"))
                return buf_append_str(text, "{\"$reql_type$\":\"TIME\",\"epoch_time\":1,\"timezone\":\"+00:00\"}");
        else if (begins(call->source, "badtime"))
                return buf_append_str(text, "{\"$reql_type$\":\"TIME\",\"epoch_time\":1,\"timezone\":\"x\"}");
        else if (begins(call->source, "array"))
                return buf_append_str(text, "[1,2,3]");
        else if (begins(call->source, "function") && !call->is_call)
                *ret_result = JS_FUNCTION;
        else if (call->is_call)
                return buf_append(text, call->args.data, call->args.size);
        else
                return buf_printf(text, "%llu", (unsigned long long)wait->timeout_ms);
        return ST_OK;
}

/* Echoes the request as JSON, or does what the url says. */
static Status fake_http(void *ctx, const HttpCall *call, const OutsideWait *wait, OutsideEnd *ret_end, Buf *buffer,
                        HttpAnswer *ret_answer)
{
        *ret_end = OUTSIDE_ANSWERED;
        *ret_answer = (HttpAnswer){.status = 200};
        const char *headers = "HTTP/1.1 200 OK\r\nA-Name: value\r\n\r\n", *body = "{}", *type = "application/json";
        if (begins(call->url, "crash"))
                *ret_end = OUTSIDE_CRASHED;
        else if (begins(call->url, "slow"))
                *ret_end = OUTSIDE_TIMED_OUT;
        else if (begins(call->url, "failed"))
                *ret_answer = (HttpAnswer){.failed = true, .error = BYTES_STR("why")};
        else if (begins(call->url, "404"))
                ret_answer->status = 404, body = "gone";
        else if (begins(call->url, "oops"))
                body = "{oops";
        else if (begins(call->url, "twice"))
                body = "{\"a\":1,\"a\":2}";
        else if (begins(call->url, "badlink"))
                headers = "HTTP/1.1 200 OK\r\nLink: x\r\n";
        else if (begins(call->url, "text"))
                type = "text/plain", body = "caf\xe9";
        else if (begins(call->url, "page1"))
                headers = "HTTP/1.1 200 OK\r\nLink: <page2>; rel=\"next\"\r\nSet-Cookie: x\r\n", body = "[1,2]";
        else if (begins(call->url, "page2"))
                body = "[3]";
        else if (begins(call->url, "echo"))
                body = NULL;
        if (ret_answer->failed || *ret_end != OUTSIDE_ANSWERED)
                return ST_OK;
        if (!body) {
                TRY(buf_printf(buffer, "[\"%s %.*s\",\"%.*s\",%d,%llu,%u,%d", call->method, (int)call->url.size,
                               (const char *)call->url.data, (int)call->data.size, (const char *)call->data.data,
                               call->auth, (unsigned long long)call->attempts, call->redirects, call->verify));
                for (size_t i = 0; i < call->header_count; i++)
                        TRY(buf_printf(buffer, ",\"%.*s\"", (int)call->headers[i].size,
                                       (const char *)call->headers[i].data));
                TRY(buf_append_str(buffer, "]"));
        } else {
                TRY(buf_append_str(buffer, body));
        }
        ret_answer->body = BYTES(buffer->data, buffer->size);
        ret_answer->headers = BYTES_STR(headers);
        ret_answer->content_type = BYTES_STR(type);
        return ST_OK;
}

static const OutsideOps outside = {.js = fake_js, .http = fake_http};

static void test_scripts(void **state)
{
        static const Case cases[] = {
                GIVES("[11,[\"x\"]]", "5000"),
                GIVES("[11,[\"x\"],{\"timeout\":1.5}]", "1500"),
                GIVES("[11,[\"x\"],{\"timeout\":-1}]", "0"),
                GIVES("[11,[\"time\"]]", "{\"$reql_type$\":\"TIME\",\"epoch_time\":1,\"timezone\":\"+00:00\"}"),
                GIVES("[64,[[11,[\"function\"]],1,\"a\"]]", "[1,\"a\"]"),
                GIVES("[38,[[2,[1,2]],[11,[\"function\"]]]]", "[[1],[2]]"),
                GIVES("[39,[[2,[1,2]],[11,[\"function\"]]]]", "[1,2]"),
                GIVES("[52,[[11,[\"function\"]]]]", "\"FUNCTION\""),
                LOGIC("[11,[\"throw\"]]", "Error: thrown", "[]"),
                LOGIC("[11,[\"badtime\"]]",
                      "Invalid time object constructed (invalid timezone string "
                      "`\"x\"`):\n{\n\t\"$reql_type$\":\t\"TIME\",\n\t\"epoch_time\":\t1,\n\t\"timezone\":\t\"x\"\n}",
                      "[]"),
                LOGIC("[11,[\"slow\"]]", "JavaScript query `slow` timed out after 5.000 seconds.", "[]"),
                FAILS("[11,[\"crash\"]]", ERR_INTERNAL, "Javascript query `crash` caused a crash in a worker process.",
                      "[]"),
                FAILS("[11,[\"nonsense\"]]", ERR_INTERNAL,
                      "Javascript query `nonsense` caused a crash in a worker process.", "[]"),
                FAILS("[11,[\"big\"]]", ERR_RESOURCE, "The arguments of the JavaScript function are too large.", "[]"),
                FAILS("[11,[\"cancel\"]]", ERR_CANCELLED, "x", NULL),
                LOGIC("[11,[1]]", "Expected type STRING but found NUMBER.", "[0]"),
                LOGIC("[64,[[11,[\"function\"]],[180,[]]]]", "`r.minval` cannot be passed to `r.js`.", "[0]"),
                LOGIC("[64,[[11,[\"function\"]],[2,[[181,[]]]]]]", "`r.maxval` cannot be passed to `r.js`.", "[0]"),
                LOGIC("[11,[\"function\"]]",
                      "Query result must be of type DATUM, GROUPED_DATA, or STREAM (got FUNCTION).", "[]"),
        };
        CHECK(cases);
}

static void test_array_limit(void **state)
{
        Buf answer, place;
        assert_int_equal(run_query("[11,[\"array\"]]", "\"array_limit\":2", &answer, &place), ERR_RESOURCE);
        buf_done(&answer);
        buf_done(&place);
}

#define ERROR_OF(url, what) "Error in HTTP GET of `" url "`: " what

static void test_requests(void **state)
{
        static const Case cases[] = {
                GIVES("[153,[\"echo\"]]", "[\"GET echo\",\"\",0,5,1,1]"),
                GIVES("[153,[\"echo\"],{\"params\":{\"a\":1,\"b\":\"x y\"}}]",
                      "[\"GET echo/?a=1&b=x%20y\",\"\",0,5,1,1]"),
                GIVES("[153,[\"echo/x?q=1\"],{\"params\":{\"a\":null}}]", "[\"GET echo/x?q=1&a=\",\"\",0,5,1,1]"),
                GIVES("[153,[\"echo?q=1/x\"],{\"params\":{\"a\":null}}]", "[\"GET echo?q=1/x?a=\",\"\",0,5,1,1]"),
                GIVES("[153,[\"echo\"],{\"method\":\"POST\",\"data\":{\"a\":1,\"b\":null}}]",
                      "[\"POST echo\",\"a=1&b=\",0,5,1,1]"),
                GIVES("[153,[\"echo\"],{\"method\":\"PUT\",\"data\":5,\"header\":[2,[\"X: y\"]]}]",
                      "[\"PUT echo\",\"5\",0,5,1,1,\"Content-Type: application/json\",\"X: y\"]"),
                GIVES("[153,[\"echo\"],{\"auth\":{\"user\":\"u\",\"pass\":\"p\",\"type\":\"digest\"},\"attempts\":2,"
                      "\"redirects\":0,\"verify\":false}]",
                      "[\"GET echo\",\"\",2,2,0,0]"),
                GIVES("[153,[\"echo\"],{\"method\":\"HEAD\"}]", "null"),
                GIVES("[153,[\"text\"]]", "\"caf\xef\xbf\xbd\""),
                GIVES("[153,[\"page1\"],{\"page\":\"link-next\",\"page_limit\":-1}]", "1,2,3"),
                GIVES("[153,[\"page1\"],{\"page\":\"link-next\",\"page_limit\":1}]", "1,2"),
                GIVES("[153,[\"page1\"],{\"page\":null,\"page_limit\":1}]", "[1,2]"),
                GIVES("[153,[\"page1\"],{\"page\":[69,[[2,[1]],{\"url\":\"page2\"}]],\"page_limit\":3}]", "1,2,3,3"),
                GIVES("[92,[[153,[\"failed\"]],\"other\"]]", "\"other\""),
                FAILS("[153,[\"failed\"]]", ERR_NON_EXISTENCE, ERROR_OF("failed", "why."), "[]"),
                FAILS("[153,[\"crash\"]]", ERR_NON_EXISTENCE, ERROR_OF("crash", "crash in a worker process."), "[]"),
                FAILS("[153,[\"slow\"]]", ERR_NON_EXISTENCE, ERROR_OF("slow", "timed out after 30.000 seconds."), "[]"),
                FAILS("[153,[\"404\"]]", ERR_NON_EXISTENCE,
                      ERROR_OF("404", "status code 404.\nheader:\n{\n\t\"a-name\":\t\"value\"\n}\nbody:\n\"gone\""),
                      "[]"),
                FAILS("[153,[\"badlink\"]]", ERR_NON_EXISTENCE,
                      ERROR_OF("badlink", "failed to parse link header line: 'x'."), "[]"),
                LOGIC("[153,[\"echo\"],{\"redirects\":-1}]", "Integer too large: -1", "[\"redirects\"]"),
                LOGIC("[153,[\"echo\"],{\"page\":\"x\",\"page_limit\":1}]",
                      "`page` method 'x' not recognized, only 'link-next' is available.", "[\"page\"]"),
                LOGIC("[153,[1]]", "Expected type STRING but found NUMBER.", "[0]"),
        };
        CHECK(cases);
}

static void test_jsonp(void **state)
{
        static const struct {
                const char *body, *json;
        } cases[] = {
                {"f(1)", "1"},       {" f ({}) ; ", "{}"},   {"a.b(1);", "1"},   {"a[ 'x y' ] (1)", "1"},
                {"f(g(1))", "g(1)"}, {"$_\xc3\xbc(1)", "1"}, {"f", NULL},        {"(1)", NULL},
                {"f(1", NULL},       {"1f(1)", NULL},        {"a.(1)", NULL},    {"a[x](1)", NULL},
                {"", NULL},          {"f(1) more", NULL},    {"a['x'(1)", NULL}, {"f(", NULL},
        };
        for (size_t i = 0; i < ELEMENTS(cases); i++) {
                Bytes json;
                bool found = http_jsonp_inside(BYTES_STR(cases[i].body), &json);
                assert_int_equal(found, cases[i].json != NULL);
                if (found)
                        assert_true(bytes_equal(json, BYTES_STR(cases[i].json)));
        }
}

static void test_not_available(void **state)
{
        static const Case cases[] = {
                FAILS("[11,[\"x\"]]", ERR_OP_FAILED, "JavaScript is not available on this server.", "[]"),
                FAILS("[153,[\"x\"]]", ERR_OP_FAILED, "HTTP requests are not available on this server.", "[]"),
        };
        test_world.outside = NULL;
        CHECK(cases);
        test_world.outside = &outside;
}

static void test_memory(void **state)
{
        check_without_memory("[38,[[2,[1,2]],[11,[\"function\"]]]]");
        check_without_memory("[11,[\"throw\"]]");
        check_without_memory("[153,[\"oops\"]]");
        check_without_memory("[153,[\"twice\"]]");
        check_without_memory("[153,[\"text\"]]");
        check_without_memory("[153,[\"page1\"],{\"page\":[69,[[2,[1]],[12,[\"x\"]]]],\"page_limit\":3}]");
        check_without_memory("[153,[\"page1\"],{\"page\":\"link-next\",\"page_limit\":3}]");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_scripts), cmocka_unit_test(test_array_limit),   cmocka_unit_test(test_requests),
                cmocka_unit_test(test_jsonp),   cmocka_unit_test(test_not_available), cmocka_unit_test(test_memory),
        };
        test_world.outside = &outside;
        return cmocka_run_group_tests(tests, NULL, NULL);
}
