/* checkpoint_test.c - what goes into files and when: small caches, full disks, writers that wait, the archive of the
 * log, going back in time, and the seam that a backup stands on. */

#include "base/check.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "os/sim.h"
#include "storage/store_int.h"

static const char *const engine_names[] = {"memory", "btree", "slab"};

static StoreTable *create(Store *store, uint64_t id, const char *engine)
{
        Commit *commit;
        StoreTable *table;
        uint64_t position;
        OK(commit_begin(store, &commit));
        OK(commit_create_table(commit, id, engine, &table));
        OK(commit_finish(commit, &position));
        return table;
}

static Bytes value_of(uint64_t key, uint64_t round, uint8_t out[2000])
{
        size_t size = 100 + key * 37 % 1900;
        for (size_t i = 0; i < size; i += 8)
                store_u64(out + (i + 8 <= size ? i : size - 8), (key * 1000003 + round) * 0x9e3779b97f4a7c15ull + i);
        return BYTES(out, size);
}

/* One commit of ten rows. Keys are spread, so that every commit changes many leaves. */
static Status put_ten(Store *store, StoreTable *table, uint64_t n, uint64_t round)
{
        Commit *commit;
        uint8_t value[2000];
        uint64_t position;
        TRY(commit_begin(store, &commit));
        Status st = commit_lock(commit, table);
        for (uint64_t i = 0; i < 10 && !st; i++) {
                uint64_t key = n * 10 + i, spread = key * 0x9e3779b97f4a7c15ull;
                st = commit_put(commit, table, BYTES(&spread, 8), value_of(key, round, value));
        }
        if (st) {
                commit_abort(commit);
                return st;
        }
        return commit_finish(commit, &position);
}

/* The rows of the first n commits of ten. */
static void expect_tens(StoreTable *table, uint64_t n, uint64_t round)
{
        Snapshot *snapshot;
        Arena hold;
        uint8_t expected[2000];
        uint64_t count;
        OK(store_pin(table, &snapshot));
        arena_init(&hold, 0);
        OK(snapshot_count(snapshot, (EngineRange){0}, &count));
        assert_int_equal(count, n * 10);
        for (uint64_t key = 0; key < n * 10; key++) {
                uint64_t spread = key * 0x9e3779b97f4a7c15ull;
                Bytes value;
                bool found;
                arena_reset(&hold);
                OK(snapshot_get(snapshot, BYTES(&spread, 8), &hold, &value, &found));
                assert_true(found && bytes_equal(value, value_of(key, round, expected)));
        }
        arena_done(&hold);
        store_unpin(snapshot);
}

static Status open_sim(SimOs *sim, size_t cache_bytes, Store **ret_store)
{
        StoreOptions options = {.os = sim_os(sim),
                                .path = "data",
                                .cache_max_bytes = cache_bytes,
                                .log_segment_bytes = 1 << 20,
                                .log_tail_max_bytes = 4 << 20};
        return store_open(&options, ret_store);
}

/* The log holds more than the cache: checkpoints are made while it is replayed, and the power may go after each. */
static void test_replay_in_a_small_cache(void **state)
{
        enum { TENS = 700 };
        for (size_t e = 1; e < ELEMENTS(engine_names); e++) {
                for (int crash = 0; crash < 2; crash++) {
                        SimOs *sim;
                        Store *store;
                        StoreStats stats;
                        OK(sim_new(7, &sim));
                        OK(open_sim(sim, 0, &store));
                        StoreTable *table = create(store, 1, engine_names[e]), *other = create(store, 2, "memory");
                        for (uint64_t n = 0; n < TENS; n++) {
                                OK(put_ten(store, table, n, 0));
                                if (n % 20 == 0)
                                        OK(put_ten(store, other, n / 20, 0));
                        }
                        OK(store_sync(store, 2 + TENS + TENS / 20));
                        sim_crash(sim, SIM_KEEP);
                        store_table_unref(table);
                        store_table_unref(other);
                        status_ignore(store_close(store));
                        if (crash) {
                                sim_fail_nth(sim, e == 1 ? 60 : 40, SIM_FAIL_POWER);
                                Status st = open_sim(sim, 1 << 20, &store);
                                assert_true(sim_fired(sim) && st);
                                status_ignore(st);
                                sim_crash(sim, SIM_DROP);
                        }
                        OK(open_sim(sim, 1 << 20, &store));
                        store_stats(store, &stats);
                        assert_int_equal(stats.last_position, 2 + TENS + TENS / 20);
                        if (e == 1) /* slab has its documents in the file at once */
                                assert_true(stats.engines.checkpoint_count > 1);
                        assert_true(stats.engines.dirty_bytes <= stats.engines.dirty_max_bytes);
                        table = store_table_ref(store, 1);
                        other = store_table_ref(store, 2);
                        expect_tens(table, TENS, 0);
                        expect_tens(other, TENS / 20, 0);
                        OK(put_ten(store, table, TENS, 0));
                        expect_tens(table, TENS + 1, 0);
                        store_table_unref(table);
                        store_table_unref(other);
                        OK(store_close(store));
                        sim_free(sim);
                }
        }
}

