/* system_config.c - `db_config`, `table_config` and `table_status`: the catalog as rows, and rows that change it;
 * config() and status(). */
#include "table/system_int.h"
#include "table/ttl.h"
#include "table/users.h"

/* --- databases --- */

typedef struct DbRow {
        SystemCollector *collector;
        Bytes id, name;
} DbRow;

Value system_db_config_row(Arena *arena, Bytes id, Bytes name)
{
        Field *fields = arena_array(arena, Field, 2);
        fields[0] = (Field){BYTES_STR("id"), system_text(arena, id)};
        fields[1] = (Field){BYTES_STR("name"), system_text(arena, name)};
        return value_object_sorted(fields, 2);
}

static Value build_db(void *ctx, Arena *arena)
{
        const DbRow *row = ctx;
        return system_db_config_row(arena, row->id, row->name);
}

static Status add_db(void *ctx, Bytes id, Bytes name)
{
        DbRow row = {.id = id, .name = name};
        return system_add(ctx, build_db, &row);
}

static Status db_config_collect(SystemCollector *c)
{
        return catalog_each_db(c->table->catalog, add_db, c);
}

/* What the row configures needs `config`, as the terms do: on the database (to drop it, on each of its tables), or to
 * create one, on the server. */
static Status permit_db(const SystemWrite *w)
{
        bool drops = value_is(w->new_row, V_NULL), creates = value_is(w->old_row, V_NULL);
        return users_permit(w->table->catalog, BYTES_STR(w->user),
                            PERMIT_CONFIG | (drops ? (unsigned)PERMIT_TABLES : 0u),
                            creates ? BYTES_NONE : value_bytes(value_get_str(w->old_row, "name")), BYTES_NONE);
}

static Status db_config_write(const SystemWrite *w)
{
        TableCatalog *catalog = w->table->catalog;
        SystemFields fields = {
                .row = w->new_row,
                .arena = w->arena,
                .prefix = "The change you're trying to make to `rethinkdb.db_config` has the wrong format. "};
        Value id;
        Bytes name;
        TRY(permit_db(w));
        if (value_is(w->new_row, V_NULL))
                return ddl_db_drop_id(catalog, value_bytes(w->id), w->arena, w->position);
        TRY(fields_name(&fields, "name", "db name", &name));
        TRY(fields_get(&fields, "id", &id));
        TRY(fields_no_others(&fields));
        if (!value_is(w->old_row, V_NULL))
                return ddl_db_rename(catalog, value_bytes(w->id), name, w->position);
        if (!w->generated)
                return status_new(ERR_OP_FAILED, "If you want to create a new table by inserting into "
                                                 "`rethinkdb.db_config`, you must use an auto-generated primary key.");
        return ddl_db_insert(catalog, value_bytes(w->id), name, w->arena, w->position);
}

const SystemTable system_db_config_table = {.name = "db_config",
                                            .id = "77e2a360-e196-5a6e-8a02-341743cfe122",
                                            .collect = db_config_collect,
                                            .write = db_config_write};

/* --- rows of tables --- */

static Value repeated(Arena *arena, Value item, unsigned count)
{
        Value *items = arena_array(arena, Value, count);
        for (unsigned i = 0; i < count; i++)
                items[i] = item;
        return value_array(items, count);
}

static Value index_names(const TableRef *table, Arena *arena)
{
        const TableSource *source = &table->catalog->source;
        const IndexInfo *indexes;
        if (!source->index_list)
                return value_array(NULL, 0);
        size_t count = source->index_list((TableRef *)table, &indexes);
        Value *names = arena_array(arena, Value, count);
        for (size_t i = 0; i < count; i++)
                names[i] = system_text(arena, indexes[i].name);
        return value_array(names, count);
}

static Value write_hook(const TableRef *table, Arena *arena)
{
        const TableSource *source = &table->catalog->source;
        Value hook = value_none();
        if (source->write_hook_get)
                status_ignore(source->write_hook_get((TableRef *)table, arena, &hook));
        return value_is(hook, V_NONE) ? value_null() : hook;
}

