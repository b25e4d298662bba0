/* command.h - what a command is. One file per command (or family) holds its table of options, its help and its run
 * function; commands.c lists them; main.c dispatches. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include "cli/options.h"
#include "cli/output.h"

enum { COMMAND_MAX_WORDS = 4 };

typedef struct Invocation {
        const void *values; /* the command's struct, filled */
        const char *const *words;
        size_t word_count;
        Arena *arena;
        const char *const *argv; /* the whole command line */
        size_t argc;
} Invocation;

typedef struct Command {
        const char *name;  /* "db create" */
        const char *words; /* positional words for the usage line: "DB.TABLE"; "" for none */
        size_t least_words, most_words;
        const char *summary;  /* one line */
        const char *details;  /* paragraphs, may be NULL */
        const char *examples; /* lines, each a command */
        const Option *options;
        size_t values_bytes;
        /* Sets *ret_exit (EXIT_DONE before) or fails; an error is printed by main. */
        Status (*run)(const Invocation *invocation, int *ret_exit);
} Command;

/* Ends in NULL. */
extern const Command *const commands[];
/* The command that `argv` begins with, and how many words its name has. ERR_INVALID with a suggestion. */
MUST_USE Status command_find(int argc, char **argv, Arena *arena, const Command **ret_command, int *ret_words);
void command_print_help(const Command *command);
void command_print_overview(void);
/* All of it: finds, parses, runs, reports. Returns the exit status. */
int command_main(int argc, char **argv);

extern const Command serve_command, import_command, export_command, version_command, help_command;
extern const Command query_command, shell_command;
extern const Command check_command, dump_page_command, dump_log_command;
extern const Command backup_command, restore_command, stats_command;
extern const Command db_create_command, db_drop_command, db_list_command, db_info_command;
extern const Command table_create_command, table_drop_command, table_list_command, table_info_command;

#endif
