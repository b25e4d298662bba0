/* storage-soak - the storage engine on a simulated disk, for as long as one likes: a seeded mixed workload over tables
 * of every engine, and at seeded moments the power goes, a file call fails, memory runs out or the disk is full. What
 * must hold each time the directory is opened again:
 *
 *      - no position that was said to be durable is missing;
 *      - the state is the one after the first k commits, whole, for some k: rows, their order and counts, tables;
 *      - store_check finds nothing wrong, before and after;
 *      - nobody ever says ERR_CORRUPT.
 *
 * A seed decides everything, so `storage-soak --from SEED --seeds 1` repeats what went wrong. scripts/soak runs many.
 */
#include "base/mem.h"
#include "os/sim.h"
#include "soak.h"
#include "storage/store.h"

enum { SLOTS = 5, KEYS = 150, HELD = 3, LARGE = 300000, ROUNDS = 4, PATH_BYTES = 40, INDEX = 1 };

static unsigned long crash_count;

#define MUST(cond, ...)                                                                                                \
        do {                                                                                                           \
                if (!(cond))                                                                                           \
                        die(__VA_ARGS__);                                                                              \
        } while (0)

/* --- the model: per table and key the value, as a seed and a size --- */

typedef struct Row {
        uint32_t seed, size; /* seed 0: no row */
} Row;
typedef struct Table {
        uint64_t id; /* 0: no table */
        size_t engine;
        Row rows[KEYS];
} Table;
typedef struct Model {
        Table tables[SLOTS];
} Model;

typedef enum ChangeKind { CHANGE_CREATE, CHANGE_DROP, CHANGE_ROW, CHANGE_INDEX /* no row */ } ChangeKind;
typedef struct Change {
        ChangeKind kind;
        unsigned slot, key;
        Row row;
        uint64_t id;
        size_t engine;
} Change;

static void model_apply(Model *model, const Change *change)
{
        Table *table = &model->tables[change->slot];
        if (change->kind == CHANGE_INDEX)
                return;
        if (change->kind == CHANGE_ROW)
                table->rows[change->key] = change->row;
        else
                *table = (Table){0};
        if (change->kind == CHANGE_CREATE) {
                table->id = change->id;
                table->engine = change->engine;
        }
}

static uint8_t key_bytes[KEYS][ENGINE_MAX_KEY_BYTES];
static Bytes keys[KEYS]; /* ascending, so that the order of rows is the order of numbers */

static int key_order(const void *a, const void *b)
{
        return bytes_compare(*(const Bytes *)a, *(const Bytes *)b);
}

static void make_keys(void)
{
        for (unsigned i = 0; i < KEYS; i++) {
                char *out = (char *)key_bytes[i];
                size_t size;
                switch (i % 5) {
                case 0: size = (size_t)snprintf(out, 100, "key-%05u", i); break;
                case 1:
                        out[0] = 'b';
                        store_u64(out + 1, random_mix(i));
                        size = 9;
                        break;
                case 2:
                        memset(out, 'l', 300);
                        size = 300 + (size_t)snprintf(out + 300, 100, "%u", i);
                        break;
                case 3:
                        memset(out, (int)i, ENGINE_MAX_KEY_BYTES);
                        size = i < 10 ? ENGINE_MAX_KEY_BYTES - i : i;
                        break;
                default: size = i == 4 ? 0 : (size_t)snprintf(out, 100, "key-%05u/part/%u", i / 10, i);
                }
                keys[i] = BYTES(out, size);
        }
        qsort(keys, KEYS, sizeof *keys, key_order);
}

static uint8_t value_space[LARGE + 300], expected_space[LARGE + 300];

