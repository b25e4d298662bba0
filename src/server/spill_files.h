/* spill_files.h - temporary files of queries, for what does not fit into their memory (query/spill.h).
 *
 * They are in the directory `tmp` of the data directory, and have a name only while they are being made: closing one,
 * or the end of the process, gives its room back. What a crash just then left is removed when the server starts.
 * Threads: any; a file by one at a time. */
#ifndef SERVER_SPILL_FILES_H
#define SERVER_SPILL_FILES_H

#include "os/os.h"
#include "query/spill.h"

#define SPILL_DIR "tmp"

typedef struct SpillFiles SpillFiles;
/* Makes the directory, and empties it: the data directory is locked. `max_bytes`: of all files together; 0: half of
 * what the disk has free now. */
MUST_USE Status spill_files_open(Os *os, const char *data_dir, uint64_t max_bytes, SpillFiles **ret_files);
SpillFiles *spill_files_close(SpillFiles *files); /* no file is open any more; NULL is fine; returns NULL */
const SpillOps *spill_files_ops(const SpillFiles *files);

typedef struct SpillFilesStats {
        uint64_t files, bytes;             /* now */
        uint64_t files_total, bytes_total; /* since the start */
        uint64_t max_bytes;
} SpillFilesStats;
void spill_files_stats(const SpillFiles *files, SpillFilesStats *ret_stats);

#endif
