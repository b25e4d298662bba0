/* value.c - values in extents of their own: packed references to them, the buffer of a running write, reading, and the
 * values that are kept in memory.
 *
 *      value_store -> codec -> buffer of the write -(> 1 MiB, or ptree_write_prepare)-> the file, neighbours at once
 *
 *      value_out   -> in the buffer?  -> in the cache?  -> the file -> checksum -> codec -> cache (but for scans)
 *
 * A kept value is the page of a clean frame, as a node is: same budget, same clock. Its frame is hashed under the
 * extent with VALUE_MARK, so that no damaged child pointer can take it for a node. A hit takes no lock: the chain is
 * walked as it is, and what it finds is right if it has the extent (README, I4). */
#include "storage/tree/tree_int.h"

#include <assert.h>
#include <inttypes.h>

#define BUFFER_BYTES     (1u << 20) /* more than this is written early */
#define BUFFER_KEEP      8192u      /* memory that stays with an idle tree */
#define VALUE_KEEP_BYTES 65536u     /* a larger value is not kept in memory */
#define HEAP_WASTE_SHARE 12
#define VALUE_MARK       SPACE_EXTENT_SPARE

/* --- references --- */

static uint8_t *varint_put(uint8_t *out, uint64_t n)
{
        for (; n >= 0x80; n >>= 7)
                *out++ = (uint8_t)(n | 0x80);
        *out++ = (uint8_t)n;
        return out;
}

static bool varint_get(Bytes *in, uint64_t max, uint64_t *ret)
{
        uint64_t n = 0;
        for (unsigned shift = 0; in->size > 0 && shift < 64; shift += 7) {
                uint8_t byte = *in->data++;
                in->size--;
                n |= (uint64_t)(byte & 0x7f) << shift;
                if (byte < 0x80) {
                        *ret = n;
                        return n <= max && (shift < 63 || byte <= 1) && (byte || shift == 0);
                }
        }
        return false;
}

/* An Extent's numbers from the commonest to the rarest; and not the size, but what it leaves free. */
size_t ref_pack(PCache *cache, LargeRef ref, uint8_t out[REF_MAX_BYTES])
{
        uint8_t *at = out;
        *at++ = (uint8_t)ref.extent;
        at = varint_put(at, ref.extent >> 8 & 0xffffff);
        at = varint_put(at, ref.extent >> 32);
        at = varint_put(at, space_extent_bytes(cache->space, ref.extent) - VALUE_HEAD_BYTES - ref.size);
        at = varint_put(at, ref.birth);
        return (size_t)(at - out);
}

Status ref_unpack(PCache *cache, Bytes packed, LargeRef *ret_ref)
{
        uint64_t slot, page, rest, birth;
        Bytes in = packed;
        if (in.size > 0) {
                uint64_t low = *in.data++;
                in.size--;
                if (varint_get(&in, 0xffffff, &slot) && varint_get(&in, UINT32_MAX, &page) &&
                    varint_get(&in, UINT32_MAX, &rest) && varint_get(&in, UINT64_MAX, &birth) && in.size == 0) {
                        Extent extent = page << 32 | slot << 8 | low;
                        uint64_t room = space_extent_bytes(cache->space, extent);
                        if (room >= VALUE_HEAD_BYTES + rest && room - VALUE_HEAD_BYTES - rest <= UINT32_MAX) {
                                uint32_t size = (uint32_t)(room - VALUE_HEAD_BYTES - rest);
                                *ret_ref = (LargeRef){.extent = extent, .birth = birth, .size = size};
                                return ST_OK;
                        }
                }
        }
        return status_new(ERR_CORRUPT, "%s: a row's reference to its value is damaged", cache->name);
}

static uint64_t value_checksum(const uint8_t *body, LargeRef ref)
{
        return bytes_hash_seeded(body, ref.size, ref.extent ^ ref.birth * 0x9e3779b97f4a7c15ull);
}

