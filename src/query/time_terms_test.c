/* time_terms_test.c - making times and taking them apart. */
#include "query/scalar_test.h"

#define T "[101,[1375147296.6812]]"

static void test_making(void **state)
{
        static const Case cases[] = {
                GIVES("[101,[896571240]]",
                      "{\"$reql_type$\":\"TIME\",\"epoch_time\":896571240,\"timezone\":\"+00:00\"}"),
                GIVES("[102,[[101,[1.4444445]]]]", "1.444"),
                GIVES("[102,[[103,[]]]]", "1375147296.681"),
                GIVES("[25,[[103,[]],[103,[]]]]", "0"),
                GIVES("[102,[[136,[2013,[120,[]],29,23,30,0.1,\"-07:00\"]]]]", "1375165800.1"),
                GIVES("[102,[[136,[2013,7,29,\"-07:00\"]]]]", "1375081200"),
                GIVES("[127,[[136,[2013,7,29,\"-07:00\"]]]]", "\"-07:00\""),
                LOGIC("[136,[2013,7,29,23,30,0.1]]", "Got 6 arguments to TIME (expected 4 or 7).", "[]"),
                LOGIC("[136,[2013,7,29,23,30]]", "Got 5 arguments to TIME (expected 4 or 7).", "[]"),
                LOGIC("[136,[2013,7,29,23]]", "Expected type STRING but found NUMBER.", "[3]"),
                LOGIC("[136,[2013,7.5,29,\"Z\"]]", "Number not an integer: 7.5", "[1]"),
                LOGIC("[136,[20130000000,7,29,\"Z\"]]", "Integer too large: 20130000000", "[0]"),
                FAILS("[136,[2013,7,29]]", ERR_COMPILE, "Expected between 4 and 7 arguments but found 3.", "[]"),
                GIVES("[102,[[99,[\"2013-07-30T20:56:05-07:00\"]]]]", "1375242965"),
                GIVES("[100,[[99,[\"2013-07-30T20:56:05\"],{\"default_timezone\":\"-07\"}]]]",
                      "\"2013-07-30T20:56:05-07:00\""),
                LOGIC("[100,[[99,[\"2013-07-30T20:56:05\"]]]]",
                      "ISO 8601 string has no time zone, and no default time zone was provided.", "[0,0]"),
                LOGIC("[99,[1]]", "Expected type STRING but found NUMBER.", "[0]"),
                LOGIC("[99,[\"2013-07-30T20:56:05\"],{\"default_timezone\":1}]",
                      "Expected type STRING but found NUMBER.", "[\"default_timezone\"]"),
                LOGIC("[101,[1e306]]", "Non-finite number: inf", "[]"),
                LOGIC("[101,[\"a\"]]", "Expected type NUMBER but found STRING.", "[0]"),
        };
        CHECK(cases);
}

static void test_parts(void **state)
{
        static const Case cases[] = {
                GIVES("[2,[[128,[" T "]],[129,[" T "]],[130,[" T "]],[131,[" T "]],[132,[" T "]],[133,[" T "]],[134,[" T
                      "]],[135,[" T "]]]]",
                      "[2013,7,30,2,211,1,21,36.681]"),
                GIVES("[102,[[106,[" T "]]]]", "1375142400"),
                GIVES("[126,[" T "]]", "4896.681"),
                GIVES("[126,[[106,[" T "]]]]", "0"),
                GIVES("[127,[[104,[" T ",\"-07\"]]]]", "\"-07:00\""),
                GIVES("[133,[[104,[" T ",\"+02:00\"]]]]", "3"),
                GIVES("[100,[[104,[[101,[1375242965]],\"-07:00\"]]]]", "\"2013-07-30T20:56:05-07:00\""),
                GIVES("[100,[[101,[1.4444445]]]]", "\"1970-01-01T00:00:01.444+00:00\""),
                GIVES("[2,[[107,[]],[108,[]],[109,[]],[110,[]],[111,[]],[112,[]],[113,[]]]]", "[1,2,3,4,5,6,7]"),
                GIVES("[2,[[114,[]],[115,[]],[116,[]],[117,[]],[118,[]],[119,[]],[120,[]],[121,[]],[122,[]],[123,[]],["
                      "124,[]],[125,[]]]]",
                      "[1,2,3,4,5,6,7,8,9,10,11,12]"),
                LOGIC("[128,[1]]", "Not a TIME pseudotype: `1`.", "[0]"),
                LOGIC("[102,[\"x\"]]", "Not a TIME pseudotype: `\"x\"`.", "[0]"),
                LOGIC("[102,[null]]", "Not a TIME pseudotype: `null`.", "[0]"),
                LOGIC("[104,[" T ",1]]", "Expected type STRING but found NUMBER.", "[]"),
                LOGIC("[104,[" T ",\"07:00\"]]", "Timezone `07:00` does not start with `-` or `+`.", "[]"),
        };
        CHECK(cases);
}

static void test_during(void **state)
{
        static const Case cases[] = {
                GIVES("[105,[" T "," T ",[24,[" T ",1000]]]]", "true"),
                GIVES("[105,[" T "," T ",[24,[" T ",1000]]],{\"left_bound\":\"open\"}]", "false"),
                GIVES("[105,[" T "," T "," T "]]", "false"),
                GIVES("[105,[" T "," T "," T "],{\"right_bound\":\"closed\"}]", "true"),
                GIVES("[105,[" T ",[24,[" T ",-1]],[24,[" T ",1]]],{\"left_bound\":\"open\",\"right_bound\":\"open\"}]",
                      "true"),
                GIVES("[105,[" T ",[24,[" T ",1]],[24,[" T ",2]]]]", "false"),
                GIVES("[105,[" T ",[24,[" T ",-2]],[24,[" T ",-1]]]]", "false"),
                LOGIC("[105,[" T "," T "," T "],{\"left_bound\":\"x\"}]",
                      "Expected `open` or `closed` for optarg `left_bound` (got `\"x\"`).", "[]"),
                LOGIC("[105,[" T ",1," T "]]", "Not a TIME pseudotype: `1`.", "[1]"),
        };
        CHECK(cases);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_making),
                cmocka_unit_test(test_parts),
                cmocka_unit_test(test_during),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
