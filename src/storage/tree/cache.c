/* cache.c - which nodes are in memory: frames found by extent, a clock that evicts, and sections that say when memory
 * which was unlinked may be freed.
 *
 * The order that makes reading without locks safe (all sequentially consistent):
 *
 *      reader:   section = epoch;  follow child -> frame -> page;  ..;  section = 0
 *      evictor:  frame->page = NULL;  stamp = epoch++;  ..;  look at all sections: free if all are 0 or > stamp
 *
 * A reader that the evictor does not see took its section after that look, hence after the page was unlinked. */
#include "storage/tree/tree_int.h"

#include <assert.h>
#include <inttypes.h>

#define EVICT_STEPS 1024u
#define LOOK_STEPS  16u /* chains have one frame on average */

static atomic_uint next_hint;
static _Thread_local unsigned section_hint, pin_hint; /* where to look first, plus one */

/* --- slots --- */

Status slots_grow(PCache *cache, bool pins, unsigned seen)
{
        Status st = ST_OK;
        atomic_uint *count = pins ? &cache->pin_count : &cache->section_count;
        mutex_lock(&cache->mu);
        unsigned n = atomic_load(count);
        if (n == seen && n == SLOT_CHUNK * SLOT_CHUNKS) {
                st = status_new(ERR_LIMIT, "%u %s, the most that can be", n,
                                pins ? "snapshots are open" : "reads are running");
        } else if (n == seen) {
                size_t bytes = SLOT_CHUNK * (pins ? sizeof(PSnapshot) : sizeof(Section));
                void *memory = mem_zalloc(bytes + CACHE_LINE);
                if (!memory) {
                        st = status_nomem();
                } else {
                        uintptr_t aligned = ((uintptr_t)memory + CACHE_LINE - 1) & ~(uintptr_t)(CACHE_LINE - 1);
                        cache->slot_memory[pins][n / SLOT_CHUNK] = memory;
                        for (unsigned i = 0; i < SLOT_CHUNK; i++) {
                                if (pins)
                                        ((PSnapshot *)aligned)[i].index = n + i;
                                else
                                        ((Section *)aligned)[i].index = n + i;
                        }
                        if (pins)
                                atomic_store(&cache->pins[n / SLOT_CHUNK], (PSnapshot *)aligned);
                        else
                                atomic_store(&cache->sections[n / SLOT_CHUNK], (Section *)aligned);
                        atomic_fetch_add(&cache->used_bytes, bytes + CACHE_LINE);
                        cache->fixed_bytes += bytes + CACHE_LINE;
                        atomic_store(count, n + SLOT_CHUNK);
                }
        }
        mutex_unlock(&cache->mu);
        return st;
}

/* So that whoever looks at the slots looks at this one: before it is taken. */
static void high_raise(atomic_uint *high, unsigned i)
{
        unsigned seen = atomic_load(high);
        while (unlikely(seen <= i) && !atomic_compare_exchange_weak(high, &seen, i + 1))
                ;
}

Status section_enter(PCache *cache, Section **ret_section)
{
        if (unlikely(section_hint == 0))
                section_hint = atomic_fetch_add(&next_hint, 1) % SLOT_CHUNK + 1;
        for (;;) {
                unsigned n = atomic_load_explicit(&cache->section_count, memory_order_acquire);
                for (unsigned k = 0; k < n; k++) {
                        unsigned i = section_hint - 1 + k < n ? section_hint - 1 + k : (section_hint - 1 + k) % n;
                        Section *section = &atomic_load_explicit(&cache->sections[i / SLOT_CHUNK],
                                                                 memory_order_acquire)[i % SLOT_CHUNK];
                        uint64_t none = 0;
                        if (atomic_load_explicit(&section->epoch, memory_order_relaxed))
                                continue;
                        high_raise(&cache->section_high, i);
                        uint64_t epoch = atomic_load_explicit(&cache->epoch, memory_order_acquire);
                        if (!atomic_compare_exchange_strong(&section->epoch, &none, epoch))
                                continue;
                        section_hint = i + 1;
                        *ret_section = section;
                        return ST_OK;
                }
                TRY(slots_grow(cache, false, n));
        }
}

