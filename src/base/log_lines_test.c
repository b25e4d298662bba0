/* log_lines_test.c - of log.c (its own name: another folder has a log too). Lines are read back from a pipe. */
#include "base/log.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static int ends[2];
static int64_t now = 1795246886123456; /* 2026-11-21T07:41:26.123456Z */
static int64_t fake_clock(void)
{
        return now;
}

static int open_pipe(void **state)
{
        log_set_clock(fake_clock);
        return pipe(ends);
}

static int close_pipe(void **state)
{
        log_configure(LOG_INFO, LOG_TEXT, 2);
        log_set_clock(NULL);
        close(ends[0]);
        close(ends[1]);
        return 0;
}

static const char *got(void)
{
        static char text[70000];
        ssize_t n = read(ends[0], text, sizeof text - 1);
        assert_true(n > 0);
        text[n] = '\0';
        return text;
}

static void test_text(void **state)
{
        log_configure(LOG_INFO, LOG_TEXT, ends[1]);
        log_notice("server", "listening on %s:%d", "127.0.0.1", 28015);
        assert_string_equal(got(), "2026-11-21T07:41:26.123456Z notice server: listening on 127.0.0.1:28015\n");
        log_debug("x", "hidden");
        log_write(LOG_OFF, "x", "never");
        log_error("x", "a\nb\tc\x1b[31m\x7f\xc2\x9b \xff \xc0\x80 \xe2\x80\xae \xed\xa0\x80 \xf0\x9f\x98\x80 "
                       "caf\xc3\xa9 \"q\\");
        assert_string_equal(got(),
                            "2026-11-21T07:41:26.123456Z error x: a\\nb\\tc\\u001b[31m\\u007f\\u009b \\xff \\xc0\\x80 "
                            "\\u202e \\xed\\xa0\\x80 \xf0\x9f\x98\x80 caf\xc3\xa9 \"q\\\n");
        now = -1;
        log_warn("x", "%s", "\xe2"); /* cut inside a character */
        assert_string_equal(got(), "1969-12-31T23:59:59.999999Z warn x: \\xe2\n");
        now = 951782400000000; /* a leap day of a year divisible by 400 */
        log_warn("x", "y");
        assert_string_equal(got(), "2000-02-29T00:00:00.000000Z warn x: y\n");
        log_set_clock(NULL);
        log_warn("x", "y");
        assert_string_equal(got(), "warn x: y\n");
}

static void test_json(void **state)
{
        log_configure(LOG_WARN, LOG_JSON, ends[1]);
        log_info("x", "hidden");
        now = 1795246886123456;
        Status st = status_hint(status_context(status_new(ERR_IO, "bad \"disk\"\n"), "opening \xff"), "buy \\ another");
        log_status(LOG_ERROR, "storage", st);
        assert_string_equal(got(),
                            "{\"time\":\"2026-11-21T07:41:26.123456Z\",\"level\":\"error\",\"module\":\"storage\","
                            "\"message\":\"opening \\ufffd: bad \\\"disk\\\"\\n\",\"hint\":\"buy \\\\ another\"}\n");
        log_status(LOG_ERROR, "storage", NULL);
        log_status(LOG_DEBUG, "storage", status_new(ERR_IO, "freed though not shown"));
        log_configure(LOG_INFO, LOG_TEXT, ends[1]);
        log_status(LOG_ERROR, "a", status_hint(status_new(ERR_BUSY, "fact"), "advice"));
        assert_string_equal(got(), "2026-11-21T07:41:26.123456Z error a: fact (advice)\n");
}

/* Too long is cut, and still one line and, as JSON, still one object. */
static void test_long(void **state)
{
        char *big = malloc(20000);
        for (int fill = 0; fill < 3; fill++) {
                memset(big, "a\"\x01"[fill], 19999);
                big[19999] = '\0';
                for (int cut = 4000; cut < 4200; cut++) {
                        char last = big[cut];
                        big[cut] = '\0';
                        log_configure(LOG_INFO, LOG_JSON, ends[1]);
                        log_info("m", "%s", big);
                        big[cut] = last;
                        const char *line = got();
                        size_t size = strlen(line);
                        assert_true(size <= 4096);
                        assert_string_equal(line + size - 3, "\"}\n");
                        bool was_cut = strcmp(line + size - 6, "...\"}\n") == 0;
                        assert_true(was_cut || (cut < 4100 && fill == 0));
                        size_t slashes = 0; /* no escape is cut in two */
                        for (const char *s = line + size - (was_cut ? 7 : 4); *s == '\\'; s--)
                                slashes++;
                        assert_true(slashes % 2 == 0);
                        assert_ptr_equal(strchr(line, '\n'), line + size - 1);
                }
        }
        log_configure(LOG_INFO, LOG_TEXT, ends[1]);
        log_info("m", "%s", big);
        const char *line = got();
        assert_true(strlen(line) <= 4096);
        assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
        free(big);
}

