/* memo.c - what readers remember of leaves: a list on the page, freed with it or before it.
 *
 * A memo is added and taken off under PCache.mu, and found without: the reader has the page pinned. The order that
 * makes this safe (all sequentially consistent):
 *
 *      reader:   pins++;  look at the list;  ..;  pins--
 *      keeper:   take the list off;  look at the pins: free it if there are none, else put it back
 *
 * A reader that the keeper does not see pinned the page after that look, and so found no list. */
#include "storage/tree/tree_int.h"

#define MEMO_SHARE      2u    /* memos have at most this part of the budget */
#define MEMO_TRIM_EVERY 1024u /* refusals, before nodes are evicted block by block to make room for memos */

static bool page_remembers(const Page *page)
{
        return page->block && page->h.level == 0 && atomic_load_explicit(&page->memos, memory_order_relaxed);
}

size_t page_memo_bytes(const Page *page)
{
        size_t bytes = 0;
        if (page_remembers(page))
                for (const Memo *memo = atomic_load(&page->memos); memo; memo = memo->next)
                        bytes += memo->bytes;
        return bytes;
}

static void memo_free(PCache *cache, Memo *memo) REQUIRES(cache->mu)
{
        atomic_fetch_sub(&cache->used_bytes, memo->bytes);
        atomic_fetch_sub(&cache->memo_bytes, memo->bytes);
        memo->free(memo);
}

void page_memos_free(PCache *cache, Page *page) REQUIRES(cache->mu)
{
        if (!page_remembers(page))
                return;
        for (Memo *memo = atomic_exchange(&page->memos, NULL), *next; memo; memo = next) {
                next = memo->next;
                memo_free(cache, memo);
        }
}

/* Drops those of a page that were not asked for since the last time, or `all`. False: none, or somebody reads it. */
static bool page_memos_sift(PCache *cache, Page *page, bool all) REQUIRES(cache->mu)
{
        if (!page_remembers(page) || atomic_load_explicit(&page->pins, memory_order_relaxed))
                return false;
        Memo *memos = atomic_exchange(&page->memos, NULL), *kept = NULL;
        if (atomic_load(&page->pins)) {
                atomic_store(&page->memos, memos);
                return false;
        }
        bool dropped = false;
        for (Memo *memo = memos, *next; memo; memo = next) {
                next = memo->next;
                if (all || !atomic_exchange_explicit(&memo->hot, 0, memory_order_relaxed)) {
                        memo_free(cache, memo);
                        dropped = true;
                } else {
                        memo->next = kept;
                        kept = memo;
                }
        }
        atomic_store(&page->memos, kept);
        return dropped;
}

bool page_memos_drop(PCache *cache, Page *page) REQUIRES(cache->mu)
{
        return page_memos_sift(cache, page, true);
}

bool memos_sift_some(PCache *cache, uint32_t steps, bool all) REQUIRES(cache->mu)
{
        bool dropped = false;
        for (; !dropped && steps > 0 && atomic_load(&cache->memo_bytes) > 0; steps--) {
                Frame *frame = cache_frame_at(cache, cache->memo_hand);
                cache->memo_hand = cache->memo_hand + 1 < cache->frame_count ? cache->memo_hand + 1 : 0;
                Page *page = atomic_load_explicit(&frame->page, memory_order_relaxed);
                dropped = page && page_memos_sift(cache, page, all);
        }
        return dropped;
}

/* Where memos have all they may have, one that is refused moves the hand on by one frame. A scan of all there is moves
 * it by one round at most: so memos that are asked for by every scan stay, however many others do not fit, and those
 * that nobody asks for are gone two rounds later. */
static bool memo_room(PCache *cache, size_t bytes) REQUIRES(cache->mu)
{
        size_t budget = cache->budget_bytes, most = budget / MEMO_SHARE;
        if (budget == 0)
                return true;
        if (atomic_load(&cache->memo_bytes) + bytes > most)
                memos_sift_some(cache, 1, false);
        if (atomic_load(&cache->memo_bytes) + bytes > most)
                return false;
        if (cache_may_take(cache, bytes))
                return true;
        if (++cache->memo_refused_count % MEMO_TRIM_EVERY)
                return false;
        cache_trim(cache, budget / 64);
        return cache_may_take(cache, bytes);
}

const Memo *page_memo(const Page *page, uint64_t key)
{
        for (Memo *memo = atomic_load(&page->memos); memo; memo = memo->next)
                if (memo->key == key) {
                        if (!atomic_load_explicit(&memo->hot, memory_order_relaxed))
                                atomic_store_explicit(&memo->hot, 1, memory_order_relaxed);
                        return memo;
                }
        return NULL;
}

const Memo *page_remember(PCache *cache, Page *page, Memo *memo)
{
        mutex_lock(&cache->mu);
        const Memo *kept = page_memo(page, memo->key);
        /* A page in limbo is on its way out: no cursor will come to it again. */
        if (!kept && page->limbo_stamp == 0 && memo_room(cache, memo->bytes)) {
                atomic_fetch_add(&cache->used_bytes, memo->bytes);
                atomic_fetch_add(&cache->memo_bytes, memo->bytes);
                atomic_store_explicit(&memo->hot, 0, memory_order_relaxed);
                memo->next = atomic_load(&page->memos);
                atomic_store(&page->memos, memo);
                kept = take(memo);
        }
        mutex_unlock(&cache->mu);
        if (memo)
                memo->free(memo);
        return kept;
}
