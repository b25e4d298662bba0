/* wal.c - the writing side of the log: a tail of frames in memory, one thread that writes and syncs it, and one that
 * syncs beside it.
 *
 *      append ->  [chunk: synced | syncing | written | appended ] -> [chunk: appended] -> ...   held until synced (I3)
 *                                                    ^ write() goes on here
 *
 *                     append: no file needed
 *      NO SEGMENT --segment_start--> OPEN --round_sync--> OPEN
 *          ^  ^                        |  full, or wal_rotate: synced, then segment_start
 *          |  \------- wal_cut --------/
 *          \-- round_failed: the segment is given up, everything unsynced will be written anew; FAILED until a round
 * succeeds */
#include "storage/log/wal_int.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"

#define EAGER_EVERY_NS INT64_C(500000)     /* between two writes, while somebody follows */
#define CHUNK_BYTES    ((size_t)256 << 10) /* or an eighth of the tail, if that is less */
#define SPARE_CHUNKS   4
#define WRITE_AFTER_MS 20                /* a soft commit reaches the file after this at the latest: survives kill -9 */
#define SYNC_AT_BYTES  ((size_t)8 << 20) /* so much unsynced is synced early, to give the memory back */
#define RETRY_MS       1000
#define REWRITE_NAME   "rewrite.tmp"

static Status failure(Wal *wal) REQUIRES(wal->mu)
{
        return status_hint(status_new(wal->error_code,
                                      "the log cannot be written (%s); writes are refused until it can", wal->error),
                           wal->error_code == ERR_NO_SPACE ? "free space on the device of the data directory"
                                                           : "look at the device of the data directory");
}

/* --- chunks --- */

static Status tail_reserve(Wal *wal, size_t bytes, Chunk **ret_chunk) REQUIRES(wal->mu)
{
        Chunk *chunk = wal->last;
        if (!chunk || chunk->capacity - chunk->size < bytes) {
                if (bytes <= wal->chunk_bytes && wal->spare) {
                        chunk = wal->spare;
                        wal->spare = chunk->next;
                        wal->spare_count--;
                } else {
                        size_t capacity = MAX(bytes, wal->chunk_bytes);
                        chunk = mem_alloc(sizeof(Chunk) + capacity);
                        if (!chunk)
                                return status_nomem();
                        chunk->capacity = capacity;
                }
                chunk->next = NULL;
                chunk->size = chunk->written = chunk->syncing = chunk->synced = 0;
                chunk->refs = 0;
                chunk->detached = false;
                if (wal->last)
                        wal->last->next = chunk;
                else
                        wal->oldest = wal->first = chunk;
                wal->last = chunk;
        }
        *ret_chunk = chunk;
        return ST_OK;
}

void wal_chunk_free(Wal *wal, Chunk *chunk)
{
        if (chunk->capacity == wal->chunk_bytes && wal->spare_count < SPARE_CHUNKS) {
                chunk->next = wal->spare;
                wal->spare = chunk;
                wal->spare_count++;
        } else {
                mem_free(chunk);
        }
}

void wal_recent_trim(Wal *wal)
{
        size_t budget = wal->readers ? wal->options.recent_bytes : 0;
        while (wal->oldest != wal->first && wal->recent_bytes > budget) {
                Chunk *chunk = wal->oldest;
                wal->oldest = chunk->next;
                wal->recent_bytes -= chunk->capacity;
                if (chunk->refs)
                        chunk->detached = true;
                else
                        wal_chunk_free(wal, chunk);
        }
        Chunk *chunk = wal->first;
        if (wal->readers || !chunk || chunk->synced < chunk->size)
                return;
        /* Nobody looks at the last one: it is used again from its beginning. */
        if (chunk->capacity == wal->chunk_bytes) {
                chunk->size = chunk->written = chunk->syncing = chunk->synced = 0;
        } else {
                wal->oldest = wal->first = wal->last = NULL;
                mem_free(chunk);
        }
}

/* Everything that sync_mark() marked is synced now. */
static void tail_release(Wal *wal) REQUIRES(wal->mu)
{
        for (Chunk *chunk = wal->first; chunk; chunk = wal->first) {
                wal->tail_bytes -= chunk->syncing - chunk->synced;
                chunk->synced = chunk->syncing;
                if (chunk->synced < chunk->size || !chunk->next)
                        break;
                wal->first = chunk->next;
                wal->recent_bytes += chunk->capacity;
        }
        wal_recent_trim(wal);
}

static void chunks_free(Chunk *chunk)
{
        while (chunk) {
                Chunk *next = chunk->next;
                mem_free(chunk);
                chunk = next;
        }
}

/* --- syncs: one at a time, by a round or beside it by the sync thread --- */

