// s2_bridge.cc - see s2_bridge.h.
//
// S2's own checks of its callers abort the process. What comes in here was checked, so its inline ones are left out.
#ifndef NDEBUG
#define NDEBUG 1
#endif
#include <geodesic.h>
#include <s2/mutable_s2shape_index.h>
#include <s2/s2cell_id.h>
#include <s2/s2cell_union.h>
#include <s2/s2crossing_edge_query.h>
#include <s2/s2edge_crossings.h>
#include <s2/s2latlng.h>
#include <s2/s2latlng_rect.h>
#include <s2/s2lax_polygon_shape.h>
#include <s2/s2loop.h>
#include <s2/s2pointutil.h>
#include <s2/s2polygon.h>
#include <s2/s2polyline.h>
#include <s2/s2predicates.h>
#include <s2/s2region_coverer.h>
#include <s2/s2shapeutil_visit_crossing_edge_pairs.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <set>
#include <utility>
#include <vector>

#define _Static_assert static_assert
#undef GUARDED_BY // Abseil has one of its own; nothing below needs it
extern "C" {
#include "bridge/s2_bridge.h"
}

using s2shapeutil::ShapeEdge;
typedef std::vector<S2Point> Chain;

#define NESTING_BYTES 1024 // for each loop, while S2 finds out which is in which: generous

struct GeoShape {
        GeoKind kind;
        Chain vertices;                             // the point, the line, the ring being added
        std::vector<std::unique_ptr<S2Loop>> rings; // until the polygon is finished
        std::unique_ptr<S2Polygon> polygon;
        std::unique_ptr<S2Polyline> line;
        std::unique_ptr<MutableS2ShapeIndex> line_index;
        std::vector<S2LatLngRect> loop_bounds; // of the polygon's loops
        S2LatLngRect bound = S2LatLngRect::Empty();
};

namespace
{

/* No exception leaves: what the standard library or S2 throws is memory that was not there. */
template <typename Body> Status guarded(Body body)
{
        try {
                return body();
        } catch (...) {
                return status_nomem();
        }
}

/* S2 ends the process when an index is destroyed whose building was cut short. What is being built here is then rather
 * lost than destroyed. Afterwards its index is there, and no question builds one. */
template <typename Object, typename Body> auto building(std::unique_ptr<Object> &object, Body body)
{
        try {
                return body();
        } catch (...) {
                (void)object.release();
                throw;
        }
}

/* The check builds the loop's index. */
bool loop_is_valid(std::unique_ptr<S2Loop> &loop)
{
        S2Error error;
        return !building(loop, [&] { return loop->FindValidationError(&error); });
}

/* Makes it the smaller of the two areas that it divides the sphere into. Inverting drops the index. */
bool normalize(std::unique_ptr<S2Loop> &loop)
{
        if (loop->IsNormalized())
                return true;
        loop->Invert();
        return loop_is_valid(loop);
}

S2Point to_point(GeoPoint p)
{
        /* Both ends of the date line are one place, and the same point to the last bit. */
        return S2LatLng::FromDegrees(p.lat, p.lon == 180.0 ? -180.0 : p.lon).ToPoint();
}

GeoPoint to_degrees(const S2Point &p)
{
        S2LatLng at(p);
        return GeoPoint{at.lng().degrees(), at.lat().degrees()};
}

/* --- bounds and projections, in the arithmetic of S2 as RethinkDB has it ---
 * Today's S2 widens its bounds and projects more exactly. Whether a point "is" on an edge then comes out differently,
 * and the last digits of distances too. */

S2Point edge_normal(const S2Point &a, const S2Point &b)
{
        S2Point normal = (b + a).CrossProd(b - a); // twice a x b, and stable for neighbours and near-antipodes
        return normal == S2Point(0, 0, 0) ? S2::Ortho(a) : normal;
}

/* Orientation by plain arithmetic. */
bool turns_left(const S2Point &a, const S2Point &b, const S2Point &c)
{
        return c.CrossProd(a).DotProd(b) > 0;
}

bool between(const S2Point &x, const S2Point &a, const S2Point &b, const S2Point &normal)
{
        return turns_left(normal, a, x) && turns_left(x, b, normal);
}

double edge_distance(const S2Point &x, const S2Point &a, const S2Point &b)
{
        S2Point normal = edge_normal(a, b);
        if (between(x, a, b, normal))
                return std::asin(std::min(1.0, std::fabs(x.DotProd(normal)) / normal.Norm()));
        return 2 * std::asin(std::min(1.0, 0.5 * std::sqrt(std::min((x - a).Norm2(), (x - b).Norm2()))));
}

S2Point edge_nearest(const S2Point &x, const S2Point &a, const S2Point &b)
{
        S2Point normal = edge_normal(a, b);
        S2Point foot = x - (x.DotProd(normal) / normal.Norm2()) * normal;
        if (between(foot, a, b, normal))
                return foot.Normalize();
        return (x - a).Norm2() <= (x - b).Norm2() ? a : b;
}

/* The nearest edge of several chains, then its nearest point. */
class Nearest
{
      public:
        explicit Nearest(const S2Point &x) : x_(x) {}
        void edge(const S2Point &a, const S2Point &b)
        {
                double distance = edge_distance(x_, a, b);
                if (distance < best_) {
                        best_ = distance;
                        a_ = a;
                        b_ = b;
                }
        }
        S2Point point() const { return edge_nearest(x_, a_, b_); }

