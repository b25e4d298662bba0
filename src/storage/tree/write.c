/* write.c - editing: put, delete, delete a range. A write copies the nodes from the top to the changed leaf once, and
 * edits its copies in place after that. Everything runs inside sections, since it reads published nodes. */
#include "storage/tree/tree_int.h"

#include <assert.h>
#include <inttypes.h>

/* --- the write --- */

void *ptree_write_ctx(const PWrite *write)
{
        return write->tree->options.codec_ctx;
}

Status ptree_write_begin(PTree *tree, PWrite **ret_write)
{
        assert(!tree->writing);
        Root *old = atomic_load_explicit(&tree->root, memory_order_relaxed); /* this is the only writer */
        Root *root = root_new(MAX(old->count, 1u));
        if (!root)
                return status_nomem();
        /* In this order, which the end of a flush has reversed (README, "Bound frames"). */
        atomic_store(&tree->begun, old->version + 1);
        tree->write.stale_until = atomic_load(&tree->bound_until);
        root_copy(root, old);
        root->version = old->version + 1;
        for (uint32_t i = 0; i < root->count; i++)
                child_resolve(&root->tops[i].top);
        tree->write.tree = tree;
        tree->write.root = root;
        tree->write.version = root->version;
        tree->write.fresh_mark = tree->fresh.count;
        tree->write.bulk = false;
        /* Now, because a commit cannot fail. */
        Status st = garbage_add(
                tree, (Garbage){.object = old, .birth = old->version, .death = root->version, .kind = GARBAGE_ROOT});
        if (st) {
                mem_free(root);
                return st;
        }
        tree->writing = true;
        *ret_write = &tree->write;
        return ST_OK;
}

static void cleared_publish(PWrite *write)
{
        PTree *tree = write->tree;
        mutex_lock(&tree->gc_mu);
        for (ClearedTree *next, *cleared = take(write->cleared); cleared; cleared = next) {
                next = cleared->next;
                cleared->next = tree->cleared;
                tree->cleared = cleared;
        }
        mutex_unlock(&tree->gc_mu);
}

void ptree_write_commit(PWrite *write, uint64_t position)
{
        PTree *tree = write->tree;
        Root *root = write->root;
        assert(!write->bulk);
        assert(position > root->position || position == 0); /* README, I9 */
        assert(write->values.count == 0);                   /* ptree_write_prepare */
        root->position = position;
        for (size_t i = write->fresh_mark; i < tree->fresh.count; i++)
                tree->fresh.items[i].position = position;
        atomic_fetch_add(&tree->garbage_count, tree->fresh.count - write->fresh_mark);
        /* Before the root: a checkpoint that has this root sees what it replaced (ptree_dead). */
        atomic_store_explicit(&tree->fresh_committed, tree->fresh.count, memory_order_release);
        if (write->cleared)
                cleared_publish(write);
        const TreeTop *primary = root_top(root, 0);
        atomic_store_explicit(&tree->row_count, primary ? primary->top.rows : 0, memory_order_relaxed);
        uint64_t bytes, values;
        root_sizes(root, &bytes, &values);
        atomic_store_explicit(&tree->row_bytes, bytes, memory_order_relaxed);
        if (write->batch)
                space_batch_commit(write->batch, position);
        values_end(write);
        tree->writing = false;
        atomic_store(&tree->root, root);
}

void ptree_write_abort(PWrite *write)
{
        if (!write)
                return;
        PTree *tree = write->tree;
        for (uint32_t i = 0; i < write->root->count; i++)
                dirty_discard(tree->cache, &write->root->tops[i].top, write->version);
        /* What it replaced stays. */
        tree->fresh.count = write->fresh_mark;
        if (write->batch) {
                size_t count;
                const Extent *extents = space_batch_extents(write->batch, &count);
                for (size_t i = 0; i < count; i++) /* nodes of a bulk */
                        node_release(tree->cache, NULL, extents[i]);
                space_batch_abort(write->batch);
        }
        values_end(write);
        cleared_list_free(take(write->cleared));
        mem_free(write->root);
        tree->writing = false;
}

