/* dump.c - a page file as text: superblocks, the space, the directory, and what the trees say of their extents. */
#include "storage/btree/dump.h"

#include <inttypes.h>

#include "base/mem.h"
#include "storage/btree/pagefile.h"

typedef struct Dump {
        char *path;
        Space *space;
        PCache *cache;
        PTree *directory;
        Superblocks superblocks;
        const Superblock *newest; /* NULL: there is none */
        uint64_t table_id;
        bool found;
        Buf *out;
} Dump;

static Status print_superblock(Dump *dump, unsigned i)
{
        static const char *const states[] = {"blank", "valid", "half-written when the power went", "damaged"};
        const Superblock *superblock = &dump->superblocks.copies[i];
        TRY(buf_printf(dump->out, "superblock %u copy %u (offset %" PRIu64 "): %s%s\n", i / 2, i % 2,
                       superblock_offset(i), states[dump->superblocks.states[i]],
                       dump->superblocks.newest == (int)i ? ", the one that counts" : ""));
        if (dump->superblocks.states[i] != COPY_VALID)
                return ST_OK;
        TRY(buf_printf(dump->out,
                       "        sequence %" PRIu64 ", position %" PRIu64 ", written at %" PRId64 " us, %" PRIu64
                       " tables, %" PRIu64 " dropped%s\n",
                       superblock->sequence, superblock->position, superblock->wall_us, superblock->table_count,
                       superblock->dropped_count,
                       superblock->flags & SUPERBLOCK_REBUILD ? ", the space is to be made anew" : ""));
        TRY(buf_printf(dump->out, "        directory: %u bytes in extent %" PRIx64 " (offset %" PRIu64 ")\n",
                       superblock->directory.bytes, superblock->directory.extent,
                       space_extent_offset(dump->space, superblock->directory.extent)));
        TRY(buf_printf(dump->out, "        saved space: %" PRIu64 " bytes in extent %" PRIx64 " (offset %" PRIu64 ")\n",
                       superblock->image_bytes, superblock->image,
                       space_extent_offset(dump->space, superblock->image)));
        if (superblock->dead_count)
                TRY(buf_printf(
                        dump->out, "        %" PRIu64 " dead extents: in extent %" PRIx64 " (offset %" PRIu64 ")\n",
                        superblock->dead_count, superblock->dead, space_extent_offset(dump->space, superblock->dead)));
        return ST_OK;
}

static Status print_row(Dump *dump, const PageRow *row)
{
        TRY(buf_printf(dump->out, "table %" PRIu64 " (%s), position %" PRIu64 ": ", row->table_id,
                       row->engine == ROW_SLAB ? "slab" : "btree", row->position));
        if (row->drop_position)
                TRY(buf_printf(dump->out, "dropped at %" PRIu64 ", ", row->drop_position));
        if (!row->root.extent)
                return buf_append_str(dump->out, "empty\n");
        return buf_printf(dump->out, "root record of %u bytes in extent %" PRIx64 " (offset %" PRIu64 ")\n",
                          row->root.bytes, row->root.extent, space_extent_offset(dump->space, row->root.extent));
}

static Status print_directory(Dump *dump, bool one)
{
        PSnapshot *snapshot;
        PCursor *cursor = NULL;
        Arena hold;
        bool found = true;
        if (!one)
                TRY(ptree_describe(dump->cache, dump->newest->directory.extent, dump->out));
        TRY(ptree_pin(dump->directory, &snapshot));
        arena_init(&hold, 0);
        Status st = ptree_cursor_open(snapshot, 0, (PRange){0}, false, &cursor);
        while (!st && found) {
                Bytes key, value;
                PageRow row;
                arena_reset(&hold);
                st = ptree_cursor_next(cursor, &hold, &key, &value, &found);
                if (!st && found)
                        st = pagerow_decode(key, value, &row);
                if (st || !found || (one && row.table_id != dump->table_id))
                        continue;
                dump->found = true;
                st = print_row(dump, &row);
                if (!st && one && row.root.extent)
                        st = ptree_describe(dump->cache, row.root.extent, dump->out);
        }
        ptree_cursor_close(cursor);
        ptree_unpin(snapshot);
        arena_done(&hold);
        if (!st && one && !dump->found)
                st = status_new(ERR_NOT_FOUND, "%s has no table %" PRIu64, dump->path, dump->table_id);
        return st;
}

