/* backup.c - a copy of the newest checkpoint, while writing goes on: nothing it uses is handed out again meanwhile, so
 * its extents can be copied as they lie. What it does not use stays a hole. */
#include <inttypes.h>

#include "storage/btree/btree_int.h"

#define COPY_BYTES ((size_t)1 << 20)

struct EngineBackup {
        Engine *engine;
        Superblock superblock;
};

typedef struct Copy {
        EngineBackup *backup;
        OsFile *from, *to;
        uint8_t *buffer;
        Status (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes);
        void *ctx;
        uint64_t done_bytes, total_bytes;
} Copy;

Status btree_backup_begin(Engine *engine, EngineBackup **ret_backup)
{
        EngineBackup *backup = mem_zalloc(sizeof(*backup));
        if (!backup)
                return status_nomem();
        backup->engine = engine;
        pagefile_durable(engine->file, &backup->superblock);
        pagefile_hold(engine->file);
        *ret_backup = backup;
        return ST_OK;
}

void btree_backup_end(EngineBackup *backup)
{
        if (!backup)
                return;
        pagefile_release(backup->engine->file);
        mem_free(backup);
}

static Status stretch_count(void *ctx, uint64_t offset, uint64_t bytes)
{
        Copy *copy = ctx;
        copy->total_bytes += bytes;
        return ST_OK;
}

static Status stretch_copy(void *ctx, uint64_t offset, uint64_t bytes)
{
        Copy *copy = ctx;
        while (bytes > 0) {
                size_t n = (size_t)MIN(bytes, (uint64_t)COPY_BYTES), got;
                TRY(os_file_read_at(copy->from, offset, copy->buffer, n, &got));
                if (got < n)
                        return status_new(ERR_CORRUPT, "%s ends at offset %" PRIu64 ", within what is in use",
                                          pagefile_path(copy->backup->engine->file), offset + got);
                TRY(os_file_write_at(copy->to, offset, copy->buffer, n));
                offset += n;
                bytes -= n;
                copy->done_bytes += n;
                if (copy->progress)
                        TRY(copy->progress(copy->ctx, copy->done_bytes, copy->total_bytes));
        }
        return ST_OK;
}

static Status copy_all(Copy *copy, Bytes image)
{
        uint8_t block[SPACE_HEADER_BYTES];
        uint64_t end;
        TRY(space_image_each(image, stretch_count, copy, &end));
        TRY(os_file_truncate(copy->to, end));
        TRY(space_image_each(image, stretch_copy, copy, &end));
        /* A copy that was cut short has no superblock, and opens as an empty file. */
        TRY(os_file_sync(copy->to));
        for (unsigned i = 0; i < 2; i++) {
                superblock_encode(&copy->backup->superblock, i, block);
                TRY(os_file_write_at(copy->to, i * SPACE_HEADER_BYTES, block, sizeof(block)));
        }
        return os_file_sync(copy->to);
}

Status btree_backup_copy(EngineBackup *backup, OsDir *to,
                         Status (*progress)(void *ctx, uint64_t done_bytes, uint64_t total_bytes), void *ctx)
{
        Engine *engine = backup->engine;
        _cleanup_(os_file_closep) OsFile *from_file = NULL, *to_file = NULL;
        _cleanup_(mem_freep) uint8_t *buffer = mem_alloc(COPY_BYTES);
        Buf image;
        if (!buffer)
                return status_nomem();
        if (backup->superblock.sequence == 0)
                return ST_OK; /* no checkpoint: no file is the same as an empty one */
        TRY(os_file_open(engine->dir, PAGEFILE_NAME, OS_READ, &from_file));
        TRY(os_file_open(to, PAGEFILE_NAME, OS_READ | OS_WRITE | OS_CREATE | OS_TRUNCATE, &to_file));
        Copy copy = {
                .backup = backup, .from = from_file, .to = to_file, .buffer = buffer, .progress = progress, .ctx = ctx};
        buf_init(&image, SIZE_MAX / 2);
        Status st = pagefile_image_read(pagefile_space(engine->file), &backup->superblock, &image);
        if (!st)
                st = copy_all(&copy, BYTES(image.data, image.size));
        buf_done(&image);
        if (!st)
                st = os_dir_sync(to);
        return status_context(st, "copying %s to %s", pagefile_path(engine->file), os_dir_path(to));
}
