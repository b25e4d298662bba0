/* s2_bridge_test.c - shapes on the sphere: what is one, what touches what, distances, coverings, and memory that is not
 * there. */
#include "base/check.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bridge/s2_bridge.h"

/* --- operator new that can fail: the nth time, and from then on --- */

static long new_fails_in; /* 0: never */
static bool new_failed;
NORETURN void _ZSt17__throw_bad_allocv(void); /* std::__throw_bad_alloc() */

static void *allocate(size_t size, size_t alignment)
{
        if (new_fails_in && --new_fails_in == 0) {
                new_fails_in = 1;
                new_failed = true;
                return NULL;
        }
        return alignment ? aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment)
                         : malloc(size ? size : 1);
}
#define OPERATOR_NEW(name, alignment, ...)                                                                             \
        void *name(__VA_ARGS__);                                                                                       \
        void *name(__VA_ARGS__)                                                                                        \
        {                                                                                                              \
                void *memory = allocate(size, alignment);                                                              \
                if (!memory)                                                                                           \
                        _ZSt17__throw_bad_allocv();                                                                    \
                return memory;                                                                                         \
        }
OPERATOR_NEW(_Znwm, 0, size_t size)
OPERATOR_NEW(_Znam, 0, size_t size)
OPERATOR_NEW(_ZnwmSt11align_val_t, align, size_t size, size_t align)
#define OPERATOR_DELETE(name, ...)                                                                                     \
        void name(__VA_ARGS__);                                                                                        \
        void name(__VA_ARGS__)                                                                                         \
        {                                                                                                              \
                free(memory);                                                                                          \
        }
OPERATOR_DELETE(_ZdlPv, void *memory)
OPERATOR_DELETE(_ZdaPv, void *memory)
OPERATOR_DELETE(_ZdlPvm, void *memory, size_t size)
OPERATOR_DELETE(_ZdaPvm, void *memory, size_t size)
OPERATOR_DELETE(_ZdlPvSt11align_val_t, void *memory, size_t align)
OPERATOR_DELETE(_ZdlPvmSt11align_val_t, void *memory, size_t size, size_t align)

/* --- shapes from text: "point 1 2", "line 0 0, 1 1", "polygon 0 0, 1 0, 1 1; 0.1 0.1, ..." (rings are closed) --- */

static Status try_shape(const char *text, GeoShape **ret_shape, GeoVerdict *ret_verdict)
{
        _cleanup_(geo_shape_freep) GeoShape *shape = NULL;
        GeoKind kind = text[1] == 'i' ? GEO_LINE : text[2] == 'i' ? GEO_POINT : GEO_POLYGON;
        const char *at = strchr(text, ' ');
        GeoPoint first = {0, 0};
        bool ring_start = true;
        *ret_verdict = GEO_FINE;
        TRY(geo_shape_new(kind, &shape));
        while (at && *at) {
                char *end;
                GeoPoint p;
                p.lon = strtod(at, &end);
                p.lat = strtod(end, &end);
                if (ring_start)
                        first = p;
                ring_start = false;
                TRY(geo_shape_add(shape, p));
                if (kind == GEO_POLYGON && *end != ',') {
                        TRY(geo_shape_add(shape, first));
                        TRY(geo_shape_end_ring(shape, ret_verdict));
                        if (*ret_verdict != GEO_FINE)
                                return ST_OK;
                        ring_start = true;
                }
                at = *end ? end + 1 : end;
        }
        TRY(geo_shape_finish(shape, ret_verdict));
        if (*ret_verdict == GEO_FINE)
                *ret_shape = take(shape);
        return ST_OK;
}

static GeoShape *shape_of(const char *text)
{
        GeoShape *shape = NULL;
        GeoVerdict verdict;
        OK(try_shape(text, &shape, &verdict));
        if (verdict != GEO_FINE)
                fail_msg("%s: verdict %d", text, verdict);
        return shape;
}

