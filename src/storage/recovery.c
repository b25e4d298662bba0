/* recovery.c - from snapshot file, engines' files and log back to tables.
 *
 * Each of them holds another position, as a crash may come between two of them. A record of the log is applied to a
 * table only if the table does not have it yet; one of a table that is gone is passed over if some file is newer (the
 * table was dropped before that file was written). The log must reach from the oldest to the newest of them.
 *
 * Replay uses one unpublished write per table for many frames: nodes are then edited in place and there is no garbage.
 * The data may be larger than the cache: between two frames everything is published and an engine's checkpoint taken
 * when the cache fills. Should one frame not fit beside what its predecessors left, the writes are undone back to the
 * last publication, a checkpoint is made of that, and these frames are replayed one by one. */
#include "storage/store_int.h"

#include <inttypes.h>

#include "base/mem.h"

#define PRESSURE_FULL 90

typedef struct Replay {
        Store *store;
        uint64_t from;       /* the log begins behind it */
        uint64_t newest;     /* some file holds this */
        uint64_t done;       /* the last frame that is applied */
        uint64_t published;  /* all up to here is published */
        uint64_t redo;       /* up to here a frame may have been half applied before */
        bool full;           /* the error is that a cache is full */
        bool stuck;          /* the disk is full */
        StoreTable *writing; /* tables with a write, by replay_next */
} Replay;

static StoreTable *replay_table(Store *store, uint64_t id) NO_TSA
{
        return nummap_get(store->tables, id);
}

/* Gives the caller's reference to the catalog. */
static Status catalog_add(Store *store, StoreTable *table) NO_TSA
{
        Status st = nummap_put(store->tables, table->id, table, NULL);
        atomic_store(&table->visible, true);
        if (st) {
                atomic_store(&table->dropped, true);
                store_table_unref(table);
        }
        return st;
}

static void catalog_remove(Store *store, StoreTable *table, uint64_t position) NO_TSA
{
        table_unlist(store, table);
        nummap_remove(store->tables, table->id);
        atomic_store(&table->dropped, true);
        if (atomic_load(&table->damaged))
                atomic_fetch_sub(&store->damaged_count, 1);
        if (table->ops->table_dropped && table->engine_table && table->created_position != position)
                table->ops->table_dropped(table->engine_table, position);
        store_table_unref(table);
}

/* --- writes --- */

static Status replay_write(Replay *replay, StoreTable *table)
{
        if (!table->replay) {
                TRY(table->ops->write_begin(table->engine_table, &table->replay));
                table->replay_next = replay->writing;
                replay->writing = table;
        }
        table->replay_position = replay->done + 1;
        return ST_OK;
}

/* The table cannot be brought up to date: its pages are not readable. The others go on. */
static void replay_lost(Replay *replay, StoreTable *table, Status error)
{
        table->ops->write_abort(table->replay);
        table->replay = NULL;
        table->position = MAX(table->position, replay->from);
        table_damage(table, error);
}

static void replay_abort(Replay *replay)
{
        for (; replay->writing; replay->writing = replay->writing->replay_next) {
                replay->writing->ops->write_abort(replay->writing->replay);
                replay->writing->replay = NULL;
        }
}

static Status replay_publish(Replay *replay) NO_TSA
{
        StoreTable *table;
        for (table = replay->writing; table; table = table->replay_next) {
                if (!table->replay || !table->ops->write_prepare)
                        continue;
                Status st = table->ops->write_prepare(table->replay);
                if (status_code(st) == ERR_CORRUPT)
                        replay_lost(replay, table, st);
                else
                        TRY(st);
        }
        for (; (table = replay->writing); replay->writing = table->replay_next) {
                if (!table->replay)
                        continue;
                table->ops->write_commit(table->replay, table->replay_position);
                table->replay = NULL;
                table_list(replay->store, table);
                table->ops->table_tidy(table->engine_table);
        }
        replay->published = replay->done;
        return ST_OK;
}

/* Everything that is applied into files, so that the caches are clean. */
static Status replay_checkpoint(Replay *replay) NO_TSA
{
        TRY(replay_publish(replay));
        return replay->done > replay->from ? checkpoint_replayed(replay->store, replay->done) : ST_OK;
}

static unsigned pressure(const Store *store)
{
        unsigned most = 0;
        for (size_t i = 0; i < store->engine_count; i++) {
                const StoreEngine *engine = &store->engines[i];
                if (engine->ops->pressure)
                        most = MAX(most, engine->ops->pressure(engine->engine));
        }
        return most;
}

