/* wal.c - the writing side of the log: a tail of frames in memory, and one thread that writes and syncs it.
 *
 *      append ->  [chunk: synced | written | appended ] -> [chunk: appended] -> ...      held until synced (log I3)
 *                                 ^ write() goes on here
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
#include <stdatomic.h>

#include "base/mem.h"
#include "os/thread.h"

#define CHUNK_BYTES    ((size_t)256 << 10) /* or an eighth of the tail, if that is less */
#define SPARE_CHUNKS   4
#define WRITE_AFTER_MS 20                /* a soft commit reaches the file after this at the latest: survives kill -9 */
#define SYNC_AT_BYTES  ((size_t)8 << 20) /* so much unsynced is synced early, to give the memory back */
#define RETRY_MS       1000
#define ERROR_BYTES    512
#define REWRITE_NAME   "rewrite.tmp"

typedef struct Chunk Chunk;
struct Chunk {
        Chunk *next;
        size_t size, capacity;
        size_t written, synced; /* offsets; synced <= written <= size */
        uint64_t last_position; /* of the last frame in it */
        uint8_t data[];
};

struct Wal {
        OsDir *dir;
        Os *os;
        WalOptions options;
        uint64_t salt;
        size_t chunk_bytes;
        void (*changed)(void *ctx);
        void *changed_ctx;
        Thread thread;
        atomic_uint_fast64_t durable;

        Mutex mu;  /* order 80 in docs/locks.md */
        Cond work; /* the log thread waits */
        Cond done; /* everybody else waits */
        /* --- GUARDED_BY(mu) --- */
        Chunk *first, *last; /* the tail */
        Chunk *spare;
        unsigned spare_count;
        uint64_t last_position, written_position;
        uint64_t want;      /* somebody waits for this position */
        size_t tail_bytes;  /* appended, not synced */
        bool asleep;        /* the log thread waits without a time limit */
        bool closing, busy; /* busy: a round is running */
        bool rotate;
        bool failed;
        StatusCode error_code;
        char error[ERROR_BYTES];
        WalSegments segments;
        WalStats stats;
        uint64_t file_bytes; /* sum over segments */
        /* --- the running round; else GUARDED_BY(mu) --- */
        OsFile *file; /* NULL: the next frame starts a segment */
        bool anew;    /* the next segment holds what may be in older ones too; see segment_start */
        bool unnamed; /* `file` is REWRITE_NAME */
        WalSegment current;
        uint64_t offset, generation;
};

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
                chunk->size = chunk->written = chunk->synced = 0;
                if (wal->last)
                        wal->last->next = chunk;
                else
                        wal->first = chunk;
                wal->last = chunk;
        }
        *ret_chunk = chunk;
        return ST_OK;
}

/* Everything written is synced now. */
static void tail_release(Wal *wal) REQUIRES(wal->mu)
{
        while (wal->first) {
                Chunk *chunk = wal->first;
                wal->tail_bytes -= chunk->written - chunk->synced;
                chunk->synced = chunk->written;
                if (chunk->synced < chunk->size)
                        break;
                if (chunk->capacity == wal->chunk_bytes && chunk == wal->last) {
                        chunk->size = chunk->written = chunk->synced = 0;
                        break;
                }
                wal->first = chunk->next;
                if (!wal->first)
                        wal->last = NULL;
                if (chunk->capacity == wal->chunk_bytes && wal->spare_count < SPARE_CHUNKS) {
                        chunk->next = wal->spare;
                        wal->spare = chunk;
                        wal->spare_count++;
                } else {
                        mem_free(chunk);
                }
        }
}

static void chunks_free(Chunk *chunk)
{
        while (chunk) {
                Chunk *next = chunk->next;
                mem_free(chunk);
                chunk = next;
        }
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
        WalSegment segment = {.first = first, .generation = wal->generation + 1, .bytes = sizeof(WalSegmentHeader)};
        WalSegmentHeader header = {.magic = WAL_SEGMENT_MAGIC,
                                   .version = WAL_VERSION,
                                   .header_bytes = sizeof(header),
                                   .first_position = first,
                                   .generation = segment.generation,
                                   .salt = wal->salt};
        char name[WAL_NAME_BYTES] = REWRITE_NAME;
        int flags = OS_READ | OS_WRITE | OS_CREATE | (wal->anew ? OS_TRUNCATE : OS_EXCLUSIVE);
        header.checksum = bytes_hash((const uint8_t *)&header + 8, sizeof(header) - 8);
        if (!wal->anew)
                wal_segment_name(&segment, name);
        mutex_lock(&wal->mu);
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
        mutex_unlock(&wal->mu);
        return ST_OK;
}

