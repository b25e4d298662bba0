/* index_terms_test.c - queries over indexes, from text to batches, over fake_source.h (everything but their making). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "query/fake_source.h"

static const char *code_name(StatusCode code)
{
        switch (code) {
        case ERR_CLIENT: return "CLIENT";
        case ERR_COMPILE: return "COMPILE";
        case ERR_RESOURCE: return "RESOURCE";
        case ERR_LOGIC: return "LOGIC";
        case ERR_NON_EXISTENCE: return "NON_EXISTENCE";
        case ERR_OP_FAILED: return "OP_FAILED";
        case ERR_USER: return "USER";
        case ERR_NOMEM: return "NOMEM";
        default: return "?";
        }
}

/* What a query gives, as one text: "ATOM row", "SEQ rows | rows | rows" (one part for each batch), or
 * "FAIL code message @backtrace". */
static void run(const QueryWorld *world, const char *text, Buf *out)
{
        Query *query;
        uint8_t *buffer;
        buf_init(out, 64 << 20);
        assert_null(query_new(world, "admin", &query));
        assert_null(query_text_buffer(query, strlen(text), &buffer));
        memcpy(buffer, text, strlen(text));
        QueryAnswer answer = ANSWER_PARTIAL;
        Status st = query_prepare(query, BYTES(buffer, strlen(text)));
        for (int batch = 0; !st && answer == ANSWER_PARTIAL && batch < 20; batch++) {
                Buf rows;
                buf_init(&rows, 64 << 20);
                st = query_next(query, &rows, &answer);
                if (!st) {
                        assert_null(buf_append_str(out, batch ? " | " : answer == ANSWER_ATOM ? "ATOM " : "SEQ "));
                        assert_null(buf_append(out, rows.data, rows.size));
                }
                buf_done(&rows);
        }
        if (st) {
                buf_clear(out);
                assert_null(buf_printf(out, "FAIL %s %s @", code_name(status_code(st)), status_message(st)));
                assert_null(query_backtrace(query, out));
                status_ignore(st);
        }
        assert_null(buf_append_byte(out, 0));
        query_free(query);
        assert_true(fake_all_closed());
}

typedef struct Case {
        const char *query, *gives;
} Case;

static const QueryWorld world = {.source = &fake_source, .host = &fake_host, .memory_max_bytes = 64 << 20};

static void check(const Case *cases, size_t count)
{
        int failed = 0;
        for (size_t i = 0; i < count; i++) {
                Buf out;
                run(&world, cases[i].query, &out);
                if (strcmp((char *)out.data, cases[i].gives) != 0) {
                        failed++;
                        print_error("%s\n  gives %s\n  not   %s\n", cases[i].query, (char *)out.data, cases[i].gives);
                }
                buf_done(&out);
        }
        assert_int_equal(failed, 0);
}
#define CHECK(cases) check(cases, ELEMENTS(cases))

/* Shorthands of the wire form. */
#define T       "[15,[[14,[\"test\"]],\"t\"]]"
#define Q(term) "[1," term ",{}]"
#define LOGIC   "FAIL LOGIC "
#define MISSING "FAIL NON_EXISTENCE "

#define IDS(term) "[38,[" term ",[69,[[2,[99]],[170,[[10,[99]],\"id\"]]]]]]"
#define BY(index) "{\"index\":\"" index "\"}"
#define NO_INDEX  "FAIL OP_FAILED Index `nope` was not found on table `test.t`. @[]"
#define GEO_ONLY                                                                                                       \
        LOGIC "Index `p` is a geospatial index.  Only get_nearest and get_intersecting can use a geospatial index. "   \
              "@[]"

