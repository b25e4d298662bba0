/* admin.c - terms about databases and tables themselves: create, drop, list, config, status, wait, reconfigure,
 * rebalance, info. There is one server, so what RethinkDB says about placing shards and replicas comes down to checks
 * and records. */
#include <stdio.h>
#include <stdlib.h>

#include "query/query_int.h"

#define MAX_SHARDS 32

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

static Status change_db(Env *env, const Term *term, DbChange change, Val *ret)
{
        Args args;
        Bytes name;
        Value result;
        uint64_t position = 0;
        TRY(args_begin(env, term, &args));
        TRY(args_name(&args, 0, "Database", &name));
        TRY(fail_at(env, term, change(env->source->ctx, name, env->arena, &result, &position)));
        note_position(env, position);
        *ret = val_datum(term, result);
        return ST_OK;
}

static Status term_db_create(Env *env, const Term *term, Val *ret)
{
        return change_db(env, term, env->source->db_create, ret);
}

static Status term_db_drop(Env *env, const Term *term, Val *ret)
{
        return change_db(env, term, env->source->db_drop, ret);
}

static Status term_db_list(Env *env, const Term *term, Val *ret)
{
        Value names;
        TRY(fail_at(env, term, env->source->db_list(env->source->ctx, env->arena, &names)));
        *ret = val_datum(term, names);
        return ST_OK;
}

/* --- where shards and replicas go: RethinkDB's options and rules, with one server tagged `default` --- */

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

static const Tag *find_tag(const Placement *p, Bytes name)
{
        for (size_t i = 0; i < p->tag_count; i++)
                if (bytes_equal(p->tags[i].name, name))
                        return &p->tags[i];
        return NULL;
}

#define S(bytes) (int)(bytes).size, (const char *)(bytes).data

static Status check_placement(Env *env, const Term *term, const Placement *p)
{
        int64_t total = 0;
        for (size_t i = 0; i < p->tag_count; i++)
                total += p->tags[i].replicas != 0;
        if (total == 0)
                return fail(env, term, ERR_OP_FAILED,
                            "You must set `replicas` to at least one. `replicas` includes the primary replica; if "
                            "there are "
                            "zero replicas, there is nowhere to put the data.");
        if (p->shards > MAX_SHARDS)
                return fail(env, term, ERR_OP_FAILED, "Maximum number of shards is %d.", MAX_SHARDS);
        const Tag *primary = find_tag(p, p->primary_tag);
        if (!primary || primary->replicas == 0)
                return fail(
                        env, term, ERR_OP_FAILED,
                        "Can't use server tag `%.*s` for primary replicas because you specified no replicas in server "
                        "tag `%.*s`.",
                        S(p->primary_tag), S(p->primary_tag));
        for (size_t i = 0; i < p->nonvoting_count; i++)
                if (!find_tag(p, p->nonvoting[i]))
                        return fail(
                                env, term, ERR_OP_FAILED,
                                "You specified that the replicas in server tag `%.*s` should be non-voting, but you "
                                "didn't specify a number of replicas in server tag `%.*s`.",
                                S(p->nonvoting[i]), S(p->nonvoting[i]));
        for (size_t i = 0; i < p->tag_count; i++) {
                const Tag *tag = &p->tags[i];
                int servers = bytes_equal(tag->name, BYTES_STR("default"));
                if ((uint64_t)tag->replicas > (uint64_t)servers)
                        return fail(
                                env, term, ERR_OP_FAILED,
                                "Can't put %llu replicas on servers with the tag `%.*s` because there are only %d "
                                "servers with the tag `%.*s`. It's impossible to have more replicas of the data than "
                                "there are servers.",
                                (unsigned long long)tag->replicas, S(tag->name), servers, S(tag->name));
        }
        return ST_OK;
}

/* --- tables --- */

static Status table_options(Env *env, const Term *term, Placement *p, Value *ret)
{
        ObjectBuilder options;
        Val val;
        bool present;
        Bytes text;
        object_init(&options, env->arena, 4);
        TRY(parse_placement(env, term, false, p));
        object_add_str(&options, "shards", value_number((double)p->shards));
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
        *ret = object_take(&options);
        return ST_OK;
}

static Status table_is_there(Env *env, Bytes db, Bytes name, bool *ret_there)
{
        TableRef *table;
        Status st = env->source->table_find(env->source->ctx, db, name, &table);
        *ret_there = st == ST_OK;
        if (!st)
                env->source->table_unref(table);
        status_ignore(st);
        return ST_OK;
}

