/* index_read.c - scans of an index: entries in the order of values, rows beside them from the same snapshot.
 *
 * Where the tree's order and the bounds say all there is to say (whole values), a scan is a cursor. Entries that were
 * cut at the same place, a group, lie in the tree in the order of their hashes instead: a group is read as a
 * whole, its values are computed from its rows, and it is sorted. So a scan is in one of three stretches, taken from
 * the end for a descending one:
 *
 *      entries  | low group |  sure: cursor ... group ... cursor  | high group |
 *                 ^ those of its values that are within the bounds  ^
 */
#include "table/index_int.h"

#include <stdlib.h>

#include "value/key.h"

#define GROUP_MAX_BYTES ((size_t)256 << 20)

typedef enum Stretch { STRETCH_FIRST, STRETCH_SURE, STRETCH_LAST, STRETCH_END } Stretch;

typedef struct GroupItem {
        Bytes whole; /* the encoded value */
        Bytes row;   /* primary key and tag */
        Bytes primary_key;
        uint32_t tag;
} GroupItem;

struct IndexScan {
        const TableRef *table;
        Snapshot *snapshot;
        Schema *schema; /* counted */
        Index *index;
        Bytes name;
        bool descending;
        Arena arena; /* the span, the ranges */
        IndexSpan span;
        Stretch stretch;
        Cursor *cursor; /* of the sure stretch, or of the present range of cells */
        /* the group that is being given out */
        Arena group_arena;
        GroupItem *group;
        size_t group_count, group_at, group_capacity;
        /* geo */
        GeoRange *ranges; /* NULL: not geo */
        size_t range_count, range_at;
        Map *seen; /* primary key and tag of what was given */
        /* the row of the last next */
        Value row;
        uint32_t tag;
};

/* --- opening --- */

#define S(bytes) (int)(bytes).size, (const char *)(bytes).data

Status index_find(const TableRef *table, const Schema *schema, Bytes name, bool geo, size_t *ret_at)
{
        *ret_at = schema_find(schema, name);
        if (*ret_at == schema->count)
                return status_new(ERR_OP_FAILED, "Index `%.*s` was not found on table `%.*s.%.*s`.", S(name),
                                  S(table->info.db), S(table->info.name));
        const IndexInfo *info = &schema->infos[*ret_at];
        if (info->error.data)
                return status_new(ERR_OP_FAILED, "Index `%.*s` on table `%.*s.%.*s` could not be built: %.*s", S(name),
                                  S(table->info.db), S(table->info.name), S(info->error));
        if (!info->ready)
                return status_new(ERR_OP_FAILED,
                                  "Index `%.*s` on table `%.*s.%.*s` was accessed before its construction was "
                                  "finished.",
                                  S(name), S(table->info.db), S(table->info.name));
        if (info->geo == geo)
                return ST_OK;
        return status_new(ERR_LOGIC,
                          geo ? "Index `%.*s` is not a geospatial index.  get_intersecting can only be used with a "
                                "geospatial index."
                              : "Index `%.*s` is a geospatial index.  Only get_nearest and get_intersecting can use a "
                                "geospatial index.",
                          S(name));
}

static Status scan_new(const TableRef *table, Snapshot *snapshot, Schema *schema, Bytes name, bool geo,
                       IndexScan **ret_scan)
{
        size_t at;
        TRY(index_find(table, schema, name, geo, &at));
        IndexScan *scan = mem_zalloc(sizeof *scan);
        if (!scan)
                return status_nomem();
        scan->table = table;
        scan->snapshot = snapshot;
        scan->schema = schema_ref(schema);
        scan->index = schema->indexes[at];
        scan->name = schema->infos[at].name;
        arena_init(&scan->arena, 0);
        arena_init(&scan->group_arena, GROUP_MAX_BYTES);
        *ret_scan = scan;
        return ST_OK;
}

