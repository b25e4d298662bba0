/* tree_int.h - the inside of the disk trees, shared by the .c files of this folder and their tests.
 *
 *      page.c     one node as bytes: search, insert, remove, build, encode, decode; knows nothing of trees
 *      cache.c    frames: which nodes are in memory, eviction, read sections
 *      pin.c      snapshots, and when what a commit replaced may go
 *      tree.c     opening, reading, cursors          write.c   editing        bulk.c   loads
 *      flush.c    dirty nodes to the file, the checker
 *
 * Pictures and invariants: README.md in this folder. */
#ifndef STORAGE_TREE_TREE_INT_H
#define STORAGE_TREE_TREE_INT_H

#include <stdatomic.h>

#include "base/mem.h"
#include "os/thread.h"
#include "storage/tree/tree.h"

/* --- page.c: a node --- */

#define PAGE_MAGIC        0x444e5450u /* "PTND" */
#define PAGE_VERSION      1
#define PAGE_MAX_BYTES    8192u /* of a stored node */
#define PAGE_MIN_BYTES    2048u /* fewer after a removal: merge or even out */
#define PAGE_MERGE_BYTES  6144u /* two neighbours that need at most this become one */
#define PAGE_INLINE_BYTES 1536u /* a larger value lies in an extent of its own */
#define PAGE_MAX_ENTRIES  816u  /* 8 bytes of slot and 2 of size each at least */
#define HEIGHT_LIMIT      24u

typedef enum PageKind { PAGE_LEAF = 1, PAGE_INNER = 2, PAGE_VALUE = 3, PAGE_ROOT = 4 } PageKind;

/* Begins everything that is stored. The checksum (XXH3) covers bytes 8 .. bytes. */
typedef struct PageHeader {
        uint64_t checksum;
        uint32_t magic;
        uint8_t kind, level;
        uint16_t count; /* rows, or separators: an inner node has one child more */
        uint32_t bytes; /* stored, header included */
        uint16_t prefix_size;
        uint16_t version;
        uint64_t birth;      /* version of the tree whose write made the node */
        uint64_t extent;     /* where it was written to */
        uint16_t heap_bytes; /* of the heap, dead ones included; entries are addressed from the heap's end */
        uint16_t dead_bytes;
        uint32_t reserved;
} PageHeader;
_Static_assert(sizeof(PageHeader) == 48, "on-disk format: bump PAGE_VERSION, do not edit in place");

typedef struct Slot {
        uint32_t head;   /* the first 4 bytes of the suffix as a number, zeros behind a short one */
        uint16_t offset; /* of the entry, counted back from the end of the heap */
        uint16_t suffix_size;
} Slot;
_Static_assert(sizeof(Slot) == 8, "on-disk format: bump PAGE_VERSION, do not edit in place");

/* A stored child: | extent | rows << 16 | bytes |. */
#define STORED_CHILD_BYTES 16u

typedef struct Frame Frame;
/* A child in memory. extent 0: `frame` is the child. Otherwise `frame` is a guess, right if it has that extent. The
 * two may be set by readers and by a flush when the node is published; rows only before. */
typedef struct Child {
        _Atomic uint64_t extent;
        Frame *_Atomic frame;
        uint64_t rows;
        _Atomic uint32_t bytes; /* stored; valid with extent */
} Child;

typedef struct Page {
        struct Page *limbo_next;
        uint64_t limbo_stamp;
        atomic_uint pins; /* by cursors: not freed before it is 0 */
        uint32_t alloc_bytes;
        uint32_t capacity;       /* of image */
        uint32_t child_capacity; /* of children */
        Child *children;         /* inner: behind the image, in the same block */
        uint8_t prefix_head[8];  /* the prefix's first bytes: a search seldom looks at its place behind the heap */
        union {
                PageHeader h;
                uint8_t image[sizeof(PageHeader)]; /* header | slots -> | free | <- heap | prefix |; capacity bytes */
        };
} Page;

