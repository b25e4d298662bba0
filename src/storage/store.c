/* store.c - opening and closing a data directory, its tables, reading, and durability. */
#include "storage/store_int.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "storage/snapshot_file.h"

#define VERSION_NAME      "VERSION"
#define VERSION_MAX_BYTES 4096

/* --- tables --- */

Status table_new(Store *store, uint64_t id, const char *engine, StoreTable **ret_table)
{
        const EngineOps *ops = engine_find(engine);
        if (!ops)
                return status_new(ERR_UNSUPPORTED, "there is no storage engine \"%s\"", engine);
        StoreTable *table = mem_zalloc(sizeof(StoreTable));
        if (!table)
                return status_nomem();
        Status st = ops->table_create(store->memory, id, &table->engine_table);
        if (st) {
                mem_free(table);
                return st;
        }
        table->store = store;
        table->id = id;
        table->ops = ops;
        atomic_store(&table->refs, 1);
        mutex_init(&table->mu);
        *ret_table = table;
        return ST_OK;
}

StoreTable *store_table_unref(StoreTable *table)
{
        if (table && atomic_fetch_sub_explicit(&table->refs, 1, memory_order_acq_rel) == 1) {
                /* Out of the catalog, or the catalog's reference would be left. */
                assert(atomic_load(&table->dropped));
                table->ops->table_drop(table->engine_table);
                mutex_done(&table->mu);
                mem_free(table);
        }
        return NULL;
}

StoreTable *store_table_ref(Store *store, uint64_t id)
{
        mutex_lock(&store->catalog_mu);
        StoreTable *table = nummap_get(store->tables, id);
        if (table && atomic_load(&table->visible))
                atomic_fetch_add_explicit(&table->refs, 1, memory_order_relaxed);
        else
                table = NULL;
        mutex_unlock(&store->catalog_mu);
        return table;
}

uint64_t store_table_id(const StoreTable *table)
{
        return table->id;
}

bool store_table_dropped(const StoreTable *table)
{
        return atomic_load(&table->dropped);
}

void store_table_stats(StoreTable *table, EngineStats *ret_stats)
{
        table->ops->table_stats(table->engine_table, ret_stats);
}

static int table_compare(const void *a, const void *b)
{
        const StoreTable *x = *(StoreTable *const *)a, *y = *(StoreTable *const *)b;
        return (x->id > y->id) - (x->id < y->id);
}

Status tables_list(Store *store, StoreTable ***ret_tables, size_t *ret_count)
{
        size_t n = 0, cursor = 0;
        uint64_t id;
        void *value;
        mutex_lock(&store->catalog_mu);
        StoreTable **tables = mem_alloc((nummap_count(store->tables) + 1) * sizeof(StoreTable *));
        while (tables && nummap_next(store->tables, &cursor, &id, &value)) {
                StoreTable *table = value;
                if (atomic_load(&table->visible)) {
                        atomic_fetch_add_explicit(&table->refs, 1, memory_order_relaxed);
                        tables[n++] = table;
                }
        }
        mutex_unlock(&store->catalog_mu);
        if (!tables)
                return status_nomem();
        if (n > 1)
                qsort(tables, n, sizeof(tables[0]), table_compare);
        *ret_tables = tables;
        *ret_count = n;
        return ST_OK;
}

Status store_each_table(Store *store, Status (*each)(void *ctx, uint64_t id, const char *engine), void *ctx)
{
        StoreTable **tables;
        size_t n;
        Status st = ST_OK;
        TRY(tables_list(store, &tables, &n));
        for (size_t i = 0; i < n; i++) {
                if (!st)
                        st = each(ctx, tables[i]->id, tables[i]->ops->name);
                store_table_unref(tables[i]);
        }
        mem_free(tables);
        return st;
}

void tables_clear(Store *store)
{
        size_t cursor = 0;
        uint64_t id;
        void *value;
        while (store->tables && nummap_next(store->tables, &cursor, &id, &value)) {
                StoreTable *table = value;
                table->ops->write_abort(table->replay);
                table->replay = NULL;
                atomic_store(&table->dropped, true);
                store_table_unref(table);
        }
        store->tables = nummap_free(store->tables);
}

