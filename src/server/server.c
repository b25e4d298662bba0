/* server.c - see server.h: what is made in which order, and taken down in the reverse one.
 *
 *   start: check options -> bind ports -> threads and loops -> open store -> catalog, identity -> accept -> port file
 *   stop:  close listeners -> sessions answer what they have (5 s) -> cancel (5 s) -> close connections -> end threads
 * -> close store
 *
 * Everything that fails for outside reasons comes before the store is opened, and opening the store changes nothing
 * when it fails. */
#include "server/server.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "feed/hub.h"
#include "network/listener.h"
#include "os/thread.h"
#include "server/control.h"
#include "server/http.h"
#include "server/identity.h"
#include "server/reql.h"
#include "server/spill_files.h"
#include "table/table.h"
#include "value/json.h"
#include "worker/pool.h"

#define MAX_LOOPS            256
#define DEFAULT_QUERY_MEMORY ((size_t)1 << 30)
#define SORT_SHARE           4 /* of a query's memory, that one sort may take */
#define STOP_GRACE_MS        5000
#define STOP_CANCEL_MS       5000
#define STOP_ABANDON_MS      30000
#define STOP_POLL_MS         2

struct Server {
        Os *os;
        int64_t started_ns, started_us;
        size_t cache_bytes;
        char *port_file;
        int cluster_port;
        bool port_file_written;
        char id[SERVER_ID_BYTES], name[SERVER_NAME_BYTES];
        char bind[64], host_name[256];
        const char **argv;
        size_t argc;
        /* --- made by start, in this order --- */
        NetListener *driver, *http;
        Pool *pool;
        WorkerPool *workers;
        SpillFiles *spill;
        NetLoop *loops[MAX_LOOPS];
        ReqlLoop *reql[MAX_LOOPS];
        unsigned loop_count;
        Store *store;
        TableCatalog *catalog;
        FeedHub *feeds;
        Jobs *jobs;
        StoreWatch *watch;
        Control *control; /* NULL: it could not be made */
        /* --- what the layers borrow --- */
        HostOps host;
        HostReports reports;
        QueryWorld query_world;
        SessionUsers users;
        ReqlWorld world;
        HttpWorld http_world;
        /* --- the thread of server_run --- */
        uv_loop_t main;
        uv_async_t stop;
        uv_signal_t on_int, on_term;
        bool main_ready, stopped;
        /* --- any thread --- */
        atomic_bool checkpoint_failed;
};

/* --- what the query layer needs of the process --- */
static int64_t host_now_us(void *ctx)
{
        return os_wall_us(((Server *)ctx)->os);
}
static int64_t host_mono_ns(void *ctx)
{
        return os_mono_ns(((Server *)ctx)->os);
}
static void host_sleep_ms(void *ctx, unsigned ms)
{
        (void)ctx;
        uv_sleep(ms);
}

static Status host_random(void *ctx, void *out, size_t size)
{
        return os_random(((Server *)ctx)->os, out, size);
}

static Status host_credential(void *ctx, Bytes password, uint32_t iterations, ScramCredential *ret_credential)
{
        return scram_credential(((Server *)ctx)->os, password, iterations, ret_credential);
}

static void host_parallel(void *ctx, size_t count, void (*task)(void *arg, size_t i), void *arg)
{
        Server *server = ctx;
        pool_parallel(server->pool, count, server->host.parallel_max, task, arg);
}
static void host_audit(void *ctx, const char *line)
{
        log_notice("access", "%s", line);
}

static Status find_user(void *ctx, Bytes name, ScramCredential *ret_credential, bool *ret_found)
{
        return table_user_find(((Server *)ctx)->catalog, name, ret_credential, ret_found);
}

/* --- what the system database shows of the process --- */
static Status report_jobs(void *ctx, Status (*each)(void *each_ctx, const HostJob *job), void *each_ctx)
{
        Server *server = ctx;
        return jobs_each(server->jobs, each, each_ctx);
}

static bool report_kill(void *ctx, Bytes id)
{
        Server *server = ctx;
        return jobs_kill(server->jobs, id);
}

