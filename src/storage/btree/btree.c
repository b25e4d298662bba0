/* btree.c - the engines `btree` and `slab` behind storage/engine.h: opening, tables, reading and writing.
 *
 * Both are trees of one page file. In a table of `btree` documents lie in the leaves, large ones in extents of their
 * own; in one of `slab` all but the smallest lie in extents of their own, packed (documents.c). */
#include "storage/btree/btree_int.h"

#include <assert.h>
#include <inttypes.h>

/* A smaller document lies in the leaf all the same: what says where a value is takes some 10 bytes, its checksum 8, and
 * an extent of it at least 64. */
#define SLAB_INLINE_BYTES 64

static PSnapshot *snapshot_of(EngineSnapshot *snapshot)
{
        return (PSnapshot *)snapshot;
}

static PWrite *write_of(EngineWrite *write)
{
        return (PWrite *)write;
}

static PCursor *cursor_of(EngineCursor *cursor)
{
        return (PCursor *)cursor;
}

static PRange range_of(EngineRange range)
{
        return (PRange){range.low, range.high};
}

const EngineOps *row_engine_ops(RowEngine engine)
{
        return engine == ROW_SLAB ? &engine_slab : &engine_btree;
}

RowEngine ops_row_engine(const EngineOps *ops)
{
        return ops == &engine_slab ? ROW_SLAB : ROW_BTREE;
}

/* --- the engine --- */

static Status btree_open(const EngineOptions *options, Engine **ret_engine)
{
        Engine *engine = mem_zalloc(sizeof(Engine));
        if (!engine)
                return status_nomem();
        engine->ops = &engine_btree;
        engine->os = options->os;
        engine->dir = options->dir;
        engine->cache_max_bytes = options->cache_max_bytes;
        mutex_init(&engine->mu);
        Status st = codec_pool_new(&engine->codecs);
        PageFileOptions file_options = {.dir = options->dir,
                                        .cache_max_bytes = options->cache_max_bytes,
                                        .file_max_bytes = options->file_max_bytes};
        if (!st)
                st = pagefile_open(&file_options, &engine->file);
        if (st) {
                codec_pool_free(engine->codecs);
                mutex_done(&engine->mu);
                mem_free(engine);
                return st;
        }
        engine->cache = pagefile_cache(engine->file);
        *ret_engine = engine;
        return ST_OK;
}

static void btree_close(Engine *engine) NO_TSA
{
        /* The dropped ones are in the list of all tables too. What of them is in the file goes with the next opening's
         * first checkpoint. */
        while (engine->tables)
                table_free(engine->tables);
        pagefile_close(engine->file);
        codec_pool_free(engine->codecs);
        mem_free(engine->purges);
        mutex_done(&engine->mu);
        mem_free(engine);
}

static uint64_t btree_stored_position(Engine *engine)
{
        Superblock durable;
        pagefile_durable(engine->file, &durable);
        return durable.position;
}

typedef struct StoredEach {
        Status (*each)(void *ctx, uint64_t table_id, const EngineOps *ops, uint64_t position);
        void *ctx;
} StoredEach;

static Status stored_row(void *ctx, const PageRow *row)
{
        const StoredEach *stored = ctx;
        if (row->drop_position)
                return ST_OK;
        return stored->each(stored->ctx, row->table_id, row_engine_ops(row->engine), row->position);
}

static Status btree_stored_each(Engine *engine,
                                Status (*each)(void *ctx, uint64_t table_id, const EngineOps *ops, uint64_t position),
                                void *ctx)
{
        StoredEach stored = {each, ctx};
        return pagefile_rows_each(engine->file, stored_row, &stored);
}

/* --- tables --- */