void section_leave(Section *section)
{
        atomic_store_explicit(&section->epoch, 0, memory_order_release);
}

Status pin_slot_take(PCache *cache, PSnapshot **ret_pin)
{
        if (unlikely(pin_hint == 0))
                pin_hint = atomic_fetch_add(&next_hint, 1) % SLOT_CHUNK + 1;
        for (;;) {
                unsigned n = atomic_load_explicit(&cache->pin_count, memory_order_acquire);
                for (unsigned k = 0; k < n; k++) {
                        unsigned i = pin_hint - 1 + k < n ? pin_hint - 1 + k : (pin_hint - 1 + k) % n;
                        PSnapshot *pin = &atomic_load_explicit(&cache->pins[i / SLOT_CHUNK],
                                                               memory_order_acquire)[i % SLOT_CHUNK];
                        uint64_t idle = PIN_IDLE;
                        if (atomic_load_explicit(&pin->state, memory_order_relaxed) != PIN_IDLE)
                                continue;
                        high_raise(&cache->pin_high, i);
                        if (!atomic_compare_exchange_strong(&pin->state, &idle, PIN_ENTERING))
                                continue;
                        pin_hint = i + 1;
                        *ret_pin = pin;
                        return ST_OK;
                }
                TRY(slots_grow(cache, true, n));
        }
}

/* --- frames by extent --- */

/* The chain of an extent. Readers walk it without the lock (cache_hash_look), so links are atomic, and an array of
 * heads that is replaced is freed as pages are, when nobody can be looking at it any more. */
static Frame *_Atomic *bucket_of(Buckets *buckets, uint64_t extent)
{
        return &buckets->heads[(extent * 0x9e3779b97f4a7c15ull >> 20) & (buckets->count - 1)];
}

static Buckets *buckets_new(size_t count)
{
        Buckets *buckets = mem_zalloc(sizeof(Buckets) + count * sizeof(Frame *));
        if (buckets)
                buckets->count = count;
        return buckets;
}

static Buckets *buckets_now(PCache *cache) REQUIRES(cache->mu)
{
        return atomic_load_explicit(&cache->buckets, memory_order_relaxed);
}

Frame *cache_hash_find(PCache *cache, uint64_t extent) REQUIRES(cache->mu)
{
        Frame *frame = atomic_load_explicit(bucket_of(buckets_now(cache), extent), memory_order_relaxed);
        while (frame && atomic_load_explicit(&frame->extent, memory_order_relaxed) != extent)
                frame = atomic_load_explicit(&frame->hash_next, memory_order_relaxed);
        return frame;
}

Frame *cache_hash_look(PCache *cache, uint64_t extent)
{
        Buckets *buckets = atomic_load(&cache->buckets);
        Frame *frame = atomic_load_explicit(bucket_of(buckets, extent), memory_order_acquire);
        /* A frame that moves meanwhile takes us into another chain, or a longer one than there can be: then it is not
         * found, though it may be there. */
        for (unsigned steps = LOOK_STEPS; frame && steps > 0; steps--) {
                if (atomic_load_explicit(&frame->extent, memory_order_acquire) == extent)
                        return frame;
                frame = atomic_load_explicit(&frame->hash_next, memory_order_acquire);
        }
        return NULL;
}

static void bucket_add(Buckets *buckets, Frame *frame, uint64_t extent)
{
        Frame *_Atomic *head = bucket_of(buckets, extent);
        atomic_store_explicit(&frame->hash_next, atomic_load_explicit(head, memory_order_relaxed),
                              memory_order_release);
        atomic_store_explicit(head, frame, memory_order_release);
}

