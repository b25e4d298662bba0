/* spill_test.c - queries whose rows do not fit: the same answers with temporary files as without, whatever fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/check.h"
#include "query/fake_source.h"
#include "query/fake_spill.h"

#define ROWS        6000
#define SMALL_ROWS  1500
#define SORT_MEMORY ((size_t)64 << 10)

static const QueryWorld roomy = {.source = &fake_source, .host = &fake_host, .memory_max_bytes = 256 << 20};
static const QueryWorld tight = {.source = &fake_source,
                                 .host = &fake_host,
                                 .memory_max_bytes = 256 << 20,
                                 .no_planner = true, /* or some would not need the rows' order */
                                 .spill = &fake_spill_ops,
                                 .sort_memory_bytes = SORT_MEMORY};

/* All rows that a query gives as one text, or "FAIL message". `answers` (may be NULL): how many batches. */
static void run_in(const QueryWorld *world, const char *text, Buf *out, QueryAnswer *ret_first)
{
        Query *query;
        uint8_t *buffer;
        QueryAnswer answer = ANSWER_PARTIAL;
        buf_init(out, 512 << 20);
        Status st = query_new(world, "admin", &query);
        if (!st) {
                st = query_text_buffer(query, strlen(text), &buffer);
                if (!st) {
                        memcpy(buffer, text, strlen(text));
                        st = query_prepare(query, BYTES(buffer, strlen(text)));
                }
                for (int batch = 0; !st && answer == ANSWER_PARTIAL; batch++) {
                        if (batch)
                                st = buf_append_byte(out, ',');
                        if (!st)
                                st = query_next(query, out, &answer);
                        if (batch == 0 && ret_first)
                                *ret_first = answer;
                }
                query_free(query);
        }
        if (st) {
                buf_clear(out);
                OK(buf_printf(out, "FAIL %s", status_message(st)));
                status_ignore(st);
        }
        OK(buf_append_byte(out, 0));
        assert_true(fake_all_closed());
        assert_int_equal(fake_spill.open, 0);
}

#define T       "[15,[[14,[\"test\"]],\"t\"]]"
#define S       "[15,[[14,[\"test\"]],\"s\"]]"
#define F(body) "[69,[[2,[1]]," body "]]"
#define ROW(f)  "[170,[[10,[1]],\"" f "\"]]"
#define MANY    ",{\"array_limit\":1000000}]"
#define ALL     ",{\"array_limit\":100}]"

typedef struct Case {
        const char *query;
        bool spills, same_type;
} Case;

static void check_same(const Case *cases, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                Buf expected, got;
                QueryAnswer expected_type = ANSWER_PARTIAL, type = ANSWER_PARTIAL;
                fake_spill_reset();
                run_in(&roomy, cases[i].query, &expected, &expected_type);
                assert_int_equal(fake_spill.created, 0);
                run_in(&tight, cases[i].query, &got, &type);
                if (strcmp((char *)expected.data, (char *)got.data) != 0)
                        fail_msg("%s\n  with files    %.400s\n  without files %.400s", cases[i].query, got.data,
                                 expected.data);
                if (cases[i].spills != (fake_spill.created > 0))
                        fail_msg("%s: %d files", cases[i].query, fake_spill.created);
                if (cases[i].same_type)
                        assert_int_equal(type, expected_type);
                buf_done(&expected);
                buf_done(&got);
        }
}

