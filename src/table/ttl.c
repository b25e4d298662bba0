/* ttl.c - the setting `ttl` of a table, and the deletion of rows that are due.
 *
 * One thread for a catalog, started when there is first a table whose rows expire. Once a second it makes a round:
 *
 *      round begins: which tables have the setting?
 *        -> of each in turn a batch:  the first BATCH_ROWS keys that are due, from a snapshot's index of times
 *                                     -> writer lock -> is the row still there, and due? -> deleted, with its entries
 *        -> a table leaves the round when its batch was not full
 *
 * A deletion is one like any other, in the log, but no write hook is asked. After each batch the thread sleeps for
 * PAUSE_FACTOR times as long as that took, so expiry takes a part of one processor, and of a table's writer, however
 * large the backlog is; and of memory, a batch. Nobody waits for durability: what a crash takes back is due once more.
 */
#include "table/ttl.h"

#define BATCH_ROWS     256
#define BATCH_BYTES    ((size_t)1 << 20) /* of rows; a batch may have one row more */
#define INTERVAL_NS    UINT64_C(1000000000)
#define PAUSE_FACTOR   3
#define PAUSE_LEAST_NS UINT64_C(1000000)
#define PAUSE_MOST_NS  UINT64_C(100000000)

/* --- the setting --- */

const char *ttl_read(Value v, TtlSpec *ret_spec, Value *ret_got)
{
        *ret_spec = (TtlSpec){0};
        *ret_got = v;
        if (value_is(v, V_NULL))
                return NULL;
        if (!value_is(v, V_OBJECT))
                return "Expected {field: STRING, seconds: NUMBER} or null; got ";
        Value field = value_get_str(v, "field"), seconds = value_get_str(v, "seconds");
        if (!value_is(field, V_STRING) || value_bytes(field).size == 0 || !value_is(seconds, V_NUMBER) ||
            value_count(v) != 2)
                return "Expected {field: STRING, seconds: NUMBER} or null; got ";
        if (seconds.number < 0) {
                *ret_got = seconds;
                return "`seconds` must not be negative; got ";
        }
        *ret_spec = (TtlSpec){.field = value_bytes(field), .seconds = seconds.number};
        return NULL;
}

Value ttl_value(const Schema *schema, Arena *arena)
{
        if (!schema || !schema->ttl.index)
                return value_none();
        Bytes field = schema->ttl.index->field;
        Field *fields = arena_array(arena, Field, 2);
        fields[0] =
                (Field){BYTES_STR("field"), value_string(BYTES(arena_dup(arena, field.data, field.size), field.size))};
        fields[1] = (Field){BYTES_STR("seconds"), value_number(schema->ttl.seconds)};
        return value_object_sorted(fields, 2);
}

/* Another index of times, in the place of the one that was there. */
static Status other_field(TableCatalog *catalog, SchemaSpec *to, const TtlSpec *spec, bool empty,
                          uint32_t *ret_clear_tree)
{
        uint32_t tree = to->ttl.index ? to->ttl.index->tree : 0;
        *ret_clear_tree = tree;
        to->ttl = (SchemaTtl){0};
        if (!spec->field.data)
                return ST_OK;
        if (tree == 0)
                TRY(schema_free_tree(to, &tree));
        *ret_clear_tree = tree;
        to->ttl.ready = empty;
        to->ttl.seconds = spec->seconds;
        return index_new_times(tree, spec->field, catalog->host->now_us(catalog->host->ctx), &to->ttl.index);
}

Status ttl_schema(TableCatalog *catalog, const Schema *now, const TtlSpec *spec, bool empty, Schema **ret_schema,
                  uint32_t *ret_clear_tree)
{
        SchemaSpec to;
        Index *fresh = NULL;
        Bytes had = now->ttl.index ? now->ttl.index->field : BYTES_NONE;
        bool same_field = !had.data == !spec->field.data && (!had.data || bytes_equal(had, spec->field));
        *ret_schema = NULL;
        *ret_clear_tree = 0;
        if (same_field && (!had.data || now->ttl.seconds == spec->seconds))
                return ST_OK;
        TRY(schema_spec(now, &to));
        Status st = ST_OK;
        if (same_field) {
                to.ttl.seconds = spec->seconds;
        } else {
                st = other_field(catalog, &to, spec, empty, ret_clear_tree);
                fresh = st ? NULL : to.ttl.index;
        }
        if (!st)
                st = schema_new(schema_version(catalog), &to, ret_schema);
        index_unref(fresh);
        mem_free(to.items);
        return st;
}

