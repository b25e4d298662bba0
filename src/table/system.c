/* system.c - the tables of database `rethinkdb`: rows made from the catalog's memory when a view is opened, and writes
 * that become changes of settings. The ones that report what other layers know are known by name only so far. */
#include "table/table_int.h"

#include <stdlib.h>

#include "value/key.h"

static const struct {
        const char *name, *id; /* the ids are RethinkDB's: uuid v5 of the name */
        SystemTableKind kind;
} system_tables[] = {
        {"_debug_scratch", "cd30ca12-d885-5a1c-9f2b-c7c4d360846d", SYSTEM_SCRATCH},
        {"cluster_config", "2678573f-3a6c-525b-9bc9-60389f644458", SYSTEM_NOT_YET},
        {"current_issues", "5ed95837-774b-5cde-bb9a-09f8b93b1786", SYSTEM_NOT_YET},
        {"db_config", "77e2a360-e196-5a6e-8a02-341743cfe122", SYSTEM_DB_CONFIG},
        {"jobs", "69be2167-342c-5d03-918c-730335195ed2", SYSTEM_NOT_YET},
        {"logs", "3cb0d6bd-57a9-5c7f-b33d-00224d31a18d", SYSTEM_NOT_YET},
        {"permissions", "c8083c3a-17a1-5451-bf91-47caa60650be", SYSTEM_NOT_YET},
        {"server_config", "528a6285-67b5-5a84-a90d-051a3f44db1c", SYSTEM_SERVER_CONFIG},
        {"server_status", "63c45d34-1c3a-58f8-8815-d08d028931c4", SYSTEM_NOT_YET},
        {"stats", "e078b99f-bbc4-5960-bd94-c74a5826a77d", SYSTEM_STATS},
        {"table_config", "4c16a05c-fbdd-5cbf-9e28-57d927474b01", SYSTEM_TABLE_CONFIG},
        {"table_status", "bd984e39-2e8b-5ef3-9ca8-cec6a9de24a1", SYSTEM_TABLE_STATUS},
        {"users", "664a9e0b-8871-51f2-b85c-e0abcb12d3cd", SYSTEM_NOT_YET},
};
_Static_assert(ELEMENTS(system_tables) <= ELEMENTS(((TableCatalog *)0)->system), "room for every system table");

/* --- rows --- */

static Value text(Arena *arena, Bytes s)
{
        return value_string(BYTES(arena_dup(arena, s.data, s.size), s.size));
}

Value system_db_config_row(Arena *arena, Bytes id, Bytes name)
{
        Field *fields = arena_array(arena, Field, 2);
        fields[0] = (Field){BYTES_STR("id"), text(arena, id)};
        fields[1] = (Field){BYTES_STR("name"), text(arena, name)};
        return value_object_sorted(fields, 2);
}

static Value server_of(const TableCatalog *catalog, bool uuids)
{
        return value_str(uuids ? catalog->host->server_id : catalog->host->server_name);
}

static Value one_server(Arena *arena, const TableCatalog *catalog, bool uuids)
{
        Value *items = arena_array(arena, Value, 1);
        items[0] = server_of(catalog, uuids);
        return value_array(items, 1);
}

static Value repeated(Arena *arena, Value item, unsigned count)
{
        Value *items = arena_array(arena, Value, count);
        for (unsigned i = 0; i < count; i++)
                items[i] = item;
        return value_array(items, count);
}

Value system_table_config_row(const TableRef *table, bool uuids, Arena *arena)
{
        ObjectBuilder shard, row;
        object_init(&shard, arena, 3);
        object_add_str(&shard, "nonvoting_replicas", value_array(NULL, 0));
        object_add_str(&shard, "primary_replica", server_of(table->catalog, uuids));
        object_add_str(&shard, "replicas", one_server(arena, table->catalog, uuids));
        object_init(&row, arena, 10);
        object_add_str(&row, "db", text(arena, uuids ? BYTES(table->db_id, UUID_TEXT_BYTES) : table->info.db));
        object_add_str(&row, "durability", value_str(table->info.hard_durability ? "hard" : "soft"));
        object_add_str(&row, "id", text(arena, table->info.id));
        object_add_str(&row, "indexes", value_array(NULL, 0));
        object_add_str(&row, "name", text(arena, table->info.name));
        object_add_str(&row, "primary_key", text(arena, table->info.primary_key));
        object_add_str(&row, "shards", repeated(arena, object_take(&shard), table->shard_count));
        /* Ours; RethinkDB's applications see RethinkDB's fields unless somebody chose. */
        if (strcmp(table->engine, DEFAULT_ENGINE) != 0)
                object_add_str(&row, "storage", value_str(table->engine));
        object_add_str(&row, "write_acks", value_str(table->ack_single ? "single" : "majority"));
        object_add_str(&row, "write_hook", value_null());
        return object_take(&row);
}

