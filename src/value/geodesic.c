/* geodesic.c - the inverse geodesic problem after C. F. F. Karney, "Algorithms for geodesics", J. Geodesy 87 (2013),
 * 43-55; equation numbers are the paper's, series are of order 6.
 *
 * Why not the library that geo_destination() uses: clients see distances as text, and RethinkDB computes them with the
 * first version of that library. Later ones round less, so their last digits differ. The order of operations here is
 * the first version's wherever it shows; geodesic_test.c holds the two against each other.
 *
 * Names: phi latitude, beta reduced latitude, alpha azimuth, sigma arc length and omega longitude on the auxiliary
 * sphere, lambda longitude; 1 and 2 the ends. An angle is mostly known by its sine and cosine. */
#include <float.h>
#include <math.h>
#include <stdbool.h>

#include "value/geodesic.h"

#define DEGREE     (M_PI / 180)
#define ORDER      6
#define NEWTON_MAX 20                      /* steps by derivative, then */
#define STEPS_MAX  83                      /* by halving */
#define TINY       1.4916681462400413e-154 /* sqrt(DBL_MIN): what keeps a pole's cosine from being zero */
#define ULP        DBL_EPSILON
#define SQRT_ULP   1.4901161193847656e-08

typedef struct Angle {
        double sin, cos;
} Angle;

typedef struct Ellipsoid {
        double a, b, f, f1; /* f1 = 1 - f */
        double n, ep2;      /* third flattening, second eccentricity squared */
        double short_limit; /* a spherical arc below which the spherical solution is exact */
        double a3[ORDER], c3[ORDER * (ORDER - 1) / 2];
} Ellipsoid;

typedef struct Ends {
        Angle beta1, beta2; /* |beta1| >= |beta2|, beta1 <= 0 */
        double dn1, dn2;    /* sqrt(1 + ep2 sin^2 beta) */
        double lambda12;
} Ends;

typedef struct Arc { /* on the auxiliary sphere */
        Angle sigma1, sigma2;
        double sigma12, epsilon;
} Arc;

static double sq(double x)
{
        return x * x;
}

static double hypotenuse(double x, double y)
{
        return sqrt(x * x + y * y);
}

static Angle unit(Angle angle)
{
        double r = hypotenuse(angle.sin, angle.cos);
        return (Angle){angle.sin / r, angle.cos / r};
}

/* --- series --- */

static double a1_minus_1(double e) /* (17) */
{
        double e2 = sq(e), t = e2 * (e2 * (e2 + 4) + 64) / 256;
        return (t + e) / (1 - e);
}

static double a2_minus_1(double e) /* (42) */
{
        double e2 = sq(e), t = e2 * (e2 * (25 * e2 + 36) + 64) / 256;
        return t * (1 - e) - e;
}

static void c1_fill(double e, double c[ORDER + 1]) /* (18) */
{
        double e2 = sq(e), power[ORDER + 1] = {1};
        for (int i = 1; i <= ORDER; i++)
                power[i] = i == 1 ? e : power[i - 1] * e;
        c[1] = power[1] * ((6 - e2) * e2 - 16) / 32;
        c[2] = power[2] * ((64 - 9 * e2) * e2 - 128) / 2048;
        c[3] = power[3] * (9 * e2 - 16) / 768;
        c[4] = power[4] * (3 * e2 - 5) / 512;
        c[5] = -7 * power[5] / 1280;
        c[6] = -7 * power[6] / 2048;
}

static void c2_fill(double e, double c[ORDER + 1]) /* (43) */
{
        double e2 = sq(e), power[ORDER + 1] = {1};
        for (int i = 1; i <= ORDER; i++)
                power[i] = i == 1 ? e : power[i - 1] * e;
        c[1] = power[1] * (e2 * (e2 + 2) + 16) / 32;
        c[2] = power[2] * (e2 * (35 * e2 + 64) + 384) / 2048;
        c[3] = power[3] * (15 * e2 + 80) / 768;
        c[4] = power[4] * (7 * e2 + 35) / 512;
        c[5] = 63 * power[5] / 1280;
        c[6] = 77 * power[6] / 2048;
}

