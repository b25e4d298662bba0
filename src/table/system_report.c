/* system_report.c - what the server tells of itself: `server_status`, `jobs`, `logs`, `current_issues`. Made of what
 * the host reports (source.h, HostReports), the server's log (base/log.h) and the store. */
#include "table/system_int.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "table/transaction.h"
#include "value/key.h"

static Value number(double n)
{
        return value_number(n);
}

static Value moment(Arena *arena, int64_t us)
{
        return value_time(arena, (double)us / 1e6, BYTES_STR("+00:00"));
}

/* --- server_status --- */

typedef struct StatusRow {
        TableCatalog *catalog;
        HostStatus status;
} StatusRow;

static Value canonical_addresses(const HostStatus *status, Arena *arena)
{
        Field *address = arena_array(arena, Field, 2);
        address[0] = (Field){BYTES_STR("host"), system_printed(arena, status->bind)};
        address[1] = (Field){BYTES_STR("port"), number(status->cluster_port)};
        return system_one(arena, value_object_sorted(address, 2));
}

static Value build_server_status(void *ctx, Arena *arena)
{
        const StatusRow *row = ctx;
        const HostStatus *status = &row->status;
        ObjectBuilder network, process, object;
        object_init(&network, arena, 7);
        object_add_str(&network, "canonical_addresses", canonical_addresses(status, arena));
        object_add_str(&network, "cluster_port", number(status->cluster_port));
        object_add_str(&network, "connected_to", value_object_sorted(NULL, 0));
        object_add_str(&network, "hostname", system_printed(arena, status->hostname));
        object_add_str(&network, "http_admin_port", number(status->http_port));
        object_add_str(&network, "reql_port", number(status->driver_port));
        object_add_str(&network, "time_connected", moment(arena, status->started_us));
        Value *argv = arena_array(arena, Value, status->argc);
        for (size_t i = 0; i < status->argc; i++)
                argv[i] = system_printed(arena, status->argv[i]);
        object_init(&process, arena, 5);
        object_add_str(&process, "argv", value_array(argv, status->argc));
        object_add_str(&process, "cache_size_mb", number((double)status->cache_bytes / 1048576));
        object_add_str(&process, "pid", number((double)status->pid));
        object_add_str(&process, "time_started", moment(arena, status->started_us));
        object_add_str(&process, "version", system_printed(arena, status->version));
        object_init(&object, arena, 4);
        object_add_str(&object, "id", value_str(row->catalog->host->server_id));
        object_add_str(&object, "name", value_str(server_name(row->catalog)));
        object_add_str(&object, "network", object_take(&network));
        object_add_str(&object, "process", object_take(&process));
        return object_take(&object);
}

/* What a host without reports has. */
static const HostStatus no_status = {.version = "", .hostname = "", .bind = ""};

static HostStatus host_status(const TableCatalog *catalog)
{
        HostStatus status = no_status;
        const HostReports *reports = catalog->host->reports;
        if (reports && reports->status)
                reports->status(reports->ctx, &status);
        return status;
}

static Status server_status_collect(SystemCollector *c)
{
        TableCatalog *catalog = c->table->catalog;
        return system_add(c, build_server_status, &(StatusRow){catalog, host_status(catalog)});
}

const SystemTable system_server_status = {
        .name = "server_status", .id = "63c45d34-1c3a-58f8-8815-d08d028931c4", .collect = server_status_collect};

/* --- jobs --- */

typedef struct JobRow {
        SystemCollector *collector;
        const HostJob *job;
        const BuildInfo *build; /* of an index, with its table */
        const TableRef *table;
        const OpenTransaction *open;
} JobRow;

static Value job_row(const JobRow *row, const char *type, const char *id, double duration_sec, Value info, Arena *arena)
{
        Value *key = arena_array(arena, Value, 2);
        key[0] = value_str(type);
        key[1] = system_printed(arena, id);
        ObjectBuilder object;
        object_init(&object, arena, 5);
        object_add_str(&object, "duration_sec", number(duration_sec));
        object_add_str(&object, "id", value_array(key, 2));
        object_add_str(&object, "info", info);
        object_add_str(&object, "servers",
                       system_one(arena, system_server(row->collector->table->catalog, row->collector->table->uuids)));
        object_add_str(&object, "type", value_str(type));
        return object_take(&object);
}

/* The same for as long as the index is being built: made of what is built and since when. */
static void build_id(const BuildInfo *build, char out[UUID_TEXT_BYTES + 1])
{
        uint64_t a = bytes_hash_seeded(build->index.data, build->index.size, (uint64_t)build->started_us);
        uint64_t b = bytes_hash_seeded(build->table->id.data, build->table->id.size, a);
        snprintf(out, UUID_TEXT_BYTES + 1, "%08x-%04x-4%03x-8%03x-%012" PRIx64, (unsigned)(a >> 32),
                 (unsigned)(a >> 16 & 0xffff), (unsigned)(a & 0xfff), (unsigned)(b >> 52), b & 0xffffffffffff);
}