static void test_order_by(void **state)
{
        static const Case cases[] = {
                {"[1,[41,[" T ",\"shuffled\"]]" MANY, true, true},
                {"[1,[41,[" T ",\"shuffled\"]]" ALL, true, true},
                {"[1,[41,[" T ",[74,[\"shuffled\"]]]]" ALL, true, true},
                /* several keys, ties, stable */
                {"[1,[41,[" T ",\"few\"]]" ALL, true, true},
                {"[1,[41,[" T ",\"few\",[74,[\"text\"]]]]" ALL, true, true},
                {"[1,[41,[" T ",[74,[\"few\"]],[73,[\"shuffled\"]]]]" ALL, true, true},
                {"[1,[41,[" T ",\"sometimes\",\"text\"]]" ALL, true, true},
                {"[1,[41,[" T ",[74,[\"sometimes\"]],\"id\"]]" ALL, true, true},
                {"[1,[41,[" T ",\"absent\"]]" ALL, true, true},
                /* functions as keys */
                {"[1,[41,[" T "," F("[26,[" ROW("shuffled") ",7]]") "]]" ALL, true, true},
                {"[1,[41,[" T "," F("[24,[\"k\"," ROW("text") "]]") "]]" ALL, true, true},
                {"[1,[41,[" T "," F("[2,[" ROW("few") "," ROW("shuffled") "]]") "]]" ALL, true, true},
                {"[1,[41,[[38,[" T "," F(ROW("shuffled")) "]]," F("[10,[1]]") "]]" ALL, true, true},
                /* errors in keys */
                {"[1,[41,[" T "," F("[24,[1," ROW("text") "]]") "]]" ALL, false, true},
                {"[1,[41,[" T ",\"few\"," F("[24,[1," ROW("text") "]]") "]]" ALL, false, true},
                {"[1,[41,[" T ",\"id\"," F("[24,[1," ROW("text") "]]") "]]" ALL, true, true},
                /* what comes after */
                {"[1,[43,[[41,[" T ",\"shuffled\"]]]]" ALL, true, true},
                {"[1,[70,[[41,[" T ",\"shuffled\"]],5990]]" ALL, true, true},
                {"[1,[45,[[41,[" T ",\"shuffled\"]],-1]]" ALL, true, true},
                {"[1,[41,[[41,[" T ",\"shuffled\"]],\"few\"]]" ALL, true, true},
                {"[1,[52,[[41,[" T ",\"shuffled\"]]]]" MANY, true, true},
                {"[1,[52,[[41,[" T ",\"shuffled\"]]]]" ALL, true, true},
                {"[1,[41,[" S ",\"shuffled\"]]" MANY, true, true},
                /* an index, and within its values */
                {"[1,[41,[" T ",\"shuffled\"],{\"index\":\"few\"}]" ALL, false, true},
                {"[1,[41,[" T ",\"shuffled\"],{\"index\":\"half\"}]" ALL, true, true},
                {"[1,[41,[" T ",[74,[\"text\"]]],{\"index\":[74,[\"half\"]]}]" ALL, true, true},
                {"[1,[71,[[41,[" T ",\"shuffled\"],{\"index\":\"half\"}],10]]" ALL, true, true},
                {"[1,[41,[" T ",\"shuffled\"],{\"index\":\"shuffled\"}]" ALL, false, true},
                /* arrays stay in memory */
                {"[1,[41,[[51,[" T ",\"ARRAY\"]],\"shuffled\"]]" MANY, false, true},
        };
        (void)state;
        check_same(cases, ELEMENTS(cases));
}

/* The first rows alone: no files, and the same rows. */
static void test_first_rows(void **state)
{
#define SORTED "[41,[" T ",\"shuffled\"]]"
#define BY_FEW "[41,[" T ",\"few\",[74,[\"text\"]]]]"
#define EXPECT(q)                                                                                                      \
        {                                                                                                              \
                "[1," q ALL, false, false                                                                              \
        }
        static const Case cases[] = {
                EXPECT("[71,[" SORTED ",10]]"),
                EXPECT("[71,[" BY_FEW ",70]]"),
                EXPECT("[71,[[41,[" T ",[74,[\"few\"]]]],70]]"),
                EXPECT("[71,[" SORTED ",1]]"),
                EXPECT("[71,[[70,[" SORTED ",5]],20]]"),
                EXPECT("[71,[[71,[" SORTED ",5]],20]]"),
                EXPECT("[71,[[71,[" SORTED ",20]],5]]"),
                EXPECT("[30,[" SORTED ",3,9]]"),
                EXPECT("[30,[" SORTED ",3,9],{\"right_bound\":\"closed\"}]"),
                EXPECT("[30,[" SORTED ",3,9],{\"left_bound\":\"open\"}]"),
                EXPECT("[45,[" SORTED ",0]]"),
                EXPECT("[45,[" SORTED ",31]]"),
                EXPECT("[170,[" SORTED ",31]]"),
                EXPECT("[170,[[45,[" SORTED ",31]],\"id\"]]"),
                /* not constants, or none of the first, or errors that somebody might miss: all is sorted */
                {"[1,[71,[" SORTED ",[24,[5,5]]]]" ALL, true, true},
                {"[1,[30,[" SORTED ",-3,9]]" ALL, true, true},
                {"[1,[71,[[41,[" T ",\"few\"," F(ROW("text")) "]],3]]" ALL, true, true},
                {"[1,[71,[" SORTED ",0]]" ALL, false, true},
                {"[1,[71,[[41,[" T "," F("[24,[1," ROW("text") "]]") "]],3]]" ALL, false, true},
                /* so many that they are written, too */
                {"[1,[71,[" SORTED ",3000]]" MANY, true, true},
                {"[1,[71,[" SORTED ",5999]]" MANY, true, true},
        };
        (void)state;
        check_same(cases, ELEMENTS(cases));
}

