/* query_test.c - whole queries: text in, batches or an error with its place out. */
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
#define T          "[15,[[14,[\"test\"]],\"t\"]]"
#define U          "[15,[[14,[\"test\"]],\"u\"]]"
#define V(n)       "[10,[" #n "]]"
#define F(n, body) "[69,[[2,[" #n "]]," body "]]"
#define G(n, body) "[69,[[2,[" n "]]," body "]]"
#define A(items)   "[2,[" items "]]"
#define Q(term)    "[1," term ",{}]"
#define GET(v, f)  "[170,[" v ",\"" f "\"]]"
#define LOGIC      "FAIL LOGIC "
#define MISSING    "FAIL NON_EXISTENCE "
#define RESOURCE   "FAIL RESOURCE "
#define COMPILE    "FAIL COMPILE "

static void test_tables(void **state)
{
        static const Case cases[] = {
                {Q("[16,[" T ",2]]"), "ATOM {\"g\":1,\"id\":2,\"v\":20}"},
                {Q("[16,[" T ",99]]"), "ATOM null"},
                {Q("[16,[" T ",null]]"), "FAIL NON_EXISTENCE Primary keys must be either a number, string, bool, "
                                         "pseudotype or array (got type NULL):\nnull @[]"},
                {Q("[78,[" T ",3,99,1,3]]"), "SEQ {\"id\":3,\"v\":30},{\"g\":0,\"id\":1,\"v\":10},{\"id\":3,\"v\":30}"},
                {Q("[78,[" T ",1],{\"index\":\"v\"}]"),
                 "FAIL OP_FAILED Index `v` was not found on table `test.t`. @[]"},
                {Q("[78,[" T ",null]]"), MISSING "Keys cannot be NULL. @[1]"},
                {Q("[43,[" T "]]"), "ATOM 4"},
                {Q("[38,[[182,[" T ",2,4]]," F(1, GET(V(1), "id")) "]]"), "SEQ 2,3"},
                {Q("[38,[[182,[" T
                   ",2,4],{\"right_bound\":\"closed\",\"left_bound\":\"open\"}]," F(1, GET(V(1), "id")) "]]"),
                 "SEQ 3,4"},
                {Q("[43,[[182,[" T ",[180,[]],[181,[]]]]]]"), "ATOM 4"},
                {Q("[43,[[182,[" T ",4,2]]]]"), "ATOM 0"},
                {Q("[182,[" T ",1,2],{\"left_bound\":\"x\"}]"),
                 LOGIC "Expected `open` or `closed` for optarg `left_bound` (got `\"x\"`). @[]"},
                {Q("[182,[[182,[" T ",1,2]],1,2]]"),
                 LOGIC "Cannot perform multiple BETWEENs on the same table. @[0,0]"},
                {Q("[43,[[36,[" T ",null,3]]]]"), "ATOM 2"},
                {Q("[38,[[41,[" T "],{\"index\":[74,[\"id\"]]}]," F(1, GET(V(1), "id")) "]]"), "SEQ 4,3,2,1"},
                {Q("[52,[[41,[" T "],{\"index\":\"id\"}]]]"), "ATOM \"TABLE_SLICE\""},
                {Q("[52,[[41,[" T ",\"v\"]]]]"), "ATOM \"SELECTION<ARRAY>\""},
                {Q("[52,[[39,[" T ",true]]]]"), "ATOM \"SELECTION<STREAM>\""},
                {Q("[52,[[38,[" T "," F(1, "1") "]]]]"), "ATOM \"STREAM\""},
                {Q("[52,[[16,[" T ",1]]]]"), "ATOM \"SELECTION<OBJECT>\""},
                {Q("[15,[[14,[\"nodb\"]],\"t\"]]"), "FAIL OP_FAILED Database `nodb` does not exist. @[0]"},
                {Q("[15,[\"none\"]]"), "FAIL OP_FAILED Table `test.none` does not exist. @[]"},
                {"[1,[43,[[15,[\"t\"]]]],{\"db\":[14,[\"nodb\"]]}]",
                 "FAIL OP_FAILED Database `nodb` does not exist. @[0]"},
                {"[1,1,{\"db\":[14,[\"nodb\"]]}]", "ATOM 1"},
                /* looked at only when needed: one driver sends a plain string, and names every table's database */
                {"[1,1,{\"db\":\"test\"}]", "ATOM 1"},
                {"[1,[43,[[15,[\"t\"]]]],{\"db\":\"test\"}]",
                 LOGIC "Expected type DATABASE but found DATUM:\n\"test\" @[]"},
                {Q("[16,[[14,[\"test\"]],1]]"), LOGIC "Expected type TABLE but found DATABASE:\ndb(\"test\") @[0]"},
                {Q("[147,[" T "]]"), "ATOM {\"g\":0,\"id\":1,\"v\":10}"},
                {Q("[148,[" T "],{\"index\":\"id\"}]"), "ATOM {\"g\":1,\"id\":4}"},
                {Q("[42,[" T "],{\"index\":\"id\"}]"), "SEQ 1,2,3,4"},
                {Q("[14,[\"test\"]]"),
                 LOGIC "Query result must be of type DATUM, GROUPED_DATA, or STREAM (got DATABASE). @[]"},
        };
        CHECK(cases);
}

