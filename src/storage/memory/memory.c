/* memory.c - the `memory` engine: tables of copy-on-write trees in RAM, behind storage/engine.h. */
#include "storage/memory/memory_int.h"

#include <assert.h>

struct EngineCursor {
        const EngineOps *ops;
        const Tree *tree;        /* NULL: nothing (left) to read */
        uint64_t place;          /* the row that the next call returns */
        uint64_t left;           /* rows from there to the end of the range */
        bool descending, seated; /* seated: path leads to `place` */
        unsigned depth;
        PathStep path[HEIGHT_MAX];
};

/* --- engine and tables --- */

static Status memory_open(const EngineOptions *options, Engine **ret_engine)
{
        Engine *engine = mem_zalloc(sizeof(Engine));
        if (!engine)
                return status_nomem();
        engine->ops = &engine_memory;
        engine->memory_max_bytes = options->memory_max_bytes;
        mutex_init(&engine->mu);
        *ret_engine = engine;
        return ST_OK;
}

static void list_free(GarbageList *list, EngineTable *table)
{
        for (size_t i = 0; i < list->count; i++)
                table_account(table, -(int64_t)garbage_free(table, list->items[i].tagged, false));
        mem_free(list->items);
}

static void cleared_free(EngineTable *table) NO_TSA
{
        while (epoch_free_doomed(table, SIZE_MAX))
                ;
}

static void cache_free(NodeCache *cache, size_t node_bytes, EngineTable *table)
{
        while (cache->count > 0) {
                mem_free(cache->nodes[--cache->count]);
                table_account(table, -(int64_t)(node_bytes + 8));
        }
}

void memory_table_free(EngineTable *table) NO_TSA
{
        Engine *engine = table->engine;
        Root *root = atomic_load(&table->root);
        mutex_lock(&engine->mu);
        if (table->previous)
                table->previous->next = table->next;
        else
                engine->tables = table->next;
        if (table->next)
                table->next->previous = table->previous;
        mutex_unlock(&engine->mu); /* memory_maintain() does not find it any more */

        for (uint32_t i = 0; i < root->tree_count; i++)
                tree_free(table, &root->trees[i]);
        table_account(table, -(int64_t)garbage_free(table, (uintptr_t)root | GARBAGE_ROOT, false));
        list_free(&table->fresh, table);
        for (size_t i = 0; i < table->holder_count; i++)
                list_free(&table->holders[i].list, table);
        cleared_free(table);
        cache_free(&table->leaves, sizeof(Node), table);
        cache_free(&table->inners, sizeof(Inner), table);
        mem_free(table->holders);
        mem_free(table->pins);
        table_account(table, -(int64_t)sizeof(EngineTable));
        assert(atomic_load(&table->memory_bytes) == 0);
        mutex_done(&table->gc_mu);
        mem_free(table);
}

static void memory_close(Engine *engine) NO_TSA
{
        assert(epoch_pin_count(engine, NULL) == 0);
        while (engine->tables)
                memory_table_free(engine->tables);
        for (unsigned i = 0; i < SLOT_CHUNKS && engine->chunk_memory[i]; i++)
                mem_free(engine->chunk_memory[i]);
        mutex_done(&engine->mu);
        mem_free(engine);
}

static Root *root_new(uint32_t tree_capacity)
{
        Root *root = mem_alloc(sizeof(Root) + tree_capacity * sizeof(Tree));
        if (root)
                *root = (Root){.tree_capacity = tree_capacity};
        return root;
}

static Status memory_table_create(Engine *engine, uint64_t table_id, EngineTable **ret_table)
{
        EngineTable *table = mem_zalloc(sizeof(EngineTable));
        Root *root = root_new(1);
        if (!table || !root) {
                mem_free(table);
                mem_free(root);
                return status_nomem();
        }
        table->ops = &engine_memory;
        table->engine = engine;
        table->id = table_id;
        mutex_init(&table->gc_mu);
        atomic_store(&table->root, root);
        table_account(table, (int64_t)(sizeof(EngineTable) + garbage_bytes((uintptr_t)root | GARBAGE_ROOT)));
        mutex_lock(&engine->mu);
        table->next = engine->tables;
        if (table->next)
                table->next->previous = table;
        engine->tables = table;
        mutex_unlock(&engine->mu);
        *ret_table = table;
        return ST_OK;
}

