/* Drafts and read points beside a model that is arrays: random commits to the store, drafts opened over any moment of
 * it, changes, snapshots of them, read in every way that snapshots and cursors can be. */
#include "base/check.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "os/sim.h"
#include "os/thread.h"
#include "storage/draft.h"

enum { TABLES = 3, TREES = 2, KEYS = 48, DRAFTS = 4, VIEWS = 6 };
static const char *const engines[TABLES] = {"memory", "btree", "slab"};
static const uint32_t tree_ids[TREES] = {0, 7};

static uint64_t seed = 1;
static uint64_t rnd(uint64_t below)
{
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        return (seed * 0x2545f4914f6cdd1dull >> 11) % below;
}

/* --- the model: a value for each key, 0: no row --- */
typedef struct Tree {
        uint32_t of[KEYS];
} Tree;
typedef struct State {
        Tree trees[TABLES][TREES];
} State;

typedef struct ModelDraft {
        Draft *draft; /* NULL: none */
        DraftTable *tables[TABLES];
        State then, now;
} ModelDraft;
typedef struct View {
        Snapshot *snapshot; /* NULL: none */
        unsigned table;
        State state;
} View;
typedef struct World {
        SimOs *sim;
        Store *store;
        StoreTable *tables[TABLES];
        State state;
        ModelDraft drafts[DRAFTS];
        View views[VIEWS];
        Arena hold;
} World;

typedef struct Key {
        uint8_t bytes[8];
        size_t size;
} Key;
/* Some keys are the beginning of others. */
static Bytes key_fill(Key *key, unsigned k)
{
        memset(key->bytes, 0, sizeof key->bytes);
        key->bytes[0] = (uint8_t)(1 + k / 3);
        key->size = 1 + k % 3;
        return BYTES(key->bytes, key->size);
}
static unsigned key_number(Bytes key)
{
        return (unsigned)((key.data[0] - 1u) * 3 + (key.size - 1));
}

typedef struct Content {
        uint8_t bytes[3000];
} Content;
static Bytes value_fill(Content *content, uint32_t number)
{
        size_t size = number % 11 == 0 ? 2500 : 4 + number % 60;
        for (size_t i = 0; i < size; i++)
                content->bytes[i] = (uint8_t)(number * 31 + i);
        store_u32(content->bytes, number);
        return BYTES(content->bytes, size);
}
static void check_value(Bytes value, uint32_t number)
{
        Content content;
        assert_true(number != 0 && bytes_equal(value, value_fill(&content, number)));
}

static Status world_open(World *world)
{
        Commit *commit;
        uint64_t position;
        Status st = ST_OK;
        memset(world, 0, sizeof *world);
        arena_init(&world->hold, 0);
        OK(sim_new(seed, &world->sim));
        OK(store_open(&(StoreOptions){.os = sim_os(world->sim), .path = "data"}, &world->store));
        OK(commit_begin(world->store, &commit));
        for (unsigned t = 0; t < TABLES && !st; t++)
                st = commit_create_table(commit, t + 1, engines[t], &world->tables[t]);
        OK(st);
        OK(commit_finish(commit, &position));
        return ST_OK;
}

static void draft_forget(ModelDraft *model)
{
        draft_close(model->draft);
        *model = (ModelDraft){0};
}

static void world_close(World *world)
{
        for (unsigned i = 0; i < DRAFTS; i++)
                draft_forget(&world->drafts[i]);
        for (unsigned i = 0; i < VIEWS; i++) /* they outlive their drafts */
                store_unpin(world->views[i].snapshot);
        for (unsigned t = 0; t < TABLES; t++)
                store_table_unref(world->tables[t]);
        OK(store_close(world->store));
        sim_free(world->sim);
        arena_done(&world->hold);
}

/* --- changes, to the store and to drafts alike --- */

static Status change_row(Commit *commit, StoreTable *table, uint32_t tree, unsigned k, uint32_t number)
{
        Key key;
        Content content;
        bool found;
        if (number)
                return commit_tree_put(commit, table, tree, key_fill(&key, k), value_fill(&content, number));
        return commit_tree_delete(commit, table, tree, key_fill(&key, k), &found);
}

