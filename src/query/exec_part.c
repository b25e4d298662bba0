/* exec_part.c - one part of a scan: block by block over columns, row by row where that is not possible. */
#include "query/exec_int.h"

#include <math.h>

/* A block at work. */
typedef struct Block {
        const Column **columns; /* the job's */
        uint32_t first, count;  /* rows of it at once */
} Block;

/* --- what is found out --- */

static void oom(void *ctx, bool over_budget)
{
        ExecPart *part = ctx;
        (void)over_budget;
        longjmp(part->oom, 1);
}

static void *grown(Arena *arena, const void *old, size_t count, size_t capacity, size_t size)
{
        void *bigger = arena_alloc_array(arena, capacity, size);
        if (count)
                memcpy(bigger, old, count * size);
        memset((char *)bigger + count * size, 0, (capacity - count) * size);
        return bigger;
}

static void need_state(ExecPart *part, size_t count)
{
        if (likely(count <= part->state_capacity))
                return;
        size_t before = part->state_capacity, capacity = MAX(MAX(count, 2 * before), (size_t)16);
        if (part->job->type == TERM_COUNT)
                part->counts = grown(&part->arena, part->counts, before, capacity, sizeof *part->counts);
        else if (part->job->type == TERM_MIN || part->job->type == TERM_MAX)
                part->bests = grown(&part->arena, part->bests, before, capacity, sizeof *part->bests);
        part->state_capacity = capacity;
}

/* False: there are more than there may be. */
static bool find_group(ExecPart *part, Value key, uint32_t *ret)
{
        bool is_new;
        if (value_too_deep(key))
                return false;
        const GroupEntry *entry = group_table_find(&part->groups, key, &is_new);
        *ret = (uint32_t)(entry - part->groups.entries);
        if (is_new)
                need_state(part, part->groups.count);
        return part->groups.count <= part->job->group_max;
}

/* Group keys that are numbers are many and short: they have a table of their own in front of the groups'. */
static size_t number_slot(const ExecPart *part, uint64_t bits)
{
        uint64_t hash = bits * 0x9e3779b97f4a7c15u;
        size_t mask = part->number_slots - 1, at = (size_t)((hash ^ hash >> 32) >> 8) & mask;
        while (part->number_groups[at] && part->numbers[at] != bits)
                at = (at + 1) & mask;
        return at;
}

static void grow_numbers(ExecPart *part)
{
        size_t slots = part->number_slots;
        uint64_t *numbers = part->numbers;
        uint32_t *groups = part->number_groups;
        part->number_slots = MAX((size_t)64, 4 * slots);
        part->numbers = arena_array(&part->arena, uint64_t, part->number_slots);
        part->number_groups = arena_zalloc(&part->arena, part->number_slots * sizeof *part->number_groups);
        for (size_t i = 0; i < slots; i++) {
                if (!groups[i])
                        continue;
                size_t at = number_slot(part, numbers[i]);
                part->numbers[at] = numbers[i];
                part->number_groups[at] = groups[i];
        }
}

static bool find_number(ExecPart *part, double number, uint32_t *ret)
{
        uint64_t bits;
        double positive = number + 0.0; /* 0 and -0 are one group */
        memcpy(&bits, &positive, sizeof bits);
        if (unlikely(2 * part->number_count >= part->number_slots))
                grow_numbers(part);
        size_t at = number_slot(part, bits);
        if (likely(part->number_groups[at])) {
                *ret = part->number_groups[at] - 1;
                return true;
        }
        if (!find_group(part, value_number(number), ret))
                return false;
        part->numbers[at] = bits;
        part->number_groups[at] = *ret + 1;
        part->number_count++;
        return true;
}

static void finish_batch(ExecBatch *batch)
{
        double sum = 0, largest = 0;
        unsigned odd = 0;
        for (uint32_t i = 0; i < batch->count; i++) {
                double v = batch->values[i];
                bool small = fabs(v) <= INT32_MAX;
                odd |= !small || (double)(int32_t)(small ? v : 0) != v || (v == 0 && signbit(v));
                sum += v;
                largest += fabs(v);
        }
        batch->exact = !odd;
        batch->sum = sum;
        batch->largest = largest;
}

static ExecBatch *next_batch(ExecPart *part)
{
        ExecBatch *batch = arena_alloc(&part->arena, sizeof *batch);
        batch->next = NULL;
        batch->count = 0;
        batch->exact = false;
        batch->groups = part->job->key_count ? arena_array(&part->arena, uint32_t, EXEC_BATCH) : NULL;
        if (part->last && !batch->groups)
                finish_batch(part->last);
        *(part->last ? &part->last->next : &part->first) = batch;
        part->last = batch;
        return batch;
}

