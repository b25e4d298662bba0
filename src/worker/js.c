/* js.c - see js.h. Duktape: ECMAScript 5 with some of 6.
 *
 * Errors leave Duktape by longjmp, so everything that touches its stack runs under duk_safe_call (run_protected), and
 * what must be freed is in struct Js. Its strings are CESU-8: a character beyond U+FFFF is a pair of surrogates of
 * three bytes each; ours are UTF-8. */
#define _GNU_SOURCE
#include "worker/js.h"

#include <duktape.h>
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "value/json.h"
#include "value/time.h"

#define MAX_DEPTH      500 /* as RethinkDB's conversion, and values' own */
#define MAX_FUNCTIONS  100 /* compiled ones kept */
#define REST_MAX_BYTES ((size_t)8 << 20)

struct Js {
        duk_context *duk; /* NULL: no session */
        uint64_t session;
        size_t bytes; /* allocated by the engine */
        size_t function_count;
        Arena arena; /* arguments */
        Buf scratch; /* a string between the two encodings */
        /* --- of the present run --- */
        const JsCall *call;
        JsResult result;
        Buf *text;
        size_t text_start;
        Status failed; /* ours, not the script's */
};

/* --- memory: every block remembers its size --- */

typedef union Block {
        size_t size;
        max_align_t align;
} Block;

static void *js_resize(void *ctx, void *p, duk_size_t size)
{
        Js *js = ctx;
        Block *old = p ? (Block *)p - 1 : NULL;
        size_t before = old ? old->size : 0;
        if (size == 0) {
                js->bytes -= before;
                free(old);
                return NULL;
        }
        if (size > JS_MAX_BYTES || js->bytes - before > JS_MAX_BYTES - size)
                return NULL;
        Block *block = realloc(old, sizeof *block + size);
        if (!block)
                return NULL;
        js->bytes += size - before;
        block->size = size;
        return block + 1;
}

static void *js_alloc(void *ctx, duk_size_t size)
{
        return js_resize(ctx, NULL, size);
}

static void js_release(void *ctx, void *p)
{
        js_resize(ctx, p, 0);
}

/* Only a bug in the engine comes here: the process dies, and the server sees that. */
static void js_fatal(void *ctx, const char *message)
{
        (void)ctx;
        (void)message;
        abort();
}

/* --- strings --- */

static bool is_surrogate(const uint8_t *p, size_t left, uint8_t half)
{
        return left >= 3 && p[0] == 0xed && (p[1] & 0xf0) == half && (p[2] & 0xc0) == 0x80;
}

/* CESU-8 to UTF-8, in js->scratch; NULL: out of memory. A lone surrogate becomes U+FFFD. */
static Status to_utf8(Js *js, const char *text, size_t size, Bytes *ret_text)
{
        const uint8_t *p = (const uint8_t *)text, *end = p + size;
        *ret_text = BYTES(text, size);
        if (!memchr(text, 0xed, size))
                return ST_OK;
        buf_clear(&js->scratch);
        while (p < end) {
                if (is_surrogate(p, (size_t)(end - p), 0xa0) && is_surrogate(p + 3, (size_t)(end - p) - 3, 0xb0)) {
                        uint32_t high = ((p[1] & 0x0fu) << 6) | (p[2] & 0x3fu);
                        uint32_t low = ((p[4] & 0x0fu) << 6) | (p[5] & 0x3fu);
                        uint32_t c = 0x10000 + (high << 10) + low;
                        const uint8_t utf8[] = {0xf0 | (c >> 18), 0x80 | ((c >> 12) & 0x3f), 0x80 | ((c >> 6) & 0x3f),
                                                0x80 | (c & 0x3f)};
                        TRY(buf_append(&js->scratch, utf8, sizeof utf8));
                        p += 6;
                } else if (p[0] == 0xed && end - p >= 3 && p[1] >= 0xa0) {
                        TRY(buf_append(&js->scratch, "\xef\xbf\xbd", 3));
                        p += 3;
                } else {
                        TRY(buf_append_byte(&js->scratch, *p++));
                }
        }
        *ret_text = BYTES(js->scratch.data, js->scratch.size);
        return ST_OK;
}

