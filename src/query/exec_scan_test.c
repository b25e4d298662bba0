/* exec_scan_test.c - scans of whole tables: the answers of the general path, always; and that they are scans. Parts run
 * in the background of each other, on threads. */
#include "query/exec_test.h"

#include <pthread.h>
#include <stdatomic.h>

/* --- a source that counts, for several threads; the fake one is for one --- */

static atomic_size_t rows_read, blocks_read, documents_read;
static Query *victim; /* is cancelled at its third block */
static bool no_room;  /* nothing is remembered */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
#define LOCKED(Type, expr)                                                                                             \
        ({                                                                                                             \
                pthread_mutex_lock(&lock);                                                                             \
                Type locked_ = (expr);                                                                                 \
                pthread_mutex_unlock(&lock);                                                                           \
                locked_;                                                                                               \
        })

static Status counting_next(TableScan *scan, Arena *hold, Value *ret)
{
        rows_read++;
        return fake_scan_next(scan, hold, ret);
}
static Status counting_block(TableScan *scan, TableBlock *ret, bool *ret_supported)
{
        if (++blocks_read == 3 && victim)
                query_cancel(victim);
        return fake_block_next(scan, ret, ret_supported);
}
static Status counting_row(TableScan *scan, uint32_t i, Arena *hold, Value *ret)
{
        documents_read++;
        return fake_block_row(scan, i, hold, ret);
}
static const BlockMemo *locked_memo(TableScan *scan, uint64_t key)
{
        return LOCKED(const BlockMemo *, fake_block_memo(scan, key));
}
static const BlockMemo *locked_remember(TableScan *scan, BlockMemo *memo)
{
        if (!no_room)
                return LOCKED(const BlockMemo *, fake_block_remember(scan, memo));
        memo->free(memo);
        return NULL;
}
static Status locked_open(TableView *view, Bytes part, TableScan **ret)
{
        return LOCKED(Status, fake_scan_open_part(view, part, ret));
}
static void locked_close(TableScan *scan)
{
        pthread_mutex_lock(&lock);
        fake_scan_close(scan);
        pthread_mutex_unlock(&lock);
}

typedef struct Call {
        void (*task)(void *arg, size_t i);
        void *arg;
        size_t i;
} Call;
static void *call(void *arg)
{
        const Call *one = arg;
        one->task(one->arg, one->i);
        return NULL;
}
static void parallel(void *ctx, size_t count, void (*task)(void *arg, size_t i), void *arg)
{
        pthread_t threads[64];
        Call calls[64];
        assert_true(count <= ELEMENTS(threads));
        for (size_t i = 0; i < count; i++) {
                calls[i] = (Call){task, arg, i};
                assert_int_equal(pthread_create(&threads[i], NULL, call, &calls[i]), 0);
        }
        for (size_t i = 0; i < count; i++)
                pthread_join(threads[i], NULL);
}

static TableSource source;
static HostOps host;
/* One thread and several; any table is large enough for a scan. */
static QueryWorld world = {.source = &source, .host = &fake_host, .memory_max_bytes = 64 << 20, .scan_min_rows = 1};
static QueryWorld threads = {.source = &source, .host = &host, .memory_max_bytes = 64 << 20, .scan_min_rows = 1};

static void forget(void)
{
        rows_read = blocks_read = documents_read = 0;
        (void)fake_forget();
}

/* --- what is a scan, and what it answers --- */

#define T(name)       "[15,[[14,[\"test\"]],\"" name "\"]]"
#define ROW           "[10,[1]]"
#define FIELD(name)   "[170,[" ROW ",\"" name "\"]]"
#define F(body)       "[69,[[2,[1]]," body "]]"
#define FILTER(t, f)  "[39,[" t "," f "]]"
#define GROUP(t, key) "[144,[" t "," key "]]"
#define ADD           "[69,[[2,[2,3]],[24,[[10,[2]],[10,[3]]]]]]"
#define LARGER        "[69,[[2,[2,3]],[65,[[21,[[10,[2]],[10,[3]]]],[10,[2]],[10,[3]]]]]]"

