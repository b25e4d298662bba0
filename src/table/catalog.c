/* catalog.c - names in memory: opening, lookups, lists, and the life of a TableRef. */
#include "table/index_int.h"
#include "table/table_int.h"

#include <stdio.h>
#include <stdlib.h>

#include "table/transaction.h"
#include "table/ttl.h"
#include "table/users.h"

#define NAME_ON_STACK 256

/* --- the names' lock: many slots, so that readers on different threads do not share a cache line --- */

static unsigned my_slot(void)
{
        static atomic_uint next_slot;
        static _Thread_local unsigned slot; /* 0: none yet */
        if (unlikely(slot == 0))
                slot = 1 + atomic_fetch_add_explicit(&next_slot, 1, memory_order_relaxed) % NAMES_SLOTS;
        return slot - 1;
}

NO_TSA void names_lock(TableCatalog *catalog, unsigned *ret_slot)
{
        *ret_slot = my_slot();
        mutex_lock(&catalog->slots[*ret_slot].mu);
}

NO_TSA void names_unlock(TableCatalog *catalog, unsigned slot)
{
        mutex_unlock(&catalog->slots[slot].mu);
}

NO_TSA void names_lock_all(TableCatalog *catalog)
{
        for (unsigned i = 0; i < NAMES_SLOTS; i++)
                mutex_lock(&catalog->slots[i].mu);
}

NO_TSA void names_unlock_all(TableCatalog *catalog)
{
        for (unsigned i = NAMES_SLOTS; i > 0; i--)
                mutex_unlock(&catalog->slots[i - 1].mu);
}

/* --- keys of the maps --- */

/* "db.table" in `stack` or, when it is long, on the heap; the caller frees *ret_heap. */
static Status full_name(Bytes db, Bytes table, char stack[NAME_ON_STACK], char **ret_heap, Bytes *ret_key)
{
        size_t size = db.size + 1 + table.size;
        char *key = stack;
        *ret_heap = NULL;
        if (size > NAME_ON_STACK) {
                key = *ret_heap = mem_alloc(size);
                if (!key)
                        return status_nomem();
        }
        memcpy(key, db.data, db.size);
        key[db.size] = '.';
        memcpy(key + db.size + 1, table.data, table.size);
        *ret_key = BYTES(key, size);
        return ST_OK;
}

Database *names_db(TableCatalog *catalog, Bytes name)
{
        return map_get(catalog->databases, name);
}

TableRef *names_table(TableCatalog *catalog, Bytes db, Bytes table)
{
        char stack[NAME_ON_STACK];
        char *heap;
        Bytes key;
        Status st = full_name(db, table, stack, &heap, &key);
        if (st) { /* a name that does not fit into memory is not in the map either */
                status_ignore(st);
                return NULL;
        }
        TableRef *found = map_get(catalog->tables, key);
        mem_free(heap);
        return found;
}

Status names_put_table(TableCatalog *catalog, TableRef *table)
{
        char stack[NAME_ON_STACK];
        char *heap;
        Bytes key;
        void *old = NULL;
        TRY(full_name(table->info.db, table->info.name, stack, &heap, &key));
        Status st = map_put(catalog->tables, key, table, &old);
        mem_free(heap);
        if (!st && old)
                catalog_table_unref(old);
        return st;
}

void names_remove_table(TableCatalog *catalog, Bytes db, Bytes name)
{
        char stack[NAME_ON_STACK];
        char *heap;
        Bytes key;
        Status st = full_name(db, name, stack, &heap, &key);
        if (st) {
                status_ignore(st);
                return;
        }
        TableRef *old = map_remove(catalog->tables, key);
        mem_free(heap);
        if (old)
                catalog_table_unref(old);
}

/* --- TableRef --- */

static Bytes copy_text(char **at, Bytes text)
{
        if (text.size)
                memcpy(*at, text.data, text.size);
        Bytes copy = BYTES(*at, text.size);
        (*at)[text.size] = 0;
        *at += text.size + 1;
        return copy;
}

