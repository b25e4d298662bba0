/* display.h - rows as they come, in one of several formats, into a sink.
 * A table needs widths before its first line: the first rows are held until a batch ends or there are enough of them;
 * what comes later is fitted into these columns. Nothing else is held: memory does not grow with the result.
 * Threads: one. */
#ifndef CLI_DISPLAY_H
#define CLI_DISPLAY_H

#include "base/arena.h"
#include "cli/sink.h"

typedef enum DisplayFormat {
        DISPLAY_TABLE,
        DISPLAY_PRETTY,
        DISPLAY_JSON,  /* one array; a single value as it is */
        DISPLAY_JSONL, /* a row a line */
        DISPLAY_CSV,
        DISPLAY_RAW, /* a row a line; strings without quotes */
} DisplayFormat;
#define DISPLAY_FORMATS "table pretty json jsonl csv raw" /* in this order */

typedef struct DisplayStyle {
        DisplayFormat format;
        bool expanded; /* table: each row as lines `field | value` */
        bool color;
        bool footer;              /* table: "(12 rows)" */
        bool plan;                /* the answer is a plan: its `text` is what people read */
        uint64_t limit;           /* rows; 0: all */
        const char *const *order; /* names of the columns that come first; ends in NULL. NULL: `id` */
        size_t columns;           /* lines are cut or broken there; 0: never */
} DisplayStyle;

typedef struct Display Display;
MUST_USE Status display_new(const DisplayStyle *style, Sink *sink, Display **ret_display);
Display *display_free(Display *display);
static inline void display_freep(Display **display)
{
        *display = display_free(*display);
}
/* A row of a sequence, as the server sent it. */
MUST_USE Status display_row(Display *display, Bytes json);
/* The answer is this one value: an array is shown as the rows of a sequence would be, an object field by field. */
MUST_USE Status display_atom(Display *display, Bytes json);
/* The rows are those of a changefeed: they come one by one, and nobody knows what they will have. Columns share the
 * whole line, and a table begins anew with the first row that has a field of its own. Before the first row. */
void display_feed(Display *display);
/* Held rows are laid out and written: more may come, but nobody knows when. */
MUST_USE Status display_settle(Display *display);
/* Ends the result. */
MUST_USE Status display_end(Display *display);
uint64_t display_rows(const Display *display);
/* Has as many rows as it may have. */
bool display_is_full(const Display *display);
Sink *display_sink(const Display *display);
/* Fields that came too late for a column, or for which there was no room: text like "a, b, c and 3 more"; NULL if there
 * are none. Lives as long as the display. */
const char *display_hidden_fields(Display *display);

#endif
