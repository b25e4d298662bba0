/* pagefile.c - opening the page file, its directory, and making a checkpoint durable. */
#include "storage/btree/pagefile.h"

#include <assert.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/mem.h"
#include "os/thread.h"

/* Dirty nodes may be this share of the cache before puts are refused, and in any case so much. */
#define DIRTY_SHARE_PERCENT 70
#define DIRTY_MIN_BYTES     ((size_t)4 << 20)
#define DIRTY_DEFAULT_BYTES ((size_t)512 << 20) /* of a cache without budget */
/* A flush syncs whenever it has written so much: the sync at the end is short then, and others who use the device
 * (the log) never wait for a mountain. */
#define SYNC_EVERY_BYTES    ((uint64_t)8 << 20)

/*  directory  key: | table id | drop position, 0: a table that lives |     both u64, big-endian
 *             0        1   4                 8      16         24
 *      value  | engine | 0 | root bytes u32 | root | position |          little-endian
 *  dead list  | checksum | magic | 0 | count | extents ... |        the checksum (XXH3) covers all behind it */
#define KEY_BYTES       16u
#define ROW_BYTES       24u
#define DEAD_MAGIC      0x44454450u /* "PDED" */
#define DEAD_HEAD_BYTES 24u

struct PageFile {
        OsDir *dir;
        char *path;
        size_t dirty_max_bytes;
        Space *space;
        PCache *cache;
        atomic_uint holds;
        atomic_bool failed;
        Mutex mu; /* order 68 in docs/locks.md */
        /* --- GUARDED_BY(mu) --- */
        Superblock durable;
        PageFileFigures figures;
        /* --- the checkpoint thread's --- */
        PTree *directory;
        PWrite *write;     /* between begin and finish */
        uint64_t sequence; /* the last that was given out */
        bool both_whole;   /* when it was opened */
        unsigned keep;     /* the header block that has the newest checkpoint: the other one is written first */
        Extent stale[2];   /* image and dead list of the newest one, or of a try after it: to be freed by the next */
        size_t stale_count;
        uint64_t unsynced_bytes;
        bool rebuild;                        /* SUPERBLOCK_REBUILD stays */
        uint64_t table_count, dropped_count; /* rows of the directory, */
        uint64_t begun_counts[2];            /* and before the write began */
};

/* --- rows --- */

static void key_encode(uint64_t table_id, uint64_t drop_position, uint8_t key[KEY_BYTES])
{
        store_u64(key, __builtin_bswap64(table_id));
        store_u64(key + 8, __builtin_bswap64(drop_position));
}

static void row_encode(const PageRow *row, uint8_t key[KEY_BYTES], uint8_t value[ROW_BYTES])
{
        key_encode(row->table_id, row->drop_position, key);
        memset(value, 0, ROW_BYTES);
        value[0] = (uint8_t)row->engine;
        store_u32(value + 4, row->root.bytes);
        store_u64(value + 8, row->root.extent);
        store_u64(value + 16, row->position);
}

Status pagerow_decode(Bytes key, Bytes value, PageRow *ret_row)
{
        if (key.size != KEY_BYTES || value.size != ROW_BYTES)
                return status_new(ERR_CORRUPT, "the directory of tables has a row of %zu and %zu bytes", key.size,
                                  value.size);
        PageRow row = {.table_id = __builtin_bswap64(load_u64(key.data)),
                       .drop_position = __builtin_bswap64(load_u64(key.data + 8)),
                       .engine = (RowEngine)value.data[0],
                       .root = {load_u64(value.data + 8), load_u32(value.data + 4)},
                       .position = load_u64(value.data + 16)};
        if (row.engine != ROW_BTREE && row.engine != ROW_SLAB)
                return status_new(ERR_VERSION, "table %" PRIu64 " is of engine %u, which this program does not know",
                                  row.table_id, value.data[0]);
        *ret_row = row;
        return ST_OK;
}

static Status row_read(PageFile *file, uint64_t table_id, uint64_t drop_position, PageRow *ret_row, bool *ret_found)
{
        Arena hold;
        Bytes value;
        uint8_t key[KEY_BYTES];
        PSnapshot *snapshot = NULL;
        Status st;
        key_encode(table_id, drop_position, key);
        arena_init(&hold, 0);
        if (file->write) {
                st = ptree_write_get(file->write, 0, BYTES(key, KEY_BYTES), &hold, &value, ret_found);
        } else {
                st = ptree_pin(file->directory, &snapshot);
                if (!st)
                        st = ptree_get(snapshot, 0, BYTES(key, KEY_BYTES), &hold, &value, ret_found);
        }
        if (!st && *ret_found)
                st = pagerow_decode(BYTES(key, KEY_BYTES), value, ret_row);
        ptree_unpin(snapshot);
        arena_done(&hold);
        return status_context(st, "%s: directory", file->path);
}

