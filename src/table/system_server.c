/* system_server.c - settings of the server and the cluster: `server_config` and `cluster_config`.
 *
 * Both are documents of the catalog. A ServerConfig is immutable: a change publishes a new one, and the old ones stay
 * until the catalog closes, because rows and messages point at their names and nothing counts those. */
#include "table/system_int.h"

#include <math.h>

#define HEARTBEAT_DEFAULT_S 10

struct ServerConfig {
        ServerConfig *older;
        Value row;
        char *name;
};

/* --- the server --- */

static ServerConfig *server_now(const TableCatalog *catalog)
{
        return atomic_load_explicit(&((TableCatalog *)catalog)->server, memory_order_acquire);
}

const char *server_name(const TableCatalog *catalog)
{
        return server_now(catalog)->name;
}

bool server_has_tag(const TableCatalog *catalog, Bytes tag)
{
        Value tags = value_get_str(server_now(catalog)->row, "tags");
        for (size_t i = 0; i < value_count(tags); i++)
                if (bytes_equal(value_bytes(value_at(tags, i)), tag))
                        return true;
        return false;
}

static Status server_new(Value row, ServerConfig **ret_server)
{
        Bytes name = value_bytes(value_get_str(row, "name"));
        size_t size = value_encoded_size(row);
        ServerConfig *server = mem_alloc(sizeof *server + (size + 7) / 8 * 8 + name.size + 1);
        if (!server)
                return status_nomem();
        uint8_t *bytes = (uint8_t *)(server + 1);
        value_encode(row, bytes);
        *server = (ServerConfig){.row = value_decode(bytes), .name = (char *)bytes + (size + 7) / 8 * 8};
        memcpy(server->name, name.data, name.size);
        server->name[name.size] = 0;
        *ret_server = server;
        return ST_OK;
}

static void server_publish(TableCatalog *catalog, ServerConfig *server)
{
        server->older = server_now(catalog);
        atomic_store_explicit(&catalog->server, server, memory_order_release);
        const HostReports *reports = catalog->host->reports;
        if (reports && reports->renamed)
                reports->renamed(reports->ctx, server->name);
}

static Status server_default(TableCatalog *catalog)
{
        Value tag = value_str("default");
        Field fields[] = {
                {BYTES_STR("cache_size_mb"), value_str("auto")},
                {BYTES_STR("id"), value_str(catalog->host->server_id)},
                {BYTES_STR("name"), value_str(catalog->host->server_name)},
                {BYTES_STR("tags"), value_array(&tag, 1)},
        };
        ServerConfig *server;
        TRY(server_new(value_object_sorted(fields, ELEMENTS(fields)), &server));
        server_publish(catalog, server);
        return ST_OK;
}

static Value build_server(void *ctx, Arena *arena)
{
        return server_now(ctx)->row;
}

static Status server_config_collect(SystemCollector *c)
{
        return system_add(c, build_server, c->table->catalog);
}

/* Names without repetition. */
static Status read_tags(SystemFields *fields, Value *ret_tags)
{
        Value tags;
        TRY(fields_get(fields, "tags", &tags));
        if (!value_is(tags, V_ARRAY))
                return fields_wrong(fields, "tags", "Expected an array, got ", tags);
        Value *items = arena_array(fields->arena, Value, value_count(tags));
        size_t count = 0;
        for (size_t i = 0; i < value_count(tags); i++) {
                Bytes name;
                size_t at = 0;
                int c = 1;
                TRY(fields_check_name(fields, "tags", "server tag", value_at(tags, i), &name));
                while (at < count && (c = bytes_compare(value_bytes(items[at]), name)) < 0)
                        at++;
                if (at < count && c == 0)
                        continue;
                memmove(&items[at + 1], &items[at], (count - at) * sizeof *items);
                items[at] = value_string(name);
                count++;
        }
        *ret_tags = value_array(items, count);
        return ST_OK;
}

static Status read_cache_size(SystemFields *fields, Value *ret_size)
{
        TRY(fields_get(fields, "cache_size_mb", ret_size));
        if (value_bytes_are(*ret_size, "auto"))
                return ST_OK;
        if (!value_is(*ret_size, V_NUMBER))
                return fields_wrong(fields, "cache_size_mb", "Expected a number or 'auto', got ", *ret_size);
        if (ret_size->number * 1048576 > (double)INT64_MAX)
                return fields_wrong(fields, "cache_size_mb", "Value is too big.", value_none());
        if (ret_size->number < 0)
                return fields_wrong(fields, "cache_size_mb", "Cache size cannot be negative.", value_none());
        return ST_OK;
}

static Status server_change(TableCatalog *catalog, Value row, uint64_t *ret_position)
{
        ServerConfig *server;
        TRY(server_new(row, &server));
        mutex_lock(&catalog->ddl_mu);
        Status st = ddl_put_settings(catalog, 's', row, ret_position);
        if (!st)
                server_publish(catalog, server);
        ddl_end(catalog);
        if (st)
                mem_free(server);
        return st;
}

static Status server_config_write(const SystemWrite *w)
{
        SystemFields fields = {
                .row = w->new_row,
                .arena = w->arena,
                .prefix = "The row you're trying to put into `rethinkdb.server_config` has the wrong format. "};
        Value id, tags, cache;
        Bytes name;
        if (value_is(w->new_row, V_NULL))
                return status_new(ERR_OP_FAILED, "It's illegal to delete rows from the `rethinkdb.server_config` "
                                                 "table.");
        if (value_is(w->old_row, V_NULL))
                return status_new(ERR_OP_FAILED, "It's illegal to insert new rows into the `rethinkdb.server_config` "
                                                 "table.");
        TRY(fields_name(&fields, "name", "server name", &name));
        TRY(fields_get(&fields, "id", &id));
        TRY(read_tags(&fields, &tags));
        TRY(read_cache_size(&fields, &cache));
        TRY(fields_no_others(&fields));
        Field *row = arena_array(w->arena, Field, 4);
        row[0] = (Field){BYTES_STR("cache_size_mb"), cache};
        row[1] = (Field){BYTES_STR("id"), id};
        row[2] = (Field){BYTES_STR("name"), value_string(name)};
        row[3] = (Field){BYTES_STR("tags"), tags};
        *w->ret_row = value_object_sorted(row, 4);
        return server_change(w->table->catalog, *w->ret_row, w->position);
}

