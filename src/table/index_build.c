/* index_build.c - filling new indexes while the table goes on being read and written.
 *
 * From the moment an index exists writers keep it, so what is left is the rows that nobody has touched since. They are
 * read from snapshots, a chunk of rows in the order of primary keys from each:
 *
 *      pin -> CHUNK rows -> their entries, sorted -> commits of some entries each, under the table's writer lock
 *
 * A row that is no longer the one in the snapshot has been written since, and its writer has put all its entries
 * (index_write.c), so it is passed over. Writers wait for no longer than one commit. A build lives in memory alone:
 * after a restart the tree is emptied and all begins anew.
 *
 * Of a unique index each entry is compared with what is in the tree by then, as writers compare theirs. Two rows that
 * have the same value end the build for good: the index keeps the reason and loses its entries.
 *
 * One thread for a catalog, started when there is first something to build; one index after the other. */
#include "table/index_int.h"

#include <stdlib.h>

#include "os/os.h"
#include "value/json.h"

#define CHUNK_ROWS  8192
#define CHUNK_BYTES ((size_t)4 << 20) /* of rows and entries, about */
#define COMMIT_PUTS 512
#define RETRY_MS    1000

/* One entry to put, and the row that it was made of. */
typedef struct BuildEntry {
        IndexEntry entry;
        Bytes key, row; /* of the row, in the chunk's snapshot */
} BuildEntry;

/* An index being built. */
typedef struct Build {
        TableRef *table; /* counted */
        Index *index;    /* counted */
        Arena arena;     /* the chunk */
        Arena scratch;   /* of one commit */
        Snapshot *snapshot;
        BuildEntry *entries;
        size_t count, put_count, capacity;
        size_t chunk_rows;
        uint64_t version; /* the table is as in the snapshot but for our own puts if its version is this */
        uint8_t last_key[ENGINE_MAX_KEY_BYTES + 1]; /* the chunk ended there; a NUL behind it */
        size_t last_bytes;                          /* 0: at the beginning */
        bool rows_end;                              /* the chunk's end is the table's */
} Build;

struct Builder {
        TableCatalog *catalog;
        bool by_hand;
        /* --- the builder's thread, or who steps by hand --- */
        Build *build; /* NULL: none at the moment */
        /* --- any thread --- */
        Mutex mu; /* order 3 in docs/locks.md: held over nothing */
        Cond wake;
        bool started, wanted, stopping; /* GUARDED_BY(mu) */
        Thread thread;
};

/* --- one build --- */

static void chunk_done(Build *build)
{
        store_unpin(take(build->snapshot));
        arena_reset(&build->arena);
        build->entries = NULL;
        build->count = build->put_count = build->capacity = 0;
}

static Build *build_free(Build *build)
{
        if (build) {
                chunk_done(build);
                arena_done(&build->arena);
                arena_done(&build->scratch);
                catalog_table_unref(build->table);
                index_unref(build->index);
                mem_free(build);
        }
        return NULL;
}

static bool is_unfinished(const IndexInfo *info)
{
        return !info->ready && !info->error.data;
}

/* The unfinished index that has failed least often: one in a damaged table does not keep the others waiting. */
static Status find_unfinished(void *ctx, TableRef *table)
{
        Build *build = ctx;
        const Schema *schema = table->schema;
        for (size_t i = 0; i < schema->tree_count; i++) {
                Index *index = schema->indexes[i];
                if (!is_unfinished(&schema->infos[i]) || (build->index && build->index->failures <= index->failures))
                        continue;
                catalog_table_unref(build->table);
                index_unref(build->index);
                build->table = catalog_table_ref(table);
                build->index = index_ref(index);
        }
        return ST_OK;
}

/* *ret_build NULL: there is nothing to build. */
static Status find_build(TableCatalog *catalog, Build **ret_build)
{
        Build *build = mem_zalloc(sizeof *build);
        if (!build)
                return status_nomem();
        arena_init(&build->arena, 0);
        arena_init(&build->scratch, 0);
        Status st = catalog_each_table(catalog, find_unfinished, build);
        *ret_build = st || !build->index ? build_free(build) : build;
        return st;
}

static Status begin_build(Build *build)
{
        Snapshot *snapshot;
        uint64_t rows;
        TRY(store_pin(build->table->store, &snapshot));
        Status st = snapshot_count(snapshot, (EngineRange){0}, &rows);
        store_unpin(snapshot);
        if (st)
                return st;
        atomic_store_explicit(&build->index->total_rows, rows, memory_order_relaxed);
        atomic_store_explicit(&build->index->done_rows, 0, memory_order_relaxed);
        return ST_OK;
}

