#include "base/check.h"

#include <stdio.h>

#include "base/mem.h"
#include "network/scram_int.h"

static void expect_error(Status st, StatusCode code, const char *message)
{
        assert_non_null(st);
        assert_int_equal(status_code(st), code);
        if (message)
                assert_string_equal(status_message(st), message);
        status_free(st);
}

static void expect_text(Buf *buf, const char *text)
{
        assert_int_equal(buf->size, strlen(text));
        assert_memory_equal(buf->data, text, buf->size);
        buf_clear(buf);
}

/* RFC 7677 section 3, both sides. */
static void test_rfc_vector(void **state)
{
        static const uint8_t salt[16] = {0x5b, 0x6d, 0x99, 0x68, 0x9d, 0x12, 0x35, 0x8e,
                                         0xec, 0xa0, 0x4b, 0x14, 0x12, 0x36, 0xfa, 0x81};
        static const char *first =
                "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        static const char *final = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                                   "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        static const char *end = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        ScramClient *client;
        ScramServer *server;
        ScramCredential credential;
        Buf out;
        buf_init(&out, 4096);
        OK(scram_client_new(os_posix(), "user", "pencil", &client));
        OK(scram_server_new(os_posix(), &server));
        scram_client_set_nonce(client, "rOprNGfwEbeRWgbNEkqO");
        scram_server_set_nonce(server, "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0");
        OK(scram_credential_salted(BYTES_STR("pencil"), salt, 4096, &credential));

        OK(scram_client_first(client, &out));
        expect_text(&out, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        OK(scram_server_first(server, BYTES_STR("n,,n=user,r=rOprNGfwEbeRWgbNEkqO"), &out));
        expect_text(&out, "user");
        OK(scram_server_challenge(server, &credential, &out));
        expect_text(&out, first);
        OK(scram_client_proof(client, BYTES_STR(first), &out));
        expect_text(&out, final);
        OK(scram_server_final(server, BYTES_STR(final), &out));
        expect_text(&out, end);
        OK(scram_client_verify(client, BYTES_STR(end)));
        expect_error(scram_client_verify(client, BYTES_STR("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl94G4=")), ERR_AUTH,
                     NULL);
        expect_error(scram_client_verify(client, BYTES_STR("garbage")), ERR_AUTH, NULL);
        bool right;
        OK(scram_check_password(&credential, BYTES_STR("pencil"), &right));
        assert_true(right);
        OK(scram_check_password(&credential, BYTES_STR("pencils"), &right));
        assert_false(right);
        scram_client_free(client);
        scram_server_free(server);
        buf_done(&out);
}

/* A whole login; returns the server's verdict. */
static Status login(const char *user, const char *password, const ScramCredential *credential, int *ret_code)
{
        ScramClient *client;
        ScramServer *server;
        Buf a, b;
        buf_init(&a, 8192);
        buf_init(&b, 8192);
        OK(scram_client_new(os_posix(), user, password, &client));
        OK(scram_server_new(os_posix(), &server));
        OK(scram_client_first(client, &a));
        OK(scram_server_first(server, BYTES(a.data, a.size), &b));
        assert_int_equal(b.size, strlen(user));
        assert_memory_equal(b.data, user, b.size);
        buf_clear(&a);
        buf_clear(&b);
        OK(scram_server_challenge(server, credential, &b));
        OK(scram_client_proof(client, BYTES(b.data, b.size), &a));
        buf_clear(&b);
        Status st = scram_server_final(server, BYTES(a.data, a.size), &b);
        if (!st)
                OK(scram_client_verify(client, BYTES(b.data, b.size)));
        *ret_code = scram_server_error_code(server);
        scram_client_free(client);
        scram_server_free(server);
        buf_done(&a);
        buf_done(&b);
        return st;
}

static void test_login(void **state)
{
        ScramCredential empty, secret;
        int code;
        OK(scram_credential(os_posix(), BYTES_NONE, SCRAM_ITERATIONS_EMPTY, &empty));
        OK(scram_credential(os_posix(), BYTES_STR("s3cret"), 10, &secret));
        OK(login("admin", "", &empty, &code));
        OK(login("admin", "s3cret", &secret, &code));
        OK(login("a,b=c", "s3cret", &secret, &code));
        expect_error(login("admin", "S3cret", &secret, &code), ERR_AUTH, "Wrong password");
        assert_int_equal(code, 12);
        expect_error(login("admin", "x", &empty, &code), ERR_AUTH, "Wrong password");
        expect_error(login("nobody", "x", NULL, &code), ERR_AUTH, "Unknown user");
        assert_int_equal(code, 17);
}

static void test_bad_first(void **state)
{
        static const struct {
                const char *message;
                int code;
                const char *error;
        } cases[] = {
                {"", 15, "Channel binding is not supported"},
                {"y,,n=a,r=b", 15, "Channel binding is not supported"},
                {"p=tls-unique,,n=a,r=b", 15, "Channel binding is not supported"},
                {"n,", 10, "Invalid encoding"},
                {"n,,", 10, "Invalid encoding"},
                {"n,,n=a", 10, "Invalid encoding"},
                {"n,,r=a", 10, "Invalid encoding"},
                {"n,,n=a,r=b,n=c", 10, "Invalid encoding"},
                {"n,,na,r=b", 10, "Invalid encoding"},
                {"n,,nn=a,r=b", 10, "Invalid encoding"},
                {"n,,n=a,r=b,x=c", 10, "Invalid encoding"},
                {"n,,m=a,n=a,r=b", 11, "Extensions not supported"},
                {"n,,n=a=2,r=b", 18, "Invalid username encoding"},
                {"n,,n==2X,r=b", 18, "Invalid username encoding"},
        };
        for (size_t i = 0; i < ELEMENTS(cases); i++) {
                ScramServer *server;
                Buf out;
                buf_init(&out, 4096);
                OK(scram_server_new(os_posix(), &server));
                expect_error(scram_server_first(server, BYTES_STR(cases[i].message), &out), ERR_AUTH, cases[i].error);
                assert_int_equal(scram_server_error_code(server), cases[i].code);
                expect_error(scram_server_challenge(server, NULL, &out), ERR_AUTH, NULL);
                expect_error(scram_server_final(server, BYTES_STR("c=biws,r=b,p=x"), &out), ERR_AUTH, NULL);
                scram_server_free(server);
                buf_done(&out);
        }
}

static void test_bad_final(void **state)
{
        static const struct {
                const char *message;
                int code;
        } cases[] = {
                {"", 10},
                {"c=biws", 10},
                {"c=biws,r=xy", 10},
                {"c=eSws,r=xy,p=AAAA", 10},
                {"c=biws,r=xy,p=AAAA", 12},
                {"c=biws,r=xy,p=", 12},
                {"c=biws,r=xy,p=!!!!", 12},
                {"c=biws,r=other", 20},
                {"m=1", 11},
        };
        ScramCredential credential;
        OK(scram_credential(os_posix(), BYTES_STR("p"), 1, &credential));
        for (size_t i = 0; i < ELEMENTS(cases); i++) {
                ScramServer *server;
                Buf out;
                buf_init(&out, 4096);
                OK(scram_server_new(os_posix(), &server));
                scram_server_set_nonce(server, "y");
                OK(scram_server_first(server, BYTES_STR("n,,n=a,r=x"), &out));
                OK(scram_server_challenge(server, &credential, &out));
                expect_error(scram_server_final(server, BYTES_STR(cases[i].message), &out), ERR_AUTH, NULL);
                assert_int_equal(scram_server_error_code(server), cases[i].code);
                scram_server_free(server);
                buf_done(&out);
        }
}

static void test_bad_server(void **state)
{
        static const char *cases[] = {
                "",
                "r=other,s=AAAA,i=1",
                "r=nonce,s=AAAA,i=1",
                "r=nonceX,s=AAA,i=1",
                "r=nonceX,s=A=AA,i=1",
                "r=nonceX,i=1",
                "r=nonceX,s=AAAA,i=0",
                "r=nonceX,s=AAAA,i=-1",
                "r=nonceX,s=AAAA,i=99999999999",
                "r=nonceX,s=AAAA,i=1x",
                "r=nonceX,s=AAAA",
                "hello",
        };
        for (size_t i = 0; i < ELEMENTS(cases); i++) {
                ScramClient *client;
                Buf out;
                buf_init(&out, 4096);
                OK(scram_client_new(os_posix(), "u", "p", &client));
                scram_client_set_nonce(client, "nonce");
                OK(scram_client_first(client, &out));
                expect_error(scram_client_proof(client, BYTES_STR(cases[i]), &out), ERR_AUTH, NULL);
                expect_error(scram_client_verify(client, BYTES_STR("v=AAAA")), ERR_AUTH, NULL);
                scram_client_free(client);
                buf_done(&out);
        }
}

/* An unknown user looks the same each time. */
static void test_unknown_salt_is_stable(void **state)
{
        char seen[2][128] = {{0}};
        for (int i = 0; i < 2; i++) {
                ScramServer *server;
                Buf out;
                buf_init(&out, 4096);
                OK(scram_server_new(os_posix(), &server));
                scram_server_set_nonce(server, "y");
                OK(scram_server_first(server, BYTES_STR("n,,n=ghost,r=x"), &out));
                buf_clear(&out);
                OK(scram_server_challenge(server, NULL, &out));
                memcpy(seen[i], out.data, out.size);
                assert_non_null(strstr(seen[i], ",i=4096"));
                scram_server_free(server);
                buf_done(&out);
        }
        assert_string_equal(seen[0], seen[1]);
}

static void test_every_allocation_fails(void **state)
{
        ScramCredential credential;
        OK(scram_credential(os_posix(), BYTES_STR("p"), 1, &credential));
        for (long n = 1;; n++) {
                ScramServer *server = NULL;
                Buf out;
                buf_init(&out, 4096);
                mem_fail_nth(n);
                Status st = scram_server_new(os_posix(), &server);
                if (!st)
                        st = scram_server_first(server, BYTES_STR("n,,n=a,r=x"), &out);
                if (!st)
                        st = scram_server_challenge(server, &credential, &out);
                int fired = mem_fail_fired();
                mem_fail_nth(0);
                assert_true(fired ? status_code(st) == ERR_NOMEM : st == ST_OK);
                status_free(st);
                scram_server_free(server);
                buf_done(&out);
                if (!fired)
                        break;
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_rfc_vector),
                cmocka_unit_test(test_login),
                cmocka_unit_test(test_bad_first),
                cmocka_unit_test(test_bad_final),
                cmocka_unit_test(test_bad_server),
                cmocka_unit_test(test_unknown_salt_is_stable),
                cmocka_unit_test(test_every_allocation_fails),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
