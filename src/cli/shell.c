/* shell.c - `photondb shell`: statements from a terminal, or from whatever the standard input is.
 *
 *   editor_read / getline -> `\...`: shell_commands.c
 *                         -> lines until the statement is whole (statement.h) -> ask() -> display -> sink or pager
 */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/cell.h"
#include "cli/interrupt.h"
#include "cli/profile.h"
#include "cli/shell_int.h"
#include "cli/statement.h"
#include "value/json.h"

enum { FORMAT_AUTO = DISPLAY_RAW + 1 };

static const Option shell_options[] = {
        {"db", OPTION_TEXT, offsetof(ShellValues, db), "NAME", "test", NULL, 0, 0,
         "the database of r.table(...) without r.db(...)"},
        {"format", OPTION_CHOICE, offsetof(ShellValues, format), "FORMAT", "auto", DISPLAY_FORMATS " auto", 0, 0,
         "auto is table on a terminal, else jsonl"},
        {"history", OPTION_TEXT, offsetof(ShellValues, history), "FILE", NULL, NULL, 0, 0,
         "what was typed, for next time; none keeps nothing [~/.local/state/photondb/history]"},
        {"no-pager", OPTION_FLAG, offsetof(ShellValues, no_pager), NULL, NULL, NULL, 0, 0, "long results scroll by"},
        REMOTE_OPTIONS(ShellValues),
        {NULL},
};

void shell_error(Shell *shell, Status st)
{
        shell->failed = true;
        ask_print_error("error: ", st, BYTES_NONE, (TextPlace){0});
}

/* --- the connection --- */

static Status connection_hint(const Shell *shell, Status st)
{
        if (status_code(st) == ERR_IO && strstr(status_message(st), "cannot connect"))
                return status_hint(st, "is the server running? photondb serve, or ./scripts/serve in the sources");
        (void)shell;
        return st;
}

/* Between statements the server says nothing: what there is to read is the end. */
static bool has_ended(const Remote *remote)
{
        struct pollfd looked = {.fd = client_fd(remote->client), .events = POLLIN};
        return poll(&looked, 1, 0) > 0;
}

Status shell_connect(Shell *shell)
{
        int ignored = EXIT_DONE;
        if (shell->remote && has_ended(shell->remote))
                shell_disconnect(shell);
        if (shell->remote)
                return ST_OK;
        TRY(connection_hint(shell, remote_open(&shell->values->remote, &shell->remote, &ignored)));
        if (shell->connected_before && !shell->values->remote.quiet)
                fputs("(connected again)\n", stderr);
        shell->connected_before = true;
        return ST_OK;
}

void shell_disconnect(Shell *shell)
{
        shell->remote = remote_close(shell->remote);
}

static void lose_connection(Shell *shell)
{
        shell_disconnect(shell);
        if (!shell->values->remote.quiet)
                fputs("(the connection is gone; the next statement connects again)\n", stderr);
}

Status shell_ask(Shell *shell, int timeout_ms, Value *ret_value, const char *format, ...)
{
        bool lost = false;
        va_list args;
        va_start(args, format);
        const char *query = arena_vprintf(&shell->arena, format, args);
        va_end(args);
        TRY(shell_connect(shell));
        Arena *arena = &shell->remote->arena;
        arena_reset(arena);
        Status st = ask_value(shell->remote, BYTES_STR(query), timeout_ms, ret_value, &lost);
        if (st == ST_OK)
                *ret_value = value_copy(*ret_value, &shell->arena);
        if (lost)
                lose_connection(shell);
        return st;
}

const char *shell_json(Shell *shell, Bytes text)
{
        Bytes json = json_text(value_string(text), &shell->arena);
        return arena_dup(&shell->arena, json.data, json.size);
}

Status shell_table_name(Shell *shell, const char *text, TableName *ret_name)
{
        if (!strchr(text, '.') && *text)
                return table_name_make(shell->db, text, &shell->arena, ret_name);
        return table_name_parse(text, &shell->arena, ret_name);
}

