/* group.c - groups: lazily as a stream with the functions that group it, or made: a sorted table of (group, datum).
 *
 *      group() -> lazy --row-by-row terms (map, filter, pluck ...)--> lazy, the terms remembered
 *                  |---aggregations--> made, one pass, nothing kept but the accumulators (aggregate.c)
 *                  '---anything else--> made (every group's rows as an array), the term applied to each
 *      made --any term--> made
 *
 * Rows beyond the budget are sorted by key on disk. Such groups are `spilled`: terms are remembered again, and applied
 * to one group after the other when somebody wants them made, or ungrouped (group_spill.h).
 * A group that has no rows left is no group any more. */
#include <stdlib.h>

#include "query/group_spill.h"

/* --- the table of groups being made: open addressing over the entries --- */

void group_table_init(GroupTable *table, Arena *arena)
{
        *table = (GroupTable){.arena = arena};
}

static void group_table_grow(GroupTable *table)
{
        size_t slots = table->slot_count ? 2 * table->slot_count : 64;
        table->slots = arena_array(table->arena, uint32_t, slots);
        memset(table->slots, 0, slots * sizeof *table->slots);
        table->slot_count = slots;
        for (size_t i = 0; i < table->count; i++) {
                size_t at = table->entries[i].hash & (slots - 1);
                while (table->slots[at])
                        at = (at + 1) & (slots - 1);
                table->slots[at] = (uint32_t)i + 1;
        }
}

GroupEntry *group_table_find(GroupTable *table, Value key, bool *ret_new)
{
        uint64_t hash = value_hash(key);
        if (table->slot_count) {
                for (size_t at = hash & (table->slot_count - 1); table->slots[at];
                     at = (at + 1) & (table->slot_count - 1)) {
                        GroupEntry *entry = &table->entries[table->slots[at] - 1];
                        if (entry->hash == hash && value_equal(entry->key, key)) {
                                *ret_new = false;
                                return entry;
                        }
                }
        }
        if (table->count == table->capacity) {
                size_t capacity = table->capacity ? 2 * table->capacity : 32;
                GroupEntry *entries = arena_array(table->arena, GroupEntry, capacity);
                if (table->count)
                        memcpy(entries, table->entries, table->count * sizeof *entries);
                table->entries = entries;
                table->capacity = capacity;
        }
        table->entries[table->count++] = (GroupEntry){.key = value_copy(key, table->arena), .hash = hash};
        if (2 * table->count > table->slot_count) {
                group_table_grow(table);
        } else {
                size_t at = hash & (table->slot_count - 1);
                while (table->slots[at])
                        at = (at + 1) & (table->slot_count - 1);
                table->slots[at] = (uint32_t)table->count;
        }
        *ret_new = true;
        return &table->entries[table->count - 1];
}

static int compare_entries(const void *a, const void *b)
{
        return value_compare(((const GroupEntry *)a)->key, ((const GroupEntry *)b)->key);
}

void group_table_sort(GroupTable *table)
{
        if (table->count)
                qsort(table->entries, table->count, sizeof *table->entries, compare_entries);
}

void group_table_finish(GroupTable *table, Groups *groups)
{
        group_table_sort(table);
        groups->made = true;
        groups->entries = table->entries;
        groups->count = table->count;
}

/* --- grouping rows --- */

bool groups_lazy(const Groups *groups)
{
        return !groups->made && !groups->spilled;
}

static Status add_to_group(GroupBatch *batch, Env *env, Value key, Value row)
{
        bool is_new;
        TRY(env_poll(env));
        TRY(check_depth(env, env->current, key));
        GroupEntry *entry = group_table_find(&batch->table, key, &is_new);
        vec_add(&entry->rows, env->arena, row);
        return ST_OK;
}

/* `multi`: an array stands for each of its elements; several together for every combination. */
static Status add_combinations(GroupBatch *batch, Env *env, const Value *keys, Value *chosen, size_t count, size_t at,
                               Value row)
{
        if (at == count) {
                Value *instance = chosen;
                if (count > 1) {
                        instance = arena_array(env->arena, Value, count);
                        memcpy(instance, chosen, count * sizeof *instance);
                }
                return add_to_group(batch, env, count == 1 ? chosen[0] : value_array(instance, count), row);
        }
        size_t choices = value_is(keys[at], V_ARRAY) ? value_count(keys[at]) : 1;
        for (size_t i = 0; i < MAX(choices, (size_t)1); i++) {
                chosen[at] = !value_is(keys[at], V_ARRAY) ? keys[at]
                             : choices == 0               ? value_null()
                                                          : value_at(keys[at], i);
                TRY(add_combinations(batch, env, keys, chosen, count, at + 1, row));
        }
        return ST_OK;
}

