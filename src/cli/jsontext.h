/* jsontext.h - walking over JSON text without parsing it: where a value ends, arrays rewritten for the wire, fields of
 * a response. What these functions accept may still not be JSON: json_parse judges. */
#ifndef CLI_JSONTEXT_H
#define CLI_JSONTEXT_H

#include "base/bytes.h"

/* The end of the value that begins at `from` (no white space before it), `end` if it does not close before. */
const uint8_t *jsontext_skip_value(const uint8_t *from, const uint8_t *end);
const uint8_t *jsontext_skip_space(const uint8_t *from, const uint8_t *end);
/* Calls back for each element of the array text `[...]`; stops at the first error. */
MUST_USE Status jsontext_each_element(Bytes array, Status (*each)(void *ctx, Bytes element), void *ctx);
/* The text of field `key` of the object text `{...}`; data NULL if absent. Keys with escapes are not found. */
Bytes jsontext_field(Bytes object, const char *key);
/* Appends well-formed JSON as a term: an array is the call of a function on the wire, so `[1]` becomes `[2,[1]]`,
 * MAKE_ARRAY. Everything else is copied as it is, numbers to the last digit. */
MUST_USE Status jsontext_append_term(Bytes json, Buf *out);

#endif