Value system_table_config_row(const TableRef *table, bool uuids, Arena *arena)
{
        Value server = system_server(table->catalog, uuids);
        ObjectBuilder shard, row;
        object_init(&shard, arena, 3);
        object_add_str(&shard, "nonvoting_replicas", value_array(NULL, 0));
        object_add_str(&shard, "primary_replica", server);
        object_add_str(&shard, "replicas", system_one(arena, server));
        object_init(&row, arena, 12);
        object_add_str(&row, "db", system_db_of(table, uuids, arena));
        object_add_str(&row, "durability", value_str(table->info.hard_durability ? "hard" : "soft"));
        object_add_str(&row, "id", system_text(arena, table->info.id));
        object_add_str(&row, "indexes", index_names(table, arena));
        object_add_str(&row, "name", system_text(arena, table->info.name));
        object_add_str(&row, "primary_key", system_text(arena, table->info.primary_key));
        object_add_str(&row, "shards", repeated(arena, object_take(&shard), table->shard_count));
        /* Ours; RethinkDB's applications see RethinkDB's fields unless somebody chose. */
        if (strcmp(table->engine, DEFAULT_ENGINE) != 0)
                object_add_str(&row, "storage", value_str(table->engine));
        Value ttl = ttl_value(table->schema, arena);
        if (!value_is(ttl, V_NONE))
                object_add_str(&row, "ttl", ttl);
        object_add_str(&row, "write_acks", value_str(table->ack_single ? "single" : "majority"));
        object_add_str(&row, "write_hook", write_hook(table, arena));
        return object_take(&row);
}

Value system_table_status_row(const TableRef *table, bool uuids, Arena *arena)
{
        Value server = system_server(table->catalog, uuids);
        ObjectBuilder replica, shard, status, row;
        object_init(&replica, arena, 2);
        object_add_str(&replica, "server", server);
        object_add_str(&replica, "state", value_str("ready"));
        object_init(&shard, arena, 2);
        object_add_str(&shard, "primary_replicas", system_one(arena, server));
        object_add_str(&shard, "replicas", system_one(arena, object_take(&replica)));
        object_init(&status, arena, 4);
        object_add_str(&status, "all_replicas_ready", value_bool(true));
        object_add_str(&status, "ready_for_outdated_reads", value_bool(true));
        object_add_str(&status, "ready_for_reads", value_bool(true));
        object_add_str(&status, "ready_for_writes", value_bool(true));
        object_init(&row, arena, 6);
        object_add_str(&row, "db", system_db_of(table, uuids, arena));
        object_add_str(&row, "id", system_text(arena, table->info.id));
        object_add_str(&row, "name", system_text(arena, table->info.name));
        object_add_str(&row, "raft_leader", server);
        object_add_str(&row, "shards", repeated(arena, object_take(&shard), table->shard_count));
        object_add_str(&row, "status", object_take(&status));
        return object_take(&row);
}

typedef struct TableRow {
        const TableRef *table;
        bool uuids;
} TableRow;

static Value build_config(void *ctx, Arena *arena)
{
        const TableRow *row = ctx;
        return system_table_config_row(row->table, row->uuids, arena);
}

static Value build_status(void *ctx, Arena *arena)
{
        const TableRow *row = ctx;
        return system_table_status_row(row->table, row->uuids, arena);
}

static Status add_config(void *ctx, TableRef *table)
{
        SystemCollector *c = ctx;
        return system_add(c, build_config, &(TableRow){table, c->table->uuids});
}

static Status add_status(void *ctx, TableRef *table)
{
        SystemCollector *c = ctx;
        return system_add(c, build_status, &(TableRow){table, c->table->uuids});
}

static Status table_config_collect(SystemCollector *c)
{
        return catalog_each_table(c->table->catalog, add_config, c);
}

static Status table_status_collect(SystemCollector *c)
{
        return catalog_each_table(c->table->catalog, add_status, c);
}

const SystemTable system_table_status = {
        .name = "table_status",
        .id = "bd984e39-2e8b-5ef3-9ca8-cec6a9de24a1",
        .collect = table_status_collect,
        .look_ms = 250,
};

/* --- writing table_config: a row is read as RethinkDB reads it, field by field in its order --- */

typedef struct Reading {
        TableCatalog *catalog;
        SystemFields fields;
        bool uuids;
        bool existed; /* then every field must be there */
        Value old_row;
} Reading;

static Status read_server(const Reading *r, const char *in, Value v)
{
        const TableCatalog *catalog = r->catalog;
        SystemFields fields = r->fields;
        Bytes name;
        if (!r->uuids) {
                TRY(fields_check_name(&fields, in, "server name", v, &name));
                if (bytes_equal(name, BYTES_STR(server_name(catalog))))
                        return ST_OK;
                return fields_wrong(&fields, in,
                                    arena_printf(fields.arena, "Server `%.*s` does not exist or is not connected.",
                                                 (int)name.size, (const char *)name.data),
                                    value_none());
        }
        if (!value_is(v, V_STRING))
                return fields_wrong(&fields, in, "Expected a UUID; got ", v);
        name = value_bytes(v);
        if (bytes_equal(name, BYTES_STR(catalog->host->server_id)))
                return ST_OK;
        return fields_wrong(&fields, in,
                            arena_printf(fields.arena, "There is no server with UUID `%.*s`.", (int)name.size,
                                         (const char *)name.data),
                            value_none());
}

