/* offline_test.c - store_check against directories that are whole, damaged, torn by a power loss, and not there. Every
 * engine that this binary has takes part. A flipped bit is found with file and offset, or else a store opens with it
 * and holds exactly what it held. OFFLINE_SEED in the environment moves the places of the flips, OFFLINE_FLIPS is how
 * many in each file (0: every byte). */
#include "base/check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "os/sim.h"
#include "storage/log/wal.h"
#include "storage/record.h"
#include "storage/store.h"

enum { ROWS = 150, MAX_FILES = 64, TEXT = 2000, MAX_VALUE = 20000 };

/* --- what a check says --- */

typedef struct Heard {
        uint64_t problems, rows, changes, deletions, cleared, entries, damaged, tables;
        uint64_t table_ids[64];
        uint64_t done, total;
        char first[TEXT], last[TEXT];
        uint64_t bad_table;       /* rows of this one are called wrong */
        Status (*answer)(void *); /* to a problem; NULL: go on */
} Heard;

static Status hear_problem(void *ctx, const char *text)
{
        Heard *heard = ctx;
        snprintf(heard->problems ? heard->last : heard->first, TEXT, "%s", text);
        heard->problems++;
        return heard->answer ? heard->answer(ctx) : ST_OK;
}

static const char *hear_row(void *ctx, uint64_t table_id, uint32_t tree, Bytes key, Bytes value, bool after)
{
        Heard *heard = ctx;
        heard->rows += !after && tree == 0;
        heard->changes += after && tree == 0;
        heard->deletions += !value.data && tree == 0;
        heard->cleared += !key.data;
        heard->entries += tree == 9;
        assert_true(key.data ? key.size > 0 && (value.data || after) : after && tree > 0 && !value.data);
        return table_id == heard->bad_table && tree == 0 ? "it is a bad row" : NULL;
}

static void hear_damaged(void *ctx, uint64_t table_id)
{
        ((Heard *)ctx)->damaged = table_id;
}

static Status hear_table(void *ctx, uint64_t table_id, const char *engine)
{
        Heard *heard = ctx;
        assert_non_null(engine_find(engine));
        assert_true(heard->tables == 0 || heard->table_ids[heard->tables - 1] < table_id);
        heard->table_ids[heard->tables++] = table_id;
        return ST_OK;
}

static Status hear_progress(void *ctx, const char *what, uint64_t done, uint64_t total)
{
        Heard *heard = ctx;
        assert_true(*what && done >= heard->done && done <= total);
        heard->done = done;
        heard->total = total;
        return ST_OK;
}

static Status run_check(SimOs *sim, Heard *heard, StoreCheckResult *result)
{
        StoreCheck check = {.os = sim_os(sim),
                            .path = "data",
                            .progress = {.ctx = heard, .report = hear_progress},
                            .ctx = heard,
                            .problem = hear_problem,
                            .row = hear_row,
                            .damaged = hear_damaged,
                            .table = hear_table};
        *result = (StoreCheckResult){0};
        return store_check(&check, result);
}

static void check_whole(SimOs *sim, Heard *heard, StoreCheckResult *result)
{
        *heard = (Heard){0};
        OK(run_check(sim, heard, result));
        if (heard->problems)
                fail_msg("%" PRIu64 " problems, the first: %s", heard->problems, heard->first);
        assert_int_equal(result->problem_count, 0);
}

/* --- a store: three tables of every engine, changed before and after a checkpoint --- */

static const char *engine_name(size_t i)
{
        return engine_at(i)->name;
}

static size_t engine_count(void)
{
        size_t n = 0;
        while (engine_at(n))
                n++;
        return n;
}

static Status open_store(SimOs *sim, Store **ret_store)
{
        StoreOptions options = {
                .os = sim_os(sim), .path = "data", .log_segment_bytes = 16000, .log_tail_max_bytes = 1 << 20};
        return store_open(&options, ret_store);
}

static Bytes value_of(int i, int round)
{
        static uint8_t data[MAX_VALUE];
        size_t size = i % 29 == 7 ? MAX_VALUE - (size_t)i : (size_t)(i * 37 % 300) + 1;
        for (size_t k = 0; k < size; k++)
                data[k] = (uint8_t)((size_t)round + (size_t)i + k * 7 % 61);
        return BYTES(data, size);
}

