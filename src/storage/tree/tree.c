/* tree.c - opening, closing and reading. Every function that follows children does so inside a section and copies what
 * it returns; a cursor stays on its leaf between calls by a pin on the page. */
#include "storage/tree/tree_int.h"

#include <assert.h>
#include <inttypes.h>

struct PCursor {
        const void *face; /* first, tree.h */
        PSnapshot *snapshot;
        TreeTop *top;   /* NULL: no such tree */
        uint64_t place; /* of the row that the next call returns */
        uint64_t left;  /* rows from there to the end of the range */
        bool descending;
        Page *page; /* pinned: the leaf with rows first_place .. */
        uint64_t first_place;
        Page *parent;   /* pinned: its node, for the way to the next leaf; NULL: the leaf is the top, or none */
        unsigned child; /* of it: the leaf */
};

/* --- roots --- */

TreeTop *root_top(const Root *root, uint32_t id)
{
        for (uint32_t i = 0; i < root->count; i++)
                if (root->tops[i].id == id)
                        return (TreeTop *)(uintptr_t)&root->tops[i];
        return NULL;
}

Root *root_new(uint32_t capacity)
{
        Root *root = mem_zalloc(sizeof(Root) + capacity * sizeof(TreeTop));
        if (root)
                root->capacity = capacity;
        return root;
}

void top_copy(TreeTop *to, const TreeTop *from)
{
        to->id = from->id;
        to->bytes = from->bytes;
        to->values = from->values;
        child_copy(&to->top, &from->top);
}

void root_sizes(const Root *root, uint64_t *ret_bytes, uint64_t *ret_values)
{
        uint64_t bytes = 0, values = 0;
        for (uint32_t i = 0; i < root->count; i++) {
                bytes += root->tops[i].bytes;
                values += root->tops[i].values;
        }
        *ret_bytes = bytes;
        *ret_values = values;
}

void root_copy(Root *to, const Root *from)
{
        to->version = from->version;
        to->position = from->position;
        to->count = from->count;
        for (uint32_t i = 0; i < from->count; i++)
                top_copy(&to->tops[i], &from->tops[i]);
}

/* Of a root record: false if it cannot be. */
static bool top_parse(const uint8_t *at, TreeTop *top)
{
        uint64_t rows = load_u64(at + 16);
        top->id = load_u32(at);
        atomic_store(&top->top.bytes, (uint16_t)load_u32(at + 4));
        atomic_store(&top->top.extent, load_u64(at + 8));
        top->top.rows = rows & CHILD_ROWS_MAX;
        top->bytes = load_u64(at + 24);
        top->values = load_u64(at + 32);
        return rows > 0 && rows <= CHILD_ROWS_MAX && load_u64(at + 8) && load_u32(at + 4) <= PAGE_MAX_BYTES;
}

static Status cleared_parse(const uint8_t *at, uint32_t count, ClearedTree **ret_cleared, bool *good)
{
        for (; count > 0; count--, at += RECORD_TREE_BYTES) {
                ClearedTree *cleared = mem_zalloc(sizeof(*cleared));
                if (!cleared)
                        return status_nomem();
                *good &= top_parse(at, &cleared->tree);
                cleared->next = *ret_cleared;
                *ret_cleared = cleared;
        }
        return ST_OK;
}

