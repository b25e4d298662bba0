/* sink.h - where results go: a descriptor, and on a terminal perhaps a pager in between.
 *
 *   sink_page() -> lines are held -> a screen is full -> pager started, held lines to it -> sink_settle(): wait for it
 *                                 -> sink_settle() before: they go to the terminal
 *
 * Errors of writing: ERR_CLOSED when the reader went away (the pager was quit, a pipe broke), which is no failure but a
 * wish for no more; ERR_CANCELLED when Ctrl-C came while a write was blocked; ERR_IO, ERR_NO_SPACE.
 * Threads: one. */
#ifndef CLI_SINK_H
#define CLI_SINK_H

#include <sys/types.h>

#include "base/bytes.h"

typedef struct Sink {
        int fd;
        bool terminal;
        bool memory;           /* sink_init_memory */
        size_t columns, lines; /* of the terminal, as it is now: sink_measure() */
        Buf out;               /* not written yet */
        /* --- pager --- */
        const char *pager; /* the command; NULL: none */
        bool holding;      /* until a screen is full */
        size_t held_lines, line_columns;
        pid_t pager_pid; /* 0: none runs */
        int pager_fd;
        bool pager_failed; /* the last one could not be run */
} Sink;

void sink_init(Sink *sink, int fd);
/* Collects in `out`, laid out as for `like`; nothing is written. */
void sink_init_memory(Sink *sink, const Sink *like);
void sink_done(Sink *sink); /* what is not written is lost; the descriptor stays open */
/* Asks the terminal for its size; 80 by 24 if it does not say. */
void sink_measure(Sink *sink);
MUST_USE Status sink_write(Sink *sink, const void *data, size_t size);
static inline MUST_USE Status sink_bytes(Sink *sink, Bytes text)
{
        return sink_write(sink, text.data, text.size);
}
MUST_USE Status sink_str(Sink *sink, const char *text);
MUST_USE Status sink_printf(Sink *sink, const char *format, ...) PRINTF_LIKE(2, 3);
/* Writes what there is, unless lines are held for a pager. */
MUST_USE Status sink_flush(Sink *sink);
/* For whoever waits for more: ERR_CLOSED if nobody would read it. */
MUST_USE Status sink_check_reader(const Sink *sink);
/* The next lines may go to a pager; nothing happens if there is none or this is no terminal. */
void sink_page(Sink *sink);
/* Held lines go to the terminal now; a pager is still started when there are more than a screen after them. */
MUST_USE Status sink_release(Sink *sink);
/* What comes has no end, and people watch it: no pager from here on. */
MUST_USE Status sink_unpage(Sink *sink);
/* Everything is written, and a pager has been waited for. What could not be written is forgotten: the sink can be used
 * again after an error. */
MUST_USE Status sink_settle(Sink *sink);
/* Is the program that the command begins with to be found? */
bool sink_pager_exists(const char *command);

#endif