static void test_get_all(void **state)
{
        static const Case cases[] = {
                {Q(IDS("[78,[" T ",1]," BY("g") "]")), "SEQ 2,4,6"},
                {Q(IDS("[78,[" T ",1,0]," BY("g") "]")), "SEQ 2,4,6,1,5"},
                {Q(IDS("[78,[" T ",1,1]," BY("g") "]")), "SEQ 2,4,6,2,4,6"},
                {Q(IDS("[78,[" T "]," BY("g") "]")), "SEQ "},
                {Q(IDS("[78,[" T ",[180],[181]]," BY("g") "]")), "SEQ "},
                {Q(IDS("[78,[" T ",\"b\"]," BY("m") "]")), "SEQ 1,2,2"}, /* it is there twice in row 2 */
                {Q("[43,[[78,[" T ",\"b\",\"a\",\"z\"]," BY("m") "]]]"), "ATOM 4"},
                {Q("[43,[[78,[" T ",1]," BY("nope") "]]]"), NO_INDEX},
                {Q("[39,[[78,[" T ",1]," BY("nope") "],true]]"), NO_INDEX},
                {Q("[52,[[78,[" T ",1]," BY("nope") "]]]"), "ATOM \"SELECTION<STREAM>\""}, /* nothing was read */
                {Q("[43,[[78,[" T ",1]," BY("p") "]]]"), GEO_ONLY},
                {Q("[78,[" T ",{}]," BY("g") "]"), LOGIC
                 "Secondary keys must be a number, string, bool, pseudotype, or array (got type OBJECT):\n{} @[]"},
                {Q("[78,[" T ",null]," BY("g") "]"), MISSING "Keys cannot be NULL. @[1]"},
                {Q("[78,[" T ",[159,[1,1]]]," BY("g") "]"),
                 LOGIC "Cannot use a geospatial index with `get_all`. Use `get_intersecting` instead. @[1]"},
                {Q("[78,[" T ",1],{\"index\":false}]"), LOGIC "Expected type STRING but found BOOL. @[\"index\"]"},
                {Q("[45,[[78,[" T ",1]," BY("g") "],1]]"), "ATOM {\"g\":1,\"id\":4,\"v\":2}"},
                {"[1," IDS("[78,[" T ",1]," BY("g") "]") ",{\"max_batch_rows\":1}]", "SEQ 2,4,6"},
        };
        CHECK(cases);
}

static void test_slices(void **state)
{
        static const Case cases[] = {
                {Q(IDS("[41,[" T "]," BY("g") "]")), "SEQ 1,5,2,4,6"},
                {Q(IDS("[41,[" T "],{\"index\":[74,[\"g\"]]}]")), "SEQ 6,4,2,5,1"},
                {Q(IDS("[41,[" T ",\"v\"]," BY("g") "]")), "SEQ 5,1,6,4,2"},
                {Q(IDS("[41,[" T ",[74,[\"v\"]]],{\"index\":[74,[\"g\"]]}]")), "SEQ 2,4,6,1,5"},
                {"[1," IDS("[41,[" T ",\"v\"]," BY("g") "]") ",{\"max_batch_rows\":1}]", "SEQ 5,1,6,4,2"},
                {Q("[52,[[41,[" T ",\"v\"]," BY("g") "]]]"), "ATOM \"SELECTION<STREAM>\""},
                {Q(IDS("[41,[[182,[" T ",1,9]," BY("g") "]]," BY("g") "]")), "SEQ 2,4,6"},
                {Q(IDS("[182,[[41,[" T "],{\"index\":[74,[\"g\"]]}],1,9]," BY("g") "]")), "SEQ 6,4,2"},
                {Q(IDS("[182,[[41,[" T "]," BY("g") "],1,9]]")), "SEQ 2,4,6"}, /* by the index that is in use */
                {Q("[182,[[41,[" T "]," BY("g") "],1,9]," BY("v") "]"),
                 LOGIC "Cannot call BETWEEN on index `v` after ordering on index `g`. @[0,0]"},
                {Q("[41,[[182,[" T ",1,9]," BY("g") "]]," BY("v") "]"),
                 LOGIC "Cannot order by index `v` after calling BETWEEN on index `g`. @[0,0]"},
                {Q("[41,[[182,[" T ",1,9]]]," BY("v") "]"),
                 LOGIC "Cannot order by index `v` after calling BETWEEN on index `id`. @[0,0]"},
                {Q("[41,[[41,[" T "]," BY("g") "]]," BY("g") "]"),
                 LOGIC "Cannot perform multiple indexed ORDER_BYs on the same table. @[0,0]"},
                {Q("[43,[[182,[" T ",[180],[181]]," BY("m") "]]]"), "ATOM 6"},
                {Q(IDS("[182,[" T ",\"a\",\"c\"]," BY("m") "]")), "SEQ 1,1,2,2"},
                {Q("[43,[[182,[" T ",0,1]," BY("p") "]]]"), GEO_ONLY},
                {Q("[43,[[41,[" T "]," BY("p") "]]]"), GEO_ONLY},
                {Q("[41,[" T ",\"v\"]," BY("nope") "]"), NO_INDEX},
                {Q("[41,[[39,[" T ",true]]]," BY("g") "]"),
                 LOGIC "Indexed order_by can only be performed on a TABLE or TABLE_SLICE. Make sure order_by comes "
                       "before any transformations (such as map) or filters. @[]"},
                {Q("[43,[[182,[" T ",{},1]," BY("g") "]]]"), LOGIC
                 "Secondary keys must be a number, string, bool, pseudotype, or array (got type OBJECT):\n{} @[]"},
                {Q(IDS("[71,[[70,[[41,[" T "]," BY("g") "],1]],2]]")), "SEQ 5,2"},
        };
        CHECK(cases);
}