static void test_levels(void **state)
{
        LogLevel level = LOG_OFF;
        assert_true(log_level_parse("debug", &level));
        assert_int_equal(level, LOG_DEBUG);
        assert_true(log_level_parse("off", &level));
        assert_int_equal(level, LOG_OFF);
        assert_false(log_level_parse("Debug", &level));
        assert_false(log_level_parse("", &level));
        log_configure(LOG_OFF, LOG_TEXT, -1);
        assert_false(log_enabled(LOG_ERROR));
        log_configure(LOG_DEBUG, LOG_TEXT, -1);
        assert_true(log_enabled(LOG_DEBUG));
        log_error("x", "a closed descriptor is nobody's problem");
}

static void *writer(void *arg)
{
        for (int i = 0; i < 200; i++)
                log_info("w", "%s", (const char *)arg);
        return NULL;
}

static void test_threads(void **state)
{
        static const char a[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                          b[] = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
        log_set_clock(NULL);
        log_configure(LOG_INFO, LOG_TEXT, ends[1]);
        pthread_t threads[2];
        pthread_create(&threads[0], NULL, writer, (void *)a);
        pthread_create(&threads[1], NULL, writer, (void *)b);
        pthread_join(threads[0], NULL);
        pthread_join(threads[1], NULL);
        const char *text = got();
        int lines = 0;
        for (const char *s = text; *s; s += 8 + 40 + 1, lines++) {
                assert_memory_equal(s, "info w: ", 8);
                assert_true(memcmp(s + 8, a, 40) == 0 || memcmp(s + 8, b, 40) == 0);
                assert_int_equal(s[48], '\n');
        }
        assert_int_equal(lines, 400);
}

/* --- the last entries --- */

typedef struct Recent {
        size_t count, bytes;
        int64_t last_us;
        char first[64], last[64];
        LogLevel level;
} Recent;

static Status note_entry(void *ctx, const LogEntry *entry)
{
        Recent *r = ctx;
        char *text = r->count ? r->last : r->first;
        snprintf(text, 64, "%.*s", (int)entry->message.size, (const char *)entry->message.data);
        assert_true(r->count == 0 || entry->time_us > r->last_us);
        r->last_us = entry->time_us;
        r->level = entry->level;
        r->count++;
        r->bytes += entry->message.size;
        return ST_OK;
}

static Status stop_at_once(void *ctx, const LogEntry *entry)
{
        ++*(int *)ctx;
        return status_new(ERR_LOGIC, "enough");
}

static Recent recent(void)
{
        Recent r = {0};
        assert_null(log_each_recent(note_entry, &r));
        return r;
}

static void test_recent(void **state)
{
        char big[3001];
        int null_fd = open("/dev/null", O_WRONLY), calls = 0;
        log_configure(LOG_INFO, LOG_JSON, null_fd);
        for (int i = 0; i < LOG_RECENT_MAX + 5; i++)
                log_info("x", "entry %d \"\n", i);
        log_debug("x", "not logged");
        Recent r = recent();
        assert_int_equal(r.count, LOG_RECENT_MAX);
        assert_string_equal(r.first, "entry 5 \"\\n");
        assert_string_equal(r.last, "entry 1004 \"\\n");
        log_status(LOG_ERROR, "x", status_hint(status_new(ERR_BUSY, "fact"), "advice"));
        r = recent();
        assert_string_equal(r.last, "fact (advice)");
        assert_int_equal(r.level, LOG_ERROR);
        /* Long ones push out more, and the bytes are bounded, wrapped round or not. */
        memset(big, 'a', sizeof big - 1);
        big[sizeof big - 1] = 0;
        for (int i = 0; i < 300; i++) {
                log_info("x", "%s", big);
                r = recent();
                assert_true(r.bytes <= LOG_RECENT_BYTES && r.count <= LOG_RECENT_MAX);
        }
        assert_in_range(r.count, 80, 90);
        Status st = log_each_recent(stop_at_once, &calls);
        assert_int_equal(status_code(st), ERR_LOGIC);
        status_ignore(st);
        assert_int_equal(calls, 1);
        close(null_fd);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_text, open_pipe, close_pipe),
                cmocka_unit_test_setup_teardown(test_json, open_pipe, close_pipe),
                cmocka_unit_test_setup_teardown(test_long, open_pipe, close_pipe),
                cmocka_unit_test_setup_teardown(test_levels, open_pipe, close_pipe),
                cmocka_unit_test_setup_teardown(test_threads, open_pipe, close_pipe),
                cmocka_unit_test_setup_teardown(test_recent, open_pipe, close_pipe),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
