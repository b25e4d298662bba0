/* fake_spill.h - for tests: temporary files in memory, counted, that can fail at the nth call or be damaged. */
#ifndef QUERY_FAKE_SPILL_H
#define QUERY_FAKE_SPILL_H

#include "base/mem.h"
#include "query/spill.h"

struct SpillFile {
        Buf bytes;
};

typedef struct FakeSpill {
        int open, created, calls;
        int fail_at;       /* this call fails; 0: none */
        uint64_t flip_bit; /* read_at gives this bit of the file wrong; UINT64_MAX: none */
        uint64_t written;
} FakeSpill;
static FakeSpill fake_spill = {.flip_bit = UINT64_MAX};

static inline void fake_spill_reset(void)
{
        fake_spill = (FakeSpill){.flip_bit = UINT64_MAX};
}
static inline bool fake_spill_fails(void)
{
        return ++fake_spill.calls == fake_spill.fail_at;
}
static Status fake_spill_create(void *ctx, SpillFile **ret)
{
        if (fake_spill_fails())
                return status_new(ERR_RESOURCE, "No file.");
        SpillFile *file = mem_alloc(sizeof *file);
        if (!file)
                return status_nomem();
        buf_init(&file->bytes, (size_t)1 << 30);
        fake_spill.open++;
        fake_spill.created++;
        *ret = file;
        return ST_OK;
}
static Status fake_spill_append(SpillFile *file, const void *data, size_t size)
{
        if (fake_spill_fails())
                return status_new(ERR_RESOURCE, "The disk is full.");
        fake_spill.written += size;
        return buf_append(&file->bytes, data, size);
}
static Status fake_spill_read(SpillFile *file, uint64_t offset, void *out, size_t size)
{
        if (fake_spill_fails() || offset + size > file->bytes.size)
                return status_new(ERR_OP_FAILED, "Cannot read.");
        memcpy(out, file->bytes.data + offset, size);
        uint64_t at = fake_spill.flip_bit / 8;
        if (at >= offset && at < offset + size)
                ((uint8_t *)out)[at - offset] ^= (uint8_t)(1 << fake_spill.flip_bit % 8);
        return ST_OK;
}
static void fake_spill_close(SpillFile *file)
{
        buf_done(&file->bytes);
        mem_free(file);
        fake_spill.open--;
}
static const SpillOps fake_spill_ops = {.create = fake_spill_create,
                                        .append = fake_spill_append,
                                        .read_at = fake_spill_read,
                                        .close = fake_spill_close};

#endif
