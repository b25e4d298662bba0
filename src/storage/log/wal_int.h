/* wal_int.h - bytes of the log's files and the seam between reading (wal_read.c) and writing (wal.c). Format:
 * README.md. */
#ifndef STORAGE_LOG_WAL_INT_H
#define STORAGE_LOG_WAL_INT_H

#include <stdatomic.h>

#include "os/thread.h"
#include "storage/log/wal.h"

#define WAL_VERSION        4
#define WAL_SEGMENT_MAGIC  0x31474f4c544f4850ull /* "PHOTLOG1" */
#define WAL_FRAME_MAGIC    0x4d524650u           /* "PFRM" */
#define WAL_NAME_BYTES     64
#define WAL_MAX_BODY_BYTES ((size_t)1 << 30)
#define WAL_ERROR_BYTES    512

/* A run of the log: one process had it open, and wrote the positions behind `after`. */
typedef struct WalRun {
        uint64_t id, after;
} WalRun;
#define WAL_RUNS_MAX 252 /* as many as make the header one block */

/*   0          8       16        20             24               32           40     48        56          64 .. 4096
 *   | checksum | magic | version | header_bytes | first_position | generation | salt | made_us | run_count | runs
 *   checksum = XXH3 of bytes 8 .. 4096. `made_us`: when the file was made. `runs`: the last ones, up to the one that
 * made this file, oldest first. */
typedef struct WalSegmentHeader {
        uint64_t checksum, magic;
        uint32_t version, header_bytes;
        uint64_t first_position, generation, salt;
        int64_t made_us;
        uint64_t run_count;
        WalRun runs[WAL_RUNS_MAX];
} WalSegmentHeader;
_Static_assert(sizeof(WalSegmentHeader) == 4096, "on-disk format: bump WAL_VERSION, do not edit in place");

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
        int64_t made_us;
        bool archived; /* by this process */
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
        WalSegments segments;      /* those that have a place in the log: `first` ascends too */
        WalSegments overruled;     /* those of which a newer one holds every position, in another life */
        uint64_t generation;       /* the highest number any file has */
        uint64_t last;             /* the newest readable position, or after_position */
        uint64_t proved;           /* <= last: every position up to it is known to be durable */
        WalRun runs[WAL_RUNS_MAX]; /* as the newest file says */
        size_t run_count;
} WalContents;
void wal_contents_done(WalContents *contents);
/* Looks at all headers and at the last segment. wal_contents_done() also after an error. Changes nothing on
 * disk. */
MUST_USE Status wal_contents_read(OsDir *dir, uint64_t after_position, WalContents *ret_contents);
/* Every frame behind after_position, up to contents->last. */
MUST_USE Status wal_frames_read(OsDir *dir, const WalContents *contents, uint64_t after_position,
                                Status (*each)(void *ctx, const WalFrame *frame), void *ctx);

/* A window of a file. */
typedef struct WalWindow {
        OsFile *file;
        uint64_t size;  /* of the file */
        uint64_t start; /* where the window begins in the file */
        size_t bytes;   /* so much is read at once */
        Buf data;
} WalWindow;
void wal_window_init(WalWindow *window, size_t bytes);
void wal_window_done(WalWindow *window);
/* Is there a whole frame at `offset`? Then *ret_header and *ret_body (valid until the next read) say what. */
MUST_USE Status wal_frame_get(WalWindow *window, uint64_t offset, uint64_t salt, WalFrameHeader *ret_header,
                              const uint8_t **ret_body, bool *ret_valid);

/* --- wal.c, wal_cut.c, wal_tail.c: the inside of an open log --- */
/* The tail, and behind it what readers may want to read once more:
 *      oldest -> .. wholly synced ..  -> first: not wholly synced, or the last -> .. -> last
 * What is below `size` never changes, so that readers look at it without the lock, holding a reference. */