static void test_sequences(void **state)
{
        static const Case cases[] = {
                {Q("[38,[" A("1,2,3") "," F(1, "[24,[" V(1) ",1]]") "]]"), "ATOM [2,3,4]"},
                {Q("[38,[" A("1,2,3") "," A("10,20") "," G("1,2", "[24,[" V(1) "," V(2) "]]") "]]"), "ATOM [11,22]"},
                {Q("[38,[[173,[2]],[173,[]]," G("1,2", A(V(1) "," V(2))) "]]"), "SEQ [0,0],[1,1]"},
                {Q("[38,[" A("1") "," G("1,2", "1") "]]"),
                 LOGIC "The function passed to `map` expects 2 arguments, but 1 sequence was found. @[]"},
                {Q("[38,[\"x\"," F(1, "1") "]]"), LOGIC "Cannot convert STRING to SEQUENCE @[]"},
                {Q("[38,[null," F(1, "1") "]]"), MISSING "Cannot convert NULL to SEQUENCE @[]"},
                {Q("[38,[" A("1") ",1]]"), LOGIC "Expected type FUNCTION but found DATUM:\n1 @[1]"},
                {Q("[40,[" A("1,2") "," F(1, A(V(1) "," V(1))) "]]"), "ATOM [1,1,2,2]"},
                {Q("[40,[" A("1,2") "," F(1, "[173,[" V(1) "]]") "]]"), "ATOM [0,0,1]"},
                {Q("[43,[[40,[[173,[50]]," F(1, "[38,[" T "," F(2, V(1)) "]]") "]]]]"), "ATOM 200"},
                {Q("[40,[" T "," F(1, "1") "]]"), LOGIC "Cannot convert NUMBER to SEQUENCE @[1]"},
                {Q("[39,[" A("{\"a\":1,\"b\":{\"c\":2}},{\"a\":1},{\"b\":{\"c\":3}}") ",{\"b\":{\"c\":2}}]]"),
                 "ATOM [{\"a\":1,\"b\":{\"c\":2}}]"},
                {Q("[39,[" A("{},{\"a\":1}") "," F(1, GET(V(1), "a")) "],{\"default\":true}]"), "ATOM [{},{\"a\":1}]"},
                {Q("[39,[" A("{},{\"a\":1}") "," F(1, GET(V(1), "a")) "],{\"default\":[12,[]]}]"),
                 MISSING "No attribute `a` in object:\n{} @[1,1]"},
                {Q("[39,[" A("{},{\"a\":1}") "," F(1, GET(V(1), "a")) "],{\"default\":[12,[\"mine\"]]}]"),
                 "FAIL USER mine @[\"default\"]"},
                {Q("[71,[" T ",2]]"), "SEQ {\"g\":0,\"id\":1,\"v\":10},{\"g\":1,\"id\":2,\"v\":20}"},
                {Q("[71,[" A("1,2,3") ",-1]]"), LOGIC "LIMIT takes a non-negative argument (got -1) @[]"},
                {Q("[71,[" A("1,2,3") ",0]]"), "ATOM []"},
                {Q("[70,[" A("1,2,3") ",-2]]"), "ATOM [2,3]"},
                {Q("[70,[[173,[5]],-2]]"), LOGIC "Cannot use a negative left index on a stream. @[]"},
                {Q("[30,[" A("0,1,2,3,4") ",1,-1]]"), "ATOM [1,2,3]"},
                {Q("[30,[" A("0,1,2,3,4") ",1,-1],{\"right_bound\":\"closed\",\"left_bound\":\"open\"}]"),
                 "ATOM [2,3,4]"},
                {Q("[30,[\"h\\u00e9llo\",1,3]]"), "ATOM \"\303\251l\""},
                {Q("[30,[[173,[9]],2,4]]"), "SEQ 2,3"},
                {Q("[43,[[30,[[173,[9]],2,40]]]]"), "ATOM 7"},
                {Q("[30,[5,1]]"), LOGIC "Expected ARRAY, BINARY, or STRING, but found NUMBER. @[0]"},
                {Q("[45,[" A("1,2,3") ",-1]]"), "ATOM 3"},
                {Q("[45,[" A("1,2,3") ",3]]"), MISSING "Index out of bounds: 3 @[]"},
                {Q("[45,[" T ",-1]]"), "ATOM {\"g\":1,\"id\":4}"},
                {Q("[45,[" T ",1]]"), "ATOM {\"g\":1,\"id\":2,\"v\":20}"},
                {Q("[45,[[71,[[173,[]],1000001]],1000000]]"), "ATOM 1000000"},
                {Q("[45,[[38,[[173,[]]," F(1, V(1)) "]],3]]"),
                 LOGIC "Cannot use an infinite stream with an aggregation function (`reduce`, `count`, etc.) or coerce "
                       "it to an array. @[0,0]"},
                {Q("[93,[[173,[]],3]]"), LOGIC "Cannot use an infinite stream with an aggregation function (`reduce`, "
                                               "`count`, etc.) or coerce it to an array. @[0]"},
                {Q("[93,[" A("") "]]"), "ATOM false"},
                {Q("[93,[" A("1") "]]"), "ATOM true"},
                {Q("[68,[[173,[]]," A("") "]]"), LOGIC "Cannot use an infinite stream with an aggregation function "
                                                       "(`reduce`, `count`, etc.) or coerce it to an array. @[0]"},
                {Q("[40,[" A("1") "," F(1, "[173,[]]") "]]"),
                 LOGIC "Cannot use an infinite stream with an aggregation function (`reduce`, `count`, etc.) or coerce "
                       "it to an array. @[1,1]"},
                {Q("[92,[[92,[" GET("{}", "a") "," F(1, V(1)) "]],0]]"), "ATOM \"No attribute `a` in object:\\n{}\""},
                {Q("[92,[" GET("{}", "a") ",0]]"), "ATOM 0"},
                {Q("[39,[" A("{}") "," F(1, "[17,[[92,[" GET(V(1), "a") "," F(
                                                    1, V(1)) "]],\"No attribute `a` in object:\\n{}\"]]") "]]"),
                 "ATOM [{}]"},
                {Q("[93,[" A("{}") "," F(1, GET(V(1), "a")) "]]"), MISSING "No attribute `a` in object:\n{} @[1,1]"},
                {Q("[43,[[51,[[173,[100001]],\"array\"]]]]"),
                 RESOURCE "Array over size limit `100000`.  To raise the number of allowed elements, modify the "
                          "`array_limit` option to `.run` (not available in the Data Explorer), or use an index. @[]"},
                {Q("[45,[" A("1") ",2147483648]]"), LOGIC "Integer too large: 2147483648 @[1]"},
                {Q("[71,[" A("1") ",2147483648]]"), LOGIC "Integer too large: 2147483648 @[1]"},
                {Q("[87,[[12,[\"x\"]],[12,[\"y\"]]]]"), "FAIL USER x @[0]"},
                {Q("[144,[[12,[\"x\"]],[12,[\"y\"]]]]"), "FAIL USER x @[0]"},
                {Q("[38,[[16,[" T ",1]]," F(1, V(1)) "]]"),
                 LOGIC "Expected type SEQUENCE but found SINGLE_SELECTION:\n"
                       "{\n\t\"g\":\t0,\n\t\"id\":\t1,\n\t\"v\":\t10\n} @[0]"},
                {Q("[43,[[16,[" T ",99]]]]"), MISSING "Expected type SEQUENCE but found SINGLE_SELECTION:\nnull @[0]"},
                {Q("[45,[[16,[" T ",1]],0]]"), LOGIC "Expected type ARRAY but found OBJECT. @[]"},
                {Q("[51,[[16,[" T ",1]],\"stream\"]]"), LOGIC "Cannot coerce OBJECT to STREAM. @[0]"},
                {Q("[45,[" A("1") ",1.5]]"), LOGIC "Number not an integer: 1.5 @[1]"},
                {Q("[86,[" A("") "]]"), "ATOM true"},
                {Q("[86,[" T "]]"), "ATOM false"},
                {Q("[86,[[173,[]]]]"), "ATOM false"},
                {Q("[44,[" A("1,2") "," A("3") "]]"), "ATOM [1,2,3]"},
                {Q("[44,[]]"), "ATOM []"},
                {Q("[44,[" A("1,4") "," A("{\"x\":1}") "],{\"interleave\":false}]"), "ATOM [1,4,{\"x\":1}]"},
                {Q("[44,[" A("{\"x\":1},{\"x\":3}") "," A("{\"x\":2},{\"x\":4}") "],{\"interleave\":\"x\"}]"),
                 "ATOM [{\"x\":1},{\"x\":2},{\"x\":3},{\"x\":4}]"},
                {Q("[44,[" A("{\"x\":1},{\"x\":3}") "," A("{\"x\":2},{\"x\":4}") "],{\"interleave\":[74,[\"x\"]]}]"),
                 LOGIC "The streams given as arguments are not ordered by given ordering. @[]"},
                {Q("[43,[[44,[" T "," A("1") "," U "]]]]"), "ATOM 8"},
                {Q("[43,[[81,[[173,[1000]],7]]]]"), "ATOM 7"},
                {Q("[81,[" A("1") ",-1]]"), LOGIC "Number of items to sample must be non-negative, got `-1`. @[]"},
                {Q("[43,[[173,[]]]]"), LOGIC "Cannot use an infinite stream with an aggregation function (`reduce`, "
                                             "`count`, etc.) or coerce it to an array. @[0]"},
                {Q("[43,[[71,[[173,[]],12345]]]]"), "ATOM 12345"},
        };
        CHECK(cases);
}

