/* store_test.c - the store's functions one by one, on the machine's files and on simulated ones. Crashes:
 * recovery_test.c. */

#include "base/check.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "os/sim.h"
#include "os/thread.h"
#include "storage/store.h"

static Store *open_sim(SimOs *sim, size_t memory_max_bytes)
{
        StoreOptions options = {.os = sim_os(sim), .path = "data", .memory_max_bytes = memory_max_bytes};
        Store *store;
        OK(store_open(&options, &store));
        return store;
}

static StoreTable *create_in(Store *store, uint64_t id, const char *engine)
{
        Commit *commit;
        StoreTable *table;
        uint64_t position;
        OK(commit_begin(store, &commit));
        OK(commit_create_table(commit, id, engine, &table));
        OK(commit_finish(commit, &position));
        return table;
}

static StoreTable *create(Store *store, uint64_t id)
{
        return create_in(store, id, "memory");
}

static void put(Store *store, StoreTable *table, const char *key, const char *value)
{
        Commit *commit;
        uint64_t position;
        OK(commit_begin(store, &commit));
        OK(commit_lock(commit, table));
        OK(commit_put(commit, table, BYTES_STR(key), BYTES_STR(value)));
        OK(commit_finish(commit, &position));
}

static void expect(StoreTable *table, const char *key, const char *value)
{
        Snapshot *snapshot;
        Bytes got;
        bool found;
        OK(store_pin(table, &snapshot));
        OK(snapshot_get(snapshot, BYTES_STR(key), NULL, &got, &found));
        assert_int_equal(found, value != NULL);
        if (found)
                assert_true(bytes_equal(got, BYTES_STR(value)));
        store_unpin(snapshot);
}

static Status count_tables(void *ctx, uint64_t id, const char *engine)
{
        uint64_t *ids = ctx;
        ids[++ids[0]] = id;
        return ST_OK;
}

