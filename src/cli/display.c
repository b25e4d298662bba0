/* display.c - see display.h.
 *
 * display I1. A cell holds nothing that cell_append_text did not let through; so colours in the output are ours.
 * display I2. With a width, no line of a table is longer than it. */
#include "cli/display.h"

#include <assert.h>
#include <stdio.h>

#include "base/map.h"
#include "base/mem.h"
#include "cli/cell.h"
#include "cli/csv.h"
#include "cli/jsontext.h"
#include "value/json.h"

enum {
        SAMPLE_ROWS = 500,
        SAMPLE_BYTES = 1 << 20,
        COLUMNS_MAX = 64,
        COLUMN_LEAST = 8, /* a column that must give room gives no more than down to this */
        LATE_NAMES_SHOWN = 8,
        LATE_NAMES_MAX = 10000,      /* remembered, so as to name each once */
        CELL_FREE_BYTES = 64 * 1024, /* of one cell, where lines are not cut */
        ROW_MAX_BYTES = 1 << 30,
};

typedef struct Column {
        Bytes name;  /* data NULL: rows that are no objects */
        Bytes title; /* as shown */
        size_t width;
        bool numbers; /* all that came so far are */
        bool nested;  /* one is an object or an array */
        bool seen;
} Column;

struct Display {
        DisplayStyle style;
        Sink *sink;
        uint64_t rows;
        Arena row_arena;    /* of the row being written */
        Arena sample_arena; /* held rows; then names */
        Buf line, cell;
        /* --- tables and CSV --- */
        Value *sample;
        size_t sample_count, sample_bytes;
        bool laid_out, scalar_atom, feed;
        Column columns[COLUMNS_MAX];
        size_t column_count, shown_count; /* shown: those that fit */
        Map *column_of;
        Map *late;
        Bytes late_names[LATE_NAMES_SHOWN];
        char *hidden;
};

Status display_new(const DisplayStyle *style, Sink *sink, Display **ret_display)
{
        _cleanup_(display_freep) Display *display = mem_zalloc(sizeof *display);
        if (!display)
                return status_nomem();
        display->style = *style;
        display->sink = sink;
        arena_init(&display->row_arena, 0);
        arena_init(&display->sample_arena, 0);
        buf_init(&display->line, ROW_MAX_BYTES);
        buf_init(&display->cell, ROW_MAX_BYTES);
        display->sample = mem_alloc(SAMPLE_ROWS * sizeof *display->sample);
        if (!display->sample)
                return status_nomem();
        TRY(map_new(&display->column_of));
        TRY(map_new(&display->late));
        *ret_display = take(display);
        return ST_OK;
}

Display *display_free(Display *display)
{
        if (display) {
                map_free(display->column_of);
                map_free(display->late);
                mem_free(display->sample);
                mem_free(display->hidden);
                buf_done(&display->line);
                buf_done(&display->cell);
                arena_done(&display->row_arena);
                arena_done(&display->sample_arena);
                mem_free(display);
        }
        return NULL;
}

uint64_t display_rows(const Display *display)
{
        return display->rows;
}

void display_feed(Display *display)
{
        display->feed = true;
}

bool display_is_full(const Display *display)
{
        return display->style.limit && display->rows >= display->style.limit;
}

Sink *display_sink(const Display *display)
{
        return display->sink;
}

static bool is_tabular(const Display *display)
{
        return display->style.format == DISPLAY_TABLE || display->style.format == DISPLAY_CSV;
}

static Status write_line(Display *display)
{
        TRY(buf_append_byte(&display->line, '\n'));
        Status st = sink_bytes(display->sink, BYTES(display->line.data, display->line.size));
        buf_clear(&display->line);
        return st;
}

/* Text of a format for programs. On a terminal people look at it: then it moves no cursor either. */
static Status write_plain(Display *display, Bytes text)
{
        if (!display->sink->terminal)
                return sink_bytes(display->sink, text);
        buf_clear(&display->cell);
        TRY(cell_append_text(text, &display->cell));
        return sink_bytes(display->sink, BYTES(display->cell.data, display->cell.size));
}

static Status color(Display *display, const char *sequence)
{
        return display->style.color ? buf_append_str(&display->line, sequence) : ST_OK;
}

