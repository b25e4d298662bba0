/* changes_spec_test.c - what feeds are asked for by which chains of terms: keys, conditions, functions, and errors.
 * The feeds themselves are none: they write down what they are of. */
#include "base/check.h"

#include <stdio.h>

#include "query/closure.h"
#include "query/fake_source.h"

/* --- feeds that tell what they are of --- */

struct Feed {
        int unused;
};
static Feed no_feed;

static Buf told;
static void (*look_into)(const FeedSpec *spec); /* NULL: it is written into `told` */

static void tell_value(Value v)
{
        OK(json_write(v, &told));
}

static void tell_bounds(const KeyBounds *bounds)
{
        OK(buf_append_byte(&told, bounds->low_type == BOUND_CLOSED ? '[' : '('));
        if (bounds->low_type != BOUND_NONE)
                tell_value(bounds->low);
        OK(buf_append_str(&told, " .. "));
        if (bounds->high_type != BOUND_NONE)
                tell_value(bounds->high);
        OK(buf_append_byte(&told, bounds->high_type == BOUND_CLOSED ? ']' : ')'));
}

static void tell_values(const Value *values, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                OK(buf_append_str(&told, i ? "," : ""));
                tell_value(values[i]);
        }
}

static void tell_condition(const FeedCondition *condition)
{
        static const char *const kinds[] = {" in ", " within ", " has "};
        OK(buf_append_str(&told, " | "));
        for (size_t i = 0; i < condition->path.count; i++)
                OK(buf_printf(&told, "%s%.*s", i ? "." : "", (int)condition->path.fields[i].size,
                              (const char *)condition->path.fields[i].data));
        OK(buf_append_str(&told, kinds[condition->kind]));
        if (condition->kind == FEED_FIELD_BETWEEN)
                tell_bounds(&condition->bounds);
        else
                tell_values(condition->values, condition->value_count);
}

static void tell_spec(const FeedSpec *spec)
{
        const TableInfo *info = fake_source.table_info(spec->table);
        OK(buf_printf(&told, "%s%.*s", told.size ? " + " : "", (int)info->name.size, (const char *)info->name.data));
        if (spec->index.data)
                OK(buf_printf(&told, " by %.*s", (int)spec->index.size, (const char *)spec->index.data));
        if (spec->bounds)
                tell_bounds(spec->bounds);
        if (spec->key_count) {
                OK(buf_append_str(&told, " of "));
                tell_values(spec->keys, spec->key_count);
        }
        for (size_t i = 0; i < spec->condition_count; i++)
                tell_condition(&spec->conditions[i]);
        if (spec->exact)
                OK(buf_append_str(&told, " exact"));
        if (spec->now_us)
                OK(buf_append_str(&told, " now"));
        if (spec->function.data) {
                Closure *closure;
                OK(closure_load_inexact(spec->function, &closure));
                assert_int_equal(closure_param_count(closure), 1);
                Buf text;
                buf_init(&text, 1 << 20);
                OK(closure_print(closure, &text));
                closure_unref(closure);
                static const char head[] = "function(var0) { return r.expr([var0])", tail[] = "; }";
                assert_memory_equal(text.data, head, sizeof head - 1);
                OK(buf_append_str(&told, " row"));
                OK(buf_append(&told, text.data + sizeof head - 1, text.size - sizeof head - sizeof tail + 2));
                buf_done(&text);
        }
}

static Status feed_open(void *ctx, const FeedSpec *spec, const FeedOptions *options, Feed **ret_feed)
{
        assert_true(spec->exact == !spec->function.data);
        if (look_into)
                look_into(spec);
        else
                tell_spec(spec);
        *ret_feed = &no_feed;
        return ST_OK;
}
static void feed_close(Feed *feed) {}
static Status feed_view(Feed *feed, TableView **ret_view)
{
        return status_new(ERR_OP_FAILED, "No view.");
}
static Status feed_next(Feed *feed, Arena *hold, FeedEvent *ret_event, bool *ret_found)
{
        *ret_found = false;
        return ST_OK;
}
static bool feed_is_long(Feed *feed)
{
        return false;
}
static void feed_watch(Feed *feed, void (*ready)(void *ctx), void *ctx, int64_t deadline_ns, uint64_t position) {}
static FeedPlace feed_place(Feed *feed)
{
        return (FeedPlace){.incarnation = 1};
}
static size_t feed_memory(const Feed *feed)
{
        return 0;
}
static const FeedSource feeds = {
        .open = feed_open,
        .close = feed_close,
        .view = feed_view,
        .next = feed_next,
        .is_long = feed_is_long,
        .watch = feed_watch,
        .place = feed_place,
        .memory_bytes = feed_memory,
};

/* --- running --- */

static const QueryWorld world = {
        .source = &fake_source, .host = &fake_host, .memory_max_bytes = 64 << 20, .feeds = &feeds};

static Status start(const QueryWorld *in, Buf *frame, Query **ret_query, Buf *rows, QueryAnswer *ret_answer)
{
        uint8_t *buffer;
        TRY(query_new(in, "admin", ret_query));
        TRY(query_text_buffer(*ret_query, frame->size, &buffer));
        memcpy(buffer, frame->data, frame->size);
        TRY(query_prepare(*ret_query, BYTES(buffer, frame->size)));
        return query_next(*ret_query, rows, ret_answer);
}

