/* import.c - rows of a file into a table: batches are read, checked and sent while others are under way.
 *
 *      reading --> filling --> in flight --> answered: free again
 *                     ^                   \-> refused as a whole: sent again row by row, to find the bad one
 *
 * The wire form of a batch is  do(insert([rows], return_changes: "always"), branch(errors, errors by row, summary)):
 * the server says which rows it refused, and nothing of the rows comes back. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/command.h"
#include "cli/jsontext.h"
#include "cli/remote.h"
#include "cli/rows.h"
#include "value/json.h"

enum {
        WINDOW_MAX = 8,
        BATCH_MAX_BYTES = 8 << 20, /* of text; a batch is sent when it has so many */
        ROW_MAX_BYTES = 64 << 20,  /* half of the protocol's largest query: arrays grow on the wire */
        QUERY_MAX_BYTES = 127 << 20,
        BAD_SHOWN_MAX = 1000,
};

typedef struct ImportValues {
        RemoteOptions remote;
        const char *table, *primary_key, *columns, *strings, *rows_at, *separator;
        int format, conflict, durability;
        int64_t batch, max_errors;
        bool create, no_types, json_cells;
} ImportValues;

static const Option import_options[] = {
        {"table", OPTION_TEXT, offsetof(ImportValues, table), "DB.TABLE", NULL, NULL, 0, 0, "where the rows go"},
        {"create", OPTION_FLAG, offsetof(ImportValues, create), NULL, NULL, NULL, 0, 0,
         "make the table, and its database, if it is not there"},
        {"primary-key", OPTION_TEXT, offsetof(ImportValues, primary_key), "FIELD", NULL, NULL, 0, 0,
         "of a table that --create makes [id]"},
        {"format", OPTION_CHOICE, offsetof(ImportValues, format), "FORMAT", "auto", "auto json ndjson csv", 0, 0,
         "auto goes by the file's name and first bytes"},
        {"conflict", OPTION_CHOICE, offsetof(ImportValues, conflict), "WHAT", "error", "error replace update", 0, 0,
         "when the table has a row of the same key"},
        {"durability", OPTION_CHOICE, offsetof(ImportValues, durability), "HOW", "soft", "soft hard", 0, 0,
         "hard: each batch is on disk before it counts"},
        {"batch", OPTION_NUMBER, offsetof(ImportValues, batch), "ROWS", "200", NULL, 1, 10000, "rows in one query"},
        {"max-errors", OPTION_NUMBER, offsetof(ImportValues, max_errors), "N", "-1", NULL, -1, INT64_MAX,
         "stop when more rows than this are bad; -1: never"},
        {"rows-at", OPTION_TEXT, offsetof(ImportValues, rows_at), "PATH", NULL, NULL, 0, 0,
         "JSON: the rows are the array at this field, e.g. features or data.items"},
        {"separator", OPTION_TEXT, offsetof(ImportValues, separator), "CHAR", NULL, NULL, 0, 0,
         "CSV: between cells; \"tab\" for a tab [, or a tab for .tsv]"},
        {"columns", OPTION_TEXT, offsetof(ImportValues, columns), "A,B,...", NULL, NULL, 0, 0,
         "CSV: the names, when the file has no header line"},
        {"strings", OPTION_TEXT, offsetof(ImportValues, strings), "A,B,...", NULL, NULL, 0, 0,
         "CSV: columns that stay text, such as postal codes"},
        {"no-types", OPTION_FLAG, offsetof(ImportValues, no_types), NULL, NULL, NULL, 0, 0,
         "CSV: every cell is a string"},
        {"json-cells", OPTION_FLAG, offsetof(ImportValues, json_cells), NULL, NULL, NULL, 0, 0,
         "CSV: a quoted cell with a JSON object or array becomes one"},
        REMOTE_OPTIONS(ImportValues),
        {NULL},
};

typedef enum BatchState { BATCH_FREE, BATCH_IN_FLIGHT, BATCH_REFUSED } BatchState;
typedef struct Batch {
        BatchState state;
        uint64_t token;
        Buf query;        /* head, rows, tail */
        size_t *row_ends; /* offsets in `query` behind each row */
        uint64_t *lines;
        size_t count;
} Batch;

typedef struct Import {
        const ImportValues *values;
        TableName table;
        const char *primary_key;
        Remote *remote;
        int fd;
        RowReader *reader;
        const char *head, *tail;
        size_t head_size;
        Batch batches[WINDOW_MAX];
        size_t window;
        Batch *filling;
        size_t in_flight;
        Progress progress;
        uint64_t inserted, replaced, unchanged, bad;
        bool stop;
} Import;