/* More buckets; without memory for them the chains just stay longer. */
static void hash_widen(PCache *cache) REQUIRES(cache->mu)
{
        Buckets *old = buckets_now(cache), *wider = buckets_new(2 * old->count);
        if (!wider)
                return;
        for (size_t i = 0; i < old->count; i++)
                for (Frame *frame = atomic_load(&old->heads[i]), *next; frame; frame = next) {
                        next = atomic_load_explicit(&frame->hash_next, memory_order_relaxed);
                        bucket_add(wider, frame, atomic_load_explicit(&frame->extent, memory_order_relaxed));
                }
        atomic_store(&cache->buckets, wider);
        old->limbo_stamp = atomic_fetch_add(&cache->epoch, 1);
        old->limbo_next = cache->limbo_buckets;
        cache->limbo_buckets = old;
        atomic_fetch_add(&cache->used_bytes, old->count * sizeof(Frame *));
        cache->fixed_bytes += old->count * sizeof(Frame *);
}

void cache_hash_add(PCache *cache, Frame *frame, uint64_t extent) REQUIRES(cache->mu)
{
        if (cache->hashed_count >= buckets_now(cache)->count)
                hash_widen(cache);
        bucket_add(buckets_now(cache), frame, extent);
        cache->hashed_count++;
        /* Readers look here: everything else about the node is there before. */
        atomic_store(&frame->extent, extent);
}

static void hash_remove(PCache *cache, Frame *frame) REQUIRES(cache->mu)
{
        Frame *_Atomic *at = bucket_of(buckets_now(cache), atomic_load_explicit(&frame->extent, memory_order_relaxed));
        for (Frame *each; (each = atomic_load_explicit(at, memory_order_relaxed)) != frame;)
                at = &each->hash_next;
        atomic_store_explicit(at, atomic_load_explicit(&frame->hash_next, memory_order_relaxed), memory_order_release);
        cache->hashed_count--;
}

/* --- limbo: unlinked, and perhaps still being looked at --- */

static void limbo_page(PCache *cache, Page *page) REQUIRES(cache->mu)
{
        page->limbo_next = NULL;
        page->limbo_stamp = atomic_fetch_add(&cache->epoch, 1);
        *cache->limbo_pages_end = page;
        cache->limbo_pages_end = &page->limbo_next;
        cache->limbo_bytes += page->alloc_bytes + page_memo_bytes(page);
}

/* The frame is out of the hash and has no page. */
static void limbo_frame(PCache *cache, Frame *frame) REQUIRES(cache->mu)
{
        atomic_store(&frame->extent, 0);
        frame->state = FRAME_FREE;
        frame->hash_next = NULL;
        frame->limbo_stamp = atomic_fetch_add(&cache->epoch, 1);
        *cache->limbo_frames_end = frame;
        cache->limbo_frames_end = &frame->hash_next;
}

/* What the process has for this cache. */
static size_t resident_bytes(PCache *cache) REQUIRES(cache->mu)
{
        return atomic_load(&cache->used_bytes) + cache->heap.free_count * PAGE_SLOT_BYTES;
}

static void page_free_locked(PCache *cache, Page *page) REQUIRES(cache->mu)
{
        page_memos_free(cache, page);
        atomic_fetch_sub(&cache->used_bytes, page->alloc_bytes);
        if (page->block)
                heap_give(&cache->heap, page, cache->budget_bytes && resident_bytes(cache) > cache->budget_bytes);
        else
                mem_free(page);
}

void page_free(PCache *cache, Page *page)
{
        if (!page)
                return;
        mutex_lock(&cache->mu);
        page_free_locked(cache, page);
        mutex_unlock(&cache->mu);
}