static Status write_rows(Store *store, uint64_t id, int first, int count, int round)
{
        for (int i = first; i < first + count; i += 10) {
                Commit *commit;
                uint64_t position;
                bool found;
                Status st;
                StoreTable *table = store_table_ref(store, id);
                if (!table)
                        return status_new(ERR_NOT_FOUND, "table %" PRIu64, id);
                st = commit_begin(store, &commit);
                if (st) {
                        store_table_unref(table);
                        return st;
                }
                st = commit_lock(commit, table);
                /* Tree 9 has entries of the last round alone: it is emptied by the second. */
                if (!st && round > 1 && i == first)
                        st = commit_tree_clear(commit, table, 9);
                for (int k = i; k < i + 10 && !st; k++) {
                        char key[32];
                        st = commit_tree_put(commit, table, 9, BYTES(&k, sizeof(k)), BYTES(&round, sizeof(round)));
                        if (st)
                                break;
                        snprintf(key, sizeof(key), "key-%06d", k * 7919 % 1000);
                        st = k % 11 == 3 && round > 1 ? commit_delete(commit, table, BYTES_STR(key), &found)
                                                      : commit_put(commit, table, BYTES_STR(key), value_of(k, round));
                }
                store_table_unref(table);
                if (st) {
                        commit_abort(commit);
                        return st;
                }
                TRY(commit_finish(commit, &position));
                TRY(store_sync(store, position));
        }
        return ST_OK;
}

static Status create_table(Store *store, uint64_t id, const char *engine)
{
        Commit *commit;
        StoreTable *table;
        uint64_t position;
        TRY(commit_begin(store, &commit));
        Status st = commit_create_table(commit, id, engine, &table);
        if (st) {
                commit_abort(commit);
                return st;
        }
        store_table_unref(table);
        return commit_finish(commit, &position);
}

static Status drop_table(Store *store, uint64_t id)
{
        Commit *commit;
        uint64_t position;
        StoreTable *table = store_table_ref(store, id);
        if (!table)
                return status_new(ERR_NOT_FOUND, "table %" PRIu64, id);
        Status st = commit_begin(store, &commit);
        if (!st) {
                st = commit_lock(commit, table);
                if (!st)
                        st = commit_drop_table(commit, table);
                if (st)
                        commit_abort(commit);
                else
                        st = commit_finish(commit, &position);
        }
        store_table_unref(table);
        return st;
}

/* Engine i has the tables 10 i + 1 (stays), + 2 (dropped before the checkpoint), + 3 (dropped behind it), + 4 (made
 * behind it), + 5 (empty). Goes on after errors; returns the first. */
static Status workload(Store *store)
{
        Status first = ST_OK;
#define STEP(expr)                                                                                                     \
        do {                                                                                                           \
                Status step_ = (expr);                                                                                 \
                if (first)                                                                                             \
                        status_ignore(step_);                                                                          \
                else                                                                                                   \
                        first = step_;                                                                                 \
        } while (0)
        for (size_t e = 0; e < engine_count(); e++) {
                for (uint64_t t = 1; t <= 5; t++)
                        if (t != 4)
                                STEP(create_table(store, 10 * e + t, engine_name(e)));
                STEP(write_rows(store, 10 * e + 1, 0, ROWS, 1));
                STEP(write_rows(store, 10 * e + 2, 0, 20, 1));
                STEP(write_rows(store, 10 * e + 3, 0, 20, 1));
                STEP(drop_table(store, 10 * e + 2));
        }
        STEP(store_checkpoint(store));
        for (size_t e = 0; e < engine_count(); e++) {
                STEP(create_table(store, 10 * e + 4, engine_name(e)));
                STEP(write_rows(store, 10 * e + 1, 50, 60, 2));
                STEP(write_rows(store, 10 * e + 4, 0, 20, 2));
                STEP(drop_table(store, 10 * e + 3));
        }
        return first;
#undef STEP
}

typedef struct Digest {
        Store *store;
        uint64_t rows, hash;
} Digest;

