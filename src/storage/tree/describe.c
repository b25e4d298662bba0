/* describe.c - what is stored in an extent, as text for people who debug: a node with its keys, children and values, a
 * root record with its trees, or bytes. */
#include "storage/tree/tree_int.h"

#include <inttypes.h>

#define SHOWN_KEY_BYTES   48u
#define SHOWN_VALUE_BYTES 48u
#define SHOWN_BYTES       256u

/* "text" with \xNN for what is no printable character, cut. */
static Status quoted(Buf *out, Bytes bytes, size_t most)
{
        TRY(buf_append_str(out, "\""));
        for (size_t i = 0; i < MIN(bytes.size, most); i++) {
                uint8_t c = bytes.data[i];
                if (c == '"' || c == '\\')
                        TRY(buf_printf(out, "\\%c", c));
                else if (c >= ' ' && c < 0x7f)
                        TRY(buf_append_byte(out, c));
                else
                        TRY(buf_printf(out, "\\x%02x", c));
        }
        return buf_append_str(out, bytes.size > most ? "\"..." : "\"");
}

static Status place(PCache *cache, Extent extent, Buf *out)
{
        return buf_printf(out, "extent %" PRIx64 " (offset %" PRIu64 ")", extent,
                          space_extent_offset(cache->space, extent));
}

static Status describe_value(PCache *cache, const Page *page, unsigned i, Buf *out)
{
        Bytes value;
        LargeRef ref;
        if (!(page_value(page, i, &value) & CODE_LARGE)) {
                TRY(buf_printf(out, "%zu bytes ", value.size));
                return quoted(out, value, SHOWN_VALUE_BYTES);
        }
        Status st = ref_unpack(cache, value, &ref);
        if (st) {
                status_ignore(st);
                return buf_append_str(out, "a damaged reference to a value");
        }
        TRY(buf_printf(out, "a value of %u stored bytes, version %" PRIu64 ", in ", ref.size, ref.birth));
        return place(cache, ref.extent, out);
}

static Status describe_child(PCache *cache, const Child *child, Buf *out)
{
        TRY(buf_printf(out, "        child of %" PRIu64 " rows: %u bytes in ", (uint64_t)child->rows,
                       (unsigned)atomic_load(&child->bytes)));
        TRY(place(cache, atomic_load(&child->extent), out));
        return buf_append_str(out, "\n");
}

static Status describe_node(PCache *cache, const Page *page, Buf *out)
{
        uint8_t key[PTREE_MAX_KEY_BYTES];
        TRY(buf_printf(out, "%s, level %u: %u %s, version %" PRIu64 ", %u bytes stored",
                       page->h.level ? "inner node" : "leaf", page->h.level, page->h.count,
                       page->h.level ? "separators" : "rows", page->h.birth, page->h.bytes));
        if (page->h.packed_from)
                TRY(buf_printf(out, " (packed, of %zu)", page->h.packed_from + sizeof(PageHeader)));
        TRY(buf_append_str(out, ", common prefix "));
        TRY(quoted(out, page_prefix(page), SHOWN_KEY_BYTES));
        TRY(buf_append_str(out, "\n"));
        const char *why = page_wrong(page);
        if (why)
                TRY(buf_printf(out, "        damaged: %s\n", why));
        for (unsigned i = 0; i < page->h.count; i++) {
                if (page->h.level)
                        TRY(describe_child(cache, &page->children[i], out));
                TRY(buf_printf(out, "%6u  ", i));
                TRY(quoted(out, BYTES(key, page_key(page, i, key)), SHOWN_KEY_BYTES));
                if (page->h.level == 0) {
                        TRY(buf_append_str(out, ": "));
                        TRY(describe_value(cache, page, i, out));
                }
                TRY(buf_append_str(out, "\n"));
        }
        return page->h.level ? describe_child(cache, &page->children[page->h.count], out) : ST_OK;
}