/* --- bad rows --- */

static void report_bad(Import *import, uint64_t line, uint64_t line_last, const char *reason)
{
        import->bad++;
        if (import->values->max_errors >= 0 && import->bad > (uint64_t)import->values->max_errors)
                import->stop = true;
        if (import->bad > BAD_SHOWN_MAX)
                return;
        progress_clear(&import->progress);
        if (line_last > line)
                fprintf(stderr, "lines %" PRIu64 "-%" PRIu64 ": ", line, line_last);
        else
                fprintf(stderr, "line %" PRIu64 ": ", line);
        /* the server prints documents over several lines; one row, one line */
        for (const char *c = reason; *c; c++) {
                if (*c == '\n' || *c == '\t') {
                        if (c > reason && c[-1] != ' ' && c[-1] != '\n' && c[-1] != '\t')
                                fputc(' ', stderr);
                } else {
                        output_text(stderr, BYTES(c, 1));
                }
        }
        fputc('\n', stderr);
        if (import->bad == BAD_SHOWN_MAX)
                fprintf(stderr, "further bad rows are counted and not shown\n");
}

static const char *bytes_text(Bytes bytes, Arena *arena)
{
        return arena_dup(arena, bytes.data, bytes.size);
}

/* --- batches --- */

static Status batch_init(Batch *batch, size_t rows)
{
        buf_init(&batch->query, QUERY_MAX_BYTES);
        batch->row_ends = mem_alloc(rows * sizeof *batch->row_ends);
        batch->lines = mem_alloc(rows * sizeof *batch->lines);
        return batch->row_ends && batch->lines ? ST_OK : status_nomem();
}

static Status batch_reset(Import *import, Batch *batch)
{
        batch->state = BATCH_FREE;
        batch->count = 0;
        buf_clear(&batch->query);
        return buf_append(&batch->query, import->head, import->head_size);
}

static Status add_row(Import *import, Batch *batch, const Row *row)
{
        size_t before = batch->query.size;
        Status st = batch->count ? buf_append_byte(&batch->query, ',') : ST_OK;
        if (st == ST_OK)
                st = jsontext_append_term(row->json, &batch->query);
        if (status_code(st) == ERR_LIMIT) { /* only a row of very many arrays can grow so */
                batch->query.size = before;
                status_ignore(st);
                report_bad(import, row->line, row->line_last, "the row is too long for one query");
                return ST_OK;
        }
        TRY(st);
        batch->lines[batch->count] = row->line;
        batch->row_ends[batch->count++] = batch->query.size;
        return ST_OK;
}

static Bytes batch_row(const Import *import, const Batch *batch, size_t index)
{
        size_t from = index ? batch->row_ends[index - 1] + 1 : import->head_size;
        return BYTES(batch->query.data + from, batch->row_ends[index] - from);
}

static uint64_t count_of(Value summary, const char *name)
{
        int64_t n;
        Value v = value_get_str(summary, name);
        return value_is(v, V_NUMBER) && value_integer(v, &n) && n > 0 ? (uint64_t)n : 0;
}

/* What the server made of the rows whose lines these are. */
static Status take_summary(Import *import, Value summary, const uint64_t *lines, size_t count)
{
        if (!value_is_object(summary))
                return status_new(ERR_INVALID, "the server's answer to an insert is no summary");
        import->inserted += count_of(summary, "inserted");
        import->replaced += count_of(summary, "replaced");
        import->unchanged += count_of(summary, "unchanged");
        uint64_t errors = count_of(summary, "errors");
        if (errors == 0)
                return ST_OK;
        Arena *arena = &import->remote->arena;
        Value by_row = value_get_str(summary, "changes"), first = value_get_str(summary, "first_error");
        const char *first_text = value_is(first, V_STRING) ? bytes_text(value_bytes(first), arena) : "refused";
        uint64_t reported = 0;
        for (size_t i = 0; value_is(by_row, V_ARRAY) && value_count(by_row) == count && i < count; i++) {
                Value error = value_at(by_row, i);
                if (!value_is(error, V_STRING))
                        continue;
                report_bad(import, lines[i], lines[i], bytes_text(value_bytes(error), arena));
                reported++;
        }
        for (; reported < errors; reported++) /* a server that does not tell rows apart */
                report_bad(import, lines[0], lines[count - 1], first_text);
        return ST_OK;
}

