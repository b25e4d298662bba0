/* loop_int.h - what conn.c and loop.c share. */
#ifndef NETWORK_LOOP_INT_H
#define NETWORK_LOOP_INT_H

#include <stdatomic.h>

#include "network/conn.h"
#include "os/thread.h"

#define LOOP_SPARE_BUFS      64
#define LOOP_SPARE_BUF_BYTES ((size_t)32 << 10) /* larger output buffers are given back to the heap */

struct NetLoop {
        /* --- loop thread only --- */
        uv_loop_t uv;
        uv_async_t wake;
        uv_prepare_t prepare;
        unsigned index;
        void *shared;
        void (*before_wait)(void *shared);
        uint8_t *read_buffer; /* CONN_READ_BYTES */
        Conn *conns;          /* doubly linked */
        size_t conn_count;
        Conn *dirty;                /* to be looked at before the loop waits */
        Buf spare[LOOP_SPARE_BUFS]; /* empty, with memory */
        size_t spare_count;
        bool stopping;
        /* --- any thread --- */
        _Atomic(NetTask *) inbox; /* newest first */
        Thread thread;
        bool running;
};

void loop_send_dirty(NetLoop *loop); /* conn.c */
void loop_abort_all(NetLoop *loop);  /* conn.c */

#endif
