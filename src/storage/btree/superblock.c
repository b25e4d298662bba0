/* superblock.c - superblocks as bytes and back, and what a crash can have left of one. */
#include "storage/btree/superblock.h"

/*   0          8       12        16         24         32        40          48
 *   | checksum | magic | version | sequence | position | wall_us | directory | directory bytes u32 | flags u32 |
 *   56      64            72     80           88            96              104     248
 *   | image | image bytes | dead | dead count | table count | dropped count | 0 ... | checksum |       little-endian
 *   The checksums (XXH3, seeded with the number of the copy and of the checksum) cover what is between them. Two, so
 *   that half of a checkpoint and half of another cannot be taken for one with a flipped bit. */
typedef struct SuperblockImage {
        uint64_t checksum;
        uint32_t magic, version;
        uint64_t sequence, position;
        int64_t wall_us;
        uint64_t directory;
        uint32_t directory_bytes, flags;
        uint64_t image, image_bytes, dead, dead_count, table_count, dropped_count;
        uint8_t zero[144];
        uint64_t end_checksum;
} SuperblockImage;
_Static_assert(sizeof(SuperblockImage) == 256, "on-disk format: bump SUPERBLOCK_VERSION, do not edit in place");
_Static_assert(offsetof(SuperblockImage, zero) == 104, "on-disk format: bump SUPERBLOCK_VERSION");

/* A single different bit is damage; half of a checkpoint and half of another differ in more. */
#define TORN_MIN_BITS 2u

/* What copy i has for checksums, if what is between them is that of `copy`. */
static void checksums(const uint8_t *copy, unsigned i, uint64_t ret[2])
{
        for (unsigned k = 0; k < 2; k++)
                ret[k] = bytes_hash_seeded(copy + 8, offsetof(SuperblockImage, end_checksum) - 8, 2 * i + k + 1);
}

void superblock_encode(const Superblock *superblock, unsigned which, uint8_t out[SPACE_HEADER_BYTES])
{
        SuperblockImage image = {.magic = SUPERBLOCK_MAGIC,
                                 .version = SUPERBLOCK_VERSION,
                                 .sequence = superblock->sequence,
                                 .position = superblock->position,
                                 .wall_us = superblock->wall_us,
                                 .directory = superblock->directory.extent,
                                 .directory_bytes = superblock->directory.bytes,
                                 .flags = superblock->flags,
                                 .image = superblock->image,
                                 .image_bytes = superblock->image_bytes,
                                 .dead = superblock->dead,
                                 .dead_count = superblock->dead_count,
                                 .table_count = superblock->table_count,
                                 .dropped_count = superblock->dropped_count};
        memset(out, 0, SPACE_HEADER_BYTES);
        for (unsigned i = 0; i < 2; i++) {
                uint8_t *copy = out + i * SUPERBLOCK_STRIDE;
                memcpy(copy, &image, sizeof(image));
                uint64_t sums[2];
                checksums(copy, which * 2 + i, sums);
                store_u64(copy, sums[0]);
                store_u64(copy + offsetof(SuperblockImage, end_checksum), sums[1]);
        }
}

static bool all_zero(const uint8_t *bytes, size_t size)
{
        for (size_t i = 0; i < size; i++)
                if (bytes[i])
                        return false;
        return true;
}

static bool copy_decode(const uint8_t *copy, unsigned i, Superblock *ret_superblock, uint32_t *ret_version)
{
        SuperblockImage image;
        uint64_t sums[2];
        memcpy(&image, copy, sizeof(image));
        checksums(copy, i, sums);
        if (image.magic != SUPERBLOCK_MAGIC || image.sequence == 0 || image.checksum != sums[0] ||
            image.end_checksum != sums[1])
                return false;
        *ret_version = image.version;
        *ret_superblock = (Superblock){.sequence = image.sequence,
                                       .position = image.position,
                                       .wall_us = image.wall_us,
                                       .directory = {image.directory, image.directory_bytes},
                                       .image = image.image,
                                       .image_bytes = image.image_bytes,
                                       .dead = image.dead,
                                       .dead_count = image.dead_count,
                                       .table_count = image.table_count,
                                       .dropped_count = image.dropped_count,
                                       .flags = image.flags};
        return true;
}

