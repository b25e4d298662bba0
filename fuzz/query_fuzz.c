/* query_fuzz.c - random queries (query_grammar.h), well-typed and not, over real tables on a simulated disk.
 *
 * An input is up to eight queries, run one after another as two users. Before each, a byte decides how it ends: usually
 * by itself, sometimes by a STOP after a batch or two. A watchdog cancels what runs for 100 ms, as the jobs table
 * would. Changefeeds are opened, parked and closed; their hub is moved by hand. What must hold: no crash and no leak; a
 * cancelled query is over soon; every answer is JSON; the backtrace of every error leads to a place in the query; a
 * query that reads what does not change and asks for nothing random answers the same twice; and nothing stays open.
 * QUERY_FUZZ_PRINT=1 prints each query and its answer. */
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "query_grammar.h"
#include "feed/hub.h"
#include "os/sim.h"
#include "os/thread.h"
#include "query/changes.h"
#include "table/table.h"
#include "value/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define QUERY_MEMORY_BYTES (24u << 20)
#define CANCEL_AFTER_MS    100
#define OVER_WITHIN_MS     2000 /* of processor time, sanitizers included */

static SimOs *sim;
static Store *store;
static TableCatalog *catalog;
static FeedHub *hub;
static QueryWorld world;
static Query *queries[2]; /* of admin, and of a user with fewer rights */
static bool dirty, print;
static Buf answer_of[2];

static atomic_uintptr_t running; /* the query that the watchdog looks at */
static atomic_llong running_since_ns;
static const char *current_text = "";