#define IN_SHARDS "shards`: In `"

static Status read_replicas(const Reading *r, const char *in, Value v)
{
        if (!value_is(v, V_ARRAY))
                return fields_wrong(&r->fields, in, "Expected an array, got ", v);
        for (size_t i = 0; i < value_count(v); i++) {
                TRY(read_server(r, in, value_at(v, i)));
                if (i > 0) /* there is one server */
                        return fields_wrong(&r->fields, in,
                                            arena_printf(r->fields.arena, "Server `%s` is listed more than once.",
                                                         server_name(r->catalog)),
                                            value_none());
        }
        return ST_OK;
}

static Status read_shard(const Reading *r, Value shard)
{
        SystemFields fields = {.row = shard,
                               .arena = r->fields.arena,
                               .prefix = arena_printf(r->fields.arena, "%sIn `shards`: ", r->fields.prefix)};
        const char *name = server_name(r->catalog);
        Value replicas, nonvoting, primary;
        if (!value_is_object(shard))
                return fields_wrong(&r->fields, "shards", "Expected an object; got ", shard);
        TRY(fields_get(&fields, "replicas", &replicas));
        TRY(read_replicas(r, IN_SHARDS "replicas", replicas));
        if (value_count(replicas) == 0)
                return fields_wrong(&fields, NULL, "You must specify at least one replica for each shard.",
                                    value_none());
        bool has_nonvoting = fields_has(&fields, "nonvoting_replicas"), is_nonvoting = false;
        if (has_nonvoting) {
                TRY(fields_get(&fields, "nonvoting_replicas", &nonvoting));
                TRY(read_replicas(r, IN_SHARDS "nonvoting_replicas", nonvoting));
                is_nonvoting = value_count(nonvoting) > 0;
        }
        TRY(fields_get(&fields, "primary_replica", &primary));
        TRY(read_server(r, IN_SHARDS "primary_replica", primary));
        if (is_nonvoting)
                return fields_wrong(
                        &fields, NULL,
                        arena_printf(fields.arena, "The primary replica (`%s`) must not be a nonvoting replica.", name),
                        value_none());
        return fields_no_others(&fields);
}

static Status read_shards(Reading *r, unsigned *ret_count)
{
        Value shards;
        *ret_count = 1;
        if (!r->existed && !fields_has(&r->fields, "shards"))
                return ST_OK;
        TRY(fields_get(&r->fields, "shards", &shards));
        if (!value_is(shards, V_ARRAY))
                return fields_wrong(&r->fields, "shards", "Expected an array, got ", shards);
        for (size_t i = 0; i < value_count(shards); i++)
                TRY(read_shard(r, value_at(shards, i)));
        if (value_count(shards) == 0)
                return fields_wrong(&r->fields, "shards", "You must specify at least one shard.", value_none());
        if (value_count(shards) > MAX_SHARDS)
                return status_new(ERR_OP_FAILED, "Maximum number of shards is %d.", MAX_SHARDS);
        *ret_count = (unsigned)value_count(shards);
        return ST_OK;
}

static Status read_db(Reading *r, Bytes *ret_db)
{
        Value db;
        TRY(fields_get(&r->fields, "db", &db));
        if (!r->uuids) {
                TRY(fields_check_name(&r->fields, NULL, "database name", db, ret_db));
                Status st = catalog_db_check(r->catalog, *ret_db);
                if (st || bytes_equal(*ret_db, BYTES_STR(SYSTEM_DB))) {
                        status_ignore(st);
                        return fields_wrong(&r->fields, NULL,
                                            arena_printf(r->fields.arena, "Database `%.*s` does not exist.",
                                                         (int)ret_db->size, (const char *)ret_db->data),
                                            value_none());
                }
                return ST_OK;
        }
        if (!value_is(db, V_STRING))
                return fields_wrong(&r->fields, NULL, "Expected a UUID; got ", db);
        *ret_db = value_bytes(db);
        return ST_OK;
}

static bool same_names(Value a, Value b)
{
        if (value_count(a) != value_count(b))
                return false;
        for (size_t i = 0; i < value_count(a); i++) {
                bool found = false;
                for (size_t j = 0; j < value_count(b) && !found; j++)
                        found = value_equal(value_at(a, i), value_at(b, j));
                if (!found)
                        return false;
        }
        return true;
}