static char result[1 << 16];

/* What the feeds are of, and the notes; or the error and its place; or (no feed was opened) the rows. */
static const char *run_frame(const QueryWorld *in, Buf *frame)
{
        Query *query = NULL;
        QueryAnswer answer = ANSWER_PARTIAL;
        Buf rows;
        buf_init(&rows, 1 << 20);
        buf_clear(&told);
        Status st = start(in, frame, &query, &rows, &answer);
        if (st) {
                buf_clear(&told);
                OK(buf_printf(&told, "%s @", status_message(st)));
                OK(query_backtrace(query, &told));
                status_ignore(st);
        } else if (!told.size) {
                OK(buf_append(&told, rows.data, rows.size));
        } else {
                OK(buf_append_str(&told, " n="));
                OK(query_notes(query, &told));
        }
        OK(buf_append_byte(&told, 0));
        snprintf(result, sizeof result, "%s", (char *)told.data);
        query_free(query);
        assert_true(fake_all_closed());
        buf_done(&rows);
        return result;
}

static const char *run(const QueryWorld *in, const char *text, const char *options)
{
        Buf frame;
        buf_init(&frame, 8 << 20);
        OK(buf_printf(&frame, "[1,[%d,[", WIRE_TEXT_TERM));
        OK(json_write_string(BYTES_STR(text), &frame));
        OK(buf_printf(&frame, "]],{%s}]", options));
        const char *gives = run_frame(in, &frame);
        buf_done(&frame);
        return gives;
}

typedef struct Case {
        const char *text, *gives, *options;
} Case;

static void check(const Case *cases, size_t count)
{
        int failed = 0;
        for (size_t i = 0; i < count; i++) {
                const char *gives = run(&world, cases[i].text, cases[i].options ? cases[i].options : "");
                if (strcmp(gives, cases[i].gives) == 0)
                        continue;
                failed++;
                print_error("%s %s\n  gives %s\n  not   %s\n", cases[i].text, cases[i].options ? cases[i].options : "",
                            gives, cases[i].gives);
        }
        assert_int_equal(failed, 0);
}
#define CHECK(cases) check(cases, ELEMENTS(cases))

#define T     "r.table(\"t\")"
#define U     "r.table(\"u\")"
#define CH    ".changes()"
#define EAGER "Cannot call `changes` on an eager stream."

static void test_bases(void **state)
{
        static const Case cases[] = {
                {T CH, "t exact n=1"},
                {T ".get(5)" CH, "t of 5 exact n=2"},
                {T ".get(999)" CH, "t of 999 exact n=2"},
                {T ".getAll(1, 2, 1)" CH, "t of 1,2,1 exact n=1"},
                {T ".getAll(\"x\", {index: \"a\"})" CH, "t by a of \"x\" exact n=1"},
                {T ".getAll(1, {index: \"id\"})" CH, "t of 1 exact n=1"},
                {T ".getAll(r.args([]))" CH, "t[null .. null) exact n=1"},
                {T ".getAll(r.args(" T ".get(1)(\"m\")))" CH, "t of 7,8 exact n=1"},
                {T ".between(1, 5)" CH, "t[1 .. 5) exact n=1"},
                {T ".between(1, r.maxval, {index: \"a\", leftBound: \"open\"})" CH, "t by a(1 .. ) exact n=1"},
                {T ".between(r.minval, r.maxval, {index: \"m\"})" CH, "t by m( .. ) exact n=1"},
                {T ".orderBy({index: \"a\"})" CH, "t by a exact n=1"},
                {T ".orderBy({index: r.desc(\"id\")})" CH, "t exact n=1"},
                {T ".between(1, 5).orderBy({index: \"id\"})" CH, "t[1 .. 5) exact n=1"},
                {T ".orderBy({index: \"id\"}).nth(0)" CH, "t of 1 exact n=2"},
                {T ".union(" U ")" CH, "t exact + u exact n=1"},
                {T ".union(" U ", " T ".union(" U ")).filter({a: 1})" CH,
                 "t | a in 1 exact + u | a in 1 exact + t | a in 1 exact + u | a in 1 exact n=1"},
                {T ".union(" U ", {interleave: false})" CH, "t exact + u exact n=1"},
                {T ".union(" U ", {interleave: \"id\"})" CH, EAGER " @[0]"},
                {"r.branch(false, " T ", " U ")" CH, "u exact n=1"},
                {"r.branch(false, " T ", false, " T ", " U ".filter({b: 2}))" CH, "u | b in 2 exact n=1"},
                {"r.do(7, x => " T ".filter({a: x}))" CH, "t | a in 7 exact n=1"},
                {"r.do(7, x => " T ".filter({a: x})" CH ")", "t | a in 7 exact n=1"},
                {"r.do(7, 8, (x, y) => r.do(9, z => " T ".filter({a: x}))).filter({b: 2})" CH,
                 "t | a in 7 | b in 2 exact n=1"},
                {T ".default(1)" CH, "t exact n=1"},
                {T ".filter({a: 1}).default(1)" CH, "t | a in 1 exact n=1"},
                {"r.expr({})(\"x\").default(1)" CH, "Cannot convert NUMBER to SEQUENCE @[]"},
                {T ".get(1).default(1)" CH, "t of 1 exact n=2"},
                {T ".get(3).default(1)" CH, "Cannot convert NUMBER to SEQUENCE @[]"},
        };
        CHECK(cases);
}

