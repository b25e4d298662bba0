/* epoch.c - which snapshots read which version, and when what a commit replaced may be freed.
 *
 * A pin takes a slot: a cache line of its own that, as a rule, the same thread used before. So a point read writes one
 * line that no other core wants. The order that makes this safe (all sequentially consistent):
 *
 *      reader:  slot = ENTERING;  read table->root;  slot = PINNED at its version
 *      writer:  publish table->root;  ...;  look at all slots
 *
 * A writer that does not see ENTERING published before the reader read the root, so the reader has that root or a newer
 * one. While it sees one it frees nothing: the reader may hold any root. That state lasts a few instructions.
 *
 * An object lives for the versions [birth, death). It may go when no version in there is pinned. It is then enough to
 * ask the newest pin below `death`: if that one is older than `birth`, all others are. Garbage kept by a pin that has
 * outlived a whole scan is handed to that pin's Holder, and is not looked at again before the pin goes: a snapshot held
 * for an hour costs what it can still read, and no time. */
#include "storage/memory/memory_int.h"

#include <assert.h>
#include <stdlib.h>

#define FRESH_MIN_BYTES (16u << 10) /* less garbage is not worth a look at the slots */
#define FRESH_MAX_BYTES (512u << 10)
#define FRESH_HANDOVER  (1u << 20) /* more is handed to brief readers too, so that an idle table does not keep it */

static atomic_uint next_hint;
static _Thread_local unsigned slot_hint; /* where to look first, plus one */

/* --- slots --- */

static struct EngineSnapshot *slot_at(Engine *engine, unsigned i)
{
        return &atomic_load_explicit(&engine->chunks[i / SLOT_CHUNK], memory_order_acquire)[i % SLOT_CHUNK];
}

static Status slots_grow(Engine *engine, unsigned seen)
{
        Status st = ST_OK;
        mutex_lock(&engine->mu);
        unsigned n = atomic_load(&engine->slot_count);
        if (n == seen && n == SLOT_CHUNK * SLOT_CHUNKS) {
                st = status_new(ERR_LIMIT, "%u snapshots are open, the most that can be", n);
        } else if (n == seen) {
                size_t bytes = SLOT_CHUNK * sizeof(struct EngineSnapshot);
                void *memory = mem_zalloc(bytes + CACHE_LINE_BYTES);
                if (!memory) {
                        st = status_nomem();
                } else {
                        uintptr_t aligned =
                                ((uintptr_t)memory + CACHE_LINE_BYTES - 1) & ~(uintptr_t)(CACHE_LINE_BYTES - 1);
                        struct EngineSnapshot *slots = (struct EngineSnapshot *)aligned;
                        for (unsigned i = 0; i < SLOT_CHUNK; i++) {
                                slots[i].ops = engine->ops;
                                slots[i].index = n + i;
                        }
                        engine->chunk_memory[n / SLOT_CHUNK] = memory;
                        atomic_store_explicit(&engine->chunks[n / SLOT_CHUNK], slots, memory_order_release);
                        atomic_store(&engine->slot_count, n + SLOT_CHUNK);
                        atomic_fetch_add(&engine->memory_bytes, bytes + CACHE_LINE_BYTES);
                }
        }
        mutex_unlock(&engine->mu);
        return st;
}

Status slot_take(Engine *engine, struct EngineSnapshot **ret_slot)
{
        if (unlikely(slot_hint == 0))
                slot_hint = atomic_fetch_add(&next_hint, 1) % SLOT_CHUNK + 1;
        for (;;) {
                unsigned n = atomic_load(&engine->slot_count), start = slot_hint - 1;
                for (unsigned k = 0; k < n; k++) {
                        unsigned i = start + k < n ? start + k : (start + k) % n;
                        struct EngineSnapshot *slot = slot_at(engine, i);
                        uint64_t idle = SLOT_IDLE;
                        if (atomic_load_explicit(&slot->state, memory_order_relaxed) != SLOT_IDLE)
                                continue;
                        /* Before the slot is taken, so that whoever looks at the slots looks at this one. */
                        unsigned high = atomic_load(&engine->slot_high);
                        while (unlikely(high <= i) && !atomic_compare_exchange_weak(&engine->slot_high, &high, i + 1))
                                ;
                        if (!atomic_compare_exchange_strong(&slot->state, &idle, SLOT_ENTERING))
                                continue;
                        slot_hint = i + 1;
                        *ret_slot = slot;
                        return ST_OK;
                }
                TRY(slots_grow(engine, n));
        }
}

