/* changes_feeds.c - see changes_feeds.h. */
#include "query/changes_feeds.h"

#include <stdatomic.h>

#include "base/mem.h"

typedef struct Ahead { /* the next event of one of several feeds */
        bool is_there;
        FeedEvent event;
        Arena arena;
} Ahead;

typedef struct SetFeed {
        Feed *feed; /* NULL: closed */
        TableRef *table;
        FeedPlace told, seen;
        uint64_t wanted; /* where it has to come to before another's event is the next one; 0: nobody waits for it */
} SetFeed;

struct FeedSet {
        const QueryWorld *world;
        const FeedSource *source;
        Ahead *ahead; /* one for each of several feeds; NULL: there is one feed */
        void (*ready)(void *ctx);
        void *ready_ctx;
        atomic_bool watched;
        uint8_t count;
        SetFeed feeds[];
};

/* --- opening, closing --- */

Status feed_set_new(const QueryWorld *world, const FeedSpec *specs, size_t count, FeedSet **ret_set)
{
        FeedSet *set = mem_zalloc(sizeof *set + count * sizeof set->feeds[0]);
        if (set && count > 1)
                set->ahead = mem_zalloc(count * sizeof *set->ahead);
        if (!set || (count > 1 && !set->ahead)) {
                mem_free(set);
                return status_nomem();
        }
        set->world = world;
        set->source = world->feeds;
        set->count = (uint8_t)count;
        atomic_init(&set->watched, false);
        for (size_t i = 0; i < count; i++)
                set->feeds[i].table = world->source->table_ref(specs[i].table);
        *ret_set = set;
        return ST_OK;
}

void feed_set_close(FeedSet *set)
{
        for (size_t i = 0; i < set->count; i++) {
                if (set->feeds[i].feed)
                        set->source->close(set->feeds[i].feed);
                set->feeds[i].feed = NULL;
        }
}

FeedSet *feed_set_free(FeedSet *set)
{
        if (!set)
                return NULL;
        feed_set_close(set);
        for (size_t i = 0; i < set->count; i++)
                set->world->source->table_unref(set->feeds[i].table);
        for (size_t i = 0; set->ahead && i < set->count; i++)
                arena_done(&set->ahead[i].arena);
        mem_free(set->ahead);
        mem_free(set);
        return NULL;
}

Status feed_set_open(FeedSet *set, const FeedSpec *specs, const FeedOptions *how, const FeedPlace *since)
{
        for (size_t i = 0; i < set->count; i++) {
                SetFeed *feed = &set->feeds[i];
                FeedOptions options = *how;
                options.since = since ? &since[i] : NULL;
                TRY(set->source->open(set->source->ctx, &specs[i], &options, &feed->feed));
                feed->told = feed->seen = set->source->place(feed->feed);
        }
        return ST_OK;
}

size_t feed_set_count(const FeedSet *set)
{
        return set->count;
}

TableRef *feed_set_table(const FeedSet *set, size_t i)
{
        return set->feeds[i].table;
}

bool feed_set_is_long(const FeedSet *set)
{
        for (size_t i = 0; i < set->count; i++)
                if (set->source->is_long(set->feeds[i].feed))
                        return true;
        return false;
}

size_t feed_set_bytes(const FeedSet *set)
{
        size_t bytes = sizeof *set + set->count * sizeof set->feeds[0];
        for (size_t i = 0; i < set->count; i++)
                bytes += set->source->memory_bytes(set->feeds[i].feed);
        for (size_t i = 0; set->ahead && i < set->count; i++)
                bytes += sizeof *set->ahead + set->ahead[i].arena.total_bytes;
        return bytes;
}

/* --- waiting --- */

static void on_ready(void *ctx)
{
        FeedSet *set = ctx;
        if (atomic_exchange(&set->watched, false)) /* of several feeds only the first */
                set->ready(set->ready_ctx);
}

void feed_set_watch(FeedSet *set, void (*ready)(void *ctx), void *ctx, int64_t deadline_ns,
                    void (*batch_ready)(void *batch_ctx), void *batch_ctx)
{
        atomic_store(&set->watched, false);
        for (size_t i = 0; i < set->count; i++)
                set->source->watch(set->feeds[i].feed, NULL, NULL, INT64_MAX, 0);
        if (!ready)
                return;
        set->ready = ready;
        set->ready_ctx = ctx;
        atomic_store(&set->watched, true);
        for (size_t i = 0; i < set->count; i++) {
                if (set->ahead && set->ahead[i].is_there)
                        continue;
                if (set->source->set_batch)
                        set->source->set_batch(set->feeds[i].feed, batch_ready, batch_ctx);
                set->source->watch(set->feeds[i].feed, on_ready, set, deadline_ns, set->feeds[i].wanted);
        }
}

/* --- events, in the order of commits --- */

static void copy_event(FeedEvent *event, Arena *arena)
{
        Value *const values[] = {&event->key, &event->old_value, &event->new_value, &event->old_index,
                                 &event->new_index};
        for (size_t i = 0; i < ELEMENTS(values); i++)
                if (!value_is(*values[i], V_NONE))
                        *values[i] = value_copy(*values[i], arena);
        if (event->error)
                event->error = arena_dup(arena, event->error, strlen(event->error));
}