static void memory_table_drop(EngineTable *table) NO_TSA
{
        assert(!table->writing);
        mutex_lock(&table->gc_mu);
        table->dropped = true;
        mutex_unlock(&table->gc_mu);
        epoch_reclaim(table, true);
}

static void memory_table_stats(EngineTable *table, EngineStats *ret_stats)
{
        *ret_stats = (EngineStats){
                .row_count = atomic_load_explicit(&table->row_count, memory_order_relaxed),
                .row_bytes = atomic_load_explicit(&table->row_bytes, memory_order_relaxed),
                .memory_bytes = atomic_load_explicit(&table->memory_bytes, memory_order_relaxed),
                .snapshot_count = epoch_pin_count(table->engine, table),
        };
}

static void memory_engine_stats(Engine *engine, EngineStats *ret_stats) NO_TSA
{
        EngineStats sum = {.memory_bytes = atomic_load(&engine->memory_bytes),
                           .snapshot_count = epoch_pin_count(engine, NULL)};
        mutex_lock(&engine->mu);
        for (EngineTable *table = engine->tables; table; table = table->next) {
                sum.row_count += atomic_load_explicit(&table->row_count, memory_order_relaxed);
                sum.row_bytes += atomic_load_explicit(&table->row_bytes, memory_order_relaxed);
        }
        mutex_unlock(&engine->mu);
        *ret_stats = sum;
}

/* --- reading --- */

static Status memory_pin(EngineTable *table, EngineSnapshot **ret_snapshot)
{
        struct EngineSnapshot *slot;
        TRY(slot_take(table->engine, &slot));
        atomic_store_explicit(&slot->table, table, memory_order_relaxed);
        slot->root = atomic_load(&table->root);
        atomic_store_explicit(&slot->state, slot->root->version << 2 | SLOT_PINNED, memory_order_release);
        *ret_snapshot = slot;
        return ST_OK;
}

static void memory_unpin(EngineSnapshot *snapshot)
{
        if (snapshot)
                slot_unpin(snapshot);
}

static uint64_t memory_version(EngineSnapshot *snapshot)
{
        return snapshot->root->position;
}

static Status memory_get(EngineSnapshot *snapshot, uint32_t tree_id, Bytes key, Arena *hold, Bytes *ret_value,
                         bool *ret_found)
{
        const Tree *tree = root_tree(snapshot->root, tree_id);
        const Row *row = tree ? tree_find(tree, key) : NULL;
        *ret_found = row != NULL;
        if (row)
                *ret_value = row_value(row);
        return ST_OK;
}

/* The places [*ret_low, *ret_high) of a range's rows. */
static void range_places(const Tree *tree, EngineRange range, uint64_t *ret_low, uint64_t *ret_high)
{
        uint64_t low = range.low.data ? tree_rank(tree, range.low) : 0;
        uint64_t high = range.high.data ? tree_rank(tree, range.high) : tree->count;
        *ret_low = low;
        *ret_high = MAX(low, high);
}

static Status memory_count(EngineSnapshot *snapshot, uint32_t tree_id, EngineRange range, uint64_t *ret_count)
{
        const Tree *tree = root_tree(snapshot->root, tree_id);
        uint64_t low = 0, high = 0;
        if (tree)
                range_places(tree, range, &low, &high);
        *ret_count = high - low;
        return ST_OK;
}