static Status spaces(Buf *out, size_t count)
{
        for (size_t i = 0; i < count; i++)
                TRY(buf_append_byte(out, ' '));
        return ST_OK;
}

/* The parser takes arrays and objects: a row may be anything. */
static Status parse(Display *display, Bytes json, Arena *arena, Value *ret_value)
{
        Value list;
        buf_clear(&display->cell);
        TRY(buf_append_byte(&display->cell, '['));
        TRY(buf_append(&display->cell, json.data, json.size));
        TRY(buf_append_byte(&display->cell, ']'));
        TRY(json_parse_copy(BYTES(display->cell.data, display->cell.size), JSON_PSEUDO, arena, &list));
        if (value_count(list) != 1)
                return status_new(ERR_INVALID, "the server sent a row that is no JSON");
        *ret_value = value_at(list, 0);
        return ST_OK;
}

/* What one looks at as fields: no time, no geometry. */
static bool is_row_object(Value row)
{
        return value_is(row, V_OBJECT);
}

/* --- columns --- */

static Column *find_column(const Display *display, Bytes name)
{
        uintptr_t place = (uintptr_t)map_get(display->column_of, name);
        return place ? (Column *)&display->columns[place - 1] : NULL;
}

static Status note_late(Display *display, Bytes name)
{
        if (map_count(display->late) >= LATE_NAMES_MAX || map_get(display->late, name))
                return ST_OK;
        if (map_count(display->late) < LATE_NAMES_SHOWN)
                display->late_names[map_count(display->late)] =
                        BYTES(arena_dup(&display->sample_arena, name.data, name.size), name.size);
        return map_put(display->late, name, display, NULL);
}

static Status add_column(Display *display, Bytes name)
{
        if (find_column(display, name))
                return ST_OK;
        if (display->column_count == COLUMNS_MAX)
                return note_late(display, name);
        Column *column = &display->columns[display->column_count++];
        buf_clear(&display->cell);
        TRY(cell_append_text(name, &display->cell));
        *column = (Column){.name = BYTES(arena_dup(&display->sample_arena, name.data, name.size), name.size),
                           .numbers = true};
        column->title =
                BYTES(arena_dup(&display->sample_arena, display->cell.data, display->cell.size), display->cell.size);
        column->width = MAX(cell_width(column->title), 1);
        return map_put(display->column_of, name, (void *)(uintptr_t)display->column_count, NULL);
}

/* The column for rows that are no objects. */
static Column *plain_column(Display *display)
{
        for (size_t i = 0; i < display->column_count; i++) {
                if (!display->columns[i].name.data)
                        return &display->columns[i];
        }
        if (display->laid_out || display->column_count == COLUMNS_MAX)
                return NULL;
        Column *column = &display->columns[display->column_count++];
        *column = (Column){.title = BYTES_STR("value"), .width = 5, .numbers = true};
        return column;
}

static Status make_cell(Display *display, Value v)
{
        size_t most = display->style.columns ? display->style.columns * 8 : CELL_FREE_BYTES;
        buf_clear(&display->cell);
        return cell_append_value(v, most, &display->cell);
}

static Status measure(Display *display, Column *column, Value v)
{
        TRY(make_cell(display, v));
        column->width = MAX(column->width, cell_width(BYTES(display->cell.data, display->cell.size)));
        if (!value_is(v, V_NULL)) {
                column->numbers &= value_is(v, V_NUMBER);
                column->nested |= value_is(v, V_OBJECT) || value_is(v, V_ARRAY);
                column->seen = true;
        }
        return ST_OK;
}

static Status measure_row(Display *display, Value row)
{
        Bytes key;
        if (!is_row_object(row)) {
                Column *column = plain_column(display);
                return column ? measure(display, column, row) : ST_OK;
        }
        for (size_t i = 0; i < value_count(row); i++) {
                Value v = value_field_at(row, i, &key);
                TRY(add_column(display, key));
                Column *column = find_column(display, key);
                if (column)
                        TRY(measure(display, column, v));
        }
        return ST_OK;
}

static size_t line_width(const Display *display, size_t count)
{
        size_t width = 0;
        for (size_t i = 0; i < count; i++)
                width += display->columns[i].width + (i + 1 < count ? 3 : 1); /* " a | b" */
        return width;
}

