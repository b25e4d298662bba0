/* answer.c - see answer.h. */
#include "server/answer.h"

#include <stdio.h>

#include "value/json.h"

ErrorClass error_class(StatusCode code)
{
        enum {
                INTERNAL = 1000000,
                RESOURCE = 2000000,
                LOGIC = 3000000,
                NON_EXISTENCE = 3100000,
                OP_FAILED = 4100000,
                OP_INDETERMINATE = 4200000,
                CONFLICT = 4300000, /* ours: docs/transactions.md */
                USER = 5000000,
                PERMISSION = 6000000
        };
        static const struct {
                StatusCode code;
                ErrorClass class;
        } table[] = {
                {ERR_NOMEM, {T_RUNTIME_ERROR, RESOURCE}},
                {ERR_IO, {T_RUNTIME_ERROR, OP_FAILED}},
                {ERR_NO_SPACE, {T_RUNTIME_ERROR, OP_FAILED}},
                {ERR_CORRUPT, {T_RUNTIME_ERROR, OP_FAILED}},
                {ERR_VERSION, {T_RUNTIME_ERROR, OP_FAILED}},
                {ERR_BUSY, {T_RUNTIME_ERROR, OP_FAILED}},
                {ERR_CLOSED, {T_RUNTIME_ERROR, OP_INDETERMINATE}},
                {ERR_ACCESS, {T_RUNTIME_ERROR, PERMISSION}},
                {ERR_INVALID, {T_RUNTIME_ERROR, LOGIC}},
                {ERR_NOT_FOUND, {T_RUNTIME_ERROR, OP_FAILED}},
                {ERR_EXISTS, {T_RUNTIME_ERROR, OP_FAILED}},
                {ERR_LIMIT, {T_RUNTIME_ERROR, RESOURCE}},
                {ERR_UNSUPPORTED, {T_RUNTIME_ERROR, LOGIC}},
                {ERR_AUTH, {T_RUNTIME_ERROR, PERMISSION}},
                {ERR_CLIENT, {T_CLIENT_ERROR, 0}},
                {ERR_COMPILE, {T_COMPILE_ERROR, 0}},
                {ERR_INTERNAL, {T_RUNTIME_ERROR, INTERNAL}},
                {ERR_RESOURCE, {T_RUNTIME_ERROR, RESOURCE}},
                {ERR_LOGIC, {T_RUNTIME_ERROR, LOGIC}},
                {ERR_NON_EXISTENCE, {T_RUNTIME_ERROR, NON_EXISTENCE}},
                {ERR_OP_FAILED, {T_RUNTIME_ERROR, OP_FAILED}},
                {ERR_OP_INDETERMINATE, {T_RUNTIME_ERROR, OP_INDETERMINATE}},
                {ERR_USER, {T_RUNTIME_ERROR, USER}},
                {ERR_PERMISSION, {T_RUNTIME_ERROR, PERMISSION}},
                {ERR_CONFLICT, {T_RUNTIME_ERROR, CONFLICT}},
                {ERR_CANCELLED, {T_RUNTIME_ERROR, OP_INDETERMINATE}},
        };
        for (size_t i = 0; i < ELEMENTS(table); i++)
                if (table[i].code == code)
                        return table[i].class;
        return (ErrorClass){T_RUNTIME_ERROR, INTERNAL};
}

static Status begin(Buf *out, uint64_t token, const char *body, size_t body_size)
{
        TRY(buf_reserve(out, FRAME_HEAD_BYTES + body_size));
        store_u64(out->data + out->size, token);
        memcpy(out->data + out->size + FRAME_HEAD_BYTES, body, body_size);
        out->size += FRAME_HEAD_BYTES + body_size;
        return ST_OK;
}

static void end(Buf *out, size_t start)
{
        store_u32(out->data + start + 8,
                  (uint32_t)(out->size - start - FRAME_HEAD_BYTES)); /* an output buffer is below 4 GiB */
}

/* ,"at":{...} of a text query */
static Status append_place(const Query *query, Buf *out)
{
        size_t before = out->size;
        bool has = false;
        TRY(buf_append_str(out, ",\"at\":"));
        TRY(query_error_place(query, out, &has));
        if (!has)
                out->size = before;
        return ST_OK;
}

/* At most one of `query` and `feed` is given. */
static Status append_error(Buf *out, uint64_t token, Status error, const Query *query, const FeedCursor *feed)
{
        char head[64], text[2048];
        size_t start = out->size;
        StatusCode code = status_code(error);
        ErrorClass class = error_class(code);
        int size = class.e ? snprintf(head, sizeof(head), "{\"t\":%d,\"e\":%d,\"r\":[", class.t, class.e)
                           : snprintf(head, sizeof(head), "{\"t\":%d,\"r\":[", class.t);
        TRY(begin(out, token, head, (size_t)size));
        /* Query errors are RethinkDB's sentences, which applications compare; the world's failures tell their story. */
        const char *message = code >= ERR_CLIENT ? status_message(error) : status_text(error, text, sizeof(text));
        TRY(json_write_message(BYTES_STR(message), out));
        TRY(buf_append_str(out, "],\"b\":"));
        if (query)
                TRY(query_backtrace(query, out));
        else if (feed)
                TRY(feed_cursor_backtrace(feed, out));
        else
                TRY(buf_append_str(out, "[]"));
        if (query)
                TRY(append_place(query, out));
        TRY(buf_append_byte(out, '}'));
        end(out, start);
        return ST_OK;
}