static void test_aggregates(void **state)
{
        static const Case cases[] = {
                {Q("[43,[\"h\\u00e9\"]]"), "ATOM 2"},
                {Q("[43,[{\"a\":1,\"b\":2}]]"), "ATOM 2"},
                {Q("[43,[" A("1,2,1") ",1]]"), "ATOM 2"},
                {Q("[43,[" T "," F(1, "[21,[" GET(V(1), "v") ",15]]") "]]"), "ATOM 2"},
                {Q("[145,[" T ",\"v\"]]"), "ATOM 60"},
                {Q("[145,[" A("") "]]"), "ATOM 0"},
                {Q("[145,[" A("1,\"x\"") "]]"), LOGIC "Expected type NUMBER but found STRING. @[]"},
                {Q("[146,[" T ",\"v\"]]"), "ATOM 20"},
                {Q("[146,[" A("") "]]"), MISSING "Cannot take the average of an empty stream.  (If you passed `avg` a "
                                                 "field name, it may be that no elements of "
                                                 "the stream had that field.) @[]"},
                {Q("[148,[" T ",\"v\"]]"), "ATOM {\"id\":3,\"v\":30}"},
                {Q("[147,[" A("3,1,2") "]]"), "ATOM 1"},
                {Q("[147,[" A("{}") ",\"a\"]]"), MISSING "Cannot take the min of an empty stream.  (If you passed "
                                                         "`min` a field name, it may be that no elements of the "
                                                         "stream had that field.) @[]"},
                {Q("[145,[" T "],{\"index\":\"id\"}]"), LOGIC "Cannot call sum on an index. @[]"},
                {Q("[37,[[173,[1,600]]," G("1,2", "[24,[" V(1) "," V(2) "]]") "]]"), "ATOM 179700"},
                {Q("[37,[" A("1") "," G("1,2", "[24,[" V(1) "," V(2) "]]") "]]"), "ATOM 1"},
                {Q("[37,[" A("") "," G("1,2", "1") "]]"), MISSING "Cannot reduce over an empty stream. @[1,1]"},
                {Q("[43,[[37,[[38,[[173,[1000]]," F(1, A(V(1))) "]]," G("1,2", "[24,[" V(1) "," V(2) "]]") "]]]]"),
                 "ATOM 1000"},
                {Q("[187,[[173,[1,4]],0," G("1,2", "[24,[" V(1) "," V(2) "]]") "]]"), "ATOM 6"},
                {Q("[187,[" A("1,2,3") ",0," G("1,2", "[24,[" V(1) "," V(2) "]]") "],{\"emit\":" G(
                         "1,2,3", A(V(1) "," V(3))) ",\"final_emit\":" F(1, A("\"end\"," V(1))) "}]"),
                 "ATOM [0,1,1,3,3,6,\"end\",6]"},
                {Q("[187,[[51,[[173,[600]],\"array\"]],0," G("1,2", "[24,[" V(1) ",1]]") "],{\"emit\":" G(
                         "1,2,3", "[65,[[17,[[28,[" V(3) ",200]],0]],[2,[" V(3) "]],[2,[]]]]") "}]"),
                 "ATOM [200,400,600]"},
                {Q("[187,[" A("1,2,3") ",0," G("1,2", "[24,[" V(1) "," V(2) "]]") "],{\"final_emit\":" F(1,
                                                                                                         A(V(1))) "}]"),
                 "ATOM [6]"},
                {Q("[187,[" A("") ",0," F(1, "1") "]]"),
                 LOGIC "The accumulator function passed to `fold` should expect 2 arguments @[]"},
                {Q("[187,[" A("") ",0,1]]"), LOGIC "Expected type FUNCTION but found DATUM:\n1 @[2]"},
                {Q("[187,[" A("1") ",0," G("1,2", "1") "],{\"emit\":1}]"),
                 LOGIC "Expected type FUNCTION but found DATUM:\n1 @[\"emit\"]"},
                {Q("[42,[" A("3,1,3,{\"a\":1},{\"a\":1}") "]]"), "ATOM [1,3,{\"a\":1}]"},
                {Q("[42,[" A("1") "],{\"index\":\"x\"}]"),
                 LOGIC "Can only perform an indexed distinct on a TABLE. @[]"},
                {Q("[93,[" A("1,2,2") ",2,2]]"), "ATOM true"},
                {Q("[93,[" A("1,2") ",2,2]]"), "ATOM false"},
                {Q("[93,[" A("1,2") "," F(1, "[21,[" V(1) ",1]]") "]]"), "ATOM true"},
                {Q("[41,[" A("{\"a\":2},{},{\"a\":1}") ",\"a\"]]"), "ATOM [{},{\"a\":1},{\"a\":2}]"},
                {Q("[41,[" A("{\"a\":2},{},{\"a\":1}") ",[74,[\"a\"]]]]"), "ATOM [{\"a\":2},{\"a\":1},{}]"},
                {Q("[41,[" A("{\"a\":1,\"b\":1},{\"a\":0},{\"a\":1,\"b\":2}") ",\"a\",[74,[\"b\"]]]]"),
                 "ATOM [{\"a\":0},{\"a\":1,\"b\":2},{\"a\":1,\"b\":1}]"},
                {Q("[41,[" A("1,2") "," F(1, "[12,[\"no\"]]") "]]"), "FAIL USER no @[1,1]"},
                {Q("[41,[" A("1") "," F(1, "[12,[\"no\"]]") "]]"), "ATOM [1]"},
                {Q("[41,[" A("1") "]]"), LOGIC "Must specify something to order by. @[]"},
                {"[1,[43,[[41,[[173,[9]]," F(1, "[25,[0," V(1) "]]") "]]]],{\"array_limit\":4}]", "ATOM 9"},
        };
        CHECK(cases);
}

