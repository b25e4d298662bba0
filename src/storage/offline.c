/* offline.c - store_check: a data directory that nobody has open, walked from the outside.
 *
 *      VERSION, LOCK  ->  each persistent engine's files  ->  snapshot files  ->  the log  ->  which tables there are
 *
 * The engines tell their tables, rows and the position of their checkpoint; the log is then read from the oldest of
 * these positions on, and its records are held against the tables as recovery would apply them (store_int.h): a record
 * counts for a table only behind the position that the table's engine has stored. Nothing is opened for writing, and
 * what is wrong in one part does not keep the others from being walked. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/map.h"
#include "base/mem.h"
#include "storage/log/wal.h"
#include "storage/record.h"
#include "storage/snapshot_file.h"
#include "storage/store.h"

#define VERSION_NAME      "VERSION"
#define LOCK_NAME         "LOCK"
#define LOG_NAME          "log"
#define VERSION_MAX_BYTES 4096
#define REPORT_EVERY      ((uint64_t)1 << 20)
#define MAX_ENGINES       8
#define TEXT_BYTES        2048
#define CACHE_BYTES       ((size_t)64 << 20)

typedef struct FoundTable {
        uint64_t id;
        const EngineOps *ops;
} FoundTable;

typedef struct Positions {
        uint64_t *items;
        size_t count, capacity;
} Positions;

typedef struct Offline {
        const StoreCheck *check;
        StoreCheckResult result;
        OsDir *dir, *log_dir; /* log_dir NULL: there is none */
        NumMap *tables;       /* FoundTable */
        Positions snapshots;  /* of the snapshot files, ascending */
        bool version, data, locked;
        bool incomplete; /* part of the tables could not be read: what is missing is no news */
        /* The newest checkpoint of each engine_at(i) with files of its own (memory: its snapshot file); 0: none. */
        uint64_t position[MAX_ENGINES], newest;
        uint64_t log_from;              /* the snapshot file wants the log from behind here on */
        size_t engine;                  /* the one being walked */
        uint64_t done, rest, announced; /* progress, in bytes: before this part, behind it, last told */
        /* --- the snapshot file being read --- */
        bool current;             /* it is the one that counts */
        const FoundTable *filled; /* the table whose rows come */
        bool any_row;
        uint32_t last_tree;
        Buf last_key;
        uint64_t bytes;
} Offline;

static void offline_done(Offline *offline)
{
        size_t cursor = 0;
        uint64_t id;
        void *table;
        while (offline->tables && nummap_next(offline->tables, &cursor, &id, &table))
                mem_free(table);
        nummap_free(offline->tables);
        mem_free(offline->snapshots.items);
        buf_done(&offline->last_key);
        os_dir_close(offline->log_dir);
        os_dir_close(offline->dir);
}

static Status problem_text(Offline *offline, const char *text)
{
        offline->result.problem_count++;
        return offline->check->problem(offline->check->ctx, text);
}

static Status problem(Offline *offline, const char *format, ...) PRINTF_LIKE(2, 3);
static Status problem(Offline *offline, const char *format, ...)
{
        char text[TEXT_BYTES];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        return problem_text(offline, text);
}

/* A damaged part is a problem and not the end; any other error is. */
static Status damage_or(Offline *offline, Status st)
{
        char text[TEXT_BYTES];
        if (status_code(st) != ERR_CORRUPT)
                return st;
        status_text(st, text, sizeof(text));
        status_ignore(st);
        return problem_text(offline, text);
}

static void table_damaged(Offline *offline, uint64_t table_id)
{
        if (offline->check->damaged)
                offline->check->damaged(offline->check->ctx, table_id);
}

static Status progress(Offline *offline, const char *what, uint64_t done, uint64_t total)
{
        const StoreProgress *to = &offline->check->progress;
        if (!to->report || (done < offline->announced + REPORT_EVERY && done != total))
                return ST_OK;
        offline->announced = done;
        return to->report(to->ctx, what, done, total);
}