/* Errors that came before anything was written, so that the rows may be sent again. */
static bool may_send_again(StatusCode code)
{
        return code == ERR_CLIENT || code == ERR_COMPILE || code == ERR_LOGIC || code == ERR_NON_EXISTENCE ||
               code == ERR_RESOURCE;
}

static Status receive_one(Import *import)
{
        uint64_t token;
        Bytes body;
        Response response;
        TRY(client_receive(import->remote->client, &token, &body));
        Batch *batch = NULL;
        for (size_t i = 0; i < import->window; i++) {
                if (import->batches[i].state == BATCH_IN_FLIGHT && import->batches[i].token == token)
                        batch = &import->batches[i];
        }
        if (!batch)
                return ST_OK;
        import->in_flight--;
        arena_reset(&import->remote->arena);
        Status st = response_split(body, &import->remote->arena, &response);
        if (st) {
                if (!may_send_again(status_code(st)))
                        return status_context(st, "inserting the rows of lines %" PRIu64 "-%" PRIu64, batch->lines[0],
                                              batch->lines[batch->count - 1]);
                if (batch->count > 1) {
                        batch->state = BATCH_REFUSED;
                } else {
                        report_bad(import, batch->lines[0], batch->lines[0], status_message(st));
                        batch->state = BATCH_FREE;
                }
                status_ignore(st);
                return ST_OK;
        }
        Value rows;
        TRY(json_parse_copy(response.rows, JSON_PSEUDO, &import->remote->arena, &rows));
        if (response.type != RESPONSE_ATOM || value_count(rows) != 1)
                return status_new(ERR_INVALID, "the server's answer to an insert is no atom");
        TRY(take_summary(import, value_at(rows, 0), batch->lines, batch->count));
        batch->state = BATCH_FREE;
        return ST_OK;
}

static Status send_again(Import *import, Batch *refused)
{
        Buf query;
        buf_init(&query, QUERY_MAX_BYTES);
        Status st = ST_OK;
        for (size_t i = 0; i < refused->count && st == ST_OK && !import->stop; i++) {
                Bytes row = batch_row(import, refused, i);
                Value summary;
                buf_clear(&query);
                st = buf_append(&query, import->head, import->head_size);
                st = st ? st : buf_append(&query, row.data, row.size);
                st = st ? st : buf_append_str(&query, import->tail);
                if (st)
                        break;
                arena_reset(&import->remote->arena);
                st = remote_ask(import->remote, BYTES(query.data, query.size), &summary);
                if (may_send_again(status_code(st))) {
                        report_bad(import, refused->lines[i], refused->lines[i], status_message(st));
                        st = status_free(st);
                } else if (st == ST_OK) {
                        st = take_summary(import, summary, &refused->lines[i], 1);
                }
        }
        buf_done(&query);
        refused->state = BATCH_FREE;
        return st;
}

/* Waits until at most `most` batches are under way; refused ones are dealt with when none is. */
static Status wait_for(Import *import, size_t most)
{
        bool refused = false;
        while (import->in_flight > most)
                TRY(receive_one(import));
        for (size_t i = 0; i < import->window; i++)
                refused |= import->batches[i].state == BATCH_REFUSED;
        if (!refused)
                return ST_OK;
        while (import->in_flight > 0)
                TRY(receive_one(import));
        for (size_t i = 0; i < import->window; i++) {
                if (import->batches[i].state == BATCH_REFUSED)
                        TRY(send_again(import, &import->batches[i]));
        }
        return ST_OK;
}

static Status send_filling(Import *import)
{
        Batch *batch = take(import->filling);
        if (batch->count == 0)
                return ST_OK;
        TRY(buf_append_str(&batch->query, import->tail));
        batch->state = BATCH_IN_FLIGHT;
        import->in_flight++;
        return client_send(import->remote->client, BYTES(batch->query.data, batch->query.size), &batch->token);
}

static Status next_filling(Import *import)
{
        TRY(wait_for(import, import->window - 1));
        for (size_t i = 0; i < import->window; i++) {
                if (import->batches[i].state == BATCH_FREE) {
                        import->filling = &import->batches[i];
                        return batch_reset(import, import->filling);
                }
        }
        return status_new(ERR_INTERNAL, "no batch is free");
}

