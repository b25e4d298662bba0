/* plan_fuzz.c - the planner and the fast paths never change a result: a table, its indexes and queries made of the
 * input (table/plan_random.h), each run with all choices on, whatever they cost, as usual, and off. What must hold: the
 * same rows, or an error each time; whatever can be asked can be explained; and nothing stays open. PLAN_FUZZ_PRINT=1
 * prints each query and its answer. */
#include <stdio.h>
#include <stdlib.h>

#include "os/sim.h"
#include "query/query.h"
#include "table/plan_random.h"
#include "table/table.h"
#include "value/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROWS        24
#define QUERIES     12
#define QUERY_BYTES 48 /* of the input, for each query */

typedef struct Machine {
        SimOs *sim;
        Store *store;
        TableCatalog *catalog;
        HostOps host;
        QueryWorld world;
        Query *query;
} Machine;

static Buf out;
static bool print;
static const char *current_text = "";

static _Noreturn void broken(const char *what)
{
        fprintf(stderr, "plan_fuzz: %s\n%s\n", what, current_text);
        abort();
}

static void must(Status st, const char *what)
{
        char text[512];
        if (st) {
                fprintf(stderr, "%s: %s\n", what, status_text(st, text, sizeof text));
                broken(what);
        }
}

static int64_t now_us(void *ctx)
{
        (void)ctx;
        return 1600000000000000;
}

static int64_t mono_ns(void *ctx)
{
        static int64_t ns;
        (void)ctx;
        return ns++;
}

static Status random_bytes(void *ctx, void *bytes, size_t size)
{
        return os_random(sim_os(((Machine *)ctx)->sim), bytes, size);
}

/* Everything that it answers, as a JSON array; or the error's message. */
static StatusCode run(Machine *m, Bytes term, const char *options)
{
        QueryAnswer answer = ANSWER_PARTIAL;
        uint8_t *text;
        size_t size = term.size + strlen(options) + 8;
        query_reset(m->query);
        must(query_text_buffer(m->query, size, &text), "text buffer");
        size = (size_t)snprintf((char *)text, size, "[1,%.*s,%s]", (int)term.size, (const char *)term.data, options);
        buf_clear(&out);
        must(buf_append_byte(&out, '['), "answer");
        Status st = query_prepare(m->query, BYTES(text, size));
        while (!st && answer == ANSWER_PARTIAL) {
                size_t before = out.size;
                if (before > 1)
                        must(buf_append_byte(&out, ','), "answer");
                size_t rows = out.size;
                st = query_next(m->query, &out, &answer);
                if (out.size == rows)
                        out.size = before;
        }
        StatusCode code = status_code(st);
        if (st) {
                buf_clear(&out);
                must(buf_append_str(&out, status_message(st)), "answer");
                status_ignore(st);
        } else {
                must(buf_append_byte(&out, ']'), "answer");
        }
        if (print)
                fprintf(stderr, "%.*s %s\n  -> %.*s\n", (int)term.size, (const char *)term.data, options,
                        (int)MIN(out.size, 300), (const char *)out.data);
        return code;
}

static void must_run(Machine *m, Bytes term)
{
        current_text = (const char *)term.data;
        if (run(m, term, "{}") != ERR_NONE)
                broken((const char *)out.data);
}

static void new_query(Machine *m, bool always)
{
        m->query = query_free(m->query);
        m->world.plan_always = always;
        must(query_new(&m->world, "admin", &m->query), "query");
}

static void open_machine(Machine *m)
{
        must(sim_new(7, &m->sim), "machine");
        const StoreOptions options = {.os = sim_os(m->sim), .path = "data", .log_segment_bytes = 1 << 20};
        must(store_open(&options, &m->store), "store");
        m->host = (HostOps){.now_us = now_us,
                            .mono_ns = mono_ns,
                            .random = random_bytes,
                            .ctx = m,
                            .server_name = "fuzz",
                            .server_id = "11111111-2222-4333-8444-555555555555"};
        must(table_source_open(m->store, &m->host, "memory", &m->catalog), "catalog");
        m->world = (QueryWorld){
                .source = table_source(m->catalog), .host = &m->host, .memory_max_bytes = 64 << 20, .scan_min_rows = 1};
        new_query(m, false);
}

static void close_machine(Machine *m)
{
        query_free(m->query);
        m->catalog = table_source_close(m->catalog);
        status_ignore(store_close(take(m->store))); /* asserts that no snapshot and no commit is open */
        m->sim = sim_free(m->sim);
}

