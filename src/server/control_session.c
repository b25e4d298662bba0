/* control_session.c - the control socket's requests, from bytes to lines; see control.h. */
#include "server/control.h"

#include <inttypes.h>
#include <setjmp.h>

#include "base/log.h"
#include "base/mem.h"
#include "value/json.h"

#define REPLY_MAX_BYTES     ((size_t)64 << 20) /* figures of very many tables */
#define REQUEST_ARENA_BYTES ((size_t)1 << 20)
#define PATH_MAX_BYTES      4096
#define PROGRESS_NS         INT64_C(100000000) /* between two lines of one thing */

struct ControlSession {
        ControlWorld world;
        ControlOut out;
        Buf line, reply;
        bool closing;
        /* --- during a backup --- */
        const char *progress_what;
        int64_t progress_ns;
};

/* --- errors --- */

static const struct {
        StatusCode code;
        const char *text;
} codes[] = {
        {ERR_NOMEM, "memory"},
        {ERR_IO, "io"},
        {ERR_NO_SPACE, "no-space"},
        {ERR_CORRUPT, "corrupt"},
        {ERR_VERSION, "version"},
        {ERR_BUSY, "busy"},
        {ERR_CLOSED, "closed"},
        {ERR_ACCESS, "access"},
        {ERR_INVALID, "invalid"},
        {ERR_NOT_FOUND, "not-found"},
        {ERR_EXISTS, "exists"},
        {ERR_LIMIT, "limit"},
        {ERR_UNSUPPORTED, "unsupported"},
        {ERR_CANCELLED, "cancelled"},
};

const char *control_code_text(StatusCode code)
{
        for (size_t i = 0; i < ELEMENTS(codes); i++)
                if (codes[i].code == code)
                        return codes[i].text;
        return "failed";
}

StatusCode control_code_parse(Bytes text)
{
        for (size_t i = 0; i < ELEMENTS(codes); i++)
                if (bytes_equal(text, BYTES_STR(codes[i].text)))
                        return codes[i].code;
        return ERR_IO;
}

static Status send_reply(ControlSession *session)
{
        TRY(buf_append_byte(&session->reply, '\n'));
        return session->out.write(session->out.ctx, BYTES(session->reply.data, session->reply.size));
}

static Status append_error(Buf *reply, Status failed)
{
        char text[2048];
        TRY(buf_printf(reply, "{\"error\":{\"code\":\"%s\",\"text\":", control_code_text(status_code(failed))));
        TRY(json_write_message(BYTES_STR(status_text(failed, text, sizeof(text))), reply));
        if (status_hint_text(failed)) {
                TRY(buf_append_str(reply, ",\"hint\":"));
                TRY(json_write_message(BYTES_STR(status_hint_text(failed)), reply));
        }
        return buf_append_str(reply, "}}");
}

/* Takes `failed`. */
static Status answer_error(ControlSession *session, Status failed)
{
        buf_clear(&session->reply);
        Status st = append_error(&session->reply, failed);
        status_ignore(failed);
        return st ? st : send_reply(session);
}

/* --- figures --- */

static Status append_quantiles(Buf *reply, const Histogram *ns)
{
        return buf_printf(reply,
                          "\"syncs\":%" PRIu64 ",\"sync_p50_us\":%" PRIu64 ",\"sync_p99_us\":%" PRIu64
                          ",\"sync_max_us\":%" PRIu64,
                          ns->count, histogram_quantile(ns, 0.5) / 1000, histogram_quantile(ns, 0.99) / 1000,
                          ns->max / 1000);
}

/* Of a Status that it takes: null or the text. */
static Status append_failure(Buf *reply, Status failed)
{
        char text[1024];
        if (!failed)
                return buf_append_str(reply, "null");
        status_text(failed, text, sizeof(text));
        status_ignore(failed);
        return json_write_message(BYTES_STR(text), reply);
}