const SystemTable system_server_config = {.name = "server_config",
                                          .id = "528a6285-67b5-5a84-a90d-051a3f44db1c",
                                          .collect = server_config_collect,
                                          .write = server_config_write};

/* --- the cluster --- */

static Value build_heartbeat(void *ctx, Arena *arena)
{
        TableCatalog *catalog = ctx;
        Field *fields = arena_array(arena, Field, 2);
        fields[0] = (Field){BYTES_STR("heartbeat_timeout_secs"),
                            value_number(atomic_load_explicit(&catalog->heartbeat_timeout_s, memory_order_relaxed))};
        fields[1] = (Field){BYTES_STR("id"), value_str("heartbeat")};
        return value_object_sorted(fields, 2);
}

static Status cluster_config_collect(SystemCollector *c)
{
        return system_add(c, build_heartbeat, c->table->catalog);
}

static Status heartbeat_change(TableCatalog *catalog, int seconds, uint64_t *ret_position)
{
        Field field = {BYTES_STR("heartbeat_timeout_secs"), value_number(seconds)};
        mutex_lock(&catalog->ddl_mu);
        Status st = ddl_put_settings(catalog, 'c', value_object_sorted(&field, 1), ret_position);
        if (!st)
                atomic_store_explicit(&catalog->heartbeat_timeout_s, seconds, memory_order_relaxed);
        ddl_end(catalog);
        return st;
}

static Status cluster_config_write(const SystemWrite *w)
{
        SystemFields fields = {.row = w->new_row, .arena = w->arena, .prefix = ""};
        Value id, timeout;
        int64_t seconds;
        if (value_is(w->new_row, V_NULL))
                return status_new(ERR_OP_FAILED,
                                  "It's illegal to delete rows from the `rethinkdb.cluster_config` table.");
        if (value_is(w->old_row, V_NULL))
                return status_new(ERR_OP_FAILED,
                                  "It's illegal to insert new rows into the `rethinkdb.cluster_config` table.");
        TRY(fields_get(&fields, "id", &id));
        TRY(fields_get(&fields, "heartbeat_timeout_secs", &timeout));
        if (!value_is(timeout, V_NUMBER))
                return fields_wrong(&fields, NULL, "Expected a number; got ", timeout);
        if (!value_integer(timeout, &seconds))
                return fields_wrong(&fields, NULL, "Number not an integer: ", timeout);
        if (seconds < 2)
                return fields_wrong(&fields, NULL, "The heartbeat timeout must be at least two seconds", value_none());
        if (seconds > INT32_MAX / 1000)
                return fields_wrong(&fields, NULL, "The heartbeat timeout is too large.", value_none());
        TRY(fields_no_others(&fields));
        return heartbeat_change(w->table->catalog, (int)seconds, w->position);
}

const SystemTable system_cluster_config = {.name = "cluster_config",
                                           .id = "2678573f-3a6c-525b-9bc9-60389f644458",
                                           .collect = cluster_config_collect,
                                           .write = cluster_config_write};

/* --- opening and closing --- */

Status system_load_settings(TableCatalog *catalog, char kind, Value doc)
{
        if (kind == 'c') {
                int64_t seconds;
                if (!value_integer(value_get_str(doc, "heartbeat_timeout_secs"), &seconds) || seconds < 2 ||
                    seconds > INT32_MAX / 1000)
                        return status_new(ERR_CORRUPT, "the catalog's settings of the cluster are damaged");
                atomic_store(&catalog->heartbeat_timeout_s, (int)seconds);
                return ST_OK;
        }
        Value name = value_get_str(doc, "name");
        if (!value_is(name, V_STRING) || !source_name_valid(value_bytes(name)) ||
            !value_is(value_get_str(doc, "tags"), V_ARRAY))
                return status_new(ERR_CORRUPT, "the catalog's settings of the server are damaged");
        /* A copy of another server's data has that one's id in it: this server keeps its own. */
        Field fields[] = {
                {BYTES_STR("cache_size_mb"), value_get_str(doc, "cache_size_mb")},
                {BYTES_STR("id"), value_str(catalog->host->server_id)},
                {BYTES_STR("name"), name},
                {BYTES_STR("tags"), value_get_str(doc, "tags")},
        };
        ServerConfig *server;
        TRY(server_new(value_object_sorted(fields, ELEMENTS(fields)), &server));
        server_publish(catalog, server);
        return ST_OK;
}

Status system_init(TableCatalog *catalog)
{
        mutex_init(&catalog->stats_mu);
        atomic_init(&catalog->heartbeat_timeout_s, HEARTBEAT_DEFAULT_S);
        for (size_t i = 0; i < ELEMENTS(catalog->query_samples); i++)
                catalog->query_samples[i].at_ns = catalog->host->mono_ns(catalog->host->ctx);
        TRY(server_default(catalog));
        return system_tables_init(catalog);
}

void system_done(TableCatalog *catalog)
{
        system_tables_done(catalog);
        scratch_done(catalog);
        for (ServerConfig *server = atomic_load(&catalog->server), *older; server; server = older) {
                older = server->older;
                mem_free(server);
        }
        mutex_done(&catalog->stats_mu);
}
