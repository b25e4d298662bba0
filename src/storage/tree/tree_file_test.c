/* tree_file_test.c - nodes in the file and in memory: frames that are given back, packing, damaged and wrong nodes. */
#include "storage/tree/tree_test.h"

/* Frames of nodes that were born dirty are given back some flushes later, beside snapshots and a writer too; and the
 * memory of a cache that was too full. */
static void test_bound_frames(void **state)
{
        World world;
        PWrite *write;
        PSnapshot *old = NULL;
        PCacheStats stats;
        uint64_t most = 0, sum = 0, rows;
        world_init(&world, 256 << 10);
        for (unsigned round = 0; round < 60; round++) {
                PWrite *beside = NULL;
                OK(ptree_write_begin(world.tree, &write));
                for (unsigned i = 0; i < 60; i++) {
                        uint32_t key = (uint32_t)rnd(20000);
                        OK(ptree_write_put(write, 0, BYTES(&key, 4), value_fill(value_bytes, key, 200)));
                }
                ptree_write_commit(write, ++world.position);
                ptree_tidy(world.tree);
                if (round == 20)
                        OK(ptree_pin(world.tree, &old));
                if (round % 3 == 2) {
                        /* A write that is unfinished when the flush runs. */
                        OK(ptree_write_begin(world.tree, &beside));
                        for (uint32_t key = 0; key < 20000; key += 500)
                                OK(ptree_write_put(beside, 0, BYTES(&key, 4), value_fill(value_bytes, key, 200)));
                }
                world_flush(&world);
                sum += world.tree->bound_count;
                if (!old)
                        most = MAX(most, world.tree->bound_count);
                if (beside && round % 2)
                        ptree_write_abort(beside);
                else if (beside)
                        ptree_write_commit(beside, ++world.position);
                if (round == 40) {
                        OK(ptree_check(old, NULL, NULL, &rows));
                        ptree_unpin(old);
                        old = NULL;
                }
        }
        assert_true(sum > 4000);
        assert_true(most < 400); /* of two or three flushes */
        for (unsigned round = 0; round < 2; round++) {
                OK(ptree_write_begin(world.tree, &write));
                OK(ptree_write_put(write, 0, BYTES("x", 1), BYTES_NONE));
                ptree_write_commit(write, ++world.position);
                world_flush(&world);
        }
        assert_true(world.tree->bound_count < 10);
        pcache_stats(world.cache, &stats);
        assert_true(stats.used_bytes <= (256 << 10) + 2 * PAGE_SLOT_BYTES);
        check_space(&world);
        world_done(&world);
}

/* Nodes are packed in the file where that makes them smaller, and only there. */
static void test_packing(void **state)
{
        enum { ROWS = 3000 };
        uint64_t live[2];
        for (int random = 0; random < 2; random++) {
                World world;
                PWrite *write;
                PSnapshot *snapshot;
                SpaceStats stats;
                Bytes value;
                bool found;
                uint8_t bytes[16];
                world_init(&world, 0);
                for (int way = 0; way < 2; way++) {
                        PBulk *bulk = NULL;
                        OK(ptree_write_begin(world.tree, &write));
                        if (way)
                                OK(ptree_bulk_begin(write, 1, &bulk));
                        for (uint32_t i = 0; i < ROWS; i++) {
                                Bytes row = random ? value_fill(value_bytes, i * 77ull, 100) : BYTES(value_bytes, 100);
                                if (!random)
                                        snprintf((char *)value_bytes, 101, "{\"name\": \"user %060u\", \"age\": %8u}",
                                                 i, i % 80);
                                if (way)
                                        OK(ptree_bulk_add(bulk, shared_key(i, bytes), row));
                                else
                                        OK(ptree_write_put(write, 0, shared_key(i, bytes), row));
                        }
                        if (way)
                                OK(ptree_bulk_finish(bulk));
                        ptree_write_commit(write, ++world.position);
                        world_flush(&world);
                }
                space_stats(world.space, &stats);
                live[random] = stats.live_bytes;
                world_reopen(&world, 128 << 10);
                check_space(&world);
                OK(ptree_pin(world.tree, &snapshot));
                for (uint32_t i = 0; random && i < ROWS; i += 7)
                        for (uint32_t id = 0; id < 2; id++) {
                                arena_reset(&world.hold);
                                OK(ptree_get(snapshot, id, shared_key(i, bytes), &world.hold, &value, &found));
                                assert_true(found && bytes_equal(value, value_fill(value_bytes, i * 77ull, 100)));
                        }
                ptree_unpin(snapshot);
                world_done(&world);
        }
        assert_true(live[1] < 2 * ROWS * 150);
        assert_true(live[0] < live[1] / 2);
}

/* --- damage --- */