static void test_conditions(void **state)
{
        static const Case cases[] = {
                {T ".filter({})" CH, "t exact n=1"},
                {T ".filter({a: 1, b: {c: \"x\", d: null}})" CH, "t | a in 1 | b.c in \"x\" | b.d in null exact n=1"},
                {T ".filter({a: [1, 2]})" CH, "t | a in [1,2] exact n=1"},
                {T ".filter({a: r.epochTime(5)})" CH, /* and of that time zone: the condition is not all */
                 "t | a in {\"$reql_type$\":\"TIME\",\"epoch_time\":5,\"timezone\":\"+00:00\"} "
                 "row.filter({\"a\": r.epochTime(5)}) n=1"},
                {T ".filter(x => x(\"a\").eq(1))" CH, "t | a in 1 exact n=1"},
                {T ".filter(r.row(\"a\").eq(\"x\"))" CH, "t | a in \"x\" exact n=1"},
                {T ".filter(x => r.expr(1).eq(x(\"a\")))" CH, "t | a in 1 exact n=1"},
                {T ".filter(x => x(\"a\").gt(1).and(x(\"a\").le(9)).and(x(\"b\").lt(3)))" CH,
                 "t | a within (1 .. 9] | b within ( .. 3) exact n=1"},
                {T ".filter(x => r.lt(1, x(\"a\"), 9))" CH, "t | a within (1 .. 9) exact n=1"},
                {T ".filter(x => x(\"a\").gt(9)).filter(x => x(\"a\").lt(1))" CH, "t | a within [9 .. 9) exact n=1"},
                {T ".filter(x => x(\"a\")(\"b\").eq(1))" CH, "t | a.b in 1 exact n=1"},
                {T ".filter(x => x(\"a\")(\"b\").gt(1))" CH, "t | a.b within (1 .. ) exact n=1"},
                {T ".filter(x => x(\"m\").contains(7))" CH, "t | m has 7 exact n=1"},
                {T ".filter(x => x(\"m\").contains(7, 8))" CH, "t | m has 7 | m has 8 exact n=1"},
                {T ".filter(x => x(\"a\").match(\"^abc\"))" CH, "t | a within [\"abc\" .. \"abd\") exact n=1"},
                {T ".filter(x => x(\"a\").match(\"^a\x7F\"))" CH,
                 "t | a within [\"a\x7F\" .. \"a\xC2\x80\") exact n=1"},
                {T ".filter(x => x(\"a\").match(\"^\xC3\xBF\"))" CH,
                 "t | a within [\"\xC3\xBF\" .. \"\xC4\x80\") exact n=1"},
                {T ".filter(x => x(\"a\").match(\"^a\xED\x9F\xBF\"))" CH,
                 "t | a within [\"a\xED\x9F\xBF\" .. \"a\xEE\x80\x80\") exact n=1"},
                {T ".filter(x => x(\"a\").match(\"^b\xF4\x8F\xBF\xBF\"))" CH,
                 "t | a within [\"b\xF4\x8F\xBF\xBF\" .. \"c\") exact n=1"},
                {T ".filter(x => r.expr([1, 2]).contains(x(\"a\")))" CH, "t | a in 1,2 exact n=1"},
                {T ".filter(x => r.expr([]).contains(x(\"a\")))" CH, "t | a in  exact n=1"},
                {T ".filter(x => x(\"a\").eq(1).or(x(\"a\").eq(2)))" CH, "t | a in 1,2 exact n=1"},
                {T ".filter(x => r.or(x(\"a\").eq(1), r.expr(2).eq(x(\"a\")), r.expr([3]).contains(x(\"a\"))))" CH,
                 "t | a in 1,2,3 exact n=1"},
                {T ".filter(x => x(\"a\").eq(r.time(2020, 1, 1, \"Z\")))" CH,
                 "t | a in {\"$reql_type$\":\"TIME\",\"epoch_time\":1577836800,\"timezone\":\"+00:00\"} exact n=1"},
                {T ".filter(x => x(\"a\").eq({b: 1}))" CH, "t | a in {\"b\":1} exact n=1"},
                {T ".filter({a: " T ".get(1)(\"a\")})" CH, "t | a in \"x\" exact n=1"},
                {T ".filter({a: 1}, {default: false})" CH, "t | a in 1 exact n=1"},
        };
        CHECK(cases);
}

