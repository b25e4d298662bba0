/* page.c - one node as bytes: sorted slots with key heads in front, a heap of suffixes and values at the end. */
#include "storage/tree/tree_int.h"

#include <assert.h>
#include <lz4.h>

/* --- keys --- */

static uint32_t key_head(const uint8_t *suffix, size_t size)
{
        uint32_t head = 0;
        if (size >= 4)
                memcpy(&head, suffix, 4);
        else if (size)
                memcpy(&head, suffix, size);
        return __builtin_bswap32(head);
}

static size_t common_size(const uint8_t *a, const uint8_t *b, size_t limit)
{
        size_t n = 0;
        while (n < limit && a[n] == b[n])
                n++;
        return n;
}

/* Compares with the prefix; 0: `*key` begins with it, and the rest is left in `*key`. */
static int prefix_compare(const Page *page, Bytes *key)
{
        Bytes prefix = page_prefix(page);
        size_t n = MIN(prefix.size, key->size), front = MIN(n, sizeof(page->prefix_head));
        int c = front ? memcmp(key->data, page->prefix_head, front) : 0;
        if (c == 0 && n > front)
                c = memcmp(key->data + front, prefix.data + front, n - front);
        if (c)
                return c;
        if (key->size < prefix.size)
                return -1;
        key->data += prefix.size;
        key->size -= prefix.size;
        return 0;
}

static void prefix_note(Page *page)
{
        memcpy(page->prefix_head, page_prefix(page).data, MIN((size_t)page->h.prefix_size, sizeof(page->prefix_head)));
}

/* First slot in [low, high) whose head is >= `head` (or, `above`, > `head`). */
static unsigned head_bound(const Slot *slots, unsigned low, unsigned high, uint64_t head)
{
        unsigned n = high - low;
        const Slot *base = slots + low;
        while (n > 1) {
                unsigned half = n / 2;
                base = base[half - 1].head < head ? base + half : base;
                n -= half;
        }
        return (unsigned)(base - slots) + (n == 1 && base->head < head);
}

