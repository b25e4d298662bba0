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

StoreEngine *store_engine(Store *store, const EngineOps *ops)
{
        const EngineOps *host = ops->host ? ops->host : ops;
        for (size_t i = 0; i < store->engine_count; i++)
                if (store->engines[i].ops == host)
                        return &store->engines[i];
        return NULL;
}

static StoreTable *table_alloc(Store *store, uint64_t id, const EngineOps *ops)
{
        StoreTable *table = mem_zalloc(sizeof(StoreTable));
        if (table) {
                table->store = store;
                table->id = id;
                table->ops = ops;
                table->host = store_engine(store, ops);
                atomic_store(&table->refs, 1);
                mutex_init(&table->mu);
        }
        return table;
}

static void table_free(StoreTable *table)
{
        mutex_done(&table->mu);
        mem_free(table->error_text);
        mem_free(table);
}

Status table_new(Store *store, uint64_t id, const char *engine, StoreTable **ret_table)
{
        const EngineOps *ops = engine_find(engine);
        if (!ops)
                return status_new(ERR_UNSUPPORTED, "there is no storage engine \"%s\"", engine);
        StoreTable *table = table_alloc(store, id, ops);
        if (!table)
                return status_nomem();
        Status st = ops->table_create(table->host->engine, id, &table->engine_table);
        if (st)
                table_free(table);
        else
                *ret_table = table;
        return st;
}

void table_damage(StoreTable *table, Status error)
{
        char text[512];
        table->error_code = status_code(error);
        table->error_text = mem_strdup(status_text(error, text, sizeof(text)));
        status_ignore(error);
        atomic_store(&table->damaged, true);
        atomic_fetch_add(&table->store->damaged_count, 1);
}

Status table_stored(Store *store, StoreEngine *host, uint64_t id, const EngineOps *ops, uint64_t position,
                    StoreTable **ret_table)
{
        StoreTable *table = table_alloc(store, id, ops);
        if (!table)
                return status_nomem();
        Status st = host->ops->table_open(host->engine, id, &table->engine_table);
        if (status_code(st) == ERR_CORRUPT) {
                table_damage(table, st);
                st = ST_OK;
        }
        if (st) {
                table_free(table);
                return st;
        }
        table->position = position;
        atomic_store(&table->visible, true);
        *ret_table = table;
        return ST_OK;
}

void table_list(Store *store, StoreTable *table)
{
        StoreEngine *host = table->host;
        if (table->listed)
                return;
        table->listed = true;
        table->previous = NULL;
        table->next = host->tables;
        if (table->next)
                table->next->previous = table;
        host->tables = table;
        host->table_count++;
}

void table_unlist(Store *store, StoreTable *table)
{
        StoreEngine *host = table->host;
        if (!table->listed)
                return;
        table->listed = false;
        if (table->previous)
                table->previous->next = table->next;
        else
                host->tables = table->next;
        if (table->next)
                table->next->previous = table->previous;
        host->table_count--;
}

StoreTable *store_table_unref(StoreTable *table)
{
        if (table && atomic_fetch_sub_explicit(&table->refs, 1, memory_order_acq_rel) == 1) {
                /* Out of the catalog, or the catalog's reference would be left. */
                assert(atomic_load(&table->dropped) && !table->listed);
                if (table->engine_table)
                        table->ops->table_drop(table->engine_table);
                table_free(table);
        }
        return NULL;
}

