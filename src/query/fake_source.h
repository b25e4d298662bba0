/* fake_source.h - for tests and fuzzing: tables in memory that can be read, and counts of what is open. */
#ifndef QUERY_FAKE_SOURCE_H
#define QUERY_FAKE_SOURCE_H

#include <stdlib.h>

#include "base/mem.h"
#include "query/query.h"
#include "value/json.h"
#include "value/key.h"

typedef struct FakeEntry {
        Value value, row;
} FakeEntry;
typedef struct FakeIndex {
        FakeEntry *entries; /* sorted by value, then by primary key */
        size_t count;
} FakeIndex;
struct TableRef {
        TableInfo info;
        Value rows; /* array, sorted by primary key */
        int refs;
        IndexInfo infos[8]; /* in order of name, if they were added so */
        FakeIndex indexes[8];
        size_t index_count;
};
struct TableView {
        TableRef *table;
};
struct TableScan {
        TableView *view;
        const FakeIndex *index; /* NULL: the primary key */
        size_t next, end;
        bool descending;
        Value value; /* of the last row */
};

typedef struct Fake {
        Arena arena;
        TableRef tables[4];
        size_t table_count;
        int open_views, open_scans;
        Bytes saved; /* the function of the last index_create or set_write_hook: nothing else comes of it */
        int finds;
} Fake;
static Fake fake;

static int fake_compare(const void *a, const void *b)
{
        return value_compare(value_get_str(*(const Value *)a, "id"), value_get_str(*(const Value *)b, "id"));
}

static inline void fake_add(const char *name, const char *rows)
{
        TableRef *table = &fake.tables[fake.table_count++];
        Value parsed;
        status_ignore(json_parse_copy(BYTES_STR(rows), JSON_PSEUDO, &fake.arena, &parsed));
        Value *sorted = arena_array(&fake.arena, Value, value_count(parsed));
        for (size_t i = 0; i < value_count(parsed); i++)
                sorted[i] = value_at(parsed, i);
        qsort(sorted, value_count(parsed), sizeof *sorted, fake_compare);
        table->rows = value_array(sorted, value_count(parsed));
        table->info = (TableInfo){
                .db = BYTES_STR("test"), .name = BYTES_STR(name), .primary_key = BYTES_STR("id"), .id = BYTES_STR("0")};
}

static int fake_compare_entries(const void *a, const void *b)
{
        const FakeEntry *left = a, *right = b;
        int order = value_compare(left->value, right->value);
        return order ? order : fake_compare(&left->row, &right->row);
}

/* An index on a field of the table that was added last; `multi`: its elements, if it is an array. */
static inline void fake_add_index(const char *field, bool multi, bool geo)
{
        TableRef *table = &fake.tables[fake.table_count - 1];
        FakeIndex *index = &table->indexes[table->index_count];
        table->infos[table->index_count++] = (IndexInfo){BYTES_STR(field), multi, geo, true};
        index->entries = arena_array(&fake.arena, FakeEntry, 16 * value_count(table->rows));
        for (size_t i = 0; i < value_count(table->rows); i++) {
                Value row = value_at(table->rows, i), value = value_get_str(row, field);
                bool many = multi && value_is(value, V_ARRAY);
                for (size_t j = 0; j < (many ? value_count(value) : 1); j++) {
                        Value v = many ? value_at(value, j) : value;
                        if (geo ? value_is(v, V_GEOMETRY) : key_is_secondary(v))
                                index->entries[index->count++] = (FakeEntry){v, row};
                }
        }
        if (index->count)
                qsort(index->entries, index->count, sizeof *index->entries, fake_compare_entries);
}

