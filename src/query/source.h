/* source.h - what the query layer needs of the world below and above it, declared here and filled in by others:
 * table/ gives the local TableSource, server/ the clock, randomness and session facts.
 *
 * A TableRef is counted; one from a find lives until table_unref. All functions may be called from any thread, a
 * TableRef from several at once. Errors are ReQL errors (ERR_OP_FAILED "Database `x` does not exist." ...) with
 * RethinkDB's messages. */
#ifndef QUERY_SOURCE_H
#define QUERY_SOURCE_H

#include "base/credential.h"
#include "base/memo.h"
#include "bridge/s2_bridge.h"
#include "value/value.h"

typedef struct TableRef TableRef;
typedef struct TableView TableView; /* a table at one moment: a pinned snapshot */
typedef struct TableScan TableScan;
typedef struct Transaction Transaction; /* changes that are made together or not at all */
typedef struct QueryConnection QueryConnection;

/* --- blocks: what a scan reads in one go (a leaf of the tree), for whoever looks at all rows --- */
/* Something derived from all rows of a block and remembered beside them (a column of one field, say): immutable once
 * handed over, freed with the block's memory or when the cache needs room. `bytes` is counted in the cache. */
typedef Memo BlockMemo;
typedef struct TableBlock {
        uint32_t total;        /* rows of the whole block */
        uint32_t first, count; /* those within the scan's bounds: first .. first + count - 1; count 0: at the end */
} TableBlock;

typedef struct TableInfo { /* lives as long as the TableRef */
        Bytes db, name, primary_key;
        Bytes id;             /* uuid text */
        bool hard_durability; /* the table's default */
        unsigned shard_count;
} TableInfo;

/* --- indexes --- */
/* Fields to go through from the row: row("a")("b"). At least one. */
typedef struct IndexPath {
        const Bytes *fields;
        size_t count;
} IndexPath;
static inline bool index_paths_equal(IndexPath a, IndexPath b)
{
        if (a.count != b.count)
                return false;
        for (size_t i = 0; i < a.count; i++)
                if (!bytes_equal(a.fields[i], b.fields[i]))
                        return false;
        return true;
}
/* An index of a table, as of its TableRef; lives as long as that. */
typedef struct IndexInfo {
        Bytes name;
        bool multi, geo, ready; /* not ready: being built; reading it fails with RethinkDB's message */
        bool unique;            /* no two rows have the same value in it */
        Bytes error;            /* data not NULL: why it could not be built; it is never going to be ready */
        /* The function, if it is such a path or (compound) an array of them; count 0: it is any other. */
        const IndexPath *paths;
        size_t path_count;
        bool compound;
        uint64_t hash; /* of what it says of a row (function, multi, geo): the same after a restart */
} IndexInfo;
/* Rows that have no place, or not every place, among an index's values and yet are no rows without a value; never of
 * geo indexes. Every row is in the index, one of these, or a row for which the function raised a missing field's error.
 */
typedef enum IndexRest {
        INDEX_REST_VALUES, /* under a value that cannot be a key; multi: under one that is neither array nor null */
        INDEX_REST_FAILED, /* the function raised another error */
} IndexRest;
/* What INDEX_CREATE and the configuration ask for. */
typedef struct IndexSpec {
        Bytes name;
        Bytes function; /* closure.h's saved form */
        bool multi, geo, unique;
} IndexSpec;

typedef enum BoundType { BOUND_OPEN, BOUND_CLOSED, BOUND_NONE } BoundType;
typedef struct KeyBounds { /* of the primary key or an index */
        Value low, high;
        BoundType low_type, high_type; /* BOUND_NONE: unbounded */
} KeyBounds;

/* Names of databases, tables and server tags. The message for others: "%s name `%s` invalid (" SOURCE_NAME_RULE ")." */
#define SOURCE_NAME_RULE "Use A-Z, a-z, 0-9, _ and - only"
static inline bool source_name_valid(Bytes name)
{
        for (size_t i = 0; i < name.size; i++) {
                uint8_t c = name.data[i];
                if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
                      c == '-'))
                        return false;
        }
        return name.size > 0;
}

/* --- writing --- */
typedef enum Durability { DURABILITY_DEFAULT, DURABILITY_HARD, DURABILITY_SOFT } Durability;
/* Called with the present row (V_NULL if there is none); gives the row to be (V_NULL: no row). Called once or, when
 * another writer was faster, again. Allocates in `arena`. An error leaves the row as it is and is counted by the
 * caller. */
