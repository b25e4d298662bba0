/* plan_index.c - what an index can do for a predicate: which of its entries are looked at, and which rows beside them.
 *
 * Why a row that is in neither cannot be selected, nor raise an error: README.md, "The planner". */
#include "query/plan_int.h"
#include "value/key.h"

static const PlanCandidate no_bounds = {.bounds = {.low_type = BOUND_NONE, .high_type = BOUND_NONE},
                                        .next = {.low_type = BOUND_NONE, .high_type = BOUND_NONE}};

/* May a part stand before a condition that leaves rows out by this index? Such rows have a value in it, so walking to
 * it does not fail, and in a multi index they have an array. */
static bool safe_for(const PlanConjunct *conjunct, const IndexPath *paths, size_t path_count, bool multi)
{
        switch (conjunct->safety) {
        case PLAN_SAFE: return true;
        case PLAN_SAFE_WALK: return path_count == 1 && index_paths_equal(conjunct->path, paths[0]);
        case PLAN_SAFE_ELEMENTS: return multi && path_count == 1 && index_paths_equal(conjunct->path, paths[0]);
        case PLAN_UNSAFE: break;
        }
        return false;
}

/* How many conditions, from the first, may be used. */
static size_t usable_conditions(const PlanPredicate *predicate, const IndexPath *paths, size_t path_count, bool multi)
{
        size_t count = 0;
        for (size_t i = 0; i < predicate->conjunct_count; i++) {
                const PlanConjunct *conjunct = &predicate->conjuncts[i];
                if (!safe_for(conjunct, paths, path_count, multi))
                        break;
                if (conjunct->count)
                        count = conjunct->first + conjunct->count;
        }
        return count;
}

/* --- a range of one field's values --- */

static void raise_low(KeyBounds *bounds, Value value, BoundType type)
{
        int order = bounds->low_type == BOUND_NONE ? 1 : value_compare(value, bounds->low);
        if (order > 0 || (order == 0 && type == BOUND_OPEN)) {
                bounds->low = value;
                bounds->low_type = type;
        }
}

static void lower_high(KeyBounds *bounds, Value value, BoundType type)
{
        int order = bounds->high_type == BOUND_NONE ? -1 : value_compare(value, bounds->high);
        if (order < 0 || (order == 0 && type == BOUND_OPEN)) {
                bounds->high = value;
                bounds->high_type = type;
        }
}

void plan_narrow(KeyBounds *bounds, const PlanCondition *condition)
{
        switch (condition->op) {
        case PLAN_EQ:
                raise_low(bounds, condition->value, BOUND_CLOSED);
                lower_high(bounds, condition->value, BOUND_CLOSED);
                break;
        case PLAN_LT: lower_high(bounds, condition->value, BOUND_OPEN); break;
        case PLAN_LE: lower_high(bounds, condition->value, BOUND_CLOSED); break;
        case PLAN_GT: raise_low(bounds, condition->value, BOUND_OPEN); break;
        case PLAN_GE: raise_low(bounds, condition->value, BOUND_CLOSED); break;
        case PLAN_CONTAINS:
        case PLAN_IN:
        case PLAN_PREFIX: break;
        }
}

static bool is_bounded(const KeyBounds *bounds)
{
        return bounds->low_type != BOUND_NONE || bounds->high_type != BOUND_NONE;
}

static bool is_one_value(const KeyBounds *bounds)
{
        return bounds->low_type == BOUND_CLOSED && bounds->high_type == BOUND_CLOSED &&
               value_equal(bounds->low, bounds->high);
}

void plan_tidy(KeyBounds *bounds)
{
        if (bounds->low_type == BOUND_NONE || bounds->high_type == BOUND_NONE ||
            value_compare(bounds->low, bounds->high) <= 0)
                return;
        bounds->high = bounds->low;
        bounds->low_type = BOUND_CLOSED;
        bounds->high_type = BOUND_OPEN;
}

/* What the conditions on `path` leave; *ret_any: is there one? */
static void field_bounds(const PlanPredicate *predicate, size_t usable, IndexPath path, KeyBounds *bounds,
                         bool *ret_any)
{
        *ret_any = false;
        for (size_t i = 0; i < usable; i++) {
                const PlanCondition *condition = &predicate->conditions[i];
                if (condition->op > PLAN_GE || !index_paths_equal(condition->path, path))
                        continue;
                plan_narrow(bounds, condition);
                *ret_any = true;
        }
        plan_tidy(bounds);
}

