/* table.c - `photondb table create|drop|list|info`. */
#include <inttypes.h>

#include "cli/command.h"
#include "cli/remote.h"
#include "value/json.h"

typedef struct TableValues {
        RemoteOptions remote;
        const char *primary_key;
        int durability;
        bool json, if_missing, if_exists;
} TableValues;

static const Option plain_options[] = {
        {"json", OPTION_FLAG, offsetof(TableValues, json), NULL, NULL, NULL, 0, 0, "write JSON"},
        REMOTE_OPTIONS(TableValues),
        {NULL},
};
static const Option create_options[] = {
        {"primary-key", OPTION_TEXT, offsetof(TableValues, primary_key), "FIELD", "id", NULL, 0, 0,
         "the field that names a row"},
        {"durability", OPTION_CHOICE, offsetof(TableValues, durability), "HOW", "hard", "soft hard", 0, 0,
         "hard: a write is on disk before it is acknowledged"},
        {"if-missing", OPTION_FLAG, offsetof(TableValues, if_missing), NULL, NULL, NULL, 0, 0,
         "fine if it is there already; makes the database, too"},
        REMOTE_OPTIONS(TableValues),
        {NULL},
};
static const Option drop_options[] = {
        {"if-exists", OPTION_FLAG, offsetof(TableValues, if_exists), NULL, NULL, NULL, 0, 0, "fine if it is not there"},
        REMOTE_OPTIONS(TableValues),
        {NULL},
};

static Status parse_name(const Invocation *invocation, TableName *ret_name, int *ret_exit)
{
        Status st = table_name_parse(invocation->words[0], invocation->arena, ret_name);
        if (st)
                *ret_exit = EXIT_USAGE;
        return st;
}

static Status run_create(const Invocation *invocation, int *ret_exit)
{
        static const char *const durabilities[] = {"soft", "hard"};
        const TableValues *values = invocation->values;
        const char *durability = durabilities[values->durability];
        _cleanup_(remote_closep) Remote *remote = NULL;
        TableName name;
        TRY(parse_name(invocation, &name, ret_exit));
        TRY(remote_open(&values->remote, &remote, ret_exit));
        TRY(remote_create_table(remote, &name, values->primary_key, durability, values->if_missing));
        if (!values->remote.quiet)
                printf("table %s.%s created\n", name.db, name.table);
        return ST_OK;
}

static Status run_drop(const Invocation *invocation, int *ret_exit)
{
        const TableValues *values = invocation->values;
        _cleanup_(remote_closep) Remote *remote = NULL;
        TableName name;
        Value answer;
        TRY(parse_name(invocation, &name, ret_exit));
        TRY(remote_open(&values->remote, &remote, ret_exit));
        Status st = remote_askf(remote, &answer, "[1,[61,[%s,%s]],{}]", name.db_term, name.table_json);
        if (st && values->if_exists && remote_says_missing(st)) {
                status_ignore(st);
                return ST_OK;
        }
        TRY(st);
        if (!values->remote.quiet)
                printf("table %s.%s dropped\n", name.db, name.table);
        return ST_OK;
}

static Status list_db(Remote *remote, const char *db, ArrayBuilder *list)
{
        Value tables;
        TableName name;
        TRY(table_name_make(db, "", &remote->arena, &name));
        TRY(remote_askf(remote, &tables, "[1,[62,[%s]],{}]", name.db_term));
        return remote_describe_tables(remote, db, tables, list);
}

static Status run_list(const Invocation *invocation, int *ret_exit)
{
        const TableValues *values = invocation->values;
        _cleanup_(remote_closep) Remote *remote = NULL;
        ArrayBuilder list;
        TRY(remote_open(&values->remote, &remote, ret_exit));
        array_init(&list, &remote->arena, 16);
        if (invocation->word_count) {
                TRY(list_db(remote, invocation->words[0], &list));
        } else {
                Value dbs;
                TRY(remote_askf(remote, &dbs, "[1,[59,[]],{}]"));
                for (size_t i = 0; i < value_count(dbs); i++) {
                        Bytes db = value_bytes(value_at(dbs, i));
                        if (bytes_equal(db, BYTES_STR("rethinkdb"))) /* the system's; `table list rethinkdb` shows it */
                                continue;
                        Status st = list_db(remote, arena_dup(&remote->arena, db.data, db.size), &list);
                        if (remote_says_missing(st))
                                st = status_free(st);
                        TRY(st);
                }
        }
        Value tables = array_take(&list);
        if (!values->json)
                return remote_print_tables(tables);
        remote_print_json(tables, &remote->arena);
        return ST_OK;
}

