/* spill.c - see spill_int.h. A temporary file holds runs one after the other, a run is blocks:
 *
 *      0          8        16      20        24
 *      | checksum | offset | bytes | records | record ...          little-endian; checksum = XXH3 of bytes 8 .. 24 +
 * bytes
 *
 *      0       4       8
 *      | bytes | count | size of each value (0: V_NONE) ... | the values, encoded ... |         a record; `bytes` with
 * all
 *
 * `offset` is the block's own place, so that a block read from a wrong place is found, too. Blocks are as large as
 * fits the budget, one with a large record is larger. Nothing here outlives the process, so there is no version.
 *
 * Merging is a tournament of the runs' next records (a tree of losers): one comparison for each level. What has more
 * runs than there is memory for blocks is merged into longer runs first, in a second file; neighbours only, so that
 * earlier stays earlier. */
#include "query/spill_int.h"

#include <assert.h>

#include "query/profile.h"

#define MIN_BUDGET   ((size_t)64 << 10)
#define MIN_BLOCK    ((size_t)4 << 10)
#define MAX_BLOCK    ((size_t)64 << 10)
#define MAX_FAN_IN   ((size_t)512)
#define BLOCKS_SHARE 2 /* merging takes a half of the budget for blocks */
#define RECORD_HEAD  ((size_t)8)
#define NO_RUN       UINT32_MAX

typedef struct BlockHead {
        uint64_t checksum, offset;
        uint32_t bytes, records;
} BlockHead;
_Static_assert(sizeof(BlockHead) == 24, "the format above");

struct SpillKept {
        uint8_t *bytes;
        size_t capacity;
};

typedef struct SpillRun SpillRun;
struct SpillRun {
        SpillRun *next;
        uint64_t offset, end, records;
};

typedef struct SpillCursor { /* in one run */
        SpillRecord record;  /* values NULL: at the end */
        Value *values;
        SpillFile *file;
        uint64_t offset, end, left; /* of the next block; `left`: records still wanted */
        uint8_t *block;
        size_t capacity, at, block_end;
} SpillCursor;

struct Spill {
        Env *env;
        const Term *term;
        const SpillOps *ops;
        Scratch *own;     /* this struct and what lives as long */
        Scratch *buffers; /* blocks and cursors of writing or of one pass */
        Deferred *deferred;
        size_t values_max, block_bytes, fan_in;
        SpillFile *file, *merged; /* merged: a pass writes it, from `file` */
        uint64_t file_bytes;      /* of the one that is written */
        SpillRun *first, *last, *spare;
        size_t run_count;
        uint64_t records, bytes;
        /* writing */
        uint8_t *block;
        size_t block_capacity, block_at;
        uint32_t block_records;
        SpillRun *run; /* being written */
        /* reading */
        SpillCompare compare;
        void *ctx;
        uint64_t max_records;
        SpillCursor *cursors;
        size_t cursor_count;
        uint32_t *losers; /* [0]: the winner; [1 ..]: who lost at this node */
        bool begun;       /* the winner was given: it moves on first */
};

size_t spill_budget(const Env *env)
{
        return env->world->spill ? MAX(env->world->sort_memory_bytes, MIN_BUDGET) : SIZE_MAX;
}

bool spill_fits_memory(const Env *env, uint64_t bytes)
{
        size_t max = env->world->memory_max_bytes;
        return max == 0 || bytes <= max / 2;
}

/* --- the life of one --- */

static void close_files(Spill *spill)
{
        if (spill->file)
                spill->ops->close(take(spill->file));
        if (spill->merged)
                spill->ops->close(take(spill->merged));
}

static void close_spill(void *what)
{
        Spill *spill = what;
        Scratch *own = spill->own;
        close_files(spill);
        scratch_put(spill->buffers);
        scratch_put(own); /* the struct with it */
}

Status spill_new(Env *env, const Term *term, size_t values_max, Spill **ret_spill)
{
        size_t budget = spill_budget(env);
        Scratch *own = scratch_get(env);
        Spill *spill = arena_new(&own->arena, Spill);
        spill->env = env;
        spill->term = term;
        spill->ops = env->world->spill;
        spill->own = own;
        spill->buffers = scratch_get(env);
        spill->values_max = values_max;
        spill->block_bytes = MIN(MAX(budget / 64, MIN_BLOCK), MAX_BLOCK);
        spill->fan_in = MIN(budget / BLOCKS_SHARE / spill->block_bytes, MAX_FAN_IN);
        spill->deferred = env_defer(env, close_spill, spill);
        Status st = spill->ops->create(spill->ops->ctx, &spill->file);
        if (st) {
                env_undefer(env, spill->deferred);
                return fail_at(env, NULL, st);
        }
        *ret_spill = spill;
        return ST_OK;
}

