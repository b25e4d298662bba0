/* draft.c - see draft.h: a draft's life, writing, and what has changed. Reading: draft_read.c.
 *
 * The changes of all tables are one table of the engine `memory`. A tree of a drafted table has three trees there:
 *
 *      CHANGED   key -> value and a byte:  NEW (not beneath), REPLACED (beneath with another value), DELETED (beneath)
 *      ADDED     the keys that are NEW,     so that rows in a range = beneath + added - removed:
 *      REMOVED   the keys that are DELETED  counting stays O(log n) */
#include "storage/draft.h"

#include <assert.h>

#include "base/mem.h"
#include "storage/draft_int.h"

typedef struct DraftWrite { /* an EngineWrite by its look */
        const EngineOps *ops;
        DraftTable *table;
        EngineWrite *write; /* of the changes */
        Arena scratch;
        Buf value;
        bool changed;
} DraftWrite;

static const EngineOps draft_write_ops;

/* --- drafts and their tables --- */

Status draft_open(Store *store, const DraftOptions *options, Draft **ret_draft)
{
        Draft *draft = mem_zalloc(sizeof *draft);
        if (!draft)
                return status_nomem();
        Status st = read_point_open(store, &draft->point);
        if (st) {
                mem_free(draft);
                return st;
        }
        atomic_init(&draft->refs, 1);
        draft->store = store;
        draft->options = *options;
        draft->position = read_point_position(draft->point);
        *ret_draft = draft;
        return ST_OK;
}

static void table_free(DraftTable *table)
{
        kept_root_unref(table->root);
        store_table_unref(table->table);
        map_free(table->reads);
        mutex_done(&table->reads_mu);
        mem_free(table);
}

void draft_unref(Draft *draft)
{
        if (atomic_fetch_sub_explicit(&draft->refs, 1, memory_order_acq_rel) != 1)
                return;
        if (draft->changes)
                changes_ops.table_drop(draft->changes);
        if (draft->engine)
                changes_ops.close(draft->engine);
        for (size_t i = 0; i < draft->table_count; i++)
                table_free(draft->tables[i]);
        mem_free(draft->tables);
        mem_free(draft);
}

void draft_close(Draft *draft)
{
        if (!draft)
                return;
        read_point_close(take(draft->point));
        draft_unref(draft);
}

uint64_t draft_position(const Draft *draft)
{
        return draft->position;
}

size_t draft_memory_bytes(const Draft *draft)
{
        EngineStats stats = {0};
        if (draft->engine)
                changes_ops.engine_stats(draft->engine, &stats);
        return stats.memory_bytes;
}

StoreTable *draft_store_table(const DraftTable *table)
{
        return table->table;
}

static Status table_add(Draft *draft, StoreTable *store_table, DraftTable **ret_table)
{
        if (draft->table_count == draft->table_capacity) {
                size_t capacity = draft->table_capacity ? 2 * draft->table_capacity : 4;
                DraftTable **tables = mem_realloc(draft->tables, capacity * sizeof(DraftTable *));
                if (!tables)
                        return status_nomem();
                draft->tables = tables;
                draft->table_capacity = capacity;
        }
        DraftTable *table = mem_zalloc(sizeof *table);
        if (!table)
                return status_nomem();
        mutex_init(&table->reads_mu);
        table->draft = draft;
        atomic_fetch_add_explicit(&store_table->refs, 1, memory_order_relaxed);
        table->table = store_table;
        table->first_tree = (uint32_t)draft->table_count * TREES_OF_TABLE;
        Status st = read_point_root(draft->point, store_table, &table->root);
        if (!st && draft->options.note_reads)
                st = map_new(&table->reads);
        if (st) {
                table_free(table);
                return st;
        }
        draft->tables[draft->table_count++] = table;
        *ret_table = table;
        return ST_OK;
}

Status draft_table(Draft *draft, StoreTable *table, DraftTable **ret_table)
{
        assert(draft->point);
        for (size_t i = 0; i < draft->table_count; i++) {
                if (draft->tables[i]->table == table) {
                        *ret_table = draft->tables[i];
                        return ST_OK;
                }
        }
        return table_add(draft, table, ret_table);
}