unsigned page_search(const Page *page, Bytes key, bool *ret_equal)
{
        *ret_equal = false;
        int c = prefix_compare(page, &key);
        if (c)
                return c < 0 ? 0 : page->h.count;
        const Slot *slots = page_slots(page);
        uint32_t head = key_head(key.data, key.size);
        unsigned low = head_bound(slots, 0, page->h.count, head), high = low;
        if (low == page->h.count || slots[low].head != head)
                return low;
        if (low + 1 < page->h.count && slots[low + 1].head == head)
                high = head_bound(slots, low + 1, page->h.count, (uint64_t)head + 1);
        else
                high = low + 1;
        while (low < high) {
                unsigned middle = (low + high) / 2;
                c = bytes_compare(page_suffix(page, middle), key);
                if (c == 0) {
                        *ret_equal = true;
                        return middle;
                }
                if (c < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

unsigned page_child_of(const Page *page, Bytes key)
{
        bool equal;
        unsigned at = page_search(page, key, &equal);
        return at + equal;
}

size_t page_key(const Page *page, unsigned i, uint8_t out[PTREE_MAX_KEY_BYTES])
{
        Entry entry = page_entry(page, i);
        return entry_key(&entry, out);
}

size_t entry_key(const Entry *entry, uint8_t out[PTREE_MAX_KEY_BYTES])
{
        if (entry->a_size)
                memcpy(out, entry->a, entry->a_size);
        if (entry->b_size)
                memcpy(out + entry->a_size, entry->b, entry->b_size);
        return (size_t)entry->a_size + entry->b_size;
}

Entry page_entry(const Page *page, unsigned i)
{
        Bytes prefix = page_prefix(page), suffix = page_suffix(page, i);
        Entry entry = {
                .a = prefix.data, .b = suffix.data, .a_size = (uint16_t)prefix.size, .b_size = (uint16_t)suffix.size};
        if (page->h.level == 0) {
                Bytes value;
                entry.code = page_value(page, i, &value);
                entry.value = value.data;
                entry.value_size = (uint16_t)value.size;
        }
        return entry;
}

/* --- blocks --- */

Page *page_new(PCache *cache, unsigned level, uint32_t child_capacity)
{
        assert(child_capacity * sizeof(Child) <= PAGE_MAX_BYTES - sizeof(PageHeader));
        Page *page = cache ? page_alloc(cache) : mem_alloc(PAGE_SLOT_BYTES);
        if (!page)
                return NULL;
        if (!cache)
                page->block = 0;
        page->limbo_next = NULL;
        page->limbo_stamp = 0;
        atomic_init(&page->pins, 0);
        page->alloc_bytes = PAGE_SLOT_BYTES;
        page->capacity = PAGE_MAX_BYTES - child_capacity * (uint32_t)sizeof(Child);
        page->child_capacity = child_capacity;
        page->children = level ? (Child *)((uintptr_t)page->image + page->capacity) : NULL;
        page->h = (PageHeader){.magic = PAGE_MAGIC,
                               .kind = level ? PAGE_INNER : PAGE_LEAF,
                               .level = (uint8_t)level,
                               .version = PAGE_VERSION};
        return page;
}

static uint32_t page_free_bytes(const Page *page)
{
        return page->capacity - (uint32_t)sizeof(PageHeader) - page->h.count * (uint32_t)sizeof(Slot) -
               page->h.heap_bytes;
}

size_t page_need(const Page *page, Bytes key, size_t value_size)
{
        if (prefix_compare(page, &key) != 0)
                return SIZE_MAX;
        return sizeof(Slot) + key.size + (page->h.level ? 0 : 2 + value_size);
}

bool page_fits(const Page *page, size_t need, bool *ret_storable)
{
        size_t stored = page_live_bytes(page) + (page->h.level ? sizeof(Child) : 0);
        *ret_storable = need <= PAGE_MAX_BYTES && stored + need <= PAGE_MAX_BYTES;
        return *ret_storable && need <= page_free_bytes(page) &&
               (page->h.level == 0 || page_child_count(page) < page->child_capacity);
}

/* Puts an entry's bytes on the heap; the slot is the caller's. */
static Slot heap_push(Page *page, const uint8_t *suffix, size_t suffix_size, uint16_t code, Bytes value)
{
        size_t fixed = page->h.level ? 0 : 2;
        page->h.heap_bytes = (uint16_t)(page->h.heap_bytes + fixed + suffix_size + value.size);
        uint8_t *entry = (uint8_t *)(uintptr_t)page_end(page) - page->h.heap_bytes;
        if (fixed)
                store_u16(entry, code);
        if (suffix_size)
                memcpy(entry + fixed, suffix, suffix_size);
        if (value.size)
                memcpy(entry + fixed + suffix_size, value.data, value.size);
        return (Slot){key_head(suffix, suffix_size), page->h.heap_bytes, (uint16_t)suffix_size};
}

void page_insert(Page *page, unsigned at, Bytes key, uint16_t code, Bytes value)
{
        assert(at <= page->h.count && key.size >= page->h.prefix_size);
        Slot *slots = page_slots(page);
        Slot slot = heap_push(page, key.data + page->h.prefix_size, key.size - page->h.prefix_size, code, value);
        memmove(slots + at + 1, slots + at, (page->h.count - at) * sizeof(Slot));
        slots[at] = slot;
        page->h.count++;
}

void page_remove(Page *page, unsigned at)
{
        assert(at < page->h.count);
        Slot *slots = page_slots(page);
        Slot slot = slots[at];
        size_t bytes = slot.suffix_size;
        if (page->h.level == 0) {
                Bytes value;
                page_value(page, at, &value);
                bytes += 2 + value.size;
        }
        if (slot.offset == page->h.heap_bytes)
                page->h.heap_bytes = (uint16_t)(page->h.heap_bytes - bytes);
        else
                page->h.dead_bytes = (uint16_t)(page->h.dead_bytes + bytes);
        page->h.count--;
        memmove(slots + at, slots + at + 1, (page->h.count - at) * sizeof(Slot));
}

void child_set(Child *child, uint64_t extent, Frame *frame, uint64_t rows, uint32_t bytes)
{
        atomic_store_explicit(&child->extent, extent, memory_order_relaxed);
        atomic_store_explicit(&child->frame, frame, memory_order_relaxed);
        atomic_store_explicit(&child->hint, NULL, memory_order_relaxed);
        atomic_store_explicit(&child->bytes, (uint16_t)bytes, memory_order_relaxed);
        child->rows = rows & CHILD_ROWS_MAX;
}

/* The source may be published, and a flush may be giving it its extent: `bytes` is stored before `extent`. A node that
 * has been written since is taken by its extent, so that no pointer to its frame is handed on. */
void child_copy(Child *to, const Child *from)
{
        uint64_t extent = atomic_load_explicit(&from->extent, memory_order_acquire);
        uint32_t bytes = extent ? atomic_load_explicit(&from->bytes, memory_order_relaxed) : 0;
        child_set(to, extent, atomic_load_explicit(&from->frame, memory_order_relaxed), from->rows, bytes);
        atomic_store_explicit(&to->hint, atomic_load_explicit(&from->hint, memory_order_relaxed), memory_order_relaxed);
}

void page_child_insert(Page *page, unsigned at, uint64_t extent, Frame *frame, uint64_t rows, uint32_t bytes)
{
        /* Called after the separator went in: count + 1 children are to be, count are there. */
        unsigned count = page->h.count;
        assert(count + 1u <= page->child_capacity && at <= count);
        for (unsigned i = count; i > at; i--)
                child_copy(&page->children[i], &page->children[i - 1]);
        child_set(&page->children[at], extent, frame, rows, bytes);
}

void page_child_remove(Page *page, unsigned at)
{
        /* Called after the separator went out: count + 2 children are there. */
        for (unsigned i = at; i < page->h.count + 1u; i++)
                child_copy(&page->children[i], &page->children[i + 1]);
}

/* How the free part of an inner node is shared between children and what else an entry needs: `bytes` is taken by
 * `count` separators and their slots, and one that needs `need` more may be next. */
static uint32_t child_room(unsigned level, unsigned count, size_t bytes, size_t need)
{
        if (level == 0)
                return 0;
        size_t most = (PAGE_MAX_BYTES - sizeof(PageHeader) - bytes) / sizeof(Child), children = count + 1u;
        size_t each = sizeof(Child) + (count ? bytes / count : 16), left = PAGE_MAX_BYTES - sizeof(PageHeader) - bytes;
        if (left < need + (children + 1) * sizeof(Child))
                return (uint32_t)MIN(most, children);
        left -= need + (children + 1) * sizeof(Child);
        return (uint32_t)(children + 1 + left / each);
}

Page *page_copy(PCache *cache, const Page *page, size_t need)
{
        uint32_t children = page_child_count(page);
        size_t bytes = page_live_bytes(page) - sizeof(PageHeader) - children * sizeof(Child);
        Page *copy = page_new(cache, page->h.level, child_room(page->h.level, page->h.count, bytes, need));
        if (!copy)
                return NULL;
        copy->h = page->h;
        if (page->h.dead_bytes == 0) {
                memcpy(page_slots(copy), page_slots(page), page->h.count * sizeof(Slot));
                memcpy((uint8_t *)(uintptr_t)page_end(copy) - page->h.heap_bytes, page_end(page) - page->h.heap_bytes,
                       page->h.heap_bytes);
        } else {
                Bytes prefix = page_prefix(page);
                copy->h.heap_bytes = copy->h.prefix_size;
                copy->h.dead_bytes = 0;
                if (prefix.size)
                        memcpy((uint8_t *)(uintptr_t)page_end(copy) - prefix.size, prefix.data, prefix.size);
                for (unsigned i = 0; i < page->h.count; i++) {
                        Entry entry = page_entry(page, i);
                        page_slots(copy)[i] = heap_push(copy, entry.b, entry.b_size, entry.code,
                                                        BYTES(entry.value, entry.value_size));
                }
        }
        prefix_note(copy);
        for (uint32_t i = 0; i < children; i++)
                child_copy(&copy->children[i], &page->children[i]);
        return copy;
}

/* --- building --- */

static size_t entries_prefix(const Entry *entries, unsigned count)
{
        uint8_t first[PTREE_MAX_KEY_BYTES], last[PTREE_MAX_KEY_BYTES];
        if (count == 0)
                return 0;
        size_t n = entry_key(&entries[0], first), m = entry_key(&entries[count - 1], last);
        return common_size(first, last, MIN(n, m));
}

static size_t entry_bytes(unsigned level, const Entry *entry)
{
        return sizeof(Slot) + entry->a_size + entry->b_size + (level ? 0u : 2u + entry->value_size);
}

static size_t built_bytes(unsigned level, const Entry *entries, unsigned count, size_t sum)
{
        size_t prefix = entries_prefix(entries, count);
        return sizeof(PageHeader) + sum + (level ? (count + 1) * sizeof(Child) : 0) + prefix - count * prefix;
}

size_t page_built_bytes(unsigned level, const Entry *entries, unsigned count)
{
        size_t sum = 0;
        for (unsigned i = 0; i < count; i++)
                sum += entry_bytes(level, &entries[i]);
        return built_bytes(level, entries, count, sum);
}

Page *page_build(PCache *cache, unsigned level, const Entry *entries, const Child *children, unsigned count)
{
        size_t prefix = entries_prefix(entries, count), bytes = page_built_bytes(level, entries, count);
        uint8_t key[PTREE_MAX_KEY_BYTES];
        assert(bytes <= PAGE_MAX_BYTES);
        bytes -= sizeof(PageHeader) + (level ? (count + 1) * sizeof(Child) : 0);
        Page *page = page_new(cache, level, child_room(level, count, bytes, 64));
        if (!page)
                return NULL;
        if (prefix) {
                entry_key(&entries[0], key);
                memcpy((uint8_t *)(uintptr_t)page_end(page) - prefix, key, prefix);
        }
        page->h.prefix_size = page->h.heap_bytes = (uint16_t)prefix;
        for (unsigned i = 0; i < count; i++) {
                size_t size = entry_key(&entries[i], key);
                page_slots(page)[i] = heap_push(page, key + prefix, size - prefix, entries[i].code,
                                                BYTES(entries[i].value, entries[i].value_size));
        }
        page->h.count = (uint16_t)count;
        prefix_note(page);
        if (level)
                for (unsigned i = 0; i <= count; i++)
                        child_copy(&page->children[i], &children[i]);
        return page;
}

unsigned entries_cut(unsigned level, const Entry *entries, unsigned count, unsigned wish)
{
        unsigned up = level ? 1 : 0; /* the separator that moves up */
        size_t total = 0, best = SIZE_MAX, left = 0;
        unsigned cut = 0;
        for (unsigned i = 0; i < count; i++)
                total += entry_bytes(level, &entries[i]);
        /* Three tries: what the caller wishes, the middle by bytes, and every place. The last cannot fail: what came
         * from one or two nodes can be cut where these ended, or before or behind the one new entry (README, I6). */
        for (int pass = 0; pass < 3 && best > PAGE_MAX_BYTES; pass++) {
                left = 0;
                for (unsigned i = 0; i < count; i++) {
                        size_t here = entry_bytes(level, &entries[i]);
                        bool look = i >= 1 && i + up < count &&
                                    (pass == 0   ? i == wish
                                     : pass == 1 ? left < total / 2 && left + here >= total / 2
                                                 : true);
                        if (look) {
                                size_t a = built_bytes(level, entries, i, left);
                                size_t b = built_bytes(level, entries + i + up, count - i - up,
                                                       total - left - (up ? here : 0));
                                if (MAX(a, b) < best) {
                                        best = MAX(a, b);
                                        cut = i;
                                }
                        }
                        left += here;
                }
        }
        assert(best <= PAGE_MAX_BYTES);
        return cut;
}

/* --- stored form --- */

void stored_seal(uint8_t *stored)
{
        PageHeader header;
        memcpy(&header, stored, sizeof(header));
        store_u64(stored, bytes_hash(stored + 8, header.bytes - 8));
}

/* The unpacked form. */
static uint32_t page_lay_out(const Page *page, uint8_t *out)
{
        unsigned children = page_child_count(page);
        PageHeader header = page->h;
        uint8_t *at = out + sizeof(PageHeader) + page->h.count * sizeof(Slot);
        header.heap_bytes = (uint16_t)(header.heap_bytes - header.dead_bytes);
        header.dead_bytes = 0;
        uint8_t *end = at + header.heap_bytes;
        header.packed_from = 0;
        header.bytes = (uint32_t)(end - out + children * STORED_CHILD_BYTES);
        memcpy(out, &header, sizeof(header));
        if (page->h.dead_bytes == 0) {
                memcpy(out + sizeof(header), page_slots(page), page->h.count * sizeof(Slot));
                memcpy(at, page_end(page) - page->h.heap_bytes, page->h.heap_bytes);
        } else {
                /* The living entries, one before the other. */
                uint8_t *entry = end - page->h.prefix_size;
                if (page->h.prefix_size)
                        memcpy(entry, page_prefix(page).data, page->h.prefix_size);
                for (unsigned i = 0; i < page->h.count; i++) {
                        Slot slot = page_slots(page)[i];
                        Bytes value = BYTES_NONE;
                        if (page->h.level == 0)
                                page_value(page, i, &value);
                        size_t bytes = (page->h.level ? 0u : 2u) + slot.suffix_size + value.size;
                        entry -= bytes;
                        memcpy(entry, page_end(page) - slot.offset, bytes);
                        slot.offset = (uint16_t)(end - entry);
                        memcpy(out + sizeof(header) + i * sizeof(Slot), &slot, sizeof(slot));
                }
                assert(entry == at);
        }
        for (unsigned i = 0; i < children; i++, end += STORED_CHILD_BYTES) {
                const Child *child = &page->children[i];
                uint64_t where = atomic_load_explicit(&child->extent, memory_order_acquire);
                assert(where);
                store_u64(end, where);
                store_u64(end + 8,
                          (uint64_t)child->rows << 16 | atomic_load_explicit(&child->bytes, memory_order_relaxed));
        }
        return header.bytes;
}

/* Packing pays if the node comes into a smaller extent: these are 20 % apart. Where nodes do not get smaller (values
 * that are packed already), only now and then one is tried. */
uint32_t page_encode(const Page *page, uint64_t birth, PagePacking *packing, uint8_t *out)
{
        uint8_t plain[PAGE_MAX_BYTES];
        const uint32_t head = sizeof(PageHeader);
        uint32_t bytes = page_lay_out(page, plain), body = bytes - head, most = body - bytes / 6;
        PageHeader header;
        memcpy(&header, plain, head);
        header.birth = birth;
        if (packing->skip > 0) {
                packing->skip--;
        } else if (bytes > PACK_MIN_BYTES) {
                int packed = LZ4_compress_default((const char *)plain + head, (char *)out + head, (int)body, (int)most);
                if (packed > 0) {
                        packing->failures = 0;
                        header.packed_from = body;
                        header.bytes = head + (uint32_t)packed;
                        memcpy(out, &header, head);
                        return header.bytes;
                }
                packing->failures = MIN(packing->failures + 1, 5u);
                packing->skip = (1u << packing->failures) - 1;
        }
        memcpy(out, &header, head);
        memcpy(out + head, plain + head, body);
        return bytes;
}

void stored_place(uint8_t *stored, Extent extent)
{
        store_u64(stored + offsetof(PageHeader, extent), extent);
        stored_seal(stored);
}

const char *const stored_other_version = "it is of another version";

bool stored_check(const uint8_t *stored, size_t bytes, Extent extent, PageKind kind_a, PageKind kind_b,
                  const char **ret_why)
{
        PageHeader header;
        *ret_why = "it is too short";
        if (bytes < sizeof(header))
                return false;
        memcpy(&header, stored, sizeof(header));
        *ret_why = "there is no node here";
        if (header.magic != PAGE_MAGIC)
                return false;
        *ret_why = "its size is wrong";
        if (header.bytes != bytes)
                return false;
        *ret_why = "its checksum is wrong";
        if (header.checksum != bytes_hash(stored + 8, bytes - 8))
                return false;
        *ret_why = "it was written to another place";
        if (header.extent != extent)
                return false;
        *ret_why = stored_other_version;
        if (header.version != PAGE_VERSION)
                return false;
        *ret_why = "it is of another kind";
        return header.kind == kind_a || header.kind == kind_b;
}

/* What page_wrong(), and everybody else, takes for granted. */
static const char *page_parts_wrong(const Page *page)
{
        static const char *const wrong = "its parts do not add up";
        size_t sum = page->h.prefix_size;
        for (unsigned i = 0; i < page->h.count; i++) {
                Slot slot = page_slots(page)[i];
                size_t size = slot.suffix_size + (page->h.level ? 0u : 2u);
                if (slot.offset > page->h.heap_bytes || slot.offset < page->h.prefix_size + size ||
                    page->h.prefix_size + slot.suffix_size > PTREE_MAX_KEY_BYTES)
                        return wrong;
                if (page->h.level == 0) {
                        uint16_t code = load_u16(page_end(page) - slot.offset);
                        size_t value = code & ~CODE_LARGE;
                        size += value;
                        if (value > (code & CODE_LARGE ? REF_MAX_BYTES : PAGE_INLINE_BYTES) ||
                            slot.offset < page->h.prefix_size + size)
                                return wrong;
                }
                sum += size;
        }
        for (unsigned i = 0; i < page_child_count(page); i++)
                if (atomic_load_explicit(&page->children[i].extent, memory_order_relaxed) == 0 ||
                    page->children[i].rows == 0)
                        return wrong;
        return sum == page->h.heap_bytes ? NULL : wrong;
}

Page *page_decode(PCache *cache, const uint8_t *stored, size_t bytes, Extent extent, const char **ret_why)
{
        PageHeader header;
        if (!stored_check(stored, bytes, extent, PAGE_LEAF, PAGE_INNER, ret_why))
                return NULL;
        memcpy(&header, stored, sizeof(header));
        /* The checksum is right, so this only keeps a wrong writer's bytes from being followed. */
        *ret_why = "its parts do not add up";
        uint8_t plain[PAGE_MAX_BYTES];
        if (header.packed_from) {
                if (header.packed_from > sizeof(plain) - sizeof(header) ||
                    LZ4_decompress_safe((const char *)stored + sizeof(header), (char *)plain + sizeof(header),
                                        (int)(bytes - sizeof(header)),
                                        (int)header.packed_from) != (int)header.packed_from)
                        return NULL;
                stored = plain; /* but for the header */
                bytes = sizeof(header) + header.packed_from;
        }
        size_t children = header.level ? header.count + 1u : 0, front = sizeof(header) + header.count * sizeof(Slot);
        if (front + header.heap_bytes + children * sizeof(Child) > PAGE_MAX_BYTES ||
            (header.kind == PAGE_INNER) != (header.level > 0) || header.level >= HEIGHT_LIMIT ||
            front + header.heap_bytes + children * STORED_CHILD_BYTES != bytes ||
            header.prefix_size > header.heap_bytes || header.dead_bytes || header.count == 0)
                return NULL;
        Page *page = page_new(cache, header.level, (uint32_t)children);
        if (!page) {
                *ret_why = NULL;
                return NULL;
        }
        page->h = header;
        memcpy(page_slots(page), stored + sizeof(header), header.count * sizeof(Slot));
        memcpy((uint8_t *)(uintptr_t)page_end(page) - header.heap_bytes, stored + front, header.heap_bytes);
        prefix_note(page);
        const uint8_t *at = stored + front + header.heap_bytes;
        for (unsigned i = 0; i < children; i++, at += STORED_CHILD_BYTES) {
                uint64_t rows = load_u64(at + 8);
                child_set(&page->children[i], load_u64(at), NULL, rows >> 16, (uint32_t)(rows & 0xffff));
        }
        const char *why = page_parts_wrong(page);
        if (!why)
                why = page_wrong(page);
        if (!why)
                return page;
        *ret_why = why;
        if (cache)
                page_free(cache, page);
        else
                mem_free(page);
        return NULL;
}

const char *page_wrong(const Page *page)
{
        for (unsigned i = 0; i < page->h.count; i++) {
                Bytes suffix = page_suffix(page, i);
                if (page_slots(page)[i].head != key_head(suffix.data, suffix.size))
                        return "a slot's head is not its key's";
                if (i && bytes_compare(page_suffix(page, i - 1), suffix) >= 0)
                        return "its keys do not ascend";
        }
        if (memcmp(page->prefix_head, page_prefix(page).data,
                   MIN((size_t)page->h.prefix_size, sizeof(page->prefix_head))) != 0)
                return "its prefix is not what it was";
        if (page_live_bytes(page) > PAGE_MAX_BYTES)
                return "it is too large";
        return NULL;
}