static void test_values(void **state)
{
        static const Case cases[] = {
                {Q("[42,[" T "]," BY("g") "]"), "SEQ 0,1"},
                {Q("[42,[" T "]," BY("m") "]"), "SEQ \"a\",\"b\",\"c\",\"d\""},
                {Q("[42,[[182,[" T ",\"b\",[181]]," BY("m") "]]," BY("m") "]"), "SEQ \"b\",\"c\",\"d\""},
                {Q("[42,[[41,[" T "],{\"index\":[74,[\"g\"]]}]]," BY("g") "]"), "SEQ 1,0"},
                {Q("[42,[[182,[" T ",0,9]," BY("g") "]]," BY("v") "]"),
                 LOGIC "Can only perform an indexed distinct on a TABLE. @[]"},
                {Q("[42,[[39,[" T ",true]]]," BY("g") "]"),
                 LOGIC "Can only perform an indexed distinct on a TABLE. @[]"},
                {Q("[52,[[42,[" T "]," BY("g") "]]]"), "ATOM \"STREAM\""},
                {Q("[42,[" T "]," BY("nope") "]"), NO_INDEX},
                {Q("[170,[[147,[" T "]," BY("v") "],\"id\"]]"), "ATOM 5"},
                {Q("[170,[[148,[" T "]," BY("v") "],\"id\"]]"), "ATOM 2"},
                {Q("[52,[[148,[" T "]," BY("v") "]]]"), "ATOM \"SELECTION<OBJECT>\""},
                {Q("[147,[" T "]," BY("nope") "]"), NO_INDEX},
                {Q("[147,[" T ",\"v\"]," BY("v") "]"), LOGIC "Cannot provide both a function and an index to min. @[]"},
                {Q("[145,[" T "]," BY("v") "]"), LOGIC "Cannot call sum on an index. @[]"},
                {Q("[43,[[144,[" T "]," BY("g") "]]]"),
                 "ATOM {\"$reql_type$\":\"GROUPED_DATA\",\"data\":[[0,2],[1,3]]}"},
                {Q("[43,[[144,[" T "]," BY("m") "]]]"),
                 "ATOM {\"$reql_type$\":\"GROUPED_DATA\",\"data\":[[\"a\",1],[\"b\",3],[\"c\",1],[\"d\",1]]}"},
                {Q("[170,[[144,[" T ",\"v\"]," BY("g") "],\"id\"]]"),
                 "ATOM {\"$reql_type$\":\"GROUPED_DATA\",\"data\":[[[0,0],[5]],[[1,1],[6]],[[2,0],[1]],[[2,1],[4]],"
                 "[[7,1],[2]]]}"},
                {Q("[43,[[144,[" T "],{\"index\":\"g\",\"multi\":true}]]]"),
                 "ATOM {\"$reql_type$\":\"GROUPED_DATA\",\"data\":[[0,2],[1,3]]}"},
                {Q("[144,[[39,[" T ",true]]]," BY("g") "]"),
                 LOGIC "Expected type TABLE but found SELECTION:\nSELECTION ON table(t) @[0]"},
                {Q("[144,[" T "]," BY("nope") "]"), NO_INDEX},
        };
        CHECK(cases);
}

