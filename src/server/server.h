/* server.h - the running server: event loops, the ReQL protocol, HTTP health, over one store.
 * Threads: all functions from the thread that called server_start, server_stop_soon from any thread and signal
 * handlers' async. */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct Server Server;
typedef struct ServerOptions {
        const char *data_dir;
        const char *bind;                         /* address; "all" = 0.0.0.0 and :: */
        int driver_port, http_port, cluster_port; /* 0 = any free port (tests) */
        unsigned thread_count;                    /* event loops; 0 = one per core */
        const char *storage;                      /* engine of new tables; NULL = "btree" */
        size_t cache_bytes;                       /* for tables in files; 0 = half of the RAM */
        size_t memory_bytes;                      /* for tables of the engine `memory`; 0 = a quarter of the RAM */
        uint64_t log_budget_bytes;                /* 0 = the store's default */
        uint64_t log_keep_bytes, log_keep_ms;     /* see StoreOptions */
        const char *log_archive;                  /* directory; NULL = none */
        size_t query_memory_bytes;                /* per query; 0 = default */
        size_t sort_memory_bytes;                 /* per operator, before temporary files; 0 = a quarter of a query's */
        uint64_t spill_max_bytes;                 /* of all temporary files; 0 = half of what the disk has free */
        int64_t query_timeout_ms;                 /* per query; 0 = none */
        int64_t transaction_timeout_ms;           /* that nobody uses; 0 = default */
        size_t transaction_memory_bytes;          /* changes of one; 0 = default */
        size_t max_transactions;                  /* held by clients; 0 = default */
        size_t feed_memory_bytes;                 /* what waits for changefeeds' clients; 0 = default */
        bool no_planner;                          /* queries are run as they are written (docs/plans.md) */
        bool no_js, no_http_requests;             /* r.js, r.http are not available */
        const char *http_proxy;                   /* for r.http; NULL: none */
        bool http_public_only;                    /* r.http reaches no private addresses */
        bool dev_mode;
        const char *initial_password; /* of `admin`; NULL: empty (loopback or dev-mode only) */
        const char *server_name;      /* NULL = from the host name */
        const char *const *words;     /* the command line, for server_status */
        size_t word_count;
        const char *port_file; /* if set: the ports are written there as JSON once listening */
} ServerOptions;

/* Opens the store and listens; returns when it is ready to serve. Errors are one clear sentence each, with a hint:
 * ERR_BUSY (port or directory), ERR_ACCESS, ERR_VERSION, ERR_CORRUPT, ERR_INVALID. Nothing on disk has changed when it
 * fails. */
MUST_USE Status server_start(const ServerOptions *options, Server **ret_server);
int server_driver_port(const Server *server);
int server_http_port(const Server *server);
/* Runs until server_stop_soon, or SIGINT/SIGTERM; then stops accepting, finishes what runs (bounded), syncs and closes
 * the store. */
MUST_USE Status server_run(Server *server);
void server_stop_soon(Server *server);
Server *server_free(Server *server);

#endif