static Status append_general(const ControlWorld *world, const StoreStats *stats, Buf *reply)
{
        const EngineStats *engines = &stats->engines;
        char time[MOMENT_TIME_BYTES];
        uint64_t expired_rows, expiry_commits;
        TRY(buf_printf(reply,
                       "{\"done\":{\"version\":\"%s\",\"time\":\"%s\",\"uptime_ms\":%" PRId64 ",\"server_name\":",
                       PHOTONDB_VERSION, moment_time_text(os_wall_us(world->os), time),
                       (os_mono_ns(world->os) - world->started_ns) / 1000000));
        TRY(json_write_message(BYTES_STR(world->server_name), reply));
        TRY(buf_printf(reply,
                       ",\"cache\":{\"used_bytes\":%" PRIu64 ",\"budget_bytes\":%" PRIu64 ",\"dirty_bytes\":%" PRIu64
                       ",\"dirty_budget_bytes\":%" PRIu64 ",\"hits\":%" PRIu64 ",\"reads\":%" PRIu64
                       ",\"evicted\":%" PRIu64 "}",
                       engines->cache_bytes, engines->cache_max_bytes, engines->dirty_bytes, engines->dirty_max_bytes,
                       engines->hit_count, engines->read_count, engines->evicted_count));
        TRY(buf_printf(reply, ",\"memory\":{\"used_bytes\":%" PRIu64 ",\"snapshots\":%" PRIu64 "}",
                       engines->memory_bytes, engines->snapshot_count));
        TRY(buf_printf(reply,
                       ",\"writes\":{\"commits\":%" PRIu64 ",\"throttled\":%" PRIu64 ",\"throttled_ms\":%" PRIu64 "}",
                       stats->commit_count, stats->throttled_count, stats->throttled_ns / 1000000));
        table_source_expired(world->catalog, &expired_rows, &expiry_commits);
        return buf_printf(reply, ",\"expiry\":{\"rows\":%" PRIu64 ",\"commits\":%" PRIu64 "}", expired_rows,
                          expiry_commits);
}

static Status append_feeds(const ControlWorld *world, Buf *reply)
{
        FeedHubStats s;
        if (!world->feeds)
                return ST_OK;
        feed_hub_stats(world->feeds, &s);
        TRY(buf_printf(reply,
                       ",\"feeds\":{\"feeds\":%zu,\"system_feeds\":%zu,\"attached\":%zu,\"classes\":%zu,\"tables\":%zu"
                       ",\"queued_events\":%zu,\"queued_bytes\":%zu,\"memory_max_bytes\":%zu,\"readers\":%zu"
                       ",\"travelling\":%zu",
                       s.feeds, s.system_feeds, s.attached, s.classes, s.tables, s.queued_events, s.queued_bytes,
                       s.memory_max_bytes, s.readers, s.travelling));
        TRY(buf_printf(reply,
                       ",\"commits\":%" PRIu64 ",\"events\":%" PRIu64 ",\"delivered\":%" PRIu64
                       ",\"caught_up\":%" PRIu64 ",\"detached_slow\":%" PRIu64 ",\"detached_large\":%" PRIu64
                       ",\"worked\":%" PRIu64 ",\"journeys\":%" PRIu64 ",\"journey_commits\":%" PRIu64
                       ",\"lost\":%" PRIu64 ",\"skipped\":%" PRIu64,
                       s.commits, s.events, s.delivered, s.caught_up, s.detached_slow, s.detached_large, s.worked,
                       s.journeys, s.journey_commits, s.lost, s.skipped));
        return buf_printf(reply, ",\"lag_positions\":%" PRIu64 ",\"lag_us\":%" PRId64 ",\"failing\":%s}",
                          s.lag_positions, s.lag_us, s.failing ? "true" : "false");
}

static Status append_durability(const ControlWorld *world, const StoreStats *stats, Buf *reply)
{
        const EngineStats *engines = &stats->engines;
        TRY(buf_printf(reply,
                       ",\"log\":{\"bytes\":%" PRIu64 ",\"files\":%" PRIu64 ",\"position\":%" PRIu64
                       ",\"durable_position\":%" PRIu64 ",\"kept_bytes\":%" PRIu64 ",\"reach\":%" PRIu64
                       ",\"readers\":%" PRIu64 ",",
                       stats->log_bytes, stats->log_segment_count, stats->last_position, stats->durable_position,
                       stats->log_kept_bytes, stats->log_reach, stats->log_reader_count));
        TRY(append_quantiles(reply, &stats->sync_ns));
        TRY(buf_append_str(reply, ",\"failure\":"));
        TRY(append_failure(reply, store_log_error(world->store)));
        TRY(buf_printf(reply,
                       "},\"checkpoint\":{\"position\":%" PRIu64 ",\"count\":%" PRIu64 ",\"age_ms\":%" PRId64
                       ",\"last_ms\":%" PRIu64 ",\"last_bytes\":%" PRIu64 ",\"failure\":",
                       stats->checkpoint_position, stats->checkpoint_count, stats->checkpoint_age_us / 1000,
                       engines->checkpoint_ns_last / 1000000, engines->checkpoint_bytes_last));
        TRY(append_failure(reply, store_checkpoint_error(world->store)));
        TRY(buf_printf(reply,
                       "},\"files\":{\"bytes\":%" PRIu64 ",\"live_bytes\":%" PRIu64 ",\"waiting_bytes\":%" PRIu64
                       ",\"free_bytes\":%" PRIu64 ",\"metadata_bytes\":%" PRIu64 ",",
                       engines->file_bytes, engines->live_bytes, engines->waiting_bytes, engines->free_bytes,
                       engines->metadata_bytes));
        TRY(append_quantiles(reply, &engines->sync_ns));
        return buf_append_str(reply, "}");
}