static void check_in_commit(World *world, Commit *commit, unsigned t, const State *state)
{
        unsigned tree = (unsigned)rnd(TREES), k = (unsigned)rnd(KEYS), end = (unsigned)rnd(KEYS), i = k;
        const Tree *model = &state->trees[t][tree];
        Key key, high;
        Bytes value, first;
        bool found;
        arena_reset(&world->hold);
        OK(commit_tree_get(commit, world->tables[t], tree_ids[tree], key_fill(&key, k), &world->hold, &value, &found));
        assert_int_equal(found, model->of[k] != 0);
        if (found)
                check_value(value, model->of[k]);
        OK(commit_tree_get(commit, world->tables[t], tree_ids[tree], key_fill(&key, k), NULL, NULL, &found));
        assert_int_equal(found, model->of[k] != 0);
        while (i < end && !model->of[i])
                i++;
        OK(commit_tree_first(commit, world->tables[t], tree_ids[tree],
                             (EngineRange){key_fill(&key, k), key_fill(&high, end)}, &world->hold, &first, &value,
                             &found));
        assert_int_equal(found, i < end);
        if (found) {
                assert_int_equal(key_number(first), i);
                check_value(value, model->of[i]);
        }
}

static void change_some(World *world, Commit *commit, unsigned t, State *state)
{
        unsigned many = (unsigned)rnd(8);
        for (unsigned i = 0; i < many; i++) {
                unsigned tree = (unsigned)rnd(TREES), k = (unsigned)rnd(KEYS);
                uint32_t number = rnd(3) ? (uint32_t)(1 + rnd(100000)) : 0;
                OK(change_row(commit, world->tables[t], tree_ids[tree], k, number));
                state->trees[t][tree].of[k] = number;
                check_in_commit(world, commit, t, state);
        }
}

static void change_store(World *world)
{
        Commit *commit;
        uint64_t position;
        OK(commit_begin(world->store, &commit));
        State state = world->state;
        for (unsigned t = 0; t < TABLES; t++) {
                if (rnd(2))
                        continue;
                OK(commit_lock(commit, world->tables[t]));
                change_some(world, commit, t, &state);
        }
        if (rnd(5) == 0) {
                commit_abort(commit);
                return;
        }
        OK(commit_finish(commit, &position));
        world->state = state;
}

static DraftTable *drafted(World *world, ModelDraft *model, unsigned t)
{
        if (!model->tables[t])
                OK(draft_table(model->draft, world->tables[t], &model->tables[t]));
        return model->tables[t];
}

static void change_draft(World *world, ModelDraft *model)
{
        Commit *commit;
        uint64_t position;
        unsigned t = (unsigned)rnd(TABLES);
        State state = model->now;
        OK(draft_commit(drafted(world, model, t), &commit));
        change_some(world, commit, t, &state);
        if (rnd(5) == 0) {
                commit_abort(commit);
                return;
        }
        OK(commit_finish(commit, &position));
        assert_int_equal(position, 0);
        model->now = state;
}

/* --- reading --- */

typedef struct Span {
        EngineRange range;
        Key low, high;
        unsigned from, to; /* keys from .. to - 1 */
} Span;
static void span_random(Span *span)
{
        *span = (Span){.from = 0, .to = KEYS};
        if (rnd(3)) {
                span->from = (unsigned)rnd(KEYS);
                span->range.low = key_fill(&span->low, span->from);
        }
        if (rnd(3)) {
                span->to = (unsigned)rnd(KEYS);
                span->range.high = key_fill(&span->high, span->to);
        }
        if (span->to < span->from)
                span->to = span->from;
}

static unsigned rows_of(const Tree *model, unsigned from, unsigned to, unsigned *keys)
{
        unsigned n = 0;
        for (unsigned k = from; k < to; k++)
                if (model->of[k])
                        keys[n++] = k;
        return n;
}

static void check_cursor(World *world, Snapshot *snapshot, uint32_t tree, const Tree *model)
{
        Span span;
        unsigned keys[KEYS], at = 0;
        Cursor *cursor;
        bool descending = rnd(2), found = true;
        span_random(&span);
        unsigned n = rows_of(model, span.from, span.to, keys);
        OK(cursor_tree_open(snapshot, tree, span.range, descending, &cursor));
        arena_reset(&world->hold);
        Bytes earlier = BYTES_NONE, value = BYTES_NONE;
        uint32_t earlier_number = 0;
        while (found) {
                Bytes key;
                if (rnd(4) == 0) {
                        uint64_t skip = rnd(12), skipped;
                        OK(cursor_skip(cursor, skip, &skipped));
                        assert_int_equal(skipped, MIN(skip, (uint64_t)(n - at)));
                        at += (unsigned)skipped;
                }
                OK(cursor_next(cursor, &world->hold, &key, &value, &found));
                assert_int_equal(found, at < n);
                if (found) {
                        unsigned k = descending ? keys[n - 1 - at] : keys[at];
                        assert_int_equal(key_number(key), k);
                        check_value(value, model->of[k]);
                        if (earlier.data) /* rows stay until `hold` is reset */
                                check_value(earlier, earlier_number);
                        earlier = value;
                        earlier_number = model->of[k];
                        at++;
                }
                if (rnd(30) == 0)
                        break;
        }
        cursor_close(cursor);
}

