/* admin.c - terms about databases and tables themselves: create, drop, list, config, status, wait, reconfigure,
 * rebalance, info. Options are read and their types checked here; what they come to is the source's. */

#include "query/env_int.h"

/* --- arguments --- */

static Status name_of(Env *env, const Val *val, const char *what, Bytes *ret)
{
        TRY(val_as_string(env, val, ret));
        if (source_name_valid(*ret))
                return ST_OK;
        return fail(env, val->term, ERR_LOGIC, "%s name `%.*s` invalid (" SOURCE_NAME_RULE ").", what, (int)ret->size,
                    (const char *)ret->data);
}

static Status args_name(Args *args, size_t i, const char *what, Bytes *ret)
{
        Val val;
        TRY(args_val(args, i, &val));
        return name_of(args->env, &val, what, ret);
}

/* The query's database if `count` arguments do not begin with one, else argument 0. */
static Status args_db(Args *args, bool given, Bytes *ret)
{
        Env *env = args->env;
        Val val;
        if (!given) {
                TRY(env_default_db(env, ret));
                return fail_at(env, args->term, env->source->db_check(env->source->ctx, *ret));
        }
        TRY(args_val(args, 0, &val));
        return val_as_db(env, &val, ret);
}

static Value object1(Arena *arena, const char *key, Value value)
{
        Field *field = arena_array(arena, Field, 1);
        *field = (Field){BYTES_STR(key), value};
        return value_object_sorted(field, 1);
}

static void note_position(Env *env, uint64_t position)
{
        env->durable_position = MAX(env->durable_position, position);
}

/* --- databases --- */

typedef Status (*DbChange)(void *ctx, Bytes name, Arena *arena, Value *ret_result, uint64_t *ret_position);

/* `what`: asked for on the database if it is there, else on the server. */
static Status change_db(Env *env, const Term *term, DbChange change, unsigned what, bool there, Val *ret)
{
        Args args;
        Bytes name;
        Value result;
        uint64_t position = 0;
        TRY(args_begin(env, term, &args));
        TRY(args_name(&args, 0, "Database", &name));
        TRY(fail_at(env, term, env_permit(env, what, there ? name : BYTES_NONE, BYTES_NONE)));
        TRY(fail_at(env, term, change(env->source->ctx, name, env->arena, &result, &position)));
        note_position(env, position);
        *ret = val_datum(term, result);
        return ST_OK;
}

static Status term_db_create(Env *env, const Term *term, Val *ret)
{
        return change_db(env, term, env->source->db_create, PERMIT_CONFIG, false, ret);
}

static Status term_db_drop(Env *env, const Term *term, Val *ret)
{
        return change_db(env, term, env->source->db_drop, PERMIT_CONFIG | PERMIT_TABLES, true, ret);
}

static Status term_db_list(Env *env, const Term *term, Val *ret)
{
        Value names;
        TRY(fail_at(env, term, env->source->db_list(env->source->ctx, env->arena, &names)));
        *ret = val_datum(term, names);
        return ST_OK;
}

/* --- where shards and replicas go: RethinkDB's options, to be given to the source (source.h, reconfigure) --- */

typedef struct Tag {
        Bytes name;
        int64_t replicas;
        bool nonvoting;
} Tag;
typedef struct Placement {
        int64_t shards;
        Bytes primary_tag;
        Tag *tags; /* by name; with replicas */
        size_t tag_count;
        Bytes *nonvoting;
        size_t nonvoting_count;
} Placement;

static Status parse_shards(Env *env, const Val *val, int64_t *ret)
{
        TRY(val_as_int(env, val, ret));
        return *ret > 0 ? ST_OK : fail(env, val->term, ERR_LOGIC, "Every table must have at least one shard.");
}

