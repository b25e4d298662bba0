/* index_terms.c - terms that make, drop, rename, list and wait for indexes, and those of write hooks. */
#include "query/closure.h"
#include "query/env_int.h"
#include "value/json.h"

#define BAD_BINARY         "Binary blob passed to index create could not be interpreted as a reql_index_function"
#define MAX_FUNCTION_BYTES ((size_t)1 << 20)
#define WAIT_FIRST_MS      2 /* between two looks at an index that is being built: doubled up to */
#define WAIT_MAX_MS        25

static void note_position(Env *env, uint64_t position)
{
        env->durable_position = MAX(env->durable_position, position);
}

/* A table found anew: an earlier term of the query, or another query, may have changed its indexes since. */
typedef struct Present {
        TableRef *table;
        const TableSource *source;
        Deferred *deferred;
} Present;

static void unref_present(void *what)
{
        const Present *present = what;
        present->source->table_unref(present->table);
}

static Status present_find(Env *env, const Term *term, const TableVal *table, Present **ret)
{
        Present *present = arena_new(env->arena, Present);
        present->source = env->source;
        TRY(fail_at(env, term,
                    env->source->table_find(env->source->ctx, table->info->db, table->info->name, &present->table)));
        present->deferred = env_defer(env, unref_present, present);
        *ret = present;
        return ST_OK;
}

typedef struct Target { /* argument 0 */
        Args args;
        TableVal *table;
} Target;

static Status begin(Env *env, const Term *term, Target *ret)
{
        Val val;
        TRY(args_begin(env, term, &ret->args));
        TRY(args_val(&ret->args, 0, &val));
        return val_as_table(env, &val, &ret->table);
}

static Status begin_change(Env *env, const Term *term, Target *ret)
{
        TRY(begin(env, term, ret));
        if (!env->source->index_create)
                return fail(env, term, ERR_OP_FAILED, "There are no indexes here.");
        return ST_OK;
}

#define S(bytes) (int)(bytes).size, (const char *)(bytes).data

/* --- the functions --- */

static Status check_deterministic(Env *env, const Func *func, unsigned never, const char *rule)
{
        if (func->kind == FUNC_TERM && !(func->term->tree_flags & (never | TF_UNPROVABLE | TF_WRITES | TF_READS_TABLE)))
                return ST_OK;
        return fail(env, func_term(func), ERR_LOGIC, "Could not prove function deterministic.  %s", rule);
}

static void free_buf(void *buf)
{
        buf_done(buf);
}

static void close_closure(void *closure)
{
        (void)closure_unref(closure);
}

/* The saved form, in env->arena. */
static Status save_func(Env *env, const Func *func, Bytes *ret_saved)
{
        Buf *buf = arena_new(env->arena, Buf);
        buf_init(buf, MAX_FUNCTION_BYTES);
        Deferred *deferred = env_defer(env, free_buf, buf);
        Status st = closure_save(env, func, buf);
        if (!st)
                *ret_saved = BYTES(arena_dup(env->arena, buf->data, buf->size), buf->size);
        env_undefer(env, deferred);
        if (status_code(st) == ERR_LIMIT) {
                status_ignore(st);
                return fail(env, func_term(func), ERR_RESOURCE,
                            "The function, with what it refers to, has more than %zu bytes.", MAX_FUNCTION_BYTES);
        }
        return fail_at(env, func_term(func), st);
}

typedef struct Shape { /* of a saved function */
        size_t param_count;
        bool uses_now;
} Shape;

/* Whether it can be loaded again: a client may have made it up, and what refers to large constants may be nested too
 * deeply. */
static Status look_into(Env *env, const Term *at, Bytes saved, const char *what, Shape *ret)
{
        Closure *closure;
        Status st = closure_load(saved, &closure);
        if (status_code(st) == ERR_CORRUPT) {
                _cleanup_(status_freep) Status cause = st;
                return fail(env, at, ERR_LOGIC, "%s (%s)", what, status_message(cause));
        }
        TRY(fail_at(env, at, st));
        *ret = (Shape){.param_count = closure_param_count(closure), .uses_now = closure_uses_now(closure)};
        close_closure(closure);
        return ST_OK;
}