Value system_table_status_row(const TableRef *table, bool uuids, Arena *arena)
{
        ObjectBuilder replica, shard, status, row;
        object_init(&replica, arena, 2);
        object_add_str(&replica, "server", server_of(table->catalog, uuids));
        object_add_str(&replica, "state", value_str("ready"));
        object_init(&shard, arena, 2);
        object_add_str(&shard, "primary_replicas", one_server(arena, table->catalog, uuids));
        object_add_str(&shard, "replicas", repeated(arena, object_take(&replica), 1));
        object_init(&status, arena, 4);
        object_add_str(&status, "all_replicas_ready", value_bool(true));
        object_add_str(&status, "ready_for_outdated_reads", value_bool(true));
        object_add_str(&status, "ready_for_reads", value_bool(true));
        object_add_str(&status, "ready_for_writes", value_bool(true));
        object_init(&row, arena, 6);
        object_add_str(&row, "db", text(arena, uuids ? BYTES(table->db_id, UUID_TEXT_BYTES) : table->info.db));
        object_add_str(&row, "id", text(arena, table->info.id));
        object_add_str(&row, "name", text(arena, table->info.name));
        object_add_str(&row, "raft_leader", server_of(table->catalog, uuids));
        object_add_str(&row, "shards", repeated(arena, object_take(&shard), table->shard_count));
        object_add_str(&row, "status", object_take(&status));
        return object_take(&row);
}

static Value server_config_row(const TableCatalog *catalog, Arena *arena)
{
        ObjectBuilder row;
        object_init(&row, arena, 4);
        object_add_str(&row, "cache_size_mb", value_str("auto"));
        object_add_str(&row, "id", value_str(catalog->host->server_id));
        object_add_str(&row, "name", value_str(catalog->host->server_name));
        object_add_str(&row, "tags", repeated(arena, value_str("default"), 1));
        return object_take(&row);
}

/* What a row of `stats` is about; of RethinkDB's figures only the memory of a table on a server is known here so far.
 */
typedef enum StatsOf { STATS_CLUSTER, STATS_SERVER, STATS_TABLE, STATS_TABLE_SERVER } StatsOf;

static Value stats_row(const TableCatalog *catalog, StatsOf of, const TableRef *table, bool uuids, Arena *arena)
{
        static const char *const kinds[] = {"cluster", "server", "table", "table_server"};
        ArrayBuilder id;
        ObjectBuilder row;
        array_init(&id, arena, 3);
        object_init(&row, arena, 5);
        array_add(&id, value_str(kinds[of]));
        if (table) {
                array_add(&id, text(arena, table->info.id));
                object_add_str(&row, "db", text(arena, uuids ? BYTES(table->db_id, UUID_TEXT_BYTES) : table->info.db));
                object_add_str(&row, "table", text(arena, uuids ? table->info.id : table->info.name));
        }
        if (of == STATS_SERVER || of == STATS_TABLE_SERVER) {
                array_add(&id, value_str(catalog->host->server_id));
                object_add_str(&row, "server", server_of(catalog, uuids));
        }
        if (of == STATS_TABLE_SERVER) {
                EngineStats stats;
                ObjectBuilder cache, engine;
                store_table_stats(table->store, &stats);
                object_init(&cache, arena, 1);
                object_add_str(&cache, "in_use_bytes", value_number((double)stats.memory_bytes));
                object_init(&engine, arena, 1);
                object_add_str(&engine, "cache", object_take(&cache));
                object_add_str(&row, "storage_engine", object_take(&engine));
        }
        object_add_str(&row, "id", array_take(&id));
        return object_take(&row);
}

/* --- all rows of a system table --- */

typedef struct Collector {
        const TableRef *table; /* the system table */
        Arena *arena;
        SystemRow *rows; /* on the heap until all are there */
        size_t count, capacity;
        /* what collect_build makes a row of */
        const TableRef *of_table;
        StatsOf stats_of;
        Bytes id, name, encoded;
} Collector;

