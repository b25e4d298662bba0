/* session_test.c - logins, frames, queries and their answers, durability, stopping. Changefeeds: job_feed_test.c. */
#include "server/session_test.h"

/* A SCRAM login, fed in pieces of `step` bytes. Returns the text of the last message in `ret`. */
static void scram_login(World *world, const char *user, const char *password, size_t step, char *ret, size_t ret_size)
{
        ScramClient *client;
        Buf message, text;
        buf_init(&message, 4096);
        buf_init(&text, 4096);
        OK(scram_client_new(os_posix(), user, password, &client));
        OK(scram_client_first(client, &text));
        OK(buf_append(&message, V1_0, 4));
        OK(buf_printf(
                &message,
                "{\"protocol_version\":0,\"authentication_method\":\"SCRAM-SHA-256\",\"authentication\":\"%.*s\"}",
                (int)text.size, text.data));
        OK(buf_append_byte(&message, 0));
        for (size_t at = 0; at < message.size; at += step)
                feed(world, message.data + at, MIN(step, message.size - at));
        assert_true(world->out.size > sizeof(HELLO));
        assert_string_equal((char *)world->out.data, HELLO);
        buf_consume(&world->out, sizeof(HELLO));

        char challenge[1024], first[512];
        snprintf(challenge, sizeof(challenge), "%s", (char *)world->out.data);
        buf_clear(&world->out);
        buf_clear(&text);
        buf_clear(&message);
        if (sscanf(challenge, "{\"authentication\":\"%511[^\"]\",\"success\":true}", first) == 1) {
                OK(scram_client_proof(client, BYTES_STR(first), &text));
                OK(buf_printf(&message, "{\"authentication\":\"%.*s\"}", (int)text.size, text.data));
                OK(buf_append_byte(&message, 0));
                for (size_t at = 0; at < message.size; at += step)
                        feed(world, message.data + at, MIN(step, message.size - at));
                snprintf(ret, ret_size, "%s", (char *)world->out.data);
                char final[512];
                if (sscanf(ret, "{\"authentication\":\"%511[^\"]\",\"success\":true}", final) == 1)
                        OK(scram_client_verify(client, BYTES_STR(final)));
                buf_clear(&world->out);
        } else {
                snprintf(ret, ret_size, "%s", challenge);
        }
        scram_client_free(client);
        buf_done(&message);
        buf_done(&text);
}

static void test_login_v1(void **state)
{
        static const struct {
                const char *user, *sent, *real, *answer;
        } cases[] = {
                {"admin", "", "", NULL},
                {"admin", "s3cret", "s3cret", NULL},
                {"admin", "wrong", "s3cret", "{\"error\":\"Wrong password\",\"error_code\":12,\"success\":false}"},
                {"admin", "wrong", "", "{\"error\":\"Wrong password\",\"error_code\":12,\"success\":false}"},
                {"nobody", "", "", "{\"error\":\"Unknown user\",\"error_code\":17,\"success\":false}"},
        };
        for (size_t i = 0; i < ELEMENTS(cases); i++)
                for (size_t step = 1; step < 2000; step = step * 5 + 1) {
                        World world;
                        char answer[1024];
                        world_init_password(&world, cases[i].real);
                        scram_login(&world, cases[i].user, cases[i].sent, step, answer, sizeof(answer));
                        if (cases[i].answer)
                                assert_string_equal(answer, cases[i].answer);
                        assert_int_equal(world.logged_in, cases[i].answer == NULL);
                        assert_int_equal(world.finished, cases[i].answer != NULL);
                        if (world.logged_in) {
                                query(&world, 1, "[1,5]");
                                expect_answer(&world, 1, "{\"t\":1,\"r\":[5]}");
                        }
                        world_done(&world);
                }
}

