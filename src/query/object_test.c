/* object_test.c - objects: making, fields, pluck and its like, merge and literals. */
#include "query/scalar_test.h"

#define ROWS "[2,[{\"a\":1,\"b\":\"a\"},{\"a\":2,\"b\":\"b\"},{\"a\":3,\"b\":\"c\"}]]"
#define DEEP "{\"a\":1,\"b\":{\"c\":2,\"d\":{\"e\":3,\"f\":4}},\"g\":[2,[{\"c\":5,\"d\":6},{\"d\":7}]]}"
#define STRAY                                                                                                          \
        "Stray literal keyword found: literal is only legal inside of the object passed to merge or update and "       \
        "cannot nest "                                                                                                 \
        "inside other literals."

static void test_make(void **state)
{
        static const Case cases[] = {
                GIVES("{\"b\":[24,[1,1]],\"a\":{\"c\":[2,[[24,[1,2]]]]}}", "{\"a\":{\"c\":[3]},\"b\":2}"),
                GIVES("[143,[]]", "{}"),
                GIVES("[143,[\"b\",1,\"a\",2]]", "{\"a\":2,\"b\":1}"),
                GIVES("[52,[[143,[\"$reql_type$\",\"TIME\",\"epoch_time\",1,\"timezone\",\"Z\"]]]]", "\"PTYPE<TIME>\""),
                LOGIC("[143,[\"o\",\"d\",\"d\"]]", "OBJECT expects an even number of arguments (but found 3).", "[]"),
                LOGIC("[143,[1,1]]", "Expected type STRING but found NUMBER.", "[0]"),
                LOGIC("[143,[\"e\",4,\"e\",5]]", "Duplicate key \"e\" in object.  (got 4 and 5 as values)", "[]"),
                LOGIC("[143,[\"g\",[14,[\"test\"]]]]", "Expected type DATUM but found DATABASE:\ndb(\"test\")", "[1]"),
                LOGIC("[143,[\"$reql_type$\",\"NO\"]]", "Unknown $reql_type$ `PTYPE<NO>`.", "[]"),
                LOGIC("{\"$reql_type$\":[24,[\"N\",\"O\"]]}", "Unknown $reql_type$ `PTYPE<NO>`.", "[]"),
                GIVES("[94,[{\"b\":1,\"a\":2}]]", "[\"a\",\"b\"]"),
                GIVES("[186,[{\"b\":1,\"a\":2}]]", "[2,1]"),
                LOGIC("[94,[1]]", "Cannot call `keys` on objects of type `NUMBER`.", "[0]"),
                LOGIC("[94,[null]]", "Cannot call `keys` on objects of type `NULL`.", "[0]"),
                LOGIC("[186,[[101,[1]]]]", "Cannot call `values` on objects of type `PTYPE<TIME>`.", "[0]"),
        };
        CHECK(cases);
}

