/* serve.c - `photondb serve`: options to a running server, one friendly block when it is ready. */
#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/command.h"
#include "cli/remote.h"
#include "server/server.h"

typedef struct ServeValues {
        const char *data_dir, *bind, *config, *server_name, *initial_password_file, *port_file, *cache_size,
                *memory_size, *query_memory, *sort_memory, *spill_max, *query_timeout, *log_budget, *log_archive,
                *log_keep, *log_keep_time, *transaction_timeout, *transaction_memory, *feed_memory;
        int64_t max_transactions;
        int64_t driver_port, http_port, cluster_port, threads;
        int log_level, log_format, storage;
        const char *http_proxy;
        bool dev_mode, quiet, no_planner, no_js, no_http_requests, http_public_only;
} ServeValues;

static const Option serve_options[] = {
        {"data-dir", OPTION_TEXT, offsetof(ServeValues, data_dir), "DIR", "./photondb_data", NULL, 0, 0,
         "where the data is; made if it is not there"},
        {"bind", OPTION_TEXT, offsetof(ServeValues, bind), "ADDRESS", "127.0.0.1", NULL, 0, 0,
         "listen on this address; \"all\" for every one"},
        {"driver-port", OPTION_NUMBER, offsetof(ServeValues, driver_port), "PORT", "28015", NULL, 0, 65535,
         "for drivers; 0: any free port"},
        {"http-port", OPTION_NUMBER, offsetof(ServeValues, http_port), "PORT", "8080", NULL, 0, 65535,
         "for HTTP; 0: any free port"},
        {"cluster-port", OPTION_NUMBER, offsetof(ServeValues, cluster_port), "PORT", "29015", NULL, 0, 65535,
         "for other servers; 0: any free port"},
        {"cache-size", OPTION_TEXT, offsetof(ServeValues, cache_size), "SIZE", "auto", NULL, 0, 0,
         "memory for tables in files, e.g. 512MB or 2GiB; auto: half of the machine's"},
        {"memory-size", OPTION_TEXT, offsetof(ServeValues, memory_size), "SIZE", "auto", NULL, 0, 0,
         "memory for tables with storage \"memory\"; auto: a quarter of the machine's"},
        {"query-memory", OPTION_TEXT, offsetof(ServeValues, query_memory), "SIZE", "1GiB", NULL, 0, 0,
         "memory that one query may use"},
        {"sort-memory", OPTION_TEXT, offsetof(ServeValues, sort_memory), "SIZE", "auto", NULL, 0, 0,
         "memory of one sort, group or distinct before it uses the disk; auto: a quarter of a query's"},
        {"spill-max", OPTION_TEXT, offsetof(ServeValues, spill_max), "SIZE", "auto", NULL, 0, 0,
         "disk that all queries together may use for that; auto: half of what is free"},
        {"query-timeout", OPTION_TEXT, offsetof(ServeValues, query_timeout), "SECONDS", "none", NULL, 0, 0,
         "end a query that runs longer, e.g. 30 or 0.5; none: queries may run for ever"},
        {"transaction-timeout", OPTION_TEXT, offsetof(ServeValues, transaction_timeout), "SECONDS", "60", NULL, 0, 0,
         "roll a transaction back that its client has not used for so long: docs/transactions.md"},
        {"transaction-memory", OPTION_TEXT, offsetof(ServeValues, transaction_memory), "SIZE", "128MiB", NULL, 0, 0,
         "memory for the changes of one transaction"},
        {"max-transactions", OPTION_NUMBER, offsetof(ServeValues, max_transactions), "N", "1000", NULL, 1, 1000000,
         "transactions that clients may hold at once"},
        {"feed-memory", OPTION_TEXT, offsetof(ServeValues, feed_memory), "SIZE", "64MiB", NULL, 0, 0,
         "memory for changes that wait for their clients; the log serves what is more"},
        {"storage", OPTION_CHOICE, offsetof(ServeValues, storage), "ENGINE", "btree", "btree slab memory", 0, 0,
         "where new tables that do not say keep their documents: docs/storage.md"},
        {"log-budget", OPTION_TEXT, offsetof(ServeValues, log_budget), "SIZE", "256MiB", NULL, 0, 0,
         "bytes of log that start a checkpoint: the most that a start after a crash replays"},
        {"log-keep", OPTION_TEXT, offsetof(ServeValues, log_keep), "SIZE", "64MiB", NULL, 0, 0,
         "keep so much of the log behind a checkpoint, for changefeeds that resume; 0: none"},
        {"log-keep-time", OPTION_TEXT, offsetof(ServeValues, log_keep_time), "SECONDS", "none", NULL, 0, 0,
         "but nothing of it that is older than this"},
        {"log-archive", OPTION_TEXT, offsetof(ServeValues, log_archive), "DIR", NULL, NULL, 0, 0,
         "keep log files that a checkpoint made superfluous here, to restore any moment from a backup"},
        {"threads", OPTION_NUMBER, offsetof(ServeValues, threads), "N", "0", NULL, 0, 1024,
         "event loops; 0: one for each core"},
        {"no-planner", OPTION_FLAG, offsetof(ServeValues, no_planner), NULL, NULL, NULL, 0, 0,
         "run queries as they are written: docs/plans.md"},
        {"no-js", OPTION_FLAG, offsetof(ServeValues, no_js), NULL, NULL, NULL, 0, 0, "without r.js: docs/outside.md"},
        {"no-http-requests", OPTION_FLAG, offsetof(ServeValues, no_http_requests), NULL, NULL, NULL, 0, 0,
         "without r.http"},
        {"http-public-only", OPTION_FLAG, offsetof(ServeValues, http_public_only), NULL, NULL, NULL, 0, 0,
         "r.http reaches no loopback, private or link-local address"},
        {"reql-http-proxy", OPTION_TEXT, offsetof(ServeValues, http_proxy), "[PROTOCOL://]HOST[:PORT]", NULL, NULL, 0,
         0, "the proxy that r.http goes through"},
        {"dev-mode", OPTION_FLAG, offsetof(ServeValues, dev_mode), NULL, NULL, NULL, 0, 0,
         "for development: admin may have no password on any address"},
        {"initial-password-file", OPTION_TEXT, offsetof(ServeValues, initial_password_file), "FILE", NULL, NULL, 0, 0,
         "the file whose first line becomes the password of admin, if it has none yet"},
        {"server-name", OPTION_TEXT, offsetof(ServeValues, server_name), "NAME", NULL, NULL, 0, 0,
         "this server's name [from the host's]"},
        {"log-level", OPTION_CHOICE, offsetof(ServeValues, log_level), "LEVEL", "info",
         "debug info notice warn error off", 0, 0, "log what is at least so important"},
        {"log-format", OPTION_CHOICE, offsetof(ServeValues, log_format), "FORMAT", "text", "text json", 0, 0,
         "lines for people or for programs, on standard error"},
        {"port-file", OPTION_TEXT, offsetof(ServeValues, port_file), "FILE", NULL, NULL, 0, 0,
         "when ready, write the ports there as JSON"},
        {"config", OPTION_TEXT, offsetof(ServeValues, config), "FILE", NULL, NULL, 0, 0,
         "read options from here, as lines `name = value`"},
        {"quiet", OPTION_FLAG, offsetof(ServeValues, quiet), NULL, NULL, NULL, 0, 0, "say nothing when ready"},
        {NULL},
};