static const char *const scans[] = {
        "[43,[" FILTER(T("even"), "{\"c\":\"word1\"}") "]]",
        "[43,[" FILTER(T("even"), "{\"c\":\"word1\",\"e\":{\"x\":1}}") "]]",
        "[43,[" FILTER(T("gaps"), "{\"c\":\"word1\",\"a\":1}") "]]",
        "[43,[" FILTER(T("even"), F("[67,[[21,[" FIELD("b") ",250]],[20,[" FIELD("h") ",7]]]]")) "]]",
        "[43,[" FILTER(T("gaps"), F("[21,[" FIELD("b") ",250]]")) "]]",
        "[43,[[39,[" T("gaps") "," F("[21,[" FIELD("b") ",250]]") "],{\"default\":true}]]]",
        "[43,[[39,[" T("even") "," F("[21,[" FIELD("b") ",250]]") "],{\"default\":[12,[]]}]]]",
        "[43,[" FILTER(FILTER(T("even"), F(FIELD("d"))), F("[97,[" FIELD("c") ",\"[123]\"]]")) "]]",
        "[43,[" FILTER(T("gaps"), F("[32,[" ROW ",\"a\",\"b\"]]")) "]]",
        "[43,[" T("even") "," F("[17,[[28,[" FIELD("a") ",2]],1]]") "]]",
        "[43,[[182,[" T("even") ",20,77]]," F("[17,[[28,[" FIELD("a") ",2]],1]]") "]]",
        "[146,[" GROUP(T("even"), "\"a\"") ",\"b\"]]",
        "[146,[" GROUP(T("gaps"), "\"a\"") ",\"b\"]]",
        "[145,[" GROUP(T("even"), "\"c\"") ",\"b\"]]",
        "[43,[" GROUP(T("gaps"), "\"c\"") "]]",
        "[43,[[144,[" T("even") ",\"c\"," F(FIELD("d")) "]]]]",
        "[43,[" GROUP(T("even"), F("[65,[[21,[" FIELD("b") ",500]],\"much\",\"little\"]]")) "]]",
        "[147,[" GROUP(T("even"), "\"c\"") ",\"b\"]]",
        "[148,[" GROUP(T("gaps"), "\"c\"") "," F(FIELD("g")) "]]",
        "[145,[[170,[" GROUP(T("even"), "\"c\"") ",\"b\"]]]]",
        "[146,[[38,[" FILTER(GROUP(T("even"), "\"c\""), F(FIELD("d"))) "," F("[26,[" FIELD("b") ",2]]") "]]]]",
        "[37,[[38,[" T("even") "," F(FIELD("b")) "]]," ADD "]]",
        "[37,[[38,[" T("even") "," F("[26,[" FIELD("b") "," FIELD("a") "]]") "]]," ADD "]]",
        "[37,[[38,[" T("even") "," F(FIELD("b")) "]]," LARGER "]]",
        "[37,[[170,[" GROUP(T("even"), "\"c\"") ",\"b\"]]," ADD "]]",
        "[145,[" T("even") ",\"b\"]]",
        "[145,[" T("gaps") ",\"b\"]]",
        "[146,[" T("gaps") "," F("[25,[" FIELD("b") "," FIELD("h") "]]") "]]",
        "[147,[" T("gaps") ",\"h\"]]",
        "[148,[" T("even") ",\"g\"]]",
        "[148,[[170,[" T("gaps") ",\"h\"]]]]",
        "[42,[[170,[" T("gaps") ",\"c\"]]]]",
        "[42,[[38,[" T("even") "," F(FIELD("e")) "]]]]",
        "[43,[" FILTER("[38,[" T("even") "," F(FIELD("b")) "]]", F("[21,[" ROW ",500]]")) "]]",
        "[145,[[38,[" T("even") ",[69,[[2,[1]],[33,[" ROW ",\"a\"]]]]]],\"a\"]]",
};

static void test_scans(void **state)
{
        int failed = 0;
        for (size_t i = 0; i < ELEMENTS(scans); i++) {
                Buf out;
                forget();
                for (unsigned time = 0; time < 3; time++) {
                        run_query(time == 1 ? &threads : &world, scans[i], true, &out);
                        buf_done(&out);
                        if (rows_read) {
                                print_error("%s is no scan\n", scans[i]);
                                failed++;
                                break;
                        }
                }
                failed += !same_answer(&world, scans[i]) || !same_answer(&threads, scans[i]);
        }
        assert_int_equal(failed, 0);
        forget();
}

/* The second time no document is touched. */
static void test_remembered(void **state)
{
        Buf out;
        forget();
        run_query(&world, scans[11], true, &out);
        buf_done(&out);
        assert_true(documents_read > 0);
        documents_read = 0;
        run_query(&threads, scans[11], true, &out);
        buf_done(&out);
        assert_int_equal(documents_read, 0);
        assert_int_equal(rows_read, 0);
        assert_true(fake_forget() > 0);
        no_room = true;
        assert_true(same_answer(&world, scans[11]));
        assert_true(same_answer(&threads, scans[11]));
        no_room = false;
        assert_int_equal(fake_forget(), 0);
}