static Status load_space(Dump *dump)
{
        Buf image;
        buf_init(&image, SIZE_MAX / 2);
        Status st = pagefile_image_read(dump->space, dump->newest, &image);
        if (!st)
                st = space_load(dump->space, BYTES(image.data, image.size));
        buf_done(&image);
        return st;
}

static Status print_space(Dump *dump)
{
        SpaceStats stats;
        SpaceClassStats classes[SPACE_CLASS_COUNT];
        TRY(load_space(dump));
        space_stats(dump->space, &stats);
        space_class_stats(dump->space, classes);
        TRY(buf_printf(dump->out,
                       "%s: %" PRIu64 " bytes = %" PRIu64 " live + %" PRIu64 " free + %" PRIu64 " of metadata; %" PRIu64
                       " extents, %" PRIu64 " slabs\n",
                       dump->path, stats.file_bytes, stats.live_bytes, stats.free_bytes, stats.metadata_bytes,
                       stats.extent_count, stats.slab_count));
        TRY(buf_append_str(dump->out, "  extents of     slabs       live       free      live bytes\n"));
        for (unsigned i = 0; i < SPACE_CLASS_COUNT; i++) {
                if (classes[i].live_count + classes[i].free_count == 0)
                        continue;
                if (classes[i].extent_bytes)
                        TRY(buf_printf(dump->out, "%12u", classes[i].extent_bytes));
                else
                        TRY(buf_append_str(dump->out, "      larger"));
                TRY(buf_printf(dump->out, "%10" PRIu64 "%11" PRIu64 "%11" PRIu64 "%16" PRIu64 "\n",
                               classes[i].slab_count, classes[i].live_count, classes[i].free_count,
                               classes[i].live_bytes));
        }
        return ST_OK;
}

static Status print_offset(Dump *dump, uint64_t offset)
{
        Extent extent;
        TRY(load_space(dump));
        const char *what = space_at(dump->space, offset, &extent);
        TRY(buf_printf(dump->out, "offset %" PRIu64 ": %s\n", offset, what));
        return extent ? ptree_describe(dump->cache, extent, dump->out) : ST_OK;
}

static Status print_what(Dump *dump, const PageDumpWhat *what)
{
        uint8_t blocks[2][SPACE_HEADER_BYTES];
        TRY(pagefile_superblocks_read(dump->space, blocks, &dump->superblocks));
        if (dump->superblocks.newest >= 0)
                dump->newest = &dump->superblocks.copies[dump->superblocks.newest];
        if (what->kind == PAGE_DUMP_SUPERBLOCKS) {
                for (unsigned i = 0; i < SUPERBLOCK_COPIES; i++)
                        TRY(print_superblock(dump, i));
                return ST_OK;
        }
        if (what->kind == PAGE_DUMP_EXTENT)
                return ptree_describe(dump->cache, what->number, dump->out);
        if (!dump->newest)
                return status_new(ERR_NOT_FOUND, "%s has no checkpoint that can be read", dump->path);
        if (what->kind == PAGE_DUMP_SPACE)
                return print_space(dump);
        if (what->kind == PAGE_DUMP_OFFSET)
                return print_offset(dump, what->number);
        TRY(ptree_open(dump->cache, dump->newest->directory, NULL, &dump->directory));
        dump->table_id = what->number;
        return print_directory(dump, what->kind == PAGE_DUMP_TABLE);
}

Status page_dump(Os *os, const char *data_dir, const PageDumpWhat *what, Buf *out)
{
        Dump dump = {.out = out};
        OsDir *dir;
        TRY(os_dir_open(os, data_dir, OS_DIR_READ, &dir));
        Status st = pagefile_path_of(dir, &dump.path);
        if (!st)
                st = space_open_read(dir, PAGEFILE_NAME, &dump.space);
        PCacheOptions options = {.space = dump.space, .name = dump.path, .budget_bytes = (size_t)16 << 20};
        if (!st)
                st = pcache_open(&options, &dump.cache);
        if (!st)
                st = print_what(&dump, what);
        ptree_close(dump.directory);
        pcache_close(dump.cache);
        space_close(dump.space);
        mem_free(dump.path);
        os_dir_close(dir);
        return st;
}
