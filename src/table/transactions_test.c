/* transactions_test.c - transactions as queries see them: the option `transaction`, rows of `rethinkdb.transactions`,
 * connections; who may use them, how they end, how they are refused. */
#include "query/query.h"
#include "table/table_test.h"
#include "table/transaction.h"

typedef struct Session {
        World w;
        QueryWorld query_world;
        QueryConnection connections[2];
        Buf out;
} Session;

static void start(Session *s)
{
        *s = (Session){0};
        world_init(&s->w, 31);
        s->w.by_hand = true;
        world_open(&s->w);
        s->query_world = (QueryWorld){.source = s->w.source, .host = &s->w.host, .memory_max_bytes = 64 << 20};
        buf_init(&s->out, 64 << 20);
}

static void stop(Session *s)
{
        for (size_t i = 0; i < ELEMENTS(s->connections); i++)
                s->w.source->connection_end(s->w.source->ctx, &s->connections[i]);
        buf_done(&s->out);
        world_done(&s->w);
}

static Query *prepare(Session *s, const char *user, QueryConnection *connection, const char *term, const char *options)
{
        Query *query;
        uint8_t *text;
        size_t size = strlen(term) + strlen(options) + 6;
        ok(query_new(&s->query_world, user, &query));
        query_set_connection(query, connection);
        ok(query_text_buffer(query, size + 1, &text));
        snprintf((char *)text, size + 1, "[1,%s,%s]", term, options);
        ok(query_prepare(query, BYTES(text, strlen((char *)text))));
        return query;
}

static const char *told(Session *s, Status st)
{
        static const char *const codes[] = {
                [ERR_LIMIT] = "LIMIT", [ERR_LOGIC] = "LOGIC",         [ERR_RESOURCE] = "RESOURCE",
                [ERR_USER] = "USER",   [ERR_OP_FAILED] = "OP_FAILED", [ERR_CONFLICT] = "CONFLICT",
        };
        if (st) {
                StatusCode code = status_code(st);
                buf_clear(&s->out);
                ok(buf_printf(&s->out, "%s %s", code < ELEMENTS(codes) && codes[code] ? codes[code] : "?",
                              status_message(st)));
                status_ignore(st);
        }
        ok(buf_append_byte(&s->out, 0));
        return (const char *)s->out.data;
}

static const char *run_as(Session *s, const char *user, QueryConnection *connection, const char *term,
                          const char *options)
{
        QueryAnswer answer = ANSWER_PARTIAL;
        Status st = ST_OK;
        Query *query = prepare(s, user, connection, term, options);
        buf_clear(&s->out);
        while (!st && answer == ANSWER_PARTIAL) {
                if (s->out.size)
                        ok(buf_append_byte(&s->out, ','));
                st = query_next(query, &s->out, &answer);
        }
        const char *text = told(s, st);
        query_free(query);
        return text;
}

static const char *run(Session *s, const char *term, const char *options)
{
        return run_as(s, "admin", NULL, term, options);
}

#define T            "[15,[[14,[\"test\"]],\"t\"]]"
#define SYS          "[15,[[14,[\"rethinkdb\"]],\"transactions\"]]"
#define GET(n)       "[16,[" T "," #n "]]"
#define INSERT(doc)  "[56,[" T "," doc "]]"
#define BEGIN(doc)   "[56,[" SYS "," doc "]]"
#define HELD(id)     "[16,[" SYS ",\"" id "\"]]"
#define COMMIT(id)   "[53,[" HELD(id) ",{\"state\":\"committed\"}]]"
#define ROLLBACK(id) "[54,[" HELD(id) "]]"
#define STATE(id)    "[170,[" HELD(id) ",\"state\"]]"
#define COUNT        "[43,[" T "]]"
#define ADD(n)       "[53,[" GET(n) ",[69,[[2,[1]],{\"a\":[24,[[170,[[10,[1]],\"a\"]],1]]}]]]]"
#define IN(id)       "{\"transaction\":\"" id "\"}"
#define OWN          "{\"transaction\":true}"

#define is(call, text)   assert_string_equal(call, text)
#define has(call, words) assert_non_null(strstr(call, words))

static void make(Session *s)
{
        run(s, "[60,[[14,[\"test\"]],\"t\"]]", "{}");
        run(s, INSERT("[2,[{\"id\":1,\"a\":1},{\"id\":2,\"a\":1}]]"), "{}");
}

