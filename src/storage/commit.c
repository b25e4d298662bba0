/* commit.c - a commit: locks, changes to unpublished roots, one frame of the log, publication.
 *
 *      OPEN --commit_put...--> OPEN --commit_finish--> appended --> published --> locks released, object back in the
 * free list
 *        \--- commit_abort, or any error -------------------------------------> locks released, nothing happened */
#include "storage/store_int.h"

#include <assert.h>
#include <inttypes.h>

#include "base/mem.h"

#define FREE_COMMITS_MAX 64
#define KEEP_BODY_BYTES  ((size_t)64 << 10)
#define COMMIT_MAX_BYTES ((size_t)1 << 30)
#define AGAIN_MAX        3 /* times that the changes of a table are made anew, before the commit is too large */

/* A draft's write is an engine's by its look: see draft.h. */
static const EngineOps *ops_of(const CommitTable *entry)
{
        return ((const EngineObject *)entry->write)->ops;
}

static CommitTable *commit_find(Commit *commit, const StoreTable *table)
{
        for (size_t i = 0; i < commit->table_count; i++)
                if (commit->tables[i].table == table)
                        return &commit->tables[i];
        return NULL;
}

static void commit_free(Commit *commit)
{
        if (commit->tables != commit->inline_tables)
                mem_free(commit->tables);
        buf_done(&commit->body);
        mem_free(commit);
}

void commits_free(Store *store)
{
        while (store->free_commits) {
                Commit *commit = store->free_commits;
                store->free_commits = commit->next_free;
                commit_free(commit);
        }
}

Status commit_begin(Store *store, Commit **ret_commit)
{
        mutex_lock(&store->free_mu);
        Commit *commit = store->free_commits;
        if (commit) {
                store->free_commits = commit->next_free;
                store->free_commit_count--;
        }
        mutex_unlock(&store->free_mu);
        if (!commit) {
                commit = mem_zalloc(sizeof(Commit));
                if (!commit)
                        return status_nomem();
                commit->store = store;
                commit->tables = commit->inline_tables;
                commit->table_capacity = COMMIT_INLINE_TABLES;
                buf_init(&commit->body, COMMIT_MAX_BYTES);
        }
        *ret_commit = commit;
        return ST_OK;
}

/* Locks released and references given back; the object goes to the free list. */
static void commit_end(Commit *commit) NO_TSA
{
        Store *store = commit->store;
        for (size_t i = commit->table_count; i-- > 0;) {
                StoreTable *table = commit->tables[i].table;
                if (likely(!commit->of_draft)) {
                        if (!commit->tables[i].dropped && commit->tables[i].changed)
                                table->ops->table_tidy(table->engine_table);
                        mutex_unlock(&table->mu);
                }
                store_table_unref(table);
        }
        commit->table_count = 0;
        commit->broken = commit->of_draft = false;
        if (commit->body.capacity > KEEP_BODY_BYTES) {
                buf_done(&commit->body);
                buf_init(&commit->body, COMMIT_MAX_BYTES);
        }
        buf_clear(&commit->body);
        mutex_lock(&store->free_mu);
        bool keep = store->free_commit_count < FREE_COMMITS_MAX;
        if (keep) {
                commit->next_free = store->free_commits;
                store->free_commits = commit;
                store->free_commit_count++;
        }
        mutex_unlock(&store->free_mu);
        if (!keep)
                commit_free(commit);
}

void commit_abort(Commit *commit)
{
        if (!commit)
                return;
        Store *store = commit->store;
        for (size_t i = 0; i < commit->table_count; i++) {
                CommitTable *entry = &commit->tables[i];
                if (likely(entry->write != NULL))
                        ops_of(entry)->write_abort(entry->write);
                if (entry->created) {
                        mutex_lock(&store->catalog_mu);
                        nummap_remove(store->tables, entry->table->id);
                        mutex_unlock(&store->catalog_mu);
                        atomic_store(&entry->table->dropped, true);
                        store_table_unref(entry->table); /* the catalog's; the commit has its own */
                }
        }
        commit_end(commit);
}

/* The table's mutex is held: begins its write and notes it. On error the mutex is still held. */
static Status commit_join(Commit *commit, StoreTable *table, bool created)
{
        if (commit->table_count == commit->table_capacity) {
                size_t capacity = commit->table_capacity * 2;
                CommitTable *tables = mem_alloc(capacity * sizeof(CommitTable));
                if (!tables)
                        return status_nomem();
                memcpy(tables, commit->tables, commit->table_count * sizeof(CommitTable));
                if (commit->tables != commit->inline_tables)
                        mem_free(commit->tables);
                commit->tables = tables;
                commit->table_capacity = capacity;
        }
        EngineWrite *write = NULL;
        if (likely(!atomic_load_explicit(&table->damaged, memory_order_relaxed)))
                TRY(table->ops->write_begin(table->engine_table, &write));
        atomic_fetch_add_explicit(&table->refs, 1, memory_order_relaxed);
        commit->tables[commit->table_count++] =
                (CommitTable){.table = table, .write = write, .created = created, .changed = created};
        return ST_OK;
}