static Status digest_rows(Digest *digest, Snapshot *snapshot, uint32_t tree, Arena *hold)
{
        Cursor *cursor;
        Bytes key, value;
        bool found = true;
        TRY(cursor_tree_open(snapshot, tree, (EngineRange){0}, false, &cursor));
        Status st = ST_OK;
        while (!st && found) {
                arena_reset(hold);
                st = cursor_next(cursor, hold, &key, &value, &found);
                if (!st && found) {
                        digest->hash = bytes_hash_seeded(key.data, key.size, digest->hash);
                        digest->hash = bytes_hash_seeded(value.data, value.size, digest->hash);
                        digest->rows += tree == 0;
                }
        }
        cursor_close(cursor);
        return st;
}

static Status digest_table(void *ctx, uint64_t id, const char *engine)
{
        Digest *digest = ctx;
        StoreTable *table = store_table_ref(digest->store, id);
        Snapshot *snapshot;
        Arena hold;
        digest->hash = bytes_hash_seeded(&id, sizeof(id), digest->hash);
        digest->hash = bytes_hash_seeded(engine, strlen(engine), digest->hash);
        Status st = store_pin(table, &snapshot);
        if (!st) {
                arena_init(&hold, 0);
                st = digest_rows(digest, snapshot, 0, &hold);
                if (!st)
                        st = digest_rows(digest, snapshot, 9, &hold);
                arena_done(&hold);
                store_unpin(snapshot);
        }
        store_table_unref(table);
        return st;
}

/* All that a store holds, as a number. */
static Status digest_store(Store *store, Digest *ret_digest)
{
        Digest digest = {.store = store, .hash = 1};
        TRY(store_each_table(store, digest_table, &digest));
        *ret_digest = digest;
        return ST_OK;
}

/* Closed: a checkpoint holds everything. Killed: the log has what came behind the last one. */
typedef enum End { CLOSED, KILLED } End;

static void fill(SimOs *sim, End end, Digest *digest)
{
        Store *store;
        StoreStats stats;
        OK(open_store(sim, &store));
        OK(workload(store));
        OK(digest_store(store, digest));
        store_stats(store, &stats);
        OK(store_sync(store, stats.last_position));
        if (end == KILLED)
                sim_crash(sim, SIM_KEEP);
        Status st = store_close(store);
        if (end == CLOSED)
                OK(st);
        else
                status_ignore(st);
}

/* --- the disk as a list of files --- */

typedef struct Image {
        struct {
                char dir[32], name[128];
                Buf data;
        } files[MAX_FILES];
        size_t count;
        OsDir *dir; /* being read */
        const char *dir_name;
} Image;

static Status image_add(void *ctx, const char *name)
{
        Image *image = ctx;
        OsFile *file;
        Status st = os_file_open(image->dir, name, OS_READ, &file);
        if (status_code(st) == ERR_INVALID) { /* log/ */
                status_ignore(st);
                return ST_OK;
        }
        TRY(st);
        os_file_close(file);
        assert_true(image->count < MAX_FILES);
        snprintf(image->files[image->count].dir, 32, "%s", image->dir_name);
        snprintf(image->files[image->count].name, 128, "%s", name);
        buf_init(&image->files[image->count].data, 64 << 20);
        return os_read_whole(image->dir, name, 64 << 20, &image->files[image->count++].data);
}

static void image_take(SimOs *sim, Image *image)
{
        *image = (Image){0};
        const char *const dirs[] = {"data", "data/log"};
        for (size_t i = 0; i < ELEMENTS(dirs); i++) {
                image->dir_name = dirs[i];
                Status st = os_dir_open(sim_os(sim), dirs[i], OS_DIR_READ, &image->dir);
                if (!st)
                        st = os_dir_list(image->dir, image_add, image);
                OK(st);
                image->dir = os_dir_close(image->dir);
        }
}

static void image_done(Image *image)
{
        for (size_t i = 0; i < image->count; i++)
                buf_done(&image->files[i].data);
}