static void report_stats(void *ctx, HostStats *stats)
{
        Server *server = ctx;
        for (unsigned i = 0; i < server->loop_count; i++)
                reql_loop_stats(server->reql[i], stats);
        SpillFilesStats spill;
        spill_files_stats(server->spill, &spill);
        stats->temporary_files = spill.files;
        stats->temporary_bytes = spill.bytes;
        stats->temporary_bytes_total = spill.bytes_total;
        FeedHubStats feeds;
        feed_hub_stats(server->feeds, &feeds);
        stats->feeds = feeds.feeds + feeds.system_feeds;
        stats->feed_queued_events = feeds.queued_events;
        stats->feed_queued_bytes = feeds.queued_bytes;
        stats->feed_events_total = feeds.delivered + feeds.caught_up;
        stats->feeds_lost_total = feeds.lost;
        stats->feed_skipped_total = feeds.skipped;
}

static void report_status(void *ctx, HostStatus *status)
{
        Server *server = ctx;
        *status = (HostStatus){.version = "rethinkdb 2.4.4 (PhotonDB " PHOTONDB_VERSION ")",
                               .hostname = server->host_name,
                               .bind = server->bind,
                               .argv = server->argv,
                               .argc = server->argc,
                               .pid = (long)uv_os_getpid(),
                               .started_us = server->started_us,
                               .cache_bytes = server->cache_bytes,
                               .driver_port = server_driver_port(server),
                               .http_port = server_http_port(server),
                               .cluster_port = server->cluster_port,
                               .checkpoint_failing = atomic_load(&server->checkpoint_failed)};
}

static void report_renamed(void *ctx, const char *name)
{
        Server *server = ctx;
        atomic_store_explicit(&server->world.session.server_name, name, memory_order_release);
}

/* The words that the process was started with, copied: whoever started us may do with his what he likes. */
static Status copy_words(Server *server, const ServerOptions *options)
{
        size_t bytes = options->word_count * sizeof(*server->argv);
        for (size_t i = 0; i < options->word_count; i++)
                bytes += strlen(options->words[i]) + 1;
        server->argv = mem_alloc(bytes);
        if (!server->argv)
                return status_nomem();
        char *at = (char *)(server->argv + options->word_count);
        for (; server->argc < options->word_count; server->argc++) {
                size_t size = strlen(options->words[server->argc]) + 1;
                server->argv[server->argc] = memcpy(at, options->words[server->argc], size);
                at += size;
        }
        return ST_OK;
}

static Status make_reports(Server *server, const ServerOptions *options)
{
        size_t size = sizeof(server->host_name);
        if (uv_os_gethostname(server->host_name, &size) != 0)
                snprintf(server->host_name, sizeof(server->host_name), "localhost");
        snprintf(server->bind, sizeof(server->bind), "%s",
                 options->bind && *options->bind ? options->bind : "127.0.0.1");
        server->started_us = os_wall_us(server->os);
        server->reports = (HostReports){.ctx = server,
                                        .each_job = report_jobs,
                                        .kill_job = report_kill,
                                        .stats = report_stats,
                                        .status = report_status,
                                        .renamed = report_renamed};
        TRY(copy_words(server, options));
        return jobs_new(server->os, &server->jobs);
}

/* --- health --- */
static Status health(void *ctx, Buf *out, bool *ret_healthy)
{
        Server *server = ctx;
        StoreStats stats;
        size_t dbs, tables;
        store_stats(server->store, &stats);
        table_source_counts(server->catalog, &dbs, &tables);
        Status log_error = store_log_error(server->store);
        *ret_healthy = log_error == ST_OK;
        char why[512] = "ok";
        if (log_error)
                status_text(log_error, why, sizeof(why));
        status_free(log_error);
        TRY(buf_printf(out,
                       "{\"status\":\"%s\",\"version\":\"%s\",\"server_id\":\"%s\",\"server_name\":\"%s\",\"uptime_"
                       "seconds\":%" PRId64,
                       *ret_healthy ? "ok" : "failing", PHOTONDB_VERSION, server->id,
                       atomic_load(&server->world.session.server_name),
                       (os_mono_ns(server->os) - server->started_ns) / 1000000000));
        TRY(buf_append_str(out, ",\"log\":"));
        TRY(json_write_string(BYTES_STR(why), out));
        TRY(buf_printf(out, ",\"snapshots\":\"%s\"", atomic_load(&server->checkpoint_failed) ? "failing" : "ok"));
        return buf_printf(out,
                          ",\"databases\":%zu,\"tables\":%zu,\"position\":%" PRIu64 ",\"durable_position\":%" PRIu64
                          ",\"log_bytes\":%" PRIu64 "}",
                          dbs, tables, stats.last_position, stats.durable_position, stats.log_bytes);
}