static void fill(Machine *m, PlanBytes *bytes)
{
        static const char other[] = "[56,[" PLAN_OTHER ",[2,[{\"id\":1},{\"id\":2,\"x\":1},{\"id\":\"a\"}]]]]";
        static const char *const tables[] = {"[60,[[14,[\"test\"]],\"t\"]]", "[60,[[14,[\"test\"]],\"u\"]]"};
        Buf text;
        buf_init(&text, 1 << 20);
        must_run(m, BYTES_STR(tables[0]));
        must_run(m, BYTES_STR(tables[1]));
        must_run(m, BYTES_STR(other));
        bool tidy = plan_pick(bytes, 2);
        unsigned chosen = plan_pick(bytes, 256) + 256 * plan_pick(bytes, 4);
        for (unsigned i = 0; i < ELEMENTS(plan_indexes); i++) {
                if (!(chosen & 1u << i))
                        continue;
                buf_clear(&text);
                plan_index(i, &text);
                must_run(m, BYTES(text.data, text.size));
        }
        for (unsigned id = 0; id < ROWS; id++) {
                buf_clear(&text);
                plan_out(&text, "[56,[" PLAN_TABLE ",");
                plan_row(bytes, id, tidy, &text);
                plan_out(&text, "]]");
                must_run(m, BYTES(text.data, text.size));
        }
        buf_done(&text);
        must_run(m, BYTES_STR("[140,[" PLAN_TABLE "]]"));
}

static int compare_values(const void *a, const void *b)
{
        return value_compare(*(const Value *)a, *(const Value *)b);
}

/* V_NONE: an error. Rows in an order that does not depend on the one in which they came. */
static Value answer_of(Machine *m, Bytes term, const char *options, bool ordered, Arena *arena)
{
        Value rows;
        if (run(m, term, options) != ERR_NONE)
                return value_none();
        must(json_parse_copy(BYTES(out.data, out.size), JSON_PLAIN, arena, &rows), "answer as JSON");
        if (value_count(rows) == 1 && value_is(value_at(rows, 0), V_ARRAY))
                rows = value_at(rows, 0);
        Value *sorted = arena_array(arena, Value, value_count(rows));
        for (size_t i = 0; i < value_count(rows); i++)
                sorted[i] = value_at(rows, i);
        if (!ordered && value_count(rows) > 1)
                qsort(sorted, value_count(rows), sizeof *sorted, compare_values);
        return value_array(sorted, value_count(rows));
}

static void check(Machine *m, Bytes term, bool ordered)
{
        static const char *const options[] = {"{}", "{}", "{\"plan\":false}"};
        Value answers[3];
        Arena arena;
        arena_init(&arena, 0);
        for (int i = 0; i < 3; i++) {
                new_query(m, i == 0);
                answers[i] = answer_of(m, term, options[i], ordered, &arena);
        }
        for (int i = 0; i < 2; i++) {
                bool failed = value_is(answers[i], V_NONE), off_failed = value_is(answers[2], V_NONE);
                if (failed != off_failed || (!failed && !value_equal(answers[i], answers[2])))
                        broken(i == 0 ? "an index changes the answer" : "the usual choices change the answer");
        }
        new_query(m, true);
        if ((run(m, term, "{\"explain\":\"analyze\"}") == ERR_NONE) == value_is(answers[2], V_NONE))
                broken("it can be explained and not be run, or the other way round");
        arena_done(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static bool started;
        Machine machine = {0};
        Buf query;
        if (!started) {
                print = getenv("PLAN_FUZZ_PRINT") != NULL;
                buf_init(&out, 128 << 20);
        }
        started = true;
        /* The first half makes the table, so that a change in a query leaves that alone. */
        PlanBytes table = {data, size / 2, 0};
        open_machine(&machine);
        fill(&machine, &table);
        buf_init(&query, 1 << 20);
        size_t at = size / 2;
        for (int i = 0; i < QUERIES && at < size; i++, at += QUERY_BYTES) {
                bool ordered;
                PlanBytes bytes = {data + at, MIN(size - at, (size_t)QUERY_BYTES), 0};
                buf_clear(&query);
                plan_query(&bytes, &query, &ordered);
                must(buf_append_byte(&query, 0), "query");
                current_text = (const char *)query.data;
                check(&machine, BYTES(query.data, query.size - 1), ordered);
        }
        current_text = "(closing)";
        buf_done(&query);
        close_machine(&machine);
        return 0;
}
