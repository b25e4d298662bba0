/* group_spill.c - see group_spill.h. A record is (key, values ...); runs are sorted by key, and within a key in the
 * order in which rows came, so that a group's rows come out in that order, too. */
#include "query/group_spill.h"

struct GroupSpill {
        const Term *term;
        GroupFold fold;
        Spill *spill;
        Pending *late;      /* applied to each group's value */
        Arena *group_arena; /* of the group that is being made */
        SpillRecord *ahead; /* of the next group; NULL: at the end */
        bool begun;
};

Status group_spill_new(Env *env, const Term *term, const GroupFold *fold, GroupSpill **ret_spill)
{
        GroupSpill *self = arena_new(env->query_arena, GroupSpill); /* streams and values of any arena may hold it */
        self->term = term;
        self->fold = *fold;
        self->group_arena = stream_arena(env);
        TRY(spill_new(env, term, 1 + fold->values_max, &self->spill));
        *ret_spill = self;
        return ST_OK;
}

Status group_spill_write(GroupSpill *self, GroupTable *table)
{
        group_table_sort(table);
        TRY(spill_begin_run(self->spill));
        for (size_t i = 0; i < table->count; i++)
                TRY(self->fold.write(self->fold.ctx, self->spill, &table->entries[i]));
        return spill_end_run(self->spill);
}

/* SpillCompare */
static Status compare_records(void *ctx, Env *env, SpillRecord *a, SpillRecord *b, int *ret_order)
{
        (void)ctx;
        (void)env;
        *ret_order = value_compare(a->values[0], b->values[0]);
        return ST_OK;
}

Status group_spill_merge(GroupSpill *self)
{
        return spill_merge(self->spill, compare_records, NULL, UINT64_MAX);
}

void group_spill_remember(GroupSpill *self, Env *env, const Term *term, TermFn fn)
{
        groups_remember(env, &self->late, term, fn);
}

/* --- one group after the other --- */

static Status apply_late(GroupSpill *self, Env *env, Value *value)
{
        Frame *outer = env->frame;
        Status st = ST_OK;
        for (const Pending *late = self->late; !st && late; late = late->next) {
                Val val;
                env->frame = late->frame;
                st = groups_apply_one(env, late->term, late->fn, *value, &val);
                if (!st)
                        st = val_as_datum(env, &val, value);
        }
        env->frame = outer;
        return st;
}

/* The group that `ahead` begins; its key is in the group's arena. */
static Status make_group(GroupSpill *self, Env *env, Value *ret_key, Value *ret_value)
{
        Value key = value_copy(self->ahead->values[0], env->arena);
        self->fold.begin(self->fold.ctx);
        do {
                TRY(self->fold.add(self->fold.ctx, env, self->ahead->values + 1, self->ahead->count - 1));
                TRY(spill_next(self->spill, &self->ahead));
        } while (self->ahead && value_equal(self->ahead->values[0], key));
        TRY(self->fold.finish(self->fold.ctx, env, ret_value));
        *ret_key = key;
        return value_is(*ret_value, V_NONE) ? ST_OK : apply_late(self, env, ret_value);
}

Status group_spill_next(GroupSpill *self, Env *env, Arena *out, Value *ret_key, Value *ret_value)
{
        Arena *outer = env->arena;
        if (!self->begun)
                TRY(spill_next(self->spill, &self->ahead));
        self->begun = true;
        *ret_value = value_none();
        while (self->ahead && value_is(*ret_value, V_NONE)) {
                EnvMark mark = env_mark(env);
                arena_reset(self->group_arena);
                env->arena = self->group_arena;
                Status st = make_group(self, env, ret_key, ret_value);
                env->arena = outer;
                env_unwind(env, mark);
                TRY(st);
        }
        if (value_is(*ret_value, V_NONE)) {
                *ret_key = value_none();
                return ST_OK;
        }
        *ret_key = value_copy(*ret_key, out);
        *ret_value = value_copy(*ret_value, out);
        return ST_OK;
}

