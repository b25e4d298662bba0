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
        IndexInfo infos[8];             /* in order of name, if they were added so */
        FakeIndex indexes[8], rests[8]; /* rests: values that cannot be keys (INDEX_REST_VALUES) */
        Bytes index_fields[8];
        IndexPath index_paths[8];
        size_t index_count;
        BlockMemo **memos; /* lists of FAKE_BLOCK_ROWS rows each, once somebody remembers something */
};
#define FAKE_BLOCK_ROWS 5 /* few, so that small tables have several blocks */
struct TableView {
        TableRef *table;
};
struct TableScan {
        TableView *view;
        const FakeIndex *index; /* NULL: the primary key */
        size_t next, end;
        bool descending;
        Value value;  /* of the last row */
        size_t block; /* the one that block_next gave last */
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

/* The entries of an index, of the rows that there are now. */
static inline void fake_fill_index(TableRef *table, size_t at)
{
        FakeIndex *index = &table->indexes[at], *rest = &table->rests[at];
        bool multi = table->infos[at].multi, geo = table->infos[at].geo;
        index->count = rest->count = 0;
        rest->entries = arena_array(&fake.arena, FakeEntry, value_count(table->rows));
        index->entries = arena_array(&fake.arena, FakeEntry, 16 * value_count(table->rows));
        for (size_t i = 0; i < value_count(table->rows); i++) {
                Value row = value_at(table->rows, i), value = value_get(row, table->index_fields[at]);
                bool many = multi && value_is(value, V_ARRAY);
                if (!value_is(value, V_NONE) && !geo &&
                    (multi ? !many && !value_is(value, V_NULL) : !key_is_secondary(value)))
                        rest->entries[rest->count++] = (FakeEntry){value, row};
                for (size_t j = 0; j < (many ? value_count(value) : 1); j++) {
                        Value v = many ? value_at(value, j) : value;
                        if (geo ? value_is(v, V_GEOMETRY) : key_is_secondary(v))
                                index->entries[index->count++] = (FakeEntry){v, row};
                }
        }
        if (index->count)
                qsort(index->entries, index->count, sizeof *index->entries, fake_compare_entries);
        if (rest->count)
                qsort(rest->entries, rest->count, sizeof *rest->entries, fake_compare_entries);
}

/* An index on a field of the table that was added last; `multi`: its elements, if it is an array. */
static inline void fake_add_index(const char *field, bool multi, bool geo)
{
        TableRef *table = &fake.tables[fake.table_count - 1];
        size_t at = table->index_count++;
        table->index_fields[at] = BYTES_STR(field);
        table->index_paths[at] = (IndexPath){&table->index_fields[at], 1};
        table->infos[at] = (IndexInfo){.name = BYTES_STR(field),
                                       .multi = multi,
                                       .geo = geo,
                                       .ready = true,
                                       .paths = &table->index_paths[at],
                                       .path_count = 1};
        fake_fill_index(table, at);
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
/* Blocks: FAKE_BLOCK_ROWS rows each, of the whole table. */
static inline uint32_t fake_block_total(const TableScan *scan)
{
        size_t rows = value_count(scan->view->table->rows);
        return (uint32_t)MIN(rows - scan->block * FAKE_BLOCK_ROWS, (size_t)FAKE_BLOCK_ROWS);
}
static Status fake_block_next(TableScan *scan, TableBlock *ret, bool *ret_supported)
{
        *ret_supported = !scan->index && !scan->descending;
        if (!*ret_supported)
                return ST_OK;
        *ret = (TableBlock){0};
        if (scan->next >= scan->end)
                return ST_OK;
        scan->block = scan->next / FAKE_BLOCK_ROWS;
        ret->total = fake_block_total(scan);
        ret->first = scan->next % FAKE_BLOCK_ROWS;
        ret->count = (uint32_t)MIN(scan->end - scan->next, (size_t)(ret->total - ret->first));
        scan->next += ret->count;
        return ST_OK;
}
/* Stored form, as a table gives it; in `hold`, so that it is checked who uses it for too long. */
static Status fake_block_row(TableScan *scan, uint32_t i, Arena *hold, Value *ret)
{
        *ret = value_copy(value_at(scan->view->table->rows, scan->block * FAKE_BLOCK_ROWS + i), hold);
        return ST_OK;
}
static const BlockMemo *fake_block_memo(TableScan *scan, uint64_t key)
{
        BlockMemo **memos = scan->view->table->memos, *memo = memos ? memos[scan->block] : NULL;
        while (memo && memo->key != key)
                memo = memo->next;
        return memo;
}
/* From one thread at a time. */
static const BlockMemo *fake_block_remember(TableScan *scan, BlockMemo *memo)
{
        TableRef *table = scan->view->table;
        const BlockMemo *kept = fake_block_memo(scan, memo->key);
        if (!table->memos)
                table->memos = mem_zalloc((value_count(table->rows) / FAKE_BLOCK_ROWS + 1) * sizeof(BlockMemo *));
        if (kept || !table->memos) {
                memo->free(memo);
                return kept;
        }
        memo->next = table->memos[scan->block];
        table->memos[scan->block] = memo;
        return memo;
}
/* Forgets what was remembered; returns how many there were. Before the end of a test that had blocks read. */
static inline size_t fake_forget(void)
{
        size_t count = 0;
        for (size_t t = 0; t < fake.table_count; t++) {
                TableRef *table = &fake.tables[t];
                for (size_t i = 0; table->memos && i <= value_count(table->rows) / FAKE_BLOCK_ROWS; i++)
                        for (BlockMemo *memo = table->memos[i], *next; memo; memo = next, count++) {
                                next = memo->next;
                                memo->free(memo);
                        }
                mem_free(table->memos);
                table->memos = NULL;
        }
        return count;
}
/* A part: | u32 first row | u32 the one behind the last |. */
static Status fake_split(TableView *view, const KeyBounds *bounds, size_t parts, Arena *hold, Bytes *ret_parts,
                         size_t *ret_count)
{
        size_t from, to;
        fake_range(view->table, bounds, &from, &to);
        parts = MAX(MIN(parts, to - from), (size_t)1);
        for (size_t i = 0; i < parts; i++) {
                uint8_t *bytes = arena_alloc(hold, 8);
                store_u32(bytes, (uint32_t)(from + (to - from) * i / parts));
                store_u32(bytes + 4, (uint32_t)(from + (to - from) * (i + 1) / parts));
                ret_parts[i] = BYTES(bytes, 8);
        }
        *ret_count = parts;
        return ST_OK;
}
static Status fake_scan_open_part(TableView *view, Bytes part, TableScan **ret)
{
        TRY(fake_scan_open(view, NULL, false, ret));
        (*ret)->next = load_u32(part.data);
        (*ret)->end = load_u32(part.data + 4);
        return ST_OK;
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
static Status fake_index_find(TableView *view, Bytes name, size_t *ret_at)
{
        size_t i = 0;
        while (i < view->table->index_count && !bytes_equal(view->table->infos[i].name, name))
                i++;
        if (i == view->table->index_count)
                return status_new(ERR_OP_FAILED, "There is no such index.");
        *ret_at = i;
        return ST_OK;
}
static Status fake_entries_open(TableView *view, const FakeIndex *index, const KeyBounds *bounds, bool descending,
                                TableScan **ret)
{
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
static Status fake_index_scan_open(TableView *view, Bytes name, const KeyBounds *bounds, bool descending,
                                   TableScan **ret)
{
        size_t at = 0;
        TRY(fake_index_find(view, name, &at));
        return fake_entries_open(view, &view->table->indexes[at], bounds, descending, ret);
}
static Status fake_rest_open(TableView *view, Bytes name, IndexRest which, const KeyBounds *bounds, TableScan **ret)
{
        static const FakeIndex none;
        size_t at = 0;
        TRY(fake_index_find(view, name, &at));
        return fake_entries_open(view, which == INDEX_REST_VALUES ? &view->table->rests[at] : &none, bounds, false,
                                 ret);
}
static Status fake_rest_count(TableView *view, Bytes name, IndexRest which, const KeyBounds *bounds, uint64_t *ret)
{
        TableScan *scan;
        TRY(fake_rest_open(view, name, which, bounds, &scan));
        *ret = scan->end - scan->next;
        fake.open_scans--;
        mem_free(scan);
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
        .block_next = fake_block_next,
        .block_row = fake_block_row,
        .block_memo = fake_block_memo,
        .block_remember = fake_block_remember,
        .split = fake_split,
        .scan_open_part = fake_scan_open_part,
        .table_with_uuids = fake_ref,
        .index_list = fake_index_list,
        .index_scan_open = fake_index_scan_open,
        .scan_index_value = fake_scan_index_value,
        .index_count = fake_index_count,
        .index_rest_open = fake_rest_open,
        .index_rest_count = fake_rest_count,
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