/* Its schema, and the state that it shares with the table's other TableRefs. */
static Status give_state(TableCatalog *catalog, const TableSettings *settings, TableRef *table)
{
        if (settings->schema)
                table->schema = schema_ref(settings->schema);
        else
                TRY(schema_new(schema_version(catalog), &(SchemaSpec){0}, &table->schema));
        if (settings->state)
                table->state = table_state_ref(settings->state);
        else
                TRY(table_state_new(table->schema, &table->state));
        return ST_OK;
}

Status table_ref_new(TableCatalog *catalog, const TableSettings *settings, StoreTable *store, TableRef **ret_table)
{
        size_t bytes = sizeof(TableRef) + settings->db.size + settings->name.size + settings->primary_key.size +
                       settings->id.size + 4;
        TableRef *table = mem_zalloc(bytes);
        if (!table) {
                store_table_unref(store);
                return status_nomem();
        }
        char *at = (char *)(table + 1);
        atomic_init(&table->refs, 1);
        table->catalog = catalog;
        table->info.db = copy_text(&at, settings->db);
        table->info.name = copy_text(&at, settings->name);
        table->info.primary_key = copy_text(&at, settings->primary_key);
        table->info.id = copy_text(&at, settings->id);
        table->info.hard_durability = settings->hard;
        table->database = settings->database;
        if (settings->database)
                memcpy(table->db_id, settings->database->id, sizeof table->db_id);
        table->store = store;
        table->store_id = settings->store_id;
        table->engine = settings->engine;
        table->shard_count = settings->shard_count;
        table->ack_single = settings->ack_single;
        table->info.shard_count = settings->shard_count;
        if (store) {
                Status st = settings->counts ? ST_OK : counts_new(catalog, &table->counts);
                if (st) {
                        catalog_table_unref(table);
                        return st;
                }
                if (settings->counts)
                        table->counts = counts_ref(settings->counts);
                st = give_state(catalog, settings, table);
                if (st) {
                        catalog_table_unref(table);
                        return st;
                }
        }
        *ret_table = table;
        return ST_OK;
}

TableSettings table_settings(const TableRef *table)
{
        return (TableSettings){.db = table->info.db,
                               .name = table->info.name,
                               .primary_key = table->info.primary_key,
                               .id = table->info.id,
                               .database = table->database,
                               .store_id = table->store_id,
                               .engine = table->engine,
                               .shard_count = table->shard_count,
                               .hard = table->info.hard_durability,
                               .counts = table->counts,
                               .state = table->state,
                               .schema = table->schema,
                               .ack_single = table->ack_single};
}

TableRef *catalog_table_ref(TableRef *table)
{
        atomic_fetch_add_explicit(&table->refs, 1, memory_order_relaxed);
        return table;
}

void catalog_table_unref(TableRef *table)
{
        if (!table || atomic_fetch_sub_explicit(&table->refs, 1, memory_order_acq_rel) != 1)
                return;
        store_table_unref(table->store);
        counts_unref(table->counts);
        table_state_unref(table->state);
        schema_unref(table->schema);
        mem_free(table);
}

static const TableInfo *catalog_table_info(TableRef *table)
{
        return &table->info;
}

Database *database_free(Database *database)
{
        if (database) {
                mem_free(database->name);
                mem_free(database);
        }
        return NULL;
}

/* --- lookups --- */

static bool is_system_db(Bytes name)
{
        return bytes_equal(name, BYTES_STR(SYSTEM_DB));
}

static Status no_such_db(Bytes name)
{
        return status_new(ERR_OP_FAILED, "Database `%.*s` does not exist.", (int)name.size, (const char *)name.data);
}

static Status no_such_table(Bytes db, Bytes table)
{
        return status_new(ERR_OP_FAILED, "Table `%.*s.%.*s` does not exist.", (int)db.size, (const char *)db.data,
                          (int)table.size, (const char *)table.data);
}

