/* rows.c - a window over the file that always holds the present row whole.
 *
 *      data  |......consumed......|==== row ====|....read ahead....|  padding
 *            0                    start         at                 size
 *
 * `fill` moves the row to the front and reads more. A row above the maximum is let go while it is scanned (`oversize`),
 * so that memory stays bounded and the rows behind it are found. */
#include "cli/rows.h"

#include <errno.h>
#include <strings.h>

#include "base/mem.h"
#include "cli/csv.h"
#include "value/json.h"

enum { READ_BYTES = 256 * 1024, NESTING_MAX = 2048, SHOWN_BYTES = 40 };

struct RowReader {
        RowOptions options;
        RowFormat format;
        uint8_t separator;
        bool in_array, ended; /* JSON: the rows are elements of an array */
        uint8_t *data;
        size_t start, at, size, capacity;
        bool eof, oversize;
        uint64_t consumed_bytes; /* before data[0] */
        uint64_t line;           /* of data[start] */
        CsvColumns columns;
        Arena columns_arena, row_arena;
        Buf csv_json;
};

/* --- the window --- */

/* Reads more behind `size`; *ret_more is false at the end of the file. Positions move, `at - start` stays. */
static Status fill(RowReader *reader, bool *ret_more)
{
        *ret_more = false;
        if (reader->eof)
                return ST_OK;
        if (reader->at - reader->start > reader->options.row_max_bytes) {
                reader->oversize = true;
                for (const uint8_t *p = reader->data + reader->start; p < reader->data + reader->at; p++)
                        reader->line += *p == '\n';
                reader->start = reader->at;
        }
        if (reader->start > 0) {
                memmove(reader->data, reader->data + reader->start, reader->size - reader->start);
                reader->consumed_bytes += reader->start;
                reader->at -= reader->start;
                reader->size -= reader->start;
                reader->start = 0;
        }
        if (reader->capacity - reader->size < READ_BYTES + JSON_PADDING) {
                size_t capacity = MAX(reader->capacity * 2, 4 * READ_BYTES);
                uint8_t *data = mem_realloc(reader->data, capacity);
                if (!data)
                        return status_nomem();
                reader->data = data;
                reader->capacity = capacity;
        }
        ssize_t n = reader->options.read(reader->options.ctx, reader->data + reader->size, READ_BYTES);
        if (n < 0 && errno == EINTR)
                return status_new(ERR_CANCELLED, "interrupted");
        if (n < 0)
                return status_errno(errno, "cannot read %s", reader->options.name);
        if (n == 0) {
                reader->eof = true;
                memset(reader->data + reader->size, 0, JSON_PADDING);
                return ST_OK;
        }
        reader->size += (size_t)n;
        memset(reader->data + reader->size, 0, JSON_PADDING);
        *ret_more = true;
        return ST_OK;
}

/* The byte at `at`, -1 at the end of the file. */
static Status peek(RowReader *reader, int *ret_byte)
{
        if (unlikely(reader->at == reader->size)) {
                bool more;
                TRY(fill(reader, &more));
                if (!more) {
                        *ret_byte = -1;
                        return ST_OK;
                }
        }
        *ret_byte = reader->data[reader->at];
        return ST_OK;
}

/* What is before `at` is done with. */
static void consume(RowReader *reader)
{
        const uint8_t *end = reader->data + reader->at;
        for (const uint8_t *p = reader->data + reader->start; p < end; p++) {
                p = memchr(p, '\n', (size_t)(end - p));
                if (!p)
                        break;
                reader->line++;
        }
        reader->start = reader->at;
        reader->oversize = false;
}

static Status skip_space(RowReader *reader, int *ret_byte)
{
        for (;;) {
                TRY(peek(reader, ret_byte));
                if (*ret_byte != ' ' && *ret_byte != '\n' && *ret_byte != '\r' && *ret_byte != '\t')
                        break;
                reader->at++;
        }
        consume(reader);
        return ST_OK;
}

/* --- scanning one row: from `start` to `at` --- */