static void test_get(void **state)
{
        static const Case cases[] = {
                GIVES("[31,[{\"a\":1},\"a\"]]", "1"),
                GIVES("[170,[{\"a\":1},\"a\"]]", "1"),
                GIVES("[170,[" ROWS ",\"b\"]]", "[\"a\",\"b\",\"c\"]"),
                GIVES("[31,[[2,[{\"a\":1},{\"b\":2},{\"a\":3}]],\"a\"]]", "[1,3]"),
                GIVES("[31,[[2,[{\"a\":1},null]],\"a\"]]", "[1]"),
                GIVES("[31,[[2,[]],1]]", "[]"),
                GIVES("[31,[[2,[{\"a\":1}]],[170,[{},\"no\"]]]]", "[]"),
                GIVES("[170,[[2,[1,2,3]],1]]", "2"),
                GIVES("[170,[[2,[1,2,3]],-1]]", "3"),
                GIVES("[170,[[173,[5]],3]]", "3"),
                MISSING("[170,[[2,[1,2,3]],3]]", "Index out of bounds: 3", "[]"),
                MISSING("[170,[[2,[1,2,3]],-4]]", "Index out of bounds: -4", "[]"),
                MISSING("[170,[{},\"b\"]]", "No attribute `b` in object:\n{}", "[]"),
                MISSING("[31,[{\"id\":1},\"b\"]]", "No attribute `b` in object:\n{\n\t\"id\":\t1\n}", "[]"),
                LOGIC("[170,[\"a\",\"b\"]]", "Cannot perform bracket on a non-object non-sequence `\"a\"`.", "[0]"),
                MISSING("[170,[null,\"b\"]]", "Cannot perform bracket on a non-object non-sequence `null`.", "[0]"),
                LOGIC("[170,[{},[2,[1,2]]]]",
                      "Expected NUMBER or STRING as second argument to `bracket` but found ARRAY.", "[]"),
                MISSING("[170,[{},null]]", "Expected NUMBER or STRING as second argument to `bracket` but found NULL.",
                        "[]"),
                LOGIC("[170,[[2,[{\"a\":1},\"a\"]],\"a\"]]",
                      "Cannot perform bracket on a non-object non-sequence `\"a\"`.", "[]"),
                LOGIC("[31,[[2,[[2,[]]]],\"a\"]]", "Cannot perform get_field on a sequence of sequences.", "[]"),
                LOGIC("[31,[[14,[\"x\"]],\"a\"]]", "Cannot perform get_field on a non-object non-sequence `db(\"x\")`.",
                      "[0]"),
                LOGIC("[31,[{\"a\":1},1]]", "Expected type STRING but found NUMBER.", "[1]"),
                LOGIC("[31,[[101,[1]],\"epoch_time\"]]", "Cannot call `get_field` on objects of type `PTYPE<TIME>`.",
                      "[0]"),
                LOGIC("[170,[[2,[[101,[1]]]],\"epoch_time\"]]",
                      "Cannot call `bracket` on objects of type `PTYPE<TIME>`.", "[]"),
        };
        CHECK(cases);
}

static void test_pluck(void **state)
{
        static const Case cases[] = {
                GIVES("[33,[" ROWS ",\"a\"]]", "[{\"a\":1},{\"a\":2},{\"a\":3}]"),
                GIVES("[33,[" ROWS "]]", "[{},{},{}]"),
                GIVES("[33,[" DEEP ",\"a\",\"zz\"]]", "{\"a\":1}"),
                GIVES("[33,[" DEEP ",{\"b\":\"c\"}]]", "{\"b\":{\"c\":2}}"),
                GIVES("[33,[" DEEP ",{\"b\":{\"d\":\"e\"}}]]", "{\"b\":{\"d\":{\"e\":3}}}"),
                GIVES("[33,[" DEEP ",{\"b\":[2,[\"c\",{\"d\":\"f\"}]]}]]", "{\"b\":{\"c\":2,\"d\":{\"f\":4}}}"),
                GIVES("[33,[" DEEP ",{\"b\":true,\"a\":true}]]", "{\"a\":1,\"b\":{\"c\":2,\"d\":{\"e\":3,\"f\":4}}}"),
                GIVES("[33,[" DEEP ",[2,[\"a\",{\"b\":\"c\"}]]]]", "{\"a\":1,\"b\":{\"c\":2}}"),
                GIVES("[33,[" DEEP ",{\"g\":\"d\"}]]", "{\"g\":[{\"d\":6},{\"d\":7}]}"),
                GIVES("[33,[" DEEP ",{\"a\":\"x\"}]]", "{}"),
                GIVES("[33,[" DEEP ",\"b\",{\"b\":\"c\"}]]", "{\"b\":{\"c\":2}}"),
                GIVES("[33,[[2,[]],1]]", "[]"),
                LOGIC("[33,[{\"a\":1},1]]", "Invalid path argument `1`.", "[]"),
                LOGIC("[33,[{\"a\":1},{\"a\":false}]]", "Invalid path argument `false`.", "[]"),
                LOGIC("[33,[{\"a\":1},null]]", "Invalid path argument `null`.", "[]"),
                LOGIC("[33,[1,\"a\"]]", "Cannot perform pluck on a non-object non-sequence `1`.", "[0]"),
                MISSING("[33,[[2,[null]],\"a\"]]", "Cannot perform pluck on a non-object non-sequence `null`.", "[]"),
                LOGIC("[33,[[101,[1]],\"a\"]]", "Cannot call `pluck` on objects of type `PTYPE<TIME>`.", "[0]"),
                GIVES("[34,[" ROWS ",\"a\"]]", "[{\"b\":\"a\"},{\"b\":\"b\"},{\"b\":\"c\"}]"),
                GIVES("[34,[{\"a\":1,\"b\":2,\"c\":3},\"a\",\"c\",\"zz\"]]", "{\"b\":2}"),
                GIVES("[34,[{\"a\":1}]]", "{\"a\":1}"),
                GIVES("[34,[" DEEP ",\"g\",{\"b\":{\"d\":\"f\"}}]]", "{\"a\":1,\"b\":{\"c\":2,\"d\":{\"e\":3}}}"),
                GIVES("[34,[" DEEP ",\"b\",{\"g\":\"d\"}]]", "{\"a\":1,\"g\":[{\"c\":5},{}]}"),
                GIVES("[34,[" DEEP ",\"g\",\"b\",{\"a\":\"x\"}]]", "{\"a\":1}"),
                GIVES("[34,[{\"a\":1,\"b\":{\"c\":1}},{\"a\":true,\"b\":{\"c\":true}}]]", "{\"b\":{}}"),
                LOGIC("[34,[{\"a\":1},1]]", "Invalid path argument `1`.", "[]"),
        };
        CHECK(cases);
}

