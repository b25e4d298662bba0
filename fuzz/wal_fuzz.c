/* wal_fuzz.c - any bytes as log segments and snapshot file: the store opens or says why not, never crashes, and what it
 * opened can be written to and opened again.
 *
 * Input: | mode | cut | bytes ... |.  mode bit 0: a snapshot file rather than log segments; bit 1: checksums are made
 * right, so that the fuzzer gets behind them, and a segment's bytes are its frames, behind a header that is made; bit
 * 2: two segments, the bytes split at cut/256, the second one's first position = cut % 8 + 1. */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "os/sim.h"
#include "storage/log/wal_int.h"
#include "storage/record.h"
#include "storage/snapshot_file.h"
#include "storage/tail.h"

#define REQUIRE(condition)                                                                                             \
        do {                                                                                                           \
                if (!(condition))                                                                                      \
                        abort();                                                                                       \
        } while (0)
#define REQUIRE_OK(expr)                                                                                               \
        do {                                                                                                           \
                Status st_ = (expr);                                                                                   \
                if (st_) {                                                                                             \
                        char text_[512];                                                                               \
                        fprintf(stderr, "%s: %s\n", #expr, status_text(st_, text_, sizeof(text_)));                    \
                        abort();                                                                                       \
                }                                                                                                      \
        } while (0)

static void write_file(OsDir *dir, const char *name, const void *data, size_t size)
{
        OsFile *file;
        REQUIRE_OK(os_file_open(dir, name, OS_WRITE | OS_CREATE | OS_TRUNCATE, &file));
        REQUIRE_OK(os_file_write_at(file, 0, data, size));
        os_file_close(file);
}

/* A header, and as many frames as the sizes in the bytes allow. */
static void write_repaired(OsDir *log, const char *name, const WalSegment *segment, uint8_t *data, size_t size)
{
        WalSegmentHeader header = {.magic = WAL_SEGMENT_MAGIC,
                                   .version = WAL_VERSION,
                                   .header_bytes = sizeof(header),
                                   .first_position = segment->first,
                                   .generation = segment->generation};
        OsFile *file;
        uint64_t position = segment->first;
        header.checksum = bytes_hash((uint8_t *)&header + 8, sizeof(header) - 8);
        for (size_t offset = 0; size - offset >= sizeof(WalFrameHeader);) {
                uint8_t *frame = data + offset;
                uint32_t body = load_u32(frame + 12) % 512;
                if (wal_frame_bytes(body) > size - offset)
                        break;
                store_u32(frame + 8, WAL_FRAME_MAGIC);
                store_u32(frame + 12, body);
                store_u64(frame + 16, position++);
                store_u32(frame + 36, frame[36] == 1 ? WAL_SEAL : WAL_COMMIT);
                store_u64(frame, bytes_hash(frame + 8, sizeof(WalFrameHeader) - 8 + body));
                offset += wal_frame_bytes(body);
        }
        REQUIRE_OK(os_file_open(log, name, OS_WRITE | OS_CREATE | OS_TRUNCATE, &file));
        REQUIRE_OK(os_file_write_at(file, 0, &header, sizeof(header)));
        REQUIRE_OK(os_file_write_at(file, sizeof(header), data, size));
        os_file_close(file);
}

static void write_segment(OsDir *log, bool repair, uint64_t first, uint64_t generation, uint8_t *data, size_t size)
{
        WalSegment segment = {.first = first, .generation = generation};
        char name[WAL_NAME_BYTES];
        wal_segment_name(&segment, name);
        if (repair)
                write_repaired(log, name, &segment, data, size);
        else
                write_file(log, name, data, size);
}

static void repair_snapshot(uint8_t *data, size_t size, uint64_t position)
{
        if (size < 64)
                return;
        store_u64(data + 8, 0x50414e53544f4850ull);
        store_u32(data + 16, SNAPSHOT_VERSION);
        store_u64(data + 24, position);
        store_u64(data + 32, data[32] % 8); /* where the log is needed from */
        store_u64(data, bytes_hash(data + 8, 56));
        uint64_t index = 0;
        for (size_t offset = 64; size - offset >= 48;) {
                uint8_t *block = data + offset;
                uint32_t body = load_u32(block + 16) % 512;
                body = (uint32_t)MIN((size_t)body, size - offset - 48);
                store_u32(block + 8, 0x4b4c4253u);
                store_u32(block + 12, block[12] % 4);
                store_u32(block + 16, body);
                store_u64(block + 24, index++);
                store_u64(block + 32, block[32] % 4);
                store_u64(block + 40, block[40]);
                store_u64(block, bytes_hash(block + 8, 40 + body));
                offset += 48 + body;
        }
}

/* All that the log has, by a reader: what is damaged is said. */
static void follow(Store *store)
{
        TailReader *reader;
        TailCommit commit;
        Arena hold;
        bool found = true;
        Status st = ST_OK;
        arena_init(&hold, 1 << 20);
        REQUIRE_OK(tail_open(store, tail_reach(store), &reader));
        while (!(st = tail_next(reader, &commit, &found)) && found) {
                Record record;
                Bytes old;
                bool more = true, known;
                for (size_t offset = 0; more && !st;) {
                        st = record_next(commit.body, &offset, &record, &more);
                        if (!st && more)
                                st = record_old(&record, &hold, &old, &known);
                        arena_reset(&hold);
                }
                status_free(st);
        }
        REQUIRE(!st || status_code(st) == ERR_CORRUPT);
        status_free(st);
        tail_close(reader);
        arena_done(&hold);
}

static void use_store(SimOs *sim)
{
        StoreOptions options = {
                .os = sim_os(sim), .path = "data", .memory_max_bytes = 64 << 20, .log_keep_bytes = 1 << 20};
        Store *store;
        StoreStats before, after;
        Status st = store_open(&options, &store);
        if (st) {
                StatusCode code = status_code(st);
                REQUIRE(code == ERR_CORRUPT || code == ERR_VERSION || code == ERR_UNSUPPORTED || code == ERR_LIMIT);
                status_free(st);
                return;
        }
        follow(store);
        store_stats(store, &before);
        if (before.last_position < UINT64_MAX / 2) {
                Commit *commit;
                StoreTable *table;
                uint64_t position;
                REQUIRE_OK(commit_begin(store, &commit));
                REQUIRE_OK(commit_create_table(commit, UINT64_MAX - 1, "memory", &table));
                REQUIRE_OK(commit_put(commit, table, BYTES("k", 1), BYTES("v", 1)));
                REQUIRE_OK(commit_finish(commit, &position));
                REQUIRE(position == before.last_position + 1);
                store_table_unref(table);
                store_stats(store, &before);
        }
        REQUIRE_OK(store_close(store));
        REQUIRE_OK(store_open(&options, &store));
        store_stats(store, &after);
        REQUIRE(after.last_position == before.last_position);
        REQUIRE(after.engines.row_count == before.engines.row_count);
        REQUIRE_OK(store_close(store));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        SimOs *sim;
        OsDir *dir, *log;
        char name[WAL_NAME_BYTES];
        if (size < 2 || size > 65536)
                return 0;
        uint8_t mode = data[0], cut = data[1];
        size -= 2;
        uint8_t *bytes = malloc(size + 1);
        REQUIRE(bytes);
        memcpy(bytes, data + 2, size);
        REQUIRE_OK(sim_new(1, &sim));
        REQUIRE_OK(os_dir_open(sim_os(sim), "data", OS_DIR_CREATE, &dir));
        REQUIRE_OK(os_dir_open_sub(dir, "log", OS_DIR_CREATE, &log));
        snprintf(name, sizeof(name), "photondb %d\n", STORE_FORMAT_VERSION);
        write_file(dir, "VERSION", name, strlen(name));
        if (mode & 1) {
                if (mode & 2)
                        repair_snapshot(bytes, size, 7);
                snapshot_file_name(7, name);
                write_file(dir, name, bytes, size);
        } else {
                size_t split = mode & 4 ? size * cut / 256 : size;
                write_segment(log, mode & 2, 1, 1, bytes, split);
                if (mode & 4)
                        write_segment(log, mode & 2, cut % 8 + 1u, 2, bytes + split, size - split);
        }
        os_dir_close(log);
        os_dir_close(dir);
        use_store(sim);
        sim_free(sim);
        free(bytes);
        return 0;
}
