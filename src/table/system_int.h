/* system_int.h - what the system tables share: a table of database `rethinkdb` is a SystemTable, which system.c lists.
 *
 *      reading   system_rows -> collect() adds each row -> sorted by key: a view
 *      writing   system_write -> the old row (from collect) -> RowChange -> checks -> write() */
#ifndef TABLE_SYSTEM_INT_H
#define TABLE_SYSTEM_INT_H

#include "table/table_int.h"

/* All rows of one reading. */
typedef struct SystemCollector {
        TableRef *table;  /* the system table: its catalog, and whether rows name things by uuid */
        const char *user; /* who reads; NULL: one who may see everything */
        Arena *arena;
        SystemRow *rows; /* on the heap until all are there */
        size_t count, capacity;
} SystemCollector;
/* Adds the row that build(ctx, arena) makes; running out of the arena is an error here and not a jump, so locks may be
 * held. */
Status system_add(SystemCollector *collector, Value (*build)(void *ctx, Arena *arena), void *ctx) MUST_USE;

/* A change of one row, checked as rows of any table are: the key is that of both rows. */
typedef struct SystemWrite {
        TableRef *table;
        Bytes key; /* encoded */
        Value id;
        Value old_row, new_row;      /* V_NULL: none; never both */
        bool generated;              /* INSERT made the key up */
        bool deletes;                /* DELETE: nothing needs to be there */
        const char *user;            /* who writes */
        Transaction *transaction;    /* that the query belongs to; NULL: none */
        QueryConnection *connection; /* of the client; NULL: none */
        Arena *arena;
        uint64_t *position; /* raised to what must be durable before the answer */
        Value *ret_row;     /* what the row has become, if not new_row */
} SystemWrite;

struct SystemTable {
        const char *name, *id; /* the ids are RethinkDB's: uuid v5 of the name */
        Status (*collect)(SystemCollector *collector);
        /* NULL: refused with `read_only`, or if that is NULL too, as RethinkDB mostly says it. */
        Status (*write)(const SystemWrite *write);
        const char *read_only;
        bool own_rows;        /* everybody may read and write it, and sees his own rows only */
        bool in_transactions; /* it can be written by a query that belongs to a transaction, of which it is no part */
        bool asks_always;     /* write() is called also for what changes nothing: it may have something to say */
        bool unlisted;        /* ours, and not RethinkDB's: table_list leaves it out */
        unsigned look_ms; /* its rows change by themselves: how often a feed looks at them; 0: every change is noted */
        bool strict;      /* a row that cannot be written is an error of the query, not one that its answer counts */
};

extern const SystemTable system_debug_scratch, system_cluster_config, system_current_issues, system_db_config_table,
        system_jobs, system_logs, system_permissions, system_server_config, system_server_status, system_stats,
        system_table_config, system_table_status, system_transactions, system_users;

/* --- the parts of system_init and system_done (system_server.c) --- */
Status system_tables_init(TableCatalog *catalog) MUST_USE;
void system_tables_done(TableCatalog *catalog);
void scratch_done(TableCatalog *catalog);

/* --- for builders of rows --- */
Value system_text(Arena *arena, Bytes s);          /* a copy */
Value system_printed(Arena *arena, const char *s); /* the same of a C string */
Value system_server(const TableCatalog *catalog, bool uuids);
Value system_one(Arena *arena, Value item); /* [item] */
/* The database's name or id, the table's. */
Value system_db_of(const TableRef *table, bool uuids, Arena *arena);
Value system_table_of(const TableRef *table, bool uuids, Arena *arena);

/* --- reading rows that users wrote, with RethinkDB's messages (those end in what is wrong; the caller puts the table
 * before) --- */
typedef struct SystemFields {
        Value row;
        Arena *arena;
        const char *prefix; /* begins each message: "... has the wrong format. " */
        uint64_t seen;      /* bit i: field i of the row was asked for */
} SystemFields;
/* "Expected a field named `x`." */
Status fields_get(SystemFields *fields, const char *name, Value *ret) MUST_USE;
bool fields_has(const SystemFields *fields, const char *name);
/* A name: "In `x`: Expected a table name; got 5", "... is not a valid table name; Use A-Z ..." */
Status fields_name(SystemFields *fields, const char *field, const char *what, Bytes *ret) MUST_USE;
Status fields_check_name(SystemFields *fields, const char *in, const char *what, Value v, Bytes *ret) MUST_USE;
/* "Unexpected key(s): x y" */
Status fields_no_others(const SystemFields *fields) MUST_USE;
/* prefix + "In `in`: " (if not NULL) + message + compact JSON of `got` (V_NONE: nothing) */
Status fields_wrong(const SystemFields *fields, const char *in, const char *message, Value got) MUST_USE;

#endif
