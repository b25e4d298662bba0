/* tail_test.c - readers of the log beside writers, cuts, failures and power cuts; the rows before; retention;
 * incarnations. */
#include "storage/tail_test.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "os/sim.h"
#include "os/thread.h"
#include "storage/log/wal_int.h"

enum { TABLE = 7, KEYS = 40, VALUE_MAX = 3000 };

typedef struct World {
        SimOs *sim;
        Store *store;
        StoreTable *table;
        StoreOptions options;
        uint64_t seed, last;
        int32_t versions[KEYS]; /* 0: no row */
        int32_t next_version;
} World;

static uint64_t rnd(World *w, uint64_t n)
{
        w->seed = w->seed * 6364136223846793005u + 1442695040888963407u;
        return (w->seed >> 33) % n;
}

/* Versions of a row are alike in most places, as those of documents are. */
static Bytes value_of(int key, int32_t version, uint8_t *out)
{
        size_t size = (size_t)(version % 5 == 0 ? 0 : (key * 37 + version % 7 * 90) % VALUE_MAX);
        for (size_t i = 0; i < size; i++)
                out[i] = (uint8_t)(key + (int)i);
        if (size > 20)
                memcpy(out + (size_t)version % (size - 10), &version, 4);
        return BYTES(out, size);
}

static Status world_try_open(World *w)
{
        Commit *commit;
        w->options.os = sim_os(w->sim);
        w->options.path = "data";
        if (!w->options.log_segment_bytes)
                w->options.log_segment_bytes = 10000;
        w->options.log_tail_max_bytes = 64 << 10;
        w->options.log_recent_bytes = 30000;
        TRY(store_open(&w->options, &w->store));
        w->table = store_table_ref(w->store, TABLE);
        if (w->table)
                return ST_OK;
        TRY(commit_begin(w->store, &commit));
        Status st = commit_create_table(commit, TABLE, "memory", &w->table);
        if (!st)
                return commit_finish(commit, &w->last);
        commit_abort(commit);
        return st;
}

static void world_close(World *w)
{
        w->table = store_table_unref(w->table);
        status_ignore(store_close(take(w->store)));
}

static void world_new(World *w, uint64_t keep_bytes)
{
        *w = (World){.seed = 3, .options = {.log_keep_bytes = keep_bytes}};
        OK(sim_new(1, &w->sim));
        OK(world_try_open(w));
}

static void world_done(World *w)
{
        world_close(w);
        sim_free(w->sim);
}

static Status change(World *w, Commit *commit, int key)
{
        static _Thread_local uint8_t now[VALUE_MAX], then[VALUE_MAX];
        uint8_t name = (uint8_t)key;
        int32_t version = rnd(w, 4) == 0 ? 0 : ++w->next_version;
        Bytes old = w->versions[key] ? value_of(key, w->versions[key], then) : BYTES_NONE;
        if (version)
                TRY(commit_put_row(commit, w->table, BYTES(&name, 1), value_of(key, version, now), old));
        else if (old.data)
                TRY(commit_delete_row(commit, w->table, BYTES(&name, 1), old));
        w->versions[key] = version;
        return ST_OK;
}

/* One commit of some rows, one of them perhaps twice. */
static Status write_some(World *w)
{
        int32_t before[KEYS];
        Commit *commit;
        Status st;
        memcpy(before, w->versions, sizeof(before));
        TRY(commit_begin(w->store, &commit));
        st = commit_lock(commit, w->table);
        for (uint64_t n = 1 + rnd(w, 4); n > 0 && !st; n--)
                st = change(w, commit, (int)rnd(w, KEYS));
        if (st)
                commit_abort(commit);
        else
                st = commit_finish(commit, &w->last);
        if (st)
                memcpy(w->versions, before, sizeof(before));
        return st;
}

static void expect_model(World *w, TailFollower *follower)
{
        static _Thread_local uint8_t now[VALUE_MAX];
        for (int key = 0; key < KEYS; key++) {
                uint8_t name = (uint8_t)key;
                Bytes row = tail_follower_row(follower, TABLE, BYTES(&name, 1));
                assert_int_equal(row.data != NULL, w->versions[key] != 0);
                if (row.data)
                        assert_true(bytes_equal(row, value_of(key, w->versions[key], now)));
        }
}

