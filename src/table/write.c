/* write.c - changing rows: many per commit, each atomic, the table's writer lock held only while bytes are put.
 *
 *      slow change:  pin -> old row, change, check, encode (no lock)  -> lock -> is the row still those bytes? -> put
 * -> finish ^                                                            | no: lost to another writer
 *                       +-----------------------------------------------------------+ (after MAX_LOSSES: computed under
 * the lock) quick change: lock -> old row, change, check, encode, put -> finish
 *
 * Whatever is held is in the caller's WriteGuard at every moment at which the arena or `change` may longjmp. */
#include "table/index_int.h"
#include "table/table_int.h"
#include "table/transaction.h"

#include "value/key.h"

#define BATCH_ROWS  256
#define BATCH_BYTES (1u << 20)
#define MAX_LOSSES  3

typedef struct Plan { /* what is to become of one row */
        Bytes key;
        Bytes old_bytes, new_bytes; /* data NULL: no row */
        RowEffect effect;
        IndexOps index_ops; /* what changes with it in the indexes of Write.schema */
} Plan;

typedef struct Write {
        TableRef *table;
        RowChange change;
        void *change_ctx;
        Arena *arena;
        const WriteOptions *options;
        WriteGuard *guard;
        Schema *schema;    /* the table's indexes and hook that rows are planned for; held, or the TableRef's */
        DraftTable *draft; /* of the transaction that the write is in; NULL: none */
        uint64_t position; /* of the last commit */
        /* the batch */
        size_t first; /* its first row's index in the caller's arrays */
        Plan *plans;
        RowOutcome *outcomes;
        uint32_t *pending; /* rows without an outcome, in order */
        size_t pending_count;
} Write;

enum { HELD_SNAPSHOT, HELD_COMMIT, HELD_SCHEMA };

static void guard_undo(WriteGuard *guard)
{
        commit_abort(take(guard->held[HELD_COMMIT]));
        store_unpin(take(guard->held[HELD_SNAPSHOT]));
        schema_unref(take(guard->held[HELD_SCHEMA]));
}

static Commit *held_commit(const Write *w)
{
        return w->guard->held[HELD_COMMIT];
}

static Status write_pin(Write *w, Snapshot **ret_snapshot)
{
        TRY(table_error(w->table, store_pin(w->table->store, ret_snapshot)));
        w->guard->held[HELD_SNAPSHOT] = *ret_snapshot;
        return ST_OK;
}

static void write_unpin(Write *w)
{
        store_unpin(take(w->guard->held[HELD_SNAPSHOT]));
}

/* *ret_stale: the table's indexes are others than those that rows were planned for: now they are known, but not locked.
 */
static Status write_lock(Write *w, bool *ret_stale)
{
        Commit *commit;
        if (unlikely(w->draft != NULL)) { /* nobody else writes to it, and its indexes stay */
                *ret_stale = false;
                TRY(draft_commit(w->draft, &commit));
                w->guard->held[HELD_COMMIT] = commit;
                return ST_OK;
        }
        TRY(commit_begin(w->table->catalog->store, &commit));
        w->guard->held[HELD_COMMIT] = commit;
        Status st = commit_lock(commit, w->table->store);
        *ret_stale = !st && unlikely(!table_state_is(w->table->state, w->schema));
        if (!st && !*ret_stale)
                return ST_OK;
        commit_abort(take(w->guard->held[HELD_COMMIT]));
        if (st)
                return table_error(w->table, st);
        schema_unref(take(w->guard->held[HELD_SCHEMA]));
        w->schema = table_state_schema(w->table->state);
        w->guard->held[HELD_SCHEMA] = w->schema;
        return ST_OK;
}

static Status write_finish(Write *w)
{
        uint64_t position;
        TRY(commit_finish(take(w->guard->held[HELD_COMMIT]), &position));
        w->position = MAX(w->position, position);
        return ST_OK;
}

/* --- one row --- */

/* Errors that end the whole write rather than be this row's. */
static bool fatal(Status st)
{
        StatusCode code = status_code(st);
        return code == ERR_CANCELLED || code == ERR_NOMEM || code == ERR_CONFLICT;
}

static Value row_value(Bytes bytes)
{
        return bytes.data ? value_decode(bytes.data) : value_null();
}

/* --- the write hook: it may change what is written, but not whether there is a row afterwards --- */

