/* worker.c - see worker.h. */
#define _GNU_SOURCE
#include "worker/worker.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "os/process.h"
#include "worker/frame.h"
#include "worker/http.h"
#include "worker/js.h"
#include "worker/sandbox.h"

#define LEAVE_CPU_SECONDS 60
#define KEEP_BYTES        ((size_t)1 << 20)

typedef struct Worker {
        SandboxKind kind;
        Js *js;
        Http *http;
        Buf in, out;
        Arena arena;
} Worker;

/* So that limits of the process as a whole are never what ends a script. */
static unsigned leaving(void)
{
        struct rusage used;
        getrusage(RUSAGE_SELF, &used);
        return used.ru_utime.tv_sec + used.ru_stime.tv_sec >= LEAVE_CPU_SECONDS ? FRAME_LEAVING : 0;
}

static Status answer_js(Worker *w, Bytes body)
{
        static const FrameKind kinds[] = {
                [JS_VALUE] = FRAME_JS_VALUE, [JS_FUNCTION] = FRAME_JS_FUNCTION, [JS_ERROR] = FRAME_JS_ERROR};
        JsCall call;
        JsResult result = JS_ERROR;
        size_t start;
        if (!frame_read_js(body, &call))
                return status_new(ERR_INVALID, "not a call");
        /* The text is one part: made in place, its size put in front afterwards. */
        TRY(frame_begin(&w->out, FRAME_JS_ERROR, 0, &start));
        size_t part = w->out.size;
        TRY(frame_part(&w->out, BYTES_NONE));
        Status st = js_run(w->js, &call, &result, &w->out);
        if (status_code(st) == ERR_LIMIT) { /* the answer is too large for a frame */
                status_ignore(st);
                result = JS_ERROR;
                st = buf_append_str(&w->out, "The result is too large.");
        }
        TRY(st);
        store_u32(w->out.data + part, (uint32_t)(w->out.size - part - 4));
        w->out.data[start + 4] = (uint8_t)kinds[result];
        w->out.data[start + 5] = (uint8_t)leaving();
        js_rest(w->js);
        return frame_end(&w->out, start);
}

static Status answer_http(Worker *w, Bytes body)
{
        HttpCall call;
        HttpAnswer answer;
        if (!frame_read_http(body, &w->arena, &call))
                return status_new(ERR_INVALID, "not a call");
        TRY(http_run(w->http, &call, &answer));
        return frame_write_answer(&w->out, &answer, leaving());
}

/* A hook of the tests: the question asks the process to break out in one way, which must be its end. */
static void try_to_escape(Bytes how)
{
        long done = -1;
        if (bytes_equal(how, BYTES_STR("open")))
                done = open("/etc/passwd", O_RDONLY);
        else if (bytes_equal(how, BYTES_STR("write")))
                done = open("/tmp/escaped", O_WRONLY | O_CREAT, 0600);
        else if (bytes_equal(how, BYTES_STR("socket")))
                done = socket(AF_INET, SOCK_STREAM, 0);
        else if (bytes_equal(how, BYTES_STR("unix")))
                done = socket(AF_UNIX, SOCK_STREAM, 0);
        else if (bytes_equal(how, BYTES_STR("exec")))
                done = execl("/bin/true", "true", (char *)NULL);
        else if (bytes_equal(how, BYTES_STR("fork")))
                done = fork();
        (void)done;
}

static Status answer_one(Worker *w, bool hooks, const FrameHeader *header, Bytes body)
{
        JsCall call;
        if (hooks && header->kind == FRAME_JS && frame_read_js(body, &call) && call.is_call &&
            bytes_equal(call.source, BYTES_STR("escape"))) {
                try_to_escape(call.args);
                return frame_write_text(&w->out, FRAME_JS_ERROR, 0, BYTES_STR("refused, and still here"));
        }
        if (header->kind == FRAME_JS && w->js)
                return answer_js(w, body);
        if (header->kind == FRAME_HTTP && w->http)
                return answer_http(w, body);
        return status_new(ERR_INVALID, "not a question");
}

static void shrink(Buf *buf)
{
        size_t most = buf->max_bytes;
        if (buf->capacity > KEEP_BYTES) {
                buf_done(buf);
                buf_init(buf, most);
        }
        buf_clear(buf);
}

static Status serve_one(Worker *w, bool hooks)
{
        uint8_t bytes[FRAME_HEADER_BYTES];
        FrameHeader header;
        if (!os_child_read(bytes, sizeof bytes))
                return status_new(ERR_CLOSED, "the server is gone");
        TRY(frame_header(bytes, &header));
        TRY(buf_reserve(&w->in, header.size));
        if (!os_child_read(w->in.data, header.size))
                return status_new(ERR_CLOSED, "the server is gone");
        TRY(answer_one(w, hooks, &header, BYTES(w->in.data, header.size)));
        if (!os_child_write(w->out.data, w->out.size))
                return status_new(ERR_CLOSED, "the server is gone");
        shrink(&w->in);
        shrink(&w->out);
        arena_reset(&w->arena);
        return ST_OK;
}

static Status prepare(Worker *w, int argc, char **argv)
{
        HttpOptions options = {.proxy = argc > 2 ? argv[2] : "",
                               .public_only = argc > 3 && strcmp(argv[3], "public") == 0};
        TRY(sandbox_attach(strtoll(argv[1], NULL, 10)));
        if (chdir("/") != 0)
                return status_new(ERR_IO, "no root directory");
        if (w->kind == SANDBOX_JS)
                TRY(js_new(&w->js));
        else
                TRY(http_new(&options, &w->http));
        return sandbox_enter(w->kind);
}

static Status say_hello(Worker *w, Status refusal)
{
        char text[512] = "";
        if (refusal)
                status_text(refusal, text, sizeof text);
        TRY(frame_write_text(&w->out, FRAME_HELLO, 0, BYTES_STR(text)));
        bool sent = os_child_write(w->out.data, w->out.size);
        buf_clear(&w->out);
        return sent ? ST_OK : status_new(ERR_CLOSED, "the server is gone");
}

/* Ends by _exit: at-exit handlers of libraries would only meet the filter. */
int worker_main(int argc, char **argv)
{
        Worker w = {0};
        if (argc < 2 || (strcmp(argv[0], "js") != 0 && strcmp(argv[0], "http") != 0))
                return 2;
        bool hooks = argc > 4 && strcmp(argv[4], "hooks") == 0;
        w.kind = strcmp(argv[0], "js") == 0 ? SANDBOX_JS : SANDBOX_HTTP;
        buf_init(&w.in, FRAME_MAX_BYTES);
        buf_init(&w.out, FRAME_MAX_BYTES + FRAME_HEADER_BYTES);
        arena_init(&w.arena, 0);
        Status refusal = prepare(&w, argc, argv);
        Status st = say_hello(&w, refusal);
        while (!st && !refusal)
                st = serve_one(&w, hooks);
        _exit(status_code(st) == ERR_CLOSED ? 0 : 1);
}