Status write_top(PWrite *write, uint32_t id, TreeTop **ret_top)
{
        Root *root = write->root;
        *ret_top = root_top(root, id);
        if (*ret_top)
                return ST_OK;
        if (root->count == PTREE_MAX_TREES)
                return status_new(ERR_LIMIT, "there are %u trees, the most that can be", PTREE_MAX_TREES);
        if (root->count == root->capacity) {
                Root *wider = root_new(root->capacity * 2);
                if (!wider)
                        return status_nomem();
                root_copy(wider, root);
                mem_free(root);
                write->root = root = wider;
        }
        uint32_t at = root->count;
        for (; at > 0 && root->tops[at - 1].id > id; at--) {
                top_copy(&root->tops[at], &root->tops[at - 1]);
        }
        root->tops[at].id = id;
        root->tops[at].bytes = root->tops[at].values = 0;
        child_set(&root->tops[at].top, 0, NULL, 0, 0);
        root->count++;
        *ret_top = &root->tops[at];
        return ST_OK;
}

Status ptree_write_get(PWrite *write, uint32_t id, Bytes key, Arena *hold, Bytes *ret_value, bool *ret_found)
{
        return top_get(write->tree, write, root_top(write->root, id), key, hold, ret_value, ret_found);
}

Status ptree_write_first(PWrite *write, uint32_t id, PRange range, Arena *hold, Bytes *ret_key, Bytes *ret_value,
                         bool *ret_found)
{
        return top_first(write->tree, write, root_top(write->root, id), range, hold, ret_key, ret_value, ret_found);
}

/* --- paths --- */

static bool node_editable(const Child *child, uint64_t version)
{
        const Frame *frame = atomic_load_explicit(&child->frame, memory_order_relaxed);
        return atomic_load_explicit(&child->extent, memory_order_relaxed) == 0 && frame->birth == version &&
               atomic_load_explicit(&frame->extent, memory_order_relaxed) == 0;
}

/* The published node at `child` dies with the running write. */
static Status node_drop(PWrite *write, const Child *child, uint64_t birth)
{
        Frame *frame = atomic_load_explicit(&child->frame, memory_order_relaxed);
        uint64_t extent = atomic_load_explicit(&child->extent, memory_order_relaxed);
        if (extent == 0)
                extent = atomic_load(&frame->extent);
        return garbage_add(write->tree, (Garbage){.object = extent ? NULL : frame,
                                                  .extent = extent,
                                                  .birth = birth,
                                                  .death = write->version,
                                                  .kind = GARBAGE_NODE});
}

/* Puts `page` (which it takes, whatever happens) in the place of the node at `child`, whose page is `old`. */
static Status child_put(PWrite *write, Child *child, const Page *old, Page *page)
{
        PCache *cache = write->tree->cache;
        if (node_editable(child, write->version)) {
                frame_set_page(cache, atomic_load_explicit(&child->frame, memory_order_relaxed), page);
                return ST_OK;
        }
        Frame *frame = frame_new(cache, page, write->version);
        if (!frame) {
                page_free(cache, page);
                return status_nomem();
        }
        Status st = node_drop(write, child, old->h.birth);
        if (st) {
                frame_discard(cache, frame);
                return st;
        }
        child_set(child, 0, frame, child->rows, 0);
        return ST_OK;
}

/* Children just copied from `source`: what was written since is taken by its extent. */
static void children_resolve(const PWrite *write, Child *children, unsigned count, const Page *source)
{
        if (source->h.birth <= write->stale_until)
                for (unsigned i = 0; i < count; i++)
                        child_resolve(&children[i]);
}

static uint64_t page_rows(const Page *page)
{
        uint64_t rows = page->h.level ? 0 : page->h.count;
        for (unsigned i = 0; i < page_child_count(page); i++)
                rows += page->children[i].rows;
        return rows;
}

