/* follow.c - what feed/ asks of a table whose rows it follows in the store's log: see table.h. */
#include "storage/read_point.h"
#include "table/index_int.h"
#include "table/table_int.h"

StoreTable *table_store(const TableRef *table)
{
        return table->store;
}

bool table_document_is(const TableRef *table, Bytes key)
{
        Bytes id = table->info.id;
        return key.size == 1 + id.size && key.data[0] == 't' && memcmp(key.data + 1, id.data, id.size) == 0;
}

unsigned table_shards_now(const TableRef *table)
{
        TableCatalog *catalog = table->catalog;
        mutex_lock(&catalog->ddl_mu);
        const TableRef *now = ddl_find_table(catalog, table->info.id);
        unsigned count = now ? now->shard_count : 0;
        mutex_unlock(&catalog->ddl_mu);
        return count;
}

Status table_index_find(TableRef *table, Bytes name, TableIndex **ret_index)
{
        size_t at;
        _cleanup_(schema_unrefp) Schema *schema = table_state_schema(table->state);
        TRY(index_find(table, schema, name, false, &at));
        *ret_index = index_ref(schema->indexes[at]);
        return ST_OK;
}

bool table_index_is(TableRef *table, Bytes name, const TableIndex *index)
{
        _cleanup_(schema_unrefp) Schema *schema = table_state_schema(table->state);
        size_t at = schema_find(schema, name);
        return at < schema->count && schema->indexes[at] == index;
}

TableIndex *table_index_ref(TableIndex *index)
{
        return index_ref(index);
}

TableIndex *table_index_unref(TableIndex *index)
{
        return index_unref(index);
}

bool table_index_is_multi(const TableIndex *index)
{
        return index->shape.multi;
}

Status table_index_value(TableIndex *index, Value row, Arena *arena, Value *ret_value)
{
        return closure_index_value(index->closure, row, arena, ret_value);
}