static Status read_indexes(Reading *r)
{
        Value indexes;
        if (!r->existed && !fields_has(&r->fields, "indexes"))
                return ST_OK;
        TRY(fields_get(&r->fields, "indexes", &indexes));
        if (!value_is(indexes, V_ARRAY))
                return fields_wrong(&r->fields, "indexes", "Expected an array, got ", indexes);
        for (size_t i = 0; i < value_count(indexes); i++)
                if (!value_is(value_at(indexes, i), V_STRING))
                        return fields_wrong(&r->fields, "indexes", "Expected a string; got ", value_at(indexes, i));
        if (r->existed && !same_names(indexes, value_get_str(r->old_row, "indexes")))
                return fields_wrong(&r->fields, NULL,
                                    "The `indexes` field is read-only and can't be used to create or drop indexes.",
                                    value_none());
        if (!r->existed && value_count(indexes) > 0)
                return fields_wrong(&r->fields, NULL,
                                    "The `indexes` field is read-only and can't be used to create indexes.",
                                    value_none());
        return ST_OK;
}

/* One of two words; `first` is the default of a new table. */
static Status read_choice(Reading *r, const char *field, const char *first, const char *second, const char *expected,
                          bool *ret_first)
{
        Value v;
        *ret_first = true;
        if (!r->existed && !fields_has(&r->fields, field))
                return ST_OK;
        TRY(fields_get(&r->fields, field, &v));
        *ret_first = value_bytes_are(v, first);
        if (*ret_first || value_bytes_are(v, second))
                return ST_OK;
        return fields_wrong(&r->fields, field, expected, v);
}

static Status read_write_hook(Reading *r)
{
        Value hook;
        if (!r->existed && !fields_has(&r->fields, "write_hook"))
                return ST_OK;
        TRY(fields_get(&r->fields, "write_hook", &hook));
        Value old = r->existed ? value_get_str(r->old_row, "write_hook") : value_null();
        if (value_equal(hook, old))
                return ST_OK;
        return fields_wrong(&r->fields, NULL,
                            "The `write_hook` field is read-only and can't be used to create or drop a write hook "
                            "function.",
                            value_none());
}

static Status read_storage(Reading *r, const char **ret_engine)
{
        Value storage;
        *ret_engine = NULL;
        if (!fields_has(&r->fields, "storage")) {
                if (r->existed && !value_is(value_get_str(r->old_row, "storage"), V_NONE))
                        return fields_get(&r->fields, "storage", &storage); /* says that it is missing */
                return ST_OK;
        }
        TRY(fields_get(&r->fields, "storage", &storage));
        if (r->existed && !value_equal(storage, value_get_str(r->old_row, "storage")))
                return status_new(ERR_OP_FAILED,
                                  "It's illegal to change a table's storage: create a table with the storage you want "
                                  "and insert the documents of this one.");
        *ret_engine = value_is(storage, V_STRING) ? engine_named(value_bytes(storage)) : NULL;
        return *ret_engine ? ST_OK : fields_wrong(&r->fields, "storage", "Expected a storage engine; got ", storage);
}

/* Ours, and in a row only where it is set: a row without it, or with null, is of a table whose rows do not expire. */
static Status read_ttl(Reading *r, TtlSpec *ret_ttl)
{
        Value ttl, got;
        *ret_ttl = (TtlSpec){0};
        if (!fields_has(&r->fields, "ttl"))
                return ST_OK;
        TRY(fields_get(&r->fields, "ttl", &ttl));
        const char *wrong = ttl_read(ttl, ret_ttl, &got);
        return wrong ? fields_wrong(&r->fields, "ttl", wrong, got) : ST_OK;
}

static Status read_config(Reading *r, TableConfig *config)
{
        Value v;
        bool acks_majority;
        *config = (TableConfig){.primary_key = BYTES_STR("id"), .uuids = r->uuids};
        TRY(fields_name(&r->fields, "name", "table name", &config->name));
        TRY(read_db(r, &config->db));
        TRY(fields_get(&r->fields, "id", &v));
        config->id = value_bytes(v);
        TRY(read_indexes(r));
        if (r->existed || fields_has(&r->fields, "primary_key")) {
                TRY(fields_get(&r->fields, "primary_key", &v));
                if (!value_is(v, V_STRING))
                        return fields_wrong(&r->fields, "primary_key", "Expected a string; got ", v);
                config->primary_key = value_bytes(v);
        }
        TRY(read_shards(r, &config->shard_count));
        TRY(read_choice(r, "write_acks", "majority", "single",
                        "Expected \"single\" or \"majority\", got: ", &acks_majority));
        config->ack_single = !acks_majority;
        TRY(read_choice(r, "durability", "hard", "soft", "Expected \"soft\" or \"hard\", got: ", &config->hard));
        TRY(read_write_hook(r));
        TRY(read_storage(r, &config->engine));
        TRY(read_ttl(r, &config->ttl));
        TRY(fields_no_others(&r->fields));
        if (r->existed && !value_equal(value_get_str(r->old_row, "primary_key"), value_string(config->primary_key)))
                return status_new(ERR_OP_FAILED, "It's illegal to change a table's primary key");
        return ST_OK;
}

