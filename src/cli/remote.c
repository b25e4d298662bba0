/* remote.c - connection, question, answer. */
#include "cli/remote.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "cli/jsontext.h"
#include "value/json.h"

enum { PASSWORD_MAX_BYTES = 1024 };

Status remote_read_password(const char *path, Arena *arena, const char **ret_password)
{
        char line[PASSWORD_MAX_BYTES + 2];
        FILE *file = fopen(path, "re");
        if (!file)
                return status_errno(errno, "cannot read the password file %s", path);
        struct stat info;
        if (fstat(fileno(file), &info) == 0 && S_ISREG(info.st_mode) && (info.st_mode & (S_IRGRP | S_IROTH)))
                output_warning("%s can be read by others; make it yours alone: chmod 600 %s", path, path);
        bool found = fgets(line, sizeof line, file) != NULL;
        bool failed = ferror(file);
        fclose(file);
        if (failed)
                return status_errno(errno, "cannot read the password file %s", path);
        size_t length = found ? strcspn(line, "\r\n") : 0;
        if (length > PASSWORD_MAX_BYTES)
                return status_new(ERR_LIMIT, "%s: a password has at most %d characters", path, PASSWORD_MAX_BYTES);
        *ret_password = arena_dup(arena, line, length);
        explicit_bzero(line, sizeof line);
        return ST_OK;
}

Status remote_open(const RemoteOptions *options, Remote **ret_remote, int *ret_exit)
{
        _cleanup_(remote_closep) Remote *remote = mem_zalloc(sizeof *remote);
        if (!remote)
                return status_nomem();
        arena_init(&remote->arena, 0);
        const char *password = "";
        if (options->password_file)
                TRY(remote_read_password(options->password_file, &remote->arena, &password));
        ClientOptions client = {.host = options->host,
                                .port = (int)options->port,
                                .user = options->user,
                                .password = password,
                                .timeout_ms = (int)options->timeout_s * 1000};
        Status st = client_connect(os_posix(), &client, &remote->client);
        if (*password)
                explicit_bzero((char *)password, strlen(password));
        if (status_code(st) == ERR_AUTH && !options->password_file && !status_hint_text(st))
                st = status_hint(st, "give the password with --password-file FILE");
        if (st)
                *ret_exit = EXIT_NO_SERVER;
        TRY(st);
        *ret_remote = take(remote);
        return ST_OK;
}

Remote *remote_close(Remote *remote)
{
        if (remote) {
                client_close(remote->client);
                arena_done(&remote->arena);
                mem_free(remote);
        }
        return NULL;
}

/* --- answers --- */

static StatusCode code_of_error(int type, int error)
{
        if (type == RESPONSE_CLIENT_ERROR)
                return ERR_CLIENT;
        if (type == RESPONSE_COMPILE_ERROR)
                return ERR_COMPILE;
        switch (error) {
        case 2000000: return ERR_RESOURCE;
        case 3000000: return ERR_LOGIC;
        case 3100000: return ERR_NON_EXISTENCE;
        case 4100000: return ERR_OP_FAILED;
        case 4200000: return ERR_OP_INDETERMINATE;
        case 4300000: return ERR_CONFLICT;
        case 5000000: return ERR_USER;
        case 6000000: return ERR_PERMISSION;
        default: return ERR_INTERNAL;
        }
}

static int number_of(Bytes text)
{
        int n = 0;
        for (size_t i = 0; i < text.size && text.data[i] >= '0' && text.data[i] <= '9' && n < 100000000; i++)
                n = n * 10 + (text.data[i] - '0');
        return n;
}

/* What is missing is the administrator's to give. */
static Status hint_at_grant(Status st)
{
        char user[128], permission[16], hint[300];
        if (sscanf(status_message(st), "User `%127[^`]` does not have the required `%15[a-z]` permission.", user,
                   permission) != 2)
                return st;
        snprintf(hint, sizeof hint,
                 "an administrator can give it: r.db(\"DB\").table(\"TABLE\").grant(\"%s\", {\"%s\": true})", user,
                 permission);
        return status_hint(st, "%s", hint);
}

