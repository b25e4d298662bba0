/* space_int.h - the layout of a page file in memory: which run of pages is what, which slot of a slab is taken.
 * Pure data: no file, no lock. space.c adds both. */
#ifndef STORAGE_SLAB_SPACE_INT_H
#define STORAGE_SLAB_SPACE_INT_H

#include "storage/slab/space.h"

#define PAGE_BYTES   4096u
#define HEADER_PAGES 2u /* SPACE_HEADER_BYTES each */
_Static_assert(SPACE_HEADER_BYTES == PAGE_BYTES, "a header has a page of its own");

#define SLAB_CLASSES    41u /* 64 B .. 64 KiB, four to a doubling */
#define SLAB_STEPS      4u  /* sizes of slabs: about 16 KiB, 64 KiB, 256 KiB, 1 MiB */
#define CLASS_LARGE     SLAB_CLASSES
#define SLAB_MAX_EXTENT 65536u
#define LARGE_MAX_PAGES 0xffffffu
#define MAX_PAGES       ((uint64_t)UINT32_MAX) /* 16 TiB */
_Static_assert(SPACE_SPARE_MAX_BYTES == SLAB_MAX_EXTENT, "slots have 16 bits of 24: the highest is spare");
_Static_assert(SPACE_CLASS_COUNT == SLAB_CLASSES + 1, "one for the large ones");

/* An Extent, from the low bit:
 *      | class 6 | step 2 | slot (of a slab), pages (large) 24 | page 32 |       page: where the slab or run starts
 * On disk in the caller's pages. Step is 0 for large ones. */
static inline Extent extent_make(unsigned class, unsigned step, uint32_t slot, uint32_t page)
{
        return (Extent)page << 32 | (Extent)slot << 8 | step << 6 | class;
}
static inline unsigned extent_class(Extent extent)
{
        return extent & 63;
}
static inline unsigned extent_step(Extent extent)
{
        return extent >> 6 & 3;
}
static inline uint32_t extent_slot(Extent extent)
{
        return extent >> 8 & 0xffffff;
}
static inline uint32_t extent_page(Extent extent)
{
        return (uint32_t)(extent >> 32);
}

static inline uint32_t class_bytes(unsigned class)
{
        return (4 + class % 4) << (4 + class / 4);
}
/* The smallest that holds `bytes`, 1 .. SLAB_MAX_EXTENT. */
static inline unsigned class_of(size_t bytes)
{
        if (bytes <= 64)
                return 0;
        unsigned top = 63 - (unsigned)__builtin_clzll(bytes - 1);
        return (top - 6) * 4 + ((bytes - 1) >> (top - 2) & 3) + 1;
}
/* Pages of a slab: part of the format, since an Extent does not say it. */
uint32_t slab_pages_of(unsigned class, unsigned step);

typedef enum RunKind {
        RUN_FREE,
        RUN_SLAB,
        RUN_LARGE,
        RUN_LARGE_WAITING, /* freed, not reclaimed */
        RUN_LARGE_HIDDEN,  /* within layout_hide .. layout_hide only */
} RunKind;

/* Consecutive pages that are one thing. The runs of a layout tile the file from page HEADER_PAGES to its end. */
typedef struct Run Run;
struct Run {
        Run *prev, *next;  /* by page */
        Run *left, *right; /* RUN_FREE: Layout.free; a slab with a free slot: its class's tree */
        Run *chain;        /* not RUN_FREE: Layout.buckets */
        uint64_t *bits;    /* RUN_SLAB: slots taken, live and waiting; those after the last slot are set */
        uint64_t *waiting; /* RUN_SLAB: slots freed, not reclaimed; NULL if there are none */
        uint32_t page, pages;
        uint32_t used, waiting_count; /* used: bits set */
        uint16_t slots, hint;         /* no word of `bits` before `hint` has a free slot */
        uint8_t kind, class, step;
};

typedef struct SlabClass {
        Run *partial; /* tree of the slabs with a free slot, by page */
        Run *current; /* the first of them */
        uint64_t slab_count, slab_pages, slots, used, waiting;
} SlabClass;

typedef struct Layout {
        Run *first, *last;
        Run *free; /* tree by (pages, page) */
        Run **buckets;
        size_t bucket_count, bucket_used;
        uint64_t page_count; /* of the file, headers too */
        uint64_t live_bytes, waiting_bytes, free_bytes, metadata_bytes;
        uint64_t large_live, large_waiting;             /* extents */
        uint64_t large_live_bytes, large_waiting_bytes; /* contained in the above */
        uint16_t slab_pages[SLAB_CLASSES][SLAB_STEPS];
        SlabClass classes[SLAB_CLASSES];
} Layout;

/* A file of `page_count` pages in which nothing is allocated. */
MUST_USE Status layout_init(Layout *layout, uint64_t page_count);
void layout_done(Layout *layout); /* zeroed or half-built is fine */
static inline bool layout_empty(const Layout *layout)
{
        return layout->live_bytes + layout->waiting_bytes == 0;
}
/* Nothing fits: *ret_missing > 0 pages in a row would be needed, and nothing has changed. Slabs are made of at most
 * `max_step`. */
MUST_USE Status layout_alloc(Layout *layout, size_t bytes, unsigned max_step, Extent *ret_extent,
                             uint32_t *ret_missing);
