/* regex_bridge_test.c - RE2's face: errors in words, groups, empty matches, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "bridge/regex_bridge.h"

static bool matches(const Regex *regex, Bytes text, size_t start, Bytes *groups, int count)
{
        bool match;
        assert_null(regex_match(regex, text, start, groups, count, &match));
        return match;
}

static void test_groups(void **state)
{
        Regex *regex;
        Bytes groups[8];
        assert_null(regex_new(BYTES_STR("(b+)(x)?c"), &regex));
        assert_int_equal(regex_group_count(regex), 2);
        Bytes text = BYTES_STR("aabbbc-bc");
        assert_true(matches(regex, text, 0, groups, 8));
        assert_true(groups[0].data == text.data + 2 && groups[0].size == 4);
        assert_true(groups[1].data == text.data + 2 && groups[1].size == 3);
        for (int i = 2; i < 8; i++)
                assert_null(groups[i].data);
        assert_true(matches(regex, text, 6, groups, 1));
        assert_true(groups[0].data == text.data + 7 && groups[0].size == 2);
        assert_false(matches(regex, text, 8, groups, 1));
        assert_false(matches(regex, text, 100, groups, 1));
        assert_null(regex_free(regex));
        assert_null(regex_free(NULL));
}

static void test_empty(void **state)
{
        Regex *regex;
        Bytes groups[2];
        assert_null(regex_new(BYTES_STR(""), &regex));
        assert_true(matches(regex, BYTES_NONE, 0, groups, 2));
        assert_non_null(groups[0].data);
        assert_int_equal(groups[0].size, 0);
        assert_null(groups[1].data);
        regex_free(regex);
}

static void test_many_groups(void **state)
{
        Regex *regex;
        Bytes groups[101];
        char pattern[1024] = "";
        for (int i = 0; i < 100; i++)
                strcat(pattern, i % 2 ? "(b)" : "(x)?");
        char text[51];
        memset(text, 'b', 50);
        assert_null(regex_new(BYTES_STR(pattern), &regex));
        assert_int_equal(regex_group_count(regex), 100);
        assert_true(matches(regex, BYTES(text, 50), 0, groups, 101));
        assert_int_equal(groups[0].size, 50);
        for (int i = 1; i <= 100; i++)
                assert_true(i % 2 ? groups[i].data == NULL : groups[i].data == (uint8_t *)text + i / 2 - 1);
        regex_free(regex);
}

static void test_refused(void **state)
{
        Regex *regex;
        Status st = regex_new(BYTES_STR("(ab"), &regex);
        assert_int_equal(status_code(st), ERR_LOGIC);
        assert_string_equal(status_message(st), "missing ): (ab");
        status_ignore(st);
        st = regex_new(BYTES_STR("((a{100}){100}){100}"), &regex);
        assert_non_null(st);
        status_ignore(st);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_groups),
                cmocka_unit_test(test_empty),
                cmocka_unit_test(test_many_groups),
                cmocka_unit_test(test_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
