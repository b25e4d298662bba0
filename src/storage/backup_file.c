/* backup_file.c - see backup_int.h. */
#include "storage/backup_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

#define COPY_BYTES ((size_t)1 << 20)

/* --- BACKUP --- */

Status backup_info_add(BackupInfo *info, const char *name, uint64_t byte_count, const uint64_t *hash)
{
        if (info->file_count == BACKUP_MAX_FILES || strlen(name) >= BACKUP_NAME_MAX)
                return status_new(ERR_LIMIT, "a backup has at most %d files with names below %d bytes",
                                  BACKUP_MAX_FILES, BACKUP_NAME_MAX);
        BackupFile *file = &info->files[info->file_count++];
        snprintf(file->name, sizeof(file->name), "%s", name);
        file->byte_count = byte_count;
        file->has_hash = hash != NULL;
        file->hash = hash ? *hash : 0;
        info->byte_count += byte_count;
        return ST_OK;
}

static Status info_text(const BackupInfo *info, Buf *out)
{
        char time[MOMENT_TIME_BYTES];
        TRY(buf_printf(out, "photondb-backup %d\nposition %" PRIu64 "\ntime %s\nbytes %" PRIu64 "\n", BACKUP_VERSION,
                       info->position, moment_time_text(info->wall_us, time), info->byte_count));
        TRY(buf_printf(out, "generation %" PRIu64 "\nby photondb %s\n", info->generation, PHOTONDB_VERSION));
        for (size_t i = 0; i < info->file_count; i++) {
                const BackupFile *file = &info->files[i];
                TRY(buf_printf(out, "file %s %" PRIu64, file->name, file->byte_count));
                if (file->has_hash)
                        TRY(buf_printf(out, " %016" PRIx64, file->hash));
                TRY(buf_append_byte(out, '\n'));
        }
        return buf_printf(out, "checksum %016" PRIx64 "\n", bytes_hash(out->data, out->size));
}

Status backup_info_write(OsDir *dir, const BackupInfo *info)
{
        Buf text;
        buf_init(&text, BACKUP_MAX_BYTES);
        Status st = info_text(info, &text);
        if (!st)
                st = os_write_whole(dir, BACKUP_NAME, text.data, text.size);
        buf_done(&text);
        return st;
}

/* The checksum is the last line, of all before it. */
static bool checksum_fits(const char *text, size_t size)
{
        char line[64];
        const size_t line_size = strlen("checksum 0123456789abcdef\n");
        if (size < line_size)
                return false;
        snprintf(line, sizeof(line), "checksum %016" PRIx64 "\n", bytes_hash(text, size - line_size));
        return memcmp(text + size - line_size, line, line_size) == 0;
}

/* The checksum was right, so that what does not fit is not damage but of another version: unknown lines are passed
 * over.
 */
static Status info_line(const char *line, BackupInfo *info)
{
        char name[BACKUP_NAME_MAX];
        const char *time = "time ";
        uint64_t bytes, hash;
        if (strncmp(line, time, strlen(time)) == 0) {
                if (!moment_time_parse(line + strlen(time), &info->wall_us))
                        return status_new(ERR_CORRUPT, "the time cannot be read");
        } else if (strncmp(line, "file ", 5) == 0) {
                int n = sscanf(line, "file %127s %" SCNu64 " %" SCNx64, name, &bytes, &hash);
                if (n < 2)
                        return status_new(ERR_CORRUPT, "the line of a file cannot be read");
                TRY(backup_info_add(info, name, bytes, n == 3 ? &hash : NULL));
        } else if (sscanf(line, "position %" SCNu64, &info->position) != 1) {
                (void)(sscanf(line, "generation %" SCNu64, &info->generation));
        }
        return ST_OK;
}