static void limbo_free(PCache *cache) REQUIRES(cache->mu)
{
        if (!cache->limbo_pages && !cache->limbo_frames && !cache->limbo_buckets)
                return;
        uint64_t oldest = UINT64_MAX;
        unsigned high = atomic_load(&cache->section_high);
        for (unsigned i = 0; i < high; i++) {
                uint64_t epoch = atomic_load(&atomic_load(&cache->sections[i / SLOT_CHUNK])[i % SLOT_CHUNK].epoch);
                if (epoch && epoch < oldest)
                        oldest = epoch;
        }
        Page **at = &cache->limbo_pages;
        while (*at && (*at)->limbo_stamp < oldest) {
                Page *page = *at;
                /* Nobody can find it any more, so the pins only become fewer. */
                if (atomic_load_explicit(&page->pins, memory_order_acquire)) {
                        at = &page->limbo_next;
                        continue;
                }
                *at = page->limbo_next;
                if (!*at)
                        cache->limbo_pages_end = at;
                cache->limbo_bytes -= page->alloc_bytes + page_memo_bytes(page);
                page_free_locked(cache, page);
        }
        for (Buckets **each = &cache->limbo_buckets; *each;) {
                Buckets *buckets = *each;
                if (buckets->limbo_stamp < oldest) {
                        *each = buckets->limbo_next;
                        mem_free(buckets);
                } else {
                        each = &buckets->limbo_next;
                }
        }
        for (Frame *frame; (frame = cache->limbo_frames) && frame->limbo_stamp < oldest;) {
                cache->limbo_frames = frame->hash_next;
                if (!cache->limbo_frames)
                        cache->limbo_frames_end = &cache->limbo_frames;
                frame->hash_next = cache->free_frames;
                cache->free_frames = frame;
        }
}

/* --- eviction --- */

Frame *cache_frame_at(const PCache *cache, uint32_t i) REQUIRES(cache->mu)
{
        return i < FRAME_CHUNK ? &cache->frames[i / FRAME_CHUNK_SMALL][i % FRAME_CHUNK_SMALL]
                               : &cache->frames[FRAME_CHUNK / FRAME_CHUNK_SMALL - 1 + i / FRAME_CHUNK][i % FRAME_CHUNK];
}

static void evict(PCache *cache, Frame *frame, Page *page) REQUIRES(cache->mu)
{
        atomic_store(&frame->page, NULL);
        limbo_page(cache, page);
        if (!frame->bound) {
                hash_remove(cache, frame);
                limbo_frame(cache, frame);
        }
        atomic_fetch_add_explicit(&cache->evicted_count, 1, memory_order_relaxed);
}

/* Second chance: a page that was used since the hand came by last stays. Of another one the memos go first. */
static bool evict_one(PCache *cache, uint32_t *steps) REQUIRES(cache->mu)
{
        for (; *steps > 0; --*steps) {
                Frame *frame = cache_frame_at(cache, cache->clock_hand);
                cache->clock_hand = cache->clock_hand + 1 < cache->frame_count ? cache->clock_hand + 1 : 0;
                Page *page = atomic_load_explicit(&frame->page, memory_order_relaxed);
                if (frame->state != FRAME_CLEAN || !page)
                        continue;
                if (atomic_load_explicit(&frame->used, memory_order_relaxed)) {
                        atomic_store_explicit(&frame->used, 0, memory_order_relaxed);
                        continue;
                }
                if (!page_memos_drop(cache, page))
                        evict(cache, frame, page);
                return true;
        }
        return false;
}

/* Evicts until `bytes` more fit, and frees what can be freed. In a cache full of dirty nodes the few clean ones are not
 * worth a whole round of the hand for every node read: the next ones go on from there. Dirty ones may have memos, which
 * go when there is nothing else. */
static void make_room_in(PCache *cache, size_t bytes, uint32_t steps) REQUIRES(cache->mu)
{
        while (cache->budget_bytes) {
                size_t used = atomic_load(&cache->used_bytes) - cache->limbo_bytes;
                if (used + bytes <= cache->budget_bytes ||
                    used <= atomic_load(&cache->dirty_bytes) + cache->fixed_bytes ||
                    (!evict_one(cache, &steps) && !memos_sift_some(cache, EVICT_STEPS, true)))
                        break;
        }
        limbo_free(cache);
}

void cache_make_room(PCache *cache, size_t bytes) REQUIRES(cache->mu)
{
        make_room_in(cache, bytes, EVICT_STEPS);
}