/* row => row(name), as RethinkDB makes it. */
static Bytes field_function(Env *env, Bytes name)
{
        Bytes quoted = json_text(value_string(name), env->arena);
        const char *text =
                arena_printf(env->arena, "[%d,[[%d,[-19]],[%d,[[%d,[-19]],%.*s]]]]", TERM_FUNC, TERM_MAKE_ARRAY,
                             TERM_GET_FIELD, TERM_VAR, (int)quoted.size, (const char *)quoted.data);
        return BYTES_STR(text);
}

/* Ours, or RethinkDB's. */
static Status binary_function(Env *env, const Val *val, IndexSpec *spec)
{
        Bytes binary = value_bytes(val->datum);
        const size_t prefix = sizeof CLOSURE_PREFIX - 1;
        if (binary.size < prefix || memcmp(binary.data, CLOSURE_PREFIX, prefix) != 0)
                return fail(env, val->term, ERR_LOGIC,
                            "Cannot create an sindex except from a reql_index_function returned from `index_status` in "
                            "the field `function`.");
        Bytes name = spec->name;
        if (closure_binary_read(binary, spec)) {
                spec->name = name;
                return ST_OK;
        }
        Buf *buf = arena_new(env->arena, Buf);
        buf_init(buf, MAX_FUNCTION_BYTES);
        Deferred *deferred = env_defer(env, free_buf, buf);
        Status st = closure_import(binary, env->arena, buf, &spec->multi, &spec->geo);
        if (!st)
                spec->function = BYTES(arena_dup(env->arena, buf->data, buf->size), buf->size);
        env_undefer(env, deferred);
        if (status_code(st) != ERR_CORRUPT && status_code(st) != ERR_LIMIT)
                return fail_at(env, val->term, st);
        _cleanup_(status_freep) Status cause = st;
        return fail(env, val->term, ERR_LOGIC, BAD_BINARY " (%s)", status_message(cause));
}

static Status index_function(Env *env, const Val *val, IndexSpec *spec)
{
        static const char rule[] = "Index functions must be deterministic.";
        Func *func;
        Shape shape;
        if (!val_is_datum(val) || !value_is(val->datum, V_BINARY)) {
                TRY(val_as_func(env, val, &func));
                TRY(check_deterministic(env, func, TF_MOMENT, rule));
                TRY(save_func(env, func, &spec->function));
                return look_into(env, func_term(func), spec->function, "The function cannot be kept.", &shape);
        }
        TRY(binary_function(env, val, spec));
        TRY(look_into(env, val->term, spec->function, BAD_BINARY, &shape));
        if (shape.uses_now)
                return fail(env, val->term, ERR_LOGIC, "Could not prove function deterministic.  %s", rule);
        return ST_OK;
}

/* --- indexes --- */

static Status check_name(Env *env, const Term *term, const TableVal *table, Bytes name)
{
        if (!bytes_equal(name, table->info->primary_key))
                return ST_OK;
        return fail(env, term, ERR_LOGIC, "Index name conflict: `%.*s` is the name of the primary key.", (int)name.size,
                    (const char *)name.data);
}

static Status opt_flag(Env *env, const Term *term, const char *name, bool *flag)
{
        Val val;
        bool present;
        TRY(opt_val(env, term, name, &val, &present));
        return present ? val_as_bool(env, &val, flag) : ST_OK;
}

static Status made(Env *env, const Term *term, const Target *target, Status st, Value result, uint64_t position,
                   Val *ret)
{
        TRY(fail_at(env, term, st));
        note_position(env, position);
        env_forget_table(env, target->table);
        *ret = val_datum(term, result);
        return ST_OK;
}

static Status term_index_create(Env *env, const Term *term, Val *ret)
{
        Target target;
        IndexSpec spec = {0};
        Value result = value_none();
        uint64_t position = 0;
        TRY(begin_change(env, term, &target));
        TRY(args_string(&target.args, 1, &spec.name));
        TRY(check_name(env, term, target.table, spec.name));
        if (target.args.count == 3) {
                Val val;
                TRY(args_val(&target.args, 2, &val));
                TRY(index_function(env, &val, &spec));
        } else {
                spec.function = field_function(env, spec.name);
        }
        TRY(opt_flag(env, term, "multi", &spec.multi));
        TRY(opt_flag(env, term, "geo", &spec.geo));
        TRY(opt_flag(env, term, "unique", &spec.unique)); /* PhotonDB's own */
        if (spec.unique && spec.geo)
                return fail(env, term, ERR_LOGIC, "A geospatial index cannot be unique.");
        TRY(fail_at(env, term, env_permit_table(env, target.table->ref, PERMIT_CONFIG)));
        Status st = env->source->index_create(target.table->ref, &spec, env->arena, &result, &position);
        return made(env, term, &target, st, result, position, ret);
}

