/* ddl.c - creating, dropping and changing databases and tables.
 *
 * Each is one commit over the catalog's documents and the tables themselves, under ddl_mu, so a crash leaves all of it
 * or nothing (README I1). The new names enter the maps while every slot is locked and before the commit is finished,
 * because entering may fail for want of memory and a finished commit cannot be taken back. */
#include "table/index_int.h"
#include "table/table_int.h"
#include "table/ttl.h"

#include <assert.h>
#include <setjmp.h>
#include <stdlib.h>

#include "value/json.h"

/* --- building answers --- */

typedef struct Trap {
        jmp_buf back;
        void (*oom)(void *ctx, bool over_budget); /* the arena's own */
        void *oom_ctx;
} Trap;

NORETURN static void trap_spring(void *ctx, bool over_budget)
{
        longjmp(((Trap *)ctx)->back, 1);
}

Status build_guarded(Arena *arena, Value (*build)(void *ctx, Arena *arena), void *ctx, Value *ret_value)
{
        Trap trap = {.oom = arena->oom, .oom_ctx = arena->oom_ctx};
        if (setjmp(trap.back) != 0) {
                arena_on_oom(arena, trap.oom, trap.oom_ctx);
                return status_nomem();
        }
        arena_on_oom(arena, trap_spring, &trap);
        *ret_value = build(ctx, arena);
        arena_on_oom(arena, trap.oom, trap.oom_ctx);
        return ST_OK;
}

static Value one_change(Arena *arena, Value old_val, Value new_val)
{
        Field *pair = arena_array(arena, Field, 2);
        pair[0] = (Field){BYTES_STR("new_val"), new_val};
        pair[1] = (Field){BYTES_STR("old_val"), old_val};
        Value *item = arena_array(arena, Value, 1);
        *item = value_object_sorted(pair, 2);
        return value_array(item, 1);
}

typedef struct Answer {
        const char *counted;   /* "dbs_created" ... */
        Bytes db_id, db_name;  /* of a database */
        const TableRef *table; /* of a table */
        bool created;          /* else dropped */
        bool row_only, uuids;  /* of a table: only its row of table_config */
        size_t tables_dropped; /* of a database */
} Answer;

static Value build_answer(void *ctx, Arena *arena)
{
        const Answer *a = ctx;
        if (a->row_only)
                return system_table_config_row(a->table, a->uuids, arena);
        Value row = a->table ? system_table_config_row(a->table, false, arena)
                             : system_db_config_row(arena, a->db_id, a->db_name);
        ObjectBuilder answer;
        object_init(&answer, arena, 3);
        object_add_str(&answer, "config_changes",
                       a->created ? one_change(arena, value_null(), row) : one_change(arena, row, value_null()));
        object_add_str(&answer, a->counted, value_number(1));
        if (!a->table && !a->created)
                object_add_str(&answer, "tables_dropped", value_number((double)a->tables_dropped));
        return object_take(&answer);
}

/* --- documents --- */

static Bytes document_key(char kind, const void *id, uint8_t out[UUID_TEXT_BYTES + 1])
{
        out[0] = (uint8_t)kind;
        memcpy(out + 1, id, UUID_TEXT_BYTES);
        return BYTES(out, UUID_TEXT_BYTES + 1);
}

Status ddl_put_document(TableCatalog *catalog, Commit *commit, Bytes key, Value doc)
{
        size_t size = value_encoded_size(doc);
        uint8_t *bytes = mem_alloc(size);
        if (!bytes)
                return status_nomem();
        value_encode(doc, bytes);
        Status st = commit_put(commit, catalog->documents, key, BYTES(bytes, size));
        mem_free(bytes);
        return st;
}

static Status put_meta(TableCatalog *catalog, Commit *commit, uint64_t next_store_id)
{
        Field fields[] = {
                {BYTES_STR("format"), value_number(CATALOG_FORMAT)},
                {BYTES_STR("next_store_id"), value_number((double)next_store_id)},
        };
        return ddl_put_document(catalog, commit, BYTES_STR("m"), value_object_sorted(fields, ELEMENTS(fields)));
}