typedef Status (*RowChange)(void *ctx, size_t index, Value old_row, Arena *arena, Value *ret_new_row);
typedef enum RowEffect {
        ROW_FAILED,  /* see error */
        ROW_SKIPPED, /* there was none and is none */
        ROW_INSERTED,
        ROW_DELETED,
        ROW_REPLACED,
        ROW_UNCHANGED,
} RowEffect;
typedef struct RowOutcome {
        RowEffect effect;
        Value old_row, new_row; /* with want_rows: V_NULL or the row, in the arena given; else V_NONE */
        Status error;           /* of ROW_FAILED: why this row did not change; owned by the receiver,
                                   who zeroed the outcomes before and frees it even when longjmped past */
        bool bad_key;           /* of ROW_FAILED: keys[i] cannot be a key; `change` was not called */
} RowOutcome;
/* What write() holds (a snapshot, a table's writer lock) while it allocates or runs `change`, for a caller who may be
 * thrown out of either by longjmp: whoever catches that calls undo(guard) unless it is NULL. Zeroed by the caller;
 * outlives the call to write. */
typedef struct WriteGuard WriteGuard;
struct WriteGuard {
        void (*undo)(WriteGuard *guard);
        void *held[3]; /* write()'s own */
};
typedef struct WriteOptions {
        Durability durability;
        bool want_rows;    /* fill old_row and new_row (return_changes) */
        bool quick;        /* `change` takes less than a microsecond and evaluates nothing: it may always run under the
                              table's writer lock, which saves reading the row twice */
        WriteGuard *guard; /* NULL: neither the arena nor `change` ever longjmps */
        bool ignore_hook; /* the table's write hook is not called (needs PERMIT_CONFIG, which the caller has checked) */
        const char *user; /* who writes: for the hook's context, and for what a row of a system table changes; NULL:
                             "admin" */
        int64_t now_us;
        const bool *generated;       /* for each key: INSERT made it up; NULL: none. Asked for of system tables only. */
        bool deletes;                /* it is DELETE; asked for of system tables only */
        Transaction *transaction;    /* what is written is part of it; NULL: it is committed at once */
        QueryConnection *connection; /* of the client who writes, for `transactions`; NULL: none */
} WriteOptions;

/* --- transactions --- */
/* What the queries of one client connection share. Zeroed; lives until connection_end. */
struct QueryConnection {
        /* A Transaction that all its queries belong to (also when that has been aborted, until the client ends it);
         * NULL: none. Whoever reads it only asks whether there is one. */
        _Atomic(void *) bound;
};
typedef struct TransactionOptions {
        bool serializable; /* it fails as well if what it has read was changed meanwhile */
} TransactionOptions;

/* --- permissions --- */
typedef enum Permission {
        PERMIT_READ = 1,
        PERMIT_WRITE = 2, /* is of no use without PERMIT_READ, which it asks for too */
        PERMIT_CONFIG = 4,
        PERMIT_CONNECT = 8,
        PERMIT_TABLES = 16, /* with PERMIT_CONFIG on a database: on each of its tables, too */
} Permission;

typedef struct TableSource TableSource;
struct TableSource {
        void *ctx;
        /* --- names --- */
        Status (*table_find)(void *ctx, Bytes db, Bytes table, TableRef **ret_table);
        Status (*db_check)(void *ctx, Bytes db); /* ERR_OP_FAILED if there is none */
        TableRef *(*table_ref)(TableRef *table);
        void (*table_unref)(TableRef *table);
        const TableInfo *(*table_info)(TableRef *table);

