/* checkpoint.c - all tables of one moment into a snapshot file, then the log before it is cut.
 *
 *      pin all roots at position P (commit_mu)  ->  snapshot-P.tmp, synced  ->  snapshot-P  ->  older snapshots removed
 *      ->  log up to P removed.   A crash between any two steps leaves a snapshot and the log that belongs to it (store
 * I4). */
#include "storage/store_int.h"

#include <assert.h>
#include <inttypes.h>

#include "base/mem.h"
#include "storage/snapshot_file.h"

#define RETRY_NS (UINT64_C(10) * 1000000000)

typedef struct Pinned {
        StoreTable **tables;
        EngineSnapshot **snapshots;
        size_t count;
} Pinned;

static void pinned_done(Pinned *pinned)
{
        for (size_t i = 0; i < pinned->count; i++) {
                if (pinned->snapshots && pinned->snapshots[i])
                        pinned->tables[i]->ops->unpin(pinned->snapshots[i]);
                store_table_unref(pinned->tables[i]);
        }
        mem_free(pinned->tables);
        mem_free(pinned->snapshots);
}

/* All roots of one position. Held for as long as pinning takes: tens of nanoseconds a table. */
static Status pin_all(Store *store, Pinned *pinned, uint64_t *ret_position)
{
        Status st;
        mutex_lock(&store->commit_mu); /* store I2: what is appended is published, what is published is appended */
        *ret_position = wal_last(store->wal);
        st = tables_list(store, &pinned->tables, &pinned->count);
        if (!st) {
                pinned->snapshots = mem_zalloc((pinned->count + 1) * sizeof(EngineSnapshot *));
                if (!pinned->snapshots)
                        st = status_nomem();
        }
        for (size_t i = 0; i < pinned->count && !st; i++)
                st = pinned->tables[i]->ops->pin(pinned->tables[i]->engine_table, &pinned->snapshots[i]);
        if (!st)
                wal_rotate(store->wal); /* so that all of the log up to here can be cut */
        mutex_unlock(&store->commit_mu);
        return st;
}

static Status write_table(SnapshotWriter *writer, StoreTable *table, EngineSnapshot *snapshot, Arena *hold)
{
        EngineCursor *cursor;
        Bytes key, value;
        bool found = true;
        TRY(snapshot_writer_table(writer, table->id, table->ops->name));
        TRY(table->ops->cursor_open(snapshot, 0, (EngineRange){0}, false, &cursor));
        Status st = ST_OK;
        while (!st && found) {
                arena_reset(hold);
                st = table->ops->cursor_next(cursor, hold, &key, &value, &found);
                if (!st && found)
                        st = snapshot_writer_row(writer, key, value);
        }
        table->ops->cursor_close(cursor);
        return st;
}

static Status write_all(Store *store, const Pinned *pinned, uint64_t position)
{
        SnapshotWriter *writer;
        Arena hold;
        TRY(snapshot_writer_open(store->dir, position, &writer));
        arena_init(&hold, 0);
        Status st = ST_OK;
        for (size_t i = 0; i < pinned->count && !st; i++)
                st = write_table(writer, pinned->tables[i], pinned->snapshots[i], &hold);
        if (!st)
                st = snapshot_writer_finish(writer);
        snapshot_writer_close(writer);
        arena_done(&hold);
        return st;
}

typedef struct Older {
        OsDir *dir;
        uint64_t position;
        bool removed;
} Older;

static Status remove_older(void *ctx, const char *name)
{
        Older *older = ctx;
        uint64_t position;
        size_t size = strlen(name);
        bool unfinished = strncmp(name, "snapshot-", 9) == 0 && size > 4 && strcmp(name + size - 4, ".tmp") == 0;
        if (!unfinished && !(snapshot_file_parse(name, &position) && position < older->position))
                return ST_OK;
        older->removed = true;
        return os_dir_remove(older->dir, name);
}

Status checkpoint_remove_older(Store *store, uint64_t position)
{
        Older older = {.dir = store->dir, .position = position};
        TRY(os_dir_list(store->dir, remove_older, &older));
        return older.removed ? os_dir_sync(store->dir) : ST_OK;
}

static Status checkpoint_run(Store *store) REQUIRES(store->checkpoint_mu)
{
        _cleanup_(pinned_done) Pinned pinned = {0};
        uint64_t position;
        TRY(pin_all(store, &pinned, &position));
        if (position > atomic_load(&store->snapshot_position)) {
                TRY_CTX(write_all(store, &pinned, position), "writing a snapshot of commit %" PRIu64, position);
                atomic_store(&store->snapshot_position, position);
        }
        TRY(checkpoint_remove_older(store, position));
        return wal_cut(store->wal, position);
}

Status store_checkpoint(Store *store)
{
        char text[sizeof(store->checkpoint_text)];
        mutex_lock(&store->checkpoint_mu);
        Status st = checkpoint_run(store);
        mutex_unlock(&store->checkpoint_mu);
        mutex_lock(&store->wake_mu);
        store->checkpoint_error = status_code(st);
        memcpy(store->checkpoint_text, status_text(st, text, sizeof(text)), sizeof(text));
        mutex_unlock(&store->wake_mu);
        return st;
}

Status store_checkpoint_error(Store *store)
{
        mutex_lock(&store->wake_mu);
        Status st = store->checkpoint_error ? status_new(store->checkpoint_error, "%s", store->checkpoint_text) : ST_OK;
        mutex_unlock(&store->wake_mu);
        return st;
}

void checkpoint_want(Store *store)
{
        if (!store->options.background || wal_bytes(store->wal) < store->options.log_budget_bytes ||
            wal_durable(store->wal) <= atomic_load(&store->snapshot_position))
                return;
        mutex_lock(&store->wake_mu);
        store->wanted = true;
        cond_signal(&store->wake);
        mutex_unlock(&store->wake_mu);
}

void checkpoint_thread(void *arg)
{
        Store *store = arg;
        mutex_lock(&store->wake_mu);
        while (!store->closing) {
                if (!store->wanted) {
                        cond_wait(&store->wake, &store->wake_mu);
                        continue;
                }
                store->wanted = false;
                mutex_unlock(&store->wake_mu);
                Status st = store_checkpoint(store); /* a failure stays in checkpoint_error */
                if (store->options.checkpoint_done)
                        store->options.checkpoint_done(store->options.checkpoint_ctx, st);
                mutex_lock(&store->wake_mu);
                if (st) {
                        store->wanted = true;
                        if (!store->closing)
                                cond_wait_for(&store->wake, &store->wake_mu, RETRY_NS);
                }
                status_ignore(st);
        }
        mutex_unlock(&store->wake_mu);
}