static Status put_database(TableCatalog *catalog, Commit *commit, Bytes id, Bytes name)
{
        uint8_t key[UUID_TEXT_BYTES + 1];
        Field fields[] = {
                {BYTES_STR("id"), value_string(id)},
                {BYTES_STR("name"), value_string(name)},
        };
        return ddl_put_document(catalog, commit, document_key('d', id.data, key),
                                value_object_sorted(fields, ELEMENTS(fields)));
}

static Status put_table_fields(TableCatalog *catalog, Commit *commit, const TableSettings *s, Arena *arena)
{
        uint8_t key[UUID_TEXT_BYTES + 1];
        SchemaFields schema = {.indexes = value_array(NULL, 0), .ttl = value_null(), .write_hook = value_null()};
        if (s->schema)
                TRY(schema_encode(s->schema, arena, &schema));
        Field fields[] = {
                {BYTES_STR("db"), value_string(BYTES(s->database->id, UUID_TEXT_BYTES))},
                {BYTES_STR("durability"), value_str(s->hard ? "hard" : "soft")},
                {BYTES_STR("engine"), value_str(s->engine)},
                {BYTES_STR("id"), value_string(s->id)},
                {BYTES_STR("indexes"), schema.indexes},
                {BYTES_STR("name"), value_string(s->name)},
                {BYTES_STR("primary_key"), value_string(s->primary_key)},
                {BYTES_STR("shards"), value_number(s->shard_count)},
                {BYTES_STR("store_id"), value_number((double)s->store_id)},
                {BYTES_STR("ttl"), schema.ttl},
                {BYTES_STR("write_acks"), value_str(s->ack_single ? "single" : "majority")},
                {BYTES_STR("write_hook"), schema.write_hook},
        };
        return ddl_put_document(catalog, commit, document_key('t', s->id.data, key),
                                value_object_sorted(fields, ELEMENTS(fields)));
}

Status ddl_put_table(TableCatalog *catalog, Commit *commit, const TableSettings *s)
{
        Arena arena;
        arena_init(&arena, 0);
        Status st = put_table_fields(catalog, commit, s, &arena);
        arena_done(&arena);
        return st;
}

static Status delete_document(TableCatalog *catalog, Commit *commit, char kind, const void *id)
{
        uint8_t key[UUID_TEXT_BYTES + 1];
        bool found;
        return commit_delete(commit, catalog->documents, document_key(kind, id, key), &found);
}

/* --- the shape of every change: lock, fill the commit, finish --- */

Status ddl_begin(TableCatalog *catalog, Commit **ret_commit)
{
        Commit *commit = NULL;
        TRY(commit_begin(catalog->store, &commit));
        Status st = commit_lock(commit, catalog->documents);
        if (st) {
                commit_abort(commit);
                return st;
        }
        *ret_commit = commit;
        return ST_OK;
}

static void raise_position(uint64_t *position, uint64_t to)
{
        if (to > *position)
                *position = to;
}

static Status bad_name(const char *what, Bytes name)
{
        return status_new(ERR_LOGIC, "%s name `%.*s` invalid (" SOURCE_NAME_RULE ").", what, (int)name.size,
                          (const char *)name.data);
}

static Status special(const char *what)
{
        return status_new(ERR_OP_FAILED, "Database `" SYSTEM_DB "` is special; you can't %s.", what);
}

static bool is_system(Bytes db)
{
        return bytes_equal(db, BYTES_STR(SYSTEM_DB));
}

static Status no_db(Bytes db)
{
        return status_new(ERR_OP_FAILED, "Database `%.*s` does not exist.", (int)db.size, (const char *)db.data);
}

static Status database_new(Bytes id, Bytes name, Database **ret_database)
{
        Database *database = mem_zalloc(sizeof *database);
        if (database)
                database->name = mem_alloc(name.size + 1);
        if (!database || !database->name) {
                database_free(database);
                return status_nomem();
        }
        memcpy(database->id, id.data, UUID_TEXT_BYTES);
        memcpy(database->name, name.data, name.size);
        database->name[name.size] = 0;
        *ret_database = database;
        return ST_OK;
}

/* --- databases --- */

