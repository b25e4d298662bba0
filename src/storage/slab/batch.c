/* batch.c - extents that a saved state of an older version has to show as free: those of batches that run, and of ones
 * that were committed at a later version. Both are lists of extents only; the layout has them as live all the time, and
 * shows them otherwise while it is saved.
 *
 *      running   batch -> batch -> ..                            | extents |
 *      groups    | version 7, end 3 | version 9, end 4 | ..      by version
 *      extents   | a  b  c | d | ..                              dropped from the front when a checkpoint has them */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "storage/slab/space_int.h"

#define KEEP_BIRTHS 4096 /* room that is kept when few are left */

void births_done(Births *births)
{
        assert(!births->running);
        mem_free(births->extents);
        mem_free(births->groups);
        *births = (Births){0};
}

static Status array_reserve(void *items, size_t *capacity, size_t needed, size_t item_bytes)
{
        if (likely(needed <= *capacity))
                return ST_OK;
        size_t wider = MAX(MAX(needed, *capacity * 2), (size_t)16);
        void *grown = mem_realloc(*(void **)items, wider * item_bytes);
        if (!grown)
                return status_nomem();
        *(void **)items = grown;
        *capacity = wider;
        return ST_OK;
}

Status births_begin(Births *births, SpaceBatch *batch)
{
        TRY(array_reserve(&births->groups, &births->group_capacity, births->group_count + births->running_count + 1,
                          sizeof(BirthGroup)));
        births->running_count++;
        batch->next = births->running;
        if (batch->next)
                batch->next->prev = batch;
        births->running = batch;
        return ST_OK;
}

static void births_end(Births *births, SpaceBatch *batch)
{
        births->promised -= batch->count;
        births->running_count--;
        *(batch->prev ? &batch->prev->next : &births->running) = batch->next;
        if (batch->next)
                batch->next->prev = batch->prev;
}

Status births_reserve(Births *births, SpaceBatch *batch)
{
        TRY(array_reserve(&batch->extents, &batch->capacity, batch->count + 1, sizeof(Extent)));
        return array_reserve(&births->extents, &births->capacity, births->count + births->promised + 1, sizeof(Extent));
}

void births_add(Births *births, SpaceBatch *batch, Extent extent)
{
        assert(batch->count < batch->capacity);
        batch->extents[batch->count++] = extent;
        births->promised++;
}

void births_cut(Births *births, SpaceBatch *batch, size_t count)
{
        births->promised -= batch->count - count;
        batch->count = count;
}

void births_forget(Births *births, SpaceBatch *batch)
{
        size_t kept = 0;
        for (size_t i = 0; i < batch->count; i++) {
                size_t low = 0, high = batch->dead_count;
                while (low < high) {
                        size_t middle = (low + high) / 2;
                        if (batch->dead[middle] < batch->extents[i])
                                low = middle + 1;
                        else
                                high = middle;
                }
                if (low == batch->dead_count || batch->dead[low] != batch->extents[i])
                        batch->extents[kept++] = batch->extents[i];
        }
        assert(batch->count - kept == batch->dead_count); /* all were the batch's, none twice */
        births_cut(births, batch, kept);
}

void births_commit(Births *births, SpaceBatch *batch, uint64_t version)
{
        size_t at = births->group_count, count = batch->count;
        births_end(births, batch);
        if (count == 0)
                return;
        /* Commits nearly always come in order of their versions. */
        while (at > 0 && births->groups[at - 1].version > version)
                at--;
        size_t start = at ? births->groups[at - 1].end : 0;
        memmove(births->extents + start + count, births->extents + start, (births->count - start) * sizeof(Extent));
        memcpy(births->extents + start, batch->extents, count * sizeof(Extent));
        births->count += count;
        if (at > 0 && births->groups[at - 1].version == version) {
                births->groups[at - 1].end += count;
        } else {
                memmove(births->groups + at + 1, births->groups + at, (births->group_count - at) * sizeof(BirthGroup));
                births->groups[at++] = (BirthGroup){version, start + count};
                births->group_count++;
        }
        for (; at < births->group_count; at++)
                births->groups[at].end += count;
}

void births_abort(Births *births, SpaceBatch *batch)
{
        assert(batch->count == 0);
        births_end(births, batch);
}

/* The array with room for what it has and what is promised; without memory it stays as large as it is. */
static void array_shrink(void *items, size_t *capacity, size_t needed, size_t item_bytes)
{
        size_t narrow = MAX(2 * needed, (size_t)KEEP_BIRTHS);
        if (*capacity <= 2 * narrow)
                return;
        void *shrunk = mem_realloc(*(void **)items, narrow * item_bytes);
        if (!shrunk)
                return;
        *(void **)items = shrunk;
        *capacity = narrow;
}

void births_drop(Births *births, uint64_t version)
{
        size_t gone = 0;
        while (gone < births->group_count && births->groups[gone].version <= version)
                gone++;
        if (gone == 0)
                return;
        size_t end = births->groups[gone - 1].end;
        births->count -= end;
        births->group_count -= gone;
        memmove(births->extents, births->extents + end, births->count * sizeof(Extent));
        memmove(births->groups, births->groups + gone, births->group_count * sizeof(BirthGroup));
        for (size_t i = 0; i < births->group_count; i++)
                births->groups[i].end -= end;
        array_shrink(&births->extents, &births->capacity, births->count + births->promised, sizeof(Extent));
        array_shrink(&births->groups, &births->group_capacity, births->group_count + births->running_count,
                     sizeof(BirthGroup));
}

void births_hide(const Births *births, Layout *layout, uint64_t version, bool hide)
{
        size_t low = 0, high = births->group_count;
        while (low < high) {
                size_t middle = (low + high) / 2;
                if (births->groups[middle].version <= version)
                        low = middle + 1;
                else
                        high = middle;
        }
        size_t start = low ? births->groups[low - 1].end : 0;
        if (births->count > start)
                layout_hide(layout, births->extents + start, births->count - start, hide);
        for (const SpaceBatch *batch = births->running; batch; batch = batch->next)
                layout_hide(layout, batch->extents, batch->count, hide);
}
