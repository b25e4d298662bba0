/* record.h - what a frame of the commit log says: the changes of one commit, one record behind the other.
 *
 *   0      1      2          4            8          16
 *   | kind | tree | key_size | value_size | table_id | key ... | value ...        little-endian, no padding
 *   1 put   2 delete (key)   3 create table (key = engine's name)   4 drop table   5 clear (the tree, which is not 0)
 */
#ifndef STORAGE_RECORD_H
#define STORAGE_RECORD_H

#include "base/bytes.h"

#define RECORD_BYTES 16
typedef enum RecordKind {
        RECORD_PUT = 1,
        RECORD_DELETE = 2,
        RECORD_CREATE = 3,
        RECORD_DROP = 4,
        RECORD_CLEAR = 5
} RecordKind;

typedef struct Record {
        RecordKind kind;
        uint8_t tree; /* of the table: 0 has the rows, others index entries */
        uint64_t table_id;
        Bytes key, value; /* point into the body */
} Record;

/* It changes what a table has, and not which tables there are. */
static inline bool record_is_change(const Record *record)
{
        return record->kind == RECORD_PUT || record->kind == RECORD_DELETE || record->kind == RECORD_CLEAR;
}

static inline size_t record_bytes(size_t key_size, size_t value_size)
{
        return RECORD_BYTES + key_size + value_size;
}

/* Writes record_bytes() to `out`. */
static inline void record_fill(uint8_t *out, const Record *record)
{
        out[0] = (uint8_t)record->kind;
        out[1] = record->tree;
        store_u16(out + 2, (uint16_t)record->key.size);
        store_u32(out + 4, (uint32_t)record->value.size);
        store_u64(out + 8, record->table_id);
        if (record->key.size)
                memcpy(out + RECORD_BYTES, record->key.data, record->key.size);
        if (record->value.size)
                memcpy(out + RECORD_BYTES + record->key.size, record->value.data, record->value.size);
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
                return status_new(ERR_CORRUPT, "the commit has a record that is cut off");
        size_t key_size = load_u16(p + 2), value_size = load_u32(p + 4);
        if (key_size + value_size > left - RECORD_BYTES)
                return status_new(ERR_CORRUPT, "the commit has a record that is cut off");
        if (p[0] < RECORD_PUT || p[0] > RECORD_CLEAR)
                return status_new(ERR_CORRUPT, "the commit has a record of the unknown kind %u", p[0]);
        if (p[0] == RECORD_CLEAR ? p[1] == 0 : p[1] != 0 && p[0] > RECORD_DELETE)
                return status_new(ERR_CORRUPT, "the commit has a record of kind %u for tree %u", p[0], p[1]);
        *ret_record = (Record){.kind = (RecordKind)p[0],
                               .tree = p[1],
                               .table_id = load_u64(p + 8),
                               .key = BYTES(p + RECORD_BYTES, key_size),
                               .value = BYTES(p + RECORD_BYTES + key_size, value_size)};
        *offset += RECORD_BYTES + key_size + value_size;
        return ST_OK;
}

#endif
