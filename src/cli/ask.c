/* ask.c - see ask.h. */
#define _GNU_SOURCE /* memmem */
#include "cli/ask.h"

#include <inttypes.h>
#include <stdlib.h>

#include "cli/cell.h"
#include "cli/interrupt.h"
#include "cli/jsontext.h"
#include "os/os.h"
#include "value/json.h"

enum {
        TERM_TEXT = 10001,
        QUIET_MS = 1000,      /* so long without rows, what is held for a pager is shown, and who reads is looked at */
        STOP_WAIT_MS = 10000, /* for the answers that are owed after a STOP */
        QUERY_MAX_BYTES = 64 << 20,
};

/* One query under way: how many answers the server owes. */
typedef struct Asking {
        Remote *remote;
        uint64_t token;
        unsigned owed;
        bool lost;
} Asking;

static Status fail_lost(Asking *asking, Status st)
{
        asking->lost |= st != ST_OK;
        return st;
}

static Status send_more(Asking *asking, const char *query)
{
        asking->owed++;
        return fail_lost(asking, client_send_token(asking->remote->client, asking->token, BYTES_STR(query)));
}

/* The next answer to this query; none if Ctrl-C or the time came first. */
static Status receive(Asking *asking, int wake_fd, int timeout_ms, bool *ret_received, Bytes *ret_body)
{
        uint64_t answered;
        do {
                TRY(fail_lost(asking, client_receive_or(asking->remote->client, wake_fd, timeout_ms, ret_received,
                                                        &answered, ret_body)));
        } while (*ret_received && answered != asking->token);
        asking->owed -= *ret_received;
        return ST_OK;
}

/* Ends the query and takes the answers that are owed, so that the next query does not meet them. After another Ctrl-C,
 * or when the server does not come to it, the connection is of no use any more. */
static Status stop(Asking *asking)
{
        if (asking->owed == 0)
                return ST_OK;
        interrupt_clear();
        TRY(send_more(asking, "[3]"));
        while (asking->owed > 0) {
                bool received;
                Bytes body;
                TRY(receive(asking, interrupt_fd(), STOP_WAIT_MS, &received, &body));
                if (!received) {
                        asking->lost = true;
                        return ST_OK;
                }
        }
        return ST_OK;
}

/* --- asking with a display --- */

typedef struct Showing {
        Asking asking;
        const Question *question;
        Display *display;
        Outcome *outcome;
        bool feed; /* it has no end */
} Showing;

static Status show_row(void *ctx, Bytes row)
{
        Showing *showing = ctx;
        TRY(display_row(showing->display, row));
        if (display_is_full(showing->display)) {
                showing->outcome->limited = true;
                return status_new(ERR_CANCELLED, "limit");
        }
        if (interrupt_came()) {
                showing->outcome->stopped = true;
                return status_new(ERR_CANCELLED, "interrupted");
        }
        return ST_OK;
}

static unsigned place_part(Value place, const char *name)
{
        Value number = value_get_str(place, name);
        int64_t n;
        return value_is(number, V_NUMBER) && value_integer(number, &n) && n > 0 && n < INT32_MAX ? (unsigned)n : 0;
}

static TextPlace place_of(Bytes body, Arena *arena)
{
        Bytes text = jsontext_field(body, "at");
        Value place;
        if (!text.data)
                return (TextPlace){0};
        Status st = json_parse_copy(text, JSON_PLAIN, arena, &place);
        if (st || !value_is(place, V_OBJECT)) {
                status_ignore(st);
                return (TextPlace){0};
        }
        return (TextPlace){.line = place_part(place, "line"),
                           .column = place_part(place, "column"),
                           .end_line = place_part(place, "end_line"),
                           .end_column = place_part(place, "end_column")};
}

/* Notes 1 to 4 are kinds of changefeeds. */
static bool is_feed(Bytes body)
{
        Bytes notes = jsontext_field(body, "n");
        for (size_t i = 0; i < notes.size; i++) {
                if (notes.data[i] >= '1' && notes.data[i] <= '4')
                        return true;
        }
        return false;
}

