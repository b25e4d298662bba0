/* os.c - the part of os.h that is the same for every body: argument checks, dispatch, whole-file helpers. */
#include "os/os_int.h"

#include <assert.h>
#include <inttypes.h>
#include <sys/mman.h>

#include "base/mem.h"

enum { MAX_NAME_BYTES = 255 };

void os_memory_huge(void *memory, size_t bytes)
{
        (void)madvise(memory, bytes, MADV_HUGEPAGE); /* it works without */
}

char *os_path_join(const char *dir, const char *name)
{
        size_t dir_size = strlen(dir), name_size = strlen(name);
        bool slash = dir_size > 0 && dir[dir_size - 1] != '/';
        char *path = mem_alloc(dir_size + slash + name_size + 1);
        if (!path)
                return NULL;
        memcpy(path, dir, dir_size);
        if (slash)
                path[dir_size] = '/';
        memcpy(path + dir_size + slash, name, name_size + 1);
        return path;
}

Status os_dir_init(OsDir *dir, Os *os, const char *path)
{
        dir->os = os;
        dir->path = mem_strdup(path);
        if (!dir->path)
                return status_nomem();
        for (size_t size = strlen(path); size > 1 && dir->path[size - 1] == '/'; size--)
                dir->path[size - 1] = '\0';
        return ST_OK;
}

void os_dir_done(OsDir *dir)
{
        mem_free(dir->path);
        dir->path = NULL;
}

Status os_file_init(OsFile *file, OsDir *dir, const char *name, int flags)
{
        file->os = dir->os;
        file->flags = flags;
        file->sync_failed = false;
        file->path = os_path_join(dir->path, name);
        return file->path ? ST_OK : status_nomem();
}

void os_file_done(OsFile *file)
{
        mem_free(file->path);
        file->path = NULL;
}

static Status check_name(const OsDir *dir, const char *name)
{
        size_t size = strlen(name);
        if (size == 0 || size > MAX_NAME_BYTES || strchr(name, '/') || strcmp(name, ".") == 0 ||
            strcmp(name, "..") == 0)
                return status_new(ERR_INVALID, "\"%.300s\" is not a file name (in %s)", name, dir->path);
        return ST_OK;
}

/* Offsets are signed in every system's calls. */
static Status check_range(const OsFile *file, uint64_t offset, uint64_t size)
{
        if (offset > INT64_MAX || size > (uint64_t)INT64_MAX - offset)
                return status_new(ERR_INVALID, "%s: offset %" PRIu64 " and size %" PRIu64 " are out of range",
                                  file->path, offset, size);
        return ST_OK;
}

int64_t os_wall_us(Os *os)
{
        return os->ops->wall_us(os);
}

int64_t os_mono_ns(Os *os)
{
        return os->ops->mono_ns(os);
}

Status os_random(Os *os, void *out, size_t size)
{
        return os->ops->random(os, out, size);
}

Status os_dir_open(Os *os, const char *path, OsDirMode mode, OsDir **ret_dir)
{
        if (!path[0])
                return status_new(ERR_INVALID, "the path of a directory is empty");
        return os->ops->dir_open(os, path, mode, ret_dir);
}

Status os_dir_open_sub(OsDir *dir, const char *name, OsDirMode mode, OsDir **ret_dir)
{
        TRY(check_name(dir, name));
        return dir->os->ops->dir_open_sub(dir, name, mode, ret_dir);
}

OsDir *os_dir_close(OsDir *dir)
{
        if (dir)
                dir->os->ops->dir_close(dir);
        return NULL;
}

const char *os_dir_path(const OsDir *dir)
{
        return dir->path;
}

Os *os_dir_os(const OsDir *dir)
{
        return dir->os;
}

Status os_dir_sync(OsDir *dir)
{
        return dir->os->ops->dir_sync(dir);
}

Status os_dir_rename(OsDir *dir, const char *from, const char *to)
{
        TRY(check_name(dir, from));
        TRY(check_name(dir, to));
        return dir->os->ops->dir_rename(dir, from, to);
}

Status os_dir_remove(OsDir *dir, const char *name)
{
        TRY(check_name(dir, name));
        return dir->os->ops->dir_remove(dir, name);
}

Status os_dir_list(OsDir *dir, Status (*each)(void *ctx, const char *name), void *ctx)
{
        return dir->os->ops->dir_list(dir, each, ctx);
}