/* Wide columns give room, the widest first; if that is not enough, the last columns go. */
static void fit_columns(Display *display)
{
        size_t limit = display->style.columns, count = display->column_count;
        for (size_t i = 0; i < count; i++)
                display->columns[i].width = MIN(display->columns[i].width, limit ? limit : SIZE_MAX);
        while (limit && count > 0 && line_width(display, count) > limit) {
                Column *widest = &display->columns[0];
                for (size_t i = 1; i < count; i++) {
                        if (display->columns[i].width > widest->width)
                                widest = &display->columns[i];
                }
                if (widest->width > COLUMN_LEAST || (count == 1 && widest->width > 1))
                        widest->width--;
                else if (count > 1)
                        count--;
                else
                        break;
        }
        display->shown_count = count;
}

/* What may become wider than it is by now: documents, or (`texts`) any text. */
static bool may_widen(const Column *column, bool texts)
{
        return column->nested || !column->seen || (texts && !column->numbers);
}

/* A feed's first rows say little of what will come: what is left of the line goes to the narrowest columns. */
static void share_line(Display *display)
{
        size_t limit = display->style.columns, count = display->shown_count;
        bool texts = true;
        for (size_t i = 0; i < count; i++)
                texts &= !may_widen(&display->columns[i], false);
        for (size_t used = line_width(display, count); used < limit; used++) {
                Column *narrowest = NULL;
                for (size_t i = 0; i < count; i++) {
                        Column *column = &display->columns[i];
                        if (may_widen(column, texts) && (!narrowest || column->width < narrowest->width))
                                narrowest = column;
                }
                if (!narrowest)
                        return;
                narrowest->width++;
        }
}

/* The primary key is where people look first; most often it is called id. */
static const char *const id_order[] = {"id", NULL};

static void order_columns(Display *display)
{
        const char *const *order = display->style.order ? display->style.order : id_order;
        size_t placed = 0;
        for (; *order; order++) {
                for (size_t i = placed; i < display->column_count; i++) {
                        if (!bytes_equal(display->columns[i].name, BYTES_STR(*order)))
                                continue;
                        Column moved = display->columns[i];
                        memmove(display->columns + placed + 1, display->columns + placed,
                                (i - placed) * sizeof *display->columns);
                        display->columns[placed++] = moved;
                        break;
                }
        }
}

/* --- lines of a table --- */

/* `text` in a column of `width`: cut with an ellipsis if lines are cut. */
static Status append_fitted(Display *display, Bytes text, size_t width, bool right, bool last)
{
        size_t takes;
        size_t fits = cell_fit(text, display->style.columns ? width : SIZE_MAX, &takes);
        bool cut = fits < text.size;
        if (cut)
                fits = cell_fit(text, width - 1, &takes);
        size_t padding = width > takes + cut ? width - takes - cut : 0;
        if (right)
                TRY(spaces(&display->line, padding));
        TRY(buf_append(&display->line, text.data, fits));
        if (cut)
                TRY(buf_append_str(&display->line, "\xe2\x80\xa6"));
        return right || last ? ST_OK : spaces(&display->line, padding);
}

static Status write_header(Display *display)
{
        for (size_t i = 0; i < display->shown_count; i++) {
                const Column *column = &display->columns[i];
                TRY(buf_append_str(&display->line, i ? " | " : " "));
                TRY(color(display, CELL_BOLD));
                TRY(append_fitted(display, column->title, column->width, column->numbers && column->seen,
                                  i + 1 == display->shown_count));
                TRY(color(display, CELL_PLAIN));
        }
        TRY(write_line(display));
        for (size_t i = 0; i < display->shown_count; i++) {
                if (i)
                        TRY(buf_append_byte(&display->line, '+'));
                size_t dashes = MIN(display->columns[i].width, CELL_FREE_BYTES) + 2;
                if (i + 1 == display->shown_count && display->style.columns)
                        dashes = MIN(dashes, display->style.columns - MIN(display->line.size, display->style.columns));
                for (size_t n = 0; n < dashes; n++)
                        TRY(buf_append_byte(&display->line, '-'));
        }
        return write_line(display);
}

