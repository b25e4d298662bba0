/* draft_read.c - a draft's snapshots and their cursors: see draft.h and draft.c.
 *
 * A snapshot is a kept root of the table and a snapshot of the changes. A cursor goes from change to change, with a
 * cursor of the root for the rows between two of them: so what it gives is the root's own bytes, read into the caller's
 * memory, and no row is read before it is asked for. Where nothing changed in a table, its root's cursors are given
 * out as they are. */
#include "storage/draft_int.h"

#include <assert.h>

#include "base/mem.h"

/* --- what was read --- */

Status draft_note_key(DraftTable *table, Bytes key)
{
        if (likely(!table->reads) || atomic_load_explicit(&table->ranged, memory_order_relaxed))
                return ST_OK;
        void *old;
        mutex_lock(&table->reads_mu);
        Status st = map_put(table->reads, key, table, &old);
        mutex_unlock(&table->reads_mu);
        return st;
}

void draft_note_range(DraftTable *table)
{
        if (table->reads)
                atomic_store_explicit(&table->ranged, true, memory_order_relaxed);
}

/* --- reading --- */

static DraftSnapshot *snapshot_of(EngineSnapshot *snapshot)
{
        return (DraftSnapshot *)(void *)snapshot;
}

static void draft_unpin(EngineSnapshot *engine_snapshot)
{
        DraftSnapshot *snapshot = snapshot_of(engine_snapshot);
        Draft *draft = snapshot->table->draft;
        if (snapshot->changes)
                changes_ops.unpin(snapshot->changes);
        mem_free(snapshot);
        draft_unref(draft);
}

static uint64_t draft_version(EngineSnapshot *snapshot)
{
        return snapshot_of(snapshot)->version;
}

Status draft_beneath_get(const DraftTable *table, uint32_t tree, Bytes key, Arena *hold, Bytes *ret_value,
                         bool *ret_found)
{
        EngineSnapshot *beneath = draft_root(table);
        return draft_ops_of(beneath)->get(beneath, tree, key, hold, ret_value, ret_found);
}

static Status draft_get(EngineSnapshot *engine_snapshot, uint32_t tree, Bytes key, Arena *hold, Bytes *ret_value,
                        bool *ret_found)
{
        DraftSnapshot *snapshot = snapshot_of(engine_snapshot);
        if (tree == 0)
                TRY(draft_note_key(snapshot->table, key));
        else
                draft_note_range(snapshot->table);
        if (snapshot->changes) {
                Bytes changed;
                bool found;
                TRY(changes_ops.get(snapshot->changes, draft_tree(snapshot->table, TREE_CHANGED, tree), key, hold,
                                    &changed, &found));
                if (found) {
                        ChangeKind kind;
                        *ret_value = changed_value(changed, &kind);
                        *ret_found = kind != CHANGE_DELETED;
                        return ST_OK;
                }
        }
        return draft_beneath_get(snapshot->table, tree, key, hold, ret_value, ret_found);
}

static Status changes_count(const DraftSnapshot *snapshot, TreeKind kind, uint32_t tree, EngineRange range,
                            uint64_t *ret_count)
{
        *ret_count = 0;
        return snapshot->changes
                       ? changes_ops.count(snapshot->changes, draft_tree(snapshot->table, kind, tree), range, ret_count)
                       : ST_OK;
}

static Status range_count(const DraftSnapshot *snapshot, uint32_t tree, EngineRange range, uint64_t *ret_count)
{
        uint64_t beneath, added, removed;
        TRY(draft_ops_of(snapshot->beneath)->count(snapshot->beneath, tree, range, &beneath));
        TRY(changes_count(snapshot, TREE_ADDED, tree, range, &added));
        TRY(changes_count(snapshot, TREE_REMOVED, tree, range, &removed));
        *ret_count = beneath + added - removed;
        return ST_OK;
}

static Status draft_count(EngineSnapshot *engine_snapshot, uint32_t tree, EngineRange range, uint64_t *ret_count)
{
        DraftSnapshot *snapshot = snapshot_of(engine_snapshot);
        draft_note_range(snapshot->table);
        return range_count(snapshot, tree, range, ret_count);
}

