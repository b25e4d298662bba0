/* snapshot_file.c - writing and reading a snapshot file; the reader trusts no byte before its checksum. */
#include "storage/snapshot_file.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"

#define SNAPSHOT_MAGIC  0x50414e53544f4850ull /* "PHOTSNAP" */
#define BLOCK_MAGIC     0x4b4c4253u           /* "SBLK" */
#define BLOCK_BYTES     ((size_t)256 << 10)   /* a block is closed when it has this many; one large row may be more */
#define BLOCK_MAX_BYTES ((size_t)3 << 30)

/*   0          8       16        20             24         32         40               48        56 .. 64
 *   | checksum | magic | version | header_bytes | position | log_from | log_generation | wall_us | 0
 *   checksum: XXH3 of bytes 8 .. 64 */
typedef struct FileHeader {
        uint64_t checksum, magic;
        uint32_t version, header_bytes;
        SnapshotHead head;
        uint64_t reserved;
} FileHeader;
_Static_assert(sizeof(FileHeader) == 64, "on-disk format: bump SNAPSHOT_VERSION, do not edit in place");

/*   0          8       12     16           20     24      32         40      48
 *   | checksum | magic | kind | body_bytes | tree | index | table_id | count | body ...
 *   checksum: XXH3 of bytes 8 .. 48 + body_bytes. `index` counts the blocks of the file from 0. */
typedef struct BlockHeader {
        uint64_t checksum;
        uint32_t magic, kind, body_bytes, tree;
        uint64_t index, table_id, count;
} BlockHeader;
_Static_assert(sizeof(BlockHeader) == 48, "on-disk format: bump SNAPSHOT_VERSION, do not edit in place");

typedef enum BlockKind {
        BLOCK_TABLE = 1, /* body: the engine's name; the rows behind it are this table's */
        BLOCK_ROWS = 2,  /* of one tree; body: `count` times | u32 key_size | u32 value_size | key | value | */
        BLOCK_END = 3,   /* count: rows in the file */
} BlockKind;

void snapshot_file_name(uint64_t position, char out[SNAPSHOT_NAME_BYTES])
{
        snprintf(out, SNAPSHOT_NAME_BYTES, "snapshot-%020" PRIu64, position);
}

bool snapshot_file_parse(const char *name, uint64_t *ret_position)
{
        char again[SNAPSHOT_NAME_BYTES];
        uint64_t position = 0;
        if (strncmp(name, "snapshot-", 9) != 0)
                return false;
        for (const char *p = name + 9; *p; p++)
                if (*p < '0' || *p > '9' || __builtin_mul_overflow(position, 10, &position) ||
                    __builtin_add_overflow(position, (uint64_t)(*p - '0'), &position))
                        return false;
        snapshot_file_name(position, again);
        *ret_position = position;
        return strcmp(again, name) == 0;
}

/* --- writing --- */

struct SnapshotWriter {
        OsDir *dir;
        OsFile *file;
        uint64_t offset, index, table_id, block_rows, rows;
        uint32_t tree; /* of the rows in the block */
        Buf block;     /* header and body */
        bool finished;
        char name[SNAPSHOT_NAME_BYTES], temporary[SNAPSHOT_NAME_BYTES + 4];
};

static void block_begin(SnapshotWriter *writer)
{
        writer->block.size = sizeof(BlockHeader);
        writer->block_rows = 0;
}

static Status block_end(SnapshotWriter *writer, BlockKind kind, uint64_t count)
{
        BlockHeader header = {.magic = BLOCK_MAGIC,
                              .kind = kind,
                              .body_bytes = (uint32_t)(writer->block.size - sizeof(BlockHeader)),
                              .tree = kind == BLOCK_ROWS ? writer->tree : 0,
                              .index = writer->index++,
                              .table_id = writer->table_id,
                              .count = count};
        memcpy(writer->block.data, &header, sizeof(header));
        store_u64(writer->block.data, bytes_hash(writer->block.data + 8, writer->block.size - 8));
        TRY_CTX(os_file_write_at(writer->file, writer->offset, writer->block.data, writer->block.size), "writing %s/%s",
                os_dir_path(writer->dir), writer->temporary);
        writer->offset += writer->block.size;
        block_begin(writer);
        return ST_OK;
}

Status snapshot_writer_open(OsDir *dir, const SnapshotHead *head, SnapshotWriter **ret_writer)
{
        SnapshotWriter *writer = mem_zalloc(sizeof(SnapshotWriter));
        FileHeader header = {
                .magic = SNAPSHOT_MAGIC, .version = SNAPSHOT_VERSION, .header_bytes = sizeof(header), .head = *head};
        if (!writer)
                return status_nomem();
        writer->dir = dir;
        buf_init(&writer->block, BLOCK_MAX_BYTES);
        snapshot_file_name(head->position, writer->name);
        snprintf(writer->temporary, sizeof(writer->temporary), "%s.tmp", writer->name);
        header.checksum = bytes_hash((const uint8_t *)&header + 8, sizeof(header) - 8);
        Status st = buf_reserve(&writer->block, BLOCK_BYTES + 4096);
        if (!st)
                st = os_file_open(dir, writer->temporary, OS_READ | OS_WRITE | OS_CREATE | OS_TRUNCATE, &writer->file);
        if (!st)
                st = os_file_write_at(writer->file, 0, &header, sizeof(header));
        if (st) {
                st = status_context(st, "creating %s/%s", os_dir_path(dir), writer->temporary);
                snapshot_writer_close(writer);
                return st;
        }
        writer->offset = sizeof(header);
        block_begin(writer);
        *ret_writer = writer;
        return ST_OK;
}