static void test_groups(void **state)
{
#define GROUPED(data) "ATOM {\"$reql_type$\":\"GROUPED_DATA\",\"data\":[" data "]}"
        static const Case cases[] = {
                {Q("[43,[[144,[" T ",\"g\"]]]]"), GROUPED("[null,1],[0,1],[1,2]")},
                {Q("[150,[[145,[[144,[" T ",\"g\"]],\"v\"]]]]"),
                 "ATOM "
                 "[{\"group\":null,\"reduction\":30},{\"group\":0,\"reduction\":10},{\"group\":1,\"reduction\":20}]"},
                {Q("[38,[[144,[" A("1,2,3") "," F(1, "[28,[" V(1) ",2]]") "]]," F(1, "[26,[" V(1) ",10]]") "]]"),
                 GROUPED("[0,[20]],[1,[10,30]]")},
                {Q("[39,[[144,[" A("1,2,3") "," F(1, "[28,[" V(1) ",2]]") "]]," F(1, "[21,[" V(1) ",2]]") "]]"),
                 GROUPED("[1,[3]]")},
                {Q("[43,[[144,[" A("1,2,3") "," F(1, "[28,[" V(1) ",2]]") "]],3]]"), GROUPED("[1,1]")},
                {Q("[71,[[144,[" A("1,2,3") "," F(1, "[28,[" V(1) ",2]]") "]],1]]"), GROUPED("[0,[2]],[1,[1]]")},
                {Q("[24,[[43,[[144,[" A("1,2,3") "," F(1, "[28,[" V(1) ",2]]") "]]]],100]]"),
                 GROUPED("[0,101],[1,102]")},
                {Q("[64,[" F(9, "[24,[" V(9) ",1]]") ",[43,[[144,[" A("1,2,3") "," F(1, "true") "]]]]]]"),
                 GROUPED("[true,4]")},
                {Q("[144,[" A("{\"a\":[2,[1,2]],\"b\":5}") ",\"a\",\"b\"],{\"multi\":true}]"),
                 GROUPED("[[1,5],[{\"a\":[1,2],\"b\":5}]],[[2,5],[{\"a\":[1,2],\"b\":5}]]")},
                {Q("[144,[" A("1") "]]"), LOGIC "Cannot group by nothing. @[]"},
                {Q("[144,[[144,[" A("{}") ",\"a\"]],\"a\"]]"),
                 LOGIC "Cannot call `group` on the output of `group` (did you mean to `ungroup`?). @[]"},
                {Q("[150,[" A("1") "]]"), LOGIC "Expected type GROUPED_DATA but found DATUM:\n[\n\t1\n] @[0]"},
                {Q("[52,[[144,[" T ",\"g\"]]]]"), "ATOM \"GROUPED_STREAM\""},
                {"[1,[144,[[173,[9]]," F(1, "1") "]],{\"array_limit\":8}]",
                 RESOURCE "Grouped data over size limit `8`.  Try putting a reduction (like `.reduce` or `.count`) on "
                          "the end. @[]"},
                {"[1,[43,[[144,[[173,[9]]," F(1, "1") "]]]],{\"array_limit\":8}]", GROUPED("[1,9]")},
                {"[1,[43,[[144,[[173,[9]]," F(1, V(1)) "]]]],{\"array_limit\":8}]",
                 RESOURCE "Too many groups (> 8). @[]"},
                {Q("[37,[[38,[[144,[[173,[600]]," F(1, "[28,[" V(1) ",2]]") "]]," F(1, "1") "]]," G(
                         "1,2", "[24,[" V(1) "," V(2) "]]") "]]"),
                 GROUPED("[0,300],[1,300]")},
                {Q("[144,[" T ",\"g\"],{\"index\":\"nope\"}]"),
                 "FAIL OP_FAILED Index `nope` was not found on table `test.t`. @[]"},
                {Q("[43,[[144,[" T "],{\"index\":\"id\"}]]]"), GROUPED("[1,1],[2,1],[3,1],[4,1]")},
        };
        CHECK(cases);
}

