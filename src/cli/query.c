/* query.c - `photondb query`: statements in text ReQL from the command line, a file or the standard input. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "cli/ask.h"
#include "cli/command.h"
#include "cli/interrupt.h"
#include "cli/profile.h"
#include "cli/statement.h"

enum { TEXT_MAX_BYTES = 64 << 20 };
enum { EXPLAIN_NO, EXPLAIN_PLAN, EXPLAIN_ANALYZE };
enum { FORMAT_AUTO = DISPLAY_RAW + 1 };

typedef struct QueryValues {
        RemoteOptions remote;
        const char *file, *db;
        OptionList options;
        int format, explain;
        int64_t limit;
        bool profile, timing, expanded;
} QueryValues;

static const Option query_options[] = {
        {"file", OPTION_TEXT, offsetof(QueryValues, file), "FILE", NULL, NULL, 0, 0, "the queries are in this file",
         .letter = 'f'},
        {"format", OPTION_CHOICE, offsetof(QueryValues, format), "FORMAT", "auto", DISPLAY_FORMATS " auto", 0, 0,
         "auto is table on a terminal, else jsonl"},
        {"expanded", OPTION_FLAG, offsetof(QueryValues, expanded), NULL, NULL, NULL, 0, 0,
         "table: each row as lines `field | value`"},
        {"limit", OPTION_NUMBER, offsetof(QueryValues, limit), "N", "0", NULL, 0, INT64_MAX,
         "stop each query after N rows; 0 is all"},
        {"db", OPTION_TEXT, offsetof(QueryValues, db), "NAME", NULL, NULL, 0, 0,
         "the database of r.table(...) without r.db(...) [test]"},
        {"opt", OPTION_LIST, offsetof(QueryValues, options), "NAME=VALUE", NULL, NULL, 0, 0,
         "a global option, again and again: array_limit=200000, durability=soft, read_mode=outdated"},
        {"explain", OPTION_CHOICE, offsetof(QueryValues, explain), "analyze", "no", "no plan analyze", 0, 0,
         "show the plan, not the rows; =analyze runs it and counts", .bare = "plan"},
        {"profile", OPTION_FLAG, offsetof(QueryValues, profile), NULL, NULL, NULL, 0, 0,
         "show on stderr what the server did, with times"},
        {"timing", OPTION_FLAG, offsetof(QueryValues, timing), NULL, NULL, NULL, 0, 0,
         "show on stderr how long each query took"},
        REMOTE_OPTIONS(QueryValues),
        {NULL},
};

typedef struct QueryRun {
        const QueryValues *values;
        Remote *remote;
        Sink sink;
        Buf options;
        Arena arena; /* of one statement */
} QueryRun;

static Status read_stream(FILE *file, const char *name, Buf *text)
{
        for (;;) {
                TRY_CTX(buf_reserve(text, 64 * 1024), "reading %s", name);
                size_t n = fread(text->data + text->size, 1, text->capacity - text->size, file);
                text->size += n;
                if (n == 0)
                        return ferror(file) ? status_errno(errno, "cannot read %s", name) : ST_OK;
        }
}

static Status read_text(const QueryValues *values, const Invocation *invocation, Buf *text)
{
        const char *file = values->file, *word = invocation->word_count ? invocation->words[0] : NULL;
        if (word && strcmp(word, "-") == 0) {
                if (file)
                        return status_new(ERR_INVALID, "the query is either in a file or on the standard input");
                file = "-";
                word = NULL;
        }
        if (file && word)
                return status_new(ERR_INVALID, "the query is either in a file or on the command line");
        if (word)
                return buf_append_str(text, word);
        if (!file)
                return status_hint(status_new(ERR_INVALID, "photondb query needs a query"),
                                   "photondb query 'r.dbList()', or --file FILE, or - for the standard input");
        if (strcmp(file, "-") == 0)
                return read_stream(stdin, "the standard input", text);
        FILE *stream = fopen(file, "re");
        if (!stream)
                return status_errno(errno, "cannot read %s", file);
        Status st = read_stream(stream, file, text);
        fclose(stream);
        return st;
}

static Status global_options(const QueryValues *values, Buf *options)
{
        if (values->db)
                TRY(ask_option(options, "db", values->db));
        if (values->profile)
                TRY(ask_option(options, "profile", "true"));
        if (values->explain != EXPLAIN_NO)
                TRY(ask_option(options, "explain", values->explain == EXPLAIN_ANALYZE ? "analyze" : "true"));
        for (size_t i = 0; i < values->options.count; i++) {
                char name[64];
                const char *item = values->options.items[i], *equals = strchr(item, '=');
                size_t length = equals ? (size_t)(equals - item) : 0;
                if (length == 0 || length >= sizeof name)
                        return status_hint(status_new(ERR_INVALID, "--opt: \"%s\" is not NAME=VALUE", item),
                                           "for example --opt array_limit=200000");
                memcpy(name, item, length);
                name[length] = 0;
                TRY(ask_option(options, name, equals + 1));
        }
        return buf_append_byte(options, 0);
}

static DisplayStyle style_of(const QueryValues *values, const Sink *sink)
{
        DisplayStyle style = {.format = (DisplayFormat)values->format,
                              .expanded = values->expanded,
                              .limit = (uint64_t)values->limit};
        if (values->format == FORMAT_AUTO)
                style.format = sink->terminal ? DISPLAY_TABLE : DISPLAY_JSONL;
        if (values->explain != EXPLAIN_NO) {
                style.plan = true;
                if (values->format == FORMAT_AUTO)
                        style.format = DISPLAY_TABLE;
        }
        style.footer = sink->terminal && !values->remote.quiet;
        style.columns = sink->terminal ? sink->columns : 0;
        const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
        style.color = sink->terminal && !(no_color && *no_color) && term && strcmp(term, "dumb") != 0;
        return style;
}