/* Noise, repetition, and text as documents have it: what compresses not at all, well, and with a dictionary. */
static Bytes value_of(Row row, uint8_t *out)
{
        switch (row.seed % 3) {
        case 0:
                for (uint32_t i = 0; i < row.size; i += 8)
                        store_u64(out + i, random_mix(row.seed + ((uint64_t)i << 32)));
                break;
        case 1: memset(out, (int)(row.seed >> 2), row.size); break;
        default:
                for (uint32_t i = 0, n = 0; i < row.size; n++)
                        i += (uint32_t)snprintf((char *)out + i, 200,
                                                "{\"id\":%u,\"name\":\"person %u\",\"city\":\"Lisbon\",\"n\":%u}", n,
                                                row.seed, row.seed ^ n);
        }
        return BYTES(out, row.size);
}

/* --- a world --- */

typedef struct World {
        SimOs *sim;
        Store *store;
        Random random;
        StoreOptions options;
        char path[PATH_BYTES];
        Model base;             /* the state at base_position */
        Model model;            /* the state now */
        uint64_t base_position; /* commits behind it are in the history */
        uint64_t last, durable; /* newest position given out; newest that was said to be durable */
        uint64_t next_id, backups;
        Change *changes;
        size_t change_count, change_capacity;
        size_t *commit_ends; /* history: where the changes of the commit base_position + 1 + i end */
        size_t commit_count, commit_capacity;
        struct {
                Snapshot *snapshot;
                Table rows;
        } held[HELD];
        bool fired;   /* something has failed since the last opening: refusals are all right */
        bool limited; /* the disk has an end */
} World;

static uint64_t rnd(World *world, uint64_t below)
{
        world->random.state++;
        return random_mix(world->random.state ^ (soak.seed << 20)) % below;
}

/* Small numbers more often than large ones. */
static uint64_t rnd_scaled(World *world, uint64_t most)
{
        uint64_t bits = 64 - (uint64_t)__builtin_clzll(most);
        uint64_t below = (uint64_t)1 << (1 + rnd(world, bits));
        return rnd(world, MIN(below, most));
}

static size_t engine_count(void)
{
        size_t n = 0;
        while (engine_at(n))
                n++;
        return n;
}

/* Frees st. Whether the call went well; if not, whether it may fail is checked. */
static bool went_well(World *world, Status st, const char *doing)
{
        char text[600];
        if (!st)
                return true;
        StatusCode code = status_code(st);
        status_text(st, text, sizeof text);
        NOTE("    %s: %s\n", doing, text);
        status_free(st);
        world->fired |= sim_fired(world->sim) != 0 || mem_fail_fired();
        MUST(code != ERR_CORRUPT && code != ERR_VERSION && code != ERR_INVALID, "%s: %s", doing, text);
        MUST(world->fired || (world->limited && code == ERR_NO_SPACE), "%s failed, and nothing had been broken: %s",
             doing, text);
        return false;
}

static void note_durable(World *world)
{
        uint64_t durable = store_durable(world->store);
        MUST(durable <= world->last, "position %" PRIu64 " is durable, the last is %" PRIu64, durable, world->last);
        world->durable = MAX(world->durable, durable);
}

/* --- reading: compares with the model --- */

static void check_value(Row row, Bytes value, uint64_t id, unsigned key)
{
        MUST(value.size == row.size && bytes_equal(value, value_of(row, expected_space)),
             "table %" PRIu64 ", key %u: another value (%zu bytes) than was written (%u bytes)", id, key, value.size,
             row.size);
}

static uint64_t rows_between(const Table *table, unsigned low, unsigned high)
{
        uint64_t n = 0;
        for (unsigned k = low; k < high; k++)
                n += table->rows[k].seed != 0;
        return n;
}

