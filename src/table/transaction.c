/* transaction.c - see transaction.h.
 *
 *      statements   table -> its draft and the schema of the draft's moment: read and written as ever, over the draft
 *      commit       PLAN the changed rows and their index entries, no lock held
 *                   LOCK all tables concerned, in order of id; if indexes changed since the plan: give back, PLAN again
 *                   CHECK that each row to be written is still the one that the draft began with, (serializable) also
 *                         what was read
 *                   PUT everything, look at the unique indexes, one commit_finish: one frame of the log
 */
#include "table/transaction.h"

#include <stdio.h>
#include <stdlib.h>

#include "value/json.h"

struct TransactionTable {
        TableRef *table; /* counted */
        DraftTable *draft;
        Schema *schema; /* counted: the indexes that the draft's moment has */
};

Status conflict_error(const char *format, ...)
{
        char text[640];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof text, format, args);
        va_end(args);
        return status_new(ERR_CONFLICT, CONFLICT_BEGINS "%s" CONFLICT_ENDS, text);
}

#define NAME(table) (const char *)(table)->info.db.data, (const char *)(table)->info.name.data

/* --- life --- */

Status transaction_new(TableCatalog *catalog, const TransactionOptions *options, Transaction **ret_transaction)
{
        Transaction *transaction = mem_zalloc(sizeof *transaction);
        if (!transaction)
                return status_nomem();
        transaction->catalog = catalog;
        transaction->serializable = options->serializable;
        DraftOptions draft = {.memory_max_bytes = catalog->limits.memory_max_bytes,
                              .note_reads = options->serializable};
        Status st = draft_open(catalog->store, &draft, &transaction->draft);
        if (st) {
                mem_free(transaction);
                return st;
        }
        *ret_transaction = transaction;
        return ST_OK;
}

void transaction_end(Transaction *transaction)
{
        draft_close(take(transaction->draft));
        for (size_t i = 0; i < transaction->table_count; i++) {
                schema_unref(transaction->tables[i].schema);
                catalog_table_unref(transaction->tables[i].table);
        }
        mem_free(take(transaction->tables));
        transaction->table_count = 0;
}

Transaction *transaction_free(Transaction *transaction)
{
        if (transaction) {
                transaction_end(transaction);
                mem_free(transaction);
        }
        return NULL;
}

/* --- its tables --- */

const TableRef *transaction_table_at(const Transaction *transaction, size_t i)
{
        return i < transaction->table_count ? transaction->tables[i].table : NULL;
}

/* As a view is opened (read.c), but at the draft's moment: the schema of now is that of then, or it cannot be read. */
static Status table_open(Transaction *transaction, TransactionTable *entry)
{
        TableRef *table = entry->table;
        for (;;) {
                entry->schema = table_state_schema(table->state);
                Status st = draft_table(transaction->draft, table->store, &entry->draft);
                if (status_code(st) == ERR_CONFLICT) {
                        status_ignore(st);
                        return conflict_error("table `%s.%s` cannot be read as it was when the transaction began.",
                                              NAME(table));
                }
                if (st)
                        return table_error(table, st);
                if (table_state_is(table->state, entry->schema))
                        break;
                entry->schema = schema_unref(entry->schema);
        }
        if (entry->schema->since > draft_position(transaction->draft))
                return conflict_error("the indexes of table `%s.%s` were changed since the transaction began.",
                                      NAME(table));
        return ST_OK;
}

static Status find_table(Transaction *transaction, TableRef *table, TransactionTable **ret_entry)
{
        for (size_t i = 0; i < transaction->table_count; i++) {
                if (transaction->tables[i].table->store == table->store) {
                        *ret_entry = &transaction->tables[i];
                        return ST_OK;
                }
        }
        if (!transaction->draft)
                return status_new(ERR_OP_FAILED, "The transaction has ended.");
        TransactionTable *tables =
                mem_realloc(transaction->tables, (transaction->table_count + 1) * sizeof(TransactionTable));
        if (!tables)
                return status_nomem();
        transaction->tables = tables;
        TransactionTable *entry = &tables[transaction->table_count];
        *entry = (TransactionTable){.table = catalog_table_ref(table)};
        Status st = table_open(transaction, entry);
        if (st) {
                schema_unref(entry->schema);
                catalog_table_unref(entry->table);
                return st;
        }
        transaction->table_count++;
        *ret_entry = entry;
        return ST_OK;
}

Status transaction_view(Transaction *transaction, TableRef *table, const char *user, TableView **ret_view)
{
        TransactionTable *entry;
        Snapshot *snapshot;
        if (!table->store)
                return view_open_for(table, user, ret_view);
        TRY(find_table(transaction, table, &entry));
        TRY(draft_pin(entry->draft, &snapshot));
        Status st = view_open_at(table, snapshot, entry->schema, ret_view);
        if (st)
                store_unpin(snapshot);
        return st;
}

