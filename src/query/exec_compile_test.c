/* exec_compile_test.c - each operation of compiled functions against the general evaluator, on one odd row after the
 * other: what is compiled answers the same, and what should be compiled is. */
#include "query/exec_test.h"

static size_t rows_read;
static Status counting_next(TableScan *scan, Arena *hold, Value *ret)
{
        rows_read++;
        return fake_scan_next(scan, hold, ret);
}

static TableSource source;
static const QueryWorld world = {
        .source = &source, .host = &fake_host, .memory_max_bytes = 64 << 20, .scan_min_rows = 1};

#define ROW       "[10,[1]]"
#define FIELD(f)  "[170,[" ROW ",\"" f "\"]]"
#define EACH(t)   "[" t ",[" FIELD("a") "," FIELD("h") "]]"
#define EACH3(t)  "[" t ",[" FIELD("a") "," FIELD("h") "," FIELD("a") "]]"
#define ONE(t, f) "[" t ",[" FIELD(f) "]]"
#define TIME(t)   "[99,[\"" t "\"]]"

static const char *const bodies[] = {
        ROW,
        "5",
        "[103,[]]",
        FIELD("a"),
        "[31,[" ROW ",\"e\"]]",
        "[170,[" FIELD("e") ",\"x\"]]",
        "[170,[" FIELD("f") ",0]]",
        "[170,[" FIELD("f") ",-3]]",
        "[170,[{\"p\":" FIELD("h") "},\"p\"]]",
        EACH("17"),
        EACH("18"),
        EACH("19"),
        EACH("20"),
        EACH("21"),
        EACH("22"),
        EACH3("17"),
        EACH3("18"),
        EACH3("20"),
        ONE("17", "c"),
        ONE("18", "c"),
        "[19,[" FIELD("c") ",\"word3\"]]",
        "[19,[\"word3\"," FIELD("c") "]]",
        "[22,[" FIELD("g") "," TIME("1970-01-01T05:00:00Z") "]]",
        "[17,[" FIELD("e") ",{\"x\":1,\"y\":\"a\"}]]",
        ONE("23", "d"),
        EACH("66"),
        EACH("67"),
        "[67,[]]",
        "[67,[" FIELD("d") ",[21,[" FIELD("a") ",5]]," FIELD("c") "]]",
        "[66,[" FIELD("d") ",[21,[" FIELD("a") ",5]]]]",
        "[65,[" FIELD("d") "," FIELD("a") "," FIELD("c") "]]",
        "[65,[[21,[" FIELD("a") ",7]],1,[21,[" FIELD("a") ",3]],2,3]]",
        "[92,[" FIELD("a") ",7]]",
        "[92,[" FIELD("none") "," FIELD("h") "]]",
        "[92,[[24,[" FIELD("a") ",1]],\"x\"]]",
        EACH("24"),
        EACH("25"),
        EACH("26"),
        EACH("27"),
        EACH("28"),
        EACH3("24"),
        EACH3("25"),
        "[24,[" FIELD("c") ",\"-\"," FIELD("c") "]]",
        "[24,[" FIELD("g") "," FIELD("a") "]]",
        "[25,[" FIELD("g") "," FIELD("h") "]]",
        "[25,[" FIELD("g") "," TIME("1970-01-01T05:00:00Z") "]]",
        "[26,[" FIELD("b") ",1e306]]",
        ONE("183", "b"),
        ONE("184", "b"),
        ONE("185", "b"),
        "[32,[" ROW ",\"a\",\"h\"]]",
        "[32,[" ROW ",{\"e\":{\"x\":true}}]]",
        "[32,[" FIELD("e") ",\"x\"]]",
        "[33,[" ROW ",\"a\",{\"e\":\"x\"}]]",
        "[33,[" FIELD("e") ",\"x\"]]",
        "[34,[" ROW ",\"a\",{\"e\":\"x\"}]]",
        "[35,[" ROW ",{\"sum\":[24,[" FIELD("a") "," FIELD("h") "]]}]]",
        "[35,[" ROW ",{\"e\":{\"x\":2,\"z\":3}}]]",
        "[35,[" FIELD("e") ",{\"x\":" FIELD("e") "}]]",
        "[35,[" ROW ",{\"g\":{\"timezone\":1}}]]",
        "{\"one\":" FIELD("a") ",\"all\":" ROW "}",
        "[2,[" FIELD("a") "," FIELD("e") "]]",
        ONE("52", "a"),
        ONE("52", "g"),
        ONE("43", "c"),
        ONE("43", "e"),
        ONE("43", "f"),
        "[93,[" FIELD("f") ",\"t1\"]]",
        "[93,[[2,[1,2,3]]," FIELD("a") "]]",
        ONE("128", "g"),
        ONE("129", "g"),
        ONE("130", "g"),
        ONE("131", "g"),
        ONE("132", "g"),
        ONE("133", "g"),
        ONE("134", "g"),
        ONE("135", "g"),
        ONE("102", "g"),
        "[105,[" FIELD("g") "," TIME("1970-01-01T00:00:00Z") "," TIME("1970-01-01T12:00:00Z") "]]",
        "[105,[" FIELD("g") "," FIELD("g") "," TIME("1970-01-01T12:00:00Z") "],{\"left_bound\":\"open\"}]",
        "[105,[" FIELD("g") "," TIME("1970-01-01T00:00:00Z") "," FIELD("g") "],{\"right_bound\":\"closed\"}]",
};