Status store_table_error(StoreTable *table)
{
        if (likely(!atomic_load_explicit(&table->damaged, memory_order_acquire)))
                return ST_OK;
        return status_hint(status_new(table->error_code, "table %" PRIu64 " is damaged: %s", table->id,
                                      table->error_text ? table->error_text : "out of memory while it was opened"),
                           "restore a backup, or drop the table; the others are not concerned");
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
        if (table->engine_table && !atomic_load(&table->damaged))
                table->ops->table_stats(table->engine_table, ret_stats);
        else
                *ret_stats = (EngineStats){0};
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

void tables_clear(Store *store) NO_TSA
{
        size_t cursor = 0;
        uint64_t id;
        void *value;
        while (store->tables && nummap_next(store->tables, &cursor, &id, &value)) {
                StoreTable *table = value;
                table->ops->write_abort(table->replay);
                table->replay = NULL;
                table_unlist(store, table);
                atomic_store(&table->dropped, true);
                store_table_unref(table);
        }
        store->tables = nummap_free(store->tables);
}

/* --- opening --- */

typedef struct DirNames {
        bool version, data;
        bool backup, restore; /* marked as something that nobody may write to: backup.c, restore.c */
} DirNames;

static Status note_name(void *ctx, const char *name)
{
        DirNames *names = ctx;
        uint64_t position;
        names->version |= strcmp(name, VERSION_NAME) == 0;
        names->backup |= strcmp(name, "BACKUP") == 0;
        names->restore |= strcmp(name, "RESTORE") == 0;
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
        if (names.backup)
                return status_hint(
                        status_new(ERR_INVALID, "%s is a backup, which must stay as it is", os_dir_path(store->dir)),
                        "photondb restore %s --data-dir NEW makes a data directory of it", os_dir_path(store->dir));
        if (names.restore && !store->options.restoring)
                return status_hint(status_new(ERR_INVALID, "the restore into %s did not end", os_dir_path(store->dir)),
                                   "remove the directory, and restore once more");
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
                st = status_hint(status_new(ERR_VERSION, "data directory %s has format %u; this version reads %d",
                                            os_dir_path(store->dir), format, STORE_FORMAT_VERSION),
                                 "start the newer version that wrote it, or choose another directory");
        if (!st && format < STORE_FORMAT_VERSION)
                st = status_hint(status_new(ERR_VERSION,
                                            "data directory %s has the older format %u; this version reads %d",
                                            os_dir_path(store->dir), format, STORE_FORMAT_VERSION),
                                 "export the data with the version that wrote it, or choose another directory");
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
                if (store->watches[i].changed && !store->watches[i].of_written)
                        store->watches[i].changed(store->watches[i].ctx);
        mutex_unlock(&store->watch_mu);
        checkpoint_want(store);
}

/* --- engines --- */

static Status engines_open(Store *store)
{
        const EngineOps *ops;
        EngineOptions options = {.os = store->os,
                                 .dir = store->dir,
                                 .memory_max_bytes = store->options.memory_max_bytes,
                                 .cache_max_bytes = store->options.cache_max_bytes,
                                 .file_max_bytes = store->options.file_max_bytes};
        for (size_t i = 0; (ops = engine_at(i)); i++) {
                StoreEngine *engine = &store->engines[store->engine_count];
                assert(ops->abi == ENGINE_ABI);
                if (ops->host)
                        continue;
                assert(store->engine_count < STORE_ENGINES_MAX);
                TRY_CTX(ops->open(&options, &engine->engine), "opening the engine \"%s\" in %s", ops->name,
                        os_dir_path(store->dir));
                engine->ops = ops;
                store->engine_count++;
        }
        return ST_OK;
}

static void engines_close(Store *store)
{
        while (store->engine_count > 0) {
                StoreEngine *engine = &store->engines[--store->engine_count];
                engine->ops->close(engine->engine);
        }
}

static void histogram_merge(Histogram *into, const Histogram *more)
{
        into->count += more->count;
        into->sum += more->sum;
        into->max = MAX(into->max, more->max);
        for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
                into->buckets[i] += more->buckets[i];
}

static void engines_stats(Store *store, EngineStats *ret_stats)
{
        EngineStats sum = {0};
        bool persistent = false;
        for (size_t i = 0; i < store->engine_count; i++) {
                const StoreEngine *engine = &store->engines[i];
                EngineStats one = {0};
                engine->ops->engine_stats(engine->engine, &one);
                sum.row_count += one.row_count;
                sum.row_bytes += one.row_bytes;
                sum.memory_bytes += one.memory_bytes;
                sum.snapshot_count += one.snapshot_count;
                sum.cache_bytes += one.cache_bytes;
                sum.memo_bytes += one.memo_bytes;
                sum.cache_max_bytes += one.cache_max_bytes;
                sum.dirty_bytes += one.dirty_bytes;
                sum.dirty_max_bytes += one.dirty_max_bytes;
                sum.hit_count += one.hit_count;
                sum.read_count += one.read_count;
                sum.evicted_count += one.evicted_count;
                sum.file_bytes += one.file_bytes;
                sum.live_bytes += one.live_bytes;
                sum.waiting_bytes += one.waiting_bytes;
                sum.free_bytes += one.free_bytes;
                sum.metadata_bytes += one.metadata_bytes;
                sum.checkpoint_count += one.checkpoint_count;
                sum.checkpoint_ns_last = MAX(sum.checkpoint_ns_last, one.checkpoint_ns_last);
                sum.checkpoint_bytes_last += one.checkpoint_bytes_last;
                histogram_merge(&sum.sync_ns, &one.sync_ns);
                if (engine->ops->persistent)
                        sum.checkpoint_position = persistent ? MIN(sum.checkpoint_position, one.checkpoint_position)
                                                             : one.checkpoint_position;
                persistent |= engine->ops->persistent;
        }
        *ret_stats = sum;
}

void store_space_classes(Store *store, void (*each)(void *ctx, const char *engine, const EngineSpaceClass *class),
                         void *ctx)
{
        EngineSpaceClass classes[128];
        for (size_t i = 0; i < store->engine_count; i++) {
                const StoreEngine *engine = &store->engines[i];
                if (!engine->ops->space_classes)
                        continue;
                size_t n = engine->ops->space_classes(engine->engine, classes, ELEMENTS(classes));
                for (size_t k = 0; k < n; k++)
                        each(ctx, engine->ops->name, &classes[k]);
        }
}

/* --- opening and closing --- */

static void store_free(Store *store)
{
        tables_clear(store);
        commits_free(store);
        engines_close(store);
        os_dir_close(store->archive_dir);
        os_dir_close(store->log_dir);
        os_dir_close(store->dir);
        mutex_done(&store->commit_mu);
        mutex_done(&store->catalog_mu);
        mutex_done(&store->free_mu);
        mutex_done(&store->watch_mu);
        mutex_done(&store->checkpoint_mu);
        mutex_done(&store->wake_mu);
        cond_done(&store->wake);
        cond_done(&store->eased);
        mem_free((void *)(uintptr_t)store->options.path);
        mem_free(store);
}

static Status store_new(const StoreOptions *options, Store **ret_store)
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
        cond_init(&store->eased);
        store->options = *options;
        store->os = options->os;
        if (!store->options.log_segment_bytes)
                store->options.log_segment_bytes = (uint64_t)64 << 20;
        if (!store->options.log_budget_bytes)
                store->options.log_budget_bytes = (uint64_t)256 << 20;
        if (!store->options.log_tail_max_bytes)
                store->options.log_tail_max_bytes = (size_t)64 << 20;
        if (!store->options.log_recent_bytes)
                store->options.log_recent_bytes = (size_t)8 << 20;
        if (!store->options.soft_sync_ms)
                store->options.soft_sync_ms = 1000;
        store->options.path = mem_strdup(options->path);
        if (!store->options.path) {
                store_free(store);
                return status_nomem();
        }
        *ret_store = store;
        return ST_OK;
}

