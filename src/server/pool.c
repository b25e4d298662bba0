/* pool.c - see pool.h. */
#include "server/pool.h"

#include <stdio.h>

#include "base/log.h"
#include "base/mem.h"
#include "os/thread.h"

#define MAX_THREADS 256

struct Pool {
        unsigned max_threads;
        Thread threads[MAX_THREADS]; /* the first thread_count run */
        Mutex mu;                    /* order: docs/locks.md */
        Cond work;
        /* --- GUARDED_BY(mu): clang reads the attribute in C++ only --- */
        PoolTask *first;
        PoolTask **last;
        unsigned thread_count, idle_count, queued, blocked;
        bool ending;
};

static void worker_main(void *arg)
{
        Pool *pool = arg;
        mutex_lock(&pool->mu);
        for (;;) {
                while (!pool->first && !pool->ending) {
                        pool->idle_count++;
                        cond_wait(&pool->work, &pool->mu);
                        pool->idle_count--;
                }
                PoolTask *task = pool->first;
                if (!task)
                        break;
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