/* A machine with these files. */
static SimOs *image_give(const Image *image)
{
        SimOs *sim;
        OsDir *data, *log;
        OK(sim_new(3, &sim));
        OK(os_dir_open(sim_os(sim), "data", OS_DIR_CREATE, &data));
        OK(os_dir_open(sim_os(sim), "data/log", OS_DIR_CREATE, &log));
        for (size_t i = 0; i < image->count; i++)
                OK(os_write_whole(strcmp(image->files[i].dir, "data") == 0 ? data : log, image->files[i].name,
                                  image->files[i].data.data, image->files[i].data.size));
        os_dir_close(log);
        os_dir_close(data);
        return sim;
}

static bool images_equal(const Image *a, const Image *b)
{
        bool equal = a->count == b->count;
        for (size_t i = 0; equal && i < a->count; i++)
                equal = strcmp(a->files[i].name, b->files[i].name) == 0 &&
                        strcmp(a->files[i].dir, b->files[i].dir) == 0 &&
                        bytes_equal(BYTES(a->files[i].data.data, a->files[i].data.size),
                                    BYTES(b->files[i].data.data, b->files[i].data.size));
        return equal;
}

/* --- tests --- */

static void test_whole(void **state)
{
        SimOs *sim;
        Heard heard;
        StoreCheckResult result;
        Image before, after;
        Digest digest;
        OsDir *dir;
        for (End end = CLOSED; end <= KILLED; end++) {
                OK(sim_new(1, &sim));
                fill(sim, end, &digest);
                image_take(sim, &before);
                check_whole(sim, &heard, &result);
                assert_int_equal(result.table_count, 3 * engine_count());
                assert_int_equal(heard.tables, result.table_count);
                for (size_t e = 0; e < engine_count(); e++) {
                        assert_int_equal(heard.table_ids[3 * e], 10 * e + 1);
                        assert_int_equal(heard.table_ids[3 * e + 1], 10 * e + 4);
                        assert_int_equal(heard.table_ids[3 * e + 2], 10 * e + 5);
                }
                assert_int_equal(heard.rows, result.row_count);
                assert_int_equal(result.checkpoint_position + result.log_frame_count, result.last_position);
                assert_int_equal(result.closed_cleanly, end == CLOSED);
                assert_int_equal(result.torn_bytes, 0);
                assert_int_equal(heard.done, heard.total);
                if (end == KILLED) {
                        assert_int_equal(result.row_count, (ROWS + 20) * engine_count());
                        assert_int_equal(heard.changes,
                                         (60 + 18) * engine_count()); /* what deletes nothing is no change */
                        assert_true(heard.deletions > 0);
                        assert_int_equal(heard.cleared, 2 * engine_count());
                        assert_int_equal(heard.entries - heard.cleared, (ROWS + 20 + 60 + 20) * engine_count());
                        assert_int_equal(result.log_frame_count, (1 + 6 + 2 + 1) * engine_count());
                } else {
                        assert_int_equal(result.row_count, digest.rows);
                }
                /* Nothing was written; nor is a LOCK made where there is none. */
                image_take(sim, &after);
                assert_true(images_equal(&before, &after));
                image_done(&after);
                OK(os_dir_open(sim_os(sim), "data", OS_DIR_EXISTING, &dir));
                OK(os_dir_remove(dir, "LOCK"));
                check_whole(sim, &heard, &result);
                FAILS(ERR_NOT_FOUND, os_dir_remove(dir, "LOCK"));
                os_dir_close(dir);
                image_done(&before);
                sim_free(sim);
        }
}