/* A list under construction, in callbacks that cannot fail. */
typedef struct List {
        Buf *reply;
        size_t count;
        Status failed;
} List;

static void add_class(void *ctx, const char *engine, const EngineSpaceClass *class)
{
        List *list = ctx;
        bool empty = !class->slab_count && !class->live_count && !class->waiting_count && !class->free_count;
        if (list->failed || empty)
                return;
        list->failed =
                buf_printf(list->reply,
                           "%s{\"engine\":\"%s\",\"extent_bytes\":%u,\"slabs\":%" PRIu64 ",\"live\":%" PRIu64
                           ",\"waiting\":%" PRIu64 ",\"free\":%" PRIu64 ",\"live_bytes\":%" PRIu64
                           ",\"waiting_bytes\":%" PRIu64 "}",
                           list->count++ ? "," : "", engine, class->extent_bytes, class->slab_count, class->live_count,
                           class->waiting_count, class->free_count, class->live_bytes, class->waiting_bytes);
}

static Status add_table(void *ctx, const TableInfo *info, const char *engine, StoreTable *table)
{
        List *list = ctx;
        EngineStats stats = {0};
        Status damage = store_table_error(table);
        bool damaged = damage != ST_OK;
        status_ignore(damage);
        if (!damaged)
                store_table_stats(table, &stats);
        TRY(buf_append_str(list->reply, list->count++ ? ",{\"db\":" : "{\"db\":"));
        TRY(json_write_message(info->db, list->reply));
        TRY(buf_append_str(list->reply, ",\"name\":"));
        TRY(json_write_message(info->name, list->reply));
        return buf_printf(list->reply,
                          ",\"engine\":\"%s\",\"rows\":%" PRIu64 ",\"row_bytes\":%" PRIu64 ",\"damaged\":%s}", engine,
                          stats.row_count, stats.row_bytes, damaged ? "true" : "false");
}

static Status append_lists(const ControlWorld *world, const StoreStats *stats, Buf *reply)
{
        List classes = {.reply = reply}, tables = {.reply = reply};
        TRY(buf_append_str(reply, ",\"space\":["));
        store_space_classes(world->store, add_class, &classes);
        TRY(classes.failed);
        TRY(buf_printf(reply, "],\"table_count\":%" PRIu64 ",\"damaged_table_count\":%" PRIu64 ",\"tables\":[",
                       stats->table_count, stats->damaged_table_count));
        TRY(table_source_each(world->catalog, add_table, &tables));
        return buf_append_str(reply, "]}}");
}

static Status do_figures(ControlSession *session)
{
        StoreStats stats;
        store_stats(session->world.store, &stats);
        TRY(append_general(&session->world, &stats, &session->reply));
        TRY(append_feeds(&session->world, &session->reply));
        TRY(append_durability(&session->world, &stats, &session->reply));
        return append_lists(&session->world, &stats, &session->reply);
}

/* --- checkpoint, backup --- */

static Status do_checkpoint(ControlSession *session)
{
        StoreStats stats;
        TRY(store_checkpoint(session->world.store));
        store_stats(session->world.store, &stats);
        return buf_printf(&session->reply, "{\"done\":{\"position\":%" PRIu64 "}}", stats.checkpoint_position);
}

static Status backup_progress(void *ctx, const char *what, uint64_t done_bytes, uint64_t total_bytes)
{
        ControlSession *session = ctx;
        if (session->out.gone(session->out.ctx))
                return status_new(ERR_CANCELLED, "the backup was cancelled");
        int64_t now_ns = os_mono_ns(session->world.os);
        bool same = session->progress_what && strcmp(session->progress_what, what) == 0;
        if (same && now_ns - session->progress_ns < PROGRESS_NS)
                return ST_OK;
        session->progress_what = what;
        session->progress_ns = now_ns;
        buf_clear(&session->reply);
        TRY(buf_append_str(&session->reply, "{\"progress\":{\"what\":"));
        TRY(json_write_message(BYTES_STR(what), &session->reply));
        TRY(buf_printf(&session->reply, ",\"done\":%" PRIu64 ",\"total\":%" PRIu64 "}}", done_bytes, total_bytes));
        return send_reply(session);
}