static int64_t now_us(void)
{
        return os_wall_us(os_posix());
}

static void print_ready(const ServeValues *values, const Server *server, double seconds)
{
        char time[32], full[PATH_MAX];
        const char *host = strcmp(values->bind, "all") == 0 ? "127.0.0.1" : values->bind;
        const char *dir = realpath(values->data_dir, full) ? full : values->data_dir;
        bool v6 = strchr(host, ':') != NULL;
        const char *open = v6 ? "[" : "", *close = v6 ? "]" : "";
        int port = server_driver_port(server);
        if (seconds < 1)
                snprintf(time, sizeof time, "%.0f ms", seconds * 1000);
        else
                output_duration(seconds, time);
        printf("\nPhotonDB %s is ready (%s).\n\n", PHOTONDB_VERSION, time);
        printf("  drivers   %s%s%s:%d%s\n", open, host, close, port,
               strcmp(values->bind, "all") == 0 ? "  (and every other address of this machine)" : "");
        printf("  health    http://%s%s%s:%d/health\n", open, host, close, server_http_port(server));
        printf("  data      %s\n\n", dir);
        printf("  JavaScript   r.connect({host: '%s', port: %d})\n", host, port);
        printf("  Python       r.connect('%s', %d)\n", host, port);
        printf("  load a file  photondb import --port %d --table test.things --create FILE\n", port);
        printf("  stop         Ctrl-C\n\n");
        fflush(stdout);
}

/* Seconds: 0.001 to a year. `or_none`: or "none", which is 0. */
static Status parse_timeout(const char *option, const char *text, bool or_none, int64_t *ret_ms)
{
        char *end;
        double seconds = strtod(text, &end);
        *ret_ms = 0;
        if (or_none && strcmp(text, "none") == 0)
                return ST_OK;
        if (end == text || *end || !(seconds >= 0.001 && seconds <= 31536000))
                return status_hint(status_new(ERR_INVALID, "%s: \"%s\" is no number of seconds", option, text),
                                   or_none ? "Give seconds, as 30 or 0.5, or \"none\"."
                                           : "Give seconds, as 30 or 0.5.");
        *ret_ms = (int64_t)(seconds * 1000);
        return ST_OK;
}