Status catalog_table_find(void *ctx, Bytes db, Bytes table, TableRef **ret_table)
{
        TableCatalog *catalog = ctx;
        unsigned slot;
        names_lock(catalog, &slot);
        TableRef *found = names_table(catalog, db, table);
        if (found)
                catalog_table_ref(found);
        bool has_db = found || names_db(catalog, db);
        names_unlock(catalog, slot);
        if (!found && is_system_db(db)) {
                found = system_find(catalog, table);
                has_db = true;
        }
        if (!found)
                return has_db ? no_such_table(db, table) : no_such_db(db);
        *ret_table = found;
        return ST_OK;
}

Status catalog_db_check(void *ctx, Bytes db)
{
        TableCatalog *catalog = ctx;
        unsigned slot;
        names_lock(catalog, &slot);
        bool found = names_db(catalog, db) != NULL;
        names_unlock(catalog, slot);
        return found || is_system_db(db) ? ST_OK : no_such_db(db);
}

Status catalog_db_id(void *ctx, Bytes db, Arena *arena, Value *ret_id)
{
        TableCatalog *catalog = ctx;
        char id[UUID_TEXT_BYTES + 1] = SYSTEM_DB_ID;
        if (!is_system_db(db)) {
                unsigned slot;
                names_lock(catalog, &slot);
                Database *found = names_db(catalog, db);
                if (found)
                        memcpy(id, found->id, sizeof id);
                names_unlock(catalog, slot);
                if (!found)
                        return no_such_db(db);
        }
        *ret_id = value_string(BYTES(arena_dup(arena, id, UUID_TEXT_BYTES), UUID_TEXT_BYTES));
        return ST_OK;
}

/* --- walks --- */

static int compare_strings(const void *a, const void *b)
{
        return value_compare(*(const Value *)a, *(const Value *)b);
}

/* Nothing may longjmp out of an arena while a slot is locked: names are copied to the heap first, with this. */
typedef struct NameList {
        Bytes *items;
        size_t count, capacity;
} NameList;

static void name_list_done(NameList *list)
{
        for (size_t i = 0; i < list->count; i++)
                mem_free((void *)list->items[i].data);
        mem_free(list->items);
}

static Status name_list_add(NameList *list, Bytes name)
{
        if (list->count == list->capacity) {
                size_t capacity = list->capacity ? 2 * list->capacity : 16;
                Bytes *items = mem_realloc(list->items, capacity * sizeof *items);
                if (!items)
                        return status_nomem();
                list->items = items;
                list->capacity = capacity;
        }
        uint8_t *copy = mem_alloc(name.size + 1);
        if (!copy)
                return status_nomem();
        memcpy(copy, name.data, name.size);
        list->items[list->count++] = BYTES(copy, name.size);
        return ST_OK;
}

/* Moves the names into `arena`, which may longjmp: so only when they fit is the heap list left behind. */
static Status names_to_value(NameList *list, Arena *arena, Value *ret_names)
{
        size_t bytes = 0;
        for (size_t i = 0; i < list->count; i++)
                bytes += list->items[i].size;
        char *text = arena_try_alloc(arena, bytes);
        Value *items = arena_try_alloc(arena, list->count * sizeof *items);
        if (!text || !items)
                return status_nomem();
        for (size_t i = 0; i < list->count; i++) {
                memcpy(text, list->items[i].data, list->items[i].size);
                items[i] = value_string(BYTES(text, list->items[i].size));
                text += list->items[i].size;
        }
        if (list->count)
                qsort(items, list->count, sizeof *items, compare_strings);
        *ret_names = value_array(items, list->count);
        return ST_OK;
}