static void test_has(void **state)
{
        static const Case cases[] = {
                GIVES("[32,[{\"a\":1},\"a\"]]", "true"),
                GIVES("[32,[{\"a\":null},\"a\"]]", "false"),
                GIVES("[32,[{\"a\":1},\"a\",\"b\"]]", "false"),
                GIVES("[32,[{\"a\":1}]]", "true"),
                GIVES("[32,[" DEEP ",{\"b\":{\"d\":[2,[\"e\",\"f\"]]}}]]", "true"),
                GIVES("[32,[" DEEP ",{\"b\":{\"d\":\"x\"}}]]", "false"),
                GIVES("[32,[" DEEP ",{\"g\":\"d\"}]]", "false"),
                GIVES("[32,[[2,[{\"a\":1},{\"b\":1},{\"a\":null},null]],\"a\"]]", "[{\"a\":1}]"),
                LOGIC("[32,[[2,[1]],\"a\"]]", "Cannot perform has_fields on a non-object non-sequence `1`.", "[]"),
                GIVES("[96,[[2,[{\"a\":1,\"c\":2},{\"b\":1},{\"a\":null}]],\"a\"]]", "[{\"a\":1}]"),
                GIVES("[96,[[2,[{\"a\":1},{\"b\":1}]]]]", "[{},{}]"),
                GIVES("[96,[[2,[{\"b\":{\"c\":1,\"d\":2}},{\"b\":\"x\"}]],{\"b\":\"c\"}]]", "[{\"b\":{\"c\":1}}]"),
                LOGIC("[96,[1]]", "Cannot perform has_fields on a non-object non-sequence `1`.", "[0]"),
                LOGIC("[96,[{\"a\":1},\"a\"]]", "Cannot perform pluck on a non-object non-sequence `true`.", "[]"),
                LOGIC("[96,[" ROWS ",1]]", "Invalid path argument `1`.", "[]"),
        };
        CHECK(cases);
}

