/* dump_page.c - `photondb dump-page`: a part of the page file as text, for people who debug. What it shows is
 * storage/btree/dump.h's business. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>

#include "cli/command.h"
#include "cli/dump.h"
#include "storage/btree/dump.h"

enum { OUT_MAX_BYTES = 1 << 30 };

typedef struct DumpPageValues {
        const char *data_dir, *table, *extent, *offset;
        bool superblock, space, directory, quiet;
} DumpPageValues;

static const Option dump_page_options[] = {
        {"data-dir", OPTION_TEXT, offsetof(DumpPageValues, data_dir), "DIR", "./photondb_data", NULL, 0, 0,
         "a server's data directory, or a backup"},
        {"superblock", OPTION_FLAG, offsetof(DumpPageValues, superblock), NULL, NULL, NULL, 0, 0,
         "where the file begins: all copies, and which one counts"},
        {"space", OPTION_FLAG, offsetof(DumpPageValues, space), NULL, NULL, NULL, 0, 0,
         "what is used and free, by size of extents"},
        {"directory", OPTION_FLAG, offsetof(DumpPageValues, directory), NULL, NULL, NULL, 0, 0,
         "all tables: their roots and positions"},
        {"table", OPTION_TEXT, offsetof(DumpPageValues, table), "DB.TABLE", NULL, NULL, 0, 0,
         "the root of this table; or its number"},
        {"extent", OPTION_TEXT, offsetof(DumpPageValues, extent), "N", NULL, NULL, 0, 0,
         "an extent, as other dumps name it (hexadecimal): a node with its keys, a value"},
        {"offset", OPTION_TEXT, offsetof(DumpPageValues, offset), "N", NULL, NULL, 0, 0,
         "what lies at this place of the file, as an error names it"},
        {"quiet", OPTION_FLAG, offsetof(DumpPageValues, quiet), NULL, NULL, NULL, 0, 0, "no remarks"},
        {NULL},
};

/* As dumps and errors write them: offsets in decimal (or after 0x), extents in hexadecimal digits. */
static Status parse_number(const char *option, const char *text, int base, uint64_t *ret_number)
{
        char *end;
        errno = 0;
        *ret_number = strtoull(text, &end, base);
        if (!isxdigit((unsigned char)*text) || *end || errno)
                return status_new(ERR_INVALID, "--%s: \"%s\" is not a number", option, text);
        return ST_OK;
}

static Status parse_what(const DumpPageValues *values, PageDumpWhat *ret_what)
{
        int given = values->superblock + values->space + values->directory + (values->table != NULL) +
                    (values->extent != NULL) + (values->offset != NULL);
        if (given != 1)
                return status_hint(status_new(ERR_INVALID, given ? "dump-page shows one thing at a time"
                                                                 : "dump-page needs to know what to show"),
                                   "one of --superblock, --space, --directory, --table, --extent, --offset");
        *ret_what = (PageDumpWhat){.kind = values->superblock  ? PAGE_DUMP_SUPERBLOCKS
                                           : values->space     ? PAGE_DUMP_SPACE
                                           : values->directory ? PAGE_DUMP_DIRECTORY
                                           : values->table     ? PAGE_DUMP_TABLE
                                           : values->extent    ? PAGE_DUMP_EXTENT
                                                               : PAGE_DUMP_OFFSET};
        if (values->extent)
                return parse_number("extent", values->extent, 16, &ret_what->number);
        return values->offset ? parse_number("offset", values->offset, 0, &ret_what->number) : ST_OK;
}

/* A name needs the catalog; a number does not, which may be what is damaged. */
static Status find_table(const DumpPageValues *values, OsDir *dir, PageDumpWhat *what)
{
        DumpCatalog *catalog;
        char *end;
        what->number = strtoull(values->table, &end, 10);
        if (*end == 0 && what->number)
                return ST_OK;
        TRY(dump_catalog_new(&catalog));
        Status st = dump_catalog_load(catalog, dir);
        what->number = st ? 0 : dump_catalog_find(catalog, values->table);
        if (!st && what->number == 0)
                st = status_hint(
                        status_new(ERR_NOT_FOUND, "the catalog of the checkpoint has no table %s", values->table),
                        "--directory lists the tables by number; a new table is only in the log: dump-log");
        dump_catalog_free(catalog);
        return st;
}

static Status run_dump_page(const Invocation *invocation, int *ret_exit)
{
        const DumpPageValues *values = invocation->values;
        _cleanup_(os_dir_closep) OsDir *dir = NULL;
        _cleanup_(buf_done) Buf out = {0};
        PageDumpWhat what;
        *ret_exit = EXIT_USAGE;
        TRY(parse_what(values, &what));
        *ret_exit = EXIT_FAILED;
        TRY(dump_open(values->data_dir, values->quiet, &dir));
        if (values->table)
                TRY(find_table(values, dir, &what));
        buf_init(&out, OUT_MAX_BYTES);
        TRY(page_dump(os_posix(), values->data_dir, &what, &out));
        output_text(stdout, BYTES(out.data, out.size));
        *ret_exit = EXIT_DONE;
        return ferror(stdout) ? status_errno(errno, "cannot write to the standard output") : ST_OK;
}

const Command dump_page_command = {
        .name = "dump-page",
        .words = "",
        .summary = "show a part of the page file",
        .details = "For people who debug, and for an offset that an error message names. Reads only. Beside a running\n"
                   "server it shows the newest checkpoint, not what came after it; pages that the server rewrites\n"
                   "meanwhile may look damaged.",
        .examples = "photondb dump-page --data-dir /var/lib/photondb --superblock\n"
                    "photondb dump-page --table shop.orders\n"
                    "photondb dump-page --offset 1048576",
        .options = dump_page_options,
        .values_bytes = sizeof(DumpPageValues),
        .run = run_dump_page,
};