bool cache_may_take(PCache *cache, size_t bytes)
{
        cache_make_room(cache, bytes);
        /* With what the heap of nodes has free, since that is memory too. A little more than the budget is taken, so
         * that the next trim has a reason to give back blocks of it: else what is not a node would never get room. */
        size_t used = resident_bytes(cache) - cache->limbo_bytes;
        return cache->budget_bytes == 0 || used + bytes <= cache->budget_bytes + cache->budget_bytes / 32;
}

void cache_trim(PCache *cache, size_t room)
{
        if (cache->budget_bytes && resident_bytes(cache) + room > cache->budget_bytes) {
                /* Memory is given back by the block: so the clean nodes of the blocks that are too many go first. */
                size_t beside = resident_bytes(cache) + room - cache->heap.bytes;
                size_t most = cache->budget_bytes - MIN(beside, cache->budget_bytes);
                uint32_t blocks = heap_blocks_within(&cache->heap, most);
                for (uint32_t i = 0; i < cache->frame_count; i++) {
                        Frame *frame = cache_frame_at(cache, i);
                        Page *page = atomic_load_explicit(&frame->page, memory_order_relaxed);
                        if (frame->state == FRAME_CLEAN && page && page->block > blocks)
                                evict(cache, frame, page);
                }
        }
        make_room_in(cache, room, 2 * cache->frame_count);
}

void pcache_trim(PCache *cache)
{
        mutex_lock(&cache->mu);
        cache_trim(cache, 0);
        mutex_unlock(&cache->mu);
}

Page *page_alloc(PCache *cache)
{
        mutex_lock(&cache->mu);
        cache_make_room(cache, PAGE_SLOT_BYTES);
        Page *page = heap_take(&cache->heap);
        if (page)
                atomic_fetch_add(&cache->used_bytes, PAGE_SLOT_BYTES);
        mutex_unlock(&cache->mu);
        return page;
}

Frame *cache_frame_take(PCache *cache) REQUIRES(cache->mu)
{
        if (!cache->free_frames) {
                bool small = cache->frame_count < FRAME_CHUNK;
                uint32_t count = small ? FRAME_CHUNK_SMALL : FRAME_CHUNK;
                uint32_t chunk = small ? cache->frame_count / count
                                       : FRAME_CHUNK / FRAME_CHUNK_SMALL - 1 + cache->frame_count / count;
                Frame *frames = chunk < FRAME_CHUNKS ? mem_zalloc(count * sizeof(Frame)) : NULL;
                if (!frames)
                        return NULL;
                cache->frames[chunk] = frames;
                for (uint32_t i = count; i-- > 0;) {
                        frames[i].hash_next = cache->free_frames;
                        cache->free_frames = &frames[i];
                }
                cache->frame_count += count;
                atomic_fetch_add(&cache->used_bytes, count * sizeof(Frame));
                cache->fixed_bytes += count * sizeof(Frame);
        }
        Frame *frame = cache->free_frames;
        cache->free_frames = frame->hash_next;
        frame->hash_next = NULL;
        return frame;
}

Frame *frame_new(PCache *cache, Page *page, uint64_t birth)
{
        mutex_lock(&cache->mu);
        Frame *frame = cache_frame_take(cache);
        if (frame) {
                frame->birth = page->h.birth = birth;
                frame->state = FRAME_DIRTY;
                frame->bound = 1;
                atomic_store_explicit(&frame->used, 1, memory_order_relaxed);
                atomic_store_explicit(&frame->page, page, memory_order_release);
                atomic_fetch_add(&cache->dirty_bytes, page->alloc_bytes);
        }
        mutex_unlock(&cache->mu);
        return frame;
}

void frame_set_page(PCache *cache, Frame *frame, Page *page)
{
        Page *old = atomic_load_explicit(&frame->page, memory_order_relaxed);
        page->h.birth = frame->birth;
        mutex_lock(&cache->mu);
        atomic_store_explicit(&frame->page, page, memory_order_release);
        page_free_locked(cache, old);
        mutex_unlock(&cache->mu);
}