Status draft_pin(DraftTable *table, Snapshot **ret_snapshot)
{
        Draft *draft = table->draft;
        DraftSnapshot *snapshot = mem_zalloc(sizeof *snapshot);
        uint32_t tree;
        if (!snapshot)
                return status_nomem();
        *snapshot = (DraftSnapshot){.ops = &draft_read_ops, .table = table, .beneath = draft_root(table)};
        if (draft->changes) {
                Status st = changes_ops.pin(draft->changes, &snapshot->changes);
                if (st) {
                        mem_free(snapshot);
                        return st;
                }
                /* Of this table? All its trees follow each other. */
                if (!changes_ops.next_tree(snapshot->changes, table->first_tree, &tree) ||
                    tree >= table->first_tree + TREES_OF_TABLE)
                        changes_ops.unpin(take(snapshot->changes));
        }
        snapshot->version =
                snapshot->changes ? draft->version : draft_ops_of(snapshot->beneath)->version(snapshot->beneath);
        atomic_fetch_add_explicit(&draft->refs, 1, memory_order_relaxed);
        *ret_snapshot = (Snapshot *)snapshot;
        return ST_OK;
}

/* --- writing --- */

static DraftWrite *write_of(EngineWrite *write)
{
        return (DraftWrite *)(void *)write;
}

/* The table that has the changes, at the first of them. */
static Status changes_make(Draft *draft)
{
        if (likely(draft->changes != NULL))
                return ST_OK;
        if (!draft->engine)
                TRY(changes_ops.open(&(EngineOptions){.memory_max_bytes = draft->options.memory_max_bytes},
                                     &draft->engine));
        return changes_ops.table_create(draft->engine, 1, &draft->changes);
}

static void write_free(DraftWrite *write)
{
        arena_done(&write->scratch);
        buf_done(&write->value);
        mem_free(write);
}

static void draft_write_abort(EngineWrite *engine_write)
{
        if (!engine_write)
                return;
        DraftWrite *write = write_of(engine_write);
        changes_ops.write_abort(write->write);
        write_free(write);
}

Status draft_commit(DraftTable *table, Commit **ret_commit)
{
        Draft *draft = table->draft;
        TRY(changes_make(draft));
        DraftWrite *write = mem_zalloc(sizeof *write);
        if (!write)
                return status_nomem();
        write->ops = &draft_write_ops;
        write->table = table;
        arena_init(&write->scratch, 0);
        buf_init(&write->value, SIZE_MAX);
        Status st = changes_ops.write_begin(draft->changes, &write->write);
        if (st) {
                write_free(write);
                return st;
        }
        st = commit_begin_draft(table->table, (EngineWrite *)(void *)write, ret_commit);
        if (st)
                draft_write_abort((EngineWrite *)(void *)write);
        return st;
}

static Status limit_told(const DraftWrite *write, Status st)
{
        size_t most = write->table->draft->options.memory_max_bytes;
        if (status_code(st) != ERR_LIMIT || !most)
                return st;
        status_ignore(st);
        return status_new(ERR_LIMIT,
                          "the changes of the transaction need more than the %zu MiB of memory that they may use "
                          "(--transaction-memory)",
                          most >> 20);
}

/* The change of a key so far; in `hold`. */
static Status change_get(const DraftWrite *write, uint32_t tree, Bytes key, Arena *hold, Bytes *ret_value,
                         ChangeKind *ret_kind, bool *ret_found)
{
        Bytes changed;
        TRY(changes_ops.write_get(write->write, draft_tree(write->table, TREE_CHANGED, tree), key, hold, &changed,
                                  ret_found));
        if (*ret_found)
                *ret_value = changed_value(changed, ret_kind);
        return ST_OK;
}

static Status draft_write_get(EngineWrite *engine_write, uint32_t tree, Bytes key, Arena *hold, Bytes *ret_value,
                              bool *ret_found)
{
        DraftWrite *write = write_of(engine_write);
        ArenaMark mark = arena_mark(&write->scratch);
        ChangeKind kind;
        Bytes value;
        if (tree == 0)
                TRY(draft_note_key(write->table, key));
        else
                draft_note_range(write->table);
        Arena *to = hold ? hold : &write->scratch;
        Status st = change_get(write, tree, key, to, &value, &kind, ret_found);
        if (!st && *ret_found)
                *ret_found = kind != CHANGE_DELETED;
        else if (!st)
                st = draft_beneath_get(write->table, tree, key, to, &value, ret_found);
        if (!st && *ret_found && ret_value)
                *ret_value = value;
        arena_rewind(&write->scratch, mark);
        return st;
}

static Status change_put(DraftWrite *write, uint32_t tree, Bytes key, Bytes value, ChangeKind kind)
{
        buf_clear(&write->value);
        TRY(buf_reserve(&write->value, value.size + 1));
        TRY(buf_append(&write->value, value.data, value.size));
        TRY(buf_append_byte(&write->value, (uint8_t)kind));
        write->changed = true;
        return limit_told(write, changes_ops.write_put(write->write, draft_tree(write->table, TREE_CHANGED, tree), key,
                                                       BYTES(write->value.data, write->value.size)));
}

