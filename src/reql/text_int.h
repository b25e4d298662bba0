/* text_int.h - the parser's insides, shared by text_parse.c (expressions), text_terms.c (terms, arguments, options),
 * text_mistake.c (what is said about mistakes) and text_tree.c (the tree to the wire form, and back to places). */
#ifndef REQL_TEXT_INT_H
#define REQL_TEXT_INT_H

#include "base/arena.h"
#include "reql/text_lex.h"
#include "reql/text_names.h"
#include "reql/text_parse.h"

#define TEXT_NESTING_MAX 600 /* of brackets and functions; a tree that wire.c takes needs no more */

typedef struct TextOption {
        Bytes name; /* on the wire; of an object, the key */
        TextNode *node;
        TextSpan at; /* its name in the text */
} TextOption;

/* A term as on the wire. TERM_DATUM: a scalar or bytes. TERM_MAKE_ARRAY, TERM_MAKE_OBJ: the literals. TERM_FUNC: an
 * array of numbers and the body. TERM_VAR: its number. */
struct TextNode {
        uint16_t type;
        uint16_t depth;  /* of its wire form, as values count it */
        bool uses_row;   /* r.row is in it: funcs do not hide it, as in the driver */
        bool is_buffer;  /* DATUM: Buffer.from(...), which r.binary() takes as it is */
        bool is_wrapped; /* r.expr({...}) and what else is no literal any more: never taken as options */
        TextSpan span;
        uint32_t arg_count, option_count;
        TextNode **args;
        TextOption *options; /* sorted by name */
        Value datum;
};

typedef struct TextVariable {
        Bytes name;
        uint32_t id;
} TextVariable;

typedef struct TextParser {
        Bytes text;
        Arena *arena;
        TextToken *tokens; /* the last is TOKEN_END or TOKEN_BAD */
        size_t token_count, next;
        unsigned nesting;
        uint32_t last_variable;
        TextVariable *variables; /* in scope, innermost last */
        size_t variable_count, variable_capacity;
        TextNode **nodes; /* stack of arguments and items on the way */
        size_t node_count, node_capacity;
        TextOption *options; /* the same of options and fields */
        size_t option_count, option_capacity;
        TextSpan error;
        Value run_options;
} TextParser;

/* --- tokens --- */
static inline TextToken text_peek(const TextParser *parser)
{
        return parser->tokens[parser->next];
}
static inline TextToken text_peek_at(const TextParser *parser, size_t ahead)
{
        size_t last = parser->token_count - 1;
        return parser->tokens[parser->next + ahead < last ? parser->next + ahead : last];
}
static inline TextToken text_take(TextParser *parser)
{
        TextToken token = text_peek(parser);
        if (parser->next + 1 < parser->token_count)
                parser->next++;
        return token;
}
/* Where the token taken last ends. */
static inline uint32_t text_last_end(const TextParser *parser)
{
        return parser->next ? parser->tokens[parser->next - 1].end : 0;
}
static inline bool text_at_op(const TextParser *parser, TextOp op)
{
        return text_peek(parser).op == op;
}
static inline TextSpan text_token_span(TextToken token)
{
        return (TextSpan){token.start, token.end};
}
static inline Bytes text_span_bytes(const TextParser *parser, TextSpan span)
{
        return BYTES(parser->text.data + span.start, span.end - span.start);
}
static inline bool text_token_is(const TextParser *parser, TextToken token, const char *name)
{
        return token.kind == TOKEN_NAME && bytes_equal(text_token_bytes(parser->text, token), BYTES_STR(name));
}

/* --- text_parse.c --- */
/* One expression, up to a comma, a closing bracket or anything else that cannot go on. */
MUST_USE Status text_expression(TextParser *parser, TextNode **ret_node);
MUST_USE Status text_expect(TextParser *parser, TextOp op, TextToken open);
TextNode *text_node(TextParser *parser, unsigned type, TextSpan span);
TextNode *text_constant(TextParser *parser, Value v, TextSpan span);
/* Gives a node its arguments: ERR_COMPILE if it gets too deep. They are copied from where they are. */
MUST_USE Status text_set_args(TextParser *parser, TextNode *node, TextNode *const *args, size_t count);
/* The options from `first` on, off the stack: sorted; a name that is there twice is an error. */
MUST_USE Status text_set_options(TextParser *parser, TextNode *node, size_t first);
void text_push_node(TextParser *parser, TextNode *node);
void text_push_option(TextParser *parser, TextOption option);
/* `function (row) { return node; }` */
MUST_USE Status text_function_around(TextParser *parser, TextNode *node, TextNode **ret_func);

/* --- text_terms.c --- */
/* Behind `r`: `.name`, `.name(...)` or `(value)`. */
MUST_USE Status text_root_term(TextParser *parser, TextToken r, TextNode **ret_node);
/* At the dot behind `before`: `.name(...)` or the field `.name`. */
MUST_USE Status text_method(TextParser *parser, TextNode *before, TextNode **ret_node);
/* At `(`: a field or item of `before`. */
MUST_USE Status text_bracket_call(TextParser *parser, TextNode *before, TextNode **ret_node);
/* At `[`: the same, or a slice. */
MUST_USE Status text_bracket_index(TextParser *parser, TextNode *before, TextNode **ret_node);
/* A term with two or more operands, as operators make it. */
MUST_USE Status text_operator(TextParser *parser, unsigned type, TextNode *const *args, size_t count, TextSpan span,
                              TextNode **ret_node);
/* Buffer.from("...", "base64") and new Date("...") */
MUST_USE Status text_buffer(TextParser *parser, TextNode **ret_node);
MUST_USE Status text_date(TextParser *parser, TextNode **ret_node);
/* .run(...) at the end; the options are left in the parser */
bool text_at_run(const TextParser *parser);
MUST_USE Status text_run(TextParser *parser);

/* --- text_mistake.c --- */
/* ERR_COMPILE: "Line 1, column 2: ..." */
MUST_USE Status text_mistake(TextParser *parser, TextSpan at, const char *format, ...) PRINTF_LIKE(3, 4);
/* At the next token, which is not what could stand there. `wanted`: "a value", "`)`". */
MUST_USE Status text_unexpected(TextParser *parser, const char *wanted);
MUST_USE Status text_unknown_variable(TextParser *parser, TextToken name);
/* `.name` or `r.name` that is no term. */
MUST_USE Status text_unknown_term(TextParser *parser, TextToken name, bool after_root);
/* SQL and other languages, by how the text begins; ST_OK if it is none. */
MUST_USE Status text_other_language(TextParser *parser);

/* --- text_tree.c --- */
Value text_wire(const TextParser *parser, const TextNode *node);

#endif