/* --- starting --- */
static Status check_options(const ServerOptions *options)
{
        static const struct {
                const char *option;
                size_t offset;
        } ports[] = {
                {"--driver-port", offsetof(ServerOptions, driver_port)},
                {"--http-port", offsetof(ServerOptions, http_port)},
                {"--cluster-port", offsetof(ServerOptions, cluster_port)},
        };
        for (size_t i = 0; i < ELEMENTS(ports); i++) {
                int port = *(const int *)((const char *)options + ports[i].offset);
                if (port < 0 || port > 65535)
                        return status_hint(status_new(ERR_INVALID, "%s %d is not a port number", ports[i].option, port),
                                           "Ports are 0 (any free one) to 65535.");
                for (size_t k = 0; k < i; k++)
                        if (port && port == *(const int *)((const char *)options + ports[k].offset))
                                return status_hint(status_new(ERR_INVALID, "%s and %s are both %d", ports[k].option,
                                                              ports[i].option, port),
                                                   "Give each a port of its own.");
        }
        if (options->initial_password && strlen(options->initial_password) > 1024)
                return status_new(ERR_INVALID, "the initial password is longer than 1024 bytes");
        return ST_OK;
}

static bool has_password(const ServerOptions *options)
{
        return options->initial_password && *options->initial_password;
}

/* Is there nothing yet in which a password could be? */
static bool is_fresh(Server *server, const ServerOptions *options)
{
        _cleanup_(os_dir_closep) OsDir *dir = NULL;
        Buf version;
        buf_init(&version, 4096);
        Status st = os_dir_open(server->os, options->data_dir, OS_DIR_READ, &dir);
        if (!st)
                st = os_read_whole(dir, "VERSION", 4096, &version);
        bool fresh = status_code(st) == ERR_NOT_FOUND;
        status_free(st);
        buf_done(&version);
        return fresh;
}

/* `has_password`: `admin` has, or will have one. */
static Status check_exposure(Server *server, const ServerOptions *options, bool has_password)
{
        const char *bind = options->bind && *options->bind ? options->bind : "127.0.0.1";
        if (has_password || options->dev_mode || net_listener_is_loopback(server->driver))
                return ST_OK;
        return status_hint(
                status_new(ERR_INVALID, "--bind %s would let others on the network in without a password", bind),
                "Set a password for `admin` with --initial-password-file, or add --dev-mode if the "
                "network is yours alone.");
}

static Status open_ports(Server *server, const ServerOptions *options)
{
        const char *bind = options->bind && *options->bind ? options->bind : "127.0.0.1";
        TRY(net_listener_open(bind, options->driver_port, "driver port", "--driver-port", &server->driver));
        if (!has_password(options) && is_fresh(server, options))
                TRY(check_exposure(server, options, false));
        return net_listener_open(bind, options->http_port, "http port", "--http-port", &server->http);
}

static Status make_loops(Server *server, unsigned wanted)
{
        unsigned count = wanted ? wanted : thread_core_count();
        count = MIN(count, MAX_LOOPS);
        for (unsigned i = 0; i < count; i++) {
                TRY(net_loop_new(i, &server->loops[i]));
                server->loop_count++;
                TRY(reql_loop_new(server->loops[i], &server->reql[i]));
                TRY(net_loop_start(server->loops[i]));
        }
        return pool_new(2 * thread_core_count() + 2, &server->pool);
}

/* Log thread: counts, and wakes the loops that wait. */
static void on_store_event(void *ctx)
{
        Server *server = ctx;
        atomic_fetch_add(&server->world.log_events, 1);
        for (unsigned i = 0; i < server->loop_count; i++)
                reql_loop_log_event(server->reql[i]);
}

static void on_checkpoint(void *ctx, Status st)
{
        Server *server = ctx;
        char text[512];
        bool failed = st != ST_OK, before = atomic_exchange(&server->checkpoint_failed, failed);
        if (failed && !before)
                log_warn("server", "%s; it is tried again, and the log is kept until then",
                         status_text(st, text, sizeof(text)));
        else if (!failed && before)
                log_notice("server", "checkpoints work again");
}

/* What this process may have: the machine's memory, or less in a container. */
static size_t ram_bytes(void)
{
        uint64_t total = uv_get_total_memory(), allowed = uv_get_constrained_memory();
        return (size_t)(allowed && allowed < total ? allowed : total);
}

