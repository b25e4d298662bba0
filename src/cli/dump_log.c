/* dump_log.c - `photondb dump-log`: what the commit log says, commit by commit, for people who debug. Reads only, also
 * beside a running server. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "cli/command.h"
#include "cli/dump.h"
#include "storage/log/wal.h"
#include "storage/record.h"
#include "storage/store.h"
#include "value/json.h"

enum { OUT_MAX_BYTES = 512 << 20, FLUSH_BYTES = 256 * 1024, HEX_BYTES = 48 };

typedef struct DumpLogValues {
        const char *data_dir, *log_archive, *from, *to, *table;
        bool json, keys_only, quiet;
} DumpLogValues;

static const Option dump_log_options[] = {
        {"data-dir", OPTION_TEXT, offsetof(DumpLogValues, data_dir), "DIR", "./photondb_data", NULL, 0, 0,
         "a server's data directory; the server may be running"},
        {"log-archive", OPTION_TEXT, offsetof(DumpLogValues, log_archive), "DIR", NULL, NULL, 0, 0,
         "read this directory of archived log files instead of the data directory's log"},
        {"from", OPTION_TEXT, offsetof(DumpLogValues, from), "COMMIT", NULL, NULL, 0, 0,
         "begin there: a number, or a time like 2026-11-21T14:05:00Z [the oldest]"},
        {"to", OPTION_TEXT, offsetof(DumpLogValues, to), "COMMIT", NULL, NULL, 0, 0, "end there [the newest]"},
        {"table", OPTION_TEXT, offsetof(DumpLogValues, table), "DB.TABLE", NULL, NULL, 0, 0,
         "only this table; or its number"},
        {"json", OPTION_FLAG, offsetof(DumpLogValues, json), NULL, NULL, NULL, 0, 0, "write one JSON object a commit"},
        {"keys-only", OPTION_FLAG, offsetof(DumpLogValues, keys_only), NULL, NULL, NULL, 0, 0,
         "leave the documents out"},
        {"quiet", OPTION_FLAG, offsetof(DumpLogValues, quiet), NULL, NULL, NULL, 0, 0, "no remarks"},
        {NULL},
};

typedef struct DumpLog {
        const DumpLogValues *values;
        StoreMoment from, to;
        DumpCatalog *catalog;
        uint64_t table_id; /* --table as a number; 0: none, or a name that is not known yet */
        Arena row;
        Buf out;
        uint64_t commits, problems;
        bool ended; /* behind --to */
} DumpLog;

static void dump_log_done(DumpLog *dump)
{
        dump->catalog = dump_catalog_free(dump->catalog);
        arena_done(&dump->row);
        buf_done(&dump->out);
}

static Status flush(DumpLog *dump)
{
        if (dump->values->json)
                fwrite(dump->out.data, 1, dump->out.size, stdout);
        else
                output_text(stdout, BYTES(dump->out.data, dump->out.size));
        if (ferror(stdout))
                return status_errno(errno, "cannot write to the standard output");
        buf_clear(&dump->out);
        return ST_OK;
}

/* --- one record --- */

static const char *const kind_names[] = {[RECORD_PUT] = "put",
                                         [RECORD_DELETE] = "delete",
                                         [RECORD_CREATE] = "create",
                                         [RECORD_DROP] = "drop",
                                         [RECORD_CLEAR] = "clear"};

static Status append_hex(Buf *out, Bytes bytes)
{
        for (size_t i = 0; i < bytes.size && i < HEX_BYTES; i++)
                TRY(buf_printf(out, "%02x", bytes.data[i]));
        return bytes.size > HEX_BYTES ? buf_append_str(out, "...") : ST_OK;
}

/* The stored document, or V_NONE if it is none. */
static Value document_of(Bytes value)
{
        return value_validate(value.data, value.size) ? value_decode(value.data) : value_none();
}

/* What the row was before, or V_NONE if that is not a document. */
static Status old_document(DumpLog *dump, const Record *record, Value *ret_old)
{
        Bytes old;
        bool known;
        TRY(record_old(record, &dump->row, &old, &known));
        *ret_old = document_of(old);
        return ST_OK;
}

