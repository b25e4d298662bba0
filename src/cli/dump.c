/* dump.c - looking into a data directory from outside: names of tables without opening a store. */
#include "cli/dump.h"

#include <stdio.h>

#include "base/mem.h"
#include "cli/command.h"
#include "storage/snapshot_file.h"
#include "storage/store.h"
#include "table/verify.h"

#define CATALOG_ID 1

struct DumpCatalog {
        TableVerify *names;
        bool inside; /* the table being read is the catalog */
};

/* The lock is let go at once: it only answers a question, and a server that starts now must not be kept out. */
static Status look_for_server(const char *path, bool quiet)
{
        _cleanup_(os_dir_closep) OsDir *dir = NULL;
        bool locked;
        TRY(os_dir_open(os_posix(), path, OS_DIR_READ, &dir));
        Status st = os_dir_lock_existing(dir, "LOCK", &locked);
        if (status_code(st) == ERR_BUSY && !quiet)
                fprintf(stderr, "A server has %s open: what it wrote last may not be in the files yet.\n", path);
        status_ignore(st); /* who may not read LOCK may be able to read the rest */
        return ST_OK;
}

Status dump_open(const char *path, bool quiet, OsDir **ret_dir)
{
        TRY(look_for_server(path, quiet));
        return os_dir_open(os_posix(), path, OS_DIR_READ, ret_dir);
}

Status dump_catalog_new(DumpCatalog **ret_catalog)
{
        DumpCatalog *catalog = mem_zalloc(sizeof *catalog);
        if (!catalog)
                return status_nomem();
        Status st = table_verify_new(&catalog->names);
        if (st) {
                mem_free(catalog);
                return st;
        }
        *ret_catalog = catalog;
        return ST_OK;
}

DumpCatalog *dump_catalog_free(DumpCatalog *catalog)
{
        if (catalog) {
                table_verify_free(catalog->names);
                mem_free(catalog);
        }
        return NULL;
}

void dump_catalog_note(DumpCatalog *catalog, uint64_t table_id, Bytes key, Bytes value)
{
        if (table_id == CATALOG_ID)
                (void)table_verify_row(catalog->names, table_id, key, value, true);
}

const char *dump_catalog_name(const DumpCatalog *catalog, uint64_t table_id, Arena *arena)
{
        return table_verify_name(catalog->names, table_id, arena);
}

uint64_t dump_catalog_find(const DumpCatalog *catalog, const char *name)
{
        return table_verify_find(catalog->names, BYTES_STR(name));
}

bool dump_catalog_at(const DumpCatalog *catalog, size_t i, Arena *arena, uint64_t *ret_id, const char **ret_name)
{
        return table_verify_listed(catalog->names, i, arena, ret_id, ret_name);
}

const char *dump_key_text(uint64_t table_id, Bytes key, char *out, size_t size)
{
        if (table_id != CATALOG_ID)
                return table_verify_key_text(key, out, size);
        snprintf(out, size, "\"%.*s\"", (int)MIN(key.size, size / 2), (const char *)key.data);
        return out;
}

/* --- the catalog's rows, wherever they are; ERR_CANCELLED: that was all of them --- */

static Status enough(void)
{
        return status_new(ERR_CANCELLED, "the catalog ends");
}

static Status snapshot_table(void *ctx, uint64_t table_id, const char *engine)
{
        DumpCatalog *catalog = ctx;
        (void)engine;
        if (catalog->inside)
                return enough();
        catalog->inside = table_id == CATALOG_ID;
        return ST_OK;
}

static Status snapshot_row(void *ctx, uint32_t tree, Bytes key, Bytes value)
{
        DumpCatalog *catalog = ctx;
        if (!catalog->inside)
                return enough(); /* tables come in order of number */
        if (tree == 0)
                dump_catalog_note(catalog, CATALOG_ID, key, value);
        return ST_OK;
}

/* Behind the first table, which the catalog is if it is here. */
static Status engine_table(void *ctx, uint64_t table_id, const char *engine, uint64_t row_count)
{
        (void)ctx;
        (void)table_id;
        (void)engine;
        (void)row_count;
        return enough();
}

static Status engine_row(void *ctx, uint64_t table_id, uint32_t tree, Bytes key, Bytes value)
{
        if (table_id != CATALOG_ID)
                return enough();
        if (tree == 0)
                dump_catalog_note(ctx, table_id, key, value);
        return ST_OK;
}

static Status note_snapshot(void *ctx, const char *name)
{
        uint64_t *newest = ctx, position;
        if (snapshot_file_parse(name, &position) && position > *newest)
                *newest = position;
        return ST_OK;
}

/* What cannot be read has no names; whoever wants to know why runs `photondb check`. */
static Status only_names(Status st)
{
        if (status_code(st) == ERR_NOMEM)
                return st;
        status_ignore(st);
        return ST_OK;
}

Status dump_catalog_load(DumpCatalog *catalog, OsDir *dir)
{
        SnapshotVisitor visitor = {.ctx = catalog, .table = snapshot_table, .row = snapshot_row};
        EngineOptions options = {.os = os_dir_os(dir), .dir = dir};
        EngineCheck check = {.ctx = catalog, .table = engine_table, .row = engine_row};
        const EngineOps *ops;
        uint64_t newest = 0;
        for (size_t i = 0; (ops = engine_at(i)); i++)
                if (ops->persistent && !ops->host)
                        TRY(only_names(ops->check(&options, &check)));
        TRY(os_dir_list(dir, note_snapshot, &newest));
        return newest ? only_names(snapshot_file_read(dir, newest, &visitor)) : ST_OK;
}