/* An empty store: the catalog, and the database `test` as a new RethinkDB has it. */
Status ddl_create_catalog(TableCatalog *catalog)
{
        char id[UUID_TEXT_BYTES + 1];
        Commit *commit = NULL;
        uint64_t position;
        TRY(uuid_new(catalog, id));
        TRY(commit_begin(catalog->store, &commit));
        Status st = commit_create_table(commit, CATALOG_TABLE_ID, DEFAULT_ENGINE, &catalog->documents);
        if (!st)
                st = commit_lock(commit, catalog->documents);
        if (!st)
                st = put_meta(catalog, commit, FIRST_TABLE_ID);
        if (!st)
                st = put_database(catalog, commit, BYTES(id, UUID_TEXT_BYTES), BYTES_STR("test"));
        if (st)
                commit_abort(commit);
        else
                st = commit_finish(commit, &position);
        catalog->documents = store_table_unref(catalog->documents);
        return st;
}

/* `with_id` data NULL: a new one. */
static Status db_create_locked(TableCatalog *catalog, Bytes with_id, Bytes name, Arena *arena, Value *ret_result,
                               uint64_t *ret_position)
{
        char id[UUID_TEXT_BYTES + 1];
        Commit *commit = NULL;
        Database *database = NULL;
        uint64_t position = 0;
        if (is_system(name) || names_db(catalog, name))
                return status_new(ERR_OP_FAILED, "Database `%.*s` already exists.", (int)name.size,
                                  (const char *)name.data);
        if (with_id.data)
                memcpy(id, with_id.data, UUID_TEXT_BYTES);
        else
                TRY(uuid_new(catalog, id));
        Answer answer = {
                .counted = "dbs_created", .db_id = BYTES(id, UUID_TEXT_BYTES), .db_name = name, .created = true};
        answer.db_id.data = arena_try_alloc(arena, UUID_TEXT_BYTES);
        if (!answer.db_id.data)
                return status_nomem();
        memcpy((void *)answer.db_id.data, id, UUID_TEXT_BYTES);
        TRY(build_guarded(arena, build_answer, &answer, ret_result));
        TRY(database_new(BYTES(id, UUID_TEXT_BYTES), name, &database));
        Status st = ddl_begin(catalog, &commit);
        if (!st)
                st = put_database(catalog, commit, BYTES(id, UUID_TEXT_BYTES), name);
        if (st) {
                commit_abort(commit);
                database_free(database);
                return st;
        }
        names_lock_all(catalog);
        st = map_put(catalog->databases, name, database, NULL);
        if (st) {
                commit_abort(commit);
        } else {
                st = commit_finish(commit, &position);
                if (st)
                        map_remove(catalog->databases, name);
        }
        names_unlock_all(catalog);
        if (st)
                database_free(database);
        else
                raise_position(ret_position, position);
        return st;
}

Status ddl_db_create(void *ctx, Bytes name, Arena *arena, Value *ret_result, uint64_t *ret_position)
{
        TableCatalog *catalog = ctx;
        if (!source_name_valid(name))
                return bad_name("Database", name);
        mutex_lock(&catalog->ddl_mu);
        Status st = db_create_locked(catalog, BYTES_NONE, name, arena, ret_result, ret_position);
        ddl_end(catalog);
        return st;
}

Status ddl_db_insert(TableCatalog *catalog, Bytes id, Bytes name, Arena *arena, uint64_t *ret_position)
{
        Value ignored;
        assert(id.size == UUID_TEXT_BYTES);
        mutex_lock(&catalog->ddl_mu);
        Status st = db_create_locked(catalog, id, name, arena, &ignored, ret_position);
        ddl_end(catalog);
        return st;
}

typedef struct TableList {
        TableRef **items;
        size_t count;
} TableList;

static void table_list_done(TableList *list)
{
        for (size_t i = 0; i < list->count; i++)
                catalog_table_unref(list->items[i]);
        mem_free(list->items);
}

static int compare_store_ids(const void *a, const void *b)
{
        const TableRef *x = *(TableRef *const *)a, *y = *(TableRef *const *)b;
        return (x->store_id > y->store_id) - (x->store_id < y->store_id);
}