static void test_commits(void **state)
{
        SimOs *sim;
        OK(sim_new(1, &sim));
        Store *store = open_sim(sim, 0);
        Commit *commit;
        StoreTable *a = create(store, 5), *b, *c;
        uint64_t position, ids[8] = {0};
        bool found;
        Bytes value;
        Arena hold;
        Snapshot *before;
        arena_init(&hold, 0);
        put(store, a, "k", "v1");

        /* Two tables in one commit, one of them new; nothing is seen before the end. */
        OK(store_pin(a, &before));
        OK(commit_begin(store, &commit));
        OK(commit_create_table(commit, 9, "memory", &b));
        OK(commit_lock(commit, a));
        OK(commit_lock(commit, a));
        OK(commit_put(commit, a, BYTES_STR("k"), BYTES_STR("v2")));
        OK(commit_put(commit, b, BYTES_STR("x"), BYTES_STR("y")));
        OK(commit_get(commit, a, BYTES_STR("k"), &hold, &value, &found));
        assert_true(found && bytes_equal(value, BYTES_STR("v2")));
        OK(commit_delete(commit, b, BYTES_STR("none"), &found));
        assert_false(found);
        expect(a, "k", "v1");
        assert_null(store_table_ref(store, 9));
        OK(commit_finish(commit, &position));
        assert_int_equal(position, 3);
        expect(a, "k", "v2");
        expect(b, "x", "y");
        OK(snapshot_get(before, BYTES_STR("k"), NULL, &value, &found));
        assert_true(found && bytes_equal(value, BYTES_STR("v1")));
        assert_int_equal(snapshot_version(before), 2);
        store_unpin(before);

        /* An aborted commit leaves no trace, nor does one without changes. */
        OK(commit_begin(store, &commit));
        OK(commit_lock(commit, a));
        OK(commit_put(commit, a, BYTES_STR("k"), BYTES_STR("v3")));
        OK(commit_create_table(commit, 10, "memory", &c));
        commit_abort(commit);
        assert_true(store_table_dropped(c));
        store_table_unref(c);
        assert_null(store_table_ref(store, 10));
        expect(a, "k", "v2");
        OK(commit_begin(store, &commit));
        OK(commit_lock(commit, a));
        OK(commit_finish(commit, &position));
        assert_int_equal(position, 3);
        commit_abort(NULL);

        /* Table numbers are taken once; engines have names. */
        OK(commit_begin(store, &commit));
        FAILS(ERR_EXISTS, commit_create_table(commit, 9, "memory", &c));
        FAILS(ERR_UNSUPPORTED, commit_create_table(commit, 11, "cloud", &c));
        uint8_t large[ENGINE_MAX_KEY_BYTES + 1] = {0};
        OK(commit_lock(commit, a));
        FAILS(ERR_LIMIT, commit_put(commit, a, BYTES(large, sizeof(large)), BYTES_NONE));
        OK(commit_put(commit, a, BYTES(large, ENGINE_MAX_KEY_BYTES), BYTES_NONE));
        OK(commit_finish(commit, &position));
        OK(store_each_table(store, count_tables, ids));
        assert_int_equal(ids[0], 2);
        assert_int_equal(ids[1], 5);
        assert_int_equal(ids[2], 9);

        /* Dropped: gone for all but those who still hold it. */
        OK(store_pin(b, &before));
        OK(commit_begin(store, &commit));
        OK(commit_lock(commit, b));
        OK(commit_drop_table(commit, b));
        OK(commit_finish(commit, &position));
        assert_true(store_table_dropped(b));
        assert_null(store_table_ref(store, 9));
        Snapshot *none;
        FAILS(ERR_NOT_FOUND, store_pin(b, &none));
        OK(commit_begin(store, &commit));
        FAILS(ERR_NOT_FOUND, commit_lock(commit, b));
        commit_abort(commit);
        store_table_unref(b);
        OK(snapshot_get(before, BYTES_STR("x"), NULL, &value, &found));
        assert_true(found);
        store_unpin(before);
        b = create(store, 9); /* the number is free again */
        expect(b, "x", NULL);
        store_table_unref(b);
        store_table_unref(a);

        StoreStats stats;
        store_stats(store, &stats);
        assert_int_equal(stats.last_position, stats.commit_count);
        OK(store_sync(store, stats.last_position));
        OK(store_checkpoint(store));
        OK(store_checkpoint(store));
        OK(store_checkpoint_error(store));
        OK(store_close(store));
        store = open_sim(sim, 0);
        StoreStats again;
        store_stats(store, &again);
        assert_int_equal(again.last_position, stats.last_position);
        assert_int_equal(again.checkpoint_position, stats.last_position);
        assert_int_equal(again.engines.row_count, stats.engines.row_count);
        assert_int_equal(again.replayed_frames, 0);
        OK(store_close(store));
        OK(store_close(NULL));
        arena_done(&hold);
        sim_free(sim);
}

static void test_reading(void **state)
{
        SimOs *sim;
        OK(sim_new(1, &sim));
        Store *store = open_sim(sim, 0);
        StoreTable *table = create(store, 1);
        Commit *commit;
        Snapshot *snapshot;
        Cursor *cursor;
        Bytes key, value;
        uint64_t position, n;
        bool found;
        char name[16];
        OK(commit_begin(store, &commit));
        OK(commit_lock(commit, table));
        for (int i = 0; i < 500; i++) {
                snprintf(name, sizeof(name), "%03d", i);
                OK(commit_put(commit, table, BYTES_STR(name), BYTES_STR(name)));
        }
        OK(commit_finish(commit, &position));
        OK(store_pin(table, &snapshot));
        EngineRange range = {BYTES_STR("100"), BYTES_STR("200")};
        OK(snapshot_count(snapshot, range, &n));
        assert_int_equal(n, 100);
        OK(snapshot_nth(snapshot, 321, NULL, &key, &value, &found));
        assert_true(found && bytes_equal(key, BYTES_STR("321")));
        OK(snapshot_nth(snapshot, 500, NULL, &key, &value, &found));
        assert_false(found);
        OK(cursor_open(snapshot, range, true, &cursor));
        OK(cursor_next(cursor, NULL, &key, &value, &found));
        assert_true(found && bytes_equal(key, BYTES_STR("199")));
        OK(cursor_skip(cursor, 98, &n));
        assert_int_equal(n, 98);
        OK(cursor_next(cursor, NULL, &key, &value, &found));
        assert_true(found && bytes_equal(key, BYTES_STR("100")));
        OK(cursor_next(cursor, NULL, &key, &value, &found));
        assert_false(found);
        cursor_close(cursor);
        cursor_close(NULL);
        store_unpin(snapshot);
        store_unpin(NULL);
        EngineStats stats;
        store_table_stats(table, &stats);
        assert_int_equal(stats.row_count, 500);
        assert_int_equal(store_table_id(table), 1);
        store_table_unref(table);
        OK(store_close(store));
        sim_free(sim);
}

