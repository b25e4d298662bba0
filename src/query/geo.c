/* geo.c - geometry: making points, lines, polygons and circles, GeoJSON, and questions about them. What a GEOMETRY
 * means is value/geometry.h's; here is which argument is looked at when, and where an error stands. */
#include <inttypes.h>
#include <math.h>

#include "query/geo_int.h"
#include "query/poly.h"

#define CIRCLE_VERTICES 32 /* unless num_vertices says otherwise */

/* --- arguments --- */

Status val_as_geometry(Env *env, const Val *val, Value *ret)
{
        TRY(val_as_datum(env, val, ret));
        if (value_is(*ret, V_GEOMETRY))
                return ST_OK;
        return fail(env, val->term, ERR_LOGIC, "Not a GEOMETRY pseudotype: `%s`.",
                    (const char *)message_datum(env, *ret).data);
}

static Status args_geometry(Args *args, size_t i, Value *ret)
{
        Val val;
        TRY(args_val(args, i, &val));
        return val_as_geometry(args->env, &val, ret);
}

Status point_of(Env *env, const Term *term, Value v, GeoPoint *ret)
{
        if (value_is(v, V_GEOMETRY))
                return fail_at(env, term, geometry_point(v, ret));
        TRY(expect_type(env, term, v, V_ARRAY));
        if (value_count(v) != 2)
                return fail(env, term, ERR_LOGIC,
                            "Expected point coordinate pair.  Got %zu element array instead of a 2 element one.",
                            value_count(v));
        Value lon = value_at(v, 0), lat = value_at(v, 1);
        TRY(expect_type(env, term, lon, V_NUMBER));
        TRY(expect_type(env, term, lat, V_NUMBER));
        *ret = (GeoPoint){lon.number, lat.number};
        return ST_OK;
}

Status opt_ellipsoid(Env *env, const Term *term, GeoEllipsoid *ret)
{
        Val val;
        Value system;
        Bytes name;
        bool present;
        *ret = GEO_WGS84;
        TRY(opt_val(env, term, "geo_system", &val, &present));
        if (!present)
                return ST_OK;
        TRY(val_as_datum(env, &val, &system));
        if (value_is_object(system)) {
                static const char *const keys[] = {"a", "f"};
                double numbers[ELEMENTS(keys)];
                for (size_t i = 0; i < ELEMENTS(keys); i++) {
                        Value v = value_get_str(system, keys[i]);
                        if (value_is(v, V_NONE))
                                return fail_no_attribute(env, term, BYTES_STR(keys[i]), system);
                        TRY(expect_type(env, term, v, V_NUMBER));
                        numbers[i] = v.number;
                }
                *ret = (GeoEllipsoid){numbers[0], numbers[1]};
                if (!(ret->equator_m > 0))
                        return fail(env, val.term, ERR_LOGIC, "The equator radius `a` must be positive.");
                if (!(ret->flattening >= 0 && ret->flattening < 1))
                        return fail(env, val.term, ERR_LOGIC, "The flattening `f` must be in the range [0, 1).");
                return ST_OK;
        }
        TRY(val_as_string(env, &val, &name));
        if (bytes_equal(name, BYTES_STR("WGS84")))
                return ST_OK;
        *ret = GEO_UNIT_SPHERE;
        if (bytes_equal(name, BYTES_STR("unit_sphere")))
                return ST_OK;
        return fail(env, val.term, ERR_LOGIC,
                    "Unrecognized geo system \"%.*s\" (valid options: \"WGS84\", \"unit_sphere\").", (int)name.size,
                    (const char *)name.data);
}

Status opt_unit(Env *env, const Term *term, double *ret_m)
{
        Val val;
        Bytes name;
        bool present;
        *ret_m = 1;
        TRY(opt_val(env, term, "unit", &val, &present));
        if (!present)
                return ST_OK;
        TRY(val_as_string(env, &val, &name));
        return fail_at(env, term, geometry_unit(name, ret_m));
}

/* A new geometry, if it can be one. */
static Status made(Env *env, const Term *term, Value geometry, Val *ret)
{
        TRY(fail_at(env, term, geometry_check(geometry, env->arena)));
        *ret = val_datum(term, geometry);
        return ST_OK;
}

/* --- making --- */

static Status term_point(Env *env, const Term *term, Val *ret)
{
        Args args;
        GeoPoint point;
        TRY(args_begin(env, term, &args));
        TRY(args_number(&args, 0, &point.lon));
        TRY(args_number(&args, 1, &point.lat));
        TRY(check_array_size(env, term, 2));
        return made(env, term, geometry_make_point(env->arena, point), ret);
}