static double a3_of(const Ellipsoid *g, double e) /* (24) */
{
        double sum = 0;
        for (int i = ORDER - 1; i >= 0; i--)
                sum = e * sum + g->a3[i];
        return sum;
}

static void c3_fill(const Ellipsoid *g, double e, double c[ORDER]) /* (25) */
{
        int row = ORDER * (ORDER - 1) / 2;
        double power = 1;
        for (int k = ORDER - 1; k > 0; k--) {
                double sum = 0;
                for (int i = 0; i < ORDER - k; i++)
                        sum = e * sum + g->c3[--row];
                c[k] = sum;
        }
        for (int k = 1; k < ORDER; k++) {
                power *= e;
                c[k] *= power;
        }
}

/* The sum of c[k] sin(2 k x), by Clenshaw's recurrence. */
static double sine_sum(Angle x, const double *c, int order)
{
        double factor = 2 * (x.cos - x.sin) * (x.cos + x.sin), last = 0, before = 0;
        for (int k = order; k > 0; k--) {
                double next = factor * last - before + c[k];
                before = last;
                last = next;
        }
        return 2 * x.sin * x.cos * last;
}

static void ellipsoid_init(Ellipsoid *g, GeoEllipsoid from)
{
        double f = from.flattening, n = f / (2 - f), e2 = f * (2 - f);
        g->a = from.equator_m;
        g->f = f;
        g->f1 = 1 - f;
        g->b = g->a * g->f1;
        g->n = n;
        g->ep2 = e2 / sq(g->f1);
        g->short_limit = 0.1 * SQRT_ULP / sqrt(fmax(0.001, f) * fmin(1, 1 - f / 2) / 2);
        const double a3[] = {
                1, (n - 1) / 2, (n * (3 * n - 1) - 2) / 8, ((-n - 3) * n - 1) / 16, (-2 * n - 3) / 64, -3 / 128.0};
        const double c3[] = {(1 - n) / 4,
                             (1 - n * n) / 8,
                             ((3 - n) * n + 3) / 64,
                             (2 * n + 5) / 128,
                             3 / 128.0,
                             ((n - 3) * n + 2) / 32,
                             ((-3 * n - 2) * n + 3) / 64,
                             (n + 3) / 128,
                             5 / 256.0,
                             (n * (5 * n - 9) + 5) / 192,
                             (9 - 10 * n) / 384,
                             7 / 512.0,
                             (7 - 14 * n) / 512,
                             7 / 512.0,
                             21 / 2560.0};
        for (int i = 0; i < ORDER; i++)
                g->a3[i] = a3[i];
        for (int i = 0; i < ORDER * (ORDER - 1) / 2; i++)
                g->c3[i] = c3[i];
}

/* --- degrees --- */

/* Rounds off what is less than 1/16 to the grid of 1/16, so that nothing underflows later. */
static double coarse(double x)
{
        const double grid = 1 / 16.0;
        volatile double y = fabs(x), rest;
        if (y < grid) {
                rest = grid - y;
                y = grid - rest;
        }
        return x < 0 ? -y : y;
}

/* y - x in (-180, 180], for longitudes within -180 .. 180; exact but for one rounding. */
static double longitude_difference(double x, double y)
{
        x = x >= 180 ? x - 360 : x;
        y = y >= 180 ? y - 360 : y;
        volatile double sum = -x + y, left = sum - y, right = sum - left;
        left -= -x;
        right -= y;
        double error = -(left + right), d = sum;
        if ((d - 180) + error > 0)
                d -= 360;
        else if ((d + 180) + error <= 0)
                d += 360;
        return d + error;
}

static Angle reduced_latitude(const Ellipsoid *g, double degrees)
{
        double phi = degrees * DEGREE;
        return unit((Angle){g->f1 * sin(phi), fabs(degrees) == 90 ? TINY : cos(phi)});
}

/* --- lengths --- */