static void check_verdict(const char *text, GeoVerdict expected)
{
        GeoShape *shape = NULL;
        GeoVerdict verdict;
        OK(try_shape(text, &shape, &verdict));
        if (verdict != expected)
                fail_msg("%s: verdict %d, not %d", text, verdict, expected);
        geo_shape_free(shape);
}

#define SQUARE       "polygon 0 0, 1 0, 1 1, 0 1"
#define CLOCKWISE    "polygon 0 0, 0 1, 1 1, 1 0"
#define WITH_HOLE    "polygon 0 0, 1 0, 1 1, 0 1; 0.2 0.2, 0.8 0.2, 0.8 0.8, 0.2 0.8"
#define NOTHING_LEFT "polygon 0 0, 1 0, 1 1, 0 1; 0 0, 1 0, 1 1, 0 1"

static void test_verdicts(void **state)
{
        check_verdict("point 180 90", GEO_FINE);
        check_verdict("line 0 0, 0 1, 0 0", GEO_FINE);
        check_verdict("line 0 0, 0 0", GEO_INVALID);
        check_verdict("line 180 0, -180 0", GEO_INVALID); /* one place */
        check_verdict(SQUARE, GEO_FINE);
        check_verdict(CLOCKWISE, GEO_FINE);
        check_verdict("polygon 0 0, 0 1, 1 0, -1 0.5", GEO_INVALID);
        check_verdict("polygon 0 0, 1 1, 0 0, 0 1", GEO_INVALID);
        check_verdict("polygon 0 0, 1 0", GEO_INVALID);
        check_verdict("polygon", GEO_FINE);
        check_verdict(WITH_HOLE, GEO_FINE);
        check_verdict(NOTHING_LEFT, GEO_FINE);
        check_verdict("polygon 0 0, 1 0, 1 1, 0 1; 0.5 0.5, 2 0.5, 2 2, 0.5 2", GEO_INVALID);
        check_verdict("polygon 0 0, 1 0, 1 1, 0 1; 5 5, 6 5, 6 6, 5 6", GEO_FINE);    /* two shells, as in RethinkDB */
        check_verdict("polygon 0 0, 1 0, 1 1, 0 1; 0 0, 1 0, 0.5 0.5", GEO_FINE);     /* one edge of both, cancelled */
        check_verdict("polygon 0 0, 1 0, 1 1, 0 1; 1 0, 2 0, 2 1, 1 1", GEO_INVALID); /* one edge of both, one way */
        GeoShape *open;
        GeoVerdict verdict;
        OK(geo_shape_new(GEO_POLYGON, &open));
        OK(geo_shape_add(open, (GeoPoint){1, 1}));
        OK(geo_shape_add(open, (GeoPoint){2, 1}));
        OK(geo_shape_end_ring(open, &verdict));
        assert_int_equal(verdict, GEO_NOT_CLOSED);
        assert_null(geo_shape_free(open));
        assert_null(geo_shape_free(NULL));
}

static void check_answers(const char *a, const char *b, bool intersects, bool includes)
{
        _cleanup_(geo_shape_freep) GeoShape *first = shape_of(a);
        _cleanup_(geo_shape_freep) GeoShape *second = shape_of(b);
        bool answer;
        OK(geo_intersects(first, second, &answer));
        if (answer != intersects)
                fail_msg("%s intersects %s: %d", a, b, answer);
        OK(geo_intersects(second, first, &answer));
        if (answer != intersects)
                fail_msg("%s intersects %s: %d", b, a, answer);
        if (geo_shape_kind(first) != GEO_POLYGON)
                return;
        OK(geo_includes(first, second, &answer));
        if (answer != includes)
                fail_msg("%s includes %s: %d", a, b, answer);
}

