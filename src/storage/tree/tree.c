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

/* The leaf of row `n`, which exists; inside a section. */
static Status top_seek(PCache *cache, TreeTop *top, uint64_t n, Page **ret_page, unsigned *ret_index)
{
        Page *page;
        TRY(node_load(cache, &top->top, &page));
        while (page->h.level) {
                unsigned i = 0, last = page->h.count;
                while (i < last && n >= page->children[i].rows)
                        n -= page->children[i++].rows;
                TRY(node_down(cache, page, i, &page));
        }
        if (n >= page->h.count)
                return status_new(ERR_CORRUPT, "%s: a node's row counts do not add up", cache->name);
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
                unsigned at;
                Bytes key;
                TRY(section_enter(cache, &section));
                TRY(top_seek(cache, top, n, &page, &at));
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

/* Goes to the leaf of the cursor's place and stays on it. */
static Status cursor_seat(PCursor *cursor)
{
        PCache *cache = snapshot_cache(cursor->snapshot);
        _cleanup_(section_leavep) Section *section = NULL;
        Page *page;
        unsigned at;
        if (cursor->page && cursor->place - cursor->first_place < cursor->page->h.count)
                return ST_OK;
        TRY(section_enter(cache, &section));
        TRY(top_seek(cache, cursor->top, cursor->place, &page, &at));
        page_unpin(cursor->page);
        atomic_fetch_add_explicit(&page->pins, 1, memory_order_relaxed);
        cursor->page = page;
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
        if (cursor)
                page_unpin(cursor->page);
        mem_free(cursor);
}
