/* stats.c - `photondb stats`: the live figures of a running server, over its control socket, grouped for people.
 * What happens per second is told from two looks at it. */
#include <inttypes.h>
#include <unistd.h>

#include "cli/command.h"
#include "cli/local.h"
#include "value/json.h"

enum { FIRST_LOOK_MS = 500, SLICE_MS = 100, BAR_CELLS = 20 };

typedef struct StatsValues {
        const char *data_dir;
        int64_t interval_s;
        bool json, watch;
} StatsValues;

static const Option stats_options[] = {
        {"data-dir", OPTION_TEXT, offsetof(StatsValues, data_dir), "DIR", "./photondb_data", NULL, 0, 0,
         "the data directory of the running server"},
        {"json", OPTION_FLAG, offsetof(StatsValues, json), NULL, NULL, NULL, 0, 0, "write JSON, one object a line"},
        {"watch", OPTION_FLAG, offsetof(StatsValues, watch), NULL, NULL, NULL, 0, 0, "again and again, until Ctrl-C"},
        {"interval", OPTION_NUMBER, offsetof(StatsValues, interval_s), "SECONDS", "2", NULL, 1, 86400, "with --watch"},
        {NULL},
};

/* --- reading the figures --- */

/* "cache.hits"; none of what is not there. */
static Value field(Value figures, const char *group, const char *key)
{
        if (group && value_is_object(figures))
                figures = value_get_str(figures, group);
        return value_is_object(figures) ? value_get_str(figures, key) : value_none();
}

static double figure(Value figures, const char *group, const char *key)
{
        Value v = field(figures, group, key);
        return value_is(v, V_NUMBER) && v.number > 0 ? v.number : 0;
}

static const char *text_figure(Value figures, const char *group, const char *key, Arena *arena)
{
        Value v = field(figures, group, key);
        return value_is(v, V_STRING) ? arena_dup(arena, v.text, v.size) : "";
}

static const char *as_count(double n, Arena *arena)
{
        char out[32];
        output_count((uint64_t)n, out);
        return arena_dup(arena, out, strlen(out));
}

static const char *as_bytes(double n, Arena *arena)
{
        char out[32];
        output_bytes((uint64_t)n, out);
        return arena_dup(arena, out, strlen(out));
}

/* From microseconds to hours. */
static const char *as_time(double us, Arena *arena)
{
        char out[32];
        if (us < 1000)
                return arena_printf(arena, "%.0f us", us);
        if (us < 1e6)
                return arena_printf(arena, us < 9950 ? "%.1f ms" : "%.0f ms", us / 1000);
        output_duration(us / 1e6, out);
        return arena_dup(arena, out, strlen(out));
}

static const char *as_bar(double part, Arena *arena)
{
        char cells[BAR_CELLS + 1];
        size_t filled = (size_t)(MIN(MAX(part, 0), 1) * BAR_CELLS + 0.5);
        for (size_t i = 0; i < BAR_CELLS; i++)
                cells[i] = i < filled ? '=' : ' ';
        cells[BAR_CELLS] = 0;
        return arena_printf(arena, "[%s] %3.0f %%", cells, part * 100);
}

static const char *plural(double n)
{
        return n == 1 ? "" : "s";
}

static double share(double part, double whole)
{
        return whole > 0 ? part / whole : 0;
}

/* --- showing them --- */

static void print_line(const char *name, const char *text)
{
        printf("%-12s ", name);
        output_text(stdout, BYTES_STR(text));
        putchar('\n');
}

static void print_failure(Value figures, const char *group, Arena *arena)
{
        const char *why = text_figure(figures, group, "failure", arena);
        if (*why)
                print_line("", arena_printf(arena, "FAILING: %s", why));
}

