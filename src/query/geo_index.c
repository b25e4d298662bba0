/* geo_index.c - get_intersecting and get_nearest: a geo index gives candidates by the cells that cover a shape, and
 * each is looked at closely here. A multi index gives a row once for each of its shapes. */
#include <math.h>
#include <stdlib.h>

#include "query/geo_int.h"

/* get_nearest looks in rings around the center, each at most twice as far as the one before. */
#define FIRST_RADIUS_SHARE (10.0 / 6378137.0) /* of the equator's: 10 m on earth */
#define MAX_GROWTH         2.0
#define GOAL_ROWS          100.0 /* of a ring: where rows are dense, rings are thin */
#define DEFAULT_MAX_DIST_M 100000.0
#define DEFAULT_MAX_ROWS   100

static void free_shape(void *shape)
{
        (void)geo_shape_free(shape);
}

/* The option that names the index. */
static Status opt_geo_index(Env *env, const Term *term, const TableVal *table, const char *name, Bytes *ret)
{
        TRY(opt_index(env, term, ret));
        if (!ret->data)
                return fail(env, term, ERR_LOGIC, "%s requires an index argument.", name);
        if (bytes_equal(*ret, table->info->primary_key))
                return fail(env, term, ERR_LOGIC, "%s cannot use the primary index.", name);
        return ST_OK;
}

static Status open_candidates(Env *env, const Term *term, const TableVal *table, const char *name,
                              const GeoShape *shape, TableScan **ret_scan)
{
        uint64_t cells[GEO_CELLS_MAX];
        GeoRange ranges[GEO_RANGES_MAX];
        size_t cell_count;
        TableView *view;
        const IndexInfo *index = table->secondary;
        if (!index)
                return fail_no_index(env, NULL, table, table->index);
        if (!index->geo)
                return fail(env, NULL, ERR_LOGIC,
                            "Index `%.*s` is not a geospatial index.  %s can only be used with a geospatial index.",
                            (int)index->name.size, (const char *)index->name.data, name);
        TRY(fail_at(env, term, env_view(env, table->ref, &view)));
        TRY(fail_at(env, term, geo_cover(shape, GEO_SEARCH_CELLS, cells, &cell_count)));
        return fail_at(env, NULL,
                       env->source->geo_scan_open(view, table->index, ranges, geo_search(cells, cell_count, ranges),
                                                  ret_scan));
}

/* --- get_intersecting --- */

typedef struct TouchStream {
        Stream stream;
        TableVal *table;
        const TableSource *source;
        GeoShape *shape; /* what is asked for; freed with the scan */
        TableScan *scan; /* NULL: not begun */
        Deferred *deferred, *shape_deferred;
        Value geometry;
} TouchStream;

static void close_touch(void *what)
{
        TouchStream *self = what;
        self->source->scan_close(self->scan);
        self->scan = NULL;
}

static Status touch_begin(TouchStream *self, Env *env)
{
        const Term *term = self->stream.term;
        TRY(fail_at(env, term, geometry_shape(self->geometry, env->arena, &self->shape)));
        self->shape_deferred = env_defer(env, free_shape, self->shape);
        TRY(open_candidates(env, term, self->table, "get_intersecting", self->shape, &self->scan));
        self->deferred = env_defer(env, close_touch, self);
        return ST_OK;
}

static Status touches(TouchStream *self, Env *env, Value geometry, bool *ret)
{
        _cleanup_(geo_shape_freep) GeoShape *shape = NULL;
        TRY(fail_at(env, NULL, geometry_shape(geometry, env->arena, &shape)));
        return fail_at(env, NULL, geo_intersects(self->shape, shape, ret));
}

static Status touch_next(Stream *stream, Env *env, Arena *out, size_t want, ValueVec *batch, bool *ret_end)
{
        TouchStream *self = (TouchStream *)stream;
        Batcher batcher = batcher_start(env, SOURCE_TABLE, want);
        if (!self->scan)
                TRY(touch_begin(self, env));
        for (uint32_t i = 1;; i++) {
                ArenaMark mark = arena_mark(out);
                Value row, geometry;
                bool yes;
                if ((i & 63) == 0)
                        TRY(env_poll(env));
                TRY(fail_at(env, NULL, self->source->scan_next(self->scan, out, &row)));
                if (value_is(row, V_NONE))
                        break;
                TRY(fail_at(env, NULL, self->source->scan_index_value(self->scan, out, &geometry)));
                TRY(touches(self, env, geometry, &yes));
                if (!yes) {
                        arena_rewind(out, mark);
                        continue;
                }
                vec_add(batch, out, row);
                if (batcher_add(&batcher, env, row))
                        return ST_OK;
        }
        env_undefer(env, self->deferred);
        env_undefer(env, self->shape_deferred);
        *ret_end = true;
        return ST_OK;
}

