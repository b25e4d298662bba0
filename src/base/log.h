/* log.h - what the server says of itself: text or JSON lines on stderr or a file, with levels.
 * Lower folders return errors and never log them; server and cli log once. Secrets never come here.
 *      2026-11-21T07:41:26.123456Z notice server: listening on 127.0.0.1:28015
 *      {"time":"2026-11-21T07:41:26.123456Z","level":"notice","module":"server","message":"listening on ..."}
 * Control characters and invalid UTF-8 are escaped in both, so that one call is one line and nobody's document can move
 * the cursor of the terminal it is shown on. A line above 4 KiB is cut and ends in "...".
 * Threads: any; a line is written with one call and never interleaves. Never blocks longer than the write: what a
 * non-blocking descriptor does not take is dropped. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

typedef enum LogLevel { LOG_DEBUG, LOG_INFO, LOG_NOTICE, LOG_WARN, LOG_ERROR, LOG_OFF } LogLevel;
typedef enum LogFormat { LOG_TEXT, LOG_JSON } LogFormat;

void log_configure(LogLevel least, LogFormat format, int fd); /* default: LOG_INFO, LOG_TEXT, 2 */
/* The time source, microseconds since 1970; os/ fills it in at start. Without one lines carry no time. */
void log_set_clock(int64_t (*now_us)(void));
/* "debug", "info", "notice", "warn", "error", "off"; false if it is none of them. */
int log_level_parse(const char *name, LogLevel *ret_level);
int log_enabled(LogLevel level);
void log_write(LogLevel level, const char *module, const char *format, ...) PRINTF_LIKE(3, 4);
/* Logs `st` with its contexts and hint, and frees it. */
void log_status(LogLevel level, const char *module, Status st);

/* --- the last entries, kept in memory: at most LOG_RECENT_MAX of them in LOG_RECENT_BYTES, the oldest go first --- */
#define LOG_RECENT_MAX   1000
#define LOG_RECENT_BYTES (256 << 10)
typedef struct LogEntry { /* valid during the call */
        int64_t time_us;  /* no two are the same; 0-based without a clock */
        LogLevel level;
        Bytes message; /* valid UTF-8, control characters escaped; cut like a line */
} LogEntry;
/* Calls `each` for copies of them, oldest first; ends at the first error. ERR_NOMEM. `each` may log. */
MUST_USE Status log_each_recent(Status (*each)(void *ctx, const LogEntry *entry), void *ctx);
#define LOG_TIME_BYTES 96
/* "2026-11-21T07:41:26.123456Z" */
void log_time_text(int64_t us, char out[LOG_TIME_BYTES]);

#define log_debug(module, ...)                                                                                         \
        do {                                                                                                           \
                if (log_enabled(LOG_DEBUG))                                                                            \
                        log_write(LOG_DEBUG, module, __VA_ARGS__);                                                     \
        } while (0)
#define log_info(module, ...)   log_write(LOG_INFO, module, __VA_ARGS__)
#define log_notice(module, ...) log_write(LOG_NOTICE, module, __VA_ARGS__)
#define log_warn(module, ...)   log_write(LOG_WARN, module, __VA_ARGS__)
#define log_error(module, ...)  log_write(LOG_ERROR, module, __VA_ARGS__)

#endif
