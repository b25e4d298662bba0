/* system_test.c - the tables of database `rethinkdb` through the query layer: what their rows hold, what may be written
 * to them and in which words the rest is refused, and that settings survive a restart. */
#include "base/log.h"
#include "query/query.h"
#include "table/table_test.h"

typedef struct Session {
        World w;
        QueryWorld query_world;
        Query *query;
        Buf out;
        /* the host's side */
        HostReports reports;
        char killed[64], renamed[64];
        bool has_job;
} Session;

#define JOB_ID "11111111-2222-4333-8444-555555555555"

static Status each_job(void *ctx, Status (*each)(void *each_ctx, const HostJob *job), void *each_ctx)
{
        Session *s = ctx;
        HostJob job = {.type = "query",
                       .id = JOB_ID,
                       .duration_sec = 1.5,
                       .user = "admin",
                       .client_address = "127.0.0.1",
                       .client_port = 49152,
                       .query = BYTES_STR("r.now()")};
        return s->has_job ? each(each_ctx, &job) : ST_OK;
}

static bool kill_job(void *ctx, Bytes id)
{
        Session *s = ctx;
        snprintf(s->killed, sizeof s->killed, "%.*s", (int)id.size, (const char *)id.data);
        return true;
}

static void report_stats(void *ctx, HostStats *stats)
{
        *stats = (HostStats){.queries_total = 7, .client_connections = 2, .clients_active = 1};
}

static void report_status(void *ctx, HostStatus *status)
{
        static const char *const argv[] = {"photondb", "serve"};
        *status = (HostStatus){.version = "PhotonDB 1",
                               .hostname = "box",
                               .bind = "127.0.0.1",
                               .argv = argv,
                               .argc = 2,
                               .pid = 42,
                               .started_us = 1000000,
                               .cache_bytes = 2 << 20,
                               .driver_port = 1,
                               .http_port = 2,
                               .cluster_port = 3,
                               .checkpoint_failing = ((Session *)ctx)->has_job};
}

static void renamed(void *ctx, const char *name)
{
        snprintf(((Session *)ctx)->renamed, sizeof((Session *)ctx)->renamed, "%s", name);
}

static void open_query(Session *s)
{
        s->query_world = (QueryWorld){.source = s->w.source, .host = &s->w.host, .memory_max_bytes = 64 << 20};
        ok(query_new(&s->query_world, "admin", &s->query));
}

static void start(Session *s)
{
        *s = (Session){0};
        world_init(&s->w, 33);
        s->reports = (HostReports){.ctx = s,
                                   .each_job = each_job,
                                   .kill_job = kill_job,
                                   .stats = report_stats,
                                   .status = report_status,
                                   .renamed = renamed};
        s->w.host.reports = &s->reports;
        world_open(&s->w);
        open_query(s);
        buf_init(&s->out, 64 << 20);
}

static void reopen(Session *s)
{
        s->query = query_free(s->query);
        world_close(&s->w);
        world_open(&s->w);
        open_query(s);
}

static void stop(Session *s)
{
        buf_done(&s->out);
        query_free(s->query);
        world_done(&s->w);
}

static const char *run(Session *s, const char *term)
{
        QueryAnswer answer = ANSWER_PARTIAL;
        uint8_t *text;
        size_t size = strlen(term) + 5;
        query_reset(s->query);
        ok(query_text_buffer(s->query, size + 1, &text));
        snprintf((char *)text, size + 1, "[1,%s]", term);
        buf_clear(&s->out);
        Status st = query_prepare(s->query, BYTES(text, strlen((char *)text)));
        while (!st && answer == ANSWER_PARTIAL)
                st = query_next(s->query, &s->out, &answer);
        if (st) {
                buf_clear(&s->out);
                ok(buf_printf(&s->out, "error: %s", status_message(st)));
                status_ignore(st);
        }
        ok(buf_append_byte(&s->out, 0));
        return (const char *)s->out.data;
}

