/* shell_commands.c - the backslash commands. */
#define _GNU_SOURCE /* environ */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/interrupt.h"
#include "cli/shell_int.h"
#include "cli/statement.h"
#include "reql/text_names.h"
#include "value/json.h"

typedef Status (*CommandRun)(Shell *shell, const char *argument);

typedef struct ShellCommand {
        const char *name, *argument; /* for the help */
        CommandRun run;
        const char *help;
} ShellCommand;

static const ShellCommand shell_commands[];

/* --- small ones --- */

static void say(const Shell *shell, const char *format, ...) PRINTF_LIKE(2, 3);
static void say(const Shell *shell, const char *format, ...)
{
        va_list args;
        if (shell->values->remote.quiet)
                return;
        va_start(args, format);
        vfprintf(stderr, format, args);
        va_end(args);
        fputc('\n', stderr);
}

/* The first word; *rest begins behind it and the space after it. */
static const char *first_word(Shell *shell, const char *text, const char **rest)
{
        size_t length = strcspn(text, " \t\r\n");
        const char *word = arena_dup(&shell->arena, text, length);
        text += length;
        *rest = text + strspn(text, " \t\r\n");
        return word;
}

static Status turn(const Shell *shell, const char *what, const char *argument, bool *flag)
{
        if (!*argument)
                *flag = !*flag;
        else if (strcmp(argument, "on") == 0)
                *flag = true;
        else if (strcmp(argument, "off") == 0)
                *flag = false;
        else
                return status_hint(status_new(ERR_INVALID, "\"%s\" is neither on nor off", argument),
                                   "nothing behind it turns it over");
        say(shell, "%s is %s", what, *flag ? "on" : "off");
        return ST_OK;
}

static Status run_quit(Shell *shell, const char *argument)
{
        (void)argument;
        shell->quit = true;
        return ST_OK;
}

static Status run_expanded(Shell *shell, const char *argument)
{
        return turn(shell, "expanded display", argument, &shell->expanded);
}

static Status run_timing(Shell *shell, const char *argument)
{
        return turn(shell, "timing", argument, &shell->timing);
}

static Status run_pager(Shell *shell, const char *argument)
{
        bool is_switch = !*argument || strcmp(argument, "on") == 0 || strcmp(argument, "off") == 0;
        if (!is_switch) {
                if (!sink_pager_exists(argument))
                        return status_new(ERR_NOT_FOUND, "there is no program %s", argument);
                char *copy = mem_strdup(argument);
                if (!copy)
                        return status_nomem();
                mem_free(shell->pager);
                shell->pager = copy;
                argument = "on";
        }
        if (!shell->pager)
                return status_hint(status_new(ERR_NOT_FOUND, "there is no pager"), "name one: \\pager less");
        return turn(shell, "the pager", argument, &shell->pager_on);
}

static Status run_format(Shell *shell, const char *argument)
{
        int place = 0;
        for (const char *word = DISPLAY_FORMATS; *word; place++) {
                size_t length = strcspn(word, " ");
                if (strlen(argument) == length && strncmp(word, argument, length) == 0) {
                        shell->format = (DisplayFormat)place;
                        return ST_OK;
                }
                word += length;
                word += *word == ' ';
        }
        if (*argument)
                return status_hint(status_new(ERR_INVALID, "there is no format \"%s\"", argument), "one of: %s",
                                   DISPLAY_FORMATS);
        say(shell, "one of: %s", DISPLAY_FORMATS);
        return ST_OK;
}

/* --- connection and database --- */

static Status run_connect(Shell *shell, const char *argument)
{
        if (!*argument) {
                shell_disconnect(shell);
                return shell_connect(shell);
        }
        Value names;
        bool found = false;
        TRY(shell_ask(shell, -1, &names, "[1,[59,[]],{}]"));
        for (size_t i = 0; i < value_count(names); i++)
                found |= bytes_equal(value_bytes(value_at(names, i)), BYTES_STR(argument));
        if (!found)
                return status_hint(status_new(ERR_NOT_FOUND, "there is no database %s", argument),
                                   "\\l lists them; r.dbCreate(\"%s\") makes it", argument);
        char *db = mem_strdup(argument);
        if (!db)
                return status_nomem();
        mem_free(shell->db);
        shell->db = db;
        say(shell, "the database is %s", db);
        return ST_OK;
}