static void test_merge(void **state)
{
        static const Case cases[] = {
                GIVES("[35,[{\"a\":1,\"c\":3},{\"b\":2},{\"a\":4}]]", "{\"a\":4,\"b\":2,\"c\":3}"),
                GIVES("[35,[{\"a\":{\"b\":1,\"c\":{\"d\":1}}},{\"a\":{\"c\":{\"e\":2}}}]]",
                      "{\"a\":{\"b\":1,\"c\":{\"d\":1,\"e\":2}}}"),
                GIVES("[35,[{\"a\":1},{\"a\":{\"b\":2}}]]", "{\"a\":{\"b\":2}}"),
                GIVES("[35,[{\"a\":1}]]", "{\"a\":1}"),
                GIVES("[35,[{\"a\":1},2]]", "2"),
                GIVES("[35,[[2,[{\"a\":1},{\"a\":2}]],{\"b\":[24,[1,1]]}]]", "[{\"a\":1,\"b\":2},{\"a\":2,\"b\":2}]"),
                GIVES("[35,[[2,[{\"a\":1},{\"a\":2}]],[69,[[2,[1]],{\"b\":[24,[[170,[[10,[1]],\"a\"]],10]]}]]]]",
                      "[{\"a\":1,\"b\":11},{\"a\":2,\"b\":12}]"),
                /* each function sees what the ones before it made */
                GIVES("[35,[{\"a\":1},{\"b\":2},[69,[[2,[1]],{\"c\":[170,[[10,[1]],\"b\"]]}]]]]",
                      "{\"a\":1,\"b\":2,\"c\":2}"),
                GIVES("[35,[{\"a\":{\"b\":1}},{\"a\":[137,[{\"c\":1}]]}]]", "{\"a\":{\"c\":1}}"),
                GIVES("[35,[{\"a\":{\"b\":1},\"z\":1},{\"a\":[137,[]]}]]", "{\"z\":1}"),
                GIVES("[35,[{\"a\":1},{\"b\":{\"c\":[137,[]],\"d\":[137,[2]]}}]]", "{\"a\":1,\"b\":{\"d\":2}}"),
                /* what replaces something that is no object is taken as it stands */
                GIVES("[35,[{\"a\":1},{\"a\":{\"b\":[137,[2]]}}]]",
                      "{\"a\":{\"b\":{\"$reql_type$\":\"LITERAL\",\"value\":2}}}"),
                GIVES("[35,[{\"a\":1},{\"b\":[2,[[137,[]],3]]}]]", "{\"a\":1,\"b\":[3]}"),
                GIVES("[35,[{\"a\":1},[154,[[2,[{\"a\":[137,[2]]}]]]]]]", "{\"a\":2}"),
                /* only the first element of an array, and no arm of a branch, may be a literal */
                LOGIC("[35,[{\"a\":1},{\"b\":[2,[3,[137,[2]]]]}]]",
                      "Stray literal keyword found: literal is only legal inside of the object passed to merge or "
                      "update and cannot nest inside other literals.",
                      "[1,\"b\",1]"),
                LOGIC("[35,[{\"a\":1},[65,[true,{\"b\":[137,[2]]},{}]]]]",
                      "Stray literal keyword found: literal is only legal inside of the object passed to merge or "
                      "update and cannot nest inside other literals.",
                      "[1,1,\"b\"]"),
                GIVES("[35,[{\"a\":{\"b\":1}},[69,[[2,[1]],{\"a\":[137,[{\"c\":1}]]}]]]]", "{\"a\":{\"c\":1}}"),
                GIVES("[35,[{\"a\":{\"b\":1}},[154,[[2,[{\"a\":[137,[{\"c\":1}]]}]]]]]]", "{\"a\":{\"c\":1}}"),
                GIVES("[35,[{\"a\":{\"b\":1,\"c\":2}},[98,[\"{\\\"a\\\":{\\\"$reql_type$\\\":\\\"LITERAL\\\", "
                      "\\\"value\\\":{\\\"b\\\":2}}}\"]]]]",
                      "{\"a\":{\"b\":2}}"),
                LOGIC("[35,[{\"a\":1},[137,[{\"b\":1}]]]]", STRAY, "[]"),
                LOGIC("[137,[1]]", STRAY, "[]"),
                LOGIC("{\"a\":[137,[1]]}", STRAY, "[\"a\"]"),
                LOGIC("[35,[{\"a\":[137,[1]]},{}]]", STRAY, "[0,\"a\"]"),
                LOGIC("[35,[{},{\"a\":[137,[{\"b\":[137,[1]]}]]}]]", STRAY, "[1,\"a\",0,\"b\"]"),
                LOGIC("[35,[{},{\"a\":[31,[{\"b\":[137,[1]]},\"b\"]]}]]", STRAY, "[1,\"a\",0,\"b\"]"),
                LOGIC("[35,[{},[101,[1]]]]", "Cannot merge objects of type `PTYPE<TIME>`.", "[1]"),
                LOGIC("[35,[[101,[1]],{}]]", "Cannot call `merge` on objects of type `PTYPE<TIME>`.", "[0]"),
                LOGIC("[35,[1,{}]]", "Cannot perform merge on a non-object non-sequence `1`.", "[0]"),
                LOGIC("[35,[[2,[1]],{}]]", "Cannot perform merge on a non-object non-sequence `1`.", "[]"),
                /* what varies is drawn anew for each row */
                GIVES("[43,[[42,[[35,[[2,[{\"a\":1},{\"a\":1},{\"a\":1}]],{\"r\":[151,[]]}]]]]]]", "3"),
        };
        CHECK(cases);
}