/* --- tables --- */

/* Whose files and position a table of this engine shares. */
static size_t home_of(const EngineOps *ops)
{
        const EngineOps *home = ops->host ? ops->host : ops, *at;
        for (size_t i = 0; (at = engine_at(i)); i++)
                if (at == home) {
                        assert(i < MAX_ENGINES);
                        return i;
                }
        return 0;
}

static Status table_found(Offline *offline, uint64_t id, const EngineOps *ops, FoundTable **ret_table)
{
        FoundTable *table = mem_alloc(sizeof(FoundTable));
        if (!table)
                return status_nomem();
        *table = (FoundTable){.id = id, .ops = ops};
        Status st = nummap_put(offline->tables, id, table, NULL);
        if (st) {
                mem_free(table);
                return st;
        }
        *ret_table = table;
        return ST_OK;
}

/* A table that an engine's files or a snapshot file have; *ret_table is NULL if it does not count. */
static Status table_stored(Offline *offline, uint64_t id, const char *engine, FoundTable **ret_table)
{
        const EngineOps *ops = engine_find(engine);
        FoundTable *other = nummap_get(offline->tables, id);
        *ret_table = NULL;
        if (!ops)
                return problem(offline, "table %" PRIu64 " has the storage engine \"%s\", which there is not", id,
                               engine);
        if (!other)
                return table_found(offline, id, ops, ret_table);
        /* Numbers may be given again after a drop: one's files are then older than that drop. */
        uint64_t here = offline->position[home_of(ops)], there = offline->position[home_of(other->ops)];
        if (home_of(ops) == home_of(other->ops) || here == there)
                return problem(offline, "table %" PRIu64 " is there twice, as \"%s\" and as \"%s\"", id,
                               other->ops->name, engine);
        if (here > there) {
                other->ops = ops;
                *ret_table = other;
        }
        return ST_OK;
}

static Status row_stored(Offline *offline, uint64_t table_id, uint32_t tree, Bytes key, Bytes value)
{
        const char *wrong = NULL;
        offline->result.row_count += tree == 0;
        if (offline->check->row)
                wrong = offline->check->row(offline->check->ctx, table_id, tree, key, value, false);
        if (!wrong)
                return ST_OK;
        TRY(problem_text(offline, wrong));
        table_damaged(offline, table_id);
        return ST_OK;
}

/* --- the directory --- */

static Status positions_add(Positions *positions, uint64_t position)
{
        if (positions->count == positions->capacity) {
                size_t capacity = MAX(2 * positions->capacity, (size_t)8);
                uint64_t *items = mem_realloc(positions->items, capacity * sizeof(uint64_t));
                if (!items)
                        return status_nomem();
                positions->items = items;
                positions->capacity = capacity;
        }
        positions->items[positions->count++] = position;
        return ST_OK;
}

static Status note_name(void *ctx, const char *name)
{
        Offline *offline = ctx;
        uint64_t position;
        if (strcmp(name, VERSION_NAME) == 0) {
                offline->version = true;
        } else if (strcmp(name, LOG_NAME) == 0) {
                offline->data = true;
        } else if (snapshot_file_parse(name, &position)) {
                offline->data = true;
                TRY(positions_add(&offline->snapshots, position));
        }
        return ST_OK;
}

static int position_compare(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
        return (x > y) - (x < y);
}

