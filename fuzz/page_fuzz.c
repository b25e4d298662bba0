/* page_fuzz.c - any bytes as the stored nodes of a tree (root record, leaves, inner nodes, values), with wrong and with
 * right checksums: opened, read, iterated, checked, written to, freed. Errors, but no crash, and no walk without end.
 *
 *      input    | flags | rows of the top u16 | node | node | ...        node: | size u16 | bytes |
 *      flags    1: magic, version, size, place and checksum of every node are made right
 *               2: the first node is the root record; else one is made, with a single tree whose top is the first node
 *               4: the places that inner nodes and the record name are numbers of nodes here
 *               8: there is a small budget, so that nodes are read again and again */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "os/sim.h"
#include "storage/tree/tree_int.h"

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

enum { MAX_NODES = 16, MOST_ROWS = 5000 };

typedef struct Nodes {
        uint8_t *stored[MAX_NODES];
        uint32_t bytes[MAX_NODES];
        Extent extents[MAX_NODES];
        unsigned count;
} Nodes;

/* The only errors that bytes of a file may be the cause of. False if there was one. */
static bool fine(Status st)
{
        if (!st)
                return true;
        StatusCode code = status_code(st);
        if (code != ERR_CORRUPT && code != ERR_VERSION && code != ERR_LIMIT) {
                fprintf(stderr, "%s\n", status_message(st));
                abort();
        }
        status_free(st);
        return false;
}

static void nodes_done(Nodes *nodes)
{
        for (unsigned i = 0; i < nodes->count; i++)
                free(nodes->stored[i]);
}

/* | extent | .. bytes .. | -> the extent and size of the node that the number is of. */
static void place_set(const Nodes *nodes, uint8_t *extent)
{
        store_u64(extent, nodes->extents[load_u64(extent) % nodes->count]);
}

static void node_link(const Nodes *nodes, unsigned i)
{
        uint8_t *stored = nodes->stored[i];
        uint32_t bytes = nodes->bytes[i];
        PageHeader header;
        memcpy(&header, stored, sizeof(header));
        if (header.kind == PAGE_INNER && !header.packed_from) {
                size_t children = header.count + 1u;
                if (sizeof(header) + children * STORED_CHILD_BYTES > bytes)
                        return;
                for (uint8_t *at = stored + bytes - children * STORED_CHILD_BYTES; at < stored + bytes;
                     at += STORED_CHILD_BYTES) {
                        unsigned child = load_u64(at) % nodes->count;
                        place_set(nodes, at);
                        store_u64(at + 8, (load_u64(at + 8) & ~0xffffull) | nodes->bytes[child]);
                }
        } else if (header.kind == PAGE_ROOT) {
                for (size_t at = sizeof(header) + RECORD_HEAD_BYTES; at + RECORD_TREE_BYTES <= bytes;
                     at += RECORD_TREE_BYTES) {
                        unsigned child = load_u64(stored + at + 8) % nodes->count;
                        store_u32(stored + at + 4, nodes->bytes[child]);
                        place_set(nodes, stored + at + 8);
                }
        }
}

static void node_seal(const Nodes *nodes, unsigned i)
{
        PageHeader header;
        memcpy(&header, nodes->stored[i], sizeof(header));
        header.magic = PAGE_MAGIC;
        header.version = PAGE_VERSION;
        header.bytes = nodes->bytes[i];
        header.extent = nodes->extents[i];
        memcpy(nodes->stored[i], &header, sizeof(header));
        stored_seal(nodes->stored[i]);
}

static void use_rows(PSnapshot *snapshot, uint32_t id)
{
        Arena hold;
        PCursor *cursor;
        Bytes key, value, keys[4], some = BYTES_NONE;
        bool found;
        uint64_t n;
        size_t parts;
        arena_init(&hold, 0);
        for (int descending = 0; descending < 2; descending++) {
                if (!fine(ptree_cursor_open(snapshot, id, (PRange){0}, descending, &cursor)))
                        continue;
                for (int rows = 0; rows < MOST_ROWS; rows++) {
                        bool good = fine(ptree_cursor_next(cursor, &hold, &key, &value, &found));
                        if (!good)
                                ptree_cursor_skip(cursor, 50, &n);
                        if (good && !found)
                                break;
                        if (!good && n == 0)
                                break;
                        if (good && rows % 7 == 0) {
                                some = key;
                                if (fine(ptree_get(snapshot, id, key, &hold, &value, &found)))
                                        fine(ptree_rank(snapshot, id, key, &n));
                                if (rows % 5 == 0)
                                        fine(ptree_cursor_seek(cursor, key));
                        }
                }
                ptree_cursor_close(cursor);
        }
        if (some.data)
                fine(ptree_count(snapshot, id, (PRange){BYTES("m", 1), some}, &n));
        fine(ptree_nth(snapshot, id, 3, &hold, &key, &value, &found));
        fine(ptree_split(snapshot, id, (PRange){0}, 4, &hold, keys, &parts));
        arena_done(&hold);
}

/* Rows come and go at both ends, in the middle, and where rows are; one write is aborted, one committed if it can be.
 */
