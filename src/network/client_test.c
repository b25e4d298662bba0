/* client_test.c - the client against a server of a few lines in another thread, good and bad. */
#include "network/client.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "network/scram.h"
#include "os/thread.h"

typedef enum Manner {
        ECHO_BACKWARDS, /* answers two queries in the wrong order, each with its own text */
        FLOOD,          /* sends much before it reads anything */
        WRONG_PASSWORD,
        OTHER_PROTOCOL,
        SILENT,
        HANGS_UP,      /* in the middle of the handshake */
        HANGS_UP_LATER /* in the middle of a response */
} Manner;
enum { FLOOD_BYTES = 8 << 20 };

typedef struct Fake {
        Thread thread;
        Manner manner;
        int listener, port;
} Fake;

static void read_exactly(int fd, void *out, size_t size)
{
        for (size_t n = 0; n < size;) {
                ssize_t more = read(fd, (char *)out + n, size - n);
                assert_true(more > 0);
                n += (size_t)more;
        }
}

static void write_all(int fd, const void *data, size_t size)
{
        for (size_t n = 0; n < size;) {
                ssize_t more = send(fd, (const char *)data + n, size - n, MSG_NOSIGNAL);
                if (more <= 0)
                        return; /* the client has gone, as some tests want */
                n += (size_t)more;
        }
}

static void read_text(int fd, char *out)
{
        do
                read_exactly(fd, out, 1);
        while (*out++);
}

/* The string of "authentication" in the client's message. */
static Bytes authentication(const char *message)
{
        static const char key[] = "\"authentication\":\"";
        const char *from = strstr(message, key);
        assert_non_null(from);
        from += sizeof key - 1;
        return BYTES(from, strcspn(from, "\""));
}

static void reply(int fd, const Buf *text)
{
        char message[1024];
        int size = snprintf(message, sizeof message, "{\"success\": true, \"authentication\" : \"%.*s\"}",
                            (int)text->size, (const char *)text->data);
        write_all(fd, message, (size_t)size + 1);
}

static void log_in(int fd, Manner manner)
{
        static const char hello[] =
                "{\"max_protocol_version\":0,\"min_protocol_version\":0,\"server_version\":\"x\",\"success\":true}";
        static const char refusal[] = "{\"success\":false,\"error\":\"Wrong \\\"password\\\"\",\"error_code\":12}";
        ScramServer *scram;
        ScramCredential credential;
        Buf user, out;
        char message[1024];
        uint8_t magic[4];
        buf_init(&user, 1024);
        buf_init(&out, 1024);
        read_exactly(fd, magic, sizeof magic);
        assert_int_equal(load_u32(magic), 0x34c2bdc3);
        write_all(fd, hello, sizeof hello);
        assert_null(scram_credential(os_posix(), BYTES_STR("s\"cret"), 1, &credential));
        assert_null(scram_server_new(os_posix(), &scram));
        read_text(fd, message);
        assert_null(scram_server_first(scram, authentication(message), &user));
        assert_true(bytes_equal(BYTES(user.data, user.size), BYTES_STR("someone")));
        assert_null(scram_server_challenge(scram, &credential, &out));
        reply(fd, &out);
        read_text(fd, message);
        if (manner == WRONG_PASSWORD) {
                write_all(fd, refusal, sizeof refusal);
        } else if (manner != HANGS_UP) {
                buf_clear(&out);
                assert_null(scram_server_final(scram, authentication(message), &out));
                reply(fd, &out);
        }
        scram_server_free(scram);
        buf_done(&user);
        buf_done(&out);
}

typedef struct Frame {
        uint8_t header[12];
        char *body;
} Frame;

static void read_frame(int fd, Frame *ret_frame)
{
        read_exactly(fd, ret_frame->header, sizeof ret_frame->header);
        uint32_t size = load_u32(ret_frame->header + 8);
        ret_frame->body = malloc(size + 1);
        read_exactly(fd, ret_frame->body, size);
}

static void write_frame(int fd, Frame *frame)
{
        write_all(fd, frame->header, sizeof frame->header);
        write_all(fd, frame->body, load_u32(frame->header + 8));
        free(frame->body);
}

static void serve(int fd, Manner manner)
{
        Frame first, second;
        switch (manner) {
        case ECHO_BACKWARDS:
                read_frame(fd, &first);
                read_frame(fd, &second);
                write_frame(fd, &second);
                write_frame(fd, &first);
                break;
        case FLOOD:
                first.body = calloc(1, FLOOD_BYTES);
                store_u64(first.header, 77);
                store_u32(first.header + 8, FLOOD_BYTES);
                write_frame(fd, &first);
                read_frame(fd, &first);
                write_frame(fd, &first);
                break;
        case HANGS_UP_LATER:
                read_frame(fd, &first);
                write_all(fd, first.header, sizeof first.header);
                free(first.body);
                break;
        default: break;
        }
}

static void fake_main(void *arg)
{
        Fake *fake = arg;
        static const char other[] = "HTTP/1.1 400 Bad Request\r\n\r\n";
        char byte;
        int fd = accept(fake->listener, NULL, NULL);
        assert_true(fd >= 0);
        if (fake->manner == OTHER_PROTOCOL) {
                write_all(fd, other, sizeof other - 1);
        } else if (fake->manner != SILENT) {
                log_in(fd, fake->manner);
                serve(fd, fake->manner);
        }
        if (fake->manner != HANGS_UP && fake->manner != HANGS_UP_LATER && fake->manner != OTHER_PROTOCOL) {
                while (read(fd, &byte, 1) > 0) /* until the client goes */
                        ;
        }
        close(fd);
}

