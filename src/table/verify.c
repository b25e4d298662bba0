/* verify.c - rows judged one by one, and the catalog as a whole at the end.
 *
 * The catalog is kept as it becomes: the documents of the checkpoint, then the log's changes of them. A table that was
 * dropped stays known, so that rows of it which come before its end are judged by its primary key all the same.
 *
 * Secondary indexes (trees 1 and up of a table) are compared with their rows as of the checkpoint (index_verify.c); the
 * log, which says nothing of what was there before, changes both by the same commits. */
#include "table/verify.h"

#include <inttypes.h>
#include <stdio.h>

#include "storage/engine.h"
#include "table/index_int.h"
#include "table/table_int.h"
#include "value/key.h"

enum { TEXT_BYTES = 2048, KEY_TEXT_BYTES = 200, KEY_SHOWN_BYTES = 64 };

typedef struct KnownDb KnownDb;
struct KnownDb {
        KnownDb *next;
        Bytes id, name;
        bool listed; /* the catalog has it now */
};

typedef struct KnownTable KnownTable;
struct KnownTable {
        KnownTable *next;
        uint64_t store_id;
        Bytes id, db_id, name, primary_key, engine;
        bool listed;
        bool present;         /* in the files */
        bool damaged;         /* its rows are not all there to be looked at */
        IndexVerify *indexes; /* as of the checkpoint; NULL: not looked at */
};

struct TableVerify {
        Arena names;  /* what is known */
        Arena row;    /* of one row */
        KnownDb *dbs; /* newest first */
        KnownTable *first, *last;
        NumMap *by_number; /* KnownTable, also dropped ones */
        NumMap *strangers; /* numbers in the files that no document names */
        uint64_t next_store_id;
        bool seen, damaged, failed; /* the catalog: a row of it, rows missing; failed: out of memory */
        uint64_t stranger_count;
        char text[TEXT_BYTES];
};

Status table_verify_new(TableVerify **ret_verify)
{
        _cleanup_(table_verify_freep) TableVerify *verify = mem_zalloc(sizeof *verify);
        if (!verify)
                return status_nomem();
        arena_init(&verify->names, 0);
        arena_init(&verify->row, 0);
        TRY(nummap_new(&verify->by_number));
        TRY(nummap_new(&verify->strangers));
        *ret_verify = take(verify);
        return ST_OK;
}

TableVerify *table_verify_free(TableVerify *verify)
{
        if (verify) {
                for (KnownTable *table = verify->first; table; table = table->next)
                        index_verify_free(table->indexes);
                nummap_free(verify->by_number);
                nummap_free(verify->strangers);
                arena_done(&verify->names);
                arena_done(&verify->row);
                mem_free(verify);
        }
        return NULL;
}

#define S(bytes) (int)(bytes).size, (const char *)(bytes).data

/* --- names for people --- */

const char *table_verify_key_text(Bytes key, char *out, size_t size)
{
        const uint8_t tag_string = 0xa0, tag_number = 0x50;
        size_t n = MIN(key.size, (size_t)KEY_SHOWN_BYTES), at = 0;
        bool plain = key.size >= 2 && key.data[0] == tag_string && key.data[key.size - 1] == 0 && key.size <= n + 1;
        for (size_t i = 1; plain && i + 1 < key.size; i++)
                plain = key.data[i] >= 0x20 && key.data[i] != 0x7f;
        if (plain) {
                snprintf(out, size, "\"%.*s\"", (int)key.size - 2, (const char *)key.data + 1);
                return out;
        }
        if (key.size == 9 && key.data[0] == tag_number) {
                uint64_t bits = 0;
                double number;
                for (size_t i = 1; i < 9; i++)
                        bits = bits << 8 | key.data[i];
                bits = bits >> 63 ? bits & ~(UINT64_C(1) << 63) : ~bits;
                memcpy(&number, &bits, sizeof number);
                if (number > -1e300 && number < 1e300) {
                        snprintf(out, size, "%.17g", number);
                        return out;
                }
        }
        at = (size_t)snprintf(out, size, "with key ");
        for (size_t i = 0; i < n && at + 6 < size; i++)
                at += (size_t)snprintf(out + at, size - at, "%02x", key.data[i]);
        if (n < key.size && at + 4 < size)
                snprintf(out + at, size - at, "...");
        return out;
}

static KnownDb *db_of(const TableVerify *verify, Bytes id)
{
        for (KnownDb *db = verify->dbs; db; db = db->next)
                if (bytes_equal(db->id, id))
                        return db;
        return NULL;
}