/* An entry of an index, or all of them: bytes here. */
static Status entry_text(DumpLog *dump, const Record *record)
{
        Buf *out = &dump->out;
        TRY(buf_printf(out, "  (tree %u)", record->tree));
        if (record->kind != RECORD_CLEAR) {
                TRY(buf_append_str(out, "  "));
                TRY(append_hex(out, record->key));
        }
        if (record->kind == RECORD_PUT && !dump->values->keys_only) {
                TRY(buf_printf(out, "  %zu bytes: ", record->value.size));
                TRY(append_hex(out, record->value));
        }
        return buf_append_byte(out, '\n');
}

static Status entry_json(DumpLog *dump, const Record *record)
{
        Buf *out = &dump->out;
        TRY(buf_printf(out, ",\"tree\":%u", record->tree));
        if (record->kind != RECORD_CLEAR) {
                TRY(buf_append_str(out, ",\"entry\":\""));
                TRY(append_hex(out, record->key));
                TRY(buf_append_byte(out, '"'));
        }
        if (record->kind == RECORD_PUT && !dump->values->keys_only) {
                TRY(buf_append_str(out, ",\"entry_value\":\""));
                TRY(append_hex(out, record->value));
                TRY(buf_append_byte(out, '"'));
        }
        return buf_append_byte(out, '}');
}

static Status record_text(DumpLog *dump, const Record *record)
{
        char key[256];
        Buf *out = &dump->out;
        TRY(buf_printf(out, "  %-6s  %s", kind_names[record->kind],
                       dump_catalog_name(dump->catalog, record->table_id, &dump->row)));
        if (record->kind == RECORD_CREATE)
                return buf_printf(out, "  (table %" PRIu64 ", %.*s)\n", record->table_id, (int)record->key.size,
                                  (const char *)record->key.data);
        if (record->kind == RECORD_DROP)
                return buf_printf(out, "  (table %" PRIu64 ")\n", record->table_id);
        if (record->tree)
                return entry_text(dump, record);
        TRY(buf_printf(out, "  %s", dump_key_text(record->table_id, record->key, key, sizeof key)));
        if (record->kind == RECORD_PUT && !dump->values->keys_only) {
                Value doc = document_of(record->value);
                TRY(buf_append_str(out, "  "));
                if (value_is(doc, V_NONE)) {
                        TRY(buf_printf(out, "NOT A DOCUMENT, %zu bytes: ", record->value.size));
                        TRY(append_hex(out, record->value));
                } else {
                        Bytes text = json_text(doc, &dump->row);
                        TRY(buf_append(out, text.data, text.size));
                }
        }
        if (record->before == BEFORE_ROW && !dump->values->keys_only) {
                Value old;
                TRY(old_document(dump, record, &old));
                if (!value_is(old, V_NONE)) {
                        Bytes text = json_text(old, &dump->row);
                        TRY(buf_append_str(out, "  was "));
                        TRY(buf_append(out, text.data, text.size));
                }
        }
        return buf_append_byte(out, '\n');
}

static Status record_json(DumpLog *dump, const Record *record)
{
        char key[256];
        Buf *out = &dump->out;
        const char *name = dump_catalog_name(dump->catalog, record->table_id, &dump->row);
        TRY(buf_printf(out, "{\"change\":\"%s\",\"table_id\":%" PRIu64 ",\"table\":", kind_names[record->kind],
                       record->table_id));
        TRY(json_write_message(BYTES_STR(name), out));
        if (record->tree)
                return entry_json(dump, record);
        if (record->kind == RECORD_CREATE) {
                TRY(buf_append_str(out, ",\"storage\":"));
                TRY(json_write_message(record->key, out));
        } else if (record->kind != RECORD_DROP) {
                TRY(buf_append_str(out, ",\"key\":"));
                TRY(json_write_message(BYTES_STR(dump_key_text(record->table_id, record->key, key, sizeof key)), out));
        }
        if (record->kind == RECORD_PUT && !dump->values->keys_only) {
                Value doc = document_of(record->value);
                if (value_is(doc, V_NONE)) {
                        TRY(buf_append_str(out, ",\"not_a_document\":\""));
                        TRY(append_hex(out, record->value));
                        TRY(buf_append_byte(out, '"'));
                } else {
                        TRY(buf_append_str(out, ",\"document\":"));
                        TRY(json_write(doc, out));
                }
        }
        if (record->before != BEFORE_UNSAID && !dump->values->keys_only) {
                Value old = value_null();
                if (record->before == BEFORE_ROW)
                        TRY(old_document(dump, record, &old));
                if (!value_is(old, V_NONE)) {
                        TRY(buf_append_str(out, ",\"old_document\":"));
                        TRY(json_write(old, out));
                }
        }
        return buf_append_byte(out, '}');
}