/* --- a batch --- */

struct Expirer {
        TableCatalog *catalog;
        bool by_hand;
        /* --- the expirer's thread, or who steps by hand --- */
        TableRef **tables; /* that are still in the round; counted */
        size_t count, at;
        bool idle; /* no table had the setting when the last round began */
        Arena arena;
        /* --- any thread --- */
        atomic_uint_fast64_t row_count, batch_count;
        Mutex mu; /* order 3 in docs/locks.md: held over nothing */
        Cond wake;
        bool started, wanted, stopping; /* GUARDED_BY(mu) */
        Thread thread;
};

typedef struct Batch {
        TableRef *table;
        const Schema *schema;
        double due_s; /* rows with this time or an earlier one are due */
        Snapshot *snapshot;
        Cursor *cursor;
        Commit *commit;
        Bytes *keys; /* of rows that were due in the snapshot */
        size_t key_count, deleted_count;
        bool more; /* there may be more than these */
        Status st;
} Batch;

static void batch_done(Batch *batch)
{
        cursor_close(take(batch->cursor));
        store_unpin(take(batch->snapshot));
        commit_abort(take(batch->commit));
}

static Status read_keys(Batch *batch, Arena *arena)
{
        const Index *index = batch->schema->ttl.index;
        IndexSpan span =
                index_span((IndexBound){.none = true}, (IndexBound){.value = value_number(batch->due_s)}, arena);
        bool found = true;
        batch->keys = arena_array(arena, Bytes, BATCH_ROWS);
        TRY(cursor_tree_open(batch->snapshot, index->tree, span.sure, false, &batch->cursor));
        while (batch->key_count < BATCH_ROWS) {
                Bytes key, value;
                IndexEntryParts entry;
                TRY(cursor_next(batch->cursor, arena, &key, &value, &found));
                if (!found)
                        break;
                if (!index_entry_read(index->shape, key, value, &entry))
                        return status_new(ERR_CORRUPT, "the index of the times at which rows expire is damaged");
                const uint8_t *copy = arena_dup(arena, entry.primary_key.data, entry.primary_key.size);
                batch->keys[batch->key_count++] = BYTES(copy, entry.primary_key.size);
        }
        batch->more = found;
        return ST_OK;
}

static Value guarded_keys(void *ctx, Arena *arena)
{
        Batch *batch = ctx;
        batch->st = read_keys(batch, arena);
        return value_none();
}

/* The row may have changed since it was found: whether it is due is asked once more, of what it is now. */
static Status delete_one(Batch *batch, Bytes key, Arena *arena, size_t *bytes)
{
        StoreTable *store = batch->table->store;
        IndexOps ops;
        Bytes row_bytes;
        double time_s;
        bool found;
        TRY(commit_get(batch->commit, store, key, arena, &row_bytes, &found));
        if (!found)
                return ST_OK;
        Value row = value_decode(row_bytes.data);
        if (!index_row_time(batch->schema->ttl.index, row, &time_s) || time_s > batch->due_s)
                return ST_OK;
        TRY(index_plan(batch->schema, key, row, value_null(), arena, &ops));
        TRY(commit_delete_row(batch->commit, store, key, row_bytes));
        TRY(index_apply(batch->commit, store, &ops));
        batch->deleted_count++;
        *bytes += row_bytes.size;
        return ST_OK;
}

static Status delete_rows(Batch *batch, Arena *arena)
{
        size_t bytes = 0, i = 0;
        for (; i < batch->key_count && bytes < BATCH_BYTES; i++)
                TRY(delete_one(batch, batch->keys[i], arena, &bytes));
        batch->more |= i < batch->key_count;
        return ST_OK;
}