/* A sync begins: what is written now will be durable when it has worked, and nothing else. */
static void sync_mark(Wal *wal) REQUIRES(wal->mu)
{
        for (Chunk *chunk = wal->first; chunk; chunk = chunk->next)
                chunk->syncing = chunk->written;
        wal->syncing_position = wal->written_position;
}

static Status sync_file(Wal *wal, OsFile *file, uint64_t *ret_ns)
{
        int64_t started = os_mono_ns(wal->os);
        TRY_CTX(os_file_sync(file), "syncing the log in %s", os_dir_path(wal->dir));
        *ret_ns = (uint64_t)(os_mono_ns(wal->os) - started);
        return ST_OK;
}

static void sync_worked(Wal *wal, uint64_t ns) REQUIRES(wal->mu)
{
        wal->stats.sync_count++;
        histogram_add(&wal->stats.sync_ns, ns);
        tail_release(wal);
        atomic_store_explicit(&wal->durable, wal->syncing_position, memory_order_release);
        cond_broadcast(&wal->done);
}

/* By the log thread: the sync thread begins, and writes go on meanwhile. */
static void sync_start(Wal *wal) REQUIRES(wal->mu)
{
        assert(!wal->syncing && !wal->unnamed);
        if (wal->failed || wal->written_position <= atomic_load(&wal->durable))
                return;
        sync_mark(wal);
        wal->syncing = true;
        cond_signal(&wal->sync_work);
}

/* The sync in flight, if there is one, ends; its error. Before anything is done with the file but to write to it. */
static Status sync_settle(Wal *wal) REQUIRES(wal->mu)
{
        while (wal->syncing)
                cond_wait(&wal->done, &wal->mu);
        return take(wal->sync_error);
}

static void sync_thread(void *arg)
{
        Wal *wal = arg;
        mutex_lock(&wal->mu);
        for (;;) {
                while (!wal->syncing && !wal->sync_stop)
                        cond_wait(&wal->sync_work, &wal->mu);
                if (!wal->syncing)
                        break;
                mutex_unlock(&wal->mu);
                uint64_t ns = 0;
                Status st = sync_file(wal, wal->file, &ns);
                bool worked = st == ST_OK;
                mutex_lock(&wal->mu);
                wal->syncing = false;
                if (worked)
                        sync_worked(wal, ns);
                else
                        wal->sync_error = st; /* the log thread gives the segment up */
                cond_broadcast(&wal->done);
                cond_signal(&wal->work);
                mutex_unlock(&wal->mu);
                if (worked && wal->changed)
                        wal->changed(wal->changed_ctx);
                mutex_lock(&wal->mu);
        }
        mutex_unlock(&wal->mu);
}

static void sync_thread_end(Wal *wal)
{
        mutex_lock(&wal->mu);
        wal->sync_stop = true;
        cond_signal(&wal->sync_work);
        mutex_unlock(&wal->mu);
        thread_join(&wal->sync_thread);
}

/* --- rounds: by the log thread, or by wal_step; one at a time, outside of mu --- */

static void segment_list(Wal *wal, WalSegment segment) REQUIRES(wal->mu)
{
        wal->segments.items[wal->segments.count++] = segment; /* room was made by segment_start */
        wal->file_bytes += segment.bytes;
}

/* What is written anew may have been acknowledged by an earlier process, and stands in an older segment that the new
 * one will overrule. So the new one gets its name only when it is complete (log I4); any other gets it before its first
 * frame. */
static Status segment_start(Wal *wal, uint64_t first)
{
        WalSegment segment = {.first = first,
                              .generation = wal->generation + 1,
                              .bytes = sizeof(WalSegmentHeader),
                              .salt = wal->salt};
        WalSegmentHeader header = {.magic = WAL_SEGMENT_MAGIC,
                                   .version = WAL_VERSION,
                                   .header_bytes = sizeof(header),
                                   .first_position = first,
                                   .generation = segment.generation,
                                   .salt = wal->salt,
                                   .made_us = os_wall_us(wal->os)};
        char name[WAL_NAME_BYTES] = REWRITE_NAME;
        int flags = OS_READ | OS_WRITE | OS_CREATE | (wal->anew ? OS_TRUNCATE : OS_EXCLUSIVE);
        segment.made_us = header.made_us;
        if (!wal->anew)
                wal_segment_name(&segment, name);
        mutex_lock(&wal->mu);
        header.run_count = wal->run_count;
        memcpy(header.runs, wal->runs, sizeof(header.runs));
        header.checksum = bytes_hash((const uint8_t *)&header + 8, sizeof(header) - 8);
        Status st = wal_segments_add(&wal->segments, segment);
        if (!st) {
                wal->segments.count--;
                wal->generation = segment.generation;
                wal->rotate = false;
        }
        mutex_unlock(&wal->mu);
        if (!st)
                st = os_file_open(wal->dir, name, flags, &wal->file);
        if (!st) {
                wal->unnamed = wal->anew;
                wal->current = segment;
                wal->offset = sizeof(header);
                st = os_file_write_at(wal->file, 0, &header, sizeof(header));
        }
        if (st || wal->anew)
                return status_context(st, "creating log file %s/%s", os_dir_path(wal->dir), name);
        mutex_lock(&wal->mu);
        segment_list(wal, segment);
        mutex_unlock(&wal->mu);
        /* log I2: name and header are durable before the first frame is written */
        TRY_CTX(os_file_sync(wal->file), "syncing log file %s/%s", os_dir_path(wal->dir), name);
        return os_dir_sync(wal->dir);
}

