/* posix.c - the machine: os.h over POSIX calls. The only file of the project that touches a real disk. */
#if defined(__linux__)
#define _GNU_SOURCE
#endif
#include "os/os_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/random.h>
#endif

#include "base/mem.h"
#include "os/thread.h"

/* A single transfer is at most this long: some systems refuse 2 GiB and more. */
enum { MAX_TRANSFER_BYTES = 1 << 30, DIR_PERMISSIONS = 0750, FILE_PERMISSIONS = 0640 };

typedef struct Lock Lock;
struct Lock {
        Lock *next;
        int fd;
};

typedef struct PosixDir {
        OsDir base;
        int fd;
        Mutex mu;
        Lock *locks; /* GUARDED_BY(mu); released by close */
} PosixDir;

typedef struct PosixFile {
        OsFile base;
        int fd;
} PosixFile;

/* --- clock and randomness --- */
static int64_t posix_wall_us(Os *os)
{
        struct timespec t;
        clock_gettime(CLOCK_REALTIME, &t);
        return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int64_t posix_mono_ns(Os *os)
{
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static Status posix_random(Os *os, void *out, size_t size)
{
#if defined(__linux__)
        for (uint8_t *p = out; size > 0;) {
                ssize_t n = getrandom(p, size, 0);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return status_errno(errno, "reading random bytes");
                p += n;
                size -= (size_t)n;
        }
#else
        arc4random_buf(out, size);
#endif
        return ST_OK;
}

/* --- directories --- */
static int open_retrying(int at, const char *path, int flags, int mode)
{
        int fd;
        do
                fd = openat(at, path, flags | O_CLOEXEC, mode);
        while (fd < 0 && errno == EINTR);
        return fd;
}

static int sync_fd(int fd, bool data_only)
{
        int rc;
        do {
#if defined(__APPLE__)
                rc = fcntl(fd, F_FULLFSYNC); /* fsync there leaves the data in the drive's cache */
#else
                rc = data_only ? fdatasync(fd) : fsync(fd);
#endif
        } while (rc < 0 && errno == EINTR);
        return rc;
}

static void posix_dir_close(OsDir *base)
{
        PosixDir *dir = (PosixDir *)base;
        for (Lock *lock = dir->locks, *next; lock; lock = next) {
                next = lock->next;
                close(lock->fd);
                mem_free(lock);
        }
        if (dir->fd >= 0)
                close(dir->fd);
        mutex_done(&dir->mu);
        os_dir_done(base);
        mem_free(dir);
}

/* `path` is for messages, `name` relative to `at`. */
static Status open_dir(Os *os, int at, const char *name, const char *path, OsDirMode mode, OsDir **ret_dir)
{
        _cleanup_(os_dir_closep) OsDir *base = NULL;
        PosixDir *dir = mem_zalloc(sizeof *dir);
        if (!dir)
                return status_nomem();
        dir->fd = -1;
        mutex_init(&dir->mu);
        base = &dir->base;
        base->os = os;
        TRY(os_dir_init(base, os, path));
        dir->fd = open_retrying(at, name, O_RDONLY | O_DIRECTORY, 0);
        if (dir->fd < 0)
                return status_errno(errno, "cannot open directory %s", base->path);
        /* access(2) knows of read-only file systems and ACLs; a look at the mode bits would not. */
        if (mode != OS_DIR_READ && faccessat(dir->fd, ".", W_OK | X_OK, AT_EACCESS) < 0)
                return status_errno(errno, "directory %s is not writable", base->path);
        *ret_dir = take(base);
        return ST_OK;
}

/* Makes the directory if absent and its name durable. The parent is synced even if the directory was there already: an
 * earlier process may have made it and died before its own sync, and everything acknowledged inside would go with it.
 */
static Status make_dir(int at, const char *name, const char *path, int parent_fd, const char *parent)
{
        bool made = mkdirat(at, name, DIR_PERMISSIONS) == 0;
        if (!made && errno != EEXIST) {
                int err = errno;
                Status st = status_errno(err, "cannot create directory %s", path);
                return err == ENOENT ? status_hint(st, "create %s first", parent) : st;
        }
        int fd = parent_fd >= 0 ? parent_fd : open_retrying(AT_FDCWD, parent, O_RDONLY | O_DIRECTORY, 0);
        if (fd < 0)
                /* A parent that may be searched but not read cannot be synced. Nothing to do about it if the directory
                 * was not made by us. */
                return made ? status_errno(errno, "cannot open directory %s to sync it", parent) : ST_OK;
        Status st = ST_OK;
        if (sync_fd(fd, false) < 0 && (made || errno == EIO))
                st = status_errno(errno, "cannot sync directory %s", parent);
        if (fd != parent_fd)
                close(fd);
        return st;
}

static Status posix_dir_open(Os *os, const char *path, OsDirMode mode, OsDir **ret_dir)
{
        if (mode == OS_DIR_CREATE) {
                _cleanup_(mem_freep) char *parent = mem_strdup(path);
                if (!parent)
                        return status_nomem();
                size_t size = strlen(parent);
                while (size > 1 && parent[size - 1] == '/')
                        size--;
                while (size > 0 && parent[size - 1] != '/')
                        size--;
                while (size > 1 && parent[size - 1] == '/')
                        size--;
                parent[size] = '\0';
                TRY(make_dir(AT_FDCWD, path, path, -1, size ? parent : "."));
        }
        return open_dir(os, AT_FDCWD, path, path, mode, ret_dir);
}

static Status posix_dir_open_sub(OsDir *base, const char *name, OsDirMode mode, OsDir **ret_dir)
{
        PosixDir *dir = (PosixDir *)base;
        _cleanup_(mem_freep) char *path = os_path_join(base->path, name);
        if (!path)
                return status_nomem();
        if (mode == OS_DIR_CREATE)
                TRY(make_dir(dir->fd, name, path, dir->fd, base->path));
        return open_dir(base->os, dir->fd, name, path, mode, ret_dir);
}

static Status posix_dir_sync(OsDir *base)
{
        if (sync_fd(((PosixDir *)base)->fd, false) < 0)
                return status_errno(errno, "cannot sync directory %s", base->path);
        return ST_OK;
}

static Status posix_dir_rename(OsDir *base, const char *from, const char *to)
{
        int fd = ((PosixDir *)base)->fd;
        if (renameat(fd, from, fd, to) < 0)
                return status_errno(errno, "cannot rename %s/%s to %s", base->path, from, to);
        return ST_OK;
}

static Status posix_dir_remove(OsDir *base, const char *name)
{
        int fd = ((PosixDir *)base)->fd;
        int rc = unlinkat(fd, name, 0);
        if (rc < 0 && (errno == EISDIR || errno == EPERM)) { /* Linux says EISDIR of a directory, POSIX EPERM */
                struct stat info;
                int err = errno;
                if (fstatat(fd, name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(info.st_mode))
                        rc = unlinkat(fd, name, AT_REMOVEDIR);
                else
                        errno = err;
        }
        if (rc < 0)
                return status_errno(errno, "cannot remove %s/%s", base->path, name);
        return ST_OK;
}

static Status posix_dir_list(OsDir *base, Status (*each)(void *ctx, const char *name), void *ctx)
{
        /* A descriptor of its own: the read position of dir->fd would be shared with another lister. */
        int fd = open_retrying(((PosixDir *)base)->fd, ".", O_RDONLY | O_DIRECTORY, 0);
        DIR *stream = fd < 0 ? NULL : fdopendir(fd);
        if (!stream) {
                Status st = status_errno(errno, "cannot list directory %s", base->path);
                if (fd >= 0)
                        close(fd);
                return st;
        }
        Status st = ST_OK;
        while (!st) {
                errno = 0;
                struct dirent *entry = readdir(stream);
                if (!entry) {
                        if (errno)
                                st = status_errno(errno, "cannot list directory %s", base->path);
                        break;
                }
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
                        st = each(ctx, entry->d_name);
        }
        closedir(stream);
        return st;
}

/* The number in a lock file, or 0. It is the one of the last process that took the lock to write, which need not be the
 * one that has it now. */
static long read_pid(int fd)
{
        char text[32];
        ssize_t n = pread(fd, text, sizeof text - 1, 0);
        if (n <= 0)
                return 0;
        text[n] = '\0';
        return strtol(text, NULL, 10);
}

/* flock belongs to the open file, not to the process: a second OsDir of this process is kept out as well, closing some
 * other descriptor of the file does not release it, and the kernel releases it when the process dies in any way. Takes
 * `fd` over. */
static Status lock_fd(PosixDir *dir, const char *name, int fd, int how)
{
        int rc;
        Lock *lock = mem_alloc(sizeof *lock);
        if (!lock) {
                close(fd);
                return status_nomem();
        }
        do
                rc = flock(fd, how | LOCK_NB);
        while (rc < 0 && errno == EINTR);
        if (rc < 0) {
                Status st;
                long pid;
                if (errno != EWOULDBLOCK)
                        st = status_errno(errno, "cannot lock %s/%s", dir->base.path, name);
                else if ((pid = read_pid(fd)) > 0 && (kill((pid_t)pid, 0) == 0 || errno == EPERM))
                        st = status_new(ERR_BUSY, "directory %s is in use by process %ld", dir->base.path, pid);
                else
                        st = status_new(ERR_BUSY, "directory %s is in use by another process", dir->base.path);
                close(fd);
                mem_free(lock);
                return st;
        }
        lock->fd = fd;
        mutex_lock(&dir->mu);
        lock->next = dir->locks;
        dir->locks = lock;
        mutex_unlock(&dir->mu);
        return ST_OK;
}

static Status posix_dir_lock(OsDir *base, const char *name)
{
        PosixDir *dir = (PosixDir *)base;
        int fd = open_retrying(dir->fd, name, O_RDWR | O_CREAT | O_NONBLOCK, FILE_PERMISSIONS);
        if (fd < 0)
                return status_errno(errno, "cannot open the lock file %s/%s", base->path, name);
        TRY(lock_fd(dir, name, fd, LOCK_EX));
        /* The pid only makes the other's message better: a full disk is no reason not to start. */
        char text[32];
        int length = snprintf(text, sizeof text, "%ld\n", (long)getpid());
        if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)length, 0) != length)
                errno = 0;
        return ST_OK;
}