static void test_answers(void **state)
{
        check_answers("point 1 2", "point 1 2", true, false);
        check_answers("point 1 2", "point 1 2.000001", false, false);
        check_answers("line 0 0, 2 0", "point 1 0", true, false);
        check_answers("line 0 0, 2 0", "point 2 0", true, false);
        check_answers("line 0 0, 2 0", "point 1 0.1", false, false);
        check_answers("line 0 0, 2 2", "line 0 2, 2 0", true, false);
        check_answers("line 0 0, 2 2", "line 2 2, 3 5", true, false);
        check_answers("line 0 0, 2 2", "line 0 1, -2 2", false, false);
        for (int way = 0; way < 2; way++) {
                const char *square = way ? CLOCKWISE : SQUARE;
                check_answers(square, "point 0.5 0.5", true, true);
                check_answers(square, "point 0 0", true, true); /* a vertex */
                check_answers(square, "point 1 1", true, true);
                check_answers(square, "point 2 2", false, false);
                check_answers(square, "line 0.1 0.1, 0.9 0.9", true, true);
                check_answers(square, "line 0.1 0.1, 2 2", true, false);
                check_answers(square, "line -1 0.5, 2 0.5", true, false); /* through it */
                check_answers(square, "line 3 3, 4 4", false, false);
                check_answers(square, square, true, true);
                check_answers(square, "polygon 0.1 0.1, 0.9 0.1, 0.9 0.9, 0.1 0.9", true, true);
                check_answers(square, "polygon 0.5 0.5, 2 0.5, 2 2, 0.5 2", true, false);
                check_answers(square, "polygon 1 0, 2 0, 2 1, 1 1", false, false); /* only an edge */
                check_answers(square, "polygon -1 -1, 2 -1, 2 2, -1 2", true, false);
        }
        check_answers(WITH_HOLE, "point 0.5 0.5", false, false);
        check_answers(WITH_HOLE, "point 0.1 0.1", true, true);
        check_answers(WITH_HOLE, "line 0.3 0.3, 0.7 0.7", false, false);
        check_answers(WITH_HOLE, "line 0.1 0.1, 0.7 0.7", true, false);
        check_answers(WITH_HOLE, "polygon 0.3 0.3, 0.7 0.3, 0.7 0.7, 0.3 0.7", false, false);
        check_answers(WITH_HOLE, "polygon 0.05 0.05, 0.15 0.05, 0.15 0.15, 0.05 0.15", true, true);
        check_answers(SQUARE, WITH_HOLE, true, true);
        check_answers(WITH_HOLE, SQUARE, true, false);
        const char *const empty[] = {NOTHING_LEFT, "polygon"};
        for (size_t i = 0; i < ELEMENTS(empty); i++) {
                check_answers(empty[i], "point 0 0", false, false);
                check_answers(empty[i], "line 0 0, 1 1", false, false);
                check_answers(empty[i], SQUARE, false, false);
                check_answers(SQUARE, empty[i], false, true);
                check_answers(empty[i], empty[i], false, true);
        }
        /* over the date line and a pole */
        check_answers("polygon 179 -1, -179 -1, -179 1, 179 1", "point 180 0", true, true);
        check_answers("polygon 179 -1, -179 -1, -179 1, 179 1", "point 0 0", false, false);
        check_answers("polygon 0 80, 90 80, 180 80, -90 80", "point 45 89", true, true);
}

static void check_nearest(const char *from, const char *to, GeoPoint expected)
{
        _cleanup_(geo_shape_freep) GeoShape *a = shape_of(from);
        _cleanup_(geo_shape_freep) GeoShape *b = shape_of(to);
        GeoPoint start, nearest;
        OK(geo_nearest(a, b, &start, &nearest));
        if (fabs(nearest.lon - expected.lon) > 1e-9 || fabs(nearest.lat - expected.lat) > 1e-9)
                fail_msg("%s to %s: %.17g %.17g", from, to, nearest.lon, nearest.lat);
        bool answer;
        OK(geo_intersects(a, b, &answer));
        assert_int_equal(answer, start.lon == nearest.lon && start.lat == nearest.lat);
}

