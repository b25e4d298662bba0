/* drop.c - a tree that is to go: first find everything under its root, then forget it, then give it back. Finding can
 * fail and has changed nothing then; giving back can fail too, and goes on where it stopped. */
#include "storage/tree/tree_int.h"

#include <assert.h>

typedef struct Drop {
        PTree *tree;
        const Root *root;
        bool anyway;
        Extent *items;
        size_t count, capacity;
} Drop;

static Status drop_add(Drop *drop, Extent extent)
{
        if (drop->count == drop->capacity) {
                size_t capacity = MAX(2 * drop->capacity, (size_t)64);
                Extent *items = mem_realloc(drop->items, capacity * sizeof(*items));
                if (!items)
                        return status_nomem();
                drop->items = items;
                drop->capacity = capacity;
        }
        drop->items[drop->count++] = extent;
        return ST_OK;
}

/* What cannot be read is passed over with `anyway`. */
static Status drop_error(const Drop *drop, Status st)
{
        return drop->anyway && status_code(st) != ERR_NOMEM ? status_free(st) : st;
}

static Extent child_extent(Child *child)
{
        uint64_t extent = atomic_load(&child->extent);
        return extent ? extent : atomic_load(&atomic_load(&child->frame)->extent);
}

/* The node has a level below `above`. */
static Status drop_node(Drop *drop, Child *child, unsigned above)
{
        PCache *cache = drop->tree->cache;
        _cleanup_(mem_freep) Page *page = NULL;
        Extent extent = 0;
        Status st = node_copy(cache, child, &extent, &page);
        if (!st && page->h.level >= above)
                st = extent ? corrupt(cache, extent, "it is at another height than its neighbours")
                            : status_new(ERR_CORRUPT, "%s: a node in memory is damaged", cache->name);
        if (extent)
                TRY(drop_add(drop, extent));
        if (st)
                return drop_error(drop, st);
        for (unsigned i = 0; i < page_child_count(page); i++) {
                Child *below = &page->children[i];
                /* Without values to be found in leaves these need not be read. */
                if (page->h.level > 1 || drop->root->value_count > 0)
                        TRY(drop_node(drop, below, page->h.level));
                else if (child_extent(below))
                        TRY(drop_add(drop, child_extent(below)));
        }
        for (unsigned i = 0; page->h.level == 0 && i < page->h.count; i++) {
                Bytes value;
                LargeRef ref;
                if (!(page_value(page, i, &value) & CODE_LARGE))
                        continue;
                st = ref_unpack(cache, value, &ref);
                if (st)
                        TRY(drop_error(drop, st));
                else
                        TRY(drop_add(drop, ref.extent));
        }
        return ST_OK;
}

static Status drop_find(Drop *drop)
{
        PTree *tree = drop->tree;
        for (uint32_t i = 0; i < drop->root->count; i++) {
                Child *top = (Child *)(uintptr_t)&drop->root->tops[i].top;
                if (top->rows)
                        TRY(drop_node(drop, top, HEIGHT_LIMIT));
        }
        return tree->record.extent ? drop_add(drop, tree->record.extent) : ST_OK;
}

/* Nothing of the tree is in memory any more, and its root is empty. */
static void drop_forget(PTree *tree, Root *root, Drop *drop)
{
        for (uint32_t i = 0; i < root->count; i++)
                dirty_discard(tree->cache, &root->tops[i].top, 0);
        for (size_t i = 0; i < drop->count; i++) {
                node_release(tree->cache, NULL, drop->items[i]);
                value_release(tree->cache, drop->items[i]);
        }
        root->count = 0;
        root->row_bytes = root->value_count = 0;
        atomic_store_explicit(&tree->row_count, 0, memory_order_relaxed);
        atomic_store_explicit(&tree->row_bytes, 0, memory_order_relaxed);
        tree->record = (PTreeAddress){0};
        tree->doomed = drop->items;
        tree->doomed_count = drop->count;
        tree->gone = true;
}

Status ptree_free(PTree *tree, uint64_t position, bool anyway)
{
        Root *root = atomic_load(&tree->root);
        assert(!tree->writing && pin_count_of(tree->cache, tree) == 0);
        garbage_drop(tree);
        if (tree->fresh.count > 0) /* the space could not take it */
                return status_nomem();
        if (!tree->gone) {
                Drop drop = {.tree = tree, .root = root, .anyway = anyway};
                Status st = drop_find(&drop);
                if (st) {
                        mem_free(drop.items);
                        return st;
                }
                drop_forget(tree, root, &drop);
        }
        Status wrong = ST_OK;
        for (; tree->doomed_count > 0; tree->doomed_count--) {
                Status st = space_free(tree->cache->space, tree->doomed[tree->doomed_count - 1], position);
                if (status_code(st) == ERR_NOMEM) {
                        status_ignore(wrong);
                        return st;
                }
                /* Something else is there, or it is freed: then it is not this tree's to free. */
                if (st && !wrong && !anyway)
                        wrong = st;
                else
                        status_ignore(st);
        }
        mem_free(tree->doomed);
        tree->doomed = NULL;
        return wrong;
}
