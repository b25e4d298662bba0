/* exec_int.h - a scan under way: the job that exec_scan.c makes, and its parts (exec_part.c). */
#ifndef QUERY_EXEC_INT_H
#define QUERY_EXEC_INT_H

#include <setjmp.h>

#include "query/exec_scan.h"
#include "query/exec_vector.h"

#define EXEC_STEPS_MAX   16
#define EXEC_KEYS_MAX    8
#define EXEC_COLUMNS_MAX 64

/* A program and what it is run on. */
typedef struct ExecUse {
        const ExecProgram *program;
        const Frame *frame;
        int source;        /* argument 0: -1 the table's row, else what that step made */
        uint16_t *columns; /* of its inputs among the job's columns, if source is -1 */
} ExecUse;

typedef enum ExecMissing { MISSING_DROPS, MISSING_KEEPS, MISSING_BAILS } ExecMissing;
typedef struct ExecStep {
        bool maps; /* makes another value of the row; else it is a filter */
        ExecMissing on_missing;
        ExecUse use;
} ExecStep;

/* Immutable while parts run, but for `stop`. */
typedef struct ExecJob {
        const TableSource *source;
        TableView *view;
        unsigned type;
        ExecStep steps[EXEC_STEPS_MAX];
        size_t step_count, keys_at; /* keys are taken before this step */
        ExecUse keys[EXEC_KEYS_MAX];
        size_t key_count;
        ExecUse value; /* program NULL: none is needed */
        int row;       /* what MIN and MAX give: -1 or a step, as `source` above */
        ColumnWant columns[EXEC_COLUMNS_MAX];
        size_t column_count;
        size_t group_max;
        const atomic_bool *cancelled;
        const HostOps *host;
        int64_t deadline_ns; /* 0: none */
        atomic_bool stop;    /* a part gave up */
} ExecJob;

/* Numbers that wait to be added in order. Integers, as long as they stay small, may be added in any: a full batch of
 * such knows its sum. */
#define EXEC_BATCH 1024
typedef struct ExecBatch ExecBatch;
struct ExecBatch {
        ExecBatch *next;
        uint32_t count;
        bool exact;          /* integers, none of them -0 */
        double sum, largest; /* exact: of all; the sum of their absolute values */
        uint32_t *groups;    /* of each; NULL if the job has no keys */
        double values[EXEC_BATCH];
};
#define EXEC_EXACT 9007199254740992.0 /* 2^53: integers up to there are exact, and so are their sums */

typedef struct ExecBest {
        bool has;
        Value key, row;
        uint8_t *bytes; /* of both */
        size_t capacity;
} ExecBest;

/* A part of the table's rows: one task. What it finds out lives in its arena until the driver has merged it. */
typedef struct ExecPart {
        ExecJob *job;
        Bytes bounds;
        Arena arena;         /* what is found out */
        Arena scratch, hold; /* for some rows; for one document */
        jmp_buf oom;         /* no memory: gives up */
        TableScan *scan;
        bool failed;             /* gave up */
        unsigned refusals;       /* exec_column.h */
        GroupTable groups;       /* by number in order of appearance; without keys there is one */
        uint64_t *numbers;       /* bits of the numbers among the keys, if there is one key: the way to their groups */
        uint32_t *number_groups; /* + 1; 0: free. Open addressing, `number_slots` (a power of two), at most half full */
        size_t number_slots, number_count;
        size_t state_capacity;
        uint64_t *counts; /* for each group */
        ExecBest *bests;
        ExecBatch *first, *last;
} ExecPart;

/* exec_scan.c: a job over the table, or its range of primary keys; false: the general way is better. Then what is done
 * with its rows, one step after the other (*source as in ExecUse, -1 before the first); false: it is not for programs.
 */
bool exec_job_open(Env *env, ExecJob *job, const TableVal *table, uint64_t *ret_rows) MUST_USE;
bool exec_job_add_step(Env *env, ExecJob *job, const RowStep *step, int *source) MUST_USE;

void exec_part_init(ExecPart *part, ExecJob *job, size_t memory_max);
void exec_part_done(ExecPart *part); /* closes what is open */
/* Which rows of the block that part->scan stands at pass the job's steps, all of them filters: ret_passes[0 ..
 * block->count - 1]. False: they have to be asked one by one. */
bool exec_part_filter(ExecPart *part, const TableBlock *block, uint8_t *ret_passes) MUST_USE;
/* For HostOps.parallel: `arg` is the first ExecPart. Never jumps out. */
void exec_part_run(void *arg, size_t i);

#endif
