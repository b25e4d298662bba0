/* string_test.c - match, split, case, JSON, UUIDs. */
#include "query/scalar_test.h"

static void test_match(void **state)
{
        static const Case cases[] = {
                GIVES("[97,[\"abcdefg\",\"a(b.e)|b(c.e)\"]]", "{\"end\":5,\"groups\":[null,{\"end\":5,\"start\":2,"
                                                              "\"str\":\"cde\"}],\"start\":1,\"str\":\"bcde\"}"),
                GIVES("[97,[\"abcdefg\",\"a(b.e)|B(c.e)\"]]", "null"),
                GIVES("[97,[\"\",\"^$\"]]", "{\"end\":0,\"groups\":[],\"start\":0,\"str\":\"\"}"),
                GIVES("[97,[\"aébc\",\"b\"]]", "{\"end\":4,\"groups\":[],\"start\":3,\"str\":\"b\"}"),
                GIVES("[39,[[2,[\"aba\",\"aca\",\"ada\"]],[69,[[2,[1]],[97,[[10,[1]],\"a[cd]a\"]]]]]]",
                      "[\"aca\",\"ada\"]"),
                LOGIC("[97,[\"\",\"ab\\\\9\"]]",
                      "Error in regexp `ab\\9` (portion `\\9`): invalid escape sequence: \\9", "[]"),
                LOGIC("[97,[\"\",\"a(b\"]]", "Error in regexp `a(b` (portion `a(b`): missing ): a(b", "[]"),
                LOGIC("[97,[\"é\",\"\\\\C\"]]", "The match of `\\C` is a part of a character only.", "[]"),
                LOGIC("[97,[1,\"a\"]]", "Expected type STRING but found NUMBER.", "[0]"),
                LOGIC("[97,[\"a\",1]]", "Expected type STRING but found NUMBER.", "[1]"),
        };
        CHECK(cases);
}

static void test_match_groups(void **state)
{
        Buf query, answer, place;
        buf_init(&query, 1 << 20);
        assert_null(buf_append_str(&query, "[43,[[31,[[97,[\"a\",\""));
        for (int i = 0; i < 500; i++)
                assert_null(buf_append_str(&query, "(x)?"));
        assert_null(buf_append_str(&query, "(a)\"]],\"groups\"]]]]"));
        assert_null(buf_append_byte(&query, 0));
        assert_int_equal(run_query((char *)query.data, "", &answer, &place), ERR_NONE);
        assert_string_equal((char *)answer.data, "501");
        buf_done(&answer);
        buf_done(&place);
        assert_int_equal(run_query((char *)query.data, "\"array_limit\":500", &answer, &place), ERR_RESOURCE);
        buf_done(&query);
        buf_done(&answer);
        buf_done(&place);
}

/* More expressions than the cache holds, each used twice. */
static void test_match_many(void **state)
{
        Buf query, answer, place;
        buf_init(&query, 1 << 20);
        assert_null(buf_append_str(&query, "[67,["));
        for (int i = 0; i < 400; i++)
                assert_null(buf_printf(&query, "%s[97,[\"x%dy\",\"x(%d)y\"]]", i ? "," : "", i % 200, i % 200));
        assert_null(buf_append(&query, "]]", 3));
        assert_int_equal(run_query((char *)query.data, "", &answer, &place), ERR_NONE);
        assert_string_equal(
                (char *)answer.data,
                "{\"end\":5,\"groups\":[{\"end\":4,\"start\":1,\"str\":\"199\"}],\"start\":0,\"str\":\"x199y\"}");
        buf_done(&query);
        buf_done(&answer);
        buf_done(&place);
}

/* An expression is compiled once, not for each row: less than 100 bytes a row may be left behind. */
static void test_match_rows(void **state)
{
        static const Case cases[] = {
                GIVES("[43,[[39,[[38,[[173,[20000]],[69,[[2,[1]],[51,[[10,[1]],\"string\"]]]]]],[69,[[2,[2]],[97,[[10,["
                      "2]],\"7$\"]]]]]]]]",
                      "2000"),
        };
        size_t usual = test_world.memory_max_bytes;
        test_world.memory_max_bytes = 2 << 20;
        CHECK(cases);
        test_world.memory_max_bytes = usual;
}