static Status import_rows(Import *import)
{
        uint64_t rows = 0;
        for (;;) {
                Row row;
                bool found;
                Status st = rows_next(import->reader, &row, &found);
                if (status_code(st) == ERR_CANCELLED) {
                        status_ignore(st);
                        break;
                }
                TRY(st);
                if (!found || import->stop || output_interrupted()) {
                        status_ignore(row.bad);
                        break;
                }
                rows++;
                if (row.bad) {
                        char text[1024];
                        report_bad(import, row.line, row.line_last, status_text(row.bad, text, sizeof text));
                        status_ignore(row.bad);
                        continue;
                }
                if (!import->filling)
                        TRY(next_filling(import));
                TRY(add_row(import, import->filling, &row));
                if (import->filling->count == (size_t)import->values->batch ||
                    import->filling->query.size >= BATCH_MAX_BYTES)
                        TRY(send_filling(import));
                if (rows % 64 == 0)
                        progress_update(&import->progress, rows, rows_bytes_read(import->reader));
        }
        if (import->filling)
                TRY(send_filling(import));
        return wait_for(import, 0);
}

/* --- begin and end --- */

static Status open_file(Import *import, const char *path, uint64_t *ret_size)
{
        *ret_size = 0;
        import->fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
        if (import->fd < 0)
                return status_errno(errno, "cannot read %s", path);
        struct stat info;
        if (fstat(import->fd, &info) != 0)
                return status_errno(errno, "cannot read %s", path);
        if (S_ISDIR(info.st_mode))
                return status_new(ERR_INVALID, "%s is a directory", path);
        if (S_ISREG(info.st_mode))
                *ret_size = (uint64_t)info.st_size;
        return ST_OK;
}

static ssize_t read_file(void *ctx, void *out, size_t size)
{
        Import *import = ctx;
        return read(import->fd, out, size);
}

static Status parse_separator(const char *text, uint8_t *ret_separator)
{
        *ret_separator = 0;
        if (!text)
                return ST_OK;
        if (strcmp(text, "tab") == 0 || strcmp(text, "\\t") == 0)
                *ret_separator = '\t';
        else if (strlen(text) == 1 && *text != '"' && *text != '\n' && *text != '\r' && (uint8_t)*text < 0x80)
                *ret_separator = (uint8_t)*text;
        else
                return status_hint(status_new(ERR_INVALID, "--separator: \"%s\" cannot separate cells", text),
                                   "one character, for example ';', or the word tab");
        return ST_OK;
}

/* do(insert(table, [ROWS]), res -> branch(res.errors > 0, res.merge({changes: errors by row or null}),
 * res.without(changes))) */
static void make_query(Import *import, Arena *arena)
{
        static const char *const conflicts[] = {"error", "replace", "update"}, *const durabilities[] = {"soft", "hard"};
        import->head = arena_printf(arena,
                                    "[1,[64,[[69,[[2,[1]],[65,[[21,[[31,[[10,[1]],\"errors\"]],0]],"
                                    "[35,[[10,[1]],{\"changes\":[38,[[31,[[10,[1]],\"changes\"]],"
                                    "[69,[[2,[2]],[92,[[31,[[10,[2]],\"error\"]],null]]]]]]}]],"
                                    "[34,[[10,[1]],\"changes\"]]]]]],[56,[%s,[2,[",
                                    import->table.table_term);
        import->head_size = strlen(import->head);
        import->tail = arena_printf(
                arena, "]]],{\"conflict\":\"%s\",\"durability\":\"%s\",\"return_changes\":\"always\"}]]],{}]",
                conflicts[import->values->conflict], durabilities[import->values->durability]);
}

static Status begin(Import *import, RowOptions *rows, Arena *arena, int *ret_exit)
{
        const ImportValues *values = import->values;
        uint64_t size;
        rows->format = (RowFormat)values->format;
        rows->types = !values->no_types;
        rows->json_cells = values->json_cells;
        rows->columns = values->columns;
        rows->strings = values->strings;
        rows->rows_at = values->rows_at;
        rows->row_max_bytes = ROW_MAX_BYTES;
        TRY(open_file(import, rows->name, &size));
        rows->read = read_file;
        rows->ctx = import;
        TRY(rows_open(rows, &import->reader));
        TRY(remote_open(&values->remote, &import->remote, ret_exit));
        if (values->create)
                TRY(remote_create_table(import->remote, &import->table, values->primary_key, NULL, true));
        TRY(remote_primary_key(import->remote, &import->table, arena, &import->primary_key));
        if (values->primary_key && strcmp(values->primary_key, import->primary_key) != 0)
                return status_hint(status_new(ERR_INVALID, "the primary key of %s.%s is \"%s\", not \"%s\"",
                                              import->table.db, import->table.table, import->primary_key,
                                              values->primary_key),
                                   "leave out --primary-key, or import into a new table");
        make_query(import, arena);
        /* with replace and update the last row of a key must win, and queries of one connection may overtake each other
         */
        import->window = values->conflict == 0 ? WINDOW_MAX : 1;
        for (size_t i = 0; i < import->window; i++)
                TRY(batch_init(&import->batches[i], (size_t)values->batch));
        output_catch_interrupt();
        progress_init(&import->progress, os_posix(), "importing", size, false, values->remote.quiet);
        return ST_OK;
}

