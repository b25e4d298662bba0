/* table_blocks_test.c - reading a table leaf by leaf and in parts, as whoever looks at all rows does: the rows are
 * those of a scan, whatever the bounds. */
#include "table/table_test.h"

enum { ROWS = 3000 };

static void setup(World *w, TableRef **ret_table)
{
        world_init(w, 17);
        world_open(w);
        make_table(w, "test", "t");
        *ret_table = find(w, "test", "t");
        for (int i = 0; i < ROWS; i++) {
                char text[64];
                snprintf(text, sizeof text, "{\"id\":%d,\"n\":%d}", i, i * 7 % 1000);
                Value row = json(w, text);
                assert_int_equal(put(w, *ret_table, value_get_str(row, "id"), row).effect, ROW_INSERTED);
                if (i % 500 == 0)
                        arena_reset(&w->arena);
        }
        /* One that lies in extents of its own. */
        static char large[20000];
        memset(large, 'l', sizeof large - 1);
        Field fields[] = {{BYTES_STR("id"), value_number(ROWS / 2)}, {BYTES_STR("n"), value_str(large)}};
        assert_int_equal(put(w, *ret_table, value_number(ROWS / 2), value_object_sorted(fields, 2)).effect,
                         ROW_REPLACED);
}

static void teardown(World *w, TableRef *table)
{
        w->source->table_unref(table);
        world_done(w);
}

static int memos_alive;

static void memo_free(BlockMemo *memo)
{
        memos_alive--;
        mem_free(memo);
}

/* Reads to the end; the ids of the rows are from *next on. */
static void read_blocks(World *w, TableScan *scan, int64_t *next)
{
        TableBlock block;
        bool supported;
        for (;;) {
                arena_reset(&w->arena);
                ok(w->source->block_next(scan, &block, &supported));
                assert_true(supported);
                if (block.count == 0)
                        return;
                for (uint32_t i = 0; i < block.total; i++) {
                        Value row, id;
                        ok(w->source->block_row(scan, i, &w->arena, &row));
                        id = value_get_str(row, "id");
                        assert_true(id.number == (double)(*next - block.first + i));
                }
                *next += block.count;
                const BlockMemo *kept = w->source->block_memo(scan, 9);
                if (kept)
                        continue;
                BlockMemo *memo = mem_zalloc(sizeof *memo);
                *memo = (BlockMemo){.key = 9, .bytes = sizeof *memo, .free = memo_free};
                memos_alive++;
                kept = w->source->block_remember(scan, memo);
                assert_ptr_equal(w->source->block_memo(scan, 9), kept);
        }
}

static void check_bounds(World *w, TableView *view, const KeyBounds *bounds, int64_t low, int64_t high)
{
        TableScan *scan;
        int64_t next = low;
        ok(w->source->scan_open(view, bounds, false, &scan));
        read_blocks(w, scan, &next);
        w->source->scan_close(scan);
        assert_int_equal(next, high);
        for (size_t parts = 1; parts < 12; parts++) {
                Bytes list[12];
                size_t count;
                Arena keep;
                arena_init(&keep, 0);
                ok(w->source->split(view, bounds, parts, &keep, list, &count));
                assert_in_range(count, 1, parts);
                assert_int_equal(count, MAX(MIN((int64_t)parts, high - low), 1));
                next = low;
                for (size_t i = 0; i < count; i++) {
                        int64_t before = next;
                        ok(w->source->scan_open_part(view, list[i], &scan));
                        read_blocks(w, scan, &next);
                        w->source->scan_close(scan);
                        assert_true(next - before <= (high - low) / (int64_t)count + 1);
                }
                assert_int_equal(next, high);
                arena_done(&keep);
        }
}

static void test_blocks(void **state)
{
        World w;
        TableRef *t;
        TableView *view;
        setup(&w, &t);
        ok(w.source->view_open(t, &view));
        check_bounds(&w, view, NULL, 0, ROWS);
        assert_true(memos_alive > 0);
        for (int64_t low = -5; low < ROWS + 5; low += 601)
                for (int64_t high = low - 3; high < ROWS + 5; high += 577) {
                        KeyBounds b = {.low = value_number((double)low),
                                       .low_type = BOUND_CLOSED,
                                       .high = value_number((double)high),
                                       .high_type = BOUND_OPEN};
                        int64_t first = MIN(MAX(low, 0), (int64_t)ROWS);
                        check_bounds(&w, view, &b, first, MAX(first, MIN(high, (int64_t)ROWS)));
                        b.low_type = BOUND_NONE;
                        check_bounds(&w, view, &b, 0, MIN(MAX(high, 0), (int64_t)ROWS));
                }
        w.source->view_close(view);
        teardown(&w, t);
        assert_int_equal(memos_alive, 0);
}

/* Descending scans and system tables: by rows only, and that is no error. */
static void test_rows_only(void **state)
{
        World w;
        TableRef *t, *system;
        TableView *view;
        TableScan *scan;
        TableBlock block;
        bool supported = true;
        Value row;
        setup(&w, &t);
        ok(w.source->view_open(t, &view));
        ok(w.source->scan_open(view, NULL, true, &scan));
        ok(w.source->block_next(scan, &block, &supported));
        assert_false(supported);
        ok(w.source->scan_next(scan, &w.arena, &row));
        assert_true(value_get_str(row, "id").number == ROWS - 1);
        w.source->scan_close(scan);
        w.source->view_close(view);
        system = find(&w, "rethinkdb", "table_config");
        ok(w.source->view_open(system, &view));
        ok(w.source->scan_open(view, NULL, false, &scan));
        ok(w.source->block_next(scan, &block, &supported));
        assert_false(supported);
        w.source->scan_close(scan);
        Bytes parts[4];
        size_t count;
        ok(w.source->split(view, NULL, 4, &w.arena, parts, &count));
        assert_int_equal(count, 1);
        ok(w.source->scan_open_part(view, parts[0], &scan));
        ok(w.source->scan_next(scan, &w.arena, &row));
        assert_true(value_is_object(row));
        w.source->scan_close(scan);
        w.source->view_close(view);
        w.source->table_unref(system);
        teardown(&w, t);
}

static Status read_parts(World *w, TableView *view, Arena *hold)
{
        Bytes parts[4];
        size_t count;
        KeyBounds b = {.low = value_number(100), .low_type = BOUND_CLOSED, .high_type = BOUND_NONE};
        TRY(w->source->split(view, &b, 4, hold, parts, &count));
        for (size_t i = 0; i < count; i++) {
                TableScan *scan;
                TableBlock block;
                bool supported;
                Value row;
                TRY(w->source->scan_open_part(view, parts[i], &scan));
                Status st = w->source->block_next(scan, &block, &supported);
                for (uint32_t r = 0; r < block.total && !st; r++)
                        st = w->source->block_row(scan, r, hold, &row);
                w->source->scan_close(scan);
                TRY(st);
        }
        return ST_OK;
}

static void test_failing_allocations(void **state)
{
        World w;
        TableRef *t;
        TableView *view;
        setup(&w, &t);
        ok(w.source->view_open(t, &view));
        for (long n = 1, fired = 1; fired; n++) {
                Arena hold;
                arena_init(&hold, 0);
                mem_fail_nth(n);
                Status st = read_parts(&w, view, &hold);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                assert_true(st ? fired && status_code(st) == ERR_NOMEM : !fired);
                status_ignore(st);
                arena_done(&hold);
        }
        w.source->view_close(view);
        teardown(&w, t);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_blocks),
                cmocka_unit_test(test_rows_only),
                cmocka_unit_test(test_failing_allocations),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
