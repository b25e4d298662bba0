/* The whole server in this process, over real sockets and a real directory. */

#include "base/check.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "network/listener.h"
#include "os/os.h"
#include "os/thread.h"
#include "server/identity.h"
#include "server/server.h"

#if defined(__SANITIZE_THREAD__)
/* libuv closes sockets with a bare system call, which ThreadSanitizer does not see: a file opened later under the same
 * number looks like a race with the accept before. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
        return "race:posix_file_open\n";
}
#endif

/* --- a directory and a server --- */
typedef struct World {
        char dir[64], data[80];
        ServerOptions options;
        Server *server;
        Thread thread;
} World;

static void run_server(void *arg)
{
        World *world = arg;
        OK(server_run(world->server));
}

static void world_dir(World *world)
{
        *world = (World){0};
        log_configure(LOG_OFF, LOG_TEXT, 2);
        snprintf(world->dir, sizeof(world->dir), "/tmp/photon-test-XXXXXX");
        assert_non_null(mkdtemp(world->dir));
        snprintf(world->data, sizeof(world->data), "%s/data", world->dir);
        world->options = (ServerOptions){.data_dir = world->data, .bind = "127.0.0.1", .thread_count = 2};
}

static void world_start(World *world)
{
        OK(server_start(&world->options, &world->server));
        OK(thread_start(&world->thread, "server", run_server, world));
}

static void world_stop(World *world)
{
        server_stop_soon(world->server);
        thread_join(&world->thread);
        world->server = server_free(world->server);
}

static void remove_tree(const char *path)
{
        DIR *dir = opendir(path);
        if (dir) {
                for (struct dirent *entry; (entry = readdir(dir));) {
                        char name[512];
                        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                                continue;
                        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
                        if (unlink(name) != 0)
                                remove_tree(name);
                }
                closedir(dir);
        }
        rmdir(path);
}

static void world_done(World *world)
{
        if (world->server)
                world_stop(world);
        remove_tree(world->dir);
}

