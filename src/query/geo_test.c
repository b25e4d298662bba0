/* geo_test.c - geometry: making it, GeoJSON, questions; which error comes first and where it stands. */
#include "query/scalar_test.h"

#define POINT(x, y) "[159,[" #x "," #y "]]"
#define LINE(...)   "[160,[" __VA_ARGS__ "]]"
#define POLY(...)   "[161,[" __VA_ARGS__ "]]"
#define P(x, y)     "[2,[" #x "," #y "]]"
#define SQUARE      POLY(P(0, 0) "," P(1, 0) "," P(1, 1) "," P(0, 1))
#define WITH_HOLE   "[171,[" SQUARE "," POLY(P(0.2, 0.2) "," P(0.8, 0.2) "," P(0.8, 0.8) "," P(0.2, 0.8)) "]]"
#define EMPTY       "[171,[" SQUARE "," SQUARE "]]"
#define RAW(type, coordinates)                                                                                         \
        "{\"$reql_type$\":\"GEOMETRY\",\"type\":\"" type "\",\"coordinates\":[2," coordinates "]}"
#define GEO(type, coordinates)     "{\"$reql_type$\":\"GEOMETRY\",\"coordinates\":" coordinates ",\"type\":\"" type "\"}"
#define GEOJSON(type, coordinates) "[157,[{\"type\":\"" type "\",\"coordinates\":" coordinates "}]]"
#define BAD_RING                   "Invalid LinearRing.  Are there antipodal or duplicate vertices? Is it self-intersecting?"

static void test_making(void **state)
{
        static const Case cases[] = {
                GIVES(POINT(0, 0), GEO("Point", "[0,0]")),
                GIVES(POINT(-180, 90), GEO("Point", "[-180,90]")),
                GIVES(POINT(180, 0.5), GEO("Point", "[180,0.5]")),
                LOGIC(POINT(0, -91), "Latitude must be between -90 and 90.  Got -91.", "[]"),
                LOGIC(POINT(180.5, 91), "Longitude must be between -180 and 180.  Got 180.5.", "[]"),
                LOGIC(POINT("a", 1), "Expected type NUMBER but found STRING.", "[0]"),
                MISSING(POINT(1, null), "Expected type NUMBER but found NULL.", "[1]"),
                GIVES(LINE(P(0, 0) "," POINT(0, 1)), GEO("LineString", "[[0,0],[0,1]]")),
                LOGIC(LINE(P(0, 0) "," P(0, 0)), "Invalid LineString.  Are there antipodal or duplicate vertices?",
                      "[]"),
                LOGIC(LINE(P(0, 0) ",1"), "Expected type ARRAY but found NUMBER.", "[]"),
                LOGIC(LINE(P(0, 0) "," P(1, "x")), "Expected type NUMBER but found STRING.", "[]"),
                LOGIC(LINE(P(0, 0) "," LINE(P(0, 0) "," P(0, 1))),
                      "Expected geometry of type `Point` but found `LineString`.", "[]"),
                LOGIC(LINE(P(0, 0) ",[2,[1,2,3]]"),
                      "Expected point coordinate pair.  Got 3 element array instead of a 2 element one.", "[]"),
                LOGIC(LINE(P(0, 0) "," P(181, 0)), "Longitude must be between -180 and 180.  Got 181.", "[]"),
                GIVES(POLY(P(0, 0) "," P(0, 1) "," P(1, 0)), GEO("Polygon", "[[[0,0],[0,1],[1,0],[0,0]]]")),
                GIVES(POLY(P(0, 0) "," P(0, 1) "," P(1, 0) "," P(0, 0)), GEO("Polygon", "[[[0,0],[0,1],[1,0],[0,0]]]")),
                LOGIC(POLY(P(0, 0) "," P(0, 1) "," P(1, 0) "," P(-1, 0.5)), BAD_RING, "[]"),
                LOGIC(POLY(P(0, 0) "," P(0, 1) "," P(0, 0)), "GeoJSON LinearRing must have at least four positions.",
                      "[]"),
                FAILS(POLY(P(0, 0) "," P(0, 1)), ERR_COMPILE, "Expected 3 or more arguments but found 2.", "[]"),
                GIVES("[167,[" LINE(P(0, 0) "," P(0, 1) "," P(1, 0)) "]]",
                      GEO("Polygon", "[[[0,0],[0,1],[1,0],[0,0]]]")),
                LOGIC("[167,[" POINT(0, 0) "]]", "Expected geometry of type `LineString` but found `Point`.", "[]"),
                LOGIC("[167,[1]]", "Not a GEOMETRY pseudotype: `1`.", "[0]"),
                LOGIC("[167,[" LINE(P(0, 0) "," P(0, 1)) "]]", "GeoJSON LinearRing must have at least four positions.",
                      "[]"),
        };
        CHECK(cases);
}

