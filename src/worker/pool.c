/* pool.c - see pool.h. */
#include "worker/pool.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/mem.h"
#include "os/process.h"
#include "os/thread.h"
#include "worker/frame.h"

#define DEFAULT_IDLE_MS 60000
#define DEFAULT_HTTP    16
#define HELLO_MS        20000 /* a busy machine, a sanitized build */
#define LOOK_MS         10    /* how late a cancelled query is noticed */
#define RECEIVE_BYTES   65536
#define MS              INT64_C(1000000)

typedef enum WorkerKind { WORKER_JS, WORKER_HTTP, WORKER_KINDS } WorkerKind;

typedef struct Worker Worker;
struct Worker {
        Worker *next; /* of its kind: idle ones, the latest first */
        OsProcess *process;
        uint64_t session;
        int64_t idle_since_ns;
};

typedef struct Kind { /* --- GUARDED_BY(WorkerPool.mu) --- */
        Worker *idle;
        unsigned count; /* processes, those being started included */
        unsigned max;
        unsigned wanted;   /* the keeper is to start so many */
        unsigned starting; /* and is about it */
        unsigned waiting;  /* callers who wait for one */
        uint64_t failures; /* how often one did not start, and why the last time */
        char failure[256];
} Kind;

struct WorkerPool {
        Os *os;
        OutsideOps ops;
        const char *program;
        char *proxy;
        bool public_only, hooks;
        int64_t idle_ns;
        void (*waiting)(void *ctx, bool begins);
        void *waiting_ctx;
        Thread keeper;
        Mutex mu; /* order: docs/locks.md */
        Cond for_keeper, for_callers;
        bool has_keeper, ending;
        Kind kinds[WORKER_KINDS];
        Worker *ended; /* for the keeper to bury */
};

/* --- the keeper: processes begin and end --- */

/* The first word of a new process: empty if it is ready. */
static Status read_hello(OsProcess *process, Os *os)
{
        uint8_t bytes[FRAME_HEADER_BYTES + 1024];
        size_t have = 0, moved;
        FrameHeader header = {.size = sizeof bytes};
        Bytes text;
        for (int64_t end_ns = os_mono_ns(os) + HELLO_MS * MS; os_mono_ns(os) < end_ns;) {
                TRY(os_process_receive(process, bytes + have, sizeof bytes - have, 100, &moved));
                have += moved;
                if (have < FRAME_HEADER_BYTES)
                        continue;
                TRY(frame_header(bytes, &header));
                if (have < FRAME_HEADER_BYTES + header.size)
                        continue;
                if (header.kind != FRAME_HELLO || have != FRAME_HEADER_BYTES + header.size ||
                    !frame_read_text(BYTES(bytes + FRAME_HEADER_BYTES, header.size), &text))
                        return status_new(ERR_INVALID, "it does not speak our protocol");
                if (text.size)
                        return status_new(ERR_UNSUPPORTED, "%.*s", (int)text.size, (const char *)text.data);
                return ST_OK;
        }
        return status_new(ERR_BUSY, "it was not ready after %d seconds", HELLO_MS / 1000);
}

static Status start_worker(WorkerPool *pool, WorkerKind kind, Worker **ret_worker)
{
        char parent[24];
        _cleanup_(os_process_endp) OsProcess *process = NULL;
        snprintf(parent, sizeof parent, "%" PRId64, (int64_t)uv_os_getpid());
        const char *const argv[] = {"photondb",
                                    "worker",
                                    kind == WORKER_JS ? "js" : "http",
                                    parent,
                                    pool->proxy ? pool->proxy : "",
                                    pool->public_only ? "public" : "all",
                                    pool->hooks ? "hooks" : "no-hooks",
                                    NULL};
        TRY(os_process_start(pool->program, argv, &process));
        TRY(read_hello(process, pool->os));
        Worker *worker = mem_zalloc(sizeof *worker);
        if (!worker)
                return status_nomem();
        worker->process = take(process);
        *ret_worker = worker;
        return ST_OK;
}

