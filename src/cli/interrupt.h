/* interrupt.h - Ctrl-C as something that can be waited for together with a socket or a key.
 * The handler writes a byte into a pipe: whoever polls interrupt_fd() wakes up.
 * Threads: the main thread; one user at a time. */
#ifndef CLI_INTERRUPT_H
#define CLI_INTERRUPT_H

#include <stdbool.h>

#include "base/status.h"

/* From here on SIGINT is ours; SIGTERM and SIGHUP too, which ask to end altogether. */
MUST_USE Status interrupt_begin(void);
void interrupt_end(void);
/* Readable from the first interrupt until interrupt_clear(). -1 before interrupt_begin(). */
int interrupt_fd(void);
/* Since the last clear. */
bool interrupt_came(void);
void interrupt_clear(void);
/* SIGTERM or SIGHUP; nothing clears it. It counts as an interrupt. */
bool interrupt_ends(void);

#endif