static Status to_cesu8(Js *js, Bytes text, Bytes *ret_text)
{
        bool far = false;
        for (size_t i = 0; i < text.size && !far; i++)
                far = text.data[i] >= 0xf0;
        *ret_text = text;
        if (!far)
                return ST_OK;
        buf_clear(&js->scratch);
        for (size_t i = 0; i < text.size;) {
                const uint8_t *p = text.data + i;
                if (p[0] < 0xf0 || text.size - i < 4) {
                        TRY(buf_append_byte(&js->scratch, *p));
                        i++;
                        continue;
                }
                uint32_t c = ((p[0] & 7u) << 18) | ((p[1] & 0x3fu) << 12) | ((p[2] & 0x3fu) << 6) | (p[3] & 0x3fu);
                uint32_t high = 0xd800 + ((c - 0x10000) >> 10), low = 0xdc00 + (c & 0x3ff);
                const uint8_t pair[] = {0xed, 0x80 | ((high >> 6) & 0x3f), 0x80 | (high & 0x3f),
                                        0xed, 0x80 | ((low >> 6) & 0x3f),  0x80 | (low & 0x3f)};
                TRY(buf_append(&js->scratch, pair, sizeof pair));
                i += 4;
        }
        *ret_text = BYTES(js->scratch.data, js->scratch.size);
        return ST_OK;
}

/* Our own failure in the middle of Duktape's work: noted, and out by its way. */
static void check(Js *js, Status st)
{
        if (!st)
                return;
        js->failed = st;
        (void)duk_generic_error(js->duk, "failed");
}

/* The script's value cannot be what is asked: RethinkDB's message. */
static NORETURN void refuse(Js *js, const char *message)
{
        js->result = JS_ERROR;
        js->text->size = js->text_start;
        check(js, buf_append_str(js->text, message));
        (void)duk_generic_error(js->duk, "refused");
        abort();
}

/* --- values to the engine --- */

static void push_string(Js *js, Bytes text)
{
        Bytes cesu8 = BYTES_NONE;
        check(js, to_cesu8(js, text, &cesu8));
        duk_push_lstring(js->duk, (const char *)cesu8.data, cesu8.size);
}

static void push_value(Js *js, Value v)
{
        duk_context *duk = js->duk;
        duk_require_stack(duk, 4);
        switch (value_type(v)) {
        case V_NULL: duk_push_null(duk); return;
        case V_BOOL: duk_push_boolean(duk, v.boolean); return;
        case V_NUMBER: duk_push_number(duk, v.number); return;
        case V_STRING: push_string(js, value_bytes(v)); return;
        case V_TIME: /* by the constructor that no script has changed */
                duk_push_heap_stash(duk);
                duk_get_prop_string(duk, -1, "Date");
                duk_remove(duk, -2);
                duk_push_number(duk, time_epoch(v) * 1000);
                duk_new(duk, 1);
                return;
        case V_ARRAY:
                duk_push_array(duk);
                for (size_t i = 0; i < value_count(v); i++) {
                        push_value(js, value_at(v, i));
                        duk_put_prop_index(duk, -2, (duk_uarridx_t)i);
                }
                return;
        case V_OBJECT:
        case V_GEOMETRY:
                duk_push_object(duk);
                for (size_t i = 0; i < value_count(v); i++) {
                        Bytes key;
                        Value field = value_field_at(v, i, &key);
                        push_string(js, key);
                        push_value(js, field);
                        duk_def_prop(duk, -3, DUK_DEFPROP_HAVE_VALUE | DUK_DEFPROP_SET_WEC);
                }
                return;
        default: refuse(js, "`r.binary` data cannot be used in `r.js`.");
        }
}

/* --- values from the engine: the one on top of the stack, as JSON --- */

static void write_string(Js *js, const char *text, size_t size)
{
        Bytes utf8 = BYTES_NONE;
        check(js, to_utf8(js, text, size, &utf8));
        check(js, json_write_message(utf8, js->text)); /* what else is not UTF-8 becomes U+FFFD */
}

static void write_number(Js *js, double number)
{
        char text[32];
        if (!isfinite(number))
                refuse(js, "Number return value is not finite.");
        check(js, buf_append(js->text, text, json_number_text(number, text)));
}