static Status record_read(PCache *cache, PTreeAddress address, Root **ret_root, ClearedTree **ret_cleared)
{
        const char *why = "its size cannot be";
        size_t bytes = address.bytes, head = sizeof(PageHeader) + RECORD_HEAD_BYTES;
        if (bytes < head || bytes > RECORD_MAX_BYTES || bytes > space_extent_bytes(cache->space, address.extent))
                return corrupt(cache, address.extent, why);
        _cleanup_(mem_freep) uint8_t *stored = mem_alloc(bytes);
        if (!stored)
                return status_nomem();
        TRY(space_read(cache->space, address.extent, stored, bytes));
        if (!stored_check(stored, bytes, address.extent, PAGE_ROOT, PAGE_ROOT, &why))
                return why == stored_other_version
                               ? status_new(ERR_VERSION, "%s, offset %" PRIu64 ": a table's root is of another version",
                                            cache->name, space_extent_offset(cache->space, address.extent))
                               : corrupt(cache, address.extent, why);
        const uint8_t *at = stored + sizeof(PageHeader);
        uint32_t count = load_u32(at + 32), cleared_count = load_u32(at + 36);
        if (bytes != head + ((size_t)count + cleared_count) * RECORD_TREE_BYTES)
                return corrupt(cache, address.extent, "its parts do not add up");
        Root *root = root_new(MAX(count, 1u));
        if (!root)
                return status_nomem();
        root->version = load_u64(at);
        root->position = load_u64(at + 8);
        uint64_t row_bytes = load_u64(at + 16), values = load_u64(at + 24), sum_bytes, sum_values;
        root->count = count;
        bool good = root->version < 1ull << 62 && root->position < 1ull << 63;
        at += RECORD_HEAD_BYTES;
        for (uint32_t i = 0; i < count; i++, at += RECORD_TREE_BYTES) {
                good &= top_parse(at, &root->tops[i]);
                good &= i == 0 || root->tops[i].id > root->tops[i - 1].id;
        }
        root_sizes(root, &sum_bytes, &sum_values);
        good &= sum_bytes == row_bytes && sum_values == values;
        Status st = cleared_parse(at, cleared_count, ret_cleared, &good);
        if (!st && !good)
                st = corrupt(cache, address.extent, "its parts do not add up");
        if (st) {
                mem_free(root);
                cleared_list_free(take(*ret_cleared));
                return st;
        }
        *ret_root = root;
        return ST_OK;
}

static void stats_set(PTree *tree, const Root *root)
{
        const TreeTop *primary = root_top(root, 0);
        atomic_store_explicit(&tree->row_count, primary ? primary->top.rows : 0, memory_order_relaxed);
        uint64_t bytes, values;
        root_sizes(root, &bytes, &values);
        atomic_store_explicit(&tree->row_bytes, bytes, memory_order_relaxed);
}

Status ptree_open(PCache *cache, PTreeAddress address, const PTreeOptions *options, PTree **ret_tree)
{
        Root *root = NULL;
        PTree *tree = mem_zalloc(sizeof(PTree));
        if (!tree)
                return status_nomem();
        Status st = ST_OK;
        if (address.extent)
                st = record_read(cache, address, &root, &tree->cleared);
        else if (!(root = root_new(1)))
                st = status_nomem();
        if (st) {
                mem_free(tree);
                return st;
        }
        tree->cache = cache;
        if (options)
                tree->options = *options;
        size_t inline_max = tree->options.inline_max_bytes;
        tree->options.inline_max_bytes = inline_max && inline_max < PAGE_INLINE_BYTES ? inline_max : PAGE_INLINE_BYTES;
        tree->write.face = tree->options.face;
        tree->record = address;
        tree->record_version = root->version;
        atomic_store(&tree->begun, root->version);
        mutex_init(&tree->gc_mu);
        atomic_store(&tree->root, root);
        stats_set(tree, root);
        *ret_tree = tree;
        return ST_OK;
}

void dirty_discard(PCache *cache, Child *child, uint64_t birth)
{
        Frame *frame = atomic_load(&child->frame);
        if (atomic_load(&child->extent) || !frame || atomic_load(&frame->extent) || (birth && frame->birth != birth))
                return;
        Page *page = atomic_load(&frame->page);
        for (unsigned i = 0; i < page_child_count(page); i++)
                dirty_discard(cache, &page->children[i], birth);
        frame_discard(cache, frame);
}

PTree *ptree_close(PTree *tree) NO_TSA
{
        if (!tree)
                return NULL;
        assert(!tree->writing);
        assert(pin_count_of(tree->cache, tree) == 0);
        garbage_drop(tree);
        /* Without pins only extents are left that the space could not take: they are lost space, not memory. */
        for (size_t i = 0; i < tree->fresh.count; i++)
                if (tree->fresh.items[i].kind == GARBAGE_ROOT)
                        mem_free(tree->fresh.items[i].object);
        Root *root = atomic_load(&tree->root);
        for (uint32_t i = 0; i < root->count; i++)
                dirty_discard(tree->cache, &root->tops[i].top, 0);
        for (ClearedTree *cleared = tree->cleared; cleared; cleared = cleared->next)
                dirty_discard(tree->cache, &cleared->tree.top, 0);
        cleared_list_free(tree->cleared);
        frames_unbind(tree->cache, tree->bound, tree->bound_count);
        mem_free(tree->bound);
        for (size_t i = 0; i < tree->holder_count; i++)
                mem_free(tree->holders[i].list.items);
        mem_free(tree->holders);
        mem_free(tree->fresh.items);
        mem_free(tree->pinned);
        values_done(&tree->write);
        mem_free(tree->doomed);
        mem_free(root);
        mutex_done(&tree->gc_mu);
        mem_free(tree);
        return NULL;
}

