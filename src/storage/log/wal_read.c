/* wal_read.c - the log's files, read back: which segment holds which positions, what is a torn tail and what is damage.
 */
#include "storage/log/wal_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

#define READ_BYTES ((size_t)1 << 20)

void wal_segment_name(const WalSegment *segment, char out[WAL_NAME_BYTES])
{
        snprintf(out, WAL_NAME_BYTES, "%020" PRIu64 "-%010" PRIu64 ".log", segment->first, segment->generation);
}

void wal_segments_done(WalSegments *segments)
{
        mem_free(segments->items);
        *segments = (WalSegments){0};
}

Status wal_segments_add(WalSegments *segments, WalSegment segment)
{
        if (segments->count == segments->capacity) {
                size_t capacity = MAX(2 * segments->capacity, (size_t)8);
                WalSegment *items = mem_realloc(segments->items, capacity * sizeof(WalSegment));
                if (!items)
                        return status_nomem();
                segments->items = items;
                segments->capacity = capacity;
        }
        segments->items[segments->count++] = segment;
        return ST_OK;
}

static bool parse_digits(const char **text, unsigned least, uint64_t *ret)
{
        unsigned n = 0;
        uint64_t v = 0;
        for (; **text >= '0' && **text <= '9'; (*text)++, n++)
                if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(**text - '0'), &v))
                        return false;
        *ret = v;
        return n >= least;
}

/* Names that are not ours are left alone. */
static Status list_segment(void *ctx, const char *name)
{
        WalSegments *segments = ctx;
        WalSegment segment = {0};
        char again[WAL_NAME_BYTES];
        const char *p = name;
        if (!parse_digits(&p, 20, &segment.first) || *p++ != '-' || !parse_digits(&p, 10, &segment.generation))
                return ST_OK;
        wal_segment_name(&segment, again);
        return strcmp(again, name) == 0 ? wal_segments_add(segments, segment) : ST_OK;
}

static int segment_compare(const void *a, const void *b)
{
        const WalSegment *x = a, *y = b;
        if (x->generation != y->generation)
                return x->generation < y->generation ? -1 : 1;
        return (x->first > y->first) - (x->first < y->first);
}

/* A window of a file. */
typedef struct Reader {
        OsFile *file;
        uint64_t size;
        uint64_t start; /* where the window begins in the file */
        Buf window;
} Reader;

static void reader_done(Reader *reader)
{
        os_file_close(reader->file);
        buf_done(&reader->window);
}

/* *ret_data = `size` bytes at `offset`, which the file has; valid until the next call. */
static Status reader_get(Reader *reader, uint64_t offset, size_t size, const uint8_t **ret_data)
{
        if (offset < reader->start || offset + size > reader->start + reader->window.size) {
                size_t got, n = (size_t)MIN((uint64_t)MAX(size, READ_BYTES), reader->size - offset);
                buf_clear(&reader->window);
                TRY(buf_reserve(&reader->window, n));
                TRY(os_file_read_at(reader->file, offset, reader->window.data, n, &got));
                reader->start = offset;
                reader->window.size = got;
                if (got < size)
                        return status_new(ERR_IO, "the file became shorter while it was read");
        }
        *ret_data = reader->window.data + (offset - reader->start);
        return ST_OK;
}

/* Is there a whole frame at `offset`? Then *ret_header and *ret_body (valid until the next read) say what. */
static Status frame_get(Reader *reader, uint64_t offset, uint64_t salt, WalFrameHeader *ret_header,
                        const uint8_t **ret_body, bool *ret_valid)
{
        const uint8_t *data;
        *ret_valid = false;
        if (offset + sizeof(WalFrameHeader) > reader->size)
                return ST_OK;
        TRY(reader_get(reader, offset, sizeof(WalFrameHeader), &data));
        memcpy(ret_header, data, sizeof(*ret_header));
        if (ret_header->magic != WAL_FRAME_MAGIC || ret_header->body_size > WAL_MAX_BODY_BYTES)
                return ST_OK;
        size_t size = sizeof(WalFrameHeader) + ret_header->body_size;
        if (size > reader->size - offset)
                return ST_OK;
        TRY(reader_get(reader, offset, size, &data));
        *ret_valid = (bytes_hash(data + 8, size - 8) ^ salt) == ret_header->checksum;
        *ret_body = data + sizeof(WalFrameHeader);
        return ST_OK;
}

