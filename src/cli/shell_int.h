/* shell_int.h - the state of a shell, shared by the files shell*.c. */
#ifndef CLI_SHELL_INT_H
#define CLI_SHELL_INT_H

#include "cli/ask.h"
#include "cli/command.h"
#include "cli/shell_edit.h"

enum { SHELL_TEXT_MAX_BYTES = 64 << 20, SHELL_NESTING_MAX = 10, SHELL_WATCH_MAX_ROWS = 500 };

typedef struct ShellValues {
        RemoteOptions remote;
        const char *db, *history;
        int format;
        bool no_pager;
} ShellValues;

typedef struct ShellOption {
        char *name, *value;
} ShellOption;

typedef struct Shell {
        const ShellValues *values;
        Remote *remote; /* NULL: not connected */
        bool connected_before;
        char *db;
        Editor *editor; /* NULL: statements come from something that is no terminal */
        /* --- how results are shown --- */
        DisplayFormat format;
        bool expanded, timing, color;
        char *pager;
        bool pager_on;
        Sink terminal, file;
        char *file_name; /* of `file`; NULL: results go to the terminal */
        /* --- global options of all queries --- */
        ShellOption *options;
        size_t option_count, option_capacity;
        /* --- --- */
        Buf last;         /* the last statement, for \e */
        Arena arena;      /* of one statement or command */
        unsigned nesting; /* of \i */
        bool quit, failed;
} Shell;

/* Runs one statement, which begins at `line` and `column` of what it is from, and shows what comes. Errors are shown,
 * too: what comes back is what ends the shell. */
MUST_USE Status shell_run(Shell *shell, Bytes text, size_t line, size_t column);
/* The same with an additional global option (NULL: none), at most `limit` rows (0: all), and on another sink if `sink`
 * is not NULL. */
MUST_USE Status shell_run_with(Shell *shell, Bytes text, const char *option, const char *value, Sink *sink,
                               uint64_t limit);
/* `line` begins with a backslash. Likewise. */
MUST_USE Status shell_command_run(Shell *shell, Bytes line);
/* Runs the statements and commands of a stream, one after the other, until its end or \q. */
MUST_USE Status shell_run_stream(Shell *shell, FILE *stream);
/* Shows an error and remembers that there was one; frees `st`. */
void shell_error(Shell *shell, Status st);

/* Connects if there is no connection. ERR_IO ... as remote_open. */
MUST_USE Status shell_connect(Shell *shell);
void shell_disconnect(Shell *shell);
/* Asks for a value, connecting when needed. */
MUST_USE Status shell_ask(Shell *shell, int timeout_ms, Value *ret_value, const char *format, ...) PRINTF_LIKE(4, 5);
/* "db.table" or "table"; the answer as JSON terms as in remote.h. */
MUST_USE Status shell_table_name(Shell *shell, const char *text, TableName *ret_name);
const char *shell_json(Shell *shell, Bytes text);

/* Where results go now. */
Sink *shell_sink(Shell *shell);
DisplayStyle shell_style(const Shell *shell, const Sink *sink);
/* Around what is written for one statement: a pager may come in between. A reader that went away wants no more, and is
 * no error on a terminal; `st` is what came before, and comes back. */
void shell_begin_output(Shell *shell, Sink *sink);
MUST_USE Status shell_end_output(Shell *shell, Sink *sink, Status st);
/* Shows made-up rows in the shell's format, with these columns first. */
MUST_USE Status shell_show_rows(Shell *shell, Value rows, const char *const *order);
/* The signature and help of a term, or all names. */
const char *shell_example(size_t n); /* all of its examples, from 0; NULL behind the last */
MUST_USE Status shell_help_terms(Shell *shell, const char *name);

/* \l \dt \d \di \jobs \kill \conninfo */
MUST_USE Status shell_list_databases(Shell *shell, const char *argument);
MUST_USE Status shell_list_tables(Shell *shell, const char *argument);
MUST_USE Status shell_describe_table(Shell *shell, const char *argument);
MUST_USE Status shell_list_indexes(Shell *shell, const char *argument);
MUST_USE Status shell_list_jobs(Shell *shell, const char *argument);
MUST_USE Status shell_kill_job(Shell *shell, const char *argument);
MUST_USE Status shell_show_connection(Shell *shell, const char *argument);
/* "PhotonDB 0.1.0 on host:port, user admin"; what cannot be known is left out. */
MUST_USE Status shell_describe_server(Shell *shell, const char **ret_text);

/* What could stand behind `before`. */
void shell_complete(void *ctx, Bytes before, Candidates *candidates);
/* Names of global options; ends in NULL. */
extern const char *const shell_global_options[];
/* Names of backslash commands, n from 0; NULL behind the last. */
const char *shell_command_name(size_t n);

#endif