static void test_refusals(void **state)
{
        SimOs *sim;
        Heard heard = {0};
        StoreCheckResult result;
        Store *store;
        OsDir *dir;
        Digest digest;
        OK(sim_new(1, &sim));
        FAILS(ERR_NOT_FOUND, run_check(sim, &heard, &result));
        OK(os_dir_open(sim_os(sim), "data", OS_DIR_CREATE, &dir));
        FAILS(ERR_NOT_FOUND, run_check(sim, &heard, &result));
        /* An empty store is whole, also before its first commit. */
        OK(open_store(sim, &store));
        Status st = run_check(sim, &heard, &result);
        assert_int_equal(status_code(st), ERR_BUSY);
        assert_non_null(strstr(status_hint_text(st), "photondb backup"));
        status_ignore(st);
        OK(store_close(store));
        check_whole(sim, &heard, &result);
        assert_int_equal(result.table_count, 0);
        fill(sim, CLOSED, &digest);
        OK(os_write_whole(dir, "VERSION", "photondb 1\n", 11));
        FAILS(ERR_VERSION, run_check(sim, &heard, &result));
        OK(os_write_whole(dir, "VERSION", "photondb\n", 9));
        OK(run_check(sim, &heard, &result));
        assert_int_equal(heard.problems, 1);
        assert_non_null(strstr(heard.first, "data/VERSION is damaged at offset 0"));
        OK(os_dir_remove(dir, "VERSION"));
        heard = (Heard){0};
        OK(run_check(sim, &heard, &result));
        assert_int_equal(heard.problems, 1);
        assert_string_equal(heard.first, "data/VERSION is missing");
        assert_true(heard.rows > 0);
        os_dir_close(dir);
        sim_free(sim);
}

/* What the rows' judge says is a problem, of the checkpoint and of the log. */
static void test_bad_rows(void **state)
{
        SimOs *sim;
        StoreCheckResult result;
        Digest digest;
        OK(sim_new(1, &sim));
        fill(sim, KILLED, &digest);
        Heard heard = {.bad_table = 1};
        OK(run_check(sim, &heard, &result));
        assert_int_equal(result.problem_count, ROWS + 60);
        assert_int_equal(heard.problems, result.problem_count);
        assert_int_equal(heard.damaged, 1);
        assert_string_equal(heard.first, "it is a bad row");
        assert_non_null(strstr(heard.last, "log file data/log/"));
        assert_non_null(strstr(heard.last, " at offset "));
        assert_non_null(strstr(heard.last, ": it is a bad row"));
        sim_free(sim);
}

static Status stop_now(void *ctx)
{
        return status_new(ERR_CANCELLED, "enough");
}

static void test_stop(void **state)
{
        SimOs *sim;
        StoreCheckResult result;
        Digest digest;
        OK(sim_new(1, &sim));
        fill(sim, KILLED, &digest);
        Heard heard = {.bad_table = 1, .answer = stop_now};
        FAILS(ERR_CANCELLED, run_check(sim, &heard, &result));
        assert_int_equal(heard.problems, 1);
        sim_free(sim);
}

static Status no_replay(void *ctx, const WalFrame *frame)
{
        return ST_OK;
}

/* Commits that say what cannot be. */
static void append_records(SimOs *sim, uint64_t after, const Record *records, size_t count)
{
        WalOptions options = {.segment_bytes = 1 << 20, .tail_max_bytes = 1 << 20, .soft_sync_ms = 1000};
        OsDir *log;
        Wal *wal;
        uint64_t position;
        OK(os_dir_open(sim_os(sim), "data/log", OS_DIR_EXISTING, &log));
        OK(wal_open(log, &options, after, &wal));
        OK(wal_replay(wal, after, no_replay, NULL));
        OK(wal_start(wal));
        for (size_t i = 0; i < count; i++) {
                uint8_t body[512];
                record_fill(body, &records[i]);
                OK(wal_append(wal, BYTES(body, record_bytes(&records[i])), &position));
        }
        OK(wal_append(wal, BYTES_STR("rubbish"), &position));
        OK(wal_close(wal));
        os_dir_close(log);
}

static void test_bad_records(void **state)
{
        const Record records[] = {
                {.kind = RECORD_PUT, .table_id = 999, .key = BYTES_STR("k"), .value = BYTES_STR("v")},
                {.kind = RECORD_CREATE, .table_id = 1, .key = BYTES_STR("memory")},
                {.kind = RECORD_CREATE, .table_id = 77, .key = BYTES_STR("stone")},
                {.kind = RECORD_DROP, .table_id = 2},
        };
        static const char *const said[] = {
                "it changes table 999, which is not there", "it creates table 1, which is there",
                "it creates table 77 with the storage engine \"stone\", which there is not",
                "it changes table 2, which is not there", "the commit has a record that is cut off"};
        SimOs *sim;
        Heard heard;
        StoreCheckResult result;
        Digest digest;
        for (size_t i = 0; i <= ELEMENTS(records); i++) {
                OK(sim_new(1, &sim));
                fill(sim, KILLED, &digest);
                check_whole(sim, &heard, &result);
                assert_false(result.closed_cleanly);
                append_records(sim, result.checkpoint_position, records + i, i < ELEMENTS(records));
                heard = (Heard){0};
                OK(run_check(sim, &heard, &result));
                assert_true(heard.problems == 1 || heard.problems == 2);
                assert_non_null(strstr(heard.first, "log file data/log/"));
                assert_non_null(strstr(heard.first, said[i]));
                sim_free(sim);
        }
}