static Status memory_nth(EngineSnapshot *snapshot, uint32_t tree_id, uint64_t n, Arena *hold, Bytes *ret_key,
                         Bytes *ret_value, bool *ret_found)
{
        const Tree *tree = root_tree(snapshot->root, tree_id);
        PathStep path[HEIGHT_MAX];
        *ret_found = tree && n < tree->count;
        if (*ret_found) {
                unsigned depth = tree_seek(tree, n, path);
                const Row *row = path[depth - 1].node->rows[path[depth - 1].index];
                *ret_key = row_key(row);
                *ret_value = row_value(row);
        }
        return ST_OK;
}

static Status memory_split(EngineSnapshot *snapshot, uint32_t tree_id, EngineRange range, size_t parts, Arena *hold,
                           Bytes *ret_keys, size_t *ret_count)
{
        const Tree *tree = root_tree(snapshot->root, tree_id);
        PathStep path[HEIGHT_MAX];
        uint64_t low = 0, high = 0, place = 0;
        size_t n = 0;
        if (tree)
                range_places(tree, range, &low, &high);
        for (size_t i = 1; i < parts; i++) {
                uint64_t next = low + (uint64_t)((unsigned __int128)(high - low) * i / parts);
                if (next == low || next == place)
                        continue; /* fewer rows than parts */
                place = next;
                unsigned depth = tree_seek(tree, place, path);
                ret_keys[n++] = row_key(path[depth - 1].node->rows[path[depth - 1].index]);
        }
        *ret_count = n;
        return ST_OK;
}

static bool memory_next_tree(EngineSnapshot *snapshot, uint32_t tree_id, uint32_t *ret_tree)
{
        const Root *root = snapshot->root;
        for (uint32_t i = 0; i < root->tree_count; i++) {
                if (root->trees[i].id < tree_id || root->trees[i].count == 0)
                        continue;
                *ret_tree = root->trees[i].id;
                return true;
        }
        return false;
}

static Status memory_cursor_open(EngineSnapshot *snapshot, uint32_t tree_id, EngineRange range, bool descending,
                                 EngineCursor **ret_cursor)
{
        EngineCursor *cursor = mem_alloc(sizeof(EngineCursor));
        if (!cursor)
                return status_nomem();
        uint64_t low = 0, high = 0;
        cursor->ops = &engine_memory;
        cursor->tree = root_tree(snapshot->root, tree_id);
        if (cursor->tree)
                range_places(cursor->tree, range, &low, &high);
        cursor->left = high - low;
        cursor->place = descending ? high - 1 : low; /* not used when left is 0 */
        cursor->descending = descending;
        cursor->seated = false;
        *ret_cursor = cursor;
        return ST_OK;
}

/* From one row to its neighbour; there is one. */
static void cursor_step(EngineCursor *cursor)
{
        PathStep *step = &cursor->path[cursor->depth - 1];
        int by = cursor->descending ? -1 : 1;
        cursor->place += (uint64_t)(int64_t)by;
        unsigned up = cursor->depth - 1;
        while (cursor->descending ? step->index == 0 : step->index + 1 == step->node->count) {
                assert(up > 0);
                step = &cursor->path[--up];
        }
        step->index += (unsigned)by;
        for (; up + 1 < cursor->depth; up++) {
                Node *child = node_inner(cursor->path[up].node)->children[cursor->path[up].index];
                cursor->path[up + 1] = (PathStep){child, cursor->descending ? child->count - 1u : 0};
        }
}

static Status memory_cursor_next(EngineCursor *cursor, Arena *hold, Bytes *ret_key, Bytes *ret_value, bool *ret_found)
{
        *ret_found = cursor->left > 0;
        if (!*ret_found)
                return ST_OK;
        if (!cursor->seated) {
                cursor->depth = tree_seek(cursor->tree, cursor->place, cursor->path);
                cursor->seated = true;
        }
        const Row *row = cursor->path[cursor->depth - 1].node->rows[cursor->path[cursor->depth - 1].index];
        *ret_key = row_key(row);
        *ret_value = row_value(row);
        if (--cursor->left > 0)
                cursor_step(cursor);
        return ST_OK;
}

