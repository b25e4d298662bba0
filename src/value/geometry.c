/* geometry.c - see geometry.h. The order of the checks is RethinkDB's: a ring is complete before the next is looked at.
 */
#include <math.h>

#include "value/geodesic.h"
#include "value/geometry.h"
#include "value/json.h"
#include "value/value_int.h"

/* What get_nearest searches is an octagon around, or inside of, a circle. */
#define AROUND_VERTICES 8
#define AROUND_MORE     1.01 /* leeway for rounding, to the safe side */
#define AROUND_LESS     0.99

/* --- fields and types --- */

static Status expect(Value v, ValueType type, const char *name)
{
        if (v.type == type || (type == V_OBJECT && value_is_object(v)))
                return ST_OK;
        return status_new(v.type == V_NULL ? ERR_NON_EXISTENCE : ERR_LOGIC, "Expected type %s but found %s.", name,
                          value_type_name(v));
}

static Status field(Value object, const char *key, Arena *arena, Value *ret)
{
        TRY(expect(object, V_OBJECT, "OBJECT"));
        *ret = value_get_str(object, key);
        if (ret->type != V_NONE)
                return ST_OK;
        return status_new(ERR_NON_EXISTENCE, "No attribute `%s` in object:\n%s", key,
                          (const char *)json_pretty_text(object, arena).data);
}

static Status wrong_type(const char *expected, Value found)
{
        return status_new(ERR_LOGIC, "Expected geometry of type `%s` but found `%.*s`.", expected, (int)found.size,
                          found.text);
}

Status geometry_expect(Value geometry, const char *type)
{
        Value found = value_get_str(geometry, "type"); /* value_classify has seen it */
        return value_bytes_are(found, type) ? ST_OK : wrong_type(type, found);
}

/* --- coordinates --- */

Status geometry_position(Value pair, GeoPoint *ret_point)
{
        TRY(expect(pair, V_ARRAY, "ARRAY"));
        size_t count = value_count(pair);
        if (count < 2)
                return status_new(ERR_LOGIC, "Too few coordinates.  Need at least longitude and latitude.");
        if (count > 3)
                return status_new(ERR_LOGIC,
                                  "Too many coordinates.  GeoJSON position should have no more than three coordinates, "
                                  "but got %zu.",
                                  count);
        if (count == 3)
                return status_new(ERR_LOGIC,
                                  "A third altitude coordinate in GeoJSON positions was found, but is not supported.");
        Value lon = value_at(pair, 0), lat = value_at(pair, 1);
        TRY(expect(lon, V_NUMBER, "NUMBER"));
        TRY(expect(lat, V_NUMBER, "NUMBER"));
        *ret_point = (GeoPoint){lon.number, lat.number};
        return ST_OK;
}

Status geometry_point(Value geometry, GeoPoint *ret_point)
{
        TRY(geometry_expect(geometry, "Point"));
        return geometry_position(value_get_str(geometry, "coordinates"), ret_point);
}

Status geometry_check_point(GeoPoint p)
{
        if (!(p.lon >= -180 && p.lon <= 180))
                return status_new(ERR_LOGIC, "Longitude must be between -180 and 180.  Got %.20g.", p.lon);
        if (!(p.lat >= -90 && p.lat <= 90))
                return status_new(ERR_LOGIC, "Latitude must be between -90 and 90.  Got %.20g.", p.lat);
        return ST_OK;
}

static Status add_position(GeoShape *shape, Value position)
{
        GeoPoint p;
        TRY(geometry_position(position, &p));
        TRY(geometry_check_point(p));
        return geo_shape_add(shape, p);
}

static Status add_positions(GeoShape *shape, Value positions)
{
        for (size_t i = 0, count = value_count(positions); i < count; i++)
                TRY(add_position(shape, value_at(positions, i)));
        return ST_OK;
}

static Status finish_line(GeoShape *shape, Value positions)
{
        GeoVerdict verdict;
        if (value_count(positions) < 2)
                return status_new(ERR_LOGIC, "GeoJSON LineString must have at least two positions.");
        TRY(add_positions(shape, positions));
        TRY(geo_shape_finish(shape, &verdict));
        if (verdict == GEO_FINE)
                return ST_OK;
        return status_new(ERR_LOGIC, "Invalid LineString.  Are there antipodal or duplicate vertices?");
}

static Status add_ring(GeoShape *shape, Value ring)
{
        GeoVerdict verdict;
        TRY(expect(ring, V_ARRAY, "ARRAY"));
        if (value_count(ring) < 4)
                return status_new(ERR_LOGIC, "GeoJSON LinearRing must have at least four positions.");
        TRY(add_positions(shape, ring));
        TRY(geo_shape_end_ring(shape, &verdict));
        if (verdict == GEO_NOT_CLOSED)
                return status_new(ERR_LOGIC, "First and last vertex of GeoJSON LinearRing must be identical.");
        if (verdict == GEO_INVALID)
                return status_new(ERR_LOGIC, "Invalid LinearRing.  Are there antipodal or duplicate vertices? Is it "
                                             "self-intersecting?");
        return ST_OK;
}