/* What is written is in a file that has its name. */
static void seen_advance(Wal *wal) REQUIRES(wal->mu)
{
        if (atomic_load(&wal->seen) < wal->written_position)
                atomic_store_explicit(&wal->seen, wal->written_position, memory_order_release);
}

/* Before a sync, which takes its time. */
static void written_tell(Wal *wal)
{
        uint64_t seen = atomic_load(&wal->seen);
        if (seen > wal->told && wal->written)
                wal->written(wal->written_ctx);
        wal->told = seen;
}

/* The segment written anew is complete and synced. */
static Status segment_name(Wal *wal)
{
        char name[WAL_NAME_BYTES];
        wal_segment_name(&wal->current, name);
        TRY(os_dir_rename(wal->dir, REWRITE_NAME, name));
        wal->unnamed = false;
        /* If this fails it stays as it is: complete, and overruled by the next attempt. */
        TRY(os_dir_sync(wal->dir));
        wal->anew = false;
        mutex_lock(&wal->mu);
        segment_list(wal, wal->current);
        seen_advance(wal);
        mutex_unlock(&wal->mu);
        return ST_OK;
}

/* All that is written is durable then. */
static Status round_sync(Wal *wal)
{
        uint64_t ns;
        mutex_lock(&wal->mu);
        Status st = sync_settle(wal);
        bool unsynced = wal->written_position > atomic_load(&wal->durable);
        sync_mark(wal);
        mutex_unlock(&wal->mu);
        if (st || !unsynced)
                return st;
        TRY(sync_file(wal, wal->file, &ns));
        if (wal->unnamed)
                TRY_CTX(segment_name(wal), "naming a log file in %s", os_dir_path(wal->dir));
        mutex_lock(&wal->mu);
        sync_worked(wal, ns);
        mutex_unlock(&wal->mu);
        return ST_OK;
}

static Status round_write(Wal *wal, uint64_t target, bool sync)
{
        for (;;) {
                const uint8_t *data = NULL;
                size_t size = 0, to = 0;
                uint64_t first = 0, last = 0;
                bool rotate;
                Chunk *chunk;
                mutex_lock(&wal->mu);
                for (chunk = wal->first; chunk && chunk->written == chunk->size; chunk = chunk->next)
                        ;
                if (chunk && wal->written_position < target) {
                        data = chunk->data + chunk->written;
                        to = chunk->size;
                        size = to - chunk->written;
                        first = wal->written_position + 1;
                        last = chunk->last_position;
                }
                rotate = wal->rotate;
                mutex_unlock(&wal->mu);
                if (size == 0) {
                        written_tell(wal);
                        return sync || wal->anew ? round_sync(wal) : ST_OK;
                }
                if (wal->file && !wal->unnamed && (rotate || wal->offset >= wal->options.segment_bytes)) {
                        TRY(round_sync(wal)); /* log I1: a segment begins only when all before it is durable */
                        wal->file = os_file_close(wal->file);
                }
                if (!wal->file)
                        TRY(segment_start(wal, first));
                TRY_CTX(os_file_write_at(wal->file, wal->offset, data, size), "writing the log in %s",
                        os_dir_path(wal->dir));
                wal->offset += size;
                mutex_lock(&wal->mu);
                chunk->written = to;
                wal->written_position = last;
                wal->current.bytes += size;
                if (!wal->unnamed) {
                        wal->segments.items[wal->segments.count - 1].bytes += size;
                        wal->file_bytes += size;
                        seen_advance(wal);
                }
                mutex_unlock(&wal->mu);
        }
}

Status wal_file_remove(Wal *wal, const WalSegment *segment)
{
        char name[WAL_NAME_BYTES];
        wal_segment_name(segment, name);
        Status st = os_dir_remove(wal->dir, name);
        if (status_code(st) == ERR_NOT_FOUND)
                st = status_free(st);
        return status_context(st, "removing log file %s/%s", os_dir_path(wal->dir), name);
}

