/* system_scratch.c - `_debug_scratch`: a real table, in memory, that takes any row. */
#include "table/system_int.h"

static size_t scratch_place(const TableCatalog *catalog, Bytes key, bool *ret_found)
{
        size_t i = 0;
        int c = 1;
        while (i < catalog->scratch_count &&
               (c = bytes_compare(BYTES(catalog->scratch[i].key, catalog->scratch[i].key_bytes), key)) < 0)
                i++;
        *ret_found = i < catalog->scratch_count && c == 0;
        return i;
}

static Status scratch_put(TableCatalog *catalog, Bytes key, Value row)
{
        size_t size = value_encoded_size(row);
        ScratchRow fresh = {.key_bytes = key.size, .row_bytes = size};
        fresh.key = mem_alloc(key.size + 8 + size); /* the row behind the key, in one block */
        if (!fresh.key)
                return status_nomem();
        memcpy(fresh.key, key.data, key.size);
        fresh.row = fresh.key + (key.size + 7) / 8 * 8;
        value_encode(row, fresh.row);
        bool found;
        size_t i = scratch_place(catalog, key, &found);
        if (found) {
                mem_free(catalog->scratch[i].key);
        } else {
                if (catalog->scratch_count == catalog->scratch_capacity) {
                        size_t capacity = catalog->scratch_capacity ? 2 * catalog->scratch_capacity : 16;
                        ScratchRow *rows = mem_realloc(catalog->scratch, capacity * sizeof *rows);
                        if (!rows) {
                                mem_free(fresh.key);
                                return status_nomem();
                        }
                        catalog->scratch = rows;
                        catalog->scratch_capacity = capacity;
                }
                memmove(&catalog->scratch[i + 1], &catalog->scratch[i], (catalog->scratch_count - i) * sizeof fresh);
                catalog->scratch_count++;
        }
        catalog->scratch[i] = fresh;
        return ST_OK;
}

static void scratch_delete(TableCatalog *catalog, Bytes key)
{
        bool found;
        size_t i = scratch_place(catalog, key, &found);
        if (!found)
                return;
        mem_free(catalog->scratch[i].key);
        memmove(&catalog->scratch[i], &catalog->scratch[i + 1],
                (--catalog->scratch_count - i) * sizeof *catalog->scratch);
}

static Status scratch_write(const SystemWrite *w)
{
        TableCatalog *catalog = w->table->catalog;
        Status st = ST_OK;
        mutex_lock(&catalog->scratch_mu);
        if (value_is(w->new_row, V_NULL))
                scratch_delete(catalog, w->key);
        else
                st = scratch_put(catalog, w->key, w->new_row);
        mutex_unlock(&catalog->scratch_mu);
        return st;
}

static Value build_copy(void *ctx, Arena *arena)
{
        const Bytes *encoded = ctx;
        return value_decode(arena_dup(arena, encoded->data, encoded->size));
}

static Status scratch_collect(SystemCollector *c)
{
        TableCatalog *catalog = c->table->catalog;
        Status st = ST_OK;
        mutex_lock(&catalog->scratch_mu);
        for (size_t i = 0; !st && i < catalog->scratch_count; i++) {
                Bytes encoded = BYTES(catalog->scratch[i].row, catalog->scratch[i].row_bytes);
                st = system_add(c, build_copy, &encoded);
        }
        mutex_unlock(&catalog->scratch_mu);
        return st;
}

void scratch_done(TableCatalog *catalog)
{
        for (size_t i = 0; i < catalog->scratch_count; i++)
                mem_free(catalog->scratch[i].key);
        mem_free(catalog->scratch);
}

const SystemTable system_debug_scratch = {.name = "_debug_scratch",
                                          .id = "cd30ca12-d885-5a1c-9f2b-c7c4d360846d",
                                          .collect = scratch_collect,
                                          .write = scratch_write};
