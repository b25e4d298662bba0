/* moment.h - a place in the commit log, and times as people read and write them. */
#ifndef STORAGE_MOMENT_H
#define STORAGE_MOMENT_H

#include <stdbool.h>
#include <stdint.h>

/* A position, or else (position 0) the last commit not later than a time in microseconds since 1970; both 0: none. */
typedef struct StoreMoment {
        uint64_t position;
        int64_t wall_us;
} StoreMoment;
static inline bool moment_is_set(StoreMoment moment)
{
        return moment.position || moment.wall_us;
}

/* "2026-11-21T14:05:00.123456Z" (RFC 3339, UTC) into `out`; returns `out`. */
#define MOMENT_TIME_BYTES 40
const char *moment_time_text(int64_t wall_us, char out[MOMENT_TIME_BYTES]);
/* RFC 3339, and what people write for it: a space for the T, seconds or the zone left out (then UTC). False if it is no
 * such time. */
bool moment_time_parse(const char *text, int64_t *ret_wall_us);

#endif