Status pagefile_row(PageFile *file, uint64_t table_id, PageRow *ret_row, bool *ret_found)
{
        return row_read(file, table_id, 0, ret_row, ret_found);
}

Status pagefile_rows_each(PageFile *file, Status (*each)(void *ctx, const PageRow *row), void *ctx)
{
        PSnapshot *snapshot = NULL;
        PCursor *cursor = NULL;
        Arena hold;
        bool found = true;
        assert(!file->write);
        arena_init(&hold, 0);
        Status st = ptree_pin(file->directory, &snapshot);
        if (!st)
                st = ptree_cursor_open(snapshot, 0, (PRange){0}, false, &cursor);
        while (!st && found) {
                Bytes key, value;
                PageRow row;
                arena_reset(&hold);
                st = ptree_cursor_next(cursor, &hold, &key, &value, &found);
                if (!st && found)
                        st = pagerow_decode(key, value, &row);
                if (st)
                        st = status_context(st, "%s: directory", file->path);
                else if (found)
                        st = each(ctx, &row);
        }
        ptree_cursor_close(cursor);
        ptree_unpin(snapshot);
        arena_done(&hold);
        return st;
}

/* --- opening --- */

Status pagefile_superblocks_read(Space *space, uint8_t blocks[2][SPACE_HEADER_BYTES], Superblocks *ret_superblocks)
{
        for (unsigned i = 0; i < 2; i++)
                TRY(space_header_read(space, i, blocks[i], SPACE_HEADER_BYTES));
        superblocks_decode(blocks, ret_superblocks);
        return ST_OK;
}

Status pagefile_image_read(Space *space, const Superblock *superblock, Buf *out)
{
        size_t bytes = superblock->image_bytes;
        if (bytes > space_extent_bytes(space, superblock->image))
                return status_new(ERR_CORRUPT, "the superblock names an impossible extent for the saved space");
        TRY(buf_reserve(out, bytes));
        TRY(space_read(space, superblock->image, out->data + out->size, bytes));
        out->size += bytes;
        return ST_OK;
}

Status pagefile_dead_read(Space *space, const char *path, const Superblock *superblock, Extent **ret_dead)
{
        uint64_t count = superblock->dead_count;
        size_t capacity = space_extent_bytes(space, superblock->dead), bytes = DEAD_HEAD_BYTES + count * 8;
        *ret_dead = NULL;
        if (count == 0)
                return ST_OK;
        if (count > capacity / 8 || bytes > capacity)
                return status_new(ERR_CORRUPT, "%s: the superblock names an impossible extent for the dead ones", path);
        _cleanup_(mem_freep) uint8_t *stored = mem_alloc(bytes);
        Extent *dead = mem_alloc(count * sizeof(Extent));
        Status st = stored && dead ? space_read(space, superblock->dead, stored, bytes) : status_nomem();
        if (!st && (load_u64(stored) != bytes_hash(stored + 8, bytes - 8) || load_u32(stored + 8) != DEAD_MAGIC ||
                    load_u64(stored + 16) != count))
                st = status_new(ERR_CORRUPT, "%s, offset %" PRIu64 ": the list of dead extents is damaged", path,
                                space_extent_offset(space, superblock->dead));
        if (st) {
                mem_free(dead);
                return st;
        }
        memcpy(dead, stored + DEAD_HEAD_BYTES, count * sizeof(Extent));
        *ret_dead = dead;
        return ST_OK;
}