static Status scan_line(RowReader *reader)
{
        for (bool more = true; more;) {
                const uint8_t *from = reader->data + reader->at;
                const uint8_t *newline =
                        reader->size > reader->at ? memchr(from, '\n', reader->size - reader->at) : NULL;
                if (newline) {
                        reader->at += (size_t)(newline - from);
                        return ST_OK;
                }
                reader->at = reader->size;
                TRY(fill(reader, &more));
        }
        return ST_OK;
}

/* An open quote or bracket has swallowed everything to the end: only the first line is to blame, and those up to a line
 * that begins with `next` (0: any). Goes back to the end of the line before. */
static void give_back_lines(RowReader *reader, uint8_t next)
{
        if (reader->oversize)
                return;
        for (size_t i = reader->start; i < reader->at; i++) {
                if (reader->data[i] != '\n')
                        continue;
                size_t first = i + 1;
                while (first < reader->at && (reader->data[first] == ' ' || reader->data[first] == '\t'))
                        first++;
                if (!next || (first < reader->at && reader->data[first] == next)) {
                        reader->at = i;
                        return;
                }
        }
}

/* A quote opens only at the beginning of a cell; line ends inside quotes belong to the cell. */
static Status scan_record(RowReader *reader)
{
        bool quoted = false, cell_start = true;
        for (;; reader->at++) {
                int c;
                TRY(peek(reader, &c));
                if (quoted) {
                        if (c == -1 || reader->at - reader->start > reader->options.row_max_bytes) {
                                give_back_lines(reader, 0);
                                return ST_OK;
                        }
                        if (c != '"')
                                continue;
                        reader->at++;
                        TRY(peek(reader, &c));
                        if (c == '"')
                                continue;
                        quoted = false;
                }
                if (c == -1 || c == '\n')
                        return ST_OK;
                quoted = cell_start && c == '"';
                cell_start = c == reader->separator;
        }
}

/* Strings end at a line end, too: JSON has none inside, and so an unclosed one costs a line and not the file. */
static Status scan_string(RowReader *reader)
{
        for (reader->at++;; reader->at++) {
                int c;
                TRY(peek(reader, &c));
                if (c == -1 || c == '\n')
                        return ST_OK;
                if (c == '"') {
                        reader->at++;
                        return ST_OK;
                }
                if (c == '\\') {
                        reader->at++;
                        TRY(peek(reader, &c));
                        if (c == -1 || c == '\n')
                                return ST_OK;
                }
        }
}

static bool ends_scalar(int c)
{
        return c == -1 || c == ',' || c == ']' || c == '}' || c == '{' || c == '[' || c == ' ' || c == '\n' ||
               c == '\r' || c == '\t';
}

static Status scan_scalar(RowReader *reader)
{
        size_t length = 0;
        for (;; length++, reader->at++) {
                int c;
                TRY(peek(reader, &c));
                if (ends_scalar(c) && (length > 0 || c == -1))
                        return ST_OK;
        }
}

/* Any value, or what stands in a value's place. A bracket that closes another kind closes what is inside, too. */
static Status scan_value(RowReader *reader)
{
        uint8_t open[NESTING_MAX];
        size_t depth = 0;
        for (;;) {
                int c;
                TRY(peek(reader, &c));
                if (c == '"') {
                        TRY(scan_string(reader));
                } else if (c == '{' || c == '[') {
                        if (depth < NESTING_MAX)
                                open[depth] = (uint8_t)c;
                        depth++;
                        reader->at++;
                } else if (depth == 0) {
                        return scan_scalar(reader);
                } else if (c == '}' || c == ']') {
                        size_t level = depth;
                        uint8_t wanted = c == '}' ? '{' : '[';
                        while (level > 0 && level <= NESTING_MAX && open[level - 1] != wanted)
                                level--;
                        if (level == 0 && c == ']' && reader->in_array) { /* the end of all rows */
                                give_back_lines(reader, '{');
                                return ST_OK;
                        }
                        depth = level > 0 ? level - 1 : depth;
                        reader->at++;
                } else if (c == -1) {
                        give_back_lines(reader, '{');
                        return ST_OK;
                } else {
                        reader->at++;
                }
                if (depth == 0)
                        return ST_OK;
        }
}