static Worker *end_worker(Worker *worker)
{
        if (worker)
                os_process_end(worker->process);
        mem_free(worker);
        return NULL;
}

static void start_one(WorkerPool *pool, WorkerKind which) REQUIRES(pool->mu)
{
        Kind *kind = &pool->kinds[which];
        Worker *worker = NULL;
        kind->wanted--;
        kind->starting++;
        mutex_unlock(&pool->mu);
        Status st = start_worker(pool, which, &worker);
        char why[sizeof kind->failure];
        status_text(st, why, sizeof why);
        mutex_lock(&pool->mu);
        kind->starting--;
        if (st) {
                kind->count--;
                kind->failures++;
                memcpy(kind->failure, why, sizeof why);
                status_ignore(st);
        } else {
                worker->idle_since_ns = os_mono_ns(pool->os);
                worker->next = kind->idle;
                kind->idle = worker;
        }
        cond_broadcast(&pool->for_callers);
}

/* Takes those out that were idle for too long, or died. *ret_next_ns: when to look again. */
static Worker *take_old(WorkerPool *pool, Kind *kind, int64_t *next_ns) REQUIRES(pool->mu)
{
        Worker *old = NULL;
        int64_t now_ns = os_mono_ns(pool->os);
        for (Worker **at = &kind->idle; *at;) {
                Worker *worker = *at;
                int64_t left_ns = worker->idle_since_ns + pool->idle_ns - now_ns;
                if (left_ns > 0 && os_process_is_quiet(worker->process)) {
                        *next_ns = MIN(*next_ns, left_ns);
                        at = &worker->next;
                        continue;
                }
                *at = worker->next;
                worker->next = old;
                old = worker;
                kind->count--;
        }
        return old;
}

static void bury(WorkerPool *pool, Worker *workers) REQUIRES(pool->mu)
{
        mutex_unlock(&pool->mu);
        while (workers) {
                Worker *next = workers->next;
                end_worker(workers);
                workers = next;
        }
        mutex_lock(&pool->mu);
}

static void keeper_main(void *arg)
{
        WorkerPool *pool = arg;
        mutex_lock(&pool->mu);
        while (!pool->ending) {
                int64_t next_ns = INT64_MAX;
                Worker *old = take(pool->ended);
                for (int i = 0; i < WORKER_KINDS; i++) {
                        Worker *idle = take_old(pool, &pool->kinds[i], &next_ns);
                        while (idle) {
                                Worker *next = idle->next;
                                idle->next = old;
                                old = idle;
                                idle = next;
                        }
                }
                if (old) {
                        bury(pool, old);
                        continue;
                }
                bool started = false;
                for (int i = 0; i < WORKER_KINDS; i++)
                        if (pool->kinds[i].wanted) {
                                start_one(pool, (WorkerKind)i);
                                started = true;
                        }
                if (started)
                        continue;
                if (next_ns == INT64_MAX)
                        cond_wait(&pool->for_keeper, &pool->mu);
                else
                        (void)cond_wait_for(&pool->for_keeper, &pool->mu, (uint64_t)next_ns);
        }
        bury(pool, take(pool->ended));
        for (int i = 0; i < WORKER_KINDS; i++)
                bury(pool, take(pool->kinds[i].idle));
        mutex_unlock(&pool->mu);
}

/* --- taking one and giving it back --- */

static bool is_cancelled(const OutsideWait *wait)
{
        return atomic_load_explicit(wait->cancelled, memory_order_relaxed);
}

static Status cancelled(void)
{
        return status_new(ERR_CANCELLED, "The query was cancelled.");
}

