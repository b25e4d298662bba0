/* table_plan_test.c - the planner over real tables: it changes no answer, random tables and queries (plan_random.h)
 * with its choices on, on whatever they cost, and off; what it chooses, and what it tells of it. */
#include <stdlib.h>

#include "query/query.h"
#include "table/plan_random.h"
#include "table/table_index_test.h"

typedef struct Session {
        World w;
        QueryWorld query_world;
        Query *query;
        Buf out;
} Session;

static void start(Session *s)
{
        *s = (Session){0};
        world_init(&s->w, 21);
        s->w.by_hand = true;
        world_open(&s->w);
        s->query_world = (QueryWorld){
                .source = s->w.source, .host = &s->w.host, .memory_max_bytes = 64 << 20, .scan_min_rows = 1};
        ok(query_new(&s->query_world, "admin", &s->query));
        buf_init(&s->out, 64 << 20);
}

static void stop(Session *s)
{
        buf_done(&s->out);
        query_free(s->query);
        world_done(&s->w);
}

/* A session whose planner uses any index that it may. */
static void eager(Session *s, bool yes)
{
        query_free(s->query);
        s->query_world.plan_always = yes;
        ok(query_new(&s->query_world, "admin", &s->query));
}

/* Everything that it answers as a JSON array in s->out; or the code of the error. */
static StatusCode run(Session *s, Bytes term, const char *options)
{
        QueryAnswer answer = ANSWER_PARTIAL;
        uint8_t *text;
        size_t size = term.size + strlen(options) + 8;
        query_reset(s->query);
        ok(query_text_buffer(s->query, size, &text));
        size = (size_t)snprintf((char *)text, size, "[1,%.*s,%s]", (int)term.size, (const char *)term.data, options);
        buf_clear(&s->out);
        ok(buf_append_byte(&s->out, '['));
        Status st = query_prepare(s->query, BYTES(text, size));
        while (!st && answer == ANSWER_PARTIAL) {
                size_t before = s->out.size;
                if (before > 1)
                        ok(buf_append_byte(&s->out, ','));
                size_t rows = s->out.size;
                st = query_next(s->query, &s->out, &answer);
                if (s->out.size == rows)
                        s->out.size = before;
        }
        StatusCode code = status_code(st);
        if (st) {
                buf_clear(&s->out);
                ok(buf_append_str(&s->out, status_message(st)));
                status_ignore(st);
        } else {
                ok(buf_append_byte(&s->out, ']'));
        }
        ok(buf_append_byte(&s->out, 0));
        return code;
}

static void must_run(Session *s, const char *term)
{
        if (run(s, BYTES_STR(term), "{}") != ERR_NONE)
                fail_msg("%s: %s", term, (const char *)s->out.data);
}

static int compare_values(const void *a, const void *b)
{
        return value_compare(*(const Value *)a, *(const Value *)b);
}

/* The answer, in an order that does not depend on the one in which it came; V_NONE: an error. */
static Value answer_of(Session *s, Bytes term, const char *options, bool ordered, Arena *arena)
{
        Value rows;
        if (run(s, term, options) != ERR_NONE)
                return value_none();
        ok(json_parse_copy(BYTES(s->out.data, s->out.size - 1), JSON_PLAIN, arena, &rows));
        size_t count = value_count(rows);
        Value *sorted = arena_array(arena, Value, count);
        for (size_t i = 0; i < count; i++)
                sorted[i] = value_at(rows, i);
        bool one = count == 1 && value_is(sorted[0], V_ARRAY); /* an atom that is an array */
        if (one) {
                Value array = sorted[0];
                count = value_count(array);
                sorted = arena_array(arena, Value, count);
                for (size_t i = 0; i < count; i++)
                        sorted[i] = value_at(array, i);
        }
        if (!ordered && count > 1)
                qsort(sorted, count, sizeof *sorted, compare_values);
        return value_array(sorted, count);
}