static Status info_parse(char *text, size_t size, BackupInfo *info)
{
        int version;
        if (size == 0) /* made first, to say that this will be a backup */
                return ST_OK;
        if (!checksum_fits(text, size) || memchr(text, 0, size))
                return status_new(ERR_CORRUPT, "its checksum is wrong");
        if (sscanf(text, "photondb-backup %d", &version) != 1)
                return status_new(ERR_CORRUPT, "it does not begin as such a file");
        if (version > BACKUP_VERSION)
                return status_new(ERR_VERSION, "it has format %d; this version reads up to %d", version,
                                  BACKUP_VERSION);
        char *rest = NULL;
        for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
                TRY(info_line(line, info));
        info->complete = true;
        return ST_OK;
}

Status backup_info_read(OsDir *dir, BackupInfo *ret_info)
{
        Buf text;
        buf_init(&text, BACKUP_MAX_BYTES + 1);
        *ret_info = (BackupInfo){0};
        Status st = os_read_whole(dir, BACKUP_NAME, BACKUP_MAX_BYTES, &text);
        if (!st)
                st = buf_append_byte(&text, 0);
        if (!st)
                st = status_context(info_parse((char *)text.data, text.size - 1, ret_info), "reading %s/%s",
                                    os_dir_path(dir), BACKUP_NAME);
        buf_done(&text);
        return st;
}

/* --- a directory that gets filled --- */

/* The root of a fresh volume has this one. */
static bool is_volume_root(const char *name)
{
        return strcmp(name, "lost+found") == 0;
}

static Status note_first(void *ctx, const char *name)
{
        char *first = ctx;
        if (!*first && !is_volume_root(name))
                snprintf(first, 256, "%s", name);
        return ST_OK;
}

static Status check_empty(OsDir *dir, const char *what)
{
        char first[256] = "";
        TRY(os_dir_list(dir, note_first, first));
        if (!*first)
                return ST_OK;
        if (strcmp(first, BACKUP_NAME) == 0 || strcmp(first, RESTORE_NAME) == 0)
                return status_hint(status_new(ERR_EXISTS, "%s has a %s in it already", os_dir_path(dir),
                                              *first == 'B' ? "backup, whole or begun," : "restore that did not end"),
                                   "choose another directory, or remove this one first");
        return status_hint(status_new(ERR_EXISTS, "%s is not empty (it has %s): a %s needs a new or an empty directory",
                                      os_dir_path(dir), first, what),
                           "choose another directory");
}

/* EXCLUSIVE: of two who begin at once one fails. */
static Status marker_write(Target *target)
{
        _cleanup_(os_file_closep) OsFile *file = NULL;
        TRY(os_file_open(target->dir, target->marker, OS_WRITE | OS_CREATE | OS_EXCLUSIVE, &file));
        TRY(os_file_sync(file));
        return os_dir_sync(target->dir);
}

static void remove_made(Target *target)
{
        _cleanup_(mem_freep) char *path = mem_strdup(target->path);
        _cleanup_(os_dir_closep) OsDir *parent = NULL;
        if (!path)
                return;
        for (size_t size = strlen(path); size > 1 && path[size - 1] == '/'; size--)
                path[size - 1] = 0;
        char *slash = strrchr(path, '/');
        const char *name = slash ? slash + 1 : path;
        if (slash)
                *slash = 0;
        Status st = os_dir_open(target->os, !slash ? "." : slash == path ? "/" : path, OS_DIR_EXISTING, &parent);
        if (!st)
                st = os_dir_remove(parent, name);
        status_ignore(st);
}

Status target_open(Os *os, const char *path, const char *what, const char *marker, Target *ret_target)
{
        Target target = {.os = os, .path = path, .marker = marker};
        Status st = os_dir_open(os, path, OS_DIR_EXISTING, &target.dir);
        if (status_code(st) == ERR_NOT_FOUND) {
                status_ignore(st);
                target.made = true;
                st = os_dir_open(os, path, OS_DIR_CREATE, &target.dir);
                if (st) {
                        remove_made(&target); /* it may have been made, and only not synced */
                        return st;
                }
        } else if (st) {
                return st;
        }
        st = check_empty(target.dir, what);
        if (!st) {
                st = marker_write(&target);
                if (st && status_code(st) != ERR_EXISTS) /* or else it is somebody else's */
                        target_remove(&target);
        } else if (target.made) {
                remove_made(&target);
        }
        if (st) {
                target_done(&target);
                return st;
        }
        *ret_target = target;
        return ST_OK;
}

