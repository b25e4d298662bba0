/* node.c - the nodes of the copy-on-write tree: search, and the edits of the one running write.
 *
 * A node whose birth is the running write's version was made by it, nobody else can see it, and it is edited in place;
 * any other node is published: it is copied first, and the old one becomes garbage of this commit. */
#include "storage/memory/memory_int.h"

#include <assert.h>

static const Bytes no_key = {NULL, 0};

size_t garbage_bytes(uintptr_t tagged)
{
        const void *object = (const void *)(tagged & ~GARBAGE_MASK);
        switch ((GarbageKind)(tagged & GARBAGE_MASK)) {
        case GARBAGE_ROW: {
                const Row *row = object;
                return sizeof(Row) + row->key_size + row->value_size + 8; /* 8: the heap's own */
        }
        case GARBAGE_LEAF: return sizeof(Node) + 8;
        case GARBAGE_INNER: return sizeof(Inner) + 8;
        case GARBAGE_ROOT: {
                const Root *root = object;
                return sizeof(Root) + root->tree_capacity * sizeof(Tree) + 8;
        }
        case GARBAGE_CLEARED: return sizeof(Cleared) + 8;
        }
        return 0;
}

/* --- search --- */

/* Eight bytes of the key from `skip` on, so that comparing two windows as numbers compares those bytes. */
static inline uint64_t key_window(Bytes key, size_t skip)
{
        if (likely(key.size >= skip + 8))
                return __builtin_bswap64(load_u64(key.data + skip));
        uint8_t bytes[8] = {0};
        if (key.size > skip)
                memcpy(bytes, key.data + skip, key.size - skip);
        return __builtin_bswap64(load_u64(bytes));
}

/* The lines that the search of a node may touch, all at once: one miss instead of three in a row. */
static inline void node_prefetch(const Node *node, bool leaf)
{
        __builtin_prefetch(node);
        for (unsigned i = 0; i < NODE_MAX; i += CACHE_LINE_BYTES / sizeof(node->window[0]))
                __builtin_prefetch(&node->window[i]);
        for (unsigned i = 0; leaf && i < NODE_MAX; i += CACHE_LINE_BYTES / sizeof(node->rows[0]))
                __builtin_prefetch(&node->rows[i]);
}