static void print_line(const char *title, Value v, Arena *arena)
{
        Bytes text = value_is(v, V_STRING) ? value_bytes(v) : json_text(v, arena);
        printf("%-13s", title);
        output_text(stdout, text);
        putchar('\n');
}

static Status run_info(const Invocation *invocation, int *ret_exit)
{
        static const char *const fields[] = {"db",         "name",       "id",      "primary_key",
                                             "durability", "write_acks", "indexes", "ttl"};
        static const char *const titles[] = {"database",   "table",      "id",      "primary key",
                                             "durability", "write acks", "indexes", "rows expire"};
        const TableValues *values = invocation->values;
        _cleanup_(remote_closep) Remote *remote = NULL;
        TableName name;
        Value config, count;
        TRY(parse_name(invocation, &name, ret_exit));
        TRY(remote_open(&values->remote, &remote, ret_exit));
        TRY(remote_askf(remote, &config, "[1,[174,[%s]],{}]", name.table_term));
        TRY(remote_askf(remote, &count, "[1,[43,[%s]],{}]", name.table_term));
        if (values->json) {
                ObjectBuilder object;
                object_init(&object, &remote->arena, 16);
                for (size_t i = 0; i < value_count(config); i++) {
                        Bytes key;
                        Value field = value_field_at(config, i, &key);
                        object_add(&object, key, field);
                }
                object_add_str(&object, "rows", count);
                remote_print_json(object_take(&object), &remote->arena);
                return ST_OK;
        }
        for (size_t i = 0; i < ELEMENTS(fields); i++) {
                Value field = value_get_str(config, fields[i]);
                if (!value_is(field, V_NONE) && !(value_is(field, V_ARRAY) && value_count(field) == 0))
                        print_line(titles[i], field, &remote->arena);
        }
        int64_t rows = 0;
        char text[32];
        if (value_is(count, V_NUMBER) && value_integer(count, &rows))
                printf("%-13s%s\n", "rows", output_count((uint64_t)rows, text));
        return ST_OK;
}

const Command table_create_command = {
        .name = "table create",
        .words = "DB.TABLE",
        .least_words = 1,
        .most_words = 1,
        .summary = "make a table",
        .details = "A name without a database is in `test`.",
        .examples = "photondb table create shop.users\nphotondb table create shop.users --primary-key email",
        .options = create_options,
        .values_bytes = sizeof(TableValues),
        .run = run_create,
};
const Command table_drop_command = {
        .name = "table drop",
        .words = "DB.TABLE",
        .least_words = 1,
        .most_words = 1,
        .summary = "remove a table with all its rows",
        .examples = "photondb table drop shop.users\nphotondb table drop shop.users --if-exists",
        .options = drop_options,
        .values_bytes = sizeof(TableValues),
        .run = run_drop,
};
const Command table_list_command = {
        .name = "table list",
        .words = "[DB]",
        .most_words = 1,
        .summary = "show the tables of one database or of all",
        .examples = "photondb table list\nphotondb table list shop --json",
        .options = plain_options,
        .values_bytes = sizeof(TableValues),
        .run = run_list,
};
const Command table_info_command = {
        .name = "table info",
        .words = "DB.TABLE",
        .least_words = 1,
        .most_words = 1,
        .summary = "show a table's settings and size",
        .examples = "photondb table info shop.users\nphotondb table info shop.users --json",
        .options = plain_options,
        .values_bytes = sizeof(TableValues),
        .run = run_info,
};