#define TEXTS     "[38,[" T "," F(ROW("text")) "]]"
#define MOD(f, n) "[28,[" ROW(f) "," #n "]]"

static void test_distinct(void **state)
{
        static const Case cases[] = {
                {"[1,[42,[" TEXTS "]]" MANY, true, true},
                {"[1,[42,[" TEXTS "]]" ALL, true, true},
                {"[1,[52,[[42,[" TEXTS "]]]]" MANY, true, true},
                {"[1,[52,[[42,[" TEXTS "]]]]" ALL, true, true},
                {"[1,[43,[[42,[" TEXTS "]]]]" ALL, true, true},
                {"[1,[71,[[42,[" TEXTS "]],10]]" ALL, true, true},
                {"[1,[42,[[38,[" T "," F("[2,[" ROW("few") "," MOD("shuffled", 100) "]]") "]]]]" ALL, true, true},
                {"[1,[42,[[38,[" T "," F("[2,[" ROW("text") "," MOD("shuffled", 2) "]]") "]]]]" ALL, true, true},
                {"[1,[42,[[38,[" T "," F(ROW("few")) "]]]]" ALL, false, true},
                {"[1,[42,[[51,[" TEXTS ",\"ARRAY\"]]]]" MANY, false, true},
        };
        (void)state;
        check_same(cases, ELEMENTS(cases));
}

#define BY(f)      "[144,[" T ",\"" f "\"]]"
#define UNGROUP(q) "[150,[" q "]]"