/* LOCK_SH, because some file systems want a writable descriptor for LOCK_EX. */
static Status posix_dir_lock_existing(OsDir *base, const char *name, bool *ret_locked)
{
        PosixDir *dir = (PosixDir *)base;
        int fd = open_retrying(dir->fd, name, O_RDONLY | O_NONBLOCK, 0);
        *ret_locked = false;
        if (fd < 0)
                return errno == ENOENT ? ST_OK
                                       : status_errno(errno, "cannot open the lock file %s/%s", base->path, name);
        TRY(lock_fd(dir, name, fd, LOCK_SH));
        *ret_locked = true;
        return ST_OK;
}

static Status posix_dir_free_bytes(OsDir *base, uint64_t *ret_bytes)
{
        struct statvfs info;
        int rc;
        do
                rc = fstatvfs(((PosixDir *)base)->fd, &info);
        while (rc < 0 && errno == EINTR);
        if (rc < 0)
                return status_errno(errno, "cannot ask for the free space of %s", base->path);
        *ret_bytes = (uint64_t)info.f_bavail * info.f_frsize;
        return ST_OK;
}

/* --- files --- */
static void posix_file_close(OsFile *base)
{
        PosixFile *file = (PosixFile *)base;
        if (file->fd >= 0)
                close(file->fd);
        os_file_done(base);
        mem_free(file);
}