static const StreamOps touch_ops = {.next = touch_next};

static Status term_get_intersecting(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val source, query;
        TableVal *table;
        Bytes index;
        TRY(args_begin(env, term, &args));
        TRY(args_val(&args, 0, &source));
        TRY(val_as_table(env, &source, &table));
        TRY(args_val(&args, 1, &query));
        TRY(opt_geo_index(env, term, table, "get_intersecting", &index));
        TouchStream *self = arena_new(env->arena, TouchStream);
        TRY(val_as_geometry(env, &query, &self->geometry));
        self->stream = (Stream){.ops = &touch_ops, .term = term, .table = table};
        self->source = env->source;
        self->table = arena_dup(env->arena, table, sizeof *table);
        table_use_index(env, self->table, index);
        *ret = val_stream(term, &self->stream);
        return ST_OK;
}

/* --- get_nearest --- */

typedef struct Near {
        double distance_m;
        uint64_t serial; /* keeps the sort stable */
        Value row;
} Near;

typedef struct Nearest {
        Env *env;
        const Term *term;
        TableVal *table;
        GeoPoint center;
        GeoShape *center_shape;
        GeoEllipsoid ellipsoid;
        double unit_m, max_dist_m;
        int64_t max_rows;
        Near *found;
        size_t count, capacity;
        TableScan *scan;
} Nearest;

static void close_nearest(void *what)
{
        Nearest *n = what;
        n->env->source->scan_close(n->scan);
}

static Status nearest_options(Nearest *n)
{
        Env *env = n->env;
        Val val;
        bool present;
        TRY(opt_ellipsoid(env, n->term, &n->ellipsoid));
        TRY(opt_unit(env, n->term, &n->unit_m));
        TRY(opt_val(env, n->term, "max_dist", &val, &present));
        n->max_dist_m = DEFAULT_MAX_DIST_M;
        if (present) {
                TRY(val_as_number(env, &val, &n->max_dist_m));
                n->max_dist_m *= n->unit_m;
                if (!(n->max_dist_m > 0))
                        return fail(env, val.term, ERR_LOGIC, "max_dist must be positive.");
        }
        TRY(opt_val(env, n->term, "max_results", &val, &present));
        n->max_rows = DEFAULT_MAX_ROWS;
        if (present) {
                TRY(val_as_int(env, &val, &n->max_rows));
                if (n->max_rows <= 0)
                        return fail(env, val.term, ERR_LOGIC, "max_results must be positive.");
        }
        return ST_OK;
}

static void add_near(Nearest *n, Value row, double distance_m)
{
        if (n->count == n->capacity) {
                size_t capacity = n->capacity ? 2 * n->capacity : 64;
                Near *found = arena_array(n->env->arena, Near, capacity);
                if (n->count)
                        memcpy(found, n->found, n->count * sizeof *found);
                n->found = found;
                n->capacity = capacity;
        }
        n->found[n->count] = (Near){.distance_m = distance_m, .serial = n->count, .row = row};
        n->count++;
}

static Status distance_to(const Nearest *n, Value geometry, double *ret)
{
        _cleanup_(geo_shape_freep) GeoShape *shape = NULL;
        TRY(fail_at(n->env, NULL, geometry_shape(geometry, n->env->arena, &shape)));
        return fail_at(n->env, NULL, geometry_distance(n->center_shape, shape, n->ellipsoid, ret));
}

