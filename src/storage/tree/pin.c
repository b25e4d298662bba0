/* pin.c - snapshots, and when what a commit replaced may go: the scheme of storage/memory/epoch.c, where the order of
 * pinning, publishing and looking is explained. What goes here is not only memory: the extents of dead nodes are given
 * to the space, as replaced at the position of the commit that replaced them. */
#include "storage/tree/tree_int.h"

#include <assert.h>
#include <stdlib.h>

static PSnapshot *pin_at(PCache *cache, unsigned i)
{
        return &atomic_load_explicit(&cache->pins[i / SLOT_CHUNK], memory_order_acquire)[i % SLOT_CHUNK];
}

unsigned pin_count_of(PCache *cache, const PTree *tree)
{
        unsigned pins = 0, high = atomic_load(&cache->pin_high);
        for (unsigned i = 0; i < high; i++)
                if (atomic_load(&pin_at(cache, i)->state) > PIN_ENTERING &&
                    atomic_load(&pin_at(cache, i)->tree) == tree)
                        pins++;
        return pins;
}

bool pin_may_be_below(PCache *cache, const PTree *tree, uint64_t version)
{
        unsigned high = atomic_load(&cache->pin_high);
        for (unsigned i = 0; i < high; i++) {
                uint64_t state = atomic_load(&pin_at(cache, i)->state);
                if (state == PIN_ENTERING)
                        return true;
                if (state > PIN_ENTERING && state >> 2 < version && atomic_load(&pin_at(cache, i)->tree) == tree)
                        return true;
        }
        return false;
}

Status ptree_pin(PTree *tree, PSnapshot **ret_snapshot)
{
        PSnapshot *pin;
        TRY(pin_slot_take(tree->cache, &pin));
        atomic_store_explicit(&pin->tree, tree, memory_order_relaxed);
        pin->face = tree->options.face;
        pin->root = atomic_load(&tree->root);
        atomic_store_explicit(&pin->state, pin->root->version << 2 | PIN_PINNED, memory_order_release);
        *ret_snapshot = pin;
        return ST_OK;
}

/* --- garbage --- */

static bool list_add(GarbageList *list, Garbage item)
{
        if (list->count == list->capacity) {
                size_t capacity = MAX(2 * list->capacity, (size_t)32);
                Garbage *items = mem_realloc(list->items, capacity * sizeof(Garbage));
                if (!items)
                        return false;
                list->items = items;
                list->capacity = capacity;
        }
        list->items[list->count++] = item;
        return true;
}

Status garbage_add(PTree *tree, Garbage item)
{
        if (tree->fresh.count < tree->fresh.capacity) {
                tree->fresh.items[tree->fresh.count++] = item;
                return ST_OK;
        }
        mutex_lock(&tree->gc_mu); /* ptree_dead() may be reading the array */
        bool added = list_add(&tree->fresh, item);
        mutex_unlock(&tree->gc_mu);
        return added ? ST_OK : status_nomem();
}

/* False: the space cannot take the extent now; tried again at the next sweep. */
static bool garbage_free(PTree *tree, Garbage *item)
{
        if (item->kind == GARBAGE_ROOT) {
                mem_free(item->object);
                return true;
        }
        if (item->kind == GARBAGE_NODE) {
                item->extent = node_release(tree->cache, item->object, item->extent);
                item->object = NULL;
                item->kind = GARBAGE_LARGE;
        }
        if (item->extent) {
                value_release(tree->cache, item->extent);
                Status st = space_free(tree->cache->space, item->extent, item->position ? item->position - 1 : 0);
                /* ERR_CORRUPT: a wrong writer's nodes share it; it is not free space, and not this tree's. */
                bool later = status_code(st) == ERR_NOMEM;
                status_ignore(st);
                return !later;
        }
        return true;
}

static int version_compare(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
        return (x > y) - (x < y);
}

/* Fills tree->pinned with the pinned versions, ascending, and marks their pins as holding. False if nothing can be said
 * now: a reader is entering, or there is no memory. */
