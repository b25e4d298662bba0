/* record.h - what a frame of the commit log says: the changes of one commit, one record behind the other.
 *
 *   0      1      2          4            8          16
 *   | kind | tree | key_size | value_size | table_id | key ... | value ... | old ...     little-endian, no padding
 *   1 put   2 delete (key)   3 create table (key = engine's name)   4 drop table   5 clear (the tree, which is not 0)
 *
 * A put or delete of a row (tree 0) may say what the row was before, so that whoever follows the log (tail.h) needs no
 * snapshot to know it. The two high bits of `kind`:
 *   0x00  not said      0x40  there was no row      0x80  `old` says: what differs from the new value
 *
 *      new   | first `prefix` bytes | ......... | last `suffix` bytes |        old   0        4        8             12
 *      old   | the same             | middle    | the same            |              | prefix | suffix | middle_size |
 * middle
 *
 * A deletion has no new value, so its middle is the row as a whole. */
#ifndef STORAGE_RECORD_H
#define STORAGE_RECORD_H

#include "base/arena.h"
#include "base/bytes.h"

#define RECORD_BYTES     16
#define RECORD_OLD_BYTES 12
typedef enum RecordKind {
        RECORD_PUT = 1,
        RECORD_DELETE = 2,
        RECORD_CREATE = 3,
        RECORD_DROP = 4,
        RECORD_CLEAR = 5
} RecordKind;
typedef enum RecordBefore {
        BEFORE_UNSAID = 0,
        BEFORE_NONE = 0x40,
        BEFORE_ROW = 0x80,
} RecordBefore;

typedef struct Record {
        RecordKind kind;
        RecordBefore before;
        uint8_t tree; /* of the table: 0 has the rows, others index entries */
        uint64_t table_id;
        Bytes key, value; /* point into the body */
        /* BEFORE_ROW */
        uint32_t prefix, suffix; /* what the row before has in common with `value` */
        Bytes middle;            /* what it has between the two; points into the body */
} Record;

/* It changes what a table has, and not which tables there are. */
static inline bool record_is_change(const Record *record)
{
        return record->kind == RECORD_PUT || record->kind == RECORD_DELETE || record->kind == RECORD_CLEAR;
}

static inline size_t record_bytes(const Record *record)
{
        size_t old = record->before == BEFORE_ROW ? RECORD_OLD_BYTES + record->middle.size : 0;
        return RECORD_BYTES + record->key.size + record->value.size + old;
}

/* Notes what the row was before (data NULL: there was none), as a difference from record->value. `old` must stay until
 * record_fill(). */
static inline void record_set_old(Record *record, Bytes old)
{
        const Bytes value = record->value.data ? record->value : BYTES_STR(""); /* no arithmetic on NULL */
        const uint8_t *new_data = value.data;
        size_t most = old.size < value.size ? old.size : value.size, prefix = 0, suffix = 0;
        record->before = old.data ? BEFORE_ROW : BEFORE_NONE;
        if (!old.data)
                return;
        while (prefix + 8 <= most && load_u64(old.data + prefix) == load_u64(new_data + prefix))
                prefix += 8;
        while (prefix < most && old.data[prefix] == new_data[prefix])
                prefix++;
        const uint8_t *old_end = old.data + old.size, *new_end = new_data + value.size;
        most -= prefix;
        while (suffix + 8 <= most && load_u64(old_end - suffix - 8) == load_u64(new_end - suffix - 8))
                suffix += 8;
        while (suffix < most && old_end[-1 - (ptrdiff_t)suffix] == new_end[-1 - (ptrdiff_t)suffix])
                suffix++;
        record->prefix = (uint32_t)prefix;
        record->suffix = (uint32_t)suffix;
        record->middle = BYTES(old.data + prefix, old.size - prefix - suffix);
}

/* What the row was before the change. *ret_known: the log says so; *ret_old has data NULL if there was none. It points
 * into the body or into `hold`. */