static int compare_entries(const void *a, const void *b)
{
        return bytes_compare(((const BuildEntry *)a)->entry.key, ((const BuildEntry *)b)->entry.key);
}

static void keep_entries(Build *build, const IndexEntries *entries, Bytes key, Bytes row, Arena *arena)
{
        if (build->count + entries->count > build->capacity) {
                size_t capacity = MAX(build->count + entries->count, 2 * build->capacity);
                capacity = MAX(capacity, (size_t)1024);
                BuildEntry *grown = arena_array(arena, BuildEntry, capacity);
                if (build->count)
                        memcpy(grown, build->entries, build->count * sizeof *grown);
                build->entries = grown;
                build->capacity = capacity;
        }
        for (size_t i = 0; i < entries->count; i++)
                build->entries[build->count++] = (BuildEntry){entries->items[i], key, row};
}

typedef struct ChunkRead {
        Build *build;
        Cursor *cursor; /* closed by who catches the arena's jump */
        Status st;
} ChunkRead;

static Status read_rows(ChunkRead *read, Arena *arena)
{
        Build *build = read->build;
        Bytes last = BYTES_NONE;
        size_t rows = 0, bytes = 0;
        bool found = true;
        for (; rows < CHUNK_ROWS && bytes < CHUNK_BYTES; rows++) {
                Bytes key, row;
                IndexEntries entries;
                TRY(cursor_next(read->cursor, arena, &key, &row, &found));
                if (!found)
                        break;
                TRY(index_entries_of(build->index, key, value_decode(row.data), arena, &entries));
                keep_entries(build, &entries, key, row, arena);
                bytes += row.size + entries.count * sizeof(BuildEntry);
                last = key;
        }
        if (last.size > ENGINE_MAX_KEY_BYTES)
                return status_new(ERR_CORRUPT, "a row's key is too long");
        if (last.data) {
                memcpy(build->last_key, last.data, last.size);
                build->last_bytes = last.size;
        }
        build->chunk_rows = rows;
        build->rows_end = !found;
        return ST_OK;
}

static Value build_chunk(void *ctx, Arena *arena)
{
        ChunkRead *read = ctx;
        read->st = read_rows(read, arena);
        return value_none();
}

static Status read_chunk(Build *build)
{
        ChunkRead read = {.build = build};
        EngineRange range = {0};
        Value ignored;
        if (build->last_bytes) {
                build->last_key[build->last_bytes] = 0;
                range.low = BYTES(build->last_key, build->last_bytes + 1);
        }
        TRY(store_pin(build->table->store, &build->snapshot));
        build->version = snapshot_version(build->snapshot);
        TRY(cursor_open(build->snapshot, range, false, &read.cursor));
        Status st = build_guarded(&build->arena, build_chunk, &read, &ignored);
        if (st)
                status_ignore(read.st);
        cursor_close(read.cursor);
        TRY(st ? st : read.st);
        if (build->count > 1)
                qsort(build->entries, build->count, sizeof *build->entries, compare_entries);
        return ST_OK;
}

/* Nobody but ourselves has written to the table since the snapshot. The writer lock is held. */
static Status is_untouched(const Build *build, bool *ret_untouched)
{
        Snapshot *now;
        TRY(store_pin(build->table->store, &now));
        *ret_untouched = snapshot_version(now) == build->version;
        store_unpin(now);
        return ST_OK;
}

typedef struct OtherRow {
        const Build *build;
        Commit *commit;
        const BuildEntry *entry;
        Status st, duplicate;
} OtherRow;

static Value look_for_other(void *ctx, Arena *arena)
{
        OtherRow *look = ctx;
        const TableRef *table = look->build->table;
        Value row, value;
        look->st = index_find_other(look->commit, table, look->build->index, look->entry->key, &look->entry->entry,
                                    arena, &row, &value);
        if (look->st || value_is(row, V_NONE))
                return value_none();
        Bytes primary_key = table->info.primary_key, text = index_value_text(value, arena);
        Bytes other = json_text(value_get(row, primary_key), arena);
        Bytes own = json_text(value_get(value_decode(look->entry->row.data), primary_key), arena);
        look->duplicate = status_new(ERR_OP_FAILED,
                                     "It is to be unique, but the rows with primary keys %.*s and %.*s have the same "
                                     "value: %.*s",
                                     (int)other.size, (const char *)other.data, (int)own.size, (const char *)own.data,
                                     (int)text.size, (const char *)text.data);
        return value_none();
}

