/* exec_column.c - taking columns out of documents, and remembering them: see exec_column.h. */
#include "query/exec_column.h"

#include "base/mem.h"

#define WORD_MAX 256 /* longer strings stay in their documents */

/* --- looking --- */

Value column_value(const Column *column, size_t row)
{
        switch (column->uniform) {
        case V_NUMBER: return value_number(column_numbers(column)[row]);
        case V_BOOL: return value_bool(column_bools(column)[row]);
        case V_STRING: return column_word(column, column_codes(column)[row]);
        default: break;
        }
        uint8_t type = ((const uint8_t *)column_bytes(column, column->types_at))[row];
        uint64_t cell = ((const uint64_t *)column_bytes(column, column->cells_at))[row];
        double number;
        switch (type) {
        case V_NUMBER: memcpy(&number, &cell, sizeof number); return value_number(number);
        case V_BOOL: return value_bool(cell);
        case V_STRING: return column_word(column, (uint32_t)cell);
        case V_TIME:
        case V_BINARY: return value_decode(column_bytes(column, column->pool_at + (uint32_t)cell));
        default: return (Value){.type = type};
        }
}

/* --- making --- */

typedef struct Builder {
        ExecPath path;
        size_t path_size;
        uint8_t *types;
        uint64_t *cells;
        ColumnWord *words;
        uint32_t word_count;
        uint32_t *slots; /* open addressing: code + 1; a power of two, more than twice the rows */
        uint32_t slot_count;
        uint8_t *pool;
        size_t pool_size, pool_capacity;
} Builder;

static size_t path_bytes(ExecPath path)
{
        size_t size = 0;
        for (size_t i = 0; i < path.count; i++)
                size += 4 + path.keys[i].size;
        return size;
}

static void write_path(ExecPath path, uint8_t *out)
{
        for (size_t i = 0; i < path.count; i++) {
                store_u32(out, (uint32_t)path.keys[i].size);
                if (path.keys[i].size)
                        memcpy(out + 4, path.keys[i].data, path.keys[i].size);
                out += 4 + path.keys[i].size;
        }
}

static bool is_of_path(const Column *column, ExecPath path)
{
        const uint8_t *at = column_bytes(column, column->path_at), *end = at + column->path_size;
        for (size_t i = 0; i < path.count; i++) {
                if (at == end || load_u32(at) != path.keys[i].size ||
                    !bytes_equal(BYTES(at + 4, path.keys[i].size), path.keys[i]))
                        return false;
                at += 4 + path.keys[i].size;
        }
        return at == end;
}

uint64_t column_key(ExecPath path)
{
        uint64_t hash = 0x636f6c756d6e; /* "column" */
        for (size_t i = 0; i < path.count; i++)
                hash = bytes_hash_seeded(path.keys[i].data, path.keys[i].size, hash);
        return hash;
}

static void builder_init(Builder *builder, ExecPath path, uint32_t total, Arena *arena)
{
        *builder = (Builder){.path = path, .path_size = path_bytes(path)};
        builder->types = arena_array(arena, uint8_t, total);
        builder->cells = arena_array(arena, uint64_t, total);
}

static uint32_t add_to_pool(Builder *builder, Arena *arena, size_t size, uint8_t **ret)
{
        if (!builder->pool || builder->pool_size + size > builder->pool_capacity) {
                size_t capacity = MAX(builder->pool_size + size, 2 * builder->pool_capacity + 256);
                uint8_t *pool = arena_alloc(arena, capacity);
                if (builder->pool_size)
                        memcpy(pool, builder->pool, builder->pool_size);
                builder->pool = pool;
                builder->pool_capacity = capacity;
        }
        uint32_t at = (uint32_t)builder->pool_size;
        *ret = builder->pool + at;
        builder->pool_size += size;
        return at;
}

static uint32_t word_code(Builder *builder, uint32_t total, Value text, Arena *arena)
{
        uint64_t hash = value_hash(text);
        if (!builder->slots) {
                builder->slot_count = 8;
                while (builder->slot_count <= 2 * total)
                        builder->slot_count *= 2;
                builder->slots = arena_zalloc(arena, builder->slot_count * sizeof *builder->slots);
                builder->words = arena_array(arena, ColumnWord, total);
        }
        uint32_t mask = builder->slot_count - 1, at = (uint32_t)hash & mask;
        for (; builder->slots[at]; at = (at + 1) & mask) {
                const ColumnWord *word = &builder->words[builder->slots[at] - 1];
                if (word->hash == hash && word->size == text.size &&
                    (text.size == 0 || memcmp(builder->pool + word->at, text.text, text.size) == 0))
                        return builder->slots[at] - 1;
        }
        uint8_t *bytes;
        uint32_t place = add_to_pool(builder, arena, text.size, &bytes);
        if (text.size)
                memcpy(bytes, text.text, text.size);
        builder->words[builder->word_count] = (ColumnWord){hash, place, text.size};
        builder->slots[at] = ++builder->word_count;
        return builder->word_count - 1;
}