static void test_joins(void **state)
{
        static const Case cases[] = {
                {Q("[38,[[50,[[2,[{\"k\":1},{\"k\":9},{},{\"k\":null},{\"k\":0}]],\"k\"," T
                   "]," BY("g") "],[69,[[2,[1]],[170,[[170,[[10,[1]],\"right\"]],\"id\"]]]]]]"),
                 "ATOM [2,4,6,1,5]"},
                {Q("[43,[[50,[" T ",\"g\"," T "],{\"index\":\"g\",\"ordered\":true}]]]"), "ATOM 13"},
                {"[1,[38,[[50,[" T ",\"g\"," T "]," BY("g") "],[69,[[2,[1]],1]]]],{\"max_batch_rows\":5}]",
                 "SEQ 1 | 1,1,1,1,1 | 1,1,1,1,1 | 1,1"},
                {Q("[50,[" T ",\"g\"," T "]," BY("nope") "]"), NO_INDEX},
                {Q("[50,[" T ",\"g\"," T "],{\"index\":1}]"), LOGIC "Expected type STRING but found NUMBER. @[]"},
        };
        CHECK(cases);
}

#define POINT(lon, lat) "[159,[" #lon "," #lat "]]"

static void test_geo(void **state)
{
        static const Case cases[] = {
                {Q(IDS("[166,[" T "," POINT(0, 0) "]," BY("p") "]")), "SEQ 1"},
                {Q(IDS("[166,[" T ",[165,[[2,[0,0]],150000]]]," BY("p") "]")), "SEQ 1,2"},
                {Q("[52,[[166,[" T "," POINT(0, 0) "]," BY("p") "]]]"), "ATOM \"SELECTION<STREAM>\""},
                {Q("[166,[" T ",1]," BY("p") "]"), LOGIC "Not a GEOMETRY pseudotype: `1`. @[1]"},
                {Q("[166,[" T "," POINT(0, 0) "]]"), LOGIC "get_intersecting requires an index argument. @[]"},
                {Q("[43,[[166,[" T "," POINT(0, 0) "]," BY("id") "]]]"),
                 LOGIC "get_intersecting cannot use the primary index. @[0]"},
                {Q("[43,[[166,[" T "," POINT(0, 0) "]," BY("nope") "]]]"), NO_INDEX},
                {Q("[43,[[166,[" T "," POINT(0, 0) "]," BY("g") "]]]"), LOGIC
                 "Index `g` is not a geospatial index.  get_intersecting can only be used with a geospatial index. "
                 "@[]"},
                {Q("[33,[[168,[" T ",[2,[0,0]]]," BY("p") "],\"dist\",{\"doc\":\"id\"}]]"),
                 "ATOM [{\"dist\":0,\"doc\":{\"id\":1}}]"},
                {Q("[170,[[170,[[168,[" T "," POINT(0, 0) "],{\"index\":\"p\",\"max_dist\":200,\"unit\":\"km\"}],"
                                                          "\"doc\"]],\"id\"]]"),
                 "ATOM [1,2]"},
                {Q("[170,[[170,[[168,[" T "," POINT(2, 0) "],{\"index\":\"p\",\"max_dist\":1000000,"
                                                          "\"max_results\":2}],\"doc\"]],\"id\"]]"),
                 "ATOM [2,1]"},
                {Q("[168,[" T "," POINT(0, 0) "],{\"index\":\"p\",\"max_dist\":0}]"),
                 LOGIC "max_dist must be positive. @[\"max_dist\"]"},
                {Q("[168,[" T "," POINT(0, 0) "],{\"index\":\"p\",\"max_results\":0}]"),
                 LOGIC "max_results must be positive. @[\"max_results\"]"},
                {Q("[168,[" T "," POINT(0, 0) "]]"), LOGIC "get_nearest requires an index argument. @[]"},
                {Q("[168,[" T "," POINT(0, 0) "]," BY("g") "]"), LOGIC
                 "Index `g` is not a geospatial index.  get_nearest can only be used with a geospatial index. @[]"},
        };
        CHECK(cases);
}