/* Tree INDEX has an entry with the seed for each row. */
static bool check_index(World *world, Snapshot *snapshot, const Table *table)
{
        uint64_t count;
        Cursor *cursor;
        Arena hold;
        Bytes key, value;
        bool found, ok = went_well(world, snapshot_tree_count(snapshot, INDEX, (EngineRange){0}, &count), "counting");
        MUST(!ok || count == rows_between(table, 0, KEYS), "table %" PRIu64 ": the index has %" PRIu64 " entries",
             table->id, count);
        if (!ok || !went_well(world, cursor_tree_open(snapshot, INDEX, (EngineRange){0}, false, &cursor), "a cursor"))
                return false;
        arena_init(&hold, 0);
        for (unsigned k = 0; ok && k < KEYS; k++) {
                if (!table->rows[k].seed)
                        continue;
                arena_reset(&hold);
                ok = went_well(world, cursor_next(cursor, &hold, &key, &value, &found), "scanning");
                MUST(!ok || (found && bytes_equal(key, keys[k]) && value.size == 4 &&
                             load_u32(value.data) == table->rows[k].seed),
                     "table %" PRIu64 ": the index entry of key %u is wrong", table->id, k);
        }
        cursor_close(cursor);
        arena_done(&hold);
        return ok;
}

/* Some of the ways to read a table, or all of it. False: a call failed, as it may. */
static bool check_rows(World *world, Snapshot *snapshot, const Table *table, bool whole)
{
        unsigned low = whole ? 0 : (unsigned)rnd(world, KEYS),
                 high = whole ? KEYS : low + (unsigned)rnd(world, KEYS - low);
        EngineRange range = {low ? keys[low] : BYTES_NONE, high < KEYS ? keys[high] : BYTES_NONE};
        uint64_t count, expected = rows_between(table, low, high), skipped = 0;
        bool descending = rnd(world, 2), found, ok;
        Arena hold;
        Cursor *cursor;
        Bytes key, value;
        arena_init(&hold, 0);
        ok = went_well(world, snapshot_count(snapshot, range, &count), "counting");
        MUST(!ok || count == expected, "table %" PRIu64 ": a range has %" PRIu64 " rows by count, not %" PRIu64,
             table->id, count, expected);
        ok = ok && went_well(world, cursor_open(snapshot, range, descending, &cursor), "opening a cursor");
        if (!ok) {
                arena_done(&hold);
                return false;
        }
        if (!whole && rnd(world, 2))
                ok = went_well(world, cursor_skip(cursor, rnd(world, 50), &skipped), "skipping");
        uint64_t place = 0;
        for (unsigned i = 0; ok && i < high - low; i++) {
                unsigned k = descending ? high - 1 - i : low + i;
                if (!table->rows[k].seed || place++ < skipped)
                        continue;
                arena_reset(&hold);
                ok = went_well(world, cursor_next(cursor, &hold, &key, &value, &found), "scanning");
                if (!ok)
                        break;
                MUST(found && bytes_equal(key, keys[k]), "table %" PRIu64 ": key %u is missing or out of order",
                     table->id, k);
                check_value(table->rows[k], value, table->id, k);
        }
        if (ok) {
                ok = went_well(world, cursor_next(cursor, &hold, &key, &value, &found), "scanning");
                MUST(!ok || !found, "table %" PRIu64 ": a row too many", table->id);
        }
        cursor_close(cursor);
        if (ok && (whole || rnd(world, 8) == 0))
                ok = check_index(world, snapshot, table);
        for (unsigned n = 0; ok && n < 5; n++) {
                unsigned k = (unsigned)rnd(world, KEYS);
                arena_reset(&hold);
                ok = went_well(world, snapshot_get(snapshot, keys[k], &hold, &value, &found), "getting");
                MUST(!ok || found == (table->rows[k].seed != 0), "table %" PRIu64 ": key %u is %s", table->id, k,
                     found ? "there" : "missing");
                if (ok && found)
                        check_value(table->rows[k], value, table->id, k);
                uint64_t nth = rnd(world, KEYS), before = 0;
                ok = ok && went_well(world, snapshot_nth(snapshot, nth, &hold, &key, &value, &found), "nth");
                if (!ok)
                        break;
                for (k = 0; k < KEYS && (!table->rows[k].seed || before++ < nth); k++)
                        ;
                MUST(found == (k < KEYS) && (!found || bytes_equal(key, keys[k])),
                     "table %" PRIu64 ": row %" PRIu64 " is another", table->id, nth);
        }
        arena_done(&hold);
        return ok;
}

