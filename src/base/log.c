/* log.c - one line, one write(2). */
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "base/mem.h"

enum { MAX_LINE_BYTES = 4096 };

static atomic_int least_level = LOG_INFO;
static atomic_int line_format = LOG_TEXT;
static atomic_int line_fd = 2;
static _Atomic(int64_t (*)(void)) clock_us;

static const char *const level_names[] = {"debug", "info", "notice", "warn", "error", "off"};

/* A line under construction. Room for the end ("...", quotes, newline) is kept back, so that a cut line is still a
 * whole JSON object. */
typedef struct Line {
        char text[MAX_LINE_BYTES];
        size_t size;
        bool cut;
} Line;
enum { END_BYTES = 8 };

void log_configure(LogLevel least, LogFormat format, int fd)
{
        atomic_store(&least_level, least);
        atomic_store(&line_format, format);
        atomic_store(&line_fd, fd);
}

void log_set_clock(int64_t (*now_us)(void))
{
        atomic_store(&clock_us, now_us);
}

int log_level_parse(const char *name, LogLevel *ret_level)
{
        for (size_t i = 0; i < ELEMENTS(level_names); i++) {
                if (strcmp(name, level_names[i]) == 0) {
                        *ret_level = (LogLevel)i;
                        return true;
                }
        }
        return false;
}

int log_enabled(LogLevel level)
{
        return level < LOG_OFF && (int)level >= atomic_load_explicit(&least_level, memory_order_relaxed);
}

/* All of `bytes` or, when the line is full, none of it and nothing after. */
static void line_add(Line *line, const char *bytes, size_t size)
{
        if (line->cut || size > sizeof line->text - END_BYTES - line->size) {
                line->cut = true;
                return;
        }
        memcpy(line->text + line->size, bytes, size);
        line->size += size;
}

static void line_add_str(Line *line, const char *s)
{
        line_add(line, s, strlen(s));
}

/* The length of the valid UTF-8 character at `s` (not overlong, no surrogate), 0 if there is none. `s` ends in NUL, and
 * no comparison below accepts NUL as a continuation, so nothing behind the end is read. */
static size_t utf8_length(const unsigned char *s, uint32_t *ret_code)
{
        if (s[0] < 0x80) {
                *ret_code = s[0];
                return 1;
        }
        if (s[0] >= 0xc2 && s[0] <= 0xdf && (s[1] & 0xc0) == 0x80) {
                *ret_code = (uint32_t)(s[0] & 0x1f) << 6 | (s[1] & 0x3f);
                return 2;
        }
        if ((s[0] & 0xf0) == 0xe0 && (s[1] & 0xc0) == 0x80 && (s[2] & 0xc0) == 0x80) {
                *ret_code = (uint32_t)(s[0] & 0x0f) << 12 | (uint32_t)(s[1] & 0x3f) << 6 | (s[2] & 0x3f);
                return *ret_code >= 0x800 && (*ret_code < 0xd800 || *ret_code > 0xdfff) ? 3 : 0;
        }
        if (s[0] >= 0xf0 && s[0] <= 0xf4 && (s[1] & 0xc0) == 0x80 && (s[2] & 0xc0) == 0x80 && (s[3] & 0xc0) == 0x80) {
                *ret_code = (uint32_t)(s[0] & 0x07) << 18 | (uint32_t)(s[1] & 0x3f) << 12 |
                            (uint32_t)(s[2] & 0x3f) << 6 | (s[3] & 0x3f);
                return *ret_code >= 0x10000 && *ret_code <= 0x10ffff ? 4 : 0;
        }
        return 0;
}

/* C0 and C1 controls, DEL, the line separators and the characters that reorder text on a terminal. */
static bool is_control(uint32_t code)
{
        return code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0x2028 && code <= 0x202e) ||
               (code >= 0x2066 && code <= 0x2069);
}