static Status version_read(Offline *offline)
{
        char expected[32];
        Buf text;
        unsigned format = 0;
        const char *path = os_dir_path(offline->dir);
        if (!offline->version) {
                if (!offline->data)
                        return status_hint(status_new(ERR_NOT_FOUND, "%s is not a data directory", path),
                                           "it would have a file " VERSION_NAME "; is the name right?");
                return problem(offline, "%s/" VERSION_NAME " is missing", path);
        }
        buf_init(&text, VERSION_MAX_BYTES);
        Status st = os_read_whole(offline->dir, VERSION_NAME, VERSION_MAX_BYTES - 1, &text);
        if (!st)
                st = buf_append_byte(&text, 0);
        bool said = !st && sscanf((const char *)text.data, "photondb %u", &format) == 1;
        snprintf(expected, sizeof(expected), "photondb %u\n", format);
        if (!st && said && format != STORE_FORMAT_VERSION)
                st = status_hint(status_new(ERR_VERSION, "%s/" VERSION_NAME " says format %u; this version reads %d",
                                            path, format, STORE_FORMAT_VERSION),
                                 "check it with the version of the program that wrote it");
        else if (!st && (!said || strcmp((const char *)text.data, expected) != 0))
                st = problem(offline, "%s/" VERSION_NAME " is damaged at offset 0: it should be \"photondb %d\"", path,
                             STORE_FORMAT_VERSION);
        buf_done(&text);
        return st;
}

static Status lock_take(Offline *offline)
{
        Status st = os_dir_lock_existing(offline->dir, LOCK_NAME, &offline->locked);
        return status_code(st) == ERR_BUSY
                       ? status_hint(st, "stop the server, or check a backup of it: photondb backup")
                       : st;
}

/* Adds up, whoever's they are; what cannot be opened (a directory, a socket) is none of ours. */
static Status count_bytes(Offline *offline, OsDir *dir, const char *name, uint64_t *ret_bytes)
{
        _cleanup_(os_file_closep) OsFile *file = NULL;
        Status st = os_file_open(dir, name, OS_READ, &file);
        *ret_bytes = 0;
        if (!st)
                st = os_file_size(file, ret_bytes);
        offline->result.byte_count += *ret_bytes;
        if (status_code(st) == ERR_NOMEM)
                return st;
        status_ignore(st);
        return ST_OK;
}

static Status count_file(void *ctx, const char *name)
{
        Offline *offline = ctx;
        uint64_t bytes, position;
        TRY(count_bytes(offline, offline->dir, name, &bytes));
        if (snapshot_file_parse(name, &position))
                offline->rest += bytes;
        return ST_OK;
}

static Status count_log_file(void *ctx, const char *name)
{
        Offline *offline = ctx;
        uint64_t first, generation, bytes;
        if (!wal_file_parse(name, &first, &generation))
                return ST_OK;
        TRY(count_bytes(offline, offline->log_dir, name, &bytes));
        offline->rest += bytes;
        return ST_OK;
}

static Status directory_open(Offline *offline)
{
        TRY(os_dir_open(offline->check->os, offline->check->path, OS_DIR_READ, &offline->dir));
        TRY(os_dir_list(offline->dir, note_name, offline));
        TRY(version_read(offline));
        TRY(lock_take(offline));
        /* Once more, now that nobody changes it. */
        offline->snapshots.count = 0;
        TRY(os_dir_list(offline->dir, note_name, offline));
        if (offline->snapshots.count)
                qsort(offline->snapshots.items, offline->snapshots.count, sizeof(uint64_t), position_compare);
        TRY(os_dir_list(offline->dir, count_file, offline));
        Status st = os_dir_open_sub(offline->dir, LOG_NAME, OS_DIR_READ, &offline->log_dir);
        if (status_code(st) == ERR_NOT_FOUND) {
                status_ignore(st);
                return ST_OK;
        }
        TRY(st);
        return os_dir_list(offline->log_dir, count_log_file, offline);
}

/* --- engines with files --- */

static Status engine_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
        Offline *offline = ctx;
        offline->bytes = total_bytes;
        return progress(offline, "tables", offline->done + done_bytes, offline->done + total_bytes + offline->rest);
}

static Status engine_problem(void *ctx, const char *text)
{
        return problem_text(ctx, text);
}

static Status engine_checkpoint(void *ctx, uint64_t position)
{
        Offline *offline = ctx;
        offline->position[offline->engine] = position;
        return ST_OK;
}

