/* restore.c - a data directory from a backup, and up to any later moment from the log files behind it.
 *
 *      RESTORE, empty  ->  files of the backup  ->  log files that hold what came after  ->  VERSION
 *      ->  with logs: the store is opened up to the moment, makes a checkpoint there, is closed  ->  RESTORE removed
 *
 * The power may go after any step: a directory with RESTORE is refused by whoever opens it. */
#include "storage/backup_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "storage/store_int.h"

/* The replay's: it is the only one who uses the machine's memory for this directory, so modest will do. */
#define RESTORE_CACHE_BYTES ((size_t)256 << 20)
/* A restored store begins a history of its own with the same positions. So that it can be told from the one that it
 * left, in one archive too, the numbers of its log files go on from the time of the restore in microseconds: far above
 * all before. No server makes so many files while one backup begins. */
#define HISTORY_GAP         UINT64_C(1000000)

/* --- log files --- */

typedef struct LogFile {
        char name[BACKUP_NAME_MAX];
        uint64_t first, generation, byte_count;
        size_t dir;
        uint8_t header[64]; /* with its salt: tells files of one name apart */
} LogFile;

typedef struct Restore {
        const StoreRestore *request;
        OsDir *backup;
        BackupInfo info;
        OsDir **log_dirs; /* as many as request->log_count; those that hold the files themselves */
        LogFile *files;   /* ascending by generation, each once */
        size_t file_count, file_capacity;
        size_t first_needed; /* files before it hold nothing behind the backup */
        uint64_t log_bytes;  /* of those needed */
} Restore;

static void restore_done(Restore *restore)
{
        for (size_t i = 0; restore->log_dirs && i < restore->request->log_count; i++)
                os_dir_close(restore->log_dirs[i]);
        mem_free(restore->log_dirs);
        mem_free(restore->files);
        os_dir_close(restore->backup);
}

static const char *log_path(const Restore *restore, const LogFile *file)
{
        return os_dir_path(restore->log_dirs[file->dir]);
}

typedef struct Listing {
        Restore *restore;
        size_t dir;
} Listing;

static Status read_header(OsDir *dir, LogFile *file)
{
        _cleanup_(os_file_closep) OsFile *open = NULL;
        size_t got;
        TRY(os_file_open(dir, file->name, OS_READ, &open));
        TRY(os_file_size(open, &file->byte_count));
        return os_file_read_at(open, 0, file->header, sizeof(file->header), &got);
}

/* One file may be in an archive and in the log that it came from. */
static Status add_file(Restore *restore, const LogFile *file)
{
        for (size_t i = 0; i < restore->file_count; i++) {
                const LogFile *other = &restore->files[i];
                if (strcmp(other->name, file->name) != 0)
                        continue;
                if (other->byte_count == file->byte_count &&
                    memcmp(other->header, file->header, sizeof(file->header)) == 0)
                        return ST_OK;
                return status_hint(status_new(ERR_INVALID, "the log files %s in %s and in %s are not the same",
                                              file->name, log_path(restore, other), log_path(restore, file)),
                                   "give only logs of the server that the backup is of");
        }
        if (restore->file_count == restore->file_capacity) {
                size_t capacity = MAX(2 * restore->file_capacity, (size_t)16);
                LogFile *files = mem_realloc(restore->files, capacity * sizeof(LogFile));
                if (!files)
                        return status_nomem();
                restore->files = files;
                restore->file_capacity = capacity;
        }
        restore->files[restore->file_count++] = *file;
        return ST_OK;
}

static Status note_log_file(void *ctx, const char *name)
{
        Listing *listing = ctx;
        LogFile file = {.dir = listing->dir};
        if (strlen(name) >= sizeof(file.name) || !wal_file_parse(name, &file.first, &file.generation))
                return ST_OK;
        snprintf(file.name, sizeof(file.name), "%s", name);
        TRY(read_header(listing->restore->log_dirs[listing->dir], &file));
        return add_file(listing->restore, &file);
}

static int compare_files(const void *a, const void *b)
{
        const LogFile *x = a, *y = b;
        if (x->generation != y->generation)
                return x->generation < y->generation ? -1 : 1;
        return (x->first > y->first) - (x->first < y->first);
}

