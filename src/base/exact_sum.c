#include "base/exact_sum.h"

#include <assert.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "base/bytes.h"

#define LIMB_BITS 32
#define LIMB_MASK 0xffffffff
#define MAX_ADDS  (1u << 30) /* each adds less than 2^32 to a limb: no limb passes 2^63 before carries are moved on */
#define TOP_MAX   ((int64_t)1 << 62)

static int64_t *limbs_of(ExactSum *sum, size_t *ret_count)
{
        *ret_count = sum->wide ? EXACT_SUM_WIDE_LIMBS : EXACT_SUM_LIMBS;
        return sum->wide ? sum->wide : sum->limbs;
}

/* All limbs but the highest become 0 .. 2^32 - 1; the highest has the sign. */
static void carry(int64_t *limbs, size_t count)
{
        for (size_t i = 0; i + 1 < count; i++) {
                int64_t low = limbs[i] & LIMB_MASK;
                limbs[i + 1] += (limbs[i] - low) / ((int64_t)1 << LIMB_BITS);
                limbs[i] = low;
        }
}

static void negate(int64_t *limbs, size_t count)
{
        for (size_t i = 0; i < count; i++)
                limbs[i] = -limbs[i];
}

/* The same with all limbs of one sign: no more of them than the number needs are not 0. */
static void carry_tight(int64_t *limbs, size_t count)
{
        carry(limbs, count);
        if (limbs[count - 1] >= 0)
                return;
        negate(limbs, count);
        carry(limbs, count);
        negate(limbs, count);
}

/* Where the window of an empty sum begins: one limb below what comes first, if there is room. */
static bool place_window(ExactSum *sum, int from, int to)
{
        sum->low = (int16_t)MAX(0, MAX(from - 1, to - (EXACT_SUM_LIMBS - 1)));
        return to - from < EXACT_SUM_LIMBS;
}

/* Moves the window so that limbs from .. to are in it; false: what it holds and they do not fit into one. */
static bool move_window(ExactSum *sum, int from, int to)
{
        int first = EXACT_SUM_LIMBS, last = -1;
        carry_tight(sum->limbs, EXACT_SUM_LIMBS);
        sum->adds = 0;
        for (int i = 0; i < EXACT_SUM_LIMBS; i++) {
                if (!sum->limbs[i])
                        continue;
                first = MIN(first, i);
                last = i;
        }
        if (last < 0)
                return place_window(sum, from, to);
        int low = MIN(sum->low + first, from), high = MAX(sum->low + last, to);
        /* The highest limb may hold more than 32 bits, of which none would be moved on. */
        if (high - low >= EXACT_SUM_LIMBS)
                return false;
        low = MAX(0, MIN(low, high - (EXACT_SUM_LIMBS - 2)));
        int64_t moved[EXACT_SUM_LIMBS] = {0};
        for (int i = first; i <= last; i++)
                moved[sum->low + i - low] = sum->limbs[i];
        memcpy(sum->limbs, moved, sizeof moved);
        sum->low = (int16_t)low;
        return true;
}

/* Makes room for limbs from .. to, and for one more addition to each. */
static bool make_room(ExactSum *sum, int from, int to)
{
        size_t count;
        int64_t *limbs = limbs_of(sum, &count);
        if (unlikely(sum->adds >= MAX_ADDS)) {
                carry(limbs, count);
                sum->adds = 0;
                if (!sum->wide && (limbs[count - 1] >= TOP_MAX || limbs[count - 1] <= -TOP_MAX))
                        return false;
        }
        if (sum->wide)
                return true;
        if (sum->any && from >= sum->low && to < sum->low + EXACT_SUM_LIMBS)
                return true;
        if (!sum->any) {
                sum->any = true;
                return place_window(sum, from, to);
        }
        return move_window(sum, from, to);
}

typedef struct Parts { /* of a double: mantissa * 2^(position - 1074) */
        uint64_t mantissa;
        int position;
        bool negative;
} Parts;

static inline Parts parts_of(double number)
{
        uint64_t bits;
        memcpy(&bits, &number, sizeof bits);
        int exponent = (int)(bits >> 52 & 0x7ff);
        assert(exponent != 0x7ff);
        return (Parts){.mantissa = (bits & (((uint64_t)1 << 52) - 1)) | (uint64_t)(exponent != 0) << 52,
                       .position = exponent - (exponent != 0),
                       .negative = bits >> 63};
}

/* value * 2^(position - 1074); value < 2^97 */
static inline bool add_at(ExactSum *sum, unsigned __int128 value, int position, bool negative, int limb_count)
{
        int from = position / LIMB_BITS;
        if (!make_room(sum, from, from + limb_count - 1))
                return false;
        int64_t *limbs = sum->wide ? sum->wide + from : sum->limbs + (from - sum->low);
        value <<= position % LIMB_BITS;
        for (int i = 0; i < limb_count; i++, value >>= LIMB_BITS) {
                int64_t part = (int64_t)(uint64_t)(value & LIMB_MASK);
                limbs[i] += negative ? -part : part;
        }
        sum->adds++;
        return true;
}

bool exact_sum_add(ExactSum *sum, double number)
{
        Parts parts = parts_of(number);
        return !parts.mantissa || add_at(sum, parts.mantissa, parts.position, parts.negative, 3);
}

#define RUN_MAX    1024 /* 2^10 */
#define RUN_SPREAD 32   /* 2^32 between the lowest bits: 53 + 10 + 32 bits are less than 97 */