#define answers(term, text) assert_string_equal(run(&s, term), text)

#define SYSTEM(name)        "[15,[[14,[\"rethinkdb\"]],\"" name "\"]]"
#define UUIDS(name)         "[15,[[14,[\"rethinkdb\"]],\"" name "\"],{\"identifier_format\":\"uuid\"}]"
#define ONLY(name)          "[45,[" SYSTEM(name) ",0]]"
#define T                   "[15,[[14,[\"test\"]],\"t\"]]"
#define MAKE                "[60,[[14,[\"test\"]],\"t\"]]"
#define FIELD(term, name)   "[170,[" term ",\"" name "\"]]"
#define UPDATE(term, patch) "[53,[" term "," patch "]]"
#define DELETE(term)        "[54,[" term "]]"
#define INSERT(name, row)   "[56,[" SYSTEM(name) "," row "]]"
#define FIRST_ERROR(term)   "[92,[" FIELD(term, "first_error") ",\"none\"]]"
#define refuses(term, text) answers(FIRST_ERROR(term), "\"" text "\"")

static void test_table_config(void **state)
{
        static const char wrong[] =
                "The change you're trying to make to `rethinkdb.table_config` has the wrong format. ";
        static const struct {
                const char *patch, *message;
        } bad[] = {
                {"{\"name\":5}", "In `name`: Expected a table name; got 5"},
                {"{\"name\":\"a b\"}",
                 "In `name`: \\\"a b\\\" is not a valid table name; Use A-Z, a-z, 0-9, _ and - only"},
                {"{\"db\":\"none\"}", "Database `none` does not exist."},
                {"{\"db\":[2,[1]]}", "Expected a database name; got [1]"},
                {"{\"indexes\":[2,[\"i\"]]}",
                 "The `indexes` field is read-only and can't be used to create or drop indexes."},
                {"{\"shards\":[2,[]]}", "In `shards`: You must specify at least one shard."},
                {"{\"shards\":3}", "In `shards`: Expected an array, got 3"},
                {"{\"shards\":[2,[{\"primary_replica\":\"here\",\"replicas\":[2,[\"there\"]]}]]}",
                 "In `shards`: In `replicas`: Server `there` does not exist or is not connected."},
                {"{\"shards\":[2,[{\"primary_replica\":\"here\",\"replicas\":[2,[\"here\",\"here\"]]}]]}",
                 "In `shards`: In `replicas`: Server `here` is listed more than once."},
                {"{\"shards\":[2,[{\"primary_replica\":\"here\",\"replicas\":[2,[]]}]]}",
                 "In `shards`: You must specify at least one replica for each shard."},
                {"{\"shards\":[2,[{\"replicas\":[2,[\"here\"]]}]]}",
                 "In `shards`: Expected a field named `primary_replica`."},
                {"{\"shards\":[2,[{\"primary_replica\":\"here\",\"replicas\":[2,[\"here\"]],\"nonvoting_replicas\":[2,["
                 "\"here\"]]}]]}",
                 "In `shards`: The primary replica (`here`) must not be a nonvoting replica."},
                {"{\"write_acks\":\"x\"}",
                 "In `write_acks`: Expected \\\"single\\\" or \\\"majority\\\", got: \\\"x\\\""},
                {"{\"write_hook\":1}",
                 "The `write_hook` field is read-only and can't be used to create or drop a write hook function."},
                {"{\"zz\":1,\"yy\":2}", "Unexpected key(s): yy zz"},
        };
        Session s;
        start(&s);
        run(&s, MAKE);
        for (size_t i = 0; i < ELEMENTS(bad); i++) {
                char term[512], want[512];
                snprintf(term, sizeof term, FIRST_ERROR(UPDATE(SYSTEM("table_config"), "%s")), bad[i].patch);
                snprintf(want, sizeof want, "\"%s%s\"", wrong, bad[i].message);
                assert_string_equal(run(&s, term), want);
        }
        refuses(UPDATE(SYSTEM("table_config"), "{\"primary_key\":\"x\"}"),
                "It's illegal to change a table's primary key");
        /* A field may be missing only where a table is made. */
        refuses("[55,[" SYSTEM("table_config") ",[69,[[2,[1]],[34,[[10,[1]],\"indexes\"]]]]]]",
                "The change you're trying to make to `rethinkdb.table_config` has the wrong format. Expected a field "
                "named `indexes`.");
        answers(FIELD(UPDATE(ONLY("table_config"),
                             "{\"name\":\"u\",\"durability\":\"soft\",\"write_acks\":\"single\"}"),
                      "replaced"),
                "1");
        reopen(&s);
        answers("[33,[" ONLY("table_config") ",\"name\",\"db\",\"durability\",\"write_acks\",\"indexes\"]]",
                "{\"db\":\"test\",\"durability\":\"soft\",\"indexes\":[],\"name\":\"u\",\"write_acks\":\"single\"}");
        /* Making and dropping tables by rows. */
        answers(FIELD(INSERT("table_config", "{\"name\":\"made\",\"db\":\"test\"}"), "inserted"), "1");
        answers("[62,[[14,[\"test\"]]]]", "[\"made\",\"u\"]");
        answers(FIELD(FIELD("[45,[" FIELD("[56,[" SYSTEM("table_config") ",{\"name\":\"w\",\"db\":\"test\"}],"
                                                                         "{\"return_changes\":true}]",
                                          "changes") ",0]]",
                            "new_val"),
                      "primary_key"),
                "\"id\"");
        refuses(INSERT("table_config", "{\"name\":\"w\",\"db\":\"test\"}"), "Table `test.w` already exists.");
        refuses(INSERT("table_config", "{\"name\":\"x\",\"db\":\"test\",\"indexes\":[2,[\"i\"]]}"),
                "The change you're trying to make to `rethinkdb.table_config` has the wrong format. The `indexes` "
                "field "
                "is read-only and can't be used to create indexes.");
        refuses("[56,[" UUIDS("table_config") ",{\"name\":\"x\",\"db\":\"none\"}]]",
                "The change you're trying to make to `rethinkdb.table_config` has the wrong format. There is no "
                "database "
                "with UUID `none`.");
        answers(FIELD("[54,[" UUIDS("table_config") "]]", "deleted"), "3");
        answers("[62,[[14,[\"test\"]]]]", "[]");
        stop(&s);
}

