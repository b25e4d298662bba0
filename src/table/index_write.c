/* index_write.c - rows' entries in the indexes, kept in step with the rows by the commits that change them; and what a
 * unique index refuses. */
#include "table/index_int.h"

#include "value/json.h"
#include "value/time.h"

bool index_row_time(const Index *index, Value row, double *ret_seconds)
{
        Value v = value_get(row, index->field);
        if (value_is(v, V_NUMBER))
                *ret_seconds = v.number;
        else if (value_is(v, V_TIME))
                *ret_seconds = time_epoch(v);
        else
                return false;
        return true;
}

/* *ret_failed: the function raised an error that was not a missing field's. */
static Status index_value_of(const Index *index, Value row, Arena *arena, Value *ret, bool *ret_failed)
{
        double seconds;
        *ret = value_none();
        *ret_failed = false;
        if (!value_is_object(row))
                return ST_OK;
        if (!index->field.data)
                return closure_index_try(index->closure, row, arena, ret, ret_failed);
        if (index_row_time(index, row, &seconds))
                *ret = value_number(seconds);
        return ST_OK;
}

Status index_entries_of(const Index *index, Bytes key, Value row, Arena *arena, IndexEntries *ret)
{
        Value value;
        bool failed;
        IndexEntry rest;
        *ret = (IndexEntries){0};
        TRY(index_value_of(index, row, arena, &value, &failed));
        if (!value_is(value, V_NONE))
                TRY(index_entries(index->shape, value, key, arena, ret));
        if (index->field.data || !index_rest_entry(index->shape, value, failed, key, arena, &rest))
                return ST_OK;
        IndexEntry *items = arena_array(arena, IndexEntry, ret->count + 1);
        if (ret->count)
                memcpy(items, ret->items, ret->count * sizeof *items);
        items[ret->count++] = rest; /* behind all others in the tree, too */
        ret->items = items;
        return ST_OK;
}

typedef struct Planner {
        Arena *arena;
        IndexOps ops;
        size_t capacity;
} Planner;

static void add_op(Planner *planner, const Index *index, bool remove, const IndexEntry *entry)
{
        IndexOps *ops = &planner->ops;
        if (ops->count == planner->capacity) {
                size_t capacity = planner->capacity ? 2 * planner->capacity : 4;
                IndexOp *items = arena_array(planner->arena, IndexOp, capacity);
                if (ops->count)
                        memcpy(items, ops->items, ops->count * sizeof *items);
                ops->items = items;
                planner->capacity = capacity;
        }
        ops->items[ops->count++] = (IndexOp){.index = index, .remove = remove, .entry = *entry};
}

/* Both lists are sorted. Entries that the row had and has are left alone, but not in an index that is being built: the
 * builder has perhaps not come to the row yet, and passes over it when it comes because the row has changed. */
static void plan_difference(Planner *planner, const Index *index, bool ready, const IndexEntries *had,
                            const IndexEntries *has)
{
        size_t i = 0, k = 0;
        while (i < had->count || k < has->count) {
                int order = i == had->count   ? 1
                            : k == has->count ? -1
                                              : bytes_compare(had->items[i].key, has->items[k].key);
                if (order < 0)
                        add_op(planner, index, true, &had->items[i]);
                else if (order > 0 || !ready)
                        add_op(planner, index, false, &has->items[k]);
                i += order <= 0;
                k += order >= 0;
        }
}

Status index_plan(const Schema *schema, Bytes key, Value old_row, Value new_row, Arena *arena, IndexOps *ret)
{
        Planner planner = {.arena = arena};
        for (size_t i = 0; i < schema->tree_count; i++) {
                IndexEntries had, has;
                if (unlikely(schema->infos[i].error.data != NULL)) /* it has no entries, and gets none */
                        continue;
                TRY(index_entries_of(schema->indexes[i], key, old_row, arena, &had));
                TRY(index_entries_of(schema->indexes[i], key, new_row, arena, &has));
                plan_difference(&planner, schema->indexes[i], schema->infos[i].ready, &had, &has);
        }
        *ret = planner.ops;
        return ST_OK;
}

Status index_apply(Commit *commit, StoreTable *store, const IndexOps *ops)
{
        for (size_t i = 0; i < ops->count; i++) {
                const IndexOp *op = &ops->items[i];
                bool found;
                if (op->remove)
                        TRY(commit_tree_delete(commit, store, op->index->tree, op->entry.key, &found));
                else
                        TRY(commit_tree_put(commit, store, op->index->tree, op->entry.key,
                                            BYTES(op->entry.value, sizeof op->entry.value)));
        }
        return ST_OK;
}

Status index_apply_removals(Commit *commit, StoreTable *store, const IndexOps *ops)
{
        for (size_t i = 0; i < ops->count; i++) {
                const IndexOp *op = &ops->items[i];
                bool found;
                if (op->remove)
                        TRY(commit_tree_delete(commit, store, op->index->tree, op->entry.key, &found));
        }
        return ST_OK;
}

