/* match.h - which feeds a change of a row concerns, and what each of them shows of it.
 *
 * Equal specs are one FeedClass. A MatchTable has the classes of one table, filed by what a row must have to concern
 * them: by primary key, by the value of a field or an index (hash), by ranges (interval trees), and those that have to
 * be asked every time. So a change costs what it concerns, whatever the number of classes.
 *
 * Threads: a MatchTable is its owner's (the hub's, under the hub's lock); a FeedClass is counted, immutable, and may be
 * evaluated by any number of threads. */
#ifndef FEED_MATCH_H
#define FEED_MATCH_H

#include "query/feed.h"

typedef struct MatchTable MatchTable;
typedef struct FeedClass FeedClass; /* counted */

/* What a class shows of one change: a row may come more than once (FeedSpec). Values in the arena given. */
typedef struct MatchShown {
        Value old_value, new_value, old_index, new_index; /* V_NONE: absent */
        const char *error; /* not NULL: the function failed for the new row, which so is not shown; no values */
        StatusCode error_code;
} MatchShown;

MUST_USE Status match_table_new(MatchTable **ret_table);
MatchTable *match_table_free(MatchTable *table); /* all its classes are removed; NULL is fine; returns NULL */

/* --- classes --- */
/* A class of its own; copies the spec, reads what is needed of its table (the index's function, the primary key). ReQL
 * errors (no such index ...). */
MUST_USE Status feed_class_new(const FeedSpec *spec, const TableSource *source, FeedClass **ret_class);
FeedClass *feed_class_ref(FeedClass *class);
FeedClass *feed_class_unref(FeedClass *class); /* NULL is fine; returns NULL */
size_t feed_class_bytes(const FeedClass *class);
bool feed_class_is_plain(const FeedClass *class); /* evaluating it calls no function: a microsecond */
/* Whoever evaluates a class that is not plain says how long it took; a class that takes long should not be evaluated by
 * a thread that others wait for. It may become fast again: evaluated by others, it goes on being measured. */
void feed_class_took(FeedClass *class, int64_t ns);
bool feed_class_is_slow(const FeedClass *class);
/* What it shows of a change: *ret_shown[0 .. *ret_count - 1] in `arena` or the rows; none if it is not concerned.
 * `key`: the row's primary key. A side without a row is V_NONE or V_NULL. A row that failed when it was written is not
 * among what is shown, so it neither leaves nor fails again. Errors: ERR_NOMEM and the like; the arena never jumps. */
MUST_USE Status feed_class_show(FeedClass *class, Value key, Value old_row, Value new_row, Arena *arena,
                                MatchShown **ret_shown, size_t *ret_count);

/* --- filing --- */
/* Files it, or gives the equal one that is there (a new reference; `class` is not taken). A newly filed class has
 * MATCH_USERS pointers of its owner's, NULL at first. */
MUST_USE Status match_add(MatchTable *table, FeedClass *class, FeedClass **ret_filed);
void match_remove(MatchTable *table, FeedClass *filed);
#define MATCH_USERS 2
void match_set_user(FeedClass *filed, unsigned number, void *user);
void *match_user(const FeedClass *filed, unsigned number);
size_t match_count(const MatchTable *table);
/* Calls `each` once for every filed class that the change may concern (feed_class_show says whether it does), in no
 * order. Ends at the first error. `each` neither files nor removes classes, and leaves `scratch` as it is. */
MUST_USE Status match_find(MatchTable *table, Value key, Value old_row, Value new_row, Arena *scratch,
                           Status (*each)(void *ctx, FeedClass *class), void *ctx);

#endif
