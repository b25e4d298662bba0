/* pool.h - the worker pool: what may take long runs here and not on an event loop, and what has parts runs on several.
 * Tasks start in the order they came. Threads are made when they are first needed, so that an idle server has one.
 * Threads: pool_submit from any; pool_new and pool_free from the server's. */
#ifndef SERVER_POOL_H
#define SERVER_POOL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

typedef struct Pool Pool;
typedef struct PoolTask PoolTask;
struct PoolTask {
        void (*run)(PoolTask *task);
        PoolTask *next; /* the pool's, while submitted */
};
MUST_USE Status pool_new(unsigned max_threads, Pool **ret_pool);
/* `task` is the caller's again as soon as run() is called. Never fails. */
void pool_submit(Pool *pool, PoolTask *task);
/* Calls task(arg, i) once for each i < count, on the calling thread and on up to most - 1 threads of the pool that have
 * nothing else to do, and returns when all calls have returned. From any thread, also from a task: the caller does
 * everything itself when nobody helps. A `task` does not wait for another one. */
void pool_parallel(Pool *pool, size_t count, unsigned most, void (*task)(void *arg, size_t i), void *arg);
/* From a task: it begins, or ends, to wait for something outside (r.js, r.http) and uses no processor. Another thread
 * may then take its place, so that slow web servers do not hold up everybody. */
void pool_blocking(Pool *pool, bool begins);
/* Runs what is queued, then ends the threads. Nobody may submit any more. NULL is fine; returns NULL. */
Pool *pool_free(Pool *pool);

#endif
