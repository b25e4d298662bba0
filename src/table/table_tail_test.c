/* table_tail_test.c - the log says of every row what it was before, whoever changed it: the tables' own writing, write
 * hooks, expiry, transactions. */
#include "table/table_test.h"

#include "table/transaction.h"

enum { IDS = 30 };

static uint64_t rnd_state = 77;
static uint64_t rnd(uint64_t n)
{
        rnd_state = rnd_state * 6364136223846793005u + 1442695040888963407u;
        return (rnd_state >> 33) % n;
}

static Value some_row(World *w, uint64_t id)
{
        char text[200];
        snprintf(text, sizeof text, "{\"id\": %d, \"a\": %d, \"text\": \"%.*s\"}", (int)id, (int)rnd(5), (int)rnd(40),
                 "the same words in every version of this row");
        return json(w, text);
}

/* Many rows in a write, the same one among them more than once, computed ahead or under the lock. */
static void write_some(World *w, TableRef *table)
{
        Value keys[8], rows[8];
        RowOutcome outcomes[8];
        uint64_t position = 0, n = 1 + rnd(8);
        WriteOptions options = {.want_rows = rnd(2), .quick = rnd(2)};
        memset(outcomes, 0, sizeof outcomes);
        for (uint64_t i = 0; i < n; i++) {
                uint64_t id = rnd(IDS);
                keys[i] = value_number((double)id);
                rows[i] = rnd(3) ? some_row(w, id) : value_null();
        }
        ok(w->source->write(table, keys, n, test_set, rows, &options, &w->arena, outcomes, &position));
}

static Status decode_rows(World *w, TailFollower *follower, TableRef *table)
{
        size_t cursor = 0;
        Bytes key;
        void *found;
        uint64_t id = store_table_id(table->store), rows = 0;
        while (map_next(follower->rows, &cursor, &key, &found)) {
                const FollowedRow *row = found;
                if (load_u64(key.data) != id)
                        continue;
                Value followed = value_decode(row->data);
                Value now = get(w, table, value_get(followed, BYTES_STR("id")));
                assert_true(value_equal(followed, now));
                rows++;
        }
        assert_int_equal(rows, count(w, table));
        return ST_OK;
}

static void test_writes(void **state)
{
        World w;
        TailFollower follower = {0};
        world_init(&w, 1);
        world_open(&w);
        make_table(&w, "test", "t");
        TableRef *table = find(&w, "test", "t");
        for (int i = 0; i < 300; i++) {
                write_some(&w, table);
                arena_reset(&w.arena);
        }
        ok(store_step(w.store));
        tail_follower_open(&follower, w.store, 0);
        ok(follow(&follower));
        ok(decode_rows(&w, &follower, table));
        assert_true(follower.olds > 300 && follower.known > follower.olds);
        tail_follower_done(&follower);
        w.source->table_unref(table);
        world_done(&w);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_writes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
