/* text_names.h - how terms and their options are written in text: for the parser, for completion and for help.
 * Everything comes from terms.def. A name may be written in any case, with or without underscores: orderBy, order_by,
 * OrderBy. Threads: any; all of it is constant. */
#ifndef REQL_TEXT_NAMES_H
#define REQL_TEXT_NAMES_H

#include "base/bytes.h"
#include "reql/term.h"

typedef enum TextForm {
        TEXT_METHOD,   /* value.get(1) */
        TEXT_ROOT,     /* r.now() */
        TEXT_BOTH,     /* value.count(), r.count(value) */
        TEXT_EITHER,   /* r.branch(a, b, c), a.branch(b, c): as TEXT_BOTH, but printed after `r.` */
        TEXT_DB,       /* db.table("t"), or r.table("t") of the default database: one argument less */
        TEXT_CONSTANT, /* r.row, r.minval, r.monday */
} TextForm;

/* Which arguments become functions when r.row is in them; what stands before the dot is argument 0. */
typedef enum TextWrap { WRAP_NONE, WRAP_SELF, WRAP_FIRST, WRAP_SECOND, WRAP_LAST, WRAP_ALL } TextWrap;

typedef struct TextName {
        const char *name;      /* "orderBy", as printed */
        const char *signature; /* "sequence.orderBy(key, ..., {index})" */
        const char *help;      /* one sentence */
        uint16_t type;         /* TermType; TERM_DATUM: expr */
        uint8_t form;          /* TextForm */
        uint8_t wrap;          /* TextWrap */
        uint8_t size;          /* of the name, in bytes */
        int8_t options_at; /* an object literal there or later, if it is the last argument, is the options; -1: none */
} TextName;

/* All of them, in the order of terms.def. */
const TextName *text_names(size_t *ret_count);
/* NULL for terms without a name: functions, variables, arrays, objects. */
const TextName *text_name_of(unsigned type);
/* By any spelling; NULL if there is none. */
const TextName *text_name_find(Bytes spelling);
/* The one that was probably meant; NULL if nothing is near. */
const TextName *text_name_nearest(Bytes spelling);
static inline bool text_name_after_root(const TextName *name)
{
        return name->form != TEXT_METHOD;
}
static inline bool text_name_after_dot(const TextName *name)
{
        return name->form != TEXT_ROOT && name->form != TEXT_CONSTANT;
}

#define TEXT_NAME_BYTES 48 /* for text_camel: longer than any name in terms.def */
/* "left_bound" as "leftBound"; names that begin with an underscore stay. Cut to fit. Returns `out`. */
const char *text_camel(const char *name, char out[TEXT_NAME_BYTES]);
/* The option of `type` (as in terms.def: "left_bound") that is written so; NULL if there is none. */
const char *text_option_find(unsigned type, Bytes spelling);
const char *text_option_nearest(unsigned type, Bytes spelling);
/* The n-th option that people write, from 0; NULL behind the last. */
const char *text_option_at(unsigned type, size_t n);

/* Do they differ only in case and underscores? */
bool text_same_name(Bytes a, Bytes b);
/* Insertions, deletions, replacements and swaps from one to the other, case and underscores aside; at most `limit`+1 is
 * returned. For names: looks at the first 64 bytes. */
unsigned text_distance(Bytes a, Bytes b, unsigned limit);
/* How far a name may be away and still be meant. */
unsigned text_distance_limit(Bytes name);

#endif
