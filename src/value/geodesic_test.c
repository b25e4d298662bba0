/* geodesic_test.c - distances against recorded ones of RethinkDB, to the last digit, and against the library. */
#include "base/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "value/geodesic.h"

static void check_text(GeoPoint a, GeoPoint b, GeoEllipsoid ellipsoid, double factor, const char *expected)
{
        char text[64];
        snprintf(text, sizeof(text), "%.17g", geodesic_distance(a, b, ellipsoid) * factor);
        assert_true(strtod(text, NULL) == strtod(expected, NULL));
        assert_true(geodesic_distance(a, b, ellipsoid) == geodesic_distance(b, a, ellipsoid));
}

static void test_symmetric(void **state)
{

        check_text((GeoPoint){0, 0}, (GeoPoint){0, 0}, GEO_WGS84, 1, "0");
        check_text((GeoPoint){0, 0}, (GeoPoint){1, 0}, GEO_UNIT_SPHERE, 1, "0.017453292519943295");
}

/* geo_destination is the library's: what it walks has to be what is measured. */
static void test_against_library(void **state)
{
        static const GeoEllipsoid ellipsoids[] = {{6378137.0, 1.0 / 298.257223563}, {1.0, 0}, {6378137.0, 0.05}};
        for (size_t e = 0; e < ELEMENTS(ellipsoids); e++) {
                double size = ellipsoids[e].equator_m;
                for (double lat = -90; lat <= 90; lat += 7.5)
                        for (double azimuth = -180; azimuth < 180; azimuth += 7.5)
                                for (double far = 1e-9; far < 2; far *= 3) {
                                        GeoPoint from = {lat * 1.9, lat};
                                        GeoPoint to = geo_destination(from, azimuth, far * size, ellipsoids[e]);
                                        double d = geodesic_distance(from, to, ellipsoids[e]);
                                        if (!(fabs(d - far * size) <= 1e-9 * far * size + 3e-15 * size))
                                                fail_msg("%g %g %g: %.17g", lat, azimuth, far * size, d);
                                }
        }
        /* almost opposite points, where the direction is nearly arbitrary */
        for (double lat = 0; lat < 60; lat += 1.7)
                for (double lon = 175; lon <= 180; lon += 0.037) {
                        double d = geodesic_distance((GeoPoint){0, lat}, (GeoPoint){lon, -lat + 0.01}, GEO_WGS84);
                        assert_true(d > 19.3e6 && d < 20003931.5);
                }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_symmetric),
                cmocka_unit_test(test_against_library),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
