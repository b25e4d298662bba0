/* value_gen.h - random values for tests: seeded, so that a failure can be had again. */
#ifndef VALUE_VALUE_GEN_H
#define VALUE_VALUE_GEN_H

#include <math.h>
#include <stdio.h>

#include "value/value.h"

typedef struct Gen {
        uint64_t state;
        Arena *arena;
        bool json_only; /* no MINVAL and MAXVAL */
} Gen;

static inline uint64_t gen_next(Gen *g)
{
        uint64_t z = g->state += 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        return z ^ z >> 31;
}
static inline uint64_t gen_below(Gen *g, uint64_t n)
{
        return gen_next(g) % n;
}

static inline double gen_double(Gen *g)
{
        double d;
        switch (gen_below(g, 6)) {
        case 0: return (double)(int64_t)gen_below(g, 5) - 2;
        case 1: return (double)(int64_t)gen_below(g, 100000) - 50000;
        case 2: return (double)(int64_t)(gen_next(g) >> gen_below(g, 64));
        case 3: return -0.0;
        case 4: return ((double)gen_below(g, 2000000) - 1000000) / 1000;
        default:
                do {
                        uint64_t bits = gen_next(g);
                        memcpy(&d, &bits, sizeof(d));
                } while (!isfinite(d));
                return d;
        }
}

/* Few letters, so that equal strings and common beginnings are frequent; some with NUL, 1, quotes and non-ASCII. */
static inline Bytes gen_text(Gen *g, size_t max, bool utf8)
{
        static const char *const pieces[] = {"a",
                                             "b",
                                             "ab",
                                             "\"",
                                             "\\",
                                             "\n",
                                             "\x01",
                                             "\x02",
                                             "\x1f",
                                             "z",
                                             "\xc3\xa9",
                                             "\xe2\x80\xa8",
                                             "\xf0\x9f\x98\x80",
                                             "0",
                                             "/",
                                             "\x7f",
                                             "",
                                             "\xff",
                                             "\x80"};
        size_t count = gen_below(g, max + 1), size = 0;
        char *text = arena_alloc(g->arena, count * 4 + 1);
        for (size_t i = 0; i < count; i++) {
                uint64_t pick = gen_below(g, utf8 ? 17 : 19);
                if (pick == 16) {
                        text[size++] = 0;
                        continue;
                }
                memcpy(text + size, pieces[pick], strlen(pieces[pick]));
                size += strlen(pieces[pick]);
        }
        return BYTES(text, size);
}

static inline Value gen_value(Gen *g, unsigned depth)
{
        switch (gen_below(g, depth ? 14 : 10)) {
        case 0: return value_null();
        case 1: return value_bool(gen_below(g, 2));
        case 2: return g->json_only ? value_null() : value_minval();
        case 3: return g->json_only ? value_bool(true) : value_maxval();
        case 4: return value_binary(gen_text(g, gen_below(g, 20) ? 5 : 300, false));
        case 5: {
                char zone[8];
                snprintf(zone, sizeof(zone), "%c%02d:%02d", "+-"[gen_below(g, 2)], (int)gen_below(g, 14) + 1,
                         (int)gen_below(g, 60));
                return value_time(g->arena, (double)(int64_t)gen_below(g, 20) - 10, BYTES(zone, 6));
        }
        case 6:
        case 7: return value_string(gen_text(g, gen_below(g, 20) ? 6 : 400, true));
        case 8:
        case 9: return value_number(gen_double(g));
        case 10:
        case 11: {
                ArrayBuilder array;
                size_t count = gen_below(g, gen_below(g, 30) ? 5 : 60);
                array_init(&array, g->arena, 0);
                for (size_t i = 0; i < count; i++)
                        array_add(&array, gen_value(g, depth - 1));
                return array_take(&array);
        }
        default: {
                ObjectBuilder object;
                size_t count = gen_below(g, gen_below(g, 30) ? 5 : 60);
                object_init(&object, g->arena, 0);
                for (size_t i = 0; i < count; i++)
                        object_add(&object, gen_text(g, 3, true), gen_value(g, depth - 1));
                Value made = object_take(&object);
                if (gen_below(g, 8) == 0)
                        made.type = V_GEOMETRY; /* in all but its coordinates */
                return made;
        }
        }
}

#endif