void spill_free(Spill *spill)
{
        if (spill)
                env_undefer(spill->env, spill->deferred);
}

uint64_t spill_records(const Spill *spill)
{
        return spill->records;
}

uint64_t spill_bytes(const Spill *spill)
{
        return spill->bytes;
}

/* --- writing --- */

static SpillFile *written_file(Spill *spill)
{
        return spill->merged ? spill->merged : spill->file;
}

static void need_block(Spill *spill, size_t bytes)
{
        if (bytes <= spill->block_capacity)
                return;
        spill->block_capacity = MAX(bytes, spill->block_bytes);
        spill->block = arena_alloc(&spill->buffers->arena, spill->block_capacity);
}

static Status write_block(Spill *spill)
{
        Env *env = spill->env;
        if (spill->block_records == 0)
                return ST_OK;
        TRY(env_poll(env));
        TraceTask *task = trace_begin(env, TRACE_SPILL, spill->term);
        BlockHead head = {.offset = spill->file_bytes,
                          .bytes = (uint32_t)(spill->block_at - sizeof head),
                          .records = spill->block_records};
        memcpy(spill->block, &head, sizeof head);
        head.checksum = bytes_hash(spill->block + sizeof head.checksum, spill->block_at - sizeof head.checksum);
        store_u64(spill->block, head.checksum);
        Status st = spill->ops->append(written_file(spill), spill->block, spill->block_at);
        trace_count(task, spill->block_records);
        trace_end(env, task);
        TRY(fail_at(env, NULL, st));
        if (env->spilled_bytes)
                atomic_fetch_add_explicit(env->spilled_bytes, spill->block_at, memory_order_relaxed);
        spill->file_bytes += spill->block_at;
        spill->block_at = sizeof head;
        spill->block_records = 0;
        return ST_OK;
}

Status spill_begin_run(Spill *spill)
{
        need_block(spill, spill->block_bytes);
        spill->block_at = sizeof(BlockHead);
        spill->block_records = 0;
        spill->run = spill->spare;
        if (spill->run)
                spill->spare = spill->run->next;
        else
                spill->run = arena_alloc(&spill->own->arena, sizeof *spill->run);
        *spill->run = (SpillRun){.offset = spill->file_bytes};
        return ST_OK;
}

Status spill_add(Spill *spill, const Value *values, size_t count)
{
        size_t body = 0, head = RECORD_HEAD + count * sizeof(uint32_t);
        for (size_t i = 0; i < count; i++)
                body += value_is(values[i], V_NONE) ? 0 : value_encoded_size(values[i]);
        size_t bytes = head + body;
        if (bytes > UINT32_MAX - sizeof(BlockHead))
                return fail(spill->env, NULL, ERR_RESOURCE, "A row of %zu bytes is too large to be sorted on disk.",
                            body);
        if (spill->block_at + bytes > spill->block_capacity)
                TRY(write_block(spill));
        need_block(spill, spill->block_at + bytes);
        uint8_t *out = spill->block + spill->block_at, *sizes = out + RECORD_HEAD, *value = out + head;
        store_u32(out, (uint32_t)bytes);
        store_u32(out + 4, (uint32_t)count);
        for (size_t i = 0; i < count; i++, sizes += sizeof(uint32_t)) {
                size_t size = value_is(values[i], V_NONE) ? 0 : value_encoded_size(values[i]);
                store_u32(sizes, (uint32_t)size);
                if (size)
                        value_encode(values[i], value);
                value += size;
        }
        spill->block_at += bytes;
        spill->block_records++;
        spill->run->records++;
        return ST_OK;
}

Status spill_end_run(Spill *spill)
{
        TRY(write_block(spill));
        SpillRun *run = take(spill->run);
        run->end = spill->file_bytes;
        spill->bytes += run->end - run->offset;
        spill->records += run->records;
        if (spill->last)
                spill->last->next = run;
        else
                spill->first = run;
        spill->last = run;
        spill->run_count++;
        return ST_OK;
}

