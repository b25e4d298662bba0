/* flush.c - the dirty nodes of a root to the file, and the walk that checks everything. */
#include "storage/tree/tree_int.h"

#include <assert.h>
#include <inttypes.h>

/* --- flush --- */

/* So that it is released some day; without memory for that it stays bound while the node lives. */
static void bound_add(PTree *tree, Frame *frame)
{
        if (tree->bound_count == tree->bound_capacity) {
                size_t capacity = MAX(2 * tree->bound_capacity, (size_t)64);
                BoundFrame *bound = mem_realloc(tree->bound, capacity * sizeof(*bound));
                if (!bound)
                        return;
                tree->bound = bound;
                tree->bound_capacity = capacity;
        }
        tree->bound[tree->bound_count++] = (BoundFrame){frame, atomic_load(&frame->extent), frame->birth};
}

/* After a flush of `version`, which found `old_count` bound frames of flushes before. If it reached every page that may
 * say "extent 0" of them, or nobody can read those it did not reach, they are released. */
static void bound_release(PTree *tree, uint64_t version, size_t old_count, bool whole)
{
        if (whole && old_count && version >= atomic_load(&tree->bound_until) &&
            !pin_may_be_below(tree->cache, tree, version)) {
                garbage_resolve(tree);
                frames_unbind(tree->cache, tree->bound, old_count);
                tree->bound_count -= old_count;
                memmove(tree->bound, tree->bound + old_count, tree->bound_count * sizeof(*tree->bound));
                if (tree->bound_count == 0 || tree->bound_capacity > 4 * tree->bound_count + 64) {
                        size_t capacity = MAX(tree->bound_count, (size_t)1);
                        BoundFrame *less = mem_realloc(tree->bound, capacity * sizeof(*less));
                        if (less) {
                                tree->bound = less;
                                tree->bound_capacity = capacity;
                        }
                }
        }
        /* A write that begins after the last look sees what is stored here. */
        uint64_t until;
        do {
                until = atomic_load(&tree->begun) + 1;
                atomic_store(&tree->bound_until, until);
        } while (atomic_load(&tree->begun) > until);
}

static void child_written(Child *child, const Frame *frame)
{
        atomic_store_explicit(&child->bytes, (uint16_t)atomic_load_explicit(&frame->bytes, memory_order_relaxed),
                              memory_order_relaxed);
        atomic_store_explicit(&child->extent, atomic_load(&frame->extent), memory_order_release);
}

static Status leaves_flush_some(PTree *tree, Child *const *children, Frame *const *frames, unsigned count)
{
        PCache *cache = tree->cache;
        size_t bytes = 0;
        if (count == 0)
                return ST_OK;
        TRY(leaves_write(cache, frames, count, &tree->packing, tree->flush_buffer));
        for (unsigned i = 0; i < count; i++) {
                bound_add(tree, frames[i]);
                child_written(children[i], frames[i]);
                bytes += atomic_load_explicit(&frames[i]->bytes, memory_order_relaxed);
        }
        return cache->flushed ? cache->flushed(cache->flushed_ctx, bytes) : ST_OK;
}

/* The dirty leaves under a node: nearly all that is dirty, so these are written several at once. */
static Status leaves_flush(PTree *tree, Page *page)
{
        Child *children[FLUSH_LEAVES];
        Frame *frames[FLUSH_LEAVES];
        unsigned n = 0;
        for (unsigned i = 0; i < page_child_count(page); i++) {
                Child *child = &page->children[i];
                if (atomic_load_explicit(&child->extent, memory_order_acquire))
                        continue;
                Frame *frame = atomic_load_explicit(&child->frame, memory_order_acquire);
                if (atomic_load(&frame->extent)) {
                        child_written(child, frame);
                        continue;
                }
                children[n] = child;
                frames[n++] = frame;
                if (n == FLUSH_LEAVES) {
                        TRY(leaves_flush_some(tree, children, frames, n));
                        n = 0;
                }
        }
        return leaves_flush_some(tree, children, frames, n);
}

/* Dirty nodes are only under dirty ones, and a published page does not change: so the walk reads what is in memory,
 * beside the writer, and nothing else. The snapshot keeps these frames. */
static Status child_flush(PTree *tree, Child *child)
{
        PCache *cache = tree->cache;
        if (atomic_load_explicit(&child->extent, memory_order_acquire))
                return ST_OK;
        Frame *frame = atomic_load_explicit(&child->frame, memory_order_acquire);
        if (atomic_load(&frame->extent) == 0) {
                Page *page = atomic_load_explicit(&frame->page, memory_order_acquire);
                if (page->h.level == 1 && tree->flush_buffer)
                        TRY(leaves_flush(tree, page));
                else
                        for (unsigned i = 0; i < page_child_count(page); i++)
                                TRY(child_flush(tree, &page->children[i]));
                TRY(node_write(cache, frame, &tree->packing, NULL, true));
                bound_add(tree, frame);
                if (cache->flushed)
                        TRY(cache->flushed(cache->flushed_ctx, atomic_load(&frame->bytes)));
        }
        child_written(child, frame);
        return ST_OK;
}

