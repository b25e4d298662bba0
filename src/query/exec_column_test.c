/* exec_column_test.c - columns: every cell is what the document says, remembered or not. */
#include "query/exec_column.h"
#include "query/exec_test.h"

static const Bytes keys[][2] = {
        {{(const uint8_t *)"a", 1}},
        {{(const uint8_t *)"b", 1}},
        {{(const uint8_t *)"c", 1}},
        {{(const uint8_t *)"d", 1}},
        {{(const uint8_t *)"e", 1}},
        {{(const uint8_t *)"f", 1}},
        {{(const uint8_t *)"g", 1}},
        {{(const uint8_t *)"h", 1}},
        {{(const uint8_t *)"none", 4}},
        {{(const uint8_t *)"e", 1}, {(const uint8_t *)"x", 1}},
        {{(const uint8_t *)"h", 1}, {(const uint8_t *)"x", 1}},
};
#define COLUMNS ELEMENTS(keys)

static void make_wants(ColumnWant *wants, bool collide)
{
        for (size_t i = 0; i < COLUMNS; i++) {
                wants[i].path = (ExecPath){keys[i], keys[i][1].data ? 2 : 1};
                wants[i].key = collide ? 1 : column_key(wants[i].path);
        }
}

static bool cell_is(Value cell, Value there)
{
        if (cell.type == EXEC_LOAD) /* only for what is large or has parts */
                return value_is_object(there) || value_is(there, V_ARRAY) || there.size > 256;
        if (cell.type == EXEC_BAD || cell.type == V_NONE)
                return cell.type == there.type;
        return there.type == cell.type && value_equal(cell, there) &&
               value_encoded_size(cell) == value_encoded_size(there);
}

/* All blocks of a table; *ret_odd counts cells that are no values. */
static Status read_all(const char *table, const ColumnWant *wants, unsigned *refusals, Arena *arena, Arena *hold)
{
        TableRef *ref;
        TableView *view;
        TableScan *scan;
        TRY(fake_find(NULL, BYTES_STR("test"), BYTES_STR(table), &ref));
        fake_unref(ref);
        TRY(fake_view_open(ref, &view));
        Status st = fake_scan_open(view, NULL, false, &scan);
        for (size_t at = 0; !st;) {
                TableBlock block;
                bool supported;
                const Column *columns[COLUMNS];
                st = fake_block_next(scan, &block, &supported);
                if (st || block.count == 0)
                        break;
                arena_reset(arena);
                st = columns_get(&fake_source, scan, &block, wants, COLUMNS, refusals, arena, hold, columns);
                for (uint32_t row = 0; !st && row < block.total; row++) {
                        Value document = value_at(ref->rows, at + row);
                        for (size_t i = 0; i < COLUMNS; i++)
                                assert_true(
                                        cell_is(column_value(columns[i], row), exec_path_get(document, wants[i].path)));
                }
                at += block.total;
        }
        if (!st)
                fake_scan_close(scan);
        fake_view_close(view);
        return st;
}

static void test_cells(void **state)
{
        static const char *const tables[] = {"even", "gaps", "wild"};
        Arena arena = {0}, hold = {0};
        ColumnWant wants[COLUMNS];
        arena_init(&arena, 0);
        arena_init(&hold, 0);
        make_wants(wants, false);
        for (size_t i = 0; i < ELEMENTS(tables); i++) {
                unsigned refusals = 0;
                OK(read_all(tables[i], wants, &refusals, &arena, &hold)); /* made */
                OK(read_all(tables[i], wants, &refusals, &arena, &hold)); /* remembered */
                assert_int_equal(refusals, 0);
        }
        assert_true(fake_forget() >= 3 * COLUMNS);
        /* Columns of other paths under the same key are not taken for each other, and only one is kept. */
        make_wants(wants, true);
        for (size_t i = 0; i < ELEMENTS(tables); i++) {
                unsigned refusals = 0;
                OK(read_all(tables[i], wants, &refusals, &arena, &hold));
                OK(read_all(tables[i], wants, &refusals, &arena, &hold));
        }
        (void)fake_forget();
        arena_done(&arena);
        arena_done(&hold);
}

static void test_no_memory(void **state)
{
        Arena arena = {0}, hold = {0};
        ColumnWant wants[COLUMNS];
        make_wants(wants, false);
        arena_init(&arena, 0);
        arena_init(&hold, 0);
        unsigned refusals = 0;
        OK(read_all("wild", wants, &refusals, &arena, &hold)); /* the arenas have what they need */
        for (long n = 1, fired = 1; fired; n++) {
                (void)fake_forget();
                unsigned refused = 0;
                mem_fail_nth(n + 2); /* not the view, not the scan */
                OK(read_all("even", wants, &refused, &arena, &hold));
                fired = mem_fail_fired();
                mem_fail_nth(0);
        }
        (void)fake_forget();
        arena_done(&arena);
        arena_done(&hold);
}

static int setup(void **state)
{
        arena_init(&fake.arena, 0);
        add_random_table("even", 33, 0);
        add_random_table("gaps", 33, 1);
        add_random_table("wild", 200, 2);
        return 0;
}

static int teardown(void **state)
{
        (void)fake_forget();
        arena_done(&fake.arena);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_cells), cmocka_unit_test(test_no_memory)};
        return cmocka_run_group_tests(tests, setup, teardown);
}