/* A cursor's or atom's answer: what it says is shown. *ret_more: there is more to come, and it has been asked for. */
static Status show_answer(Showing *showing, Bytes body, bool *ret_more)
{
        Arena *arena = &showing->asking.remote->arena;
        Response response;
        *ret_more = false;
        arena_reset(arena);
        Status st = response_split(body, arena, &response);
        if (st) {
                showing->outcome->at = place_of(body, arena);
                return st;
        }
        Bytes profile = jsontext_field(body, "p");
        if (profile.data)
                showing->outcome->profile =
                        BYTES(arena_dup(showing->question->arena, profile.data, profile.size), profile.size);
        if (response.type == RESPONSE_PARTIAL) {
                *ret_more = true;
                showing->feed = is_feed(body);
                TRY(send_more(&showing->asking, "[2]"));
                if (showing->feed && display_sink(showing->display)->memory)
                        return status_hint(status_new(ERR_INVALID, "a changefeed has no end to wait for"),
                                           "it goes on by itself: without \\watch");
                if (showing->feed)
                        display_feed(showing->display);
        }
        if (response.type == RESPONSE_ATOM) {
                Bytes rows = response.rows;
                const uint8_t *end = rows.data + rows.size, *from = jsontext_skip_space(rows.data + 1, end);
                return display_atom(showing->display, BYTES(from, jsontext_skip_value(from, end) - from));
        }
        TRY(jsontext_each_element(response.rows, show_row, showing));
        if (!showing->feed)
                return ST_OK;
        TRY(display_settle(showing->display));
        return sink_unpage(display_sink(showing->display));
}

/* Waits for the next answer. While nothing comes, what was held for a table or a pager is shown, as long as there is
 * somebody to look at it. */
static Status await(Showing *showing, Sink *sink, Bytes *ret_body)
{
        bool received;
        TRY(receive(&showing->asking, interrupt_fd(), QUIET_MS, &received, ret_body));
        while (!received) {
                if (interrupt_came()) {
                        showing->outcome->stopped = true;
                        return status_new(ERR_CANCELLED, "interrupted");
                }
                TRY(display_settle(showing->display));
                TRY(sink_release(sink));
                TRY(sink_check_reader(sink)); /* it may be long until the next row finds that out */
                TRY(receive(&showing->asking, interrupt_fd(), QUIET_MS, &received, ret_body));
        }
        return ST_OK;
}

/* The server would say nothing, and we would wait. */
static Status refuse_noreply(const char *name)
{
        return status_new(ERR_INVALID, "%s is for programs: nothing would come back, and no error", name);
}

/* `.run({noreply: true})` in the text. What does not parse is the server's to refuse. */
static Status check_reply(const Question *question)
{
        TextQuery parsed;
        ArenaMark mark = arena_mark(question->arena);
        Status st = text_parse(question->text, question->arena, &parsed);
        bool silent = !st && value_is(parsed.options, V_OBJECT) &&
                      value_is(value_get_str(parsed.options, "noreply"), V_BOOL) &&
                      value_truthy(value_get_str(parsed.options, "noreply"));
        status_ignore(st);
        arena_rewind(question->arena, mark);
        return silent ? refuse_noreply("noreply") : ST_OK;
}

static Status make_query(const Question *question, Buf *query)
{
        if (memmem(question->text.data, question->text.size, ".run", 4))
                TRY(check_reply(question));
        TRY(buf_printf(query, "[1,[%d,[", TERM_TEXT));
        TRY(json_write_message(question->text, query));
        TRY(buf_append_str(query, "]],{"));
        if (*question->options)
                TRY(buf_append_str(query, question->options + 1));
        return buf_append_str(query, "}]");
}

static Status converse(Showing *showing, Sink *sink)
{
        bool more = true;
        Buf query;
        buf_init(&query, QUERY_MAX_BYTES);
        Status st = make_query(showing->question, &query);
        if (st == ST_OK)
                st = fail_lost(&showing->asking, client_send(showing->asking.remote->client,
                                                             BYTES(query.data, query.size), &showing->asking.token));
        buf_done(&query);
        TRY(st);
        showing->asking.owed = 1;
        while (more) {
                Bytes body;
                TRY(await(showing, sink, &body));
                TRY(show_answer(showing, body, &more));
        }
        return ST_OK;
}