static void test_lists(void **state)
{
        static const Case cases[] = {
                {Q("[77,[" T "]]"), "ATOM [\"g\",\"m\",\"p\",\"v\"]"},
                {Q("[139,[" T "]]"), "ATOM []"}, /* this source knows no states */
                {Q("[140,[" T "]]"), "ATOM []"},
                {Q("[139,[" T ",\"x\"]]"), "FAIL OP_FAILED Index `x` was not found on table `test.t`. @[]"},
                {Q("[190,[" T "]]"), "ATOM null"},
        };
        CHECK(cases);
}

#define F2(body)           "[69,[[2,[2]]," body "]]"
#define CREATE(function)   "[75,[" T ",\"x\"," function "]]"
#define WITH(value, query) Q("[64,[[69,[[2,[1]]," query "]]," value "]]")

/* What is kept of a function: variables of others stand as constants. */
static void test_saving(void **state)
{
        static const Case cases[] = {
                {Q("[75,[" T ",\"x\"]]"), "[69,[[2,[-19]],[31,[[10,[-19]],\"x\"]]]]"},
                {Q(CREATE(F2("[170,[[10,[2]],\"a\"]]"))), "[69,[[2,[2]],[170,[[10,[2]],\"a\"]]]]"},
                {Q(CREATE(F2("[170,[[13,[]],\"a\"]]"))), "[69,[[2,[2]],[170,[[13],\"a\"]]]]"},
                {Q(CREATE(F2("{\"k\":[10,[2]]}"))), "[69,[[2,[2]],{\"k\":[10,[2]]}]]"},
                {Q(CREATE(F2("[2,[1,[10,[2]]]]"))), "[69,[[2,[2]],[2,[1,[10,[2]]]]]]"},
                {Q(CREATE(F2("[2,[1,\"a\"]]"))), "[69,[[2,[2]],[1,[1,\"a\"]]]]"},
                {Q(CREATE(F2("[30,[[10,[2]],1,2],{\"left_bound\":\"open\"}]"))),
                 "[69,[[2,[2]],[30,[[10,[2]],1,2],{\"left_bound\":\"open\"}]]]"},
                {WITH("5", CREATE(F2("[24,[[10,[2]],[10,[1]]]]"))), "[69,[[2,[2]],[24,[[10,[2]],5]]]]"},
                {WITH("{\"a\":[2,[1]]}", CREATE(F2("[10,[1]]"))), "[69,[[2,[2]],[1,{\"a\":[1]}]]]"},
                {WITH("[180]", CREATE(F2("[10,[1]]"))), "[69,[[2,[2]],[180]]]"},
                {WITH("[101,[1]]", CREATE(F2("[10,[1]]"))),
                 "[69,[[2,[2]],[1,{\"$reql_type$\":\"TIME\",\"epoch_time\":1,\"timezone\":\"+00:00\"}]]]"},
                /* from two functions in, and r.row of the function outside */
                {WITH("7", CREATE(F2("[38,[[10,[2]],[69,[[2,[3]],[2,[[10,[1]],[10,[2]],[10,[3]]]]]]]]"))),
                 "[69,[[2,[2]],[38,[[10,[2]],[69,[[2,[3]],[2,[7,[10,[2]],[10,[3]]]]]]]]]]"},
                {Q("[64,[[69,[[2,[1]],[75,[" T ",\"x\",[69,[[2,[]],[13]]]]]]],7]]"), "[69,[[2,[]],7]]"},
                /* RethinkDB's */
                {Q(CREATE("{\"$reql_type$\":\"BINARY\",\"data\":\"JHJlcWxfaW5kZXhfZnVuY3Rpb24kCQcHBwAAAAAAAAHt/////////"
                          "yYAAABbMzEsW1sxMCxbWzEsLTE5LDBdXSwwXSxbMSwibSIsMF1dLDBdAAkAAAABAQ==\"}")),
                 "[69,[[2,[-19]],[31,[[10,[-19]],\"m\"]]]]"},
                {Q(CREATE("{\"$reql_type$\":\"BINARY\",\"data\":"
                          "\"JHJlcWxfaW5kZXhfZnVuY3Rpb24kCQcHBwAAAAAAAAEBAAAAAAAAAFcAAABbNDMsW1syNCxbWzE3MCxbWzEwLFtbMS"
                          "wxLDE0XV0sMTNdLFsxLCJhIiwxNV1dLDEyXSxbMixbWzEsMSwxN10sWzEsMiwxOF1dLDE2XV0sMTFdXSw5XQAJAAAAAA"
                          "A=\"}")),
                 "[69,[[2,[1]],[43,[[24,[[170,[[10,[1]],\"a\"]],[2,[1,2]]]]]]]]"},
        };
        int failed = 0;
        for (size_t i = 0; i < ELEMENTS(cases); i++) {
                Buf out;
                run(&world, cases[i].query, &out);
                if (strcmp((char *)out.data, "ATOM {\"created\":1}") != 0 ||
                    !bytes_equal(fake.saved, BYTES_STR(cases[i].gives))) {
                        failed++;
                        print_error("%s\n  gives %s, %.*s\n  not   %s\n", cases[i].query, (char *)out.data,
                                    (int)fake.saved.size, (const char *)fake.saved.data, cases[i].gives);
                }
                buf_done(&out);
        }
        assert_int_equal(failed, 0);
        static const Case refused[] = {
                {Q(CREATE(F2("[151,[]]"))),
                 LOGIC "Could not prove function deterministic.  Index functions must be deterministic. @[2,1]"},
                {Q(CREATE(F2("[103,[]]"))),
                 LOGIC "Could not prove function deterministic.  Index functions must be deterministic. @[2,1]"},
                {Q(CREATE(F2("[16,[" T ",1]]"))),
                 LOGIC "Could not prove function deterministic.  Index functions must be deterministic. @[2,1]"},
                {Q(CREATE("\"a\"")), LOGIC "Expected type FUNCTION but found DATUM:\n\"a\" @[2]"},
                {Q("[75,[" T ",\"id\"]]"), LOGIC "Index name conflict: `id` is the name of the primary key. @[]"},
                {Q("[75,[" T ",1]]"), LOGIC "Expected type STRING but found NUMBER. @[1]"},
                {Q(CREATE("{\"$reql_type$\":\"BINARY\",\"data\":\"YWJj\"}")),
                 LOGIC "Cannot create an sindex except from a reql_index_function returned from `index_status` in the "
                       "field `function`. @[2]"},
                {Q("[156,[" T ",\"id\",\"x\"]]"),
                 LOGIC "Index name conflict: `id` is the name of the primary key. @[]"},
                {Q("[189,[" T ",[69,[[2,[1,2]],1]]]]"), LOGIC "Write hook functions must expect 3 arguments. @[]"},
                {Q("[189,[" T ",[69,[[2,[1,2,3]],[151,[]]]]]]"),
                 LOGIC "Could not prove function deterministic.  Write hook functions must be deterministic. @[1,1]"},
                {Q("[189,[" T ",[69,[[2,[1,2,3]],[103,[]]]]]]"), "ATOM {\"created\":1}"},
                {Q("[189,[" T ",null]]"), "ATOM {\"deleted\":1}"},
        };
        CHECK(refused);
}