static Status engine_table(void *ctx, uint64_t table_id, const char *engine, uint64_t row_count)
{
        FoundTable *table;
        (void)row_count; /* as told row by row */
        return table_stored(ctx, table_id, engine, &table);
}

static Status engine_row(void *ctx, uint64_t table_id, uint32_t tree, Bytes key, Bytes value)
{
        return row_stored(ctx, table_id, tree, key, value);
}

static Status engine_damaged(void *ctx, uint64_t table_id)
{
        table_damaged(ctx, table_id);
        return ST_OK;
}

static Status engines_walk(Offline *offline)
{
        EngineOptions options = {.os = offline->check->os, .dir = offline->dir, .cache_max_bytes = CACHE_BYTES};
        EngineCheck check = {.ctx = offline,
                             .progress = engine_progress,
                             .problem = engine_problem,
                             .table = engine_table,
                             .row = engine_row,
                             .checkpoint = engine_checkpoint,
                             .damaged = engine_damaged};
        const EngineOps *ops;
        for (size_t i = 0; i < MAX_ENGINES && (ops = engine_at(i)); i++) {
                if (ops->host || !ops->persistent)
                        continue;
                uint64_t before = offline->result.problem_count;
                offline->engine = i;
                offline->bytes = 0;
                TRY(damage_or(offline, ops->check(&options, &check)));
                offline->incomplete |= offline->result.problem_count > before;
                offline->done += offline->bytes;
        }
        return ST_OK;
}

/* --- snapshot files: the tables of engines without files --- */

static Status snapshot_table(void *ctx, uint64_t table_id, const char *engine)
{
        Offline *offline = ctx;
        FoundTable *table = NULL;
        const EngineOps *ops = engine_find(engine);
        offline->any_row = false;
        offline->filled = NULL;
        if (!offline->current)
                return ST_OK;
        if (ops && ops->persistent)
                return problem(offline,
                               "a snapshot file has table %" PRIu64 ", whose engine \"%s\" has files of its own",
                               table_id, engine);
        TRY(table_stored(offline, table_id, engine, &table));
        offline->filled = table;
        return ST_OK;
}

static Status snapshot_row(void *ctx, uint32_t tree, Bytes key, Bytes value)
{
        Offline *offline = ctx;
        uint64_t id = offline->filled ? offline->filled->id : 0;
        offline->bytes += 8 + key.size + value.size;
        TRY(progress(offline, "snapshot", offline->done + offline->bytes, offline->done + offline->rest));
        if (!offline->filled)
                return ST_OK;
        if (offline->any_row && offline->last_tree == tree &&
            bytes_compare(BYTES(offline->last_key.data, offline->last_key.size), key) >= 0) {
                TRY(problem(offline, "a snapshot file has the rows of table %" PRIu64 " in the wrong order", id));
                table_damaged(offline, id);
        }
        offline->any_row = true;
        offline->last_tree = tree;
        buf_clear(&offline->last_key);
        TRY(buf_append(&offline->last_key, key.data, key.size));
        return row_stored(offline, id, tree, key, value);
}

static Status snapshot_read(Offline *offline, uint64_t position)
{
        SnapshotVisitor visitor = {.ctx = offline, .table = snapshot_table, .row = snapshot_row};
        SnapshotHead head;
        TRY(snapshot_file_head(offline->dir, position, &head));
        if (offline->current)
                offline->log_from = head.log_from;
        return snapshot_file_read(offline->dir, position, &visitor);
}