/* --- judging one row --- */

static Status row_too_long(const RowReader *reader)
{
        return status_new(ERR_LIMIT, "the row is longer than %zu MiB", reader->options.row_max_bytes >> 20);
}

static Status check_json(RowReader *reader, Bytes text)
{
        Value v;
        Status st = json_parse(text, JSON_PSEUDO, &reader->row_arena, &v);
        if (status_code(st) == ERR_EXISTS) {
                Status better = status_new(ERR_INVALID, "the key \"%s\" is there twice", status_message(st));
                status_ignore(st);
                return better;
        }
        TRY(st);
        if (!value_is(v, V_OBJECT))
                return status_new(ERR_INVALID, "a row must be an object, this is %.*s%s",
                                  (int)MIN(text.size, SHOWN_BYTES), (const char *)text.data,
                                  text.size > SHOWN_BYTES ? "..." : "");
        return ST_OK;
}

/* Ends the row at `at`; `text` of it is the row. Sets everything in ret_row but its place. */
static Status judge(RowReader *reader, Row *ret_row)
{
        Bytes text = BYTES(reader->data + reader->start, reader->at - reader->start);
        arena_reset(&reader->row_arena);
        if (reader->oversize || text.size > reader->options.row_max_bytes) {
                ret_row->bad = row_too_long(reader);
                return ST_OK;
        }
        if (reader->format == ROWS_CSV) {
                if (text.size && text.data[text.size - 1] == '\r')
                        text.size--;
                buf_clear(&reader->csv_json);
                ret_row->bad = csv_to_json(text, reader->separator, &reader->columns, reader->options.types,
                                           reader->options.json_cells, &reader->row_arena, &reader->csv_json);
                if (ret_row->bad)
                        return ST_OK;
                TRY(buf_reserve(&reader->csv_json, JSON_PADDING));
                memset(reader->csv_json.data + reader->csv_json.size, 0, JSON_PADDING);
                text = BYTES(reader->csv_json.data, reader->csv_json.size);
        }
        ret_row->bad = check_json(reader, text);
        ret_row->json = text;
        return ST_OK;
}

/* --- rows --- */

/* Moves to the next row; *ret_found is false at the end. Something in the way may be a bad row by itself. */
static Status find_json_row(RowReader *reader, Row *ret_row, bool *ret_found)
{
        int c;
        *ret_found = false;
        do {
                TRY(skip_space(reader, &c));
                if (c == ',')
                        reader->at++;
        } while (c == ',');
        if (c == -1) {
                reader->ended = true;
                if (!reader->in_array)
                        return ST_OK;
                *ret_found = true;
                ret_row->bad = status_new(ERR_INVALID, "the file ends before the array does: it may be cut off");
        } else if (c == ']' && reader->in_array) {
                reader->at++;
                reader->ended = true;
                consume(reader);
        } else {
                *ret_found = true;
        }
        return ST_OK;
}

static Status find_line_row(RowReader *reader, bool *ret_found)
{
        int c;
        for (;;) {
                if (reader->format == ROWS_NDJSON)
                        TRY(skip_space(reader, &c));
                else
                        TRY(peek(reader, &c));
                /* in a table of one column an empty line is a row without it */
                if (reader->format != ROWS_CSV || reader->columns.count == 1 || (c != '\n' && c != '\r'))
                        break;
                reader->at++;
                consume(reader);
        }
        *ret_found = c != -1;
        return ST_OK;
}

