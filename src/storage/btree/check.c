/* check.c - a walk over everything in a page file that nobody has open: superblocks, the saved space, the directory,
 * every tree of every table, and that all of it together is what the space says is live. Nothing is written.
 *
 * What is damaged is told and the walk goes on beside it. Leaks can only be told if everything could be read. */
#include <inttypes.h>
#include <stdio.h>

#include "storage/btree/btree_int.h"

#define PROGRESS_BYTES ((uint64_t)1 << 20)
#define PROGRESS_ROWS  1024u
#define CACHE_BYTES    ((size_t)64 << 20) /* when nobody says */

typedef struct Walk {
        const EngineOptions *options;
        const EngineCheck *check;
        char *path;
        Space *space;
        PCache *cache;
        CodecPool *codecs;
        PTree *directory;
        Superblock superblock;
        bool loaded;  /* the space knows what is live */
        bool damaged; /* something could not be read */
        uint64_t done_bytes, told_bytes, total_bytes;
        Extent *extents; /* all that were reached */
        size_t extent_count, extent_capacity, extent_next;
        /* The error of a callback, or one of ours that is no damage: ends the walk. */
        Status stop;
} Walk;

static Status problem_text(Walk *walk, const char *text)
{
        walk->damaged = true;
        return walk->check->problem ? walk->check->problem(walk->check->ctx, text) : ST_OK;
}

static Status problem(Walk *walk, const char *format, ...) PRINTF_LIKE(2, 3);
static Status problem(Walk *walk, const char *format, ...)
{
        char text[512];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        return problem_text(walk, text);
}

/* Damage becomes a problem; what else is wrong ends the walk. Takes `st`. */
static Status problem_of(Walk *walk, Status st)
{
        char text[512];
        if (status_code(st) != ERR_CORRUPT && status_code(st) != ERR_VERSION)
                return st;
        status_text(st, text, sizeof(text));
        status_ignore(st);
        return problem_text(walk, text);
}

static Status progress(Walk *walk, uint64_t bytes, bool now)
{
        walk->done_bytes += bytes;
        if (!walk->check->progress || (!now && walk->done_bytes - walk->told_bytes < PROGRESS_BYTES))
                return ST_OK;
        walk->told_bytes = walk->done_bytes;
        return walk->check->progress(walk->check->ctx, walk->done_bytes, MAX(walk->total_bytes, walk->done_bytes));
}

static Status reached(void *ctx, Extent extent)
{
        Walk *walk = ctx;
        if (walk->extent_count == walk->extent_capacity) {
                size_t capacity = MAX(2 * walk->extent_capacity, (size_t)1024);
                Extent *extents = mem_realloc(walk->extents, capacity * sizeof(Extent));
                if (!extents)
                        return status_nomem();
                walk->extents = extents;
                walk->extent_capacity = capacity;
        }
        walk->extents[walk->extent_count++] = extent;
        /* An error of the callback must not be taken for damage of the tree. */
        walk->stop = progress(walk, space_extent_bytes(walk->space, extent), false);
        return walk->stop ? status_nomem() : ST_OK;
}

/* The same, for those that are not within a tree. */
static Status reach(Walk *walk, Extent extent)
{
        Status st = reached(walk, extent);
        if (!walk->stop)
                return st;
        status_ignore(st);
        return take(walk->stop);
}

static Status reached_next(void *ctx, Extent *ret_extent, bool *ret_more)
{
        Walk *walk = ctx;
        *ret_more = walk->extent_next < walk->extent_count;
        if (*ret_more)
                *ret_extent = walk->extents[walk->extent_next++];
        return ST_OK;
}

/* --- superblocks --- */

static bool all_zero(const uint8_t *bytes, size_t size)
{
        for (size_t i = 0; i < size; i++)
                if (bytes[i])
                        return false;
        return true;
}