/* --- one commit --- */

static bool wanted(const DumpLog *dump, const Record *record)
{
        return !dump->values->table || (dump->table_id && record->table_id == dump->table_id);
}

/* Names first: the catalog's own changes stand before the rows of what they name. */
static Status note_names(DumpLog *dump, const WalFrame *frame)
{
        size_t at = 0;
        Record record;
        bool found = true;
        while (found) {
                Status st = record_next(frame->body, &at, &record, &found);
                if (st) { /* told when it is printed */
                        status_ignore(st);
                        break;
                }
                if (found && record.tree == 0 && record_is_change(&record))
                        dump_catalog_note(dump->catalog, record.table_id, record.key,
                                          record.kind == RECORD_PUT ? record.value : BYTES_NONE);
        }
        if (dump->values->table && !dump->table_id)
                dump->table_id = dump_catalog_find(dump->catalog, dump->values->table);
        return ST_OK;
}

static Status records_print(DumpLog *dump, const WalFrame *frame, size_t *ret_count, size_t *ret_shown)
{
        size_t at = 0;
        Record record;
        bool found = true;
        *ret_count = *ret_shown = 0;
        for (;;) {
                TRY(record_next(frame->body, &at, &record, &found));
                if (!found)
                        return ST_OK;
                ++*ret_count;
                if (!wanted(dump, &record))
                        continue;
                arena_reset(&dump->row);
                if (dump->values->json) {
                        if (*ret_shown)
                                TRY(buf_append_byte(&dump->out, ','));
                        TRY(record_json(dump, &record));
                } else {
                        TRY(record_text(dump, &record));
                }
                ++*ret_shown;
        }
}

static Status on_frame(void *ctx, const WalFrame *frame, const char *name, uint64_t offset)
{
        DumpLog *dump = ctx;
        char time[MOMENT_TIME_BYTES];
        size_t start = dump->out.size, count, shown;
        if (output_interrupted())
                return status_new(ERR_CANCELLED, "interrupted");
        TRY(note_names(dump, frame));
        if (dump->from.wall_us && frame->wall_us < dump->from.wall_us)
                return ST_OK;
        if ((dump->to.position && frame->position > dump->to.position) ||
            (dump->to.wall_us && frame->wall_us > dump->to.wall_us)) {
                dump->ended = true;
                return status_new(ERR_CANCELLED, "behind --to");
        }
        moment_time_text(frame->wall_us, time);
        if (dump->values->json) {
                TRY(buf_printf(&dump->out,
                               "{\"commit\":%" PRIu64
                               ",\"time\":\"%s\",\"bytes\":%zu,\"file\":\"%s\",\"offset\":%" PRIu64 ",\"changes\":[",
                               frame->position, time, frame->body.size, name, offset));
        } else {
                TRY(buf_printf(&dump->out, "commit %" PRIu64 "  %s  %zu bytes  %s @ %" PRIu64 "\n", frame->position,
                               time, frame->body.size, name, offset));
        }
        Status st = records_print(dump, frame, &count, &shown);
        if (st) {
                dump->problems++;
                fprintf(stderr, "problem: log file %s, commit %" PRIu64 " at offset %" PRIu64 ": %s\n", name,
                        frame->position, offset, status_message(st));
                if (status_code(st) != ERR_CORRUPT)
                        return st;
                status_ignore(st);
        }
        if (dump->values->table && shown == 0) {
                dump->out.size = start;
                return ST_OK;
        }
        dump->commits++;
        if (dump->values->json)
                TRY(buf_append_str(&dump->out, "]}\n"));
        return dump->out.size >= FLUSH_BYTES ? flush(dump) : ST_OK;
}

static Status on_problem(void *ctx, const char *text)
{
        DumpLog *dump = ctx;
        TRY(flush(dump));
        fflush(stdout);
        dump->problems++;
        fputs("problem: ", stderr);
        output_text(stderr, BYTES_STR(text));
        fputc('\n', stderr);
        return ST_OK;
}

/* --- which --- */