/* The tables of a database, by store id: the order in which their locks are taken. */
static Status tables_of(TableCatalog *catalog, const Database *database, TableList *list)
{
        size_t cursor = 0;
        Bytes name;
        void *value;
        list->items = mem_alloc((map_count(catalog->tables) + 1) * sizeof(TableRef *));
        if (!list->items)
                return status_nomem();
        while (map_next(catalog->tables, &cursor, &name, &value))
                if (((TableRef *)value)->database == database)
                        list->items[list->count++] = catalog_table_ref(value);
        qsort(list->items, list->count, sizeof *list->items, compare_store_ids);
        return ST_OK;
}

static Status drop_tables(TableCatalog *catalog, Commit *commit, const TableList *tables)
{
        for (size_t i = 0; i < tables->count; i++) {
                TRY(commit_lock(commit, tables->items[i]->store));
                TRY(commit_drop_table(commit, tables->items[i]->store));
                TRY(delete_document(catalog, commit, 't', tables->items[i]->info.id.data));
        }
        return ST_OK;
}

static Database *find_db(TableCatalog *catalog, Bytes name_or_id, bool uuids)
{
        if (!uuids)
                return names_db(catalog, name_or_id);
        size_t cursor = 0;
        Bytes name;
        void *value;
        while (map_next(catalog->databases, &cursor, &name, &value))
                if (bytes_equal(BYTES(((Database *)value)->id, UUID_TEXT_BYTES), name_or_id))
                        return value;
        return NULL;
}

static Status db_drop_locked(TableCatalog *catalog, Bytes name, Arena *arena, Value *ret_result, uint64_t *ret_position)
{
        _cleanup_(table_list_done) TableList tables = {0};
        Commit *commit = NULL;
        uint64_t position;
        Database *database = names_db(catalog, name);
        if (!database)
                return no_db(name);
        TRY(tables_of(catalog, database, &tables));
        Bytes id = {arena_try_alloc(arena, UUID_TEXT_BYTES), UUID_TEXT_BYTES};
        if (!id.data)
                return status_nomem();
        memcpy((void *)id.data, database->id, UUID_TEXT_BYTES);
        Answer answer = {.counted = "dbs_dropped", .db_id = id, .db_name = name, .tables_dropped = tables.count};
        TRY(build_guarded(arena, build_answer, &answer, ret_result));
        TRY(ddl_begin(catalog, &commit));
        Status st = drop_tables(catalog, commit, &tables);
        if (!st)
                st = delete_document(catalog, commit, 'd', database->id);
        if (st) {
                commit_abort(commit);
                return st;
        }
        TRY(commit_finish(commit, &position));
        names_lock_all(catalog);
        for (size_t i = 0; i < tables.count; i++)
                names_remove_table(catalog, tables.items[i]->info.db, tables.items[i]->info.name);
        map_remove(catalog->databases, name);
        names_unlock_all(catalog);
        database_free(database);
        raise_position(ret_position, position);
        return ST_OK;
}

Status ddl_db_drop(void *ctx, Bytes name, Arena *arena, Value *ret_result, uint64_t *ret_position)
{
        TableCatalog *catalog = ctx;
        if (is_system(name))
                return special("delete it");
        mutex_lock(&catalog->ddl_mu);
        Status st = db_drop_locked(catalog, name, arena, ret_result, ret_position);
        ddl_end(catalog);
        return st;
}

Status ddl_db_drop_id(TableCatalog *catalog, Bytes id, Arena *arena, uint64_t *ret_position)
{
        Value ignored;
        Status st = ST_OK;
        mutex_lock(&catalog->ddl_mu);
        Database *database = find_db(catalog, id, true);
        if (database)
                st = db_drop_locked(catalog, BYTES_STR(database->name), arena, &ignored, ret_position);
        ddl_end(catalog);
        return st;
}