Status ask(Remote *remote, const Question *question, Display *display, Outcome *ret_outcome)
{
        Outcome outcome = {0};
        Showing showing = {.asking.remote = remote, .question = question, .display = display, .outcome = &outcome};
        int64_t start_ns = os_mono_ns(os_posix());
        Status st = converse(&showing, display_sink(display));
        outcome.seconds = (double)(os_mono_ns(os_posix()) - start_ns) / 1e9;
        outcome.unread = status_code(st) == ERR_CLOSED && !showing.asking.lost;
        if (status_code(st) == ERR_CANCELLED && !outcome.limited)
                outcome.stopped = true;
        if (status_code(st) == ERR_CANCELLED || outcome.unread)
                st = status_free(st);
        if (!showing.asking.lost) {
                Status stopped = stop(&showing.asking);
                if (st)
                        status_ignore(stopped);
                else
                        st = stopped;
        }
        outcome.rows = display_rows(display);
        outcome.lost = showing.asking.lost;
        *ret_outcome = outcome;
        return st;
}

/* --- asking for a value --- */

Status ask_value(Remote *remote, Bytes query, int timeout_ms, Value *ret_value, bool *ret_lost)
{
        Asking asking = {.remote = remote, .owed = 1};
        Response response = {.type = RESPONSE_PARTIAL};
        ArrayBuilder all;
        Bytes body;
        *ret_lost = false;
        array_init(&all, &remote->arena, 16);
        Status st = fail_lost(&asking, client_send(remote->client, query, &asking.token));
        while (st == ST_OK && response.type == RESPONSE_PARTIAL) {
                bool received;
                Value rows;
                st = receive(&asking, interrupt_fd(), timeout_ms, &received, &body);
                if (st == ST_OK && !received)
                        st = status_new(ERR_CANCELLED, "no answer yet");
                st = st ? st : response_split(body, &remote->arena, &response);
                st = st ? st : json_parse_copy(response.rows, JSON_PSEUDO, &remote->arena, &rows);
                if (st == ST_OK && response.type == RESPONSE_PARTIAL)
                        st = send_more(&asking, "[2]");
                for (size_t i = 0; st == ST_OK && i < value_count(rows); i++)
                        array_add(&all, value_at(rows, i));
        }
        if (st && !asking.lost)
                status_ignore(stop(&asking));
        *ret_lost = asking.lost;
        TRY(st);
        Value rows = array_take(&all);
        if (response.type == RESPONSE_ATOM && value_count(rows) != 1)
                return status_new(ERR_INVALID, "the server answered an atom of %zu values", value_count(rows));
        *ret_value = response.type == RESPONSE_ATOM ? value_at(rows, 0) : rows;
        return ST_OK;
}

/* --- options --- */

Status ask_option(Buf *options, const char *name, const char *value)
{
        Arena arena;
        Value parsed;
        if (strcmp(name, "noreply") == 0)
                return refuse_noreply(name);
        TRY(buf_append_byte(options, ','));
        arena_init(&arena, 0);
        Status st = json_write_message(BYTES_STR(name), options);
        st = st ? st : buf_append_byte(options, ':');
        if (st == ST_OK && strcmp(name, "db") == 0) {
                st = buf_append_str(options, "[14,[");
                st = st ? st : json_write_message(BYTES_STR(value), options);
                st = st ? st : buf_append_str(options, "]]");
        } else if (st == ST_OK) {
                const char *list = arena_printf(&arena, "[%s]", value); /* a scalar alone is no text for the parser */
                Status json = json_parse_copy(BYTES_STR(list), JSON_PLAIN, &arena, &parsed);
                if (json == ST_OK && value_count(parsed) == 1)
                        st = jsontext_append_term(BYTES_STR(value), options);
                else
                        st = json_write_message(BYTES_STR(value), options);
                status_ignore(json);
        }
        arena_done(&arena);
        return st;
}

/* --- errors --- */