static Status check_superblocks(Walk *walk)
{
        enum { COPY_BYTES = 256 };
        uint8_t blocks[2][SPACE_HEADER_BYTES];
        Superblocks all;
        TRY(pagefile_superblocks_read(walk->space, blocks, &all));
        for (unsigned i = 0; i < SUPERBLOCK_COPIES; i++) {
                const uint8_t *rest = blocks[i / 2] + i % 2 * SUPERBLOCK_STRIDE + COPY_BYTES;
                if (all.states[i] == COPY_DAMAGED)
                        TRY(problem(walk, "%s, offset %" PRIu64 ": a copy of the superblock is damaged", walk->path,
                                    superblock_offset(i)));
                if (!all_zero(rest, SUPERBLOCK_STRIDE - COPY_BYTES))
                        TRY(problem(walk, "%s, offset %" PRIu64 ": something is written behind a superblock",
                                    walk->path, superblock_offset(i) + COPY_BYTES));
        }
        if (all.version != SUPERBLOCK_VERSION)
                return status_new(ERR_VERSION, "%s has format %u, this program reads %u", walk->path, all.version,
                                  SUPERBLOCK_VERSION);
        if (all.newest < 0) {
                unsigned blank = 0;
                for (unsigned b = 0; b < 2; b++)
                        blank += all.states[2 * b] == COPY_BLANK && all.states[2 * b + 1] == COPY_BLANK;
                if (blank == 0)
                        TRY(problem(walk, "%s, offset 0: no superblock can be read", walk->path));
                return ST_OK;
        }
        walk->superblock = all.copies[all.newest];
        /* A blank beside a checkpoint: only while the very first one is made. */
        for (unsigned i = 0; i < SUPERBLOCK_COPIES; i++)
                if (all.states[i] == COPY_BLANK && walk->superblock.sequence > 1)
                        TRY(problem(walk, "%s, offset %" PRIu64 ": a copy of the superblock is missing", walk->path,
                                    superblock_offset(i)));
        if (walk->check->checkpoint)
                TRY(walk->check->checkpoint(walk->check->ctx, walk->superblock.position));
        return ST_OK;
}

/* --- the saved space --- */

static Status load_image(Walk *walk, Buf *image, Extent **ret_dead)
{
        TRY_CTX(pagefile_image_read(walk->space, &walk->superblock, image), "%s, offset %" PRIu64, walk->path,
                space_extent_offset(walk->space, walk->superblock.image));
        TRY_CTX(space_load(walk->space, BYTES(image->data, image->size)), "%s, offset %" PRIu64, walk->path,
                space_extent_offset(walk->space, walk->superblock.image));
        walk->loaded = true;
        return pagefile_dead_read(walk->space, walk->path, &walk->superblock, ret_dead);
}

static Status check_image(Walk *walk)
{
        _cleanup_(mem_freep) Extent *dead = NULL;
        SpaceStats stats;
        Buf image;
        buf_init(&image, SIZE_MAX / 2);
        Status st = load_image(walk, &image, &dead);
        buf_done(&image);
        for (uint64_t i = 0; i < walk->superblock.dead_count && !st; i++)
                status_ignore(space_discard(walk->space, dead[i])); /* as an opening does */
        TRY(problem_of(walk, st));
        space_stats(walk->space, &stats);
        walk->total_bytes = walk->loaded ? stats.live_bytes : stats.file_bytes;
        TRY(reach(walk, walk->superblock.image));
        return walk->superblock.dead_count ? reach(walk, walk->superblock.dead) : ST_OK;
}

/* --- trees --- */

static Status check_tree(Walk *walk, PTree *tree, PTreeAddress root, uint64_t *ret_rows)
{
        PSnapshot *snapshot;
        TRY(ptree_pin(tree, &snapshot));
        Status st = root.extent ? reached(walk, root.extent) : ST_OK;
        if (!st)
                st = ptree_check(snapshot, reached, walk, ret_rows);
        ptree_unpin(snapshot);
        if (walk->stop) {
                status_ignore(st);
                return take(walk->stop);
        }
        return st;
}

static Status each_row(Walk *walk, PSnapshot *snapshot, uint64_t table_id, uint32_t id)
{
        PCursor *cursor;
        Arena hold;
        bool found = true;
        TRY(ptree_cursor_open(snapshot, id, (PRange){0}, false, &cursor));
        arena_init(&hold, 0);
        Status st = ST_OK;
        for (unsigned n = 0; !st && found; n++) {
                Bytes key, value;
                arena_reset(&hold);
                st = ptree_cursor_next(cursor, &hold, &key, &value, &found);
                if (st || !found)
                        break;
                walk->stop = walk->check->row(walk->check->ctx, table_id, id, key, value);
                if (!walk->stop && n % PROGRESS_ROWS == 0)
                        walk->stop = progress(walk, 0, true);
                if (walk->stop)
                        break;
        }
        arena_done(&hold);
        ptree_cursor_close(cursor);
        return st;
}

static Status each_tree_row(Walk *walk, EngineTable *table)
{
        PSnapshot *snapshot;
        TRY(ptree_pin(table->tree, &snapshot));
        Status st = ST_OK;
        for (uint32_t id = 0; !st && !walk->stop && ptree_next_tree(snapshot, id, &id) && id < PRIVATE_TREES; id++)
                st = each_row(walk, snapshot, table->id, id);
        ptree_unpin(snapshot);
        return walk->stop ? take(walk->stop) : st;
}