/* Before a frame. On a full disk there may be no checkpoint; if the cache holds it all, reading can go on. */
static Status make_room(Replay *replay, uint64_t position)
{
        unsigned now = pressure(replay->store);
        if (position > replay->redo && (now < PRESSURE_START || (replay->stuck && now < PRESSURE_FULL)))
                return ST_OK;
        Status st = replay_checkpoint(replay);
        replay->stuck = status_code(st) == ERR_NO_SPACE && now < PRESSURE_FULL;
        if (replay->stuck)
                st = status_free(st);
        return status_context(st, "making room in the cache");
}

/* --- records --- */

static Status bad_record(const char *what)
{
        return status_new(ERR_CORRUPT, "the commit has %s", what);
}

static Status record_create(Replay *replay, uint64_t position, const Record *record)
{
        Store *store = replay->store;
        StoreTable *table = replay_table(store, record->table_id);
        char engine[64];
        if (table)
                return position <= table->position || position == table->created_position
                               ? ST_OK
                               : bad_record("the creation of a table that exists");
        if (record->key.size >= sizeof(engine))
                return bad_record("an engine's name that is too long");
        memcpy(engine, record->key.data, record->key.size);
        engine[record->key.size] = 0;
        const EngineOps *ops = engine_find(engine);
        const StoreEngine *host = ops ? store_engine(store, ops) : NULL;
        /* The engine's files are newer and do not have it: it was dropped again. */
        if (host && position <= (host->ops->persistent ? host->position : store->snapshot_position))
                return ST_OK;
        TRY(table_new(store, record->table_id, engine, &table));
        TRY(catalog_add(store, table));
        table->position = position - 1;
        table->created_position = position;
        return replay_write(replay, table);
}

static void record_drop(Replay *replay, uint64_t position, StoreTable *table)
{
        if (table->replay) {
                StoreTable **link = &replay->writing;
                while (*link != table)
                        link = &(*link)->replay_next;
                *link = table->replay_next;
                table->ops->write_abort(table->replay);
                table->replay = NULL;
        }
        catalog_remove(replay->store, table, position);
}

static Status record_change(Replay *replay, const Record *record, StoreTable *table)
{
        bool found;
        if (atomic_load(&table->damaged))
                return ST_OK;
        Status st = replay_write(replay, table);
        if (st)
                ;
        else if (record->kind == RECORD_PUT)
                st = table->ops->write_put(table->replay, record->tree, record->key, record->value);
        else if (record->kind == RECORD_DELETE)
                st = table->ops->write_delete(table->replay, record->tree, record->key, &found);
        else
                st = table->ops->write_clear(table->replay, record->tree);
        if (status_code(st) == ERR_CORRUPT && table->host->ops->persistent) {
                replay_lost(replay, table, st);
                return ST_OK;
        }
        replay->full = status_code(st) == ERR_LIMIT && table->host->ops->persistent;
        return st;
}

static Status replay_record(Replay *replay, uint64_t position, const Record *record)
{
        StoreTable *table = replay_table(replay->store, record->table_id);
        if (record->kind == RECORD_CREATE)
                return record_create(replay, position, record);
        if (!table)
                return position <= MAX(replay->newest, replay->redo)
                               ? ST_OK
                               : bad_record("a change of a table that does not exist");
        if (position <= table->position)
                return ST_OK;
        if (record->kind == RECORD_DROP) {
                record_drop(replay, position, table);
                return ST_OK;
        }
        return record_change(replay, record, table);
}

/* Does it make or drop tables? What is undone must not reach behind that. */
static Status frame_changes_catalog(const WalFrame *frame, bool *ret_changes)
{
        Record record;
        bool found = true;
        *ret_changes = false;
        for (size_t offset = 0; found;) {
                TRY(record_next(frame->body, &offset, &record, &found));
                if (found && (record.kind == RECORD_CREATE || record.kind == RECORD_DROP))
                        *ret_changes = true;
        }
        return ST_OK;
}

static Status replay_frame(void *ctx, const WalFrame *frame)
{
        Replay *replay = ctx;
        Record record;
        bool found = true, catalog;
        TRY(make_room(replay, frame->position));
        TRY(frame_changes_catalog(frame, &catalog));
        if (catalog)
                TRY(replay_publish(replay));
        for (size_t offset = 0; found;) {
                TRY(record_next(frame->body, &offset, &record, &found));
                if (found)
                        TRY(replay_record(replay, frame->position, &record));
        }
        replay->done = frame->position;
        return catalog ? replay_publish(replay) : ST_OK;
}

static Status replay_log(Replay *replay) NO_TSA
{
        Store *store = replay->store;
        for (;;) {
                Status st = wal_replay(store->wal, replay->published, replay_frame, replay);
                uint64_t failed = replay->done + 1;
                if (!st)
                        st = replay_publish(replay);
                if (!st)
                        return ST_OK;
                replay_abort(replay);
                if (!replay->full || failed <= replay->redo)
                        return replay->full ? status_hint(st, "start with a larger --cache-size") : st;
                status_ignore(st);
                replay->full = false;
                replay->done = replay->published;
                replay->redo = failed;
        }
}