static bool check_table(World *world, const Table *table, bool whole)
{
        Snapshot *snapshot;
        StoreTable *ref = store_table_ref(world->store, table->id);
        MUST(ref, "table %" PRIu64 " is missing", table->id);
        bool ok = went_well(world, store_pin(ref, &snapshot), "pinning");
        if (ok) {
                ok = check_rows(world, snapshot, table, whole);
                store_unpin(snapshot);
        }
        store_table_unref(ref);
        return ok;
}

typedef struct Expected {
        const Model *model;
        unsigned seen;
} Expected;

static Status check_exists(void *ctx, uint64_t id, const char *engine)
{
        Expected *expected = ctx;
        for (unsigned s = 0; s < SLOTS; s++) {
                const Table *table = &expected->model->tables[s];
                if (table->id == id) {
                        MUST(strcmp(engine, engine_at(table->engine)->name) == 0, "table %" PRIu64 " is of engine %s",
                             id, engine);
                        expected->seen++;
                        return ST_OK;
                }
        }
        die("there is a table %" PRIu64, id);
}

static void check_all(World *world, const Model *model)
{
        Expected expected = {model, 0};
        unsigned there = 0;
        if (!went_well(world, store_each_table(world->store, check_exists, &expected), "listing tables"))
                return;
        for (unsigned s = 0; s < SLOTS; s++) {
                if (model->tables[s].id) {
                        there++;
                        check_table(world, &model->tables[s], true);
                }
        }
        MUST(expected.seen == there, "%u tables are there, not %u", expected.seen, there);
}

static void release(World *world, unsigned h)
{
        if (world->held[h].snapshot) {
                check_rows(world, world->held[h].snapshot, &world->held[h].rows, true);
                store_unpin(take(world->held[h].snapshot));
        }
}

static void hold_snapshot(World *world)
{
        unsigned h = (unsigned)rnd(world, HELD), s = (unsigned)rnd(world, SLOTS);
        release(world, h);
        const Table *table = &world->model.tables[s];
        if (!table->id)
                return;
        StoreTable *ref = store_table_ref(world->store, table->id);
        MUST(ref, "table %" PRIu64 " is missing", table->id);
        if (went_well(world, store_pin(ref, &world->held[h].snapshot), "pinning"))
                world->held[h].rows = *table;
        else
                world->held[h].snapshot = NULL;
        store_table_unref(ref);
}

/* --- writing --- */

static void change_add(World *world, Model *model, Change change)
{
        if (world->change_count == world->change_capacity) {
                world->change_capacity = world->change_capacity * 2 + 1000;
                world->changes = realloc(world->changes, world->change_capacity * sizeof(Change));
        }
        world->changes[world->change_count++] = change;
        model_apply(model, &change);
}

static uint32_t random_size(World *world)
{
        switch (rnd(world, 60)) {
        case 0: return (uint32_t)rnd(world, LARGE);
        case 1:
        case 2:
        case 3: return (uint32_t)rnd(world, 12000);
        case 4: return 1530 + (uint32_t)rnd(world, 12);
        default: return (uint32_t)rnd(world, 400);
        }
}

/* As when an index is dropped and built again. */
static Status index_again(Commit *commit, StoreTable *ref, const Table *table)
{
        uint8_t seed[4];
        TRY(commit_tree_clear(commit, ref, INDEX));
        for (unsigned k = 0; k < KEYS; k++) {
                store_u32(seed, table->rows[k].seed);
                if (table->rows[k].seed)
                        TRY(commit_tree_put(commit, ref, INDEX, keys[k], BYTES(seed, 4)));
        }
        return ST_OK;
}