void index_scan_free(IndexScan *scan)
{
        if (!scan)
                return;
        cursor_close(scan->cursor);
        map_free(scan->seen);
        arena_done(&scan->arena);
        arena_done(&scan->group_arena);
        schema_unref(scan->schema);
        mem_free(scan);
}

typedef struct Spanned {
        IndexScan *scan;
        const KeyBounds *bounds;
} Spanned;

static IndexBound bound_of(Value value, BoundType type)
{
        return (IndexBound){.value = value, .none = type == BOUND_NONE, .open = type == BOUND_OPEN};
}

static Value build_span(void *ctx, Arena *arena)
{
        Spanned *spanned = ctx;
        const KeyBounds *b = spanned->bounds;
        spanned->scan->span = index_span(bound_of(b->low, b->low_type), bound_of(b->high, b->high_type), arena);
        return value_none();
}

Status index_scan_new(const TableRef *table, Snapshot *snapshot, Schema *schema, Bytes name, const KeyBounds *bounds,
                      bool descending, IndexScan **ret_scan)
{
        IndexScan *scan;
        Value ignored;
        TRY(scan_new(table, snapshot, schema, name, false, &scan));
        static const uint8_t rest = INDEX_REST;
        scan->descending = descending;
        scan->span.sure.high = BYTES(&rest, 1);
        if (bounds && (bounds->low_type != BOUND_NONE || bounds->high_type != BOUND_NONE)) {
                Status st = build_guarded(&scan->arena, build_span, &(Spanned){scan, bounds}, &ignored);
                if (st) {
                        index_scan_free(scan);
                        return st;
                }
        }
        *ret_scan = scan;
        return ST_OK;
}

typedef struct RestSpanned {
        IndexScan *scan;
        bool failed;
        const KeyBounds *bounds;
} RestSpanned;

static Value build_rest_span(void *ctx, Arena *arena)
{
        RestSpanned *spanned = ctx;
        const KeyBounds none = {.low_type = BOUND_NONE, .high_type = BOUND_NONE};
        const KeyBounds *b = spanned->bounds ? spanned->bounds : &none;
        spanned->scan->span.sure =
                index_rest_span(spanned->failed, bound_of(b->low, b->low_type), bound_of(b->high, b->high_type), arena);
        return value_none();
}

Status index_scan_new_rest(const TableRef *table, Snapshot *snapshot, Schema *schema, Bytes name, IndexRest which,
                           const KeyBounds *bounds, IndexScan **ret_scan)
{
        IndexScan *scan;
        Value ignored;
        TRY(scan_new(table, snapshot, schema, name, false, &scan));
        Status st = build_guarded(&scan->arena, build_rest_span,
                                  &(RestSpanned){scan, which == INDEX_REST_FAILED, bounds}, &ignored);
        if (st) {
                index_scan_free(scan);
                return st;
        }
        *ret_scan = scan;
        return ST_OK;
}

Status index_scan_new_geo(const TableRef *table, Snapshot *snapshot, Schema *schema, Bytes name, const GeoRange *ranges,
                          size_t count, IndexScan **ret_scan)
{
        IndexScan *scan;
        TRY(scan_new(table, snapshot, schema, name, true, &scan));
        scan->ranges = arena_try_alloc(&scan->arena, (count + 1) * sizeof *ranges);
        Status st = scan->ranges ? map_new(&scan->seen) : status_nomem();
        if (st) {
                index_scan_free(scan);
                return st;
        }
        if (count)
                memcpy(scan->ranges, ranges, count * sizeof *ranges);
        scan->range_count = count;
        *ret_scan = scan;
        return ST_OK;
}

/* --- entries and rows --- */

static Status not_an_entry(const IndexScan *scan, const char *what)
{
        return status_new(ERR_CORRUPT, "index `%.*s` of table `%.*s.%.*s` has an entry %s", S(scan->name),
                          S(scan->table->info.db), S(scan->table->info.name), what);
}