/* line and polygon */
static Status term_vertices(Env *env, const Term *term, Val *ret)
{
        Args args;
        TRY(args_begin(env, term, &args));
        GeoPoint *points = arena_array(env->arena, GeoPoint, args.count);
        for (size_t i = 0; i < args.count; i++) {
                Value v;
                TRY(args_datum(&args, i, &v));
                TRY(point_of(env, term, v, &points[i]));
        }
        TRY(check_array_size(env, term, args.count));
        Value geometry = term->type == TERM_LINE ? geometry_make_line(env->arena, points, args.count)
                                                 : geometry_make_polygon(env->arena, points, args.count);
        return made(env, term, geometry, ret);
}

/* fill(line): the polygon it goes around. */
static Status term_fill(Env *env, const Term *term, Val *ret)
{
        Args args;
        Value line;
        TRY(args_begin(env, term, &args));
        TRY(args_geometry(&args, 0, &line));
        TRY(fail_at(env, term, geometry_expect(line, "LineString")));
        Value positions = value_get_str(line, "coordinates");
        size_t count = value_count(positions);
        GeoPoint *points = arena_array(env->arena, GeoPoint, count);
        for (size_t i = 0; i < count; i++)
                TRY(fail_at(env, term, geometry_position(value_at(positions, i), &points[i])));
        TRY(check_array_size(env, term, count));
        return made(env, term, geometry_make_polygon(env->arena, points, count), ret);
}

static Status circle_options(Env *env, const Term *term, bool *ret_fill, uint32_t *ret_count)
{
        Val val;
        bool present;
        int64_t count;
        *ret_fill = true;
        *ret_count = CIRCLE_VERTICES;
        TRY(opt_val(env, term, "fill", &val, &present));
        if (present)
                TRY(val_as_bool(env, &val, ret_fill));
        TRY(opt_val(env, term, "num_vertices", &val, &present));
        if (!present)
                return ST_OK;
        TRY(val_as_int(env, &val, &count));
        if (count != (uint32_t)count)
                return fail(env, val.term, ERR_LOGIC, "Integer too large: %" PRId64, count);
        if (count == 0)
                return fail(env, val.term, ERR_LOGIC, "num_vertices must be positive.");
        *ret_count = (uint32_t)count;
        return ST_OK;
}

static Status term_circle(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val center_val, radius_val;
        Value center_datum;
        bool fill;
        uint32_t count;
        GeoEllipsoid ellipsoid;
        GeoPoint center;
        double unit_m, radius;
        TRY(args_begin(env, term, &args));
        TRY(args_val(&args, 0, &center_val));
        TRY(args_val(&args, 1, &radius_val));
        TRY(circle_options(env, term, &fill, &count));
        TRY(opt_ellipsoid(env, term, &ellipsoid));
        TRY(opt_unit(env, term, &unit_m));
        TRY(val_as_datum(env, &center_val, &center_datum));
        TRY(point_of(env, term, center_datum, &center));
        TRY(val_as_number(env, &radius_val, &radius));
        if (center.lon > 180 || center.lon < -180)
                center.lon -= copysign(360, center.lon); /* RethinkDB's geodesic takes one turn off */
        TRY(fail_at(env, term, geometry_check_point(center)));
        radius *= unit_m;
        TRY(fail_at(env, term, geometry_check_radius(radius, ellipsoid)));
        TRY(check_array_size(env, term, (size_t)count + 1));
        GeoPoint *ring = arena_array(env->arena, GeoPoint, (size_t)count + 1);
        geometry_circle(center, radius, count, ellipsoid, ring);
        for (uint32_t i = 0; i < count; i++)
                if (!isfinite(ring[i].lon) || !isfinite(ring[i].lat))
                        return fail(env, term, ERR_LOGIC, "Non-finite number: nan");
        Value geometry = fill ? geometry_make_polygon(env->arena, ring, (size_t)count + 1)
                              : geometry_make_line(env->arena, ring, (size_t)count + 1);
        return made(env, term, geometry, ret);
}

/* --- GeoJSON --- */

