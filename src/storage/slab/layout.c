/* layout.c - runs of pages and slots of slabs: finding, splitting, joining, counting.
 *
 *      page 0   2                                            page_count
 *      | headers | slab | free | large .... | slab | free ... |        a list by page; no two free ones side by side
 *
 * Free runs are in a tree by (pages, page): best fit, the lowest of equals. Slabs with a free slot are in a tree by
 * page for each class and the lowest is used first, so that the end of the file empties and can be given back. Slabs
 * and large runs are found by their first page through a hash table. Both trees are treaps whose priorities are a hash
 * of the page: they need no memory of their own, and so nothing but splitting a run and making a slab can fail. */
#include "storage/slab/space_int.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

#define MIN_SLAB_BYTES 16384u
#define MIN_BUCKETS    16u
/* A new slab is at most this share of what its class has already, or the smallest. */
#define SLAB_SHARE     8

/* --- extents --- */

static uint64_t mix(uint64_t x)
{
        x = (x ^ x >> 33) * 0xff51afd7ed558ccdull;
        x = (x ^ x >> 33) * 0xc4ceb9fe1a85ec53ull;
        return x ^ x >> 33;
}

/* About the wanted size, with little waste behind the last slot: the smallest with less than 1/64, or the one with the
 * least. */
uint32_t slab_pages_of(unsigned class, unsigned step)
{
        uint32_t bytes = class_bytes(class);
        uint32_t least = (MAX(MIN_SLAB_BYTES << 2 * step, bytes) + PAGE_BYTES - 1) / PAGE_BYTES;
        uint32_t most = least + MAX(MAX(least / 4, bytes / PAGE_BYTES), 3u), best = least;
        for (uint32_t pages = least; pages <= most; pages++) {
                uint64_t waste = pages * PAGE_BYTES % bytes;
                if (waste * 64 < (uint64_t)pages * PAGE_BYTES)
                        return pages;
                if (waste * best < (uint64_t)(best * PAGE_BYTES % bytes) * pages)
                        best = pages;
        }
        return best;
}

bool extent_valid(Extent extent)
{
        unsigned class = extent_class(extent), step = extent_step(extent);
        if (class > CLASS_LARGE || extent_page(extent) < HEADER_PAGES)
                return false;
        if (class == CLASS_LARGE)
                return step == 0 && extent_slot(extent) > 0;
        return extent_slot(extent) < slab_pages_of(class, step) * PAGE_BYTES / class_bytes(class);
}

uint64_t extent_offset(Extent extent)
{
        uint64_t offset = (uint64_t)extent_page(extent) * PAGE_BYTES;
        if (extent_class(extent) < CLASS_LARGE)
                offset += (uint64_t)extent_slot(extent) * class_bytes(extent_class(extent));
        return offset;
}

size_t extent_bytes(Extent extent)
{
        if (extent_class(extent) == CLASS_LARGE)
                return (size_t)extent_slot(extent) * PAGE_BYTES;
        return extent_class(extent) < CLASS_LARGE ? class_bytes(extent_class(extent)) : 0;
}

const char *extent_text(Extent extent, char out[EXTENT_TEXT_BYTES])
{
        if (extent_valid(extent))
                snprintf(out, EXTENT_TEXT_BYTES, "extent %" PRIx64 " at offset %" PRIu64, extent,
                         extent_offset(extent));
        else
                snprintf(out, EXTENT_TEXT_BYTES, "impossible extent %" PRIx64, extent);
        return out;
}

/* --- trees of runs --- */

static uint64_t run_key(const Run *run)
{
        return run->kind == RUN_FREE ? (uint64_t)run->pages << 32 | run->page : run->page;
}

static void tree_insert(Run **root, Run *run)
{
        uint64_t key = run_key(run), priority = mix(run->page);
        while (*root && mix((*root)->page) >= priority)
                root = key < run_key(*root) ? &(*root)->left : &(*root)->right;
        Run *rest = *root, **left = &run->left, **right = &run->right;
        *root = run;
        while (rest) {
                if (run_key(rest) < key) {
                        *left = rest;
                        left = &rest->right;
                        rest = rest->right;
                } else {
                        *right = rest;
                        right = &rest->left;
                        rest = rest->left;
                }
        }
        *left = *right = NULL;
}