static void push(ExecPart *part, uint32_t group, double value)
{
        ExecBatch *batch = part->last;
        if (unlikely(!batch || batch->count == EXEC_BATCH))
                batch = next_batch(part);
        if (batch->groups)
                batch->groups[batch->count] = group;
        batch->values[batch->count++] = value;
}

/* `groups` NULL: without keys. */
static void push_all(ExecPart *part, const uint32_t *groups, const double *values, const uint8_t *alive, uint32_t count)
{
        for (uint32_t i = 0; i < count;) {
                ExecBatch *batch = part->last && part->last->count < EXEC_BATCH ? part->last : next_batch(part);
                uint32_t from = batch->count, at = from, end = i + MIN(count - i, EXEC_BATCH - from);
                if (groups)
                        for (uint32_t k = i; k < end; k++) { /* always written, kept if it counts */
                                batch->groups[from] = groups[k];
                                from += alive[k];
                        }
                for (; i < end; i++) {
                        batch->values[at] = values[i];
                        at += alive[i];
                }
                batch->count = at;
        }
}

static bool is_better(const ExecPart *part, const ExecBest *best, Value key)
{
        if (!best->has)
                return true;
        int order = value_compare(key, best->key);
        return part->job->type == TERM_MIN ? order < 0 : order > 0;
}

/* `key` and `row` may point into what is replaced. */
static void keep_best(ExecPart *part, ExecBest *best, Value key, Value row)
{
        size_t key_size = value_encoded_size(key), size = key_size + value_encoded_size(row);
        if (size > best->capacity) {
                best->capacity = 2 * size;
                best->bytes = arena_alloc(&part->arena, best->capacity);
        }
        value_encode(key, best->bytes);
        value_encode(row, best->bytes + key_size);
        best->key = value_decode(best->bytes);
        best->row = value_decode(best->bytes + key_size);
        best->has = true;
}

/* --- row by row --- */

typedef struct Row {
        const Block *block;
        uint32_t at; /* in the block */
        Value document, keys[EXEC_KEYS_MAX], made[EXEC_STEPS_MAX];
} Row;

/* The document; NULL: it cannot be read. */
static const Value *document_of(ExecPart *part, Row *row)
{
        if (value_is(row->document, V_NONE)) {
                arena_reset(&part->hold);
                Status st = part->job->source->block_row(part->scan, row->at, &part->hold, &row->document);
                if (st) {
                        status_ignore(st);
                        return NULL;
                }
        }
        return &row->document;
}

static ExecAnswer run_use(ExecPart *part, const ExecUse *use, Row *row, Value *ret)
{
        ExecRow args = {.arg_count = 1, .frame = use->frame, .arena = &part->scratch};
        if (use->source >= 0) {
                args.args = &row->made[use->source];
                return exec_run(use->program, &args, ret);
        }
        Value *fields = arena_array(&part->scratch, Value, use->program->input_count);
        for (size_t i = 0; i < use->program->input_count; i++) {
                fields[i] = column_value(row->block->columns[use->columns[i]], row->at);
                if (unlikely(fields[i].type == EXEC_LOAD)) {
                        const Value *document = document_of(part, row);
                        if (!document)
                                return EXEC_BAIL;
                        fields[i] = exec_path_get(*document, use->program->inputs[i]);
                }
        }
        args.fields = fields;
        if (use->program->takes_row) {
                args.args = document_of(part, row);
                if (!args.args)
                        return EXEC_BAIL;
        } else {
                args.args = &row->document;
        }
        return exec_run(use->program, &args, ret);
}

static bool take_keys(ExecPart *part, Row *row)
{
        for (size_t i = 0; i < part->job->key_count; i++) {
                ExecAnswer answer = run_use(part, &part->job->keys[i], row, &row->keys[i]);
                if (answer == EXEC_BAIL)
                        return false;
                if (answer == EXEC_MISSING)
                        row->keys[i] = value_null();
        }
        return true;
}