static Value build_query_job(void *ctx, Arena *arena)
{
        const JobRow *row = ctx;
        const HostJob *job = row->job;
        ObjectBuilder info;
        object_init(&info, arena, 5);
        object_add_str(&info, "client_address", system_printed(arena, job->client_address));
        object_add_str(&info, "client_port", number(job->client_port));
        object_add_str(&info, "query", system_text(arena, job->query));
        object_add_str(&info, "user", system_printed(arena, job->user));
        if (job->spilled_bytes) /* ours */
                object_add_str(&info, "temporary_bytes", number((double)job->spilled_bytes));
        return job_row(row, "query", job->id, job->duration_sec, object_take(&info), arena);
}

static Status add_query_job(void *ctx, const HostJob *job)
{
        return system_add(ctx, build_query_job, &(JobRow){.collector = ctx, .job = job});
}

static Value build_index_job(void *ctx, Arena *arena)
{
        const JobRow *row = ctx;
        const BuildInfo *build = row->build;
        char id[UUID_TEXT_BYTES + 1];
        build_id(build, id);
        Field *info = arena_array(arena, Field, 4);
        info[0] = (Field){BYTES_STR("db"), system_db_of(row->table, row->collector->table->uuids, arena)};
        info[1] = (Field){BYTES_STR("index"), system_text(arena, build->index)};
        info[2] = (Field){BYTES_STR("progress"), number(build->progress)};
        info[3] = (Field){BYTES_STR("table"), system_table_of(row->table, row->collector->table->uuids, arena)};
        const HostOps *host = row->collector->table->catalog->host;
        double seconds = (double)(host->now_us(host->ctx) - build->started_us) / 1e6;
        return job_row(row, "index_construction", id, MAX(seconds, (double)0), value_object_sorted(info, 4), arena);
}

static Status add_index_job(void *ctx, const BuildInfo *build)
{
        SystemCollector *c = ctx;
        TableRef *table;
        Status st = catalog_table_find(c->table->catalog, build->table->db, build->table->name, &table);
        if (st) { /* dropped or renamed this moment */
                status_ignore(st);
                return ST_OK;
        }
        st = system_add(c, build_index_job, &(JobRow){.collector = c, .table = table, .build = build});
        catalog_table_unref(table);
        return st;
}

static Value build_transaction_job(void *ctx, Arena *arena)
{
        const JobRow *row = ctx;
        const OpenTransaction *open = row->open;
        Field *info = arena_array(arena, Field, 2);
        info[0] = (Field){BYTES_STR("user"), system_printed(arena, open->user)};
        info[1] = (Field){BYTES_STR("written_rows"), number((double)open->written_rows)};
        return job_row(row, "transaction", open->id, open->duration_sec, value_object_sorted(info, 2), arena);
}

static Status add_transaction_job(void *ctx, const OpenTransaction *open)
{
        return system_add(ctx, build_transaction_job, &(JobRow){.collector = ctx, .open = open});
}

static Status jobs_collect(SystemCollector *c)
{
        const HostReports *reports = c->table->catalog->host->reports;
        TRY(table_source_each_build(c->table->catalog, add_index_job, c));
        TRY(transactions_each_open(c->table->catalog, add_transaction_job, c));
        return reports && reports->each_job ? reports->each_job(reports->ctx, add_query_job, c) : ST_OK;
}

static Status jobs_write(const SystemWrite *w)
{
        const HostReports *reports = w->table->catalog->host->reports;
        if (!value_is(w->new_row, V_NULL))
                return status_new(ERR_OP_FAILED,
                                  "The `rethinkdb.jobs` system table only allows deletions, not inserts or updates.");
        Bytes type = value_bytes(value_get_str(w->old_row, "type"));
        if (!bytes_equal(type, BYTES_STR("query")))
                return status_new(ERR_OP_FAILED, "Jobs of type `%.*s` cannot be interrupted.", (int)type.size,
                                  (const char *)type.data);
        if (reports && reports->kill_job) /* one that has ended meanwhile is as good as killed */
                (void)reports->kill_job(reports->ctx, value_bytes(value_at(w->id, 1)));
        return ST_OK;
}

const SystemTable system_jobs = {
        .name = "jobs",
        .id = "69be2167-342c-5d03-918c-730335195ed2",
        .collect = jobs_collect,
        .write = jobs_write,
        .look_ms = 1000,
};

/* --- logs --- */

typedef struct LogRow {
        SystemCollector *collector;
        const LogEntry *entry;
        int64_t started_us;
} LogRow;

/* As RethinkDB writes moments in its log: "2026-11-21T07:41:26.123456789". */
static const char *log_time(int64_t us, Arena *arena)
{
        char text[LOG_TIME_BYTES];
        log_time_text(us, text);
        return arena_printf(arena, "%.26s000", text);
}

