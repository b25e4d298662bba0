/* regex_bridge.h - RE2 behind a C face: linear-time regular expressions with a memory limit, never logging.
 * Threads: a Regex may be used by many threads at once. */
#ifndef BRIDGE_REGEX_BRIDGE_H
#define BRIDGE_REGEX_BRIDGE_H

#include "base/bytes.h"

#define REGEX_MAX_BYTES (8 << 20) /* memory of one compiled expression and its automata */

typedef struct Regex Regex;
/* Compiles `pattern` (RE2 syntax, UTF-8). ERR_LOGIC with RE2's own words (e.g. "missing closing ): (") if it is none,
 * ERR_NOMEM. */
MUST_USE Status regex_new(Bytes pattern, Regex **ret_regex);
Regex *regex_free(Regex *regex); /* NULL is fine; returns NULL */
/* Capturing groups, without the whole match. */
int regex_group_count(const Regex *regex);
/* Finds the first match at or after `start`. Group 0 is the whole match; a group that took no part has data NULL. Fills
 * `count` groups, if there is a match; those beyond the expression's have data NULL. ERR_NOMEM. */
MUST_USE Status regex_match(const Regex *regex, Bytes text, size_t start, Bytes *groups, int count, bool *ret_match);

#endif
