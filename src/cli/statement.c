/* statement.c - see statement.h. */
#include "cli/statement.h"

#include "reql/text_lex.h"

typedef struct Scan {
        Bytes text;
        bool lines;
        TextToken last; /* TOKEN_END: none yet */
        uint8_t opened[256];
        size_t depth;
        bool broken; /* something that no further line can mend */
        uint8_t open;
} Scan;

/* Does an operator, or another sign that wants something behind it, stand last? */
static bool asks_more(TextToken last)
{
        return last.kind == TOKEN_OTHER && (last.op == OP_DOT || last.op == OP_COMMA || last.op == OP_COLON ||
                                            last.op == OP_QUESTION || (last.op >= OP_ARROW && last.op <= OP_NOT));
}

static bool newline_between(Bytes text, uint32_t from, uint32_t to)
{
        return to > from && memchr(text.data + from, '\n', to - from) != NULL;
}

/* In a text of lines: does a statement end between the last token and this one? */
static bool ends_before(const Scan *scan, TextToken token)
{
        if (!scan->lines || scan->last.kind == TOKEN_END || token.kind == TOKEN_END)
                return false;
        if (!newline_between(scan->text, scan->last.end, token.start))
                return false;
        if (scan->broken)
                return true;
        return scan->depth == 0 && !asks_more(scan->last) && !(token.kind == TOKEN_OTHER && token.op == OP_DOT);
}

static void take_token(Scan *scan, TextToken token)
{
        uint8_t sign = scan->text.data[token.start];
        if (token.kind == TOKEN_BAD && text_bad_is_open(scan->text, token))
                scan->open = sign;
        else if (token.kind == TOKEN_BAD)
                scan->broken = true;
        if (token.op == OP_OPEN || token.op == OP_OPEN_BOX || token.op == OP_OPEN_CURLY) {
                scan->opened[MIN(scan->depth, sizeof scan->opened - 1)] = sign;
                scan->depth++;
        } else if (token.op == OP_CLOSE || token.op == OP_CLOSE_BOX || token.op == OP_CLOSE_CURLY) {
                scan->broken |= scan->depth == 0;
                scan->depth -= scan->depth > 0; /* of whatever kind: the server says what is wrong */
        }
        scan->last = token;
}

static StatementScan scan_text(Bytes text, bool lines)
{
        Scan scan = {.text = text, .lines = lines};
        uint32_t at = 0;
        for (;;) {
                TextToken token = text_next_token(text, &at);
                bool blank = scan.last.kind == TOKEN_END;
                if (ends_before(&scan, token))
                        return (StatementScan){.size = scan.last.end, .next = scan.last.end};
                if (token.kind == TOKEN_END) {
                        StatementScan result = {.size = text.size, .next = text.size, .blank = blank};
                        if (scan.broken)
                                return result;
                        if (!scan.open && scan.depth > 0)
                                scan.open = scan.opened[MIN(scan.depth, sizeof scan.opened) - 1];
                        if (!scan.open && asks_more(scan.last))
                                scan.open = '.';
                        result.open = scan.open;
                        result.unfinished = scan.open != 0;
                        return result;
                }
                if (token.op == OP_SEMICOLON && scan.depth == 0)
                        return (StatementScan){.size = token.start, .next = token.end, .ended = true, .blank = blank};
                take_token(&scan, token);
        }
}

StatementScan statement_scan(Bytes text)
{
        return scan_text(text, false);
}

StatementScan statement_scan_lines(Bytes text)
{
        return scan_text(text, true);
}

void statement_place(Bytes text, size_t offset, size_t *ret_line, size_t *ret_column)
{
        size_t line = 1, column = 1;
        for (size_t i = 0; i < offset && i < text.size; i++) {
                if (text.data[i] == '\n') {
                        line++;
                        column = 1;
                } else {
                        column += (text.data[i] & 0xc0) != 0x80;
                }
        }
        *ret_line = line;
        *ret_column = column;
}

Bytes statement_trim(Bytes text)
{
        uint32_t at = 0;
        TextToken first = text_next_token(text, &at), last = first;
        for (TextToken token = first; token.kind != TOKEN_END; token = text_next_token(text, &at))
                last = token;
        return BYTES(text.data + first.start, last.end - first.start);
}