static Status dropped_error(const StoreTable *table)
{
        return status_new(ERR_NOT_FOUND, "table %" PRIu64 " was dropped", table->id);
}

Status commit_begin_draft(StoreTable *table, EngineWrite *write, Commit **ret_commit)
{
        Commit *commit;
        TRY(commit_begin(table->store, &commit));
        atomic_fetch_add_explicit(&table->refs, 1, memory_order_relaxed);
        commit->of_draft = true;
        commit->tables[commit->table_count++] = (CommitTable){.table = table, .write = write};
        *ret_commit = commit;
        return ST_OK;
}

Status commit_lock(Commit *commit, StoreTable *table) NO_TSA
{
        assert(!commit->of_draft);
        for (size_t i = 0; i < commit->table_count; i++) {
                if (commit->tables[i].table == table)
                        return ST_OK;
                /* One order for all commits, or two of them wait for each other. Tables made here nobody else can lock.
                 */
                assert(commit->tables[i].created || commit->tables[i].table->id < table->id); /* store I1 */
        }
        if (commit->table_count == 0)
                TRY(throttle_wait(commit->store, table->host)); /* not with a lock: others would wait with us */
        mutex_lock(&table->mu);
        Status st = atomic_load(&table->dropped) ? dropped_error(table) : commit_join(commit, table, false);
        if (st)
                mutex_unlock(&table->mu);
        return st;
}

/* The table is damaged, or its write ended with an error. */
static Status no_write(StoreTable *table)
{
        TRY(store_table_error(table));
        return status_new(ERR_INVALID, "a change of this commit failed before");
}

Status commit_tree_get(Commit *commit, StoreTable *table, uint32_t tree, Bytes key, Arena *hold, Bytes *ret_value,
                       bool *ret_found)
{
        CommitTable *entry = commit_find(commit, table);
        assert(entry && !entry->dropped && tree <= STORE_TREES_MAX);
        if (unlikely(!entry->write))
                return no_write(table);
        return ops_of(entry)->write_get(entry->write, tree, key, hold, ret_value, ret_found);
}

Status commit_tree_first(Commit *commit, StoreTable *table, uint32_t tree, EngineRange range, Arena *hold,
                         Bytes *ret_key, Bytes *ret_value, bool *ret_found)
{
        CommitTable *entry = commit_find(commit, table);
        assert(entry && !entry->dropped && tree <= STORE_TREES_MAX);
        if (unlikely(!entry->write))
                return no_write(table);
        return ops_of(entry)->write_first(entry->write, tree, range, hold, ret_key, ret_value, ret_found);
}

Status commit_get(Commit *commit, StoreTable *table, Bytes key, Arena *hold, Bytes *ret_value, bool *ret_found)
{
        return commit_tree_get(commit, table, 0, key, hold, ret_value, ret_found);
}

/* The record is put behind the body first (a change may free the row before it), the change is made then, and the
 * record counts last: a record stands for a change that was made. */
static Status record_prepare(Commit *commit, const Record *record)
{
        if (unlikely(commit->of_draft))
                return ST_OK;
        TRY_CTX(buf_reserve(&commit->body, record_bytes(record)), "the changes of one commit are too large");
        record_fill(commit->body.data + commit->body.size, record);
        return ST_OK;
}

static void record_add(Commit *commit, const Record *record)
{
        if (likely(!commit->of_draft))
                commit->body.size += record_bytes(record);
}

static Status change_apply(const CommitTable *entry, const Record *record, bool *ret_found)
{
        const EngineOps *ops = ops_of(entry);
        if (record->kind == RECORD_PUT)
                return ops->write_put(entry->write, record->tree, record->key, record->value);
        if (record->kind == RECORD_DELETE)
                return ops->write_delete(entry->write, record->tree, record->key, ret_found);
        return ops->write_clear(entry->write, record->tree);
}

/* The engine's cache was full in the middle of the commit. The table's changes are taken back, and made anew from their
 * records when what others have changed is in files. A checkpoint needs no table's lock, so it comes to an end although
 * we wait with ours. */
