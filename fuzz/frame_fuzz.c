/* frame_fuzz.c - bytes of a peer into the handshake and frame state machine, and into the HTTP parser.
 *
 * The first byte chooses: bit 0: HTTP; bit 1: log in first, so that the rest is frames; bits 2..7: into how large
 * pieces the input is cut. The queries run over a world without tables: every name is unknown. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "network/conn.h"
#include "os/os.h"
#include "server/http.h"
#include "server/session.h"

#define MUST(expr)                                                                                                     \
        do {                                                                                                           \
                if ((expr) != ST_OK)                                                                                   \
                        abort();                                                                                       \
        } while (0)

/* --- a world without tables, whose clock stands still --- */
static Status no_table(void *ctx, Bytes db, Bytes table, TableRef **ret_table)
{
        return status_new(ERR_OP_FAILED, "Table `%.*s.%.*s` does not exist.", (int)db.size, (const char *)db.data,
                          (int)table.size, (const char *)table.data);
}
static Status no_db(void *ctx, Bytes db)
{
        return status_new(ERR_OP_FAILED, "Database `%.*s` does not exist.", (int)db.size, (const char *)db.data);
}
static Status no_change(void *ctx, Bytes name, Arena *arena, Value *ret_result, uint64_t *ret_position)
{
        return no_db(ctx, name);
}
static Status db_list(void *ctx, Arena *arena, Value *ret_names)
{
        *ret_names = value_array(NULL, 0);
        return ST_OK;
}
static Status no_table_create(void *ctx, Bytes db, Bytes name, Value options, Arena *arena, Value *ret_result,
                              uint64_t *ret_position)
{
        return no_db(ctx, db);
}
static Status no_table_drop(void *ctx, Bytes db, Bytes name, Arena *arena, Value *ret_result, uint64_t *ret_position)
{
        return no_db(ctx, db);
}
static Status no_table_list(void *ctx, Bytes db, Arena *arena, Value *ret_names)
{
        return no_db(ctx, db);
}
static Status no_config(void *ctx, Bytes db, Bytes table, Arena *arena, Value *ret_config)
{
        return no_db(ctx, db);
}
static const TableSource source = {
        .table_find = no_table,
        .db_check = no_db,
        .db_create = no_change,
        .db_drop = no_change,
        .db_list = db_list,
        .table_create = no_table_create,
        .table_drop = no_table_drop,
        .table_list = no_table_list,
        .config = no_config,
        .status = no_config,
};

static int64_t now(void *ctx)
{
        return 1000000;
}
static Status random_bytes(void *ctx, void *out, size_t size)
{
        memset(out, 7, size);
        return ST_OK;
}
static const HostOps host = {
        .now_us = now, .mono_ns = now, .random = random_bytes, .server_name = "fuzz", .server_id = "id"};
static const QueryWorld query_world = {.source = &source, .host = &host, .memory_max_bytes = 16 << 20};

/* --- one connection --- */
typedef struct Peer {
        Buf out;
        Job *submitted[2048];
        size_t submitted_count;
        bool ended;
} Peer;

static void submit(void *ctx, Job *job)
{
        Peer *peer = ctx;
        peer->submitted[peer->submitted_count++] = job;
}
static uint64_t durable(void *ctx)
{
        return UINT64_MAX;
}
static Status no_log_error(void *ctx)
{
        return ST_OK;
}
static void want_durable(void *ctx, uint64_t position) {}
static void post(void *ctx, NetTask *task)
{
        abort(); /* there are no feeds in this world */
}
static const GroupOps group_ops = {submit, durable, no_log_error, want_durable, post};

static Buf *out(void *conn)
{
        return &((Peer *)conn)->out;
}
static size_t out_pending(void *conn)
{
        return 0; /* a peer that reads everything */
}
static void nothing(void *conn) {}
static void finish(void *conn, uint64_t linger_ms)
{
        ((Peer *)conn)->ended = true;
}
static void abort_conn(void *conn)
{
        ((Peer *)conn)->ended = true;
}
static const char *peer_name(void *conn, char *text, size_t size)
{
        text[0] = 0;
        return text;
}
static const SessionOps session_ops = {out, out_pending, nothing, nothing, finish, abort_conn, nothing, peer_name};