void frame_discard(PCache *cache, Frame *frame)
{
        Page *page = atomic_load_explicit(&frame->page, memory_order_relaxed);
        mutex_lock(&cache->mu);
        assert(frame->state == FRAME_DIRTY);
        atomic_store_explicit(&frame->page, NULL, memory_order_relaxed);
        atomic_fetch_sub(&cache->dirty_bytes, page->alloc_bytes);
        page_free_locked(cache, page);
        /* Not to the free ones at once: a stale guess of a reader may look at it (README, I4). */
        limbo_frame(cache, frame);
        mutex_unlock(&cache->mu);
}

Extent node_release(PCache *cache, Frame *frame, Extent extent)
{
        mutex_lock(&cache->mu);
        if (!frame)
                frame = cache_hash_find(cache, extent);
        if (frame) {
                Page *page = atomic_load_explicit(&frame->page, memory_order_relaxed);
                extent = atomic_load_explicit(&frame->extent, memory_order_relaxed);
                atomic_store(&frame->page, NULL);
                if (page) {
                        if (frame->state == FRAME_DIRTY)
                                atomic_fetch_sub(&cache->dirty_bytes, page->alloc_bytes);
                        limbo_page(cache, page);
                }
                if (frame->state == FRAME_CLEAN)
                        hash_remove(cache, frame);
                limbo_frame(cache, frame);
        }
        limbo_free(cache);
        mutex_unlock(&cache->mu);
        return extent;
}

void frames_unbind(PCache *cache, const BoundFrame *frames, size_t count)
{
        enum { AT_ONCE = 256 };
        for (size_t i = 0; i < count;) {
                mutex_lock(&cache->mu);
                for (size_t end = MIN(count, i + AT_ONCE); i < end; i++) {
                        Frame *frame = frames[i].frame;
                        if (frame->state != FRAME_CLEAN || !frame->bound || frame->birth != frames[i].birth ||
                            atomic_load_explicit(&frame->extent, memory_order_relaxed) != frames[i].extent)
                                continue; /* the node is dead, and the frame perhaps another's */
                        frame->bound = 0;
                        if (!atomic_load_explicit(&frame->page, memory_order_relaxed)) {
                                hash_remove(cache, frame);
                                limbo_frame(cache, frame);
                        }
                }
                mutex_unlock(&cache->mu);
        }
}

/* --- the file --- */

Status corrupt(PCache *cache, Extent extent, const char *why)
{
        return status_new(ERR_CORRUPT, "%s, offset %" PRIu64 ": a stored node is damaged: %s", cache->name,
                          space_extent_offset(cache->space, extent), why);
}

Status node_wrong(PCache *cache, const Child *child, const char *why)
{
        uint64_t extent = atomic_load(&child->extent);
        return extent ? corrupt(cache, extent, why)
                      : status_new(ERR_CORRUPT, "%s: a node in memory is damaged: %s", cache->name, why);
}

Status node_read(PCache *cache, Extent extent, uint32_t bytes, bool own, Page **ret_page)
{
        uint8_t stored[PAGE_MAX_BYTES];
        const char *why = "its size cannot be";
        if (bytes < sizeof(PageHeader) || bytes > sizeof(stored) || bytes > space_extent_bytes(cache->space, extent))
                return corrupt(cache, extent, why);
        TRY(space_read(cache->space, extent, stored, bytes));
        *ret_page = page_decode(own ? NULL : cache, stored, bytes, extent, &why);
        if (*ret_page)
                return ST_OK;
        return why ? corrupt(cache, extent, why) : status_nomem();
}

