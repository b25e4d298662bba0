/* control.h - the control socket: what an administrator on this machine asks of the running server, over the unix
 * socket `control` in its data directory. Who may write that directory may control (mode 0600). Lines of JSON:
 *
 *      {"do":"backup","to":"/abs/dir"}     {"do":"checkpoint"}     {"do":"figures"}
 *   -> {"progress":{"what":"tables in files","done":1048576,"total":9437184}}   any number of them, then one of
 *   -> {"done":{...}}
 *   -> {"error":{"code":"exists","text":"...","hint":"..."}}                     hint may be missing
 *
 * A backup is cancelled when its connection ends. Threads: control_start and control_stop from one thread; everything
 * else runs on threads of this module's own, one for each connection, which may block: a backup takes as long as it
 * takes, and figures can be asked for meanwhile on another connection. */
#ifndef SERVER_CONTROL_H
#define SERVER_CONTROL_H

#include "feed/hub.h"
#include "storage/store.h"
#include "table/table.h"

#define CONTROL_NAME           "control"
#define CONTROL_LINE_MAX_BYTES 16384 /* of a request */
#define CONTROL_MAX_PEERS      8
#define CONTROL_IDLE_MS        60000

typedef struct ControlWorld {
        Os *os;
        Store *store;
        TableCatalog *catalog;
        const char *server_name;
        int64_t started_ns; /* os_mono_ns */
        FeedHub *feeds;     /* NULL: there are none */
} ControlWorld;

/* --- the server's side --- */
typedef struct Control Control;
/* Makes the socket; one that a killed server left is replaced (the caller holds the directory's LOCK). `world` is
 * copied, what it points to must outlive control_stop. */
MUST_USE Status control_start(const ControlWorld *world, const char *data_dir, Control **ret_control);
/* Cancels what runs, removes the socket. NULL is fine; returns NULL. */
Control *control_stop(Control *control);

/* Without sockets, for tests and the fuzzer: bytes in, lines out. */
typedef struct ControlOut {
        void *ctx;
        Status (*write)(void *ctx, Bytes line); /* one line, with its end; an error: the peer cannot be reached */
        bool (*gone)(void *ctx);                /* asked while a backup runs */
} ControlOut;
typedef struct ControlSession ControlSession;
MUST_USE Status control_session_new(const ControlWorld *world, const ControlOut *out, ControlSession **ret_session);
ControlSession *control_session_free(ControlSession *session); /* NULL is fine; returns NULL */
/* Answers each whole line. *ret_close: nothing more is taken. An error is one of writing. */
MUST_USE Status control_session_feed(ControlSession *session, const uint8_t *data, size_t size, bool *ret_close);

/* --- the client's side --- */
/* A connected socket. ERR_NOT_FOUND: no server runs on that directory (or it has no control socket). */
MUST_USE Status control_connect(const char *data_dir, int *ret_fd);
/* "exists" <-> ERR_EXISTS */
const char *control_code_text(StatusCode code);
StatusCode control_code_parse(Bytes text); /* ERR_IO for those that it does not know */

#endif