/* How an entry's value is stored: sizes up to PAGE_INLINE_BYTES, or LARGE: the value is a LargeRef. */
#define CODE_LARGE UINT16_MAX
typedef struct LargeRef {
        uint64_t extent, size, birth;
} LargeRef;

/* An entry on its way from pages to a page: key = a then b. */
typedef struct Entry {
        const uint8_t *a, *b, *value;
        uint16_t a_size, b_size, value_size, code;
} Entry;

static inline Slot *page_slots(const Page *page)
{
        return (Slot *)((uintptr_t)page + offsetof(Page, image) + sizeof(PageHeader));
}
static inline const uint8_t *page_end(const Page *page)
{
        return (const uint8_t *)page + offsetof(Page, image) + page->capacity;
}
static inline Bytes page_prefix(const Page *page)
{
        return BYTES(page_end(page) - page->h.prefix_size, page->h.prefix_size);
}
static inline Bytes page_suffix(const Page *page, unsigned i)
{
        Slot slot = page_slots(page)[i];
        return BYTES(page_end(page) - slot.offset + (page->h.level == 0 ? 2 : 0), slot.suffix_size);
}
static inline unsigned page_child_count(const Page *page)
{
        return page->h.level ? page->h.count + 1u : 0;
}
/* Code, and the value's bytes as they lie in the page, of a row. */
static inline uint16_t page_value(const Page *page, unsigned i, Bytes *ret_value)
{
        Slot slot = page_slots(page)[i];
        const uint8_t *entry = page_end(page) - slot.offset;
        uint16_t code = load_u16(entry);
        *ret_value = BYTES(entry + 2 + slot.suffix_size, code == CODE_LARGE ? sizeof(LargeRef) : code);
        return code;
}
/* Stored size without what is dead. */
static inline uint32_t page_live_bytes(const Page *page)
{
        return (uint32_t)sizeof(PageHeader) + page->h.count * (uint32_t)sizeof(Slot) + page->h.heap_bytes -
               page->h.dead_bytes + page_child_count(page) * STORED_CHILD_BYTES;
}

Page *page_new(unsigned level, uint32_t capacity, uint32_t child_capacity); /* NULL when out of memory */
/* First entry with a key >= `key`. */
unsigned page_search(const Page *page, Bytes key, bool *ret_equal);
/* The child of an inner node that has `key`'s place: separators <= key. */
unsigned page_child_of(const Page *page, Bytes key);
size_t page_key(const Page *page, unsigned i, uint8_t out[PTREE_MAX_KEY_BYTES]);
Entry page_entry(const Page *page, unsigned i);
/* What an insert needs of free and of stored bytes; SIZE_MAX if the key does not have the prefix. */
size_t page_need(const Page *page, Bytes key, size_t value_size);
/* True if `need` more bytes can be stored and lie free here. */
bool page_fits(const Page *page, size_t need, bool *ret_storable);
/* The key has the prefix and the bytes are free. Children are the caller's. */
void page_insert(Page *page, unsigned at, Bytes key, uint16_t code, Bytes value);
void page_remove(Page *page, unsigned at);
void page_child_insert(Page *page, unsigned at, uint64_t extent, Frame *frame, uint64_t rows, uint32_t bytes);
void page_child_remove(Page *page, unsigned at);
void child_set(Child *child, uint64_t extent, Frame *frame, uint64_t rows, uint32_t bytes);
void child_copy(Child *to, const Child *from);
/* The same node in a block with `room` more free bytes and nothing dead; NULL when out of memory. */
Page *page_copy(const Page *page, uint32_t room);
/* Stored bytes of a node of these entries. */
size_t page_built_bytes(unsigned level, const Entry *entries, unsigned count);
/* A node of these entries (and count + 1 children, if level > 0). They fit. NULL when out of memory. */
Page *page_build(unsigned level, const Entry *entries, const Child *children, unsigned count, uint32_t room);
size_t entry_key(const Entry *entry, uint8_t out[PTREE_MAX_KEY_BYTES]);
/* Where to cut entries that do not fit one node, so that both halves fit: left [0, cut), right [cut, count), or
 * [cut + 1, count) if inner. `wish` is taken if it can be. */
