/* changes_token_test.c - tokens: what is written is read again, and nothing else is. */
#include "query/changes_flow.h" /* before cmocka, which has a macro of the name of fail() */

#include <stdio.h>

#include "base/check.h"

static const FeedPlace samples[] = {
        {0, 0, 0},
        {1, 2, UINT32_MAX},
        {UINT64_MAX, UINT64_MAX, UINT32_MAX - 1},
        {0x123456789abcdef0, 127, 127},
        {1, 128, 1},
        {UINT64_MAX >> 1, (uint64_t)1 << 63, 0},
};

static void test_round_trip(void **state)
{
        Arena arena;
        arena_init(&arena, 0);
        for (size_t count = 1; count <= 255; count += count < 6 ? 1 : 83) {
                FeedPlace places[255], read[255];
                for (size_t i = 0; i < count; i++)
                        places[i] = samples[i % ELEMENTS(samples)];
                Bytes token = changes_token_write(&arena, 77 * count, places, count);
                for (size_t i = 0; i < token.size; i++)
                        assert_non_null(strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
                                               token.data[i]));
                OK(changes_token_read(token, 77 * count, read, count));
                for (size_t i = 0; i < count; i++) {
                        assert_int_equal(read[i].incarnation, places[i].incarnation);
                        assert_int_equal(read[i].position, places[i].position);
                        assert_int_equal(read[i].index, places[i].index);
                }
        }
        FeedPlace usual = {0x12345678, 1000000, UINT32_MAX};
        assert_true(changes_token_write(&arena, UINT64_MAX, &usual, 1).size <= 32);
        arena_done(&arena);
}

static void expect_refused(Bytes token, uint64_t hash, size_t count, const char *why)
{
        FeedPlace places[255];
        char message[200];
        snprintf(message, sizeof message, "The token in `since` cannot be used: %s.", why);
        Status st = changes_token_read(token, hash, places, count);
        assert_int_equal(status_code(st), ERR_INVALID);
        assert_string_equal(status_message(st), message);
        status_ignore(st);
}

static void test_refused(void **state)
{
        Arena arena;
        arena_init(&arena, 0);
        Bytes token = changes_token_write(&arena, 5, samples, 3);
        FeedPlace places[3];
        OK(changes_token_read(token, 5, places, 3));
        expect_refused(token, 6, 3, "it is of another changefeed");
        expect_refused(token, 5, 2, "it is of another changefeed");
        expect_refused(BYTES_STR(""), 5, 3, "it is none");
        expect_refused(BYTES_STR("hello"), 5, 3, "it is none");
        expect_refused(BYTES_STR("a token with spaces, and quite a long one"), 5, 3, "it is none");
        /* any byte that is another one, and any part of it */
        uint8_t *copy = arena_dup(&arena, token.data, token.size);
        for (size_t i = 0; i < token.size; i++) {
                for (int other = 0; other < 256; other++) {
                        Status st;
                        if (other == token.data[i])
                                continue;
                        copy[i] = (uint8_t)other;
                        st = changes_token_read(BYTES(copy, token.size), 5, places, 3);
                        assert_int_equal(status_code(st), ERR_INVALID);
                        status_ignore(st);
                }
                copy[i] = token.data[i];
                Status st = changes_token_read(BYTES(copy, i), 5, places, 3);
                assert_int_equal(status_code(st), ERR_INVALID);
                status_ignore(st);
        }
        char *longer = arena_printf(&arena, "%.*sAAAA", (int)token.size, (const char *)token.data);
        expect_refused(BYTES_STR(longer), 5, 3, "it is damaged");
        char huge[20000];
        memset(huge, 'A', sizeof huge);
        expect_refused(BYTES(huge, sizeof huge), 5, 3, "it is none");
        arena_done(&arena);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_round_trip), cmocka_unit_test(test_refused)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