static void test_bad_logins_v1(void **state)
{
#define REFUSAL(text, code) "{\"error\":\"" text "\",\"error_code\":" #code ",\"success\":false}"
        static const struct {
                const char *message, *answer;
        } cases[] = {
                {"nonsense", REFUSAL("Invalid JSON object.", 8)},
                {"", REFUSAL("Invalid JSON object.", 8)},
                {"{\"a\":1,\"a\":2}", REFUSAL("Failed to convert JSON to datum.", 9)},
                {"{}", REFUSAL("Expected a number for `protocol_version`.", 1)},
                {"[]", REFUSAL("Expected a number for `protocol_version`.", 1)},
                {"{\"protocol_version\":1}", REFUSAL("Unsupported `protocol_version`.", 2)},
                {"{\"protocol_version\":0}", REFUSAL("Expected a string for `authentication_method`.", 3)},
                {"{\"protocol_version\":0,\"authentication_method\":\"MD5\"}",
                 REFUSAL("Unsupported `authentication_method`.", 4)},
                {"{\"protocol_version\":0,\"authentication_method\":\"SCRAM-SHA-256\"}",
                 REFUSAL("Expected a string for `authentication`.", 5)},
                {"{\"protocol_version\":0,\"authentication_method\":\"SCRAM-SHA-256\",\"authentication\":\"y,,n=a,r="
                 "b\"}",
                 REFUSAL("Channel binding is not supported", 15)},
                {"{\"protocol_version\":0,\"authentication_method\":\"SCRAM-SHA-256\",\"authentication\":\"n,,n=a\"}",
                 REFUSAL("Invalid encoding", 10)},
        };
        World world;
        world_init_password(&world, "");
        for (size_t i = 0; i < ELEMENTS(cases); i++) {
                feed(&world, V1_0, 4);
                expect_text(&world, HELLO, sizeof(HELLO));
                feed(&world, cases[i].message, strlen(cases[i].message) + 1);
                expect_text(&world, cases[i].answer, strlen(cases[i].answer) + 1);
                assert_true(world.finished);
                feed(&world, "more", 4); /* ignored */
                expect_silence(&world);
                session_end(world.session);
                connect_again(&world);
        }
        /* without an end */
        char endless[3000];
        memset(endless, ' ', sizeof(endless));
        feed(&world, V1_0, 4);
        buf_clear(&world.out);
        feed(&world, endless, sizeof(endless));
        expect_text(&world, REFUSAL("Limited read buffer size.", 7), sizeof(REFUSAL("Limited read buffer size.", 7)));
        assert_true(world.finished);
        world_done(&world);
}

static void expect_v0(const char *password, const char *sent, size_t size, const char *answer, size_t answer_size)
{
        World world;
        world_init_password(&world, password);
        for (size_t i = 0; i < size && !world.finished; i++) {
                feed(&world, sent + i, 1);
                run_all(&world);
        }
        expect_text(&world, answer, answer_size);
        assert_int_equal(world.finished, strncmp(answer, "ERROR", 5) == 0);
        world_done(&world);
}

static void test_logins_v0(void **state)
{
#define V0_CASE(password, sent, answer) expect_v0(password, sent, sizeof(sent) - 1, answer, sizeof(answer))
        V0_CASE("", V0_4 "\0\0\0\0" JSON_PROTOCOL, "SUCCESS");
        V0_CASE("", V0_3 "\0\0\0\0" JSON_PROTOCOL, "SUCCESS");
        V0_CASE("hunter2", V0_4 "\7\0\0\0hunter2" JSON_PROTOCOL, "SUCCESS");
        V0_CASE("hunter2", V0_4 "\7\0\0\0hunter3", "ERROR: Incorrect authorization key.\n");
        V0_CASE("hunter2", V0_4 "\0\0\0\0", "ERROR: Incorrect authorization key.\n");
        V0_CASE("", V0_4 "\1\0\0\0x", "ERROR: Incorrect authorization key.\n");
        V0_CASE("", V0_4 "\1\10\0\0", "ERROR: Client provided an authorization key that is too long.\n");
        V0_CASE("", V0_4 "\xff\xff\xff\xff", "ERROR: Client provided an authorization key that is too long.\n");
        V0_CASE("", V0_4 "\0\0\0\0\x41\xfc\x1f\x27", "ERROR: The PROTOBUF client protocol is no longer supported\n");
        V0_CASE("", V0_4 "\0\0\0\0\xff\xff\xff\xff", "ERROR: Unrecognized protocol specified: '-1'\n");
        V0_CASE("", "\x36\xba\x61\x3f", "ERROR: The PROTOBUF client protocol is no longer supported\n");
        V0_CASE("", "\xe1\x81\x30\x72", "ERROR: The PROTOBUF client protocol is no longer supported\n");
        V0_CASE("", "GET / HTTP/1.1\r\n\r\n",
                "ERROR: Received an unsupported protocol version. This port is for RethinkDB queries. Does your client "
                "driver version "
                "not match the server?\n");
}

/* A query of `user`, on a connection of his own; the query objects go from one user's connection to the next's. */
static void ask_as(World *world, const char *user, const char *password, const char *text, const char *answer)
{
        char last[1024];
        disconnect(world);
        connect_again(world);
        scram_login(world, user, password, 1000, last, sizeof(last));
        if (!world->logged_in)
                fail_msg("%s is not let in: %s", user, last);
        query(world, 1, text);
        run_all(world);
        expect_answer(world, 1, answer);
}

#define USERS_TABLE "[15,[[14,[\"rethinkdb\"]],\"users\"]]"

