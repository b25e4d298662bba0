/* check.c - `photondb check`: walks every byte of a data directory that no server has open, and says whether it is
 * whole. What is walked is storage/offline.c's business, what rows must be is table/verify.c's. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/map.h"
#include "cli/command.h"
#include "cli/remote.h"
#include "storage/moment.h"
#include "storage/store.h"
#include "table/verify.h"
#include "value/json.h"

enum { LISTED_TABLES = 20 };

typedef struct CheckValues {
        const char *data_dir;
        int64_t problems;
        bool json, quiet;
} CheckValues;

static const Option check_options[] = {
        {"data-dir", OPTION_TEXT, offsetof(CheckValues, data_dir), "DIR", "./photondb_data", NULL, 0, 0,
         "a server's data directory, or a backup"},
        {"problems", OPTION_NUMBER, offsetof(CheckValues, problems), "N", "20", NULL, 0, 1000000,
         "show at most so many problems; all are counted"},
        {"json", OPTION_FLAG, offsetof(CheckValues, json), NULL, NULL, NULL, 0, 0,
         "write the verdict as one JSON object"},
        {"quiet", OPTION_FLAG, offsetof(CheckValues, quiet), NULL, NULL, NULL, 0, 0,
         "say nothing if the data is whole"},
        {NULL},
};

typedef struct Check {
        const CheckValues *values;
        Arena *arena;
        TableVerify *verify;
        NumMap *damaged; /* numbers of tables */
        Progress progress;
        char verb[32];
        uint64_t rows, problems;
        ArrayBuilder shown;
} Check;

static void check_done(Check *check)
{
        progress_clear(&check->progress);
        table_verify_free(check->verify);
        nummap_free(check->damaged);
}

static Status on_problem(void *ctx, const char *text)
{
        Check *check = ctx;
        if (check->problems++ >= (uint64_t)check->values->problems)
                return ST_OK;
        array_add(&check->shown, value_str(arena_dup(check->arena, text, strlen(text))));
        progress_clear(&check->progress);
        fputs("problem: ", stderr);
        output_text(stderr, BYTES_STR(text));
        fputc('\n', stderr);
        return ST_OK;
}

static const char *on_row(void *ctx, uint64_t table_id, uint32_t tree, Bytes key, Bytes value, bool after)
{
        Check *check = ctx;
        check->rows++;
        if (tree > 0) {
                table_verify_entry(check->verify, table_id, tree, key, value, after);
                return NULL;
        }
        return table_verify_row(check->verify, table_id, key, value, after);
}

static void on_damaged(void *ctx, uint64_t table_id)
{
        Check *check = ctx;
        table_verify_damaged(check->verify, table_id);
        status_ignore(
                nummap_put(check->damaged, table_id, check, NULL)); /* without memory a name is missing in a list */
}

static Status on_table(void *ctx, uint64_t table_id, const char *engine)
{
        return table_verify_table(((Check *)ctx)->verify, table_id, engine);
}

static Status on_progress(void *ctx, const char *what, uint64_t done_bytes, uint64_t total_bytes)
{
        Check *check = ctx;
        if (output_interrupted())
                return status_new(ERR_CANCELLED, "interrupted: nothing is known of what was not read");
        snprintf(check->verb, sizeof check->verb, "checking %s", what);
        check->progress.total = total_bytes;
        progress_update(&check->progress, check->rows, done_bytes);
        return ST_OK;
}

/* --- the verdict --- */

static const char *plural(uint64_t n)
{
        return n == 1 ? "" : "s";
}

static void print_whole(const StoreCheckResult *result)
{
        char tables[32], rows[32], bytes[32], checkpoint[32], commits[32], torn[32];
        printf("The data is whole: %s table%s, %s row%s, %s, checkpoint at commit %s, %s commit%s in the log behind "
               "it.\n",
               output_count(result->table_count, tables), plural(result->table_count),
               output_count(result->row_count, rows), plural(result->row_count),
               output_bytes(result->byte_count, bytes), output_count(result->checkpoint_position, checkpoint),
               output_count(result->log_frame_count, commits), plural(result->log_frame_count));
        if (result->closed_cleanly)
                puts("It was closed cleanly, so that not even the newest commit can be missing.");
        else if (result->torn_bytes)
                printf("The log ends in %s of a write that was cut off, as a crash leaves it: never acknowledged as "
                       "durable.\n",
                       output_bytes(result->torn_bytes, torn));
}

