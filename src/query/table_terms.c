/* table_terms.c - reading terms of tables: db, table, get, get_all, between. Indexes: index_scan.c. */
#include "query/env_int.h"
#include "query/profile.h"
#include "value/key.h"

static Status check_name(Env *env, const Term *at, const char *kind, Bytes name)
{
        if (source_name_valid(name))
                return ST_OK;
        return fail(env, at, ERR_LOGIC, "%s name `%.*s` invalid (" SOURCE_NAME_RULE ").", kind, (int)name.size,
                    (const char *)name.data);
}

static Status term_db(Env *env, const Term *term, Val *ret)
{
        Args args;
        Bytes name;
        TRY(args_begin(env, term, &args));
        TRY(args_string(&args, 0, &name));
        TRY(check_name(env, args.terms[0], "Database", name));
        TRY(fail_at(env, term, env->source->db_check(env->source->ctx, name)));
        *ret = (Val){.kind = VAL_DB, .term = term, .db = name};
        return ST_OK;
}

/* Reads are always of the present here, so that the modes differ in nothing; but they are checked. */
static Status table_options(Env *env, const Term *term, bool *ret_uuids)
{
        Val val;
        Bytes text;
        bool present;
        *ret_uuids = false;
        if (!term->opt_count && !env->global_count)
                return ST_OK;
        TRY(opt_val(env, term, "use_outdated", &val, &present));
        if (present)
                return fail(env, term, ERR_LOGIC,
                            "The `use_outdated` optarg is no longer supported.  Use the `read_mode` optarg instead.");
        TRY(opt_val(env, term, "read_mode", &val, &present));
        if (present) {
                TRY(val_as_string(env, &val, &text));
                if (!bytes_equal(text, BYTES_STR("majority")) && !bytes_equal(text, BYTES_STR("single")) &&
                    !bytes_equal(text, BYTES_STR("outdated")) && !bytes_equal(text, BYTES_STR("_debug_direct")))
                        return fail(env, term, ERR_LOGIC,
                                    "Read mode `%.*s` unrecognized (options are \"majority\", \"single\", and "
                                    "\"outdated\").",
                                    (int)text.size, (const char *)text.data);
        }
        TRY(opt_val(env, term, "identifier_format", &val, &present));
        if (present) {
                TRY(val_as_string(env, &val, &text));
                *ret_uuids = bytes_equal(text, BYTES_STR("uuid"));
                if (!*ret_uuids && !bytes_equal(text, BYTES_STR("name")))
                        return fail(env, term, ERR_LOGIC,
                                    "Identifier format `%.*s` unrecognized (options are \"name\" and \"uuid\").",
                                    (int)text.size, (const char *)text.data);
        }
        return ST_OK;
}

const Term *constant_db(const Term *term)
{
        if (term->type != TERM_DB || term->has_args_splice || term->arg_count != 1 ||
            term->args[0]->type != TERM_DATUM || !value_is(term->args[0]->datum, V_STRING))
                return NULL;
        return term->args[0];
}

static Status term_table(Env *env, const Term *term, Val *ret)
{
        Args args;
        Bytes db, name;
        const Term *db_name = NULL;
        TableVal *table;
        bool uuids;
        TRY(args_begin(env, term, &args));
        if (args.count == 2) {
                db_name = constant_db(args.terms[0]);
                if (db_name) {
                        db = value_bytes(db_name->datum);
                        TRY(check_name(env, db_name, "Database", db));
                } else {
                        Val val;
                        TRY(args_val(&args, 0, &val));
                        TRY(val_as_db(env, &val, &db));
                }
                TRY(table_options(env, term, &uuids));
        } else {
                TRY(args_first(&args));
                TRY(table_options(env, term, &uuids));
                TRY(env_default_db(env, &db));
        }
        TRY(args_string(&args, args.count - 1, &name));
        TRY(check_name(env, args.terms[args.count - 1], "Table", name));
        Status st = env_table(env, db, name, &table);
        if (st) {
                if (db_name) { /* whose fault is it? */
                        Status no_db = env->source->db_check(env->source->ctx, db);
                        if (no_db) {
                                status_ignore(st);
                                return fail_at(env, args.terms[0], no_db);
                        }
                }
                return fail_at(env, term, st);
        }
        if (uuids)
                TRY(env_table_uuids(env, table, &table));
        *ret = (Val){.kind = VAL_TABLE, .term = term, .table = table};
        return ST_OK;
}

static Status row_to_get(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val val;
        Value key;
        TableVal *table;
        TRY(args_begin(env, term, &args));
        TRY(args_val(&args, 0, &val));
        TRY(val_as_table(env, &val, &table));
        TRY(args_datum(&args, 1, &key));
        *ret = (Val){.kind = VAL_ROW, .term = term, .datum = value_null(), .table = table, .key = key};
        return ST_OK;
}

Status get_unread(Env *env, const Term *term, Val *ret)
{
        const Term *outer = env->current;
        env->current = term;
        Status st = row_to_get(env, term, ret);
        env->current = outer;
        return st;
}

