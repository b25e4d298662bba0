/* math_test.c - arithmetic, comparison, logic, bits, random. */
#include "query/scalar_test.h"

#include <math.h>
#include <stdlib.h>

#define FALSE_ "false"
#define TRUE_  "true"

static void test_arithmetic(void **state)
{
        static const Case cases[] = {
                GIVES("[24,[1,1]]", "2"),
                GIVES("[24,[7]]", "7"),
                GIVES("[24,[1,2,3,4.5]]", "10.5"),
                GIVES("[24,[\"\",\"\"]]", "\"\""),
                GIVES("[24,[\"abc\",\"def\",\"\",\"ghijklmnop\",\"q\"]]", "\"abcdefghijklmnopq\""),
                GIVES("[24,[[2,[1,2]],[2,[3]],[2,[]],[2,[4,5,[2,[6]]]]]]", "[1,2,3,4,5,[6]]"),
                LOGIC("[24,[1,\"a\"]]", "Expected type NUMBER but found STRING.", "[]"),
                LOGIC("[24,[\"a\",1]]", "Expected type STRING but found NUMBER.", "[]"),
                LOGIC("[24,[[2,[]],1]]", "Expected type ARRAY but found NUMBER.", "[]"),
                LOGIC("[24,[true,1]]", "Expected type NUMBER but found BOOL.", "[]"),
                LOGIC("[24,[{},1]]", "Expected type NUMBER but found OBJECT.", "[]"),
                MISSING("[24,[null,1]]", "Expected type NUMBER but found NULL.", "[]"),
                MISSING("[24,[1,null]]", "Expected type NUMBER but found NULL.", "[]"),
                LOGIC("[24,[1e308,1e308]]", "Non-finite number: inf", "[]"),
                GIVES("[25,[5,2,1]]", "2"),
                LOGIC("[25,[\"a\",0.8]]", "Expected type NUMBER but found STRING.", "[]"),
                LOGIC("[25,[-1e308,1e308]]", "Non-finite number: -inf", "[]"),
                GIVES("[26,[1,2,3,4,5]]", "120"),
                GIVES("[26,[[2,[1,2]],2]]", "[1,2,1,2]"),
                GIVES("[26,[0,[2,[1,2]]]]", "[]"),
                GIVES("[26,[[2,[]],9007199254740992]]", "[]"),
                LOGIC("[26,[[2,[]],1.5]]", "Number not an integer: 1.5", "[]"),
                LOGIC("[26,[[2,[1]],-1]]", "Cannot multiply an ARRAY by a negative number.", "[]"),
                LOGIC("[26,[[2,[1]],[2,[2]]]]", "Expected type NUMBER but found ARRAY.", "[]"),
                FAILS("[26,[[2,[1]],100001]]", ERR_RESOURCE,
                      "Array over size limit `100000`.  To raise the number of allowed elements, modify the "
                      "`array_limit` option to "
                      "`.run` (not available in the Data Explorer), or use an index.",
                      "[]"),
                LOGIC("[26,[\"b\",\"a\"]]", "Expected type NUMBER but found STRING.", "[]"),
                LOGIC("[26,[1e200,1e200]]", "Non-finite number: inf", "[]"),
                GIVES("[27,[4.9,0.7]]", "7.000000000000001"),
                LOGIC("[27,[1,0]]", "Cannot divide by zero.", "[]"),
                LOGIC("[27,[0,-0.0]]", "Cannot divide by zero.", "[]"),
                LOGIC("[27,[1,\"a\"]]", "Expected type NUMBER but found STRING.", "[]"),
                GIVES("[28,[27,17]]", "10"),
                GIVES("[28,[-7,3]]", "-1"),
                LOGIC("[28,[1,0]]", "Cannot take a number modulo 0.", "[]"),
                LOGIC("[28,[1.5,1]]", "Number not an integer: 1.5", "[0]"),
                LOGIC("[28,[1,\"a\"]]", "Expected type NUMBER but found STRING.", "[1]"),
                GIVES("[183,[1.7]]", "1"),
                GIVES("[183,[-1.2]]", "-2"),
                GIVES("[184,[1.2]]", "2"),
                GIVES("[184,[-0.5]]", "-0.0"),
                GIVES("[185,[2.5]]", "3"),
                GIVES("[185,[-2.5]]", "-3"),
                LOGIC("[183,[\"a\"]]", "Expected type NUMBER but found STRING.", "[0]"),
                FAILS("[28,[1]]", ERR_COMPILE, "Expected 2 arguments but found 1.", "[]"),
        };
        CHECK(cases);
}

static void test_times(void **state)
{
        static const Case cases[] = {
                GIVES("[102,[[24,[[101,[1375147296.6812]],1000]]]]", "1375148296.681"),
                GIVES("[102,[[24,[1000,[101,[1375147296.6812]]]]]]", "1375148296.681"),
                GIVES("[102,[[25,[[101,[1375147296.6812]],1000]]]]", "1375146296.681"),
                GIVES("[25,[[101,[1375147296.6812]],[25,[[101,[1375147296.6812]],1000]]]]", "1000"),
                LOGIC("[24,[[101,[1]],[101,[1]]]]", "Expected type NUMBER but found PTYPE<TIME>.", "[]"),
                LOGIC("[25,[1,[101,[1]]]]", "Expected type NUMBER but found PTYPE<TIME>.", "[]"),
        };
        CHECK(cases);
}