/* The one that knows the session, else the latest. Dead ones are left to the keeper. */
static Worker *take_idle(WorkerPool *pool, Kind *kind, uint64_t session) REQUIRES(pool->mu)
{
        Worker **chosen = NULL;
        for (Worker **at = &kind->idle; *at;) {
                Worker *worker = *at;
                if (!os_process_is_quiet(worker->process)) {
                        *at = worker->next;
                        worker->next = pool->ended;
                        pool->ended = worker;
                        kind->count--;
                        cond_signal(&pool->for_keeper);
                        continue;
                }
                if (!chosen || (worker->session == session && (*chosen)->session != session))
                        chosen = at;
                at = &worker->next;
        }
        if (!chosen)
                return NULL;
        Worker *worker = *chosen;
        *chosen = worker->next;
        return worker;
}

static Status ensure_keeper(WorkerPool *pool) REQUIRES(pool->mu)
{
        if (pool->has_keeper)
                return ST_OK;
        TRY(thread_start(&pool->keeper, "keeper", keeper_main, pool));
        pool->has_keeper = true;
        return ST_OK;
}

static Status acquire(WorkerPool *pool, WorkerKind which, uint64_t session, const OutsideWait *wait,
                      Worker **ret_worker)
{
        Kind *kind = &pool->kinds[which];
        Worker *worker = NULL;
        mutex_lock(&pool->mu);
        Status st = ensure_keeper(pool);
        uint64_t failures = kind->failures;
        kind->waiting++;
        while (!st && !(worker = take_idle(pool, kind, session))) {
                if (is_cancelled(wait)) {
                        st = cancelled();
                } else if (kind->failures != failures) {
                        st = status_new(ERR_INTERNAL, "Cannot start a worker process: %s.", kind->failure);
                } else {
                        /* As many as can be used, not more than there may be. */
                        if (kind->count < kind->max && kind->wanted + kind->starting < kind->waiting) {
                                kind->count++;
                                kind->wanted++;
                                cond_signal(&pool->for_keeper);
                        }
                        (void)cond_wait_for(&pool->for_callers, &pool->mu, LOOK_MS * MS);
                }
        }
        kind->waiting--;
        mutex_unlock(&pool->mu);
        if (st)
                return st;
        worker->session = session;
        *ret_worker = worker;
        return ST_OK;
}

/* `usable` false: it is in an unknown state, so it ends. */
static void release(WorkerPool *pool, WorkerKind which, Worker *worker, bool usable)
{
        Kind *kind = &pool->kinds[which];
        mutex_lock(&pool->mu);
        if (usable) {
                worker->idle_since_ns = os_mono_ns(pool->os);
                worker->next = kind->idle;
                kind->idle = worker;
                if (!worker->next) /* it may be asleep without an end */
                        cond_signal(&pool->for_keeper);
        } else {
                worker->next = pool->ended;
                pool->ended = worker;
                kind->count--;
                cond_signal(&pool->for_keeper);
        }
        if (kind->waiting)
                cond_broadcast(&pool->for_callers);
        mutex_unlock(&pool->mu);
}

/* --- one question --- */

typedef struct Exchange {
        WorkerPool *pool;
        const OutsideWait *wait;
        OsProcess *process;
        int64_t end_ns;
        OutsideEnd end; /* when over */
        bool over;
} Exchange;

/* How long to wait next; sets `over` when the time is. */
static int wait_ms(Exchange *x)
{
        int64_t left_ms = (x->end_ns - os_mono_ns(x->pool->os) + MS - 1) / MS;
        if (left_ms > 0)
                return (int)MIN(left_ms, LOOK_MS);
        x->end = OUTSIDE_TIMED_OUT;
        x->over = true;
        return 0;
}

static Status after(Exchange *x, Status st)
{
        if (status_code(st) == ERR_CLOSED) {
                status_ignore(st);
                st = ST_OK;
                x->end = OUTSIDE_CRASHED;
                x->over = true;
        }
        if (!st && !x->over && is_cancelled(x->wait))
                return cancelled();
        return st;
}