/* An archive has the files in it, a data directory below `log`. */
static Status open_logs(Os *os, const char *path, OsDir **ret_dir)
{
        _cleanup_(os_dir_closep) OsDir *dir = NULL;
        TRY(os_dir_open(os, path, OS_DIR_READ, &dir));
        Status st = os_dir_open_sub(dir, "log", OS_DIR_READ, ret_dir);
        if (status_code(st) == ERR_NOT_FOUND) {
                status_ignore(st);
                *ret_dir = take(dir);
                return ST_OK;
        }
        return st;
}

/* Files older than the backup hold nothing behind it, or belong to a history that its store has left. */
static void forget_older(Restore *restore)
{
        size_t kept = 0;
        for (size_t i = 0; i < restore->file_count; i++)
                if (restore->files[i].generation >= restore->info.generation)
                        restore->files[kept++] = restore->files[i];
        restore->file_count = kept;
}

/* Somebody restored to a moment before this backup, and let the new server write into the same archive. */
static Status check_history(const Restore *restore)
{
        const BackupInfo *info = &restore->info;
        for (size_t i = 0; i < restore->file_count; i++) {
                const LogFile *file = &restore->files[i];
                if (file->generation > info->generation + HISTORY_GAP && file->first <= info->position)
                        return status_hint(status_new(ERR_INVALID,
                                                      "the log file %s in %s begins with commit %" PRIu64
                                                      " of another history: a restore to a moment before this backup, "
                                                      "which is of commit %" PRIu64,
                                                      file->name, log_path(restore, file), file->first, info->position),
                                           "take a backup that is older than that restore's moment or was made after "
                                           "it, or give only the older log files");
        }
        return ST_OK;
}

/* Which log files hold something behind the backup, and do they begin right behind it? */
static Status find_logs(Restore *restore)
{
        const StoreRestore *request = restore->request;
        restore->log_dirs = mem_zalloc((request->log_count + 1) * sizeof(OsDir *));
        if (!restore->log_dirs)
                return status_nomem();
        for (size_t i = 0; i < request->log_count; i++) {
                Listing listing = {.restore = restore, .dir = i};
                TRY_CTX(open_logs(request->os, request->logs[i], &restore->log_dirs[i]), "looking for log files");
                TRY(os_dir_list(restore->log_dirs[i], note_log_file, &listing));
        }
        forget_older(restore);
        if (restore->file_count == 0)
                return status_hint(status_new(ERR_NOT_FOUND, "there are no log files since the backup in %s%s",
                                              os_dir_path(restore->log_dirs[0]),
                                              request->log_count > 1 ? ", nor in the others" : ""),
                                   "give the directory of --log-archive, or a data directory");
        if (restore->file_count > 1)
                qsort(restore->files, restore->file_count, sizeof(LogFile), compare_files);
        TRY(check_history(restore));
        /* A later file wins from its first position on: what begins at or before the next commit makes all before it
         * superfluous. */
        uint64_t next = restore->info.position + 1;
        for (size_t i = 0; i < restore->file_count; i++)
                if (restore->files[i].first <= next)
                        restore->first_needed = i;
        for (size_t i = restore->first_needed; i < restore->file_count; i++)
                restore->log_bytes += restore->files[i].byte_count;
        const LogFile *first = &restore->files[restore->first_needed];
        if (first->first > next)
                return status_hint(status_new(ERR_NOT_FOUND,
                                              "the backup ends with commit %" PRIu64 " and the logs begin with %" PRIu64
                                              ": what is between is missing",
                                              restore->info.position, first->first),
                                   "give the directory with the older log files, too, or a later backup");
        return ST_OK;
}

static Status copy_logs(Restore *restore, Target *target)
{
        _cleanup_(os_dir_closep) OsDir *log = NULL;
        CopyProgress copy = {.progress = &restore->request->progress, .what = "log", .total_bytes = restore->log_bytes};
        TRY(os_dir_open_sub(target->dir, "log", OS_DIR_CREATE, &log));
        for (size_t i = restore->first_needed; i < restore->file_count; i++) {
                const LogFile *file = &restore->files[i];
                _cleanup_(os_file_closep) OsFile *from = NULL;
                Status st = os_file_open(restore->log_dirs[file->dir], file->name, OS_READ, &from);
                if (status_code(st) == ERR_NOT_FOUND)
                        st = status_hint(st, "is its server running? Then the file is in the archive now: try again");
                TRY(st);
                TRY(file_copy(from, file->name, file->byte_count, log, file->name, &copy, NULL));
        }
        return os_dir_sync(log);
}