static Status describe_record(PCache *cache, const uint8_t *stored, size_t bytes, Buf *out)
{
        const uint8_t *at = stored + sizeof(PageHeader);
        if (bytes < sizeof(PageHeader) + RECORD_HEAD_BYTES)
                return buf_append_str(out, "root record, cut short\n");
        uint32_t count = load_u32(at + 32), cleared = load_u32(at + 36);
        TRY(buf_printf(out,
                       "root record: version %" PRIu64 ", position %" PRIu64 ", %" PRIu64
                       " bytes of keys and values, %" PRIu64
                       " values in extents of their own, %u trees, %u cleared ones\n",
                       load_u64(at), load_u64(at + 8), load_u64(at + 16), load_u64(at + 24), count, cleared));
        at += RECORD_HEAD_BYTES;
        for (uint64_t i = 0; i < (uint64_t)count + cleared && at + RECORD_TREE_BYTES <= stored + bytes;
             i++, at += RECORD_TREE_BYTES) {
                TRY(buf_printf(out, "        %stree %u of %" PRIu64 " rows: %u bytes in ", i < count ? "" : "cleared ",
                               load_u32(at), load_u64(at + 16), load_u32(at + 4)));
                TRY(place(cache, load_u64(at + 8), out));
                TRY(buf_append_str(out, "\n"));
        }
        return ST_OK;
}

static Status describe_bytes(const uint8_t *bytes, size_t size, Buf *out)
{
        for (size_t at = 0; at < MIN(size, (size_t)SHOWN_BYTES); at += 16) {
                size_t n = MIN(size - at, (size_t)16);
                TRY(buf_printf(out, "%8zu ", at));
                for (size_t i = 0; i < 16; i++)
                        TRY(i < n ? buf_printf(out, " %02x", bytes[at + i]) : buf_append_str(out, "   "));
                TRY(buf_append_str(out, "  "));
                for (size_t i = 0; i < n; i++)
                        TRY(buf_append_byte(out, bytes[at + i] >= ' ' && bytes[at + i] < 0x7f ? bytes[at + i] : '.'));
                TRY(buf_append_str(out, "\n"));
        }
        return size > SHOWN_BYTES ? buf_append_str(out, "         ...\n") : ST_OK;
}

Status ptree_describe(PCache *cache, Extent extent, Buf *out)
{
        PageHeader header;
        const char *why = "its size cannot be";
        size_t room = space_extent_bytes(cache->space, extent), bytes = MIN(room, (size_t)65536);
        if (room == 0)
                return status_new(ERR_NOT_FOUND, "%" PRIx64 " is no extent's number", extent);
        _cleanup_(mem_freep) uint8_t *stored = mem_alloc(bytes);
        if (!stored)
                return status_nomem();
        TRY(space_read(cache->space, extent, stored, bytes));
        TRY(place(cache, extent, out));
        TRY(buf_printf(out, ", room for %zu bytes\n", room));
        memcpy(&header, stored, sizeof(header));
        if (header.magic != PAGE_MAGIC) {
                TRY(buf_append_str(out,
                                   "no node and no root record: the bytes of a value, or of what was here before\n"));
                return describe_bytes(stored, bytes, out);
        }
        if (header.bytes >= sizeof(header) && header.bytes <= bytes) {
                if (header.kind == PAGE_ROOT && stored_check(stored, header.bytes, extent, PAGE_ROOT, PAGE_ROOT, &why))
                        return describe_record(cache, stored, header.bytes, out);
                Page *page = header.kind == PAGE_ROOT ? NULL : page_decode(NULL, stored, header.bytes, extent, &why);
                if (page) {
                        Status st = describe_node(cache, page, out);
                        mem_free(page);
                        return st;
                }
                if (!why)
                        return status_nomem();
        }
        TRY(buf_printf(out, "a damaged node or root record: %s\n", why));
        return describe_bytes(stored, bytes, out);
}