static void tree_remove(Run **root, Run *run)
{
        uint64_t key = run_key(run);
        while (*root != run) {
                assert(*root);
                root = key < run_key(*root) ? &(*root)->left : &(*root)->right;
        }
        Run *a = run->left, *b = run->right;
        while (a && b) {
                if (mix(a->page) >= mix(b->page)) {
                        *root = a;
                        root = &a->right;
                        a = a->right;
                } else {
                        *root = b;
                        root = &b->left;
                        b = b->left;
                }
        }
        *root = a ? a : b;
        run->left = run->right = NULL;
}

static Run *tree_first(Run *root)
{
        while (root && root->left)
                root = root->left;
        return root;
}

static Run *tree_at_least(Run *root, uint64_t key)
{
        Run *found = NULL;
        while (root) {
                if (run_key(root) >= key) {
                        found = root;
                        root = root->left;
                } else {
                        root = root->right;
                }
        }
        return found;
}

/* --- slabs and large runs by page --- */

static Run **bucket_of(const Layout *layout, uint32_t page)
{
        return &layout->buckets[mix(page) & (layout->bucket_count - 1)];
}

static Run *table_find(const Layout *layout, uint32_t page)
{
        Run *run = *bucket_of(layout, page);
        while (run && run->page != page)
                run = run->chain;
        return run;
}

/* Cannot fail: without memory the chains get longer. */
static void table_insert(Layout *layout, Run *run)
{
        if (layout->bucket_used >= layout->bucket_count) {
                size_t old_count = layout->bucket_count;
                Run **old = layout->buckets, **buckets = mem_zalloc(2 * old_count * sizeof(*buckets));
                if (buckets) {
                        layout->buckets = buckets;
                        layout->bucket_count = 2 * old_count;
                        for (size_t i = 0; i < old_count; i++) {
                                for (Run *next, *each = old[i]; each; each = next) {
                                        Run **bucket = bucket_of(layout, each->page);
                                        next = each->chain;
                                        each->chain = *bucket;
                                        *bucket = each;
                                }
                        }
                        mem_free(old);
                }
        }
        Run **bucket = bucket_of(layout, run->page);
        run->chain = *bucket;
        *bucket = run;
        layout->bucket_used++;
}

static void table_remove(Layout *layout, Run *run)
{
        Run **link = bucket_of(layout, run->page);
        while (*link != run)
                link = &(*link)->chain;
        *link = run->chain;
        run->chain = NULL;
        layout->bucket_used--;
}

/* --- runs --- */

Status run_new(uint32_t page, uint32_t pages, Run **ret_run)
{
        Run *run = mem_zalloc(sizeof(*run));
        if (!run)
                return status_nomem();
        run->page = page;
        run->pages = pages;
        run->kind = RUN_FREE;
        *ret_run = run;
        return ST_OK;
}

void run_free(Run *run)
{
        if (!run)
                return;
        mem_free(run->bits);
        mem_free(run->waiting);
        mem_free(run);
}

static void list_insert_before(Layout *layout, Run *run, Run *next)
{
        Run *prev = next ? next->prev : layout->last;
        run->prev = prev;
        run->next = next;
        *(prev ? &prev->next : &layout->first) = run;
        *(next ? &next->prev : &layout->last) = run;
}

static void list_remove(Layout *layout, Run *run)
{
        *(run->prev ? &run->prev->next : &layout->first) = run->next;
        *(run->next ? &run->next->prev : &layout->last) = run->prev;
        run->prev = run->next = NULL;
}

/* `run` is in the list, RUN_FREE and in no tree. Invariant 3: no two free runs side by side. */
static void run_join(Layout *layout, Run *run)
{
        Run *prev = run->prev, *next = run->next;
        if (prev && prev->kind == RUN_FREE) {
                tree_remove(&layout->free, prev);
                prev->pages += run->pages;
                list_remove(layout, run);
                run_free(run);
                run = prev;
        }
        if (next && next->kind == RUN_FREE) {
                tree_remove(&layout->free, next);
                run->pages += next->pages;
                list_remove(layout, next);
                run_free(next);
        }
        tree_insert(&layout->free, run);
}

