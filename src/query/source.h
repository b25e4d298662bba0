/* source.h - what the query layer needs of the world below and above it, declared here and filled in by others:
 * table/ gives the local TableSource, server/ the clock, randomness and session facts.
 *
 * A TableRef is counted; one from a find lives until table_unref. All functions may be called from any thread, a
 * TableRef from several at once. Errors are ReQL errors (ERR_OP_FAILED "Database `x` does not exist." ...) with
 * RethinkDB's messages. */
#ifndef QUERY_SOURCE_H
#define QUERY_SOURCE_H

#include "value/value.h"

typedef struct TableRef TableRef;
typedef struct TableView TableView; /* a table at one moment: a pinned snapshot */
typedef struct TableScan TableScan;

typedef struct TableInfo { /* lives as long as the TableRef */
        Bytes db, name, primary_key;
        Bytes id;             /* uuid text */
        bool hard_durability; /* the table's default */
} TableInfo;

typedef enum BoundType { BOUND_OPEN, BOUND_CLOSED, BOUND_NONE } BoundType;
typedef struct KeyBounds { /* of the primary key or (later) an index */
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
} WriteOptions;

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

        /* --- metadata: results are the objects that RethinkDB answers with --- */
        Status (*db_create)(void *ctx, Bytes name, Arena *arena, Value *ret_result, uint64_t *ret_position);
        Status (*db_drop)(void *ctx, Bytes name, Arena *arena, Value *ret_result, uint64_t *ret_position);
        Status (*db_list)(void *ctx, Arena *arena, Value *ret_names);
        /* `options` holds the evaluated optargs of table_create as an object. */
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
};

/* What the host process gives. */
typedef struct HostOps {
        int64_t (*now_us)(void *ctx); /* wall clock, microseconds since 1970 */
        int64_t (*mono_ns)(void *ctx);
        Status (*random)(void *ctx, void *out, size_t size);
        void *ctx;
        const char *server_name;
        const char *server_id; /* uuid text */
} HostOps;

#endif