Status table_make(Engine *engine, const EngineOps *ops, uint64_t id, PTreeAddress root, EngineTable **ret_table)
{
        EngineTable *table = mem_zalloc(sizeof(EngineTable));
        if (!table)
                return status_nomem();
        table->ops = ops;
        table->engine = engine;
        table->id = id;
        PTreeOptions options = {.face = ops};
        Status st = ST_OK;
        if (ops == &engine_slab) {
                options.inline_max_bytes = SLAB_INLINE_BYTES;
                st = documents_new(engine, &options, &table->documents);
        }
        if (!st)
                st = ptree_open(engine->cache, root, &options, &table->tree);
        documents_attach(table->documents, table->tree);
        if (st)
                documents_free(take(table->documents));
        /* A damaged table is one to be dropped. */
        table->damaged = st != ST_OK;
        if (st && status_code(st) != ERR_CORRUPT)
                mem_free(table);
        else
                *ret_table = table;
        return st;
}

static void table_add(EngineTable *table)
{
        Engine *engine = table->engine;
        mutex_lock(&engine->mu);
        table->next = engine->tables;
        if (table->next)
                table->next->previous = table;
        engine->tables = table;
        mutex_unlock(&engine->mu);
}

void table_done(EngineTable *table)
{
        ptree_close(table->tree);
        documents_free(table->documents);
        mem_free(table);
}

void table_free(EngineTable *table)
{
        Engine *engine = table->engine;
        mutex_lock(&engine->mu);
        if (table->previous)
                table->previous->next = table->next;
        else
                engine->tables = table->next;
        if (table->next)
                table->next->previous = table->previous;
        mutex_unlock(&engine->mu);
        table_done(table);
}

static Status table_create(Engine *engine, const EngineOps *ops, uint64_t table_id, EngineTable **ret_table)
{
        TRY(table_make(engine, ops, table_id, (PTreeAddress){0}, ret_table));
        table_add(*ret_table);
        return ST_OK;
}

static Status btree_table_create(Engine *engine, uint64_t table_id, EngineTable **ret_table)
{
        return table_create(engine, &engine_btree, table_id, ret_table);
}

static Status slab_table_create(Engine *engine, uint64_t table_id, EngineTable **ret_table)
{
        return table_create(engine, &engine_slab, table_id, ret_table);
}

static Status btree_table_open(Engine *engine, uint64_t table_id, EngineTable **ret_table)
{
        PageRow row;
        bool found;
        EngineTable *table = NULL;
        TRY(pagefile_row(engine->file, table_id, &row, &found));
        if (!found || row.drop_position)
                return status_new(ERR_NOT_FOUND, "%s has no table %" PRIu64, pagefile_path(engine->file), table_id);
        Status st = table_make(engine, row_engine_ops(row.engine), table_id, row.root, &table);
        if (table) {
                table->has_row = true;
                if (table->tree && ptree_has_cleared(table->tree))
                        dead_watch(engine, table);
                table_add(table);
                *ret_table = table;
        }
        return status_context(st, "opening table %" PRIu64, table_id);
}

static void btree_table_dropped(EngineTable *table, uint64_t position)
{
        Engine *engine = table->engine;
        assert(position > 0 && atomic_load(&table->drop_position) == 0);
        mutex_lock(&engine->mu);
        atomic_store(&table->drop_position, position);
        table->drop_next = engine->dropped;
        engine->dropped = table;
        mutex_unlock(&engine->mu);
}

static bool table_pinned(const EngineTable *table)
{
        PTreeStats stats;
        ptree_stats(table->tree, &stats);
        return stats.snapshot_count > 0;
}

static void btree_table_drop(EngineTable *table)
{
        Engine *engine = table->engine;
        if (atomic_load(&table->drop_position)) {
                atomic_store(&table->gone, true); /* the rest is done by a checkpoint */
                return;
        }
        if (!table->tree || (!table_pinned(table) && !atomic_load(&table->in_dead))) {
                table_free(table);
                return;
        }
        mutex_lock(&engine->mu);
        table->drop_next = engine->leaving;
        engine->leaving = table;
        mutex_unlock(&engine->mu);
}

