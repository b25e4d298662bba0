/* index_scan.c - tables read through their indexes: which index a slice goes by, whether it can, and what comes out of
 * it beside rows.
 *
 * That an index is not there, is being built or is of the wrong kind is found out when rows are asked for, as in
 * RethinkDB, where the shards say so; such an error has no place in the query (an empty backtrace). */
#include "query/env_int.h"
#include "value/key.h"

#define S(bytes) (int)(bytes).size, (const char *)(bytes).data

const IndexInfo *table_find_index(Env *env, const TableVal *table, Bytes name)
{
        const IndexInfo *indexes = NULL;
        size_t count = env->source->index_list ? env->source->index_list(table->ref, &indexes) : 0;
        for (size_t i = 0; i < count; i++)
                if (bytes_equal(indexes[i].name, name))
                        return &indexes[i];
        return NULL;
}

void table_use_index(Env *env, TableVal *slice, Bytes name)
{
        slice->has_index = true;
        slice->index = name;
        slice->secondary = table_is_primary(slice) ? NULL : table_find_index(env, slice, name);
}

Status fail_no_index(Env *env, const Term *at, const TableVal *table, Bytes name)
{
        return fail(env, at, ERR_OP_FAILED, "Index `%.*s` was not found on table `%.*s.%.*s`.", S(name),
                    S(table->info->db), S(table->info->name));
}

Status table_check_index(Env *env, const TableVal *table)
{
        if (likely(table_is_primary(table)))
                return ST_OK;
        if (!table->secondary)
                return fail_no_index(env, NULL, table, table->index);
        if (table->secondary->geo)
                return fail(env, NULL, ERR_LOGIC,
                            "Index `%.*s` is a geospatial index.  Only get_nearest and get_intersecting can use a "
                            "geospatial index.",
                            S(table->index));
        return ST_OK;
}

Status check_secondary_key(Env *env, const Term *at, Value key)
{
        Bytes encoded;
        if (value_is(key, V_MINVAL) || value_is(key, V_MAXVAL))
                return ST_OK;
        if (value_is(key, V_ARRAY)) { /* MINVAL and MAXVAL may stand in a bound; else it is the elements' fault */
                for (size_t i = 0; i < value_count(key); i++)
                        TRY(check_secondary_key(env, at, value_at(key, i)));
                return ST_OK;
        }
        if (key_is_secondary(key))
                return ST_OK;
        if (value_is(key, V_STRING) || value_is(key, V_BINARY)) /* a NUL */
                return fail_at(env, at, key_encode_primary(key, env->arena, &encoded));
        StatusCode code = value_is(key, V_NULL) ? ERR_NON_EXISTENCE : ERR_LOGIC;
        return fail(env, at, code,
                    "Secondary keys must be a number, string, bool, pseudotype, or array (got type %s):\n%s",
                    value_type_name(key), (const char *)message_datum(env, key).data);
}

static const KeyBounds *slice_bounds(const TableVal *table)
{
        return table->has_bounds ? &table->bounds : NULL;
}

Status table_scan_open(Env *env, const Term *at, const TableVal *table, TableScan **ret_scan)
{
        TableView *view;
        TRY(table_check_index(env, table));
        TRY(fail_at(env, at, env_view(env, table->ref, &view)));
        if (table_is_primary(table))
                return fail_at(env, at, env->source->scan_open(view, slice_bounds(table), table->order < 0, ret_scan));
        return fail_at(
                env, NULL,
                env->source->index_scan_open(view, table->index, slice_bounds(table), table->order < 0, ret_scan));
}

Status table_count_rows(Env *env, const Term *at, const TableVal *table, uint64_t *ret_count)
{
        TableView *view;
        TRY(table_check_index(env, table));
        TRY(fail_at(env, at, env_view(env, table->ref, &view)));
        if (table_is_primary(table))
                return fail_at(env, at, env->source->view_count(view, slice_bounds(table), ret_count));
        return fail_at(env, NULL, env->source->index_count(view, table->index, slice_bounds(table), ret_count));
}

/* --- index values, alone or with their rows --- */