/* Row `n` of the range in the root beneath; there is one. */
static Status beneath_nth(const DraftSnapshot *snapshot, uint32_t tree, EngineRange range, uint64_t n, Arena *hold,
                          Bytes *ret_key, Bytes *ret_value)
{
        const EngineOps *ops = draft_ops_of(snapshot->beneath);
        EngineCursor *cursor;
        uint64_t skipped;
        bool found = false;
        TRY(ops->cursor_open(snapshot->beneath, tree, range, false, &cursor));
        Status st = ops->cursor_skip(cursor, n, &skipped);
        if (!st)
                st = ops->cursor_next(cursor, hold, ret_key, ret_value, &found);
        ops->cursor_close(cursor);
        return st || found ? st : status_new(ERR_CORRUPT, "a draft's table has fewer rows than it counts");
}

/* The i-th change of a tree, of all there are. */
static Status change_at(const DraftSnapshot *snapshot, uint32_t tree, uint64_t i, Arena *hold, Bytes *ret_key,
                        Bytes *ret_value, ChangeKind *ret_kind)
{
        Bytes changed;
        bool found;
        TRY(changes_ops.nth(snapshot->changes, draft_tree(snapshot->table, TREE_CHANGED, tree), i, hold, ret_key,
                            &changed, &found));
        assert(found);
        *ret_value = changed_value(changed, ret_kind);
        return ST_OK;
}

/* Row `n` of a range that has more than n: first the last change that has at most n rows before it, by bisection over
 * the changes, then from there on in the root beneath. O(log changes * log rows). */
static Status range_nth(const DraftSnapshot *snapshot, uint32_t tree, EngineRange range, uint64_t n, Arena *hold,
                        Bytes *ret_key, Bytes *ret_value)
{
        uint64_t low = 0, high = 0, first, before = 0;
        uint8_t buffer[ENGINE_MAX_KEY_BYTES + 1];
        ChangeKind kind;
        Bytes key, value;
        if (range.low.data)
                TRY(changes_count(snapshot, TREE_CHANGED, tree, (EngineRange){.high = range.low}, &low));
        TRY(changes_count(snapshot, TREE_CHANGED, tree, (EngineRange){.high = range.high}, &high));
        for (first = low; low < high;) { /* changes before `low` have at most n rows before them, from `high` on more */
                uint64_t middle = low + (high - low) / 2, rows;
                TRY(change_at(snapshot, tree, middle, hold, &key, &value, &kind));
                TRY(range_count(snapshot, tree, (EngineRange){range.low, key}, &rows));
                if (rows > n) {
                        high = middle;
                        range.high = key; /* the row is before it; the key lies in the changes, which are pinned */
                } else {
                        low = middle + 1;
                        before = rows;
                }
        }
        if (low > first) {
                TRY(change_at(snapshot, tree, low - 1, hold, &key, &value, &kind));
                if (kind != CHANGE_DELETED && n == before) {
                        *ret_key = key;
                        *ret_value = value;
                        return ST_OK;
                }
                n -= before + (kind != CHANGE_DELETED);
                range.low = after_key(key, buffer);
        }
        return beneath_nth(snapshot, tree, range, n, hold, ret_key, ret_value);
}

static Status draft_nth(EngineSnapshot *engine_snapshot, uint32_t tree, uint64_t n, Arena *hold, Bytes *ret_key,
                        Bytes *ret_value, bool *ret_found)
{
        DraftSnapshot *snapshot = snapshot_of(engine_snapshot);
        uint64_t count;
        draft_note_range(snapshot->table);
        TRY(range_count(snapshot, tree, (EngineRange){0}, &count));
        *ret_found = n < count;
        return *ret_found ? range_nth(snapshot, tree, (EngineRange){0}, n, hold, ret_key, ret_value) : ST_OK;
}

static Status split_changed(DraftSnapshot *snapshot, uint32_t tree, EngineRange range, size_t parts, Arena *hold,
                            Bytes *ret_keys, size_t *ret_count)
{
        uint64_t count, place = 0;
        size_t n = 0;
        TRY(range_count(snapshot, tree, range, &count));
        for (size_t i = 1; i < parts; i++) {
                uint64_t next = (uint64_t)((unsigned __int128)count * i / parts);
                Bytes value;
                if (next == place)
                        continue; /* fewer rows than parts */
                place = next;
                TRY(range_nth(snapshot, tree, range, place, hold, &ret_keys[n++], &value));
        }
        *ret_count = n;
        return ST_OK;
}