/* `admin`'s, of a new data directory; nobody comes in from the network without one. */
static Status first_password(Server *server, const ServerOptions *options)
{
        bool set = false;
        if (has_password(options)) {
                TRY_CTX(table_admin_initial_password(server->catalog, BYTES_STR(options->initial_password), &set),
                        "setting the password of `admin`");
                if (set)
                        log_notice("access", "`admin` has the initial password now");
                else
                        log_notice("access", "the initial password is not used: `admin` has a password already");
        }
        return check_exposure(server, options, table_user_has_password(server->catalog, BYTES_STR("admin")));
}

static void task_waits(void *ctx, bool begins)
{
        pool_blocking(ctx, begins);
}

static Status open_data(Server *server, const ServerOptions *options)
{
        StoreOptions store = {
                .os = server->os,
                .path = options->data_dir,
                /* A quarter is left for queries and connections. Writes beyond are refused (memory) or wait for the
                 * disk (files), which is better than being killed. */
                .memory_max_bytes = options->memory_bytes ? options->memory_bytes : ram_bytes() / 4,
                .cache_max_bytes = options->cache_bytes ? options->cache_bytes : ram_bytes() / 2,
                .log_budget_bytes = options->log_budget_bytes,
                .log_keep_bytes = options->log_keep_bytes,
                .log_keep_ms = options->log_keep_ms,
                .log_archive = options->log_archive,
                .checkpoint_done = on_checkpoint,
                .checkpoint_ctx = server,
                .background = true,
        };
        TRY(store_open(&store, &server->store));
        TRY(identity_load(server->os, options->data_dir, server->id));
        server->host = (HostOps){
                .now_us = host_now_us,
                .mono_ns = host_mono_ns,
                .random = host_random,
                .ctx = server,
                .server_name = server->name,
                .server_id = server->id,
                .reports = &server->reports,
                .credential = host_credential,
                .audit = host_audit,
                .sleep_ms = host_sleep_ms,
                .parallel = host_parallel,
                .parallel_max = thread_core_count(),
        };
        server->cache_bytes = store.cache_max_bytes;
        server->users = (SessionUsers){server, find_user};
        TRY(spill_files_open(server->os, options->data_dir, options->spill_max_bytes, &server->spill));
        TRY(table_source_open(server->store, &server->host, options->storage, &server->catalog));
        table_source_limit_transactions(server->catalog,
                                        &(TransactionLimits){.idle_ms = options->transaction_timeout_ms,
                                                             .memory_max_bytes = options->transaction_memory_bytes,
                                                             .open_max = options->max_transactions});
        const FeedHubOptions feeds = {.memory_max_bytes = options->feed_memory_bytes};
        TRY(feed_hub_open(server->store, server->catalog, &server->host, server->os, &feeds, &server->feeds));
        TRY(first_password(server, options));
        const WorkerPoolOptions workers = {
                .os = server->os,
                .no_js = options->no_js,
                .no_http = options->no_http_requests,
                .http_proxy = options->http_proxy,
                .http_public_only = options->http_public_only,
                .waiting = task_waits,
                .waiting_ctx = server->pool,
        };
        TRY(worker_pool_new(&workers, &server->workers));
        size_t query_memory = options->query_memory_bytes ? options->query_memory_bytes : DEFAULT_QUERY_MEMORY;
        server->query_world = (QueryWorld){
                .outside = worker_pool_ops(server->workers),
                .source = table_source(server->catalog),
                .feeds = feed_hub_source(server->feeds),
                .host = &server->host,
                .memory_max_bytes = query_memory,
                .spill = spill_files_ops(server->spill),
                .sort_memory_bytes =
                        options->sort_memory_bytes ? options->sort_memory_bytes : query_memory / SORT_SHARE,
                .timeout_ns = options->query_timeout_ms * 1000000,
                .no_planner = options->no_planner,
                .stack_max_bytes = THREAD_STACK_BYTES / 4 * 3,
        };
        server->world.session = (SessionWorld){
                .os = server->os,
                .query = &server->query_world,
                .users = &server->users,
                .server_id = server->id,
                .server_name = atomic_load(&server->world.session.server_name), /* the catalog has told it */
                .jobs = server->jobs,
        };
        server->world.pool = server->pool;
        server->world.store = server->store;
        server->http_world = (HttpWorld){.health = health, .ctx = server};
        return ST_OK;
}

static Status start_serving(Server *server)
{
        for (unsigned i = 0; i < server->loop_count; i++)
                TRY(reql_loop_open(server->reql[i], &server->world));
        TRY(store_watch(server->store, on_store_event, server, &server->watch));
        TRY(net_listener_start(server->driver, server->loops, server->loop_count, &reql_conn_ops, NULL));
        return net_listener_start(server->http, server->loops, server->loop_count, &http_conn_ops, &server->http_world);
}