Status target_check_space(const Target *target, uint64_t needed_bytes, const char *what)
{
        uint64_t free_bytes;
        TRY(os_dir_free_bytes(target->dir, &free_bytes));
        if (free_bytes >= needed_bytes)
                return ST_OK;
        return status_hint(status_new(ERR_NO_SPACE, "%s has %" PRIu64 " MB free, and %s %" PRIu64 " MB", target->path,
                                      free_bytes / 1000000, what, needed_bytes / 1000000 + 1),
                           "make room, or choose a directory on another disk");
}

typedef struct Removal {
        OsDir *dir;
        const char *but;
} Removal;

static Status remove_name(void *ctx, const char *name)
{
        Removal *removal = ctx;
        if (!is_volume_root(name) && !(removal->but && strcmp(name, removal->but) == 0))
                status_ignore(os_dir_remove(removal->dir, name));
        return ST_OK;
}

void target_remove(Target *target)
{
        if (!target->dir)
                return;
        Removal removal = {.dir = target->dir, .but = target->marker};
        OsDir *log = NULL;
        status_ignore(marker_write(target)); /* it may be gone already, and what is half removed must not be taken for
                                                whole */
        Status st = os_dir_open_sub(target->dir, "log", OS_DIR_EXISTING, &log);
        if (!st) {
                Removal files = {.dir = log};
                st = os_dir_list(log, remove_name, &files);
                os_dir_close(log);
        }
        status_ignore(st);
        status_ignore(os_dir_list(target->dir, remove_name, &removal));
        status_ignore(os_dir_sync(target->dir));
        status_ignore(os_dir_remove(target->dir, target->marker));
        if (target->made)
                remove_made(target);
}

void target_done(Target *target)
{
        target->dir = os_dir_close(target->dir);
}

/* --- copying --- */

Status progress_report(const StoreProgress *progress, const char *what, uint64_t done, uint64_t total)
{
        return progress && progress->report ? progress->report(progress->ctx, what, done, total) : ST_OK;
}

Status file_copy(OsFile *from, const char *from_path, uint64_t byte_count, OsDir *to, const char *name,
                 CopyProgress *copy, uint64_t *ret_hash)
{
        _cleanup_(os_file_closep) OsFile *file = NULL;
        _cleanup_(mem_freep) uint8_t *data = mem_alloc(COPY_BYTES);
        uint64_t hash = 0;
        if (!data)
                return status_nomem();
        TRY(os_file_open(to, name, OS_WRITE | OS_CREATE | OS_EXCLUSIVE, &file));
        for (uint64_t offset = 0; offset < byte_count;) {
                size_t want = (size_t)MIN((uint64_t)COPY_BYTES, byte_count - offset), got;
                TRY(progress_report(copy->progress, copy->what, copy->done_bytes, copy->total_bytes));
                TRY(os_file_read_at(from, offset, data, want, &got));
                if (got < want)
                        return status_new(ERR_CORRUPT, "%s ends at %" PRIu64 " of %" PRIu64 " bytes", from_path,
                                          offset + got, byte_count);
                TRY(os_file_write_at(file, offset, data, want));
                hash = bytes_hash_seeded(data, want, hash);
                offset += want;
                copy->done_bytes += want;
        }
        TRY(os_file_sync(file));
        if (ret_hash)
                *ret_hash = hash;
        return ST_OK;
}

Status file_write(OsDir *to, const char *name, const char *text, uint64_t *ret_hash)
{
        TRY(os_write_whole(to, name, text, strlen(text)));
        *ret_hash = bytes_hash_seeded(text, strlen(text), 0);
        return ST_OK;
}
