/* control_test.c - the control socket: its lines over a simulated disk, and itself over a real directory. */

#include "base/check.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "os/sim.h"
#include "os/thread.h"
#include "server/control.h"
#include "value/json.h"

/* --- a store with a catalog and one table; what is written into `out` --- */

typedef struct World {
        SimOs *sim; /* NULL: the machine, in `dir` */
        char dir[64];
        Os *os;
        Store *store;
        HostOps host;
        TableCatalog *catalog;
        ControlWorld control;
        ControlSession *session;
        Buf out;
        unsigned lines;
        bool gone, write_fails;
} World;

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

static Status out_write(void *ctx, Bytes line)
{
        World *world = ctx;
        if (world->write_fails)
                return status_new(ERR_CLOSED, "gone");
        assert_true(line.size > 0 && line.data[line.size - 1] == '\n');
        assert_null(memchr(line.data, '\n', line.size - 1));
        world->lines++;
        return buf_append(&world->out, line.data, line.size);
}

static bool out_gone(void *ctx)
{
        return ((World *)ctx)->gone;
}

static void open_data(World *world, const char *data_dir)
{
        StoreOptions options = {
                .os = world->os, .path = data_dir, .cache_max_bytes = 8 << 20, .background = !world->sim};
        OK(store_open(&options, &world->store));
        world->host = (HostOps){host_now, host_mono, host_random, world->os, "name", "id"};
        OK(table_source_open(world->store, &world->host, NULL, &world->catalog));
        Arena arena;
        Value result;
        uint64_t position;
        arena_init(&arena, 0);
        const TableSource *source = table_source(world->catalog);
        OK(source->table_create(source->ctx, BYTES_STR("test"), BYTES_STR("things"), value_object_sorted(NULL, 0),
                                &arena, &result, &position));
        arena_done(&arena);
        world->control = (ControlWorld){
                .os = world->os, .store = world->store, .catalog = world->catalog, .server_name = "the \"one\""};
}

static void world_sim(World *world)
{
        *world = (World){0};
        log_configure(LOG_OFF, LOG_TEXT, 2);
        OK(sim_new(3, &world->sim));
        world->os = sim_os(world->sim);
        open_data(world, "data");
        buf_init(&world->out, 1 << 20);
        ControlOut out = {.ctx = world, .write = out_write, .gone = out_gone};
        OK(control_session_new(&world->control, &out, &world->session));
}

static void close_data(World *world)
{
        world->catalog = table_source_close(world->catalog);
        OK(store_close(world->store));
}

static void world_done(World *world)
{
        control_session_free(world->session);
        close_data(world);
        buf_done(&world->out);
        sim_free(world->sim);
}

/* What `text` is answered with; the last line, NUL-terminated. */
static const char *ask(World *world, const char *text, bool expect_close)
{
        bool close = false;
        buf_clear(&world->out);
        world->lines = 0;
        OK(control_session_feed(world->session, (const uint8_t *)text, strlen(text), &close));
        assert_int_equal(close, expect_close);
        OK(buf_append_byte(&world->out, 0));
        char *line = (char *)world->out.data;
        if (world->out.size < 2)
                return line;
        line[world->out.size - 2] = 0;
        char *last = strrchr(line, '\n');
        return last ? last + 1 : line;
}

static void expect_words(const char *text, const char *words)
{
        if (!strstr(text, words))
                fail_msg("no \"%s\" in %s", words, text);
}

/* --- lines --- */

static void test_figures(void **state)
{
        World world;
        Arena arena;
        Value reply;
        world_sim(&world);
        arena_init(&arena, 0);
        const char *line = ask(&world, "{\"do\":\"figures\"}\n", false);
        OK(json_parse_copy(BYTES_STR(line), JSON_PLAIN, &arena, &reply));
        Value done = value_get_str(reply, "done");
        assert_true(value_is_object(done));
        static const char *const groups[] = {"cache", "memory", "writes", "expiry", "log", "checkpoint", "files"};
        for (size_t i = 0; i < ELEMENTS(groups); i++)
                assert_true(value_is_object(value_get_str(done, groups[i])));
        assert_true(value_bytes_are(value_get_str(done, "server_name"), "the \"one\""));
        Value tables = value_get_str(done, "tables");
        assert_int_equal(value_count(tables), 1);
        assert_true(value_bytes_are(value_get_str(value_at(tables, 0), "name"), "things"));
        assert_true(value_get_str(value_get_str(done, "log"), "position").number >= 1);
        expect_words(ask(&world, "{\"do\":\"checkpoint\"}\n", false), "{\"done\":{\"position\":");
        line = ask(&world, "{\"do\":\"figures\"}\n", false);
        OK(json_parse_copy(BYTES_STR(line), JSON_PLAIN, &arena, &reply));
        Value checkpoint = value_get_str(value_get_str(reply, "done"), "checkpoint");
        assert_true(value_get_str(checkpoint, "position").number >= 1);
        assert_true(value_is(value_get_str(checkpoint, "failure"), V_NULL));
        arena_done(&arena);
        world_done(&world);
}