/* --- the backup's files --- */

static Status read_backup(Restore *restore)
{
        const StoreRestore *request = restore->request;
        TRY(os_dir_open(request->os, request->backup, OS_DIR_READ, &restore->backup));
        Status st = backup_info_read(restore->backup, &restore->info);
        if (status_code(st) == ERR_NOT_FOUND) {
                status_ignore(st);
                return status_hint(status_new(ERR_NOT_FOUND, "%s is not a backup: it has no file %s", request->backup,
                                              BACKUP_NAME),
                                   "photondb backup makes one");
        }
        TRY(st);
        if (!restore->info.complete)
                return status_hint(status_new(ERR_CORRUPT, "the backup in %s was never finished", request->backup),
                                   "restore another one; this one is worth nothing");
        return ST_OK;
}

#define MOMENT_TEXT_BYTES 64
static const char *moment_text(StoreMoment moment, char out[MOMENT_TEXT_BYTES])
{
        if (moment.position)
                snprintf(out, MOMENT_TEXT_BYTES, "commit %" PRIu64, moment.position);
        else
                moment_time_text(moment.wall_us, out);
        return out;
}

/* What the backup itself can answer about the moment that is wanted. *ret_logs: the rest is in the logs. */
static Status check_moment(const Restore *restore, bool *ret_logs)
{
        const StoreRestore *request = restore->request;
        const BackupInfo *info = &restore->info;
        char time[MOMENT_TIME_BYTES], wanted[MOMENT_TEXT_BYTES];
        StoreMoment as_of = request->as_of;
        bool before = as_of.position ? as_of.position < info->position
                                     : moment_is_set(as_of) && as_of.wall_us < info->wall_us;
        moment_text(as_of, wanted);
        if (before)
                return status_hint(status_new(ERR_NOT_FOUND,
                                              "the backup is of commit %" PRIu64 " (%s), which is after %s",
                                              info->position, moment_time_text(info->wall_us, time), wanted),
                                   "take an older backup, and the log files from then on");
        *ret_logs = request->log_count && as_of.position != info->position;
        if (moment_is_set(as_of) && !*ret_logs && as_of.position != info->position)
                return status_hint(status_new(ERR_NOT_FOUND,
                                              "the backup ends with commit %" PRIu64 " (%s), and %s may be after more",
                                              info->position, moment_time_text(info->wall_us, time), wanted),
                                   "give the directories with the log files since then");
        return ST_OK;
}

static Status copy_file(Restore *restore, const BackupFile *file, Target *target, CopyProgress *copy)
{
        _cleanup_(os_file_closep) OsFile *from = NULL;
        uint64_t bytes, hash;
        const char *path = os_dir_path(restore->backup);
        Status st = os_file_open(restore->backup, file->name, OS_READ, &from);
        if (status_code(st) == ERR_NOT_FOUND) {
                status_ignore(st);
                return status_new(ERR_CORRUPT, "the backup is damaged: %s/%s is missing", path, file->name);
        }
        TRY(st);
        TRY(os_file_size(from, &bytes));
        if (bytes != file->byte_count)
                return status_new(ERR_CORRUPT,
                                  "the backup is damaged: %s/%s has %" PRIu64 " bytes, %" PRIu64 " were written", path,
                                  file->name, bytes, file->byte_count);
        TRY(file_copy(from, file->name, bytes, target->dir, file->name, copy, &hash));
        if (file->has_hash && hash != file->hash)
                return status_new(ERR_CORRUPT, "the backup is damaged: the checksum of %s/%s is wrong", path,
                                  file->name);
        return ST_OK;
}

/* VERSION comes last: without it nobody takes the directory for a store. */
static Status copy_backup(Restore *restore, Target *target, bool logs)
{
        CopyProgress copy = {
                .progress = &restore->request->progress, .what = "backup", .total_bytes = restore->info.byte_count};
        const BackupFile *version = NULL;
        for (size_t i = 0; i < restore->info.file_count; i++) {
                const BackupFile *file = &restore->info.files[i];
                if (strcmp(file->name, VERSION_NAME) == 0)
                        version = file;
                else
                        TRY(copy_file(restore, file, target, &copy));
        }
        if (logs)
                TRY(copy_logs(restore, target));
        if (restore->info.position)
                TRY(snapshot_file_move(target->dir, restore->info.position,
                                       (uint64_t)MAX(os_wall_us(restore->request->os), 0)));
        if (!version)
                return status_new(ERR_CORRUPT, "the backup is damaged: it has no file %s", VERSION_NAME);
        TRY(copy_file(restore, version, target, &copy));
        return os_dir_sync(target->dir);
}