/* --- kinds of indexes --- */

static bool is_primary_key(Env *env, Value value)
{
        Bytes encoded;
        Status st = key_encode_primary(value, env->arena, &encoded);
        status_ignore(st);
        return !st;
}

static bool is_mentioned(const PlanPredicate *predicate, IndexPath path)
{
        for (size_t i = 0; i < predicate->condition_count; i++)
                if (index_paths_equal(predicate->conditions[i].path, path))
                        return true;
        return false;
}

static const char *why_unused(const PlanPredicate *predicate, IndexPath path)
{
        return is_mentioned(predicate, path) ? "what stands before the condition might be an error of other rows"
                                             : "there is no condition on its field";
}

/* Every row has a primary key, and every primary key can be one. */
static void by_primary(Env *env, const PlanPredicate *predicate, const TableVal *table, PlanCandidate *ret)
{
        IndexPath path = {&table->info->primary_key, 1};
        bool any;
        size_t usable = usable_conditions(predicate, &path, 1, false);
        if (table->has_bounds)
                ret->bounds = table->bounds;
        field_bounds(predicate, usable, path, &ret->bounds, &any);
        ret->narrows = true;
        if (!any)
                ret->refused = why_unused(predicate, path);
        else if ((ret->bounds.low_type != BOUND_NONE && !is_primary_key(env, ret->bounds.low)) ||
                 (ret->bounds.high_type != BOUND_NONE && !is_primary_key(env, ret->bounds.high)))
                ret->refused = "it is compared with what cannot be a primary key";
}

static void by_simple(const PlanPredicate *predicate, const TableVal *table, const IndexInfo *index, PlanCandidate *ret)
{
        IndexPath path = index->paths[0];
        bool any;
        size_t usable = usable_conditions(predicate, index->paths, 1, false);
        ret->narrows = table->has_index;
        if (table->has_bounds)
                ret->bounds = table->bounds;
        field_bounds(predicate, usable, path, &ret->bounds, &any);
        if (!any)
                ret->refused = why_unused(predicate, path);
        if (ret->narrows) /* what is not among its values is not in the slice either */
                return;
        ret->rest = ret->rest_bounds = !(is_one_value(&ret->bounds) && key_is_secondary(ret->bounds.low));
        ret->failed = path.count > 1;
}

static void by_multi(const PlanPredicate *predicate, const TableVal *table, const IndexInfo *index, PlanCandidate *ret)
{
        size_t usable = usable_conditions(predicate, index->paths, 1, true);
        ret->refused = why_unused(predicate, index->paths[0]);
        if (table->has_index) {
                ret->refused = "a slice of a multi index has rows more than once";
                return;
        }
        for (size_t i = 0; i < usable; i++) {
                const PlanCondition *condition = &predicate->conditions[i];
                if (condition->op != PLAN_CONTAINS || !index_paths_equal(condition->path, index->paths[0]))
                        continue;
                ret->refused = "what is to be contained cannot be a key";
                if (!key_is_secondary(condition->value))
                        continue;
                ret->refused = NULL;
                raise_low(&ret->bounds, condition->value, BOUND_CLOSED);
                lower_high(&ret->bounds, condition->value, BOUND_CLOSED);
                break;
        }
        ret->once = true;
        ret->rest = true;
        ret->failed = index->paths[0].count > 1;
}

/* Whether each row of the table is in the index or in its rest. */
static bool covers(Env *env, TableView *view, const IndexInfo *index)
{
        const TableSource *source = env->source;
        uint64_t rows = 0, entries = 0, rest = 0, failed = 0;
        Status st = source->view_count(view, NULL, &rows);
        if (!st)
                st = source->index_count(view, index->name, NULL, &entries);
        if (!st)
                st = source->index_rest_count(view, index->name, INDEX_REST_VALUES, NULL, &rest);
        if (!st)
                st = source->index_rest_count(view, index->name, INDEX_REST_FAILED, NULL, &failed);
        bool failing = st != ST_OK;
        status_ignore(st);
        return !failing && entries + rest + failed == rows;
}

static Value array_of(Env *env, const Value *first, size_t count, Value last)
{
        Value *items = arena_array(env->arena, Value, count + 1);
        if (count)
                memcpy(items, first, count * sizeof *items);
        if (!value_is(last, V_NONE))
                items[count++] = last;
        return value_array(items, count);
}