static void test_users(void **state)
{
        static const char one_insert[] = "{\"t\":1,\"r\":[{\"deleted\":0,\"errors\":0,\"inserted\":1,\"replaced\":0,"
                                         "\"skipped\":0,\"unchanged\":0}]}";
        static const char one_replace[] = "{\"t\":1,\"r\":[{\"deleted\":0,\"errors\":0,\"inserted\":0,\"replaced\":1,"
                                          "\"skipped\":0,\"unchanged\":0}]}";
        static const char lacks[] = "{\"t\":18,\"e\":6000000,\"r\":[\"User `bob` does not have the required `config` "
                                    "permission.\"],\"b\":[]}";
        World world;
        char answer[1024];
        world_init_password(&world, "");
        ask_as(&world, "admin", "", "[1,[56,[" USERS_TABLE ",{\"id\":\"bob\",\"password\":\"b\"}]]]", one_insert);
        for (int i = 0; i < 3; i++) {
                ask_as(&world, "bob", "b", "[1,[57,[\"d\"]]]", lacks);
                ask_as(&world, "admin", "", "[1,[59,[]]]", "{\"t\":1,\"r\":[[\"rethinkdb\",\"test\"]]}");
        }
        /* Who is connected stays so when the password changes, and may nothing when he is deleted. */
        disconnect(&world);
        connect_again(&world);
        scram_login(&world, "bob", "b", 1000, answer, sizeof(answer));
        assert_true(world.logged_in);
        Session *bob = world.session;
        connect_again(&world);
        scram_login(&world, "admin", "", 1000, answer, sizeof(answer));
        query(&world, 1, "[1,[53,[[16,[" USERS_TABLE ",\"bob\"]],{\"password\":\"c\"}]]]");
        run_all(&world);
        expect_answer(&world, 1, one_replace);
        query(&world, 2, "[1,[188,[\"bob\",{\"config\":true}]]]");
        run_all(&world);
        expect_answer(&world, 2,
                      "{\"t\":1,\"r\":[{\"granted\":1,\"permissions_changes\":[{\"new_val\":{\"config\":true},"
                      "\"old_val\":null}]}]}");
        Session *admin = world.session;
        world.session = bob;
        query(&world, 3, "[1,[93,[[57,[\"d\"]]]]]"); /* evaluated, and its type told: that it is one is enough */
        run_all(&world);
        buf_clear(&world.out);
        query(&world, 4, "[1,[57,[\"d\"]]]");
        run_all(&world);
        expect_answer(&world, 4, "{\"t\":18,\"e\":4100000,\"r\":[\"Database `d` already exists.\"],\"b\":[]}");
        world.session = admin;
        query(&world, 5, "[1,[54,[[16,[" USERS_TABLE ",\"bob\"]]]]]");
        run_all(&world);
        buf_clear(&world.out);
        world.session = bob;
        query(&world, 6, "[1,[57,[\"e\"]]]");
        run_all(&world);
        expect_answer(&world, 6, lacks);
        session_end(admin);
        /* An authorization key is admin's password of now. */
        ask_as(&world, "admin", "", "[1,[53,[[16,[" USERS_TABLE ",\"admin\"]],{\"password\":\"key\"}]]]", one_replace);
        disconnect(&world);
        connect_again(&world);
        feed(&world, V0_4 "\3\0\0\0key", 11);
        run_all(&world);
        feed(&world, JSON_PROTOCOL, 4);
        expect_text(&world, "SUCCESS", 8);
        disconnect(&world);
        connect_again(&world);
        feed(&world, V0_4 "\0\0\0\0", 8);
        run_all(&world);
        assert_true(world.finished);
        world_done(&world);
}

static void test_gone_while_the_password_is_checked(void **state)
{
        World world;
        world_init_password(&world, "hunter2");
        feed(&world, V0_4 "\7\0\0\0hunter2", 15);
        assert_int_equal(world.submitted_count, 1);
        assert_int_equal(session_feed(world.session, (const uint8_t *)JSON_PROTOCOL, 4), 0); /* waits */
        disconnect(&world);
        world_done(&world);
}

/* --- frames --- */
static void test_every_split(void **state)
{
        World world;
        uint8_t frames[512];
        size_t size = make_frame(frames, 7, "[1,\"hello\"]");
        size += make_frame(frames + size, 8, "[5]");
        size += make_frame(frames + size, UINT64_MAX, "[1,[1");
        size += make_frame(frames + size, 9, "");
        world_init_password(&world, "");
        login_v0(&world);
        for (size_t split = 0; split <= size; split++) {
                feed(&world, frames, split);
                feed(&world, frames + split, size - split);
                expect_answer(&world, 7, "{\"t\":1,\"r\":[\"hello\"]}");
                expect_answer(&world, 8,
                              "{\"t\":5,\"r\":[{\"id\":\"00000000-0000-4000-8000-000000000000\",\"name\":\"here\","
                              "\"proxy\":false}]}");
                expect_answer(&world, UINT64_MAX,
                              "{\"t\":16,\"r\":[\"Client is buggy (failed to deserialize query).\"],\"b\":[]}");
                expect_answer(&world, 9,
                              "{\"t\":16,\"r\":[\"Client is buggy (failed to deserialize query).\"],\"b\":[]}");
                expect_silence(&world);
        }
        for (size_t i = 0; i < size; i++)
                feed(&world, frames + i, 1);
        expect_answer(&world, 7, "{\"t\":1,\"r\":[\"hello\"]}");
        world_done(&world); /* with a truncated frame's worth of output thrown away */
}