static void check_view(World *world, View *view)
{
        unsigned tree = (unsigned)rnd(TREES), keys[KEYS], k = (unsigned)rnd(KEYS);
        const Tree *model = &view->state.trees[view->table][tree];
        Snapshot *snapshot = view->snapshot;
        uint32_t id = tree_ids[tree];
        Key bytes;
        Span span;
        Bytes key, value, cuts[5];
        uint64_t count;
        size_t cut_count;
        bool found;
        arena_reset(&world->hold);
        OK(snapshot_tree_get(snapshot, id, key_fill(&bytes, k), &world->hold, &value, &found));
        assert_int_equal(found, model->of[k] != 0);
        if (found)
                check_value(value, model->of[k]);
        span_random(&span);
        unsigned n = rows_of(model, span.from, span.to, keys);
        OK(snapshot_tree_count(snapshot, id, span.range, &count));
        assert_int_equal(count, n);
        if (tree == 0) {
                size_t parts = 1 + rnd(5);
                OK(snapshot_split(snapshot, span.range, parts, &world->hold, cuts, &cut_count));
                assert_true(cut_count < parts);
                for (size_t i = 0; i < cut_count; i++) {
                        unsigned cut = key_number(cuts[i]);
                        assert_true(cut >= span.from && cut < span.to && (i == 0 || cut > key_number(cuts[i - 1])));
                }
        }
        n = rows_of(model, 0, KEYS, keys);
        uint64_t place = rnd(KEYS);
        OK(snapshot_tree_nth(snapshot, id, place, &world->hold, &key, &value, &found));
        assert_int_equal(found, place < n);
        if (found) {
                assert_int_equal(key_number(key), keys[place]);
                check_value(value, model->of[keys[place]]);
        }
        check_cursor(world, snapshot, id, model);
}

static void pin_view(World *world, ModelDraft *model)
{
        View *view = &world->views[rnd(VIEWS)];
        unsigned t = (unsigned)rnd(TABLES);
        Snapshot *again;
        store_unpin(view->snapshot);
        OK(draft_pin(drafted(world, model, t), &view->snapshot));
        view->table = t;
        view->state = model->now;
        OK(draft_pin(model->tables[t], &again));
        assert_int_equal(snapshot_version(again), snapshot_version(view->snapshot));
        store_unpin(again);
}

/* What draft_changes says leads from the old state to the new one, and nothing else. */
static void check_changes(World *world, ModelDraft *model)
{
        unsigned t = (unsigned)rnd(TABLES);
        DraftChanges *changes;
        DraftChange change;
        Tree then = model->then.trees[t][0];
        bool found = true;
        unsigned before = 0;
        OK(draft_changes_open(drafted(world, model, t), &changes));
        for (unsigned n = 0; found; n++) {
                arena_reset(&world->hold);
                OK(draft_changes_next(changes, &world->hold, &change, &found));
                if (!found)
                        break;
                unsigned k = key_number(change.key);
                assert_true(n == 0 || k > before);
                before = k;
                assert_int_equal(change.old_value.data != NULL, then.of[k] != 0);
                if (change.old_value.data)
                        check_value(change.old_value, then.of[k]);
                uint32_t now = model->now.trees[t][0].of[k];
                assert_true(now != then.of[k]);
                assert_int_equal(change.new_value.data != NULL, now != 0);
                if (change.new_value.data)
                        check_value(change.new_value, now);
                then.of[k] = now;
        }
        draft_changes_close(changes);
        assert_memory_equal(&then, &model->now.trees[t][0], sizeof then);
        if (memcmp(&world->state.trees[t], &model->then.trees[t], sizeof world->state.trees[t]) != 0)
                assert_true(draft_table_stale(model->tables[t]));
}