static bool pins_collect(PTree *tree, size_t *ret_count) REQUIRES(tree->gc_mu)
{
        PCache *cache = tree->cache;
        size_t n = 0;
        unsigned high = atomic_load(&cache->pin_high);
        for (unsigned i = 0; i < high; i++) {
                PSnapshot *pin = pin_at(cache, i);
                uint64_t state = atomic_load(&pin->state);
                for (;;) {
                        if (state == PIN_IDLE)
                                break;
                        if (state == PIN_ENTERING)
                                return false;
                        if (atomic_load(&pin->tree) != tree)
                                break;
                        if ((state & 3) == PIN_HOLDING ||
                            atomic_compare_exchange_strong(&pin->state, &state, state | PIN_HOLDING))
                                break;
                }
                if (state <= PIN_ENTERING || atomic_load(&pin->tree) != tree)
                        continue;
                if (n == tree->pinned_capacity) {
                        size_t capacity = MAX(2 * tree->pinned_capacity, (size_t)16);
                        uint64_t *pinned = mem_realloc(tree->pinned, capacity * sizeof(uint64_t));
                        if (!pinned)
                                return false;
                        tree->pinned = pinned;
                        tree->pinned_capacity = capacity;
                }
                tree->pinned[n++] = state >> 2;
        }
        if (n > 1)
                qsort(tree->pinned, n, sizeof(uint64_t), version_compare);
        *ret_count = n;
        return true;
}

/* The newest pinned version below `death`; false if there is none. */
static bool pin_below(const PTree *tree, size_t count, uint64_t death, uint64_t *ret_version) REQUIRES(tree->gc_mu)
{
        size_t low = 0;
        while (low < count) {
                size_t middle = (low + count) / 2;
                if (tree->pinned[middle] < death)
                        low = middle + 1;
                else
                        count = middle;
        }
        if (low == 0)
                return false;
        *ret_version = tree->pinned[low - 1];
        return true;
}

/* Keeps one place free, which only a list that must not be lost takes (`last`). */
static Holder *holder_find(PTree *tree, uint64_t version, bool last) REQUIRES(tree->gc_mu)
{
        size_t low = 0, high = tree->holder_count;
        while (low < high) {
                size_t middle = (low + high) / 2;
                if (tree->holders[middle].version < version)
                        low = middle + 1;
                else
                        high = middle;
        }
        if (low < tree->holder_count && tree->holders[low].version == version)
                return &tree->holders[low];
        if (tree->holder_count + (last ? 0 : 1) >= tree->holder_capacity) {
                size_t capacity = MAX(2 * tree->holder_capacity, (size_t)8);
                Holder *holders = mem_realloc(tree->holders, capacity * sizeof(Holder));
                if (!holders)
                        return NULL;
                tree->holders = holders;
                tree->holder_capacity = capacity;
        }
        memmove(&tree->holders[low + 1], &tree->holders[low], (tree->holder_count - low) * sizeof(Holder));
        tree->holder_count++;
        tree->holders[low] = (Holder){.version = version};
        return &tree->holders[low];
}

/* Frees each of `list`, hands it to the pin that needs it, or (no memory for either) keeps it. */
static void list_sift(PTree *tree, size_t pin_count, GarbageList *list) REQUIRES(tree->gc_mu)
{
        size_t kept = 0, freed = 0;
        for (size_t i = 0; i < list->count; i++) {
                Garbage item = list->items[i];
                uint64_t version;
                if (!pin_below(tree, pin_count, item.death, &version) || version < item.birth) {
                        if (garbage_free(tree, &item)) {
                                freed++;
                                continue;
                        }
                } else {
                        Holder *holder = holder_find(tree, version, false);
                        if (holder && list_add(&holder->list, item))
                                continue;
                }
                list->items[kept++] = item;
        }
        list->count = kept;
        atomic_fetch_sub(&tree->garbage_count, freed);
}

/* What pins that are gone by now were holding. Sifting may add holders for older pins, to the left. */
static void holders_sift(PTree *tree, size_t pin_count) REQUIRES(tree->gc_mu)
{
        for (size_t i = tree->holder_count; i-- > 0;) {
                uint64_t version = tree->holders[i].version, pin;
                if (pin_below(tree, pin_count, version + 1, &pin) && pin == version)
                        continue;
                GarbageList list = tree->holders[i].list;
                memmove(&tree->holders[i], &tree->holders[i + 1], (tree->holder_count - i - 1) * sizeof(Holder));
                tree->holder_count--;
                list_sift(tree, pin_count, &list);
                if (list.count > 0) {
                        Holder *again = holder_find(tree, version, true);
                        assert(again && again->list.count == 0); /* nobody pins `version`, and there is a place */
                        again->list = list;
                } else {
                        mem_free(list.items);
                }
                i = MIN(i, tree->holder_count);
        }
}

static void sweep_locked(PTree *tree, bool writer) REQUIRES(tree->gc_mu)
{
        size_t pins;
        if (!pins_collect(tree, &pins))
                return;
        holders_sift(tree, pins);
        if (writer) {
                list_sift(tree, pins, &tree->fresh);
                atomic_store_explicit(&tree->fresh_committed, tree->fresh.count, memory_order_relaxed);
        }
}