static void btree_table_stats(EngineTable *table, EngineStats *ret_stats)
{
        PTreeStats stats = {0};
        if (table->tree)
                ptree_stats(table->tree, &stats);
        *ret_stats = (EngineStats){.row_count = stats.row_count,
                                   .row_bytes = stats.row_bytes,
                                   .memory_bytes = sizeof(EngineTable) + documents_bytes(table->documents),
                                   .snapshot_count = stats.snapshot_count};
}

/* Rows, and what tables take beside the cache. */
static void tables_stats(Engine *engine, EngineStats *sum)
{
        mutex_lock(&engine->mu);
        for (EngineTable *table = engine->tables; table; table = table->next) {
                uint64_t rows, bytes;
                /* The checkpoint thread takes the tree away from a dropped one. */
                if (atomic_load(&table->drop_position) || table->damaged)
                        continue;
                ptree_sizes(table->tree, &rows, &bytes);
                sum->row_count += rows;
                sum->row_bytes += bytes;
                sum->memory_bytes += sizeof(EngineTable) + documents_bytes(table->documents);
        }
        sum->checkpoint_ns_last = engine->checkpoint_ns_last;
        sum->checkpoint_bytes_last = engine->checkpoint_bytes_last;
        mutex_unlock(&engine->mu);
}

static void btree_engine_stats(Engine *engine, EngineStats *ret_stats)
{
        PCacheStats cache;
        SpaceStats space;
        PageFileFigures figures;
        pcache_stats(engine->cache, &cache);
        space_stats(pagefile_space(engine->file), &space);
        pagefile_figures(engine->file, &figures);
        *ret_stats = (EngineStats){
                .memory_bytes = sizeof(Engine) + cache.used_bytes + codec_pool_bytes(engine->codecs),
                .cache_bytes = cache.used_bytes,
                .cache_max_bytes = engine->cache_max_bytes,
                .memo_bytes = cache.memo_bytes,
                .dirty_bytes = cache.dirty_bytes,
                .dirty_max_bytes = pagefile_dirty_max(engine->file),
                .snapshot_count = pcache_snapshot_count(engine->cache),
                .hit_count = cache.hit_count + cache.value_hit_count,
                .read_count = cache.read_count + cache.value_read_count,
                .evicted_count = cache.evicted_count,
                .file_bytes = space.file_bytes,
                .live_bytes = space.live_bytes,
                .waiting_bytes = space.waiting_bytes,
                .free_bytes = space.free_bytes,
                .metadata_bytes = space.metadata_bytes,
                .checkpoint_position = btree_stored_position(engine),
                .checkpoint_count = figures.checkpoint_count,
                .sync_ns = figures.sync_ns,
        };
        tables_stats(engine, ret_stats);
}

static size_t btree_space_classes(Engine *engine, EngineSpaceClass *ret_classes, size_t max)
{
        SpaceClassStats classes[SPACE_CLASS_COUNT];
        size_t count = MIN(max, (size_t)SPACE_CLASS_COUNT);
        space_class_stats(pagefile_space(engine->file), classes);
        for (size_t i = 0; i < count; i++)
                ret_classes[i] = (EngineSpaceClass){.extent_bytes = classes[i].extent_bytes,
                                                    .slab_count = classes[i].slab_count,
                                                    .live_count = classes[i].live_count,
                                                    .waiting_count = classes[i].waiting_count,
                                                    .free_count = classes[i].free_count,
                                                    .live_bytes = classes[i].live_bytes,
                                                    .waiting_bytes = classes[i].waiting_bytes};
        return count;
}

static unsigned btree_pressure(Engine *engine)
{
        size_t dirty = pcache_dirty_bytes(engine->cache), most = pagefile_dirty_max(engine->file);
        return dirty >= most ? 100 : (unsigned)((uint64_t)dirty * 100 / most);
}

/* --- reading --- */

static Status btree_pin(EngineTable *table, EngineSnapshot **ret_snapshot)
{
        return ptree_pin(table->tree, (PSnapshot **)ret_snapshot);
}