static Status change_again(Commit *commit, CommitTable *entry)
{
        StoreTable *table = entry->table;
        Record record;
        bool found = true, deleted;
        table->ops->write_abort(take(entry->write));
        TRY(throttle_room(commit->store, table->host));
        TRY(table->ops->write_begin(table->engine_table, &entry->write));
        for (size_t offset = 0; found;) {
                TRY(record_next(BYTES(commit->body.data, commit->body.size), &offset, &record, &found));
                if (found && record.table_id == table->id && record_is_change(&record))
                        TRY(change_apply(entry, &record, &deleted));
        }
        return ST_OK;
}

static Status change(Commit *commit, CommitTable *entry, const Record *record, bool *ret_found)
{
        if (unlikely(!entry->write))
                return no_write(entry->table);
        TRY(record_prepare(commit, record));
        Status st = change_apply(entry, record, ret_found);
        for (int i = 0;
             i < AGAIN_MAX && status_code(st) == ERR_LIMIT && !commit->of_draft && throttle_full(entry->table->host);
             i++) {
                status_ignore(st);
                st = change_again(commit, entry);
                if (!st)
                        st = change_apply(entry, record, ret_found);
        }
        commit->broken |= st != ST_OK;
        return st;
}

static Status put_record(Commit *commit, StoreTable *table, const Record *record)
{
        CommitTable *entry = commit_find(commit, table);
        bool found;
        assert(entry && !entry->dropped);
        if (record->key.size > ENGINE_MAX_KEY_BYTES)
                return status_new(ERR_LIMIT, "the key has %zu bytes, more than %d", record->key.size,
                                  ENGINE_MAX_KEY_BYTES);
        TRY(change(commit, entry, record, &found));
        entry->changed = true;
        record_add(commit, record);
        return ST_OK;
}

static Status delete_record(Commit *commit, StoreTable *table, const Record *record, bool *ret_found)
{
        CommitTable *entry = commit_find(commit, table);
        assert(entry && !entry->dropped);
        *ret_found = false;
        if (record->key.size > ENGINE_MAX_KEY_BYTES)
                return ST_OK;
        TRY(change(commit, entry, record, ret_found));
        if (*ret_found) {
                entry->changed = true;
                record_add(commit, record);
        }
        return ST_OK;
}

Status commit_tree_put(Commit *commit, StoreTable *table, uint32_t tree, Bytes key, Bytes value)
{
        assert(tree <= STORE_TREES_MAX);
        return put_record(
                commit, table,
                &(Record){
                        .kind = RECORD_PUT, .tree = (uint8_t)tree, .table_id = table->id, .key = key, .value = value});
}

Status commit_put_row(Commit *commit, StoreTable *table, Bytes key, Bytes value, Bytes old)
{
        Record record = {.kind = RECORD_PUT, .table_id = table->id, .key = key, .value = value};
        if (likely(!commit->of_draft))
                record_set_old(&record, old);
        return put_record(commit, table, &record);
}

Status commit_delete_row(Commit *commit, StoreTable *table, Bytes key, Bytes old)
{
        Record record = {.kind = RECORD_DELETE, .table_id = table->id, .key = key};
        bool found;
        if (likely(!commit->of_draft))
                record_set_old(&record, old);
        return delete_record(commit, table, &record, &found);
}

Status commit_put(Commit *commit, StoreTable *table, Bytes key, Bytes value)
{
        return commit_tree_put(commit, table, 0, key, value);
}

Status commit_tree_delete(Commit *commit, StoreTable *table, uint32_t tree, Bytes key, bool *ret_found)
{
        Record record = {.kind = RECORD_DELETE, .tree = (uint8_t)tree, .table_id = table->id, .key = key};
        assert(tree <= STORE_TREES_MAX);
        return delete_record(commit, table, &record, ret_found);
}

Status commit_delete(Commit *commit, StoreTable *table, Bytes key, bool *ret_found)
{
        return commit_tree_delete(commit, table, 0, key, ret_found);
}

Status commit_tree_clear(Commit *commit, StoreTable *table, uint32_t tree)
{
        CommitTable *entry = commit_find(commit, table);
        Record record = {.kind = RECORD_CLEAR, .tree = (uint8_t)tree, .table_id = table->id};
        bool found;
        assert(entry && !entry->dropped && tree > 0 && tree <= STORE_TREES_MAX);
        TRY(change(commit, entry, &record, &found));
        entry->changed = true;
        record_add(commit, &record);
        return ST_OK;
}

