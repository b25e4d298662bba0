/* backup.c - a copy of all tables as of one moment, taken while they are read and written.
 *
 *      BACKUP, empty  ->  checkpoint at P, kept whole  ->  snapshot-P copied  ->  engines' files  ->  VERSION
 *      ->  BACKUP says that all is there
 *
 * The power may go after any step: a directory whose BACKUP is empty is refused by whoever opens it. */
#include "storage/backup_int.h"

#include <inttypes.h>
#include <stdio.h>

#include "storage/store_int.h"

static Status copy_snapshot(const CheckpointBackup *backup, Target *target, const StoreProgress *progress,
                            BackupInfo *info)
{
        uint64_t hash;
        CopyProgress copy = {.progress = progress, .what = "tables in memory", .total_bytes = backup->snapshot_bytes};
        if (!backup->snapshot)
                return ST_OK;
        TRY(file_copy(backup->snapshot, backup->snapshot_name, backup->snapshot_bytes, target->dir,
                      backup->snapshot_name, &copy, &hash));
        return backup_info_add(info, backup->snapshot_name, backup->snapshot_bytes, &hash);
}

static Status engine_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
        const CopyProgress *copy = ctx;
        return progress_report(copy->progress, copy->what, done_bytes, total_bytes);
}

typedef struct EngineFiles {
        OsDir *dir;
        BackupInfo *info;
} EngineFiles;

/* Whatever an engine made. */
static Status note_engine_file(void *ctx, const char *name)
{
        EngineFiles *files = ctx;
        _cleanup_(os_file_closep) OsFile *file = NULL;
        uint64_t bytes;
        if (strcmp(name, BACKUP_NAME) == 0 || strcmp(name, "lost+found") == 0)
                return ST_OK;
        for (size_t i = 0; i < files->info->file_count; i++)
                if (strcmp(name, files->info->files[i].name) == 0)
                        return ST_OK;
        TRY(os_file_open(files->dir, name, OS_READ, &file));
        TRY(os_file_size(file, &bytes));
        return backup_info_add(files->info, name, bytes, NULL);
}

static Status copy_engines(const CheckpointBackup *backup, Target *target, const StoreProgress *progress,
                           BackupInfo *info)
{
        EngineFiles files = {.dir = target->dir, .info = info};
        for (size_t i = 0; i < backup->engine_count; i++) {
                CopyProgress copy = {.progress = progress, .what = "tables in files"};
                TRY(backup->engines[i].ops->backup_copy(backup->engines[i].backup, target->dir, engine_progress,
                                                        &copy));
        }
        return os_dir_list(target->dir, note_engine_file, &files);
}

static Status copy_all(const CheckpointBackup *backup, Target *target, const StoreProgress *progress, BackupInfo *info)
{
        char version[32];
        uint64_t hash;
        TRY(copy_snapshot(backup, target, progress, info));
        TRY(copy_engines(backup, target, progress, info));
        snprintf(version, sizeof(version), "photondb %d\n", STORE_FORMAT_VERSION);
        TRY(file_write(target->dir, VERSION_NAME, version, &hash));
        TRY(backup_info_add(info, VERSION_NAME, strlen(version), &hash));
        TRY(progress_report(progress, "syncing", info->byte_count, info->byte_count));
        TRY(os_dir_sync(target->dir));
        return backup_info_write(target->dir, info);
}

/* Seen before an hour of copying: what the engines' files have in use is about what their copies have. */
static Status check_space(Store *store, const CheckpointBackup *backup, const Target *target)
{
        StoreStats stats;
        store_stats(store, &stats);
        return target_check_space(target,
                                  backup->snapshot_bytes + stats.engines.live_bytes + stats.engines.metadata_bytes,
                                  "the data has");
}

static Status backup_into(Store *store, Target *target, const StoreProgress *progress, BackupInfo *info)
{
        CheckpointBackup backup = {0};
        int64_t started_us = os_wall_us(store->os);
        TRY(progress_report(progress, "checkpoint", 0, 0));
        info->generation =
                wal_generation(store->wal); /* before: what is committed later is in this file or behind it */
        TRY(checkpoint_begin_backup(store, &backup));
        info->position = backup.position;
        info->wall_us = backup.wall_us ? backup.wall_us : started_us;
        Status st = check_space(store, &backup, target);
        if (!st)
                st = copy_all(&backup, target, progress, info);
        checkpoint_end_backup(&backup);
        return st;
}

Status store_backup(Store *store, const char *to, const StoreProgress *progress, StoreBackupResult *ret_result)
{
        Target target;
        BackupInfo info = {0};
        if (atomic_exchange(&store->backing_up, true))
                return status_hint(status_new(ERR_BUSY, "a backup is being made already"), "wait until it has ended");
        Status st = target_open(store->os, to, "backup", BACKUP_NAME, &target);
        if (!st) {
                st = backup_into(store, &target, progress, &info);
                if (st)
                        target_remove(&target);
                target_done(&target);
        }
        atomic_store(&store->backing_up, false);
        if (st)
                return status_context(st, "backing up to %s", to);
        *ret_result =
                (StoreBackupResult){.position = info.position, .byte_count = info.byte_count, .wall_us = info.wall_us};
        return ST_OK;
}
