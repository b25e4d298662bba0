/* RocksDB with its defaults, but for a block cache as large as asked for; bloom filters and compression by option. */
#include <rocksdb/c.h>
#include <stdlib.h>

#include "bench/storage/system.h"

struct Handle {
        const Settings *set;
        rocksdb_t *db;
        rocksdb_options_t *options;
        rocksdb_writeoptions_t *soft;
        rocksdb_cache_t *cache;
};
struct Reader {
        Handle *handle;
        rocksdb_readoptions_t *options;
        const rocksdb_snapshot_t *snapshot;
};

static void must(char *err, const char *what)
{
        if (err)
                bench_die(what, err);
}

static Handle *rocks_open(const Settings *set)
{
        Handle *handle = calloc(1, sizeof *handle);
        char *err = NULL;
        handle->set = set;
        handle->options = rocksdb_options_create();
        rocksdb_options_set_create_if_missing(handle->options, 1);
        if (!set->compress)
                rocksdb_options_set_compression(handle->options, rocksdb_no_compression);
        rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
        handle->cache = rocksdb_cache_create_lru(MAX(set->cache_bytes, (size_t)8 << 20));
        rocksdb_block_based_options_set_block_cache(table, handle->cache);
        if (set->bloom_bits)
                rocksdb_block_based_options_set_filter_policy(table,
                                                              rocksdb_filterpolicy_create_bloom_full(set->bloom_bits));
        rocksdb_options_set_block_based_table_factory(handle->options, table);
        rocksdb_block_based_options_destroy(table);
        handle->soft = rocksdb_writeoptions_create(); /* the log on, not synced */
        handle->db = rocksdb_open(handle->options, set->dir, &err);
        must(err, "RocksDB: opening");
        return handle;
}

static void rocks_close(Handle *handle)
{
        rocksdb_close(handle->db);
        rocksdb_writeoptions_destroy(handle->soft);
        rocksdb_options_destroy(handle->options);
        rocksdb_cache_destroy(handle->cache);
        free(handle);
}

static void rocks_write(Handle *handle, const uint8_t (*keys)[ROW_KEY_BYTES], const Bytes *values, unsigned count)
{
        char *err = NULL;
        rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
        for (unsigned i = 0; i < count; i++)
                rocksdb_writebatch_put(batch, (const char *)keys[i], ROW_KEY_BYTES, (const char *)values[i].data,
                                       values[i].size);
        rocksdb_write(handle->db, handle->soft, batch, &err);
        must(err, "RocksDB: writing");
        rocksdb_writebatch_destroy(batch);
}

static void rocks_load(Handle *handle, const char *mode)
{
        enum { BATCH = 1000 };
        static uint8_t keys[BATCH][ROW_KEY_BYTES];
        static Bytes values[BATCH];
        const Settings *set = handle->set;
        char *err = NULL;
        if (strcmp(mode, "nolog") == 0)
                rocksdb_writeoptions_disable_WAL(handle->soft, 1);
        for (uint64_t i = 0; i < set->rows;) {
                unsigned n = 0;
                for (; n < BATCH && i < set->rows; n++, i++) {
                        row_key(i, set->rows, keys[n]);
                        values[n] = row_value(i, set->value_bytes);
                }
                rocks_write(handle, (const uint8_t(*)[ROW_KEY_BYTES])keys, values, n);
        }
        rocksdb_flushoptions_t *flush = rocksdb_flushoptions_create();
        rocksdb_flush(handle->db, flush, &err);
        must(err, "RocksDB: flushing");
        rocksdb_flushoptions_destroy(flush);
}

static void rocks_settle(Handle *handle)
{
        rocksdb_compact_range(handle->db, NULL, 0, NULL, 0);
}

static Reader *rocks_reader_open(Handle *handle)
{
        Reader *reader = calloc(1, sizeof *reader);
        reader->handle = handle;
        reader->options = rocksdb_readoptions_create();
        reader->snapshot = rocksdb_create_snapshot(handle->db);
        rocksdb_readoptions_set_snapshot(reader->options, reader->snapshot);
        return reader;
}

static void rocks_reader_close(Reader *reader)
{
        rocksdb_release_snapshot(reader->handle->db, reader->snapshot);
        rocksdb_readoptions_destroy(reader->options);
        free(reader);
}

static void rocks_reader_renew(Reader *reader)
{
        rocksdb_release_snapshot(reader->handle->db, reader->snapshot);
        reader->snapshot = rocksdb_create_snapshot(reader->handle->db);
        rocksdb_readoptions_set_snapshot(reader->options, reader->snapshot);
}

static bool rocks_get(Reader *reader, const uint8_t *key, uint64_t *sum)
{
        char *err = NULL;
        size_t size;
        rocksdb_pinnableslice_t *slice =
                rocksdb_get_pinned(reader->handle->db, reader->options, (const char *)key, ROW_KEY_BYTES, &err);
        must(err, "RocksDB: getting");
        if (!slice)
                return false;
        const char *data = rocksdb_pinnableslice_value(slice, &size);
        touch(BYTES(data, size), sum);
        rocksdb_pinnableslice_destroy(slice);
        return true;
}

static uint64_t rocks_scan(Reader *reader, uint64_t *sum)
{
        rocksdb_iterator_t *it = rocksdb_create_iterator(reader->handle->db, reader->options);
        uint64_t rows = 0;
        size_t size;
        for (rocksdb_iter_seek_to_first(it); rocksdb_iter_valid(it); rocksdb_iter_next(it), rows++) {
                *sum += load_u64(rocksdb_iter_key(it, &size));
                const char *data = rocksdb_iter_value(it, &size);
                touch(BYTES(data, size), sum);
        }
        rocksdb_iter_destroy(it);
        return rows;
}

static uint64_t rocks_count(Reader *reader, const uint8_t *low, const uint8_t *high)
{
        rocksdb_iterator_t *it = rocksdb_create_iterator(reader->handle->db, reader->options);
        uint64_t rows = 0;
        size_t size;
        rocksdb_iter_seek(it, (const char *)low, ROW_KEY_BYTES);
        for (; rocksdb_iter_valid(it) && memcmp(rocksdb_iter_key(it, &size), high, ROW_KEY_BYTES) < 0; rows++)
                rocksdb_iter_next(it);
        rocksdb_iter_destroy(it);
        return rows;
}

static bool rocks_nth(Reader *reader, uint64_t n, uint64_t *sum)
{
        rocksdb_iterator_t *it = rocksdb_create_iterator(reader->handle->db, reader->options);
        size_t size;
        rocksdb_iter_seek_to_first(it);
        for (; rocksdb_iter_valid(it) && n > 0; n--)
                rocksdb_iter_next(it);
        bool found = rocksdb_iter_valid(it);
        if (found) {
                const char *data = rocksdb_iter_value(it, &size);
                touch(BYTES(data, size), sum);
        }
        rocksdb_iter_destroy(it);
        return found;
}

const System system_rocksdb = {
        .name = "rocksdb",
        .open = rocks_open,
        .close = rocks_close,
        .load = rocks_load,
        .write = rocks_write,
        .settle = rocks_settle,
        .reader_open = rocks_reader_open,
        .reader_close = rocks_reader_close,
        .reader_renew = rocks_reader_renew,
        .get = rocks_get,
        .scan = rocks_scan,
        .count = rocks_count,
        .nth = rocks_nth,
};