void garbage_sweep(PTree *tree, bool writer)
{
        mutex_lock(&tree->gc_mu);
        sweep_locked(tree, writer);
        mutex_unlock(&tree->gc_mu);
}

void garbage_drop(PTree *tree)
{
        mutex_lock(&tree->gc_mu);
        holders_sift(tree, 0);
        list_sift(tree, 0, &tree->fresh);
        atomic_store_explicit(&tree->fresh_committed, tree->fresh.count, memory_order_relaxed);
        mutex_unlock(&tree->gc_mu);
}

static void list_resolve(Garbage *items, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                Frame *frame = items[i].kind == GARBAGE_NODE ? items[i].object : NULL;
                Extent extent = frame ? atomic_load(&frame->extent) : 0;
                if (extent) {
                        items[i].object = NULL;
                        items[i].extent = extent;
                }
        }
}

void garbage_resolve(PTree *tree)
{
        mutex_lock(&tree->gc_mu);
        list_resolve(tree->fresh.items, atomic_load_explicit(&tree->fresh_committed, memory_order_acquire));
        for (size_t i = 0; i < tree->holder_count; i++)
                list_resolve(tree->holders[i].list.items, tree->holders[i].list.count);
        mutex_unlock(&tree->gc_mu);
}

static Status list_dead(const Garbage *items, size_t count, uint64_t position, Status (*each)(void *ctx, Extent extent),
                        void *ctx)
{
        for (size_t i = 0; i < count; i++) {
                Extent extent = items[i].extent;
                if (items[i].kind == GARBAGE_ROOT || items[i].position > position)
                        continue;
                if (items[i].kind == GARBAGE_NODE && items[i].object)
                        extent = atomic_load(&((Frame *)items[i].object)->extent);
                if (extent)
                        TRY(each(ctx, extent));
        }
        return ST_OK;
}

Status ptree_dead(PTree *tree, uint64_t position, Status (*each)(void *ctx, Extent extent), void *ctx)
{
        mutex_lock(&tree->gc_mu);
        size_t fresh = atomic_load_explicit(&tree->fresh_committed, memory_order_acquire);
        Status st = list_dead(tree->fresh.items, fresh, position, each, ctx);
        for (size_t i = 0; i < tree->holder_count && !st; i++)
                st = list_dead(tree->holders[i].list.items, tree->holders[i].list.count, position, each, ctx);
        mutex_unlock(&tree->gc_mu);
        return st;
}

void ptree_unpin(PSnapshot *pin)
{
        if (!pin)
                return;
        uint64_t state = atomic_load_explicit(&pin->state, memory_order_relaxed);
        if ((state & 3) == PIN_PINNED &&
            atomic_compare_exchange_strong_explicit(&pin->state, &state, PIN_IDLE, memory_order_release,
                                                    memory_order_relaxed))
                return;
        /* It holds garbage. */
        PTree *tree = atomic_load_explicit(&pin->tree, memory_order_relaxed);
        assert((state & 3) == PIN_HOLDING);
        /* Not idle before it is locked: an idle pin does not keep the tree open. */
        mutex_lock(&tree->gc_mu);
        atomic_store(&pin->state, PIN_IDLE);
        sweep_locked(tree, false);
        mutex_unlock(&tree->gc_mu);
}

void ptree_tidy(PTree *tree)
{
        assert(!tree->writing);
        /* Dead nodes that were never written take room from the cache, so not long after: as soon as there are enough
         * to be worth a look at the pins. */
        if (tree->fresh.count > atomic_load_explicit(&tree->cache->pin_high, memory_order_relaxed) / 16)
                garbage_sweep(tree, true);
}

unsigned pcache_snapshot_count(PCache *cache)
{
        unsigned pins = 0, high = atomic_load(&cache->pin_high);
        for (unsigned i = 0; i < high; i++)
                pins += atomic_load(&pin_at(cache, i)->state) > PIN_ENTERING;
        return pins;
}

void ptree_sizes(PTree *tree, uint64_t *ret_row_count, uint64_t *ret_row_bytes)
{
        *ret_row_count = atomic_load_explicit(&tree->row_count, memory_order_relaxed);
        *ret_row_bytes = atomic_load_explicit(&tree->row_bytes, memory_order_relaxed);
}

void ptree_stats(PTree *tree, PTreeStats *ret_stats)
{
        *ret_stats = (PTreeStats){
                .row_count = atomic_load_explicit(&tree->row_count, memory_order_relaxed),
                .row_bytes = atomic_load_explicit(&tree->row_bytes, memory_order_relaxed),
                .snapshot_count = pin_count_of(tree->cache, tree),
                .garbage_count = atomic_load_explicit(&tree->garbage_count, memory_order_relaxed),
        };
}
