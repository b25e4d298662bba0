/* sandbox.h - how a worker process locks itself in, before it reads its first question.
 *
 * Nothing here can be undone by the process itself. README.md says what is left to each kind. Needs no privileges and
 * no namespaces, so it works in containers; as root it also becomes `nobody`. */
#ifndef WORKER_SANDBOX_H
#define WORKER_SANDBOX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

typedef enum SandboxKind {
        SANDBOX_JS,   /* its socket, memory, the clock */
        SANDBOX_HTTP, /* and the network, and reading the machine's configuration */
} SandboxKind;

/* First: who we are and when we die. ERR_CLOSED if `parent` is not our parent any more. */
MUST_USE Status sandbox_attach(int64_t parent);
/* Last: limits and the filter of system calls. ERR_UNSUPPORTED if the kernel has no such filters. */
MUST_USE Status sandbox_enter(SandboxKind kind);
/* Is this built with a sanitizer, whose shadow memory no limit of address space allows? */
bool sandbox_is_instrumented(void);

#endif
