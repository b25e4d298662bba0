/* db.c - `photondb db create|drop|list|info`. */
#include <inttypes.h>

#include "cli/command.h"
#include "cli/remote.h"
#include "value/json.h"

typedef struct DbValues {
        RemoteOptions remote;
        bool json, if_missing, if_exists;
} DbValues;

static const Option plain_options[] = {
        {"json", OPTION_FLAG, offsetof(DbValues, json), NULL, NULL, NULL, 0, 0, "write JSON"},
        REMOTE_OPTIONS(DbValues),
        {NULL},
};
static const Option create_options[] = {
        {"if-missing", OPTION_FLAG, offsetof(DbValues, if_missing), NULL, NULL, NULL, 0, 0,
         "fine if it is there already"},
        REMOTE_OPTIONS(DbValues),
        {NULL},
};
static const Option drop_options[] = {
        {"if-exists", OPTION_FLAG, offsetof(DbValues, if_exists), NULL, NULL, NULL, 0, 0, "fine if it is not there"},
        REMOTE_OPTIONS(DbValues),
        {NULL},
};

static const char *json_name(const char *name, Arena *arena)
{
        Bytes text = json_text(value_str(name), arena);
        return arena_dup(arena, text.data, text.size);
}

static Status run_create(const Invocation *invocation, int *ret_exit)
{
        const DbValues *values = invocation->values;
        const char *name = invocation->words[0];
        _cleanup_(remote_closep) Remote *remote = NULL;
        Value answer;
        TRY(remote_open(&values->remote, &remote, ret_exit));
        Status st = remote_askf(remote, &answer, "[1,[57,[%s]],{}]", json_name(name, &remote->arena));
        if (st && values->if_missing && remote_says_exists(st)) {
                status_ignore(st);
                return ST_OK;
        }
        TRY(st);
        if (!values->remote.quiet)
                printf("database %s created\n", name);
        return ST_OK;
}

static Status run_drop(const Invocation *invocation, int *ret_exit)
{
        const DbValues *values = invocation->values;
        const char *name = invocation->words[0];
        _cleanup_(remote_closep) Remote *remote = NULL;
        Value answer;
        TRY(remote_open(&values->remote, &remote, ret_exit));
        Status st = remote_askf(remote, &answer, "[1,[58,[%s]],{}]", json_name(name, &remote->arena));
        if (st && values->if_exists && remote_says_missing(st)) {
                status_ignore(st);
                return ST_OK;
        }
        TRY(st);
        if (!values->remote.quiet) {
                Value tables = value_get_str(answer, "tables_dropped");
                int64_t count = 0;
                if (value_is(tables, V_NUMBER) && value_integer(tables, &count) && count > 0)
                        printf("database %s dropped, with %" PRId64 " table%s\n", name, count, count == 1 ? "" : "s");
                else
                        printf("database %s dropped\n", name);
        }
        return ST_OK;
}

static Status table_names(Remote *remote, Bytes db, Value *ret_names)
{
        Bytes name = json_text(value_string(db), &remote->arena);
        return remote_askf(remote, ret_names, "[1,[62,[[14,[%.*s]]]],{}]", (int)name.size, (const char *)name.data);
}

static Status run_list(const Invocation *invocation, int *ret_exit)
{
        const DbValues *values = invocation->values;
        _cleanup_(remote_closep) Remote *remote = NULL;
        _cleanup_(grid_freep) Grid *grid = NULL;
        ArrayBuilder list;
        Value names, tables;
        TRY(remote_open(&values->remote, &remote, ret_exit));
        TRY(grid_new(2, (const char *const[]){"DATABASE", "TABLES"}, &grid));
        array_init(&list, &remote->arena, 16);
        TRY(remote_askf(remote, &names, "[1,[59,[]],{}]"));
        for (size_t i = 0; i < value_count(names); i++) {
                Bytes name = value_bytes(value_at(names, i));
                Status st = table_names(remote, name, &tables);
                if (remote_says_missing(st)) { /* dropped meanwhile */
                        status_ignore(st);
                        continue;
                }
                TRY(st);
                TRY(grid_cell(grid, name));
                TRY(grid_number(grid, value_count(tables)));
                ObjectBuilder object;
                object_init(&object, &remote->arena, 2);
                object_add_str(&object, "name", value_string(name));
                object_add_str(&object, "tables", tables);
                array_add(&list, object_take(&object));
        }
        if (values->json)
                remote_print_json(array_take(&list), &remote->arena);
        else
                grid_print(grid, stdout);
        return ST_OK;
}

static Status run_info(const Invocation *invocation, int *ret_exit)
{
        const DbValues *values = invocation->values;
        Bytes db = BYTES_STR(invocation->words[0]);
        _cleanup_(remote_closep) Remote *remote = NULL;
        Value config, tables;
        ArrayBuilder list;
        TRY(remote_open(&values->remote, &remote, ret_exit));
        TRY(remote_askf(remote, &config, "[1,[79,[[14,[%s]]]],{}]", json_name(invocation->words[0], &remote->arena)));
        TRY(table_names(remote, db, &tables));
        array_init(&list, &remote->arena, value_count(tables));
        TRY(remote_describe_tables(remote, invocation->words[0], tables, &list));
        Value described = array_take(&list);
        if (values->json) {
                ObjectBuilder object;
                object_init(&object, &remote->arena, 3);
                object_add_str(&object, "id", value_get_str(config, "id"));
                object_add_str(&object, "name", value_string(db));
                object_add_str(&object, "tables", described);
                remote_print_json(object_take(&object), &remote->arena);
                return ST_OK;
        }
        Value id = value_get_str(config, "id");
        printf("database  %s\n", invocation->words[0]);
        if (value_is(id, V_STRING))
                printf("id        %.*s\n", (int)value_bytes(id).size, (const char *)value_bytes(id).data);
        printf("tables    %zu\n", value_count(described));
        if (value_count(described) > 0) {
                putchar('\n');
                TRY(remote_print_tables(described));
        }
        return ST_OK;
}

const Command db_create_command = {
        .name = "db create",
        .words = "DB",
        .least_words = 1,
        .most_words = 1,
        .summary = "make a database",
        .examples = "photondb db create shop",
        .options = create_options,
        .values_bytes = sizeof(DbValues),
        .run = run_create,
};
const Command db_drop_command = {
        .name = "db drop",
        .words = "DB",
        .least_words = 1,
        .most_words = 1,
        .summary = "remove a database with all its tables",
        .examples = "photondb db drop shop\nphotondb db drop shop --if-exists",
        .options = drop_options,
        .values_bytes = sizeof(DbValues),
        .run = run_drop,
};
const Command db_list_command = {
        .name = "db list",
        .words = "",
        .summary = "show the databases",
        .examples = "photondb db list\nphotondb db list --json",
        .options = plain_options,
        .values_bytes = sizeof(DbValues),
        .run = run_list,
};
const Command db_info_command = {
        .name = "db info",
        .words = "DB",
        .least_words = 1,
        .most_words = 1,
        .summary = "show a database and its tables",
        .examples = "photondb db info shop\nphotondb db info shop --json",
        .options = plain_options,
        .values_bytes = sizeof(DbValues),
        .run = run_info,
};
