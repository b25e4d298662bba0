/* spill_files.c - see spill_files.h. */
#include "server/spill_files.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/mem.h"

#define ADVICE "Ask for less at a time (filter, pluck, limit), or start the server with a larger `--sort-memory`"

struct SpillFiles {
        SpillOps ops;
        OsDir *dir;
        uint64_t max_bytes;
        atomic_ullong files, bytes, files_total, bytes_total;
};

struct SpillFile {
        SpillFiles *files;
        OsFile *file;
        uint64_t bytes;
};

/* The world's failure as a query's: what was being done, where, and what can be done about it. */
static Status spill_error(const SpillFiles *files, const char *what, Status cause)
{
        _cleanup_(status_freep) Status st = cause;
        char text[512];
        if (status_code(st) == ERR_NOMEM)
                return take(st);
        if (status_code(st) == ERR_NO_SPACE)
                return status_new(ERR_RESOURCE,
                                  "The disk is full: what the query sorts or groups does not fit into its memory, and "
                                  "there is no more room for it in `%s`. " ADVICE ", or make room there.",
                                  os_dir_path(files->dir));
        return status_new(ERR_OP_FAILED, "Cannot %s a temporary file of the query in `%s`: %s", what,
                          os_dir_path(files->dir), status_text(st, text, sizeof text));
}

static Status file_create(void *ctx, SpillFile **ret_file)
{
        SpillFiles *files = ctx;
        char name[32];
        _cleanup_(mem_freep) SpillFile *file = mem_zalloc(sizeof *file);
        if (!file)
                return status_nomem();
        file->files = files;
        snprintf(name, sizeof name, "spill-%llu", (unsigned long long)atomic_fetch_add(&files->files_total, 1));
        Status st = os_file_open(files->dir, name, OS_READ | OS_WRITE | OS_CREATE | OS_EXCLUSIVE, &file->file);
        if (st)
                return spill_error(files, "make", st);
        st = os_dir_remove(files->dir, name);
        if (st) { /* the next start removes it */
                os_file_close(file->file);
                return spill_error(files, "unlink", st);
        }
        atomic_fetch_add(&files->files, 1);
        *ret_file = take(file);
        return ST_OK;
}

static Status file_append(SpillFile *file, const void *data, size_t size)
{
        SpillFiles *files = file->files;
        if (atomic_fetch_add(&files->bytes, size) + size > files->max_bytes) {
                atomic_fetch_sub(&files->bytes, size);
                return status_new(ERR_RESOURCE,
                                  "What the query sorts or groups does not fit into its memory, and temporary files "
                                  "would take more than the %" PRIu64 " bytes that they may have (`--spill-max`) in "
                                  "`%s`. " ADVICE " or `--spill-max`.",
                                  files->max_bytes, os_dir_path(files->dir));
        }
        file->bytes += size;
        atomic_fetch_add(&files->bytes_total, size);
        Status st = os_file_write_at(file->file, file->bytes - size, data, size);
        return st ? spill_error(files, "write", st) : ST_OK;
}

static Status file_read_at(SpillFile *file, uint64_t offset, void *out, size_t size)
{
        size_t got;
        Status st = os_file_read_at(file->file, offset, out, size, &got);
        if (!st && got < size)
                st = status_new(ERR_CORRUPT, "it ends at byte %" PRIu64 " and not behind %" PRIu64, offset + got,
                                offset + size);
        return st ? spill_error(file->files, "read", st) : ST_OK;
}

static void file_close(SpillFile *file)
{
        os_file_close(file->file);
        atomic_fetch_sub(&file->files->bytes, file->bytes);
        atomic_fetch_sub(&file->files->files, 1);
        mem_free(file);
}

/* --- the directory --- */

typedef struct LeftName {
        char text[64]; /* "": none */
} LeftName;

static Status note_left(void *ctx, const char *name)
{
        LeftName *left = ctx;
        if (strncmp(name, "spill-", 6) == 0 && strlen(name) < sizeof left->text)
                strcpy(left->text, name);
        return ST_OK;
}

/* There is one at most for each query that was just making a file. */
static Status remove_left(OsDir *dir)
{
        for (;;) {
                LeftName left = {""};
                TRY(os_dir_list(dir, note_left, &left));
                if (!*left.text)
                        return ST_OK;
                TRY(os_dir_remove(dir, left.text));
        }
}

static Status open_dir(Os *os, const char *data_dir, OsDir **ret_dir)
{
        _cleanup_(os_dir_closep) OsDir *data = NULL;
        TRY(os_dir_open(os, data_dir, OS_DIR_EXISTING, &data));
        return os_dir_open_sub(data, SPILL_DIR, OS_DIR_CREATE, ret_dir);
}

Status spill_files_open(Os *os, const char *data_dir, uint64_t max_bytes, SpillFiles **ret_files)
{
        SpillFiles *files = mem_zalloc(sizeof *files);
        if (!files)
                return status_nomem();
        uint64_t free_bytes = 0;
        Status st = open_dir(os, data_dir, &files->dir);
        if (!st)
                st = remove_left(files->dir);
        if (!st && max_bytes == 0)
                st = os_dir_free_bytes(files->dir, &free_bytes);
        if (st) {
                spill_files_close(files);
                return status_context(st, "preparing the directory for temporary files, %s/%s", data_dir, SPILL_DIR);
        }
        files->max_bytes = max_bytes ? max_bytes : free_bytes / 2;
        files->ops = (SpillOps){.ctx = files,
                                .create = file_create,
                                .append = file_append,
                                .read_at = file_read_at,
                                .close = file_close};
        *ret_files = files;
        return ST_OK;
}

SpillFiles *spill_files_close(SpillFiles *files)
{
        if (files) {
                os_dir_close(files->dir);
                mem_free(files);
        }
        return NULL;
}

const SpillOps *spill_files_ops(const SpillFiles *files)
{
        return &files->ops;
}

void spill_files_stats(const SpillFiles *files, SpillFilesStats *stats)
{
        *stats = (SpillFilesStats){.files = atomic_load(&files->files),
                                   .bytes = atomic_load(&files->bytes),
                                   .files_total = atomic_load(&files->files_total),
                                   .bytes_total = atomic_load(&files->bytes_total),
                                   .max_bytes = files->max_bytes};
}