/* Enough for several batches. */
static void make_many(Session *s)
{
        run(s, "[68,[[173,[5000]],[69,[[2,[1]],[56,[" T ",{\"id\":[24,[[10,[1]],1000]]}]]]]]]", "{}");
}
#define SMALL_BATCHES "\"max_batch_rows\":1,\"min_batch_rows\":1,\"first_batch_scaledown_factor\":1"

/* --- one query --- */

static void test_one_query(void **state)
{
        Session s;
        start(&s);
        make(&s);
        has(run(&s, "[2,[" ADD(1) "," ADD(2) "," COUNT "]]", OWN), "\"replaced\":1");
        is(run(&s, "[170,[" GET(2) ",\"a\"]]", "{}"), "2");
        /* Its own writes are seen, and all of it goes when any of it fails. */
        is(run(&s, "[64,[[69,[[2,[1]]," COUNT "]]," INSERT("{\"id\":3}") "]]", OWN), "3");
        is(run(&s, "[2,[" INSERT("{\"id\":4}") ",[12,[\"no\"]]]]", OWN), "USER no");
        is(run(&s, COUNT, "{}"), "3");
        has(run(&s, "[2,[" INSERT("{\"id\":4}") "," INSERT("{\"id\":1}") "]]", OWN), "LOGIC Duplicate primary key");
        is(run(&s, COUNT, "{}"), "3");
        is(run(&s,
               "[2,[" ADD(1) ","
                             "[53,[" GET(2) ",[69,[[2,[1]],[12,[\"x\"]]]]]]"
                                            "]]",
               OWN),
           "USER x");
        is(run(&s, "[170,[" GET(1) ",\"a\"]]", "{}"), "2");
        /* What is refused, before anything is done. */
        is(run(&s, "[2,[" INSERT("{\"id\":9}") ",[60,[[14,[\"test\"]],\"x\"]]]]", OWN),
           "LOGIC TABLE_CREATE cannot be part of a transaction.");
        is(run(&s, "[56,[[15,[[14,[\"rethinkdb\"]],\"table_config\"]],{}]]", OWN),
           "OP_FAILED The system table `rethinkdb.table_config` cannot be written to within a transaction.");
        has(run(&s, COUNT, "{\"transaction\":{\"isolation\":\"dirty\"}}"), "LOGIC Option `transaction` is");
        is(run(&s, COUNT, "{\"transaction\":{\"isolation\":\"serializable\"}}"), "3");
        is(run(&s, COUNT, "{\"transaction\":false}"), "3");
        is(run(&s, COUNT, IN("none")),
           "OP_FAILED There is no transaction `none`: it was rolled back, or it is long over.");
        has(run(&s, "[43,[" SYS "]]", OWN), "0"); /* reading system tables is fine */
        stop(&s);
}

/* A stream that is read after the commit still has its moment. */
static void test_open_cursor(void **state)
{
        Session s;
        QueryAnswer answer;
        Buf out;
        start(&s);
        make(&s);
        buf_init(&out, 1 << 20);
        make_many(&s);
        const char *options = "{\"transaction\":true," SMALL_BATCHES "}";
        Query *query =
                prepare(&s, "admin", NULL, "[64,[[69,[[2,[1]]," T "]]," INSERT("{\"id\":3,\"a\":5}") "]]", options);
        ok(query_next(query, &out, &answer));
        assert_int_equal(answer, ANSWER_PARTIAL);
        is(run(&s, COUNT, "{}"), "5003"); /* committed before the first answer */
        run(&s, "[54,[" T "]]", "{}");
        for (unsigned batches = 1; answer == ANSWER_PARTIAL; batches++) {
                ok(buf_append_byte(&out, ' '));
                ok(query_next(query, &out, &answer));
                assert_true(batches <= 5003);
        }
        ok(buf_append_byte(&out, 0));
        has((char *)out.data, "\"id\":3");
        has((char *)out.data, "\"id\":5999");
        query_free(query);
        buf_done(&out);
        stop(&s);
}

/* Another writer is always faster: it is tried again, and at last told. */
typedef struct Rival {
        Session *s;
        TableRef *table;
        unsigned wins, most;
        Status (*commit)(Transaction *transaction, uint64_t *ret_position);
} Rival;
static Rival rival;

static Status rival_commit(Transaction *transaction, uint64_t *ret_position)
{
        if (rival.wins < rival.most) {
                char text[64];
                snprintf(text, sizeof text, "{\"id\":1,\"a\":%u}", 100 * ++rival.wins);
                put(&rival.s->w, rival.table, value_number(1), json(&rival.s->w, text));
        }
        return rival.commit(transaction, ret_position);
}

