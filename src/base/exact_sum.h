/* exact_sum.h - the sum of doubles without rounding: whatever the order in which they come, and with what was added
 * taken away again, the result is the double nearest to the true sum.
 *
 * A sum is a fixed-point number: limbs of 32 bits in 64, the lowest bit of all being 2^-1074. Most sums are of numbers
 * of one kind and need few limbs: a window of them lies in the struct. Numbers too far apart for it need all limbs, in
 * memory that the caller gives:
 *
 *      bits     0 ................ 1074 ............... 2098 .. 2240
 *      limbs    | 0 | 1 | ...    [ window: EXACT_SUM_LIMBS ]   | 69 |
 *
 * Threads: one at a time. */
#ifndef BASE_EXACT_SUM_H
#define BASE_EXACT_SUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/macros.h"

#define EXACT_SUM_LIMBS      6
#define EXACT_SUM_WIDE_LIMBS 70
#define EXACT_SUM_WIDE_BYTES (EXACT_SUM_WIDE_LIMBS * sizeof(int64_t))

typedef struct ExactSum { /* zeroed: 0 */
        int64_t limbs[EXACT_SUM_LIMBS];
        int64_t *wide; /* not NULL: all limbs; its memory is the caller's */
        uint32_t adds; /* since carries were moved on */
        int16_t low;   /* the number of limbs[0] */
        bool any;      /* something but 0 was added: `low` has a meaning */
} ExactSum;

/* `number` is finite; -number takes it away. False: the sum needs to be widened first, and is as before. */
bool exact_sum_add(ExactSum *sum, double number) MUST_USE;
/* Adds finite numbers until all are added or it needs to be widened; returns how many it has added. Faster. */
size_t exact_sum_add_many(ExactSum *sum, const double *numbers, size_t count) MUST_USE;
/* Gives it EXACT_SUM_WIDE_BYTES of memory. From then on nothing fails. */
void exact_sum_widen(ExactSum *sum, void *memory);
/* Infinite if it is too large for a double. */
double exact_sum_value(const ExactSum *sum);

/* As bytes, for putting it aside: at most EXACT_SUM_BYTES_MAX; returns how many. */
#define EXACT_SUM_BYTES_MAX (2 + EXACT_SUM_WIDE_LIMBS * sizeof(int64_t))
size_t exact_sum_write(const ExactSum *sum, uint8_t *out);
/* Adds what was written; false as exact_sum_add. */
bool exact_sum_add_written(ExactSum *sum, const uint8_t *bytes, size_t size) MUST_USE;

#endif