/* --- a client --- */
static int dial(int port)
{
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        assert_true(fd >= 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        return fd;
}

static void send_all(int fd, const void *data, size_t size)
{
        const char *p = data;
        while (size) {
                ssize_t n = send(fd, p, size, MSG_NOSIGNAL);
                assert_true(n > 0);
                p += n;
                size -= (size_t)n;
        }
}

static void recv_all(int fd, void *data, size_t size)
{
        if (size)
                assert_int_equal(recv(fd, data, size, MSG_WAITALL), size);
}

/* V0_4, without a key. */
static int login(const World *world)
{
        char success[8];
        int fd = dial(server_driver_port(world->server));
        send_all(fd, "\x20\x2d\x0c\x40\0\0\0\0\xc7\x70\x69\x7e", 12);
        recv_all(fd, success, sizeof(success));
        assert_string_equal(success, "SUCCESS");
        return fd;
}

static void send_query(int fd, uint64_t token, const char *text)
{
        uint8_t frame[4096]; /* in one piece: Nagle would wait for an acknowledgement between two */
        size_t size = strlen(text);
        assert_true(size + 12 <= sizeof(frame));
        store_u64(frame, token);
        store_u32(frame + 8, (uint32_t)size);
        memcpy(frame + 12, text, size);
        send_all(fd, frame, size + 12);
}

static char *receive(int fd, uint64_t *ret_token)
{
        uint8_t head[12];
        recv_all(fd, head, sizeof(head));
        uint32_t size = load_u32(head + 8);
        char *body = mem_alloc(size + 1);
        recv_all(fd, body, size);
        body[size] = 0;
        *ret_token = load_u64(head);
        return body;
}

static void ask(int fd, const char *text, const char *answer)
{
        uint64_t token;
        send_query(fd, 17, text);
        char *body = receive(fd, &token);
        assert_int_equal(token, 17);
        if (strlen(body) < strlen(answer) || memcmp(body, answer, strlen(answer)) != 0)
                fail_msg("%s: %s", text, body);
        mem_free(body);
}

static void expect_end(int fd)
{
        char buf[4096];
        ssize_t n;
        while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
                ;
        close(fd);
}

/* --- tests --- */
static void test_data_survives_a_restart(void **state)
{
        World world;
        char text[256], id[2][256];
        world_dir(&world);
        for (int i = 0; i < 2; i++) {
                uint64_t token;
                world_start(&world);
                int fd = login(&world);
                if (i == 0) {
                        ask(fd, "[1,[60,[\"t\"]]]", "{\"t\":1,");
                        ask(fd, "[1,[56,[[15,[\"t\"]],{\"id\":1,\"a\":\"x\"}]]]", "{\"t\":1,");
                }
                ask(fd, "[1,[16,[[15,[\"t\"]],1]]]", "{\"t\":1,\"r\":[{\"a\":\"x\",\"id\":1}]}");
                send_query(fd, 1, "[5]");
                char *body = receive(fd, &token);
                snprintf(id[i], sizeof(id[i]), "%s", body);
                mem_free(body);
                world_stop(&world);
                expect_end(fd);
        }
        assert_string_equal(id[0], id[1]); /* the id stays with the directory */
        snprintf(text, sizeof(text), "%s/%s", world.data, SERVER_ID_FILE);
        assert_int_equal(access(text, R_OK), 0);
        world_done(&world);
}

static void expect_start_error(World *world, StatusCode code, const char *part)
{
        Server *server = NULL;
        Status st = server_start(&world->options, &server);
        assert_non_null(st);
        if (!strstr(status_message(st), part))
                fail_msg("%s", status_message(st));
        assert_int_equal(status_code(st), code);
        assert_null(server);
        status_free(st);
}

static void test_busy_port_changes_nothing(void **state)
{
        World world;
        NetListener *other;
        char part[64];
        world_dir(&world);
        OK(net_listener_open("127.0.0.1", 0, "x", "-x", &other));
        int port = net_listener_port(other);
        snprintf(part, sizeof(part), "Port %d is already in use", port);
        world.options.driver_port = port;
        expect_start_error(&world, ERR_BUSY, part);
        world.options.driver_port = 0;
        world.options.http_port = port;
        expect_start_error(&world, ERR_BUSY, part);
        assert_int_equal(access(world.data, F_OK), -1);
        net_listener_close(other);
        world_start(&world); /* now it is free */
        world_done(&world);
}

static void test_locked_directory(void **state)
{
        World world;
        world_dir(&world);
        world_start(&world);
        expect_start_error(&world, ERR_BUSY, "");
        int fd = login(&world);
        ask(fd, "[1,1]", "{\"t\":1,\"r\":[1]}"); /* the first goes on */
        close(fd);
        world_done(&world);
}

static void test_bad_options(void **state)
{
        World world;
        world_dir(&world);
        world.options.driver_port = 70000;
        expect_start_error(&world, ERR_INVALID, "70000");
        world.options.driver_port = world.options.cluster_port = 12345;
        expect_start_error(&world, ERR_INVALID, "12345");
        world.options.driver_port = world.options.cluster_port = 0;
        world.options.bind = "all"; /* open to the world, and no password */
        expect_start_error(&world, ERR_INVALID, "without a password");
        assert_int_equal(access(world.data, F_OK), -1);
        world.options.initial_password = "s3cret";
        world_start(&world);
        world_stop(&world);
        world.options.initial_password = NULL;
        world.options.dev_mode = true;
        world_start(&world);
        world_stop(&world);
        world_done(&world);
}

static void test_port_file(void **state)
{
        World world;
        char path[128], want[128], got[256];
        world_dir(&world);
        snprintf(path, sizeof(path), "%s/ports", world.dir);
        world.options.port_file = path;
        world_start(&world);
        FILE *file = fopen(path, "r");
        assert_non_null(file);
        assert_non_null(fgets(got, sizeof(got), file));
        fclose(file);
        snprintf(want, sizeof(want), "{\"driver_port\":%d,\"http_port\":%d,", server_driver_port(world.server),
                 server_http_port(world.server));
        assert_memory_equal(got, want, strlen(want));
        world_stop(&world);
        assert_int_equal(access(path, F_OK), -1);
        world.options.port_file = "/no/such/directory/ports";
        expect_start_error(&world, ERR_NOT_FOUND, "");
        world_done(&world);
}

static void http(const World *world, const char *request, const char *status, const char *part)
{
        char got[65536];
        size_t size = 0;
        int fd = dial(server_http_port(world->server));
        send_all(fd, request, strlen(request));
        for (ssize_t n; (n = recv(fd, got + size, sizeof(got) - size - 1, 0)) > 0;)
                size += (size_t)n;
        got[size] = 0;
        close(fd);
        if (memcmp(got, status, strlen(status)) != 0 || !strstr(got, part))
                fail_msg("%s -> %s", request, got);
}

static void test_http(void **state)
{
        World world;
        world_dir(&world);
        world_start(&world);
#define CLOSE " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        http(&world, "GET /health" CLOSE, "HTTP/1.1 200 OK\r\n", "{\"status\":\"ok\",");
        http(&world, "GET /health?verbose" CLOSE, "HTTP/1.1 200 OK\r\n", "\"log\":\"ok\"");
        http(&world, "GET /" CLOSE, "HTTP/1.1 404 Not Found\r\n", "{\"error\":");
        http(&world, "POST /health" CLOSE, "HTTP/1.1 405 Method Not Allowed\r\n", "Allow: GET");
        http(&world, "GET /health HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\n", "Connection: close");
        http(&world, "GET /a HTTP/1.1\r\nHost: x\r\n\r\nGET /health" CLOSE, "HTTP/1.1 404",
             "HTTP/1.1 200 OK\r\n"); /* kept alive */
        http(&world, "garbage\r\n\r\n", "HTTP/1.1 400 Bad Request\r\n", "");
        http(&world, "\xc3\xbd\xc2\x34{}", "HTTP/1.1 400 Bad Request\r\n", "");
        char large[20000];
        int n = snprintf(large, sizeof(large), "GET /health HTTP/1.1\r\nX: ");
        memset(large + n, 'x', sizeof(large) - (size_t)n - 1);
        large[sizeof(large) - 1] = 0;
        http(&world, large, "HTTP/1.1 431", "too large");
        /* HEAD: the same length, no body */
        char got[1024];
        int fd = dial(server_http_port(world.server));
        const char *head = "HEAD /health" CLOSE;
        send_all(fd, head, strlen(head));
        ssize_t size = recv(fd, got, sizeof(got) - 1, MSG_WAITALL);
        assert_true(size > 0);
        got[size] = 0;
        assert_memory_equal(got, "HTTP/1.1 200 OK\r\n", 17);
        assert_string_equal(got + size - 4, "\r\n\r\n");
        close(fd);
        world_done(&world);
}

static size_t rss_bytes(void)
{
        size_t pages = 0, resident = 0;
        FILE *file = fopen("/proc/self/statm", "r");
        if (file) {
                if (fscanf(file, "%zu %zu", &pages, &resident) != 2)
                        resident = 0;
                fclose(file);
        }
        return resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* 200 000 queries whose answers (1 GB) nobody reads: the server stops reading instead of keeping them. */
static void test_a_client_that_does_not_read(void **state)
{
        World world;
        enum { ANSWER = 5000, QUERIES = 200000 };
        char text[ANSWER + 8];
        uint8_t frame[ANSWER + 32];
        world_dir(&world);
        world_start(&world);
        int fd = login(&world), other = login(&world);
        snprintf(text, sizeof(text), "[1,\"%0*d\"]", ANSWER, 1);
        size_t size = strlen(text), sent = 0;
        store_u64(frame, 1);
        store_u32(frame + 8, (uint32_t)size);
        memcpy(frame + 12, text, size);
        size_t before = rss_bytes();
        for (; sent < QUERIES; sent++) {
                struct pollfd out = {.fd = fd, .events = POLLOUT};
                if (poll(&out, 1, 300) != 1) /* the pipe is full: it was not read any more */
                        break;
                if (send(fd, frame, size + 12, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)(size + 12))
                        break;
        }
        assert_true(sent < QUERIES / 2);
        assert_true(rss_bytes() < before + (32u << 20));
        ask(other, "[1,1]", "{\"t\":1,\"r\":[1]}"); /* the others do not notice */
        close(fd);
        close(other);
        world_done(&world);
}

/* Open cursors and running queries of connections that vanish: ASan and the stop of the server tell. */
static void test_disconnects(void **state)
{
        World world;
        world_dir(&world);
        world_start(&world);
        for (int i = 0; i < 40; i++) {
                int fd = login(&world);
                send_query(fd, 1, "[1,[173,[]]]"); /* an endless stream */
                if (i % 2) {
                        uint64_t token;
                        mem_free(receive(fd, &token));
                        send_query(fd, 1, "[2]");
                }
                send_query(fd, 2, "[1,[43,[[173,[]]]]]"); /* an endless count */
                struct linger reset = {.l_onoff = i % 3 == 0};
                setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
                close(fd);
        }
        int fd = login(&world);
        ask(fd, "[1,[43,[[173,[1000]]]]]", "{\"t\":1,\"r\":[1000]}"); /* the workers are free again */
        close(fd);
        world_done(&world);
}

/* What is in flight when the server stops is answered, and what is acknowledged is there. */
typedef struct Writer {
        World *world;
        unsigned number, acknowledged;
} Writer;
static void write_until_end(void *arg)
{
        Writer *writer = arg;
        int fd = login(writer->world);
        for (;; writer->acknowledged++) {
                char text[128];
                uint8_t frame[160], head[12];
                int n = snprintf(text, sizeof(text), "[1,[56,[[15,[\"t\"]],{\"id\":\"%u-%u\"}]]]", writer->number,
                                 writer->acknowledged);
                store_u64(frame, writer->acknowledged);
                store_u32(frame + 8, (uint32_t)n);
                memcpy(frame + 12, text, (size_t)n);
                if (send(fd, frame, (size_t)n + 12, MSG_NOSIGNAL) != n + 12 || recv(fd, head, 12, MSG_WAITALL) != 12)
                        break;
                char body[1024];
                uint32_t size = load_u32(head + 8);
                if (recv(fd, body, size, MSG_WAITALL) != (ssize_t)size || memcmp(body, "{\"t\":1,", 7) != 0)
                        break;
        }
        close(fd);
}

static void test_stop_under_load(void **state)
{
        World world;
        Writer writers[8];
        Thread threads[8];
        world_dir(&world);
        world_start(&world);
        int fd = login(&world);
        ask(fd, "[1,[60,[\"t\"]]]", "{\"t\":1,");
        close(fd);
        for (unsigned i = 0; i < ELEMENTS(writers); i++) {
                writers[i] = (Writer){.world = &world, .number = i};
                OK(thread_start(&threads[i], "writer", write_until_end, &writers[i]));
        }
        usleep(300000);
        server_stop_soon(world.server);
        thread_join(&world.thread);
        for (unsigned i = 0; i < ELEMENTS(writers); i++)
                thread_join(&threads[i]);
        world.server = server_free(world.server);
        world_start(&world);
        fd = login(&world);
        unsigned total = 0;
        for (unsigned i = 0; i < ELEMENTS(writers); i++) {
                char text[128];
                for (unsigned k = 0; k < writers[i].acknowledged; k += 7) {
                        snprintf(text, sizeof(text), "[1,[16,[[15,[\"t\"]],\"%u-%u\"]]]", i, k);
                        ask(fd, text, "{\"t\":1,\"r\":[{\"id\":");
                }
                total += writers[i].acknowledged;
        }
        assert_true(total > 0);
        close(fd);
        world_done(&world);
}

static void test_idle_connections_are_small(void **state)
{
        World world;
        enum { COUNT = 400 };
        int fds[COUNT];
        world_dir(&world);
        world_start(&world);
        for (int i = 0; i < COUNT / 2; i++)
                fds[i] = login(&world);
        size_t before = rss_bytes();
        for (int i = COUNT / 2; i < COUNT; i++)
                fds[i] = login(&world);
        size_t after = rss_bytes();
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        assert_true(after < before + COUNT / 2 * 8192);
#else
        (void)before, (void)after;
#endif
        for (int i = 0; i < COUNT; i++)
                close(fds[i]);
        world_done(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_data_survives_a_restart),
                cmocka_unit_test(test_busy_port_changes_nothing),
                cmocka_unit_test(test_locked_directory),
                cmocka_unit_test(test_bad_options),
                cmocka_unit_test(test_port_file),
                cmocka_unit_test(test_http),
                cmocka_unit_test(test_a_client_that_does_not_read),
                cmocka_unit_test(test_disconnects),
                cmocka_unit_test(test_stop_under_load),
                cmocka_unit_test(test_idle_connections_are_small),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
