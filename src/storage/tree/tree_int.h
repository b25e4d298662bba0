/* tree_int.h - the inside of the disk trees, shared by the .c files of this folder and their tests.
 *
 *      page.c     one node as bytes: search, insert, remove, build, encode, decode; knows nothing of trees
 *      heap.c     memory for nodes
 *      cache.c    frames: which nodes are in memory, eviction, read sections
 *      pin.c      snapshots, and when what a commit replaced may go
 *      tree.c     opening, reading, cursors          write.c   editing        bulk.c   loads
 *      value.c    values in extents of their own   memo.c    what is remembered of leaves
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
#define PAGE_VERSION      3
#define PAGE_MAX_BYTES    8192u /* of a node in memory; stored it is smaller, since children are */
#define PAGE_MIN_BYTES    2048u /* fewer after a removal: merge or even out */
#define PAGE_MERGE_BYTES  6144u /* two neighbours that need at most this become one */
#define PAGE_INLINE_BYTES 1536u /* a larger value lies in an extent of its own */
#define PACK_MIN_BYTES    512u  /* a smaller node is not packed */
#define PAGE_MAX_ENTRIES  816u  /* 8 bytes of slot and 2 of size each at least */
#define HEIGHT_LIMIT      24u

typedef enum PageKind { PAGE_LEAF = 1, PAGE_INNER = 2, PAGE_ROOT = 4 } PageKind;

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
        uint32_t packed_from; /* 0: the rest lies as it is; else it is packed (LZ4), from so many bytes */
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
struct Page;
/* A child in memory. extent 0: `frame` is the child. Otherwise `frame` is a guess, right if it has that extent. `hint`
 * is where its page was last: only ever prefetched, so that the page is on its way while the frame is looked at. These
 * may be set by readers and by a flush when the node is published; rows only before. */
typedef struct Child {
        _Atomic uint64_t extent;
        Frame *_Atomic frame;
        struct Page *_Atomic hint;
        uint64_t rows : 48;
        _Atomic uint16_t bytes; /* stored; valid with extent */
} Child;
_Static_assert(sizeof(Child) == 32, "two to a cache line");
#define CHILD_ROWS_MAX ((1ull << 48) - 1)

typedef struct Page {
        struct Page *limbo_next;
        uint64_t limbo_stamp;
        atomic_uint pins; /* by cursors: not freed before it is 0 */
        uint32_t block;   /* of the PageHeap, plus one; 0: from mem_alloc (values) */
        uint32_t alloc_bytes;
        uint32_t capacity;       /* of image */
        uint32_t child_capacity; /* of children */
        union {
                Child *children;     /* inner: behind the image, in the same slot */
                Memo *_Atomic memos; /* leaf: what is remembered of it (cache.c) */
        };
        uint8_t prefix_head[16]; /* the prefix's first bytes: a search seldom looks at its place behind the heap */
        union {
                PageHeader h;
                uint8_t image[sizeof(PageHeader)]; /* header | slots -> | free | <- heap | prefix |; capacity bytes */
        };
} Page;
#define PAGE_SLOT_BYTES (offsetof(Page, image) + PAGE_MAX_BYTES)
_Static_assert(offsetof(Page, image) == 64, "a node's header begins a cache line");

/* How an entry's value is stored: its size, up to PAGE_INLINE_BYTES, or LARGE and the size of a packed LargeRef. */
#define CODE_LARGE       0x8000u
#define REF_MAX_BYTES    25u
#define VALUE_HEAD_BYTES 8u /* in its extent: | checksum | body | */
/* A value in an extent of its own. */
typedef struct LargeRef {
        uint64_t extent, birth;
        uint32_t size; /* of the body: as stored, by the codec if there is one */
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
        *ret_value = BYTES(entry + 2 + slot.suffix_size, code & ~CODE_LARGE);
        return code;
}
/* What it needs of PAGE_MAX_BYTES, without what is dead. */
static inline uint32_t page_live_bytes(const Page *page)
{
        return (uint32_t)sizeof(PageHeader) + page->h.count * (uint32_t)sizeof(Slot) + page->h.heap_bytes -
               page->h.dead_bytes + page_child_count(page) * (uint32_t)sizeof(Child);
}