static Status next_entry(IndexScan *scan, Cursor *cursor, Arena *hold, Bytes *ret_key, IndexEntryParts *ret,
                         bool *ret_found)
{
        Bytes value;
        TRY(cursor_next(cursor, hold, ret_key, &value, ret_found));
        if (*ret_found && !index_entry_read(scan->index->shape, *ret_key, value, ret))
                return not_an_entry(scan, "that is none");
        return ST_OK;
}

static Status row_of(IndexScan *scan, Bytes primary_key, Arena *hold, Value *ret_row)
{
        Bytes bytes;
        bool found;
        TRY(snapshot_get(scan->snapshot, primary_key, hold, &bytes, &found));
        if (!found)
                return not_an_entry(scan, "of a row that does not exist");
        *ret_row = value_decode(bytes.data);
        return ST_OK;
}

static Status give(IndexScan *scan, Bytes primary_key, uint32_t tag, Arena *hold, Value *ret_row)
{
        TRY(row_of(scan, primary_key, hold, ret_row));
        scan->row = *ret_row;
        scan->tag = tag;
        return ST_OK;
}

static Status value_of(IndexScan *scan, Value row, uint32_t tag, Arena *arena, Value *ret_value)
{
        Value value;
        TRY(closure_index_value(scan->index->closure, row, arena, &value));
        *ret_value = index_value_at(scan->index->shape, value, tag);
        return value_is(*ret_value, V_NONE) ? not_an_entry(scan, "of a row that has no such value") : ST_OK;
}

Status index_scan_value(IndexScan *scan, Arena *hold, Value *ret_value)
{
        return value_of(scan, scan->row, scan->tag, hold, ret_value);
}

/* --- groups --- */

typedef struct GroupLoad {
        IndexScan *scan;
        Cursor *cursor; /* closed by who catches the arena's jump */
        Status st;
} GroupLoad;

/* A copy in the group's arena, whose end is an error of its own. */
static Status group_keep(IndexScan *scan, Bytes bytes, Bytes *ret_copy)
{
        uint8_t *copy = arena_try_alloc(&scan->group_arena, bytes.size);
        if (!copy)
                return status_new(ERR_RESOURCE,
                                  "Too many rows agree in the first %d bytes of their values in index `%.*s`: they "
                                  "cannot be sorted in memory.",
                                  INDEX_VALUE_MAX, S(scan->name));
        memcpy(copy, bytes.data, bytes.size);
        *ret_copy = BYTES(copy, bytes.size);
        return ST_OK;
}

static Status group_add(IndexScan *scan, const IndexEntryParts *entry, Bytes whole)
{
        if (scan->group_count == scan->group_capacity) {
                size_t capacity = scan->group_capacity ? 2 * scan->group_capacity : 16;
                GroupItem *items = arena_try_alloc(&scan->group_arena, capacity * sizeof *items);
                if (!items)
                        return status_nomem();
                if (scan->group_count)
                        memcpy(items, scan->group, scan->group_count * sizeof *items);
                scan->group = items;
                scan->group_capacity = capacity;
        }
        GroupItem item = {.tag = entry->tag};
        TRY(group_keep(scan, whole, &item.whole));
        TRY(group_keep(scan, entry->row, &item.row));
        item.primary_key = BYTES(item.row.data, entry->primary_key.size);
        scan->group[scan->group_count++] = item;
        return ST_OK;
}

static Status group_read(GroupLoad *load, Arena *arena)
{
        IndexScan *scan = load->scan;
        ArenaMark mark = arena_mark(arena);
        for (;;) {
                Bytes key;
                IndexEntryParts entry;
                bool found;
                Value row, value;
                arena_rewind(arena, mark);
                TRY(next_entry(scan, load->cursor, arena, &key, &entry, &found));
                if (!found)
                        return ST_OK;
                TRY(row_of(scan, entry.primary_key, arena, &row));
                TRY(value_of(scan, row, entry.tag, arena, &value));
                Bytes whole = key_encode(value, arena);
                if (index_span_holds(&scan->span, whole))
                        TRY(group_add(scan, &entry, whole));
        }
}