Status transaction_draft(Transaction *transaction, TableRef *table, DraftTable **ret_draft, Schema **ret_schema)
{
        TransactionTable *entry;
        TRY(find_table(transaction, table, &entry));
        if (transaction->committed)
                return status_new(ERR_OP_FAILED, "The transaction has ended.");
        *ret_draft = entry->draft;
        *ret_schema = entry->schema;
        return ST_OK;
}

void transaction_wrote(Transaction *transaction, const RowOutcome *outcomes, size_t count, bool hard)
{
        for (size_t i = 0; i < count; i++)
                transaction->written_rows += outcomes[i].effect == ROW_INSERTED || outcomes[i].effect == ROW_DELETED ||
                                             outcomes[i].effect == ROW_REPLACED;
        transaction->hard |= hard;
}

/* --- commit --- */

typedef struct CommitRow {
        DraftChange change;
        IndexOps ops; /* of the part's schema */
} CommitRow;
typedef struct CommitPart { /* a table that is written, or whose reads are looked at */
        TransactionTable *entry;
        Schema *schema;        /* counted: the present one, that the rows are planned for */
        DraftChanges *changes; /* keeps their bytes */
        CommitRow *rows;
        size_t count;
} CommitPart;
typedef struct Committing {
        Transaction *transaction;
        CommitPart *parts; /* in order of id */
        size_t part_count;
        Commit *commit;
        Status st;
        bool stale;
} Committing;

static Status plan_row(CommitPart *part, CommitRow *row, Arena *arena)
{
        if (part->schema->tree_count == 0)
                return ST_OK;
        const DraftChange *change = &row->change;
        Value old_row = change->old_value.data ? value_decode(change->old_value.data) : value_null();
        Value new_row = change->new_value.data ? value_decode(change->new_value.data) : value_null();
        return index_plan(part->schema, change->key, old_row, new_row, arena, &row->ops);
}

static Status plan_part(CommitPart *part, Arena *arena)
{
        bool found;
        uint64_t capacity;
        TRY(draft_change_count(part->entry->draft, &capacity));
        part->schema = table_state_schema(part->entry->table->state);
        part->rows = arena_array(arena, CommitRow, capacity);
        TRY(draft_changes_open(part->entry->draft, &part->changes));
        for (;;) {
                CommitRow row = {.ops = {0}};
                TRY(draft_changes_next(part->changes, arena, &row.change, &found));
                if (!found)
                        return ST_OK;
                TRY(plan_row(part, &row, arena));
                part->rows[part->count++] = row;
        }
}

static void parts_forget(Committing *c)
{
        commit_abort(take(c->commit));
        for (size_t i = 0; i < c->part_count; i++) {
                CommitPart *part = &c->parts[i];
                draft_changes_close(take(part->changes));
                part->schema = schema_unref(part->schema);
                part->rows = NULL;
                part->count = 0;
        }
}

static Status lock_parts(Committing *c)
{
        TRY(commit_begin(c->transaction->catalog->store, &c->commit));
        c->stale = false;
        for (size_t i = 0; i < c->part_count; i++) {
                TableRef *table = c->parts[i].entry->table;
                TRY(table_error(table, commit_lock(c->commit, table->store)));
                c->stale |= !table_state_is(table->state, c->parts[i].schema);
        }
        return ST_OK;
}

static Status row_conflict(const CommitPart *part, const DraftChange *change, Arena *arena)
{
        const TableRef *table = part->entry->table;
        Bytes row = change->new_value.data ? change->new_value : change->old_value;
        Bytes key = json_text(value_get(value_decode(row.data), table->info.primary_key), arena);
        return conflict_error("the row of table `%s.%s` with primary key %.*s was changed since the transaction began.",
                              NAME(table), (int)MIN(key.size, (size_t)200), (const char *)key.data);
}

static Status check_part(Committing *c, CommitPart *part, Arena *arena)
{
        const TableRef *table = part->entry->table;
        bool same = true;
        if (!draft_table_stale(part->entry->draft))
                return ST_OK; /* nobody has written to it: nothing of it can have changed */
        for (size_t i = 0; i < part->count; i++) {
                const DraftChange *change = &part->rows[i].change;
                ArenaMark mark = arena_mark(arena);
                Bytes now;
                bool found;
                TRY(commit_get(c->commit, table->store, change->key, arena, &now, &found));
                if (found != (change->old_value.data != NULL) || (found && !bytes_equal(now, change->old_value)))
                        return row_conflict(part, change, arena);
                arena_rewind(arena, mark);
        }
        if (c->transaction->serializable)
                TRY(draft_check_reads(part->entry->draft, c->commit, &same));
        return same ? ST_OK
                    : conflict_error("what it has read of table `%s.%s` was changed since it began.", NAME(table));
}

