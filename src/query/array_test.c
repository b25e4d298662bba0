/* array_test.c - arrays and sets. */
#include "query/scalar_test.h"

#define OVER_4                                                                                                         \
        "Array over size limit `4`.  To raise the number of allowed elements, modify the `array_limit` option to "     \
        "`.run` (not "                                                                                                 \
        "available in the Data Explorer), or use an index."

static void test_at(void **state)
{
        static const Case cases[] = {
                GIVES("[82,[[2,[1,3,4]],1,2]]", "[1,2,3,4]"),
                GIVES("[82,[[2,[1,2,3]],-1,4]]", "[1,2,3,4]"),
                GIVES("[82,[[2,[1,2,3]],3,4]]", "[1,2,3,4]"),
                GIVES("[82,[[2,[]],0,[2,[1]]]]", "[[1]]"),
                MISSING("[82,[[2,[1,2,3]],4,5]]", "Index `4` out of bounds for array of size: `3`.", "[]"),
                MISSING("[82,[[2,[1,2,3]],-5,-1]]", "Index out of bounds: -5", "[]"),
                LOGIC("[82,[[2,[1,2,3]],1.5,1]]", "Number not an integer: 1.5", "[]"),
                MISSING("[82,[[2,[1,2,3]],null,1]]", "Expected type NUMBER but found NULL.", "[]"),
                LOGIC("[82,[1,0,1]]", "Expected type ARRAY but found NUMBER.", "[]"),
                GIVES("[85,[[2,[1,4]],1,[2,[2,3]]]]", "[1,2,3,4]"),
                GIVES("[85,[[2,[1,2]],-1,[2,[3,4]]]]", "[1,2,3,4]"),
                MISSING("[85,[[2,[1,2]],3,[2,[3,4]]]]", "Index `3` out of bounds for array of size: `2`.", "[]"),
                LOGIC("[85,[[2,[1,4]],1,2]]", "Expected type ARRAY but found NUMBER.", "[]"),
                GIVES("[83,[[2,[1,2,3,4]],0]]", "[2,3,4]"),
                GIVES("[83,[[2,[1,2,3,4]],-1]]", "[1,2,3]"),
                GIVES("[83,[[2,[1,2,3,4]],1,3]]", "[1,4]"),
                GIVES("[83,[[2,[1,2,3,4]],4,4]]", "[1,2,3,4]"),
                GIVES("[83,[[2,[]],0,0]]", "[]"),
                GIVES("[83,[[2,[1,2,3,4]],1,-1]]", "[1,4]"),
                MISSING("[83,[[2,[1,2,3,4]],4]]", "Index `4` out of bounds for array of size: `4`.", "[]"),
                MISSING("[83,[[2,[1]],0,5]]", "Index `5` out of bounds for array of size: `1`.", "[]"),
                LOGIC("[83,[[2,[1,2,3]],2,1]]", "Start index `2` is greater than end index `1`.", "[]"),
                GIVES("[84,[[2,[1,0,3]],1,2]]", "[1,2,3]"),
                MISSING("[84,[[2,[1,2,3]],3,4]]", "Index `3` out of bounds for array of size: `3`.", "[]"),
                MISSING("[84,[[2,[1,2,3,4]],-5,1]]", "Index out of bounds: -5", "[]"),
        };
        CHECK(cases);
}

static void test_ends(void **state)
{
        static const Case cases[] = {
                GIVES("[2,[1,[24,[1,1]],[2,[3]]]]", "[1,2,[3]]"),
                GIVES("[29,[[2,[1,2,3]],\"a\"]]", "[1,2,3,\"a\"]"),
                GIVES("[80,[[2,[1,2,3]],0]]", "[0,1,2,3]"),
                LOGIC("[29,[\"abc\",3]]", "Expected type ARRAY but found STRING.", "[]"),
                LOGIC("[2,[1,[14,[\"test\"]]]]", "Expected type DATUM but found DATABASE:\ndb(\"test\")", "[1]"),
        };
        CHECK(cases);
        static const char *const too_long[] = {
                "[2,[1,2,3,4,[24,[1,1]]]]",       "[29,[[2,[1,2,3,4]],1]]",         "[82,[[2,[1,2,3,4]],0,1]]",
                "[85,[[2,[1,2]],0,[2,[1,2,3]]]]", "[90,[[2,[1,2,3]],[2,[4,5,6]]]]", "[26,[[2,[1,2]],3]]",
                "[24,[[2,[1,2]],[2,[1,2,3]]]]",   "[149,[\"a b c d e\"]]",
        };
        for (size_t i = 0; i < ELEMENTS(too_long); i++) {
                Buf answer, place;
                assert_int_equal(run_query(too_long[i], "\"array_limit\":4", &answer, &place), ERR_RESOURCE);
                assert_string_equal((char *)answer.data, OVER_4);
                assert_string_equal((char *)place.data, "[]");
                buf_done(&answer);
                buf_done(&place);
        }
}