/* Notes in, or strikes from, the keys that are counted. */
static Status mark(DraftWrite *write, TreeKind kind, uint32_t tree, Bytes key, bool is)
{
        uint32_t in = draft_tree(write->table, kind, tree);
        bool found;
        if (is)
                return limit_told(write, changes_ops.write_put(write->write, in, key, BYTES_STR("")));
        return changes_ops.write_delete(write->write, in, key, &found);
}

/* What the key is now: the kind of its change, or whether it is beneath (as if REPLACED) or not at all. */
static Status key_state(DraftWrite *write, uint32_t tree, Bytes key, bool *ret_changed, ChangeKind *ret_kind,
                        bool *ret_beneath)
{
        ArenaMark before = arena_mark(&write->scratch);
        Bytes value;
        Status st = change_get(write, tree, key, &write->scratch, &value, ret_kind, ret_changed);
        if (!st && *ret_changed)
                *ret_beneath = *ret_kind != CHANGE_NEW;
        else if (!st)
                st = draft_beneath_get(write->table, tree, key, &write->scratch, &value, ret_beneath);
        arena_rewind(&write->scratch, before);
        return st;
}

static Status draft_write_put(EngineWrite *engine_write, uint32_t tree, Bytes key, Bytes value)
{
        DraftWrite *write = write_of(engine_write);
        bool changed, beneath;
        ChangeKind kind = CHANGE_NEW;
        TRY(key_state(write, tree, key, &changed, &kind, &beneath));
        TRY(change_put(write, tree, key, value, beneath ? CHANGE_REPLACED : CHANGE_NEW));
        if (!beneath && !changed)
                return mark(write, TREE_ADDED, tree, key, true);
        return changed && kind == CHANGE_DELETED ? mark(write, TREE_REMOVED, tree, key, false) : ST_OK;
}

static Status draft_write_delete(EngineWrite *engine_write, uint32_t tree, Bytes key, bool *ret_found)
{
        DraftWrite *write = write_of(engine_write);
        bool changed, beneath, found;
        ChangeKind kind = CHANGE_NEW;
        TRY(key_state(write, tree, key, &changed, &kind, &beneath));
        *ret_found = changed ? kind != CHANGE_DELETED : beneath;
        if (!*ret_found)
                return ST_OK;
        if (beneath) {
                TRY(change_put(write, tree, key, BYTES_STR(""), CHANGE_DELETED));
                return mark(write, TREE_REMOVED, tree, key, true);
        }
        write->changed = true;
        TRY(mark(write, TREE_ADDED, tree, key, false));
        return changes_ops.write_delete(write->write, draft_tree(write->table, TREE_CHANGED, tree), key, &found);
}

/* The first row beneath within a range. */
static Status beneath_first(const DraftTable *table, uint32_t tree, EngineRange range, Arena *hold, Bytes *ret_key,
                            Bytes *ret_value, bool *ret_found)
{
        EngineSnapshot *beneath = draft_root(table);
        const EngineOps *ops = draft_ops_of(beneath);
        EngineCursor *cursor;
        TRY(ops->cursor_open(beneath, tree, range, false, &cursor));
        Status st = ops->cursor_next(cursor, hold, ret_key, ret_value, ret_found);
        ops->cursor_close(cursor);
        return st;
}

static Status draft_write_first(EngineWrite *engine_write, uint32_t tree, EngineRange range, Arena *hold,
                                Bytes *ret_key, Bytes *ret_value, bool *ret_found)
{
        DraftWrite *write = write_of(engine_write);
        uint8_t buffer[ENGINE_MAX_KEY_BYTES + 1];
        draft_note_range(write->table);
        for (;;) {
                EngineRange before = range;
                Bytes key, changed;
                bool has_change;
                TRY(changes_ops.write_first(write->write, draft_tree(write->table, TREE_CHANGED, tree), range, hold,
                                            &key, &changed, &has_change));
                if (has_change)
                        before.high = key;
                TRY(beneath_first(write->table, tree, before, hold, ret_key, ret_value, ret_found));
                if (*ret_found || !has_change)
                        return ST_OK;
                ChangeKind kind;
                *ret_key = key;
                *ret_value = changed_value(changed, &kind);
                *ret_found = kind != CHANGE_DELETED;
                if (*ret_found)
                        return ST_OK;
                range.low = after_key(key, buffer);
        }
}

static void draft_write_commit(EngineWrite *engine_write, uint64_t position)
{
        static atomic_uint_fast64_t versions; /* of all drafts: equal ones mean equal contents */
        DraftWrite *write = write_of(engine_write);
        if (write->changed) {
                write->table->changed = true;
                write->table->draft->version = NEW_VERSIONS | atomic_fetch_add(&versions, 1);
                changes_ops.write_commit(write->write, write->table->draft->version);
        } else {
                changes_ops.write_abort(write->write);
        }
        write_free(write);
}