uint64_t ptree_position(const PSnapshot *snapshot)
{
        return snapshot->root->position;
}

/* --- rows --- */

static Status key_out(const Page *page, unsigned i, Arena *hold, Bytes *ret_key)
{
        Bytes prefix = page_prefix(page), suffix = page_suffix(page, i);
        uint8_t *copy = arena_try_alloc(hold, MAX(prefix.size + suffix.size, (size_t)1));
        if (!copy)
                return status_nomem();
        if (prefix.size)
                memcpy(copy, prefix.data, prefix.size);
        if (suffix.size)
                memcpy(copy + prefix.size, suffix.data, suffix.size);
        *ret_key = BYTES(copy, prefix.size + suffix.size);
        return ST_OK;
}

Status top_get(PTree *tree, PWrite *write, TreeTop *top, Bytes key, Arena *hold, Bytes *ret_value, bool *ret_found)
{
        PCache *cache = tree->cache;
        Page *page;
        bool found = false;
        if (top && top->top.rows) {
                _cleanup_(section_leavep) Section *section = NULL;
                TRY(section_enter(cache, &section));
                TRY(node_load(cache, &top->top, &page));
                while (page->h.level)
                        TRY(node_down(cache, page, page_child_of(page, key), &page));
                unsigned at = page_search(page, key, &found);
                if (found && ret_value)
                        TRY(value_out(tree, write, page, at, false, hold, ret_value));
        }
        *ret_found = found;
        return ST_OK;
}

/* The leaf and place of the first row with a key >= `low`; inside a section. *ret_found false: there is none. */
static Status first_place(PCache *cache, TreeTop *top, Bytes low, Page **ret_page, unsigned *ret_at, bool *ret_found)
{
        Page *page, *fork = NULL; /* fork: the lowest node with a child behind the one that was taken */
        unsigned taken = 0, at = 0;
        bool equal;
        TRY(node_load(cache, &top->top, &page));
        while (page->h.level) {
                unsigned child = low.data ? page_child_of(page, low) : 0;
                if (child < page->h.count) {
                        fork = page;
                        taken = child;
                }
                TRY(node_down(cache, page, child, &page));
        }
        if (low.data)
                at = page_search(page, low, &equal);
        if (at == page->h.count && fork) { /* all keys of the next leaf are greater */
                TRY(node_down(cache, fork, taken + 1, &page));
                while (page->h.level)
                        TRY(node_down(cache, page, 0, &page));
                at = 0;
        }
        *ret_page = page;
        *ret_at = at;
        *ret_found = at < page->h.count;
        return ST_OK;
}

Status top_first(PTree *tree, PWrite *write, TreeTop *top, PRange range, Arena *hold, Bytes *ret_key, Bytes *ret_value,
                 bool *ret_found)
{
        PCache *cache = tree->cache;
        Page *page;
        Bytes key, value;
        unsigned at;
        bool found = false;
        *ret_found = false;
        if (!top || top->top.rows == 0)
                return ST_OK;
        _cleanup_(section_leavep) Section *section = NULL;
        TRY(section_enter(cache, &section));
        TRY(first_place(cache, top, range.low, &page, &at, &found));
        if (!found)
                return ST_OK;
        TRY(key_out(page, at, hold, &key));
        if (range.high.data && bytes_compare(key, range.high) >= 0)
                return ST_OK;
        TRY(value_out(tree, write, page, at, false, hold, &value));
        *ret_key = key;
        *ret_value = value;
        *ret_found = true;
        return ST_OK;
}

Status ptree_get(PSnapshot *snapshot, uint32_t id, Bytes key, Arena *hold, Bytes *ret_value, bool *ret_found)
{
        PTree *tree = atomic_load_explicit(&snapshot->tree, memory_order_relaxed);
        return top_get(tree, NULL, root_top(snapshot->root, id), key, hold, ret_value, ret_found);
}