/* A commit that the memory limit stops is as if it had never been; data that does not fit is said at start. */
static void test_memory_limit(void **state)
{
        SimOs *sim;
        OK(sim_new(1, &sim));
        Store *store = open_sim(sim, 1 << 20);
        StoreTable *table = create(store, 1);
        uint8_t value[1000] = {0};
        Status st = ST_OK;
        uint64_t rows = 0, position;
        while (!st) {
                Commit *commit;
                OK(commit_begin(store, &commit));
                OK(commit_lock(commit, table));
                for (uint64_t i = 0; i < 10 && !st; i++) {
                        uint64_t key = rows + i;
                        st = commit_put(commit, table, BYTES(&key, 8), BYTES(value, sizeof(value)));
                }
                if (st) {
                        commit_abort(commit);
                } else {
                        OK(commit_finish(commit, &position));
                        rows += 10;
                }
        }
        FAILS(ERR_LIMIT, st);
        assert_true(rows > 500);
        store_table_unref(table);
        OK(store_close(store));
        StoreOptions options = {.os = sim_os(sim), .path = "data", .memory_max_bytes = 200000};
        FAILS(ERR_LIMIT, store_open(&options, &store));
        store = open_sim(sim, 0);
        StoreStats stats;
        store_stats(store, &stats);
        assert_int_equal(stats.engines.row_count, rows);
        OK(store_close(store));
        sim_free(sim);
}

static atomic_uint watched;
static void watch(void *ctx)
{
        atomic_fetch_add(&watched, 1);
}

static void test_watches(void **state)
{
        SimOs *sim;
        OK(sim_new(1, &sim));
        Store *store = open_sim(sim, 0);
        StoreWatch *watches[64], *more;
        StoreTable *table = create(store, 1);
        for (int i = 0; i < 64; i++)
                OK(store_watch(store, watch, NULL, &watches[i]));
        FAILS(ERR_LIMIT, store_watch(store, watch, NULL, &more));
        for (int i = 1; i < 64; i++)
                store_unwatch(watches[i]);
        store_unwatch(NULL);
        atomic_store(&watched, 0);
        put(store, table, "a", "b");
        assert_int_equal(store_durable(store), 0);
        OK(store_sync(store, 2));
        assert_int_equal(atomic_load(&watched), 1);
        put(store, table, "a", "c");
        sim_fail_nth(sim, 1, SIM_FAIL_FOREVER);
        FAILS(ERR_IO, store_sync(store, 3));
        assert_int_equal(atomic_load(&watched), 2);
        FAILS(ERR_IO, store_log_error(store));
        Commit *commit;
        uint64_t position;
        OK(commit_begin(store, &commit));
        OK(commit_lock(commit, table));
        OK(commit_put(commit, table, BYTES_STR("a"), BYTES_STR("d")));
        FAILS(ERR_IO, commit_finish(commit, &position));
        expect(table, "a", "c");
        FAILS(ERR_IO, store_checkpoint(store));
        FAILS(ERR_IO, store_checkpoint_error(store));
        sim_fail_nth(sim, 0, SIM_FAIL_ONCE);
        sim_heal(sim);
        OK(store_step(store));
        OK(store_log_error(store));
        assert_int_equal(atomic_load(&watched), 3);
        put(store, table, "a", "e");
        expect(table, "a", "e");
        store_unwatch(watches[0]);
        store_table_unref(table);
        OK(store_close(store));
        sim_free(sim);
}

/* --- the machine's files --- */

static void path_of(const char *dir, const char *name, char out[256])
{
        snprintf(out, 256, "%s/%s", dir, name);
}

static void write_text(const char *dir, const char *name, const char *text)
{
        char path[256];
        path_of(dir, name, path);
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        fputs(text, file);
        fclose(file);
}

static Status count_names(void *ctx, const char *name)
{
        ++*(int *)ctx;
        return ST_OK;
}

static int names_in(const char *path)
{
        OsDir *dir;
        int n = 0;
        OK(os_dir_open(os_posix(), path, OS_DIR_EXISTING, &dir));
        OK(os_dir_list(dir, count_names, &n));
        os_dir_close(dir);
        return n;
}