/* Conditions say a part, and a function all of it. */
static void test_functions(void **state)
{
#define FN(body) "function(var1) { return " body "; }"
        static const Case cases[] = {
                {T ".filter({a: 1}).pluck(\"a\")" CH, "t | a in 1 row.filter({\"a\": 1}).pluck(\"a\") n=1"},
                {T ".map(x => x(\"a\"))" CH, "t row.map(" FN("var1(\"a\")") ") n=1"},
                {T ".map(r.row(\"a\"))" CH, "t row.map(" FN("var1(\"a\")") ") n=1"},
                {T "(\"a\")" CH, "t row(\"a\") n=1"},
                {T ".getField(\"a\").filter(x => x.gt(1))" CH,
                 "t row.getField(\"a\").filter(" FN("r.gt(var1, 1)") ") n=1"},
                {T ".hasFields(\"b\").filter({a: 1})" CH, "t | a in 1 row.hasFields(\"b\").filter({\"a\": 1}) n=1"},
                {T ".pluck(\"a\").filter({a: 1})" CH, "t row.pluck(\"a\").filter({\"a\": 1}) n=1"},
                {T ".without(\"a\").merge({c: 1}).withFields(\"c\")" CH,
                 "t row.without(\"a\").merge({\"c\": 1}).withFields(\"c\") n=1"},
                {T ".filter(x => x(\"a\").ne(1))" CH, "t row.filter(" FN("r.ne(var1(\"a\"), 1)") ") n=1"},
                {T ".filter(x => x(\"b\").eq(2).and(x(\"a\").ne(1)))" CH,
                 "t | b in 2 row.filter(" FN("r.and(r.eq(var1(\"b\"), 2), r.ne(var1(\"a\"), 1))") ") n=1"},
                {T ".filter(x => x(\"a\").eq(1).or(x(\"b\").eq(2)))" CH,
                 "t row.filter(" FN("r.or(r.eq(var1(\"a\"), 1), r.eq(var1(\"b\"), 2))") ") n=1"},
                {T ".filter({a: 1}, {default: true})" CH, "t row.filter({\"a\": 1}, {\"default\": true}) n=1"},
                {T ".filter({a: 1}, {default: r.error()})" CH,
                 "t row.filter({\"a\": 1}, {\"default\": r.error()}) n=1"},
                {T ".filter({a: {}})" CH, "t row.filter({\"a\": {}}) n=1"},
                {T ".filter({b: 1, a: r.literal({c: 1})})" CH,
                 "t | b in 1 row.filter({\"a\": r.literal({\"c\": 1}), \"b\": 1}) n=1"},
                {T ".filter(x => x(\"a\")(\"b\").lt(1))" CH, "t row.filter(" FN("r.lt(var1(\"a\")(\"b\"), 1)") ") n=1"},
                {T ".filter(x => x(\"a\")(\"b\").eq([1]))" CH,
                 "t row.filter(" FN("r.eq(var1(\"a\")(\"b\"), [1])") ") n=1"},
                {T ".filter(x => x(\"a\")(\"m\").contains(1))" CH,
                 "t row.filter(" FN("var1(\"a\")(\"m\").contains(1)") ") n=1"},
                {T ".filter(x => x(\"m\").contains(1, 1))" CH,
                 "t | m has 1 | m has 1 row.filter(" FN("var1(\"m\").contains(1, 1)") ") n=1"},
                {T ".filter(x => x(\"a\").match(\"^a.c\"))" CH,
                 "t row.filter(" FN("var1(\"a\").match(\"^a.c\")") ") n=1"},
                {T ".filter(x => x(\"a\").lt(r.maxval))" CH, "t row.filter(" FN("r.lt(var1(\"a\"), r.maxval)") ") n=1"},
                {T ".filter(x => x(\"a\").gt(r.now()))" CH,
                 "t now row.filter(" FN("r.gt(var1(\"a\"), r.now())") ") n=1"},
                {T ".filter({a: r.now(), b: 1})" CH, "t now row.filter({\"a\": r.now(), \"b\": 1}) n=1"},
                {"r.do(3, {n: 5}, (k, o) => " T ".map(x => x(\"a\").add(k, o(\"n\"))))" CH,
                 "t row.map(" FN("r.add(var1(\"a\"), 3, {\"n\": 5}(\"n\"))") ") n=1"},
                {"r.do(3, k => " T ".filter(x => x(\"m\").map(y => y.add(k)).contains(9)))" CH,
                 "t row.filter(" FN("var1(\"m\").map(function(var2) { return r.add(var2, 3); }).contains(9)") ") n=1"},
                {T ".difference([1])" CH, "t row.difference([1]) n=1"},
                {"r.do(" T ".get(1)(\"a\"), k => " T ".filter(x => x(\"a\").ne(k)))" CH,
                 "t row.filter(" FN("r.ne(var1(\"a\"), \"x\")") ") n=1"},
                {T ".filter(r.row(\"g\").intersects(r.point(1, 2)))" CH,
                 "t row.filter(" FN("var1(\"g\").intersects(r.point(1, 2))") ") n=1"},
        };
        CHECK(cases);
}

/* The same chain of two clients, whose variables have other numbers, is the same feed. */
static void test_equal_functions(void **state)
{
        static const char *const terms[] = {
                "[152,[[38,[[15,[\"t\"]],[69,[[2,[17]],[38,[[170,[[10,[17]],\"m\"]],[69,[[2,[18]],[24,[[10,[17]],"
                "[10,[18]]]]]]]]]]]]]]",
                "[152,[[38,[[15,[\"t\"]],[69,[[2,[-4]],[38,[[170,[[10,[-4]],\"m\"]],[69,[[2,[2]],[24,[[10,[-4]],"
                "[10,[2]]]]]]]]]]]]]]",
        };
        char first[1024] = "";
        for (size_t i = 0; i < ELEMENTS(terms); i++) {
                Buf frame;
                buf_init(&frame, 1 << 20);
                OK(buf_printf(&frame, "[1,%s,{}]", terms[i]));
                const char *gives = run_frame(&world, &frame);
                buf_done(&frame);
                if (i == 0)
                        snprintf(first, sizeof first, "%s", gives);
                assert_string_equal(gives, first);
        }
        assert_non_null(strstr(first, "var2"));
}

