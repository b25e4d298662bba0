/* draft.h - changes of any number of tables that nobody else sees yet: what a transaction has done so far, over the
 * tables as they were when it began.
 *
 * A draft is an engine by its look. draft_pin() gives a Snapshot that every function of snapshots and cursors takes:
 * the table as of the draft's moment with the draft's changes in it, in all its trees, counted, in both directions.
 * draft_commit() gives a Commit that every function of commits takes, and whose end puts its changes into the draft.
 * So whoever reads and writes tables need not know whether there is a draft. Nothing of a draft is in the log; whoever
 * wants it to be true takes the changes (draft_changes) and makes a commit of them.
 *
 * Memory: the changes are in memory, with a budget (ERR_LIMIT); the tables beneath are not copied.
 * Threads: one at a time, but for snapshots, which are read and unpinned by any. */
#ifndef STORAGE_DRAFT_H
#define STORAGE_DRAFT_H

#include "storage/read_point.h"

typedef struct Draft Draft;
typedef struct DraftTable DraftTable; /* a table in a draft; lives as long as the draft */

typedef struct DraftOptions {
        size_t memory_max_bytes; /* of the changes; 0 = none */
        bool note_reads;         /* for draft_check_reads */
} DraftOptions;

/* Over the present moment of all tables. */
MUST_USE Status draft_open(Store *store, const DraftOptions *options, Draft **ret_draft);
/* Forgets the changes; snapshots that are still pinned can be read until they are unpinned. NULL is fine. */
void draft_close(Draft *draft);
/* All commits up to here are seen, none behind. */
uint64_t draft_position(const Draft *draft);
size_t draft_memory_bytes(const Draft *draft); /* of the changes */
/* The same for the same table. Errors: read_point_root's. */
MUST_USE Status draft_table(Draft *draft, StoreTable *table, DraftTable **ret_table);
StoreTable *draft_store_table(const DraftTable *table);

/* The table with the changes so far; later ones do not show. Unpinned with store_unpin, perhaps after draft_close. */
MUST_USE Status draft_pin(DraftTable *table, Snapshot **ret_snapshot);
/* For this table alone; one at a time in a draft. commit_finish gives the position 0. */
MUST_USE Status draft_commit(DraftTable *table, Commit **ret_commit);

/* Rows (tree 0) that are not as they were, in order of key; data NULL: there was, or is, no row. Bytes as cursors'. */
typedef struct DraftChanges DraftChanges;
typedef struct DraftChange {
        Bytes key, old_value, new_value;
} DraftChange;
MUST_USE Status draft_changes_open(DraftTable *table, DraftChanges **ret_changes);
MUST_USE Status draft_changes_next(DraftChanges *changes, Arena *hold, DraftChange *ret_change, bool *ret_found);
void draft_changes_close(DraftChanges *changes); /* NULL is fine; before draft_close */
/* How many they are at most. */
MUST_USE Status draft_change_count(const DraftTable *table, uint64_t *ret_count);
bool draft_table_changed(const DraftTable *table); /* has anything been written, be it taken back later */

/* Has this table's root been replaced since the draft's moment? Exact while the table's writer lock is held. */
bool draft_table_stale(DraftTable *table);
/* With note_reads: was anything read of it, and is what was read still so? Rows that were read by key are compared; if
 * anything else was read (a range, an index, a count), the table may not have changed at all. The commit holds the
 * table's lock. */
bool draft_was_read(const DraftTable *table);
MUST_USE Status draft_check_reads(DraftTable *table, Commit *commit, bool *ret_same);

#endif