/* Without a thread the writers make the checkpoints that they need. */
static void test_more_than_the_cache(void **state)
{
        enum { TENS = 600 };
        for (size_t e = 1; e < ELEMENTS(engine_names); e++) {
                SimOs *sim;
                Store *store;
                StoreStats stats;
                OK(sim_new(7, &sim));
                OK(open_sim(sim, 1 << 20, &store));
                StoreTable *table = create(store, 1, engine_names[e]);
                for (uint64_t round = 0; round < 3; round++)
                        for (uint64_t n = 0; n < TENS; n++)
                                OK(put_ten(store, table, n, round));
                expect_tens(table, TENS, 2);
                store_stats(store, &stats);
                if (e == 1) /* slab has its documents in the file at once */
                        assert_true(stats.checkpoint_count > 3 && stats.checkpoint_position > TENS);
                store_table_unref(table);
                OK(store_close(store));
                OK(open_sim(sim, 1 << 20, &store));
                store_stats(store, &stats);
                assert_int_equal(stats.replayed_frames, 0); /* a clean close leaves nothing to replay */
                table = store_table_ref(store, 1);
                expect_tens(table, TENS, 2);
                store_table_unref(table);
                OK(store_close(store));
                sim_free(sim);
        }
}

/* Writes are refused with a sentence that says why; reads go on; nothing is lost; and it goes on when there is room. */
static void test_full_disk(void **state)
{
        for (size_t e = 0; e < ELEMENTS(engine_names); e++) {
                SimOs *sim;
                Store *store;
                uint64_t n = 0;
                Status st = ST_OK;
                OK(sim_new(7, &sim));
                OK(open_sim(sim, 2 << 20, &store));
                StoreTable *table = create(store, 1, engine_names[e]);
                sim_disk_limit(sim, 8 << 20);
                for (; !st && n < 5000; n++) {
                        st = put_ten(store, table, n, 0);
                        if (!st && n % 16 == 0)
                                st = store_sync(store, n + 2);
                        if (!st && n % 128 == 0) /* what the thread would do */
                                status_ignore(store_checkpoint(store));
                }
                assert_true(n > 100 && n < 5000);
                assert_int_equal(status_code(st), ERR_NO_SPACE);
                assert_non_null(strstr(status_message(st), "writes are refused until"));
                assert_non_null(status_hint_text(st));
                status_ignore(st);
                StoreStats stats;
                store_stats(store, &stats);
                uint64_t whole = stats.last_position - 1;
                assert_true(whole == n || whole == n - 1); /* the last may have been refused, or be waiting */
                expect_tens(table, whole, 0);
                st = put_ten(store, table, whole, 0);
                if (!st)
                        whole++;
                status_ignore(st);
                expect_tens(table, whole, 0);

                /* Killed, and started again with the disk as full: reading goes on. */
                uint64_t durable = store_durable(store);
                sim_crash(sim, SIM_KEEP);
                store_table_unref(table);
                status_ignore(store_close(store));
                OK(open_sim(sim, 2 << 20, &store));
                store_stats(store, &stats);
                assert_true(stats.last_position >= durable && stats.last_position <= whole + 1);
                whole = stats.last_position - 1;
                table = store_table_ref(store, 1);
                expect_tens(table, whole, 0);

                sim_disk_limit(sim, 0);
                OK(store_step(store));
                OK(store_log_error(store));
                for (uint64_t i = 0; i < 50; i++)
                        OK(put_ten(store, table, whole++, 0));
                OK(store_sync(store, whole + 1));
                OK(store_checkpoint(store));
                expect_tens(table, whole, 0);
                store_table_unref(table);
                OK(store_close(store));
                sim_crash(sim, SIM_DROP);
                OK(open_sim(sim, 2 << 20, &store));
                table = store_table_ref(store, 1);
                expect_tens(table, whole, 0);
                store_table_unref(table);
                OK(store_close(store));
                sim_free(sim);
        }
}