/* The object with `$reql_type$` and without `bbox`, which nobody needs. */
static Status term_geojson(Env *env, const Term *term, Val *ret)
{
        static const char type_key[] = "$reql_type$";
        Args args;
        Value object;
        TRY(args_begin(env, term, &args));
        TRY(args_datum(&args, 0, &object));
        TRY(fail_at(env, term, geometry_check(object, env->arena)));
        if (!value_is(value_get_str(object, type_key), V_NONE))
                return fail(env, term, ERR_LOGIC, "GeoJSON object already had a $reql_type$ field.");
        ObjectBuilder fields;
        object_init(&fields, env->arena, value_count(object) + 1);
        object_add_str(&fields, type_key, value_str("GEOMETRY"));
        for (size_t i = 0, count = value_count(object); i < count; i++) {
                Bytes key;
                Value v = value_field_at(object, i, &key);
                if (!bytes_equal(key, BYTES_STR("bbox")))
                        object_add(&fields, key, v);
        }
        Value geometry;
        TRY(object_finish(env, term, object_take(&fields), &geometry));
        *ret = val_datum(term, geometry);
        return ST_OK;
}

static Status term_to_geojson(Env *env, const Term *term, Val *ret)
{
        Args args;
        Value geometry;
        TRY(args_begin(env, term, &args));
        TRY(args_geometry(&args, 0, &geometry));
        Field *fields = arena_array(env->arena, Field, value_count(geometry));
        size_t kept = 0;
        for (size_t i = 0, count = value_count(geometry); i < count; i++) {
                fields[kept].value = value_field_at(geometry, i, &fields[kept].key);
                kept += !bytes_equal(fields[kept].key, BYTES_STR("$reql_type$"));
        }
        *ret = val_datum(term, value_object_sorted(fields, kept));
        return ST_OK;
}

/* --- questions ---
 * Whoever holds a shape takes nothing from the arena: on exhaustion that would jump over the shape's end. So fail(),
 * which prints into the arena, comes before the first shape or not at all. */

static Status shape_of(Env *env, const Term *at, Value geometry, GeoShape **ret)
{
        return fail_at(env, at, geometry_shape(geometry, env->arena, ret));
}

static Status question_prepare(Poly *poly, Env *env)
{
        poly->arguments = arena_array(env->arena, Val, 1);
        TRY(args_val(&poly->args, 1, &poly->arguments[0]));
        poly->prepared = true;
        return ST_OK;
}

static Status object_as_geometry(Poly *poly, Env *env, Value object)
{
        Val val = val_datum(poly->object_at, object);
        return val_as_geometry(env, &val, &object);
}

static Status intersects_apply(Poly *poly, Env *env, Value object, Value *ret)
{
        _cleanup_(geo_shape_freep) GeoShape *a = NULL;
        _cleanup_(geo_shape_freep) GeoShape *b = NULL;
        Value other;
        bool answer;
        TRY(val_as_geometry(env, &poly->arguments[0],
                            &other)); /* the later one first, as RethinkDB's compiler has it */
        TRY(object_as_geometry(poly, env, object));
        TRY(shape_of(env, poly->term, object, &a));
        TRY(shape_of(env, poly->term, other, &b));
        TRY(fail_at(env, poly->term, geo_intersects(a, b, &answer)));
        *ret = value_bool(answer);
        return ST_OK;
}

/* What is wrong with the first argument's shape is told before the second is found to be no geometry. */
static Status second_as_geometry(Env *env, const Term *term, Value first, const Val *second, Value *ret)
{
        if (!val_is_datum(second) || !value_is(second->datum, V_GEOMETRY)) {
                GeoShape *shape = NULL;
                TRY(shape_of(env, term, first, &shape));
                geo_shape_free(shape);
        }
        return val_as_geometry(env, second, ret);
}

static Status includes_apply(Poly *poly, Env *env, Value object, Value *ret)
{
        _cleanup_(geo_shape_freep) GeoShape *polygon = NULL;
        _cleanup_(geo_shape_freep) GeoShape *inner = NULL;
        Value other;
        bool answer;
        TRY(object_as_geometry(poly, env, object));
        TRY(fail_at(env, poly->term, geometry_expect(object, "Polygon")));
        TRY(second_as_geometry(env, poly->term, object, &poly->arguments[0], &other));
        TRY(shape_of(env, poly->term, object, &polygon));
        TRY(shape_of(env, poly->term, other, &inner));
        TRY(fail_at(env, poly->term, geo_includes(polygon, inner, &answer)));
        *ret = value_bool(answer);
        return ST_OK;
}

static Status term_intersects(Env *env, const Term *term, Val *ret)
{
        static const PolyClass class = {"intersects", POLY_FILTER, question_prepare, intersects_apply, true};
        return poly_eval(env, term, &class, ret);
}

static Status term_includes(Env *env, const Term *term, Val *ret)
{
        static const PolyClass class = {"includes", POLY_FILTER, question_prepare, includes_apply, true};
        return poly_eval(env, term, &class, ret);
}