static Status parse_replica_tags(Env *env, const Val *replicas, Placement *p)
{
        Value object = replicas->datum;
        p->tag_count = value_count(object);
        p->tags = arena_array(env->arena, Tag, p->tag_count);
        for (size_t i = 0; i < p->tag_count; i++) {
                Tag *tag = &p->tags[i];
                Value count = value_field_at(object, i, &tag->name);
                Val name = val_datum(replicas->term, value_string(tag->name));
                TRY(name_of(env, &name, "Server tag", &tag->name));
                TRY(expect_int(env, replicas->term, count, &tag->replicas));
                if (tag->replicas < 0)
                        return fail(env, replicas->term, ERR_LOGIC, "Can't have a negative number of replicas");
        }
        return ST_OK;
}

static Status parse_replicas(Env *env, const Val *replicas, bool has_primary, bool has_nonvoting, Placement *p)
{
        Value v;
        TRY(val_as_datum(env, replicas, &v));
        if (value_is_object(v)) {
                if (!has_primary)
                        return fail(env, replicas->term, ERR_LOGIC,
                                    "`primary_replica_tag` must be specified when `replicas` is an OBJECT.");
                return parse_replica_tags(env, replicas, p);
        }
        if (value_is(v, V_NUMBER)) {
                if (has_primary)
                        return fail(env, replicas->term, ERR_LOGIC,
                                    "`replicas` must be an OBJECT if `primary_replica_tag` is specified.");
                if (has_nonvoting)
                        return fail(env, replicas->term, ERR_LOGIC,
                                    "`replicas` must be an OBJECT if `nonvoting_replica_tags` is specified.");
                return val_as_int(env, replicas, &p->tags[0].replicas); /* a negative one is a huge one */
        }
        Bytes text = message_datum_whole(env, v);
        return fail(env, replicas->term, ERR_LOGIC, "Expected type OBJECT or NUMBER but found %s:\n%.*s",
                    value_type_name(v), (int)text.size, (const char *)text.data);
}

static Status parse_nonvoting(Env *env, const Val *val, Placement *p)
{
        Value v;
        TRY(val_as_datum(env, val, &v));
        if (!value_is(v, V_ARRAY)) {
                Bytes text = message_datum_whole(env, v);
                return fail(env, val->term, ERR_LOGIC, "Expected type ARRAY but found %s:\n%.*s", value_type_name(v),
                            (int)text.size, (const char *)text.data);
        }
        p->nonvoting_count = value_count(v);
        p->nonvoting = arena_array(env->arena, Bytes, p->nonvoting_count);
        for (size_t i = 0; i < p->nonvoting_count; i++) {
                Value tag = value_at(v, i);
                if (!value_is(tag, V_STRING)) {
                        Bytes text = message_datum_whole(env, tag);
                        return fail(env, val->term, ERR_LOGIC, "Expected type STRING but found %s:\n%.*s",
                                    value_type_name(tag), (int)text.size, (const char *)text.data);
                }
                Val name = val_datum(val->term, tag);
                TRY(name_of(env, &name, "Server tag", &p->nonvoting[i]));
        }
        return ST_OK;
}

static Status required_opt(Env *env, const Term *term, const char *name, bool required, Val *ret, bool *ret_present)
{
        TRY(opt_val(env, term, name, ret, ret_present));
        if (required && !*ret_present)
                return fail(env, term, ERR_LOGIC, "Missing required argument `%s`.", name);
        return ST_OK;
}