/* False: give up. *ret_kept: the row came through all steps. */
static bool take_steps(ExecPart *part, Row *row, bool *ret_kept)
{
        const ExecJob *job = part->job;
        *ret_kept = false;
        for (size_t i = 0; i < job->step_count; i++) {
                const ExecStep *step = &job->steps[i];
                Value result;
                if (i == job->keys_at && !take_keys(part, row))
                        return false;
                ExecAnswer answer = run_use(part, &step->use, row, &result);
                if (answer == EXEC_BAIL || (answer == EXEC_MISSING && step->on_missing == MISSING_BAILS))
                        return false;
                if (answer == EXEC_MISSING && step->on_missing == MISSING_DROPS)
                        return true;
                if (step->maps)
                        row->made[i] = result;
                else if (answer == EXEC_OK && !value_truthy(result))
                        return true;
        }
        *ret_kept = true;
        return job->keys_at < job->step_count || take_keys(part, row);
}

/* `value` V_NONE: missing. */
static bool add_value(ExecPart *part, uint32_t group, Value value, Row *row)
{
        const ExecJob *job = part->job;
        switch (job->type) {
        case TERM_COUNT: part->counts[group]++; return true;
        case TERM_SUM:
        case TERM_AVG:
                if (value_is(value, V_NONE) || value_is(value, V_NULL))
                        return true; /* takes no part */
                break;
        case TERM_REDUCE: break;
        default: {
                if (value_is(value, V_NONE) || !is_better(part, &part->bests[group], value))
                        return true;
                const Value *whole = job->row < 0 ? document_of(part, row) : &row->made[job->row];
                if (whole)
                        keep_best(part, &part->bests[group], value, *whole);
                return whole != NULL;
        }
        }
        if (value_is(value, V_NUMBER))
                push(part, group, value.number);
        return value_is(value, V_NUMBER);
}

static bool add_row(ExecPart *part, Row *row)
{
        const ExecJob *job = part->job;
        Value value = value_none();
        uint32_t group = 0;
        if (job->key_count) {
                Value key = job->key_count == 1 ? row->keys[0] : value_array(row->keys, job->key_count);
                if (!find_group(part, key, &group))
                        return false;
        }
        if (!job->value.program)
                return add_value(part, group, value, row);
        ExecAnswer answer = run_use(part, &job->value, row, &value);
        if (answer == EXEC_BAIL)
                return false;
        if (answer == EXEC_MISSING) {
                if (job->type == TERM_REDUCE || job->type == TERM_DISTINCT)
                        return false;
                value = value_none();
        }
        if (job->type == TERM_DISTINCT)
                return find_group(part, value, &group);
        return add_value(part, group, value, row);
}

static bool add_rows(ExecPart *part, const Block *block)
{
        for (uint32_t i = 0; i < block->count; i++) {
                Row row; /* without the arrays, which are large: written before they are read */
                bool kept;
                row.block = block;
                row.at = block->first + i;
                row.document = value_none();
                ArenaMark mark = arena_mark(&part->scratch);
                if (!take_steps(part, &row, &kept) || (kept && !add_row(part, &row)))
                        return false;
                arena_rewind(&part->scratch, mark);
        }
        return true;
}

/* --- many rows at once --- */

typedef struct Vectors {
        Vec made[EXEC_STEPS_MAX], keys[EXEC_KEYS_MAX], value;
        uint8_t *alive; /* for each row */
} Vectors;

static bool vector_use(ExecPart *part, const ExecUse *use, const Block *block, const Vec *made, Vec *ret)
{
        if (use->program->takes_row && use->source < 0)
                return false;
        const Column **columns = arena_array(&part->scratch, const Column *, use->program->input_count);
        for (size_t i = 0; use->source < 0 && i < use->program->input_count; i++)
                columns[i] = block->columns[use->columns[i]];
        ExecRows rows = {.columns = columns,
                         .source = use->source < 0 ? NULL : &made[use->source],
                         .first = block->first,
                         .count = block->count,
                         .frame = use->frame,
                         .arena = &part->scratch};
        return exec_vector(use->program, &rows, ret) && !vec_odd(ret);
}

static bool filter_vector(ExecPart *part, const ExecStep *step, const Block *block, Vectors *v)
{
        Vec answer;
        ExecRows rows = {.count = block->count, .arena = &part->scratch};
        const uint8_t *truths =
                vector_use(part, &step->use, block, v->made, &answer) ? vec_truths(&answer, &rows) : NULL;
        if (!truths)
                return false;
        for (uint32_t i = 0; i < block->count; i++) {
                if (likely(truths[i] != TRUTH_MISSING))
                        v->alive[i] &= truths[i];
                else if (step->on_missing == MISSING_DROPS)
                        v->alive[i] = 0;
                else if (step->on_missing == MISSING_BAILS && v->alive[i])
                        return false;
        }
        return true;
}

