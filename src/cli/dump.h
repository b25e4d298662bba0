/* dump.h - what dump-page and dump-log share: a data directory that is only looked at, and the names in its catalog. */
#ifndef CLI_DUMP_H
#define CLI_DUMP_H

#include "base/arena.h"
#include "base/bytes.h"
#include "os/os.h"

/* Opens the directory for reading. If a server has it open, a remark on stderr says that the newest may be missing. */
MUST_USE Status dump_open(const char *path, bool quiet, OsDir **ret_dir);

/* Names of tables by number and back. */
typedef struct DumpCatalog DumpCatalog;
MUST_USE Status dump_catalog_new(DumpCatalog **ret_catalog);
DumpCatalog *dump_catalog_free(DumpCatalog *catalog); /* NULL is fine; returns NULL */
/* The catalog as of the checkpoint, as far as it is readable: damage costs names and nothing else. */
MUST_USE Status dump_catalog_load(DumpCatalog *catalog, OsDir *dir);
/* A row of the log; of other tables it is ignored. `value` data NULL: deleted. */
void dump_catalog_note(DumpCatalog *catalog, uint64_t table_id, Bytes key, Bytes value);
/* "shop.orders", "the catalog", "table 17". */
const char *dump_catalog_name(const DumpCatalog *catalog, uint64_t table_id, Arena *arena);
uint64_t dump_catalog_find(const DumpCatalog *catalog, const char *name); /* 0: there is none */
/* The i-th name; false behind the last. */
bool dump_catalog_at(const DumpCatalog *catalog, size_t i, Arena *arena, uint64_t *ret_id, const char **ret_name);

/* A row's key for people: "abc", 12, or hexadecimal digits. Returns `out`. */
const char *dump_key_text(uint64_t table_id, Bytes key, char *out, size_t size);

#endif
