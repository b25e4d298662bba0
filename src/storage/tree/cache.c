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

static size_t bucket_of(const PCache *cache, uint64_t extent) REQUIRES(cache->mu)
{
        return (extent * 0x9e3779b97f4a7c15ull >> 20) & (cache->bucket_count - 1);
}

static Frame *hash_find(PCache *cache, uint64_t extent) REQUIRES(cache->mu)
{
        Frame *frame = cache->buckets[bucket_of(cache, extent)];
        while (frame && atomic_load_explicit(&frame->extent, memory_order_relaxed) != extent)
                frame = frame->hash_next;
        return frame;
}

/* More buckets; without memory for them the chains just stay longer. */
static void hash_widen(PCache *cache) REQUIRES(cache->mu)
{
        size_t old_count = cache->bucket_count;
        Frame **old = cache->buckets, **wider = mem_zalloc(2 * old_count * sizeof(Frame *));
        if (!wider)
                return;
        cache->buckets = wider;
        cache->bucket_count = 2 * old_count;
        for (size_t i = 0; i < old_count; i++)
                for (Frame *frame = old[i], *next; frame; frame = next) {
                        next = frame->hash_next;
                        size_t at = bucket_of(cache, atomic_load_explicit(&frame->extent, memory_order_relaxed));
                        frame->hash_next = wider[at];
                        wider[at] = frame;
                }
        mem_free(old);
        atomic_fetch_add(&cache->used_bytes, old_count * sizeof(Frame *));
        cache->fixed_bytes += old_count * sizeof(Frame *);
}

static void hash_add(PCache *cache, Frame *frame, uint64_t extent) REQUIRES(cache->mu)
{
        if (cache->hashed_count >= cache->bucket_count)
                hash_widen(cache);
        size_t at = bucket_of(cache, extent);
        frame->hash_next = cache->buckets[at];
        cache->buckets[at] = frame;
        cache->hashed_count++;
        /* Readers look here: everything else about the node is there before. */
        atomic_store(&frame->extent, extent);
}

static void hash_remove(PCache *cache, Frame *frame) REQUIRES(cache->mu)
{
        Frame **at = &cache->buckets[bucket_of(cache, atomic_load_explicit(&frame->extent, memory_order_relaxed))];
        while (*at != frame)
                at = &(*at)->hash_next;
        *at = frame->hash_next;
        cache->hashed_count--;
}

/* --- limbo: unlinked, and perhaps still being looked at --- */

static void limbo_page(PCache *cache, Page *page) REQUIRES(cache->mu)
{
        page->limbo_next = NULL;
        page->limbo_stamp = atomic_fetch_add(&cache->epoch, 1);
        *cache->limbo_pages_end = page;
        cache->limbo_pages_end = &page->limbo_next;
        cache->limbo_bytes += page->alloc_bytes;
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

static void limbo_free(PCache *cache) REQUIRES(cache->mu)
{
        if (!cache->limbo_pages && !cache->limbo_frames)
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
                cache->limbo_bytes -= page->alloc_bytes;
                atomic_fetch_sub(&cache->used_bytes, page->alloc_bytes);
                mem_free(page);
        }
        while (cache->limbo_frames && cache->limbo_frames->limbo_stamp < oldest) {
                Frame *frame = cache->limbo_frames;
                cache->limbo_frames = frame->hash_next;
                if (!cache->limbo_frames)
                        cache->limbo_frames_end = &cache->limbo_frames;
                frame->hash_next = cache->free_frames;
                cache->free_frames = frame;
        }
}

/* --- eviction --- */

static Frame *frame_at(const PCache *cache, uint32_t i) REQUIRES(cache->mu)
{
        return &cache->frames[i / FRAME_CHUNK][i % FRAME_CHUNK];
}