static void remove_all(const char *dir)
{
        char command[300];
        snprintf(command, sizeof(command), "rm -rf '%s'", dir);
        assert_int_equal(system(command), 0);
}

/* What cannot be opened is left as it is, and the sentence says what to do. */
static void test_refused_directories(void **state)
{
        char dir[] = "/tmp/photon-store-XXXXXX", data[256];
        assert_non_null(mkdtemp(dir));
        path_of(dir, "data", data);
        StoreOptions options = {.os = os_posix(), .path = data};
        Store *store, *second;

        assert_int_equal(mkdir(data, 0700), 0);
        write_text(data, "VERSION", "photondb 99\n");
        Status st = store_open(&options, &store);
        assert_int_equal(status_code(st), ERR_VERSION);
        assert_non_null(strstr(status_message(st), data));
        assert_non_null(strstr(status_message(st), "format 99"));
        assert_non_null(status_hint_text(st));
        status_free(st);
        assert_int_equal(names_in(data), 1);
        write_text(data, "VERSION", "photondb 1\n");
        st = store_open(&options, &store);
        assert_int_equal(status_code(st), ERR_VERSION);
        assert_non_null(strstr(status_message(st), "older format 1"));
        assert_non_null(status_hint_text(st));
        status_free(st);
        write_text(data, "VERSION", "nonsense");
        FAILS(ERR_CORRUPT, store_open(&options, &store));
        assert_int_equal(names_in(data), 1);
        remove_all(data);

        assert_int_equal(mkdir(data, 0700), 0);
        write_text(data, "snapshot-00000000000000000007", "data");
        FAILS(ERR_CORRUPT, store_open(&options, &store));
        assert_int_equal(names_in(data), 1);
        remove_all(data);

        if (getuid() != 0) {
                assert_int_equal(mkdir(data, 0500), 0);
                FAILS(ERR_ACCESS, store_open(&options, &store));
                remove_all(data);
        }
        write_text(dir, "data", "a file");
        st = store_open(&options, &store);
        assert_non_null(st);
        status_free(st);
        unlink(data);

        OK(store_open(&options, &store));
        int names = names_in(data);
        pid_t pid = fork();
        if (pid == 0) {
                st = store_open(&options, &second);
                _exit(status_code(st) == ERR_BUSY && status_hint_text(st) ? 0 : 1);
        }
        int code;
        assert_int_equal(waitpid(pid, &code, 0), pid);
        assert_int_equal(code, 0);
        assert_int_equal(names_in(data), names);
        OK(store_close(store));
        OK(store_open(&options, &store));
        OK(store_close(store));
        remove_all(dir);
}

/* Writers, readers, waiters and the checkpoint thread at once, on two tables that every commit changes together. */
typedef struct Race {
        Store *store;
        StoreTable *tables[2];
        atomic_bool stop;
        atomic_uint_fast64_t commits, reads, checkpoints, failures;
        unsigned seed;
} Race;

static void race_writer(void *arg)
{
        Race *race = arg;
        for (uint64_t i = 0; !atomic_load(&race->stop); i++) {
                Commit *commit;
                uint64_t key = (i * 7919 + (uintptr_t)&commit) % 500, position;
                uint8_t value[300];
                Status st = commit_begin(race->store, &commit);
                assert(!st);
                memset(value, (int)i, sizeof(value));
                for (int t = 0; t < 2 && !st; t++) {
                        st = commit_lock(commit, race->tables[t]);
                        assert(!st);
                        st = commit_put(commit, race->tables[t], BYTES(&key, 8), BYTES(value, sizeof(value)));
                        assert(!st);
                }
                st = commit_finish(commit, &position);
                assert(!st);
                if (i % 8 == 0) {
                        st = store_sync(race->store, position);
                        assert(!st && store_durable(race->store) >= position);
                }
                atomic_fetch_add(&race->commits, 1);
        }
}

static void race_reader(void *arg)
{
        Race *race = arg;
        Arena hold;
        arena_init(&hold, 0);
        while (!atomic_load(&race->stop)) {
                for (uint64_t key = 0; key < 500; key++) {
                        Snapshot *snapshot;
                        Bytes value;
                        bool found;
                        Status st = store_pin(race->tables[key % 2], &snapshot);
                        assert(!st);
                        arena_reset(&hold);
                        st = snapshot_get(snapshot, BYTES(&key, 8), &hold, &value, &found);
                        assert(!st && (!found || value.data[0] == value.data[299]));
                        store_unpin(snapshot);
                        atomic_fetch_add(&race->reads, 1);
                }
        }
        arena_done(&hold);
}

