/* wal_int.h - bytes of the log's files and the seam between reading (wal_read.c) and writing (wal.c). Format:
 * README.md. */
#ifndef STORAGE_LOG_WAL_INT_H
#define STORAGE_LOG_WAL_INT_H

#include "storage/log/wal.h"

#define WAL_VERSION        2
#define WAL_SEGMENT_MAGIC  0x31474f4c544f4850ull /* "PHOTLOG1" */
#define WAL_FRAME_MAGIC    0x4d524650u           /* "PFRM" */
#define WAL_NAME_BYTES     64
#define WAL_MAX_BODY_BYTES ((size_t)1 << 30)

/*   0          8       16        20             24               32           40     48 .. 64
 *   | checksum | magic | version | header_bytes | first_position | generation | salt | reserved
 *   checksum = XXH3 of bytes 8 .. 64. */
typedef struct WalSegmentHeader {
        uint64_t checksum, magic;
        uint32_t version, header_bytes;
        uint64_t first_position, generation, salt, reserved[2];
} WalSegmentHeader;
_Static_assert(sizeof(WalSegmentHeader) == 64, "on-disk format: bump WAL_VERSION, do not edit in place");

/*   0          8       12          16         24       32     36     40       48        56
 *   | checksum | magic | body_size | position | stream | term | kind | synced | wall_us | body ... | zeros to a
 * multiple of 8.   checksum = XXH3 of bytes 8 .. 56 + body_size, XOR the segment's salt. `synced`: every position up to
 * it was durable when this frame was appended; `wall_us`: when that was. */
typedef struct WalFrameHeader {
        uint64_t checksum;
        uint32_t magic, body_size;
        uint64_t position, stream;
        uint32_t term, kind;
        uint64_t synced;
        int64_t wall_us;
} WalFrameHeader;
_Static_assert(sizeof(WalFrameHeader) == 56, "on-disk format: bump WAL_VERSION, do not edit in place");

typedef enum WalFrameKind {
        WAL_COMMIT = 0,
        WAL_SEAL = 1, /* the log was closed; position = the last commit's */
} WalFrameKind;

typedef struct WalSegment {
        uint64_t first, generation, bytes, salt;
} WalSegment;
typedef struct WalSegments {
        WalSegment *items; /* ascending by generation */
        size_t count, capacity;
} WalSegments;

static inline size_t wal_frame_bytes(size_t body_size)
{
        return (sizeof(WalFrameHeader) + body_size + 7) & ~(size_t)7;
}
void wal_segment_name(const WalSegment *segment, char out[WAL_NAME_BYTES]);
void wal_segments_done(WalSegments *segments);
MUST_USE Status wal_segments_add(WalSegments *segments, WalSegment segment);
/* What the files say. */
typedef struct WalContents {
        WalSegments segments;  /* those that have a place in the log: `first` ascends too */
        WalSegments overruled; /* those of which a newer one holds every position, in another life */
        uint64_t generation;   /* the highest number any file has */
        uint64_t last;         /* the newest readable position, or after_position */
        uint64_t proved;       /* <= last: every position up to it is known to be durable */
} WalContents;
void wal_contents_done(WalContents *contents);
/* Looks at all headers and at the last segment. wal_contents_done() also after an error. Changes nothing on
 * disk. */
MUST_USE Status wal_contents_read(OsDir *dir, uint64_t after_position, WalContents *ret_contents);
/* Every frame behind after_position, up to contents->last. */
MUST_USE Status wal_frames_read(OsDir *dir, const WalContents *contents, uint64_t after_position,
                                Status (*each)(void *ctx, const WalFrame *frame), void *ctx);

#endif
