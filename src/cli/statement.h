/* statement.h - where a statement of text ReQL ends, without parsing it: its words (reql/text_lex.h) and brackets are
 * followed, all else is the server's. The shell asks whether a line has to go on; `photondb query` and \i cut a file
 * into statements. */
#ifndef CLI_STATEMENT_H
#define CLI_STATEMENT_H

#include "base/bytes.h"

typedef struct StatementScan {
        size_t size;     /* of the statement, without its `;` */
        size_t next;     /* where the text after it begins */
        bool ended;      /* by a `;` */
        bool blank;      /* nothing but white space and comments */
        bool unfinished; /* a bracket, text in backquotes or a comment is open, or the last sign wants more behind it */
        uint8_t open;    /* what is open: one of ( [ { ` / and '.' for a sign that wants more; 0: nothing */
} StatementScan;

/* The first statement of `text`: up to a `;` outside of brackets, or all of it. */
StatementScan statement_scan(Bytes text);
/* The same for text of which each line may be a statement of its own, as in the shell: a line that ends where nothing
 * is open ends the statement, unless the next line that is not blank begins with a dot. */
StatementScan statement_scan_lines(Bytes text);
/* Line and column (both from 1, columns in characters) of the byte at `offset`. */
void statement_place(Bytes text, size_t offset, size_t *ret_line, size_t *ret_column);
/* White space and comments cut off at both ends. */
Bytes statement_trim(Bytes text);

#endif
