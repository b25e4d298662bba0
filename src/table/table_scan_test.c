/* table_scan_test.c - compiled scans (query/exec_scan.h) over real tables of many leaves: what is remembered of a leaf
 * goes with it when its rows change, and is not seen by who reads another moment. */
#include "query/query.h"
#include "table/table_index_test.h"

#define ROWS 3000

static uint64_t random_state = 5;
static unsigned chance(unsigned n)
{
        random_state = random_state * 6364136223846793005u + 1442695040888963407u;
        return (unsigned)((random_state >> 33) % n);
}

/* The whole answer, or the error. */
static void run(const QueryWorld *world, const char *term, bool plan, Buf *out)
{
        Query *query;
        uint8_t *buffer;
        QueryAnswer answer = ANSWER_PARTIAL;
        size_t size = strlen(term) + 32;
        buf_clear(out);
        ok(query_new(world, "admin", &query));
        ok(query_text_buffer(query, size, &buffer));
        size = (size_t)snprintf((char *)buffer, size, "[1,%s,{\"plan\":%s}]", term, plan ? "true" : "false");
        Status st = query_prepare(query, BYTES(buffer, size));
        while (!st && answer == ANSWER_PARTIAL) {
                st = query_next(query, out, &answer);
                if (!st)
                        st = buf_append_byte(out, ',');
        }
        if (st) {
                buf_clear(out);
                ok(buf_append_str(out, status_message(st)));
                status_ignore(st);
        }
        ok(buf_append_byte(out, 0));
        query_free(query);
}

#define T        "[15,[[14,[\"test\"]],\"t\"]]"
#define FIELD(f) "[170,[[10,[1]],\"" f "\"]]"
#define F(body)  "[69,[[2,[1]]," body "]]"
#define ADD      "[69,[[2,[2,3]],[24,[[10,[2]],[10,[3]]]]]]"

static const char *const queries[] = {
        "[43,[[39,[" T ",{\"city\":\"c3\"}]]]]",
        "[43,[[39,[" T "," F("[67,[[21,[" FIELD("value") ",500]],[20,[" FIELD("price") ",70]]]]") "]]]]",
        "[146,[[144,[" T ",\"group\"]],\"price\"]]",
        "[37,[[38,[" T "," F(FIELD("value")) "]]," ADD "]]",
        "[145,[" T ",\"price\"]]",
        "[148,[" T ",\"price\"]]",
        "[147,[[144,[" T ",\"city\"]],\"value\"]]",
        "[42,[[170,[" T ",\"city\"]]]]",
        "[43,[[39,[[182,[" T ",100,2222]]," F("[21,[" FIELD("value") ",500]]") "]]]]",
        "[39,[" T "," F("[21,[" FIELD("value") ",950]]") "]]",
        "[38,[[39,[" T "," F("[21,[" FIELD("price") ",90]]") "]]," F(FIELD("note")) "]]",
};

static void insert(const QueryWorld *world, unsigned first, unsigned count, Buf *out)
{
        Buf text;
        buf_init(&text, 1 << 22);
        ok(buf_append_str(&text, "[56,[" T ",[2,["));
        for (unsigned i = 0; i < count; i++) {
                ok(buf_printf(&text, "%s{\"id\":%u,\"value\":%u,\"price\":%u.%02u,\"group\":%u,\"city\":\"c%u\"%s}",
                              i ? "," : "", first + i, chance(1000), chance(100), chance(100), chance(50), chance(8),
                              chance(4) ? ",\"note\":\"some text that makes the row a little longer\"" : ""));
        }
        ok(buf_append(&text, "]]],{\"conflict\":\"replace\"}]", sizeof "]]],{\"conflict\":\"replace\"}]"));
        run(world, (const char *)text.data, true, out);
        assert_non_null(strstr((const char *)out->data, "\"errors\":0"));
        buf_done(&text);
}

static void compare(const QueryWorld *world, Buf *with, Buf *without)
{
        for (size_t i = 0; i < ELEMENTS(queries); i++) {
                run(world, queries[i], true, with);
                run(world, queries[i], false, without);
                if (strcmp((char *)with->data, (char *)without->data) != 0)
                        fail_msg("%s\n%.300s\n%.300s", queries[i], (char *)with->data, (char *)without->data);
        }
}

static void test_scans_between_writes(void **state)
{
        World w;
        Buf with, without;
        world_init(&w, 3);
        world_open(&w);
        buf_init(&with, 64 << 20);
        buf_init(&without, 64 << 20);
        QueryWorld world = {.source = w.source, .host = &w.host, .memory_max_bytes = 64 << 20};
        run(&world, "[57,[\"test\"]]", true, &with);
        run(&world, "[60,[[14,[\"test\"]],\"t\"]]", true, &with);
        for (unsigned i = 0; i < ROWS; i += 500)
                insert(&world, i, 500, &with);
        compare(&world, &with, &without);
        compare(&world, &with, &without); /* from what is remembered */
        for (unsigned round = 0; round < 12; round++) {
                char text[512];
                switch (round % 4) {
                case 0: insert(&world, ROWS + 20 * round, 40, &with); break;
                case 1: insert(&world, chance(ROWS), 3, &with); break;
                case 2:
                        snprintf(text, sizeof text, "[53,[[16,[" T ",%u]],{\"value\":%u,\"city\":\"other\"}]]",
                                 chance(ROWS), chance(2000));
                        run(&world, text, true, &with);
                        break;
                default:
                        snprintf(text, sizeof text, "[54,[[182,[" T ",%u,%u]]]]", 100 * round,
                                 100 * round + chance(90));
                        run(&world, text, true, &with);
                        break;
                }
                compare(&world, &with, &without);
        }
        buf_done(&with);
        buf_done(&without);
        world_done(&w);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_scans_between_writes)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