/* --- the buffer of a write --- */

static unsigned buffer_bucket(const ValueBuffer *buffer, Extent extent)
{
        return (unsigned)(extent * 0x9e3779b97f4a7c15ull >> 32) & (buffer->capacity - 1);
}

/* Items and the heads of their chains grow together. */
static Status buffer_grow(ValueBuffer *buffer)
{
        uint32_t capacity = MAX(2 * buffer->capacity, 16u);
        BufferedValue *items = mem_realloc(buffer->items, capacity * sizeof(*items));
        if (!items)
                return status_nomem();
        buffer->items = items;
        uint32_t *heads = mem_realloc(buffer->heads, capacity * sizeof(*heads));
        if (!heads)
                return status_nomem();
        buffer->heads = heads;
        buffer->capacity = capacity;
        memset(heads, 0, capacity * sizeof(*heads));
        for (uint32_t i = 0; i < buffer->count; i++) {
                uint32_t *head = &heads[buffer_bucket(buffer, items[i].extent)];
                items[i].next = *head;
                *head = i + 1;
        }
        return ST_OK;
}

static Status buffer_add(ValueBuffer *buffer, Extent extent, size_t offset, size_t bytes)
{
        if (buffer->count == buffer->capacity)
                TRY(buffer_grow(buffer));
        uint32_t *head = &buffer->heads[buffer_bucket(buffer, extent)];
        buffer->items[buffer->count++] = (BufferedValue){extent, offset, (uint32_t)bytes, *head};
        *head = buffer->count;
        return ST_OK;
}

static BufferedValue *buffer_find(ValueBuffer *buffer, Extent extent)
{
        if (buffer->count == 0)
                return NULL;
        uint32_t i = buffer->heads[buffer_bucket(buffer, extent)];
        while (i && (buffer->items[i - 1].extent != extent || buffer->items[i - 1].dead))
                i = buffer->items[i - 1].next;
        return i ? &buffer->items[i - 1] : NULL;
}

static void buffer_clear(ValueBuffer *buffer)
{
        buffer->count = 0;
        buf_clear(&buffer->bytes);
        if (buffer->heads)
                memset(buffer->heads, 0, buffer->capacity * sizeof(*buffer->heads));
}

void values_done(PWrite *write)
{
        buf_done(&write->values.bytes);
        mem_free(write->values.items);
        mem_free(write->values.heads);
        write->values = (ValueBuffer){0};
}

void values_end(PWrite *write)
{
        ValueBuffer *buffer = &write->values;
        if (buffer->bytes.capacity + buffer->capacity * (sizeof(BufferedValue) + sizeof(uint32_t)) > BUFFER_KEEP)
                values_done(write);
        else
                buffer_clear(buffer);
        write->batch = NULL;
}

/* Everything in the buffer goes to the file. */
static Status values_write(PWrite *write)
{
        ValueBuffer *buffer = &write->values;
        size_t count = 0;
        _cleanup_(mem_freep) SpacePiece *pieces = mem_alloc(MAX(buffer->count, 1u) * sizeof(*pieces));
        if (!pieces)
                return status_nomem();
        for (uint32_t i = 0; i < buffer->count; i++) {
                const BufferedValue *item = &buffer->items[i];
                if (!item->dead)
                        pieces[count++] = (SpacePiece){item->extent, buffer->bytes.data + item->offset, item->bytes};
        }
        TRY(space_write_pieces(write->tree->cache->space, pieces, count));
        buffer_clear(buffer);
        return ST_OK;
}

Status ptree_write_prepare(PWrite *write)
{
        assert(!write->bulk);
        return write->values.count ? values_write(write) : ST_OK;
}

/* --- storing and dropping --- */

Status write_batch(PWrite *write, SpaceBatch **ret_batch)
{
        if (!write->batch)
                TRY(space_batch_new(write->tree->cache->space, &write->batch));
        *ret_batch = write->batch;
        return ST_OK;
}

