/* superblock_test.c - what a header block says after every kind of accident. */
#include "base/check.h"
#include "storage/btree/superblock.h"

static Superblock make(uint64_t sequence)
{
        return (Superblock){.sequence = sequence,
                            .position = sequence * 1000 + 7,
                            .wall_us = (int64_t)sequence * 77777777,
                            .directory = {sequence * 0x10000305, 200},
                            .image = sequence * 0x20000705 << 8,
                            .image_bytes = 300 + sequence,
                            .table_count = 5};
}

static void test_round_trip(void **state)
{
        uint8_t blocks[2][SPACE_HEADER_BYTES] = {{0}};
        Superblocks all;
        superblocks_decode(blocks, &all);
        assert_int_equal(all.newest, -1);
        Superblock superblock = make(9);
        superblock.dead = 77;
        superblock.dead_count = 3;
        superblock.dropped_count = 2;
        superblock.flags = SUPERBLOCK_REBUILD;
        superblock_encode(&superblock, 0, blocks[0]);
        superblocks_decode(blocks, &all);
        assert_int_equal(all.newest, 0);
        assert_memory_equal(&all.copies[0], &superblock, sizeof(superblock));
        assert_true(all.whole[0] && !all.whole[1]);
        /* A block in the other's place is not valid. */
        memcpy(blocks[1], blocks[0], sizeof(blocks[0]));
        superblocks_decode(blocks, &all);
        assert_int_not_equal(all.states[2], COPY_VALID);
        superblock_encode(&superblock, 1, blocks[1]);
        superblocks_decode(blocks, &all);
        assert_true(all.whole[0] && all.whole[1]);
}

/* Every byte at which writing a block can stop: before it both blocks had the checkpoint before; or (second block) the
 * other one has the new one. The newest or the one before is found whole, and nothing is called damage (but where all
 * that is missing is one bit of the first or last byte). */
static void test_torn(void **state)
{
        unsigned doubtful = 0, tears = 0;
        for (uint64_t sequence = 1; sequence < 40; sequence++) {
                for (unsigned which = 0; which < 2; which++) {
                        for (unsigned second = 0; second < 2; second++) {
                                uint8_t blocks[2][SPACE_HEADER_BYTES] = {{0}}, next[SPACE_HEADER_BYTES];
                                Superblock before = make(sequence), after = make(sequence + 1);
                                if (sequence > 1) {
                                        superblock_encode(&before, 0, blocks[0]);
                                        superblock_encode(&before, 1, blocks[1]);
                                }
                                if (second)
                                        superblock_encode(&after, 1 - which, blocks[1 - which]);
                                superblock_encode(&after, which, next);
                                unsigned step = sequence < 4 ? 1 : 7;
                                for (unsigned at = 0; at <= SPACE_HEADER_BYTES; at += step) {
                                        Superblocks all;
                                        memcpy(blocks[which], next, at);
                                        superblocks_decode(blocks, &all);
                                        for (unsigned i = 0; i < SUPERBLOCK_COPIES; i++)
                                                doubtful += all.states[i] == COPY_DAMAGED;
                                        tears++;
                                        if (sequence == 1 && !second && all.newest < 0)
                                                continue;
                                        uint64_t found = all.copies[all.newest].sequence;
                                        assert_true(found == sequence + 1 || (found == sequence && !second));
                                }
                        }
                }
        }
        assert_true(doubtful * 1000 < tears);
}

static void test_flipped(void **state)
{
        uint8_t blocks[2][SPACE_HEADER_BYTES];
        Superblock superblock = make(12);
        for (unsigned block = 0; block < 2; block++) {
                for (unsigned at = 0; at < SPACE_HEADER_BYTES; at++) {
                        for (unsigned bit = 0; bit < 8; bit++) {
                                Superblocks all;
                                superblock_encode(&superblock, 0, blocks[0]);
                                superblock_encode(&superblock, 1, blocks[1]);
                                blocks[block][at] ^= (uint8_t)(1u << bit);
                                superblocks_decode(blocks, &all);
                                assert_true(all.newest >= 0);
                                assert_int_equal(all.copies[all.newest].position, superblock.position);
                                if (at % SUPERBLOCK_STRIDE < 256)
                                        assert_int_equal(all.states[2 * block + at / SUPERBLOCK_STRIDE], COPY_DAMAGED);
                        }
                }
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_round_trip),
                cmocka_unit_test(test_torn),
                cmocka_unit_test(test_flipped),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