static Status db_rename_locked(TableCatalog *catalog, Bytes id, Bytes new_name, uint64_t *ret_position)
{
        _cleanup_(table_list_done) TableList tables = {0}, renamed = {0};
        Commit *commit = NULL;
        uint64_t position;
        Database *database = find_db(catalog, id, true), *fresh = NULL;
        if (!database)
                return status_new(ERR_OP_FAILED, "The database was dropped.");
        if (bytes_equal(BYTES_STR(database->name), new_name))
                return ST_OK;
        if (is_system(new_name) || names_db(catalog, new_name))
                return status_new(ERR_OP_FAILED,
                                  "Cannot rename database `%s` to `%.*s` because database `%.*s` already exists.",
                                  database->name, (int)new_name.size, (const char *)new_name.data, (int)new_name.size,
                                  (const char *)new_name.data);
        TRY(tables_of(catalog, database, &tables));
        renamed.items = mem_alloc((tables.count + 1) * sizeof(TableRef *));
        if (!renamed.items)
                return status_nomem();
        TRY(database_new(id, new_name, &fresh));
        Status st = ST_OK;
        while (!st && renamed.count < tables.count) {
                TableRef *old = tables.items[renamed.count];
                TableSettings s = table_settings(old);
                s.db = BYTES_STR(fresh->name);
                s.database = fresh;
                StoreTable *store = store_table_ref(catalog->store, old->store_id);
                st = store ? table_ref_new(catalog, &s, store, &renamed.items[renamed.count])
                           : status_new(ERR_OP_FAILED, "A table of the database was dropped.");
                renamed.count += !st;
        }
        if (!st)
                st = ddl_begin(catalog, &commit);
        if (!st)
                st = put_database(catalog, commit, id, new_name);
        if (st) {
                commit_abort(commit);
                database_free(fresh);
                return st;
        }
        names_lock_all(catalog);
        st = map_put(catalog->databases, BYTES_STR(fresh->name), fresh, NULL);
        for (size_t i = 0; !st && i < renamed.count; i++) {
                st = names_put_table(catalog, renamed.items[i]);
                if (!st)
                        catalog_table_ref(renamed.items[i]); /* the map's; the list keeps its own */
        }
        if (st)
                commit_abort(commit);
        else
                st = commit_finish(commit, &position);
        const TableList *gone = st ? &renamed : &tables;
        for (size_t i = 0; i < gone->count; i++) {
                TableRef *table = gone->items[i];
                if (names_table(catalog, table->info.db, table->info.name) == table)
                        names_remove_table(catalog, table->info.db, table->info.name);
        }
        Database *unused = st ? fresh : database;
        if (map_get(catalog->databases, BYTES_STR(unused->name)) == unused)
                map_remove(catalog->databases, BYTES_STR(unused->name));
        names_unlock_all(catalog);
        database_free(unused);
        if (!st)
                raise_position(ret_position, position);
        return st;
}

Status ddl_db_rename(TableCatalog *catalog, Bytes id, Bytes new_name, uint64_t *ret_position)
{
        if (!source_name_valid(new_name))
                return bad_name("Database", new_name);
        mutex_lock(&catalog->ddl_mu);
        Status st = db_rename_locked(catalog, id, new_name, ret_position);
        ddl_end(catalog);
        return st;
}

/* --- tables --- */

Status ddl_publish_table(TableCatalog *catalog, Commit *commit, TableRef *table, TableRef *old, uint64_t *ret_position)
{
        uint64_t position;
        names_lock_all(catalog);
        bool same_name =
                old && bytes_equal(old->info.db, table->info.db) && bytes_equal(old->info.name, table->info.name);
        if (same_name)
                catalog_table_ref(old); /* names_put_table drops the map's */
        Status st = names_put_table(catalog, table);
        if (st) {
                commit_abort(commit);
                catalog_table_unref(table);
                if (same_name)
                        catalog_table_unref(old);
                names_unlock_all(catalog);
                return st;
        }
        st = commit_finish(commit, &position);
        if (!st) {
                raise_position(ret_position, position);
                if (same_name)
                        catalog_table_unref(old);
                else if (old)
                        names_remove_table(catalog, old->info.db, old->info.name);
        } else if (same_name) {
                /* The entry is there already, so this cannot fail. */
                Status again = names_put_table(catalog, old);
                if (again) {
                        status_ignore(again);
                        catalog_table_unref(old);
                }
        } else {
                names_remove_table(catalog, table->info.db, table->info.name);
        }
        names_unlock_all(catalog);
        return st;
}

/* `placement`: options as of reconfigure, checked once it is known that names are free; V_NONE: s->shard_count holds.
 */