/* Removes a segment from the disk and the list. */
static Status segment_remove(Wal *wal, size_t at) REQUIRES(wal->mu)
{
        TRY(wal_file_remove(wal, &wal->segments.items[at]));
        wal->file_bytes -= wal->segments.items[at].bytes;
        wal->segments.count--;
        memmove(&wal->segments.items[at], &wal->segments.items[at + 1],
                (wal->segments.count - at) * sizeof(WalSegment));
        return ST_OK;
}

/* The segment cannot be trusted any more: what was written to it and not synced is written anew, to another. */
static void round_failed(Wal *wal, Status st)
{
        char text[WAL_ERROR_BYTES];
        bool named = wal->file && !wal->anew;
        mutex_lock(&wal->mu);
        status_ignore(sync_settle(wal)); /* what it made durable is durable */
        mutex_unlock(&wal->mu);
        wal->file = os_file_close(wal->file);
        if (wal->unnamed)
                status_ignore(os_dir_remove(wal->dir, REWRITE_NAME)); /* gives the space back */
        wal->unnamed = false;
        wal->anew = true;
        mutex_lock(&wal->mu);
        uint64_t durable = atomic_load(&wal->durable);
        for (Chunk *chunk = wal->first; chunk; chunk = chunk->next)
                chunk->written = chunk->synced;
        wal->written_position = durable;
        /* A segment that holds nothing durable is of no use, unless readers have seen what it holds. */
        if (named && atomic_load(&wal->seen) <= durable && wal->segments.count &&
            wal->segments.items[wal->segments.count - 1].first == durable + 1)
                status_ignore(segment_remove(wal, wal->segments.count - 1));
        wal->failed = true;
        wal->error_code = status_code(st) == ERR_NO_SPACE ? ERR_NO_SPACE : ERR_IO;
        strcpy(wal->error, status_text(st, text, sizeof(text)));
        cond_broadcast(&wal->done);
        mutex_unlock(&wal->mu);
        status_ignore(st);
}

/* Writes all that is appended now, and syncs it if asked. `mu` is held at both ends. True if it worked. */
static bool round_run(Wal *wal, bool sync) REQUIRES(wal->mu)
{
        uint64_t target = wal->last_position, before = atomic_load(&wal->durable);
        bool was_failed = wal->failed;
        wal->busy = true;
        Status st = take(wal->sync_error);
        mutex_unlock(&wal->mu);
        if (!st)
                st = round_write(wal, target, sync);
        if (st)
                round_failed(wal, st);
        mutex_lock(&wal->mu);
        bool worked = st == ST_OK; /* round_failed freed it, the pointer is only compared */
        if (worked && was_failed) {
                wal->failed = false;
                /* Segments given up on the way hold nothing of their own any more. */
                for (size_t i = wal->segments.count; i-- > 1;)
                        if (wal->segments.items[i - 1].first >= wal->segments.items[i].first)
                                status_ignore(segment_remove(wal, i - 1));
        }
        bool news = !worked || was_failed || atomic_load(&wal->durable) != before;
        mutex_unlock(&wal->mu);
        written_tell(wal);
        if (news && wal->changed)
                wal->changed(wal->changed_ctx);
        mutex_lock(&wal->mu);
        wal->busy = false;
        cond_broadcast(&wal->done);
        return worked;
}

/* Readers want it soon, but a write for each commit would cost writers more than the commit itself: so at once after a
 * pause, else together with what comes within half a millisecond. */
static uint64_t eager_wait_ns(const Wal *wal, int64_t wrote_ns)
{
        int64_t since = os_mono_ns(wal->os) - wrote_ns;
        return since >= EAGER_EVERY_NS ? 0 : (uint64_t)(EAGER_EVERY_NS - since);
}

/* Writes all there is, and syncs it: beside the writes to come, if somebody follows them. */
static void round_flush(Wal *wal) REQUIRES(wal->mu)
{
        bool beside = wal->eager > 0;
        if (round_run(wal, !beside) && beside)
                sync_start(wal);
}

