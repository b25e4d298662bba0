/* json.h - JSON text to values and back, without an intermediate tree.
 * Parsing is simdjson's (src/bridge); when it refuses a text, json.c finds out why in RapidJSON's words, since drivers
 * show them. Numbers are doubles and survive a round trip bit for bit. */
#ifndef VALUE_JSON_H
#define VALUE_JSON_H

#include "value/value.h"

#define JSON_PADDING 64 /* readable bytes required after the text: simdjson reads whole vectors */

typedef enum JsonPseudo {
        JSON_PLAIN,  /* objects stay objects, whatever they hold: a query before its terms are known */
        JSON_PSEUDO, /* `$reql_type$` objects become TIME, BINARY, GEOMETRY (value_classify) */
} JsonPseudo;

/* Parses the whole of `text` (with JSON_PADDING readable bytes behind it) into boxed values in `arena`; strings without
 * escapes point into `text`, which must live as long. Errors: ERR_INVALID with RapidJSON's message ("Missing a comma or
 * ']' after an array element."), ERR_LIMIT when nested deeper than VALUE_MAX_DEPTH, ERR_EXISTS for a duplicate key (the
 * message is the key alone), ERR_LOGIC or ERR_NON_EXISTENCE from value_classify, ERR_COMPILE for JSON with a string
 * that is not UTF-8 (RethinkDB calls that a bad query, not a bad client: "String `...` (truncated) is not a UTF-8
 * string; ..."), ERR_NOMEM. */
MUST_USE Status json_parse(Bytes text, JsonPseudo pseudo, Arena *arena, Value *ret_value);
/* The same for text of any kind: copies it first to add the padding. */
MUST_USE Status json_parse_copy(Bytes text, JsonPseudo pseudo, Arena *arena, Value *ret_value);

typedef struct JsonStyle {
        bool times_raw; /* always true on the wire: pseudo-types as `$reql_type$` objects */
} JsonStyle;
/* Appends the JSON form: keys in byte order, integral doubles below 2^53 without point, -0.0, shortest round trip for
 * the others; BINARY as base64 with CRLF after each 76 characters. MINVAL and MAXVAL: ERR_LOGIC "Cannot convert
 * `r.minval` to JSON." */
MUST_USE Status json_write(Value v, Buf *out);
/* For messages: cJSON's pretty form, tabs and all (`{\n\t"id":\t1\n}`), as RethinkDB prints datums in errors. */
MUST_USE Status json_write_pretty(Value v, Buf *out);
/* Both as an arena string, a NUL behind it. What has no JSON form gives the text of the error. */
Bytes json_text(Value v, Arena *arena);
Bytes json_pretty_text(Value v, Arena *arena);
/* The pretty form cut to 300 bytes, the last three being "...": how RethinkDB shows a document inside a longer message.
 */
Bytes json_truncated_text(Value v, Arena *arena);
/* Appends one JSON string, quoted and escaped. */
MUST_USE Status json_write_string(Bytes s, Buf *out);
/* The same for text that may quote what a client sent: bytes that are not UTF-8 become U+FFFD, so that the answer is
 * JSON. */
MUST_USE Status json_write_message(Bytes s, Buf *out);
/* A number as JSON prints it, into `out` (at least 32 bytes); returns its length. */
size_t json_number_text(double d, char *out);

#endif
