/* key_lookup.c - see key_lookup.h. */
#include "query/key_lookup.h"

#include <stdlib.h>

#include "value/key.h"

#define MAX_BYTES ((size_t)8 << 20) /* of rows */

typedef struct Wanted {
        Bytes encoded;
        size_t index;
} Wanted;

static int compare_wanted(const void *a, const void *b)
{
        return bytes_compare(((const Wanted *)a)->encoded, ((const Wanted *)b)->encoded);
}

Status key_lookup(Env *env, TableView *view, const Value *keys, size_t count, Arena *hold, Value *ret_rows)
{
        Wanted *wanted = arena_array(hold, Wanted, count);
        size_t wanted_count = 0, bytes = 0;
        for (size_t i = 0; i < count; i++) {
                Wanted *next = &wanted[wanted_count];
                ret_rows[i] = value_none();
                if (value_is(keys[i], V_NONE)) {
                        ret_rows[i] = value_null();
                        continue;
                }
                Status st = key_encode_primary(keys[i], hold, &next->encoded);
                next->index = i;
                wanted_count += !st;
                status_ignore(st); /* who reads it one by one will say so */
        }
        if (wanted_count > 1)
                qsort(wanted, wanted_count, sizeof *wanted, compare_wanted);
        for (size_t i = 0; i < wanted_count && bytes < MAX_BYTES; i++) {
                Value *row = &ret_rows[wanted[i].index];
                if (i && bytes_equal(wanted[i].encoded, wanted[i - 1].encoded)) {
                        *row = ret_rows[wanted[i - 1].index];
                        continue;
                }
                TRY(env->source->view_get(view, keys[wanted[i].index], hold, row));
                bytes += value_is_object(*row) ? value_encoded_size(*row) : 0;
        }
        return ST_OK;
}