static uint8_t *top_write(uint8_t *at, const TreeTop *top)
{
        store_u32(at, top->id);
        store_u32(at + 4, atomic_load(&top->top.bytes));
        store_u64(at + 8, atomic_load(&top->top.extent));
        store_u64(at + 16, top->top.rows);
        store_u64(at + 24, top->bytes);
        store_u64(at + 32, top->values);
        return at + RECORD_TREE_BYTES;
}

static Status record_write(PTree *tree, const Root *root, const ClearedTree *cleared, PTreeAddress *ret_address)
{
        PCache *cache = tree->cache;
        uint32_t count = 0, cleared_count = 0;
        uint64_t row_bytes, values;
        for (uint32_t i = 0; i < root->count; i++)
                count += root->tops[i].top.rows > 0;
        for (const ClearedTree *at = cleared; at; at = at->next)
                cleared_count += at->death <= root->version;
        size_t bytes = sizeof(PageHeader) + RECORD_HEAD_BYTES + ((size_t)count + cleared_count) * RECORD_TREE_BYTES;
        _cleanup_(mem_freep) uint8_t *stored = mem_zalloc(bytes);
        Extent extent;
        if (!stored)
                return status_nomem();
        TRY(space_alloc(cache->space, bytes, &extent));
        PageHeader header = {.magic = PAGE_MAGIC,
                             .kind = PAGE_ROOT,
                             .bytes = (uint32_t)bytes,
                             .version = PAGE_VERSION,
                             .birth = root->version,
                             .extent = extent};
        memcpy(stored, &header, sizeof(header));
        uint8_t *at = stored + sizeof(header);
        store_u64(at, root->version);
        store_u64(at + 8, root->position);
        root_sizes(root, &row_bytes, &values);
        store_u64(at + 16, row_bytes);
        store_u64(at + 24, values);
        store_u32(at + 32, count);
        store_u32(at + 36, cleared_count);
        at += RECORD_HEAD_BYTES;
        for (uint32_t i = 0; i < root->count; i++)
                if (root->tops[i].top.rows)
                        at = top_write(at, &root->tops[i]);
        for (; cleared; cleared = cleared->next)
                if (cleared->death <= root->version)
                        at = top_write(at, &cleared->tree);
        stored_seal(stored);
        Status st = space_write(cache->space, extent, stored, bytes);
        if (st) {
                status_ignore(space_discard(cache->space, extent));
                return st;
        }
        *ret_address = (PTreeAddress){extent, (uint32_t)bytes};
        return ST_OK;
}

Status ptree_flush(PSnapshot *snapshot, PTreeAddress *ret_address)
{
        PTree *tree = atomic_load_explicit(&snapshot->tree, memory_order_relaxed);
        Root *root = snapshot->root;
        assert(root->version >= tree->record_version);
        TRY(cleared_release(tree, root->version));
        if (root->version > tree->record_version || tree->record_stale) {
                PTreeAddress record;
                size_t old_count = tree->bound_count;
                Status st = ST_OK;
                mutex_lock(&tree->gc_mu);
                ClearedTree *cleared = tree->cleared; /* the list from here on changes by us alone */
                mutex_unlock(&tree->gc_mu);
                if (pcache_dirty_bytes(tree->cache) >= FLUSH_LEAVES * PAGE_MAX_BYTES)
                        tree->flush_buffer = mem_alloc(FLUSH_LEAVES * PAGE_MAX_BYTES);
                for (ClearedTree *at = cleared; at && !st; at = at->next)
                        if (at->death <= root->version)
                                st = child_flush(tree, &at->tree.top);
                for (uint32_t i = 0; i < root->count && !st; i++)
                        if (root->tops[i].top.rows)
                                st = child_flush(tree, &root->tops[i].top);
                mem_free(take(tree->flush_buffer));
                bound_release(tree, root->version, old_count, !st);
                TRY(st);
                TRY(record_write(tree, root, cleared, &record));
                if (tree->record.extent) {
                        st = space_free(tree->cache->space, tree->record.extent,
                                        root->position ? root->position - 1 : 0);
                        if (st) {
                                status_ignore(space_discard(tree->cache->space, record.extent));
                                return st;
                        }
                }
                tree->record = record;
                tree->record_version = root->version;
                tree->record_stale = false;
                pcache_trim(tree->cache);
        }
        *ret_address = tree->record;
        return ST_OK;
}

/* --- check --- */