static void test_db_config(void **state)
{
        Session s;
        start(&s);
        answers(FIELD(INSERT("db_config", "{\"name\":\"d\"}"), "inserted"), "1");
        answers("[59,[]]", "[\"d\",\"rethinkdb\",\"test\"]");
        refuses(INSERT("db_config", "{\"name\":\"d\"}"), "Database `d` already exists.");
        refuses(INSERT("db_config", "{\"name\":\"e\",\"id\":\"x\"}"),
                "If you want to create a new table by inserting into `rethinkdb.db_config`, you must use an "
                "auto-generated primary key.");
        refuses(UPDATE(SYSTEM("db_config"), "{\"name\":\"rethinkdb\"}"),
                "Cannot rename database `d` to `rethinkdb` because database `rethinkdb` already exists.");
        refuses(UPDATE(SYSTEM("db_config"), "{\"name\":\"a b\"}"),
                "The change you're trying to make to `rethinkdb.db_config` has the wrong format. In `name`: \\\"a "
                "b\\\" is "
                "not a valid db name; Use A-Z, a-z, 0-9, _ and - only");
        refuses(UPDATE(SYSTEM("db_config"), "{\"x\":1}"),
                "The change you're trying to make to `rethinkdb.db_config` has "
                "the wrong format. Unexpected key(s): x");
        answers(FIELD(DELETE("[39,[" SYSTEM("db_config") ",{\"name\":\"d\"}]]"), "deleted"), "1");
        answers("[59,[]]", "[\"rethinkdb\",\"test\"]");
        stop(&s);
}

