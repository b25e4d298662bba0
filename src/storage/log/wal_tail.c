/* wal_tail.c - following the log: readers of frames in order, from memory or from the files; and who wrote them.
 *
 *      position  begin ............ durable ...... seen ...... last
 *      files     |<--- segments --->|
 *      memory             |<- recent ->|<------- the tail ------->|      readers get what is up to `seen`
 *
 * Where the next frame is, is looked up under the log's lock; it is read without. What is in memory below a chunk's
 * size never changes; what is in a file below `durable` never changes either, and a file stays readable when its name
 * is removed. */
#include "storage/log/wal_int.h"

#include <assert.h>
#include <inttypes.h>

#include "base/mem.h"

#define WINDOW_BYTES ((size_t)64 << 10)

Status wal_reader_open(Wal *wal, uint64_t after_position, WalReader **ret_reader)
{
        WalReader *reader = mem_zalloc(sizeof(WalReader));
        if (!reader)
                return status_nomem();
        reader->wal = wal;
        atomic_store(&reader->position, after_position);
        wal_window_init(&reader->window, WINDOW_BYTES);
        mutex_lock(&wal->mu);
        uint64_t begin = wal->begin;
        if (after_position + 1 >= begin) {
                reader->next = wal->readers;
                if (reader->next)
                        reader->next->previous = reader;
                wal->readers = reader;
        }
        mutex_unlock(&wal->mu);
        if (after_position + 1 < begin) {
                mem_free(reader);
                return status_new(ERR_NOT_FOUND,
                                  "commit %" PRIu64 " is not in the log any more, which begins with commit %" PRIu64,
                                  after_position + 1, begin);
        }
        *ret_reader = reader;
        return ST_OK;
}

static void chunk_unref(Wal *wal, WalReader *reader) REQUIRES(wal->mu)
{
        Chunk *chunk = reader->chunk;
        if (chunk && --chunk->refs == 0 && chunk->detached)
                wal_chunk_free(wal, chunk);
        reader->chunk = NULL;
}

void wal_reader_close(WalReader *reader)
{
        if (!reader)
                return;
        Wal *wal = reader->wal;
        mutex_lock(&wal->mu);
        chunk_unref(wal, reader);
        if (reader->previous)
                reader->previous->next = reader->next;
        else
                wal->readers = reader->next;
        if (reader->next)
                reader->next->previous = reader->previous;
        wal_recent_trim(wal);
        mutex_unlock(&wal->mu);
        wal_window_done(&reader->window);
        mem_free(reader);
}

uint64_t wal_reader_position(const WalReader *reader)
{
        return atomic_load_explicit(&reader->position, memory_order_relaxed);
}

/* The frame `want` is in memory: *ret_found. */
static void find_chunk(Wal *wal, WalReader *reader, uint64_t want, bool *ret_found) REQUIRES(wal->mu)
{
        Chunk *chunk = reader->chunk;
        *ret_found = false;
        if (!chunk || reader->offset == chunk->size || want > chunk->last_position) {
                chunk_unref(wal, reader);
                for (chunk = wal->oldest; chunk; chunk = chunk->next)
                        if (chunk->size > 0 && chunk->first_position <= want && want <= chunk->last_position)
                                break;
                if (!chunk)
                        return;
                chunk->refs++;
                reader->chunk = chunk;
                reader->offset = 0;
        }
        reader->end = chunk->size;
        reader->limit = atomic_load(&wal->seen) + 1;
        *ret_found = true;
}

/* The segment that has it: the newest of those that begin early enough. */
static Status find_segment(Wal *wal, WalReader *reader, uint64_t want, WalSegment *ret_segment) REQUIRES(wal->mu)
{
        uint64_t limit = atomic_load(&wal->durable) + 1;
        if (want < wal->begin)
                return status_new(ERR_NOT_FOUND,
                                  "commit %" PRIu64 " is not in the log any more, which begins with commit %" PRIu64,
                                  want, wal->begin);
        for (size_t i = wal->segments.count; i-- > 0;) {
                if (wal->segments.items[i].first <= want) {
                        *ret_segment = wal->segments.items[i];
                        reader->limit = limit;
                        return ST_OK;
                }
                limit = MIN(limit, wal->segments.items[i].first);
        }
        return status_new(ERR_CORRUPT, "no log file in %s has commit %" PRIu64, os_dir_path(wal->dir), want);
}

static Status open_segment(WalReader *reader, const WalSegment *segment)
{
        char name[WAL_NAME_BYTES];
        if (!reader->window.file || reader->segment.generation != segment->generation) {
                wal_window_done(&reader->window);
                wal_window_init(&reader->window, WINDOW_BYTES);
                wal_segment_name(segment, name);
                TRY(os_file_open(reader->wal->dir, name, OS_READ, &reader->window.file));
                reader->segment = *segment;
                reader->offset = sizeof(WalSegmentHeader);
        }
        buf_clear(&reader->window.data); /* what it has beyond the old limit may have been half written then */
        Status st = os_file_size(reader->window.file, &reader->window.size);
        if (st)
                reader->window.file = os_file_close(reader->window.file);
        return st;
}