/* Second chance: a page that was used since the hand came by last stays. */
static bool evict_one(PCache *cache, uint32_t *steps) REQUIRES(cache->mu)
{
        for (; *steps > 0; --*steps) {
                Frame *frame = frame_at(cache, cache->clock_hand);
                cache->clock_hand = cache->clock_hand + 1 < cache->frame_count ? cache->clock_hand + 1 : 0;
                Page *page = atomic_load_explicit(&frame->page, memory_order_relaxed);
                if (frame->state != FRAME_CLEAN || !page)
                        continue;
                if (atomic_load_explicit(&frame->used, memory_order_relaxed)) {
                        atomic_store_explicit(&frame->used, 0, memory_order_relaxed);
                        continue;
                }
                atomic_store(&frame->page, NULL);
                limbo_page(cache, page);
                if (!frame->bound) {
                        hash_remove(cache, frame);
                        limbo_frame(cache, frame);
                }
                atomic_fetch_add_explicit(&cache->evicted_count, 1, memory_order_relaxed);
                return true;
        }
        return false;
}

/* Evicts until `bytes` more fit, and frees what can be freed. In a cache full of dirty nodes the few clean ones are not
 * worth a whole round of the hand for every node read: the next ones go on from there. */
static void make_room_in(PCache *cache, size_t bytes, uint32_t steps) REQUIRES(cache->mu)
{
        while (cache->budget_bytes) {
                size_t used = atomic_load(&cache->used_bytes) - cache->limbo_bytes;
                if (used + bytes <= cache->budget_bytes ||
                    used <= atomic_load(&cache->dirty_bytes) + cache->fixed_bytes || !evict_one(cache, &steps))
                        break;
        }
        limbo_free(cache);
}

static void make_room(PCache *cache, size_t bytes) REQUIRES(cache->mu)
{
        make_room_in(cache, bytes, EVICT_STEPS);
}

void pcache_trim(PCache *cache)
{
        mutex_lock(&cache->mu);
        make_room_in(cache, 0, 2 * cache->frame_count);
        mutex_unlock(&cache->mu);
}

static Frame *frame_take(PCache *cache) REQUIRES(cache->mu)
{
        if (!cache->free_frames) {
                uint32_t chunk = cache->frame_count / FRAME_CHUNK;
                Frame *frames = chunk < FRAME_CHUNKS ? mem_zalloc(FRAME_CHUNK * sizeof(Frame)) : NULL;
                if (!frames)
                        return NULL;
                cache->frames[chunk] = frames;
                for (uint32_t i = FRAME_CHUNK; i-- > 0;) {
                        frames[i].hash_next = cache->free_frames;
                        cache->free_frames = &frames[i];
                }
                cache->frame_count += FRAME_CHUNK;
                atomic_fetch_add(&cache->used_bytes, FRAME_CHUNK * sizeof(Frame));
                cache->fixed_bytes += FRAME_CHUNK * sizeof(Frame);
        }
        Frame *frame = cache->free_frames;
        cache->free_frames = frame->hash_next;
        frame->hash_next = NULL;
        return frame;
}

Frame *frame_new(PCache *cache, Page *page, uint64_t birth)
{
        mutex_lock(&cache->mu);
        make_room(cache, page->alloc_bytes);
        Frame *frame = frame_take(cache);
        if (frame) {
                frame->birth = page->h.birth = birth;
                frame->state = FRAME_DIRTY;
                frame->bound = 1;
                atomic_store_explicit(&frame->used, 1, memory_order_relaxed);
                atomic_store_explicit(&frame->page, page, memory_order_release);
                atomic_fetch_add(&cache->used_bytes, page->alloc_bytes);
                atomic_fetch_add(&cache->dirty_bytes, page->alloc_bytes);
        }
        mutex_unlock(&cache->mu);
        return frame;
}

void frame_set_page(PCache *cache, Frame *frame, Page *page)
{
        Page *old = atomic_load_explicit(&frame->page, memory_order_relaxed);
        size_t more = page->alloc_bytes, less = old->alloc_bytes;
        page->h.birth = frame->birth;
        mutex_lock(&cache->mu);
        make_room(cache, more);
        atomic_store_explicit(&frame->page, page, memory_order_release);
        atomic_fetch_add(&cache->used_bytes, more - less);
        atomic_fetch_add(&cache->dirty_bytes, more - less);
        mutex_unlock(&cache->mu);
        mem_free(old);
}