/* Into the buffer, behind room for the checksum, which needs the extent, which needs the size. */
static Status value_buffer(PWrite *write, Bytes value, LargeRef *ret_ref)
{
        PTree *tree = write->tree;
        ValueBuffer *buffer = &write->values;
        SpaceBatch *batch;
        TRY(write_batch(write, &batch));
        if (buffer->bytes.size + value.size > BUFFER_BYTES && buffer->count)
                TRY(values_write(write));
        size_t start = buffer->bytes.size;
        buffer->bytes.max_bytes = SIZE_MAX;
        TRY(buf_reserve(&buffer->bytes, VALUE_HEAD_BYTES + value.size));
        buffer->bytes.size += VALUE_HEAD_BYTES;
        if (tree->options.codec)
                TRY(tree->options.codec->encode(tree->options.codec_ctx, value, &buffer->bytes));
        else
                TRY(buf_append(&buffer->bytes, value.data, value.size));
        size_t bytes = buffer->bytes.size - start;
        if (bytes > UINT32_MAX)
                return status_new(ERR_LIMIT, "a value has %zu bytes when stored, more than %u", bytes, UINT32_MAX);
        LargeRef ref = {.birth = write->version, .size = (uint32_t)(bytes - VALUE_HEAD_BYTES)};
        TRY(space_batch_alloc(batch, bytes, &ref.extent));
        TRY(buffer_add(buffer, ref.extent, start, bytes));
        uint8_t *stored = buffer->bytes.data + start;
        store_u64(stored, value_checksum(stored + VALUE_HEAD_BYTES, ref));
        *ret_ref = ref;
        return buffer->bytes.size > BUFFER_BYTES ? values_write(write) : ST_OK;
}

Status value_store(PWrite *write, TreeTop *top, Bytes value, uint8_t packed[REF_MAX_BYTES], uint16_t *ret_code,
                   Bytes *ret_stored)
{
        LargeRef ref;
        /* What is no document lies in the leaf: index entries are small, and read with their neighbours. */
        size_t inline_max = top->id ? PAGE_INLINE_BYTES : write->tree->options.inline_max_bytes;
        if (value.size <= inline_max) {
                top->bytes += value.size;
                *ret_code = (uint16_t)value.size;
                *ret_stored = value;
                return ST_OK;
        }
        if (value.size > UINT32_MAX - PAGE_MAX_BYTES)
                return status_new(ERR_LIMIT, "the value has %zu bytes, more than %u", value.size,
                                  UINT32_MAX - PAGE_MAX_BYTES);
        TRY(value_buffer(write, value, &ref));
        top->bytes += ref.size;
        top->values++;
        size_t size = ref_pack(write->tree->cache, ref, packed);
        *ret_code = (uint16_t)(CODE_LARGE | size);
        *ret_stored = BYTES(packed, size);
        return ST_OK;
}

Status value_drop(PWrite *write, TreeTop *top, const Page *page, unsigned at)
{
        PTree *tree = write->tree;
        Bytes value;
        LargeRef ref;
        uint16_t code = page_value(page, at, &value);
        if (!(code & CODE_LARGE)) {
                top->bytes -= code;
                return ST_OK;
        }
        TRY(ref_unpack(tree->cache, value, &ref));
        if (ref.birth == write->version) {
                /* Nobody else has seen it. */
                BufferedValue *item = buffer_find(&write->values, ref.extent);
                TRY(space_batch_discard(write->batch, ref.extent));
                if (item)
                        item->dead = true;
        } else {
                TRY(garbage_add(tree, (Garbage){.extent = ref.extent,
                                                .birth = ref.birth,
                                                .death = write->version,
                                                .kind = GARBAGE_LARGE}));
        }
        top->bytes -= ref.size;
        top->values--;
        return ST_OK;
}

/* --- values in memory --- */