Status catalog_db_list(void *ctx, Arena *arena, Value *ret_names)
{
        TableCatalog *catalog = ctx;
        _cleanup_(name_list_done) NameList list = {0};
        unsigned slot;
        size_t cursor = 0;
        Bytes name;
        void *ignored;
        Status st = ST_OK;
        TRY(name_list_add(&list, BYTES_STR(SYSTEM_DB)));
        names_lock(catalog, &slot);
        while (!st && map_next(catalog->databases, &cursor, &name, &ignored))
                st = name_list_add(&list, name);
        names_unlock(catalog, slot);
        TRY(st);
        return names_to_value(&list, arena, ret_names);
}

Status catalog_table_list(void *ctx, Bytes db, Arena *arena, Value *ret_names)
{
        TableCatalog *catalog = ctx;
        if (is_system_db(db)) {
                *ret_names = system_table_names(catalog, arena);
                return ST_OK;
        }
        _cleanup_(name_list_done) NameList list = {0};
        unsigned slot;
        size_t cursor = 0;
        Bytes name;
        void *value;
        Status st = ST_OK;
        names_lock(catalog, &slot);
        bool found = names_db(catalog, db) != NULL;
        while (!st && map_next(catalog->tables, &cursor, &name, &value)) {
                TableRef *table = value;
                if (bytes_equal(table->info.db, db))
                        st = name_list_add(&list, table->info.name);
        }
        names_unlock(catalog, slot);
        TRY(st);
        return found ? names_to_value(&list, arena, ret_names) : no_such_db(db);
}

static int compare_tables(const void *a, const void *b)
{
        const TableRef *x = *(TableRef *const *)a, *y = *(TableRef *const *)b;
        return bytes_compare(x->info.id, y->info.id);
}

Status catalog_each_table(TableCatalog *catalog, Status (*each)(void *ctx, TableRef *table), void *ctx)
{
        unsigned slot;
        size_t cursor = 0, count = 0;
        Bytes name;
        void *value;
        names_lock(catalog, &slot);
        TableRef **tables = mem_alloc((map_count(catalog->tables) + 1) * sizeof *tables);
        while (tables && map_next(catalog->tables, &cursor, &name, &value))
                tables[count++] = catalog_table_ref(value);
        names_unlock(catalog, slot);
        if (!tables)
                return status_nomem();
        qsort(tables, count, sizeof *tables, compare_tables);
        Status st = ST_OK;
        for (size_t i = 0; i < count; i++) {
                if (!st)
                        st = each(ctx, tables[i]);
                catalog_table_unref(tables[i]);
        }
        mem_free(tables);
        return st;
}

Status catalog_each_db(TableCatalog *catalog, Status (*each)(void *ctx, Bytes id, Bytes name), void *ctx)
{
        _cleanup_(name_list_done) NameList list = {0}; /* id, name, id, name ... */
        unsigned slot;
        size_t cursor = 0;
        Bytes name;
        void *value;
        Status st = ST_OK;
        names_lock(catalog, &slot);
        while (!st && map_next(catalog->databases, &cursor, &name, &value)) {
                st = name_list_add(&list, BYTES(((Database *)value)->id, UUID_TEXT_BYTES));
                if (!st)
                        st = name_list_add(&list, name);
        }
        names_unlock(catalog, slot);
        for (size_t i = 0; !st && i + 1 < list.count; i += 2)
                st = each(ctx, list.items[i], list.items[i + 1]);
        return st;
}

void table_source_counts(TableCatalog *catalog, size_t *ret_db_count, size_t *ret_table_count)
{
        unsigned slot;
        names_lock(catalog, &slot);
        *ret_db_count = map_count(catalog->databases);
        *ret_table_count = map_count(catalog->tables);
        names_unlock(catalog, slot);
}

typedef struct SourceEach {
        Status (*each)(void *ctx, const TableInfo *info, const char *engine, StoreTable *table);
        void *ctx;
} SourceEach;

static Status source_each_table(void *ctx, TableRef *table)
{
        const SourceEach *source = ctx;
        return source->each(source->ctx, &table->info, table->engine, table->store);
}

Status table_source_each(TableCatalog *catalog,
                         Status (*each)(void *ctx, const TableInfo *info, const char *engine, StoreTable *table),
                         void *ctx)
{
        return catalog_each_table(catalog, source_each_table, &(SourceEach){each, ctx});
}