/* Which checkpoint there is; none: *ret_superblock has sequence 0. */
static Status superblock_choose(PageFile *file, Superblock *ret_superblock)
{
        uint8_t blocks[2][SPACE_HEADER_BYTES];
        Superblocks all;
        unsigned blank[2];
        TRY(pagefile_superblocks_read(file->space, blocks, &all));
        if (all.newest >= 0) {
                *ret_superblock = all.copies[all.newest];
                file->keep = all.whole[0] ? 0 : all.whole[1] ? 1 : (unsigned)all.newest / 2;
                file->both_whole = all.whole[0] && all.whole[1];
                return ST_OK;
        }
        if (all.version != SUPERBLOCK_VERSION)
                return status_hint(status_new(ERR_VERSION, "%s has format %u, this program reads %u", file->path,
                                              all.version, SUPERBLOCK_VERSION),
                                   "use the version of the program that wrote it");
        for (unsigned i = 0; i < 2; i++)
                blank[i] = all.states[2 * i] == COPY_BLANK && all.states[2 * i + 1] == COPY_BLANK;
        /* The first checkpoint was not finished: a finished one has written both. */
        if (blank[0] || blank[1])
                return ST_OK;
        return status_hint(status_new(ERR_CORRUPT, "%s, offsets 0 and %u: both superblocks are damaged", file->path,
                                      SPACE_HEADER_BYTES),
                           "restore a backup");
}

typedef struct Extents {
        Extent *items;
        size_t count, capacity, next;
} Extents;

static Status extents_add(void *ctx, Extent extent)
{
        Extents *all = ctx;
        if (all->count == all->capacity) {
                size_t capacity = MAX(2 * all->capacity, (size_t)256);
                Extent *items = mem_realloc(all->items, capacity * sizeof(Extent));
                if (!items)
                        return status_nomem();
                all->items = items;
                all->capacity = capacity;
        }
        all->items[all->count++] = extent;
        return ST_OK;
}

static Status extents_next(void *ctx, Extent *ret_extent, bool *ret_more)
{
        Extents *all = ctx;
        *ret_more = all->next < all->count;
        if (*ret_more)
                *ret_extent = all->items[all->next++];
        return ST_OK;
}

static Status tree_walk(PTree *tree, PTreeAddress root, Extents *all)
{
        PSnapshot *snapshot;
        uint64_t rows;
        if (root.extent)
                TRY(extents_add(all, root.extent));
        TRY(ptree_pin(tree, &snapshot));
        Status st = ptree_check(snapshot, extents_add, all, &rows);
        ptree_unpin(snapshot);
        return st;
}

typedef struct Rebuild {
        PageFile *file;
        Extents all;
} Rebuild;

static Status rebuild_table(void *ctx, const PageRow *row)
{
        Rebuild *rebuild = ctx;
        PTree *tree;
        TRY(ptree_open(rebuild->file->cache, row->root, NULL, &tree));
        Status st = tree_walk(tree, row->root, &rebuild->all);
        ptree_close(tree);
        return status_context(st, "table %" PRIu64, row->table_id);
}

/* The state of the space from a walk over everything. Not over what is damaged: what is only found through it would
 * be overwritten. */
static Status space_remake(PageFile *file, PTreeAddress directory)
{
        Rebuild rebuild = {.file = file};
        Status st = tree_walk(file->directory, directory, &rebuild.all);
        if (!st)
                st = pagefile_rows_each(file, rebuild_table, &rebuild);
        if (!st)
                st = space_rebuild(file->space, extents_next, &rebuild.all);
        mem_free(rebuild.all.items);
        return st;
}

static Status space_restore(PageFile *file, const Superblock *superblock)
{
        Buf image;
        buf_init(&image, SIZE_MAX / 2);
        Extent *dead = NULL;
        Status st = pagefile_image_read(file->space, superblock, &image);
        if (!st)
                st = pagefile_dead_read(file->space, file->path, superblock, &dead);
        if (!st)
                st = space_load(file->space, BYTES(image.data, image.size));
        /* Some of them were freed between being written down and the image: then they are free in it. */
        for (uint64_t i = 0; i < superblock->dead_count && !st; i++)
                status_ignore(space_discard(file->space, dead[i]));
        buf_done(&image);
        mem_free(dead);
        return st;
}