static Status table_create_locked(TableCatalog *catalog, TableSettings *s, const TtlSpec *ttl, Value placement,
                                  Arena *arena, Value *ret_result, uint64_t *ret_position)
{
        static const Schema none = {0};
        _cleanup_(schema_unrefp) Schema *schema = NULL;
        uint32_t tree;
        char id[UUID_TEXT_BYTES + 1];
        Commit *commit = NULL;
        StoreTable *store = NULL;
        TableRef *table = NULL;
        s->database = names_db(catalog, s->db);
        if (!s->database)
                return no_db(s->db);
        if (names_table(catalog, s->db, s->name))
                return status_new(ERR_OP_FAILED, "Table `%.*s.%.*s` already exists.", (int)s->db.size,
                                  (const char *)s->db.data, (int)s->name.size, (const char *)s->name.data);
        if (value_is_object(placement))
                TRY(placement_check(catalog, placement, &s->shard_count));
        if (!s->id.data) {
                TRY(uuid_new(catalog, id));
                s->id = BYTES(id, UUID_TEXT_BYTES);
        }
        s->store_id = catalog->next_store_id;
        TRY(ttl_schema(catalog, &none, ttl, true, &schema, &tree));
        s->schema = schema;
        TRY(ddl_begin(catalog, &commit));
        Status st = ddl_put_table(catalog, commit, s);
        if (!st)
                st = put_meta(catalog, commit, s->store_id + 1);
        if (!st)
                st = commit_create_table(commit, s->store_id, s->engine, &store);
        if (!st)
                st = table_ref_new(catalog, s, store, &table);
        if (!st) {
                Answer answer = {.counted = "tables_created", .table = table, .created = true};
                st = build_guarded(arena, build_answer, &answer, ret_result);
        }
        if (st) {
                catalog_table_unref(table);
                commit_abort(commit);
                return st;
        }
        TRY(ddl_publish_table(catalog, commit, table, NULL, ret_position));
        catalog->next_store_id++;
        s->schema = NULL;
        if (schema)
                ttl_wake(catalog);
        return ST_OK;
}

static Status no_engine(Bytes name)
{
        char choices[256];
        const EngineOps *ops;
        size_t used = 0;
        for (size_t i = 0; (ops = engine_at(i)) && used < sizeof choices; i++)
                used += (size_t)snprintf(choices + used, sizeof choices - used, "%s\"%s\"",
                                         i == 0             ? ""
                                         : engine_at(i + 1) ? ", "
                                                            : " and ",
                                         ops->name);
        return status_new(ERR_LOGIC, "Storage option `%.*s` unrecognized (options are %s).", (int)name.size,
                          (const char *)name.data, choices);
}

static Status bad_ttl(const char *wrong, Value got, Arena *arena)
{
        Bytes text = json_truncated_text(got, arena);
        return status_new(ERR_LOGIC, "Option `ttl`: %s%.*s", wrong, (int)text.size, (const char *)text.data);
}

Status ddl_table_create(void *ctx, Bytes db, Bytes name, Value options, Arena *arena, Value *ret_result,
                        uint64_t *ret_position)
{
        TableCatalog *catalog = ctx;
        TableSettings s = {.shard_count = 1, .db = db, .name = name, .primary_key = BYTES_STR("id")};
        TtlSpec ttl = {0};
        if (!source_name_valid(name))
                return bad_name("Table", name);
        if (is_system(db))
                return special("create new tables in it");
        bool has_options = value_is_object(options);
        Value v = has_options ? value_get_str(options, "primary_key") : value_none();
        if (value_is(v, V_STRING))
                s.primary_key = value_bytes(v);
        v = has_options ? value_get_str(options, "durability") : value_none();
        s.hard = !value_bytes_are(v, "soft");
        v = has_options ? value_get_str(options, "storage") : value_none();
        s.engine = value_is(v, V_STRING) ? engine_named(value_bytes(v)) : catalog->engine;
        if (!s.engine)
                return no_engine(value_bytes(v));
        v = has_options ? value_get_str(options, "ttl") : value_none();
        const char *wrong = value_is(v, V_NONE) ? NULL : ttl_read(v, &ttl, &v);
        if (wrong)
                return bad_ttl(wrong, v, arena);
        mutex_lock(&catalog->ddl_mu);
        Status st = table_create_locked(catalog, &s, &ttl, options, arena, ret_result, ret_position);
        ddl_end(catalog);
        return st;
}