/* --- up to the moment --- */

/* The log does not reach the moment: how far does it? Takes `st`, and gives it back where that cannot be told. */
static Status say_reach(const Restore *restore, const Target *target, Status st)
{
        _cleanup_(os_dir_closep) OsDir *log = NULL;
        WalScan scan = {0};
        WalScanResult found;
        char time[MOMENT_TIME_BYTES], wanted[MOMENT_TEXT_BYTES];
        Status scanned = os_dir_open_sub(target->dir, "log", OS_DIR_READ, &log);
        if (!scanned)
                scanned = wal_scan(log, restore->info.position, &scan, &found);
        if (scanned) {
                status_ignore(scanned);
                return st;
        }
        status_ignore(st);
        moment_text(restore->request->as_of, wanted);
        if (found.last_position <= restore->info.position)
                return status_hint(status_new(ERR_NOT_FOUND,
                                              "the logs do not reach to %s: they have nothing behind the backup, which "
                                              "is of commit %" PRIu64 " (%s)",
                                              wanted, restore->info.position,
                                              moment_time_text(restore->info.wall_us, time)),
                                   "give the directories with the newer log files, too");
        return status_hint(status_new(ERR_NOT_FOUND, "the logs do not reach to %s, but to commit %" PRIu64 " (%s)",
                                      wanted, found.last_position, moment_time_text(found.last_wall_us, time)),
                           "give the directories with the newer log files, too, or no moment to have all there is");
}

/* The store itself replays, stops at the moment, and makes that durable. */
static Status replay(const Restore *restore, const Target *target, StoreBackupResult *result)
{
        const StoreRestore *request = restore->request;
        StoreOptions options = {.os = request->os,
                                .path = request->path,
                                .cache_max_bytes = RESTORE_CACHE_BYTES,
                                .recover_to = request->as_of,
                                .restoring = true};
        Store *store;
        StoreStats stats;
        TRY(progress_report(&request->progress, "replaying the log", 0, 0));
        Status st = store_open(&options, &store);
        if (status_code(st) == ERR_NOT_FOUND && moment_is_set(request->as_of))
                st = say_reach(restore, target, st);
        TRY(st);
        st = store_checkpoint(store); /* the first start is a quick one then */
        store_stats(store, &stats);
        result->position = stats.last_position;
        result->wall_us = wal_last_wall_us(store->wal);
        Status closed = store_close(store);
        if (st) {
                status_ignore(closed);
                return st;
        }
        return closed;
}

static Status restore_into(Restore *restore, Target *target, bool logs, StoreBackupResult *result)
{
        TRY(target_check_space(target, restore->info.byte_count + restore->log_bytes,
                               logs ? "the backup and the log have" : "the backup has"));
        TRY(copy_backup(restore, target, logs));
        if (logs)
                TRY(replay(restore, target, result));
        TRY(os_dir_remove(target->dir, RESTORE_NAME));
        return os_dir_sync(target->dir);
}

Status store_restore(const StoreRestore *request, StoreBackupResult *ret_result)
{
        _cleanup_(restore_done) Restore restore = {.request = request};
        Target target;
        bool logs = false;
        TRY(read_backup(&restore));
        TRY(check_moment(&restore, &logs));
        if (logs)
                TRY(find_logs(&restore));
        StoreBackupResult result = {.position = restore.info.position,
                                    .byte_count = restore.info.byte_count + restore.log_bytes,
                                    .wall_us = restore.info.wall_us};
        TRY(target_open(request->os, request->path, "restore", RESTORE_NAME, &target));
        Status st = restore_into(&restore, &target, logs, &result);
        if (st)
                target_remove(&target);
        target_done(&target);
        TRY_CTX(st, "restoring %s to %s", request->backup, request->path);
        *ret_result = result;
        return ST_OK;
}
