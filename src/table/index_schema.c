/* index_schema.c - schemas: a table's indexes and write hook in memory and in the table's document. */
#include "table/index_int.h"

#include <stdlib.h>

#include "storage/store.h"

/* --- Index --- */

Status index_new(uint32_t tree, IndexShape shape, Bytes function, int64_t started_us, Index **ret_index)
{
        Closure *closure = NULL;
        Index *index = mem_zalloc(sizeof *index + function.size);
        if (!index)
                return status_nomem();
        Status st = closure_load(function, &closure);
        if (st) {
                mem_free(index);
                return st;
        }
        atomic_init(&index->refs, 1);
        index->tree = tree;
        index->shape = shape;
        memcpy(index + 1, function.data, function.size);
        index->function = BYTES(index + 1, function.size);
        index->closure = closure;
        index->started_us = started_us;
        *ret_index = index;
        return ST_OK;
}

Index *index_ref(Index *index)
{
        atomic_fetch_add_explicit(&index->refs, 1, memory_order_relaxed);
        return index;
}

Index *index_unref(Index *index)
{
        if (index && atomic_fetch_sub_explicit(&index->refs, 1, memory_order_acq_rel) == 1) {
                closure_unref(index->closure);
                mem_free(index);
        }
        return NULL;
}

double index_progress(Index *index)
{
        double done = (double)atomic_load_explicit(&index->done_rows, memory_order_relaxed);
        double total = (double)atomic_load_explicit(&index->total_rows, memory_order_relaxed);
        return total == 0 ? 0 : MIN(done / total, 1.0);
}

/* --- Schema --- */

static int compare_items(const void *a, const void *b)
{
        return bytes_compare(((const SchemaItem *)a)->name, ((const SchemaItem *)b)->name);
}

Status schema_new(uint64_t version, SchemaItem *items, size_t count, Bytes hook, Closure *hook_closure,
                  Schema **ret_schema)
{
        size_t bytes = sizeof(Schema) + count * (sizeof(IndexInfo) + sizeof(Index *)) + hook.size;
        for (size_t i = 0; i < count; i++)
                bytes += items[i].name.size;
        Schema *schema = mem_zalloc(bytes);
        if (!schema)
                return status_nomem();
        if (count > 1)
                qsort(items, count, sizeof *items, compare_items);
        atomic_init(&schema->refs, 1);
        schema->version = version;
        schema->count = count;
        schema->infos = (IndexInfo *)(schema + 1);
        schema->indexes = (Index **)(schema->infos + count);
        uint8_t *at = (uint8_t *)(schema->indexes + count);
        for (size_t i = 0; i < count; i++) {
                Bytes name = items[i].name;
                if (name.size)
                        memcpy(at, name.data, name.size);
                schema->infos[i] = (IndexInfo){.name = BYTES(at, name.size),
                                               .multi = items[i].index->shape.multi,
                                               .geo = items[i].index->shape.geo,
                                               .ready = items[i].ready};
                schema->indexes[i] = index_ref(items[i].index);
                at += name.size;
        }
        if (hook.data) {
                memcpy(at, hook.data, hook.size);
                schema->hook = BYTES(at, hook.size);
                schema->hook_closure = closure_ref(hook_closure);
        }
        *ret_schema = schema;
        return ST_OK;
}

uint64_t schema_version(TableCatalog *catalog)
{
        return 1 + atomic_fetch_add_explicit(&catalog->schema_serial, 1, memory_order_relaxed);
}

Schema *schema_ref(Schema *schema)
{
        atomic_fetch_add_explicit(&schema->refs, 1, memory_order_relaxed);
        return schema;
}

Schema *schema_unref(Schema *schema)
{
        if (schema && atomic_fetch_sub_explicit(&schema->refs, 1, memory_order_acq_rel) == 1) {
                for (size_t i = 0; i < schema->count; i++)
                        index_unref(schema->indexes[i]);
                closure_unref(schema->hook_closure);
                mem_free(schema);
        }
        return NULL;
}

size_t schema_find(const Schema *schema, Bytes name)
{
        size_t i = 0;
        while (i < schema->count && !bytes_equal(schema->infos[i].name, name))
                i++;
        return i;
}

bool schema_has(const Schema *schema, const Index *index)
{
        for (size_t i = 0; i < schema->count; i++)
                if (schema->indexes[i] == index)
                        return true;
        return false;
}

/* --- in the table's document --- */