static void test_bits(void **state)
{
        static const Case cases[] = {
                GIVES("[191,[3,2]]", "2"),
                GIVES("[192,[1,2,4]]", "7"),
                GIVES("[193,[7,2]]", "5"),
                GIVES("[194,[3]]", "-4"),
                GIVES("[195,[3,5]]", "96"),
                GIVES("[196,[-16,2]]", "-4"),
                GIVES("[195,[1,64]]", "18446744073709553000.0"),
                GIVES("[195,[-1,1023]]", "-8.98846567431158e307"),
                GIVES("[195,[0,9007199254740992]]", "0"),
                LOGIC("[195,[1,1024]]", "Non-finite number: inf", "[]"),
                LOGIC("[195,[-1,5000]]", "Non-finite number: -inf", "[]"),
                GIVES("[196,[1,100]]", "0"),
                GIVES("[191,[-9007199254740992,9007199254740991]]", "0"),
                LOGIC("[191,[9007199254740992,1]]", "Integer too large: 9007199254740992", "[]"),
                LOGIC("[192,[1,9007199254740992]]", "Integer too large: 9007199254740992", "[]"),
                LOGIC("[194,[9007199254740992]]", "Integer too large: 9007199254740992", "[]"),
                LOGIC("[196,[9007199254740992,1]]", "Integer too large: 9007199254740992", "[]"),
                LOGIC("[195,[1,1.5]]", "Number not an integer: 1.5", "[1]"),
                GIVES("[196,[-1,100]]", "-1"),
                GIVES("[191,[-1,255]]", "255"),
                LOGIC("[191,[1.5,1]]", "Number not an integer: 1.5", "[0]"),
                LOGIC("[191,[1,\"a\"]]", "Expected type NUMBER but found STRING.", "[1]"),
                LOGIC("[195,[1,-1]]", "Cannot bit-shift by a negative value", "[]"),
        };
        CHECK(cases);
}

static void test_comparison(void **state)
{
        static const Case cases[] = {
                GIVES("[17,[1,1]]", TRUE_),
                GIVES("[17,[1,1,2]]", FALSE_),
                GIVES("[18,[1,1,2]]", TRUE_),
                GIVES("[18,[1,1]]", FALSE_),
                GIVES("[19,[1,2,3]]", TRUE_),
                GIVES("[19,[1,2,2]]", FALSE_),
                GIVES("[20,[1,2,2]]", TRUE_),
                GIVES("[21,[3,2,1]]", TRUE_),
                GIVES("[22,[3,3,1]]", TRUE_),
                GIVES("[22,[3,4]]", FALSE_),
                GIVES("[17,[{\"b\":1,\"a\":[2,[1]]},{\"a\":[2,[1]],\"b\":1}]]", TRUE_),
                GIVES("[19,[[2,[]],false,null,0,{},\"\"]]", TRUE_),
                GIVES("[19,[[180,[]],[2,[]],[181,[]]]]", TRUE_),
                /* the rest is not looked at once it is decided */
                GIVES("[17,[1,2,[12,[\"no\"]]]]", FALSE_),
                FAILS("[17,[1,[12,[\"no\"]]]]", ERR_USER, "no", "[1]"),
        };
        CHECK(cases);
}

static void test_logic(void **state)
{
        static const Case cases[] = {
                GIVES("[67,[true,false,[12,[\"no\"]]]]", FALSE_),
                GIVES("[67,[1,\"x\"]]", "\"x\""),
                GIVES("[67,[null,1]]", "null"),
                GIVES("[67,[]]", TRUE_),
                GIVES("[66,[]]", FALSE_),
                GIVES("[66,[false,\"str\",[12,[\"no\"]]]]", "\"str\""),
                GIVES("[66,[false,null]]", FALSE_),
                GIVES("[23,[1]]", FALSE_),
                GIVES("[23,[null]]", TRUE_),
                GIVES("[23,[[23,[false]]]]", FALSE_),
        };
        CHECK(cases);
}

static double random_of(const char *query)
{
        Buf answer, place;
        assert_int_equal(run_query(query, "", &answer, &place), ERR_NONE);
        double number = strtod((char *)answer.data, NULL);
        buf_done(&answer);
        buf_done(&place);
        return number;
}

static void test_random_ranges(void **state)
{
        bool low = false, high = false;
        for (int i = 0; i < 200; i++) {
                double n = random_of("[151,[2]]");
                assert_true(n == 0 || n == 1);
                low |= n == 0;
                high |= n == 1;
                double f = random_of("[151,[]]");
                assert_true(f >= 0 && f < 1);
                f = random_of("[151,[10,-10],{\"float\":true}]");
                assert_true(f <= 10 && f > -10);
                n = random_of("[151,[-5,-3]]");
                assert_true(n == -5 || n == -4);
                f = random_of("[151,[-1e308,1e308],{\"float\":true}]");
                assert_true(isfinite(f));
        }
        assert_true(low && high);
        static const Case cases[] = {
                GIVES("[151,[1,1],{\"float\":true}]", "1"),
                LOGIC("[151,[],{\"float\":false}]", "Generating a random integer requires one or two bounds.", "[]"),
                LOGIC("[151,[0.5]]", "Upper bound (0.5) could not be safely converted to an integer.", "[]"),
                LOGIC("[151,[0.5,2]]", "Lower bound (0.5) could not be safely converted to an integer.", "[]"),
                LOGIC("[151,[1e300]]",
                      "Upper bound (1.0000000000000000525e+300) could not be safely converted to an integer.", "[]"),
                LOGIC("[151,[0]]", "Lower bound (0) is not less than upper bound (0).", "[]"),
                LOGIC("[151,[2,1]]", "Lower bound (2) is not less than upper bound (1).", "[]"),
                LOGIC("[151,[\"a\"]]", "Expected type NUMBER but found STRING.", "[0]"),
        };
        CHECK(cases);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_arithmetic), cmocka_unit_test(test_times), cmocka_unit_test(test_bits),
                cmocka_unit_test(test_comparison), cmocka_unit_test(test_logic), cmocka_unit_test(test_random_ranges),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
