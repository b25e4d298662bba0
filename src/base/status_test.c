/* status_test.c */
#include "base/status.h"

#include <errno.h>
#include <stdio.h>

#include "base/mem.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static Status inner(int how)
{
        if (how == 0)
                return ST_OK;
        return status_new(ERR_CORRUPT, "page %d: bad checksum", how);
}

static Status outer(int how)
{
        TRY_CTX(inner(how), "opening table %s", "t");
        return ST_OK;
}

static void test_chain(void **state)
{
        char text[200];
        assert_null(outer(0));
        Status st = status_context(outer(7), "starting");
        assert_int_equal(status_code(st), ERR_CORRUPT);
        assert_string_equal(status_message(st), "page 7: bad checksum");
        assert_string_equal(status_text(st, text, sizeof text), "starting: opening table t: page 7: bad checksum");
        assert_string_equal(status_text(st, text, 12), "starting: o");
        assert_string_equal(status_text(st, text, 1), "");
        assert_null(status_hint_text(st));
        st = status_hint(st, "restore %s", "a backup");
        st = status_hint(st, "restore the %s", "backup");
        assert_string_equal(status_hint_text(st), "restore the backup");
        assert_null(status_free(st));
        status_ignore(NULL);
        assert_string_equal(status_message(NULL), "");
        assert_int_equal(status_code(NULL), ERR_NONE);
        assert_string_equal(status_text(NULL, text, sizeof text), "");
        assert_null(status_context(NULL, "x"));
        assert_null(status_hint(NULL, "x"));
}

static void test_long_message(void **state)
{
        char name[3000], text[4000];
        memset(name, 'a', sizeof name - 1);
        name[sizeof name - 1] = '\0';
        Status st = status_new(ERR_INVALID, "<%s>", name);
        assert_int_equal(strlen(status_message(st)), sizeof name - 1 + 2);
        st = status_context(st, "[%s]", name);
        assert_int_equal(strlen(status_text(st, text, sizeof text)), sizeof text - 1);
        status_ignore(st);
        for (size_t size = 250; size < 260; size++) { /* around the stack buffer */
                name[size] = '\0';
                st = status_new(ERR_INVALID, "%s", name);
                assert_int_equal(strlen(status_message(st)), size);
                status_ignore(st);
                name[size] = 'a';
        }
}

static void test_errno(void **state)
{
        static const struct {
                int err;
                StatusCode code;
        } cases[] = {{ENOSPC, ERR_NO_SPACE}, {EACCES, ERR_ACCESS}, {EROFS, ERR_ACCESS}, {ENOENT, ERR_NOT_FOUND},
                     {EEXIST, ERR_EXISTS},   {EBUSY, ERR_BUSY},    {EIO, ERR_IO}};
        for (size_t i = 0; i < ELEMENTS(cases); i++) {
                Status st = status_errno(cases[i].err, "cannot open %s", "f");
                char expected[200];
                snprintf(expected, sizeof expected, "cannot open f: %s", strerror(cases[i].err));
                assert_int_equal(status_code(st), cases[i].code);
                assert_string_equal(status_message(st), expected);
                status_ignore(st);
        }
}

/* Whatever allocation fails, there is an error and it can be read and freed. */
static void test_without_memory(void **state)
{
        for (int n = 1, fired = 1; fired; n++) {
                mem_fail_nth(n);
                char text[100];
                Status st = status_hint(status_context(status_new(ERR_LOGIC, "fact"), "context"), "hint");
                fired = mem_fail_fired();
                mem_fail_nth(0);
                assert_non_null(st);
                assert_int_equal(status_code(st), n == 1 ? ERR_NOMEM : ERR_LOGIC);
                assert_true(strlen(status_text(st, text, sizeof text)) > 0);
                status_ignore(st);
        }
        assert_ptr_equal(status_nomem(), status_context(status_nomem(), "x"));
        assert_string_equal(status_message(status_nomem()), "out of memory");
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_chain), cmocka_unit_test(test_long_message),
                                           cmocka_unit_test(test_errno), cmocka_unit_test(test_without_memory)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