static void test_joins(void **state)
{
        static const Case cases[] = {
                {Q("[72,[[48,[" A("{\"a\":1},{\"a\":2}") "," A("{\"b\":2},{\"b\":1},{\"b\":2}") "," G(
                         "1,2", "[17,[" GET(V(1), "a") "," GET(V(2), "b") "]]") "]]]]"),
                 "ATOM [{\"a\":1,\"b\":1},{\"a\":2,\"b\":2},{\"a\":2,\"b\":2}]"},
                {Q("[49,[" A("{\"a\":1},{\"a\":3}") "," A("{\"b\":1}") "," G(
                         "1,2", "[17,[" GET(V(1), "a") "," GET(V(2), "b") "]]") "]]"),
                 "ATOM [{\"left\":{\"a\":1},\"right\":{\"b\":1}},{\"left\":{\"a\":3}}]"},
                {Q("[43,[[48,[" T "," U "," G("1,2", "true") "]]]]"), "ATOM 12"},
                {Q("[43,[[48,[" T ",[39,[" U "," F(3, "[17,[" GET(V(3), "id") ",2]]") "]]," G("1,2", "true") "]]]]"),
                 "ATOM 4"},
                {Q("[72,[[50,[" U ",\"t\"," T "]]]]"),
                 "SEQ {\"g\":1,\"id\":2,\"t\":2,\"v\":20},{\"g\":1,\"id\":4,\"t\":4}"},
                {Q("[43,[[50,[" U "," F(1, "null") "," T "]]]]"), "ATOM 0"},
                /* The right side is looked at before the predicate, and this only when there are rows. */
                {Q("[48,[" A("1,2") "," F(1, "true") "," T "]]"),
                 LOGIC "Expected type SEQUENCE but found FUNCTION:\nVALUE FUNCTION @[1]"},
                {Q("[48,[" A("1,2") "," A("3") "," T "]]"),
                 LOGIC "Expected type FUNCTION but found TABLE:\ntable(\"t\") @[2]"},
                {Q("[48,[" A("1,2") ",[2,[]]," T "]]"), "ATOM []"},
                {Q("[43,[[48,[" A("1,2") "," A("3,4") ",true]]]]"), "ATOM 4"},
                {Q("[50,[" A("1") ",\"id\"," T "]]"),
                 LOGIC "Cannot perform get_field on a non-object non-sequence `1`. @[1]"},
                {Q("[50,[" U ",\"t\"," A("1") "]]"), LOGIC "Expected type TABLE but found DATUM:\n[\n\t1\n] @[2]"},
                {Q("[50,[" U ",\"t\"," T "],{\"index\":\"x\"}]"),
                 "FAIL OP_FAILED Index `x` was not found on table `test.t`. @[]"},
                {Q("[72,[" A("1") "]]"), LOGIC "Expected type OBJECT but found NUMBER. @[]"},
                {Q("[72,[" A("{\"left\":1,\"right\":{\"b\":2}},{\"left\":{\"a\":1},\"right\":null},{\"left\":3}") "]]"),
                 "ATOM [{\"b\":2},null,3]"},
                {Q("[72,[" A("{\"a\":1}") "]]"), LOGIC "ZIP can only be called on the result of a join. @[]"},
                {Q("[43,[[48,[[48,[" T "," U "," G("1,2", "true") "]]," U "," G("1,2", "true") "]]]]"), "ATOM 36"},
                {Q("[43,[[44,[[48,[" T "," U "," G("1,2", "true") "]]," T ",[48,[" T "," U
                                                                  "," G("1,2", "true") "]]]]]]"),
                 "ATOM 28"},
        };
        CHECK(cases);
}