static Value guarded_rows(void *ctx, Arena *arena)
{
        Batch *batch = ctx;
        batch->st = delete_rows(batch, arena);
        return value_none();
}

static Status batch_run(Batch *batch, Arena *arena, Value (*run)(void *ctx, Arena *arena))
{
        Value ignored;
        batch->st = ST_OK;
        Status st = build_guarded(arena, run, batch, &ignored);
        if (!st)
                return batch->st;
        status_ignore(batch->st);
        return st;
}

static Status batch_commit(Batch *batch, Arena *arena)
{
        uint64_t position;
        TRY(commit_begin(batch->table->catalog->store, &batch->commit));
        TRY(commit_lock(batch->commit, batch->table->store));
        if (!table_state_is(batch->table->state, batch->schema))
                return ST_OK; /* perhaps these rows do not expire any more: the next round knows */
        TRY(batch_run(batch, arena, guarded_rows));
        if (batch->deleted_count == 0)
                return ST_OK;
        TRY(commit_finish(take(batch->commit), &position));
        table_count_writes(batch->table, batch->deleted_count);
        return ST_OK;
}

/* *ret_more: the table has more rows that are due. */
static Status expire_batch(Expirer *expirer, TableRef *table, bool *ret_more)
{
        _cleanup_(schema_unrefp) Schema *schema = table_state_schema(table->state);
        const HostOps *host = expirer->catalog->host;
        *ret_more = false;
        if (!schema->ttl.ready)
                return ST_OK;
        _cleanup_(batch_done) Batch batch = {
                .table = table, .schema = schema, .due_s = (double)host->now_us(host->ctx) / 1e6 - schema->ttl.seconds};
        arena_reset(&expirer->arena);
        TRY(store_pin(table->store, &batch.snapshot));
        TRY(batch_run(&batch, &expirer->arena, guarded_keys));
        cursor_close(take(batch.cursor));
        store_unpin(take(batch.snapshot));
        if (batch.key_count == 0)
                return ST_OK;
        TRY(batch_commit(&batch, &expirer->arena));
        atomic_fetch_add_explicit(&expirer->row_count, batch.deleted_count, memory_order_relaxed);
        atomic_fetch_add_explicit(&expirer->batch_count, batch.deleted_count > 0, memory_order_relaxed);
        *ret_more = batch.more && batch.deleted_count > 0; /* or else other writers are faster: not again at once */
        return ST_OK;
}

/* --- a round --- */

static Status add_table(void *ctx, TableRef *table)
{
        Expirer *expirer = ctx;
        if (!table->schema->ttl.index)
                return ST_OK;
        if (expirer->count % 16 == 0) {
                TableRef **grown = mem_alloc((expirer->count + 16) * sizeof *grown);
                if (!grown)
                        return status_nomem();
                if (expirer->count)
                        memcpy(grown, expirer->tables, expirer->count * sizeof *grown);
                mem_free(expirer->tables);
                expirer->tables = grown;
        }
        expirer->tables[expirer->count++] = catalog_table_ref(table);
        return ST_OK;
}

static void leave_round(Expirer *expirer)
{
        catalog_table_unref(expirer->tables[expirer->at]);
        expirer->tables[expirer->at] = expirer->tables[--expirer->count];
}

static void end_round(Expirer *expirer)
{
        expirer->at = 0;
        while (expirer->count > 0)
                leave_round(expirer);
        mem_free(take(expirer->tables));
}

static Status begin_round(Expirer *expirer)
{
        Status st = catalog_each_table(expirer->catalog, add_table, expirer);
        if (st)
                end_round(expirer);
        expirer->idle = !st && expirer->count == 0;
        return st;
}