/* With `before` the rates are of the time between the two, else there are none. */
static void print_general(Value now, Value before, double seconds, Arena *arena)
{
        double hits = figure(now, "cache", "hits") - figure(before, "cache", "hits");
        double reads = figure(now, "cache", "reads") - figure(before, "cache", "reads");
        if (hits + reads <= 0) { /* nothing lately: since the start */
                hits = figure(now, "cache", "hits");
                reads = figure(now, "cache", "reads");
        }
        double used = figure(now, "cache", "used_bytes"), budget = figure(now, "cache", "budget_bytes");
        printf("PhotonDB %s \"", text_figure(now, NULL, "version", arena));
        output_text(stdout, BYTES_STR(text_figure(now, NULL, "server_name", arena)));
        printf("\", up %s\n\n", as_time(figure(now, NULL, "uptime_ms") * 1000, arena));
        print_line("cache", arena_printf(arena, "%s of %s  %s", as_bytes(used, arena), as_bytes(budget, arena),
                                         as_bar(share(used, budget), arena)));
        if (hits + reads > 0)
                print_line("",
                           arena_printf(arena, "hit rate %.1f %%, %s read from files, %s evicted",
                                        100 * share(hits, hits + reads), as_count(figure(now, "cache", "reads"), arena),
                                        as_count(figure(now, "cache", "evicted"), arena)));
        print_line("", arena_printf(arena, "dirty %s of %s", as_bytes(figure(now, "cache", "dirty_bytes"), arena),
                                    as_bytes(figure(now, "cache", "dirty_budget_bytes"), arena)));
        print_line("memory", arena_printf(arena, "%s on the heap, %s open snapshots",
                                          as_bytes(figure(now, "memory", "used_bytes"), arena),
                                          as_count(figure(now, "memory", "snapshots"), arena)));
        print_line("commits",
                   arena_printf(
                           arena, "%s/s, %s since the start; writers were held back %s time%s, for %s",
                           as_count((figure(now, "writes", "commits") - figure(before, "writes", "commits")) / seconds,
                                    arena),
                           as_count(figure(now, "writes", "commits"), arena),
                           as_count(figure(now, "writes", "throttled"), arena),
                           plural(figure(now, "writes", "throttled")),
                           as_time(figure(now, "writes", "throttled_ms") * 1000, arena)));
}

/* Rows whose time came (a table's `ttl`). */
static void print_expiry(Value now, Value before, double seconds, Arena *arena)
{
        double rows = figure(now, "expiry", "rows");
        if (rows > 0)
                print_line("expired",
                           arena_printf(arena, "%s rows/s, %s since the start, in %s commits",
                                        as_count((rows - figure(before, "expiry", "rows")) / seconds, arena),
                                        as_count(rows, arena), as_count(figure(now, "expiry", "commits"), arena)));
}

/* Changefeeds: who is open, who is behind, what was lost. */
static void print_feeds(Value now, Value before, double seconds, Arena *arena)
{
        double open = figure(now, "feeds", "feeds"), system = figure(now, "feeds", "system_feeds"),
               detached = open - figure(now, "feeds", "attached"), lost = figure(now, "feeds", "lost"),
               skipped = figure(now, "feeds", "skipped");
        double given = figure(now, "feeds", "delivered") + figure(now, "feeds", "caught_up");
        double given_before = figure(before, "feeds", "delivered") + figure(before, "feeds", "caught_up");
        if (open + system + given <= 0)
                return;
        print_line("feeds",
                   arena_printf(arena, "%s open on %s table%s, %s on system tables; %s changes/s, %s since the start",
                                as_count(open, arena), as_count(figure(now, "feeds", "tables"), arena),
                                plural(figure(now, "feeds", "tables")), as_count(system, arena),
                                as_count((given - given_before) / seconds, arena), as_count(given, arena)));
        print_line("", arena_printf(arena, "%s wait for their clients, in %s of %s; %s feed%s behind, reading the log",
                                    as_count(figure(now, "feeds", "queued_events"), arena),
                                    as_bytes(figure(now, "feeds", "queued_bytes"), arena),
                                    as_bytes(figure(now, "feeds", "memory_max_bytes"), arena),
                                    as_count(detached, arena), plural(detached)));
        if (lost + skipped > 0)
                print_line("", arena_printf(arena, "%s time%s the log did not reach back, %s change%s skipped",
                                            as_count(lost, arena), plural(lost), as_count(skipped, arena),
                                            plural(skipped)));
        Value failing = field(now, "feeds", "failing");
        if (value_is(failing, V_BOOL) && failing.boolean)
                print_line("", "FAILING: the log cannot be read");
}

