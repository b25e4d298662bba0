/* shell_complete.h - what could stand at the cursor, told from the text before it alone. Who asks fetches the names.
 * It follows strings, brackets and chains of calls, not the grammar: a half-typed statement has none. Threads: any. */
#ifndef CLI_SHELL_COMPLETE_H
#define CLI_SHELL_COMPLETE_H

#include "base/bytes.h"
#include "reql/text_names.h"

typedef enum CompleteKind {
        COMPLETE_NONE,
        COMPLETE_START,     /* of a statement: `r.` */
        COMPLETE_ROOT,      /* terms after `r.` */
        COMPLETE_METHODS,   /* terms after any other dot */
        COMPLETE_DATABASES, /* names in a string */
        COMPLETE_TABLES,
        COMPLETE_INDEXES,
        COMPLETE_FIELDS,
        COMPLETE_OPTIONS,  /* keys of an object: options of `term`, fields if `and_fields` */
        COMPLETE_COMMANDS, /* backslash commands */
        COMPLETE_TERMS,    /* all names of terms: \h */
        COMPLETE_GLOBALS,  /* global options: \set */
        COMPLETE_FORMATS,
        COMPLETE_FILES,
} CompleteKind;

enum { COMPLETE_PATH_MAX = 8 };

typedef struct Completion {
        CompleteKind kind;
        Bytes word;                    /* what is there of it: to be replaced */
        uint8_t quote;                 /* of the string that `word` is in; 0: none */
        bool quotes;                   /* the name needs quotes, which are not typed yet */
        Bytes db;                      /* TABLES, INDEXES, FIELDS: data NULL: the default database */
        Bytes table;                   /* INDEXES, FIELDS: the last table of the statement; data NULL: there is none */
        Bytes path[COMPLETE_PATH_MAX]; /* FIELDS: of the object in these fields */
        size_t path_count;
        const TextName *term;
        bool and_fields;
} Completion;

/* Everything points into `before` (all of the statement up to the cursor). */
Completion complete_at(Bytes before);

#endif
