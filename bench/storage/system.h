/* system.h - what bench/storage_bench.c measures: one ordered map of rows, with a body for each contender.
 *
 * Row i of a load has a key that ascends with i and looks random, as a hash or a UUID would (row_key); row i of random
 * inserts has a key without order (row_key_random). A contender that cannot do something leaves the function NULL.
 * Whatever fails ends the process with a message: a benchmark has no one to report to.
 * Threads: a Reader belongs to one thread; everything else is the main thread's. */
#ifndef BENCH_STORAGE_SYSTEM_H
#define BENCH_STORAGE_SYSTEM_H

#include <inttypes.h>
#include <stdio.h>

#include "base/bytes.h"

#define ROW_KEY_BYTES 8

typedef struct Settings {
        const char *dir;    /* exists, empty at first */
        const char *engine; /* of `store` */
        uint64_t rows;
        size_t value_bytes;
        size_t cache_bytes;
        uint64_t log_budget_bytes;
        int bloom_bits; /* of RocksDB; 0: none */
        bool compress;  /* RocksDB's default compression; false: none */
} Settings;

typedef struct Handle Handle;
typedef struct Reader Reader;

typedef struct System {
        const char *name;
        Handle *(*open)(const Settings *set);
        void (*close)(Handle *handle);
        /* Rows 0 .. set->rows - 1, ascending. Modes are the contender's own. */
        void (*load)(Handle *handle, const char *mode);
        /* One commit of these rows, soft. */
        void (*write)(Handle *handle, const uint8_t (*keys)[ROW_KEY_BYTES], const Bytes *values, unsigned count);
        /* Waits for work in the background (checkpoint, compaction) that reading should not have beside it. */
        void (*settle)(Handle *handle);

        Reader *(*reader_open)(Handle *handle);
        void (*reader_close)(Reader *reader);
        void (*reader_renew)(Reader *reader); /* a new snapshot */
        /* The words of the value are added to *sum. */
        bool (*get)(Reader *reader, const uint8_t *key, uint64_t *sum);
        uint64_t (*scan)(Reader *reader, uint64_t *sum); /* rows */
        uint64_t (*count)(Reader *reader, const uint8_t *low, const uint8_t *high);
        bool (*nth)(Reader *reader, uint64_t n, uint64_t *sum);

        /* --- the whole store only --- */
        /* Members of a JSON object, each with a comma in front. */
        void (*report)(Handle *handle, FILE *out);
        void (*checkpoint)(Handle *handle);
        void (*create_tables)(Handle *handle, uint64_t first, unsigned count);
} System;

extern const System system_tree, system_store, system_lmdb, system_rocksdb;

static inline uint64_t mix64(uint64_t x)
{
        x += 0x9e3779b97f4a7c15u;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
        return x ^ (x >> 31);
}

static inline void row_key(uint64_t i, uint64_t rows, uint8_t key[ROW_KEY_BYTES])
{
        uint64_t step = UINT64_MAX / rows;
        store_u64(key, __builtin_bswap64(i * step + mix64(i) % step));
}

static inline void row_key_random(uint64_t i, uint8_t key[ROW_KEY_BYTES])
{
        store_u64(key, mix64(i));
}

/* A piece of a pool of random letters: what neither a page nor a block finds repeated. */
Bytes row_value(uint64_t i, size_t bytes);

static inline void touch(Bytes value, uint64_t *sum)
{
        size_t i = 0;
        for (; i + 8 <= value.size; i += 8)
                *sum += load_u64(value.data + i);
        for (; i < value.size; i++)
                *sum += value.data[i];
}

void bench_die(const char *what, const char *why) __attribute__((noreturn));
void bench_must(Status st, const char *what);

#endif