static void check_same(Session *s, Bytes term, bool ordered)
{
        static const char *const ways[] = {"{}", "{\"array_limit\":1000000}", "{\"plan\":false}"};
        Value answers[3];
        Arena arena;
        arena_init(&arena, 0);
        for (int i = 0; i < 3; i++) {
                eager(s, i == 0);
                answers[i] = answer_of(s, term, ways[i], ordered, &arena);
        }
        for (int i = 0; i < 2; i++) {
                bool both_failed = value_is(answers[i], V_NONE) && value_is(answers[2], V_NONE);
                bool one_failed = value_is(answers[i], V_NONE) != value_is(answers[2], V_NONE);
                if (both_failed || (!one_failed && value_equal(answers[i], answers[2])))
                        continue;
                eager(s, i == 0);
                (void)run(s, term, ways[i]);
                printf("with the planner %s: %s\n", i == 0 ? "(eager)" : "", (const char *)s->out.data);
                (void)run(s, term, "{\"plan\":false}");
                printf("without it: %s\n", (const char *)s->out.data);
                (void)run(s, term, "{\"explain\":true}");
                fail_msg("%.*s\n%s", (int)term.size, (const char *)term.data, (const char *)s->out.data);
        }
        arena_done(&arena);
        (void)run(s, term, "{\"explain\":\"analyze\",\"profile\":true}"); /* whatever it is, it can be told of */
}

#define CASES   6
#define ROWS    40
#define QUERIES 150

static void fill(Session *s, PlanBytes *bytes)
{
        Buf text;
        buf_init(&text, 1 << 20);
        must_run(s, "[60,[[14,[\"test\"]],\"t\"]]");
        bool tidy = plan_pick(bytes, 2);
        unsigned late = plan_pick(bytes, 2); /* indexes before the rows, or behind them */
        for (unsigned i = 0; i < 2 * ELEMENTS(plan_indexes); i++) {
                unsigned index = i % ELEMENTS(plan_indexes);
                if ((i < ELEMENTS(plan_indexes)) == (late == 1) || index == 9)
                        continue;
                buf_clear(&text);
                plan_index(index, &text);
                ok(buf_append_byte(&text, 0));
                must_run(s, (const char *)text.data);
        }
        for (unsigned id = 0; id < ROWS; id++) {
                buf_clear(&text);
                ok(buf_append_str(&text, "[56,[" PLAN_TABLE ","));
                plan_row(bytes, id, tidy, &text);
                ok(buf_append_str(&text, "],{\"conflict\":\"replace\"}]"));
                ok(buf_append_byte(&text, 0));
                must_run(s, (const char *)text.data);
        }
        buf_done(&text);
        ok(try_build_all(&s->w));
}

static void random_bytes(uint64_t *state, uint8_t *out, size_t size)
{
        for (size_t i = 0; i < size; i++) {
                *state = *state * 6364136223846793005u + 1442695040888963407u;
                out[i] = (uint8_t)(*state >> 56);
        }
}

static void test_same_answers(void **state)
{
        uint64_t seed = getenv("PLAN_SEED") ? strtoull(getenv("PLAN_SEED"), NULL, 10) : 5;
        uint8_t bytes[2000];
        Buf query;
        Session s;
        buf_init(&query, 1 << 20);
        for (int i = 0; i < CASES; i++) {
                start(&s);
                must_run(&s, "[60,[[14,[\"test\"]],\"u\"]]");
                must_run(&s, "[56,[" PLAN_OTHER ",[2,[{\"id\":1},{\"id\":2,\"x\":1},{\"id\":\"a\"}]]]]");
                random_bytes(&seed, bytes, sizeof bytes);
                fill(&s, &(PlanBytes){bytes, sizeof bytes, 0});
                for (int k = 0; k < QUERIES; k++) {
                        bool ordered;
                        random_bytes(&seed, bytes, 200);
                        buf_clear(&query);
                        plan_query(&(PlanBytes){bytes, 200, 0}, &query, &ordered);
                        check_same(&s, BYTES(query.data, query.size), ordered);
                }
                stop(&s);
        }
        buf_done(&query);
}

/* --- what is chosen --- */

#define ROW_OF(field) "[170,[[10,[1]],\"" field "\"]]"
#define FILTER(body)  "[39,[" PLAN_TABLE "," FUNC(body) "]]"

