/* plan_stats.c - statistics of an index, taken when they are asked for: nothing is kept that a write would have to keep
 * right. Counts are exact and so are both ends; the number of different values is estimated from places in the tree. */
#include "query/plan_int.h"

#define SAMPLES 64

/* What is allocated while a scan is open may throw the query out: then it is closed with the query. */
typedef struct OpenScan {
        const TableSource *source;
        TableScan *scan;
} OpenScan;

static void close_scan(void *what)
{
        OpenScan *open = what;
        open->source->scan_close(open->scan);
}

/* The value at an end or, ascending, at place n. V_NONE: there is none. In `hold`. */
static Status value_at_place(Env *env, TableView *view, Bytes index, bool descending, uint64_t n, Arena *hold,
                             Value *ret)
{
        const TableSource *source = env->source;
        Value row;
        uint64_t skipped = 0;
        *ret = value_none();
        OpenScan *open = arena_new(env->query_arena, OpenScan);
        open->source = source;
        TRY(source->index_scan_open(view, index, NULL, descending, &open->scan));
        Deferred *deferred = env_defer(env, close_scan, open);
        Status st = n ? source->scan_skip(open->scan, n, &skipped) : ST_OK;
        if (!st)
                st = source->scan_next(open->scan, hold, &row);
        if (!st && !value_is(row, V_NONE))
                st = source->scan_index_value(open->scan, hold, ret);
        env_undefer(env, deferred);
        return st;
}

/* Of entries at even distances, each stands for as many of its kind as there are, so the mean of one over that, times
 * the entries, is the number of kinds: exact on the average, and always where all values are different or few. */
static Status estimate_distinct(Env *env, TableView *view, Bytes index, uint64_t entries, double *ret)
{
        _cleanup_(scratch_putp) Scratch *scratch = scratch_get(env);
        uint64_t samples = MIN(entries, (uint64_t)SAMPLES);
        double sum = 0;
        for (uint64_t i = 0; i < samples; i++) {
                Value value;
                uint64_t same = 0;
                uint64_t place = samples == entries ? i : (uint64_t)(((double)i + 0.5) * (double)entries / SAMPLES);
                TRY(env_poll(env));
                arena_reset(&scratch->arena);
                TRY(value_at_place(env, view, index, false, place, &scratch->arena, &value));
                if (value_is(value, V_NONE))
                        continue;
                KeyBounds bounds = {.low = value, .high = value, .low_type = BOUND_CLOSED, .high_type = BOUND_CLOSED};
                TRY(env->source->index_count(view, index, &bounds, &same));
                sum += same ? 1 / (double)same : 0;
        }
        *ret = samples ? sum * (double)entries / (double)samples : 0;
        return ST_OK;
}

Status plan_index_stats(Env *env, TableView *view, const IndexInfo *index, Arena *hold, PlanIndexStats *ret)
{
        *ret = (PlanIndexStats){.min = value_none(), .max = value_none()};
        TRY(env->source->index_count(view, index->name, NULL, &ret->entries));
        if (env->source->index_rest_count)
                TRY(env->source->index_rest_count(view, index->name, INDEX_REST_VALUES, NULL, &ret->rest));
        TRY(value_at_place(env, view, index->name, false, 0, hold, &ret->min));
        TRY(value_at_place(env, view, index->name, true, 0, hold, &ret->max));
        return estimate_distinct(env, view, index->name, ret->entries, &ret->distinct);
}
