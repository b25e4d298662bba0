/* loop.c - see loop.h. */
#include "network/loop_int.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

static Status uv_failed(int err, const char *what)
{
        return err == UV_ENOMEM ? status_nomem() : status_new(ERR_IO, "%s: %s", what, uv_strerror(err));
}

/* The inbox is a stack that producers push on with one compare-and-swap; the loop takes it whole and turns it round,
 * which gives the order of posting. */
void net_loop_post(NetLoop *loop, NetTask *task)
{
        NetTask *first = atomic_load_explicit(&loop->inbox, memory_order_relaxed);
        do {
                task->next = first;
        } while (!atomic_compare_exchange_weak_explicit(&loop->inbox, &first, task, memory_order_release,
                                                        memory_order_relaxed));
        if (!first)
                uv_async_send(&loop->wake); /* a non-empty inbox has its wake-up under way */
}

static void run_inbox(uv_async_t *wake)
{
        NetLoop *loop = wake->data;
        NetTask *newest = atomic_exchange_explicit(&loop->inbox, NULL, memory_order_acquire), *task = NULL;
        while (newest) {
                NetTask *next = newest->next;
                newest->next = task;
                task = newest;
                newest = next;
        }
        while (task) {
                NetTask *next = task->next; /* the task may be gone once it has run */
                task->run(task);
                task = next;
        }
}

static void before_wait(uv_prepare_t *prepare)
{
        NetLoop *loop = prepare->data;
        do {
                loop_send_dirty(loop);
                if (loop->before_wait)
                        loop->before_wait(loop->shared);
        } while (loop->dirty);
        if (loop->stopping && loop->conn_count == 0 && !uv_is_closing((uv_handle_t *)&loop->wake)) {
                uv_close((uv_handle_t *)&loop->wake, NULL);
                uv_close((uv_handle_t *)prepare, NULL);
        }
}

Status net_loop_new(unsigned index, NetLoop **ret_loop)
{
        NetLoop *loop = mem_zalloc(sizeof(*loop));
        if (!loop)
                return status_nomem();
        loop->index = index;
        loop->read_buffer = mem_alloc(CONN_READ_BYTES);
        int err = loop->read_buffer ? uv_loop_init(&loop->uv) : UV_ENOMEM;
        if (err) {
                mem_free(loop->read_buffer);
                mem_free(loop);
                return uv_failed(err, "cannot make an event loop");
        }
        err = uv_async_init(&loop->uv, &loop->wake, run_inbox);
        if (err) {
                uv_loop_close(&loop->uv);
                mem_free(loop->read_buffer);
                mem_free(loop);
                return uv_failed(err, "cannot make an event loop");
        }
        uv_prepare_init(&loop->uv, &loop->prepare);
        uv_prepare_start(&loop->prepare, before_wait);
        loop->wake.data = loop->prepare.data = loop;
        *ret_loop = loop;
        return ST_OK;
}

static void loop_main(void *arg)
{
        NetLoop *loop = arg;
        uv_run(&loop->uv, UV_RUN_DEFAULT);
}

Status net_loop_start(NetLoop *loop)
{
        char name[16];
        snprintf(name, sizeof(name), "loop-%u", loop->index);
        TRY(thread_start(&loop->thread, name, loop_main, loop));
        loop->running = true;
        return ST_OK;
}

typedef struct Call {
        NetTask task;
        void (*what)(void *arg);
        void *arg;
        uv_sem_t done;
} Call;
static void run_call(NetTask *task)
{
        Call *call = (Call *)task;
        call->what(call->arg);
        uv_sem_post(&call->done);
}

void net_loop_call(NetLoop *loop, void (*what)(void *arg), void *arg)
{
        assert(loop->running);
        Call call = {.task.run = run_call, .what = what, .arg = arg};
        if (uv_sem_init(&call.done, 0) != 0)
                abort(); /* fails only for wrong arguments */
        net_loop_post(loop, &call.task);
        uv_sem_wait(&call.done);
        uv_sem_destroy(&call.done);
}

static void stop_loop(void *arg)
{
        NetLoop *loop = arg;
        loop->stopping = true;
        loop_abort_all(loop);
}

NetLoop *net_loop_free(NetLoop *loop)
{
        if (!loop)
                return NULL;
        if (loop->running) {
                net_loop_call(loop, stop_loop, loop);
                thread_join(&loop->thread);
        } else {
                loop->stopping = true;
                uv_run(&loop->uv, UV_RUN_DEFAULT); /* closes our own handles */
        }
        int err = uv_loop_close(&loop->uv);
        assert(err == 0); /* whoever opened a handle on this loop has closed it */
        (void)err;
        for (size_t i = 0; i < loop->spare_count; i++)
                buf_done(&loop->spare[i]);
        mem_free(loop->read_buffer);
        mem_free(loop);
        return NULL;
}

uv_loop_t *net_loop_uv(NetLoop *loop)
{
        return &loop->uv;
}

unsigned net_loop_index(const NetLoop *loop)
{
        return loop->index;
}

void net_loop_set_shared(NetLoop *loop, void *shared, void (*before_wait)(void *shared))
{
        loop->shared = shared;
        loop->before_wait = before_wait;
}

void *net_loop_shared(const NetLoop *loop)
{
        return loop->shared;
}

size_t net_loop_conn_count(const NetLoop *loop)
{
        return loop->conn_count;
}