void frame_discard(PCache *cache, Frame *frame)
{
        Page *page = atomic_load_explicit(&frame->page, memory_order_relaxed);
        mutex_lock(&cache->mu);
        assert(frame->state == FRAME_DIRTY);
        atomic_store_explicit(&frame->page, NULL, memory_order_relaxed);
        atomic_fetch_sub(&cache->used_bytes, page->alloc_bytes);
        atomic_fetch_sub(&cache->dirty_bytes, page->alloc_bytes);
        /* Not to the free ones at once: a stale guess of a reader may look at it (README, I4). */
        limbo_frame(cache, frame);
        mutex_unlock(&cache->mu);
        mem_free(page);
}

Extent node_release(PCache *cache, Frame *frame, Extent extent)
{
        mutex_lock(&cache->mu);
        if (!frame)
                frame = hash_find(cache, extent);
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

/* --- the file --- */

Status corrupt(PCache *cache, Extent extent, const char *why)
{
        return status_new(ERR_CORRUPT, "%s, offset %" PRIu64 ": a stored node is damaged: %s", cache->name,
                          space_extent_offset(cache->space, extent), why);
}

Status node_read(PCache *cache, Extent extent, uint32_t bytes, Page **ret_page)
{
        uint8_t stored[PAGE_MAX_BYTES];
        const char *why = "its size cannot be";
        if (bytes < sizeof(PageHeader) || bytes > sizeof(stored) || bytes > space_extent_bytes(cache->space, extent))
                return corrupt(cache, extent, why);
        TRY(space_read(cache->space, extent, stored, bytes));
        *ret_page = page_decode(stored, bytes, extent, &why);
        if (*ret_page)
                return ST_OK;
        return why ? corrupt(cache, extent, why) : status_nomem();
}

Status node_load_slow(PCache *cache, Child *child, Page **ret_page)
{
        uint64_t extent = atomic_load_explicit(&child->extent, memory_order_acquire);
        uint32_t bytes = atomic_load_explicit(&child->bytes, memory_order_relaxed);
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
                Frame *frame = hash_find(cache, extent);
                page = frame ? atomic_load_explicit(&frame->page, memory_order_relaxed) : NULL;
                if (!page && mine) {
                        make_room(cache, mine->alloc_bytes);
                        if (!frame && (frame = frame_take(cache))) {
                                frame->birth = mine->h.birth;
                                frame->state = FRAME_CLEAN;
                                frame->bound = 0;
                                atomic_store_explicit(&frame->bytes, bytes, memory_order_relaxed);
                                hash_add(cache, frame, extent);
                        }
                        if (frame) {
                                page = take(mine);
                                atomic_fetch_add(&cache->used_bytes, page->alloc_bytes);
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
                TRY(node_read(cache, extent, bytes, &mine));
        }
        mem_free(mine); /* somebody else was faster, or there is no frame */
        *ret_page = page;
        return page ? ST_OK : status_nomem();
}

Status node_write(PCache *cache, Frame *frame, bool bound)
{
        uint8_t stored[PAGE_MAX_BYTES];
        Extent extent;
        Page *page = atomic_load_explicit(&frame->page, memory_order_acquire), *packed = NULL;
        if (page->h.dead_bytes) {
                packed = page_copy(page, 0);
                if (!packed)
                        return status_nomem();
        }
        uint32_t bytes = page_live_bytes(page);
        Status st = space_alloc(cache->space, bytes, &extent);
        if (!st) {
                uint32_t encoded = page_encode(packed ? packed : page, frame->birth, extent, stored);
                assert(encoded == bytes);
                st = space_write(cache->space, extent, stored, encoded);
                if (st)
                        status_ignore(space_discard(cache->space, extent));
        }
        mem_free(packed);
        TRY(st);
        mutex_lock(&cache->mu);
        assert(frame->state == FRAME_DIRTY);
        frame->state = FRAME_CLEAN;
        frame->bound = bound;
        atomic_store_explicit(&frame->bytes, bytes, memory_order_relaxed);
        hash_add(cache, frame, extent);
        atomic_fetch_sub(&cache->dirty_bytes, page->alloc_bytes);
        mutex_unlock(&cache->mu);
        return ST_OK;
}

Status large_write(PCache *cache, Bytes value, uint64_t birth, LargeRef *ret_ref)
{
        size_t bytes = sizeof(PageHeader) + value.size;
        Extent extent;
        uint8_t *stored = mem_alloc(bytes);
        if (!stored)
                return status_nomem();
        Status st = space_alloc(cache->space, bytes, &extent);
        if (!st) {
                PageHeader header = {.magic = PAGE_MAGIC,
                                     .kind = PAGE_VALUE,
                                     .bytes = (uint32_t)bytes,
                                     .version = PAGE_VERSION,
                                     .birth = birth,
                                     .extent = extent};
                memcpy(stored, &header, sizeof(header));
                memcpy(stored + sizeof(header), value.data, value.size);
                stored_seal(stored);
                st = space_write(cache->space, extent, stored, bytes);
                if (st)
                        status_ignore(space_discard(cache->space, extent));
                else
                        *ret_ref = (LargeRef){extent, value.size, birth};
        }
        mem_free(stored);
        return st;
}

Status large_read(PCache *cache, LargeRef ref, Arena *hold, Bytes *ret_value)
{
        size_t bytes = sizeof(PageHeader) + ref.size;
        const char *why = "its size cannot be";
        if (ref.size > UINT32_MAX || bytes > space_extent_bytes(cache->space, ref.extent))
                return corrupt(cache, ref.extent, why);
        uint8_t *stored = hold ? arena_try_alloc(hold, bytes) : mem_alloc(bytes);
        if (!stored)
                return status_nomem();
        Status st = space_read(cache->space, ref.extent, stored, bytes);
        if (!st && !stored_check(stored, bytes, ref.extent, PAGE_VALUE, PAGE_VALUE, &why))
                st = corrupt(cache, ref.extent, why);
        if (!hold)
                mem_free(stored);
        else if (!st)
                *ret_value = BYTES(stored + sizeof(PageHeader), ref.size);
        return st;
}

/* --- the cache --- */

Status pcache_open(const PCacheOptions *options, PCache **ret_cache)
{
        enum { BUCKETS = 256 };
        PCache *cache = mem_zalloc(sizeof(PCache));
        Frame **buckets = mem_zalloc(BUCKETS * sizeof(Frame *));
        if (!cache || !buckets) {
                mem_free(cache);
                mem_free(buckets);
                return status_nomem();
        }
        cache->space = options->space;
        cache->name = options->name;
        cache->budget_bytes = options->budget_bytes;
        cache->dirty_max_bytes = options->dirty_max_bytes;
        atomic_store(&cache->epoch, 1);
        mutex_init(&cache->mu);
        cache->buckets = buckets;
        cache->bucket_count = BUCKETS;
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
                Frame *frame = frame_at(cache, i);
                assert(frame->state != FRAME_DIRTY); /* ptree_close discards these */
                mem_free(atomic_load(&frame->page));
        }
        for (uint32_t i = 0; i < cache->frame_count; i += FRAME_CHUNK)
                mem_free(cache->frames[i / FRAME_CHUNK]);
        for (unsigned kind = 0; kind < 2; kind++)
                for (unsigned i = 0; i < SLOT_CHUNKS && cache->slot_memory[kind][i]; i++)
                        mem_free(cache->slot_memory[kind][i]);
        mutex_done(&cache->mu);
        mem_free(cache->buckets);
        mem_free(cache);
        return NULL;
}

void pcache_stats(PCache *cache, PCacheStats *ret_stats)
{
        *ret_stats = (PCacheStats){
                .used_bytes = atomic_load(&cache->used_bytes),
                .dirty_bytes = atomic_load(&cache->dirty_bytes),
                .hit_count = atomic_load(&cache->hit_count),
                .read_count = atomic_load(&cache->read_count),
                .evicted_count = atomic_load(&cache->evicted_count),
        };
        mutex_lock(&cache->mu);
        ret_stats->frame_count = cache->frame_count;
        mutex_unlock(&cache->mu);
}
