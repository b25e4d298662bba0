/* recovery.c - from snapshot file and log back to tables. */
#include "storage/store_int.h"

#include <inttypes.h>

#include "base/mem.h"
#include "storage/snapshot_file.h"

static StoreTable *replay_table(Store *store, uint64_t id) NO_TSA
{
        return nummap_get(store->tables, id);
}

static Status replay_create(Store *store, uint64_t id, const char *engine) NO_TSA
{
        StoreTable *table;
        TRY(table_new(store, id, engine, &table));
        Status st = nummap_put(store->tables, id, table, NULL);
        atomic_store(&table->visible, true);
        if (st) {
                atomic_store(&table->dropped, true);
                store_table_unref(table);
        }
        return st;
}

static Status replay_write(StoreTable *table, uint64_t position)
{
        table->replay_position = position;
        return table->replay ? ST_OK : table->ops->write_begin(table->engine_table, &table->replay);
}

/* One write per table for the whole replay: nodes are then edited in place, and there is no garbage. */
static void replay_publish(Store *store) NO_TSA
{
        size_t cursor = 0;
        uint64_t id;
        void *value;
        while (nummap_next(store->tables, &cursor, &id, &value)) {
                StoreTable *table = value;
                if (table->replay)
                        table->ops->write_commit(table->replay, table->replay_position);
                table->replay = NULL;
        }
}

static Status bad_record(const char *what)
{
        return status_new(ERR_CORRUPT, "the commit has %s", what);
}

static Status replay_record(Store *store, uint64_t position, const uint8_t *record, Bytes key, Bytes value) NO_TSA
{
        uint64_t id = load_u64(record + 8);
        RecordKind kind = (RecordKind)record[0];
        StoreTable *table = replay_table(store, id);
        char engine[64];
        bool found;
        if (kind == RECORD_CREATE) {
                if (table)
                        return bad_record("the creation of a table that exists");
                if (key.size >= sizeof(engine))
                        return bad_record("an engine's name that is too long");
                memcpy(engine, key.data, key.size);
                engine[key.size] = 0;
                TRY(replay_create(store, id, engine));
                return replay_write(replay_table(store, id), position);
        }
        if (!table)
                return bad_record("a change of a table that does not exist");
        switch (kind) {
        case RECORD_PUT: TRY(replay_write(table, position)); return table->ops->write_put(table->replay, 0, key, value);
        case RECORD_DELETE:
                TRY(replay_write(table, position));
                return table->ops->write_delete(table->replay, 0, key, &found);
        case RECORD_DROP:
                table->ops->write_abort(table->replay);
                table->replay = NULL;
                nummap_remove(store->tables, id);
                atomic_store(&table->dropped, true);
                store_table_unref(table);
                return ST_OK;
        default: return bad_record("a record of an unknown kind");
        }
}

static Status replay_frame(void *ctx, const WalFrame *frame)
{
        Store *store = ctx;
        const uint8_t *p = frame->body.data, *end = p + frame->body.size;
        while (p < end) {
                if (end - p < RECORD_BYTES)
                        return bad_record("a record that is cut off");
                uint64_t key_size = load_u16(p + 2), value_size = load_u32(p + 4);
                if (key_size + value_size > (uint64_t)(end - p) - RECORD_BYTES)
                        return bad_record("a record that is cut off");
                TRY(replay_record(store, frame->position, p, BYTES(p + RECORD_BYTES, key_size),
                                  BYTES(p + RECORD_BYTES + key_size, value_size)));
                p += RECORD_BYTES + key_size + value_size;
        }
        return ST_OK;
}

/* --- the snapshot --- */

typedef struct Load {
        Store *store;
        uint64_t position;
        StoreTable *table;
} Load;

static Status load_table(void *ctx, uint64_t table_id, const char *engine)
{
        Load *load = ctx;
        if (replay_table(load->store, table_id))
                return status_new(ERR_CORRUPT, "the snapshot has table %" PRIu64 " twice", table_id);
        TRY(replay_create(load->store, table_id, engine));
        load->table = replay_table(load->store, table_id);
        return replay_write(load->table, load->position);
}

static Status load_row(void *ctx, Bytes key, Bytes value)
{
        Load *load = ctx;
        return load->table->ops->write_put(load->table->replay, 0, key, value);
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

static Status forget_all(Store *store)
{
        tables_clear(store);
        return nummap_new(&store->tables);
}

/* From the snapshot at `position` (0: from nothing) and the log. */
static Status recover_from(Store *store, uint64_t position)
{
        Load load = {.store = store, .position = position};
        SnapshotVisitor visitor = {.ctx = &load, .table = load_table, .row = load_row};
        WalOptions options = {.segment_bytes = store->options.log_segment_bytes,
                              .tail_max_bytes = store->options.log_tail_max_bytes,
                              .soft_sync_ms = store->options.soft_sync_ms,
                              .background = store->options.background};
        if (position)
                TRY(snapshot_file_read(store->dir, position, &visitor));
        TRY(wal_open(store->log_dir, &options, position, replay_frame, store, &store->wal));
        replay_publish(store);
        atomic_store(&store->snapshot_position, position);
        return ST_OK;
}

Status recovery_run(Store *store)
{
        int64_t started = os_mono_ns(store->os);
        Positions positions = {.below = UINT64_MAX};
        TRY(os_dir_list(store->dir, note_snapshot, &positions));
        Status st = recover_from(store, positions.newest);
        /* An older snapshot is there only if the power went before the log was cut; then log and it are whole together.
         */
        while (status_code(st) == ERR_CORRUPT && positions.found) {
                Positions older = {.below = positions.newest};
                Status listed = os_dir_list(store->dir, note_snapshot, &older);
                if (!listed && older.found)
                        listed = forget_all(store);
                if (listed || !older.found) {
                        status_ignore(listed);
                        break;
                }
                positions = older;
                Status again = recover_from(store, older.newest);
                if (!again)
                        st = status_free(st);
                else
                        status_ignore(again); /* the first error says more */
        }
        TRY(st);
        /* Left over from a checkpoint that did not end; best effort. */
        status_ignore(checkpoint_remove_older(store, positions.newest));
        store->replay_ns = (uint64_t)(os_mono_ns(store->os) - started);
        return ST_OK;
}