static void test_again(void **state)
{
        Session s;
        start(&s);
        make(&s);
        TableSource source = *s.w.source;
        rival = (Rival){.s = &s, .table = find(&s.w, "test", "t"), .most = 3, .commit = source.transaction_commit};
        source.transaction_commit = rival_commit;
        s.query_world.source = &source;
        has(run(&s, ADD(1), OWN), "\"replaced\":1");
        is(run(&s, "[170,[" GET(1) ",\"a\"]]", "{}"), "301");
        rival.most = 1000;
        rival.wins = 0;
        is(run(&s, ADD(1), OWN),
           "CONFLICT Transaction conflict: the row of table `test.t` with primary key 1 was changed since the "
           "transaction began. Run it again.");
        assert_int_equal(rival.wins, 21);
        has(run(&s, ADD(2), OWN), "\"replaced\":1"); /* another row */
        s.query_world.source = s.w.source;
        s.w.source->table_unref(rival.table);
        stop(&s);
}

/* --- held by clients --- */

static void test_held(void **state)
{
        Session s;
        start(&s);
        make(&s);
        has(run(&s, BEGIN("{\"id\":\"x\"}"), "{}"), "\"inserted\":1");
        has(run(&s, BEGIN("{\"id\":\"x\"}"), "{}"), "LOGIC Duplicate primary key `id`");
        has(run(&s, ADD(1), IN("x")), "\"replaced\":1");
        has(run(&s, INSERT("{\"id\":3}"), IN("x")), "\"inserted\":1");
        is(run(&s, COUNT, IN("x")), "3");
        is(run(&s, COUNT, "{}"), "2");
        /* An error leaves it usable: what came before stays, as did the rows of the failed query that went well. */
        is(run(&s, "[2,[" INSERT("{\"id\":4}") ",[12,[\"no\"]]]]", IN("x")), "USER no");
        has(run(&s, INSERT("[2,[{\"id\":5},{\"id\":1}]]"), IN("x")), "\"errors\":1");
        is(run(&s, COUNT, IN("x")), "5");
        has(run(&s, HELD("x"), "{}"), "\"tables\":[\"test.t\"]");
        has(run(&s, HELD("x"), "{}"), "\"written_rows\":4");
        has(run(&s, "[15,[[14,[\"rethinkdb\"]],\"jobs\"]]", "{}"), "[\"transaction\",\"x\"]");
        has(run(&s, COMMIT("x"), "{}"), "\"replaced\":1");
        is(run(&s, COUNT, "{}"), "5");
        is(run(&s, STATE("x"), "{}"), "\"committed\"");
        is(run(&s, COUNT, IN("x")), "OP_FAILED The transaction `x` is committed.");
        has(run(&s, COMMIT("x"), "{}"), "\"unchanged\":1"); /* said twice is fine */

        run(&s, BEGIN("{\"id\":\"y\"}"), "{}");
        run(&s, ADD(1), IN("y"));
        has(run(&s, ROLLBACK("y"), "{}"), "\"deleted\":1");
        is(run(&s, "[170,[" GET(1) ",\"a\"]]", "{}"), "2");
        has(run(&s, COUNT, IN("y")), "OP_FAILED There is no transaction `y`");

        run(&s, BEGIN("{\"id\":\"z\"}"), "{}");
        run(&s, ADD(1), IN("z"));
        run(&s, ADD(1), "{}");
        has(run(&s, COMMIT("z"), "{}"), "CONFLICT Transaction conflict: the row of table `test.t` with primary key 1");
        is(run(&s, STATE("z"), "{}"), "\"aborted\"");
        has(run(&s, COUNT, IN("z")), "OP_FAILED The transaction `z` was aborted and rolled back: Transaction conflict");

        /* What is gone was not committed; to roll it back is fine. */
        has(run(&s, COMMIT("y"), "{}"), "OP_FAILED There is no transaction `y`");
        has(run(&s, "[53,[[16,[" SYS ",5]],{\"state\":\"committed\"}]]", "{}"), "OP_FAILED There is no transaction");
        has(run(&s, ROLLBACK("y"), "{}"), "\"skipped\":1");

        /* It can be committed by a query that belongs to it. */
        run(&s, BEGIN("{\"id\":\"q\"}"), "{}");
        run(&s, ADD(1), IN("q"));
        has(run(&s, COMMIT("q"), IN("q")), "\"replaced\":1");
        is(run(&s, "[170,[" GET(1) ",\"a\"]]", "{}"), "4");
        stop(&s);
}