static KnownTable *table_by_number(const TableVerify *verify, uint64_t store_id)
{
        return nummap_get(verify->by_number, store_id);
}

static KnownTable *table_by_id(const TableVerify *verify, Bytes id)
{
        for (KnownTable *table = verify->first; table; table = table->next)
                if (table->listed && bytes_equal(table->id, id))
                        return table;
        return NULL;
}

/* "db.table" into `out`. */
static const char *full_name(const TableVerify *verify, const KnownTable *table, char *out, size_t size)
{
        const KnownDb *db = db_of(verify, table->db_id);
        if (db)
                snprintf(out, size, "%.*s.%.*s", S(db->name), S(table->name));
        else
                snprintf(out, size, "%.*s", S(table->name));
        return out;
}

static const char *name_of(const TableVerify *verify, uint64_t table_id, char *out, size_t size)
{
        const KnownTable *table = table_by_number(verify, table_id);
        if (table)
                return full_name(verify, table, out, size);
        if (table_id == CATALOG_TABLE_ID)
                snprintf(out, size, "the catalog");
        else
                snprintf(out, size, "table %" PRIu64, table_id);
        return out;
}

const char *table_verify_name(const TableVerify *verify, uint64_t table_id, Arena *arena)
{
        char text[TEXT_BYTES];
        name_of(verify, table_id, text, sizeof text);
        return arena_dup(arena, text, strlen(text));
}

uint64_t table_verify_find(const TableVerify *verify, Bytes name)
{
        char text[TEXT_BYTES];
        for (const KnownTable *table = verify->first; table; table = table->next)
                if (table->listed && bytes_equal(BYTES_STR(full_name(verify, table, text, sizeof text)), name))
                        return table->store_id;
        return 0;
}

bool table_verify_listed(const TableVerify *verify, size_t i, Arena *arena, uint64_t *ret_id, const char **ret_name)
{
        for (const KnownTable *table = verify->first; table; table = table->next)
                if (table->listed && i-- == 0) {
                        *ret_id = table->store_id;
                        *ret_name = table_verify_name(verify, table->store_id, arena);
                        return true;
                }
        return false;
}

/* --- the catalog's rows --- */

static const char *wrong(TableVerify *verify, const char *format, ...) PRINTF_LIKE(2, 3);
static const char *wrong(TableVerify *verify, const char *format, ...)
{
        va_list args;
        va_start(args, format);
        vsnprintf(verify->text, sizeof verify->text, format, args);
        va_end(args);
        return verify->text;
}

static const char *bad_document(TableVerify *verify, Bytes key, const char *what)
{
        return wrong(verify, "the catalog's document `%.*s` %s", S(key), what);
}

/* A copy that stays; on failure verify->failed is set. */
static Bytes kept(TableVerify *verify, Bytes text)
{
        uint8_t *copy = arena_try_alloc(&verify->names, text.size + 1);
        if (!copy) {
                verify->failed = true;
                return BYTES_NONE;
        }
        if (text.size)
                memcpy(copy, text.data, text.size);
        copy[text.size] = 0;
        return BYTES(copy, text.size);
}

static void *kept_zeroed(TableVerify *verify, size_t size)
{
        void *p = arena_try_alloc(&verify->names, size);
        if (p)
                memset(p, 0, size);
        else
                verify->failed = true;
        return p;
}

static bool text_field(Value doc, const char *field, Bytes *ret_text)
{
        Value v = value_get_str(doc, field);
        if (!value_is(v, V_STRING))
                return false;
        *ret_text = value_bytes(v);
        return true;
}

static const char *database_row(TableVerify *verify, Bytes key, Value doc)
{
        Bytes uuid = BYTES(key.data + 1, key.size - 1), id, name;
        KnownDb *db = db_of(verify, uuid);
        if (value_is(doc, V_NONE)) {
                if (db)
                        db->listed = false;
                return NULL;
        }
        if (!text_field(doc, "id", &id) || !text_field(doc, "name", &name))
                return bad_document(verify, key, "lacks a text that belongs there");
        if (id.size != UUID_TEXT_BYTES || !bytes_equal(id, uuid))
                return bad_document(verify, key, "has another id than its key");
        if (!db) {
                db = kept_zeroed(verify, sizeof *db);
                if (!db)
                        return NULL;
                db->id = kept(verify, uuid);
                db->next = verify->dbs;
                verify->dbs = db;
        }
        if (!bytes_equal(db->name, name))
                db->name = kept(verify, name);
        db->listed = true;
        return NULL;
}

