/* changes_explain.c - what `explain` says of `changes`: which tables a feed follows, by which values it is found when
 * something changes, and what it is asked then. */
#include "query/changes_int.h"
#include "query/plan_explain.h"

static const char *path_text(Env *env, IndexPath path)
{
        const char *text = "";
        for (size_t i = 0; i < path.count; i++)
                text = arena_printf(env->query_arena, "%s%s%.*s", text, i ? "." : "", (int)path.fields[i].size,
                                    (const char *)path.fields[i].data);
        return text;
}

/* "= 1", "one of [1, 2]"; of what an array contains: "contains 1", "contains one of [1, 2]". */
static const char *values_text(Env *env, const char *one, const char *several, const Value *values, size_t count)
{
        return count == 1 ? arena_printf(env->query_arena, "%s %s", one, explain_value_text(env, values[0]))
                          : arena_printf(env->query_arena, "%s %s", several,
                                         explain_value_text(env, value_array(values, count)));
}

static bool is_bounded(const KeyBounds *bounds)
{
        return bounds && (bounds->low_type != BOUND_NONE || bounds->high_type != BOUND_NONE);
}

static const char *condition_text(Env *env, const FeedCondition *c)
{
        const char *path = path_text(env, c->path);
        if (c->kind == FEED_FIELD_BETWEEN)
                return arena_printf(env->query_arena, "`%s` %s", path,
                                    is_bounded(&c->bounds) ? explain_bounds_text(env, &c->bounds) : "is there");
        bool contains = c->kind == FEED_FIELD_CONTAINS;
        return arena_printf(env->query_arena, "`%s` %s", path,
                            values_text(env, contains ? "contains" : "=", contains ? "contains one of" : "one of",
                                        c->values, c->value_count));
}

static Value conditions_of(Env *env, const FeedSpec *spec, Bytes index)
{
        ArrayBuilder array;
        array_init(&array, env->query_arena, 1 + spec->condition_count);
        if (spec->key_count || is_bounded(spec->bounds))
                array_add(&array, value_str(arena_printf(
                                          env->query_arena, "%s`%.*s` %s", spec->index.data ? "index " : "",
                                          (int)index.size, (const char *)index.data,
                                          spec->key_count ? values_text(env, "=", "one of", spec->keys, spec->key_count)
                                                          : explain_bounds_text(env, spec->bounds))));
        for (size_t i = 0; i < spec->condition_count; i++)
                array_add(&array, value_str(condition_text(env, &spec->conditions[i])));
        return array_take(&array);
}

static const char *joined(Env *env, Value conditions)
{
        const char *text = "";
        for (size_t i = 0; i < value_count(conditions); i++) {
                Bytes one = value_bytes(value_at(conditions, i));
                text = arena_printf(env->query_arena, "%s%s%.*s", text, i ? " and " : "", (int)one.size,
                                    (const char *)one.data);
        }
        return text;
}

static Value describe_spec(Env *env, const FeedSpec *spec)
{
        ObjectBuilder object;
        const TableInfo *info = env->source->table_info(spec->table);
        Bytes index = spec->index.data ? spec->index : info->primary_key;
        Value conditions = conditions_of(env, spec, index);
        bool asks = spec->function.data && !spec->exact;
        const char *table = arena_printf(env->query_arena, "%.*s.%.*s", (int)info->db.size, (const char *)info->db.data,
                                         (int)info->name.size, (const char *)info->name.data);
        const char *by = value_count(conditions)
                                 ? arena_printf(env->query_arena, "found by %s", joined(env, conditions))
                                 : "concerned by every change";
        const char *then = asks ? "then its function is asked" : "no function is asked";
        object_init(&object, env->query_arena, 5);
        object_add_str(&object, "conditions", conditions);
        object_add_str(&object, "exact", value_bool(!asks));
        object_add_str(&object, "table", value_str(table));
        object_add_str(&object, "text",
                       value_str(arena_printf(env->query_arena, "a feed of %s: %s; %s", table, by, then)));
        return object_take(&object);
}

Status changes_explain(Env *env, const Term *term, Value *ret_feeds, bool *ret_remembers)
{
        ArrayBuilder array;
        FeedState *state;
        FeedSpec *specs;
        size_t count;
        int note;
        TRY(feed_state_of(env, term, &state));
        if (state) {
                specs = state->specs;
                count = state->feed_count;
        } else {
                TRY(changes_specs_of(env, term, &specs, &count, &note));
        }
        array_init(&array, env->query_arena, count);
        for (size_t i = 0; i < count; i++)
                array_add(&array, describe_spec(env, &specs[i]));
        *ret_feeds = array_take(&array);
        *ret_remembers = state != NULL;
        if (state)
                state->ops->free(state);
        return ST_OK;
}