/* --- with the thread --- */

static void remove_all(const char *dir)
{
        char command[300];
        snprintf(command, sizeof(command), "rm -rf '%s'", dir);
        assert_int_equal(system(command), 0);
}

typedef struct Flood {
        Store *store;
        StoreTable *table;
        uint64_t tens, offset;
        Status st;
} Flood;

static void flood_writer(void *arg)
{
        Flood *flood = arg;
        for (uint64_t n = 0; n < flood->tens && !flood->st; n++)
                flood->st = put_ten(flood->store, flood->table, flood->offset + n, 0);
}

static void until_full(Store *store, const EngineOps *ops)
{
        const StoreEngine *host = store_engine(store, ops);
        Mutex mu;
        Cond never;
        mutex_init(&mu);
        cond_init(&never);
        mutex_lock(&mu);
        while (host->ops->pressure(host->engine) < 90)
                cond_wait_for(&never, &mu, 1000000);
        mutex_unlock(&mu);
        cond_done(&never);
        mutex_done(&mu);
}

/* Writers that are faster than the disk wait for it, and none fails. */
static void test_writers_wait(void **state) NO_TSA
{
        enum { TENS = 1200 };
        for (size_t e = 1; e < ELEMENTS(engine_names); e++) {
                char dir[] = "/tmp/photon-checkpoint-XXXXXX";
                assert_non_null(mkdtemp(dir));
                StoreOptions options = {.os = os_posix(),
                                        .path = dir,
                                        .background = true,
                                        .cache_max_bytes = 2 << 20,
                                        .log_budget_bytes = 1 << 20,
                                        .log_segment_bytes = 1 << 20};
                Store *store;
                Thread threads[2];
                StoreStats stats;
                OK(store_open(&options, &store));
                StoreTable *table = create(store, 1, engine_names[e]);
                Flood floods[2] = {{store, table, TENS, 0, ST_OK}, {store, table, TENS, TENS, ST_OK}};
                if (e == 1)
                        mutex_lock(&store->checkpoint_mu); /* a disk that is very slow at first */
                for (int i = 0; i < 2; i++)
                        OK(thread_start(&threads[i], "writer", flood_writer, &floods[i]));
                if (e == 1) {
                        until_full(store, engine_find("btree"));
                        mutex_unlock(&store->checkpoint_mu);
                }
                for (int i = 0; i < 2; i++)
                        thread_join(&threads[i]);
                for (int i = 0; i < 2; i++)
                        OK(floods[i].st);
                expect_tens(table, 2 * TENS, 0);
                store_stats(store, &stats);
                assert_true(stats.checkpoint_count > 0); /* how many depends on the disk */
                if (e == 1)
                        assert_true(stats.throttled_count > 0 && stats.throttled_ns > 0);
                store_table_unref(table);
                OK(store_close(store));
                OK(store_open(&options, &store));
                table = store_table_ref(store, 1);
                expect_tens(table, 2 * TENS, 0);
                store_table_unref(table);
                OK(store_close(store));
                remove_all(dir);
        }
}