Status rows_next(RowReader *reader, Row *ret_row, bool *ret_found)
{
        *ret_row = (Row){0};
        *ret_found = false;
        if (reader->ended)
                return ST_OK;
        consume(reader);
        if (reader->format == ROWS_JSON) {
                TRY(find_json_row(reader, ret_row, ret_found));
                ret_row->line = ret_row->line_last = reader->line;
                if (!*ret_found || ret_row->bad)
                        return ST_OK;
        } else {
                TRY(find_line_row(reader, ret_found));
                if (!*ret_found)
                        return ST_OK;
        }
        ret_row->line = reader->line;
        TRY(reader->format == ROWS_JSON  ? scan_value(reader)
            : reader->format == ROWS_CSV ? scan_record(reader)
                                         : scan_line(reader));
        ret_row->line_last = reader->line;
        for (size_t i = reader->start; i < reader->at; i++)
                ret_row->line_last += reader->data[i] == '\n';
        TRY(judge(reader, ret_row));
        if (reader->format == ROWS_CSV && reader->at < reader->size) /* its line end; data stays where it is */
                reader->at++;
        return ST_OK;
}

/* --- the beginning --- */

static bool name_ends_in(const char *name, const char *end)
{
        size_t length = strlen(name), end_length = strlen(end);
        return length >= end_length && strcasecmp(name + length - end_length, end) == 0;
}

/* `{`: one object a line, or objects over several lines? The first line tells. */
static Status guess_json(RowReader *reader, int first)
{
        if (first == '[' || reader->options.rows_at) {
                reader->format = ROWS_JSON;
                return ST_OK;
        }
        TRY(scan_line(reader));
        size_t line_end = reader->at - reader->start;
        reader->at = reader->start;
        reader->oversize = false;
        TRY(scan_value(reader));
        reader->format = reader->at - reader->start <= line_end ? ROWS_NDJSON : ROWS_JSON;
        reader->at = reader->start;
        reader->oversize = false;
        return ST_OK;
}

static Status guess_format(RowReader *reader)
{
        const char *name = reader->options.name;
        int c;
        TRY(skip_space(reader, &c));
        if (name_ends_in(name, ".ndjson") || name_ends_in(name, ".jsonl")) {
                reader->format = ROWS_NDJSON;
                return ST_OK;
        }
        if (name_ends_in(name, ".csv") || name_ends_in(name, ".tsv")) {
                reader->format = ROWS_CSV;
                return ST_OK;
        }
        if (c == '{' || c == '[' || name_ends_in(name, ".json") || name_ends_in(name, ".geojson"))
                return guess_json(reader, c);
        reader->format = ROWS_CSV;
        return ST_OK;
}

static Status check_encoding(RowReader *reader)
{
        for (bool more = true; more && reader->size < 3;)
                TRY(fill(reader, &more));
        size_t size = reader->size;
        const uint8_t *data = reader->data;
        if (size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0) {
                reader->at = 3;
                consume(reader);
        } else if (size >= 2 && (memcmp(data, "\xff\xfe", 2) == 0 || memcmp(data, "\xfe\xff", 2) == 0)) {
                return status_hint(status_new(ERR_INVALID, "%s is UTF-16", reader->options.name),
                                   "convert it: iconv -f UTF-16 -t UTF-8 FILE | photondb import --table DB.TABLE -");
        } else if (size >= 2 && memcmp(data, "\x1f\x8b", 2) == 0) {
                return status_hint(status_new(ERR_INVALID, "%s is compressed", reader->options.name),
                                   "unpack it on the way: zcat FILE | photondb import --table DB.TABLE -");
        }
        return ST_OK;
}

static Status not_there(const RowReader *reader)
{
        return status_hint(status_new(ERR_INVALID, "%s: there is no array at \"%s\"", reader->options.name,
                                      reader->options.rows_at),
                           "--rows-at names the fields that lead to the array, for example --rows-at data.items");
}

/* From the object at `at` to the value of its field `name`; what is before is let go. */
static Status enter_field(RowReader *reader, const char *name, size_t length)
{
        int c;
        TRY(skip_space(reader, &c));
        if (c != '{')
                return not_there(reader);
        reader->at++;
        for (;;) {
                TRY(skip_space(reader, &c));
                if (c == ',') {
                        reader->at++;
                        continue;
                }
                if (c != '"')
                        return not_there(reader);
                TRY(scan_string(reader));
                bool wanted = !reader->oversize && reader->at - reader->start == length + 2 &&
                              memcmp(reader->data + reader->start + 1, name, length) == 0;
                TRY(skip_space(reader, &c));
                if (c != ':')
                        return not_there(reader);
                reader->at++;
                TRY(skip_space(reader, &c));
                if (wanted)
                        return ST_OK;
                TRY(scan_value(reader));
                consume(reader);
        }
}