static void test_split(void **state)
{
        static const Case cases[] = {
                GIVES("[149,[\"\"]]", "[]"),
                GIVES("[149,[\"\",null]]", "[]"),
                GIVES("[149,[\"\",\" \"]]", "[\"\"]"),
                GIVES("[149,[\"\",\"\"]]", "[]"),
                GIVES("[149,[\"\",null,5]]", "[]"),
                GIVES("[149,[\"\",\" \",5]]", "[\"\"]"),
                GIVES("[149,[\"\",\"\",5]]", "[]"),
                GIVES("[149,[\"aaaa bbbb  cccc \"]]", "[\"aaaa\",\"bbbb\",\"cccc\"]"),
                GIVES("[149,[\"aaaa bbbb  cccc \",\" \"]]", "[\"aaaa\",\"bbbb\",\"\",\"cccc\",\"\"]"),
                GIVES("[149,[\"aaaa bbbb  cccc \",\"b\"]]", "[\"aaaa \",\"\",\"\",\"\",\"  cccc \"]"),
                GIVES("[149,[\"aaaa bbbb  cccc \",\"bb\"]]", "[\"aaaa \",\"\",\"  cccc \"]"),
                GIVES("[149,[\"aaaa bbbb  cccc \",\" bbbb  \"]]", "[\"aaaa\",\"cccc \"]"),
                GIVES("[149,[\"aaaa bbbb  cccc \",null,3]]", "[\"aaaa\",\"bbbb\",\"cccc\"]"),
                GIVES("[149,[\"aaaa bbbb  cccc \",null,2]]", "[\"aaaa\",\"bbbb\",\"cccc \"]"),
                GIVES("[149,[\"aaaa bbbb  cccc \",null,1]]", "[\"aaaa\",\"bbbb  cccc \"]"),
                GIVES("[149,[\"  a b \",null,0]]", "[\"a b \"]"),
                GIVES("[149,[\"aaaa bbbb\",\" \",0]]", "[\"aaaa bbbb\"]"),
                GIVES("[149,[\"aaaa bbbb\",\"b\",2]]", "[\"aaaa \",\"\",\"bb\"]"),
                GIVES("[149,[\"abc\",\"\"]]", "[\"a\",\"b\",\"c\"]"),
                GIVES("[149,[\"abc\",\"\",1]]", "[\"a\",\"bc\"]"),
                GIVES("[149,[\"abc\",\"\",3]]", "[\"a\",\"b\",\"c\"]"),
                /* Unicode: white space, combining marks stay with what they combine with */
                GIVES("[149,[\"a\u2003b\u00a0c\"]]", "[\"a\",\"b\",\"c\"]"),
                GIVES("[149,[\"e\u0301f\",\"\"]]", "[\"e\u0301\",\"f\"]"),
                GIVES("[149,[\"\u65e5\u672c\",\"\"]]", "[\"\u65e5\",\"\u672c\"]"),
                LOGIC("[149,[1]]", "Expected type STRING but found NUMBER.", "[0]"),
                LOGIC("[149,[\"a\",1]]", "Expected type STRING but found NUMBER.", "[]"),
                LOGIC("[149,[\"a\",\"b\",-2]]", "Error: `split` size argument must be in range [-1, 99999].", "[]"),
        };
        CHECK(cases);
}

static void test_case(void **state)
{
        static const Case cases[] = {
                GIVES("[141,[\"abc-La\u00e9z\"]]", "\"ABC-LA\u00e9Z\""),
                GIVES("[142,[\"ABC-La\u00c9[Z\"]]", "\"abc-la\u00c9[z\""),
                LOGIC("[141,[1]]", "Expected type STRING but found NUMBER.", "[0]"),
        };
        CHECK(cases);
}