static void test_errors(void **state)
{
#define NONDET "Cannot call `changes` after a non-deterministic function."
        static const Case cases[] = {
                {"r.expr([1, 2])" CH, EAGER " @[0]"},
                {"r.expr([1, 2]).map(x => x)" CH, EAGER " @[0]"},
                {"r.range(3)" CH, EAGER " @[0]"},
                {"r.range()" CH, EAGER " @[0]"},
                {T ".orderBy(\"a\")" CH, EAGER " @[0]"},
                {T ".orderBy(\"m\", {index: \"a\"})" CH, EAGER " @[0]"},
                {T ".coerceTo(\"array\")" CH, EAGER " @[0]"},
                {T ".skip(1)" CH, EAGER " @[0]"},
                {T ".sample(1)" CH, EAGER " @[0]"},
                {T CH CH, EAGER " @[0]"},
                {T CH ".filter({a: 1})" CH, EAGER " @[0]"},
                {T ".union([1])" CH, EAGER " @[0,1]"},
                {T ".union(" U ".get(1))" CH,
                 "Expected type SEQUENCE but found SINGLE_SELECTION:\n{\n\t\"id\":\t1\n} @[0,1]"},
                {T ".get(1).pluck(\"a\")" CH, "Cannot convert OBJECT to SEQUENCE @[]"},
                {T ".get(1)(\"a\")" CH, "Cannot convert STRING to SEQUENCE @[]"},
                {T ".get(1)(\"m\")" CH, EAGER " @[0]"},
                {"r.expr(1)" CH, "Cannot convert NUMBER to SEQUENCE @[]"},
                {"r.expr(null)" CH, "Cannot convert NULL to SEQUENCE @[]"},
                {"r.db(\"test\")" CH, "Expected type SELECTION but found DATABASE:\ndb(\"test\") @[0]"},
                {T ".limit(\"x\")" CH, "Expected type NUMBER but found STRING. @[0,1]"},
                {T ".concatMap(1)" CH, "Expected type FUNCTION but found DATUM:\n1 @[0,1]"},
                {T ".concatMap(x => x(\"m\"))" CH, "Cannot call `changes` after `concat_map`. @[]"},
                {T ".getIntersecting(r.point(1, 2), {index: \"g\"})" CH,
                 "Cannot call `changes` on an intersection read. @[]"},
                {T ".filter(x => r.random().gt(0.5))" CH, NONDET " @[0,1]"},
                {T ".filter(x => " T ".get(1)(\"a\").eq(x(\"a\")))" CH, NONDET " @[0,1]"},
                {T ".map(x => r.js(\"1\"))" CH, NONDET " @[0,1]"},
                {T ".pluck(" T ".get(1)(\"a\"))" CH, NONDET " @[0]"},
                {T ".merge(x => ({r: r.random()}))" CH, NONDET " @[0,1]"},
                {T ".map(1)" CH, "Expected type FUNCTION but found DATUM:\n1 @[0,1]"},
                {T ".map((x, y) => x)" CH,
                 "The function passed to `map` expects 2 arguments, but 1 sequence was found. @[0]"},
                {"r.table(\"none\")" CH, "Table `test.none` does not exist. @[0]"},
                {T ".getAll(1, {index: \"none\"})" CH, "Index `none` was not found on table `test.t`. @[]"},
                {T ".between(1, 2, {index: \"none\"})" CH, "Index `none` was not found on table `test.t`. @[]"},
                {T ".getAll(1, {index: \"g\"})" CH,
                 "Index `g` is a geospatial index.  Only get_nearest and get_intersecting can use a geospatial "
                 "index. @[]"},
                {T ".get(null)" CH,
                 "Primary keys must be either a number, string, bool, pseudotype or array (got type NULL):\nnull @[]"},
                {T ".changes({squash: null})", "Expected BOOL or NUMBER but found NULL. @[\"squash\"]"},
                {T ".changes({squash: -10})",
                 "Expected BOOL or a positive NUMBER but found a negative NUMBER. @[\"squash\"]"},
                {T ".changes({squash: \"x\"})", "Expected BOOL or NUMBER but found STRING. @[\"squash\"]"},
                {T ".changes({changefeedQueueSize: 0})", "Illegal changefeed queue size `0`.  (Must be >= 1.) @[]"},
                {T ".changes({changefeedQueueSize: 1.5})", "Number not an integer: 1.5 @[\"changefeed_queue_size\"]"},
                {T ".changes({changefeedQueueSize: \"x\"})",
                 "Expected type NUMBER but found STRING. @[\"changefeed_queue_size\"]"},
                {T CH, "Illegal changefeed queue size `-1`.  (Must be >= 1.) @[]", "\"changefeed_queue_size\":-1"},
                {"1", "Illegal changefeed queue size `0`.  (Must be >= 1.) @[]", "\"changefeed_queue_size\":0"},
                {T ".changes({since: 1})", "Expected type STRING but found NUMBER. @[\"since\"]"},
                {T ".changes({includeOffsets: true})", "Cannot include offsets for range subs. @[]"},
                {T ".get(1).changes({includeOffsets: true})", "Cannot include offsets for point subs. @[]"},
                {T ".getAll(r.args([])).changes({includeOffsets: true})", "Cannot include offsets for empty subs. @[]"},
                {"r.range(3).changes({squash: null})", "Expected BOOL or NUMBER but found NULL. @[\"squash\"]"},
                {T ".map(x => " T CH ")", "Expected type DATUM but found SEQUENCE:\nVALUE SEQUENCE @[1,1]"},
        };
        CHECK(cases);
        static const QueryWorld without = {.source = &fake_source, .host = &fake_host, .memory_max_bytes = 64 << 20};
        assert_string_equal(run(&without, T CH, ""), "Changefeeds are not available here. @[]");
}