static size_t key_count(const Groups *groups)
{
        return groups->func_count + groups->indexed;
}

/* Takes *row apart if an index value comes with it. */
static Status group_keys(const Groups *groups, Env *env, Value *row, Value **ret_keys)
{
        Value *keys = arena_array(env->arena, Value, key_count(groups));
        if (groups->indexed) {
                keys[groups->func_count] = value_at(*row, 1);
                *row = value_at(*row, 0);
        }
        bool drops = env->drops_missing;
        for (size_t i = 0; i < groups->func_count; i++) {
                env->drops_missing = true;
                Status st = func_call_datum(env, groups->funcs[i], row, 1, &keys[i]);
                env->drops_missing = drops;
                if (status_missing(&st))
                        keys[i] = value_null();
                TRY(st);
        }
        *ret_keys = keys;
        return ST_OK;
}

static Value single_key(const Groups *groups, const Value *keys)
{
        return key_count(groups) == 1 ? keys[0] : value_array(keys, key_count(groups));
}

Status group_key(const Groups *groups, Env *env, Value *row, Value *ret_key)
{
        Value *keys;
        TRY(group_keys(groups, env, row, &keys));
        *ret_key = single_key(groups, keys);
        return check_depth(env, groups->term, *ret_key);
}

static Status group_row(const Groups *groups, Env *env, GroupBatch *batch, Value row)
{
        Value *keys;
        TRY(group_keys(groups, env, &row, &keys));
        if (!groups->multi)
                return add_to_group(batch, env, single_key(groups, keys), row);
        Value *chosen = arena_array(env->arena, Value, key_count(groups));
        return add_combinations(batch, env, keys, chosen, key_count(groups), 0, row);
}

Status groups_apply_one(Env *env, const Term *term, TermFn fn, Value value, Val *ret)
{
        Val arg0 = val_datum(term->args[0], value);
        const Term *outer = env->current;
        env->injected = &arg0;
        env->injected_term = term;
        env->current = term;
        Status st = fn(env, term, ret);
        env->current = outer;
        env->injected_term = NULL;
        return st;
}

Status pending_apply(Env *env, const Pending *first, ValueVec *rows)
{
        Frame *outer = env->frame;
        Status st = ST_OK;
        for (const Pending *pending = first; !st && pending && rows->count; pending = pending->next) {
                Val val;
                Value array;
                env->frame = pending->frame;
                Value before = value_array(rows->items, rows->count);
                st = check_depth(env, pending->term, before);
                if (!st)
                        st = groups_apply_one(env, pending->term, pending->fn, before, &val);
                if (!st)
                        st = val_to_array(env, &val, &array);
                if (!st)
                        st = expect_type(env, pending->term, array, V_ARRAY);
                if (st)
                        break;
                *rows = (ValueVec){0};
                for (size_t i = 0; i < value_count(array); i++)
                        vec_add(rows, env->arena, value_at(array, i));
        }
        env->frame = outer;
        return st;
}

Status groups_next(Groups *groups, Env *env, Arena *out, GroupBatch *batch, bool *ret_end)
{
        ValueVec rows = {0};
        BatchKind kind = env->batch_kind;
        group_table_init(&batch->table, out);
        env->batch_kind = BATCH_TERMINAL;
        Status st = stream_next(groups->source, env, out, STREAM_CHUNK, &rows, ret_end);
        env->batch_kind = kind;
        Arena *outer = env->arena;
        env->arena = out;
        for (size_t i = 0; !st && i < rows.count; i++)
                st = group_row(groups, env, batch, rows.items[i]);
        for (size_t i = 0; !st && i < batch->table.count; i++)
                st = pending_apply(env, groups->pending, &batch->table.entries[i].rows);
        env->arena = outer;
        return st;
}

/* The rows of a batch go to those of their groups. */
static size_t add_batch(Env *env, GroupTable *table, const GroupBatch *batch)
{
        size_t total = 0;
        for (size_t i = 0; i < batch->table.count; i++) {
                const GroupEntry *from = &batch->table.entries[i];
                bool is_new;
                if (from->rows.count == 0)
                        continue;
                GroupEntry *to = group_table_find(table, from->key, &is_new);
                for (size_t j = 0; j < from->rows.count; j++)
                        vec_add(&to->rows, env->arena, from->rows.items[j]);
                total += from->rows.count;
        }
        return total;
}

static Status spill_groups(Env *env, Groups *groups, GroupTable *table, ArenaMark mark)
{
        if (!groups->spilled) {
                GroupFold fold = group_fold_rows(env, groups->term);
                TRY(group_spill_new(env, groups->term, &fold, &groups->spilled));
        }
        TRY(group_spill_write(groups->spilled, table));
        arena_rewind(env->arena, mark);
        group_table_init(table, env->arena);
        return ST_OK;
}