/* Both of a row for a scan: in one piece, if the value lies here. ret_value may be NULL. */
static Status row_out(PTree *tree, const Page *page, unsigned i, Arena *hold, Bytes *ret_key, Bytes *ret_value)
{
        Bytes value, prefix = page_prefix(page), suffix = page_suffix(page, i);
        size_t key_size = prefix.size + suffix.size, room = (key_size + 7) & ~(size_t)7;
        if (!ret_value || page_value(page, i, &value) & CODE_LARGE) {
                TRY(key_out(page, i, hold, ret_key));
                return ret_value ? value_out(tree, NULL, page, i, true, hold, ret_value) : ST_OK;
        }
        uint8_t *copy = arena_try_alloc(hold, MAX(room + value.size, (size_t)1));
        if (!copy)
                return status_nomem();
        if (prefix.size)
                memcpy(copy, prefix.data, prefix.size);
        if (suffix.size)
                memcpy(copy + prefix.size, suffix.data, suffix.size);
        if (value.size)
                memcpy(copy + room, value.data, value.size);
        *ret_key = BYTES(copy, key_size);
        *ret_value = BYTES(copy + room, value.size);
        return ST_OK;
}

/* --- places --- */

/* Rows with a smaller key; `equal` counts the row with the key itself too. */
static Status top_rank(PCache *cache, TreeTop *top, Bytes key, bool with_equal, uint64_t *ret_rank)
{
        Page *page;
        uint64_t rank = 0;
        if (top && top->top.rows) {
                _cleanup_(section_leavep) Section *section = NULL;
                TRY(section_enter(cache, &section));
                TRY(node_load(cache, &top->top, &page));
                while (page->h.level) {
                        unsigned at = page_child_of(page, key);
                        for (unsigned i = 0; i < at; i++)
                                rank += page->children[i].rows;
                        TRY(node_down(cache, page, at, &page));
                }
                bool equal;
                rank += page_search(page, key, &equal);
                rank += with_equal && equal;
        }
        *ret_rank = rank;
        return ST_OK;
}

static Status top_range(PCache *cache, TreeTop *top, PRange range, uint64_t *ret_low, uint64_t *ret_high)
{
        uint64_t low = 0, high = top ? top->top.rows : 0;
        if (range.low.data)
                TRY(top_rank(cache, top, range.low, false, &low));
        if (range.high.data)
                TRY(top_rank(cache, top, range.high, false, &high));
        *ret_low = low;
        *ret_high = MAX(low, high);
        return ST_OK;
}

static Status counts_wrong(const PCache *cache)
{
        return status_new(ERR_CORRUPT, "%s: a node's row counts do not add up", cache->name);
}

/* The leaf of row `n`, which exists; inside a section. */
static Status top_seek(PCache *cache, TreeTop *top, uint64_t n, Step *ret_parent, Page **ret_page, unsigned *ret_index)
{
        Page *page;
        Step parent = {0};
        TRY(node_load(cache, &top->top, &page));
        while (page->h.level) {
                unsigned i = 0, last = page->h.count;
                while (i < last && n >= page->children[i].rows)
                        n -= page->children[i++].rows;
                parent = (Step){.page = page, .index = i};
                TRY(node_down(cache, page, i, &page));
        }
        if (n >= page->h.count)
                return counts_wrong(cache);
        *ret_parent = parent;
        *ret_page = page;
        *ret_index = (unsigned)n;
        return ST_OK;
}

static PTree *snapshot_tree(PSnapshot *snapshot)
{
        return atomic_load_explicit(&snapshot->tree, memory_order_relaxed);
}

static PCache *snapshot_cache(PSnapshot *snapshot)
{
        return snapshot_tree(snapshot)->cache;
}

Status ptree_rank(PSnapshot *snapshot, uint32_t id, Bytes key, uint64_t *ret_rank)
{
        return top_rank(snapshot_cache(snapshot), root_top(snapshot->root, id), key, false, ret_rank);
}

Status ptree_count(PSnapshot *snapshot, uint32_t id, PRange range, uint64_t *ret_count)
{
        uint64_t low, high;
        TRY(top_range(snapshot_cache(snapshot), root_top(snapshot->root, id), range, &low, &high));
        *ret_count = high - low;
        return ST_OK;
}

Status ptree_nth(PSnapshot *snapshot, uint32_t id, uint64_t n, Arena *hold, Bytes *ret_key, Bytes *ret_value,
                 bool *ret_found)
{
        PCache *cache = snapshot_cache(snapshot);
        TreeTop *top = root_top(snapshot->root, id);
        bool found = top && n < top->top.rows;
        if (found) {
                _cleanup_(section_leavep) Section *section = NULL;
                Page *page;
                Step parent;
                unsigned at;
                Bytes key;
                TRY(section_enter(cache, &section));
                TRY(top_seek(cache, top, n, &parent, &page, &at));
                TRY(key_out(page, at, hold, &key));
                if (ret_value)
                        TRY(value_out(snapshot_tree(snapshot), NULL, page, at, false, hold, ret_value));
                *ret_key = key;
        }
        *ret_found = found;
        return ST_OK;
}

