/* match_show.c - what a class shows of a change.
 *
 * Each side of the change is looked at for itself: is the row among the class's (its places in the index or its key,
 * the conditions, the function), and as what? A row stands there once for each of its places. Then the places of the
 * two sides are paired: those with equal values first, the rest in order; what has no partner enters or leaves. */
#include "feed/match_int.h"

#include <stdlib.h>

typedef struct Side {
        Value row; /* V_NONE: there is none, or it is not among them */
        Value shown;
        Value *places; /* index values, ascending; the primary key */
        size_t place_count;
        Status error; /* of the function */
} Side;

typedef struct Show {
        FeedClass *class;
        Value key;
        Arena *arena;
        Side sides[2];           /* old, new */
        MatchFunction *function; /* taken */
        MatchShown *shown;
        size_t count;
} Show;

/* --- conditions --- */

static bool condition_holds(const MatchCondition *condition, Value v)
{
        switch (condition->kind) {
        case FEED_FIELD_IN: return match_count_equal(condition->values, condition->value_count, v) > 0;
        case FEED_FIELD_BETWEEN: return match_bounds_hold(condition->bounds, v);
        case FEED_FIELD_CONTAINS:
                if (!value_is(v, V_ARRAY))
                        return false;
                for (size_t i = 0; i < value_count(v); i++)
                        if (match_count_equal(condition->values, condition->value_count, value_at(v, i)) > 0)
                                return true;
                return false;
        }
        return false;
}

/* MATCH_VALUE: all hold. */
static MatchWalk conditions_hold(const FeedClass *class, Value row)
{
        MatchWalk all = MATCH_VALUE;
        for (size_t i = 0; i < class->condition_count; i++) {
                const MatchCondition *condition = &class->conditions[i];
                Value v;
                MatchWalk walk = match_walk(condition->path, row, &v);
                if (walk == MATCH_ABSENT || (walk == MATCH_VALUE && !condition_holds(condition, v)))
                        return MATCH_ABSENT;
                if (walk == MATCH_ASK)
                        all = MATCH_ASK;
        }
        return all;
}

/* --- places --- */

/* How often a value counts. */
static size_t times_of(const FeedClass *class, Value v)
{
        return class->keys ? match_count_equal(class->keys, class->key_count, v) : match_bounds_hold(class->bounds, v);
}

static int compare_places(const void *a, const void *b)
{
        return value_compare(*(const Value *)a, *(const Value *)b);
}

static Status find_places(Show *show, Side *side)
{
        const FeedClass *class = show->class;
        MatchPlaces all = {.one = show->key, .values = &all.one, .count = 1};
        size_t count = 0;
        if (class->index)
                TRY(match_places(class->index, side->row, show->arena, &all));
        for (size_t i = 0; i < all.count; i++)
                count += times_of(class, all.values[i]);
        if (!count)
                return ST_OK;
        side->places = arena_array(show->arena, Value, count);
        for (size_t i = 0; i < all.count; i++)
                for (size_t times = times_of(class, all.values[i]); times > 0; times--)
                        side->places[side->place_count++] = all.values[i];
        if (count > 1)
                qsort(side->places, count, sizeof *side->places, compare_places);
        return ST_OK;
}

/* --- the function --- */

/* The world's errors go up; those of the function are the row's. */
static bool row_is_to_blame(Status st)
{
        switch (status_code(st)) {
        case ERR_NOMEM:
        case ERR_IO:
        case ERR_NO_SPACE:
        case ERR_CANCELLED: return false;
        default: return true;
        }
}

static Status call_function(Show *show, Side *side)
{
        const FeedClass *class = show->class;
        Value result;
        if (!show->function)
                TRY(match_function_take(class->function, &show->function));
        Closure *closure = match_function_closure(show->function);
        if (closure_uses_now(closure) && !class->now_us)
                return status_new(ERR_LOGIC, "r.now() has no moment in this changefeed.");
        TRY(closure_call_at(closure, class->now_us, &side->row, 1, show->arena, &result));
        if (!value_is(result, V_ARRAY) || value_count(result) > 1)
                return status_new(ERR_INTERNAL, "A changefeed's function gave neither one row nor none.");
        if (value_count(result) == 1)
                side->shown = value_at(result, 0);
        return ST_OK;
}

