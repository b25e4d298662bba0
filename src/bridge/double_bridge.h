/* double_bridge.h - double-conversion behind a C face: doubles to digits and text to doubles, both exact.
 * Threads: any. */
#ifndef BRIDGE_DOUBLE_BRIDGE_H
#define BRIDGE_DOUBLE_BRIDGE_H

#include <stdbool.h>
#include <stddef.h>

#define DOUBLE_DIGITS_MAX 18 /* room for the digits and a NUL */

/* The fewest decimal digits that read back as |d|, into `digits`: |d| = 0.digits * 10^point. `d` is finite and not 0.
 * Returns how many there are. */
int double_shortest(double d, char digits[DOUBLE_DIGITS_MAX], int *ret_point);
/* Reads all of a JSON number as the nearest double. False if it is no number; infinite if it is too large. */
bool double_parse(const char *text, size_t size, double *ret_number);

#endif
