/* read_point.c - see read_point.h.
 *
 *      points    P1 <-- P2 <-- P3 (newest)          in order of position; equal positions share one
 *      a table   root of commit 7, in use until 12, then another until 20 ...
 *                a kept root belongs to the points p with  from <= p < until
 *
 * A root is kept on behalf of the newest point at that time: later points are at or behind its end. When that point
 * closes, the root goes over to the next older one if it belongs to that too, else it is let go: so whoever needs it
 * last lets it go, and nothing has to be searched. Everything is under Store.commit_mu, which makes commits and points
 * one order; memory is given back outside of it. */
#include "storage/read_point.h"

#include <assert.h>
#include <inttypes.h>

#include "base/mem.h"
#include "storage/store_int.h"

struct KeptRoot {
        atomic_uint refs;
        Snapshot *snapshot;
        StoreTable *table; /* counted; NULL: not listed */
        uint64_t from, until;
        /* --- while it is listed, under commit_mu --- */
        KeptRoot *next, **link;  /* of the table, newest first; link: who points here */
        KeptRoot *next_of_point; /* of the point that answers for it */
};

struct ReadPoint {
        Store *store;
        unsigned refs; /* GUARDED_BY(store->commit_mu) */
        uint64_t position;
        ReadPoint *older, *newer; /* GUARDED_BY(store->commit_mu) */
        KeptRoot *roots;          /* GUARDED_BY(store->commit_mu) */
};

Snapshot *kept_root_snapshot(const KeptRoot *root)
{
        return root->snapshot;
}

KeptRoot *kept_root_unref(KeptRoot *root)
{
        if (root && atomic_fetch_sub_explicit(&root->refs, 1, memory_order_acq_rel) == 1) {
                store_unpin(root->snapshot);
                mem_free(root);
        }
        return NULL;
}

static Status root_new(StoreTable *table, KeptRoot **ret_root)
{
        KeptRoot *root = mem_zalloc(sizeof *root);
        if (!root)
                return status_nomem();
        Status st = store_pin(table, &root->snapshot);
        if (st) {
                mem_free(root);
                return st;
        }
        atomic_init(&root->refs, 1);
        *ret_root = root;
        return ST_OK;
}

/* --- points --- */

Status read_point_open(Store *store, ReadPoint **ret_point)
{
        ReadPoint *fresh = mem_zalloc(sizeof *fresh);
        if (!fresh)
                return status_nomem();
        mutex_lock(&store->commit_mu);
        ReadPoint *newest = store->newest_point;
        uint64_t position = wal_last(store->wal);
        if (newest && newest->position == position) {
                newest->refs++;
                *ret_point = newest;
        } else {
                *fresh = (ReadPoint){.store = store, .refs = 1, .position = position, .older = newest};
                if (newest)
                        newest->newer = fresh;
                store->newest_point = fresh;
                *ret_point = take(fresh);
        }
        mutex_unlock(&store->commit_mu);
        mem_free(fresh);
        return ST_OK;
}

uint64_t read_point_position(const ReadPoint *point)
{
        return point->position;
}

static void unlist(KeptRoot *root)
{
        *root->link = root->next;
        if (root->next)
                root->next->link = root->link;
}

/* The point is out of the list. What nobody needs any more, chained by next_of_point. */
static KeptRoot *hand_over(Store *store, ReadPoint *point) REQUIRES(store->commit_mu)
{
        ReadPoint *older = point->older;
        KeptRoot *unneeded = NULL;
        while (point->roots) {
                KeptRoot *root = point->roots;
                point->roots = root->next_of_point;
                KeptRoot **list = older && older->position >= root->from ? &older->roots : &unneeded;
                if (list == &unneeded)
                        unlist(root);
                root->next_of_point = *list;
                *list = root;
        }
        return unneeded;
}

static void roots_free(KeptRoot *root)
{
        while (root) {
                KeptRoot *next = root->next_of_point;
                store_table_unref(take(root->table));
                kept_root_unref(root);
                root = next;
        }
}

void read_point_close(ReadPoint *point)
{
        if (!point)
                return;
        Store *store = point->store;
        KeptRoot *unneeded = NULL;
        mutex_lock(&store->commit_mu);
        bool last = --point->refs == 0;
        if (last) {
                if (point->newer)
                        point->newer->older = point->older;
                else
                        store->newest_point = point->older;
                if (point->older)
                        point->older->newer = point->newer;
                unneeded = hand_over(store, point);
        }
        mutex_unlock(&store->commit_mu);
        roots_free(unneeded);
        if (last)
                mem_free(point);
}

Status read_point_root(ReadPoint *point, StoreTable *table, KeptRoot **ret_root)
{
        Store *store = point->store;
        KeptRoot *root;
        Status st = ST_OK;
        mutex_lock(&store->commit_mu);
        bool present = table->root_position <= point->position;
        if (present) {
                st = root_new(table, ret_root);
        } else {
                for (root = table->kept; root && !(root->from <= point->position && point->position < root->until);)
                        root = root->next;
                if (atomic_load(&table->dropped))
                        st = status_new(ERR_NOT_FOUND, "table %" PRIu64 " was dropped", table->id);
                else if (!root)
                        st = status_new(ERR_CONFLICT, "table %" PRIu64 " has no root of position %" PRIu64, table->id,
                                        point->position);
                else
                        atomic_fetch_add_explicit(&root->refs, 1, memory_order_relaxed);
                if (!st)
                        *ret_root = root;
        }
        mutex_unlock(&store->commit_mu);
        return st;
}

Status store_pin_present(StoreTable *table, Snapshot **ret_snapshot, uint64_t *ret_position)
{
        Store *store = table->store;
        mutex_lock(&store->commit_mu);
        Status st = store_pin(table, ret_snapshot);
        if (!st)
                *ret_position = wal_last(store->wal);
        mutex_unlock(&store->commit_mu);
        return st;
}

/* --- by commits --- */

/* No error: a commit does not fail for the readers of old moments. They are told when they ask. */
static void keep(Store *store, StoreTable *table, uint64_t until) REQUIRES(store->commit_mu)
{
        ReadPoint *newest = store->newest_point;
        KeptRoot *root;
        if (newest->position < table->root_position || atomic_load(&table->damaged))
                return; /* nobody's; or nobody can read it */
        Status st = root_new(table, &root);
        if (st) {
                status_ignore(st);
                return;
        }
        root->from = table->root_position;
        root->until = until;
        root->table = table;
        atomic_fetch_add_explicit(&table->refs, 1, memory_order_relaxed);
        root->next = table->kept;
        root->link = &table->kept;
        if (root->next)
                root->next->link = &root->next;
        table->kept = root;
        root->next_of_point = newest->roots;
        newest->roots = root;
}

void read_points_keep(Store *store, const Commit *commit)
{
        uint64_t position = wal_last(store->wal) + 1; /* positions grow by one */
        for (size_t i = 0; i < commit->table_count; i++)
                if (commit->tables[i].changed && !commit->tables[i].created)
                        keep(store, commit->tables[i].table, position);
}

void read_points_unkeep(Store *store)
{
        uint64_t position = wal_last(store->wal) + 1;
        KeptRoot **at = &store->newest_point->roots, *unneeded = NULL;
        while (*at) {
                KeptRoot *root = *at;
                if (root->until != position) {
                        at = &root->next_of_point;
                        continue;
                }
                *at = root->next_of_point;
                unlist(root);
                root->next_of_point = unneeded;
                unneeded = root;
        }
        roots_free(unneeded);
}