/* live -> waiting. ERR_CORRUPT, ERR_NOMEM. */
MUST_USE Status layout_wait(Layout *layout, Extent extent);
/* waiting -> free; it must be waiting. */
void layout_reclaim(Layout *layout, Extent extent);
/* live -> free. ERR_CORRUPT. */
MUST_USE Status layout_discard(Layout *layout, Extent extent);
/* What waits is shown as live, or again as waiting, to layout_save. Accounting does not follow: undo it under the same
 * lock. */
void layout_show_live(Layout *layout, Extent extent, bool live);
/* What is live is shown as free to layout_save and census_new, or again as it was (hide = false: the same extents).
 * What waits is left as it is. Accounting does not follow: undo it under the same lock. */
void layout_hide(Layout *layout, const Extent *extents, size_t count, bool hide);

MUST_USE Status run_new(uint32_t page, uint32_t pages, Run **ret_run);
void run_free(Run *run);
/* The file has `pages` more; `spare` (owned) is used or freed. */
void layout_grow(Layout *layout, uint32_t pages, Run *spare);
static inline uint32_t layout_tail_pages(const Layout *layout)
{
        return layout->last && layout->last->kind == RUN_FREE ? layout->last->pages : 0;
}
/* Takes the free run at the end of the file out; the caller owns it. NULL if there is none. layout_put_tail undoes. */
Run *layout_cut_tail(Layout *layout);
void layout_put_tail(Layout *layout, Run *run);

/* Building one from nothing: runs in any order, then finish, which fills the gaps. After an error: layout_done(). */
MUST_USE Status layout_build_run(Layout *layout, unsigned class, unsigned step, uint32_t page, uint32_t pages,
                                 Run **ret_run);
MUST_USE Status layout_build_slot(Layout *layout, Run *run, uint32_t slot);
/* The extent, and its slab if that is not there yet. ERR_CORRUPT: impossible, used twice. */
MUST_USE Status layout_build_extent(Layout *layout, Extent extent);
MUST_USE Status layout_build_finish(Layout *layout, uint64_t page_count);

/* Proves every invariant of the layout from scratch; ERR_CORRUPT names the first that fails. */
MUST_USE Status layout_verify(const Layout *layout);

size_t layout_save_bytes(const Layout *layout);
MUST_USE Status layout_save(const Layout *layout, Buf *out);
/* Into a zeroed layout, for a file of `page_count` pages; after an error: layout_done(). */
MUST_USE Status layout_load(Layout *layout, Bytes saved, uint64_t page_count);

/* A copy of what is live, to be compared with what is used. */
typedef struct Census Census;
MUST_USE Status census_new(const Layout *layout, Census **ret_census);
Census *census_free(Census *census);
static inline void census_freep(Census **census)
{
        *census = census_free(*census);
}
MUST_USE Status census_count(Census *census, Extent extent);
MUST_USE Status census_finish(const Census *census);

/* --- batch.c: what has been allocated for commits that the next checkpoint may not have. No lock: Space.mu --- */

struct SpaceBatch {
        Space *space;
        SpaceBatch *prev, *next; /* Births.running */
        Extent *extents;         /* GUARDED_BY(space->mu), all three */
        size_t count, capacity;
        /* --- the owner's thread only --- */
        Extent *dead; /* discarded; still in `extents` */
        size_t dead_count, dead_capacity;
        uint64_t bytes, dead_bytes; /* capacities; dead ones contained in both */
};

/* Extents of committed batches, by version, until a checkpoint has them. Single documents are 24 bytes here, those
 * of a long load 8. A commit must not fail, so there is always room for what is promised to running batches. */
typedef struct BirthGroup {
        uint64_t version;
        size_t end; /* its extents: from the end of the group before */
} BirthGroup;
typedef struct Births {
        SpaceBatch *running;
        Extent *extents;
        size_t count, capacity, promised;
        BirthGroup *groups;
        size_t group_count, group_capacity, running_count;
} Births;
void births_done(Births *births);
MUST_USE Status births_begin(Births *births, SpaceBatch *batch);
/* Room for one more; then the extent. */
MUST_USE Status births_reserve(Births *births, SpaceBatch *batch);
void births_add(Births *births, SpaceBatch *batch, Extent extent);
/* What is in `dead` (sorted) is none of the batch's any more. */
void births_forget(Births *births, SpaceBatch *batch);
/* The batch has only its first `count` extents any more. */
void births_cut(Births *births, SpaceBatch *batch, size_t count);
/* The batch is over: its extents are of `version`, or (abort) it has none any more. */
void births_commit(Births *births, SpaceBatch *batch, uint64_t version);
void births_abort(Births *births, SpaceBatch *batch);
/* A checkpoint has what was born at versions <= `version`. */
void births_drop(Births *births, uint64_t version);
/* layout_hide() for what was born at versions > `version` (UINT64_MAX: none of these), and all of running batches. */
void births_hide(const Births *births, Layout *layout, uint64_t version, bool hide);

/* "extent 1234abcd at offset 65536" */
#define EXTENT_TEXT_BYTES 64
const char *extent_text(Extent extent, char out[EXTENT_TEXT_BYTES]);
bool extent_valid(Extent extent); /* some file could have it */
uint64_t extent_offset(Extent extent);
size_t extent_bytes(Extent extent);

#endif