/* RethinkDB reads the row when it is asked for its value, so that is where a key that cannot be one is wrong; only
 * those who ask for a truth value take the blame away again. */
static const Term *reader_of(const Term *term)
{
        const Term *parent = term->parent;
        if (!parent)
                return term;
        switch (parent->type) {
        case TERM_FUNC:
        case TERM_BRANCH:
        case TERM_AND:
        case TERM_OR:
        case TERM_NOT: return term;
        default: return parent;
        }
}

static Status term_get(Env *env, const Term *term, Val *ret)
{
        TableView *view;
        TRY(row_to_get(env, term, ret));
        TRY(fail_at(env, term, env_view(env, ret->table->ref, &view)));
        TraceTask *task = trace_begin(env, TRACE_READ, term);
        Status st = env->source->view_get(view, ret->key, env->arena, &ret->datum);
        trace_end(env, task);
        return likely(!st) ? ST_OK : fail_at(env, reader_of(term), st);
}

Status opt_index(Env *env, const Term *term, Bytes *ret_index)
{
        Val val;
        bool present;
        *ret_index = BYTES_NONE;
        TRY(opt_val(env, term, "index", &val, &present));
        return present ? val_as_string(env, &val, ret_index) : ST_OK;
}

/* --- get_all: point reads, or short scans of an index, one key after the other --- */

typedef struct KeysStream {
        Stream stream;
        TableVal *table; /* by an index: its bounds are the present key */
        const TableSource *source;
        Value *keys;
        size_t count, next;
        TableScan *scan; /* of the present key */
        Deferred *deferred;
} KeysStream;

static Status keys_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        KeysStream *self = (KeysStream *)stream;
        TableView *view;
        Batcher batcher = batcher_start(env, SOURCE_TABLE, want);
        TRY(fail_at(env, stream->term, env_view(env, self->table->ref, &view)));
        while (self->next < self->count) {
                Value row;
                TRY(fail_at(env, stream->term, env->source->view_get(view, self->keys[self->next++], out, &row)));
                if (value_is(row, V_NULL))
                        continue;
                vec_add(batch, out, row);
                if (batcher_add(&batcher, env, row))
                        break;
        }
        *ret_end = self->next >= self->count;
        return ST_OK;
}

static const StreamOps keys_ops = {.next = keys_next};

static void close_scan(void *what)
{
        KeysStream *self = what;
        self->source->scan_close(self->scan);
        self->scan = NULL;
}

static void bind_key(TableVal *table, Value key)
{
        table->has_bounds = true;
        table->bounds = (KeyBounds){.low = key, .high = key, .low_type = BOUND_CLOSED, .high_type = BOUND_CLOSED};
}

static Status entries_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        KeysStream *self = (KeysStream *)stream;
        Batcher batcher = batcher_start(env, SOURCE_TABLE, want);
        TRY(table_check_index(env, self->table));
        while (self->scan || self->next < self->count) {
                Value row;
                if (!self->scan) {
                        TRY(env_poll(env));
                        bind_key(self->table, self->keys[self->next++]);
                        TRY(table_scan_open(env, stream->term, self->table, &self->scan));
                        self->deferred = env_defer(env, close_scan, self);
                }
                TRY(fail_at(env, NULL, env->source->scan_next(self->scan, out, &row)));
                if (value_is(row, V_NONE)) {
                        env_undefer(env, self->deferred);
                        continue;
                }
                vec_add(batch, out, row);
                if (batcher_add(&batcher, env, row))
                        return ST_OK;
        }
        *ret_end = true;
        return ST_OK;
}

static Status entries_count(Stream *stream, Env *env, uint64_t *ret_count, bool *ret_known)
{
        KeysStream *self = (KeysStream *)stream;
        *ret_known = !self->scan && self->next == 0;
        *ret_count = 0;
        TRY(table_check_index(env, self->table));
        for (size_t i = 0; *ret_known && i < self->count; i++) {
                uint64_t more;
                TRY(env_poll(env));
                bind_key(self->table, self->keys[i]);
                TRY(table_count_rows(env, stream->term, self->table, &more));
                *ret_count += more;
        }
        return ST_OK;
}

static const StreamOps entries_ops = {.next = entries_next, .count = entries_count};

bool stream_is_get_all(const Stream *stream, const TableVal **ret_table, const Value **ret_keys, size_t *ret_count)
{
        const KeysStream *self = (const KeysStream *)stream;
        if ((stream->ops != &keys_ops && stream->ops != &entries_ops) || self->next || stream->done)
                return false;
        *ret_table = self->table;
        *ret_keys = self->keys;
        *ret_count = self->count;
        return true;
}

static Status args_key(Args *args, size_t i, Value *ret)
{
        Env *env = args->env;
        TRY(args_datum(args, i, ret));
        if (value_is(*ret, V_NULL))
                return fail(env, args->terms[i], ERR_NON_EXISTENCE, "Keys cannot be NULL.");
        if (value_is(*ret, V_GEOMETRY))
                return fail(env, args->terms[i], ERR_LOGIC,
                            "Cannot use a geospatial index with `get_all`. Use `get_intersecting` instead.");
        return ST_OK;
}

