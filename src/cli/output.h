/* output.h - what a person sees: errors, progress, tables. Results go to stdout, everything else to stderr.
 * Threads: the main thread. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/bytes.h"
#include "os/os.h"

/* Exit statuses; help.c documents them. */
typedef enum ExitStatus {
        EXIT_DONE = 0,
        EXIT_FAILED = 1,
        EXIT_USAGE = 2,
        EXIT_BAD_ROWS = 3,
        EXIT_NO_SERVER = 4,
        EXIT_UNCHECKED = 5, /* photondb check: no verdict */
        EXIT_INTERRUPTED = 130,
} ExitStatus;

/* "photondb: <text>" and "  hint: <hint>" on stderr; frees `st`. Control characters are made visible. */
void output_error(Status st);
void output_warning(const char *format, ...) PRINTF_LIKE(1, 2);
/* Writes bytes of unknown origin with control characters made visible. */
void output_text(FILE *out, Bytes text);

/* Sets a flag on SIGINT and SIGTERM instead of dying; the second signal kills. */
void output_catch_interrupt(void);
bool output_interrupted(void);

/* "1 234 567", "12.3 MB", "2 min 5 s"; return `out`, of at least 32 bytes. */
const char *output_count(uint64_t n, char *out);
const char *output_bytes(uint64_t bytes, char *out);
const char *output_duration(double seconds, char *out);

/* A progress line on stderr: drawn over itself on a terminal (at most ten times a second), otherwise one plain line
 * every five seconds; silent when quiet. */
typedef struct Progress {
        Os *os;
        const char *verb;
        uint64_t total; /* 0 = unknown */
        bool total_is_rows;
        bool bytes_only; /* set after progress_init: there are no rows to speak of */
        bool terminal, quiet, drawn;
        int64_t start_ns, drawn_ns;
} Progress;
void progress_init(Progress *progress, Os *os, const char *verb, uint64_t total, bool total_is_rows, bool quiet);
void progress_update(Progress *progress, uint64_t rows, uint64_t bytes);
/* Removes the line, so that other text can be written; the next update draws it again. */
void progress_clear(Progress *progress);
double progress_seconds(const Progress *progress);

/* Columns aligned by their widest cell; numbers to the right. Cells are copied. */
typedef struct Grid Grid;
MUST_USE Status grid_new(size_t column_count, const char *const *titles, Grid **ret_grid);
Grid *grid_free(Grid *grid);
static inline void grid_freep(Grid **grid)
{
        *grid = grid_free(*grid);
}
MUST_USE Status grid_cell(Grid *grid, Bytes text);
MUST_USE Status grid_number(Grid *grid, uint64_t number);
void grid_print(const Grid *grid, FILE *out);
/* Columns that text takes on a terminal. */
size_t output_width(Bytes text);

#endif