static const EngineOps draft_write_ops = {
        .abi = ENGINE_ABI,
        .name = "draft",
        .write_get = draft_write_get,
        .write_first = draft_write_first,
        .write_put = draft_write_put,
        .write_delete = draft_write_delete,
        .write_commit = draft_write_commit,
        .write_abort = draft_write_abort,
};

/* --- what changed --- */

struct DraftChanges {
        DraftTable *table;
        EngineSnapshot *snapshot; /* NULL: nothing */
        EngineCursor *cursor;
};

Status draft_changes_open(DraftTable *table, DraftChanges **ret_changes)
{
        DraftChanges *changes = mem_zalloc(sizeof *changes);
        if (!changes)
                return status_nomem();
        Status st = ST_OK;
        changes->table = table;
        if (table->draft->changes)
                st = changes_ops.pin(table->draft->changes, &changes->snapshot);
        if (!st && changes->snapshot)
                st = changes_ops.cursor_open(changes->snapshot, draft_tree(table, TREE_CHANGED, 0), (EngineRange){0},
                                             false, &changes->cursor);
        if (st) {
                draft_changes_close(changes);
                return st;
        }
        *ret_changes = changes;
        return ST_OK;
}

Status draft_changes_next(DraftChanges *changes, Arena *hold, DraftChange *ret_change, bool *ret_found)
{
        *ret_found = false;
        while (changes->cursor) {
                Bytes changed, old = BYTES_NONE;
                bool found, had = false;
                ChangeKind kind;
                TRY(changes_ops.cursor_next(changes->cursor, hold, &ret_change->key, &changed, &found));
                if (!found)
                        return ST_OK;
                ret_change->new_value = changed_value(changed, &kind);
                if (kind == CHANGE_DELETED)
                        ret_change->new_value = BYTES_NONE;
                if (kind != CHANGE_NEW)
                        TRY(draft_beneath_get(changes->table, 0, ret_change->key, hold, &old, &had));
                ret_change->old_value = had ? old : BYTES_NONE;
                if (had && kind == CHANGE_REPLACED && bytes_equal(old, ret_change->new_value))
                        continue; /* it has become again what it was */
                *ret_found = true;
                return ST_OK;
        }
        return ST_OK;
}

void draft_changes_close(DraftChanges *changes)
{
        if (!changes)
                return;
        if (changes->cursor)
                changes_ops.cursor_close(changes->cursor);
        if (changes->snapshot)
                changes_ops.unpin(changes->snapshot);
        mem_free(changes);
}

Status draft_change_count(const DraftTable *table, uint64_t *ret_count)
{
        EngineSnapshot *snapshot;
        *ret_count = 0;
        if (!table->draft->changes)
                return ST_OK;
        TRY(changes_ops.pin(table->draft->changes, &snapshot));
        Status st = changes_ops.count(snapshot, draft_tree(table, TREE_CHANGED, 0), (EngineRange){0}, ret_count);
        changes_ops.unpin(snapshot);
        return st;
}

bool draft_table_changed(const DraftTable *table)
{
        return table->changed;
}

bool draft_table_stale(DraftTable *table)
{
        Store *store = table->draft->store;
        mutex_lock(&store->commit_mu);
        bool stale = table->table->root_position > table->draft->position;
        mutex_unlock(&store->commit_mu);
        return stale;
}

bool draft_was_read(const DraftTable *table)
{
        return table->reads && (atomic_load(&((DraftTable *)table)->ranged) || map_count(table->reads) > 0);
}

static Status same_rows(DraftTable *table, Commit *commit, Arena *arena, bool *ret_same)
{
        size_t at = 0;
        Bytes key, then, now;
        void *value;
        bool was, is;
        *ret_same = true;
        while (*ret_same && map_next(table->reads, &at, &key, &value)) {
                arena_reset(arena);
                TRY(draft_beneath_get(table, 0, key, arena, &then, &was));
                TRY(commit_get(commit, table->table, key, arena, &now, &is));
                *ret_same = was == is && (!was || bytes_equal(then, now));
        }
        return ST_OK;
}

Status draft_check_reads(DraftTable *table, Commit *commit, bool *ret_same)
{
        Arena arena;
        bool stale = draft_table_stale(table);
        *ret_same = !stale;
        if (!stale || !table->reads || atomic_load(&table->ranged))
                return ST_OK;
        arena_init(&arena, 0);
        Status st = same_rows(table, commit, &arena, ret_same);
        arena_done(&arena);
        return st;
}
