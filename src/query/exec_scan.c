/* exec_scan.c - recognising what can be done as a scan, running its parts, and adding them up: see exec_scan.h.
 *
 *      streams --recognise--> job --split--> parts --HostOps.parallel--> what each found --merge, in order--> answer
 *
 * Parts run in waves, so that the numbers that wait to be added take a bounded memory. */
#include "query/exec_int.h"

#include <math.h>

#include "query/plan_explain.h"
#include "query/spill_int.h"

#define MIN_ROWS  2000  /* a smaller table is done before columns and tasks are made */
#define ALONE_MAX 16384 /* rows that one thread does alone */
#define PART_ROWS 32768
#define WAVE_MAX  16 /* parts at a time */

/* What the driver holds; closed when the query ends, however it ends. */
typedef struct Scan {
        ExecJob job;
        ExecPart *parts;
        size_t part_count; /* that are initialised */
        /* what all parts found */
        GroupTable groups;
        ExecGroup *totals;
        size_t total_capacity;
        Arena *arena;
        size_t max_bytes; /* of the arena, for groups */
        const ExecProgram *reduce;
        const Frame *reduce_frame;
} Scan;

/* --- recognising --- */

static bool add_column(ExecJob *job, ExecPath path, uint16_t *ret)
{
        for (size_t i = 0; i < job->column_count; i++)
                if (exec_path_equal(job->columns[i].path, path)) {
                        *ret = (uint16_t)i;
                        return true;
                }
        if (job->column_count == EXEC_COLUMNS_MAX)
                return false;
        *ret = (uint16_t)job->column_count;
        job->columns[job->column_count++] = (ColumnWant){path, column_key(path)};
        return true;
}

static bool use_program(Env *env, ExecJob *job, const ExecProgram *program, const Frame *frame, int source,
                        ExecUse *ret)
{
        if (!program)
                return false;
        *ret = (ExecUse){.program = program, .frame = frame, .source = source};
        ret->columns = arena_array(env->arena, uint16_t, program->input_count);
        for (size_t i = 0; source < 0 && i < program->input_count; i++)
                if (!add_column(job, program->inputs[i], &ret->columns[i]))
                        return false;
        return true;
}

static bool use_func(Env *env, ExecJob *job, const Func *func, bool as_filter, int source, ExecUse *ret)
{
        const Frame *frame = func->kind == FUNC_TERM ? func->frame : NULL;
        return use_program(env, job, exec_of_func(env, func, as_filter), frame, source, ret);
}

/* Without a function: the row itself. */
static bool use_row(Env *env, ExecJob *job, int source, ExecUse *ret)
{
        return use_program(env, job, exec_of_row(env), NULL, source, ret);
}

bool exec_job_add_step(Env *env, ExecJob *job, const RowStep *from, int *source)
{
        ExecStep *step = &job->steps[job->step_count];
        if (job->step_count == EXEC_STEPS_MAX)
                return false;
        step->maps = from->kind != ROW_FILTER;
        step->on_missing = step->maps ? MISSING_BAILS : MISSING_DROPS;
        if (from->kind == ROW_GET_FIELD) {
                step->on_missing = MISSING_DROPS;
                if (!use_program(env, job, exec_of_field(env, from->key), NULL, *source, &step->use))
                        return false;
        } else if (!use_func(env, job, from->func, from->kind == ROW_FILTER, *source, &step->use)) {
                return false;
        }
        if (from->kind == ROW_FILTER && from->on_missing) {
                if (from->on_missing->type == TERM_DATUM)
                        step->on_missing = value_truthy(from->on_missing->datum) ? MISSING_KEEPS : MISSING_DROPS;
                else if (from->on_missing->type == TERM_ERROR)
                        step->on_missing = MISSING_BAILS;
                else
                        return false;
        }
        if (step->maps)
                *source = (int)job->step_count;
        job->step_count++;
        return true;
}