static void test_sets(void **state)
{
        static const Case cases[] = {
                GIVES("[95,[[2,[1,2,3]],[2,[1,2,2]]]]", "[3]"),
                GIVES("[95,[[2,[1,2,3,3]],[2,[]]]]", "[1,2,3,3]"),
                GIVES("[95,[[173,[5]],[173,[1,4]]]]", "0,4"),
                LOGIC("[95,[1,[2,[]]]]", "Cannot convert NUMBER to SEQUENCE", "[]"),
                LOGIC("[95,[[2,[1]],2]]", "Cannot convert NUMBER to SEQUENCE", "[]"),
                LOGIC("[95,[[2,[1]],[98,[\"x\"]]]]", "Failed to parse \"x\" as JSON: Invalid value.", "[1]"),
                GIVES("[95,[[2,[]],2]]", "[]"),
                GIVES("[95,[[2,[1]],null]]", "[]"),
                GIVES("[38,[[2,[1,2]],[69,[[2,[9]],[95,[[2,[1,2]],[2,[[10,[9]]]]]]]]]]", "[[2],[1]]"),
                GIVES("[88,[[2,[1,1,2,3]],1]]", "[1,2,3]"),
                GIVES("[88,[[2,[1,1,2,3]],4]]", "[1,2,3,4]"),
                GIVES("[90,[[2,[1,1,2,3]],[2,[3,4,5,5]]]]", "[1,2,3,4,5]"),
                GIVES("[89,[[2,[1,1,2,3]],[2,[1,1,1,2,2]]]]", "[1,2]"),
                GIVES("[89,[[2,[1,2,3]],[2,[3,1]]]]", "[3,1]"),
                GIVES("[91,[[2,[1,1,2,3]],[2,[1,1,1,10]]]]", "[2,3]"),
                GIVES("[90,[[2,[{\"a\":1},[2,[1]],\"x\",null,true]],[2,[null,{\"a\":1},\"x\",[2,[1]],false]]]]",
                      "[{\"a\":1},[1],\"x\",null,true,false]"),
                LOGIC("[88,[1,1]]", "Expected type ARRAY but found NUMBER.", "[]"),
                LOGIC("[90,[[2,[]],1]]", "Expected type ARRAY but found NUMBER.", "[]"),
                LOGIC("[89,[\"a\",[2,[]]]]", "Expected type ARRAY but found STRING.", "[]"),
                LOGIC("[91,[\"a\",1]]", "Expected type ARRAY but found NUMBER.", "[]"),
        };
        CHECK(cases);
}

static void test_offsets(void **state)
{
        static const Case cases[] = {
                GIVES("[87,[[2,[1,2,1]],1]]", "[0,2]"),
                GIVES("[87,[[2,[1,2,1]],[69,[[2,[1]],[21,[[10,[1]],1]]]]]]", "[1]"),
                GIVES("[87,[[2,[{},{\"a\":1}]],[69,[[2,[1]],[17,[[170,[[10,[1]],\"a\"]],1]]]]]]", "[1]"),
                GIVES("[87,[[173,[10]],7]]", "7"),
                LOGIC("[87,[1,1]]", "Cannot convert NUMBER to SEQUENCE", "[]"),
        };
        CHECK(cases);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_at),
                cmocka_unit_test(test_ends),
                cmocka_unit_test(test_sets),
                cmocka_unit_test(test_offsets),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