static Status round_sync(Wal *wal)
{
        int64_t started = os_mono_ns(wal->os);
        TRY_CTX(os_file_sync(wal->file), "syncing the log in %s", os_dir_path(wal->dir));
        uint64_t ns = (uint64_t)(os_mono_ns(wal->os) - started);
        if (wal->unnamed)
                TRY_CTX(segment_name(wal), "naming a log file in %s", os_dir_path(wal->dir));
        mutex_lock(&wal->mu);
        wal->stats.sync_count++;
        wal->stats.sync_ns_total += ns;
        wal->stats.sync_ns_max = MAX(wal->stats.sync_ns_max, ns);
        tail_release(wal);
        atomic_store_explicit(&wal->durable, wal->written_position, memory_order_release);
        cond_broadcast(&wal->done);
        mutex_unlock(&wal->mu);
        return ST_OK;
}

static Status round_write(Wal *wal, uint64_t target, bool sync)
{
        for (;;) {
                const uint8_t *data = NULL;
                size_t size = 0, to = 0;
                uint64_t first = 0, last = 0;
                bool rotate, unsynced;
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
                unsynced = wal->written_position > atomic_load(&wal->durable);
                rotate = wal->rotate;
                mutex_unlock(&wal->mu);
                if (size == 0) {
                        if ((sync || wal->anew) && unsynced)
                                TRY(round_sync(wal));
                        return ST_OK;
                }
                if (wal->file && !wal->unnamed && (rotate || wal->offset >= wal->options.segment_bytes)) {
                        if (unsynced)
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
                }
                mutex_unlock(&wal->mu);
        }
}

/* Removes a segment from the disk and the list. One that is gone already is fine. */
static Status segment_remove(Wal *wal, size_t at) REQUIRES(wal->mu)
{
        char name[WAL_NAME_BYTES];
        wal_segment_name(&wal->segments.items[at], name);
        Status st = os_dir_remove(wal->dir, name);
        if (st && status_code(st) != ERR_NOT_FOUND)
                return status_context(st, "removing log file %s/%s", os_dir_path(wal->dir), name);
        status_ignore(st);
        wal->file_bytes -= wal->segments.items[at].bytes;
        wal->segments.count--;
        memmove(&wal->segments.items[at], &wal->segments.items[at + 1],
                (wal->segments.count - at) * sizeof(WalSegment));
        return ST_OK;
}

/* The segment cannot be trusted any more: what was written to it and not synced is written anew, to another. */
static void round_failed(Wal *wal, Status st)
{
        char text[ERROR_BYTES];
        bool named = wal->file && !wal->anew;
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
        /* A segment that holds nothing durable is of no use. */
        if (named && wal->segments.count && wal->segments.items[wal->segments.count - 1].first == durable + 1)
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
        mutex_unlock(&wal->mu);
        Status st = round_write(wal, target, sync);
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
        if (news && wal->changed)
                wal->changed(wal->changed_ctx);
        mutex_lock(&wal->mu);
        wal->busy = false;
        cond_broadcast(&wal->done);
        return worked;
}