static void print_summary(const Import *import)
{
        char count[32], rate[32], bytes[32], speed[32], time[32];
        double seconds = MAX(progress_seconds(&import->progress), 1e-6);
        uint64_t size = rows_bytes_read(import->reader);
        uint64_t rows = import->inserted + import->replaced + import->unchanged;
        printf("%s.%s: %s rows imported", import->table.db, import->table.table, output_count(rows, count));
        if (import->replaced)
                printf(", %s of them over older ones", output_count(import->replaced, count));
        if (import->unchanged)
                printf(", %s of them there already", output_count(import->unchanged, count));
        printf("; %s in %s (%s rows/s, %s/s)\n", output_bytes(size, bytes), output_duration(seconds, time),
               output_count((uint64_t)((double)rows / seconds), rate),
               output_bytes((uint64_t)((double)size / seconds), speed));
}

static void end(Import *import)
{
        for (size_t i = 0; i < WINDOW_MAX; i++) {
                buf_done(&import->batches[i].query);
                mem_free(import->batches[i].row_ends);
                mem_free(import->batches[i].lines);
        }
        rows_close(import->reader);
        remote_close(import->remote);
        if (import->fd > STDERR_FILENO)
                close(import->fd);
}

static void print_bad(const Import *import)
{
        char count[32];
        fprintf(stderr, "photondb: %s bad %s not imported%s\n", output_count(import->bad, count),
                import->bad == 1 ? "row was" : "rows were", import->stop ? "; stopped there (--max-errors)" : "");
}

static Status run_import(const Invocation *invocation, int *ret_exit)
{
        Import import = {.values = invocation->values, .fd = -1};
        RowOptions rows = {0};
        *ret_exit = EXIT_USAGE;
        if (!import.values->table)
                return status_hint(status_new(ERR_INVALID, "import needs --table"),
                                   "photondb import --table test.users --create users.json");
        TRY(table_name_parse(import.values->table, invocation->arena, &import.table));
        TRY(parse_separator(import.values->separator, &rows.separator));
        *ret_exit = EXIT_DONE;
        rows.name = invocation->word_count ? invocation->words[0] : "-";
        Status st = begin(&import, &rows, invocation->arena, ret_exit);
        if (st == ST_OK) {
                st = status_context(import_rows(&import), "importing stopped");
                progress_clear(&import.progress);
                if (!import.values->remote.quiet)
                        print_summary(&import);
                if (import.bad) {
                        print_bad(&import);
                        *ret_exit = EXIT_BAD_ROWS;
                }
                if (output_interrupted()) {
                        fprintf(stderr, "photondb: interrupted; the rows counted are in the table\n");
                        *ret_exit = EXIT_INTERRUPTED;
                }
                if (st)
                        *ret_exit = EXIT_FAILED;
        }
        end(&import);
        return st;
}

const Command import_command = {
        .name = "import",
        .words = "[FILE]",
        .most_words = 1,
        .summary = "load rows of a JSON, NDJSON or CSV file into a table",
        .details = "FILE is the file, - or nothing the standard input. JSON may be an array of objects or objects one "
                   "after the\n"
                   "other; files of any size are read as a stream. A bad row (one that cannot be read, or that the "
                   "server\n"
                   "refuses) is reported by line and reason, the others are imported, and the exit status is 3.\n"
                   "CSV has a header line; cells without quotes become numbers, true, false, null where they look so, "
                   "an empty\n"
                   "one is no field; integers that a double cannot hold and numbers with leading zeros stay text, "
                   "--strings keeps more.",
        .examples = "photondb import --table shop.users --create users.json\n"
                    "photondb import --table test.quakes --create --rows-at features earthquakes.geojson\n"
                    "photondb import --table test.log --conflict replace --format csv --separator ';' log.txt\n"
                    "zcat events.ndjson.gz | photondb import --table test.events --create -",
        .options = import_options,
        .values_bytes = sizeof(ImportValues),
        .run = run_import,
};