/* --- snapshot files --- */

typedef struct Load {
        Replay *replay;
        StoreTable *table;
} Load;

static Status load_table(void *ctx, uint64_t table_id, const char *engine)
{
        Load *load = ctx;
        Store *store = load->replay->store;
        const EngineOps *ops = engine_find(engine);
        if (ops && store_engine(store, ops)->ops->persistent)
                return status_new(ERR_CORRUPT,
                                  "the snapshot has table %" PRIu64 " of the engine \"%s\", which has "
                                  "files of its own",
                                  table_id, engine);
        if (replay_table(store, table_id))
                return status_new(ERR_CORRUPT, "the snapshot has table %" PRIu64 " twice", table_id);
        TRY(table_new(store, table_id, engine, &load->table));
        TRY(catalog_add(store, load->table));
        load->table->position = load->replay->done + 1; /* the snapshot has what was written there too */
        return replay_write(load->replay, load->table);
}

static Status load_row(void *ctx, uint32_t tree, Bytes key, Bytes value)
{
        Load *load = ctx;
        return load->table->ops->write_put(load->table->replay, tree, key, value);
}

typedef struct Positions {
        uint64_t newest, below; /* the newest one < below */
        bool found;
} Positions;

static Status note_snapshot(void *ctx, const char *name)
{
        Positions *positions = ctx;
        uint64_t position;
        if (snapshot_file_parse(name, &position) && position < positions->below &&
            (!positions->found || position > positions->newest)) {
                positions->newest = position;
                positions->found = true;
        }
        return ST_OK;
}

static Status snapshot_load(Replay *replay, uint64_t position, SnapshotHead *ret_head)
{
        Store *store = replay->store;
        Load load = {.replay = replay};
        SnapshotVisitor visitor = {.ctx = &load, .table = load_table, .row = load_row};
        TRY(snapshot_file_head(store->dir, position, ret_head));
        replay->done = position - 1; /* its tables have what was written at `position` */
        Status st = snapshot_file_read(store->dir, position, &visitor);
        replay->done = position;
        if (!st)
                return replay_publish(replay);
        replay_abort(replay);
        tables_clear(store);
        Status again = nummap_new(&store->tables);
        if (again) {
                status_ignore(st);
                return again;
        }
        return st;
}

/* The newest snapshot, or an older one: that is there only if the power went before the log was cut, and then log and
 * it are whole together. *ret_damage: what is wrong with the newest. */
static Status snapshots_load(Replay *replay, SnapshotHead *ret_head, Status *ret_damage)
{
        Store *store = replay->store;
        Positions positions = {.below = UINT64_MAX};
        TRY(os_dir_list(store->dir, note_snapshot, &positions));
        while (positions.found) {
                Status st = snapshot_load(replay, positions.newest, ret_head);
                if (status_code(st) != ERR_CORRUPT) {
                        store->snapshot_position = st ? 0 : positions.newest;
                        return st;
                }
                if (*ret_damage)
                        status_ignore(st); /* the first error says more */
                else
                        *ret_damage = st;
                positions = (Positions){.below = positions.newest};
                TRY(os_dir_list(store->dir, note_snapshot, &positions));
        }
        *ret_head = (SnapshotHead){0};
        return *ret_damage ? take(*ret_damage) : ST_OK;
}

/* --- engines with files --- */

typedef struct Stored {
        Replay *replay;
        StoreEngine *host;
} Stored;

static Status stored_table(void *ctx, uint64_t table_id, const EngineOps *ops, uint64_t position)
{
        const Stored *stored = ctx;
        Store *store = stored->replay->store;
        StoreTable *other = replay_table(store, table_id), *table;
        TRY(table_stored(store, stored->host, table_id, ops, position, &table));
        if (!other)
                return catalog_add(store, table);
        /* A number is used again after a drop. Two have it, as one's files are older than that drop. */
        uint64_t theirs = other->host->ops->persistent ? other->host->position : store->snapshot_position;
        if (theirs < stored->host->position) {
                catalog_remove(store, other, stored->replay->newest);
                return catalog_add(store, table);
        }
        if (atomic_load(&table->damaged))
                atomic_fetch_sub(&store->damaged_count, 1);
        atomic_store(&table->dropped, true);
        if (table->engine_table)
                table->ops->table_dropped(table->engine_table, stored->replay->newest);
        store_table_unref(table);
        return ST_OK;
}

static Status stored_load(Replay *replay) NO_TSA
{
        Store *store = replay->store;
        for (size_t i = 0; i < store->engine_count; i++) {
                StoreEngine *host = &store->engines[i];
                if (!host->ops->persistent)
                        continue;
                host->position = host->ops->stored_position(host->engine);
                replay->newest = MAX(replay->newest, host->position);
                replay->from = MIN(replay->from, host->position);
        }
        for (size_t i = 0; i < store->engine_count; i++) {
                Stored stored = {replay, &store->engines[i]};
                if (stored.host->ops->persistent)
                        TRY(stored.host->ops->stored_each(stored.host->engine, stored_table, &stored));
        }
        return ST_OK;
}