static Status send_all(Exchange *x, Bytes bytes)
{
        for (size_t done = 0, moved; done < bytes.size && !x->over; done += moved) {
                moved = 0;
                int ms = wait_ms(x);
                if (!x->over)
                        TRY(after(x, os_process_send(x->process, bytes.data + done, bytes.size - done, ms, &moved)));
        }
        return ST_OK;
}

static Status receive_all(Exchange *x, uint8_t *out, size_t size)
{
        for (size_t done = 0, moved; done < size && !x->over; done += moved) {
                moved = 0;
                int ms = wait_ms(x);
                if (!x->over)
                        TRY(after(x, os_process_receive(x->process, out + done, size - done, ms, &moved)));
        }
        return ST_OK;
}

/* The answer's body goes to `in`, which grows with what has come, not with what is announced. */
static Status receive_body(Exchange *x, size_t size, Buf *in)
{
        while (size && !x->over) {
                size_t piece = MIN(size, MAX(RECEIVE_BYTES, in->size));
                TRY(buf_reserve(in, piece));
                TRY(receive_all(x, in->data + in->size, piece));
                in->size += piece;
                size -= piece;
        }
        return ST_OK;
}

/* Sends the frame in `question`, and puts the answer's body into `answer` (appended). */
static Status ask(WorkerPool *pool, WorkerKind which, uint64_t session, const OutsideWait *wait, Bytes question,
                  OutsideEnd *ret_end, FrameHeader *ret_header, Buf *answer)
{
        Worker *worker;
        uint8_t bytes[FRAME_HEADER_BYTES];
        TRY(acquire(pool, which, session, wait, &worker));
        int64_t now_ns = os_mono_ns(pool->os);
        Exchange x = {
                .pool = pool,
                .wait = wait,
                .process = worker->process,
                .end_ns = wait->timeout_ms > (uint64_t)(INT64_MAX - now_ns) / MS
                                  ? INT64_MAX
                                  : now_ns + (int64_t)wait->timeout_ms * MS,
        };
        Status st = send_all(&x, question);
        if (!st)
                st = receive_all(&x, bytes, sizeof bytes);
        if (!st && !x.over)
                st = frame_header(bytes, ret_header);
        if (!st && !x.over)
                st = receive_body(&x, ret_header->size, answer);
        if (status_code(st) == ERR_INVALID) { /* nonsense */
                status_ignore(st);
                st = ST_OK;
                x.end = OUTSIDE_CRASHED;
                x.over = true;
        }
        release(pool, which, worker, !st && !x.over && !(ret_header->flags & FRAME_LEAVING));
        *ret_end = x.over ? x.end : OUTSIDE_ANSWERED;
        return st;
}

/* The same, and whoever lends us the thread knows. */
static Status ask_outside(WorkerPool *pool, WorkerKind which, uint64_t session, const OutsideWait *wait,
                          const Buf *question, OutsideEnd *ret_end, FrameHeader *ret_header, Buf *answer)
{
        if (pool->waiting)
                pool->waiting(pool->waiting_ctx, true);
        Status st = ask(pool, which, session, wait, BYTES(question->data, question->size), ret_end, ret_header, answer);
        if (pool->waiting)
                pool->waiting(pool->waiting_ctx, false);
        return st;
}