/* What editing takes for granted of a node read from the file: its checksum says only that it is what was written. Its
 * keys are between the separators beside it in the node above (NULL: it is the top), and it has as many rows as that
 * says. */
static Status node_sound(PCache *cache, const Child *child, const Page *page, const Step *above)
{
        uint8_t key[PTREE_MAX_KEY_BYTES], separator[PTREE_MAX_KEY_BYTES];
        if (atomic_load_explicit(&child->extent, memory_order_relaxed) == 0)
                return ST_OK;
        bool good = page_rows(page) == child->rows;
        if (good && above && above->index > 0) {
                size_t size = page_key(page, 0, key), limit = page_key(above->page, above->index - 1, separator);
                int c = bytes_compare(BYTES(separator, limit), BYTES(key, size));
                good = c < 0 || (c == 0 && page->h.level == 0);
        }
        if (good && above && above->index < above->page->h.count) {
                size_t size = page_key(page, page->h.count - 1u, key);
                size_t limit = page_key(above->page, above->index, separator);
                good = bytes_compare(BYTES(key, size), BYTES(separator, limit)) < 0;
        }
        return good ? ST_OK : node_wrong(cache, child, "it is not what its parent says");
}

/* Makes the whole path editable. */
static Status path_edit(PWrite *write, TreeTop *top, Step *steps, unsigned depth)
{
        for (unsigned i = 0; i < depth; i++) {
                Step *step = &steps[i];
                step->child = i ? &steps[i - 1].page->children[steps[i - 1].index] : &top->top;
                if (node_editable(step->child, write->version))
                        continue;
                TRY(node_sound(write->tree->cache, step->child, step->page, i ? &steps[i - 1] : NULL));
                Page *copy = page_copy(write->tree->cache, step->page, 64);
                if (!copy)
                        return status_nomem();
                children_resolve(write, copy->children, page_child_count(copy), step->page);
                TRY(child_put(write, step->child, step->page, copy));
                step->page = copy;
        }
        return ST_OK;
}

/* From the top to the leaf of `key`. */
static Status path_find(PCache *cache, TreeTop *top, Bytes key, Step steps[HEIGHT_LIMIT], unsigned *ret_depth,
                        bool *ret_equal)
{
        unsigned depth = 0;
        Child *child = &top->top;
        for (;;) {
                Page *page;
                TRY(node_load(cache, child, &page));
                if (depth && page->h.level + 1u != steps[depth - 1].page->h.level)
                        return node_wrong(cache, child, "it is at another height than its neighbours");
                if (depth == HEIGHT_LIMIT - 1)
                        return status_new(ERR_LIMIT, "%s: a tree is more than %u levels high", cache->name, depth);
                steps[depth++] = (Step){child, page, 0};
                if (page->h.level == 0) {
                        steps[depth - 1].index = page_search(page, key, ret_equal);
                        *ret_depth = depth;
                        return ST_OK;
                }
                steps[depth - 1].index = page_child_of(page, key);
                child = &page->children[steps[depth - 1].index];
        }
}

/* From the top to the leaf of row `n`, which exists. */
static Status path_seek(PCache *cache, TreeTop *top, uint64_t n, Step steps[HEIGHT_LIMIT], unsigned *ret_depth)
{
        unsigned depth = 0;
        Child *child = &top->top;
        for (;;) {
                Page *page;
                unsigned i = 0;
                TRY(node_load(cache, child, &page));
                if (depth && page->h.level + 1u != steps[depth - 1].page->h.level)
                        return node_wrong(cache, child, "it is at another height than its neighbours");
                if (depth == HEIGHT_LIMIT - 1)
                        return status_new(ERR_LIMIT, "%s: a tree is more than %u levels high", cache->name, depth);
                if (page->h.level == 0) {
                        if (n >= page->h.count)
                                return status_new(ERR_CORRUPT, "%s: a node's row counts do not add up", cache->name);
                        steps[depth++] = (Step){child, page, (unsigned)n};
                        *ret_depth = depth;
                        return ST_OK;
                }
                while (i < page->h.count && n >= page->children[i].rows)
                        n -= page->children[i++].rows;
                steps[depth++] = (Step){child, page, i};
                child = &page->children[i];
        }
}