/* What the log has not, no table misses: nothing happened to it then. */
static void damaged_clamp(const Replay *replay) NO_TSA
{
        size_t cursor = 0;
        uint64_t id;
        void *value;
        if (atomic_load(&replay->store->damaged_count) == 0)
                return;
        while (nummap_next(replay->store->tables, &cursor, &id, &value)) {
                StoreTable *table = value;
                if (atomic_load(&table->damaged))
                        table->position = MAX(table->position, replay->from);
        }
}

/* --- all of it --- */

static Status log_open(Store *store, const Replay *replay, const SnapshotHead *head)
{
        WalOptions options = {.segment_bytes = store->options.log_segment_bytes,
                              .tail_max_bytes = store->options.log_tail_max_bytes,
                              .recent_bytes = store->options.log_recent_bytes,
                              .soft_sync_ms = store->options.soft_sync_ms,
                              .background = store->options.background,
                              .archive = store->archive_dir,
                              .recover_to = store->options.recover_to,
                              .generation = head->log_generation,
                              .wall_us = head->wall_us};
        TRY(wal_open(store->log_dir, &options, replay->from, &store->wal));
        if (wal_last(store->wal) < replay->newest)
                return status_hint(status_new(ERR_CORRUPT,
                                              "the log in %s ends with commit %" PRIu64 ", but there are files of "
                                              "commit %" PRIu64 ": log files are missing",
                                              os_dir_path(store->log_dir), wal_last(store->wal), replay->newest),
                                   "restore the directory as a whole, log files and data files together");
        return ST_OK;
}

static Status moment_check(const Store *store, const Replay *replay, const SnapshotHead *head, uint64_t position)
{
        const StoreMoment *to = &store->options.recover_to;
        char wanted[MOMENT_TIME_BYTES], is[MOMENT_TIME_BYTES];
        if (to->position ? to->position < replay->newest : to->wall_us && position < replay->newest)
                return status_new(ERR_NOT_FOUND,
                                  "the data in %s is that of commit %" PRIu64
                                  " already, which came after the moment to recover",
                                  os_dir_path(store->dir), replay->newest);
        if (!to->position && to->wall_us && head->position && head->wall_us > to->wall_us)
                return status_new(ERR_NOT_FOUND, "the data in %s is that of %s already, which is later than %s",
                                  os_dir_path(store->dir), moment_time_text(head->wall_us, is),
                                  moment_time_text(to->wall_us, wanted));
        return ST_OK;
}

/* What is behind the moment is forgotten: first all before it goes into files, for good. */
static Status forget_rest(Store *store)
{
        if (!moment_is_set(store->options.recover_to))
                return ST_OK;
        mutex_lock(&store->checkpoint_mu);
        Status st = checkpoint_run(store, CHECKPOINT_ALL);
        mutex_unlock(&store->checkpoint_mu);
        if (!st)
                st = wal_forget(store->wal);
        return st;
}

static Status recover(Store *store, Replay *replay, SnapshotHead *head)
{
        replay->newest = replay->from = head->position;
        TRY(stored_load(replay));
        replay->from = MIN(replay->from, head->log_from);
        replay->done = replay->published = replay->from;
        damaged_clamp(replay);
        TRY(moment_check(store, replay, head, UINT64_MAX));
        TRY(log_open(store, replay, head));
        TRY(replay_log(replay));
        TRY(moment_check(store, replay, head, wal_last(store->wal)));
        TRY(forget_rest(store));
        return wal_start(store->wal);
}

Status recovery_run(Store *store) NO_TSA
{
        int64_t started = os_mono_ns(store->os);
        Replay replay = {.store = store};
        SnapshotHead head = {0};
        _cleanup_(status_freep) Status damage = ST_OK;
        TRY(snapshots_load(&replay, &head, &damage));
        Status st = recover(store, &replay, &head);
        if (status_code(st) == ERR_CORRUPT && damage) { /* the older snapshot does not help */
                status_ignore(st);
                st = take(damage);
        }
        TRY(st);
        uint64_t position = store->snapshot_position;
        for (size_t i = 0; i < store->engine_count; i++)
                if (store->engines[i].ops->persistent)
                        position = MIN(position, store->engines[i].position);
        atomic_store(&store->checkpoint_position, position);
        /* Left over from a checkpoint that did not end; best effort. */
        status_ignore(checkpoint_remove_older(store, store->snapshot_position));
        store->replay_ns = (uint64_t)(os_mono_ns(store->os) - started);
        return ST_OK;
}