static void line_add_escaped(Line *line, const char *text, LogFormat format)
{
        char escape[16];
        for (const unsigned char *s = (const unsigned char *)text; *s;) {
                uint32_t code = 0;
                size_t length = utf8_length(s, &code);
                if (length == 0) {
                        if (format == LOG_JSON)
                                line_add_str(line, "\\ufffd");
                        else
                                line_add(line, escape, (size_t)snprintf(escape, sizeof escape, "\\x%02x", *s));
                        s++;
                        continue;
                }
                if (code == '\n')
                        line_add_str(line, "\\n");
                else if (code == '\t')
                        line_add_str(line, "\\t");
                else if (format == LOG_JSON && (code == '"' || code == '\\'))
                        line_add(line, (char[]){'\\', (char)code}, 2);
                else if (is_control(code))
                        line_add(line, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", (unsigned)code));
                else
                        line_add(line, (const char *)s, length);
                s += length;
        }
}

/* Days since 1970-01-01 to a civil date, by eras of 400 years that begin on 1 March; no time zone, no lock, no libc. */
static void format_time(int64_t us, char *out, size_t size)
{
        int64_t seconds = us / 1000000 - (us % 1000000 < 0), days = seconds / 86400 - (seconds % 86400 < 0);
        int64_t z = days + 719468;
        int64_t era = (z >= 0 ? z : z - 146096) / 146097;
        int64_t day_of_era = z - era * 146097;
        int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
        int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        int64_t month_from_march = (5 * day_of_year + 2) / 153;
        int64_t day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        int64_t month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
        int64_t year = year_of_era + era * 400 + (month <= 2);
        int64_t second_of_day = seconds - days * 86400, fraction = us - seconds * 1000000;
        snprintf(out, size,
                 "%04" PRId64 "-%02" PRId64 "-%02" PRId64 "T%02" PRId64 ":%02" PRId64 ":%02" PRId64 ".%06" PRId64 "Z",
                 year, month, day, second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60, fraction);
}

static void write_line(const char *text, size_t size)
{
        int fd = atomic_load(&line_fd);
        while (size > 0) {
                ssize_t n = write(fd, text, size);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return; /* there is nobody to tell */
                text += n;
                size -= (size_t)n;
        }
}

/* --- the last entries ---
 *
 *   ring: | head | message | head | message |  ...  free  ... |      entries in order, wrapped round byte by byte
 *         ^ first                           ^ first + used
 * Under a spin lock, which is held for copying a line: base/ knows no other, and a log line is rare. */
typedef struct RecentHead {
        int64_t time_us;
        uint32_t size; /* of the message */
        uint8_t level;
} RecentHead;

static char recent_ring[LOG_RECENT_BYTES];
static size_t recent_first, recent_used, recent_count;
static int64_t recent_time_us;
static atomic_flag recent_lock = ATOMIC_FLAG_INIT;

static void recent_acquire(void)
{
        while (atomic_flag_test_and_set_explicit(&recent_lock, memory_order_acquire))
                sched_yield();
}

static void recent_release(void)
{
        atomic_flag_clear_explicit(&recent_lock, memory_order_release);
}

static void ring_put(const void *bytes, size_t size)
{
        for (size_t i = 0; i < size; i++)
                recent_ring[(recent_first + recent_used + i) % LOG_RECENT_BYTES] = ((const char *)bytes)[i];
        recent_used += size;
}

static void ring_copy(size_t at, void *out, size_t size)
{
        for (size_t i = 0; i < size; i++)
                ((char *)out)[i] = recent_ring[(recent_first + at + i) % LOG_RECENT_BYTES];
}

static void ring_drop_first(void)
{
        RecentHead head;
        ring_copy(0, &head, sizeof head);
        recent_first = (recent_first + sizeof head + head.size) % LOG_RECENT_BYTES;
        recent_used -= sizeof head + head.size;
        recent_count--;
}

static void recent_add(LogLevel level, int64_t time_us, const char *message, const char *hint)
{
        Line line;
        RecentHead head;
        line.size = 0;
        line.cut = false;
        line_add_escaped(&line, message, LOG_TEXT);
        if (hint) {
                line_add_str(&line, " (");
                line_add_escaped(&line, hint, LOG_TEXT);
                line_add_str(&line, ")");
        }
        if (line.cut) {
                memcpy(line.text + line.size, "...", 3);
                line.size += 3;
        }
        memset(&head, 0, sizeof head);
        head.size = (uint32_t)line.size;
        head.level = (uint8_t)level;
        recent_acquire();
        recent_time_us = head.time_us = time_us > recent_time_us ? time_us : recent_time_us + 1;
        while (recent_count == LOG_RECENT_MAX || recent_used + sizeof head + line.size > LOG_RECENT_BYTES)
                ring_drop_first();
        ring_put(&head, sizeof head);
        ring_put(line.text, line.size);
        recent_count++;
        recent_release();
}

Status log_each_recent(Status (*each)(void *ctx, const LogEntry *entry), void *ctx)
{
        char *copy = mem_alloc(LOG_RECENT_BYTES);
        if (!copy)
                return status_nomem();
        recent_acquire();
        size_t used = recent_used;
        ring_copy(0, copy, used);
        recent_release();
        Status st = ST_OK;
        for (size_t at = 0; !st && at < used;) {
                RecentHead head;
                memcpy(&head, copy + at, sizeof head);
                LogEntry entry = {.time_us = head.time_us,
                                  .level = (LogLevel)head.level,
                                  .message = BYTES(copy + at + sizeof head, head.size)};
                st = each(ctx, &entry);
                at += sizeof head + head.size;
        }
        mem_free(copy);
        return st;
}

void log_time_text(int64_t us, char out[LOG_TIME_BYTES])
{
        format_time(us, out, LOG_TIME_BYTES);
}

/* --- lines --- */

static void emit(LogLevel level, const char *module, const char *message, const char *hint)
{
        int saved_errno = errno;
        LogFormat format = (LogFormat)atomic_load(&line_format);
        int64_t (*now_us)(void) = atomic_load(&clock_us);
        char time[LOG_TIME_BYTES] = "";
        Line line;
        line.size = 0;
        line.cut = false;
        int64_t now = now_us ? now_us() : 0;
        recent_add(level, now, message, hint);
        if (now_us)
                format_time(now, time, sizeof time);
        if (format == LOG_JSON) {
                line_add_str(&line, "{");
                if (now_us) {
                        line_add_str(&line, "\"time\":\"");
                        line_add_str(&line, time);
                        line_add_str(&line, "\",");
                }
                line_add_str(&line, "\"level\":\"");
                line_add_str(&line, level_names[level]);
                line_add_str(&line, "\",\"module\":\"");
                line_add_escaped(&line, module, format);
                line_add_str(&line, "\",\"message\":\"");
                line_add_escaped(&line, message, format);
                if (hint) {
                        line_add_str(&line, "\",\"hint\":\"");
                        line_add_escaped(&line, hint, format);
                }
        } else {
                if (now_us) {
                        line_add_str(&line, time);
                        line_add_str(&line, " ");
                }
                line_add_str(&line, level_names[level]);
                line_add_str(&line, " ");
                line_add_escaped(&line, module, format);
                line_add_str(&line, ": ");
                line_add_escaped(&line, message, format);
                if (hint) {
                        line_add_str(&line, " (");
                        line_add_escaped(&line, hint, format);
                        line_add_str(&line, ")");
                }
        }
        const char *end = format == LOG_JSON ? "\"}\n" : "\n";
        if (line.cut) {
                memcpy(line.text + line.size, "...", 3);
                line.size += 3;
        }
        memcpy(line.text + line.size, end, strlen(end));
        line.size += strlen(end);
        write_line(line.text, line.size);
        errno = saved_errno;
}

void log_write(LogLevel level, const char *module, const char *format, ...)
{
        if (!log_enabled(level))
                return;
        char message[MAX_LINE_BYTES];
        va_list args;
        va_start(args, format);
        int length = vsnprintf(message, sizeof message, format, args);
        va_end(args);
        emit(level, module, length < 0 ? format : message, NULL);
}

void log_status(LogLevel level, const char *module, Status st)
{
        if (st && log_enabled(level)) {
                char text[MAX_LINE_BYTES];
                emit(level, module, status_text(st, text, sizeof text), status_hint_text(st));
        }
        status_ignore(st);
}
