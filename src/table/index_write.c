/* index_write.c - rows' entries in the indexes, kept in step with the rows by the commits that change them. */
#include "table/index_int.h"

Status index_entries_of(const Index *index, Bytes key, Value row, Arena *arena, IndexEntries *ret)
{
        Value value = value_none();
        if (value_is_object(row))
                TRY(closure_index_value(index->closure, row, arena, &value));
        if (value_is(value, V_NONE)) {
                *ret = (IndexEntries){0};
                return ST_OK;
        }
        return index_entries(index->shape, value, key, arena, ret);
}

typedef struct Planner {
        Arena *arena;
        IndexOps ops;
        size_t capacity;
} Planner;

static void add_op(Planner *planner, uint32_t tree, bool remove, const IndexEntry *entry)
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
        ops->items[ops->count++] = (IndexOp){.tree = tree, .remove = remove, .entry = *entry};
}

/* Both lists are sorted. Entries that the row had and has are left alone, but not in an index that is being built: the
 * builder has perhaps not come to the row yet, and passes over it when it comes because the row has changed. */
static void plan_difference(Planner *planner, uint32_t tree, bool ready, const IndexEntries *had,
                            const IndexEntries *has)
{
        size_t i = 0, k = 0;
        while (i < had->count || k < has->count) {
                int order = i == had->count   ? 1
                            : k == has->count ? -1
                                              : bytes_compare(had->items[i].key, has->items[k].key);
                if (order < 0)
                        add_op(planner, tree, true, &had->items[i]);
                else if (order > 0 || !ready)
                        add_op(planner, tree, false, &has->items[k]);
                i += order <= 0;
                k += order >= 0;
        }
}

Status index_plan(const Schema *schema, Bytes key, Value old_row, Value new_row, Arena *arena, IndexOps *ret)
{
        Planner planner = {.arena = arena};
        for (size_t i = 0; i < schema->count; i++) {
                IndexEntries had, has;
                TRY(index_entries_of(schema->indexes[i], key, old_row, arena, &had));
                TRY(index_entries_of(schema->indexes[i], key, new_row, arena, &has));
                plan_difference(&planner, schema->indexes[i]->tree, schema->infos[i].ready, &had, &has);
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
                        TRY(commit_tree_delete(commit, store, op->tree, op->entry.key, &found));
                else
                        TRY(commit_tree_put(commit, store, op->tree, op->entry.key,
                                            BYTES(op->entry.value, sizeof op->entry.value)));
        }
        return ST_OK;
}