/* What is not a scan: it has to be off when asked, and for tables that are too small. */
static void test_no_scans(void **state)
{
        static const char *const others[] = {
                "[43,[[71,[" T("even") ",10]]," F(FIELD("d")) "]]",
                "[43,[" FILTER("[41,[" T("even") "],{\"index\":[74,[\"id\"]]}]", F(FIELD("d"))) "]]",
                "[145,[" T("even") "," F("[151,[5]]") "]]",
        };
        QueryWorld small = world;
        Buf out;
        for (size_t i = 0; i < ELEMENTS(others); i++) {
                forget();
                run_query(&world, others[i], true, &out);
                buf_done(&out);
                assert_int_equal(blocks_read, 0);
        }
        forget();
        run_query(&world, scans[0], false, &out);
        buf_done(&out);
        small.scan_min_rows = 0;
        run_query(&small, scans[0], true, &out);
        buf_done(&out);
        assert_int_equal(blocks_read, 0);
        assert_true(rows_read > 0);
        forget();
}

/* Filters as streams of rows: over columns until a block is odd, then as ever. */
static void test_filters(void **state)
{
        static const struct {
                const char *query;
                bool by_columns;
        } filters[] = {
                {FILTER(T("long"), F("[17,[" FIELD("c") ",\"word1\"]]")), true},
                {FILTER(T("long"), F("[19,[" FIELD("b") ",3]]")), true},
                {FILTER(T("long"), "{\"c\":\"word1\",\"a\":3}"), true},
                {FILTER(FILTER(T("long"), F(FIELD("d"))), F("[21,[" FIELD("h") ",0]]")), true},
                {"[38,[" FILTER(T("long"), F("[19,[" FIELD("b") ",30]]")) "," F(FIELD("b")) "]]", true},
                {"[71,[" FILTER(T("long"), F("[19,[" FIELD("b") ",30]]")) ",5]]", true},
                {"[71,[[70,[" FILTER(T("long"), F("[19,[" FIELD("b") ",30]]")) ",50]],20]]", true},
                {"[86,[" FILTER(T("long"), F("[19,[" FIELD("b") ",0]]")) "]]", true},
                {"[93,[" FILTER(T("gaps"), F("[19,[" FIELD("b") ",500]]")) "," F("[17,[" FIELD("id") ",7]]") "]]",
                 true},
                {FILTER(T("gaps"), F("[19,[" FIELD("b") ",500]]")), true},
                {"[39,[" T("gaps") "," F("[19,[" FIELD("b") ",500]]") "],{\"default\":true}]", true},
                {"[39,[" T("gaps") "," F("[19,[" FIELD("b") ",500]]") "],{\"default\":[12,[]]}]", false},
                {FILTER(T("wild"), F("[19,[" FIELD("b") ",500]]")), false},
                {FILTER(T("wild"), F("[19,[[24,[" FIELD("b") ",1]],500]]")), false},
                {FILTER(T("wild"), F("[92,[[17,[[24,[" FIELD("a") ",1]],3]],false]]")), false},
                {"[182,[" T("long") ",9990,11000]]", false},
                {FILTER("[182,[" T("long") ",9990,11000]]", F(FIELD("d"))), true},
        };
        int failed = 0;
        for (size_t i = 0; i < ELEMENTS(filters); i++) {
                for (unsigned time = 0; time < 2; time++) {
                        Buf out;
                        rows_read = 0;
                        run_query(&world, filters[i].query, true, &out);
                        if (filters[i].by_columns && rows_read) {
                                print_error("%s reads rows\n", filters[i].query);
                                failed++;
                        }
                        buf_done(&out);
                        failed += !same_answer(&world, filters[i].query);
                }
        }
        assert_int_equal(failed, 0);
        forget();
}

/* --- whatever is asked of whatever rows --- */