static Value hook_context(const Write *w, Value old_row, Value new_row, int64_t now_us)
{
        Value row = value_is_object(new_row) ? new_row : old_row;
        Value key = value_is_object(row) ? value_get(row, w->table->info.primary_key) : value_null();
        Field *fields = arena_array(w->arena, Field, 2);
        fields[0] = (Field){BYTES_STR("primary_key"), value_is(key, V_NONE) ? value_null() : key};
        fields[1] = (Field){BYTES_STR("timestamp"), value_time(w->arena, (double)now_us / 1e6, BYTES_STR("+00:00"))};
        return value_object_sorted(fields, 2);
}

static Status apply_hook(Write *w, Value old_row, Value *new_row)
{
        const HostOps *host = w->table->catalog->host;
        int64_t now_us = w->options->now_us ? w->options->now_us : host->now_us(host->ctx);
        Value args[] = {hook_context(w, old_row, *new_row, now_us), old_row, *new_row}, result;
        bool deletes = value_is(*new_row, V_NULL);
        Status st = closure_call_at(w->schema->hook_closure, now_us, args, ELEMENTS(args), w->arena, &result);
        if (st) {
                if (fatal(st))
                        return st;
                Status told = status_new(status_code(st), "Error in write hook: %s", status_message(st));
                status_ignore(st);
                return told;
        }
        if (deletes && !value_is(result, V_NULL))
                return status_new(ERR_OP_FAILED,
                                  "A write hook function must not turn a deletion into a replace/insert.");
        if (!deletes && value_is(result, V_NULL))
                return status_new(ERR_OP_FAILED,
                                  "A write hook function must not turn a replace/insert into a deletion.");
        *new_row = result;
        return ST_OK;
}

static Status plan_indexes(Write *w, Plan *plan, Value old_row, Value new_row)
{
        if (likely(w->schema->tree_count == 0))
                return ST_OK;
        return index_plan(w->schema, plan->key, old_row, new_row, w->arena, &plan->index_ops);
}

/* Asks `change` what becomes of the row, checks that, and encodes it. */
static Status plan_row(Write *w, Plan *plan, size_t index)
{
        Value old_row = row_value(plan->old_bytes), new_row;
        RowOutcome *outcome = &w->outcomes[index - w->first];
        bool had = plan->old_bytes.data != NULL;
        Status st = w->change(w->change_ctx, index, old_row, w->arena, &new_row);
        if (!st && unlikely(w->schema->hook.data != NULL) && !w->options->ignore_hook)
                st = apply_hook(w, old_row, &new_row);
        if (!st)
                st = row_check(&w->table->info, plan->key, old_row, new_row, w->arena);
        outcome->error = status_free(outcome->error); /* of the try before */
        plan->new_bytes = plan->old_bytes;
        plan->index_ops.count = 0;
        if (unlikely(st != ST_OK)) {
                if (fatal(st))
                        return st;
                outcome->error = st; /* there at once: a later row may longjmp, and the caller frees the outcomes */
                plan->effect = ROW_FAILED;
                return ST_OK;
        }
        if (value_is(new_row, V_NULL)) {
                plan->new_bytes = BYTES_NONE;
                plan->effect = had ? ROW_DELETED : ROW_SKIPPED;
                return had ? plan_indexes(w, plan, old_row, new_row) : ST_OK;
        }
        if (had && value_equal(old_row, new_row)) {
                plan->effect = ROW_UNCHANGED;
                return ST_OK;
        }
        size_t size = value_encoded_size(new_row);
        uint8_t *bytes = arena_alloc(w->arena, size);
        value_encode(new_row, bytes);
        plan->new_bytes = BYTES(bytes, size);
        plan->effect = had ? ROW_REPLACED : ROW_INSERTED;
        return plan_indexes(w, plan, old_row, new_row);
}

static bool plan_changes(const Plan *plan)
{
        return plan->effect == ROW_INSERTED || plan->effect == ROW_REPLACED || plan->effect == ROW_DELETED;
}

/* Puts the planned row; the writer lock is held. */
static Status put_row(Write *w, const Plan *plan)
{
        if (!plan_changes(plan))
                return ST_OK;
        if (likely(!w->draft))
                table_count_writes(w->table, 1);
        if (plan->new_bytes.data)
                TRY(commit_put_row(held_commit(w), w->table->store, plan->key, plan->new_bytes, plan->old_bytes));
        else
                TRY(commit_delete_row(held_commit(w), w->table->store, plan->key, plan->old_bytes));
        return index_apply(held_commit(w), w->table->store, &plan->index_ops);
}

