/* os_int.h - what a body of os.h fills in; only os/ includes it. os.c checks arguments, then calls through here. */
#ifndef OS_OS_INT_H
#define OS_OS_INT_H

#include "os/os.h"

typedef struct OsOps {
        int64_t (*wall_us)(Os *os);
        int64_t (*mono_ns)(Os *os);
        Status (*random)(Os *os, void *out, size_t size);

        Status (*dir_open)(Os *os, const char *path, OsDirMode mode, OsDir **ret_dir);
        Status (*dir_open_sub)(OsDir *dir, const char *name, OsDirMode mode, OsDir **ret_dir);
        void (*dir_close)(OsDir *dir);
        Status (*dir_sync)(OsDir *dir);
        Status (*dir_rename)(OsDir *dir, const char *from, const char *to);
        Status (*dir_remove)(OsDir *dir, const char *name);
        Status (*dir_list)(OsDir *dir, Status (*each)(void *ctx, const char *name), void *ctx);
        Status (*dir_lock)(OsDir *dir, const char *name);
        Status (*dir_lock_existing)(OsDir *dir, const char *name, bool *ret_locked);
        Status (*dir_free_bytes)(OsDir *dir, uint64_t *ret_bytes);

        Status (*file_open)(OsDir *dir, const char *name, int flags, OsFile **ret_file);
        void (*file_close)(OsFile *file);
        Status (*file_read_at)(OsFile *file, uint64_t offset, void *out, size_t size, size_t *ret_size);
        Status (*file_write_at)(OsFile *file, uint64_t offset, const void *data, size_t size);
        Status (*file_sync)(OsFile *file);
        Status (*file_truncate)(OsFile *file, uint64_t size);
        Status (*file_size)(OsFile *file, uint64_t *ret_size);
} OsOps;

/* Each body's struct begins with one of these. */
struct Os {
        const OsOps *ops;
};
struct OsDir {
        Os *os;
        char *path; /* from mem_alloc; freed by os_dir_done */
};
struct OsFile {
        Os *os;
        char *path;       /* for messages */
        int flags;        /* OsOpenFlags */
        bool sync_failed; /* os I4: set by os.c, and then no later sync succeeds */
};

/* Fills the common part. `path` is copied, with the '/' at its end removed. */
MUST_USE Status os_dir_init(OsDir *dir, Os *os, const char *path);
void os_dir_done(OsDir *dir);
MUST_USE Status os_file_init(OsFile *file, OsDir *dir, const char *name, int flags);
void os_file_done(OsFile *file);
/* "dir/name", from mem_alloc; NULL when out of memory. */
char *os_path_join(const char *dir, const char *name);

#endif