static void test_groups(void **state)
{
        static const Case cases[] = {
                /* rows: as many as an array may hold, and in memory at the end */
                {"[1," BY("few") MANY, true, true},
                {"[1," UNGROUP(BY("few")) MANY, true, true},
                {"[1," BY("text") MANY, true, true},
                {"[1," BY("few") ALL, false, true},
                {"[1,[41,[" BY("few") ",\"shuffled\"]]" MANY, true, true},
                {"[1,[71,[[41,[" BY("few") ",\"shuffled\"]],2]]" MANY, true, true},
                {"[1," UNGROUP("[71,[[41,[" BY("few") ",[74,[\"text\"]]]],2]]") MANY, true, true},
                {"[1,[45,[" BY("few") ",3]]" MANY, true, true},
                {"[1,[43,[[45,[" BY("few") ",3]]]]" MANY, true, true},
                {"[1,[45,[" BY("text") ",3]]" MANY, true, true},
                {"[1,[41,[[38,[" BY("few") "," F(ROW("text")) "]]," F("[10,[1]]") "]]" MANY, true, true},
                {"[1,[42,[[38,[" BY("few") "," F(MOD("shuffled", 7)) "]]]]" MANY, true, true},
                {"[1,[52,[[41,[" BY("few") ",\"shuffled\"]]]]" MANY, true, true},
                {"[1,[144,[[41,[" BY("few") ",\"shuffled\"]],\"half\"]]" MANY, true, true},
                {"[1,[41,[[39,[" BY("few") "," F("[17,[" ROW("half") ",1]]") "]],\"shuffled\"]]" MANY, true, true},
                {"[1,[41,[[144,[" T
                 "," F("[2,[" ROW("few") "," ROW("half") "]]") "],{\"multi\":true}],\"shuffled\"]]" MANY,
                 true, true},
                /* accumulators */
                {"[1," UNGROUP("[43,[" BY("text") "]]") MANY, true, true},
                {"[1," UNGROUP("[43,[" BY("text") "]]") ALL, true, true},
                {"[1,[43,[" UNGROUP("[43,[" BY("text") "]]") "]]" ALL, true, true},
                {"[1,[71,[[41,[" UNGROUP("[145,[" BY("text") ",\"shuffled\"]]") ",[74,[\"reduction\"]]]],5]]" ALL, true,
                 false},
                {"[1," UNGROUP("[145,[[144,[" T "," F(MOD("shuffled", 2000)) "]],\"shuffled\"]]") ALL, true, true},
                {"[1," UNGROUP("[146,[[144,[" T "," F(MOD("shuffled", 2000)) "]],\"sometimes\"]]") ALL, true, true},
                {"[1," UNGROUP("[147,[[144,[" T "," F(MOD("shuffled", 700)) "]],\"text\"]]") ALL, true, true},
                {"[1," UNGROUP("[148,[[144,[" T "," F(MOD("shuffled", 700)) "]],\"half\"]]") ALL, true, true},
                {"[1," UNGROUP("[148,[[38,[[144,[" T "," F(MOD("shuffled", 2000)) "]]," F(ROW("text")) "]]]]") ALL,
                 true, true},
                {"[1," UNGROUP("[37,[[38,[[144,[" T "," F(MOD("shuffled", 2000)) "]]," F(
                         ROW("id")) "]],[69,[[2,[2,3]],[24,[[10,[2]],[10,[3]]]]]]]]") ALL,
                 true, true},
                {"[1," UNGROUP("[43,[" BY("few") "]]") ALL, false, true},
                /* the first ones of each group, and of the groups */
                {"[1,[71,[[41,[" UNGROUP("[43,[" BY("few") "]]") ",[74,[\"reduction\"]]]],5]]" ALL, false, true},
                {"[1,[71,[[41,[" BY("few") ",\"shuffled\"]],2]]" ALL, false, true},
                /* one value of many groups: RethinkDB's limit */
                {"[1,[43,[" BY("text") "]]" ALL, false, true},
                {"[1," UNGROUP("[24,[[43,[" BY("text") "]],1]]") ALL, false, true},
        };
        (void)state;
        check_same(cases, ELEMENTS(cases));
}

#define LEFT       "[71,[" T ",7]]"
#define LEFT_ONE   "[71,[" T ",1]]"
#define LEFT_TWO   "[71,[" T ",2]]"
#define SAME(f)    "[69,[[2,[2,3]],[17,[[170,[[10,[2]],\"" f "\"]],[170,[[10,[3]],\"" f "\"]]]]]]"
#define MADE_RIGHT "[38,[" S "," F("[35,[[10,[1]],{\"made\":1}]]") "]]"
#define SORTED_S   "[41,[" S ",\"shuffled\"]]"

