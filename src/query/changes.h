/* changes.h - an open changefeed without its query: what a server keeps for each of a hundred thousand idle feeds.
 *
 * A query whose stream is a feed (`changes`, and behind it at most what can be said by one function) is parked after
 * its first answer: query_park() gives a FeedCursor of less than 2 KB, and the Query, with its arena, is free. Other
 * feeds (of limits, aggregates, unions) keep their Query. For both the server does the same:
 *
 *      next -> rows, PARTIAL -> answer
 *              no rows, PARTIAL, waits -> watch(ready) -> ready(): next again
 *
 * Threads: one at a time; cancel from any. */
#ifndef QUERY_CHANGES_H
#define QUERY_CHANGES_H

#include "query/query.h"

typedef struct FeedCursor FeedCursor;

/* Of a query that answered PARTIAL: is it a feed? Then CONTINUE waits until there is something. */
bool query_is_feed(const Query *query);
/* The feed has nothing now: the last query_next gave no rows for that reason. Calls ready(ctx) once, from any thread or
 * from inside this call, when query_next should be called again; NULL: no more (after it returns it is not called). */
void query_watch(Query *query, void (*ready)(void *ctx), void *ctx, void (*batch_ready)(void *batch_ctx),
                 void *batch_ctx);
/* *ret_cursor NULL: it has to keep its Query. Otherwise the Query can be reset. */
MUST_USE Status query_park(Query *query, FeedCursor **ret_cursor);

/* As query_next: appends rows as JSON, with commas between. *ret_answer ANSWER_PARTIAL and no rows: nothing now. On an
 * error the feed is over; feed_cursor_backtrace says where ("[]" mostly). */
MUST_USE Status feed_cursor_next(FeedCursor *cursor, Buf *rows, QueryAnswer *ret_answer);
void feed_cursor_watch(FeedCursor *cursor, void (*ready)(void *ctx), void *ctx, void (*batch_ready)(void *batch_ctx),
                       void *batch_ctx);
bool feed_cursor_is_long(FeedCursor *cursor); /* the next batch is for another thread than an event loop's */
MUST_USE Status feed_cursor_notes(const FeedCursor *cursor, Buf *out);
MUST_USE Status feed_cursor_backtrace(const FeedCursor *cursor, Buf *out);
/* As query_describe. */
MUST_USE Status feed_cursor_describe(const FeedCursor *cursor, size_t max, Buf *out);
size_t feed_cursor_memory_bytes(const FeedCursor *cursor);
void feed_cursor_cancel(FeedCursor *cursor);
FeedCursor *feed_cursor_free(FeedCursor *cursor); /* NULL is fine; returns NULL */

#endif
