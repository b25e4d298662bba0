/* print.h - a tree as RethinkDB shows it to people: JavaScript on one line, "function(var1) { return var1(\"a\"); }".
 */
#ifndef REQL_PRINT_H
#define REQL_PRINT_H

#include "base/bytes.h"
#include "reql/term.h"

/* Appends a FUNC term (any other, too). Captured variables print as variables. */
MUST_USE Status print_javascript(const Term *term, Buf *out);
/* A variable's name there: var1; _var1 for -1, which drivers do not give. */
MUST_USE Status print_variable(uint32_t id, Buf *out);

#endif