static Status append_cell(Display *display, const Column *column, Value v, bool last)
{
        bool dim = value_is(v, V_NULL);
        TRY(make_cell(display, v));
        if (dim)
                TRY(color(display, CELL_DIM));
        TRY(append_fitted(display, BYTES(display->cell.data, display->cell.size), column->width,
                          column->numbers && column->seen, last));
        return dim ? color(display, CELL_PLAIN) : ST_OK;
}

static Status note_late_fields(Display *display, Value row)
{
        Bytes key;
        for (size_t i = 0; i < value_count(row); i++) {
                value_field_at(row, i, &key);
                if (!find_column(display, key))
                        TRY(note_late(display, key));
        }
        return ST_OK;
}

static Value column_value(const Column *column, Value row)
{
        if (is_row_object(row))
                return column->name.data ? value_get(row, column->name) : value_none();
        return column->name.data ? value_none() : row;
}

static Status write_table_row(Display *display, Value row)
{
        if (!is_row_object(row) && !plain_column(display)) { /* between objects: across all columns */
                TRY(make_cell(display, row));
                TRY(buf_append_byte(&display->line, ' '));
                size_t room = display->style.columns > 2 ? display->style.columns - 2 : 1;
                TRY(append_fitted(display, BYTES(display->cell.data, display->cell.size), room, false, true));
                return write_line(display);
        }
        for (size_t i = 0; i < display->shown_count; i++) {
                const Column *column = &display->columns[i];
                TRY(buf_append_str(&display->line, i ? " | " : " "));
                TRY(append_cell(display, column, column_value(column, row), i + 1 == display->shown_count));
        }
        while (display->line.size && display->line.data[display->line.size - 1] == ' ')
                display->line.size--;
        TRY(write_line(display));
        return is_row_object(row) ? note_late_fields(display, row) : ST_OK;
}

/* --- one row as lines --- */

/* Text of several lines, the ones after the first indented. */
static Status write_lines(Display *display, Bytes text, size_t indent)
{
        do {
                const uint8_t *end = text.size ? memchr(text.data, '\n', text.size) : NULL;
                size_t size = end ? (size_t)(end - text.data) : text.size;
                TRY(cell_append_text(BYTES(text.data, size), &display->line));
                TRY(write_line(display));
                text = BYTES(text.data + size + (end != NULL), text.size - size - (end != NULL));
                if (text.size)
                        TRY(spaces(&display->line, indent));
        } while (text.size > 0);
        return ST_OK;
}

/* `field | value`; a value that needs it goes on below. */
static Status write_field(Display *display, Bytes title, size_t title_width, Value v)
{
        size_t indent = title_width + 3;
        size_t columns = display->style.columns ? MAX(display->style.columns, indent + 20) : 100;
        TRY(color(display, CELL_BOLD));
        TRY(buf_append(&display->line, title.data, title.size));
        TRY(color(display, CELL_PLAIN));
        TRY(spaces(&display->line, title_width - cell_width(title)));
        TRY(buf_append_str(&display->line, " | "));
        if (value_is(v, V_ARRAY) || value_is(v, V_OBJECT) || value_is(v, V_GEOMETRY)) {
                TRY(cell_append_pretty(v, indent, columns, display->style.color, &display->line));
        } else {
                if (value_is(v, V_STRING))
                        return write_lines(display, value_bytes(v), indent);
                if (value_is(v, V_NULL))
                        TRY(color(display, CELL_DIM));
                TRY(cell_append_value(v, 0, &display->line));
                if (value_is(v, V_NULL))
                        TRY(color(display, CELL_PLAIN));
        }
        return write_line(display);
}

/* Places of the fields in the order in which they are shown. */
static const size_t *order_fields(Display *display, Value row)
{
        const char *const *order = display->style.order ? display->style.order : id_order;
        size_t count = value_count(row), placed = 0;
        size_t *places = arena_array(&display->row_arena, size_t, count + 1);
        Bytes key;
        for (size_t i = 0; i < count; i++)
                places[i] = i;
        for (; *order; order++) {
                for (size_t i = placed; i < count; i++) {
                        value_field_at(row, places[i], &key);
                        if (!bytes_equal(key, BYTES_STR(*order)))
                                continue;
                        size_t place = places[i];
                        memmove(places + placed + 1, places + placed, (i - placed) * sizeof *places);
                        places[placed++] = place;
                        break;
                }
        }
        return places;
}

