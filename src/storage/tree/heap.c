/* heap.c - memory of nodes: slots of one size, for any node, in blocks that get larger with the cache.
 *
 *      block    | slot | slot | slot | ...        254 slots in 2 MiB: backed by one huge page of the machine
 *      slot     | Page: 64 bytes | image: PAGE_MAX_BYTES |
 *
 * One size, so that any slot serves any node and the memory of the process is the sum of the blocks, whatever sizes
 * nodes have had. A slot is no power of two: the lines that begin nodes fall into all sets of the processor's caches.
 * The lowest block with a free slot is used first, so that the last ones empty. Everything here is under PCache.mu. */
#include "storage/tree/tree_int.h"

#include <assert.h>

#include "os/os.h"

#define BLOCK_BYTES ((size_t)2 << 20)
#define BLOCK_SLOTS (BLOCK_BYTES / PAGE_SLOT_BYTES)

#ifdef ARENA_ASAN
#define SLOT_POISON(page)                                                                                              \
        ASAN_POISON_MEMORY_REGION((char *)(page) + offsetof(Page, limbo_stamp),                                        \
                                  PAGE_SLOT_BYTES - offsetof(Page, limbo_stamp))
#else
#define SLOT_POISON(page) ((void)0)
#endif

static void block_mark(PageHeap *heap, uint32_t i, bool has_free)
{
        uint64_t bit = 1ull << i % 64;
        if (has_free) {
                heap->with_free[i / 64] |= bit;
                heap->first_word = MIN(heap->first_word, i / 64);
        } else {
                heap->with_free[i / 64] &= ~bit;
        }
}

/* A place in the table for another block. */
static bool table_place(PageHeap *heap, uint32_t *ret_i)
{
        uint32_t i = 0;
        if (heap->block_count < heap->table_count)
                while (heap->blocks[i].slots)
                        i++;
        else
                i = heap->table_count;
        if (i == heap->table_capacity) {
                uint32_t capacity = MAX(2 * heap->table_capacity, 64u);
                PageBlock *blocks = mem_realloc(heap->blocks, capacity * sizeof(*blocks));
                if (!blocks)
                        return false;
                heap->blocks = blocks;
                uint64_t *bits = mem_realloc(heap->with_free, capacity / 64 * sizeof(*bits));
                if (!bits)
                        return false;
                memset(bits + heap->table_capacity / 64, 0, (capacity - heap->table_capacity) / 64 * sizeof(*bits));
                heap->with_free = bits;
                heap->table_capacity = capacity;
        }
        *ret_i = i;
        return true;
}

static bool block_add(PageHeap *heap)
{
        size_t slots = MAX(MIN(heap->slot_count / 8, BLOCK_SLOTS), (size_t)1);
        size_t bytes = slots == BLOCK_SLOTS ? BLOCK_BYTES : slots * PAGE_SLOT_BYTES;
        uint32_t i;
        if (!table_place(heap, &i))
                return false;
        char *memory = mem_alloc_aligned(slots == BLOCK_SLOTS ? BLOCK_BYTES : CACHE_LINE, bytes);
        if (!memory)
                return false;
        if (slots == BLOCK_SLOTS)
                os_memory_huge(memory, bytes);
        heap->blocks[i] = (PageBlock){.slots = memory, .bytes = bytes, .slot_count = (uint32_t)slots};
        heap->table_count = MAX(heap->table_count, i + 1);
        heap->block_count++;
        heap->slot_count += slots;
        heap->free_count += slots;
        heap->bytes += bytes;
        block_mark(heap, i, true);
        return true;
}

static void block_remove(PageHeap *heap, uint32_t i)
{
        PageBlock *block = &heap->blocks[i];
        ARENA_UNPOISON(block->slots, block->bytes);
        mem_free(block->slots);
        heap->block_count--;
        heap->slot_count -= block->slot_count;
        heap->free_count -= block->slot_count;
        heap->bytes -= block->bytes;
        *block = (PageBlock){0};
        block_mark(heap, i, false);
}

Page *heap_take(PageHeap *heap)
{
        if (heap->free_count == 0 && !block_add(heap))
                return NULL;
        while (heap->with_free[heap->first_word] == 0)
                heap->first_word++;
        uint32_t i = heap->first_word * 64 + (uint32_t)__builtin_ctzll(heap->with_free[heap->first_word]);
        PageBlock *block = &heap->blocks[i];
        Page *page = block->free;
        if (page) {
                block->free = page->limbo_next;
        } else {
                /* Those never taken yet: their memory has not been touched. */
                page = (Page *)(uintptr_t)(block->slots + block->fresh * PAGE_SLOT_BYTES);
                block->fresh++;
        }
        ARENA_UNPOISON(page, PAGE_SLOT_BYTES);
        page->block = i + 1;
        heap->free_count--;
        if (++block->used_count == block->slot_count)
                block_mark(heap, i, false);
        return page;
}

void heap_give(PageHeap *heap, Page *page, bool shrink)
{
        uint32_t i = page->block - 1;
        PageBlock *block = &heap->blocks[i];
        page->limbo_next = block->free;
        block->free = page;
        SLOT_POISON(page);
        heap->free_count++;
        if (block->used_count-- == block->slot_count)
                block_mark(heap, i, true);
        /* Not the last free slots of all: the next node would need a new block. */
        if (block->used_count == 0 && (shrink || heap->free_count > heap->slot_count / 2))
                block_remove(heap, i);
}

uint32_t heap_blocks_within(const PageHeap *heap, size_t bytes)
{
        uint32_t i = 0;
        for (size_t sum = 0; i < heap->table_count; i++) {
                sum += heap->blocks[i].bytes;
                if (sum > bytes)
                        break;
        }
        return i;
}

void heap_done(PageHeap *heap)
{
        for (uint32_t i = 0; i < heap->table_count; i++)
                if (heap->blocks[i].slots) {
                        assert(heap->blocks[i].used_count == 0);
                        block_remove(heap, i);
                }
        mem_free(heap->blocks);
        mem_free(heap->with_free);
}
