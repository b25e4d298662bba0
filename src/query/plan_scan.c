/* plan_scan.c - the rows that an index has for a filter, and the rest of which it cannot tell.
 *
 * All scans are opened at once, on one view: a query that changes the rows that it reads moves them about in the index,
 * and may not come across one of them again. */
#include "query/plan_int.h"

#define PARTS 3 /* entries, rest, failed */

typedef struct IndexRows {
        Stream stream;
        TableVal table; /* the index and the bounds */
        PlanCandidate candidate;
        const TableSource *source;
        TableScan *scans[PARTS]; /* NULL: not wanted, or at its end */
        Deferred *deferred;
        bool open;
        size_t part;
        Arena *kept; /* candidate.once: holds `last`, the primary key of the last row of the index */
        Value last;
} IndexRows;

static void close_scans(void *what)
{
        IndexRows *self = what;
        for (size_t i = 0; i < PARTS; i++)
                if (self->scans[i])
                        self->source->scan_close(self->scans[i]);
        memset(self->scans, 0, sizeof self->scans);
}

static Status open_scans(IndexRows *self, Env *env)
{
        const PlanCandidate *c = &self->candidate;
        const KeyBounds *bounds = c->rest_bounds ? &self->table.bounds : NULL;
        TableView *view;
        self->deferred = env_defer(env, close_scans, self);
        self->open = true;
        TRY(table_scan_open(env, self->stream.term, &self->table, &self->scans[0]));
        if (!c->rest && !c->failed)
                return ST_OK;
        TRY(fail_at(env, self->stream.term, env_view(env, self->table.ref, &view)));
        if (c->rest)
                TRY(fail_at(env, NULL,
                            env->source->index_rest_open(view, self->table.index, INDEX_REST_VALUES, bounds,
                                                         &self->scans[1])));
        if (c->failed)
                TRY(fail_at(env, NULL,
                            env->source->index_rest_open(view, self->table.index, INDEX_REST_FAILED, NULL,
                                                         &self->scans[2])));
        return ST_OK;
}

/* An array that holds the value twice has two entries, which lie side by side. */
static bool came_before(IndexRows *self, Value row)
{
        Value key = value_get(row, self->table.info->primary_key);
        if (!value_is(self->last, V_NONE) && value_equal(self->last, key))
                return true;
        arena_reset(self->kept);
        self->last = value_copy(key, self->kept);
        return false;
}

static Status index_rows_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        IndexRows *self = (IndexRows *)stream;
        Batcher batcher = batcher_start(env, SOURCE_TABLE, want);
        if (!self->open)
                TRY(open_scans(self, env));
        while (self->part < PARTS) {
                TableScan *scan = self->scans[self->part];
                Value row = value_none();
                ArenaMark mark = arena_mark(out);
                if (scan)
                        TRY(fail_at(env, stream->term, self->source->scan_next(scan, out, &row)));
                if (value_is(row, V_NONE)) {
                        self->part++;
                        continue;
                }
                if (self->candidate.once && self->part == 0 && came_before(self, row)) {
                        arena_rewind(out, mark);
                        continue;
                }
                vec_add(batch, out, row);
                if (batcher_add(&batcher, env, row))
                        return ST_OK;
        }
        env_undefer(env, self->deferred);
        *ret_end = true;
        return ST_OK;
}

static const StreamOps index_rows_ops = {.next = index_rows_next};

static Stream *stream_of_index_rows(Env *env, const Term *term, TableVal *table, const PlanCandidate *candidate)
{
        IndexRows *self = arena_new(env->arena, IndexRows);
        self->stream = (Stream){.ops = &index_rows_ops, .term = term, .table = table};
        self->table = *table;
        self->table.has_bounds = true;
        self->table.bounds = candidate->bounds;
        self->candidate = *candidate;
        self->source = env->source;
        self->last = value_none();
        table_use_index(env, &self->table, candidate->index->name);
        if (candidate->once)
                self->kept = stream_arena(env);
        return &self->stream;
}

Stream *plan_scan(Env *env, const Term *term, TableVal *table, const PlanCandidate *candidate)
{
        if (!candidate->narrows)
                return stream_of_index_rows(env, term, table, candidate);
        TableVal *slice = arena_dup(env->arena, table, sizeof *table);
        slice->has_bounds = true;
        slice->bounds = candidate->bounds;
        return stream_of_table(env, term, slice);
}