static Status write_fields(Display *display, Value row)
{
        size_t width = 1;
        Bytes key;
        if (!is_row_object(row))
                return write_field(display, BYTES_STR("value"), 5, row);
        if (value_count(row) == 0) {
                TRY(buf_append_str(&display->line, "{}"));
                return write_line(display);
        }
        Bytes *titles = arena_array(&display->row_arena, Bytes, value_count(row));
        for (size_t i = 0; i < value_count(row); i++) {
                value_field_at(row, i, &key);
                buf_clear(&display->cell);
                TRY(cell_append_text(key, &display->cell));
                titles[i] = BYTES(arena_dup(&display->row_arena, display->cell.data, display->cell.size),
                                  display->cell.size);
                width = MAX(width, cell_width(titles[i]));
        }
        const size_t *places = order_fields(display, row);
        for (size_t n = 0; n < value_count(row); n++)
                TRY(write_field(display, titles[places[n]], width, value_field_at(row, places[n], &key)));
        return ST_OK;
}

static Status write_expanded(Display *display, Value row)
{
        TRY(color(display, CELL_DIM));
        TRY(buf_printf(&display->line, "-[ %llu ]----", (unsigned long long)display->rows + 1));
        TRY(color(display, CELL_PLAIN));
        TRY(write_line(display));
        return write_fields(display, row);
}

/* --- CSV --- */

static Status write_csv_line(Display *display)
{
        Status st = write_plain(display, BYTES(display->line.data, display->line.size));
        buf_clear(&display->line);
        return st ? st : sink_str(display->sink, display->sink->terminal ? "\n" : "\r\n");
}

static Status write_csv_header(Display *display)
{
        for (size_t i = 0; i < display->column_count; i++) {
                const Column *column = &display->columns[i];
                if (i)
                        TRY(buf_append_byte(&display->line, ','));
                Bytes name = column->name.data ? column->name : column->title;
                TRY(csv_append_cell(value_string(name), BYTES_NONE, ',', &display->line));
        }
        return write_csv_line(display);
}

/* Times in ISO 8601 and binaries in base64; all else as `export` writes it. */
static Status append_csv_cell(Display *display, Value v)
{
        if (value_is(v, V_NONE))
                return ST_OK;
        if (value_is(v, V_TIME)) {
                TRY(make_cell(display, v));
                return csv_append_cell(value_string(BYTES(display->cell.data, display->cell.size)), BYTES_NONE, ',',
                                       &display->line);
        }
        Bytes json = json_text(v, &display->row_arena);
        if (value_is(v, V_BINARY)) {
                Bytes data = jsontext_field(json, "data");
                v = value_string(data.size >= 2 ? BYTES(data.data + 1, data.size - 2) : data);
        }
        return csv_append_cell(v, json, ',', &display->line);
}

static Status write_csv_row(Display *display, Value row)
{
        for (size_t i = 0; i < display->column_count; i++) {
                if (i)
                        TRY(buf_append_byte(&display->line, ','));
                TRY(append_csv_cell(display, column_value(&display->columns[i], row)));
        }
        TRY(write_csv_line(display));
        return is_row_object(row) ? note_late_fields(display, row) : ST_OK;
}

/* --- rows --- */

static Status write_tabular_row(Display *display, Value row)
{
        if (display->style.format == DISPLAY_CSV)
                return write_csv_row(display, row);
        return write_table_row(display, row);
}

/* Documents of a changefeed that tell its state or one side of a change: more will have the others. */
static Status expect_changes(Display *display)
{
        static const char *const told[] = {"state", "new_val", "old_val", "error"};
        for (size_t i = 0; i < ELEMENTS(told); i++)
                if (find_column(display, BYTES_STR(told[i]))) {
                        TRY(add_column(display, BYTES_STR("new_val")));
                        return add_column(display, BYTES_STR("old_val"));
                }
        return ST_OK;
}