static Status no_db_given(const TableConfig *config)
{
        if (!config->uuids)
                return no_db(config->db);
        return status_new(ERR_OP_FAILED,
                          "The change you're trying to make to `rethinkdb.table_config` has the wrong format. There is "
                          "no database with UUID `%.*s`.",
                          (int)config->db.size, (const char *)config->db.data);
}

static Status table_insert_locked(TableCatalog *catalog, const TableConfig *config, Arena *arena, Value *ret_row,
                                  uint64_t *ret_position)
{
        Value result;
        Database *database = find_db(catalog, config->db, config->uuids);
        if (!database)
                return no_db_given(config);
        TableSettings s = {.db = BYTES_STR(database->name),
                           .name = config->name,
                           .id = config->id,
                           .primary_key = config->primary_key,
                           .engine = config->engine ? config->engine : catalog->engine,
                           .shard_count = config->shard_count,
                           .hard = config->hard,
                           .ack_single = config->ack_single};
        TRY(table_create_locked(catalog, &s, &config->ttl, value_none(), arena, &result, ret_position));
        TableRef *table = names_table(catalog, s.db, s.name);
        Answer answer = {.table = table, .row_only = true, .uuids = config->uuids};
        return build_guarded(arena, build_answer, &answer, ret_row);
}

Status ddl_table_insert(TableCatalog *catalog, const TableConfig *config, Arena *arena, Value *ret_row,
                        uint64_t *ret_position)
{
        assert(config->id.size == UUID_TEXT_BYTES);
        mutex_lock(&catalog->ddl_mu);
        Status st = table_insert_locked(catalog, config, arena, ret_row, ret_position);
        ddl_end(catalog);
        return st;
}

static Status table_drop_locked(TableCatalog *catalog, Bytes db, Bytes name, Arena *arena, Value *ret_result,
                                uint64_t *ret_position)
{
        Commit *commit = NULL;
        uint64_t position;
        if (!names_db(catalog, db))
                return no_db(db);
        TableRef *table = names_table(catalog, db, name);
        if (!table)
                return status_new(ERR_OP_FAILED, "Table `%.*s.%.*s` does not exist.", (int)db.size,
                                  (const char *)db.data, (int)name.size, (const char *)name.data);
        Answer answer = {.counted = "tables_dropped", .table = table};
        TRY(build_guarded(arena, build_answer, &answer, ret_result));
        TRY(ddl_begin(catalog, &commit));
        TableList one = {.items = &table, .count = 1};
        Status st = drop_tables(catalog, commit, &one);
        if (st) {
                commit_abort(commit);
                return st;
        }
        TRY(commit_finish(commit, &position));
        names_lock_all(catalog);
        names_remove_table(catalog, db, name);
        names_unlock_all(catalog);
        raise_position(ret_position, position);
        return ST_OK;
}

Status ddl_table_drop(void *ctx, Bytes db, Bytes name, Arena *arena, Value *ret_result, uint64_t *ret_position)
{
        TableCatalog *catalog = ctx;
        if (is_system(db))
                return special("drop tables in it");
        mutex_lock(&catalog->ddl_mu);
        Status st = table_drop_locked(catalog, db, name, arena, ret_result, ret_position);
        ddl_end(catalog);
        return st;
}

/* --- changing a table's settings: a write to its row of table_config --- */

TableRef *ddl_find_table(TableCatalog *catalog, Bytes id)
{
        size_t cursor = 0;
        Bytes name;
        void *value;
        while (map_next(catalog->tables, &cursor, &name, &value))
                if (bytes_equal(((TableRef *)value)->info.id, id))
                        return value;
        return NULL;
}

/* Its index may be there to be built, or its rows to expire. */
static void wake_for_ttl(TableCatalog *catalog)
{
        build_wake(catalog);
        ttl_wake(catalog);
}

static Status fill_change(TableCatalog *catalog, Commit *commit, const TableRef *old, const TableSettings *to,
                          uint32_t clear_tree)
{
        if (to->schema != old->schema)
                TRY(table_error(old, commit_lock(commit, old->store)));
        TRY(ddl_put_table(catalog, commit, to));
        return clear_tree ? commit_tree_clear(commit, old->store, clear_tree) : ST_OK;
}

