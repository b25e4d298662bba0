/* output.c - errors, progress and tables for people. */
#include "cli/output.h"

#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/mem.h"

enum {
        PROGRESS_TERMINAL_MS = 100,
        PROGRESS_PLAIN_MS = 5000,
        BAR_WIDTH = 24,
        GRID_MAX_COLUMNS = 16,
        LINE_MAX_BYTES = 256
};

/* --- text --- */

void output_text(FILE *out, Bytes text)
{
        for (size_t i = 0; i < text.size; i++) {
                uint8_t c = text.data[i];
                bool c1_control = c == 0xc2 && i + 1 < text.size && text.data[i + 1] >= 0x80 && text.data[i + 1] < 0xa0;
                if (c == '\n' || c == '\t' || (c >= 0x20 && c != 0x7f && !c1_control))
                        fputc(c, out);
                else
                        fprintf(out, "\\x%02x", c);
        }
}

void output_error(Status st)
{
        char text[4096];
        status_text(st, text, sizeof text);
        fputs("photondb: ", stderr);
        output_text(stderr, BYTES_STR(text));
        fputc('\n', stderr);
        if (status_hint_text(st)) {
                fputs("  hint: ", stderr);
                output_text(stderr, BYTES_STR(status_hint_text(st)));
                fputc('\n', stderr);
        }
        status_ignore(st);
}

void output_warning(const char *format, ...)
{
        va_list args;
        va_start(args, format);
        fputs("photondb: warning: ", stderr);
        vfprintf(stderr, format, args);
        fputc('\n', stderr);
        va_end(args);
}

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
        (void)number;
        interrupted = 1;
}

void output_catch_interrupt(void)
{
        struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
        sigemptyset(&action.sa_mask);
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
}

bool output_interrupted(void)
{
        return interrupted;
}

const char *output_count(uint64_t n, char *out)
{
        char digits[24];
        int length = snprintf(digits, sizeof digits, "%" PRIu64, n);
        char *to = out;
        for (int i = 0; i < length; i++) {
                if (i > 0 && (length - i) % 3 == 0 && length > 4)
                        *to++ = ' ';
                *to++ = digits[i];
        }
        *to = 0;
        return out;
}

const char *output_bytes(uint64_t bytes, char *out)
{
        static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
        double number = (double)bytes;
        size_t unit = 0;
        while (number >= 999.5 && unit + 1 < ELEMENTS(units)) {
                number /= 1000;
                unit++;
        }
        snprintf(out, 32, unit == 0 || number >= 99.95 ? "%.0f %s" : "%.1f %s", number, units[unit]);
        return out;
}

const char *output_duration(double seconds, char *out)
{
        if (seconds < 9.95)
                snprintf(out, 32, "%.1f s", seconds);
        else if (seconds < 60)
                snprintf(out, 32, "%.0f s", seconds);
        else if (seconds < 3600)
                snprintf(out, 32, "%d min %d s", (int)seconds / 60, (int)seconds % 60);
        else
                snprintf(out, 32, "%ld h %ld min", (long)seconds / 3600, (long)seconds / 60 % 60);
        return out;
}

/* --- progress --- */

void progress_init(Progress *progress, Os *os, const char *verb, uint64_t total, bool total_is_rows, bool quiet)
{
        *progress = (Progress){.os = os,
                               .verb = verb,
                               .total = total,
                               .total_is_rows = total_is_rows,
                               .quiet = quiet,
                               .terminal = isatty(STDERR_FILENO) == 1};
        progress->start_ns = progress->drawn_ns = os_mono_ns(os);
}

double progress_seconds(const Progress *progress)
{
        return (double)(os_mono_ns(progress->os) - progress->start_ns) / 1e9;
}

