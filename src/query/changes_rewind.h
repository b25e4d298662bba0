/* changes_rewind.h - the rows that a feed had at an earlier moment: those of a view, without what came since, and with
 * what went since. For a FeedState that goes on from a token: it has to know what its client was told.
 *
 *      then ---- what happened since, from the log ----> view
 *      rewind_open -> rewind_read .. done -> [the view is opened] -> rewind_read (last) .. done
 *                  -> { rewind_begin -> { rewind_skips, rewind_next } } -> rewind_close
 *
 * Rows are counted (a row that comes twice is two), so what came and went again is nothing, and takes no memory.
 * Threads: one at a time, as Feeds. */
#ifndef QUERY_CHANGES_REWIND_H
#define QUERY_CHANGES_REWIND_H

#include "query/changes_int.h"

/* At `since`. `spec` stays. ERR_NOT_FOUND: the log does not reach it; the caller begins anew. */
Status rewind_open(Env *env, const FeedSpec *spec, const char *user, const FeedPlace *since,
                   Rewind **ret_rewind) MUST_USE;
Rewind *rewind_close(Rewind *rewind); /* NULL is fine; returns NULL */
FeedPlace rewind_since(const Rewind *rewind);
/* Reads on to `until`. `last`: where the view is; else to about there, the view is not opened yet, and so stays open
 * only for what is left then. *ret_done false: the rest is not there yet, see rewind_watch. ERR_NOT_FOUND: those rows
 * cannot be had: the log was cut off meanwhile, a row's function failed, or it is too much to remember. */
Status rewind_read(Rewind *rewind, Env *env, const FeedPlace *until, bool last, bool *ret_done) MUST_USE;
/* As FeedSource.watch, until then. */
void rewind_watch(Rewind *rewind, void (*ready)(void *ctx), void *ctx);

/* How many more rows there were then. */
int64_t rewind_surplus(const Rewind *rewind);
/* A new pass over the rows. `order` is that of the rows of the view; `only` (NULL: all): whose index value, or key, is
 * this. */
void rewind_begin(Rewind *rewind, const Value *only, int order);
/* A row of the view was not there then. To be asked once for each. */
bool rewind_skips(Rewind *rewind, const ChangesRow *row);
/* The next row that is in the view no more, if it comes before `row` (NULL: the view has no more). */
bool rewind_next(Rewind *rewind, const ChangesRow *row, ChangesRow *ret_row);

#endif