static int compare_names(const void *a, const void *b)
{
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Names of the damaged tables, sorted. */
static const char **damaged_names(const Check *check, size_t *ret_count)
{
        size_t count = nummap_count(check->damaged), n = 0, cursor = 0;
        const char **names = arena_array(check->arena, const char *, count + 1);
        uint64_t id;
        void *value;
        while (nummap_next(check->damaged, &cursor, &id, &value))
                names[n++] = table_verify_name(check->verify, id, check->arena);
        if (n > 1)
                qsort(names, n, sizeof names[0], compare_names);
        *ret_count = n;
        return names;
}

static void print_damaged(const Check *check)
{
        char problems[32];
        size_t count;
        const char **names = damaged_names(check, &count);
        printf("DAMAGED: %s problem%s", output_count(check->problems, problems), plural(check->problems));
        for (size_t i = 0; i < count && i < LISTED_TABLES; i++) {
                fputs(i ? ", " : " in ", stdout);
                output_text(stdout, BYTES_STR(names[i]));
        }
        if (count > LISTED_TABLES)
                printf(" and %zu more tables", count - LISTED_TABLES);
        puts(".");
        printf("\n"
               "  1. Copy %s as it is before you do anything else.\n"
               "  2. Is there a backup? Restore it into a new directory, with what the log here still has, and use "
               "that:\n"
               "       photondb restore BACKUP --data-dir NEW --log %s\n"
               "  3. Without one: a server started here still answers for what is not damaged. Export it, and import "
               "it\n"
               "     into a new directory: photondb export --table DB.TABLE --out FILE\n"
               "  docs/verification.md says more, and what each problem means.\n",
               check->values->data_dir, check->values->data_dir);
}

static void print_json(const Check *check, const StoreCheckResult *result)
{
        size_t count;
        const char **names = damaged_names(check, &count);
        ArrayBuilder damaged;
        ObjectBuilder object;
        array_init(&damaged, check->arena, count);
        for (size_t i = 0; i < count; i++)
                array_add(&damaged, value_str(names[i]));
        object_init(&object, check->arena, 12);
        object_add_str(&object, "whole", value_bool(check->problems == 0));
        object_add_str(&object, "tables", value_number((double)result->table_count));
        object_add_str(&object, "rows", value_number((double)result->row_count));
        object_add_str(&object, "bytes", value_number((double)result->byte_count));
        object_add_str(&object, "checkpoint", value_number((double)result->checkpoint_position));
        object_add_str(&object, "log_commits", value_number((double)result->log_frame_count));
        object_add_str(&object, "last_commit", value_number((double)result->last_position));
        object_add_str(&object, "closed_cleanly", value_bool(result->closed_cleanly));
        object_add_str(&object, "torn_bytes", value_number((double)result->torn_bytes));
        object_add_str(&object, "problem_count", value_number((double)check->problems));
        object_add_str(&object, "problems", array_take((ArrayBuilder *)&check->shown));
        object_add_str(&object, "damaged_tables", array_take(&damaged));
        remote_print_json(object_take(&object), check->arena);
}

static Status run_check(const Invocation *invocation, int *ret_exit)
{
        const CheckValues *values = invocation->values;
        _cleanup_(check_done) Check check = {.values = values, .arena = invocation->arena};
        StoreCheck walk = {.os = os_posix(),
                           .path = values->data_dir,
                           .progress = {.ctx = &check, .report = on_progress},
                           .ctx = &check,
                           .problem = on_problem,
                           .row = on_row,
                           .damaged = on_damaged,
                           .table = on_table};
        StoreCheckResult result;
        *ret_exit = EXIT_UNCHECKED;
        TRY(table_verify_new(&check.verify));
        TRY(nummap_new(&check.damaged));
        array_init(&check.shown, check.arena, 8);
        progress_init(&check.progress, os_posix(), check.verb, 0, false, values->quiet);
        output_catch_interrupt();
        Status st = store_check(&walk, &result);
        if (!st)
                st = table_verify_finish(check.verify, on_problem, &check);
        progress_clear(&check.progress);
        if (st) {
                if (status_code(st) == ERR_CANCELLED)
                        *ret_exit = EXIT_INTERRUPTED;
                return st;
        }
        *ret_exit = check.problems ? EXIT_FAILED : EXIT_DONE;
        if (check.problems > (uint64_t)values->problems)
                fprintf(stderr, "... and %" PRIu64 " problems more: --problems %" PRIu64 " shows all\n",
                        check.problems - (uint64_t)values->problems, check.problems);
        if (values->json)
                print_json(&check, &result);
        else if (check.problems)
                print_damaged(&check);
        else if (!values->quiet)
                print_whole(&result);
        return ST_OK;
}

const Command check_command = {
        .name = "check",
        .words = "",
        .summary = "is the data of a stopped server, or a backup, whole?",
        .details =
                "Reads every file of the data directory and writes to none: checksums, the order of keys, counts, the\n"
                "space of the files, the log, and whether documents, tables and catalog fit together. A server must\n"
                "not be running there; to check one that is, check a backup of it: photondb backup.\n"
                "Rows are counted as of the checkpoint.\n"
                "\n"
                "Exit statuses: 0 the data is whole, 1 it is damaged, 2 wrong usage, 5 it could not be checked (it is\n"
                "in use, not there, not readable, or of another version), 130 interrupted.",
        .examples = "photondb check --data-dir /var/lib/photondb\n"
                    "photondb check --data-dir /backups/monday --quiet || echo restore another one\n"
                    "photondb check --json",
        .options = check_options,
        .values_bytes = sizeof(CheckValues),
        .run = run_check,
};