/* --- how things are shown --- */

Sink *shell_sink(Shell *shell)
{
        return shell->file_name ? &shell->file : &shell->terminal;
}

DisplayStyle shell_style(const Shell *shell, const Sink *sink)
{
        return (DisplayStyle){.format = shell->format,
                              .expanded = shell->expanded,
                              .footer = true,
                              .color = sink->terminal && shell->color,
                              .columns = sink->terminal ? sink->columns : 0};
}

void shell_begin_output(Shell *shell, Sink *sink)
{
        fflush(stdout);
        sink_measure(sink);
        sink->pager = shell->pager_on ? shell->pager : NULL;
        sink_page(sink);
}

Status shell_end_output(Shell *shell, Sink *sink, Status st)
{
        Status settled = sink_settle(sink);
        if (sink->pager_failed && shell->pager_on) {
                output_warning("the pager cannot be run: %s", shell->pager);
                shell->pager_on = sink->pager_failed = false;
        }
        if (status_code(settled) == ERR_CLOSED || status_code(settled) == ERR_CANCELLED)
                settled = sink == &shell->terminal && !sink->terminal ? settled : status_free(settled);
        if (st) {
                status_ignore(settled);
                return st;
        }
        return settled;
}

Status shell_show_rows(Shell *shell, Value rows, const char *const *order)
{
        Sink *sink = shell_sink(shell);
        _cleanup_(display_freep) Display *display = NULL;
        shell_begin_output(shell, sink);
        DisplayStyle style = shell_style(shell, sink);
        style.order = order;
        Status st = display_new(&style, sink, &display);
        st = st ? st : display_atom(display, json_text(rows, &shell->arena));
        st = st ? st : display_end(display);
        if (status_code(st) == ERR_CLOSED || status_code(st) == ERR_CANCELLED)
                st = status_free(st);
        return shell_end_output(shell, sink, st);
}

static Status make_options(Shell *shell, const char *option, const char *value, Buf *options)
{
        TRY(ask_option(options, "db", shell->db));
        for (size_t i = 0; i < shell->option_count; i++)
                TRY(ask_option(options, shell->options[i].name, shell->options[i].value));
        if (option)
                TRY(ask_option(options, option, value));
        return buf_append_byte(options, 0);
}

static void show_timing(const Outcome *outcome)
{
        fprintf(stderr, "time: %.3f ms\n", outcome->seconds * 1000);
}

static void tell_hidden(Shell *shell, Display *display)
{
        const char *hidden = display ? display_hidden_fields(display) : NULL;
        if (hidden && !shell->values->remote.quiet)
                fprintf(stderr, "(not shown: %s; \\x or \\format json shows all)\n", hidden);
}

static Status show(Shell *shell, const Question *question, const DisplayStyle *style, Sink *sink, Outcome *outcome,
                   Display **ret_display)
{
        TRY(display_new(style, sink, ret_display));
        Status st = ask(shell->remote, question, *ret_display, outcome);
        if (outcome->unread)
                return st;
        Status ended = st ? display_settle(*ret_display) : display_end(*ret_display);
        if (status_code(ended) == ERR_CLOSED || status_code(ended) == ERR_CANCELLED)
                ended = status_free(ended);
        if (st) {
                status_ignore(ended);
                return st;
        }
        return ended;
}