static void fill_plain(Session *s)
{
        must_run(s, "[60,[[14,[\"test\"]],\"t\"]]");
        must_run(s,
                 "[56,[" PLAN_TABLE ",[38,[[173,[1000]],[69,[[2,[1]],{\"id\":[10,[1]],\"a\":[28,[[10,[1]],100]],\"b\":"
                 "[28,[[10,[1]],7]],\"tags\":[2,[[28,[[10,[1]],50]],[28,[[10,[1]],30]]]],\"n\":{\"b\":[10,[1]]}}]]]]"
                 "]]");
        for (unsigned i = 0; i < ELEMENTS(plan_indexes); i++) {
                Buf text;
                buf_init(&text, 1 << 12);
                plan_index(i, &text);
                ok(buf_append_byte(&text, 0));
                must_run(s, (const char *)text.data);
                buf_done(&text);
        }
        ok(try_build_all(&s->w));
}

/* The plan's text says so. */
static void tells(Session *s, const char *term, const char *options, const char *what)
{
        assert_int_equal(run(s, BYTES_STR(term), options), ERR_NONE);
        if (!strstr((const char *)s->out.data, what))
                fail_msg("%s: %s", term, (const char *)s->out.data);
}

#define chooses(term, what) tells(&s, term, "{\"explain\":true}", what)

static void test_choices(void **state)
{
        Session s;
        start(&s);
        fill_plain(&s);
        chooses(FILTER("[17,[" ROW_OF("a") ",5]]"), "read by index `a` = 5: 10 of 1000 rows");
        chooses("[39,[" PLAN_TABLE ",{\"a\":5}]]", "read by index `a` = 5: 10 of 1000 rows");
        chooses("[39,[" PLAN_TABLE ",{\"n\":{\"b\":5}}]]", "read by index `nb` = 5: 1 of 1000 rows");
        chooses(FILTER("[17,[[170,[" ROW_OF("n") ",\"b\"]],5]]"), "read by index `nb` = 5: 1 of 1000 rows");
        chooses(FILTER("[17,[" ROW_OF("id") ",5]]"), "read by index `id` = 5: 1 of 1000 rows");
        chooses(FILTER("[67,[[22,[" ROW_OF("id") ",10]],[19,[" ROW_OF("id") ",500]]]]"),
                "read by index `id` >= 10 and < 500: 490 of 1000 rows");
        chooses(FILTER("[67,[[21,[" ROW_OF("a") ",10]],[20,[" ROW_OF("a") ",12]]]]"),
                "read by index `a` > 10 and <= 12: 20 of 1000 rows");
        chooses(FILTER("[19,[10," ROW_OF("a") ",12]]"), "read by index `a` > 10 and < 12: 10 of 1000 rows");
        chooses(FILTER("[67,[[17,[" ROW_OF("a") ",5]],[17,[" ROW_OF("b") ",3]]]]"), "read by index `ab` = [5, 3]");
        chooses(FILTER("[67,[[17,[" ROW_OF("b") ",3]],[17,[" ROW_OF("a") ",5]],[21,[" ROW_OF("tags") ",[2,[]]]]]]"),
                "`ab`");
        chooses(FILTER("[93,[" ROW_OF("tags") ",45]]"), "read by index `multi` = 45: 20 of 1000 rows");
        /* filters in a row are chosen for together; what is left out is told */
        chooses("[39,[[39,[" PLAN_TABLE ",{\"a\":5}]],{\"b\":3}]]", "read by index `ab` = [5, 3]");
        chooses(FILTER("[17,[" ROW_OF("b") ",5]]"), "read by index `b` = 5: 143 of 1000 rows");
        chooses(FILTER("[22,[" ROW_OF("b") ",4]]"),
                "not by index `b`: 428 of 1000 rows are too many to look up one by one");
        chooses(FILTER("[67,[[21,[[24,[" ROW_OF("b") ",1]],2]],[17,[" ROW_OF("a") ",5]]]]"),
                "not by index `a`: what stands before the condition might be an error of other rows");
        chooses(FILTER("[17,[" ROW_OF("a") ",5]]"), "not by index `sum`: its function is more than a field");
        /* what is explicit stays */
        chooses("[39,[[182,[" PLAN_TABLE ",0,90],{\"index\":\"b\"}],{\"a\":5}]]", "not by index `b`: there is no");
        chooses("[39,[[41,[" PLAN_TABLE "],{\"index\":\"a\"}]," FUNC("[17,[" ROW_OF("a") ",5]]") "]]",
                "read by index `a` = 5: 10 of 1000 rows");
        /* and a default that keeps rows without the field reads all of them */
        chooses("[39,[" PLAN_TABLE ",{\"a\":5}],{\"default\":true}]", "not by index `a`: there is no condition");
        tells(&s, "[43,[" FILTER("[17,[" ROW_OF("a") ",5]]") "]]", "{\"explain\":\"analyze\"}",
              "filter(row => row(\\\"a\\\").eq(5))   at most 10 rows");
        tells(&s, FILTER("[17,[" ROW_OF("a") ",5]]"), "{\"explain\":\"analyze\"}", "(really 10, ");
        /* each row is told once, also of what is sorted at once and then read; one that is looked up is no stream */
        tells(&s, "[33,[[71,[[41,[" PLAN_TABLE ",\"b\"]],5]],\"id\"]]", "{\"explain\":\"analyze\"}",
              "pluck(\\\"id\\\")   5 rows   (really 5, ");
        tells(&s, "[33,[[71,[[41,[" PLAN_TABLE ",\"b\"]],5]],\"id\"]]", "{\"explain\":\"analyze\"}",
              "limit(5)   5 rows   (really 5, ");
        tells(&s, "[16,[" PLAN_TABLE ",5]]", "{\"explain\":\"analyze\"}", "get(5)   1 row   (0.");
        /* and nobody knows how many groups there will be */
        tells(&s, "[43,[[144,[" PLAN_TABLE ",\"b\"]]]]", "{\"explain\":true}", "\"text\":\"count()\\n   group(");
        tells(&s, FILTER("[17,[" ROW_OF("a") ",5]]"), "{\"explain\":true,\"plan\":false}",
              "\"text\":\"filter(row => row(\\\"a\\\").eq(5))   at most 1000 rows\\n   table(\\\"t\\\")   1000 "
              "rows\"");
        chooses(FILTER("[17,[" ROW_OF("a") ",5]]"), "index `a`: 1000 values, about 100 different from 0 to 99");
        chooses(FILTER("[17,[" ROW_OF("a") ",5]]"), "index `nb`: 1000 values, about 1000 different from 0 to 999");
        stop(&s);
}