/* distinct() of one row's answer: by the scan if it can, else by the general path. */
static bool check_row(const char *table, unsigned row, const char *body, const char *wrapper, bool *ret_scanned)
{
        char text[2048];
        Buf out;
        snprintf(text, sizeof text,
                 "[42,[[%s,[[182,[[15,[[14,[\"test\"]],\"%s\"]],%u,%u],{\"right_bound\":\"closed\"}],[69,[[2,[1]],%s]]]"
                 "]]]",
                 wrapper, table, row, row, body);
        rows_read = 0;
        run_query(&world, text, true, &out);
        *ret_scanned = rows_read == 0;
        buf_done(&out);
        return same_answer(&world, text);
}

static void test_operations(void **state)
{
        int failed = 0;
        static const char *const wrappers[] = {"38", "39"};
        for (size_t i = 0; i < ELEMENTS(bodies); i++) {
                unsigned scanned = 0, rows = (unsigned)value_count(fake.tables[1].rows);
                for (unsigned w = 0; w < ELEMENTS(wrappers); w++) {
                        for (unsigned row = 0; row < rows; row++) {
                                bool here;
                                failed += !check_row("even", row % 10, bodies[i], wrappers[w], &here);
                                scanned += here;
                                failed += !check_row("wild", row, bodies[i], wrappers[w], &here);
                                scanned += here;
                        }
                }
                if (scanned == 0) {
                        print_error("%s is not compiled\n", bodies[i]);
                        failed++;
                }
        }
        assert_int_equal(failed, 0);
}

/* match, whose truth alone is compiled; a variable of a function around; a function with options that count for all. */
static void test_more(void **state)
{
        static const char *const queries[] = {
                "[43,[[39,[[15,[[14,[\"test\"]],\"wild\"]],[69,[[2,[1]],[97,[[92,[" FIELD(
                        "c") ",\"\"]],\"d[12]$\"]]]]]]]]",
                "[43,[[39,[[15,[[14,[\"test\"]],\"even\"]],[69,[[2,[1]],[97,[" FIELD("c") ",\"(d[12])\"]]]]]]]]",
                "[43,[[39,[[15,[[14,[\"test\"]],\"even\"]],[69,[[2,[1]],[97,[" FIELD("c") ",\"(\"]]]]]]]]",
                "[64,[[69,[[2,[7]],[43,[[39,[[15,[[14,[\"test\"]],\"even\"]],[69,[[2,[1]],[21,[" FIELD(
                        "a") ",[10,[7]]]]]]]]]]]],4]]",
                "[38,[[2,[1,5,9]],[69,[[2,[7]],[43,[[39,[[15,[[14,[\"test\"]],\"even\"]],[69,[[2,[1]],[21,[" FIELD(
                        "a") ",[10,[7]]]]]]]]]]]]]]",
                "[43,[[39,[[15,[[14,[\"test\"]],\"even\"]],[69,[[2,[1]],[12,[\"no\"]]]]]]]]",
                "[43,[[39,[[15,[[14,[\"test\"]],\"even\"]],[69,[[2,[1]],[27,[1,0]]]]]]]]",
                "[38,[[173,[100]],[69,[[2,[1]],[27,[100,[25,[" ROW ",50]]]]]]]]",
                "[145,[[38,[[173,[100]],[69,[[2,[1]],[26,[" ROW "," ROW "]]]]]]]]",
                "[39,[[173,[100]],[69,[[2,[1]],[21,[" FIELD("a") ",1]]]]]]",
                "[38,[[173,[100]],[69,[[2,[1]],{\"id\":" ROW ",\"o\":{\"$reql_type$\":\"x\"}}]]]]",
                /* The result takes the place of an argument. */
                "[37,[[173,[100]],[69,[[2,[2,3]],[65,[[19,[[10,[2]],[10,[3]]]],[10,[2]],[10,[3]]]]]]]]",
                "[37,[[173,[100]],[69,[[2,[2,3]],[25,[[10,[3]],[10,[2]]]]]]]]",
                "[37,[[173,[100]],[69,[[2,[2,3]],[66,[[21,[0,[10,[3]]]],[24,[[10,[2]],[10,[3]]]]]]]]]]",
                ("[187,[[173,[100]],[2,[]],[69,[[2,[2,3]],[65,[[20,[[10,[3]],50]],[24,[[10,[2]],[2,[[10,[3]]]]]],"
                 "[10,[2]]]]]]]]"),
        };
        int failed = 0;
        for (size_t i = 0; i < ELEMENTS(queries); i++)
                failed += !same_answer(&world, queries[i]);
        assert_int_equal(failed, 0);
}

static int setup(void **state)
{
        arena_init(&fake.arena, 0);
        seed_state = 7;
        add_random_table("even", 10, 0);
        add_random_table("wild", 40, 2);
        source = fake_source;
        source.scan_next = counting_next;
        return 0;
}

static int teardown(void **state)
{
        (void)fake_forget();
        arena_done(&fake.arena);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_operations), cmocka_unit_test(test_more)};
        return cmocka_run_group_tests(tests, setup, teardown);
}