static size_t terminal_columns(void)
{
        struct winsize size;
        return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

/* [=======>      ]  45 % */
static int draw_bar(char *out, size_t size, double part)
{
        char bar[BAR_WIDTH + 1];
        size_t filled = (size_t)(part * BAR_WIDTH);
        for (size_t i = 0; i < BAR_WIDTH; i++)
                bar[i] = i < filled ? '=' : i == filled ? '>' : ' ';
        bar[BAR_WIDTH] = 0;
        return snprintf(out, size, " [%s] %3d %%", bar, (int)(part * 100));
}

void progress_update(Progress *progress, uint64_t rows, uint64_t bytes)
{
        if (progress->quiet)
                return;
        int64_t now_ns = os_mono_ns(progress->os);
        int64_t wait_ms = progress->terminal ? PROGRESS_TERMINAL_MS : PROGRESS_PLAIN_MS;
        if (now_ns - progress->drawn_ns < wait_ms * 1000000)
                return;
        progress->drawn_ns = now_ns;
        double seconds = progress_seconds(progress);
        double done = (double)(progress->total_is_rows ? rows : bytes);
        double part = progress->total ? MIN(done / (double)progress->total, 1) : 0;
        char count[32], rate[32], size[32], speed[32], left[32], line[LINE_MAX_BYTES];
        int n = snprintf(line, sizeof line, "%s", progress->verb);
        if (progress->total && progress->terminal)
                n += draw_bar(line + n, sizeof line - (size_t)n, part);
        else if (progress->total)
                n += snprintf(line + n, sizeof line - (size_t)n, " %d %%", (int)(part * 100));
        output_bytes(bytes, size);
        output_bytes((uint64_t)((double)bytes / seconds), speed);
        if (progress->bytes_only)
                n += snprintf(line + n, sizeof line - (size_t)n, "  %s  %s/s", size, speed);
        else
                n += snprintf(line + n, sizeof line - (size_t)n, "  %s rows  %s  %s rows/s  %s/s",
                              output_count(rows, count), size, output_count((uint64_t)((double)rows / seconds), rate),
                              speed);
        if (part > 0.01)
                snprintf(line + n, sizeof line - (size_t)n, "  %s left",
                         output_duration(seconds / part * (1 - part), left));
        if (progress->terminal)
                fprintf(stderr, "\r\x1b[2K%.*s", (int)MIN(terminal_columns() - 1, sizeof line), line);
        else
                fprintf(stderr, "%s\n", line);
        fflush(stderr);
        progress->drawn = progress->terminal;
}

void progress_clear(Progress *progress)
{
        if (progress->drawn)
                fputs("\r\x1b[2K", stderr);
        progress->drawn = false;
}

/* --- tables --- */

typedef struct Cell {
        char *text;
        size_t size;
        bool number;
} Cell;
struct Grid {
        size_t column_count, cell_count, cell_capacity;
        Cell *cells; /* row after row, the titles first */
};

static Status add_cell(Grid *grid, Bytes text, bool number)
{
        if (grid->cell_count == grid->cell_capacity) {
                size_t capacity = MAX(grid->cell_capacity * 2, 64);
                Cell *cells = mem_realloc(grid->cells, capacity * sizeof *cells);
                if (!cells)
                        return status_nomem();
                grid->cells = cells;
                grid->cell_capacity = capacity;
        }
        char *copy = mem_alloc(text.size + 1);
        if (!copy)
                return status_nomem();
        if (text.size)
                memcpy(copy, text.data, text.size);
        copy[text.size] = 0;
        grid->cells[grid->cell_count++] = (Cell){.text = copy, .size = text.size, .number = number};
        return ST_OK;
}

Status grid_new(size_t column_count, const char *const *titles, Grid **ret_grid)
{
        assert(column_count > 0 && column_count <= GRID_MAX_COLUMNS);
        _cleanup_(grid_freep) Grid *grid = mem_zalloc(sizeof *grid);
        if (!grid)
                return status_nomem();
        grid->column_count = column_count;
        for (size_t i = 0; i < column_count; i++)
                TRY(add_cell(grid, BYTES_STR(titles[i]), false));
        *ret_grid = take(grid);
        return ST_OK;
}

Grid *grid_free(Grid *grid)
{
        if (grid) {
                for (size_t i = 0; i < grid->cell_count; i++)
                        mem_free(grid->cells[i].text);
                mem_free(grid->cells);
                mem_free(grid);
        }
        return NULL;
}

Status grid_cell(Grid *grid, Bytes text)
{
        return add_cell(grid, text, false);
}

Status grid_number(Grid *grid, uint64_t number)
{
        char text[32];
        return add_cell(grid, BYTES_STR(output_count(number, text)), true);
}

size_t output_width(Bytes text)
{
        size_t width = 0;
        for (size_t i = 0; i < text.size; i++)
                width += (text.data[i] & 0xc0) != 0x80;
        return width;
}

void grid_print(const Grid *grid, FILE *out)
{
        size_t widest[GRID_MAX_COLUMNS] = {0};
        bool number[GRID_MAX_COLUMNS] = {false};
        for (size_t i = 0; i < grid->cell_count; i++) {
                size_t column = i % grid->column_count;
                widest[column] = MAX(widest[column], output_width(BYTES(grid->cells[i].text, grid->cells[i].size)));
                number[column] |= grid->cells[i].number;
        }
        for (size_t i = 0; i < grid->cell_count; i++) {
                size_t column = i % grid->column_count;
                Bytes text = BYTES(grid->cells[i].text, grid->cells[i].size);
                int padding = (int)(widest[column] - output_width(text));
                bool last = column + 1 == grid->column_count;
                if (number[column])
                        fprintf(out, "%*s", padding, "");
                output_text(out, text);
                if (!number[column] && !last)
                        fprintf(out, "%*s", padding, "");
                fputs(last ? "\n" : "   ", out);
        }
}