static void test_truncated_frame_at_disconnect(void **state)
{
        World world;
        uint8_t frame[64];
        size_t size = make_frame(frame, 7, "[1,\"hello\"]");
        world_init_password(&world, "");
        for (size_t cut = 0; cut < size; cut++) {
                login_v0(&world);
                feed(&world, frame, cut);
                disconnect(&world);
                connect_again(&world);
        }
        world_done(&world);
}

/* A long body is read straight into place. */
static void test_long_frame(void **state)
{
        enum { LENGTH = 100000 };
        World world;
        uint8_t *frame = mem_alloc(LENGTH + 64), *space;
        world_init_password(&world, "");
        login_v0(&world);
        memset(frame + 12, 'x', LENGTH);
        memcpy(frame + 12, "[1,\"", 4);
        memcpy(frame + 12 + LENGTH - 2, "\"]", 2);
        store_u64(frame, 3);
        store_u32(frame + 8, LENGTH);
        assert_int_equal(session_space(world.session, &space), 0);
        feed(&world, frame, 100);
        size_t at = 100, left;
        while ((left = session_space(world.session, &space)) > 0) {
                size_t n = MIN(left, 30000);
                memcpy(space, frame + at, n);
                session_filled(world.session, n);
                at += n;
        }
        feed(&world, frame + at, LENGTH + 12 - at);
        assert_int_equal(load_u32(world.out.data + 8), LENGTH - 6 + 2 + strlen("{\"t\":1,\"r\":[]}"));
        buf_clear(&world.out);
        query(&world, 4, "[1,1]");
        expect_answer(&world, 4, "{\"t\":1,\"r\":[1]}");
        mem_free(frame);
        world_done(&world);
}

static void test_oversized(void **state)
{
        World world;
        uint8_t head[12] = {5};
        world_init_password(&world, "");
        login_v0(&world);
        /* the body is dropped and the connection goes on */
        store_u32(head + 8, FRAME_MAX_BYTES + 1);
        feed(&world, head, 12);
        expect_answer(&world, 5,
                      "{\"t\":16,\"r\":[\"Query size (134217728) greater than maximum (134217727).\"],\"b\":[]}");
        size_t chunk = 1 << 20;
        uint8_t *junk = mem_zalloc(chunk);
        for (size_t left = FRAME_MAX_BYTES + 1ull; left;) {
                size_t n = MIN(left, chunk);
                feed(&world, junk, n);
                left -= n;
        }
        mem_free(junk);
        expect_silence(&world);
        query(&world, 6, "[1,1]");
        expect_answer(&world, 6, "{\"t\":1,\"r\":[1]}");
        /* garbage */
        store_u32(head + 8, 2147483647);
        feed(&world, head, 12);
        expect_answer(&world, 5,
                      "{\"t\":16,\"r\":[\"Query size (2147483647) greater than maximum (134217727).\"],\"b\":[]}");
        assert_true(world.finished);
        world_done(&world);
}

/* --- queries --- */
#define RANGE_20 "[1,[173,[20]],{\"max_batch_rows\":3}]"
#define SLOW     "[1,[43,[[173,[1000000]]]]]" /* range().count(): long */
#define ENDLESS  "[1,[43,[[173,[]]]]]"

static void unknown_token(World *world, uint64_t token)
{
        char body[128];
        snprintf(body, sizeof(body), "{\"t\":16,\"r\":[\"Token %" PRId64 " not in stream cache.\"],\"b\":[]}",
                 (int64_t)token);
        expect_answer(world, token, body);
}

static void test_unknown_tokens(void **state)
{
        World world;
        world_init_password(&world, "");
        login_v0(&world);
        query(&world, 1, "[2]");
        unknown_token(&world, 1);
        query(&world, 2, "[3]");
        unknown_token(&world, 2);
        query(&world, UINT64_MAX, "[2]");
        unknown_token(&world, UINT64_MAX);
        query(&world, 4, "[4]");
        expect_answer(&world, 4, "{\"t\":4,\"r\":[]}");
        query(&world, 5, "[1,[12,[\"x\"]]]");
        expect_answer(&world, 5, "{\"t\":18,\"e\":5000000,\"r\":[\"x\"],\"b\":[]}");
        query(&world, 6, "[1,[999,[]]]");
        run_all(&world);
        assert_memory_equal(world.out.data + 12, "{\"t\":17,\"r\":[", 13);
        buf_clear(&world.out);
        query(&world, 5, "[1,2]");
        expect_answer(&world, 5, "{\"t\":1,\"r\":[2]}");
        world_done(&world);
}