/* The best fit's first `pages` pages as a run in the list that is in no tree; NULL without error: none is long enough.
 */
static Status pages_take(Layout *layout, uint32_t pages, Run **ret_run)
{
        Run *run = tree_at_least(layout->free, (uint64_t)pages << 32), *rest = NULL;
        *ret_run = run;
        if (!run)
                return ST_OK;
        if (run->pages > pages)
                TRY(run_new(run->page + pages, run->pages - pages, &rest));
        tree_remove(&layout->free, run);
        if (rest) {
                run->pages = pages;
                list_insert_before(layout, rest, run->next);
                tree_insert(&layout->free, rest);
        }
        return ST_OK;
}

static void pages_release(Layout *layout, Run *run)
{
        mem_free(run->bits);
        mem_free(run->waiting);
        run->bits = run->waiting = NULL;
        run->used = run->waiting_count = 0;
        run->slots = run->hint = 0;
        run->kind = RUN_FREE;
        run->class = run->step = 0;
        run_join(layout, run);
}

void layout_grow(Layout *layout, uint32_t pages, Run *spare)
{
        *spare = (Run){.page = (uint32_t)layout->page_count, .pages = pages, .kind = RUN_FREE};
        layout->page_count += pages;
        layout->free_bytes += (uint64_t)pages * PAGE_BYTES;
        list_insert_before(layout, spare, NULL);
        run_join(layout, spare);
}

Run *layout_cut_tail(Layout *layout)
{
        Run *run = layout->last;
        if (!run || run->kind != RUN_FREE)
                return NULL;
        tree_remove(&layout->free, run);
        list_remove(layout, run);
        layout->page_count -= run->pages;
        layout->free_bytes -= (uint64_t)run->pages * PAGE_BYTES;
        return run;
}

void layout_put_tail(Layout *layout, Run *run)
{
        assert(run->page == layout->page_count);
        layout_grow(layout, run->pages, run);
}

/* --- slabs --- */

static uint64_t slab_slack(const Run *run)
{
        return (uint64_t)run->pages * PAGE_BYTES - (uint64_t)run->slots * class_bytes(run->class);
}

static size_t slab_words(const Run *run)
{
        return (run->slots + 63u) / 64;
}

static void partial_insert(Layout *layout, Run *run)
{
        SlabClass *class = &layout->classes[run->class];
        tree_insert(&class->partial, run);
        if (!class->current || run->page < class->current->page)
                class->current = run;
}

static void partial_remove(Layout *layout, Run *run)
{
        SlabClass *class = &layout->classes[run->class];
        tree_remove(&class->partial, run);
        if (class->current == run)
                class->current = tree_first(class->partial);
}

static Status slab_bits_new(unsigned slots, uint64_t **ret_bits)
{
        size_t words = (slots + 63u) / 64;
        uint64_t *bits = mem_zalloc(words * sizeof(*bits));
        if (!bits)
                return status_nomem();
        if (slots % 64)
                bits[words - 1] = ~(uint64_t)0 << slots % 64;
        *ret_bits = bits;
        return ST_OK;
}

/* Makes a slab of the pages, counted as one with all slots free; not yet in a tree. The pages counted as free. */
static void slab_start(Layout *layout, Run *run, unsigned class, unsigned step, unsigned slots, uint64_t *bits)
{
        run->kind = RUN_SLAB;
        run->class = (uint8_t) class;
        run->step = (uint8_t)step;
        run->slots = (uint16_t)slots;
        run->bits = bits;
        uint64_t slack = slab_slack(run);
        layout->free_bytes -= slack;
        layout->metadata_bytes += slack;
        layout->classes[class].slab_count++;
        layout->classes[class].slab_pages += run->pages;
        layout->classes[class].slots += slots;
}

static void slab_end(Layout *layout, Run *run)
{
        SlabClass *class = &layout->classes[run->class];
        uint64_t slack = slab_slack(run);
        assert(run->used == 0 && run->waiting_count == 0);
        layout->free_bytes += slack;
        layout->metadata_bytes -= slack;
        class->slab_count--;
        class->slab_pages -= run->pages;
        class->slots -= run->slots;
        table_remove(layout, run);
        pages_release(layout, run);
}