static void test_control(void **state)
{
        static const Case cases[] = {
                {Q("[65,[false,1,null,2,3]]"), "ATOM 3"},
                {Q("[65,[false,[12,[\"x\"]],0,2,3]]"), "ATOM 2"},
                {Q("[65,[true,1,true,2]]"), LOGIC "Cannot call `branch` term with an even number of arguments. @[]"},
                {Q("[92,[null,1]]"), "ATOM 1"},
                {Q("[92,[[170,[{},\"a\"]],1]]"), "ATOM 1"},
                {Q("[92,[[12,[\"a\"]],1]]"), "FAIL USER a @[0]"},
                {Q("[92,[[170,[{},\"a\"]],[12,[]]]]"), MISSING "No attribute `a` in object:\n{} @[0]"},
                {Q("[92,[null,[12,[]]]]"), "ATOM null"},
                {Q("[92,[[170,[{},\"a\"]]," F(1, "[43,[" V(1) "]]") "]]"), "ATOM 30"},
                {Q("[12,[]]"), LOGIC "Empty ERROR term outside a default block. @[]"},
                {Q("[64,[" G("1,2", "[25,[" V(1) "," V(2) "]]") ",5,3]]"), "ATOM 2"},
                {Q("[64,[" G("1,2", "1") ",5]]"),
                 LOGIC "Expected function with 1 argument but found function with 2 arguments. @[0,1]"},
                {Q("[64,[" G("", "7") ",5,6]]"), "ATOM 7"},
                {Q("[64,[7]]"), "ATOM 7"},
                {Q("[64,[" F(1, "[38,[" T "," F(2, "[24,[" V(1) "," GET(V(2), "id") "]]") "]]") ",100]]"),
                 "SEQ 101,102,103,104"},
                {Q("[24,[[154,[" A("1,2,3") "]],4]]"), "ATOM 10"},
                {Q("[103,[[154,[" A("1") "]]]]"), LOGIC "Expected 0 arguments but found 1. @[]"},
                {Q("[24,[[154,[5]]]]"), LOGIC "Expected type ARRAY but found NUMBER. @[0]"},
                {Q("[152,[" T "]]"), LOGIC "Changefeeds are not available here. @[]"},
                {Q("[38,[" A("1") "," F(1, "[56,[" T ",{}]]") "]]"),
                 COMPILE "Cannot nest writes or meta ops in stream operations.  Use FOR_EACH instead. @[1,1]"},
                {Q("[2,[" T "]]"), LOGIC "Expected type DATUM but found TABLE:\ntable(\"t\") @[0]"},
                {"[1,[2,[1,2,3]],{\"array_limit\":2}]",
                 RESOURCE "Array over size limit `2`.  To raise the number of allowed elements, modify the "
                          "`array_limit` option to `.run` "
                          "(not available in the Data Explorer), or use an index. @[]"},
                {"[1,1,{\"array_limit\":0}]", LOGIC "Illegal array size limit `0`.  (Must be >= 1.) @[]"},
                {"[1,1,{\"max_batch_seconds\":-1}]", LOGIC "max_batch_seconds must be positive (got `-1`). @[]"},
        };
        CHECK(cases);
}

/* A selection is a stream even where its rows are an array already, and slices of tables say what they are bound to. */
static void test_selections(void **state)
{
        static const Case cases[] = {
                {Q("[45,[[41,[" T ",\"id\"]],-2]]"), LOGIC "Cannot use an index < -1 (-2) on a stream. @[]"},
                {Q("[170,[[45,[[41,[" T ",\"id\"]],-1]],\"id\"]]"), "ATOM 4"},
                {Q("[30,[[41,[" T ",\"id\"]],-2,-1]]"), LOGIC "Cannot use a negative left index on a stream. @[]"},
                {Q("[52,[[30,[[41,[" T ",\"id\"]],1,3]]]]"), "ATOM \"SELECTION<ARRAY>\""},
                {Q("[52,[[45,[[41,[" T ",\"id\"]],1]]]]"), "ATOM \"SELECTION<OBJECT>\""},
                {Q("[30,[null,1,2]]"), LOGIC "Expected ARRAY, BINARY, or STRING, but found NULL. @[0]"},
                {Q("[41,[" A("1") ",[154,[" A("\"x\"") "]]]]"),
                 LOGIC "r.args is not supported in an order_by or union command yet. @[]"},
                {Q("[41,[[182,[" T ",1,4]]],{\"index\":\"v\"}]"),
                 LOGIC "Cannot order by index `v` after calling BETWEEN on index `id`. @[0,0]"},
                {Q("[182,[[41,[" T "],{\"index\":\"id\"}],1,4],{\"index\":\"v\"}]"),
                 LOGIC "Cannot call BETWEEN on index `v` after ordering on index `id`. @[0,0]"},
                {Q("[182,[[182,[" T ",1,4]],1,4],{\"index\":\"v\"}]"),
                 LOGIC "Cannot perform multiple BETWEENs on the same table. @[0,0]"},
                {Q("[43,[[182,[[182,[" T
                   ",[180,[]],[181,[]]],{\"left_bound\":\"open\",\"right_bound\":\"open\"}],2,4]]]]"),
                 "ATOM 2"},
                /* A key fails in the middle of a merge: nothing is compared, and no key computed, any more. */
                {Q("[41,[" A("{\"k\":1},{\"k\":2},{\"k\":0},{\"k\":1},{\"k\":2}") ",\"k\"," F(1, "[12,[\"x\"]]") "]]"),
                 "FAIL USER x @[2,1]"},
                {Q("[43,[[81,[" T ",1000000]]]]"), "ATOM 4"},
                {Q("[49,[" A("1") ",[173,[]],true]]"),
                 LOGIC "Cannot use an infinite stream with an aggregation function (`reduce`, `count`, etc.) or "
                       "coerce it to an array. @[1]"},
                {"[1,[43,[[49,[[173,[2]],[173,[5]],true]]]],{\"array_limit\":4}]",
                 RESOURCE "Array over size limit `4`.  To raise the number of allowed elements, modify the "
                          "`array_limit` option to `.run` (not available in the Data Explorer), or use an index. "
                          "@[0]"},
                {"[1,[43,[[48,[[173,[2]],[173,[5]],true]]]],{\"array_limit\":4}]", "ATOM 10"},
        };
        CHECK(cases);
}

