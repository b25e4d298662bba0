/* text_parse.h - text ReQL: the JavaScript driver's notation, as people type it, to the wire form.
 *      r.db("x").table("t").filter(row => row("a") > 5).orderBy(r.desc("b")).limit(3)
 * docs/text-reql.md describes the notation. wire.c builds and checks the tree from the wire form made here, and so text
 * and drivers' queries are the same from there on; where a term stands in the text is found again by its path.
 * Threads: any; what is made is immutable. */
#ifndef REQL_TEXT_PARSE_H
#define REQL_TEXT_PARSE_H

#include "base/bytes.h"
#include "reql/term.h"

/* Bytes of the text; `end` is behind the last. */
typedef struct TextSpan {
        uint32_t start, end;
} TextSpan;

/* The same for people: counted from 1, columns in characters; the end is behind the last character. */
typedef struct TextPlace {
        unsigned line, column, end_line, end_column;
} TextPlace;

typedef struct TextNode TextNode;
typedef struct TextQuery {
        Bytes text;
        const TextNode *root; /* NULL: it did not parse */
        Value wire;           /* the term as it would come from a driver: [39, [[15, ["t"]], ...]] */
        Value options;        /* an object literal in .run(conn, {...}), names as on the wire; else V_NONE */
        TextSpan error;       /* where it did not parse */
} TextQuery;

/* `text` is UTF-8 and lives as long as the query. Takes memory from `arena` alone, in proportion to the text.
 * ERR_COMPILE with a message like "Line 1, column 3: There is no term `fliter`. Did you mean `filter`?" and
 * ret_query->error set. */
MUST_USE Status text_parse(Bytes text, Arena *arena, TextQuery *ret_query);
/* Where a term of the tree that was built from query->wire stands; false if nowhere. Of a call after a dot it is the
 * call: `filter(...)`. */
bool text_find(const TextQuery *query, const Term *term, TextSpan *ret_span);

TextPlace text_place(Bytes text, TextSpan span);

#endif
