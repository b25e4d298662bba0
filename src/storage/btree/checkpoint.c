/* checkpoint.c - the tables of one position into a checkpoint of the page file; drops, and space that would be lost. */
#include <assert.h>
#include <inttypes.h>

#include "storage/btree/btree_int.h"

typedef struct Run {
        Engine *engine;
        uint64_t position;
        Extent *dead;
        size_t dead_count, dead_capacity;
        bool rebuild;
} Run;

/* --- space that is live in the saved state and used by nothing of the checkpoint --- */

static Status dead_add(void *ctx, Extent extent)
{
        Run *run = ctx;
        if (run->dead_count == run->dead_capacity) {
                size_t capacity = MAX(2 * run->dead_capacity, (size_t)256);
                Extent *dead = mem_realloc(run->dead, capacity * sizeof(Extent));
                if (!dead)
                        return status_nomem();
                run->dead = dead;
                run->dead_capacity = capacity;
        }
        run->dead[run->dead_count++] = extent;
        return ST_OK;
}

void dead_watch(Engine *engine, EngineTable *table)
{
        if (atomic_load(&table->in_dead))
                return;
        atomic_store(&table->in_dead, true);
        table->dead_next = engine->with_dead;
        engine->with_dead = table;
}

/* Only tables that were changed since the last checkpoint, or had some then, can have any. */
static Status dead_find(Run *run)
{
        for (EngineTable **at = &run->engine->with_dead; *at;) {
                EngineTable *table = *at;
                size_t before = run->dead_count;
                if (table->tree)
                        TRY(ptree_dead(table->tree, run->position, dead_add, run));
                if (run->dead_count > before || (table->tree && ptree_has_cleared(table->tree))) {
                        at = &table->dead_next;
                } else {
                        *at = table->dead_next;
                        atomic_store(&table->in_dead, false);
                }
        }
        return ST_OK;
}

/* --- drops --- */

/* Its space waits for a checkpoint without it to become durable. What cannot be read cannot be found: then the next
 * opening makes the state of the space anew. */
static Status tree_release(Run *run, PTree *tree, uint64_t drop_position)
{
        Status st = ptree_free(tree, drop_position - 1, false);
        if (status_code(st) != ERR_CORRUPT)
                return st;
        status_ignore(st);
        run->rebuild = true;
        return ptree_free(tree, drop_position - 1, true);
}

/* Somebody still reads a dropped table. The row names its last root, so that a crash does not lose the space. */
static Status dropped_keep(Run *run, EngineTable *table, uint64_t drop_position)
{
        PSnapshot *snapshot;
        PageRow row = {.table_id = table->id, .engine = ops_row_engine(table->ops), .drop_position = drop_position};
        TRY(ptree_pin(table->tree, &snapshot));
        Status st = ptree_flush(snapshot, &row.root);
        row.position = ptree_position(snapshot);
        ptree_unpin(snapshot);
        if (!st)
                st = pagefile_row_put(run->engine->file, &row);
        if (!st)
                dead_watch(run->engine, table);
        return st;
}

static Status dropped_release(Run *run, EngineTable *table, uint64_t drop_position)
{
        if (table->damaged)
                run->rebuild = true;
        if (table->tree) {
                TRY(tree_release(run, table->tree, drop_position));
                /* Now: what waited for nothing but a look goes to the space before its state is saved. */
                table->tree = ptree_close(table->tree);
        }
        table->released = true; /* its tree, that is; the row may take another try */
        return pagefile_row_delete(run->engine->file, table->id, drop_position);
}

static bool table_unused(const EngineTable *table)
{
        PTreeStats stats;
        if (!table->tree)
                return true;
        ptree_stats(table->tree, &stats);
        return stats.snapshot_count == 0;
}

static EngineTable *list_head(Engine *engine, EngineTable **list)
{
        mutex_lock(&engine->mu);
        EngineTable *head = *list;
        mutex_unlock(&engine->mu);
        return head;
}