static void test_batches(void **state)
{
        static const Case cases[] = {
                {"[1,[173,[20]],{\"max_batch_rows\":10}]", "SEQ 0,1 | 2,3,4,5,6,7,8,9,10,11 | 12,13,14,15,16,17,18,19"},
                {"[1,[173,[7]],{\"max_batch_rows\":3}]", "SEQ 0 | 1,2,3 | 4,5,6"},
                {"[1,[71,[[173,[]],4]],{\"max_batch_rows\":3}]", "SEQ 0 | 1,2,3"},
                {"[1,[38,[[173,[4]]," F(1, "[26,[" V(1) ",2]]") "]],{\"max_batch_rows\":3}]", "SEQ 0 | 2,4,6"},
                {"[1,[39,[[173,[9]]," F(1, "[21,[" V(1) ",5]]") "]],{\"max_batch_rows\":3}]", "SEQ 6 | 7,8"},
                {"[1,[173,[0]],{\"max_batch_rows\":3}]", "SEQ "},
                {"[1,[173,[4]],{\"max_batch_rows\":8,\"first_batch_scaledown_factor\":2}]", "SEQ 0,1,2,3"},
                {"[1,[70,[" T ",2]],{\"max_batch_rows\":3}]", "SEQ {\"id\":3,\"v\":30},{\"g\":1,\"id\":4}"},
                {"[1,[173,[4]],{\"max_batch_rows\":0}]", LOGIC "`max_batch_rows` must be at least 1 (got `0`). @[]"},
        };
        CHECK(cases);
}

/* --- the machinery --- */

static void test_reuse(void **state)
{
        Query *query;
        assert_null(query_new(&world, "admin", &query));
        size_t memory = 0;
        for (int i = 0; i < 100; i++) {
                static const char text[] = Q("[16,[" T ",2]]");
                uint8_t *buffer;
                Buf rows;
                QueryAnswer answer;
                buf_init(&rows, 1 << 20);
                assert_null(query_text_buffer(query, sizeof text - 1, &buffer));
                memcpy(buffer, text, sizeof text - 1);
                assert_null(query_prepare(query, BYTES(buffer, sizeof text - 1)));
                assert_int_equal(query_cost(query), QUERY_QUICK);
                assert_null(query_next(query, &rows, &answer));
                assert_int_equal(answer, ANSWER_ATOM);
                Status over = query_next(query, &rows, &answer);
                assert_int_equal(status_code(over), ERR_CLOSED);
                status_ignore(over);
                query_reset(query);
                buf_done(&rows);
                if (i == 0)
                        memory = query_memory_bytes(query);
                assert_int_equal(query_memory_bytes(query), memory); /* a steady state */
        }
        query_free(query);
        assert_true(fake_all_closed());
}

static void test_cancel(void **state)
{
        Query *query;
        static const char text[] = Q("[173,[]]");
        uint8_t *buffer;
        Buf rows;
        QueryAnswer answer;
        buf_init(&rows, 1 << 20);
        assert_null(query_new(&world, "admin", &query));
        assert_null(query_text_buffer(query, sizeof text - 1, &buffer));
        memcpy(buffer, text, sizeof text - 1);
        assert_null(query_prepare(query, BYTES(buffer, sizeof text - 1)));
        assert_null(query_next(query, &rows, &answer));
        assert_int_equal(answer, ANSWER_PARTIAL);
        query_cancel(query);
        Status st = query_next(query, &rows, &answer);
        assert_int_equal(status_code(st), ERR_CANCELLED);
        status_ignore(st);
        query_free(query);
        buf_done(&rows);
}

static void test_budget(void **state)
{
        static const char *const greedy[] = {
                Q("[43,[[51,[[173,[10000000]],\"array\"]]]]"),
                Q("[43,[[38,[[173,[3000000]]," F(1, "[38,[[173,[3000000]]," F(2, A(V(1) "," V(2))) "]]") "]]]]"),
                Q("[37,[[38,[[173,[100000]]," F(1, A(V(1))) "]]," G("1,2", "[24,[" V(1) "," V(1) "]]") "]]"),
        };
        const QueryWorld small = {.source = &fake_source, .host = &fake_host, .memory_max_bytes = 1 << 20};
        for (size_t i = 0; i < ELEMENTS(greedy); i++) {
                Buf out;
                run(&small, greedy[i], &out);
                assert_memory_equal(out.data, "FAIL", 4);
                buf_done(&out);
        }
}

/* For every n, the nth allocation fails: an answer or an error comes out, and everything is closed. */
static void test_no_memory(void **state)
{
        static const char *const queries[] = {
                Q("[16,[" T ",2]]"),
                Q("[43,[[48,[" T "," U "," G("1,2", "true") "]]]]"),
                Q("[40,[" T "," F(1, "[38,[" U "," F(2, "[35,[" V(1) "," V(2) "]]") "]]") "]]"),
                Q("[145,[[144,[" T ",\"g\"]],\"v\"]]"),
                Q("[41,[" T ",\"v\"]]"),
                Q("[92,[[38,[" T "," F(1, GET(V(1), "g")) "]],1]]"),
                Q("[12,[\"x\"]]"),
        };
        for (size_t i = 0; i < ELEMENTS(queries); i++) {
                for (long n = 1, fired = 1; fired; n++) {
                        Query *query;
                        uint8_t *buffer;
                        Buf rows;
                        QueryAnswer answer = ANSWER_PARTIAL;
                        buf_init(&rows, 1 << 20);
                        assert_null(query_new(&world, "admin", &query));
                        mem_fail_nth(n);
                        Status st = query_text_buffer(query, strlen(queries[i]), &buffer);
                        if (!st) {
                                memcpy(buffer, queries[i], strlen(queries[i]));
                                st = query_prepare(query, BYTES(buffer, strlen(queries[i])));
                        }
                        while (!st && answer == ANSWER_PARTIAL)
                                st = query_next(query, &rows, &answer);
                        fired = mem_fail_fired();
                        mem_fail_nth(0);
                        status_ignore(st);
                        query_free(query);
                        buf_done(&rows);
                        assert_true(fake_all_closed());
                }
        }
}