/* `config` on a table or (data NULL) a database, named as the rows of w->table name them. */
static Status permit_table(const SystemWrite *w, Bytes db, Bytes table)
{
        return w->table->uuids ? users_permit_ids(w->table->catalog, BYTES_STR(w->user), PERMIT_CONFIG, db, table)
                               : users_permit(w->table->catalog, BYTES_STR(w->user), PERMIT_CONFIG, db, table);
}

static Status table_config_write(const SystemWrite *w)
{
        TableCatalog *catalog = w->table->catalog;
        TableConfig config;
        Reading r = {.catalog = catalog,
                     .fields = {.row = w->new_row,
                                .arena = w->arena,
                                .prefix = "The change you're trying to make to `rethinkdb.table_config` has the wrong "
                                          "format. "},
                     .uuids = w->table->uuids,
                     .existed = !value_is(w->old_row, V_NULL),
                     .old_row = w->old_row};
        if (r.existed)
                TRY(permit_table(w, value_bytes(value_get_str(w->old_row, "db")),
                                 value_bytes(value_get_str(w->old_row, w->table->uuids ? "id" : "name"))));
        if (value_is(w->new_row, V_NULL))
                return ddl_table_drop_id(catalog, value_bytes(w->id), w->arena, w->position);
        if (!r.existed && !w->generated)
                return status_new(ERR_OP_FAILED,
                                  "There is no existing table with the given ID. To create a new table by inserting "
                                  "into `rethinkdb.table_config`, you must let the database generate the primary key "
                                  "automatically.");
        TRY(read_config(&r, &config));
        if (!r.existed || !bytes_equal(config.db, value_bytes(value_get_str(w->old_row, "db"))))
                TRY(permit_table(w, config.db, BYTES_NONE)); /* where it is to be */
        return r.existed ? ddl_table_configure(catalog, &config, w->position)
                         : ddl_table_insert(catalog, &config, w->arena, w->ret_row, w->position);
}

const SystemTable system_table_config = {.name = "table_config",
                                         .id = "4c16a05c-fbdd-5cbf-9e28-57d927474b01",
                                         .collect = table_config_collect,
                                         .write = table_config_write};

/* --- config() and status() --- */

static Status row_of(TableCatalog *catalog, Bytes db, Bytes table, Value (*build)(void *ctx, Arena *arena),
                     Arena *arena, Value *ret_row)
{
        TableRef *ref = NULL;
        TRY(catalog_table_find(catalog, db, table, &ref));
        Status st = build_guarded(arena, build, &(TableRow){ref, false}, ret_row);
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
                return row_of(catalog, db, table, build_config, arena, ret_config);
        Value id;
        TRY(catalog_db_id(catalog, db, arena, &id));
        *ret_config = system_db_config_row(arena, value_bytes(id), db);
        return ST_OK;
}

/* A table's status; a database's is an array of its tables'. */
typedef struct StatusOf {
        Bytes db;
        SystemCollector collector;
} StatusOf;

static Status collect_status(void *ctx, TableRef *table)
{
        StatusOf *s = ctx;
        return bytes_equal(table->info.db, s->db) ? add_status(&s->collector, table) : ST_OK;
}

Status system_status(void *ctx, Bytes db, Bytes table, Arena *arena, Value *ret_status)
{
        TableCatalog *catalog = ctx;
        if (bytes_equal(db, BYTES_STR(SYSTEM_DB)))
                return status_new(ERR_OP_FAILED, "Database `" SYSTEM_DB "` is special; the system tables in it don't "
                                                 "have meaningful status information.");
        if (table.data)
                return row_of(catalog, db, table, build_status, arena, ret_status);
        TRY(catalog_db_check(catalog, db));
        TableRef face = {.catalog = catalog};
        StatusOf s = {.db = db, .collector = {.table = &face, .arena = arena}};
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
