/* thread.h - threads, mutexes and conditions: libuv's, with clang's thread-safety annotations.
 * Lock order of the whole project: docs/locks.md. */
#ifndef OS_THREAD_H
#define OS_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#include <uv.h>

#include "base/status.h"

typedef struct TSA(capability("mutex")) Mutex {
        uv_mutex_t uv;
} Mutex;
typedef struct Cond {
        uv_cond_t uv;
} Cond;
typedef struct Thread {
        uv_thread_t uv;
        void (*main)(void *arg);
        void *arg;
        char name[16];
} Thread;

void mutex_init(Mutex *mu);
void mutex_done(Mutex *mu);
void mutex_lock(Mutex *mu) ACQUIRE(mu);
void mutex_unlock(Mutex *mu) RELEASE(mu);
void cond_init(Cond *cond);
void cond_done(Cond *cond);
void cond_wait(Cond *cond, Mutex *mu) REQUIRES(mu);
/* False if `timeout_ns` passed first. */
bool cond_wait_for(Cond *cond, Mutex *mu, uint64_t timeout_ns) REQUIRES(mu);
void cond_signal(Cond *cond);
void cond_broadcast(Cond *cond);
/* What the stack of a started thread holds at least. */
#define THREAD_STACK_BYTES ((size_t)8 << 20)
/* `thread` must stay where it is until thread_join. `name` is cut to 15 characters. */
MUST_USE Status thread_start(Thread *thread, const char *name, void (*main)(void *arg), void *arg);
void thread_join(Thread *thread);
unsigned thread_core_count(void); /* cores this process may use; at least 1 */

#endif