static void test_joins(void **state)
{
        static const Case cases[] = {
                {"[1,[48,[" LEFT "," MADE_RIGHT "," SAME("few") "]]" ALL, true, true},
                {"[1,[49,[" LEFT "," MADE_RIGHT "," SAME("few") "]]" ALL, true, true},
                {"[1,[49,[" LEFT "," MADE_RIGHT "," SAME("text") "]]" ALL, true, true},
                {"[1,[72,[[48,[" LEFT "," MADE_RIGHT "," SAME("few") "]]]]" ALL, true, true},
                {"[1,[48,[" LEFT "," SORTED_S "," SAME("half") "]]" ALL, true, true},
                {"[1,[48,[" LEFT ",[39,[" MADE_RIGHT "," F("[17,[" ROW("few") ",1]]") "]]," SAME("few") "]]" ALL, false,
                 true},
                /* read once, or twice and kept for nobody */
                {"[1,[48,[" LEFT_ONE "," MADE_RIGHT "," SAME("few") "]]" ALL, false, true},
                {"[1,[48,[" LEFT_TWO "," MADE_RIGHT "," SAME("few") "]]" ALL, true, true},
                /* a table is read again */
                {"[1,[48,[" LEFT "," S "," SAME("few") "]]" ALL, false, true},
                {"[1,[48,[" LEFT ",[182,[" S ",10,1400]]," SAME("few") "]]" ALL, false, true},
                {"[1,[48,[" LEFT ",[182,[" S ",10,200]]," SAME("few") "]]" ALL, false, true},
                /* a join on the right of a join */
                {"[1,[48,[" LEFT ",[38,[[48,[[71,[" S ",9]]," MADE_RIGHT
                 "," SAME("few") "]]," F("[170,[[10,[1]],\"right\"]]") "]]," SAME("half") "]]" ALL,
                 true, true},
                /* constant arrays, and an error on the right */
                {"[1,[48,[" LEFT ",[2,[{\"few\":1},{\"few\":2}]]," SAME("few") "]]" ALL, false, true},
                {"[1,[48,[" LEFT ",[38,[" S "," F("[24,[1," ROW("text") "]]") "]]," SAME("few") "]]" ALL, false, true},
        };
        (void)state;
        check_same(cases, ELEMENTS(cases));
}

/* Rows of several blocks each, and none at all. */
static void test_large_rows(void **state)
{
#define B "[15,[[14,[\"test\"]],\"b\"]]"
        static const Case cases[] = {
                {"[1,[41,[" B ",\"shuffled\"]]" MANY, true, true},
                {"[1,[41,[" B ",\"text\",[74,[\"id\"]]]]" ALL, true, true},
                {"[1,[41,[" B "," F("[24,[\"x\"," ROW("text") "]]") "]]" ALL, true, true},
                {"[1,[71,[[41,[" B ",[74,[\"text\"]]]],30]]" ALL, true, true},
                {"[1,[42,[[38,[" B "," F(ROW("text")) "]]]]" ALL, true, true},
                {"[1,[144,[" B ",\"text\"]]" MANY, true, true},
                {"[1," UNGROUP("[148,[[144,[" B ",\"id\"]],\"text\"]]") ALL, true, true},
                {"[1,[48,[[71,[" T ",3]],[38,[" B "," F("[24,[" ROW("text") ",\"\"]]") "]],[69,[[2,[2,3]],true]]]]" ALL,
                 true, true},
                {"[1,[41,[[182,[" B ",5,5]],\"shuffled\"]]" ALL, false, true},
                {"[1,[42,[[38,[[182,[" B ",5,5]]," F(ROW("text")) "]]]]" ALL, false, true},
        };
        (void)state;
        check_same(cases, ELEMENTS(cases));
}

/* More than the query may hold is a stream, however few rows it is. */
#define SMALL_BATCHES ",{\"array_limit\":1000000,\"max_batch_rows\":100}]"
static void test_small_memory(void **state)
{
        static const char *const queries[] = {
                "[1,[41,[" T ",\"shuffled\"]]" SMALL_BATCHES,
                "[1,[42,[[40,[" T "," F("[2,[" ROW("text") ",[24,[\"x\"," ROW("text") "]]]]") "]]]]" SMALL_BATCHES,
                "[1," UNGROUP(BY("text")) SMALL_BATCHES,
        };
        QueryWorld small = tight;
        small.memory_max_bytes = 1 << 20;
        (void)state;
        for (size_t i = 0; i < ELEMENTS(queries); i++) {
                Buf expected, got;
                QueryAnswer expected_type, type = ANSWER_ATOM;
                fake_spill_reset();
                run_in(&roomy, queries[i], &expected, &expected_type);
                run_in(&small, queries[i], &got, &type);
                assert_int_equal(expected_type, ANSWER_ATOM);
                if (type != ANSWER_PARTIAL)
                        fail_msg("%s: type %d, %.200s", queries[i], type, got.data);
                /* the same rows, without the array's brackets */
                assert_memory_equal(expected.data + 1, got.data, got.size - 1);
                assert_int_equal(expected.size, got.size + 2);
                buf_done(&expected);
                buf_done(&got);
        }
}