/* The disk is full under the thread: writers are told, not kept waiting for ever, and go on by themselves later. */
static void test_refused_and_resumed(void **state)
{
        SimOs *sim;
        Store *store;
        uint64_t n = 0;
        Status st = ST_OK;
        OK(sim_new(7, &sim));
        StoreOptions options = {
                .os = sim_os(sim), .path = "data", .background = true, .cache_max_bytes = 1 << 20, .soft_sync_ms = 20};
        OK(store_open(&options, &store));
        StoreTable *table = create(store, 1, "btree");
        sim_disk_limit(sim, 8 << 20);
        for (; !st; n++)
                st = put_ten(store, table, n, 0);
        n--;
        assert_int_equal(status_code(st), ERR_NO_SPACE);
        status_ignore(st);
        StoreStats stats;
        store_stats(store, &stats);
        expect_tens(table, stats.last_position - 1, 0);
        n = stats.last_position - 1;
        sim_disk_limit(sim, 0);
        Mutex mu;
        Cond never;
        mutex_init(&mu);
        cond_init(&never);
        mutex_lock(&mu);
        unsigned done = 0;
        for (unsigned i = 0; i < 3000 && done < 200; i++) { /* the log and the checkpoint each try once a second */
                st = put_ten(store, table, n, 0);
                if (st) {
                        assert_int_equal(status_code(st), ERR_NO_SPACE);
                        status_ignore(st);
                        cond_wait_for(&never, &mu, 10000000);
                } else {
                        n++;
                        done++;
                }
        }
        mutex_unlock(&mu);
        cond_done(&never);
        mutex_done(&mu);
        assert_int_equal(done, 200);
        OK(store_sync(store, n + 1));
        store_table_unref(table);
        OK(store_close(store));
        OK(store_open(&options, &store));
        table = store_table_ref(store, 1);
        expect_tens(table, n, 0);
        store_table_unref(table);
        OK(store_close(store));
        sim_free(sim);
}

/* --- the log of the past --- */

static Status count_log(void *ctx, const char *name)
{
        uint64_t position, generation;
        *(unsigned *)ctx += wal_file_parse(name, &position, &generation);
        return ST_OK;
}

/* A store whose log was cut several times, all of it archived: `tens` commits a minute, the first at minute 1. */
static void make_past(SimOs *sim, const StoreOptions *options, uint64_t minutes)
{
        Store *store;
        OK(store_open(options, &store));
        sim_set_wall_us(sim, 60000000);
        StoreTable *a = create(store, 1, "btree"), *b = create(store, 2, "memory");
        for (uint64_t minute = 1; minute <= minutes; minute++) {
                sim_set_wall_us(sim, (int64_t)minute * 60000000);
                for (uint64_t i = 0; i < 5; i++) {
                        OK(put_ten(store, a, (minute - 1) * 5 + i, 0));
                        OK(put_ten(store, b, (minute - 1) * 5 + i, 0));
                }
                if (minute % 3 == 0)
                        OK(store_checkpoint(store));
        }
        store_table_unref(a);
        store_table_unref(b);
        OK(store_close(store));
}

static void copy_log(SimOs *sim, const char *from, const char *to)
{
        OsDir *source, *target;
        char names[64][96];
        size_t count = 0;
        OK(os_dir_open(sim_os(sim), from, OS_DIR_EXISTING, &source));
        OK(os_dir_open(sim_os(sim), to, OS_DIR_CREATE, &target));
        for (uint64_t generation = 1; generation < 40; generation++) {
                for (uint64_t first = 1; first < 200; first++) {
                        OsFile *file;
                        snprintf(names[count], 96, "%020llu-%010llu.log", (unsigned long long)first,
                                 (unsigned long long)generation);
                        Status st = os_file_open(source, names[count], OS_READ, &file);
                        if (!st)
                                os_file_close(file);
                        count += !st;
                        status_ignore(st);
                }
        }
        for (size_t i = 0; i < count; i++) {
                Buf buf;
                OsFile *file;
                buf_init(&buf, 64 << 20);
                OK(os_read_whole(source, names[i], 64 << 20, &buf));
                OK(os_file_open(target, names[i], OS_WRITE | OS_CREATE | OS_TRUNCATE, &file));
                OK(os_file_write_at(file, 0, buf.data, buf.size));
                OK(os_file_sync(file));
                os_file_close(file);
                buf_done(&buf);
        }
        OK(os_dir_sync(target));
        os_dir_close(source);
        os_dir_close(target);
}

