/* export.c - all rows of a table to a file or the standard output, streamed by cursor.
 * A file appears under its name only when it is whole: it is written under a temporary one beside it, synced and
 * renamed. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/map.h"
#include "base/mem.h"
#include "cli/command.h"
#include "cli/csv.h"
#include "cli/jsontext.h"
#include "cli/remote.h"
#include "value/json.h"

enum { OUT_MAX_BYTES = 192 << 20, FLUSH_BYTES = 256 * 1024 };
enum { EXPORT_NDJSON, EXPORT_JSON, EXPORT_CSV };

typedef struct ExportValues {
        RemoteOptions remote;
        const char *table, *out, *columns, *separator;
        int format;
} ExportValues;

static const Option export_options[] = {
        {"table", OPTION_TEXT, offsetof(ExportValues, table), "DB.TABLE", NULL, NULL, 0, 0, "what to export"},
        {"format", OPTION_CHOICE, offsetof(ExportValues, format), "FORMAT", "ndjson", "ndjson json csv", 0, 0,
         "one object a line; one array; or cells"},
        {"out", OPTION_TEXT, offsetof(ExportValues, out), "FILE", "-", NULL, 0, 0,
         "written whole or not at all; - is the standard output"},
        {"columns", OPTION_TEXT, offsetof(ExportValues, columns), "A,B,...", NULL, NULL, 0, 0,
         "CSV: these fields in this order [all, found by reading the table once before]"},
        {"separator", OPTION_TEXT, offsetof(ExportValues, separator), "CHAR", ",", NULL, 0, 0,
         "CSV: between cells; \"tab\" for a tab"},
        REMOTE_OPTIONS(ExportValues),
        {NULL},
};

typedef struct Column {
        Bytes name;
        bool present; /* in the row being written */
} Column;

typedef struct Export {
        const ExportValues *values;
        TableName table;
        const char *primary_key;
        Remote *remote;
        Progress progress;
        uint64_t rows, bytes, rows_total;
        /* the file */
        OsDir *dir; /* NULL: stdout */
        OsFile *file;
        const char *name, *temporary;
        uint64_t written;
        Buf out;
        /* CSV */
        uint8_t separator;
        Arena names_arena, row_arena;
        Map *column_of;
        Bytes *names;
        size_t name_count, name_capacity;
        bool collecting;
        uint64_t left_out; /* fields that have no column */
} Export;

/* --- the file --- */

static Status flush(Export *export)
{
        if (export->dir) {
                TRY(os_file_write_at(export->file, export->written, export->out.data, export->out.size));
        } else if (export->out.size && fwrite(export->out.data, 1, export->out.size, stdout) != export->out.size) {
                return status_errno(errno, "cannot write to the standard output");
        }
        export->written += export->out.size;
        buf_clear(&export->out);
        return ST_OK;
}

static Status open_out(Export *export, Arena *arena)
{
        const char *path = export->values->out;
        if (strcmp(path, "-") == 0)
                return ST_OK;
        const char *slash = strrchr(path, '/');
        const char *dir = !slash ? "." : slash == path ? "/" : arena_dup(arena, path, (size_t)(slash - path));
        export->name = slash ? slash + 1 : path;
        if (!*export->name)
                return status_new(ERR_INVALID, "--out: %s is a directory", path);
        TRY_CTX(os_dir_open(os_posix(), dir, OS_DIR_EXISTING, &export->dir), "cannot write %s", path);
        export->temporary = arena_printf(arena, ".%s.%ld.tmp", export->name, (long)getpid());
        return os_file_open(export->dir, export->temporary, OS_WRITE | OS_CREATE | OS_TRUNCATE, &export->file);
}

static Status finish_out(Export *export)
{
        TRY(flush(export));
        if (!export->dir)
                return fflush(stdout) == 0 ? ST_OK : status_errno(errno, "cannot write to the standard output");
        TRY(os_file_sync(export->file));
        export->file = os_file_close(export->file);
        TRY(os_dir_rename(export->dir, export->temporary, export->name));
        export->temporary = NULL;
        return os_dir_sync(export->dir);
}

/* --- rows --- */

static Status write_text_row(Export *export, Bytes row)
{
        if (export->values->format == EXPORT_JSON)
                TRY(buf_append_str(&export->out, export->rows ? ",\n" : "\n"));
        TRY(buf_append(&export->out, row.data, row.size));
        return export->values->format == EXPORT_NDJSON ? buf_append_byte(&export->out, '\n') : ST_OK;
}