Status uuid_new(TableCatalog *catalog, char *out)
{
        uint8_t r[16];
        TRY_CTX(catalog->host->random(catalog->host->ctx, r, sizeof r), "making a uuid");
        r[6] = (uint8_t)((r[6] & 0x0f) | 0x40);
        r[8] = (uint8_t)((r[8] & 0x3f) | 0x80);
        snprintf(out, UUID_TEXT_BYTES + 1, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", r[0],
                 r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13], r[14], r[15]);
        return ST_OK;
}

/* --- loading --- */

static Status broken(Bytes key, const char *what)
{
        return status_new(ERR_CORRUPT, "the catalog's document `%.*s` %s", (int)key.size, (const char *)key.data, what);
}

static Status text_of(Bytes key, Value doc, const char *field, Bytes *ret_text)
{
        Value v = value_get_str(doc, field);
        if (!value_is(v, V_STRING))
                return broken(key, "lacks a text that belongs there");
        *ret_text = value_bytes(v);
        return ST_OK;
}

static Status load_database(TableCatalog *catalog, Bytes key, Value doc)
{
        Bytes id, name;
        void *old = NULL;
        TRY(text_of(key, doc, "id", &id));
        TRY(text_of(key, doc, "name", &name));
        if (id.size != UUID_TEXT_BYTES)
                return broken(key, "has no uuid");
        Database *database = mem_zalloc(sizeof *database);
        if (!database)
                return status_nomem();
        memcpy(database->id, id.data, id.size);
        database->name = mem_alloc(name.size + 1);
        Status st = ST_OK;
        if (database->name) {
                memcpy(database->name, name.data, name.size);
                database->name[name.size] = 0;
                st = map_put(catalog->databases, name, database, &old);
        } else {
                st = status_nomem();
        }
        if (st)
                database_free(database);
        database_free(old);
        return st ? st : old ? broken(key, "has the name of another database") : ST_OK;
}

static Database *database_by_id(TableCatalog *catalog, Bytes id)
{
        size_t cursor = 0;
        Bytes name;
        void *value;
        while (map_next(catalog->databases, &cursor, &name, &value))
                if (bytes_equal(BYTES(((Database *)value)->id, UUID_TEXT_BYTES), id))
                        return value;
        return NULL;
}

const char *engine_named(Bytes name)
{
        const EngineOps *ops;
        for (size_t i = 0; (ops = engine_at(i)); i++)
                if (bytes_equal(name, BYTES_STR(ops->name)))
                        return ops->name;
        return NULL;
}

static Status load_table(TableCatalog *catalog, Bytes key, Value doc)
{
        Bytes db_id, durability, acks, engine;
        int64_t store_id, shards;
        TableSettings s = {0};
        TRY(text_of(key, doc, "id", &s.id));
        TRY(text_of(key, doc, "name", &s.name));
        TRY(text_of(key, doc, "db", &db_id));
        TRY(text_of(key, doc, "primary_key", &s.primary_key));
        TRY(text_of(key, doc, "durability", &durability));
        TRY(text_of(key, doc, "write_acks", &acks));
        TRY(text_of(key, doc, "engine", &engine));
        if (!value_integer(value_get_str(doc, "store_id"), &store_id) ||
            !value_integer(value_get_str(doc, "shards"), &shards))
                return broken(key, "lacks a number that belongs there");
        s.database = database_by_id(catalog, db_id);
        if (!s.database)
                return broken(key, "names a database that does not exist");
        s.db = BYTES_STR(s.database->name);
        s.store_id = (uint64_t)store_id;
        s.shard_count = (unsigned)shards;
        s.hard = bytes_equal(durability, BYTES_STR("hard"));
        s.ack_single = bytes_equal(acks, BYTES_STR("single"));
        s.engine = engine_named(engine);
        if (!s.engine)
                return broken(key, "names a storage engine that this program does not have");
        _cleanup_(schema_unrefp) Schema *schema = NULL;
        TRY_CTX(schema_decode(schema_version(catalog), doc, &schema), "reading the catalog's document `%.*s`",
                (int)key.size, (const char *)key.data);
        s.schema = schema;
        StoreTable *store = store_table_ref(catalog->store, s.store_id);
        if (!store)
                return broken(key, "names a table that is not in the store");
        TableRef *table;
        TRY(table_ref_new(catalog, &s, store, &table));
        if (names_table(catalog, s.db, s.name)) {
                catalog_table_unref(table);
                return broken(key, "has the name of another table");
        }
        Status st = names_put_table(catalog, table);
        if (st)
                catalog_table_unref(table);
        return st;
}

