/* read.c - views and scans: a pinned snapshot of an ordinary table, or the rows of a system table made when the view
 * opens. */
#include "table/index_int.h"
#include "table/table_int.h"

#include <assert.h>

#include "storage/read_point.h"
#include "value/key.h"

struct TableView {
        TableRef *table;    /* counted */
        Snapshot *snapshot; /* ordinary tables */
        Schema *schema;     /* the indexes that the snapshot has; counted unless it is the TableRef's */
        /* system tables: all rows */
        Arena arena;
        SystemRow *rows;
        size_t row_count;
        uint64_t version;
};

struct TableScan {
        TableView *view;
        Cursor *cursor;   /* ordinary tables */
        IndexScan *index; /* a scan of an index; then nothing else of these is in use */
        size_t low, high; /* system tables: rows [low, high) are left */
        bool descending;
        uint64_t read_count; /* rows given, for `stats` */
};

Status table_error(const TableRef *table, Status st)
{
        if (status_code(st) == ERR_NOT_FOUND) { /* dropped since it was found */
                status_ignore(st);
                return status_new(ERR_OP_FAILED, "Table `%s.%s` does not exist.", (const char *)table->info.db.data,
                                  (const char *)table->info.name.data);
        }
        return st;
}

static Status system_view(TableView *view, const char *user)
{
        arena_init(&view->arena, 0);
        return system_rows(view->table, user, &view->arena, &view->rows, &view->row_count, &view->version);
}

static void view_close(TableView *view)
{
        if (!view)
                return;
        store_unpin(view->snapshot);
        if (!view->snapshot)
                arena_done(&view->arena);
        if (view->schema && view->schema != view->table->schema)
                schema_unref(view->schema);
        catalog_table_unref(view->table);
        mem_free(view);
}

/* The indexes may change at any moment; the same version before and after the pin says which the snapshot has.
 * `ret_position` may be NULL: the position of the snapshot. */
static Status table_view(TableView *view, uint64_t *ret_position)
{
        TableRef *table = view->table;
        for (;;) {
                uint64_t version = atomic_load(&table->state->version);
                view->schema = table->schema;
                if (unlikely(view->schema->version != version)) {
                        view->schema = table_state_schema(table->state);
                        if (view->schema == table->schema) /* a change ended meanwhile; it is borrowed after all */
                                schema_unref(view->schema);
                }
                Status st = ret_position ? store_pin_present(table->store, &view->snapshot, ret_position)
                                         : store_pin(table->store, &view->snapshot);
                if (st)
                        return table_error(table, st);
                if (likely(atomic_load(&table->state->version) == view->schema->version))
                        return ST_OK;
                store_unpin(take(view->snapshot));
                if (view->schema != table->schema)
                        schema_unref(view->schema);
                view->schema = NULL;
        }
}

static Status open_view(TableRef *table, const char *user, TableView **ret_view, uint64_t *ret_position)
{
        TableView *view = mem_alloc(sizeof *view);
        if (!view)
                return status_nomem();
        *view = (TableView){.table = catalog_table_ref(table)};
        Status st = table->store ? table_view(view, ret_position) : system_view(view, user);
        if (st) {
                view_close(view);
                return st;
        }
        *ret_view = view;
        return ST_OK;
}

Status view_open_for(TableRef *table, const char *user, TableView **ret_view)
{
        return open_view(table, user, ret_view, NULL);
}

Status table_view_present(TableRef *table, TableView **ret_view, uint64_t *ret_position)
{
        assert(table->store);
        return open_view(table, NULL, ret_view, ret_position);
}

static Status view_open(TableRef *table, TableView **ret_view)
{
        return view_open_for(table, NULL, ret_view);
}

Status view_open_at(TableRef *table, Snapshot *snapshot, Schema *schema, TableView **ret_view)
{
        TableView *view = mem_alloc(sizeof *view);
        if (!view)
                return status_nomem();
        *view = (TableView){.table = catalog_table_ref(table), .snapshot = snapshot};
        view->schema = schema == table->schema ? schema : schema_ref(schema);
        *ret_view = view;
        return ST_OK;
}

static uint64_t view_version(TableView *view)
{
        return view->snapshot ? snapshot_version(view->snapshot) : view->version;
}