static void log_thread(void *arg)
{
        Wal *wal = arg;
        const uint64_t ms = UINT64_C(1000000), soft_ns = wal->options.soft_sync_ms * ms;
        uint64_t waited_ns = 0; /* since the oldest unsynced frame was noticed */
        int64_t wrote_ns = 0;   /* when the last round ended */
        mutex_lock(&wal->mu);
        for (;;) {
                uint64_t durable = atomic_load(&wal->durable);
                if (wal->syncing && wal->closing) {
                        cond_wait(&wal->done, &wal->mu);
                        continue;
                }
                if (wal->sync_error) {
                        round_run(wal, false);
                        continue;
                }
                if (wal->failed && !wal->closing) {
                        cond_wait_for(&wal->work, &wal->mu, RETRY_MS * UINT64_C(1000000));
                        if (!wal->closing)
                                round_run(wal, true);
                        waited_ns = 0;
                        continue;
                }
                if (wal->closing) {
                        if (wal->last_position > durable)
                                round_run(wal, true);
                        break;
                }
                bool nothing_to_write = wal->written_position == wal->last_position;
                if (wal->last_position == durable || (wal->syncing && nothing_to_write)) {
                        waited_ns = 0;
                        wal->asleep = true;
                        cond_wait(&wal->work, &wal->mu);
                        wal->asleep = false;
                        continue;
                }
                bool urgent =
                        wal->want > durable || wal->tail_bytes >= MIN(SYNC_AT_BYTES, wal->options.tail_max_bytes / 2);
                if (urgent && !wal->syncing) {
                        round_flush(wal);
                        waited_ns = 0;
                        continue;
                }
                /* Only soft commits, or a sync is in flight: written soon, synced later. A wait that was cut short is
                 * measured, any other is counted: the clock of a simulated machine stands still. */
                uint64_t wait_ns = wal->syncing ? UINT64_MAX : soft_ns > waited_ns ? soft_ns - waited_ns : 0;
                if (!nothing_to_write)
                        wait_ns = MIN(wait_ns, wal->eager ? eager_wait_ns(wal, wrote_ns) : WRITE_AFTER_MS * ms);
                int64_t started = os_mono_ns(wal->os);
                if (wait_ns > 0) {
                        wal->asleep = nothing_to_write;
                        bool woken = cond_wait_for(&wal->work, &wal->mu, wait_ns);
                        wal->asleep = false;
                        if (woken) {
                                waited_ns += (uint64_t)(os_mono_ns(wal->os) - started);
                                continue;
                        }
                        started = os_mono_ns(wal->os);
                }
                waited_ns += wait_ns;
                bool due = waited_ns >= soft_ns && !wal->syncing;
                if (due)
                        round_flush(wal);
                else
                        round_run(wal, false);
                wrote_ns = os_mono_ns(wal->os);
                waited_ns = due ? 0 : waited_ns + (uint64_t)(os_mono_ns(wal->os) - started);
        }
        mutex_unlock(&wal->mu);
}

/* --- the face --- */

static void wal_free(Wal *wal)
{
        os_file_close(wal->file);
        chunks_free(wal->oldest);
        chunks_free(wal->spare);
        wal_segments_done(&wal->segments);
        wal_contents_done(&wal->contents);
        cond_done(&wal->work);
        cond_done(&wal->sync_work);
        cond_done(&wal->done);
        mutex_done(&wal->mu);
        mem_free(wal);
}

static void frame_fill(Wal *wal, uint8_t *out, const WalFrame *frame, WalFrameKind kind)
{
        WalFrameHeader header = {.magic = WAL_FRAME_MAGIC,
                                 .body_size = (uint32_t)frame->body.size,
                                 .position = frame->position,
                                 .kind = kind,
                                 .synced = atomic_load_explicit(&wal->durable, memory_order_relaxed),
                                 .wall_us = frame->wall_us};
        size_t size = sizeof(header) + frame->body.size;
        memcpy(out, &header, sizeof(header));
        if (frame->body.size)
                memcpy(out + sizeof(header), frame->body.data, frame->body.size);
        memset(out + size, 0, wal_frame_bytes(frame->body.size) - size);
        store_u64(out, bytes_hash(out + 8, size - 8) ^ wal->salt);
}

static void tail_add(Wal *wal, Chunk *chunk, const WalFrame *frame) REQUIRES(wal->mu)
{
        size_t bytes = wal_frame_bytes(frame->body.size);
        frame_fill(wal, chunk->data + chunk->size, frame, WAL_COMMIT);
        if (chunk->size == 0)
                chunk->first_position = frame->position;
        chunk->size += bytes;
        chunk->last_position = frame->position;
        wal->tail_bytes += bytes;
}

/* A readable frame that nothing proves to be durable. It may be in the system's cache only, and after a failed sync it
 * stays there looking whole although no later sync of that file writes it. So it goes to a new segment, as after a
 * failure (log I4). */
static Status tail_again(void *ctx, const WalFrame *frame) NO_TSA
{
        Wal *wal = ctx;
        Chunk *chunk;
        TRY(tail_reserve(wal, wal_frame_bytes(frame->body.size), &chunk));
        tail_add(wal, chunk, frame);
        return ST_OK;
}