/* The nth allocation fails, for every n: the query ends, and everything it opened is closed. */
static void test_no_memory(void **state)
{
        static const char *const queries[] = {
                Q(IDS("[78,[" T ",1,0]," BY("g") "]")),
                Q(IDS("[41,[" T ",\"v\"]," BY("g") "]")),
                Q("[42,[" T "]," BY("m") "]"),
                Q("[43,[[144,[" T "]," BY("m") "]]]"),
                Q("[43,[[50,[" T ",\"g\"," T "]," BY("g") "]]]"),
                Q("[166,[" T ",[165,[[2,[0,0]],150000]]]," BY("p") "]"),
                Q("[168,[" T "," POINT(0, 0) "]," BY("p") "]"),
        };
        for (size_t i = 0; i < ELEMENTS(queries); i++) {
                for (long n = 1, fired = 1; fired; n++) {
                        Query *query = NULL;
                        uint8_t *buffer;
                        Buf rows;
                        QueryAnswer answer = ANSWER_PARTIAL;
                        size_t size = strlen(queries[i]);
                        buf_init(&rows, 1 << 20);
                        mem_fail_nth(n);
                        Status st = query_new(&world, "admin", &query);
                        if (!st)
                                st = query_text_buffer(query, size, &buffer);
                        if (!st) {
                                memcpy(buffer, queries[i], size);
                                st = query_prepare(query, BYTES(buffer, size));
                        }
                        while (!st && answer == ANSWER_PARTIAL)
                                st = query_next(query, &rows, &answer);
                        fired = mem_fail_fired();
                        mem_fail_nth(0);
                        assert_true(!st || status_code(st) == ERR_NOMEM);
                        status_ignore(st);
                        query_free(query);
                        buf_done(&rows);
                        assert_true(fake_all_closed());
                }
        }
}