        /* --- reading: a view is closed by whoever opened it; rows live until it is closed or `hold` is reset --- */
        Status (*view_open)(TableRef *table, TableView **ret_view);
        /* The same with the rows that `user` may see, of a system table that shows not all to everybody; NULL: there is
         * none such. */
        Status (*view_open_for)(TableRef *table, const char *user, TableView **ret_view);
        void (*view_close)(TableView *view);
        /* Equal numbers of one table: equal contents. */
        uint64_t (*view_version)(TableView *view);
        /* V_NULL if there is no such row. Refuses what cannot be a key with RethinkDB's message. */
        Status (*view_get)(TableView *view, Value key, Arena *hold, Value *ret_row);
        Status (*view_count)(TableView *view, const KeyBounds *bounds, uint64_t *ret_count);
        /* Row at place n in key order; V_NONE beyond the end. */
        Status (*view_nth)(TableView *view, uint64_t n, Arena *hold, Value *ret_row);
        Status (*scan_open)(TableView *view, const KeyBounds *bounds, bool descending, TableScan **ret_scan);
        Status (*scan_next)(TableScan *scan, Arena *hold, Value *ret_row); /* V_NONE at the end */
        Status (*scan_skip)(TableScan *scan, uint64_t n, uint64_t *ret_skipped);
        void (*scan_close)(TableScan *scan); /* before its view is closed */
        /* Blocks, of ascending scans by the primary key; NULL, or *ret_supported false: only rows. A scan is read by
         * blocks or by rows, not both. The block, its rows and memos stay until the next block_next or scan_close.
         * Different scans of one view may be used by different threads at once. */
        Status (*block_next)(TableScan *scan, TableBlock *ret_block, bool *ret_supported);
        /* Row i < total, also outside the bounds: where it lies, or (large ones) read into `hold`. */
        Status (*block_row)(TableScan *scan, uint32_t i, Arena *hold, Value *ret_row);
        const BlockMemo *(*block_memo)(TableScan *scan, uint64_t key); /* NULL: nobody made it */
        /* Hands it over, whatever happens. Gives back the one that is kept and can be used until the next block: this,
         * another thread's of the same key, or NULL (there is no room; it was freed). */
        const BlockMemo *(*block_remember)(TableScan *scan, BlockMemo *memo);
        /* Bounds that cut the rows within `bounds` (NULL: all) into `parts` of about equal size: ret_parts[0 ..
         * *ret_count - 1], ascending; encoded in a form that only scan_open_part knows, in `hold`. */
        Status (*split)(TableView *view, const KeyBounds *bounds, size_t parts, Arena *hold, Bytes *ret_parts,
                        size_t *ret_count);
        Status (*scan_open_part)(TableView *view, Bytes part, TableScan **ret_scan);

        /* --- writing --- */
        /* Changes rows by key: for each i < count, change(change_ctx, i, old row of keys[i]) decides. Each row is
         * atomic; rows are committed in batches, in order. Fills outcomes[i]. *ret_position (in/out): raised to the
         * last position that must be durable before the answer is given, unless the writes are soft. Checks what a row
         * must be (object, primary key present and unchanged, literal-free) with RethinkDB's messages. `arena` keeps
         * the outcomes' rows. */
        Status (*write)(TableRef *table, const Value *keys, size_t count, RowChange change, void *change_ctx,
                        const WriteOptions *options, Arena *arena, RowOutcome *outcomes, uint64_t *ret_position);
        /* Position that makes everything written to the table so far durable (sync). */
        Status (*sync)(TableRef *table, uint64_t *ret_position);

        /* --- transactions; NULL: there are none ---
         * A transaction sees all tables as they were when it began, and its own changes; nobody else sees them before
         * its commit. One query at a time. What has changed so that it cannot go on is ERR_CONFLICT: everything is
         * rolled back, and it may be run again. */
        /* For one query: ended by transaction_leave. */
        Status (*transaction_begin)(void *ctx, const TransactionOptions *options, Transaction **ret_transaction);
        /* For a query that belongs to one made through table `rethinkdb.transactions`: that of the id, or (data NULL)
         * the connection's. *ret_busy: another query has it; again later. */
        Status (*transaction_enter)(void *ctx, Bytes id, const char *user, QueryConnection *connection,
                                    Transaction **ret_transaction, bool *ret_busy);
        /* The query ends. One of transaction_begin is rolled back if it is not committed. Views may be closed later. */
        void (*transaction_leave)(Transaction *transaction);
        /* As view_open, or of a system table, which is never part of it, as view_open_for. */
        Status (*transaction_view)(Transaction *transaction, TableRef *table, const char *user, TableView **ret_view);
        /* One of transaction_begin: makes its changes, in one step. From then on it can be read only. *ret_position:
         * raised as by write. */
        Status (*transaction_commit)(Transaction *transaction, uint64_t *ret_position);
        /* The client is gone: its transaction is rolled back. */
        void (*connection_end)(void *ctx, QueryConnection *connection);