/* --- global options --- */

const char *const shell_global_options[] = {"array_limit",
                                            "durability",
                                            "explain",
                                            "first_batch_scaledown_factor",
                                            "max_batch_bytes",
                                            "max_batch_rows",
                                            "max_batch_seconds",
                                            "min_batch_rows",
                                            "plan",
                                            "profile",
                                            "read_mode",
                                            "transaction",
                                            NULL};

static ShellOption *find_option(Shell *shell, const char *name)
{
        for (size_t i = 0; i < shell->option_count; i++) {
                if (strcmp(shell->options[i].name, name) == 0)
                        return &shell->options[i];
        }
        return NULL;
}

static Status set_option(Shell *shell, const char *name, const char *value)
{
        ShellOption *option = find_option(shell, name);
        char *copy = mem_strdup(value), *name_copy = option ? NULL : mem_strdup(name);
        if (!option && shell->option_count == shell->option_capacity) {
                size_t capacity = MAX(2 * shell->option_capacity, 8);
                ShellOption *options = mem_realloc(shell->options, capacity * sizeof *options);
                if (options) {
                        shell->options = options;
                        shell->option_capacity = capacity;
                }
        }
        if (!copy || (!option && (!name_copy || shell->option_count == shell->option_capacity))) {
                mem_free(copy);
                mem_free(name_copy);
                return status_nomem();
        }
        if (!option) {
                option = &shell->options[shell->option_count++];
                *option = (ShellOption){.name = name_copy};
        }
        mem_free(option->value);
        option->value = copy;
        return ST_OK;
}

static Status run_set(Shell *shell, const char *argument)
{
        const char *value, *name = first_word(shell, argument, &value);
        if (!*name) {
                for (size_t i = 0; i < shell->option_count; i++)
                        TRY(sink_printf(shell_sink(shell), "%s = %s\n", shell->options[i].name,
                                        shell->options[i].value));
                return sink_flush(shell_sink(shell));
        }
        if (strcmp(name, "db") == 0)
                return run_connect(shell, value);
        if (!*value)
                return status_hint(status_new(ERR_INVALID, "\\set %s needs a value", name), "\\unset %s removes it",
                                   name);
        bool known = false;
        for (size_t i = 0; shell_global_options[i]; i++)
                known |= strcmp(shell_global_options[i], name) == 0;
        if (!known) {
                const char *nearest = options_nearest(name, shell_global_options);
                if (nearest)
                        say(shell, "the server may not know %s; did you mean %s?", name, nearest);
        }
        Buf checked;
        buf_init(&checked, SHELL_TEXT_MAX_BYTES);
        Status st = ask_option(&checked, name, value);
        buf_done(&checked);
        TRY(st);
        return set_option(shell, name, value);
}

static Status run_unset(Shell *shell, const char *argument)
{
        ShellOption *option = find_option(shell, argument);
        if (!option)
                return status_hint(status_new(ERR_NOT_FOUND, "%s is not set", argument), "\\set lists what is");
        mem_free(option->name);
        mem_free(option->value);
        *option = shell->options[--shell->option_count];
        return ST_OK;
}

/* --- queries in other ways --- */

static Bytes statement_of(const char *text)
{
        Bytes statement = statement_trim(BYTES_STR(text));
        if (statement.size && statement.data[statement.size - 1] == ';')
                statement.size--;
        return statement;
}

/* The query that a command was given is the last one from now on; without one, *query becomes the last one. */
static Status remember_or_recall(Shell *shell, Bytes *query)
{
        if (query->size) {
                buf_clear(&shell->last);
                return buf_append(&shell->last, query->data, query->size);
        }
        if (shell->last.size)
                *query = BYTES(arena_dup(&shell->arena, shell->last.data, shell->last.size), shell->last.size);
        return ST_OK;
}

static Status run_explain(Shell *shell, const char *argument)
{
        const char *rest, *word = first_word(shell, argument, &rest);
        bool analyze = strcmp(word, "analyze") == 0;
        Bytes statement = statement_of(analyze ? rest : argument);
        TRY(remember_or_recall(shell, &statement));
        if (statement.size == 0)
                return status_hint(status_new(ERR_INVALID, "there is no query to explain"),
                                   "\\explain r.table(\"t\").filter({a: 1})");
        return shell_run_with(shell, statement, "explain", analyze ? "analyze" : "true", NULL, 0);
}