/* Only this thread takes tables out of the list; others put them before its head. */
static Status drops_run(Run *run)
{
        for (EngineTable *table = list_head(run->engine, &run->engine->dropped); table; table = table->drop_next) {
                uint64_t drop_position = atomic_load(&table->drop_position);
                if (drop_position > run->position)
                        continue;
                if (table->has_row)
                        TRY(pagefile_row_delete(run->engine->file, table->id, 0));
                Status st = ST_OK;
                bool unused = atomic_load(&table->gone) && table_unused(table);
                if (unused)
                        st = dropped_release(run, table, drop_position);
                /* What cannot be read now is tried again by the next one. (Without memory the tree may be half given
                 * back already: then nobody may name its root.) */
                if (status_code(st) == ERR_NOMEM)
                        return st;
                if (!unused || (st && table->tree)) {
                        status_ignore(st);
                        st = table->tree ? dropped_keep(run, table, drop_position) : ST_OK;
                }
                TRY_CTX(st, "dropped table %" PRIu64, table->id);
        }
        return ST_OK;
}

/* After the checkpoint is durable: what is in the directory under their numbers is not theirs any more. */
static void rows_moved(Run *run)
{
        for (EngineTable *table = list_head(run->engine, &run->engine->dropped); table; table = table->drop_next)
                if (atomic_load(&table->drop_position) <= run->position)
                        table->has_row = false;
}

static void list_sweep(Engine *engine, EngineTable **list)
{
        EngineTable *done = NULL;
        mutex_lock(&engine->mu);
        for (EngineTable **at = list; *at;) {
                EngineTable *table = *at;
                if (list == &engine->dropped ? !table->released
                                             : atomic_load(&table->in_dead) || !table_unused(table)) {
                        at = &table->drop_next;
                        continue;
                }
                *at = table->drop_next;
                table->drop_next = done;
                done = table;
        }
        mutex_unlock(&engine->mu);
        for (EngineTable *next; done; done = next) {
                next = done->drop_next;
                table_free(done);
        }
}

/* --- purges: dropped rows of an earlier process --- */

static Status purge_note(void *ctx, const PageRow *row)
{
        Engine *engine = ctx;
        if (!row->drop_position)
                return ST_OK;
        Purge *purges = mem_realloc(engine->purges, (engine->purge_count + 1) * sizeof(Purge));
        if (!purges)
                return status_nomem();
        engine->purges = purges;
        purges[engine->purge_count++] = (Purge){.row = *row};
        return ST_OK;
}

/* Once, before this process has written a row. */
static Status purges_find(Engine *engine)
{
        Superblock durable;
        if (engine->purges_known)
                return ST_OK;
        pagefile_durable(engine->file, &durable);
        engine->purge_count = 0;
        if (durable.dropped_count)
                TRY(pagefile_rows_each(engine->file, purge_note, engine));
        engine->purges_known = true;
        return ST_OK;
}

static Status purge_release(Run *run, const PageRow *row)
{
        PTree *tree;
        Status st = ptree_open(run->engine->cache, row->root, NULL, &tree);
        if (status_code(st) == ERR_CORRUPT) {
                run->rebuild = true;
                return status_free(st);
        }
        if (st)
                return st;
        st = tree_release(run, tree, row->drop_position);
        ptree_close(tree);
        return st;
}

static Status purges_run(Run *run)
{
        Engine *engine = run->engine;
        for (size_t i = 0; i < engine->purge_count; i++) {
                Purge *purge = &engine->purges[i];
                if (!purge->freed) {
                        Status st = purge_release(run, &purge->row);
                        purge->freed = !st;
                        if (status_code(st) == ERR_NOMEM)
                                return st;
                        status_ignore(st);
                }
                if (purge->freed)
                        TRY(pagefile_row_delete(engine->file, purge->row.table_id, purge->row.drop_position));
        }
        return ST_OK;
}