/* --- random chains: what the spec says of each row is what the query says --- */

#define ROWS   40
#define CHAINS 600

static uint64_t seed_state = 1;
static unsigned chance(unsigned n)
{
        seed_state = seed_state * 6364136223846793005u + 1442695040888963407u;
        return (unsigned)((seed_state >> 33) % n);
}
#define PICK(...)                                                                                                      \
        ((const char *const[]){__VA_ARGS__})[chance(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))]

/* As JSON, and as text of a query. */
static const char *random_scalar(bool text)
{
        if (chance(12) == 0)
                return text ? "r.epochTime(5)" : "{\"$reql_type$\":\"TIME\",\"epoch_time\":5,\"timezone\":\"+00:00\"}";
        return PICK("0", "1", "2", "3", "-0.0", "\"ab\"", "\"abc\"", "\"b\"", "\"\"", "null", "true", "false");
}

static void random_value(Buf *out, bool text, unsigned depth)
{
        unsigned kind = depth ? chance(8) : 0;
        if (kind < 5) {
                OK(buf_append_str(out, random_scalar(text)));
                return;
        }
        bool object = kind == 7;
        OK(buf_append_byte(out, object ? '{' : '['));
        for (unsigned i = 0, count = chance(3); i < count; i++) {
                OK(buf_append_str(out, i ? "," : ""));
                if (object)
                        OK(buf_printf(out, "\"%c\":", 'a' + i));
                random_value(out, text, depth - 1);
        }
        OK(buf_append_byte(out, object ? '}' : ']'));
}

static void add_random_rows(void)
{
        Buf text;
        buf_init(&text, 1 << 20);
        OK(buf_append_byte(&text, '['));
        for (unsigned i = 0; i < ROWS; i++) {
                OK(buf_printf(&text, "%s{\"id\":%u", i ? "," : "", i));
                for (char field = 'a'; field <= 'c'; field++) {
                        if (chance(6) == 0)
                                continue;
                        OK(buf_printf(&text, ",\"%c\":", field));
                        random_value(&text, false, chance(3));
                }
                OK(buf_append_byte(&text, '}'));
        }
        OK(buf_append(&text, "]", 2));
        fake_add("random", (const char *)text.data);
        buf_done(&text);
}

static void random_path(Buf *out)
{
        OK(buf_printf(out, "x(\"%c\")", 'a' + chance(3)));
        if (chance(3) == 0)
                OK(buf_printf(out, "(\"%c\")", 'a' + chance(2)));
}

static void random_condition(Buf *out, unsigned depth)
{
        switch (chance(depth ? 9 : 6)) {
        case 0:
        case 1:
                random_path(out);
                OK(buf_printf(out, ".%s(", PICK("eq", "eq", "ne", "lt", "le", "gt", "ge")));
                random_value(out, true, chance(2));
                break;
        case 2:
                OK(buf_printf(out, "r.%s(", PICK("lt", "le", "eq", "gt")));
                random_value(out, true, 0);
                OK(buf_append_byte(out, ','));
                random_path(out);
                OK(buf_append_byte(out, ','));
                random_value(out, true, chance(2));
                break;
        case 3:
                random_path(out);
                OK(buf_append_str(out, ".contains("));
                random_value(out, true, chance(2));
                if (chance(3) == 0) {
                        OK(buf_append_byte(out, ','));
                        random_value(out, true, 0);
                }
                break;
        case 4:
                random_path(out);
                OK(buf_printf(out, ".match(\"%s\"", PICK("^a", "^ab", "^abc", "^a.", "b", "^")));
                break;
        case 5:
                OK(buf_append_str(out, "r.expr(["));
                for (unsigned i = 0, count = chance(3); i < count; i++) {
                        OK(buf_append_str(out, i ? "," : ""));
                        random_value(out, true, chance(2));
                }
                OK(buf_append_str(out, "]).contains("));
                random_path(out);
                break;
        case 6: {
                char field = (char)('a' + chance(3));
                OK(buf_printf(out, "r.or(x(\"%c\").eq(", field));
                random_value(out, true, 1);
                OK(buf_printf(out, "),x(\"%c\").eq(", chance(8) ? field : 'b'));
                random_value(out, true, 1);
                OK(buf_append_byte(out, ')'));
                break;
        }
        default:
                OK(buf_printf(out, "r.%s(", PICK("and", "and", "or")));
                random_condition(out, depth - 1);
                OK(buf_append_byte(out, ','));
                random_condition(out, depth - 1);
        }
        OK(buf_append_byte(out, ')'));
}

