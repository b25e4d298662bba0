/* geometry_test.c - GeoJSON to shapes, circles, and the ring that get_nearest searches. The checks and their words are
 * tested through the terms, in src/query/geo_test.c. */
#include "base/check.h"

#include <math.h>
#include <string.h>

#include "value/geometry.h"
#include "value/json.h"

static Arena arena;

static int setup(void **state)
{
        arena_init(&arena, 64 << 20);
        return 0;
}
static int teardown(void **state)
{
        arena_done(&arena);
        return 0;
}

static Value parse(const char *text)
{
        Value v;
        OK(json_parse_copy(BYTES_STR(text), JSON_PSEUDO, &arena, &v));
        return v;
}

static void check_refused(Status st, StatusCode code, const char *message)
{
        assert_int_equal(status_code(st), code);
        assert_string_equal(status_message(st), message);
        status_ignore(st);
}

#define SHELL "[[0,0],[1,0],[1,1],[0,1],[0,0]]"

static void test_shapes(void **state)
{
        GeoShape *shape;
        /* boxed, and encoded as a row of a table is */
        Value square = parse("{\"$reql_type$\":\"GEOMETRY\",\"type\":\"Polygon\",\"coordinates\":[" SHELL "]}");
        Value stored = value_copy(square, &arena);
        assert_int_equal(stored.rep, REP_ENCODED);
        Value *both[] = {&square, &stored};
        for (size_t i = 0; i < ELEMENTS(both); i++) {
                OK(geometry_shape(*both[i], &arena, &shape));
                assert_int_equal(geo_shape_kind(shape), GEO_POLYGON);
                assert_false(geo_shape_is_empty(shape));
                geo_shape_free(shape);
                OK(geometry_check(*both[i], &arena));
        }
        check_refused(geometry_check(parse("[1,2]"), &arena), ERR_LOGIC, "Expected type OBJECT but found ARRAY.");
        check_refused(geometry_check(value_null(), &arena), ERR_NON_EXISTENCE, "Expected type OBJECT but found NULL.");
        /* a ring is complete before the next is looked at */
        check_refused(
                geometry_check(parse("{\"type\":\"Polygon\",\"coordinates\":[[[0,0],[0,0],[1,1],[0,0]],1]}"), &arena),
                ERR_LOGIC, "Invalid LinearRing.  Are there antipodal or duplicate vertices? Is it self-intersecting?");
        check_refused(geometry_check(parse("{\"type\":\"Polygon\",\"coordinates\":[" SHELL ",null]}"), &arena),
                      ERR_NON_EXISTENCE, "Expected type ARRAY but found NULL.");
}

static void test_making(void **state)
{
        GeoPoint points[] = {{0, 0}, {1, 0}, {1, 1}};
        Value polygon = geometry_make_polygon(&arena, points, ELEMENTS(points));
        assert_true(value_equal(polygon, parse("{\"$reql_type$\":\"GEOMETRY\",\"type\":\"Polygon\",\"coordinates\":"
                                               "[[[0,0],[1,0],[1,1],[0,0]]]}")));
        assert_int_equal(polygon.type, V_GEOMETRY);
        assert_true(value_equal(geometry_make_point(&arena, points[2]),
                                parse("{\"$reql_type$\":\"GEOMETRY\",\"type\":\"Point\",\"coordinates\":[1,1]}")));
        GeoPoint back;
        OK(geometry_point(geometry_make_point(&arena, points[1]), &back));
        assert_true(back.lon == 1 && back.lat == 0);
}

static bool touches(const GeoShape *shape, GeoPoint at)
{
        GeoShape *point;
        bool answer;
        OK(geometry_shape(geometry_make_point(&arena, at), &arena, &point));
        OK(geo_intersects(point, shape, &answer));
        geo_shape_free(point);
        return answer;
}

/* Whatever lies between the two distances is found, on a sphere and on ellipsoids, near and far, at the poles too. */
static void test_around(void **state)
{
        static const GeoEllipsoid ellipsoids[] = {{6378137.0, 1.0 / 298.257223563}, {6378137.0, 0}, {6378137.0, 0.02}};
        static const GeoPoint centers[] = {{0, 0}, {10, 50}, {179.99, -30}, {0, 89.9}, {-120, -85}};
        static const double radii[] = {10, 1000, 100000, 2000000};
        for (size_t e = 0; e < ELEMENTS(ellipsoids); e++)
                for (size_t c = 0; c < ELEMENTS(centers); c++)
                        for (size_t r = 0; r < ELEMENTS(radii); r++) {
                                GeoShape *shape;
                                OK(geometry_around(centers[c], radii[r], 2 * radii[r], ellipsoids[e], &shape));
                                for (int azimuth = -180; azimuth < 180; azimuth += 5)
                                        for (double d = 1; d <= 2; d += 0.25)
                                                assert_true(
                                                        touches(shape, geo_destination(centers[c], azimuth,
                                                                                       d * radii[r], ellipsoids[e])));
                                assert_false(touches(shape, centers[c]));
                                geo_shape_free(shape);
                                OK(geometry_around(centers[c], 0, radii[r], ellipsoids[e], &shape));
                                assert_true(touches(shape, centers[c]));
                                geo_shape_free(shape);
                        }
        GeoShape *shape = NULL;
        check_refused(geometry_around((GeoPoint){0, 0}, 0, 10000000, GEO_WGS84, &shape), ERR_LOGIC,
                      "The distance has become too large for continuing the indexed nearest traversal.  Consider "
                      "specifying a smaller `max_dist` parameter.  (Radius must be smaller than a quarter of the "
                      "circumference along the minor axis of the reference ellipsoid.  Got 10968937.995244588703m, but "
                      "must be smaller than 9985163.1855612862855m.)");
}

static void test_units(void **state)
{
        double m;
        OK(geometry_unit(BYTES_STR("nm"), &m));
        assert_true(m == 1852);
        check_refused(geometry_unit(BYTES_STR("KM"), &m), ERR_LOGIC, "Unrecognized distance unit `KM`.");
        check_refused(geometry_check_radius(0, GEO_WGS84), ERR_LOGIC, "Radius must be positive");
        OK(geometry_check_radius(9985163, GEO_WGS84));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_shapes, setup, teardown),
                cmocka_unit_test_setup_teardown(test_making, setup, teardown),
                cmocka_unit_test_setup_teardown(test_around, setup, teardown),
                cmocka_unit_test_setup_teardown(test_units, setup, teardown),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