/* Whether other rows let it have its values; the writer lock is held. If not, nothing becomes of the row. */
static Status check_unique(Write *w, size_t i)
{
        Plan *plan = &w->plans[i];
        Status duplicate;
        if (likely(!w->schema->unique) || !plan_changes(plan))
                return ST_OK;
        TRY(index_check_unique(held_commit(w), w->table, w->schema, plan->key, &plan->index_ops, w->arena, &duplicate));
        if (duplicate) {
                w->outcomes[i].error = duplicate;
                plan->effect = ROW_FAILED;
                plan->new_bytes = plan->old_bytes;
        }
        return ST_OK;
}

static Value copied_row(const Write *w, Bytes bytes)
{
        return bytes.data ? value_decode(arena_dup(w->arena, bytes.data, bytes.size)) : value_null();
}

/* Old rows are copied: what they lie in goes with the snapshot or the commit.
 */
static void tell_outcome(Write *w, size_t i)
{
        Plan *plan = &w->plans[i];
        RowOutcome *outcome = &w->outcomes[i];
        outcome->effect = plan->effect;
        if (!w->options->want_rows)
                return;
        outcome->old_row = copied_row(w, plan->old_bytes);
        bool is_old = plan->effect == ROW_FAILED || plan->effect == ROW_UNCHANGED;
        outcome->new_row = is_old ? outcome->old_row : row_value(plan->new_bytes);
}

/* After a fatal error nobody is told the outcomes of the rows that were still to come. */
static void forget_errors(Write *w)
{
        for (size_t i = 0; i < w->pending_count; i++) {
                RowOutcome *outcome = &w->outcomes[w->pending[i]];
                outcome->error = status_free(outcome->error);
        }
}

/* --- a batch --- */

/* Reads, computes and puts the pending rows in one commit, under the lock. */
static Status write_under_lock(Write *w)
{
        size_t done = 0, bytes = 0, changed = 0;
        bool stale = true;
        while (stale)
                TRY(write_lock(w, &stale));
        for (; done < w->pending_count && bytes < BATCH_BYTES; done++) {
                size_t i = w->pending[done];
                Plan *plan = &w->plans[i];
                bool found;
                TRY(commit_get(held_commit(w), w->table->store, plan->key, w->arena, &plan->old_bytes, &found));
                if (!found)
                        plan->old_bytes = BYTES_NONE;
                TRY(plan_row(w, plan, w->first + i));
                TRY(check_unique(w, i));
                tell_outcome(w, i); /* before the put, which may free the old row */
                TRY(put_row(w, plan));
                changed += plan_changes(plan);
                bytes += plan->new_bytes.size;
        }
        w->pending += done;
        w->pending_count -= done;
        if (changed)
                return write_finish(w);
        commit_abort(take(w->guard->held[HELD_COMMIT]));
        return ST_OK;
}

static bool same_row(Bytes a, bool a_there, Bytes b)
{
        if (!a_there || !b.data)
                return !a_there && !b.data;
        return a.size == b.size && (a.data == b.data || memcmp(a.data, b.data, a.size) == 0);
}

/* Computes the first pending rows from a snapshot; *ret_count of them, at most a commit's worth. */
static Status plan_pending(Write *w, Snapshot *snapshot, size_t *ret_count, size_t *ret_changed)
{
        size_t bytes = 0, n = 0, changed = 0;
        for (; n < w->pending_count && bytes < BATCH_BYTES; n++) {
                size_t i = w->pending[n];
                Plan *plan = &w->plans[i];
                bool found;
                TRY(snapshot_get(snapshot, plan->key, w->arena, &plan->old_bytes, &found));
                if (!found)
                        plan->old_bytes = BYTES_NONE;
                TRY(plan_row(w, plan, w->first + i));
                changed += plan_changes(plan);
                bytes += plan->new_bytes.size;
        }
        *ret_count = n;
        *ret_changed = changed;
        return ST_OK;
}