static void test_record_old(void **state)
{
        World w = {.seed = 11};
        Arena hold;
        arena_init(&hold, 0);
        for (int i = 0; i < 20000; i++) {
                uint8_t a[64], b[64], out[256];
                size_t a_size = rnd(&w, 40), b_size = rnd(&w, 40), offset = 0;
                for (size_t k = 0; k < sizeof(a); k++) {
                        a[k] = (uint8_t)rnd(&w, 2);
                        b[k] = rnd(&w, 10) ? a[k] : 7;
                }
                bool deletes = rnd(&w, 5) == 0, had = deletes || rnd(&w, 5) > 0, known, found;
                size_t shift = rnd(&w, 3) * 8;
                Record record = {.kind = deletes ? RECORD_DELETE : RECORD_PUT,
                                 .table_id = 9,
                                 .key = BYTES("key", 3),
                                 .value = deletes ? BYTES_NONE : BYTES(a, a_size)},
                       again;
                Bytes old = had ? BYTES(b + shift, b_size) : BYTES_NONE, got;
                record_set_old(&record, old);
                assert_true(record_bytes(&record) <= sizeof(out));
                record_fill(out, &record);
                OK(record_next(BYTES(out, record_bytes(&record)), &offset, &again, &found));
                assert_true(found && offset == record_bytes(&record) && again.kind == record.kind);
                assert_true(bytes_equal(again.value, record.value) && bytes_equal(again.key, record.key));
                OK(record_old(&again, &hold, &got, &known));
                assert_true(known && (got.data != NULL) == had && got.size == old.size);
                assert_true(got.size == 0 || memcmp(got.data, old.data, got.size) == 0);
                for (size_t cut = 1; cut < record_bytes(&record); cut++) { /* never read beyond the end */
                        uint8_t *part = malloc(cut);
                        memcpy(part, out, cut);
                        offset = 0;
                        status_ignore(record_next(BYTES(part, cut), &offset, &again, &found));
                        free(part);
                        cut += rnd(&w, 20);
                }
                arena_reset(&hold);
        }
        arena_done(&hold);
}

/* From memory, from files, across rotations, checkpoints and restarts. */
static void test_follow(void **state)
{
        World w;
        TailFollower near = {0}, far = {0};
        world_new(&w, 1 << 30);
        tail_follower_open(&near, w.store, 0);
        tail_follower_open(&far, w.store, 0);
        for (int i = 1; i <= 1500; i++) {
                OK(write_some(&w));
                if (rnd(&w, 3) == 0)
                        OK(rnd(&w, 2) ? tail_step(w.store) : store_step(w.store));
                uint64_t written = tail_written_position(w.store);
                assert_true(store_durable(w.store) <= written && written <= w.last);
                OK(follow(&near));
                assert_int_equal(tail_position(near.reader), written);
                if (i % 90 == 0)
                        OK(store_checkpoint(w.store));
                if (i % 400 == 0) {
                        uint64_t at = tail_position(near.reader), back = tail_position(far.reader);
                        tail_follower_close(&near);
                        tail_follower_close(&far);
                        world_close(&w);
                        OK(world_try_open(&w));
                        tail_follower_open(&near, w.store, at);
                        tail_follower_open(&far, w.store, back);
                } else if (i % 250 == 0) {
                        OK(follow(&far));
                }
        }
        OK(store_step(w.store));
        OK(follow(&near));
        OK(follow(&far));
        expect_model(&w, &near);
        expect_model(&w, &far);
        assert_int_equal(near.commits, w.last);
        assert_int_equal(far.commits, w.last);
        assert_int_equal(near.known, near.changes);
        assert_true(near.olds > 1000);
        tail_follower_done(&near);
        tail_follower_done(&far);
        world_done(&w);
}

/* A reader that keeps up reads no files. */
static void test_memory(void **state)
{
        World w;
        TailFollower follower = {0};
        world_new(&w, 1 << 20);
        OK(store_step(w.store));
        tail_follower_open(&follower, w.store, 0);
        OK(follow(&follower));
        for (int i = 0; i < 500; i++) {
                OK(write_some(&w));
                OK(store_step(w.store));
                sim_fail_nth(w.sim, 1, SIM_FAIL_ONCE);
                OK(follow(&follower));
                assert_false(sim_fired(w.sim));
                sim_heal(w.sim);
        }
        assert_int_equal(tail_position(follower.reader), w.last);
        tail_follower_done(&follower);
        world_done(&w);
}