/* --- opening --- */

typedef struct DirNames {
        bool version, data;
} DirNames;

static Status note_name(void *ctx, const char *name)
{
        DirNames *names = ctx;
        uint64_t position;
        names->version |= strcmp(name, VERSION_NAME) == 0;
        names->data |= strcmp(name, "log") == 0 || snapshot_file_parse(name, &position);
        return ST_OK;
}

/* Is the directory ours, and of a format we know? Writes nothing. *ret_fresh: it has no store yet. */
static Status version_check(Store *store, bool *ret_fresh)
{
        DirNames names = {0};
        Buf text;
        unsigned format = 0;
        int end = 0;
        TRY(os_dir_list(store->dir, note_name, &names));
        *ret_fresh = !names.version;
        if (!names.version) {
                if (names.data)
                        return status_hint(status_new(ERR_CORRUPT, "data directory %s has data but no %s file",
                                                      os_dir_path(store->dir), VERSION_NAME),
                                           "restore the file from a backup, or choose another directory");
                return ST_OK;
        }
        buf_init(&text, VERSION_MAX_BYTES);
        Status st = os_read_whole(store->dir, VERSION_NAME, VERSION_MAX_BYTES, &text);
        if (!st)
                st = buf_append_byte(&text, 0);
        if (!st && (sscanf((const char *)text.data, "photondb %u%n", &format, &end) != 1 || format == 0))
                st = status_new(ERR_CORRUPT, "%s/%s does not say which format the directory has",
                                os_dir_path(store->dir), VERSION_NAME);
        if (!st && format > STORE_FORMAT_VERSION)
                st = status_hint(status_new(ERR_VERSION, "data directory %s has format %u; this version reads up to %d",
                                            os_dir_path(store->dir), format, STORE_FORMAT_VERSION),
                                 "start the newer version that wrote it, or choose another directory");
        buf_done(&text);
        return st;
}

/* The name of a directory that somebody made and did not live to sync. Best effort: where we may not write, we did not
 * make it. */
static void parent_sync(Store *store)
{
        _cleanup_(mem_freep) char *path = mem_strdup(store->options.path);
        _cleanup_(os_dir_closep) OsDir *parent = NULL;
        if (!path)
                return;
        size_t size = strlen(path);
        while (size > 1 && path[size - 1] == '/')
                size--;
        while (size > 0 && path[size - 1] != '/')
                size--;
        path[size] = 0;
        Status st = os_dir_open(store->os, size ? path : ".", OS_DIR_EXISTING, &parent);
        if (!st)
                st = os_dir_sync(parent);
        status_ignore(st);
}

static Status directory_open(Store *store)
{
        char version[32];
        bool fresh, existed = true;
        Status st = os_dir_open(store->os, store->options.path, OS_DIR_EXISTING, &store->dir);
        if (status_code(st) == ERR_NOT_FOUND) {
                status_ignore(st);
                existed = false;
                st = os_dir_open(store->os, store->options.path, OS_DIR_CREATE, &store->dir);
        }
        if (status_code(st) == ERR_ACCESS)
                st = status_hint(st, "make the directory writable for this user, or choose another");
        TRY(st);
        /* Looked at before the lock, which makes a file, and once more under it. */
        TRY(version_check(store, &fresh));
        st = os_dir_lock(store->dir, "LOCK");
        if (status_code(st) == ERR_BUSY)
                st = status_hint(st, "stop the other process, or choose another directory");
        TRY(st);
        TRY(version_check(store, &fresh));
        if (fresh) {
                if (existed)
                        parent_sync(store);
                snprintf(version, sizeof(version), "photondb %d\n", STORE_FORMAT_VERSION);
                TRY_CTX(os_write_whole(store->dir, VERSION_NAME, version, strlen(version)), "creating %s/%s",
                        os_dir_path(store->dir), VERSION_NAME);
        }
        TRY(os_dir_open_sub(store->dir, "log", OS_DIR_CREATE, &store->log_dir));
        /* Every name that we see and build upon - VERSION, log, a snapshot - may be one whose maker died before it was
         * durable. */
        return os_dir_sync(store->dir);
}