/* Puts what was planned where the row is still the one it was planned from; the others stay pending, in order. */
static Status put_planned(Write *w, size_t count, size_t changed)
{
        size_t lost = 0;
        bool stale = false;
        if (changed)
                TRY(write_lock(w, &stale));
        if (stale)
                return ST_OK; /* nothing is put: all is planned again */
        for (size_t n = 0; n < count; n++) {
                size_t i = w->pending[n];
                Plan *plan = &w->plans[i];
                Bytes now;
                bool found;
                /* One that changes nothing may come behind a change of the same row. */
                if (plan_changes(plan) || (changed && count > 1)) {
                        TRY(commit_get(held_commit(w), w->table->store, plan->key, w->arena, &now, &found));
                        if (!same_row(now, found, plan->old_bytes)) {
                                w->pending[lost++] = (uint32_t)i;
                                continue;
                        }
                        TRY(check_unique(w, i));
                        TRY(put_row(w, plan));
                }
                tell_outcome(w, i);
        }
        if (changed)
                TRY(write_finish(w));
        memmove(w->pending + lost, w->pending + count, (w->pending_count - count) * sizeof *w->pending);
        w->pending_count -= count - lost;
        return ST_OK;
}

/* A row that comes twice in one batch sees its own first change only under the lock or in the next round, so it counts
 * as lost: as with another writer, the second change is computed from the first's result. */
static Status write_optimistic(Write *w)
{
        for (unsigned losses = 0; w->pending_count > 0 && losses < MAX_LOSSES;) {
                Snapshot *snapshot;
                size_t count = 0, changed = 0, before = w->pending_count;
                TRY(write_pin(w, &snapshot));
                TRY(plan_pending(w, snapshot, &count, &changed));
                TRY(put_planned(w, count, changed));
                write_unpin(w);
                losses += before - w->pending_count < count;
        }
        return ST_OK;
}

static Status write_batch(Write *w, const Value *keys, size_t count)
{
        w->plans = arena_array(w->arena, Plan, count);
        w->pending = arena_array(w->arena, uint32_t, count);
        w->pending_count = 0;
        for (size_t i = 0; i < count; i++) {
                w->plans[i] = (Plan){.effect = ROW_FAILED};
                w->outcomes[i] = (RowOutcome){.effect = ROW_FAILED};
                if (w->options->want_rows)
                        w->outcomes[i].old_row = w->outcomes[i].new_row = value_null();
                w->outcomes[i].error = key_encode_primary(keys[i], w->arena, &w->plans[i].key);
                w->outcomes[i].bad_key = w->outcomes[i].error != ST_OK;
                if (!w->outcomes[i].bad_key)
                        w->pending[w->pending_count++] = (uint32_t)i;
        }
        if (!w->options->quick && !w->draft)
                TRY(write_optimistic(w));
        while (w->pending_count > 0)
                TRY(write_under_lock(w));
        return ST_OK;
}

Status table_write(TableRef *table, const Value *keys, size_t count, RowChange change, void *change_ctx,
                   const WriteOptions *options, Arena *arena, RowOutcome *outcomes, uint64_t *ret_position)
{
        if (!table->store)
                return system_write(table, keys, count, change, change_ctx, options, arena, outcomes, ret_position);
        WriteGuard own = {0};
        Write w = {.table = table,
                   .change = change,
                   .change_ctx = change_ctx,
                   .arena = arena,
                   .options = options,
                   .schema = table->schema,
                   .guard = options->guard ? options->guard : &own};
        *w.guard = (WriteGuard){.undo = guard_undo};
        Status st = ST_OK;
        if (unlikely(options->transaction != NULL))
                TRY(transaction_draft(options->transaction, table, &w.draft, &w.schema));
        for (size_t first = 0; !st && first < count; first += BATCH_ROWS) {
                w.first = first;
                w.outcomes = outcomes + first;
                st = write_batch(&w, keys + first, MIN((size_t)BATCH_ROWS, count - first));
                if (st)
                        forget_errors(&w);
        }
        guard_undo(w.guard);
        w.guard->undo = NULL;
        bool hard = options->durability == DURABILITY_HARD ||
                    (options->durability == DURABILITY_DEFAULT && table->info.hard_durability);
        if (unlikely(w.draft != NULL))
                transaction_wrote(options->transaction, outcomes, count, hard);
        else if (hard && w.position > *ret_position)
                *ret_position = w.position;
        return st;
}

Status table_sync(TableRef *table, uint64_t *ret_position)
{
        if (!table->store)
                return status_new(ERR_OP_FAILED,
                                  "Database `" SYSTEM_DB "` is special; the system tables in it cannot be synced.");
        StoreStats stats;
        store_stats(table->catalog->store, &stats);
        *ret_position = MAX(*ret_position, stats.last_position);
        return ST_OK;
}