static void race_checkpoint(void *ctx, Status st)
{
        Race *race = ctx;
        atomic_fetch_add(st ? &race->failures : &race->checkpoints, 1);
}

static void race_between(const char *first, const char *second)
{
        char dir[] = "/tmp/photon-store-XXXXXX";
        assert_non_null(mkdtemp(dir));
        StoreOptions options = {.os = os_posix(),
                                .path = dir,
                                .background = true,
                                .log_segment_bytes = 200000,
                                .log_budget_bytes = 600000,
                                .cache_max_bytes = 1 << 20,
                                .soft_sync_ms = 20,
                                .checkpoint_done = race_checkpoint};
        Race race = {0};
        options.checkpoint_ctx = &race;
        Thread threads[4];
        OK(store_open(&options, &race.store));
        race.tables[0] = create_in(race.store, 1, first);
        race.tables[1] = create_in(race.store, 2, second);
        StoreWatch *seen;
        atomic_store(&watched, 0);
        OK(store_watch(race.store, watch, NULL, &seen));
        OK(thread_start(&threads[0], "writer", race_writer, &race));
        OK(thread_start(&threads[1], "writer", race_writer, &race));
        OK(thread_start(&threads[2], "reader", race_reader, &race));
        OK(thread_start(&threads[3], "reader", race_reader, &race));
        StoreStats stats;
        Mutex mu;
        Cond never;
        mutex_init(&mu);
        cond_init(&never);
        mutex_lock(&mu);
        do { /* until the log was cut twice by the thread */
                cond_wait_for(&never, &mu, 5000000);
                store_stats(race.store, &stats);
        } while (stats.checkpoint_position < 3000 || atomic_load(&race.commits) < 5000);
        mutex_unlock(&mu);
        cond_done(&never);
        mutex_done(&mu);
        atomic_store(&race.stop, true);
        for (int i = 0; i < 4; i++)
                thread_join(&threads[i]);
        OK(store_checkpoint_error(race.store));
        assert_true(atomic_load(&race.checkpoints) > 0);
        assert_int_equal(atomic_load(&race.failures), 0);
        assert_true(atomic_load(&watched) > 10);
        store_stats(race.store, &stats);
        uint64_t commits = atomic_load(&race.commits);
        assert_int_equal(stats.last_position, commits + 2);

        /* Every row is the same in both tables, now and after opening again. */
        for (int round = 0; round < 2; round++) {
                Snapshot *a, *b;
                Arena hold;
                arena_init(&hold, 0);
                OK(store_pin(race.tables[0], &a));
                OK(store_pin(race.tables[1], &b));
                for (uint64_t key = 0; key < 500; key++) {
                        Bytes x, y;
                        bool in_a, in_b;
                        OK(snapshot_get(a, BYTES(&key, 8), &hold, &x, &in_a));
                        OK(snapshot_get(b, BYTES(&key, 8), &hold, &y, &in_b));
                        assert_int_equal(in_a, in_b);
                        assert_true(!in_a || bytes_equal(x, y));
                }
                arena_done(&hold);
                store_unpin(a);
                store_unpin(b);
                store_table_unref(race.tables[0]);
                store_table_unref(race.tables[1]);
                if (round == 0) {
                        store_unwatch(seen);
                        OK(store_close(race.store));
                        OK(store_open(&options, &race.store));
                        store_stats(race.store, &stats);
                        assert_int_equal(stats.last_position, commits + 2);
                        race.tables[0] = store_table_ref(race.store, 1);
                        race.tables[1] = store_table_ref(race.store, 2);
                }
        }
        OK(store_close(race.store));
        remove_all(dir);
}

static void test_race(void **state)
{
        race_between("memory", "memory");
        race_between("btree", "slab");
        race_between("memory", "btree");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_commits),
                cmocka_unit_test(test_reading),
                cmocka_unit_test(test_memory_limit),
                cmocka_unit_test(test_watches),
                cmocka_unit_test(test_refused_directories),
                cmocka_unit_test(test_race),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
