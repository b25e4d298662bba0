/* index_schema.c - schemas: a table's indexes and write hook in memory and in the table's document. */
#include "table/index_int.h"

#include <stdlib.h>

#include "storage/store.h"

/* --- Index --- */

/* `text`: the function or the field, copied behind the struct. */
static Index *index_alloc(uint32_t tree, Bytes text, int64_t started_us, Bytes *ret_text)
{
        Index *index = mem_zalloc(sizeof *index + text.size + 1);
        if (!index)
                return NULL;
        atomic_init(&index->refs, 1);
        index->tree = tree;
        index->started_us = started_us;
        memcpy(index + 1, text.data, text.size);
        *ret_text = BYTES(index + 1, text.size);
        return index;
}

Status index_new(uint32_t tree, const IndexSpec *spec, int64_t started_us, Index **ret_index)
{
        Bytes function;
        Closure *closure = NULL;
        Index *index = index_alloc(tree, spec->function, started_us, &function);
        if (!index)
                return status_nomem();
        Status st = closure_load(function, &closure);
        if (st) {
                mem_free(index);
                return st;
        }
        index->shape = (IndexShape){.multi = spec->multi, .geo = spec->geo};
        index->unique = spec->unique;
        index->function = function;
        index->closure = closure;
        *ret_index = index;
        return ST_OK;
}