/* Without it everything works but for what is asked over it. */
static void start_control(Server *server, const char *data_dir)
{
        ControlWorld world = {.os = server->os,
                              .store = server->store,
                              .catalog = server->catalog,
                              .server_name = atomic_load(&server->world.session.server_name),
                              .started_ns = server->started_ns,
                              .feeds = server->feeds};
        Status st = control_start(&world, data_dir, &server->control);
        if (st)
                log_status(LOG_WARN, "server", status_context(st, "no photondb backup or stats of this server"));
}

/* `path` as directory and name. */
static Status open_parent(Os *os, const char *path, OsDir **ret_dir, const char **ret_name)
{
        const char *slash = strrchr(path, '/');
        char dir[4096];
        size_t size = slash ? (size_t)(slash - path) : 0;
        if (size >= sizeof(dir))
                return status_new(ERR_INVALID, "the path of the port file is too long");
        snprintf(dir, sizeof(dir), "%.*s", (int)size, path);
        TRY(os_dir_open(os, slash ? (size ? dir : "/") : ".", OS_DIR_EXISTING, ret_dir));
        *ret_name = slash ? slash + 1 : path;
        return ST_OK;
}

static Status write_port_file(Server *server)
{
        if (!server->port_file)
                return ST_OK;
        _cleanup_(os_dir_closep) OsDir *dir = NULL;
        const char *name;
        char text[256];
        int size = snprintf(
                text, sizeof(text), "{\"driver_port\":%d,\"http_port\":%d,\"cluster_port\":%d,\"pid\":%ld}\n",
                server_driver_port(server), server_http_port(server), server->cluster_port, (long)uv_os_getpid());
        TRY_CTX(open_parent(server->os, server->port_file, &dir, &name), "writing the port file %s", server->port_file);
        TRY_CTX(os_write_whole(dir, name, text, (size_t)size), "writing the port file %s", server->port_file);
        server->port_file_written = true;
        return ST_OK;
}

static void remove_port_file(Server *server)
{
        _cleanup_(os_dir_closep) OsDir *dir = NULL;
        const char *name;
        if (!server->port_file_written)
                return;
        Status st = open_parent(server->os, server->port_file, &dir, &name);
        if (!st)
                st = os_dir_remove(dir, name);
        status_free(st); /* somebody was faster */
}

static void on_stop(uv_async_t *async)
{
        uv_stop(async->loop);
}
static void on_signal(uv_signal_t *handle, int number)
{
        log_notice("server", "%s: stopping", number == SIGINT ? "interrupted" : "terminated");
        uv_stop(handle->loop);
}

static Status make_main(Server *server)
{
        int err = uv_loop_init(&server->main);
        if (err)
                return status_new(ERR_IO, "cannot make an event loop: %s", uv_strerror(err));
        err = uv_async_init(&server->main, &server->stop, on_stop);
        if (err) {
                uv_loop_close(&server->main);
                return status_new(ERR_IO, "cannot make an event loop: %s", uv_strerror(err));
        }
        uv_signal_init(&server->main, &server->on_int);
        uv_signal_init(&server->main, &server->on_term);
        server->main_ready = true;
        return ST_OK;
}

static Status start(Server *server, const ServerOptions *options)
{
        uint64_t seed;
        TRY(check_options(options));
        TRY(os_random(server->os, &seed, sizeof(seed)));
        map_set_seed(seed);
        signal(SIGPIPE, SIG_IGN); /* a peer that is gone is an error of its write */
        server->cluster_port = options->cluster_port;
        if (options->port_file) {
                server->port_file = mem_strdup(options->port_file);
                if (!server->port_file)
                        return status_nomem();
        }
        identity_name(options->server_name, server->name);
        TRY(open_ports(server, options));
        TRY(make_main(server));
        TRY(make_reports(server, options));
        TRY(make_loops(server, options->thread_count));
        TRY(open_data(server, options));
        TRY(start_serving(server));
        start_control(server, options->data_dir);
        /* Before the port file, which says that all is ready: who reads it may stop us at once. */
        uv_signal_start(&server->on_int, on_signal, SIGINT);
        uv_signal_start(&server->on_term, on_signal, SIGTERM);
        return write_port_file(server);
}