static void purges_sweep(Engine *engine)
{
        size_t kept = 0;
        for (size_t i = 0; i < engine->purge_count; i++)
                if (!engine->purges[i].freed)
                        engine->purges[kept++] = engine->purges[i];
        engine->purge_count = kept;
}

/* --- the checkpoint --- */

static Status roots_flush(Run *run, const EngineRoot *roots, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                EngineTable *table = roots[i].table;
                PSnapshot *snapshot = (PSnapshot *)roots[i].snapshot;
                uint64_t drop_position = atomic_load(&table->drop_position);
                PageRow row = {.table_id = table->id, .engine = ops_row_engine(table->ops)};
                if (drop_position && drop_position <= run->position)
                        continue; /* drops_run() */
                TRY_CTX(ptree_flush(snapshot, &row.root), "table %" PRIu64, table->id);
                row.position = ptree_position(snapshot);
                TRY(pagefile_row_put(run->engine->file, &row));
                table->has_row = true;
                dead_watch(run->engine, table);
        }
        return ST_OK;
}

/* Tables that did not change, but had a cleared tree that somebody read, or were opened with one. */
static Status cleared_run(Run *run)
{
        for (EngineTable *table = run->engine->with_dead; table; table = table->dead_next) {
                PSnapshot *snapshot;
                PageRow row = {.table_id = table->id, .engine = ops_row_engine(table->ops)};
                uint64_t drop_position = atomic_load(&table->drop_position);
                if (!table->tree || !table->has_row || !ptree_has_cleared(table->tree))
                        continue;
                if (drop_position && drop_position <= run->position)
                        continue; /* drops_run() */
                TRY(ptree_pin(table->tree, &snapshot));
                row.position = ptree_position(snapshot);
                Status st = ST_OK;
                if (row.position <= run->position)
                        st = ptree_flush(snapshot, &row.root);
                else if (ptree_must_flush(table->tree))
                        st = status_new(ERR_BUSY, "table %" PRIu64 " changes while it has to be written", table->id);
                ptree_unpin(snapshot);
                if (!st && row.position <= run->position)
                        st = pagefile_row_put(run->engine->file, &row);
                TRY_CTX(st, "table %" PRIu64, table->id);
        }
        return ST_OK;
}

static Status checkpoint_run(Run *run, const EngineRoot *roots, size_t count)
{
        Engine *engine = run->engine;
        PageFile *file = engine->file;
        TRY(purges_find(engine));
        TRY(pagefile_begin(file));
        Status st = drops_run(run); /* first: a new table may have the number of a dropped one */
        if (!st)
                st = roots_flush(run, roots, count);
        if (!st)
                st = cleared_run(run);
        if (!st)
                st = purges_run(run);
        if (!st)
                st = dead_find(run);
        if (st) {
                pagefile_abort(file);
                return st;
        }
        TRY(pagefile_finish(file, run->position, run->dead, run->dead_count, run->rebuild));
        purges_sweep(engine);
        rows_moved(run);
        list_sweep(engine, &engine->dropped);
        list_sweep(engine, &engine->leaving);
        return ST_OK;
}

Status btree_checkpoint(Engine *engine, uint64_t position, const EngineRoot *roots, size_t count)
{
        Run run = {.engine = engine, .position = position};
        PageFileFigures before, after;
        int64_t start = os_mono_ns(engine->os);
        if (position == 0)
                return ST_OK; /* nothing was ever committed */
        pagefile_figures(engine->file, &before);
        Status st = checkpoint_run(&run, roots, count);
        mem_free(run.dead);
        if (st)
                return status_context(st, "checkpoint of %s at commit %" PRIu64, pagefile_path(engine->file), position);
        pagefile_figures(engine->file, &after);
        mutex_lock(&engine->mu);
        engine->checkpoint_ns_last = (uint64_t)MAX(os_mono_ns(engine->os) - start, (int64_t)0);
        engine->checkpoint_bytes_last = after.flushed_bytes - before.flushed_bytes;
        mutex_unlock(&engine->mu);
        return ST_OK;
}