#define CIRCLE(options) "[165,[[2,[0,0]],1]," options "]"

static void test_circles(void **state)
{
        static const Case cases[] = {
                GIVES("[43,[[170,[[170,[[158,[" CIRCLE("{}") "]],\"coordinates\"]],0]]]]", "33"),
                GIVES("[43,[[170,[[158,[" CIRCLE("{\"fill\":false,\"num_vertices\":3}") "]],\"coordinates\"]]]]", "4"),
                GIVES("[17,[[167,[" CIRCLE("{\"fill\":false}") "]]," CIRCLE("{}") "]]", "true"),
                GIVES("[163,[" CIRCLE("{\"unit\":\"km\"}") "," POINT(0.008, 0) "]]", "true"),
                GIVES("[163,[" CIRCLE("{\"unit\":\"m\"}") "," POINT(0.008, 0) "]]", "false"),
                LOGIC(CIRCLE("{\"unit\":\"x\"}"), "Unrecognized distance unit `x`.", "[]"),
                LOGIC(CIRCLE("{\"unit\":1}"), "Expected type STRING but found NUMBER.", "[\"unit\"]"),
                LOGIC(CIRCLE("{\"num_vertices\":0}"), "num_vertices must be positive.", "[\"num_vertices\"]"),
                LOGIC(CIRCLE("{\"num_vertices\":-1}"), "Integer too large: -1", "[\"num_vertices\"]"),
                LOGIC(CIRCLE("{\"num_vertices\":1.5}"), "Number not an integer: 1.5", "[\"num_vertices\"]"),
                LOGIC(CIRCLE("{\"num_vertices\":2}"), "GeoJSON LinearRing must have at least four positions.", "[]"),
                LOGIC(CIRCLE("{\"num_vertices\":1,\"fill\":false}"),
                      "Invalid LineString.  Are there antipodal or duplicate vertices?", "[]"),
                FAILS(CIRCLE("{\"num_vertices\":4294967295}"), ERR_RESOURCE,
                      "Array over size limit `100000`.  To raise the number of allowed elements, modify the "
                      "`array_limit` "
                      "option to `.run` (not available in the Data Explorer), or use an index.",
                      "[]"),
                LOGIC(CIRCLE("{\"geo_system\":\"x\"}"),
                      "Unrecognized geo system \"x\" (valid options: \"WGS84\", \"unit_sphere\").", "[\"geo_system\"]"),
                LOGIC(CIRCLE("{\"geo_system\":{\"a\":0,\"f\":0}}"), "The equator radius `a` must be positive.",
                      "[\"geo_system\"]"),
                LOGIC(CIRCLE("{\"geo_system\":{\"a\":1,\"f\":1}}"), "The flattening `f` must be in the range [0, 1).",
                      "[\"geo_system\"]"),
                MISSING(CIRCLE("{\"geo_system\":{\"a\":1}}"), "No attribute `f` in object:\n{\n\t\"a\":\t1\n}", "[]"),
                LOGIC(CIRCLE("{\"geo_system\":\"unit_sphere\",\"unit\":\"km\"}"),
                      "Radius must be smaller than a quarter of the circumference along the minor axis of the "
                      "reference "
                      "ellipsoid.  Got 1000m, but must be smaller than 1.570796326794896558m.",
                      "[]"),
                LOGIC("[165,[[2,[0,0]],0]]", "Radius must be positive", "[]"),
                GIVES("[17,[[165,[[2,[190,0]],1]],[165,[[2,[-170,0]],1]]]]", "true"),
                LOGIC("[165,[[2,[600,0]],1]]", "Longitude must be between -180 and 180.  Got 240.", "[]"),
                LOGIC("[165,[[2,[0,139]],1]]", "Latitude must be between -90 and 90.  Got 139.", "[]"),
                LOGIC("[165,[[2,[0,0]],\"x\"]]", "Expected type NUMBER but found STRING.", "[1]"),
                LOGIC("[165,[[2,[0]],1]]",
                      "Expected point coordinate pair.  Got 1 element array instead of a 2 element one.", "[]"),
                GIVES("[52,[[165,[" POINT(1, 1) ",1]]]]", "\"PTYPE<GEOMETRY>\""),
        };
        CHECK(cases);
}