static void test_refused_rows(void **state)
{
        Session s;
        start(&s);
        make(&s);
        has(run(&s, BEGIN("{\"id\":\"a\",\"x\":1}"), "{}"), "Unexpected key(s): x");
        has(run(&s, BEGIN("{\"id\":\"a\",\"x\":1}"), "{}"), "OP_FAILED It's illegal"); /* not only counted */
        has(run(&s, COUNT, "{\"transaction\":null}"), "LOGIC Option `transaction` is true, ");
        has(run(&s, COUNT, "{\"transaction\":5}"), "LOGIC Option `transaction` is true, ");
        has(run(&s, BEGIN("{\"id\":\"a\",\"timeout\":0}"), "{}"), "In `timeout`: Expected seconds");
        has(run(&s, BEGIN("{\"id\":\"a\",\"isolation\":\"x\"}"), "{}"), "In `isolation`: Expected");
        has(run(&s, BEGIN("{\"id\":\"a\",\"connection\":1}"), "{}"), "In `connection`: Expected a boolean");
        has(run(&s, BEGIN("{\"id\":\"a\",\"connection\":true}"), "{}"), "there is no connection");
        has(run(&s, BEGIN("{\"id\":7}"), "{}"), "In `id`: Expected a string");
        has(run(&s, BEGIN("{\"id\":\"a\",\"isolation\":\"serializable\",\"timeout\":5}"), "{}"), "\"inserted\":1");
        has(run(&s, HELD("a"), "{}"), "\"isolation\":\"serializable\"");
        has(run(&s, "[53,[" HELD("a") ",{\"timeout\":100}]]", "{}"), "only its field `state` can be changed");
        has(run(&s, "[53,[" HELD("a") ",{\"state\":\"open?\"}]]", "{}"), "only its field `state` can be changed");
        table_source_limit_transactions(s.w.catalog, &(TransactionLimits){.open_max = 1});
        has(run(&s, BEGIN("{\"id\":\"b\"}"), "{}"), "1 transactions are open, which is the most there may be");
        stop(&s);
}

static void test_idle(void **state)
{
        Session s;
        start(&s);
        make(&s);
        run(&s, BEGIN("{\"id\":\"x\",\"timeout\":10}"), "{}");
        run(&s, BEGIN("{\"id\":\"y\"}"), "{}");
        run(&s, ADD(1), IN("x"));
        sim_advance_ns(s.w.sim, (int64_t)8 * 1000000000);
        run(&s, ADD(1), IN("x")); /* its time begins anew */
        sim_advance_ns(s.w.sim, (int64_t)8 * 1000000000);
        transactions_expire(s.w.catalog);
        is(run(&s, STATE("x"), "{}"), "\"open\"");
        sim_advance_ns(s.w.sim, (int64_t)3 * 1000000000);
        transactions_expire(s.w.catalog);
        is(run(&s, STATE("x"), "{}"), "\"aborted\"");
        is(run(&s, "[170,[" HELD("x") ",\"error\"]]", "{}"), "\"idle for 10 s\"");
        is(run(&s, ADD(1), IN("x")), "OP_FAILED The transaction `x` was aborted and rolled back: idle for 10 s");
        is(run(&s, "[170,[" GET(1) ",\"a\"]]", "{}"), "1");
        is(run(&s, STATE("y"), "{}"), "\"open\"");
        /* Who commits it all the same learns so by an error, not by a count in an answer that looks well. */
        is(run(&s, COMMIT("x"), "{}"), "OP_FAILED The transaction `x` was aborted and rolled back: idle for 10 s");
        has(run(&s, ROLLBACK("x"), "{}"), "\"deleted\":1");
        stop(&s);
}