Status wal_open(OsDir *dir, const WalOptions *options, uint64_t after_position, Wal **ret_wal) NO_TSA
{
        Wal *wal = mem_zalloc(sizeof(Wal));
        if (!wal)
                return status_nomem();
        mutex_init(&wal->mu);
        cond_init(&wal->work);
        cond_init(&wal->sync_work);
        cond_init(&wal->done);
        wal->dir = dir;
        wal->os = os_dir_os(dir);
        wal->options = *options;
        wal->chunk_bytes = MIN(CHUNK_BYTES, options->tail_max_bytes / 8);
        wal->wall_us = options->wall_us;
        WalContents *contents = &wal->contents;
        Status st = os_random(wal->os, &wal->salt, sizeof(wal->salt));
        if (!st)
                st = os_random(wal->os, &wal->run_id, sizeof(wal->run_id));
        if (!st)
                st = wal_contents_read(dir, after_position, contents);
        for (size_t i = 0; i < contents->segments.count && !st; i++) {
                wal->file_bytes += contents->segments.items[i].bytes;
                st = wal_segments_add(&wal->segments, contents->segments.items[i]);
                if (i + 1 < contents->segments.count && contents->segments.items[i + 1].first - 1 <= after_position)
                        wal->kept_bytes = wal->file_bytes;
        }
        wal->generation = MAX(contents->generation, options->generation);
        wal->last_position = contents->last;
        wal->written_position = contents->proved;
        atomic_store(&wal->durable, contents->proved);
        atomic_store(&wal->seen, contents->last);
        wal->told = contents->last;
        wal->begin = contents->segments.count ? contents->segments.items[0].first : contents->last + 1;
        wal->run_count = contents->run_count;
        memcpy(wal->runs, contents->runs, sizeof(wal->runs));
        wal->anew = contents->proved < contents->last;
        if (!st && wal->anew)
                st = wal_frames_read(dir, contents, contents->proved, tail_again, wal);
        if (st) {
                wal_free(wal);
                return st;
        }
        *ret_wal = wal;
        return ST_OK;
}

/* --- replay --- */

typedef struct Replay {
        Wal *wal;
        Status (*call)(void *ctx, const WalFrame *frame);
        void *ctx;
        uint64_t last;
        bool stop; /* recover_to ends before this frame */
} Replay;

static Status replay_frame(void *ctx, const WalFrame *frame) NO_TSA
{
        Replay *replay = ctx;
        Wal *wal = replay->wal;
        const StoreMoment *to = &wal->options.recover_to;
        if (to->position ? frame->position > to->position : to->wall_us && frame->wall_us > to->wall_us) {
                replay->stop = true;
                return status_new(ERR_CANCELLED, "the moment to recover is reached");
        }
        TRY(replay->call(replay->ctx, frame));
        replay->last = frame->position;
        wal->wall_us = MAX(wal->wall_us, frame->wall_us);
        wal->stats.replayed_frames++;
        wal->stats.replayed_bytes += wal_frame_bytes(frame->body.size);
        return ST_OK;
}

/* The log ends before the moment that is asked for, or begins behind it. */
static Status moment_check(Wal *wal, const Replay *replay) REQUIRES(wal->mu)
{
        const StoreMoment *to = &wal->options.recover_to;
        if (to->position && replay->last != to->position)
                return status_new(ERR_NOT_FOUND,
                                  "commit %" PRIu64 " is not in the log in %s, which reaches to commit %" PRIu64,
                                  to->position, os_dir_path(wal->dir), replay->last);
        if (!to->position && !replay->stop && wal->wall_us < to->wall_us)
                return status_new(ERR_NOT_FOUND,
                                  "the log in %s reaches to commit %" PRIu64 ", of %" PRId64
                                  " microseconds since 1970, and not to %" PRId64,
                                  os_dir_path(wal->dir), replay->last, wal->wall_us, to->wall_us);
        return ST_OK;
}

Status wal_replay(Wal *wal, uint64_t after_position, Status (*call)(void *ctx, const WalFrame *frame), void *ctx) NO_TSA
{
        Replay replay = {.wal = wal, .call = call, .ctx = ctx, .last = after_position};
        const StoreMoment *to = &wal->options.recover_to;
        Status st = wal_frames_read(wal->dir, &wal->contents, after_position, replay_frame, &replay);
        if (st && replay.stop)
                st = status_free(st);
        TRY(st);
        if (to->position || to->wall_us) {
                TRY(moment_check(wal, &replay));
                wal->last_position = replay.last;
        }
        return ST_OK;
}