/* Numbers of about the same size: added up in one 128-bit number first. */
static bool add_run(ExactSum *sum, const double *numbers, size_t count)
{
        int lowest = INT_MAX, highest = 0;
        __int128 total = 0;
        for (size_t i = 0; i < count; i++) {
                Parts parts = parts_of(numbers[i]);
                int position = parts.mantissa ? parts.position : lowest;
                lowest = MIN(lowest, position);
                highest = MAX(highest, parts.mantissa ? position : 0);
        }
        if (lowest == INT_MAX) /* nothing but zeros */
                return true;
        if (highest - lowest > RUN_SPREAD)
                return false;
        for (size_t i = 0; i < count; i++) {
                Parts parts = parts_of(numbers[i]);
                __int128 value = (__int128)parts.mantissa << (parts.mantissa ? parts.position - lowest : 0);
                total += parts.negative ? -value : value;
        }
        return add_at(sum, (unsigned __int128)(total < 0 ? -total : total), lowest, total < 0, 4);
}

size_t exact_sum_add_many(ExactSum *sum, const double *numbers, size_t count)
{
        for (size_t at = 0; at < count;) {
                size_t run = MIN(count - at, (size_t)RUN_MAX), i = 0;
                if (add_run(sum, numbers + at, run))
                        i = run;
                for (; i < run; i++)
                        if (!exact_sum_add(sum, numbers[at + i]))
                                return at + i;
                at += run;
        }
        return count;
}

void exact_sum_widen(ExactSum *sum, void *memory)
{
        assert(!sum->wide);
        int64_t *wide = memory;
        memset(wide, 0, EXACT_SUM_WIDE_BYTES);
        if (sum->any)
                memcpy(wide + sum->low, sum->limbs, sizeof sum->limbs);
        sum->wide = wide;
        carry(wide, EXACT_SUM_WIDE_LIMBS);
        sum->adds = 0;
}

double exact_sum_value(const ExactSum *sum)
{
        /* Two more: the highest limb of a window may hold more than its 32 bits. */
        int64_t limbs[EXACT_SUM_WIDE_LIMBS + 2] = {0};
        size_t count = sum->wide ? EXACT_SUM_WIDE_LIMBS : EXACT_SUM_LIMBS;
        memcpy(limbs, sum->wide ? sum->wide : sum->limbs, count * sizeof *limbs);
        count += 2;
        carry(limbs, count);
        bool negative = limbs[count - 1] < 0;
        if (negative) {
                negate(limbs, count);
                carry(limbs, count);
        }
        size_t top = count - 1;
        while (top > 0 && !limbs[top])
                top--;
        if (!limbs[top])
                return 0;
        /* The highest 64 bits, the lowest of them set if any below is: enough to be rounded once, correctly. What is
         * below the smallest normal number has no more than 53 bits, and is not rounded at all. */
        unsigned __int128 high = 0;
        for (size_t i = 0; i < 3; i++)
                high = high << LIMB_BITS | (top >= i ? (uint64_t)limbs[top - i] : 0);
        bool sticky = false;
        for (size_t i = 0; i + 3 <= top; i++)
                sticky |= limbs[i] != 0;
        int shift = LIMB_BITS - (__builtin_clzll((uint64_t)limbs[top]) - LIMB_BITS);
        uint64_t mantissa = (uint64_t)(high >> shift);
        sticky |= (high & (((unsigned __int128)1 << shift) - 1)) != 0;
        mantissa |= sticky;
        int exponent = ((int)top - 2 + (sum->wide ? 0 : sum->low)) * LIMB_BITS + shift - 1074;
        double value = ldexp((double)mantissa, exponent);
        return negative ? -value : value;
}

/*   0     2
 *   | low | limbs ...      little-endian; carried */
size_t exact_sum_write(const ExactSum *sum, uint8_t *out)
{
        ExactSum copy = *sum;
        int64_t wide[EXACT_SUM_WIDE_LIMBS];
        if (sum->wide) {
                memcpy(wide, sum->wide, sizeof wide);
                copy.wide = wide;
        }
        size_t count, first = 0;
        int64_t *limbs = limbs_of(&copy, &count);
        carry_tight(limbs, count);
        while (first < count && !limbs[first])
                first++;
        while (count > first && !limbs[count - 1])
                count--;
        store_u16(out, (uint16_t)(first + (sum->wide ? 0 : (size_t)sum->low)));
        for (size_t i = first; i < count; i++)
                store_u64(out + 2 + 8 * (i - first), (uint64_t)limbs[i]);
        return 2 + 8 * (count - first);
}

bool exact_sum_add_written(ExactSum *sum, const uint8_t *bytes, size_t size)
{
        int low = load_u16(bytes), count = (int)((size - 2) / 8);
        if (count == 0)
                return true;
        /* Its highest limb may be large: as many additions as that is at most, and room for them is made as for any. */
        if (!sum->wide) {
                if (sum->adds)
                        carry(sum->limbs, EXACT_SUM_LIMBS);
                int64_t top = sum->limbs[EXACT_SUM_LIMBS - 1];
                if (top > TOP_MAX / 2 || top < -TOP_MAX / 2)
                        return false;
        } else {
                carry(sum->wide, EXACT_SUM_WIDE_LIMBS);
        }
        sum->adds = 0;
        if (!make_room(sum, low, low + count - 1))
                return false;
        for (int i = 0; i < count; i++) {
                int64_t limb = (int64_t)load_u64(bytes + 2 + 8 * i);
                if (sum->wide)
                        sum->wide[low + i] += limb;
                else
                        sum->limbs[low + i - sum->low] += limb;
        }
        size_t all;
        int64_t *limbs = limbs_of(sum, &all);
        carry(limbs, all);
        return true;
}
