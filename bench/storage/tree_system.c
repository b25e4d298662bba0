/* Our trees alone (storage/tree), without log and superblocks: what a tree costs. */
#include <stdlib.h>

#include "os/os.h"
#include "bench/storage/system.h"
#include "storage/tree/tree.h"

struct Handle {
        const Settings *set;
        OsDir *dir;
        Space *space;
        PCache *cache;
        PTree *tree;
        uint64_t position;
};
struct Reader {
        Handle *handle;
        PSnapshot *snapshot;
        Arena hold;
};

static const PRange all = {{NULL, 0}, {NULL, 0}};

static Handle *tree_open(const Settings *set)
{
        Handle *handle = calloc(1, sizeof *handle);
        handle->set = set;
        bench_must(os_dir_open(os_posix(), set->dir, OS_DIR_EXISTING, &handle->dir), "the directory");
        bench_must(space_open(handle->dir, "pages", NULL, &handle->space), "the page file");
        PCacheOptions options = {.space = handle->space, .name = "pages", .budget_bytes = set->cache_bytes};
        bench_must(pcache_open(&options, &handle->cache), "the cache");
        bench_must(ptree_open(handle->cache, (PTreeAddress){0}, NULL, &handle->tree), "the tree");
        return handle;
}

static void tree_close(Handle *handle)
{
        ptree_close(handle->tree);
        pcache_close(handle->cache);
        space_close(handle->space);
        os_dir_close(handle->dir);
        free(handle);
}

/* What a checkpoint does to trees. */
static void tree_checkpoint(Handle *handle)
{
        PSnapshot *snapshot;
        PTreeAddress address;
        bench_must(ptree_pin(handle->tree, &snapshot), "pinning");
        uint64_t position = ptree_position(snapshot);
        bench_must(ptree_flush(snapshot, &address), "flushing");
        ptree_unpin(snapshot);
        bench_must(space_sync(handle->space), "syncing");
        ptree_tidy(handle->tree);
        if (position)
                bench_must(space_reclaim(handle->space, position - 1), "reclaiming");
}

static void tree_write(Handle *handle, const uint8_t (*keys)[ROW_KEY_BYTES], const Bytes *values, unsigned count)
{
        PWrite *write;
        PCacheStats stats;
        bench_must(ptree_write_begin(handle->tree, &write), "writing");
        for (unsigned i = 0; i < count; i++)
                bench_must(ptree_write_put(write, 0, BYTES(keys[i], ROW_KEY_BYTES), values[i]), "putting");
        bench_must(ptree_write_prepare(write), "preparing");
        ptree_write_commit(write, ++handle->position);
        ptree_tidy(handle->tree);
        if (handle->position % 64 == 0) {
                pcache_stats(handle->cache, &stats);
                if (stats.dirty_bytes > ((uint64_t)256 << 20) ||
                    (handle->set->cache_bytes && stats.dirty_bytes > handle->set->cache_bytes / 2))
                        tree_checkpoint(handle);
        }
}

static void tree_load(Handle *handle, const char *mode)
{
        enum { BATCH = 1000 };
        static uint8_t keys[BATCH][ROW_KEY_BYTES];
        static Bytes values[BATCH];
        const Settings *set = handle->set;
        if (strcmp(mode, "bulk") == 0) {
                PWrite *write;
                PBulk *bulk;
                bench_must(ptree_write_begin(handle->tree, &write), "writing");
                bench_must(ptree_bulk_begin(write, 0, &bulk), "a bulk load");
                for (uint64_t i = 0; i < set->rows; i++) {
                        row_key(i, set->rows, keys[0]);
                        bench_must(ptree_bulk_add(bulk, BYTES(keys[0], ROW_KEY_BYTES), row_value(i, set->value_bytes)),
                                   "adding");
                }
                bench_must(ptree_bulk_finish(bulk), "finishing");
                bench_must(ptree_write_prepare(write), "preparing");
                ptree_write_commit(write, ++handle->position);
        } else {
                for (uint64_t i = 0; i < set->rows;) {
                        unsigned n = 0;
                        for (; n < BATCH && i < set->rows; n++, i++) {
                                row_key(i, set->rows, keys[n]);
                                values[n] = row_value(i, set->value_bytes);
                        }
                        tree_write(handle, (const uint8_t(*)[ROW_KEY_BYTES])keys, values, n);
                }
        }
        tree_checkpoint(handle);
}

static Reader *tree_reader_open(Handle *handle)
{
        Reader *reader = calloc(1, sizeof *reader);
        reader->handle = handle;
        arena_init(&reader->hold, 0);
        bench_must(ptree_pin(handle->tree, &reader->snapshot), "pinning");
        return reader;
}

static void tree_reader_close(Reader *reader)
{
        ptree_unpin(reader->snapshot);
        arena_done(&reader->hold);
        free(reader);
}

static void tree_reader_renew(Reader *reader)
{
        ptree_unpin(reader->snapshot);
        bench_must(ptree_pin(reader->handle->tree, &reader->snapshot), "pinning");
}

static bool tree_get(Reader *reader, const uint8_t *key, uint64_t *sum)
{
        Bytes value;
        bool found;
        arena_reset(&reader->hold);
        bench_must(ptree_get(reader->snapshot, 0, BYTES(key, ROW_KEY_BYTES), &reader->hold, &value, &found), "getting");
        if (found)
                touch(value, sum);
        return found;
}

static uint64_t tree_scan(Reader *reader, uint64_t *sum)
{
        PCursor *cursor;
        uint64_t rows = 0;
        bool found;
        Bytes key, value;
        bench_must(ptree_cursor_open(reader->snapshot, 0, all, false, &cursor), "opening a cursor");
        for (;; rows++) {
                if (rows % 64 == 0)
                        arena_reset(&reader->hold);
                bench_must(ptree_cursor_next(cursor, &reader->hold, &key, &value, &found), "scanning");
                if (!found)
                        break;
                *sum += load_u64(key.data);
                touch(value, sum);
        }
        ptree_cursor_close(cursor);
        return rows;
}

static uint64_t tree_count(Reader *reader, const uint8_t *low, const uint8_t *high)
{
        uint64_t rows;
        PRange range = {BYTES(low, ROW_KEY_BYTES), BYTES(high, ROW_KEY_BYTES)};
        bench_must(ptree_count(reader->snapshot, 0, range, &rows), "counting");
        return rows;
}

static bool tree_nth(Reader *reader, uint64_t n, uint64_t *sum)
{
        Bytes key, value;
        bool found;
        arena_reset(&reader->hold);
        bench_must(ptree_nth(reader->snapshot, 0, n, &reader->hold, &key, &value, &found), "nth");
        if (found)
                touch(value, sum);
        return found;
}

static void tree_report(Handle *handle, FILE *out)
{
        PCacheStats stats;
        pcache_stats(handle->cache, &stats);
        fprintf(out, ",\"cache_bytes\":%" PRIu64 ",\"dirty_bytes\":%" PRIu64 ",\"reads\":%" PRIu64, stats.used_bytes,
                stats.dirty_bytes, stats.read_count);
}

const System system_tree = {
        .name = "tree",
        .open = tree_open,
        .close = tree_close,
        .load = tree_load,
        .write = tree_write,
        .reader_open = tree_reader_open,
        .reader_close = tree_reader_close,
        .reader_renew = tree_reader_renew,
        .get = tree_get,
        .scan = tree_scan,
        .count = tree_count,
        .nth = tree_nth,
        .report = tree_report,
        .checkpoint = tree_checkpoint,
};