static Status try_error(Buf *out, uint64_t token, Status error, const Query *query, const FeedCursor *feed)
{
        size_t start = out->size;
        Status st = append_error(out, token, error, query, feed);
        if (st)
                out->size = start;
        return st;
}

Status answer_error(Buf *out, uint64_t token, Status error, const Query *query)
{
        return try_error(out, token, error, query, NULL);
}

Status answer_error_text(Buf *out, uint64_t token, StatusCode code, const char *format, ...)
{
        char message[256];
        va_list args;
        va_start(args, format);
        vsnprintf(message, sizeof(message), format, args);
        va_end(args);
        Status error = status_new(code, "%s", message);
        Status st = answer_error(out, token, error, NULL);
        status_free(error);
        return st;
}

Status answer_body(Buf *out, uint64_t token, const char *body)
{
        size_t start = out->size;
        TRY(begin(out, token, body, strlen(body)));
        end(out, start);
        return ST_OK;
}

static const char batch_head[] = "{\"t\":0,\"r\":[";

/* What is known only behind the rows. */
static void set_type(Buf *out, size_t start, QueryAnswer answer)
{
        enum { DIGIT_AT = FRAME_HEAD_BYTES + 5 };
        int type = answer == ANSWER_ATOM ? T_ATOM : answer == ANSWER_SEQUENCE ? T_SEQUENCE : T_PARTIAL;
        out->data[start + DIGIT_AT] = (uint8_t)('0' + type);
}

static Status append_batch(Query *query, uint64_t token, Buf *out, QueryAnswer *ret_answer, bool *ret_empty)
{
        size_t start = out->size;
        TRY(begin(out, token, batch_head, sizeof(batch_head) - 1));
        size_t before_rows = out->size;
        QueryAnswer answer;
        TRY(query_next(query, out, &answer));
        *ret_empty = out->size == before_rows;
        set_type(out, start, answer);
        TRY(buf_append_byte(out, ']'));
        size_t before_profile = out->size;
        bool has_profile = false;
        TRY(buf_append(out, ",\"p\":", 5));
        TRY(query_profile(query, out, &has_profile));
        if (!has_profile)
                out->size = before_profile;
        if (answer != ANSWER_ATOM) {
                TRY(buf_append(out, ",\"n\":[", 6));
                TRY(query_notes(query, out));
                TRY(buf_append_byte(out, ']'));
        }
        TRY(buf_append_byte(out, '}'));
        end(out, start);
        *ret_answer = answer;
        return ST_OK;
}

static Status append_feed(FeedCursor *feed, uint64_t token, Buf *out, QueryAnswer *ret_answer, bool *ret_empty)
{
        size_t start = out->size;
        TRY(begin(out, token, batch_head, sizeof(batch_head) - 1));
        size_t before_rows = out->size;
        TRY(feed_cursor_next(feed, out, ret_answer));
        *ret_empty = out->size == before_rows;
        set_type(out, start, *ret_answer);
        TRY(buf_append_str(out, "],\"n\":["));
        TRY(feed_cursor_notes(feed, out));
        TRY(buf_append_str(out, "]}"));
        end(out, start);
        return ST_OK;
}

/* Takes `error`: of appending a batch behind `start`. */
static Status instead(Status error, uint64_t token, Buf *out, size_t start, const Query *query, const FeedCursor *feed,
                      StatusCode *ret_error)
{
        *ret_error = status_code(error);
        if (likely(!error))
                return ST_OK;
        out->size = start;
        Status st = ST_OK;
        if (*ret_error != ERR_CANCELLED)
                st = try_error(out, token, error, query, feed);
        status_free(error);
        return st;
}

Status answer_batch(Query *query, uint64_t token, Buf *out, QueryAnswer *ret_answer, StatusCode *ret_error,
                    bool *ret_empty)
{
        size_t start = out->size;
        Status error = append_batch(query, token, out, ret_answer, ret_empty);
        return instead(error, token, out, start, query, NULL, ret_error);
}

Status answer_feed(FeedCursor *feed, uint64_t token, Buf *out, QueryAnswer *ret_answer, StatusCode *ret_error,
                   bool *ret_empty)
{
        size_t start = out->size;
        Status error = append_feed(feed, token, out, ret_answer, ret_empty);
        return instead(error, token, out, start, NULL, feed, ret_error);
}
