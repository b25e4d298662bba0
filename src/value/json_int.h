/* json_int.h - for json.c and its tests: why a text is no JSON. */
#ifndef VALUE_JSON_INT_H
#define VALUE_JSON_INT_H

#include "value/value.h"

typedef enum JsonVerdict {
        JSON_FINE,
        JSON_BROKEN, /* the message is RapidJSON's */
        JSON_DEEP,
} JsonVerdict;
/* Walks all of `text` by RapidJSON's rules and gives its first complaint. Linear, without recursion. */
JsonVerdict json_explain(Bytes text, const char **ret_message);
/* The first string in a text that is JSON otherwise, which is not UTF-8: ERR_COMPILE with RethinkDB's message. */
MUST_USE Status json_explain_utf8(Bytes text);

#endif