Status node_load_slow(PCache *cache, Child *child, Page **ret_page)
{
        uint64_t extent = atomic_load_explicit(&child->extent, memory_order_acquire);
        uint32_t bytes = atomic_load_explicit(&child->bytes, memory_order_relaxed);
        if (unlikely(extent & SPACE_EXTENT_SPARE)) /* it would find a value's frame */
                return corrupt(cache, extent, "no node can be there");
        if (extent == 0) {
                /* Dirty frames have pages: this one was written and evicted. */
                Frame *frame = atomic_load_explicit(&child->frame, memory_order_acquire);
                extent = atomic_load(&frame->extent);
                bytes = atomic_load_explicit(&frame->bytes, memory_order_relaxed);
                assert(extent);
        }
        Page *mine = NULL, *page = NULL;
        for (;;) {
                mutex_lock(&cache->mu);
                Frame *frame = cache_hash_find(cache, extent);
                page = frame ? atomic_load_explicit(&frame->page, memory_order_relaxed) : NULL;
                if (!page && mine) {
                        if (!frame && (frame = cache_frame_take(cache))) {
                                frame->birth = mine->h.birth;
                                frame->state = FRAME_CLEAN;
                                frame->bound = 0;
                                atomic_store_explicit(&frame->bytes, bytes, memory_order_relaxed);
                                cache_hash_add(cache, frame, extent);
                        }
                        if (frame) {
                                page = take(mine);
                                atomic_store(&frame->page, page);
                        }
                        atomic_fetch_add_explicit(&cache->read_count, 1, memory_order_relaxed);
                } else if (page) {
                        atomic_fetch_add_explicit(&cache->hit_count, 1, memory_order_relaxed);
                }
                if (page) {
                        atomic_store_explicit(&frame->used, 1, memory_order_relaxed);
                        if (atomic_load_explicit(&child->extent, memory_order_acquire))
                                atomic_store_explicit(&child->frame, frame, memory_order_release);
                }
                mutex_unlock(&cache->mu);
                if (page || mine)
                        break;
                TRY(node_read(cache, extent, bytes, false, &mine));
        }
        page_free(cache, mine); /* somebody else was faster, or there is no frame */
        *ret_page = page;
        return page ? ST_OK : status_nomem();
}

static void frame_written(PCache *cache, Frame *frame, Extent extent, uint32_t bytes, bool bound) REQUIRES(cache->mu)
{
        assert(frame->state == FRAME_DIRTY);
        frame->state = FRAME_CLEAN;
        frame->bound = bound;
        atomic_store_explicit(&frame->bytes, bytes, memory_order_relaxed);
        cache_hash_add(cache, frame, extent);
        atomic_fetch_sub(&cache->dirty_bytes, atomic_load_explicit(&frame->page, memory_order_relaxed)->alloc_bytes);
}

Status node_write(PCache *cache, Frame *frame, PagePacking *packing, SpaceBatch *batch, bool bound)
{
        uint8_t stored[PAGE_MAX_BYTES];
        Extent extent;
        Page *page = atomic_load_explicit(&frame->page, memory_order_acquire);
        uint32_t bytes = page_encode(page, frame->birth, packing, stored);
        TRY(batch ? space_batch_alloc(batch, bytes, &extent) : space_alloc(cache->space, bytes, &extent));
        stored_place(stored, extent);
        Status st = space_write(cache->space, extent, stored, bytes);
        if (st) {
                /* A batch keeps it: whoever has one can only abort it now. */
                if (!batch)
                        status_ignore(space_discard(cache->space, extent));
                return st;
        }
        mutex_lock(&cache->mu);
        frame_written(cache, frame, extent, bytes, bound);
        mutex_unlock(&cache->mu);
        return ST_OK;
}

static void pieces_discard(PCache *cache, const SpacePiece *pieces, unsigned count)
{
        for (unsigned i = 0; i < count; i++)
                status_ignore(space_discard(cache->space, pieces[i].extent));
}