/* Does a later frame of this file prove that `position` was durable once? Frames begin at multiples of 8. A client
 * cannot plant one inside its data: it does not know the salt. */
static Status was_durable(Reader *reader, uint64_t offset, uint64_t salt, uint64_t position, bool *ret_proved)
{
        *ret_proved = false;
        for (; offset + sizeof(WalFrameHeader) <= reader->size; offset += 8) {
                const uint8_t *data, *body;
                WalFrameHeader header;
                bool valid;
                TRY(reader_get(reader, offset, sizeof(WalFrameHeader), &data));
                if (load_u32(data + offsetof(WalFrameHeader, magic)) != WAL_FRAME_MAGIC ||
                    load_u64(data + offsetof(WalFrameHeader, synced)) < position)
                        continue;
                TRY(frame_get(reader, offset, salt, &header, &body, &valid));
                if (valid) {
                        *ret_proved = true;
                        return ST_OK;
                }
        }
        return ST_OK;
}

typedef struct Replay {
        uint64_t after;
        Status (*call)(void *ctx, const WalFrame *frame);
        void *ctx;
        uint64_t frames;
        uint64_t proved; /* the highest `synced` of any frame of the last segment */
} Replay;

/* Reads the frames of one segment from `*expected` up to (not including) `limit`; the last segment has no limit. */
static Status segment_read(OsDir *dir, WalSegment *segment, uint64_t salt, uint64_t limit, bool last, Replay *replay,
                           uint64_t *expected)
{
        _cleanup_(reader_done) Reader reader = {0};
        char name[WAL_NAME_BYTES];
        wal_segment_name(segment, name);
        buf_init(&reader.window, WAL_MAX_BODY_BYTES + READ_BYTES);
        TRY(os_file_open(dir, name, OS_READ, &reader.file));
        TRY(os_file_size(reader.file, &reader.size));
        uint64_t offset = sizeof(WalSegmentHeader);
        *expected = segment->first;
        while (*expected < limit) {
                WalFrameHeader header;
                const uint8_t *body = NULL;
                bool valid, proved = !last;
                if (last && offset == reader.size)
                        break;
                TRY(frame_get(&reader, offset, salt, &header, &body, &valid));
                if (valid)
                        replay->proved = MAX(replay->proved, header.synced);
                if (valid && header.kind == WAL_SEAL && header.position + 1 == *expected) {
                        offset += wal_frame_bytes(header.body_size);
                        continue;
                }
                if (!valid || header.position != *expected) {
                        if (last)
                                TRY(was_durable(&reader, offset, salt, *expected, &proved));
                        if (proved)
                                return status_new(ERR_CORRUPT,
                                                  "log file %s/%s is damaged at offset %" PRIu64 ": commit %" PRIu64
                                                  " is not readable",
                                                  os_dir_path(dir), name, offset, *expected);
                        break; /* a torn tail: never acknowledged as durable */
                }
                if (header.kind != WAL_COMMIT)
                        return status_new(ERR_VERSION,
                                          "log file %s/%s has a record of kind %u at offset %" PRIu64
                                          ", which only a newer version knows",
                                          os_dir_path(dir), name, header.kind, offset);
                if (header.position > replay->after) {
                        WalFrame frame = {.position = header.position,
                                          .stream = header.stream,
                                          .term = header.term,
                                          .body = BYTES(body, header.body_size)};
                        TRY_CTX(replay->call(replay->ctx, &frame),
                                "replaying log file %s/%s, commit %" PRIu64 " at offset %" PRIu64, os_dir_path(dir),
                                name, header.position, offset);
                        replay->frames++;
                }
                offset += wal_frame_bytes(header.body_size);
                (*expected)++;
        }
        segment->bytes = reader.size;
        return ST_OK;
}