static void test_cost(void **state)
{
        static const struct {
                const char *query;
                QueryCost cost;
        } cases[] = {
                {Q("[16,[" T ",2]]"), QUERY_QUICK},
                {Q("[56,[" T ",{\"a\":1}]]"), QUERY_QUICK},
                {Q("[53,[[16,[" T ",1]],{\"a\":1}]]"), QUERY_QUICK},
                {Q("[54,[[16,[" T ",1]]]]"), QUERY_QUICK},
                {Q("[43,[" T "]]"), QUERY_QUICK},
                {Q("[24,[1,2]]"), QUERY_QUICK},
                {Q("[159,[1,2]]"), QUERY_QUICK},
                {Q("[165,[[159,[1,2]],3]]"), QUERY_LONG},
                {Q(T), QUERY_LONG},
                {Q("[39,[" T ",{}]]"), QUERY_LONG},
                {Q("[54,[" T "]]"), QUERY_LONG},
                {Q("[38,[[173,[]]," F(1, "1") "]]"), QUERY_LONG},
                {Q("[60,[\"x\"]]"), QUERY_LONG},
                /* pages */
                {Q("[182,[" T ",1,[24,[1,100]]]]"), QUERY_QUICK},
                {Q("[33,[[182,[" T ",1,2]],\"a\"]]"), QUERY_QUICK},
                {Q("[71,[[182,[" T ",1,2]],100000]]"), QUERY_QUICK},
                {Q("[71,[[182,[" T ",1,2],{\"index\":\"n\"}],20]]"), QUERY_QUICK},
                {Q("[71,[[41,[" T "],{\"index\":\"n\"}],10]]"), QUERY_QUICK},
                {Q("[71,[[41,[[182,[" T ",1,2],{\"index\":\"n\"}]],{\"index\":[74,[\"n\"]]}],10]]"), QUERY_QUICK},
                {Q("[71,[[78,[" T ",1,2],{\"index\":\"n\"}],10]]"), QUERY_QUICK},
                {Q("[43,[[78,[" T ",1,2],{\"index\":\"n\"}]]]"), QUERY_QUICK},
                {Q("[43,[[182,[" T ",1,2]]]]"), QUERY_QUICK},
                {Q("[182,[" T ",1,2],{\"index\":\"n\"}]"), QUERY_LONG},
                {Q("[78,[" T ",1,2],{\"index\":\"n\"}]"), QUERY_LONG},
                {Q("[71,[[41,[" T "],{\"index\":\"n\"}],100]]"), QUERY_LONG},
                {Q("[71,[[41,[" T ",\"a\"],{\"index\":\"n\"}],10]]"), QUERY_LONG},
                {Q("[71,[[41,[" T ",\"a\"]],10]]"), QUERY_LONG},
                {Q("[71,[[39,[[182,[" T ",1,2]],{}]],10]]"), QUERY_LONG},
                {Q("[182,[" T ",1,[16,[" T ",2]]]]"), QUERY_LONG},
                {Q("[182,[[15,[[14,[\"rethinkdb\"]],\"jobs\"]],1,2]]"), QUERY_LONG},
                {Q("[145,[[182,[" T ",1,2]]]]"), QUERY_LONG},
                {Q("[68,[" A("1") "," F(1, "[56,[" T ",{}]]") "]]"), QUERY_LONG},
        };
        for (size_t i = 0; i < ELEMENTS(cases); i++) {
                Query *query;
                uint8_t *buffer;
                size_t size = strlen(cases[i].query);
                assert_null(query_new(&world, "admin", &query));
                assert_null(query_text_buffer(query, size, &buffer));
                memcpy(buffer, cases[i].query, size);
                assert_null(query_prepare(query, BYTES(buffer, size)));
                if (query_cost(query) != cases[i].cost)
                        fail_msg("cost of %s", cases[i].query);
                query_free(query);
        }
}

/* As deep as the parser lets a query be, and deeper. */
static void test_depth(void **state)
{
        for (size_t depth = 10; depth < 200000; depth *= 7) {
                Buf text, out;
                buf_init(&text, 64 << 20);
                assert_null(buf_append_str(&text, "[1,"));
                for (size_t i = 0; i < depth; i++)
                        assert_null(buf_append_str(&text, "[24,[1,"));
                assert_null(buf_append_str(&text, "1"));
                for (size_t i = 0; i < depth; i++)
                        assert_null(buf_append_str(&text, "]]"));
                assert_null(buf_append(&text, ",{}]", 5));
                run(&world, (char *)text.data, &out);
                if (depth < 200)
                        assert_memory_equal(out.data, "ATOM ", 5);
                else if (depth > 1000)
                        assert_string_equal(
                                (char *)out.data,
                                "FAIL CLIENT Server could not parse query: Nesting is deeper than 500 levels. @[]");
                buf_done(&text);
                buf_done(&out);
        }
        /* Values that grow deeper than values may be. */
        Buf out;
        run(&world, Q("[37,[[173,[600]]," G("1,2", A(V(1))) "]]"), &out);
        assert_string_equal((char *)out.data, RESOURCE "Nesting is deeper than 500 levels. @[1,1]");
        buf_done(&out);
}

static int setup(void **state)
{
        arena_init(&fake.arena, 0);
        fake_add("t",
                 "[{\"id\":1,\"g\":0,\"v\":10},{\"id\":2,\"g\":1,\"v\":20},{\"id\":3,\"v\":30},{\"id\":4,\"g\":1}]");
        fake_add("u", "[{\"id\":1,\"t\":2},{\"id\":2,\"t\":4},{\"id\":3}]");
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
                cmocka_unit_test(test_tables),     cmocka_unit_test(test_sequences), cmocka_unit_test(test_aggregates),
                cmocka_unit_test(test_groups),     cmocka_unit_test(test_joins),     cmocka_unit_test(test_control),
                cmocka_unit_test(test_selections), cmocka_unit_test(test_batches),   cmocka_unit_test(test_reuse),
                cmocka_unit_test(test_cancel),     cmocka_unit_test(test_budget),    cmocka_unit_test(test_no_memory),
                cmocka_unit_test(test_cost),       cmocka_unit_test(test_depth),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