/* A new slab with as little waste of space as speed allows: small while the class is small, and a smaller one that fits
 * into a hole rather than a larger one for which the file would have to grow. */
static Status slab_new(Layout *layout, unsigned class_index, unsigned max_step, uint32_t *ret_missing)
{
        const SlabClass *class = &layout->classes[class_index];
        const uint16_t *sizes = layout->slab_pages[class_index];
        unsigned step = max_step;
        while (step > 0 && sizes[step] > class->slab_pages / SLAB_SHARE)
                step--;
        *ret_missing = sizes[step];
        for (;; step--) {
                if (tree_at_least(layout->free, (uint64_t)sizes[step] << 32))
                        break;
                if (step == 0)
                        return ST_OK;
        }
        unsigned slots = sizes[step] * PAGE_BYTES / class_bytes(class_index);
        uint64_t *bits;
        Run *run;
        TRY(slab_bits_new(slots, &bits));
        Status st = pages_take(layout, sizes[step], &run);
        if (st) {
                mem_free(bits);
                return st;
        }
        slab_start(layout, run, class_index, step, slots, bits);
        table_insert(layout, run);
        partial_insert(layout, run);
        *ret_missing = 0;
        return ST_OK;
}

static uint32_t slot_take(Layout *layout, Run *run)
{
        SlabClass *class = &layout->classes[run->class];
        unsigned word = run->hint;
        while (run->bits[word] == ~(uint64_t)0)
                word++;
        unsigned bit = (unsigned)__builtin_ctzll(~run->bits[word]);
        run->bits[word] |= (uint64_t)1 << bit;
        run->hint = (uint16_t)word;
        run->used++;
        class->used++;
        if (run->used == run->slots)
                partial_remove(layout, run);
        layout->free_bytes -= class_bytes(run->class);
        layout->live_bytes += class_bytes(run->class);
        return word * 64 + bit;
}

/* The slot's bytes are counted as free already. */
static void slot_release(Layout *layout, Run *run, uint32_t slot)
{
        bool was_full = run->used == run->slots;
        run->bits[slot / 64] &= ~((uint64_t)1 << slot % 64);
        run->hint = (uint16_t)MIN((uint32_t)run->hint, slot / 64);
        run->used--;
        layout->classes[run->class].used--;
        if (run->used == 0) {
                if (!was_full)
                        partial_remove(layout, run);
                slab_end(layout, run);
        } else if (was_full) {
                partial_insert(layout, run);
        }
}

/* --- allocating and freeing --- */

Status layout_alloc(Layout *layout, size_t bytes, unsigned max_step, Extent *ret_extent, uint32_t *ret_missing)
{
        *ret_missing = 0;
        if (bytes <= SLAB_MAX_EXTENT) {
                unsigned class = class_of(bytes);
                if (!layout->classes[class].current) {
                        TRY(slab_new(layout, class, max_step, ret_missing));
                        if (*ret_missing)
                                return ST_OK;
                }
                /* Read before the slot is taken: a slab that is full then leaves the tree. */
                Run *run = layout->classes[class].current;
                *ret_extent = extent_make(class, run->step, slot_take(layout, run), run->page);
                return ST_OK;
        }
        uint64_t pages = bytes / PAGE_BYTES + (bytes % PAGE_BYTES != 0);
        if (pages > LARGE_MAX_PAGES)
                return status_new(ERR_LIMIT, "an extent of %zu bytes; the largest has %" PRIu64, bytes,
                                  (uint64_t)LARGE_MAX_PAGES * PAGE_BYTES);
        Run *run;
        TRY(pages_take(layout, (uint32_t)pages, &run));
        if (!run) {
                *ret_missing = (uint32_t)pages;
                return ST_OK;
        }
        run->kind = RUN_LARGE;
        run->class = CLASS_LARGE;
        table_insert(layout, run);
        layout->free_bytes -= pages * PAGE_BYTES;
        layout->live_bytes += pages * PAGE_BYTES;
        layout->large_live_bytes += pages * PAGE_BYTES;
        layout->large_live++;
        *ret_extent = extent_make(CLASS_LARGE, 0, run->pages, run->page);
        return ST_OK;
}