/* The header of a segment. *ret_torn: the power went while the file was made; it never held a frame. */
static Status header_read(OsDir *dir, WalSegment *segment, WalSegmentHeader *ret_header, bool *ret_torn)
{
        _cleanup_(os_file_closep) OsFile *file = NULL;
        char name[WAL_NAME_BYTES];
        size_t got;
        wal_segment_name(segment, name);
        TRY(os_file_open(dir, name, OS_READ, &file));
        TRY(os_file_size(file, &segment->bytes));
        TRY(os_file_read_at(file, 0, ret_header, sizeof(*ret_header), &got));
        bool good = got == sizeof(*ret_header) && ret_header->magic == WAL_SEGMENT_MAGIC &&
                    bytes_hash((const uint8_t *)ret_header + 8, sizeof(*ret_header) - 8) == ret_header->checksum;
        /* The header is synced before the first frame is written (log I2). */
        *ret_torn = !good && segment->bytes <= sizeof(*ret_header);
        if (!good && !*ret_torn)
                return status_new(ERR_CORRUPT, "log file %s/%s is damaged at offset 0: its header is not readable",
                                  os_dir_path(dir), name);
        if (good && ret_header->version > WAL_VERSION)
                return status_new(ERR_VERSION, "log file %s/%s has format %u; this version reads up to %d",
                                  os_dir_path(dir), name, ret_header->version, WAL_VERSION);
        if (good && (segment->first == 0 || ret_header->first_position != segment->first ||
                     ret_header->generation != segment->generation))
                return status_new(ERR_CORRUPT,
                                  "log file %s/%s is damaged at offset 24: it is not the file its name says",
                                  os_dir_path(dir), name);
        return ST_OK;
}

Status wal_read(OsDir *dir, uint64_t after_position, Status (*replay)(void *ctx, const WalFrame *frame), void *ctx,
                WalContents *ret_contents)
{
        _cleanup_(wal_segments_done) WalSegments found = {0}, kept = {0};
        _cleanup_(mem_freep) uint64_t *salts = NULL;
        Replay work = {.after = after_position, .call = replay, .ctx = ctx};
        uint64_t last = after_position, proved = after_position, generation = 0;
        TRY(os_dir_list(dir, list_segment, &found));
        if (found.count > 1)
                qsort(found.items, found.count, sizeof(WalSegment), segment_compare);
        salts = mem_alloc(found.count * sizeof(uint64_t) + 1);
        if (!salts)
                return status_nomem();
        for (size_t i = 0; i < found.count; i++) {
                WalSegmentHeader header;
                bool torn;
                generation = found.items[i].generation;
                TRY(header_read(dir, &found.items[i], &header, &torn));
                if (torn)
                        continue;
                if (kept.count && found.items[i].first < kept.items[kept.count - 1].first) {
                        char name[WAL_NAME_BYTES];
                        wal_segment_name(&found.items[i], name);
                        return status_new(ERR_CORRUPT, "log file %s/%s begins before an older one does",
                                          os_dir_path(dir), name);
                }
                salts[kept.count] = header.salt;
                TRY(wal_segments_add(&kept, found.items[i]));
        }
        if (kept.count && kept.items[0].first > after_position + 1)
                return status_hint(status_new(ERR_CORRUPT,
                                              "the log in %s begins with commit %" PRIu64 ", but commit %" PRIu64
                                              " is the next one needed: log files are missing",
                                              os_dir_path(dir), kept.items[0].first, after_position + 1),
                                   "restore the directory as a whole, log files and snapshot together");
        for (size_t i = 0; i < kept.count; i++) {
                bool is_last = i + 1 == kept.count;
                uint64_t limit = is_last ? UINT64_MAX : kept.items[i + 1].first, expected;
                if (limit - 1 <= after_position)
                        continue; /* the snapshot holds all of it, whatever state it is in */
                TRY(segment_read(dir, &kept.items[i], salts[i], limit, is_last, &work, &expected));
                if (is_last) {
                        last = MAX(last, expected - 1);
                        /* log I1 for what is before this segment, its own frames for what is in it */
                        proved = MAX(proved, MAX(kept.items[i].first - 1, MIN(work.proved, last)));
                }
        }
        *ret_contents = (WalContents){
                .segments = kept, .generation = generation, .last = last, .proved = proved, .frames = work.frames};
        kept = (WalSegments){0};
        return ST_OK;
}

Status wal_read_last(OsDir *dir, const WalContents *contents, uint64_t after_position,
                     Status (*each)(void *ctx, const WalFrame *frame), void *ctx)
{
        Replay work = {.after = after_position, .call = each, .ctx = ctx};
        WalSegment segment = contents->segments.items[contents->segments.count - 1];
        WalSegmentHeader header;
        bool torn;
        uint64_t expected;
        TRY(header_read(dir, &segment, &header, &torn));
        TRY(segment_read(dir, &segment, header.salt, contents->last + 1, true, &work, &expected));
        if (torn || expected != contents->last + 1)
                return status_new(ERR_IO, "the log in %s changed while it was read", os_dir_path(dir));
        return ST_OK;
}