      private:
        S2Point x_, a_, b_;
        double best_ = 10; // above any angle
};

/* The rectangle around a chain of edges, without any margin. */
class Bounder
{
      public:
        void add(const S2Point &b)
        {
                S2LatLng at(b);
                if (bound_.is_empty())
                        bound_.AddPoint(at);
                else
                        edge(b, at);
                last_ = b;
                last_at_ = at;
        }
        const S2LatLngRect &bound() const { return bound_; }

      private:
        void edge(const S2Point &b, const S2LatLng &at)
        {
                bound_ = bound_.Union(S2LatLngRect::FromPointPair(last_at_, at));
                /* Great circles bulge towards the poles: the highest place may be inside the edge. */
                S2Point normal = edge_normal(last_, b);
                S2Point meridian = normal.CrossProd(S2Point(0, 0, 1));
                double from = meridian.DotProd(last_), to = meridian.DotProd(b);
                if (from * to >= 0)
                        return;
                double highest = std::acos(std::fabs(normal[2] / normal.Norm()));
                R1Interval lat = bound_.lat();
                if (from < 0)
                        lat.set_hi(std::max(highest, lat.hi()));
                else
                        lat.set_lo(std::min(-highest, lat.lo()));
                /* Too near to a pole to say on which side the edge passes it. */
                bound_ = S2LatLngRect(lat, highest >= M_PI_2 - 1e-15 ? S1Interval::Full() : bound_.lng());
        }
        S2LatLngRect bound_ = S2LatLngRect::Empty();
        S2Point last_;
        S2LatLng last_at_;
};

S2LatLngRect bound_of_line(const S2Polyline &line)
{
        Bounder bounder;
        for (int i = 0; i < line.num_vertices(); i++)
                bounder.add(line.vertex(i));
        return bounder.bound();
}

S2LatLngRect bound_of_loop(const S2Loop &loop)
{
        Bounder bounder;
        for (int i = 0; i <= loop.num_vertices(); i++)
                bounder.add(loop.vertex(i));
        S2LatLngRect bound = bounder.bound();
        if (loop.Contains(S2Point(0, 0, 1)))
                bound = S2LatLngRect(R1Interval(bound.lat().lo(), M_PI_2), S1Interval::Full());
        /* With the south pole inside, the loop goes all the way round or contains the north pole as well. */
        if (bound.lng().is_full() && loop.Contains(S2Point(0, 0, -1)))
                bound = S2LatLngRect(R1Interval(-M_PI_2, bound.lat().hi()), bound.lng());
        return bound;
}

/* --- making polygons --- */

/* Rings as sets of directed edges, an edge and its reverse cancelling out, taken apart into loops again. */
class EdgeSet
{
      public:
        /* A hole's edges run against the shell's. */
        void add(const S2Loop &ring, bool hole)
        {
                int n = ring.num_vertices();
                for (int i = 0; i < n; i++)
                        if (hole)
                                add(ring.vertex(2 * n - 1 - i), ring.vertex(2 * n - 2 - i));
                        else
                                add(ring.vertex(i), ring.vertex(i + 1));
        }
        /* False if edges are left that belong to no loop, or one is there twice. */
        bool take_loops(std::vector<std::unique_ptr<S2Loop>> *loops)
        {
                bool all_used = !any_twice();
                for (const S2Point &start : starts_)
                        while (all_used && out_.count(start))
                                if (!take_loop(start, loops))
                                        all_used = false;
                return all_used;
        }