/* NULL when out of memory. `cache`, in all that make pages: whose memory it takes; NULL: freed with mem_free(). */
Page *page_new(PCache *cache, unsigned level, uint32_t child_capacity);
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
/* The same node with nothing dead, and in an inner one room for an entry that needs `need` bytes, if it can be stored;
 * NULL when out of memory. */
Page *page_copy(PCache *cache, const Page *page, size_t need);
/* What a node of these entries needs of PAGE_MAX_BYTES. */
size_t page_built_bytes(unsigned level, const Entry *entries, unsigned count);
/* A node of these entries (and count + 1 children, if level > 0). They fit. NULL when out of memory. */
Page *page_build(PCache *cache, unsigned level, const Entry *entries, const Child *children, unsigned count);
size_t entry_key(const Entry *entry, uint8_t out[PTREE_MAX_KEY_BYTES]);
/* Where to cut entries that do not fit one node, so that both halves fit: left [0, cut), right [cut, count), or
 * [cut + 1, count) if inner. `wish` is taken if it can be. */
unsigned entries_cut(unsigned level, const Entry *entries, unsigned count, unsigned wish);
/* What is known of how well the nodes of a tree can be packed; zeroed to begin with. */
typedef struct PagePacking {
        unsigned failures, skip;
} PagePacking;
/* The stored form into out[PAGE_MAX_BYTES], but for its place; every child has its extent. Returns its size. */
uint32_t page_encode(const Page *page, uint64_t birth, PagePacking *packing, uint8_t *out);
void stored_place(uint8_t *stored, Extent extent); /* and the checksum */
/* Checks a header and its checksum; `why` says what is wrong when false: stored_other_version, among others. */
extern const char *const stored_other_version;
bool stored_check(const uint8_t *stored, size_t bytes, Extent extent, PageKind kind_a, PageKind kind_b,
                  const char **ret_why);
void stored_seal(uint8_t *stored); /* fills in the checksum */
/* A checked node from its stored form; NULL and *ret_why, or NULL and NULL: out of memory. */
Page *page_decode(PCache *cache, const uint8_t *stored, size_t bytes, Extent extent, const char **ret_why);
/* Order, prefix and heads; NULL if all is right. */
const char *page_wrong(const Page *page);

/* --- heap.c: slots for nodes --- */

typedef struct PageBlock {
        char *slots; /* NULL: no block */
        size_t bytes;
        Page *free;
        uint32_t slot_count, used_count, fresh; /* fresh: taken at least once */
} PageBlock;
typedef struct PageHeap {
        PageBlock *blocks;
        uint64_t *with_free;                                           /* a bit for each block that has a free slot */
        uint32_t table_count, table_capacity, block_count, first_word; /* no block before it has a free slot */
        size_t slot_count, free_count, bytes;
} PageHeap;
Page *heap_take(PageHeap *heap); /* NULL when out of memory; only `block` is set */
/* `shrink`: a block that is empty goes at once. */
void heap_give(PageHeap *heap, Page *page, bool shrink);
/* How many of the first blocks have at most `bytes`. */
uint32_t heap_blocks_within(const PageHeap *heap, size_t bytes);
void heap_done(PageHeap *heap); /* all slots are free */

/* --- cache.c: frames and sections --- */

typedef enum FrameState { FRAME_FREE, FRAME_DIRTY, FRAME_CLEAN } FrameState;
/* What stands for a node in memory. Frames are never given back to the heap while the cache lives, so a stale guess may
 * be looked at: it then has another extent, or none.
 *
 *      free --frame_new--> dirty --frame_written--> clean (bound) --frame_release--> free, after a grace period
 *      free --node_load--> clean --evicted, frame_release--> free, after a grace period
 *
 * A bound frame was born dirty; children with extent 0 may point to it, so eviction takes its page only. A later flush
 * releases it (README, "Bound frames"). */
struct Frame {
        _Atomic uint64_t extent;  /* 0 while dirty */
        Page *_Atomic page;       /* NULL: evicted */
        uint64_t birth;           /* of the node, 0 if not known */
        _Atomic uint32_t bytes;   /* stored; valid with extent */
        _Atomic uint8_t used;     /* second chance */
        uint8_t state, bound;     /* GUARDED_BY(cache->mu) */
        Frame *_Atomic hash_next; /* changed under cache->mu; also links free frames and limbo */
        uint64_t limbo_stamp;
};