Status response_split(Bytes body, Arena *arena, Response *ret_response)
{
        int type = number_of(jsontext_field(body, "t"));
        Bytes rows = jsontext_field(body, "r");
        if (type == 0 || rows.size < 2 || rows.data[0] != '[')
                return status_new(ERR_INVALID, "the server answered something that is no response: %.*s",
                                  (int)MIN(body.size, 200), (const char *)body.data);
        if (type >= RESPONSE_CLIENT_ERROR) {
                Value messages;
                TRY(json_parse_copy(rows, JSON_PLAIN, arena, &messages));
                Bytes text = BYTES_STR("unknown error");
                if (value_count(messages) > 0 && value_is(value_at(messages, 0), V_STRING))
                        text = value_bytes(value_at(messages, 0));
                StatusCode code = code_of_error(type, number_of(jsontext_field(body, "e")));
                Status st = status_new(code, "%.*s", (int)text.size, (const char *)text.data);
                return code == ERR_PERMISSION ? hint_at_grant(st) : st;
        }
        *ret_response = (Response){.type = type, .rows = rows};
        return ST_OK;
}

Status remote_ask(Remote *remote, Bytes query, Value *ret_value)
{
        uint64_t token, answered;
        Bytes body;
        Response response;
        TRY(client_send(remote->client, query, &token));
        do
                TRY(client_receive(remote->client, &answered, &body));
        while (answered != token);
        TRY(response_split(body, &remote->arena, &response));
        Value rows;
        TRY(json_parse_copy(response.rows, JSON_PSEUDO, &remote->arena, &rows));
        if (response.type == RESPONSE_PARTIAL) {
                TRY(client_send_token(remote->client, token, BYTES_STR("[3]")));
                do
                        TRY(client_receive(remote->client, &answered, &body));
                while (answered != token);
        }
        if (response.type == RESPONSE_ATOM) {
                if (value_count(rows) != 1)
                        return status_new(ERR_INVALID, "the server answered an atom of %zu values", value_count(rows));
                rows = value_at(rows, 0);
        }
        *ret_value = rows;
        return ST_OK;
}

Status remote_askf(Remote *remote, Value *ret_value, const char *format, ...)
{
        va_list args;
        va_start(args, format);
        const char *query = arena_vprintf(&remote->arena, format, args);
        va_end(args);
        return remote_ask(remote, BYTES_STR(query), ret_value);
}

/* --- tables --- */

static const char *json_string(const char *text, Arena *arena)
{
        Bytes json = json_text(value_str(text), arena);
        return arena_dup(arena, json.data, json.size);
}

Status table_name_make(const char *db, const char *table, Arena *arena, TableName *ret_name)
{
        TableName name = {.db = db, .table = table};
        name.db_json = json_string(db, arena);
        name.table_json = json_string(table, arena);
        name.db_term = arena_printf(arena, "[14,[%s]]", name.db_json);
        name.table_term = arena_printf(arena, "[15,[%s,%s]]", name.db_term, name.table_json);
        *ret_name = name;
        return ST_OK;
}

Status table_name_parse(const char *text, Arena *arena, TableName *ret_name)
{
        const char *dot = strchr(text, '.');
        const char *db = dot ? arena_dup(arena, text, (size_t)(dot - text)) : "test";
        const char *table = dot ? dot + 1 : text;
        if (!*db || !*table || strchr(table, '.'))
                return status_hint(status_new(ERR_INVALID, "\"%s\" is not the name of a table", text),
                                   "write DB.TABLE, for example test.users");
        return table_name_make(db, table, arena, ret_name);
}

bool remote_says_exists(Status st)
{
        return status_code(st) == ERR_OP_FAILED && strstr(status_message(st), "already exists");
}