typedef struct ValuesStream {
        Stream stream;
        TableVal table;
        const TableSource *source;
        TableScan *scan; /* NULL: not begun */
        Deferred *deferred;
        bool distinct;       /* values alone, each once */
        Arena *kept, *bound; /* distinct: hold `last` and the bound behind the value that was jumped over */
        Value last;
        unsigned repeats; /* of `last` */
} ValuesStream;

/* So many entries of one value are read before it is cheaper to look for the next value in the tree. */
#define REPEATS_MAX 16

static void close_scan(void *what)
{
        ValuesStream *self = what;
        self->source->scan_close(self->scan);
        self->scan = NULL;
}

static void add_pair(ValueVec *batch, Arena *out, Value row, Value value)
{
        Value *pair = arena_array(out, Value, 2);
        pair[0] = row;
        pair[1] = value;
        vec_add(batch, out, value_array(pair, 2));
}

static Status begin_values(ValuesStream *self, Env *env)
{
        TRY(table_scan_open(env, self->stream.term, &self->table, &self->scan));
        self->deferred = env_defer(env, close_scan, self);
        return ST_OK;
}

static Status jump_over(ValuesStream *self, Env *env)
{
        KeyBounds *bounds = &self->table.bounds;
        env_undefer(env, self->deferred);
        if (!self->table.has_bounds)
                *bounds = (KeyBounds){.low_type = BOUND_NONE, .high_type = BOUND_NONE};
        self->table.has_bounds = true;
        arena_reset(self->bound);
        if (self->table.order < 0) {
                bounds->high = value_copy(self->last, self->bound);
                bounds->high_type = BOUND_OPEN;
        } else {
                bounds->low = value_copy(self->last, self->bound);
                bounds->low_type = BOUND_OPEN;
        }
        self->repeats = 0;
        return begin_values(self, env);
}

static Status values_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        ValuesStream *self = (ValuesStream *)stream;
        Batcher batcher = batcher_start(env, SOURCE_TABLE, want);
        if (!self->scan)
                TRY(begin_values(self, env));
        for (uint32_t i = 1;; i++) {
                ArenaMark mark = arena_mark(out);
                Value row, value;
                if ((i & 255) == 0)
                        TRY(env_poll(env));
                TRY(fail_at(env, NULL, env->source->scan_next(self->scan, out, &row)));
                if (value_is(row, V_NONE))
                        break;
                TRY(fail_at(env, NULL, env->source->scan_index_value(self->scan, out, &value)));
                if (!self->distinct) {
                        add_pair(batch, out, row, value);
                } else if (!value_is(self->last, V_NONE) && value_equal(self->last, value)) {
                        arena_rewind(out, mark);
                        if (++self->repeats == REPEATS_MAX)
                                TRY(jump_over(self, env));
                        continue;
                } else {
                        arena_reset(self->kept);
                        self->last = value_copy(value, self->kept);
                        self->repeats = 0;
                        arena_rewind(out, mark);
                        vec_add(batch, out, value_copy(self->last, out));
                }
                if (batcher_add(&batcher, env, batch->items[batch->count - 1]))
                        return ST_OK;
        }
        env_undefer(env, self->deferred);
        *ret_end = true;
        return ST_OK;
}

static const StreamOps values_ops = {.next = values_next};

static ValuesStream *values_stream(Env *env, const Term *term, const TableVal *table)
{
        ValuesStream *self = arena_new(env->arena, ValuesStream);
        self->stream = (Stream){.ops = &values_ops, .term = term, .ordered = true};
        self->table = *table;
        self->source = env->source;
        self->last = value_none();
        return self;
}

Stream *stream_of_index_pairs(Env *env, const Term *term, const TableVal *table)
{
        return &values_stream(env, term, table)->stream;
}

Stream *stream_of_index_values(Env *env, const Term *term, const TableVal *table)
{
        ValuesStream *self = values_stream(env, term, table);
        self->distinct = true;
        self->kept = stream_arena(env);
        self->bound = stream_arena(env);
        return &self->stream;
}