static void test_server_config(void **state)
{
        static const char wrong[] =
                "The row you're trying to put into `rethinkdb.server_config` has the wrong format. ";
        static const struct {
                const char *patch, *message;
        } bad[] = {
                {"{\"name\":\"a b\"}",
                 "In `name`: \\\"a b\\\" is not a valid server name; Use A-Z, a-z, 0-9, _ and - only"},
                {"{\"tags\":1}", "In `tags`: Expected an array, got 1"},
                {"{\"tags\":[2,[\"ok\",\"no no\"]]}",
                 "In `tags`: \\\"no no\\\" is not a valid server tag; Use A-Z, a-z, 0-9, _ and - only"},
                {"{\"cache_size_mb\":\"much\"}", "In `cache_size_mb`: Expected a number or 'auto', got \\\"much\\\""},
                {"{\"cache_size_mb\":-1}", "In `cache_size_mb`: Cache size cannot be negative."},
                {"{\"cache_size_mb\":1e300}", "In `cache_size_mb`: Value is too big."},
                {"{\"x\":1}", "Unexpected key(s): x"},
        };
        Session s;
        start(&s);
        for (size_t i = 0; i < ELEMENTS(bad); i++) {
                char term[512], want[512];
                snprintf(term, sizeof term, FIRST_ERROR(UPDATE(SYSTEM("server_config"), "%s")), bad[i].patch);
                snprintf(want, sizeof want, "\"%s%s\"", wrong, bad[i].message);
                assert_string_equal(run(&s, term), want);
        }
        refuses(DELETE(SYSTEM("server_config")),
                "It's illegal to delete rows from the `rethinkdb.server_config` table.");
        refuses(INSERT("server_config", "{\"name\":\"x\"}"),
                "It's illegal to insert new rows into the `rethinkdb.server_config` table.");
        answers(FIELD(UPDATE(SYSTEM("server_config"),
                             "{\"name\":\"other\",\"cache_size_mb\":64,\"tags\":[2,[\"z\",\"a\",\"z\",\"default\"]]}"),
                      "replaced"),
                "1");
        assert_string_equal(s.renamed, "other");
        for (int pass = 0; pass < 2; pass++) {
                answers("[34,[" ONLY("server_config") ",\"id\"]]",
                        "{\"cache_size_mb\":64,\"name\":\"other\",\"tags\":[\"a\",\"default\",\"z\"]}");
                answers(FIELD(ONLY("server_status"), "name"), "\"other\"");
                s.renamed[0] = 0;
                reopen(&s);
                assert_string_equal(s.renamed, "other");
        }
        run(&s, MAKE);
        answers("[170,[[45,[[170,[" ONLY("table_config") ",\"shards\"]],0]],\"replicas\"]]", "[\"other\"]");
        stop(&s);
}

static void test_cluster_config(void **state)
{
        Session s;
        start(&s);
        answers(SYSTEM("cluster_config"), "{\"heartbeat_timeout_secs\":10,\"id\":\"heartbeat\"}");
        refuses(UPDATE(SYSTEM("cluster_config"), "{\"heartbeat_timeout_secs\":1}"),
                "The heartbeat timeout must be at least two seconds");
        refuses(UPDATE(SYSTEM("cluster_config"), "{\"heartbeat_timeout_secs\":\"x\"}"),
                "Expected a number; got \\\"x\\\"");
        refuses(UPDATE(SYSTEM("cluster_config"), "{\"x\":\"x\"}"), "Unexpected key(s): x");
        refuses(DELETE(SYSTEM("cluster_config")),
                "It's illegal to delete rows from the `rethinkdb.cluster_config` table.");
        refuses(INSERT("cluster_config", "{\"id\":\"auth\"}"),
                "It's illegal to insert new rows into the `rethinkdb.cluster_config` table.");
        answers(FIELD(UPDATE(SYSTEM("cluster_config"), "{\"heartbeat_timeout_secs\":20}"), "replaced"), "1");
        reopen(&s);
        answers(FIELD(ONLY("cluster_config"), "heartbeat_timeout_secs"), "20");
        stop(&s);
}

