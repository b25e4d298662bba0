/* wal_read.c - the log's files, read back: which segment holds which positions, what is a torn tail and what is damage.
 */
#include "storage/log/wal_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

#define READ_BYTES      ((size_t)1 << 20)
#define WAL_HEADER_HEAD 64 /* of a header of any format */

void wal_segment_name(const WalSegment *segment, char out[WAL_NAME_BYTES])
{
        snprintf(out, WAL_NAME_BYTES, "%020" PRIu64 "-%010" PRIu64 ".log", segment->first, segment->generation);
}

void wal_segments_done(WalSegments *segments)
{
        mem_free(segments->items);
        *segments = (WalSegments){0};
}

void wal_contents_done(WalContents *contents)
{
        wal_segments_done(&contents->segments);
        wal_segments_done(&contents->overruled);
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

bool wal_file_parse(const char *name, uint64_t *ret_first_position, uint64_t *ret_generation)
{
        WalSegment segment = {0};
        char again[WAL_NAME_BYTES];
        const char *p = name;
        if (!parse_digits(&p, 20, &segment.first) || *p++ != '-' || !parse_digits(&p, 10, &segment.generation))
                return false;
        wal_segment_name(&segment, again);
        *ret_first_position = segment.first;
        *ret_generation = segment.generation;
        return strcmp(again, name) == 0;
}

/* Names that are not ours are left alone. */
static Status list_segment(void *ctx, const char *name)
{
        WalSegment segment = {0};
        return wal_file_parse(name, &segment.first, &segment.generation) ? wal_segments_add(ctx, segment) : ST_OK;
}

static int segment_compare(const void *a, const void *b)
{
        const WalSegment *x = a, *y = b;
        if (x->generation != y->generation)
                return x->generation < y->generation ? -1 : 1;
        return (x->first > y->first) - (x->first < y->first);
}

void wal_window_init(WalWindow *window, size_t bytes)
{
        *window = (WalWindow){.bytes = bytes};
        buf_init(&window->data, WAL_MAX_BODY_BYTES + MAX(bytes, READ_BYTES));
}

void wal_window_done(WalWindow *window)
{
        window->file = os_file_close(window->file);
        buf_done(&window->data);
}

/* *ret_data = `size` bytes at `offset`, which the file has; valid until the next call. */
static Status window_get(WalWindow *window, uint64_t offset, size_t size, const uint8_t **ret_data)
{
        if (offset < window->start || offset + size > window->start + window->data.size) {
                size_t got, n = (size_t)MIN((uint64_t)MAX(size, window->bytes), window->size - offset);
                buf_clear(&window->data);
                TRY(buf_reserve(&window->data, n));
                TRY(os_file_read_at(window->file, offset, window->data.data, n, &got));
                window->start = offset;
                window->data.size = got;
                if (got < size)
                        return status_new(ERR_IO, "the file became shorter while it was read");
        }
        *ret_data = window->data.data + (offset - window->start);
        return ST_OK;
}

Status wal_frame_get(WalWindow *window, uint64_t offset, uint64_t salt, WalFrameHeader *ret_header,
                     const uint8_t **ret_body, bool *ret_valid)
{
        const uint8_t *data;
        *ret_valid = false;
        if (offset + sizeof(WalFrameHeader) > window->size)
                return ST_OK;
        TRY(window_get(window, offset, sizeof(WalFrameHeader), &data));
        memcpy(ret_header, data, sizeof(*ret_header));
        if (ret_header->magic != WAL_FRAME_MAGIC || ret_header->body_size > WAL_MAX_BODY_BYTES)
                return ST_OK;
        size_t size = sizeof(WalFrameHeader) + ret_header->body_size;
        if (size > window->size - offset)
                return ST_OK;
        TRY(window_get(window, offset, size, &data));
        *ret_valid = (bytes_hash(data + 8, size - 8) ^ salt) == ret_header->checksum;
        *ret_body = data + sizeof(WalFrameHeader);
        return ST_OK;
}

/* Does a later frame of this file prove that `position` was durable once? Frames begin at multiples of 8. A client
 * cannot plant one inside its data: it does not know the salt. */
static Status was_durable(WalWindow *window, uint64_t offset, uint64_t salt, uint64_t position, bool *ret_proved)
{
        *ret_proved = false;
        for (; offset + sizeof(WalFrameHeader) <= window->size; offset += 8) {
                const uint8_t *data, *body;
                WalFrameHeader header;
                bool valid;
                TRY(window_get(window, offset, sizeof(WalFrameHeader), &data));
                if (load_u32(data + offsetof(WalFrameHeader, magic)) != WAL_FRAME_MAGIC ||
                    load_u64(data + offsetof(WalFrameHeader, synced)) < position)
                        continue;
                TRY(wal_frame_get(window, offset, salt, &header, &body, &valid));
                if (valid) {
                        *ret_proved = true;
                        return ST_OK;
                }
        }
        return ST_OK;
}

/* What is done with the frames that are found, and what was seen of them. */
typedef struct Visit {
        uint64_t after; /* older ones are only looked at */
        Status (*frame)(void *ctx, const WalFrame *frame, const char *name, uint64_t offset); /* NULL: nothing */
        void *ctx;
        bool stopped; /* the error is the callback's */
        bool sealed;  /* nothing but a seal came behind the last frame */
        uint64_t frames, last;
        uint64_t proved; /* the highest `synced` of any frame of the last segment */
        uint64_t end;    /* offset behind the last good frame */
        int64_t first_wall_us, last_wall_us;
} Visit;

static Status visit_frame(Visit *visit, const WalFrameHeader *header, const uint8_t *body, OsDir *dir, const char *name,
                          uint64_t offset)
{
        if (visit->last == 0)
                visit->first_wall_us = header->wall_us;
        visit->sealed = false;
        visit->last = header->position;
        visit->last_wall_us = header->wall_us;
        if (!visit->frame || header->position <= visit->after)
                return ST_OK;
        WalFrame frame = {.position = header->position,
                          .stream = header->stream,
                          .term = header->term,
                          .wall_us = header->wall_us,
                          .body = BYTES(body, header->body_size)};
        Status st = visit->frame(visit->ctx, &frame, name, offset);
        if (st) {
                visit->stopped = true;
                return status_context(st, "replaying log file %s/%s, commit %" PRIu64 " at offset %" PRIu64,
                                      os_dir_path(dir), name, header->position, offset);
        }
        visit->frames++;
        return ST_OK;
}

/* Reads the frames of one segment from its first up to (not including) `limit`. Of the last one it is not known where
 * it ends: it may end in a torn write. */
static Status segment_read(OsDir *dir, const WalSegment *segment, uint64_t limit, bool last, Visit *visit)
{
        _cleanup_(wal_window_done) WalWindow window;
        char name[WAL_NAME_BYTES];
        wal_segment_name(segment, name);
        wal_window_init(&window, READ_BYTES);
        TRY(os_file_open(dir, name, OS_READ, &window.file));
        TRY(os_file_size(window.file, &window.size));
        uint64_t offset = sizeof(WalSegmentHeader), expected = segment->first;
        while (expected < limit) {
                WalFrameHeader header;
                const uint8_t *body = NULL;
                bool valid, proved = !last;
                if (last && offset == window.size)
                        break;
                TRY(wal_frame_get(&window, offset, segment->salt, &header, &body, &valid));
                if (valid)
                        visit->proved = MAX(visit->proved, header.synced);
                if (valid && header.kind == WAL_SEAL && header.position + 1 == expected) {
                        offset += wal_frame_bytes(header.body_size);
                        visit->sealed = true;
                        continue;
                }
                if (!valid || header.position != expected) {
                        if (last)
                                TRY(was_durable(&window, offset, segment->salt, expected, &proved));
                        if (proved)
                                return status_new(ERR_CORRUPT,
                                                  "log file %s/%s is damaged at offset %" PRIu64 ": commit %" PRIu64
                                                  " is not readable",
                                                  os_dir_path(dir), name, offset, expected);
                        break; /* a torn tail: never acknowledged as durable */
                }
                if (header.kind != WAL_COMMIT)
                        return status_new(ERR_VERSION,
                                          "log file %s/%s has a record of kind %u at offset %" PRIu64
                                          ", which only a newer version knows",
                                          os_dir_path(dir), name, header.kind, offset);
                TRY(visit_frame(visit, &header, body, dir, name, offset));
                offset += wal_frame_bytes(header.body_size);
                expected++;
        }
        visit->end = offset;
        return ST_OK;
}

static Status version_error(OsDir *dir, const char *name, uint32_t version)
{
        if (version > WAL_VERSION)
                return status_hint(status_new(ERR_VERSION, "log file %s/%s has format %u; this version reads %d",
                                              os_dir_path(dir), name, version, WAL_VERSION),
                                   "start the newer version that wrote it, or choose another directory");
        return status_hint(status_new(ERR_VERSION, "log file %s/%s has the older format %u; this version reads %d",
                                      os_dir_path(dir), name, version, WAL_VERSION),
                           "export the data with the version that wrote it, or choose another directory");
}

/* The header of a segment. *ret_torn: the power went while the file was made; it never held a frame. */
static Status header_read(OsDir *dir, WalSegment *segment, WalContents *contents, bool *ret_torn)
{
        _cleanup_(os_file_closep) OsFile *file = NULL;
        WalSegmentHeader header;
        char name[WAL_NAME_BYTES];
        size_t got;
        wal_segment_name(segment, name);
        TRY(os_file_open(dir, name, OS_READ, &file));
        TRY(os_file_size(file, &segment->bytes));
        TRY(os_file_read_at(file, 0, &header, sizeof(header), &got));
        /* One of another format may be shorter; its version stands where ours does. */
        if (got >= WAL_HEADER_HEAD && header.magic == WAL_SEGMENT_MAGIC && header.header_bytes <= got &&
            header.header_bytes >= WAL_HEADER_HEAD && header.version != WAL_VERSION &&
            bytes_hash((const uint8_t *)&header + 8, header.header_bytes - 8) == header.checksum)
                return version_error(dir, name, header.version);
        bool good = got == sizeof(header) && header.magic == WAL_SEGMENT_MAGIC && header.run_count <= WAL_RUNS_MAX &&
                    header.version == WAL_VERSION &&
                    bytes_hash((const uint8_t *)&header + 8, sizeof(header) - 8) == header.checksum;
        /* The header is synced before the first frame is written (log I2). */
        *ret_torn = !good && segment->bytes <= sizeof(header);
        if (!good && !*ret_torn)
                return status_new(ERR_CORRUPT, "log file %s/%s is damaged at offset 0: its header is not readable",
                                  os_dir_path(dir), name);
        if (good && (segment->first == 0 || header.first_position != segment->first ||
                     header.generation != segment->generation))
                return status_new(ERR_CORRUPT,
                                  "log file %s/%s is damaged at offset 24: it is not the file its name says",
                                  os_dir_path(dir), name);
        segment->salt = header.salt;
        segment->made_us = header.made_us;
        if (good) {
                contents->run_count = (size_t)header.run_count;
                memcpy(contents->runs, header.runs, sizeof(header.runs));
        }
        return ST_OK;
}

/* A newer file wins from its first position on: older ones that begin behind that are out. */
static Status segment_keep(WalContents *contents, WalSegment segment)
{
        WalSegments *kept = &contents->segments;
        while (kept->count && kept->items[kept->count - 1].first > segment.first) {
                TRY(wal_segments_add(&contents->overruled, kept->items[kept->count - 1]));
                kept->count--;
        }
        return wal_segments_add(kept, segment);
}

/* All of a file's positions are in data files, as a later one begins soon enough. */
static bool not_needed(const WalSegments *found, size_t at, uint64_t after_position)
{
        for (size_t i = at + 1; i < found->count; i++)
                if (found->items[i].first > 0 && found->items[i].first - 1 <= after_position)
                        return true;
        return false;
}

static Status segments_overrule(WalContents *contents)
{
        for (; contents->segments.count; contents->segments.count--)
                TRY(wal_segments_add(&contents->overruled, contents->segments.items[contents->segments.count - 1]));
        return ST_OK;
}

static Status missing_error(OsDir *dir, uint64_t first, uint64_t after)
{
        return status_hint(status_new(ERR_CORRUPT,
                                      "the log in %s begins with commit %" PRIu64 ", but commit %" PRIu64
                                      " is the next one needed: log files are missing",
                                      os_dir_path(dir), first, after + 1),
                           "restore the directory as a whole, log files and snapshot together");
}

/* Positions from here on are another segment's. */
static uint64_t segment_limit(const WalSegments *segments, size_t i)
{
        return i + 1 < segments->count ? segments->items[i + 1].first : UINT64_MAX;
}

static Status files_list(OsDir *dir, WalSegments *found)
{
        TRY(os_dir_list(dir, list_segment, found));
        if (found->count > 1)
                qsort(found->items, found->count, sizeof(WalSegment), segment_compare);
        return ST_OK;
}

Status wal_contents_read(OsDir *dir, uint64_t after_position, WalContents *ret_contents)
{
        _cleanup_(wal_segments_done) WalSegments found = {0};
        WalContents *contents = ret_contents;
        Visit visit = {0};
        *contents = (WalContents){.last = after_position, .proved = after_position};
        TRY(files_list(dir, &found));
        for (size_t i = 0; i < found.count; i++) {
                bool torn = false;
                contents->generation = found.items[i].generation;
                Status st = header_read(dir, &found.items[i], contents, &torn);
                if (status_code(st) == ERR_CORRUPT && not_needed(&found, i, after_position)) {
                        /* Kept for readers, who cannot get over the gap: it goes, and what is before it. */
                        status_ignore(st);
                        TRY(segments_overrule(contents));
                        TRY(wal_segments_add(&contents->overruled, found.items[i]));
                        continue;
                }
                TRY(st);
                if (!torn)
                        TRY(segment_keep(contents, found.items[i]));
        }
        const WalSegments *segments = &contents->segments;
        if (segments->count == 0)
                return ST_OK;
        if (segments->items[0].first > after_position + 1)
                return missing_error(dir, segments->items[0].first, after_position);
        const WalSegment *last = &segments->items[segments->count - 1];
        TRY(segment_read(dir, last, UINT64_MAX, true, &visit));
        contents->last = MAX(after_position, MAX(visit.last, last->first - 1));
        /* log I1 for what is before this segment, its own frames for what is in it */
        contents->proved = MAX(after_position, MAX(last->first - 1, MIN(visit.proved, contents->last)));
        return ST_OK;
}

typedef struct Each {
        Status (*call)(void *ctx, const WalFrame *frame);
        void *ctx;
} Each;

static Status each_frame(void *ctx, const WalFrame *frame, const char *name, uint64_t offset)
{
        const Each *each = ctx;
        return each->call(each->ctx, frame);
}

Status wal_frames_read(OsDir *dir, const WalContents *contents, uint64_t after_position,
                       Status (*call)(void *ctx, const WalFrame *frame), void *ctx)
{
        const WalSegments *segments = &contents->segments;
        Each each = {call, ctx};
        Visit visit = {.after = after_position, .frame = each_frame, .ctx = &each};
        for (size_t i = 0; i < segments->count; i++) {
                uint64_t limit = MIN(segment_limit(segments, i), contents->last + 1);
                if (limit - 1 <= after_position)
                        continue; /* all of it is in files, whatever state it is in */
                TRY(segment_read(dir, &segments->items[i], limit, false, &visit));
        }
        return ST_OK;
}

/* --- looking from outside --- */

static Status scan_problem(const WalScan *scan, WalScanResult *result, Status problem)
{
        char text[512];
        if (status_code(problem) != ERR_CORRUPT && status_code(problem) != ERR_VERSION)
                return problem;
        result->problem_count++;
        status_text(problem, text, sizeof(text));
        status_ignore(problem);
        return scan->problem ? scan->problem(scan->ctx, text) : ST_OK;
}

static Status scan_headers(OsDir *dir, const WalScan *scan, WalContents *contents, WalScanResult *result)
{
        _cleanup_(wal_segments_done) WalSegments found = {0};
        TRY(files_list(dir, &found));
        for (size_t i = 0; i < found.count; i++) {
                bool torn = false;
                Status st = header_read(dir, &found.items[i], contents, &torn);
                result->file_count++;
                result->byte_count += found.items[i].bytes;
                if (st)
                        TRY(scan_problem(scan, result, st));
                else if (torn)
                        result->torn_bytes += found.items[i].bytes;
                else
                        TRY(segment_keep(contents, found.items[i]));
        }
        return ST_OK;
}

Status wal_scan(OsDir *dir, uint64_t after_position, const WalScan *scan, WalScanResult *ret_result)
{
        _cleanup_(wal_contents_done) WalContents contents = {0};
        WalScanResult result = {0};
        Visit visit = {.after = after_position, .frame = scan->frame, .ctx = scan->ctx};
        uint64_t done = 0;
        TRY(scan_headers(dir, scan, &contents, &result));
        const WalSegments *segments = &contents.segments;
        if (segments->count && segments->items[0].first > after_position + 1)
                TRY(scan_problem(scan, &result, missing_error(dir, segments->items[0].first, after_position)));
        for (size_t i = 0; i < segments->count; i++) {
                const WalSegment *segment = &segments->items[i];
                bool last = i + 1 == segments->count;
                char name[WAL_NAME_BYTES];
                wal_segment_name(segment, name);
                if (i == 0)
                        result.first_position = segment->first;
                if (segment_limit(segments, i) - 1 > after_position) {
                        if (scan->file)
                                TRY(scan->file(scan->ctx, name, segment->bytes));
                        Status st = segment_read(dir, segment, segment_limit(segments, i), last, &visit);
                        if (st && visit.stopped)
                                return st;
                        if (st)
                                TRY(scan_problem(scan, &result, st));
                        else if (last && visit.end < segment->bytes)
                                result.torn_bytes += segment->bytes - visit.end;
                }
                done += segment->bytes;
                if (scan->progress)
                        TRY(scan->progress(scan->ctx, done, result.byte_count));
        }
        result.last_position = visit.last;
        result.first_wall_us = visit.first_wall_us;
        result.last_wall_us = visit.last_wall_us;
        result.frame_count = visit.frames;
        result.sealed = visit.sealed && result.torn_bytes == 0;
        *ret_result = result;
        return ST_OK;
}