static void test_malformed(void **state)
{
        static const struct {
                const char *line, *words;
        } cases[] = {
                {"nonsense", "this is not JSON"},
                {"GET / HTTP/1.1\r", "this is not JSON"},
                {"[1]", "a request is an object"},
                {"null", "a request is an object"},
                {"{}", "\\\"do\\\" must be"},
                {"{\"do\":7}", "\\\"do\\\" must be"},
                {"{\"do\":\"figure\"}", "\\\"do\\\" must be"},
                {"{\"do\":\"backup\"}", "absolute path"},
                {"{\"do\":\"backup\",\"to\":\"\"}", "absolute path"},
                {"{\"do\":\"backup\",\"to\":\"relative\"}", "absolute path"},
                {"{\"do\":\"backup\",\"to\":\"/a\\u0000b\"}", "absolute path"},
                {"{\"do\":\"backup\",\"to\":\"/data\"}", "\"code\":\"exists\""},
                {"{\"do\":\"backup\",\"to\":\"/no/such\"}", "\"code\":\"not-found\""},
                {"\xff\xfe", "this is not JSON"},
        };
        World world;
        world_sim(&world);
        for (size_t i = 0; i < ELEMENTS(cases); i++) {
                char line[256];
                snprintf(line, sizeof(line), "%s\n", cases[i].line);
                const char *reply = ask(&world, line, false);
                expect_words(reply, "{\"error\":{\"code\":\"");
                expect_words(reply, cases[i].words);
        }
        /* Several in one piece, empty lines between; a piece at a time. */
        ask(&world, "\n{\"do\":\"checkpoint\"}\n\n\n{\"do\":\"checkpoint\"}\nx\n", false);
        assert_int_equal(world.lines, 3);
        const char *request = "{\"do\":\"checkpoint\"}\n";
        for (size_t i = 0; request[i]; i++) {
                char piece[2] = {request[i], 0};
                ask(&world, piece, false);
                assert_int_equal(world.lines, request[i] == '\n');
        }
        /* A line without an end. */
        char longer[CONTROL_LINE_MAX_BYTES + 100];
        memset(longer, ' ', sizeof(longer));
        longer[sizeof(longer) - 1] = 0;
        expect_words(ask(&world, longer, true), "\"code\":\"limit\"");
        assert_int_equal(*ask(&world, "{\"do\":\"checkpoint\"}\n", true), 0);
        world_done(&world);
}

static void test_backup(void **state)
{
        World world;
        StoreBackupResult result;
        world_sim(&world);
        const char *reply = ask(&world, "{\"do\":\"backup\",\"to\":\"/backup\"}\n", false);
        expect_words(reply, "{\"done\":{\"position\":");
        assert_true(world.lines >= 3);
        expect_words((const char *)world.out.data, "{\"progress\":{\"what\":\"checkpoint\",\"done\":0,\"total\":0}}");
        StoreRestore request = {.os = world.os, .backup = "backup", .path = "new"};
        OK(store_restore(&request, &result));
        expect_words(ask(&world, "{\"do\":\"backup\",\"to\":\"/backup\"}\n", false), "\"hint\":");
        /* The peer is gone: nothing is left. */
        world.gone = true;
        expect_words(ask(&world, "{\"do\":\"backup\",\"to\":\"/other\"}\n", false), "\"code\":\"cancelled\"");
        world.gone = false;
        request.backup = "other";
        FAILS(ERR_NOT_FOUND, store_restore(&request, &result));
        world.write_fails = true;
        bool close;
        const char *line = "{\"do\":\"backup\",\"to\":\"/other\"}\n";
        FAILS(ERR_CLOSED, control_session_feed(world.session, (const uint8_t *)line, strlen(line), &close));
        FAILS(ERR_NOT_FOUND, store_restore(&request, &result));
        world.write_fails = false;
        expect_words(ask(&world, "{\"do\":\"backup\",\"to\":\"/other\"}\n", false), "{\"done\":");
        world_done(&world);
}

static void test_codes(void **state)
{
        for (StatusCode code = ERR_NOMEM; code <= ERR_CANCELLED; code++) {
                const char *text = control_code_text(code);
                StatusCode again = control_code_parse(BYTES_STR(text));
                assert_int_equal(again, strcmp(text, "failed") == 0 ? ERR_IO : code);
        }
        assert_int_equal(control_code_parse(BYTES_STR("unheard-of")), ERR_IO);
}