static Status do_js(void *ctx, const JsCall *call, const OutsideWait *wait, OutsideEnd *ret_end, JsResult *ret_result,
                    Buf *text)
{
        FrameHeader header = {0};
        Bytes part;
        Buf question;
        size_t start = text->size;
        buf_init(&question, FRAME_MAX_BYTES + FRAME_HEADER_BYTES);
        Status st = frame_write_js(&question, call);
        if (!st)
                st = ask_outside(ctx, WORKER_JS, call->session, wait, &question, ret_end, &header, text);
        buf_done(&question);
        TRY(st);
        if (*ret_end != OUTSIDE_ANSWERED)
                return ST_OK;
        if (header.kind < FRAME_JS_VALUE || header.kind > FRAME_JS_ERROR ||
            !frame_read_text(BYTES(text->data + start, text->size - start), &part)) {
                *ret_end = OUTSIDE_CRASHED;
                return ST_OK;
        }
        *ret_result = header.kind == FRAME_JS_VALUE      ? JS_VALUE
                      : header.kind == FRAME_JS_FUNCTION ? JS_FUNCTION
                                                         : JS_ERROR;
        memmove(text->data + start, part.data, part.size);
        text->size = start + part.size;
        return ST_OK;
}

static Status do_http(void *ctx, const HttpCall *call, const OutsideWait *wait, OutsideEnd *ret_end, Buf *buffer,
                      HttpAnswer *ret_answer)
{
        FrameHeader header = {0};
        Buf question;
        size_t start = buffer->size;
        buf_init(&question, FRAME_MAX_BYTES + FRAME_HEADER_BYTES);
        Status st = frame_write_http(&question, call);
        if (!st)
                st = ask_outside(ctx, WORKER_HTTP, 0, wait, &question, ret_end, &header, buffer);
        buf_done(&question);
        TRY(st);
        if (*ret_end == OUTSIDE_ANSWERED &&
            (header.kind != FRAME_HTTP_ANSWER ||
             !frame_read_answer(BYTES(buffer->data + start, buffer->size - start), ret_answer)))
                *ret_end = OUTSIDE_CRASHED;
        return ST_OK;
}

/* --- the pool --- */

Status worker_pool_new(const WorkerPoolOptions *options, WorkerPool **ret_pool)
{
        WorkerPool *pool = mem_zalloc(sizeof *pool);
        if (!pool)
                return status_nomem();
        pool->os = options->os;
        pool->program = options->program;
        pool->public_only = options->http_public_only;
        pool->hooks = options->test_hooks;
        pool->waiting = options->waiting;
        pool->waiting_ctx = options->waiting_ctx;
        pool->idle_ns = (options->idle_ms ? options->idle_ms : DEFAULT_IDLE_MS) * MS;
        pool->kinds[WORKER_JS].max = options->js_max ? options->js_max : MAX(2, MIN(thread_core_count(), 16));
        pool->kinds[WORKER_HTTP].max = options->http_max ? options->http_max : DEFAULT_HTTP;
        pool->ops = (OutsideOps){
                .ctx = pool, .js = options->no_js ? NULL : do_js, .http = options->no_http ? NULL : do_http};
        mutex_init(&pool->mu);
        cond_init(&pool->for_keeper);
        cond_init(&pool->for_callers);
        if (options->http_proxy) {
                pool->proxy = mem_strdup(options->http_proxy);
                if (!pool->proxy) {
                        worker_pool_free(pool);
                        return status_nomem();
                }
        }
        *ret_pool = pool;
        return ST_OK;
}

const OutsideOps *worker_pool_ops(WorkerPool *pool)
{
        return &pool->ops;
}

unsigned worker_pool_count(WorkerPool *pool)
{
        unsigned count = 0;
        mutex_lock(&pool->mu);
        for (int i = 0; i < WORKER_KINDS; i++)
                count += pool->kinds[i].count;
        mutex_unlock(&pool->mu);
        return count;
}

WorkerPool *worker_pool_free(WorkerPool *pool)
{
        if (!pool)
                return NULL;
        mutex_lock(&pool->mu);
        pool->ending = true;
        bool joins = pool->has_keeper;
        cond_signal(&pool->for_keeper);
        mutex_unlock(&pool->mu);
        if (joins)
                thread_join(&pool->keeper);
        cond_done(&pool->for_callers);
        cond_done(&pool->for_keeper);
        mutex_done(&pool->mu);
        mem_free(pool->proxy);
        mem_free(pool);
        return NULL;
}