static void use_writes(PTree *tree, uint32_t id, uint64_t position, unsigned round)
{
        PWrite *write;
        PSnapshot *snapshot;
        Arena hold;
        Bytes key, value;
        bool found;
        uint64_t n;
        uint8_t large[3000] = {1};
        arena_init(&hold, 0);
        REQUIRE_OK(ptree_pin(tree, &snapshot));
        REQUIRE_OK(ptree_write_begin(tree, &write));
        bool good = true;
        for (unsigned i = 0; good && i < 40; i++) {
                char text[40];
                if (!fine(ptree_nth(snapshot, id, i * 37u, &hold, &key, NULL, &found)) || !found) {
                        snprintf(text, sizeof(text), "%c%u", "\1aM~"[i % 4], i * i);
                        key = BYTES(text, strlen(text));
                }
                if (i % 3 == round % 3)
                        good = fine(ptree_write_delete(write, id, key, &found));
                else
                        good = fine(ptree_write_put(write, id, key, BYTES(large, i % 9 == 0 ? 3000 : i * 30)));
                if (good && i % 5 == 0)
                        good = fine(ptree_write_get(write, id, key, &hold, &value, &found));
        }
        if (good && round % 2)
                good = fine(ptree_write_delete_range(write, id, (PRange){BYTES("a", 1), BYTES_NONE}, &n));
        if (good && round != 2 && fine(ptree_write_prepare(write)))
                ptree_write_commit(write, position);
        else
                ptree_write_abort(write);
        ptree_unpin(snapshot);
        ptree_tidy(tree);
        arena_done(&hold);
}

static void use_tree(PCache *cache, PTreeAddress address)
{
        PTree *tree;
        PSnapshot *snapshot;
        PTreeAddress again;
        uint64_t rows;
        if (!fine(ptree_open(cache, address, NULL, &tree)))
                return;
        REQUIRE_OK(ptree_pin(tree, &snapshot));
        uint64_t position = ptree_position(snapshot);
        uint32_t ids[4], count = 0;
        for (uint32_t id = 0; count < 4 && ptree_next_tree(snapshot, id, &id); id++)
                ids[count++] = id;
        fine(ptree_check(snapshot, NULL, NULL, &rows));
        for (uint32_t i = 0; i < count; i++)
                use_rows(snapshot, ids[i]);
        ptree_unpin(snapshot);
        for (unsigned round = 0; round < 4; round++)
                use_writes(tree, count ? ids[round % count] : 0, ++position, round);
        REQUIRE_OK(ptree_pin(tree, &snapshot));
        fine(ptree_flush(snapshot, &again));
        fine(ptree_check(snapshot, NULL, NULL, &rows));
        ptree_unpin(snapshot);
        fine(ptree_free(tree, ++position, true));
        ptree_close(tree);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        SimOs *sim;
        OsDir *dir;
        Space *space;
        PCache *cache;
        Nodes nodes = {.count = 0};
        if (size < 3 || size > 65536)
                return 0;
        uint8_t flags = data[0];
        uint16_t rows = load_u16(data + 1);
        REQUIRE_OK(sim_new(1, &sim));
        REQUIRE_OK(os_dir_open(sim_os(sim), "data", OS_DIR_CREATE, &dir));
        REQUIRE_OK(space_open(dir, "pages", NULL, &space));
        for (size_t at = 3; at + 2 < size && nodes.count < MAX_NODES;) {
                size_t bytes = load_u16(data + at);
                at += 2;
                bytes = MIN(bytes, size - at);
                unsigned i = nodes.count++;
                nodes.bytes[i] = (uint32_t)MAX(bytes, sizeof(PageHeader));
                nodes.stored[i] = calloc(1, nodes.bytes[i]);
                REQUIRE(nodes.stored[i]);
                memcpy(nodes.stored[i], data + at, bytes);
                at += bytes;
                REQUIRE_OK(space_alloc(space, nodes.bytes[i], &nodes.extents[i]));
        }
        if (nodes.count > 0 && !(flags & 2) && nodes.count < MAX_NODES) {
                /* A record in front of the others. */
                unsigned i = nodes.count++;
                uint8_t *record = calloc(1, sizeof(PageHeader) + RECORD_HEAD_BYTES + RECORD_TREE_BYTES);
                REQUIRE(record);
                record[12] = PAGE_ROOT;
                nodes.stored[i] = record;
                nodes.bytes[i] = sizeof(PageHeader) + RECORD_HEAD_BYTES + RECORD_TREE_BYTES;
                REQUIRE_OK(space_alloc(space, nodes.bytes[i], &nodes.extents[i]));
                uint8_t *at = record + sizeof(PageHeader);
                store_u64(at, 5);
                store_u64(at + 8, 5);
                store_u32(at + 32, 1);
                at += RECORD_HEAD_BYTES;
                store_u32(at + 4, nodes.bytes[0]);
                store_u64(at + 8, nodes.extents[0]);
                store_u64(at + 16, rows);
        }
        if (nodes.count > 0) {
                unsigned record = flags & 2 ? 0 : nodes.count - 1;
                for (unsigned i = 0; i < nodes.count; i++) {
                        if (flags & 4 && (flags & 2 || i != record))
                                node_link(&nodes, i);
                        if (flags & 1 || (i == record && !(flags & 2)))
                                node_seal(&nodes, i);
                        REQUIRE_OK(space_write(space, nodes.extents[i], nodes.stored[i], nodes.bytes[i]));
                }
                PCacheOptions options = {.space = space, .name = "pages", .budget_bytes = flags & 8 ? 64 << 10 : 0};
                REQUIRE_OK(pcache_open(&options, &cache));
                use_tree(cache, (PTreeAddress){nodes.extents[record], nodes.bytes[record]});
                pcache_close(cache);
        }
        nodes_done(&nodes);
        space_close(space);
        os_dir_close(dir);
        sim_free(sim);
        return 0;
}