/* An answer that says so, or none; the server goes on. */
static void test_allocations(void **state)
{
        static const char *const lines[] = {"{\"do\":\"figures\"}\n", "{\"do\":\"checkpoint\"}\n",
                                            "{\"do\":\"backup\",\"to\":\"/data\"}\n"};
        World world;
        world_sim(&world);
        for (size_t i = 0; i < ELEMENTS(lines); i++) {
                for (long n = 1, fired = 1; fired; n++) {
                        bool close;
                        ControlSession *session = NULL;
                        ControlOut out = {.ctx = &world, .write = out_write, .gone = out_gone};
                        buf_clear(&world.out);
                        OK(buf_reserve(&world.out, 65536));
                        mem_fail_nth(n);
                        Status st = control_session_new(&world.control, &out, &session);
                        if (!st)
                                st = control_session_feed(session, (const uint8_t *)lines[i], strlen(lines[i]), &close);
                        fired = mem_fail_fired();
                        mem_fail_nth(0);
                        assert_true(!st || status_code(st) == ERR_NOMEM);
                        status_ignore(st);
                        control_session_free(session);
                }
        }
        expect_words(ask(&world, lines[0], false), "{\"done\":");
        world_done(&world);
}

/* --- the socket --- */

static void world_real(World *world, const char *data)
{
        *world = (World){.os = os_posix()};
        log_configure(LOG_OFF, LOG_TEXT, 2);
        char root[] = "/tmp/photon-control-XXXXXX";
        assert_non_null(mkdtemp(root));
        snprintf(world->dir, sizeof(world->dir), "%s", root);
        char path[400];
        snprintf(path, sizeof(path), "%s/%s", root, data);
        open_data(world, path);
}

static void remove_all(World *world)
{
        char command[300];
        snprintf(command, sizeof(command), "rm -r %s", world->dir);
        close_data(world);
        assert_int_equal(system(command), 0);
}

static void say(int fd, const char *line)
{
        assert_int_equal(send(fd, line, strlen(line), MSG_NOSIGNAL), strlen(line));
}

/* The next line, NUL-terminated; empty at the end. */
static const char *hear(int fd)
{
        static _Thread_local char line[65536];
        size_t n = 0;
        while (n < sizeof(line) - 1 && recv(fd, line + n, 1, 0) == 1 && line[n++] != '\n')
                ;
        line[n] = 0;
        return line;
}

static void test_socket(void **state)
{
        World world;
        Control *control;
        struct stat info;
        char path[400];
        int fd, fds[CONTROL_MAX_PEERS];
        world_real(&world, "data");
        snprintf(path, sizeof(path), "%s/data", world.dir);
        FAILS(ERR_NOT_FOUND, control_connect(path, &fd));
        FAILS(ERR_NOT_FOUND, control_connect("/no/such/directory", &fd));
        OK(control_start(&world.control, path, &control));
        snprintf(path, sizeof(path), "%s/data/control", world.dir);
        assert_int_equal(lstat(path, &info), 0);
        assert_int_equal(info.st_mode & 0777, 0600);
        assert_true(S_ISSOCK(info.st_mode));
        *strrchr(path, '/') = 0;

        OK(control_connect(path, &fd));
        say(fd, "{\"do\":\"figures\"}\n{\"do\":");
        expect_words(hear(fd), "{\"done\":{\"version\"");
        say(fd, "\"checkpoint\"}\n");
        expect_words(hear(fd), "{\"done\":{\"position\"");
        /* One who stops sending gets the answer. */
        say(fd, "{\"do\":\"checkpoint\"}\n");
        shutdown(fd, SHUT_WR);
        expect_words(hear(fd), "{\"done\":");
        assert_string_equal(hear(fd), "");
        close(fd);

        /* As many as it takes, and one more; when one goes there is room again. */
        for (size_t i = 0; i < CONTROL_MAX_PEERS; i++) {
                OK(control_connect(path, &fds[i]));
                say(fds[i], "{\"do\":\"checkpoint\"}\n");
                expect_words(hear(fds[i]), "{\"done\":");
        }
        OK(control_connect(path, &fd));
        expect_words(hear(fd), "as many connections as it takes");
        close(fd);
        close(fds[0]);
        for (int tries = 0;; tries++) {
                assert_true(tries < 5000);
                OK(control_connect(path, &fds[0]));
                send(fds[0], "{\"do\":\"checkpoint\"}\n", 20, MSG_NOSIGNAL);
                if (strstr(hear(fds[0]), "{\"done\":"))
                        break;
                close(fds[0]);
                usleep(1000);
        }
        /* Those that are open are closed by the stop. */
        control_stop(control);
        for (size_t i = 0; i < CONTROL_MAX_PEERS; i++) {
                assert_string_equal(hear(fds[i]), "");
                close(fds[i]);
        }
        FAILS(ERR_NOT_FOUND, control_connect(path, &fd));
        assert_int_equal(lstat(path, &info), 0);
        remove_all(&world);
}