static void test_memory(void **state)
{
        Session s;
        start(&s);
        make(&s);
        table_source_limit_transactions(s.w.catalog, &(TransactionLimits){.memory_max_bytes = 1 << 20});
        run(&s, BEGIN("{\"id\":\"x\"}"), "{}");
        /* r.range(10000).for_each(i => insert({id: i + 10, text: "..."})) */
        const char *many = "[68,[[173,[10000]],[69,[[2,[1]],[56,[" T ",{\"id\":[24,[[10,[1]],10]],\"text\":\""
                           "0123456789012345678901234567890123456789012345678901234567890123456789\"}]]]]]]";
        has(run(&s, many, IN("x")), "the changes of the transaction need more than the 1 MiB of memory");
        run(&s, ADD(1), IN("x")); /* it stays usable, as after every error; there may be no room for this one */
        has(run(&s, ROLLBACK("x"), "{}"), "\"deleted\":1");
        has(run(&s, many, OWN), "the changes of the transaction need more than the 1 MiB of memory");
        is(run(&s, COUNT, "{}"), "2");
        stop(&s);
}

/* --- connections --- */

static void test_connection(void **state)
{
        Session s;
        start(&s);
        make(&s);
        QueryConnection *a = &s.connections[0], *b = &s.connections[1];
        has(run_as(&s, "admin", a, BEGIN("{\"id\":\"x\",\"connection\":true}"), "{}"), "\"inserted\":1");
        has(run_as(&s, "admin", a, BEGIN("{\"id\":\"y\",\"connection\":true}"), "{}"),
            "This connection is in the transaction `x` already.");
        has(run_as(&s, "admin", a, ADD(1), "{}"), "\"replaced\":1");
        is(run_as(&s, "admin", a, "[170,[" GET(1) ",\"a\"]]", "{}"), "2");
        is(run_as(&s, "admin", b, "[170,[" GET(1) ",\"a\"]]", "{}"), "1");
        is(run_as(&s, "admin", a, "[170,[" GET(1) ",\"a\"]]", "{\"transaction\":false}"), "1");
        is(run_as(&s, "admin", a, COUNT, OWN), "LOGIC This connection is in a transaction already.");
        has(run_as(&s, "admin", a, COMMIT("x"), "{}"), "\"replaced\":1");
        is(run_as(&s, "admin", a, "[170,[" GET(1) ",\"a\"]]", "{}"), "2"); /* outside again */
        assert_null(atomic_load(&a->bound));

        /* Aborted: nothing that was meant for it becomes true on its own. */
        run_as(&s, "admin", a, BEGIN("{\"id\":\"z\",\"connection\":true,\"timeout\":1}"), "{}");
        sim_advance_ns(s.w.sim, (int64_t)2 * 1000000000);
        transactions_expire(s.w.catalog);
        is(run_as(&s, "admin", a, ADD(1), "{}"),
           "OP_FAILED The transaction `z` was aborted and rolled back: idle for 1 s");
        is(run_as(&s, "admin", a, ADD(1), "{}"),
           "OP_FAILED The transaction `z` was aborted and rolled back: idle for 1 s");
        has(run_as(&s, "admin", a, ROLLBACK("z"), "{}"), "\"deleted\":1");
        has(run_as(&s, "admin", a, ADD(1), "{}"), "\"replaced\":1");

        /* The client is gone. */
        run_as(&s, "admin", a, BEGIN("{\"id\":\"w\",\"connection\":true}"), "{}");
        run_as(&s, "admin", a, ADD(1), "{}");
        s.w.source->connection_end(s.w.source->ctx, a);
        is(run(&s, HELD("w"), "{}"), "null");
        is(run(&s, "[170,[" GET(1) ",\"a\"]]", "{}"), "3");
        stop(&s);
}

/* A cursor belongs to its transaction, and ends with it. */
static void test_cursor_of_held(void **state)
{
        Session s;
        QueryAnswer answer;
        Buf out;
        start(&s);
        make(&s);
        buf_init(&out, 1 << 20);
        make_many(&s);
        run(&s, BEGIN("{\"id\":\"x\"}"), "{}");
        const char *options = "{\"transaction\":\"x\"," SMALL_BATCHES "}";
        Query *query = prepare(&s, "admin", NULL, T, options);
        ok(query_next(query, &out, &answer));
        assert_int_equal(answer, ANSWER_PARTIAL);
        has(run(&s, ADD(1), IN("x")), "\"replaced\":1"); /* between two batches it is free */
        ok(query_next(query, &out, &answer));
        assert_int_equal(answer, ANSWER_PARTIAL);
        run(&s, COMMIT("x"), "{}");
        refused(query_next(query, &out, &answer), ERR_OP_FAILED, "The transaction `x` is committed.");
        query_free(query);
        buf_done(&out);
        stop(&s);
}

/* --- who --- */