/* Runs lazy groups: after it they are made or, if they are too large, spilled. */
static Status groups_collect(Env *env, Groups *groups)
{
        if (!groups_lazy(groups))
                return ST_OK;
        GroupTable table;
        size_t total = 0, bytes = env->arena->total_bytes;
        size_t budget = groups->source->is_array ? SIZE_MAX : spill_budget(env);
        TRY(stream_check_finite(groups->source, env));
        ArenaMark mark = arena_mark(env->arena);
        group_table_init(&table, env->arena);
        for (bool end = false; !end;) {
                GroupBatch batch;
                TRY(groups_next(groups, env, env->arena, &batch, &end));
                total += add_batch(env, &table, &batch);
                if (total > env->array_limit)
                        return fail(env, NULL, ERR_RESOURCE,
                                    "Grouped data over size limit `%zu`.  Try putting a reduction (like `.reduce` or "
                                    "`.count`) on "
                                    "the end.",
                                    env->array_limit);
                bool full = env->arena->total_bytes > bytes && env->arena->total_bytes - bytes > budget;
                if (full || (end && groups->spilled))
                        TRY(spill_groups(env, groups, &table, mark));
        }
        if (groups->spilled)
                return group_spill_merge(groups->spilled);
        for (size_t i = 0; i < table.count; i++) {
                table.entries[i].value = value_array(table.entries[i].rows.items, table.entries[i].rows.count);
                TRY(check_depth(env, groups->term, table.entries[i].value));
        }
        group_table_finish(&table, groups);
        return ST_OK;
}

Status groups_make(Env *env, Groups *groups)
{
        TRY(groups_collect(env, groups));
        return groups->spilled ? group_spill_make(groups->spilled, env, groups) : ST_OK;
}

/* --- terms on groups --- */

bool term_is_row_by_row(const Term *term)
{
        switch (term->type) {
        case TERM_MAP: return term->arg_count == 2 && !term->has_args_splice;
        case TERM_BRACKET: return term->args[1]->type == TERM_DATUM && value_is(term->args[1]->datum, V_STRING);
        case TERM_FILTER:
        case TERM_DIFFERENCE:
        case TERM_CONCAT_MAP:
        case TERM_PLUCK:
        case TERM_WITHOUT:
        case TERM_MERGE:
        case TERM_HAS_FIELDS:
        case TERM_WITH_FIELDS:
        case TERM_GET_FIELD:
        case TERM_INTERSECTS:
        case TERM_INCLUDES:
        case TERM_ZIP: return true;
        default: return false;
        }
}

static Val val_groups(const Term *term, Groups *groups)
{
        return (Val){.kind = VAL_GROUPED, .term = term, .groups = groups};
}

void groups_remember(Env *env, Pending **list, const Term *term, TermFn fn)
{
        Pending *pending = arena_new(env->arena, Pending);
        *pending = (Pending){.term = term, .fn = fn, .frame = env->frame};
        while (*list)
                list = &(*list)->next;
        *list = pending;
}

Status groups_apply(Env *env, const Term *term, TermFn fn, Val *arg0, Val *ret)
{
        Groups *groups = arg0->groups;
        if (groups_lazy(groups)) {
                if (term->type == TERM_GROUP)
                        return fail(env, term, ERR_LOGIC,
                                    "Cannot call `group` on the output of `group` (did you mean to `ungroup`?).");
                if (term_is_row_by_row(term)) {
                        groups_remember(env, &groups->pending, term, fn);
                        *ret = val_groups(term, groups);
                        return ST_OK;
                }
                bool done;
                TRY(groups_aggregate(env, term, groups, ret, &done));
                if (done)
                        return ST_OK;
                TRY(groups_collect(env, groups));
        }
        if (groups->spilled) {
                group_spill_remember(groups->spilled, env, term, fn);
                *ret = val_groups(term, groups);
                return ST_OK;
        }
        Groups *result = arena_new(env->arena, Groups);
        *result = (Groups){.made = true, .count = groups->count};
        result->entries = arena_array(env->arena, GroupEntry, groups->count);
        for (size_t i = 0; i < groups->count; i++) {
                Val val;
                result->entries[i] = groups->entries[i];
                TRY(groups_apply_one(env, term, fn, groups->entries[i].value, &val));
                TRY(val_as_datum(env, &val, &result->entries[i].value));
        }
        *ret = val_groups(term, result);
        return ST_OK;
}