static Status open_checkpoint(PageFile *file, const Superblock *superblock)
{
        /* The checkpoint that makes room must not be refused for want of room. */
        PTreeOptions options = {.unlimited = true};
        TRY(ptree_open(file->cache, superblock->directory, &options, &file->directory));
        if (superblock->sequence == 0)
                return ST_OK;
        file->durable = *superblock;
        file->sequence = superblock->sequence;
        file->table_count = superblock->table_count;
        file->dropped_count = superblock->dropped_count;
        Status st;
        bool remade = superblock->flags & SUPERBLOCK_REBUILD;
        if (remade) {
                st = space_remake(file, superblock->directory);
                if (status_code(st) != ERR_CORRUPT)
                        return st;
                status_ignore(st);
                file->rebuild = true; /* something is still damaged: another time */
        }
        st = space_restore(file, superblock);
        if (!st) {
                file->stale[file->stale_count++] = superblock->image;
                if (superblock->dead_count)
                        file->stale[file->stale_count++] = superblock->dead;
        } else if (status_code(st) == ERR_CORRUPT && !remade) {
                Status again = space_remake(file, superblock->directory);
                if (!again)
                        return status_free(st); /* image and dead list are free, the next checkpoint writes others */
                status_ignore(again);
        }
        return st;
}

Status pagefile_path_of(OsDir *dir, char **ret_path)
{
        size_t bytes = strlen(os_dir_path(dir)) + sizeof("/" PAGEFILE_NAME);
        char *path = mem_alloc(bytes);
        if (!path)
                return status_nomem();
        snprintf(path, bytes, "%s/" PAGEFILE_NAME, os_dir_path(dir));
        *ret_path = path;
        return ST_OK;
}

static Status node_flushed(void *ctx, size_t bytes);
static Status file_sync(PageFile *file);
static Status superblock_write(PageFile *file, const Superblock *superblock, bool *ret_durable);

/* Whoever wrote the newest checkpoint may have died before it was durable, or when the sync had failed and what we read
 * is in the system's cache only. It must not go away again after we have shown it: the log before it will be cut, what
 * the one before uses is free. If both blocks have it, the sync between them has been. */
static Status superblock_confirm(PageFile *file, const Superblock *superblock)
{
        bool durable;
        if (superblock->sequence == 0)
                return ST_OK;
        return file->both_whole ? file_sync(file) : superblock_write(file, superblock, &durable);
}

Status pagefile_open(const PageFileOptions *options, PageFile **ret_file) NO_TSA
{
        _cleanup_(pagefile_closep) PageFile *file = mem_zalloc(sizeof(*file));
        if (!file)
                return status_nomem();
        mutex_init(&file->mu);
        file->dir = options->dir;
        TRY(pagefile_path_of(file->dir, &file->path));
        SpaceOptions space_options = {.max_bytes = options->file_max_bytes};
        TRY(space_open(file->dir, PAGEFILE_NAME, &space_options, &file->space));
        file->dirty_max_bytes = options->cache_max_bytes
                                        ? MAX(options->cache_max_bytes / 100 * DIRTY_SHARE_PERCENT, DIRTY_MIN_BYTES)
                                        : DIRTY_DEFAULT_BYTES;
        PCacheOptions cache_options = {.space = file->space,
                                       .name = file->path,
                                       .budget_bytes = options->cache_max_bytes,
                                       .dirty_max_bytes = file->dirty_max_bytes,
                                       .flushed = node_flushed,
                                       .flushed_ctx = file};
        TRY(pcache_open(&cache_options, &file->cache));
        Superblock superblock = {0};
        TRY(superblock_choose(file, &superblock));
        Status st = open_checkpoint(file, &superblock);
        if (status_code(st) == ERR_CORRUPT)
                st = status_hint(st, "restore a backup; `photondb check` tells what else is damaged");
        TRY_CTX(st, "opening %s at commit %" PRIu64, file->path, superblock.position);
        TRY_CTX(superblock_confirm(file, &superblock), "opening %s", file->path);
        *ret_file = take(file);
        return ST_OK;
}

PageFile *pagefile_close(PageFile *file) NO_TSA
{
        if (!file)
                return NULL;
        pagefile_abort(file);
        ptree_close(file->directory);
        pcache_close(file->cache);
        space_close(file->space);
        mutex_done(&file->mu);
        mem_free(file->path);
        mem_free(file);
        return NULL;
}

/* --- looking --- */

const char *pagefile_path(const PageFile *file)
{
        return file->path;
}

Space *pagefile_space(PageFile *file)
{
        return file->space;
}

PCache *pagefile_cache(PageFile *file)
{
        return file->cache;
}

size_t pagefile_dirty_max(const PageFile *file)
{
        return file->dirty_max_bytes;
}

void pagefile_durable(PageFile *file, Superblock *ret_superblock)
{
        mutex_lock(&file->mu);
        *ret_superblock = file->durable;
        mutex_unlock(&file->mu);
}