static Status change_table(World *world, Commit *commit, StoreTable *ref, Model *model, unsigned slot)
{
        const Table *table = &model->tables[slot];
        if (rnd(world, 15) == 0) {
                TRY(index_again(commit, ref, table));
                change_add(world, model, (Change){.kind = CHANGE_INDEX, .slot = slot});
        }
        bool sweep = rnd(world, 12) == 0; /* a run of neighbours, all put or all deleted */
        unsigned n = 1 + (unsigned)rnd_scaled(world, 40), at = (unsigned)rnd(world, KEYS),
                 deletes = rnd(world, 2) ? 10 : 60;
        for (unsigned i = 0; i < n; i++) {
                unsigned k = sweep ? (at + i) % KEYS : (unsigned)rnd(world, KEYS);
                bool there = table->rows[k].seed != 0, found;
                if (rnd(world, 100) < deletes) {
                        TRY(commit_tree_delete(commit, ref, INDEX, keys[k], &found));
                        TRY(commit_delete(commit, ref, keys[k], &found));
                        MUST(found == there, "table %" PRIu64 ": a deletion finds key %u %s", table->id, k,
                             found ? "there" : "missing");
                        if (there)
                                change_add(world, model, (Change){.kind = CHANGE_ROW, .slot = slot, .key = k});
                } else {
                        Row row = {1 + (uint32_t)rnd(world, 1000000000), random_size(world)};
                        uint8_t seed[4];
                        store_u32(seed, row.seed);
                        TRY(commit_tree_put(commit, ref, INDEX, keys[k], BYTES(seed, 4)));
                        TRY(commit_put(commit, ref, keys[k], value_of(row, value_space)));
                        change_add(world, model, (Change){.kind = CHANGE_ROW, .slot = slot, .key = k, .row = row});
                }
                if (rnd(world, 20) == 0) {
                        Arena hold;
                        Bytes value;
                        arena_init(&hold, 0);
                        Status st = commit_get(commit, ref, keys[k], &hold, &value, &found);
                        MUST(st || found == (table->rows[k].seed != 0),
                             "table %" PRIu64 ": a commit does not see itself", table->id);
                        if (!st && found)
                                check_value(table->rows[k], value, table->id, k);
                        arena_done(&hold);
                        TRY(st);
                }
        }
        return ST_OK;
}

static Status change_tables(World *world, Commit *commit, Model *model)
{
        unsigned order[SLOTS], n = 0, most = rnd(world, 3) ? 1 : 1 + (unsigned)rnd(world, SLOTS), creates = SLOTS;
        for (unsigned s = 0; s < SLOTS; s++) {
                if (!model->tables[s].id) {
                        creates = s;
                        continue;
                }
                unsigned at = n++;
                for (; at > 0 && model->tables[order[at - 1]].id > model->tables[s].id; at--)
                        order[at] = order[at - 1];
                order[at] = s;
        }
        bool drops = n > 2 && rnd(world, 25) == 0;
        for (unsigned i = 0, left = n; i < n && most > 0; i++, left--) {
                if (rnd(world, left) >= most)
                        continue;
                most--;
                StoreTable *ref = store_table_ref(world->store, model->tables[order[i]].id);
                MUST(ref, "table %" PRIu64 " is missing", model->tables[order[i]].id);
                Status st = commit_lock(commit, ref);
                if (!st && drops) {
                        st = commit_drop_table(commit, ref);
                        if (!st)
                                change_add(world, model, (Change){.kind = CHANGE_DROP, .slot = order[i]});
                        drops = false;
                } else if (!st) {
                        st = change_table(world, commit, ref, model, order[i]);
                }
                store_table_unref(ref);
                TRY(st);
        }
        if (creates < SLOTS && (n < 2 || rnd(world, 12) == 0)) {
                StoreTable *ref;
                Change change = {.kind = CHANGE_CREATE,
                                 .slot = creates,
                                 .id = world->next_id++,
                                 .engine = rnd(world, engine_count())};
                TRY(commit_create_table(commit, change.id, engine_at(change.engine)->name, &ref));
                NOTE("    table %" PRIu64 ", %s\n", change.id, engine_at(change.engine)->name);
                change_add(world, model, change);
                Status st = rnd(world, 2) ? change_table(world, commit, ref, model, creates) : ST_OK;
                store_table_unref(ref);
                TRY(st);
        }
        return ST_OK;
}

