/* s2_bridge.h - geometry on the sphere behind a C face: S2 for what touches what, geodesic.h for distances on an
 * ellipsoid.
 *
 * A shape is a point, a line or a polygon, made vertex by vertex and checked while it is made. Answers are those of the
 * S2 of 2011 that RethinkDB carries (README.md says where today's S2 is led to them). Coordinates are degrees.
 * Every function that returns a Status may fail with ERR_NOMEM and with nothing else; answers are in the ret_x.
 * Threads: a finished shape may be asked by many threads at once. */
#ifndef BRIDGE_S2_BRIDGE_H
#define BRIDGE_S2_BRIDGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

/* --- shapes --- */
typedef enum GeoKind { GEO_POINT, GEO_LINE, GEO_POLYGON } GeoKind;
typedef struct GeoShape GeoShape;
typedef struct GeoPoint {
        double lon, lat; /* -180..180, -90..90: the caller has checked; S2 ends the process on a NaN */
} GeoPoint;
typedef enum GeoVerdict {
        GEO_FINE,
        GEO_NOT_CLOSED, /* a ring's first and last vertex differ */
        GEO_INVALID,    /* vertices that are equal or antipodal, edges that cross */
} GeoVerdict;

/* A point: add it, finish. A line: add its vertices (2 or more), finish. A polygon: for each ring, the shell first,
 * then the holes, add its vertices (4 or more, the last being the first again) and end the ring; then finish. A polygon
 * without rings, or whose hole is its shell, is empty: it touches nothing. */
MUST_USE Status geo_shape_new(GeoKind kind, GeoShape **ret_shape);
GeoShape *geo_shape_free(GeoShape *shape); /* NULL is fine; returns NULL */
static inline void geo_shape_freep(GeoShape **shape)
{
        *shape = geo_shape_free(*shape);
}
MUST_USE Status geo_shape_add(GeoShape *shape, GeoPoint vertex);
/* A verdict on the ring alone. Rings may go round either way. */
MUST_USE Status geo_shape_end_ring(GeoShape *shape, GeoVerdict *ret_verdict);
/* A verdict on the line, or on the rings together. After GEO_INVALID the shape can only be freed. */
MUST_USE Status geo_shape_finish(GeoShape *shape, GeoVerdict *ret_verdict);
GeoKind geo_shape_kind(const GeoShape *shape);
bool geo_shape_is_empty(const GeoShape *shape);

/* --- questions --- */
/* Whether they have a point in common. Polygons that share no more than vertices or edges have none; a line or point
 * on a polygon's edge is a matter of rounding, as in RethinkDB. */
MUST_USE Status geo_intersects(const GeoShape *a, const GeoShape *b, bool *ret_answer);
MUST_USE Status geo_includes(const GeoShape *polygon, const GeoShape *inner, bool *ret_answer);

/* --- distances --- */
typedef struct GeoEllipsoid {
        double equator_m;  /* radius, > 0 */
        double flattening; /* 0 <= f < 1 */
} GeoEllipsoid;
#define GEO_WGS84       ((GeoEllipsoid){6378137.0, 1.0 / 298.257223563})
#define GEO_UNIT_SPHERE ((GeoEllipsoid){1.0, 0.0})
/* A point, and the nearest point of a shape that is not empty: the same two to the last bit if it is on or in the
 * shape. "Nearest" is on the sphere; how far that is on an ellipsoid, value/geodesic.h knows. */
MUST_USE Status geo_nearest(const GeoShape *point, const GeoShape *shape, GeoPoint *ret_from, GeoPoint *ret_to);
/* Where one arrives who leaves `from` towards `azimuth` (degrees, clockwise from north). */
GeoPoint geo_destination(GeoPoint from, double azimuth, double distance_m, GeoEllipsoid ellipsoid);

/* --- cells: for an index ---
 * The sphere is cut into a hierarchy of cells, each with a 64-bit number; a cell's descendants are the numbers of one
 * range, which its own number is in the middle of. An index stores a row under each cell of its shape's covering. A row
 * may touch the shape asked for only if one of its cells is in one of the ranges of that shape (geo_search). */
#define GEO_INDEX_CELLS  8  /* wanted cells of a stored shape */
#define GEO_SEARCH_CELLS 16 /* of a shape asked for: finer, as it costs no storage */
#define GEO_CELLS_MAX    GEO_SEARCH_CELLS
#define GEO_RANGES_MAX   (GEO_CELLS_MAX * 31)
/* At most max(`wanted`, 6) cells, ascending, none inside another, that together contain the shape. A point has one, an
 * empty polygon none. `wanted` is 1 .. GEO_CELLS_MAX. */
MUST_USE Status geo_cover(const GeoShape *shape, int wanted, uint64_t ret_cells[GEO_CELLS_MAX], size_t *ret_count);
typedef struct GeoRange {
        uint64_t low, high; /* both inclusive */
} GeoRange;
/* The ranges of cell numbers under which anything may be stored that meets one of `cells` (ascending, none inside
 * another): each cell's descendants, and each cell around it. Ascending and disjoint. Returns how many. */
size_t geo_search(const uint64_t *cells, size_t count, GeoRange ret_ranges[GEO_RANGES_MAX]);
/* Whether one of the cells contains the other (or they are the same). */
bool geo_cells_meet(uint64_t a, uint64_t b);

#endif