/* Those of an engine whose checkpoint is the catalog's: what is in another engine's files is of another moment. */
static const char *know_indexes(TableVerify *verify, KnownTable *table, Bytes key, Value doc)
{
        const EngineOps *engine = engine_find((const char *)table->engine.data);
        if (!engine || !engine->persistent)
                return NULL;
        Status st = index_verify_new(doc, &table->indexes);
        if (status_code(st) == ERR_NOMEM)
                verify->failed = true;
        bool unreadable = st && !verify->failed;
        status_ignore(st);
        return unreadable ? bad_document(verify, key, "has an index that cannot be read") : NULL;
}

static const char *table_row(TableVerify *verify, Bytes key, Value doc, bool after)
{
        Bytes uuid = BYTES(key.data + 1, key.size - 1), durability, acks;
        KnownTable *table = table_by_id(verify, uuid), said = {0};
        int64_t store_id, shards;
        if (value_is(doc, V_NONE)) {
                if (table)
                        table->listed = false;
                return NULL;
        }
        if (!text_field(doc, "id", &said.id) || !text_field(doc, "name", &said.name) ||
            !text_field(doc, "db", &said.db_id) || !text_field(doc, "primary_key", &said.primary_key) ||
            !text_field(doc, "engine", &said.engine) || !text_field(doc, "durability", &durability) ||
            !text_field(doc, "write_acks", &acks))
                return bad_document(verify, key, "lacks a text that belongs there");
        if (!value_integer(value_get_str(doc, "store_id"), &store_id) ||
            !value_integer(value_get_str(doc, "shards"), &shards))
                return bad_document(verify, key, "lacks a number that belongs there");
        if (said.id.size != UUID_TEXT_BYTES || !bytes_equal(said.id, uuid))
                return bad_document(verify, key, "has another id than its key");
        if (store_id < FIRST_TABLE_ID)
                return bad_document(verify, key, "names a table that is no ordinary one");
        KnownTable *same = table_by_number(verify, (uint64_t)store_id);
        if ((table && table->store_id != (uint64_t)store_id) || (same && same != table))
                return bad_document(verify, key, "names a table that is another's");
        if (!table) {
                table = kept_zeroed(verify, sizeof *table);
                if (!table)
                        return NULL;
                Status st = nummap_put(verify->by_number, (uint64_t)store_id, table, NULL);
                if (st) {
                        verify->failed = true;
                        status_ignore(st);
                        return NULL;
                }
                table->store_id = (uint64_t)store_id;
                if (verify->last)
                        verify->last->next = table;
                else
                        verify->first = table;
                verify->last = table;
        }
        table->id = kept(verify, said.id);
        table->name = kept(verify, said.name);
        table->db_id = kept(verify, said.db_id);
        table->primary_key = kept(verify, said.primary_key);
        table->engine = kept(verify, said.engine);
        table->listed = true;
        return after || verify->failed ? NULL : know_indexes(verify, table, key, doc);
}

static const char *meta_row(TableVerify *verify, Bytes key, Value doc)
{
        int64_t format, next;
        if (key.size != 1 || value_is(doc, V_NONE))
                return bad_document(verify, key, "is not one of a catalog");
        if (!value_integer(value_get_str(doc, "format"), &format) ||
            !value_integer(value_get_str(doc, "next_store_id"), &next))
                return bad_document(verify, key, "lacks a number that belongs there");
        if (format > CATALOG_FORMAT)
                return bad_document(verify, key, "is of a newer version of this program");
        verify->next_store_id = (uint64_t)next;
        return NULL;
}

/* `value` data NULL: a deletion, and `doc` is then V_NONE. */
static const char *catalog_row(TableVerify *verify, Bytes key, Bytes value, bool after)
{
        Value doc = value_none();
        verify->seen = true;
        if (key.size == 0)
                return bad_document(verify, key, "has no key");
        if (value.data) {
                if (!value_validate(value.data, value.size))
                        return bad_document(verify, key, "is not a document");
                doc = value_decode(value.data);
                if (!value_is(doc, V_OBJECT))
                        return bad_document(verify, key, "is not an object");
        }
        switch (key.data[0]) {
        case 'm': return meta_row(verify, key, doc);
        case 'd': return database_row(verify, key, doc);
        case 't': return table_row(verify, key, doc, after);
        case 'u':
                return value.data && !table_user_document_valid(key, doc)
                               ? bad_document(verify, key, "is not one of a user")
                               : NULL;
        case 's': /* settings of the server, of the cluster */
        case 'c': return key.size == 1 ? NULL : bad_document(verify, key, "is not one of a catalog");
        default: return bad_document(verify, key, "is not one of a catalog");
        }
}