static bool map_vector(ExecPart *part, const ExecStep *step, const Block *block, Vectors *v, Vec *ret)
{
        if (!vector_use(part, &step->use, block, v->made, ret))
                return false;
        if (ret->kind == VEC_NUMBERS || ret->kind == VEC_CONST)
                return true;
        for (uint32_t i = 0; i < block->count; i++) {
                if (!v->alive[i] || !value_is(vec_value(ret, i), V_NONE))
                        continue;
                if (step->on_missing == MISSING_BAILS)
                        return false;
                v->alive[i] = 0;
        }
        return true;
}

static bool make_vectors(ExecPart *part, const Block *block, Vectors *v)
{
        const ExecJob *job = part->job;
        v->alive = arena_array(&part->scratch, uint8_t, block->count);
        memset(v->alive, 1, block->count);
        for (size_t i = 0; i <= job->step_count; i++) {
                for (size_t key = 0; i == job->keys_at && key < job->key_count; key++)
                        if (!vector_use(part, &job->keys[key], block, v->made, &v->keys[key]))
                                return false;
                if (i == job->step_count)
                        break;
                const ExecStep *step = &job->steps[i];
                if (step->maps ? !map_vector(part, step, block, v, &v->made[i]) : !filter_vector(part, step, block, v))
                        return false;
        }
        return !job->value.program || vector_use(part, &job->value, block, v->made, &v->value);
}

#define NO_GROUP UINT32_MAX

/* The groups of the rows; false: too many. */
static bool find_groups(ExecPart *part, const Block *block, const Vectors *v, uint32_t *groups)
{
        const ExecJob *job = part->job;
        const Vec *key = &v->keys[0];
        if (job->key_count == 1 && key->kind == VEC_COLUMN && key->column->uniform == V_STRING) {
                const uint16_t *codes = column_codes(key->column) + key->first;
                uint32_t *of_word = arena_array(&part->scratch, uint32_t, key->column->words);
                memset(of_word, 0xff, key->column->words * sizeof *of_word);
                for (uint32_t i = 0; i < block->count; i++) {
                        if (!v->alive[i])
                                continue;
                        uint32_t *group = &of_word[codes[i]];
                        if (*group == NO_GROUP && !find_group(part, column_word(key->column, codes[i]), group))
                                return false;
                        groups[i] = *group;
                }
                return true;
        }
        if (job->key_count == 1 && key->kind == VEC_NUMBERS) {
                for (uint32_t i = 0; i < block->count; i++)
                        if (v->alive[i] && !find_number(part, key->numbers[i], &groups[i]))
                                return false;
                return true;
        }
        for (uint32_t i = 0; i < block->count; i++) {
                Value keys[EXEC_KEYS_MAX];
                if (!v->alive[i])
                        continue;
                for (size_t k = 0; k < job->key_count; k++) {
                        keys[k] = vec_value(&v->keys[k], i);
                        if (value_is(keys[k], V_NONE))
                                keys[k] = value_null();
                }
                if (!find_group(part, job->key_count == 1 ? keys[0] : value_array(keys, job->key_count), &groups[i]))
                        return false;
        }
        return true;
}

static bool add_vectors(ExecPart *part, const Block *block, const Vectors *v)
{
        const ExecJob *job = part->job;
        const uint8_t *alive = v->alive;
        uint32_t *groups = arena_array(&part->scratch, uint32_t, block->count);
        if (!job->key_count)
                memset(groups, 0, block->count * sizeof *groups);
        if (job->type == TERM_COUNT && !job->key_count) {
                uint32_t count = 0;
                for (uint32_t i = 0; i < block->count; i++)
                        count += alive[i];
                part->counts[0] += count;
                return true;
        }
        if (job->key_count && !find_groups(part, block, v, groups))
                return false;
        bool adds = job->type == TERM_SUM || job->type == TERM_AVG || job->type == TERM_REDUCE;
        if (adds && v->value.kind == VEC_NUMBERS) {
                push_all(part, job->key_count ? groups : NULL, v->value.numbers, alive, block->count);
                return true;
        }
        for (uint32_t i = 0; i < block->count; i++) {
                Row row;
                if (!alive[i])
                        continue;
                Value value = job->value.program ? vec_value(&v->value, i) : value_none();
                if (job->type == TERM_DISTINCT) {
                        if (value_is(value, V_NONE) || !find_group(part, value, &groups[i]))
                                return false;
                        continue;
                }
                row.block = block;
                row.at = block->first + i;
                row.document = value_none();
                if (job->row >= 0 && (job->type == TERM_MIN || job->type == TERM_MAX))
                        row.made[job->row] = vec_value(&v->made[job->row], i);
                if (!add_value(part, groups[i], value, &row))
                        return false;
        }
        return true;
}