unsigned epoch_pin_count(Engine *engine, const EngineTable *table)
{
        unsigned pins = 0, high = atomic_load(&engine->slot_high);
        for (unsigned i = 0; i < high; i++) {
                struct EngineSnapshot *slot = slot_at(engine, i);
                if (atomic_load(&slot->state) > SLOT_ENTERING && (!table || atomic_load(&slot->table) == table))
                        pins++;
        }
        return pins;
}

/* --- garbage --- */

static bool garbage_add(GarbageList *list, uintptr_t tagged, uint64_t death)
{
        if (list->count == list->capacity) {
                size_t capacity = MAX(2 * list->capacity, (size_t)64);
                Garbage *items = mem_realloc(list->items, capacity * sizeof(Garbage));
                if (!items)
                        return false;
                list->items = items;
                list->capacity = capacity;
        }
        list->items[list->count++] = (Garbage){tagged, death};
        return true;
}

/* How much of it is worth a look: a tree that was cleared, at once. */
static size_t garbage_weight(uintptr_t tagged)
{
        return (tagged & GARBAGE_MASK) == GARBAGE_CLEARED ? FRESH_HANDOVER + 1 : garbage_bytes(tagged);
}

Status garbage_push(EngineWrite *write, void *object, GarbageKind kind)
{
        uintptr_t tagged = (uintptr_t)object | kind;
        if (!garbage_add(&write->table->fresh, tagged, write->version))
                return status_nomem();
        write->garbage_bytes += garbage_weight(tagged);
        return ST_OK;
}

static void doom(EngineTable *table, Cleared *cleared)
{
        mutex_lock(&table->engine->mu);
        cleared->next = table->doomed;
        table->doomed = cleared;
        atomic_store_explicit(&table->has_doomed, true, memory_order_release);
        mutex_unlock(&table->engine->mu);
}

bool epoch_free_doomed(EngineTable *table, size_t most_nodes)
{
        size_t freed = 0;
        for (Cleared *cleared; (cleared = table->doomed) && most_nodes > 0;) {
                freed += node_free_some(table, &cleared->top, &most_nodes);
                if (cleared->top)
                        break;
                table->doomed = cleared->next;
                freed += garbage_bytes((uintptr_t)cleared | GARBAGE_CLEARED);
                mem_free(cleared);
        }
        if (!table->doomed)
                atomic_store_explicit(&table->has_doomed, false, memory_order_relaxed);
        table_account(table, -(int64_t)freed);
        return table->doomed != NULL;
}

static bool doomed_free(EngineTable *table, size_t most_nodes)
{
        if (likely(!atomic_load_explicit(&table->has_doomed, memory_order_acquire)))
                return false;
        mutex_lock(&table->engine->mu);
        bool more = epoch_free_doomed(table, most_nodes);
        mutex_unlock(&table->engine->mu);
        return more;
}

size_t garbage_free(EngineTable *table, uintptr_t tagged, bool writer)
{
        void *object = (void *)(tagged & ~GARBAGE_MASK);
        GarbageKind kind = (GarbageKind)(tagged & GARBAGE_MASK);
        if (kind == GARBAGE_CLEARED) {
                doom(table, object);
                return 0;
        }
        if (writer && (kind == GARBAGE_LEAF || kind == GARBAGE_INNER)) {
                /* A small table keeps few nodes for its next writes, a large one up to NODE_CACHE_MAX of each kind. */
                NodeCache *cache = kind == GARBAGE_LEAF ? &table->leaves : &table->inners;
                size_t most = atomic_load_explicit(&table->memory_bytes, memory_order_relaxed) >> 16;
                if (cache->count < MIN(most, (size_t)NODE_CACHE_MAX)) {
                        cache->nodes[cache->count++] = object;
                        return 0;
                }
        }
        size_t bytes = garbage_bytes(tagged);
        mem_free(object);
        return bytes;
}

void table_account(EngineTable *table, int64_t bytes)
{
        if (bytes) {
                atomic_fetch_add_explicit(&table->memory_bytes, (size_t)bytes, memory_order_relaxed);
                atomic_fetch_add_explicit(&table->engine->memory_bytes, (size_t)bytes, memory_order_relaxed);
        }
}

/* --- reclaiming --- */

static int pin_compare(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
        return (x > y) - (x < y);
}

#define PIN_LONG ((uint64_t)1) /* low bit of table->pins[]: the pin takes over garbage */