      private:
        void add(const S2Point &a, const S2Point &b)
        {
                if (erase(b, a))
                        return;
                if (!out_.count(a))
                        starts_.push_back(a);
                out_.emplace(a, b);
        }
        bool any_twice() const
        {
                std::set<std::pair<S2Point, S2Point>> seen;
                for (const auto &edge : out_)
                        if (!seen.insert(edge).second)
                                return true;
                return false;
        }
        bool erase(const S2Point &a, const S2Point &b)
        {
                auto range = out_.equal_range(a);
                for (auto at = range.first; at != range.second; ++at)
                        if (at->second == b) {
                                out_.erase(at);
                                return true;
                        }
                return false;
        }
        /* Of the edges out of b, the leftmost for one who comes from a. */
        bool leftmost(const S2Point &a, const S2Point &b, S2Point *ret_next) const
        {
                bool found = false;
                auto range = out_.equal_range(b);
                for (auto at = range.first; at != range.second; ++at) {
                        if (at->second == a)
                                continue;
                        if (!found || s2pred::OrderedCCW(a, *ret_next, at->second, b))
                                *ret_next = at->second;
                        found = true;
                }
                return found;
        }
        /* Walks until a vertex comes again; what lies before its first visit is for another loop. */
        bool take_loop(const S2Point &start, std::vector<std::unique_ptr<S2Loop>> *loops)
        {
                Chain path{start, out_.find(start)->second};
                std::map<S2Point, size_t> seen{{path[1], 1}};
                while (path.size() >= 2) {
                        S2Point a = path[path.size() - 2], b = path.back(), next;
                        if (!leftmost(a, b, &next)) { // a dead end
                                erase(a, b);
                                path.pop_back();
                                return false;
                        }
                        auto visit = seen.emplace(next, path.size());
                        if (visit.second) {
                                path.push_back(next);
                                continue;
                        }
                        path.erase(path.begin(), path.begin() + visit.first->second);
                        for (size_t i = 0; i < path.size(); i++)
                                erase(path[i], path[(i + 1) % path.size()]);
                        if (path.size() < 3)
                                return false;
                        loops->emplace_back(new S2Loop(path, S2Debug::DISABLE));
                        return true;
                }
                return false;
        }
        std::multimap<S2Point, S2Point> out_;
        Chain starts_;
};

bool loops_cross(const std::vector<std::unique_ptr<S2Loop>> &loops)
{
        if (loops.size() < 2)
                return false;
        std::vector<Chain> chains;
        for (const auto &loop : loops) {
                Chain chain;
                for (int i = 0; i < loop->num_vertices(); i++)
                        chain.push_back(loop->vertex(i));
                chains.push_back(std::move(chain));
        }
        auto index = std::make_unique<MutableS2ShapeIndex>();
        index->Add(std::make_unique<S2LaxPolygonShape>(chains));
        S2Error error;
        return building(index, [&] { return s2shapeutil::FindSelfIntersection(*index, &error); });
}

GeoVerdict finish_polygon(GeoShape *shape)
{
        std::vector<std::unique_ptr<S2Loop>> loops;
        if (shape->rings.size() == 1) {
                loops = std::move(shape->rings);
        } else {
                EdgeSet edges;
                for (size_t i = 0; i < shape->rings.size(); i++)
                        edges.add(*shape->rings[i], i > 0);
                if (!edges.take_loops(&loops))
                        return GEO_INVALID;
                for (auto &loop : loops)
                        if (!loop_is_valid(loop) || !normalize(loop))
                                return GEO_INVALID;
        }
        shape->rings.clear();
        if (loops_cross(loops))
                return GEO_INVALID;
        shape->polygon.reset(new S2Polygon);
        S2Polygon *polygon = shape->polygon.get();
        polygon->set_s2debug_override(S2Debug::DISABLE);
        /* Nesting several loops takes hash maps that do not survive a failing new: better it fails here, before. */
        if (loops.size() > 1)
                ::operator delete(::operator new((loops.size() + 1) * NESTING_BYTES));
        polygon->InitNested(std::move(loops));
        building(shape->polygon, [&] { polygon->index().ForceBuild(); });
        S2Error error;
        if (polygon->num_loops() > 1 && polygon->FindValidationError(&error))
                return GEO_INVALID;
        for (int i = 0; i < polygon->num_loops(); i++) {
                shape->loop_bounds.push_back(bound_of_loop(*polygon->loop(i)));
                if (!polygon->loop(i)->is_hole())
                        shape->bound = shape->bound.Union(shape->loop_bounds.back());
        }
        return GEO_FINE;
}

GeoVerdict finish_line(GeoShape *shape)
{
        const Chain &v = shape->vertices;
        for (size_t i = 1; i < v.size(); i++)
                if (v[i - 1] == v[i] || v[i - 1] == -v[i])
                        return GEO_INVALID;
        shape->line.reset(new S2Polyline(v, S2Debug::DISABLE));
        shape->line_index.reset(new MutableS2ShapeIndex);
        shape->line_index->Add(std::make_unique<S2Polyline::Shape>(shape->line.get()));
        building(shape->line_index, [&] { shape->line_index->ForceBuild(); });
        shape->bound = bound_of_line(*shape->line);
        return GEO_FINE;
}

/* --- questions --- */

bool polygon_contains(const GeoShape *shape, const S2Point &p)
{
        const S2Polygon &polygon = *shape->polygon;
        if (!shape->bound.Contains(p))
                return false;
        bool inside = false;
        for (int i = 0; i < polygon.num_loops(); i++)
                inside ^= shape->loop_bounds[i].Contains(p) && polygon.loop(i)->Contains(p);
        return inside;
}

/* The point of the shape that is nearest to x: x itself if it is on it or in it. The shape is not empty. */
S2Point shape_nearest(const GeoShape *shape, const S2Point &x)
{
        Nearest nearest(x);
        if (shape->kind == GEO_POINT)
                return shape->vertices[0];
        if (shape->kind == GEO_LINE) {
                for (int i = 1; i < shape->line->num_vertices(); i++)
                        nearest.edge(shape->line->vertex(i - 1), shape->line->vertex(i));
                return nearest.point();
        }
        if (polygon_contains(shape, x))
                return x;
        for (int i = 0; i < shape->polygon->num_loops(); i++) {
                const S2Loop *loop = shape->polygon->loop(i);
                for (int j = 0; j < loop->num_vertices(); j++)
                        nearest.edge(loop->vertex(j), loop->vertex(j + 1));
        }
        return nearest.point();
}

bool point_meets(const S2Point &point, const GeoShape *shape)
{
        return !geo_shape_is_empty(shape) && shape_nearest(shape, point) == point;
}

bool lines_meet(const GeoShape *a, const GeoShape *b)
{
        if (!a->bound.Intersects(b->bound))
                return false;
        S2CrossingEdgeQuery query(a->line_index.get());
        std::vector<ShapeEdge> met;
        for (int i = 1; i < b->line->num_vertices(); i++) {
                query.GetCrossingEdges(b->line->vertex(i - 1), b->line->vertex(i), s2shapeutil::CrossingType::ALL,
                                       &met);
                if (!met.empty())
                        return true;
        }
        return false;
}

/* Whether a part of the line is inside the polygon (or, `outside`, a part outside it). The line is walked from vertex
 * to vertex; where an edge enters or leaves is noted by its fraction of the edge, and a part is what lies between two
 * such places. Touching at a vertex is two places at once, which make no part. */
bool line_has_part(const GeoShape *polygon, const S2Polyline &line, bool outside)
{
        S2CrossingEdgeQuery query(&polygon->polygon->index());
        std::vector<ShapeEdge> met;
        std::vector<std::pair<double, S2Point>> places;
        bool inside = polygon_contains(polygon, line.vertex(0)) ^ outside;
        for (int i = 1; i < line.num_vertices(); i++) {
                const S2Point &a = line.vertex(i - 1), &b = line.vertex(i);
                places.clear();
                query.GetCrossingEdges(a, b, s2shapeutil::CrossingType::ALL, &met);
                for (const ShapeEdge &edge : met) {
                        const S2Point &c = edge.v0(), &d = edge.v1();
                        if (S2::CrossingSign(a, b, c, d) > 0) {
                                S2Point x = S2::GetIntersection(a, b, c, d);
                                double from = x.Angle(a), to = x.Angle(b);
                                places.emplace_back(from / (from + to), x);
                        } else if (S2::VertexCrossing(a, b, c, d)) {
                                bool first = a == c || a == d;
                                places.emplace_back(first ? 0 : 1, first ? a : b);
                        }
                }
                if (inside)
                        places.emplace_back(0, a);
                inside = places.size() & 1;
                if (inside)
                        places.emplace_back(1, b);
                std::sort(places.begin(), places.end());
                for (size_t k = 0; k < places.size(); k += 2)
                        if (places[k] != places[k + 1])
                                return true;
        }
        return false;
}

bool polygons_meet(const GeoShape *a, const GeoShape *b)
{
        if (geo_shape_is_empty(a) || geo_shape_is_empty(b) || !a->bound.Intersects(b->bound))
                return false;
        return a->polygon->Intersects(*b->polygon);
}

bool polygon_includes(const GeoShape *a, const GeoShape *b)
{
        if (geo_shape_is_empty(b))
                return true;
        if (geo_shape_is_empty(a))
                return false;
        /* Only several shells together can go round the sphere and so contain what reaches beyond their bound. */
        bool loops = a->polygon->num_loops() > 1 || b->polygon->num_loops() > 1;
        if (!a->bound.Contains(b->bound) && !(loops && a->bound.lng().Union(b->bound.lng()).is_full()))
                return false;
        return a->polygon->Contains(*b->polygon);
}

bool shapes_meet(const GeoShape *a, const GeoShape *b)
{
        if (b->kind < a->kind)
                std::swap(a, b);
        if (a->kind == GEO_POINT)
                return point_meets(a->vertices[0], b);
        if (b->kind == GEO_LINE)
                return lines_meet(a, b);
        if (a->kind == GEO_LINE)
                return !geo_shape_is_empty(b) && line_has_part(b, *a->line, false);
        return polygons_meet(a, b);
}

} // namespace

