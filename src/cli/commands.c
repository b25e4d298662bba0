/* commands.c - the list of commands, and the one way all of them are run. */
#include <signal.h>
#include <stdlib.h>

#include "cli/command.h"

const Command *const commands[] = {
        &serve_command,      &shell_command,
        &query_command,      &import_command,
        &export_command,     &backup_command,
        &restore_command,    &stats_command,
        &check_command,      &dump_page_command,
        &dump_log_command,   &db_create_command,
        &db_drop_command,    &db_list_command,
        &db_info_command,    &table_create_command,
        &table_drop_command, &table_list_command,
        &table_info_command, &version_command,
        &help_command,       NULL,
};

enum { COMMANDS = ELEMENTS(commands) - 1 };

/* How many of the words at argv are the name, 0 if they are not. */
static int name_matches(const Command *command, int argc, char **argv)
{
        const char *name = command->name;
        int words = 0;
        while (*name) {
                size_t length = strcspn(name, " ");
                if (words == argc || strlen(argv[words]) != length || strncmp(argv[words], name, length) != 0)
                        return 0;
                words++;
                name += length;
                name += *name == ' ';
        }
        return words;
}

static bool is_family(const char *word)
{
        return strcmp(word, "db") == 0 || strcmp(word, "table") == 0;
}

Status command_find(int argc, char **argv, Arena *arena, const Command **ret_command, int *ret_words)
{
        for (size_t i = 0; i < COMMANDS; i++) {
                int words = name_matches(commands[i], argc, argv);
                if (words) {
                        *ret_command = commands[i];
                        *ret_words = words;
                        return ST_OK;
                }
        }
        const char *names[COMMANDS + 1];
        for (size_t i = 0; i < COMMANDS; i++)
                names[i] = commands[i]->name;
        names[COMMANDS] = NULL;
        bool family = is_family(argv[0]);
        if (family && (argc == 1 || argv[1][0] == '-'))
                return status_hint(status_new(ERR_INVALID, "photondb %s needs one word more", argv[0]),
                                   "photondb %s create, drop, list or info", argv[0]);
        const char *typed = family ? arena_printf(arena, "%s %s", argv[0], argv[1]) : argv[0];
        const char *nearest = options_nearest(typed, names);
        Status st = status_new(ERR_INVALID, "there is no command \"%s\"", typed);
        if (nearest)
                return status_hint(st, "did you mean photondb %s?", nearest);
        return status_hint(st, "photondb help lists the commands");
}

static const char *read_env(const char *name)
{
        return getenv(name);
}

/* `argv` begins behind the program's name and the `before` words of the command's. */
static Status run(const Command *command, int argc, char **argv, int before, Arena *arena, int *ret_exit)
{
        OptionsInput input = {.options = command->options, .argc = argc, .argv = argv, .env = read_env};
        const char *words[COMMAND_MAX_WORDS];
        Invocation invocation = {.words = words,
                                 .arena = arena,
                                 .argv = (const char *const *)(argv - before - 1),
                                 .argc = (size_t)(argc + before + 1)};
        void *values = arena_zalloc(arena, command->values_bytes + 1);
        bool help;
        *ret_exit = EXIT_USAGE;
        TRY(options_parse(&input, arena, values, words, command->most_words, &invocation.word_count, &help));
        if (help) {
                command_print_help(command);
                *ret_exit = EXIT_DONE;
                return ST_OK;
        }
        if (invocation.word_count < command->least_words)
                return status_hint(status_new(ERR_INVALID, "photondb %s needs %s", command->name, command->words),
                                   "photondb %s --help", command->name);
        invocation.values = values;
        *ret_exit = EXIT_DONE;
        return command->run(&invocation, ret_exit);
}

int command_main(int argc, char **argv)
{
        Arena arena;
        const Command *command = NULL;
        int words = 0, exit_status = EXIT_DONE;
        Status st = ST_OK;
        arena_init(&arena, 0);
        signal(SIGPIPE, SIG_IGN); /* a reader that went away is an error of the write, with a message */
        argc--;
        argv++;
        if (argc == 0) {
                command_print_overview();
                exit_status = EXIT_USAGE;
        } else if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0) {
                command_print_overview();
        } else {
                if (strcmp(argv[0], "--version") == 0 || strcmp(argv[0], "-V") == 0)
                        argv[0] = (char *)"version";
                exit_status = EXIT_USAGE;
                if (argc == 2 && is_family(argv[0]) && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
                        command_print_overview();
                        exit_status = EXIT_DONE;
                } else {
                        st = command_find(argc, argv, &arena, &command, &words);
                        if (st == ST_OK)
                                st = run(command, argc - words, argv + words, words, &arena, &exit_status);
                }
        }
        if (st) {
                fflush(stdout);
                output_error(st);
                exit_status = exit_status == EXIT_DONE ? EXIT_FAILED : exit_status;
        }
        if (fflush(stdout) != 0 && exit_status == EXIT_DONE) {
                fputs("photondb: cannot write to the standard output\n", stderr);
                exit_status = EXIT_FAILED;
        }
        arena_done(&arena);
        return exit_status;
}
