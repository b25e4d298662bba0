/* LMDB as its users run it for speed: a writable map, no sync, one read transaction a reader. */
#include <lmdb.h>
#include <stdlib.h>

#include "bench/storage/system.h"

struct Handle {
        const Settings *set;
        MDB_env *env;
        MDB_dbi dbi;
};
struct Reader {
        Handle *handle;
        MDB_txn *txn;
        MDB_cursor *cursor;
};

static void must(int rc, const char *what)
{
        if (rc)
                bench_die(what, mdb_strerror(rc));
}

static Handle *lmdb_open(const Settings *set)
{
        Handle *handle = calloc(1, sizeof *handle);
        handle->set = set;
        must(mdb_env_create(&handle->env), "LMDB: creating");
        must(mdb_env_set_mapsize(handle->env, MAX(UINT64_C(1) << 30, set->rows * (set->value_bytes + 200) * 2)),
             "LMDB: sizing");
        must(mdb_env_open(handle->env, set->dir, MDB_NOSYNC | MDB_WRITEMAP | MDB_NORDAHEAD, 0644), "LMDB: opening");
        MDB_txn *txn;
        must(mdb_txn_begin(handle->env, NULL, 0, &txn), "LMDB: beginning");
        must(mdb_dbi_open(txn, NULL, 0, &handle->dbi), "LMDB: opening the tree");
        must(mdb_txn_commit(txn), "LMDB: committing");
        return handle;
}

static void lmdb_close(Handle *handle)
{
        mdb_env_close(handle->env);
        free(handle);
}

static void lmdb_load(Handle *handle, const char *mode)
{
        const Settings *set = handle->set;
        unsigned flags = strcmp(mode, "append") == 0 ? MDB_APPEND : 0;
        for (uint64_t i = 0; i < set->rows;) {
                MDB_txn *txn;
                must(mdb_txn_begin(handle->env, NULL, 0, &txn), "LMDB: beginning");
                for (uint64_t end = MIN(set->rows, i + 100000); i < end; i++) {
                        uint8_t bytes[ROW_KEY_BYTES];
                        Bytes v = row_value(i, set->value_bytes);
                        row_key(i, set->rows, bytes);
                        MDB_val key = {sizeof bytes, bytes}, value = {v.size, (void *)v.data};
                        must(mdb_put(txn, handle->dbi, &key, &value, flags), "LMDB: putting");
                }
                must(mdb_txn_commit(txn), "LMDB: committing");
        }
        must(mdb_env_sync(handle->env, 1), "LMDB: syncing"); /* as the others' loads end durable */
}

static void lmdb_write(Handle *handle, const uint8_t (*keys)[ROW_KEY_BYTES], const Bytes *values, unsigned count)
{
        MDB_txn *txn;
        must(mdb_txn_begin(handle->env, NULL, 0, &txn), "LMDB: beginning");
        for (unsigned i = 0; i < count; i++) {
                MDB_val key = {ROW_KEY_BYTES, (void *)keys[i]}, value = {values[i].size, (void *)values[i].data};
                must(mdb_put(txn, handle->dbi, &key, &value, 0), "LMDB: putting");
        }
        must(mdb_txn_commit(txn), "LMDB: committing");
}

static Reader *lmdb_reader_open(Handle *handle)
{
        Reader *reader = calloc(1, sizeof *reader);
        reader->handle = handle;
        must(mdb_txn_begin(handle->env, NULL, MDB_RDONLY, &reader->txn), "LMDB: reading");
        must(mdb_cursor_open(reader->txn, handle->dbi, &reader->cursor), "LMDB: opening a cursor");
        return reader;
}

static void lmdb_reader_close(Reader *reader)
{
        mdb_cursor_close(reader->cursor);
        mdb_txn_abort(reader->txn);
        free(reader);
}

static void lmdb_reader_renew(Reader *reader)
{
        mdb_txn_reset(reader->txn);
        must(mdb_txn_renew(reader->txn), "LMDB: renewing");
}

static bool lmdb_get(Reader *reader, const uint8_t *key, uint64_t *sum)
{
        MDB_val k = {ROW_KEY_BYTES, (void *)key}, value;
        int rc = mdb_get(reader->txn, reader->handle->dbi, &k, &value);
        if (rc == MDB_NOTFOUND)
                return false;
        must(rc, "LMDB: getting");
        touch(BYTES(value.mv_data, value.mv_size), sum);
        return true;
}

static uint64_t lmdb_scan(Reader *reader, uint64_t *sum)
{
        MDB_val key, value;
        uint64_t rows = 0;
        int rc = mdb_cursor_get(reader->cursor, &key, &value, MDB_FIRST);
        for (; !rc; rc = mdb_cursor_get(reader->cursor, &key, &value, MDB_NEXT), rows++) {
                *sum += load_u64(key.mv_data);
                touch(BYTES(value.mv_data, value.mv_size), sum);
        }
        if (rc != MDB_NOTFOUND)
                must(rc, "LMDB: scanning");
        return rows;
}

static uint64_t lmdb_count(Reader *reader, const uint8_t *low, const uint8_t *high)
{
        MDB_val key = {ROW_KEY_BYTES, (void *)low}, value;
        uint64_t rows = 0;
        int rc = mdb_cursor_get(reader->cursor, &key, &value, MDB_SET_RANGE);
        for (; !rc && memcmp(key.mv_data, high, ROW_KEY_BYTES) < 0; rows++)
                rc = mdb_cursor_get(reader->cursor, &key, &value, MDB_NEXT);
        return rows;
}

static bool lmdb_nth(Reader *reader, uint64_t n, uint64_t *sum)
{
        MDB_val key, value;
        int rc = mdb_cursor_get(reader->cursor, &key, &value, MDB_FIRST);
        for (; !rc && n > 0; n--)
                rc = mdb_cursor_get(reader->cursor, &key, &value, MDB_NEXT);
        if (!rc)
                touch(BYTES(value.mv_data, value.mv_size), sum);
        return rc == 0;
}

const System system_lmdb = {
        .name = "lmdb",
        .open = lmdb_open,
        .close = lmdb_close,
        .load = lmdb_load,
        .write = lmdb_write,
        .reader_open = lmdb_reader_open,
        .reader_close = lmdb_reader_close,
        .reader_renew = lmdb_reader_renew,
        .get = lmdb_get,
        .scan = lmdb_scan,
        .count = lmdb_count,
        .nth = lmdb_nth,
};