static Status load_document(TableCatalog *catalog, Bytes key, Bytes bytes, char pass)
{
        if (key.size == 0 || key.data[0] != pass)
                return ST_OK;
        if (!value_validate(bytes.data, bytes.size))
                return broken(key, "is not a document");
        Value doc = value_decode(bytes.data);
        if (!value_is(doc, V_OBJECT))
                return broken(key, "is not an object");
        switch (pass) {
        case 'd': return load_database(catalog, key, doc);
        case 't': return load_table(catalog, key, doc);
        case 'u': return users_load(catalog, key, doc);
        case 's':
        case 'c': return system_load_settings(catalog, pass, doc);
        case 'm': {
                int64_t format, next;
                if (!value_integer(value_get_str(doc, "format"), &format) ||
                    !value_integer(value_get_str(doc, "next_store_id"), &next))
                        return broken(key, "lacks a number that belongs there");
                if (format != CATALOG_FORMAT)
                        return status_new(ERR_VERSION, "the catalog has format %d, this program knows %d", (int)format,
                                          CATALOG_FORMAT);
                catalog->next_store_id = (uint64_t)next;
                return ST_OK;
        }
        default: return ST_OK;
        }
}

static Status load_pass(TableCatalog *catalog, Snapshot *snapshot, char pass)
{
        Arena hold;
        Cursor *cursor = NULL;
        arena_init(&hold, 0);
        Status st = cursor_open(snapshot, (EngineRange){0}, false, &cursor);
        while (!st) {
                Bytes key, bytes;
                bool found;
                arena_reset(&hold);
                st = cursor_next(cursor, &hold, &key, &bytes, &found);
                if (st || !found)
                        break;
                st = load_document(catalog, key, bytes, pass);
        }
        cursor_close(cursor);
        arena_done(&hold);
        return st;
}

Status catalog_load(TableCatalog *catalog)
{
        Snapshot *snapshot = NULL;
        TRY(store_pin(catalog->documents, &snapshot));
        Status st = load_pass(catalog, snapshot, 'm');
        if (!st)
                st = load_pass(catalog, snapshot, 'd');
        if (!st)
                st = load_pass(catalog, snapshot, 't');
        if (!st)
                st = load_pass(catalog, snapshot, 'u');
        if (!st)
                st = users_loaded(catalog);
        if (!st)
                st = load_pass(catalog, snapshot, 's');
        if (!st)
                st = load_pass(catalog, snapshot, 'c');
        store_unpin(snapshot);
        if (!st && catalog->next_store_id < FIRST_TABLE_ID)
                st = status_new(ERR_CORRUPT, "the catalog does not say which table number is next");
        return st;
}

void catalog_forget(TableCatalog *catalog)
{
        size_t cursor = 0;
        Bytes name;
        void *value;
        while (catalog->tables && map_next(catalog->tables, &cursor, &name, &value))
                catalog_table_unref(value);
        cursor = 0;
        while (catalog->databases && map_next(catalog->databases, &cursor, &name, &value))
                database_free(value);
        users_forget(catalog);
        catalog->tables = map_free(catalog->tables);
        catalog->databases = map_free(catalog->databases);
}

/* --- open and close --- */