/* Where the next frame is. */
static Status find_frame(WalReader *reader, uint64_t want)
{
        Wal *wal = reader->wal;
        WalSegment segment = {0}, before = {0};
        for (;;) {
                bool in_memory;
                mutex_lock(&wal->mu);
                find_chunk(wal, reader, want, &in_memory);
                Status st = in_memory ? ST_OK : find_segment(wal, reader, want, &segment);
                mutex_unlock(&wal->mu);
                if (in_memory) { /* the file is of no use any more */
                        if (reader->window.file)
                                wal_window_done(&reader->window);
                        return ST_OK;
                }
                TRY(st);
                st = open_segment(reader, &segment);
                /* Removed between the two: there is another one by now, or the log was cut. */
                if (status_code(st) != ERR_NOT_FOUND || segment.generation == before.generation)
                        return st;
                status_ignore(st);
                before = segment;
        }
}

static Status read_memory(WalReader *reader, uint64_t want, WalFrame *ret_frame)
{
        WalFrameHeader header;
        do {
                const uint8_t *data = reader->chunk->data + reader->offset;
                assert(reader->offset < reader->end);
                memcpy(&header, data, sizeof(header));
                *ret_frame = (WalFrame){.position = header.position,
                                        .stream = header.stream,
                                        .term = header.term,
                                        .wall_us = header.wall_us,
                                        .body = BYTES(data + sizeof(header), header.body_size)};
                reader->offset += wal_frame_bytes(header.body_size);
        } while (header.position < want);
        assert(header.position == want);
        return ST_OK;
}

static Status read_file(WalReader *reader, uint64_t want, WalFrame *ret_frame)
{
        WalFrameHeader header = {0};
        const uint8_t *body = NULL;
        do {
                bool valid;
                TRY(wal_frame_get(&reader->window, reader->offset, reader->segment.salt, &header, &body, &valid));
                if (!valid || header.position > want) {
                        char name[WAL_NAME_BYTES];
                        wal_segment_name(&reader->segment, name);
                        return status_new(ERR_CORRUPT,
                                          "log file %s/%s is damaged at offset %zu: commit %" PRIu64 " is not readable",
                                          os_dir_path(reader->wal->dir), name, reader->offset, want);
                }
                if (header.position < want || header.kind != WAL_COMMIT)
                        reader->offset += wal_frame_bytes(header.body_size);
        } while (header.position < want || header.kind != WAL_COMMIT);
        reader->offset += wal_frame_bytes(header.body_size);
        *ret_frame = (WalFrame){.position = header.position,
                                .stream = header.stream,
                                .term = header.term,
                                .wall_us = header.wall_us,
                                .body = BYTES(body, header.body_size)};
        return ST_OK;
}

Status wal_reader_next(WalReader *reader, WalFrame *ret_frame, bool *ret_found)
{
        uint64_t want = wal_reader_position(reader) + 1;
        *ret_found = false;
        if (want > wal_written(reader->wal))
                return ST_OK;
        bool here = reader->chunk ? reader->offset < reader->end : reader->window.file != NULL;
        if (!here || want >= reader->limit)
                TRY(find_frame(reader, want));
        TRY(reader->chunk ? read_memory(reader, want, ret_frame) : read_file(reader, want, ret_frame));
        atomic_store_explicit(&reader->position, want, memory_order_relaxed);
        *ret_found = true;
        return ST_OK;
}

uint64_t wal_written(Wal *wal)
{
        return atomic_load_explicit(&wal->seen, memory_order_acquire);
}

uint64_t wal_reach(Wal *wal)
{
        mutex_lock(&wal->mu);
        uint64_t begin = wal->begin;
        mutex_unlock(&wal->mu);
        return begin - 1;
}

void wal_on_written(Wal *wal, void (*written)(void *ctx), void *ctx)
{
        mutex_lock(&wal->mu);
        wal->written = written;
        wal->written_ctx = ctx;
        mutex_unlock(&wal->mu);
}

void wal_eager(Wal *wal, bool eager)
{
        mutex_lock(&wal->mu);
        wal->eager += eager ? 1 : -1u;
        mutex_unlock(&wal->mu);
        cond_signal(&wal->work);
}

uint64_t wal_run_at(Wal *wal, uint64_t position)
{
        uint64_t id = 0;
        mutex_lock(&wal->mu);
        for (size_t i = 0; i < wal->run_count; i++)
                if (wal->runs[i].after < position)
                        id = wal->runs[i].id;
        mutex_unlock(&wal->mu);
        return id;
}

bool wal_run_find(Wal *wal, uint64_t id, uint64_t *ret_last)
{
        bool found = false;
        uint64_t last = UINT64_MAX;
        mutex_lock(&wal->mu);
        for (size_t i = wal->run_count; i-- > 0 && !found;) {
                found = wal->runs[i].id == id;
                if (!found)
                        last = MIN(last, wal->runs[i].after);
        }
        mutex_unlock(&wal->mu);
        *ret_last = last;
        return found;
}