Status wal_forget(Wal *wal) NO_TSA
{
        assert(!wal->started);
        if (wal->last_position == wal->contents.last)
                return ST_OK;
        wal->file = os_file_close(wal->file);
        if (wal->unnamed)
                status_ignore(os_dir_remove(wal->dir, REWRITE_NAME));
        wal->unnamed = wal->anew = wal->failed = false;
        chunks_free(wal->oldest);
        wal->oldest = wal->first = wal->last = NULL;
        wal->tail_bytes = wal->recent_bytes = 0;
        wal->written_position = wal->last_position;
        atomic_store(&wal->durable, wal->last_position);
        atomic_store(&wal->seen, wal->last_position);
        wal->told = wal->last_position;
        TRY(wal_overruled_remove(wal));
        const WalSegments *found = &wal->contents.segments;
        uint64_t last_found = found->count ? found->items[found->count - 1].generation : 0;
        uint64_t next = wal->contents.last + 1;
        while (wal->segments.count) {
                const WalSegment *segment = &wal->segments.items[wal->segments.count - 1];
                /* The one that was the last holds all up to the end, even if it was written anew meanwhile. */
                uint64_t end = segment->generation >= last_found ? wal->contents.last : next - 1;
                if (end <= wal->last_position)
                        break;
                TRY(wal_file_remove(wal, segment));
                TRY(os_dir_sync(wal->dir));
                next = segment->first;
                wal->file_bytes -= segment->bytes;
                wal->segments.count--;
        }
        wal->contents.last = wal->last_position;
        /* What is left may end before wal_last(): readers begin behind it. */
        wal->begin = wal->last_position + 1;
        return ST_OK;
}

Status wal_start(Wal *wal) NO_TSA
{
        assert(!wal->started);
        if (wal->run_count == WAL_RUNS_MAX)
                memmove(wal->runs, wal->runs + 1, --wal->run_count * sizeof(WalRun));
        wal->runs[wal->run_count++] = (WalRun){.id = wal->run_id, .after = wal->last_position};
        if (wal->options.background) {
                TRY(thread_start(&wal->sync_thread, "log sync", sync_thread, wal));
                Status st = thread_start(&wal->thread, "log", log_thread, wal);
                if (st) {
                        sync_thread_end(wal);
                        return st;
                }
        }
        wal->started = true;
        if (atomic_load(&wal->durable) < wal->last_position) {
                /* A failure here is one of the log, not of opening it: what is there can be read. */
                if (wal->options.background) {
                        status_ignore(wal_sync(wal, wal->last_position));
                } else {
                        mutex_lock(&wal->mu);
                        round_run(wal, true);
                        mutex_unlock(&wal->mu);
                }
        }
        return ST_OK;
}

/* So that damage to the last commits is told from a torn tail. Best effort: without it the log is as after a crash. */
static void write_seal(Wal *wal)
{
        uint8_t seal[sizeof(WalFrameHeader)];
        if (wal->file && !wal->failed && atomic_load(&wal->durable) == wal->last_position) {
                WalFrame frame = {.position = wal->last_position, .wall_us = wal->wall_us};
                frame_fill(wal, seal, &frame, WAL_SEAL);
                status_ignore(os_file_write_at(wal->file, wal->offset, seal, sizeof(seal)));
        }
}

Status wal_close(Wal *wal) NO_TSA
{
        if (!wal)
                return ST_OK;
        if (!wal->started) { /* an opening that failed leaves the files as they were */
                wal_free(wal);
                return ST_OK;
        }
        Status st = ST_OK;
        mutex_lock(&wal->mu);
        wal->closing = true;
        cond_broadcast(&wal->work);
        cond_broadcast(&wal->done);
        if (!wal->options.background && wal->last_position > atomic_load(&wal->durable))
                round_run(wal, true);
        mutex_unlock(&wal->mu);
        if (wal->options.background) {
                thread_join(&wal->thread);
                sync_thread_end(wal);
        }
        if (atomic_load(&wal->durable) < wal->last_position)
                st = failure(wal);
        write_seal(wal);
        wal_free(wal);
        return st;
}