/* The run of what `extent` names, if it exists at all, live or not. */
static Status layout_find(const Layout *layout, Extent extent, Run **ret_run)
{
        char text[EXTENT_TEXT_BYTES];
        Run *run = extent_valid(extent) ? table_find(layout, extent_page(extent)) : NULL;
        if (!run)
                return status_new(ERR_CORRUPT, "%s is not allocated", extent_text(extent, text));
        if (run->class != extent_class(extent) || run->step != extent_step(extent) ||
            (run->kind != RUN_SLAB && run->pages != extent_slot(extent)))
                return status_new(ERR_CORRUPT, "%s: something else is there", extent_text(extent, text));
        *ret_run = run;
        return ST_OK;
}

static bool bit_at(const uint64_t *bits, uint32_t at)
{
        return bits[at / 64] >> at % 64 & 1;
}

static Status find_live(const Layout *layout, Extent extent, Run **ret_run)
{
        char text[EXTENT_TEXT_BYTES];
        Run *run;
        uint32_t slot = extent_slot(extent);
        TRY(layout_find(layout, extent, &run));
        if (run->kind == RUN_SLAB && !bit_at(run->bits, slot))
                return status_new(ERR_CORRUPT, "%s is not allocated", extent_text(extent, text));
        if (run->kind == RUN_SLAB ? run->waiting && bit_at(run->waiting, slot) : run->kind == RUN_LARGE_WAITING)
                return status_new(ERR_CORRUPT, "%s is freed already", extent_text(extent, text));
        *ret_run = run;
        return ST_OK;
}

Status layout_wait(Layout *layout, Extent extent)
{
        Run *run;
        uint64_t bytes = extent_bytes(extent);
        TRY(find_live(layout, extent, &run));
        if (run->kind == RUN_SLAB) {
                uint32_t slot = extent_slot(extent);
                if (!run->waiting) {
                        run->waiting = mem_zalloc(slab_words(run) * sizeof(*run->waiting));
                        if (!run->waiting)
                                return status_nomem();
                }
                run->waiting[slot / 64] |= (uint64_t)1 << slot % 64;
                run->waiting_count++;
                layout->classes[run->class].waiting++;
        } else {
                run->kind = RUN_LARGE_WAITING;
                layout->large_live--;
                layout->large_waiting++;
                layout->large_live_bytes -= bytes;
                layout->large_waiting_bytes += bytes;
        }
        layout->live_bytes -= bytes;
        layout->waiting_bytes += bytes;
        return ST_OK;
}

static void waiting_clear(Run *run, uint32_t slot)
{
        run->waiting[slot / 64] &= ~((uint64_t)1 << slot % 64);
        if (--run->waiting_count == 0) {
                mem_free(run->waiting);
                run->waiting = NULL;
        }
}

void layout_reclaim(Layout *layout, Extent extent)
{
        Run *run = table_find(layout, extent_page(extent));
        uint64_t bytes = extent_bytes(extent);
        uint32_t slot = extent_slot(extent);
        assert(run);
        layout->waiting_bytes -= bytes;
        layout->free_bytes += bytes;
        if (run->kind == RUN_SLAB) {
                assert(bit_at(run->waiting, slot));
                layout->classes[run->class].waiting--;
                waiting_clear(run, slot);
                slot_release(layout, run, slot);
        } else {
                assert(run->kind == RUN_LARGE_WAITING);
                layout->large_waiting--;
                layout->large_waiting_bytes -= bytes;
                table_remove(layout, run);
                pages_release(layout, run);
        }
}

Status layout_discard(Layout *layout, Extent extent)
{
        Run *run;
        uint64_t bytes = extent_bytes(extent);
        TRY(find_live(layout, extent, &run));
        layout->live_bytes -= bytes;
        layout->free_bytes += bytes;
        if (run->kind == RUN_SLAB) {
                slot_release(layout, run, extent_slot(extent));
        } else {
                layout->large_live--;
                layout->large_live_bytes -= bytes;
                table_remove(layout, run);
                pages_release(layout, run);
        }
        return ST_OK;
}