static Status parse_placement(Env *env, const Term *term, bool required, Placement *p)
{
        Val shards, replicas, nonvoting, primary;
        bool has_shards, has_replicas, has_nonvoting, has_primary;
        *p = (Placement){.shards = 1, .primary_tag = BYTES_STR("default"), .tag_count = 1};
        p->tags = arena_array(env->arena, Tag, 1);
        p->tags[0] = (Tag){.name = p->primary_tag, .replicas = 1};
        TRY(required_opt(env, term, "shards", required, &shards, &has_shards));
        if (has_shards)
                TRY(parse_shards(env, &shards, &p->shards));
        TRY(required_opt(env, term, "replicas", required, &replicas, &has_replicas));
        TRY(opt_val(env, term, "nonvoting_replica_tags", &nonvoting, &has_nonvoting));
        TRY(opt_val(env, term, "primary_replica_tag", &primary, &has_primary));
        if (has_replicas)
                TRY(parse_replicas(env, &replicas, has_primary, has_nonvoting, p));
        if (has_nonvoting)
                TRY(parse_nonvoting(env, &nonvoting, p));
        if (has_primary)
                TRY(name_of(env, &primary, "Server tag", &p->primary_tag));
        return ST_OK;
}

static void placement_options(Env *env, const Placement *p, ObjectBuilder *options)
{
        Field *replicas = arena_array(env->arena, Field, p->tag_count);
        for (size_t i = 0; i < p->tag_count; i++)
                replicas[i] = (Field){p->tags[i].name, value_number((double)p->tags[i].replicas)};
        Value *nonvoting = arena_array(env->arena, Value, p->nonvoting_count);
        for (size_t i = 0; i < p->nonvoting_count; i++)
                nonvoting[i] = value_string(p->nonvoting[i]);
        object_add_str(options, "shards", value_number((double)p->shards));
        object_add_str(options, "replicas", value_object_sorted(replicas, p->tag_count));
        object_add_str(options, "primary_replica_tag", value_string(p->primary_tag));
        object_add_str(options, "nonvoting_replica_tags", value_array(nonvoting, p->nonvoting_count));
}

#define S(bytes) (int)(bytes).size, (const char *)(bytes).data

/* --- tables --- */

static Status table_options(Env *env, const Term *term, Value *ret)
{
        ObjectBuilder options;
        Placement placement;
        Val val;
        bool present;
        Bytes text;
        object_init(&options, env->arena, 8);
        TRY(parse_placement(env, term, false, &placement));
        placement_options(env, &placement, &options);
        TRY(opt_val(env, term, "primary_key", &val, &present));
        if (present) {
                TRY(val_as_string(env, &val, &text));
                object_add_str(&options, "primary_key", value_string(text));
        }
        TRY(opt_val(env, term, "durability", &val, &present));
        if (present) {
                TRY(val_as_string(env, &val, &text));
                if (!bytes_equal(text, BYTES_STR("hard")) && !bytes_equal(text, BYTES_STR("soft")))
                        return fail(env, val.term, ERR_LOGIC,
                                    "Durability option `%.*s` unrecognized (options are \"hard\" and \"soft\").",
                                    S(text));
                object_add_str(&options, "durability", value_string(text));
        }
        TRY(opt_val(env, term, "storage", &val, &present)); /* PhotonDB's own */
        if (present) {
                TRY(val_as_string(env, &val, &text));
                object_add_str(&options, "storage", value_string(text));
        }
        TRY(opt_val(env, term, "ttl", &val, &present)); /* this too */
        if (present) {
                Value ttl;
                TRY(val_as_datum(env, &val, &ttl));
                object_add_str(&options, "ttl", ttl);
        }
        *ret = object_take(&options);
        return ST_OK;
}

static Status term_table_create(Env *env, const Term *term, Val *ret)
{
        Args args;
        Value options, result;
        Bytes db, name;
        uint64_t position = 0;
        TRY(args_begin(env, term, &args));
        TRY(args_first(&args));
        TRY(table_options(env, term, &options));
        TRY(args_db(&args, args.count == 2, &db));
        TRY(args_name(&args, args.count - 1, "Table", &name));
        TRY(fail_at(env, term, env_permit(env, PERMIT_CONFIG, db, BYTES_NONE)));
        TRY(fail_at(env, term,
                    env->source->table_create(env->source->ctx, db, name, options, env->arena, &result, &position)));
        note_position(env, position);
        *ret = val_datum(term, result);
        return ST_OK;
}

