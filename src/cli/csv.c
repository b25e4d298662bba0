/* csv.c - see csv.h. */
#include "cli/csv.h"

#include <math.h>
#include <stdlib.h>

#include "value/json.h"

typedef struct Cell {
        Bytes text; /* without quotes */
        bool quoted;
} Cell;

/* Takes one cell at *at; *at moves behind it and its separator. *ret_more: another follows. */
static Status next_cell(const uint8_t **at, const uint8_t *end, uint8_t separator, Arena *arena, Cell *ret_cell,
                        bool *ret_more)
{
        const uint8_t *from = *at, *to;
        if (from < end && *from == '"') {
                uint8_t *text = arena_alloc(arena, (size_t)(end - from)), *next = text;
                for (to = from + 1;; to++) {
                        if (to == end)
                                return status_new(ERR_INVALID, "a quoted cell does not end");
                        if (*to == '"' && (to + 1 == end || to[1] != '"'))
                                break;
                        to += *to == '"';
                        *next++ = *to;
                }
                to++;
                if (to < end && *to != separator)
                        return status_new(ERR_INVALID, "text after the closing quote of a cell");
                *ret_cell = (Cell){.text = BYTES(text, next - text), .quoted = true};
        } else {
                to = memchr(from, separator, (size_t)(end - from));
                to = to ? to : end;
                if (to > from && memchr(from, '"', (size_t)(to - from)))
                        return status_new(ERR_INVALID, "a quote inside a cell that does not begin with one");
                *ret_cell = (Cell){.text = BYTES(from, to - from)};
        }
        *ret_more = to < end;
        *at = to + (to < end);
        return ST_OK;
}

Status csv_columns(Bytes record, uint8_t separator, Arena *arena, CsvColumns *ret_columns)
{
        const uint8_t *at = record.data, *end = at + record.size;
        size_t capacity = 1;
        for (const uint8_t *p = at; p < end; p++)
                capacity += *p == separator;
        CsvColumns columns = {.names = arena_array(arena, Bytes, capacity)};
        for (bool more = true; more;) {
                Cell cell;
                TRY(next_cell(&at, end, separator, arena, &cell, &more));
                if (cell.text.size == 0)
                        return status_hint(
                                status_new(ERR_INVALID, "column %zu of the header line has no name", columns.count + 1),
                                "name the columns with --columns a,b,c if the file has no header line");
                for (size_t i = 0; i < columns.count; i++) {
                        if (bytes_equal(columns.names[i], cell.text))
                                return status_new(ERR_INVALID, "the header line names \"%.*s\" twice",
                                                  (int)MIN(cell.text.size, 200), (const char *)cell.text.data);
                }
                columns.names[columns.count++] = cell.text;
        }
        *ret_columns = columns;
        return ST_OK;
}

static bool is_digit(uint8_t c)
{
        return c >= '0' && c <= '9';
}

/* JSON's grammar, finite, and no integer that a double would change. */
static bool is_number(Bytes text)
{
        const uint8_t *at = text.data, *end = at + text.size;
        at += at < end && *at == '-';
        const uint8_t *digits = at;
        while (at < end && is_digit(*at))
                at++;
        if (at == digits || (*digits == '0' && at - digits > 1))
                return false;
        bool whole = at == end, whole_part = true;
        if (at < end && *at == '.') {
                const uint8_t *fraction = ++at;
                whole_part = false;
                while (at < end && is_digit(*at))
                        at++;
                if (at == fraction)
                        return false;
        }
        if (at < end && (*at == 'e' || *at == 'E')) {
                bool sign = at + 1 < end && (at[1] == '+' || at[1] == '-');
                if (whole_part && !sign)
                        return false;
                at += 1 + sign;
                const uint8_t *exponent = at;
                while (at < end && is_digit(*at))
                        at++;
                if (at == exponent)
                        return false;
        }
        char copy[64];
        if (at != end || text.size >= sizeof copy)
                return false;
        memcpy(copy, text.data, text.size);
        copy[text.size] = 0;
        double number = strtod(copy, NULL);
        return isfinite(number) && (!whole || fabs(number) <= 9007199254740992.0);
}

