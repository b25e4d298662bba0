/* match_hash.c - owners by hash. */
#include "feed/match_hash.h"

#include <assert.h>

#include "base/mem.h"

#define SLOTS_MIN 8

void match_hash_done(MatchHash *table)
{
        mem_free(table->slots);
        *table = (MatchHash){0};
}

static MatchEntry **slot_of(MatchEntry **slots, size_t slot_count, uint64_t hash)
{
        return &slots[hash & (slot_count - 1)];
}

static Status resize(MatchHash *table, size_t slot_count)
{
        MatchEntry **slots = mem_zalloc(slot_count * sizeof(MatchEntry *));
        if (!slots)
                return status_nomem();
        for (size_t i = 0; i < table->slot_count; i++)
                for (MatchEntry *entry = table->slots[i], *next; entry; entry = next) {
                        MatchEntry **slot = slot_of(slots, slot_count, entry->hash);
                        next = entry->chain;
                        entry->chain = *slot;
                        *slot = entry;
                }
        mem_free(table->slots);
        table->slots = slots;
        table->slot_count = slot_count;
        return ST_OK;
}

MatchEntry *match_hash_find(const MatchHash *table, uint64_t hash)
{
        if (!table->slot_count)
                return NULL;
        MatchEntry *entry = *slot_of(table->slots, table->slot_count, hash);
        while (entry && entry->hash != hash)
                entry = entry->chain;
        return entry;
}

/* Behind the first of its hash: the chain of the slot need not be touched. */
Status match_hash_add(MatchHash *table, MatchEntry *entry)
{
        MatchEntry *first = match_hash_find(table, entry->hash);
        entry->previous = first;
        entry->next = first ? first->next : NULL;
        entry->chain = NULL;
        if (first) {
                if (first->next)
                        first->next->previous = entry;
                first->next = entry;
                return ST_OK;
        }
        if (table->hash_count == table->slot_count)
                TRY(resize(table, table->slot_count ? 2 * table->slot_count : SLOTS_MIN));
        MatchEntry **slot = slot_of(table->slots, table->slot_count, entry->hash);
        entry->chain = *slot;
        *slot = entry;
        table->hash_count++;
        return ST_OK;
}

void match_hash_remove(MatchHash *table, MatchEntry *entry)
{
        if (entry->next)
                entry->next->previous = entry->previous;
        if (entry->previous) {
                entry->previous->next = entry->next;
                return;
        }
        MatchEntry **at = slot_of(table->slots, table->slot_count, entry->hash);
        while (*at != entry) {
                assert(*at); /* it was filed */
                at = &(*at)->chain;
        }
        if (entry->next) { /* takes its place */
                entry->next->chain = entry->chain;
                *at = entry->next;
                return;
        }
        *at = entry->chain;
        table->hash_count--;
        /* Without memory it stays as large as it is. */
        if (table->slot_count > SLOTS_MIN && table->hash_count < table->slot_count / 8)
                status_ignore(resize(table, table->slot_count / 4 < SLOTS_MIN ? SLOTS_MIN : table->slot_count / 4));
}

void match_hash_each(const MatchHash *table, void (*each)(void *ctx, void *owner), void *ctx)
{
        for (size_t i = 0; i < table->slot_count; i++)
                for (MatchEntry *first = table->slots[i]; first; first = first->chain)
                        for (MatchEntry *entry = first; entry; entry = entry->next)
                                each(ctx, entry->owner);
}