static int setup(void **state)
{
        arena_init(&fake.arena, 0);
        fake_add("t", "[{\"id\":1,\"g\":0,\"v\":2,\"m\":[\"a\",\"b\"],"
                      "\"p\":{\"$reql_type$\":\"GEOMETRY\",\"type\":\"Point\",\"coordinates\":[0,0]}},"
                      "{\"id\":2,\"g\":1,\"v\":7,\"m\":[\"b\",\"b\"],"
                      "\"p\":{\"$reql_type$\":\"GEOMETRY\",\"type\":\"Point\",\"coordinates\":[1,0]}},"
                      "{\"id\":3,\"g\":null,\"m\":\"c\"},{\"id\":4,\"g\":1,\"v\":2},"
                      "{\"id\":5,\"g\":0,\"v\":0,\"m\":[\"d\"]},{\"id\":6,\"g\":1,\"v\":1,\"m\":[]}]");
        fake_add_index("g", false, false);
        fake_add_index("m", true, false);
        fake_add_index("p", false, true);
        fake_add_index("v", false, false);
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
                cmocka_unit_test(test_get_all), cmocka_unit_test(test_slices),    cmocka_unit_test(test_values),
                cmocka_unit_test(test_joins),   cmocka_unit_test(test_geo),       cmocka_unit_test(test_lists),
                cmocka_unit_test(test_saving),  cmocka_unit_test(test_no_memory),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