static void test_nearest(void **state)
{
        check_nearest("point -122 37", "point -123 37", (GeoPoint){-123, 37});
        check_nearest("point 0 0", "line 0 0, 0 1", (GeoPoint){0, 0});
        check_nearest("point 0 0", "line 0.1 0, 1 0", (GeoPoint){0.1, 0});
        check_nearest("point 5 1", "line 0 0, 10 0", (GeoPoint){5, 0});
        check_nearest("point 0.5 0.5", "polygon 0 -1, 0 1, 10 10", (GeoPoint){0.5, 0.5});
        check_nearest("point -1 0", SQUARE, (GeoPoint){0, 0});
        check_nearest("point 0.5 -1", SQUARE, (GeoPoint){0.5, 0});
        check_nearest("point 0.25 0.5", WITH_HOLE, (GeoPoint){0.2, 0.50000019037628});
        assert_true(geo_destination((GeoPoint){180, 0}, 0, 1000, GEO_WGS84).lon == -180);
        GeoPoint north = geo_destination((GeoPoint){10, 0}, 0, 0.01, GEO_UNIT_SPHERE);
        assert_true(fabs(north.lon - 10) < 1e-12 && fabs(north.lat - 0.01 * 180 / M_PI) < 1e-12);
}

/* What a covering promises: whatever meets the shape has a cell that meets one of it, and the search finds it. */
static void check_found(const char *stored, const char *asked)
{
        _cleanup_(geo_shape_freep) GeoShape *a = shape_of(stored);
        _cleanup_(geo_shape_freep) GeoShape *b = shape_of(asked);
        uint64_t in[GEO_CELLS_MAX], of[GEO_CELLS_MAX];
        GeoRange ranges[GEO_RANGES_MAX];
        size_t in_count, of_count;
        OK(geo_cover(a, GEO_INDEX_CELLS, in, &in_count));
        OK(geo_cover(b, GEO_SEARCH_CELLS, of, &of_count));
        assert_true(in_count > 0 && in_count <= GEO_INDEX_CELLS);
        size_t count = geo_search(of, of_count, ranges);
        bool meet = false, found = false;
        for (size_t i = 0; i < in_count; i++) {
                bool in_range = false, cells_meet = false;
                for (size_t j = 0; j < of_count; j++)
                        cells_meet |= geo_cells_meet(in[i], of[j]);
                for (size_t j = 0; j < count; j++)
                        in_range |= ranges[j].low <= in[i] && in[i] <= ranges[j].high;
                assert_int_equal(in_range, cells_meet);
                meet |= cells_meet;
                found |= in_range;
        }
        bool answer;
        OK(geo_intersects(a, b, &answer));
        assert_true(found || !answer);
        assert_int_equal(found, meet);
        for (size_t i = 1; i < count; i++)
                assert_true(ranges[i - 1].high < ranges[i].low);
        for (size_t i = 1; i < in_count; i++)
                assert_true(in[i - 1] < in[i] && !geo_cells_meet(in[i - 1], in[i]));
}

static void test_covers(void **state)
{
        const char *const shapes[] = {"point 0 0",
                                      "point 0.5 0.5",
                                      "point 180 90",
                                      "line 0 0, 0 1",
                                      "line -170 -60, 100 70, 5 5",
                                      SQUARE,
                                      WITH_HOLE,
                                      "polygon 0 80, 90 80, 180 80, -90 80",
                                      "polygon 0.4 0.4, 0.6 0.4, 0.6 0.6, 0.4 0.6"};
        for (size_t i = 0; i < ELEMENTS(shapes); i++)
                for (size_t j = 0; j < ELEMENTS(shapes); j++)
                        check_found(shapes[i], shapes[j]);
        _cleanup_(geo_shape_freep) GeoShape *empty = shape_of(NOTHING_LEFT);
        uint64_t cells[GEO_CELLS_MAX];
        size_t count;
        OK(geo_cover(empty, 1, cells, &count));
        assert_int_equal(count, 0);
        _cleanup_(geo_shape_freep) GeoShape *square = shape_of(SQUARE);
        OK(geo_cover(square, 1, cells, &count)); /* around the corner of three faces of the cube it may take more */
        assert_true(count >= 1 && count <= 6);
}