/* Fills table->pins with the pinned versions, ascending, each once: version << 1, plus PIN_LONG where every pin of that
 * version is marked as holding. False if nothing can be said now: a reader is entering, or there is no memory for the
 * list. */
static bool pins_collect(EngineTable *table, bool all_long, size_t *ret_count) REQUIRES(table->gc_mu)
{
        Engine *engine = table->engine;
        size_t n = 0;
        unsigned high = atomic_load(&engine->slot_high);
        for (unsigned i = 0; i < high; i++) {
                struct EngineSnapshot *slot = slot_at(engine, i);
                uint64_t state = atomic_load(&slot->state), flag = 0;
                for (;;) {
                        if (state == SLOT_IDLE)
                                break;
                        if (state == SLOT_ENTERING) {
                                /* Not this table's if it is dropped: nobody may pin it any more. */
                                if (table->dropped)
                                        break;
                                return false;
                        }
                        if (atomic_load(&slot->table) != table)
                                break;
                        uint64_t version = state >> 2;
                        if (!all_long && version > table->scan_version)
                                break;
                        flag = PIN_LONG;
                        if ((state & 3) == SLOT_HOLDING ||
                            atomic_compare_exchange_strong(&slot->state, &state, version << 2 | SLOT_HOLDING))
                                break;
                        flag = 0; /* the slot moved on while we looked: look again */
                }
                if (state <= SLOT_ENTERING || atomic_load(&slot->table) != table)
                        continue;
                if (n == table->pin_capacity) {
                        size_t capacity = MAX(2 * table->pin_capacity, (size_t)16);
                        uint64_t *pins = mem_realloc(table->pins, capacity * sizeof(uint64_t));
                        if (!pins)
                                return false;
                        table->pins = pins;
                        table->pin_capacity = capacity;
                }
                table->pins[n++] = state >> 2 << 1 | flag;
        }
        if (n > 1)
                qsort(table->pins, n, sizeof(uint64_t), pin_compare);
        size_t kept = 0;
        for (size_t i = 0; i < n; i++) {
                /* Of one version, a pin without the mark sorts first: it decides. */
                if (kept == 0 || table->pins[kept - 1] >> 1 != table->pins[i] >> 1)
                        table->pins[kept++] = table->pins[i];
        }
        *ret_count = kept;
        return true;
}

/* The newest pinned version below `death`; false if there is none. */
static bool pin_below(const EngineTable *table, size_t count, uint64_t death, uint64_t *ret_pin) REQUIRES(table->gc_mu)
{
        size_t low = 0;
        while (low < count) {
                size_t middle = (low + count) / 2;
                if (table->pins[middle] >> 1 < death)
                        low = middle + 1;
                else
                        count = middle;
        }
        if (low == 0)
                return false;
        *ret_pin = table->pins[low - 1];
        return true;
}

static Holder *holder_find(EngineTable *table, uint64_t version) REQUIRES(table->gc_mu)
{
        size_t low = 0, high = table->holder_count;
        while (low < high) {
                size_t middle = (low + high) / 2;
                if (table->holders[middle].version < version)
                        low = middle + 1;
                else
                        high = middle;
        }
        if (low < table->holder_count && table->holders[low].version == version)
                return &table->holders[low];
        if (table->holder_count == table->holder_capacity) {
                size_t capacity = MAX(2 * table->holder_capacity, (size_t)8);
                Holder *holders = mem_realloc(table->holders, capacity * sizeof(Holder));
                if (!holders)
                        return NULL;
                table->holders = holders;
                table->holder_capacity = capacity;
        }
        memmove(&table->holders[low + 1], &table->holders[low], (table->holder_count - low) * sizeof(Holder));
        table->holder_count++;
        table->holders[low] = (Holder){.version = version};
        return &table->holders[low];
}

/* Frees, hands over or keeps each of `list`; what is kept moves to its front. */
static int64_t list_sift(EngineTable *table, size_t pin_count, GarbageList *list, bool writer) REQUIRES(table->gc_mu)
{
        size_t kept = 0;
        int64_t freed = 0;
        Holder *last = NULL;
        for (size_t i = 0; i < list->count; i++) {
                Garbage item = list->items[i];
                uint64_t birth = *(const uint64_t *)(item.tagged & ~GARBAGE_MASK), pin;
                if (!pin_below(table, pin_count, item.death, &pin) || pin >> 1 < birth) {
                        freed += (int64_t)garbage_free(table, item.tagged, writer);
                        continue;
                }
                if (pin & PIN_LONG) {
                        if (!last || last->version != pin >> 1)
                                last = holder_find(table, pin >> 1);
                        if (last && garbage_add(&last->list, item.tagged, item.death))
                                continue;
                }
                list->items[kept++] = item;
        }
        list->count = kept;
        if (kept == 0 && list->capacity > 4096) {
                mem_free(list->items);
                *list = (GarbageList){0};
        }
        return freed;
}