static void path_count(TreeTop *top, Step *steps, unsigned depth, uint64_t by)
{
        top->top.rows += by;
        for (unsigned i = 0; i + 1 < depth; i++)
                steps[i].page->children[steps[i].index].rows += by;
}

/* --- insert --- */

size_t separator_size(Bytes below, Bytes above)
{
        size_t n = 0, limit = MIN(below.size, above.size);
        while (n < limit && below.data[n] == above.data[n])
                n++;
        return MIN(n + 1, above.size);
}

/* An entry on its way into a node; an inner one brings the child that follows it. */
typedef struct Arrival {
        Bytes key, value;
        uint16_t code;
        Frame *frame; /* NULL in a leaf */
        uint64_t rows;
} Arrival;

static void arrival_put(Page *page, unsigned at, const Arrival *arrival)
{
        page_insert(page, at, arrival->key, arrival->code, arrival->value);
        if (page->h.level)
                page_child_insert(page, at + 1, 0, arrival->frame, arrival->rows, 0);
}

static void arrival_discard(PWrite *write, const Arrival *arrival)
{
        Child child;
        if (!arrival->frame)
                return;
        child_set(&child, 0, arrival->frame, 0, 0);
        dirty_discard(write->tree->cache, &child, write->version);
}

/* A new top over the old one and the arrival. */
static Status tree_grow(PWrite *write, TreeTop *top, unsigned level, const Arrival *arrival)
{
        Child children[2];
        Entry entry = {.a = arrival->key.data, .a_size = (uint16_t)arrival->key.size};
        child_copy(&children[0], &top->top);
        children[0].rows = top->top.rows - arrival->rows;
        child_set(&children[1], 0, arrival->frame, arrival->rows, 0);
        Page *page = page_build(write->tree->cache, level, &entry, children, 1);
        Frame *frame = page ? frame_new(write->tree->cache, page, write->version) : NULL;
        if (!frame) {
                page_free(write->tree->cache, page);
                arrival_discard(write, arrival);
                return status_nomem();
        }
        child_set(&top->top, 0, frame, top->top.rows, 0);
        return ST_OK;
}

/* The key that separates the parts of cut entries. */
static size_t cut_key(unsigned level, const Entry *entries, unsigned cut, uint8_t out[PTREE_MAX_KEY_BYTES])
{
        uint8_t below[PTREE_MAX_KEY_BYTES];
        size_t size = entry_key(&entries[cut], out);
        if (level)
                return size;
        size_t below_size = entry_key(&entries[cut - 1], below);
        return separator_size(BYTES(below, below_size), BYTES(out, size));
}

/* Both parts of entries that do not fit one node; NULL, NULL when out of memory. */
static bool cut_build(PCache *cache, unsigned level, const Entry *entries, const Child *children, unsigned count,
                      unsigned cut, Page **ret_left, Page **ret_right)
{
        unsigned from = cut + (level ? 1 : 0);
        *ret_left = page_build(cache, level, entries, children, cut);
        *ret_right = page_build(cache, level, entries + from, children + (level ? from : 0), count - from);
        if (*ret_left && *ret_right)
                return true;
        page_free(cache, *ret_left);
        page_free(cache, *ret_right);
        return false;
}

static Status node_put(PWrite *write, TreeTop *top, Step *steps, unsigned i, unsigned at, const Arrival *arrival);