/* Is the prototype of the object on top that of the builtin of this name? */
static bool is_made_by(Js *js, const char *name)
{
        duk_context *duk = js->duk;
        duk_push_heap_stash(duk);
        duk_get_prop_string(duk, -1, name);
        duk_get_prop_string(duk, -1, "prototype");
        duk_get_prototype(duk, -4);
        bool same = duk_strict_equals(duk, -1, -2);
        duk_pop_n(duk, 4);
        return same;
}

static void write_value(Js *js, int depth_left);

static void write_date(Js *js)
{
        char text[32];
        duk_push_string(js->duk, "valueOf");
        duk_call_prop(js->duk, -2, 0);
        double ms = duk_get_number_default(js->duk, -1, NAN);
        duk_pop(js->duk);
        if (!isfinite(ms))
                refuse(js, "Invalid Date in JS environment");
        size_t size = json_number_text(ms * (1.0 / 1000.0), text);
        check(js, buf_printf(js->text, "{\"$reql_type$\":\"TIME\",\"epoch_time\":%.*s,\"timezone\":\"+00:00\"}",
                             (int)size, text));
}

static void write_array(Js *js, int depth_left)
{
        duk_size_t count = duk_get_length(js->duk, -1);
        check(js, buf_append_byte(js->text, '['));
        for (duk_size_t i = 0; i < count; i++) {
                if (i)
                        check(js, buf_append_byte(js->text, ','));
                duk_get_prop_index(js->duk, -1, (duk_uarridx_t)i);
                write_value(js, depth_left);
                duk_pop(js->duk);
        }
        check(js, buf_append_byte(js->text, ']'));
}

static void write_object(Js *js, int depth_left)
{
        bool first = true;
        check(js, buf_append_byte(js->text, '{'));
        duk_enum(js->duk, -1, DUK_ENUM_OWN_PROPERTIES_ONLY);
        while (duk_next(js->duk, -1, 1)) {
                duk_size_t size;
                const char *key = duk_get_lstring(js->duk, -2, &size);
                if (!first)
                        check(js, buf_append_byte(js->text, ','));
                first = false;
                write_string(js, key, size);
                check(js, buf_append_byte(js->text, ':'));
                write_value(js, depth_left);
                duk_pop_2(js->duk);
        }
        duk_pop(js->duk);
        check(js, buf_append_byte(js->text, '}'));
}

static void write_value(Js *js, int depth_left)
{
        duk_context *duk = js->duk;
        if (depth_left == 0)
                refuse(js, "Recursion limit exceeded in js_to_json (circular reference?).");
        duk_require_stack(duk, 8);
        if (duk_is_symbol(duk, -1))
                refuse(js, "Unrecognized value type when converting to ql::datum_t.");
        if (duk_is_string(duk, -1)) {
                duk_size_t size;
                const char *text = duk_get_lstring(duk, -1, &size);
                write_string(js, text, size);
        } else if (duk_is_number(duk, -1)) {
                write_number(js, duk_get_number(duk, -1));
        } else if (duk_is_boolean(duk, -1)) {
                check(js, buf_append_str(js->text, duk_get_boolean(duk, -1) ? "true" : "false"));
        } else if (duk_is_null(duk, -1)) {
                check(js, buf_append_str(js->text, "null"));
        } else if (duk_is_undefined(duk, -1)) {
                refuse(js, "Cannot convert javascript `undefined` to ql::datum_t.");
        } else if (duk_is_function(duk, -1)) {
                refuse(js, "Cannot convert function to ql::datum_t.");
        } else if (duk_is_array(duk, -1)) {
                write_array(js, depth_left - 1);
        } else if (!duk_is_object(duk, -1)) {
                refuse(js, "Unrecognized value type when converting to ql::datum_t.");
        } else if (is_made_by(js, "RegExp")) {
                refuse(js, "Cannot convert RegExp to ql::datum_t.");
        } else if (is_made_by(js, "Date")) {
                write_date(js);
        } else {
                write_object(js, depth_left - 1);
        }
}

/* --- messages: RethinkDB's engine is another one; where both say the same thing, say it in its words --- */