/* The node if it is only in memory; else NULL, and where it is. */
static Status node_copy_dirty(PCache *cache, Child *child, Extent *ret_extent, uint32_t *ret_bytes, Page **ret_page)
{
        _cleanup_(section_leavep) Section *section = NULL;
        TRY(section_enter(cache, &section));
        *ret_page = NULL;
        *ret_extent = atomic_load_explicit(&child->extent, memory_order_acquire);
        *ret_bytes = atomic_load(&child->bytes);
        if (*ret_extent)
                return ST_OK;
        Frame *frame = atomic_load_explicit(&child->frame, memory_order_acquire);
        Page *page = atomic_load(&frame->page);
        *ret_extent = atomic_load(&frame->extent);
        *ret_bytes = atomic_load(&frame->bytes);
        if (*ret_extent)
                return ST_OK;
        *ret_page = page_copy(NULL, page, 0);
        if (!*ret_page)
                return status_nomem();
        /* The copy may be looked at long after a flush has seen to the original. */
        for (unsigned i = 0; i < page_child_count(*ret_page); i++)
                child_resolve(&(*ret_page)->children[i]);
        return ST_OK;
}

Status node_copy(PCache *cache, Child *child, Extent *ret_extent, Page **ret_page)
{
        uint32_t bytes = 0;
        TRY(node_copy_dirty(cache, child, ret_extent, &bytes, ret_page));
        return *ret_extent ? node_read(cache, *ret_extent, bytes, true, ret_page) : ST_OK;
}

typedef struct Check {
        PTree *tree;
        PCache *cache;
        Status (*each)(void *ctx, Extent extent);
        void *ctx;
} Check;

static Status check_wrong(Check *check, Extent extent, const char *why)
{
        return extent ? corrupt(check->cache, extent, why)
                      : status_new(ERR_CORRUPT, "%s: a node in memory is damaged: %s", check->cache->name, why);
}

/* Keys are in [low, high); `level` is what the parent says, or -1. */
static Status check_node(Check *check, Child *child, int level, Bytes low, Bytes high)
{
        uint8_t first[PTREE_MAX_KEY_BYTES], last[PTREE_MAX_KEY_BYTES];
        _cleanup_(mem_freep) Page *page = NULL;
        Extent extent;
        uint64_t rows = 0;
        TRY(node_copy(check->cache, child, &extent, &page));
        if (extent && check->each)
                TRY(check->each(check->ctx, extent));
        const char *why = page_wrong(page);
        if (why)
                return check_wrong(check, extent, why);
        if (level >= 0 && page->h.level != level)
                return check_wrong(check, extent, "it is at another height than its neighbours");
        if (page->h.count == 0)
                return check_wrong(check, extent, "it is empty");
        Bytes a = BYTES(first, page_key(page, 0, first)), b = BYTES(last, page_key(page, page->h.count - 1u, last));
        /* A separator is above what is left of it, so only a leaf's first key may be equal to it. */
        int c = low.data ? bytes_compare(low, a) : -1;
        if (c > 0 || (c == 0 && page->h.level) || (high.data && bytes_compare(b, high) >= 0))
                return check_wrong(check, extent, "its keys are not between its parent's");
        if (page->h.level == 0) {
                rows = page->h.count;
                for (unsigned i = 0; i < page->h.count; i++) {
                        Extent of_value;
                        TRY(value_check(check->tree, page, i, &of_value));
                        if (of_value && check->each)
                                TRY(check->each(check->ctx, of_value));
                }
        }
        for (unsigned i = 0; i < page_child_count(page); i++) {
                Bytes from = i ? BYTES(first, page_key(page, i - 1, first)) : low;
                Bytes to = i < page->h.count ? BYTES(last, page_key(page, i, last)) : high;
                TRY(check_node(check, &page->children[i], page->h.level - 1, from, to));
                rows += page->children[i].rows;
        }
        if (rows != child->rows)
                return check_wrong(check, extent, "it has another number of rows than its parent says");
        return ST_OK;
}

Status ptree_check(PSnapshot *snapshot, Status (*each)(void *ctx, Extent extent), void *ctx, uint64_t *ret_rows)
{
        PTree *tree = atomic_load_explicit(&snapshot->tree, memory_order_relaxed);
        Check check = {tree, tree->cache, each, ctx};
        uint64_t rows = 0;
        for (uint32_t i = 0; i < snapshot->root->count; i++) {
                Child *top = &snapshot->root->tops[i].top;
                if (top->rows)
                        TRY(check_node(&check, top, -1, BYTES_NONE, BYTES_NONE));
                rows += top->rows;
        }
        for (ClearedTree *cleared = tree->cleared; cleared; cleared = cleared->next)
                if (cleared->death <= snapshot->root->version)
                        TRY(check_node(&check, &cleared->tree.top, -1, BYTES_NONE, BYTES_NONE));
        *ret_rows = rows;
        return ST_OK;
}