/* Down to the table, then the steps from there on. */
static bool find_steps(Env *env, ExecJob *job, const Stream *stream, const TableVal **ret_table, int *source)
{
        RowStep steps[EXEC_STEPS_MAX];
        size_t count = 0;
        while (!stream_is_scan(stream, ret_table)) {
                const Stream *below;
                if (count == EXEC_STEPS_MAX || !stream_is_step(stream, &below, &steps[count]))
                        return false;
                count++;
                stream = below;
        }
        while (count)
                if (!exec_job_add_step(env, job, &steps[--count], source))
                        return false;
        return true;
}

/* A term that waits between group and its aggregation. */
static bool pending_step(Env *env, const Pending *pending, RowStep *ret)
{
        const Term *term = pending->term, *arg = term->arg_count == 2 ? term->args[1] : NULL;
        if (!arg || term->opt_count || term->has_args_splice)
                return false;
        if (term->type == TERM_BRACKET || term->type == TERM_GET_FIELD) {
                *ret = (RowStep){.kind = ROW_GET_FIELD, .key = value_bytes(arg->datum)};
                return arg->type == TERM_DATUM && value_is(arg->datum, V_STRING);
        }
        if ((term->type != TERM_MAP && term->type != TERM_FILTER) || arg->type != TERM_FUNC)
                return false;
        Func *func = arena_new(env->arena, Func);
        *func = (Func){.kind = FUNC_TERM, .term = arg, .frame = pending->frame};
        *ret = (RowStep){.kind = term->type == TERM_MAP ? ROW_MAP : ROW_FILTER, .func = func};
        return true;
}

static bool find_groups(Env *env, ExecJob *job, const ExecRequest *request, int *source)
{
        job->keys_at = job->step_count;
        job->key_count = request->key_count;
        if (request->key_count > EXEC_KEYS_MAX)
                return false;
        for (size_t i = 0; i < request->key_count; i++)
                if (!use_func(env, job, request->keys[i], false, *source, &job->keys[i]))
                        return false;
        for (const Pending *pending = request->pending; pending; pending = pending->next) {
                RowStep step;
                if (!pending_step(env, pending, &step) || !exec_job_add_step(env, job, &step, source))
                        return false;
        }
        return true;
}

static bool find_reduce(Env *env, Scan *scan, const Func *func)
{
        if (func->kind != FUNC_TERM || func->term->param_count != 2)
                return false;
        scan->reduce = exec_find(env, func->term, false);
        scan->reduce_frame = func->frame;
        return scan->reduce != NULL;
}

/* What is to be done with each row in the end. */
static bool find_value(Env *env, Scan *scan, const ExecRequest *request, int source)
{
        ExecJob *job = &scan->job;
        job->type = request->type;
        job->row = source;
        if (request->type == TERM_COUNT && !request->func)
                return true;
        if (request->type == TERM_COUNT) {
                RowStep step = {.kind = ROW_FILTER, .func = request->func};
                return exec_job_add_step(env, job, &step, &source);
        }
        if (request->type == TERM_REDUCE)
                return find_reduce(env, scan, request->func) && use_row(env, job, source, &job->value);
        return request->func ? use_func(env, job, request->func, false, source, &job->value)
                             : use_row(env, job, source, &job->value);
}

/* --- adding up --- */

/* (a, b) => a.add(b); of numbers a + b is b + a, to the bit */
static bool is_sum(const ExecProgram *program)
{
        const ExecNode *root = program->root;
        return root->op == EXEC_ARITH && root->type == TERM_ADD && root->count == 2 && root->args[0]->op == EXEC_ARG &&
               root->args[1]->op == EXEC_ARG && root->args[0]->index != root->args[1]->index;
}