static void test_streams(void **state)
{
        static const Case cases[] = {
                GIVES("[33,[[38,[[173,[3]],[69,[[2,[1]],{\"a\":[10,[1]],\"b\":0}]]]],\"a\"]]",
                      "{\"a\":0},{\"a\":1},{\"a\":2}"),
                GIVES("[170,[[38,[[173,[3]],[69,[[2,[1]],{\"a\":[10,[1]]}]]]],\"a\"]]", "0,1,2"),
                GIVES("[45,[[71,[[170,[[38,[[173,[]],[69,[[2,[1]],{\"a\":[10,[1]]}]]]],\"a\"]],1001]],1000]]", "1000"),
                GIVES("[43,[[32,[[38,[[173,[1000]],[69,[[2,[1]],[143,[[51,[[28,[[10,[1]],2]],\"string\"]],1]]]]]],"
                      "\"1\"]]]]",
                      "500"),
                /* a stream in a function, with arguments that are its variables */
                GIVES("[38,[[2,[\"a\",\"b\"]],[69,[[2,[1]],[51,[[31,[[38,[[173,[2]],[69,[[2,[2]],{\"a\":1,\"b\":[10,[2]"
                      "]}]]]],"
                      "[10,[1]]]],\"array\"]]]]]]",
                      "[[1,1],[0,1]]"),
                LOGIC("[33,[[38,[[173,[3]],[69,[[2,[1]],{\"a\":1}]]]],1]]", "Invalid path argument `1`.", "[]"),
                GIVES("[33,[[39,[[173,[3]],false]],1]]", ""),
        };
        CHECK(cases);
}

static void test_without_memory(void **state)
{
        check_without_memory("[33,[" DEEP ",{\"b\":[2,[\"c\",{\"d\":\"f\"}]]}]]");
        check_without_memory("[34,[" ROWS ",\"a\"]]");
        check_without_memory("[35,[{\"a\":{\"b\":1}},{\"a\":[137,[{\"c\":1}]]}]]");
        check_without_memory("[33,[[2,[{\"a\":1}]],1]]");
        check_without_memory("[170,[" DEEP ",\"zz\"]]");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_make),           cmocka_unit_test(test_get),
                cmocka_unit_test(test_pluck),          cmocka_unit_test(test_has),
                cmocka_unit_test(test_merge),          cmocka_unit_test(test_streams),
                cmocka_unit_test(test_without_memory),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