/* The arrival does not fit as it is: the node is built anew, as one or as two. */
static Status node_rebuild(PWrite *write, TreeTop *top, Step *steps, unsigned i, unsigned at, const Arrival *arrival)
{
        Entry entries[PAGE_MAX_ENTRIES + 1];
        Child children[PAGE_MAX_BYTES / sizeof(Child) + 2];
        uint8_t separator[PTREE_MAX_KEY_BYTES];
        Page *page = steps[i].page;
        unsigned level = page->h.level, n = page->h.count + 1u;
        for (unsigned k = 0; k < n; k++)
                entries[k] = k == at ? (Entry){.a = arrival->key.data,
                                               .a_size = (uint16_t)arrival->key.size,
                                               .value = arrival->value.data,
                                               .value_size = (uint16_t)arrival->value.size,
                                               .code = arrival->code}
                                     : page_entry(page, k - (k > at));
        for (unsigned k = 0; level && k <= n; k++) {
                if (k == at + 1)
                        child_set(&children[k], 0, arrival->frame, arrival->rows, 0);
                else
                        child_copy(&children[k], &page->children[k - (k > at + 1)]);
        }
        Frame *frame = atomic_load_explicit(&steps[i].child->frame, memory_order_relaxed);
        if (page_built_bytes(level, entries, n) <= PAGE_MAX_BYTES) {
                Page *whole = page_build(write->tree->cache, level, entries, children, n);
                if (!whole) {
                        arrival_discard(write, arrival);
                        return status_nomem();
                }
                frame_set_page(write->tree->cache, frame, whole);
                steps[i].page = whole;
                return ST_OK;
        }
        /* Ascending keys fill nodes: a split at the end (or the start) moves only what is new. */
        unsigned wish = at == n - 1 ? n - 1 - (level ? 1 : 0) : at == 0 ? 1 : 0;
        unsigned cut = entries_cut(level, entries, n, wish);
        Page *left = NULL, *right = NULL;
        Frame *beside = NULL;
        if (cut_build(write->tree->cache, level, entries, children, n, cut, &left, &right)) {
                beside = frame_new(write->tree->cache, right, write->version);
                if (!beside) {
                        page_free(write->tree->cache, left);
                        page_free(write->tree->cache, right);
                }
        }
        if (!beside) {
                arrival_discard(write, arrival);
                return status_nomem();
        }
        size_t separator_bytes = cut_key(level, entries, cut, separator);
        Arrival up = {.key = BYTES(separator, separator_bytes), .frame = beside, .rows = page_rows(right)};
        frame_set_page(write->tree->cache, frame, left);
        steps[i].page = left;
        if (i == 0)
                return tree_grow(write, top, level + 1, &up);
        steps[i - 1].page->children[steps[i - 1].index].rows -= up.rows;
        return node_put(write, top, steps, i - 1, steps[i - 1].index, &up);
}

/* Puts an entry into the editable node steps[i], as number `at`. The arrival's child is taken, whatever happens. After
 * a split the pages of steps[0 .. i] are no more what they were. */
static Status node_put(PWrite *write, TreeTop *top, Step *steps, unsigned i, unsigned at, const Arrival *arrival)
{
        Page *page = steps[i].page;
        bool storable;
        size_t need = page_need(page, arrival->key, arrival->value.size);
        if (page_fits(page, need, &storable)) {
                arrival_put(page, at, arrival);
                return ST_OK;
        }
        if (!storable)
                return node_rebuild(write, top, steps, i, at, arrival);
        Page *copy = page_copy(write->tree->cache, page, need);
        if (!copy) {
                arrival_discard(write, arrival);
                return status_nomem();
        }
        frame_set_page(write->tree->cache, atomic_load_explicit(&steps[i].child->frame, memory_order_relaxed), copy);
        steps[i].page = copy;
        arrival_put(copy, at, arrival);
        return ST_OK;
}