static void test_retention(void **state)
{
        World w;
        StoreStats stats;
        TailReader *reader, *slow;
        TailCommit commit;
        bool found;
        world_new(&w, 20000);
        OK(tail_open(w.store, 0, &slow));
        for (int i = 0; i < 600; i++) {
                OK(write_some(&w));
                if (i % 50 == 0)
                        OK(store_checkpoint(w.store));
        }
        OK(store_checkpoint(w.store));
        store_stats(w.store, &stats);
        assert_int_equal(stats.log_reach, tail_reach(w.store));
        assert_true(stats.log_kept_bytes >= 20000 && stats.log_kept_bytes < 20000 + 2 * 12000);
        assert_true(tail_reach(w.store) > 0 && tail_reach(w.store) < w.last);
        FAILS(ERR_NOT_FOUND, tail_open(w.store, tail_reach(w.store) - 1, &reader));
        FAILS(ERR_NOT_FOUND, tail_next(slow, &commit, &found));
        assert_int_equal(tail_position(slow), 0);
        tail_close(slow);
        OK(tail_open(w.store, tail_reach(w.store), &reader));
        OK(tail_next(reader, &commit, &found));
        assert_true(found);

        /* By time, but not what the open reader has still to read. */
        tail_close(reader);
        world_close(&w);
        w.options.log_keep_bytes = 1 << 30;
        w.options.log_keep_ms = 1000;
        OK(world_try_open(&w));
        uint64_t reach = tail_reach(w.store);
        OK(tail_open(w.store, reach, &reader));
        sim_advance_ns(w.sim, INT64_C(5000000000));
        OK(write_some(&w));
        OK(store_checkpoint(w.store));
        sim_advance_ns(w.sim, INT64_C(5000000000));
        OK(write_some(&w));
        OK(store_checkpoint(w.store));
        assert_int_equal(tail_reach(w.store), reach);
        for (uint64_t position = reach + 1; position <= w.last; position++) {
                OK(tail_next(reader, &commit, &found));
                assert_true(found && commit.position == position);
        }
        OK(write_some(&w));
        sim_advance_ns(w.sim, INT64_C(5000000000));
        OK(store_checkpoint(w.store));
        OK(write_some(&w));
        OK(store_checkpoint(w.store));
        assert_true(tail_reach(w.store) > reach);
        OK(tail_next(reader, &commit, &found));
        assert_true(found);
        tail_close(reader);
        world_done(&w);
}

/* A failed sync: what was seen stays what it is, and comes again after what was written anew. */
static void test_failed_sync(void **state)
{
        for (long n = 1; n < 60; n++) {
                World w;
                TailFollower follower = {0};
                world_new(&w, 1 << 30);
                tail_follower_open(&follower, w.store, 0);
                for (int i = 0; i < 120; i++) {
                        status_ignore(write_some(&w));
                        if (i == 40)
                                sim_fail_nth(w.sim, n, n % 2 ? SIM_FAIL_ONCE : SIM_FAIL_NO_SPACE);
                        status_ignore(i % 3 ? tail_step(w.store) : store_step(w.store));
                        Status st = follow(&follower); /* a reader's own call may be the one that fails */
                        status_ignore(st);
                        if (i % 30 == 29)
                                status_ignore(store_checkpoint(w.store));
                }
                sim_heal(w.sim);
                OK(store_step(w.store));
                OK(follow(&follower));
                assert_int_equal(follower.commits, w.last);
                expect_model(&w, &follower);
                tail_follower_done(&follower);
                world_done(&w);
        }
}

typedef struct Token {
        uint64_t id, position;
} Token;

/* Is what the token's holder has seen the beginning of what there is now? */
static bool token_holds(Store *store, Token token)
{
        uint64_t last;
        return store_incarnation_of(store, token.id, &last) && token.position <= last;
}

/* The power goes at the nth call. Tokens of what survived hold, tokens of what was lost do not, and nobody takes the
 * commits that got their positions later for them. */