static Status memory_cursor_skip(EngineCursor *cursor, uint64_t n, uint64_t *ret_skipped)
{
        n = MIN(n, cursor->left);
        cursor->left -= n;
        cursor->place += cursor->descending ? -n : n;
        if (n)
                cursor->seated = false;
        *ret_skipped = n;
        return ST_OK;
}

static void memory_cursor_close(EngineCursor *cursor)
{
        mem_free(cursor);
}

/* The cursor stands on the block's last row, or is not seated. */
static Status memory_cursor_block(EngineCursor *cursor, EngineBlock *ret_block)
{
        assert(!cursor->descending);
        *ret_block = (EngineBlock){0};
        if (cursor->left == 0)
                return ST_OK;
        if (cursor->seated)
                cursor_step(cursor);
        else
                cursor->depth = tree_seek(cursor->tree, cursor->place, cursor->path);
        PathStep *leaf = &cursor->path[cursor->depth - 1];
        uint32_t count = (uint32_t)MIN(cursor->left, (uint64_t)(leaf->node->count - leaf->index));
        *ret_block = (EngineBlock){.total = leaf->node->count, .first = leaf->index, .count = count};
        leaf->index += count - 1;
        cursor->left -= count;
        cursor->seated = true;
        return ST_OK;
}

static Status memory_block_row(EngineCursor *cursor, uint32_t i, Arena *hold, Bytes *ret_value)
{
        const Node *leaf = cursor->path[cursor->depth - 1].node;
        assert(i < leaf->count);
        *ret_value = row_value(leaf->rows[i]);
        return ST_OK;
}

/* Nothing is ever evicted here, so memos would take the place of rows for good: none are kept. */
static const Memo *memory_block_memo(EngineCursor *cursor, uint64_t key)
{
        return NULL;
}

static const Memo *memory_block_remember(EngineCursor *cursor, Memo *memo)
{
        memo->free(memo);
        return NULL;
}

/* --- writing --- */

static Status memory_write_begin(EngineTable *table, EngineWrite **ret_write)
{
        assert(!table->writing);
        /* Near the limit garbage must not stand in the way. Not later: what a running write replaced is still
         * published. */
        size_t most = table->engine->memory_max_bytes;
        if (most && table->fresh_bytes > most / 64 &&
            atomic_load_explicit(&table->engine->memory_bytes, memory_order_relaxed) > most - most / 8)
                epoch_reclaim(table, true);
        const Root *old = atomic_load_explicit(&table->root, memory_order_relaxed); /* this is the only writer */
        Root *root = root_new(MAX(old->tree_count, 1u));
        if (!root)
                return status_nomem();
        root->version = old->version + 1;
        root->position = old->position;
        root->tree_count = old->tree_count;
        memcpy(root->trees, old->trees, old->tree_count * sizeof(Tree));
        EngineWrite *write = &table->write;
        *write = (EngineWrite){.ops = &engine_memory,
                               .table = table,
                               .root = root,
                               .version = root->version,
                               .fresh_mark = table->fresh.count,
                               .bytes_delta = (int64_t)garbage_bytes((uintptr_t)root | GARBAGE_ROOT)};
        /* Now, because a commit cannot fail. */
        Status st = garbage_push(write, (void *)(uintptr_t)old, GARBAGE_ROOT);
        if (st) {
                mem_free(root);
                return st;
        }
        table->writing = true;
        *ret_write = write;
        return ST_OK;
}

static Status memory_write_get(EngineWrite *write, uint32_t tree_id, Bytes key, Arena *hold, Bytes *ret_value,
                               bool *ret_found)
{
        const Tree *tree = root_tree(write->root, tree_id);
        const Row *row = tree ? tree_find(tree, key) : NULL;
        *ret_found = row != NULL;
        if (row && ret_value) {
                /* The row may be replaced by this very write and freed with its commit. */
                uint8_t *copy = arena_try_alloc(hold, MAX((size_t)row->value_size, (size_t)1));
                if (!copy)
                        return status_nomem();
                memcpy(copy, row->bytes + row->key_size, row->value_size);
                *ret_value = BYTES(copy, row->value_size);
        }
        return ST_OK;
}