static void test_stats(void **state)
{
        Session s;
        start(&s);
        run(&s, MAKE);
        run(&s, "[56,[" T ",[2,[{\"id\":1},{\"id\":2},{\"id\":3}]]]]");
        run(&s, "[54,[[16,[" T ",3]]]]");
        run(&s, "[16,[" T ",1]]");
        run(&s, T);
        answers("[43,[" SYSTEM("stats") "]]", "4");
        answers(FIELD("[16,[" SYSTEM("stats") ",[2,[\"cluster\"]]]]", "query_engine"),
                "{\"client_connections\":2,\"clients_active\":1,\"queries_per_sec\":0,\"read_docs_per_sec\":0,"
                "\"written_docs_per_sec\":0}"); /* the simulated clock stands still */
        answers("[33,[" FIELD("[45,[[39,[" SYSTEM("stats") ",[69,[[2,[1]],[17,[[45,[[170,[[10,[1]],\"id\"]],0]],"
                                                           "\"server\"]]]]]],0]]",
                              "query_engine") ",\"queries_total\",\"read_docs_total\",\"written_docs_total\"]]",
                "{\"queries_total\":7,\"read_docs_total\":3,\"written_docs_total\":4}");
        answers("[170,[[45,[[39,[" SYSTEM(
                        "stats") ",[69,[[2,[1]],[17,[[45,[[170,[[10,[1]],\"id\"]],0]],\"table_server\"]]]]]],"
                                 "0]],\"table\"]]",
                "\"t\"");
        answers("[52,[[170,[[45,[[39,[" UUIDS("stats") ",[69,[[2,[1]],[17,[[45,[[170,[[10,[1]],\"id\"]],0]],"
                                                       "\"table_server\"]]]]]],0]],\"storage_engine\"]]]]",
                "\"OBJECT\"");
        refuses(DELETE(SYSTEM("stats")), "It's illegal to write to the `rethinkdb.stats` table.");
        /* Figures outlive a change of settings. */
        run(&s, UPDATE(SYSTEM("table_config"), "{\"durability\":\"soft\"}"));
        answers(FIELD(FIELD("[45,[[39,[" SYSTEM(
                                    "stats") ",[69,[[2,[1]],[17,[[45,[[170,[[10,[1]],\"id\"]],0]],\"server\"]]]]]],"
                                             "0]]",
                            "query_engine"),
                      "written_docs_total"),
                "4");
        stop(&s);
}

static void test_jobs(void **state)
{
        Session s;
        start(&s);
        answers("[43,[" SYSTEM("jobs") "]]", "0");
        s.has_job = true;
        answers(SYSTEM("jobs"), "{\"duration_sec\":1.5,\"id\":[\"query\",\"" JOB_ID "\"],\"info\":{\"client_address\":"
                                "\"127.0.0.1\",\"client_port\":49152,\"query\":\"r.now()\",\"user\":\"admin\"},"
                                "\"servers\":[\"here\"],\"type\":\"query\"}");
        refuses(UPDATE(SYSTEM("jobs"), "{\"x\":1}"),
                "The `rethinkdb.jobs` system table only allows deletions, not inserts or updates.");
        assert_string_equal(s.killed, "");
        answers(FIELD(DELETE("[16,[" SYSTEM("jobs") ",[2,[\"query\",\"" JOB_ID "\"]]]]"), "deleted"), "1");
        assert_string_equal(s.killed, JOB_ID);
        answers(FIELD(DELETE("[16,[" SYSTEM("jobs") ",[2,[\"query\",\"none\"]]]]"), "skipped"), "1");
        stop(&s);
}