unsigned entries_cut(unsigned level, const Entry *entries, unsigned count, unsigned wish);
/* The stored form into out[PAGE_MAX_BYTES]; every child has its extent. Returns its size. */
uint32_t page_encode(const Page *page, uint64_t birth, Extent extent, uint8_t *out);
/* Checks a header and its checksum; `why` says what is wrong when false. */
bool stored_check(const uint8_t *stored, size_t bytes, Extent extent, PageKind kind_a, PageKind kind_b,
                  const char **ret_why);
void stored_seal(uint8_t *stored); /* fills in the checksum */
/* A checked node from its stored form; NULL and *ret_why, or NULL and NULL: out of memory. */
Page *page_decode(const uint8_t *stored, size_t bytes, Extent extent, const char **ret_why);
/* Order, prefix and heads; NULL if all is right. */
const char *page_wrong(const Page *page);

/* --- cache.c: frames and sections --- */

typedef enum FrameState { FRAME_FREE, FRAME_DIRTY, FRAME_CLEAN } FrameState;
/* What stands for a node in memory. Frames are never given back to the heap while the cache lives, so a stale guess may
 * be looked at: it then has another extent, or none.
 *
 *      free --frame_new--> dirty --frame_written--> clean (bound) --frame_release--> free, after a grace period
 *      free --node_load--> clean --evicted, frame_release--> free, after a grace period
 *
 * A bound frame was born dirty; children with extent 0 may point to it, so eviction takes its page only. */
struct Frame {
        _Atomic uint64_t extent; /* 0 while dirty */
        Page *_Atomic page;      /* NULL: evicted */
        uint64_t birth;          /* of the node, 0 if not known */
        _Atomic uint32_t bytes;  /* stored; valid with extent */
        _Atomic uint8_t used;    /* second chance */
        uint8_t state, bound;    /* GUARDED_BY(cache->mu) */
        Frame *hash_next;        /* GUARDED_BY(cache->mu); also links free frames and limbo */
        uint64_t limbo_stamp;
};

#define FRAME_CHUNK  1024u
#define FRAME_CHUNKS 65536u
#define SLOT_CHUNK   64u
#define SLOT_CHUNKS  4096u
#define CACHE_LINE   64u

/* A pinned root. State as in storage/memory: 0 idle | 1 entering | version << 2 | 2 pinned | version << 2 | 3 holding.
 */
struct PSnapshot {
        _Atomic uint64_t state;
        PTree *_Atomic tree;
        struct Root *root;
        unsigned index;
} __attribute__((aligned(CACHE_LINE)));
#define PIN_IDLE     0
#define PIN_ENTERING 1
#define PIN_PINNED   2
#define PIN_HOLDING  3

/* Somebody who holds pointers to pages without a pin on them: what was unlinked in his epoch or later is not freed. */
typedef struct Section {
        _Atomic uint64_t epoch; /* 0: free */
        unsigned index;
} __attribute__((aligned(CACHE_LINE))) Section;

struct PCache {
        Space *space;
        const char *name;
        size_t budget_bytes, dirty_max_bytes;
        atomic_size_t used_bytes, dirty_bytes;
        _Atomic uint64_t hit_count, read_count, evicted_count;
        _Atomic uint64_t epoch; /* starts at 1 */
        /* sections and pins: added, never removed */
        Section *_Atomic sections[SLOT_CHUNKS];
        PSnapshot *_Atomic pins[SLOT_CHUNKS];
        atomic_uint section_count, section_high, pin_count, pin_high;
        Mutex mu;                             /* order 65 in docs/locks.md; not held during reads and writes */
        void *slot_memory[2][SLOT_CHUNKS];    /* GUARDED_BY(mu) */
        Frame *frames[FRAME_CHUNKS];          /* GUARDED_BY(mu) */
        uint32_t frame_count, clock_hand;     /* GUARDED_BY(mu) */
        Frame *free_frames;                   /* GUARDED_BY(mu) */
        Frame **buckets;                      /* GUARDED_BY(mu); by extent */
        size_t bucket_count, hashed_count;    /* GUARDED_BY(mu) */
        Page *limbo_pages, **limbo_pages_end; /* GUARDED_BY(mu); ascending stamps */
        Frame *limbo_frames, **limbo_frames_end;
        size_t limbo_bytes,
                fixed_bytes; /* GUARDED_BY(mu); parts of used_bytes: waiting to be freed, frames and slots */
};