static Status term_get_all(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val val;
        TableVal *table;
        Bytes index;
        TRY(args_begin(env, term, &args));
        TRY(args_val(&args, 0, &val));
        TRY(val_as_table(env, &val, &table));
        TRY(opt_index(env, term, &index));
        KeysStream *self = arena_new(env->arena, KeysStream);
        self->stream = (Stream){.ops = &keys_ops, .term = term, .table = table};
        self->table = table;
        self->keys = arena_array(env->arena, Value, args.count);
        for (size_t i = 1; i < args.count; i++) {
                Value key;
                TRY(args_key(&args, i, &key));
                self->keys[self->count++] = key;
        }
        *ret = val_stream(term, &self->stream);
        if (index.data && !bytes_equal(index, table->info->primary_key)) {
                self->stream.ops = &entries_ops;
                self->source = env->source;
                self->table = arena_dup(env->arena, table, sizeof *table);
                table_use_index(env, self->table, index);
                for (size_t i = 0; i < self->count; i++)
                        TRY(check_secondary_key(env, term, self->keys[i]));
                return ST_OK;
        }
        for (size_t i = 0; i < self->count; i++) {
                Bytes encoded;
                TRY(fail_at(env, term, key_encode_primary(self->keys[i], env->arena, &encoded)));
        }
        return ST_OK;
}

/* --- between --- */

static Status bound(Args *args, size_t i, bool is_low, Value *ret)
{
        Env *env = args->env;
        Val val;
        TRY(args_val(args, i, &val));
        TRY(val_as_datum(env, &val, ret));
        if (!value_is(*ret, V_NULL))
                return ST_OK;
        if (args->term->type == TERM_BETWEEN)
                return fail(env, val.term, ERR_LOGIC,
                            "Cannot use `null` in BETWEEN, use `r.minval` or `r.maxval` to denote unboundedness.");
        *ret = is_low ? value_minval() : value_maxval();
        return ST_OK;
}

/* The table under betweens and indexed orders: that is where RethinkDB reports a second one. */
const Term *slice_origin(const Term *term)
{
        while ((term->type == TERM_BETWEEN || term->type == TERM_BETWEEN_DEPRECATED || term->type == TERM_ORDER_BY) &&
               term->arg_count)
                term = term->args[0];
        return term;
}

Status slice_with_index(Env *env, const Val *slice, Bytes index, const char *what, const char *after, TableVal **ret)
{
        const TableVal *table = slice->table;
        Bytes before = table->index;
        if (!table->has_index || bytes_equal(index, before)) {
                TableVal *made = arena_dup(env->arena, table, sizeof *table);
                table_use_index(env, made, index);
                *ret = made;
                return ST_OK;
        }
        return fail(env, slice_origin(slice->term), ERR_LOGIC, "Cannot %s index `%.*s` after %s index `%.*s`.", what,
                    (int)index.size, (const char *)index.data, after, (int)before.size, (const char *)before.data);
}

static Status term_between(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val val;
        TableVal *table, *slice;
        Bytes index;
        bool left_open, right_open;
        Value low, high;
        TRY(args_begin(env, term, &args));
        TRY(args_val(&args, 0, &val));
        TRY(val_as_table_slice(env, &val, &table));
        TRY(opt_bound_open(env, term, "left_bound", false, &left_open));
        TRY(opt_bound_open(env, term, "right_bound", true, &right_open));
        TRY(bound(&args, 1, true, &low));
        TRY(bound(&args, 2, false, &high));
        TRY(opt_index(env, term, &index));
        if (!index.data)
                index = table->has_index ? table->index : table->info->primary_key;
        if (table->has_bounds)
                return fail(env, slice_origin(val.term), ERR_LOGIC,
                            "Cannot perform multiple BETWEENs on the same table.");
        TRY(slice_with_index(env, &val, index, "call BETWEEN on", "ordering on", &slice));
        /* From minval to maxval, both open, is no bound at all: another BETWEEN may follow. */
        slice->has_bounds = !(left_open && right_open && value_is(low, V_MINVAL) && value_is(high, V_MAXVAL));
        slice->bounds = (KeyBounds){
                .low = low,
                .high = high,
                .low_type = value_is(low, V_MINVAL) ? BOUND_NONE
                            : left_open             ? BOUND_OPEN
                                                    : BOUND_CLOSED,
                .high_type = value_is(high, V_MAXVAL) ? BOUND_NONE
                             : right_open             ? BOUND_OPEN
                                                      : BOUND_CLOSED,
        };
        *ret = (Val){.kind = VAL_TABLE_SLICE, .term = term, .table = slice};
        return ST_OK;
}

static const TermEval list[] = {
        {TERM_DB, term_db, true},           {TERM_TABLE, term_table, true},
        {TERM_GET, term_get, true},         {TERM_GET_ALL, term_get_all, true},
        {TERM_BETWEEN, term_between, true}, {TERM_BETWEEN_DEPRECATED, term_between, true},
};
const TermList terms_table = {list, ELEMENTS(list)};