Status group_spill_make(GroupSpill *self, Env *env, Groups *groups)
{
        size_t capacity = 0;
        groups->count = 0;
        for (;;) {
                GroupEntry entry = {0};
                TRY(env_poll(env));
                TRY(group_spill_next(self, env, env->arena, &entry.key, &entry.value));
                if (value_is(entry.key, V_NONE))
                        break;
                if (groups->count == capacity) {
                        capacity = capacity ? 2 * capacity : 64;
                        GroupEntry *entries = arena_array(env->arena, GroupEntry, capacity);
                        if (groups->count)
                                memcpy(entries, groups->entries, groups->count * sizeof *entries);
                        groups->entries = entries;
                }
                groups->entries[groups->count++] = entry;
        }
        groups->made = true;
        groups->spilled = NULL;
        spill_free(take(self->spill));
        return ST_OK;
}

/* --- ungroup --- */

typedef struct UngroupStream {
        Stream stream;
        GroupSpill *groups;
} UngroupStream;

static Status ungroup_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        UngroupStream *self = (UngroupStream *)stream;
        Batcher batcher = batcher_start(env, SOURCE_EAGER, want);
        for (;;) {
                Value key, value;
                TRY(env_poll(env));
                TRY(group_spill_next(self->groups, env, out, &key, &value));
                if (value_is(key, V_NONE))
                        break;
                Value row = groups_ungrouped(out, key, value);
                TRY(check_depth(env, stream->term, row));
                vec_add(batch, out, row);
                if (batcher_add(&batcher, env, row))
                        return ST_OK;
        }
        *ret_end = true;
        spill_free(take(self->groups->spill));
        return ST_OK;
}

static const StreamOps ungroup_ops = {.next = ungroup_next};

/* Different keys; stops counting above array_limit. */
static Status count_groups(GroupSpill *self, Env *env, size_t *ret_count)
{
        _cleanup_(scratch_putp) Scratch *scratch = scratch_get(env);
        Value last = value_none();
        for (*ret_count = 0; *ret_count <= env->array_limit;) {
                SpillRecord *record;
                TRY(spill_next(self->spill, &record));
                if (!record)
                        break;
                if (!value_is(last, V_NONE) && value_equal(last, record->values[0]))
                        continue;
                ++*ret_count;
                arena_reset(&scratch->arena);
                last = value_copy(record->values[0], &scratch->arena);
        }
        return spill_restart(self->spill);
}

Status group_spill_ungroup(GroupSpill *self, Env *env, const Term *term, Val *ret)
{
        size_t count;
        TRY(count_groups(self, env, &count));
        if (count > env->array_limit || !spill_fits_memory(env, spill_bytes(self->spill))) {
                UngroupStream *stream = arena_new(env->arena, UngroupStream);
                stream->stream = (Stream){.ops = &ungroup_ops, .term = term, .ordered = true};
                stream->groups = self;
                *ret = val_stream(term, &stream->stream);
                return ST_OK;
        }
        Groups groups = {0};
        Value array;
        TRY(group_spill_make(self, env, &groups));
        TRY(groups_array(env, &groups, &array));
        *ret = val_datum(term, array);
        return ST_OK;
}

/* --- plain groups --- */

typedef struct RowFold {
        ValueVec rows;
        const Term *term;
} RowFold;

static Status write_rows(void *ctx, Spill *spill, const GroupEntry *entry)
{
        (void)ctx;
        for (size_t i = 0; i < entry->rows.count; i++)
                TRY(spill_add(spill, (Value[]){entry->key, entry->rows.items[i]}, 2));
        return ST_OK;
}

static void begin_rows(void *ctx)
{
        ((RowFold *)ctx)->rows = (ValueVec){0};
}

static Status fold_row(void *ctx, Env *env, const Value *values, size_t count)
{
        RowFold *self = ctx;
        (void)count;
        vec_add(&self->rows, env->arena, value_copy(values[0], env->arena));
        return ST_OK;
}

static Status finish_rows(void *ctx, Env *env, Value *ret_value)
{
        const RowFold *self = ctx;
        *ret_value = value_array(self->rows.items, self->rows.count);
        return check_depth(env, self->term, *ret_value);
}

GroupFold group_fold_rows(Env *env, const Term *term)
{
        RowFold *self = arena_new(env->query_arena, RowFold);
        self->term = term;
        return (GroupFold){.ctx = self,
                           .values_max = 1,
                           .write = write_rows,
                           .begin = begin_rows,
                           .add = fold_row,
                           .finish = finish_rows};
}