void layout_show_live(Layout *layout, Extent extent, bool live)
{
        Run *run = table_find(layout, extent_page(extent));
        assert(run);
        if (run->kind == RUN_SLAB) {
                uint64_t bit = (uint64_t)1 << extent_slot(extent) % 64, *word = &run->waiting[extent_slot(extent) / 64];
                *word = live ? *word & ~bit : *word | bit;
                run->waiting_count = live ? run->waiting_count - 1 : run->waiting_count + 1;
        } else {
                run->kind = live ? RUN_LARGE : RUN_LARGE_WAITING;
        }
}

void layout_hide(Layout *layout, const Extent *extents, size_t count, bool hide)
{
        Run *run = NULL;
        for (size_t i = 0; i < count; i++) {
                uint32_t slot = extent_slot(extents[i]);
                if (!run || run->page != extent_page(extents[i]))
                        run = table_find(layout, extent_page(extents[i]));
                assert(run);
                if (run->kind == RUN_SLAB) {
                        uint64_t bit = (uint64_t)1 << slot % 64;
                        if (run->waiting && bit_at(run->waiting, slot))
                                continue;
                        run->bits[slot / 64] = hide ? run->bits[slot / 64] & ~bit : run->bits[slot / 64] | bit;
                        run->used = hide ? run->used - 1 : run->used + 1;
                } else if (run->kind == (hide ? RUN_LARGE : RUN_LARGE_HIDDEN)) {
                        run->kind = hide ? RUN_LARGE_HIDDEN : RUN_LARGE;
                }
        }
}

/* --- making and ending one --- */

static Status layout_start(Layout *layout)
{
        *layout = (Layout){.bucket_count = MIN_BUCKETS, .page_count = HEADER_PAGES};
        layout->metadata_bytes = HEADER_PAGES * PAGE_BYTES;
        for (unsigned i = 0; i < SLAB_CLASSES; i++)
                for (unsigned step = 0; step < SLAB_STEPS; step++)
                        layout->slab_pages[i][step] = (uint16_t)slab_pages_of(i, step);
        layout->buckets = mem_zalloc(MIN_BUCKETS * sizeof(*layout->buckets));
        return layout->buckets ? ST_OK : status_nomem();
}

Status layout_init(Layout *layout, uint64_t page_count)
{
        TRY(layout_start(layout));
        return layout_build_finish(layout, page_count);
}

void layout_done(Layout *layout)
{
        for (Run *next, *run = layout->first; run; run = next) {
                next = run->next;
                run_free(run);
        }
        mem_free(layout->buckets);
        *layout = (Layout){0};
}

Status layout_build_run(Layout *layout, unsigned class, unsigned step, uint32_t page, uint32_t pages, Run **ret_run)
{
        Run *run;
        if (!layout->buckets)
                TRY(layout_start(layout));
        if (class < SLAB_CLASSES)
                pages = layout->slab_pages[class][step];
        TRY(run_new(page, pages, &run));
        if (class < SLAB_CLASSES) {
                unsigned slots = pages * PAGE_BYTES / class_bytes(class);
                uint64_t *bits;
                Status st = slab_bits_new(slots, &bits);
                if (st) {
                        run_free(run);
                        return st;
                }
                layout->free_bytes += (uint64_t)pages * PAGE_BYTES;
                slab_start(layout, run, class, step, slots, bits);
        } else {
                run->kind = RUN_LARGE;
                run->class = CLASS_LARGE;
                layout->live_bytes += (uint64_t)pages * PAGE_BYTES;
                layout->large_live_bytes += (uint64_t)pages * PAGE_BYTES;
                layout->large_live++;
        }
        list_insert_before(layout, run, NULL);
        table_insert(layout, run);
        *ret_run = run;
        return ST_OK;
}

Status layout_build_slot(Layout *layout, Run *run, uint32_t slot)
{
        uint64_t bytes = class_bytes(run->class);
        char text[EXTENT_TEXT_BYTES];
        if (bit_at(run->bits, slot))
                return status_new(ERR_CORRUPT, "%s is used twice",
                                  extent_text(extent_make(run->class, run->step, slot, run->page), text));
        run->bits[slot / 64] |= (uint64_t)1 << slot % 64;
        run->used++;
        layout->classes[run->class].used++;
        layout->free_bytes -= bytes;
        layout->live_bytes += bytes;
        return ST_OK;
}