Status leaves_write(PCache *cache, Frame *const *frames, unsigned count, PagePacking *packing, uint8_t *buffer)
{
        SpacePiece pieces[FLUSH_LEAVES], sorted[FLUSH_LEAVES];
        assert(count <= FLUSH_LEAVES);
        for (unsigned i = 0; i < count; i++, buffer += PAGE_MAX_BYTES) {
                const Page *page = atomic_load_explicit(&frames[i]->page, memory_order_acquire);
                uint32_t bytes = page_encode(page, frames[i]->birth, packing, buffer);
                Extent extent;
                Status st = space_alloc(cache->space, bytes, &extent);
                if (st) {
                        pieces_discard(cache, pieces, i);
                        return st;
                }
                stored_place(buffer, extent);
                pieces[i] = (SpacePiece){extent, buffer, bytes};
        }
        memcpy(sorted, pieces, count * sizeof(*pieces));
        Status st = space_write_pieces(cache->space, sorted, count);
        if (st) {
                pieces_discard(cache, pieces, count);
                return st;
        }
        mutex_lock(&cache->mu);
        for (unsigned i = 0; i < count; i++)
                frame_written(cache, frames[i], pieces[i].extent, (uint32_t)pieces[i].bytes, true);
        mutex_unlock(&cache->mu);
        return ST_OK;
}

/* --- the cache --- */

Status pcache_open(const PCacheOptions *options, PCache **ret_cache)
{
        enum { BUCKETS = 256 };
        PCache *cache = mem_zalloc(sizeof(PCache));
        Buckets *buckets = buckets_new(BUCKETS);
        if (!cache || !buckets) {
                mem_free(cache);
                mem_free(buckets);
                return status_nomem();
        }
        cache->space = options->space;
        cache->name = options->name;
        cache->budget_bytes = options->budget_bytes;
        cache->dirty_max_bytes = options->dirty_max_bytes;
        cache->flushed = options->flushed;
        cache->flushed_ctx = options->flushed_ctx;
        atomic_store(&cache->epoch, 1);
        mutex_init(&cache->mu);
        atomic_store(&cache->buckets, buckets);
        cache->limbo_pages_end = &cache->limbo_pages;
        cache->limbo_frames_end = &cache->limbo_frames;
        *ret_cache = cache;
        return ST_OK;
}

PCache *pcache_close(PCache *cache) NO_TSA
{
        if (!cache)
                return NULL;
        limbo_free(cache);
        assert(!cache->limbo_pages);
        for (uint32_t i = 0; i < cache->frame_count; i++) {
                Frame *frame = cache_frame_at(cache, i);
                assert(frame->state != FRAME_DIRTY); /* ptree_close discards these */
                if (atomic_load(&frame->page))
                        page_free_locked(cache, atomic_load(&frame->page));
        }
        heap_done(&cache->heap);
        for (uint32_t i = 0; i < FRAME_CHUNKS && cache->frames[i]; i++)
                mem_free(cache->frames[i]);
        for (unsigned kind = 0; kind < 2; kind++)
                for (unsigned i = 0; i < SLOT_CHUNKS && cache->slot_memory[kind][i]; i++)
                        mem_free(cache->slot_memory[kind][i]);
        mutex_done(&cache->mu);
        mem_free(atomic_load(&cache->buckets));
        mem_free(cache);
        return NULL;
}

size_t pcache_dirty_bytes(const PCache *cache)
{
        return atomic_load_explicit(&cache->dirty_bytes, memory_order_relaxed);
}

void pcache_stats(PCache *cache, PCacheStats *ret_stats)
{
        *ret_stats = (PCacheStats){
                .dirty_bytes = atomic_load(&cache->dirty_bytes),
                .memo_bytes = atomic_load(&cache->memo_bytes),
                .hit_count = atomic_load(&cache->hit_count),
                .read_count = atomic_load(&cache->read_count),
                .evicted_count = atomic_load(&cache->evicted_count),
                .value_read_count = atomic_load(&cache->value_read_count),
        };
        unsigned high = atomic_load(&cache->section_high);
        for (unsigned i = 0; i < high; i++)
                ret_stats->value_hit_count +=
                        atomic_load(&atomic_load(&cache->sections[i / SLOT_CHUNK])[i % SLOT_CHUNK].value_hits);
        mutex_lock(&cache->mu);
        ret_stats->used_bytes = resident_bytes(cache);
        ret_stats->frame_count = cache->frame_count;
        mutex_unlock(&cache->mu);
}
