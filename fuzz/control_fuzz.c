/* control_fuzz.c - any bytes as requests of the control socket: each line is answered with one line of JSON, and the
 * store is as before.
 *
 * The first byte says into how large pieces the rest is cut. Backups are cancelled at their first step. */
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "os/sim.h"
#include "server/control.h"
#include "value/json.h"

#define REQUIRE(condition)                                                                                             \
        do {                                                                                                           \
                if (!(condition))                                                                                      \
                        abort();                                                                                       \
        } while (0)
#define REQUIRE_OK(expr)                                                                                               \
        do {                                                                                                           \
                Status st_ = (expr);                                                                                   \
                if (st_) {                                                                                             \
                        char text_[512];                                                                               \
                        fprintf(stderr, "%s: %s\n", #expr, status_text(st_, text_, sizeof(text_)));                    \
                        abort();                                                                                       \
                }                                                                                                      \
        } while (0)

static int64_t host_now(void *ctx)
{
        return os_wall_us(ctx);
}
static int64_t host_mono(void *ctx)
{
        return os_mono_ns(ctx);
}
static Status host_random(void *ctx, void *out, size_t size)
{
        return os_random(ctx, out, size);
}

static size_t answers; /* progress not counted */

static Status check_line(void *ctx, Bytes line)
{
        Arena arena;
        Value reply;
        REQUIRE(line.size > 1 && line.data[line.size - 1] == '\n' && !memchr(line.data, '\n', line.size - 1));
        arena_init(&arena, 0);
        REQUIRE_OK(json_parse_copy(BYTES(line.data, line.size - 1), JSON_PLAIN, &arena, &reply));
        REQUIRE(value_is_object(reply) && value_count(reply) == 1);
        if (value_is_object(value_get_str(reply, "error")))
                REQUIRE(value_is(value_get_str(value_get_str(reply, "error"), "text"), V_STRING));
        answers += !value_is_object(value_get_str(reply, "progress"));
        arena_done(&arena);
        return ST_OK;
}

static bool always_gone(void *ctx)
{
        return true;
}

/* One for all inputs: no request changes it. */
static const ControlWorld *world_get(void)
{
        static ControlWorld world;
        static HostOps host;
        static SimOs *sim;
        if (world.store)
                return &world;
        log_configure(LOG_OFF, LOG_TEXT, 2);
        REQUIRE_OK(sim_new(1, &sim));
        world.os = sim_os(sim);
        world.server_name = "fuzz";
        StoreOptions options = {.os = world.os, .path = "data", .cache_max_bytes = 8 << 20};
        REQUIRE_OK(store_open(&options, &world.store));
        host = (HostOps){host_now, host_mono, host_random, world.os, "name", "id"};
        REQUIRE_OK(table_source_open(world.store, &host, NULL, &world.catalog));
        return &world;
}

/* Lines that are not empty; those of one that is too long end it all. */
static size_t count_lines(const uint8_t *data, size_t size, bool *ret_too_long)
{
        size_t lines = 0, length = 0;
        *ret_too_long = false;
        for (size_t i = 0; i < size; i++) {
                if (data[i] == '\n') {
                        lines += length > 0;
                        length = 0;
                } else if (++length > CONTROL_LINE_MAX_BYTES) {
                        *ret_too_long = true;
                        return lines + 1;
                }
        }
        return lines;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        ControlOut out = {.write = check_line, .gone = always_gone};
        ControlSession *session;
        bool close = false, too_long;
        if (size < 1 || size > 65536)
                return 0;
        size_t piece = data[0] ? data[0] : size;
        data++;
        size--;
        size_t expected = count_lines(data, size, &too_long);
        answers = 0;
        REQUIRE_OK(control_session_new(world_get(), &out, &session));
        for (size_t at = 0; at < size; at += piece)
                REQUIRE_OK(control_session_feed(session, data + at, MIN(piece, size - at), &close));
        control_session_free(session);
        REQUIRE(answers == expected && close == too_long);
        return 0;
}