/* An empty directory and the archive: any moment can be had again, and the rest is forgotten for good. */
static void test_recover_to(void **state)
{
        SimOs *sim;
        Store *store;
        OsDir *dir;
        unsigned files = 0;
        OK(sim_new(7, &sim));
        StoreOptions options = {
                .os = sim_os(sim), .path = "data", .log_archive = "archive", .log_segment_bytes = 50000};
        make_past(sim, &options, 10);
        OK(os_dir_open(sim_os(sim), "archive", OS_DIR_EXISTING, &dir));
        OK(os_dir_list(dir, count_log, &files));
        assert_true(files > 3);
        os_dir_close(dir);

        static const struct {
                StoreMoment to;
                uint64_t tens_a, tens_b, last;
        } cases[] = {
                {{.wall_us = 4 * 60000000ll}, 20, 20, 42},
                {{.wall_us = 7 * 60000000ll + 5}, 35, 35, 72},
                {{.position = 43}, 21, 20, 43},
                {{.wall_us = 10 * 60000000ll}, 50, 50, 102},
        };
        for (size_t i = 0; i < ELEMENTS(cases); i++) {
                for (long n = 0, fired = 1; fired; n = n * 3 / 2 + 1) { /* 0: nothing fails */
                        char path[32], log[48];
                        snprintf(path, sizeof(path), "again-%zu-%ld", i, n);
                        snprintf(log, sizeof(log), "%s/log", path);
                        options.path = path;
                        options.log_archive = NULL;
                        options.recover_to = (StoreMoment){0};
                        OK(store_open(&options, &store)); /* makes the directory */
                        OK(store_close(store));
                        copy_log(sim, "archive", log);
                        options.recover_to = cases[i].to;
                        sim_fail_nth(sim, n, SIM_FAIL_POWER);
                        Status st = store_open(&options, &store);
                        fired = n == 0 || sim_fired(sim);
                        if (sim_fired(sim) && n) {
                                if (!st)
                                        status_ignore(store_close(store));
                                status_ignore(st);
                                sim_crash(sim, SIM_TEAR);
                                st = store_open(&options, &store);
                                if (status_code(st) == ERR_NOT_FOUND) {
                                        /* It was done, but for the last words: nothing is behind it any more. */
                                        status_ignore(st);
                                        options.recover_to = (StoreMoment){0};
                                        st = store_open(&options, &store);
                                }
                        }
                        sim_fail_nth(sim, 0, SIM_FAIL_ONCE);
                        OK(st);
                        StoreStats stats;
                        store_stats(store, &stats);
                        assert_int_equal(stats.last_position, cases[i].last);
                        StoreTable *a = store_table_ref(store, 1), *b = store_table_ref(store, 2);
                        expect_tens(a, cases[i].tens_a, 0);
                        expect_tens(b, cases[i].tens_b, 0);
                        OK(put_ten(store, a, cases[i].tens_a, 0));
                        store_table_unref(a);
                        store_table_unref(b);
                        OK(store_close(store));
                        options.recover_to = (StoreMoment){0};
                        OK(store_open(&options, &store));
                        store_stats(store, &stats);
                        assert_int_equal(stats.last_position, cases[i].last + 1);
                        OK(store_close(store));
                }
        }
        /* Not so: before what the files hold, and behind the end of the log. */
        options.path = "data";
        options.recover_to = (StoreMoment){.position = 30};
        FAILS(ERR_NOT_FOUND, store_open(&options, &store));
        options.recover_to = (StoreMoment){.wall_us = 2 * 60000000ll};
        Status st = store_open(&options, &store);
        assert_int_equal(status_code(st), ERR_NOT_FOUND);
        assert_non_null(strstr(status_message(st), "1970-01-01T00:10:00"));
        status_free(st);
        options.recover_to = (StoreMoment){.wall_us = 11 * 60000000ll};
        FAILS(ERR_NOT_FOUND, store_open(&options, &store));
        options.recover_to = (StoreMoment){0};
        OK(store_open(&options, &store));
        OK(store_close(store));
        sim_free(sim);
}

/* --- backup --- */