Status os_dir_lock(OsDir *dir, const char *name)
{
        TRY(check_name(dir, name));
        return dir->os->ops->dir_lock(dir, name);
}

Status os_dir_lock_existing(OsDir *dir, const char *name, bool *ret_locked)
{
        TRY(check_name(dir, name));
        return dir->os->ops->dir_lock_existing(dir, name, ret_locked);
}

Status os_dir_free_bytes(OsDir *dir, uint64_t *ret_bytes)
{
        return dir->os->ops->dir_free_bytes(dir, ret_bytes);
}

Status os_file_open(OsDir *dir, const char *name, int flags, OsFile **ret_file)
{
        TRY(check_name(dir, name));
        if (!(flags & (OS_READ | OS_WRITE)) || ((flags & (OS_CREATE | OS_TRUNCATE)) && !(flags & OS_WRITE)))
                return status_new(ERR_INVALID, "%s/%s: flags %d make no sense", dir->path, name, flags);
        return dir->os->ops->file_open(dir, name, flags, ret_file);
}

OsFile *os_file_close(OsFile *file)
{
        if (file)
                file->os->ops->file_close(file);
        return NULL;
}

Status os_file_read_at(OsFile *file, uint64_t offset, void *out, size_t size, size_t *ret_size)
{
        TRY(check_range(file, offset, size));
        return file->os->ops->file_read_at(file, offset, out, size, ret_size);
}

Status os_file_write_at(OsFile *file, uint64_t offset, const void *data, size_t size)
{
        TRY(check_range(file, offset, size));
        return size ? file->os->ops->file_write_at(file, offset, data, size) : ST_OK;
}

Status os_file_sync(OsFile *file)
{
        /* The kernel reports a failed write-back once and then calls the pages clean: a second fdatasync would succeed
         * although the data is gone. */
        if (file->sync_failed)
                return status_new(ERR_IO,
                                  "%s: an earlier sync failed; what was written since the last good one may be lost",
                                  file->path);
        Status st = file->os->ops->file_sync(file);
        if (st)
                file->sync_failed = true;
        return st;
}

Status os_file_truncate(OsFile *file, uint64_t size)
{
        TRY(check_range(file, size, 0));
        return file->os->ops->file_truncate(file, size);
}

Status os_file_size(OsFile *file, uint64_t *ret_size)
{
        return file->os->ops->file_size(file, ret_size);
}

Status os_read_whole(OsDir *dir, const char *name, size_t max_bytes, Buf *buf)
{
        _cleanup_(os_file_closep) OsFile *file = NULL;
        uint64_t file_bytes;
        TRY(os_file_open(dir, name, OS_READ, &file));
        TRY(os_file_size(file, &file_bytes));
        if (file_bytes > max_bytes)
                return status_new(ERR_LIMIT, "%s has %" PRIu64 " bytes, at most %zu are expected", file->path,
                                  file_bytes, max_bytes);
        TRY(buf_reserve(buf, file_bytes));
        if (file_bytes == 0)
                return ST_OK;
        size_t got;
        TRY(os_file_read_at(file, 0, buf->data + buf->size, file_bytes, &got));
        buf->size += got;
        return ST_OK;
}

static Status write_synced(OsDir *dir, const char *name, const void *data, size_t size)
{
        _cleanup_(os_file_closep) OsFile *file = NULL;
        TRY(os_file_open(dir, name, OS_WRITE | OS_CREATE | OS_TRUNCATE, &file));
        TRY(os_file_write_at(file, 0, data, size));
        return os_file_sync(file);
}

Status os_write_whole(OsDir *dir, const char *name, const void *data, size_t size)
{
        char temporary[MAX_NAME_BYTES + 1];
        size_t name_size = strlen(name);
        if (name_size > MAX_NAME_BYTES - 4)
                return status_new(ERR_INVALID, "\"%.300s\" is too long a file name (in %s)", name, dir->path);
        memcpy(temporary, name, name_size);
        memcpy(temporary + name_size, ".tmp", 5);
        Status st = write_synced(dir, temporary, data, size);
        if (!st)
                st = os_dir_rename(dir, temporary, name);
        if (st) {
                status_ignore(os_dir_remove(dir, temporary)); /* only tidiness: the next write truncates it */
                return st;
        }
        return os_dir_sync(dir);
}
