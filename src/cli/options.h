/* options.h - one table-driven parser for every command.
 * A value comes from the command line (--name value, --name=value), else the environment (PHOTONDB_NAME, '-' as '_'),
 * else the configuration file (`name = value`, only for commands with a `config` option), else the table's default: the
 * first that has it wins. All text lives in the arena given. Errors are ERR_INVALID, with a hint that names the nearest
 * option. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"

typedef enum OptionKind {
        OPTION_TEXT,   /* const char *; NULL if there is no default */
        OPTION_FLAG,   /* bool; --name, --name=no */
        OPTION_NUMBER, /* int64_t, within least .. most */
        OPTION_SIZE,   /* uint64_t bytes: 4096, 512MB, 2GiB */
        OPTION_CHOICE, /* int: the place of the word in `choices` */
        OPTION_LIST,   /* OptionList: each time it is given adds one */
} OptionKind;

typedef struct OptionList {
        const char **items;
        size_t count;
} OptionList;

typedef struct Option {
        const char *name; /* "data-dir"; NULL ends the table */
        OptionKind kind;
        size_t offset;          /* of the field in the command's struct of values */
        const char *value_name; /* for the help: "DIR" */
        const char *fallback;   /* the default, as one would type it; NULL: none */
        const char *choices;    /* "error replace update" */
        int64_t least, most;
        const char *help;
        const char *bare; /* what it means without a value: then only --name=value gives another; NULL: it needs one */
        char letter;      /* -f, for the few that are typed all the time; 0: none */
} Option;

/* Reads the environment: getenv, or a test's own. */
typedef const char *(*OptionsEnv)(const char *name);

typedef struct OptionsInput {
        const Option *options;
        int argc; /* without the command's own words */
        char **argv;
        OptionsEnv env; /* NULL: none */
} OptionsInput;

/* Fills `values` (the command's struct, zeroed) and the positional words, at most `positional_max`. `--help` stops the
 * parse and sets *ret_help. */
MUST_USE Status options_parse(const OptionsInput *input, Arena *arena, void *values, const char **positionals,
                              size_t positional_max, size_t *ret_positional_count, bool *ret_help);

/* "512MB", "2 GiB", "1.5g", "4096". MB is 10^6, MiB and M are 2^20. `what` begins the error message. */
MUST_USE Status options_size(const char *what, const char *text, uint64_t *ret_bytes);
/* The word nearest to `word`, NULL when none is near enough to be meant. `words` ends in NULL. */
const char *options_nearest(const char *word, const char *const *words);

#endif