static Status term_index_drop(Env *env, const Term *term, Val *ret)
{
        Target target;
        Bytes name;
        Value result = value_none();
        uint64_t position = 0;
        TRY(begin_change(env, term, &target));
        TRY(args_string(&target.args, 1, &name));
        TRY(fail_at(env, term, env_permit_table(env, target.table->ref, PERMIT_CONFIG)));
        Status st = env->source->index_drop(target.table->ref, name, env->arena, &result, &position);
        return made(env, term, &target, st, result, position, ret);
}

static Status term_index_rename(Env *env, const Term *term, Val *ret)
{
        Target target;
        Bytes name, new_name;
        Value result = value_none();
        bool overwrite = false;
        uint64_t position = 0;
        TRY(begin_change(env, term, &target));
        TRY(args_string(&target.args, 1, &name));
        TRY(args_string(&target.args, 2, &new_name));
        TRY(check_name(env, term, target.table, name));
        TRY(check_name(env, term, target.table, new_name));
        TRY(opt_flag(env, term, "overwrite", &overwrite));
        TRY(fail_at(env, term, env_permit_table(env, target.table->ref, PERMIT_CONFIG)));
        Status st =
                env->source->index_rename(target.table->ref, name, new_name, overwrite, env->arena, &result, &position);
        return made(env, term, &target, st, result, position, ret);
}

static Status term_index_list(Env *env, const Term *term, Val *ret)
{
        Target target;
        Present *present;
        const IndexInfo *indexes = NULL;
        TRY(begin(env, term, &target));
        TRY(present_find(env, term, target.table, &present));
        size_t count = env->source->index_list ? env->source->index_list(present->table, &indexes) : 0;
        Value *names = arena_array(env->arena, Value, count);
        for (size_t i = 0; i < count; i++)
                names[i] = value_copy(value_string(indexes[i].name), env->arena);
        env_undefer(env, present->deferred);
        *ret = val_datum(term, value_array(names, count));
        return ST_OK;
}

static Status args_names(Target *target, Value **ret_names, size_t *ret_count)
{
        Args *args = &target->args;
        Value *names = arena_array(args->env->arena, Value, args->count);
        for (size_t i = 1; i < args->count; i++) {
                Bytes name;
                TRY(args_string(args, i, &name));
                names[i - 1] = value_string(name);
        }
        *ret_names = names;
        *ret_count = args->count - 1;
        return ST_OK;
}

static Status status_of(Env *env, const Term *term, const TableVal *table, const Value *names, size_t count, Value *ret)
{
        Present *present;
        TRY(present_find(env, term, table, &present));
        Status st = ST_OK;
        *ret = value_array(NULL, 0);
        if (env->source->index_status)
                st = env->source->index_status(present->table, names, count, env->arena, ret);
        else if (count)
                st = fail_no_index(env, term, table, value_bytes(names[0]));
        env_undefer(env, present->deferred);
        return fail_at(env, term, st);
}

static Status term_index_status(Env *env, const Term *term, Val *ret)
{
        Target target;
        Value *names, result;
        size_t count;
        TRY(begin(env, term, &target));
        TRY(args_names(&target, &names, &count));
        TRY(status_of(env, term, target.table, names, count, &result));
        *ret = val_datum(term, result);
        return ST_OK;
}

/* One that could not be built never will be: to wait for it is an error. */
static Status all_ready(Env *env, const Term *term, const TableVal *table, Value statuses, bool *ret_ready)
{
        *ret_ready = true;
        for (size_t i = 0; i < value_count(statuses); i++) {
                Value status = value_at(statuses, i), error = value_get_str(status, "error");
                Bytes index = value_bytes(value_get_str(status, "index"));
                if (value_is(error, V_STRING))
                        return fail(env, term, ERR_OP_FAILED,
                                    "Index `%.*s` on table `%.*s.%.*s` could not be built: %.*s", S(index),
                                    S(table->info->db), S(table->info->name), S(value_bytes(error)));
                *ret_ready &= value_truthy(value_get_str(status, "ready"));
        }
        return ST_OK;
}