void pagefile_figures(PageFile *file, PageFileFigures *ret_figures)
{
        mutex_lock(&file->mu);
        *ret_figures = file->figures;
        mutex_unlock(&file->mu);
}

bool pagefile_failed(const PageFile *file)
{
        return atomic_load_explicit(&file->failed, memory_order_acquire);
}

Status pagefile_failure(const PageFile *file)
{
        if (!pagefile_failed(file))
                return ST_OK;
        return status_hint(status_new(ERR_IO,
                                      "%s: an earlier sync failed, so what was written since the last "
                                      "checkpoint may be lost; nothing more is written",
                                      file->path),
                           "restart the server: it recovers from the log");
}

void pagefile_hold(PageFile *file)
{
        atomic_fetch_add(&file->holds, 1);
}

void pagefile_release(PageFile *file)
{
        atomic_fetch_sub(&file->holds, 1);
}

/* --- a checkpoint --- */

static Status file_sync(PageFile *file)
{
        Os *os = os_dir_os(file->dir);
        int64_t start = os_mono_ns(os);
        Status st = space_sync(file->space);
        int64_t took = os_mono_ns(os) - start;
        file->unsynced_bytes = 0;
        mutex_lock(&file->mu);
        histogram_add(&file->figures.sync_ns, took > 0 ? (uint64_t)took : 0);
        mutex_unlock(&file->mu);
        if (!st)
                return ST_OK;
        atomic_store_explicit(&file->failed, true, memory_order_release);
        return status_hint(status_context(st, "syncing %s", file->path),
                           "restart the server: it recovers from the log");
}

static Status file_wrote(PageFile *file, size_t bytes, bool may_sync)
{
        mutex_lock(&file->mu);
        file->figures.flushed_bytes += bytes;
        mutex_unlock(&file->mu);
        file->unsynced_bytes += bytes;
        return may_sync && file->unsynced_bytes >= SYNC_EVERY_BYTES ? file_sync(file) : ST_OK;
}

static Status node_flushed(void *ctx, size_t bytes)
{
        return file_wrote(ctx, bytes, true);
}

Status pagefile_begin(PageFile *file)
{
        assert(!file->write);
        TRY(pagefile_failure(file));
        file->begun_counts[0] = file->table_count;
        file->begun_counts[1] = file->dropped_count;
        return ptree_write_begin(file->directory, &file->write);
}

void pagefile_abort(PageFile *file)
{
        if (!file->write)
                return;
        ptree_write_abort(take(file->write));
        file->table_count = file->begun_counts[0];
        file->dropped_count = file->begun_counts[1];
}

Status pagefile_row_put(PageFile *file, const PageRow *row)
{
        uint8_t key[KEY_BYTES], value[ROW_BYTES];
        PageRow old;
        bool found;
        TRY(row_read(file, row->table_id, row->drop_position, &old, &found));
        if (found && old.engine == row->engine && old.root.extent == row->root.extent &&
            old.root.bytes == row->root.bytes && old.position == row->position)
                return ST_OK;
        row_encode(row, key, value);
        TRY(ptree_write_put(file->write, 0, BYTES(key, KEY_BYTES), BYTES(value, ROW_BYTES)));
        if (!found)
                *(row->drop_position ? &file->dropped_count : &file->table_count) += 1;
        return ST_OK;
}

Status pagefile_row_delete(PageFile *file, uint64_t table_id, uint64_t drop_position)
{
        uint8_t key[KEY_BYTES];
        bool found;
        key_encode(table_id, drop_position, key);
        TRY(ptree_write_delete(file->write, 0, BYTES(key, KEY_BYTES), &found));
        if (found)
                *(drop_position ? &file->dropped_count : &file->table_count) -= 1;
        return ST_OK;
}

static Status extent_write(PageFile *file, Extent extent, const void *data, size_t bytes)
{
        Status st = space_write(file->space, extent, data, bytes);
        if (!st)
                st = file_wrote(file, bytes, false);
        if (st) {
                status_ignore(space_discard(file->space, extent)); /* cannot fail: it is ours */
                return st;
        }
        /* A checkpoint may name it from here on, even one whose end failed. */
        assert(file->stale_count < ELEMENTS(file->stale));
        file->stale[file->stale_count++] = extent;
        return ST_OK;
}