static Status term_table_drop(Env *env, const Term *term, Val *ret)
{
        Args args;
        Value result;
        Bytes db, name;
        uint64_t position = 0;
        TRY(args_begin(env, term, &args));
        TRY(args_db(&args, args.count == 2, &db));
        TRY(args_name(&args, args.count - 1, "Table", &name));
        TRY(fail_at(env, term, env_permit(env, PERMIT_CONFIG, db, name)));
        TRY(fail_at(env, term, env->source->table_drop(env->source->ctx, db, name, env->arena, &result, &position)));
        note_position(env, position);
        *ret = val_datum(term, result);
        return ST_OK;
}

static Status term_table_list(Env *env, const Term *term, Val *ret)
{
        Args args;
        Value names;
        Bytes db;
        TRY(args_begin(env, term, &args));
        TRY(args_db(&args, args.count == 1, &db));
        TRY(fail_at(env, term, env->source->table_list(env->source->ctx, db, env->arena, &names)));
        *ret = val_datum(term, names);
        return ST_OK;
}

/* --- config, status --- */

/* A table or a database: what config, wait, reconfigure and rebalance work on. */
typedef struct Target {
        Bytes db, table; /* table data NULL: the database */
} Target;

static Status args_target(Args *args, const char *term_name, Target *ret)
{
        Env *env = args->env;
        Val val;
        TableVal *table;
        if (args->count == 0) {
                Bytes db; /* RethinkDB looks at the query's database before it finds that it takes no default */
                TRY(args_db(args, false, &db));
                return fail(env, args->term, ERR_LOGIC, "`%s` can only be called on a table or database.", term_name);
        }
        TRY(args_val(args, 0, &val));
        *ret = (Target){0};
        if (val.kind == VAL_DB)
                return val_as_db(env, &val, &ret->db);
        TRY(val_as_table(env, &val, &table));
        *ret = (Target){.db = table->info->db, .table = table->info->name};
        return ST_OK;
}

/* A row of a system table, so that it can be read, updated and deleted. */
static Status system_row(Env *env, const Term *term, const char *table_name, Value row, Val *ret)
{
        TableVal *table;
        TRY(fail_at(env, term, env_table(env, BYTES_STR("rethinkdb"), BYTES_STR(table_name), &table)));
        *ret = val_row(term, table, row);
        return ST_OK;
}

static Status term_config(Env *env, const Term *term, Val *ret)
{
        Args args;
        Target target;
        Value row;
        TRY(args_begin(env, term, &args));
        TRY(args_target(&args, "config", &target));
        TRY(fail_at(env, term, env_permit(env, PERMIT_CONFIG, target.db, target.table)));
        TRY(fail_at(env, term, env->source->config(env->source->ctx, target.db, target.table, env->arena, &row)));
        return system_row(env, term, target.table.data ? "table_config" : "db_config", row, ret);
}

static Status term_status(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val val;
        TableVal *table;
        Value row;
        TRY(args_begin(env, term, &args));
        TRY(args_val(&args, 0, &val));
        TRY(val_as_table(env, &val, &table));
        TRY(fail_at(env, term,
                    env->source->status(env->source->ctx, table->info->db, table->info->name, env->arena, &row)));
        return system_row(env, term, "table_status", row, ret);
}

/* Status rows of a target: one, or one per table of the database. */
static Status status_rows(Env *env, const Term *term, Target target, Value *ret_rows)
{
        Value rows;
        TRY(fail_at(env, term, env->source->status(env->source->ctx, target.db, target.table, env->arena, &rows)));
        if (target.table.data) {
                Value *one = arena_array(env->arena, Value, 1);
                *one = rows;
                rows = value_array(one, 1);
        }
        *ret_rows = rows;
        return ST_OK;
}

static Status refuse_system(Env *env, const Term *term, Target target, const char *why)
{
        if (!bytes_equal(target.db, BYTES_STR("rethinkdb")))
                return ST_OK;
        return fail(env, term, ERR_OP_FAILED, "Database `rethinkdb` is special; %s", why);
}