static Status fake_db_check(void *ctx, Bytes db)
{
        if (bytes_equal(db, BYTES_STR("test")))
                return ST_OK;
        return status_new(ERR_OP_FAILED, "Database `%.*s` does not exist.", (int)db.size, (const char *)db.data);
}
static Status fake_find(void *ctx, Bytes db, Bytes name, TableRef **ret)
{
        TRY(fake_db_check(ctx, db));
        for (size_t i = 0; i < fake.table_count; i++) {
                if (!bytes_equal(fake.tables[i].info.name, name))
                        continue;
                fake.finds++;
                fake.tables[i].refs++;
                *ret = &fake.tables[i];
                return ST_OK;
        }
        return status_new(ERR_OP_FAILED, "Table `%.*s.%.*s` does not exist.", (int)db.size, (const char *)db.data,
                          (int)name.size, (const char *)name.data);
}
static TableRef *fake_ref(TableRef *table)
{
        table->refs++;
        return table;
}
static void fake_unref(TableRef *table)
{
        table->refs--;
}
static const TableInfo *fake_info(TableRef *table)
{
        return &table->info;
}
static Status fake_view_open(TableRef *table, TableView **ret)
{
        TableView *view = mem_alloc(sizeof *view);
        if (!view)
                return status_nomem();
        view->table = table;
        fake.open_views++;
        *ret = view;
        return ST_OK;
}
static void fake_view_close(TableView *view)
{
        fake.open_views--;
        mem_free(view);
}
static uint64_t fake_view_version(TableView *view)
{
        return 1;
}
/* First row whose key is not below (`after`: is above) the key. */
static size_t fake_lower(TableRef *table, Value key, bool after)
{
        size_t i = 0;
        for (; i < value_count(table->rows); i++) {
                int order = value_compare(value_get_str(value_at(table->rows, i), "id"), key);
                if (order > 0 || (order == 0 && !after))
                        break;
        }
        return i;
}
static Status fake_get(TableView *view, Value key, Arena *hold, Value *ret)
{
        Bytes encoded;
        TRY(key_encode_primary(key, hold, &encoded));
        size_t i = fake_lower(view->table, key, false);
        *ret = value_null();
        if (i < value_count(view->table->rows) && value_equal(value_get_str(value_at(view->table->rows, i), "id"), key))
                *ret = value_copy(value_at(view->table->rows, i), hold);
        return ST_OK;
}
static void fake_range(TableRef *table, const KeyBounds *bounds, size_t *ret_from, size_t *ret_to)
{
        *ret_from = 0;
        *ret_to = value_count(table->rows);
        if (bounds && bounds->low_type != BOUND_NONE)
                *ret_from = fake_lower(table, bounds->low, bounds->low_type == BOUND_OPEN);
        if (bounds && bounds->high_type != BOUND_NONE)
                *ret_to = fake_lower(table, bounds->high, bounds->high_type == BOUND_CLOSED);
        *ret_to = MAX(*ret_to, *ret_from);
}
static Status fake_count(TableView *view, const KeyBounds *bounds, uint64_t *ret)
{
        size_t from, to;
        fake_range(view->table, bounds, &from, &to);
        *ret = to - from;
        return ST_OK;
}
static Status fake_nth(TableView *view, uint64_t n, Arena *hold, Value *ret)
{
        *ret = n < value_count(view->table->rows) ? value_copy(value_at(view->table->rows, n), hold) : value_none();
        return ST_OK;
}
static Status fake_scan_open(TableView *view, const KeyBounds *bounds, bool descending, TableScan **ret)
{
        TableScan *scan = mem_alloc(sizeof *scan);
        if (!scan)
                return status_nomem();
        *scan = (TableScan){.view = view, .descending = descending};
        fake_range(view->table, bounds, &scan->next, &scan->end);
        fake.open_scans++;
        *ret = scan;
        return ST_OK;
}
static Status fake_scan_next(TableScan *scan, Arena *hold, Value *ret)
{
        *ret = value_none();
        if (scan->next >= scan->end)
                return ST_OK;
        size_t i = scan->descending ? --scan->end : scan->next++;
        if (scan->index)
                scan->value = scan->index->entries[i].value;
        *ret = value_copy(scan->index ? scan->index->entries[i].row : value_at(scan->view->table->rows, i), hold);
        return ST_OK;
}
static Status fake_scan_skip(TableScan *scan, uint64_t n, uint64_t *ret)
{
        *ret = MIN(n, (uint64_t)(scan->end - scan->next));
        if (scan->descending)
                scan->end -= *ret;
        else
                scan->next += *ret;
        return ST_OK;
}
static void fake_scan_close(TableScan *scan)
{
        fake.open_scans--;
        mem_free(scan);
}
static size_t fake_index_list(TableRef *table, const IndexInfo **ret)
{
        *ret = table->infos;
        return table->index_count;
}
/* First entry that is not below (`after`: is above) the value. */
static size_t fake_index_lower(const FakeIndex *index, Value value, bool after)
{
        size_t i = 0;
        for (; i < index->count; i++) {
                int order = value_compare(index->entries[i].value, value);
                if (order > 0 || (order == 0 && !after))
                        break;
        }
        return i;
}
static Status fake_index_scan_open(TableView *view, Bytes name, const KeyBounds *bounds, bool descending,
                                   TableScan **ret)
{
        size_t i = 0;
        while (i < view->table->index_count && !bytes_equal(view->table->infos[i].name, name))
                i++;
        if (i == view->table->index_count)
                return status_new(ERR_OP_FAILED, "There is no such index.");
        const FakeIndex *index = &view->table->indexes[i];
        TRY(fake_scan_open(view, NULL, descending, ret));
        TableScan *scan = *ret;
        scan->index = index;
        scan->next = 0;
        scan->end = index->count;
        if (bounds && bounds->low_type != BOUND_NONE)
                scan->next = fake_index_lower(index, bounds->low, bounds->low_type == BOUND_OPEN);
        if (bounds && bounds->high_type != BOUND_NONE)
                scan->end = fake_index_lower(index, bounds->high, bounds->high_type == BOUND_CLOSED);
        scan->end = MAX(scan->next, scan->end);
        return ST_OK;
}
static Status fake_scan_index_value(TableScan *scan, Arena *hold, Value *ret)
{
        *ret = value_copy(scan->value, hold);
        return ST_OK;
}
static Status fake_index_count(TableView *view, Bytes name, const KeyBounds *bounds, uint64_t *ret)
{
        TableScan *scan;
        TRY(fake_index_scan_open(view, name, bounds, false, &scan));
        *ret = scan->end - scan->next;
        fake_scan_close(scan);
        return ST_OK;
}
/* Everything is a candidate, unless nothing is looked for. */
static Status fake_geo_scan_open(TableView *view, Bytes name, const GeoRange *ranges, size_t count, TableScan **ret)
{
        TRY(fake_index_scan_open(view, name, NULL, false, ret));
        if (count == 0)
                (*ret)->end = (*ret)->next;
        return ST_OK;
}
static Status fake_save(Bytes function, const char *what, Arena *arena, Value *ret_result)
{
        Field *field = arena_array(arena, Field, 1);
        *field = (Field){BYTES_STR(what), value_number(1)};
        fake.saved = BYTES(arena_dup(&fake.arena, function.data, function.size), function.size);
        *ret_result = value_object_sorted(field, 1);
        return ST_OK;
}
static Status fake_index_create(TableRef *table, const IndexSpec *spec, Arena *arena, Value *ret_result,
                                uint64_t *ret_position)
{
        return fake_save(spec->function, "created", arena, ret_result);
}
static Status fake_hook_set(TableRef *table, Bytes function, Arena *arena, Value *ret_result, uint64_t *ret_position)
{
        return fake_save(function, function.data ? "created" : "deleted", arena, ret_result);
}
/* What changes something else is refused. */
static Status fake_refuse(void)
{
        return status_new(ERR_OP_FAILED, "This source is for reading only.");
}
static Status fake_write(TableRef *table, const Value *keys, size_t count, RowChange change, void *change_ctx,
                         const WriteOptions *options, Arena *arena, RowOutcome *outcomes, uint64_t *ret_position)
{
        return fake_refuse();
}
static Status fake_index_drop(TableRef *table, Bytes name, Arena *arena, Value *ret_result, uint64_t *ret_position)
{
        return fake_refuse();
}
static Status fake_index_rename(TableRef *table, Bytes name, Bytes new_name, bool overwrite, Arena *arena,
                                Value *ret_result, uint64_t *ret_position)
{
        return fake_refuse();
}
static Status fake_reconfigure(void *ctx, Bytes db, Bytes table, Value options, Arena *arena, Value *ret_result,
                               uint64_t *ret_position)
{
        return fake_refuse();
}
static Status fake_sync(TableRef *table, uint64_t *ret_position)
{
        return fake_refuse();
}
static Status fake_db_change(void *ctx, Bytes name, Arena *arena, Value *ret_result, uint64_t *ret_position)
{
        return fake_refuse();
}
static Status fake_names(void *ctx, Arena *arena, Value *ret_names)
{
        return fake_refuse();
}
static Status fake_table_create(void *ctx, Bytes db, Bytes name, Value options, Arena *arena, Value *ret_result,
                                uint64_t *ret_position)
{
        return fake_refuse();
}
static Status fake_table_drop(void *ctx, Bytes db, Bytes name, Arena *arena, Value *ret_result, uint64_t *ret_position)
{
        return fake_refuse();
}
static Status fake_of_db(void *ctx, Bytes db, Arena *arena, Value *ret_value)
{
        return fake_refuse();
}
static Status fake_of_table(void *ctx, Bytes db, Bytes table, Arena *arena, Value *ret_value)
{
        return fake_refuse();
}

