/* geometry.h - what a GEOMETRY means: GeoJSON to shapes on the sphere (bridge/s2_bridge.h) and back, with RethinkDB's
 * checks in RethinkDB's order and words.
 *
 * A GEOMETRY that comes in is checked for its fields only (value_classify); whether its coordinates can be a shape is
 * seen where they are made by a term, and where they are used. Errors are ERR_LOGIC, or ERR_NON_EXISTENCE where a value
 * is null or a field missing, or ERR_NOMEM. Threads: any. */
#ifndef VALUE_GEOMETRY_H
#define VALUE_GEOMETRY_H

#include "bridge/s2_bridge.h"
#include "value/value.h"

/* --- shapes of values --- */
/* A value with `type` and `coordinates` as a shape, which the caller frees. Between geo_shape_new and the return
 * nothing is taken from `arena`, so that an arena's jump loses no shape. */
MUST_USE Status geometry_shape(Value geojson, Arena *arena, GeoShape **ret_shape);
/* The checks of a value that a term has made: its coordinate system and its shape. */
MUST_USE Status geometry_check(Value geojson, Arena *arena);
/* "Longitude must be between -180 and 180.  Got 181.", or the latitude. */
MUST_USE Status geometry_check_point(GeoPoint point);
/* [longitude, latitude]; the numbers are not checked. Complaints are about a "GeoJSON position". */
MUST_USE Status geometry_position(Value pair, GeoPoint *ret_point);
/* "Expected geometry of type `Point` but found `LineString`." */
MUST_USE Status geometry_expect(Value geometry, const char *type);
/* The coordinates of a Point, the positions of a LineString. */
MUST_USE Status geometry_point(Value geometry, GeoPoint *ret_point);

/* --- values of coordinates, in an arena; nothing is checked --- */
Value geometry_make_point(Arena *arena, GeoPoint point);
Value geometry_make_line(Arena *arena, const GeoPoint *points, size_t count);
/* A polygon without holes; the ring is closed if it is not. */
Value geometry_make_polygon(Arena *arena, const GeoPoint *ring, size_t count);
/* A GEOMETRY of that type ("Polygon") with those coordinates. */
Value geometry_make(Arena *arena, const char *type, Value coordinates);

/* --- distances --- */
/* From a point to a shape, in metres; ERR_LOGIC if that is empty. The nearest point is chosen on the sphere, its
 * distance taken on the ellipsoid, so long ones to lines and polygons may be a little too long. */
MUST_USE Status geometry_distance(const GeoShape *point, const GeoShape *shape, GeoEllipsoid ellipsoid, double *ret_m);

/* --- circles --- */
/* ERR_LOGIC if there is no circle of that radius: "Radius must be positive", "Radius must be smaller than a quarter
 * ..." */
MUST_USE Status geometry_check_radius(double radius_m, GeoEllipsoid ellipsoid);
/* `count` vertices and the first again: `ring` has room for count + 1. Center and radius have been checked. */
void geometry_circle(GeoPoint center, double radius_m, uint32_t count, GeoEllipsoid ellipsoid, GeoPoint *ring);
/* What to look for around `center` (checked) when all that is within `inner_m` (0: nothing) is known and all within
 * `outer_m` is wanted: a polygon that holds every point between the two distances, with a hole that holds none beyond
 * `inner_m`. For get_nearest, which widens its search until it has enough. ERR_LOGIC "The distance has become too large
 * ..." */
MUST_USE Status geometry_around(GeoPoint center, double inner_m, double outer_m, GeoEllipsoid ellipsoid,
                                GeoShape **ret_shape);

/* --- units --- */
/* Metres in "m", "km", "mi", "nm" or "ft"; "Unrecognized distance unit `x`." */
MUST_USE Status geometry_unit(Bytes name, double *ret_m);

#endif