Status wal_append(Wal *wal, Bytes body, uint64_t *ret_position)
{
        size_t bytes = wal_frame_bytes(body.size);
        Status st = ST_OK;
        Chunk *chunk = NULL;
        bool wake = false;
        if (body.size > WAL_MAX_BODY_BYTES)
                return status_new(ERR_LIMIT, "the commit has %zu bytes, more than %zu", body.size, WAL_MAX_BODY_BYTES);
        mutex_lock(&wal->mu);
        while (!wal->failed && wal->tail_bytes > 0 && wal->tail_bytes + bytes > wal->options.tail_max_bytes) {
                if (wal->options.background) {
                        wal->want = MAX(wal->want, wal->last_position);
                        cond_signal(&wal->work);
                        cond_wait(&wal->done, &wal->mu);
                } else if (!round_run(wal, true)) {
                        break;
                }
        }
        if (wal->failed)
                st = failure(wal);
        else
                st = tail_reserve(wal, bytes, &chunk);
        if (!st) {
                wal->wall_us = MAX(wal->wall_us, os_wall_us(wal->os));
                WalFrame frame = {.position = ++wal->last_position, .wall_us = wal->wall_us, .body = body};
                tail_add(wal, chunk, &frame);
                *ret_position = wal->last_position;
                /* Asleep: the thread must start to count. Large: it must not wait on. Otherwise it wakes by itself. */
                wake = wal->asleep ||
                       (!wal->syncing && wal->tail_bytes >= MIN(SYNC_AT_BYTES, wal->options.tail_max_bytes / 2));
        }
        mutex_unlock(&wal->mu);
        if (wake)
                cond_signal(&wal->work);
        return st;
}

uint64_t wal_last(Wal *wal)
{
        mutex_lock(&wal->mu);
        uint64_t last = wal->last_position;
        mutex_unlock(&wal->mu);
        return last;
}

int64_t wal_last_wall_us(Wal *wal)
{
        mutex_lock(&wal->mu);
        int64_t wall_us = wal->wall_us;
        mutex_unlock(&wal->mu);
        return wall_us;
}

uint64_t wal_generation(Wal *wal)
{
        mutex_lock(&wal->mu);
        uint64_t generation = wal->generation;
        mutex_unlock(&wal->mu);
        return generation;
}

uint64_t wal_durable(Wal *wal)
{
        return atomic_load_explicit(&wal->durable, memory_order_acquire);
}

void wal_sync_soon(Wal *wal, uint64_t position)
{
        if (wal_durable(wal) >= position)
                return;
        mutex_lock(&wal->mu);
        bool wake = !wal->busy && !wal->syncing && !wal->failed && position > wal->want;
        wal->want = MAX(wal->want, MIN(position, wal->last_position));
        mutex_unlock(&wal->mu);
        if (wake)
                cond_signal(&wal->work);
}

Status wal_sync(Wal *wal, uint64_t position)
{
        Status st = ST_OK;
        if (wal_durable(wal) >= position)
                return ST_OK;
        wal_sync_soon(wal, position);
        mutex_lock(&wal->mu);
        position = MIN(position, wal->last_position);
        while (atomic_load(&wal->durable) < position && !st) {
                if (wal->failed)
                        st = failure(wal);
                else if (wal->closing)
                        st = status_new(ERR_CLOSED, "the log is closed");
                else if (wal->options.background && wal->started)
                        cond_wait(&wal->done, &wal->mu);
                else
                        round_run(wal, true);
        }
        mutex_unlock(&wal->mu);
        return st;
}

Status wal_error(Wal *wal)
{
        mutex_lock(&wal->mu);
        Status st = wal->failed ? failure(wal) : ST_OK;
        mutex_unlock(&wal->mu);
        return st;
}

void wal_on_change(Wal *wal, void (*changed)(void *ctx), void *ctx)
{
        mutex_lock(&wal->mu);
        wal->changed = changed;
        wal->changed_ctx = ctx;
        mutex_unlock(&wal->mu);
}

void wal_rotate(Wal *wal)
{
        mutex_lock(&wal->mu);
        wal->rotate = true;
        mutex_unlock(&wal->mu);
}

uint64_t wal_bytes(Wal *wal)
{
        mutex_lock(&wal->mu);
        uint64_t bytes = wal->file_bytes;
        mutex_unlock(&wal->mu);
        return bytes;
}

void wal_stats(Wal *wal, WalStats *ret_stats)
{
        mutex_lock(&wal->mu);
        *ret_stats = wal->stats;
        ret_stats->segment_count = wal->segments.count;
        ret_stats->tail_bytes = wal->tail_bytes;
        ret_stats->recent_bytes = wal->recent_bytes;
        ret_stats->reader_count = 0;
        for (const WalReader *reader = wal->readers; reader; reader = reader->next)
                ret_stats->reader_count++;
        mutex_unlock(&wal->mu);
}

Status wal_step(Wal *wal)
{
        Status st = ST_OK;
        mutex_lock(&wal->mu);
        assert(!wal->options.background);
        if (wal->failed || wal->last_position > atomic_load(&wal->durable))
                if (!round_run(wal, true))
                        st = failure(wal);
        mutex_unlock(&wal->mu);
        return st;
}

Status wal_step_write(Wal *wal)
{
        Status st = ST_OK;
        mutex_lock(&wal->mu);
        assert(!wal->options.background);
        if (!round_run(wal, false))
                st = failure(wal);
        mutex_unlock(&wal->mu);
        return st;
}