static Status add_column(Export *export, Bytes name)
{
        if (map_get(export->column_of, name))
                return ST_OK;
        if (export->name_count == export->name_capacity) {
                size_t capacity = MAX(2 * export->name_capacity, 64);
                Bytes *names = mem_realloc(export->names, capacity * sizeof *names);
                if (!names)
                        return status_nomem();
                export->names = names;
                export->name_capacity = capacity;
        }
        Bytes copy = BYTES(arena_dup(&export->names_arena, name.data, name.size), name.size);
        export->names[export->name_count++] = copy;
        return map_put(export->column_of, copy, (void *)(uintptr_t) export->name_count, NULL);
}

static Status write_header(Export *export)
{
        for (size_t i = 0; i < export->name_count; i++) {
                if (i)
                        TRY(buf_append_byte(&export->out, export->separator));
                TRY(csv_append_cell(value_string(export->names[i]), BYTES_NONE, export->separator, &export->out));
        }
        return buf_append_str(&export->out, "\r\n");
}

static Status write_csv_row(Export *export, Bytes text)
{
        Value row;
        arena_reset(&export->row_arena);
        TRY(json_parse_copy(text, JSON_PLAIN, &export->row_arena, &row));
        if (!value_is_object(row))
                return status_new(ERR_INVALID, "the server sent a row that is no object");
        size_t count = value_count(row), found = 0;
        if (export->collecting) {
                for (size_t i = 0; i < count; i++) {
                        Bytes key;
                        value_field_at(row, i, &key);
                        TRY(add_column(export, key));
                }
                return ST_OK;
        }
        for (size_t i = 0; i < export->name_count; i++) {
                if (i)
                        TRY(buf_append_byte(&export->out, export->separator));
                Value cell = value_get(row, export->names[i]);
                if (value_is(cell, V_NONE))
                        continue;
                found++;
                TRY(csv_append_cell(cell, json_text(cell, &export->row_arena), export->separator, &export->out));
        }
        export->left_out += count - found;
        return buf_append_str(&export->out, "\r\n");
}

static Status take_row(void *ctx, Bytes row)
{
        Export *export = ctx;
        TRY(export->values->format == EXPORT_CSV ? write_csv_row(export, row) : write_text_row(export, row));
        export->rows++;
        return export->out.size >= FLUSH_BYTES ? flush(export) : ST_OK;
}

/* Reads the table from its beginning to its end. The next batch is asked for before this one is written. */
static Status read_table(Export *export)
{
        uint64_t token, answered;
        Bytes body;
        Response response = {.type = RESPONSE_PARTIAL};
        const char *query = arena_printf(&export->remote->arena, "[1,%s,{}]", export->table.table_term);
        export->rows = export->bytes = 0;
        TRY(client_send(export->remote->client, BYTES_STR(query), &token));
        while (response.type == RESPONSE_PARTIAL) {
                if (output_interrupted())
                        return status_new(ERR_CANCELLED, "interrupted");
                TRY(client_receive(export->remote->client, &answered, &body));
                if (answered != token)
                        continue;
                arena_reset(&export->remote->arena);
                TRY(response_split(body, &export->remote->arena, &response));
                if (response.type == RESPONSE_PARTIAL)
                        TRY(client_send_token(export->remote->client, token, BYTES_STR("[2]")));
                TRY(jsontext_each_element(response.rows, take_row, export));
                export->bytes += response.rows.size;
                progress_update(&export->progress, export->rows, export->bytes);
        }
        return ST_OK;
}

static int compare_names(const void *a, const void *b)
{
        return bytes_compare(*(const Bytes *)a, *(const Bytes *)b);
}

/* The columns: those asked for, or the primary key and then all fields of all rows, sorted. */
static Status find_columns(Export *export)
{
        TRY(map_new(&export->column_of));
        if (export->values->columns) {
                CsvColumns columns;
                TRY(csv_columns(BYTES_STR(export->values->columns), ',', &export->names_arena, &columns));
                for (size_t i = 0; i < columns.count; i++)
                        TRY(add_column(export, columns.names[i]));
                return ST_OK;
        }
        TRY(add_column(export, BYTES_STR(export->primary_key)));
        export->collecting = true;
        export->progress.verb = "reading columns";
        TRY(read_table(export));
        export->collecting = false;
        if (export->name_count > 1)
                qsort(export->names + 1, export->name_count - 1, sizeof *export->names, compare_names);
        progress_clear(&export->progress);
        bool quiet = export->values->remote.quiet;
        progress_init(&export->progress, os_posix(), "exporting", export->rows_total, true, quiet);
        return ST_OK;
}