/* *ret_duplicate: an error that says which other row has the entry's value, or ST_OK. */
static Status check_other(Build *build, Commit *commit, const BuildEntry *entry, Status *ret_duplicate)
{
        OtherRow look = {.build = build, .commit = commit, .entry = entry};
        Value ignored;
        Status st = build_guarded(&build->scratch, look_for_other, &look, &ignored);
        if (st)
                status_ignore(look.st);
        *ret_duplicate = look.duplicate;
        return st ? st : look.st;
}

/* Ends before an entry that is a *ret_duplicate. */
static Status put_entries(Build *build, Commit *commit, size_t end, Status *ret_duplicate)
{
        bool untouched;
        StoreTable *store = build->table->store;
        *ret_duplicate = ST_OK;
        TRY(is_untouched(build, &untouched));
        for (size_t i = build->put_count; i < end; i++) {
                const BuildEntry *e = &build->entries[i];
                Bytes now;
                bool found = true;
                arena_reset(&build->scratch);
                if (!untouched) {
                        TRY(commit_get(commit, store, e->key, &build->scratch, &now, &found));
                        if (!found || !bytes_equal(now, e->row))
                                continue;
                }
                if (build->index->unique)
                        TRY(check_other(build, commit, e, ret_duplicate));
                if (*ret_duplicate)
                        return ST_OK;
                TRY(commit_tree_put(commit, store, build->index->tree, e->entry.key,
                                    BYTES(e->entry.value, sizeof e->entry.value)));
        }
        if (untouched)
                build->version = 0; /* set by the commit */
        return ST_OK;
}

/* Whether the index is still one of the table's, with the writer lock held. *ret_stale: it cannot be known now. */
static bool is_wanted(const Build *build, Schema **schema, bool *ret_stale)
{
        *ret_stale = !table_state_is(build->table->state, *schema);
        return *ret_stale || schema_has(*schema, build->index);
}

/* Takes `why`. */
static Status end_badly(Build *build, Status why, bool *ret_gone)
{
        Status st = index_make_failed(build->table, build->index, BYTES_STR(status_message(why)));
        status_ignore(why);
        *ret_gone = true;
        return st;
}

/* *ret_gone: the index or its table is no more, or can never be ready. */
static Status put_some(Build *build, bool *ret_gone)
{
        _cleanup_(schema_unrefp) Schema *schema = table_state_schema(build->table->state);
        StoreTable *store = build->table->store;
        size_t end = MIN(build->put_count + COMMIT_PUTS, build->count);
        uint64_t position, version = build->version;
        Commit *commit = NULL;
        Status duplicate = ST_OK;
        bool stale = false;
        TRY(commit_begin(build->table->catalog->store, &commit));
        Status st = commit_lock(commit, store);
        if (!st)
                *ret_gone = !is_wanted(build, &schema, &stale);
        if (!st && !*ret_gone && !stale)
                st = put_entries(build, commit, end, &duplicate);
        if (st || *ret_gone || stale || duplicate) {
                commit_abort(commit);
                build->version = version;
                return duplicate ? end_badly(build, duplicate, ret_gone) : st;
        }
        bool untouched = build->version == 0;
        build->version = version;
        TRY(commit_finish(commit, &position));
        if (untouched)
                build->version = position;
        build->put_count = end;
        return ST_OK;
}

/* One chunk read, or one commit, or the end. *ret_over: there is nothing more to do for this index. */
static Status build_work(Build *build, bool *ret_over)
{
        *ret_over = false;
        if (build->put_count < build->count)
                return put_some(build, ret_over);
        if (build->snapshot) { /* all of the chunk is put */
                atomic_fetch_add_explicit(&build->index->done_rows, build->chunk_rows, memory_order_relaxed);
                chunk_done(build);
                *ret_over = build->rows_end;
                return build->rows_end ? index_make_ready(build->table, build->index) : ST_OK;
        }
        if (build->last_bytes == 0)
                TRY(begin_build(build));
        Status st = read_chunk(build);
        if (st)
                chunk_done(build);
        return st;
}

/* --- the builder --- */

Status build_step(TableCatalog *catalog, bool *ret_more)
{
        Builder *builder = catalog->builder;
        bool over = false;
        if (!builder->build)
                TRY(find_build(catalog, &builder->build));
        *ret_more = builder->build != NULL;
        if (!builder->build)
                return ST_OK;
        Status st = build_work(builder->build, &over);
        if (status_code(st) == ERR_NOT_FOUND) { /* the table was dropped */
                status_ignore(st);
                st = ST_OK;
                over = true;
        }
        if (st) { /* begun anew at the next try, perhaps after another index */
                builder->build->index->failures++;
                over = true;
        }
        if (over)
                builder->build = build_free(builder->build);
        return st;
}