Status layout_build_extent(Layout *layout, Extent extent)
{
        char text[EXTENT_TEXT_BYTES];
        unsigned class = extent_class(extent), step = extent_step(extent);
        if (!extent_valid(extent))
                return status_new(ERR_CORRUPT, "%s is used", extent_text(extent, text));
        Run *run = layout->buckets ? table_find(layout, extent_page(extent)) : NULL;
        if (class == CLASS_LARGE && !run)
                return layout_build_run(layout, class, 0, extent_page(extent), extent_slot(extent), &run);
        if (class == CLASS_LARGE || (run && (run->class != class || run->step != step)))
                return status_new(ERR_CORRUPT, "%s is used twice, or something else is there",
                                  extent_text(extent, text));
        if (!run)
                TRY(layout_build_run(layout, class, step, extent_page(extent), 0, &run));
        return layout_build_slot(layout, run, extent_slot(extent));
}

static int compare_pages(const void *a, const void *b)
{
        uint32_t x = (*(Run *const *)a)->page, y = (*(Run *const *)b)->page;
        return (x > y) - (x < y);
}

static Status list_sort(Layout *layout)
{
        size_t count = layout->bucket_used, i = 0;
        bool sorted = true;
        for (Run *run = layout->first; run && run->next; run = run->next)
                sorted &= run->page < run->next->page;
        if (sorted)
                return ST_OK;
        Run **runs = mem_alloc(count * sizeof(*runs));
        if (!runs)
                return status_nomem();
        for (Run *run = layout->first; run; run = run->next)
                runs[i++] = run;
        assert(i == count);
        qsort(runs, count, sizeof(*runs), compare_pages);
        layout->first = layout->last = NULL;
        for (i = 0; i < count; i++)
                list_insert_before(layout, runs[i], NULL);
        mem_free(runs);
        return ST_OK;
}

Status layout_build_finish(Layout *layout, uint64_t page_count)
{
        uint64_t end = HEADER_PAGES;
        if (!layout->buckets)
                TRY(layout_start(layout));
        TRY(list_sort(layout));
        for (Run *run = layout->first;; run = run->next) {
                uint64_t page = run ? run->page : page_count;
                if (run && page + run->pages > page_count)
                        return status_new(ERR_CORRUPT,
                                          "space in use ends at offset %" PRIu64
                                          ", behind the end of the file (%" PRIu64 ")",
                                          (page + run->pages) * PAGE_BYTES, page_count * PAGE_BYTES);
                if (page < end)
                        return status_new(ERR_CORRUPT, "two things overlap at offset %" PRIu64, page * PAGE_BYTES);
                if (page > end) {
                        Run *gap;
                        TRY(run_new((uint32_t)end, (uint32_t)(page - end), &gap));
                        list_insert_before(layout, gap, run);
                        tree_insert(&layout->free, gap);
                        layout->free_bytes += (uint64_t)gap->pages * PAGE_BYTES;
                }
                if (!run)
                        break;
                if (run->kind == RUN_SLAB && run->used < run->slots)
                        partial_insert(layout, run);
                end = page + run->pages;
        }
        layout->page_count = page_count;
        return ST_OK;
}

/* --- proof --- */

static Status broken(const char *what, uint64_t page)
{
        return status_new(ERR_CORRUPT, "the map of free space is wrong at offset %" PRIu64 ": %s", page * PAGE_BYTES,
                          what);
}

/* Counts the tree's runs; UINT64_MAX if it is out of order. */
static uint64_t tree_count(const Run *run, uint64_t low, uint64_t high)
{
        if (!run)
                return 0;
        uint64_t key = run_key(run);
        if (key < low || key >= high)
                return UINT64_MAX;
        uint64_t left = tree_count(run->left, low, key), right = tree_count(run->right, key + 1, high);
        return left == UINT64_MAX || right == UINT64_MAX ? UINT64_MAX : left + right + 1;
}

