/* cell.h - a value as people read it, on one line: nothing in it moves the cursor or changes colours, and how many
 * columns it takes is known. Threads: any. */
#ifndef CLI_CELL_H
#define CLI_CELL_H

#include "value/value.h"

/* Appends `text` with control characters, and those that turn the direction of text, made visible (\n, \x1b, \u202e);
 * bytes that are not UTF-8 as \xff. */
MUST_USE Status cell_append_text(Bytes text, Buf *out);
/* Columns that text from cell_append_text takes on a terminal: two for wide signs, none for marks. */
size_t cell_width(Bytes text);
/* How many bytes of it fit into `columns`, and the columns that they take. */
size_t cell_fit(Bytes text, size_t columns, size_t *ret_width);
/* A value: strings as they are, times in ISO 8601, binaries as their size, arrays and objects as compact JSON in which
 * times and binaries look the same. Stops some way behind `max_bytes` (0: never). */
MUST_USE Status cell_append_value(Value v, size_t max_bytes, Buf *out);
/* In the notation of the query language, over several lines when it is long: r.ISO8601("...") for times. `indent` is
 * that of the line on which it begins, `columns` what a line may take. */
MUST_USE Status cell_append_pretty(Value v, size_t indent, size_t columns, bool color, Buf *out);

/* For a terminal that has them. */
#define CELL_BOLD   "\x1b[1m"
#define CELL_DIM    "\x1b[2m"
#define CELL_RED    "\x1b[31m"
#define CELL_GREEN  "\x1b[32m"
#define CELL_YELLOW "\x1b[33m"
#define CELL_BLUE   "\x1b[34m"
#define CELL_CYAN   "\x1b[36m"
#define CELL_PLAIN  "\x1b[0m"

#endif