static Status begin_json(RowReader *reader)
{
        int c;
        for (const char *path = reader->options.rows_at; path && *path;) {
                size_t length = strcspn(path, ".");
                TRY(enter_field(reader, path, length));
                path += length;
                path += *path == '.';
        }
        TRY(skip_space(reader, &c));
        if (c == '[') {
                reader->at++;
                reader->in_array = true;
                consume(reader);
        } else if (reader->options.rows_at) {
                return not_there(reader);
        }
        return ST_OK;
}

/* Marks the columns that stay text. */
static Status mark_strings(RowReader *reader)
{
        CsvColumns strings, *columns = &reader->columns;
        if (!reader->options.strings)
                return ST_OK;
        TRY_CTX(csv_columns(BYTES_STR(reader->options.strings), ',', &reader->columns_arena, &strings), "--strings");
        columns->text = arena_zalloc(&reader->columns_arena, columns->count + 1);
        for (size_t i = 0; i < strings.count; i++) {
                size_t at = 0;
                while (at < columns->count && !bytes_equal(columns->names[at], strings.names[i]))
                        at++;
                if (at == columns->count)
                        return status_new(ERR_INVALID, "--strings: there is no column \"%.*s\"",
                                          (int)strings.names[i].size, (const char *)strings.names[i].data);
                columns->text[at] = true;
        }
        return ST_OK;
}

static Status begin_csv(RowReader *reader)
{
        reader->separator = reader->options.separator                    ? reader->options.separator
                            : name_ends_in(reader->options.name, ".tsv") ? '\t'
                                                                         : ',';
        Bytes header;
        if (reader->options.columns) {
                header = BYTES_STR(reader->options.columns);
                TRY(csv_columns(header, ',', &reader->columns_arena, &reader->columns));
                return mark_strings(reader);
        }
        int c;
        TRY(skip_space(reader, &c));
        if (c == -1)
                return ST_OK;
        TRY(scan_record(reader));
        header = BYTES(reader->data + reader->start, reader->at - reader->start);
        if (header.size && header.data[header.size - 1] == '\r')
                header.size--;
        header.data = arena_dup(&reader->columns_arena, header.data, header.size);
        TRY_CTX(csv_columns(header, reader->separator, &reader->columns_arena, &reader->columns), "%s",
                reader->options.name);
        if (reader->at < reader->size)
                reader->at++;
        consume(reader);
        return mark_strings(reader);
}

Status rows_open(const RowOptions *options, RowReader **ret_reader)
{
        _cleanup_(rows_closep) RowReader *reader = mem_zalloc(sizeof *reader);
        if (!reader)
                return status_nomem();
        reader->options = *options;
        reader->format = options->format;
        reader->line = 1;
        arena_init(&reader->columns_arena, 0);
        arena_init(&reader->row_arena, 0);
        buf_init(&reader->csv_json, 8 * options->row_max_bytes + 65536);
        TRY(check_encoding(reader));
        if (reader->format == ROWS_AUTO)
                TRY(guess_format(reader));
        if (reader->format == ROWS_JSON)
                TRY(begin_json(reader));
        if (reader->format == ROWS_CSV)
                TRY(begin_csv(reader));
        *ret_reader = take(reader);
        return ST_OK;
}

RowReader *rows_close(RowReader *reader)
{
        if (reader) {
                mem_free(reader->data);
                arena_done(&reader->columns_arena);
                arena_done(&reader->row_arena);
                buf_done(&reader->csv_json);
                mem_free(reader);
        }
        return NULL;
}

uint64_t rows_bytes_read(const RowReader *reader)
{
        return reader->consumed_bytes + reader->at;
}

RowFormat rows_format(const RowReader *reader)
{
        return reader->format;
}
