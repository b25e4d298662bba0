/* wal_cut.c - the end of log files: which of them nobody needs, which are kept all the same for readers, the archive.
 */
#include "storage/log/wal_int.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"

#define COPY_BYTES     ((size_t)1 << 20)
#define KEEP_FILES_MAX 1000 /* small ones, of a store that writes little */

/* Before anything that they were overruled by goes, or they would come back to life. */
Status wal_overruled_remove(Wal *wal)
{
        WalSegments *overruled = &wal->contents.overruled;
        if (overruled->count == 0)
                return ST_OK;
        for (; overruled->count; overruled->count--)
                TRY(wal_file_remove(wal, &overruled->items[overruled->count - 1]));
        return os_dir_sync(wal->dir);
}

/* A whole log file into the archive, durable there under its own name. */
static Status file_archive(Wal *wal, const WalSegment *segment)
{
        OsDir *archive = wal->options.archive;
        _cleanup_(os_file_closep) OsFile *from = NULL, *to = NULL;
        _cleanup_(mem_freep) uint8_t *buffer = mem_alloc(COPY_BYTES);
        char name[WAL_NAME_BYTES], temporary[WAL_NAME_BYTES + 4];
        uint64_t offset = 0;
        size_t got;
        if (!buffer)
                return status_nomem();
        wal_segment_name(segment, name);
        snprintf(temporary, sizeof(temporary), "%s.tmp", name);
        TRY(os_file_open(wal->dir, name, OS_READ, &from));
        TRY(os_file_open(archive, temporary, OS_WRITE | OS_CREATE | OS_TRUNCATE, &to));
        do {
                TRY(os_file_read_at(from, offset, buffer, COPY_BYTES, &got));
                if (got)
                        TRY(os_file_write_at(to, offset, buffer, got));
                offset += got;
        } while (got == COPY_BYTES);
        TRY(os_file_sync(to));
        to = os_file_close(to);
        TRY(os_dir_rename(archive, temporary, name));
        return os_dir_sync(archive);
}

/* From now on readers do not find what is before `begin`. */
static void reach_set(Wal *wal, uint64_t begin)
{
        mutex_lock(&wal->mu);
        wal->begin = MAX(wal->begin, begin);
        mutex_unlock(&wal->mu);
}

static void segment_archived(Wal *wal, uint64_t generation)
{
        mutex_lock(&wal->mu);
        for (size_t i = 0; i < wal->segments.count; i++)
                if (wal->segments.items[i].generation == generation)
                        wal->segments.items[i].archived = true;
        mutex_unlock(&wal->mu);
}

static void segment_unlist(Wal *wal, uint64_t generation)
{
        mutex_lock(&wal->mu);
        for (size_t i = 0; i < wal->segments.count; i++) {
                if (wal->segments.items[i].generation != generation)
                        continue;
                wal->file_bytes -= wal->segments.items[i].bytes;
                wal->kept_bytes -= MIN(wal->kept_bytes, wal->segments.items[i].bytes);
                wal->segments.count--;
                memmove(&wal->segments.items[i], &wal->segments.items[i + 1],
                        (wal->segments.count - i) * sizeof(WalSegment));
                break;
        }
        mutex_unlock(&wal->mu);
}

/* Of the first `n` segments, which nobody needs and which are not the last, how many go: the others are kept for
 * readers. */
static size_t going(const Wal *wal, size_t n) REQUIRES(wal->mu)
{
        const WalSegment *segments = wal->segments.items;
        uint64_t behind = 0, slowest = UINT64_MAX;
        int64_t now_us = os_wall_us(wal->os);
        for (const WalReader *reader = wal->readers; reader; reader = reader->next)
                slowest = MIN(slowest, (uint64_t)atomic_load(&reader->position));
        for (size_t i = n; i-- > 0;) {
                /* Its last frame is not newer than the next file, which is there (wal_cut). */
                int64_t age_us = now_us - segments[i + 1].made_us;
                bool old = wal->keep_ms > 0 && age_us > 0 && (uint64_t)age_us / 1000 > wal->keep_ms;
                bool wanted = slowest < segments[i + 1].first - 1;
                if (behind >= wal->keep_bytes || n - i > KEEP_FILES_MAX || (old && !wanted))
                        return i + 1;
                behind += segments[i].bytes;
        }
        return 0;
}

Status wal_cut(Wal *wal, uint64_t position)
{
        _cleanup_(mem_freep) WalSegment *cut = NULL;
        size_t n = 0, gone = 0;
        uint64_t end;
        TRY(wal_overruled_remove(wal));
        mutex_lock(&wal->mu);
        while (wal->busy)
                cond_wait(&wal->done, &wal->mu);
        while (n + 1 < wal->segments.count && wal->segments.items[n + 1].first - 1 <= position)
                n++;
        /* The last one goes when nothing in it or in memory is needed any more; the next frame starts another. */
        bool all = n + 1 == wal->segments.count && !wal->failed && wal->last_position <= position &&
                   atomic_load(&wal->durable) == wal->last_position && (wal->keep_bytes == 0 || wal->options.archive);
        gone = wal->keep_bytes == 0 ? n + all : going(wal, n); /* what is kept is archived all the same */
        n += all;
        end = all ? wal->last_position + 1 : 0;
        wal->kept_bytes = 0;
        if (n > 0) {
                cut = mem_alloc((n + 1) * sizeof(WalSegment)); /* and the first one that stays */
                if (!cut) {
                        mutex_unlock(&wal->mu);
                        return status_nomem();
                }
                memcpy(cut, wal->segments.items, (n + !all) * sizeof(WalSegment));
                if (all) {
                        wal->file = os_file_close(wal->file);
                        cut[n] = (WalSegment){.first = end};
                }
        }
        for (size_t i = 0; i < n; i++)
                wal->kept_bytes += cut[i].bytes;
        mutex_unlock(&wal->mu);

        /* Oldest first and without the lock: copying and removing large files takes time. */
        for (size_t i = 0; i < n; i++) {
                if (wal->options.archive && !cut[i].archived) {
                        TRY_CTX(file_archive(wal, &cut[i]),
                                "archiving log file %020" PRIu64 "-%010" PRIu64 ".log of %s into %s", cut[i].first,
                                cut[i].generation, os_dir_path(wal->dir), os_dir_path(wal->options.archive));
                        segment_archived(wal, cut[i].generation);
                }
                if (i >= gone)
                        continue;
                reach_set(wal, cut[i + 1].first);
                TRY(wal_file_remove(wal, &cut[i]));
                segment_unlist(wal, cut[i].generation);
        }
        return gone > 0 ? os_dir_sync(wal->dir) : ST_OK;
}

void wal_keep(Wal *wal, uint64_t bytes, uint64_t ms)
{
        mutex_lock(&wal->mu);
        wal->keep_bytes = bytes;
        wal->keep_ms = ms;
        mutex_unlock(&wal->mu);
}

uint64_t wal_kept_bytes(Wal *wal)
{
        mutex_lock(&wal->mu);
        uint64_t bytes = MIN(wal->kept_bytes, wal->file_bytes);
        mutex_unlock(&wal->mu);
        return bytes;
}
