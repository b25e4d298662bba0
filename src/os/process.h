/* process.h - a helper process: this program started once more, with one socket to talk over and nothing else of ours.
 *
 * The child gets an empty environment, /dev/null as standard input, output and error, and its end of the socket as
 * descriptor OS_PROCESS_SOCKET; every other descriptor is closed. It is started with posix_spawn, which is safe in a
 * process of many threads. Threads: an OsProcess by one thread at a time. */
#ifndef OS_PROCESS_H
#define OS_PROCESS_H

#include "os/os.h"

#define OS_PROCESS_SOCKET 3

typedef struct OsProcess OsProcess;

/* `argv` ends in NULL; argv[0] is only a name. `program` NULL: this very program, even if its file was replaced. The
 * kernel can tie the child's life to the thread that calls this: see os_process_follow_parent. */
MUST_USE Status os_process_start(const char *program, const char *const *argv, OsProcess **ret_process);
/* Kills it if it still runs, waits for its end, frees. NULL is fine; returns NULL. */
OsProcess *os_process_end(OsProcess *process);
static inline void os_process_endp(OsProcess **process)
{
        *process = os_process_end(*process);
}
int64_t os_process_pid(const OsProcess *process); /* for messages and tests */
/* Has it closed its end (it is dead or dying), or said something it was not asked? Looks only. */
bool os_process_is_quiet(OsProcess *process);

/* Moves up to `size` bytes; waits at most `wait_ms` until any can be moved. *ret_moved 0: none could. ERR_CLOSED when
 * the other end is gone. */
MUST_USE Status os_process_send(OsProcess *process, const void *data, size_t size, int wait_ms, size_t *ret_moved);
MUST_USE Status os_process_receive(OsProcess *process, void *out, size_t size, int wait_ms, size_t *ret_moved);

/* --- in the child --- */
/* The kernel kills this process when the thread that started it ends; false if `parent` is not the parent any more (it
 * died before we asked). A change of user undoes it, so call it after. */
bool os_process_follow_parent(int64_t parent);
/* Whole messages over OS_PROCESS_SOCKET, blocking. False when the other end is gone. */
bool os_child_read(void *out, size_t size);
bool os_child_write(const void *data, size_t size);

#endif