Status table_source_open(Store *store, const HostOps *host, const char *engine, TableCatalog **ret_catalog)
{
        return catalog_open(store, host, engine, false, ret_catalog);
}

Status catalog_open(Store *store, const HostOps *host, const char *engine, bool by_hand, TableCatalog **ret_catalog)
{
        _cleanup_(table_source_closep) TableCatalog *catalog = mem_zalloc(sizeof *catalog);
        if (!catalog)
                return status_nomem();
        catalog->store = store;
        catalog->host = host;
        catalog->engine = engine_named(BYTES_STR(engine ? engine : DEFAULT_ENGINE));
        if (!catalog->engine)
                return status_new(ERR_INVALID, "there is no storage engine \"%s\"", engine);
        catalog->by_hand = by_hand;
        mutex_init(&catalog->ddl_mu);
        mutex_init(&catalog->scratch_mu);
        mutex_init(&catalog->watch_mu);
        for (unsigned i = 0; i < NAMES_SLOTS; i++)
                mutex_init(&catalog->slots[i].mu);
        TRY(map_new(&catalog->tables));
        TRY(map_new(&catalog->databases));
        TRY(map_new(&catalog->users));
        TRY(transactions_new(catalog, &catalog->transactions));
        TRY(system_init(catalog));

        catalog->documents = store_table_ref(store, CATALOG_TABLE_ID);
        if (!catalog->documents) {
                TRY_CTX(ddl_create_catalog(catalog), "creating the catalog");
                catalog->documents = store_table_ref(store, CATALOG_TABLE_ID);
                if (!catalog->documents)
                        return status_new(ERR_CORRUPT, "the store did not keep the catalog");
        }
        TRY_CTX(catalog_load(catalog), "reading the catalog");
        catalog->builder = builder_new(catalog, by_hand);
        if (!catalog->builder)
                return status_nomem();
        catalog->expirer = expirer_new(catalog, by_hand);
        if (!catalog->expirer)
                return status_nomem();
        TRY_CTX(build_recover(catalog), "beginning unfinished indexes anew");
        TRY(ttl_start(catalog));

        TableSource *source = &catalog->source;
        source->ctx = catalog;
        source->table_find = catalog_table_find;
        source->db_check = catalog_db_check;
        source->table_ref = catalog_table_ref;
        source->table_unref = catalog_table_unref;
        source->table_info = catalog_table_info;
        read_fill(source);
        source->write = table_write;
        source->sync = table_sync;
        source->db_create = ddl_db_create;
        source->db_drop = ddl_db_drop;
        source->db_list = catalog_db_list;
        source->table_create = ddl_table_create;
        source->table_drop = ddl_table_drop;
        source->table_list = catalog_table_list;
        source->config = system_config;
        source->status = system_status;
        source->db_id = catalog_db_id;
        source->table_with_uuids = system_with_uuids;
        source->permit = users_permit;
        source->permit_table = users_permit_table;
        source->grant = users_grant;
        source->reconfigure = placement_reconfigure;
        source->rebalance = placement_rebalance;
        index_ddl_fill(source);
        transactions_fill(source);
        *ret_catalog = take(catalog);
        return ST_OK;
}

TableCatalog *table_source_close(TableCatalog *catalog)
{
        if (!catalog)
                return NULL;
        catalog->transactions = transactions_free(catalog->transactions);
        catalog->builder = builder_free(catalog->builder);
        catalog->expirer = expirer_free(catalog->expirer);
        catalog_forget(catalog);
        system_done(catalog);
        store_table_unref(catalog->documents);
        for (unsigned i = 0; i < NAMES_SLOTS; i++)
                mutex_done(&catalog->slots[i].mu);
        mutex_done(&catalog->watch_mu);
        mutex_done(&catalog->scratch_mu);
        mutex_done(&catalog->ddl_mu);
        mem_free(catalog);
        return NULL;
}

const TableSource *table_source(const TableCatalog *catalog)
{
        return &catalog->source;
}