static Status finish_rings(GeoShape *shape)
{
        GeoVerdict verdict;
        TRY(geo_shape_finish(shape, &verdict));
        if (verdict == GEO_FINE)
                return ST_OK;
        return status_new(ERR_LOGIC, "Some edges in GeoJSON polygon could not be used.  Are they intersecting?");
}

static Status finish_polygon(GeoShape *shape, Value rings)
{
        for (size_t i = 0, count = value_count(rings); i < count; i++)
                TRY(add_ring(shape, value_at(rings, i)));
        return finish_rings(shape);
}

static Status finish_point(GeoShape *shape, Value position)
{
        GeoVerdict verdict;
        TRY(add_position(shape, position));
        return geo_shape_finish(shape, &verdict);
}

/* --- whole values --- */

static Status kind_of(Value type, GeoKind *ret_kind)
{
        static const char *const unsupported[] = {"MultiPoint",         "MultiLineString", "MultiPolygon",
                                                  "GeometryCollection", "Feature",         "FeatureCollection"};
        if (value_bytes_are(type, "Point"))
                *ret_kind = GEO_POINT;
        else if (value_bytes_are(type, "LineString"))
                *ret_kind = GEO_LINE;
        else if (value_bytes_are(type, "Polygon"))
                *ret_kind = GEO_POLYGON;
        else if (value_bytes_are(type, "$reql_LatLngRect$"))
                return status_new(ERR_LOGIC,
                                  "LatLngRect cannot be generated by a user query.  The `$reql_LatLngRect$` type is "
                                  "reserved for internal use.");
        else {
                for (size_t i = 0; i < ELEMENTS(unsupported); i++)
                        if (value_bytes_are(type, unsupported[i]))
                                return status_new(ERR_LOGIC, "GeoJSON type `%s` is not supported.", unsupported[i]);
                return status_new(ERR_LOGIC, "Unrecognized GeoJSON type `%.*s`.", (int)type.size, type.text);
        }
        return ST_OK;
}

Status geometry_shape(Value geojson, Arena *arena, GeoShape **ret_shape)
{
        _cleanup_(geo_shape_freep) GeoShape *shape = NULL;
        Value type, coordinates;
        GeoKind kind;
        TRY(field(geojson, "type", arena, &type));
        TRY(expect(type, V_STRING, "STRING"));
        TRY(field(geojson, "coordinates", arena, &coordinates));
        TRY(kind_of(type, &kind));
        TRY(expect(coordinates, V_ARRAY, "ARRAY"));
        TRY(geo_shape_new(kind, &shape));
        switch (kind) {
        case GEO_POINT: TRY(finish_point(shape, coordinates)); break;
        case GEO_LINE: TRY(finish_line(shape, coordinates)); break;
        case GEO_POLYGON: TRY(finish_polygon(shape, coordinates)); break;
        }
        *ret_shape = take(shape);
        return ST_OK;
}

Status geometry_check(Value geojson, Arena *arena)
{
        _cleanup_(geo_shape_freep) GeoShape *shape = NULL;
        TRY(expect(geojson, V_OBJECT, "OBJECT"));
        Value system = value_get_str(geojson, "crs");
        if (system.type != V_NONE && system.type != V_NULL)
                return status_new(ERR_LOGIC,
                                  "Non-default coordinate reference systems are not supported in GeoJSON objects.  "
                                  "Make sure the `crs` field of the geometry is null or non-existent.");
        return geometry_shape(geojson, arena, &shape);
}

/* --- making values --- */

Value geometry_make(Arena *arena, const char *type, Value coordinates)
{
        Field *fields = arena_array(arena, Field, 3);
        fields[0] = (Field){time_keys[0], value_str("GEOMETRY")};
        fields[1] = (Field){BYTES_STR("coordinates"), coordinates};
        fields[2] = (Field){BYTES_STR("type"), value_str(type)};
        Value object = value_object_sorted(fields, 3);
        object.type = V_GEOMETRY;
        return object;
}

static Value position_of(Arena *arena, GeoPoint point)
{
        Value *pair = arena_array(arena, Value, 2);
        pair[0] = value_number(point.lon);
        pair[1] = value_number(point.lat);
        return value_array(pair, 2);
}

Value geometry_make_point(Arena *arena, GeoPoint point)
{
        return geometry_make(arena, "Point", position_of(arena, point));
}

static Value positions_of(Arena *arena, const GeoPoint *points, size_t count, bool close)
{
        Value *positions = arena_array(arena, Value, count + 1);
        for (size_t i = 0; i < count; i++)
                positions[i] = position_of(arena, points[i]);
        if (close && count && (points[0].lon != points[count - 1].lon || points[0].lat != points[count - 1].lat))
                positions[count++] = positions[0];
        return value_array(positions, count);
}

