/* space_fuzz.c - any bytes as the saved state of a page file's space: refused, or a space that holds together: nothing
 * overlaps, the sums are right, it can be used, and saves the same bytes again. The first byte chooses whether the
 * checksum is made right, the second the size of the file. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "os/sim.h"
#include "storage/slab/space_int.h"

#define REQUIRE(condition)                                                                                             \
        do {                                                                                                           \
                if (!(condition)) {                                                                                    \
                        fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                \
                        abort();                                                                                       \
                }                                                                                                      \
        } while (0)
#define REQUIRE_OK(expr)                                                                                               \
        do {                                                                                                           \
                Status ok_ = (expr);                                                                                   \
                char text_[512];                                                                                       \
                if (ok_) {                                                                                             \
                        fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, status_text(ok_, text_, sizeof(text_)));    \
                        abort();                                                                                       \
                }                                                                                                      \
        } while (0)

#define MAX_EXTENTS 64

typedef struct Extents {
        Extent items[MAX_EXTENTS];
        size_t count;
} Extents;

static Status next_none(void *ctx, Extent *ret_extent, bool *ret_more)
{
        *ret_more = false;
        return ST_OK;
}

/* Whatever was loaded: its proof, and allocations that land in it. */
static void use_space(Space *space, Bytes saved)
{
        SpaceStats before, after;
        Extents extents = {.count = 0};
        Buf again;
        space_stats(space, &before);
        REQUIRE(before.live_bytes + before.free_bytes + before.waiting_bytes + before.metadata_bytes ==
                before.file_bytes);
        Status st = space_check(space, next_none, NULL);
        if (before.extent_count == 0)
                REQUIRE_OK(st);
        else
                REQUIRE(strstr(status_message(st), "leaked"));
        status_free(st);
        buf_init(&again, 16 << 20);
        REQUIRE_OK(space_save(space, &again));
        REQUIRE(again.size == saved.size);
        for (; extents.count < MAX_EXTENTS; extents.count++) {
                size_t i = extents.count;
                REQUIRE_OK(space_alloc(space, i % 8 == 7 ? 70000 : (size_t)50 << i % 11, &extents.items[i]));
        }
        for (size_t i = 0; i < extents.count; i++) {
                uint64_t a = space_extent_offset(space, extents.items[i]);
                uint64_t a_end = a + space_extent_bytes(space, extents.items[i]);
                REQUIRE(a >= 2 * SPACE_HEADER_BYTES);
                for (size_t j = 0; j < i; j++) {
                        uint64_t b = space_extent_offset(space, extents.items[j]);
                        REQUIRE(a_end <= b || b + space_extent_bytes(space, extents.items[j]) <= a);
                }
        }
        for (size_t i = 0; i < extents.count; i++)
                REQUIRE_OK(space_free(space, extents.items[i], i));
        REQUIRE_OK(space_reclaim(space, extents.count));
        space_stats(space, &after);
        REQUIRE(after.live_bytes == before.live_bytes && after.waiting_bytes == 0);
        again.size = 0;
        REQUIRE_OK(space_save(space, &again));
        REQUIRE(again.size == saved.size && memcmp(again.data + 40, saved.data + 40, saved.size - 40) == 0);
        buf_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        SimOs *sim;
        OsDir *dir;
        OsFile *file;
        Space *space;
        if (size < 2 || size > 65536)
                return 0;
        uint8_t mode = data[0], pages = data[1];
        size -= 2;
        uint8_t *bytes = malloc(size + 1);
        REQUIRE(bytes);
        memcpy(bytes, data + 2, size);
        if (mode & 1 && size >= 40) {
                store_u32(bytes + 8, 0x43505350u);
                store_u64(bytes, bytes_hash(bytes + 8, size - 8));
        }
        REQUIRE_OK(sim_new(1, &sim));
        REQUIRE_OK(os_dir_open(sim_os(sim), "data", OS_DIR_CREATE, &dir));
        REQUIRE_OK(os_file_open(dir, "pages", OS_WRITE | OS_CREATE, &file));
        REQUIRE_OK(os_file_truncate(file, pages * 2 * PAGE_BYTES));
        os_file_close(file);
        REQUIRE_OK(space_open(dir, "pages", NULL, &space));
        Status st = space_load(space, BYTES(bytes, size));
        if (st) {
                REQUIRE(status_code(st) == ERR_CORRUPT || status_code(st) == ERR_VERSION);
                status_free(st);
                REQUIRE_OK(space_check(space, next_none, NULL));
        } else {
                use_space(space, BYTES(bytes, size));
        }
        space_close(space);
        os_dir_close(dir);
        sim_free(sim);
        free(bytes);
        return 0;
}
