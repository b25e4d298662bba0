/* geo_int.h - what geo.c and geo_index.c share: arguments and options of geometric terms. */
#ifndef QUERY_GEO_INT_H
#define QUERY_GEO_INT_H

#include "query/env_int.h"
#include "value/geometry.h"

/* "Not a GEOMETRY pseudotype: `...`." at the argument. */
Status val_as_geometry(Env *env, const Val *val, Value *ret) MUST_USE;
/* A Point, or a pair of coordinates. Complains at the term. */
Status point_of(Env *env, const Term *term, Value v, GeoPoint *ret) MUST_USE;
/* Option geo_system: a name, or an ellipsoid {a, f}. */
Status opt_ellipsoid(Env *env, const Term *term, GeoEllipsoid *ret) MUST_USE;
/* Option unit, in metres. */
Status opt_unit(Env *env, const Term *term, double *ret_m) MUST_USE;

#endif