static Value build_group(void *ctx, Arena *arena)
{
        GroupLoad *load = ctx;
        load->st = group_read(load, arena);
        return value_none();
}

static int compare_items(const void *a, const void *b)
{
        const GroupItem *x = a, *y = b;
        int order = bytes_compare(x->whole, y->whole);
        return order ? order : bytes_compare(x->row, y->row);
}

/* Of the entries that begin with `prefix` those within the bounds, as the present group. */
static Status group_load(IndexScan *scan, Bytes prefix)
{
        Arena arena;
        Value ignored;
        GroupLoad load = {.scan = scan};
        arena_reset(&scan->group_arena);
        scan->group = NULL;
        scan->group_count = scan->group_at = scan->group_capacity = 0;
        arena_init(&arena, 0);
        uint8_t after[INDEX_VALUE_MAX];
        Status st =
                cursor_tree_open(scan->snapshot, scan->index->tree, index_group(prefix, after), false, &load.cursor);
        if (!st) {
                st = build_guarded(&arena, build_group, &load, &ignored);
                if (!st)
                        st = load.st;
                else
                        status_ignore(load.st);
        }
        cursor_close(load.cursor);
        arena_done(&arena);
        if (!st && scan->group_count > 1)
                qsort(scan->group, scan->group_count, sizeof *scan->group, compare_items);
        return st;
}

static const GroupItem *group_next(IndexScan *scan)
{
        size_t at = scan->group_at++;
        return &scan->group[scan->descending ? scan->group_count - 1 - at : at];
}

/* The cursor has come to a cut entry, perhaps (by a skip) in the middle of its group: loads the group, goes to that
 * entry's place in it, and the cursor behind it. As a place in a group counts nothing but how many are before it, it
 * does not matter that the tree has them in another order. */
static Status group_enter(IndexScan *scan, Bytes key)
{
        uint8_t prefix[INDEX_VALUE_MAX], here[ENGINE_MAX_KEY_BYTES + 1];
        uint64_t before, skipped;
        if (key.size > ENGINE_MAX_KEY_BYTES)
                return not_an_entry(scan, "that is too long");
        memcpy(prefix, key.data, INDEX_VALUE_MAX);
        memcpy(here, key.data, key.size);
        here[key.size] = 0;
        TRY(group_load(scan, BYTES(prefix, INDEX_VALUE_MAX)));
        TRY(snapshot_tree_count(scan->snapshot, scan->index->tree,
                                (EngineRange){BYTES(prefix, INDEX_VALUE_MAX), BYTES(here, key.size)}, &before));
        if (scan->descending)
                before = scan->group_count - 1 - before;
        if (before >= scan->group_count)
                return not_an_entry(scan, "that is not where it was");
        scan->group_at = (size_t)before;
        return cursor_skip(scan->cursor, scan->group_count - 1 - before, &skipped);
}

/* --- walking --- */

/* The doubtful prefix of the first or last stretch in the scan's direction; data NULL: there is none. One group at both
 * ends is given in the first. */
static Bytes doubtful(const IndexScan *scan, bool first)
{
        const IndexSpan *span = &scan->span;
        bool low = first != scan->descending;
        if (!first && span->low_doubt.data && span->high_doubt.data && bytes_equal(span->low_doubt, span->high_doubt))
                return BYTES_NONE;
        return low ? span->low_doubt : span->high_doubt;
}

/* Begins the next stretch: called when the group is used up and the cursor, if any, is at its end. */
static Status next_stretch(IndexScan *scan)
{
        Bytes group = BYTES_NONE;
        cursor_close(take(scan->cursor));
        switch (scan->stretch) {
        case STRETCH_FIRST: group = doubtful(scan, true); break;
        case STRETCH_SURE:
                if (!scan->span.sure_empty)
                        TRY(cursor_tree_open(scan->snapshot, scan->index->tree, scan->span.sure, scan->descending,
                                             &scan->cursor));
                break;
        case STRETCH_LAST: group = doubtful(scan, false); break;
        case STRETCH_END: return ST_OK;
        }
        if (group.data)
                TRY(group_load(scan, group));
        scan->stretch++;
        return ST_OK;
}