static Status parse_moment(const char *option, const char *text, StoreMoment *ret_moment)
{
        char *end;
        *ret_moment = (StoreMoment){0};
        if (!text)
                return ST_OK;
        errno = 0;
        ret_moment->position = strtoull(text, &end, 10);
        if (*text >= '0' && *text <= '9' && *end == 0 && errno == 0)
                return ST_OK;
        ret_moment->position = 0;
        if (moment_time_parse(text, &ret_moment->wall_us))
                return ST_OK;
        return status_hint(
                status_new(ERR_INVALID, "--%s: \"%s\" is neither a commit's number nor a time", option, text),
                "write 1234, or 2026-11-21T14:05:00Z");
}

static Status note_first(void *ctx, const char *name)
{
        uint64_t *first = ctx, position, generation;
        if (wal_file_parse(name, &position, &generation) && position < *first)
                *first = position;
        return ST_OK;
}

static Status scan(DumpLog *dump, OsDir *dir, WalScanResult *ret_result)
{
        WalScan scan = {.ctx = dump, .frame = on_frame, .problem = on_problem};
        uint64_t first = UINT64_MAX;
        if (dump->from.position)
                first = dump->from.position;
        else
                TRY(os_dir_list(dir, note_first, &first));
        Status st = wal_scan(dir, first == UINT64_MAX || first == 0 ? 0 : first - 1, &scan, ret_result);
        if (dump->ended)
                st = status_free(st);
        if (status_code(st) == ERR_NOT_FOUND)
                st = status_hint(st, "a checkpoint of the running server removed it meanwhile: try again");
        return st;
}

static Status run_dump_log(const Invocation *invocation, int *ret_exit)
{
        const DumpLogValues *values = invocation->values;
        _cleanup_(dump_log_done) DumpLog dump = {.values = values};
        _cleanup_(os_dir_closep) OsDir *dir = NULL, *log = NULL;
        WalScanResult result = {0};
        char *end;
        buf_init(&dump.out, OUT_MAX_BYTES);
        arena_init(&dump.row, 0);
        *ret_exit = EXIT_USAGE;
        TRY(parse_moment("from", values->from, &dump.from));
        TRY(parse_moment("to", values->to, &dump.to));
        *ret_exit = EXIT_FAILED;
        TRY(dump_catalog_new(&dump.catalog));
        if (values->log_archive) {
                TRY(os_dir_open(os_posix(), values->log_archive, OS_DIR_READ, &log));
        } else {
                TRY(dump_open(values->data_dir, values->quiet, &dir));
                TRY(dump_catalog_load(dump.catalog, dir));
                TRY(os_dir_open_sub(dir, "log", OS_DIR_READ, &log));
        }
        if (values->table) {
                dump.table_id = strtoull(values->table, &end, 10);
                if (*end)
                        dump.table_id = dump_catalog_find(dump.catalog, values->table);
        }
        output_catch_interrupt();
        Status st = scan(&dump, log, &result);
        if (!st)
                st = flush(&dump);
        if (status_code(st) == ERR_CANCELLED)
                *ret_exit = EXIT_INTERRUPTED;
        TRY(st);
        if (values->table && !dump.table_id)
                return status_hint(status_new(ERR_NOT_FOUND, "the catalog has no table %s", values->table),
                                   "the number of a table works too, for one that was dropped");
        if (!values->quiet && result.torn_bytes && !dump.ended)
                fprintf(stderr, "The log ends in %" PRIu64 " bytes of a write that is not whole.\n", result.torn_bytes);
        *ret_exit = dump.problems ? EXIT_FAILED : EXIT_DONE;
        return ST_OK;
}

const Command dump_log_command = {
        .name = "dump-log",
        .words = "",
        .summary = "show the commits in the log",
        .details = "For people who debug. A line for each commit (its number, when, how many bytes, where), and one "
                   "for each\n"
                   "change in it. Reads only. Beside a running server the newest commits may not be in the files yet, "
                   "and\n"
                   "a checkpoint may remove the oldest while they are read.\n"
                   "Exit status 1: something is damaged; what is readable is shown all the same.",
        .examples = "photondb dump-log --data-dir /var/lib/photondb --from 1000 --to 1010\n"
                    "photondb dump-log --table shop.orders --from 2026-11-21T14:05:00Z\n"
                    "photondb dump-log --log-archive /backups/log --json --keys-only",
        .options = dump_log_options,
        .values_bytes = sizeof(DumpLogValues),
        .run = run_dump_log,
};
