/* js.h - the JavaScript engine inside a worker process: scripts and calls to JSON or RethinkDB's messages.
 *
 * A session (one query) has an engine of its own, with its globals; the next session gets a fresh one. Nothing here
 * limits time: whoever waits kills the process. Threads: one. */
#ifndef WORKER_JS_H
#define WORKER_JS_H

#include "query/outside.h"

#define JS_MAX_BYTES ((size_t)128 << 20) /* of an engine; beyond it scripts get "out of memory" */

typedef struct Js Js;

MUST_USE Status js_new(Js **ret_js);
Js *js_free(Js *js); /* NULL is fine; returns NULL */
/* Does what is asked; `text` (JSON or message, see JsResult) is appended to. ERR_NOMEM, ERR_LIMIT (a result larger than
 * `text` may be). A script's errors are JS_ERROR. */
MUST_USE Status js_run(Js *js, const JsCall *call, JsResult *ret_result, Buf *text);
/* Forgets the session if its engine has grown large, so that an idle process is small. */
void js_rest(Js *js);

#endif