/* The newest counts; older ones are there only if the power went before they were removed. */
static Status snapshots_walk(Offline *offline)
{
        for (size_t i = offline->snapshots.count; i-- > 0;) {
                uint64_t position = offline->snapshots.items[i], bytes;
                char name[SNAPSHOT_NAME_BYTES];
                _cleanup_(os_file_closep) OsFile *file = NULL;
                snapshot_file_name(position, name);
                TRY(os_file_open(offline->dir, name, OS_READ, &file));
                TRY(os_file_size(file, &bytes));
                offline->current = i + 1 == offline->snapshots.count;
                offline->filled = NULL;
                offline->bytes = 0;
                if (offline->current)
                        offline->position[home_of(&engine_memory)] = position;
                Status st = snapshot_read(offline, position);
                bool damaged = status_code(st) == ERR_CORRUPT;
                TRY(damage_or(offline, st));
                if (damaged && offline->current) {
                        offline->incomplete = true;
                        if (offline->filled)
                                table_damaged(offline, offline->filled->id);
                }
                offline->done += bytes;
                offline->rest -= MIN(bytes, offline->rest);
        }
        return ST_OK;
}

/* --- the log --- */

static Status log_problem(void *ctx, const char *text)
{
        ((Offline *)ctx)->incomplete = true; /* the creation of a table may be what cannot be read */
        return problem_text(ctx, text);
}

static Status log_progress(void *ctx, uint64_t done_bytes, uint64_t total_bytes)
{
        Offline *offline = ctx;
        return progress(offline, "log", offline->done + done_bytes, offline->done + MAX(total_bytes, offline->rest));
}

static Status record_problem(Offline *offline, const WalFrame *frame, const char *name, uint64_t offset,
                             const char *what)
{
        return problem(offline, "log file %s/%s, commit %" PRIu64 " at offset %" PRIu64 ": %s",
                       os_dir_path(offline->log_dir), name, frame->position, offset, what);
}

/* What a record does to the tables, and what is wrong with that; NULL: nothing. */
static Status record_apply(Offline *offline, uint64_t position, const Record *record, char *text, size_t text_size,
                           const char **ret_wrong)
{
        FoundTable *table = nummap_get(offline->tables, record->table_id);
        char engine[64];
        *ret_wrong = NULL;
        if (record->kind == RECORD_CREATE) {
                snprintf(engine, sizeof(engine), "%.*s", (int)MIN(record->key.size, sizeof(engine) - 1),
                         (const char *)record->key.data);
                const EngineOps *ops = engine_find(engine);
                if (!ops)
                        snprintf(text, text_size,
                                 "it creates table %" PRIu64 " with the storage engine \"%s\", which "
                                 "there is not",
                                 record->table_id, engine);
                else if (position <= offline->position[home_of(ops)])
                        return ST_OK; /* stored, or dropped since */
                else if (table)
                        snprintf(text, text_size, "it creates table %" PRIu64 ", which is there", record->table_id);
                else
                        return table_found(offline, record->table_id, ops, &table);
                *ret_wrong = text;
                return ST_OK;
        }
        if (!table) {
                if (position > offline->newest && !offline->incomplete) {
                        snprintf(text, text_size, "it changes table %" PRIu64 ", which is not there", record->table_id);
                        *ret_wrong = text;
                }
                return ST_OK;
        }
        if (position <= offline->position[home_of(table->ops)])
                return ST_OK; /* stored */
        if (record->kind == RECORD_DROP) {
                mem_free(nummap_remove(offline->tables, record->table_id));
                return ST_OK;
        }
        if (record->key.size > ENGINE_MAX_KEY_BYTES) {
                snprintf(text, text_size, "it has a key of %zu bytes", record->key.size);
                *ret_wrong = text;
        } else if (offline->check->row) {
                Bytes value = record->kind == RECORD_PUT ? record->value : BYTES_NONE;
                Bytes key = record->kind == RECORD_CLEAR ? BYTES_NONE : record->key;
                *ret_wrong = offline->check->row(offline->check->ctx, record->table_id, record->tree, key, value, true);
        }
        return ST_OK;
}