static Status term_wait(Env *env, const Term *term, Val *ret)
{
        static const char *const states[] = {"ready_for_outdated_reads", "ready_for_reads", "ready_for_writes",
                                             "all_replicas_ready"};
        Args args;
        Target target;
        Val val;
        Bytes text;
        Value rows;
        int64_t timeout;
        bool present, known = false;
        TRY(args_begin(env, term, &args));
        TRY(args_target(&args, "wait", &target));
        TRY(opt_val(env, term, "wait_for", &val, &present));
        if (present) {
                TRY(val_as_string(env, &val, &text));
                for (size_t i = 0; i < ELEMENTS(states); i++)
                        known |= bytes_equal(text, BYTES_STR(states[i]));
                if (!known)
                        return fail(env, val.term, ERR_LOGIC,
                                    "Unknown table readiness state: '%.*s', must be one of '%s', '%s', '%s', or '%s'",
                                    S(text), states[0], states[1], states[2], states[3]);
        }
        TRY(opt_val(env, term, "timeout", &val, &present));
        if (present)
                TRY(val_as_int(env, &val, &timeout)); /* every table is ready from its creation on */
        TRY(refuse_system(env, term, target,
                          "the system tables in it are always available and don't need to be waited on."));
        TRY(status_rows(env, term, target, &rows));
        *ret = val_datum(term, object1(env->arena, "ready", value_number((double)value_count(rows))));
        return ST_OK;
}

/* What changes all tables of a database needs each of them. */
static Status permit_config(Env *env, Target target)
{
        return env_permit(env, PERMIT_CONFIG | (target.table.data ? 0u : (unsigned)PERMIT_TABLES), target.db,
                          target.table);
}

static Status term_rebalance(Env *env, const Term *term, Val *ret)
{
        Args args;
        Target target;
        Value result;
        TRY(args_begin(env, term, &args));
        TRY(args_target(&args, "rebalance", &target));
        TRY(fail_at(env, term, permit_config(env, target)));
        TRY(fail_at(env, term, env->source->rebalance(env->source->ctx, target.db, target.table, env->arena, &result)));
        *ret = val_datum(term, result);
        return ST_OK;
}

/* Checks what stands beside the option; `emergency_repair` goes into the options. */
static Status emergency_repair(Env *env, const Term *term, const Val *mode, Target target, ObjectBuilder *options)
{
        static const char *const others[] = {"nonvoting_replica_tags", "primary_replica_tag", "replicas", "shards"};
        Bytes text;
        TRY(val_as_string(env, mode, &text));
        if (!bytes_equal(text, BYTES_STR("unsafe_rollback")) &&
            !bytes_equal(text, BYTES_STR("unsafe_rollback_or_erase")) &&
            !bytes_equal(text, BYTES_STR("_debug_recommit")))
                return fail(env, mode->term, ERR_LOGIC,
                            "`emergency_repair` should be \"unsafe_rollback\" or \"unsafe_rollback_or_erase\"");
        for (size_t i = 0; i < ELEMENTS(others); i++)
                if (term_opt(term, others[i]))
                        return fail(env, term, ERR_LOGIC,
                                    "In emergency repair mode, you can't specify shards, replicas, etc.");
        if (!target.table.data)
                return fail(
                        env, term, ERR_LOGIC,
                        "Can't emergency repair an entire database at once; instead you should run `reconfigure()` on "
                        "each table individually.");
        object_add_str(options, "emergency_repair", value_string(text));
        return ST_OK;
}

