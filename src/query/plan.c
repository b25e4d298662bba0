/* plan.c - choosing: all that could be read by, counted, and the cheapest of it. */
#include "query/exec_compile.h"
#include "query/plan_explain.h"
#include "query/plan_int.h"

/* A row that is found by an entry of an index is looked up in another tree, which takes a microsecond. So many rows
 * does a scan pass over meanwhile: over columns if the predicates can be compiled (exec_scan.h), else one by one. */
#define LOOKUP_COMPILED  100
#define LOOKUP_EVALUATED 4
#define NEARLY_NOTHING   1e-6 /* in tests */
#define COLUMNS_MIN_ROWS 2000 /* of a smaller table no columns are made */

struct Plan {
        const Term *term; /* the scan's */
        TableVal *table;
        Stream *scan; /* what the query says */
        PlanPredicate predicate;
        bool evaluated; /* one of the filters cannot be compiled */
        double lookup_cost;
};

/* Restores what an error that nobody is told of left behind. */
typedef struct Quiet {
        const Term *error_at;
        bool empty_error;
} Quiet;

static bool fine(Env *env, Quiet quiet, Status st)
{
        if (!st)
                return true;
        status_ignore(st);
        env->error_at = quiet.error_at;
        env->empty_error = quiet.empty_error;
        return false;
}

static Status count_rest(Env *env, TableView *view, const PlanCandidate *c, IndexRest which, uint64_t *rows)
{
        uint64_t more;
        const KeyBounds *bounds = which == INDEX_REST_VALUES && c->rest_bounds ? &c->bounds : NULL;
        TRY(env->source->index_rest_count(view, c->index->name, which, bounds, &more));
        *rows += more;
        return ST_OK;
}

static Status count_candidate(Env *env, TableView *view, PlanCandidate *c)
{
        if (!c->index)
                return env->source->view_count(view, &c->bounds, &c->rows);
        TRY(env->source->index_count(view, c->index->name, &c->bounds, &c->rows));
        if (c->rest)
                TRY(count_rest(env, view, c, INDEX_REST_VALUES, &c->rows));
        if (c->failed)
                TRY(count_rest(env, view, c, INDEX_REST_FAILED, &c->rows));
        return ST_OK;
}

static double cost_of(const Plan *plan, const PlanCandidate *c)
{
        return (double)c->rows * (c->narrows ? 1 : plan->lookup_cost);
}

/* Looks at one candidate and says whether it is better than what was found so far. */
static bool consider(Env *env, Plan *plan, TableView *view, const IndexInfo *index, double best, PlanCandidate *ret)
{
        Quiet quiet = {env->error_at, env->empty_error};
        plan_candidate(env, &plan->predicate, plan->table, index, view, ret);
        if (!ret->refused && !fine(env, quiet, count_candidate(env, view, ret)))
                ret->refused = "it cannot be read";
        bool better = !ret->refused && cost_of(plan, ret) < best;
        explain_candidate(env, plan->term, ret, better);
        return better;
}

/* Which indexes may be used at all: of a slice, the one that it goes by. */
static size_t indexes_of(Env *env, const TableVal *table, const IndexInfo **ret_indexes)
{
        const TableSource *source = env->source;
        *ret_indexes = NULL;
        if (!table_is_primary(table)) {
                *ret_indexes = table->secondary;
                return table->secondary != NULL;
        }
        bool whole = !table->has_index && !table->has_bounds && table->order == 0;
        return whole && source->index_list && source->index_rest_open ? source->index_list(table->ref, ret_indexes) : 0;
}

static Stream *choose(Env *env, Plan *plan)
{
        Quiet quiet = {env->error_at, env->empty_error};
        const TableVal *table = plan->table;
        const IndexInfo *indexes;
        TableView *view;
        uint64_t total;
        PlanCandidate best = {0}, candidate;
        if (!fine(env, quiet, env_view(env, table->ref, &view)) ||
            !fine(env, quiet, table_count_rows(env, plan->term, table, &total)))
                return NULL;
        explain_scan(env, plan->term, table, total);
        plan->lookup_cost = env->world->plan_always                       ? NEARLY_NOTHING
                            : plan->evaluated || total < COLUMNS_MIN_ROWS ? LOOKUP_EVALUATED
                                                                          : LOOKUP_COMPILED;
        bool found = false;
        double cost = (double)total;
        if (table_is_primary(table) && consider(env, plan, view, NULL, cost, &candidate)) {
                best = candidate;
                cost = cost_of(plan, &best);
                found = true;
        }
        size_t count = indexes_of(env, table, &indexes);
        for (size_t i = 0; i < 2 * count; i++) { /* of two that are as good the simpler one */
                const IndexInfo *index = &indexes[i % count];
                if (index->compound != (i >= count) || !consider(env, plan, view, index, cost, &candidate))
                        continue;
                best = candidate;
                cost = cost_of(plan, &best);
                found = true;
        }
        explain_chosen(env, plan->term, found ? &best : NULL, total);
        return found ? plan_scan(env, plan->term, plan->table, &best) : plan->scan;
}

Plan *plan_filter(Env *env, Plan *plan, Stream *source, const Func *func, const Term *on_missing, Stream **ret_scan)
{
        *ret_scan = NULL;
        if (!plan) {
                TableVal *table = stream_whole_scan(source);
                if (!table)
                        return NULL;
                plan = arena_new(env->arena, Plan);
                plan->term = source->term;
                plan->table = table;
                plan->scan = source;
        }
        size_t before = plan->predicate.condition_count;
        plan_gather(env, &plan->predicate, func, on_missing);
        plan->evaluated |= !exec_of_func(env, func, true);
        if (plan->predicate.condition_count > before || unlikely(env->explain != NULL))
                *ret_scan = choose(env, plan);
        return plan;
}
