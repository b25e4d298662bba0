/* backup.c - `photondb backup`: through the control socket of the server that runs on the data directory, or, if none
 * does, by opening the store here. */
#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/local.h"
#include "value/json.h"

enum { OFFLINE_CACHE_BYTES = 256 << 20, PATH_BYTES = 4096 };

typedef struct BackupValues {
        const char *data_dir;
        bool quiet;
} BackupValues;

static const Option backup_options[] = {
        {"data-dir", OPTION_TEXT, offsetof(BackupValues, data_dir), "DIR", "./photondb_data", NULL, 0, 0,
         "the data directory, of a running server or of a stopped one"},
        {"quiet", OPTION_FLAG, offsetof(BackupValues, quiet), NULL, NULL, NULL, 0, 0, "errors only"},
        {NULL},
};

typedef struct Backup {
        const BackupValues *values;
        const char *to; /* absolute: the server has a working directory of its own */
        Progress progress;
        char verb[64];
} Backup;

static Status on_progress(void *ctx, const char *what, uint64_t done_bytes, uint64_t total_bytes)
{
        Backup *backup = ctx;
        if (output_interrupted())
                return status_new(ERR_CANCELLED, "interrupted: there is no backup");
        snprintf(backup->verb, sizeof backup->verb, "%s", what);
        backup->progress.total = total_bytes;
        progress_update(&backup->progress, 0, done_bytes);
        return ST_OK;
}

static Status absolute_path(const char *path, Arena *arena, const char **ret_path)
{
        char here[PATH_BYTES];
        if (*path == '/') {
                *ret_path = path;
                return ST_OK;
        }
        if (!*path)
                return status_new(ERR_INVALID, "the name of the backup's directory is empty");
        if (!getcwd(here, sizeof here))
                return status_errno(errno, "cannot tell the working directory");
        *ret_path = arena_printf(arena, "%s/%s", here, path);
        return ST_OK;
}

static Status ask_server(Backup *backup, Local *local, Arena *arena, StoreBackupResult *ret_result)
{
        StoreProgress progress = {.ctx = backup, .report = on_progress};
        char time[MOMENT_TIME_BYTES];
        Value done;
        Buf request;
        buf_init(&request, 8 * PATH_BYTES);
        Status st = buf_append_str(&request, "{\"do\":\"backup\",\"to\":");
        if (!st)
                st = json_write_string(BYTES_STR(backup->to), &request);
        if (!st)
                st = buf_append_byte(&request, '}');
        if (!st)
                st = local_ask(local, BYTES(request.data, request.size), &progress, arena, &done);
        buf_done(&request);
        TRY(st);
        Value when = value_get_str(done, "time"), position = value_get_str(done, "position"),
              bytes = value_get_str(done, "bytes"), damaged = value_get_str(done, "damaged_tables");
        *ret_result = (StoreBackupResult){.position = (uint64_t)position.number,
                                          .byte_count = (uint64_t)bytes.number,
                                          .damaged_table_count = (uint64_t)damaged.number};
        if (value_is(when, V_STRING) && when.size < sizeof time) {
                memcpy(time, when.text, when.size);
                time[when.size] = 0;
                if (!moment_time_parse(time, &ret_result->wall_us))
                        ret_result->wall_us = 0;
        }
        return ST_OK;
}

/* Opening would make a directory that is not there. */
static Status check_there(const char *path)
{
        _cleanup_(os_dir_closep) OsDir *dir = NULL;
        _cleanup_(os_file_closep) OsFile *file = NULL;
        Status st = os_dir_open(os_posix(), path, OS_DIR_EXISTING, &dir);
        if (!st)
                st = os_file_open(dir, "VERSION", OS_READ, &file);
        if (status_code(st) != ERR_NOT_FOUND)
                return st;
        status_ignore(st);
        return status_hint(status_new(ERR_NOT_FOUND, "there is no data in %s", path),
                           "say where it is with --data-dir DIR");
}

static Status copy_here(Backup *backup, StoreBackupResult *ret_result)
{
        StoreProgress progress = {.ctx = backup, .report = on_progress};
        StoreOptions options = {
                .os = os_posix(), .path = backup->values->data_dir, .cache_max_bytes = OFFLINE_CACHE_BYTES};
        Store *store;
        TRY(check_there(backup->values->data_dir));
        TRY(store_open(&options, &store));
        Status st = store_backup(store, backup->to, &progress, ret_result);
        Status closed = store_close(store);
        if (st) {
                status_ignore(closed);
                return st;
        }
        return closed;
}

static Status run_backup(const Invocation *invocation, int *ret_exit)
{
        const BackupValues *values = invocation->values;
        Backup backup = {.values = values};
        StoreBackupResult result;
        _cleanup_(local_closep) Local *local = NULL;
        TRY(absolute_path(invocation->words[0], invocation->arena, &backup.to));
        output_catch_interrupt();
        progress_init(&backup.progress, os_posix(), backup.verb, 0, false, values->quiet);
        backup.progress.bytes_only = true;
        Status st = local_open(values->data_dir, &local);
        if (!st) {
                st = ask_server(&backup, local, invocation->arena, &result);
        } else if (status_code(st) == ERR_NOT_FOUND) {
                status_ignore(st);
                st = copy_here(&backup, &result);
        }
        progress_clear(&backup.progress);
        if (status_code(st) == ERR_CANCELLED)
                *ret_exit = EXIT_INTERRUPTED;
        TRY(st);
        if (result.damaged_table_count)
                output_warning("%" PRIu64 " of the tables are damaged, and in the backup as they are: photondb check "
                               "names them",
                               result.damaged_table_count);
        if (!values->quiet) {
                char moment[96], bytes[32], time[32];
                printf("backup: %s, %s in %s\n", local_moment_text(result.position, result.wall_us, moment),
                       output_bytes(result.byte_count, bytes),
                       local_seconds_text(progress_seconds(&backup.progress), time));
                fputs("restore it with: photondb restore ", stdout);
                output_text(stdout, BYTES_STR(backup.to));
                fputs(" --data-dir NEW\n", stdout);
        }
        return ST_OK;
}

const Command backup_command = {
        .name = "backup",
        .words = "DIR",
        .least_words = 1,
        .most_words = 1,
        .summary = "copy all data, as of now, into a new directory",
        .details = "The server may be running: reading and writing go on, and the backup is of one moment, all tables\n"
                   "together. DIR is on the machine of the data directory, new or empty, and is the backup only when\n"
                   "the command says so. Who may write the data directory may make a backup.",
        .examples = "photondb backup /backups/monday\n"
                    "photondb backup /backups/monday --data-dir /var/lib/photondb\n"
                    "photondb restore /backups/monday --data-dir /var/lib/photondb-again",
        .options = backup_options,
        .values_bytes = sizeof(BackupValues),
        .run = run_backup,
};