static void print_durability(Value now, Arena *arena)
{
        print_line("log",
                   arena_printf(arena, "%s in %s file%s, at commit %s, durable up to %s",
                                as_bytes(figure(now, "log", "bytes"), arena),
                                as_count(figure(now, "log", "files"), arena), plural(figure(now, "log", "files")),
                                as_count(figure(now, "log", "position"), arena),
                                as_count(figure(now, "log", "durable_position"), arena)));
        if (figure(now, "log", "kept_bytes") > 0)
                print_line("", arena_printf(arena, "%s kept for feeds that resume, back to commit %s",
                                            as_bytes(figure(now, "log", "kept_bytes"), arena),
                                            as_count(figure(now, "log", "reach"), arena)));
        if (figure(now, "log", "syncs") > 0)
                print_line("", arena_printf(arena, "%s sync%s: half within %s, 99 %% within %s, longest %s",
                                            as_count(figure(now, "log", "syncs"), arena),
                                            plural(figure(now, "log", "syncs")),
                                            as_time(figure(now, "log", "sync_p50_us"), arena),
                                            as_time(figure(now, "log", "sync_p99_us"), arena),
                                            as_time(figure(now, "log", "sync_max_us"), arena)));
        print_failure(now, "log", arena);
        if (figure(now, "checkpoint", "count") > 0)
                print_line("checkpoint",
                           arena_printf(arena, "of commit %s, %s ago, took %s and wrote %s; number %s since the start",
                                        as_count(figure(now, "checkpoint", "position"), arena),
                                        as_time(figure(now, "checkpoint", "age_ms") * 1000, arena),
                                        as_time(figure(now, "checkpoint", "last_ms") * 1000, arena),
                                        as_bytes(figure(now, "checkpoint", "last_bytes"), arena),
                                        as_count(figure(now, "checkpoint", "count"), arena)));
        else
                print_line("checkpoint", arena_printf(arena, "of commit %s; none since the start",
                                                      as_count(figure(now, "checkpoint", "position"), arena)));
        print_failure(now, "checkpoint", arena);
        print_line("files",
                   arena_printf(arena, "%s: %s live, %s free, %s wait for readers or a checkpoint, %s metadata",
                                as_bytes(figure(now, "files", "bytes"), arena),
                                as_bytes(figure(now, "files", "live_bytes"), arena),
                                as_bytes(figure(now, "files", "free_bytes"), arena),
                                as_bytes(figure(now, "files", "waiting_bytes"), arena),
                                as_bytes(figure(now, "files", "metadata_bytes"), arena)));
}

static Status add_text(Grid *grid, const char *text)
{
        return grid_cell(grid, BYTES_STR(text));
}

static Status print_space(Value now, Arena *arena)
{
        static const char *const titles[] = {"extents of", "slabs", "used", "waiting", "free", "live", "use"};
        Value classes = field(now, NULL, "space");
        _cleanup_(grid_freep) Grid *grid = NULL;
        size_t shown = 0;
        TRY(grid_new(ELEMENTS(titles), titles, &grid));
        for (size_t i = 0; value_is(classes, V_ARRAY) && i < value_count(classes); i++) {
                Value class = value_at(classes, i);
                double size = figure(class, NULL, "extent_bytes"), live = figure(class, NULL, "live"),
                       waiting = figure(class, NULL, "waiting"), left = figure(class, NULL, "free");
                if (live + waiting + left == 0)
                        continue;
                shown++;
                TRY(add_text(grid, size ? as_bytes(size, arena) : "large"));
                TRY(grid_number(grid, (uint64_t)figure(class, NULL, "slabs")));
                TRY(grid_number(grid, (uint64_t)live));
                TRY(grid_number(grid, (uint64_t)waiting));
                TRY(grid_number(grid, (uint64_t)left));
                TRY(add_text(grid, as_bytes(figure(class, NULL, "live_bytes"), arena)));
                TRY(add_text(grid, as_bar(share(live, live + waiting + left), arena)));
        }
        if (shown) {
                putchar('\n');
                grid_print(grid, stdout);
        }
        return ST_OK;
}

static Status print_tables(Value now, Arena *arena)
{
        static const char *const titles[] = {"table", "storage", "rows", "bytes", ""};
        Value tables = field(now, NULL, "tables");
        _cleanup_(grid_freep) Grid *grid = NULL;
        TRY(grid_new(ELEMENTS(titles), titles, &grid));
        size_t count = value_is(tables, V_ARRAY) ? value_count(tables) : 0;
        for (size_t i = 0; i < count; i++) {
                Value table = value_at(tables, i);
                TRY(add_text(grid, arena_printf(arena, "%s.%s", text_figure(table, NULL, "db", arena),
                                                text_figure(table, NULL, "name", arena))));
                TRY(add_text(grid, text_figure(table, NULL, "engine", arena)));
                TRY(grid_number(grid, (uint64_t)figure(table, NULL, "rows")));
                TRY(add_text(grid, as_bytes(figure(table, NULL, "row_bytes"), arena)));
                TRY(add_text(grid,
                             value_is(field(table, NULL, "damaged"), V_BOOL) && field(table, NULL, "damaged").boolean
                                     ? "DAMAGED"
                                     : ""));
        }
        if (count) {
                putchar('\n');
                grid_print(grid, stdout);
        }
        return ST_OK;
}