static void btree_unpin(EngineSnapshot *snapshot)
{
        ptree_unpin(snapshot_of(snapshot));
}

static uint64_t btree_version(EngineSnapshot *snapshot)
{
        return ptree_position(snapshot_of(snapshot));
}

static Status btree_get(EngineSnapshot *snapshot, uint32_t tree, Bytes key, Arena *hold, Bytes *ret_value,
                        bool *ret_found)
{
        return ptree_get(snapshot_of(snapshot), tree, key, hold, ret_value, ret_found);
}

static Status btree_count(EngineSnapshot *snapshot, uint32_t tree, EngineRange range, uint64_t *ret_count)
{
        return ptree_count(snapshot_of(snapshot), tree, range_of(range), ret_count);
}

static Status btree_nth(EngineSnapshot *snapshot, uint32_t tree, uint64_t n, Arena *hold, Bytes *ret_key,
                        Bytes *ret_value, bool *ret_found)
{
        return ptree_nth(snapshot_of(snapshot), tree, n, hold, ret_key, ret_value, ret_found);
}

static Status btree_split(EngineSnapshot *snapshot, uint32_t tree, EngineRange range, size_t parts, Arena *hold,
                          Bytes *ret_keys, size_t *ret_count)
{
        return ptree_split(snapshot_of(snapshot), tree, range_of(range), parts, hold, ret_keys, ret_count);
}

static bool btree_next_tree(EngineSnapshot *snapshot, uint32_t tree, uint32_t *ret_tree)
{
        return ptree_next_tree(snapshot_of(snapshot), tree, ret_tree) && *ret_tree < PRIVATE_TREES;
}

static Status btree_cursor_open(EngineSnapshot *snapshot, uint32_t tree, EngineRange range, bool descending,
                                EngineCursor **ret_cursor)
{
        return ptree_cursor_open(snapshot_of(snapshot), tree, range_of(range), descending, (PCursor **)ret_cursor);
}

static Status btree_cursor_next(EngineCursor *cursor, Arena *hold, Bytes *ret_key, Bytes *ret_value, bool *ret_found)
{
        return ptree_cursor_next(cursor_of(cursor), hold, ret_key, ret_value, ret_found);
}

static Status btree_cursor_skip(EngineCursor *cursor, uint64_t n, uint64_t *ret_skipped)
{
        ptree_cursor_skip(cursor_of(cursor), n, ret_skipped);
        return ST_OK;
}

static void btree_cursor_close(EngineCursor *cursor)
{
        ptree_cursor_close(cursor_of(cursor));
}

static Status btree_cursor_block(EngineCursor *cursor, EngineBlock *ret_block)
{
        return ptree_cursor_block(cursor_of(cursor), &ret_block->total, &ret_block->first, &ret_block->count);
}

static Status btree_block_row(EngineCursor *cursor, uint32_t i, Arena *hold, Bytes *ret_value)
{
        return ptree_block_row(cursor_of(cursor), i, hold, ret_value);
}

static const Memo *btree_block_memo(EngineCursor *cursor, uint64_t key)
{
        return ptree_block_memo(cursor_of(cursor), key);
}

static const Memo *btree_block_remember(EngineCursor *cursor, Memo *memo)
{
        return ptree_block_remember(cursor_of(cursor), memo);
}

/* --- writing --- */

static Status btree_write_begin(EngineTable *table, EngineWrite **ret_write)
{
        TRY(pagefile_failure(table->engine->file));
        return ptree_write_begin(table->tree, (PWrite **)ret_write);
}

static Status btree_write_get(EngineWrite *write, uint32_t tree, Bytes key, Arena *hold, Bytes *ret_value,
                              bool *ret_found)
{
        return ptree_write_get(write_of(write), tree, key, hold, ret_value, ret_found);
}

