/* system.c - database `rethinkdb`: its tables by name, reading them as rows made when a view is opened, and writes that
 * become changes of settings. What a table holds is in the other system_*.c. */
#include "table/system_int.h"

#include <stdlib.h>

#include "value/json.h"
#include "value/key.h"

static const SystemTable *const system_tables[] = {
        &system_debug_scratch, &system_cluster_config, &system_current_issues, &system_db_config_table, &system_jobs,
        &system_logs,          &system_permissions,    &system_server_config,  &system_server_status,   &system_stats,
        &system_table_config,  &system_table_status,   &system_transactions,   &system_users,
};
_Static_assert(ELEMENTS(system_tables) <= ELEMENTS(((TableCatalog *)0)->system), "room for every system table");

/* --- for builders of rows --- */

Value system_text(Arena *arena, Bytes s)
{
        return value_string(BYTES(arena_dup(arena, s.data, s.size), s.size));
}

Value system_printed(Arena *arena, const char *s)
{
        return system_text(arena, BYTES_STR(s));
}

Value system_server(const TableCatalog *catalog, bool uuids)
{
        return value_str(uuids ? catalog->host->server_id : server_name(catalog));
}

Value system_one(Arena *arena, Value item)
{
        Value *items = arena_array(arena, Value, 1);
        items[0] = item;
        return value_array(items, 1);
}

Value system_db_of(const TableRef *table, bool uuids, Arena *arena)
{
        return system_text(arena, uuids ? BYTES(table->db_id, UUID_TEXT_BYTES) : table->info.db);
}

Value system_table_of(const TableRef *table, bool uuids, Arena *arena)
{
        return system_text(arena, uuids ? table->info.id : table->info.name);
}

/* --- reading rows that users wrote --- */

Status fields_wrong(const SystemFields *fields, const char *in, const char *message, Value got)
{
        Bytes text = value_is(got, V_NONE) ? BYTES_NONE : json_text(got, fields->arena);
        return status_new(ERR_OP_FAILED, "%s%s%s%s%s%.*s", fields->prefix, in ? "In `" : "", in ? in : "",
                          in ? "`: " : "", message, (int)text.size, (const char *)text.data);
}

bool fields_has(const SystemFields *fields, const char *name)
{
        return !value_is(value_get_str(fields->row, name), V_NONE);
}

Status fields_get(SystemFields *fields, const char *name, Value *ret)
{
        for (size_t i = 0; i < value_count(fields->row) && i < 64; i++) {
                Bytes key;
                *ret = value_field_at(fields->row, i, &key);
                if (!bytes_equal(key, BYTES_STR(name)))
                        continue;
                fields->seen |= (uint64_t)1 << i;
                return ST_OK;
        }
        return status_new(ERR_OP_FAILED, "%sExpected a field named `%s`.", fields->prefix, name);
}

Status fields_check_name(SystemFields *fields, const char *in, const char *what, Value v, Bytes *ret)
{
        if (!value_is(v, V_STRING))
                return fields_wrong(fields, in, arena_printf(fields->arena, "Expected a %s; got ", what), v);
        *ret = value_bytes(v);
        if (source_name_valid(*ret))
                return ST_OK;
        Bytes text = json_text(v, fields->arena);
        return fields_wrong(fields, in,
                            arena_printf(fields->arena, "%.*s is not a valid %s; " SOURCE_NAME_RULE, (int)text.size,
                                         (const char *)text.data, what),
                            value_none());
}

Status fields_name(SystemFields *fields, const char *field, const char *what, Bytes *ret)
{
        Value v;
        TRY(fields_get(fields, field, &v));
        return fields_check_name(fields, field, what, v, ret);
}

Status fields_no_others(const SystemFields *fields)
{
        char *list = NULL;
        for (size_t i = 0; i < value_count(fields->row); i++) {
                Bytes key;
                (void)value_field_at(fields->row, i, &key);
                if (i < 64 && (fields->seen >> i & 1))
                        continue;
                list = arena_printf(fields->arena, "%s %.*s", list ? list : "", (int)key.size, (const char *)key.data);
        }
        return list ? status_new(ERR_OP_FAILED, "%sUnexpected key(s):%s", fields->prefix, list) : ST_OK;
}

/* --- reading --- */

static Value build_key(void *ctx, Arena *arena)
{
        return value_binary(key_encode(value_get(*(Value *)ctx, BYTES_STR("id")), arena));
}