        /* --- metadata: results are the objects that RethinkDB answers with --- */
        Status (*db_create)(void *ctx, Bytes name, Arena *arena, Value *ret_result, uint64_t *ret_position);
        Status (*db_drop)(void *ctx, Bytes name, Arena *arena, Value *ret_result, uint64_t *ret_position);
        Status (*db_list)(void *ctx, Arena *arena, Value *ret_names);
        /* `options` holds the evaluated optargs of table_create as an object; those about placement as `reconfigure`
         * takes them. */
        Status (*table_create)(void *ctx, Bytes db, Bytes name, Value options, Arena *arena, Value *ret_result,
                               uint64_t *ret_position);
        Status (*table_drop)(void *ctx, Bytes db, Bytes name, Arena *arena, Value *ret_result, uint64_t *ret_position);
        Status (*table_list)(void *ctx, Bytes db, Arena *arena, Value *ret_names);
        /* `table` data NULL: the database's. */
        Status (*config)(void *ctx, Bytes db, Bytes table, Arena *arena, Value *ret_config);
        Status (*status)(void *ctx, Bytes db, Bytes table, Arena *arena, Value *ret_status);
        /* A database's uuid; also of `rethinkdb`. */
        Status (*db_id)(void *ctx, Bytes db, Arena *arena, Value *ret_id);
        /* The table itself, or, of a system table, the one whose rows name tables and servers by uuid
         * (identifier_format: "uuid"). A new reference. */
        TableRef *(*table_with_uuids)(TableRef *table);

        /* --- indexes; index_list, index_status and write_hook_get may be NULL: there are none --- */
        /* The table's indexes in order of name, in its TableRef. A TableRef is a moment's: find the table again to see
         * new ones. */
        size_t (*index_list)(TableRef *table, const IndexInfo **ret_indexes);
        /* Rows of an index in the order of (index value, primary key); between two index values that RethinkDB's key
         * length cannot tell apart, in that of the values all the same. `multi`: a row comes once for each of its
         * values within the bounds. ERR_OP_FAILED if it is not ready or was dropped. scan_next, scan_skip and
         * scan_close are those of any scan. */
        Status (*index_scan_open)(TableView *view, Bytes index, const KeyBounds *bounds, bool descending,
                                  TableScan **ret_scan);
        /* The index value that the row of the last scan_next stands under; in `hold`. */
        Status (*scan_index_value)(TableScan *scan, Arena *hold, Value *ret_value);
        Status (*index_count)(TableView *view, Bytes index, const KeyBounds *bounds, uint64_t *ret_count);
        /* Rows of the rest, INDEX_REST_VALUES those with values within the bounds (NULL: all) and perhaps a few around
         * them. NULL: nobody knows them (the planner then uses no index). */
        Status (*index_rest_open)(TableView *view, Bytes index, IndexRest which, const KeyBounds *bounds,
                                  TableScan **ret_scan);
        Status (*index_rest_count)(TableView *view, Bytes index, IndexRest which, const KeyBounds *bounds,
                                   uint64_t *ret_count);
        /* Candidates of a geo index: rows of which a cell lies in one of the ranges (geo_search), in no order; the
         * caller looks closer. Each comes once, `multi`: once for each of its shapes that may be meant
         * (scan_index_value says which). */
        Status (*geo_scan_open)(TableView *view, Bytes index, const GeoRange *ranges, size_t count,
                                TableScan **ret_scan);
        Status (*index_create)(TableRef *table, const IndexSpec *spec, Arena *arena, Value *ret_result,
                               uint64_t *ret_position);
        Status (*index_drop)(TableRef *table, Bytes name, Arena *arena, Value *ret_result, uint64_t *ret_position);
        Status (*index_rename)(TableRef *table, Bytes name, Bytes new_name, bool overwrite, Arena *arena,
                               Value *ret_result, uint64_t *ret_position);
        /* An array of status objects, in order of name (`names` count 0: all). ERR_OP_FAILED for one that is not there.
         */
        Status (*index_status)(TableRef *table, const Value *names, size_t count, Arena *arena, Value *ret_status);
        /* `function` data NULL: no hook any more. */
        Status (*write_hook_set)(TableRef *table, Bytes function, Arena *arena, Value *ret_result,
                                 uint64_t *ret_position);
        Status (*write_hook_get)(TableRef *table, Arena *arena, Value *ret_hook); /* V_NULL: none */
        /* --- settings --- */
        /* reconfigure() and rebalance() of a table or (data NULL) of all of a database's. `options`: {dry_run: bool,
         * emergency_repair: string or absent, shards: n, replicas: {tag: n}, primary_replica_tag: tag,
         * nonvoting_replica_tags: [tag]}, their types checked by the term. */
        Status (*reconfigure)(void *ctx, Bytes db, Bytes table, Value options, Arena *arena, Value *ret_result,
                              uint64_t *ret_position);
        Status (*rebalance)(void *ctx, Bytes db, Bytes table, Arena *arena, Value *ret_result);
        /* --- permissions. NULL in a source that allows everything --- */
        /* ERR_PERMISSION "User `x` does not have the required `read` permission." `db` or `table` data NULL: on the
         * level above. `what` may be several ORed: all are needed. */
        Status (*permit)(void *ctx, Bytes user, unsigned what, Bytes db, Bytes table);
        /* What `user` may do with a table, without a search by name; for the hot path. */
        Status (*permit_table)(TableRef *table, Bytes user, unsigned what);
        /* `db` and `table` data NULL: on the level above. `permissions` an object, or null values in it. */
        Status (*grant)(void *ctx, Bytes granter, Bytes user, Bytes db, Bytes table, Value permissions, Arena *arena,
                        Value *ret_result, uint64_t *ret_position);
};