/* First row whose key is not below `key`. */
static size_t lower_row(const TableView *view, Bytes key)
{
        size_t low = 0, high = view->row_count;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (bytes_compare(view->rows[middle].key, key) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

static Status view_get(TableView *view, Value key, Arena *hold, Value *ret_row)
{
        Bytes key_bytes, bytes;
        bool found;
        TRY(key_encode_primary(key, hold, &key_bytes));
        if (view->snapshot) {
                TRY(snapshot_get(view->snapshot, key_bytes, hold, &bytes, &found));
                *ret_row = found ? value_decode(bytes.data) : value_null();
                table_count_reads(view->table, found);
                return ST_OK;
        }
        size_t i = lower_row(view, key_bytes);
        found = i < view->row_count && bytes_equal(view->rows[i].key, key_bytes);
        *ret_row = found ? view->rows[i].row : value_null();
        return ST_OK;
}

/* The smallest key above `key`. */
static Bytes next_key(Bytes key, Arena *arena)
{
        uint8_t *bytes = arena_alloc(arena, key.size + 1);
        memcpy(bytes, key.data, key.size);
        bytes[key.size] = 0;
        return BYTES(bytes, key.size + 1);
}

static EngineRange range_of(const KeyBounds *bounds, Arena *arena)
{
        EngineRange range = {0};
        if (!bounds)
                return range;
        if (bounds->low_type != BOUND_NONE) {
                range.low = key_encode(bounds->low, arena);
                if (bounds->low_type == BOUND_OPEN)
                        range.low = next_key(range.low, arena);
        }
        if (bounds->high_type != BOUND_NONE) {
                range.high = key_encode(bounds->high, arena);
                if (bounds->high_type == BOUND_CLOSED)
                        range.high = next_key(range.high, arena);
        }
        return range;
}

/* Bounds are encoded in an arena of our own, since neither count nor scan_open is given one. */
typedef struct Ranged {
        const KeyBounds *bounds;
        EngineRange range;
} Ranged;

static Value build_range(void *ctx, Arena *arena)
{
        Ranged *ranged = ctx;
        ranged->range = range_of(ranged->bounds, arena);
        return value_none();
}

static void system_range(const TableView *view, EngineRange range, size_t *ret_low, size_t *ret_high)
{
        *ret_low = range.low.data ? lower_row(view, range.low) : 0;
        *ret_high = range.high.data ? lower_row(view, range.high) : view->row_count;
        if (*ret_high < *ret_low)
                *ret_high = *ret_low;
}

static bool unbounded(const KeyBounds *bounds)
{
        return !bounds || (bounds->low_type == BOUND_NONE && bounds->high_type == BOUND_NONE);
}

static Status with_range(const KeyBounds *bounds, Status (*use)(void *ctx, EngineRange range), void *ctx)
{
        if (unbounded(bounds))
                return use(ctx, (EngineRange){0});
        Arena arena;
        Ranged ranged = {.bounds = bounds};
        Value ignored;
        arena_init(&arena, 0);
        Status st = build_guarded(&arena, build_range, &ranged, &ignored);
        if (!st)
                st = use(ctx, ranged.range);
        arena_done(&arena);
        return st;
}

typedef struct Counting {
        TableView *view;
        uint64_t count;
} Counting;

static Status count_range(void *ctx, EngineRange range)
{
        Counting *c = ctx;
        if (c->view->snapshot)
                return snapshot_count(c->view->snapshot, range, &c->count);
        size_t low, high;
        system_range(c->view, range, &low, &high);
        c->count = high - low;
        return ST_OK;
}

static Status view_count(TableView *view, const KeyBounds *bounds, uint64_t *ret_count)
{
        Counting c = {.view = view};
        TRY(with_range(bounds, count_range, &c));
        *ret_count = c.count;
        return ST_OK;
}

static Status view_nth(TableView *view, uint64_t n, Arena *hold, Value *ret_row)
{
        Bytes key, bytes;
        bool found;
        if (!view->snapshot) {
                *ret_row = n < view->row_count ? view->rows[n].row : value_none();
                return ST_OK;
        }
        TRY(snapshot_nth(view->snapshot, n, hold, &key, &bytes, &found));
        *ret_row = found ? value_decode(bytes.data) : value_none();
        return ST_OK;
}

static Status open_range(void *ctx, EngineRange range)
{
        TableScan *scan = ctx;
        if (scan->view->snapshot)
                return cursor_open(scan->view->snapshot, range, scan->descending, &scan->cursor);
        system_range(scan->view, range, &scan->low, &scan->high);
        return ST_OK;
}

static Status scan_open(TableView *view, const KeyBounds *bounds, bool descending, TableScan **ret_scan)
{
        TableScan *scan = mem_alloc(sizeof *scan);
        if (!scan)
                return status_nomem();
        *scan = (TableScan){.view = view, .descending = descending};
        Status st = with_range(bounds, open_range, scan);
        if (st) {
                mem_free(scan);
                return st;
        }
        *ret_scan = scan;
        return ST_OK;
}

static Status scan_next(TableScan *scan, Arena *hold, Value *ret_row)
{
        if (scan->index) {
                TRY(index_scan_next(scan->index, hold, ret_row));
                scan->read_count += !value_is(*ret_row, V_NONE);
        } else if (scan->cursor) {
                Bytes key, bytes;
                bool found;
                TRY(cursor_next(scan->cursor, hold, &key, &bytes, &found));
                *ret_row = found ? value_decode(bytes.data) : value_none();
                scan->read_count += found;
        } else if (scan->low == scan->high) {
                *ret_row = value_none();
        } else {
                *ret_row = scan->view->rows[scan->descending ? --scan->high : scan->low++].row;
        }
        return ST_OK;
}

static Status scan_skip(TableScan *scan, uint64_t n, uint64_t *ret_skipped)
{
        if (scan->index)
                return index_scan_skip(scan->index, n, ret_skipped);
        if (scan->cursor)
                return cursor_skip(scan->cursor, n, ret_skipped);
        size_t step = (size_t)MIN(n, (uint64_t)(scan->high - scan->low));
        if (scan->descending)
                scan->high -= step;
        else
                scan->low += step;
        *ret_skipped = step;
        return ST_OK;
}

static void scan_close(TableScan *scan)
{
        if (scan) {
                cursor_close(scan->cursor);
                index_scan_free(scan->index);
                table_count_reads(scan->view->table, scan->read_count);
                mem_free(scan);
        }
}

/* --- blocks and parts --- */

static Status block_next(TableScan *scan, TableBlock *ret_block, bool *ret_supported)
{
        EngineBlock block;
        *ret_supported = scan->cursor && !scan->descending && cursor_has_blocks(scan->cursor);
        if (!*ret_supported)
                return ST_OK;
        TRY(cursor_block(scan->cursor, &block));
        scan->read_count += block.count;
        *ret_block = (TableBlock){.total = block.total, .first = block.first, .count = block.count};
        return ST_OK;
}

static Status block_row(TableScan *scan, uint32_t i, Arena *hold, Value *ret_row)
{
        Bytes bytes;
        TRY(cursor_block_row(scan->cursor, i, hold, &bytes));
        *ret_row = value_decode(bytes.data);
        return ST_OK;
}

static const BlockMemo *block_memo(TableScan *scan, uint64_t key)
{
        return cursor_block_memo(scan->cursor, key);
}

static const BlockMemo *block_remember(TableScan *scan, BlockMemo *memo)
{
        return cursor_block_remember(scan->cursor, memo);
}

/* A part is a range of keys:  | low_size u32 | high_size u32 | low | high |     NO_BOUND for a size: there is none  */
#define NO_BOUND UINT32_MAX

static Status part_encode(EngineRange range, Arena *hold, Bytes *ret_part)
{
        uint8_t *bytes = arena_try_alloc(hold, 8 + range.low.size + range.high.size);
        if (!bytes)
                return status_nomem();
        store_u32(bytes, range.low.data ? (uint32_t)range.low.size : NO_BOUND);
        store_u32(bytes + 4, range.high.data ? (uint32_t)range.high.size : NO_BOUND);
        if (range.low.size)
                memcpy(bytes + 8, range.low.data, range.low.size);
        if (range.high.size)
                memcpy(bytes + 8 + range.low.size, range.high.data, range.high.size);
        *ret_part = BYTES(bytes, 8 + range.low.size + range.high.size);
        return ST_OK;
}

static EngineRange part_decode(Bytes part)
{
        uint32_t low = load_u32(part.data), high = load_u32(part.data + 4);
        EngineRange range = {0};
        if (low != NO_BOUND)
                range.low = BYTES(part.data + 8, low);
        if (high != NO_BOUND)
                range.high = BYTES(part.data + 8 + (low == NO_BOUND ? 0 : low), high);
        return range;
}

typedef struct Splitting {
        TableView *view;
        size_t parts;
        Arena *hold;
        Bytes *out;
        size_t count;
} Splitting;

static Status split_range(void *ctx, EngineRange range)
{
        Splitting *s = ctx;
        Bytes *cuts = arena_try_alloc(s->hold, s->parts * sizeof *cuts);
        size_t count = 0;
        if (!cuts)
                return status_nomem();
        if (s->view->snapshot && s->parts > 1)
                TRY(snapshot_split(s->view->snapshot, range, s->parts, s->hold, cuts, &count));
        EngineRange part = range;
        for (size_t i = 0; i < count; i++) {
                part.high = cuts[i];
                TRY(part_encode(part, s->hold, &s->out[i]));
                part.low = cuts[i];
        }
        part.high = range.high;
        TRY(part_encode(part, s->hold, &s->out[count]));
        s->count = count + 1;
        return ST_OK;
}

static Status split(TableView *view, const KeyBounds *bounds, size_t parts, Arena *hold, Bytes *ret_parts,
                    size_t *ret_count)
{
        Splitting s = {.view = view, .parts = parts, .hold = hold, .out = ret_parts};
        TRY(with_range(bounds, split_range, &s));
        *ret_count = s.count;
        return ST_OK;
}

static Status scan_open_part(TableView *view, Bytes part, TableScan **ret_scan)
{
        TableScan *scan = mem_alloc(sizeof *scan);
        if (!scan)
                return status_nomem();
        *scan = (TableScan){.view = view};
        Status st = open_range(scan, part_decode(part));
        if (st) {
                mem_free(scan);
                return st;
        }
        *ret_scan = scan;
        return ST_OK;
}

/* --- indexes --- */

static size_t index_list(TableRef *table, const IndexInfo **ret_indexes)
{
        *ret_indexes = table->schema ? table->schema->infos : NULL;
        return table->schema ? table->schema->count : 0;
}

static Status no_index(const TableView *view, Bytes index)
{
        const TableInfo *info = &view->table->info;
        return status_new(ERR_OP_FAILED, "Index `%.*s` was not found on table `%s.%s`.", (int)index.size,
                          (const char *)index.data, (const char *)info->db.data, (const char *)info->name.data);
}

static Status open_index(TableView *view, Bytes index, const KeyBounds *bounds, bool descending, IndexScan **ret_scan)
{
        if (view->snapshot)
                return index_scan_new(view->table, view->snapshot, view->schema, index, bounds, descending, ret_scan);
        return no_index(view, index);
}

static Status open_rest(TableView *view, Bytes index, IndexRest which, const KeyBounds *bounds, IndexScan **ret_scan)
{
        if (view->snapshot)
                return index_scan_new_rest(view->table, view->snapshot, view->schema, index, which, bounds, ret_scan);
        return no_index(view, index);
}

/* Takes over `index`. */
static Status scan_of_index(TableView *view, IndexScan *index, TableScan **ret_scan)
{
        TableScan *scan = mem_alloc(sizeof *scan);
        if (!scan) {
                index_scan_free(index);
                return status_nomem();
        }
        *scan = (TableScan){.view = view, .index = index};
        *ret_scan = scan;
        return ST_OK;
}

static Status index_scan_open(TableView *view, Bytes index, const KeyBounds *bounds, bool descending,
                              TableScan **ret_scan)
{
        IndexScan *scan;
        TRY(open_index(view, index, bounds, descending, &scan));
        return scan_of_index(view, scan, ret_scan);
}

static Status scan_index_value(TableScan *scan, Arena *hold, Value *ret_value)
{
        return index_scan_value(scan->index, hold, ret_value);
}

static Status index_count(TableView *view, Bytes index, const KeyBounds *bounds, uint64_t *ret_count)
{
        IndexScan *scan;
        TRY(open_index(view, index, bounds, false, &scan));
        Status st = index_scan_count(scan, ret_count);
        index_scan_free(scan);
        return st;
}

static Status index_rest_open(TableView *view, Bytes index, IndexRest which, const KeyBounds *bounds,
                              TableScan **ret_scan)
{
        IndexScan *scan;
        TRY(open_rest(view, index, which, bounds, &scan));
        return scan_of_index(view, scan, ret_scan);
}

static Status index_rest_count(TableView *view, Bytes index, IndexRest which, const KeyBounds *bounds,
                               uint64_t *ret_count)
{
        IndexScan *scan;
        TRY(open_rest(view, index, which, bounds, &scan));
        Status st = index_scan_count(scan, ret_count);
        index_scan_free(scan);
        return st;
}

static Status geo_scan_open(TableView *view, Bytes index, const GeoRange *ranges, size_t count, TableScan **ret_scan)
{
        IndexScan *scan;
        if (view->snapshot)
                TRY(index_scan_new_geo(view->table, view->snapshot, view->schema, index, ranges, count, &scan));
        else
                TRY(open_index(view, index, NULL, false, &scan));
        return scan_of_index(view, scan, ret_scan);
}

void read_fill(TableSource *source)
{
        source->index_list = index_list;
        source->index_scan_open = index_scan_open;
        source->scan_index_value = scan_index_value;
        source->index_count = index_count;
        source->index_rest_open = index_rest_open;
        source->index_rest_count = index_rest_count;
        source->geo_scan_open = geo_scan_open;
        source->view_open = view_open;
        source->view_open_for = view_open_for;
        source->view_close = view_close;
        source->view_version = view_version;
        source->view_get = view_get;
        source->view_count = view_count;
        source->view_nth = view_nth;
        source->scan_open = scan_open;
        source->scan_next = scan_next;
        source->scan_skip = scan_skip;
        source->scan_close = scan_close;
        source->block_next = block_next;
        source->block_row = block_row;
        source->block_memo = block_memo;
        source->block_remember = block_remember;
        source->split = split;
        source->scan_open_part = scan_open_part;
}
