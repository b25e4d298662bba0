/* tail_test.h - a follower: what a reader of the log makes of it, for tests. Every row that the log says was there
 * before must be the one that the records before have left. */
#ifndef STORAGE_TAIL_TEST_H
#define STORAGE_TAIL_TEST_H

#include "base/check.h"

#include "base/map.h"
#include "base/mem.h"
#include "storage/record.h"
#include "storage/tail.h"

typedef struct FollowedRow {
        size_t size;
        uint8_t data[];
} FollowedRow;
typedef struct TailFollower {
        Map *rows; /* table's number and key -> FollowedRow */
        TailReader *reader;
        Arena hold;
        uint64_t unsaid_table; /* of this one the log need not say what was before */
        uint64_t commits;
        uint64_t changes, known, olds; /* records of rows; those that say what was before; those where it is a row */
        uint64_t unsaid;               /* those that do not although they ought to */
} TailFollower;

static inline void tail_follower_open(TailFollower *follower, Store *store, uint64_t after_position)
{
        if (!follower->rows) {
                OK(map_new(&follower->rows));
                arena_init(&follower->hold, 0);
        }
        OK(tail_open(store, after_position, &follower->reader));
}

static inline void tail_follower_close(TailFollower *follower) /* keeps what it knows */
{
        tail_close(take(follower->reader));
}

static inline void tail_follower_done(TailFollower *follower)
{
        size_t cursor = 0;
        Bytes key;
        void *row;
        tail_follower_close(follower);
        if (!follower->rows)
                return;
        while (map_next(follower->rows, &cursor, &key, &row))
                mem_free(row);
        follower->rows = map_free(follower->rows);
        arena_done(&follower->hold);
}

static inline Bytes tail_follower_key(TailFollower *follower, uint64_t table_id, Bytes key)
{
        uint8_t *whole = arena_alloc(&follower->hold, 8 + key.size);
        store_u64(whole, table_id);
        if (key.size)
                memcpy(whole + 8, key.data, key.size);
        return BYTES(whole, 8 + key.size);
}

/* data NULL: there is none. */
static inline Bytes tail_follower_row(TailFollower *follower, uint64_t table_id, Bytes key)
{
        const FollowedRow *row = map_get(follower->rows, tail_follower_key(follower, table_id, key));
        return row ? BYTES(row->data, row->size) : BYTES_NONE;
}

static inline void tail_follower_record(TailFollower *follower, const Record *record)
{
        Bytes old, now = tail_follower_row(follower, record->table_id, record->key);
        Bytes key = tail_follower_key(follower, record->table_id, record->key);
        void *before;
        bool known;
        if (record->tree != 0 || (record->kind != RECORD_PUT && record->kind != RECORD_DELETE))
                return; /* tables of these tests that are dropped do not come again under their number */
        OK(record_old(record, &follower->hold, &old, &known));
        follower->changes++;
        follower->known += known;
        follower->unsaid += !known && record->table_id != follower->unsaid_table;
        follower->olds += old.data != NULL;
        if (known) {
                assert_int_equal(old.data != NULL, now.data != NULL);
                assert_int_equal(old.size, now.size);
                if (old.size)
                        assert_memory_equal(old.data, now.data, old.size);
        }
        if (record->kind == RECORD_DELETE) {
                mem_free(map_remove(follower->rows, key));
                return;
        }
        FollowedRow *row = mem_alloc(sizeof(FollowedRow) + record->value.size);
        assert_non_null(row);
        row->size = record->value.size;
        if (record->value.size)
                memcpy(row->data, record->value.data, record->value.size);
        OK(map_put(follower->rows, key, row, &before));
        mem_free(before);
}

static inline void tail_follower_commit(TailFollower *follower, const TailCommit *commit)
{
        Record record = {0};
        bool found = true;
        follower->commits++;
        for (size_t offset = 0; found;) {
                OK(record_next(commit->body, &offset, &record, &found));
                if (found)
                        tail_follower_record(follower, &record);
                arena_reset(&follower->hold);
        }
}

/* All that is written. */
static inline Status follow(TailFollower *follower)
{
        TailCommit commit;
        bool found = true;
        for (;;) {
                uint64_t before = tail_position(follower->reader);
                TRY(tail_next(follower->reader, &commit, &found));
                if (!found)
                        return ST_OK;
                assert_int_equal(commit.position, before + 1);
                tail_follower_commit(follower, &commit);
        }
}

#endif