/* --- rows of tables --- */

typedef struct Judged {
        Bytes key, value, primary_key; /* primary_key data NULL: not known */
        IndexVerify *indexes;          /* NULL: none are looked at */
        char *what;                    /* is wrong, TEXT_BYTES of it; empty: nothing */
        Status st;                     /* lack of memory */
} Judged;

/* Nothing may be held while the arena is asked for memory, since it may jump away: the message first, then the end. */
static void say(Judged *judged, const char *before, Status st)
{
        const char *message = status_message(st);
        snprintf(judged->what, TEXT_BYTES / 2, "%s%.*s", before, (int)strcspn(message, "\n"), message);
        status_ignore(st);
}

static void judge_key(Judged *judged, Value doc, Arena *arena)
{
        Bytes encoded;
        Value key = value_get(doc, judged->primary_key);
        if (value_is(key, V_NONE)) {
                snprintf(judged->what, TEXT_BYTES / 2, "its document has no primary key `%.*s`",
                         S(judged->primary_key));
                return;
        }
        Status st = key_encode_primary(key, arena, &encoded);
        if (st)
                say(judged, "its document's primary key cannot be one: ", st);
        else if (!bytes_equal(encoded, judged->key))
                snprintf(judged->what, TEXT_BYTES / 2,
                         "its document's primary key `%.*s` is another than the one it lies under",
                         S(judged->primary_key));
}

static Value judge(void *ctx, Arena *arena)
{
        Judged *judged = ctx;
        if (!value_validate(judged->value.data, judged->value.size)) {
                snprintf(judged->what, TEXT_BYTES / 2, "it is not a document");
                return value_none();
        }
        Value doc = value_decode(judged->value.data);
        if (!value_is(doc, V_OBJECT)) {
                snprintf(judged->what, TEXT_BYTES / 2, "it is not an object but of type %s", value_type_name(doc));
                return value_none();
        }
        if (!judged->primary_key.data)
                return value_none();
        judge_key(judged, doc, arena);
        if (!*judged->what) {
                /* As its own successor: then the key need not be encoded again, and all else is checked. */
                TableInfo info = {.primary_key = judged->primary_key};
                Status st = row_check(&info, judged->key, doc, doc, arena);
                if (st)
                        say(judged, "", st);
        }
        if (judged->indexes)
                judged->st = index_verify_row(judged->indexes, judged->key, doc, arena);
        return value_none();
}

static const char *user_row(TableVerify *verify, uint64_t table_id, Bytes key, Bytes value, bool after)
{
        char name[TEXT_BYTES], key_text[KEY_TEXT_BYTES], what[TEXT_BYTES];
        const KnownTable *table = table_by_number(verify, table_id);
        Judged judged = {.key = key,
                         .value = value,
                         .primary_key = table ? table->primary_key : BYTES_NONE,
                         .indexes = table && !after ? table->indexes : NULL,
                         .what = what};
        Value ignored;
        what[0] = 0;
        if (!value.data)
                return NULL;
        arena_reset(&verify->row);
        Status st = build_guarded(&verify->row, judge, &judged, &ignored);
        if (!st)
                st = judged.st;
        if (st) {
                verify->failed = true;
                status_ignore(st);
                return NULL;
        }
        if (!what[0])
                return NULL;
        return wrong(verify, "%s, row %s: %s", name_of(verify, table_id, name, sizeof name),
                     table_verify_key_text(key, key_text, sizeof key_text), what);
}

const char *table_verify_row(TableVerify *verify, uint64_t table_id, Bytes key, Bytes value, bool after)
{
        if (verify->failed)
                return NULL;
        if (table_id == CATALOG_TABLE_ID)
                return catalog_row(verify, key, value, after);
        return table_id >= FIRST_TABLE_ID ? user_row(verify, table_id, key, value, after) : NULL;
}

void table_verify_entry(TableVerify *verify, uint64_t table_id, uint32_t tree, Bytes key, Bytes value, bool after)
{
        const KnownTable *table = table_by_number(verify, table_id);
        if (table && table->indexes && !after)
                index_verify_entry(table->indexes, tree, key, value);
}

/* --- the whole --- */