static Status term_table_create(Env *env, const Term *term, Val *ret)
{
        Args args;
        Placement placement;
        Value options, result;
        Bytes db, name;
        bool there;
        uint64_t position = 0;
        TRY(args_begin(env, term, &args));
        TRY(args_first(&args));
        TRY(table_options(env, term, &placement, &options));
        TRY(args_db(&args, args.count == 2, &db));
        TRY(args_name(&args, args.count - 1, "Table", &name));
        TRY(table_is_there(env, db, name, &there));
        if (!there && !bytes_equal(db, BYTES_STR("rethinkdb"))) /* their errors come first, from the source */
                TRY(check_placement(env, term, &placement));
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

static Value change_pair(Arena *arena, Value old_val, Value new_val)
{
        Field *pair = arena_array(arena, Field, 2);
        pair[0] = (Field){BYTES_STR("new_val"), new_val};
        pair[1] = (Field){BYTES_STR("old_val"), old_val};
        return value_object_sorted(pair, 2);
}

static Value same_pairs(Arena *arena, Value rows)
{
        ArrayBuilder pairs;
        array_init(&pairs, arena, value_count(rows));
        for (size_t i = 0; i < value_count(rows); i++)
                array_add(&pairs, change_pair(arena, value_at(rows, i), value_at(rows, i)));
        return array_take(&pairs);
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

static Status term_rebalance(Env *env, const Term *term, Val *ret)
{
        Args args;
        Target target;
        Value rows;
        TRY(args_begin(env, term, &args));
        TRY(args_target(&args, "rebalance", &target));
        TRY(refuse_system(env, term, target, "you can't rebalance the tables in it."));
        TRY(status_rows(env, term, target, &rows));
        ObjectBuilder object;
        object_init(&object, env->arena, 2);
        object_add_str(&object, "rebalanced", value_number((double)value_count(rows)));
        object_add_str(&object, "status_changes", same_pairs(env->arena, rows));
        *ret = val_datum(term, object_take(&object));
        return ST_OK;
}

/* --- reconfigure: a change of the table's row in table_config --- */

typedef struct Reconfigure {
        Env *env;
        const Term *term;
        const Placement *placement;
        TableVal *configs; /* table_config */
        bool dry_run;
        ArrayBuilder config_changes, status_changes;
        Value new_row;
} Reconfigure;

static Value with_shards(Arena *arena, Value row, int64_t shards)
{
        Value shard = value_at(value_get_str(row, "shards"), 0);
        Value *items = arena_array(arena, Value, (size_t)shards);
        Field *fields = arena_array(arena, Field, value_count(row));
        for (int64_t i = 0; i < shards; i++)
                items[i] = shard;
        for (size_t i = 0; i < value_count(row); i++) {
                fields[i].value = value_field_at(row, i, &fields[i].key);
                if (bytes_equal(fields[i].key, BYTES_STR("shards")))
                        fields[i].value = value_array(items, (size_t)shards);
        }
        return value_object_sorted(fields, value_count(row));
}

static Status change_config(void *ctx, size_t index, Value old_row, Arena *arena, Value *ret)
{
        Reconfigure *r = ctx;
        *ret = value_is(old_row, V_NULL) ? old_row : r->new_row; /* dropped meanwhile: let it be */
        return ST_OK;
}

static Status reconfigure_table(Reconfigure *r, Bytes db, Bytes table)
{
        Env *env = r->env;
        const TableSource *source = env->source;
        Value row, old_status, new_status;
        TRY(fail_at(env, r->term, source->config(source->ctx, db, table, env->arena, &row)));
        r->new_row = with_shards(env->arena, row, r->placement->shards);
        array_add(&r->config_changes, change_pair(env->arena, row, r->new_row));
        if (r->dry_run)
                return ST_OK;
        TRY(fail_at(env, r->term, source->status(source->ctx, db, table, env->arena, &old_status)));
        Value key = value_get_str(row, "id");
        RowOutcome outcome = {0};
        WriteOptions options = {.quick = true};
        uint64_t position = 0;
        TRY(fail_at(
                env, r->term,
                source->write(r->configs->ref, &key, 1, change_config, r, &options, env->arena, &outcome, &position)));
        env_wrote(env, r->configs->ref);
        note_position(env, position);
        if (outcome.error)
                return fail_at(env, r->term, outcome.error);
        TRY(fail_at(env, r->term, source->status(source->ctx, db, table, env->arena, &new_status)));
        array_add(&r->status_changes, change_pair(env->arena, old_status, new_status));
        return ST_OK;
}

static Status emergency_repair(Env *env, const Term *term, const Val *mode, Target target)
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
        TRY(refuse_system(env, term, target, "you can't configure the tables in it."));
        return fail(env, term, ERR_OP_FAILED, "This table doesn't need to be repaired.");
}

static Status term_reconfigure(Env *env, const Term *term, Val *ret)
{
        Args args;
        Target target;
        Val val;
        Placement placement;
        bool present;
        Reconfigure r = {.env = env, .term = term, .placement = &placement};
        TRY(args_begin(env, term, &args));
        TRY(args_target(&args, "reconfigure", &target));
        TRY(opt_val(env, term, "dry_run", &val, &present));
        if (present)
                TRY(val_as_bool(env, &val, &r.dry_run));
        TRY(opt_val(env, term, "emergency_repair", &val, &present));
        if (present && !(val_is_datum(&val) && value_is(val.datum, V_NULL)))
                return emergency_repair(env, term, &val, target);
        TRY(parse_placement(env, term, true, &placement));
        TRY(refuse_system(env, term, target, "you can't configure the tables in it."));
        TRY(check_placement(env, term, &placement));
        TRY(fail_at(env, term, env_table(env, BYTES_STR("rethinkdb"), BYTES_STR("table_config"), &r.configs)));
        array_init(&r.config_changes, env->arena, 1);
        array_init(&r.status_changes, env->arena, 1);
        if (target.table.data) {
                TRY(reconfigure_table(&r, target.db, target.table));
        } else {
                Value names;
                TRY(fail_at(env, term, env->source->table_list(env->source->ctx, target.db, env->arena, &names)));
                for (size_t i = 0; i < value_count(names); i++)
                        TRY(reconfigure_table(&r, target.db, value_bytes(value_at(names, i))));
        }
        size_t count = r.config_changes.count;
        ObjectBuilder object;
        object_init(&object, env->arena, 3);
        object_add_str(&object, "config_changes", array_take(&r.config_changes));
        object_add_str(&object, "reconfigured", value_number(r.dry_run ? 0 : (double)count));
        if (!r.dry_run)
                object_add_str(&object, "status_changes", array_take(&r.status_changes));
        *ret = val_datum(term, object_take(&object));
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

static Status info_table(Env *env, const Term *term, const TableVal *table, Value *ret)
{
        Value db;
        TableView *view;
        uint64_t count;
        TRY(info_db(env, term, table->info->db, &db));
        TRY(fail_at(env, term, env_view(env, table->ref, &view)));
        TRY(fail_at(env, term, env->source->view_count(view, NULL, &count)));
        Value *counts = arena_array(env->arena, Value, 1);
        *counts = value_number((double)count);
        ObjectBuilder info;
        object_init(&info, env->arena, 7);
        object_add_str(&info, "db", db);
        object_add_str(&info, "doc_count_estimates", value_array(counts, 1));
        object_add_str(&info, "id", value_string(table->info->id));
        object_add_str(&info, "indexes", value_array(NULL, 0));
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
        object_add_str(&info, "index", indexed ? value_string(table->info->primary_key) : value_null());
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

/* The head of what RethinkDB prints; the body that follows there, as JavaScript, is left out. */
static Value source_code(Env *env, const Func *func)
{
        const Term *term = func_term(func);
        const char *implicit = "(no implicit)";
        unsigned depth = 0;
        if (term->parent && term->parent->type == TERM_FUNC && term->parent->body == term)
                term = term->parent; /* func_term() is the body */
        for (const Term *outer = term->parent; outer; outer = outer->parent)
                depth += outer->type == TERM_FUNC && outer->param_count == 1;
        if (depth)
                implicit = depth == 1 ? "implicit: (not stored)" : "(multiple implicits)";
        size_t count = term->type == TERM_FUNC ? term->param_count : 0;
        char *args = arena_alloc(env->arena, 12 * count + 1), *at = args; /* ", 4294967295" */
        *at = 0;
        for (size_t i = 0; i < count; i++)
                at += sprintf(at, "%s%u", i ? ", " : "", term->param_ids[i]);
        return value_str(arena_printf(env->arena, "function (captures = [%s]) (args = [%s]) ...", implicit, args));
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
        case VAL_FUNC: object_add_str(&info, "source_code", source_code(env, val.func)); break;
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
