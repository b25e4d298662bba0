/* double_bridge.h - RapidJSON and double-conversion behind a C face: doubles to the digits that RethinkDB prints, and
 * text to the nearest double.
 * Threads: any. */
#ifndef BRIDGE_DOUBLE_BRIDGE_H
#define BRIDGE_DOUBLE_BRIDGE_H

#include <stdbool.h>
#include <stddef.h>

#define DOUBLE_DIGITS_MAX 20 /* 17 are the most; the library may write a few more before it rounds */

/* Decimal digits that read back as |d|, into `digits` (no NUL behind them): |d| = 0.digits * 10^point. `d` is finite
 * and not 0. Returns how many there are: nearly always the fewest possible, and nearly always those closest to d among
 * as many, but what counts is that they are Grisu2's as RapidJSON has it, which are the ones RethinkDB prints. */
int double_digits(double d, char digits[DOUBLE_DIGITS_MAX], int *ret_point);
/* Reads all of a JSON number as the nearest double. False if it is no number; infinite if it is too large. */
bool double_parse(const char *text, size_t size, double *ret_number);

#endif