static Status append_cell_json(const Cell *cell, bool types, bool json_cells, Arena *arena, Buf *out)
{
        if (!cell->quoted && types) {
                if (bytes_equal(cell->text, BYTES_STR("true")) || bytes_equal(cell->text, BYTES_STR("false")) ||
                    bytes_equal(cell->text, BYTES_STR("null")) || is_number(cell->text))
                        return buf_append(out, cell->text.data, cell->text.size);
        }
        if (json_cells && cell->quoted && cell->text.size && (cell->text.data[0] == '{' || cell->text.data[0] == '[')) {
                Value parsed;
                Status st = json_parse_copy(cell->text, JSON_PSEUDO, arena, &parsed);
                if (st == ST_OK)
                        return buf_append(out, cell->text.data, cell->text.size);
                status_ignore(st);
        }
        return json_write_string(cell->text, out);
}

Status csv_to_json(Bytes record, uint8_t separator, const CsvColumns *columns, bool types, bool json_cells,
                   Arena *arena, Buf *out)
{
        const uint8_t *at = record.data, *end = at + record.size;
        size_t count = 0, fields = 0;
        TRY(buf_append_byte(out, '{'));
        for (bool more = true; more; count++) {
                Cell cell;
                TRY(next_cell(&at, end, separator, arena, &cell, &more));
                if (count >= columns->count || (cell.text.size == 0 && !cell.quoted))
                        continue;
                if (fields++)
                        TRY(buf_append_byte(out, ','));
                TRY(json_write_string(columns->names[count], out));
                TRY(buf_append_byte(out, ':'));
                TRY(append_cell_json(&cell, types && !(columns->text && columns->text[count]), json_cells, arena, out));
        }
        if (count != columns->count)
                return status_new(ERR_INVALID, "the row has %zu cells, the header %zu", count, columns->count);
        return buf_append_byte(out, '}');
}

static Status append_quoted(Bytes text, Buf *out)
{
        TRY(buf_append_byte(out, '"'));
        for (size_t i = 0; i < text.size; i++) {
                if (text.data[i] == '"')
                        TRY(buf_append_byte(out, '"'));
                TRY(buf_append_byte(out, text.data[i]));
        }
        return buf_append_byte(out, '"');
}

/* Would this text, without quotes, come back as itself? */
static bool needs_quotes(Bytes text, uint8_t separator)
{
        if (text.size == 0 || is_number(text) || text.data[0] == ' ' || text.data[text.size - 1] == ' ' ||
            bytes_equal(text, BYTES_STR("true")) || bytes_equal(text, BYTES_STR("false")) ||
            bytes_equal(text, BYTES_STR("null")))
                return true;
        for (size_t i = 0; i < text.size; i++) {
                uint8_t c = text.data[i];
                if (c == separator || c == '"' || c == '\n' || c == '\r')
                        return true;
        }
        return false;
}

/* 1e21 as 1e+21, which is_number knows for one. */
static Status append_number(Bytes json, Buf *out)
{
        const uint8_t *e = memchr(json.data, 'e', json.size);
        size_t before = e ? (size_t)(e - json.data) + 1 : json.size;
        TRY(buf_append(out, json.data, before));
        if (e && before < json.size && *(e + 1) != '-' && *(e + 1) != '+')
                TRY(buf_append_byte(out, '+'));
        return buf_append(out, json.data + before, json.size - before);
}

Status csv_append_cell(Value v, Bytes json, uint8_t separator, Buf *out)
{
        switch (value_type(v)) {
        case V_NONE: return ST_OK;
        case V_NUMBER: return append_number(json, out);
        case V_NULL:
        case V_BOOL: return buf_append(out, json.data, json.size);
        case V_STRING: break;
        default: return append_quoted(json, out);
        }
        Bytes text = value_bytes(v);
        return needs_quotes(text, separator) ? append_quoted(text, out) : buf_append(out, text.data, text.size);
}