/* One query may be endless: it is run when a STOP has come or the connection is gone, else only if it is not. */
static void run_submitted(Peer *peer, bool end)
{
        while (peer->submitted_count) {
                Job *job = peer->submitted[--peer->submitted_count];
                if (end)
                        job_run(job); /* cancelled by session_end */
                job_done(job);
        }
}

static void feed(Session *session, Peer *peer, const uint8_t *data, size_t size, size_t piece)
{
        for (size_t at = 0; at < size && !peer->ended;) {
                size_t n = MIN(piece, size - at);
                uint8_t *copy = mem_alloc(n), *space; /* of exact size: reading beyond is found */
                if (!copy)
                        return;
                memcpy(copy, data + at, n);
                size_t room = session_space(session, &space);
                if (room) {
                        size_t used = MIN(room, n);
                        memcpy(space, copy, used);
                        session_filled(session, used);
                        at += used;
                } else {
                        size_t used = session_feed(session, copy, n);
                        at += used;
                        if (used == 0) { /* too much in flight, or a password is being checked */
                                mem_free(copy);
                                return;
                        }
                }
                mem_free(copy);
                buf_clear(&peer->out);
        }
}

static ScramCredential admin;

static Status find_admin(void *ctx, Bytes name, ScramCredential *ret_credential, bool *ret_found)
{
        *ret_found = bytes_equal(name, BYTES_STR("admin"));
        *ret_credential = admin;
        return ST_OK;
}
static const SessionUsers users = {NULL, find_admin};

static void fuzz_session(const uint8_t *data, size_t size, bool logged_in, size_t piece)
{
        static const uint8_t login[] = {0x20, 0x2d, 0x0c, 0x40, 0, 0, 0, 0}, protocol[] = {0xc7, 0x70, 0x69, 0x7e};
        static Peer peer;
        SessionWorld world = {os_posix(), &query_world, &users, "00000000-0000-4000-8000-000000000000", "fuzz"};
        SessionGroup *group;
        Session *session;
        peer = (Peer){0};
        buf_init(&peer.out, CONN_OUT_MAX_BYTES);
        MUST(session_group_new(&world, &group_ops, &peer, &group));
        MUST(session_new(group, &session_ops, &peer, &session));
        if (logged_in) {
                feed(session, &peer, login, sizeof(login), sizeof(login));
                run_submitted(&peer, true);
                feed(session, &peer, protocol, sizeof(protocol), sizeof(protocol));
                if (!session_is_logged_in(session))
                        abort();
        }
        feed(session, &peer, data, size, piece);
        session_end(session);
        run_submitted(&peer, true);
        if (session_group_busy(group) != 0)
                abort();
        session_group_free(group);
        buf_done(&peer.out);
}

/* --- HTTP --- */
static Status health(void *ctx, Buf *out, bool *ret_healthy)
{
        *ret_healthy = true;
        return buf_append_str(out, "{}");
}

static void fuzz_http(const uint8_t *data, size_t size, size_t piece)
{
        static const HttpWorld world = {.health = health};
        HttpSession *http;
        Buf out;
        bool close = false;
        buf_init(&out, CONN_OUT_MAX_BYTES);
        MUST(http_session_new(&world, &http));
        for (size_t at = 0; at < size && !close; at += piece) {
                MUST(http_session_feed(http, data + at, MIN(piece, size - at), &out, &close));
                buf_clear(&out);
        }
        http_session_free(http);
        buf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static bool ready;
        if (!ready) {
                log_configure(LOG_OFF, LOG_TEXT, 2);
                MUST(scram_credential(os_posix(), BYTES_NONE, SCRAM_ITERATIONS_EMPTY, &admin));
                ready = true;
        }
        if (size == 0)
                return 0;
        size_t piece = data[0] >> 2 ? data[0] >> 2 : 65536;
        if (data[0] & 1)
                fuzz_http(data + 1, size - 1, piece);
        else
                fuzz_session(data + 1, size - 1, data[0] & 2, piece);
        return 0;
}