/* What the directory's own commits replaced is dead too, if it is not yet free. */
static Status dead_write(PageFile *file, const Extent *dead, size_t count, Superblock *superblock)
{
        Extents all = {0};
        uint8_t head[DEAD_HEAD_BYTES] = {0};
        Buf stored;
        Extent extent;
        buf_init(&stored, SIZE_MAX / 2);
        Status st = ptree_dead(file->directory, UINT64_MAX, extents_add, &all);
        size_t sum = count + all.count;
        store_u32(head + 8, DEAD_MAGIC);
        store_u64(head + 16, sum);
        if (!st)
                st = buf_append(&stored, head, sizeof(head));
        if (!st)
                st = buf_append(&stored, dead, count * sizeof(Extent));
        if (!st)
                st = buf_append(&stored, all.items, all.count * sizeof(Extent));
        if (!st && sum) {
                store_u64(stored.data, bytes_hash(stored.data + 8, stored.size - 8));
                st = space_alloc(file->space, stored.size, &extent);
                if (!st)
                        st = extent_write(file, extent, stored.data, stored.size);
                if (!st) {
                        superblock->dead = extent;
                        superblock->dead_count = sum;
                }
        }
        buf_done(&stored);
        mem_free(all.items);
        return st;
}

static Status image_write(PageFile *file, Superblock *superblock)
{
        Buf image;
        Extent extent;
        buf_init(&image, SIZE_MAX / 2);
        Status st = space_save_extent(file->space, superblock->position, &image, &extent);
        if (!st)
                st = extent_write(file, extent, image.data, image.size);
        if (!st) {
                superblock->image = extent;
                superblock->image_bytes = image.size;
        }
        buf_done(&image);
        return st;
}

/* Commits of the directory have position 0: what they replace is free as of the next checkpoint that succeeds, whatever
 * position that has (README, I5). */
static Status directory_flush(PageFile *file, PTreeAddress *ret_address)
{
        PSnapshot *snapshot;
        Status st = ptree_write_prepare(file->write);
        if (st)
                return st;
        ptree_write_commit(take(file->write), 0);
        TRY(ptree_pin(file->directory, &snapshot));
        st = ptree_flush(snapshot, ret_address);
        ptree_unpin(snapshot);
        ptree_tidy(file->directory);
        return st;
}

/* One block, durable, then the other: README, I2. */
static Status superblock_write(PageFile *file, const Superblock *superblock, bool *ret_durable)
{
        uint8_t block[SPACE_HEADER_BYTES];
        unsigned order[2] = {1 - file->keep, file->keep};
        *ret_durable = false;
        for (unsigned i = 0; i < 2; i++) {
                superblock_encode(superblock, order[i], block);
                TRY(space_header_write(file->space, order[i], block, sizeof(block)));
                TRY(file_wrote(file, sizeof(block), false));
                TRY(file_sync(file));
                /* Should the second one fail, the next checkpoint begins with that. */
                file->keep = order[0];
                *ret_durable = true;
        }
        return ST_OK;
}

Status pagefile_finish(PageFile *file, uint64_t position, const Extent *dead, size_t dead_count, bool rebuild)
{
        assert(position > 0);
        file->rebuild |= rebuild;
        Superblock superblock = {.position = position,
                                 .wall_us = os_wall_us(os_dir_os(file->dir)),
                                 .table_count = file->table_count,
                                 .dropped_count = file->dropped_count,
                                 .flags = file->rebuild ? SUPERBLOCK_REBUILD : 0};
        bool durable;
        TRY(directory_flush(file, &superblock.directory));
        /* Free in the image that is to be saved, and not handed out before this checkpoint is durable. */
        while (file->stale_count > 0) {
                TRY(space_free(file->space, file->stale[file->stale_count - 1], 0));
                file->stale_count--;
        }
        TRY(dead_write(file, dead, dead_count, &superblock));
        TRY(image_write(file, &superblock));
        TRY(file_sync(file));
        superblock.sequence = ++file->sequence;
        Status st = superblock_write(file, &superblock, &durable);
        if (durable) {
                mutex_lock(&file->mu);
                file->durable = superblock;
                file->figures.checkpoint_count++;
                mutex_unlock(&file->mu);
        }
        TRY(st);
        /* Only now, with the superblock in both blocks. An error is about giving back the end of the file: next time.
         */
        if (atomic_load(&file->holds) == 0)
                status_ignore(space_reclaim(file->space, position - 1));
        return ST_OK;
}
