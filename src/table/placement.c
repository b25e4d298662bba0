/* placement.c - shards and replicas: what reconfigure(), rebalance() and table_create() say about them.
 *
 * There is one server, so placing comes down to RethinkDB's checks, and to recording how many shards were asked for. */
#include "table/system_int.h"

#define S(bytes) (int)(bytes).size, (const char *)(bytes).data

/* How many replicas `tag` is to have; false if it is not named. */
static bool tag_replicas(Value replicas, Bytes tag, int64_t *ret_count)
{
        Value count = value_get(replicas, tag);
        return !value_is(count, V_NONE) && value_integer(count, ret_count);
}

/* More replicas than servers. A negative number is a huge one, as in RethinkDB. */
static Status check_servers(const TableCatalog *catalog, Value replicas)
{
        for (size_t i = 0; i < value_count(replicas); i++) {
                Bytes tag;
                int64_t wanted = 0;
                (void)value_integer(value_field_at(replicas, i, &tag), &wanted);
                int servers = server_has_tag(catalog, tag);
                if ((uint64_t)wanted > (uint64_t)servers)
                        return status_new(
                                ERR_OP_FAILED,
                                "Can't put %llu replicas on servers with the tag `%.*s` because there are only %d "
                                "servers with the tag `%.*s`. It's impossible to have more replicas of the data than "
                                "there are servers.",
                                (unsigned long long)wanted, S(tag), servers, S(tag));
        }
        return ST_OK;
}

/* A server holds one replica of a shard at most, so two tags that it has may not both be given some. */
static Status check_overlap(const TableCatalog *catalog, Value replicas)
{
        Bytes claimed = BYTES_NONE;
        for (size_t i = 0; i < value_count(replicas); i++) {
                Bytes tag;
                int64_t wanted = 0;
                (void)value_integer(value_field_at(replicas, i, &tag), &wanted);
                if (wanted == 0 || !server_has_tag(catalog, tag))
                        continue;
                if (claimed.data)
                        return status_new(
                                ERR_OP_FAILED,
                                "Server tags `%.*s` and `%.*s` overlap; the server `%s` has both tags. The server tags "
                                "used for replication settings for a given table must be non-overlapping.",
                                S(tag), S(claimed), server_name(catalog));
                claimed = tag;
        }
        return ST_OK;
}

Status placement_check(TableCatalog *catalog, Value options, unsigned *ret_shards)
{
        Value one = value_number(1), replicas = value_get_str(options, "replicas");
        Value primary = value_get_str(options, "primary_replica_tag");
        Value nonvoting = value_get_str(options, "nonvoting_replica_tags");
        Bytes primary_tag = value_is(primary, V_STRING) ? value_bytes(primary) : BYTES_STR("default");
        Field field = {primary_tag, one};
        int64_t shards = 1, count, total = 0;
        if (value_is(replicas, V_NONE))
                replicas = value_object_sorted(&field, 1);
        (void)value_integer(value_get_str(options, "shards"), &shards);
        for (size_t i = 0; i < value_count(replicas); i++) {
                Bytes tag;
                count = 0;
                (void)value_integer(value_field_at(replicas, i, &tag), &count);
                total += count != 0;
        }
        if (total == 0)
                return status_new(
                        ERR_OP_FAILED,
                        "You must set `replicas` to at least one. `replicas` includes the primary replica; if "
                        "there are zero replicas, there is nowhere to put the data.");
        if (shards > MAX_SHARDS)
                return status_new(ERR_OP_FAILED, "Maximum number of shards is %d.", MAX_SHARDS);
        if (!tag_replicas(replicas, primary_tag, &count) || count == 0)
                return status_new(ERR_OP_FAILED,
                                  "Can't use server tag `%.*s` for primary replicas because you specified no replicas "
                                  "in server tag `%.*s`.",
                                  S(primary_tag), S(primary_tag));
        for (size_t i = 0; value_is(nonvoting, V_ARRAY) && i < value_count(nonvoting); i++) {
                Bytes tag = value_bytes(value_at(nonvoting, i));
                if (!tag_replicas(replicas, tag, &count))
                        return status_new(ERR_OP_FAILED,
                                          "You specified that the replicas in server tag `%.*s` should be non-voting, "
                                          "but you didn't specify a number of replicas in server tag `%.*s`.",
                                          S(tag), S(tag));
        }
        TRY(check_overlap(catalog, replicas));
        TRY(check_servers(catalog, replicas));
        *ret_shards = (unsigned)MAX(shards, 1);
        return ST_OK;
}

/* --- results --- */

static Value change_pair(Arena *arena, Value old_val, Value new_val)
{
        Field *pair = arena_array(arena, Field, 2);
        pair[0] = (Field){BYTES_STR("new_val"), new_val};
        pair[1] = (Field){BYTES_STR("old_val"), old_val};
        return value_object_sorted(pair, 2);
}

static Status refuse_system(Bytes db, const char *what)
{
        return bytes_equal(db, BYTES_STR(SYSTEM_DB))
                       ? status_new(ERR_OP_FAILED,
                                    "Database `" SYSTEM_DB "` is special; you can't %s the tables in it.", what)
                       : ST_OK;
}