/* Each file is taken away. */
static void test_missing_files(void **state)
{
        SimOs *sim;
        Image image;
        Heard heard;
        StoreCheckResult result;
        Digest digest, now;
        Store *store;
        for (End end = CLOSED; end <= KILLED; end++) {
                OK(sim_new(1, &sim));
                fill(sim, end, &digest);
                image_take(sim, &image);
                for (size_t i = 0; i < image.count; i++) {
                        OsDir *dir;
                        SimOs *copy = image_give(&image);
                        OK(os_dir_open(sim_os(copy), image.files[i].dir, OS_DIR_EXISTING, &dir));
                        OK(os_dir_remove(dir, image.files[i].name));
                        os_dir_close(dir);
                        heard = (Heard){0};
                        OK(run_check(copy, &heard, &result));
                        if (heard.problems == 0 && strcmp(image.files[i].name, "LOCK") == 0) {
                                OK(open_store(copy, &store));
                                OK(digest_store(store, &now));
                                assert_int_equal(now.hash, digest.hash);
                                OK(store_close(store));
                        } else if (heard.problems == 0) {
                                /* The newest file of the log, and the only one with data: nothing else speaks of them.
                                 */
                                bool log = strcmp(image.files[i].dir, "data/log") == 0;
                                assert_true(log || engine_count() == 1);
                                assert_true(log ? i + 1 == image.count : result.table_count == 0);
                        }
                        sim_free(copy);
                }
                image_done(&image);
                sim_free(sim);
        }
}

static uint64_t setting(const char *name, uint64_t fallback)
{
        const char *text = getenv(name);
        return text ? strtoull(text, NULL, 10) : fallback;
}

/* One flipped bit: told with the file's name and a place, or it means nothing. */
static void flip(const Image *image, size_t i, size_t offset, int bit, const Digest *digest)
{
        SimOs *sim;
        char path[256];
        Heard heard = {0};
        StoreCheckResult result;
        Store *store;
        Digest now = {0};
        snprintf(path, sizeof(path), "%s/%s", image->files[i].dir, image->files[i].name);
        sim = image_give(image);
        OK(sim_flip_bit(sim, path, offset, bit));
        Status st = run_check(sim, &heard, &result);
        if (st) {
                char text[TEXT];
                status_text(st, text, sizeof(text));
                if (status_code(st) != ERR_VERSION || !strstr(text, image->files[i].name))
                        fail_msg("%s, offset %zu, bit %d: %s", path, offset, bit, text);
                status_ignore(st);
        } else if (heard.problems) {
                if (!strstr(heard.first, image->files[i].name) || !strstr(heard.first, "offset"))
                        fail_msg("%s, offset %zu, bit %d: the first problem is \"%s\"", path, offset, bit, heard.first);
        } else {
                st = open_store(sim, &store);
                if (!st) {
                        st = digest_store(store, &now);
                        status_ignore(store_close(store));
                }
                if (st || now.hash != digest->hash || now.rows != digest->rows)
                        fail_msg("%s, offset %zu, bit %d: not found, and the store is another", path, offset, bit);
        }
        sim_free(sim);
}

static void flip_all(End end)
{
        SimOs *sim;
        Image image;
        Digest digest;
        uint64_t seed = setting("OFFLINE_SEED", 1), flips = setting("OFFLINE_FLIPS", 100);
        OK(sim_new(1, &sim));
        fill(sim, end, &digest);
        image_take(sim, &image);
        sim_free(sim);
        for (size_t i = 0; i < image.count; i++) {
                size_t size = image.files[i].data.size, step = flips ? MAX(size / flips, (size_t)1) : 1;
                /* After a crash nothing vouches for the last file of the log (log/README.md). */
                if (end == KILLED && i + 1 == image.count)
                        break;
                for (size_t offset = seed % step; offset < size; offset += step)
                        flip(&image, i, offset, (int)((seed + offset / step) % 8), &digest);
        }
        image_done(&image);
}