static Status no_credential(void *ctx, Bytes password, uint32_t iterations, ScramCredential *ret_credential)
{
        *ret_credential = (ScramCredential){.iterations = iterations};
        return ST_OK;
}

static void test_users(void **state)
{
        Session s;
        start(&s);
        s.w.host.credential = no_credential;
        make(&s);
        run(&s,
            "[56,[[15,[[14,[\"rethinkdb\"]],\"users\"]],[2,[{\"id\":\"ann\",\"password\":false},"
            "{\"id\":\"bob\",\"password\":false}]]]]",
            "{}");
        has(run_as(&s, "ann", NULL, BEGIN("{\"id\":\"x\"}"), "{}"), "\"inserted\":1");
        has(run_as(&s, "ann", NULL, COUNT, IN("x")), "permission"); /* as ever, for each table */
        run(&s, "[188,[[14,[\"test\"]],\"ann\",{\"read\":true,\"write\":true}]]", "{}");
        run(&s, "[188,[[14,[\"test\"]],\"bob\",{\"read\":true,\"write\":true}]]", "{}");
        has(run_as(&s, "ann", NULL, ADD(1), IN("x")), "\"replaced\":1");
        /* Nobody else sees or touches it, but for admin. */
        is(run_as(&s, "bob", NULL, "[43,[" SYS "]]", "{}"), "0");
        is(run_as(&s, "bob", NULL, HELD("x"), "{}"), "null");
        is(run_as(&s, "bob", NULL, COUNT, IN("x")),
           "OP_FAILED There is no transaction `x`: it was rolled back, or it is long over.");
        has(run_as(&s, "bob", NULL, ROLLBACK("x"), "{}"), "\"skipped\":1");
        has(run_as(&s, "bob", NULL, COMMIT("x"), "{}"), "OP_FAILED There is no transaction `x`");
        is(run_as(&s, "ann", NULL, "[43,[" SYS "]]", "{}"), "1");
        has(run(&s, HELD("x"), "{}"), "\"user\":\"ann\"");
        has(run_as(&s, "ann", NULL, COMMIT("x"), "{}"), "\"replaced\":1");
        run_as(&s, "ann", NULL, BEGIN("{\"id\":\"y\"}"), "{}");
        has(run(&s, ROLLBACK("y"), "{}"), "\"deleted\":1");
        stop(&s);
}

/* Whatever allocation fails, the transaction is whole or gone. */
static void test_out_of_memory(void **state)
{
        for (long n = 1, fired = 1; fired; n++) {
                Session s;
                start(&s);
                make(&s);
                QueryConnection *a = &s.connections[0];
                const char *const terms[] = {BEGIN("{\"id\":\"x\",\"connection\":true}"), ADD(1), ADD(2), COMMIT("x")};
                mem_fail_nth(n);
                for (size_t i = 0; i < ELEMENTS(terms); i++) {
                        Query *query = NULL;
                        uint8_t *text;
                        QueryAnswer answer;
                        size_t size = strlen(terms[i]) + 10;
                        Status st = query_new(&s.query_world, "admin", &query);
                        if (!st) {
                                query_set_connection(query, a);
                                st = query_text_buffer(query, size, &text);
                        }
                        if (!st) {
                                snprintf((char *)text, size, "[1,%s,{}]", terms[i]);
                                st = query_prepare(query, BYTES(text, strlen((char *)text)));
                        }
                        buf_clear(&s.out);
                        if (!st)
                                st = query_next(query, &s.out, &answer);
                        query_free(query);
                        bool failed = st != ST_OK;
                        status_ignore(st);
                        if (failed)
                                break;
                }
                fired = mem_fail_fired();
                mem_fail_nth(0);
                bool committed = strcmp(run(&s, STATE("x"), "{}"), "\"committed\"") == 0;
                is(run(&s, "[170,[" GET(1) ",\"a\"]]", "{}"), committed ? "2" : "1");
                is(run(&s, "[170,[" GET(2) ",\"a\"]]", "{}"), committed ? "2" : "1");
                stop(&s);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_one_query),      cmocka_unit_test(test_open_cursor),
                cmocka_unit_test(test_again),          cmocka_unit_test(test_held),
                cmocka_unit_test(test_refused_rows),   cmocka_unit_test(test_idle),
                cmocka_unit_test(test_memory),         cmocka_unit_test(test_connection),
                cmocka_unit_test(test_cursor_of_held), cmocka_unit_test(test_users),
                cmocka_unit_test(test_out_of_memory),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
