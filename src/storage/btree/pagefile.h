/* pagefile.h - the file `pages` of a data directory: the trees of many tables, a directory that says where the root of
 * each is, and the checkpoints that make all of it durable at once.
 *
 *      pagefile_open                            the newest checkpoint
 *      pagefile_row, pagefile_rows_each         where a table is
 *      ptree_flush of tables ..                 a checkpoint: by one thread at a time, beside readers and writers
 *      pagefile_begin, pagefile_row_put, pagefile_row_delete .., pagefile_finish
 *
 * A checkpoint that fails leaves the one before in force; what it has written so far is used by the next try.
 * Threads: unless said otherwise, everything but opening and closing is the checkpoint thread's. Pictures of the file
 * and of a checkpoint, invariants: README.md in this folder. */
#ifndef STORAGE_BTREE_PAGEFILE_H
#define STORAGE_BTREE_PAGEFILE_H

#include "base/histogram.h"
#include "storage/btree/superblock.h"

#define PAGEFILE_NAME "pages"

typedef struct PageFile PageFile;

/* A row of the directory. Its key is (table_id, drop_position): a new table may have the number of one that is dropped
 * and still being read. */
typedef enum RowEngine { ROW_BTREE = 1, ROW_SLAB = 2 } RowEngine;
typedef struct PageRow {
        uint64_t table_id;
        RowEngine engine;
        PTreeAddress root;      /* extent 0: an empty table that was never written to */
        uint64_t position;      /* of the root */
        uint64_t drop_position; /* not 0: dropped there, and its space not yet free */
} PageRow;

typedef struct PageFileOptions {
        OsDir *dir;              /* borrowed, outlives the file */
        size_t cache_max_bytes;  /* 0: none */
        uint64_t file_max_bytes; /* 0: none */
} PageFileOptions;
/* Creates the file if it is absent. ERR_CORRUPT, ERR_VERSION, ERR_IO, ERR_NOMEM. */
MUST_USE Status pagefile_open(const PageFileOptions *options, PageFile **ret_file);
PageFile *pagefile_close(PageFile *file); /* all trees in its cache closed before; NULL is fine; returns NULL */
static inline void pagefile_closep(PageFile **file)
{
        *file = pagefile_close(*file);
}
const char *pagefile_path(const PageFile *file); /* for messages */
Space *pagefile_space(PageFile *file);
PCache *pagefile_cache(PageFile *file);
size_t pagefile_dirty_max(const PageFile *file);
/* The newest durable checkpoint; sequence 0: there is none. Any thread. */
void pagefile_durable(PageFile *file, Superblock *ret_superblock);

/* --- the directory, as of the last pagefile_finish or what has been done since pagefile_begin --- */
/* Of a table that lives. */
MUST_USE Status pagefile_row(PageFile *file, uint64_t table_id, PageRow *ret_row, bool *ret_found);
/* In order of id. `each` may read rows. */
MUST_USE Status pagefile_rows_each(PageFile *file, Status (*each)(void *ctx, const PageRow *row), void *ctx);

/* --- a checkpoint --- */
/* ERR_IO if the file has failed for good. */
MUST_USE Status pagefile_begin(PageFile *file);
MUST_USE Status pagefile_row_put(PageFile *file, const PageRow *row);
MUST_USE Status pagefile_row_delete(PageFile *file, uint64_t table_id, uint64_t drop_position);
/* Makes the directory and everything it leads to durable as the checkpoint of `position`. dead[]: extents that no
 * commit after `position` replaced and no root of it leads to, but that snapshots still read. `rebuild`: see
 * SUPERBLOCK_REBUILD. After an error the work may be begun again, with the same position or a later one. */
MUST_USE Status pagefile_finish(PageFile *file, uint64_t position, const Extent *dead, size_t dead_count, bool rebuild);
void pagefile_abort(PageFile *file); /* after pagefile_begin, instead of pagefile_finish */

/* A sync has failed: nothing can become durable any more. Any thread. */
bool pagefile_failed(const PageFile *file);
MUST_USE Status pagefile_failure(const PageFile *file);

/* While there are holds, nothing that the newest checkpoint uses is handed out again. The first is not taken beside
 * a checkpoint; release from any thread. */
void pagefile_hold(PageFile *file);
void pagefile_release(PageFile *file);

typedef struct PageFileFigures {
        Histogram sync_ns;
        uint64_t checkpoint_count, flushed_bytes; /* flushed: by trees and checkpoints since it was opened */
} PageFileFigures;
void pagefile_figures(PageFile *file, PageFileFigures *ret_figures); /* any thread */

/* --- the parts, for the checker and the dump --- */
MUST_USE Status pagefile_superblocks_read(Space *space, uint8_t blocks[2][SPACE_HEADER_BYTES],
                                          Superblocks *ret_superblocks);
/* "<directory>/pages"; the caller's to mem_free. */
MUST_USE Status pagefile_path_of(OsDir *dir, char **ret_path);
/* The saved space of a checkpoint, and the dead extents with it (ret_dead: the caller's to mem_free). */
MUST_USE Status pagefile_image_read(Space *space, const Superblock *superblock, Buf *out);
MUST_USE Status pagefile_dead_read(Space *space, const char *path, const Superblock *superblock, Extent **ret_dead);
MUST_USE Status pagerow_decode(Bytes key, Bytes value, PageRow *ret_row);

#endif
