/* query.h - running a checked query: the face of the query layer for server/ and every other face.
 *
 *      query_new -> query_prepare(text) -> loop { query_next(rows) } -> query_free
 *
 * A Query holds everything its cursor needs (arena, snapshots, streams) and gives it back in query_free.
 * Threads: one at a time (any; it may move between batches), but query_cancel may be called from any thread at any
 * moment. */
#ifndef QUERY_QUERY_H
#define QUERY_QUERY_H

#include "query/feed.h"
#include "query/outside.h"
#include "query/source.h"
#include "query/spill.h"
#include "reql/wire.h"

typedef struct Query Query;

typedef struct QueryWorld { /* lives as long as the server */
        const TableSource *source;
        const HostOps *host;
        const OutsideOps *outside; /* r.js and r.http; NULL: not available */
        size_t memory_max_bytes;   /* per query; 0 = none */
        const FeedSource *feeds;   /* feed.h; NULL: there are no changefeeds */
        const SpillOps *spill;     /* temporary files; NULL: what does not fit into memory fails */
        size_t sort_memory_bytes;  /* per operator (sort, distinct, group, join), before it uses temporary files */
        int64_t timeout_ns;        /* for each START and CONTINUE; 0 = none */
        size_t scan_min_rows;      /* whole-table scans below go the general way (exec_scan.c); 0 = 2000 */
        bool plan_always;          /* for tests: use whatever index can be used, however little it saves */
        bool no_planner;           /* rows are read as the query says: the default of option `plan` is false */
        size_t stack_max_bytes;    /* of the thread that runs it, for evaluation; 0 = 4 MiB */
} QueryWorld;

/* Queries are recycled: a free one keeps its first arena chunk. `user` is copied. */
MUST_USE Status query_new(const QueryWorld *world, const char *user, Query **ret_query);
const char *query_user(const Query *query);
/* Whose query it is from now on; outlives it. NULL: nobody's. */
void query_set_connection(Query *query, QueryConnection *connection);
Query *query_free(Query *query); /* NULL is fine; returns NULL */
void query_reset(Query *query); /* ready for the next query_prepare: closes streams, drops memory but the first chunk */

/* A buffer of at least `size` + JSON_PADDING bytes that lives as long as the query, for the frame's text. ERR_LIMIT,
 * ERR_NOMEM. */
MUST_USE Status query_text_buffer(Query *query, size_t size, uint8_t **ret_buffer);
/* Parses and checks. `text` must live until query_reset (query_text_buffer). Errors: see query_backtrace. */
MUST_USE Status query_prepare(Query *query, Bytes text);
const WireQuery *query_wire(const Query *query);

typedef enum QueryCost {
        QUERY_QUICK, /* microseconds: run it on the event-loop thread */
        QUERY_LONG,  /* may take long: worker pool */
} QueryCost;
QueryCost query_cost(const Query *query);
/* Of an open stream: making its next batch now changes nothing but when it is made, and takes no other process. */
bool query_may_read_ahead(const Query *query);

typedef enum QueryAnswer {
        ANSWER_ATOM,     /* t=1 */
        ANSWER_SEQUENCE, /* t=2: the last rows */
        ANSWER_PARTIAL,  /* t=3: call query_next again for more */
} QueryAnswer;
/* Runs to the next batch and appends its rows to `rows` as JSON, separated by commas (the inside of "r":[...]).
 * On error nothing is appended; the query is over (further calls give ERR_CLOSED). */
MUST_USE Status query_next(Query *query, Buf *rows, QueryAnswer *ret_answer);
/* Appends the backtrace of the last error as a JSON array. */
MUST_USE Status query_backtrace(const Query *query, Buf *out);
/* Of a text query, appends where the last error is: {"line":1,"column":5,"end_line":1,"end_column":9}, the end behind
 * the last character. Otherwise appends nothing and *ret_has is false. */
MUST_USE Status query_error_place(const Query *query, Buf *out, bool *ret_has);
/* Notes of a changefeed as the inside of "n":[...]; of others nothing. */
MUST_USE Status query_notes(const Query *query, Buf *out);
/* Profile of the run as JSON if option `profile` was true; else appends nothing and *ret_has is false. */
MUST_USE Status query_profile(const Query *query, Buf *out, bool *ret_has);
/* The log position that must be durable before this answer is sent; 0: none. */
uint64_t query_durable_position(const Query *query);
/* Makes a running or later query_next end with ERR_CANCELLED soon. */
void query_cancel(Query *query);
size_t query_memory_bytes(const Query *query);
/* What it has written to temporary files so far. Any thread. */
uint64_t query_spilled_bytes(const Query *query);
/* Appends the query as text for people, cut to about `max` bytes. From any thread while the query is neither prepared
 * nor reset. */
MUST_USE Status query_describe(const Query *query, size_t max, Buf *out);

#endif