static void test_stream(void **state)
{
        World world;
        world_init_password(&world, "");
        login_v0(&world);
        query(&world, 1, RANGE_20);
        run_all(&world);
        expect_answer(&world, 1, "{\"t\":3,\"r\":[0],\"n\":[]}");
        assert_int_equal(session_stream_count(world.session), 1);
        query(&world, 1, "[1,5]");
        expect_answer(&world, 1, "{\"t\":16,\"r\":[\"ERROR: duplicate token 1\"],\"b\":[]}");
        query(&world, 1, "[2]");
        expect_silence(&world);
        query(&world, 2, "[1,5]"); /* overtakes */
        expect_answer(&world, 2, "{\"t\":1,\"r\":[5]}");
        query(&world, 1, "[2]"); /* asked for before the first has come */
        run_all(&world);
        expect_answer(&world, 1, "{\"t\":3,\"r\":[1,2,3],\"n\":[]}");
        expect_answer(&world, 1, "{\"t\":3,\"r\":[4,5,6],\"n\":[]}");
        for (int i = 0; i < 5; i++) {
                query(&world, 1, "[2]");
                run_all(&world);
        }
        expect_answer(&world, 1, "{\"t\":3,\"r\":[7,8,9],\"n\":[]}");
        expect_answer(&world, 1, "{\"t\":3,\"r\":[10,11,12],\"n\":[]}");
        expect_answer(&world, 1, "{\"t\":3,\"r\":[13,14,15],\"n\":[]}");
        expect_answer(&world, 1, "{\"t\":3,\"r\":[16,17,18],\"n\":[]}");
        expect_answer(&world, 1, "{\"t\":2,\"r\":[19],\"n\":[]}");
        query(&world, 1, "[2]");
        unknown_token(&world, 1);
        assert_int_equal(session_stream_count(world.session), 0);
        expect_silence(&world);
        world_done(&world);
}

static void test_stop(void **state)
{
        World world;
        world_init_password(&world, "");
        login_v0(&world);
        /* an idle stream: one answer */
        query(&world, 1, RANGE_20);
        run_all(&world);
        buf_clear(&world.out);
        query(&world, 1, "[3]");
        expect_answer(&world, 1, "{\"t\":2,\"r\":[],\"n\":[]}");
        assert_int_equal(session_stream_count(world.session), 0);
        /* with a CONTINUE outstanding: two */
        query(&world, 1, RANGE_20);
        run_all(&world);
        buf_clear(&world.out);
        query(&world, 1, "[2]");
        query(&world, 1, "[3]");
        run_all(&world);
        expect_answer(&world, 1, "{\"t\":2,\"r\":[],\"n\":[]}");
        expect_answer(&world, 1, "{\"t\":2,\"r\":[],\"n\":[]}");
        expect_silence(&world);
        assert_int_equal(session_stream_count(world.session), 0);
        /* one that would run for ever */
        query(&world, 2, ENDLESS);
        assert_int_equal(world.submitted_count, 1);
        query(&world, 2, "[3]");
        expect_silence(&world);
        run_all(&world);
        expect_answer(&world, 2, "{\"t\":2,\"r\":[],\"n\":[]}");
        expect_answer(&world, 2, "{\"t\":2,\"r\":[],\"n\":[]}");
        query(&world, 2, "[1,3]");
        expect_answer(&world, 2, "{\"t\":1,\"r\":[3]}");
        world_done(&world);
}