static Status memory_write_first(EngineWrite *write, uint32_t tree_id, EngineRange range, Arena *hold, Bytes *ret_key,
                                 Bytes *ret_value, bool *ret_found)
{
        const Tree *tree = root_tree(write->root, tree_id);
        PathStep path[HEIGHT_MAX];
        uint64_t low = 0, high = 0;
        if (tree)
                range_places(tree, range, &low, &high);
        *ret_found = low < high;
        if (!*ret_found)
                return ST_OK;
        unsigned depth = tree_seek(tree, low, path);
        const Row *row = path[depth - 1].node->rows[path[depth - 1].index];
        /* As in write_get: it may be freed with this commit. */
        uint8_t *copy = arena_try_alloc(hold, row->key_size + row->value_size + 1);
        if (!copy)
                return status_nomem();
        memcpy(copy, row->bytes, row->key_size + row->value_size);
        *ret_key = BYTES(copy, row->key_size);
        *ret_value = BYTES(copy + row->key_size, row->value_size);
        return ST_OK;
}

/* The tree to write to, made if absent. */
static Status write_tree(EngineWrite *write, uint32_t id, Tree **ret_tree)
{
        Root *root = write->root;
        Tree *tree = root_tree(root, id);
        if (!tree) {
                if (root->tree_count == root->tree_capacity) {
                        Root *wider = root_new(root->tree_capacity * 2);
                        if (!wider)
                                return status_nomem();
                        uint32_t capacity = wider->tree_capacity;
                        *wider = *root;
                        wider->tree_capacity = capacity;
                        memcpy(wider->trees, root->trees, root->tree_count * sizeof(Tree));
                        write->bytes_delta += (int64_t)garbage_bytes((uintptr_t)wider | GARBAGE_ROOT) -
                                              (int64_t)garbage_bytes((uintptr_t)root | GARBAGE_ROOT);
                        mem_free(root);
                        write->root = root = wider;
                }
                uint32_t at = root->tree_count;
                for (; at > 0 && root->trees[at - 1].id > id; at--)
                        root->trees[at] = root->trees[at - 1];
                root->trees[at] = (Tree){.id = id};
                root->tree_count++;
                tree = &root->trees[at];
        }
        *ret_tree = tree;
        return ST_OK;
}

static Status memory_write_put(EngineWrite *write, uint32_t tree_id, Bytes key, Bytes value)
{
        EngineTable *table = write->table;
        Engine *engine = table->engine;
        Tree *tree;
        if (key.size > ENGINE_MAX_KEY_BYTES)
                return status_new(ERR_LIMIT, "the key has %zu bytes, more than %d", key.size, ENGINE_MAX_KEY_BYTES);
        if (value.size > UINT32_MAX - ENGINE_MAX_KEY_BYTES)
                return status_new(ERR_LIMIT, "the value has %zu bytes, more than %u", value.size,
                                  UINT32_MAX - ENGINE_MAX_KEY_BYTES);
        if (engine->memory_max_bytes) {
                int64_t room =
                        (int64_t)engine->memory_max_bytes - write->bytes_delta - (int64_t)(key.size + value.size);
                if ((int64_t)atomic_load_explicit(&engine->memory_bytes, memory_order_relaxed) > room)
                        return status_hint(status_new(ERR_LIMIT,
                                                      "the tables need more memory than the %zu MiB they may use",
                                                      engine->memory_max_bytes >> 20),
                                           "delete data, or start the server with a larger --cache-size");
        }
        TRY(write_tree(write, tree_id, &tree));
        return tree_put(write, tree, key, value);
}