typedef struct Chunk Chunk;
struct Chunk {
        Chunk *next;
        unsigned refs; /* of readers */
        bool detached; /* out of the list: freed with the last reference */
        uint64_t first_position;
        size_t size, capacity;
        size_t written, syncing, synced; /* offsets; synced <= syncing <= written <= size; see sync_mark */
        uint64_t last_position;          /* of the last frame in it */
        uint8_t data[];
};

struct Wal {
        OsDir *dir;
        Os *os;
        WalOptions options;
        uint64_t salt, run_id;
        size_t chunk_bytes;
        bool started;
        WalContents contents; /* what was found; its segments moved to `segments` */
        void (*changed)(void *ctx);
        void *changed_ctx;
        void (*written)(void *ctx);
        void *written_ctx;
        Thread thread, sync_thread;
        atomic_uint_fast64_t durable;
        atomic_uint_fast64_t seen; /* every position up to it is in a file under its name: what readers may see */

        Mutex mu;       /* order 80 in docs/locks.md */
        Cond work;      /* the log thread waits */
        Cond sync_work; /* the sync thread waits */
        Cond done;      /* everybody else waits */
        /* --- GUARDED_BY(mu) --- */
        Chunk *oldest, *first, *last; /* see Chunk */
        size_t recent_bytes;          /* of the chunks before `first` */
        Chunk *spare;
        unsigned spare_count;
        uint64_t last_position, written_position;
        int64_t wall_us;    /* of the newest frame */
        uint64_t want;      /* somebody waits for this position */
        size_t tail_bytes;  /* appended, not synced */
        bool asleep;        /* the log thread waits without a time limit */
        bool closing, busy; /* busy: a round is running */
        bool rotate;
        bool syncing;              /* the sync thread syncs `file`, which stays open for it */
        bool sync_stop;            /* the sync thread has to end */
        Status sync_error;         /* what it found, until the log thread takes it */
        uint64_t syncing_position; /* what was written when the sync in flight, or the last one, began */
        bool failed;
        StatusCode error_code;
        char error[WAL_ERROR_BYTES];
        WalSegments segments;
        WalStats stats;
        uint64_t file_bytes; /* sum over segments */
        uint64_t kept_bytes; /* of these, in files that only readers may want */
        uint64_t keep_bytes, keep_ms;
        uint64_t begin; /* every position from it on can be read */
        WalReader *readers;
        unsigned eager; /* so many want to know at once what is written */
        WalRun runs[WAL_RUNS_MAX];
        size_t run_count;
        /* --- the running round; else GUARDED_BY(mu) --- */
        OsFile *file; /* NULL: the next frame starts a segment */
        bool anew;    /* the next segment holds what may be in older ones too; see segment_start */
        bool unnamed; /* `file` is REWRITE_NAME */
        WalSegment current;
        uint64_t offset, generation;
        uint64_t told; /* `seen` when `written` was called last */
};

/* wal_tail.c */
struct WalReader {
        Wal *wal;
        WalReader *next, *previous;    /* GUARDED_BY(wal->mu) */
        atomic_uint_fast64_t position; /* of the last frame given */
        uint64_t limit;                /* what is found here may be given up to (not including) this position */
        size_t offset;                 /* of the next frame; or of one before it */
        Chunk *chunk;                  /* in memory; counted; NULL: in a file */
        size_t end;                    /* of what is in the chunk */
        WalSegment segment;            /* of `window.file` */
        WalWindow window;
};

/* wal.c: a file that the log does not need. One that is gone already is fine. */
Status wal_file_remove(Wal *wal, const WalSegment *segment);
/* wal_cut.c: those that were found to be overruled. */
Status wal_overruled_remove(Wal *wal);
/* wal.c: gives back chunks that nobody may want any more. */
void wal_recent_trim(Wal *wal) REQUIRES(wal->mu);
void wal_chunk_free(Wal *wal, Chunk *chunk) REQUIRES(wal->mu);

#endif