static void random_chain(Buf *out)
{
        for (unsigned i = 0, count = 1 + chance(3); i < count; i++) {
                switch (chance(12)) {
                case 0: OK(buf_append_str(out, PICK(".hasFields(\"a\")", ".hasFields({\"a\":\"b\"})"))); break;
                case 1:
                        OK(buf_append_str(out, PICK(".pluck(\"a\",\"id\")", ".without(\"b\")", ".merge({c:1})")));
                        break;
                case 2: OK(buf_append_str(out, PICK(".map(x => x.merge({d:x(\"a\")}))", ".withFields(\"b\")"))); break;
                case 3:
                case 4:
                        OK(buf_printf(out, ".filter({%c:", 'a' + chance(3)));
                        random_value(out, true, 2);
                        OK(buf_printf(out, "%s)", PICK("}", "}", "}, {default: true}", ", id: 3}")));
                        break;
                default:
                        OK(buf_append_str(out, ".filter(x => "));
                        random_condition(out, 2);
                        OK(buf_append_str(out, PICK(")", ")", ")", ", {default: r.error()})")));
                }
        }
}

typedef struct Seen {
        bool holds, exact;
        bool failed;
        Buf shown;
} Seen;
static Seen seen[ROWS];
static size_t exact_count, condition_count;

static Value field_at(Value row, IndexPath path)
{
        for (size_t i = 0; i < path.count && !value_is(row, V_NONE); i++)
                row = value_is(row, V_OBJECT) ? value_get(row, path.fields[i]) : value_none();
        return row;
}

static bool is_within(Value v, const KeyBounds *bounds)
{
        int low = bounds->low_type == BOUND_NONE ? 1 : value_compare(v, bounds->low);
        int high = bounds->high_type == BOUND_NONE ? -1 : value_compare(v, bounds->high);
        return (low > 0 || (low == 0 && bounds->low_type == BOUND_CLOSED)) &&
               (high < 0 || (high == 0 && bounds->high_type == BOUND_CLOSED));
}

static bool is_one_of(Value v, const FeedCondition *condition)
{
        bool found = false;
        for (size_t i = 0; i < condition->value_count; i++)
                found |= value_equal(v, condition->values[i]);
        return found;
}

static bool holds(const FeedCondition *condition, Value row)
{
        Value v = field_at(row, condition->path);
        bool has = false;
        switch (condition->kind) {
        case FEED_FIELD_IN: return !value_is(v, V_NONE) && is_one_of(v, condition);
        case FEED_FIELD_BETWEEN: return !value_is(v, V_NONE) && is_within(v, &condition->bounds);
        case FEED_FIELD_CONTAINS: break;
        }
        for (size_t i = 0; value_is(v, V_ARRAY) && i < value_count(v); i++)
                has |= is_one_of(value_at(v, i), condition);
        return has;
}

static void look_at_rows(const FeedSpec *spec)
{
        Closure *closure = NULL;
        if (spec->function.data)
                OK(closure_load_inexact(spec->function, &closure));
        exact_count += spec->exact && spec->condition_count;
        condition_count += spec->condition_count;
        for (size_t i = 0; i < ROWS; i++) {
                Value row = value_at(spec->table->rows, i), shown = value_array(&row, 1);
                seen[i].holds = true;
                seen[i].exact = spec->exact;
                for (size_t j = 0; j < spec->condition_count; j++)
                        seen[i].holds &= holds(&spec->conditions[j], row);
                Status st = closure ? closure_call_at(closure, 1, &row, 1, &fake.arena, &shown) : ST_OK;
                seen[i].failed = st != ST_OK;
                status_ignore(st);
                buf_clear(&seen[i].shown);
                for (size_t j = 0; !seen[i].failed && j < value_count(shown); j++)
                        OK(json_write(value_at(shown, j), &seen[i].shown));
        }
        closure_unref(closure);
}

/* The chain over one row; false: an error. */
static bool ask(size_t row, const char *chain, Buf *out)
{
        Query *query = NULL;
        QueryAnswer answer = ANSWER_PARTIAL;
        Buf frame, text;
        buf_init(&frame, 1 << 20);
        buf_init(&text, 1 << 20);
        OK(buf_printf(&text, "r.table(\"random\").getAll(%zu)%s", row, chain));
        OK(buf_printf(&frame, "[1,[%d,[", WIRE_TEXT_TERM));
        OK(json_write_string(BYTES(text.data, text.size), &frame));
        OK(buf_append_str(&frame, "]],{}]"));
        buf_clear(out);
        Status st = start(&world, &frame, &query, out, &answer);
        bool good = st == ST_OK;
        status_ignore(st);
        assert_true(!good || answer == ANSWER_SEQUENCE);
        query_free(query);
        buf_done(&frame);
        buf_done(&text);
        return good;
}

static bool agrees(size_t row, const char *chain, Buf *asked)
{
        bool good = ask(row, chain, asked);
        if (!seen[row].holds)
                return !good || asked->size == 0;
        if (seen[row].exact)
                return good && asked->size > 0;
        return good == !seen[row].failed && (!good || bytes_equal(BYTES(asked->data, asked->size),
                                                                  BYTES(seen[row].shown.data, seen[row].shown.size)));
}

