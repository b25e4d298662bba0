/* session_test.h - a session without sockets: bytes in, bytes out, work run when the test says so; over the real query
 * layer, catalog and a store on a simulated disk. */
#ifndef SERVER_SESSION_TEST_H
#define SERVER_SESSION_TEST_H

#include "base/check.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "network/conn.h"
#include "os/sim.h"
#include "os/thread.h"
#include "server/answer.h"
#include "server/session_int.h"
#include "storage/store.h"
#include "table/table.h"

/* --- a world of one loop and one connection --- */
typedef struct World {
        SimOs *sim;
        Store *store;
        TableCatalog *catalog;
        HostOps host;
        QueryWorld query;
        SessionUsers users;
        SessionWorld world;
        SessionGroup *group;
        Session *session;
        Job *submitted[2048];
        size_t submitted_count;
        Mutex posted_mu;
        NetTask *posted, **posted_end; /* GUARDED_BY(posted_mu) */
        Jobs *jobs;
        uint64_t durable; /* what the group is told */
        uint64_t wanted;
        bool log_failed;
        Buf out;
        size_t pending_extra; /* pretended to be unsent */
        bool finished, aborted, logged_in, want_drained;
} World;

static inline void ops_submit(void *ctx, Job *job)
{
        World *world = ctx;
        assert_true(world->submitted_count < ELEMENTS(world->submitted));
        world->submitted[world->submitted_count++] = job;
}
static inline uint64_t ops_durable(void *ctx)
{
        return ((World *)ctx)->durable;
}
static inline Status ops_log_error(void *ctx)
{
        return ((World *)ctx)->log_failed ? status_new(ERR_IO, "the disk is on fire") : ST_OK;
}
static inline void ops_want_durable(void *ctx, uint64_t position)
{
        World *world = ctx;
        world->wanted = MAX(world->wanted, position);
}
/* From any thread. */
static inline void ops_post(void *ctx, NetTask *task)
{
        World *world = ctx;
        mutex_lock(&world->posted_mu);
        task->next = NULL;
        *world->posted_end = task;
        world->posted_end = &task->next;
        mutex_unlock(&world->posted_mu);
}
static const GroupOps group_ops = {ops_submit, ops_durable, ops_log_error, ops_want_durable, ops_post};

static inline Buf *conn_ops_out(void *conn)
{
        return &((World *)conn)->out;
}
static inline size_t conn_ops_pending(void *conn)
{
        World *world = conn;
        return world->out.size + world->pending_extra;
}
static inline void conn_ops_nothing(void *conn) {}
static inline void conn_ops_want_drained(void *conn)
{
        ((World *)conn)->want_drained = true;
}
static inline void conn_ops_finish(void *conn, uint64_t linger_ms)
{
        ((World *)conn)->finished = true;
}
static inline void conn_ops_abort(void *conn)
{
        ((World *)conn)->aborted = true;
}
static inline void conn_ops_logged_in(void *conn)
{
        ((World *)conn)->logged_in = true;
}
static const char *conn_ops_peer(void *conn, char *out, size_t size)
{
        snprintf(out, size, "test");
        return out;
}
static const SessionOps session_ops = {conn_ops_out,    conn_ops_pending, conn_ops_nothing,   conn_ops_want_drained,
                                       conn_ops_finish, conn_ops_abort,   conn_ops_logged_in, conn_ops_peer};

static inline int64_t host_now(void *ctx)
{
        return os_wall_us(ctx);
}
static inline int64_t host_mono(void *ctx)
{
        return os_mono_ns(ctx);
}
static inline Status host_random(void *ctx, void *out, size_t size)
{
        return os_random(ctx, out, size);
}

static inline Status host_credential(void *ctx, Bytes password, uint32_t iterations, ScramCredential *ret_credential)
{
        return scram_credential(ctx, password, MIN(iterations, 16u), ret_credential); /* this is a fast test */
}
static inline Status find_user(void *ctx, Bytes name, ScramCredential *ret_credential, bool *ret_found)
{
        return table_user_find(((World *)ctx)->catalog, name, ret_credential, ret_found);
}

static inline void connect_again(World *world)
{
        world->finished = world->aborted = world->logged_in = world->want_drained = false;
        buf_clear(&world->out);
        OK(session_new(world->group, &session_ops, world, &world->session));
}