/* Values that begin with the same elements lie between the array of these and one with MAXVAL behind them. */
static void compound_bounds(Env *env, const Value *equal, size_t equal_count, const KeyBounds *next, KeyBounds *ret)
{
        bool low = next->low_type != BOUND_NONE, high = next->high_type != BOUND_NONE;
        /* Elements above an open low bound: those that begin with the bound itself are left out, too. */
        if (low && next->low_type == BOUND_OPEN) {
                Value *items = arena_array(env->arena, Value, equal_count + 2);
                if (equal_count)
                        memcpy(items, equal, equal_count * sizeof *items);
                items[equal_count] = next->low;
                items[equal_count + 1] = value_maxval();
                ret->low = value_array(items, equal_count + 2);
                ret->low_type = BOUND_OPEN;
        } else {
                ret->low = array_of(env, equal, equal_count, low ? next->low : value_none());
                ret->low_type = BOUND_CLOSED;
        }
        if (high && next->high_type == BOUND_CLOSED) {
                Value *items = arena_array(env->arena, Value, equal_count + 2);
                if (equal_count)
                        memcpy(items, equal, equal_count * sizeof *items);
                items[equal_count] = next->high;
                items[equal_count + 1] = value_maxval();
                ret->high = value_array(items, equal_count + 2);
                ret->high_type = BOUND_CLOSED;
        } else {
                ret->high = array_of(env, equal, equal_count, high ? next->high : value_maxval());
                ret->high_type = BOUND_OPEN;
        }
}

static void by_compound(Env *env, const PlanPredicate *predicate, const TableVal *table, const IndexInfo *index,
                        TableView *view, PlanCandidate *ret)
{
        size_t usable = usable_conditions(predicate, index->paths, index->path_count, false), equal_count = 0;
        Value *equal = arena_array(env->arena, Value, index->path_count);
        KeyBounds next = no_bounds.bounds;
        bool prefix = true, missing = false;
        if (table->has_index) {
                ret->refused = "the slice goes by it already";
                return;
        }
        for (size_t i = 0; i < index->path_count; i++) {
                KeyBounds bounds = no_bounds.bounds;
                bool any;
                if (index->paths[i].count != 1) { /* which of several errors comes first is too much to know */
                        ret->refused = "it is of fields inside fields";
                        return;
                }
                field_bounds(predicate, usable, index->paths[i], &bounds, &any);
                missing |= !any;
                if (prefix && is_one_value(&bounds)) {
                        equal[equal_count++] = bounds.low;
                } else if (prefix) {
                        next = bounds;
                        prefix = false;
                }
        }
        if (equal_count == 0 && !is_bounded(&next)) {
                ret->refused = why_unused(predicate, index->paths[0]);
                return;
        }
        /* A row without one of the fields is not in the index, but nobody has asked for all of them. */
        if (missing && !covers(env, view, index)) {
                ret->refused = "not every row has all of its fields";
                return;
        }
        compound_bounds(env, equal, equal_count, &next, &ret->bounds);
        ret->prefix = value_array(equal, equal_count);
        ret->next = next;
        if (value_too_deep(ret->bounds.low) || value_too_deep(ret->bounds.high)) {
                ret->refused = "a value is nested as deeply as values may be";
                return;
        }
        ret->rest = ret->rest_bounds = true;
        ret->failed = true;
}

void plan_candidate(Env *env, const PlanPredicate *predicate, const TableVal *table, const IndexInfo *index,
                    TableView *view, PlanCandidate *ret)
{
        *ret = no_bounds;
        ret->index = index;
        if (!index)
                by_primary(env, predicate, table, ret);
        else if (index->error.data)
                ret->refused = "it could not be built";
        else if (!index->ready)
                ret->refused = "it is being built";
        else if (index->geo)
                ret->refused = "it is a geospatial index";
        else if (!index->path_count)
                ret->refused = "its function is more than a field, or an array of fields";
        else if (index->compound && index->multi)
                ret->refused = "it is multi and compound";
        else if (index->compound)
                by_compound(env, predicate, table, index, view, ret);
        else if (index->multi)
                by_multi(predicate, table, index, ret);
        else
                by_simple(predicate, table, index, ret);
}
