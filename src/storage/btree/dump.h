/* dump.h - what is in a page file, as text for people who debug. Reads only; of a data directory that nobody has open.
 */
#ifndef STORAGE_BTREE_DUMP_H
#define STORAGE_BTREE_DUMP_H

#include "base/bytes.h"
#include "os/os.h"

typedef enum PageDumpKind {
        PAGE_DUMP_SUPERBLOCKS, /* all four copies, and which one counts */
        PAGE_DUMP_SPACE,       /* the saved space: sums, and each class */
        PAGE_DUMP_DIRECTORY,   /* the rows of all tables */
        PAGE_DUMP_TABLE,       /* number: a table's id. Its row, and the root record with its trees */
        PAGE_DUMP_EXTENT,      /* number: an extent. A node with its keys, children, values; a root record; or bytes */
        PAGE_DUMP_OFFSET,      /* number: an offset in the file. What is there, and the extent around it */
} PageDumpKind;
typedef struct PageDumpWhat {
        PageDumpKind kind;
        uint64_t number;
} PageDumpWhat;

/* Appends lines to `out`. What is damaged is said in the text, as far as the rest can be shown. ERR_NOT_FOUND (no page
 * file, no such table), ERR_CORRUPT (nothing can be shown), ERR_LIMIT (`out`), ERR_IO, ERR_NOMEM. */
MUST_USE Status page_dump(Os *os, const char *data_dir, const PageDumpWhat *what, Buf *out);

#endif
