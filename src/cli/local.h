/* local.h - asking the server that runs on a data directory of this machine, over its control socket
 * (server/control.h). */
#ifndef CLI_LOCAL_H
#define CLI_LOCAL_H

#include "base/arena.h"
#include "storage/store.h"
#include "value/value.h"

typedef struct Local Local;
/* ERR_NOT_FOUND: none runs there. */
MUST_USE Status local_open(const char *data_dir, Local **ret_local);
Local *local_close(Local *local); /* a backup that runs is cancelled; NULL is fine */
static inline void local_closep(Local **local)
{
        *local = local_close(*local);
}
/* Sends a line of JSON and waits for {"done":...}: its value, in `arena`. `progress` may be NULL. The server's errors
 * come back with their code, text and hint; ERR_CANCELLED: Ctrl-C. */
MUST_USE Status local_ask(Local *local, Bytes request, const StoreProgress *progress, Arena *arena, Value *ret_done);

/* "commit 12345, 2026-11-21T14:05:00.123456Z" */
const char *local_moment_text(uint64_t position, int64_t wall_us, char out[96]);

/* "15 ms", "3.2 s"; at least 32 bytes. */
const char *local_seconds_text(double seconds, char *out);

#endif
