/* Frames: what is written is read; anything else is refused, never read beyond. */
#include "base/check.h"

#include "worker/frame.h"

#include <stdlib.h>

#include "base/mem.h"

static Bytes body_of(const Buf *frame, FrameKind kind)
{
        FrameHeader header;
        OK(frame_header(frame->data, &header));
        assert_int_equal(header.kind, kind);
        assert_int_equal(header.size, frame->size - FRAME_HEADER_BYTES);
        return BYTES(frame->data + FRAME_HEADER_BYTES, header.size);
}

static void test_js(void **state)
{
        Buf buf;
        JsCall call = {.session = 7, .is_call = true, .source = BYTES_STR("x => x"), .args = BYTES_STR("[1]")}, back;
        buf_init(&buf, 1 << 20);
        OK(frame_write_js(&buf, &call));
        assert_true(frame_read_js(body_of(&buf, FRAME_JS), &back));
        assert_int_equal(back.session, 7);
        assert_true(back.is_call && bytes_equal(back.source, call.source) && bytes_equal(back.args, call.args));
        for (size_t cut = 0; cut < buf.size - FRAME_HEADER_BYTES; cut++)
                assert_false(frame_read_js(BYTES(buf.data + FRAME_HEADER_BYTES, cut), &back));
        buf_done(&buf);
}

static void test_http(void **state)
{
        Buf buf;
        Arena arena;
        const Bytes lines[] = {BYTES_STR("A: b"), BYTES_STR("C: d")};
        HttpCall call = {.method = "PUT",
                         .url = BYTES_STR("http://x/"),
                         .headers = lines,
                         .header_count = 2,
                         .data = BYTES_STR("data"),
                         .auth = HTTP_AUTH_DIGEST,
                         .user = BYTES_STR("u"),
                         .password = BYTES_STR("p"),
                         .attempts = 3,
                         .redirects = 2,
                         .verify = true};
        HttpCall back;
        arena_init(&arena, 0);
        buf_init(&buf, 1 << 20);
        OK(frame_write_http(&buf, &call));
        assert_true(frame_read_http(body_of(&buf, FRAME_HTTP), &arena, &back));
        assert_string_equal(back.method, "PUT");
        assert_int_equal(back.header_count, 2);
        assert_true(bytes_equal(back.headers[1], lines[1]) && bytes_equal(back.data, call.data));
        assert_true(back.verify && back.attempts == 3 && back.redirects == 2 && back.auth == HTTP_AUTH_DIGEST);
        assert_int_equal(back.cookies.size, 0);
        buf_clear(&buf);
        call.data = BYTES_NONE;
        OK(frame_write_http(&buf, &call));
        assert_true(frame_read_http(body_of(&buf, FRAME_HTTP), &arena, &back));
        assert_null(back.data.data);
        buf_done(&buf);
        arena_done(&arena);
}

static void test_answer(void **state)
{
        Buf buf;
        HttpAnswer answer = {.status = 200, .headers = BYTES_STR("HTTP/1.1 200 OK\r\n"), .body = BYTES_STR("{}")}, back;
        buf_init(&buf, 1 << 20);
        OK(frame_write_answer(&buf, &answer, FRAME_LEAVING));
        assert_int_equal(buf.data[5], FRAME_LEAVING);
        assert_true(frame_read_answer(body_of(&buf, FRAME_HTTP_ANSWER), &back));
        assert_int_equal(back.status, 200);
        assert_true(bytes_equal(back.body, answer.body));
        assert_false(frame_read_answer(BYTES(buf.data + FRAME_HEADER_BYTES, buf.size - FRAME_HEADER_BYTES - 1), &back));
        buf_done(&buf);
}

static void test_refused(void **state)
{
        FrameHeader header;
        const uint8_t bad[][FRAME_HEADER_BYTES] = {
                {0, 0, 0, 0, 0, 0, 0, 0},             /* no kind */
                {0, 0, 0, 0, 8, 0, 0, 0},             /* unknown */
                {0, 0, 0, 0, 1, 2, 0, 0},             /* unknown flag */
                {0, 0, 0, 0, 1, 0, 1, 0},             /* not zero */
                {0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0}, /* too large */
        };
        for (size_t i = 0; i < ELEMENTS(bad); i++) {
                Status st = frame_header(bad[i], &header);
                assert_true(status_code(st) == (i == 4 ? ERR_LIMIT : ERR_INVALID));
                status_free(st);
        }
        Bytes text;
        const uint8_t long_part[] = {0xff, 0xff, 0xff, 0xff, 'x'};
        assert_false(frame_read_text(BYTES(long_part, sizeof long_part), &text));
}

static void test_memory(void **state)
{
        for (long n = 1, fired = 1; fired; n++) {
                Buf buf;
                JsCall call = {.source = BYTES_STR("1"), .args = BYTES_STR("[]")};
                buf_init(&buf, 1 << 20);
                mem_fail_nth(n);
                Status st = frame_write_js(&buf, &call);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                assert_true(fired ? status_code(st) == ERR_NOMEM : st == ST_OK);
                status_free(st);
                buf_done(&buf);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_js),      cmocka_unit_test(test_http),   cmocka_unit_test(test_answer),
                cmocka_unit_test(test_refused), cmocka_unit_test(test_memory),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