static Value build_log(void *ctx, Arena *arena)
{
        const LogRow *row = ctx;
        const TableCatalog *catalog = row->collector->table->catalog;
        static const char *const levels[] = {"debug", "info", "notice", "warn", "error"};
        Value *id = arena_array(arena, Value, 2);
        id[0] = value_str(log_time(row->entry->time_us, arena));
        id[1] = value_str(catalog->host->server_id);
        ObjectBuilder object;
        object_init(&object, arena, 6);
        object_add_str(&object, "id", value_array(id, 2));
        object_add_str(&object, "level", value_str(levels[row->entry->level]));
        object_add_str(&object, "message", system_text(arena, row->entry->message));
        object_add_str(&object, "server", system_server(catalog, row->collector->table->uuids));
        object_add_str(&object, "timestamp", moment(arena, row->entry->time_us));
        object_add_str(&object, "uptime",
                       number(MAX((double)(row->entry->time_us - row->started_us) / 1e6, (double)0)));
        return object_take(&object);
}

static Status add_log(void *ctx, const LogEntry *entry)
{
        LogRow *row = ctx;
        row->entry = entry;
        return system_add(row->collector, build_log, row);
}

static Status logs_collect(SystemCollector *c)
{
        LogRow row = {.collector = c, .started_us = host_status(c->table->catalog).started_us};
        return log_each_recent(add_log, &row);
}

const SystemTable system_logs = {.name = "logs",
                                 .id = "3cb0d6bd-57a9-5c7f-b33d-00224d31a18d",
                                 .collect = logs_collect,
                                 .look_ms = 250,
                                 .read_only = "It's illegal to write to the `rethinkdb.logs` system table."};

/* --- current_issues --- */

typedef struct IssueRow {
        SystemCollector *collector;
        const char *id, *type;
        bool critical;
        const TableRef *table; /* NULL: of the server */
        const char *message;
} IssueRow;

static Value build_issue(void *ctx, Arena *arena)
{
        const IssueRow *row = ctx;
        const TableCatalog *catalog = row->collector->table->catalog;
        bool uuids = row->collector->table->uuids;
        const char *description;
        ObjectBuilder info, object;
        object_init(&info, arena, 3);
        if (row->table) {
                object_add_str(&info, "db", system_db_of(row->table, uuids, arena));
                object_add_str(&info, "message", system_printed(arena, row->message));
                object_add_str(&info, "table", system_table_of(row->table, uuids, arena));
                description = arena_printf(arena, "Table `%s.%s` is not available: %s",
                                           (const char *)row->table->info.db.data,
                                           (const char *)row->table->info.name.data, row->message);
        } else {
                object_add_str(&info, "message", system_printed(arena, row->message));
                object_add_str(&info, "servers", system_one(arena, system_server(catalog, uuids)));
                description = arena_printf(arena, "Server `%s`: %s", server_name(catalog), row->message);
        }
        object_init(&object, arena, 5);
        object_add_str(&object, "critical", value_bool(row->critical));
        object_add_str(&object, "description", value_str(description));
        object_add_str(&object, "id", system_printed(arena, row->id));
        object_add_str(&object, "info", object_take(&info));
        object_add_str(&object, "type", value_str(row->type));
        return object_take(&object);
}

/* A table whose files are damaged. */
static Status add_table_issue(void *ctx, TableRef *table)
{
        char why[512];
        Status error = store_table_error(table->store);
        if (!error)
                return ST_OK;
        IssueRow row = {.collector = ctx,
                        .id = (const char *)table->info.id.data,
                        .type = "table_availability",
                        .critical = true,
                        .table = table,
                        .message = status_text(error, why, sizeof why)};
        Status st = system_add(ctx, build_issue, &row);
        status_ignore(error);
        return st;
}

static Status issues_collect(SystemCollector *c)
{
        TableCatalog *catalog = c->table->catalog;
        char why[512];
        Status error = store_log_error(catalog->store);
        if (error) {
                IssueRow row = {.collector = c,
                                .id = "1b9a7c9e-5e0f-4c39-9d2c-6d0c6f5b1e01",
                                .type = "log_write_error",
                                .critical = true,
                                .message = status_text(error, why, sizeof why)};
                Status st = system_add(c, build_issue, &row);
                status_ignore(error);
                TRY(st);
        }
        if (host_status(catalog).checkpoint_failing) {
                IssueRow row = {.collector = c,
                                .id = "1b9a7c9e-5e0f-4c39-9d2c-6d0c6f5b1e02",
                                .type = "checkpoint_error",
                                .message = "The last checkpoint failed. It is tried again, and the log is kept until "
                                           "then."};
                TRY(system_add(c, build_issue, &row));
        }
        return catalog_each_table(catalog, add_table_issue, c);
}

const SystemTable system_current_issues = {
        .name = "current_issues",
        .id = "5ed95837-774b-5cde-bb9a-09f8b93b1786",
        .collect = issues_collect,
        .look_ms = 250,
};