/* Columns in their order and with their widths, from what was measured; the header. */
static Status begin_table(Display *display)
{
        order_columns(display);
        map_free(display->column_of);
        display->column_of = NULL;
        TRY(map_new(&display->column_of));
        for (size_t i = 0; i < display->column_count; i++) {
                if (display->columns[i].name.data)
                        TRY(map_put(display->column_of, display->columns[i].name, (void *)(uintptr_t)(i + 1), NULL));
        }
        fit_columns(display);
        if (display->feed)
                share_line(display);
        display->laid_out = true;
        if (display->column_count > 0)
                TRY(display->style.format == DISPLAY_CSV ? write_csv_header(display) : write_header(display));
        return ST_OK;
}

static bool has_new_fields(const Display *display, Value row)
{
        Bytes key;
        for (size_t i = 0; is_row_object(row) && i < value_count(row); i++) {
                value_field_at(row, i, &key);
                if (!find_column(display, key))
                        return true;
        }
        return false;
}

/* A row of a feed whose table has columns already. */
static Status write_feed_row(Display *display, Value row)
{
        if (display->style.format == DISPLAY_TABLE && display->column_count < COLUMNS_MAX &&
            has_new_fields(display, row)) {
                TRY(measure_row(display, row));
                TRY(begin_table(display));
        }
        return write_tabular_row(display, row);
}

/* Columns from the held rows, then these. */
static Status lay_out(Display *display)
{
        for (size_t i = 0; i < display->sample_count; i++)
                TRY(measure_row(display, display->sample[i]));
        if (display->feed)
                TRY(expect_changes(display));
        TRY(begin_table(display));
        for (size_t i = 0; i < display->sample_count; i++) {
                arena_reset(&display->row_arena);
                TRY(write_tabular_row(display, display->sample[i]));
        }
        display->sample_count = display->sample_bytes = 0;
        return ST_OK;
}

static Status hold_row(Display *display, Bytes json)
{
        Value row;
        TRY(parse(display, json, &display->sample_arena, &row));
        display->sample[display->sample_count++] = row;
        display->sample_bytes += json.size;
        display->rows++;
        if (display->sample_count == SAMPLE_ROWS || display->sample_bytes >= SAMPLE_BYTES)
                return lay_out(display);
        return ST_OK;
}

static bool is_expanded(const Display *display)
{
        return display->style.format == DISPLAY_TABLE && display->style.expanded;
}

static Status write_text(Display *display, Bytes json)
{
        Value row;
        switch (display->style.format) {
        case DISPLAY_JSON:
                TRY(sink_str(display->sink, display->rows ? ",\n" : "[\n"));
                return write_plain(display, json);
        case DISPLAY_JSONL: TRY(write_plain(display, json)); return sink_write(display->sink, "\n", 1);
        case DISPLAY_PRETTY:
                TRY(parse(display, json, &display->row_arena, &row));
                TRY(cell_append_pretty(row, 0, display->style.columns ? display->style.columns : 100,
                                       display->style.color, &display->line));
                return write_line(display);
        default: break;
        }
        assert(display->style.format == DISPLAY_RAW);
        if (json.size == 0 || json.data[0] != '"') {
                TRY(write_plain(display, json));
                return sink_write(display->sink, "\n", 1);
        }
        TRY(parse(display, json, &display->row_arena, &row));
        TRY(write_plain(display, value_bytes(row)));
        return sink_write(display->sink, "\n", 1);
}

Status display_row(Display *display, Bytes json)
{
        arena_reset(&display->row_arena);
        if (is_tabular(display) && !is_expanded(display)) {
                if (!display->laid_out)
                        return hold_row(display, json);
                Value row;
                TRY(parse(display, json, &display->row_arena, &row));
                display->rows++;
                return display->feed ? write_feed_row(display, row) : write_tabular_row(display, row);
        }
        if (is_expanded(display)) {
                Value row;
                TRY(parse(display, json, &display->row_arena, &row));
                TRY(write_expanded(display, row));
        } else {
                TRY(write_text(display, json));
        }
        display->rows++;
        return ST_OK;
}

static Status atom_row(void *ctx, Bytes element)
{
        Display *display = ctx;
        return display_is_full(display) ? ST_OK : display_row(display, element);
}