static void check_constant(const char *value, const char *gives_what)
{
        Buf text;
        buf_init(&text, 8 << 20);
        OK(buf_printf(&text, "r.do(r.json('%s'), c => " T ".map(x => [[[x(\"a\"), c]]]))" CH, value));
        OK(buf_append_byte(&text, 0));
        const char *gives = run(&world, (char *)text.data, "");
        buf_done(&text);
        if (!strstr(gives, gives_what))
                fail_msg("gives %s, not %s", gives, gives_what);
}

/* What a function refers to is a part of it: it may be too large, or nested too deeply. */
static void test_too_large(void **state)
{
        static char large[1200000], deep[2 * (VALUE_MAX_DEPTH - 2) + 1];
        memset(large, 'x', sizeof large - 1);
        large[0] = large[sizeof large - 2] = '"';
        memset(deep, '[', sizeof deep / 2);
        memset(deep + sizeof deep / 2, ']', sizeof deep / 2);
        check_constant("[1]", "t row.map(");
        check_constant(large, "has more than 1048576 bytes. @[]");
        check_constant(deep, "What stands before `changes` cannot be a function of a row: ");
}

static void look_away(const FeedSpec *spec) {}

static void test_random(void **state)
{
        Buf chain, text, asked;
        buf_init(&chain, 1 << 20);
        buf_init(&text, 1 << 20);
        buf_init(&asked, 1 << 20);
        look_into = look_at_rows;
        for (size_t i = 0; i < ROWS; i++)
                buf_init(&seen[i].shown, 1 << 20);
        for (int round = 0; round < CHAINS; round++) {
                if (round % 40 == 0) {
                        fake.table_count = 2;
                        add_random_rows();
                }
                seed_state = (uint64_t)round + 1;
                buf_clear(&chain);
                buf_clear(&text);
                random_chain(&chain);
                OK(buf_append_byte(&chain, 0));
                OK(buf_printf(&text, "r.table(\"random\")%s.changes()", (char *)chain.data));
                OK(buf_append_byte(&text, 0));
                const char *gives = run(&world, (char *)text.data, "");
                if (*gives)
                        fail_msg("%s\n  gives %s", (char *)text.data, gives);
                for (size_t row = 0; row < ROWS; row++) {
                        if (agrees(row, (char *)chain.data, &asked))
                                continue;
                        buf_clear(&told);
                        tell_value(value_at(fake.tables[2].rows, row));
                        fail_msg("%s\n  of %.*s: holds %d exact %d failed %d, but the query gives %.*s",
                                 (char *)text.data, (int)told.size, (char *)told.data, seen[row].holds, seen[row].exact,
                                 seen[row].failed, (int)asked.size, (char *)asked.data);
                }
        }
        look_into = NULL;
        assert_true(exact_count > CHAINS / 10 && condition_count > CHAINS / 4);
        for (size_t i = 0; i < ROWS; i++)
                buf_done(&seen[i].shown);
        buf_done(&chain);
        buf_done(&text);
        buf_done(&asked);
}

/* Every allocation failing in turn leaves nothing open. */
static void test_without_memory(void **state)
{
        static const char *const texts[] = {
                T ".filter({a: 1}).union(" U ".getAll(1, 2)).map(x => x(\"a\").add(1))" CH,
                "r.do(1, x => r.branch(true, " T ".filter(y => y(\"a\").gt(x)), 1))" CH,
        };
        for (size_t i = 0; i < ELEMENTS(texts); i++) {
                for (long n = 1, fired = 1; fired; n++) {
                        Query *query = NULL;
                        QueryAnswer answer;
                        Buf frame, rows;
                        buf_init(&frame, 1 << 20);
                        buf_init(&rows, 1 << 20);
                        OK(buf_printf(&frame, "[1,[%d,[", WIRE_TEXT_TERM));
                        OK(json_write_string(BYTES_STR(texts[i]), &frame));
                        OK(buf_append_str(&frame, "]],{}]"));
                        look_into = look_away;
                        mem_fail_nth(n);
                        Status st = start(&world, &frame, &query, &rows, &answer);
                        fired = mem_fail_fired();
                        mem_fail_nth(0);
                        look_into = NULL;
                        assert_true(fired ? !st || status_code(st) == ERR_NOMEM : !st);
                        status_ignore(st);
                        query_free(query);
                        buf_done(&frame);
                        buf_done(&rows);
                        assert_true(fake_all_closed());
                }
        }
}

static int set_up(void **state)
{
        arena_init(&fake.arena, 64 << 20);
        buf_init(&told, 1 << 20);
        fake_add("t", "[{\"id\":1,\"a\":\"x\",\"m\":[7,8]},{\"id\":2,\"a\":2}]");
        fake_add_index("a", false, false);
        fake_add_index("g", false, true);
        fake_add_index("m", true, false);
        fake_add("u", "[{\"id\":1}]");
        return 0;
}

static int tear_down(void **state)
{
        buf_done(&told);
        arena_done(&fake.arena);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_bases),     cmocka_unit_test(test_conditions),
                cmocka_unit_test(test_functions), cmocka_unit_test(test_equal_functions),
                cmocka_unit_test(test_errors),    cmocka_unit_test(test_too_large),
                cmocka_unit_test(test_random),    cmocka_unit_test(test_without_memory),
        };
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