static void test_power(void **state)
{
        for (long n = 1; n < 150; n += 1) {
                static const SimCrash how[] = {SIM_DROP, SIM_TEAR, SIM_KEEP};
                World w;
                TailFollower follower = {0};
                world_new(&w, 1 << 30);
                w.seed += (uint64_t)n;
                OK(store_step(w.store));
                tail_follower_open(&follower, w.store, 0);
                OK(follow(&follower));
                sim_fail_nth(w.sim, n, SIM_FAIL_POWER);
                for (int i = 0; i < 100 && !sim_fired(w.sim); i++) {
                        status_ignore(write_some(&w));
                        status_ignore(rnd(&w, 3) ? tail_step(w.store) : store_step(w.store));
                        status_ignore(follow(&follower));
                        if (i % 40 == 39)
                                status_ignore(store_checkpoint(w.store));
                }
                Token token = {.position = tail_position(follower.reader)};
                token.id = store_incarnation(w.store, token.position);
                assert_true(token.id != 0);
                uint64_t durable = store_durable(w.store);
                tail_follower_close(&follower);
                world_close(&w);
                sim_crash(w.sim, how[n % 3]);
                OK(world_try_open(&w));
                StoreStats stats;
                store_stats(w.store, &stats);
                assert_true(stats.last_position >= durable);
                bool survived = token.position <= stats.last_position;
                assert_true(survived || how[n % 3] != SIM_KEEP);
                assert_int_equal(token_holds(w.store, token), survived);
                memset(w.versions, 0, sizeof(w.versions)); /* the model of what was lost is of no use: other rows */
                w.next_version = 1000000;
                for (int restart = 0; restart < 3; restart++) {
                        Commit *commit;
                        for (int i = 0; i < 60; i++) {
                                uint8_t name = (uint8_t)(100 + i);
                                OK(commit_begin(w.store, &commit));
                                OK(commit_lock(commit, w.table));
                                OK(commit_put(commit, w.table, BYTES(&name, 1), BYTES(&name, 1)));
                                OK(commit_finish(commit, &w.last));
                        }
                        assert_true(w.last > token.position);
                        assert_int_equal(token_holds(w.store, token), survived);
                        OK(store_step(w.store));
                        Token mine = {store_incarnation(w.store, w.last), w.last};
                        assert_true(mine.id != token.id && token_holds(w.store, mine));
                        if (survived) {
                                tail_follower_open(&follower, w.store, token.position);
                                OK(follow(&follower));
                                token.position = tail_position(follower.reader);
                                token.id = store_incarnation(w.store, token.position);
                                assert_int_equal(token.position, w.last);
                                tail_follower_close(&follower);
                        }
                        world_close(&w);
                        OK(world_try_open(&w));
                        assert_true(token_holds(w.store, mine));
                }
                tail_follower_done(&follower);
                world_done(&w);
        }
}

/* Ones that write nothing leave no trace, and do no harm. */
static void test_incarnations(void **state)
{
        World w;
        uint64_t last, id;
        enum { RUNS = WAL_RUNS_MAX + 12 };
        Token tokens[RUNS];
        world_new(&w, 1 << 30);
        for (int i = 0; i < RUNS; i++) {
                uint64_t before = w.last;
                while (w.last == before) /* a commit may change nothing */
                        OK(write_some(&w));
                OK(store_step(w.store));
                id = store_incarnation(w.store, w.last);
                assert_int_equal(store_incarnation(w.store, w.last + 1), id);
                assert_true(store_incarnation_of(w.store, id, &last) && last == UINT64_MAX);
                tokens[i] = (Token){id, w.last};
                for (int idle = 0; idle < i % 3; idle++) {
                        world_close(&w);
                        OK(world_try_open(&w));
                }
                world_close(&w);
                OK(world_try_open(&w));
                assert_int_equal(store_incarnation(w.store, w.last), id);
                assert_true(store_incarnation(w.store, w.last + 1) != id);
                assert_true(store_incarnation_of(w.store, id, &last) && last == w.last);
        }
        for (int i = 0; i < RUNS; i++)
                assert_int_equal(token_holds(w.store, tokens[i]), i >= RUNS - WAL_RUNS_MAX + 1);
        assert_false(store_incarnation_of(w.store, 12345, &last));
        world_done(&w);
}

/* --- threads --- */

enum { RACE_READERS = 3 };

typedef struct Race {
        World w;
        Mutex mu;
        Cond cond;
        uint64_t signals; /* GUARDED_BY(mu) */
        atomic_bool end;
        atomic_uint reader_count;
        atomic_uint_fast64_t read[RACE_READERS]; /* how far each is */
} Race;

