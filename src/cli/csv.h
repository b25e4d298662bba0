/* csv.h - RFC 4180 records to JSON objects and back.
 * A cell without quotes that is empty is no field at all; with quotes it is always a string. Without quotes and with
 * types on: true, false, null, and numbers as JSON writes them (so 007 and 1e999 stay text, as do integers that a
 * double would round), but an exponent needs a point or a sign: 1.5e3, 1e+21; 0E4 is more often a code. A JSON object
 * or array in a quoted cell stays text unless `json_cells`. */
#ifndef CLI_CSV_H
#define CLI_CSV_H

#include "base/arena.h"
#include "base/bytes.h"
#include "value/value.h"

typedef struct CsvColumns {
        Bytes *names; /* in an arena */
        bool *text;   /* cells of this column are strings, whatever they look like; NULL: none are */
        size_t count;
} CsvColumns;

/* The first line. ERR_INVALID for an empty or repeated name. */
MUST_USE Status csv_columns(Bytes record, uint8_t separator, Arena *arena, CsvColumns *ret_columns);
/* Appends one record (without its line end) as a JSON object. ERR_INVALID: quotes in the wrong place, too many or too
 * few cells. */
MUST_USE Status csv_to_json(Bytes record, uint8_t separator, const CsvColumns *columns, bool types, bool json_cells,
                            Arena *arena, Buf *out);
/* Appends one cell that csv_to_json turns into the same value; V_NONE is the empty cell. Arrays and objects: their JSON
 * text, quoted. `json` is the value's own text, so that numbers keep their digits. */
MUST_USE Status csv_append_cell(Value v, Bytes json, uint8_t separator, Buf *out);

#endif