static inline void world_init_password(World *world, const char *password)
{
        *world = (World){.durable = UINT64_MAX};
        mutex_init(&world->posted_mu);
        world->posted_end = &world->posted;
        log_configure(LOG_OFF, LOG_TEXT, 2);
        OK(sim_new(7, &world->sim));
        Os *os = sim_os(world->sim);
        StoreOptions options = {.os = os, .path = "data"};
        OK(store_open(&options, &world->store));
        world->host = (HostOps){.now_us = host_now,
                                .mono_ns = host_mono,
                                .random = host_random,
                                .ctx = os,
                                .server_name = "name",
                                .server_id = "id",
                                .credential = host_credential};
        OK(table_source_open(world->store, &world->host, NULL, &world->catalog));
        world->query = (QueryWorld){
                .source = table_source(world->catalog), .host = &world->host, .memory_max_bytes = 64 << 20};
        bool set;
        OK(table_admin_initial_password(world->catalog, BYTES_STR(password), &set));
        world->users = (SessionUsers){world, find_user};
        world->world = (SessionWorld){os, &world->query, &world->users, "00000000-0000-4000-8000-000000000000", "here"};
        OK(jobs_new(os, &world->jobs));
        world->world.jobs = world->jobs;
        OK(session_group_new(&world->world, &group_ops, world, &world->group));
        buf_init(&world->out, CONN_OUT_MAX_BYTES);
        connect_again(world);
}

static inline void run_one(World *world, size_t at)
{
        Job *job = world->submitted[at];
        world->submitted_count--;
        memmove(world->submitted + at, world->submitted + at + 1, (world->submitted_count - at) * sizeof(Job *));
        job_run(job);
        job_done(job);
}

static inline void run_all(World *world)
{
        while (world->submitted_count)
                run_one(world, 0);
}

/* What was posted to the loop, once; false: nothing. */
static inline bool run_posted(World *world)
{
        mutex_lock(&world->posted_mu);
        NetTask *task = take(world->posted);
        world->posted_end = &world->posted;
        mutex_unlock(&world->posted_mu);
        bool any = task != NULL;
        while (task) {
                NetTask *next = task->next;
                task->run(task);
                task = next;
        }
        return any;
}

/* Until nothing more happens by itself. */
static inline void settle(World *world)
{
        do
                run_all(world);
        while (run_posted(world) || world->submitted_count);
}

static inline void disconnect(World *world)
{
        session_end(world->session);
        world->session = NULL;
        settle(world);
}

static inline void world_done(World *world)
{
        if (world->session)
                disconnect(world);
        assert_int_equal(session_group_busy(world->group), 0);
        session_group_free(world->group);
        jobs_free(world->jobs);
        mutex_done(&world->posted_mu);
        buf_done(&world->out);
        table_source_close(world->catalog);
        OK(store_close(world->store));
        sim_free(world->sim);
}

static inline void feed(World *world, const void *data, size_t size)
{
        /* a copy of exact size, so that reading beyond what has come is found */
        uint8_t *copy = mem_alloc(size ? size : 1);
        memcpy(copy, data, size);
        size_t used = session_feed(world->session, copy, size);
        mem_free(copy);
        assert_int_equal(used, size);
}

static inline size_t make_frame(uint8_t *out, uint64_t token, const char *text)
{
        size_t size = strlen(text);
        store_u64(out, token);
        store_u32(out + 8, (uint32_t)size);
        memcpy(out + 12, text, size);
        return size + 12;
}

static inline void query(World *world, uint64_t token, const char *text)
{
        uint8_t frame[4096];
        feed(world, frame, make_frame(frame, token, text));
}

/* The first frame of the output; takes it out. */
static inline void expect_answer(World *world, uint64_t token, const char *body)
{
        assert_true(world->out.size >= 12);
        uint32_t size = load_u32(world->out.data + 8);
        assert_true(world->out.size >= 12 + (size_t)size);
        char got[4096];
        snprintf(got, sizeof(got), "%" PRIu64 " %.*s", load_u64(world->out.data), (int)size,
                 (char *)world->out.data + 12);
        char want[4096];
        snprintf(want, sizeof(want), "%" PRIu64 " %s", token, body);
        assert_string_equal(got, want);
        buf_consume(&world->out, 12 + size);
}

static inline void expect_silence(World *world)
{
        assert_int_equal(world->out.size, 0);
}

static inline void expect_text(World *world, const char *text, size_t size)
{
        assert_int_equal(world->out.size, size);
        assert_memory_equal(world->out.data, text, size);
        buf_clear(&world->out);
}

/* --- handshakes --- */
#define V0_3          "\x3e\xe8\x75\x5f"
#define V0_4          "\x20\x2d\x0c\x40"
#define V1_0          "\xc3\xbd\xc2\x34"
#define JSON_PROTOCOL "\xc7\x70\x69\x7e"
#define HELLO                                                                                                          \
        "{\"max_protocol_version\":0,\"min_protocol_version\":0,\"server_version\":\"" PHOTON_SERVER_VERSION           \
        "\",\"success\":true}"

static inline void login_v0(World *world)
{
        feed(world, V0_4 "\0\0\0\0" JSON_PROTOCOL,
             12 - 4); /* magic and an empty key; the protocol waits behind the check */
        run_all(world);
        feed(world, JSON_PROTOCOL, 4);
        expect_text(world, "SUCCESS", 8);
        assert_true(world->logged_in);
}

static inline void create_table(World *world)
{
        query(world, 1000, "[1,[60,[\"t\"]]]");
        run_all(world);
        assert_true(world->out.size > 0);
        buf_clear(&world->out);
}

#endif