static void race_changed(void *ctx)
{
        Race *race = ctx;
        mutex_lock(&race->mu);
        race->signals++;
        cond_broadcast(&race->cond);
        mutex_unlock(&race->mu);
}

/* Waits for the watch alone: a commit that is not told of would be waited for for ever. */
static void race_reader(void *ctx) NO_TSA
{
        Race *race = ctx;
        TailFollower follower = {0};
        uint64_t seen = 0;
        unsigned me = atomic_fetch_add(&race->reader_count, 1);
        tail_follower_open(&follower, race->w.store, 0);
        for (;;) {
                bool end = atomic_load(&race->end);
                uint64_t last = end ? tail_written_position(race->w.store) : 0;
                OK(follow(&follower));
                atomic_store(&race->read[me], tail_position(follower.reader));
                if (end && tail_position(follower.reader) >= last)
                        break;
                mutex_lock(&race->mu);
                while (race->signals == seen && !atomic_load(&race->end))
                        cond_wait(&race->cond, &race->mu);
                seen = race->signals;
                mutex_unlock(&race->mu);
        }
        assert_int_equal(follower.commits, race->w.last);
        expect_model(&race->w, &follower);
        tail_follower_done(&follower);
}

/* Opens and closes, sometimes from where the files must be read. */
static void race_visitor(void *ctx)
{
        Race *race = ctx;
        uint64_t seed = 5;
        while (!atomic_load(&race->end)) {
                TailReader *reader;
                TailCommit commit;
                bool found = true;
                uint64_t reach = tail_reach(race->w.store), written = tail_written_position(race->w.store);
                seed = seed * 6364136223846793005u + 1;
                uint64_t at = reach + (written > reach ? (seed >> 33) % (written - reach) : 0);
                Status st = tail_open(race->w.store, at, &reader);
                if (!st) {
                        for (int i = 0; i < 20 && found && !st; i++) {
                                st = tail_next(reader, &commit, &found);
                                assert_true(st || !found || commit.position == at + 1 + (uint64_t)i);
                        }
                        tail_close(reader);
                }
                assert_true(!st || status_code(st) == ERR_NOT_FOUND); /* cut off meanwhile */
                status_ignore(st);
        }
}

static void test_threads(void **state)
{
        static Race race;
        Thread readers[RACE_READERS], visitor;
        TailWatch *watch;
        StoreStats stats;
        race = (Race){.w = {.seed = 9}};
        mutex_init(&race.mu);
        cond_init(&race.cond);
        OK(sim_new(1, &race.w.sim));
        race.w.options = (StoreOptions){
                .background = true, .log_keep_bytes = 150000, .log_budget_bytes = 60000, .log_segment_bytes = 20000};
        OK(world_try_open(&race.w));
        OK(tail_watch(race.w.store, race_changed, &race, &watch));
        for (size_t i = 0; i < ELEMENTS(readers); i++)
                OK(thread_start(&readers[i], "reader", race_reader, &race));
        OK(thread_start(&visitor, "visitor", race_visitor, &race));
        for (int i = 0; i < 3000; i++) {
                OK(write_some(&race.w));
                if (i % 50 == 0)
                        OK(store_sync(race.w.store, race.w.last));
                /* Not further ahead than is kept for readers. */
                for (size_t k = 0; i % 10 == 0 && k < RACE_READERS; k++)
                        while (atomic_load(&race.read[k]) < race.w.last)
                                usleep(100);
        }
        OK(store_sync(race.w.store, race.w.last));
        atomic_store(&race.end, true);
        race_changed(&race);
        for (size_t i = 0; i < ELEMENTS(readers); i++)
                thread_join(&readers[i]);
        thread_join(&visitor);
        tail_unwatch(watch);
        store_stats(race.w.store, &stats);
        assert_int_equal(stats.log_reader_count, 0);
        assert_int_equal(stats.log_recent_bytes, 0);
        world_done(&race.w);
        cond_done(&race.cond);
        mutex_done(&race.mu);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_record_old),   cmocka_unit_test(test_follow),      cmocka_unit_test(test_memory),
                cmocka_unit_test(test_retention),    cmocka_unit_test(test_failed_sync), cmocka_unit_test(test_power),
                cmocka_unit_test(test_incarnations), cmocka_unit_test(test_threads),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
