/* remote.h - what the client commands share: their connection options, names of tables, one query and its answer. */
#ifndef CLI_REMOTE_H
#define CLI_REMOTE_H

#include "base/arena.h"
#include "cli/options.h"
#include "cli/output.h"
#include "network/client.h"
#include "value/value.h"

typedef struct RemoteOptions {
        const char *host, *user, *password_file;
        int64_t port, timeout_s;
        bool quiet;
} RemoteOptions;

/* The rows of an option table for a RemoteOptions that is the field `remote` of `Type`. */
#define REMOTE_OPTIONS(Type)                                                                                           \
        {"host", OPTION_TEXT, offsetof(Type, remote.host),   "HOST", "127.0.0.1", NULL,                                \
         0,      0,           "the server's name or address"},                                                         \
                {"port", OPTION_NUMBER, offsetof(Type, remote.port), "PORT", "28015", NULL,                            \
                 1,      65535,         "the server's driver port"},                                                   \
                {"user", OPTION_TEXT, offsetof(Type, remote.user), "NAME", "admin", NULL, 0, 0, "who connects"},       \
                {"password-file",                                                                                      \
                 OPTION_TEXT,                                                                                          \
                 offsetof(Type, remote.password_file),                                                                 \
                 "FILE",                                                                                               \
                 NULL,                                                                                                 \
                 NULL,                                                                                                 \
                 0,                                                                                                    \
                 0,                                                                                                    \
                 "the file whose first line is the password"},                                                         \
                {"timeout", OPTION_NUMBER, offsetof(Type, remote.timeout_s), "SECONDS", "20", NULL,                    \
                 1,         3600,          "for connecting and logging in"},                                           \
        {                                                                                                              \
                "quiet", OPTION_FLAG, offsetof(Type, remote.quiet), NULL, NULL, NULL, 0, 0, "errors only"              \
        }

typedef struct Remote {
        Client *client;
        Arena arena; /* of the last answers; reset by whoever wants the memory back */
} Remote;

/* Reads the password, connects, logs in. *ret_exit becomes EXIT_NO_SERVER when that fails. */
MUST_USE Status remote_open(const RemoteOptions *options, Remote **ret_remote, int *ret_exit);
Remote *remote_close(Remote *remote);
static inline void remote_closep(Remote **remote)
{
        *remote = remote_close(*remote);
}
/* Reads a password: the first line of the file. Warns when others may read it. */
MUST_USE Status remote_read_password(const char *path, Arena *arena, const char **ret_password);

/* Kinds of response, as on the wire. */
enum {
        RESPONSE_ATOM = 1,
        RESPONSE_SEQUENCE = 2,
        RESPONSE_PARTIAL = 3,
        RESPONSE_CLIENT_ERROR = 16,
        RESPONSE_COMPILE_ERROR = 17,
        RESPONSE_RUNTIME_ERROR = 18,
};
typedef struct Response {
        int type;
        Bytes rows; /* the text of "r", an array */
} Response;
/* Takes a body apart. An error response is a Status: its code is the ERR_ of the wire's class, its message the
 * server's. */
MUST_USE Status response_split(Bytes body, Arena *arena, Response *ret_response);
/* Sends one query and waits for the answer: an atom, or an array of the sequence's first batch (a PARTIAL is stopped).
 * Lives in remote->arena. Nothing else may be outstanding. */
MUST_USE Status remote_ask(Remote *remote, Bytes query, Value *ret_value);
/* The same for a query that is printed; TABLE marks in the format are the caller's. */
MUST_USE Status remote_askf(Remote *remote, Value *ret_value, const char *format, ...) PRINTF_LIKE(3, 4);

typedef struct TableName {
        const char *db, *table;
        const char *db_term, *table_term; /* as JSON terms: [14,["db"]] and [15,[[14,["db"]],"table"]] */
        const char *db_json, *table_json; /* the names as JSON strings */
} TableName;
/* "db.table"; "table" alone is in `test`. */
MUST_USE Status table_name_parse(const char *text, Arena *arena, TableName *ret_name);
MUST_USE Status table_name_make(const char *db, const char *table, Arena *arena, TableName *ret_name);
/* Makes a table. With `if_missing` it may be there already, and its database is made, too. */
MUST_USE Status remote_create_table(Remote *remote, const TableName *name, const char *primary_key,
                                    const char *durability, bool if_missing);
/* What the server answered: there is one already; there is none. */
bool remote_says_exists(Status st);
bool remote_says_missing(Status st);
/* Adds {db, name, primary_key, rows} for each table of the array of names; those dropped meanwhile, and those that the
 * user may not read, are left out. */
MUST_USE Status remote_describe_tables(Remote *remote, const char *db, Value names, ArrayBuilder *list);
/* Prints an array of these, aligned, on stdout. */
MUST_USE Status remote_print_tables(Value described);
void remote_print_json(Value v, Arena *arena);
/* The primary key; ERR_OP_FAILED with a hint if there is no such table. */
MUST_USE Status remote_primary_key(Remote *remote, const TableName *name, Arena *arena, const char **ret_key);

#endif