/* One table; its damage is told, and is not the caller's. */
static Status check_table(void *ctx, const PageRow *row)
{
        Walk *walk = ctx;
        Engine engine = {.ops = &engine_btree, .os = walk->options->os, .cache = walk->cache, .codecs = walk->codecs};
        const EngineOps *ops = row_engine_ops(row->engine);
        EngineTable *table = NULL;
        PTreeStats stats = {0};
        uint64_t rows;
        Status st = table_make(&engine, ops, row->table_id, row->root, &table);
        if (!st) {
                ptree_stats(table->tree, &stats);
                st = check_tree(walk, table->tree, row->root, &rows);
                if (!st && walk->check->row && !row->drop_position)
                        st = each_tree_row(walk, table);
        }
        bool damaged = status_code(st) == ERR_CORRUPT || status_code(st) == ERR_VERSION;
        st = problem_of(walk, status_context(st, "table %" PRIu64, row->table_id));
        if (!st && !row->drop_position) {
                if (damaged && walk->check->damaged)
                        st = walk->check->damaged(walk->check->ctx, row->table_id);
                if (!st && walk->check->table)
                        st = walk->check->table(walk->check->ctx, row->table_id, ops->name, stats.row_count);
        }
        if (table)
                table_done(table);
        return st;
}

static Status check_rows(Walk *walk)
{
        PSnapshot *snapshot;
        PCursor *cursor = NULL;
        Arena hold;
        uint64_t tables = 0, dropped = 0;
        bool found = true;
        arena_init(&hold, 0);
        TRY(ptree_pin(walk->directory, &snapshot));
        Status st = ptree_cursor_open(snapshot, 0, (PRange){0}, false, &cursor);
        while (!st && found) {
                Bytes key, value;
                PageRow row;
                arena_reset(&hold);
                /* An error here is the directory's, not the table's. */
                st = problem_of(walk, ptree_cursor_next(cursor, &hold, &key, &value, &found));
                if (st || !found)
                        break;
                st = pagerow_decode(key, value, &row);
                if (st) {
                        st = problem_of(walk, st);
                        continue;
                }
                *(row.drop_position ? &dropped : &tables) += 1;
                st = check_table(walk, &row);
        }
        ptree_cursor_close(cursor);
        ptree_unpin(snapshot);
        arena_done(&hold);
        if (!st && (tables != walk->superblock.table_count || dropped != walk->superblock.dropped_count))
                st = problem(walk,
                             "%s: the superblock counts %" PRIu64 " tables and %" PRIu64
                             " dropped ones, the directory has %" PRIu64 " and %" PRIu64,
                             walk->path, walk->superblock.table_count, walk->superblock.dropped_count, tables, dropped);
        return st;
}

/* False in *ret_readable: the directory is damaged, and no table can be found. */
static Status check_directory(Walk *walk, bool *ret_readable)
{
        uint64_t rows;
        *ret_readable = false;
        Status st = ptree_open(walk->cache, walk->superblock.directory, NULL, &walk->directory);
        if (!st)
                st = check_tree(walk, walk->directory, walk->superblock.directory, &rows);
        if (st)
                return problem_of(walk, status_context(st, "the directory of tables"));
        *ret_readable = true;
        return ST_OK;
}

/* --- all of it --- */

static Status check_file(Walk *walk)
{
        bool readable;
        size_t budget = walk->options->cache_max_bytes ? walk->options->cache_max_bytes : CACHE_BYTES;
        PCacheOptions cache_options = {.space = walk->space, .name = walk->path, .budget_bytes = budget};
        TRY(pcache_open(&cache_options, &walk->cache));
        TRY(codec_pool_new(&walk->codecs));
        TRY(check_superblocks(walk));
        if (walk->superblock.sequence == 0)
                return ST_OK; /* never a checkpoint: all there is is in the log */
        TRY(check_image(walk));
        TRY(check_directory(walk, &readable));
        if (readable)
                TRY(check_rows(walk));
        TRY(progress(walk, 0, true));
        if (!walk->loaded || walk->damaged)
                return ST_OK;
        if (walk->superblock.flags & SUPERBLOCK_REBUILD)
                return ST_OK; /* it says itself that something leaks, and that the next opening repairs it */
        return problem_of(walk, space_check(walk->space, reached_next, walk));
}

Status btree_check(const EngineOptions *options, const EngineCheck *check)
{
        Walk walk = {.options = options, .check = check};
        TRY(pagefile_path_of(options->dir, &walk.path));
        Status st = space_open_read(options->dir, PAGEFILE_NAME, &walk.space);
        if (status_code(st) == ERR_NOT_FOUND)
                st = status_free(st); /* never a table of this engine */
        else if (!st)
                st = check_file(&walk);
        status_ignore(walk.stop);
        ptree_close(walk.directory);
        pcache_close(walk.cache);
        codec_pool_free(walk.codecs);
        space_close(walk.space);
        mem_free(walk.extents);
        mem_free(walk.path);
        return st;
}