Status shell_run_with(Shell *shell, Bytes text, const char *option, const char *value, Sink *sink, uint64_t limit)
{
        bool own = !sink;
        Outcome outcome = {0};
        _cleanup_(display_freep) Display *display = NULL;
        Buf options;
        interrupt_clear();
        sink = sink ? sink : shell_sink(shell);
        buf_init(&options, 1 << 20);
        Status st = make_options(shell, option, value, &options);
        st = st ? st : shell_connect(shell);
        if (st == ST_OK) {
                Question question = {.text = text, .options = (const char *)options.data, .arena = &shell->arena};
                if (own)
                        shell_begin_output(shell, sink);
                DisplayStyle style = shell_style(shell, sink);
                style.limit = limit;
                style.plan = option && strcmp(option, "explain") == 0;
                st = show(shell, &question, &style, sink, &outcome, &display);
                if (own)
                        st = shell_end_output(shell, sink, st);
        }
        buf_done(&options);
        if (st) {
                shell->failed = true;
                ask_print_error("error: ", st, text, outcome.at);
        }
        if (outcome.stopped)
                fputs("(stopped)\n", stderr);
        if (outcome.lost)
                lose_connection(shell);
        tell_hidden(shell, display);
        if (shell->timing && own)
                show_timing(&outcome);
        if (outcome.profile.data && own) {
                st = profile_show(outcome.profile, sink);
                return shell_end_output(shell, sink, st);
        }
        return ST_OK;
}

Status shell_run(Shell *shell, Bytes text, size_t line, size_t column)
{
        arena_reset(&shell->arena);
        buf_clear(&shell->last);
        TRY(buf_append(&shell->last, text.data, text.size));
        return shell_run_with(shell, ask_placed(text, line, column, &shell->arena), NULL, NULL, NULL, 0);
}

/* --- statements and commands from text --- */

/* A line that is a command if no statement is open. */
static bool is_command(Bytes text)
{
        size_t at = 0;
        while (at < text.size &&
               (text.data[at] == ' ' || text.data[at] == '\t' || text.data[at] == '\n' || text.data[at] == '\r'))
                at++;
        return at < text.size && text.data[at] == '\\';
}

static Status run_command_line(Shell *shell, Bytes text, size_t *ret_next)
{
        const uint8_t *end = text.data + text.size, *from = text.data;
        while (*from != '\\')
                from++;
        const uint8_t *to = memchr(from, '\n', (size_t)(end - from));
        to = to ? to : end;
        *ret_next = (size_t)(to - text.data) + (to < end);
        arena_reset(&shell->arena);
        interrupt_clear();
        return shell_command_run(shell, BYTES(from, (size_t)(to - from)));
}

/* Runs what `text` holds whole: `last` says that no more lines will come, or that the lines entered so far are to be
 * taken as they are. *ret_used: bytes that are done with. */
static Status run_text(Shell *shell, Bytes text, bool last, size_t first_line, size_t *ret_used)
{
        size_t at = 0;
        while (at < text.size && !shell->quit && !interrupt_ends()) {
                Bytes rest = BYTES(text.data + at, text.size - at);
                if (is_command(rest)) {
                        size_t next;
                        TRY(run_command_line(shell, rest, &next));
                        at += next;
                        continue;
                }
                StatementScan scan = statement_scan_lines(rest);
                bool whole = scan.ended || scan.next < rest.size || (last && !scan.unfinished);
                if (scan.blank && !scan.ended && scan.next == rest.size) {
                        at += last ? scan.next : 0;
                        break;
                }
                if (!whole)
                        break;
                Bytes statement = statement_trim(BYTES(rest.data, scan.size));
                if (!scan.blank) {
                        size_t line, column;
                        statement_place(text, (size_t)(statement.data - text.data), &line, &column);
                        TRY(shell_run(shell, statement, first_line + line - 1, column));
                }
                at += scan.next;
        }
        *ret_used = at;
        return ST_OK;
}

static size_t count_lines(Bytes text)
{
        size_t count = 0;
        for (size_t i = 0; i < text.size; i++)
                count += text.data[i] == '\n';
        return count;
}

/* What is still open at the end goes to the server as it is: it says best what is missing. */
static Status run_rest(Shell *shell, Bytes text, size_t first_line)
{
        size_t line, column;
        Bytes statement = statement_trim(text);
        if (statement.size == 0 || shell->quit)
                return ST_OK;
        statement_place(text, (size_t)(statement.data - text.data), &line, &column);
        return shell_run(shell, BYTES(statement.data, (size_t)(text.data + text.size - statement.data)),
                         first_line + line - 1, column);
}