static Status btree_write_first(EngineWrite *write, uint32_t tree, EngineRange range, Arena *hold, Bytes *ret_key,
                                Bytes *ret_value, bool *ret_found)
{
        return ptree_write_first(write_of(write), tree, (PRange){range.low, range.high}, hold, ret_key, ret_value,
                                 ret_found);
}

static Status btree_write_put(EngineWrite *write, uint32_t tree, Bytes key, Bytes value)
{
        return ptree_write_put(write_of(write), tree, key, value);
}

static Status btree_write_delete(EngineWrite *write, uint32_t tree, Bytes key, bool *ret_found)
{
        return ptree_write_delete(write_of(write), tree, key, ret_found);
}

static Status btree_write_clear(EngineWrite *write, uint32_t tree)
{
        assert(tree > 0);
        return ptree_write_clear(write_of(write), tree);
}

static Status btree_write_prepare(EngineWrite *write)
{
        return ptree_write_prepare(write_of(write));
}

static void btree_write_commit(EngineWrite *write, uint64_t position)
{
        ptree_write_commit(write_of(write), position);
}

static void btree_write_abort(EngineWrite *write)
{
        ptree_write_abort(write_of(write));
}

static Status slab_write_begin(EngineTable *table, EngineWrite **ret_write)
{
        TRY(pagefile_failure(table->engine->file));
        return documents_begin(table->documents, (PWrite **)ret_write);
}

static void slab_write_commit(EngineWrite *write, uint64_t position)
{
        Documents *documents = ptree_write_ctx(write_of(write));
        ptree_write_commit(write_of(write), position);
        documents_end(documents, true);
}

static void slab_write_abort(EngineWrite *write)
{
        if (!write)
                return;
        Documents *documents = ptree_write_ctx(write_of(write));
        ptree_write_abort(write_of(write));
        documents_end(documents, false);
}

static void btree_table_tidy(EngineTable *table)
{
        ptree_tidy(table->tree);
}

#define SHARED_OPS                                                                                                     \
        .abi = ENGINE_ABI, .persistent = true, .table_dropped = btree_table_dropped, .table_drop = btree_table_drop,   \
        .table_stats = btree_table_stats, .pin = btree_pin, .unpin = btree_unpin, .version = btree_version,            \
        .get = btree_get, .count = btree_count, .nth = btree_nth, .cursor_open = btree_cursor_open,                    \
        .cursor_next = btree_cursor_next, .cursor_skip = btree_cursor_skip, .cursor_close = btree_cursor_close,        \
        .split = btree_split, .write_get = btree_write_get, .write_put = btree_write_put,                              \
        .write_delete = btree_write_delete, .write_prepare = btree_write_prepare, .table_tidy = btree_table_tidy,      \
        .write_clear = btree_write_clear, .next_tree = btree_next_tree, .write_first = btree_write_first,              \
        .cursor_block = btree_cursor_block, .block_row = btree_block_row, .block_memo = btree_block_memo,              \
        .block_remember = btree_block_remember

const EngineOps engine_btree = {
        SHARED_OPS,
        .name = "btree",
        .open = btree_open,
        .close = btree_close,
        .table_create = btree_table_create,
        .engine_stats = btree_engine_stats,
        .write_begin = btree_write_begin,
        .write_commit = btree_write_commit,
        .write_abort = btree_write_abort,
        .stored_position = btree_stored_position,
        .stored_each = btree_stored_each,
        .table_open = btree_table_open,
        .checkpoint = btree_checkpoint,
        .pressure = btree_pressure,
        .maintain = btree_maintain,
        .backup_begin = btree_backup_begin,
        .backup_copy = btree_backup_copy,
        .backup_end = btree_backup_end,
        .check = btree_check,
        .space_classes = btree_space_classes,
};

const EngineOps engine_slab = {
        SHARED_OPS,
        .name = "slab",
        .host = &engine_btree,
        .table_create = slab_table_create,
        .write_begin = slab_write_begin,
        .write_commit = slab_write_commit,
        .write_abort = slab_write_abort,
};