/* Looks now and then. Being cancelled is noticed between two looks, so they are never far apart. */
static Status term_index_wait(Env *env, const Term *term, Val *ret)
{
        const HostOps *host = env->world->host;
        Target target;
        Value *names, result;
        size_t count;
        bool ready;
        TRY(begin(env, term, &target));
        TRY(args_names(&target, &names, &count));
        for (unsigned pause_ms = WAIT_FIRST_MS;; pause_ms = MIN(2 * pause_ms, (unsigned)WAIT_MAX_MS)) {
                ArenaMark mark = arena_mark(env->arena);
                TRY(status_of(env, term, target.table, names, count, &result));
                TRY(all_ready(env, term, target.table, result, &ready));
                if (ready)
                        break;
                arena_rewind(env->arena, mark);
                TRY(env_poll(env));
                if (host->sleep_ms)
                        host->sleep_ms(host->ctx, pause_ms);
        }
        env_forget_table(env, target.table); /* there they are not ready yet */
        *ret = val_datum(term, result);
        return ST_OK;
}

/* --- write hooks --- */

static Status hook_function(Env *env, const Val *val, Bytes *ret_saved)
{
        static const char rule[] = "Write hook functions must be deterministic.";
        const size_t prefix = sizeof CLOSURE_HOOK_PREFIX - 1;
        Shape shape;
        Func *func;
        const Term *at = val->term;
        if (val_is_datum(val) && value_is(val->datum, V_BINARY)) {
                Bytes binary = value_bytes(val->datum);
                if (binary.size < prefix || memcmp(binary.data, CLOSURE_HOOK_PREFIX, prefix) != 0)
                        return fail(env, env->current, ERR_LOGIC,
                                    "Cannot create a write hook except from a reql_write_hook_function returned from "
                                    "`get_write_hook`.");
                *ret_saved = BYTES(binary.data + prefix, binary.size - prefix);
        } else {
                TRY(val_as_func(env, val, &func));
                at = func_term(func);
                TRY(check_deterministic(env, func, 0, rule));
                TRY(save_func(env, func, ret_saved));
        }
        TRY(look_into(env, at, *ret_saved,
                      "Binary blob passed to set_write_hook could not be interpreted as a reql_write_hook_function",
                      &shape));
        if (shape.param_count != 3)
                return fail(env, env->current, ERR_LOGIC, "Write hook functions must expect 3 arguments.");
        return ST_OK;
}

static Status term_set_write_hook(Env *env, const Term *term, Val *ret)
{
        Target target;
        Val val;
        Bytes saved = BYTES_NONE;
        Value result = value_none();
        uint64_t position = 0;
        TRY(begin_change(env, term, &target));
        TRY(args_val(&target.args, 1, &val));
        if (!val_is_datum(&val) || !value_is(val.datum, V_NULL))
                TRY(hook_function(env, &val, &saved));
        TRY(fail_at(env, term, env_permit_table(env, target.table->ref, PERMIT_CONFIG)));
        Status st = env->source->write_hook_set(target.table->ref, saved, env->arena, &result, &position);
        return made(env, term, &target, st, result, position, ret);
}

static Status term_get_write_hook(Env *env, const Term *term, Val *ret)
{
        Target target;
        Present *present;
        Value result = value_null();
        TRY(begin(env, term, &target));
        TRY(present_find(env, term, target.table, &present));
        Status st = env_permit_table(env, target.table->ref, PERMIT_CONFIG);
        if (!st && env->source->write_hook_get)
                st = env->source->write_hook_get(present->table, env->arena, &result);
        env_undefer(env, present->deferred);
        TRY(fail_at(env, term, st));
        *ret = val_datum(term, value_is(result, V_NONE) ? value_null() : result);
        return ST_OK;
}

static const TermEval list[] = {
        {TERM_INDEX_CREATE, term_index_create, false},     {TERM_INDEX_DROP, term_index_drop, false},
        {TERM_INDEX_RENAME, term_index_rename, false},     {TERM_INDEX_LIST, term_index_list, false},
        {TERM_INDEX_STATUS, term_index_status, false},     {TERM_INDEX_WAIT, term_index_wait, false},
        {TERM_SET_WRITE_HOOK, term_set_write_hook, false}, {TERM_GET_WRITE_HOOK, term_get_write_hook, false},
};
const TermList terms_index = {list, ELEMENTS(list)};