static Status log_frame(void *ctx, const WalFrame *frame, const char *name, uint64_t offset)
{
        Offline *offline = ctx;
        size_t at = 0;
        Record record;
        bool found = true;
        while (found) {
                char text[TEXT_BYTES];
                const char *wrong = NULL;
                Status st = record_next(frame->body, &at, &record, &found);
                if (st) {
                        snprintf(text, sizeof(text), "%s", status_message(st));
                        status_ignore(st);
                        return record_problem(offline, frame, name, offset, text);
                }
                if (!found)
                        break;
                TRY(record_apply(offline, frame->position, &record, text, sizeof(text), &wrong));
                if (wrong) {
                        TRY(record_problem(offline, frame, name, offset, wrong));
                        table_damaged(offline, record.table_id);
                }
        }
        return ST_OK;
}

static Status log_walk(Offline *offline)
{
        WalScan scan = {.ctx = offline, .frame = log_frame, .problem = log_problem, .progress = log_progress};
        WalScanResult found = {0};
        uint64_t oldest = UINT64_MAX;
        const EngineOps *ops;
        for (size_t i = 0; i < MAX_ENGINES && (ops = engine_at(i)); i++) {
                if (ops->host)
                        continue;
                oldest = MIN(oldest, offline->position[i]);
                offline->newest = MAX(offline->newest, offline->position[i]);
        }
        uint64_t from = MIN(oldest, offline->log_from), last = from;
        offline->result.checkpoint_position = oldest;
        if (offline->log_dir)
                TRY(wal_scan(offline->log_dir, from, &scan, &found));
        last = MAX(from, found.last_position);
        offline->result.log_frame_count = found.frame_count;
        offline->result.torn_bytes = found.torn_bytes;
        offline->result.last_position = MAX(offline->newest, last);
        offline->result.closed_cleanly = found.sealed || (found.last_position <= oldest && found.torn_bytes == 0);
        /* Files of different moments are brought together by the log. */
        if (last < offline->newest && found.problem_count == 0)
                return problem(offline,
                               "the log in %s/" LOG_NAME " ends with commit %" PRIu64 ", but there are files of commit "
                               "%" PRIu64 ": files are missing, of the log, of tables, or a snapshot",
                               os_dir_path(offline->dir), last, offline->newest);
        return ST_OK;
}

/* --- the whole --- */

static int table_compare(const void *a, const void *b)
{
        const FoundTable *x = *(FoundTable *const *)a, *y = *(FoundTable *const *)b;
        return (x->id > y->id) - (x->id < y->id);
}

static Status tables_tell(Offline *offline)
{
        _cleanup_(mem_freep) FoundTable **tables = NULL;
        size_t count = nummap_count(offline->tables), n = 0, cursor = 0;
        uint64_t id;
        void *value;
        offline->result.table_count = count;
        if (!offline->check->table || count == 0)
                return ST_OK;
        tables = mem_alloc(count * sizeof(FoundTable *));
        if (!tables)
                return status_nomem();
        while (nummap_next(offline->tables, &cursor, &id, &value))
                tables[n++] = value;
        qsort(tables, n, sizeof(FoundTable *), table_compare);
        for (size_t i = 0; i < n; i++)
                TRY(offline->check->table(offline->check->ctx, tables[i]->id, tables[i]->ops->name));
        return ST_OK;
}

/* A directory without LOCK (a copy, a backup) cannot be kept to ourselves; at least we notice. */
static Status lock_again(Offline *offline)
{
        if (offline->locked)
                return ST_OK;
        TRY(lock_take(offline));
        if (offline->locked)
                return status_new(ERR_BUSY, "directory %s was used by another process while it was checked",
                                  os_dir_path(offline->dir));
        return ST_OK;
}

Status store_check(const StoreCheck *check, StoreCheckResult *ret_result)
{
        _cleanup_(offline_done) Offline offline = {.check = check, .log_from = UINT64_MAX};
        buf_init(&offline.last_key, UINT32_MAX);
        TRY(nummap_new(&offline.tables));
        TRY(directory_open(&offline));
        TRY(engines_walk(&offline));
        TRY(snapshots_walk(&offline));
        TRY(log_walk(&offline));
        TRY(tables_tell(&offline));
        TRY(lock_again(&offline));
        *ret_result = offline.result;
        return ST_OK;
}