/* Line `number` (from 1) of the text. */
static Bytes line_of(Bytes text, unsigned number)
{
        size_t from = 0;
        for (; number > 1 && from < text.size; from++)
                number -= text.data[from] == '\n';
        size_t to = from;
        while (to < text.size && text.data[to] != '\n' && text.data[to] != '\r')
                to++;
        return BYTES(text.data + from, to - from);
}

/* Bytes of the first `count` characters. */
static size_t chars_size(Bytes line, unsigned count)
{
        size_t at = 0;
        for (; count > 0 && at < line.size; count--)
                at += bytes_char_size(line, at);
        return at;
}

/* Appends the part of a line as it is shown; tabs as spaces. Returns the columns that it takes. */
static Status append_source(Bytes part, Buf *out, size_t *ret_width)
{
        size_t from = out->size;
        for (size_t i = 0; i < part.size; i++) {
                if (part.data[i] == '\t')
                        TRY(buf_append_str(out, "    "));
                else {
                        size_t size = MIN(bytes_char_size(part, i), part.size - i);
                        TRY(cell_append_text(BYTES(part.data + i, size), out));
                        i += size - 1;
                }
        }
        *ret_width = cell_width(BYTES(out->data + from, out->size - from));
        return ST_OK;
}

/*   12 | r.table("x").cuont()
 *      |              ^^^^^   */
static Status append_mark(Bytes text, TextPlace at, Buf *out)
{
        enum { SHOWN_COLUMNS = 160 };
        Bytes line = line_of(text, at.line);
        size_t from = chars_size(line, at.column - 1);
        size_t to = at.end_line > at.line ? line.size : MAX(chars_size(line, MAX(at.end_column, 1u) - 1), from);
        size_t begin = 0, before, marked, after;
        char number[24];
        if (from > SHOWN_COLUMNS / 2) /* a long line: what is around the place */
                begin = chars_size(line, at.column - 1 - SHOWN_COLUMNS / 2);
        size_t end = MIN(line.size, chars_size(BYTES(line.data + begin, line.size - begin), SHOWN_COLUMNS) + begin);
        to = MIN(to, MAX(end, from));
        int digits = snprintf(number, sizeof number, "%u", at.line);
        TRY(buf_printf(out, "  %s | %s", number, begin ? "..." : ""));
        TRY(append_source(BYTES(line.data + begin, from - begin), out, &before));
        TRY(append_source(BYTES(line.data + from, to - from), out, &marked));
        TRY(append_source(BYTES(line.data + to, MAX(end, to) - to), out, &after));
        TRY(buf_printf(out, "%s\n  %*s | %*s^", end < line.size ? "..." : "", digits, "",
                       (int)(before + (begin ? 3 : 0)), ""));
        for (size_t i = 1; i < marked; i++)
                TRY(buf_append_byte(out, '^'));
        return buf_append_byte(out, '\n');
}

Bytes ask_placed(Bytes text, size_t line, size_t column, Arena *arena)
{
        enum { LINES_MAX = 100000 }; /* behind that the count is the statement's own */
        size_t lines = line <= LINES_MAX ? line - 1 : 0, spaces = column <= LINES_MAX ? column - 1 : 0;
        if (lines + spaces == 0)
                return text;
        uint8_t *placed = arena_alloc(arena, lines + spaces + text.size);
        memset(placed, '\n', lines);
        memset(placed + lines, ' ', spaces);
        memcpy(placed + lines + spaces, text.data, text.size);
        return BYTES(placed, lines + spaces + text.size);
}

void ask_print_error(const char *prefix, Status st, Bytes text, TextPlace at)
{
        char message[8192];
        Buf out;
        buf_init(&out, 1 << 20);
        status_text(st, message, sizeof message);
        fputs(prefix, stderr);
        output_text(stderr, BYTES_STR(message));
        fputc('\n', stderr);
        if (at.line > 0 && at.column > 0 && text.size > 0) {
                Status shown = append_mark(text, at, &out);
                if (shown == ST_OK)
                        fwrite(out.data, 1, out.size, stderr);
                status_ignore(shown);
        }
        if (status_hint_text(st)) {
                fputs("  hint: ", stderr);
                output_text(stderr, BYTES_STR(status_hint_text(st)));
                fputc('\n', stderr);
        }
        buf_done(&out);
        status_ignore(st);
}