static Value collect_build(void *ctx, Arena *arena)
{
        Collector *c = ctx;
        switch (c->table->system) {
        case SYSTEM_DB_CONFIG: return system_db_config_row(arena, c->id, c->name);
        case SYSTEM_TABLE_CONFIG: return system_table_config_row(c->of_table, c->table->uuids, arena);
        case SYSTEM_TABLE_STATUS: return system_table_status_row(c->of_table, c->table->uuids, arena);
        case SYSTEM_SERVER_CONFIG: return server_config_row(c->table->catalog, arena);
        case SYSTEM_STATS: return stats_row(c->table->catalog, c->stats_of, c->of_table, c->table->uuids, arena);
        case SYSTEM_SCRATCH: return value_decode(arena_dup(arena, c->encoded.data, c->encoded.size));
        default: return value_none();
        }
}

static Value collect_key(void *ctx, Arena *arena)
{
        Value id = value_get(*(Value *)ctx, BYTES_STR("id"));
        Bytes key = key_encode(id, arena);
        return value_binary(key);
}

static Status collect(Collector *c)
{
        Value row, key;
        TRY(build_guarded(c->arena, collect_build, c, &row));
        TRY(build_guarded(c->arena, collect_key, &row, &key));
        if (c->count == c->capacity) {
                size_t capacity = c->capacity ? 2 * c->capacity : 16;
                SystemRow *rows = mem_realloc(c->rows, capacity * sizeof *rows);
                if (!rows)
                        return status_nomem();
                c->rows = rows;
                c->capacity = capacity;
        }
        c->rows[c->count++] = (SystemRow){value_bytes(key), row};
        return ST_OK;
}

static Status collect_db(void *ctx, Bytes id, Bytes name)
{
        Collector *c = ctx;
        c->id = id;
        c->name = name;
        return collect(c);
}

static Status collect_table(void *ctx, TableRef *table)
{
        Collector *c = ctx;
        c->of_table = table;
        return collect(c);
}

static Status collect_table_stats(void *ctx, TableRef *table)
{
        Collector *c = ctx;
        c->of_table = table;
        c->stats_of = STATS_TABLE;
        TRY(collect(c));
        c->stats_of = STATS_TABLE_SERVER;
        return collect(c);
}

static Status collect_stats(Collector *c)
{
        c->stats_of = STATS_CLUSTER;
        TRY(collect(c));
        c->stats_of = STATS_SERVER;
        TRY(collect(c));
        return catalog_each_table(c->table->catalog, collect_table_stats, c);
}

static Status collect_scratch(Collector *c)
{
        TableCatalog *catalog = c->table->catalog;
        Status st = ST_OK;
        mutex_lock(&catalog->scratch_mu);
        for (size_t i = 0; !st && i < catalog->scratch_count; i++) {
                c->encoded = BYTES(catalog->scratch[i].row, catalog->scratch[i].row_bytes);
                st = collect(c);
        }
        mutex_unlock(&catalog->scratch_mu);
        return st;
}

static int compare_rows(const void *a, const void *b)
{
        return bytes_compare(((const SystemRow *)a)->key, ((const SystemRow *)b)->key);
}

Status system_rows(TableRef *table, Arena *arena, SystemRow **ret_rows, size_t *ret_count, uint64_t *ret_version)
{
        static atomic_uint_fast64_t versions; /* never repeats, so no two views are taken for equal */
        Collector c = {.table = table, .arena = arena};
        Status st = ST_OK;
        switch (table->system) {
        case SYSTEM_DB_CONFIG: st = catalog_each_db(table->catalog, collect_db, &c); break;
        case SYSTEM_TABLE_CONFIG:
        case SYSTEM_TABLE_STATUS: st = catalog_each_table(table->catalog, collect_table, &c); break;
        case SYSTEM_SERVER_CONFIG: st = collect(&c); break;
        case SYSTEM_SCRATCH: st = collect_scratch(&c); break;
        case SYSTEM_STATS: st = collect_stats(&c); break;
        default:
                st = status_new(ERR_OP_FAILED, "Table `" SYSTEM_DB ".%.*s` is not implemented yet.",
                                (int)table->info.name.size, (const char *)table->info.name.data);
        }
        SystemRow *rows = st ? NULL : arena_try_alloc(arena, c.count * sizeof *rows);
        if (rows && c.count) {
                memcpy(rows, c.rows, c.count * sizeof *rows);
                qsort(rows, c.count, sizeof *rows, compare_rows);
        }
        mem_free(c.rows);
        if (st || !rows)
                return st ? st : status_nomem();
        *ret_rows = rows;
        *ret_count = c.count;
        *ret_version = 1 + atomic_fetch_add(&versions, 1);
        return ST_OK;
}

