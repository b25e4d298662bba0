/* system_stats.c - `stats`: rows read and written, counted by thread, and figures per second.
 *
 * A figure per second is the growth since an earlier look at the table, one to two looks ago: whoever looks every
 * second sees the last second or two; whoever looks for the first time sees the mean since the table was opened.
 * Nothing runs while nobody looks. */
#include "table/system_int.h"

#define SAMPLE_NS 1000000000

_Thread_local unsigned counts_slot;

unsigned counts_take_slot(void)
{
        static atomic_uint next_slot;
        counts_slot = 1 + atomic_fetch_add_explicit(&next_slot, 1, memory_order_relaxed) % COUNT_SLOTS;
        return counts_slot - 1;
}

static int64_t now_ns(const TableCatalog *catalog)
{
        return catalog->host->mono_ns(catalog->host->ctx);
}

Status counts_new(TableCatalog *catalog, TableCounts **ret_counts)
{
        TableCounts *counts = mem_zalloc(sizeof *counts);
        if (!counts)
                return status_nomem();
        atomic_init(&counts->refs, 1);
        counts->samples[0].at_ns = counts->samples[1].at_ns = now_ns(catalog);
        *ret_counts = counts;
        return ST_OK;
}

TableCounts *counts_ref(TableCounts *counts)
{
        atomic_fetch_add_explicit(&counts->refs, 1, memory_order_relaxed);
        return counts;
}

void counts_unref(TableCounts *counts)
{
        if (counts && atomic_fetch_sub_explicit(&counts->refs, 1, memory_order_acq_rel) == 1)
                mem_free(counts);
}

/* --- figures --- */

typedef struct Figures {
        uint64_t read, written;
        double read_per_sec, written_per_sec;
        uint64_t memory_bytes, data_bytes;
} Figures;

static double per_second(uint64_t growth, int64_t ns)
{
        return ns > 0 ? (double)growth * 1e9 / (double)ns : 0;
}

/* stats_mu is held. */
static Figures figures_of(const TableRef *table, int64_t now)
{
        TableCounts *counts = table->counts;
        Figures f = {0};
        for (size_t i = 0; i < COUNT_SLOTS; i++) {
                f.read += atomic_load_explicit(&counts->slots[i].read, memory_order_relaxed);
                f.written += atomic_load_explicit(&counts->slots[i].written, memory_order_relaxed);
        }
        if (now - counts->samples[1].at_ns >= SAMPLE_NS) {
                counts->samples[0] = counts->samples[1];
                counts->samples[1].at_ns = now;
                counts->samples[1].read = f.read;
                counts->samples[1].written = f.written;
        }
        f.read_per_sec = per_second(f.read - counts->samples[0].read, now - counts->samples[0].at_ns);
        f.written_per_sec = per_second(f.written - counts->samples[0].written, now - counts->samples[0].at_ns);
        return f;
}

static double queries_per_sec(TableCatalog *catalog, uint64_t total, int64_t now)
{
        if (now - catalog->query_samples[1].at_ns >= SAMPLE_NS) {
                catalog->query_samples[0] = catalog->query_samples[1];
                catalog->query_samples[1].at_ns = now;
                catalog->query_samples[1].queries = total;
        }
        return per_second(total - catalog->query_samples[0].queries, now - catalog->query_samples[0].at_ns);
}

/* --- rows --- */

typedef struct StatsRow {
        SystemCollector *collector;
        TableCatalog *catalog;
        int64_t now_ns;
        bool uuids;
        const TableRef *table; /* of table and table_server rows */
        Figures figures;       /* of it, then of all */
        Figures all;
        HostStats host;
        double queries_per_sec;
} StatsRow;

static Value number(uint64_t n)
{
        return value_number((double)n);
}

static Value row_id(const StatsRow *row, const char *kind, bool of_server, Arena *arena)
{
        ArrayBuilder id;
        array_init(&id, arena, 3);
        array_add(&id, value_str(kind));
        if (row->table)
                array_add(&id, system_text(arena, row->table->info.id));
        if (of_server)
                array_add(&id, value_str(row->catalog->host->server_id));
        return array_take(&id);
}

static Value query_engine(const StatsRow *row, const Figures *f, bool of_table, bool totals, Arena *arena)
{
        ObjectBuilder engine;
        object_init(&engine, arena, 8);
        if (!of_table) {
                object_add_str(&engine, "client_connections", number(row->host.client_connections));
                object_add_str(&engine, "clients_active", number(row->host.clients_active));
                object_add_str(&engine, "queries_per_sec", value_number(row->queries_per_sec));
                if (totals)
                        object_add_str(&engine, "queries_total", number(row->host.queries_total));
        }
        object_add_str(&engine, "read_docs_per_sec", value_number(f->read_per_sec));
        if (totals)
                object_add_str(&engine, "read_docs_total", number(f->read));
        object_add_str(&engine, "written_docs_per_sec", value_number(f->written_per_sec));
        if (totals)
                object_add_str(&engine, "written_docs_total", number(f->written));
        return object_take(&engine);
}

static Value build_cluster(void *ctx, Arena *arena)
{
        const StatsRow *row = ctx;
        ObjectBuilder object;
        object_init(&object, arena, 2);
        object_add_str(&object, "id", row_id(row, "cluster", false, arena));
        object_add_str(&object, "query_engine", query_engine(row, &row->all, false, false, arena));
        return object_take(&object);
}