/* --- the task --- */

static bool may_go_on(const ExecJob *job)
{
        if (atomic_load_explicit(job->cancelled, memory_order_relaxed) ||
            atomic_load_explicit(&job->stop, memory_order_relaxed))
                return false;
        return !job->deadline_ns || job->host->mono_ns(job->host->ctx) <= job->deadline_ns;
}

static bool take_columns(ExecPart *part, const TableBlock *whole, Block *ret)
{
        const ExecJob *job = part->job;
        ret->columns = arena_array(&part->scratch, const Column *, job->column_count);
        Status st = columns_get(job->source, part->scan, whole, job->columns, job->column_count, &part->refusals,
                                &part->scratch, &part->hold, ret->columns);
        status_ignore(st);
        return !st;
}

/* False: give up. */
static bool add_block(ExecPart *part, const TableBlock *whole)
{
        Block block;
        arena_reset(&part->scratch);
        if (whole->total > EXEC_BLOCK_MAX)
                return false;
        if (!take_columns(part, whole, &block))
                return false;
        for (uint32_t done = 0; done < whole->count; done += block.count) {
                Vectors v;
                block.first = whole->first + done;
                block.count = MIN(whole->count - done, (uint32_t)EXEC_VECTOR_MAX);
                ArenaMark mark = arena_mark(&part->scratch);
                if (make_vectors(part, &block, &v) ? !add_vectors(part, &block, &v) : !add_rows(part, &block))
                        return false;
                arena_rewind(&part->scratch, mark);
        }
        return true;
}

bool exec_part_filter(ExecPart *part, const TableBlock *whole, uint8_t *ret_passes)
{
        Block block;
        bool good = whole->total <= EXEC_BLOCK_MAX;
        if (setjmp(part->oom))
                return false;
        arena_reset(&part->scratch);
        if (!good || !take_columns(part, whole, &block))
                return false;
        for (uint32_t done = 0; good && done < whole->count; done += block.count) {
                Vectors v;
                block.first = whole->first + done;
                block.count = MIN(whole->count - done, (uint32_t)EXEC_VECTOR_MAX);
                ArenaMark mark = arena_mark(&part->scratch);
                good = make_vectors(part, &block, &v);
                if (good)
                        memcpy(ret_passes + done, v.alive, block.count);
                arena_rewind(&part->scratch, mark);
        }
        return good;
}

static bool run_part(ExecPart *part)
{
        const ExecJob *job = part->job;
        Status st = job->source->scan_open_part(job->view, part->bounds, &part->scan);
        if (st) {
                status_ignore(st);
                part->scan = NULL;
                return false;
        }
        for (;;) {
                TableBlock block = {0};
                bool supported = false;
                if (!may_go_on(job))
                        return false;
                st = job->source->block_next(part->scan, &block, &supported);
                if (st || !supported) {
                        status_ignore(st);
                        return false;
                }
                if (block.count == 0)
                        return true;
                if (!add_block(part, &block))
                        return false;
        }
}

static void close_part(ExecPart *part)
{
        if (part->scan)
                part->job->source->scan_close(take(part->scan));
}

void exec_part_run(void *arg, size_t i)
{
        ExecPart *part = (ExecPart *)arg + i;
        part->failed = true;
        if (setjmp(part->oom) == 0) {
                group_table_init(&part->groups, &part->arena);
                if (!part->job->key_count)
                        need_state(part, 1);
                part->failed = !run_part(part);
        }
        close_part(part);
        arena_reset(&part->scratch);
        arena_reset(&part->hold);
        if (part->failed)
                atomic_store_explicit(&part->job->stop, true, memory_order_relaxed);
}

void exec_part_init(ExecPart *part, ExecJob *job, size_t memory_max)
{
        Arena *arenas[] = {&part->arena, &part->scratch, &part->hold};
        *part = (ExecPart){.job = job};
        for (size_t i = 0; i < ELEMENTS(arenas); i++) {
                arena_init(arenas[i], memory_max);
                arena_on_oom(arenas[i], oom, part);
                arenas[i]->stop = job->cancelled;
        }
}

void exec_part_done(ExecPart *part)
{
        close_part(part);
        arena_done(&part->arena);
        arena_done(&part->scratch);
        arena_done(&part->hold);
}
