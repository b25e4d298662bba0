/* key_lookup.h - the rows of many primary keys, read in the order in which they lie in the tree: neighbours share the
 * nodes above them, and a leaf on disk is read once. */
#ifndef QUERY_KEY_LOOKUP_H
#define QUERY_KEY_LOOKUP_H

#include "query/query_int.h"

/* ret_rows[i]: the row of keys[i], V_NULL if there is none or the key is V_NONE; V_NONE: it was not looked for, because
 * the key cannot be one or so much was read already that the rows behind are better read one by one. Everything is in
 * `hold`.
 */
Status key_lookup(Env *env, TableView *view, const Value *keys, size_t count, Arena *hold, Value *ret_rows) MUST_USE;

#endif