/* The first entry in [from, count) whose key is >= `key`; *ret_equal if it is that key. */
static inline unsigned node_lower_bound(const Node *node, unsigned from, Bytes key, bool *ret_equal)
{
        *ret_equal = false;
        if (node->skip) {
                size_t n = MIN(key.size, (size_t)node->skip);
                int c = n ? memcmp(key.data, node->common, n) : 0;
                if (c < 0 || (c == 0 && key.size < node->skip))
                        return from;
                if (c > 0)
                        return node->count;
        }
        uint64_t window = key_window(key, node->skip);
        const uint64_t *base = node->window + from;
        unsigned size = node->count - from;
        while (size > 1) { /* without a branch on data: every step would be mispredicted half the time */
                unsigned half = size / 2;
                base += (base[half - 1] < window) * half;
                size -= half;
        }
        unsigned low = (unsigned)(base - node->window) + (size && *base < window);
        if (low == node->count || node->window[low] != window)
                return low;
        /* Equal windows: only now the rows themselves are touched. */
        unsigned high = low + 1;
        while (high < node->count && node->window[high] == window)
                high++;
        while (low < high) {
                unsigned middle = (low + high) / 2;
                int c = bytes_compare(row_key(node->rows[middle]), key);
                if (c == 0) {
                        *ret_equal = true;
                        return middle;
                }
                if (c < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

/* The child of an inner node that `key` belongs to. */
static inline unsigned inner_child(const Node *node, Bytes key)
{
        bool equal;
        unsigned i = node_lower_bound(node, 1, key, &equal);
        return equal ? i : i - 1;
}

const Row *tree_find(const Tree *tree, Bytes key)
{
        const Node *node = tree->top;
        if (!node)
                return NULL;
        while (node->level > 0) {
                bool leaf = node->level == 1;
                node = node_inner(node)->children[inner_child(node, key)];
                node_prefetch(node, leaf);
        }
        bool equal;
        unsigned i = node_lower_bound(node, 0, key, &equal);
        return equal ? node->rows[i] : NULL;
}

uint64_t tree_rank(const Tree *tree, Bytes key)
{
        const Node *node = tree->top;
        uint64_t rank = 0;
        if (!node)
                return 0;
        while (node->level > 0) {
                const Inner *inner = node_inner(node);
                unsigned at = inner_child(node, key);
                for (unsigned i = 0; i < at; i++)
                        rank += inner->counts[i];
                node = inner->children[at];
        }
        bool equal;
        return rank + node_lower_bound(node, 0, key, &equal);
}

unsigned tree_seek(const Tree *tree, uint64_t n, PathStep path[HEIGHT_MAX])
{
        unsigned depth = 0;
        Node *node = tree->top;
        assert(n < tree->count);
        while (node->level > 0) {
                const Inner *inner = node_inner(node);
                unsigned i = 0;
                while (n >= inner->counts[i])
                        n -= inner->counts[i++];
                path[depth++] = (PathStep){node, i};
                node = inner->children[i];
        }
        path[depth++] = (PathStep){node, (unsigned)n};
        return depth;
}

uint64_t node_rows(const Node *node)
{
        if (node->level == 0)
                return node->count;
        uint64_t n = 0;
        for (unsigned i = 0; i < node->count; i++)
                n += node_inner(node)->counts[i];
        return n;
}

/* --- making and losing objects --- */

static size_t node_bytes(unsigned level)
{
        return level ? sizeof(Inner) : sizeof(Node);
}

static Node *node_new(EngineWrite *write, unsigned level)
{
        NodeCache *cache = level ? &write->table->inners : &write->table->leaves;
        Node *node;
        if (cache->count > 0) {
                node = cache->nodes[--cache->count]; /* still accounted to the table: epoch.c */
        } else {
                node = mem_alloc(node_bytes(level));
                if (!node)
                        return NULL;
                write->bytes_delta += (int64_t)node_bytes(level) + 8;
        }
        node->birth = write->version;
        node->count = 0;
        node->level = (uint8_t)level;
        node->skip = 0;
        node->reserved = 0;
        return node;
}

static Row *row_new(EngineWrite *write, Bytes key, Bytes value)
{
        Row *row = mem_alloc(sizeof(Row) + key.size + value.size);
        if (!row)
                return NULL;
        row->birth = write->version;
        row->key_size = (uint32_t)key.size;
        row->value_size = (uint32_t)value.size;
        if (key.size)
                memcpy(row->bytes, key.data, key.size);
        if (value.size)
                memcpy(row->bytes + key.size, value.data, value.size);
        write->bytes_delta += (int64_t)garbage_bytes((uintptr_t)row | GARBAGE_ROW);
        return row;
}

/* What this write made goes at once; what others may see becomes garbage. */
static Status object_drop(EngineWrite *write, void *object, GarbageKind kind)
{
        if (*(uint64_t *)object != write->version)
                return garbage_push(write, object, kind);
        write->bytes_delta -= (int64_t)garbage_free(write->table, (uintptr_t)object | kind, true);
        return ST_OK;
}

static Status node_drop(EngineWrite *write, Node *node)
{
        return object_drop(write, node, node->level ? GARBAGE_INNER : GARBAGE_LEAF);
}

/* Makes *place, a reference to `node` from the tree's top or an editable parent, a node that may be edited. */
static Status node_edit(EngineWrite *write, Node **place)
{
        Node *old = *place;
        if (old->birth == write->version)
                return ST_OK;
        Node *copy = node_new(write, old->level);
        if (!copy)
                return status_nomem();
        Status st = garbage_push(write, old, old->level ? GARBAGE_INNER : GARBAGE_LEAF);
        if (st) {
                write->bytes_delta -= (int64_t)garbage_free(
                        write->table, (uintptr_t)copy | (old->level ? GARBAGE_INNER : GARBAGE_LEAF), true);
                return st;
        }
        unsigned n = old->count;
        copy->count = old->count;
        copy->skip = old->skip;
        memcpy(copy->common, old->common, old->skip);
        memcpy(copy->window, old->window, n * sizeof(copy->window[0]));
        memcpy(copy->rows, old->rows, n * sizeof(copy->rows[0]));
        if (old->level) {
                memcpy(node_inner(copy)->children, node_inner(old)->children, n * sizeof(Node *));
                memcpy(node_inner(copy)->counts, node_inner(old)->counts, n * sizeof(uint64_t));
        }
        *place = copy;
        return ST_OK;
}

/* --- windows and common prefixes --- */

static size_t common_prefix(Bytes a, Bytes b)
{
        size_t n = MIN(MIN(a.size, b.size), (size_t)COMMON_MAX), i = 0;
        while (i < n && a.data[i] == b.data[i])
                i++;
        /* Multiples of 4: a counter's last digits may move on without changing the skip of the node. */
        return i & ~(size_t)3;
}

static unsigned node_first(const Node *node)
{
        return node->level ? 1 : 0;
}

static void node_set_skip(Node *node, Bytes sample, size_t skip)
{
        node->skip = (uint8_t)skip;
        if (skip)
                memcpy(node->common, sample.data, skip);
        for (unsigned i = node_first(node); i < node->count; i++)
                node->window[i] = key_window(row_key(node->rows[i]), skip);
}

/* After entries left or came from another node: the longest skip, windows anew if `force` or if it grew. */
static void node_refresh(Node *node, bool force)
{
        unsigned first = node_first(node);
        if (node->count <= first)
                return;
        Bytes low = row_key(node->rows[first]);
        size_t skip = node->count - first > 1 ? common_prefix(low, row_key(node->rows[node->count - 1])) : 0;
        if (node->count - first == 1)
                skip = MIN((size_t)node->skip, common_prefix(low, low));
        if (force || skip != node->skip)
                node_set_skip(node, low, skip);
}

/* Opens a gap at `at` and fills it; the node is editable and not full. */
static void node_insert(Node *node, unsigned at, Row *row, Node *child, uint64_t rows)
{
        unsigned behind = node->count - at;
        Bytes key = row_key(row);
        memmove(&node->window[at + 1], &node->window[at], behind * sizeof(node->window[0]));
        memmove(&node->rows[at + 1], &node->rows[at], behind * sizeof(node->rows[0]));
        node->rows[at] = row;
        if (node->level) {
                Inner *inner = node_inner(node);
                memmove(&inner->children[at + 1], &inner->children[at], behind * sizeof(Node *));
                memmove(&inner->counts[at + 1], &inner->counts[at], behind * sizeof(uint64_t));
                inner->children[at] = child;
                inner->counts[at] = rows;
        }
        node->count++;
        if (node->skip && common_prefix(BYTES(node->common, node->skip), key) < node->skip)
                node_set_skip(node, key, common_prefix(BYTES(node->common, node->skip), key));
        else
                node->window[at] = key_window(key, node->skip);
}

static void node_remove(Node *node, unsigned at)
{
        unsigned behind = node->count - at - 1;
        memmove(&node->window[at], &node->window[at + 1], behind * sizeof(node->window[0]));
        memmove(&node->rows[at], &node->rows[at + 1], behind * sizeof(node->rows[0]));
        if (node->level) {
                Inner *inner = node_inner(node);
                memmove(&inner->children[at], &inner->children[at + 1], behind * sizeof(Node *));
                memmove(&inner->counts[at], &inner->counts[at + 1], behind * sizeof(uint64_t));
        }
        node->count--;
}

/* Moves entries [from, from + n) of `source` behind those of `target`; windows are set by the caller. */
static void node_move(Node *target, Node *source, unsigned from, unsigned n)
{
        memcpy(&target->window[target->count], &source->window[from], n * sizeof(source->window[0]));
        memcpy(&target->rows[target->count], &source->rows[from], n * sizeof(source->rows[0]));
        if (source->level) {
                Inner *to = node_inner(target), *in = node_inner(source);
                memcpy(&to->children[target->count], &in->children[from], n * sizeof(Node *));
                memcpy(&to->counts[target->count], &in->counts[from], n * sizeof(uint64_t));
        }
        target->count = (uint16_t)(target->count + n);
}

/* --- put --- */

/* The shortest key that is > left and <= right. */
static Row *separator_new(EngineWrite *write, Bytes left, Bytes right)
{
        size_t n = 0;
        while (n < left.size && n < right.size && left.data[n] == right.data[n])
                n++;
        assert(n < right.size);
        return row_new(write, BYTES(right.data, n + 1), no_key);
}

/* Where to cut a full node that a new entry goes into at `at`: at the ends only the new entry moves, so that ascending
 * (or descending) keys leave full nodes behind. */
static unsigned split_place(unsigned count, unsigned at)
{
        if (at == count)
                return count;
        return at == 0 ? 0 : count / 2;
}

/* Splits a full, editable leaf and puts `row` where it belongs. */
static Status leaf_split(EngineWrite *write, Node *left, unsigned at, Row *row, Row **ret_separator, Node **ret_right)
{
        unsigned cut = split_place(left->count, at);
        Bytes key = row_key(row);
        Bytes below = cut == 0 ? key : row_key(left->rows[cut - 1]);
        Bytes above = cut == left->count ? key : row_key(left->rows[cut]);
        if (cut > 0 && at == cut) /* the new row becomes the last of the left half */
                below = cut == left->count ? below : key;
        Row *separator = separator_new(write, below, above);
        if (!separator)
                return status_nomem();
        Node *right = node_new(write, 0);
        if (!right) {
                write->bytes_delta -= (int64_t)garbage_free(write->table, (uintptr_t)separator | GARBAGE_ROW, true);
                return status_nomem();
        }
        right->skip = left->skip;
        memcpy(right->common, left->common, left->skip);
        node_move(right, left, cut, left->count - cut);
        left->count = (uint16_t)cut;
        if (cut == NODE_MAX) {
                /* The next keys probably share what the new one has in common with the last. */
                node_set_skip(right, key, common_prefix(below, key));
                node_insert(right, 0, row, NULL, 0);
        } else if (cut == 0) {
                node_set_skip(left, key, common_prefix(key, above));
                node_insert(left, 0, row, NULL, 0);
        } else {
                node_refresh(right, false);
                node_refresh(left, false);
                if (at <= cut)
                        node_insert(left, at, row, NULL, 0);
                else
                        node_insert(right, at - cut, row, NULL, 0);
        }
        *ret_separator = separator;
        *ret_right = right;
        return ST_OK;
}

/* The same for an inner node: the separator at the cut moves up instead of being copied. */
static Status inner_split(EngineWrite *write, Node *left, unsigned at, Row *separator, Node *child, uint64_t rows,
                          Row **ret_separator, Node **ret_right)
{
        Node *right = node_new(write, left->level);
        if (!right)
                return status_nomem();
        /* At the end the last child goes along, so that no inner node is born with a single child (memory I5). */
        unsigned cut = at == left->count ? left->count - 1 : left->count / 2;
        right->skip = left->skip;
        memcpy(right->common, left->common, left->skip);
        node_move(right, left, cut, left->count - cut);
        left->count = (uint16_t)cut;
        *ret_separator = right->rows[0];
        right->rows[0] = NULL;
        right->window[0] = 0;
        node_refresh(right, false);
        node_refresh(left, false);
        if (at <= cut)
                node_insert(left, at, separator, child, rows);
        else
                node_insert(right, at - cut, separator, child, rows);
        *ret_right = right;
        return ST_OK;
}

/* From the top to the leaf of `key`; returns the depth. */
static unsigned path_find(Tree *tree, Bytes key, PathStep path[HEIGHT_MAX], bool *ret_equal)
{
        unsigned depth = 0;
        Node *node = tree->top;
        while (node->level > 0) {
                bool leaf = node->level == 1;
                path[depth++] = (PathStep){node, inner_child(node, key)};
                node = node_inner(node)->children[path[depth - 1].index];
                node_prefetch(node, leaf);
        }
        path[depth++] = (PathStep){node, node_lower_bound(node, 0, key, ret_equal)};
        return depth;
}

static Node **path_place(Tree *tree, PathStep path[HEIGHT_MAX], unsigned at)
{
        return at == 0 ? &tree->top : &node_inner(path[at - 1].node)->children[path[at - 1].index];
}

/* Makes the whole path editable. */
static Status path_edit(EngineWrite *write, Tree *tree, PathStep path[HEIGHT_MAX], unsigned depth)
{
        for (unsigned i = 0; i < depth; i++) {
                Node **place = path_place(tree, path, i);
                TRY(node_edit(write, place));
                path[i].node = *place;
        }
        return ST_OK;
}

/* A new top over the old one and `right`. */
static Status tree_grow(EngineWrite *write, Tree *tree, Row *separator, Node *right)
{
        unsigned level = tree->top->level + 1;
        if (level >= HEIGHT_MAX)
                return status_new(ERR_LIMIT, "the tree is %u levels high", level);
        Node *top = node_new(write, level);
        if (!top)
                return status_nomem();
        top->count = 1;
        top->rows[0] = NULL;
        top->window[0] = 0;
        node_inner(top)->children[0] = tree->top;
        node_inner(top)->counts[0] = node_rows(tree->top);
        node_insert(top, 1, separator, right, node_rows(right));
        tree->top = top;
        return ST_OK;
}

/* Frees a split's right half and separator that found no place in the tree (out of memory); all of it was made by this
 * write, but for rows moved from older nodes, which stay reachable from those: only new ones are freed. */
static void split_undo(EngineWrite *write, Row *separator, Node *right)
{
        Tree lost = {.top = right};
        tree_discard(write, &lost);
        if (separator->birth == write->version)
                write->bytes_delta -= (int64_t)garbage_free(write->table, (uintptr_t)separator | GARBAGE_ROW, true);
}

static Status path_insert(EngineWrite *write, Tree *tree, PathStep path[HEIGHT_MAX], unsigned depth, Row *row)
{
        Node *leaf = path[depth - 1].node;
        for (unsigned i = 0; i + 1 < depth; i++)
                node_inner(path[i].node)->counts[path[i].index]++;
        if (leaf->count < NODE_MAX) {
                node_insert(leaf, path[depth - 1].index, row, NULL, 0);
                return ST_OK;
        }
        Row *separator;
        Node *right;
        Status st = leaf_split(write, leaf, path[depth - 1].index, row, &separator, &right);
        if (st) {
                write->bytes_delta -= (int64_t)garbage_free(write->table, (uintptr_t)row | GARBAGE_ROW, true);
                return st;
        }
        for (unsigned i = depth - 1; i-- > 0;) {
                Node *parent = path[i].node;
                unsigned at = path[i].index;
                uint64_t moved = node_rows(right);
                node_inner(parent)->counts[at] -= moved;
                if (parent->count < NODE_MAX) {
                        node_insert(parent, at + 1, separator, right, moved);
                        return ST_OK;
                }
                Row *up;
                Node *beside;
                st = inner_split(write, parent, at + 1, separator, right, moved, &up, &beside);
                if (st) {
                        split_undo(write, separator, right);
                        return st;
                }
                separator = up;
                right = beside;
        }
        st = tree_grow(write, tree, separator, right);
        if (st)
                split_undo(write, separator, right);
        return st;
}

Status tree_put(EngineWrite *write, Tree *tree, Bytes key, Bytes value)
{
        PathStep path[HEIGHT_MAX];
        bool equal = false;
        if (!tree->top) {
                tree->top = node_new(write, 0);
                if (!tree->top)
                        return status_nomem();
        }
        unsigned depth = path_find(tree, key, path, &equal);
        TRY(path_edit(write, tree, path, depth));
        Row *row = row_new(write, key, value);
        if (!row)
                return status_nomem();
        if (equal) {
                Row **place = &path[depth - 1].node->rows[path[depth - 1].index];
                uint64_t old_bytes = (uint64_t)(*place)->key_size + (*place)->value_size;
                Status st = object_drop(write, *place, GARBAGE_ROW);
                if (st) {
                        write->bytes_delta -= (int64_t)garbage_free(write->table, (uintptr_t)row | GARBAGE_ROW, true);
                        return st;
                }
                *place = row;
                tree->bytes -= old_bytes;
        } else {
                TRY(path_insert(write, tree, path, depth, row));
                tree->count++;
        }
        tree->bytes += key.size + value.size;
        return ST_OK;
}

/* --- delete --- */

/* Merges the children `j - 1` and `j` of an editable parent, or evens them out. */
static Status inner_balance(EngineWrite *write, Node *parent, unsigned j)
{
        Inner *inner = node_inner(parent);
        unsigned sum = inner->children[j - 1]->count + inner->children[j]->count;
        TRY(node_edit(write, &inner->children[j - 1]));
        TRY(node_edit(write, &inner->children[j]));
        Node *left = inner->children[j - 1], *right = inner->children[j];
        Row *separator = parent->rows[j];

        if (sum <= NODE_MERGE) {
                unsigned seam = left->count;
                if (left->level == 0)
                        TRY(object_drop(write, separator, GARBAGE_ROW));
                node_move(left, right, 0, right->count);
                if (left->level > 0)
                        left->rows[seam] = separator;
                node_refresh(left, true);
                inner->counts[j - 1] += inner->counts[j];
                node_remove(parent, j);
                right->count = 0;
                return node_drop(write, right); /* made by node_edit above at the latest: freed, cannot fail */
        }

        /* Evening out goes through a scratch copy of the right node; simple, and rare. */
        Inner scratch;
        unsigned keep = sum / 2;
        Row *below = NULL;
        if (left->level == 0) {
                const Row *last = keep <= left->count ? left->rows[keep - 1] : right->rows[keep - left->count - 1];
                const Row *first = keep < left->count ? left->rows[keep] : right->rows[keep - left->count];
                below = separator_new(write, row_key(last), row_key(first));
                if (!below)
                        return status_nomem();
                Status st = object_drop(write, separator, GARBAGE_ROW);
                if (st) {
                        write->bytes_delta -= (int64_t)garbage_free(write->table, (uintptr_t)below | GARBAGE_ROW, true);
                        return st;
                }
        } else {
                right->rows[0] = separator;
        }
        memcpy(&scratch, right, node_bytes(right->level));
        right->count = 0;
        if (keep < left->count) {
                node_move(right, left, keep, left->count - keep);
                node_move(right, &scratch.node, 0, scratch.node.count);
                left->count = (uint16_t)keep;
        } else {
                unsigned n = keep - left->count;
                node_move(left, &scratch.node, 0, n);
                node_move(right, &scratch.node, n, scratch.node.count - n);
        }
        if (left->level > 0) {
                below = right->rows[0];
                right->rows[0] = NULL;
                right->window[0] = 0;
        }
        node_refresh(left, true);
        node_refresh(right, true);
        inner->counts[j - 1] = node_rows(left);
        inner->counts[j] = node_rows(right);
        parent->rows[j] = below;
        /* The new separator may share less with the others. */
        node_refresh(parent, true);
        return ST_OK;
}

Status tree_delete(EngineWrite *write, Tree *tree, Bytes key, bool *ret_found)
{
        PathStep path[HEIGHT_MAX];
        bool equal = false;
        *ret_found = false;
        if (!tree->top)
                return ST_OK;
        unsigned depth = path_find(tree, key, path, &equal);
        if (!equal)
                return ST_OK;
        TRY(path_edit(write, tree, path, depth));
        Node *leaf = path[depth - 1].node;
        Row *row = leaf->rows[path[depth - 1].index];
        uint64_t row_bytes = (uint64_t)row->key_size + row->value_size;
        TRY(object_drop(write, row, GARBAGE_ROW));
        node_remove(leaf, path[depth - 1].index);
        for (unsigned i = 0; i + 1 < depth; i++)
                node_inner(path[i].node)->counts[path[i].index]--;
        tree->count--;
        tree->bytes -= row_bytes;

        for (unsigned i = depth - 1; i > 0 && path[i].node->count < NODE_MIN; i--) {
                Node *parent = path[i - 1].node;
                unsigned at = path[i - 1].index;
                assert(parent->count >= 2); /* memory I5 */
                TRY(inner_balance(write, parent, at + 1 < parent->count ? at + 1 : at));
        }
        while (tree->top->level > 0 && tree->top->count == 1) {
                Node *top = tree->top;
                tree->top = node_inner(top)->children[0];
                TRY(node_drop(write, top));
        }
        if (tree->count == 0) {
                Node *top = tree->top;
                tree->top = NULL;
                TRY(node_drop(write, top));
        }
        *ret_found = true;
        return ST_OK;
}

/* --- whole trees --- */

/* Frees the nodes and rows under `node` that have this birth, or all. A published node holds nothing newer than itself,
 * so the walk stops there. */
static size_t node_discard(EngineTable *table, Node *node, uint64_t birth, bool all)
{
        size_t freed = 0;
        if (!all && node->birth != birth)
                return 0;
        for (unsigned i = 0; i < node->count; i++) {
                if (node->level)
                        freed += node_discard(table, node_inner(node)->children[i], birth, all);
                if (node->rows[i] && (all || node->rows[i]->birth == birth))
                        freed += garbage_free(table, (uintptr_t)node->rows[i] | GARBAGE_ROW, true);
        }
        return freed + garbage_free(table, (uintptr_t)node | (node->level ? GARBAGE_INNER : GARBAGE_LEAF), true);
}

void tree_discard(EngineWrite *write, Tree *tree)
{
        if (tree->top)
                write->bytes_delta -= (int64_t)node_discard(write->table, tree->top, write->version, false);
        tree->top = NULL;
}

void tree_free(EngineTable *table, Tree *tree)
{
        if (tree->top)
                table_account(table, -(int64_t)node_discard(table, tree->top, 0, true));
        tree->top = NULL;
}

/* Nothing is freed here: this may fail. */
static Status clear_note(EngineWrite *write, Node *node)
{
        if (node->birth != write->version) {
                Cleared *cleared = mem_zalloc(sizeof(Cleared));
                if (!cleared)
                        return status_nomem();
                cleared->top = node;
                Status st = garbage_push(write, cleared, GARBAGE_CLEARED);
                if (st)
                        mem_free(cleared);
                else
                        write->bytes_delta += (int64_t)garbage_bytes((uintptr_t)cleared | GARBAGE_CLEARED);
                return st;
        }
        for (unsigned i = 0; i < node->count; i++) {
                if (node->level)
                        TRY(clear_note(write, node_inner(node)->children[i]));
                if (node->rows[i] && node->rows[i]->birth != write->version)
                        TRY(garbage_push(write, node->rows[i], GARBAGE_ROW));
        }
        return ST_OK;
}

Status tree_clear(EngineWrite *write, Tree *tree)
{
        if (tree->top)
                TRY(clear_note(write, tree->top));
        tree_discard(write, tree);
        tree->count = tree->bytes = 0;
        return ST_OK;
}

size_t node_free_some(EngineTable *table, Node **top, size_t *most)
{
        Node *node = *top;
        size_t freed = 0;
        while (node->level && node->count > 0 && *most > 0) {
                unsigned last = node->count - 1u;
                freed += node_free_some(table, &node_inner(node)->children[last], most);
                if (node_inner(node)->children[last])
                        return freed;
                if (node->rows[last])
                        freed += garbage_free(table, (uintptr_t)node->rows[last] | GARBAGE_ROW, false);
                node->count--;
        }
        if (*most == 0)
                return freed;
        for (unsigned i = 0; i < node->count; i++)
                freed += garbage_free(table, (uintptr_t)node->rows[i] | GARBAGE_ROW, false);
        freed += garbage_free(table, (uintptr_t)node | (node->level ? GARBAGE_INNER : GARBAGE_LEAF), false);
        --*most;
        *top = NULL;
        return freed;
}

static uint64_t node_check(const Node *node, Bytes low, Bytes high)
{
        uint64_t rows = 0;
        Bytes previous = low;
        assert(node->count >= 1 && node->count <= NODE_MAX);
        for (unsigned i = node_first(node); i < node->count; i++) {
                Bytes key = row_key(node->rows[i]);
                int c = previous.data ? bytes_compare(previous, key) : -1;
                assert(c < 0 || (c == 0 && node->level == 0 && i == 0)); /* memory I1 */
                assert(!high.data || bytes_compare(key, high) < 0);
                assert(key.size >= node->skip && memcmp(key.data, node->common, node->skip) == 0); /* memory I2 */
                assert(node->window[i] == key_window(key, node->skip));
                assert(node->rows[i]->birth <= node->birth); /* memory I4 */
                previous = key;
        }
        if (node->level == 0)
                return node->count;
        assert(node->rows[0] == NULL && node->count >= 2); /* memory I5 */
        for (unsigned i = 0; i < node->count; i++) {
                const Node *child = node_inner(node)->children[i];
                assert(child->level == node->level - 1 && child->birth <= node->birth);
                uint64_t n = node_check(child, i ? row_key(node->rows[i]) : low,
                                        i + 1 < node->count ? row_key(node->rows[i + 1]) : high);
                assert(n == node_inner(node)->counts[i]); /* memory I3 */
                rows += n;
        }
        return rows;
}

void tree_check(const Tree *tree)
{
        uint64_t rows = tree->top ? node_check(tree->top, no_key, no_key) : 0;
        assert(rows == tree->count);
}

uint64_t root_bytes(const Root *root)
{
        uint64_t bytes = 0;
        for (uint32_t i = 0; i < root->tree_count; i++)
                bytes += root->trees[i].bytes;
        return bytes;
}

Tree *root_tree(const Root *root, uint32_t id)
{
        for (uint32_t i = 0; i < root->tree_count; i++)
                if (root->trees[i].id == id)
                        return (Tree *)(uintptr_t)&root->trees[i];
        return NULL;
}
