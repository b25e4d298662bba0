/* image.c - a layout as bytes and back, and the comparison of a layout with what is really used. */
#include "storage/slab/space_int.h"

#include <inttypes.h>

#include "base/mem.h"

/*   0          8       12        16          20           24           32           40
 *   | checksum | magic | version | run_count | page_bytes | page_count | live_bytes | runs ...      little-endian
 * run
 *   0      4       5      6       8       12
 *   | page | class | step | flags | pages | bitmap ...     by page. Slabs with something live and large extents; all
 *                                                          else is free. bitmap: u64 words, bit set = live; absent
 *                                                          if the slab is full (flags 1) and for large ones */
typedef struct ImageHeader {
        uint64_t checksum; /* XXH3 of all behind it */
        uint32_t magic, version;
        uint32_t run_count, page_bytes;
        uint64_t page_count, live_bytes;
} ImageHeader;
_Static_assert(sizeof(ImageHeader) == 40, "on-disk format: bump IMAGE_VERSION, do not edit in place");
typedef struct ImageRun {
        uint32_t page;
        uint8_t class, step;
        uint16_t flags;
        uint32_t pages;
} ImageRun;
_Static_assert(sizeof(ImageRun) == 12, "on-disk format: bump IMAGE_VERSION, do not edit in place");

#define IMAGE_MAGIC   0x43505350u /* "PSPC" */
#define IMAGE_VERSION 1u
#define IMAGE_FULL    1u

static size_t words_of(unsigned slots)
{
        return (slots + 63u) / 64;
}

static uint32_t run_live(const Run *run)
{
        if (run->kind == RUN_SLAB)
                return run->used - run->waiting_count;
        return run->kind == RUN_LARGE;
}

static size_t run_bitmap_bytes(const Run *run)
{
        return run->kind == RUN_SLAB && run_live(run) < run->slots ? words_of(run->slots) * 8 : 0;
}

/* The bits of the last word that are slots. */
static uint64_t word_mask(unsigned slots, size_t word)
{
        return word == slots / 64 ? ((uint64_t)1 << slots % 64) - 1 : ~(uint64_t)0;
}

static uint64_t live_word(const Run *run, size_t word)
{
        return run->bits[word] & ~(run->waiting ? run->waiting[word] : 0) & word_mask(run->slots, word);
}

size_t layout_save_bytes(const Layout *layout)
{
        size_t bytes = sizeof(ImageHeader);
        for (const Run *run = layout->first; run; run = run->next)
                if (run_live(run))
                        bytes += sizeof(ImageRun) + run_bitmap_bytes(run);
        return bytes;
}

Status layout_save(const Layout *layout, Buf *out)
{
        ImageHeader header = {.magic = IMAGE_MAGIC, .version = IMAGE_VERSION, .page_bytes = PAGE_BYTES};
        size_t start = out->size, total = layout_save_bytes(layout);
        TRY(buf_reserve(out, total));
        uint8_t *at = out->data + start + sizeof(header);
        header.page_count = layout->page_count;
        for (const Run *run = layout->first; run; run = run->next) {
                uint32_t live = run_live(run);
                if (!live)
                        continue;
                ImageRun image = {.page = run->page, .class = run->class, .step = run->step, .pages = run->pages};
                size_t bitmap = run_bitmap_bytes(run);
                image.flags = run->kind == RUN_SLAB && !bitmap ? IMAGE_FULL : 0;
                memcpy(at, &image, sizeof(image));
                at += sizeof(image);
                for (size_t i = 0; i < bitmap / 8; i++, at += 8)
                        store_u64(at, live_word(run, i));
                header.run_count++;
                header.live_bytes += run->kind == RUN_SLAB ? (uint64_t)live * class_bytes(run->class)
                                                           : (uint64_t)run->pages * PAGE_BYTES;
        }
        uint8_t *head = out->data + start;
        memcpy(head, &header, sizeof(header));
        store_u64(head, bytes_hash(head + 8, total - 8));
        out->size += total;
        return ST_OK;
}

static Status damaged(const char *what, size_t at)
{
        return status_new(ERR_CORRUPT, "saved space: %s (byte %zu)", what, at);
}