static Status distance_of(Env *env, const Term *term, Value point, Value geometry, GeoEllipsoid ellipsoid, double *ret)
{
        _cleanup_(geo_shape_freep) GeoShape *from = NULL;
        _cleanup_(geo_shape_freep) GeoShape *to = NULL;
        TRY(fail_at(env, term, geometry_expect(point, "Point")));
        TRY(shape_of(env, term, point, &from));
        TRY(shape_of(env, term, geometry, &to));
        return fail_at(env, term, geometry_distance(from, to, ellipsoid, ret));
}

static Status term_distance(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val vals[2];
        Value first, second;
        GeoEllipsoid ellipsoid;
        double unit_m, distance;
        TRY(args_begin(env, term, &args));
        TRY(args_val(&args, 0, &vals[0]));
        TRY(args_val(&args, 1, &vals[1]));
        TRY(opt_ellipsoid(env, term, &ellipsoid));
        TRY(opt_unit(env, term, &unit_m));
        TRY(val_as_geometry(env, &vals[0], &first));
        if (value_bytes_are(value_get_str(first, "type"), "Point")) {
                TRY(second_as_geometry(env, term, first, &vals[1], &second));
                TRY(distance_of(env, term, first, second, ellipsoid, &distance));
        } else {
                TRY(val_as_geometry(env, &vals[1], &second));
                TRY(distance_of(env, term, second, first, ellipsoid, &distance));
        }
        distance *= 1 / unit_m;
        if (!isfinite(distance))
                return fail(env, term, ERR_LOGIC, "Non-finite number: %.20g", distance);
        *ret = val_datum(term, value_number(distance));
        return ST_OK;
}

/* --- polygon_sub --- */

static Status args_shell(Args *args, size_t i, Value *ret)
{
        Env *env = args->env;
        Val val;
        TRY(args_val(args, i, &val));
        TRY(val_as_geometry(env, &val, ret));
        Value type = value_get_str(*ret, "type");
        if (!value_bytes_are(type, "Polygon"))
                return fail(env, val.term, ERR_LOGIC, "Expected a Polygon but found a %.*s.", (int)type.size,
                            type.text);
        if (value_count(value_get_str(*ret, "coordinates")) > 1)
                return fail(env, val.term, ERR_LOGIC,
                            "Expected a Polygon with only an outer shell.  This one has holes.");
        return ST_OK;
}

static Status check_contained(Env *env, const Term *term, Value outer, Value inner)
{
        _cleanup_(geo_shape_freep) GeoShape *polygon = NULL;
        _cleanup_(geo_shape_freep) GeoShape *hole = NULL;
        bool answer;
        TRY(shape_of(env, term, outer, &polygon));
        TRY(shape_of(env, term, inner, &hole));
        TRY(fail_at(env, term, geo_includes(polygon, hole, &answer)));
        if (answer)
                return ST_OK;
        return fail_at(
                env, term,
                status_new(ERR_LOGIC, "The second argument to `polygon_sub` is not contained in the first one."));
}

static Status term_polygon_sub(Env *env, const Term *term, Val *ret)
{
        Args args;
        Value outer, inner;
        TRY(args_begin(env, term, &args));
        TRY(args_shell(&args, 0, &outer));
        TRY(args_shell(&args, 1, &inner));
        TRY(check_contained(env, term, outer, inner));
        Value shell = value_get_str(outer, "coordinates"), hole = value_get_str(inner, "coordinates");
        if (value_count(hole) == 0)
                return fail(env, term, ERR_NON_EXISTENCE, "Index out of bounds: 0");
        TRY(check_array_size(env, term, 2));
        ArrayBuilder rings;
        array_init(&rings, env->arena, 2);
        if (value_count(shell))
                array_add(&rings, value_at(shell, 0));
        array_add(&rings, value_at(hole, 0));
        return made(env, term, geometry_make(env->arena, "Polygon", array_take(&rings)), ret);
}

static const TermEval terms[] = {
        {TERM_GEOJSON, term_geojson, true},   {TERM_TO_GEOJSON, term_to_geojson, true},
        {TERM_POINT, term_point, true},       {TERM_LINE, term_vertices, true},
        {TERM_POLYGON, term_vertices, true},  {TERM_CIRCLE, term_circle, true},
        {TERM_FILL, term_fill, true},         {TERM_POLYGON_SUB, term_polygon_sub, true},
        {TERM_DISTANCE, term_distance, true}, {TERM_INTERSECTS, term_intersects, true},
        {TERM_INCLUDES, term_includes, true},
};
const TermList terms_geo = {terms, ELEMENTS(terms)};
