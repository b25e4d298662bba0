/* geodesic.h - the shortest way between two places on an ellipsoid. Threads: any. */
#ifndef VALUE_GEODESIC_H
#define VALUE_GEODESIC_H

#include "bridge/s2_bridge.h"

/* Its length, to some nanometres on the earth, and as far as recordings tell the very double that RethinkDB computes.
 */
double geodesic_distance(GeoPoint from, GeoPoint to, GeoEllipsoid ellipsoid);

#endif
