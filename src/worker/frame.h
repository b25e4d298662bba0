/* frame.h - what the server and a worker process say to each other: frames of parts.
 *
 *      0      4      5       6      8
 *      | size | kind | flags | zero | part part ...          little-endian; size: bytes after the header
 *      a part:  | size u32 | bytes |                         a number is a part of 8 bytes
 *
 * A worker says HELLO once it is locked in (one part: why it refuses to work; empty if it does not), then answers each
 * JS or HTTP with one frame. Both sides check what they read: a script that broke out of its engine may send anything.
 * What is read are spans of the bytes given. */
#ifndef WORKER_FRAME_H
#define WORKER_FRAME_H

#include "base/arena.h"
#include "query/outside.h"

#define FRAME_HEADER_BYTES 8
#define FRAME_MAX_BYTES    ((size_t)160 << 20)
#define FRAME_MAX_HEADERS  10000 /* header lines of one HTTP request */

typedef enum FrameKind {
        FRAME_HELLO = 1,
        FRAME_JS = 2,   /* session, is_call, source, args */
        FRAME_HTTP = 3, /* method, url, has_data, data, auth, user, password, attempts, redirects, verify, cookies,
                           header ... */
        FRAME_JS_VALUE = 4,
        FRAME_JS_FUNCTION = 5,
        FRAME_JS_ERROR = 6,
        FRAME_HTTP_ANSWER = 7, /* failed, status, error, headers, content type, cookies, body */
} FrameKind;
typedef enum FrameFlags { FRAME_LEAVING = 1 /* the worker ends after this answer */ } FrameFlags;

typedef struct FrameHeader {
        size_t size;
        uint8_t kind, flags;
} FrameHeader;
/* ERR_INVALID, ERR_LIMIT above FRAME_MAX_BYTES. */
MUST_USE Status frame_header(const uint8_t bytes[FRAME_HEADER_BYTES], FrameHeader *ret_header);

/* Writing: begin, parts, end. `*start` is where the frame begins in `out`. ERR_LIMIT if it is too large. */
MUST_USE Status frame_begin(Buf *out, FrameKind kind, unsigned flags, size_t *ret_start);
MUST_USE Status frame_part(Buf *out, Bytes part);
MUST_USE Status frame_number(Buf *out, uint64_t number);
MUST_USE Status frame_end(Buf *out, size_t start);

/* The questions and answers as whole frames. */
MUST_USE Status frame_write_js(Buf *out, const JsCall *call);
MUST_USE Status frame_write_http(Buf *out, const HttpCall *call);
MUST_USE Status frame_write_answer(Buf *out, const HttpAnswer *answer, unsigned flags);
MUST_USE Status frame_write_text(Buf *out, FrameKind kind, unsigned flags, Bytes text);

/* The same from a frame's body: false if it is none. method and headers are in the arena. */
bool frame_read_js(Bytes body, JsCall *ret_call);
bool frame_read_http(Bytes body, Arena *arena, HttpCall *ret_call);
bool frame_read_answer(Bytes body, HttpAnswer *ret_answer);
bool frame_read_text(Bytes body, Bytes *ret_text);

#endif