Status ptree_write_put(PWrite *write, uint32_t id, Bytes key, Bytes value)
{
        PCache *cache = write->tree->cache;
        TreeTop *top;
        uint8_t packed[REF_MAX_BYTES];
        Arrival row = {.key = key};
        assert(!write->bulk);
        if (key.size > PTREE_MAX_KEY_BYTES)
                return status_new(ERR_LIMIT, "the key has %zu bytes, more than %d", key.size, PTREE_MAX_KEY_BYTES);
        if (cache->dirty_max_bytes && !write->tree->options.unlimited &&
            atomic_load(&cache->dirty_bytes) > cache->dirty_max_bytes)
                return status_new(ERR_LIMIT, "%s: more than %zu bytes of changes wait for a checkpoint", cache->name,
                                  cache->dirty_max_bytes);
        TRY(write_top(write, id, &top));
        TRY(value_store(write, top, value, packed, &row.code, &row.value));
        if (top->top.rows == 0) {
                Entry entry = {.a = key.data,
                               .a_size = (uint16_t)key.size,
                               .value = row.value.data,
                               .value_size = (uint16_t)row.value.size,
                               .code = row.code};
                Page *page = page_build(cache, 0, &entry, NULL, 1);
                Frame *frame = page ? frame_new(cache, page, write->version) : NULL;
                if (!frame) {
                        page_free(cache, page);
                        return status_nomem();
                }
                child_set(&top->top, 0, frame, 1, 0);
                top->bytes += key.size;
                return ST_OK;
        }
        _cleanup_(section_leavep) Section *section = NULL;
        Step steps[HEIGHT_LIMIT];
        unsigned depth;
        bool equal;
        TRY(section_enter(cache, &section));
        TRY(path_find(cache, top, key, steps, &depth, &equal));
        TRY(path_edit(write, top, steps, depth));
        Page *leaf = steps[depth - 1].page;
        unsigned at = steps[depth - 1].index;
        if (equal) {
                Bytes old;
                TRY(value_drop(write, top, leaf, at));
                page_value(leaf, at, &old);
                if (old.size == row.value.size) {
                        /* In its place: an equal size needs no room. */
                        uint8_t *to = (uint8_t *)(uintptr_t)old.data;
                        store_u16((uint8_t *)(uintptr_t)page_end(leaf) - page_slots(leaf)[at].offset, row.code);
                        if (old.size)
                                memcpy(to, row.value.data, old.size);
                        return ST_OK;
                }
                page_remove(leaf, at);
        } else {
                top->bytes += key.size;
                path_count(top, steps, depth, 1);
        }
        return node_put(write, top, steps, depth - 1, at, &row);
}

/* --- delete --- */