static unsigned pick(uint64_t *rng)
{
        *rng = *rng * 6364136223846793005u + 1442695040888963407u;
        return (unsigned)(*rng >> 33);
}

/* Sorts of all kinds, and parts of what they give. */
static void test_random_sorts(void **state)
{
        static const char *const sources[] = {T,
                                              S,
                                              "[39,[" T "," F("[17,[" ROW("half") ",1]]") "]]",
                                              "[182,[" T ",100,4000]]",
                                              "[35,[" S ",{\"more\":[2,[1,2]]}]]",
                                              "[44,[" T "," S "]]"};
        static const char *const keys[] = {"\"shuffled\"",
                                           "\"few\"",
                                           "\"half\"",
                                           "\"text\"",
                                           "\"sometimes\"",
                                           "\"absent\"",
                                           F(MOD("shuffled", 13)),
                                           F("[2,[" ROW("half") "," MOD("shuffled", 5) "]]")};
        uint64_t rng = 42;
        (void)state;
#define PICK(n) (pick(&rng) % (unsigned)(n))
        for (int round = 0; round < 80; round++) {
                char sort[1000], query[1200];
                int size = snprintf(sort, sizeof sort, "[41,[%s", sources[PICK(ELEMENTS(sources))]);
                for (unsigned i = 0, count = 1 + PICK(3); i < count; i++)
                        size += snprintf(sort + size, sizeof sort - (size_t)size, PICK(2) ? ",%s" : ",[74,[%s]]",
                                         keys[PICK(ELEMENTS(keys))]);
                snprintf(sort + size, sizeof sort - (size_t)size, "]]");
                unsigned n = PICK(10) ? PICK(300) : PICK(7000);
                switch (PICK(7)) {
                case 0: snprintf(query, sizeof query, "[1,[71,[%s,%u]]" ALL, sort, n); break;
                case 1: snprintf(query, sizeof query, "[1,[70,[%s,%u]]" ALL, sort, n); break;
                case 2: snprintf(query, sizeof query, "[1,[71,[[70,[%s,%u]],%u]]" ALL, sort, n, PICK(200)); break;
                case 3: snprintf(query, sizeof query, "[1,[30,[%s,%u,%u]]" ALL, sort, n, n + PICK(500)); break;
                case 4: snprintf(query, sizeof query, "[1,[45,[%s,%u]]" ALL, sort, n); break;
                case 5: snprintf(query, sizeof query, "[1,[43,[[70,[%s,%u]]]]" ALL, sort, n); break;
                default: snprintf(query, sizeof query, "[1,%s" MANY, sort);
                }
                Buf expected, got;
                run_in(&roomy, query, &expected, NULL);
                if (strncmp((char *)expected.data, "FAIL", 4) == 0 && !strstr((char *)expected.data, "out of bounds"))
                        fail_msg("%s: %s", query, expected.data);
                run_in(&tight, query, &got, NULL);
                if (strcmp((char *)expected.data, (char *)got.data) != 0)
                        fail_msg("%s\n  with files    %.300s\n  without files %.300s", query, got.data, expected.data);
                buf_done(&expected);
                buf_done(&got);
        }
}

/* Each call of a file fails in turn. */
static const char *const swept[] = {
        "[1,[41,[" S ",\"few\",\"shuffled\"]]" ALL,
        "[1,[42,[[38,[" S "," F(ROW("text")) "]]]]" ALL,
        "[1,[71,[[41,[[144,[" S ",\"few\"]],\"shuffled\"]],1]]" MANY,
        "[1," UNGROUP("[148,[[144,[" S ",\"shuffled\"]],\"text\"]]") ALL,
        "[1,[48,[[71,[" T ",4]]," MADE_RIGHT "," SAME("few") "]]" ALL,
};