static Status rows_flush(SnapshotWriter *writer)
{
        return writer->block_rows ? block_end(writer, BLOCK_ROWS, writer->block_rows) : ST_OK;
}

Status snapshot_writer_table(SnapshotWriter *writer, uint64_t table_id, const char *engine)
{
        TRY(rows_flush(writer));
        writer->table_id = table_id;
        TRY(buf_append_str(&writer->block, engine));
        return block_end(writer, BLOCK_TABLE, 0);
}

Status snapshot_writer_row(SnapshotWriter *writer, uint32_t tree, Bytes key, Bytes value)
{
        if (writer->block_rows && (writer->tree != tree || writer->block.size + key.size + value.size > BLOCK_BYTES))
                TRY(rows_flush(writer));
        writer->tree = tree;
        TRY(buf_reserve(&writer->block, 8 + key.size + value.size));
        uint8_t *out = writer->block.data + writer->block.size;
        store_u32(out, (uint32_t)key.size);
        store_u32(out + 4, (uint32_t)value.size);
        if (key.size)
                memcpy(out + 8, key.data, key.size);
        if (value.size)
                memcpy(out + 8 + key.size, value.data, value.size);
        writer->block.size += 8 + key.size + value.size;
        writer->block_rows++;
        writer->rows++;
        return ST_OK;
}

Status snapshot_writer_finish(SnapshotWriter *writer)
{
        TRY(rows_flush(writer));
        writer->table_id = 0;
        TRY(block_end(writer, BLOCK_END, writer->rows));
        TRY_CTX(os_file_sync(writer->file), "syncing %s/%s", os_dir_path(writer->dir), writer->temporary);
        writer->file = os_file_close(writer->file);
        TRY(os_dir_rename(writer->dir, writer->temporary, writer->name));
        writer->finished = true;
        return os_dir_sync(writer->dir);
}

SnapshotWriter *snapshot_writer_close(SnapshotWriter *writer)
{
        if (!writer)
                return NULL;
        os_file_close(writer->file);
        if (!writer->finished)
                status_ignore(os_dir_remove(writer->dir, writer->temporary));
        buf_done(&writer->block);
        mem_free(writer);
        return NULL;
}

/* --- reading --- */

typedef struct Input {
        OsDir *dir;
        OsFile *file;
        const char *name;
        uint64_t size, offset;
        Buf block;
} Input;

static void input_done(Input *input)
{
        os_file_close(input->file);
        buf_done(&input->block);
}

static Status damaged(const Input *input, const char *what)
{
        return status_new(ERR_CORRUPT, "snapshot file %s/%s is damaged at offset %" PRIu64 ": %s",
                          os_dir_path(input->dir), input->name, input->offset, what);
}

/* The block at input->offset into input->block, checked. */
static Status block_read(Input *input, uint64_t index, BlockHeader *ret_header)
{
        size_t got;
        if (input->size - input->offset < sizeof(BlockHeader))
                return damaged(input, "the file ends too early");
        buf_clear(&input->block);
        TRY(buf_reserve(&input->block, sizeof(BlockHeader)));
        TRY(os_file_read_at(input->file, input->offset, input->block.data, sizeof(BlockHeader), &got));
        memcpy(ret_header, input->block.data, sizeof(*ret_header));
        if (got < sizeof(BlockHeader) || ret_header->magic != BLOCK_MAGIC ||
            ret_header->body_bytes > input->size - input->offset - sizeof(BlockHeader))
                return damaged(input, "no block begins here");
        size_t body = ret_header->body_bytes;
        input->block.size = sizeof(BlockHeader);
        TRY(buf_reserve(&input->block, body));
        TRY(os_file_read_at(input->file, input->offset + sizeof(BlockHeader), input->block.data + sizeof(BlockHeader),
                            body, &got));
        input->block.size += got;
        if (got < body || bytes_hash(input->block.data + 8, input->block.size - 8) != ret_header->checksum)
                return damaged(input, "a block's checksum is wrong");
        if (ret_header->index != index)
                return damaged(input, "a block is not in its place");
        return ST_OK;
}

static Status rows_visit(Input *input, const BlockHeader *header, const SnapshotVisitor *visitor)
{
        const uint8_t *p = input->block.data + sizeof(BlockHeader), *end = input->block.data + input->block.size;
        for (uint64_t i = 0; i < header->count; i++) {
                if (end - p < 8)
                        return damaged(input, "a block has fewer rows than it says");
                uint64_t key_size = load_u32(p), value_size = load_u32(p + 4);
                p += 8;
                if (key_size + value_size > (uint64_t)(end - p))
                        return damaged(input, "a row is longer than its block");
                TRY(visitor->row(visitor->ctx, header->tree, BYTES(p, key_size), BYTES(p + key_size, value_size)));
                p += key_size + value_size;
        }
        return p == end ? ST_OK : damaged(input, "a block has more bytes than rows");
}