/* One picture: what fits on the screen of what the query gives now. */
static Status draw(Shell *shell, Bytes query, double seconds)
{
        Sink *terminal = &shell->terminal, memory;
        char now[64];
        sink_measure(terminal);
        sink_init_memory(&memory, terminal);
        time_t clock = (time_t)(os_wall_us(os_posix()) / 1000000);
        struct tm local;
        localtime_r(&clock, &local);
        strftime(now, sizeof now, "%H:%M:%S", &local);
        Status st = shell_run_with(shell, query, NULL, NULL, &memory, SHELL_WATCH_MAX_ROWS);
        if (shell->failed) { /* a picture would hide the error */
                sink_done(&memory);
                return st;
        }
        if (terminal->terminal)
                st = st ? st : sink_str(terminal, "\x1b[H");
        st = st ? st
                : sink_printf(terminal, "every %g s, at %s; Ctrl-C ends%s\n", seconds, now,
                              terminal->terminal ? "\x1b[K" : "");
        size_t lines = 1;
        for (size_t from = 0; st == ST_OK && from < memory.out.size;) {
                const uint8_t *line = memory.out.data + from, *end = memchr(line, '\n', memory.out.size - from);
                size_t size = end ? (size_t)(end - line) : memory.out.size - from;
                if (terminal->terminal && ++lines >= terminal->lines)
                        break;
                st = sink_write(terminal, line, size);
                st = st ? st : sink_str(terminal, terminal->terminal ? "\x1b[K\n" : "\n");
                from += size + 1;
        }
        if (terminal->terminal)
                st = st ? st : sink_str(terminal, "\x1b[J");
        st = st ? st : sink_flush(terminal);
        sink_done(&memory);
        return st;
}

static Status run_watch(Shell *shell, const char *argument)
{
        char *end;
        double seconds = strtod(argument, &end);
        if (end == argument || (*end && !isspace((unsigned char)*end))) {
                seconds = 2;
                end = (char *)argument;
        }
        Bytes query = statement_of(end);
        TRY(remember_or_recall(shell, &query));
        if (query.size == 0 || !(seconds >= 0.1 && seconds <= 86400))
                return status_hint(status_new(ERR_INVALID, "\\watch needs a query, and 0.1 to 86400 seconds"),
                                   "\\watch 2 r.table(\"t\").count()");
        if (shell->terminal.terminal)
                TRY(sink_str(&shell->terminal, "\x1b[2J"));
        TRY(sink_flush(&shell->terminal));
        bool failed = shell->failed;
        shell->failed = false;
        ArenaMark mark = arena_mark(&shell->arena);
        while (!shell->failed) {
                struct pollfd waited = {.fd = interrupt_fd(), .events = POLLIN};
                Status st = draw(shell, query, seconds);
                if (status_code(st) == ERR_CANCELLED)
                        st = status_free(st);
                TRY(st);
                arena_rewind(&shell->arena, mark);
                if (shell->failed || interrupt_came() || poll(&waited, 1, (int)(seconds * 1000)) != 0)
                        break;
        }
        interrupt_clear();
        shell->failed |= failed;
        return ST_OK;
}

/* --- files --- */