static Status apply_function(Show *show, Side *side)
{
        Status st = call_function(show, side);
        if (!st || !row_is_to_blame(st))
                return st;
        if (status_code(st) == ERR_NON_EXISTENCE)
                status_ignore(st);
        else
                side->error = st;
        return ST_OK;
}

/* --- sides --- */

static Status look(Show *show, Side *side)
{
        const FeedClass *class = show->class;
        side->shown = value_none();
        if (value_is(side->row, V_NONE) || value_is(side->row, V_NULL))
                return ST_OK;
        MatchWalk walk = conditions_hold(class, side->row);
        if (walk == MATCH_ABSENT || (walk == MATCH_ASK && !class->function.data))
                return ST_OK;
        TRY(find_places(show, side));
        if (!side->place_count)
                return ST_OK;
        if (!class->function.data || (class->exact && walk == MATCH_VALUE))
                side->shown = side->row;
        else
                TRY(apply_function(show, side));
        if (value_is(side->shown, V_NONE))
                side->place_count = 0;
        return ST_OK;
}

/* --- pairs --- */

static void add_pair(Show *show, const Value *old_place, const Value *new_place, bool same)
{
        const Value none = value_none();
        const FeedClass *class = show->class;
        bool moved = class->tell_moves && old_place && new_place && !value_equal(*old_place, *new_place);
        if (old_place && new_place && same && !moved)
                return;
        show->shown[show->count++] = (MatchShown){.old_value = old_place ? show->sides[0].shown : none,
                                                  .new_value = new_place ? show->sides[1].shown : none,
                                                  .old_index = old_place && class->has_index ? *old_place : none,
                                                  .new_index = new_place && class->has_index ? *new_place : none};
}

/* Both lists ascend: equal ones are found as in a merge, and what is left over is moved to the front. */
static void pair_places(Show *show)
{
        Side *old = &show->sides[0], *new = &show->sides[1];
        bool same = old->place_count && new->place_count &&value_equal(old->shown, new->shown);
        size_t o = 0, n = 0, old_left = 0, new_left = 0;
        while (o < old->place_count || n < new->place_count) {
                int order = o == old->place_count   ? 1
                            : n == new->place_count ? -1
                                                    : value_compare(old->places[o], new->places[n]);
                if (order == 0)
                        add_pair(show, &old->places[o++], &new->places[n++], same);
                else if (order < 0)
                        old->places[old_left++] = old->places[o++];
                else
                        new->places[new_left++] = new->places[n++];
        }
        for (size_t i = 0; i < MAX(old_left, new_left); i++)
                add_pair(show, i < old_left ? &old->places[i] : NULL, i < new_left ? &new->places[i] : NULL, same);
}

static Status run_show(void *ctx)
{
        Show *show = ctx;
        Side *old = &show->sides[0], *new = &show->sides[1];
        TRY(look(show, old));
        TRY(look(show, new));
        const Status error = new->error ? new->error : show->class->tell_mended ? old->error : ST_OK;
        if (!old->place_count && !new->place_count && !error)
                return ST_OK;
        show->shown = arena_array(show->arena, MatchShown, old->place_count + new->place_count + 1);
        pair_places(show);
        if (error) {
                const char *message = status_message(error);
                show->shown[show->count++] = (MatchShown){.error = arena_dup(show->arena, message, strlen(message)),
                                                          .error_code = status_code(error)};
        }
        return ST_OK;
}

Status feed_class_show(FeedClass *class, Value key, Value old_row, Value new_row, Arena *arena, MatchShown **ret_shown,
                       size_t *ret_count)
{
        Show show = {.class = class, .key = key, .arena = arena, .sides = {{.row = old_row}, {.row = new_row}}};
        Status st = match_guarded(arena, run_show, &show);
        match_function_leave(show.function);
        for (size_t i = 0; i < ELEMENTS(show.sides); i++)
                status_ignore(show.sides[i].error);
        if (st)
                return st;
        *ret_shown = show.shown;
        *ret_count = show.count;
        return ST_OK;
}