/* Opens the file of `input` and checks its header. */
static Status input_open(Input *input, uint64_t position, SnapshotHead *ret_head)
{
        FileHeader header;
        size_t got;
        buf_init(&input->block, BLOCK_MAX_BYTES);
        TRY(os_file_open(input->dir, input->name, OS_READ, &input->file));
        TRY(os_file_size(input->file, &input->size));
        TRY(os_file_read_at(input->file, 0, &header, sizeof(header), &got));
        if (got < sizeof(header) || header.magic != SNAPSHOT_MAGIC ||
            bytes_hash((const uint8_t *)&header + 8, sizeof(header) - 8) != header.checksum)
                return damaged(input, "its header is not readable");
        if (header.version > SNAPSHOT_VERSION)
                return status_hint(status_new(ERR_VERSION, "snapshot file %s/%s has format %u; this version reads %d",
                                              os_dir_path(input->dir), input->name, header.version, SNAPSHOT_VERSION),
                                   "start the newer version that wrote it, or choose another directory");
        if (header.version < SNAPSHOT_VERSION)
                return status_hint(status_new(ERR_VERSION,
                                              "snapshot file %s/%s has the older format %u; this version reads %d",
                                              os_dir_path(input->dir), input->name, header.version, SNAPSHOT_VERSION),
                                   "export the data with the version that wrote it, or choose another directory");
        if (header.head.position != position || header.head.log_from > position)
                return damaged(input, "it is not the file its name says");
        input->offset = sizeof(header);
        *ret_head = header.head;
        return ST_OK;
}

Status snapshot_file_head(OsDir *dir, uint64_t position, SnapshotHead *ret_head)
{
        char name[SNAPSHOT_NAME_BYTES];
        _cleanup_(input_done) Input input = {.dir = dir, .name = name};
        snapshot_file_name(position, name);
        return input_open(&input, position, ret_head);
}

Status snapshot_file_read(OsDir *dir, uint64_t position, const SnapshotVisitor *visitor)
{
        char name[SNAPSHOT_NAME_BYTES], engine[64];
        _cleanup_(input_done) Input input = {.dir = dir, .name = name};
        SnapshotHead head;
        uint64_t rows = 0, table_id = 0;
        uint32_t tree = 0;
        bool in_table = false;
        snapshot_file_name(position, name);
        TRY(input_open(&input, position, &head));
        for (uint64_t index = 0;; index++) {
                BlockHeader block;
                TRY(block_read(&input, index, &block));
                if (block.kind == BLOCK_TABLE) {
                        if (block.body_bytes >= sizeof(engine))
                                return damaged(&input, "an engine's name is too long");
                        memcpy(engine, input.block.data + sizeof(BlockHeader), block.body_bytes);
                        engine[block.body_bytes] = 0;
                        table_id = block.table_id;
                        in_table = true;
                        tree = 0;
                        TRY(visitor->table(visitor->ctx, table_id, engine));
                } else if (block.kind == BLOCK_ROWS) {
                        if (!in_table || block.table_id != table_id)
                                return damaged(&input, "rows without their table");
                        if (block.tree < tree || block.tree > SNAPSHOT_TREES_MAX)
                                return damaged(&input, "rows of a tree that cannot be there");
                        tree = block.tree;
                        TRY(rows_visit(&input, &block, visitor));
                        rows += block.count;
                } else if (block.kind == BLOCK_END) {
                        if (block.count != rows || input.offset + sizeof(BlockHeader) + block.body_bytes != input.size)
                                return damaged(&input, "the end is not where it should be");
                        return ST_OK;
                } else {
                        return status_new(ERR_VERSION,
                                          "snapshot file %s/%s has a block of kind %u at offset %" PRIu64
                                          ", which only a newer version knows",
                                          os_dir_path(dir), name, block.kind, input.offset);
                }
                input.offset += sizeof(BlockHeader) + block.body_bytes;
        }
}

Status snapshot_file_move(OsDir *dir, uint64_t position, uint64_t log_generation)
{
        _cleanup_(os_file_closep) OsFile *file = NULL;
        char name[SNAPSHOT_NAME_BYTES];
        FileHeader header = {.magic = SNAPSHOT_MAGIC, .version = SNAPSHOT_VERSION, .header_bytes = sizeof(FileHeader)};
        TRY(snapshot_file_head(dir, position, &header.head));
        header.head.log_from = position;
        header.head.log_generation = MAX(header.head.log_generation, log_generation);
        header.checksum = bytes_hash((const uint8_t *)&header + 8, sizeof(header) - 8);
        snapshot_file_name(position, name);
        TRY(os_file_open(dir, name, OS_READ | OS_WRITE, &file));
        TRY(os_file_write_at(file, 0, &header, sizeof(header)));
        return os_file_sync(file);
}