Status shell_run_stream(Shell *shell, FILE *stream)
{
        Buf text;
        char *line = NULL;
        size_t capacity = 0, number = 1, used;
        ssize_t length;
        Status st = ST_OK;
        buf_init(&text, SHELL_TEXT_MAX_BYTES);
        while (st == ST_OK && !shell->quit && !interrupt_ends() && (length = getline(&line, &capacity, stream)) >= 0) {
                st = buf_append(&text, line, (size_t)length);
                st = st ? st : run_text(shell, BYTES(text.data, text.size), false, number, &used);
                if (st == ST_OK) {
                        number += count_lines(BYTES(text.data, used));
                        buf_consume(&text, used);
                }
        }
        if (st == ST_OK && ferror(stream) && errno != EINTR)
                st = status_errno(errno, "cannot read");
        if (st == ST_OK)
                st = run_text(shell, BYTES(text.data, text.size), true, number, &used);
        if (st == ST_OK && !interrupt_ends())
                st = run_rest(shell, BYTES(text.data + used, text.size - used),
                              number + count_lines(BYTES(text.data, used)));
        free(line);
        buf_done(&text);
        return st;
}

/* --- from a terminal --- */

static const char *prompt_of(Shell *shell, Bytes entered)
{
        StatementScan scan = statement_scan_lines(entered);
        size_t width = strlen(shell->db) + strlen("photon:");
        if (entered.size == 0 || scan.blank)
                return arena_printf(&shell->arena, "photon:%s%s ", shell->db, shell->remote ? ">" : "!");
        return arena_printf(&shell->arena, "%*c> ", (int)width, scan.open ? scan.open : '.');
}

static Status read_terminal(Shell *shell)
{
        Buf text, line;
        size_t used;
        Status st = ST_OK;
        buf_init(&text, SHELL_TEXT_MAX_BYTES);
        buf_init(&line, SHELL_TEXT_MAX_BYTES);
        while (st == ST_OK && !shell->quit && !interrupt_ends()) {
                EditorEvent event;
                arena_reset(&shell->arena);
                st = editor_read(shell->editor, prompt_of(shell, BYTES(text.data, text.size)),
                                 BYTES(text.data, text.size), &line, &event);
                if (st || event == EDITOR_END)
                        break;
                if (event == EDITOR_CANCELLED) {
                        fputs("^C\n", stdout);
                        buf_clear(&text);
                        continue;
                }
                st = buf_append(&text, line.data, line.size);
                StatementScan scan = statement_scan_lines(BYTES(text.data, text.size));
                bool command = is_command(BYTES(text.data, text.size));
                if (st == ST_OK && (command || !scan.unfinished || scan.next < text.size)) {
                        Bytes entered = BYTES(text.data, text.size);
                        while (entered.size && entered.data[entered.size - 1] == ' ')
                                entered.size--;
                        if (!scan.blank || command)
                                editor_remember(shell->editor, entered);
                        st = run_text(shell, BYTES(text.data, text.size), true, 1, &used);
                        if (st == ST_OK)
                                buf_consume(&text, used);
                }
                if (st == ST_OK && text.size > 0)
                        st = buf_append_byte(&text, '\n');
        }
        if (st == ST_OK && !shell->quit)
                putchar('\n');
        buf_done(&text);
        buf_done(&line);
        return st;
}

static void greet(Shell *shell)
{
        const char *server;
        Status st = shell_describe_server(shell, &server);
        if (shell->values->remote.quiet || st) {
                status_ignore(st);
                return;
        }
        printf("%s\nThe database is %s. A statement ends with its line, or with ; - \\? helps, Ctrl-D ends.\n\n",
               server, shell->db);
}

/* --- beginning and end --- */