static Status print_all(Value now, Value before, double seconds, Arena *arena)
{
        print_general(now, before, seconds, arena);
        print_expiry(now, before, seconds, arena);
        print_feeds(now, before, seconds, arena);
        print_durability(now, arena);
        TRY(print_space(now, arena));
        return print_tables(now, arena);
}

/* --- asking --- */

/* False: Ctrl-C. */
static bool wait_ms(int64_t ms)
{
        for (; ms > 0 && !output_interrupted(); ms -= SLICE_MS)
                usleep(SLICE_MS * 1000);
        return !output_interrupted();
}

/* A connection for each look: the server ends one that is idle. */
static Status look(const StatsValues *values, Arena *arena, Value *ret_figures)
{
        _cleanup_(local_closep) Local *local = NULL;
        TRY(local_open(values->data_dir, &local));
        return local_ask(local, BYTES_STR("{\"do\":\"figures\"}"), NULL, arena, ret_figures);
}

static Status show_json(const StatsValues *values, Arena *arena)
{
        Value figures;
        do {
                arena_reset(arena);
                TRY(look(values, arena, &figures));
                Bytes text = json_text(figures, arena);
                fwrite(text.data, 1, text.size, stdout);
                putchar('\n');
                fflush(stdout);
        } while (values->watch && wait_ms(values->interval_s * 1000));
        return ST_OK;
}

/* Two arenas: the figures before are there until those after them are shown. */
static Status show(const StatsValues *values, Arena arenas[2])
{
        Value before, now;
        int64_t then_ns = os_mono_ns(os_posix()), wait = FIRST_LOOK_MS;
        bool clear = values->watch && isatty(STDOUT_FILENO) == 1;
        size_t turn = 0;
        TRY(look(values, &arenas[0], &before));
        do {
                if (!wait_ms(wait))
                        return ST_OK;
                wait = values->interval_s * 1000;
                turn = !turn;
                arena_reset(&arenas[turn]);
                TRY(look(values, &arenas[turn], &now));
                int64_t now_ns = os_mono_ns(os_posix());
                if (clear)
                        fputs("\x1b[H\x1b[2J", stdout);
                TRY(print_all(now, before, (double)(now_ns - then_ns) / 1e9, &arenas[turn]));
                if (values->watch && !clear)
                        putchar('\n');
                fflush(stdout);
                before = now;
                then_ns = now_ns;
        } while (values->watch);
        return ST_OK;
}

static Status run_stats(const Invocation *invocation, int *ret_exit)
{
        const StatsValues *values = invocation->values;
        Arena arenas[2];
        output_catch_interrupt();
        for (size_t i = 0; i < 2; i++)
                arena_init(&arenas[i], 0);
        Status st = values->json ? show_json(values, &arenas[0]) : show(values, arenas);
        for (size_t i = 0; i < 2; i++)
                arena_done(&arenas[i]);
        if (status_code(st) == ERR_NOT_FOUND) {
                *ret_exit = EXIT_NO_SERVER;
                return status_hint(st, "say where its data is with --data-dir DIR");
        }
        if (status_code(st) == ERR_CANCELLED && values->watch)
                st = status_free(st); /* that is how watching ends */
        return st;
}

const Command stats_command = {
        .name = "stats",
        .words = "",
        .summary = "what a running server is doing: cache, log, checkpoints, space, tables",
        .details = "Asks the server that runs on the data directory, on this machine. Who may write the directory may "
                   "ask.\n"
                   "The figures of --json are described in docs/backup.md, under \"The control socket\".",
        .examples = "photondb stats\n"
                    "photondb stats --data-dir /var/lib/photondb --watch\n"
                    "photondb stats --json | jq .log",
        .options = stats_options,
        .values_bytes = sizeof(StatsValues),
        .run = run_stats,
};