static const TableSource fake_source = {
        .table_find = fake_find,
        .db_check = fake_db_check,
        .table_ref = fake_ref,
        .table_unref = fake_unref,
        .table_info = fake_info,
        .view_open = fake_view_open,
        .view_close = fake_view_close,
        .view_version = fake_view_version,
        .view_get = fake_get,
        .view_count = fake_count,
        .view_nth = fake_nth,
        .scan_open = fake_scan_open,
        .scan_next = fake_scan_next,
        .scan_skip = fake_scan_skip,
        .scan_close = fake_scan_close,
        .table_with_uuids = fake_ref,
        .index_list = fake_index_list,
        .index_scan_open = fake_index_scan_open,
        .scan_index_value = fake_scan_index_value,
        .index_count = fake_index_count,
        .geo_scan_open = fake_geo_scan_open,
        .index_create = fake_index_create,
        .index_drop = fake_index_drop,
        .index_rename = fake_index_rename,
        .write_hook_set = fake_hook_set,
        .reconfigure = fake_reconfigure,
        .rebalance = fake_of_table,
        .write = fake_write,
        .sync = fake_sync,
        .db_create = fake_db_change,
        .db_drop = fake_db_change,
        .db_list = fake_names,
        .table_create = fake_table_create,
        .table_drop = fake_table_drop,
        .table_list = fake_of_db,
        .config = fake_of_table,
        .status = fake_of_table,
        .db_id = fake_of_db,
};

static int64_t fake_clock_us(void *ctx)
{
        return INT64_C(1700000000000000);
}
static int64_t fake_clock_ns(void *ctx)
{
        return 0;
}
static Status fake_random(void *ctx, void *out, size_t size)
{
        for (size_t i = 0; i < size; i++)
                ((uint8_t *)out)[i] = (uint8_t)(37 * i + 11);
        return ST_OK;
}
static const HostOps fake_host = {.now_us = fake_clock_us,
                                  .mono_ns = fake_clock_ns,
                                  .random = fake_random,
                                  .server_name = "fake",
                                  .server_id = "0"};

static inline bool fake_all_closed(void)
{
        int refs = 0;
        for (size_t i = 0; i < fake.table_count; i++)
                refs += fake.tables[i].refs;
        return fake.open_views == 0 && fake.open_scans == 0 && refs == 0;
}

#endif
