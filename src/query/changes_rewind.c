/* changes_rewind.c - see changes_rewind.h.
 *
 *      {key, value[, index value]} -> rows then less rows now:     1: it went since     -1: it came since
 */
#include "query/changes_rewind.h"

#include <stdlib.h>

#include "base/mem.h"
#include "query/changes_state_int.h"

#define MEMORY_SHARE 4 /* of the query's memory */

typedef struct RewoundRow {
        MapEntry entry;
        int64_t count, left; /* left: of this pass */
        uint64_t pass;
} RewoundRow;

struct Rewind {
        const QueryWorld *world;
        Feed *feed;
        FeedPlace since, until; /* until: as said last */
        bool by_index;          /* the index value says which row it is, too: spec.tell_moves */
        StateHeap heap;
        size_t kept_before;
        StateMap map;
        int64_t surplus;
        /* Those that went, in order; made when all is read. */
        RewoundRow **gone;
        size_t gone_count, gone_capacity;
        /* the pass */
        uint64_t pass;
        int order;
        size_t from, to, next;
};

/* --- opening, closing --- */

Status rewind_open(Env *env, const FeedSpec *spec, const char *user, const FeedPlace *since, Rewind **ret_rewind)
{
        const FeedOptions options = {.since = since, .user = user};
        Rewind *rewind = mem_zalloc(sizeof *rewind);
        if (!rewind)
                return status_nomem();
        rewind->world = env->world;
        rewind->since = *since;
        rewind->by_index = spec->tell_moves && spec->index.data;
        rewind->heap.env = env;
        rewind->kept_before = env->kept_bytes;
        rewind->map.entry_bytes = sizeof(RewoundRow);
        const FeedSource *source = env->world->feeds;
        Status st = source->open(source->ctx, spec, &options, &rewind->feed);
        if (st)
                rewind = rewind_close(rewind);
        *ret_rewind = rewind;
        return st;
}

static void close_feed(Rewind *rewind)
{
        if (rewind->feed)
                rewind->world->feeds->close(take(rewind->feed));
}

Rewind *rewind_close(Rewind *rewind)
{
        if (!rewind)
                return NULL;
        close_feed(rewind);
        state_heap_free(&rewind->heap, rewind->gone, rewind->gone_capacity * sizeof *rewind->gone);
        state_map_free(&rewind->map, &rewind->heap, NULL, NULL);
        mem_free(rewind);
        return NULL;
}

FeedPlace rewind_since(const Rewind *rewind)
{
        return rewind->since;
}

int64_t rewind_surplus(const Rewind *rewind)
{
        return rewind->surplus;
}

/* --- reading --- */

static Value row_of(const Rewind *rewind, Value *parts, Value key, Value value, Value index)
{
        parts[0] = key;
        parts[1] = value;
        parts[2] = index;
        return value_array(parts, rewind->by_index ? 3 : 2);
}

static Status add(Rewind *rewind, Value key, Value value, Value index, int64_t by)
{
        Value parts[3];
        MapEntry *entry;
        if (value_is(value, V_NONE))
                return ST_OK;
        TRY(state_map_get(&rewind->map, &rewind->heap, row_of(rewind, parts, key, value, index), &entry));
        RewoundRow *row = (RewoundRow *)entry;
        row->count += by;
        rewind->surplus += by;
        if (row->count == 0)
                state_map_remove(&rewind->map, &rewind->heap, entry);
        return ST_OK;
}

static Status undo(Rewind *rewind, const FeedEvent *event)
{
        TRY(add(rewind, event->key, event->old_value, event->old_index, 1));
        return add(rewind, event->key, event->new_value, event->new_index, -1);
}

static Status too_much(void)
{
        return status_new(ERR_NOT_FOUND, "More changed since than a query may remember.");
}

static Status check_memory(const Rewind *rewind, const Env *env)
{
        size_t max = env->world->memory_max_bytes;
        return max && env->kept_bytes > rewind->kept_before + max / MEMORY_SHARE ? too_much() : ST_OK;
}

static Value part(const RewoundRow *row, size_t i)
{
        return value_at(row->entry.key, i);
}

static Value place_of(const Rewind *rewind, const RewoundRow *row)
{
        return part(row, rewind->by_index ? 2 : 0);
}

static int compare_by_key(const void *a, const void *b)
{
        return value_compare(part(*(RewoundRow *const *)a, 0), part(*(RewoundRow *const *)b, 0));
}

static int compare_by_index(const void *a, const void *b)
{
        int order = value_compare(part(*(RewoundRow *const *)a, 2), part(*(RewoundRow *const *)b, 2));
        return order ? order : compare_by_key(a, b);
}