static void run_commit(World *world)
{
        Model after = world->model;
        Commit *commit;
        uint64_t position;
        size_t before = world->change_count;
        if (!went_well(world, commit_begin(world->store, &commit), "beginning a commit"))
                return;
        Status st = change_tables(world, commit, &after);
        if (st || rnd(world, 12) == 0) {
                went_well(world, st, "changing rows");
                commit_abort(commit);
                world->change_count = before;
                return;
        }
        if (!went_well(world, commit_finish(commit, &position), "committing")) {
                world->change_count = before;
                return;
        }
        NOTE("    commit %" PRIu64 ": %zu changes\n", position, world->change_count - before);
        if (before == world->change_count) {
                MUST(position == world->last, "a commit without changes is %" PRIu64 ", the last was %" PRIu64,
                     position, world->last);
                return;
        }
        MUST(position == world->last + 1, "a commit is %" PRIu64 ", the last was %" PRIu64, position, world->last);
        if (world->commit_count == world->commit_capacity) {
                world->commit_capacity = world->commit_capacity * 2 + 100;
                world->commit_ends = realloc(world->commit_ends, world->commit_capacity * sizeof(size_t));
        }
        world->commit_ends[world->commit_count++] = world->change_count;
        world->last = position;
        world->model = after;
        if (rnd(world, 4) == 0 && went_well(world, store_sync(world->store, position), "syncing"))
                world->durable = MAX(world->durable, position);
}

/* --- opening, and what must be there --- */

static Status world_open(World *world)
{
        world->options.path = world->path;
        return store_open(&world->options, &world->store);
}

/* Cuts the history at `position`, which becomes the base. */
static void history_cut(World *world, uint64_t position)
{
        size_t n = (size_t)(position - world->base_position), end = n ? world->commit_ends[n - 1] : 0;
        for (size_t i = 0; i < end; i++)
                model_apply(&world->base, &world->changes[i]);
        world->model = world->base;
        world->base_position = world->last = world->durable = position;
        world->change_count = world->commit_count = 0;
}

static void check_recovered(World *world)
{
        StoreStats stats;
        store_stats(world->store, &stats);
        NOTE("  opened at %" PRIu64 "; durable were %" PRIu64 " of %" PRIu64 "\n", stats.last_position, world->durable,
             world->last);
        MUST(stats.last_position >= world->durable,
             "commits up to %" PRIu64 " were durable, only %" PRIu64 " are there", world->durable, stats.last_position);
        MUST(stats.last_position <= world->last, "position %" PRIu64 " was never given out", stats.last_position);
        MUST(stats.durable_position == stats.last_position, "what recovery found is not durable");
        MUST(stats.damaged_table_count == 0, "%" PRIu64 " tables are damaged", stats.damaged_table_count);
        history_cut(world, stats.last_position);
        check_all(world, &world->model);
}

static Status problem_found(void *ctx, const char *text)
{
        die("store_check: %s", text);
}

static void run_check(World *world, const char *when)
{
        StoreCheck check = {.os = sim_os(world->sim), .path = world->path, .problem = problem_found};
        StoreCheckResult result;
        Status st = store_check(&check, &result);
        if (status_code(st) == ERR_NOT_FOUND && world->last == 0) { /* it never came to be */
                status_free(st);
                return;
        }
        must(st, when);
        MUST(result.problem_count == 0, "%s: %" PRIu64 " problems", when, result.problem_count);
}

/* --- backups --- */

/* A backup is whole, and what is restored from it is the state then. */
static void check_backup(World *world, const char *backup, const Model *model)
{
        World copy = {.sim = world->sim, .random = world->random, .options = world->options};
        StoreRestore restore = {.os = sim_os(world->sim), .backup = backup, .path = copy.path};
        StoreBackupResult result;
        StoreStats stats;
        snprintf(copy.path, sizeof copy.path, "%s", backup);
        run_check(&copy, "store_check of a backup");
        snprintf(copy.path, sizeof copy.path, "copy-%" PRIu64, world->backups);
        copy.options.log_archive = NULL;
        must(store_restore(&restore, &result), "restoring");
        must(world_open(&copy), "opening what was restored");
        store_stats(copy.store, &stats);
        MUST(stats.last_position == world->last && result.position == world->last,
             "a copy of %" PRIu64 " is at %" PRIu64, world->last, stats.last_position);
        check_all(&copy, model);
        must(store_close(copy.store), "closing a copy");
        run_check(&copy, "store_check of what was restored");
}

