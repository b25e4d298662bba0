/* drop.c - a table's trees that are to go, or one that was cleared: first find everything under its root, then forget
 * it, then give it back. Finding can fail and has changed nothing then; giving back can fail too, and goes on where it
 * stopped. */
#include "storage/tree/tree_int.h"

#include <assert.h>

typedef struct Drop {
        PTree *tree;
        bool values; /* some may lie in extents of their own */
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

/* What is not this tree's to free is no error where all the rest is to go. */
static Status only_nomem(Status st)
{
        return status_code(st) == ERR_NOMEM ? st : status_free(st);
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
                if (page->h.level > 1 || drop->values)
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

static Status drop_find(Drop *drop, const Root *root)
{
        PTree *tree = drop->tree;
        for (uint32_t i = 0; i < root->count; i++) {
                Child *top = (Child *)(uintptr_t)&root->tops[i].top;
                drop->values = root->tops[i].values > 0;
                if (top->rows)
                        TRY(drop_node(drop, top, HEIGHT_LIMIT));
        }
        for (ClearedTree *cleared = tree->cleared; cleared; cleared = cleared->next) {
                drop->values = cleared->tree.values > 0;
                TRY(drop_node(drop, &cleared->tree.top, HEIGHT_LIMIT));
        }
        return tree->record.extent ? drop_add(drop, tree->record.extent) : ST_OK;
}

/* Nobody reads them any more. */
static void extents_forget(PCache *cache, const Drop *drop)
{
        for (size_t i = 0; i < drop->count; i++) {
                node_release(cache, NULL, drop->items[i]);
                value_release(cache, drop->items[i]);
        }
}

/* Nothing of the tree is in memory any more, and its root is empty. */
static void drop_forget(PTree *tree, Root *root, Drop *drop)
{
        for (uint32_t i = 0; i < root->count; i++)
                dirty_discard(tree->cache, &root->tops[i].top, 0);
        for (ClearedTree *cleared = tree->cleared; cleared; cleared = cleared->next)
                dirty_discard(tree->cache, &cleared->tree.top, 0);
        cleared_list_free(take(tree->cleared));
        extents_forget(tree->cache, drop);
        root->count = 0;
        atomic_store_explicit(&tree->row_count, 0, memory_order_relaxed);
        atomic_store_explicit(&tree->row_bytes, 0, memory_order_relaxed);
        tree->record = (PTreeAddress){0};
        tree->doomed = drop->items;
        tree->doomed_count = drop->count;
        tree->gone = true;
}

/* What was found goes to the space. Something else is there, or it is free: then it is not this tree's to free, and
 * the first such error is returned when all the others are given. ERR_NOMEM: to be repeated. */
static Status doomed_give(PTree *tree, uint64_t position)
{
        Status wrong = ST_OK;
        for (; tree->doomed_count > 0; tree->doomed_count--) {
                Status st = space_free(tree->cache->space, tree->doomed[tree->doomed_count - 1], position);
                if (status_code(st) == ERR_NOMEM) {
                        status_ignore(wrong);
                        return st;
                }
                if (st && !wrong)
                        wrong = st;
                else
                        status_ignore(st);
        }
        mem_free(tree->doomed);
        tree->doomed = NULL;
        return wrong;
}

Status ptree_free(PTree *tree, uint64_t position, bool anyway)
{
        Root *root = atomic_load(&tree->root);
        assert(!tree->writing && pin_count_of(tree->cache, tree) == 0);
        garbage_drop(tree);
        if (tree->fresh.count > 0) /* the space could not take it */
                return status_nomem();
        if (!tree->gone) {
                Drop drop = {.tree = tree, .anyway = anyway};
                Status st = only_nomem(doomed_give(tree, 0)); /* of a flush that failed */
                if (!st)
                        st = drop_find(&drop, root);
                if (st) {
                        mem_free(drop.items);
                        return st;
                }
                drop_forget(tree, root, &drop);
        }
        Status st = doomed_give(tree, position);
        return anyway ? only_nomem(st) : st;
}

/* --- trees that were cleared --- */

void cleared_list_free(ClearedTree *list)
{
        for (ClearedTree *next; list; list = next) {
                next = list->next;
                mem_free(list);
        }
}

bool ptree_has_cleared(PTree *tree)
{
        mutex_lock(&tree->gc_mu);
        bool some = tree->record_stale;
        for (const ClearedTree *cleared = tree->cleared; cleared && !some; cleared = cleared->next)
                some = !cleared->damaged;
        mutex_unlock(&tree->gc_mu);
        return some;
}

bool ptree_must_flush(const PTree *tree)
{
        return tree->record_stale;
}

/* Out of the list, which grows only at its head. */
static void cleared_unlink(PTree *tree, const ClearedTree *cleared)
{
        mutex_lock(&tree->gc_mu);
        ClearedTree **link = &tree->cleared;
        while (*link != cleared)
                link = &(*link)->next;
        *link = cleared->next;
        mutex_unlock(&tree->gc_mu);
}

static Status cleared_release_one(PTree *tree, ClearedTree *cleared)
{
        Drop drop = {.tree = tree, .values = cleared->tree.values > 0};
        Status st = drop_node(&drop, &cleared->tree.top, HEIGHT_LIMIT);
        if (st) {
                mem_free(drop.items);
                cleared->damaged = status_code(st) == ERR_CORRUPT;
                return cleared->damaged ? status_free(st) : st;
        }
        cleared_unlink(tree, cleared);
        dirty_discard(tree->cache, &cleared->tree.top, 0);
        extents_forget(tree->cache, &drop);
        mem_free(cleared);
        tree->doomed = drop.items;
        tree->doomed_count = drop.count;
        tree->record_stale = true;
        return only_nomem(doomed_give(tree, 0));
}

Status cleared_release(PTree *tree, uint64_t version)
{
        TRY(only_nomem(doomed_give(tree, 0)));
        mutex_lock(&tree->gc_mu);
        ClearedTree *next, *cleared = tree->cleared;
        mutex_unlock(&tree->gc_mu);
        for (; cleared; cleared = next) {
                next = cleared->next;
                /* A snapshot that is taken from now on has a root without it. */
                if (cleared->death <= version && !cleared->damaged &&
                    !pin_may_be_below(tree->cache, tree, cleared->death))
                        TRY(cleared_release_one(tree, cleared));
        }
        return ST_OK;
}