/* The very first one is written over zeros: of magic and version there is the beginning, and nothing behind. */
static bool begins_only(const uint8_t *copy)
{
        static const SuperblockImage right = {.magic = SUPERBLOCK_MAGIC, .version = SUPERBLOCK_VERSION};
        size_t at = 8;
        while (at < 16 && copy[at] == ((const uint8_t *)&right)[at])
                at++;
        return all_zero(copy + at, sizeof(SuperblockImage) - at);
}

/* Half-written is a mixture of two checkpoints: what never changes is right, and the rest is that of no other copy but
 * for a bit. */
static bool looks_torn(const Superblocks *superblocks, const uint8_t blocks[2][SPACE_HEADER_BYTES], unsigned i)
{
        const uint8_t *copy = blocks[i / 2] + i % 2 * SUPERBLOCK_STRIDE;
        SuperblockImage image;
        memcpy(&image, copy, sizeof(image));
        if (!all_zero(image.zero, sizeof(image.zero)))
                return false;
        if ((image.magic != SUPERBLOCK_MAGIC || image.version != SUPERBLOCK_VERSION) && !begins_only(copy))
                return false;
        for (unsigned k = 0; k < SUPERBLOCK_COPIES; k++) {
                unsigned bits = 0;
                const uint8_t *other = blocks[k / 2] + k % 2 * SUPERBLOCK_STRIDE;
                if (k == i || superblocks->states[k] != COPY_VALID)
                        continue;
                uint64_t sums[2];
                checksums(other, i, sums);
                for (size_t at = 8; at < offsetof(SuperblockImage, zero); at++)
                        bits += (unsigned)__builtin_popcount(copy[at] ^ other[at]);
                bits += (unsigned)__builtin_popcountll(image.checksum ^ sums[0]);
                bits += (unsigned)__builtin_popcountll(image.end_checksum ^ sums[1]);
                if (bits < TORN_MIN_BITS)
                        return false;
        }
        return true;
}

static bool same(const Superblock *a, const Superblock *b)
{
        return a->sequence == b->sequence && a->position == b->position && a->image == b->image;
}

void superblocks_decode(const uint8_t blocks[2][SPACE_HEADER_BYTES], Superblocks *ret_superblocks)
{
        Superblocks all = {.newest = -1, .version = SUPERBLOCK_VERSION};
        for (unsigned i = 0; i < SUPERBLOCK_COPIES; i++) {
                const uint8_t *copy = blocks[i / 2] + i % 2 * SUPERBLOCK_STRIDE;
                uint32_t version;
                if (all_zero(copy, sizeof(SuperblockImage)))
                        continue;
                all.states[i] = COPY_DAMAGED;
                if (!copy_decode(copy, i, &all.copies[i], &version))
                        continue;
                if (version != SUPERBLOCK_VERSION) {
                        all.version = version;
                        continue;
                }
                all.states[i] = COPY_VALID;
                if (all.newest < 0 || all.copies[i].sequence > all.copies[all.newest].sequence)
                        all.newest = (int)i;
        }
        for (unsigned i = 0; i < SUPERBLOCK_COPIES; i++)
                if (all.states[i] == COPY_DAMAGED && looks_torn(&all, blocks, i))
                        all.states[i] = COPY_TORN;
        for (unsigned b = 0; b < 2 && all.newest >= 0; b++) {
                const Superblock *newest = &all.copies[all.newest];
                all.whole[b] = all.states[2 * b] == COPY_VALID && all.states[2 * b + 1] == COPY_VALID &&
                               same(&all.copies[2 * b], newest) && same(&all.copies[2 * b + 1], newest);
        }
        *ret_superblocks = all;
}
