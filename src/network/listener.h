/* listener.h - listening sockets; what they accept is dealt round to the loops.
 * Threads: all functions from the thread that starts and stops the server, which is no loop's. */
#ifndef NETWORK_LISTENER_H
#define NETWORK_LISTENER_H

#include "network/conn.h"

typedef struct NetListener NetListener;

/* Binds and listens, so that nobody else can take the port; accepts nothing yet. `bind` is an address, a host name of
 * this machine, or "all" (0.0.0.0 and ::); `port` 0 takes any free one; `what` ("driver port") and `option`
 * ("--driver-port") are for messages and borrowed for this call. ERR_BUSY (the port is in use), ERR_ACCESS, ERR_INVALID
 * (no address of this machine), ERR_IO. */
MUST_USE Status net_listener_open(const char *bind, int port, const char *what, const char *option,
                                  NetListener **ret_listener);
int net_listener_port(const NetListener *listener);
/* True if only this machine can reach it. */
bool net_listener_is_loopback(const NetListener *listener);
/* "127.0.0.1:28015" or "[::]:28015, 0.0.0.0:28015" into out; returns out. */
const char *net_listener_text(const NetListener *listener, char *out, size_t size);
/* Accepts on loops[0] and gives each connection to the next loop. `loops`, `ops` and `ctx` are borrowed until the
 * listener is closed; the loops are running. */
MUST_USE Status net_listener_start(NetListener *listener, NetLoop *const *loops, size_t loop_count, const ConnOps *ops,
                                   void *ctx);
/* Accepts no more and closes the sockets; connections live on. Before the loops are freed. NULL is fine; returns NULL.
 */
NetListener *net_listener_close(NetListener *listener);

#endif
