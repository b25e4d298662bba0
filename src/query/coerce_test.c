/* coerce_test.c - coerce_to, type_of, binary. */
#include "query/scalar_test.h"

static void test_coerce(void **state)
{
        static const Case cases[] = {
                LOGIC("[51,[{\"$reql_type$\":\"BINARY\",\"data\":\"/w==\"},\"string\"]]",
                      "Cannot coerce BINARY to STRING: the data is not UTF-8.", "[]"),
                GIVES("[51,[{\"$reql_type$\":\"BINARY\",\"data\":\"w6k=\"},\"string\"]]", "\"é\""),
                GIVES("[51,[[2,[1,2]],\"string\"]]", "\"[1,2]\""),
                GIVES("[51,[{\"a\":1},\"String\"]]", "\"{\\\"a\\\":1}\""),
                GIVES("[51,[1,\"string\"]]", "\"1\""),
                GIVES("[51,[\"x\",\"string\"]]", "\"x\""),
                GIVES("[51,[null,\"string\"]]", "\"null\""),
                LOGIC("[51,[[180,[]],\"string\"]]", "Cannot convert `r.minval` to JSON.", "[]"),
                GIVES("[51,[\"12.5\",\"number\"]]", "12.5"),
                GIVES("[51,[\" 12\",\"number\"]]", "12"),
                GIVES("[51,[\"1e2\",\"number\"]]", "100"),
                GIVES("[51,[\"0x10\",\"number\"]]", "16"),
                LOGIC("[51,[\"12 \",\"number\"]]", "Could not coerce `12 ` to NUMBER.", "[]"),
                LOGIC("[51,[\"\",\"number\"]]", "Could not coerce `` to NUMBER.", "[]"),
                LOGIC("[51,[\"1x\",\"number\"]]", "Could not coerce `1x` to NUMBER.", "[]"),
                LOGIC("[51,[\"inf\",\"number\"]]", "Non-finite number: inf", "[]"),
                GIVES("[51,[null,\"bool\"]]", "false"),
                GIVES("[51,[false,\"bool\"]]", "false"),
                GIVES("[51,[\"false\",\"bool\"]]", "true"),
                GIVES("[51,[{},\"bool\"]]", "true"),
                GIVES("[51,[{\"b\":1,\"a\":[2,[]]},\"array\"]]", "[[\"a\",[]],[\"b\",1]]"),
                GIVES("[51,[[101,[1]],\"array\"]]",
                      "[[\"$reql_type$\",\"TIME\"],[\"epoch_time\",1],[\"timezone\",\"+00:00\"]]"),
                GIVES("[51,[[101,[1]],\"object\"]]",
                      "{\"$reql_type$\":\"TIME\",\"epoch_time\":1,\"timezone\":\"+00:00\"}"),
                GIVES("[51,[[2,[[2,[\"b\",1]],[2,[\"a\",2]]]],\"object\"]]", "{\"a\":2,\"b\":1}"),
                LOGIC("[51,[[2,[[2,[]]]],\"object\"]]", "Expected array of size 2, but got size 0.", "[]"),
                LOGIC("[51,[[2,[1]],\"object\"]]", "Expected type ARRAY but found NUMBER.", "[]"),
                LOGIC("[51,[[2,[[2,[1,2]]]],\"object\"]]", "Expected type STRING but found NUMBER.", "[]"),
                LOGIC("[51,[[2,[[2,[\"a\",1]],[2,[\"b\",1]],[2,[\"a\",2]]]],\"object\"]]",
                      "Duplicate key \"a\" in coerced object.  (got 1 and 2 as values)", "[]"),
                GIVES("[43,[[94,[[51,[[38,[[173,[5000]],[69,[[2,[1]],[2,[[51,[[10,[1]],\"string\"]],1]]]]]],\"object\"]"
                      "]]]]]",
                      "5000"),
                GIVES("[51,[[173,[3]],\"array\"]]", "[0,1,2]"),
                GIVES("[51,[[173,[3]],\"stream\"]]", "0,1,2"),
                GIVES("[51,[[2,[1]],\"datum\"]]", "[1]"),
                GIVES("[51,[1,\"stream\"]]", "1"),
                LOGIC("[51,[[2,[1,2]],\"number\"]]", "Cannot coerce ARRAY to NUMBER.", "[0]"),
                LOGIC("[51,[1,\"array\"]]", "Cannot coerce NUMBER to ARRAY.", "[0]"),
                MISSING("[51,[null,\"number\"]]", "Cannot coerce NULL to NUMBER.", "[0]"),
                LOGIC("[51,[1,\"table\"]]", "Cannot coerce NUMBER to TABLE.", "[0]"),
                LOGIC("[51,[[173,[3]],\"string\"]]", "Cannot coerce STREAM to STRING.", "[0]"),
                LOGIC("[51,[[14,[\"x\"]],\"array\"]]", "Cannot coerce DB to ARRAY.", "[0]"),
                LOGIC("[51,[[173,[]],\"array\"]]",
                      "Cannot use an infinite stream with an aggregation function (`reduce`, `count`, etc.) or coerce "
                      "it to an array.",
                      "[0]"),
                LOGIC("[51,[1,\"no\"]]", "Unknown Type: NO", "[]"),
                LOGIC("[51,[1,2]]", "Expected type STRING but found NUMBER.", "[1]"),
        };
        CHECK(cases);
}

static void test_binary(void **state)
{
        static const Case cases[] = {
                GIVES("[155,[\"data\"]]", "{\"$reql_type$\":\"BINARY\",\"data\":\"ZGF0YQ==\"}"),
                GIVES("[155,[[155,[\"data\"]]]]", "{\"$reql_type$\":\"BINARY\",\"data\":\"ZGF0YQ==\"}"),
                LOGIC("[155,[{}]]", "Expected type STRING but found OBJECT.", "[]"),
                GIVES("[51,[{\"$reql_type$\":\"BINARY\",\"data\":\"Zm9v\"},\"string\"]]", "\"foo\""),
                GIVES("[51,[\"foo\",\"binary\"]]", "{\"$reql_type$\":\"BINARY\",\"data\":\"Zm9v\"}"),
                LOGIC("[51,[[155,[\"x\"]],\"array\"]]", "Cannot coerce BINARY to ARRAY.", "[0]"),
                LOGIC("[51,[[155,[\"x\"]],\"null\"]]", "Cannot coerce BINARY to NULL.", "[0]"),
        };
        CHECK(cases);
}

static void test_type_of(void **state)
{
        static const Case cases[] = {
                GIVES("[52,[null]]", "\"NULL\""),
                GIVES("[52,[1]]", "\"NUMBER\""),
                GIVES("[52,[[2,[]]]]", "\"ARRAY\""),
                GIVES("[52,[{}]]", "\"OBJECT\""),
                GIVES("[52,[[101,[1]]]]", "\"PTYPE<TIME>\""),
                GIVES("[52,[[155,[\"x\"]]]]", "\"PTYPE<BINARY>\""),
                GIVES("[52,[[180,[]]]]", "\"MINVAL\""),
                GIVES("[52,[[181,[]]]]", "\"MAXVAL\""),
                GIVES("[52,[[173,[1]]]]", "\"STREAM\""),
                GIVES("[52,[[14,[\"x\"]]]]", "\"DB\""),
                GIVES("[52,[[69,[[2,[1]],[10,[1]]]]]]", "\"FUNCTION\""),
                GIVES("[52,[[33,[[2,[{}]],\"a\"]]]]", "\"ARRAY\""),
        };
        CHECK(cases);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_coerce),
                cmocka_unit_test(test_binary),
                cmocka_unit_test(test_type_of),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