static inline MUST_USE Status record_old(const Record *record, Arena *hold, Bytes *ret_old, bool *ret_known)
{
        *ret_known = record->before != BEFORE_UNSAID;
        *ret_old = BYTES_NONE;
        if (record->before != BEFORE_ROW)
                return ST_OK;
        size_t size = record->prefix + record->middle.size + record->suffix;
        if (size == record->middle.size) {
                *ret_old = record->middle;
                return ST_OK;
        }
        uint8_t *old = arena_try_alloc(hold, size);
        if (!old)
                return status_nomem();
        memcpy(old, record->value.data, record->prefix);
        memcpy(old + record->prefix, record->middle.data, record->middle.size);
        memcpy(old + size - record->suffix, record->value.data + record->value.size - record->suffix, record->suffix);
        *ret_old = BYTES(old, size);
        return ST_OK;
}

/* Writes record_bytes() to `out`. */
static inline void record_fill(uint8_t *out, const Record *record)
{
        out[0] = (uint8_t)((unsigned)record->kind | (unsigned)record->before);
        out[1] = record->tree;
        store_u16(out + 2, (uint16_t)record->key.size);
        store_u32(out + 4, (uint32_t)record->value.size);
        store_u64(out + 8, record->table_id);
        out += RECORD_BYTES;
        if (record->key.size)
                memcpy(out, record->key.data, record->key.size);
        out += record->key.size;
        if (record->value.size)
                memcpy(out, record->value.data, record->value.size);
        out += record->value.size;
        if (record->before != BEFORE_ROW)
                return;
        store_u32(out, record->prefix);
        store_u32(out + 4, record->suffix);
        store_u32(out + 8, (uint32_t)record->middle.size);
        if (record->middle.size)
                memcpy(out + RECORD_OLD_BYTES, record->middle.data, record->middle.size);
}

static inline MUST_USE Status record_cut_off(void)
{
        return status_new(ERR_CORRUPT, "the commit has a record that is cut off");
}

/* The record at *offset of a frame's body; *offset moves behind it. *ret_found is false at the end. ERR_CORRUPT: no
 * record can begin there (the frame's checksum was right, so that whoever wrote it was wrong). */
static inline MUST_USE Status record_next(Bytes body, size_t *offset, Record *ret_record, bool *ret_found)
{
        size_t left = body.size - *offset;
        const uint8_t *p = body.data + *offset;
        *ret_found = left > 0;
        if (left == 0)
                return ST_OK;
        if (left < RECORD_BYTES)
                return record_cut_off();
        size_t key_size = load_u16(p + 2), value_size = load_u32(p + 4), size = RECORD_BYTES + key_size + value_size;
        unsigned kind = p[0] & 0x3fu, before = p[0] & 0xc0u;
        if (size > left)
                return record_cut_off();
        if (kind < RECORD_PUT || kind > RECORD_CLEAR || before > BEFORE_ROW)
                return status_new(ERR_CORRUPT, "the commit has a record of the unknown kind %u", p[0]);
        if (kind == RECORD_CLEAR ? p[1] == 0 : p[1] != 0 && kind > RECORD_DELETE)
                return status_new(ERR_CORRUPT, "the commit has a record of kind %u for tree %u", kind, p[1]);
        if (before && (kind > RECORD_DELETE || p[1] != 0))
                return status_new(ERR_CORRUPT, "the commit has a record of kind %u with a row before it", kind);
        *ret_record = (Record){.kind = (RecordKind)kind,
                               .before = (RecordBefore)before,
                               .tree = p[1],
                               .table_id = load_u64(p + 8),
                               .key = BYTES(p + RECORD_BYTES, key_size),
                               .value = BYTES(p + RECORD_BYTES + key_size, value_size)};
        if (before == BEFORE_ROW) {
                const uint8_t *old = p + size;
                if (left - size < RECORD_OLD_BYTES || load_u32(old + 8) > left - size - RECORD_OLD_BYTES)
                        return record_cut_off();
                ret_record->prefix = load_u32(old);
                ret_record->suffix = load_u32(old + 4);
                ret_record->middle = BYTES(old + RECORD_OLD_BYTES, load_u32(old + 8));
                if ((uint64_t)ret_record->prefix + ret_record->suffix > value_size)
                        return status_new(ERR_CORRUPT, "the commit has a row before that is longer than the one after");
                size += RECORD_OLD_BYTES + ret_record->middle.size;
        }
        *offset += size;
        return ST_OK;
}

#endif
