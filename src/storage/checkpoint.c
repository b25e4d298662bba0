/* checkpoint.c - everything of one moment into files, then the log before it is cut.
 *
 *      commit_mu: position P, pin what changed      log synced up to P      snapshot-P (engines without files)
 *      each persistent engine's checkpoint(P)       older snapshots removed       log up to P archived, removed
 *
 * A crash between any two steps leaves files and the log that belongs to them (store I4): each engine's files say which
 * position they hold, and the log reaches back to the lowest of them. */
#include "storage/store_int.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"

#define RETRY_NS    UINT64_C(1000000000)
#define RETRIES     10        /* times RETRY_NS between attempts, but one when writers are refused */
#define IDLE_MS     2000      /* how often the thread looks for work that waits while there are commits */
#define AGE_MS      300000    /* what was committed is in files after this */
#define CHEAP_BYTES (4 << 20) /* a snapshot file of this size is never worth a thought */

/* What is pinned of one engine. */
typedef struct Pinned {
        StoreEngine *host;
        EngineRoot *roots;
        StoreTable **tables; /* of roots[] */
        size_t count;
        bool persistent, written;
} Pinned;
typedef struct Pins {
        Store *store;
        SnapshotHead head;
        Pinned engines[STORE_ENGINES_MAX];
        size_t count;
} Pins;

/* The list of a persistent engine is taken over: what is not in its files in the end is put back. */
static Status pin_engine(Store *store, StoreEngine *host, Pinned *pinned) REQUIRES(store->commit_mu)
{
        size_t n = host->table_count, i = 0;
        pinned->host = host;
        pinned->persistent = host->ops->persistent;
        pinned->roots = mem_zalloc((n + 1) * sizeof(EngineRoot));
        pinned->tables = mem_alloc((n + 1) * sizeof(StoreTable *));
        if (!pinned->roots || !pinned->tables)
                return status_nomem();
        for (StoreTable *table = host->tables; table; table = table->next, i++) {
                EngineRoot *root = &pinned->roots[i];
                TRY(table->ops->pin(table->engine_table, &root->snapshot));
                root->table = table->engine_table;
                atomic_fetch_add_explicit(&table->refs, 1, memory_order_relaxed);
                pinned->tables[i] = table;
                pinned->count++;
        }
        while (pinned->persistent && host->tables)
                table_unlist(store, host->tables);
        return ST_OK;
}

static void pins_done(Pins *pins)
{
        for (size_t i = 0; i < pins->count; i++) {
                Pinned *pinned = &pins->engines[i];
                if (pinned->persistent && !pinned->written) {
                        mutex_lock(&pins->store->commit_mu);
                        for (size_t k = 0; k < pinned->count; k++)
                                if (!atomic_load(&pinned->tables[k]->dropped))
                                        table_list(pins->store, pinned->tables[k]);
                        mutex_unlock(&pins->store->commit_mu);
                }
                for (size_t k = 0; k < pinned->count; k++) {
                        pinned->tables[k]->ops->unpin(pinned->roots[k].snapshot);
                        store_table_unref(pinned->tables[k]);
                }
                mem_free(pinned->roots);
                mem_free(pinned->tables);
        }
}

/* All roots of one position. Takes tens of nanoseconds for each table that changed. */
static Status pin_all(Store *store, CheckpointKind kind, Pins *pins)
{
        Status st = ST_OK;
        pins->store = store;
        mutex_lock(&store->commit_mu); /* store I2: what is appended is published, what is published is appended */
        pins->head.position = wal_last(store->wal);
        pins->head.wall_us = wal_last_wall_us(store->wal);
        for (size_t i = 0; i < store->engine_count && !st; i++)
                if (kind == CHECKPOINT_ALL || store->engines[i].ops->persistent)
                        st = pin_engine(store, &store->engines[i], &pins->engines[pins->count++]);
        if (!st && kind == CHECKPOINT_ALL)
                wal_rotate(store->wal); /* so that all of the log up to here can be cut */
        mutex_unlock(&store->commit_mu);
        return st;
}

/* --- engines without files --- */

static Status write_tree(SnapshotWriter *writer, const EngineOps *ops, EngineSnapshot *snapshot, uint32_t tree,
                         Arena *hold)
{
        EngineCursor *cursor;
        Bytes key, value;
        bool found = true;
        TRY(ops->cursor_open(snapshot, tree, (EngineRange){0}, false, &cursor));
        Status st = ST_OK;
        while (!st && found) {
                arena_reset(hold);
                st = ops->cursor_next(cursor, hold, &key, &value, &found);
                if (!st && found)
                        st = snapshot_writer_row(writer, tree, key, value);
        }
        ops->cursor_close(cursor);
        return st;
}