static bool cut_prefix(Bytes *text, const char *prefix)
{
        size_t size = strlen(prefix);
        if (text->size < size || memcmp(text->data, prefix, size) != 0)
                return false;
        *text = BYTES(text->data + size, text->size - size);
        return true;
}

static bool cut_suffix(Bytes *text, const char *suffix)
{
        size_t size = strlen(suffix);
        if (text->size < size || memcmp(text->data + text->size - size, suffix, size) != 0)
                return false;
        text->size -= size;
        return true;
}

static Status write_message(Bytes text, Buf *out)
{
        Bytes rest = text;
        if (cut_prefix(&rest, "SyntaxError: ")) {
                uint8_t *place = memmem(rest.data, rest.size, " (line ", 7);
                if (place)
                        rest.size = (size_t)(place - rest.data);
                bool name = bytes_equal(rest, BYTES_STR("function name required"));
                TRY(buf_append_str(out, "SyntaxError: "));
                return name ? buf_append_str(out, "function name expected") : buf_append(out, rest.data, rest.size);
        }
        if (cut_prefix(&rest, "ReferenceError: identifier ") && cut_suffix(&rest, " undefined")) {
                TRY(buf_append_str(out, "ReferenceError: "));
                TRY(buf_append(out, rest.data, rest.size));
                return buf_append_str(out, " is not defined");
        }
        rest = text;
        if (cut_prefix(&rest, "TypeError: ") && memmem(rest.data, rest.size, " not callable", 13))
                return buf_append_str(out, "TypeError: not a function");
        if (bytes_equal(text, BYTES_STR("RangeError: callstack limit")) ||
            bytes_equal(text, BYTES_STR("RangeError: C stack depth limit")))
                return buf_append_str(out, "InternalError: stack overflow");
        if (bytes_equal(text, BYTES_STR("Error: alloc failed")) ||
            bytes_equal(text, BYTES_STR("RangeError: alloc failed")))
                return buf_append_str(out, "InternalError: out of memory");
        return buf_append(out, text.data, text.size);
}

/* --- running --- */

/* What the script gives is on top of the stack: [... value]. Compiled functions stay in the stash by their source. */
static void evaluate(Js *js)
{
        duk_context *duk = js->duk;
        Bytes source = BYTES_NONE;
        check(js, to_cesu8(js, js->call->source, &source));
        if (duk_pcompile_lstring(duk, DUK_COMPILE_EVAL, (const char *)source.data, source.size) != 0)
                (void)duk_throw(duk);
        duk_call(duk, 0);
        if (!duk_is_function(duk, -1))
                return;
        duk_push_heap_stash(duk);
        if (js->function_count >= MAX_FUNCTIONS) {
                duk_push_bare_object(duk);
                duk_put_prop_string(duk, -2, "functions");
                js->function_count = 0;
        }
        duk_get_prop_string(duk, -1, "functions");
        push_string(js, js->call->source);
        duk_dup(duk, -4);
        duk_put_prop(duk, -3);
        duk_pop_2(duk);
        js->function_count++;
}

/* The function of the source, compiled now or before. */
static bool find_function(Js *js)
{
        duk_context *duk = js->duk;
        duk_push_heap_stash(duk);
        duk_get_prop_string(duk, -1, "functions");
        duk_remove(duk, -2);
        push_string(js, js->call->source);
        bool found = duk_get_prop(duk, -2) != 0;
        duk_remove(duk, -2);
        if (!found)
                duk_pop(duk);
        return found;
}

static duk_ret_t run_protected(duk_context *duk, void *ctx)
{
        Js *js = ctx;
        if (!find_function(js))
                evaluate(js);
        if (!js->call->is_call) {
                if (duk_is_function(duk, -1)) {
                        js->result = JS_FUNCTION;
                        return 0;
                }
                write_value(js, MAX_DEPTH);
                return 0;
        }
        if (!duk_is_function(duk, -1)) /* the globals have changed since */
                refuse(js, "TypeError: not a function");
        Value args = value_none();
        check(js, json_parse_copy(js->call->args, JSON_PSEUDO, &js->arena, &args));
        if (!value_is(args, V_ARRAY))
                refuse(js, "bad datum value in js extproc");
        if (value_count(args) > 10000) /* Duktape's stack */
                refuse(js, "JavaScript function invoked with too many arguments");
        duk_require_stack(duk, (duk_idx_t)value_count(args) + 1);
        for (size_t i = 0; i < value_count(args); i++)
                push_value(js, value_at(args, i));
        duk_call(duk, (duk_idx_t)value_count(args));
        if (duk_is_function(duk, -1))
                refuse(js, "Returning functions from within `r.js` is unsupported.");
        write_value(js, MAX_DEPTH);
        return 0;
}

