/* restore.c - `photondb restore`: a data directory from a backup, and up to a later moment from archived logs. */
#include <inttypes.h>
#include <stdlib.h>

#include "cli/command.h"
#include "cli/local.h"

typedef struct RestoreValues {
        const char *data_dir, *as_of;
        OptionList logs;
        bool quiet;
} RestoreValues;

static const Option restore_options[] = {
        {"data-dir", OPTION_TEXT, offsetof(RestoreValues, data_dir), "NEW", NULL, NULL, 0, 0,
         "where the data is to be: a new or an empty directory"},
        {"log", OPTION_LIST, offsetof(RestoreValues, logs), "DIR", NULL, NULL, 0, 0,
         "log files since the backup: an archive, or a data directory; may be given again"},
        {"as-of", OPTION_TEXT, offsetof(RestoreValues, as_of), "MOMENT", NULL, NULL, 0, 0,
         "stop after this commit (a number), or after the last one not later than this time"},
        {"quiet", OPTION_FLAG, offsetof(RestoreValues, quiet), NULL, NULL, NULL, 0, 0, "errors only"},
        {NULL},
};

typedef struct Restoring {
        Progress progress;
        char verb[64];
} Restoring;

static Status on_progress(void *ctx, const char *what, uint64_t done_bytes, uint64_t total_bytes)
{
        Restoring *restoring = ctx;
        if (output_interrupted())
                return status_new(ERR_CANCELLED, "interrupted: nothing was restored");
        snprintf(restoring->verb, sizeof restoring->verb, "%s", what);
        restoring->progress.total = total_bytes;
        progress_update(&restoring->progress, 0, done_bytes);
        return ST_OK;
}

static Status parse_moment(const char *text, StoreMoment *ret_moment)
{
        size_t digits = strspn(text, "0123456789");
        *ret_moment = (StoreMoment){0};
        if (digits && !text[digits] && digits < 20)
                ret_moment->position = strtoull(text, NULL, 10);
        else if (!moment_time_parse(text, &ret_moment->wall_us))
                ret_moment->wall_us = 0;
        if (moment_is_set(*ret_moment))
                return ST_OK;
        return status_hint(status_new(ERR_INVALID, "--as-of: \"%s\" is neither a commit's number nor a time", text),
                           "write 12345, or 2026-11-21T14:05:00Z, or \"2026-11-21 14:05:00\" (which is UTC, too)");
}

static Status run_restore(const Invocation *invocation, int *ret_exit)
{
        const RestoreValues *values = invocation->values;
        Restoring restoring = {0};
        StoreBackupResult result;
        StoreRestore request = {.os = os_posix(),
                                .backup = invocation->words[0],
                                .path = values->data_dir,
                                .logs = values->logs.items,
                                .log_count = values->logs.count,
                                .progress = {.ctx = &restoring, .report = on_progress}};
        *ret_exit = EXIT_USAGE;
        if (!values->data_dir || !*values->data_dir)
                return status_hint(status_new(ERR_INVALID, "restore needs --data-dir"),
                                   "photondb restore %s --data-dir NEW", invocation->words[0]);
        if (values->as_of)
                TRY(parse_moment(values->as_of, &request.as_of));
        *ret_exit = EXIT_DONE;
        output_catch_interrupt();
        progress_init(&restoring.progress, os_posix(), restoring.verb, 0, false, values->quiet);
        restoring.progress.bytes_only = true;
        Status st = store_restore(&request, &result);
        progress_clear(&restoring.progress);
        if (status_code(st) == ERR_CANCELLED)
                *ret_exit = EXIT_INTERRUPTED;
        TRY(st);
        if (!values->quiet) {
                char moment[96], bytes[32], time[32];
                printf("restored: %s, %s in %s\n", local_moment_text(result.position, result.wall_us, moment),
                       output_bytes(result.byte_count, bytes),
                       local_seconds_text(progress_seconds(&restoring.progress), time));
                fputs("start it with: photondb serve --data-dir ", stdout);
                output_text(stdout, BYTES_STR(values->data_dir));
                putchar('\n');
        }
        return ST_OK;
}

const Command restore_command = {
        .name = "restore",
        .words = "BACKUP",
        .least_words = 1,
        .most_words = 1,
        .summary = "make a data directory from a backup, as of any moment since",
        .details = "Without --log: the moment of the backup. With --log: everything that the log files there have, or\n"
                   "with --as-of what there was at that moment. Times are UTC unless they say otherwise\n"
                   "(2026-11-21T15:05:00+01:00). The backup is only read. If the command fails, or is interrupted,\n"
                   "nothing is left of NEW.",
        .examples = "photondb restore /backups/monday --data-dir /var/lib/photondb-again\n"
                    "photondb restore /backups/monday --data-dir /var/lib/new --log /archive --as-of \"2026-11-21 "
                    "14:05:00\"\n"
                    "photondb restore /backups/monday --data-dir /var/lib/new --log /archive --log /var/lib/dead",
        .options = restore_options,
        .values_bytes = sizeof(RestoreValues),
        .run = run_restore,
};
