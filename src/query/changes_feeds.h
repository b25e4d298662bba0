/* changes_feeds.h - one Feed, or several, as one: their events in the order of commits, and how far they were told.
 *
 * Of several feeds the next event of each is looked at before the oldest is taken, and that only when those that have
 * none have come at least as far in the log.
 *
 * Places. `told` is behind everything that a client was told: what a token says. `seen` is behind what was taken. They
 * differ while changes wait to be told.
 *
 * Threads: one at a time, as Feeds. */
#ifndef QUERY_CHANGES_FEEDS_H
#define QUERY_CHANGES_FEEDS_H

#include "query/changes_int.h"

#define FEED_SET_MAX 255

typedef struct FeedSet FeedSet;

/* For as many specs; 1 to FEED_SET_MAX. Counts their tables. */
Status feed_set_new(const QueryWorld *world, const FeedSpec *specs, size_t count, FeedSet **ret_set) MUST_USE;
FeedSet *feed_set_free(FeedSet *set); /* NULL is fine; returns NULL */
/* `since` NULL: all at the present; else one place for each. ERR_NOT_FOUND: see FeedSource.open. After an error:
 * feed_set_close. */
Status feed_set_open(FeedSet *set, const FeedSpec *specs, const FeedOptions *how, const FeedPlace *since) MUST_USE;
void feed_set_close(FeedSet *set);
size_t feed_set_count(const FeedSet *set);
TableRef *feed_set_table(const FeedSet *set, size_t i);
/* The next event, of feed `*ret_feed`; values in `out`. */
Status feed_set_next(FeedSet *set, Env *env, Arena *out, size_t *ret_feed, FeedEvent *ret_event,
                     bool *ret_found) MUST_USE;
/* Of the event that was given last: is it the last of its commit, of all feeds? */
bool feed_set_is_last_of_commit(const FeedSet *set, const FeedEvent *event);
/* Views of all feeds, of one moment where that can be had; they go on behind them. views[i] NULL at first; the caller
 * closes what is open, after an error too. */
Status feed_set_views(FeedSet *set, TableView **views) MUST_USE;
void feed_set_tell(FeedSet *set);                              /* what was seen is told */
void feed_set_told(const FeedSet *set, FeedPlace *ret_places); /* as many as there are feeds */
FeedPlace feed_set_seen(const FeedSet *set, size_t i);
/* What is behind `place` is not told yet after all, though it was seen. */
void feed_set_untell(FeedSet *set, size_t i, FeedPlace place);
/* As FeedSource.watch. */
void feed_set_watch(FeedSet *set, void (*ready)(void *ctx), void *ctx, int64_t deadline_ns,
                    void (*batch_ready)(void *batch_ctx), void *batch_ctx);
bool feed_set_is_long(const FeedSet *set);
size_t feed_set_bytes(const FeedSet *set);

#endif