/* Whoever asked for more once has the next batch made while he reads, and gets it when he asks. */
static void test_read_ahead(void **state)
{
        World world;
        world_init_password(&world, "");
        login_v0(&world);
        query(&world, 1, RANGE_20);
        run_all(&world);
        expect_answer(&world, 1, "{\"t\":3,\"r\":[0],\"n\":[]}");
        assert_int_equal(world.submitted_count, 0); /* he may want the first rows only */
        query(&world, 1, "[2]");
        run_one(&world, 0);
        expect_answer(&world, 1, "{\"t\":3,\"r\":[1,2,3],\"n\":[]}");
        assert_int_equal(world.submitted_count, 1);
        world.pending_extra = CONN_OUT_HIGH_BYTES; /* also while he does not read */
        run_all(&world);
        world.pending_extra = 0;
        expect_silence(&world);
        query(&world, 1, "[2]"); /* it is ready */
        expect_answer(&world, 1, "{\"t\":3,\"r\":[4,5,6],\"n\":[]}");
        assert_int_equal(world.submitted_count, 1);
        query(&world, 1, "[2]"); /* on its way */
        query(&world, 1, "[2]"); /* and one more */
        expect_silence(&world);
        run_all(&world);
        expect_answer(&world, 1, "{\"t\":3,\"r\":[7,8,9],\"n\":[]}");
        expect_answer(&world, 1, "{\"t\":3,\"r\":[10,11,12],\"n\":[]}");
        expect_silence(&world);
        query(&world, 1, "[3]"); /* STOP, and a batch is ready: one answer */
        expect_answer(&world, 1, "{\"t\":2,\"r\":[],\"n\":[]}");
        assert_int_equal(session_stream_count(world.session), 0);
        /* STOP while one is on its way */
        query(&world, 1, RANGE_20);
        query(&world, 1, "[2]");
        run_one(&world, 0);
        run_one(&world, 0);
        buf_clear(&world.out);
        assert_int_equal(world.submitted_count, 1);
        query(&world, 1, "[3]");
        expect_silence(&world);
        run_all(&world);
        expect_answer(&world, 1, "{\"t\":2,\"r\":[],\"n\":[]}");
        expect_silence(&world);
        assert_int_equal(session_stream_count(world.session), 0);
        /* no more of them than a loop may have */
        enum { STREAMS = 24 };
        for (uint64_t token = 1; token <= STREAMS; token++) {
                query(&world, token, RANGE_20);
                query(&world, token, "[2]");
        }
        run_all(&world);
        buf_clear(&world.out);
        for (uint64_t token = 1; token <= STREAMS; token++) {
                query(&world, token, "[2]");
                if (token <= 16)
                        expect_answer(&world, token, "{\"t\":3,\"r\":[4,5,6],\"n\":[]}");
                else
                        expect_silence(&world);
                run_all(&world);
                if (token > 16)
                        expect_answer(&world, token, "{\"t\":3,\"r\":[4,5,6],\"n\":[]}");
        }
        /* the server stops: nobody waits for what nobody has asked for */
        session_stop(world.session);
        assert_true(world.finished);
        world_done(&world);
        /* the peer goes while one is ready, and one on its way */
        world_init_password(&world, "");
        login_v0(&world);
        for (uint64_t token = 1; token <= 2; token++) {
                query(&world, token, RANGE_20);
                query(&world, token, "[2]");
        }
        for (int i = 0; i < 5; i++)
                run_one(&world, 0);
        assert_int_equal(world.submitted_count, 1);
        world_done(&world);
}

static void test_parallel(void **state)
{
        World world;
        world_init_password(&world, "");
        login_v0(&world);
        query(&world, 1, SLOW);
        query(&world, 2, "[1,[43,[[173,[200000]]]]]");
        query(&world, 3, "[1,3]");
        expect_answer(&world, 3, "{\"t\":1,\"r\":[3]}");
        query(&world, 1, "[1,4]");
        expect_answer(&world, 1, "{\"t\":16,\"r\":[\"ERROR: duplicate token 1\"],\"b\":[]}");
        assert_int_equal(world.submitted_count, 2);
        run_one(&world, 1);
        expect_answer(&world, 2, "{\"t\":1,\"r\":[200000]}");
        run_one(&world, 0);
        expect_answer(&world, 1, "{\"t\":1,\"r\":[1000000]}");
        world_done(&world);
}

static void test_disconnect_frees_everything(void **state)
{
        World world;
        world_init_password(&world, "");
        login_v0(&world);
        query(&world, 1, RANGE_20);
        run_all(&world);
        query(&world, 2, RANGE_20);
        run_all(&world);
        query(&world, 2, "[2]"); /* running */
        query(&world, 3, ENDLESS);
        query(&world, 4, "[1,[43,[[173,[]]]],{\"noreply\":true}]");
        query(&world, 5, "[4]");
        assert_int_equal(session_stream_count(world.session), 4);
        disconnect(&world); /* and LeakSanitizer looks */
        assert_int_equal(session_group_busy(world.group), 0);
        world_done(&world);
}