Status ddl_change_table(TableCatalog *catalog, TableRef *old, const TableSettings *to, uint32_t clear_tree,
                        uint64_t *ret_position)
{
        Commit *commit = NULL;
        TableRef *fresh = NULL;
        StoreTable *store = store_table_ref(catalog->store, old->store_id);
        if (!store)
                return status_new(ERR_OP_FAILED, "The table was dropped.");
        TRY(table_ref_new(catalog, to, store, &fresh));
        Status st = ddl_begin(catalog, &commit);
        if (!st) {
                st = fill_change(catalog, commit, old, to, clear_tree);
                if (st)
                        commit_abort(commit);
        }
        if (st) {
                catalog_table_unref(fresh);
                return st;
        }
        if (to->schema == old->schema)
                return ddl_publish_table(catalog, commit, fresh, old, ret_position);
        TableState *state = old->state;
        Schema *schema = to->schema; /* the caller's, as `old` may be gone with the publication */
        catalog_table_ref(old);
        table_state_begin(state);
        st = ddl_publish_table(catalog, commit, fresh, old, ret_position);
        if (!st)
                schema->since = *ret_position; /* read by who has seen the state's version after this */
        table_state_end(state, st ? NULL : schema);
        catalog_table_unref(old);
        return st;
}

static Status configure_locked(TableCatalog *catalog, const TableConfig *s, uint64_t *ret_position)
{
        _cleanup_(schema_unrefp) Schema *schema = NULL;
        uint32_t clear_tree = 0;
        TableRef *old = ddl_find_table(catalog, s->id);
        if (!old)
                return status_new(ERR_OP_FAILED, "The table was dropped.");
        Database *database = find_db(catalog, s->db, s->uuids);
        if (!database)
                return no_db_given(s);
        TableSettings to = table_settings(old);
        to.database = database;
        to.db = BYTES_STR(database->name);
        to.name = s->name;
        to.hard = s->hard;
        to.ack_single = s->ack_single;
        to.shard_count = s->shard_count;
        if (!s->keeps_ttl)
                TRY(ttl_schema(catalog, old->schema, &s->ttl, false, &schema, &clear_tree));
        if (schema)
                to.schema = schema;
        TableRef *there = names_table(catalog, to.db, to.name);
        if (there && there != old)
                return status_new(ERR_OP_FAILED,
                                  "Can't rename table `%s.%s` to `%s.%.*s` because table `%s.%.*s` already exists.",
                                  (const char *)old->info.db.data, (const char *)old->info.name.data, database->name,
                                  (int)to.name.size, (const char *)to.name.data, database->name, (int)to.name.size,
                                  (const char *)to.name.data);
        return ddl_change_table(catalog, old, &to, clear_tree, ret_position);
}

Status ddl_table_configure(TableCatalog *catalog, const TableConfig *config, uint64_t *ret_position)
{
        mutex_lock(&catalog->ddl_mu);
        Status st = configure_locked(catalog, config, ret_position);
        ddl_end(catalog);
        if (!st && config->ttl.field.data)
                wake_for_ttl(catalog);
        return st;
}

Status ddl_table_drop_id(TableCatalog *catalog, Bytes id, Arena *arena, uint64_t *ret_position)
{
        Value ignored;
        Status st = ST_OK;
        mutex_lock(&catalog->ddl_mu);
        TableRef *table = ddl_find_table(catalog, id);
        if (table) {
                catalog_table_ref(table); /* its names are read while it goes */
                st = table_drop_locked(catalog, table->info.db, table->info.name, arena, &ignored, ret_position);
                catalog_table_unref(table);
        }
        ddl_end(catalog);
        return st;
}

/* --- settings --- */

Status ddl_put_settings(TableCatalog *catalog, char kind, Value doc, uint64_t *ret_position)
{
        Commit *commit;
        uint64_t position;
        TRY(ddl_begin(catalog, &commit));
        Status st = ddl_put_document(catalog, commit, BYTES(&kind, 1), doc);
        if (st) {
                commit_abort(commit);
                return st;
        }
        TRY(commit_finish(commit, &position));
        raise_position(ret_position, position);
        return ST_OK;
}