static void test_geojson(void **state)
{
        static const Case cases[] = {
                GIVES(GEOJSON("Point", "[2,[1,2]]"), GEO("Point", "[1,2]")),
                GIVES("[157,[{\"type\":\"Point\",\"coordinates\":[2,[1,2]],\"bbox\":1,\"crs\":null}]]",
                      "{\"$reql_type$\":\"GEOMETRY\",\"coordinates\":[1,2],\"crs\":null,\"type\":\"Point\"}"),
                GIVES("[158,[" POINT(1, 2) "]]", "{\"coordinates\":[1,2],\"type\":\"Point\"}"),
                LOGIC("[158,[{}]]", "Not a GEOMETRY pseudotype: `{}`.", "[0]"),
                LOGIC("[157,[1]]", "Expected type OBJECT but found NUMBER.", "[]"),
                MISSING("[157,[{\"coordinates\":1}]]", "No attribute `type` in object:\n{\n\t\"coordinates\":\t1\n}",
                        "[]"),
                MISSING("[157,[{\"type\":\"Point\"}]]",
                        "No attribute `coordinates` in object:\n{\n\t\"type\":\t\"Point\"\n}", "[]"),
                LOGIC(GEOJSON("Point", "1"), "Expected type ARRAY but found NUMBER.", "[]"),
                LOGIC(GEOJSON("Point", "[2,[1]]"), "Too few coordinates.  Need at least longitude and latitude.", "[]"),
                LOGIC(GEOJSON("Point", "[2,[1,2,3]]"),
                      "A third altitude coordinate in GeoJSON positions was found, but is not supported.", "[]"),
                LOGIC(GEOJSON("Point", "[2,[1,2,3,4]]"),
                      "Too many coordinates.  GeoJSON position should have no more than three coordinates, but got 4.",
                      "[]"),
                LOGIC(GEOJSON("LineString", "[2,[[2,[1,2]]]]"), "GeoJSON LineString must have at least two positions.",
                      "[]"),
                LOGIC(GEOJSON("Polygon", "[2,[[2,[" P(0, 0) "," P(0, 1) "," P(1, 0) "," P(1, 1) "]]]]"),
                      "First and last vertex of GeoJSON LinearRing must be identical.", "[]"),
                GIVES(GEOJSON("Polygon", "[2,[]]"), GEO("Polygon", "[]")),
                LOGIC(GEOJSON("Polygon", "[2,[[2,[" P(0, 0) "," P(1, 0) "," P(1, 1) "," P(0, 1) "," P(0, 0) "]],[2,[" P(
                                                 0.5, 0.5) "," P(2, 0.5) "," P(2, 2) "," P(0.5, 0.5) "]]]]"),
                      "Some edges in GeoJSON polygon could not be used.  Are they intersecting?", "[]"),
                LOGIC(GEOJSON("MultiPoint", "1"), "GeoJSON type `MultiPoint` is not supported.", "[]"),
                LOGIC(GEOJSON("point", "1"), "Unrecognized GeoJSON type `point`.", "[]"),
                LOGIC("[157,[{\"type\":\"Point\",\"coordinates\":[2,[1,2]],\"crs\":1}]]",
                      "Non-default coordinate reference systems are not supported in GeoJSON objects.  Make sure the "
                      "`crs` "
                      "field of the geometry is null or non-existent.",
                      "[]"),
                LOGIC("[157,[{\"type\":\"Point\",\"coordinates\":[2,[1,2]],\"x\":1}]]",
                      "Unrecognized field `x` found in geometry object.", "[]"),
                LOGIC("[157,[" POINT(1, 2) "]]", "GeoJSON object already had a $reql_type$ field.", "[]"),
                GIVES("[157,[[158,[" WITH_HOLE "]]]]",
                      GEO("Polygon",
                          "[[[0,0],[1,0],[1,1],[0,1],[0,0]],[[0.2,0.2],[0.8,0.2],[0.8,0.8],[0.2,0.8],[0.2,0.2]]]")),
        };
        CHECK(cases);
}