/* --- reading a run --- */

static Status damaged(Spill *spill, uint64_t offset)
{
        return fail(spill->env, NULL, ERR_OP_FAILED,
                    "A temporary file of the query is damaged (block at byte %llu): what was read is not what was "
                    "written. Run the query again; if it happens again, look at the disk.",
                    (unsigned long long)offset);
}

static Status load_block(Spill *spill, SpillCursor *cursor)
{
        BlockHead head;
        uint64_t rest = cursor->end - cursor->offset;
        size_t got = (size_t)MIN(rest, (uint64_t)cursor->capacity);
        TRY(env_poll(spill->env));
        TRY(fail_at(spill->env, NULL, spill->ops->read_at(cursor->file, cursor->offset, cursor->block, got)));
        if (got < sizeof head)
                return damaged(spill, cursor->offset);
        memcpy(&head, cursor->block, sizeof head);
        size_t whole = sizeof head + head.bytes;
        if (head.offset != cursor->offset || whole > rest || head.records == 0)
                return damaged(spill, cursor->offset);
        if (whole > got) {
                if (whole > cursor->capacity) {
                        uint8_t *larger = arena_alloc(&spill->buffers->arena, whole);
                        cursor->block = memcpy(larger, cursor->block, got);
                        cursor->capacity = whole;
                }
                TRY(fail_at(spill->env, NULL,
                            spill->ops->read_at(cursor->file, cursor->offset + got, cursor->block + got, whole - got)));
        }
        if (bytes_hash(cursor->block + sizeof head.checksum, whole - sizeof head.checksum) != head.checksum)
                return damaged(spill, cursor->offset);
        cursor->offset += whole;
        cursor->at = sizeof head;
        cursor->block_end = whole;
        return ST_OK;
}

/* The checksum was right, so what is wrong here was written so. */
static Status read_record(Spill *spill, SpillCursor *cursor)
{
        if (cursor->left == 0 || (cursor->at == cursor->block_end && cursor->offset == cursor->end)) {
                cursor->record.values = NULL;
                return ST_OK;
        }
        if (cursor->at == cursor->block_end)
                TRY(load_block(spill, cursor));
        const uint8_t *in = cursor->block + cursor->at;
        size_t bytes = load_u32(in), count = load_u32(in + 4);
        const uint8_t *value = in + RECORD_HEAD + count * sizeof(uint32_t);
        assert(count <= spill->values_max && bytes <= cursor->block_end - cursor->at);
        for (size_t i = 0; i < count; i++) {
                size_t size = load_u32(in + RECORD_HEAD + i * sizeof(uint32_t));
                cursor->values[i] = size ? value_decode(value) : value_none();
                value += size;
        }
        cursor->record.values = cursor->values;
        cursor->record.count = count;
        cursor->at += bytes;
        cursor->left--;
        return ST_OK;
}

void spill_keep(Spill *spill, SpillRecord *record, Value value)
{
        struct SpillKept *kept = &record->kept[record->count];
        assert(record->count < spill->values_max);
        if (!value_is(value, V_NONE)) {
                size_t size = value_encoded_size(value);
                if (size > kept->capacity) {
                        kept->capacity = MAX(size, 2 * kept->capacity);
                        kept->bytes = arena_alloc(&spill->buffers->arena, kept->capacity);
                }
                value_encode(value, kept->bytes);
                value = value_decode(kept->bytes);
        }
        record->values[record->count++] = value;
}

/* --- merging --- */

/* Does the record of run a come before that of b? Those at their end come last. */
static Status comes_before(Spill *spill, uint32_t a, uint32_t b, bool *ret)
{
        SpillRecord *left = &spill->cursors[a].record, *right = &spill->cursors[b].record;
        int order = 0;
        if (!left->values || !right->values) {
                *ret = left->values != NULL;
                return ST_OK;
        }
        TRY(spill->compare(spill->ctx, spill->env, left, right, &order));
        *ret = order < 0 || (order == 0 && a < b);
        return ST_OK;
}