Status server_start(const ServerOptions *options, Server **ret_server)
{
        Server *server = mem_zalloc(sizeof(*server));
        if (!server)
                return status_nomem();
        server->os = os_posix();
        server->started_ns = os_mono_ns(server->os);
        Status st = start(server, options);
        if (st) {
                server_free(server);
                return st;
        }
        char driver[256], http[256];
        log_notice("server", "PhotonDB %s is ready: drivers on %s, http on %s, data in %s", PHOTONDB_VERSION,
                   net_listener_text(server->driver, driver, sizeof(driver)),
                   net_listener_text(server->http, http, sizeof(http)), options->data_dir);
        if (!table_user_has_password(server->catalog, BYTES_STR("admin")) && !net_listener_is_loopback(server->driver))
                log_warn("server",
                         "anybody who reaches %s can read and change everything: `admin` has no password (--dev-mode)",
                         driver);
        *ret_server = server;
        return ST_OK;
}

int server_driver_port(const Server *server)
{
        return net_listener_port(server->driver);
}

int server_http_port(const Server *server)
{
        return net_listener_port(server->http);
}

/* --- stopping --- */
static size_t busy_count(Server *server)
{
        size_t busy = 0;
        for (unsigned i = 0; i < server->loop_count; i++)
                if (server->reql[i])
                        busy += reql_loop_busy(server->reql[i]);
        return busy;
}

/* True once no session is left. Polling is good enough for the end of a process. */
static bool wait_until_idle(Server *server, unsigned ms)
{
        for (unsigned waited = 0; busy_count(server) > 0; waited += STOP_POLL_MS) {
                if (waited >= ms)
                        return false;
                uv_sleep(STOP_POLL_MS);
        }
        return true;
}

static void each_loop(Server *server, void (*what)(ReqlLoop *reql))
{
        for (unsigned i = 0; i < server->loop_count; i++)
                what(server->reql[i]);
}

static void end_sessions(Server *server)
{
        each_loop(server, reql_loop_stop);
        if (!wait_until_idle(server, STOP_GRACE_MS)) {
                each_loop(server, reql_loop_cancel);
                wait_until_idle(server, STOP_CANCEL_MS);
        }
        each_loop(server, reql_loop_abort);
        if (wait_until_idle(server, STOP_ABANDON_MS))
                return;
        /* A query that does not even notice that it is cancelled: what was acknowledged is durable, so the process may
         * go. */
        log_error("server", "queries are still running %d s after they were cancelled: leaving without them",
                  (STOP_CANCEL_MS + STOP_ABANDON_MS) / 1000);
        _exit(1);
}

static Status stop_all(Server *server)
{
        if (server->stopped)
                return ST_OK;
        server->stopped = true;
        bool serving = server->loop_count && server->store && server->catalog;
        remove_port_file(server);
        server->control = control_stop(server->control);
        server->driver = net_listener_close(server->driver);
        server->http = net_listener_close(server->http);
        if (serving)
                end_sessions(server);
        store_unwatch(server->watch);
        server->watch = NULL;
        server->pool = pool_free(server->pool);
        server->workers = worker_pool_free(server->workers);
        if (serving)
                each_loop(server, reql_loop_close);
        for (unsigned i = 0; i < server->loop_count; i++) {
                server->loops[i] = net_loop_free(server->loops[i]);
                server->reql[i] = reql_loop_free(server->reql[i]);
        }
        server->feeds = feed_hub_close(server->feeds);
        server->catalog = table_source_close(server->catalog);
        server->spill = spill_files_close(server->spill);
        server->jobs = jobs_free(server->jobs);
        Status st = store_close(server->store);
        server->store = NULL;
        return st;
}

Status server_run(Server *server)
{
        assert(!server->stopped);
        uv_run(&server->main, UV_RUN_DEFAULT);
        Status st = stop_all(server);
        uv_signal_stop(&server->on_int);
        uv_signal_stop(&server->on_term);
        if (!st)
                log_notice("server", "stopped");
        return status_context(st, "closing the store");
}

void server_stop_soon(Server *server)
{
        uv_async_send(&server->stop);
}

Server *server_free(Server *server)
{
        if (!server)
                return NULL;
        Status st = stop_all(server);
        if (st)
                log_status(LOG_ERROR, "server", status_context(st, "closing the store"));
        if (server->main_ready) {
                uv_close((uv_handle_t *)&server->stop, NULL);
                uv_close((uv_handle_t *)&server->on_int, NULL);
                uv_close((uv_handle_t *)&server->on_term, NULL);
                uv_run(&server->main, UV_RUN_DEFAULT);
                uv_loop_close(&server->main);
        }
        mem_free(server->argv);
        mem_free(server->port_file);
        mem_free(server);
        return NULL;
}