static void run_backup(World *world)
{
        char path[PATH_BYTES];
        StoreBackupResult result;
        snprintf(path, sizeof path, "backup-%" PRIu64, ++world->backups);
        NOTE("  backup %s\n", path);
        if (!went_well(world, store_backup(world->store, path, NULL, &result), "a backup"))
                return;
        MUST(result.position == world->last, "a backup holds %" PRIu64 ", the last is %" PRIu64, result.position,
             world->last);
        note_durable(world);
        if (!world->fired && !world->limited && !sim_fired(world->sim)) {
                sim_fail_nth(world->sim, 0, SIM_FAIL_ONCE); /* reading the copy is not what is to fail */
                check_backup(world, path, &world->model);
        }
}

/* --- one seed --- */

static void run_step(World *world)
{
        uint64_t kind = rnd(world, 100);
        bool short_of_memory = rnd(world, 40) == 0;
        if (short_of_memory) {
                mem_fail_nth(1 + (long)rnd_scaled(world, 400));
                world->fired = true; /* until this step is over, and what it breaks may stay so */
        }
        if (kind < 70) {
                run_commit(world);
        } else if (kind < 78) {
                const Table *table = &world->model.tables[rnd(world, SLOTS)];
                if (table->id)
                        check_table(world, table, rnd(world, 3) == 0);
        } else if (kind < 84) {
                hold_snapshot(world);
        } else if (kind < 91) {
                went_well(world, store_step(world->store), "writing the log");
        } else if (kind < 98) {
                NOTE("  checkpoint at %" PRIu64 "\n", world->last);
                went_well(world, store_checkpoint(world->store), "a checkpoint");
        } else if (kind < 99) {
                sim_advance_ns(world->sim, 1500000000);
        } else if (!short_of_memory) {
                run_backup(world);
        }
        mem_fail_nth(0);
        if (rnd(world, 10) == 0)
                note_durable(world);
}

static void arm(World *world)
{
        static const SimFailure failures[] = {SIM_FAIL_POWER, SIM_FAIL_POWER, SIM_FAIL_ONCE, SIM_FAIL_FOREVER,
                                              SIM_FAIL_NO_SPACE};
        static const char *const names[] = {"power", "power", "once", "for ever", "no space"};
        size_t kind = rnd(world, 2 + ELEMENTS(failures));
        if (kind < ELEMENTS(failures)) {
                long n = 1 + (long)rnd_scaled(world, 2000);
                NOTE("  call %ld fails: %s\n", n, names[kind]);
                sim_fail_nth(world->sim, n, failures[kind]);
        } else if (kind == ELEMENTS(failures)) {
                world->limited = true;
                sim_disk_limit(world->sim, 100000 + rnd_scaled(world, 8000000));
                NOTE("  the disk has an end\n");
        } /* else: nothing but the crash */
}

/* From an open store to a directory that somebody has to open: a crash, or sometimes an orderly end. */
static void end_store(World *world)
{
        static const SimCrash crashes[] = {SIM_DROP, SIM_TEAR, SIM_TEAR, SIM_KEEP};
        SimCrash crash = crashes[rnd(world, ELEMENTS(crashes))];
        bool orderly = rnd(world, 6) == 0;
        for (unsigned h = 0; h < HELD; h++)
                release(world, h);
        note_durable(world);
        if (!orderly)
                sim_crash(world->sim, crash); /* with all files open */
        Status st = store_close(take(world->store));
        if (orderly) {
                if (went_well(world, st, "closing"))
                        world->durable = world->last;
                sim_crash(world->sim, crash);
        } else {
                status_ignore(st);
        }
        NOTE("  %s, %s\n", orderly ? "closed" : "crashed",
             crash == SIM_DROP   ? "drop"
             : crash == SIM_TEAR ? "tear"
                                 : "keep");
        sim_fail_nth(world->sim, 0, SIM_FAIL_ONCE);
        sim_heal(world->sim);
        sim_disk_limit(world->sim, 0);
        world->fired = world->limited = false;
        crash_count++;
}