static Status export_rows(Export *export, Arena *arena)
{
        Value count;
        TRY(remote_primary_key(export->remote, &export->table, arena, &export->primary_key));
        TRY(remote_askf(export->remote, &count, "[1,[43,[%s]],{}]", export->table.table_term));
        int64_t total = 0;
        if (value_is(count, V_NUMBER) && value_integer(count, &total))
                export->rows_total = (uint64_t)MAX(total, 0);
        TRY(open_out(export, arena));
        output_catch_interrupt();
        progress_init(&export->progress, os_posix(), "exporting", export->rows_total, true,
                      export->values->remote.quiet);
        if (export->values->format == EXPORT_CSV) {
                TRY(find_columns(export));
                TRY(write_header(export));
        } else if (export->values->format == EXPORT_JSON) {
                TRY(buf_append_byte(&export->out, '['));
        }
        TRY(read_table(export));
        if (export->values->format == EXPORT_JSON)
                TRY(buf_append_str(&export->out, export->rows ? "\n]\n" : "]\n"));
        return finish_out(export);
}

static void print_summary(const Export *export)
{
        char count[32], bytes[32], time[32];
        fprintf(stderr, "%s.%s: %s rows exported, %s in %s\n", export->table.db, export->table.table,
                output_count(export->rows, count), output_bytes(export->written, bytes),
                output_duration(progress_seconds(&export->progress), time));
        if (export->left_out && !export->values->columns)
                output_warning("%" PRIu64 " fields came into the table while it was read and have no column; "
                               "--format ndjson exports all",
                               export->left_out);
}

static void end(Export *export)
{
        os_file_close(export->file);
        if (export->temporary && export->dir)
                status_ignore(os_dir_remove(export->dir, export->temporary));
        os_dir_close(export->dir);
        remote_close(export->remote);
        buf_done(&export->out);
        arena_done(&export->names_arena);
        arena_done(&export->row_arena);
        map_free(export->column_of);
        mem_free(export->names);
}

static Status run_export(const Invocation *invocation, int *ret_exit)
{
        Export export = {.values = invocation->values};
        *ret_exit = EXIT_USAGE;
        if (!export.values->table)
                return status_hint(status_new(ERR_INVALID, "export needs --table"),
                                   "photondb export --table test.users --out users.ndjson");
        TRY(table_name_parse(export.values->table, invocation->arena, &export.table));
        const char *separator = export.values->separator;
        export.separator = strcmp(separator, "tab") == 0 ? '\t' : (uint8_t)*separator;
        if (export.separator != '\t' && (strlen(separator) != 1 || strchr("\"\n\r", *separator) || *separator < ' '))
                return status_new(ERR_INVALID, "--separator: \"%s\" cannot separate cells", separator);
        *ret_exit = EXIT_DONE;
        buf_init(&export.out, OUT_MAX_BYTES);
        arena_init(&export.names_arena, 0);
        arena_init(&export.row_arena, 0);
        Status st = remote_open(&export.values->remote, &export.remote, ret_exit);
        if (st == ST_OK) {
                st = export_rows(&export, invocation->arena);
                progress_clear(&export.progress);
                if (st == ST_OK && !export.values->remote.quiet)
                        print_summary(&export);
                if (status_code(st) == ERR_CANCELLED)
                        *ret_exit = EXIT_INTERRUPTED;
        }
        end(&export);
        return st;
}

const Command export_command = {
        .name = "export",
        .words = "",
        .summary = "write all rows of a table to a file",
        .details = "Rows are streamed. With --out the file appears under its name when it is complete, and what was "
                   "there before\n"
                   "stays until then. In CSV, strings that look like something else are quoted, arrays and objects "
                   "become quoted\n"
                   "JSON; import reads both back as they were (the latter with --json-cells).",
        .examples = "photondb export --table shop.users --out users.ndjson\n"
                    "photondb export --table shop.users --format csv --columns id,name,age --out users.csv\n"
                    "photondb export --table shop.users | gzip > users.ndjson.gz",
        .options = export_options,
        .values_bytes = sizeof(ExportValues),
        .run = run_export,
};