/* Distance and reduced length over b: (7), (38). */
static double length(const Arc *arc, double dn1, double dn2, double *ret_reduced)
{
        double c1[ORDER + 1], c2[ORDER + 1];
        c1_fill(arc->epsilon, c1);
        c2_fill(arc->epsilon, c2);
        double a1 = a1_minus_1(arc->epsilon), a2 = a2_minus_1(arc->epsilon);
        double ab1 = (1 + a1) * (sine_sum(arc->sigma2, c1, ORDER) - sine_sum(arc->sigma1, c1, ORDER));
        double ab2 = (1 + a2) * (sine_sum(arc->sigma2, c2, ORDER) - sine_sum(arc->sigma1, c2, ORDER));
        double j12 = (a1 - a2) * arc->sigma12 + (ab1 - ab2);
        Angle s1 = arc->sigma1, s2 = arc->sigma2;
        *ret_reduced = dn2 * (s1.cos * s2.sin) - dn1 * (s1.sin * s2.cos) - s1.cos * s2.cos * j12;
        return (1 + a1) * arc->sigma12 + ab1;
}

static double arc_between(Angle from, Angle to)
{
        return atan2(fmax(from.cos * to.sin - from.sin * to.cos, 0), from.cos * to.cos + from.sin * to.sin);
}

/* --- the direction to start in --- */

/* The positive root k of k^4 + 2 k^3 - (x^2 + y^2 - 1) k^2 - 2 y^2 k - y^2 = 0 (55): almost opposite points. */
static double astroid(double x, double y)
{
        double p = sq(x), q = sq(y), r = (p + q - 1) / 6;
        if (q == 0 && r <= 0)
                return 0;
        double s = p * q / 4, r2 = sq(r), r3 = r * r2, discriminant = s * (s + 2 * r3), u = r;
        if (discriminant >= 0) {
                double t3 = s + r3;
                t3 += t3 < 0 ? -sqrt(discriminant) : sqrt(discriminant);
                double t = pow(fabs(t3), 1 / 3.0);
                t = t3 < 0 ? -t : t;
                u += t + (t != 0 ? r2 / t : 0);
        } else {
                double angle = atan2(sqrt(-discriminant), -(s + r3));
                u += 2 * r * cos(angle / 3);
        }
        double v = sqrt(sq(u) + q), uv = u < 0 ? q / (v - u) : u + v, w = (uv - q) / (2 * v);
        return uv / (sqrt(uv + sq(w)) + w);
}

/* An estimate of alpha1. For very short ways *ret_sigma12 is the answer itself, otherwise negative. */
static Angle first_guess(const Ellipsoid *g, const Ends *ends, double *ret_sigma12, double *ret_dnm)
{
        Angle b1 = ends->beta1, b2 = ends->beta2, alpha, omega;
        double difference = b2.sin * b1.cos - b2.cos * b1.sin, cos_difference = b2.cos * b1.cos + b2.sin * b1.sin;
        double sum = b2.sin * b1.cos + b2.cos * b1.sin, omega12 = ends->lambda12;
        bool near = cos_difference >= 0 && difference < 0.5 && b2.cos * ends->lambda12 < 0.5;
        *ret_sigma12 = -1;
        if (near) {
                double middle = sq(b1.sin + b2.sin);
                middle /= middle + sq(b1.cos + b2.cos);
                *ret_dnm = sqrt(1 + g->ep2 * middle);
                omega12 /= g->f1 * *ret_dnm;
        }
        omega = (Angle){sin(omega12), cos(omega12)};
        alpha.sin = b2.cos * omega.sin;
        alpha.cos = omega.cos >= 0 ? difference + b2.cos * b1.sin * sq(omega.sin) / (1 + omega.cos)
                                   : sum - b2.cos * b1.sin * sq(omega.sin) / (1 - omega.cos);
        double sin_sigma = hypotenuse(alpha.sin, alpha.cos), cos_sigma = b1.sin * b2.sin + b1.cos * b2.cos * omega.cos;
        if (near && sin_sigma < g->short_limit) {
                *ret_sigma12 = atan2(sin_sigma, cos_sigma);
        } else if (g->n <= 0.1 && cos_sigma < 0 && sin_sigma < 6 * g->n * M_PI * sq(b1.cos)) {
                double k2 = sq(b1.sin) * g->ep2, e = k2 / (2 * (1 + sqrt(1 + k2)) + k2);
                double scale = g->f * b1.cos * a3_of(g, e) * M_PI;
                volatile double x = (ends->lambda12 - M_PI) / scale;
                double y = sum / (scale * b1.cos);
                if (y > -200 * ULP && x > -1 - 1000 * SQRT_ULP) {
                        alpha.sin = fmin(1, -x);
                        alpha.cos = -sqrt(1 - sq(alpha.sin));
                } else {
                        double k = astroid(x, y), from_opposite = scale * (-x * k / (1 + k));
                        omega = (Angle){sin(from_opposite), -cos(from_opposite)};
                        alpha.sin = b2.cos * omega.sin;
                        alpha.cos = sum - b2.cos * b1.sin * sq(omega.sin) / (1 - omega.cos);
                }
        }
        return alpha.sin > 0 ? unit(alpha) : (Angle){1, 0};
}