/* The opening itself is interrupted, perhaps several times. */
static void broken_openings(World *world)
{
        static const SimFailure failures[] = {SIM_FAIL_POWER, SIM_FAIL_ONCE, SIM_FAIL_NO_SPACE};
        while (rnd(world, 3) == 0) {
                sim_fail_nth(world->sim, 1 + (long)rnd_scaled(world, 200), failures[rnd(world, 3)]);
                if (rnd(world, 3) == 0)
                        mem_fail_nth(1 + (long)rnd_scaled(world, 1000));
                world->fired = true;
                Status st = world_open(world);
                mem_fail_nth(0);
                if (went_well(world, st, "opening")) {
                        if (rnd(world, 2))
                                sim_crash(world->sim, SIM_TEAR);
                        status_ignore(store_close(take(world->store)));
                }
                sim_fail_nth(world->sim, 0, SIM_FAIL_ONCE);
                sim_heal(world->sim);
                sim_crash(world->sim, rnd(world, 2) ? SIM_TEAR : SIM_DROP);
                world->fired = false;
                crash_count++;
        }
}

static void run_seed(uint64_t seed)
{
        World world = {.random = {seed}, .next_id = 1, .path = "data"};
        must(sim_new(seed, &world.sim), "the simulated machine");
        world.options = (StoreOptions){.os = sim_os(world.sim),
                                       .cache_max_bytes = (size_t)(64 + rnd_scaled(&world, 8000)) << 10,
                                       .log_segment_bytes = 9000 + rnd_scaled(&world, 200000),
                                       .log_tail_max_bytes = (size_t)1 << 20};
        if (rnd(&world, 3) == 0)
                world.options.log_archive = "archive";
        for (unsigned round = 0; round < ROUNDS; round++) {
                NOTE("round %u\n", round);
                must(world_open(&world), "opening");
                check_recovered(&world);
                arm(&world);
                unsigned steps = 20 + (unsigned)rnd_scaled(&world, 300);
                for (unsigned i = 0; i < steps; i++) {
                        run_step(&world);
                        if (sim_fired(world.sim)) { /* a while longer with the failure, then perhaps without */
                                world.fired = true;
                                steps = MIN(steps, i + 30);
                                if (rnd(&world, 20) == 0)
                                        sim_heal(world.sim);
                        }
                }
                end_store(&world);
                if (rnd(&world, 2))
                        run_check(&world, "store_check after a crash");
                broken_openings(&world);
        }
        must(world_open(&world), "opening");
        check_recovered(&world);
        must(store_close(take(world.store)), "closing");
        run_check(&world, "store_check at the end");
        free(world.changes);
        free(world.commit_ends);
        sim_free(world.sim);
}

/* For the script that shows how far it is. */
static void run_and_say(uint64_t seed)
{
        run_seed(seed);
        printf("%" PRIu64 " %lu\n", seed, crash_count);
        fflush(stdout);
}

int main(int argc, char **argv)
{
        double seconds;
        soak.program = "storage-soak";
        soak.again = "scripts/soak storage";
        for (int i = 1; i < argc; i++) {
                if (!soak_option(argc, argv, &i)) {
                        fprintf(stderr, "usage: storage-soak " SOAK_USAGE "\n");
                        return 2;
                }
        }
        make_keys();
        uint64_t done = soak_run(run_and_say, &seconds);
        fprintf(stderr, "%" PRIu64 " seeds, %lu crashes, %.0f s: nothing lost\n", done, crash_count, seconds);
        return 0;
}