/* --- config() and status() --- */

static Status row_of(TableCatalog *catalog, Bytes db, Bytes table, SystemTableKind kind, Arena *arena, Value *ret_row)
{
        TableRef *ref = NULL;
        TRY(catalog_table_find(catalog, db, table, &ref));
        TableRef face = {.catalog = catalog, .system = kind};
        Collector c = {.table = &face, .of_table = ref};
        Status st = build_guarded(arena, collect_build, &c, ret_row);
        catalog_table_unref(ref);
        return st;
}

Status system_config(void *ctx, Bytes db, Bytes table, Arena *arena, Value *ret_config)
{
        TableCatalog *catalog = ctx;
        if (bytes_equal(db, BYTES_STR(SYSTEM_DB)))
                return status_new(ERR_OP_FAILED, "Database `" SYSTEM_DB "` is special; you can't configure %s.",
                                  table.data ? "the tables in it" : "it");
        if (table.data)
                return row_of(catalog, db, table, SYSTEM_TABLE_CONFIG, arena, ret_config);
        Value id;
        TRY(catalog_db_id(catalog, db, arena, &id));
        *ret_config = system_db_config_row(arena, value_bytes(id), db);
        return ST_OK;
}

/* A table's status; a database's is an array of its tables'. */
typedef struct StatusOf {
        TableCatalog *catalog;
        Bytes db;
        Collector collector;
} StatusOf;

static Status collect_status(void *ctx, TableRef *table)
{
        StatusOf *s = ctx;
        return bytes_equal(table->info.db, s->db) ? collect_table(&s->collector, table) : ST_OK;
}

Status system_status(void *ctx, Bytes db, Bytes table, Arena *arena, Value *ret_status)
{
        TableCatalog *catalog = ctx;
        if (bytes_equal(db, BYTES_STR(SYSTEM_DB)))
                return status_new(ERR_OP_FAILED, "Database `" SYSTEM_DB "` is special; the system tables in it don't "
                                                 "have meaningful status information.");
        if (table.data)
                return row_of(catalog, db, table, SYSTEM_TABLE_STATUS, arena, ret_status);
        TRY(catalog_db_check(catalog, db));
        TableRef face = {.catalog = catalog, .system = SYSTEM_TABLE_STATUS};
        StatusOf s = {.catalog = catalog, .db = db, .collector = {.table = &face, .arena = arena}};
        Status st = catalog_each_table(catalog, collect_status, &s);
        Value *items = st ? NULL : arena_try_alloc(arena, s.collector.count * sizeof *items);
        for (size_t i = 0; items && i < s.collector.count; i++)
                items[i] = s.collector.rows[i].row;
        mem_free(s.collector.rows);
        if (st || !items)
                return st ? st : status_nomem();
        *ret_status = value_array(items, s.collector.count);
        return ST_OK;
}

/* --- the tables by name --- */

static Status system_table_new(TableCatalog *catalog, size_t i, bool uuids, TableRef **ret_table)
{
        TableSettings s = {
                .db = BYTES_STR(SYSTEM_DB),
                .name = BYTES_STR(system_tables[i].name),
                .primary_key = BYTES_STR("id"),
                .id = BYTES_STR(system_tables[i].id),
                .hard = true,
                .shard_count = 1,
        };
        TRY(table_ref_new(catalog, &s, NULL, ret_table));
        (*ret_table)->system = system_tables[i].kind;
        (*ret_table)->uuids = uuids;
        return ST_OK;
}

Status system_init(TableCatalog *catalog)
{
        for (size_t i = 0; i < ELEMENTS(system_tables); i++) {
                TRY(system_table_new(catalog, i, false, &catalog->system[i]));
                catalog->system_count++;
                TRY(system_table_new(catalog, i, true, &catalog->system[i]->with_uuids));
        }
        return ST_OK;
}