static void test_reports(void **state)
{
        Session s;
        start(&s);
        answers("[34,[" ONLY("server_status") ",\"id\",{\"network\":\"time_connected\",\"process\":\"time_started\"}]]",
                "{\"name\":\"here\",\"network\":{\"canonical_addresses\":[{\"host\":\"127.0.0.1\",\"port\":3}],"
                "\"cluster_port\":3,\"connected_to\":{},\"hostname\":\"box\",\"http_admin_port\":2,\"reql_port\":1},"
                "\"process\":{\"argv\":[\"photondb\",\"serve\"],\"cache_size_mb\":2,\"pid\":42,\"version\":\"PhotonDB "
                "1\"}}");
        answers("[43,[" SYSTEM("current_issues") "]]", "0");
        s.has_job = true;
        answers("[33,[" ONLY("current_issues") ",\"type\",\"critical\"]]",
                "{\"critical\":false,\"type\":\"checkpoint_error\"}");
        refuses(DELETE(SYSTEM("current_issues")), "It's illegal to write to the `rethinkdb.current_issues` table.");
        log_configure(LOG_ERROR, LOG_TEXT, 2);
        log_write(LOG_ERROR, "test", "said \"this\"\n%d", 5);
        log_configure(LOG_INFO, LOG_TEXT, 2);
        answers("[33,[[45,[" SYSTEM("logs") ",-1]],\"message\",\"level\",\"server\"]]",
                "{\"level\":\"error\",\"message\":\"said \\\"this\\\"\\\\n5\",\"server\":\"here\"}");
        refuses(DELETE(SYSTEM("logs")), "It's illegal to write to the `rethinkdb.logs` system table.");
        stop(&s);
}

static void test_placement(void **state)
{
        Session s;
        start(&s);
        run(&s, MAKE);
        answers("[176,[" T "],{\"shards\":1,\"replicas\":2}]",
                "error: Can't put 2 replicas on servers with the tag `default` because there are only 1 servers with "
                "the "
                "tag `default`. It's impossible to have more replicas of the data than there are servers.");
        answers("[60,[[14,[\"test\"]],\"u\"],{\"replicas\":2}]",
                "error: Can't put 2 replicas on servers with the tag `default` because there are only 1 servers with "
                "the "
                "tag `default`. It's impossible to have more replicas of the data than there are servers.");
        run(&s, UPDATE(SYSTEM("server_config"), "{\"tags\":[2,[\"a\",\"b\"]]}"));
        answers("[60,[[14,[\"test\"]],\"u\"]]",
                "error: Can't put 1 replicas on servers with the tag `default` because there are only 0 servers with "
                "the "
                "tag `default`. It's impossible to have more replicas of the data than there are servers.");
        answers("[176,[" T "],{\"shards\":1,\"replicas\":{\"a\":1,\"b\":1},\"primary_replica_tag\":\"a\"}]",
                "error: Server tags `b` and `a` overlap; the server `here` has both tags. The server tags used for "
                "replication settings for a given table must be non-overlapping.");
        answers(FIELD("[176,[" T
                      "],{\"shards\":3,\"replicas\":{\"b\":1},\"primary_replica_tag\":\"b\",\"dry_run\":true}]",
                      "reconfigured"),
                "0");
        answers(FIELD("[176,[[14,[\"test\"]]],{\"shards\":3,\"replicas\":{\"b\":1},\"primary_replica_tag\":\"b\"}]",
                      "reconfigured"),
                "1");
        answers("[43,[" FIELD(ONLY("table_config"), "shards") "]]", "3");
        answers(FIELD("[79,[" T "]]", "doc_count_estimates"), "[0,0,0]");
        answers(FIELD("[179,[" T "]]", "rebalanced"), "1");
        stop(&s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_table_config),  cmocka_unit_test(test_db_config),
                cmocka_unit_test(test_server_config), cmocka_unit_test(test_cluster_config),
                cmocka_unit_test(test_stats),         cmocka_unit_test(test_jobs),
                cmocka_unit_test(test_reports),       cmocka_unit_test(test_placement),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
