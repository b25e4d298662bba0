/* match_value.c - values of a row: at a path, in an index. */
#include "feed/match_int.h"

#include "value/key.h"

/* --- arenas --- */

typedef struct Guard {
        jmp_buf jump;
        bool over_budget;
} Guard;

static void on_oom(void *ctx, bool over_budget)
{
        Guard *guard = ctx;
        guard->over_budget = over_budget;
        longjmp(guard->jump, 1);
}

Status match_guarded(Arena *arena, Status (*run)(void *ctx), void *ctx)
{
        Guard guard;
        void (*outer)(void *, bool) = arena->oom;
        void *outer_ctx = arena->oom_ctx;
        Status st;
        arena_on_oom(arena, on_oom, &guard);
        if (setjmp(guard.jump))
                st = guard.over_budget ? status_new(ERR_RESOURCE, "A changefeed needs too much memory for a change.")
                                       : status_nomem();
        else
                st = run(ctx);
        arena_on_oom(arena, outer, outer_ctx);
        return st;
}

/* --- fields --- */

MatchWalk match_walk(IndexPath path, Value row, Value *ret_value)
{
        Value at = row;
        for (size_t i = 0; i < path.count; i++) {
                if (value_is(at, V_NULL))
                        return MATCH_ABSENT; /* the same error as that of a missing field */
                if (!value_is(at, V_OBJECT))
                        return MATCH_ASK;
                at = value_get(at, path.fields[i]);
                if (value_is(at, V_NONE))
                        return MATCH_ABSENT;
        }
        *ret_value = at;
        return MATCH_VALUE;
}

bool match_bounds_hold(const KeyBounds *bounds, Value v)
{
        if (!bounds)
                return true;
        if (bounds->low_type != BOUND_NONE) {
                int order = value_compare(v, bounds->low);
                if (order < 0 || (order == 0 && bounds->low_type == BOUND_OPEN))
                        return false;
        }
        if (bounds->high_type != BOUND_NONE) {
                int order = value_compare(v, bounds->high);
                if (order > 0 || (order == 0 && bounds->high_type == BOUND_OPEN))
                        return false;
        }
        return true;
}

size_t match_count_equal(const Value *values, size_t count, Value v)
{
        size_t low = 0, high = count, equal = 0;
        while (low < high) {
                size_t middle = low + (high - low) / 2;
                if (value_compare(values[middle], v) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        while (low + equal < count && value_equal(values[low + equal], v))
                equal++;
        return equal;
}

/* --- indexes --- */

Status match_places(TableIndex *index, Value row, Arena *arena, MatchPlaces *ret)
{
        Value value;
        *ret = (MatchPlaces){0};
        TRY(table_index_value(index, row, arena, &value));
        if (!table_index_is_multi(index) || !value_is(value, V_ARRAY)) {
                ret->one = value;
                ret->values = &ret->one;
                ret->count = key_is_secondary(value);
                return ST_OK;
        }
        Value *values = arena_array(arena, Value, value_count(value));
        for (size_t i = 0; i < value_count(value); i++) {
                Value element = value_at(value, i);
                if (key_is_secondary(element))
                        values[ret->count++] = element;
        }
        ret->values = values;
        return ST_OK;
}