static bool reduce_two(const Scan *scan, Env *env, ExecGroup *total, double value)
{
        if (is_sum(scan->reduce)) {
                total->sum += value;
                return isfinite(total->sum);
        }
        Value pair[2] = {value_number(total->sum), value_number(value)}, result;
        ExecRow row = {.args = pair, .arg_count = 2, .frame = scan->reduce_frame, .arena = env->arena};
        ArenaMark mark = arena_mark(env->arena);
        if (exec_run(scan->reduce, &row, &result) != EXEC_OK || !value_is(result, V_NUMBER))
                return false;
        total->sum = result.number;
        arena_rewind(env->arena, mark);
        return true;
}

static void add_exactly(const Scan *scan, ExecGroup *total, double number)
{
        if (!total->exact)
                total->exact = arena_new(scan->arena, ExactSum);
        if (exact_sum_add(total->exact, number))
                return;
        exact_sum_widen(total->exact, arena_alloc(scan->arena, EXACT_SUM_WIDE_BYTES));
        (void)!exact_sum_add(total->exact, number);
}

static void sum_batch(const Scan *scan, ExecGroup *total, const ExecBatch *batch)
{
        total->count += batch->count;
        if (batch->exact) {
                add_exactly(scan, total, batch->sum);
                return;
        }
        if (!total->exact)
                total->exact = arena_new(scan->arena, ExactSum);
        for (size_t i = 0; (i += exact_sum_add_many(total->exact, batch->values + i, batch->count - i)) < batch->count;)
                exact_sum_widen(total->exact, arena_alloc(scan->arena, EXACT_SUM_WIDE_BYTES));
}

/* Without keys: numbers that can be added in any order are, others one after the other. */
static bool add_batch(const Scan *scan, Env *env, ExecGroup *total, const ExecBatch *batch)
{
        if (scan->job.type != TERM_REDUCE) {
                sum_batch(scan, total, batch);
                return true;
        }
        bool adds = is_sum(scan->reduce);
        uint32_t i = 0;
        if (!total->has && batch->count) {
                total->has = true;
                total->sum = batch->values[i++];
        } else if (adds && batch->exact && trunc(total->sum) == total->sum &&
                   fabs(total->sum) + batch->largest <= EXEC_EXACT) {
                total->sum += batch->sum;
                total->count += batch->count;
                return true;
        }
        total->count += batch->count;
        double sum = total->sum;
        for (; adds && i < batch->count; i++)
                sum += batch->values[i];
        total->sum = sum;
        for (; i < batch->count; i++)
                if (!reduce_two(scan, env, total, batch->values[i]))
                        return false;
        return isfinite(total->sum); /* what is not finite stays so */
}

static bool add_numbers(Scan *scan, Env *env, const ExecPart *part, const uint32_t *place)
{
        bool reduces = scan->job.type == TERM_REDUCE;
        for (const ExecBatch *batch = part->first; batch; batch = batch->next) {
                if (!batch->groups && !add_batch(scan, env, &scan->totals[0], batch))
                        return false;
                for (uint32_t i = 0; batch->groups && i < batch->count; i++) {
                        ExecGroup *total = &scan->totals[place[batch->groups[i]]];
                        if (!reduces) {
                                add_exactly(scan, total, batch->values[i]);
                                total->count++;
                        } else if (!total->has) {
                                total->has = true;
                                total->sum = batch->values[i];
                        } else if (!reduce_two(scan, env, total, batch->values[i])) {
                                return false;
                        }
                }
        }
        return true;
}

static void add_best(const Scan *scan, ExecGroup *total, Value *total_key, const ExecBest *best)
{
        int order = best->has && total->has ? value_compare(best->key, *total_key) : 0;
        if (!best->has || (total->has && (scan->job.type == TERM_MIN ? order >= 0 : order <= 0)))
                return;
        total->has = true;
        total->row = value_copy(best->row, scan->arena);
        *total_key = value_copy(best->key, scan->arena);
}