static Status run_serve(const Invocation *invocation, int *ret_exit)
{
        static const char *const engines[] = {"btree", "slab", "memory"};
        const ServeValues *values = invocation->values;
        uint64_t cache_bytes = 0, memory_bytes = 0, query_memory_bytes, log_budget_bytes, log_keep_bytes;
        uint64_t sort_memory_bytes = 0, spill_max_bytes = 0;
        uint64_t transaction_memory_bytes, feed_memory_bytes;
        int64_t query_timeout_ms, transaction_timeout_ms, log_keep_ms;
        *ret_exit = EXIT_USAGE;
        if (strcmp(values->cache_size, "auto") != 0)
                TRY(options_size("--cache-size", values->cache_size, &cache_bytes));
        if (strcmp(values->memory_size, "auto") != 0)
                TRY(options_size("--memory-size", values->memory_size, &memory_bytes));
        TRY(options_size("--query-memory", values->query_memory, &query_memory_bytes));
        if (strcmp(values->sort_memory, "auto") != 0)
                TRY(options_size("--sort-memory", values->sort_memory, &sort_memory_bytes));
        if (strcmp(values->spill_max, "auto") != 0)
                TRY(options_size("--spill-max", values->spill_max, &spill_max_bytes));
        TRY(parse_timeout("--query-timeout", values->query_timeout, true, &query_timeout_ms));
        TRY(parse_timeout("--transaction-timeout", values->transaction_timeout, false, &transaction_timeout_ms));
        TRY(options_size("--transaction-memory", values->transaction_memory, &transaction_memory_bytes));
        TRY(options_size("--feed-memory", values->feed_memory, &feed_memory_bytes));
        TRY(options_size("--log-budget", values->log_budget, &log_budget_bytes));
        TRY(options_size("--log-keep", values->log_keep, &log_keep_bytes));
        TRY(parse_timeout("--log-keep-time", values->log_keep_time, true, &log_keep_ms));
        if (!*values->data_dir)
                return status_new(ERR_INVALID, "--data-dir: the name is empty");
        *ret_exit = EXIT_DONE;
        ServerOptions options = {.data_dir = values->data_dir,
                                 .bind = values->bind,
                                 .driver_port = (int)values->driver_port,
                                 .http_port = (int)values->http_port,
                                 .cluster_port = (int)values->cluster_port,
                                 .thread_count = (unsigned)values->threads,
                                 .storage = engines[values->storage],
                                 .cache_bytes = cache_bytes,
                                 .memory_bytes = memory_bytes,
                                 .query_memory_bytes = query_memory_bytes,
                                 .sort_memory_bytes = sort_memory_bytes,
                                 .spill_max_bytes = spill_max_bytes,
                                 .query_timeout_ms = query_timeout_ms,
                                 .transaction_timeout_ms = transaction_timeout_ms,
                                 .transaction_memory_bytes = transaction_memory_bytes,
                                 .max_transactions = (size_t)values->max_transactions,
                                 .feed_memory_bytes = feed_memory_bytes,
                                 .log_budget_bytes = log_budget_bytes,
                                 .log_keep_bytes = log_keep_bytes,
                                 .log_keep_ms = (uint64_t)log_keep_ms,
                                 .log_archive = values->log_archive,
                                 .no_planner = values->no_planner,
                                 .dev_mode = values->dev_mode,
                                 .no_js = values->no_js,
                                 .no_http_requests = values->no_http_requests,
                                 .http_public_only = values->http_public_only,
                                 .http_proxy = values->http_proxy,
                                 .server_name = values->server_name,
                                 .words = invocation->argv,
                                 .word_count = invocation->argc,
                                 .port_file = values->port_file};
        if (values->initial_password_file)
                TRY(remote_read_password(values->initial_password_file, invocation->arena, &options.initial_password));
        log_configure((LogLevel)values->log_level, (LogFormat)values->log_format, STDERR_FILENO);
        log_set_clock(now_us);
        int64_t start_ns = os_mono_ns(os_posix());
        Server *server = NULL;
        TRY(server_start(&options, &server));
        if (!values->quiet)
                print_ready(values, server, (double)(os_mono_ns(os_posix()) - start_ns) / 1e9);
        Status st = server_run(server);
        server_free(server);
        return st;
}

const Command serve_command = {
        .name = "serve",
        .words = "",
        .summary = "start the server",
        .details = "Each option may also stand in the environment (PHOTONDB_DATA_DIR=...) or in the file that --config "
                   "names\n"
                   "(data-dir = ...); the command line comes before the environment, and that before the file.\n"
                   "Ctrl-C or SIGTERM stops the server; what it has acknowledged is on disk.",
        .examples = "photondb serve\n"
                    "photondb serve --data-dir /var/lib/photondb --cache-size 2GiB\n"
                    "photondb serve --bind all --initial-password-file admin.password\n"
                    "PHOTONDB_LOG_FORMAT=json photondb serve --config photondb.conf",
        .options = serve_options,
        .values_bytes = sizeof(ServeValues),
        .run = run_serve,
};