static Status posix_file_open(OsDir *dir, const char *name, int flags, OsFile **ret_file)
{
        _cleanup_(os_file_closep) OsFile *base = NULL;
        PosixFile *file = mem_zalloc(sizeof *file);
        if (!file)
                return status_nomem();
        file->fd = -1;
        base = &file->base;
        base->os = dir->os;
        TRY(os_file_init(base, dir, name, flags));
        /* O_NONBLOCK: opening a FIFO somebody put there must not hang; it means nothing for regular files. */
        int system_flags = O_NONBLOCK;
        system_flags |= (flags & OS_WRITE) ? ((flags & OS_READ) ? O_RDWR : O_WRONLY) : O_RDONLY;
        system_flags |= (flags & OS_CREATE) ? O_CREAT : 0;
        system_flags |= (flags & OS_EXCLUSIVE) ? O_EXCL : 0;
        system_flags |= (flags & OS_TRUNCATE) ? O_TRUNC : 0;
        file->fd = open_retrying(((PosixDir *)dir)->fd, name, system_flags, FILE_PERMISSIONS);
        if (file->fd < 0 && errno == EISDIR)
                return status_new(ERR_INVALID, "%s is not a regular file", base->path);
        if (file->fd < 0)
                return status_errno(errno, "cannot open %s", base->path);
        struct stat info;
        if (fstat(file->fd, &info) < 0)
                return status_errno(errno, "cannot look at %s", base->path);
        if (!S_ISREG(info.st_mode))
                return status_new(ERR_INVALID, "%s is not a regular file", base->path);
        *ret_file = take(base);
        return ST_OK;
}