/* Only 1024 queries of a connection are taken; V0_3 gets its answers one after the other. */
static void test_in_flight_limit(void **state)
{
        World world;
        uint8_t frame[128];
        size_t size = make_frame(frame, 0, SLOW), sent = 0;
        world_init_password(&world, "");
        login_v0(&world);
        for (uint64_t token = 0; token < 1100; token++, sent++) {
                store_u64(frame, token);
                if (session_feed(world.session, frame, size) == 0)
                        break;
        }
        assert_int_equal(sent, SESSION_IN_FLIGHT_MAX);
        session_end(world.session);
        run_all(&world);
        connect_again(&world);
        feed(&world, V0_3 "\0\0\0\0", 8);
        run_all(&world);
        feed(&world, JSON_PROTOCOL, 4);
        buf_clear(&world.out);
        query(&world, 1, "[1,[43,[[173,[1000]]]]]");
        size = make_frame(frame, 2, "[1,2]");
        assert_int_equal(session_feed(world.session, frame, size), 0);
        run_all(&world);
        feed(&world, frame, size);
        expect_answer(&world, 1, "{\"t\":1,\"r\":[1000]}");
        expect_answer(&world, 2, "{\"t\":1,\"r\":[2]}");
        world_done(&world);
}

/* A peer that does not read: no further frame is taken and queries that would answer are not run. */
static void test_blocked(void **state)
{
        World world;
        uint8_t frame[64];
        world_init_password(&world, "");
        login_v0(&world);
        query(&world, 1, SLOW);
        query(&world, 2, SLOW);
        world.pending_extra = CONN_OUT_HIGH_BYTES + 1;
        size_t size = make_frame(frame, 3, "[1,3]");
        assert_int_equal(session_feed(world.session, frame, size), 0);
        assert_true(world.want_drained);
        run_all(&world); /* they come back unrun */
        expect_silence(&world);
        assert_int_equal(world.submitted_count, 0);
        world.pending_extra = 0;
        session_drained(world.session);
        assert_int_equal(world.submitted_count, 2);
        run_all(&world);
        assert_true(world.out.size > 0);
        buf_clear(&world.out);
        feed(&world, frame, size);
        expect_answer(&world, 3, "{\"t\":1,\"r\":[3]}");
        /* STOP and disconnect find the ones that wait, too */
        query(&world, 1, RANGE_20);
        run_all(&world);
        query(&world, 1, "[2]");
        query(&world, 2, SLOW);
        world.pending_extra = CONN_OUT_HIGH_BYTES + 1;
        session_feed(world.session, frame, 0);
        run_all(&world);
        world.pending_extra = 0;
        buf_clear(&world.out);
        query(&world, 2, "[3]");
        expect_answer(&world, 2, "{\"t\":2,\"r\":[],\"n\":[]}");
        expect_answer(&world, 2, "{\"t\":2,\"r\":[],\"n\":[]}");
        world_done(&world);
}

/* --- durability --- */
#define INSERT(id, options) "[1,[56,[[15,[\"t\"]],{\"id\":" #id "}]]," options "]"
#define INSERTED                                                                                                       \
        "{\"t\":1,\"r\":[{\"deleted\":0,\"errors\":0,\"inserted\":1,\"replaced\":0,\"skipped\":0,\"unchanged\":0}]}"

static void test_hard_writes_wait_for_the_log(void **state)
{
        World world;
        world_init_password(&world, "");
        login_v0(&world);
        create_table(&world);
        StoreStats stats;
        store_stats(world.store, &stats);
        world.durable = stats.last_position;
        query(&world, 1, INSERT(1, "{}"));
        query(&world, 2, INSERT(2, "{}"));
        query(&world, 3, INSERT(3, "{\"durability\":\"soft\"}"));
        run_all(&world);
        expect_answer(&world, 3, INSERTED); /* soft: at once */
        expect_silence(&world);
        assert_true(session_group_waits(world.group));
        assert_int_equal(world.wanted, stats.last_position + 2);
        session_group_durable(world.group);
        expect_silence(&world);
        world.durable++;
        session_group_durable(world.group);
        expect_answer(&world, 1, INSERTED);
        expect_silence(&world);
        world.durable++;
        session_group_durable(world.group);
        expect_answer(&world, 2, INSERTED);
        assert_false(session_group_waits(world.group));
        /* the connection goes while an answer waits */
        query(&world, 4, INSERT(4, "{}"));
        run_all(&world);
        disconnect(&world);
        assert_false(session_group_waits(world.group));
        world_done(&world);
}

static void test_log_failure(void **state)
{
        World world;
        world_init_password(&world, "");
        login_v0(&world);
        create_table(&world);
        world.durable = 0;
        query(&world, 1, INSERT(1, "{}"));
        query(&world, 2, INSERT(2, "{\"noreply\":true}"));
        query(&world, 3, "[4]");
        run_all(&world);
        expect_silence(&world);
        world.log_failed = true;
        session_group_durable(world.group);
        expect_answer(&world, 1,
                      "{\"t\":18,\"e\":4200000,\"r\":[\"The write could not be made durable: the disk is on "
                      "fire\"],\"b\":[]}");
        expect_answer(&world, 3, "{\"t\":4,\"r\":[]}");
        expect_silence(&world);
        query(&world, 4, "[1,1]");
        expect_answer(&world, 4, "{\"t\":1,\"r\":[1]}");
        world_done(&world);
}