/* Makes one of the children `l` and `l + 1` of the editable steps[i], or evens them out; *ret_merged. */
static Status node_balance(PWrite *write, TreeTop *top, Step *steps, unsigned i, unsigned l, bool *ret_merged)
{
        PCache *cache = write->tree->cache;
        Entry entries[2 * PAGE_MAX_ENTRIES + 1];
        Child children[2 * (PAGE_MAX_BYTES / sizeof(Child))];
        uint8_t separator[PTREE_MAX_KEY_BYTES];
        Page *parent = steps[i].page, *left, *right, *new_left, *new_right;
        Child *left_child = &parent->children[l], *right_child = &parent->children[l + 1];
        unsigned n = 0, m = 0;
        TRY(node_down(cache, parent, l, &left));
        TRY(node_down(cache, parent, l + 1, &right));
        TRY(node_sound(cache, left_child, left, &(Step){.page = parent, .index = l}));
        TRY(node_sound(cache, right_child, right, &(Step){.page = parent, .index = l + 1}));
        unsigned level = left->h.level;
        for (unsigned k = 0; k < left->h.count; k++)
                entries[n++] = page_entry(left, k);
        if (level)
                entries[n++] = page_entry(parent, l);
        for (unsigned k = 0; k < right->h.count; k++)
                entries[n++] = page_entry(right, k);
        for (unsigned k = 0; k < page_child_count(left); k++)
                child_copy(&children[m++], &left->children[k]);
        children_resolve(write, children, m, left);
        unsigned middle = m;
        for (unsigned k = 0; k < page_child_count(right); k++)
                child_copy(&children[m++], &right->children[k]);
        children_resolve(write, children + middle, m - middle, right);

        *ret_merged = page_built_bytes(level, entries, n) <= PAGE_MERGE_BYTES;
        if (*ret_merged) {
                Page *whole = page_build(cache, level, entries, children, n);
                if (!whole)
                        return status_nomem();
                TRY(child_put(write, left_child, left, whole));
                if (node_editable(right_child, write->version))
                        frame_discard(cache, atomic_load(&right_child->frame));
                else
                        TRY(node_drop(write, right_child, right->h.birth));
                left_child->rows += right_child->rows;
                page_remove(parent, l);
                page_child_remove(parent, l + 1);
                return ST_OK;
        }
        unsigned cut = entries_cut(level, entries, n, 0);
        if (!cut_build(cache, level, entries, children, n, cut, &new_left, &new_right))
                return status_nomem();
        size_t separator_bytes = cut_key(level, entries, cut, separator);
        uint64_t left_rows = page_rows(new_left), right_rows = page_rows(new_right);
        Status st = child_put(write, left_child, left, new_left);
        if (st) {
                page_free(cache, new_right);
                return st;
        }
        TRY(child_put(write, right_child, right, new_right));
        left_child->rows = left_rows;
        /* The new separator may need more room than the old one: it arrives as after a split. */
        Arrival up = {.key = BYTES(separator, separator_bytes),
                      .frame = atomic_load_explicit(&right_child->frame, memory_order_relaxed),
                      .rows = right_rows};
        page_remove(parent, l);
        page_child_remove(parent, l + 1);
        return node_put(write, top, steps, i, l, &up);
}

/* After rows have gone from the leaf of an editable path. */
static Status path_balance(PWrite *write, TreeTop *top, Step *steps, unsigned depth)
{
        PCache *cache = write->tree->cache;
        bool merged = true;
        for (unsigned i = depth - 1; i > 0 && merged && page_live_bytes(steps[i].page) < PAGE_MIN_BYTES; i--) {
                Page *parent = steps[i - 1].page;
                unsigned at = steps[i - 1].index;
                assert(parent->h.count >= 1); /* README, I7 */
                TRY(node_balance(write, top, steps, i - 1, at < parent->h.count ? at : at - 1, &merged));
        }
        for (;;) {
                Page *page;
                TRY(node_load(cache, &top->top, &page));
                bool empty = top->top.rows == 0;
                if (!empty && (page->h.level == 0 || page->h.count > 0))
                        return ST_OK;
                Frame *frame = atomic_load_explicit(&top->top.frame, memory_order_relaxed);
                uint64_t rows = top->top.rows;
                if (empty) {
                        assert(page->h.level == 0 && page->h.count == 0);
                        child_set(&top->top, 0, NULL, 0, 0);
                        frame_discard(cache, frame);
                        return ST_OK;
                }
                assert(node_editable(&top->top, write->version));
                child_copy(&top->top, &page->children[0]);
                top->top.rows = rows;
                frame_discard(cache, frame);
        }
}

Status ptree_write_delete(PWrite *write, uint32_t id, Bytes key, bool *ret_found)
{
        PCache *cache = write->tree->cache;
        TreeTop *top = root_top(write->root, id);
        _cleanup_(section_leavep) Section *section = NULL;
        Step steps[HEIGHT_LIMIT];
        unsigned depth;
        bool equal;
        assert(!write->bulk);
        *ret_found = false;
        if (!top || top->top.rows == 0)
                return ST_OK;
        TRY(section_enter(cache, &section));
        TRY(path_find(cache, top, key, steps, &depth, &equal));
        if (!equal)
                return ST_OK;
        TRY(path_edit(write, top, steps, depth));
        TRY(value_drop(write, top, steps[depth - 1].page, steps[depth - 1].index));
        page_remove(steps[depth - 1].page, steps[depth - 1].index);
        path_count(top, steps, depth, UINT64_MAX);
        top->bytes -= key.size;
        TRY(path_balance(write, top, steps, depth));
        *ret_found = true;
        return ST_OK;
}