static Status do_backup(ControlSession *session, Value request)
{
        Value to = value_get_str(request, "to");
        char path[PATH_MAX_BYTES], time[MOMENT_TIME_BYTES];
        if (!value_is(to, V_STRING) || to.size == 0 || to.text[0] != '/' || to.size >= sizeof(path) ||
            memchr(to.text, 0, to.size))
                return status_new(ERR_INVALID, "\"to\" must be the absolute path of a directory");
        memcpy(path, to.text, to.size);
        path[to.size] = 0;
        StoreProgress progress = {.ctx = session, .report = backup_progress};
        StoreBackupResult result;
        session->progress_what = NULL;
        log_info("control", "backing up to %s", path);
        Status st = store_backup(session->world.store, path, &progress, &result);
        buf_clear(&session->reply);
        if (st) {
                char text[1024];
                log_warn("control", "%s", status_text(st, text, sizeof(text)));
                return st;
        }
        log_notice("control", "backup of commit %" PRIu64 " in %s, %" PRIu64 " bytes", result.position, path,
                   result.byte_count);
        return buf_printf(&session->reply,
                          "{\"done\":{\"position\":%" PRIu64 ",\"time\":\"%s\",\"bytes\":%" PRIu64
                          ",\"damaged_tables\":%" PRIu64 "}}",
                          result.position, moment_time_text(result.wall_us, time), result.byte_count,
                          result.damaged_table_count);
}

/* --- lines --- */

static Status run_request(ControlSession *session, Value request)
{
        if (!value_is_object(request))
                return status_new(ERR_INVALID, "a request is an object, like {\"do\":\"figures\"}");
        Value verb = value_get_str(request, "do");
        if (value_bytes_are(verb, "figures"))
                return do_figures(session);
        if (value_bytes_are(verb, "checkpoint"))
                return do_checkpoint(session);
        if (value_bytes_are(verb, "backup"))
                return do_backup(session, request);
        return status_new(ERR_INVALID, "\"do\" must be \"backup\", \"checkpoint\" or \"figures\"");
}

static void out_of_arena(void *ctx, bool over_budget)
{
        longjmp(*(jmp_buf *)ctx, 1);
}

/* An arena that is exhausted must not take the server with it. */
static Status parse_request(Bytes line, Arena *arena, Value *ret_request)
{
        jmp_buf back;
        if (setjmp(back) != 0) {
                arena_on_oom(arena, NULL, NULL);
                return status_nomem();
        }
        arena_on_oom(arena, out_of_arena, &back);
        Status st = json_parse_copy(line, JSON_PLAIN, arena, ret_request);
        arena_on_oom(arena, NULL, NULL);
        return status_context(st, "this is not JSON");
}

static Status answer_line(ControlSession *session, Bytes line)
{
        Arena arena;
        Value request;
        arena_init(&arena, REQUEST_ARENA_BYTES);
        buf_clear(&session->reply);
        Status st = parse_request(line, &arena, &request);
        if (!st)
                st = run_request(session, request);
        arena_done(&arena);
        return st ? answer_error(session, st) : send_reply(session);
}

Status control_session_new(const ControlWorld *world, const ControlOut *out, ControlSession **ret_session)
{
        ControlSession *session = mem_zalloc(sizeof(*session));
        if (!session)
                return status_nomem();
        session->world = *world;
        session->out = *out;
        buf_init(&session->line, CONTROL_LINE_MAX_BYTES);
        buf_init(&session->reply, REPLY_MAX_BYTES);
        *ret_session = session;
        return ST_OK;
}

ControlSession *control_session_free(ControlSession *session)
{
        if (session) {
                buf_done(&session->line);
                buf_done(&session->reply);
                mem_free(session);
        }
        return NULL;
}

Status control_session_feed(ControlSession *session, const uint8_t *data, size_t size, bool *ret_close)
{
        while (size && !session->closing) {
                const uint8_t *end = memchr(data, '\n', size);
                size_t n = end ? (size_t)(end - data) : size;
                Status st = buf_append(&session->line, data, n);
                if (st) {
                        bool long_line = status_code(st) == ERR_LIMIT;
                        session->closing = true;
                        if (long_line) {
                                status_ignore(st);
                                st = status_new(ERR_LIMIT, "a request has at most %d bytes", CONTROL_LINE_MAX_BYTES);
                        }
                        TRY(answer_error(session, st));
                        break;
                }
                if (end) {
                        if (session->line.size)
                                st = answer_line(session, BYTES(session->line.data, session->line.size));
                        buf_clear(&session->line);
                        TRY(st);
                        n++;
                }
                data += n;
                size -= n;
        }
        *ret_close = session->closing;
        return ST_OK;
}