static void step(World *world)
{
        ModelDraft *model = &world->drafts[rnd(DRAFTS)];
        View *view = &world->views[rnd(VIEWS)];
        switch (rnd(9)) {
        case 0: change_store(world); break;
        case 1:
                if (rnd(6) == 0)
                        draft_forget(model);
                break;
        case 2:
        case 3:
                if (!model->draft) {
                        OK(draft_open(world->store, &(DraftOptions){.note_reads = rnd(2)}, &model->draft));
                        model->then = model->now = world->state;
                }
                change_draft(world, model);
                break;
        case 4:
                if (model->draft)
                        pin_view(world, model);
                break;
        case 5:
                if (model->draft)
                        check_changes(world, model);
                break;
        default:
                if (view->snapshot)
                        check_view(world, view);
        }
}

static void test_model(void **state)
{
        for (unsigned round = 0; round < 40; round++) {
                World world;
                seed = round + 1;
                OK(world_open(&world));
                for (unsigned i = 0; i < 1500; i++)
                        step(&world);
                world_close(&world);
        }
}

/* A table that a draft sees as it was, when it has been dropped or made since; and roots that nobody needs go. */
static void test_tables_come_and_go(void **state)
{
        World world;
        Commit *commit;
        uint64_t position;
        StoreTable *made;
        Draft *draft, *later;
        DraftTable *table;
        EngineStats stats;
        OK(world_open(&world));
        OK(draft_open(world.store, &(DraftOptions){0}, &draft));
        OK(draft_table(draft, world.tables[0], &table));
        for (unsigned i = 0; i < 10; i++) { /* the root of the draft's moment is kept once, and no other */
                OK(commit_begin(world.store, &commit));
                OK(commit_lock(commit, world.tables[1]));
                OK(change_row(commit, world.tables[1], 0, 3, 5 + i));
                OK(commit_finish(commit, &position));
        }
        store_table_stats(world.tables[1], &stats);
        assert_int_equal(stats.snapshot_count, 1);
        OK(draft_open(world.store, &(DraftOptions){0}, &later));
        OK(commit_begin(world.store, &commit));
        OK(commit_lock(commit, world.tables[1]));
        OK(change_row(commit, world.tables[1], 0, 3, 50));
        OK(commit_finish(commit, &position));
        store_table_stats(world.tables[1], &stats);
        assert_int_equal(stats.snapshot_count, 2);
        draft_close(later);
        store_table_stats(world.tables[1], &stats);
        assert_int_equal(stats.snapshot_count, 1);

        OK(commit_begin(world.store, &commit));
        OK(commit_create_table(commit, 9, "memory", &made));
        OK(commit_finish(commit, &position));
        FAILS(ERR_CONFLICT, draft_table(draft, made, &table));
        OK(commit_begin(world.store, &commit));
        OK(commit_lock(commit, world.tables[1]));
        OK(commit_drop_table(commit, world.tables[1]));
        OK(commit_finish(commit, &position));
        FAILS(ERR_NOT_FOUND, draft_table(draft, world.tables[1], &table));
        draft_close(draft);
        store_table_unref(made);
        world_close(&world);
}

/* A commit that the log refuses replaces no root. */
static void test_refused_commit(void **state)
{
        World world;
        Commit *commit;
        uint64_t position;
        Draft *draft;
        DraftTable *table;
        Snapshot *snapshot;
        EngineStats stats;
        Key key;
        Bytes value;
        bool found;
        OK(world_open(&world));
        OK(store_step(world.store));
        OK(draft_open(world.store, &(DraftOptions){0}, &draft));
        sim_fail_nth(world.sim, 1, SIM_FAIL_FOREVER);
        for (unsigned i = 0; i < 2; i++) { /* the first one is accepted, and cannot be written */
                OK(commit_begin(world.store, &commit));
                OK(commit_lock(commit, world.tables[i]));
                OK(change_row(commit, world.tables[i], 0, 3, 5));
                Status st = commit_finish(commit, &position);
                assert_int_equal(status_code(st), i ? ERR_IO : ERR_NONE);
                status_ignore(st);
                FAILS(ERR_IO, store_step(world.store));
        }
        store_table_stats(world.tables[0], &stats);
        assert_int_equal(stats.snapshot_count, 1);
        store_table_stats(world.tables[1], &stats);
        assert_int_equal(stats.snapshot_count, 0);
        sim_heal(world.sim);
        OK(store_step(world.store));
        OK(commit_begin(world.store, &commit));
        OK(commit_lock(commit, world.tables[1]));
        OK(change_row(commit, world.tables[1], 0, 3, 5));
        OK(commit_finish(commit, &position));
        OK(draft_table(draft, world.tables[1], &table));
        OK(draft_pin(table, &snapshot));
        OK(snapshot_get(snapshot, key_fill(&key, 3), &world.hold, &value, &found));
        assert_false(found);
        store_unpin(snapshot);
        draft_close(draft);
        world_close(&world);
}