/* Adds what is farther than `inner_m` (0: or there) and not farther than `outer_m`. */
static Status search_ring(Nearest *n, double inner_m, double outer_m)
{
        Env *env = n->env;
        GeoShape *ring;
        TRY(fail_at(env, NULL, geometry_around(n->center, inner_m, outer_m, n->ellipsoid, &ring)));
        Deferred *ring_deferred = env_defer(env, free_shape, ring);
        TRY(open_candidates(env, n->term, n->table, "get_nearest", ring, &n->scan));
        Deferred *deferred = env_defer(env, close_nearest, n);
        for (uint32_t i = 1;; i++) {
                ArenaMark mark = arena_mark(env->arena);
                Value row, geometry;
                double distance;
                if ((i & 63) == 0)
                        TRY(env_poll(env));
                TRY(fail_at(env, NULL, env->source->scan_next(n->scan, env->arena, &row)));
                if (value_is(row, V_NONE))
                        break;
                TRY(fail_at(env, NULL, env->source->scan_index_value(n->scan, env->arena, &geometry)));
                TRY(distance_to(n, geometry, &distance));
                if (distance <= outer_m && (distance > inner_m || inner_m == 0))
                        add_near(n, row, distance);
                else
                        arena_rewind(env->arena, mark);
        }
        env_undefer(env, deferred);
        env_undefer(env, ring_deferred);
        return ST_OK;
}

static int compare_near(const void *a, const void *b)
{
        const Near *left = a, *right = b;
        if (left->distance_m != right->distance_m)
                return left->distance_m < right->distance_m ? -1 : 1;
        return (left->serial > right->serial) - (left->serial < right->serial);
}

static Status search(Nearest *n)
{
        double inner = 0, outer = fmin(FIRST_RADIUS_SHARE * n->ellipsoid.equator_m, n->max_dist_m);
        for (;;) {
                size_t before = n->count;
                TRY(env_poll(n->env));
                TRY(search_ring(n, inner, outer));
                if ((int64_t)n->count >= n->max_rows || outer >= n->max_dist_m)
                        break;
                double next = outer * MAX_GROWTH, found = (double)(n->count - before);
                if (found > 0) /* as far as GOAL_ROWS would be if they were everywhere as dense as here */
                        next = fmin(next, sqrt(outer * outer + GOAL_ROWS / found * (outer * outer - inner * inner)));
                inner = outer;
                outer = fmin(next, n->max_dist_m);
        }
        if (n->count)
                qsort(n->found, n->count, sizeof *n->found, compare_near);
        n->count = MIN(n->count, (size_t)n->max_rows);
        return ST_OK;
}

static Status nearest_array(const Nearest *n, Value *ret)
{
        Arena *arena = n->env->arena;
        TRY(check_array_size(n->env, n->term, n->count));
        Value *items = arena_array(arena, Value, n->count);
        for (size_t i = 0; i < n->count; i++) {
                Field *fields = arena_array(arena, Field, 2);
                fields[0] = (Field){BYTES_STR("dist"), value_number(n->found[i].distance_m * (1 / n->unit_m))};
                fields[1] = (Field){BYTES_STR("doc"), n->found[i].row};
                items[i] = value_object_sorted(fields, 2);
        }
        *ret = value_array(items, n->count);
        return check_depth(n->env, n->term, *ret);
}

static Status term_get_nearest(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val source, center_val;
        Value center, result;
        TableVal *table;
        Bytes index;
        Nearest *n = arena_new(env->arena, Nearest);
        n->env = env;
        n->term = term;
        TRY(args_begin(env, term, &args));
        TRY(args_val(&args, 0, &source));
        TRY(val_as_table(env, &source, &table));
        TRY(args_val(&args, 1, &center_val));
        TRY(opt_geo_index(env, term, table, "get_nearest", &index));
        TRY(val_as_datum(env, &center_val, &center));
        TRY(point_of(env, term, center, &n->center));
        TRY(fail_at(env, term, geometry_check_point(n->center)));
        TRY(nearest_options(n));
        n->table = arena_dup(env->arena, table, sizeof *table);
        table_use_index(env, n->table, index);
        TRY(fail_at(env, term,
                    geometry_shape(geometry_make_point(env->arena, n->center), env->arena, &n->center_shape)));
        Deferred *deferred = env_defer(env, free_shape, n->center_shape);
        TRY(search(n));
        env_undefer(env, deferred);
        TRY(nearest_array(n, &result));
        *ret = val_datum(term, result);
        return ST_OK;
}

static const TermEval list[] = {
        {TERM_GET_INTERSECTING, term_get_intersecting, false},
        {TERM_GET_NEAREST, term_get_nearest, false},
};
const TermList terms_geo_index = {list, ELEMENTS(list)};
