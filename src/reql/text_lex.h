/* text_lex.h - the words of text ReQL. Never fails: what is no word is one of kind TOKEN_BAD that says why. For the
 * parser, and for completion, which looks at the words before the cursor. Threads: any. */
#ifndef REQL_TEXT_LEX_H
#define REQL_TEXT_LEX_H

#include "base/arena.h"
#include "base/bytes.h"

typedef enum TextTokenKind {
        TOKEN_END,
        TOKEN_NAME,   /* identifiers and keywords: which is which, is the parser's */
        TOKEN_NUMBER, /* digits as written: text_number */
        TOKEN_STRING, /* with its quotes: text_string */
        TOKEN_OTHER,  /* brackets and operators, by `op` */
        TOKEN_BAD,    /* text_bad_token tells */
} TextTokenKind;

typedef enum TextOp {
        OP_NONE,
        OP_OPEN,     /* ( */
        OP_CLOSE,    /* ) */
        OP_OPEN_BOX, /* [ */
        OP_CLOSE_BOX,
        OP_OPEN_CURLY, /* { */
        OP_CLOSE_CURLY,
        OP_DOT,
        OP_DOTS, /* ... */
        OP_COMMA,
        OP_COLON,
        OP_SEMICOLON,
        OP_QUESTION,
        OP_ARROW,  /* => */
        OP_ASSIGN, /* = */
        OP_EQ,     /* == and === */
        OP_NE,
        OP_LT,
        OP_LE,
        OP_GT,
        OP_GE,
        OP_PLUS,
        OP_MINUS,
        OP_STAR,
        OP_SLASH,
        OP_PERCENT,
        OP_AND,  /* && */
        OP_OR,   /* || */
        OP_NOT,  /* ! */
        OP_BITS, /* & | ^ ~ << >> ** and the like: not in the language */
} TextOp;

typedef struct TextToken {
        uint8_t kind, op;
        uint32_t start, end; /* bytes of the text */
} TextToken;

/* The token at or behind *at, spaces and comments before it left out; *at moves behind it. At the end of the text:
 * TOKEN_END, again and again. */
TextToken text_next_token(Bytes text, uint32_t *at);
static inline Bytes text_token_bytes(Bytes text, TextToken token)
{
        return BYTES(text.data + token.start, token.end - token.start);
}

/* What is wrong with a TOKEN_BAD: a sentence without its full stop, and in *ret_hint advice or NULL. */
const char *text_bad_token(Bytes text, TextToken token, const char **ret_hint);
/* Does a TOKEN_BAD only lack its end: a string or a comment? */
bool text_bad_is_open(Bytes text, TextToken token);

/* What a TOKEN_STRING says; without escapes it points into `text`. false: a bad escape at *ret_at (in `text`), of
 * *ret_size bytes. */
bool text_string(Bytes text, TextToken token, Arena *arena, Bytes *ret_string, uint32_t *ret_at, uint32_t *ret_size);
/* The number of a TOKEN_NUMBER; false if it is too large for a double. */
bool text_number(Bytes text, TextToken token, Arena *arena, double *ret_number);

#endif
