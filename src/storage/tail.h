/* tail.h - following what a store commits: commits in order, from a position on, with the rows that were before.
 *
 *      tail_open(after) -> tail_next .. tail_next: none yet -> (tail_watch wakes) -> tail_next .. -> tail_close
 *
 * A reader sees a commit when it is *written* to the log's file, before it is synced: it survives the end of the
 * process then, but perhaps not that of the power. So a position alone is no token for the outside: positions that a
 * power cut took back are given out again. The token is the pair (incarnation, position): an incarnation is one opening
 * of the store that wrote something, and the log knows of the last 252 up to where what they wrote is still true.
 *
 * The log's bodies are records (record.h); a row's put or delete says what the row was before (record_old). Commits
 * that are recent come from memory, older ones from the files; how far back these reach says
 * StoreOptions.log_keep_bytes. Threads: a reader belongs to one at a time; readers hold no lock between calls, and
 * delay neither commits nor checkpoints. All are closed before the store. */
#ifndef STORAGE_TAIL_H
#define STORAGE_TAIL_H

#include "storage/store.h"

typedef struct TailReader TailReader;
typedef struct TailCommit {
        uint64_t position;
        int64_t wall_us; /* when it was made; does not descend */
        Bytes body;      /* records; lives until the next call */
} TailCommit;

/* Begins behind `after_position`, which may lie in the future. ERR_NOT_FOUND: the log does not reach back so far. */
MUST_USE Status tail_open(Store *store, uint64_t after_position, TailReader **ret_reader);
/* *ret_found is false if the next one is not written yet. ERR_NOT_FOUND: it was cut off before it was read;
 * ERR_CORRUPT, ERR_IO: it cannot be read. The reader stands where it stood then. */
MUST_USE Status tail_next(TailReader *reader, TailCommit *ret_commit, bool *ret_found);
uint64_t tail_position(const TailReader *reader); /* of the last commit given */
void tail_close(TailReader *reader);              /* NULL is fine */

uint64_t tail_present(Store *store);          /* the newest commit's; whoever looks from now on sees it */
uint64_t tail_written_position(Store *store); /* readers see up to here; never descends */
uint64_t tail_reach(Store *store);            /* they can begin behind this position */

/* `changed` is called from the log thread when there is more to read: it must not block, and must not call the store.
 * As long as there is a watch the log is written within half a millisecond, else within 20: so it is for whoever waits.
 * One of the 64 of store_watch. */
typedef struct StoreWatch TailWatch;
MUST_USE Status tail_watch(Store *store, void (*changed)(void *ctx), void *ctx, TailWatch **ret_watch);
void tail_unwatch(TailWatch *watch); /* after it returns `changed` is not called again; NULL is fine */

/* The incarnation that wrote this position, or will (of one not given out yet: the present one); 0: unknown. For a
 * token. */
uint64_t store_incarnation(Store *store, uint64_t position);
/* What it wrote holds up to *ret_last_position (UINT64_MAX: it is the present one): a token behind that tells of a
 * commit that was lost. False: the log does not know this incarnation. */
bool store_incarnation_of(Store *store, uint64_t id, uint64_t *ret_last_position);

/* background = false: what is appended is written, and not synced. */
MUST_USE Status tail_step(Store *store);

#endif
