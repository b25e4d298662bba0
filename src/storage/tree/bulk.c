/* bulk.c - a tree from sorted rows: one open node per level, packed, and written to the file as soon as it is full.
 *
 *      level 1   | .. open node: separators and children that are written |      <- emitted children arrive here
 *      level 0   | .. open leaf: rows in the level's arena                |      <- ptree_bulk_add
 *
 * An inner node that is full keeps its last child for the node after it, so that this never has a single child. */
#include "storage/tree/tree_int.h"

#include <assert.h>

typedef struct Level {
        Arena arena; /* keys and values of the entries */
        unsigned count, child_count;
        size_t sum;      /* bytes of the entries without a prefix, slots included */
        size_t own_size; /* the separator before this node */
        uint8_t own[PTREE_MAX_KEY_BYTES];
        Child children[PAGE_MAX_BYTES / sizeof(Child) + 1];
        Entry entries[PAGE_MAX_ENTRIES + 1];
} Level;

struct PBulk {
        PWrite *write;
        uint32_t id;
        uint64_t rows, key_bytes;
        TreeTop sizes; /* of values */
        PagePacking packing;
        Level *levels[HEIGHT_LIMIT];
        uint8_t last[PTREE_MAX_KEY_BYTES]; /* key added last */
        size_t last_size;
};

static void bulk_free(PBulk *bulk)
{
        for (unsigned i = 0; i < HEIGHT_LIMIT && bulk->levels[i]; i++) {
                arena_done(&bulk->levels[i]->arena);
                mem_free(bulk->levels[i]);
        }
        bulk->write->bulk = false;
        mem_free(bulk);
}

Status ptree_bulk_begin(PWrite *write, uint32_t id, PBulk **ret_bulk)
{
        TreeTop *top;
        assert(!write->bulk);
        TRY(write_top(write, id, &top));
        if (top->top.rows)
                return status_new(ERR_EXISTS, "tree %u has rows: only an empty one can be loaded", id);
        PBulk *bulk = mem_zalloc(sizeof(PBulk));
        if (!bulk)
                return status_nomem();
        bulk->write = write;
        bulk->id = bulk->sizes.id = id;
        write->bulk = true;
        *ret_bulk = bulk;
        return ST_OK;
}

static Status level_at(PBulk *bulk, unsigned i, Level **ret_level)
{
        if (i == HEIGHT_LIMIT - 1)
                return status_new(ERR_LIMIT, "the tree is more than %u levels high", i);
        if (!bulk->levels[i]) {
                Level *level = mem_zalloc(sizeof(Level));
                if (!level)
                        return status_nomem();
                arena_init(&level->arena, 0);
                bulk->levels[i] = level;
        }
        *ret_level = bulk->levels[i];
        return ST_OK;
}

/* Stored bytes with one more entry of this key. */
static size_t level_bytes(const Level *level, unsigned i, Bytes key, size_t value_size)
{
        size_t prefix = key.size;
        if (level->count) {
                const Entry *first = &level->entries[0];
                prefix = 0;
                while (prefix < MIN((size_t)first->a_size, key.size) && first->a[prefix] == key.data[prefix])
                        prefix++;
        }
        return sizeof(PageHeader) + level->sum + sizeof(Slot) + key.size + (i ? 0 : 2 + value_size) + prefix -
               (level->count + 1) * prefix + (i ? (level->child_count + 1) * sizeof(Child) : 0);
}

static Status level_push(Level *level, unsigned i, Bytes key, uint16_t code, Bytes value)
{
        uint8_t *copy = arena_try_alloc(&level->arena, MAX(key.size + value.size, (size_t)1));
        if (!copy)
                return status_nomem();
        if (key.size)
                memcpy(copy, key.data, key.size);
        if (value.size)
                memcpy(copy + key.size, value.data, value.size);
        level->entries[level->count++] = (Entry){.a = copy,
                                                 .a_size = (uint16_t)key.size,
                                                 .value = copy + key.size,
                                                 .value_size = (uint16_t)value.size,
                                                 .code = code};
        level->sum += sizeof(Slot) + key.size + (i ? 0 : 2 + value.size);
        return ST_OK;
}

/* Writes a node of the level's first entries. */
static Status level_write(PBulk *bulk, unsigned i, unsigned count, Child *ret_child)
{
        PCache *cache = bulk->write->tree->cache;
        Level *level = bulk->levels[i];
        uint64_t rows = i ? 0 : count;
        for (unsigned k = 0; i && k <= count; k++)
                rows += level->children[k].rows;
        Page *page = page_build(cache, i, level->entries, level->children, count);
        Frame *frame = page ? frame_new(cache, page, bulk->write->version) : NULL;
        if (!frame) {
                page_free(cache, page);
                return status_nomem();
        }
        SpaceBatch *batch;
        Status st = write_batch(bulk->write, &batch);
        if (!st)
                st = node_write(cache, frame, &bulk->packing, batch, false);
        if (st) {
                frame_discard(cache, frame);
                return st;
        }
        Extent extent = atomic_load(&frame->extent);
        child_set(ret_child, extent, frame, rows, atomic_load(&frame->bytes));
        return ST_OK;
}