static void random_source(Buf *out, const char *table, bool mapped)
{
        unsigned steps = chance(3);
        Buf inner;
        buf_init(&inner, 1 << 20);
        OK(buf_printf(&inner, "[15,[[14,[\"test\"]],\"%s\"]]", table));
        if (chance(5) == 0) {
                Buf whole = inner;
                buf_init(&inner, 1 << 20);
                OK(buf_printf(&inner, "[182,[%.*s,%u,%u]]", (int)whole.size, (char *)whole.data, chance(60),
                              60 + chance(60)));
                buf_done(&whole);
        }
        for (unsigned i = 0; i < steps; i++) {
                Buf outer;
                buf_init(&outer, 1 << 20);
                unsigned kind = chance(6);
                OK(buf_printf(&outer, "[%u,[%.*s,",
                              kind == 0 && mapped   ? 38
                              : kind == 1 && mapped ? 170
                                                    : 39,
                              (int)inner.size, (char *)inner.data));
                if (kind == 1 && mapped)
                        OK(buf_printf(&outer, "\"%c\"", 'a' + chance(8)));
                else if (chance(5) == 0 && kind > 1)
                        OK(buf_append_str(&outer, PICK("{\"a\":1}", "{\"c\":\"word1\",\"a\":2}", "{\"e\":{\"x\":1}}",
                                                       "{\"none\":1}", "{}")));
                else
                        random_term_func(&outer);
                OK(buf_append_byte(&outer, ']'));
                if (kind > 1 && chance(3) == 0)
                        OK(buf_append_str(
                                &outer, PICK(",{\"default\":true}", ",{\"default\":false}", ",{\"default\":[12,[]]}")));
                OK(buf_append_byte(&outer, ']'));
                buf_done(&inner);
                inner = outer;
        }
        OK(buf_append(out, inner.data, inner.size));
        buf_done(&inner);
}

static void random_query(Buf *out)
{
        const char *table = PICK("even", "even", "gaps", "gaps", "wild");
        unsigned grouped = chance(3) == 0, kind = chance(12);
        const unsigned terms[] = {43, 43, 145, 146, 147, 148, 145, 146, 37, 42, 93, 38};
        if (chance(8) == 0) {
                random_source(out, table, chance(2));
                return;
        }
        OK(buf_printf(out, "[%u,[", terms[kind]));
        if (grouped)
                OK(buf_append_str(out, "[144,["));
        random_source(out, table, true);
        if (grouped) {
                OK(buf_append_byte(out, ','));
                random_func(out);
                if (chance(4) == 0) {
                        OK(buf_append_byte(out, ','));
                        random_func(out);
                }
                OK(buf_append_str(out, "]]"));
        }
        if (kind == 8) {
                OK(buf_append_str(out, "," ADD));
        } else if (kind == 1 || (kind > 1 && kind < 9) || kind == 11) {
                OK(buf_append_byte(out, ','));
                if (kind == 11)
                        random_term_func(out);
                else
                        random_func(out);
        } else if (kind == 10) {
                OK(buf_append_byte(out, ','));
                random_term_func(out);
        }
        OK(buf_append_str(out, "]]"));
}

static void test_random(void **state)
{
        int failed = 0;
        for (unsigned i = 0; i < 3000; i++) {
                Buf text;
                buf_init(&text, 1 << 20);
                seed_state = i + 1;
                random_query(&text);
                OK(buf_append_byte(&text, 0));
                failed += !same_answer(i % 8 ? &world : &threads, (char *)text.data);
                buf_done(&text);
                if (i % 100 == 0)
                        forget();
        }
        assert_int_equal(failed, 0);
        forget();
}

/* Many groups, and numbers of which the order of adding shows in the last digits. */
static void test_order_of_adding(void **state)
{
        QueryWorld parts = threads;
        assert_true(same_answer(&parts, "[145,[" T("long") ",\"b\"]]"));
        assert_true(same_answer(&parts, "[146,[" GROUP(T("long"), "\"c\"") ",\"b\"]]"));
        assert_true(same_answer(&parts, "[37,[[38,[" T("long") "," F("[27,[" FIELD("b") ",3]]") "]]," ADD "]]"));
        assert_true(same_answer(&parts, "[43,[" GROUP(T("long"), "\"id\"") "]]"));
        /* Integers may be added in any order, unless their sums are not exact or something else came before. */
        static const char *const numbers[] = {
                FIELD("h"),
                "[26,[" FIELD("a") ",900000000000000]]",
                "[26,[" FIELD("a") ",200000000]]",
                "[26,[" FIELD("a") ",-0.0]]",
                "[65,[[19,[" FIELD("id") ",3000]]," FIELD("b") "," FIELD("h") "]]",
                "[65,[[21,[" FIELD("id") ",3000]]," FIELD("b") "," FIELD("h") "]]",
                "[65,[[21,[" FIELD("id") ",9000]],1e308,1]]",
        };
        for (size_t i = 0; i < ELEMENTS(numbers); i++) {
                char text[1024];
                for (unsigned kind = 145; kind <= 146; kind++) {
                        snprintf(text, sizeof text, "[%u,[" T("long") "," F("%s") "]]", kind, numbers[i]);
                        assert_true(same_answer(&parts, text));
                }
                snprintf(text, sizeof text, "[37,[[38,[" T("long") "," F("%s") "]]," ADD "]]", numbers[i]);
                assert_true(same_answer(&parts, text));
        }
        assert_true(same_answer(&parts, "[42,[[170,[" T("long") ",\"b\"]]]]"));
        forget();
}