/* --- what only the host knows and the system database shows --- */
typedef struct HostJob {  /* valid during the call */
        const char *type; /* "query" */
        const char *id;   /* uuid text */
        double duration_sec;
        const char *user, *client_address;
        int client_port;
        Bytes query;            /* as text */
        uint64_t spilled_bytes; /* written to temporary files so far */
} HostJob;
typedef struct HostStats {
        uint64_t queries_total;
        uint64_t client_connections, clients_active;
        uint64_t temporary_files, temporary_bytes;      /* of queries, now */
        uint64_t temporary_bytes_total;                 /* since the start */
        uint64_t feeds;                                 /* changefeeds that are open; a union has several */
        uint64_t feed_queued_events, feed_queued_bytes; /* found, and not fetched by their clients yet */
        uint64_t feed_events_total;                     /* given to feeds since the start */
        uint64_t feeds_lost_total, feed_skipped_total;  /* the log did not reach back; changefeed_queue_size */
} HostStats;
typedef struct HostStatus {
        const char *version, *hostname, *bind;
        const char *const *argv;
        size_t argc;
        long pid;
        int64_t started_us; /* wall clock */
        size_t cache_bytes;
        int driver_port, http_port, cluster_port;
        bool checkpoint_failing;
} HostStatus;
/* Any thread. Texts live as long as the host. */
typedef struct HostReports {
        void *ctx;
        /* Calls `each` for everything that runs or has an open cursor; ends at the first error. `each` takes no lock.
         */
        Status (*each_job)(void *ctx, Status (*each)(void *each_ctx, const HostJob *job), void *each_ctx);
        /* Ends the query with that id; false if there is none any more. */
        bool (*kill_job)(void *ctx, Bytes id);
        void (*stats)(void *ctx, HostStats *ret_stats);
        void (*status)(void *ctx, HostStatus *ret_status);
        /* The server has another name from now on; `name` lives as long as the source. */
        void (*renamed)(void *ctx, const char *name);
} HostReports;

/* What the host process gives. */
typedef struct HostOps {
        int64_t (*now_us)(void *ctx); /* wall clock, microseconds since 1970 */
        int64_t (*mono_ns)(void *ctx);
        Status (*random)(void *ctx, void *out, size_t size);
        void *ctx;
        const char *server_name;
        const char *server_id;      /* uuid text */
        const HostReports *reports; /* NULL: a host without any (tests, tools) */
        /* What is to be kept of a password: takes as long as `iterations` hashes. NULL: no user can have one. */
        Status (*credential)(void *ctx, Bytes password, uint32_t iterations, ScramCredential *ret_credential);
        /* A line for the administrator's log: who changed users, passwords or permissions. Never a secret. NULL: nobody
         * keeps one. */
        void (*audit)(void *ctx, const char *line);
        void (*sleep_ms)(void *ctx, unsigned ms); /* at most 50 ms; NULL: who waits looks again at once */
        /* Calls task(arg, i) once for each i < count, on the calling thread and on threads that are idle now, and
         * returns when all calls have returned. A task neither jumps out nor waits for another one. NULL: the caller
         * loops. `parallel_max`: how many may run at once (processors). */
        void (*parallel)(void *ctx, size_t count, void (*task)(void *arg, size_t i), void *arg);
        unsigned parallel_max;
} HostOps;

#endif
