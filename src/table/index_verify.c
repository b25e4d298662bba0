/* index_verify.c - do indexes have the entries that their rows make? Both are added up as hashes, which takes no memory
 * and no order: equal sums and counts, equal sets. */
#include "table/index_int.h"

#include <inttypes.h>
#include <stdio.h>

typedef struct Sum {
        uint64_t count, low, high; /* two sums of different hashes */
} Sum;

struct IndexVerify {
        Schema *schema;
        struct {
                Sum made, found;
                uint64_t strange_count; /* entries that are none */
                /* A unique one: what comes twice stands side by side. Values that were cut are not compared. */
                uint64_t twice_count;
                uint8_t last[INDEX_VALUE_MAX]; /* the value of the entry before */
                size_t last_bytes;
                uint64_t last_row; /* hash of its primary key */
        } indexes[];
};

Status index_verify_new(Value table_document, IndexVerify **ret_verify)
{
        Schema *schema = NULL;
        TRY(schema_decode(1, table_document, &schema));
        IndexVerify *verify = mem_zalloc(sizeof *verify + schema->tree_count * sizeof verify->indexes[0]);
        if (!verify) {
                schema_unref(schema);
                return status_nomem();
        }
        verify->schema = schema;
        *ret_verify = verify;
        return ST_OK;
}

IndexVerify *index_verify_free(IndexVerify *verify)
{
        if (verify) {
                schema_unref(verify->schema);
                mem_free(verify);
        }
        return NULL;
}

static void sum_add(Sum *sum, Bytes key, Bytes value)
{
        uint64_t head = bytes_hash(value.data, value.size);
        sum->count++;
        sum->low += bytes_hash_seeded(key.data, key.size, head);
        sum->high += bytes_hash_seeded(key.data, key.size, ~head);
}

Status index_verify_row(IndexVerify *verify, Bytes key, Value row, Arena *arena)
{
        const Schema *schema = verify->schema;
        for (size_t i = 0; i < schema->tree_count; i++) {
                IndexEntries entries;
                if (!schema->infos[i].ready) /* some are missing, as they should */
                        continue;
                TRY(index_entries_of(schema->indexes[i], key, row, arena, &entries));
                for (size_t k = 0; k < entries.count; k++)
                        sum_add(&verify->indexes[i].made, entries.items[k].key,
                                BYTES(entries.items[k].value, sizeof entries.items[k].value));
        }
        return ST_OK;
}

static void look_for_twice(IndexVerify *verify, size_t i, const IndexEntryParts *parts)
{
        uint64_t row = bytes_hash(parts->primary_key.data, parts->primary_key.size);
        Bytes last = BYTES(verify->indexes[i].last, verify->indexes[i].last_bytes);
        if (parts->cut || parts->value.data[0] >= INDEX_REST)
                return;
        if (bytes_equal(last, parts->value) && row != verify->indexes[i].last_row)
                verify->indexes[i].twice_count++;
        memcpy(verify->indexes[i].last, parts->value.data, parts->value.size);
        verify->indexes[i].last_bytes = parts->value.size;
        verify->indexes[i].last_row = row;
}

void index_verify_entry(IndexVerify *verify, uint32_t tree, Bytes key, Bytes value)
{
        const Schema *schema = verify->schema;
        for (size_t i = 0; i < schema->tree_count; i++) {
                IndexEntryParts parts;
                if (schema->indexes[i]->tree != tree || !schema->infos[i].ready)
                        continue;
                if (!index_entry_read(schema->indexes[i]->shape, key, value, &parts))
                        verify->indexes[i].strange_count++;
                else if (schema->indexes[i]->unique)
                        look_for_twice(verify, i, &parts);
                sum_add(&verify->indexes[i].found, key, value);
        }
}

bool index_verify_result(const IndexVerify *verify, size_t i, Bytes *ret_name, char *out, size_t size)
{
        if (i >= verify->schema->tree_count)
                return false;
        const Sum *made = &verify->indexes[i].made, *found = &verify->indexes[i].found;
        uint64_t strange = verify->indexes[i].strange_count, twice = verify->indexes[i].twice_count;
        *ret_name = i < verify->schema->count ? verify->schema->infos[i].name : BYTES_STR("ttl");
        out[0] = 0;
        if (strange)
                snprintf(out, size, "%" PRIu64 " of its entries cannot be read; drop it and create it again", strange);
        else if (made->count != found->count)
                snprintf(out, size,
                         "it has %" PRIu64 " entries, but its rows make %" PRIu64 "; drop it and create it again",
                         found->count, made->count);
        else if (made->low != found->low || made->high != found->high)
                snprintf(out, size, "its entries are not those that its rows make; drop it and create it again");
        else if (twice)
                snprintf(out, size, "it is unique, but %" PRIu64 " of its values are those of two rows", twice);
        return true;
}