/* --- where one arrives --- */

/* The longitude at which the geodesic that leaves point 1 at alpha1 comes to latitude 2, and its derivative by alpha1.
 */
static double longitude_reached(const Ellipsoid *g, const Ends *ends, Angle alpha1, bool derive, Arc *ret_arc,
                                double *ret_derivative)
{
        Angle b1 = ends->beta1, b2 = ends->beta2, alpha2, omega1, omega2;
        if (b1.sin == 0 && alpha1.cos == 0)
                alpha1.cos = -TINY;
        Angle alpha0 = {alpha1.sin * b1.cos, hypotenuse(alpha1.cos, alpha1.sin * b1.sin)}; /* (5) */
        bool same = b2.cos == b1.cos;
        omega1 = (Angle){alpha0.sin * b1.sin, alpha1.cos * b1.cos};
        ret_arc->sigma1 = unit((Angle){b1.sin, omega1.cos});
        alpha2.sin = same ? alpha1.sin : alpha0.sin / b2.cos;
        alpha2.cos =
                same && fabs(b2.sin) == -b1.sin
                        ? fabs(alpha1.cos)
                        : sqrt(sq(alpha1.cos * b1.cos) + (b1.cos < -b1.sin ? (b2.cos - b1.cos) * (b1.cos + b2.cos)
                                                                           : (b1.sin - b2.sin) * (b1.sin + b2.sin))) /
                                  b2.cos; /* (45) */
        omega2 = (Angle){alpha0.sin * b2.sin, alpha2.cos * b2.cos};
        ret_arc->sigma2 = unit((Angle){b2.sin, omega2.cos});
        ret_arc->sigma12 = arc_between(ret_arc->sigma1, ret_arc->sigma2);
        double omega12 = arc_between(omega1, omega2), c3[ORDER];
        double k2 = sq(alpha0.cos) * g->ep2;
        ret_arc->epsilon = k2 / (2 * (1 + sqrt(1 + k2)) + k2);
        c3_fill(g, ret_arc->epsilon, c3);
        double b312 = sine_sum(ret_arc->sigma2, c3, ORDER - 1) - sine_sum(ret_arc->sigma1, c3, ORDER - 1);
        double h0 = -g->f * a3_of(g, ret_arc->epsilon);
        if (derive && alpha2.cos == 0) {
                *ret_derivative = -2 * g->f1 * ends->dn1 / b1.sin;
        } else if (derive) {
                (void)length(ret_arc, ends->dn1, ends->dn2, ret_derivative);
                *ret_derivative *= g->f1 / (alpha2.cos * b2.cos); /* (46) */
        }
        return omega12 + alpha0.sin * h0 * (ret_arc->sigma12 + b312); /* (8) */
}