static void test_options(void **state)
{
        Session s;
        start(&s);
        fill_plain(&s);
        assert_int_equal(run(&s, BYTES_STR(PLAN_TABLE), "{\"explain\":\"what\"}"), ERR_LOGIC);
        assert_int_equal(run(&s, BYTES_STR("[15,[[14,[\"test\"]],\"none\"]]"), "{\"explain\":true}"), ERR_OP_FAILED);
        assert_int_equal(run(&s, BYTES_STR("[43,[" PLAN_TABLE "]]"), "{\"explain\":false}"), ERR_NONE);
        assert_string_equal(s.out.data, "[1000]");
        /* what is only explained is not done */
        assert_int_equal(run(&s, BYTES_STR("[54,[" PLAN_TABLE "]]"), "{\"explain\":true}"), ERR_NONE);
        assert_int_equal(run(&s, BYTES_STR("[43,[" PLAN_TABLE "]]"), "{}"), ERR_NONE);
        assert_string_equal(s.out.data, "[1000]");
        /* an update that moves rows about in the index that it reads by */
        must_run(&s, "[53,[" FILTER("[17,[" ROW_OF("a") ",5]]") "," FUNC("{\"a\":[24,[" ROW_OF("a") ",1]]}") "]]");
        assert_non_null(strstr((const char *)s.out.data, "\"replaced\":10"));
        must_run(&s, "[43,[" FILTER("[17,[" ROW_OF("a") ",6]]") "]]");
        assert_string_equal(s.out.data, "[20]");
        /* the profile has what was chosen as a task */
        Buf profile;
        bool has;
        buf_init(&profile, 1 << 20);
        assert_int_equal(run(&s, BYTES_STR("[43,[" FILTER("[17,[" ROW_OF("a") ",6]]") "]]"), "{\"profile\":true}"),
                         ERR_NONE);
        ok(query_profile(s.query, &profile, &has));
        ok(buf_append_byte(&profile, 0));
        assert_true(has);
        assert_non_null(strstr((const char *)profile.data, "by index `a` = 6: 20 of 1000 rows"));
        buf_done(&profile);
        stop(&s);
}