Status commit_create_table(Commit *commit, uint64_t id, const char *engine, StoreTable **ret_table) NO_TSA
{
        Store *store = commit->store;
        _cleanup_(store_table_unrefp) StoreTable *table = NULL;
        Record record = {.kind = RECORD_CREATE, .table_id = id, .key = BYTES_STR(engine)};
        TRY(record_prepare(commit, &record));
        TRY(table_new(store, id, engine, &table));
        atomic_store(&table->dropped, true); /* until it is in the catalog: unref then frees all of it */

        /* In the catalog from now on, so that the id is taken; not visible before the commit. */
        mutex_lock(&store->catalog_mu);
        Status st = nummap_get(store->tables, id) ? status_new(ERR_EXISTS, "table %" PRIu64 " exists", id)
                                                  : nummap_put(store->tables, id, table, NULL);
        mutex_unlock(&store->catalog_mu);
        if (st)
                return st;
        atomic_store(&table->dropped, false);
        atomic_fetch_add(&table->refs, 1); /* the catalog's */

        mutex_lock(&table->mu);
        st = commit_join(commit, table, true);
        if (st) {
                mutex_unlock(&table->mu);
                mutex_lock(&store->catalog_mu);
                nummap_remove(store->tables, id);
                mutex_unlock(&store->catalog_mu);
                atomic_store(&table->dropped, true);
                store_table_unref(table);
                return st;
        }
        record_add(commit, &record);
        *ret_table = take(table);
        return ST_OK;
}

Status commit_drop_table(Commit *commit, StoreTable *table)
{
        CommitTable *entry = commit_find(commit, table);
        assert(entry && !entry->dropped);
        Record record = {.kind = RECORD_DROP, .table_id = table->id};
        TRY(record_prepare(commit, &record));
        record_add(commit, &record);
        entry->dropped = true;
        return ST_OK;
}

/* What can fail without a trace comes before the log. */
static Status commit_prepare(Commit *commit)
{
        if (commit->broken)
                return status_new(ERR_INVALID, "a change of this commit failed before");
        for (size_t i = 0; i < commit->table_count; i++) {
                const CommitTable *entry = &commit->tables[i];
                if (entry->changed && !entry->dropped && ops_of(entry)->write_prepare)
                        TRY(ops_of(entry)->write_prepare(entry->write));
        }
        return ST_OK;
}

/* The table leaves with this commit; snapshots keep its rows. */
static void publish_drop(Store *store, CommitTable *entry, uint64_t position) REQUIRES(store->commit_mu)
{
        StoreTable *table = entry->table;
        table->ops->write_abort(entry->write);
        table_unlist(store, table);
        mutex_lock(&store->catalog_mu);
        nummap_remove(store->tables, table->id);
        mutex_unlock(&store->catalog_mu);
        atomic_store(&table->dropped, true);
        if (atomic_load(&table->damaged))
                atomic_fetch_sub(&store->damaged_count, 1);
        if (table->ops->table_dropped && table->engine_table && atomic_load(&table->visible))
                table->ops->table_dropped(table->engine_table, position);
        store_table_unref(table);
}

static void publish(Store *store, CommitTable *entry, uint64_t position) REQUIRES(store->commit_mu)
{
        StoreTable *table = entry->table;
        if (entry->dropped) {
                publish_drop(store, entry, position);
        } else if (!entry->changed) {
                table->ops->write_abort(entry->write);
        } else {
                table->ops->write_commit(entry->write, position);
                table->root_position = position;
                table_list(store, table);
                if (entry->created)
                        atomic_store(&table->visible, true);
        }
}

/* Nothing of it is in the log before the draft is committed. */
static Status finish_draft(Commit *commit)
{
        CommitTable *entry = &commit->tables[0];
        ops_of(entry)->write_commit(entry->write, 0);
        commit_end(commit);
        return ST_OK;
}

Status commit_finish(Commit *commit, uint64_t *ret_position)
{
        Store *store = commit->store;
        uint64_t position;
        Status st = commit_prepare(commit);
        if (unlikely(commit->of_draft && !st)) {
                *ret_position = 0;
                return finish_draft(commit);
        }
        if (st || commit->body.size == 0) {
                *ret_position = wal_last(store->wal);
                commit_abort(commit);
                return st;
        }
        mutex_lock(&store->commit_mu); /* store I2: order of positions = order of publication */
        bool kept = unlikely(store->newest_point != NULL);
        if (kept)
                read_points_keep(store, commit);
        st = wal_append(store->wal, BYTES(commit->body.data, commit->body.size), &position);
        if (st) {
                if (kept)
                        read_points_unkeep(store);
                mutex_unlock(&store->commit_mu);
                commit_abort(commit);
                return st;
        }
        for (size_t i = 0; i < commit->table_count; i++)
                publish(store, &commit->tables[i], position);
        mutex_unlock(&store->commit_mu);
        atomic_fetch_add(&store->commit_count, 1);
        atomic_fetch_add_explicit(&store->logged_bytes, commit->body.size, memory_order_relaxed);
        commit_end(commit);
        *ret_position = position;
        return ST_OK;
}