static void test_noreply(void **state)
{
        World world;
        world_init_password(&world, "");
        login_v0(&world);
        create_table(&world);
        query(&world, 1, "[1,5,{\"noreply\":true}]");
        query(&world, 1, "[1,[12,[\"x\"]],{\"noreply\":true}]");
        query(&world, 1, "[1,[12,[1,2,3]],{\"noreply\":true}]"); /* does not even compile */
        query(&world, 1, "[1,[173,[20]],{\"noreply\":true,\"max_batch_rows\":3}]");
        run_all(&world);
        expect_silence(&world);
        assert_int_equal(session_stream_count(world.session), 0);
        query(&world, 2, "[4]");
        expect_answer(&world, 2, "{\"t\":4,\"r\":[]}");
        /* waits for what runs, and for what is not durable */
        StoreStats stats;
        store_stats(world.store, &stats);
        world.durable = stats.last_position;
        query(&world, 3, "[1,[43,[[173,[1000]]]],{\"noreply\":true}]");
        query(&world, 4, "[4]");
        query(&world, 5, INSERT(1, "{\"noreply\":true}"));
        query(&world, 6, "[4]");
        query(&world, 7, "[1,7]");
        expect_answer(&world, 7, "{\"t\":1,\"r\":[7]}");
        expect_silence(&world);
        run_all(&world);
        expect_answer(&world, 4, "{\"t\":4,\"r\":[]}");
        expect_silence(&world);
        world.durable++;
        session_group_durable(world.group);
        expect_answer(&world, 6, "{\"t\":4,\"r\":[]}");
        expect_silence(&world);
        world_done(&world);
}

/* --- stopping --- */
static void test_stop_of_the_server(void **state)
{
        World world;
        uint8_t frame[64];
        world_init_password(&world, "");
        login_v0(&world);
        query(&world, 1, SLOW);
        query(&world, 2, ENDLESS);
        session_stop(world.session);
        assert_false(world.finished);
        assert_int_equal(session_feed(world.session, frame, make_frame(frame, 3, "[1,3]")), 0);
        run_one(&world, 0);
        expect_answer(&world, 1, "{\"t\":1,\"r\":[1000000]}");
        assert_false(world.finished);
        session_cancel_all(world.session);
        run_all(&world);
        expect_answer(&world, 2, "{\"t\":18,\"e\":4200000,\"r\":[\"Server is shutting down.\"],\"b\":[]}");
        assert_true(world.finished);
        session_end(world.session);
        connect_again(&world);
        session_stop(world.session); /* not even logged in */
        assert_true(world.finished);
        world_done(&world);
}

/* --- memory --- */
static void test_every_allocation_fails(void **state)
{
        for (long n = 1, fired = 1; fired; n++) {
                World world;
                uint8_t frames[512];
                size_t size = make_frame(frames, 1, "[1,\"hello\"]");
                size += make_frame(frames + size, 2, RANGE_20);
                size += make_frame(frames + size, 2, "[2]");
                size += make_frame(frames + size, 3, "[1,[12,[\"x\"]]]");
                size += make_frame(frames + size, 9, "[3]");
                world_init_password(&world, "");
                login_v0(&world);
                mem_fail_nth(n);
                size_t used = session_feed(world.session, frames, size);
                run_all(&world);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                assert_true(used == size);
                if (!world.aborted) { /* then every query was answered, some with the error */
                        buf_clear(&world.out);
                        query(&world, 50, "[1,50]");
                        expect_answer(&world, 50, "{\"t\":1,\"r\":[50]}");
                }
                world_done(&world);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_login_v1),
                cmocka_unit_test(test_bad_logins_v1),
                cmocka_unit_test(test_logins_v0),
                cmocka_unit_test(test_users),
                cmocka_unit_test(test_gone_while_the_password_is_checked),
                cmocka_unit_test(test_every_split),
                cmocka_unit_test(test_truncated_frame_at_disconnect),
                cmocka_unit_test(test_long_frame),
                cmocka_unit_test(test_oversized),
                cmocka_unit_test(test_unknown_tokens),
                cmocka_unit_test(test_stream),
                cmocka_unit_test(test_stop),
                cmocka_unit_test(test_read_ahead),
                cmocka_unit_test(test_parallel),
                cmocka_unit_test(test_disconnect_frees_everything),
                cmocka_unit_test(test_in_flight_limit),
                cmocka_unit_test(test_blocked),
                cmocka_unit_test(test_hard_writes_wait_for_the_log),
                cmocka_unit_test(test_log_failure),
                cmocka_unit_test(test_noreply),
                cmocka_unit_test(test_stop_of_the_server),
                cmocka_unit_test(test_every_allocation_fails),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