MUST_USE Status slots_grow(PCache *cache, bool pins, unsigned seen);
MUST_USE Status section_enter(PCache *cache, Section **ret_section);
void section_leave(Section *section);
static inline void section_leavep(Section **section)
{
        if (*section)
                section_leave(*section);
}
MUST_USE Status pin_slot_take(PCache *cache, PSnapshot **ret_pin);

/* node_load's slow half: not in memory, or not where the child guesses. */
MUST_USE Status node_load_slow(PCache *cache, Child *child, Page **ret_page);
/* The page of a child; valid until the section is left. */
static inline MUST_USE Status node_load(PCache *cache, Child *child, Page **ret_page)
{
        uint64_t extent = atomic_load_explicit(&child->extent, memory_order_acquire);
        Frame *frame = atomic_load_explicit(&child->frame, memory_order_acquire);
        if (likely(frame && (extent == 0 || atomic_load_explicit(&frame->extent, memory_order_acquire) == extent))) {
                Page *page = atomic_load_explicit(&frame->page, memory_order_acquire);
                if (likely(page != NULL)) {
                        /* The header says where the slots end, and a search wants both: do not wait for one. */
                        for (unsigned at = 0; at < 512; at += CACHE_LINE)
                                __builtin_prefetch((const char *)page + at);
                        if (!atomic_load_explicit(&frame->used, memory_order_relaxed))
                                atomic_store_explicit(&frame->used, 1, memory_order_relaxed);
                        *ret_page = page;
                        return ST_OK;
                }
        }
        return node_load_slow(cache, child, ret_page);
}
/* A dirty frame with this page; NULL when out of memory (the page stays the caller's). */
Frame *frame_new(PCache *cache, Page *page, uint64_t birth);
/* Replaces the page of an unpublished dirty frame; frees the old one. */
void frame_set_page(PCache *cache, Frame *frame, Page *page);
/* An unpublished dirty frame goes at once. */
void frame_discard(PCache *cache, Frame *frame);
/* The node is dead and no snapshot can read it: the frame (found by extent, if NULL) and its page go after a grace
 * period. Returns the extent it was written to, 0 if it was not. */
Extent node_release(PCache *cache, Frame *frame, Extent extent);
/* Writes a dirty node whose children all have extents to a new extent; its frame is clean then. `bound`: children with
 * extent 0 may point to the frame. */
MUST_USE Status node_write(PCache *cache, Frame *frame, bool bound);
/* Back into the budget, after dirty nodes have become clean. */
void pcache_trim(PCache *cache);
/* Reads a stored node, past the cache. */
MUST_USE Status node_read(PCache *cache, Extent extent, uint32_t bytes, Page **ret_page);
MUST_USE Status large_write(PCache *cache, Bytes value, uint64_t birth, LargeRef *ret_ref);
/* Into `hold`, or past it (NULL: only checks). */
MUST_USE Status large_read(PCache *cache, LargeRef ref, Arena *hold, Bytes *ret_value);
Status corrupt(PCache *cache, Extent extent, const char *why) MUST_USE;
/* For a cursor that stays on a page between sections. */
static inline void page_unpin(Page *page)
{
        if (page)
                atomic_fetch_sub_explicit(&page->pins, 1, memory_order_release);
}

/* --- pin.c: versions and garbage --- */

