/* spill.h - what the query layer needs to put rows aside that do not fit into a query's memory: temporary files.
 * server/spill_files.c fills it in; QueryWorld.spill NULL: nothing is put aside, what does not fit fails.
 *
 * A file is written from its begin to its end by append and read anywhere. It has no name that anybody could open, and
 * is gone when it is closed or the process ends. The functions allocate on no arena, so nothing here is ever longjmped
 * past. Errors are ReQL errors, with advice, ready for the client. Threads: a file by one at a time. */
#ifndef QUERY_SPILL_H
#define QUERY_SPILL_H

#include "base/bytes.h"

typedef struct SpillFile SpillFile;
typedef struct SpillOps {
        void *ctx;
        Status (*create)(void *ctx, SpillFile **ret_file);
        /* After a failure the file is only good for being closed. */
        Status (*append)(SpillFile *file, const void *data, size_t size);
        /* Exactly `size` bytes: fewer are an error. */
        Status (*read_at)(SpillFile *file, uint64_t offset, void *out, size_t size);
        void (*close)(SpillFile *file);
} SpillOps;

#endif