static Status write_table(SnapshotWriter *writer, const StoreTable *table, EngineSnapshot *snapshot, Arena *hold)
{
        TRY(snapshot_writer_table(writer, table->id, table->ops->name));
        for (uint32_t tree = 0; table->ops->next_tree(snapshot, tree, &tree); tree++)
                TRY(write_tree(writer, table->ops, snapshot, tree, hold));
        return ST_OK;
}

static Status write_snapshot(Store *store, const Pins *pins)
{
        SnapshotWriter *writer;
        Arena hold;
        TRY(snapshot_writer_open(store->dir, &pins->head, &writer));
        arena_init(&hold, 0);
        Status st = ST_OK;
        for (size_t i = 0; i < pins->count; i++) {
                const Pinned *pinned = &pins->engines[i];
                for (size_t k = 0; k < pinned->count && !pinned->persistent && !st; k++)
                        st = write_table(writer, pinned->tables[k], pinned->roots[k].snapshot, &hold);
        }
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

/* --- one checkpoint --- */

static Status write_engines(Store *store, Pins *pins, uint64_t position) REQUIRES(store->checkpoint_mu)
{
        for (size_t i = 0; i < pins->count; i++) {
                Pinned *pinned = &pins->engines[i];
                StoreEngine *host = pinned->host;
                if (!pinned->persistent)
                        continue;
                if (position > host->position)
                        TRY_CTX(host->ops->checkpoint(host->engine, position, pinned->roots, pinned->count),
                                "writing a checkpoint of commit %" PRIu64, position);
                pinned->written = true;
                host->position = position;
        }
        return ST_OK;
}

/* A damaged table lacks what the log has behind its position: until it is dropped that stays there. */
static Status log_needed(Store *store, uint64_t position, uint64_t *ret_from, uint64_t *ret_table)
{
        StoreTable **tables;
        size_t n;
        *ret_from = position;
        if (atomic_load(&store->damaged_count) == 0)
                return ST_OK;
        TRY(tables_list(store, &tables, &n));
        for (size_t i = 0; i < n; i++) {
                if (atomic_load(&tables[i]->damaged) && tables[i]->position < *ret_from) {
                        *ret_from = tables[i]->position;
                        *ret_table = tables[i]->id;
                }
                store_table_unref(tables[i]);
        }
        mem_free(tables);
        return ST_OK;
}

static uint64_t files_position(const Store *store) REQUIRES(store->checkpoint_mu)
{
        uint64_t position = store->snapshot_position;
        for (size_t i = 0; i < store->engine_count; i++)
                if (store->engines[i].ops->persistent)
                        position = MIN(position, store->engines[i].position);
        return position;
}

static void checkpoint_ended(Store *store) REQUIRES(store->checkpoint_mu)
{
        atomic_store(&store->checkpoint_position, files_position(store));
        atomic_store(&store->checkpoint_ended_ns, os_mono_ns(store->os));
        atomic_fetch_add(&store->checkpoint_count, 1);
}

Status checkpoint_run(Store *store, CheckpointKind kind)
{
        _cleanup_(pins_done) Pins pins = {0};
        uint64_t table_id = 0;
        TRY(pin_all(store, kind, &pins));
        uint64_t position = pins.head.position;
        TRY(wal_sync(store->wal, position));
        if (kind == CHECKPOINT_ALL) {
                TRY(log_needed(store, position, &pins.head.log_from, &table_id));
                pins.head.log_generation = wal_generation(store->wal);
                if (position > store->snapshot_position) {
                        TRY_CTX(write_snapshot(store, &pins), "writing a snapshot of commit %" PRIu64, position);
                        store->snapshot_position = position;
                }
        }
        TRY(write_engines(store, &pins, position));
        checkpoint_ended(store);
        if (kind != CHECKPOINT_ALL)
                return ST_OK;
        TRY(checkpoint_remove_older(store, position));
        TRY(wal_cut(store->wal, MIN(position, pins.head.log_from)));
        if (pins.head.log_from < position && !store->kept_said) {
                store->kept_said = true;
                mutex_lock(&store->wake_mu);
                store->checkpoint_error = ERR_CORRUPT;
                snprintf(store->checkpoint_text, sizeof(store->checkpoint_text),
                         "the log is kept from commit %" PRIu64 " on, as table %" PRIu64
                         " is damaged; it is cut again when the table is dropped",
                         pins.head.log_from + 1, table_id);
                mutex_unlock(&store->wake_mu);
        }
        return ST_OK;
}

Status checkpoint_replayed(Store *store, uint64_t position)
{
        _cleanup_(pins_done) Pins pins = {0};
        TRY(pin_all(store, CHECKPOINT_ENGINES, &pins));
        /* What is in files must be in the log for good, or a crash could leave half of a commit. */
        TRY(wal_sync(store->wal, position));
        return write_engines(store, &pins, position);
}

static void note_error(Store *store, Status st) REQUIRES(store->wake_mu)
{
        store->checkpoint_error = status_code(st);
        status_text(st, store->checkpoint_text, sizeof(store->checkpoint_text));
}

Status checkpoint_try(Store *store, CheckpointKind kind)
{
        mutex_lock(&store->checkpoint_mu);
        mutex_lock(&store->wake_mu);
        store->running = true;
        note_error(store, ST_OK);
        mutex_unlock(&store->wake_mu);
        uint64_t bytes = atomic_load(&store->logged_bytes);
        int64_t started = os_mono_ns(store->os);
        Status st = checkpoint_run(store, kind);
        int64_t ns = os_mono_ns(store->os) - started;
        mutex_lock(&store->wake_mu);
        if (!st)
                throttle_learn(store, bytes, (uint64_t)ns);
        store->running = false;
        store->failed = st != ST_OK;
        if (st)
                note_error(store, st);
        cond_broadcast(&store->eased);
        mutex_unlock(&store->wake_mu);
        mutex_unlock(&store->checkpoint_mu);
        return st;
}

Status store_checkpoint(Store *store)
{
        return checkpoint_try(store, CHECKPOINT_ALL);
}

Status store_checkpoint_error(Store *store)
{
        mutex_lock(&store->wake_mu);
        Status st = store->checkpoint_error ? status_new(store->checkpoint_error, "%s", store->checkpoint_text) : ST_OK;
        mutex_unlock(&store->wake_mu);
        return st;
}

CheckpointKind checkpoint_kind(Store *store)
{
        uint64_t bytes = 0;
        bool files = false;
        for (size_t i = 0; i < store->engine_count; i++) {
                EngineStats stats;
                files |= store->engines[i].ops->persistent;
                if (store->engines[i].ops->persistent)
                        continue;
                store->engines[i].ops->engine_stats(store->engines[i].engine, &stats);
                bytes += stats.row_bytes;
        }
        uint64_t log_bytes = wal_bytes(store->wal) - wal_kept_bytes(store->wal);
        bool cheap = bytes <= CHEAP_BYTES || bytes <= log_bytes || log_bytes >= store->options.log_budget_bytes;
        return cheap || !files ? CHECKPOINT_ALL : CHECKPOINT_ENGINES;
}

/* --- backup --- */

static Status backup_open(Store *store, CheckpointBackup *backup) REQUIRES(store->checkpoint_mu)
{
        SnapshotHead head = {0};
        for (size_t i = 0; i < store->engine_count; i++)
                if (store->engines[i].ops->persistent && store->engines[i].position != store->snapshot_position)
                        return status_new(ERR_BUSY, "the checkpoint is not of one moment");
        backup->position = store->snapshot_position;
        if (backup->position) {
                snapshot_file_name(backup->position, backup->snapshot_name);
                TRY(snapshot_file_head(store->dir, backup->position, &head));
                TRY(os_file_open(store->dir, backup->snapshot_name, OS_READ, &backup->snapshot));
                TRY(os_file_size(backup->snapshot, &backup->snapshot_bytes));
        }
        backup->wall_us = head.wall_us;
        for (size_t i = 0; i < store->engine_count; i++) {
                const StoreEngine *engine = &store->engines[i];
                if (!engine->ops->persistent)
                        continue;
                TRY(engine->ops->backup_begin(engine->engine, &backup->engines[backup->engine_count].backup));
                backup->engines[backup->engine_count++].ops = engine->ops;
        }
        return ST_OK;
}

Status checkpoint_begin_backup(Store *store, CheckpointBackup *ret_backup)
{
        CheckpointBackup backup = {0};
        mutex_lock(&store->checkpoint_mu);
        Status st = checkpoint_run(store, CHECKPOINT_ALL);
        if (!st)
                st = backup_open(store, &backup);
        mutex_unlock(&store->checkpoint_mu);
        if (st)
                checkpoint_end_backup(&backup);
        else
                *ret_backup = backup;
        return st;
}

void checkpoint_end_backup(CheckpointBackup *backup)
{
        for (size_t i = 0; i < backup->engine_count; i++)
                backup->engines[i].ops->backup_end(backup->engines[i].backup);
        os_file_close(backup->snapshot);
        *backup = (CheckpointBackup){0};
}

/* --- the thread --- */

void checkpoint_want(Store *store)
{
        if (!store->options.background)
                return;
        bool over = wal_bytes(store->wal) - wal_kept_bytes(store->wal) >= store->options.log_budget_bytes &&
                    wal_durable(store->wal) > atomic_load(&store->checkpoint_position);
        if (!over && !atomic_load(&store->asleep))
                return;
        mutex_lock(&store->wake_mu);
        if (!store->wanted)
                cond_signal(&store->wake);
        store->wanted |= over;
        mutex_unlock(&store->wake_mu);
}

void checkpoint_press(Store *store)
{
        if (atomic_load_explicit(&store->asked, memory_order_relaxed) || atomic_exchange(&store->asked, true))
                return;
        mutex_lock(&store->wake_mu);
        store->pressed = true;
        cond_signal(&store->wake);
        mutex_unlock(&store->wake_mu);
}

static bool under_pressure(Store *store)
{
        for (size_t i = 0; i < store->engine_count; i++)
                if (store->engines[i].ops->pressure &&
                    store->engines[i].ops->pressure(store->engines[i].engine) >= PRESSURE_START)
                        return true;
        return false;
}

/* Best effort: what it does not get done waits on. */
static void maintain(Store *store)
{
        for (size_t i = 0; i < store->engine_count; i++)
                if (store->engines[i].ops->maintain)
                        status_ignore(store->engines[i].ops->maintain(store->engines[i].engine));
}

/* Waits for a reason to make a checkpoint. Time is counted in what was waited: the clock of a simulated machine stands
 * still. *commits: those that the last one has. */
static bool wait_for_reason(Store *store, uint64_t commits) REQUIRES(store->wake_mu)
{
        uint64_t waited_ms = 0, maintained_ms = 0;
        while (!store->closing && !store->wanted && !store->pressed) {
                atomic_store(&store->asleep,
                             true); /* before the look at the count: checkpoint_want() does the reverse */
                if (atomic_load(&store->commit_count) == commits) {
                        cond_wait(&store->wake, &store->wake_mu);
                        atomic_store(&store->asleep, false);
                        continue;
                }
                atomic_store(&store->asleep, false);
                int64_t started = os_mono_ns(store->os);
                bool woken = cond_wait_for(&store->wake, &store->wake_mu, IDLE_MS * UINT64_C(1000000));
                waited_ms += woken ? (uint64_t)(os_mono_ns(store->os) - started) / 1000000 : IDLE_MS;
                if (store->closing || store->wanted || store->pressed)
                        break;
                if (waited_ms >= AGE_MS)
                        return true;
                if (waited_ms >= 2 * maintained_ms) { /* soon after writes began, then more and more rarely */
                        maintained_ms = waited_ms;
                        mutex_unlock(&store->wake_mu);
                        maintain(store);
                        mutex_lock(&store->wake_mu);
                }
        }
        return !store->closing;
}

static void wait_for_retry(Store *store) REQUIRES(store->wake_mu)
{
        for (int i = 0; i < RETRIES && !store->closing; i++) {
                cond_wait_for(&store->wake, &store->wake_mu, RETRY_NS);
                if (store->refused)
                        break;
        }
}

void checkpoint_thread(void *arg)
{
        Store *store = arg;
        /* What was replayed is not in files either. */
        uint64_t commits = wal_last(store->wal) > atomic_load(&store->checkpoint_position) ? UINT64_MAX : 0;
        mutex_lock(&store->wake_mu);
        while (wait_for_reason(store, commits)) {
                bool pressed = store->pressed && !store->wanted;
                store->wanted = store->pressed = store->refused = false;
                atomic_store(&store->asked, false);
                mutex_unlock(&store->wake_mu);
                Status st = ST_OK;
                if (!pressed || under_pressure(store)) {
                        uint64_t before = atomic_load(&store->commit_count);
                        CheckpointKind kind = pressed ? checkpoint_kind(store) : CHECKPOINT_ALL;
                        st = checkpoint_try(store, kind);
                        if (!st && kind == CHECKPOINT_ALL)
                                commits = before;
                        if (store->options.checkpoint_done)
                                store->options.checkpoint_done(store->options.checkpoint_ctx, st);
                        maintain(store);
                }
                mutex_lock(&store->wake_mu);
                if (st) {
                        store->wanted = true; /* before the wait, so that nobody ends it by asking for one */
                        wait_for_retry(store);
                }
                status_ignore(st);
        }
        mutex_unlock(&store->wake_mu);
}