/* The page of a kept value, valid until the section is left; NULL if it is not kept. */
static const Page *kept_find(PCache *cache, LargeRef ref)
{
        if (ref.extent & VALUE_MARK)
                return NULL;
        Frame *frame = cache_hash_look(cache, ref.extent | VALUE_MARK);
        if (!frame || frame->birth != ref.birth)
                return NULL;
        const Page *page = atomic_load_explicit(&frame->page, memory_order_acquire);
        if (page && !atomic_load_explicit(&frame->used, memory_order_relaxed))
                atomic_store_explicit(&frame->used, 1, memory_order_relaxed);
        return page;
}

static Status kept_read(PCache *cache, LargeRef ref, Arena *hold, Bytes *ret_value, bool *ret_found)
{
        *ret_found = false;
        if (!atomic_load_explicit(&cache->value_seen, memory_order_relaxed))
                return ST_OK;
        _cleanup_(section_leavep) Section *section = NULL;
        TRY(section_enter(cache, &section));
        const Page *page = kept_find(cache, ref);
        if (!page)
                return ST_OK;
        for (unsigned at = 0; at < 4 * CACHE_LINE; at += CACHE_LINE) /* with the line that has the size */
                __builtin_prefetch((const char *)page->image + at);
        uint8_t *copy = arena_try_alloc(hold, MAX(page->capacity, 1u));
        if (!copy)
                return status_nomem();
        if (page->capacity)
                memcpy(copy, page->image, page->capacity);
        /* One writer: whoever is in the section. */
        atomic_store_explicit(&section->value_hits,
                              atomic_load_explicit(&section->value_hits, memory_order_relaxed) + 1,
                              memory_order_relaxed);
        *ret_value = BYTES(copy, page->capacity);
        *ret_found = true;
        return ST_OK;
}

/* Keeps what was read, if that is possible: nobody depends on it. Not as used: it has to be asked for again before the
 * clock comes by. Called by readers who keep the extent from being freed. */
static void value_keep(PCache *cache, LargeRef ref, Bytes value)
{
        size_t bytes = offsetof(Page, image) + value.size;
        if (value.size > VALUE_KEEP_BYTES || space_extent_bytes(cache->space, ref.extent) > SPACE_SPARE_MAX_BYTES)
                return;
        bytes = MAX(bytes, sizeof(Page));
        Page *page = mem_alloc(bytes);
        if (!page)
                return;
        memset(page, 0, sizeof(Page));
        /* Blocks of all sizes that come and go cost the process more than their bytes. */
        bytes += bytes / HEAP_WASTE_SHARE + 16;
        page->alloc_bytes = (uint32_t)bytes;
        page->capacity = (uint32_t)value.size;
        if (value.size)
                memcpy(page->image, value.data, value.size);
        mutex_lock(&cache->mu);
        if (cache_may_take(cache, bytes) && !cache_hash_find(cache, ref.extent | VALUE_MARK)) {
                Frame *frame = cache_frame_take(cache);
                if (frame) {
                        frame->birth = ref.birth;
                        frame->state = FRAME_CLEAN;
                        frame->bound = 0;
                        atomic_store_explicit(&frame->used, 0, memory_order_relaxed);
                        atomic_fetch_add(&cache->used_bytes, bytes);
                        atomic_store_explicit(&frame->page, take(page), memory_order_release);
                        cache_hash_add(cache, frame, ref.extent | VALUE_MARK);
                        atomic_store_explicit(&cache->value_seen, true, memory_order_relaxed);
                }
        }
        mutex_unlock(&cache->mu);
        mem_free(page);
}

void value_release(PCache *cache, Extent extent)
{
        if (atomic_load_explicit(&cache->value_seen, memory_order_relaxed) && !(extent & VALUE_MARK))
                node_release(cache, NULL, extent | VALUE_MARK);
}

/* --- reading --- */

