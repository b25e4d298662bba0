/* pool.h - the worker processes of a server, and how query/ reaches them (OutsideOps).
 *
 *      (none) --keeper starts--> STARTING --HELLO--> IDLE <--answer-- BUSY
 *                                    |                 |  `--taken--> |
 *                                    v                 v              v
 *                                  killed, and waited for: refused, no answer in time, idle too long, cancelled,
 * nonsense
 *
 * One thread, the keeper, starts and ends processes: the kernel ties their lives to it. It is made with the first
 * question; a server that never runs r.js or r.http has neither thread nor process.
 * Threads: the ops from any; new and free from the server's. */
#ifndef WORKER_POOL_H
#define WORKER_POOL_H

#include "os/os.h"
#include "query/outside.h"

typedef struct WorkerPool WorkerPool;
typedef struct WorkerPoolOptions {
        Os *os;                    /* the clock */
        const char *program;       /* NULL: this program; tests name another. Started as: PROGRAM worker KIND ... */
        bool no_js, no_http;       /* not available */
        unsigned js_max, http_max; /* processes of each kind; 0: a default */
        unsigned idle_ms;          /* one that had nothing to do for so long ends; 0: a default */
        const char *http_proxy;    /* NULL: none */
        bool http_public_only;     /* no private addresses */
        /* Called when a caller begins and ends to wait; NULL: nobody needs to know. */
        void (*waiting)(void *ctx, bool begins);
        void *waiting_ctx;
        bool test_hooks; /* js processes can be asked to break out */
} WorkerPoolOptions;

MUST_USE Status worker_pool_new(const WorkerPoolOptions *options, WorkerPool **ret_pool);
const OutsideOps *worker_pool_ops(WorkerPool *pool); /* lives as long as the pool */
/* No query runs any more. Kills what is left and waits for it. NULL is fine; returns NULL. */
WorkerPool *worker_pool_free(WorkerPool *pool);
/* How many processes there are, idle ones included. */
unsigned worker_pool_count(WorkerPool *pool);

#endif
