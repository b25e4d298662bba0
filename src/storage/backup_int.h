/* backup_int.h - what backup.c and restore.c share: the file BACKUP, directories that are filled from nothing, and
 * copying. Threads: each object belongs to one.
 *
 * BACKUP is text, and empty until the backup is whole:
 *      photondb-backup 1                       the format
 *      position 253                            of the newest commit that is in it
 *      time 2026-11-21T11:58:51.379358Z        of that commit; of the backup if there was none
 *      bytes 3022971                           of all files below
 *      generation 7                            the number of the newest log file then: later commits are in it or later
 * ones by photondb 0.1.0 file snapshot-00000000000000000253 112 275b37baab43c961 file pages 3022848 name, bytes, copy
 * hash; none for engines' files, whose pages have their own file VERSION 11 57fc3c340b6db0bc checksum 144817512cd9415c
 * XXH3 of all lines before Lines of an unknown kind are passed over. The copy hash is XXH3 of each MiB, seeded with
 * that of the one before. */
#ifndef STORAGE_BACKUP_INT_H
#define STORAGE_BACKUP_INT_H

#include "storage/store.h"

#define BACKUP_NAME      "BACKUP"
#define RESTORE_NAME     "RESTORE"
#define VERSION_NAME     "VERSION"
#define BACKUP_VERSION   1
#define BACKUP_MAX_FILES 64
#define BACKUP_MAX_BYTES ((size_t)64 << 10)
#define BACKUP_NAME_MAX  128

typedef struct BackupFile {
        char name[BACKUP_NAME_MAX];
        uint64_t byte_count;
        uint64_t hash; /* copy_hash of its bytes */
        bool has_hash; /* false: of an engine, whose pages have their own */
} BackupFile;
/* What BACKUP says. */
typedef struct BackupInfo {
        bool complete; /* set by reading; false: the backup is being made, or was given up half-way */
        uint64_t position, byte_count, generation;
        int64_t wall_us;
        BackupFile files[BACKUP_MAX_FILES];
        size_t file_count;
} BackupInfo;

/* Replaces BACKUP in `dir`: whole and durable, or as it was. */
MUST_USE Status backup_info_write(OsDir *dir, const BackupInfo *info);
/* ERR_NOT_FOUND: no backup; ERR_CORRUPT, ERR_VERSION. An incomplete one is read, too. */
MUST_USE Status backup_info_read(OsDir *dir, BackupInfo *ret_info);
/* ERR_LIMIT when there are too many. */
MUST_USE Status backup_info_add(BackupInfo *info, const char *name, uint64_t byte_count, const uint64_t *hash);

/* A directory that is new or empty and gets filled. `marker` is made first and says that it is not whole yet. */
typedef struct Target {
        Os *os;
        const char *path, *marker; /* borrowed */
        OsDir *dir;
        bool made; /* the directory itself, too */
} Target;
/* `what` it is to become, for messages. ERR_EXISTS: it has files. */
MUST_USE Status target_open(Os *os, const char *path, const char *what, const char *marker, Target *ret_target);
/* ERR_NO_SPACE when so many bytes do not fit on its device; `what` needs them, for the message. */
MUST_USE Status target_check_space(const Target *target, uint64_t needed_bytes, const char *what);
/* Removes all that is in it, the marker last, and the directory if target_open made it. Best effort. */
void target_remove(Target *target);
void target_done(Target *target); /* a zeroed one is fine */

/* Progress of one thing of many. */
typedef struct CopyProgress {
        const StoreProgress *progress; /* NULL is fine */
        const char *what;
        uint64_t done_bytes, total_bytes;
} CopyProgress;
MUST_USE Status progress_report(const StoreProgress *progress, const char *what, uint64_t done, uint64_t total);
/* Copies a file from its beginning to `byte_count` (it may have grown meanwhile) into the new file `name` of `to`, and
 * syncs it. Adds to copy->done_bytes. `ret_hash` may be NULL. ERR_CORRUPT: it is shorter. */
MUST_USE Status file_copy(OsFile *from, const char *from_path, uint64_t byte_count, OsDir *to, const char *name,
                          CopyProgress *copy, uint64_t *ret_hash);
/* The same for a small text. */
MUST_USE Status file_write(OsDir *to, const char *name, const char *text, uint64_t *ret_hash);

#endif