static Status term_reconfigure(Env *env, const Term *term, Val *ret)
{
        Args args;
        Target target;
        Val val;
        Placement placement;
        Value result;
        ObjectBuilder options;
        bool present, dry_run = false;
        uint64_t position = 0;
        TRY(args_begin(env, term, &args));
        TRY(args_target(&args, "reconfigure", &target));
        TRY(opt_val(env, term, "dry_run", &val, &present));
        if (present)
                TRY(val_as_bool(env, &val, &dry_run));
        object_init(&options, env->arena, 5);
        object_add_str(&options, "dry_run", value_bool(dry_run));
        TRY(opt_val(env, term, "emergency_repair", &val, &present));
        if (present && !(val_is_datum(&val) && value_is(val.datum, V_NULL))) {
                TRY(emergency_repair(env, term, &val, target, &options));
        } else {
                TRY(parse_placement(env, term, true, &placement));
                placement_options(env, &placement, &options);
        }
        TRY(fail_at(env, term, permit_config(env, target)));
        TRY(fail_at(env, term,
                    env->source->reconfigure(env->source->ctx, target.db, target.table, object_take(&options),
                                             env->arena, &result, &position)));
        note_position(env, position);
        *ret = val_datum(term, result);
        return ST_OK;
}

/* --- info --- */

static Status info_db(Env *env, const Term *term, Bytes db, Value *ret)
{
        Value id;
        TRY(fail_at(env, term, env->source->db_id(env->source->ctx, db, env->arena, &id)));
        ObjectBuilder info;
        object_init(&info, env->arena, 3);
        object_add_str(&info, "id", id);
        object_add_str(&info, "name", value_string(db));
        object_add_str(&info, "type", value_str("DB"));
        *ret = object_take(&info);
        return ST_OK;
}

/* One estimate for each shard: the tree counts all, and shards would be as large as each other. */
static Value shard_counts(Env *env, const TableVal *table, uint64_t count)
{
        unsigned shards = MAX(table->info->shard_count, 1u);
        Value *counts = arena_array(env->arena, Value, shards);
        for (unsigned i = 0; i < shards; i++)
                counts[i] = value_number((double)(count / shards + (i < count % shards)));
        return value_array(counts, shards);
}

static Value index_names(Env *env, const TableVal *table)
{
        const IndexInfo *indexes;
        size_t count = env->source->index_list ? env->source->index_list(table->ref, &indexes) : 0;
        Value *names = arena_array(env->arena, Value, count);
        for (size_t i = 0; i < count; i++)
                names[i] = value_string(indexes[i].name);
        return value_array(names, count);
}

static Status info_table(Env *env, const Term *term, const TableVal *table, Value *ret)
{
        Value db;
        TableView *view;
        uint64_t count;
        TRY(info_db(env, term, table->info->db, &db));
        TRY(fail_at(env, term, env_view(env, table->ref, &view)));
        TRY(fail_at(env, term, env->source->view_count(view, NULL, &count)));
        ObjectBuilder info;
        object_init(&info, env->arena, 7);
        object_add_str(&info, "db", db);
        object_add_str(&info, "doc_count_estimates", shard_counts(env, table, count));
        object_add_str(&info, "id", value_string(table->info->id));
        object_add_str(&info, "indexes", index_names(env, table));
        object_add_str(&info, "name", value_string(table->info->name));
        object_add_str(&info, "primary_key", value_string(table->info->primary_key));
        object_add_str(&info, "type", value_str("TABLE"));
        *ret = object_take(&info);
        return ST_OK;
}

/* A bound below everything or above everything is told by its type alone. */
static void info_bound(ObjectBuilder *info, const char *name, const char *type_name, Value bound, BoundType type,
                       ValueType unbounded)
{
        bool extreme = value_is(bound, V_MINVAL) || value_is(bound, V_MAXVAL);
        if (type == BOUND_NONE || (extreme && bound.type == unbounded)) {
                object_add_str(info, type_name, value_str("unbounded"));
        } else if (extreme) {
                object_add_str(info, type_name, value_str("unachievable"));
        } else {
                object_add_str(info, name, bound);
                object_add_str(info, type_name, value_str(type == BOUND_OPEN ? "open" : "closed"));
        }
}