static void log_changed(void *ctx)
{
        Store *store = ctx;
        mutex_lock(&store->watch_mu);
        for (size_t i = 0; i < WATCH_MAX; i++)
                if (store->watches[i].changed)
                        store->watches[i].changed(store->watches[i].ctx);
        mutex_unlock(&store->watch_mu);
        checkpoint_want(store);
}

static void store_free(Store *store)
{
        tables_clear(store);
        commits_free(store);
        if (store->memory)
                engine_memory.close(store->memory);
        os_dir_close(store->log_dir);
        os_dir_close(store->dir);
        mutex_done(&store->commit_mu);
        mutex_done(&store->catalog_mu);
        mutex_done(&store->free_mu);
        mutex_done(&store->watch_mu);
        mutex_done(&store->checkpoint_mu);
        mutex_done(&store->wake_mu);
        cond_done(&store->wake);
        mem_free((void *)(uintptr_t)store->options.path);
        mem_free(store);
}

Status store_open(const StoreOptions *options, Store **ret_store)
{
        Store *store = mem_zalloc(sizeof(Store));
        if (!store)
                return status_nomem();
        mutex_init(&store->commit_mu);
        mutex_init(&store->catalog_mu);
        mutex_init(&store->free_mu);
        mutex_init(&store->watch_mu);
        mutex_init(&store->checkpoint_mu);
        mutex_init(&store->wake_mu);
        cond_init(&store->wake);
        store->options = *options;
        store->os = options->os;
        if (!store->options.log_segment_bytes)
                store->options.log_segment_bytes = (uint64_t)64 << 20;
        if (!store->options.log_budget_bytes)
                store->options.log_budget_bytes = (uint64_t)256 << 20;
        if (!store->options.log_tail_max_bytes)
                store->options.log_tail_max_bytes = (size_t)64 << 20;
        if (!store->options.soft_sync_ms)
                store->options.soft_sync_ms = 1000;
        EngineOptions engine_options = {.memory_max_bytes = options->memory_max_bytes};

        Status st = ST_OK;
        store->options.path = mem_strdup(options->path);
        if (!store->options.path)
                st = status_nomem();
        if (!st)
                st = nummap_new(&store->tables);
        if (!st)
                st = engine_memory.open(store->os, &engine_options, &store->memory);
        if (!st)
                st = directory_open(store);
        if (!st)
                st = recovery_run(store);
        if (!st) {
                wal_on_change(store->wal, log_changed, store);
                if (options->background) {
                        st = thread_start(&store->thread, "checkpoint", checkpoint_thread, store);
                        store->thread_started = !st;
                }
                if (st)
                        status_ignore(wal_close(store->wal));
        }
        if (st) {
                store_free(store);
                return st;
        }
        *ret_store = store;
        return ST_OK;
}

Status store_close(Store *store)
{
        if (!store)
                return ST_OK;
        mutex_lock(&store->wake_mu);
        store->closing = true;
        cond_signal(&store->wake);
        mutex_unlock(&store->wake_mu);
        if (store->thread_started)
                thread_join(&store->thread);
        Status st = wal_close(store->wal);
        store_free(store);
        return st;
}

void store_stats(Store *store, StoreStats *ret_stats)
{
        WalStats wal;
        wal_stats(store->wal, &wal);
        *ret_stats = (StoreStats){
                .last_position = wal_last(store->wal),
                .durable_position = wal_durable(store->wal),
                .snapshot_position = atomic_load(&store->snapshot_position),
                .log_bytes = wal_bytes(store->wal),
                .log_segment_count = wal.segment_count,
                .sync_count = wal.sync_count,
                .commit_count = atomic_load(&store->commit_count),
                .sync_ns_total = wal.sync_ns_total,
                .sync_ns_max = wal.sync_ns_max,
                .replayed_frames = wal.replayed_frames,
                .replay_ns = store->replay_ns,
        };
        engine_memory.engine_stats(store->memory, &ret_stats->engines);
}