static Status copy_out(Arena *hold, Bytes from, Bytes *ret)
{
        uint8_t *copy = arena_try_alloc(hold, MAX(from.size, (size_t)1));
        if (!copy)
                return status_nomem();
        if (from.size)
                memcpy(copy, from.data, from.size);
        *ret = BYTES(copy, from.size);
        return ST_OK;
}

static Status value_corrupt(PCache *cache, Extent extent, const char *why)
{
        return status_new(ERR_CORRUPT, "%s, offset %" PRIu64 ": a stored value is damaged: %s", cache->name,
                          space_extent_offset(cache->space, extent), why);
}

static Status value_decode(PTree *tree, LargeRef ref, Bytes body, Arena *hold, Bytes *ret_value)
{
        Status st = tree->options.codec->decode(tree->options.codec_ctx, body, hold, ret_value);
        return status_context(st, "%s, offset %" PRIu64, tree->cache->name,
                              space_extent_offset(tree->cache->space, ref.extent));
}

/* From the file, past the cache. */
static Status value_read(PTree *tree, LargeRef ref, Arena *hold, Bytes *ret_value)
{
        enum { STACK_BYTES = 8192 };
        PCache *cache = tree->cache;
        uint8_t small[STACK_BYTES];
        size_t bytes = VALUE_HEAD_BYTES + (size_t)ref.size;
        _cleanup_(mem_freep) uint8_t *large = NULL;
        uint8_t *stored = small;
        if (!tree->options.codec)
                stored = arena_try_alloc(hold, bytes);
        else if (bytes > sizeof(small))
                stored = large = mem_alloc(bytes);
        if (!stored)
                return status_nomem();
        TRY(space_read(cache->space, ref.extent, stored, bytes));
        if (load_u64(stored) != value_checksum(stored + VALUE_HEAD_BYTES, ref))
                return value_corrupt(cache, ref.extent, "wrong checksum, or another value is there");
        Bytes body = BYTES(stored + VALUE_HEAD_BYTES, ref.size);
        if (tree->options.codec)
                return value_decode(tree, ref, body, hold, ret_value);
        *ret_value = body;
        return ST_OK;
}

Status value_out(PTree *tree, PWrite *write, const Page *page, unsigned i, bool scan, Arena *hold, Bytes *ret_value)
{
        PCache *cache = tree->cache;
        Bytes value;
        LargeRef ref;
        bool found;
        if (!(page_value(page, i, &value) & CODE_LARGE))
                return copy_out(hold, value, ret_value);
        TRY(ref_unpack(cache, value, &ref));
        bool own = write && ref.birth == write->version;
        const BufferedValue *item = own ? buffer_find(&write->values, ref.extent) : NULL;
        if (item) {
                Bytes body = BYTES(write->values.bytes.data + item->offset + VALUE_HEAD_BYTES, ref.size);
                return tree->options.codec ? value_decode(tree, ref, body, hold, ret_value)
                                           : copy_out(hold, body, ret_value);
        }
        if (!own) {
                TRY(kept_read(cache, ref, hold, ret_value, &found));
                if (found)
                        return ST_OK;
        }
        TRY(value_read(tree, ref, hold, ret_value));
        atomic_fetch_add_explicit(&cache->value_read_count, 1, memory_order_relaxed);
        /* What a write made itself is not kept, so that an abort has nothing to take back. */
        if (!own && !scan)
                value_keep(cache, ref, *ret_value);
        return ST_OK;
}

Status value_check(PTree *tree, const Page *page, unsigned i, Extent *ret_extent)
{
        Bytes value;
        LargeRef ref;
        Arena hold;
        *ret_extent = 0;
        if (!(page_value(page, i, &value) & CODE_LARGE))
                return ST_OK;
        TRY(ref_unpack(tree->cache, value, &ref));
        arena_init(&hold, 0);
        Status st = value_read(tree, ref, &hold, &value);
        arena_done(&hold);
        if (!st)
                *ret_extent = ref.extent;
        return st;
}