/* --- uniqueness --- */

/* The row under `key` as the commit has it by now. */
static Status row_now(Commit *commit, const TableRef *table, Bytes key, Arena *arena, Value *ret_row)
{
        Bytes bytes;
        bool found;
        TRY(commit_get(commit, table->store, key, arena, &bytes, &found));
        if (!found)
                return status_new(ERR_CORRUPT,
                                  "an index of table `%.*s.%.*s` has an entry of a row that does not exist",
                                  (int)table->info.db.size, (const char *)table->info.db.data,
                                  (int)table->info.name.size, (const char *)table->info.name.data);
        *ret_row = value_decode(bytes.data);
        return ST_OK;
}

/* Entries that were cut and agree in all that is stored: do the values? */
static Status has_whole(const Index *index, Bytes key, Value row, Bytes whole, Arena *arena, bool *ret_has)
{
        IndexEntries entries;
        TRY(index_entries_of(index, key, row, arena, &entries));
        *ret_has = false;
        for (size_t i = 0; i < entries.count && !*ret_has; i++)
                *ret_has = bytes_equal(entries.items[i].whole, whole);
        return ST_OK;
}

Status index_find_other(Commit *commit, const TableRef *table, const Index *index, Bytes key, const IndexEntry *entry,
                        Arena *arena, Value *ret_row, Value *ret_value)
{
        uint8_t after[INDEX_SAME_MAX];
        *ret_row = value_none();
        if (index_is_rest(entry, index->shape))
                return ST_OK;
        EngineRange range = index_same(entry, after);
        for (;;) {
                Bytes found_key, found_value;
                IndexEntryParts found;
                Value row, value;
                bool there, failed, same = true;
                TRY(commit_tree_first(commit, table->store, index->tree, range, arena, &found_key, &found_value,
                                      &there));
                if (!there)
                        return ST_OK;
                if (!index_entry_read(index->shape, found_key, found_value, &found))
                        return status_new(ERR_CORRUPT, "an index of table `%.*s.%.*s` has an entry that is none",
                                          (int)table->info.db.size, (const char *)table->info.db.data,
                                          (int)table->info.name.size, (const char *)table->info.name.data);
                if (!bytes_equal(found.primary_key, key)) {
                        TRY(row_now(commit, table, found.primary_key, arena, &row));
                        if (entry->whole.data)
                                TRY(has_whole(index, found.primary_key, row, entry->whole, arena, &same));
                        if (same) {
                                TRY(index_value_of(index, row, arena, &value, &failed));
                                *ret_value = index_value_at(index->shape, value, found.tag);
                                *ret_row = row;
                                return ST_OK;
                        }
                }
                /* On behind this row: it has no more to say, however many entries it has here. */
                size_t upto = (size_t)(found.primary_key.data - found_key.data) + found.primary_key.size;
                uint8_t *next = arena_alloc(arena, upto + INDEX_TAG_BYTES);
                memcpy(next, found_key.data, upto);
                memset(next + upto, 0xff, INDEX_TAG_BYTES); /* no tag is as large */
                range.low = BYTES(next, upto + INDEX_TAG_BYTES);
        }
}

Bytes index_value_text(Value value, Arena *arena)
{
        enum { SHOWN_BYTES = 200 };
        Bytes text = json_text(value, arena);
        size_t size = MIN(text.size, (size_t)SHOWN_BYTES);
        if (size == text.size)
                return text;
        while (size > 0 && (text.data[size] & 0xc0) == 0x80) /* not in the middle of a character */
                size--;
        return BYTES_STR(arena_printf(arena, "%.*s...", (int)size, (const char *)text.data));
}

static Status duplicate_error(const TableRef *table, Bytes name, Value row, Value value, Arena *arena)
{
        Bytes value_text = index_value_text(value, arena);
        Bytes key_text = json_text(value_get(row, table->info.primary_key), arena);
        return status_new(ERR_OP_FAILED,
                          "Duplicate value in unique index `%.*s`: %.*s is that of the row with primary key %.*s.",
                          (int)name.size, (const char *)name.data, (int)value_text.size, (const char *)value_text.data,
                          (int)key_text.size, (const char *)key_text.data);
}

Status index_check_unique(Commit *commit, const TableRef *table, const Schema *schema, Bytes key, const IndexOps *ops,
                          Arena *arena, Status *ret_duplicate)
{
        *ret_duplicate = ST_OK;
        for (size_t i = 0; schema->unique && i < ops->count; i++) {
                const IndexOp *op = &ops->items[i];
                Value row, value;
                size_t at = 0;
                if (op->remove || !op->index->unique)
                        continue;
                TRY(index_find_other(commit, table, op->index, key, &op->entry, arena, &row, &value));
                if (value_is(row, V_NONE))
                        continue;
                while (schema->indexes[at] != op->index)
                        at++;
                *ret_duplicate = duplicate_error(table, schema->infos[at].name, row, value, arena);
                return ST_OK;
        }
        return ST_OK;
}
