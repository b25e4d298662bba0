/* os.h - the seam to everything that can fail: files, clock, randomness.
 *
 * Nothing outside os/ calls open, read, fsync, clock_gettime or getrandom. There are two bodies behind this header:
 * os_posix() is the machine; SimOs (os/sim.h) is a disk in memory that can fail the nth call, and at "power loss"
 * drops, tears or reorders what was not synced.
 *
 * Threads: an Os and OsDir may be used from any thread; an OsFile by one thread at a time, except that os_file_read_at
 * and os_file_sync may run beside anything but its end: what is written meanwhile may be synced or not. Names are
 * relative to their OsDir and contain no '/'. */
#ifndef OS_OS_H
#define OS_OS_H

#include "base/bytes.h"

typedef struct Os Os;
typedef struct OsDir OsDir;
typedef struct OsFile OsFile;

Os *os_posix(void); /* static; never freed */

/* --- clock and randomness --- */
int64_t os_wall_us(Os *os);                                /* microseconds since 1970, UTC */
int64_t os_mono_ns(Os *os);                                /* monotonic nanoseconds */
MUST_USE Status os_random(Os *os, void *out, size_t size); /* cryptographic */

/* --- memory --- */
/* Advice: this will be used all over, and is best backed by large pages. Only whole ones of 2 MiB count. */
void os_memory_huge(void *memory, size_t bytes);

/* --- directories --- */
typedef enum OsDirMode {
        OS_DIR_EXISTING, /* ERR_NOT_FOUND if absent */
        OS_DIR_CREATE,   /* made if absent (the last component only), its parent synced */
        OS_DIR_READ,     /* as OS_DIR_EXISTING, but need not be writable */
} OsDirMode;
/* ERR_NOT_FOUND, ERR_ACCESS (also when not writable), ERR_IO. The caller owns *ret_dir; `path` is copied. */
MUST_USE Status os_dir_open(Os *os, const char *path, OsDirMode mode, OsDir **ret_dir);
MUST_USE Status os_dir_open_sub(OsDir *dir, const char *name, OsDirMode mode, OsDir **ret_dir);
OsDir *os_dir_close(OsDir *dir);           /* NULL is fine; returns NULL */
const char *os_dir_path(const OsDir *dir); /* for messages; lives as long as dir */
Os *os_dir_os(const OsDir *dir);
/* Makes created, renamed and removed names durable. */
MUST_USE Status os_dir_sync(OsDir *dir);
MUST_USE Status os_dir_rename(OsDir *dir, const char *from, const char *to); /* replaces `to` atomically */
/* A file or an empty directory; ERR_NOT_FOUND. Open files stay readable and writable until closed. */
MUST_USE Status os_dir_remove(OsDir *dir, const char *name);
/* Calls `each` for every name but "." and ".."; stops at its first error and returns it. */
MUST_USE Status os_dir_list(OsDir *dir, Status (*each)(void *ctx, const char *name), void *ctx);
/* Takes an exclusive lock on file `name` (created if absent), held until the OsDir is closed or the process dies.
 * ERR_BUSY if another process holds it; the message names its pid when known. */
MUST_USE Status os_dir_lock(OsDir *dir, const char *name);
/* For someone who only reads: keeps out whoever wants os_dir_lock, and changes nothing on the disk. If there is no such
 * file, nobody has the lock: then *ret_locked is false, and nobody is kept out. ERR_BUSY as above. */
MUST_USE Status os_dir_lock_existing(OsDir *dir, const char *name, bool *ret_locked);
MUST_USE Status os_dir_free_bytes(OsDir *dir, uint64_t *ret_bytes);

/* --- files --- */
typedef enum OsOpenFlags {
        OS_READ = 1,
        OS_WRITE = 2,
        OS_CREATE = 4,    /* made if absent */
        OS_EXCLUSIVE = 8, /* with OS_CREATE: ERR_EXISTS if present */
        OS_TRUNCATE = 16,
} OsOpenFlags;
MUST_USE Status os_file_open(OsDir *dir, const char *name, int flags, OsFile **ret_file);
OsFile *os_file_close(OsFile *file); /* NULL is fine; returns NULL; does not sync */
/* Reads up to `size` bytes; *ret_size is less only at the end of the file. */
MUST_USE Status os_file_read_at(OsFile *file, uint64_t offset, void *out, size_t size, size_t *ret_size);
/* Writes all or fails; after a failure any prefix may have been written. */
MUST_USE Status os_file_write_at(OsFile *file, uint64_t offset, const void *data, size_t size);
/* Data and size are durable after this (fdatasync). After a failure, what was unsynced may be lost: do not retry on the
 * same file, write it anew elsewhere. */
MUST_USE Status os_file_sync(OsFile *file);
MUST_USE Status os_file_truncate(OsFile *file, uint64_t size);
MUST_USE Status os_file_size(OsFile *file, uint64_t *ret_size);

/* Reads a whole file of at most `max_bytes` into `buf` (appended). ERR_NOT_FOUND, ERR_LIMIT. */
MUST_USE Status os_read_whole(OsDir *dir, const char *name, size_t max_bytes, Buf *buf);
/* Writes name.tmp, syncs, renames, syncs the directory: after success the whole content is durable, after a crash it is
 * the old or the new. */
MUST_USE Status os_write_whole(OsDir *dir, const char *name, const void *data, size_t size);

static inline void os_dir_closep(OsDir **dir)
{
        *dir = os_dir_close(*dir);
}
static inline void os_file_closep(OsFile **file)
{
        *file = os_file_close(*file);
}

#endif