static void level_clear(Level *level)
{
        arena_reset(&level->arena);
        level->count = level->child_count = 0;
        level->sum = 0;
}

/* A written child, and the separator before it. */
static Status level_add(PBulk *bulk, unsigned i, Bytes separator, const Child *child)
{
        Level *level;
        TRY(level_at(bulk, i, &level));
        if (level->child_count && level_bytes(level, i, separator, 0) > PAGE_MAX_BYTES) {
                Child written, last;
                uint8_t own[PTREE_MAX_KEY_BYTES];
                assert(level->count >= 2);
                TRY(level_write(bulk, i, level->count - 1, &written));
                child_copy(&last, &level->children[level->child_count - 1]);
                size_t own_size = entry_key(&level->entries[level->count - 1], own);
                TRY(level_add(bulk, i + 1, BYTES(level->own, level->own_size), &written));
                level_clear(level);
                memcpy(level->own, own, own_size);
                level->own_size = own_size;
                child_copy(&level->children[0], &last);
                level->child_count = 1;
        }
        if (level->child_count == 0) {
                if (separator.size)
                        memcpy(level->own, separator.data, separator.size);
                level->own_size = separator.size;
        } else {
                TRY(level_push(level, i, separator, 0, BYTES_NONE));
        }
        child_copy(&level->children[level->child_count++], child);
        return ST_OK;
}

/* Writes the open leaf. */
static Status leaf_emit(PBulk *bulk)
{
        Child written;
        Level *leaf = bulk->levels[0];
        TRY(level_write(bulk, 0, leaf->count, &written));
        TRY(level_add(bulk, 1, BYTES(leaf->own, leaf->own_size), &written));
        level_clear(leaf);
        return ST_OK;
}

Status ptree_bulk_add(PBulk *bulk, Bytes key, Bytes value)
{
        Level *leaf;
        uint8_t packed[REF_MAX_BYTES];
        uint16_t code;
        Bytes stored, last = BYTES(bulk->last, bulk->last_size);
        if (key.size > PTREE_MAX_KEY_BYTES)
                return status_new(ERR_LIMIT, "the key has %zu bytes, more than %d", key.size, PTREE_MAX_KEY_BYTES);
        if (bulk->rows && bytes_compare(last, key) >= 0)
                return status_new(ERR_INVALID, "row %llu of a sorted load: its key does not ascend",
                                  (unsigned long long)bulk->rows);
        TRY(level_at(bulk, 0, &leaf));
        TRY(value_store(bulk->write, &bulk->sizes, value, packed, &code, &stored));
        if (leaf->count &&
            (leaf->count == PAGE_MAX_ENTRIES || level_bytes(leaf, 0, key, stored.size) > PAGE_MAX_BYTES)) {
                TRY(leaf_emit(bulk));
                leaf->own_size = separator_size(last, key);
                memcpy(leaf->own, key.data, leaf->own_size);
        }
        TRY(level_push(leaf, 0, key, code, stored));
        if (key.size)
                memcpy(bulk->last, key.data, key.size);
        bulk->last_size = key.size;
        bulk->rows++;
        bulk->key_bytes += key.size;
        return ST_OK;
}

static Status bulk_close(PBulk *bulk)
{
        if (bulk->rows == 0)
                return ST_OK;
        TRY(leaf_emit(bulk));
        for (unsigned i = 1;; i++) {
                Level *level = bulk->levels[i];
                if (level->child_count == 1 && !bulk->levels[i + 1]) {
                        TreeTop *top;
                        TRY(write_top(bulk->write, bulk->id, &top));
                        child_copy(&top->top, &level->children[0]);
                        assert(top->top.rows == bulk->rows);
                        top->bytes += bulk->key_bytes + bulk->sizes.bytes;
                        top->values += bulk->sizes.values;
                        return ST_OK;
                }
                Child written;
                TRY(level_write(bulk, i, level->count, &written));
                TRY(level_add(bulk, i + 1, BYTES(level->own, level->own_size), &written));
        }
}

Status ptree_bulk_finish(PBulk *bulk)
{
        Status st = bulk_close(bulk);
        bulk_free(bulk);
        return st;
}

void ptree_bulk_abort(PBulk *bulk)
{
        if (bulk)
                bulk_free(bulk);
}