static duk_ret_t message_protected(duk_context *duk, void *ctx)
{
        Js *js = ctx;
        duk_size_t size;
        Bytes utf8 = BYTES_NONE;
        const char *text = duk_safe_to_lstring(duk, -1, &size);
        check(js, to_utf8(js, text, size, &utf8));
        check(js, write_message(utf8, js->text));
        return 0;
}

static duk_ret_t prepare_protected(duk_context *duk, void *ctx)
{
        (void)ctx;
        duk_push_heap_stash(duk);
        duk_push_bare_object(duk);
        duk_put_prop_string(duk, -2, "functions");
        duk_get_global_string(duk, "Date");
        duk_put_prop_string(duk, -2, "Date");
        duk_get_global_string(duk, "RegExp");
        duk_put_prop_string(duk, -2, "RegExp");
        duk_push_global_object(duk);
        duk_del_prop_string(duk, -1, "Duktape"); /* finalizers and the like: nothing for scripts */
        return 0;
}

static void end_session(Js *js)
{
        if (js->duk)
                duk_destroy_heap(js->duk);
        js->duk = NULL;
        js->function_count = 0;
}

static Status begin_session(Js *js, uint64_t session)
{
        if (js->duk && js->session == session)
                return ST_OK;
        end_session(js);
        js->duk = duk_create_heap(js_alloc, js_resize, js_release, js, js_fatal);
        if (!js->duk)
                return status_nomem();
        js->session = session;
        if (duk_safe_call(js->duk, prepare_protected, js, 0, 1) != DUK_EXEC_SUCCESS) {
                end_session(js);
                return status_nomem();
        }
        duk_pop(js->duk);
        return ST_OK;
}

Status js_new(Js **ret_js)
{
        Js *js = mem_zalloc(sizeof *js);
        if (!js)
                return status_nomem();
        arena_init(&js->arena, 0); /* without memory for the arguments it aborts: the process is bounded as a whole */
        buf_init(&js->scratch, SIZE_MAX);
        *ret_js = js;
        return ST_OK;
}

Js *js_free(Js *js)
{
        if (!js)
                return NULL;
        end_session(js);
        arena_done(&js->arena);
        buf_done(&js->scratch);
        mem_free(js);
        return NULL;
}

Status js_run(Js *js, const JsCall *call, JsResult *ret_result, Buf *text)
{
        TRY(begin_session(js, call->session));
        js->call = call;
        js->text = text;
        js->text_start = text->size;
        js->failed = ST_OK;
        js->result = JS_VALUE;
        int outcome = duk_safe_call(js->duk, run_protected, js, 0, 1);
        if (outcome != DUK_EXEC_SUCCESS && !js->failed && js->result != JS_ERROR) {
                js->result = JS_ERROR;
                text->size = js->text_start;
                outcome = duk_safe_call(js->duk, message_protected, js, 1, 1);
                if (outcome != DUK_EXEC_SUCCESS && !js->failed)
                        js->failed = buf_append_str(text, "InternalError: out of memory");
        }
        duk_set_top(js->duk, 0);
        arena_reset(&js->arena);
        Status st = take(js->failed);
        if (st) {
                text->size = js->text_start;
                return st;
        }
        *ret_result = js->result;
        return ST_OK;
}

void js_rest(Js *js)
{
        if (js->bytes > REST_MAX_BYTES)
                end_session(js);
        if (js->scratch.capacity > REST_MAX_BYTES) {
                buf_done(&js->scratch);
                buf_init(&js->scratch, SIZE_MAX);
        }
}