static void add_cell(Builder *builder, uint32_t row, uint32_t total, Value v, Arena *arena)
{
        uint8_t *bytes;
        uint64_t cell = 0;
        builder->types[row] = v.type;
        switch (v.type) {
        case V_NUMBER: memcpy(&cell, &v.number, sizeof cell); break;
        case V_BOOL: cell = v.boolean; break;
        case V_STRING:
                if (v.size <= WORD_MAX)
                        cell = word_code(builder, total, v, arena);
                else
                        builder->types[row] = EXEC_LOAD;
                break;
        case V_TIME:
        case V_BINARY:
                if (v.type == V_BINARY && v.size > WORD_MAX) {
                        builder->types[row] = EXEC_LOAD;
                } else {
                        cell = add_to_pool(builder, arena, value_encoded_size(v), &bytes);
                        value_encode(v, bytes);
                }
                break;
        case V_NONE:
        case V_NULL:
        case EXEC_BAD: break;
        default: builder->types[row] = EXEC_LOAD; break;
        }
        builder->cells[row] = cell;
}

static uint32_t place(size_t *size, size_t bytes)
{
        uint32_t at = (uint32_t)*size;
        *size = (*size + bytes + 7) & ~(size_t)7;
        return at;
}

static uint8_t uniform_type(const uint8_t *types, uint32_t total)
{
        for (uint32_t i = 1; i < total; i++)
                if (types[i] != types[0])
                        return V_NONE;
        return types[0] == V_NUMBER || types[0] == V_BOOL || types[0] == V_STRING ? types[0] : V_NONE;
}

static void free_column(BlockMemo *memo)
{
        mem_free(memo);
}

/* A cell: 8 bytes, or what a uniform column needs. */
static void write_cells(const Builder *builder, const Column *column, void *out)
{
        for (uint32_t i = 0; i < column->total; i++) {
                if (column->uniform == V_BOOL)
                        ((uint8_t *)out)[i] = (uint8_t)builder->cells[i];
                else if (column->uniform == V_STRING)
                        ((uint16_t *)out)[i] = (uint16_t)builder->cells[i];
                else
                        ((uint64_t *)out)[i] = builder->cells[i];
        }
}

static Column *build(const Builder *builder, uint64_t key, uint32_t total, Arena *arena)
{
        Column head = {.total = total, .uniform = uniform_type(builder->types, total), .words = builder->word_count};
        size_t width = head.uniform == V_BOOL ? 1 : head.uniform == V_STRING ? 2 : 8, size = sizeof head;
        for (uint32_t i = 0; i < total; i++)
                head.odd |= builder->types[i] == EXEC_LOAD || builder->types[i] == EXEC_BAD;
        head.path_size = (uint32_t)builder->path_size;
        head.cells_at = place(&size, width * total);
        head.words_at = place(&size, builder->word_count * sizeof(ColumnWord));
        head.types_at = place(&size, head.uniform ? 0 : total);
        head.path_at = place(&size, builder->path_size);
        head.pool_at = place(&size, builder->pool_size);
        head.memo = (BlockMemo){.key = key, .bytes = size, .free = free_column};
        uint8_t *bytes = arena_zalloc(arena, size);
        memcpy(bytes, &head, sizeof head);
        write_cells(builder, &head, bytes + head.cells_at);
        if (builder->word_count)
                memcpy(bytes + head.words_at, builder->words, builder->word_count * sizeof(ColumnWord));
        if (!head.uniform)
                memcpy(bytes + head.types_at, builder->types, total);
        write_path(builder->path, bytes + head.path_at);
        if (builder->pool_size)
                memcpy(bytes + head.pool_at, builder->pool, builder->pool_size);
        return (Column *)(void *)bytes;
}

/* --- of a block --- */

static void remember(const TableSource *source, TableScan *scan, const Column *column, unsigned *refusals)
{
        if (*refusals >= COLUMN_REFUSALS_MAX)
                return;
        Column *copy = mem_alloc(column->memo.bytes);
        if (!copy) {
                ++*refusals;
                return;
        }
        memcpy(copy, column, column->memo.bytes);
        if (source->block_remember(scan, &copy->memo))
                *refusals = 0;
        else
                ++*refusals;
}

Status columns_get(const TableSource *source, TableScan *scan, const TableBlock *block, const ColumnWant *wants,
                   size_t count, unsigned *refusals, Arena *arena, Arena *hold, const Column **ret_columns)
{
        Builder *builders = NULL;
        size_t *missing = NULL, missing_count = 0;
        for (size_t i = 0; i < count; i++) {
                const Column *column = (const Column *)(const void *)source->block_memo(scan, wants[i].key);
                ret_columns[i] = column;
                if (likely(column && column->total == block->total && is_of_path(column, wants[i].path)))
                        continue;
                if (!builders) {
                        builders = arena_array(arena, Builder, count);
                        missing = arena_array(arena, size_t, count);
                }
                builder_init(&builders[missing_count], wants[i].path, block->total, arena);
                missing[missing_count++] = i;
        }
        if (missing_count == 0)
                return ST_OK;
        for (uint32_t row = 0; row < block->total; row++) {
                Value document;
                arena_reset(hold);
                TRY(source->block_row(scan, row, hold, &document));
                for (size_t i = 0; i < missing_count; i++)
                        add_cell(&builders[i], row, block->total, exec_path_get(document, builders[i].path), arena);
        }
        for (size_t i = 0; i < missing_count; i++) {
                const ColumnWant *want = &wants[missing[i]];
                const Column *there = ret_columns[missing[i]]; /* of another path with the same key: leave it */
                ret_columns[missing[i]] = build(&builders[i], want->key, block->total, arena);
                if (!there)
                        remember(source, scan, ret_columns[missing[i]], refusals);
        }
        return ST_OK;
}