/* --- clear --- */

/* What others can see of the tree goes as a whole, when nobody can any more. What this write made is only looked at:
 * this can fail. */
static Status clear_note(PWrite *write, TreeTop *top, Child *child)
{
        if (!node_editable(child, write->version)) {
                ClearedTree *cleared = mem_zalloc(sizeof(*cleared));
                if (!cleared)
                        return status_nomem();
                cleared->tree.id = top->id;
                cleared->tree.values = top->values;
                cleared->death = write->version;
                child_copy(&cleared->tree.top, child);
                child_resolve(&cleared->tree.top);
                cleared->next = write->cleared;
                write->cleared = cleared;
                return ST_OK;
        }
        Page *page = atomic_load(&atomic_load(&child->frame)->page);
        for (unsigned i = 0; i < page_child_count(page); i++)
                TRY(clear_note(write, top, &page->children[i]));
        for (unsigned i = 0; page->h.level == 0 && top->values && i < page->h.count; i++)
                TRY(value_drop(write, top, page, i));
        return ST_OK;
}

Status ptree_write_clear(PWrite *write, uint32_t id)
{
        Root *root = write->root;
        TreeTop *top = root_top(root, id);
        assert(!write->bulk);
        if (!top)
                return ST_OK;
        if (top->top.rows) {
                TRY(clear_note(write, top, &top->top));
                dirty_discard(write->tree->cache, &top->top, write->version);
        }
        for (root->count--; top < &root->tops[root->count]; top++)
                top_copy(top, top + 1);
        return ST_OK;
}

static Status range_rank(PWrite *write, TreeTop *top, Bytes key, uint64_t *ret_rank)
{
        Step steps[HEIGHT_LIMIT];
        unsigned depth;
        bool equal;
        _cleanup_(section_leavep) Section *section = NULL;
        TRY(section_enter(write->tree->cache, &section));
        TRY(path_find(write->tree->cache, top, key, steps, &depth, &equal));
        uint64_t rank = steps[depth - 1].index;
        for (unsigned i = 0; i + 1 < depth; i++)
                for (unsigned k = 0; k < steps[i].index; k++)
                        rank += steps[i].page->children[k].rows;
        *ret_rank = rank;
        return ST_OK;
}

Status ptree_write_delete_range(PWrite *write, uint32_t id, PRange range, uint64_t *ret_deleted)
{
        PCache *cache = write->tree->cache;
        TreeTop *top = root_top(write->root, id);
        uint64_t low = 0, high = top ? top->top.rows : 0, deleted = 0;
        assert(!write->bulk);
        if (high && range.high.data)
                TRY(range_rank(write, top, range.high, &high));
        if (high && range.low.data)
                TRY(range_rank(write, top, range.low, &low));
        while (low + deleted < high) {
                _cleanup_(section_leavep) Section *section = NULL;
                Step steps[HEIGHT_LIMIT];
                unsigned depth;
                TRY(section_enter(cache, &section));
                TRY(path_seek(cache, top, low, steps, &depth));
                TRY(path_edit(write, top, steps, depth));
                Page *leaf = steps[depth - 1].page;
                unsigned at = steps[depth - 1].index;
                unsigned n = (unsigned)MIN(high - low - deleted, (uint64_t)(leaf->h.count - at));
                for (unsigned k = at + n; k-- > at;) {
                        TRY(value_drop(write, top, leaf, k));
                        top->bytes -= page_prefix(leaf).size + page_slots(leaf)[k].suffix_size;
                        page_remove(leaf, k);
                }
                path_count(top, steps, depth, -(uint64_t)n);
                TRY(path_balance(write, top, steps, depth));
                deleted += n;
        }
        *ret_deleted = deleted;
        return ST_OK;
}