Value geometry_make_line(Arena *arena, const GeoPoint *points, size_t count)
{
        return geometry_make(arena, "LineString", positions_of(arena, points, count, false));
}

Value geometry_make_polygon(Arena *arena, const GeoPoint *ring, size_t count)
{
        Value *rings = arena_array(arena, Value, 1);
        rings[0] = positions_of(arena, ring, count, true);
        return geometry_make(arena, "Polygon", value_array(rings, 1));
}

/* --- distances --- */

Status geometry_distance(const GeoShape *point, const GeoShape *shape, GeoEllipsoid ellipsoid, double *ret_m)
{
        GeoPoint from, to;
        if (geo_shape_is_empty(shape))
                return status_new(ERR_LOGIC, "An empty polygon has no distance to anything.");
        TRY(geo_nearest(point, shape, &from, &to));
        *ret_m = geodesic_distance(from, to, ellipsoid);
        return ST_OK;
}

/* --- circles --- */

static double pole_radius(GeoEllipsoid ellipsoid)
{
        return (1 - ellipsoid.flattening) * ellipsoid.equator_m;
}

Status geometry_check_radius(double radius_m, GeoEllipsoid ellipsoid)
{
        if (radius_m <= 0)
                return status_new(ERR_LOGIC, "Radius must be positive");
        double limit = 0.5 * M_PI * fmin(ellipsoid.equator_m, pole_radius(ellipsoid));
        if (radius_m < limit)
                return ST_OK;
        return status_new(ERR_LOGIC,
                          "Radius must be smaller than a quarter of the circumference along the minor axis of the "
                          "reference ellipsoid.  Got %.20gm, but must be smaller than %.20gm.",
                          radius_m, limit);
}

void geometry_circle(GeoPoint center, double radius_m, uint32_t count, GeoEllipsoid ellipsoid, GeoPoint *ring)
{
        for (uint32_t i = 0; i < count; i++)
                ring[i] = geo_destination(center, -180.0 + 360.0 / count * i, radius_m, ellipsoid);
        ring[count] = ring[0];
}

static Status around_ring(GeoShape *shape, GeoPoint center, double radius_m, GeoEllipsoid ellipsoid)
{
        GeoPoint ring[AROUND_VERTICES + 1];
        GeoVerdict verdict;
        Status st = geometry_check_radius(radius_m, ellipsoid);
        if (st) {
                Status told = status_new(ERR_LOGIC,
                                         "The distance has become too large for continuing the indexed nearest "
                                         "traversal.  Consider specifying a smaller `max_dist` parameter.  (%s)",
                                         status_message(st));
                status_ignore(st);
                return told;
        }
        geometry_circle(center, radius_m, AROUND_VERTICES, ellipsoid, ring);
        for (size_t i = 0; i < ELEMENTS(ring); i++)
                TRY(geo_shape_add(shape, ring[i]));
        TRY(geo_shape_end_ring(shape, &verdict));
        if (verdict == GEO_FINE)
                return ST_OK;
        return status_new(ERR_LOGIC, "A circle of %.20gm around [%.20g, %.20g] is too small to search in.", radius_m,
                          center.lon, center.lat);
}

Status geometry_around(GeoPoint center, double inner_m, double outer_m, GeoEllipsoid ellipsoid, GeoShape **ret_shape)
{
        _cleanup_(geo_shape_freep) GeoShape *shape = NULL;
        TRY(geo_shape_new(GEO_POLYGON, &shape));
        /* An octagon's edges are nearer to its center than its vertices. Shapes meet on a sphere, distances are taken
         * on the ellipsoid: what that can distort is compensated for as if all of it were against us. */
        double equator = ellipsoid.equator_m, pole = pole_radius(ellipsoid);
        double distortion = fmax(equator, pole) / fmin(equator, pole);
        double radius = outer_m * AROUND_MORE / cos(M_PI / AROUND_VERTICES) * distortion;
        TRY(around_ring(shape, center, radius, ellipsoid));
        if (inner_m > 0)
                TRY(around_ring(shape, center, inner_m * AROUND_LESS, ellipsoid));
        TRY(finish_rings(shape));
        *ret_shape = take(shape);
        return ST_OK;
}

/* --- units --- */

Status geometry_unit(Bytes name, double *ret_m)
{
        static const struct {
                const char *name;
                double metres;
        } units[] = {{"m", 1}, {"km", 1000}, {"mi", 1609.344}, {"nm", 1852}, {"ft", 0.3048}};
        for (size_t i = 0; i < ELEMENTS(units); i++)
                if (bytes_equal(name, BYTES_STR(units[i].name))) {
                        *ret_m = units[i].metres;
                        return ST_OK;
                }
        return status_new(ERR_LOGIC, "Unrecognized distance unit `%.*s`.", (int)name.size, (const char *)name.data);
}