/* Where a part's groups stand among all groups. */
static const uint32_t *place_groups(Scan *scan, Env *env, const ExecPart *part)
{
        bool keyed = scan->job.key_count || scan->job.type == TERM_DISTINCT;
        size_t count = keyed ? part->groups.count : 1;
        uint32_t *place = arena_array(env->arena, uint32_t, count);
        for (size_t i = 0; i < count; i++) {
                bool is_new;
                place[i] = keyed ? (uint32_t)(group_table_find(&scan->groups, part->groups.entries[i].key, &is_new) -
                                              scan->groups.entries)
                                 : 0;
        }
        size_t needed = keyed ? scan->groups.count : 1;
        if (needed > scan->total_capacity) {
                size_t capacity = MAX(needed, 2 * scan->total_capacity);
                ExecGroup *totals = arena_zalloc(scan->arena, capacity * sizeof *totals);
                if (scan->total_capacity)
                        memcpy(totals, scan->totals, scan->total_capacity * sizeof *totals);
                scan->totals = totals;
                scan->total_capacity = capacity;
        }
        return place;
}

static bool merge_part(Scan *scan, Env *env, const ExecPart *part, Value *best_key)
{
        const ExecJob *job = &scan->job;
        const uint32_t *place = place_groups(scan, env, part);
        size_t count = job->key_count ? part->groups.count : 1;
        if (scan->groups.count > job->group_max)
                return false;
        if (job->type == TERM_DISTINCT)
                return true;
        for (size_t i = 0; i < count && (part->counts || part->bests); i++) {
                ExecGroup *total = &scan->totals[place[i]];
                if (part->counts)
                        total->count += part->counts[i];
                else
                        add_best(scan, total, job->key_count ? &total->key : best_key, &part->bests[i]);
        }
        return add_numbers(scan, env, part, place);
}

/* --- running --- */

static void close_scan(void *what)
{
        Scan *scan = what;
        for (size_t i = 0; i < scan->part_count; i++)
                exec_part_done(&scan->parts[i]);
        scan->part_count = 0;
}

static size_t choose_parts(const HostOps *host, uint64_t rows)
{
        size_t threads = host->parallel ? MAX(host->parallel_max, 1u) : 1;
        if (rows <= ALONE_MAX || threads == 1)
                return (size_t)((rows + PART_ROWS - 1) / PART_ROWS);
        size_t parts = MAX((size_t)((rows + PART_ROWS - 1) / PART_ROWS), 2 * threads);
        return (parts + WAVE_MAX - 1) / WAVE_MAX == 1 ? parts : (parts + WAVE_MAX - 1) / WAVE_MAX * WAVE_MAX;
}

static void run_wave(const HostOps *host, ExecPart *parts, size_t count)
{
        if (host->parallel && count > 1) {
                host->parallel(host->ctx, count, exec_part_run, parts);
                return;
        }
        for (size_t i = 0; i < count; i++)
                exec_part_run(parts, i);
}

static size_t part_memory(const Env *env)
{
        size_t max = env->world->memory_max_bytes;
        return max ? MAX(max / (2 * WAVE_MAX), (size_t)1 << 20) : 0;
}

/* False: gave up. */
static bool run_scan(Scan *scan, Env *env, const Bytes *bounds, size_t count)
{
        size_t wave = MIN(count, (size_t)WAVE_MAX);
        Value best_key = value_none();
        scan->parts = arena_array(env->arena, ExecPart, wave);
        for (size_t done = 0; done < count; done += wave) {
                size_t now = MIN(wave, count - done);
                for (size_t i = 0; i < now; i++) {
                        exec_part_init(&scan->parts[i], &scan->job, part_memory(env));
                        scan->parts[i].bounds = bounds[done + i];
                        scan->part_count = i + 1;
                }
                run_wave(env->world->host, scan->parts, now);
                bool good = true;
                for (size_t i = 0; i < now; i++)
                        good &= !scan->parts[i].failed;
                for (size_t i = 0; good && i < now; i++) /* in the table's order */
                        good = merge_part(scan, env, &scan->parts[i], &best_key) &&
                               env->arena->total_bytes <= scan->max_bytes;
                close_scan(scan);
                if (!good)
                        return false;
        }
        return true;
}