/* Newton's method for alpha1, kept within a bracket that is halved where Newton would leave it. */
static Arc solve(const Ellipsoid *g, const Ends *ends, Angle alpha)
{
        Arc arc;
        Angle low = {TINY, 1}, high = {TINY, -1};
        bool close = false, halved_out = false;
        for (int step = 0; step < STEPS_MAX; step++) {
                double slope = 0;
                bool newton = step < NEWTON_MAX;
                double miss = longitude_reached(g, ends, alpha, newton, &arc, &slope) - ends->lambda12;
                if (halved_out || !(fabs(miss) >= (close ? 8 : 2) * ULP))
                        break;
                if (miss > 0 && (step > NEWTON_MAX || alpha.cos / alpha.sin > high.cos / high.sin))
                        high = alpha;
                else if (miss < 0 && (step > NEWTON_MAX || alpha.cos / alpha.sin < low.cos / low.sin))
                        low = alpha;
                if (newton && slope > 0) {
                        double turn = -miss / slope, s = sin(turn), c = cos(turn);
                        double turned = alpha.sin * c + alpha.cos * s;
                        if (turned > 0 && fabs(turn) < M_PI) {
                                alpha = unit((Angle){turned, alpha.cos * c - alpha.sin * s});
                                close = fabs(miss) <= 16 * ULP;
                                continue;
                        }
                }
                alpha = unit((Angle){(low.sin + high.sin) / 2, (low.cos + high.cos) / 2});
                close = false;
                halved_out = fabs(low.sin - alpha.sin) + (low.cos - alpha.cos) < ULP * SQRT_ULP ||
                             fabs(alpha.sin - high.sin) + (alpha.cos - high.cos) < ULP * SQRT_ULP;
        }
        return arc;
}

double geodesic_distance(GeoPoint from, GeoPoint to, GeoEllipsoid ellipsoid)
{
        Ellipsoid g;
        Ends ends;
        ellipsoid_init(&g, ellipsoid);
        double lambda = fabs(coarse(longitude_difference(from.lon, to.lon)));
        double phi1 = coarse(from.lat), phi2 = coarse(to.lat), reduced;
        if (fabs(phi1) < fabs(phi2)) {
                double swap = phi1;
                phi1 = phi2;
                phi2 = swap;
        }
        if (!(phi1 < 0)) {
                phi1 = -phi1;
                phi2 = -phi2;
        }
        ends.beta1 = reduced_latitude(&g, phi1);
        ends.beta2 = reduced_latitude(&g, phi2);
        /* Equal or opposite latitudes are to be so to the last bit. */
        if (ends.beta1.cos < -ends.beta1.sin) {
                if (ends.beta2.cos == ends.beta1.cos)
                        ends.beta2.sin = ends.beta2.sin < 0 ? ends.beta1.sin : -ends.beta1.sin;
        } else if (fabs(ends.beta2.sin) == -ends.beta1.sin) {
                ends.beta2.cos = ends.beta1.cos;
        }
        ends.dn1 = sqrt(1 + g.ep2 * sq(ends.beta1.sin));
        ends.dn2 = sqrt(1 + g.ep2 * sq(ends.beta2.sin));
        ends.lambda12 = lambda * DEGREE;
        Angle lambda12 = {lambda == 180 ? 0 : sin(ends.lambda12), cos(ends.lambda12)};
        if (phi1 == -90 || lambda12.sin == 0) { /* along a meridian */
                Arc arc = {ends.beta1, ends.beta2, 0, g.n};
                arc.sigma1.cos = lambda12.cos * ends.beta1.cos;
                arc.sigma12 = arc_between(arc.sigma1, arc.sigma2);
                double distance = length(&arc, ends.dn1, ends.dn2, &reduced);
                if (arc.sigma12 < 1 || reduced >= 0)
                        return distance * g.b;
        }
        if (ends.beta1.sin == 0 && (g.f <= 0 || ends.lambda12 <= M_PI - g.f * M_PI)) /* along the equator */
                return g.a * ends.lambda12;
        double sigma12, dnm = 1;
        Angle alpha = first_guess(&g, &ends, &sigma12, &dnm);
        if (sigma12 >= 0)
                return sigma12 * g.b * dnm;
        Arc arc = solve(&g, &ends, alpha);
        return length(&arc, ends.dn1, ends.dn2, &reduced) * g.b;
}
