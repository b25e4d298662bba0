/* snapshot_file.h - all tables at one position, in one file of checksummed blocks. Format: README.md in this folder.
 * Threads: a writer or reader belongs to one thread. */
#ifndef STORAGE_SNAPSHOT_FILE_H
#define STORAGE_SNAPSHOT_FILE_H

#include "os/os.h"

#define SNAPSHOT_VERSION    3
#define SNAPSHOT_TREES_MAX  255
#define SNAPSHOT_NAME_BYTES 48

void snapshot_file_name(uint64_t position, char out[SNAPSHOT_NAME_BYTES]);
/* False if it is not such a name. */
bool snapshot_file_parse(const char *name, uint64_t *ret_position);

/* What a file says of the log beside it. */
typedef struct SnapshotHead {
        uint64_t position;       /* what it holds */
        uint64_t log_from;       /* frames behind this one are needed: = position, less when a table is damaged */
        uint64_t log_generation; /* of the newest log file that may be gone */
        int64_t wall_us;         /* when the commit at `position` was made; 0: none was */
} SnapshotHead;

/* For a copy that goes on as a store of its own, in place and synced: new log files get numbers above `log_generation`,
 * and no older log is needed (what of a damaged table is only there is lost). */
MUST_USE Status snapshot_file_move(OsDir *dir, uint64_t position, uint64_t log_generation);

/* --- writing: open, (table, row*)*, finish. Nothing has the final name before finish succeeded. --- */
typedef struct SnapshotWriter SnapshotWriter;
MUST_USE Status snapshot_writer_open(OsDir *dir, const SnapshotHead *head, SnapshotWriter **ret_writer);
MUST_USE Status snapshot_writer_table(SnapshotWriter *writer, uint64_t table_id, const char *engine);
/* Trees of a table ascend, and keys of a tree. */
MUST_USE Status snapshot_writer_row(SnapshotWriter *writer, uint32_t tree, Bytes key, Bytes value);
/* Syncs, renames, syncs the directory. */
MUST_USE Status snapshot_writer_finish(SnapshotWriter *writer);
/* Frees; removes the unfinished file, if any. NULL is fine; returns NULL. */
SnapshotWriter *snapshot_writer_close(SnapshotWriter *writer);

/* --- reading --- */
MUST_USE Status snapshot_file_head(OsDir *dir, uint64_t position, SnapshotHead *ret_head);
typedef struct SnapshotVisitor {
        void *ctx;
        Status (*table)(void *ctx, uint64_t table_id, const char *engine);
        Status (*row)(void *ctx, uint32_t tree, Bytes key, Bytes value); /* of the last table; ascending */
} SnapshotVisitor;
/* ERR_CORRUPT (names file and offset), ERR_VERSION; what was visited before is then worth nothing. */
MUST_USE Status snapshot_file_read(OsDir *dir, uint64_t position, const SnapshotVisitor *visitor);

#endif