Status schema_encode(const Schema *schema, Arena *arena, Value *ret_indexes, Value *ret_hook)
{
        enum { FIELDS = 6 };
        Value *items = arena_try_alloc(arena, schema->count * sizeof *items);
        if (!items)
                return status_nomem();
        for (size_t i = 0; i < schema->count; i++) {
                const Index *index = schema->indexes[i];
                Field *fields = arena_try_alloc(arena, FIELDS * sizeof *fields);
                if (!fields)
                        return status_nomem();
                fields[0] = (Field){BYTES_STR("function"), value_binary(index->function)};
                fields[1] = (Field){BYTES_STR("geo"), value_bool(index->shape.geo)};
                fields[2] = (Field){BYTES_STR("multi"), value_bool(index->shape.multi)};
                fields[3] = (Field){BYTES_STR("name"), value_string(schema->infos[i].name)};
                fields[4] = (Field){BYTES_STR("ready"), value_bool(schema->infos[i].ready)};
                fields[5] = (Field){BYTES_STR("tree"), value_number(index->tree)};
                items[i] = value_object_sorted(fields, FIELDS);
        }
        *ret_indexes = value_array(items, schema->count);
        *ret_hook = schema->hook.data ? value_binary(schema->hook) : value_null();
        return ST_OK;
}

static Status decode_index(Value v, SchemaItem *item)
{
        int64_t tree;
        Value name = value_get_str(v, "name"), function = value_get_str(v, "function");
        if (!value_is(name, V_STRING) || !value_is(function, V_BINARY) ||
            !value_integer(value_get_str(v, "tree"), &tree) || tree < 1 || tree > STORE_TREES_MAX)
                return status_new(ERR_CORRUPT, "an index lacks something that belongs there");
        IndexShape shape = {.multi = value_truthy(value_get_str(v, "multi")),
                            .geo = value_truthy(value_get_str(v, "geo"))};
        item->name = value_bytes(name);
        item->ready = value_truthy(value_get_str(v, "ready"));
        return index_new((uint32_t)tree, shape, value_bytes(function), 0, &item->index);
}

Status schema_decode(uint64_t version, Value indexes, Value hook, Schema **ret_schema)
{
        _cleanup_(closure_unrefp) Closure *closure = NULL;
        size_t count = value_is(indexes, V_ARRAY) ? value_count(indexes) : 0, done = 0;
        Status st = ST_OK;
        if (!value_is(indexes, V_ARRAY) || count > STORE_TREES_MAX)
                return status_new(ERR_CORRUPT, "it has no list of indexes");
        if (value_is(hook, V_BINARY))
                TRY_CTX(closure_load(value_bytes(hook), &closure), "reading the write hook");
        SchemaItem *items = mem_alloc((count + 1) * sizeof *items);
        if (!items)
                return status_nomem();
        while (!st && done < count) {
                Value v = value_at(indexes, done);
                st = value_is(v, V_OBJECT) ? decode_index(v, &items[done])
                                           : status_new(ERR_CORRUPT, "an index is not an object");
                done += !st;
        }
        if (!st)
                st = schema_new(version, items, count, closure ? value_bytes(hook) : BYTES_NONE, closure, ret_schema);
        for (size_t i = 0; i < done; i++)
                index_unref(items[i].index);
        mem_free(items);
        return st;
}

/* --- TableState --- */

Status table_state_new(Schema *schema, TableState **ret_state)
{
        TableState *state = mem_zalloc(sizeof *state);
        if (!state)
                return status_nomem();
        atomic_init(&state->refs, 1);
        mutex_init(&state->mu);
        state->schema = schema_ref(schema);
        atomic_init(&state->version, schema->version);
        *ret_state = state;
        return ST_OK;
}

TableState *table_state_ref(TableState *state)
{
        atomic_fetch_add_explicit(&state->refs, 1, memory_order_relaxed);
        return state;
}

TableState *table_state_unref(TableState *state)
{
        if (state && atomic_fetch_sub_explicit(&state->refs, 1, memory_order_acq_rel) == 1) {
                schema_unref(state->schema);
                mutex_done(&state->mu);
                mem_free(state);
        }
        return NULL;
}

Schema *table_state_schema(TableState *state)
{
        mutex_lock(&state->mu);
        Schema *schema = schema_ref(state->schema);
        mutex_unlock(&state->mu);
        return schema;
}

void table_state_begin(TableState *state)
{
        mutex_lock(&state->mu);
        atomic_store(&state->version, 0);
}

void table_state_end(TableState *state, Schema *schema)
{
        Schema *old = NULL;
        if (schema) {
                old = state->schema;
                state->schema = schema_ref(schema);
        }
        atomic_store(&state->version, state->schema->version);
        mutex_unlock(&state->mu);
        schema_unref(old);
}
