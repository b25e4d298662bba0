/* print_text.h - a tree as text ReQL: the notation that text_parse.h reads.
 *      r.db("x").table("t").filter(row => row("a").gt(5)).orderBy(r.desc("b")).limit(3)
 * Parsing what is printed gives the same tree: functions and variables get names of their own here, and `r.row` is
 * printed as the variable of its function. RethinkDB's own format, for jobs and index_status, is print.h's. */
#ifndef REQL_PRINT_TEXT_H
#define REQL_PRINT_TEXT_H

#include "base/bytes.h"
#include "reql/term.h"

/* Appends `term` on one line; with `width` > 0 a longer one is broken into lines of about that many columns: a chain at
 * its dots, arguments, arrays and objects one by one. A part of a tree prints, too: variables of functions around it
 * get the names that they have in a print of the whole. On failure (ERR_LIMIT of `out`, ERR_NOMEM) `out` holds the
 * beginning. */
MUST_USE Status print_text(const Term *term, size_t width, Buf *out);
/* One constant, as print_text shows it. */
MUST_USE Status print_text_value(Value v, size_t width, Buf *out);

#endif