static Status info_slice(Env *env, const Term *term, const TableVal *table, Value *ret)
{
        Value of_table;
        TRY(info_table(env, term, table, &of_table));
        bool indexed = table->has_index || table->has_bounds || table->order != 0;
        KeyBounds bounds =
                table->has_bounds ? table->bounds : (KeyBounds){.low_type = BOUND_NONE, .high_type = BOUND_NONE};
        ObjectBuilder info;
        object_init(&info, env->arena, 8);
        object_add_str(&info, "index",
                       indexed ? value_string(table->has_index ? table->index : table->info->primary_key)
                               : value_null());
        info_bound(&info, "left_bound", "left_bound_type", bounds.low, bounds.low_type, V_MINVAL);
        info_bound(&info, "right_bound", "right_bound_type", bounds.high, bounds.high_type, V_MAXVAL);
        object_add_str(&info, "sorting",
                       value_str(table->order > 0   ? "ASCENDING"
                                 : table->order < 0 ? "DESCENDING"
                                                    : "UNORDERED"));
        object_add_str(&info, "table", of_table);
        object_add_str(&info, "type", value_str("TABLE_SLICE"));
        *ret = object_take(&info);
        return ST_OK;
}

static void info_datum(Env *env, const Val *val, ObjectBuilder *info)
{
        switch (value_type(val->datum)) {
        case V_NULL:
        case V_MINVAL:
        case V_MAXVAL: return;
        case V_BINARY: object_add_str(info, "count", value_number((double)val->datum.size)); break;
        default: break;
        }
        object_add_str(info, "value", value_string(val_print(env, val, false)));
}

static Status term_info_of(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val val;
        Value result;
        const TableVal *table = NULL;
        TRY(args_begin(env, term, &args));
        TRY(args_val(&args, 0, &val));
        ObjectBuilder info;
        object_init(&info, env->arena, 4);
        object_add_str(&info, "type", value_str(val_type_name(&val)));
        switch (val.kind) {
        case VAL_DB:
                TRY(info_db(env, term, val.db, &result));
                *ret = val_datum(term, result);
                return ST_OK;
        case VAL_TABLE:
                TRY(info_table(env, term, val.table, &result));
                *ret = val_datum(term, result);
                return ST_OK;
        case VAL_TABLE_SLICE:
                TRY(info_slice(env, term, val.table, &result));
                *ret = val_datum(term, result);
                return ST_OK;
        case VAL_ROW:
        case VAL_ARRAY_SELECTION: table = val.table; break;
        case VAL_STREAM: table = val.stream->table; break;
        case VAL_FUNC: {
                Bytes source;
                TRY(fail_at(env, term, func_source(env, val.func, &source)));
                object_add_str(&info, "source_code", value_string(source));
                break;
        }
        case VAL_DATUM: info_datum(env, &val, &info); break;
        default: break;
        }
        if (table) {
                TRY(info_table(env, term, table, &result));
                object_add_str(&info, "table", result);
        }
        *ret = val_datum(term, object_take(&info));
        return ST_OK;
}

static const TermEval evals[] = {
        {TERM_DB_CREATE, term_db_create, false},
        {TERM_DB_DROP, term_db_drop, false},
        {TERM_DB_LIST, term_db_list, false},
        {TERM_TABLE_CREATE, term_table_create, false},
        {TERM_TABLE_DROP, term_table_drop, false},
        {TERM_TABLE_LIST, term_table_list, false},
        {TERM_CONFIG, term_config, false},
        {TERM_STATUS, term_status, false},
        {TERM_WAIT, term_wait, false},
        {TERM_RECONFIGURE, term_reconfigure, false},
        {TERM_REBALANCE, term_rebalance, false},
        {TERM_INFO, term_info_of, false},
};
const TermList terms_admin = {evals, ELEMENTS(evals)};
