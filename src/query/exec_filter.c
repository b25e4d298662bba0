/* exec_filter.c - see exec_filter.h. */
#include "query/exec_filter.h"

#include "query/exec_int.h"

struct ExecFilter {
        ExecJob job;
        ExecPart part;
        const Term *term;
        TableBlock block;
        uint32_t at;     /* the next row is first + at of the block */
        uint64_t passed; /* rows of the table */
        uint8_t *passes; /* for each row of the block, from `first` on */
        size_t capacity;
        Arena *arena;
};

static void close_filter(void *what)
{
        exec_part_done(&((ExecFilter *)what)->part);
}

/* Steps from the top down; all of them filters. */
static bool find_filters(const Stream *stream, const TableVal **ret_table, RowStep *steps, size_t *ret_count)
{
        for (*ret_count = 0; !stream_is_scan(stream, ret_table); ++*ret_count) {
                const Stream *below;
                if (*ret_count == EXEC_STEPS_MAX || !stream_is_step(stream, &below, &steps[*ret_count]) ||
                    steps[*ret_count].kind != ROW_FILTER)
                        return false;
                stream = below;
        }
        return true;
}

static bool open_scan(ExecFilter *filter, Env *env, const TableVal *table, const RowStep *steps, size_t count)
{
        ExecJob *job = &filter->job;
        uint64_t rows;
        int source = -1;
        if (!exec_job_open(env, job, table, &rows))
                return false;
        while (count)
                if (!exec_job_add_step(env, job, &steps[--count], &source))
                        return false;
        Status st =
                job->source->scan_open(job->view, table->has_bounds ? &table->bounds : NULL, false, &filter->part.scan);
        if (st)
                filter->part.scan = NULL;
        status_ignore(st);
        return !st;
}

ExecFilter *exec_filter_open(Env *env, const Stream *stream)
{
        const TableVal *table;
        RowStep steps[EXEC_STEPS_MAX];
        size_t count;
        if (!env->planning || env->trace || !find_filters(stream, &table, steps, &count))
                return NULL;
        Arena *outer = env->arena, *arena = stream_arena(env);
        ExecFilter *filter = arena_new(arena, ExecFilter);
        filter->arena = arena;
        filter->term = stream->term;
        exec_part_init(&filter->part, &filter->job, env->world->memory_max_bytes);
        env_defer(env, close_filter, filter);
        env->arena = arena;
        bool good = open_scan(filter, env, table, steps, count);
        env->arena = outer;
        return good ? filter : NULL;
}

/* The next block; *ret_end: there is none; *ret_gives_up: it cannot be asked. */
static Status next_block(ExecFilter *filter, Env *env, bool *ret_end, bool *ret_gives_up)
{
        TableBlock *block = &filter->block;
        bool supported = false;
        TRY(env_poll(env));
        TRY(fail_at(env, filter->term, filter->job.source->block_next(filter->part.scan, block, &supported)));
        filter->at = 0;
        *ret_end = supported && block->count == 0;
        *ret_gives_up = !supported;
        if (!supported || *ret_end)
                return ST_OK;
        if (block->count > filter->capacity) {
                filter->capacity = block->count;
                filter->passes = arena_array(filter->arena, uint8_t, block->count);
        }
        *ret_gives_up = !exec_part_filter(&filter->part, block, filter->passes);
        return ST_OK;
}

static Status add_row(ExecFilter *filter, Env *env, Arena *out, ValueVec *batch, Batcher *batcher, bool *ret_full)
{
        uint32_t at = filter->at++;
        Value row;
        arena_reset(&filter->part.hold);
        TRY(fail_at(
                env, filter->term,
                filter->job.source->block_row(filter->part.scan, filter->block.first + at, &filter->part.hold, &row)));
        filter->passed++;
        *ret_full = batcher_add(batcher, env, row);
        if (filter->passes[at])
                vec_add(batch, out, value_copy(row, out)); /* the block does not stay */
        return ST_OK;
}

Status exec_filter_next(ExecFilter *filter, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end,
                        bool *ret_gives_up, uint64_t *ret_passed)
{
        size_t before = batch->count;
        *ret_gives_up = false;
        do { /* as many rows of the table as a batch takes; again, if none of them passes */
                Batcher batcher = batcher_start(env, SOURCE_TABLE, want);
                *ret_passed = filter->passed;
                for (bool full = false; !full && !*ret_end;) {
                        if (filter->at < filter->block.count)
                                TRY(add_row(filter, env, out, batch, &batcher, &full));
                        else
                                TRY(next_block(filter, env, ret_end, ret_gives_up));
                        if (*ret_gives_up) {
                                batch->count = before;
                                return ST_OK;
                        }
                }
        } while (batch->count == before && !*ret_end);
        return ST_OK;
}