static Status store_start(Store *store)
{
        TRY(nummap_new(&store->tables));
        TRY(directory_open(store));
        if (store->options.log_archive)
                TRY_CTX(os_dir_open(store->os, store->options.log_archive, OS_DIR_CREATE, &store->archive_dir),
                        "opening the log archive");
        TRY(engines_open(store));
        TRY(recovery_run(store));
        wal_on_change(store->wal, log_changed, store);
        wal_on_written(store->wal, tail_written, store);
        wal_keep(store->wal, store->options.log_keep_bytes, store->options.log_keep_ms);
        atomic_store(&store->checkpoint_ended_ns, os_mono_ns(store->os));
        if (store->options.background) {
                TRY(thread_start(&store->thread, "checkpoint", checkpoint_thread, store));
                store->thread_started = true;
        }
        return ST_OK;
}

Status store_open(const StoreOptions *options, Store **ret_store)
{
        Store *store;
        TRY(store_new(options, &store));
        Status st = store_start(store);
        if (st) {
                status_ignore(wal_close(store->wal));
                store_free(store);
                return st;
        }
        *ret_store = store;
        return ST_OK;
}

/* So that the next start has nothing to replay. Best effort: without it that start is as after a crash. */
static void close_checkpoint(Store *store)
{
        Status st = wal_error(store->wal);
        if (!st && wal_last(store->wal) > atomic_load(&store->checkpoint_position))
                st = checkpoint_try(store, checkpoint_kind(store));
        status_ignore(st);
}

Status store_close(Store *store)
{
        if (!store)
                return ST_OK;
        mutex_lock(&store->wake_mu);
        store->closing = true;
        cond_signal(&store->wake);
        cond_broadcast(&store->eased);
        mutex_unlock(&store->wake_mu);
        if (store->thread_started)
                thread_join(&store->thread);
        close_checkpoint(store);
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
                .log_bytes = wal_bytes(store->wal),
                .log_kept_bytes = wal_kept_bytes(store->wal),
                .log_reach = wal_reach(store->wal),
                .log_reader_count = wal.reader_count,
                .log_recent_bytes = wal.recent_bytes,
                .written_position = wal_written(store->wal),
                .log_segment_count = wal.segment_count,
                .sync_count = wal.sync_count,
                .commit_count = atomic_load(&store->commit_count),
                .sync_ns = wal.sync_ns,
                .replayed_frames = wal.replayed_frames,
                .replayed_bytes = wal.replayed_bytes,
                .replay_ns = store->replay_ns,
                .checkpoint_position = atomic_load(&store->checkpoint_position),
                .checkpoint_count = atomic_load(&store->checkpoint_count),
                .checkpoint_age_us = (os_mono_ns(store->os) - atomic_load(&store->checkpoint_ended_ns)) / 1000,
                .damaged_table_count = atomic_load(&store->damaged_count),
        };
        mutex_lock(&store->catalog_mu);
        ret_stats->table_count = nummap_count(store->tables);
        mutex_unlock(&store->catalog_mu);
        mutex_lock(&store->wake_mu);
        ret_stats->throttled_count = store->throttled_count;
        ret_stats->throttled_ns = store->throttled_ns;
        mutex_unlock(&store->wake_mu);
        engines_stats(store, &ret_stats->engines);
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
        if (unlikely(atomic_load_explicit(&table->damaged, memory_order_acquire)))
                return store_table_error(table);
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