Status system_add(SystemCollector *c, Value (*build)(void *ctx, Arena *arena), void *ctx)
{
        Value row, key;
        TRY(build_guarded(c->arena, build, ctx, &row));
        TRY(build_guarded(c->arena, build_key, &row, &key));
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

static int compare_rows(const void *a, const void *b)
{
        return bytes_compare(((const SystemRow *)a)->key, ((const SystemRow *)b)->key);
}

Status system_rows(TableRef *table, const char *user, Arena *arena, SystemRow **ret_rows, size_t *ret_count,
                   uint64_t *ret_version)
{
        static atomic_uint_fast64_t versions; /* never repeats, so no two views are taken for equal */
        SystemCollector c = {.table = table, .user = user, .arena = arena};
        Status st = table->system->collect(&c);
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

/* --- whoever follows them --- */

void table_source_watch_system(TableCatalog *catalog, void (*changed)(void *ctx), void *ctx)
{
        mutex_lock(&catalog->watch_mu);
        catalog->changed = changed;
        catalog->changed_ctx = ctx;
        mutex_unlock(&catalog->watch_mu);
}

bool table_source_is_system(const TableRef *table, unsigned *ret_look_ms)
{
        if (!table->system)
                return false;
        *ret_look_ms = table->system->look_ms;
        return true;
}

void catalog_note_change(TableCatalog *catalog)
{
        mutex_lock(&catalog->watch_mu);
        if (catalog->changed)
                catalog->changed(catalog->changed_ctx);
        mutex_unlock(&catalog->watch_mu);
}

void ddl_end(TableCatalog *catalog)
{
        mutex_unlock(&catalog->ddl_mu);
        catalog_note_change(catalog);
}

/* --- the tables by name --- */

static Status system_table_new(TableCatalog *catalog, const SystemTable *system, bool uuids, TableRef **ret_table)
{
        TableSettings s = {
                .db = BYTES_STR(SYSTEM_DB),
                .name = BYTES_STR(system->name),
                .primary_key = BYTES_STR("id"),
                .id = BYTES_STR(system->id),
                .hard = true,
                .shard_count = 1,
        };
        TRY(table_ref_new(catalog, &s, NULL, ret_table));
        (*ret_table)->system = system;
        (*ret_table)->uuids = uuids;
        return ST_OK;
}

Status system_tables_init(TableCatalog *catalog)
{
        for (size_t i = 0; i < ELEMENTS(system_tables); i++) {
                TRY(system_table_new(catalog, system_tables[i], false, &catalog->system[i]));
                catalog->system_count++;
                TRY(system_table_new(catalog, system_tables[i], true, &catalog->system[i]->with_uuids));
        }
        return ST_OK;
}

void system_tables_done(TableCatalog *catalog)
{
        for (size_t i = 0; i < catalog->system_count; i++) {
                catalog_table_unref(catalog->system[i]->with_uuids);
                catalog_table_unref(catalog->system[i]);
        }
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

/* Tables that RethinkDB does not have are not told: applications compare this list. */
Value system_table_names(TableCatalog *catalog, Arena *arena)
{
        ArrayBuilder names;
        array_init(&names, arena, catalog->system_count);
        for (size_t i = 0; i < catalog->system_count; i++)
                if (system_tables[i]->name[0] != '_' && !system_tables[i]->unlisted)
                        array_add(&names, value_str(system_tables[i]->name));
        return array_take(&names);
}

/* --- writing --- */

static Status refuse(const SystemTable *system)
{
        if (system->read_only)
                return status_new(ERR_OP_FAILED, "%s", system->read_only);
        return status_new(ERR_OP_FAILED, "It's illegal to write to the `" SYSTEM_DB ".%s` table.", system->name);
}

static Status system_write_row(TableRef *table, Value key, size_t index, RowChange change, void *change_ctx,
                               const WriteOptions *options, Arena *arena, RowOutcome *out, uint64_t *ret_position)
{
        Bytes key_bytes;
        SystemRow *rows;
        size_t count;
        uint64_t version;
        Value old_row = value_null(), new_row;
        out->bad_key = true;
        TRY(key_encode_primary(key, arena, &key_bytes));
        out->bad_key = false;
        TRY(system_rows(table, options->user, arena, &rows, &count, &version));
        for (size_t i = 0; i < count; i++)
                if (bytes_equal(rows[i].key, key_bytes))
                        old_row = rows[i].row;
        out->old_row = out->new_row = old_row;
        TRY(change(change_ctx, index, old_row, arena, &new_row));
        TRY(row_check(&table->info, key_bytes, old_row, new_row, arena));
        bool had = !value_is(old_row, V_NULL), has = !value_is(new_row, V_NULL);
        bool same = had == has && (!has || value_equal(old_row, new_row));
        if (same && !table->system->asks_always) {
                out->effect = has ? ROW_UNCHANGED : ROW_SKIPPED;
                return ST_OK;
        }
        if (!table->system->write)
                return refuse(table->system);
        SystemWrite w = {.table = table,
                         .key = key_bytes,
                         .id = key,
                         .old_row = old_row,
                         .new_row = new_row,
                         .generated = options->generated && options->generated[index],
                         .deletes = options->deletes,
                         .user = options->user ? options->user : "admin",
                         .transaction = options->transaction,
                         .connection = options->connection,
                         .arena = arena,
                         .position = ret_position,
                         .ret_row = &new_row};
        TRY(table->system->write(&w));
        catalog_note_change(table->catalog);
        out->new_row = new_row;
        has = !value_is(new_row, V_NULL);
        if (had == has && (!has || value_equal(old_row, new_row)))
                out->effect = has ? ROW_UNCHANGED : ROW_SKIPPED;
        else
                out->effect = !had ? ROW_INSERTED : !has ? ROW_DELETED : ROW_REPLACED;
        return ST_OK;
}

Status system_write(TableRef *table, const Value *keys, size_t count, RowChange change, void *change_ctx,
                    const WriteOptions *options, Arena *arena, RowOutcome *outcomes, uint64_t *ret_position)
{
        if (options->transaction && !table->system->in_transactions)
                return status_new(ERR_OP_FAILED,
                                  "The system table `" SYSTEM_DB ".%s` cannot be written to within a transaction.",
                                  table->system->name);
        for (size_t i = 0; i < count; i++) {
                outcomes[i] = (RowOutcome){.effect = ROW_FAILED, .old_row = value_null(), .new_row = value_null()};
                Status st = system_write_row(table, keys[i], i, change, change_ctx, options, arena, &outcomes[i],
                                             ret_position);
                if (status_code(st) == ERR_NOMEM || status_code(st) == ERR_CANCELLED ||
                    status_code(st) == ERR_PERMISSION || status_code(st) == ERR_CONFLICT ||
                    (st && table->system->strict))
                        return st; /* of the query, not of a row */
                outcomes[i].error = st;
                if (st)
                        outcomes[i].effect = ROW_FAILED;
        }
        return ST_OK;
}