bool exec_job_open(Env *env, ExecJob *job, const TableVal *table, uint64_t *ret_rows)
{
        const TableSource *source = env->source;
        uint64_t least = env->world->scan_min_rows ? env->world->scan_min_rows : MIN_ROWS;
        if (!source->block_next || !source->split || !table_is_primary(table) || table->order < 0)
                return false;
        job->source = source;
        job->cancelled = env->cancelled;
        job->host = env->world->host;
        job->deadline_ns = env->deadline_ns;
        const Term *error_at = env->error_at;
        Status st = env_view(env, table->ref, &job->view);
        if (!st)
                st = source->view_count(job->view, table->has_bounds ? &table->bounds : NULL, ret_rows);
        env->error_at = error_at;
        status_ignore(st); /* the general path will meet it in its place */
        return !st && *ret_rows >= least;
}

static bool find_parts(Env *env, ExecJob *job, const TableVal *table, uint64_t rows, Bytes **ret_parts,
                       size_t *ret_count)
{
        size_t parts = choose_parts(env->world->host, rows);
        *ret_parts = arena_array(env->arena, Bytes, parts);
        Status st = job->source->split(job->view, table->has_bounds ? &table->bounds : NULL, parts, env->arena,
                                       *ret_parts, ret_count);
        status_ignore(st);
        return !st;
}

static void give(Scan *scan, const ExecRequest *request, ExecGroup **ret_groups, size_t *ret_count)
{
        bool keyed = request->key_count || request->type == TERM_DISTINCT;
        *ret_groups = scan->totals;
        *ret_count = keyed ? scan->groups.count : 1;
        for (size_t i = 0; i < *ret_count; i++) {
                ExecGroup *group = &scan->totals[i];
                group->key = keyed ? scan->groups.entries[i].key : value_none();
                if (request->type == TERM_REDUCE)
                        group->row = value_number(group->sum);
        }
}

Status exec_scan(Env *env, const Stream *stream, const ExecRequest *request, ExecGroup **ret_groups, size_t *ret_count,
                 bool *ret_done)
{
        const TableVal *table;
        int at = -1;
        Bytes *parts = NULL;
        size_t count = 0;
        uint64_t rows;
        *ret_done = false;
        if (!env->planning || (env->trace && !explain_measures(env)) || !stream_has_scan(stream))
                return ST_OK;
        bool spills = request->any_count || request->type == TERM_DISTINCT;
        size_t budget = spills ? spill_budget(env) : SIZE_MAX;
        ArenaMark mark = arena_mark(env->arena);
        Scan *scan = arena_new(env->arena, Scan);
        scan->arena = env->arena;
        scan->max_bytes = budget == SIZE_MAX ? SIZE_MAX : env->arena->total_bytes + budget; /* more goes to disk */
        scan->job.group_max = request->key_count && !request->any_count ? env->array_limit : UINT32_MAX;
        if (!find_steps(env, &scan->job, stream, &table, &at) || !find_groups(env, &scan->job, request, &at) ||
            !find_value(env, scan, request, at) || !exec_job_open(env, &scan->job, table, &rows) ||
            !find_parts(env, &scan->job, table, rows, &parts, &count))
                return ST_OK;
        group_table_init(&scan->groups, env->arena);
        Deferred *deferred = env_defer(env, close_scan, scan);
        bool good = run_scan(scan, env, parts, count);
        env_undefer(env, deferred);
        if (!good) {
                arena_rewind(env->arena, mark);
                return env_poll(env); /* the general path begins, unless the query is to end */
        }
        give(scan, request, ret_groups, ret_count);
        explain_compiled(env, stream->term);
        *ret_done = true;
        return ST_OK;
}