static void tell_about(const QueryRun *run, const Outcome *outcome, Display *display)
{
        const char *hidden = display_hidden_fields(display);
        if (run->values->remote.quiet)
                return;
        if (hidden)
                output_warning("not shown: %s; --format json shows all", hidden);
        if (run->values->timing)
                fprintf(stderr, "%llu row%s in %.3f ms\n", (unsigned long long)outcome->rows,
                        outcome->rows == 1 ? "" : "s", outcome->seconds * 1000);
}

static Status show_profile(Bytes profile)
{
        Sink sink;
        sink_init(&sink, STDERR_FILENO);
        Status st = profile_show(profile, &sink);
        st = st ? st : sink_settle(&sink);
        sink_done(&sink);
        return st;
}

/* *ret_go_on: with the next statement. */
static Status run_statement(QueryRun *run, Bytes text, size_t line, size_t column, int *ret_exit, bool *ret_go_on)
{
        DisplayStyle style = style_of(run->values, &run->sink);
        _cleanup_(display_freep) Display *display = NULL;
        Question question = {.options = (const char *)run->options.data, .arena = &run->arena};
        Outcome outcome;
        *ret_go_on = false;
        arena_reset(&run->arena);
        question.text = text = ask_placed(text, line, column, &run->arena);
        TRY(display_new(&style, &run->sink, &display));
        Status st = ask(run->remote, &question, display, &outcome);
        if (!outcome.unread) { /* what came before an error is a result, too */
                Status ended = st ? display_settle(display) : display_end(display);
                ended = ended ? ended : sink_settle(&run->sink);
                if (status_code(ended) == ERR_CLOSED) {
                        outcome.unread = true;
                        ended = status_free(ended);
                }
                if (st)
                        status_ignore(ended);
                else
                        st = ended;
        }
        if (st) {
                ask_print_error("photondb: ", st, text, outcome.at);
                *ret_exit = EXIT_FAILED;
                return ST_OK;
        }
        if (outcome.stopped) {
                if (!run->values->remote.quiet)
                        fputs(outcome.lost ? "photondb: interrupted; the connection was given up\n"
                                           : "photondb: interrupted; the query was stopped\n",
                              stderr);
                *ret_exit = EXIT_INTERRUPTED;
                return ST_OK;
        }
        if (outcome.unread)
                return ST_OK;
        tell_about(run, &outcome, display);
        if (run->values->profile && outcome.profile.data)
                TRY(show_profile(outcome.profile));
        *ret_go_on = true;
        return ST_OK;
}

static Status run_statements(QueryRun *run, Bytes text, int *ret_exit)
{
        bool go_on = true, any = false;
        for (size_t at = 0; at < text.size && go_on;) {
                StatementScan scan = statement_scan(BYTES(text.data + at, text.size - at));
                Bytes statement = statement_trim(BYTES(text.data + at, scan.size));
                if (!scan.blank) {
                        size_t line, column;
                        if (scan.unfinished) /* the server says best what is missing, and where */
                                statement =
                                        BYTES(statement.data, (size_t)(text.data + at + scan.size - statement.data));
                        statement_place(text, (size_t)(statement.data - text.data), &line, &column);
                        TRY(run_statement(run, statement, line, column, ret_exit, &go_on));
                        any = true;
                }
                at += scan.next;
        }
        if (!any) {
                *ret_exit = EXIT_USAGE;
                return status_new(ERR_INVALID, "there is no query in it");
        }
        return ST_OK;
}

static Status run_query(const Invocation *invocation, int *ret_exit)
{
        const QueryValues *values = invocation->values;
        QueryRun run = {.values = values};
        Buf text;
        arena_init(&run.arena, 0);
        buf_init(&text, TEXT_MAX_BYTES);
        buf_init(&run.options, 1 << 20);
        *ret_exit = EXIT_USAGE;
        Status st = read_text(values, invocation, &text);
        st = st ? st : global_options(values, &run.options);
        if (st == ST_OK) {
                *ret_exit = EXIT_DONE;
                st = remote_open(&values->remote, &run.remote, ret_exit);
        }
        if (st == ST_OK) {
                sink_init(&run.sink, STDOUT_FILENO);
                st = interrupt_begin();
                st = st ? st : run_statements(&run, BYTES(text.data, text.size), ret_exit);
                interrupt_end();
                sink_done(&run.sink);
        }
        remote_close(run.remote);
        buf_done(&run.options);
        buf_done(&text);
        arena_done(&run.arena);
        return st;
}

const Command query_command = {
        .name = "query",
        .words = "[QUERY]",
        .most_words = 1,
        .summary = "run queries in text ReQL",
        .details =
                "Several queries are separated by semicolons; the first that fails ends the run. Rows are written as "
                "they come, so a\n"
                "result may have any size. Ctrl-C stops the query on the server.",
        .examples = "photondb query 'r.db(\"shop\").table(\"users\").filter({city: \"Rome\"}).orderBy(\"name\")'\n"
                    "photondb query --db shop 'r.table(\"users\").count(); r.table(\"orders\").count()'\n"
                    "photondb query --format csv -f report.reql > report.csv\n"
                    "echo 'r.table(\"users\").info()' | photondb query -",
        .options = query_options,
        .values_bytes = sizeof(QueryValues),
        .run = run_query,
};