static Status load_run(Layout *layout, Bytes saved, size_t *at, uint64_t min_page)
{
        ImageRun image;
        size_t start = *at, bitmap = 0;
        if (saved.size - start < sizeof(image))
                return damaged("it ends inside of a run", start);
        memcpy(&image, saved.data + start, sizeof(image));
        *at += sizeof(image);
        if (image.page < min_page)
                return damaged("runs overlap or are out of order", start);
        Run *run;
        if (image.class == CLASS_LARGE) {
                if (image.step || image.flags || image.pages == 0 || image.pages > LARGE_MAX_PAGES)
                        return damaged("an impossible large extent", start);
                return layout_build_run(layout, CLASS_LARGE, 0, image.page, image.pages, &run);
        }
        if (image.class > CLASS_LARGE || image.step >= SLAB_STEPS || image.flags > IMAGE_FULL ||
            image.pages != slab_pages_of(image.class, image.step))
                return damaged("an impossible slab", start);
        unsigned slots = image.pages * PAGE_BYTES / class_bytes(image.class);
        if (!(image.flags & IMAGE_FULL))
                bitmap = words_of(slots) * 8;
        if (saved.size - *at < bitmap)
                return damaged("it ends inside of a bitmap", start);
        TRY(layout_build_run(layout, image.class, image.step, image.page, image.pages, &run));
        for (size_t i = 0; i < words_of(slots); i++) {
                uint64_t mask = word_mask(slots, i), word = bitmap ? load_u64(saved.data + *at + i * 8) : mask;
                if (word & ~mask)
                        return damaged("slots behind the end of a slab", *at + i * 8);
                for (; word; word &= word - 1)
                        TRY(layout_build_slot(layout, run, (uint32_t)(i * 64 + (unsigned)__builtin_ctzll(word))));
        }
        *at += bitmap;
        if (run->used == 0 || (bitmap && run->used == run->slots))
                return damaged("a slab's bitmap is empty, or full and there", start);
        return ST_OK;
}

Status layout_load(Layout *layout, Bytes saved, uint64_t page_count)
{
        ImageHeader header;
        if (saved.size < sizeof(header))
                return damaged("too short", saved.size);
        memcpy(&header, saved.data, sizeof(header));
        if (header.magic != IMAGE_MAGIC)
                return damaged("it does not begin as one", 8);
        if (header.checksum != bytes_hash(saved.data + 8, saved.size - 8))
                return damaged("wrong checksum", 0);
        if (header.version > IMAGE_VERSION)
                return status_new(ERR_VERSION, "saved space has format %u, this program knows %u", header.version,
                                  IMAGE_VERSION);
        if (header.version == 0 || header.page_bytes != PAGE_BYTES)
                return damaged("impossible format", 12);
        size_t at = sizeof(header);
        uint64_t end = HEADER_PAGES;
        for (uint32_t i = 0; i < header.run_count; i++) {
                TRY(load_run(layout, saved, &at, end));
                end = (uint64_t)layout->last->page + layout->last->pages;
        }
        if (at != saved.size)
                return damaged("bytes behind the last run", at);
        if (end > header.page_count)
                return damaged("runs behind the end of the file", 24);
        if (header.live_bytes != layout->live_bytes)
                return damaged("the sum of what is live is wrong", 32);
        return layout_build_finish(layout, page_count);
}

static Status ranges_each(const Layout *layout, Status (*each)(void *ctx, uint64_t offset, uint64_t bytes), void *ctx)
{
        uint64_t start = 0, end = 0;
        for (const Run *run = layout->first; run; run = run->next) {
                uint64_t at = (uint64_t)run->page * PAGE_BYTES;
                uint32_t pieces = run->kind == RUN_SLAB ? run->slots : run->kind == RUN_LARGE;
                uint64_t bytes = run->kind == RUN_SLAB ? class_bytes(run->class) : (uint64_t)run->pages * PAGE_BYTES;
                for (uint32_t i = 0; i < pieces; i++, at += bytes) {
                        if (run->kind == RUN_SLAB && !(run->bits[i / 64] >> i % 64 & 1))
                                continue;
                        if (at != end && end > start)
                                TRY(each(ctx, start, end - start));
                        if (at != end)
                                start = at;
                        end = at + bytes;
                }
        }
        return end > start ? each(ctx, start, end - start) : ST_OK;
}

Status space_image_each(Bytes saved, Status (*each)(void *ctx, uint64_t offset, uint64_t bytes), void *ctx,
                        uint64_t *ret_file_bytes)
{
        Layout layout = {0};
        uint64_t end = HEADER_PAGES;
        Status st = layout_load(&layout, saved, MAX_PAGES);
        for (const Run *run = layout.first; run && !st; run = run->next)
                if (run->kind != RUN_FREE)
                        end = (uint64_t)run->page + run->pages;
        if (!st && each)
                st = ranges_each(&layout, each, ctx);
        layout_done(&layout);
        *ret_file_bytes = end * PAGE_BYTES;
        return st;
}

/* --- census --- */

typedef struct CensusRun {
        uint64_t first; /* bit */
        uint32_t page, slots;
        uint32_t pages;
        uint8_t class, step;
} CensusRun;
struct Census {
        CensusRun *runs; /* by page */
        size_t run_count;
        uint64_t *live, *waiting, *seen; /* a bit for each slot and each large extent */
};

static bool bit_at(const uint64_t *bits, uint64_t at)
{
        return bits[at / 64] >> at % 64 & 1;
}

static void bit_set(uint64_t *bits, uint64_t at)
{
        bits[at / 64] |= (uint64_t)1 << at % 64;
}