static void fake_start(Fake *fake, Manner manner, bool v6)
{
        struct sockaddr_in v4_address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct sockaddr_in6 v6_address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
        struct sockaddr *address = v6 ? (struct sockaddr *)&v6_address : (struct sockaddr *)&v4_address;
        socklen_t size = v6 ? sizeof v6_address : sizeof v4_address;
        fake->manner = manner;
        fake->listener = socket(address->sa_family, SOCK_STREAM, 0);
        fake->port = 0;
        if (fake->listener < 0 || bind(fake->listener, address, size) != 0 || listen(fake->listener, 8) != 0) {
                if (fake->listener >= 0)
                        close(fake->listener);
                return;
        }
        assert_int_equal(getsockname(fake->listener, address, &size), 0);
        fake->port = ntohs(v6 ? v6_address.sin6_port : v4_address.sin_port);
        assert_null(thread_start(&fake->thread, "fake", fake_main, fake));
}

static void fake_stop(Fake *fake)
{
        thread_join(&fake->thread);
        close(fake->listener);
}

static Status connect_to(const Fake *fake, const char *host, int timeout_ms, Client **ret_client)
{
        ClientOptions options = {
                .host = host, .port = fake->port, .user = "someone", .password = "s\"cret", .timeout_ms = timeout_ms};
        return client_connect(os_posix(), &options, ret_client);
}

static void check_refused(Manner manner, int timeout_ms, StatusCode code, const char *message)
{
        Fake fake;
        Client *client = NULL;
        fake_start(&fake, manner, false);
        Status st = connect_to(&fake, "127.0.0.1", timeout_ms, &client);
        assert_int_equal(status_code(st), code);
        assert_non_null(strstr(status_message(st), message));
        assert_null(strstr(status_message(st), "cret"));
        assert_null(client);
        status_ignore(st);
        fake_stop(&fake);
}

static void test_refused(void **state)
{
        (void)state;
        check_refused(WRONG_PASSWORD, 5000, ERR_AUTH, "refuses the login: Wrong \"password\"");
        check_refused(OTHER_PROTOCOL, 5000, ERR_IO, "does not speak the protocol");
        check_refused(SILENT, 50, ERR_IO, "does not answer");
        check_refused(HANGS_UP, 5000, ERR_CLOSED, "closed the connection");
}

static void test_nobody_there(void **state)
{
        (void)state;
        Client *client = NULL;
        ClientOptions options = {.host = "127.0.0.1", .port = 1, .user = "admin", .password = "", .timeout_ms = 1000};
        Status st = client_connect(os_posix(), &options, &client);
        assert_int_equal(status_code(st), ERR_IO);
        assert_non_null(strstr(status_message(st), "cannot connect to 127.0.0.1:1"));
        assert_non_null(strstr(status_hint_text(st), "photondb serve"));
        status_ignore(st);
        options.host = "no such host";
        st = client_connect(os_posix(), &options, &client);
        assert_int_equal(status_code(st), ERR_IO);
        status_ignore(st);
}

static void check_echo(const char *host, bool v6)
{
        Fake fake;
        Client *client;
        uint64_t first, second, token;
        Bytes body;
        fake_start(&fake, ECHO_BACKWARDS, v6);
        if (fake.port == 0)
                return; /* no IPv6 here */
        assert_null(connect_to(&fake, host, 5000, &client));
        assert_true(client_fd(client) >= 0);
        assert_null(client_send(client, BYTES_STR("one"), &first));
        assert_null(client_send(client, BYTES_STR("three"), &second));
        assert_true(first != second);
        assert_null(client_receive(client, &token, &body));
        assert_int_equal(token, second);
        assert_true(bytes_equal(body, BYTES_STR("three")));
        assert_null(client_receive(client, &token, &body));
        assert_int_equal(token, first);
        assert_true(bytes_equal(body, BYTES_STR("one")));
        client_close(client);
        fake_stop(&fake);
}

static void test_queries(void **state)
{
        (void)state;
        check_echo("127.0.0.1", false);
        check_echo("::1", true);
}

/* Both sides send more than the sockets hold before either reads: it must not end in waiting for each other. */
static void test_flood(void **state)
{
        (void)state;
        Fake fake;
        Client *client;
        uint64_t token;
        Bytes body;
        char *query = malloc(FLOOD_BYTES);
        memset(query, 'q', FLOOD_BYTES);
        fake_start(&fake, FLOOD, false);
        assert_null(connect_to(&fake, "127.0.0.1", 5000, &client));
        assert_null(client_send_token(client, 5, BYTES(query, FLOOD_BYTES)));
        assert_null(client_receive(client, &token, &body));
        assert_int_equal(token, 77);
        assert_int_equal(body.size, FLOOD_BYTES);
        assert_null(client_receive(client, &token, &body));
        assert_int_equal(token, 5);
        assert_true(bytes_equal(body, BYTES(query, FLOOD_BYTES)));
        client_close(client);
        fake_stop(&fake);
        free(query);
}

static void test_gone(void **state)
{
        (void)state;
        Fake fake;
        Client *client;
        uint64_t token;
        Bytes body;
        fake_start(&fake, HANGS_UP_LATER, false);
        assert_null(connect_to(&fake, "127.0.0.1", 5000, &client));
        assert_null(client_send(client, BYTES_STR("query"), &token));
        Status st = client_receive(client, &token, &body);
        assert_int_equal(status_code(st), ERR_CLOSED);
        status_ignore(st);
        client_close(client);
        fake_stop(&fake);
        client_close(NULL);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_refused), cmocka_unit_test(test_nobody_there), cmocka_unit_test(test_queries),
                cmocka_unit_test(test_flood),   cmocka_unit_test(test_gone),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