/* --- reading: a Snapshot is the engine's own, a Cursor too (see EngineObject) --- */

static const EngineOps *ops_of(const void *object)
{
        return ((const EngineObject *)object)->ops;
}

Status store_pin(StoreTable *table, Snapshot **ret_snapshot)
{
        EngineSnapshot *snapshot;
        if (unlikely(atomic_load_explicit(&table->dropped, memory_order_acquire)))
                return status_new(ERR_NOT_FOUND, "table %" PRIu64 " was dropped", table->id);
        TRY(table->ops->pin(table->engine_table, &snapshot));
        *ret_snapshot = (Snapshot *)snapshot;
        return ST_OK;
}

void store_unpin(Snapshot *snapshot)
{
        if (snapshot)
                ops_of(snapshot)->unpin((EngineSnapshot *)snapshot);
}

uint64_t snapshot_version(Snapshot *snapshot)
{
        return ops_of(snapshot)->version((EngineSnapshot *)snapshot);
}

Status snapshot_get(Snapshot *snapshot, Bytes key, Arena *hold, Bytes *ret_value, bool *ret_found)
{
        return ops_of(snapshot)->get((EngineSnapshot *)snapshot, 0, key, hold, ret_value, ret_found);
}

Status snapshot_count(Snapshot *snapshot, EngineRange range, uint64_t *ret_count)
{
        return ops_of(snapshot)->count((EngineSnapshot *)snapshot, 0, range, ret_count);
}

Status snapshot_nth(Snapshot *snapshot, uint64_t n, Arena *hold, Bytes *ret_key, Bytes *ret_value, bool *ret_found)
{
        return ops_of(snapshot)->nth((EngineSnapshot *)snapshot, 0, n, hold, ret_key, ret_value, ret_found);
}

Status cursor_open(Snapshot *snapshot, EngineRange range, bool descending, Cursor **ret_cursor)
{
        EngineCursor *cursor;
        TRY(ops_of(snapshot)->cursor_open((EngineSnapshot *)snapshot, 0, range, descending, &cursor));
        *ret_cursor = (Cursor *)cursor;
        return ST_OK;
}

Status cursor_next(Cursor *cursor, Arena *hold, Bytes *ret_key, Bytes *ret_value, bool *ret_found)
{
        return ops_of(cursor)->cursor_next((EngineCursor *)cursor, hold, ret_key, ret_value, ret_found);
}

Status cursor_skip(Cursor *cursor, uint64_t n, uint64_t *ret_skipped)
{
        return ops_of(cursor)->cursor_skip((EngineCursor *)cursor, n, ret_skipped);
}

void cursor_close(Cursor *cursor)
{
        if (cursor)
                ops_of(cursor)->cursor_close((EngineCursor *)cursor);
}

/* --- durability --- */

uint64_t store_durable(Store *store)
{
        return wal_durable(store->wal);
}

void store_sync_soon(Store *store, uint64_t position)
{
        wal_sync_soon(store->wal, position);
}

Status store_sync(Store *store, uint64_t position)
{
        return wal_sync(store->wal, position);
}

Status store_step(Store *store)
{
        return wal_step(store->wal);
}

Status store_log_error(Store *store)
{
        return wal_error(store->wal);
}

Status store_watch(Store *store, void (*changed)(void *ctx), void *ctx, StoreWatch **ret_watch)
{
        Status st = status_new(ERR_LIMIT, "%d watch the log already, the most that can", WATCH_MAX);
        mutex_lock(&store->watch_mu);
        for (size_t i = 0; i < WATCH_MAX; i++) {
                if (!store->watches[i].changed) {
                        store->watches[i] = (StoreWatch){.store = store, .changed = changed, .ctx = ctx};
                        *ret_watch = &store->watches[i];
                        st = status_free(st);
                        break;
                }
        }
        mutex_unlock(&store->watch_mu);
        return st;
}

void store_unwatch(StoreWatch *watch)
{
        if (!watch)
                return;
        Store *store = watch->store;
        mutex_lock(&store->watch_mu); /* a running call ends first */
        watch->changed = NULL;
        mutex_unlock(&store->watch_mu);
}
