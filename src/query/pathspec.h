/* pathspec.h - which fields pluck, without and has_fields mean: "a", {"a": true}, {"a": {"b": "c"}}, ["a", {"b": "c"}].
 * A spec is the value the user gave, checked once, read again for each row. Threads: immutable. */
#ifndef QUERY_PATHSPEC_H
#define QUERY_PATHSPEC_H

#include "query/query_int.h"

typedef struct PathSpec {
        Value spec;
} PathSpec;
/* Checks: strings, and arrays and objects of specs; `true` as an object's field means the field. "Invalid path argument
 * `1`." at `at`. */
Status pathspec_make(Env *env, const Term *at, Value spec, PathSpec *ret) MUST_USE;
/* The object with only the fields named, or without them. */
Value pathspec_pluck(PathSpec spec, Value object, Arena *arena);
Value pathspec_without(PathSpec spec, Value object, Arena *arena);
/* True if all fields named are there and not null. */
bool pathspec_has(PathSpec spec, Value object);

#endif
