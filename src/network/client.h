/* client.h - a small blocking client of the wire protocol, for the CLI, the load generator and tests.
 * Threads: a Client belongs to one thread at a time. */
#ifndef NETWORK_CLIENT_H
#define NETWORK_CLIENT_H

#include "base/bytes.h"
#include "os/os.h"

typedef struct Client Client;
typedef struct ClientOptions {
        const char *host;
        int port;
        const char *user, *password;
        int timeout_ms; /* for connecting and the handshake */
} ClientOptions;
/* ERR_IO (no such server, refused: the message says which, the hint what to do), ERR_AUTH. */
MUST_USE Status client_connect(Os *os, const ClientOptions *options, Client **ret_client);
Client *client_close(Client *client);
/* Sends one query (JSON text) under a new token; many may be outstanding. */
MUST_USE Status client_send(Client *client, Bytes query, uint64_t *ret_token);
/* Sends a query under a given token (CONTINUE, STOP). */
MUST_USE Status client_send_token(Client *client, uint64_t token, Bytes query);
/* The next response of any query; `ret_body` lives until the next receive. */
MUST_USE Status client_receive(Client *client, uint64_t *ret_token, Bytes *ret_body);
/* The same, but comes back with *ret_received false when `wake_fd` (-1: none) is readable, or after `timeout_ms` (-1:
 * no end). What has been received whole is handed out first. */
MUST_USE Status client_receive_or(Client *client, int wake_fd, int timeout_ms, bool *ret_received, uint64_t *ret_token,
                                  Bytes *ret_body);
/* The raw socket, for those who poll. */
int client_fd(Client *client);

#endif