static void gives(Session *s, const char *term, const char *text)
{
        must_run(s, term);
        if (strcmp((const char *)s->out.data, text) != 0)
                fail_msg("%s: %s", term, (const char *)s->out.data);
}

#define ORDERED       "[41,[" PLAN_TABLE "],{\"index\":\"id\"}]"
#define COUNT_OF(ids) "[43,[[42,[[33,[" ids ",\"id\"]]]]]]"
/* Joins with itself; the key of row 500 is an error. */
#define EQ_JOIN                                                                                                        \
        "[50,[" ORDERED                                                                                                \
        "," FUNC("[65,[[17,[" ROW_OF("id") ",500]],[12,[\"late\"]],[24,[" ROW_OF("b") ",990]]]]") "," PLAN_TABLE "]]"

/* Rows that are gone to instead of passed over, and looked up together instead of one by one. */
static void test_places(void **state)
{
        Session s;
        start(&s);
        fill_plain(&s);
        gives(&s, "[170,[[45,[" PLAN_TABLE ",-1]],\"id\"]]", "[999]");
        gives(&s, "[170,[[45,[[182,[" PLAN_TABLE ",3,70]],-1]],\"id\"]]", "[69]");
        assert_int_equal(run(&s, BYTES_STR("[45,[[182,[" PLAN_TABLE ",3,3]],-1]]"), "{}"), ERR_NON_EXISTENCE);
        gives(&s, COUNT_OF("[81,[" PLAN_TABLE ",20]]"), "[20]");
        gives(&s, COUNT_OF("[81,[" PLAN_TABLE ",900]]"), "[900]");
        gives(&s, COUNT_OF("[81,[[182,[" PLAN_TABLE ",0,90],{\"index\":\"a\"}],50]]"), "[50]");
        gives(&s, "[38,[[71,[" EQ_JOIN ",3]]," FUNC("[170,[[170,[[10,[1]],\"right\"]],\"id\"]]") "]]", "[990,991,992]");
        assert_int_equal(run(&s, BYTES_STR("[43,[" EQ_JOIN "]]"), "{}"), ERR_USER);
        assert_string_equal(s.out.data, "late");
        gives(&s, "[43,[[50,[[71,[" ORDERED ",300]],\"b\"," PLAN_TABLE "]]]]", "[300]");
        stop(&s);
}

/* Every allocation failing in turn: an error, and nothing stays open (world_done asserts that). */
static void test_no_memory(void **state)
{
        static const char *const queries[] = {
                "[1,[43,[" FILTER("[93,[" ROW_OF("tags") ",45]]") "]],{}]",
                "[1,[43,[" FILTER("[67,[[17,[" ROW_OF("a") ",5]],[21,[" ROW_OF("b") ",3]]]]") "]],{\"explain\":true}]",
                "[1," FILTER("[19,[" ROW_OF("a") ",2]]") ",{\"explain\":\"analyze\"}]",
                "[1,[43,[[50,[[71,[" ORDERED ",30]],\"b\"," PLAN_TABLE "]]]],{}]",
                "[1,[81,[" PLAN_TABLE ",3]],{}]",
        };
        Session s;
        start(&s);
        fill_plain(&s);
        s.query = query_free(s.query);
        for (size_t i = 0; i < ELEMENTS(queries); i++) {
                for (long n = 1, fired = 1; fired; n++) {
                        Query *query = NULL;
                        uint8_t *buffer;
                        QueryAnswer answer = ANSWER_PARTIAL;
                        size_t size = strlen(queries[i]);
                        buf_clear(&s.out);
                        mem_fail_nth(n);
                        Status st = query_new(&s.query_world, "admin", &query);
                        if (!st)
                                st = query_text_buffer(query, size, &buffer);
                        if (!st) {
                                memcpy(buffer, queries[i], size);
                                st = query_prepare(query, BYTES(buffer, size));
                        }
                        while (!st && answer == ANSWER_PARTIAL)
                                st = query_next(query, &s.out, &answer);
                        fired = mem_fail_fired();
                        mem_fail_nth(0);
                        assert_true(!st || status_code(st) == ERR_NOMEM);
                        status_ignore(st);
                        query_free(query);
                }
        }
        stop(&s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_choices),   cmocka_unit_test(test_options),      cmocka_unit_test(test_places),
                cmocka_unit_test(test_no_memory), cmocka_unit_test(test_same_answers),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