Status ttl_step(TableCatalog *catalog, bool *ret_more)
{
        Expirer *expirer = catalog->expirer;
        bool more = false;
        *ret_more = false;
        if (expirer->count == 0) {
                TRY(begin_round(expirer));
                *ret_more = expirer->count > 0;
                return ST_OK;
        }
        if (expirer->at >= expirer->count)
                expirer->at = 0;
        Status st = expire_batch(expirer, expirer->tables[expirer->at], &more);
        if (more)
                expirer->at++;
        else
                leave_round(expirer);
        *ret_more = expirer->count > 0;
        if (!*ret_more)
                end_round(expirer);
        if (status_code(st) == ERR_NOT_FOUND) { /* the table was dropped */
                status_ignore(st);
                st = ST_OK;
        }
        return st;
}

void table_source_expired(TableCatalog *catalog, uint64_t *ret_row_count, uint64_t *ret_commit_count)
{
        *ret_row_count = atomic_load_explicit(&catalog->expirer->row_count, memory_order_relaxed);
        *ret_commit_count = atomic_load_explicit(&catalog->expirer->batch_count, memory_order_relaxed);
}

/* --- the thread --- */

static void pause_for(Expirer *expirer, bool more, uint64_t took_ns) REQUIRES(expirer->mu)
{
        if (more)
                cond_wait_for(&expirer->wake, &expirer->mu,
                              MIN(MAX(PAUSE_FACTOR * took_ns, PAUSE_LEAST_NS), PAUSE_MOST_NS));
        else if (!expirer->idle)
                cond_wait_for(&expirer->wake, &expirer->mu, INTERVAL_NS);
        else if (!expirer->wanted)
                cond_wait(&expirer->wake, &expirer->mu);
}

static void expirer_main(void *arg)
{
        Expirer *expirer = arg;
        const HostOps *host = expirer->catalog->host;
        mutex_lock(&expirer->mu);
        while (!expirer->stopping) {
                bool more = false;
                expirer->wanted = false;
                mutex_unlock(&expirer->mu);
                int64_t began_ns = host->mono_ns(host->ctx);
                Status st = ttl_step(expirer->catalog, &more);
                status_ignore(
                        st); /* the disk is full, memory is short, a table is damaged: told elsewhere, tried again */
                int64_t took_ns = host->mono_ns(host->ctx) - began_ns;
                mutex_lock(&expirer->mu);
                if (!expirer->stopping)
                        pause_for(expirer, more, (uint64_t)MAX(took_ns, (int64_t)0));
        }
        mutex_unlock(&expirer->mu);
}

void ttl_wake(TableCatalog *catalog)
{
        Expirer *expirer = catalog->expirer;
        if (expirer->by_hand)
                return;
        mutex_lock(&expirer->mu);
        expirer->wanted = true;
        if (!expirer->started) { /* without a thread now, the next table with the setting tries again */
                Status st = thread_start(&expirer->thread, "expiry", expirer_main, expirer);
                expirer->started = !st;
                status_ignore(st);
        }
        cond_signal(&expirer->wake);
        mutex_unlock(&expirer->mu);
}

static Status wake_if_set(void *ctx, TableRef *table)
{
        if (table->schema->ttl.index)
                ttl_wake(ctx);
        return ST_OK;
}

Status ttl_start(TableCatalog *catalog)
{
        return catalog_each_table(catalog, wake_if_set, catalog);
}

Expirer *expirer_new(TableCatalog *catalog, bool by_hand)
{
        Expirer *expirer = mem_zalloc(sizeof *expirer);
        if (expirer) {
                expirer->catalog = catalog;
                expirer->by_hand = by_hand;
                expirer->idle = true;
                arena_init(&expirer->arena, 0);
                mutex_init(&expirer->mu);
                cond_init(&expirer->wake);
        }
        return expirer;
}

Expirer *expirer_free(Expirer *expirer)
{
        if (!expirer)
                return NULL;
        mutex_lock(&expirer->mu);
        bool started = expirer->started;
        expirer->stopping = true;
        cond_signal(&expirer->wake);
        mutex_unlock(&expirer->mu);
        if (started)
                thread_join(&expirer->thread);
        end_round(expirer);
        arena_done(&expirer->arena);
        cond_done(&expirer->wake);
        mutex_done(&expirer->mu);
        mem_free(expirer);
        return NULL;
}