static void builder_main(void *arg)
{
        Builder *builder = arg;
        mutex_lock(&builder->mu);
        while (!builder->stopping) {
                bool more = false;
                builder->wanted = false;
                mutex_unlock(&builder->mu);
                Status st = build_step(builder->catalog, &more);
                mutex_lock(&builder->mu);
                if (builder->stopping) {
                        status_ignore(st);
                        break;
                }
                if (st) { /* the disk is full, memory is short: it may pass; the log's error is shown elsewhere */
                        status_ignore(st);
                        cond_wait_for(&builder->wake, &builder->mu, RETRY_MS * UINT64_C(1000000));
                } else if (!more && !builder->wanted) {
                        cond_wait(&builder->wake, &builder->mu);
                }
        }
        mutex_unlock(&builder->mu);
}

void build_wake(TableCatalog *catalog)
{
        Builder *builder = catalog->builder;
        if (builder->by_hand)
                return;
        mutex_lock(&builder->mu);
        builder->wanted = true;
        if (!builder->started) { /* without a thread now, the next index tries again */
                Status st = thread_start(&builder->thread, "index-build", builder_main, builder);
                builder->started = !st;
                status_ignore(st);
        }
        cond_signal(&builder->wake);
        mutex_unlock(&builder->mu);
}

Builder *builder_new(TableCatalog *catalog, bool by_hand)
{
        Builder *builder = mem_zalloc(sizeof *builder);
        if (builder) {
                builder->catalog = catalog;
                builder->by_hand = by_hand;
                mutex_init(&builder->mu);
                cond_init(&builder->wake);
        }
        return builder;
}

Builder *builder_free(Builder *builder)
{
        if (!builder)
                return NULL;
        mutex_lock(&builder->mu);
        bool started = builder->started;
        builder->stopping = true;
        cond_signal(&builder->wake);
        mutex_unlock(&builder->mu);
        if (started)
                thread_join(&builder->thread);
        build_free(builder->build);
        cond_done(&builder->wake);
        mutex_done(&builder->mu);
        mem_free(builder);
        return NULL;
}

/* --- at start --- */

typedef struct Recovery {
        TableCatalog *catalog;
        bool found;
} Recovery;

static Status clear_unfinished(Commit *commit, TableRef *table)
{
        TRY(commit_lock(commit, table->store));
        for (size_t i = 0; i < table->schema->tree_count; i++)
                if (is_unfinished(&table->schema->infos[i]))
                        TRY(commit_tree_clear(commit, table->store, table->schema->indexes[i]->tree));
        return ST_OK;
}

static Status recover_table(void *ctx, TableRef *table)
{
        Recovery *recovery = ctx;
        const HostOps *host = recovery->catalog->host;
        Commit *commit = NULL;
        uint64_t position;
        bool unfinished = false;
        for (size_t i = 0; i < table->schema->tree_count; i++)
                if (is_unfinished(&table->schema->infos[i])) {
                        unfinished = true;
                        table->schema->indexes[i]->started_us = host->now_us(host->ctx);
                }
        if (!unfinished)
                return ST_OK;
        Status damaged = store_table_error(table->store);
        if (damaged) { /* it can only be dropped; its index stays as it is, not ready */
                status_ignore(damaged);
                return ST_OK;
        }
        recovery->found = true;
        TRY(commit_begin(recovery->catalog->store, &commit));
        Status st = clear_unfinished(commit, table);
        if (st) {
                commit_abort(commit);
                return st;
        }
        return commit_finish(commit, &position);
}

Status build_recover(TableCatalog *catalog)
{
        Recovery recovery = {.catalog = catalog};
        TRY(catalog_each_table(catalog, recover_table, &recovery));
        if (recovery.found)
                build_wake(catalog);
        return ST_OK;
}

/* --- for the jobs table --- */

typedef struct EachBuild {
        Status (*each)(void *ctx, const BuildInfo *info);
        void *ctx;
} EachBuild;

static Status each_build(void *ctx, TableRef *table)
{
        const EachBuild *each = ctx;
        for (size_t i = 0; i < table->schema->tree_count; i++) {
                Index *index = table->schema->indexes[i];
                BuildInfo info = {.table = &table->info,
                                  .index = index->field.data ? BYTES_STR("ttl") : table->schema->infos[i].name,
                                  .progress = index_progress(index),
                                  .started_us = index->started_us};
                if (is_unfinished(&table->schema->infos[i]))
                        TRY(each->each(each->ctx, &info));
        }
        return ST_OK;
}

Status table_source_each_build(TableCatalog *catalog, Status (*each)(void *ctx, const BuildInfo *info), void *ctx)
{
        return catalog_each_table(catalog, each_build, &(EachBuild){each, ctx});
}