Status groups_call(Env *env, const Term *term, Groups *groups, const Func *func, Value *values, size_t count, Val *ret)
{
        TRY(groups_make(env, groups));
        Groups *result = arena_new(env->arena, Groups);
        *result = (Groups){.made = true, .count = groups->count};
        result->entries = arena_array(env->arena, GroupEntry, groups->count);
        for (size_t i = 0; i < groups->count; i++) {
                result->entries[i] = groups->entries[i];
                values[0] = groups->entries[i].value;
                TRY(func_call_datum(env, func, values, count, &result->entries[i].value));
        }
        *ret = val_groups(term, result);
        return ST_OK;
}

Value groups_datum(Env *env, const Groups *groups)
{
        Value *pairs = arena_array(env->arena, Value, groups->count);
        for (size_t i = 0; i < groups->count; i++) {
                Value *pair = arena_array(env->arena, Value, 2);
                pair[0] = groups->entries[i].key;
                pair[1] = groups->entries[i].value;
                pairs[i] = value_array(pair, 2);
        }
        Field *fields = arena_array(env->arena, Field, 2);
        fields[0] = (Field){BYTES_STR("$reql_type$"), value_str("GROUPED_DATA")};
        fields[1] = (Field){BYTES_STR("data"), value_array(pairs, groups->count)};
        return value_object_sorted(fields, 2);
}

Value groups_ungrouped(Arena *arena, Value key, Value value)
{
        Field *fields = arena_array(arena, Field, 2);
        fields[0] = (Field){BYTES_STR("group"), key};
        fields[1] = (Field){BYTES_STR("reduction"), value};
        return value_object_sorted(fields, 2);
}

Status groups_array(Env *env, Groups *groups, Value *ret)
{
        TRY(groups_make(env, groups));
        Value *items = arena_array(env->arena, Value, groups->count);
        for (size_t i = 0; i < groups->count; i++)
                items[i] = groups_ungrouped(env->arena, groups->entries[i].key, groups->entries[i].value);
        *ret = value_array(items, groups->count);
        return check_depth(env, env->current, *ret);
}

/* --- group and ungroup --- */

/* By an index: its entries are the rows, in its order. By the primary key: one more function. */
static Status group_by_index(Env *env, const Term *term, const Val *source, Bytes index, Groups *groups)
{
        TableVal *table;
        TRY(val_as_table(env, source, &table));
        if (bytes_equal(index, table->info->primary_key)) {
                Val key = val_datum(term, value_string(index));
                groups->source = stream_of_table(env, term, table);
                return val_to_func(env, &key, SHORTCUT_GET_FIELD, &groups->funcs[groups->func_count++]);
        }
        TableVal *slice = arena_dup(env->arena, table, sizeof *slice);
        table_use_index(env, slice, index);
        slice->order = 1;
        groups->indexed = true;
        groups->source = stream_of_index_pairs(env, term, slice);
        return ST_OK;
}

Status term_group(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val source;
        Bytes index;
        bool multi = false, present;
        TRY(args_begin(env, term, &args));
        TRY(args_first(&args));
        Groups *groups = arena_new(env->arena, Groups);
        groups->term = term;
        groups->funcs = arena_array(env->arena, Func *, args.count);
        for (size_t i = 1; i < args.count; i++)
                TRY(args_func(&args, i, SHORTCUT_GET_FIELD, &groups->funcs[groups->func_count++]));
        TRY(args_val(&args, 0, &source));
        TRY(opt_index(env, term, &index));
        if (index.data)
                TRY(group_by_index(env, term, &source, index, groups));
        else
                TRY(val_as_stream(env, &source, &groups->source));
        if (key_count(groups) == 0)
                return fail(env, term, ERR_LOGIC, "Cannot group by nothing.");
        Val option;
        TRY(opt_val(env, term, "multi", &option, &present));
        if (present)
                TRY(val_as_bool(env, &option, &multi));
        groups->multi = multi;
        *ret = val_groups(term, groups);
        return ST_OK;
}

Status term_ungroup(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val val;
        Value array;
        TRY(args_begin(env, term, &args));
        env->ungrouped_term = term->args[0];
        TRY(args_val(&args, 0, &val));
        if (val.kind != VAL_GROUPED) {
                Bytes shown = val_print(env, &val, false);
                return fail(env, val.term, ERR_LOGIC, "Expected type GROUPED_DATA but found %s:\n%.*s",
                            val_kind_name(&val), (int)shown.size, (const char *)shown.data);
        }
        TRY(groups_collect(env, val.groups));
        if (val.groups->spilled)
                return group_spill_ungroup(val.groups->spilled, env, term, ret);
        TRY(groups_array(env, val.groups, &array));
        return sorted_result(env, term, NULL, array, ret);
}
