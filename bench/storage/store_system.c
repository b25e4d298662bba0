/* Our storage as the server uses it: store.h, the log on, soft commits, the checkpoint thread running. */
#include <stdlib.h>
#include <unistd.h>

#include "storage/store.h"
#include "bench/storage/system.h"

struct Handle {
        const Settings *set;
        Store *store;
        StoreTable *table;
        int64_t open_ns;
};
struct Reader {
        Handle *handle;
        Snapshot *snapshot;
        Arena hold;
};

static void store_create_tables(Handle *handle, uint64_t first, unsigned count)
{
        for (unsigned i = 0; i < count; i++) {
                Commit *commit;
                StoreTable *table;
                uint64_t position;
                bench_must(commit_begin(handle->store, &commit), "a commit");
                bench_must(commit_create_table(commit, first + i, handle->set->engine, &table), "creating a table");
                bench_must(commit_finish(commit, &position), "creating a table");
                store_table_unref(table);
        }
}

static Handle *store_system_open(const Settings *set)
{
        Handle *handle = calloc(1, sizeof *handle);
        handle->set = set;
        StoreOptions options = {
                .os = os_posix(),
                .path = set->dir,
                .cache_max_bytes = set->cache_bytes,
                .log_budget_bytes = set->log_budget_bytes,
                .background = true,
        };
        int64_t began = os_mono_ns(os_posix());
        bench_must(store_open(&options, &handle->store), "opening the store");
        handle->open_ns = os_mono_ns(os_posix()) - began;
        handle->table = store_table_ref(handle->store, 1);
        if (!handle->table) {
                store_create_tables(handle, 1, 1);
                handle->table = store_table_ref(handle->store, 1);
        }
        return handle;
}

static void store_system_close(Handle *handle)
{
        store_table_unref(handle->table);
        bench_must(store_close(handle->store), "closing the store");
        free(handle);
}

static void store_write(Handle *handle, const uint8_t (*keys)[ROW_KEY_BYTES], const Bytes *values, unsigned count)
{
        Commit *commit;
        uint64_t position;
        bench_must(commit_begin(handle->store, &commit), "a commit");
        bench_must(commit_lock(commit, handle->table), "locking");
        for (unsigned i = 0; i < count; i++)
                bench_must(commit_put(commit, handle->table, BYTES(keys[i], ROW_KEY_BYTES), values[i]), "putting");
        bench_must(commit_finish(commit, &position), "committing");
}

static void store_load(Handle *handle, const char *mode)
{
        enum { BATCH = 1000 };
        static uint8_t keys[BATCH][ROW_KEY_BYTES];
        static Bytes values[BATCH];
        const Settings *set = handle->set;
        for (uint64_t i = 0; i < set->rows;) {
                unsigned n = 0;
                for (; n < BATCH && i < set->rows; n++, i++) {
                        row_key(i, set->rows, keys[n]);
                        values[n] = row_value(i, set->value_bytes);
                }
                store_write(handle, (const uint8_t(*)[ROW_KEY_BYTES])keys, values, n);
        }
        StoreStats stats;
        store_stats(handle->store, &stats);
        bench_must(store_sync(handle->store, stats.last_position), "syncing");
}

static void store_system_checkpoint(Handle *handle)
{
        bench_must(store_checkpoint(handle->store), "a checkpoint");
}

static Reader *store_reader_open(Handle *handle)
{
        Reader *reader = calloc(1, sizeof *reader);
        reader->handle = handle;
        arena_init(&reader->hold, 0);
        bench_must(store_pin(handle->table, &reader->snapshot), "pinning");
        return reader;
}

static void store_reader_close(Reader *reader)
{
        store_unpin(reader->snapshot);
        arena_done(&reader->hold);
        free(reader);
}

static void store_reader_renew(Reader *reader)
{
        store_unpin(reader->snapshot);
        bench_must(store_pin(reader->handle->table, &reader->snapshot), "pinning");
}

static bool store_get(Reader *reader, const uint8_t *key, uint64_t *sum)
{
        Bytes value;
        bool found;
        arena_reset(&reader->hold);
        bench_must(snapshot_get(reader->snapshot, BYTES(key, ROW_KEY_BYTES), &reader->hold, &value, &found), "getting");
        if (found)
                touch(value, sum);
        return found;
}

static uint64_t store_scan(Reader *reader, uint64_t *sum)
{
        Cursor *cursor;
        uint64_t rows = 0;
        bool found;
        Bytes key, value;
        bench_must(cursor_open(reader->snapshot, (EngineRange){0}, false, &cursor), "opening a cursor");
        for (;; rows++) {
                if (rows % 64 == 0)
                        arena_reset(&reader->hold);
                bench_must(cursor_next(cursor, &reader->hold, &key, &value, &found), "scanning");
                if (!found)
                        break;
                *sum += load_u64(key.data);
                touch(value, sum);
        }
        cursor_close(cursor);
        return rows;
}

static uint64_t store_count(Reader *reader, const uint8_t *low, const uint8_t *high)
{
        uint64_t rows;
        EngineRange range = {BYTES(low, ROW_KEY_BYTES), BYTES(high, ROW_KEY_BYTES)};
        bench_must(snapshot_count(reader->snapshot, range, &rows), "counting");
        return rows;
}

static bool store_nth(Reader *reader, uint64_t n, uint64_t *sum)
{
        Bytes key, value;
        bool found;
        arena_reset(&reader->hold);
        bench_must(snapshot_nth(reader->snapshot, n, &reader->hold, &key, &value, &found), "nth");
        if (found)
                touch(value, sum);
        return found;
}

static void store_report(Handle *handle, FILE *out)
{
        StoreStats stats;
        store_stats(handle->store, &stats);
        fprintf(out,
                ",\"open_ns\":%" PRId64 ",\"replayed_frames\":%" PRIu64 ",\"replay_ns\":%" PRIu64
                ",\"log_bytes\":%" PRIu64 ",\"last_position\":%" PRIu64 ",\"checkpoints\":%" PRIu64
                ",\"checkpoint_ns\":%" PRIu64 ",\"checkpoint_bytes\":%" PRIu64 ",\"throttled\":%" PRIu64
                ",\"throttled_ns\":%" PRIu64 ",\"cache_bytes\":%" PRIu64 ",\"dirty_bytes\":%" PRIu64
                ",\"memory_bytes\":%" PRIu64 ",\"file_bytes\":%" PRIu64 ",\"live_bytes\":%" PRIu64 ",\"reads\":%" PRIu64
                ",\"row_count\":%" PRIu64,
                handle->open_ns, stats.replayed_frames, stats.replay_ns, stats.log_bytes, stats.last_position,
                stats.checkpoint_count, stats.engines.checkpoint_ns_last, stats.engines.checkpoint_bytes_last,
                stats.throttled_count, stats.throttled_ns, stats.engines.cache_bytes, stats.engines.dirty_bytes,
                stats.engines.memory_bytes, stats.engines.file_bytes, stats.engines.live_bytes,
                stats.engines.read_count, stats.engines.row_count);
}

const System system_store = {
        .name = "store",
        .open = store_system_open,
        .close = store_system_close,
        .load = store_load,
        .write = store_write,
        .settle = store_system_checkpoint,
        .reader_open = store_reader_open,
        .reader_close = store_reader_close,
        .reader_renew = store_reader_renew,
        .get = store_get,
        .scan = store_scan,
        .count = store_count,
        .nth = store_nth,
        .report = store_report,
        .checkpoint = store_system_checkpoint,
        .create_tables = store_create_tables,
};
