/* histogram.h - how long things take: counts by powers of two. Bucket i holds values v with 2^(i-1) <= v < 2^i; bucket
 * 0 holds 0. Adding is for one thread at a time (under the caller's lock); a copy is a plain struct. */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS 48

typedef struct Histogram {
        uint64_t count, sum, max;
        uint64_t buckets[HISTOGRAM_BUCKETS];
} Histogram;

static inline void histogram_add(Histogram *histogram, uint64_t value)
{
        unsigned bucket = value ? 64 - (unsigned)__builtin_clzll(value) : 0;
        histogram->buckets[bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1]++;
        histogram->count++;
        histogram->sum += value;
        if (value > histogram->max)
                histogram->max = value;
}

/* An upper bound of the value below which `share` (0 .. 1) of all lie: at most twice the true one. */
static inline uint64_t histogram_quantile(const Histogram *histogram, double share)
{
        uint64_t seen = 0;
        for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
                seen += histogram->buckets[i];
                if (seen && (double)seen >= share * (double)histogram->count) {
                        uint64_t bound = i ? ((uint64_t)1 << i) - 1 : 0;
                        return bound < histogram->max ? bound : histogram->max;
                }
        }
        return histogram->max;
}

#endif