void system_done(TableCatalog *catalog)
{
        for (size_t i = 0; i < catalog->system_count; i++) {
                catalog_table_unref(catalog->system[i]->with_uuids);
                catalog_table_unref(catalog->system[i]);
        }
        for (size_t i = 0; i < catalog->scratch_count; i++)
                mem_free(catalog->scratch[i].key);
        mem_free(catalog->scratch);
}

TableRef *system_find(TableCatalog *catalog, Bytes name)
{
        for (size_t i = 0; i < catalog->system_count; i++)
                if (bytes_equal(catalog->system[i]->info.name, name))
                        return catalog_table_ref(catalog->system[i]);
        return NULL;
}

TableRef *system_with_uuids(TableRef *table)
{
        return catalog_table_ref(table->with_uuids ? table->with_uuids : table);
}

Value system_table_names(TableCatalog *catalog, Arena *arena)
{
        ArrayBuilder names;
        array_init(&names, arena, catalog->system_count);
        for (size_t i = 0; i < catalog->system_count; i++)
                if (system_tables[i].name[0] != '_')
                        array_add(&names, value_str(system_tables[i].name));
        return array_take(&names);
}

/* --- writing --- */

static size_t scratch_place(const TableCatalog *catalog, Bytes key, bool *ret_found)
{
        size_t i = 0;
        int c = 1;
        while (i < catalog->scratch_count &&
               (c = bytes_compare(BYTES(catalog->scratch[i].key, catalog->scratch[i].key_bytes), key)) < 0)
                i++;
        *ret_found = i < catalog->scratch_count && c == 0;
        return i;
}

static Status scratch_put(TableCatalog *catalog, Bytes key, Value row)
{
        size_t size = value_encoded_size(row);
        ScratchRow fresh = {.key_bytes = key.size, .row_bytes = size};
        fresh.key = mem_alloc(key.size + 8 + size); /* the row behind the key, in one block */
        if (!fresh.key)
                return status_nomem();
        memcpy(fresh.key, key.data, key.size);
        fresh.row = fresh.key + (key.size + 7) / 8 * 8;
        value_encode(row, fresh.row);
        bool found;
        size_t i = scratch_place(catalog, key, &found);
        if (found) {
                mem_free(catalog->scratch[i].key);
        } else {
                if (catalog->scratch_count == catalog->scratch_capacity) {
                        size_t capacity = catalog->scratch_capacity ? 2 * catalog->scratch_capacity : 16;
                        ScratchRow *rows = mem_realloc(catalog->scratch, capacity * sizeof *rows);
                        if (!rows) {
                                mem_free(fresh.key);
                                return status_nomem();
                        }
                        catalog->scratch = rows;
                        catalog->scratch_capacity = capacity;
                }
                memmove(&catalog->scratch[i + 1], &catalog->scratch[i], (catalog->scratch_count - i) * sizeof fresh);
                catalog->scratch_count++;
        }
        catalog->scratch[i] = fresh;
        return ST_OK;
}

static void scratch_delete(TableCatalog *catalog, Bytes key)
{
        bool found;
        size_t i = scratch_place(catalog, key, &found);
        if (!found)
                return;
        mem_free(catalog->scratch[i].key);
        memmove(&catalog->scratch[i], &catalog->scratch[i + 1],
                (--catalog->scratch_count - i) * sizeof *catalog->scratch);
}

static Status scratch_apply(TableCatalog *catalog, Bytes key, Value new_row)
{
        Status st = ST_OK;
        mutex_lock(&catalog->scratch_mu);
        if (value_is(new_row, V_NULL))
                scratch_delete(catalog, key);
        else
                st = scratch_put(catalog, key, new_row);
        mutex_unlock(&catalog->scratch_mu);
        return st;
}

static Status db_config_apply(TableCatalog *catalog, Value old_row, Value new_row, Arena *arena, uint64_t *ret_position)
{
        Value ignored;
        if (value_is(old_row, V_NULL))
                return status_new(ERR_OP_FAILED,
                                  "There is no existing database with the given ID. To create a database use "
                                  "`db_create`.");
        if (value_is(new_row, V_NULL))
                return ddl_db_drop(catalog, value_bytes(value_get_str(old_row, "name")), arena, &ignored, ret_position);
        Value name = value_get_str(new_row, "name");
        if (!value_is(name, V_STRING) || value_count(new_row) != 2)
                return status_new(ERR_OP_FAILED,
                                  "The change you're trying to make to `rethinkdb.db_config` has the wrong "
                                  "format. Expected the fields `id` and `name`.");
        return ddl_db_rename(catalog, value_bytes(value_get_str(old_row, "id")), value_bytes(name), ret_position);
}