bool remote_says_missing(Status st)
{
        return status_code(st) == ERR_OP_FAILED && strstr(status_message(st), "does not exist");
}

Status remote_create_table(Remote *remote, const TableName *name, const char *primary_key, const char *durability,
                           bool if_missing)
{
        Value answer;
        Status st;
        if (if_missing) {
                st = remote_askf(remote, &answer, "[1,[57,[%s]],{}]", name->db_json);
                TRY(remote_says_exists(st) ? status_free(st) : st);
        }
        const char *key = primary_key ? json_string(primary_key, &remote->arena) : "\"id\"";
        const char *durable = durability ? arena_printf(&remote->arena, ",\"durability\":\"%s\"", durability) : "";
        st = remote_askf(remote, &answer, "[1,[60,[%s,%s],{\"primary_key\":%s%s}],{}]", name->db_term, name->table_json,
                         key, durable);
        if (if_missing && remote_says_exists(st))
                return status_free(st);
        return st;
}

Status remote_primary_key(Remote *remote, const TableName *name, Arena *arena, const char **ret_key)
{
        Value info; /* of info(), which reading is enough for */
        Status st = remote_askf(remote, &info, "[1,[79,[%s]],{}]", name->table_term);
        if (remote_says_missing(st))
                st = status_hint(st, "photondb table list shows the tables; import --create makes one");
        TRY(st);
        Value key = value_is_object(info) ? value_get_str(info, "primary_key") : value_none();
        if (!value_is(key, V_STRING))
                return status_new(ERR_INVALID, "the server did not name the primary key of %s.%s", name->db,
                                  name->table);
        *ret_key = arena_dup(arena, value_bytes(key).data, value_bytes(key).size);
        return ST_OK;
}

Status remote_describe_tables(Remote *remote, const char *db, Value names, ArrayBuilder *list)
{
        Arena *arena = &remote->arena;
        for (size_t i = 0; i < value_count(names); i++) {
                Bytes table = value_bytes(value_at(names, i));
                TableName name;
                const char *key;
                Value count;
                TRY(table_name_make(db, arena_dup(arena, table.data, table.size), arena, &name));
                Status st = remote_primary_key(remote, &name, arena, &key);
                if (st == ST_OK)
                        st = remote_askf(remote, &count, "[1,[43,[%s]],{}]", name.table_term);
                if (remote_says_missing(st) || status_code(st) == ERR_PERMISSION) {
                        status_ignore(st);
                        continue;
                }
                TRY(st);
                ObjectBuilder object;
                object_init(&object, arena, 4);
                object_add_str(&object, "db", value_str(db));
                object_add_str(&object, "name", value_str(name.table));
                object_add_str(&object, "primary_key", value_str(key));
                object_add_str(&object, "rows", count);
                array_add(list, object_take(&object));
        }
        return ST_OK;
}

Status remote_print_tables(Value described)
{
        _cleanup_(grid_freep) Grid *grid = NULL;
        TRY(grid_new(4, (const char *const[]){"DATABASE", "TABLE", "PRIMARY KEY", "ROWS"}, &grid));
        for (size_t i = 0; i < value_count(described); i++) {
                Value table = value_at(described, i);
                int64_t rows = 0;
                if (!value_integer(value_get_str(table, "rows"), &rows))
                        rows = 0;
                TRY(grid_cell(grid, value_bytes(value_get_str(table, "db"))));
                TRY(grid_cell(grid, value_bytes(value_get_str(table, "name"))));
                TRY(grid_cell(grid, value_bytes(value_get_str(table, "primary_key"))));
                TRY(grid_number(grid, (uint64_t)rows));
        }
        grid_print(grid, stdout);
        return ST_OK;
}

void remote_print_json(Value v, Arena *arena)
{
        Bytes text = json_text(v, arena);
        fwrite(text.data, 1, text.size, stdout);
        putchar('\n');
}