/* What a killed server left is replaced, and a path that no socket's address has room for will do. */
static void test_stale_and_long(void **state)
{
        World world;
        Control *control;
        char path[400], data[150];
        int fd, stale = socket(AF_UNIX, SOCK_STREAM, 0);
        memset(data, 'd', sizeof(data) - 1);
        data[sizeof(data) - 1] = 0;
        world_real(&world, data);
        /* Bound under a short name and moved to where it should be. */
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", world.dir);
        assert_int_equal(bind(stale, (struct sockaddr *)&address, sizeof(address)), 0);
        snprintf(path, sizeof(path), "%s/%s/control", world.dir, data);
        assert_int_equal(rename(address.sun_path, path), 0);
        close(stale);
        *strrchr(path, '/') = 0;
        FAILS(ERR_NOT_FOUND, control_connect(path, &fd));
        OK(control_start(&world.control, path, &control));
        OK(control_connect(path, &fd));
        say(fd, "{\"do\":\"checkpoint\"}\n");
        expect_words(hear(fd), "{\"done\":");
        close(fd);
        control_stop(control);
        remove_all(&world);
}

/* A backup that is under way ends when its connection does, and when the server stops. */
static void test_backup_ends(void **state)
{
        World world;
        Control *control;
        char path[400], line[700];
        int fd;
        world_real(&world, "data");
        snprintf(path, sizeof(path), "%s/data", world.dir);
        for (int round = 0; round < 20; round++) {
                OK(control_start(&world.control, path, &control));
                OK(control_connect(path, &fd));
                snprintf(line, sizeof(line), "{\"do\":\"backup\",\"to\":\"%s/backup%d\"}\n", world.dir, round);
                say(fd, line);
                if (round % 2) {
                        usleep((unsigned)round * 100);
                        close(fd);
                }
                control_stop(control);
                if (round % 2 == 0)
                        close(fd);
                /* Either it was faster, or nothing is left. */
                snprintf(line, sizeof(line), "%s/backup%d", world.dir, round);
                StoreBackupResult result;
                StoreRestore request = {.os = world.os, .backup = line, .path = path};
                Status st = store_restore(&request, &result);
                assert_true(status_code(st) == ERR_EXISTS || access(line, F_OK) != 0);
                status_ignore(st);
        }
        remove_all(&world);
}

/* Figures on one connection while another backs up, and a second backup meanwhile. */
static void busy_peer(void *arg)
{
        const char *path = arg;
        int fd;
        OK(control_connect(path, &fd));
        for (int i = 0; i < 20; i++) {
                say(fd, "{\"do\":\"figures\"}\n");
                expect_words(hear(fd), "{\"done\":{\"version\"");
        }
        close(fd);
}

static void test_at_once(void **state)
{
        World world;
        Control *control;
        Thread threads[4];
        char path[400], line[700];
        int fd;
        world_real(&world, "data");
        snprintf(path, sizeof(path), "%s/data", world.dir);
        OK(control_start(&world.control, path, &control));
        for (size_t i = 0; i < ELEMENTS(threads); i++)
                OK(thread_start(&threads[i], "peer", busy_peer, path));
        OK(control_connect(path, &fd));
        for (int i = 0; i < 5; i++) {
                snprintf(line, sizeof(line), "{\"do\":\"backup\",\"to\":\"%s/backup%d\"}\n", world.dir, i);
                say(fd, line);
                const char *reply;
                while (strstr(reply = hear(fd), "{\"progress\":"))
                        ;
                expect_words(reply, "{\"done\":{\"position\"");
        }
        close(fd);
        for (size_t i = 0; i < ELEMENTS(threads); i++)
                thread_join(&threads[i]);
        control_stop(control);
        remove_all(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_figures),        cmocka_unit_test(test_malformed),
                cmocka_unit_test(test_backup),         cmocka_unit_test(test_codes),
                cmocka_unit_test(test_allocations),    cmocka_unit_test(test_socket),
                cmocka_unit_test(test_stale_and_long), cmocka_unit_test(test_backup_ends),
                cmocka_unit_test(test_at_once),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