/* Nodes whose checksums are right, and which are wrong: as only a wrong writer makes them. */
static void test_wrong_nodes(void **state)
{
        enum { MORE_ROWS, ITSELF, NO_ROWS, OLD_VERSION, WAYS };
        for (int way = 0; way < WAYS; way++) {
                World world;
                PWrite *write;
                PSnapshot *snapshot;
                Bytes value;
                bool found;
                uint64_t rows;
                uint8_t bytes[16], stored[PAGE_MAX_BYTES];
                world_init(&world, 0);
                OK(ptree_write_begin(world.tree, &write));
                for (uint32_t i = 0; i < 200; i++)
                        OK(ptree_write_put(write, 0, shared_key(i, bytes), value_fill(value_bytes, i, 200)));
                ptree_write_commit(write, ++world.position);
                world_flush(&world);
                Child *top = &atomic_load(&world.tree->root)->tops[0].top;
                Extent extent = way == OLD_VERSION ? world.address.extent : atomic_load(&top->extent);
                uint32_t size = way == OLD_VERSION ? world.address.bytes : atomic_load(&top->bytes);
                world_detach(&world);
                OK(space_read(world.space, extent, stored, size));
                PageHeader header;
                memcpy(&header, stored, sizeof(header));
                assert_int_equal(header.packed_from, 0);
                uint8_t *child = stored + size - (header.count + 1) * STORED_CHILD_BYTES;
                switch (way) {
                case MORE_ROWS: store_u64(child + 8, load_u64(child + 8) + (1 << 16)); break;
                case NO_ROWS: store_u64(child + 8, load_u64(child + 8) & 0xffff); break;
                case ITSELF:
                        store_u64(child, extent);
                        store_u64(child + 8, (load_u64(child + 8) & ~0xffffull) | size);
                        break;
                default: header.version--; memcpy(stored, &header, sizeof(header));
                }
                stored_seal(stored);
                OK(space_write(world.space, extent, stored, size));
                PCacheOptions options = {.space = world.space, .name = "pages"};
                OK(pcache_open(&options, &world.cache));
                Status st = ptree_open(world.cache, world.address, NULL, &world.tree);
                assert_int_equal(status_code(st), way == OLD_VERSION ? ERR_VERSION : ERR_NONE);
                status_ignore(st);
                if (way != OLD_VERSION) {
                        OK(ptree_pin(world.tree, &snapshot));
                        st = ptree_check(snapshot, NULL, NULL, &rows);
                        assert_int_equal(status_code(st), ERR_CORRUPT);
                        status_free(st);
                        st = ptree_get(snapshot, 0, shared_key(0, bytes), &world.hold, &value, &found);
                        assert_int_equal(status_code(st), way == MORE_ROWS ? ERR_NONE : ERR_CORRUPT);
                        status_ignore(st);
                        ptree_unpin(snapshot);
                        OK(ptree_write_begin(world.tree, &write));
                        st = ptree_write_put(write, 0, shared_key(0, bytes), BYTES_NONE);
                        assert_int_equal(status_code(st), ERR_CORRUPT);
                        status_free(st);
                        ptree_write_abort(write);
                }
                world_done(&world);
        }
}

static void test_flipped_bytes(void **state)
{
        World world;
        PWrite *write;
        PSnapshot *snapshot;
        Extents extents = {0};
        uint64_t rows;
        uint8_t bytes[16];
        world_init(&world, 0);
        OK(ptree_write_begin(world.tree, &write));
        for (uint32_t i = 0; i < 150; i++)
                OK(ptree_write_put(write, 0, shared_key(i, bytes), value_fill(value_bytes, i, i == 70 ? 2000 : 90)));
        OK(ptree_write_prepare(write));
        ptree_write_commit(write, ++world.position);
        world_flush(&world);
        OK(ptree_pin(world.tree, &snapshot));
        OK(ptree_check(snapshot, extents_add, &extents, &rows));
        ptree_unpin(snapshot);
        extents_add(&extents, world.address.extent);
        assert_true(extents.count >= 5);
        world_detach(&world);
        for (size_t i = 0; i < extents.count; i++) {
                uint64_t offset = space_extent_offset(world.space, extents.items[i]);
                uint8_t header[sizeof(PageHeader)];
                OK(space_read(world.space, extents.items[i], header, sizeof(header)));
                uint32_t stored = load_u32(header + 8) == PAGE_MAGIC ? load_u32(header + 16) : VALUE_HEAD_BYTES + 2000;
                for (uint32_t at = 0; at < stored; at++) {
                        int bit = (int)rnd(8);
                        char text[512], place[64];
                        OK(sim_flip_bit(world.sim, "/d/pages", offset + at, bit));
                        PCacheOptions options = {.space = world.space, .name = "pages"};
                        OK(pcache_open(&options, &world.cache));
                        Status st = ptree_open(world.cache, world.address, NULL, &world.tree);
                        if (!st) {
                                PCursor *cursor;
                                Bytes key, value;
                                bool found = true;
                                OK(ptree_pin(world.tree, &snapshot));
                                st = ptree_check(snapshot, NULL, NULL, &rows);
                                assert_int_equal(status_code(st), ERR_CORRUPT);
                                if (at % 16 == 0) {
                                        /* The reader who meets it sees it too. */
                                        st = status_free(st);
                                        st = ptree_cursor_open(snapshot, 0, all, false, &cursor);
                                        while (!st && found) {
                                                arena_reset(&world.hold);
                                                st = ptree_cursor_next(cursor, &world.hold, &key, &value, &found);
                                        }
                                        ptree_cursor_close(cursor);
                                }
                                ptree_unpin(snapshot);
                        }
                        assert_int_equal(status_code(st), ERR_CORRUPT);
                        snprintf(place, sizeof(place), "pages, offset %llu:", (unsigned long long)offset);
                        assert_non_null(strstr(status_text(st, text, sizeof(text)), place));
                        status_free(st);
                        world_detach(&world);
                        OK(sim_flip_bit(world.sim, "/d/pages", offset + at, bit));
                }
        }
        free(extents.items);
        world_attach(&world, 0);
        check_space(&world);
        world_done(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_bound_frames),
                cmocka_unit_test(test_packing),
                cmocka_unit_test(test_wrong_nodes),
                cmocka_unit_test(test_flipped_bytes),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