static void test_failing_files(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTS(swept); i++) {
                Buf expected;
                fake_spill_reset();
                run_in(&tight, swept[i], &expected, NULL);
                int calls = fake_spill.calls;
                assert_true(calls > 10);
                for (int n = 1; n <= calls; n++) {
                        Buf got;
                        fake_spill_reset();
                        fake_spill.fail_at = n;
                        run_in(&tight, swept[i], &got, NULL);
                        const char *text = (const char *)got.data;
                        if (strcmp(text, "FAIL No file.") != 0 && strcmp(text, "FAIL The disk is full.") != 0 &&
                            strcmp(text, "FAIL Cannot read.") != 0)
                                fail_msg("%s, call %d: %.200s", swept[i], n, text);
                        buf_done(&got);
                }
                buf_done(&expected);
        }
}

static void test_failing_memory(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTS(swept); i++) {
                Buf expected;
                fake_spill_reset();
                run_in(&tight, swept[i], &expected, NULL);
                for (long n = 1, fired = 1; fired; n += 1 + n / 16) {
                        Buf got;
                        fake_spill_reset();
                        mem_fail_nth(n);
                        run_in(&tight, swept[i], &got, NULL);
                        fired = mem_fail_fired();
                        mem_fail_nth(0);
                        if (!fired)
                                assert_string_equal((char *)got.data, (char *)expected.data);
                        buf_done(&got);
                }
                buf_done(&expected);
        }
}

/* A bit that changed anywhere in the file is found. */
static void test_damaged_files(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTS(swept); i++) {
                Buf got;
                fake_spill_reset();
                run_in(&tight, swept[i], &got, NULL);
                uint64_t bits = 8 * fake_spill.written / (uint64_t)fake_spill.created; /* of one file */
                buf_done(&got);
                for (uint64_t bit = 0; bit < bits; bit += bits / 97 + 1) {
                        fake_spill_reset();
                        fake_spill.flip_bit = bit;
                        run_in(&tight, swept[i], &got, NULL);
                        if (!strstr((char *)got.data, "is damaged"))
                                fail_msg("%s, bit %llu: %.200s", swept[i], (unsigned long long)bit, got.data);
                        buf_done(&got);
                }
        }
}

/* Rows with ids in order; `shuffled` a permutation, `few` with many ties, `sometimes` not in all rows. */
static void add_table(const char *name, size_t rows, int text_bytes, bool index)
{
        Buf json;
        buf_init(&json, 64 << 20);
        OK(buf_append_byte(&json, '['));
        for (size_t i = 0; i < rows; i++) {
                size_t mixed = i * 7919 % rows;
                OK(buf_printf(&json, "%s{\"id\":%zu,\"shuffled\":%zu,\"few\":%zu,\"half\":%zu,\"text\":\"%zx-%*s\"",
                              i ? "," : "", i, mixed, mixed % 31, mixed % 2, i * 2654435761u % 100003, text_bytes,
                              "a text that takes its place: the quick brown fox"));
                if (i % 3)
                        OK(buf_printf(&json, ",\"sometimes\":%zu", mixed % 97));
                OK(buf_append_byte(&json, '}'));
        }
        OK(buf_append_str(&json, "]"));
        OK(buf_append_byte(&json, 0));
        fake_add(name, (const char *)json.data);
        if (index) {
                fake_add_index("few", false, false);
                fake_add_index("shuffled", false, false);
                fake_add_index("half", false, false);
        }
        buf_done(&json);
}

static int set_up(void **state)
{
        (void)state;
        arena_init(&fake.arena, 0);
        add_table("t", ROWS, 0, true);
        add_table("s", SMALL_ROWS, 0, false);
        add_table("b", 40, 21000, false);
        return 0;
}

static int tear_down(void **state)
{
        (void)state;
        fake_forget();
        arena_done(&fake.arena);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_order_by),      cmocka_unit_test(test_first_rows),
                cmocka_unit_test(test_distinct),      cmocka_unit_test(test_groups),
                cmocka_unit_test(test_joins),         cmocka_unit_test(test_large_rows),
                cmocka_unit_test(test_small_memory),  cmocka_unit_test(test_random_sorts),
                cmocka_unit_test(test_failing_files), cmocka_unit_test(test_failing_memory),
                cmocka_unit_test(test_damaged_files),
        };
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