/* Where indexes are unique, all old entries go before the first new one is looked at: so rows can swap values. */
static Status put_part(Committing *c, CommitPart *part, Arena *arena)
{
        TableRef *table = part->entry->table;
        for (size_t i = 0; i < part->count; i++) {
                const CommitRow *row = &part->rows[i];
                const DraftChange *change = &row->change;
                if (change->new_value.data)
                        TRY(commit_put_row(c->commit, table->store, change->key, change->new_value, change->old_value));
                else
                        TRY(commit_delete_row(c->commit, table->store, change->key, change->old_value));
                if (part->schema->unique)
                        TRY(index_apply_removals(c->commit, table->store, &row->ops));
        }
        for (size_t i = 0; i < part->count; i++) {
                const CommitRow *row = &part->rows[i];
                Status duplicate;
                TRY(index_check_unique(c->commit, table, part->schema, row->change.key, &row->ops, arena, &duplicate));
                if (duplicate) {
                        Status st = conflict_error("%s", status_message(duplicate));
                        status_ignore(duplicate);
                        return st;
                }
                TRY(index_apply(c->commit, table->store, &row->ops));
        }
        return ST_OK;
}

static Status commit_try(Committing *c, Arena *arena)
{
        for (size_t i = 0; i < c->part_count; i++)
                TRY(plan_part(&c->parts[i], arena));
        TRY(lock_parts(c));
        if (c->stale)
                return ST_OK;
        for (size_t i = 0; i < c->part_count; i++)
                TRY(check_part(c, &c->parts[i], arena));
        for (size_t i = 0; i < c->part_count; i++)
                TRY(put_part(c, &c->parts[i], arena));
        return ST_OK;
}

static Value commit_guarded(void *ctx, Arena *arena)
{
        Committing *c = ctx;
        c->st = commit_try(c, arena);
        return value_none();
}

static int compare_parts(const void *a, const void *b)
{
        uint64_t x = ((const CommitPart *)a)->entry->table->store_id,
                 y = ((const CommitPart *)b)->entry->table->store_id;
        return (x > y) - (x < y);
}

static void find_parts(Committing *c)
{
        Transaction *transaction = c->transaction;
        for (size_t i = 0; i < transaction->table_count; i++) {
                TransactionTable *entry = &transaction->tables[i];
                if (draft_table_changed(entry->draft) || (transaction->serializable && draft_was_read(entry->draft)))
                        c->parts[c->part_count++] = (CommitPart){.entry = entry};
        }
        if (c->part_count > 1)
                qsort(c->parts, c->part_count, sizeof *c->parts, compare_parts);
}

static bool has_changes(const Transaction *transaction)
{
        for (size_t i = 0; i < transaction->table_count; i++)
                if (draft_table_changed(transaction->tables[i].draft))
                        return true;
        return false;
}

static Status commit_parts(Committing *c, uint64_t *ret_position)
{
        Arena arena;
        Value ignored;
        arena_init(&arena, 0);
        Status st;
        do {
                parts_forget(c);
                arena_reset(&arena);
                c->st = ST_OK;
                st = build_guarded(&arena, commit_guarded, c, &ignored);
                if (st)
                        status_ignore(take(c->st));
                else
                        st = take(c->st);
        } while (!st && c->stale);
        if (!st)
                st = commit_finish(take(c->commit), ret_position);
        for (size_t i = 0; i < c->part_count && !st; i++)
                table_count_writes(c->parts[i].entry->table, c->parts[i].count);
        parts_forget(c);
        arena_done(&arena);
        return st;
}

Status transaction_commit(Transaction *transaction, uint64_t *ret_position)
{
        uint64_t position = 0;
        if (!transaction->draft || transaction->committed)
                return status_new(ERR_OP_FAILED, "The transaction has ended.");
        /* What only reads has seen one moment, and needs to ask nobody whether it is still so. */
        if (has_changes(transaction)) {
                Committing c = {.transaction = transaction};
                c.parts = mem_alloc(transaction->table_count * sizeof *c.parts);
                if (!c.parts)
                        return status_nomem();
                find_parts(&c);
                Status st = commit_parts(&c, &position);
                mem_free(c.parts);
                if (st)
                        return st;
        }
        transaction->committed = true;
        if (transaction->hard && position > *ret_position)
                *ret_position = position;
        return ST_OK;
}
