/* key.h - values as sort keys: memcmp order of two encoded keys is ReQL order of the values.
 *
 * Primary keys hold NUMBER, STRING, BOOL, BINARY, TIME, ARRAY of these. The limits and messages are RethinkDB's,
 * computed on RethinkDB's own key form: a key that it would refuse is refused here with the same words. Format:
 * README.md. */
#ifndef VALUE_KEY_H
#define VALUE_KEY_H

#include "value/value.h"

/* Encodes a primary key. ERR_LOGIC (ERR_NON_EXISTENCE where null is to blame) with RethinkDB's message for types that
 * cannot be keys ("Primary keys must be either a number, string, bool, pseudotype or array (got type NULL):\nnull"),
 * for keys that are too long ("Primary key too long (max 127 characters): ...") and for strings with a NUL in them. */
MUST_USE Status key_encode_primary(Value v, Arena *arena, Bytes *ret_key);
/* Whether a value can be a secondary key: RethinkDB's rule. NUMBER, STRING, BOOL, BINARY, TIME, and ARRAY of these;
 * what an array has behind the bytes that RethinkDB keeps of a key may be anything. */
bool key_is_secondary(Value v);
/* Any value incl. MINVAL and MAXVAL, without limits: bounds, secondary keys, sorting. Always succeeds. */
Bytes key_encode(Value v, Arena *arena);
/* The smallest key greater than every key that starts with `key`; data NULL if there is none. */
Bytes key_after_prefix(Bytes key, Arena *arena);

#endif