typedef struct TreeTop {
        uint32_t id;
        Child top; /* rows == 0: empty, no node */
} TreeTop;
/* What a commit publishes and a snapshot pins. Only the tops' extents and frames change once published. */
typedef struct Root {
        uint64_t version;  /* one more with each commit */
        uint64_t position; /* given with it */
        uint64_t row_bytes;
        uint32_t count, capacity;
        TreeTop tops[]; /* ascending by id */
} Root;

typedef enum GarbageKind {
        GARBAGE_NODE,  /* frame, or extent if frame is NULL */
        GARBAGE_LARGE, /* extent */
        GARBAGE_ROOT,  /* pointer */
} GarbageKind;
/* Lived for the versions [birth, death); replaced by the commit at `position`. */
typedef struct Garbage {
        void *object;
        Extent extent;
        uint64_t birth, death, position;
        GarbageKind kind;
} Garbage;
typedef struct GarbageList {
        Garbage *items;
        size_t count, capacity;
} GarbageList;
/* Garbage that the snapshots of one version keep alive. */
typedef struct Holder {
        uint64_t version;
        GarbageList list;
} Holder;

/* The running write; lives in the tree, as there is one at a time. */
struct PWrite {
        PTree *tree;
        Root *root; /* private until commit */
        uint64_t version;
        size_t fresh_mark; /* garbage of earlier commits ends here */
        Extent *made;      /* extents this write has written, for an abort */
        size_t made_count, made_capacity;
        bool bulk; /* a bulk is open */
};

struct PTree {
        PCache *cache;
        Root *_Atomic root;
        _Atomic uint64_t row_count, row_bytes, garbage_count;
        /* --- the writer only --- */
        PWrite write;
        bool writing;
        GarbageList fresh; /* not yet looked at, or kept for want of memory */
        /* --- one flush at a time --- */
        PTreeAddress record; /* of the last flush, or the one opened */
        uint64_t record_version;
        Mutex gc_mu;     /* order 55 in docs/locks.md */
        Holder *holders; /* GUARDED_BY(gc_mu); ascending by version */
        size_t holder_count, holder_capacity;
        uint64_t *pinned; /* GUARDED_BY(gc_mu): scratch */
        size_t pinned_capacity;
};

/* Body of a root record behind its PageHeader: | version | position | row_bytes | count | 0 |, then, per tree,
 * | id | bytes | extent | rows |. */
#define RECORD_HEAD_BYTES 32u
#define RECORD_TREE_BYTES 24u

TreeTop *root_top(const Root *root, uint32_t id); /* NULL if absent */
Root *root_new(uint32_t capacity);
void root_copy(Root *to, const Root *from);
MUST_USE Status garbage_add(PTree *tree, Garbage item);
/* Sifts all garbage; the writer's own too if `writer`. */
void garbage_sweep(PTree *tree, bool writer);
unsigned pin_count_of(PCache *cache, const PTree *tree);

/* Frees the dirty nodes under a child, those of one birth or (0) all. A node has none under it that are younger, and a
 * clean one none at all. */
void dirty_discard(PCache *cache, Child *child, uint64_t birth);

/* --- tree.c --- */
typedef struct Step {
        Child *child; /* where the node hangs */
        Page *page;
        unsigned index; /* of the child taken, or of the row */
} Step;
MUST_USE Status top_get(PCache *cache, TreeTop *top, Bytes key, Arena *hold, Bytes *ret_value, bool *ret_found);
MUST_USE Status value_out(PCache *cache, const Page *page, unsigned i, Arena *hold, Bytes *ret_value);

/* --- write.c --- */
MUST_USE Status write_top(PWrite *write, uint32_t id, TreeTop **ret_top);
MUST_USE Status write_made(PWrite *write, Extent extent);
size_t separator_size(Bytes below, Bytes above); /* bytes of `above` that tell it from `below` */
/* The value as it lies in a page: itself, or *ref, of an extent just written. */
MUST_USE Status value_store(PWrite *write, Bytes value, LargeRef *ref, uint16_t *ret_code, Bytes *ret_stored);

#endif