static void test_memory_limit(void **state)
{
        World world;
        Draft *draft;
        DraftTable *table;
        Commit *commit;
        uint64_t position, count;
        Status st = ST_OK;
        unsigned n = 0;
        OK(world_open(&world));
        OK(draft_open(world.store, &(DraftOptions){.memory_max_bytes = 1 << 20}, &draft));
        OK(draft_table(draft, world.tables[1], &table));
        for (; !st && n < 10000; n++) {
                uint8_t key[4], value[1000] = {0};
                store_u32(key, n);
                OK(draft_commit(table, &commit));
                st = commit_put(commit, world.tables[1], BYTES(key, 4), BYTES(value, sizeof value));
                if (st)
                        commit_abort(commit);
                else
                        OK(commit_finish(commit, &position));
        }
        assert_int_equal(status_code(st), ERR_LIMIT);
        assert_non_null(strstr(status_message(st), "1 MiB"));
        status_ignore(st);
        assert_true(n > 500 && n < 1100);
        assert_true(draft_memory_bytes(draft) <= 1 << 20);
        OK(draft_change_count(table, &count));
        assert_int_equal(count, n - 1);
        assert_true(draft_table_changed(table));
        draft_close(draft);
        world_close(&world);
}

static void test_reads(void **state)
{
        World world;
        Draft *draft;
        DraftTable *table;
        Snapshot *snapshot;
        Commit *commit;
        uint64_t position, count;
        Key key;
        Bytes value;
        bool found, same;
        OK(world_open(&world));
        for (int ranged = 0; ranged < 2; ranged++) {
                OK(draft_open(world.store, &(DraftOptions){.note_reads = true}, &draft));
                OK(draft_table(draft, world.tables[1], &table));
                assert_false(draft_was_read(table));
                OK(draft_pin(table, &snapshot));
                OK(snapshot_get(snapshot, key_fill(&key, 5), &world.hold, &value, &found));
                if (ranged)
                        OK(snapshot_count(snapshot, (EngineRange){0}, &count));
                store_unpin(snapshot);
                assert_true(draft_was_read(table));
                for (unsigned k = 6; k-- > 4;) { /* another row, then the one that was read */
                        OK(commit_begin(world.store, &commit));
                        OK(commit_lock(commit, world.tables[1]));
                        OK(draft_check_reads(table, commit, &same));
                        assert_int_equal(same, k == 5 || !ranged);
                        OK(change_row(commit, world.tables[1], 0, k == 5 ? 6 : 5, (uint32_t)(100 + 10 * ranged + k)));
                        OK(commit_finish(commit, &position));
                }
                OK(commit_begin(world.store, &commit));
                OK(commit_lock(commit, world.tables[1]));
                OK(draft_check_reads(table, commit, &same));
                assert_false(same);
                commit_abort(commit);
                draft_close(draft);
        }
        world_close(&world);
}