Status index_new_times(uint32_t tree, Bytes field, int64_t started_us, Index **ret_index)
{
        Bytes copy;
        Index *index = index_alloc(tree, field, started_us, &copy);
        if (!index)
                return status_nomem();
        index->field = copy;
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

static Bytes keep_bytes(uint8_t **at, Bytes from)
{
        if (!from.data)
                return BYTES_NONE;
        Bytes copy = BYTES(*at, from.size);
        if (from.size)
                memcpy(*at, from.data, from.size);
        *at += from.size;
        return copy;
}

static uint64_t hash_of(const Index *index)
{
        return bytes_hash_seeded(index->function.data, index->function.size,
                                 (index->shape.multi ? 1 : 0) | (index->shape.geo ? 2 : 0));
}

Status schema_new(uint64_t version, const SchemaSpec *spec, Schema **ret_schema)
{
        size_t tree_count = spec->count + (spec->ttl.index ? 1 : 0);
        size_t bytes = sizeof(Schema) + tree_count * (sizeof(IndexInfo) + sizeof(Index *)) + spec->hook.size;
        for (size_t i = 0; i < spec->count; i++)
                bytes += spec->items[i].name.size + spec->items[i].error.size;
        Schema *schema = mem_zalloc(bytes);
        if (!schema)
                return status_nomem();
        if (spec->count > 1)
                qsort(spec->items, spec->count, sizeof *spec->items, compare_items);
        atomic_init(&schema->refs, 1);
        schema->version = version;
        schema->count = spec->count;
        schema->tree_count = tree_count;
        schema->infos = (IndexInfo *)(schema + 1);
        schema->indexes = (Index **)(schema->infos + tree_count);
        uint8_t *at = (uint8_t *)(schema->indexes + tree_count);
        for (size_t i = 0; i < spec->count; i++) {
                const SchemaItem *item = &spec->items[i];
                schema->infos[i] = (IndexInfo){.name = keep_bytes(&at, item->name),
                                               .multi = item->index->shape.multi,
                                               .geo = item->index->shape.geo,
                                               .ready = item->ready,
                                               .unique = item->index->unique,
                                               .error = keep_bytes(&at, item->error),
                                               .hash = hash_of(item->index)};
                schema->infos[i].path_count =
                        closure_paths(item->index->closure, &schema->infos[i].paths, &schema->infos[i].compound);
                schema->indexes[i] = index_ref(item->index);
                schema->unique |= item->index->unique && !item->error.data;
        }
        if (spec->ttl.index) {
                schema->ttl = spec->ttl;
                schema->infos[spec->count] = (IndexInfo){.ready = spec->ttl.ready};
                schema->indexes[spec->count] = index_ref(spec->ttl.index);
        }
        if (spec->hook.data) {
                schema->hook = keep_bytes(&at, spec->hook);
                schema->hook_closure = closure_ref(spec->hook_closure);
        }
        *ret_schema = schema;
        return ST_OK;
}

Status schema_spec(const Schema *schema, SchemaSpec *ret_spec)
{
        SchemaItem *items = mem_alloc((schema->count + 1) * sizeof *items);
        if (!items)
                return status_nomem();
        for (size_t i = 0; i < schema->count; i++)
                items[i] = (SchemaItem){.name = schema->infos[i].name,
                                        .index = schema->indexes[i],
                                        .ready = schema->infos[i].ready,
                                        .error = schema->infos[i].error};
        *ret_spec = (SchemaSpec){.items = items,
                                 .count = schema->count,
                                 .hook = schema->hook,
                                 .hook_closure = schema->hook_closure,
                                 .ttl = schema->ttl};
        return ST_OK;
}

Status schema_free_tree(const SchemaSpec *spec, uint32_t *ret_tree)
{
        bool used[STORE_TREES_MAX + 1] = {false};
        for (size_t i = 0; i < spec->count; i++)
                used[spec->items[i].index->tree] = true;
        if (spec->ttl.index)
                used[spec->ttl.index->tree] = true;
        for (uint32_t tree = 1; tree <= STORE_TREES_MAX; tree++)
                if (!used[tree]) {
                        *ret_tree = tree;
                        return ST_OK;
                }
        return status_new(ERR_OP_FAILED, "A table can have %d indexes.", STORE_TREES_MAX);
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
                for (size_t i = 0; i < schema->tree_count; i++)
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
        for (size_t i = 0; i < schema->tree_count; i++)
                if (schema->indexes[i] == index)
                        return true;
        return false;
}

/* --- in the table's document --- */

static Status encode_index(const IndexInfo *info, const Index *index, Arena *arena, Value *ret)
{
        enum { FIELDS = 8 };
        Field *fields = arena_try_alloc(arena, FIELDS * sizeof *fields);
        if (!fields)
                return status_nomem();
        fields[0] = (Field){BYTES_STR("error"), info->error.data ? value_string(info->error) : value_null()};
        fields[1] = (Field){BYTES_STR("function"), value_binary(index->function)};
        fields[2] = (Field){BYTES_STR("geo"), value_bool(index->shape.geo)};
        fields[3] = (Field){BYTES_STR("multi"), value_bool(index->shape.multi)};
        fields[4] = (Field){BYTES_STR("name"), value_string(info->name)};
        fields[5] = (Field){BYTES_STR("ready"), value_bool(info->ready)};
        fields[6] = (Field){BYTES_STR("tree"), value_number(index->tree)};
        fields[7] = (Field){BYTES_STR("unique"), value_bool(index->unique)};
        *ret = value_object_sorted(fields, FIELDS);
        return ST_OK;
}

static Status encode_ttl(const SchemaTtl *ttl, Arena *arena, Value *ret)
{
        enum { FIELDS = 4 };
        *ret = value_null();
        if (!ttl->index)
                return ST_OK;
        Field *fields = arena_try_alloc(arena, FIELDS * sizeof *fields);
        if (!fields)
                return status_nomem();
        fields[0] = (Field){BYTES_STR("field"), value_string(ttl->index->field)};
        fields[1] = (Field){BYTES_STR("ready"), value_bool(ttl->ready)};
        fields[2] = (Field){BYTES_STR("seconds"), value_number(ttl->seconds)};
        fields[3] = (Field){BYTES_STR("tree"), value_number(ttl->index->tree)};
        *ret = value_object_sorted(fields, FIELDS);
        return ST_OK;
}

Status schema_encode(const Schema *schema, Arena *arena, SchemaFields *ret_fields)
{
        Value *items = arena_try_alloc(arena, schema->count * sizeof *items);
        if (!items)
                return status_nomem();
        for (size_t i = 0; i < schema->count; i++)
                TRY(encode_index(&schema->infos[i], schema->indexes[i], arena, &items[i]));
        TRY(encode_ttl(&schema->ttl, arena, &ret_fields->ttl));
        ret_fields->indexes = value_array(items, schema->count);
        ret_fields->write_hook = schema->hook.data ? value_binary(schema->hook) : value_null();
        return ST_OK;
}

static bool read_tree(Value v, uint32_t *ret_tree)
{
        int64_t tree;
        if (!value_integer(value_get_str(v, "tree"), &tree) || tree < 1 || tree > STORE_TREES_MAX)
                return false;
        *ret_tree = (uint32_t)tree;
        return true;
}

static Status decode_index(Value v, SchemaItem *item)
{
        uint32_t tree;
        if (!value_is(v, V_OBJECT))
                return status_new(ERR_CORRUPT, "an index is not an object");
        Value name = value_get_str(v, "name"), function = value_get_str(v, "function");
        if (!value_is(name, V_STRING) || !value_is(function, V_BINARY) || !read_tree(v, &tree))
                return status_new(ERR_CORRUPT, "an index lacks something that belongs there");
        IndexSpec spec = {.function = value_bytes(function),
                          .multi = value_truthy(value_get_str(v, "multi")),
                          .geo = value_truthy(value_get_str(v, "geo")),
                          .unique = value_truthy(value_get_str(v, "unique"))};
        Value error = value_get_str(v, "error");
        item->name = value_bytes(name);
        item->ready = value_truthy(value_get_str(v, "ready"));
        item->error = value_is(error, V_STRING) ? value_bytes(error) : BYTES_NONE;
        return index_new(tree, &spec, 0, &item->index);
}

static Status decode_ttl(Value v, SchemaTtl *ttl)
{
        uint32_t tree;
        if (value_is(v, V_NULL))
                return ST_OK;
        if (!value_is(v, V_OBJECT) || !value_is(value_get_str(v, "field"), V_STRING) ||
            !value_is(value_get_str(v, "seconds"), V_NUMBER) || !read_tree(v, &tree))
                return status_new(ERR_CORRUPT, "it does not say when rows expire");
        ttl->seconds = value_get_str(v, "seconds").number;
        ttl->ready = value_truthy(value_get_str(v, "ready"));
        return index_new_times(tree, value_bytes(value_get_str(v, "field")), 0, &ttl->index);
}

Status schema_decode(uint64_t version, Value doc, Schema **ret_schema)
{
        _cleanup_(closure_unrefp) Closure *closure = NULL;
        Value indexes = value_get_str(doc, "indexes"), hook = value_get_str(doc, "write_hook");
        size_t count = value_is(indexes, V_ARRAY) ? value_count(indexes) : 0;
        SchemaSpec spec = {0};
        if (!value_is(indexes, V_ARRAY) || count > STORE_TREES_MAX)
                return status_new(ERR_CORRUPT, "it has no list of indexes");
        if (value_is(hook, V_BINARY)) {
                TRY_CTX(closure_load(value_bytes(hook), &closure), "reading the write hook");
                spec.hook = value_bytes(hook);
                spec.hook_closure = closure;
        }
        spec.items = mem_alloc((count + 1) * sizeof *spec.items);
        if (!spec.items)
                return status_nomem();
        Status st = decode_ttl(value_get_str(doc, "ttl"), &spec.ttl);
        while (!st && spec.count < count) {
                st = decode_index(value_at(indexes, spec.count), &spec.items[spec.count]);
                spec.count += !st;
        }
        if (!st)
                st = schema_new(version, &spec, ret_schema);
        for (size_t i = 0; i < spec.count; i++)
                index_unref(spec.items[i].index);
        index_unref(spec.ttl.index);
        mem_free(spec.items);
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