static void log_thread(void *arg)
{
        Wal *wal = arg;
        uint64_t waited_ms = 0; /* since the oldest unsynced frame was noticed */
        mutex_lock(&wal->mu);
        for (;;) {
                uint64_t durable = atomic_load(&wal->durable);
                if (wal->failed && !wal->closing) {
                        cond_wait_for(&wal->work, &wal->mu, RETRY_MS * UINT64_C(1000000));
                        if (!wal->closing)
                                round_run(wal, true);
                        waited_ms = 0;
                        continue;
                }
                if (wal->closing) {
                        if (wal->last_position > durable)
                                round_run(wal, true);
                        break;
                }
                if (wal->last_position == durable) {
                        waited_ms = 0;
                        wal->asleep = true;
                        cond_wait(&wal->work, &wal->mu);
                        wal->asleep = false;
                        continue;
                }
                if (wal->want > durable || wal->tail_bytes >= MIN(SYNC_AT_BYTES, wal->options.tail_max_bytes / 2)) {
                        round_run(wal, true);
                        waited_ms = 0;
                        continue;
                }
                /* Only soft commits: written soon, synced later. A wait that was cut short is measured, any other is
                 * counted: the clock of a simulated machine stands still. */
                bool nothing_to_write = wal->written_position == wal->last_position;
                uint64_t wait_ms = wal->options.soft_sync_ms > waited_ms ? wal->options.soft_sync_ms - waited_ms : 0;
                if (!nothing_to_write)
                        wait_ms = MIN(wait_ms, (uint64_t)WRITE_AFTER_MS);
                if (wait_ms > 0) {
                        int64_t started = os_mono_ns(wal->os);
                        wal->asleep = nothing_to_write;
                        bool woken = cond_wait_for(&wal->work, &wal->mu, wait_ms * UINT64_C(1000000));
                        wal->asleep = false;
                        if (woken) {
                                waited_ms += (uint64_t)(os_mono_ns(wal->os) - started) / 1000000;
                                continue;
                        }
                }
                waited_ms += wait_ms;
                bool due = waited_ms >= wal->options.soft_sync_ms;
                round_run(wal, due);
                if (due)
                        waited_ms = 0;
        }
        mutex_unlock(&wal->mu);
}

/* --- the face --- */

static void wal_free(Wal *wal)
{
        os_file_close(wal->file);
        chunks_free(wal->first);
        chunks_free(wal->spare);
        wal_segments_done(&wal->segments);
        cond_done(&wal->work);
        cond_done(&wal->done);
        mutex_done(&wal->mu);
        mem_free(wal);
}

static void frame_fill(Wal *wal, uint8_t *out, uint64_t position, WalFrameKind kind, Bytes body)
{
        WalFrameHeader header = {.magic = WAL_FRAME_MAGIC,
                                 .body_size = (uint32_t)body.size,
                                 .position = position,
                                 .kind = kind,
                                 .synced = atomic_load_explicit(&wal->durable, memory_order_relaxed)};
        size_t size = sizeof(header) + body.size;
        memcpy(out, &header, sizeof(header));
        if (body.size)
                memcpy(out + sizeof(header), body.data, body.size);
        memset(out + size, 0, wal_frame_bytes(body.size) - size);
        store_u64(out, bytes_hash(out + 8, size - 8) ^ wal->salt);
}

/* A readable frame that nothing proves to be durable. It may be in the system's cache only, and after a failed sync it
 * stays there looking whole although no later sync of that file writes it. So it goes to a new segment, as after a
 * failure (log I4). */
static Status tail_again(void *ctx, const WalFrame *frame) NO_TSA
{
        Wal *wal = ctx;
        size_t bytes = wal_frame_bytes(frame->body.size);
        Chunk *chunk;
        TRY(tail_reserve(wal, bytes, &chunk));
        frame_fill(wal, chunk->data + chunk->size, frame->position, WAL_COMMIT, frame->body);
        chunk->size += bytes;
        chunk->last_position = frame->position;
        wal->tail_bytes += bytes;
        return ST_OK;
}

Status wal_open(OsDir *dir, const WalOptions *options, uint64_t after_position,
                Status (*replay)(void *ctx, const WalFrame *frame), void *ctx, Wal **ret_wal) NO_TSA
{
        Wal *wal = mem_zalloc(sizeof(Wal));
        WalContents contents = {0};
        if (!wal)
                return status_nomem();
        mutex_init(&wal->mu);
        cond_init(&wal->work);
        cond_init(&wal->done);
        wal->dir = dir;
        wal->os = os_dir_os(dir);
        wal->options = *options;
        wal->chunk_bytes = MIN(CHUNK_BYTES, options->tail_max_bytes / 8);
        Status st = os_random(wal->os, &wal->salt, sizeof(wal->salt));
        if (!st)
                st = wal_read(dir, after_position, replay, ctx, &contents);
        wal->segments = contents.segments;
        wal->generation = contents.generation;
        wal->stats.replayed_frames = contents.frames;
        wal->last_position = contents.last;
        wal->written_position = contents.proved;
        atomic_store(&wal->durable, contents.proved);
        for (size_t i = 0; i < wal->segments.count; i++)
                wal->file_bytes += wal->segments.items[i].bytes;
        wal->anew = contents.proved < contents.last;
        if (!st && wal->anew)
                st = wal_read_last(dir, &contents, contents.proved, tail_again, wal);
        if (!st && options->background)
                st = thread_start(&wal->thread, "log", log_thread, wal);
        if (st) {
                wal_free(wal);
                return st;
        }
        if (contents.proved < contents.last) {
                /* A failure here is one of the log, not of opening it: what is there can be read. */
                if (options->background) {
                        status_ignore(wal_sync(wal, wal->last_position));
                } else {
                        mutex_lock(&wal->mu);
                        round_run(wal, true);
                        mutex_unlock(&wal->mu);
                }
        }
        *ret_wal = wal;
        return ST_OK;
}