/* What snapshots that are gone by now were holding. */
static int64_t holders_sift(EngineTable *table, size_t pin_count, bool writer) REQUIRES(table->gc_mu)
{
        int64_t freed = 0;
        for (size_t i = table->holder_count; i-- > 0;) {
                uint64_t version = table->holders[i].version, pin;
                if (pin_below(table, pin_count, version + 1, &pin) && pin >> 1 == version)
                        continue;
                /* Out of the array first: sifting may insert holders for older pins. */
                GarbageList list = table->holders[i].list;
                memmove(&table->holders[i], &table->holders[i + 1], (table->holder_count - i - 1) * sizeof(Holder));
                table->holder_count--;
                freed += list_sift(table, pin_count, &list, writer);
                if (list.count > 0) {
                        /* No memory to hand them over: an own place for them again, which exists as one was just
                         * removed. */
                        Holder *again = holder_find(table, version);
                        assert(again && again->list.count == 0);
                        again->list = list;
                } else {
                        mem_free(list.items);
                }
                if (i > table->holder_count)
                        i = table->holder_count;
        }
        return freed;
}

/* Under gc_mu, which it gives up. A dropped table without readers is freed whole. */
static void reclaim_and_unlock(EngineTable *table, bool writer) RELEASE(table->gc_mu) NO_TSA
{
        size_t pins = 0;
        bool known = pins_collect(table, table->dropped || (writer && table->fresh_bytes > FRESH_HANDOVER), &pins);
        if (known && table->dropped) {
                if (pins == 0) {
                        mutex_unlock(&table->gc_mu);
                        memory_table_free(table);
                        return;
                }
        } else if (known) {
                int64_t freed = holders_sift(table, pins, writer);
                if (writer) {
                        freed += list_sift(table, pins, &table->fresh, true);
                        table->fresh_bytes = 0;
                        for (size_t i = 0; i < table->fresh.count && table->fresh_bytes <= FRESH_HANDOVER; i++)
                                table->fresh_bytes += garbage_weight(table->fresh.items[i].tagged);
                        table->scan_version = atomic_load(&table->root)->version;
                }
                table_account(table, -freed);
        }
        /* Who ends a snapshot gives back what it held; a writer has no time for more than a little. */
        while (!writer && !table->dropped && doomed_free(table, DOOMED_NODES))
                ;
        atomic_store_explicit(&table->gc_busy, false, memory_order_relaxed);
        mutex_unlock(&table->gc_mu);
}

void epoch_reclaim(EngineTable *table, bool writer)
{
        mutex_lock(&table->gc_mu);
        atomic_store_explicit(&table->gc_busy, true, memory_order_relaxed);
        reclaim_and_unlock(table, writer);
}

void slot_unpin(struct EngineSnapshot *slot) NO_TSA
{
        uint64_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);
        slot_hint = slot->index + 1;
        if ((state & 3) == SLOT_PINNED &&
            atomic_compare_exchange_strong_explicit(&slot->state, &state, SLOT_IDLE, memory_order_release,
                                                    memory_order_relaxed))
                return;
        /* It holds garbage. The table cannot go before the slot is idle, so it is locked first. */
        EngineTable *table = atomic_load_explicit(&slot->table, memory_order_relaxed);
        assert((state & 3) == SLOT_HOLDING);
        atomic_store_explicit(&table->gc_busy, true, memory_order_relaxed);
        mutex_lock(&table->gc_mu);
        atomic_store(&slot->state, SLOT_IDLE);
        reclaim_and_unlock(table, false);
}

void epoch_tidy(EngineTable *table)
{
        doomed_free(table, DOOMED_NODES / 4);
        size_t worth =
                MAX(atomic_load_explicit(&table->memory_bytes, memory_order_relaxed) / 16, (size_t)FRESH_MIN_BYTES);
        worth = MIN(worth, (size_t)FRESH_MAX_BYTES);
        /* Many slots make the look dearer. */
        worth = MAX(worth, (size_t)atomic_load_explicit(&table->engine->slot_high, memory_order_relaxed) * 64);
        if (table->fresh_bytes < worth || atomic_load_explicit(&table->gc_busy, memory_order_relaxed))
                return;
        epoch_reclaim(table, true);
}