static void test_values(void **state)
{
        static const Case cases[] = {
                GIVES("[52,[" POINT(1, 2) "]]", "\"PTYPE<GEOMETRY>\""),
                GIVES("[170,[[79,[" POINT(0, 1) "]],\"type\"]]", "\"PTYPE<GEOMETRY>\""),
                GIVES("[51,[" POINT(1, 2) ",\"string\"]]", "\"{\\\"$reql_type$\\\":\\\"GEOMETRY\\\","
                                                           "\\\"coordinates\\\":[1,2],\\\"type\\\":\\\"Point\\\"}\""),
                GIVES("[17,[" POINT(1, 2) "," RAW("Point", "[1,2]") "]]", "true"),
                GIVES("[17,[" POINT(1, 2) "," POINT(1, 3) "]]", "false"),
                GIVES("[19,[" POINT(1, 2) "," POINT(1, 3) "]]", "true"),
                LOGIC("[31,[" POINT(1, 2) ",\"type\"]]",
                      "Cannot call `get_field` on objects of type `PTYPE<GEOMETRY>`.", "[0]"),
                /* what comes in is looked at when it is used */
                GIVES("[52,[" RAW("Point", "[1,200]") "]]", "\"PTYPE<GEOMETRY>\""),
                LOGIC("[163,[" RAW("Point", "[1,200]") "," POINT(1, 2) "]]",
                      "Latitude must be between -90 and 90.  Got 200.", "[]"),
                LOGIC("[163,[" RAW("Nowhere", "[]") "," POINT(1, 2) "]]", "Unrecognized GeoJSON type `Nowhere`.", "[]"),
                LOGIC("[163,[" RAW("$reql_LatLngRect$", "[0,0,1,1]") "," POINT(1, 2) "]]",
                      "LatLngRect cannot be generated by a user query.  The `$reql_LatLngRect$` type is reserved for "
                      "internal use.",
                      "[]"),
        };
        CHECK(cases);
}

static void test_questions(void **state)
{
        static const Case cases[] = {
                GIVES("[163,[" SQUARE "," POINT(0.5, 0.5) "]]", "true"),
                GIVES("[163,[" POINT(0.5, 0.5) "," WITH_HOLE "]]", "false"),
                GIVES("[164,[" SQUARE "," LINE(P(0.1, 0.1) "," P(0.9, 0.9)) "]]", "true"),
                GIVES("[164,[" EMPTY "," POINT(0, 0) "]]", "false"),
                LOGIC("[163,[{}," POINT(0, 0) "]]", "Not a GEOMETRY pseudotype: `{}`.", "[0]"),
                LOGIC("[163,[" POINT(0, 0) ",1]]", "Not a GEOMETRY pseudotype: `1`.", "[1]"),
                LOGIC("[163,[1," POINT(0, 0) "]]", "Cannot perform intersects on a non-object non-sequence `1`.",
                      "[0]"),
                LOGIC("[163,[[101,[1]]," POINT(0, 0) "]]", "Cannot call `intersects` on objects of type `PTYPE<TIME>`.",
                      "[0]"),
                LOGIC("[164,[" POINT(0, 0) "," POINT(0, 0) "]]",
                      "Expected geometry of type `Polygon` but found `Point`.", "[]"),
                LOGIC("[164,[" SQUARE ",1]]", "Not a GEOMETRY pseudotype: `1`.", "[1]"),
                LOGIC("[164,[" RAW("Polygon", "[[2,[1]]]") ",1]]",
                      "GeoJSON LinearRing must have at least four positions.", "[]"),
                /* on sequences: a filter */
                GIVES("[163,[[2,[" POINT(0.5, 0.5) "," POINT(2, 2) "]]," SQUARE "]]",
                      "[" GEO("Point", "[0.5,0.5]") "]"),
                GIVES("[43,[[164,[[2,[" SQUARE "," WITH_HOLE "]]," POINT(0.5, 0.5) "]]]]", "1"),
                GIVES("[163,[[2,[]],1]]", "[]"),
                LOGIC("[163,[[2,[{}]]," SQUARE "]]", "Not a GEOMETRY pseudotype: `{}`.", "[]"),
                LOGIC("[163,[[2,[[2,[]]]]," SQUARE "]]", "Cannot perform intersects on a sequence of sequences.", "[]"),
        };
        CHECK(cases);
}