static Status run_output(Shell *shell, const char *argument)
{
        if (shell->file_name) {
                Status st = sink_settle(&shell->file);
                if (close(shell->file.fd) != 0 && st == ST_OK)
                        st = status_errno(errno, "cannot write %s", shell->file_name);
                sink_done(&shell->file);
                mem_free(shell->file_name);
                shell->file_name = NULL;
                TRY(st);
        }
        if (!*argument)
                return ST_OK;
        int fd = open(argument, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
        if (fd < 0)
                return status_errno(errno, "cannot write %s", argument);
        shell->file_name = mem_strdup(argument);
        if (!shell->file_name) {
                close(fd);
                return status_nomem();
        }
        sink_init(&shell->file, fd);
        return ST_OK;
}

static Status run_include(Shell *shell, const char *argument)
{
        if (!*argument)
                return status_hint(status_new(ERR_INVALID, "\\i needs the name of a file"), "\\i report.reql");
        if (shell->nesting == SHELL_NESTING_MAX)
                return status_new(ERR_LIMIT, "files that run files: %d deep is the most", SHELL_NESTING_MAX);
        FILE *file = fopen(argument, "re");
        if (!file)
                return status_errno(errno, "cannot read %s", argument);
        shell->nesting++;
        Status st = shell_run_stream(shell, file);
        shell->nesting--;
        fclose(file);
        return st;
}

/* Runs $EDITOR on the file and waits. Ctrl-C is the editor's meanwhile. */
static Status run_editor(const char *path)
{
        const char *editor = getenv("VISUAL");
        char command[4096];
        pid_t pid;
        int status = 0;
        editor = editor && *editor ? editor : getenv("EDITOR");
        editor = editor && *editor ? editor : "vi";
        if (snprintf(command, sizeof command, "%s \"$0\"", editor) >= (int)sizeof command)
                return status_new(ERR_LIMIT, "the name of the editor is too long");
        char *argv[] = {(char *)"sh", (char *)"-c", command, (char *)path, NULL};
        posix_spawnattr_t attributes;
        sigset_t defaults, none;
        sigemptyset(&none);
        sigemptyset(&defaults);
        sigaddset(&defaults, SIGPIPE);
        posix_spawnattr_init(&attributes);
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
        posix_spawnattr_setsigdefault(&attributes, &defaults);
        posix_spawnattr_setsigmask(&attributes, &none);
        int error = posix_spawn(&pid, "/bin/sh", NULL, &attributes, argv, environ);
        posix_spawnattr_destroy(&attributes);
        if (error)
                return status_errno(error, "cannot run %s", editor);
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        interrupt_clear();
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
                return status_hint(status_new(ERR_IO, "the editor failed: %s", editor),
                                   "EDITOR in the environment names another");
        return ST_OK;
}

static Status read_back(const char *path, Buf *text)
{
        FILE *file = fopen(path, "re");
        Status st = file ? ST_OK : status_errno(errno, "cannot read %s", path);
        while (st == ST_OK) {
                st = buf_reserve(text, 4096);
                size_t n = st ? 0 : fread(text->data + text->size, 1, text->capacity - text->size, file);
                text->size += n;
                if (n == 0)
                        break;
        }
        if (file)
                fclose(file);
        return st;
}

static Status edit(Shell *shell, const char *path, int fd)
{
        Buf text;
        buf_init(&text, SHELL_TEXT_MAX_BYTES);
        FILE *file = fdopen(fd, "w");
        if (!file) {
                close(fd);
                return status_errno(errno, "cannot write %s", path);
        }
        fprintf(file, "%.*s\n", (int)shell->last.size, (const char *)shell->last.data);
        Status st = fclose(file) == 0 ? ST_OK : status_errno(errno, "cannot write %s", path);
        st = st ? st : run_editor(path);
        st = st ? st : read_back(path, &text);
        Bytes statement = st ? BYTES_NONE : statement_trim(BYTES(text.data, text.size));
        if (statement.size == 0 || bytes_equal(statement, BYTES(shell->last.data, shell->last.size))) {
                if (st == ST_OK)
                        say(shell, "nothing was changed");
        } else {
                if (shell->editor)
                        editor_remember(shell->editor, statement);
                printf("%.*s\n", (int)statement.size, (const char *)statement.data);
                FILE *again = fopen(path, "re");
                if (again) {
                        st = shell_run_stream(shell, again);
                        fclose(again);
                }
        }
        buf_done(&text);
        return st;
}

static Status run_edit(Shell *shell, const char *argument)
{
        const char *directory = getenv("TMPDIR");
        (void)argument;
        char *path =
                arena_printf(&shell->arena, "%s/photondb-XXXXXX.reql", directory && *directory ? directory : "/tmp");
        path = mem_strdup(path); /* the arena forgets with each statement that runs */
        if (!path)
                return status_nomem();
        int fd = mkostemps(path, 5, O_CLOEXEC); /* 0600 */
        Status st = fd < 0 ? status_errno(errno, "cannot make a file %s", path) : edit(shell, path, fd);
        if (fd >= 0)
                unlink(path);
        mem_free(path);
        return st;
}

/* --- help --- */

static Status run_help(Shell *shell, const char *argument)
{
        (void)argument;
        Sink *sink = shell_sink(shell);
        for (const ShellCommand *command = shell_commands; command->name; command++) {
                char left[48];
                snprintf(left, sizeof left, "\\%s%s%s", command->name, *command->argument ? " " : "",
                         command->argument);
                TRY(sink_printf(sink, "  %-30s %s\n", left, command->help));
        }
        TRY(sink_str(sink,
                     "\nTAB completes terms, names of tables, indexes and fields. A statement ends with its line when "
                     "no bracket\n"
                     "is open, or with ;. A line that ends with a dot goes on. Up and down are what was typed before, "
                     "Ctrl-R\n"
                     "looks in it; a line that begins with a space is not kept. Ctrl-C stops the query that runs.\n"));
        return sink_flush(sink);
}

static Status run_terms(Shell *shell, const char *argument)
{
        return shell_help_terms(shell, argument);
}

/* --- the list --- */

static const ShellCommand shell_commands[] = {
        {"?", "", run_help, "this list"},
        {"h", "[TERM]", run_terms, "how a term is used; all terms"},
        {"q", "", run_quit, "end (also Ctrl-D)"},
        {"l", "", shell_list_databases, "databases"},
        {"c", "[DATABASE]", run_connect, "go to a database; without a name: connect again"},
        {"dt", "[DATABASE]", shell_list_tables, "its tables, with rows and sizes"},
        {"d", "TABLE", shell_describe_table, "a table: key, indexes, settings, fields of a sample"},
        {"di", "[TABLE]", shell_list_indexes, "indexes of the database, or of a table"},
        {"jobs", "", shell_list_jobs, "what the server is doing"},
        {"kill", "ID", shell_kill_job, "end a query of \\jobs; the beginning of its id is enough"},
        {"conninfo", "", shell_show_connection, "server, user, database"},
        {"explain", "[analyze] [QUERY]", run_explain, "how the query would run; analyze: how it ran"},
        {"watch", "[SECONDS] [QUERY]", run_watch, "run it again and again"},
        {"timing", "[on|off]", run_timing, "show how long queries take"},
        {"x", "[on|off]", run_expanded, "rows as lines `field | value`"},
        {"format", "[FORMAT]", run_format, "table, pretty, json, jsonl, csv, raw"},
        {"pager", "[on|off|PROGRAM]", run_pager, "page long results"},
        {"o", "[FILE]", run_output, "write results to a file; without a name: to the terminal again"},
        {"i", "FILE", run_include, "run the statements in a file"},
        {"e", "", run_edit, "edit the last statement in $EDITOR, then run it"},
        {"set", "[OPTION VALUE]", run_set, "a global option for all queries: array_limit, durability, profile ..."},
        {"unset", "OPTION", run_unset, "no longer"},
        {NULL},
};

const char *shell_command_name(size_t n)
{
        return n < ELEMENTS(shell_commands) ? shell_commands[n].name : NULL;
}

static Status unknown_command(const char *name)
{
        const char *names[ELEMENTS(shell_commands)];
        for (size_t i = 0; i < ELEMENTS(shell_commands); i++)
                names[i] = shell_commands[i].name;
        Status st = status_new(ERR_INVALID, "there is no command \\%s", name);
        const char *nearest = strlen(name) > 1 ? options_nearest(name, names) : NULL;
        return nearest ? status_hint(st, "did you mean \\%s?", nearest) : status_hint(st, "\\? lists them");
}

Status shell_command_run(Shell *shell, Bytes line)
{
        while (line.size && strchr(" \t\r;", line.data[line.size - 1]))
                line.size--;
        const char *argument, *text = arena_dup(&shell->arena, line.data + 1, line.size - 1);
        const char *name = first_word(shell, text, &argument);
        const ShellCommand *command = shell_commands;
        while (command->name && strcmp(command->name, name) != 0)
                command++;
        fflush(stdout);
        Status st = command->name ? command->run(shell, argument) : unknown_command(name);
        StatusCode code = status_code(st);
        /* what ends the shell: it cannot write its results */
        bool fatal = code == ERR_CLOSED && !shell->terminal.terminal && shell->remote;
        if (st == ST_OK || fatal)
                return st;
        if (code == ERR_CANCELLED) {
                status_ignore(st);
                fputs("(stopped)\n", stderr);
                return ST_OK;
        }
        shell_error(shell, st);
        return ST_OK;
}