static void test_flipped_bits(void **state)
{
        flip_all(CLOSED);
        flip_all(KILLED);
}

/* The power goes at the nth call, for many n; what is left is whole, before and after it was opened again. */
static void test_power_loss(void **state)
{
        uint64_t seed = setting("OFFLINE_SEED", 1);
        static const SimCrash crashes[] = {SIM_DROP, SIM_TEAR, SIM_KEEP};
        int fired = 1;
        for (long n = 1 + (long)(seed % 7); fired; n += 7 + n / 40) {
                SimOs *sim;
                Store *store;
                Heard heard = {0};
                StoreCheckResult result;
                OK(sim_new(seed * 1000 + (uint64_t)n, &sim));
                sim_fail_nth(sim, n, SIM_FAIL_POWER);
                Status st = open_store(sim, &store);
                if (!st) {
                        st = workload(store);
                        status_ignore(store_close(store));
                }
                status_ignore(st);
                fired = sim_fired(sim);
                sim_crash(sim, crashes[n % 3]);
                st = run_check(sim, &heard, &result);
                if (status_code(st) == ERR_NOT_FOUND) /* it had not even begun */
                        status_ignore(st);
                else
                        OK(st);
                if (heard.problems)
                        fail_msg("power loss at call %ld: %s", n, heard.first);
                OK(open_store(sim, &store));
                OK(store_close(store));
                check_whole(sim, &heard, &result);
                assert_int_equal(result.log_frame_count, 0);
                /* A log file whose making was cut off stays until the log is next written. */
                assert_true(result.closed_cleanly || result.torn_bytes);
                sim_free(sim);
        }
}

/* The nth file call of the check fails: an error, or all is said; nothing is written. */
static void test_failing_reads(void **state)
{
        SimOs *sim;
        Heard heard;
        StoreCheckResult result, whole;
        Digest digest;
        Image before, after;
        OK(sim_new(1, &sim));
        fill(sim, KILLED, &digest);
        image_take(sim, &before);
        check_whole(sim, &heard, &whole);
        int fired = 1;
        for (long n = 1; fired; n++) {
                heard = (Heard){0};
                sim_fail_nth(sim, n, SIM_FAIL_ONCE);
                Status st = run_check(sim, &heard, &result);
                fired = sim_fired(sim);
                sim_heal(sim);
                assert_int_equal(heard.problems, 0);
                /* Only the adding up of sizes goes on without an answer. */
                assert_true(st ? fired : result.row_count == whole.row_count);
                status_ignore(st);
        }
        image_take(sim, &after);
        assert_true(images_equal(&before, &after));
        image_done(&before);
        image_done(&after);
        sim_free(sim);
}

static void test_failing_allocations(void **state)
{
        SimOs *sim;
        Heard heard;
        StoreCheckResult result;
        Digest digest;
        OK(sim_new(1, &sim));
        fill(sim, KILLED, &digest);
        int fired = 1;
        for (long n = 1; fired; n += 1 + n / 50) {
                heard = (Heard){0};
                mem_fail_nth(n);
                Status st = run_check(sim, &heard, &result);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                assert_int_equal(heard.problems, 0);
                /* Some can be done without. */
                assert_true(st ? fired && status_code(st) == ERR_NOMEM
                               : result.row_count == (ROWS + 20) * engine_count());
                status_ignore(st);
        }
        sim_free(sim);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_whole),         cmocka_unit_test(test_refusals),
                cmocka_unit_test(test_bad_rows),      cmocka_unit_test(test_stop),
                cmocka_unit_test(test_bad_records),   cmocka_unit_test(test_missing_files),
                cmocka_unit_test(test_flipped_bits),  cmocka_unit_test(test_power_loss),
                cmocka_unit_test(test_failing_reads), cmocka_unit_test(test_failing_allocations),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