static void test_distances(void **state)
{
        static const Case cases[] = {
                GIVES("[162,[" POINT(0, 0) "," POINT(0, 0) "]]", "0"),
                GIVES("[162,[" SQUARE "," POINT(0.5, 0.5) "]]", "0"),
                GIVES("[17,[[162,[" POINT(0, 0) "," POINT(1, 0) "]],[162,[" POINT(1, 0) "," POINT(0, 0) "]]]]", "true"),
                GIVES("[185,[[162,[" POINT(0, 0) "," POINT(1, 0) "],{\"unit\":\"km\"}]]]", "111"),
                GIVES("[185,[[26,[1000000,[162,[" POINT(0, 0) "," POINT(1, 0) "],{\"geo_system\":\"unit_sphere\"}]]]]]",
                      "17453"),
                LOGIC("[162,[" LINE(P(0, 0) "," P(0, 1)) "," SQUARE "]]",
                      "Expected geometry of type `Point` but found `Polygon`.", "[]"),
                LOGIC("[162,[1," POINT(0, 0) "]]", "Not a GEOMETRY pseudotype: `1`.", "[0]"),
                LOGIC("[162,[" POINT(0, 0) ",1]]", "Not a GEOMETRY pseudotype: `1`.", "[1]"),
                LOGIC("[162,[" RAW("Point", "[0,91]") ",1]]", "Latitude must be between -90 and 90.  Got 91.", "[]"),
                LOGIC("[162,[1," POINT(0, 0) "],{\"unit\":\"x\"}]", "Unrecognized distance unit `x`.", "[]"),
                LOGIC("[162,[" POINT(0, 0) "," EMPTY "]]", "An empty polygon has no distance to anything.", "[]"),
                LOGIC("[162,[" POINT(0, 0) "," POINT(180,
                                                     0) "],{\"geo_system\":{\"a\":1.7e308,\"f\":0},\"unit\":\"ft\"}]",
                      "Non-finite number: inf", "[]"),
        };
        CHECK(cases);
}

static void test_polygon_sub(void **state)
{
        static const Case cases[] = {
                GIVES(EMPTY, GEO("Polygon", "[[[0,0],[1,0],[1,1],[0,1],[0,0]],[[0,0],[1,0],[1,1],[0,1],[0,0]]]")),
                LOGIC("[171,[" SQUARE "," POINT(0, 0) "]]", "Expected a Polygon but found a Point.", "[1]"),
                LOGIC("[171,[" WITH_HOLE "," SQUARE "]]",
                      "Expected a Polygon with only an outer shell.  This one has holes.", "[0]"),
                LOGIC("[171,[" SQUARE "," POLY(P(2, 2) "," P(3, 2) "," P(3, 3)) "]]",
                      "The second argument to `polygon_sub` is not contained in the first one.", "[]"),
                MISSING("[171,[" SQUARE "," RAW("Polygon", "[]") "]]", "Index out of bounds: 0", "[]"),
        };
        CHECK(cases);
}

static void test_without_memory(void **state)
{
        check_without_memory("[163,[[2,[" POINT(0.5, 0.5) "," POINT(2, 2) "]]," WITH_HOLE "]]");
        check_without_memory("[162,[" POINT(0, 0) ",[165,[" POINT(1, 1) ",5]]]]");
        check_without_memory("[157,[{\"type\":\"Point\",\"coordinates\":[2,[1]]}]]");
        check_without_memory("[164,[" SQUARE "," RAW("Point", "[0,91]") "]]");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_making),      cmocka_unit_test(test_circles),
                cmocka_unit_test(test_geojson),     cmocka_unit_test(test_values),
                cmocka_unit_test(test_questions),   cmocka_unit_test(test_distances),
                cmocka_unit_test(test_polygon_sub), cmocka_unit_test(test_without_memory),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