/* A short history: whatever allocation fails, nothing is lost or leaks, and the store goes on. */
static Status history(World *world)
{
        Draft *draft;
        DraftTable *tables[TABLES];
        Commit *commit;
        Snapshot *snapshot = NULL;
        Cursor *cursor = NULL;
        uint64_t position, skipped;
        Bytes key, value;
        bool found = true;
        TRY(draft_open(world->store, &(DraftOptions){.note_reads = true}, &draft));
        Status st = ST_OK;
        for (unsigned t = 0; t < TABLES && !st; t++) {
                st = commit_begin(world->store, &commit);
                if (!st) {
                        st = commit_lock(commit, world->tables[t]);
                        for (unsigned k = 0; k < 12 && !st; k++)
                                st = change_row(commit, world->tables[t], 0, k, 1 + (uint32_t)rnd(1000));
                        if (st)
                                commit_abort(commit);
                        else
                                st = commit_finish(commit, &position);
                }
                if (!st)
                        st = draft_table(draft, world->tables[t], &tables[t]);
                if (st == ST_OK)
                        st = draft_commit(tables[t], &commit);
                else
                        break;
                if (st)
                        break;
                for (unsigned k = 0; k < KEYS && !st; k += 2)
                        st = change_row(commit, world->tables[t], tree_ids[k % TREES], k, k % 5);
                if (st)
                        commit_abort(commit);
                else
                        st = commit_finish(commit, &position);
                if (!st)
                        st = draft_pin(tables[t], &snapshot);
                if (!st)
                        st = cursor_open(snapshot, (EngineRange){0}, t % 2, &cursor);
                if (!st)
                        st = cursor_skip(cursor, 2, &skipped);
                while (!st && found)
                        st = cursor_next(cursor, &world->hold, &key, &value, &found);
                cursor_close(take(cursor));
                store_unpin(take(snapshot));
        }
        draft_close(draft);
        return st;
}

static void test_allocations(void **state)
{
        World world;
        unsigned runs = 0;
        OK(world_open(&world));
        for (long n = 1, fired = 1; fired; n++, runs++) {
                mem_fail_nth(n);
                Status st = history(&world);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                if (st && status_code(st) != ERR_NOMEM)
                        assert_int_equal(status_code(st), ERR_CONFLICT); /* a root could not be kept */
                status_ignore(st);
        }
        assert_true(runs > 30);
        for (unsigned t = 0; t < TABLES; t++) {
                EngineStats stats;
                store_table_stats(world.tables[t], &stats);
                assert_int_equal(stats.snapshot_count, 0);
        }
        world_close(&world);
}

/* --- threads: two tables whose rows are equal in every commit are equal in every draft --- */

typedef struct Threads {
        World *world;
        atomic_bool stop;
} Threads;

static void writer_main(void *arg)
{
        Threads *threads = arg;
        World *world = threads->world;
        uint64_t position;
        for (uint32_t n = 1; !atomic_load(&threads->stop); n++) {
                Commit *commit;
                OK(commit_begin(world->store, &commit));
                for (unsigned t = 0; t < 2; t++)
                        OK(commit_lock(commit, world->tables[t]));
                for (unsigned t = 0; t < 2; t++)
                        OK(change_row(commit, world->tables[t], 0, 1, n));
                OK(commit_finish(commit, &position));
        }
}

static uint32_t number_in(Draft *draft, StoreTable *store_table, Arena *hold)
{
        DraftTable *table;
        Snapshot *snapshot;
        Key key;
        Bytes value;
        bool found;
        OK(draft_table(draft, store_table, &table));
        OK(draft_pin(table, &snapshot));
        OK(snapshot_get(snapshot, key_fill(&key, 1), hold, &value, &found));
        uint32_t number = found ? load_u32(value.data) : 0;
        store_unpin(snapshot);
        return number;
}

static void reader_main(void *arg)
{
        Threads *threads = arg;
        Arena hold;
        uint32_t last = 0;
        arena_init(&hold, 0);
        for (unsigned i = 0; i < 300; i++) {
                Draft *draft;
                OK(draft_open(threads->world->store, &(DraftOptions){0}, &draft));
                uint32_t a = number_in(draft, threads->world->tables[0], &hold);
                uint32_t b = number_in(draft, threads->world->tables[1], &hold);
                assert_int_equal(a, b);
                assert_true(a >= last);
                last = a;
                draft_close(draft);
                arena_reset(&hold);
        }
        arena_done(&hold);
}

static void test_threads(void **state)
{
        World world;
        Thread writer, readers[3];
        OK(world_open(&world));
        Threads threads = {.world = &world};
        OK(thread_start(&writer, "writer", writer_main, &threads));
        for (unsigned i = 0; i < 3; i++)
                OK(thread_start(&readers[i], "reader", reader_main, &threads));
        for (unsigned i = 0; i < 3; i++)
                thread_join(&readers[i]);
        atomic_store(&threads.stop, true);
        thread_join(&writer);
        world_close(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_model),          cmocka_unit_test(test_tables_come_and_go),
                cmocka_unit_test(test_refused_commit), cmocka_unit_test(test_memory_limit),
                cmocka_unit_test(test_reads),          cmocka_unit_test(test_allocations),
                cmocka_unit_test(test_threads),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