static void test_backup_seam(void **state)
{
        SimOs *sim;
        Store *store;
        OsDir *to;
        CheckpointBackup backup;
        SnapshotHead head;
        uint8_t first[64];
        size_t got;
        OK(sim_new(7, &sim));
        OK(open_sim(sim, 0, &store));
        StoreTable *a = create(store, 1, "btree"), *b = create(store, 2, "memory");
        for (uint64_t n = 0; n < 20; n++) {
                OK(put_ten(store, a, n, 0));
                OK(put_ten(store, b, n, 0));
        }
        OK(checkpoint_begin_backup(store, &backup));
        assert_int_equal(backup.position, 42);
        assert_int_equal(backup.engine_count, 1);
        for (uint64_t n = 0; n < 20; n++) { /* what comes later is not in it, and does not disturb it */
                OK(put_ten(store, a, n, 1));
                OK(put_ten(store, b, n, 1));
                OK(store_checkpoint(store));
        }
        OK(os_dir_open(sim_os(sim), "copy", OS_DIR_CREATE, &to));
        OK(backup.engines[0].ops->backup_copy(backup.engines[0].backup, to, NULL, NULL));
        Buf whole;
        buf_init(&whole, backup.snapshot_bytes);
        OK(buf_reserve(&whole, backup.snapshot_bytes));
        OK(os_file_read_at(backup.snapshot, 0, whole.data, backup.snapshot_bytes, &got));
        assert_int_equal(got, backup.snapshot_bytes);
        OK(os_write_whole(to, backup.snapshot_name, whole.data, got));
        buf_done(&whole);
        OK(snapshot_file_head(to, backup.position, &head));
        assert_int_equal(head.wall_us, backup.wall_us);
        assert_int_equal(head.log_from, 42);
        snprintf((char *)first, sizeof(first), "photondb %d\n", STORE_FORMAT_VERSION);
        OK(os_write_whole(to, "VERSION", first, strlen((char *)first)));
        os_dir_close(to);
        checkpoint_end_backup(&backup);
        checkpoint_end_backup(&backup);
        store_table_unref(a);
        store_table_unref(b);
        OK(store_close(store));

        StoreOptions options = {.os = sim_os(sim), .path = "copy"};
        OK(store_open(&options, &store));
        a = store_table_ref(store, 1);
        b = store_table_ref(store, 2);
        expect_tens(a, 20, 0);
        expect_tens(b, 20, 0);
        OK(put_ten(store, a, 20, 0));
        store_table_unref(a);
        store_table_unref(b);
        OK(store_close(store));
        sim_free(sim);
}

static void count_class(void *ctx, const char *engine, const EngineSpaceClass *class)
{
        assert_non_null(engine_find(engine));
        *(uint64_t *)ctx += class->live_bytes;
}

static void test_figures(void **state)
{
        SimOs *sim;
        Store *store;
        StoreStats stats;
        Snapshot *snapshot;
        uint64_t live = 0;
        OK(sim_new(7, &sim));
        OK(open_sim(sim, 0, &store));
        for (size_t e = 0; e < ELEMENTS(engine_names); e++) {
                StoreTable *table = create(store, e + 1, engine_names[e]);
                OK(store_table_error(table));
                for (uint64_t n = 0; n < 30; n++)
                        OK(put_ten(store, table, n, 0));
                Arena hold;
                Bytes keys[3];
                size_t count;
                uint64_t rows;
                arena_init(&hold, 0);
                OK(store_pin(table, &snapshot));
                OK(snapshot_split(snapshot, (EngineRange){0}, 4, &hold, keys, &count));
                assert_int_equal(count, 3);
                OK(snapshot_count(snapshot, (EngineRange){keys[0], keys[1]}, &rows));
                assert_true(rows >= 74 && rows <= 76);
                store_unpin(snapshot);
                arena_done(&hold);
                store_table_unref(table);
        }
        OK(store_checkpoint(store));
        sim_advance_ns(sim, 5000000);
        store_stats(store, &stats);
        assert_int_equal(stats.table_count, 3);
        assert_int_equal(stats.damaged_table_count, 0);
        assert_int_equal(stats.checkpoint_position, stats.last_position);
        assert_int_equal(stats.checkpoint_count, 1);
        assert_true(stats.checkpoint_age_us >= 5000);
        assert_int_equal(stats.engines.row_count, 900);
        assert_true(stats.sync_ns.count == stats.sync_count && stats.sync_count > 0);
        assert_int_equal(stats.engines.file_bytes, stats.engines.live_bytes + stats.engines.waiting_bytes +
                                                           stats.engines.free_bytes + stats.engines.metadata_bytes);
        store_space_classes(store, count_class, &live);
        assert_int_equal(live, stats.engines.live_bytes);
        OK(store_close(store));
        sim_free(sim);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_replay_in_a_small_cache),
                cmocka_unit_test(test_more_than_the_cache),
                cmocka_unit_test(test_full_disk),
                cmocka_unit_test(test_writers_wait),
                cmocka_unit_test(test_refused_and_resumed),
                cmocka_unit_test(test_recover_to),
                cmocka_unit_test(test_backup_seam),
                cmocka_unit_test(test_figures),
        };
        cmocka_set_test_filter(getenv("CHECKPOINT_TEST")); /* a pattern; NULL: all */
        return cmocka_run_group_tests(tests, NULL, NULL);
}