static Status sort_gone(Rewind *rewind)
{
        for (size_t i = 0; i < rewind->map.slot_count; i++) {
                for (MapEntry *entry = rewind->map.slots[i]; entry; entry = entry->next) {
                        if (((RewoundRow *)entry)->count < 0)
                                continue;
                        TRY(state_heap_grow(&rewind->heap, &rewind->gone, sizeof *rewind->gone, rewind->gone_count,
                                            &rewind->gone_capacity));
                        rewind->gone[rewind->gone_count++] = (RewoundRow *)entry;
                }
        }
        if (rewind->gone_count)
                qsort(rewind->gone, rewind->gone_count, sizeof *rewind->gone,
                      rewind->by_index ? compare_by_index : compare_by_key);
        return ST_OK;
}

static bool has_come_to(Rewind *rewind, const FeedPlace *until)
{
        FeedPlace place = rewind->world->feeds->place(rewind->feed);
        return place.position > until->position || (place.position == until->position && place.index >= until->index);
}

static Status read_on(Rewind *rewind, Env *env, Arena *hold, bool last, bool *ret_done)
{
        const FeedPlace *until = &rewind->until;
        for (;;) {
                FeedEvent event;
                bool found;
                TRY(env_poll(env));
                TRY(check_memory(rewind, env));
                *ret_done = has_come_to(rewind, until);
                if (*ret_done)
                        return ST_OK;
                arena_reset(hold);
                TRY(rewind->world->feeds->next(rewind->feed, hold, &event, &found));
                if (!found) {
                        *ret_done = has_come_to(rewind, until);
                        return ST_OK;
                }
                if (event.kind == FEED_IDLE)
                        continue;
                *ret_done = last && event.kind != FEED_LOST && event.place.position > until->position;
                if (*ret_done)
                        return ST_OK;
                if (event.kind != FEED_CHANGE)
                        return status_new(ERR_NOT_FOUND, "The rows of that moment cannot be had.");
                TRY(undo(rewind, &event));
        }
}

Status rewind_read(Rewind *rewind, Env *env, const FeedPlace *until, bool last, bool *ret_done)
{
        *ret_done = !rewind->feed;
        if (*ret_done)
                return ST_OK;
        rewind->until = *until;
        Scratch *scratch = scratch_get(env);
        Status st = read_on(rewind, env, &scratch->arena, last, ret_done);
        scratch_put(scratch);
        if (!st && *ret_done && last) {
                close_feed(rewind);
                st = sort_gone(rewind);
        }
        if (status_code(st) == ERR_RESOURCE) {
                status_ignore(st);
                st = too_much();
        }
        return st;
}

void rewind_watch(Rewind *rewind, void (*ready)(void *ctx), void *ctx)
{
        if (rewind->feed)
                rewind->world->feeds->watch(rewind->feed, ready, ctx, INT64_MAX, rewind->until.position);
}

/* --- a pass --- */

/* The first of those that went whose place is not below (`above`: is above) `v`. */
static size_t find_place(const Rewind *rewind, Value v, bool above)
{
        size_t from = 0, to = rewind->gone_count;
        while (from < to) {
                size_t middle = from + (to - from) / 2;
                int order = value_compare(place_of(rewind, rewind->gone[middle]), v);
                if (order < 0 || (above && order == 0))
                        from = middle + 1;
                else
                        to = middle;
        }
        return from;
}

void rewind_begin(Rewind *rewind, const Value *only, int order)
{
        rewind->pass++;
        rewind->order = order;
        rewind->next = 0;
        rewind->from = only ? find_place(rewind, *only, false) : 0;
        rewind->to = only ? find_place(rewind, *only, true) : rewind->gone_count;
}

static void touch(const Rewind *rewind, RewoundRow *row)
{
        if (row->pass == rewind->pass)
                return;
        row->pass = rewind->pass;
        row->left = row->count;
}

bool rewind_skips(Rewind *rewind, const ChangesRow *row)
{
        Value parts[3];
        if (row->error)
                return false;
        RewoundRow *rewound =
                (RewoundRow *)state_map_find(&rewind->map, row_of(rewind, parts, row->key, row->value, row->index));
        if (!rewound)
                return false;
        touch(rewind, rewound);
        if (rewound->left >= 0)
                return false;
        rewound->left++;
        return true;
}

static bool comes_before(const Rewind *rewind, const RewoundRow *gone, const ChangesRow *row)
{
        int order = value_compare(place_of(rewind, gone), rewind->by_index ? row->index : row->key);
        if (order == 0)
                order = value_compare(part(gone, 0), row->key);
        return (rewind->order < 0 ? -order : order) < 0;
}

bool rewind_next(Rewind *rewind, const ChangesRow *row, ChangesRow *ret_row)
{
        if (rewind->next == rewind->to - rewind->from || (row && !rewind->order))
                return false;
        RewoundRow *gone =
                rewind->gone[rewind->order < 0 ? rewind->to - 1 - rewind->next : rewind->from + rewind->next];
        if (row && !comes_before(rewind, gone, row))
                return false;
        touch(rewind, gone);
        if (--gone->left == 0)
                rewind->next++;
        *ret_row = (ChangesRow){
                .key = part(gone, 0), .value = part(gone, 1), .index = rewind->by_index ? part(gone, 2) : value_none()};
        return true;
}