bool ptree_next_tree(const PSnapshot *snapshot, uint32_t id, uint32_t *ret_id)
{
        const Root *root = snapshot->root;
        for (uint32_t i = 0; i < root->count; i++) {
                if (root->tops[i].id < id || root->tops[i].top.rows == 0)
                        continue;
                *ret_id = root->tops[i].id;
                return true;
        }
        return false;
}

Status ptree_split(PSnapshot *snapshot, uint32_t id, PRange range, size_t parts, Arena *hold, Bytes *ret_keys,
                   size_t *ret_count)
{
        uint64_t low, high, last;
        size_t count = 0;
        TRY(top_range(snapshot_cache(snapshot), root_top(snapshot->root, id), range, &low, &high));
        last = low;
        for (size_t i = 1; i < parts; i++) {
                bool found;
                uint64_t place = low + (uint64_t)((unsigned __int128)(high - low) * i / parts);
                if (place == last)
                        continue;
                TRY(ptree_nth(snapshot, id, place, hold, &ret_keys[count++], NULL, &found));
                last = place;
        }
        *ret_count = count;
        return ST_OK;
}

/* --- cursors --- */

Status ptree_cursor_open(PSnapshot *snapshot, uint32_t id, PRange range, bool descending, PCursor **ret_cursor)
{
        uint64_t low, high;
        TreeTop *top = root_top(snapshot->root, id);
        TRY(top_range(snapshot_cache(snapshot), top, range, &low, &high));
        PCursor *cursor = mem_alloc(sizeof(PCursor));
        if (!cursor)
                return status_nomem();
        *cursor = (PCursor){.face = snapshot->face,
                            .snapshot = snapshot,
                            .top = top,
                            .place = descending ? high - 1 : low, /* not used when left is 0 */
                            .left = high - low,
                            .descending = descending};
        *ret_cursor = cursor;
        return ST_OK;
}

/* The leaf beside the cursor's, which has its place: from the node above. *ret_page NULL: it is not there. */
static Status neighbour_seek(PCursor *cursor, Step *ret_parent, Page **ret_page, unsigned *ret_index)
{
        PCache *cache = snapshot_cache(cursor->snapshot);
        Page *parent = cursor->parent, *page;
        unsigned child = cursor->child, count = cursor->page ? cursor->page->h.count : 0;
        bool next = parent && cursor->place == cursor->first_place + count && child < parent->h.count;
        bool previous = parent && cursor->place + 1 == cursor->first_place && child > 0;
        *ret_page = NULL;
        if (!next && !previous)
                return ST_OK;
        child += next ? 1 : -1u;
        TRY(node_down(cache, parent, child, &page));
        if (unlikely(page->h.count != parent->children[child].rows))
                return counts_wrong(cache);
        *ret_parent = (Step){.page = parent, .index = child};
        *ret_page = page;
        *ret_index = next ? 0 : page->h.count - 1u;
        return ST_OK;
}

/* The leaves behind child `at` come on their way while it is read: of the next one what is remembered of it, of the one
 * after that the page's first lines. Inside a section, or a page could be gone. */
static void neighbours_prefetch(const Page *parent, unsigned at)
{
        if (at + 2 <= parent->h.count) {
                const Child *far = &parent->children[at + 2];
                const Page *page = atomic_load_explicit(&far->hint, memory_order_relaxed);
                __builtin_prefetch(atomic_load_explicit(&far->frame, memory_order_relaxed));
                __builtin_prefetch(page);
                __builtin_prefetch((const void *)((uintptr_t)page + offsetof(Page, image)));
        }
        if (at + 1 <= parent->h.count && parent->h.level == 1) {
                const Child *near = &parent->children[at + 1];
                uint64_t extent = atomic_load_explicit(&near->extent, memory_order_acquire);
                Frame *frame = atomic_load_explicit(&near->frame, memory_order_acquire);
                if (!frame || (extent && atomic_load_explicit(&frame->extent, memory_order_acquire) != extent))
                        return;
                const Page *page = atomic_load_explicit(&frame->page, memory_order_acquire);
                const char *memo = page ? (const char *)atomic_load_explicit(&page->memos, memory_order_relaxed) : NULL;
                if (memo) {
                        __builtin_prefetch(memo);
                        __builtin_prefetch(memo + CACHE_LINE);
                }
        }
}

