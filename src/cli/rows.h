/* rows.h - rows of a file of any size, one after the other: a JSON array, JSON objects one after the other, NDJSON,
 * CSV. A row that is not right is handed out as such, with its line and the reason, and reading goes on behind it: at
 * the next line (NDJSON, CSV) or where its brackets close (JSON). Memory: one row. */
#ifndef CLI_ROWS_H
#define CLI_ROWS_H

#include <sys/types.h>

#include "base/arena.h"
#include "base/bytes.h"
#include "base/status.h"

typedef enum RowFormat { ROWS_AUTO, ROWS_JSON, ROWS_NDJSON, ROWS_CSV } RowFormat;

typedef struct RowOptions {
        ssize_t (*read)(void *ctx, void *out, size_t size); /* as read(2): what is there, 0 at the end, -1 and errno */
        void *ctx;
        const char *name; /* its name, for the format and for messages */
        RowFormat format;
        uint8_t separator;    /* of CSV; 0: a tab if the name ends in .tsv, else a comma */
        bool types;           /* CSV: numbers, true, false, null are recognised */
        bool json_cells;      /* CSV: quoted cells that hold a JSON object or array become one */
        const char *columns;  /* CSV: "a,b,c" when the file has no header line; NULL */
        const char *strings;  /* CSV: "a,b": columns whose cells stay text; NULL */
        const char *rows_at;  /* JSON: "features", "data.items": the array is inside an object there; NULL */
        size_t row_max_bytes; /* a longer row is bad */
} RowOptions;

typedef struct Row {
        Bytes json; /* one JSON object, valid; lives until the next call; JSON_PADDING readable bytes behind */
        uint64_t line, line_last; /* from 1 */
        Status bad;               /* why it is none; the caller frees it */
} Row;

typedef struct RowReader RowReader;
/* Reads the beginning: the format, CSV's header line, the way to `rows_at`. ERR_INVALID, ERR_IO. */
MUST_USE Status rows_open(const RowOptions *options, RowReader **ret_reader);
RowReader *rows_close(RowReader *reader);
static inline void rows_closep(RowReader **reader)
{
        *reader = rows_close(*reader);
}
/* Fails only when the file cannot be read on: ERR_IO, or ERR_CANCELLED when a signal came while waiting for more. */
MUST_USE Status rows_next(RowReader *reader, Row *ret_row, bool *ret_found);
uint64_t rows_bytes_read(const RowReader *reader);
RowFormat rows_format(const RowReader *reader);

#endif