static Status posix_file_read_at(OsFile *base, uint64_t offset, void *out, size_t size, size_t *ret_size)
{
        size_t done = 0;
        while (done < size) {
                ssize_t n = pread(((PosixFile *)base)->fd, (char *)out + done,
                                  MIN(size - done, (size_t)MAX_TRANSFER_BYTES), (off_t)(offset + done));
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return status_errno(errno, "cannot read %zu bytes at %" PRIu64 " of %s", size, offset,
                                            base->path);
                if (n == 0)
                        break;
                done += (size_t)n;
        }
        *ret_size = done;
        return ST_OK;
}

static Status posix_file_write_at(OsFile *base, uint64_t offset, const void *data, size_t size)
{
        size_t done = 0;
        while (done < size) {
                ssize_t n = pwrite(((PosixFile *)base)->fd, (const char *)data + done,
                                   MIN(size - done, (size_t)MAX_TRANSFER_BYTES), (off_t)(offset + done));
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0) /* a file never takes 0 bytes of more; should one do, do not spin */
                        return status_errno(n < 0 ? errno : EIO, "cannot write %zu bytes at %" PRIu64 " of %s", size,
                                            offset, base->path);
                done += (size_t)n;
        }
        return ST_OK;
}

static Status posix_file_sync(OsFile *base)
{
        if (sync_fd(((PosixFile *)base)->fd, true) < 0)
                return status_errno(errno, "cannot sync %s", base->path);
        return ST_OK;
}

static Status posix_file_truncate(OsFile *base, uint64_t size)
{
        int rc;
        do
                rc = ftruncate(((PosixFile *)base)->fd, (off_t)size);
        while (rc < 0 && errno == EINTR);
        if (rc < 0)
                return status_errno(errno, "cannot set the size of %s to %" PRIu64, base->path, size);
        return ST_OK;
}

static Status posix_file_size(OsFile *base, uint64_t *ret_size)
{
        struct stat info;
        if (fstat(((PosixFile *)base)->fd, &info) < 0)
                return status_errno(errno, "cannot look at %s", base->path);
        *ret_size = (uint64_t)info.st_size;
        return ST_OK;
}

Os *os_posix(void)
{
        static const OsOps ops = {
                .wall_us = posix_wall_us,
                .mono_ns = posix_mono_ns,
                .random = posix_random,
                .dir_open = posix_dir_open,
                .dir_open_sub = posix_dir_open_sub,
                .dir_close = posix_dir_close,
                .dir_sync = posix_dir_sync,
                .dir_rename = posix_dir_rename,
                .dir_remove = posix_dir_remove,
                .dir_list = posix_dir_list,
                .dir_lock = posix_dir_lock,
                .dir_lock_existing = posix_dir_lock_existing,
                .dir_free_bytes = posix_dir_free_bytes,
                .file_open = posix_file_open,
                .file_close = posix_file_close,
                .file_read_at = posix_file_read_at,
                .file_write_at = posix_file_write_at,
                .file_sync = posix_file_sync,
                .file_truncate = posix_file_truncate,
                .file_size = posix_file_size,
        };
        static Os os = {.ops = &ops};
        return &os;
}