static void pin_change(Page **pinned, Page *page)
{
        if (*pinned == page)
                return;
        if (page)
                page_pin(page);
        page_unpin(*pinned);
        *pinned = page;
}

/* Goes to the leaf of the cursor's place and stays on it. A clean node says where its children are stored, and a dirty
 * one is not evicted: so the node above is good for as long as it is pinned. */
static Status cursor_seat(PCursor *cursor)
{
        PCache *cache = snapshot_cache(cursor->snapshot);
        _cleanup_(section_leavep) Section *section = NULL;
        Page *page;
        Step parent;
        unsigned at;
        if (cursor->page && cursor->place - cursor->first_place < cursor->page->h.count)
                return ST_OK;
        TRY(section_enter(cache, &section));
        TRY(neighbour_seek(cursor, &parent, &page, &at));
        if (page && !cursor->descending)
                neighbours_prefetch(parent.page, parent.index);
        if (!page)
                TRY(top_seek(cache, cursor->top, cursor->place, &parent, &page, &at));
        pin_change(&cursor->page, page);
        pin_change(&cursor->parent, parent.page);
        cursor->child = parent.index;
        cursor->first_place = cursor->place - at;
        return ST_OK;
}

Status ptree_cursor_next(PCursor *cursor, Arena *hold, Bytes *ret_key, Bytes *ret_value, bool *ret_found)
{
        *ret_found = cursor->left > 0;
        if (!*ret_found)
                return ST_OK;
        Bytes key;
        TRY(cursor_seat(cursor));
        const Page *page = cursor->page;
        unsigned at = (unsigned)(cursor->place - cursor->first_place), soon = cursor->descending ? at - 4 : at + 4;
        if (soon < page->h.count)
                __builtin_prefetch(page_end(page) - page_slots(page)[soon].offset);
        TRY(row_out(snapshot_tree(cursor->snapshot), page, at, hold, &key, ret_value));
        *ret_key = key;
        cursor->left--;
        cursor->place += cursor->descending ? UINT64_MAX : 1;
        return ST_OK;
}

void ptree_cursor_skip(PCursor *cursor, uint64_t n, uint64_t *ret_skipped)
{
        n = MIN(n, cursor->left);
        cursor->left -= n;
        cursor->place += cursor->descending ? -n : n;
        *ret_skipped = n;
}

Status ptree_cursor_seek(PCursor *cursor, Bytes key)
{
        uint64_t rank, skipped;
        TRY(top_rank(snapshot_cache(cursor->snapshot), cursor->top, key, cursor->descending, &rank));
        if (cursor->left == 0)
                return ST_OK;
        if (!cursor->descending && rank > cursor->place)
                ptree_cursor_skip(cursor, rank - cursor->place, &skipped);
        else if (cursor->descending && rank <= cursor->place)
                ptree_cursor_skip(cursor, cursor->place + 1 - rank, &skipped);
        return ST_OK;
}

void ptree_cursor_close(PCursor *cursor)
{
        if (cursor) {
                page_unpin(cursor->page);
                page_unpin(cursor->parent);
        }
        mem_free(cursor);
}

/* --- by leaves --- */

Status ptree_cursor_block(PCursor *cursor, uint32_t *ret_total, uint32_t *ret_first, uint32_t *ret_count)
{
        assert(!cursor->descending);
        *ret_total = *ret_first = *ret_count = 0;
        if (cursor->left == 0)
                return ST_OK;
        TRY(cursor_seat(cursor));
        uint32_t total = cursor->page->h.count, first = (uint32_t)(cursor->place - cursor->first_place);
        uint32_t count = (uint32_t)MIN(cursor->left, (uint64_t)(total - first));
        cursor->left -= count;
        cursor->place += count;
        *ret_total = total;
        *ret_first = first;
        *ret_count = count;
        return ST_OK;
}

Status ptree_block_row(PCursor *cursor, uint32_t i, Arena *hold, Bytes *ret_value)
{
        assert(i < cursor->page->h.count);
        if (unlikely(page_value(cursor->page, i, ret_value) & CODE_LARGE))
                return value_out(snapshot_tree(cursor->snapshot), NULL, cursor->page, i, true, hold, ret_value);
        return ST_OK;
}

const Memo *ptree_block_memo(PCursor *cursor, uint64_t key)
{
        return page_memo(cursor->page, key);
}

const Memo *ptree_block_remember(PCursor *cursor, Memo *memo)
{
        return page_remember(snapshot_cache(cursor->snapshot), cursor->page, memo);
}