static Status slab_verify(const Layout *layout, const Run *run)
{
        uint32_t used = 0, waiting = 0;
        if (run->class >= SLAB_CLASSES || run->step >= SLAB_STEPS ||
            run->pages != layout->slab_pages[run->class][run->step] ||
            run->slots != run->pages * PAGE_BYTES / class_bytes(run->class))
                return broken("a slab of the wrong size", run->page);
        for (size_t i = 0; i < slab_words(run); i++) {
                used += (uint32_t)__builtin_popcountll(run->bits[i]);
                if (i < run->hint && run->bits[i] != ~(uint64_t)0)
                        return broken("a free slot that would not be found", run->page);
                if (run->waiting) {
                        waiting += (uint32_t)__builtin_popcountll(run->waiting[i]);
                        if (run->waiting[i] & ~run->bits[i])
                                return broken("a slot that waits and is free", run->page);
                }
        }
        used -= (uint32_t)(slab_words(run) * 64 - run->slots);
        if (used != run->used || used == 0 || waiting != run->waiting_count || (waiting > 0) != !!run->waiting)
                return broken("a slab's count of slots", run->page);
        return ST_OK;
}

Status layout_verify(const Layout *layout)
{
        uint64_t end = HEADER_PAGES, free_runs = 0, hashed = 0;
        Layout sum = {.metadata_bytes = HEADER_PAGES * PAGE_BYTES};
        uint64_t partial[SLAB_CLASSES] = {0};
        const Run *prev = NULL;
        for (const Run *run = layout->first; run; prev = run, run = run->next) {
                uint64_t bytes = (uint64_t)run->pages * PAGE_BYTES;
                if (run->page != end || run->pages == 0 || run->prev != prev)
                        return broken("a gap or an overlap", end);
                end += run->pages;
                if (run->kind == RUN_FREE) {
                        free_runs++;
                        sum.free_bytes += bytes;
                        if (prev && prev->kind == RUN_FREE)
                                return broken("free neighbours", run->page);
                        continue;
                }
                hashed++;
                if (table_find(layout, run->page) != run)
                        return broken("a run that cannot be found", run->page);
                if (run->kind == RUN_SLAB) {
                        SlabClass *class = &sum.classes[run->class];
                        TRY(slab_verify(layout, run));
                        uint64_t slot_bytes = class_bytes(run->class);
                        sum.live_bytes += (run->used - run->waiting_count) * slot_bytes;
                        sum.waiting_bytes += run->waiting_count * slot_bytes;
                        sum.free_bytes += (run->slots - run->used) * slot_bytes;
                        sum.metadata_bytes += slab_slack(run);
                        class->slab_count++;
                        class->slab_pages += run->pages;
                        class->slots += run->slots;
                        class->used += run->used;
                        class->waiting += run->waiting_count;
                        partial[run->class] += run->used < run->slots;
                } else if (run->kind == RUN_LARGE) {
                        sum.large_live++;
                        sum.large_live_bytes += bytes;
                        sum.live_bytes += bytes;
                } else {
                        sum.large_waiting++;
                        sum.large_waiting_bytes += bytes;
                        sum.waiting_bytes += bytes;
                }
        }
        if (prev != layout->last || end != layout->page_count)
                return broken("the end of the file", end);
        if (sum.live_bytes + sum.waiting_bytes + sum.free_bytes + sum.metadata_bytes != end * PAGE_BYTES ||
            sum.live_bytes != layout->live_bytes || sum.waiting_bytes != layout->waiting_bytes ||
            sum.free_bytes != layout->free_bytes || sum.metadata_bytes != layout->metadata_bytes ||
            sum.large_live != layout->large_live || sum.large_waiting != layout->large_waiting ||
            sum.large_live_bytes != layout->large_live_bytes || sum.large_waiting_bytes != layout->large_waiting_bytes)
                return broken("the accounting does not add up", end);
        if (tree_count(layout->free, 0, UINT64_MAX) != free_runs || hashed != layout->bucket_used)
                return broken("the free runs", end);
        for (unsigned i = 0; i < SLAB_CLASSES; i++) {
                const SlabClass *a = &layout->classes[i], *b = &sum.classes[i];
                if (a->slab_count != b->slab_count || a->slab_pages != b->slab_pages || a->slots != b->slots ||
                    a->used != b->used || a->waiting != b->waiting)
                        return broken("the accounting of a class", end);
                if (tree_count(a->partial, 0, UINT64_MAX) != partial[i] || a->current != tree_first(a->partial))
                        return broken("the slabs with free slots", end);
        }
        return ST_OK;
}