static Status choose_pager(Shell *shell)
{
        const char *const wishes[] = {getenv("PHOTONDB_PAGER"), getenv("PAGER"), "less"};
        for (size_t i = 0; i < ELEMENTS(wishes); i++) {
                if (!wishes[i])
                        continue;
                if (!sink_pager_exists(wishes[i])) /* an empty one says: none */
                        return ST_OK;
                shell->pager = mem_strdup(wishes[i]);
                if (!shell->pager)
                        return status_nomem();
                shell->pager_on = !shell->values->no_pager;
                return ST_OK;
        }
        return ST_OK;
}

static Status prepare(Shell *shell)
{
        const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
        const ShellValues *values = shell->values;
        arena_init(&shell->arena, 0);
        buf_init(&shell->last, SHELL_TEXT_MAX_BYTES);
        sink_init(&shell->terminal, STDOUT_FILENO);
        shell->color = !(no_color && *no_color) && term && strcmp(term, "dumb") != 0;
        shell->format = (DisplayFormat)values->format;
        if (values->format == FORMAT_AUTO)
                shell->format = shell->terminal.terminal ? DISPLAY_TABLE : DISPLAY_JSONL;
        shell->db = mem_strdup(values->db);
        if (!shell->db)
                return status_nomem();
        TRY(choose_pager(shell));
        return interrupt_begin();
}

static void finish(Shell *shell)
{
        shell->editor = editor_free(shell->editor);
        interrupt_end();
        shell_disconnect(shell);
        if (shell->file_name) {
                close(shell->file.fd);
                sink_done(&shell->file);
        }
        sink_done(&shell->terminal);
        for (size_t i = 0; i < shell->option_count; i++) {
                mem_free(shell->options[i].name);
                mem_free(shell->options[i].value);
        }
        mem_free(shell->options);
        mem_free(shell->file_name);
        mem_free(shell->pager);
        mem_free(shell->db);
        buf_done(&shell->last);
        arena_done(&shell->arena);
}

static Status start_editor(Shell *shell)
{
        EditorHooks hooks = {.ctx = shell, .complete = shell_complete};
        const char *path = shell->values->history;
        if (!path)
                path = history_path(&shell->arena);
        else if (strcmp(path, "none") == 0)
                path = NULL;
        path = path ? arena_dup(&shell->arena, path, strlen(path)) : NULL;
        return editor_new(&hooks, path, &shell->editor);
}

static Status run_shell(const Invocation *invocation, int *ret_exit)
{
        Shell shell = {.values = invocation->values};
        bool terminal = isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
        Status st = prepare(&shell);
        if (st == ST_OK) {
                st = shell_connect(&shell);
                *ret_exit = st ? EXIT_NO_SERVER : EXIT_DONE;
        }
        if (st == ST_OK && terminal)
                st = start_editor(&shell);
        if (st == ST_OK && terminal) {
                greet(&shell);
                st = read_terminal(&shell);
        } else if (st == ST_OK) {
                st = shell_run_stream(&shell, stdin);
                if (st == ST_OK && shell.failed)
                        *ret_exit = EXIT_FAILED;
                if (status_code(st) == ERR_CLOSED) /* nobody reads on */
                        st = status_free(st);
        }
        if (interrupt_ends())
                *ret_exit = EXIT_INTERRUPTED;
        finish(&shell);
        return st;
}

const Command shell_command = {
        .name = "shell",
        .words = "",
        .summary = "type queries in text ReQL",
        .details = "Completes with TAB, remembers what was typed, pages long results, and stops the running query on "
                   "Ctrl-C. Backslash\n"
                   "commands show what is there: \\? lists them. If the standard input is no terminal, statements are "
                   "read from it.",
        .examples = "photondb shell\n"
                    "photondb shell --host db1.example.com --user ann --password-file ~/.photon --db shop",
        .options = shell_options,
        .values_bytes = sizeof(ShellValues),
        .run = run_shell,
};
