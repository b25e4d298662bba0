/* pool.c - see pool.h. */
#include "server/pool.h"

#include <stdatomic.h>
#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "os/thread.h"

#define MAX_THREADS 256

/* A call of pool_parallel, on its caller's stack. Whoever is counted in `helpers` may look at it without the lock. */
typedef struct Call Call;
struct Call {
        void (*task)(void *arg, size_t i);
        void *arg;
        size_t count;
        atomic_size_t next_index; /* the first that nobody has taken */
        /* --- GUARDED_BY(pool->mu) --- */
        Call *next;
        unsigned helpers, most_helpers;
        Cond left; /* the last helper has */
};

struct Pool {
        unsigned max_threads;
        Thread threads[MAX_THREADS]; /* the first thread_count run */
        Mutex mu;                    /* order: docs/locks.md */
        Cond work;
        /* --- GUARDED_BY(mu): clang reads the attribute in C++ only --- */
        PoolTask *first;
        PoolTask **last;
        Call *calls; /* the newest first */
        unsigned thread_count, idle_count, blocked;
        atomic_uint queued; /* helpers look at it without the lock */
        bool ending;
};

/* --- calls --- */

static void call_work(Pool *pool, Call *call, bool helping)
{
        /* A helper has time as long as nothing waits in the queue. */
        while (!helping || atomic_load_explicit(&pool->queued, memory_order_relaxed) == 0) {
                size_t i = atomic_fetch_add_explicit(&call->next_index, 1, memory_order_relaxed);
                if (i >= call->count)
                        return;
                call->task(call->arg, i);
        }
}

static Call *call_to_help(Pool *pool) REQUIRES(pool->mu)
{
        Call *call = pool->calls;
        while (call && (call->helpers == call->most_helpers ||
                        atomic_load_explicit(&call->next_index, memory_order_relaxed) >= call->count))
                call = call->next;
        return call;
}

static void call_help(Pool *pool, Call *call) REQUIRES(pool->mu)
{
        call->helpers++;
        mutex_unlock(&pool->mu);
        call_work(pool, call, true);
        mutex_lock(&pool->mu);
        if (--call->helpers == 0)
                cond_signal(&call->left);
}

/* --- threads --- */

static void worker_main(void *arg)
{
        Pool *pool = arg;
        mutex_lock(&pool->mu);
        for (;;) {
                Call *call = NULL;
                while (!pool->first && !(call = call_to_help(pool)) && !pool->ending) {
                        pool->idle_count++;
                        cond_wait(&pool->work, &pool->mu);
                        pool->idle_count--;
                }
                PoolTask *task = pool->first;
                if (!task && !call)
                        break;
                if (!task) {
                        call_help(pool, call);
                        continue;
                }
                pool->first = task->next;
                if (!pool->first)
                        pool->last = &pool->first;
                pool->queued--;
                mutex_unlock(&pool->mu);
                task->run(task);
                mutex_lock(&pool->mu);
        }
        mutex_unlock(&pool->mu);
}

static Status add_thread(Pool *pool) REQUIRES(pool->mu)
{
        char name[16];
        snprintf(name, sizeof(name), "worker-%u", pool->thread_count % MAX_THREADS);
        TRY(thread_start(&pool->threads[pool->thread_count], name, worker_main, pool));
        pool->thread_count++;
        return ST_OK;
}

Status pool_new(unsigned max_threads, Pool **ret_pool)
{
        Pool *pool = mem_zalloc(sizeof(*pool));
        if (!pool)
                return status_nomem();
        pool->max_threads = MAX(1, MIN(max_threads, MAX_THREADS));
        mutex_init(&pool->mu);
        cond_init(&pool->work);
        mutex_lock(&pool->mu);
        pool->last = &pool->first;
        Status st = add_thread(pool); /* one at least, so that submitting cannot fail */
        mutex_unlock(&pool->mu);
        if (st) {
                pool_free(pool);
                return st;
        }
        *ret_pool = pool;
        return ST_OK;
}

/* Those who only wait for another process take nobody's place. */
static Status add_thread_if_short(Pool *pool) REQUIRES(pool->mu)
{
        if (pool->queued > pool->idle_count && pool->thread_count < MIN(pool->max_threads + pool->blocked, MAX_THREADS))
                return add_thread(pool);
        return ST_OK; /* those that exist will come to it */
}

static void complain(Status st)
{
        if (st)
                log_status(LOG_WARN, "server", status_context(st, "starting a worker thread"));
}

void pool_blocking(Pool *pool, bool begins)
{
        Status st = ST_OK;
        mutex_lock(&pool->mu);
        if (begins) {
                pool->blocked++;
                st = add_thread_if_short(pool);
        } else {
                pool->blocked--;
        }
        mutex_unlock(&pool->mu);
        complain(st);
}

void pool_submit(Pool *pool, PoolTask *task)
{
        task->next = NULL;
        mutex_lock(&pool->mu);
        *pool->last = task;
        pool->last = &task->next;
        pool->queued++;
        Status st = add_thread_if_short(pool);
        cond_signal(&pool->work);
        mutex_unlock(&pool->mu);
        complain(st);
}

/* Threads that sleep are woken, and threads that the pool may have are made: but none for want of processors. */
static Status call_announce(Pool *pool, Call *call) REQUIRES(pool->mu)
{
        unsigned wanted = call->most_helpers;
        Status st = ST_OK;
        call->next = pool->calls;
        pool->calls = call;
        for (unsigned i = 0; i < wanted && i < pool->idle_count; i++)
                cond_signal(&pool->work);
        for (unsigned i = pool->idle_count; i < wanted && pool->thread_count < pool->max_threads && !st; i++)
                st = add_thread(pool);
        return st;
}

void pool_parallel(Pool *pool, size_t count, unsigned most, void (*task)(void *arg, size_t i), void *arg)
{
        Call call = {.task = task, .arg = arg, .count = count, .most_helpers = (unsigned)MIN(count, (size_t)most)};
        if (call.most_helpers <= 1) {
                for (size_t i = 0; i < count; i++)
                        task(arg, i);
                return;
        }
        call.most_helpers--; /* one of them is the caller */
        cond_init(&call.left);
        mutex_lock(&pool->mu);
        Status st = call_announce(pool, &call);
        mutex_unlock(&pool->mu);
        complain(st);
        call_work(pool, &call, false);
        mutex_lock(&pool->mu);
        Call **at = &pool->calls;
        while (*at != &call)
                at = &(*at)->next;
        *at = call.next;
        while (call.helpers > 0)
                cond_wait(&call.left, &pool->mu);
        mutex_unlock(&pool->mu);
        cond_done(&call.left);
}

Pool *pool_free(Pool *pool)
{
        if (!pool)
                return NULL;
        mutex_lock(&pool->mu);
        pool->ending = true;
        unsigned count = pool->thread_count;
        cond_broadcast(&pool->work);
        mutex_unlock(&pool->mu);
        for (unsigned i = 0; i < count; i++)
                thread_join(&pool->threads[i]);
        cond_done(&pool->work);
        mutex_done(&pool->mu);
        mem_free(pool);
        return NULL;
}