static Status geo_next_entry(IndexScan *scan, Arena *hold, IndexEntryParts *ret, bool *ret_found)
{
        for (;;) {
                Bytes key;
                void *old = NULL;
                if (!scan->cursor) {
                        IndexCells cells;
                        *ret_found = scan->range_at < scan->range_count;
                        if (!*ret_found)
                                return ST_OK;
                        TRY(cursor_tree_open(scan->snapshot, scan->index->tree,
                                             index_cells(scan->ranges[scan->range_at], &cells), false, &scan->cursor));
                        scan->range_at++;
                }
                TRY(next_entry(scan, scan->cursor, hold, &key, ret, ret_found));
                if (!*ret_found) {
                        cursor_close(take(scan->cursor));
                        continue;
                }
                TRY(map_put(scan->seen, ret->row, scan, &old));
                if (!old)
                        return ST_OK;
        }
}

Status index_scan_next(IndexScan *scan, Arena *hold, Value *ret_row)
{
        for (;;) {
                Bytes key;
                IndexEntryParts entry;
                bool found = false;
                if (scan->group_at < scan->group_count) {
                        const GroupItem *item = group_next(scan);
                        return give(scan, item->primary_key, item->tag, hold, ret_row);
                }
                if (scan->ranges)
                        TRY(geo_next_entry(scan, hold, &entry, &found));
                else if (scan->cursor)
                        TRY(next_entry(scan, scan->cursor, hold, &key, &entry, &found));
                if (found && !entry.cut)
                        return give(scan, entry.primary_key, entry.tag, hold, ret_row);
                if (found) {
                        TRY(group_enter(scan, key));
                        continue;
                }
                if (scan->ranges || scan->stretch == STRETCH_END) {
                        cursor_close(take(scan->cursor));
                        *ret_row = value_none();
                        return ST_OK;
                }
                TRY(next_stretch(scan));
        }
}

static Status geo_skip(IndexScan *scan, uint64_t n, uint64_t *ret_skipped)
{
        Arena arena;
        Status st = ST_OK;
        bool found = true;
        uint64_t skipped = 0;
        arena_init(&arena, 0);
        while (!st && found && skipped < n) {
                IndexEntryParts entry;
                arena_reset(&arena);
                st = geo_next_entry(scan, &arena, &entry, &found);
                skipped += !st && found;
        }
        arena_done(&arena);
        *ret_skipped = skipped;
        return st;
}

Status index_scan_skip(IndexScan *scan, uint64_t n, uint64_t *ret_skipped)
{
        uint64_t left = n;
        if (scan->ranges)
                return geo_skip(scan, n, ret_skipped);
        while (left > 0) {
                uint64_t step = MIN(left, (uint64_t)(scan->group_count - scan->group_at));
                scan->group_at += (size_t)step;
                left -= step;
                if (left == 0)
                        break;
                if (scan->cursor) {
                        TRY(cursor_skip(scan->cursor, left, &step));
                        left -= step;
                        if (left == 0)
                                break;
                }
                if (scan->stretch == STRETCH_END) {
                        cursor_close(take(scan->cursor));
                        break;
                }
                TRY(next_stretch(scan));
        }
        *ret_skipped = n - left;
        return ST_OK;
}

Status index_scan_count(IndexScan *scan, uint64_t *ret_count)
{
        uint64_t sure = 0, doubtful_count = 0;
        if (!scan->span.sure_empty)
                TRY(snapshot_tree_count(scan->snapshot, scan->index->tree, scan->span.sure, &sure));
        for (int first = 1; first >= 0; first--) {
                Bytes group = doubtful(scan, first);
                if (group.data) {
                        TRY(group_load(scan, group));
                        doubtful_count += scan->group_count;
                }
        }
        *ret_count = sure + doubtful_count;
        return ST_OK;
}