/* So that damage to the last commits is told from a torn tail. Best effort: without it the log is as after a crash. */
static void write_seal(Wal *wal)
{
        uint8_t seal[sizeof(WalFrameHeader)];
        if (wal->file && !wal->failed && atomic_load(&wal->durable) == wal->last_position) {
                frame_fill(wal, seal, wal->last_position, WAL_SEAL, BYTES_NONE);
                status_ignore(os_file_write_at(wal->file, wal->offset, seal, sizeof(seal)));
        }
}

Status wal_close(Wal *wal) NO_TSA
{
        if (!wal)
                return ST_OK;
        Status st = ST_OK;
        mutex_lock(&wal->mu);
        wal->closing = true;
        cond_broadcast(&wal->work);
        cond_broadcast(&wal->done);
        if (!wal->options.background && wal->last_position > atomic_load(&wal->durable))
                round_run(wal, true);
        mutex_unlock(&wal->mu);
        if (wal->options.background)
                thread_join(&wal->thread);
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
                frame_fill(wal, chunk->data + chunk->size, ++wal->last_position, WAL_COMMIT, body);
                chunk->size += bytes;
                chunk->last_position = wal->last_position;
                wal->tail_bytes += bytes;
                *ret_position = wal->last_position;
                /* Asleep: the thread must start to count. Large: it must not wait on. Otherwise it wakes by itself. */
                wake = wal->asleep || wal->tail_bytes >= MIN(SYNC_AT_BYTES, wal->options.tail_max_bytes / 2);
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

uint64_t wal_durable(Wal *wal)
{
        return atomic_load_explicit(&wal->durable, memory_order_acquire);
}

void wal_sync_soon(Wal *wal, uint64_t position)
{
        if (wal_durable(wal) >= position)
                return;
        mutex_lock(&wal->mu);
        bool wake = !wal->busy && !wal->failed && position > wal->want;
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
                else if (wal->options.background)
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

Status wal_cut(Wal *wal, uint64_t position)
{
        _cleanup_(mem_freep) WalSegment *cut = NULL;
        Status st = ST_OK;
        size_t n = 0;
        mutex_lock(&wal->mu);
        while (wal->busy)
                cond_wait(&wal->done, &wal->mu);
        while (n + 1 < wal->segments.count && wal->segments.items[n + 1].first - 1 <= position)
                n++;
        /* The last one goes when nothing in it or in memory is needed any more; the next frame starts another. */
        bool all = n + 1 == wal->segments.count && !wal->failed && wal->last_position <= position &&
                   atomic_load(&wal->durable) == wal->last_position;
        n += all;
        if (n > 0) {
                cut = mem_alloc(n * sizeof(WalSegment));
                if (!cut) {
                        mutex_unlock(&wal->mu);
                        return status_nomem();
                }
                memcpy(cut, wal->segments.items, n * sizeof(WalSegment));
                wal->segments.count -= n;
                memmove(wal->segments.items, wal->segments.items + n, wal->segments.count * sizeof(WalSegment));
                for (size_t i = 0; i < n; i++)
                        wal->file_bytes -= cut[i].bytes;
                if (all)
                        wal->file = os_file_close(wal->file);
        }
        mutex_unlock(&wal->mu);

        /* Oldest first and without the lock: removing large files takes time. What cannot be removed now is found
         * again, and cut, after the next start. */
        for (size_t i = 0; i < n && !st; i++) {
                char name[WAL_NAME_BYTES];
                wal_segment_name(&cut[i], name);
                st = status_context(os_dir_remove(wal->dir, name), "removing log file %s/%s", os_dir_path(wal->dir),
                                    name);
                if (st && status_code(st) == ERR_NOT_FOUND)
                        st = status_free(st);
        }
        if (n > 0 && !st)
                st = os_dir_sync(wal->dir);
        return st;
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
