/* wire.h - the JSON wire form of a query to a checked Term tree.
 *      [1, term, {global options}]   START        [2] CONTINUE  [3] STOP  [4] NOREPLY_WAIT  [5] SERVER_INFO
 * The term may be [10001, ["r.table('t').count()"]], text ReQL: text_parse.h makes it what a driver would have sent.
 * Errors: ERR_CLIENT ("Client is buggy (failed to deserialize query)." / "Server could not parse query: ...") or
 * ERR_COMPILE, with *ret_error_at at the offending term for the backtrace (NULL: []). */
#ifndef REQL_WIRE_H
#define REQL_WIRE_H

#include "reql/term.h"
#include "reql/text_parse.h"

#define WIRE_TEXT_TERM 10001 /* no term of the protocol: only as the whole query */

typedef enum QueryType { QUERY_START = 1, QUERY_CONTINUE, QUERY_STOP, QUERY_NOREPLY_WAIT, QUERY_SERVER_INFO } QueryType;

typedef struct WireQuery {
        QueryType type;
        Term *root;   /* START only */
        OptArg *opts; /* global options (db, noreply, read_mode, array_limit, durability, max_batch_rows ...): terms too
                       */
        size_t opt_count;
        bool noreply;          /* constant true */
        const TextQuery *text; /* the term was sent as text; NULL: it was not, or an error is not in it */
} WireQuery;

/* `text` is the frame's body with JSON_PADDING readable bytes behind; it must live as long as the tree (strings point
 * into it). */
/* Of a query that does not compile, *ret_query still says its type, whether it wants no answer, and its text. */
MUST_USE Status wire_parse(Bytes text, Arena *arena, WireQuery *ret_query, const Term **ret_error_at);
/* A FUNC term by itself, as closures are saved: ERR_CORRUPT if `text` is anything else, else as above. */
MUST_USE Status wire_parse_func(Bytes text, Arena *arena, Term **ret_func);
/* Only the type, without building a tree; false if it is not of the form [n ...]. Cheap. */
bool wire_peek_type(Bytes text, QueryType *ret_type);

#endif