static Status table_config_apply(TableRef *table, Value old_row, Value new_row, Arena *arena, uint64_t *ret_position)
{
        TableCatalog *catalog = table->catalog;
        if (value_is(old_row, V_NULL))
                return status_new(ERR_OP_FAILED, "There is no existing table with the given ID. To create a table use "
                                                 "`table_create`.");
        if (!value_is(new_row, V_NULL))
                return ddl_table_configure(catalog, old_row, new_row, arena, table->uuids, ret_position);
        if (table->uuids)
                return status_new(ERR_OP_FAILED,
                                  "Tables are dropped by `table_drop`, or from `table_config` with names.");
        Value ignored;
        return ddl_table_drop(catalog, value_bytes(value_get_str(old_row, "db")),
                              value_bytes(value_get_str(old_row, "name")), arena, &ignored, ret_position);
}

static Status apply(TableRef *table, Bytes key, Value old_row, Value new_row, Arena *arena, uint64_t *ret_position)
{
        switch (table->system) {
        case SYSTEM_SCRATCH: return scratch_apply(table->catalog, key, new_row);
        case SYSTEM_DB_CONFIG: return db_config_apply(table->catalog, old_row, new_row, arena, ret_position);
        case SYSTEM_TABLE_CONFIG: return table_config_apply(table, old_row, new_row, arena, ret_position);
        default:
                return status_new(ERR_OP_FAILED, "It's illegal to write to the `" SYSTEM_DB ".%.*s` table.",
                                  (int)table->info.name.size, (const char *)table->info.name.data);
        }
}

static Status system_write_row(TableRef *table, Value key, size_t index, RowChange change, void *change_ctx,
                               Arena *arena, RowOutcome *out, uint64_t *ret_position)
{
        Bytes key_bytes;
        SystemRow *rows;
        size_t count;
        uint64_t version;
        Value old_row = value_null(), new_row;
        out->bad_key = true;
        TRY(key_encode_primary(key, arena, &key_bytes));
        out->bad_key = false;
        TRY(system_rows(table, arena, &rows, &count, &version));
        for (size_t i = 0; i < count; i++)
                if (bytes_equal(rows[i].key, key_bytes))
                        old_row = rows[i].row;
        out->old_row = out->new_row = old_row;
        TRY(change(change_ctx, index, old_row, arena, &new_row));
        TRY(row_check(&table->info, key_bytes, old_row, new_row, arena));
        bool had = !value_is(old_row, V_NULL), has = !value_is(new_row, V_NULL);
        if (had == has && (!has || value_equal(old_row, new_row))) {
                out->effect = has ? ROW_UNCHANGED : ROW_SKIPPED;
                return ST_OK;
        }
        TRY(apply(table, key_bytes, old_row, new_row, arena, ret_position));
        out->new_row = new_row;
        out->effect = !had ? ROW_INSERTED : !has ? ROW_DELETED : ROW_REPLACED;
        return ST_OK;
}

Status system_write(TableRef *table, const Value *keys, size_t count, RowChange change, void *change_ctx,
                    const WriteOptions *options, Arena *arena, RowOutcome *outcomes, uint64_t *ret_position)
{
        if (table->system == SYSTEM_NOT_YET)
                return status_new(ERR_OP_FAILED, "Table `" SYSTEM_DB ".%.*s` is not implemented yet.",
                                  (int)table->info.name.size, (const char *)table->info.name.data);
        for (size_t i = 0; i < count; i++) {
                outcomes[i] = (RowOutcome){.effect = ROW_FAILED, .old_row = value_null(), .new_row = value_null()};
                Status st = system_write_row(table, keys[i], i, change, change_ctx, arena, &outcomes[i], ret_position);
                if (status_code(st) == ERR_NOMEM || status_code(st) == ERR_CANCELLED)
                        return st;
                outcomes[i].error = st;
                if (st)
                        outcomes[i].effect = ROW_FAILED;
        }
        return ST_OK;
}