static Status memory_write_delete(EngineWrite *write, uint32_t tree_id, Bytes key, bool *ret_found)
{
        Tree *tree = root_tree(write->root, tree_id);
        *ret_found = false;
        return tree ? tree_delete(write, tree, key, ret_found) : ST_OK;
}

static Status memory_write_clear(EngineWrite *write, uint32_t tree_id)
{
        Root *root = write->root;
        Tree *tree = root_tree(root, tree_id);
        assert(tree_id != 0);
        if (!tree)
                return ST_OK;
        TRY(tree_clear(write, tree));
        memmove(tree, tree + 1, (size_t)(root->trees + root->tree_count - (tree + 1)) * sizeof(Tree));
        root->tree_count--;
        return ST_OK;
}

/* Gives back the memory of cleared trees. Not beside anybody who has to wait for long. */
static Status memory_maintain(Engine *engine) NO_TSA
{
        for (bool more = true; more;) {
                EngineTable *table;
                mutex_lock(&engine->mu);
                for (table = engine->tables; table && !table->doomed; table = table->next)
                        ;
                if (table)
                        epoch_free_doomed(table, DOOMED_NODES);
                mutex_unlock(&engine->mu);
                more = table != NULL;
        }
        return ST_OK;
}

static void memory_write_commit(EngineWrite *write, uint64_t position)
{
        EngineTable *table = write->table;
        Root *root = write->root;
        root->position = position;
        const Tree *primary = root_tree(root, 0);
        atomic_store_explicit(&table->row_count, primary ? primary->count : 0, memory_order_relaxed);
        atomic_store_explicit(&table->row_bytes, root_bytes(root), memory_order_relaxed);
        atomic_store(&table->root, root);
        table->fresh_bytes += write->garbage_bytes;
        table_account(table, write->bytes_delta);
        table->writing = false;
}

static void memory_write_abort(EngineWrite *write)
{
        if (!write)
                return;
        EngineTable *table = write->table;
        for (uint32_t i = 0; i < write->root->tree_count; i++)
                tree_discard(write, &write->root->trees[i]);
        write->bytes_delta -= (int64_t)garbage_free(table, (uintptr_t)write->root | GARBAGE_ROOT, true);
        for (size_t i = write->fresh_mark; i < table->fresh.count; i++) {
                uintptr_t tagged = table->fresh.items[i].tagged;
                if ((tagged & GARBAGE_MASK) != GARBAGE_CLEARED)
                        continue;
                write->bytes_delta -= (int64_t)garbage_bytes(tagged);
                mem_free((void *)(tagged & ~GARBAGE_MASK));
        }
        table->fresh.count = write->fresh_mark;
        table_account(table, write->bytes_delta);
        table->writing = false;
}

const EngineOps engine_memory = {
        .abi = ENGINE_ABI,
        .name = "memory",
        .open = memory_open,
        .close = memory_close,
        .table_create = memory_table_create,
        .table_drop = memory_table_drop,
        .table_stats = memory_table_stats,
        .engine_stats = memory_engine_stats,
        .pin = memory_pin,
        .unpin = memory_unpin,
        .version = memory_version,
        .get = memory_get,
        .count = memory_count,
        .nth = memory_nth,
        .cursor_open = memory_cursor_open,
        .cursor_next = memory_cursor_next,
        .cursor_skip = memory_cursor_skip,
        .cursor_close = memory_cursor_close,
        .split = memory_split,
        .write_begin = memory_write_begin,
        .write_get = memory_write_get,
        .write_first = memory_write_first,
        .write_put = memory_write_put,
        .write_delete = memory_write_delete,
        .write_commit = memory_write_commit,
        .write_abort = memory_write_abort,
        .table_tidy = epoch_tidy,
        .maintain = memory_maintain,
        .write_clear = memory_write_clear,
        .next_tree = memory_next_tree,
        .cursor_block = memory_cursor_block,
        .block_row = memory_block_row,
        .block_memo = memory_block_memo,
        .block_remember = memory_block_remember,
};