/* {group, reduction} objects, as drivers make them of grouped data. */
static Status grouped_rows(Display *display, Value data)
{
        Arena arena;
        arena_init(&arena, 0);
        Status st = ST_OK;
        for (size_t i = 0; st == ST_OK && i < value_count(data) && !display_is_full(display); i++) {
                Value pair = value_at(data, i);
                ObjectBuilder row;
                arena_reset(&arena);
                object_init(&row, &arena, 2);
                object_add_str(&row, "group", value_at(pair, 0));
                object_add_str(&row, "reduction", value_at(pair, 1));
                st = display_row(display, json_text(object_take(&row), &arena));
        }
        arena_done(&arena);
        return st;
}

static bool is_grouped(Bytes json)
{
        return bytes_equal(jsontext_field(json, "$reql_type$"), BYTES_STR("\"GROUPED_DATA\""));
}

Status display_atom(Display *display, Bytes json)
{
        Value value;
        if (json.size && json.data[0] == '[')
                return jsontext_each_element(json, atom_row, display);
        if (json.size && json.data[0] == '{' && is_grouped(json) && display->style.format != DISPLAY_JSON) {
                Arena arena;
                arena_init(&arena, 0);
                Status st = json_parse_copy(json, JSON_PLAIN, &arena, &value);
                if (st == ST_OK)
                        st = grouped_rows(display, value_get_str(value, "data"));
                arena_done(&arena);
                return st;
        }
        display->scalar_atom = true;
        display->rows++;
        if (display->style.format == DISPLAY_JSON) {
                TRY(write_plain(display, json));
                return sink_write(display->sink, "\n", 1);
        }
        if (display->style.format == DISPLAY_CSV) {
                display->rows--;
                return display_row(display, json);
        }
        if (display->style.format != DISPLAY_TABLE && !(display->style.format == DISPLAY_PRETTY && display->style.plan))
                return write_text(display, json);
        TRY(parse(display, json, &display->row_arena, &value));
        Value text = display->style.plan && is_row_object(value) ? value_get_str(value, "text") : value_none();
        if (value_is(text, V_STRING))
                return write_lines(display, value_bytes(text), 0);
        if (is_row_object(value))
                return write_fields(display, value);
        TRY(cell_append_pretty(value, 0, display->style.columns ? display->style.columns : 100, display->style.color,
                               &display->line));
        return write_line(display);
}

Status display_settle(Display *display)
{
        if (is_tabular(display) && !is_expanded(display) && !display->laid_out && display->sample_count > 0)
                TRY(lay_out(display));
        return sink_flush(display->sink);
}

Status display_end(Display *display)
{
        TRY(display_settle(display));
        if (display->scalar_atom)
                return ST_OK;
        if (display->style.format == DISPLAY_JSON)
                return sink_str(display->sink, display->rows ? "\n]\n" : "[]\n");
        if (display->style.format == DISPLAY_TABLE && display->style.footer)
                return sink_printf(display->sink, "(%llu row%s)\n", (unsigned long long)display->rows,
                                   display->rows == 1 ? "" : "s");
        return ST_OK;
}

const char *display_hidden_fields(Display *display)
{
        Buf text;
        Status st = ST_OK;
        size_t shown = 0, hidden = map_count(display->late);
        size_t unfit = display->laid_out && display->style.format == DISPLAY_TABLE
                               ? display->column_count - display->shown_count
                               : 0;
        if (hidden + unfit == 0)
                return NULL;
        buf_init(&text, 64 * 1024);
        for (size_t i = 0; !st && i < unfit && shown < LATE_NAMES_SHOWN; i++, shown++) {
                Bytes title = display->columns[display->shown_count + i].title;
                st = buf_printf(&text, "%s%.*s", shown ? ", " : "", (int)MIN(title.size, 200),
                                (const char *)title.data);
        }
        for (size_t i = 0; !st && i < MIN(hidden, LATE_NAMES_SHOWN) && shown < LATE_NAMES_SHOWN; i++, shown++) {
                st = shown ? buf_append_str(&text, ", ") : ST_OK;
                st = st ? st : cell_append_text(display->late_names[i], &text);
        }
        if (!st && hidden + unfit > shown)
                st = buf_printf(&text, " and %zu more", hidden + unfit - shown);
        st = st ? st : buf_append_byte(&text, 0);
        mem_free(display->hidden);
        display->hidden = st ? NULL : mem_strdup((const char *)text.data);
        status_ignore(st);
        buf_done(&text);
        return display->hidden;
}