static _Noreturn void broken(const char *what)
{
        fprintf(stderr, "query_fuzz: %s\n%s\n", what, current_text);
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

/* --- time --- */
static int64_t real_ns(clockid_t clock)
{
        struct timespec now;
        clock_gettime(clock, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
static void watch(void *arg)
{
        for (;;) {
                nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
                Query *query = (Query *)atomic_load(&running);
                if (query && real_ns(CLOCK_MONOTONIC) - atomic_load(&running_since_ns) > CANCEL_AFTER_MS * 1000000LL)
                        query_cancel(query);
        }
}
static int64_t now_us(void *ctx)
{
        return 1600000000000000;
}
static int64_t mono_ns(void *ctx)
{
        return real_ns(CLOCK_MONOTONIC);
}
static Status random_bytes(void *ctx, void *out, size_t size)
{
        return os_random(sim_os(sim), out, size);
}
static Status credential(void *ctx, Bytes password, uint32_t iterations, ScramCredential *ret_credential)
{
        *ret_credential = (ScramCredential){.iterations = iterations, .salt = {(uint8_t)password.size}};
        return ST_OK;
}
static const HostOps host = {.now_us = now_us,
                             .mono_ns = mono_ns,
                             .random = random_bytes,
                             .server_name = "fuzz",
                             .server_id = "11111111-2222-4333-8444-555555555555",
                             .credential = credential};

/* --- what is outside: processes that answer by the length of what they are asked --- */
static Status js(void *ctx, const JsCall *call, const OutsideWait *wait, OutsideEnd *ret_end, JsResult *ret_result,
                 Buf *text)
{
        static const char *const values[] = {"[1,{\"a\":2}]", "7", "\"x\"", "{\"$reql_type$\":\"TIME\"}", "nonsense"};
        unsigned how = (unsigned)call->source.size;
        *ret_end = how % 7 == 5 ? OUTSIDE_TIMED_OUT : how % 7 == 6 ? OUTSIDE_CRASHED : OUTSIDE_ANSWERED;
        *ret_result = how % 7 == 4 ? JS_ERROR : how % 7 > 1 && !call->is_call ? JS_FUNCTION : JS_VALUE;
        return *ret_result == JS_FUNCTION ? ST_OK : buf_append_str(text, values[(how + call->args.size) % 5]);
}
static Status http(void *ctx, const HttpCall *call, const OutsideWait *wait, OutsideEnd *ret_end, Buf *buffer,
                   HttpAnswer *ret_answer)
{
        static const char *const types[] = {"application/json", "text/plain", "image/png", "text/javascript",
                                            "audio/x"};
        static const char *const bodies[] = {"{\"next\":1}", "words", "f([1,2])", "", "\xff\xfe"};
        unsigned how = (unsigned)call->url.size;
        *ret_end = how % 11 == 9 ? OUTSIDE_TIMED_OUT : how % 11 == 10 ? OUTSIDE_CRASHED : OUTSIDE_ANSWERED;
        *ret_answer = (HttpAnswer){
                .failed = how % 11 == 8,
                .status = how % 11 == 7 ? 404 : 200,
                .error = BYTES_STR("could not connect"),
                .headers =
                        BYTES_STR("HTTP/1.1 200 OK\r\nLink: <http://127.0.0.1:1/next>; rel=\"next\"\r\nA: b\r\n\r\n"),
                .content_type = BYTES_STR(types[how % 5]),
                .cookies = BYTES_STR("a=b"),
                .body = BYTES_STR(bodies[(how / 5 + call->data.size) % 5]),
        };
        return ST_OK;
}
static const OutsideOps outside = {.js = js, .http = http};

/* --- one query --- */
typedef enum Ended { ENDED_WELL, ENDED_BADLY, ENDED_STOPPED } Ended;

static void check_json(Bytes text)
{
        Arena arena;
        Value value;
        arena_init(&arena, 0);
        Status st = json_parse_copy(text, JSON_PLAIN, &arena, &value);
        if (st) {
                fprintf(stderr, "%s: %.*s\n", status_message(st), (int)text.size, (const char *)text.data);
                broken("an answer that is no JSON");
        }
        arena_done(&arena);
}

/* The place in a query that one step of a backtrace leads to: an argument, an option, or a field of an object. */
static bool step_into(Value *at, Value step)
{
        if (value_is(*at, V_ARRAY)) {
                Value args;
                if (value_count(*at) < 2)
                        return false;
                if (value_is(step, V_NUMBER)) {
                        args = value_at(*at, 1);
                        if (!value_is(args, V_ARRAY) || step.number < 0 || step.number >= (double)value_count(args))
                                return false;
                        *at = value_at(args, (size_t)step.number);
                        return true;
                }
                if (value_count(*at) < 3)
                        return false;
                *at = value_at(*at, 2);
        }
        if (!value_is(step, V_STRING) || !value_is(*at, V_OBJECT))
                return false;
        *at = value_get(*at, value_bytes(step));
        return !value_is(*at, V_NONE);
}

static void check_backtrace(Query *query, Bytes text)
{
        Buf trace;
        Arena arena;
        Value steps, at;
        buf_init(&trace, 1 << 20);
        arena_init(&arena, 0);
        must(query_backtrace(query, &trace), "backtrace");
        must(json_parse_copy(BYTES(trace.data, trace.size), JSON_PLAIN, &arena, &steps), "backtrace as JSON");
        Status st = json_parse_copy(text, JSON_PLAIN, &arena, &at);
        if (st) { /* no JSON, or one with a key twice: nowhere to point at */
                status_ignore(st);
                if (value_count(steps))
                        broken("a backtrace into a text that is no JSON");
        } else {
                at = value_at(at, 1);
                for (size_t i = 0; i < value_count(steps); i++)
                        if (!step_into(&at, value_at(steps, i))) {
                                fprintf(stderr, "backtrace %.*s, step %zu\n", (int)trace.size, (const char *)trace.data,
                                        i);
                                broken("a backtrace that leads nowhere");
                        }
        }
        arena_done(&arena);
        buf_done(&trace);
}

/* A feed that has nothing now goes on without its query, if it can: what it may say there is JSON, too. */
static void run_parked(Query *query)
{
        FeedCursor *cursor;
        QueryAnswer answer;
        Buf rows;
        bool more = true;
        buf_init(&rows, 8 << 20);
        for (int i = 0; more && i < 4; i++)
                must(feed_hub_step(hub, &more), "step");
        must(query_park(query, &cursor), "park");
        if (cursor) {
                must(buf_append_byte(&rows, '['), "rows");
                Status st = feed_cursor_next(cursor, &rows, &answer);
                if (!st) {
                        must(buf_append_byte(&rows, ']'), "rows");
                        check_json(BYTES(rows.data, rows.size));
                }
                status_ignore(st);
                feed_cursor_free(cursor);
        }
        buf_done(&rows);
}

#define FOR_EVER UINT_MAX /* and nobody watches */
/* `batches`: STOP after so many. The answer, or the error, is put into `out`. */
static Ended run(Query *query, Bytes text, unsigned batches, Buf *out)
{
        QueryAnswer answer = ANSWER_PARTIAL;
        Ended ended = ENDED_STOPPED;
        uint8_t *buffer;
        Buf extra;
        bool has;
        buf_clear(out);
        buf_init(&extra, 64 << 20);
        must(query_text_buffer(query, text.size, &buffer), "text buffer");
        memcpy(buffer, text.data, text.size);
        must(buf_append_byte(out, '['), "answer");
        atomic_store(&running_since_ns, real_ns(CLOCK_MONOTONIC));
        atomic_store(&running, batches == FOR_EVER ? 0 : (uintptr_t)query);
        int64_t start_ns = real_ns(CLOCK_THREAD_CPUTIME_ID);
        Status st = query_prepare(query, BYTES(buffer, text.size));
        if (!st)
                (void)query_cost(query);
        while (!st && answer == ANSWER_PARTIAL && batches--) {
                size_t before = out->size;
                if (before > 1)
                        must(buf_append_byte(out, ','), "answer");
                size_t rows = out->size;
                st = query_next(query, out, &answer);
                if (out->size == rows) /* an empty last batch */
                        out->size = before;
                if (!st && answer == ANSWER_PARTIAL && out->size > 8 << 20)
                        break;
                if (!st && answer == ANSWER_PARTIAL && query_is_feed(query) && out->size == before) {
                        run_parked(query);
                        break;
                }
        }
        atomic_store(&running, 0);
        if (real_ns(CLOCK_THREAD_CPUTIME_ID) - start_ns > (CANCEL_AFTER_MS + OVER_WITHIN_MS) * 1000000LL)
                broken("a cancelled query that went on");
        if (st) {
                buf_clear(out);
                must(buf_printf(out, "%d %s", status_code(st), status_message(st)), "answer");
                ended = status_code(st) == ERR_CANCELLED || status_code(st) == ERR_RESOURCE ? ENDED_STOPPED
                                                                                            : ENDED_BADLY;
                check_backtrace(query, text);
                status_ignore(st);
        } else {
                must(buf_append_byte(out, ']'), "answer");
                check_json(BYTES(out->data, out->size));
                must(query_profile(query, &extra, &has), "profile");
                if (has)
                        check_json(BYTES(extra.data, extra.size));
                if (answer != ANSWER_PARTIAL)
                        ended = ENDED_WELL;
        }
        if (query_memory_bytes(query) > 4 * (size_t)QUERY_MEMORY_BYTES)
                broken("a query above its memory budget");
        query_reset(query);
        buf_done(&extra);
        if (print)
                fprintf(stderr, "%.*s\n  -> %.*s\n", (int)text.size, (const char *)text.data, (int)MIN(out->size, 300),
                        (const char *)out->data);
        return ended;
}

/* --- the catalog that every input begins with --- */
#define T LEAF_TABLE("t")
#define G LEAF_TABLE("g")
static const char *const setup[] = {
        "[1,[60,[[14,[\"test\"]],\"t\"]],{}]",
        "[1,[60,[[14,[\"test\"]],\"u\"]],{}]",
        "[1,[60,[[14,[\"test\"]],\"g\"]],{}]",
        "[1,[75,[" T ",\"a\"]],{}]",
        "[1,[75,[" T ",\"tags\"],{\"multi\":true}],{}]",
        "[1,[75,[" T ",\"ab\",[69,[[2,[1]],[2,[[170,[[10,[1]],\"a\"]],[170,[[10,[1]],\"b\"]]]]]]]],{}]",
        "[1,[75,[" T ",\"f\",[69,[[2,[1]],[24,[[170,[[10,[1]],\"a\"]],1]]]]]],{}]",
        "[1,[75,[" G ",\"loc\"],{\"geo\":true}],{}]",
        "[1,[75,[" G ",\"locs\"],{\"geo\":true,\"multi\":true}],{}]",
        "[1,[56,[" T ",[2,["
        "{\"id\":1,\"a\":1,\"b\":\"x\",\"tags\":[2,[\"p\",\"q\",\"p\"]],\"o\":{\"x\":{\"y\":1}}},"
        "{\"id\":2,\"a\":2,\"b\":\"x\",\"tags\":[2,[]],\"s\":\"two\"},"
        "{\"id\":3,\"a\":null,\"at\":[101,[1600000000]],\"bin\":{\"$reql_type$\":\"BINARY\",\"data\":\"AAEC\"}},"
        "{\"id\":\"a\",\"a\":1,\"b\":[2,[1,2]],\"tags\":[2,[1,null,{\"k\":2},[2,[1]]]]},"
        "{\"id\":[2,[1,\"x\"]],\"a\":-1.5,\"o\":{\"x\":3}},"
        "{\"id\":7,\"a\":\"s\",\"b\":true,\"tags\":\"no array\"},{\"id\":8,\"a\":1}]]]],{}]",
        "[1,[56,[" LEAF_TABLE("u") ",[38,[[173,[40]],[69,[[2,[1]],{\"id\":[10,[1]],\"a\":[28,[[10,[1]],5]]}]]]]]],{}]",
        "[1,[56,[" G ",[2,[{\"id\":1,\"loc\":[159,[0,0]],\"locs\":[2,[[159,[0,0]],[159,[1,1]]]]},"
        "{\"id\":2,\"loc\":[161,[[159,[-1,-1]],[159,[3,-1]],[159,[1,3]]]]},{\"id\":3,\"loc\":[159,[-122.4,37.8]]},"
        "{\"id\":4,\"loc\":\"nowhere\"},{\"id\":5,\"loc\":[160,[[159,[0,0]],[159,[5,5]]]]}]]]],{}]",
        "[1,[140,[" T "]],{}]",
        "[1,[140,[" G "]],{}]",
        "[1,[56,[[15,[[14,[\"rethinkdb\"]],\"users\"]],{\"id\":\"u\",\"password\":false}]],{}]",
        "[1,[188,[[14,[\"test\"]],\"u\",{\"read\":true,\"write\":true,\"config\":false}]],{}]",
        "[1,[188,[" LEAF_TABLE("u") ",\"u\",{\"read\":false}]],{}]",
};

static void open_world(void)
{
        must(sim_new(7, &sim), "machine");
        sim_set_wall_us(sim, now_us(NULL));
        const StoreOptions options = {.os = sim_os(sim), .path = "data", .log_segment_bytes = 1 << 20};
        must(store_open(&options, &store), "store");
        must(table_source_open(store, &host, "memory", &catalog), "catalog");
        const FeedHubOptions by_hand = {.by_hand = true};
        must(feed_hub_open(store, catalog, &host, sim_os(sim), &by_hand, &hub), "hub");
        world = (QueryWorld){.source = table_source(catalog),
                             .host = &host,
                             .feeds = feed_hub_source(hub),
                             .memory_max_bytes = QUERY_MEMORY_BYTES,
                             .outside = &outside};
        must(query_new(&world, "admin", &queries[0]), "query");
        must(query_new(&world, "u", &queries[1]), "query");
        for (size_t i = 0; i < ELEMENTS(setup); i++) {
                current_text = setup[i];
                if (run(queries[0], BYTES_STR(setup[i]), FOR_EVER, &answer_of[0]) != ENDED_WELL)
                        broken("setup");
                must(buf_append_byte(&answer_of[0], 0), "setup");
                if (strstr((const char *)answer_of[0].data, "first_error"))
                        broken((const char *)answer_of[0].data);
        }
        dirty = false;
}

static void close_world(void)
{
        for (size_t i = 0; i < ELEMENTS(queries); i++)
                queries[i] = query_free(queries[i]);
        hub = feed_hub_close(hub);
        catalog = table_source_close(catalog);
        status_ignore(store_close(take(store))); /* asserts that no snapshot and no commit is open */
        sim = sim_free(sim);
}

static void start(void)
{
        static Thread watchdog;
        gen_check();
        print = getenv("QUERY_FUZZ_PRINT") != NULL;
        buf_init(&answer_of[0], 128 << 20);
        buf_init(&answer_of[1], 128 << 20);
        must(thread_start(&watchdog, "watchdog", watch, NULL), "watchdog");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static bool started;
        Gen g = {.data = data, .size = size};
        if (!started)
                start();
        started = true;
        if (!store)
                open_world();
        buf_init(&g.out, 1 << 20);
        for (int i = 0; i < 8 && g.size; i++) {
                unsigned how = gen_byte(&g);
                Query *query = queries[how % 4 == 3];
                gen_query(&g);
                must(buf_append_byte(&g.out, 0), "query");
                current_text = (const char *)g.out.data;
                Bytes text = BYTES(g.out.data, g.out.size - 1);
                dirty |= !g.repeatable;
                Ended ended = run(query, text, how / 4 % 16 == 1 ? 1 + how / 64 : 10000, &answer_of[0]);
                if (!g.repeatable || ended == ENDED_STOPPED)
                        continue;
                if (run(query, text, 10000, &answer_of[1]) == ENDED_STOPPED)
                        continue;
                if (answer_of[0].size != answer_of[1].size ||
                    memcmp(answer_of[0].data, answer_of[1].data, answer_of[0].size) != 0) {
                        fprintf(stderr, "first  %.*s\nsecond %.*s\n", (int)answer_of[0].size,
                                (const char *)answer_of[0].data, (int)answer_of[1].size,
                                (const char *)answer_of[1].data);
                        broken("a query that answers something else the second time");
                }
        }
        current_text = "(closing)";
        buf_done(&g.out);
        if (dirty) /* each input begins with the same world, so that it can be run again by itself */
                close_world();
        return 0;
}