/* A hundred thousand vertices: an index is behind it, not every edge against every other. */
static void test_large(void **state)
{
        enum { COUNT = 20000 };
        GeoShape *ring, *line;
        GeoVerdict verdict;
        bool answer;
        OK(geo_shape_new(GEO_POLYGON, &ring));
        OK(geo_shape_new(GEO_LINE, &line));
        for (int i = 0; i <= COUNT; i++) {
                double angle = i % COUNT * (2 * M_PI / COUNT);
                OK(geo_shape_add(ring, (GeoPoint){10 * cos(angle), 10 * sin(angle)}));
                OK(geo_shape_add(line, (GeoPoint){-20 + 40.0 * i / COUNT, i % 2}));
        }
        OK(geo_shape_end_ring(ring, &verdict));
        assert_int_equal(verdict, GEO_FINE);
        OK(geo_shape_finish(ring, &verdict));
        assert_int_equal(verdict, GEO_FINE);
        OK(geo_shape_finish(line, &verdict));
        assert_int_equal(verdict, GEO_FINE);
        OK(geo_intersects(ring, line, &answer));
        assert_true(answer);
        OK(geo_includes(ring, line, &answer));
        assert_false(answer);
        geo_shape_free(ring);
        geo_shape_free(line);
}

/* Every operator new fails in turn: an error comes back, no exception. (Not with holes: README.md, B7.) */
static Status all_of_it(void)
{
        _cleanup_(geo_shape_freep) GeoShape *polygon = NULL;
        _cleanup_(geo_shape_freep) GeoShape *line = NULL;
        GeoVerdict verdict;
        bool answer;
        GeoPoint p;
        uint64_t cells[GEO_CELLS_MAX];
        size_t count;
        TRY(try_shape(CLOCKWISE, &polygon, &verdict));
        TRY(try_shape("line 0.1 0.1, 2 2", &line, &verdict));
        TRY(geo_intersects(polygon, line, &answer));
        TRY(geo_includes(polygon, line, &answer));
        TRY(geo_includes(polygon, polygon, &answer));
        TRY(geo_intersects(polygon, polygon, &answer));
        TRY(geo_intersects(line, line, &answer));
        TRY(geo_cover(polygon, GEO_INDEX_CELLS, cells, &count));
        TRY(geo_cover(line, GEO_INDEX_CELLS, cells, &count));
        _cleanup_(geo_shape_freep) GeoShape *point = NULL;
        TRY(try_shape("point 1 1", &point, &verdict));
        return geo_nearest(point, polygon, &p, &p);
}

void __lsan_disable(void) __attribute__((weak));
void __lsan_enable(void) __attribute__((weak));

static void test_no_memory(void **state)
{
        if (__lsan_disable) /* objects are given up in the middle of building an index: s2_bridge.cc, building() */
                __lsan_disable();
        for (long n = 1;; n++) {
                new_failed = false;
                new_fails_in = n;
                Status st = all_of_it();
                new_fails_in = 0;
                if (!new_failed) {
                        assert_null(st);
                        break;
                }
                assert_int_equal(status_code(st), ERR_NOMEM);
                status_ignore(st);
        }
        if (__lsan_enable)
                __lsan_enable();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_verdicts), cmocka_unit_test(test_answers), cmocka_unit_test(test_nearest),
                cmocka_unit_test(test_covers),   cmocka_unit_test(test_large),   cmocka_unit_test(test_no_memory),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
