/* distinct_spill.h - the different values of a sequence in order, in memory or with sorted runs on disk. */
#ifndef QUERY_DISTINCT_SPILL_H
#define QUERY_DISTINCT_SPILL_H

#include "query/env_int.h"

/* Reads all of `source`. An array, or a stream if an array may not hold so many, or memory not so much. */
Status distinct_values(Env *env, const Term *term, Stream *source, Val *ret) MUST_USE;

#endif