#define FRAME_CHUNK       1024u
#define FRAME_CHUNK_SMALL 64u /* of the first FRAME_CHUNK frames: a cache with little in it is small */
#define FRAME_CHUNKS      65536u
#define FLUSH_LEAVES      32u /* written at once */
#define SLOT_CHUNK        64u
#define SLOT_CHUNKS       4096u
#define CACHE_LINE        64u

/* A pinned root. State as in storage/memory: 0 idle | 1 entering | version << 2 | 2 pinned | version << 2 | 3 holding.
 */
struct PSnapshot {
        const void *face; /* of the tree: first, tree.h */
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
        _Atomic uint64_t epoch;      /* 0: free */
        _Atomic uint64_t value_hits; /* here, because a shared counter would be fought for */
        unsigned index;
} __attribute__((aligned(CACHE_LINE))) Section;

/* Frames by extent: heads of chains. */
typedef struct Buckets {
        struct Buckets *limbo_next;
        uint64_t limbo_stamp;
        size_t count; /* a power of two */
        Frame *_Atomic heads[];
} Buckets;

struct PCache {
        Space *space;
        const char *name;
        size_t budget_bytes, dirty_max_bytes;
        Status (*flushed)(void *ctx, size_t bytes);
        void *flushed_ctx;
        atomic_size_t used_bytes, dirty_bytes, memo_bytes;
        _Atomic uint64_t hit_count, read_count, evicted_count, value_read_count;
        atomic_bool value_seen; /* values have been kept in memory */
        _Atomic uint64_t epoch; /* starts at 1 */
        /* sections and pins: added, never removed */
        Section *_Atomic sections[SLOT_CHUNKS];
        PSnapshot *_Atomic pins[SLOT_CHUNKS];
        atomic_uint section_count, section_high, pin_count, pin_high;
        Mutex mu;                               /* order 65 in docs/locks.md; not held during reads and writes */
        PageHeap heap;                          /* GUARDED_BY(mu) */
        void *slot_memory[2][SLOT_CHUNKS];      /* GUARDED_BY(mu) */
        Frame *frames[FRAME_CHUNKS];            /* GUARDED_BY(mu) */
        uint32_t frame_count, clock_hand;       /* GUARDED_BY(mu) */
        uint32_t memo_hand, memo_refused_count; /* GUARDED_BY(mu) */
        Frame *free_frames;                     /* GUARDED_BY(mu) */
        Buckets *_Atomic buckets;               /* by extent; changed under mu */
        Buckets *limbo_buckets;                 /* GUARDED_BY(mu) */
        size_t hashed_count;                    /* GUARDED_BY(mu) */
        Page *limbo_pages, **limbo_pages_end;   /* GUARDED_BY(mu); ascending stamps */
        Frame *_Atomic limbo_frames, *_Atomic *limbo_frames_end;
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

/* A slot for a node, after making room for it; NULL when out of memory. */
Page *page_alloc(PCache *cache);
void page_free(PCache *cache, Page *page); /* nobody looks at it; NULL is fine */
/* Shared with value.c and memo.c. */
void cache_make_room(PCache *cache, size_t bytes) REQUIRES(cache->mu);
/* Makes room for something from the heap that nobody depends on; false: there is none. */
bool cache_may_take(PCache *cache, size_t bytes) REQUIRES(cache->mu);
/* Evicts until the blocks of nodes leave `room` of the budget. Looks at all frames. */
void cache_trim(PCache *cache, size_t room) REQUIRES(cache->mu);
Frame *cache_frame_at(const PCache *cache, uint32_t i) REQUIRES(cache->mu);
Frame *cache_hash_find(PCache *cache, uint64_t extent) REQUIRES(cache->mu);
/* The same in a section, without the lock; may miss one that is there. */
Frame *cache_hash_look(PCache *cache, uint64_t extent);
void cache_hash_add(PCache *cache, Frame *frame, uint64_t extent) REQUIRES(cache->mu);
Frame *cache_frame_take(PCache *cache) REQUIRES(cache->mu);
/* ERR_CORRUPT: the node at `child` is damaged. */
Status node_wrong(PCache *cache, const Child *child, const char *why) MUST_USE __attribute__((returns_nonnull));
/* node_load's slow half: not in memory, or not where the child guesses. */
MUST_USE Status node_load_slow(PCache *cache, Child *child, Page **ret_page);
/* The header says where the slots end, and a search wants both: do not wait for one. */
static inline void page_prefetch(const Page *page)
{
        for (unsigned at = 0; at < 704; at += CACHE_LINE)
                __builtin_prefetch((const void *)((uintptr_t)page + at));
}
/* The page of a child; valid until the section is left. */
static inline MUST_USE Status node_load(PCache *cache, Child *child, Page **ret_page)
{
        uint64_t extent = atomic_load_explicit(&child->extent, memory_order_acquire);
        Frame *frame = atomic_load_explicit(&child->frame, memory_order_acquire);
        Page *hint = atomic_load_explicit(&child->hint, memory_order_relaxed);
        page_prefetch(hint);
        if (likely(frame && (extent == 0 || atomic_load_explicit(&frame->extent, memory_order_acquire) == extent))) {
                Page *page = atomic_load_explicit(&frame->page, memory_order_acquire);
                if (likely(page != NULL)) {
                        if (unlikely(page != hint)) {
                                page_prefetch(page);
                                atomic_store_explicit(&child->hint, page, memory_order_relaxed);
                        }
                        if (!atomic_load_explicit(&frame->used, memory_order_relaxed))
                                atomic_store_explicit(&frame->used, 1, memory_order_relaxed);
                        *ret_page = page;
                        return ST_OK;
                }
        }
        return node_load_slow(cache, child, ret_page);
}
/* Child `i` of an inner node: one level below it, or a wrong writer's nodes would lead in circles. */
static inline MUST_USE Status node_down(PCache *cache, const Page *parent, unsigned i, Page **ret_page)
{
        Page *page;
        TRY(node_load(cache, &parent->children[i], &page));
        if (unlikely(page->h.level + 1u != parent->h.level))
                return node_wrong(cache, &parent->children[i], "it is at another height than its neighbours");
        *ret_page = page;
        return ST_OK;
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
 * extent 0 may point to the frame. `batch` (may be NULL) has the extent. */
MUST_USE Status node_write(PCache *cache, Frame *frame, PagePacking *packing, SpaceBatch *batch, bool bound);
/* The same of several leaves, whose pages do not change and stay: neighbours in the file are written at once. `buffer`
 * has PAGE_MAX_BYTES for each. On error none of them is written. */
MUST_USE Status leaves_write(PCache *cache, Frame *const *frames, unsigned count, PagePacking *packing,
                             uint8_t *buffer);
/* A frame that a flush has written, as it was then: frames are used again. */
typedef struct BoundFrame {
        Frame *frame;
        Extent extent;
        uint64_t birth;
} BoundFrame;
/* Nobody says "extent 0" of these any more: they are frames like others, and go with their pages. */
void frames_unbind(PCache *cache, const BoundFrame *frames, size_t count);
/* The private `child` of a node that has been written meanwhile gets its extent. */
static inline void child_resolve(Child *child)
{
        const Frame *frame = atomic_load_explicit(&child->frame, memory_order_relaxed);
        if (atomic_load_explicit(&child->extent, memory_order_relaxed) || !frame)
                return;
        uint64_t extent = atomic_load_explicit(&frame->extent, memory_order_acquire);
        if (extent == 0)
                return;
        atomic_store_explicit(&child->bytes, (uint16_t)atomic_load_explicit(&frame->bytes, memory_order_relaxed),
                              memory_order_relaxed);
        atomic_store_explicit(&child->extent, extent, memory_order_relaxed);
}
/* Back into the budget, after dirty nodes have become clean. */
void pcache_trim(PCache *cache);
/* A copy of a child's page: from the file if it is there (past the cache), also after an error then *ret_extent. */
MUST_USE Status node_copy(PCache *cache, Child *child, Extent *ret_extent, Page **ret_page);
/* Reads a stored node, past the frames; `own`: freed with mem_free(). */
MUST_USE Status node_read(PCache *cache, Extent extent, uint32_t bytes, bool own, Page **ret_page);
Status corrupt(PCache *cache, Extent extent, const char *why) MUST_USE __attribute__((returns_nonnull));
/* For a cursor that stays on a page between sections; inside one. Sequentially consistent: memo.c looks at the
 * memos and then at the pins, a reader the other way round. */
static inline void page_pin(Page *page)
{
        atomic_fetch_add(&page->pins, 1);
}
static inline void page_unpin(Page *page)
{
        if (page)
                atomic_fetch_sub_explicit(&page->pins, 1, memory_order_release);
}

/* --- memo.c: what is remembered of leaves --- */

/* Of a leaf that the caller has pinned; valid until it is unpinned. */
const Memo *page_memo(const Page *page, uint64_t key);
/* Takes the memo over; tree.h, ptree_block_remember. */
const Memo *page_remember(PCache *cache, Page *page, Memo *memo);
size_t page_memo_bytes(const Page *page); /* 0 for any other page */
/* Of a page that goes: nobody looks at it. */
void page_memos_free(PCache *cache, Page *page) REQUIRES(cache->mu);
/* Of a page that stays. False if it has none, or somebody has it pinned. */
bool page_memos_drop(PCache *cache, Page *page) REQUIRES(cache->mu);
/* A hand goes over up to `steps` frames, to the first leaf of which it can drop memos: those not asked for since it
 * came by last, or `all`. */
bool memos_sift_some(PCache *cache, uint32_t steps, bool all) REQUIRES(cache->mu);

/* --- pin.c: versions and garbage --- */

typedef struct TreeTop {
        uint32_t id;
        Child top;              /* rows == 0: empty, no node */
        uint64_t bytes, values; /* of keys and values; how many values lie in extents of their own */
} TreeTop;
/* What a commit publishes and a snapshot pins. Only the tops' extents and frames change once published. */
typedef struct Root {
        uint64_t version;  /* one more with each commit */
        uint64_t position; /* given with it */
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

/* What was a tree, or a part of one, until the commit that made version `death` cleared it. */
typedef struct ClearedTree {
        struct ClearedTree *next;
        TreeTop tree; /* values: 0, or some of its values may lie in extents of their own */
        uint64_t death;
        bool damaged; /* it cannot be found what is under it: waits for the next opening, or the table's drop */
} ClearedTree;

/* A value of the running write that is not in the file yet. */
typedef struct BufferedValue {
        Extent extent;
        size_t offset;        /* of its stored form in ValueBuffer.bytes */
        uint32_t bytes, next; /* of the chain, plus one; 0: the last */
        bool dead;            /* dropped meanwhile */
} BufferedValue;
typedef struct ValueBuffer {
        Buf bytes;
        BufferedValue *items;
        uint32_t *heads; /* of chains of items, by extent; as many as there is room for items */
        uint32_t count, capacity;
} ValueBuffer;

/* The running write; lives in the tree, as there is one at a time. */
struct PWrite {
        const void *face; /* first, tree.h */
        PTree *tree;
        Root *root; /* private until commit */
        uint64_t version;
        uint64_t stale_until; /* bound_until when it began */
        size_t fresh_mark;    /* garbage of earlier commits ends here */
        SpaceBatch *batch;    /* extents of values and bulks; NULL if there are none */
        ValueBuffer values;
        ClearedTree *cleared; /* by this write */
        bool bulk;            /* a bulk is open */
};

struct PTree {
        PCache *cache;
        PTreeOptions options; /* inline_max_bytes is set */
        Root *_Atomic root;
        _Atomic uint64_t row_count, row_bytes, garbage_count;
        /* --- the writer only --- */
        PWrite write;
        bool writing;
        GarbageList fresh; /* not yet looked at, or kept for want of memory; the array grows under gc_mu */
        /* Of these, by commits: ptree_dead() reads them, under gc_mu. */
        atomic_size_t fresh_committed;
        /* --- one flush at a time --- */
        PTreeAddress record; /* of the last flush, or the one opened */
        uint64_t record_version;
        PagePacking packing;
        uint8_t *flush_buffer; /* of the running flush; NULL: no memory for it */
        bool record_stale;     /* the record names cleared trees whose extents are given back by now */
        BoundFrame *bound;     /* written by flushes, not yet released */
        size_t bound_count, bound_capacity;
        /* A page made by a write of this version or an older one may say "extent 0" of a frame in `bound`. */
        _Atomic uint64_t bound_until;
        _Atomic uint64_t begun; /* version of the newest write */
        Mutex gc_mu;            /* order 55 in docs/locks.md */
        Holder *holders;        /* GUARDED_BY(gc_mu); ascending by version */
        size_t holder_count, holder_capacity;
        ClearedTree *cleared; /* GUARDED_BY(gc_mu): commits put them before the head, a flush takes them out */
        /* --- the flush's: what is left to be given to the space --- */
        Extent *doomed;
        size_t doomed_count;
        bool gone;
        uint64_t *pinned; /* GUARDED_BY(gc_mu): scratch */
        size_t pinned_capacity;
};

/* Body of a root record behind its PageHeader: | version | position | row_bytes | values | count | cleared count |,
 * then, per tree, | id | bytes | extent | rows | row_bytes | values |; then the same of what was cleared and is not yet
 * given back. */
#define RECORD_HEAD_BYTES 40u
#define RECORD_TREE_BYTES 40u
#define RECORD_MAX_BYTES  ((size_t)64 << 20) /* of one that is read */

TreeTop *root_top(const Root *root, uint32_t id); /* NULL if absent */
Root *root_new(uint32_t capacity);
void root_copy(Root *to, const Root *from);
void top_copy(TreeTop *to, const TreeTop *from);
void root_sizes(const Root *root, uint64_t *ret_bytes, uint64_t *ret_values);
MUST_USE Status garbage_add(PTree *tree, Garbage item);
/* Sifts all garbage; the writer's own too if `writer`. */
void garbage_sweep(PTree *tree, bool writer);
/* Frees all of it: the tree has no snapshots, whatever pins of other trees are doing. */
void garbage_drop(PTree *tree);
/* Garbage that names a frame that has been written names its extent from now on. */
void garbage_resolve(PTree *tree);
unsigned pin_count_of(PCache *cache, const PTree *tree);
/* False only if no snapshot of a version below `version` is open. */
bool pin_may_be_below(PCache *cache, const PTree *tree, uint64_t version);

/* --- drop.c --- */
void cleared_list_free(ClearedTree *list); /* the memory of the list alone */
/* Those that no snapshot reads any more and that a checkpoint of the root `version` does not need: finds everything
 * under them and gives it to the space, to be used again after the next checkpoint. */
MUST_USE Status cleared_release(PTree *tree, uint64_t version);

/* Frees the dirty nodes under a child, those of one birth or (0) all. A node has none under it that are younger, and a
 * clean one none at all. */
void dirty_discard(PCache *cache, Child *child, uint64_t birth);

/* --- tree.c --- */
typedef struct Step {
        Child *child; /* where the node hangs */
        Page *page;
        unsigned index; /* of the child taken, or of the row */
} Step;
/* `write`: whose tree it is, or NULL. */
MUST_USE Status top_first(PTree *tree, PWrite *write, TreeTop *top, PRange range, Arena *hold, Bytes *ret_key,
                          Bytes *ret_value, bool *ret_found);
MUST_USE Status top_get(PTree *tree, PWrite *write, TreeTop *top, Bytes key, Arena *hold, Bytes *ret_value,
                        bool *ret_found);

/* --- write.c --- */
MUST_USE Status write_top(PWrite *write, uint32_t id, TreeTop **ret_top);
size_t separator_size(Bytes below, Bytes above); /* bytes of `above` that tell it from `below` */

/* --- value.c --- */
size_t ref_pack(PCache *cache, LargeRef ref, uint8_t out[REF_MAX_BYTES]);
MUST_USE Status ref_unpack(PCache *cache, Bytes packed, LargeRef *ret_ref);
/* The batch of what this write writes by itself, made when first asked for. */
MUST_USE Status write_batch(PWrite *write, SpaceBatch **ret_batch);
/* The value as it lies in a page: itself, or its packed reference; counted in `top`. */
MUST_USE Status value_store(PWrite *write, TreeTop *top, Bytes value, uint8_t packed[REF_MAX_BYTES], uint16_t *ret_code,
                            Bytes *ret_stored);
/* A row's value goes, with its extent if it has one; it is taken off `top`. */
MUST_USE Status value_drop(PWrite *write, TreeTop *top, const Page *page, unsigned at);
/* The write is over; its batch too. */
void values_end(PWrite *write);
void values_done(PWrite *write); /* memory */
/* A row's value, into `hold`. `write`: the one that asks, or NULL. A scan leaves what is kept in memory as it is. */
MUST_USE Status value_out(PTree *tree, PWrite *write, const Page *page, unsigned i, bool scan, Arena *hold,
                          Bytes *ret_value);
/* Reads a row's value, if it has an extent (else *ret_extent = 0), from the file. */
MUST_USE Status value_check(PTree *tree, const Page *page, unsigned i, Extent *ret_extent);
/* The extent is freed: its value is not kept any more. */
void value_release(PCache *cache, Extent extent);

#endif