static Status look_ahead(FeedSet *set, Env *env)
{
        for (bool more = true; more;) {
                more = false;
                for (size_t i = 0; i < set->count; i++) {
                        Ahead *ahead = &set->ahead[i];
                        if (ahead->is_there)
                                continue;
                        arena_reset(&ahead->arena);
                        ahead->arena.max_bytes = env->query_arena->max_bytes;
                        ahead->arena.oom = env->query_arena->oom;
                        ahead->arena.oom_ctx = env->query_arena->oom_ctx;
                        TRY(set->source->next(set->feeds[i].feed, &ahead->arena, &ahead->event, &ahead->is_there));
                        more |= ahead->is_there;
                }
        }
        return ST_OK;
}

static bool is_before(const FeedPlace *a, const FeedPlace *b)
{
        return a->position < b->position;
}

/* May a feed that stands at `place` still give something of the commit at `position`, or of one before it? */
static bool is_behind(const FeedPlace *place, uint64_t position)
{
        return place->position < position || (place->position == position && place->index != UINT32_MAX);
}

/* The oldest of the next events; set->count: there is none, or another feed may still give an older one. */
static size_t oldest_ahead(FeedSet *set)
{
        size_t oldest = set->count;
        bool blocked = false;
        for (size_t i = 0; i < set->count; i++)
                if (set->ahead[i].is_there &&
                    (oldest == set->count || is_before(&set->ahead[i].event.place, &set->ahead[oldest].event.place)))
                        oldest = i;
        for (size_t i = 0; i < set->count; i++) {
                SetFeed *feed = &set->feeds[i];
                feed->wanted = 0;
                if (set->ahead[i].is_there || oldest == set->count)
                        continue;
                FeedPlace place = set->source->place(feed->feed);
                uint64_t position = set->ahead[oldest].event.place.position;
                if (place.incarnation && is_behind(&place, position))
                        feed->wanted = position;
                blocked |= feed->wanted;
        }
        return blocked ? set->count : oldest;
}

Status feed_set_next(FeedSet *set, Env *env, Arena *out, size_t *ret_feed, FeedEvent *ret_event, bool *ret_found)
{
        size_t at = 0;
        if (!set->ahead) {
                TRY(set->source->next(set->feeds[0].feed, out, ret_event, ret_found));
        } else {
                TRY(look_ahead(set, env));
                at = oldest_ahead(set);
                *ret_found = at < set->count;
                if (*ret_found) {
                        Ahead *ahead = &set->ahead[at];
                        *ret_event = ahead->event;
                        copy_event(ret_event, out);
                        ahead->is_there = false;
                }
        }
        if (*ret_found && ret_event->kind != FEED_ENDED && ret_event->kind != FEED_LOST)
                set->feeds[at].seen = ret_event->place;
        *ret_feed = at;
        return ST_OK;
}

bool feed_set_is_last_of_commit(const FeedSet *set, const FeedEvent *event)
{
        bool last = event->last_of_commit;
        for (size_t i = 0; set->ahead && i < set->count; i++) {
                const Ahead *ahead = &set->ahead[i];
                last &= !ahead->is_there || ahead->event.kind == FEED_IDLE ||
                        ahead->event.place.position != event->place.position;
        }
        return last;
}

void feed_set_tell(FeedSet *set)
{
        for (size_t i = 0; i < set->count; i++)
                set->feeds[i].told = set->feeds[i].seen;
}

void feed_set_told(const FeedSet *set, FeedPlace *ret_places)
{
        for (size_t i = 0; i < set->count; i++)
                ret_places[i] = set->feeds[i].told;
}

FeedPlace feed_set_seen(const FeedSet *set, size_t i)
{
        return set->feeds[i].seen;
}

void feed_set_untell(FeedSet *set, size_t i, FeedPlace place)
{
        set->feeds[i].told = place;
}

/* --- views --- */

/* What was looked at ahead is in it. */
static Status open_view(FeedSet *set, size_t i, TableView **views)
{
        SetFeed *feed = &set->feeds[i];
        if (views[i])
                set->world->source->view_close(take(views[i]));
        TRY(set->source->view(feed->feed, &views[i]));
        feed->told = feed->seen = set->source->place(feed->feed);
        if (set->ahead)
                set->ahead[i].is_there = false;
        return ST_OK;
}

#define VIEW_TRIES 20

/* Of all feeds, and of one moment: commits may come between two of them, so who is behind looks again. (Where they
 * never stop coming the views are of different moments after a while. What is told is complete then as soon as the
 * feeds have come to the same place.) */
Status feed_set_views(FeedSet *set, TableView **views)
{
        uint64_t newest = 0;
        for (unsigned tries = 0; tries < VIEW_TRIES; tries++) {
                bool same = true;
                for (size_t i = 0; i < set->count; i++) {
                        const FeedPlace *place = &set->feeds[i].seen;
                        if (views[i] && (!place->incarnation || place->position >= newest))
                                continue;
                        TRY(open_view(set, i, views));
                        same &= place->position == newest || !place->incarnation;
                        newest = MAX(newest, place->position);
                }
                if (same)
                        break;
        }
        return ST_OK;
}