/* --- what goes wrong --- */

static void test_no_memory(void **state)
{
        const char *const chosen[] = {
                scans[0],  scans[4],  scans[11], scans[16],
                scans[21], scans[29], scans[31], FILTER(T("even"), F("[19,[" FIELD("b") ",300]]")),
        };
        for (size_t i = 0; i < ELEMENTS(chosen); i++) {
                Buf right;
                run_query(&world, chosen[i], false, &right);
                for (long n = 1, fired = 1; fired; n++) {
                        Query *query;
                        Buf rows;
                        QueryAnswer answer;
                        char text[1024];
                        (void)fake_forget();
                        snprintf(text, sizeof text, "[1,%s,{}]", chosen[i]);
                        buf_init(&rows, 1 << 20);
                        OK(query_new(&world, "admin", &query));
                        uint8_t *buffer;
                        OK(query_text_buffer(query, strlen(text), &buffer));
                        memcpy(buffer, text, strlen(text));
                        mem_fail_nth(n);
                        Status st = query_prepare(query, BYTES(buffer, strlen(text)));
                        if (!st)
                                st = query_next(query, &rows, &answer);
                        fired = mem_fail_fired();
                        mem_fail_nth(0);
                        if (st)
                                assert_int_equal(status_code(st), ERR_NOMEM);
                        else
                                assert_memory_equal(rows.data, right.data, rows.size);
                        status_ignore(st);
                        query_free(query);
                        buf_done(&rows);
                        assert_true(fake_all_closed());
                }
                buf_done(&right);
        }
        forget();
}

/* With so little memory that a scan gives up; the general path finishes. */
static void test_little_memory(void **state)
{
        QueryWorld little = world;
        little.memory_max_bytes = 3 << 20; /* parts get one megabyte */
        assert_true(same_answer(&little, "[43,[" GROUP(T("long"), "\"id\"") "]]"));
        assert_true(same_answer(&little, "[145,[" T("long") ",\"b\"]]"));
        forget();
}

static void test_cancelled(void **state)
{
        static const char text[] = "[1,[43,[" FILTER(T("long"), F("[21,[" FIELD("b") ",1]]")) "]],{}]";
        const QueryWorld *worlds[] = {&world, &threads};
        for (size_t i = 0; i < 2; i++) {
                Buf rows;
                QueryAnswer answer;
                uint8_t *buffer;
                forget();
                buf_init(&rows, 1 << 20);
                OK(query_new(worlds[i], "admin", &victim));
                OK(query_text_buffer(victim, strlen(text), &buffer));
                memcpy(buffer, text, strlen(text));
                OK(query_prepare(victim, BYTES(buffer, strlen(text))));
                FAILS(ERR_CANCELLED, query_next(victim, &rows, &answer));
                assert_true(blocks_read < 64); /* at most the one that each part was in */
                assert_int_equal(rows_read, 0);
                victim = query_free(victim);
                buf_done(&rows);
                assert_true(fake_all_closed());
        }
        forget();
}

static int setup(void **state)
{
        arena_init(&fake.arena, 0);
        seed_state = 42;
        add_random_table("even", 120, 0);
        add_random_table("gaps", 120, 1);
        add_random_table("wild", 120, 2);
        add_random_table("long", 20000, 0);
        source = fake_source;
        source.scan_next = counting_next;
        source.block_next = counting_block;
        source.block_row = counting_row;
        source.block_memo = locked_memo;
        source.block_remember = locked_remember;
        source.scan_open_part = locked_open;
        source.scan_close = locked_close;
        host = fake_host;
        host.parallel = parallel;
        host.parallel_max = 4;
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
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_scans),     cmocka_unit_test(test_remembered),
                cmocka_unit_test(test_no_scans),  cmocka_unit_test(test_filters),
                cmocka_unit_test(test_random),    cmocka_unit_test(test_order_of_adding),
                cmocka_unit_test(test_no_memory), cmocka_unit_test(test_little_memory),
                cmocka_unit_test(test_cancelled),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
