/* ask.h - one query in text ReQL: sent, its rows shown as they come, stopped when somebody wants no more of it.
 *
 *   START -> batch, CONTINUE at once -> rows shown -> batch ... -> end
 *     Ctrl-C, a limit, a reader that went away: STOP, and every answer that is owed is awaited, so that the connection
 *     can be used again. A second Ctrl-C does not wait: the connection is given up (the server notices and stops).
 *
 * Threads: one. */
#ifndef CLI_ASK_H
#define CLI_ASK_H

#include "cli/display.h"
#include "cli/remote.h"
#include "reql/text_parse.h"

typedef struct Question {
        Bytes text;
        const char *options; /* global options, as made by ask_option(): ",\"a\":1"; "" for none */
        Arena *arena;        /* of what the outcome holds */
} Question;

typedef struct Outcome {
        uint64_t rows;
        double seconds;
        bool stopped;  /* by Ctrl-C */
        bool limited;  /* by the display's limit */
        bool unread;   /* who reads the output went away */
        bool lost;     /* the connection cannot be used any more */
        TextPlace at;  /* of an error; line 0: the server named none */
        Bytes profile; /* JSON; data NULL: none */
} Outcome;

/* Asks and shows. An error is the server's answer, the connection's (`lost`), or that of writing. Ctrl-C, limits and
 * quit pagers are no errors. */
MUST_USE Status ask(Remote *remote, const Question *question, Display *display, Outcome *ret_outcome);
/* The text with as many newlines and spaces before it as it takes for the server to count as the file does that it is
 * from: it begins at `line` and `column`, from 1. */
Bytes ask_placed(Bytes text, size_t line, size_t column, Arena *arena);
/* Shows the error: the sentence, the line of `text` that it is about with a mark under the place, the hint. Frees `st`.
 */
void ask_print_error(const char *prefix, Status st, Bytes text, TextPlace at);
/* Adds a global option to the text of options: `name` with a value that is JSON or else a string; `db` is the default
 * database. ERR_INVALID. */
MUST_USE Status ask_option(Buf *options, const char *name, const char *value);
/* A query in the wire form with an answer to compute with: waits at most `timeout_ms` (-1: no end) and no longer than
 * till Ctrl-C (ERR_CANCELLED, the query is stopped). *ret_lost as in Outcome. */
MUST_USE Status ask_value(Remote *remote, Bytes query, int timeout_ms, Value *ret_value, bool *ret_lost);

#endif