Census *census_free(Census *census)
{
        if (census) {
                mem_free(census->runs);
                mem_free(census->live);
                mem_free(census->waiting);
                mem_free(census->seen);
                mem_free(census);
        }
        return NULL;
}

/* Each run begins at a word of its own. */
static size_t run_words(const Run *run)
{
        return run->kind == RUN_FREE ? 0 : run->kind == RUN_SLAB ? words_of(run->slots) : 1;
}

Status census_new(const Layout *layout, Census **ret_census)
{
        _cleanup_(census_freep) Census *census = mem_zalloc(sizeof(*census));
        size_t words = 0;
        if (!census)
                return status_nomem();
        for (const Run *run = layout->first; run; run = run->next) {
                words += run_words(run);
                census->run_count += run->kind != RUN_FREE;
        }
        census->runs = mem_alloc(MAX((size_t)1, census->run_count) * sizeof(*census->runs));
        census->live = mem_zalloc((words + 1) * 8);
        census->waiting = mem_zalloc((words + 1) * 8);
        census->seen = mem_zalloc((words + 1) * 8);
        if (!census->runs || !census->live || !census->waiting || !census->seen)
                return status_nomem();
        CensusRun *out = census->runs;
        size_t word = 0;
        for (const Run *run = layout->first; run; word += run_words(run), run = run->next) {
                if (run->kind == RUN_FREE)
                        continue;
                *out++ = (CensusRun){.first = word * 64,
                                     .page = run->page,
                                     .pages = run->pages,
                                     .slots = run->kind == RUN_SLAB ? run->slots : 1,
                                     .class = run->class,
                                     .step = run->step};
                if (run->kind != RUN_SLAB) {
                        if (run->kind != RUN_LARGE_HIDDEN)
                                bit_set(run->kind == RUN_LARGE ? census->live : census->waiting, word * 64);
                        continue;
                }
                for (size_t i = 0; i < run_words(run); i++) {
                        census->live[word + i] = live_word(run, i);
                        census->waiting[word + i] = run->waiting ? run->waiting[i] : 0;
                }
        }
        *ret_census = take(census);
        return ST_OK;
}

Status census_count(Census *census, Extent extent)
{
        char text[EXTENT_TEXT_BYTES];
        extent_text(extent, text);
        if (!extent_valid(extent))
                return status_new(ERR_CORRUPT, "%s is used", text);
        size_t low = 0, high = census->run_count;
        while (low < high) {
                size_t middle = (low + high) / 2;
                if (census->runs[middle].page < extent_page(extent))
                        low = middle + 1;
                else
                        high = middle;
        }
        const CensusRun *run = low < census->run_count ? &census->runs[low] : NULL;
        bool large = extent_class(extent) == CLASS_LARGE;
        if (!run || run->page != extent_page(extent)) {
                run = low > 0 ? &census->runs[low - 1] : NULL;
                if (run && (uint64_t)run->page + run->pages > extent_page(extent))
                        return status_new(ERR_CORRUPT, "%s is used, and lies within something else", text);
                return status_new(ERR_CORRUPT, "%s is used, but was never allocated or is free", text);
        }
        if (run->class != extent_class(extent) || run->step != extent_step(extent) ||
            (large && run->pages != extent_slot(extent)))
                return status_new(ERR_CORRUPT, "%s is used, but something else is there", text);
        uint64_t at = run->first + (large ? 0 : extent_slot(extent));
        if (bit_at(census->waiting, at))
                return status_new(ERR_CORRUPT, "%s is used, but was freed", text);
        if (!bit_at(census->live, at))
                return status_new(ERR_CORRUPT, "%s is used, but was never allocated or is free", text);
        if (bit_at(census->seen, at))
                return status_new(ERR_CORRUPT, "%s is used twice", text);
        bit_set(census->seen, at);
        return ST_OK;
}

Status census_finish(const Census *census)
{
        uint64_t count = 0, bytes = 0;
        Extent first = 0;
        for (size_t i = 0; i < census->run_count; i++) {
                const CensusRun *run = &census->runs[i];
                for (uint32_t slot = 0; slot < run->slots; slot++) {
                        if (!bit_at(census->live, run->first + slot) || bit_at(census->seen, run->first + slot))
                                continue;
                        Extent extent = run->class == CLASS_LARGE ? extent_make(CLASS_LARGE, 0, run->pages, run->page)
                                                                  : extent_make(run->class, run->step, slot, run->page);
                        if (count++ == 0)
                                first = extent;
                        bytes += extent_bytes(extent);
                }
        }
        char text[EXTENT_TEXT_BYTES];
        if (count)
                return status_new(ERR_CORRUPT,
                                  "%" PRIu64 " extents (%" PRIu64
                                  " bytes) are allocated and not used: leaked; the first is %s",
                                  count, bytes, extent_text(first, text));
        return ST_OK;
}