/* A new record of `run` goes up from its leaf; it stays where a better one passes by. */
static Status replay(Spill *spill, uint32_t run)
{
        for (size_t node = (run + spill->cursor_count) / 2; node > 0; node /= 2) {
                uint32_t other = spill->losers[node];
                bool before;
                if (other == NO_RUN) { /* the tree is being made: whoever comes up the other side will play */
                        spill->losers[node] = run;
                        return ST_OK;
                }
                TRY(comes_before(spill, other, run, &before));
                if (before) {
                        spill->losers[node] = run;
                        run = other;
                }
        }
        spill->losers[0] = run;
        return ST_OK;
}

/* Opens the runs from `run` on, at most fan_in of them. */
static Status open_runs(Spill *spill, const SpillRun *run)
{
        Arena *arena = &spill->buffers->arena;
        size_t count = MIN(spill->run_count, spill->fan_in);
        arena_reset(arena);
        spill->block = NULL;
        spill->block_capacity = 0;
        spill->begun = false;
        spill->cursor_count = 0;
        spill->cursors = arena_zalloc(arena, MAX(count, (size_t)1) * sizeof *spill->cursors);
        spill->losers = arena_array(arena, uint32_t, MAX(count, (size_t)1));
        for (; run && spill->cursor_count < count; run = run->next) {
                SpillCursor *cursor = &spill->cursors[spill->cursor_count++];
                cursor->values = arena_array(arena, Value, spill->values_max);
                cursor->record.kept = arena_zalloc(arena, spill->values_max * sizeof *cursor->record.kept);
                cursor->file = spill->file;
                cursor->offset = run->offset;
                cursor->end = run->end;
                cursor->left = spill->max_records;
                cursor->capacity = spill->block_bytes;
                cursor->block = arena_alloc(arena, cursor->capacity);
                TRY(read_record(spill, cursor));
        }
        memset(spill->losers, 0xff, MAX(count, (size_t)1) * sizeof *spill->losers);
        for (uint32_t i = (uint32_t)spill->cursor_count; i-- > 0;)
                TRY(replay(spill, i));
        return ST_OK;
}

Status spill_next(Spill *spill, SpillRecord **ret_record)
{
        *ret_record = NULL;
        if (spill->cursor_count == 0)
                return ST_OK;
        uint32_t winner = spill->losers[0];
        if (spill->begun) {
                if (!spill->cursors[winner].record.values)
                        return ST_OK;
                TRY(read_record(spill, &spill->cursors[winner]));
                TRY(replay(spill, winner));
                winner = spill->losers[0];
        }
        spill->begun = true;
        if (spill->cursors[winner].record.values)
                *ret_record = &spill->cursors[winner].record;
        return ST_OK;
}

static Status merge_runs(Spill *spill, const SpillRun *from)
{
        TRY(open_runs(spill, from));
        TRY(spill_begin_run(spill));
        for (uint64_t given = 0; given < spill->max_records; given++) {
                SpillRecord *record;
                TRY(spill_next(spill, &record));
                if (!record)
                        break;
                TRY(spill_add(spill, record->values, record->count));
        }
        return spill_end_run(spill);
}

/* All runs of `file` into fewer ones in another file. */
static Status merge_pass(Spill *spill)
{
        SpillRun *from = spill->first, *last = spill->last;
        size_t left = spill->run_count;
        TRY(fail_at(spill->env, NULL, spill->ops->create(spill->ops->ctx, &spill->merged)));
        spill->first = spill->last = NULL;
        spill->file_bytes = spill->records = spill->bytes = 0;
        size_t made = 0;
        for (const SpillRun *run = from; left > 0;) {
                size_t taken = MIN(left, spill->fan_in);
                spill->run_count = taken;
                TRY(merge_runs(spill, run));
                for (size_t i = 0; i < taken; i++)
                        run = run->next;
                left -= taken;
                made++;
        }
        spill->run_count = made;
        spill->ops->close(spill->file);
        spill->file = take(spill->merged);
        last->next = spill->spare;
        spill->spare = from;
        return ST_OK;
}

Status spill_merge(Spill *spill, SpillCompare compare, void *ctx, uint64_t max_records)
{
        spill->compare = compare;
        spill->ctx = ctx;
        spill->max_records = max_records;
        while (spill->run_count > spill->fan_in)
                TRY(merge_pass(spill));
        return open_runs(spill, spill->first);
}

Status spill_restart(Spill *spill)
{
        return open_runs(spill, spill->first);
}
