/* frame.c - see frame.h. */
#include "worker/frame.h"

Status frame_header(const uint8_t bytes[FRAME_HEADER_BYTES], FrameHeader *ret_header)
{
        *ret_header = (FrameHeader){.size = load_u32(bytes), .kind = bytes[4], .flags = bytes[5]};
        if (load_u16(bytes + 6) != 0 || ret_header->kind < FRAME_HELLO || ret_header->kind > FRAME_HTTP_ANSWER ||
            ret_header->flags > FRAME_LEAVING)
                return status_new(ERR_INVALID, "bytes that are no frame");
        if (ret_header->size > FRAME_MAX_BYTES)
                return status_new(ERR_LIMIT, "a frame of %zu bytes is too large", ret_header->size);
        return ST_OK;
}

/* --- writing --- */

Status frame_begin(Buf *out, FrameKind kind, unsigned flags, size_t *ret_start)
{
        uint8_t header[FRAME_HEADER_BYTES] = {[4] = (uint8_t)kind, [5] = (uint8_t)flags};
        *ret_start = out->size;
        return buf_append(out, header, sizeof header);
}

Status frame_part(Buf *out, Bytes part)
{
        uint8_t size[4];
        if (part.size > FRAME_MAX_BYTES)
                return status_new(ERR_LIMIT, "%zu bytes are too large to be sent to a worker process", part.size);
        store_u32(size, (uint32_t)part.size);
        TRY(buf_append(out, size, sizeof size));
        return buf_append(out, part.data, part.size);
}

Status frame_number(Buf *out, uint64_t number)
{
        uint8_t bytes[8];
        store_u64(bytes, number);
        return frame_part(out, BYTES(bytes, sizeof bytes));
}

Status frame_end(Buf *out, size_t start)
{
        size_t size = out->size - start - FRAME_HEADER_BYTES;
        if (size > FRAME_MAX_BYTES)
                return status_new(ERR_LIMIT, "%zu bytes are too large for a worker process", size);
        store_u32(out->data + start, (uint32_t)size);
        return ST_OK;
}

Status frame_write_js(Buf *out, const JsCall *call)
{
        size_t start;
        TRY(frame_begin(out, FRAME_JS, 0, &start));
        TRY(frame_number(out, call->session));
        TRY(frame_number(out, call->is_call));
        TRY(frame_part(out, call->source));
        TRY(frame_part(out, call->args));
        return frame_end(out, start);
}

Status frame_write_http(Buf *out, const HttpCall *call)
{
        size_t start;
        TRY(frame_begin(out, FRAME_HTTP, 0, &start));
        TRY(frame_part(out, BYTES_STR(call->method)));
        TRY(frame_part(out, call->url));
        TRY(frame_number(out, call->data.data != NULL));
        TRY(frame_part(out, call->data));
        TRY(frame_number(out, call->auth));
        TRY(frame_part(out, call->user));
        TRY(frame_part(out, call->password));
        TRY(frame_number(out, call->attempts));
        TRY(frame_number(out, call->redirects));
        TRY(frame_number(out, call->verify));
        TRY(frame_part(out, call->cookies));
        for (size_t i = 0; i < call->header_count; i++)
                TRY(frame_part(out, call->headers[i]));
        return frame_end(out, start);
}

Status frame_write_answer(Buf *out, const HttpAnswer *answer, unsigned flags)
{
        size_t start;
        TRY(frame_begin(out, FRAME_HTTP_ANSWER, flags, &start));
        TRY(frame_number(out, answer->failed));
        TRY(frame_number(out, answer->status));
        TRY(frame_part(out, answer->error));
        TRY(frame_part(out, answer->headers));
        TRY(frame_part(out, answer->content_type));
        TRY(frame_part(out, answer->cookies));
        TRY(frame_part(out, answer->body));
        return frame_end(out, start);
}

Status frame_write_text(Buf *out, FrameKind kind, unsigned flags, Bytes text)
{
        size_t start;
        TRY(frame_begin(out, kind, flags, &start));
        TRY(frame_part(out, text));
        return frame_end(out, start);
}

/* --- reading --- */

static bool next_part(Bytes *rest, Bytes *ret_part)
{
        if (rest->size < 4)
                return false;
        size_t size = load_u32(rest->data);
        if (size > rest->size - 4)
                return false;
        *ret_part = BYTES(rest->data + 4, size);
        *rest = BYTES(rest->data + 4 + size, rest->size - 4 - size);
        return true;
}

static bool next_number(Bytes *rest, uint64_t most, uint64_t *ret_number)
{
        Bytes part;
        if (!next_part(rest, &part) || part.size != 8)
                return false;
        *ret_number = load_u64(part.data);
        return *ret_number <= most;
}

static bool next_bool(Bytes *rest, bool *ret)
{
        uint64_t number;
        if (!next_number(rest, 1, &number))
                return false;
        *ret = number == 1;
        return true;
}

bool frame_read_js(Bytes body, JsCall *ret_call)
{
        *ret_call = (JsCall){0};
        return next_number(&body, UINT64_MAX, &ret_call->session) && next_bool(&body, &ret_call->is_call) &&
               next_part(&body, &ret_call->source) && next_part(&body, &ret_call->args) && body.size == 0;
}

bool frame_read_http(Bytes body, Arena *arena, HttpCall *ret_call)
{
        Bytes method, data;
        bool has_data;
        uint64_t auth, redirects;
        *ret_call = (HttpCall){0};
        if (!next_part(&body, &method) || !next_part(&body, &ret_call->url) || !next_bool(&body, &has_data) ||
            !next_part(&body, &data) || !next_number(&body, HTTP_AUTH_DIGEST, &auth) ||
            !next_part(&body, &ret_call->user) || !next_part(&body, &ret_call->password) ||
            !next_number(&body, UINT64_MAX, &ret_call->attempts) || !next_number(&body, UINT32_MAX, &redirects) ||
            !next_bool(&body, &ret_call->verify) || !next_part(&body, &ret_call->cookies))
                return false;
        ret_call->method = arena_dup(arena, method.data, method.size);
        ret_call->auth = (HttpAuth)auth;
        ret_call->redirects = (uint32_t)redirects;
        if (has_data)
                ret_call->data = data;
        Bytes rest = body, line;
        size_t count = 0;
        while (rest.size && count < FRAME_MAX_HEADERS && next_part(&rest, &line))
                count++;
        if (rest.size)
                return false;
        Bytes *headers = arena_array(arena, Bytes, count + 1);
        for (size_t i = 0; i < count; i++)
                if (!next_part(&body, &headers[i]))
                        return false;
        ret_call->headers = headers;
        ret_call->header_count = count;
        return true;
}

bool frame_read_answer(Bytes body, HttpAnswer *ret_answer)
{
        uint64_t status;
        *ret_answer = (HttpAnswer){0};
        if (!next_bool(&body, &ret_answer->failed) || !next_number(&body, 999, &status) ||
            !next_part(&body, &ret_answer->error) || !next_part(&body, &ret_answer->headers) ||
            !next_part(&body, &ret_answer->content_type) || !next_part(&body, &ret_answer->cookies) ||
            !next_part(&body, &ret_answer->body) || body.size)
                return false;
        ret_answer->status = (uint32_t)status;
        return true;
}

bool frame_read_text(Bytes body, Bytes *ret_text)
{
        return next_part(&body, ret_text) && body.size == 0;
}