/* The tables that are meant: `table`, or all of `db`. */
static Status each_table(TableCatalog *catalog, Bytes db, Bytes table, Arena *arena,
                         Status (*each)(void *ctx, Bytes db, Bytes table), void *ctx)
{
        Value names;
        if (table.data)
                return each(ctx, db, table);
        TRY(catalog_table_list(catalog, db, arena, &names));
        for (size_t i = 0; i < value_count(names); i++)
                TRY(each(ctx, db, value_bytes(value_at(names, i))));
        return ST_OK;
}

/* --- reconfigure --- */

typedef struct Reconfigure {
        TableCatalog *catalog;
        Arena *arena;
        unsigned shards;
        bool dry_run;
        ArrayBuilder config_changes, status_changes;
        uint64_t *position;
} Reconfigure;

/* `row` with `shards` times its first shard. */
static Value with_shards(Arena *arena, Value row, unsigned shards)
{
        Value shard = value_at(value_get_str(row, "shards"), 0);
        Value *items = arena_array(arena, Value, shards);
        Field *fields = arena_array(arena, Field, value_count(row));
        for (unsigned i = 0; i < shards; i++)
                items[i] = shard;
        for (size_t i = 0; i < value_count(row); i++) {
                fields[i].value = value_field_at(row, i, &fields[i].key);
                if (bytes_equal(fields[i].key, BYTES_STR("shards")))
                        fields[i].value = value_array(items, shards);
        }
        return value_object_sorted(fields, value_count(row));
}

static Status reconfigure_one(void *ctx, Bytes db, Bytes table)
{
        Reconfigure *r = ctx;
        Value row, old_status, new_status;
        TRY(system_config(r->catalog, db, table, r->arena, &row));
        array_add(&r->config_changes, change_pair(r->arena, row, with_shards(r->arena, row, r->shards)));
        if (r->dry_run)
                return ST_OK;
        TRY(system_status(r->catalog, db, table, r->arena, &old_status));
        TableConfig config = {.id = value_bytes(value_get_str(row, "id")),
                              .db = db,
                              .name = table,
                              .shard_count = r->shards,
                              .keeps_ttl = true,
                              .hard = value_bytes_are(value_get_str(row, "durability"), "hard"),
                              .ack_single = value_bytes_are(value_get_str(row, "write_acks"), "single")};
        TRY(ddl_table_configure(r->catalog, &config, r->position));
        TRY(system_status(r->catalog, db, table, r->arena, &new_status));
        array_add(&r->status_changes, change_pair(r->arena, old_status, new_status));
        return ST_OK;
}

Status placement_reconfigure(void *ctx, Bytes db, Bytes table, Value options, Arena *arena, Value *ret_result,
                             uint64_t *ret_position)
{
        Reconfigure r = {.catalog = ctx, .arena = arena, .position = ret_position};
        TRY(refuse_system(db, "configure"));
        if (value_is(value_get_str(options, "emergency_repair"), V_STRING)) {
                TableRef *found;
                TRY(catalog_table_find(ctx, db, table, &found));
                catalog_table_unref(found);
                return status_new(ERR_OP_FAILED, "This table doesn't need to be repaired.");
        }
        TRY(placement_check(ctx, options, &r.shards));
        r.dry_run = value_truthy(value_get_str(options, "dry_run"));
        array_init(&r.config_changes, arena, 1);
        array_init(&r.status_changes, arena, 1);
        TRY(each_table(ctx, db, table, arena, reconfigure_one, &r));
        size_t count = r.config_changes.count;
        ObjectBuilder object;
        object_init(&object, arena, 3);
        object_add_str(&object, "config_changes", array_take(&r.config_changes));
        object_add_str(&object, "reconfigured", value_number(r.dry_run ? 0 : (double)count));
        if (!r.dry_run)
                object_add_str(&object, "status_changes", array_take(&r.status_changes));
        *ret_result = object_take(&object);
        return ST_OK;
}

/* --- rebalance: on one server everything is where it belongs --- */

typedef struct Rebalance {
        TableCatalog *catalog;
        Arena *arena;
        ArrayBuilder status_changes;
} Rebalance;

static Status rebalance_one(void *ctx, Bytes db, Bytes table)
{
        Rebalance *r = ctx;
        Value status;
        TRY(system_status(r->catalog, db, table, r->arena, &status));
        array_add(&r->status_changes, change_pair(r->arena, status, status));
        return ST_OK;
}

Status placement_rebalance(void *ctx, Bytes db, Bytes table, Arena *arena, Value *ret_result)
{
        Rebalance r = {.catalog = ctx, .arena = arena};
        TRY(refuse_system(db, "rebalance"));
        array_init(&r.status_changes, arena, 1);
        TRY(each_table(ctx, db, table, arena, rebalance_one, &r));
        size_t count = r.status_changes.count;
        ObjectBuilder object;
        object_init(&object, arena, 2);
        object_add_str(&object, "rebalanced", value_number((double)count));
        object_add_str(&object, "status_changes", array_take(&r.status_changes));
        *ret_result = object_take(&object);
        return ST_OK;
}