void table_verify_damaged(TableVerify *verify, uint64_t table_id)
{
        KnownTable *table = table_by_number(verify, table_id);
        verify->damaged |= table_id == CATALOG_TABLE_ID;
        if (table)
                table->damaged = true;
}

Status table_verify_table(TableVerify *verify, uint64_t table_id, const char *engine)
{
        KnownTable *table = table_by_number(verify, table_id);
        if (table_id < FIRST_TABLE_ID)
                return ST_OK;
        if (!table || !table->listed) {
                verify->stranger_count++;
                return nummap_put(verify->strangers, table_id, verify, NULL);
        }
        table->present = true;
        /* What the document says is what a new start would go by; the files are right. */
        if (!bytes_equal(table->engine, BYTES_STR(engine)))
                table->engine = BYTES_NONE;
        return ST_OK;
}

typedef struct Report {
        Status (*problem)(void *ctx, const char *text);
        void *ctx;
        char text[TEXT_BYTES], name[TEXT_BYTES / 2];
} Report;

static Status report(Report *to, const char *format, ...) PRINTF_LIKE(2, 3);
static Status report(Report *to, const char *format, ...)
{
        va_list args;
        va_start(args, format);
        vsnprintf(to->text, sizeof to->text, format, args);
        va_end(args);
        return to->problem(to->ctx, to->text);
}

static Status finish_dbs(TableVerify *verify, Report *to)
{
        for (KnownDb *db = verify->dbs; db; db = db->next)
                for (KnownDb *other = db->next; other; other = other->next)
                        if (db->listed && other->listed && bytes_equal(db->name, other->name))
                                TRY(report(to, "the catalog has two databases of the name %.*s", S(db->name)));
        return ST_OK;
}

static Status finish_table(TableVerify *verify, KnownTable *table, Map *names, Report *to)
{
        const KnownDb *db = db_of(verify, table->db_id);
        const char *name = full_name(verify, table, to->name, sizeof to->name);
        void *old;
        if (!db || !db->listed)
                TRY(report(to, "the catalog's table %s is of a database that does not exist", name));
        TRY(map_put(names, BYTES_STR(name), table, &old));
        if (old)
                TRY(report(to, "the catalog has two tables of the name %s", name));
        if (table->store_id >= verify->next_store_id)
                TRY(report(to, "the catalog's table %s has a number that has not been given out yet (%" PRIu64 ")",
                           name, table->store_id));
        if (!table->present)
                return report(to, "the catalog's table %s (table %" PRIu64 ") is not in the files", name,
                              table->store_id);
        if (!table->engine.data)
                return report(to, "table %s (table %" PRIu64 ") has another storage engine than the catalog says", name,
                              table->store_id);
        return ST_OK;
}

static Status finish_indexes(const TableVerify *verify, const KnownTable *table, Report *to)
{
        char what[TEXT_BYTES / 4];
        Bytes name;
        if (!table->indexes || table->damaged)
                return ST_OK;
        for (size_t i = 0; index_verify_result(table->indexes, i, &name, what, sizeof what); i++)
                if (what[0])
                        TRY(report(to, "%s, index %.*s: %s", full_name(verify, table, to->name, sizeof to->name),
                                   S(name), what));
        return ST_OK;
}

static Status finish_strangers(TableVerify *verify, Report *to)
{
        size_t cursor = 0;
        uint64_t id;
        void *value;
        while (nummap_next(verify->strangers, &cursor, &id, &value))
                TRY(report(to, "table %" PRIu64 " is in the files, but not in the catalog", id));
        return ST_OK;
}

Status table_verify_finish(TableVerify *verify, Status (*problem)(void *ctx, const char *text), void *ctx)
{
        Report to = {.problem = problem, .ctx = ctx};
        if (verify->failed)
                return status_nomem();
        if (verify->damaged)
                return report(&to, "the catalog is damaged, so names of tables and primary keys could not all be "
                                   "checked");
        if (!verify->seen)
                return verify->stranger_count ? report(&to, "there are tables but no catalog that names them") : ST_OK;
        if (verify->next_store_id < FIRST_TABLE_ID)
                TRY(report(&to, "the catalog does not say which table number is next"));
        Map *names;
        TRY(map_new(&names));
        Status st = finish_dbs(verify, &to);
        for (KnownTable *table = verify->first; table && !st; table = table->next)
                if (table->listed) {
                        st = finish_table(verify, table, names, &to);
                        if (!st)
                                st = finish_indexes(verify, table, &to);
                }
        map_free(names);
        TRY(st);
        return finish_strangers(verify, &to);
}