Status snapshot_tree_get(Snapshot *snapshot, uint32_t tree, Bytes key, Arena *hold, Bytes *ret_value, bool *ret_found)
{
        assert(tree <= STORE_TREES_MAX);
        return ops_of(snapshot)->get((EngineSnapshot *)snapshot, tree, key, hold, ret_value, ret_found);
}

Status snapshot_get(Snapshot *snapshot, Bytes key, Arena *hold, Bytes *ret_value, bool *ret_found)
{
        return snapshot_tree_get(snapshot, 0, key, hold, ret_value, ret_found);
}

Status snapshot_tree_count(Snapshot *snapshot, uint32_t tree, EngineRange range, uint64_t *ret_count)
{
        assert(tree <= STORE_TREES_MAX);
        return ops_of(snapshot)->count((EngineSnapshot *)snapshot, tree, range, ret_count);
}

Status snapshot_count(Snapshot *snapshot, EngineRange range, uint64_t *ret_count)
{
        return snapshot_tree_count(snapshot, 0, range, ret_count);
}

Status snapshot_tree_nth(Snapshot *snapshot, uint32_t tree, uint64_t n, Arena *hold, Bytes *ret_key, Bytes *ret_value,
                         bool *ret_found)
{
        assert(tree <= STORE_TREES_MAX);
        return ops_of(snapshot)->nth((EngineSnapshot *)snapshot, tree, n, hold, ret_key, ret_value, ret_found);
}

Status snapshot_nth(Snapshot *snapshot, uint64_t n, Arena *hold, Bytes *ret_key, Bytes *ret_value, bool *ret_found)
{
        return snapshot_tree_nth(snapshot, 0, n, hold, ret_key, ret_value, ret_found);
}

Status snapshot_split(Snapshot *snapshot, EngineRange range, size_t parts, Arena *hold, Bytes *ret_keys,
                      size_t *ret_count)
{
        return ops_of(snapshot)->split((EngineSnapshot *)snapshot, 0, range, parts, hold, ret_keys, ret_count);
}

Status cursor_tree_open(Snapshot *snapshot, uint32_t tree, EngineRange range, bool descending, Cursor **ret_cursor)
{
        EngineCursor *cursor;
        assert(tree <= STORE_TREES_MAX);
        TRY(ops_of(snapshot)->cursor_open((EngineSnapshot *)snapshot, tree, range, descending, &cursor));
        *ret_cursor = (Cursor *)cursor;
        return ST_OK;
}

Status cursor_open(Snapshot *snapshot, EngineRange range, bool descending, Cursor **ret_cursor)
{
        return cursor_tree_open(snapshot, 0, range, descending, ret_cursor);
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

bool cursor_has_blocks(Cursor *cursor)
{
        return ops_of(cursor)->cursor_block != NULL;
}

Status cursor_block(Cursor *cursor, EngineBlock *ret_block)
{
        return ops_of(cursor)->cursor_block((EngineCursor *)cursor, ret_block);
}

Status cursor_block_row(Cursor *cursor, uint32_t i, Arena *hold, Bytes *ret_value)
{
        return ops_of(cursor)->block_row((EngineCursor *)cursor, i, hold, ret_value);
}

const Memo *cursor_block_memo(Cursor *cursor, uint64_t key)
{
        return ops_of(cursor)->block_memo((EngineCursor *)cursor, key);
}

const Memo *cursor_block_remember(Cursor *cursor, Memo *memo)
{
        return ops_of(cursor)->block_remember((EngineCursor *)cursor, memo);
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

Status store_watch_add(Store *store, const StoreWatch *watch, StoreWatch **ret_watch)
{
        StoreWatch *place = NULL;
        mutex_lock(&store->watch_mu);
        for (size_t i = 0; i < WATCH_MAX && !place; i++)
                if (!store->watches[i].changed)
                        place = &store->watches[i];
        if (place)
                *place = *watch;
        mutex_unlock(&store->watch_mu);
        if (!place)
                return status_new(ERR_LIMIT, "%d watch the log already, the most that can", WATCH_MAX);
        *ret_watch = place;
        return ST_OK;
}

Status store_watch(Store *store, void (*changed)(void *ctx), void *ctx, StoreWatch **ret_watch)
{
        return store_watch_add(store, &(StoreWatch){.store = store, .changed = changed, .ctx = ctx}, ret_watch);
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
