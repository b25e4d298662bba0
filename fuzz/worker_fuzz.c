/* worker_fuzz.c - any bytes as frames of a worker process, in both directions: what is read lies within them, and what
 * was read is written and read again as the same. */
#include <stdlib.h>

#include "worker/frame.h"

#define REQUIRE(condition)                                                                                             \
        do {                                                                                                           \
                if (!(condition))                                                                                      \
                        abort();                                                                                       \
        } while (0)

static void inside(Bytes part, Bytes whole)
{
        REQUIRE(part.size == 0 || (part.data >= whole.data && part.data + part.size <= whole.data + whole.size));
}

static Bytes body_of(const Buf *frame)
{
        FrameHeader header;
        REQUIRE(!frame_header(frame->data, &header));
        REQUIRE(header.size == frame->size - FRAME_HEADER_BYTES);
        return BYTES(frame->data + FRAME_HEADER_BYTES, header.size);
}

static void try_js(Bytes body, Buf *out)
{
        JsCall call, again;
        if (!frame_read_js(body, &call))
                return;
        inside(call.source, body);
        inside(call.args, body);
        REQUIRE(!frame_write_js(out, &call));
        REQUIRE(bytes_equal(body_of(out), body));
        REQUIRE(frame_read_js(body_of(out), &again));
}

static void try_http(Bytes body, Buf *out)
{
        HttpCall call, again;
        Arena arena;
        arena_init(&arena, 0);
        if (frame_read_http(body, &arena, &call)) {
                inside(call.url, body);
                inside(call.data, body);
                for (size_t i = 0; i < call.header_count; i++)
                        inside(call.headers[i], body);
                REQUIRE(!frame_write_http(out, &call));
                REQUIRE(frame_read_http(body_of(out), &arena, &again));
                REQUIRE(again.header_count == call.header_count && bytes_equal(again.url, call.url));
        }
        arena_done(&arena);
}

static void try_answer(Bytes body, Buf *out)
{
        HttpAnswer answer;
        if (!frame_read_answer(body, &answer))
                return;
        inside(answer.body, body);
        inside(answer.headers, body);
        REQUIRE(!frame_write_answer(out, &answer, 0));
        REQUIRE(bytes_equal(body_of(out), body));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        FrameHeader header;
        Bytes text;
        Buf out;
        if (size < FRAME_HEADER_BYTES)
                return 0;
        status_ignore(frame_header(data, &header));
        Bytes body = BYTES(data + FRAME_HEADER_BYTES, size - FRAME_HEADER_BYTES);
        buf_init(&out, (size_t)64 << 20);
        try_js(body, &out);
        buf_clear(&out);
        try_http(body, &out);
        buf_clear(&out);
        try_answer(body, &out);
        if (frame_read_text(body, &text))
                inside(text, body);
        buf_done(&out);
        return 0;
}