static Status draft_split(EngineSnapshot *engine_snapshot, uint32_t tree, EngineRange range, size_t parts, Arena *hold,
                          Bytes *ret_keys, size_t *ret_count)
{
        DraftSnapshot *snapshot = snapshot_of(engine_snapshot);
        draft_note_range(snapshot->table);
        if (!snapshot->changes)
                return draft_ops_of(snapshot->beneath)
                        ->split(snapshot->beneath, tree, range, parts, hold, ret_keys, ret_count);
        return split_changed(snapshot, tree, range, parts, hold, ret_keys, ret_count);
}

static bool draft_next_tree(EngineSnapshot *engine_snapshot, uint32_t tree, uint32_t *ret_tree)
{
        const DraftSnapshot *snapshot = snapshot_of(engine_snapshot);
        for (uint32_t i = tree; i <= STORE_TREES_MAX; i++) {
                uint64_t count;
                Status st = range_count(snapshot, i, (EngineRange){0}, &count);
                bool found = st || count > 0; /* what cannot be counted is found out by reading it */
                status_ignore(st);
                if (found) {
                        *ret_tree = i;
                        return true;
                }
        }
        return false;
}

/* --- cursors --- */

typedef struct DraftCursor { /* an EngineCursor by its look */
        const EngineOps *ops;
        const DraftSnapshot *snapshot;
        uint32_t tree;
        bool descending;
        EngineCursor *changes; /* of what is left */
        EngineCursor *beneath; /* of the rows before the next change; NULL: there are no more of them */
        bool has_change;
        Bytes change_key, changed; /* the next change, in the changes' memory */
        /* What is left: everything in `range` behind `last` (if there was one). */
        EngineRange range; /* behind the struct */
        bool has_last;
        size_t last_size;
        uint8_t last[ENGINE_MAX_KEY_BYTES];
} DraftCursor;

static DraftCursor *cursor_of(EngineCursor *cursor)
{
        return (DraftCursor *)(void *)cursor;
}

static void cursor_unseat(DraftCursor *cursor)
{
        if (cursor->beneath)
                draft_ops_of(cursor->beneath)->cursor_close(take(cursor->beneath));
        if (cursor->changes)
                changes_ops.cursor_close(take(cursor->changes));
}

/* The next change, and the rows before it: `from` is where they begin, in the cursor's direction. */
static Status next_stretch(DraftCursor *cursor, EngineRange from)
{
        const DraftSnapshot *snapshot = cursor->snapshot;
        if (cursor->beneath)
                draft_ops_of(cursor->beneath)->cursor_close(take(cursor->beneath));
        TRY(changes_ops.cursor_next(cursor->changes, NULL, &cursor->change_key, &cursor->changed, &cursor->has_change));
        uint8_t buffer[ENGINE_MAX_KEY_BYTES + 1];
        if (cursor->has_change && cursor->descending)
                from.low = after_key(cursor->change_key, buffer);
        else if (cursor->has_change)
                from.high = cursor->change_key;
        return draft_ops_of(snapshot->beneath)
                ->cursor_open(snapshot->beneath, cursor->tree, from, cursor->descending, &cursor->beneath);
}

/* Begins to read `left` of its range. */
static Status cursor_seat(DraftCursor *cursor, EngineRange left)
{
        const DraftSnapshot *snapshot = cursor->snapshot;
        cursor_unseat(cursor);
        TRY(changes_ops.cursor_open(snapshot->changes, draft_tree(snapshot->table, TREE_CHANGED, cursor->tree), left,
                                    cursor->descending, &cursor->changes));
        return next_stretch(cursor, left);
}

static Bytes copy_bound(Bytes bound, uint8_t *to)
{
        if (bound.data && bound.size)
                memcpy(to, bound.data, bound.size);
        return bound.data ? BYTES(to, bound.size) : bound;
}

static void draft_cursor_close(EngineCursor *engine_cursor)
{
        DraftCursor *cursor = cursor_of(engine_cursor);
        cursor_unseat(cursor);
        mem_free(cursor);
}

