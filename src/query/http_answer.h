/* http_answer.h - what an HTTP answer means: its header as an object, its body in the format asked for. */
#ifndef QUERY_HTTP_ANSWER_H
#define QUERY_HTTP_ANSWER_H

#include "query/outside_int.h"

typedef enum HttpFormat { HTTP_AUTO, HTTP_JSON, HTTP_JSONP, HTTP_TEXT, HTTP_BINARY } HttpFormat;

/* Names in lower case, the last of equal names winning; `link` is an object: {'rel="next"': "http://..."}. V_NONE if
 * there are none. *ret_why (in env->arena) says what cannot be read of it, else NULL. */
Status http_header(Env *env, Bytes text, Value *ret_header, const char **ret_why) MUST_USE;
/* *ret_why (in env->arena) says why the body is not what it should be, with the body as text in *ret_body; else NULL.
 */
Status http_body(Env *env, const Term *at, HttpFormat format, Bytes content_type, Bytes body, Value *ret_body,
                 const char **ret_why) MUST_USE;
/* The JSON inside `name(JSON);`, `a.b(JSON)`, `a["b"](JSON)`. */
bool http_jsonp_inside(Bytes body, Bytes *ret_json);

#endif
