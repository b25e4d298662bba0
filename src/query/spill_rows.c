/* spill_rows.c - see spill_rows.h: a vector of rows, or one run of a Spill. */
#include "query/spill_rows.h"

#include "query/spill_int.h"

struct KeptRows {
        Env *env;
        const Term *term;
        bool may_spill, given_up;
        size_t budget;
        Arena *arena;
        ValueVec rows;
        Spill *spill; /* NULL: all are in `rows` */
};

KeptRows *kept_rows_new(Env *env, const Term *term, bool may_spill)
{
        KeptRows *kept = arena_new(env->query_arena, KeptRows);
        *kept = (KeptRows){.env = env,
                           .term = term,
                           .may_spill = may_spill && spill_budget(env) != SIZE_MAX,
                           .budget = MIN(spill_budget(env), env->world->sort_memory_bytes),
                           .arena = stream_arena(env)};
        return kept;
}

void kept_rows_clear(KeptRows *kept)
{
        spill_free(take(kept->spill));
        arena_reset(kept->arena);
        kept->rows = (ValueVec){0};
        kept->given_up = false;
}

/* What is in memory begins the run. */
static Status begin_run(KeptRows *kept)
{
        TRY(spill_new(kept->env, kept->term, 1, &kept->spill));
        TRY(spill_begin_run(kept->spill));
        for (size_t i = 0; i < kept->rows.count; i++)
                TRY(spill_add(kept->spill, &kept->rows.items[i], 1));
        kept->rows = (ValueVec){0};
        arena_reset(kept->arena);
        return ST_OK;
}

Status kept_rows_add(KeptRows *kept, Value row)
{
        if (kept->given_up)
                return ST_OK;
        if (kept->spill)
                return spill_add(kept->spill, &row, 1);
        vec_add(&kept->rows, kept->arena, value_copy(row, kept->arena));
        if (kept->arena->total_bytes <= kept->budget)
                return ST_OK;
        if (kept->may_spill)
                return begin_run(kept);
        kept_rows_clear(kept);
        kept->given_up = true;
        return ST_OK;
}

Status kept_rows_finish(KeptRows *kept, bool *ret_usable)
{
        *ret_usable = !kept->given_up;
        if (!kept->spill)
                return ST_OK;
        TRY(spill_end_run(kept->spill));
        return spill_merge(kept->spill, NULL, NULL, UINT64_MAX);
}

/* --- reading --- */

typedef struct KeptStream {
        Stream stream;
        KeptRows *kept;
        size_t next;
} KeptStream;

static Status next_kept(KeptStream *self, Arena *out, Value *ret_row)
{
        KeptRows *kept = self->kept;
        SpillRecord *record;
        *ret_row = value_none();
        if (!kept->spill) {
                if (self->next < kept->rows.count)
                        *ret_row = kept->rows.items[self->next++];
                return ST_OK;
        }
        TRY(spill_next(kept->spill, &record));
        if (record)
                *ret_row = value_copy(record->values[0], out);
        return ST_OK;
}

static Status kept_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        Batcher batcher = batcher_start(env, SOURCE_EAGER, want);
        for (;;) {
                Value row;
                TRY(next_kept((KeptStream *)stream, out, &row));
                if (value_is(row, V_NONE))
                        break;
                vec_add(batch, out, row);
                if (batcher_add(&batcher, env, row))
                        return ST_OK;
        }
        *ret_end = true;
        return ST_OK;
}

static const StreamOps kept_ops = {.next = kept_next};

Status kept_rows_stream(KeptRows *kept, Stream **ret_stream)
{
        if (kept->spill)
                TRY(spill_restart(kept->spill));
        KeptStream *self = arena_new(kept->env->arena, KeptStream);
        self->stream = (Stream){.ops = &kept_ops, .term = kept->term, .ordered = true};
        self->kept = kept;
        *ret_stream = &self->stream;
        return ST_OK;
}