static Status draft_cursor_open(EngineSnapshot *engine_snapshot, uint32_t tree, EngineRange range, bool descending,
                                EngineCursor **ret_cursor)
{
        DraftSnapshot *snapshot = snapshot_of(engine_snapshot);
        draft_note_range(snapshot->table);
        if (!snapshot->changes)
                return draft_ops_of(snapshot->beneath)
                        ->cursor_open(snapshot->beneath, tree, range, descending, ret_cursor);
        DraftCursor *cursor = mem_alloc(sizeof *cursor + range.low.size + range.high.size + 1);
        if (!cursor)
                return status_nomem();
        uint8_t *bounds = (uint8_t *)(cursor + 1);
        *cursor = (DraftCursor){.ops = &draft_read_ops, .snapshot = snapshot, .tree = tree, .descending = descending};
        cursor->range.low = copy_bound(range.low, bounds);
        cursor->range.high = copy_bound(range.high, bounds + range.low.size);
        Status st = cursor_seat(cursor, cursor->range);
        if (st) {
                draft_cursor_close((EngineCursor *)(void *)cursor);
                return st;
        }
        *ret_cursor = (EngineCursor *)(void *)cursor;
        return ST_OK;
}

static void cursor_passed(DraftCursor *cursor, Bytes key)
{
        memcpy(cursor->last, key.data, key.size);
        cursor->last_size = key.size;
        cursor->has_last = true;
}

/* What is behind `last`; may point into `buffer`. */
static EngineRange cursor_left(const DraftCursor *cursor, uint8_t *buffer)
{
        EngineRange left = cursor->range;
        if (cursor->has_last && cursor->descending)
                left.high = BYTES(cursor->last, cursor->last_size);
        else if (cursor->has_last)
                left.low = after_key(BYTES(cursor->last, cursor->last_size), buffer);
        return left;
}

static Status draft_cursor_next(EngineCursor *engine_cursor, Arena *hold, Bytes *ret_key, Bytes *ret_value,
                                bool *ret_found)
{
        DraftCursor *cursor = cursor_of(engine_cursor);
        uint8_t buffer[ENGINE_MAX_KEY_BYTES + 1];
        *ret_found = false;
        while (cursor->beneath) {
                TRY(draft_ops_of(cursor->beneath)->cursor_next(cursor->beneath, hold, ret_key, ret_value, ret_found));
                if (*ret_found) {
                        cursor_passed(cursor, *ret_key);
                        return ST_OK;
                }
                if (!cursor->has_change) {
                        draft_ops_of(cursor->beneath)->cursor_close(take(cursor->beneath));
                        break;
                }
                ChangeKind kind;
                *ret_key = cursor->change_key;
                *ret_value = changed_value(cursor->changed, &kind);
                *ret_found = kind != CHANGE_DELETED;
                cursor_passed(cursor, cursor->change_key);
                TRY(next_stretch(cursor, cursor_left(cursor, buffer)));
                if (*ret_found)
                        return ST_OK;
        }
        return ST_OK;
}

/* To the row behind the n next ones, at one go. */
static Status skip_to(DraftCursor *cursor, EngineRange left, uint64_t count, uint64_t n)
{
        Arena arena;
        Bytes key, value;
        uint8_t buffer[ENGINE_MAX_KEY_BYTES + 1];
        arena_init(&arena, 0);
        uint64_t place = cursor->descending ? count - n : n - 1; /* of the last one that is passed over */
        Status st = range_nth(cursor->snapshot, cursor->tree, left, place, &arena, &key, &value);
        if (!st) {
                cursor_passed(cursor, key);
                st = cursor_seat(cursor, cursor_left(cursor, buffer));
        }
        arena_done(&arena);
        return st;
}

static Status draft_cursor_skip(EngineCursor *engine_cursor, uint64_t n, uint64_t *ret_skipped)
{
        DraftCursor *cursor = cursor_of(engine_cursor);
        uint8_t buffer[ENGINE_MAX_KEY_BYTES + 1];
        EngineRange left = cursor_left(cursor, buffer);
        uint64_t count = 0;
        if (cursor->beneath)
                TRY(range_count(cursor->snapshot, cursor->tree, left, &count));
        n = MIN(n, count);
        if (n)
                TRY(skip_to(cursor, left, count, n));
        *ret_skipped = n;
        return ST_OK;
}

const EngineOps draft_read_ops = {
        .abi = ENGINE_ABI,
        .name = "draft",
        .unpin = draft_unpin,
        .version = draft_version,
        .get = draft_get,
        .count = draft_count,
        .nth = draft_nth,
        .cursor_open = draft_cursor_open,
        .cursor_next = draft_cursor_next,
        .cursor_skip = draft_cursor_skip,
        .cursor_close = draft_cursor_close,
        .split = draft_split,
        .next_tree = draft_next_tree,
};