static void test_json(void **state)
{
        static const Case cases[] = {
                GIVES("[98,[\"[1,2,3]\"]]", "[1,2,3]"),
                GIVES("[98,[\"\\\"foo\\\"\"]]", "\"foo\""),
                GIVES("[98,[\"{\\\"b\\\":1,\\\"a\\\":[true,null]}\"]]", "{\"a\":[true,null],\"b\":1}"),
                GIVES("[52,[[98,[\"{\\\"$reql_type$\\\":\\\"TIME\\\",\\\"epoch_time\\\":1,\\\"timezone\\\":\\\"Z\\\"}"
                      "\"]]]]",
                      "\"PTYPE<TIME>\""),
                LOGIC("[98,[\"[1,2\"]]",
                      "Failed to parse \"[1,2\" as JSON: Missing a comma or ']' after an array element.", "[]"),
                LOGIC("[98,[\"[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17\"]]",
                      "Failed to parse \"[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,...\" as JSON: Missing a comma or ']' "
                      "after an array "
                      "element.",
                      "[]"),
                LOGIC("[98,[\"1\\u0000\"]]", "Encountered unescaped null byte in JSON string.", "[]"),
                LOGIC("[98,[\"{\\\"a\\\":1,\\\"a\\\":2}\"]]", "Duplicate key \"a\" in JSON.", "[]"),
                LOGIC("[98,[1]]", "Expected type STRING but found NUMBER.", "[0]"),
                GIVES("[172,[{\"foo\":[2,[4,\"x\\ny\",1.5]]}]]", "\"{\\\"foo\\\":[4,\\\"x\\\\ny\\\",1.5]}\""),
                GIVES("[172,[[136,[2014,9,11,\"Z\"]]]]", "\"{\\\"$reql_type$\\\":\\\"TIME\\\",\\\"epoch_time\\\":"
                                                         "1410393600,\\\"timezone\\\":\\\"+00:00\\\"}\""),
                LOGIC("[172,[[180,[]]]]", "Cannot convert `r.minval` to JSON.", "[]"),
                LOGIC("[172,[[2,[[181,[]]]]]]", "Cannot convert `r.maxval` to JSON.", "[]"),
        };
        CHECK(cases);
        Buf answer, place;
        assert_int_equal(run_query("[98,[\"{\\\"a\\\":[1,2,3,4,5]}\"]]", "\"array_limit\":4", &answer, &place),
                         ERR_RESOURCE);
        buf_done(&answer);
        buf_done(&place);
}

static void test_uuid(void **state)
{
        static const Case cases[] = {
                GIVES("[169,[\"slava@example.com\"]]", "\"90691cbc-b5ea-5826-ae98-951e30fc3b2d\""),
                GIVES("[17,[[169,[\"a\"]],[169,[\"a\"]]]]", "true"),
                GIVES("[17,[[169,[]],[169,[]]]]", "false"),
                GIVES("[67,[[97,[[169,[]],\"^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$\"]],"
                      "true]]",
                      "true"),
                LOGIC("[169,[1]]", "Expected type STRING but found NUMBER.", "[0]"),
        };
        CHECK(cases);
}

static void test_without_memory(void **state)
{
        check_without_memory("[97,[\"abcdefg\",\"a(b.e)|b(c.e)\"]]");
        check_without_memory("[97,[\"\",\"a(\"]]");
        check_without_memory("[172,[[98,[\"{\\\"a\\\":[1,2,3,{\\\"b\\\":null}]}\"]]]]");
        check_without_memory("[98,[\"[1,2\"]]");
        check_without_memory("[149,[\"a b c d e f g h i j k l m n o p q r s t u v w x y z\"]]");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_match),          cmocka_unit_test(test_match_groups),
                cmocka_unit_test(test_match_many),     cmocka_unit_test(test_match_rows),
                cmocka_unit_test(test_split),          cmocka_unit_test(test_case),
                cmocka_unit_test(test_json),           cmocka_unit_test(test_uuid),
                cmocka_unit_test(test_without_memory),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