extern "C" {

Status geo_shape_new(GeoKind kind, GeoShape **ret_shape)
{
        return guarded([&] {
                GeoShape *shape = new GeoShape;
                shape->kind = kind;
                *ret_shape = shape;
                return ST_OK;
        });
}

GeoShape *geo_shape_free(GeoShape *shape)
{
        delete shape;
        return nullptr;
}

Status geo_shape_add(GeoShape *shape, GeoPoint vertex)
{
        return guarded([&] {
                shape->vertices.push_back(to_point(vertex));
                return ST_OK;
        });
}

Status geo_shape_end_ring(GeoShape *shape, GeoVerdict *ret_verdict)
{
        return guarded([&] {
                Chain ring;
                ring.swap(shape->vertices);
                *ret_verdict = GEO_NOT_CLOSED;
                if (ring.empty() || ring.front() != ring.back())
                        return ST_OK;
                ring.pop_back(); // S2 closes by itself
                *ret_verdict = GEO_INVALID;
                if (ring.size() < 3)
                        return ST_OK;
                std::unique_ptr<S2Loop> loop(new S2Loop(ring, S2Debug::DISABLE));
                if (!loop_is_valid(loop) || !normalize(loop))
                        return ST_OK;
                shape->rings.push_back(std::move(loop));
                *ret_verdict = GEO_FINE;
                return ST_OK;
        });
}

Status geo_shape_finish(GeoShape *shape, GeoVerdict *ret_verdict)
{
        return guarded([&] {
                *ret_verdict = shape->kind == GEO_POLYGON ? finish_polygon(shape)
                               : shape->kind == GEO_LINE  ? finish_line(shape)
                                                          : GEO_FINE;
                return ST_OK;
        });
}

GeoKind geo_shape_kind(const GeoShape *shape)
{
        return shape->kind;
}

bool geo_shape_is_empty(const GeoShape *shape)
{
        return shape->kind == GEO_POLYGON && shape->polygon->num_loops() == 0;
}

Status geo_intersects(const GeoShape *a, const GeoShape *b, bool *ret_answer)
{
        return guarded([&] {
                *ret_answer = shapes_meet(a, b);
                return ST_OK;
        });
}

Status geo_includes(const GeoShape *polygon, const GeoShape *inner, bool *ret_answer)
{
        return guarded([&] {
                if (inner->kind == GEO_POINT)
                        *ret_answer = point_meets(inner->vertices[0], polygon);
                else if (inner->kind == GEO_LINE)
                        *ret_answer = !geo_shape_is_empty(polygon) && !line_has_part(polygon, *inner->line, true);
                else
                        *ret_answer = polygon_includes(polygon, inner);
                return ST_OK;
        });
}

Status geo_nearest(const GeoShape *point, const GeoShape *shape, GeoPoint *ret_from, GeoPoint *ret_to)
{
        return guarded([&] {
                *ret_from = to_degrees(point->vertices[0]);
                *ret_to = to_degrees(shape_nearest(shape, point->vertices[0]));
                return ST_OK;
        });
}

GeoPoint geo_destination(GeoPoint from, double azimuth, double distance_m, GeoEllipsoid ellipsoid)
{
        struct geod_geodesic geodesic;
        GeoPoint to;
        geod_init(&geodesic, ellipsoid.equator_m, ellipsoid.flattening);
        geod_direct(&geodesic, from.lat, from.lon, azimuth, distance_m, &to.lat, &to.lon, nullptr);
        if (to.lon == 180.0)
                to.lon = -180.0; // one name for the date line
        return to;
}

Status geo_cover(const GeoShape *shape, int wanted, uint64_t ret_cells[GEO_CELLS_MAX], size_t *ret_count)
{
        return guarded([&] {
                *ret_count = 0;
                if (geo_shape_is_empty(shape))
                        return ST_OK;
                if (shape->kind == GEO_POINT) {
                        ret_cells[(*ret_count)++] = S2CellId(shape->vertices[0]).id();
                        return ST_OK;
                }
                S2RegionCoverer coverer;
                coverer.mutable_options()->set_max_cells(wanted);
                std::vector<S2CellId> cells;
                if (shape->kind == GEO_LINE)
                        coverer.GetCovering(*shape->line, &cells);
                else
                        coverer.GetCovering(*shape->polygon, &cells);
                if (cells.size() > GEO_CELLS_MAX)
                        std::abort(); // S2 promises max_cells, or the 6 faces
                for (S2CellId cell : cells)
                        ret_cells[(*ret_count)++] = cell.id();
                return ST_OK;
        });
}

size_t geo_search(const uint64_t *cells, size_t count, GeoRange ret_ranges[GEO_RANGES_MAX])
{
        size_t found = 0;
        for (size_t i = 0; i < count; i++) {
                S2CellId cell(cells[i]);
                ret_ranges[found++] = GeoRange{cell.range_min().id(), cell.range_max().id()};
                for (int level = 0; level < cell.level(); level++) {
                        uint64_t around = cell.parent(level).id();
                        ret_ranges[found++] = GeoRange{around, around};
                }
        }
        std::sort(ret_ranges, ret_ranges + found, [](const GeoRange &a, const GeoRange &b) { return a.low < b.low; });
        /* The same cell is around several. */
        size_t kept = 0;
        for (size_t i = 0; i < found; i++)
                if (kept == 0 || ret_ranges[i].low > ret_ranges[kept - 1].high)
                        ret_ranges[kept++] = ret_ranges[i];
        return kept;
}

bool geo_cells_meet(uint64_t a, uint64_t b)
{
        return S2CellId(a).intersects(S2CellId(b));
}

} // extern "C"