/* What queries have put aside on the disk: ours, RethinkDB has none. */
static Value temporary_files(const StatsRow *row, Arena *arena)
{
        ObjectBuilder object;
        object_init(&object, arena, 3);
        object_add_str(&object, "bytes", number(row->host.temporary_bytes));
        object_add_str(&object, "bytes_total", number(row->host.temporary_bytes_total));
        object_add_str(&object, "files", number(row->host.temporary_files));
        return object_take(&object);
}

/* Open changefeeds, and what waits for their clients: ours too. */
static Value changefeeds(const StatsRow *row, Arena *arena)
{
        ObjectBuilder object;
        object_init(&object, arena, 6);
        object_add_str(&object, "events_total", number(row->host.feed_events_total));
        object_add_str(&object, "lost_total", number(row->host.feeds_lost_total));
        object_add_str(&object, "open", number(row->host.feeds));
        object_add_str(&object, "queued_bytes", number(row->host.feed_queued_bytes));
        object_add_str(&object, "queued_events", number(row->host.feed_queued_events));
        object_add_str(&object, "skipped_total", number(row->host.feed_skipped_total));
        return object_take(&object);
}

static Value build_server(void *ctx, Arena *arena)
{
        const StatsRow *row = ctx;
        ObjectBuilder object;
        object_init(&object, arena, 5);
        object_add_str(&object, "changefeeds", changefeeds(row, arena));
        object_add_str(&object, "id", row_id(row, "server", true, arena));
        object_add_str(&object, "query_engine", query_engine(row, &row->all, false, true, arena));
        object_add_str(&object, "server", system_server(row->catalog, row->uuids));
        object_add_str(&object, "temporary_files", temporary_files(row, arena));
        return object_take(&object);
}

static Value build_table(void *ctx, Arena *arena)
{
        const StatsRow *row = ctx;
        ObjectBuilder object;
        object_init(&object, arena, 4);
        object_add_str(&object, "db", system_db_of(row->table, row->uuids, arena));
        object_add_str(&object, "id", row_id(row, "table", false, arena));
        object_add_str(&object, "query_engine", query_engine(row, &row->figures, true, false, arena));
        object_add_str(&object, "table", system_table_of(row->table, row->uuids, arena));
        return object_take(&object);
}

/* What goes to and from the disk is known of a server's files, not of a table in them. */
static Value storage_engine(const StatsRow *row, Arena *arena)
{
        static const char *const io[] = {"read_bytes_per_sec", "read_bytes_total", "written_bytes_per_sec",
                                         "written_bytes_total"};
        ObjectBuilder cache, space, disk, engine;
        object_init(&cache, arena, 1);
        object_add_str(&cache, "in_use_bytes", number(row->figures.memory_bytes));
        object_init(&space, arena, 4);
        object_add_str(&space, "data_bytes", number(row->figures.data_bytes));
        object_add_str(&space, "garbage_bytes", value_number(0));
        object_add_str(&space, "metadata_bytes", value_number(0));
        object_add_str(&space, "preallocated_bytes", value_number(0));
        object_init(&disk, arena, 5);
        for (size_t i = 0; i < ELEMENTS(io); i++)
                object_add_str(&disk, io[i], value_number(0));
        object_add_str(&disk, "space_usage", object_take(&space));
        object_init(&engine, arena, 2);
        object_add_str(&engine, "cache", object_take(&cache));
        object_add_str(&engine, "disk", object_take(&disk));
        return object_take(&engine);
}

static Value build_table_server(void *ctx, Arena *arena)
{
        const StatsRow *row = ctx;
        ObjectBuilder object;
        object_init(&object, arena, 6);
        object_add_str(&object, "db", system_db_of(row->table, row->uuids, arena));
        object_add_str(&object, "id", row_id(row, "table_server", true, arena));
        object_add_str(&object, "query_engine", query_engine(row, &row->figures, true, true, arena));
        object_add_str(&object, "server", system_server(row->catalog, row->uuids));
        object_add_str(&object, "storage_engine", storage_engine(row, arena));
        object_add_str(&object, "table", system_table_of(row->table, row->uuids, arena));
        return object_take(&object);
}

static Status add_table(void *ctx, TableRef *table)
{
        StatsRow *row = ctx;
        EngineStats engine;
        row->table = table;
        row->figures = figures_of(table, row->now_ns);
        store_table_stats(table->store, &engine);
        row->figures.memory_bytes = engine.memory_bytes;
        row->figures.data_bytes = engine.row_bytes;
        row->all.read += row->figures.read;
        row->all.written += row->figures.written;
        row->all.read_per_sec += row->figures.read_per_sec;
        row->all.written_per_sec += row->figures.written_per_sec;
        TRY(system_add(row->collector, build_table, row));
        return system_add(row->collector, build_table_server, row);
}

static Status stats_collect(SystemCollector *c)
{
        TableCatalog *catalog = c->table->catalog;
        const HostReports *reports = catalog->host->reports;
        StatsRow row = {.collector = c, .catalog = catalog, .now_ns = now_ns(catalog), .uuids = c->table->uuids};
        if (reports && reports->stats)
                reports->stats(reports->ctx, &row.host);
        mutex_lock(&catalog->stats_mu);
        row.queries_per_sec = queries_per_sec(catalog, row.host.queries_total, row.now_ns);
        Status st = catalog_each_table(catalog, add_table, &row);
        mutex_unlock(&catalog->stats_mu);
        TRY(st);
        row.table = NULL;
        TRY(system_add(c, build_cluster, &row));
        return system_add(c, build_server, &row);
}

const SystemTable system_stats = {
        .name = "stats", .id = "e078b99f-bbc4-5960-bd94-c74a5826a77d", .collect = stats_collect, .look_ms = 1000};
